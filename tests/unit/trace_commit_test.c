/* Commits: jobs, stalls, a store that refuses writes, collapsed rows, idle threads, the trace switched off. */
#include <dirent.h>

#include "base/mem.h"
#include "trace_fixture.h"

static struct fx fx;

static int setup(void **state)
{
    (void)state;
    fx_failpoints("");
    fx_init(&fx, 2, 8 << 20);
    fx_open(&fx);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fx_failpoints("");
    fx_fini(&fx);
    return 0;
}

static uint64_t total_of(const char *client, bool unidentified)
{
    struct trace_query q = fx_query(client);
    q.unidentified = unidentified;
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    uint64_t n = p.total;
    trace_page_fini(&p);
    return n;
}

static void test_jobs(void **state)
{
    (void)state;
    struct fx_job a = {.cf = store_family(fx.store, STORE_SESSIONS), .key = "a"};
    struct fx_job b = {.cf = store_family(fx.store, STORE_SESSIONS), .key = "b"};
    struct fx_job none = {.cf = NULL};
    struct slice v;
    fx_submit(&fx, &a, false);
    assert_int_equal(fx_wait_job(&a), 0);
    struct trace_stats before;
    trace_stats(fx.trace, &before);
    fx_submit(&fx, &b, true);
    assert_int_equal(fx_wait_job(&b), 0);
    fx_submit(&fx, &none, true); /* writes nothing, waits all the same */
    assert_int_equal(fx_wait_job(&none), 0);
    struct trace_stats after;
    trace_stats(fx.trace, &after);
    assert_true(after.syncs > before.syncs);
    assert_int_equal(store_get(fx.store, NULL, a.cf, slice_str("a"), &v), 0);
    store_free(&v);
    assert_int_equal(store_get(fx.store, NULL, a.cf, slice_str("b"), &v), 0);
    store_free(&v);
}

static void test_stall_fills_rings(void **state)
{
    (void)state;
    fx_failpoints("commit.stall_ms=1000");
    struct ev first = {.client = "d", .channel = 1, .cause = CAUSE_ACCEPTED_NEW};
    fx_emit(&fx, 0, &first);
    fx_nap(20);
    uint64_t n = 1;
    bool refused = false;
    while (!refused) {
        struct ev e = {.client = "d", .channel = n, .uid = n, .cause = CAUSE_PEER_FIN};
        refused = !fx_try_emit(&fx, 0, &e);
        n += !refused;
    }
    assert_true(n > 1000);
    fx_failpoints("");
    fx_settle(&fx);
    assert_int_equal(total_of("d", false), n);
    assert_int_equal(trace_last_seq(fx.trace), n);
}

static void emit_connect(const char *client, uint64_t channel)
{
    struct ev e = {.client = client, .channel = channel, .cause = CAUSE_ACCEPTED_NEW};
    fx_emit(&fx, channel % 2, &e);
}

static void emit_end(const char *client, uint64_t channel)
{
    struct ev e = {
        .client = client, .channel = channel, .cause = CAUSE_PEER_FIN, .connected_us = 5};
    fx_emit(&fx, channel % 2, &e);
}

static bool is_online(const char *client, uint64_t *channel)
{
    struct trace_status s;
    if (trace_status(fx.trace, slice_str("mqtt-local"), slice_str(client), &s) < 0) {
        return false;
    }
    bool online = s.online;
    *channel = get_be64(s.channel);
    trace_status_fini(&s);
    return online;
}

static bool degraded(void)
{
    struct trace_stats s;
    trace_stats(fx.trace, &s);
    return s.degraded;
}

static void wait_degraded(bool wanted)
{
    for (int i = 0; degraded() != wanted; i++) {
        assert_true(i < 50000);
        fx_nap(1);
    }
}

static void wait_healthy(void)
{
    wait_degraded(false);
    struct fx_job after = {.cf = NULL};
    fx_submit(&fx, &after, false); /* what was kept back is written before it */
    assert_int_equal(fx_wait_job(&after), 0);
    fx_settle(&fx);
}

