/*
 * Counters of one worker: written by it only, read by anyone. No lock, no locked instruction: a relaxed load and store.
 */
#ifndef TMQ_SERVER_COUNTERS_H
#define TMQ_SERVER_COUNTERS_H

#include <assert.h>
#include <stdatomic.h>

#include "broker/session.h"
#include "server/server_counts.h"

struct counters {
#define COUNT(member) _Atomic uint64_t member;
#define COUNTS(member, n) _Atomic uint64_t member[n];
#include "server/counters.def"
#undef COUNT
#undef COUNTS
};
static_assert(sizeof(struct counters) == sizeof(struct counts), "summed up as an array");

static inline void count_add(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void count_sub(_Atomic uint64_t *c, uint64_t n)
{
    count_add(c, UINT64_C(0) - n);
}

/* Adds a worker's to a sum. */
static inline void counters_add(struct counts *sum, const struct counters *c)
{
    const _Atomic uint64_t *from = (const _Atomic uint64_t *)c;
    uint64_t *to = (uint64_t *)sum;
    for (size_t i = 0; i < sizeof *sum / sizeof *to; i++) {
        to[i] += atomic_load_explicit(&from[i], memory_order_relaxed);
    }
}

/* How much is in a session's queue: taken before a change, counted behind it. */
struct queue_size {
    uint64_t messages, inflight, bytes;
};

static inline struct queue_size queue_size(const struct session *s)
{
    const struct outbox *o = s->out;
    struct queue_size size = {0};
    if (o != NULL) {
        size = (struct queue_size){o->live, o->inflight, o->bytes};
    }
    return size;
}

static inline void count_queue(struct counters *c, const struct session *s,
                               struct queue_size before)
{
    struct queue_size now = queue_size(s);
    count_add(&c->queued, now.messages - before.messages);
    count_add(&c->inflight, now.inflight - before.inflight);
    count_add(&c->queued_bytes, now.bytes - before.bytes);
}

/* What session_ack() did, for less: it is done for each message. */
static inline void count_acked(struct counters *c, enum ack_result r, const struct message *m)
{
    if (m != NULL) {
        count_sub(&c->queued_bytes, message_bytes(m));
    }
    if (r == ACK_DONE) {
        count_sub(&c->queued, 1);
        count_sub(&c->inflight, 1);
    }
}

#endif
