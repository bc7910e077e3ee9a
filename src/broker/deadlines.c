/* A binary heap, the earliest on top; each thing knows its place, so that its deadline can be moved or taken out. */
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
    *e.place = at + 1;
}

/* Moves `e`, whose place is free at `at`, towards the top as far as it is earlier. */
static uint32_t rise(struct deadlines *d, uint32_t at, struct deadline e)
{
    while (at > 0 && e.due < d->heap[(at - 1) / 2].due) {
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
        child += child + 1 < d->count && d->heap[child + 1].due < d->heap[child].due;
        if (d->heap[child].due >= e.due) {
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

static void take_out(struct deadlines *d, uint32_t *place)
{
    uint32_t at = *place - 1;
    struct deadline last = d->heap[--d->count];
    *place = 0;
    if (last.place != place) {
        settle(d, at, last);
    }
}

void deadlines_set(struct deadlines *d, uint32_t *place, uint64_t due)
{
    const struct deadline e = {.due = due, .place = place};
    assert(*place == 0 || d->heap[*place - 1].place == place);
    if (due == DEADLINE_NEVER) {
        if (*place != 0) {
            take_out(d, place);
        }
        return;
    }
    if (*place != 0) {
        settle(d, *place - 1, e);
        return;
    }
    if (d->count == d->cap) {
        d->cap = d->cap == 0 ? 16 : d->cap * 2;
        d->heap = mem_realloc(d->heap, d->cap * sizeof *d->heap);
    }
    settle(d, d->count++, e);
}

uint64_t deadlines_of(const struct deadlines *d, const uint32_t *place)
{
    return *place == 0 ? DEADLINE_NEVER : d->heap[*place - 1].due;
}

const struct deadline *deadlines_first(const struct deadlines *d)
{
    return d->count == 0 ? NULL : &d->heap[0];
}
