/*
 * What a start does before anyone is served:
 *
 *   1 the store's watermarks: next seq, ring positions, what the device blocks hold
 *   2 journal blocks behind the device blocks' watermark ─► RAM buffer; channels they open and end are noted
 *   3 rings that a crash left (all there are, also of more loops than now) ─► committed like any record
 *   4 counts of collapsed rows ─► their rows
 *   5 channels open in the store or in 2 and 3, and not ended there ─► close, server.crash
 *
 * Idempotent: a kill at any point leaves less to do, never something to do twice, for each batch moves the
 * positions together with what it writes. Device blocks are never scanned.
 */
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "trace/trace_priv.h"

enum { CLOSES_AT_ONCE = 4096, TRIES_MS = 3000 };
#define HOUR_US (UINT64_C(3600) * 1000000)

/* A channel seen in journal or rings; `bytes` NULL: it has ended. */
struct seen {
    uint8_t channel[RECORD_CHANNEL_BYTES];
    uint8_t *bytes;
    uint32_t n;
    bool used;
};

struct recovery {
    struct seen *slots;
    size_t slot_count, used;
    bool closing; /* what is staged now are our own closes */
    int64_t noted;
    uint64_t alive_us;
    uint64_t closed;
};

static struct seen *seen_slot(struct recovery *r, const uint8_t *channel)
{
    size_t at = hash64(slice_make(channel, RECORD_CHANNEL_BYTES)) & (r->slot_count - 1);
    while (r->slots[at].used && memcmp(r->slots[at].channel, channel, RECORD_CHANNEL_BYTES) != 0) {
        at = (at + 1) & (r->slot_count - 1);
    }
    return &r->slots[at];
}

static void seen_grow(struct recovery *r)
{
    struct seen *old = r->slots;
    size_t n = r->slot_count;
    r->slot_count = n == 0 ? 1024 : n * 2;
    r->slots = mem_new(r->slot_count, sizeof *r->slots);
    for (size_t i = 0; i < n; i++) {
        if (old[i].used) {
            *seen_slot(r, old[i].channel) = old[i];
        }
    }
    free(old);
}

static void crash_point(struct recovery *r)
{
    int64_t after = failpoint_value("replay.crash_after");
    if (++r->noted == after) {
        (void)kill(getpid(), SIGKILL);
    }
}

void recovery_note(struct recovery *r, const struct record *rec, struct slice bytes)
{
    crash_point(r);
    if (r->closing || !record_is_status(rec)) {
        return;
    }
    if (r->used * 2 >= r->slot_count) {
        seen_grow(r);
    }
    struct seen *s = seen_slot(r, rec->channel);
    r->used += !s->used;
    s->used = true;
    memcpy(s->channel, rec->channel, RECORD_CHANNEL_BYTES);
    free(s->bytes);
    s->bytes = NULL;
    if (record_is_connect(rec)) {
        s->bytes = mem_alloc(bytes.n);
        memcpy(s->bytes, bytes.p, bytes.n);
        s->n = (uint32_t)bytes.n;
    }
}

static void recovery_free(struct recovery *r)
{
    for (size_t i = 0; i < r->slot_count; i++) {
        free(r->slots[i].bytes);
    }
    free(r->slots);
    free(r);
}

/* ---- journal ---- */

/* The active buffer continues at `seq` in that segment. */
static int buffer_at(struct trace *t, uint64_t segment_seq, uint64_t seq)
{
    struct buffer *b = t->shared.active;
    t->commit.segment_seq = segment_seq;
    t->commit.next_seq = seq;
    if (b != NULL &&
        (buffer_segment(b) != segment_seq || buffer_first_seq(b) + buffer_visible(b) != seq)) {
        if (buffer_visible(b) > 0 && !trace_freeze(t)) {
            return -ENOSPC;
        }
        if (t->shared.active != NULL) {
            (void)pthread_mutex_lock(&t->shared.lock);
            t->shared.active = NULL;
            (void)pthread_mutex_unlock(&t->shared.lock);
            buffer_unref(b);
        }
    }
    (void)commit_room(t); /* no room: flushing fails; beyond its bounds rather than not at all */
    return 0;
}

