/* The ring: wrap, full, two threads, garbage in its file, and a writer that is killed in the middle. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "trace/ring.h"

static char path[64];

static int setup(void **state)
{
    (void)state;
    (void)snprintf(path, sizeof path, "/dev/shm/ring_test.%ld", (long)getpid());
    (void)unlink(path);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(path);
    return 0;
}

static struct ring *open_ring(void)
{
    struct ring *r = NULL;
    assert_int_equal(ring_open(&r, path, true), 0);
    return r;
}

/* Record number i: its bytes depend on i only, its size changes. */
static struct record numbered(uint64_t i, char text[600])
{
    size_t n = (size_t)(i * 37 % 500);
    memset(text, 'a' + (int)(i % 26), n);
    struct record r = {
        .time_us = i,
        .cause = CAUSE_PEER_FIN,
        .instance = slice_str("mqtt-local"),
        .client_id = slice_make(text, n),
        .user = slice_str("user"),
    };
    memcpy(r.channel, &i, sizeof i);
    return r;
}

static bool emit(struct ring *r, uint64_t i)
{
    char text[600];
    struct record rec = numbered(i, text);
    return ring_emit(r, &rec);
}

static void assert_record(struct slice bytes, uint64_t i)
{
    char text[600];
    struct record want = numbered(i, text);
    struct record got;
    assert_int_equal(record_decode(bytes, &got), 0);
    assert_true(got.time_us == i);
    assert_true(slice_eq(got.client_id, want.client_id));
    assert_memory_equal(got.channel, want.channel, sizeof got.channel);
}

/* Takes what is there, which must be numbered from *next on. */
static void drain(struct ring *r, uint64_t *next)
{
    uint64_t pos = ring_tail(r);
    struct slice bytes;
    while (ring_next(r, &pos, &bytes)) {
        assert_record(bytes, (*next)++);
    }
    assert_true(pos <= ring_head(r)); /* the writer may have gone on */
    ring_release(r, pos);
}

static void test_empty_and_kept(void **state)
{
    (void)state;
    struct ring *none = NULL;
    assert_int_equal(ring_open(&none, path, false), -ENOENT);
    struct ring *r = open_ring();
    uint64_t epoch = ring_epoch(r);
    uint64_t pos = ring_tail(r);
    struct slice bytes;
    assert_false(ring_next(r, &pos, &bytes));
    assert_true(emit(r, 0) && emit(r, 1));
    ring_close(r, false);
    r = open_ring();
    assert_true(ring_epoch(r) == epoch);
    uint64_t next = 0;
    drain(r, &next);
    assert_int_equal(next, 2);
    ring_close(r, true);
    assert_int_equal(access(path, F_OK), -1);
    r = open_ring();
    assert_false(ring_epoch(r) == epoch);
    ring_close(r, true);
    ring_close(NULL, true);
}

static void test_wraps_many_times(void **state)
{
    (void)state;
    struct ring *r = open_ring();
    uint64_t next = 0;
    for (uint64_t i = 0; i < 50000; i++) {
        assert_true(emit(r, i));
        if (i % 97 == 0) {
            drain(r, &next);
        }
    }
    drain(r, &next);
    assert_int_equal(next, 50000);
    assert_true(ring_head(r) > 10 * (uint64_t)RING_BYTES);
    ring_close(r, true);
}

static void test_full_takes_nothing(void **state)
{
    (void)state;
    struct ring *r = open_ring();
    uint64_t made = 0;
    while (emit(r, made)) {
        made++;
    }
    uint64_t head = ring_head(r);
    assert_true(head > RING_BYTES - 4096);
    assert_false(emit(r, made));
    assert_true(ring_head(r) == head);
    ring_close(r, false); /* a full ring opens again */
    r = open_ring();
    assert_false(emit(r, made));
    /* Room comes with what is released, not with what was read. */
    uint64_t pos = ring_tail(r);
    struct slice bytes;
    for (uint64_t i = 0; i < 20; i++) {
        assert_true(ring_next(r, &pos, &bytes));
        assert_record(bytes, i);
    }
    assert_false(emit(r, made));
    ring_release(r, pos);
    while (emit(r, made)) {
        made++;
    }
    uint64_t next = 20;
    drain(r, &next);
    assert_int_equal(next, made);
    ring_close(r, true);
}

