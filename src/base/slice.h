/* A slice borrows bytes: it owns nothing and lives as long as what it points into. */
#ifndef TMQ_BASE_SLICE_H
#define TMQ_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct slice {
    const uint8_t *p;
    size_t n;
};

static inline struct slice slice_make(const void *p, size_t n)
{
    return (struct slice){.p = p, .n = n};
}

/* The bytes of a NUL-terminated string, without the NUL; NULL gives the empty slice. */
static inline struct slice slice_str(const char *s)
{
    return (struct slice){.p = (const void *)s, .n = s == NULL ? 0 : strlen(s)};
}

static inline bool slice_eq(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_has_prefix(struct slice a, struct slice prefix)
{
    return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

/* Byte order as memcmp, shorter first. */
static inline int slice_cmp(struct slice a, struct slice b)
{
    size_t n = a.n < b.n ? a.n : b.n;
    int c = n == 0 ? 0 : memcmp(a.p, b.p, n);
    return c != 0 ? c : (a.n > b.n) - (a.n < b.n);
}

static inline struct slice slice_from(struct slice s, size_t offset)
{
    return offset >= s.n ? slice_make(s.p, 0) : slice_make(s.p + offset, s.n - offset);
}

#endif
