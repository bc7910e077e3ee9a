/* The store on a real directory: life, refusals, batches, snapshots, families, ingest, reopen, failures. */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failpoint.h"
#include "store/store.h"

static char dir[64];

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(dir, sizeof dir, "store_test.XXXXXX");
    assert_non_null(mkdtemp(dir));
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct slice sl(const char *s)
{
    return slice_str(s);
}

static int try_open(struct store **s, struct store_error *err)
{
    struct store_options o = {.dir = dir, .memory_bytes = 16 << 20, .reserve_bytes = 1 << 20};
    return store_open(s, &o, err);
}

static struct store *open_store(void)
{
    struct store *s = NULL;
    struct store_error err;
    int rc = try_open(&s, &err);
    if (rc != 0) {
        print_message("%s\n", err.text);
    }
    assert_int_equal(rc, 0);
    return s;
}

static void put(struct store *s, struct store_cf *cf, const char *key, const char *val)
{
    struct store_batch *b = store_batch_new();
    store_batch_put(b, cf, sl(key), sl(val));
    assert_int_equal(store_batch_count(b), 1);
    assert_int_equal(store_write(s, b, false), 0);
    store_batch_free(b);
}

static void expect(struct store *s, const struct store_snap *snap, struct store_cf *cf,
                   const char *key, const char *val)
{
    struct slice v;
    int rc = store_get(s, snap, cf, sl(key), &v);
    if (val == NULL) {
        assert_int_equal(rc, -ENOENT);
        return;
    }
    assert_int_equal(rc, 0);
    assert_true(slice_eq(v, sl(val)));
    store_free(&v);
}

static char *path_of(const char *name)
{
    static char p[128];
    (void)snprintf(p, sizeof p, "%s/%s", dir, name);
    return p;
}

static void write_file(const char *name, const char *text)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    (void)close(fd);
}

static void read_back(const char *name, char *out, size_t cap)
{
    int fd = open(path_of(name), O_RDONLY);
    assert_true(fd >= 0);
    ssize_t n = read(fd, out, cap - 1);
    out[n > 0 ? n : 0] = '\0';
    (void)close(fd);
}

/* ---- life ---- */

static void test_opens_and_keeps(void **state)
{
    (void)state;
    struct store *s = open_store();
    char uuid[40];
    (void)snprintf(uuid, sizeof uuid, "%s", store_uuid(s));
    assert_int_equal(strlen(uuid), 32);
    assert_string_equal(store_dir(s), dir);
    for (int f = 0; f < STORE_FAMILY_COUNT; f++) {
        put(s, store_family(s, (enum store_family)f), "k", "v");
    }
    assert_true(store_disk_free(s) > 0);
    store_close(s);
    char text[64];
    read_back("VERSION", text, sizeof text);
    assert_string_equal(text, "tracemq-data 1\n");
    s = open_store();
    assert_string_equal(store_uuid(s), uuid);
    for (int f = 0; f < STORE_FAMILY_COUNT; f++) {
        expect(s, NULL, store_family(s, (enum store_family)f), "k", "v");
        expect(s, NULL, store_family(s, (enum store_family)f), "other", NULL);
    }
    store_close(s);
    store_close(NULL);
}

