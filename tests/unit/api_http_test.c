/* The HTTP API as its clients see it: each endpoint, each error, who may ask. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include "api_fixture.h"

#define I "/api/v1/instances/mqtt-local"

static struct answer a;

static int clear_answer(void **state)
{
    (void)state;
    answer_fini(&a);
    return 0;
}

static const json_t *item(size_t i)
{
    const json_t *v = json_array_get(json_object_get(a.json, "items"), i);
    assert_non_null(v);
    return v;
}

static size_t items(void)
{
    return json_array_size(json_object_get(a.json, "items"));
}

/* ---- health, who may ask, what is where ---- */

static void health_needs_no_token(void **state)
{
    (void)state;
    CALL(&a, .path = "/healthz", .token = "");
    assert_int_equal(a.status, 200);
    assert_string_equal(text_in(a.json, "status"), "ok");
    CALL(&a, .path = "/readyz", .token = "");
    assert_string_equal(text_in(a.json, "status"), "ready");
    fake_server.ready = false;
    CALL(&a, .path = "/readyz", .token = "");
    assert_int_equal(a.status, 503);
    assert_string_equal(text_in(a.json, "status"), "starting");
    CALL(&a, .path = I);
    expect_problem(&a, 503, NULL, "starting");
    CALL(&a, .path = "/healthz", .token = "");
    assert_int_equal(a.status, 200);
    fake_server.ready = true;
}

static void metrics_are_prometheus_text(void **state)
{
    (void)state;
    CALL(&a, .path = "/metrics", .token = "");
    assert_int_equal(a.status, 200);
    assert_true(has_header(&a, "Content-Type: text/plain; version=0.0.4"));
    buf_put_u8(&a.body, 0);
    const char *text = (const char *)a.body.p;
    assert_non_null(strstr(text, "# TYPE tracemq_publish_received_total counter\n"
                                 "tracemq_publish_received_total{qos=\"0\"} 10\n"
                                 "tracemq_publish_received_total{qos=\"1\"} 7\n"));
    assert_non_null(strstr(text, "\ntracemq_loop_busy_seconds_total{loop=\"1\"} 1.500000\n"));
    assert_non_null(strstr(text, "\ntracemq_uptime_seconds 1.234000\n"));
    assert_non_null(strstr(text, "\ntracemq_trace_records_total "));
    assert_non_null(strstr(text, "\ntracemq_ready 1\n"));
}

static void a_token_is_needed(void **state)
{
    static const char *const bad[] = {"", "wrong", "x y"};
    (void)state;
    for (size_t i = 0; i < 3; i++) {
        CALL(&a, .path = I "/devices", .token = bad[i]);
        expect_problem(&a, 401, NULL, "token");
        assert_true(has_header(&a, "WWW-Authenticate: Bearer"));
    }
    CALL(&a, .path = I, .token = "", .headers = {"Authorization: Basic YTpi"});
    expect_problem(&a, 401, NULL, "token");
    CALL(&a, .path = I, .token = "", .cookie = "tracemq_session=0000");
    expect_problem(&a, 401, NULL, "token");
    CALL(&a, .path = "/api/v1/me");
    assert_string_equal(text_in(a.json, "user"), "api-token");
}

static void what_is_not_there_is_said(void **state)
{
    (void)state;
    CALL(&a, .path = "/api/v1/nothing");
    expect_problem(&a, 404, NULL, "/api/v1/nothing");
    CALL(&a, .path = "/api/v1/instances/other/devices");
    expect_problem(&a, 404, "instance", "other");
    CALL(&a, .path = I "/devices", .method = "POST");
    expect_problem(&a, 405, NULL, "POST");
    assert_true(has_header(&a, "Allow: GET, HEAD\r\n"));
    CALL(&a, .path = I "/groups", .method = "PATCH");
    assert_true(has_header(&a, "Allow: GET, HEAD, POST\r\n"));
    CALL(&a, .path = I "/devices?fooo=1");
    expect_problem(&a, 400, "fooo", "fooo");
    CALL(&a, .path = I "/devices/a%zz");
    expect_problem(&a, 400, NULL, "percent");
}

static void head_has_no_body(void **state)
{
    (void)state;
    CALL(&a, .path = "/", .method = "HEAD", .token = "");
    assert_int_equal(a.status, 200);
    assert_int_equal(buf_len(&a.body), 0);
    CALL(&a, .path = I, .method = "HEAD");
    assert_int_equal(a.status, 200);
}

