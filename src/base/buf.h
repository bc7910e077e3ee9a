/*
 * A growable byte buffer that owns its memory: bytes are put at the end and taken from the start.
 * Invariant: start <= end <= cap; p is NULL exactly when cap is 0. One thread at a time.
 */
#ifndef TMQ_BASE_BUF_H
#define TMQ_BASE_BUF_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

struct buf {
    uint8_t *p;
    size_t start, end, cap;
};

/* Frees the memory; the buffer is empty and may be used again. NULL-safe on zeroed buffers. */
void buf_fini(struct buf *b);

/* Makes room for `n` more bytes at the end and returns where they go (not yet counted). */
uint8_t *buf_reserve_slow(struct buf *b, size_t n);

static inline size_t buf_len(const struct buf *b)
{
    return b->end - b->start;
}

static inline struct slice buf_slice(const struct buf *b)
{
    return slice_make(b->p == NULL ? NULL : b->p + b->start, b->end - b->start);
}

static inline uint8_t *buf_reserve(struct buf *b, size_t n)
{
    if (b->cap - b->end >= n && b->p != NULL) {
        return b->p + b->end;
    }
    return buf_reserve_slow(b, n);
}

/* Counts `n` bytes that were written behind buf_reserve(). */
static inline void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->end);
    b->end += n;
}

static inline void buf_put(struct buf *b, const void *p, size_t n)
{
    if (n > 0) {
        memcpy(buf_reserve(b, n), p, n);
        b->end += n;
    }
}

static inline void buf_put_slice(struct buf *b, struct slice s)
{
    buf_put(b, s.p, s.n);
}

static inline void buf_put_u8(struct buf *b, uint8_t v)
{
    *buf_reserve(b, 1) = v;
    b->end += 1;
}

/* Drops `n` bytes from the start. */
static inline void buf_take(struct buf *b, size_t n)
{
    assert(n <= buf_len(b));
    b->start += n;
    if (b->start == b->end) {
        b->start = b->end = 0;
    }
}

static inline void buf_clear(struct buf *b)
{
    b->start = b->end = 0;
}

#endif
