/*
 * A frozen buffer becomes device blocks. Everything is built as sorted files and ingested; order matters:
 *
 *   1 fsync        the journal of these records must not be newer lost than the blocks that come from it
 *   2 x            refused and unidentified rows, with x's watermark in the same file
 *   3 devices      statuses (the newest of each device touched)
 *   4 open         channels opened and not ended: put; ended and not opened in here: deleted
 *   5 d            device blocks, with d's watermark in the same file: the point from which replay skips them
 *
 * Idempotent: a crash in between leaves d's watermark behind, the journal is replayed and the buffer flushed
 * again (perhaps with other boundaries): x skips what its own watermark covers, 3 and 4 are put again with the
 * same or newer values. Sessions that open and close within one buffer never touch the open keys, unless x's
 * watermark says that a flush was cut short: it may have put a channel whose ending is now in the same buffer.
 */
#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/sort.h"
#include "trace/pack.h"
#include "trace/trace_priv.h"

enum { NAME_GUESS = 128 /* bytes of a key and its status: more costs a copy */ };

struct sorted_device {
    struct hash128 hash;
    uint32_t newest; /* record */
};

/* A device whose status may change. Its key and, when it could be told at once, its value stand in flush.names: the second
 * pass, in the order of names, does not go through the whole buffer again. */
struct named_device {
    struct hash128 hash;
    uint64_t order;          /* the eight bytes of the key behind what all keys share */
    uint32_t at;             /* of the key; the value is behind it */
    uint16_t key_n, value_n; /* value_n 0: its connect is older than the buffer */
};

struct open_change {
    uint8_t channel[RECORD_CHANNEL_BYTES];
    uint32_t record; /* BUFFER_NONE: delete */
};

/* Blocks on their way into one family. */
struct writer {
    struct store_sst *sst;
    struct block_mark mark; /* as it will be */
    uint64_t skip;          /* records up to here are there already */
    struct block_head head;
    struct record before; /* the last one in the payload */
    struct buf payload, value;
    bool full; /* over its quota: rows are counted, not written */
    struct gap skipped;
};

struct flush {
    struct trace *t;
    const struct buffer *b;
    uint32_t n;
    uint64_t last_seq;
    struct writer d, x;
    uint32_t *rows; /* of the device at hand, oldest first */
    size_t row_cap;
    struct named_device *named; /* room for all devices */
    size_t named_n;
    struct buf names;
    size_t common;  /* bytes that all their keys share */
    size_t settled; /* names from here on have their order by that */
    struct open_change *open;
    size_t open_n, open_cap;
};

static void crash_point(int64_t step)
{
    if (failpoint_value("flush.crash_at") == step) {
        (void)kill(getpid(), SIGKILL);
    }
}

/* ---- blocks ---- */

static int block_end(struct writer *w, struct hash128 hash)
{
    if (w->head.count == 0) {
        return 0;
    }
    uint8_t key[BLOCK_KEY_BYTES];
    block_device_key(hash, w->head.last_seq, key);
    buf_clear(&w->value);
    block_device_encode(&w->head, buf_slice(&w->payload), &w->value);
    w->mark.count += w->head.count;
    w->mark.min_us = w->head.min_us < w->mark.min_us ? w->head.min_us : w->mark.min_us;
    w->mark.max_us = w->head.max_us > w->mark.max_us ? w->head.max_us : w->mark.max_us;
    w->head = (struct block_head){0};
    buf_clear(&w->payload);
    return store_sst_put(w->sst, slice_make(key, sizeof key), buf_slice(&w->value));
}

static void count_skipped(struct writer *w, const struct record *r)
{
    struct trace_gap *g = &w->skipped.span;
    if (g->count++ == 0) {
        w->skipped.seq = r->seq;
        g->from_us = g->to_us = r->time_us;
    }
    g->from_us = r->time_us < g->from_us ? r->time_us : g->from_us;
    g->to_us = r->time_us > g->to_us ? r->time_us : g->to_us;
}

