/*
 * Reads and writes: batches, single gets, snapshots, iterators, sorted files.
 *
 * Invariants: a write that returned 0 is in the kernel (kill -9 does not lose it); with `sync`, or after
 * store_sync(), on the disk. Snapshots and iterators pin the engine, so that their own calls need no lock.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/failpoint.h"
#include "base/mem.h"
#include "store/store_priv.h"

struct store_batch {
    rocksdb_writebatch_t *b;
    size_t n;
};

struct store_snap {
    const rocksdb_snapshot_t *s;
};

struct store_iter {
    rocksdb_iterator_t *it;
    rocksdb_readoptions_t *read;
    struct store *store;
    struct store_cf *cf;
};

struct store_sst {
    rocksdb_sstfilewriter_t *w;
    struct store_cf *cf;
    char *path;
    size_t n;
};

static const char *chars(struct slice s)
{
    return s.p == NULL ? "" : (const char *)s.p;
}

/* ---- batches ---- */

struct store_batch *store_batch_new(void)
{
    struct store_batch *b = mem_new(1, sizeof *b);
    b->b = rocksdb_writebatch_create();
    return b;
}

void store_batch_free(struct store_batch *b)
{
    if (b != NULL) {
        rocksdb_writebatch_destroy(b->b);
        free(b);
    }
}

void store_batch_clear(struct store_batch *b)
{
    rocksdb_writebatch_clear(b->b);
    b->n = 0;
}

/* A batch keeps the family's number only, so it may outlive a reopen. A family whose engine is closed (or
 * that was dropped) gets nothing: the write that follows fails or has no use for it. */
void store_batch_put(struct store_batch *b, struct store_cf *cf, struct slice key, struct slice val)
{
    (void)pthread_rwlock_rdlock(&cf->store->lock);
    if (cf->handle != NULL) {
        rocksdb_writebatch_put_cf(b->b, cf->handle, chars(key), key.n, chars(val), val.n);
    }
    (void)pthread_rwlock_unlock(&cf->store->lock);
    b->n++;
}

void store_batch_delete(struct store_batch *b, struct store_cf *cf, struct slice key)
{
    (void)pthread_rwlock_rdlock(&cf->store->lock);
    if (cf->handle != NULL) {
        rocksdb_writebatch_delete_cf(b->b, cf->handle, chars(key), key.n);
    }
    (void)pthread_rwlock_unlock(&cf->store->lock);
    b->n++;
}

size_t store_batch_count(const struct store_batch *b)
{
    return b->n;
}

static void delay_ms(int64_t ms)
{
    if (ms > 0) {
        struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        (void)nanosleep(&ts, NULL);
    }
}

/* 0, or the error that an armed failpoint asks for. */
static int write_failpoints(struct store *s)
{
    delay_ms(failpoint_value("store.write.delay_ms"));
    if (failpoint_value("store.write.enospc") != 0) {
        return -ENOSPC;
    }
    int64_t nth = failpoint_value("store.write.fail_nth");
    if (nth > 0 && atomic_fetch_add(&s->write_number, 1) + 1 == nth) {
        return -EIO;
    }
    return 0;
}

static int write_batch(struct store *s, struct store_batch *b, bool sync)
{
    int rc = write_failpoints(s);
    if (rc < 0) {
        return rc;
    }
    if (!store_pin(s)) {
        return -EIO;
    }
    char *e = NULL;
    if ((size_t)rocksdb_writebatch_count(b->b) == b->n) {
        rocksdb_write(s->db, sync ? s->opt.write_sync : s->opt.write, b->b, &e);
        rc = store_status(e);
        if (rc == -ENOSPC || rc == -EIO) {
            atomic_store(&s->write_error, rc);
        }
    } else {
        rc = -EIO; /* filled while the engine was closed: incomplete, so nothing of it */
    }
    store_unpin(s);
    return rc;
}

bool store_broken(const struct store *s)
{
    return atomic_load(&s->write_error) != 0;
}

static int sync_journal(struct store *s)
{
    delay_ms(failpoint_value("store.sync.delay_ms"));
    if (!store_pin(s)) {
        return -EIO;
    }
    int broken = atomic_load(&s->write_error);
    if (broken != 0) {
        store_unpin(s); /* to sync a journal whose write failed is an assertion in the engine */
        return broken;
    }
    char *e = NULL;
    rocksdb_flush_wal(s->db, 1, &e);
    int rc = store_status(e);
    if (rc < 0) {
        atomic_store(&s->write_error, rc);
    }
    store_unpin(s);
    return rc;
}

