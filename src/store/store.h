/*
 * The one place that knows RocksDB: one database, named column families, batches, snapshots,
 * iterators, sorted files to ingest. Keys and values are bytes; their layout belongs to the callers.
 * Any thread unless said otherwise. Errors: 0 or a negative errno (-ENOSPC, -EIO, -EINVAL …).
 */
#ifndef TMQ_STORE_STORE_H
#define TMQ_STORE_STORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/histogram.h"
#include "base/slice.h"

struct store;
struct store_batch;
struct store_snap;
struct store_iter;
struct store_cf;

/* Column families that always exist. Segments of the trace come and go by name. */
enum store_family {
    STORE_META,     /* format version, uuid, watermarks, counters */
    STORE_SETTINGS, /* instances, groups, topics, users, permissions (auth/) */
    STORE_SESSIONS, /* sessions and their subscriptions (server/) */
    STORE_QUEUES, /* messages queued or in flight for a session, incoming QoS 2 packet IDs (server/) */
    STORE_MESSAGES, /* payloads of queued messages, once each (server/) */
    STORE_RETAINED, /* retained messages (server/) */
    STORE_DEVICES,  /* the newest status of each device (trace/) */
    STORE_OPEN,     /* channels open at the last flush (trace/) */
    STORE_FAMILY_COUNT
};

struct store_options {
    const char *dir;        /* DATA; the database is DATA/store, the lock DATA/LOCK */
    uint64_t memory_bytes;  /* for memtables and block cache together */
    uint64_t reserve_bytes; /* preallocated file freed on ENOSPC; 64 MiB */
};

/* Why an open failed, in words for the operator: data directory of another version (-EPROTO), locked
 * by another process (-EBUSY, with its pid), not writable (-EACCES), …; touches nothing then. */
struct store_error {
    char text[512];
};

int store_open(struct store **out, const struct store_options *o, struct store_error *err)
    __attribute__((warn_unused_result));
/* Flushes nothing that a restart could not replay; closes. NULL-safe. */
void store_close(struct store *s);

/* A store's identity, made at its first start: 32 hex chars and NUL. Lives as long as `s`. */
const char *store_uuid(const struct store *s);
const char *store_dir(const struct store *s);

struct store_cf *store_family(struct store *s, enum store_family f);

/* Segments: families by name, listed in byte order. `out` handles live until dropped or closed;
 * a dropped family stays readable for snapshots and iterators that hold it (reference counted). */
int store_cf_create(struct store *s, const char *name, struct store_cf **out)
    __attribute__((warn_unused_result));
int store_cf_drop(struct store *s, struct store_cf *cf) __attribute__((warn_unused_result));
struct store_cf *store_cf_find(struct store *s, const char *name);
/* Calls `fn` for each dynamic family. */
void store_cf_each(struct store *s, void (*fn)(void *arg, const char *name, struct store_cf *cf),
                   void *arg);
/* Keeps the handle (and a dropped family's data readable) until store_cf_unref(): for readers that hold
 * segments while the maintenance thread may drop them. The caller must know the family alive when it takes one. */
void store_cf_ref(struct store_cf *cf);
void store_cf_unref(struct store_cf *cf);
const char *store_cf_name(const struct store_cf *cf);
uint64_t store_cf_bytes(struct store *s, struct store_cf *cf);
/* Compacts the whole family, which should be done with: sorted files are compressed well only now. Blocks; maintenance
 * thread only. */
void store_cf_compact(struct store *s, struct store_cf *cf);
/* Writes the family's memtable out so that it pins no WAL. */
int store_cf_flush(struct store *s, struct store_cf *cf) __attribute__((warn_unused_result));

struct store_batch *store_batch_new(void);
void store_batch_free(struct store_batch *b);
void store_batch_clear(struct store_batch *b);
void store_batch_put(struct store_batch *b, struct store_cf *cf, struct slice key,
                     struct slice val);
void store_batch_delete(struct store_batch *b, struct store_cf *cf, struct slice key);
size_t store_batch_count(const struct store_batch *b);

/* Applies the batch atomically: in the WAL and visible; `sync` also on the disk. */
int store_write(struct store *s, struct store_batch *b, bool sync)
    __attribute__((warn_unused_result));
/* Brings all earlier writes to the disk. */
int store_sync(struct store *s) __attribute__((warn_unused_result));

/* -ENOENT when there is none; else *out is malloc'ed, caller frees out->p via store_free(). */
int store_get(struct store *s, const struct store_snap *snap, struct store_cf *cf, struct slice key,
              struct slice *out) __attribute__((warn_unused_result));
void store_free(struct slice *v);

/* NULL while the engine is closed (a reopen failed); reads without a snapshot then give -EIO, too. */
struct store_snap *store_snap_new(struct store *s);
void store_snap_free(struct store *s, struct store_snap *snap);

/* `snap` may be NULL. Keys and values live until the iterator moves. `prefix_len` > 0 tells that seeks
 * stay within that many bytes (bloom filters). */
struct store_iter *store_iter_new(struct store *s, const struct store_snap *snap,
                                  struct store_cf *cf, size_t prefix_len);
void store_iter_free(struct store_iter *it);
void store_iter_seek(struct store_iter *it, struct slice key);      /* first key >= */
void store_iter_seek_prev(struct store_iter *it, struct slice key); /* last key <= */
void store_iter_first(struct store_iter *it);
void store_iter_last(struct store_iter *it);
void store_iter_next(struct store_iter *it);
void store_iter_prev(struct store_iter *it);
bool store_iter_valid(const struct store_iter *it);
/* Why an iterator became invalid: 0 at the end of the data, else a negative errno. */
int store_iter_error(const struct store_iter *it);
struct slice store_iter_key(const struct store_iter *it);
struct slice store_iter_value(const struct store_iter *it);

/* A sorted file, filled in key order, then ingested (atomically with those given together). */
struct store_sst;
int store_sst_new(struct store *s, struct store_cf *cf, struct store_sst **out)
    __attribute__((warn_unused_result));
int store_sst_put(struct store_sst *f, struct slice key, struct slice val)
    __attribute__((warn_unused_result));
int store_sst_delete(struct store_sst *f, struct slice key) __attribute__((warn_unused_result));
/* Ends and ingests the file; frees it also on error (then its bytes are gone from the disk). */
int store_sst_ingest(struct store *s, struct store_sst *f) __attribute__((warn_unused_result));
void store_sst_abort(struct store_sst *f);

/* Free bytes of the file system that holds the store. */
uint64_t store_disk_free(const struct store *s);
/* Frees the reserve file (true if there was one) / makes it again when there is room. */
bool store_reserve_release(struct store *s);
void store_reserve_refill(struct store *s);

/* A write or sync failed: the engine's journal takes nothing any more until store_reopen(). */
bool store_broken(const struct store *s);
/* After a latched engine error: close and open again in place. Handles from store_family() and
 * store_cf_*() stay valid; snapshots and iterators must be gone (the call waits for them). */
int store_reopen(struct store *s) __attribute__((warn_unused_result));

/* How long writes and syncs took, and how many failed; any thread. */
struct store_stats {
    struct histogram_counts writes, syncs;
    uint64_t write_errors, sync_errors;
};
void store_stats(const struct store *s, struct store_stats *out);

#endif
