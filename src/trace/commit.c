/*
 * The commit thread: rings ─► stage (seq given, encoded into the RAM buffer, not visible) ─► one store write:
 * journal blocks, ring positions, collapsed counts, all jobs ─► publish ─► release the rings, jobs' done.
 *
 * Invariants:
 * - what is staged stays as it is until it is written or, in an outage, dropped: a retry writes the same bytes
 *   under the same keys, so a write that failed but took effect does no harm;
 * - ring positions are in the same batch as the records: a drain after kill -9 neither loses nor doubles;
 * - nothing is visible before its journal block is in the WAL.
 *
 * It sleeps when there is nothing to do, commits at most once per interval, but at once when a job waits for an
 * fsync and none is running (so jobs that arrive during one fsync share the next).
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "trace/trace_priv.h"

enum {
    ALIVE_MS = 10000,
    STAGE_MIN = 64 << 10,
    STAGE_MAX = 2 << 20,
    CHECK_MS = 60000,
    GIVE_UP_MS = 3000
};
#define DAY_US (UINT64_C(86400) * 1000000)

/* ---- the stage ---- */

static struct staged_block *block_for(struct commit *c, const uint8_t *at, size_t n, bool moved)
{
    struct staged_block *b = c->block_n == 0 ? NULL : &c->blocks[c->block_n - 1];
    if (b != NULL && !moved && b->head.count < BLOCK_RECORDS && b->n + n <= BLOCK_BYTES) {
        return b;
    }
    if (c->block_n == c->block_cap) {
        c->block_cap = c->block_cap == 0 ? 64 : c->block_cap * 2;
        c->blocks = mem_realloc(c->blocks, c->block_cap * sizeof *c->blocks);
    }
    b = &c->blocks[c->block_n++];
    *b = (struct staged_block){.p = at, .head = {.min_us = UINT64_MAX}};
    return b;
}

/* Of the instance, as journal blocks tell it; that of the record before is nearly always the same. */
static uint64_t instance_hash(struct commit *c, struct slice name)
{
    if (c->hashed == 0 || !slice_eq(buf_slice(&c->hashed_name), name)) {
        buf_clear(&c->hashed_name);
        buf_put_slice(&c->hashed_name, name);
        c->hashed = hash64(name) | 1;
    }
    return c->hashed;
}

static void block_count(struct staged_block *b, const struct record *r, uint64_t instance, size_t n)
{
    struct block_head *h = &b->head;
    if (h->count == 0) {
        h->first_seq = r->seq;
        h->instance_hash = instance;
    }
    h->instance_hash = h->instance_hash == instance ? instance : 0;
    h->last_seq = r->seq;
    h->count++;
    h->unidentified = (uint16_t)(h->unidentified + (r->client_id.n == 0));
    h->min_us = r->time_us < h->min_us ? r->time_us : h->min_us;
    h->max_us = r->time_us > h->max_us ? r->time_us : h->max_us;
    b->n += n;
}

void commit_stage(struct trace *t, const struct record *r, struct slice bytes)
{
    struct commit *c = &t->commit;
    struct record rec = *r;
    rec.seq = c->next_seq++;
    if (rec.node.n == 0) {
        rec.node = slice_str(t->node);
    }
    uint8_t *p = buffer_reserve(t->shared.active, record_size(&rec));
    size_t n = record_encode_from(&rec, bytes, p);
    bool moved;
    const uint8_t *at = buffer_stage(t->shared.active, n, hash_device(rec.instance, rec.client_id),
                                     (rec.flags & RECORD_GAP) == 0, &moved);
    block_count(block_for(c, at, n + 2, moved), &rec, instance_hash(c, rec.instance), n + 2);
    c->staged_n++;
    if (rec.cause != CAUSE_SERVER_CRASH && rec.time_us > c->newest_us) {
        c->newest_us = rec.time_us; /* the broker was alive then */
    }
    if (!c->counted) {
        trace_count_open(t, &rec);
    }
    if (c->recovery != NULL) {
        recovery_note(c->recovery, &rec, slice_make(p, n));
    }
}

static uint64_t buffer_capacity(const struct trace *t)
{
    uint64_t n = t->opt.memory_bytes / (MAX_FROZEN + 1);
    return n < STAGE_MIN ? STAGE_MIN : n;
}

static void set_active(struct trace *t, struct buffer *b)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    struct buffer *old = t->shared.active;
    t->shared.active = b;
    (void)pthread_mutex_unlock(&t->shared.lock);
    buffer_unref(old);
}

