/* Segments and what is dropped when: by time, by size, never in a hurry, never after a step of the clock. */
#include "trace_fixture.h"

#define DAY_US (UINT64_C(86400) * 1000000)
enum { HOUR_MS = 3600 * 1000 };

static struct fx fx;
static int64_t shifted_us;
static uint64_t channel;

static int setup(void **state)
{
    (void)state;
    fx_init(&fx, 1, 4 << 20);
    fx_open(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fx_fini(&fx);
    clock_wall_shift(-shifted_us);
    shifted_us = 0;
    return 0;
}

static void shift(int64_t us)
{
    clock_wall_shift(us);
    shifted_us += us;
}

static void one_session(void)
{
    channel++;
    uint64_t now = clock_wall_us();
    struct ev c = {.client = "d", .channel = channel, .time_us = now, .cause = CAUSE_ACCEPTED_NEW};
    struct ev e = {.client = "d",
                   .channel = channel,
                   .time_us = now,
                   .connected_us = now,
                   .cause = CAUSE_CLIENT_NORMAL};
    fx_emit(&fx, 0, &c);
    fx_emit(&fx, 0, &e);
    fx_settle(&fx);
}

/* `n` segments, each with a session, a day apart. */
static void make_days(int n)
{
    for (int i = 0; i < n; i++) {
        if (i > 0) {
            shift((int64_t)DAY_US);
        }
        one_session();
        fx_wait_flushed(&fx);
    }
    uint64_t rows;
    assert_int_equal(fx_segments(&fx, &rows), n);
}

static void step(uint64_t wall_us, uint64_t mono_ms)
{
    (void)pthread_mutex_lock(&fx.trace->maintain.busy);
    retention_step(fx.trace, wall_us, mono_ms);
    (void)pthread_mutex_unlock(&fx.trace->maintain.busy);
}

static uint64_t history(void)
{
    struct trace_query q = fx_query("d");
    q.begin_us = 0;
    q.end_us = fx.opt.limits.max_range_ms * 1000;
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    uint64_t n = p.total;
    trace_page_fini(&p);
    return n;
}

static void test_2035(void **state)
{
    (void)state;
    make_days(5);
    assert_int_equal(history(), 10);
    shift((int64_t)(10 * 365 * DAY_US));
    one_session(); /* the step makes a segment, and a pause */
    fx_wait_flushed(&fx);
    uint64_t wall = clock_wall_us();
    uint64_t mono = trace_mono_ms();
    step(wall, mono);
    step(wall, mono + HOUR_MS / 2);
    assert_int_equal(history(), 12);
    step(wall, mono + 2 * HOUR_MS); /* one … */
    assert_int_equal(history(), 10);
    step(wall, mono + 2 * HOUR_MS + HOUR_MS / 2);
    assert_int_equal(history(), 10);
    step(wall, mono + 3 * HOUR_MS + 1); /* … an hour */
    assert_int_equal(history(), 8);
    for (uint64_t i = 4; i < 20; i++) {
        step(wall, mono + i * (HOUR_MS + 1));
    }
    assert_int_equal(history(), 2); /* the present stays */
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(history(), 2);
}

static void test_journal_goes_before_blocks(void **state)
{
    (void)state;
    make_days(4);
    uint64_t wall = clock_wall_us();
    uint64_t mono = trace_mono_ms() + 2 * HOUR_MS;
    fx.trace->maintain.retention = (struct retention){0};
    atomic_store(&fx.trace->maintain.clock_stepped, false);
    for (uint64_t i = 0; i < 6; i++) {
        step(wall, mono + i * (HOUR_MS + 1));
    }
    assert_int_equal(history(), 8); /* of the device: all */
    struct trace_query q = fx_query("");
    q.begin_us = 0;
    q.end_us = wall + DAY_US;
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_true(p.total == 4 || p.total == 2); /* of the fleet: a day and what began it */
    trace_page_fini(&p);
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(history(), 8);
    one_session();
    assert_int_equal(history(), 10);
}

static void test_by_size(void **state)
{
    (void)state;
    make_days(4);
    fx.trace->maintain.retention = (struct retention){0};
    atomic_store(&fx.trace->maintain.clock_stepped, false);
    atomic_store(&fx.trace->limits.retention_bytes, 1);
    uint64_t mono = trace_mono_ms() + 2 * HOUR_MS;
    uint64_t rows;
    step(clock_wall_us(), mono);
    assert_int_equal(fx_segments(&fx, &rows), 3);
    step(clock_wall_us(), mono + 1000);
    assert_int_equal(fx_segments(&fx, &rows), 3);
}

static void test_refused_have_a_quota(void **state)
{
    (void)state;
    fx.trace->opt.refused_bytes = 1;
    for (unsigned i = 0; i < 3; i++) {
        char peer[32];
        (void)snprintf(peer, sizeof peer, "10.0.0.%u:1", i);
        struct ev e = {.client = "d",
                       .channel = i,
                       .cause = CAUSE_AUTH_BAD_PASSWORD,
                       .flags = RECORD_REFUSED,
                       .peer = peer};
        fx_emit(&fx, 0, &e);
        fx_settle(&fx);
        shift(2000000);
        one_session();
        fx_wait_flushed(&fx);
        shift(2000000);
    }
    struct trace_query q = fx_query("d");
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_int_equal(p.total + p.gap_count, 9); /* what was not kept is told */
    trace_page_fini(&p);
}

/* A query that runs while its segment is dropped reads on. */
static void test_drop_under_a_reader(void **state)
{
    (void)state;
    make_days(3);
    struct view v;
    assert_int_equal(view_open(fx.trace, &v), 0);
    assert_int_equal(segment_drop_oldest(fx.trace), 0);
    struct store_iter *it = store_iter_new(fx.store, v.snap, v.segments[0].d, 0);
    store_iter_first(it);
    assert_true(store_iter_valid(it));
    store_iter_free(it);
    view_close(fx.trace, &v);
    assert_int_equal(history(), 4);
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_2035),
        T(test_journal_goes_before_blocks),
        T(test_by_size),
        T(test_refused_have_a_quota),
        T(test_drop_under_a_reader),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