static void regions_and_instances(void **state)
{
    (void)state;
    CALL(&a, .path = "/api/v1/regions");
    assert_int_equal(a.status, 200);
    assert_string_equal(text_in(item(0), "id"), "local");
    assert_true(json_is_null(json_object_get(a.json, "next")));
    CALL(&a, .path = "/api/v1/instances");
    assert_int_equal(int_in(a.json, "total"), 1);
    CALL(&a, .path = I);
    assert_string_equal(text_in(a.json, "id"), "mqtt-local");
    assert_string_equal(text_in(a.json, "status"), "running");
    assert_int_equal(int_in(a.json, "devicesOnline"), 3);
    const json_t *e = json_array_get(json_object_get(a.json, "endpoints"), 0);
    assert_string_equal(text_in(e, "address"), "127.0.0.1:1883");
    assert_string_equal(text_in(json_object_get(a.json, "settings"), "client_id"), "any");
}

/* ---- history ---- */

#define PAGED I "/devices/GID_t%40%40%40paged%2F1/trace"
enum { PAGED_SESSIONS = 125 };

static void follow_pages(const char *order, unsigned limit, json_int_t *seqs, size_t *n)
{
    char path[256], cursor[64] = "";
    *n = 0;
    for (;;) {
        (void)snprintf(path, sizeof path, "%s?order=%s&limit=%u%s", PAGED, order, limit, cursor);
        CALL(&a, .path = path);
        assert_int_equal(a.status, 200);
        assert_int_equal(int_in(a.json, "total"), 2 * PAGED_SESSIONS);
        for (size_t i = 0; i < items(); i++) {
            seqs[(*n)++] = int_in(item(i), "seq");
        }
        if (json_is_null(json_object_get(a.json, "next"))) {
            return;
        }
        assert_int_equal(items(), limit);
        (void)snprintf(cursor, sizeof cursor, "&cursor=%s", text_in(a.json, "next"));
    }
}

static void a_trace_is_paged_to_its_end(void **state)
{
    static json_int_t seqs[4 * PAGED_SESSIONS];
    size_t n = 0;
    (void)state;
    for (int i = 0; i < PAGED_SESSIONS; i++) {
        emit_session("GID_t@@@paged/1", i % 5 == 0 ? CAUSE_PEER_FIN : CAUSE_CLIENT_NORMAL,
                     (uint8_t)i);
    }
    wait_visible();
    follow_pages("desc", 100, seqs, &n);
    assert_int_equal(n, 2 * PAGED_SESSIONS);
    for (size_t i = 1; i < n; i++) {
        assert_true(seqs[i] < seqs[i - 1]);
    }
    follow_pages("asc", 7, seqs, &n);
    assert_int_equal(n, 2 * PAGED_SESSIONS);
    for (size_t i = 1; i < n; i++) {
        assert_true(seqs[i] > seqs[i - 1]);
    }
    follow_pages("asc", 125, seqs, &n);
    assert_int_equal(n, 2 * PAGED_SESSIONS);
}

static void a_trace_is_newest_first_and_whole(void **state)
{
    (void)state;
    CALL(&a, .path = PAGED);
    assert_string_equal(text_in(a.json, "clientId"), "GID_t@@@paged/1");
    assert_int_equal(items(), 100);
    assert_true(json_is_true(json_object_get(a.json, "complete")));
    assert_int_equal(json_array_size(json_object_get(a.json, "gaps")), 0);
    assert_int_equal(int_in(a.json, "end") - int_in(a.json, "begin"), 86400000);
    assert_string_equal(text_in(item(0), "action"), "disconnect");
    assert_string_equal(text_in(item(0), "description"), "disconnected by client");
    assert_string_equal(text_in(item(0), "group"), "GID_t");
    assert_string_equal(text_in(item(0), "device"), "paged/1");
    assert_true(int_in(item(0), "connectedAt") > 0);
    assert_true(has_header(&a, "Cache-Control: no-store"));
}

static void a_trace_is_filtered(void **state)
{
    (void)state;
    CALL(&a, .path = PAGED "?cause=peer.fin&limit=1000");
    assert_int_equal(items(), PAGED_SESSIONS / 5);
    assert_int_equal(int_in(a.json, "total"), PAGED_SESSIONS / 5);
    CALL(&a, .path = PAGED "?action=connect&limit=1000");
    assert_int_equal(items(), PAGED_SESSIONS);
    CALL(&a, .path = PAGED "?action=connect&cause=peer.fin");
    assert_int_equal(items(), 0);
    assert_true(json_is_null(json_object_get(a.json, "next")));
    CALL(&a, .path = PAGED "?begin=0&end=1");
    assert_int_equal(items(), 0);
    assert_int_equal(int_in(a.json, "total"), 0);
    CALL(&a, .path = I "/devices/never%20seen/trace");
    assert_int_equal(a.status, 200);
    assert_int_equal(items(), 0);
    assert_string_equal(text_in(a.json, "clientId"), "never seen");
}

