/*
 * The whole instance's events, from the journal, which holds every committed record in seq order: RAM need not
 * be asked (but for the live tail, which is read from RAM while RAM has it).
 *
 * Times grow with seq but for what waited (an ending without room in its ring, a slower loop): so the
 * search by time allows SLACK_US. A page looks at SCAN_BLOCKS blocks at most; then it says where to go on, be it
 * with few rows: a cursor is a position.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "trace/trace_priv.h"

enum { SCAN_BLOCKS = 40000, COUNT_BLOCKS = 2000 };
#define SLACK_US UINT64_C(30000000)

struct scan {
    struct trace *t;
    const struct view *v;
    const struct trace_query *q;
    struct block_packer *packer;
    struct buf scratch;
    size_t segment; /* next, from the end when descending */
    struct store_iter *it;
    uint64_t blocks; /* looked at */
    struct block_head head;
    struct slice payload;
    struct slice rows[BLOCK_RECORDS];
    size_t row_n;
    int error;
};

static bool head_at(const struct store_iter *it, struct block_head *h, struct slice *payload)
{
    return store_iter_valid(it) && block_journal_decode(store_iter_value(it), h, payload) == 0;
}

static void seek_seq(struct store_iter *it, uint64_t seq)
{
    uint8_t key[BLOCK_JOURNAL_KEY_BYTES];
    put_be64(key, seq);
    store_iter_seek_prev(it, slice_make(key, sizeof key));
    if (!store_iter_valid(it)) {
        store_iter_first(it);
    }
}

/* Puts the iterator on the last block whose newest record is before `us`, or on the first. */
static void seek_time(struct store_iter *it, uint64_t us)
{
    struct block_head h;
    struct slice payload;
    store_iter_last(it);
    if (!head_at(it, &h, &payload)) {
        return;
    }
    uint64_t high = h.first_seq;
    store_iter_first(it);
    uint64_t low = head_at(it, &h, &payload) ? h.first_seq : 0;
    while (low + 1 <
           high) { /* the block at low: before us, or the first; a block may be a single record */
        uint64_t middle = low + (high - low) / 2;
        seek_seq(it, middle);
        if (!head_at(it, &h, &payload)) {
            break;
        }
        if (h.max_us < us) {
            low = middle;
        } else {
            high = middle;
        }
    }
    seek_seq(it, low);
}

