/*
 * Sorted arrays of counted entries, copied on change. Why no tree: a shelf holds the groups of an instance or one
 * 256th of its users; a copy of a few hundred pointers costs less than the fsync of the change.
 */
#include "auth/shelf.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

void entry_init(struct entry *e, void (*free_fn)(struct entry *e), struct slice name,
                uint64_t created_ms)
{
    atomic_init(&e->refs, 1);
    e->free_fn = free_fn;
    e->created_ms = created_ms;
    e->name = slice_make(mem_strndup(name.p, name.n), name.n);
}

void entry_fini(struct entry *e)
{
    free((void *)(uintptr_t)e->name.p); /* ours: a slice borrows as const */
    e->name = slice_make(NULL, 0);
}

static void free_plain(struct entry *e)
{
    entry_fini(e);
    free(e);
}

struct entry *entry_new(struct slice name, uint64_t created_ms)
{
    struct entry *e = mem_new(1, sizeof *e);
    entry_init(e, free_plain, name, created_ms);
    return e;
}

void entry_unref(struct entry *e)
{
    if (e == NULL) {
        return;
    }
    uint32_t before = atomic_fetch_sub_explicit(&e->refs, 1, memory_order_acq_rel);
    assert(before > 0);
    if (before == 1) {
        e->free_fn(e);
    }
}

static void free_shelf(struct entry *e)
{
    struct shelf *s = (struct shelf *)(void *)e;
    for (size_t i = 0; i < s->count; i++) {
        entry_unref(s->items[i]);
    }
    entry_fini(e);
    free(s);
}

static struct shelf *shelf_alloc(size_t count)
{
    struct shelf *s = mem_new(1, sizeof *s + count * sizeof s->items[0]);
    entry_init(&s->e, free_shelf, slice_str(""), 0);
    s->count = count;
    return s;
}

static int compare_entries(const void *a, const void *b)
{
    const struct entry *const *x = a;
    const struct entry *const *y = b;
    return slice_cmp((*x)->name, (*y)->name);
}

struct shelf *shelf_new(struct entry **items, size_t count)
{
    struct shelf *s = shelf_alloc(count);
    for (size_t i = 0; i < count; i++) {
        s->items[i] = items[i];
    }
    if (count > 1) {
        qsort(s->items, count, sizeof s->items[0], compare_entries);
    }
    return s;
}

/* Where the name is or would be. */
static size_t lower_bound(const struct shelf *s, struct slice name)
{
    size_t lo = 0;
    size_t hi = s->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (slice_cmp(s->items[mid]->name, name) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

struct entry *shelf_find(const struct shelf *s, struct slice name)
{
    size_t at = lower_bound(s, name);
    return at < s->count && slice_eq(s->items[at]->name, name) ? s->items[at] : NULL;
}

/* A copy where the `drop` entries at `at` give way to `e` (may be NULL). */
static struct shelf *splice(const struct shelf *s, size_t at, size_t drop, struct entry *e)
{
    struct shelf *out = shelf_alloc(s->count - drop + (e == NULL ? 0 : 1));
    size_t n = 0;
    for (size_t i = 0; i < at; i++) {
        out->items[n++] = s->items[i];
    }
    if (e != NULL) {
        out->items[n++] = e;
    }
    for (size_t i = at + drop; i < s->count; i++) {
        out->items[n++] = s->items[i];
    }
    assert(n == out->count);
    for (size_t i = 0; i < n; i++) {
        entry_ref(out->items[i]);
    }
    return out;
}

struct shelf *shelf_with(const struct shelf *s, struct entry *e)
{
    size_t at = lower_bound(s, e->name);
    size_t drop = at < s->count && slice_eq(s->items[at]->name, e->name) ? 1 : 0;
    return splice(s, at, drop, e);
}

struct shelf *shelf_without(const struct shelf *s, struct slice name)
{
    size_t at = lower_bound(s, name);
    size_t drop = at < s->count && slice_eq(s->items[at]->name, name) ? 1 : 0;
    return splice(s, at, drop, NULL);
}