static int block_add(struct writer *w, struct hash128 hash, const struct record *r)
{
    if (r->seq <= w->skip) {
        return 0;
    }
    if (w->full) {
        count_skipped(w, r);
        return 0;
    }
    struct block_head *h = &w->head;
    if (h->count == 0) {
        *h = (struct block_head){.first_seq = r->seq,
                                 .first_us = r->time_us,
                                 .min_us = r->time_us,
                                 .max_us = r->time_us,
                                 .instance = r->instance,
                                 .client_id = r->client_id};
        w->before = block_device_start(h);
    }
    uint8_t *p = buf_reserve(&w->payload, record_size(r) + RECORD_PACK_MORE);
    buf_commit(&w->payload, record_pack(r, &w->before, p));
    w->before = *r;
    h->count++;
    h->last_seq = r->seq;
    h->min_us = r->time_us < h->min_us ? r->time_us : h->min_us;
    h->max_us = r->time_us > h->max_us ? r->time_us : h->max_us;
    bool end = h->count == BLOCK_DEVICE_RECORDS || buf_len(&w->payload) >= BLOCK_DEVICE_BYTES;
    return end ? block_end(w, hash) : 0;
}

/* ---- what a device's rows mean for status and open channels ---- */

static void open_add(struct flush *f, const struct record *r, uint32_t record)
{
    if (f->open_n == f->open_cap) {
        f->open_cap = f->open_cap == 0 ? 256 : f->open_cap * 2;
        f->open = mem_realloc(f->open, f->open_cap * sizeof *f->open);
    }
    struct open_change *o = &f->open[f->open_n++];
    o->record = record;
    memcpy(o->channel, r->channel, RECORD_CHANNEL_BYTES);
}

/* `from`: where this device's changes begin in the list. */
static void open_end(struct flush *f, size_t from, const struct record *r)
{
    for (size_t i = f->open_n; i > from; i--) {
        struct open_change *o = &f->open[i - 1];
        if (o->record != BUFFER_NONE && memcmp(o->channel, r->channel, RECORD_CHANNEL_BYTES) == 0) {
            if (buffer_first_seq(f->b) + o->record <= f->x.skip) {
                o->record = BUFFER_NONE; /* a flush that a crash cut short may have put it */
            } else {
                *o = f->open[--f->open_n]; /* opened and ended in here */
            }
            return;
        }
    }
    open_add(f, r, BUFFER_NONE);
}

static struct slice named_key(const struct flush *f, const struct named_device *d)
{
    return slice_make(buf_slice(&f->names).p + d->at, d->key_n);
}

static struct slice named_value(const struct flush *f, const struct named_device *d)
{
    return slice_make(buf_slice(&f->names).p + d->at + d->key_n, d->value_n);
}

/* Behind its end a key goes on with zeros. */
static void set_order(struct flush *f, struct named_device *d, size_t from)
{
    struct slice key = slice_from(named_key(f, d), from);
    uint8_t bytes[8] = {0};
    if (key.n > 0) {
        memcpy(bytes, key.p, key.n < sizeof bytes ? key.n : sizeof bytes);
    }
    d->order = get_be64(bytes);
}

/*
 * Names of a fleet begin alike: comparing them byte by byte was most of the sort. Eight bytes from where the first two of
 * them differ decide nearly always; equal ones (a name may end there, or hold zeros) are compared in full. Done while the
 * name is near: what all share gets shorter only with the first few names, whose order is set again in the end.
 */
static void named_order(struct flush *f, struct named_device *d)
{
    struct slice first = named_key(f, f->named);
    struct slice key = named_key(f, d);
    size_t end = d == f->named ? key.n : f->common;
    size_t same = 0;
    while (same < end && same < key.n && first.p[same] == key.p[same]) {
        same++;
    }
    if (d == f->named || same < f->common) {
        f->common = same;
        f->settled = f->named_n - 1;
    }
    set_order(f, d, f->common);
}

