/*
 * What the files of store/ share: the handles behind the public names.
 *
 * Locks: `lock` guards the engine pointer and the families' handles against store_reopen() (short calls hold
 * it for reading); `active` counts what outlives a call or may take long (snapshots, iterators, writes,
 * compactions): reopen waits until it is zero. `list_lock` guards the list of families. Order: lock, list_lock.
 * A thread never takes `lock` twice: a waiting writer would stop it.
 */
#ifndef TMQ_STORE_STORE_PRIV_H
#define TMQ_STORE_STORE_PRIV_H

#include <pthread.h>
#include <rocksdb/c.h>
#include <stdatomic.h>

#include "store/store.h"

enum { STORE_BLOCKS_PREFIX = 16 };

/* How a family is used, told from its name: it decides the engine's settings. */
enum family_kind {
    KIND_STATE,   /* small keyed values, written and deleted often */
    KIND_STATUS,  /* small keyed values, ingested as sorted files */
    KIND_JOURNAL, /* appended in key order, read once or by range; already compressed */
    KIND_BLOCKS,  /* ingested sorted files, read by a key prefix of 16 bytes */
    KIND_COUNT
};

struct store_cf {
    struct store *store;
    char *name;
    rocksdb_column_family_handle_t *handle; /* NULL: engine closed, or dropped before a reopen */
    struct store_cf *next;                  /* sorted by name */
    atomic_uint refs; /* the list's one, and one for each iterator, sst, store_cf_ref() */
    int family;       /* enum store_family, -1 for segments */
    bool dropped;
};

/* The engine's settings; they live as long as the store, over reopens. */
struct engine_options {
    rocksdb_options_t *family[KIND_COUNT];      /* [KIND_STATE] is also the database's */
    rocksdb_options_t *sorted_file[KIND_COUNT]; /* of files that are built to be ingested */
    rocksdb_env_t *env;
    rocksdb_cache_t *cache;
    rocksdb_writeoptions_t *write, *write_sync;
    rocksdb_readoptions_t *read;
    rocksdb_flushoptions_t *flush;
    rocksdb_ingestexternalfileoptions_t *ingest;
    rocksdb_envoptions_t *envopt;
};

struct store {
    char *dir, *engine_dir, *ingest_dir, *reserve_path;
    int lock_fd;
    uint64_t reserve_bytes;
    char uuid[33];

    struct engine_options opt;
    rocksdb_t *db; /* NULL after a reopen that failed */
    pthread_rwlock_t lock;
    pthread_mutex_t idle_lock;
    pthread_cond_t idle;
    atomic_uint active;

    pthread_mutex_t list_lock;
    struct store_cf *families;
    struct store_cf *fixed[STORE_FAMILY_COUNT];

    atomic_ullong sst_number;
    atomic_llong write_number; /* for the failpoint store.write.fail_nth */
    /* Of the engine, since it was opened: its journal takes no sync any more. 0 = none. */
    atomic_int write_error;
    struct histogram writes, syncs;
    _Atomic uint64_t write_errors, sync_errors;
};

/* store_options.c */
enum family_kind store_kind_of(const char *name, int family);
void store_options_init(struct engine_options *o, uint64_t memory_bytes);
void store_options_fini(struct engine_options *o);

/* store_dir.c: the data directory without the engine. Errors are in words for the operator. */
int store_error_set(struct store_error *err, int rc, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
char *store_path(const char *dir, const char *name);
/* Checks, locks and versions the directory; *lock_fd is the lock. */
int store_dir_open(const char *dir, int *lock_fd, struct store_error *err)
    __attribute__((warn_unused_result));
void store_dir_close(int lock_fd);
/* Removes the files (no folders) in `dir`, which is made when absent. */
int store_dir_empty(const char *dir);

/* store.c */
/* Consumes the engine's error string: 0 when NULL, else -ENOSPC or -EIO. */
int store_status(char *engine_error);
/* Holds off store_reopen() until store_unpin(); false (not held) when the engine is closed. */
bool store_pin(struct store *s);
void store_unpin(struct store *s);

#endif
