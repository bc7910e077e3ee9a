/* Queries against a naive model: random events, ranges, orders, limits and cursors, over flushes and rolls. */
#include "trace_fixture.h"

enum { DEVICES = 24, EVENTS = 12000, INSTANCE_QUERIES = 60 };

struct model_event {
    int device;
    uint64_t time_us, uid, channel;
    enum cause cause;
    uint8_t flags;
};

struct model_device {
    char name[40];
    uint64_t channel, connected_us; /* 0 = offline */
    bool known;
    enum cause last;
};

static struct fx fx;
static struct model_event events[EVENTS * 2];
static size_t event_n;
static struct model_device devices[DEVICES];
static uint64_t seed = 88172645463325252u;
static uint64_t now_us;

static uint64_t rnd(uint64_t n)
{
    return fx_random(&seed) % n;
}

static void add_event(int d, uint64_t channel, uint64_t connected, enum cause cause, uint8_t flags)
{
    struct model_event *e = &events[event_n];
    char peer[32];
    (void)snprintf(peer, sizeof peer, "10.0.%d.1:%u", d, (unsigned)(event_n % 60000));
    *e = (struct model_event){.device = d,
                              .time_us = now_us,
                              .uid = event_n,
                              .channel = channel,
                              .cause = cause,
                              .flags = flags};
    struct ev v = {.client = devices[d].name,
                   .channel = channel,
                   .uid = e->uid,
                   .time_us = now_us,
                   .connected_us = connected,
                   .cause = cause,
                   .flags = flags,
                   .peer = peer};
    fx_emit(&fx, (unsigned)d % fx.opt.loops, &v);
    event_n++;
}

static void connect_device(int d)
{
    struct model_device *m = &devices[d];
    uint64_t old = m->channel;
    uint64_t channel = event_n + 1000;
    bool late = rnd(2) == 0; /* the loser's ending before or after the winner's connect */
    if (old != 0 && !late) {
        add_event(d, old, m->connected_us, CAUSE_TAKEOVER_SAME_NODE, 0);
    }
    add_event(d, channel, 0, CAUSE_ACCEPTED_NEW, RECORD_CLEAN_SESSION);
    if (old != 0 && late) {
        add_event(d, old, m->connected_us, CAUSE_TAKEOVER_SAME_NODE, 0);
    }
    m->channel = channel;
    m->connected_us = now_us;
    m->known = true;
}

static void random_event(void)
{
    static const enum cause endings[] = {CAUSE_KEEPALIVE_EXPIRED, CAUSE_CLIENT_NORMAL,
                                         CAUSE_PEER_FIN};
    int d = rnd(3) == 0 ? (int)rnd(2) : (int)rnd(DEVICES); /* two are hot */
    struct model_device *m = &devices[d];
    now_us += 1 + rnd(4000000);
    uint64_t what = rnd(10);
    if (what == 0) {
        add_event(d, event_n + 500000, 0, CAUSE_AUTH_BAD_PASSWORD, RECORD_REFUSED);
    } else if (d == DEVICES - 1) {
        return; /* that one is only ever refused */
    } else if (m->channel == 0 || what < 3) {
        connect_device(d);
    } else {
        m->last = endings[rnd(3)];
        add_event(d, m->channel, m->connected_us, m->last, 0);
        m->channel = 0;
    }
}

static bool model_match(const struct model_event *e, const struct trace_query *q, int d)
{
    bool fleet = d < 0;
    return (fleet || e->device == d) && e->time_us >= q->begin_us && e->time_us < q->end_us &&
           (q->cause < 0 || (int)e->cause == q->cause) &&
           (q->action < 0 || (int)cause_info(e->cause)->action == q->action);
}

/* All pages of a query against the model. */
static void check_query(struct trace_query q, int d)
{
    uint64_t expected = 0;
    for (size_t i = 0; i < event_n; i++) {
        expected += model_match(&events[i], &q, d);
    }
    size_t at = q.ascending ? 0 : event_n;
    uint64_t seen = 0;
    uint64_t last_seq = q.ascending ? 0 : UINT64_MAX;
    do {
        struct trace_page p;
        assert_int_equal(trace_query(fx.trace, &q, &p), 0);
        assert_int_equal(p.total, expected);
        assert_true(p.complete);
        assert_true(p.count <= q.limit);
        for (size_t i = 0; i < p.count; i++) {
            const struct record *r = &p.rows[i];
            assert_true(q.ascending ? r->seq > last_seq : r->seq < last_seq);
            last_seq = r->seq;
            size_t uid = fx_uid(r);
            assert_true(uid < event_n);
            assert_true(model_match(&events[uid], &q, d));
            assert_int_equal(events[uid].time_us, r->time_us);
            assert_true(slice_eq(r->client_id, slice_str(devices[events[uid].device].name)));
            assert_true(slice_eq(r->node, slice_str("n1")));
            if (d >= 0) { /* one loop: in the order of emission, none left out */
                assert_true(q.ascending ? uid + 1 > at : uid < at);
                for (size_t k = q.ascending ? at : uid + 1; k < (q.ascending ? uid : at); k++) {
                    assert_false(model_match(&events[k], &q, d));
                }
                at = q.ascending ? uid + 1 : uid;
            }
        }
        seen += p.count;
        q.cursor = p.next_cursor;
        trace_page_fini(&p);
    } while (q.cursor != 0);
    assert_int_equal(seen, expected);
}

