/* Radix sort from the last byte on. A byte that all keys share costs no pass. */
#include "base/sort.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

enum { BYTES = 8, VALUES = 256 };

static unsigned byte_of(uint64_t key, int b)
{
    return (unsigned)(key >> (8 * b)) & (VALUES - 1);
}

/* Copies in the order of byte `b`; `count` says how often each value of it comes. */
static void pass(const struct sort_item *from, struct sort_item *to, size_t n, int b,
                 const size_t count[VALUES])
{
    size_t next[VALUES];
    size_t sum = 0;
    for (int v = 0; v < VALUES; v++) {
        next[v] = sum;
        sum += count[v];
    }
    for (size_t i = 0; i < n; i++) {
        to[next[byte_of(from[i].key, b)]++] = from[i];
    }
}

void sort_items(struct sort_item *items, size_t n)
{
    if (n < 2) {
        return;
    }
    size_t count[BYTES][VALUES] = {0};
    for (size_t i = 0; i < n; i++) {
        for (int b = 0; b < BYTES; b++) {
            count[b][byte_of(items[i].key, b)]++;
        }
    }
    struct sort_item *other = mem_new(n, sizeof *other);
    struct sort_item *from = items;
    struct sort_item *to = other;
    for (int b = 0; b < BYTES; b++) {
        if (count[b][byte_of(items[0].key, b)] == n) {
            continue;
        }
        pass(from, to, n, b, count[b]);
        struct sort_item *sorted = to;
        to = from;
        from = sorted;
    }
    if (from != items) {
        memcpy(items, from, n * sizeof *items);
    }
    free(other);
}
