/*
 * The store's life: open, close, reopen after a latched error, families, the reserve against a full disk.
 * Reads and writes are in store_io.c, settings in store_options.c, the directory in store_dir.c.
 *
 * Invariants: a struct store_cf that a caller holds stays at its address over a reopen, only its engine handle
 * changes; handles are swapped with `lock` held for writing and nothing active. The engine's handle of a
 * dropped family is destroyed with its last reference, and the files go then.
 */
#include "store/store.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "store/store_priv.h"

enum { COMPACT_FORCE = 2 }; /* BottommostLevelCompaction::kForce: also what is one run already */

/* The engine's names of the fixed families; a segment may not have one of them. */
static const char *const fixed_names[STORE_FAMILY_COUNT] = {
    [STORE_META] = "default",    [STORE_SETTINGS] = "settings", [STORE_SESSIONS] = "sessions",
    [STORE_QUEUES] = "queues",   [STORE_MESSAGES] = "messages", [STORE_RETAINED] = "retained",
    [STORE_DEVICES] = "devices", [STORE_OPEN] = "open",
};

int store_status(char *engine_error)
{
    if (engine_error == NULL) {
        return 0;
    }
    int rc = strstr(engine_error, "No space left") != NULL ? -ENOSPC : -EIO;
    log_debug("store error", " text=\"%s\"", engine_error);
    rocksdb_free(engine_error);
    return rc;
}

bool store_pin(struct store *s)
{
    (void)pthread_rwlock_rdlock(&s->lock);
    bool open = s->db != NULL;
    if (open) {
        atomic_fetch_add(&s->active, 1);
    }
    (void)pthread_rwlock_unlock(&s->lock);
    return open;
}

void store_unpin(struct store *s)
{
    if (atomic_fetch_sub(&s->active, 1) == 1) {
        (void)pthread_mutex_lock(&s->idle_lock);
        (void)pthread_cond_broadcast(&s->idle);
        (void)pthread_mutex_unlock(&s->idle_lock);
    }
}

/* ---- the list of families ---- */