static void a_range_is_begin_to_before_end(void **state)
{
    char path[256];
    (void)state;
    struct record r = some_record("range", CAUSE_ACCEPTED_NEW, 1);
    emit(&r);
    wait_visible();
    CALL(&a, .path = I "/devices/range/trace");
    assert_int_equal(items(), 1);
    long long ms = (long long)int_in(item(0), "time");
    (void)snprintf(path, sizeof path, I "/devices/range/trace?begin=%lld&end=%lld", ms, ms + 1);
    CALL(&a, .path = path);
    assert_int_equal(items(), 1);
    (void)snprintf(path, sizeof path, I "/devices/range/trace?begin=%lld&end=%lld", ms - 1000, ms);
    CALL(&a, .path = path);
    assert_int_equal(items(), 0);
    /* open through a range without a row */
    (void)snprintf(path, sizeof path, I "/devices/range/trace?begin=%lld&end=%lld", ms + 10,
                   ms + 20);
    CALL(&a, .path = path);
    assert_int_equal(items(), 0);
    const json_t *open = json_object_get(a.json, "openChannel");
    assert_string_equal(text_in(open, "channelId"), "01010101010101010101010101010101");
    assert_int_equal(int_in(open, "since"), ms);
}

static void a_trace_refuses_what_it_cannot_answer(void **state)
{
    static const struct {
        const char *query, *field, *part;
    } bad[] = {
        {"begin=0&end=90000000", "end", "end - begin is 90000000 ms, at most 86400000 ms"},
        {"begin=5000&end=4000", "end", "before begin"},
        {"begin=soon", "begin", "soon"},
        {"end=2026-13-01T00:00:00Z", "end", "RFC 3339"},
        {"limit=0", "limit", "1 to 1000"},
        {"limit=1001", "limit", "1 to 1000"},
        {"order=up", "order", "asc or desc"},
        {"action=fly", "action", "connect, close or disconnect"},
        {"cause=none", "cause", "none"},
        {"cursor=x", "cursor", "next"},
        {"peer=1", "peer", "peer"},
        {"limit=5&limit=6", "limit", "twice"},
    };
    char path[256];
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)snprintf(path, sizeof path, I "/devices/x/trace?%s", bad[i].query);
        CALL(&a, .path = path);
        expect_problem(&a, 400, bad[i].field, bad[i].part);
    }
    CALL(&a, .path = "/api/v1/instances/other/devices/x/trace");
    expect_problem(&a, 404, "instance", "other");
}

static void events_are_of_the_whole_fleet(void **state)
{
    (void)state;
    struct record r = some_record("GID_fleet@@@a", CAUSE_AUTH_BAD_PASSWORD, 9);
    r.flags = RECORD_REFUSED;
    r.peer = slice_str("192.0.2.1:99");
    emit(&r);
    wait_visible();
    CALL(&a, .path = I "/events?cause=auth.bad_password");
    assert_int_equal(a.status, 200);
    assert_int_equal(items(), 1);
    assert_string_equal(text_in(item(0), "clientId"), "GID_fleet@@@a");
    CALL(&a, .path = I "/events?peer=192.0.2.&group=GID_fleet");
    assert_int_equal(items(), 1);
    CALL(&a, .path = I "/events?peer=192.0.2.&group=GID_flee");
    assert_int_equal(items(), 0);
    CALL(&a, .path = I "/events?group=GID_t&action=connect&limit=10");
    assert_int_equal(items(), 10);
    assert_false(json_is_null(json_object_get(a.json, "next")));
}

static void the_unidentified_are_apart(void **state)
{
    (void)state;
    struct record r = some_record("", CAUSE_HANDSHAKE_NOT_MQTT, 8);
    r.flags = RECORD_UNIDENTIFIED | RECORD_REFUSED;
    r.peer = slice_str("198.51.100.9:4444");
    emit(&r);
    wait_visible();
    CALL(&a, .path = I "/unidentified");
    assert_int_equal(a.status, 200);
    assert_int_equal(items(), 1);
    assert_string_equal(text_in(item(0), "cause"), "handshake.not_mqtt");
    assert_int_equal(int_in(item(0), "count"), 1);
    CALL(&a, .path = I "/events?cause=handshake.not_mqtt");
    assert_int_equal(items(), 0);
}

/* ---- devices ---- */

static void devices_have_a_status(void **state)
{
    (void)state;
    struct record r = some_record("GID_s@@@one", CAUSE_ACCEPTED_NEW, 0xab);
    emit(&r);
    emit_session("GID_s@@@two", CAUSE_KEEPALIVE_EXPIRED, 0xac);
    wait_visible();
    CALL(&a, .path = I "/devices/GID_s%40%40%40one");
    assert_int_equal(a.status, 200);
    assert_true(json_is_true(json_object_get(a.json, "online")));
    assert_string_equal(text_in(a.json, "channelId"), "abababababababababababababababab");
    assert_string_equal(text_in(a.json, "protocol"), "3.1.1");
    CALL(&a, .path = I "/devices/GID_s%40%40%40two");
    assert_true(json_is_false(json_object_get(a.json, "online")));
    assert_string_equal(text_in(a.json, "lastCause"), "keepalive.expired");
    CALL(&a, .path = I "/devices/GID_fleet%40%40%40a"); /* refused only: no device */
    expect_problem(&a, 404, "clientId", "never connected");
}