bool commit_room(struct trace *t)
{
    struct buffer *b = t->shared.active;
    if (b != NULL && buffer_full(b) && !trace_freeze(t)) {
        return false;
    }
    if (t->shared.active == NULL) {
        set_active(t, buffer_new(&t->spare, t->commit.segment_seq, t->commit.next_seq,
                                 buffer_capacity(t)));
    }
    return true;
}

/* ---- segments ---- */

static bool clock_stepped(struct commit *c, uint64_t wall_us, uint64_t mono_us)
{
    int64_t offset = (int64_t)wall_us - (int64_t)mono_us;
    int64_t by = offset - c->clock_offset_us;
    c->clock_offset_us = offset;
    return by > 1000000 || by < -1000000;
}

static void begin_segment(struct trace *t, int64_t day)
{
    struct commit *c = &t->commit;
    struct buffer *b = t->shared.active;
    if (b != NULL && buffer_visible(b) > 0) {
        if (!trace_freeze(t)) {
            return; /* next time */
        }
    } else {
        set_active(t, NULL);
    }
    if (segment_create(t, c->next_seq) == 0) {
        c->segment_seq = c->next_seq;
        c->day = day;
        atomic_store(&t->maintain.want_roll, false);
    }
}

void commit_roll(struct trace *t, uint64_t wall_us, uint64_t mono_us)
{
    struct commit *c = &t->commit;
    bool stepped = c->clock_offset_us != INT64_MIN && clock_stepped(c, wall_us, mono_us);
    if (c->clock_offset_us == INT64_MIN) {
        c->clock_offset_us = (int64_t)wall_us - (int64_t)mono_us;
    }
    if (stepped) {
        log_warn("the clock was stepped: new trace segment", "seq=%llu",
                 (unsigned long long)c->next_seq);
        atomic_store(&t->maintain.clock_stepped, true);
        atomic_store(&t->maintain.want_roll, true);
    }
    int64_t day = (int64_t)(wall_us / DAY_US);
    bool due = c->segment_seq == 0 || day != c->day || atomic_load(&t->maintain.want_roll);
    if (due && c->segment_seq == c->next_seq) {
        c->day = day; /* nothing in it yet */
        atomic_store(&t->maintain.want_roll, false);
    } else if (due) {
        begin_segment(t, day);
    }
}

/* ---- gathering ---- */

static bool source_peek(struct source *s)
{
    while (!s->has_head) {
        uint64_t pos = s->pos;
        if (!ring_next(s->ring, &pos, &s->bytes)) {
            return false;
        }
        if (record_decode(s->bytes, &s->head) == 0) {
            s->has_head = true;
            s->head_end = pos;
        } else {
            s->pos = pos; /* ours wrote it: can't be */
        }
    }
    return true;
}

/* The source with the oldest record, NULL when all are empty. */
static struct source *oldest_source(struct commit *c)
{
    struct source *best = NULL;
    for (unsigned i = 0; i < c->source_n; i++) {
        struct source *s = &c->sources[i];
        if (source_peek(s) && (best == NULL || s->head.time_us < best->head.time_us)) {
            best = s;
        }
    }
    return best;
}

static void source_take(struct source *s)
{
    s->pos = s->head_end;
    s->has_head = false;
}

static void stage_collapsed(struct trace *t, uint64_t now_us)
{
    struct record r;
    while (collapse_pop(t->commit.collapse, now_us, &r)) {
        commit_stage(t, &r, slice_make(NULL, 0));
    }
}

static void stage_rings(struct trace *t)
{
    struct commit *c = &t->commit;
    uint64_t limit = buffer_capacity(t) / 2;
    limit = limit > STAGE_MAX ? STAGE_MAX : limit;
    uint64_t bytes = 0;
    struct source *s;
    while (bytes < limit && (s = oldest_source(c)) != NULL) {
        bytes += s->head_end - s->pos;
        if (!record_is_x(&s->head) || collapse_take(c->collapse, &s->head)) {
            commit_stage(t, &s->head, s->bytes);
        }
        source_take(s);
    }
    if (bytes >= limit) {
        c->last_commit_ms = 0; /* there is more: don't pace */
    }
}

void commit_gather(struct trace *t)
{
    uint64_t wall = clock_wall_us();
    assert(t->commit.staged_n == 0);
    if (!intake_has_records(t) && !outage_pending(&t->commit.outage) &&
        collapse_due_us(t->commit.collapse) == 0) {
        return;
    }
    commit_roll(t, wall, clock_mono_us());
    t->commit.blocked = t->commit.segment_seq == 0 || !commit_room(t);
    if (t->commit.blocked) {
        return;
    }
    if (outage_stage(t)) {
        return; /* before what the rings hold: a kept connect before its ending */
    }
    bool closing = atomic_load(&t->commit.stop) && t->commit.recovery == NULL;
    stage_collapsed(t, closing && !intake_has_records(t) ? UINT64_MAX : wall);
    stage_rings(t);
}