static void test_short_refusal_loses_nothing(void **state)
{
    (void)state;
    emit_connect("a", 2);
    fx_settle(&fx);
    fx_failpoints("commit.write_errno=28");
    emit_end("a", 2);
    emit_connect("b", 4);
    wait_degraded(true);
    struct fx_job j = {.cf = store_family(fx.store, STORE_SESSIONS), .key = "x"};
    fx_submit(&fx, &j, false);
    assert_int_equal(fx_wait_job(&j), -ENOSPC);
    assert_int_equal(total_of("a", false), 1); /* not visible before it is written */
    fx_failpoints("");
    wait_healthy();
    assert_int_equal(total_of("a", false), 2);
    assert_int_equal(total_of("b", false), 1);
    struct trace_stats s;
    trace_stats(fx.trace, &s);
    assert_int_equal(s.dropped, 0);
    assert_int_equal(s.open, 1);
}

static void test_long_refusal_leaves_a_gap(void **state)
{
    (void)state;
    uint64_t channel;
    emit_connect("kept", 2);
    emit_connect("ends", 4);
    fx_settle(&fx);
    fx_failpoints("commit.write_errno=28");
    emit_end("ends", 4);      /* staged, then kept back */
    emit_connect("comes", 6); /* kept back */
    fx_nap(1300);
    for (uint64_t i = 0; i < 20000; i++) { /* more than a ring holds: never "no room" for ever */
        emit_connect("passes", 100 + 2 * i);
        emit_end("passes", 100 + 2 * i);
    }
    emit_connect("comes2", 8);
    fx_settle(&fx);
    fx_nap(50);
    assert_true(degraded());
    assert_true(is_online("kept", &channel));
    assert_false(is_online("ends", &channel));
    assert_true(is_online("comes", &channel));
    assert_int_equal(channel, 6);
    struct trace_stats s;
    trace_stats(fx.trace, &s);
    assert_int_equal(s.dropped, 40000);
    assert_int_equal(s.open, 3);
    assert_int_equal(trace_online(fx.trace, slice_str("mqtt-local")), 3);

    fx_failpoints("");
    wait_healthy();
    struct trace_query q = fx_query("ends");
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_int_equal(p.count, 2);
    assert_false(p.complete);
    assert_int_equal(p.gap_count, 1);
    assert_int_equal(p.gaps[0].count, 40000);
    trace_page_fini(&p);
    q.end_us = clock_wall_us() - UINT64_C(3600000000); /* a range before the gap */
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_true(p.complete);
    trace_page_fini(&p);
    assert_int_equal(total_of("comes", false), 1);
    assert_int_equal(total_of("comes2", false), 1);
    assert_int_equal(total_of("passes", false), 0);
    assert_int_equal(trace_last_seq(fx.trace), 6); /* 2 connects, the gap, an ending, 2 connects */
    emit_end("comes", 6);
    fx_settle(&fx);
    assert_false(is_online("comes", &channel));
    emit_end("comes2", 8);
    emit_end("kept", 2);
    fx_close(&fx);
    fx_open(&fx);
    q = fx_query("ends");
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_int_equal(p.gap_count, 1); /* remembered */
    trace_page_fini(&p);
}

static void test_flush_refused_keeps_the_buffer(void **state)
{
    (void)state;
    fx_fini(&fx);
    fx_init(&fx, 1, 256 << 10);
    fx_open(&fx);
    fx_failpoints("flush.errno=28");
    for (uint64_t i = 0; i < 1200; i++) { /* not more than the buffers hold */
        struct ev e = {.client = "d", .channel = i, .uid = i, .cause = CAUSE_PEER_FIN};
        fx_emit(&fx, 0, &e);
        if (i % 100 == 0) {
            fx_settle(&fx);
        }
    }
    fx_settle(&fx);
    assert_int_equal(total_of("d", false), 1200);
    fx_failpoints("");
    fx_wait_flushed(&fx);
    assert_int_equal(total_of("d", false), 1200);
}

static void refuse(const char *client, const char *peer, uint64_t time_us, uint8_t flags)
{
    struct ev e = {.client = client,
                   .channel = time_us,
                   .time_us = time_us,
                   .cause = (flags & RECORD_UNIDENTIFIED) != 0 ? CAUSE_HANDSHAKE_NOT_MQTT
                                                               : CAUSE_AUTH_BAD_PASSWORD,
                   .flags = (uint8_t)(flags | RECORD_REFUSED),
                   .peer = peer};
    fx_emit(&fx, 0, &e);
}

