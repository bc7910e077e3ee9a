/*
 * Allocation that cannot fail: out of memory aborts (style 14), which removes a class of branches
 * nobody can test. Whatever a peer can make grow has a quota before it comes here.
 */
#ifndef TMQ_BASE_MEM_H
#define TMQ_BASE_MEM_H

#include <stddef.h>
#include <stdint.h>

/* Zeroed memory for `n` objects of `size` bytes; free() it. Any thread. */
void *mem_new(size_t n, size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1, 2)));

/* Uninitialised memory of `size` bytes; free() it. Any thread. */
void *mem_alloc(size_t size) __attribute__((malloc, returns_nonnull, alloc_size(1)));

/* Like realloc, never NULL (size 0 gives one byte). */
void *mem_realloc(void *p, size_t size) __attribute__((returns_nonnull, alloc_size(2)));

/* Bytes that the whole program has allocated now, as its allocator counts. Some µs to some hundred. Any thread. */
uint64_t mem_heap_bytes(void);

/* A copy of `n` bytes with a NUL behind it; free() it. */
char *mem_strndup(const void *p, size_t n) __attribute__((malloc, returns_nonnull));

#endif
