/*
 * While the store refuses writes (disk full, engine latched):
 *
 *   up to a second   what is staged is tried again, rings fill: the loops are told "no room"
 *   after that       rings are drained and the records dropped and counted, so that the broker serves on
 *
 * Kept even then, in RAM: the connect of each channel that is still open and the ending of each channel whose
 * connect is stored. At most one record for each channel, so bounded by the channels there are; over a
 * limit in bytes they are kept without evidence. When writing works again a gap record says how many records
 * are missing, then the kept ones are written. So status, open channels and "exactly one ending" stay right.
 * Only the commit thread changes the table, under shared.lock, for queries of status look into it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "trace/trace_priv.h"

enum {
    PATIENCE_MS = 1000,
    RETRY_MAX_MS = 1000,
    KEPT_FULL_BYTES = 64 << 20,
    ROOM_TO_REOPEN = 8 << 20,
    STAGE_AT_ONCE = 4096
};

/* ---- the table of kept records ---- */

static uint64_t channel_hash(const uint8_t channel[RECORD_CHANNEL_BYTES])
{
    return hash64(slice_make(channel, RECORD_CHANNEL_BYTES));
}

static void rehash(struct outage *o)
{
    size_t n = o->slot_count == 0 ? 256 : o->slot_count * 2;
    free(o->slots);
    o->slots = mem_new(n, sizeof *o->slots);
    o->slot_count = n;
    for (size_t i = 0; i < o->kept_n; i++) {
        size_t at = channel_hash(o->kept[i].channel) & (n - 1);
        while (o->slots[at] != 0) {
            at = (at + 1) & (n - 1);
        }
        o->slots[at] = (uint32_t)i + 1;
    }
}

static struct outage_entry *find_entry(const struct outage *o,
                                       const uint8_t channel[RECORD_CHANNEL_BYTES])
{
    if (o->slot_count == 0) {
        return NULL;
    }
    size_t at = channel_hash(channel) & (o->slot_count - 1);
    struct outage_entry *found = NULL;
    while (o->slots[at] != 0) {
        struct outage_entry *e = &o->kept[o->slots[at] - 1];
        if (e->bytes != NULL && memcmp(e->channel, channel, RECORD_CHANNEL_BYTES) == 0) {
            found = e;
        }
        at = (at + 1) & (o->slot_count - 1);
    }
    return found;
}

static void keep(struct trace *t, const struct record *r)
{
    struct outage *o = &t->commit.outage;
    struct record copy = *r;
    if (o->kept_bytes > KEPT_FULL_BYTES) {
        copy.detail = slice_make(NULL, 0);
        copy.flags |= RECORD_TRUNCATED;
    }
    uint8_t *bytes = mem_alloc(record_size(&copy));
    size_t n = record_encode(&copy, bytes);
    (void)pthread_mutex_lock(&t->shared.lock);
    if (o->kept_n == o->kept_cap) {
        o->kept_cap = o->kept_cap == 0 ? 128 : o->kept_cap * 2;
        o->kept = mem_realloc(o->kept, o->kept_cap * sizeof *o->kept);
    }
    struct outage_entry *e = &o->kept[o->kept_n++];
    *e = (struct outage_entry){.device = hash_device(r->instance, r->client_id),
                               .bytes = bytes,
                               .n = (uint32_t)n,
                               .connect = record_is_connect(r)};
    memcpy(e->channel, r->channel, RECORD_CHANNEL_BYTES);
    o->kept_bytes += n;
    if (o->kept_n * 2 > o->slot_count) {
        rehash(o);
    } else {
        size_t at = channel_hash(e->channel) & (o->slot_count - 1);
        while (o->slots[at] != 0) {
            at = (at + 1) & (o->slot_count - 1);
        }
        o->slots[at] = (uint32_t)o->kept_n;
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
}

static void forget(struct trace *t, struct outage_entry *e)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    t->commit.outage.kept_bytes -= e->n;
    free(e->bytes);
    e->bytes = NULL;
    (void)pthread_mutex_unlock(&t->shared.lock);
}

void outage_fini(struct outage *o)
{
    for (size_t i = 0; i < o->kept_n; i++) {
        free(o->kept[i].bytes);
    }
    free(o->kept);
    free(o->slots);
}