static void random_queries(int n)
{
    uint64_t first = events[0].time_us;
    for (int i = 0; i < n; i++) {
        bool fleet = i % 10 == 9;
        int d = fleet ? -1 : (int)rnd(DEVICES);
        struct trace_query q = fx_query(fleet ? "" : devices[d].name);
        uint64_t span = now_us - first + 1;
        q.begin_us = first + rnd(span);
        q.end_us = q.begin_us + rnd(span);
        if (i % 4 == 0) {
            q.begin_us = 0;
            q.end_us = fx.opt.limits.max_range_ms * 1000;
        }
        q.ascending = rnd(2) == 0;
        q.limit = (uint32_t)(1 + rnd(fleet ? 1000 : 90));
        q.action = rnd(4) == 0 ? ACTION_CLOSE : -1;
        q.cause = rnd(4) == 0 ? (int)CAUSE_PEER_FIN : -1;
        check_query(q, d);
    }
}

static void check_statuses(void)
{
    uint64_t online = 0;
    for (int d = 0; d < DEVICES; d++) {
        const struct model_device *m = &devices[d];
        struct trace_status s;
        int rc = trace_status(fx.trace, slice_str("mqtt-local"), slice_str(m->name), &s);
        assert_int_equal(rc, m->known ? 0 : -ENOENT);
        if (rc < 0) {
            continue;
        }
        assert_int_equal(s.online, m->channel != 0);
        if (s.online) {
            assert_int_equal(get_be64(s.channel), m->channel);
            online++;
        } else {
            assert_int_equal(s.last.cause, m->last);
        }
        assert_int_equal(s.connected_at_us, m->connected_us);
        trace_status_fini(&s);
    }
    assert_int_equal(trace_online(fx.trace, slice_str("mqtt-local")), online);
    struct trace_stats st;
    trace_stats(fx.trace, &st);
    assert_int_equal(st.open, online);
}

static void check_devices(int online, const char *prefix, const char *group, uint32_t limit)
{
    struct trace_devices_query q = {.instance = slice_str("mqtt-local"),
                                    .prefix = slice_str(prefix),
                                    .group = slice_str(group),
                                    .online = online,
                                    .limit = limit};
    uint64_t expected = 0;
    for (int d = 0; d < DEVICES; d++) {
        const struct model_device *m = &devices[d];
        bool in_group = *group == '\0' || strncmp(m->name, group, strlen(group)) == 0;
        expected += m->known && strncmp(m->name, prefix, strlen(prefix)) == 0 && in_group &&
                    (online < 0 || online == (m->channel != 0));
    }
    char last[64] = "";
    uint64_t seen = 0;
    bool more;
    do {
        struct trace_devices p;
        q.cursor = slice_str(last);
        assert_int_equal(trace_devices(fx.trace, &q, &p), 0);
        assert_int_equal(p.total, expected);
        for (size_t i = 0; i < p.count; i++) {
            struct slice id = p.items[i].last.client_id;
            assert_true(slice_cmp(id, slice_str(last)) > 0);
            (void)snprintf(last, sizeof last, "%.*s", (int)id.n, (const char *)id.p);
            assert_true(online < 0 || online == p.items[i].online);
        }
        seen += p.count;
        more = p.more;
        trace_devices_fini(&p);
    } while (more);
    assert_int_equal(seen, expected);
}

static void check_everything(int queries)
{
    fx_settle(&fx);
    random_queries(queries);
    check_statuses();
    check_devices(-1, "", "", 5);
    check_devices(1, "", "", 3);
    check_devices(0, "GID_a@@@dev1", "", 100);
    check_devices(-1, "", "GID_b", 2);
}