static uint64_t minus(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

static void seek_start(struct scan *s)
{
    const struct trace_query *q = s->q;
    if (q->ascending) {
        if (q->cursor != 0) {
            seek_seq(s->it, q->cursor);
        } else if (q->begin_us > SLACK_US) {
            seek_time(s->it, q->begin_us - SLACK_US);
        } else {
            store_iter_first(s->it);
        }
        return;
    }
    if (q->cursor != 0) {
        seek_seq(s->it, q->cursor);
        return;
    }
    store_iter_last(s->it);
    struct block_head h;
    struct slice payload;
    if (head_at(s->it, &h, &payload) && h.min_us > plus(q->end_us, SLACK_US)) {
        seek_time(s->it, plus(q->end_us, SLACK_US));
        for (int i = 0; i < 2 && store_iter_valid(s->it); i++) {
            store_iter_next(s->it); /* the first block that is behind the range */
        }
        if (!store_iter_valid(s->it)) {
            store_iter_last(s->it);
        }
    }
}

static bool scan_open(struct scan *s)
{
    while (s->segment < s->v->segment_n) {
        size_t i = s->q->ascending ? s->segment : s->v->segment_n - 1 - s->segment;
        s->segment++;
        const struct segment_view *seg = &s->v->segments[i];
        bool before = s->q->ascending && i + 1 < s->v->segment_n && s->q->cursor != 0 &&
                      s->v->segments[i + 1].first_seq <= s->q->cursor;
        bool after = !s->q->ascending && s->q->cursor != 0 && seg->first_seq >= s->q->cursor;
        if (seg->j == NULL || before || after) {
            continue;
        }
        s->it = store_iter_new(s->t->store, s->v->snap, seg->j, 0);
        seek_start(s);
        return true;
    }
    return false;
}

static void scan_close(struct scan *s)
{
    if (s->it != NULL) {
        int rc = store_iter_error(s->it);
        s->error = s->error == 0 ? rc : s->error;
        store_iter_free(s->it);
        s->it = NULL;
    }
}

/* What is behind the range in this segment is of no interest. */
static bool past_range(const struct scan *s)
{
    return s->q->ascending ? s->head.min_us > plus(s->q->end_us, SLACK_US)
                           : s->head.max_us < minus(s->q->begin_us, SLACK_US);
}

/* The next block that overlaps the range; the iterator stands behind it. */
static bool scan_block(struct scan *s)
{
    for (;;) {
        if (s->it == NULL && !scan_open(s)) {
            return false;
        }
        if (!store_iter_valid(s->it)) {
            scan_close(s);
            continue;
        }
        if (!head_at(s->it, &s->head, &s->payload)) {
            s->error = -EPROTO;
            return false;
        }
        s->blocks++;
        if (past_range(s)) {
            scan_close(s);
            continue;
        }
        if (s->head.min_us < s->q->end_us && s->head.max_us >= s->q->begin_us) {
            return true;
        }
        if (s->q->ascending) {
            store_iter_next(s->it);
        } else {
            store_iter_prev(s->it);
        }
    }
}

static void scan_step(struct scan *s)
{
    if (s->q->ascending) {
        store_iter_next(s->it);
    } else {
        store_iter_prev(s->it);
    }
}

static bool scan_rows(struct scan *s)
{
    struct slice rest;
    if (block_journal_unpack(s->packer, &s->head, s->payload, &s->scratch, &rest) < 0) {
        s->error = -EPROTO;
        return false;
    }
    s->row_n = 0;
    while (s->row_n < BLOCK_RECORDS && block_next(&rest, &s->rows[s->row_n])) {
        s->row_n++;
    }
    return true;
}

static bool fleet_match(const struct trace_query *q, const struct record *r)
{
    return r->client_id.n > 0 && slice_eq(r->instance, q->instance) && page_match(q, r);
}

static bool behind_cursor(const struct trace_query *q, uint64_t seq)
{
    return q->cursor == 0 || (q->ascending ? seq > q->cursor : seq < q->cursor);
}

/* Adds a block's rows; true: the page is full and there is more. */
static bool add_rows(struct scan *s, struct page_build *p)
{
    for (size_t k = 0; k < s->row_n; k++) {
        struct record r;
        size_t i = s->q->ascending ? k : s->row_n - 1 - k;
        if (record_decode(s->rows[i], &r) < 0 || !behind_cursor(s->q, r.seq) ||
            !fleet_match(s->q, &r)) {
            continue;
        }
        if (p->n == s->q->limit) {
            return true;
        }
        page_add(p, &r);
    }
    return false;
}

static void scan_init(struct scan *s, struct trace *t, const struct view *v,
                      const struct trace_query *q)
{
    memset(s, 0, sizeof *s);
    s->t = t;
    s->v = v;
    s->q = q;
    s->packer = block_packer_new();
}

static int scan_fini(struct scan *s)
{
    scan_close(s);
    block_packer_free(s->packer);
    buf_fini(&s->scratch);
    return s->error;
}

static int fill_page(struct trace *t, const struct view *v, const struct trace_query *q,
                     struct page_build *p, uint64_t *next_cursor)
{
    struct scan *s = mem_alloc(sizeof *s);
    scan_init(s, t, v, q);
    uint64_t unpacked = 0;
    while (scan_block(s) && scan_rows(s)) {
        if (add_rows(s, p)) {
            *next_cursor = p->rows[p->n - 1].seq;
            break;
        }
        if (++unpacked >= SCAN_BLOCKS) {
            *next_cursor = q->ascending ? s->head.last_seq : s->head.first_seq;
            break;
        }
        scan_step(s);
    }
    int rc = scan_fini(s);
    free(s);
    return rc;
}

static int count_all(struct trace *t, const struct view *v, const struct trace_query *query,
                     struct trace_page *out)
{
    struct trace_query q = *query;
    q.cursor = 0;
    struct scan *s = mem_alloc(sizeof *s);
    scan_init(s, t, v, &q);
    uint64_t instance = hash64(q.instance) | 1;
    bool whole = page_unfiltered(&q);
    bool more = true;
    while ((more = s->blocks < COUNT_BLOCKS && (whole || out->total <= TOTAL_EXACT)) &&
           scan_block(s)) {
        const struct block_head *h = &s->head;
        if (whole && h->instance_hash == instance && h->min_us >= q.begin_us &&
            h->max_us < q.end_us) {
            out->total += (uint64_t)(h->count - h->unidentified);
        } else if (scan_rows(s)) {
            for (size_t i = 0; i < s->row_n; i++) {
                struct record r;
                out->total += record_decode(s->rows[i], &r) == 0 && fleet_match(&q, &r);
            }
        }
        scan_step(s);
    }
    out->total_at_least = !more;
    if (!whole && out->total > TOTAL_EXACT) {
        out->total = TOTAL_EXACT;
    }
    int rc = scan_fini(s);
    free(s);
    return rc;
}

/* The live tail, from RAM; false: RAM does not reach back that far. */
static bool follow_ram(const struct view *v, const struct trace_query *q, struct page_build *p,
                       uint64_t *next_cursor)
{
    if (v->buffer_n == 0 || buffer_first_seq(v->buffers[0].b) > q->cursor + 1) {
        return false;
    }
    for (unsigned b = 0; b < v->buffer_n; b++) {
        const struct buffer_view *bv = &v->buffers[b];
        uint64_t first = buffer_first_seq(bv->b);
        for (uint64_t i = q->cursor + 1 > first ? q->cursor + 1 - first : 0; i < bv->visible; i++) {
            struct record r;
            if (record_decode(buffer_record(bv->b, (uint32_t)i), &r) < 0 || !fleet_match(q, &r)) {
                continue;
            }
            if (p->n == q->limit) {
                *next_cursor = p->rows[p->n - 1].seq;
                return true;
            }
            page_add(p, &r);
        }
    }
    return true;
}

int query_fleet(struct trace *t, const struct trace_query *q, bool count, struct trace_page *out)
{
    struct view v;
    int rc = view_open(t, &v);
    if (rc < 0) {
        return rc;
    }
    struct page_build p = {.arena = arena_new()};
    if (count || !follow_ram(&v, q, &p, &out->next_cursor)) {
        rc = fill_page(t, &v, q, &p, &out->next_cursor);
    }
    size_t n = p.n;
    page_finish(&p, out);
    if (rc == 0 && count) {
        if (q->cursor == 0 && out->next_cursor == 0) {
            out->total = n;
        } else {
            rc = count_all(t, &v, q, out);
        }
    }
    view_close(t, &v);
    return rc;
}
