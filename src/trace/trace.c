/*
 * The trace's life: options, threads, counters. The order of start: segments and rings are recovered by the
 * opening thread (recover.c), with the maintenance thread running already, for a replay may need to flush; then
 * the sync and commit threads begin. Stop is the reverse; it flushes nothing: a start replays the journal.
 */
#include "trace/trace.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trace/trace_priv.h"

static void cond_init(pthread_cond_t *c)
{
    pthread_condattr_t a;
    (void)pthread_condattr_init(&a);
    (void)pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    (void)pthread_cond_init(c, &a);
    (void)pthread_condattr_destroy(&a);
}

void trace_set_limits(struct trace *t, const struct trace_limits *limits)
{
    struct live_limits *l = &t->limits;
    atomic_store(&l->fsync_interval_ms, limits->fsync_interval_ms);
    atomic_store(&l->retention_ms, limits->retention_ms);
    atomic_store(&l->fleet_retention_ms, limits->fleet_retention_ms);
    atomic_store(&l->retention_bytes, limits->retention_bytes);
    atomic_store(&l->max_range_ms, limits->max_range_ms);
}

uint64_t trace_max_range_ms(const struct trace *t)
{
    return atomic_load(&t->limits.max_range_ms);
}

static struct trace *trace_new(struct store *st, const struct trace_options *o)
{
    struct trace *t = mem_new(1, sizeof *t);
    t->store = st;
    t->meta = store_family(st, STORE_META);
    t->opt = *o;
    t->node = mem_strndup(o->node, strlen(o->node));
    t->ring_dir = mem_strndup(o->ring_dir, strlen(o->ring_dir));
    trace_set_limits(t, &o->limits);
    t->opt.node = t->node;
    t->opt.ring_dir = t->ring_dir;
    t->intake.n = o->loops;
    size_t bytes = (o->loops + 1) * sizeof *t->intake.loops;
    t->intake.loops = aligned_alloc(64, bytes);
    assert(t->intake.loops != NULL);
    memset(t->intake.loops, 0, bytes);
    t->commit.next_seq = 1;
    t->commit.packer = block_packer_new();
    t->commit.batch = store_batch_new();
    t->commit.collapse = collapse_new();
    (void)pthread_mutex_init(&t->shared.lock, NULL);
    cond_init(&t->shared.changed);
    (void)pthread_mutex_init(&t->sync.lock, NULL);
    cond_init(&t->sync.changed);
    (void)pthread_mutex_init(&t->maintain.busy, NULL);
    return t;
}

static void trace_free(struct trace *t, bool unlink_rings)
{
    struct commit *c = &t->commit;
    for (unsigned i = 0; i < c->source_n; i++) {
        bool empty = c->sources[i].pos == ring_head(c->sources[i].ring) && !c->sources[i].has_head;
        ring_close(c->sources[i].ring, unlink_rings && empty);
    }
    buffer_unref(t->shared.active);
    for (unsigned i = 0; i < t->shared.frozen_n; i++) {
        buffer_unref(t->shared.frozen[i]);
    }
    buffer_spare_fini(&t->spare);
    segments_free(t);
    for (unsigned i = 0; i < atomic_load(&t->shared.instance_n); i++) {
        free((void *)(uintptr_t)t->shared.instances[i].name.p);
    }
    free(t->shared.gaps);
    outage_fini(&c->outage);
    collapse_free(c->collapse);
    store_batch_free(c->batch);
    block_packer_free(c->packer);
    buf_fini(&c->value);
    buf_fini(&c->hashed_name);
    free(c->sources);
    free(c->blocks);
    free(c->gaps);
    (void)pthread_mutex_destroy(&t->maintain.busy);
    (void)pthread_cond_destroy(&t->sync.changed);
    (void)pthread_mutex_destroy(&t->sync.lock);
    (void)pthread_cond_destroy(&t->shared.changed);
    (void)pthread_mutex_destroy(&t->shared.lock);
    free(t->intake.loops);
    free(t->ring_dir);
    free(t->node);
    free(t);
}

int trace_open(struct trace **out, struct store *st, const struct trace_options *o,
               struct store_error *err)
{
    struct trace *t = trace_new(st, o);
    err->text[0] = '\0';
    maintain_start(t);
    int rc = recover(t, err);
    if (rc < 0) {
        maintain_stop(t);
        trace_free(t, false);
        return rc;
    }
    sync_start(t);
    commit_start(t);
    *out = t;
    return 0;
}

void trace_close(struct trace *t)
{
    if (t == NULL) {
        return;
    }
    commit_stop(t);
    sync_stop(t);
    maintain_stop(t);
    trace_free(t, true);
}

