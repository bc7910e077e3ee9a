/* A store and a trace in a directory of the test's own, and short ways to emit and to wait. */
#ifndef TMQ_TEST_TRACE_FIXTURE_H
#define TMQ_TEST_TRACE_FIXTURE_H

#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/mem.h"
#include "trace/trace_priv.h"

struct fx {
    char dir[64];
    struct trace_options opt;
    struct store *store;
    struct trace *trace;
};

static inline int fx_remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

static inline void fx_init(struct fx *f, unsigned loops, uint64_t memory_bytes)
{
    memset(f, 0, sizeof *f);
    (void)snprintf(f->dir, sizeof f->dir, "trace_test.XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    f->opt = (struct trace_options){.enabled = true,
                                    .loops = loops,
                                    .node = "n1",
                                    .ring_dir = f->dir,
                                    .memory_bytes = memory_bytes,
                                    .commit_interval_ms = 2,
                                    .limits.fsync_interval_ms = 200,
                                    .limits.retention_ms = UINT64_C(7) * 86400 * 1000,
                                    .limits.fleet_retention_ms = UINT64_C(86400) * 1000,
                                    .limits.max_range_ms = UINT64_C(36600) * 86400 * 1000};
}

static inline void fx_open(struct fx *f)
{
    struct store_options so = {.dir = f->dir, .memory_bytes = 16 << 20, .reserve_bytes = 64 << 10};
    struct store_error err;
    int rc = store_open(&f->store, &so, &err);
    if (rc < 0) {
        print_message("%s\n", err.text);
    }
    assert_int_equal(rc, 0);
    rc = trace_open(&f->trace, f->store, &f->opt, &err);
    if (rc < 0) {
        print_message("%s\n", err.text);
    }
    assert_int_equal(rc, 0);
}

static inline void fx_close(struct fx *f)
{
    trace_close(f->trace);
    store_close(f->store);
    f->trace = NULL;
    f->store = NULL;
}

static inline void fx_fini(struct fx *f)
{
    if (f->trace != NULL) {
        fx_close(f);
    }
    (void)nftw(f->dir, fx_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static inline void fx_failpoints(const char *text)
{
    (void)setenv("TRACEMQ_FAILPOINTS", text, 1);
    failpoint_init();
}

static inline void fx_nap(unsigned ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    (void)nanosleep(&ts, NULL);
}

/* An event of a client; `uid` goes into the evidence, so that rows can be told apart. */
struct ev {
    const char *client;
    uint64_t channel, uid, time_us, connected_us;
    enum cause cause;
    uint8_t flags;
    const char *peer;
};

static inline bool fx_try_emit(struct fx *f, unsigned loop, const struct ev *e)
{
    struct evidence ev;
    evidence_init(&ev);
    evidence_u64(&ev, EV_ACTUAL, e->uid);
    evidence_str(&ev, EV_TEXT, "some words of evidence to have a usual size");
    struct record r = {.time_us = e->time_us != 0 ? e->time_us : clock_wall_us(),
                       .connected_at_us = e->connected_us,
                       .cause = e->cause,
                       .flags = e->flags,
                       .protocol = 4,
                       .keepalive = 60,
                       .instance = slice_str("mqtt-local"),
                       .client_id = slice_str(e->client),
                       .user = slice_str("user"),
                       .peer = slice_str(e->peer != NULL ? e->peer : "127.0.0.1:1000"),
                       .listener = slice_str("mqtt"),
                       .detail = slice_make(ev.bytes, ev.n)};
    put_be64(r.channel, e->channel);
    put_be64(r.channel + 8, ~e->channel);
    return trace_emit(f->trace, loop, &r);
}

static inline void fx_emit(struct fx *f, unsigned loop, const struct ev *e)
{
    while (!fx_try_emit(f, loop, e)) {
        fx_nap(1);
    }
}

/* Until everything emitted is visible. */
static inline void fx_settle(struct fx *f)
{
    for (unsigned i = 0; i < f->opt.loops; i++) {
        const struct ring *r = f->trace->intake.loops[i].ring;
        for (int k = 0; ring_tail(r) != ring_head(r); k++) {
            assert_true(k < 50000);
            fx_nap(1);
        }
    }
}

/* Until every frozen buffer is in the store. */
static inline void fx_wait_flushed(struct fx *f)
{
    unsigned n = 1;
    for (int i = 0; n > 0; i++) {
        assert_true(i < 50000);
        (void)pthread_mutex_lock(&f->trace->shared.lock);
        n = f->trace->shared.frozen_n;
        (void)pthread_mutex_unlock(&f->trace->shared.lock);
        fx_nap(1);
    }
    (void)pthread_mutex_lock(&f->trace->maintain.busy);
    (void)pthread_mutex_unlock(&f->trace->maintain.busy);
}

/* How many segments there are, and how many rows the blocks of the oldest hold: other threads change both. */
static inline size_t fx_segments(struct fx *f, uint64_t *rows_of_first)
{
    (void)pthread_mutex_lock(&f->trace->shared.lock);
    size_t n = f->trace->shared.segment_n;
    *rows_of_first = n == 0 ? 0 : f->trace->shared.segments[0]->dm.count;
    (void)pthread_mutex_unlock(&f->trace->shared.lock);
    return n;
}

static inline uint64_t fx_uid(const struct record *r)
{
    struct evidence_item it;
    return evidence_find(r->detail, EV_ACTUAL, &it) ? it.u64 : UINT64_MAX;
}

static inline struct trace_query fx_query(const char *client)
{
    return (struct trace_query){.instance = slice_str("mqtt-local"),
                                .client_id = slice_str(client),
                                .end_us = clock_wall_us() + UINT64_C(3600000000),
                                .begin_us = clock_wall_us() - UINT64_C(30) * 86400 * 1000000,
                                .ascending = true,
                                .action = -1,
                                .cause = -1,
                                .limit = 1000};
}

/* A job that is waited for. */
struct fx_job {
    struct commit_job job;
    struct store_cf *cf;
    char key[32];
    _Atomic int done; /* 1 + -err */
};

static inline void fx_job_fill(struct commit_job *j, struct store_batch *b)
{
    struct fx_job *f = (struct fx_job *)(void *)j;
    if (f->cf != NULL) {
        store_batch_put(b, f->cf, slice_str(f->key), slice_str("v"));
    }
}

static inline void fx_job_done(struct commit_job *j, int err)
{
    atomic_store(&((struct fx_job *)(void *)j)->done, 1 - err);
}

static inline void fx_submit(struct fx *f, struct fx_job *j, bool sync)
{
    j->job = (struct commit_job){.sync = sync, .fill = fx_job_fill, .done = fx_job_done};
    atomic_store(&j->done, 0);
    trace_submit(f->trace, &j->job);
}

static inline int fx_wait_job(struct fx_job *j)
{
    for (int i = 0; atomic_load(&j->done) == 0; i++) {
        assert_true(i < 50000);
        fx_nap(1);
    }
    return 1 - atomic_load(&j->done);
}

/* xorshift: the same sequence at each run. */
static inline uint64_t fx_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

#endif
