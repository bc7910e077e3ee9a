/*
 * libcurl and jansson behind a few calls. The token of the local bootstrap.json goes to this machine only, unless
 * --data named the file: a mistyped --url must not hand it to a stranger.
 */
#include "cli/http.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/format.h"

enum { ANSWER_MAX = 256 << 20, PAGE_MAX = 1000 };

static const char default_url[] = "http://127.0.0.1:8080";

struct cli_http {
    CURL *curl;
    char *url; /* without a '/' at the end */
    char *token, *instance;
};

/* ---- where the server is ---- */

/* The bootstrap file that was found and read, or NULL; `why` says what was wrong with the last one tried. */
static json_t *read_bootstrap(const char *dir, char *why, size_t size)
{
    char path[4096];
    json_error_t e;
    (void)snprintf(path, sizeof path, "%s/bootstrap.json", dir);
    FILE *f = fopen(path, "re");
    if (f == NULL) {
        (void)snprintf(why, size, "%s: %s", path, strerror(errno));
        return NULL;
    }
    json_t *doc = json_loadf(f, 0, &e);
    (void)fclose(f);
    if (!json_is_object(doc)) {
        (void)snprintf(why, size, "%.4000s is no JSON object: %s", path, doc == NULL ? e.text : "");
        json_decref(doc);
        return NULL;
    }
    return doc;
}

static json_t *find_bootstrap(const char *data, char *why, size_t size)
{
    if (data != NULL) {
        return read_bootstrap(data, why, size);
    }
    json_t *doc = read_bootstrap("data", why, size);
    return doc != NULL ? doc : read_bootstrap("/var/lib/tracemq", why, size);
}

static const char *first(const char *a, const char *b)
{
    return a != NULL && *a != '\0' ? a : (b != NULL && *b != '\0' ? b : NULL);
}

static const char *member(const json_t *doc, const char *name)
{
    return json_string_value(json_object_get(doc, name));
}

/* Whether the URL's host is this machine. */
static bool is_local(const char *url)
{
    CURLU *u = curl_url();
    char *host = NULL;
    bool local = false;
    if (u != NULL && curl_url_set(u, CURLUPART_URL, url, CURLU_DEFAULT_SCHEME) == CURLUE_OK &&
        curl_url_get(u, CURLUPART_HOST, &host, 0) == CURLUE_OK) {
        local = strcmp(host, "localhost") == 0 || strncmp(host, "127.", 4) == 0 ||
                strcmp(host, "[::1]") == 0;
    }
    curl_free(host);
    curl_url_cleanup(u);
    return local;
}

static char *copy_url(const char *url)
{
    size_t n = strlen(url);
    while (n > 0 && url[n - 1] == '/') {
        n--;
    }
    return mem_strndup(url, n);
}

static char *copy(const char *s)
{
    return mem_strndup(s, strlen(s));
}

struct cli_http *cli_http_new(const struct cli_args *args)
{
    char why[4400] = "";
    json_t *boot = find_bootstrap(args->value[OPT_DATA], why, sizeof why);
    const char *url = first(args->value[OPT_URL], getenv("TRACEMQ_URL"));
    url = first(url, member(boot, "url"));
    url = url == NULL ? default_url : url;
    const char *token = first(args->value[OPT_TOKEN], getenv("TRACEMQ_TOKEN"));
    if (token == NULL && (args->value[OPT_DATA] != NULL || is_local(url))) {
        token = member(boot, "api_token");
    }
    struct cli_http *h = NULL;
    if (token == NULL) {
        (void)fprintf(stderr,
                      "tracemq: no API token: give --token or TRACEMQ_TOKEN, or --data DIR%s%s%s\n",
                      why[0] == '\0' ? "" : " (", why, why[0] == '\0' ? "" : ")");
    } else {
        const char *instance = first(args->value[OPT_INSTANCE], member(boot, "instance_id"));
        h = mem_new(1, sizeof *h);
        h->url = copy_url(url);
        h->token = copy(token);
        h->instance = copy(instance == NULL ? "mqtt-local" : instance);
    }
    json_decref(boot);
    return h;
}