/* `last`: the record that makes the status, BUFFER_NONE: its connect is older. */
static void named_add(struct flush *f, const struct record *r, struct hash128 hash, uint32_t last,
                      bool online)
{
    struct named_device *d = &f->named[f->named_n++];
    struct record made;
    *d = (struct named_device){.hash = hash, .at = (uint32_t)buf_len(&f->names)};
    status_key(r->instance, r->client_id, &f->names);
    d->key_n = (uint16_t)(buf_len(&f->names) - d->at);
    if (last != BUFFER_NONE && record_decode(buffer_record(f->b, last), &made) == 0) {
        status_encode(&made, online, &f->names);
        d->value_n = (uint16_t)(buf_len(&f->names) - d->at - d->key_n);
    }
    named_order(f, d);
}

/* The status as of the records so far, oldest first; what status_fold does from the newest. */
struct status_now {
    uint8_t channel[RECORD_CHANNEL_BYTES];
    uint32_t last;
    bool any, online;
};

static void status_note(struct status_now *s, const struct record *r, uint32_t i)
{
    s->any = true;
    if (record_is_connect(r)) {
        memcpy(s->channel, r->channel, RECORD_CHANNEL_BYTES);
        s->last = i;
        s->online = true;
    } else if (s->last != BUFFER_NONE &&
               memcmp(s->channel, r->channel, RECORD_CHANNEL_BYTES) == 0) {
        s->last = i;
        s->online = false;
    }
}

/* ---- the pass over devices ---- */

static size_t device_rows(struct flush *f, uint32_t newest)
{
    size_t n = 0;
    for (uint32_t at = newest; at != BUFFER_NONE; at = buffer_before(f->b, at)) {
        if (n == f->row_cap) {
            f->row_cap = f->row_cap == 0 ? 1024 : f->row_cap * 2;
            f->rows = mem_realloc(f->rows, f->row_cap * sizeof *f->rows);
        }
        f->rows[n++] = at;
    }
    return n;
}

static int flush_device(struct flush *f, const struct sorted_device *dev)
{
    size_t n = device_rows(f, dev->newest);
    size_t open_from = f->open_n;
    struct status_now status = {.last = BUFFER_NONE};
    struct record r;
    int rc = 0;
    for (size_t i = n; i > 0 && rc == 0; i--) {
        if (record_decode(buffer_record(f->b, f->rows[i - 1]), &r) < 0) {
            continue;
        }
        rc = block_add(record_is_x(&r) ? &f->x : &f->d, dev->hash, &r);
        if (!record_is_status(&r)) {
            continue;
        }
        status_note(&status, &r, f->rows[i - 1]);
        if (record_is_connect(&r)) {
            open_add(f, &r, f->rows[i - 1]);
        } else {
            open_end(f, open_from, &r);
        }
    }
    if (status.any) {
        named_add(f, &r, dev->hash, status.last, status.online); /* any record has the names */
    }
    rc = rc == 0 ? block_end(&f->d, dev->hash) : rc;
    return rc == 0 ? block_end(&f->x, dev->hash) : rc;
}

static int by_channel(const void *pa, const void *pb)
{
    const struct open_change *a = pa;
    const struct open_change *b = pb;
    return memcmp(a->channel, b->channel, RECORD_CHANNEL_BYTES);
}