int store_write(struct store *s, struct store_batch *b, bool sync)
{
    uint64_t begin = clock_mono_us();
    int rc = write_batch(s, b, sync);
    histogram_add(&s->writes, clock_mono_us() - begin);
    atomic_fetch_add_explicit(&s->write_errors, rc < 0, memory_order_relaxed);
    return rc;
}

int store_sync(struct store *s)
{
    uint64_t begin = clock_mono_us();
    int rc = sync_journal(s);
    histogram_add(&s->syncs, clock_mono_us() - begin);
    atomic_fetch_add_explicit(&s->sync_errors, rc < 0, memory_order_relaxed);
    return rc;
}

void store_stats(const struct store *s, struct store_stats *out)
{
    histogram_read(&s->writes, &out->writes);
    histogram_read(&s->syncs, &out->syncs);
    out->write_errors = atomic_load_explicit(&s->write_errors, memory_order_relaxed);
    out->sync_errors = atomic_load_explicit(&s->sync_errors, memory_order_relaxed);
}

/* ---- reads ---- */

static int get_with(struct store *s, const rocksdb_readoptions_t *read, struct store_cf *cf,
                    struct slice key, struct slice *out)
{
    char *e = NULL;
    size_t n = 0;
    char *v = rocksdb_get_cf(s->db, read, cf->handle, chars(key), key.n, &n, &e);
    if (e != NULL) {
        return store_status(e);
    }
    if (v == NULL) {
        return -ENOENT;
    }
    *out = slice_make(v, n);
    return 0;
}

int store_get(struct store *s, const struct store_snap *snap, struct store_cf *cf, struct slice key,
              struct slice *out)
{
    (void)pthread_rwlock_rdlock(&s->lock);
    int rc = -EIO;
    if (s->db == NULL) {
        rc = -EIO;
    } else if (cf->handle == NULL) {
        rc = -ENOENT;
    } else if (snap == NULL) {
        rc = get_with(s, s->opt.read, cf, key, out);
    } else {
        rocksdb_readoptions_t *read = rocksdb_readoptions_create();
        rocksdb_readoptions_set_snapshot(read, snap->s);
        rc = get_with(s, read, cf, key, out);
        rocksdb_readoptions_destroy(read);
    }
    (void)pthread_rwlock_unlock(&s->lock);
    return rc;
}

void store_free(struct slice *v)
{
    free((void *)(uintptr_t)v->p);
    *v = slice_make(NULL, 0);
}

struct store_snap *store_snap_new(struct store *s)
{
    if (!store_pin(s)) {
        return NULL;
    }
    struct store_snap *snap = mem_new(1, sizeof *snap);
    snap->s = rocksdb_create_snapshot(s->db);
    return snap;
}

void store_snap_free(struct store *s, struct store_snap *snap)
{
    if (snap != NULL) {
        rocksdb_release_snapshot(s->db, snap->s);
        free(snap);
        store_unpin(s);
    }
}

/* With the bloom of the family's own prefix length; otherwise in total order, which never skips a file. */
static rocksdb_readoptions_t *iter_options(const struct store_snap *snap, const struct store_cf *cf,
                                           size_t prefix_len)
{
    bool bloom =
        store_kind_of(cf->name, cf->family) == KIND_BLOCKS && prefix_len >= STORE_BLOCKS_PREFIX;
    rocksdb_readoptions_t *read = rocksdb_readoptions_create();
    if (snap != NULL) {
        rocksdb_readoptions_set_snapshot(read, snap->s);
    }
    rocksdb_readoptions_set_prefix_same_as_start(read, bloom);
    rocksdb_readoptions_set_total_order_seek(read, !bloom);
    rocksdb_readoptions_set_background_purge_on_iterator_cleanup(read, 1);
    return read;
}

struct store_iter *store_iter_new(struct store *s, const struct store_snap *snap,
                                  struct store_cf *cf, size_t prefix_len)
{
    struct store_iter *it = mem_new(1, sizeof *it);
    if (!store_pin(s)) {
        return it;
    }
    if (cf->handle == NULL) {
        store_unpin(s);
        return it;
    }
    store_cf_ref(cf);
    it->store = s;
    it->cf = cf;
    it->read = iter_options(snap, cf, prefix_len);
    it->it = rocksdb_create_iterator_cf(s->db, it->read, cf->handle);
    return it;
}