void cli_http_free(struct cli_http *h)
{
    if (h == NULL) {
        return;
    }
    curl_easy_cleanup(h->curl);
    free(h->url);
    free(h->token);
    free(h->instance);
    free(h);
}

const char *cli_http_instance(const struct cli_http *h)
{
    return h->instance;
}

/* ---- paths ---- */

void cli_path_instance(const struct cli_http *h, struct buf *path)
{
    buf_put_slice(path, slice_str("/api/v1/instances"));
    cli_path_segment(path, h->instance);
}

void cli_path_segment(struct buf *path, const char *segment)
{
    buf_put_u8(path, '/');
    cli_put_percent(path, slice_str(segment));
}

void cli_path_query(struct buf *path, const char *key, const char *value)
{
    if (value == NULL) {
        return;
    }
    struct slice p = buf_slice(path);
    buf_put_u8(path, memchr(p.p, '?', p.n) == NULL ? '?' : '&');
    buf_put_slice(path, slice_str(key));
    buf_put_u8(path, '=');
    cli_put_percent(path, slice_str(value));
}

/* ---- requests ---- */

static size_t collect(char *p, size_t size, size_t n, void *arg)
{
    struct buf *b = arg;
    if (buf_len(b) + size * n > ANSWER_MAX) {
        return 0;
    }
    buf_put(b, p, size * n);
    return size * n;
}

static void prepare(struct cli_http *h, const char *method, const struct buf *path,
                    struct curl_slist *headers)
{
    struct buf url = {0};
    buf_put_slice(&url, slice_str(h->url));
    buf_put_slice(&url, buf_slice(path));
    buf_put_u8(&url, '\0');
    if (h->curl == NULL) {
        h->curl = curl_easy_init();
        assert(h->curl != NULL);
    } else {
        curl_easy_reset(h->curl);
    }
    (void)curl_easy_setopt(h->curl, CURLOPT_URL, (const char *)buf_slice(&url).p); /* copied */
    (void)curl_easy_setopt(h->curl, CURLOPT_PATH_AS_IS, 1L); /* a client ID may be ".." */
    (void)curl_easy_setopt(h->curl, CURLOPT_CUSTOMREQUEST, method);
    (void)curl_easy_setopt(h->curl, CURLOPT_HTTPHEADER, headers);
    (void)curl_easy_setopt(h->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    (void)curl_easy_setopt(h->curl, CURLOPT_CONNECTTIMEOUT, 10L);
    (void)curl_easy_setopt(h->curl, CURLOPT_USERAGENT, "tracemq/" TRACEMQ_VERSION);
    buf_fini(&url);
}

static struct curl_slist *make_headers(const struct cli_http *h, const char *more)
{
    struct buf b = {0};
    buf_put_slice(&b, slice_str("Authorization: Bearer "));
    buf_put_slice(&b, slice_str(h->token));
    buf_put_u8(&b, '\0');
    struct curl_slist *list = curl_slist_append(NULL, (const char *)buf_slice(&b).p);
    buf_fini(&b);
    list = curl_slist_append(list, "Expect:");
    return more == NULL ? list : curl_slist_append(list, more);
}

static void print_unreachable(const struct cli_http *h, CURLcode rc)
{
    const char *hint = "";
    if (rc == CURLE_COULDNT_CONNECT || rc == CURLE_COULDNT_RESOLVE_HOST) {
        hint = "; is `tracemq serve` running there? --url or TRACEMQ_URL names another address";
    }
    (void)fprintf(stderr, "tracemq: cannot reach %s: %s%s\n", h->url, curl_easy_strerror(rc), hint);
}

/* "tracemq: 400 Bad Request: end: …", from the problem document when there is one. */
static void print_problem(long status, struct slice body)
{
    json_t *doc = json_loadb((const char *)body.p, body.n, 0, NULL);
    const char *title = member(doc, "title");
    const char *field = member(doc, "field");
    const char *detail = member(doc, "detail");
    struct buf line = {0};
    char head[64];
    (void)snprintf(head, sizeof head, "%ld", status);
    buf_put_slice(&line, slice_str(head));
    if (title != NULL) {
        buf_put_u8(&line, ' ');
        cli_put_safe(&line, slice_str(title));
    }
    if (field != NULL && *field != '\0') {
        buf_put_slice(&line, slice_str(": "));
        cli_put_safe(&line, slice_str(field));
    }
    if (detail != NULL && *detail != '\0') {
        buf_put_slice(&line, slice_str(": "));
        cli_put_safe(&line, slice_str(detail));
    }
    (void)fprintf(stderr, "tracemq: %.*s\n", (int)buf_len(&line), (const char *)buf_slice(&line).p);
    buf_fini(&line);
    json_decref(doc);
}

/* The answer as a document; -1 when it is no JSON. */
static int parse_answer(struct slice body, json_t **out)
{
    json_error_t e;
    *out = body.n == 0 ? NULL : json_loadb((const char *)body.p, body.n, 0, &e);
    if (body.n > 0 && *out == NULL) {
        (void)fprintf(stderr, "tracemq: the answer is no JSON: %s\n", e.text);
        return -1;
    }
    return 0;
}

int cli_request(struct cli_http *h, const char *method, struct buf *path, json_t *body, int quiet,
                json_t **out)
{
    struct buf answer = {0};
    json_t *doc = NULL;
    char *text = body == NULL ? NULL : json_dumps(body, JSON_COMPACT);
    struct curl_slist *headers =
        make_headers(h, body == NULL ? NULL : "Content-Type: application/json");
    prepare(h, method, path, headers);
    (void)curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, collect);
    (void)curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, &answer);
    (void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, 60L);
    if (text != NULL) {
        (void)curl_easy_setopt(h->curl, CURLOPT_POSTFIELDS, text);
    }
    CURLcode rc = curl_easy_perform(h->curl);
    long status = 0;
    (void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    int result = 0;
    if (rc != CURLE_OK) {
        print_unreachable(h, rc);
        result = -1;
    } else if (status < 200 || status > 299) {
        result = status == 0 ? -1 : (int)status;
        if (result != quiet) {
            print_problem(status, buf_slice(&answer));
        }
    } else {
        result = parse_answer(buf_slice(&answer), &doc);
    }
    if (out != NULL && result == 0) {
        *out = doc;
    } else {
        json_decref(doc);
    }
    curl_slist_free_all(headers);
    free(text);
    buf_fini(&answer);
    return result;
}

