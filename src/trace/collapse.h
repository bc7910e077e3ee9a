/*
 * Bounds what refused and unidentified connections can write: COLLAPSE_ROWS rows per source, cause and
 * minute pass, the rest is counted and becomes one row when the minute is over. Commit thread only.
 *
 * A source is an instance and an address (IPv4: without port, IPv6: its /64). The table holds
 * COLLAPSE_SOURCES of them; those that come when it is full share the source "other" of their cause.
 * A collapsed row of one client ID only is filed under it, one of several as unidentified, with a text.
 *
 * Counts survive kill -9: each commit saves the counted rows that changed (meta key "collapse/"), together
 * with the ring positions they were drained up to.
 */
#ifndef TMQ_TRACE_COLLAPSE_H
#define TMQ_TRACE_COLLAPSE_H

#include <stdbool.h>
#include <stdint.h>

#include "store/store.h"
#include "trace/record.h"

enum { COLLAPSE_ROWS = 20, COLLAPSE_SOURCES = 1024 };
#define COLLAPSE_PREFIX "collapse/"

struct collapse;

struct collapse *collapse_new(void) __attribute__((returns_nonnull));
void collapse_free(struct collapse *c); /* NULL-safe */

/* True: the record is written as it is. False: it was counted. Only for refused or unidentified ones. */
bool collapse_take(struct collapse *c, const struct record *r);
/* The next collapsed row of a minute before `now_us`'s (of all minutes with UINT64_MAX); false: none is due.
 * Slices live until the next call of any function here. */
bool collapse_pop(struct collapse *c, uint64_t now_us, struct record *out);
/* Wall time when collapse_pop() will have a row; 0 = nothing is counted. */
uint64_t collapse_due_us(const struct collapse *c);
/* Puts what changed since the last collapse_saved() into the batch. */
void collapse_save(const struct collapse *c, struct store_batch *b, struct store_cf *meta);
void collapse_saved(struct collapse *c);
/* A saved row, told at a start: its key goes with the next collapse_save(). */
void collapse_delete(struct collapse *c, struct slice key);

/* "10.0.0.1:4711" to "10.0.0.1", "[2001:db8::1]:4711" to "2001:db8::/64". Returns the length. */
enum { COLLAPSE_SOURCE_MAX = 64 };
size_t collapse_source(struct slice peer, char out[COLLAPSE_SOURCE_MAX]);

#endif
