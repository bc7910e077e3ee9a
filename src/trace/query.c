/*
 * One device's history (and the unidentified: those of the device without a name), from RAM and store as one
 * sequence by seq. Three streams are merged: device blocks, blocks of refused rows, RAM; each yields records
 * in the order asked for.
 *
 * The page and the total are two passes: the page stops at its limit; the total adds up block counts and decodes
 * only the blocks at the range's edges (a filter decodes all, up to TOTAL_EXACT matches). A page that holds the
 * whole answer needs no second pass.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/mem.h"
#include "trace/trace_priv.h"

/* Records of one family over all segments. */
struct block_stream {
    struct trace *t;
    const struct view *v;
    const struct trace_query *q;
    struct hash128 hash;
    char kind;
    bool ascending;
    size_t segment; /* next to open; counts from the end when descending */
    struct store_iter *it;
    struct buf value; /* the block at hand */
    struct block_head head;
    struct record rows[BLOCK_DEVICE_RECORDS];
    size_t row_n, row;
    int error;
};

struct ram_stream {
    const struct view *v;
    struct {
        uint32_t i;
        uint32_t buffer;
    } * rows; /* newest first */
    size_t n, cap, at;
    bool ascending;
};

struct merge {
    struct block_stream d, x;
    struct ram_stream ram;
    struct record next[3];
    bool has[3];
    bool ascending;
};

/* ---- blocks ---- */

static bool overlaps(const struct trace_query *q, const struct block_mark *m)
{
    return m->count > 0 && m->min_us < q->end_us && m->max_us >= q->begin_us;
}

static bool at_device(const struct block_stream *s)
{
    uint8_t key[BLOCK_KEY_BYTES];
    if (!store_iter_valid(s->it)) {
        return false;
    }
    struct slice k = store_iter_key(s->it);
    block_device_key(s->hash, 0, key);
    return k.n == BLOCK_KEY_BYTES && memcmp(k.p, key, 16) == 0;
}

/* The block that holds the newest record before the cursor. */
static void seek_newest(struct block_stream *s, uint64_t cursor)
{
    uint8_t key[BLOCK_KEY_BYTES];
    if (cursor != 0) {
        block_device_key(s->hash, cursor, key);
        store_iter_seek(s->it, slice_make(key, sizeof key));
        if (at_device(s)) {
            return;
        }
    }
    block_device_key(s->hash, UINT64_MAX, key);
    store_iter_seek_prev(s->it, slice_make(key, sizeof key));
}

/* Opens the next segment's iterator at the device's first block in order; false: no more segments. */
static bool stream_open(struct block_stream *s)
{
    uint8_t key[BLOCK_KEY_BYTES];
    while (s->segment < s->v->segment_n) {
        size_t i = s->ascending ? s->segment : s->v->segment_n - 1 - s->segment;
        const struct segment_view *seg = &s->v->segments[i];
        struct store_cf *cf = s->kind == 'd' ? seg->d : seg->x;
        s->segment++;
        if (cf == NULL || !overlaps(s->q, s->kind == 'd' ? &seg->dm : &seg->xm)) {
            continue;
        }
        s->it = store_iter_new(s->t->store, s->v->snap, cf, 16);
        uint64_t cursor = s->q->cursor;
        if (s->ascending) {
            block_device_key(s->hash, cursor + 1, key);
            store_iter_seek(s->it, slice_make(key, sizeof key));
        } else {
            seek_newest(s, cursor);
        }
        return true;
    }
    return false;
}

static void stream_close(struct block_stream *s)
{
    if (s->it != NULL) {
        int rc = store_iter_error(s->it);
        s->error = s->error == 0 ? rc : s->error;
        store_iter_free(s->it);
        s->it = NULL;
    }
}

static void stream_step(struct block_stream *s)
{
    if (s->ascending) {
        store_iter_next(s->it);
    } else {
        store_iter_prev(s->it);
    }
}

/* The header of the next block of the device that may hold rows of the range; false: no more. The iterator
 * stands on it. */
