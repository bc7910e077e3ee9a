/*
 * The maintenance thread: flushes frozen buffers, oldest first, and applies retention. It sleeps until a
 * buffer is frozen or the commit thread, which has a reason to be awake, says that it is time to look.
 *
 * Retention drops the oldest segment only, at most one an hour, and none within an hour after the clock was
 * stepped: a device that wakes up in 2035 must not erase its history. Journals have their own, shorter time.
 */
#include <assert.h>
#include <errno.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "trace/trace_priv.h"

enum { RETRY_MS = 500, EMERGENCY_PAUSE_MS = 60000, SIZE_PARTS = 8 };

/* A base that leaves room for "an hour before the machine started". */
uint64_t trace_mono_ms(void)
{
    return clock_mono_ms() + UINT64_C(10) * 24 * 3600 * 1000;
}

static bool paused(const struct retention *r, uint64_t last_ms, uint64_t mono_ms)
{
    return mono_ms < r->hold_until_ms || (last_ms != 0 && mono_ms - last_ms < RETENTION_PAUSE_MS);
}

/* When a restart asks: the last drop's wall time is kept. */
static void remember_drop(struct trace *t, uint64_t wall_us)
{
    uint8_t value[8];
    put_le64(value, wall_us);
    struct store_batch *b = store_batch_new();
    store_batch_put(b, t->meta, slice_str(META_DROP), slice_make(value, sizeof value));
    (void)!store_write(t->store, b, false);
    store_batch_free(b);
}

static bool older_than(uint64_t newest_us, uint64_t wall_us, uint64_t keep_ms)
{
    return keep_ms > 0 && newest_us + keep_ms * 1000 < wall_us;
}

static bool oldest_is_over(struct trace *t, uint64_t wall_us)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    bool over = false;
    if (t->shared.segment_n > 1) {
        const struct segment *s = t->shared.segments[0];
        uint64_t newest = s->dm.max_us > s->xm.max_us ? s->dm.max_us : s->xm.max_us;
        over = s->dm.seq > 0 && older_than(newest, wall_us, atomic_load(&t->limits.retention_ms));
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
    if (!over && atomic_load(&t->limits.retention_bytes) > 0) {
        over = segments_bytes(t) > atomic_load(&t->limits.retention_bytes);
    }
    return over;
}