/* The buffer's devices by hash; the caller frees them. */
static struct sorted_device *sort_devices(const struct flush *f, uint32_t n)
{
    struct sort_item *items = mem_new((size_t)n + 1, sizeof *items);
    struct sorted_device *sorted = mem_new((size_t)n + 1, sizeof *sorted);
    for (uint32_t i = 0; i < n; i++) {
        items[i] = (struct sort_item){.key = buffer_device_hash(f->b, i).hi, .at = i};
    }
    sort_items(items, n);
    for (uint32_t i = 0; i < n; i++) {
        struct sorted_device d = {.hash = buffer_device_hash(f->b, items[i].at),
                                  .newest = buffer_device_newest(f->b, items[i].at, f->n)};
        uint32_t at = i;
        for (; at > 0 && sorted[at - 1].hash.hi == d.hash.hi && sorted[at - 1].hash.lo > d.hash.lo;
             at--) {
            sorted[at] = sorted[at - 1];
        }
        sorted[at] = d;
    }
    free(items);
    return sorted;
}

/* The newest record of each device and the one before: most have an ending and its connect. */
static void bring_devices_near(const struct buffer *b, const struct sorted_device *d, uint32_t n)
{
    uint32_t newest[BUFFER_NEAR];
    uint32_t before[BUFFER_NEAR];
    uint32_t before_n = 0;
    for (uint32_t i = 0; i < n; i++) {
        newest[i] = d[i].newest;
    }
    buffer_bring_near(b, newest, n);
    for (uint32_t i = 0; i < n; i++) {
        before[before_n] = buffer_before(b, newest[i]);
        before_n += before[before_n] != BUFFER_NONE;
    }
    buffer_bring_near(b, before, before_n);
}

static int build_blocks(struct flush *f)
{
    uint32_t n = buffer_device_count(f->b);
    struct sorted_device *order = sort_devices(f, n);
    f->named = mem_alloc((n + 1) * sizeof *f->named);
    (void)buf_reserve(&f->names, n * (size_t)NAME_GUESS);
    int rc = 0;
    for (uint32_t i = 0; i < n && rc == 0; i++) {
        if (i % BUFFER_NEAR == 0) {
            bring_devices_near(f->b, order + i, n - i < BUFFER_NEAR ? n - i : BUFFER_NEAR);
        }
        rc = flush_device(f, &order[i]);
    }
    free(order);
    return rc;
}

/* ---- statuses and open channels ---- */

/* Only the loser of a takeover can end after its successor began: then the stored status decides. */
static bool needs_stored(const struct status_fold *s)
{
    bool needs = !s->done && s->ending_n > 1;
    for (size_t i = 0; i < s->ending_n && !s->done; i++) {
        enum cause c = s->endings[i].cause;
        needs = needs || c == CAUSE_TAKEOVER_SAME_NODE || c == CAUSE_TAKEOVER_OTHER_NODE;
    }
    return needs;
}

static int put_older_status(struct flush *f, struct store_sst *sst, const struct named_device *dev,
                            struct buf *value)
{
    struct trace *t = f->t;
    struct slice key = named_key(f, dev);
    struct view v = {.buffer_n = 1};
    v.buffers[0] = (struct buffer_view){.visible = f->n};
    memcpy(&v.buffers[0].b, &f->b, sizeof f->b); /* read only */
    struct status_fold s;
    status_fold_init(&s);
    view_fold(&v, dev->hash, &s);
    struct slice old = {0};
    struct record stored;
    bool online = false;
    bool has = false;
    uint64_t update;
    int rc = 0;
    if (needs_stored(&s)) {
        rc = store_get(t->store, NULL, store_family(t->store, STORE_DEVICES), key, &old);
        has = rc == 0 && status_decode(old, s.endings[0].instance, s.endings[0].client_id, &stored,
                                       &online, &update) == 0;
        rc = rc == -ENOENT ? 0 : rc;
    }
    status_fold_end(&s, has ? &stored : NULL, online);
    if (rc == 0 && s.found && !(has && s.last.seq == stored.seq)) {
        buf_clear(value);
        status_encode(&s.last, s.online, value);
        rc = store_sst_put(sst, key, buf_slice(value));
    }
    store_free(&old);
    status_fold_fini(&s);
    return rc;
}

