/* Unsigned numbers in seven-bit groups, least significant first, as in protobuf: one byte below 128. */
#ifndef TMQ_TRACE_VARINT_H
#define TMQ_TRACE_VARINT_H

#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

enum { VARINT_MAX = 10 };

/* Writes at most VARINT_MAX bytes, returns how many. */
static inline size_t varint_put(uint8_t *out, uint64_t v)
{
    size_t n = 0;
    while (v >= 0x80) {
        out[n++] = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    out[n++] = (uint8_t)v;
    return n;
}

static inline size_t varint_size(uint64_t v)
{
    size_t n = 1;
    while (v >= 0x80) {
        v >>= 7;
        n++;
    }
    return n;
}

/* Takes one number from the front of `*in`; false (nothing taken) when it is cut off or over 64 bits. */
static inline bool varint_take(struct slice *in, uint64_t *out)
{
    uint64_t v = 0;
    for (size_t i = 0; i < in->n && i < VARINT_MAX; i++) {
        uint8_t b = in->p[i];
        if (i == VARINT_MAX - 1 && b > 1) {
            return false;
        }
        v |= (uint64_t)(b & 0x7f) << (7 * i);
        if ((b & 0x80) == 0) {
            *out = v;
            *in = slice_make(in->p + i + 1, in->n - i - 1);
            return true;
        }
    }
    return false;
}

/* Takes `n` bytes from the front of `*in`. */
static inline bool slice_take(struct slice *in, uint64_t n, struct slice *out)
{
    if (n > in->n) {
        return false;
    }
    *out = slice_make(in->p, (size_t)n);
    *in = slice_make(in->p + n, in->n - (size_t)n);
    return true;
}

/* Length of the longest beginning of `s` within `max` bytes that cuts no UTF-8 character in two. */
static inline size_t utf8_cut(struct slice s, size_t max)
{
    if (s.n <= max) {
        return s.n;
    }
    size_t n = max;
    while (n > 0 && max - n < 4 && (s.p[n] & 0xc0) == 0x80) {
        n--;
    }
    return (s.p[n] & 0xc0) == 0x80 ? max : n; /* no UTF-8 at all: cut anywhere */
}

#endif