static bool stream_block(struct block_stream *s, struct slice *payload)
{
    for (;;) {
        if (s->it == NULL && !stream_open(s)) {
            return false;
        }
        if (!at_device(s)) {
            stream_close(s);
            continue;
        }
        if (block_device_decode(store_iter_value(s->it), &s->head, payload) < 0) {
            s->error = -EPROTO;
            return false;
        }
        bool past = !s->ascending && s->q->cursor != 0 && s->head.first_seq >= s->q->cursor;
        if (!past && s->head.min_us < s->q->end_us && s->head.max_us >= s->q->begin_us) {
            return true;
        }
        stream_step(s);
    }
}

/* Loads the next block's rows. */
static bool stream_load(struct block_stream *s)
{
    struct slice payload;
    if (!stream_block(s, &payload)) {
        return false;
    }
    buf_clear(&s->value);
    buf_put_slice(&s->value, store_iter_value(s->it));
    stream_step(s);
    if (block_device_decode(buf_slice(&s->value), &s->head, &payload) < 0) {
        return false;
    }
    s->row_n = block_device_records(&s->head, payload, s->rows);
    s->row = 0;
    return true;
}

static bool stream_next(struct block_stream *s, struct record *out)
{
    while (s->row == s->row_n) {
        if (!stream_load(s)) {
            return false;
        }
    }
    *out = s->rows[s->ascending ? s->row : s->row_n - 1 - s->row];
    s->row++;
    return true;
}

static void stream_init(struct block_stream *s, struct trace *t, const struct view *v,
                        const struct trace_query *q, struct hash128 hash, char kind)
{
    s->t = t;
    s->v = v;
    s->q = q;
    s->hash = hash;
    s->kind = kind;
    s->ascending = q->ascending;
    s->segment = s->row_n = s->row = 0;
    s->it = NULL;
    s->value = (struct buf){0};
    s->error = 0;
}

static void stream_fini(struct block_stream *s)
{
    stream_close(s);
    buf_fini(&s->value);
}

/* ---- RAM ---- */

static void ram_init(struct ram_stream *s, const struct view *v, const struct trace_query *q,
                     struct hash128 hash)
{
    *s = (struct ram_stream){.v = v, .ascending = q->ascending};
    for (unsigned b = v->buffer_n; b > 0; b--) {
        const struct buffer_view *bv = &v->buffers[b - 1];
        uint32_t at = buffer_newest(bv->b, hash, bv->visible);
        for (; at != BUFFER_NONE; at = buffer_before(bv->b, at)) {
            if (s->n == s->cap) {
                s->cap = s->cap == 0 ? 64 : s->cap * 2;
                s->rows = mem_realloc(s->rows, s->cap * sizeof *s->rows);
            }
            s->rows[s->n].i = at;
            s->rows[s->n++].buffer = b - 1;
        }
    }
}

static bool ram_next(struct ram_stream *s, struct record *out)
{
    while (s->at < s->n) {
        size_t i = s->ascending ? s->n - 1 - s->at : s->at;
        const struct buffer_view *bv = &s->v->buffers[s->rows[i].buffer];
        s->at++;
        if (record_decode(buffer_record(bv->b, s->rows[i].i), out) == 0 && view_wants(bv, out)) {
            return true;
        }
    }
    return false;
}

/* ---- merge ---- */

static void merge_fill(struct merge *m, int i)
{
    m->has[i] = i == 0   ? stream_next(&m->d, &m->next[0])
                : i == 1 ? stream_next(&m->x, &m->next[1])
                         : ram_next(&m->ram, &m->next[2]);
}

static void merge_init(struct merge *m, struct trace *t, const struct view *v,
                       const struct trace_query *q)
{
    struct hash128 hash = hash_device(q->instance, q->client_id);
    m->ascending = q->ascending;
    stream_init(&m->d, t, v, q, hash, 'd');
    stream_init(&m->x, t, v, q, hash, 'x');
    ram_init(&m->ram, v, q, hash);
    for (int i = 0; i < 3; i++) {
        merge_fill(m, i);
    }
}

