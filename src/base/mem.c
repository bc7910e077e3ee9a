/* Allocation that aborts instead of failing; see mem.h. */
#include "base/mem.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void *check(void *p, size_t size)
{
    if (p == NULL) {
        (void)fprintf(stderr, "level=fatal msg=\"out of memory\" bytes=%zu\n", size);
        abort();
    }
    return p;
}

void *mem_new(size_t n, size_t size)
{
    return check(calloc(n == 0 ? 1 : n, size == 0 ? 1 : size), n * size);
}

void *mem_alloc(size_t size)
{
    return check(malloc(size == 0 ? 1 : size), size);
}

void *mem_realloc(void *p, size_t size)
{
    return check(realloc(p, size == 0 ? 1 : size), size);
}

char *mem_strndup(const void *p, size_t n)
{
    char *s = mem_alloc(n + 1);
    if (n > 0) {
        memcpy(s, p, n);
    }
    s[n] = '\0';
    return s;
}