static void devices_are_listed_and_paged(void **state)
{
    char path[256];
    (void)state;
    CALL(&a, .path = I "/devices?query=GID_s%40");
    assert_int_equal(items(), 2);
    assert_int_equal(int_in(a.json, "total"), 2);
    assert_string_equal(text_in(item(0), "clientId"), "GID_s@@@one");
    CALL(&a, .path = I "/devices?group=GID_s&online=true");
    assert_int_equal(items(), 1);
    CALL(&a, .path = I "/devices?group=GID_s&online=false");
    assert_string_equal(text_in(item(0), "device"), "two");
    CALL(&a, .path = I "/devices?group=GID_s&limit=1");
    assert_int_equal(items(), 1);
    (void)snprintf(path, sizeof path, I "/devices?group=GID_s&limit=1&cursor=%s",
                   text_in(a.json, "next"));
    CALL(&a, .path = path);
    assert_string_equal(text_in(item(0), "device"), "two");
    assert_true(json_is_null(json_object_get(a.json, "next")));
    CALL(&a, .path = I "/devices?online=maybe");
    expect_problem(&a, 400, "online", "false or true");
}

static void a_reload_tells_what_it_did(void **state)
{
    (void)state;
    CALL(&a, .path = "/api/v1/config/reload", .method = "POST");
    assert_int_equal(a.status, 200);
    const json_t *applied = json_array_get(json_object_get(a.json, "applied"), 0);
    const json_t *waits = json_array_get(json_object_get(a.json, "needsRestart"), 0);
    assert_string_equal(json_string_value(json_object_get(applied, "name")), "log_level");
    assert_string_equal(json_string_value(json_object_get(applied, "to")), "debug");
    assert_string_equal(json_string_value(json_object_get(waits, "name")), "mqtt");
    assert_string_equal(json_string_value(json_object_get(waits, "from")), "127.0.0.1:1883");
    assert_int_equal(fake_reload.runs, 1);
    fake_reload.bad = true;
    CALL(&a, .path = "/api/v1/config/reload", .method = "POST");
    fake_reload.bad = false;
    assert_int_equal(a.status, 422);
    assert_string_equal(json_string_value(json_object_get(a.json, "detail")),
                        "/etc/t.yaml:3: key \"loops\": expected a number, got \"x\"");
    CALL(&a, .path = "/api/v1/config/reload", .method = "POST", .token = "");
    assert_int_equal(a.status, 401);
    assert_int_equal(fake_reload.runs, 2);
}

static void a_kick_reaches_the_server(void **state)
{
    (void)state;
    CALL(&a, .path = I "/devices/GID_t%40%40%40on%2Fline/kick", .method = "POST");
    assert_int_equal(a.status, 204);
    assert_string_equal(fake_server.kicked, "GID_t@@@on/line");
    assert_string_equal(fake_server.kicked_by, "API token");
    CALL(&a, .path = I "/devices/off/kick", .method = "POST");
    expect_problem(&a, 404, "clientId", "not connected");
    CALL(&a, .path = I "/devices/stuck/kick", .method = "POST");
    assert_int_equal(a.status, 504);
}

/* ---- bodies ---- */

static void post(const char *path, const char *body)
{
    CALL(&a, .path = path, .method = "POST", .body = body);
}

static void bad_bodies_say_where(void **state)
{
    (void)state;
    post(I "/groups", "{\"id\": \"GID_x\"");
    expect_problem(&a, 400, NULL, "line 1, column");
    post(I "/groups", "[1]");
    expect_problem(&a, 400, NULL, "an array, expected an object");
    post(I "/groups", "{}");
    expect_problem(&a, 400, "id", "missing");
    post(I "/groups", "{\"id\": 5}");
    expect_problem(&a, 400, "id", "a number, expected a string");
    post(I "/groups", "{\"id\": \"GID_xyz1\", \"idd\": 5}");
    expect_problem(&a, 400, "idd", "no member idd");
    post(I "/groups", "{\"id\": \"GID_xyz1\", \"id\": \"GID_xyz2\"}");
    expect_problem(&a, 400, NULL, "duplicate");
    CALL(&a, .path = I "/groups", .method = "POST");
    expect_problem(&a, 400, NULL, "no body");
    post(I "/users", "{\"name\":\"u\",\"password\":\"p\",\"allow\":\"#\"}");
    expect_problem(&a, 400, "allow", "array");
    post(I "/users", "{\"name\":\"u\",\"password\":\"p\",\"allow\":[1]}");
    expect_problem(&a, 400, "allow", "allow[0]");
}

