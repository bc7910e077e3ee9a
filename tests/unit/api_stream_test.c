/* Server-sent events: nothing missed, nothing twice, bounded, ended at the stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <pthread.h>

#include "api_fixture.h"

#define I "/api/v1/instances/mqtt-local"

/* A client that reads a stream on a thread of its own until it is told to stop. */
struct reader {
    pthread_t thread;
    char path[256];
    const char *last_event_id;
    _Atomic bool stop, opened, ended;
    _Atomic unsigned events, gaps;
    _Atomic uint64_t last_seq;
    bool in_order;
    unsigned slow_us; /* sleeps so long at each piece */
    long status;
    char line[8192];
    size_t line_n;
};

static void take_line(struct reader *r)
{
    r->line[r->line_n] = '\0';
    if (strncmp(r->line, ": open", 6) == 0) {
        r->opened = true;
    } else if (strncmp(r->line, "id: ", 4) == 0) {
        uint64_t seq = strtoull(r->line + 4, NULL, 10);
        r->in_order = r->in_order && seq > r->last_seq;
        r->last_seq = seq;
    } else if (strncmp(r->line, "data: ", 6) == 0) {
        json_t *o = json_loads(r->line + 6, 0, NULL);
        r->in_order = r->in_order && (uint64_t)int_in(o, "seq") == r->last_seq;
        json_decref(o);
        r->events++;
    } else if (strncmp(r->line, "event: gap", 10) == 0) {
        r->gaps++;
    }
    r->line_n = 0;
}

static size_t on_stream(char *p, size_t size, size_t n, void *arg)
{
    struct reader *r = arg;
    (void)size;
    if (r->slow_us > 0) {
        (void)usleep(r->slow_us);
    }
    for (size_t i = 0; i < n; i++) {
        if (p[i] == '\n') {
            take_line(r);
        } else if (r->line_n < sizeof r->line - 1) {
            r->line[r->line_n++] = p[i];
        }
    }
    return r->stop ? 0 : n;
}

static int on_progress(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct reader *r = arg;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return r->stop ? 1 : 0;
}

static void *reader_main(void *arg)
{
    struct reader *r = arg;
    char header[64];
    (void)snprintf(header, sizeof header, "Last-Event-ID: %s",
                   r->last_event_id == NULL ? "" : r->last_event_id);
    struct call c = {.path = r->path, .headers = {r->last_event_id == NULL ? NULL : header}};
    struct curl_slist *headers = call_headers(&c);
    struct buf head = {0};
    CURL *h = call_open(&c, headers);
    curl_easy_setopt(h, CURLOPT_TIMEOUT, 300L);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_stream);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, r);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, &head);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, r);
    (void)curl_easy_perform(h);
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &r->status);
    curl_easy_cleanup(h);
    curl_slist_free_all(headers);
    buf_fini(&head);
    r->ended = true;
    return NULL;
}

static void wait_for(const _Atomic bool *flag)
{
    uint64_t until = clock_mono_ms() + 60000;
    while (!*flag) {
        assert_true(clock_mono_ms() < until);
        (void)usleep(500);
    }
}

static void wait_events(struct reader *r, unsigned n)
{
    uint64_t until = clock_mono_ms() + 60000;
    while (r->events < n) {
        if (clock_mono_ms() >= until) {
            fail_msg("%s: %u events of %u", r->path, (unsigned)r->events, n);
        }
        (void)usleep(500);
    }
}

static void reader_start(struct reader *r, const char *path)
{
    (void)snprintf(r->path, sizeof r->path, "%s", path);
    r->in_order = true;
    assert_int_equal(pthread_create(&r->thread, NULL, reader_main, r), 0);
}

static void reader_open(struct reader *r, const char *path)
{
    reader_start(r, path);
    wait_for(&r->opened);
}

static void reader_stop(struct reader *r)
{
    r->stop = true;
    (void)pthread_join(r->thread, NULL);
}

static unsigned open_streams(void)
{
    struct answer a = {0};
    CALL(&a, .path = "/metrics");
    buf_put_u8(&a.body, 0);
    const char *at = strstr((const char *)a.body.p, "\ntracemq_api_streams ");
    unsigned n = (unsigned)strtoul(at + 21, NULL, 10);
    answer_fini(&a);
    return n;
}

