/* The slow path of buf.h: moving bytes to the front, growing by doubling. */
#include "base/buf.h"

#include <stdlib.h>

#include "base/mem.h"

void buf_fini(struct buf *b)
{
    free(b->p);
    *b = (struct buf){0};
}

uint8_t *buf_reserve_slow(struct buf *b, size_t n)
{
    size_t len = buf_len(b);
    if (b->start > 0 && b->cap - len >= n && b->start >= len) {
        memcpy(b->p, b->p + b->start, len);
    } else {
        size_t cap = b->cap < 64 ? 64 : b->cap;
        while (cap - len < n) {
            cap *= 2;
        }
        uint8_t *p = mem_alloc(cap);
        if (len > 0) {
            memcpy(p, b->p + b->start, len);
        }
        free(b->p);
        b->p = p;
        b->cap = cap;
    }
    b->start = 0;
    b->end = len;
    return b->p + len;
}