/* ---- writing ---- */

static void put_blocks(struct trace *t)
{
    struct commit *c = &t->commit;
    if (c->block_n == 0) {
        return;
    }
    (void)pthread_mutex_lock(&t->shared.lock);
    const struct segment *s = segment_find(t, c->segment_seq);
    struct store_cf *j = s == NULL ? NULL : s->j;
    (void)pthread_mutex_unlock(&t->shared.lock);
    assert(j != NULL); /* only older ones are dropped */
    for (size_t i = 0; i < c->block_n; i++) {
        const struct staged_block *b = &c->blocks[i];
        uint8_t key[BLOCK_JOURNAL_KEY_BYTES];
        put_be64(key, b->head.first_seq);
        buf_clear(&c->value);
        block_journal_encode(c->packer, &b->head, slice_make(b->p, b->n), &c->value);
        store_batch_put(c->batch, j, slice_make(key, sizeof key), buf_slice(&c->value));
    }
}

/* version 1 | next seq 8 | newest time 8 | rings 2 | epoch 8, position 8 of each */
static void put_position(struct trace *t)
{
    struct commit *c = &t->commit;
    buf_clear(&c->value);
    uint8_t *p = buf_reserve(&c->value, 19 + 16 * (size_t)c->source_n);
    p[0] = 1;
    put_le64(p + 1, c->next_seq);
    put_le64(p + 9, c->newest_us);
    put_le16(p + 17, (uint16_t)c->source_n);
    for (unsigned i = 0; i < c->source_n; i++) {
        put_le64(p + 19 + 16 * i, ring_epoch(c->sources[i].ring));
        put_le64(p + 27 + 16 * i, c->sources[i].pos);
    }
    buf_commit(&c->value, 19 + 16 * (size_t)c->source_n);
    store_batch_put(c->batch, t->meta, slice_str(META_COMMIT), buf_slice(&c->value));
}

void gap_put(const struct trace *t, struct store_batch *batch, const struct gap *g)
{
    uint8_t key[sizeof META_GAP - 1 + 8];
    uint8_t value[24];
    memcpy(key, META_GAP, sizeof META_GAP - 1);
    put_be64(key + sizeof META_GAP - 1, g->seq);
    put_le64(value, g->span.from_us);
    put_le64(value + 8, g->span.to_us);
    put_le64(value + 16, g->span.count);
    store_batch_put(batch, t->meta, slice_make(key, sizeof key), slice_make(value, sizeof value));
}

static void put_gaps(struct trace *t)
{
    for (size_t i = 0; i < t->commit.gap_n; i++) {
        gap_put(t, t->commit.batch, &t->commit.gaps[i]);
    }
}

static bool rings_moved(const struct commit *c)
{
    for (unsigned i = 0; i < c->source_n; i++) {
        if (c->sources[i].pos != ring_tail(c->sources[i].ring)) {
            return true;
        }
    }
    return false;
}

static bool alive_due(const struct trace *t, uint64_t now_ms)
{
    return atomic_load(&t->counters.open) > 0 && now_ms - t->commit.last_alive_ms >= ALIVE_MS;
}

/* Returns whether the batch holds more than the heartbeat. */
static bool build_batch(struct trace *t, struct commit_job *jobs, uint64_t now_ms)
{
    struct commit *c = &t->commit;
    store_batch_clear(c->batch);
    if (c->staged_n > 0 || rings_moved(c) || atomic_load(&c->outage.active)) {
        put_blocks(t);
        put_position(t);
        put_gaps(t);
        collapse_save(c->collapse, c->batch, t->meta);
    }
    for (struct commit_job *j = jobs; j != NULL; j = j->next) {
        j->fill(j, c->batch);
    }
    bool more = store_batch_count(c->batch) > 0;
    if (alive_due(t, now_ms)) {
        uint8_t value[8];
        put_le64(value, clock_wall_us());
        store_batch_put(c->batch, t->meta, slice_str(META_ALIVE), slice_make(value, sizeof value));
        c->last_alive_ms = now_ms;
    }
    return more;
}

