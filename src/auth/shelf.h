/*
 * Counted, immutable, named things and sorted shelves of them: what a snapshot of the settings is made of.
 * A changed shelf is a new one that shares all its entries but one, so readers never wait and never see half
 * a change.
 *
 * Entries and shelves are immutable once they are shared; ref and unref from any thread.
 */
#ifndef TMQ_AUTH_SHELF_H
#define TMQ_AUTH_SHELF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* First member of everything counted. `name` belongs to the entry. */
struct entry {
    _Atomic uint32_t refs;
    void (*free_fn)(struct entry *e); /* frees the whole object; calls entry_fini() */
    uint64_t created_ms;
    struct slice name;
};

/* One reference, owned by the caller; copies the name. */
void entry_init(struct entry *e, void (*free_fn)(struct entry *e), struct slice name,
                uint64_t created_ms);
void entry_fini(struct entry *e);

/* An entry that is a name and a time only; unref it. */
struct entry *entry_new(struct slice name, uint64_t created_ms);

static inline void entry_ref(struct entry *e)
{
    (void)atomic_fetch_add_explicit(&e->refs, 1, memory_order_relaxed);
}

/* NULL is fine. */
void entry_unref(struct entry *e);

struct shelf {
    struct entry e;
    size_t count;
    struct entry *items[]; /* sorted by name, no name twice */
};

/* Takes over one reference of each of the `count` entries and sorts them; unref the shelf. */
struct shelf *shelf_new(struct entry **items, size_t count);

/* The entry of that name, borrowed from the shelf, or NULL. */
struct entry *shelf_find(const struct shelf *s, struct slice name);

/* A new shelf where `e` is added or takes the place of its namesake; takes its own reference of `e`. */
struct shelf *shelf_with(const struct shelf *s, struct entry *e);

/* A new shelf without that name. */
struct shelf *shelf_without(const struct shelf *s, struct slice name);

#endif