void store_iter_free(struct store_iter *it)
{
    if (it != NULL && it->it != NULL) {
        rocksdb_iter_destroy(it->it);
        rocksdb_readoptions_destroy(it->read);
        store_cf_unref(it->cf);
        store_unpin(it->store);
    }
    free(it);
}

void store_iter_seek(struct store_iter *it, struct slice key)
{
    if (it->it != NULL) {
        rocksdb_iter_seek(it->it, chars(key), key.n);
    }
}

void store_iter_seek_prev(struct store_iter *it, struct slice key)
{
    if (it->it != NULL) {
        rocksdb_iter_seek_for_prev(it->it, chars(key), key.n);
    }
}

void store_iter_first(struct store_iter *it)
{
    if (it->it != NULL) {
        rocksdb_iter_seek_to_first(it->it);
    }
}

void store_iter_last(struct store_iter *it)
{
    if (it->it != NULL) {
        rocksdb_iter_seek_to_last(it->it);
    }
}

void store_iter_next(struct store_iter *it)
{
    rocksdb_iter_next(it->it);
}

void store_iter_prev(struct store_iter *it)
{
    rocksdb_iter_prev(it->it);
}

bool store_iter_valid(const struct store_iter *it)
{
    return it->it != NULL && rocksdb_iter_valid(it->it) != 0;
}

int store_iter_error(const struct store_iter *it)
{
    if (it->it == NULL) {
        return -EIO;
    }
    char *e = NULL;
    rocksdb_iter_get_error(it->it, &e);
    return store_status(e);
}

struct slice store_iter_key(const struct store_iter *it)
{
    size_t n;
    const char *p = rocksdb_iter_key(it->it, &n);
    return slice_make(p, n);
}

struct slice store_iter_value(const struct store_iter *it)
{
    size_t n;
    const char *p = rocksdb_iter_value(it->it, &n);
    return slice_make(p, n);
}

/* ---- sorted files ---- */

static void sst_free(struct store_sst *f)
{
    rocksdb_sstfilewriter_destroy(f->w);
    (void)unlink(f->path); /* gone already when it was ingested */
    store_cf_unref(f->cf);
    free(f->path);
    free(f);
}

int store_sst_new(struct store *s, struct store_cf *cf, struct store_sst **out)
{
    char name[32];
    (void)snprintf(name, sizeof name, "%llu.sst",
                   (unsigned long long)atomic_fetch_add(&s->sst_number, 1));
    struct store_sst *f = mem_new(1, sizeof *f);
    f->path = store_path(s->ingest_dir, name);
    f->cf = cf;
    store_cf_ref(cf);
    enum family_kind kind = store_kind_of(cf->name, cf->family);
    f->w = rocksdb_sstfilewriter_create(s->opt.envopt, s->opt.sorted_file[kind]);
    char *e = NULL;
    rocksdb_sstfilewriter_open(f->w, f->path, &e);
    int rc = store_status(e);
    if (rc < 0) {
        sst_free(f);
        return rc;
    }
    *out = f;
    return 0;
}

int store_sst_put(struct store_sst *f, struct slice key, struct slice val)
{
    char *e = NULL;
    rocksdb_sstfilewriter_put(f->w, chars(key), key.n, chars(val), val.n, &e);
    f->n++;
    return store_status(e);
}

int store_sst_delete(struct store_sst *f, struct slice key)
{
    char *e = NULL;
    rocksdb_sstfilewriter_delete(f->w, chars(key), key.n, &e);
    f->n++;
    return store_status(e);
}

static int ingest(struct store *s, struct store_sst *f)
{
    char *e = NULL;
    rocksdb_sstfilewriter_finish(f->w, &e);
    int rc = store_status(e);
    if (rc < 0) {
        return rc;
    }
    if (!store_pin(s)) {
        return -EIO;
    }
    rc = -EIO;
    if (f->cf->handle != NULL) {
        const char *list[] = {f->path};
        e = NULL;
        rocksdb_ingest_external_file_cf(s->db, f->cf->handle, list, 1, s->opt.ingest, &e);
        rc = store_status(e);
    }
    store_unpin(s);
    return rc;
}

int store_sst_ingest(struct store *s, struct store_sst *f)
{
    int rc = f->n == 0 ? 0 : ingest(s, f); /* the engine refuses an empty file */
    sst_free(f);
    return rc;
}

void store_sst_abort(struct store_sst *f)
{
    if (f != NULL) {
        sst_free(f);
    }
}