static int merge_fini(struct merge *m)
{
    stream_fini(&m->d);
    stream_fini(&m->x);
    free(m->ram.rows);
    return m->d.error != 0 ? m->d.error : m->x.error;
}

/* Which stream has the next record, -1 at the end. */
static int merge_pick(const struct merge *m)
{
    int best = -1;
    for (int i = 0; i < 3; i++) {
        if (m->has[i] && (best < 0 || (m->next[i].seq < m->next[best].seq) == m->ascending)) {
            best = i;
        }
    }
    return best;
}

/* ---- page ---- */

static bool behind_cursor(const struct trace_query *q, uint64_t seq)
{
    return q->cursor == 0 || (q->ascending ? seq > q->cursor : seq < q->cursor);
}

static int fill_page(struct trace *t, const struct view *v, const struct trace_query *q,
                     struct page_build *p, uint64_t *next_cursor)
{
    struct merge *m = mem_alloc(sizeof *m);
    merge_init(m, t, v, q);
    for (int i; (i = merge_pick(m)) >= 0; merge_fill(m, i)) {
        const struct record *r = &m->next[i];
        if (!behind_cursor(q, r->seq) || !page_match(q, r)) {
            continue;
        }
        if (p->n == q->limit) {
            *next_cursor = p->rows[p->n - 1].seq;
            break;
        }
        page_add(p, r);
    }
    int rc = merge_fini(m);
    free(m);
    return rc;
}

/* ---- total ---- */

static void count_block(struct block_stream *s, uint64_t *total)
{
    for (size_t i = 0; i < s->row_n; i++) {
        *total += page_match(s->q, &s->rows[i]);
    }
}

static int count_stream(struct block_stream *s, uint64_t *total)
{
    bool whole = page_unfiltered(s->q);
    struct slice payload;
    while ((whole || *total <= TOTAL_EXACT) && stream_block(s, &payload)) {
        if (whole && s->head.min_us >= s->q->begin_us && s->head.max_us < s->q->end_us) {
            *total += s->head.count;
            stream_step(s);
        } else if (stream_load(s)) {
            count_block(s, total);
        }
    }
    stream_fini(s);
    return s->error;
}

static int count_all(struct trace *t, const struct view *v, const struct trace_query *query,
                     uint64_t *total)
{
    struct trace_query q = *query;
    q.cursor = 0;
    struct hash128 hash = hash_device(q.instance, q.client_id);
    struct ram_stream ram;
    ram_init(&ram, v, &q, hash);
    for (struct record r; ram_next(&ram, &r);) {
        *total += page_match(&q, &r);
    }
    free(ram.rows);
    struct block_stream *s = mem_alloc(sizeof *s);
    stream_init(s, t, v, &q, hash, 'd');
    int rc = count_stream(s, total);
    stream_init(s, t, v, &q, hash, 'x');
    rc = rc == 0 ? count_stream(s, total) : rc;
    free(s);
    return rc;
}

/* ---- a channel open through a range without rows ---- */

/* The next record of an accepted channel at or after the range's end. */
static int find_next_status(struct trace *t, const struct view *v, const struct trace_query *query,
                            struct page_build *p)
{
    struct trace_query q = {.instance = query->instance,
                            .client_id = query->client_id,
                            .begin_us = query->end_us,
                            .end_us = UINT64_MAX,
                            .ascending = true,
                            .action = -1,
                            .cause = -1};
    struct merge *m = mem_alloc(sizeof *m);
    merge_init(m, t, v, &q);
    for (int i; p->n == 0 && (i = merge_pick(m)) >= 0; merge_fill(m, i)) {
        if (page_match(&q, &m->next[i]) && record_is_status(&m->next[i])) {
            page_add(p, &m->next[i]);
        }
    }
    int rc = merge_fini(m);
    free(m);
    return rc;
}

