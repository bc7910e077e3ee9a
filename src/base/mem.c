/* Allocation that aborts instead of failing; see mem.h. */
#include "base/mem.h"

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* jemalloc's, where the program is linked with it; the C library tells for itself. */
extern int mallctl(const char *name, void *old, size_t *old_len, void *new, size_t new_len)
    __attribute__((weak));

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

uint64_t mem_heap_bytes(void)
{
    uint64_t epoch = 1;
    size_t allocated = 0, n = sizeof allocated;
    if (mallctl == NULL) {
        return mallinfo2().uordblks;
    }
    bool good = mallctl("epoch", NULL, NULL, &epoch, sizeof epoch) == 0 && /* else it is stale */
                mallctl("stats.allocated", &allocated, &n, NULL, 0) == 0;
    return good ? allocated : 0;
}