/* The gaps just written join those that queries see. */
static void share_gaps(struct trace *t)
{
    struct commit *c = &t->commit;
    if (c->gap_n == 0) {
        return;
    }
    struct shared *s = &t->shared;
    (void)pthread_mutex_lock(&s->lock);
    s->gaps = mem_realloc(s->gaps, (s->gap_n + c->gap_n) * sizeof *s->gaps);
    memcpy(s->gaps + s->gap_n, c->gaps, c->gap_n * sizeof *s->gaps);
    s->gap_n += c->gap_n;
    (void)pthread_mutex_unlock(&s->lock);
    c->gap_n = 0;
}

/* What is staged is in the store: show it, give the rings their room back. */
static void publish(struct trace *t)
{
    struct commit *c = &t->commit;
    uint64_t n = c->staged_n;
    if (n > 0) {
        buffer_publish(t->shared.active);
        atomic_store(&t->counters.visible_seq, c->next_seq - 1);
        atomic_fetch_add(&t->counters.committed, n);
        c->staged_n = 0;
        c->block_n = 0;
        share_gaps(t);
    }
    for (unsigned i = 0; i < c->source_n; i++) {
        if (c->sources[i].pos != ring_tail(c->sources[i].ring)) {
            ring_release(c->sources[i].ring, c->sources[i].pos);
        }
    }
    collapse_saved(c->collapse);
    if (n > 0 && c->recovery == NULL) {
        (void)pthread_mutex_lock(&t->shared.lock);
        if (t->shared.hook != NULL) {
            t->shared.hook(
                t->shared
                    .hook_arg); /* under the lock: once it is taken back, no call is under way */
        }
        (void)pthread_mutex_unlock(&t->shared.lock);
    }
}

static void jobs_fail(struct commit_job *jobs, int rc)
{
    while (jobs != NULL) {
        struct commit_job *next = jobs->next;
        jobs->done(jobs, rc);
        jobs = next;
    }
}

/* Non-sync jobs are done; the others go to the sync thread. */
static void jobs_written(struct trace *t, struct commit_job *jobs, bool dirty)
{
    struct commit_job *sync = NULL;
    struct commit_job **end = &sync;
    while (jobs != NULL) {
        struct commit_job *next = jobs->next;
        if (jobs->sync) {
            *end = jobs;
            end = &jobs->next;
        } else {
            jobs->done(jobs, 0);
        }
        jobs = next;
    }
    *end = NULL;
    sync_add(t, sync, dirty);
}

int commit_write(struct trace *t, struct commit_job *jobs)
{
    uint64_t now = trace_mono_ms();
    bool more = build_batch(t, jobs, now);
    int rc = (int)-failpoint_value("commit.write_errno");
    if (rc == 0 && store_batch_count(t->commit.batch) > 0) {
        rc = store_write(t->store, t->commit.batch, false);
        atomic_fetch_add(&t->counters.commits, 1);
    }
    if (rc < 0) {
        jobs_fail(jobs, rc);
        outage_begin(t, rc, now);
        return rc;
    }
    bool outage = atomic_load(&t->commit.outage.active);
    publish(t);
    jobs_written(t, jobs, more);
    if (outage) {
        outage_end(t);
    }
    return 0;
}

static void stall_failpoint(void)
{
    int64_t ms = failpoint_value("commit.stall_ms");
    if (ms > 0) {
        struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        (void)nanosleep(&ts, NULL);
    }
}

static void check_upkeep(struct trace *t, uint64_t now)
{
    if (now - t->commit.last_check_ms >= CHECK_MS) {
        t->commit.last_check_ms = now;
        maintain_poke(t, false);
    }
    int rc = atomic_exchange(&t->sync.error, 0);
    if (rc < 0) {
        outage_begin(t, rc, now);
    }
    /* Buffers that can't be flushed fill the RAM: the same as a store that refuses writes. */
    rc = atomic_load(&t->maintain.flush_error);
    if (rc < 0 && t->commit.staged_n == 0 && intake_has_records(t) && t->shared.active != NULL &&
        !commit_room(t)) {
        t->commit.outage.by_flush = true;
        outage_begin(t, rc, now);
    }
}

int commit_step(struct trace *t)
{
    struct commit *c = &t->commit;
    stall_failpoint();
    uint64_t now = trace_mono_ms();
    check_upkeep(t, now);
    struct commit_job *jobs = intake_take_jobs(t);
    c->last_commit_ms = now;
    if (atomic_load(&c->outage.active) && !outage_try(t, now)) {
        jobs_fail(jobs, c->outage.error);
        return c->outage.error;
    }
    if (c->staged_n == 0 && !c->outage.dropping) {
        commit_gather(t);
    }
    return commit_write(t, jobs);
}

