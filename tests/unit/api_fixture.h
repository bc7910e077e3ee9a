/*
 * The real API over a real trace store in a temporary folder, with auth over memory and a server that only
 * counts what it is told; and an HTTP client (libcurl) that is short to use.
 */
#ifndef TMQ_TESTS_API_FIXTURE_H
#define TMQ_TESTS_API_FIXTURE_H

#include <curl/curl.h>
#include <ftw.h>
#include <jansson.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/auth.h"
#include "auth_memory.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/reload_control.h"
#include "server/server.h"
#include "store/store.h"
#include "trace/trace.h"

/* ---- a server that counts ---- */

struct server {
    _Atomic bool ready;
    _Atomic unsigned changes; /* calls of server_settings_changed() */
    char kicked[256], kicked_by[320];
};

static struct server fake_server;

void server_stats(struct server *s, struct server_stats *out)
{
    (void)s;
    *out = (struct server_stats){.n = {.clients = 3, .publish_in = {10, 7, 0}}, .uptime_ms = 1234};
}

bool server_loop(const struct server *s, unsigned i, struct server_loop *out)
{
    (void)s;
    *out = (struct server_loop){.rounds = 9, .busy_ms = 1500};
    return i < 2;
}

const struct server_listener_info *server_listener(const struct server *s, unsigned i)
{
    static const struct server_listener_info info = {
        .name = "mqtt", .protocol = "mqtt", .address = "127.0.0.1:1883"};
    (void)s;
    return i == 0 ? &info : NULL;
}

int64_t server_certificate_end(struct server *s, unsigned i)
{
    (void)s;
    (void)i;
    return 0;
}

bool server_ready(const struct server *s)
{
    return s->ready;
}

int server_kick(struct server *s, struct slice instance, struct slice client_id, const char *by)
{
    (void)instance;
    if (slice_eq(client_id, slice_str("stuck"))) {
        return -ETIMEDOUT;
    }
    if (!slice_eq(client_id, slice_str("GID_t@@@on/line"))) {
        return -ENOENT;
    }
    (void)snprintf(s->kicked, sizeof s->kicked, "%.*s", (int)client_id.n,
                   (const char *)client_id.p);
    (void)snprintf(s->kicked_by, sizeof s->kicked_by, "%s", by);
    return 0;
}

void server_settings_changed(struct server *s)
{
    s->changes++;
}

/* One value of each kind; `bad` has an error instead. */
struct reload {
    bool bad;
    unsigned runs;
};

static struct reload fake_reload;

int reload_run(struct reload *r, struct reload_report *out)
{
    static struct config_change changes[] = {{"log_level", true, "info", "debug"},
                                             {"mqtt", false, "127.0.0.1:1883", "0.0.0.0:1883"}};
    *out = (struct reload_report){.changes = changes, .count = r->bad ? 0 : 2};
    (void)snprintf(out->error, sizeof out->error, "%s",
                   r->bad ? "/etc/t.yaml:3: key \"loops\": expected a number, got \"x\"" : "");
    r->runs++;
    return r->bad ? -1 : 0;
}

struct reload_last reload_last(const struct reload *r)
{
    return (struct reload_last){.good = !r->bad, .good_us = 1};
}

void reload_report_fini(struct reload_report *report)
{
    (void)report;
}

/* ---- all of it ---- */

struct fixture {
    char dir[64];
    struct memory settings;
    struct store *store;
    struct trace *trace;
    struct auth *auth;
    struct auth_bootstrap boot;
    struct api *api;
    uint64_t emitted;
};

static struct fixture fx;