/* With the flush at hand, for qsort_r(). */
static int by_key(const void *pa, const void *pb, void *flush)
{
    const struct sort_item *a = pa;
    const struct sort_item *b = pb;
    const struct flush *f = flush;
    return slice_cmp(named_key(f, &f->named[a->at]), named_key(f, &f->named[b->at]));
}

/* The named devices in the order of their keys; the caller frees the list. */
static struct sort_item *sort_names(struct flush *f)
{
    struct sort_item *items = mem_new(f->named_n + 1, sizeof *items);
    for (size_t i = 0; i < f->named_n; i++) {
        if (i < f->settled) {
            set_order(f, &f->named[i], f->common);
        }
        items[i] = (struct sort_item){.key = f->named[i].order, .at = (uint32_t)i};
    }
    sort_items(items, f->named_n);
    size_t same = 0; /* where the run of equal ones began */
    for (size_t i = 0; i < f->named_n; i++) {
        if (i + 1 == f->named_n || items[i + 1].key != items[i].key) {
            if (i > same) {
                qsort_r(items + same, i - same + 1, sizeof *items, by_key, f);
            }
            same = i + 1;
        }
    }
    return items;
}

/* As buffer_bring_near(). */
static void bring_names_near(const struct flush *f, const struct sort_item *items, size_t n)
{
    struct slice keys[BUFFER_NEAR];
    for (size_t i = 0; i < n; i++) {
        keys[i] = named_key(f, &f->named[items[i].at]);
    }
    for (size_t i = 0; i < n; i++) {
        (void)*(const volatile uint8_t *)keys[i].p;
    }
    for (size_t i = 0; i < n; i++) {
        __builtin_prefetch(keys[i].p + 64);
    }
}

static int write_statuses(struct flush *f)
{
    struct store_sst *sst;
    int rc = store_sst_new(f->t->store, store_family(f->t->store, STORE_DEVICES), &sst);
    if (rc < 0) {
        return rc;
    }
    struct buf value = {0};
    struct sort_item *items = sort_names(f);
    for (size_t i = 0; i < f->named_n && rc == 0; i++) {
        if (i % BUFFER_NEAR == 0) {
            size_t left = f->named_n - i;
            bring_names_near(f, &items[i], left < BUFFER_NEAR ? left : BUFFER_NEAR);
        }
        const struct named_device *d = &f->named[items[i].at];
        rc = d->value_n > 0 ? store_sst_put(sst, named_key(f, d), named_value(f, d))
                            : put_older_status(f, sst, d, &value);
    }
    free(items);
    buf_fini(&value);
    if (rc < 0) {
        store_sst_abort(sst);
        return rc;
    }
    return store_sst_ingest(f->t->store, sst);
}

static int write_open(struct flush *f)
{
    struct store_sst *sst;
    int rc = store_sst_new(f->t->store, store_family(f->t->store, STORE_OPEN), &sst);
    if (rc < 0) {
        return rc;
    }
    if (f->open_n > 0) {
        qsort(f->open, f->open_n, sizeof *f->open, by_channel);
    }
    for (size_t i = 0; i < f->open_n && rc == 0; i++) {
        const struct open_change *o = &f->open[i];
        struct slice key = slice_make(o->channel, RECORD_CHANNEL_BYTES);
        if (i > 0 && by_channel(o - 1, o) == 0) {
            continue; /* a channel has one connect and one ending: can't be */
        }
        rc = o->record == BUFFER_NONE ? store_sst_delete(sst, key)
                                      : store_sst_put(sst, key, buffer_record(f->b, o->record));
    }
    if (rc < 0) {
        store_sst_abort(sst);
        return rc;
    }
    return store_sst_ingest(f->t->store, sst);
}

/* ---- the whole ---- */