static void test_makes_the_directory(void **state)
{
    (void)state;
    assert_int_equal(rmdir(dir), 0);
    store_close(open_store());
    struct stat st;
    assert_int_equal(stat(dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    char saved[sizeof dir];
    memcpy(saved, dir, sizeof dir);
    struct store *s = NULL;
    struct store_error err;
    struct store_options o = {.dir = "/proc/none/data", .memory_bytes = 1 << 20};
    assert_true(store_open(&s, &o, &err) < 0);
    assert_non_null(strstr(err.text, "/proc/none/data"));
}

static void test_locked_by_another(void **state)
{
    (void)state;
    struct store *s = open_store();
    char before[64];
    char after[64];
    char want[32];
    read_back("LOCK", before, sizeof before);
    (void)snprintf(want, sizeof want, "%ld", (long)getpid());
    struct store *second = NULL;
    struct store_error err;
    assert_int_equal(try_open(&second, &err), -EBUSY);
    assert_non_null(strstr(err.text, want));
    assert_non_null(strstr(err.text, dir));
    read_back("LOCK", after, sizeof after);
    assert_string_equal(before, after);
    put(s, store_family(s, STORE_META), "still", "here");
    store_close(s);
    store_close(open_store());
}

static void test_other_version_refused(void **state)
{
    (void)state;
    write_file("VERSION", "tracemq-data 2\n");
    struct store *s = NULL;
    struct store_error err;
    assert_int_equal(try_open(&s, &err), -EPROTO);
    assert_non_null(strstr(err.text, "of data version 2, this tracemq reads 1"));
    assert_int_equal(access(path_of("LOCK"), F_OK), -1);
    assert_int_equal(access(path_of("store"), F_OK), -1);
    write_file("VERSION", "something else\n");
    assert_int_equal(try_open(&s, &err), -EPROTO);
    write_file("VERSION", "tracemq-data 1x\n");
    assert_int_equal(try_open(&s, &err), -EPROTO);
}

static void test_foreign_directory_refused(void **state)
{
    (void)state;
    write_file("notes.txt", "mine");
    struct store *s = NULL;
    struct store_error err;
    assert_int_equal(try_open(&s, &err), -ENOTEMPTY);
    assert_non_null(strstr(err.text, "notes.txt"));
    assert_int_equal(access(path_of("LOCK"), F_OK), -1);
    assert_int_equal(unlink(path_of("notes.txt")), 0);
    write_file("bootstrap.json", "{}");
    store_close(open_store());
}

static void test_read_only_directory(void **state)
{
    (void)state;
    pid_t child = fork();
    if (child == 0) { /* as nobody: root may write everywhere */
        struct store *s = NULL;
        struct store_error err;
        if (chmod(dir, 0755) != 0 || setuid(65534) != 0) {
            _exit(3);
        }
        int rc = try_open(&s, &err);
        _exit(rc == -EACCES && strstr(err.text, dir) != NULL ? 0 : 1);
    }
    int status = 0;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    assert_int_not_equal(WEXITSTATUS(status), 1);
}

static void test_engine_damage_is_told(void **state)
{
    (void)state;
    store_close(open_store());
    write_file("store/CURRENT", "garbage\n");
    struct store *s = NULL;
    struct store_error err;
    assert_int_equal(try_open(&s, &err), -EIO);
    assert_non_null(strstr(err.text, "cannot open the store"));
}

/* ---- writes and reads ---- */

static void test_batch_is_one(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *a = store_family(s, STORE_QUEUES);
    struct store_cf *m = store_family(s, STORE_MESSAGES);
    put(s, a, "gone", "x");
    struct store_batch *b = store_batch_new();
    store_batch_put(b, a, sl("one"), sl("1"));
    store_batch_put(b, m, sl("two"), slice_make(NULL, 0));
    store_batch_delete(b, a, sl("gone"));
    assert_int_equal(store_batch_count(b), 3);
    assert_int_equal(store_write(s, b, true), 0);
    expect(s, NULL, a, "one", "1");
    expect(s, NULL, m, "two", "");
    expect(s, NULL, a, "gone", NULL);
    store_batch_clear(b);
    assert_int_equal(store_batch_count(b), 0);
    assert_int_equal(store_write(s, b, false), 0);
    store_batch_free(b);
    store_batch_free(NULL);
    assert_int_equal(store_sync(s), 0);
    store_close(s);
}

static void test_snapshot_and_iterator(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *cf = store_family(s, STORE_DEVICES);
    put(s, cf, "a", "1");
    put(s, cf, "c", "3");
    struct store_snap *snap = store_snap_new(s);
    put(s, cf, "b", "2");
    put(s, cf, "a", "9");
    expect(s, snap, cf, "a", "1");
    expect(s, snap, cf, "b", NULL);
    expect(s, NULL, cf, "a", "9");
    struct store_iter *it = store_iter_new(s, snap, cf, 0);
    store_iter_first(it);
    assert_true(store_iter_valid(it));
    assert_true(slice_eq(store_iter_key(it), sl("a")));
    assert_true(slice_eq(store_iter_value(it), sl("1")));
    store_iter_next(it);
    assert_true(slice_eq(store_iter_key(it), sl("c")));
    store_iter_prev(it);
    assert_true(slice_eq(store_iter_key(it), sl("a")));
    store_iter_seek(it, sl("b"));
    assert_true(slice_eq(store_iter_key(it), sl("c")));
    store_iter_seek_prev(it, sl("b"));
    assert_true(slice_eq(store_iter_key(it), sl("a")));
    store_iter_last(it);
    assert_true(slice_eq(store_iter_key(it), sl("c")));
    store_iter_next(it);
    assert_false(store_iter_valid(it));
    assert_int_equal(store_iter_error(it), 0);
    store_iter_free(it);
    store_snap_free(s, snap);
    store_iter_free(NULL);
    store_snap_free(s, NULL);
    store_close(s);
}

/* ---- families ---- */

static void collect(void *arg, const char *name, struct store_cf *cf)
{
    char *out = arg;
    assert_string_equal(store_cf_name(cf), name);
    (void)strncat(out, name, 64);
    (void)strncat(out, " ", 2);
}

static void test_families_come_and_go(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *j2 = NULL;
    struct store_cf *j1 = NULL;
    struct store_cf *d1 = NULL;
    struct store_cf *no = NULL;
    assert_int_equal(store_cf_create(s, "j0002", &j2), 0);
    assert_int_equal(store_cf_create(s, "d0001", &d1), 0);
    assert_int_equal(store_cf_create(s, "j0001", &j1), 0);
    assert_int_equal(store_cf_create(s, "j0001", &no), -EEXIST);
    assert_int_equal(store_cf_create(s, "devices", &no), -EINVAL);
    assert_int_equal(store_cf_create(s, "", &no), -EINVAL);
    put(s, j1, "k", "one");
    put(s, j2, "k", "two");
    assert_int_equal(store_cf_flush(s, j2), 0);
    assert_true(store_cf_bytes(s, j2) > 0);
    store_cf_compact(s, j2);
    store_close(s);

    s = open_store();
    char names[256] = "";
    store_cf_each(s, collect, names);
    assert_string_equal(names, "d0001 j0001 j0002 ");
    assert_null(store_cf_find(s, "devices"));
    assert_null(store_cf_find(s, "j0003"));
    j1 = store_cf_find(s, "j0001");
    assert_non_null(j1);
    struct store_iter *it = store_iter_new(s, NULL, j1, 0);
    store_cf_ref(j1);
    assert_int_equal(store_cf_drop(s, j1), 0);
    assert_null(store_cf_find(s, "j0001"));
    store_iter_first(it);
    assert_true(slice_eq(store_iter_value(it), sl("one")));
    expect(s, NULL, j1, "k", "one");
    assert_int_equal(store_cf_create(s, "j0001", &no), 0);
    expect(s, NULL, no, "k", NULL);
    store_iter_free(it);
    assert_int_equal(store_reopen(s), 0);
    expect(s, NULL, j1, "k", NULL);
    store_cf_unref(j1);
    names[0] = '\0';
    store_cf_each(s, collect, names);
    assert_string_equal(names, "d0001 j0001 j0002 ");
    store_close(s);
}

static void block_key(uint8_t out[24], unsigned device, unsigned seq)
{
    memset(out, (int)device, 16);
    memset(out + 16, 0, 8);
    out[22] = (uint8_t)(seq >> 8);
    out[23] = (uint8_t)seq;
}

static void ingest_devices(struct store *s, struct store_cf *cf, unsigned seq)
{
    struct store_sst *f = NULL;
    assert_int_equal(store_sst_new(s, cf, &f), 0);
    for (unsigned d = 0; d < 200; d += 2) {
        uint8_t k[24];
        block_key(k, d, seq);
        assert_int_equal(store_sst_put(f, slice_make(k, sizeof k), sl("block")), 0);
    }
    assert_int_equal(store_sst_ingest(s, f), 0);
}

static void test_ingest_and_prefix(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *cf = NULL;
    assert_int_equal(store_cf_create(s, "d1", &cf), 0);
    for (unsigned seq = 1; seq <= 12; seq++) {
        ingest_devices(s, cf, seq * 100);
    }
    for (unsigned d = 0; d < 200; d++) {
        uint8_t k[24];
        struct store_iter *it = store_iter_new(s, NULL, cf, 16);
        block_key(k, d, 0);
        unsigned n = 0;
        for (store_iter_seek(it, slice_make(k, sizeof k)); store_iter_valid(it);
             store_iter_next(it)) {
            assert_memory_equal(store_iter_key(it).p, k, 16);
            n++;
        }
        assert_int_equal(n, d % 2 == 0 ? 12 : 0);
        block_key(k, d, 650);
        store_iter_seek_prev(it, slice_make(k, sizeof k));
        assert_int_equal(store_iter_valid(it), d % 2 == 0);
        for (n = 0; store_iter_valid(it); store_iter_prev(it)) {
            assert_memory_equal(store_iter_key(it).p, k, 16);
            n++;
        }
        assert_int_equal(n, d % 2 == 0 ? 6 : 0);
        store_iter_free(it);
    }
    store_cf_compact(s, cf);
    store_close(s);
}

/* Blocks that are still merged are compressed fast; when the family is done, well, though it is one run already. */
static void test_compact_compresses_well(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *cf = NULL;
    struct store_sst *f = NULL;
    assert_int_equal(store_cf_create(s, "d1", &cf), 0);
    assert_int_equal(store_sst_new(s, cf, &f), 0);
    uint64_t seed = 1;
    for (unsigned d = 0; d < 2000; d++) {
        uint8_t k[24] = {(uint8_t)(d >> 8), (uint8_t)d};
        char digits[101] = {0}; /* what zstd can make half as long, LZ4 not */
        for (unsigned i = 0; i < 100; i++) {
            seed = seed * UINT64_C(6364136223846793005) + 1;
            digits[i] = (char)('0' + (seed >> 33) % 10);
        }
        assert_int_equal(store_sst_put(f, slice_make(k, sizeof k), sl(digits)), 0);
    }
    assert_int_equal(store_sst_ingest(s, f), 0);
    uint64_t before = store_cf_bytes(s, cf);
    store_cf_compact(s, cf);
    assert_true(before > 0 && store_cf_bytes(s, cf) < before - before / 4);
    store_close(s);
}

static void test_sst_edges(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *cf = NULL;
    assert_int_equal(store_cf_create(s, "d1", &cf), 0);
    put(s, cf, "b", "old");
    struct store_snap *snap = store_snap_new(s);
    struct store_sst *f = NULL;
    assert_int_equal(store_sst_new(s, cf, &f), 0);
    assert_int_equal(store_sst_put(f, sl("a"), sl("new")), 0);
    assert_int_equal(store_sst_delete(f, sl("b")), 0);
    assert_int_equal(store_sst_ingest(s, f), 0);
    expect(s, NULL, cf, "a", "new");
    expect(s, NULL, cf, "b", NULL);
    expect(s, snap, cf, "a", NULL);
    expect(s, snap, cf, "b", "old");
    store_snap_free(s, snap);
    assert_int_equal(store_sst_new(s, cf, &f), 0);
    assert_int_equal(store_sst_ingest(s, f), 0); /* empty: nothing to do */
    assert_int_equal(store_sst_new(s, cf, &f), 0);
    assert_int_equal(store_sst_put(f, sl("z"), sl("1")), 0);
    assert_int_not_equal(store_sst_put(f, sl("y"), sl("1")), 0); /* out of order */
    store_sst_abort(f);
    store_sst_abort(NULL);
    store_close(s);
    assert_int_equal(rmdir(path_of("ingest")), 0); /* nothing left in it */
}

/* ---- reopen, kill, failures ---- */

struct reader {
    struct store *s;
    _Atomic bool stop;
    atomic_uint reads;
};

static void *read_always(void *arg)
{
    struct reader *r = arg;
    while (!atomic_load(&r->stop)) {
        struct store_snap *snap = store_snap_new(r->s);
        struct store_iter *it = store_iter_new(r->s, snap, store_family(r->s, STORE_RETAINED), 0);
        store_iter_first(it);
        assert_true(store_iter_valid(it));
        assert_true(slice_eq(store_iter_value(it), sl("v")));
        store_iter_free(it);
        struct slice v;
        assert_int_equal(store_get(r->s, snap, store_family(r->s, STORE_RETAINED), sl("k"), &v), 0);
        store_free(&v);
        store_snap_free(r->s, snap);
        atomic_fetch_add(&r->reads, 1);
    }
    return NULL;
}

static void test_reopen_among_readers(void **state)
{
    (void)state;
    struct reader r = {.s = open_store()};
    put(r.s, store_family(r.s, STORE_RETAINED), "k", "v");
    struct store_batch *b = store_batch_new();
    store_batch_put(b, store_family(r.s, STORE_QUEUES), sl("over"), sl("reopen"));
    pthread_t t[2];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_create(&t[i], NULL, read_always, &r), 0);
    }
    for (int i = 0; i < 5; i++) {
        unsigned before = atomic_load(&r.reads);
        assert_int_equal(store_reopen(r.s), 0);
        while (atomic_load(&r.reads) == before) {
            (void)usleep(1000);
        }
    }
    atomic_store(&r.stop, true);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(t[i], NULL), 0);
    }
    assert_int_equal(store_write(r.s, b, false), 0);
    store_batch_free(b);
    expect(r.s, NULL, store_family(r.s, STORE_QUEUES), "over", "reopen");
    store_close(r.s);
}