bool trace_freeze(struct trace *t)
{
    struct shared *s = &t->shared;
    (void)pthread_mutex_lock(&s->lock);
    while (t->commit.recovery != NULL && s->frozen_n == MAX_FROZEN &&
           atomic_load(&t->maintain.flush_error) == 0) {
        (void)pthread_cond_wait(&s->changed, &s->lock);
    }
    bool room = s->frozen_n < MAX_FROZEN;
    if (room) {
        s->frozen[s->frozen_n++] = s->active;
        s->active = NULL;
        (void)pthread_cond_broadcast(&s->changed);
    }
    (void)pthread_mutex_unlock(&s->lock);
    return room;
}

/* ---- counters ---- */

static struct instance_count *find_instance(struct shared *s, struct slice name, uint64_t hash)
{
    unsigned n = atomic_load_explicit(&s->instance_n, memory_order_acquire);
    for (unsigned i = 0; i < n; i++) {
        if (s->instances[i].hash == hash && slice_eq(s->instances[i].name, name)) {
            return &s->instances[i];
        }
    }
    return NULL;
}

/* Commit thread. */
static struct instance_count *get_instance(struct shared *s, struct slice name)
{
    if (s->last_instance != NULL && slice_eq(s->last_instance->name, name)) {
        return s->last_instance; /* nearly always: no hash */
    }
    uint64_t hash = hash64(name);
    struct instance_count *c = find_instance(s, name, hash);
    unsigned n = atomic_load(&s->instance_n);
    if (c == NULL && n < MAX_INSTANCES) {
        c = &s->instances[n];
        c->name = slice_make(mem_strndup(name.p, name.n), name.n);
        c->hash = hash;
        atomic_store_explicit(&s->instance_n, n + 1, memory_order_release);
    }
    s->last_instance = c;
    return c;
}

void trace_count_open(struct trace *t, const struct record *r)
{
    if (!record_is_status(r)) {
        return;
    }
    int64_t by = record_is_connect(r) ? 1 : -1;
    struct instance_count *c = get_instance(&t->shared, r->instance);
    atomic_fetch_add_explicit(&t->counters.open, by, memory_order_relaxed);
    if (c != NULL) {
        atomic_fetch_add_explicit(&c->open, by, memory_order_relaxed);
    }
}

uint64_t trace_online(struct trace *t, struct slice instance)
{
    const struct instance_count *c = find_instance(&t->shared, instance, hash64(instance));
    int64_t n = c == NULL ? 0 : atomic_load(&c->open);
    return n > 0 ? (uint64_t)n : 0;
}

uint64_t trace_last_seq(struct trace *t)
{
    return atomic_load(&t->counters.visible_seq);
}

void trace_on_commit(struct trace *t, void (*fn)(void *arg), void *arg)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    t->shared.hook = fn;
    t->shared.hook_arg = arg;
    (void)pthread_mutex_unlock(&t->shared.lock);
}

/* Under shared.lock. */
static uint64_t oldest_kept(struct trace *t)
{
    const struct shared *s = &t->shared;
    for (size_t i = 0; i < s->segment_n; i++) {
        const struct segment *seg = s->segments[i];
        uint64_t oldest = seg->dm.min_us < seg->xm.min_us ? seg->dm.min_us : seg->xm.min_us;
        if (oldest != UINT64_MAX) {
            return oldest;
        }
    }
    const struct buffer *b = s->frozen_n > 0 ? s->frozen[0] : s->active;
    struct record r;
    if (b != NULL && buffer_visible(b) > 0 && record_decode(buffer_record(b, 0), &r) == 0) {
        return r.time_us;
    }
    return 0;
}

void trace_stats(struct trace *t, struct trace_stats *out)
{
    int64_t open = atomic_load(&t->counters.open);
    *out = (struct trace_stats){
        .next_seq = atomic_load(&t->counters.visible_seq) + 1,
        .committed = atomic_load(&t->counters.committed),
        .commits = atomic_load(&t->counters.commits),
        .syncs = atomic_load(&t->sync.syncs),
        .dropped = atomic_load(&t->counters.dropped),
        .open = open > 0 ? (uint64_t)open : 0,
        .degraded = atomic_load(&t->commit.outage.active),
    };
    for (unsigned i = 0; i < t->intake.n; i++) {
        const struct ring *r = t->intake.loops[i].ring;
        uint64_t tail =
            r == NULL ? 0 : ring_tail(r); /* before the head: it is never ahead of that */
        out->ring_bytes += r == NULL ? 0 : ring_head(r) - tail;
    }
    store_stats(t->store, &out->store);
    (void)pthread_mutex_lock(&t->shared.lock);
    out->oldest_us = oldest_kept(t);
    for (unsigned i = 0; i < t->shared.frozen_n; i++) {
        out->buffer_bytes += buffer_bytes(t->shared.frozen[i]);
    }
    out->buffer_bytes += t->shared.active == NULL ? 0 : buffer_bytes(t->shared.active);
    out->gaps = t->shared.gap_n;
    (void)pthread_mutex_unlock(&t->shared.lock);
}