static void table_clear(struct trace *t)
{
    struct outage *o = &t->commit.outage;
    (void)pthread_mutex_lock(&t->shared.lock);
    outage_fini(o);
    o->kept = NULL;
    o->slots = NULL;
    o->kept_n = o->kept_cap = o->kept_first = o->slot_count = 0;
    o->kept_bytes = 0;
    (void)pthread_mutex_unlock(&t->shared.lock);
}

void outage_fold(const struct outage *o, struct hash128 device, struct status_fold *f)
{
    for (size_t i = o->kept_n; i > o->kept_first; i--) {
        const struct outage_entry *e = &o->kept[i - 1];
        struct record r;
        if (e->bytes != NULL && e->device.hi == device.hi && e->device.lo == device.lo &&
            record_decode(slice_make(e->bytes, e->n), &r) == 0) {
            status_fold_add(f, &r);
        }
    }
}

/* ---- dropping ---- */

static void gap_add(struct trace_gap *g, uint64_t from, uint64_t to, uint64_t count)
{
    g->from_us = g->count == 0 || from < g->from_us ? from : g->from_us;
    g->to_us = g->count == 0 || to > g->to_us ? to : g->to_us;
    g->count += count;
}

static void count_dropped(struct trace *t, const struct record *r, uint64_t n)
{
    uint64_t from = r->time_us;
    uint64_t to = r->time_us;
    struct evidence_item it;
    if ((r->flags & (RECORD_COLLAPSED | RECORD_GAP)) != 0) {
        n = evidence_find(r->detail, EV_COUNT, &it) ? it.u64 : n;
        from = evidence_find(r->detail, EV_FIRST_TIME, &it) ? it.u64 : from;
        to = evidence_find(r->detail, EV_LAST_TIME, &it) ? it.u64 : to;
    }
    gap_add(&t->commit.outage.gap, from, to, n);
    if ((r->flags & RECORD_GAP) == 0) { /* those were counted before */
        atomic_fetch_add(&t->counters.dropped, n);
    }
}

/* `rec` may stand for records of ring or stage. */
static void drop(struct trace *t, const struct record *r)
{
    if (!record_is_status(r)) {
        count_dropped(t, r, 1);
        return;
    }
    struct outage_entry *e =
        record_is_connect(r) ? NULL : find_entry(&t->commit.outage, r->channel);
    if (e != NULL && e->connect) {
        struct record connect; /* came and went meanwhile: both are dropped */
        if (record_decode(slice_make(e->bytes, e->n), &connect) == 0) {
            count_dropped(t, &connect, 1);
        }
        count_dropped(t, r, 1);
        forget(t, e);
        return;
    }
    keep(t, r);
}

/* What was staged is taken back; its seqs go to others. */
static void drop_staged(struct trace *t)
{
    struct commit *c = &t->commit;
    struct buffer *b = t->shared.active;
    if (c->staged_n == 0) {
        return;
    }
    uint32_t first = buffer_visible(b);
    for (uint64_t i = 0; i < c->staged_n; i++) {
        struct record r;
        if (record_decode(buffer_record(b, first + (uint32_t)i), &r) == 0) {
            drop(t, &r);
        }
    }
    c->next_seq -= c->staged_n;
    c->staged_n = 0;
    c->block_n = 0;
    c->gap_n = 0;
    buffer_unstage(b);
}

void outage_drain(struct trace *t)
{
    struct commit *c = &t->commit;
    for (unsigned i = 0; i < c->source_n; i++) {
        struct source *s = &c->sources[i];
        struct slice bytes;
        struct record r;
        s->has_head = false;
        while (ring_next(s->ring, &s->pos, &bytes)) {
            if (record_decode(bytes, &r) == 0) {
                trace_count_open(t, &r);
                drop(t, &r);
            }
        }
        ring_release(s->ring, s->pos);
    }
}

static void start_dropping(struct trace *t)
{
    log_error("the store refuses writes: trace records are dropped until it takes them again",
              "errno=%d", -t->commit.outage.error);
    t->commit.outage.dropping = true;
    drop_staged(t);
}