static inline void open_store(void)
{
    struct store_error err = {{0}};
    (void)snprintf(fx.dir, sizeof fx.dir, "/tmp/tracemq-api-XXXXXX");
    assert_non_null(mkdtemp(fx.dir));
    struct store_options so = {.dir = fx.dir, .memory_bytes = 32 << 20, .reserve_bytes = 1 << 20};
    assert_int_equal(store_open(&fx.store, &so, &err), 0);
    struct trace_options to = {
        .enabled = true,
        .loops = 1,
        .node = "node-1",
        .ring_dir = fx.dir,
        .memory_bytes = 16 << 20,
        .commit_interval_ms = 5,
        .limits.fsync_interval_ms = 1000,
        .limits.retention_ms = 7 * 86400000ULL,
        .limits.fleet_retention_ms = 7 * 86400000ULL,
        .refused_bytes = 16 << 20,
        .limits.max_range_ms = 86400000,
    };
    assert_int_equal(trace_open(&fx.trace, fx.store, &to, &err), 0);
}

static inline void start_api(unsigned max_streams)
{
    char err[256];
    struct api_options o = {
        .address = "127.0.0.1:0",
        .region = "local",
        .max_connections = 256,
        .max_streams = max_streams,
        .auth = fx.auth,
        .trace = fx.trace,
        .server = &fake_server,
        .reload = &fake_reload,
    };
    assert_int_equal(api_start(&fx.api, &o, err, sizeof err), 0);
}

static inline int fixture_setup(void **state)
{
    struct auth_error err;
    (void)state;
    log_set_level(LOG_ERROR);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    open_store();
    struct auth_options ao = {.io = memory_io(&fx.settings)};
    assert_int_equal(auth_open(&fx.auth, &ao, &err), 0);
    auth_bootstrap(fx.auth, &fx.boot);
    fake_server.ready = true;
    start_api(8);
    return 0;
}

static inline int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw)
{
    (void)st;
    (void)flag;
    (void)ftw;
    return remove(path);
}

static inline int fixture_teardown(void **state)
{
    (void)state;
    api_stop(fx.api);
    auth_close(fx.auth);
    trace_close(fx.trace);
    store_close(fx.store);
    memory_fini(&fx.settings);
    (void)nftw(fx.dir, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
    curl_global_cleanup();
    return 0;
}

/* ---- records ---- */

static inline struct record some_record(const char *client_id, enum cause cause, uint8_t channel)
{
    struct record r = {.time_us = clock_wall_us(), .cause = cause, .transport = TRANSPORT_TCP};
    r.protocol = 4;
    r.keepalive = 60;
    memset(r.channel, channel, sizeof r.channel);
    r.instance = slice_str(fx.boot.instance_id);
    r.client_id = slice_str(client_id);
    r.peer = slice_str("10.0.0.7:1234");
    r.listener = slice_str("mqtt");
    return r;
}

static inline void emit(const struct record *r)
{
    while (!trace_emit(fx.trace, 0, r)) {
        (void)usleep(1000);
    }
    fx.emitted++;
}

/* A session from its connect to its end. */
static inline void emit_session(const char *client_id, enum cause end, uint8_t channel)
{
    struct record r = some_record(client_id, CAUSE_ACCEPTED_NEW, channel);
    emit(&r);
    struct record close = some_record(client_id, end, channel);
    close.connected_at_us = r.time_us;
    emit(&close);
}

/* All that was emitted can be seen. */
static inline void wait_visible(void)
{
    uint64_t until = clock_mono_ms() + 60000;
    while (trace_last_seq(fx.trace) < fx.emitted) {
        assert_true(clock_mono_ms() < until);
        (void)usleep(1000);
    }
}

/* ---- the client ---- */

struct call {
    const char *method, *path, *body; /* GET without body by default */
    const char *token;                /* NULL: the API token; "": none */
    const char *cookie;
    const char *type;       /* of the body; NULL: application/json */
    const char *headers[4]; /* more of them */
    size_t body_n;          /* 0: strlen */
};

struct answer {
    long status;
    struct buf body, head;
    json_t *json; /* NULL when the body is none */
};

static inline size_t on_bytes(char *p, size_t size, size_t n, void *arg)
{
    buf_put(arg, p, size * n);
    return size * n;
}

static inline struct curl_slist *call_headers(const struct call *c)
{
    char line[512];
    struct curl_slist *list = NULL;
    if (c->token == NULL || c->token[0] != '\0') {
        (void)snprintf(line, sizeof line, "Authorization: Bearer %s",
                       c->token == NULL ? fx.boot.api_token : c->token);
        list = curl_slist_append(list, line);
    }
    if (c->cookie != NULL) {
        (void)snprintf(line, sizeof line, "Cookie: %s", c->cookie);
        list = curl_slist_append(list, line);
    }
    list = curl_slist_append(list, "Expect:");
    if (c->body != NULL) {
        (void)snprintf(line, sizeof line, "Content-Type: %s",
                       c->type == NULL ? "application/json" : c->type);
        list = curl_slist_append(list, line);
    }
    for (size_t i = 0; i < 4 && c->headers[i] != NULL; i++) {
        list = curl_slist_append(list, c->headers[i]);
    }
    return list;
}

static inline CURL *call_open(const struct call *c, struct curl_slist *headers)
{
    char url[8192];
    const char *method = c->method == NULL ? "GET" : c->method;
    CURL *h = curl_easy_init();
    (void)snprintf(url, sizeof url, "http://%s%s", api_address(fx.api), c->path);
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_NOPROXY, "*");
    curl_easy_setopt(h, CURLOPT_TIMEOUT, 60L);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_bytes);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_bytes);
    curl_easy_setopt(h, CURLOPT_CUSTOMREQUEST, method);
    if (strcmp(method, "HEAD") == 0) {
        curl_easy_setopt(h, CURLOPT_NOBODY, 1L);
    }
    if (c->body != NULL) {
        size_t n = c->body_n == 0 ? strlen(c->body) : c->body_n;
        curl_easy_setopt(h, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)n);
        curl_easy_setopt(h, CURLOPT_POSTFIELDS, c->body);
    }
    return h;
}