static void large_bodies_are_refused(void **state)
{
    static char big[400 * 1024];
    (void)state;
    memset(big, ' ', sizeof big);
    CALL(&a, .path = I "/groups", .method = "POST", .body = big, .body_n = 65537);
    expect_problem(&a, 413, NULL, "65536");
    CALL(&a, .path = I "/groups", .method = "POST", .body = big, .body_n = sizeof big);
    expect_problem(&a, 413, NULL, "65536");
    CALL(&a, .path = I "/groups", .method = "POST", .body = big, .body_n = 65536);
    expect_problem(&a, 400, NULL, "no JSON");
}

/* ---- administration ---- */

static void groups_and_topics(void **state)
{
    unsigned before = fake_server.changes;
    (void)state;
    post(I "/groups", "{\"id\":\"GID_admin\"}");
    assert_int_equal(a.status, 201);
    assert_string_equal(text_in(a.json, "id"), "GID_admin");
    post(I "/groups", "{\"id\":\"GID_admin\"}");
    expect_problem(&a, 409, "id", "GID_admin");
    post(I "/groups", "{\"id\":\"admin\"}");
    expect_problem(&a, 400, "id", "admin");
    CALL(&a, .path = I "/groups");
    assert_int_equal(items(), 1);
    assert_true(int_in(item(0), "createdAt") > 0);
    CALL(&a, .path = I "/groups/GID_admin", .method = "DELETE");
    assert_int_equal(a.status, 204);
    CALL(&a, .path = I "/groups/GID_admin", .method = "DELETE");
    expect_problem(&a, 404, "id", "GID_admin");
    post(I "/topics", "{\"name\":\"home\"}");
    assert_int_equal(a.status, 201);
    CALL(&a, .path = I "/topics");
    assert_string_equal(text_in(item(0), "name"), "home");
    CALL(&a, .path = I "/topics/home", .method = "DELETE");
    assert_int_equal(a.status, 204);
    assert_int_equal(fake_server.changes, before + 4);
}

