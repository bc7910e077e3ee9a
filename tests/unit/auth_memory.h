/* Settings in memory for the tests of auth/: an auth_io over an array, that can be told to fail. */
#ifndef TMQ_TESTS_AUTH_MEMORY_H
#define TMQ_TESTS_AUTH_MEMORY_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/mem.h"

struct memory_row {
    struct slice key, value;
};

struct memory {
    struct memory_row rows[4096];
    size_t count;
    int fail;     /* the next save answers this */
    size_t saves; /* that succeeded */
};

static inline struct slice memory_copy(struct slice s)
{
    return slice_make(mem_strndup(s.p, s.n), s.n);
}

static inline void memory_drop(struct memory *m, size_t i)
{
    free((void *)(uintptr_t)m->rows[i].key.p);
    free((void *)(uintptr_t)m->rows[i].value.p);
    m->rows[i] = m->rows[--m->count];
}

static inline struct memory_row *memory_find(struct memory *m, struct slice key)
{
    for (size_t i = 0; i < m->count; i++) {
        if (slice_eq(m->rows[i].key, key)) {
            return &m->rows[i];
        }
    }
    return NULL;
}

static inline int memory_load(void *arg, void (*fn)(void *, struct slice, struct slice), void *ctx)
{
    struct memory *m = arg;
    for (size_t i = 0; i < m->count; i++) {
        fn(ctx, m->rows[i].key, m->rows[i].value);
    }
    return 0;
}

static inline int memory_save(void *arg, const struct slice *keys, const struct slice *values,
                              size_t count)
{
    struct memory *m = arg;
    if (m->fail != 0) {
        return m->fail;
    }
    for (size_t i = 0; i < count; i++) {
        struct memory_row *row = memory_find(m, keys[i]);
        if (row != NULL) {
            memory_drop(m, (size_t)(row - m->rows));
        }
        if (values[i].p != NULL) {
            m->rows[m->count++] = (struct memory_row){memory_copy(keys[i]), memory_copy(values[i])};
        }
    }
    m->saves++;
    return 0;
}

static inline struct auth_io memory_io(struct memory *m)
{
    return (struct auth_io){.arg = m, .load = memory_load, .save = memory_save};
}

static inline void memory_fini(struct memory *m)
{
    while (m->count > 0) {
        memory_drop(m, m->count - 1);
    }
}

#endif