static void replay_record(struct trace *t, struct slice bytes)
{
    struct commit *c = &t->commit;
    struct record r;
    struct buffer *b = t->shared.active;
    uint8_t *p = buffer_reserve(b, bytes.n);
    memcpy(p, bytes.p, bytes.n);
    bool moved;
    if (record_decode(bytes, &r) < 0) {
        /* Keeps its seq; nobody can read it. The block was written whole, so this can't be. */
        (void)buffer_stage(b, bytes.n, (struct hash128){0}, false, &moved);
        c->next_seq++;
        return;
    }
    (void)buffer_stage(b, bytes.n, hash_device(r.instance, r.client_id),
                       (r.flags & RECORD_GAP) == 0, &moved);
    c->next_seq++;
    if (r.cause != CAUSE_SERVER_CRASH && r.time_us > c->newest_us) {
        c->newest_us = r.time_us;
    }
    if (c->recovery != NULL) {
        recovery_note(c->recovery, &r, slice_make(p, bytes.n));
    }
}

static int replay_block(struct trace *t, uint64_t segment_seq, uint64_t from, struct slice value,
                        struct buf *scratch)
{
    struct block_head h;
    struct slice payload;
    struct slice rest;
    struct slice bytes;
    if (block_journal_decode(value, &h, &payload) < 0) {
        return -EPROTO;
    }
    if (h.last_seq < from || h.last_seq < t->commit.next_seq) {
        return 0;
    }
    if (block_journal_unpack(t->commit.packer, &h, payload, scratch, &rest) < 0) {
        return -EPROTO;
    }
    uint64_t first = h.first_seq < t->commit.next_seq ? t->commit.next_seq : h.first_seq;
    int rc = buffer_at(t, segment_seq, first);
    uint64_t seq = h.first_seq;
    while (rc == 0 && block_next(&rest, &bytes)) {
        if (seq++ >= first) {
            replay_record(t, bytes);
        }
    }
    if (rc == 0) {
        buffer_publish(t->shared.active);
    }
    return rc;
}

static int replay_segment(struct trace *t, uint64_t segment_seq, struct store_cf *j, uint64_t from)
{
    uint8_t key[BLOCK_JOURNAL_KEY_BYTES];
    put_be64(key, from);
    struct store_iter *it = store_iter_new(t->store, NULL, j, 0);
    struct buf scratch = {0};
    store_iter_seek_prev(it, slice_make(key, sizeof key));
    if (!store_iter_valid(it)) {
        store_iter_first(it);
    }
    int rc = 0;
    for (; rc == 0 && store_iter_valid(it); store_iter_next(it)) {
        rc = replay_block(t, segment_seq, from, store_iter_value(it), &scratch);
    }
    rc = rc == 0 ? store_iter_error(it) : rc;
    store_iter_free(it);
    buf_fini(&scratch);
    return rc;
}

int recovery_replay(struct trace *t, uint64_t from)
{
    uint64_t segment_seq = t->commit.segment_seq;
    t->commit.next_seq = from;
    int rc = 0;
    for (size_t i = 0; i < t->shared.segment_n && rc == 0; i++) {
        const struct segment *seg = t->shared.segments[i];
        uint64_t end =
            i + 1 < t->shared.segment_n ? t->shared.segments[i + 1]->first_seq : UINT64_MAX;
        if (seg->j != NULL && end > from) {
            rc = replay_segment(t, seg->first_seq, seg->j, from);
        }
    }
    if (t->shared.segment_n > 0) {
        segment_seq = t->shared.segments[t->shared.segment_n - 1]->first_seq;
    }
    t->commit.segment_seq = segment_seq;
    atomic_store(&t->counters.visible_seq, t->commit.next_seq - 1);
    if (t->shared.active != NULL && buffer_segment(t->shared.active) != segment_seq) {
        rc = rc == 0 ? buffer_at(t, segment_seq, t->commit.next_seq) : rc;
    }
    return rc;
}

/* ---- rings ---- */