static void users_and_permissions(void **state)
{
    (void)state;
    post(I "/users", "{\"name\":\"ann/1\",\"password\":\"secret-pw\",\"allow\":[\"a/#\"]}");
    assert_int_equal(a.status, 201);
    assert_int_equal(int_in(a.json, "permissions"), 1);
    post(I "/users", "{\"name\":\"ann/1\",\"password\":\"secret-pw\"}");
    expect_problem(&a, 409, "name", "ann/1");
    post(I "/users/ann%2F1/permissions",
         "{\"effect\":\"deny\",\"action\":\"publish\",\"filter\":\"a/+/x\"}");
    assert_int_equal(a.status, 201);
    post(I "/users/ann%2F1/permissions",
         "{\"effect\":\"forbid\",\"action\":\"publish\",\"filter\":\"a\"}");
    expect_problem(&a, 400, "effect", "allow, deny");
    post(I "/users/ann%2F1/permissions",
         "{\"effect\":\"deny\",\"action\":\"publish\",\"filter\":\"a/#/b\"}");
    expect_problem(&a, 400, "filter", "a/#/b");
    CALL(&a, .path = I "/users/ann%2F1/permissions");
    assert_int_equal(items(), 2);
    assert_string_equal(text_in(item(1), "effect"), "deny");
    assert_string_equal(text_in(item(1), "action"), "publish");
    CALL(&a, .path = I "/users/ann%2F1/permissions?effect=deny&action=publish&filter=a%2F%2B%2Fx",
         .method = "DELETE");
    assert_int_equal(a.status, 204);
    CALL(&a, .path = I "/users/ann%2F1/permissions?effect=deny&action=publish", .method = "DELETE");
    expect_problem(&a, 400, "filter", "missing");
    CALL(&a, .path = I "/users/nobody/permissions");
    expect_problem(&a, 404, "name", "nobody");
    CALL(&a, .path = I "/users/ann%2F1/permissions", .method = "PUT",
         .body = "{\"items\":[{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"dev/%c/#\"},"
                 "{\"effect\":\"deny\",\"action\":\"publish\",\"filter\":\"x\"}]}");
    assert_int_equal(a.status, 204);
    CALL(&a, .path = I "/users/ann%2F1/permissions");
    assert_int_equal(items(), 2);
    assert_string_equal(text_in(item(0), "filter"), "dev/%c/#");
    CALL(&a, .path = I "/users/ann%2F1/permissions", .method = "PUT", .body = "{}");
    expect_problem(&a, 400, "items", "missing");
    CALL(&a, .path = I "/users/ann%2F1/permissions", .method = "PUT", .body = "{\"items\":[1]}");
    expect_problem(&a, 400, "items", "items[0]");
    CALL(&a, .path = I "/users/ann%2F1/permissions", .method = "PUT",
         .body = "{\"items\":[{\"effect\":\"allow\",\"action\":\"all\",\"filter\":\"x\"}]}");
    expect_problem(&a, 400, "items", "items[0]: action is all");
    CALL(&a, .path = I "/users/ann%2F1/permissions", .method = "PUT",
         .body = "{\"items\":[{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"a/#/b\"}]}");
    expect_problem(&a, 400, "filter", "a/#/b");
    post(I "/users/%2A/permissions",
         "{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"all\"}");
    assert_int_equal(a.status, 201);
    CALL(&a, .path = I "/users/*/permissions");
    assert_int_equal(items(), 1);
    CALL(&a, .path = I "/users/$anonymous/permissions");
    assert_int_equal(items(), 2); /* everything, until something else is said */
    CALL(&a, .path = I "/users/$anonymous/permissions", .method = "PUT", .body = "{\"items\":[]}");
    assert_int_equal(a.status, 204);
    CALL(&a, .path = I "/users/$anonymous/permissions");
    assert_int_equal(items(), 0);
    post(I "/users", "{\"name\":\"*\",\"password\":\"secret-pw\"}");
    expect_problem(&a, 400, "name", "everyone");
    post(
        I "/users",
        "{\"name\":\"old\",\"passwordHash\":\"$6$JICuZiuIDRvivK+/$pkPr/7TAZ4xRArrO8dwhaB9uwp5uBVtfsOQNO"
        "uTqB/FGqeS14PL0z6zC7F0BwgmYn+WTweTf5KWDTJCn/GSblg==\"}");
    assert_int_equal(a.status, 201);
    post(I "/users", "{\"name\":\"bad\",\"passwordHash\":\"$1$x\"}");
    expect_problem(&a, 400, "passwordHash", "$7$");
    post(I "/users", "{\"name\":\"two\",\"passwordHash\":\"$6$x\",\"password\":\"x\"}");
    expect_problem(&a, 400, "password", "");
    CALL(&a, .path = I "/users/ann%2F1/password", .method = "PUT",
         .body = "{\"password\":\"new-pw\"}");
    assert_int_equal(a.status, 204);
    CALL(&a, .path = I "/users/nobody/password", .method = "PUT",
         .body = "{\"password\":\"new-pw\"}");
    expect_problem(&a, 404, "name", "nobody");
    CALL(&a, .path = I "/users/ann%2F1", .method = "DELETE");
    assert_int_equal(a.status, 204);
}

static void patch(const char *body)
{
    CALL(&a, .path = I, .method = "PATCH", .body = body);
}

static void settings_change_all_or_nothing(void **state)
{
    (void)state;
    patch("{\"settings\":{\"client_id\":\"grouped\",\"allow_anonymous\":true}}");
    assert_int_equal(a.status, 200);
    const json_t *s = json_object_get(a.json, "settings");
    assert_string_equal(text_in(s, "client_id"), "grouped");
    assert_true(json_is_true(json_object_get(s, "allow_anonymous")));
    patch("{\"settings\":{\"client_id\":\"any\",\"topics\":\"closed\"}}");
    expect_problem(&a, 400, "settings.topics", "open or declared");
    patch("{\"settings\":{\"allow_anonymous\":\"yes\"}}");
    expect_problem(&a, 400, "settings.allow_anonymous", "true or false");
    patch("{\"settings\":{\"colour\":\"red\"}}");
    expect_problem(&a, 400, "settings.colour", "colour");
    patch("{\"settings\":[]}");
    expect_problem(&a, 400, "settings", "an array");
    CALL(&a, .path = I);
    assert_string_equal(text_in(json_object_get(a.json, "settings"), "client_id"), "grouped");
    patch("{\"settings\":{\"client_id\":\"any\",\"allow_anonymous\":false}}");
    assert_int_equal(a.status, 200);
}

/* ---- console sessions ---- */

/* Logs in and keeps the cookie. */
static void log_in(char cookie[256])
{
    char body[512];
    (void)snprintf(body, sizeof body, "{\"user\":\"%s\",\"password\":\"%s\"}", fx.boot.console_user,
                   fx.boot.console_password);
    CALL(&a, .path = "/api/v1/login", .method = "POST", .body = body, .token = "");
    assert_int_equal(a.status, 200);
    assert_string_equal(text_in(a.json, "user"), fx.boot.console_user);
    const char *set = strstr((const char *)a.head.p, "Set-Cookie: ");
    assert_non_null(set);
    assert_non_null(strstr(set, "HttpOnly; SameSite=Strict; Path=/"));
    (void)snprintf(cookie, 256, "%.*s", (int)strcspn(set + 12, ";"), set + 12);
}

static void a_session_is_a_cookie(void **state)
{
    char cookie[256];
    (void)state;
    log_in(cookie);
    CALL(&a, .path = "/api/v1/me", .token = "", .cookie = cookie);
    assert_string_equal(text_in(a.json, "user"), fx.boot.console_user);
    CALL(&a, .path = I "/groups", .token = "", .cookie = cookie);
    assert_int_equal(a.status, 200);
    CALL(&a, .path = I "/devices/GID_t%40%40%40on%2Fline/kick", .method = "POST", .token = "",
         .cookie = cookie, .headers = {"Sec-Fetch-Site: same-origin"});
    assert_int_equal(a.status, 204);
    assert_non_null(strstr(fake_server.kicked_by, "console user "));
    CALL(&a, .path = "/api/v1/logout", .method = "POST", .token = "", .cookie = cookie);
    assert_int_equal(a.status, 204);
    assert_true(has_header(&a, "Max-Age=0"));
    CALL(&a, .path = "/api/v1/me", .token = "", .cookie = cookie);
    assert_int_equal(a.status, 401);
}

static void a_session_cannot_be_used_by_other_pages(void **state)
{
    static const char body[] = "{\"id\":\"GID_forged\"}";
    char cookie[256], origin[160];
    (void)state;
    log_in(cookie);
    CALL(&a, .path = I "/groups", .method = "POST", .body = body, .token = "", .cookie = cookie,
         .headers = {"Origin: http://evil.example"});
    expect_problem(&a, 403, NULL, "origin");
    CALL(&a, .path = I "/groups", .method = "POST", .body = body, .token = "", .cookie = cookie,
         .headers = {"Sec-Fetch-Site: cross-site"});
    expect_problem(&a, 403, NULL, "origin");
    CALL(&a, .path = I "/groups", .method = "POST", .body = body, .token = "", .cookie = cookie,
         .type = "text/plain");
    expect_problem(&a, 415, NULL, "application/json");
    (void)snprintf(origin, sizeof origin, "Origin: http://%s", api_address(fx.api));
    CALL(&a, .path = I "/groups", .method = "POST", .body = body, .token = "", .cookie = cookie,
         .headers = {origin, "Sec-Fetch-Site: same-origin"});
    assert_int_equal(a.status, 201);
    CALL(&a, .path = I "/groups/GID_forged", .method = "DELETE",
         .headers = {"Origin: http://evil.example"});
    assert_int_equal(a.status, 204); /* a bearer token cannot be forged by a page */
}

static void guessing_passwords_is_slow(void **state)
{
    static const char wrong[] = "{\"user\":\"admin\",\"password\":\"guess\"}";
    (void)state;
    for (int i = 0; i < 10; i++) {
        CALL(&a, .path = "/api/v1/login", .method = "POST", .body = wrong, .token = "");
        expect_problem(&a, 401, NULL, "user or password is wrong");
    }
    CALL(&a, .path = "/api/v1/login", .method = "POST", .body = wrong, .token = "");
    expect_problem(&a, 429, NULL, "wait a minute");
    assert_true(has_header(&a, "Retry-After: 60"));
}

/* ---- console files ---- */

static void console_files_are_served(void **state)
{
    char etag[128] = "If-None-Match: ";
    (void)state;
    CALL(&a, .path = "/", .token = "");
    assert_int_equal(a.status, 200);
    assert_true(has_header(&a, "Content-Type: text/html"));
    assert_true(has_header(&a, "Content-Security-Policy: default-src 'self'"));
    assert_true(has_header(&a, "X-Content-Type-Options: nosniff"));
    assert_true(has_header(&a, "X-Frame-Options: DENY"));
    assert_true(has_header(&a, "Cache-Control: no-cache"));
    const char *at = strcasestr((const char *)a.head.p, "ETag: ");
    assert_non_null(at);
    size_t n = strlen(etag);
    (void)snprintf(etag + n, sizeof etag - n, "%.*s", (int)strcspn(at + 6, "\r"), at + 6);
    CALL(&a, .path = "/index.html", .token = "", .headers = {etag});
    assert_int_equal(a.status, 304);
    assert_int_equal(buf_len(&a.body), 0);
    CALL(&a, .path = "/instances/mqtt-local/trace?x=1", .token = "");
    assert_int_equal(a.status, 200);
    assert_true(has_header(&a, "Content-Type: text/html"));
    CALL(&a, .path = "/assets/gone-12345678.js", .token = "");
    expect_problem(&a, 404, NULL, "no file");
    CALL(&a, .path = "/../../etc/passwd", .token = "");
    assert_true(has_header(&a, "Content-Type: text/html"));
    CALL(&a, .path = "/", .method = "POST", .body = "{}", .token = "");
    expect_problem(&a, 405, NULL, "POST");
}

/* ---- the socket ---- */

static int connect_raw(void)
{
    struct sockaddr_in sa = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sa.sin_port = htons((uint16_t)strtoul(strrchr(api_address(fx.api), ':') + 1, NULL, 10));
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void bytes_that_are_no_http_do_no_harm(void **state)
{
    static const char *const bad[] = {
        "",
        "\r\n\r\n",
        "GET\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "\x10\x0c\x00\x04MQTT",
        "POST /api/v1/login HTTP/1.1\r\nContent-Length: 9999999999999999999999\r\n\r\n{}",
        "POST /api/v1/login HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{}",
        "POST /api/v1/login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}",
        "GET /api/v1/me?a=%00%ff&&=&=b HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /%00/..%2f HTTP/1.0\r\n\r\n",
        "GET /a HTTP/1.1\r\nHost"};
    char reply[512];
    /* The library leaves a half-sent request line open until its timeout; nothing is to be read there. */
    struct timeval wait = {.tv_usec = 100000};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        int fd = connect_raw();
        assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof wait), 0);
        assert_true(send(fd, bad[i], strlen(bad[i]), MSG_NOSIGNAL) >= 0);
        assert_int_equal(shutdown(fd, SHUT_WR), 0);
        while (recv(fd, reply, sizeof reply, 0) > 0) {
        }
        (void)close(fd);
    }
    CALL(&a, .path = "/healthz");
    assert_int_equal(a.status, 200);
}

