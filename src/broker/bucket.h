/*
 * A token bucket that holds one second's worth: `rate` things a second on the average, as many at once. Kept as the time
 * at which it is full again, so that nothing has to be filled in between. More may be taken than it holds: then it stays empty
 * for longer. Pure; one owner.
 */
#ifndef TMQ_BROKER_BUCKET_H
#define TMQ_BROKER_BUCKET_H

#include <stdbool.h>
#include <stdint.h>

#define BUCKET_SECOND_NS UINT64_C(1000000000)

/* Zeroed: full. */
struct bucket {
    uint64_t full_ns;  /* monotonic */
    uint64_t since_ms; /* when it was full for the last time */
    uint64_t taken;    /* since then */
};

static inline bool bucket_full(const struct bucket *b, uint64_t now_ms)
{
    return b->full_ns <= now_ms * 1000000;
}

/* There is not one whole thing in it. `rate` > 0, here and below. */
static inline bool bucket_empty(const struct bucket *b, uint64_t now_ms, uint64_t rate)
{
    return b->full_ns + BUCKET_SECOND_NS / rate > now_ms * 1000000 + BUCKET_SECOND_NS;
}

/* `n` up to 2^32. */
static inline void bucket_take(struct bucket *b, uint64_t now_ms, uint64_t n, uint64_t rate)
{
    if (bucket_full(b, now_ms)) {
        *b = (struct bucket){.full_ns = now_ms * 1000000, .since_ms = now_ms};
    }
    b->full_ns += n * BUCKET_SECOND_NS / rate;
    b->taken += n;
}

/* Time at which it is not empty any more; in the past when it is not. */
static inline uint64_t bucket_ready_ms(const struct bucket *b, uint64_t rate)
{
    uint64_t at = b->full_ns + BUCKET_SECOND_NS / rate;
    return at <= BUCKET_SECOND_NS ? 0 : (at - BUCKET_SECOND_NS + 999999) / 1000000;
}

#endif