static void check_collapsed(const char *client, uint64_t count, uint64_t first_us)
{
    struct trace_query q = fx_query(client);
    q.unidentified = *client == '\0';
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    unsigned found = 0;
    for (size_t i = 0; i < p.count; i++) {
        struct evidence_item it;
        if ((p.rows[i].flags & RECORD_COLLAPSED) != 0 &&
            evidence_find(p.rows[i].detail, EV_COUNT, &it) && it.u64 == count) {
            found++;
            assert_true(evidence_find(p.rows[i].detail, EV_FIRST_TIME, &it));
            assert_int_equal(it.u64, first_us);
        }
    }
    assert_int_equal(found, 1);
    trace_page_fini(&p);
}

static void test_collapse(void **state)
{
    (void)state;
    uint64_t minute = clock_wall_us() / 60000000 * 60000000;
    uint64_t t0 = minute + 60000000 + 1000; /* of the next minute, which does not end in the test */
    for (unsigned i = 0; i < 100; i++) {
        char peer[32];
        (void)snprintf(peer, sizeof peer, "10.0.0.1:%u", 1000 + i);
        refuse("one", peer, t0 + i, 0);
        char name[16];
        (void)snprintf(name, sizeof name, "many%u", i);
        refuse(name, "[2001:db8::1]:5", t0 + i, 0);
        refuse("", "10.9.9.9:1", t0 + i, RECORD_UNIDENTIFIED);
    }
    for (unsigned i = 0; i < 100; i++) {
        refuse("", i % 2 == 0 ? "[2001:db8::2]:5" : "[2001:db8::ffff]:5", t0 + i,
               RECORD_UNIDENTIFIED);
    }
    fx_settle(&fx);
    assert_int_equal(total_of("one", false), COLLAPSE_ROWS);
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(total_of("one", false), COLLAPSE_ROWS + 1);
    check_collapsed("one", 80, t0 + COLLAPSE_ROWS);
    assert_int_equal(total_of("many0", false), 1);
    assert_int_equal(total_of("many50", false), 0); /* among the unidentified, with a text */
    assert_int_equal(total_of("", true), 2 * (COLLAPSE_ROWS + 1) + 1);
    assert_int_equal(trace_last_seq(fx.trace), 4 * (COLLAPSE_ROWS + 1));
}

static void test_collapse_table_is_bounded(void **state)
{
    (void)state;
    struct collapse *c = collapse_new();
    unsigned passed = 0;
    for (unsigned i = 0; i < 100000; i++) {
        char peer[32];
        (void)snprintf(peer, sizeof peer, "10.%u.%u.%u:1", i >> 16, (i >> 8) & 255, i & 255);
        struct record r = {.time_us = 60000000,
                           .cause = CAUSE_HANDSHAKE_EMPTY,
                           .peer = slice_str(peer),
                           .flags = RECORD_UNIDENTIFIED | RECORD_REFUSED};
        passed += collapse_take(c, &r);
    }
    assert_int_equal(passed, COLLAPSE_SOURCES + COLLAPSE_ROWS);
    struct record r;
    struct evidence_item it;
    assert_false(collapse_pop(c, 60000000, &r));
    assert_int_equal(collapse_due_us(c), 120000000);
    assert_true(collapse_pop(c, 120000000, &r));
    assert_true(slice_eq(r.peer, slice_str("other")));
    assert_true(evidence_find(r.detail, EV_COUNT, &it));
    assert_int_equal(it.u64, 100000 - passed);
    assert_false(collapse_pop(c, 120000000, &r));
    collapse_free(c);
}