static void a_long_path_is_refused(void **state)
{
    static char path[7000];
    (void)state;
    memset(path, 'a', sizeof path - 1);
    memcpy(path, I "/devices/", strlen(I "/devices/"));
    CALL(&a, .path = path);
    assert_int_equal(a.status, 404);
}

static void descriptors_over_1024_work(void **state)
{
    static int fds[1100];
    struct rlimit lim;
    (void)state;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &lim), 0);
    lim.rlim_cur = lim.rlim_max < 4096 ? lim.rlim_max : 4096;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &lim), 0);
    for (size_t i = 0; i < 1100; i++) {
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_true(fds[i] >= 0);
    }
    CALL(&a, .path = I);
    assert_int_equal(a.status, 200);
    for (size_t i = 0; i < 1100; i++) {
        (void)close(fds[i]);
    }
}

static void an_address_that_cannot_be_had_is_named(void **state)
{
    static const char *const bad[] = {"nonsense", "127.0.0.1:", "127.0.0.1:http",
                                      "127.0.0.1:99999999"};
    struct api *other = NULL;
    char err[256] = "";
    (void)state;
    struct api_options o = {.address = api_address(fx.api), .region = "local"};
    o.auth = fx.auth;
    o.trace = fx.trace;
    o.server = &fake_server;
    assert_int_equal(api_start(&other, &o, err, sizeof err), -EADDRINUSE);
    assert_non_null(strstr(err, api_address(fx.api)));
    assert_non_null(strstr(err, "in use"));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        o.address = bad[i];
        assert_int_equal(api_start(&other, &o, err, sizeof err), -EINVAL);
        assert_non_null(strstr(err, bad[i]));
    }
    assert_null(other);
}

