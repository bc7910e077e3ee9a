/* The part of store/store.h that server/ uses, over a sorted array in memory: link fake_store.c instead of store/. */
#ifndef TMQ_TESTS_FAKE_STORE_H
#define TMQ_TESTS_FAKE_STORE_H

#include "store/store.h"

struct store *fake_store_new(void);
void fake_store_free(struct store *s);
/* A batch that collects, and its end: applied, or forgotten. */
struct store_batch *fake_batch_new(void);
void fake_batch_end(struct store *s, struct store_batch *b, bool apply);
/* Rows of a family whose key begins with `prefix`; puts of it in all batches that were ever filled. */
size_t fake_store_count(const struct store *s, enum store_family f, const char *prefix);
size_t fake_store_puts(const struct store *s, enum store_family f);

#endif