static int find_open(struct trace *t, const struct view *v, const struct trace_query *q,
                     struct trace_page *out)
{
    struct trace_status st;
    int rc = view_status(t, v, q->instance, q->client_id, &st);
    if (rc == -ENOENT) {
        return 0;
    }
    if (rc < 0) {
        return rc;
    }
    struct page_build p = {.arena = arena_new()};
    rc = find_next_status(t, v, q, &p);
    const struct record *r = p.n > 0 ? &p.rows[0] : NULL;
    if (r != NULL && !record_is_connect(r) && r->connected_at_us <= q->begin_us) {
        out->has_open = true; /* what ends after the range was open through it */
        memcpy(out->open_channel, r->channel, RECORD_CHANNEL_BYTES);
        out->open_since_us = r->connected_at_us;
    } else if (r == NULL && st.online && st.connected_at_us <= q->begin_us) {
        out->has_open = true;
        memcpy(out->open_channel, st.channel, RECORD_CHANNEL_BYTES);
        out->open_since_us = st.connected_at_us;
    }
    trace_status_fini(&st);
    free(p.rows);
    arena_free(p.arena);
    return rc;
}

static void find_gaps(struct trace *t, const struct trace_query *q, struct trace_page *out)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    for (size_t i = 0; i < t->shared.gap_n; i++) {
        const struct trace_gap *g = &t->shared.gaps[i].span;
        if (g->from_us < q->end_us && g->to_us >= q->begin_us) {
            out->gaps = mem_realloc(out->gaps, (out->gap_count + 1) * sizeof *out->gaps);
            out->gaps[out->gap_count++] = *g;
        }
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
    out->complete = out->gap_count == 0;
}

static int device_steps(struct trace *t, const struct view *v, const struct trace_query *q,
                        bool count, struct trace_page *out)
{
    struct page_build p = {.arena = arena_new()};
    uint64_t total = 0;
    int rc = fill_page(t, v, q, &p, &out->next_cursor);
    size_t n = p.n;
    page_finish(&p, out);
    if (rc == 0 && count) {
        if (q->cursor == 0 && out->next_cursor == 0) {
            total = n;
        } else {
            rc = count_all(t, v, q, &total);
        }
        if (rc == 0 && total == 0 && q->client_id.n > 0) {
            rc = find_open(t, v, q, out);
        }
    }
    out->total = total;
    if (!page_unfiltered(q) && total > TOTAL_EXACT) {
        out->total = TOTAL_EXACT;
        out->total_at_least = true;
    }
    return rc;
}

int query_device(struct trace *t, const struct trace_query *q, bool count, struct trace_page *out)
{
    struct view v;
    int rc = view_open(t, &v);
    if (rc < 0) {
        return rc;
    }
    rc = device_steps(t, &v, q, count, out);
    view_close(t, &v);
    return rc;
}

/* ---- the public calls ---- */

int trace_query(struct trace *t, const struct trace_query *query, struct trace_page *out)
{
    struct trace_query q = *query;
    if (q.begin_us > q.end_us ||
        q.end_us - q.begin_us > atomic_load(&t->limits.max_range_ms) * 1000) {
        return -EINVAL;
    }
    q.limit = q.limit == 0 ? 1 : q.limit > 1000 ? 1000 : q.limit;
    struct trace_page page = {0};
    bool fleet = q.client_id.n == 0 && !q.unidentified;
    int rc = fleet ? query_fleet(t, &q, true, &page) : query_device(t, &q, true, &page);
    if (rc < 0) {
        trace_page_fini(&page);
        return rc;
    }
    find_gaps(t, &q, &page);
    *out = page;
    return 0;
}

int trace_follow(struct trace *t, struct slice instance, struct slice client_id, uint64_t after,
                 uint32_t limit, struct trace_page *out)
{
    struct trace_query q = {.instance = instance,
                            .client_id = client_id,
                            .end_us = UINT64_MAX,
                            .ascending = true,
                            .action = -1,
                            .cause = -1,
                            .limit = limit == 0 ? 1 : limit,
                            .cursor = after};
    struct trace_page page = {0};
    int rc =
        client_id.n == 0 ? query_fleet(t, &q, false, &page) : query_device(t, &q, false, &page);
    if (rc < 0) {
        trace_page_fini(&page);
        return rc;
    }
    page.complete = true;
    *out = page;
    return 0;
}