/* Adds the rows of `page` to `all` and takes over its position. */
static void add_page(json_t *all, json_t *page)
{
    (void)json_array_extend(json_object_get(all, "items"), json_object_get(page, "items"));
    (void)json_object_set(all, "next", json_object_get(page, "next"));
}

/* The next page has the range of the first: `end` would move with the clock. */
static void put_range(struct buf *path, const json_t *all)
{
    static const char *const names[] = {"begin", "end"};
    for (size_t i = 0; i < 2; i++) {
        const json_t *v = json_object_get(all, names[i]);
        char text[32];
        char key[16];
        (void)snprintf(key, sizeof key, "%s=", names[i]);
        buf_put_u8(path, '\0');
        bool given = strstr((const char *)buf_slice(path).p, key) != NULL;
        path->end--;
        if (json_is_integer(v) && !given) {
            (void)snprintf(text, sizeof text, "%" JSON_INTEGER_FORMAT, json_integer_value(v));
            cli_path_query(path, names[i], text);
        }
    }
}

static size_t row_count(const json_t *doc)
{
    return json_array_size(json_object_get(doc, "items"));
}

/* The page behind those in `all` (NULL: the first). */
static int get_page(struct cli_http *h, const struct buf *path, uint64_t limit, const json_t *all,
                    json_t **page)
{
    struct buf p = {0};
    char n[24];
    uint64_t left = limit - row_count(all);
    buf_put_slice(&p, buf_slice(path));
    (void)snprintf(n, sizeof n, "%u", (unsigned)(left < PAGE_MAX ? left : PAGE_MAX));
    cli_path_query(&p, "limit", n);
    if (all != NULL) {
        cli_path_query(&p, "cursor", member(all, "next"));
        put_range(&p, all);
    }
    int rc = cli_request(h, "GET", &p, NULL, 0, page);
    buf_fini(&p);
    if (rc == 0 && !json_is_array(json_object_get(*page, "items"))) {
        (void)fprintf(stderr, "tracemq: the answer has no \"items\"\n");
        json_decref(*page);
        return -1;
    }
    return rc;
}