static inline void answer_fini(struct answer *a)
{
    json_decref(a->json);
    buf_fini(&a->body);
    buf_fini(&a->head);
    *a = (struct answer){0};
}

/* Makes the call into `*a`, whatever was in it before. */
static inline void perform(struct answer *a, const struct call *c)
{
    answer_fini(a);
    struct curl_slist *headers = call_headers(c);
    CURL *h = call_open(c, headers);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, &a->body);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, &a->head);
    CURLcode code = curl_easy_perform(h);
    if (code != CURLE_OK) {
        fail_msg("%s: %s", c->path, curl_easy_strerror(code));
    }
    curl_easy_getinfo(h, CURLINFO_RESPONSE_CODE, &a->status);
    curl_easy_cleanup(h);
    curl_slist_free_all(headers);
    buf_put_u8(&a->head, 0);
    a->json = json_loadb((const char *)a->body.p, buf_len(&a->body), 0, NULL);
}

#define CALL(a, ...) perform((a), &(struct call){__VA_ARGS__})

static inline bool has_header(const struct answer *a, const char *line)
{
    return strcasestr((const char *)a->head.p, line) != NULL;
}

static inline const char *text_in(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s == NULL ? "(none)" : s;
}

static inline json_int_t int_in(const json_t *o, const char *name)
{
    return json_integer_value(json_object_get(o, name));
}

/* The answer is this problem, and says so in all its members. */
static inline void expect_problem(const struct answer *a, long status, const char *field,
                                  const char *part)
{
    if (a->status != status || a->json == NULL) {
        fail_msg("status %ld, expected %ld: %.*s", a->status, status, (int)buf_len(&a->body),
                 (const char *)a->body.p);
    }
    assert_true(has_header(a, "Content-Type: application/problem+json"));
    assert_int_equal(int_in(a->json, "status"), status);
    assert_string_equal(text_in(a->json, "type"), "about:blank");
    assert_string_equal(text_in(a->json, "field"), field == NULL ? "(none)" : field);
    if (strstr(text_in(a->json, "detail"), part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", text_in(a->json, "detail"), part);
    }
}

#endif