#define TEST(name) cmocka_unit_test_teardown(name, clear_answer)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(health_needs_no_token),
        TEST(metrics_are_prometheus_text),
        TEST(a_token_is_needed),
        TEST(what_is_not_there_is_said),
        TEST(head_has_no_body),
        TEST(regions_and_instances),
        TEST(a_trace_is_paged_to_its_end),
        TEST(a_trace_is_newest_first_and_whole),
        TEST(a_trace_is_filtered),
        TEST(a_range_is_begin_to_before_end),
        TEST(a_trace_refuses_what_it_cannot_answer),
        TEST(events_are_of_the_whole_fleet),
        TEST(the_unidentified_are_apart),
        TEST(devices_have_a_status),
        TEST(devices_are_listed_and_paged),
        TEST(a_kick_reaches_the_server),
        TEST(a_reload_tells_what_it_did),
        TEST(bad_bodies_say_where),
        TEST(large_bodies_are_refused),
        TEST(groups_and_topics),
        TEST(users_and_permissions),
        TEST(settings_change_all_or_nothing),
        TEST(a_session_is_a_cookie),
        TEST(a_session_cannot_be_used_by_other_pages),
        TEST(guessing_passwords_is_slow),
        TEST(console_files_are_served),
        TEST(bytes_that_are_no_http_do_no_harm),
        TEST(a_long_path_is_refused),
        TEST(descriptors_over_1024_work),
        TEST(an_address_that_cannot_be_had_is_named),
    };
    return cmocka_run_group_tests(tests, fixture_setup, fixture_teardown);
}