/* A reopen that fails leaves a store that says so, and a later one mends it. */
static void test_reopen_fails_then_works(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct store_cf *cf = store_family(s, STORE_META);
    put(s, cf, "k", "v");
    char saved[64];
    read_back("store/CURRENT", saved, sizeof saved);
    write_file("store/CURRENT", "garbage\n");
    assert_int_equal(store_reopen(s), -EIO);
    struct slice v;
    assert_int_equal(store_get(s, NULL, cf, sl("k"), &v), -EIO);
    assert_null(store_snap_new(s));
    struct store_iter *it = store_iter_new(s, NULL, cf, 0);
    store_iter_first(it);
    assert_false(store_iter_valid(it));
    assert_int_equal(store_iter_error(it), -EIO);
    store_iter_free(it);
    struct store_batch *b = store_batch_new();
    store_batch_put(b, cf, sl("lost"), sl("x"));
    assert_int_equal(store_write(s, b, false), -EIO);
    write_file("store/CURRENT", saved);
    assert_int_equal(store_reopen(s), 0);
    assert_int_equal(store_write(s, b, false), -EIO); /* it was filled without an engine */
    store_batch_free(b);
    expect(s, NULL, cf, "k", "v");
    store_close(s);
}

static void test_kill_keeps_what_was_written(void **state)
{
    (void)state;
    int pipefd[2];
    assert_int_equal(pipe(pipefd), 0);
    pid_t child = fork();
    if (child == 0) {
        struct store *s = open_store();
        for (unsigned i = 0;; i++) {
            char k[16];
            (void)snprintf(k, sizeof k, "%08u", i);
            put(s, store_family(s, STORE_QUEUES), k, "v");
            if (write(pipefd[1], &i, sizeof i) != (ssize_t)sizeof i) {
                _exit(1);
            }
        }
    }
    (void)close(pipefd[1]);
    unsigned last = 0;
    while (last < 2000) {
        assert_int_equal(read(pipefd[0], &last, sizeof last), sizeof last);
    }
    (void)kill(child, SIGKILL);
    unsigned more;
    while (read(pipefd[0], &more, sizeof more) == (ssize_t)sizeof more) {
        last = more;
    }
    (void)close(pipefd[0]);
    assert_int_equal(waitpid(child, NULL, 0), child);
    struct store *s = open_store();
    for (unsigned i = 0; i <= last; i++) {
        char k[16];
        (void)snprintf(k, sizeof k, "%08u", i);
        expect(s, NULL, store_family(s, STORE_QUEUES), k, "v");
    }
    store_close(s);
}