/* ---- its course ---- */

void outage_begin(struct trace *t, int error, uint64_t now_ms)
{
    struct outage *o = &t->commit.outage;
    o->error = error;
    if (!atomic_load(&o->active)) {
        o->since_ms = now_ms;
        o->next_try_ms = now_ms;
        o->tries = 0;
        atomic_store(&o->active, true);
        log_error("the store refuses a write", "errno=%d", -error);
    }
}

static void mend(struct trace *t)
{
    struct outage *o = &t->commit.outage;
    if (o->error == -ENOSPC) {
        if (store_reserve_release(t->store)) {
            log_warn("the store's reserve was freed", "why=\"disk full\"");
        }
        maintain_poke(t, true);
        if (store_disk_free(t->store) < ROOM_TO_REOPEN) {
            return;
        }
    }
    if ((o->tries >= 2 && !o->by_flush) || store_broken(t->store)) {
        (void)pthread_mutex_lock(&t->maintain.busy);
        int rc = store_reopen(t->store);
        (void)pthread_mutex_unlock(&t->maintain.busy);
        if (rc == 0) {
            commit_adopt(t);
        }
    }
}

bool outage_try(struct trace *t, uint64_t now_ms)
{
    struct outage *o = &t->commit.outage;
    if (!o->dropping && t->commit.recovery == NULL && now_ms - o->since_ms >= PATIENCE_MS) {
        start_dropping(t);
    }
    if (o->dropping) {
        outage_drain(t);
    }
    if (now_ms < o->next_try_ms) {
        return false;
    }
    uint64_t pause = UINT64_C(50) << (o->tries < 5 ? o->tries : 5);
    o->tries++;
    o->next_try_ms = now_ms + (pause > RETRY_MAX_MS ? RETRY_MAX_MS : pause);
    mend(t);
    return !store_broken(t->store) && (!o->by_flush || commit_room(t));
}

void outage_end(struct trace *t)
{
    struct outage *o = &t->commit.outage;
    log_info("the store takes writes again", "dropped=%llu", (unsigned long long)o->gap.count);
    o->dropping = false;
    o->by_flush = false;
    o->error = 0;
    o->tries = 0;
    atomic_store(&o->active, false);
    store_reserve_refill(t->store);
}

bool outage_pending(const struct outage *o)
{
    return o->gap.count > 0 || o->kept_first < o->kept_n;
}

static void stage_gap(struct trace *t)
{
    struct outage *o = &t->commit.outage;
    struct commit *c = &t->commit;
    struct evidence ev;
    evidence_init(&ev);
    evidence_u64(&ev, EV_COUNT, o->gap.count);
    evidence_u64(&ev, EV_FIRST_TIME, o->gap.from_us);
    evidence_u64(&ev, EV_LAST_TIME, o->gap.to_us);
    struct record r = {.time_us = clock_wall_us(),
                       .cause = CAUSE_SERVER_INTERNAL,
                       .flags = RECORD_GAP,
                       .detail = slice_make(ev.bytes, ev.n)};
    c->gaps = mem_realloc(c->gaps, (c->gap_n + 1) * sizeof *c->gaps);
    c->gaps[c->gap_n++] = (struct gap){.seq = c->next_seq, .span = o->gap};
    o->gap = (struct trace_gap){0};
    commit_stage(t, &r, slice_make(NULL, 0));
}

bool outage_stage(struct trace *t)
{
    struct outage *o = &t->commit.outage;
    if (!outage_pending(o)) {
        return false;
    }
    if (o->gap.count > 0) {
        stage_gap(t);
    }
    t->commit.counted = true; /* when they were drained */
    for (int n = 0; n < STAGE_AT_ONCE && o->kept_first < o->kept_n; o->kept_first++) {
        struct outage_entry *e = &o->kept[o->kept_first];
        struct record r;
        if (e->bytes != NULL && record_decode(slice_make(e->bytes, e->n), &r) == 0) {
            commit_stage(t, &r, slice_make(NULL, 0));
            n++;
            forget(t, e);
        }
    }
    t->commit.counted = false;
    if (o->kept_first == o->kept_n) {
        table_clear(t);
    }
    return true;
}