static bool journal_is_over(struct trace *t, uint64_t wall_us)
{
    bool over = false;
    (void)pthread_mutex_lock(&t->shared.lock);
    for (size_t i = 0; i + 1 < t->shared.segment_n; i++) {
        const struct segment *s = t->shared.segments[i];
        if (s->j != NULL) {
            uint64_t newest = s->dm.max_us > s->xm.max_us ? s->dm.max_us : s->xm.max_us;
            over = s->dm.seq > 0 &&
                   older_than(newest, wall_us, atomic_load(&t->limits.fleet_retention_ms));
            break;
        }
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
    return over;
}

/* Gaps of a time that is forgotten are forgotten. */
static void forget_gaps(struct trace *t)
{
    struct store_batch *b = store_batch_new();
    (void)pthread_mutex_lock(&t->shared.lock);
    uint64_t first = t->shared.segment_n == 0 ? 0 : t->shared.segments[0]->first_seq;
    size_t kept = 0;
    for (size_t i = 0; i < t->shared.gap_n; i++) {
        const struct gap g = t->shared.gaps[i];
        if (g.seq >= first) {
            t->shared.gaps[kept++] = g;
            continue;
        }
        uint8_t key[sizeof META_GAP - 1 + 8];
        memcpy(key, META_GAP, sizeof META_GAP - 1);
        put_be64(key + sizeof META_GAP - 1, g.seq);
        store_batch_delete(b, t->meta, slice_make(key, sizeof key));
    }
    t->shared.gap_n = kept;
    (void)pthread_mutex_unlock(&t->shared.lock);
    if (store_batch_count(b) > 0) {
        (void)!store_write(t->store, b, false);
    }
    store_batch_free(b);
}

void retention_step(struct trace *t, uint64_t wall_us, uint64_t mono_ms)
{
    struct retention *r = &t->maintain.retention;
    if (atomic_exchange(&t->maintain.clock_stepped, false)) {
        r->hold_until_ms = mono_ms + RETENTION_PAUSE_MS;
    }
    if (!paused(r, r->last_journal_ms, mono_ms) && journal_is_over(t, wall_us) &&
        segment_drop_journal(t) == 0) {
        r->last_journal_ms = mono_ms;
    }
    if (!paused(r, r->last_drop_ms, mono_ms) && oldest_is_over(t, wall_us) &&
        segment_drop_oldest(t) == 0) {
        r->last_drop_ms = mono_ms;
        remember_drop(t, wall_us);
        forget_gaps(t);
        log_info("trace segment dropped", "why=retention");
    }
}

/* The disk is full: history gives way to the present, oldest first, not more than a segment a minute. */
static void emergency_drop(struct trace *t, uint64_t mono_ms)
{
    struct maintain *m = &t->maintain;
    if (m->last_emergency_ms != 0 && mono_ms - m->last_emergency_ms < EMERGENCY_PAUSE_MS) {
        return;
    }
    if (segment_drop_oldest(t) == 0) {
        m->last_emergency_ms = mono_ms;
        log_warn("trace segment dropped", "why=\"disk full\"");
        forget_gaps(t);
    }
}

/* A segment that was flushed for the last time: nothing of it pins the WAL, one sorted run of each kind is left. */
static void settle(struct trace *t, uint64_t first_seq)
{
    struct shared *s = &t->shared;
    struct store_cf *j = NULL;
    struct store_cf *d = NULL;
    struct store_cf *x = NULL;
    (void)pthread_mutex_lock(&s->lock);
    bool newest = s->segment_n == 0 || s->segments[s->segment_n - 1]->first_seq == first_seq;
    bool more = s->frozen_n > 0 && buffer_segment(s->frozen[0]) == first_seq;
    const struct segment *seg = segment_find(t, first_seq);
    if (!newest && !more && seg != NULL) {
        j = seg->j;
        d = seg->d;
        x = seg->x;
    }
    (void)pthread_mutex_unlock(&s->lock);
    if (j != NULL) {
        (void)!store_cf_flush(t->store, j);
    }
    if (d != NULL) {
        store_cf_compact(t->store, d);
    }
    if (x != NULL) {
        store_cf_compact(t->store, x);
    }
}

/* With retention by size a segment must not become most of what may be kept. */
static void ask_roll(struct trace *t)
{
    if (atomic_load(&t->limits.retention_bytes) == 0) {
        return;
    }
    (void)pthread_mutex_lock(&t->shared.lock);
    const struct segment *seg = t->shared.segments[t->shared.segment_n - 1];
    struct store_cf *d = seg->d;
    struct store_cf *j = seg->j;
    (void)pthread_mutex_unlock(&t->shared.lock);
    uint64_t n = (d == NULL ? 0 : store_cf_bytes(t->store, d)) +
                 (j == NULL ? 0 : store_cf_bytes(t->store, j));
    if (n > atomic_load(&t->limits.retention_bytes) / SIZE_PARTS) {
        atomic_store(&t->maintain.want_roll, true);
    }
}

static void flush_oldest(struct trace *t, struct buffer *b)
{
    struct shared *s = &t->shared;
    int rc = flush_buffer(t, b);
    int before = atomic_exchange(&t->maintain.flush_error, rc);
    if (rc < 0) {
        if (before == 0) {
            log_error("a trace buffer can't be flushed; it stays in memory", "errno=%d", -rc);
        }
        return;
    }
    uint64_t segment = buffer_segment(b);
    (void)pthread_mutex_lock(&s->lock);
    assert(s->frozen[0] == b);
    s->frozen_n--;
    memmove(s->frozen, s->frozen + 1, s->frozen_n * sizeof(struct buffer *));
    (void)pthread_cond_broadcast(&s->changed);
    (void)pthread_mutex_unlock(&s->lock);
    buffer_unref(b);
    settle(t, segment);
    ask_roll(t);
}

static void wait_ms(struct shared *s, uint64_t ms)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += (long)(ms % 1000) * 1000000;
    ts.tv_sec += (time_t)(ms / 1000) + ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    (void)pthread_cond_timedwait(&s->changed, &s->lock, &ts);
}

static void *run(void *arg)
{
    struct trace *t = arg;
    struct shared *s = &t->shared;
    struct maintain *m = &t->maintain;
    (void)pthread_mutex_lock(&s->lock);
    while (!m->stop) {
        bool check = m->check;
        bool emergency = m->emergency;
        struct buffer *b = s->frozen_n > 0 ? s->frozen[0] : NULL;
        if (!check && !emergency && b == NULL) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        m->check = m->emergency = false;
        (void)pthread_mutex_unlock(&s->lock);
        (void)pthread_mutex_lock(&m->busy);
        if (b != NULL) {
            flush_oldest(t, b);
        }
        retention_step(t, clock_wall_us(), trace_mono_ms());
        if (emergency) {
            emergency_drop(t, trace_mono_ms());
        }
        (void)pthread_mutex_unlock(&m->busy);
        (void)pthread_mutex_lock(&s->lock);
        if (atomic_load(&m->flush_error) < 0 && !m->stop && !m->emergency) {
            wait_ms(s, RETRY_MS);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

void maintain_poke(struct trace *t, bool emergency)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    t->maintain.check = true;
    t->maintain.emergency = t->maintain.emergency || emergency;
    (void)pthread_cond_broadcast(&t->shared.changed);
    (void)pthread_mutex_unlock(&t->shared.lock);
}

void maintain_start(struct trace *t)
{
    int rc = pthread_create(&t->maintain.thread, NULL, run, t);
    assert(rc == 0);
    (void)pthread_setname_np(t->maintain.thread, "trace-maintain");
    t->maintain.started = true;
}

void maintain_stop(struct trace *t)
{
    if (!t->maintain.started) {
        return;
    }
    (void)pthread_mutex_lock(&t->shared.lock);
    t->maintain.stop = true;
    (void)pthread_cond_broadcast(&t->shared.changed);
    (void)pthread_mutex_unlock(&t->shared.lock);
    (void)pthread_join(t->maintain.thread, NULL);
    t->maintain.started = false;
}
