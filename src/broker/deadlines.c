/* A binary heap, the earliest on top; each session knows its place, so that its deadline can be moved or taken out. */
#include "broker/deadlines.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

void deadlines_fini(struct deadlines *d)
{
    free(d->heap);
    *d = (struct deadlines){0};
}

static void put(struct deadlines *d, uint32_t at, struct deadline e)
{
    d->heap[at] = e;
    e.s->deadline = at + 1;
}

/* Moves `e`, whose place is free at `at`, towards the top as far as it is earlier. */
static uint32_t rise(struct deadlines *d, uint32_t at, struct deadline e)
{
    while (at > 0 && e.due_ms < d->heap[(at - 1) / 2].due_ms) {
        put(d, at, d->heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    return at;
}

static uint32_t sink(struct deadlines *d, uint32_t at, struct deadline e)
{
    for (;;) {
        uint64_t child = (uint64_t)at * 2 + 1;
        if (child >= d->count) {
            return at;
        }
        child += child + 1 < d->count && d->heap[child + 1].due_ms < d->heap[child].due_ms;
        if (d->heap[child].due_ms >= e.due_ms) {
            return at;
        }
        put(d, at, d->heap[child]);
        at = (uint32_t)child;
    }
}

static void settle(struct deadlines *d, uint32_t at, struct deadline e)
{
    at = rise(d, at, e);
    put(d, sink(d, at, e), e);
}

static void take_out(struct deadlines *d, struct session *s)
{
    uint32_t at = s->deadline - 1;
    struct deadline last = d->heap[--d->count];
    s->deadline = 0;
    if (last.s != s) {
        settle(d, at, last);
    }
}

void deadlines_set(struct deadlines *d, struct session *s, uint64_t due_ms)
{
    const struct deadline e = {.due_ms = due_ms, .s = s};
    assert(s->deadline == 0 || d->heap[s->deadline - 1].s == s);
    if (due_ms == DEADLINE_NEVER) {
        if (s->deadline != 0) {
            take_out(d, s);
        }
        return;
    }
    if (s->deadline != 0) {
        settle(d, s->deadline - 1, e);
        return;
    }
    if (d->count == d->cap) {
        d->cap = d->cap == 0 ? 16 : d->cap * 2;
        d->heap = mem_realloc(d->heap, d->cap * sizeof *d->heap);
    }
    settle(d, d->count++, e);
}

uint64_t deadlines_of(const struct deadlines *d, const struct session *s)
{
    return s->deadline == 0 ? DEADLINE_NEVER : d->heap[s->deadline - 1].due_ms;
}

const struct deadline *deadlines_first(const struct deadlines *d)
{
    return d->count == 0 ? NULL : &d->heap[0];
}