static int fixed_index(const char *name)
{
    for (int i = 0; i < STORE_FAMILY_COUNT; i++) {
        if (strcmp(name, fixed_names[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static struct store_cf *list_find(struct store *s, const char *name)
{
    for (struct store_cf *cf = s->families; cf != NULL; cf = cf->next) {
        if (!cf->dropped && strcmp(cf->name, name) == 0) {
            return cf;
        }
    }
    return NULL;
}

static struct store_cf *list_add(struct store *s, const char *name,
                                 rocksdb_column_family_handle_t *handle)
{
    struct store_cf *cf = mem_new(1, sizeof *cf);
    cf->store = s;
    cf->name = mem_strndup(name, strlen(name));
    cf->handle = handle;
    cf->family = fixed_index(name);
    atomic_init(&cf->refs, 1);
    struct store_cf **at = &s->families;
    while (*at != NULL && strcmp((*at)->name, name) < 0) {
        at = &(*at)->next;
    }
    cf->next = *at;
    *at = cf;
    if (cf->family >= 0) {
        s->fixed[cf->family] = cf;
    }
    return cf;
}

static void list_remove(struct store *s, struct store_cf *cf)
{
    struct store_cf **at = &s->families;
    while (*at != cf) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = cf->next;
}

static void cf_free(struct store_cf *cf)
{
    if (cf->handle != NULL) {
        rocksdb_column_family_handle_destroy(cf->handle);
    }
    free(cf->name);
    free(cf);
}

void store_cf_ref(struct store_cf *cf)
{
    unsigned before = atomic_fetch_add(&cf->refs, 1);
    assert(before > 0);
}

void store_cf_unref(struct store_cf *cf)
{
    struct store *s = cf->store;
    if (atomic_fetch_sub(&cf->refs, 1) > 1) {
        return;
    }
    assert(cf->dropped);
    bool pinned = store_pin(s); /* a closed engine has left no handle */
    (void)pthread_mutex_lock(&s->list_lock);
    list_remove(s, cf);
    (void)pthread_mutex_unlock(&s->list_lock);
    cf_free(cf);
    if (pinned) {
        store_unpin(s);
    }
}

/* ---- the engine ---- */

/* Names of all families: those on the disk and the fixed ones that a first start lacks. */
static int engine_names(struct store *s, char ***out, size_t *count)
{
    char *e = NULL;
    size_t n = 0;
    char **found = NULL;
    char *current = store_path(s->engine_dir, "CURRENT");
    bool exists = access(current, F_OK) == 0;
    free(current);
    if (exists) {
        found = rocksdb_list_column_families(s->opt.family[KIND_STATE], s->engine_dir, &n, &e);
        if (e != NULL) {
            rocksdb_list_column_families_destroy(found, n);
            return store_status(e);
        }
    }
    char **names = mem_new(n + STORE_FAMILY_COUNT, sizeof *names);
    size_t k = 0;
    for (int i = 0; i < STORE_FAMILY_COUNT; i++) {
        names[k++] = mem_strndup(fixed_names[i], strlen(fixed_names[i]));
    }
    for (size_t i = 0; i < n; i++) {
        if (fixed_index(found[i]) < 0) {
            names[k++] = mem_strndup(found[i], strlen(found[i]));
        }
    }
    if (found != NULL) {
        rocksdb_list_column_families_destroy(found, n);
    }
    *out = names;
    *count = k;
    return 0;
}

/* Gives each open handle to its struct store_cf, which is made when the name is new. */
static void adopt_handles(struct store *s, char **names, rocksdb_column_family_handle_t **handles,
                          size_t n)
{
    (void)pthread_mutex_lock(&s->list_lock);
    for (size_t i = 0; i < n; i++) {
        struct store_cf *cf = list_find(s, names[i]);
        if (cf != NULL) {
            cf->handle = handles[i];
        } else {
            (void)list_add(s, names[i], handles[i]);
        }
    }
    (void)pthread_mutex_unlock(&s->list_lock);
}

static void remove_directory(const char *path)
{
    DIR *d = opendir(path);
    for (const struct dirent *e = NULL; d != NULL && (e = readdir(d)) != NULL;) {
        (void)unlinkat(dirfd(d), e->d_name, 0);
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    (void)rmdir(path);
}

/*
 * The engine writes a head into a log of its own, and on a full disk it would end the process over it (an assertion in
 * Debian's build, at the second line that cannot be written). So that log is in memory, and has no name once it is open.
 */
static rocksdb_t *open_with_log(const struct store *s, size_t n, const char *const *names,
                                const rocksdb_options_t *const *options,
                                rocksdb_column_family_handle_t **handles, char **e)
{
    rocksdb_options_t *o = s->opt.family[KIND_STATE];
    char dir[] = "/dev/shm/tracemq-log-XXXXXX";
    bool made = mkdtemp(dir) != NULL;
    rocksdb_options_set_db_log_dir(o, made ? dir : "");
    rocksdb_t *db =
        rocksdb_open_column_families(o, s->engine_dir, (int)n, names, options, handles, e);
    if (made) {
        remove_directory(dir);
    }
    return db;
}

/* The caller excludes others. *text takes the engine's words on failure (free with rocksdb_free). */
static int engine_open(struct store *s, char **text)
{
    char **names = NULL;
    size_t n = 0;
    int rc = engine_names(s, &names, &n);
    if (rc < 0) {
        return rc;
    }
    rocksdb_column_family_handle_t **handles = mem_new(n, sizeof(rocksdb_column_family_handle_t *));
    const rocksdb_options_t **options = mem_new(n, sizeof *options);
    const char **ro_names = mem_new(n, sizeof *ro_names);
    for (size_t i = 0; i < n; i++) {
        ro_names[i] = names[i];
        options[i] = s->opt.family[store_kind_of(names[i], fixed_index(names[i]))];
    }
    char *e = NULL;
    s->db = open_with_log(s, n, ro_names, options, handles, &e);
    if (e == NULL) {
        adopt_handles(s, names, handles, n);
    } else {
        s->db = NULL;
        rc = strstr(e, "No space left") != NULL ? -ENOSPC : -EIO;
        *text = e;
    }
    for (size_t i = 0; i < n; i++) {
        free(names[i]);
    }
    free(names);
    free(ro_names);
    free(options);
    free(handles);
    return rc;
}

static void engine_close(struct store *s)
{
    if (s->db == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&s->list_lock);
    for (struct store_cf *cf = s->families; cf != NULL; cf = cf->next) {
        if (cf->handle != NULL) {
            rocksdb_column_family_handle_destroy(cf->handle);
            cf->handle = NULL;
        }
    }
    (void)pthread_mutex_unlock(&s->list_lock);
    rocksdb_close(s->db);
    s->db = NULL;
}

/* Returns with `lock` held for writing and nothing active. */
static void lock_idle(struct store *s)
{
    for (;;) {
        (void)pthread_rwlock_wrlock(&s->lock);
        if (atomic_load(&s->active) == 0) {
            return;
        }
        (void)pthread_rwlock_unlock(&s->lock);
        (void)pthread_mutex_lock(&s->idle_lock);
        while (atomic_load(&s->active) != 0) {
            (void)pthread_cond_wait(&s->idle, &s->idle_lock);
        }
        (void)pthread_mutex_unlock(&s->idle_lock);
    }
}

int store_reopen(struct store *s)
{
    lock_idle(s);
    engine_close(s);
    atomic_store(&s->write_error, 0);
    char *text = NULL;
    int rc = engine_open(s, &text);
    (void)pthread_rwlock_unlock(&s->lock);
    if (text != NULL) {
        (void)store_status(text);
    }
    return rc;
}

/* ---- open and close ---- */

static int load_uuid(struct store *s)
{
    struct slice v;
    int rc = store_get(s, NULL, s->fixed[STORE_META], slice_str("uuid"), &v);
    if (rc == 0) {
        bool good = v.n == sizeof s->uuid - 1;
        if (good) {
            memcpy(s->uuid, v.p, v.n);
        }
        store_free(&v);
        return good ? 0 : -EIO;
    }
    if (rc != -ENOENT) {
        return rc;
    }
    uint8_t raw[16];
    if (getrandom(raw, sizeof raw, 0) != (ssize_t)sizeof raw) {
        return -EIO;
    }
    for (size_t i = 0; i < sizeof raw; i++) {
        (void)snprintf(s->uuid + 2 * i, 3, "%02x", raw[i]);
    }
    struct store_batch *b = store_batch_new();
    store_batch_put(b, s->fixed[STORE_META], slice_str("uuid"), slice_str(s->uuid));
    rc = store_write(s, b, true);
    store_batch_free(b);
    return rc;
}

static void init_locks(struct store *s)
{
    pthread_rwlockattr_t a;
    (void)pthread_rwlockattr_init(&a);
    (void)pthread_rwlockattr_setkind_np(&a, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(&s->lock, &a);
    (void)pthread_rwlockattr_destroy(&a);
    (void)pthread_mutex_init(&s->idle_lock, NULL);
    (void)pthread_cond_init(&s->idle, NULL);
    (void)pthread_mutex_init(&s->list_lock, NULL);
}

static struct store *store_new(const struct store_options *o)
{
    struct store *s = mem_new(1, sizeof *s);
    s->lock_fd = -1;
    s->dir = mem_strndup(o->dir, strlen(o->dir));
    s->engine_dir = store_path(o->dir, "store");
    s->ingest_dir = store_path(o->dir, "ingest");
    s->reserve_path = store_path(o->dir, "reserve");
    s->reserve_bytes = o->reserve_bytes;
    init_locks(s);
    return s;
}

int store_open(struct store **out, const struct store_options *o, struct store_error *err)
{
    err->text[0] = '\0';
    struct store *s = store_new(o);
    char *text = NULL;
    int rc = store_dir_open(o->dir, &s->lock_fd, err);
    if (rc == 0) {
        store_options_init(&s->opt, o->memory_bytes);
        rc = store_dir_empty(s->ingest_dir);
    }
    if (rc == 0) {
        rc = engine_open(s, &text);
    }
    if (rc == 0) {
        rc = load_uuid(s);
    }
    if (rc < 0) {
        if (err->text[0] == '\0') {
            (void)store_error_set(err, rc, "cannot open the store in %s: %s", o->dir,
                                  text != NULL ? text : strerror(-rc));
        }
        rocksdb_free(text);
        store_close(s);
        return rc;
    }
    store_reserve_refill(s);
    *out = s;
    return 0;
}

void store_close(struct store *s)
{
    if (s == NULL) {
        return;
    }
    assert(atomic_load(&s->active) == 0);
    engine_close(s);
    for (struct store_cf *cf = s->families, *next; cf != NULL; cf = next) {
        next = cf->next;
        cf_free(cf);
    }
    store_options_fini(&s->opt);
    store_dir_close(s->lock_fd);
    (void)pthread_mutex_destroy(&s->list_lock);
    (void)pthread_cond_destroy(&s->idle);
    (void)pthread_mutex_destroy(&s->idle_lock);
    (void)pthread_rwlock_destroy(&s->lock);
    free(s->reserve_path);
    free(s->ingest_dir);
    free(s->engine_dir);
    free(s->dir);
    free(s);
}

const char *store_uuid(const struct store *s)
{
    return s->uuid;
}

const char *store_dir(const struct store *s)
{
    return s->dir;
}

/* ---- families ---- */

struct store_cf *store_family(struct store *s, enum store_family f)
{
    assert(f < STORE_FAMILY_COUNT);
    return s->fixed[f];
}

int store_cf_create(struct store *s, const char *name, struct store_cf **out)
{
    if (name[0] == '\0' || fixed_index(name) >= 0) {
        return -EINVAL;
    }
    if (store_cf_find(s, name) != NULL) {
        return -EEXIST;
    }
    if (!store_pin(s)) {
        return -EIO;
    }
    char *e = NULL;
    rocksdb_column_family_handle_t *h =
        rocksdb_create_column_family(s->db, s->opt.family[store_kind_of(name, -1)], name, &e);
    int rc = store_status(e);
    if (rc == 0) {
        (void)pthread_mutex_lock(&s->list_lock);
        *out = list_add(s, name, h);
        (void)pthread_mutex_unlock(&s->list_lock);
    }
    store_unpin(s);
    return rc;
}

int store_cf_drop(struct store *s, struct store_cf *cf)
{
    assert(cf->store == s && cf->family < 0 && !cf->dropped);
    if (!store_pin(s)) {
        return -EIO;
    }
    char *e = NULL;
    rocksdb_drop_column_family(s->db, cf->handle, &e);
    int rc = store_status(e);
    if (rc == 0) {
        (void)pthread_mutex_lock(&s->list_lock);
        cf->dropped = true;
        (void)pthread_mutex_unlock(&s->list_lock);
    }
    store_unpin(s);
    if (rc == 0) {
        store_cf_unref(cf);
    }
    return rc;
}

struct store_cf *store_cf_find(struct store *s, const char *name)
{
    (void)pthread_mutex_lock(&s->list_lock);
    struct store_cf *cf = list_find(s, name);
    (void)pthread_mutex_unlock(&s->list_lock);
    return cf == NULL || cf->family >= 0 ? NULL : cf;
}

const char *store_cf_name(const struct store_cf *cf)
{
    return cf->name;
}

void store_cf_each(struct store *s, void (*fn)(void *arg, const char *name, struct store_cf *cf),
                   void *arg)
{
    /* A copy, so that `fn` may create and drop. */
    (void)pthread_mutex_lock(&s->list_lock);
    size_t n = 0;
    for (struct store_cf *cf = s->families; cf != NULL; cf = cf->next) {
        n++;
    }
    struct store_cf **all = mem_new(n, sizeof(struct store_cf *));
    n = 0;
    for (struct store_cf *cf = s->families; cf != NULL; cf = cf->next) {
        if (!cf->dropped && cf->family < 0) {
            store_cf_ref(cf);
            all[n++] = cf;
        }
    }
    (void)pthread_mutex_unlock(&s->list_lock);
    for (size_t i = 0; i < n; i++) {
        fn(arg, all[i]->name, all[i]);
        store_cf_unref(all[i]);
    }
    free(all);
}

uint64_t store_cf_bytes(struct store *s, struct store_cf *cf)
{
    uint64_t files = 0;
    uint64_t memory = 0;
    (void)pthread_rwlock_rdlock(&s->lock);
    if (cf->handle != NULL) {
        (void)rocksdb_property_int_cf(s->db, cf->handle, "rocksdb.live-sst-files-size", &files);
        (void)rocksdb_property_int_cf(s->db, cf->handle, "rocksdb.cur-size-all-mem-tables",
                                      &memory);
    }
    (void)pthread_rwlock_unlock(&s->lock);
    return files + memory;
}

/* A failure is no loss: what stays is merged less, or compressed less. */
static void compact_well(rocksdb_t *db, struct store_cf *cf, bool blocks)
{
    rocksdb_compactoptions_t *o = rocksdb_compactoptions_create();
    if (blocks) {
        static const char *const keys[] = {"bottommost_compression"};
        static const char *const values[] = {"kZSTD"};
        char *e = NULL;
        rocksdb_set_options_cf(db, cf->handle, 1, keys, values, &e);
        (void)store_status(e);
        rocksdb_compactoptions_set_bottommost_level_compaction(o, COMPACT_FORCE);
    }
    rocksdb_compact_range_cf_opt(db, cf->handle, o, NULL, 0, NULL, 0);
    rocksdb_compactoptions_destroy(o);
}

void store_cf_compact(struct store *s, struct store_cf *cf)
{
    if (store_pin(s)) {
        if (cf->handle != NULL) {
            compact_well(s->db, cf, store_kind_of(cf->name, cf->family) == KIND_BLOCKS);
        }
        store_unpin(s);
    }
}

int store_cf_flush(struct store *s, struct store_cf *cf)
{
    if (!store_pin(s)) {
        return -EIO;
    }
    char *e = NULL;
    if (cf->handle != NULL) {
        rocksdb_flush_cf(s->db, s->opt.flush, cf->handle, &e);
    }
    store_unpin(s);
    return store_status(e);
}

/* ---- the disk ---- */

uint64_t store_disk_free(const struct store *s)
{
    struct statvfs v;
    if (statvfs(s->dir, &v) < 0) {
        return 0;
    }
    return (uint64_t)v.f_bavail * v.f_frsize;
}

bool store_reserve_release(struct store *s)
{
    return unlink(s->reserve_path) == 0;
}

/* Kept to twice its size of free room, or it would take what it is to guard. */
void store_reserve_refill(struct store *s)
{
    if (s->reserve_bytes == 0 || access(s->reserve_path, F_OK) == 0 ||
        store_disk_free(s) < 2 * s->reserve_bytes) {
        return;
    }
    int fd = open(s->reserve_path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return;
    }
    if (fallocate(fd, 0, 0, (off_t)s->reserve_bytes) < 0) {
        (void)unlink(s->reserve_path);
    }
    (void)close(fd);
}