static void test_biggest_record(void **state)
{
    (void)state;
    static char longer[4096];
    memset(longer, 'z', sizeof longer);
    struct slice all = slice_make(longer, sizeof longer);
    struct record rec = {.client_id = all,
                         .user = all,
                         .peer = all,
                         .node = all,
                         .listener = all,
                         .proxy = all,
                         .instance = all};
    struct ring *r = open_ring();
    unsigned made = 0;
    while (ring_emit(r, &rec)) {
        made++;
    }
    assert_true(made > 500);
    unsigned got = 0;
    uint64_t pos = ring_tail(r);
    struct slice bytes;
    while (ring_next(r, &pos, &bytes)) {
        struct record back;
        assert_int_equal(record_decode(bytes, &back), 0);
        got++;
    }
    assert_int_equal(got, made);
    ring_close(r, true);
}

enum { THREAD_RECORDS = 200000 };

static void *produce(void *arg)
{
    for (uint64_t i = 0; i < THREAD_RECORDS;) {
        if (emit(arg, i)) {
            i++;
        }
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    (void)state;
    struct ring *r = open_ring();
    pthread_t t;
    assert_int_equal(pthread_create(&t, NULL, produce, r), 0);
    uint64_t next = 0;
    while (next < THREAD_RECORDS) {
        drain(r, &next);
    }
    assert_int_equal(pthread_join(t, NULL), 0);
    drain(r, &next);
    assert_int_equal(next, THREAD_RECORDS);
    ring_close(r, true);
}

/* ---- kill -9 ---- */

/* The child writes without end and tells in `count` what it is sure of; the parent kills it and drains. */
static void test_killed_writer(void **state)
{
    (void)state;
    _Atomic uint64_t *count =
        mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(count != MAP_FAILED);
    uint64_t next = 0;
    for (unsigned round = 0; round < 60; round++) {
        *count = next;
        pid_t child = fork();
        if (child == 0) {
            struct ring *r = NULL;
            if (ring_open(&r, path, true) != 0) {
                _exit(1);
            }
            for (uint64_t i = next;;) {
                if (emit(r, i)) {
                    *count = ++i;
                }
            }
        }
        struct timespec pause = {.tv_nsec = 200000L + 130000L * (round % 20)};
        while (*count == next && waitpid(child, NULL, WNOHANG) == 0) {
            (void)nanosleep(&pause, NULL);
        }
        (void)nanosleep(&pause, NULL);
        assert_int_equal(kill(child, SIGKILL), 0);
        assert_int_equal(waitpid(child, NULL, 0), child);
        struct ring *r = open_ring();
        uint64_t told = *count;
        uint64_t before = next;
        drain(r, &next);
        assert_true(next > before);
        assert_true(next == told || next == told + 1); /* the last one may not have been told */
        ring_close(r, false);
    }
    (void)munmap((void *)(uintptr_t)count, 4096);
}

/* ---- files that are no ring ---- */

static void patch(size_t offset, const void *p, size_t n)
{
    int fd = open(path, O_RDWR);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, p, n, (off_t)offset), (ssize_t)n);
    (void)close(fd);
}

static void assert_refused(void)
{
    struct ring *r = NULL;
    assert_int_equal(ring_open(&r, path, true), -EPROTO);
    assert_int_equal(ring_open(&r, path, false), -EPROTO);
    assert_null(r);
}

static void fresh(void)
{
    (void)unlink(path);
    struct ring *r = open_ring();
    for (uint64_t i = 1; i < 20; i++) {
        assert_true(emit(r, i));
    }
    ring_close(r, false);
}

static void test_garbage_is_refused(void **state)
{
    (void)state;
    enum { OFF_VERSION = 8, OFF_HEAD = 64, OFF_TAIL = 128, OFF_DATA = 4096 };
    static const uint64_t heads[] = {1, 8, UINT64_MAX, UINT64_MAX - 7, 1ULL << 40, 4096};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        fresh();
        patch(OFF_HEAD, &heads[i], sizeof heads[i]);
        assert_refused();
        fresh();
        patch(OFF_TAIL, &heads[i], sizeof heads[i]);
        assert_refused();
    }
    static const uint32_t sizes[] = {0, 3000, UINT32_MAX, UINT32_MAX - 1, 0x80000000};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        fresh();
        patch(OFF_DATA, &sizes[i], sizeof sizes[i]);
        assert_refused();
    }
    fresh();
    patch(0, "wrong", 5);
    assert_refused();
    fresh();
    patch(OFF_VERSION, "\x09", 1);
    assert_refused();
    fresh();
    assert_int_equal(truncate(path, 4096), 0);
    assert_refused();
    assert_int_equal(truncate(path, 0), 0);
    assert_refused();
    (void)unlink(path);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_refused();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_empty_and_kept),     T(test_wraps_many_times), T(test_full_takes_nothing),
        T(test_biggest_record),     T(test_two_threads),      T(test_killed_writer),
        T(test_garbage_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