static void add_source(struct trace *t, struct ring *ring, struct slice position)
{
    struct commit *c = &t->commit;
    c->sources = mem_realloc(c->sources, (c->source_n + 1) * sizeof *c->sources);
    struct source *s = &c->sources[c->source_n++];
    *s = (struct source){.ring = ring, .pos = ring_tail(ring)};
    for (size_t at = 19; at + 16 <= position.n; at += 16) {
        uint64_t pos = get_le64(position.p + at + 8);
        if (get_le64(position.p + at) == ring_epoch(ring) && pos > s->pos &&
            pos <= ring_head(ring)) {
            s->pos = pos;
        }
    }
}

static int open_ring(struct trace *t, const char *path, bool create, struct slice position)
{
    struct ring *ring;
    int rc = ring_open(&ring, path, create);
    if (rc == -EPROTO) {
        log_warn("a ring file is damaged and was removed", "path=\"%s\"", path);
        (void)unlink(path);
        rc = create ? ring_open(&ring, path, true) : -ENOENT;
    }
    if (rc == 0) {
        add_source(t, ring, position);
    }
    return rc == -ENOENT && !create ? 0 : rc;
}

/* The loops' rings come first, then those of loops that are no more. */
static int open_rings(struct trace *t, struct slice position)
{
    char path[512];
    int rc = 0;
    for (unsigned i = 0; i < t->intake.n && rc == 0; i++) {
        (void)snprintf(path, sizeof path, "%s/tracemq-%s.%u", t->ring_dir, store_uuid(t->store), i);
        rc = open_ring(t, path, true, position);
        if (rc == 0) {
            t->intake.loops[i].ring = t->commit.sources[i].ring;
        }
    }
    DIR *d = opendir(t->ring_dir);
    const struct dirent *e;
    char prefix[64];
    int n = snprintf(prefix, sizeof prefix, "tracemq-%s.", store_uuid(t->store));
    while (rc == 0 && d != NULL && (e = readdir(d)) != NULL) {
        char *end;
        if (strncmp(e->d_name, prefix, (size_t)n) != 0) {
            continue;
        }
        unsigned long loop = strtoul(e->d_name + n, &end, 10);
        if (end != e->d_name + n && *end == '\0' && loop >= t->intake.n) {
            (void)snprintf(path, sizeof path, "%s/%s", t->ring_dir, e->d_name);
            rc = open_ring(t, path, false, position);
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return rc;
}

/* Commits what is staged or waits in the rings; a full disk gets a few tries. */
static int write_out(struct trace *t)
{
    uint64_t begin = trace_mono_ms();
    for (;;) {
        int rc = commit_step(t);
        if (rc == 0 && t->commit.staged_n == 0 && !intake_has_records(t)) {
            return 0;
        }
        if (rc < 0) {
            if (trace_mono_ms() - begin > TRIES_MS) {
                return rc;
            }
            struct timespec ts = {.tv_nsec = 20000000};
            (void)nanosleep(&ts, NULL);
        }
    }
}

static void drop_old_rings(struct trace *t)
{
    struct commit *c = &t->commit;
    while (c->source_n > t->intake.n) {
        ring_close(c->sources[--c->source_n].ring, true);
    }
}

/* ---- collapsed rows that a crash left uncounted ---- */

static int tell_collapsed(struct trace *t)
{
    struct store_iter *it = store_iter_new(t->store, NULL, t->meta, 0);
    struct slice prefix = slice_str(COLLAPSE_PREFIX);
    int rc = 0;
    for (store_iter_seek(it, prefix);
         store_iter_valid(it) && slice_has_prefix(store_iter_key(it), prefix);
         store_iter_next(it)) {
        struct record r;
        if (record_decode(store_iter_value(it), &r) == 0) {
            commit_roll(t, clock_wall_us(), clock_mono_us());
            (void)commit_room(t);
            commit_stage(t, &r, slice_make(NULL, 0));
        }
        collapse_delete(t->commit.collapse, store_iter_key(it));
    }
    store_iter_free(it);
    if (t->commit.staged_n > 0) {
        rc = write_out(t); /* rows and deletes in one batch */
    }
    return rc;
}

/* ---- crash closes ---- */

static void stage_close(struct trace *t, struct slice connect_bytes)
{
    struct recovery *rec = t->commit.recovery;
    struct record c;
    if (record_decode(connect_bytes, &c) < 0) {
        return;
    }
    uint64_t now = clock_wall_us();
    struct evidence ev;
    evidence_init(&ev);
    evidence_u64(&ev, EV_LAST_ALIVE, rec->alive_us > c.time_us ? rec->alive_us : c.time_us);
    if (rec->alive_us > c.time_us) {
        evidence_u64(&ev, EV_DURATION_MS, (rec->alive_us - c.time_us) / 1000);
    }
    struct record r = c; /* the connect's facts: who, from where, how */
    r.time_us = now;
    r.connected_at_us = c.time_us;
    r.cause = CAUSE_SERVER_CRASH;
    r.flags = c.flags & RECORD_CLEAN_SESSION;
    r.detail = slice_make(ev.bytes, ev.n);
    commit_stage(t, &r, slice_make(NULL, 0));
    rec->closed++;
}

static int close_one(struct trace *t, struct slice bytes)
{
    if (t->commit.staged_n == 0) {
        commit_roll(t, clock_wall_us(), clock_mono_us());
        (void)commit_room(t);
    }
    stage_close(t, bytes);
    return t->commit.staged_n >= CLOSES_AT_ONCE ? write_out(t) : 0;
}

static int close_stored(struct trace *t)
{
    struct recovery *r = t->commit.recovery;
    struct store_iter *it = store_iter_new(t->store, NULL, store_family(t->store, STORE_OPEN), 0);
    int rc = 0;
    for (store_iter_first(it); rc == 0 && store_iter_valid(it); store_iter_next(it)) {
        struct slice key = store_iter_key(it);
        if (key.n == RECORD_CHANNEL_BYTES && (r->slot_count == 0 || !seen_slot(r, key.p)->used)) {
            rc = close_one(t, store_iter_value(it));
        }
    }
    store_iter_free(it);
    return rc;
}

static int close_seen(struct trace *t)
{
    struct recovery *r = t->commit.recovery;
    int rc = 0;
    for (size_t i = 0; i < r->slot_count && rc == 0; i++) {
        if (r->slots[i].bytes != NULL) {
            rc = close_one(t, slice_make(r->slots[i].bytes, r->slots[i].n));
        }
    }
    return rc;
}

static int close_open(struct trace *t)
{
    struct recovery *r = t->commit.recovery;
    struct slice v;
    r->alive_us = t->commit.newest_us;
    if (store_get(t->store, NULL, t->meta, slice_str(META_ALIVE), &v) == 0) {
        uint64_t beat = v.n == 8 ? get_le64(v.p) : 0;
        r->alive_us = beat > r->alive_us ? beat : r->alive_us;
        store_free(&v);
    }
    r->closing = true;
    int rc = close_stored(t);
    rc = rc == 0 ? close_seen(t) : rc;
    rc = rc == 0 && t->commit.staged_n > 0 ? write_out(t) : rc;
    if (rc == 0 && r->closed > 0) {
        log_info("channels that a crash left open were closed", "count=%llu",
                 (unsigned long long)r->closed);
        rc = store_sync(t->store);
    }
    return rc;
}

/* ---- the whole ---- */

static int load_gaps(struct trace *t)
{
    struct slice prefix = slice_str(META_GAP);
    struct store_iter *it = store_iter_new(t->store, NULL, t->meta, 0);
    struct shared *s = &t->shared;
    for (store_iter_seek(it, prefix);
         store_iter_valid(it) && slice_has_prefix(store_iter_key(it), prefix);
         store_iter_next(it)) {
        struct slice k = store_iter_key(it);
        struct slice v = store_iter_value(it);
        if (k.n == prefix.n + 8 && v.n == 24) {
            s->gaps = mem_realloc(s->gaps, (s->gap_n + 1) * sizeof *s->gaps);
            s->gaps[s->gap_n++] = (struct gap){.seq = get_be64(k.p + prefix.n),
                                               .span = {.from_us = get_le64(v.p),
                                                        .to_us = get_le64(v.p + 8),
                                                        .count = get_le64(v.p + 16)}};
        }
    }
    int rc = store_iter_error(it);
    store_iter_free(it);
    return rc;
}

static void load_clock(struct trace *t, uint64_t newest_us)
{
    struct commit *c = &t->commit;
    struct retention *r = &t->maintain.retention;
    uint64_t now = clock_wall_us();
    uint64_t mono = trace_mono_ms();
    struct slice v;
    c->clock_offset_us = INT64_MIN;
    c->day = (int64_t)(newest_us / (24 * HOUR_US));
    if (newest_us == 0) {
        return;
    }
    if (now + 1000000 < newest_us) {
        log_warn("the clock is before the newest record: new trace segment", "behind_s=%llu",
                 (unsigned long long)((newest_us - now) / 1000000));
        atomic_store(&t->maintain.want_roll, true);
    }
    if (now < newest_us || now - newest_us > HOUR_US) {
        r->hold_until_ms = mono + RETENTION_PAUSE_MS; /* switched off, or stepped? */
    }
    if (store_get(t->store, NULL, t->meta, slice_str(META_DROP), &v) == 0) {
        uint64_t last = v.n == 8 ? get_le64(v.p) : 0;
        uint64_t ago_ms = now > last ? (now - last) / 1000 : 0;
        r->last_drop_ms = ago_ms < RETENTION_PAUSE_MS ? mono - ago_ms : 0;
        store_free(&v);
    }
}

/* What the device blocks hold; 0 = nothing. */
static uint64_t flushed_seq(const struct trace *t)
{
    uint64_t seq = 0;
    for (size_t i = 0; i < t->shared.segment_n; i++) {
        seq = t->shared.segments[i]->dm.seq > seq ? t->shared.segments[i]->dm.seq : seq;
    }
    return seq;
}

static int recover_steps(struct trace *t, const char **step)
{
    struct slice position = {0};
    struct commit *c = &t->commit;
    *step = "reading the trace's segments";
    int rc = segments_load(t);
    rc = rc == 0 ? load_gaps(t) : rc;
    if (rc == 0) {
        rc = store_get(t->store, NULL, t->meta, slice_str(META_COMMIT), &position);
        rc = rc == -ENOENT ? 0 : rc;
    }
    if (rc < 0) {
        return rc;
    }
    bool known = position.n >= 19;
    uint64_t next = known ? get_le64(position.p + 1) : 1;
    c->newest_us = known ? get_le64(position.p + 9) : 0;
    load_clock(t, c->newest_us);
    *step = "replaying the journal";
    rc = recovery_replay(t, flushed_seq(t) + 1);
    c->next_seq = next > c->next_seq ? next : c->next_seq;
    atomic_store(&t->counters.visible_seq, c->next_seq - 1);
    *step = "opening the rings";
    rc = rc == 0 ? open_rings(t, position) : rc;
    store_free(&position);
    *step = "writing what the rings held";
    rc = rc == 0 ? buffer_at(t, c->segment_seq, c->next_seq) : rc;
    rc = rc == 0 && intake_has_records(t) ? write_out(t) : rc;
    rc = rc == 0 ? tell_collapsed(t) : rc;
    *step = "closing the channels that a crash left open";
    rc = rc == 0 ? close_open(t) : rc;
    if (rc == 0) {
        drop_old_rings(t);
    }
    return rc;
}

int recover(struct trace *t, struct store_error *err)
{
    const char *step = "";
    t->commit.recovery = mem_new(1, sizeof *t->commit.recovery);
    int rc = recover_steps(t, &step);
    recovery_free(t->commit.recovery);
    t->commit.recovery = NULL;
    if (rc < 0) {
        (void)snprintf(err->text, sizeof err->text, "cannot recover the trace: %s failed: %s", step,
                       strerror(-rc));
    }
    atomic_store(&t->counters.open, 0);
    for (unsigned i = 0; i < atomic_load(&t->shared.instance_n); i++) {
        atomic_store(&t->shared.instances[i].open, 0);
    }
    return rc;
}