static void test_source(void **state)
{
    (void)state;
    static const char *const rows[][2] = {
        {"10.0.0.1:4711", "10.0.0.1"},
        {"[2001:db8:1:2:3:4:5:6]:1", "2001:db8:1:2::/64"},
        {"[::ffff:10.0.0.2]:80", "10.0.0.2"},
        {"2001:db8::7", "2001:db8::/64"},
        {"unix:/run/x", "unix"},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char out[COLLAPSE_SOURCE_MAX];
        size_t n = collapse_source(slice_str(rows[i][0]), out);
        assert_string_equal(out, rows[i][1]);
        assert_int_equal(n, strlen(rows[i][1]));
    }
}

/* Voluntary and other switches of the trace's and the engine's threads. */
static unsigned long long trace_switches(void)
{
    unsigned long long sum = 0;
    DIR *d = opendir("/proc/self/task");
    const struct dirent *e;
    assert_non_null(d);
    while ((e = readdir(d)) != NULL) {
        char path[300];
        char line[256];
        (void)snprintf(path, sizeof path, "/proc/self/task/%s/status", e->d_name);
        FILE *f = fopen(path, "r");
        bool ours = false;
        while (f != NULL && fgets(line, sizeof line, f) != NULL) {
            unsigned long long n;
            ours = ours || strncmp(line, "Name:\ttrace-", 12) == 0;
            if (ours && sscanf(line, "voluntary_ctxt_switches: %llu", &n) == 1) {
                sum += n;
            }
        }
        if (f != NULL) {
            (void)fclose(f);
        }
    }
    (void)closedir(d);
    return sum;
}

static void test_idle_means_asleep(void **state)
{
    (void)state;
    emit_connect("a", 2);
    emit_end("a", 2);
    fx_settle(&fx);
    struct trace_stats before;
    struct trace_stats after;
    unsigned long long switches;
    int tries = 0;
    do { /* what was under way may take its time; whoever wakes up for nothing never passes */
        assert_true(tries++ < 20);
        trace_stats(fx.trace, &before);
        switches = trace_switches();
        fx_nap(700);
        trace_stats(fx.trace, &after);
    } while (trace_switches() != switches || after.syncs != before.syncs ||
             after.commits != before.commits);
}

static void count_call(void *arg)
{
    atomic_fetch_add((_Atomic int *)arg, 1);
}

static void test_hook_and_off(void **state)
{
    (void)state;
    static _Atomic int calls;
    trace_on_commit(fx.trace, count_call, &calls);
    emit_connect("a", 2);
    fx_settle(&fx);
    for (int i = 0; atomic_load(&calls) == 0; i++) {
        assert_true(i < 50000);
        fx_nap(1);
    }
    emit_end("a", 2);
    fx_close(&fx);
    fx.opt.enabled = false;
    fx_open(&fx);
    emit_connect("b", 4);
    struct fx_job j = {.cf = store_family(fx.store, STORE_SESSIONS), .key = "k"};
    fx_submit(&fx, &j, true);
    assert_int_equal(fx_wait_job(&j), 0);
    assert_int_equal(total_of("b", false), 0);
    assert_int_equal(total_of("a", false), 2); /* history stays */
}

/* A step back under a second is clamped, so a loop's times never go back by less. */
static void test_small_steps_are_clamped(void **state)
{
    (void)state;
    uint64_t t0 = clock_wall_us();
    struct ev a = {.client = "d", .channel = 1, .time_us = t0, .cause = CAUSE_ACCEPTED_NEW};
    struct ev b = {.client = "d", .channel = 1, .time_us = t0 - 900000, .cause = CAUSE_PEER_FIN};
    fx_emit(&fx, 0, &a);
    fx_emit(&fx, 0, &b);
    fx_settle(&fx);
    struct trace_query q = fx_query("d");
    struct trace_page p;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_int_equal(p.count, 2);
    assert_int_equal(p.rows[1].time_us, t0);
    trace_page_fini(&p);
}

int main(void)
{
#define T(x) cmocka_unit_test_setup_teardown(x, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_jobs),
        T(test_stall_fills_rings),
        T(test_short_refusal_loses_nothing),
        T(test_long_refusal_leaves_a_gap),
        T(test_flush_refused_keeps_the_buffer),
        T(test_collapse),
        T(test_collapse_table_is_bounded),
        T(test_source),
        T(test_idle_means_asleep),
        T(test_hook_and_off),
        T(test_small_steps_are_clamped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