static void arm(const char *text)
{
    if (text == NULL) {
        (void)unsetenv("TRACEMQ_FAILPOINTS");
    } else {
        (void)setenv("TRACEMQ_FAILPOINTS", text, 1);
    }
    failpoint_init();
}

static int write_one(struct store *s, const char *key)
{
    struct store_batch *b = store_batch_new();
    store_batch_put(b, store_family(s, STORE_META), sl(key), sl("v"));
    int rc = store_write(s, b, false);
    store_batch_free(b);
    return rc;
}

static void test_failpoints(void **state)
{
    (void)state;
    struct store *s = open_store();
    arm("store.write.enospc=1");
    assert_int_equal(write_one(s, "full"), -ENOSPC);
    expect(s, NULL, store_family(s, STORE_META), "full", NULL);
    arm("store.write.fail_nth=3");
    assert_int_equal(write_one(s, "1"), 0);
    assert_int_equal(write_one(s, "2"), 0);
    assert_int_equal(write_one(s, "3"), -EIO);
    assert_int_equal(write_one(s, "4"), 0);
    arm("store.write.delay_ms=30,store.sync.delay_ms=30");
    struct timespec a;
    struct timespec b;
    (void)clock_gettime(CLOCK_MONOTONIC, &a);
    assert_int_equal(write_one(s, "5"), 0);
    assert_int_equal(store_sync(s), 0);
    (void)clock_gettime(CLOCK_MONOTONIC, &b);
    assert_true((b.tv_sec - a.tv_sec) * 1000 + (b.tv_nsec - a.tv_nsec) / 1000000 >= 59);
    arm(NULL);
    assert_int_equal(write_one(s, "6"), 0);
    store_close(s);
}

static void test_reserve(void **state)
{
    (void)state;
    struct store *s = open_store();
    struct stat st;
    assert_int_equal(stat(path_of("reserve"), &st), 0);
    assert_int_equal(st.st_size, 1 << 20);
    assert_true(st.st_blocks * 512 >= 1 << 20);
    assert_true(store_reserve_release(s));
    assert_false(store_reserve_release(s));
    store_reserve_refill(s);
    store_reserve_refill(s);
    assert_true(store_reserve_release(s));
    store_close(s);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_kill_keeps_what_was_written), /* first: it forks, and the engine's threads stay */
        T(test_opens_and_keeps),
        T(test_makes_the_directory),
        T(test_locked_by_another),
        T(test_other_version_refused),
        T(test_foreign_directory_refused),
        T(test_read_only_directory),
        T(test_engine_damage_is_told),
        T(test_batch_is_one),
        T(test_snapshot_and_iterator),
        T(test_families_come_and_go),
        T(test_ingest_and_prefix),
        T(test_compact_compresses_well),
        T(test_sst_edges),
        T(test_reopen_among_readers),
        T(test_reopen_fails_then_works),
        T(test_failpoints),
        T(test_reserve),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
