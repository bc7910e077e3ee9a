/* Rows of an answer and the memory they live in: an arena that the page owns, freed as a whole. */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trace/trace_priv.h"

enum { ARENA_PIECE = 16 << 10 };

struct piece {
    struct piece *next;
    size_t used, cap;
    uint8_t bytes[];
};

struct arena {
    struct piece *first;
};

struct arena *arena_new(void)
{
    return mem_new(1, sizeof(struct arena));
}

void arena_free(struct arena *a)
{
    if (a == NULL) {
        return;
    }
    for (struct piece *p = a->first, *next; p != NULL; p = next) {
        next = p->next;
        free(p);
    }
    free(a);
}

void *arena_take(struct arena *a, size_t n)
{
    n = (n + 7) & ~(size_t)7;
    struct piece *p = a->first;
    if (p == NULL || p->cap - p->used < n) {
        size_t cap = n > ARENA_PIECE ? n : ARENA_PIECE;
        p = mem_alloc(sizeof *p + cap);
        p->used = 0;
        p->cap = cap;
        p->next = a->first;
        a->first = p;
    }
    void *at = p->bytes + p->used;
    p->used += n;
    return at;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
    if (s.n == 0) {
        return slice_make(NULL, 0);
    }
    uint8_t *p = arena_take(a, s.n);
    memcpy(p, s.p, s.n);
    return slice_make(p, s.n);
}

void record_copy(struct arena *a, const struct record *r, struct record *out)
{
    *out = *r;
    out->instance = arena_copy(a, r->instance);
    out->client_id = arena_copy(a, r->client_id);
    out->user = arena_copy(a, r->user);
    out->peer = arena_copy(a, r->peer);
    out->proxy = arena_copy(a, r->proxy);
    out->listener = arena_copy(a, r->listener);
    out->node = arena_copy(a, r->node);
    out->detail = arena_copy(a, r->detail);
}

void page_add(struct page_build *p, const struct record *r)
{
    if (p->n == p->cap) {
        p->cap = p->cap == 0 ? 32 : p->cap * 2;
        p->rows = mem_realloc(p->rows, p->cap * sizeof *p->rows);
    }
    record_copy(p->arena, r, &p->rows[p->n++]);
}

void page_finish(struct page_build *p, struct trace_page *out)
{
    out->rows = p->rows;
    out->count = p->n;
    out->memory = p->arena;
    *p = (struct page_build){0};
}

void trace_page_fini(struct trace_page *p)
{
    free(p->rows);
    free(p->gaps);
    arena_free(p->memory);
    *p = (struct trace_page){0};
}

bool page_unfiltered(const struct trace_query *q)
{
    return q->action < 0 && q->cause < 0 && q->peer.n == 0 && q->group.n == 0;
}

static bool match_source(const struct trace_query *q, const struct record *r)
{
    struct slice group;
    struct slice device;
    if (q->peer.n > 0 && !slice_has_prefix(r->peer, q->peer)) {
        return false;
    }
    return q->group.n == 0 ||
           (client_id_split(r->client_id, &group, &device) && slice_eq(group, q->group));
}

bool page_match(const struct trace_query *q, const struct record *r)
{
    if (r->time_us < q->begin_us || r->time_us >= q->end_us || (r->flags & RECORD_GAP) != 0) {
        return false;
    }
    if (q->cause >= 0 && (int)r->cause != q->cause) {
        return false;
    }
    if (q->action >= 0 && (int)cause_info(r->cause)->action != q->action) {
        return false;
    }
    return match_source(q, r);
}