void commit_adopt(struct trace *t)
{
    struct commit *c = &t->commit;
    struct slice v;
    if (store_get(t->store, NULL, t->meta, slice_str(META_COMMIT), &v) < 0) {
        return;
    }
    uint64_t next = v.n >= 19 ? get_le64(v.p + 1) : 0;
    store_free(&v);
    if (c->staged_n > 0 && next == c->next_seq) {
        publish(t); /* the write that failed is there */
    } else if (c->staged_n == 0 && next > c->next_seq) {
        int rc = recovery_replay(t, c->next_seq);
        c->next_seq = rc == 0 && c->next_seq < next ? next : c->next_seq;
    }
}

/* ---- the thread ---- */

static uint64_t idle_timeout(const struct trace *t, uint64_t now)
{
    uint64_t timeout = UINT64_MAX;
    if (atomic_load(&t->counters.open) > 0) {
        uint64_t age = now - t->commit.last_alive_ms;
        timeout = age >= ALIVE_MS ? 0 : ALIVE_MS - age;
    }
    uint64_t due = collapse_due_us(t->commit.collapse);
    if (due > 0) {
        uint64_t wall = clock_wall_us();
        uint64_t ms = due > wall ? (due - wall) / 1000 + 1 : 0;
        timeout = ms < timeout ? ms : timeout;
    }
    return timeout;
}

static bool has_work(const struct trace *t)
{
    return intake_has_records(t) || atomic_load(&t->intake.jobs) != NULL ||
           t->commit.staged_n > 0 || outage_pending(&t->commit.outage);
}

/* Rings may be full, but only a flush makes room: waits for it, and for jobs that want an fsync. */
static void wait_for_room(struct trace *t)
{
    struct timespec ts;
    (void)pthread_mutex_lock(&t->shared.lock);
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    ts.tv_nsec += 5000000;
    ts.tv_sec += ts.tv_nsec / 1000000000;
    ts.tv_nsec %= 1000000000;
    if (t->shared.frozen_n == MAX_FROZEN) {
        (void)pthread_cond_timedwait(&t->shared.changed, &t->shared.lock, &ts);
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
}

/* Returns when a commit is due. */
static void wait_for_work(struct trace *t)
{
    struct commit *c = &t->commit;
    while (!atomic_load(&c->stop)) {
        if (c->blocked) {
            wait_for_room(t);
            return;
        }
        uint64_t now = trace_mono_ms();
        if (atomic_load(&c->outage.active)) {
            uint64_t next = c->outage.next_try_ms;
            uint64_t ms = next > now ? next - now : 0;
            intake_sleep(t, INTAKE_PACING, ms > 20 ? 20 : ms);
            return;
        }
        if (atomic_load(&t->sync.error) != 0 ||
            (atomic_load(&t->intake.sync_jobs) > 0 && !atomic_load(&t->sync.running))) {
            return;
        }
        if (has_work(t)) {
            uint64_t age = now - c->last_commit_ms;
            if (age >= t->opt.commit_interval_ms) {
                return;
            }
            intake_sleep(t, INTAKE_PACING, t->opt.commit_interval_ms - age);
            if (atomic_load(&t->intake.sync_jobs) > 0 || intake_has_records(t)) {
                return;
            }
            continue;
        }
        uint64_t timeout = idle_timeout(t, now);
        if (timeout == 0) {
            return;
        }
        intake_sleep(t, INTAKE_IDLE, timeout);
    }
}

static void *run(void *arg)
{
    struct trace *t = arg;
    while (!atomic_load(&t->commit.stop)) {
        wait_for_work(t);
        (void)commit_step(t);
    }
    /* What is left: rings, jobs, counts not yet told. */
    uint64_t begin = trace_mono_ms();
    while ((has_work(t) || collapse_due_us(t->commit.collapse) > 0) &&
           trace_mono_ms() - begin < GIVE_UP_MS) {
        if (commit_step(t) < 0) {
            struct timespec ts = {.tv_nsec = 20000000};
            (void)nanosleep(&ts, NULL);
        }
    }
    jobs_fail(intake_take_jobs(t), -ECANCELED);
    return NULL;
}

void commit_start(struct trace *t)
{
    t->commit.last_check_ms = trace_mono_ms();
    int rc = pthread_create(&t->commit.thread, NULL, run, t);
    assert(rc == 0);
    (void)pthread_setname_np(t->commit.thread, "trace-commit");
    t->commit.started = true;
}

void commit_stop(struct trace *t)
{
    if (t->commit.started) {
        atomic_store(&t->commit.stop, true);
        intake_wake(t);
        (void)pthread_join(t->commit.thread, NULL);
        t->commit.started = false;
    }
}