static int writer_begin(struct flush *f, struct writer *w, char kind)
{
    struct trace *t = f->t;
    struct store_cf *cf;
    int rc = segment_family(t, buffer_segment(f->b), kind, &cf);
    if (rc < 0) {
        return rc;
    }
    (void)pthread_mutex_lock(&t->shared.lock);
    const struct segment *seg = segment_find(t, buffer_segment(f->b));
    w->mark = kind == 'd' ? seg->dm : seg->xm;
    (void)pthread_mutex_unlock(&t->shared.lock);
    w->skip = w->mark.seq;
    w->full = kind == 'x' && t->opt.refused_bytes > 0 &&
              store_cf_bytes(t->store, cf) >= t->opt.refused_bytes;
    return store_sst_new(t->store, cf, &w->sst);
}

/* Ends the file with the watermark and ingests it. */
static int writer_end(struct flush *f, struct writer *w, char kind)
{
    struct trace *t = f->t;
    uint8_t mark[BLOCK_MARK_BYTES];
    w->mark.seq = f->last_seq > w->mark.seq ? f->last_seq : w->mark.seq;
    block_mark_encode(&w->mark, mark);
    int rc = store_sst_put(w->sst, block_mark_key(), slice_make(mark, sizeof mark));
    if (rc < 0) {
        store_sst_abort(w->sst);
    } else {
        rc = store_sst_ingest(t->store, w->sst);
    }
    w->sst = NULL;
    if (rc == 0) {
        (void)pthread_mutex_lock(&t->shared.lock);
        struct segment *seg = segment_find(t, buffer_segment(f->b));
        *(kind == 'd' ? &seg->dm : &seg->xm) = w->mark;
        (void)pthread_mutex_unlock(&t->shared.lock);
    }
    return rc;
}

static void writer_fini(struct writer *w)
{
    store_sst_abort(w->sst);
    buf_fini(&w->payload);
    buf_fini(&w->value);
}

/* Rows over the quota are told as a gap. */
static int tell_skipped(struct flush *f)
{
    struct trace *t = f->t;
    const struct gap *g = &f->x.skipped;
    if (g->span.count == 0) {
        return 0;
    }
    struct store_batch *b = store_batch_new();
    gap_put(t, b, g);
    int rc = store_write(t->store, b, true);
    store_batch_free(b);
    if (rc == 0) {
        (void)pthread_mutex_lock(&t->shared.lock);
        t->shared.gaps =
            mem_realloc(t->shared.gaps, (t->shared.gap_n + 1) * sizeof *t->shared.gaps);
        t->shared.gaps[t->shared.gap_n++] = *g;
        (void)pthread_mutex_unlock(&t->shared.lock);
        log_warn("refused and unidentified connections passed their quota", "rows=%llu",
                 (unsigned long long)g->span.count);
    }
    return rc;
}

static int flush_steps(struct flush *f)
{
    int rc = (int)-failpoint_value("flush.errno");
    rc = rc == 0 ? store_sync(f->t->store) : rc;
    rc = rc == 0 ? writer_begin(f, &f->d, 'd') : rc;
    rc = rc == 0 ? writer_begin(f, &f->x, 'x') : rc;
    rc = rc == 0 ? build_blocks(f) : rc;
    crash_point(1);
    rc = rc == 0 ? writer_end(f, &f->x, 'x') : rc;
    crash_point(2);
    rc = rc == 0 ? tell_skipped(f) : rc;
    rc = rc == 0 ? write_statuses(f) : rc;
    crash_point(3);
    rc = rc == 0 ? write_open(f) : rc;
    crash_point(4);
    rc = rc == 0 ? writer_end(f, &f->d, 'd') : rc;
    crash_point(5);
    return rc;
}

int flush_buffer(struct trace *t, const struct buffer *b)
{
    struct flush f = {.t = t, .b = b, .n = buffer_visible(b)};
    f.last_seq = buffer_first_seq(b) + f.n - 1;
    int rc = flush_steps(&f);
    writer_fini(&f.d);
    writer_fini(&f.x);
    free(f.rows);
    free(f.named);
    buf_fini(&f.names);
    free(f.open);
    return rc;
}