int cli_request_all(struct cli_http *h, const struct buf *path, uint64_t limit, json_t **out)
{
    json_t *all = NULL;
    size_t got = 0;
    do {
        json_t *page = NULL;
        int rc = get_page(h, path, limit, all, &page);
        if (rc != 0) {
            json_decref(all);
            return rc;
        }
        got = row_count(page);
        if (all == NULL) {
            all = page;
        } else {
            add_page(all, page);
            json_decref(page);
        }
    } while (got > 0 && member(all, "next") != NULL && row_count(all) < limit);
    *out = all;
    return 0;
}

/* ---- streams ---- */

struct stream {
    struct cli_http *h;
    struct sse *sse;
    sse_fn fn;
    void *ctx;
    const volatile int *stop;
    struct buf error; /* the body of an answer that is no stream */
};

static size_t stream_bytes(char *p, size_t size, size_t n, void *arg)
{
    struct stream *s = arg;
    long status = 0;
    (void)curl_easy_getinfo(s->h->curl, CURLINFO_RESPONSE_CODE, &status);
    if (status != 200) {
        return collect(p, size, n, &s->error);
    }
    return sse_feed(s->sse, slice_make(p, size * n), s->fn, s->ctx) == 0 && !*s->stop ? size * n
                                                                                      : 0;
}

static int stream_stop(void *arg, curl_off_t a, curl_off_t b, curl_off_t c, curl_off_t d)
{
    const struct stream *s = arg;
    (void)a;
    (void)b;
    (void)c;
    (void)d;
    return *s->stop ? 1 : 0;
}

int cli_http_stream(struct cli_http *h, struct buf *path, struct sse *sse, sse_fn fn, void *ctx,
                    const volatile int *stop)
{
    char last[SSE_ID_MAX + 20];
    struct stream s = {.h = h, .sse = sse, .fn = fn, .ctx = ctx, .stop = stop};
    (void)snprintf(last, sizeof last, "Last-Event-ID: %s", sse->id);
    struct curl_slist *headers = make_headers(h, sse->id[0] == '\0' ? NULL : last);
    prepare(h, "GET", path, headers);
    sse_restart(sse);
    (void)curl_easy_setopt(h->curl, CURLOPT_WRITEFUNCTION, stream_bytes);
    (void)curl_easy_setopt(h->curl, CURLOPT_WRITEDATA, &s);
    (void)curl_easy_setopt(h->curl, CURLOPT_NOPROGRESS, 0L);
    (void)curl_easy_setopt(h->curl, CURLOPT_XFERINFOFUNCTION, stream_stop);
    (void)curl_easy_setopt(h->curl, CURLOPT_XFERINFODATA, &s);
    (void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_LIMIT, 1L);
    (void)curl_easy_setopt(h->curl, CURLOPT_LOW_SPEED_TIME, 60L); /* heartbeats come every 15 s */
    CURLcode rc = curl_easy_perform(h->curl);
    long status = 0;
    (void)curl_easy_getinfo(h->curl, CURLINFO_RESPONSE_CODE, &status);
    int result = 0;
    if (*stop) {
        result = 0;
    } else if (status == 0) {
        print_unreachable(h, rc);
        result = -1;
    } else if (status != 200) {
        print_problem(status, buf_slice(&s.error));
        result = (int)status;
    }
    curl_slist_free_all(headers);
    buf_fini(&s.error);
    return result;
}