static void records_come_once_and_in_order(void **state)
{
    static struct reader fleet, one, none;
    (void)state;
    emit_session("before", CAUSE_PEER_FIN, 1);
    wait_visible();
    reader_open(&fleet, I "/stream");
    reader_open(&one, I "/stream?clientId=GID_s%40%40%40one");
    reader_open(&none, I "/stream?clientId=none");
    for (int i = 0; i < 300; i++) {
        emit_session(i % 3 == 0 ? "GID_s@@@one" : "other", CAUSE_CLIENT_NORMAL, (uint8_t)i);
        if (i % 50 == 0) {
            (void)usleep(10000);
        }
    }
    wait_events(&fleet, 600);
    wait_events(&one, 200);
    (void)usleep(50000);
    assert_int_equal(fleet.events, 600);
    assert_int_equal(one.events, 200);
    assert_int_equal(none.events, 0);
    assert_true(fleet.in_order && one.in_order);
    assert_int_equal(fleet.last_seq, trace_last_seq(fx.trace));
    reader_stop(&fleet);
    reader_stop(&one);
    reader_stop(&none);
}

/* A record goes out for itself, not with the next one. */
static void a_single_record_comes(void **state)
{
    static struct reader r;
    (void)state;
    reader_open(&r, I "/stream");
    for (unsigned i = 1; i <= 5; i++) {
        struct record rec = some_record("single", CAUSE_ACCEPTED_NEW, (uint8_t)i);
        emit(&rec);
        wait_events(&r, i);
    }
    reader_stop(&r);
}

static void a_stream_resumes_where_it_was(void **state)
{
    static struct reader r;
    char id[32];
    (void)state;
    uint64_t last = trace_last_seq(fx.trace);
    (void)snprintf(id, sizeof id, "%llu", (unsigned long long)last);
    emit_session("resumed", CAUSE_PEER_RESET, 3);
    wait_visible();
    r.last_event_id = id;
    reader_open(&r, I "/stream");
    wait_events(&r, 2);
    emit_session("resumed", CAUSE_PEER_RESET, 4);
    wait_events(&r, 4);
    assert_true(r.in_order);
    assert_int_equal(r.last_seq, last + 4);
    reader_stop(&r);
}

static void a_slow_reader_is_behind_and_misses_nothing(void **state)
{
    static struct reader r;
    (void)state;
    r.slow_us = 5000;
    reader_open(&r, I "/stream?clientId=slow");
    for (int i = 0; i < 1000; i++) {
        emit_session("slow", CAUSE_CLIENT_NORMAL, (uint8_t)i);
    }
    wait_events(&r, 2000);
    assert_true(r.in_order);
    reader_stop(&r);
}

static void bad_streams_are_refused(void **state)
{
    struct answer a = {0};
    (void)state;
    CALL(&a, .path = I "/stream", .headers = {"Last-Event-ID: abc"});
    expect_problem(&a, 400, "Last-Event-ID", "abc");
    CALL(&a, .path = I "/stream?client=1");
    expect_problem(&a, 400, "client", "client");
    CALL(&a, .path = I "/stream", .token = "");
    expect_problem(&a, 401, NULL, "token");
    CALL(&a, .path = I "/stream", .method = "HEAD");
    assert_int_equal(a.status, 200);
    answer_fini(&a);
}

static void there_are_at_most_max_streams(void **state)
{
    static struct reader r[8];
    struct answer a = {0};
    (void)state;
    while (open_streams() > 0) { /* of the tests before: found closed when something is sent */
        emit_session("flush", CAUSE_PEER_FIN, 1);
        (void)usleep(20000);
    }
    for (size_t i = 0; i < 8; i++) {
        reader_open(&r[i], I "/stream");
    }
    assert_int_equal(open_streams(), 8);
    CALL(&a, .path = I "/stream");
    expect_problem(&a, 503, NULL, "8 event streams");
    CALL(&a, .path = I "/devices");
    assert_int_equal(a.status, 200);
    answer_fini(&a);
    for (size_t i = 0; i < 8; i++) {
        reader_stop(&r[i]);
    }
}

static void a_stop_ends_streams(void **state)
{
    static struct reader r[3];
    (void)state;
    while (open_streams() > 0) {
        emit_session("flush", CAUSE_PEER_FIN, 1);
        (void)usleep(20000);
    }
    for (size_t i = 0; i < 3; i++) {
        reader_open(&r[i], I "/stream");
    }
    api_stop(fx.api); /* or this waits for them */
    for (size_t i = 0; i < 3; i++) {
        wait_for(&r[i].ended);
        reader_stop(&r[i]);
        assert_int_equal(r[i].status, 200);
    }
    emit_session("nobody listens", CAUSE_PEER_FIN, 1);
    wait_visible();
    start_api(8);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_come_once_and_in_order),
        cmocka_unit_test(a_single_record_comes),
        cmocka_unit_test(a_stream_resumes_where_it_was),
        cmocka_unit_test(a_slow_reader_is_behind_and_misses_nothing),
        cmocka_unit_test(bad_streams_are_refused),
        cmocka_unit_test(there_are_at_most_max_streams),
        cmocka_unit_test(a_stop_ends_streams),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