static void test_random(void **state)
{
    (void)state;
    fx_init(&fx, 2, 512 << 10);
    fx_open(&fx);
    now_us = clock_wall_us() - UINT64_C(12) * 3600 * 1000000;
    for (int d = 0; d < DEVICES; d++) {
        (void)snprintf(devices[d].name, sizeof devices[d].name, "GID_%c@@@dev%d",
                       d % 3 == 0 ? 'b' : 'a', d);
        if (d % 4 == 1) { /* names that begin alike, and end there */
            (void)snprintf(devices[d].name, sizeof devices[d].name, "GID_a@@@dev1%.*s", d,
                           "xxxxxxxxxxxxxxxxxxxxxxxx");
        }
    }
    for (int i = 0; i < EVENTS; i++) {
        random_event();
        if (i % 3000 == 1500) {
            clock_wall_shift(i % 2000 == 0 ? -3600000000 : 3600000000); /* a new segment */
        }
        if (i % 2500 == 2499) {
            check_everything(INSTANCE_QUERIES);
        }
        if (i % 100 == 99) {
            fx_nap(1); /* several commits */
        }
    }
    uint64_t rows;
    fx_settle(&fx);
    assert_true(fx_segments(&fx, &rows) > 2);
    assert_true(rows > 0);
    for (int d = 0; d < DEVICES; d++) { /* as the server does before a clean stop */
        if (devices[d].channel != 0) {
            now_us++;
            add_event(d, devices[d].channel, devices[d].connected_us, CAUSE_SERVER_SHUTDOWN, 0);
            devices[d].channel = 0;
            devices[d].last = CAUSE_SERVER_SHUTDOWN;
        }
    }
    check_everything(INSTANCE_QUERIES);
    uint64_t seq = trace_last_seq(fx.trace);
    assert_int_equal(seq, event_n);
    fx_close(&fx);
    fx_open(&fx);
    assert_int_equal(trace_last_seq(fx.trace), seq);
    check_everything(INSTANCE_QUERIES);
    fx_fini(&fx);
}

static void test_range_and_open(void **state)
{
    (void)state;
    fx_init(&fx, 1, 1 << 20);
    fx.opt.limits.max_range_ms = 86400000;
    fx_open(&fx);
    uint64_t t0 = clock_wall_us() - UINT64_C(20) * 3600 * 1000000;
    struct ev e = {.client = "d", .channel = 7, .time_us = t0, .cause = CAUSE_ACCEPTED_NEW};
    fx_emit(&fx, 0, &e);
    fx_settle(&fx);
    struct trace_query q = fx_query("d");
    struct trace_page p;
    q.begin_us = t0;
    q.end_us = t0 + UINT64_C(86400) * 1000000 + 1;
    assert_int_equal(trace_query(fx.trace, &q, &p), -EINVAL);
    q.end_us = t0 - 1;
    assert_int_equal(trace_query(fx.trace, &q, &p), -EINVAL);
    q.begin_us = q.end_us = t0;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_int_equal(p.total, 0);
    trace_page_fini(&p);

    q.begin_us = t0 + 1000000; /* open all through */
    q.end_us = t0 + 2000000;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_int_equal(p.count, 0);
    assert_true(p.has_open);
    assert_int_equal(get_be64(p.open_channel), 7);
    assert_int_equal(p.open_since_us, t0);
    trace_page_fini(&p);

    e = (struct ev){.client = "d",
                    .channel = 7,
                    .time_us = t0 + 3000000,
                    .connected_us = t0,
                    .cause = CAUSE_PEER_FIN};
    fx_emit(&fx, 0, &e);
    fx_settle(&fx);
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_true(p.has_open); /* told by its ending */
    trace_page_fini(&p);
    q.begin_us = t0 + 4000000;
    q.end_us = t0 + 5000000;
    assert_int_equal(trace_query(fx.trace, &q, &p), 0);
    assert_false(p.has_open);
    trace_page_fini(&p);

    assert_int_equal(trace_follow(fx.trace, slice_str("mqtt-local"), slice_str("d"), 1, 10, &p), 0);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.rows[0].seq, 2);
    trace_page_fini(&p);
    assert_int_equal(trace_follow(fx.trace, slice_str("mqtt-local"), slice_str(""), 0, 1, &p), 0);
    assert_int_equal(p.count, 1);
    assert_int_equal(p.next_cursor, 1);
    trace_page_fini(&p);
    assert_int_equal(trace_follow(fx.trace, slice_str("other"), slice_str(""), 0, 10, &p), 0);
    assert_int_equal(p.count, 0);
    trace_page_fini(&p);
    fx_fini(&fx);
}

/* A quiet fleet: every commit holds one record, so blocks are as small as can be. */
static void test_fleet_of_lonely_records(void **state)
{
    (void)state;
    enum { RECORDS = 200, MINUTE = 60000000 };
    fx_init(&fx, 1, 1 << 20);
    fx_open(&fx);
    uint64_t t0 = clock_wall_us() - UINT64_C(4) * 3600 * 1000000;
    for (unsigned i = 0; i < RECORDS; i++) {
        struct ev e = {.client = "d",
                       .channel = i + 1,
                       .time_us = t0 + (uint64_t)i * MINUTE,
                       .cause = CAUSE_ACCEPTED_NEW};
        fx_emit(&fx, 0, &e);
        fx_settle(&fx);
    }
    for (unsigned n = 1; n < RECORDS; n++) {
        struct trace_query q = fx_query("");
        struct trace_page p;
        q.begin_us = t0;
        q.end_us = t0 + (uint64_t)n * MINUTE;
        q.limit = RECORDS;
        for (int ascending = 0; ascending < 2; ascending++) {
            q.ascending = ascending == 1;
            assert_int_equal(trace_query(fx.trace, &q, &p), 0);
            assert_int_equal(p.count, n);
            trace_page_fini(&p);
        }
    }
    fx_fini(&fx);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_range_and_open),
        cmocka_unit_test(test_fleet_of_lonely_records),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
