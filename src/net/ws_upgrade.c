/*
 * The upgrade request; see ws_upgrade.h. http-parser reads it as it comes; the headers that matter are kept until it is
 * complete, then checked in the order of `checks`. The first that fails decides the answer.
 *
 * Nothing of a client's is told back or recorded but printable ASCII.
 */
#include "net/ws_upgrade.h"

#include <ctype.h>
#include <http_parser.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum { NAME_MAX_BYTES = 32, KEY_CHARS = 24, SHOWN_MAX = 80 };

enum header { UPGRADE, CONNECTION, KEY, VERSION, PROTOCOL, ORIGIN, HEADERS };
static const char *const header_names[HEADERS] = {
    [UPGRADE] = "Upgrade",
    [CONNECTION] = "Connection",
    [KEY] = "Sec-WebSocket-Key",
    [VERSION] = "Sec-WebSocket-Version",
    [PROTOCOL] = "Sec-WebSocket-Protocol",
    [ORIGIN] = "Origin",
};

struct ws_upgrade {
    http_parser parser;
    const struct ws_rules *rules;
    size_t bytes;
    struct buf target, value[HEADERS];
    char name[NAME_MAX_BYTES]; /* of the header that is being read */
    size_t name_n;             /* larger than that: none of ours */
    enum header header;        /* HEADERS: none of ours */
    bool in_value, complete;
    struct slice protocol; /* that was chosen */
    char why[WS_WHY_MAX];
};

/* ---- reading ---- */

static int on_url(http_parser *p, const char *at, size_t n)
{
    struct ws_upgrade *u = p->data;
    buf_put(&u->target, at, n);
    return 0;
}

static int on_header_field(http_parser *p, const char *at, size_t n)
{
    struct ws_upgrade *u = p->data;
    if (u->in_value) {
        u->in_value = false;
        u->name_n = 0;
    }
    if (u->name_n + n <= sizeof u->name) {
        memcpy(u->name + u->name_n, at, n);
    }
    u->name_n += n;
    return 0;
}

static enum header header_of(const struct ws_upgrade *u)
{
    for (unsigned i = 0; i < HEADERS; i++) {
        if (strlen(header_names[i]) == u->name_n &&
            strncasecmp(header_names[i], u->name, u->name_n) == 0) {
            return (enum header)i;
        }
    }
    return HEADERS;
}

/* A header that is given more than once is a list [RFC 9110, 5.2]. */
static int on_header_value(http_parser *p, const char *at, size_t n)
{
    struct ws_upgrade *u = p->data;
    if (!u->in_value) {
        u->in_value = true;
        u->header = header_of(u);
        if (u->header < HEADERS && buf_len(&u->value[u->header]) > 0) {
            buf_put(&u->value[u->header], ", ", 2);
        }
    }
    if (u->header < HEADERS) {
        buf_put(&u->value[u->header], at, n);
    }
    return 0;
}

static int on_headers_complete(http_parser *p)
{
    struct ws_upgrade *u = p->data;
    u->complete = true;
    return 2; /* what follows is not HTTP: http_parser_execute() stops here */
}

struct ws_upgrade *ws_upgrade_new(const struct ws_rules *rules)
{
    struct ws_upgrade *u = mem_new(1, sizeof *u);
    http_parser_init(&u->parser, HTTP_REQUEST);
    u->parser.data = u;
    u->rules = rules;
    return u;
}

void ws_upgrade_free(struct ws_upgrade *u)
{
    if (u == NULL) {
        return;
    }
    buf_fini(&u->target);
    for (unsigned i = 0; i < HEADERS; i++) {
        buf_fini(&u->value[i]);
    }
    free(u);
}

const char *ws_upgrade_why(const struct ws_upgrade *u)
{
    return u->why;
}

/* ---- values ---- */

/* Cuts the next element off a list; false: there is none. */
static bool next_element(struct slice *list, struct slice *out)
{
    while (list->n > 0 && strchr(", \t", list->p[0]) != NULL) {
        *list = slice_from(*list, 1);
    }
    const uint8_t *comma = list->n == 0 ? NULL : memchr(list->p, ',', list->n);
    *out = slice_make(list->p, comma == NULL ? list->n : (size_t)(comma - list->p));
    *list = slice_from(*list, out->n);
    while (out->n > 0 && strchr(" \t", out->p[out->n - 1]) != NULL) {
        out->n--;
    }
    return out->n > 0;
}

static bool same(struct slice a, struct slice b)
{
    return a.n == b.n && (a.n == 0 || strncasecmp((const char *)a.p, (const char *)b.p, a.n) == 0);
}

static bool list_has(struct slice list, const char *word)
{
    struct slice element;
    while (next_element(&list, &element)) {
        if (same(element, slice_str(word))) {
            return true;
        }
    }
    return false;
}

/* An origin's parts [RFC 6454]; false: it is none, or the word `null`. */
struct origin {
    struct slice scheme, host;
    unsigned port;
};
static bool parse_origin(struct slice text, struct origin *o)
{
    struct http_parser_url url;
    const uint16_t allowed = 1U << UF_SCHEMA | 1U << UF_HOST | 1U << UF_PORT;
    http_parser_url_init(&url);
    if (text.n == 0 || http_parser_parse_url((const char *)text.p, text.n, 0, &url) != 0 ||
        (url.field_set & ~allowed) != 0 || (url.field_set & (1U << UF_HOST)) == 0 ||
        (url.field_set & (1U << UF_SCHEMA)) == 0) {
        return false;
    }
    o->scheme = slice_make(text.p + url.field_data[UF_SCHEMA].off, url.field_data[UF_SCHEMA].len);
    o->host = slice_make(text.p + url.field_data[UF_HOST].off, url.field_data[UF_HOST].len);
    o->port = same(o->scheme, slice_str("https"))  ? 443
              : same(o->scheme, slice_str("http")) ? 80
                                                   : 0;
    o->port = (url.field_set & (1U << UF_PORT)) != 0 ? url.port : o->port;
    return true;
}

static bool origin_same(struct slice a, struct slice b)
{
    struct origin x, y;
    if (!parse_origin(a, &x) || !parse_origin(b, &y)) {
        return same(a, b); /* null, and what is no URL */
    }
    return same(x.scheme, y.scheme) && same(x.host, y.host) && x.port == y.port;
}

bool ws_origins_valid(const char *list)
{
    struct slice rest = slice_str(list), element;
    struct origin o;
    while (next_element(&rest, &element)) {
        if (!parse_origin(element, &o) && !same(element, slice_str("null"))) {
            return false;
        }
    }
    return true;
}

/* ---- answers ---- */

/* What a client sent, as it may be shown; "nothing" when it sent none. */
struct shown {
    char text[SHOWN_MAX + 4];
};
static struct shown show(struct slice s)
{
    struct shown out;
    size_t n = s.n < SHOWN_MAX ? s.n : SHOWN_MAX;
    for (size_t i = 0; i < n; i++) {
        out.text[i] = (char)(s.p[i] > ' ' && s.p[i] < 127 ? s.p[i] : s.p[i] == ' ' ? ' ' : '?');
    }
    (void)snprintf(out.text + n, sizeof out.text - n, "%s",
                   s.n == 0  ? "nothing"
                   : s.n > n ? "..."
                             : "");
    return out;
}

static struct slice value(const struct ws_upgrade *u, enum header h)
{
    return buf_slice(&u->value[h]);
}

static const char *status_text(unsigned status)
{
    switch (status) {
#define STATUS(number, name, text)                                                                 \
    case number:                                                                                   \
        return #text;
        HTTP_STATUS_MAP(STATUS)
#undef STATUS
    default:
        return "Error";
    }
}

struct refusal {
    unsigned status; /* 0: none */
    const char *headers;
};

static struct refusal refuse(struct ws_upgrade *u, unsigned status, const char *headers,
                             const char *fmt, ...) __attribute__((format(printf, 4, 5)));
static struct refusal refuse(struct ws_upgrade *u, unsigned status, const char *headers,
                             const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(u->why, sizeof u->why, fmt, args);
    va_end(args);
    return (struct refusal){.status = status, .headers = headers};
}

static void put_text(struct buf *b, const char *text)
{
    buf_put(b, text, strlen(text));
}

static void answer_refusal(const struct ws_upgrade *u, struct refusal r, struct buf *answer)
{
    char head[512];
    (void)snprintf(head, sizeof head,
                   "HTTP/1.1 %u %s\r\n%sContent-Type: text/plain\r\nX-Content-Type-Options: "
                   "nosniff\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n",
                   r.status, status_text(r.status), r.headers, strlen(u->why) + 1);
    put_text(answer, head);
    put_text(answer, u->why);
    put_text(answer, "\n");
}

static void answer_accept(const struct ws_upgrade *u, struct buf *answer)
{
    static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"; /* [RFC 6455, 1.3] */
    uint8_t text[KEY_CHARS + sizeof magic - 1], hash[SHA_DIGEST_LENGTH];
    char accept[4 * (SHA_DIGEST_LENGTH + 2) / 3 + 1], head[256];
    memcpy(text, value(u, KEY).p, KEY_CHARS);
    memcpy(text + KEY_CHARS, magic, sizeof magic - 1);
    (void)SHA1(text, sizeof text, hash);
    (void)EVP_EncodeBlock((unsigned char *)accept, hash, sizeof hash);
    (void)snprintf(
        head, sizeof head,
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Accept: %s\r\nSec-WebSocket-Protocol: %.*s\r\n\r\n",
        accept, (int)u->protocol.n, u->protocol.p);
    put_text(answer, head);
}

/* ---- checks ---- */

static const struct refusal good = {.status = 0};

static struct refusal check_method(struct ws_upgrade *u)
{
    if (u->parser.method == HTTP_GET) {
        return good;
    }
    return refuse(u, 405, "Allow: GET\r\n", "method: expected GET, got %s",
                  http_method_str((enum http_method)u->parser.method));
}

static struct slice path_of(const struct ws_upgrade *u)
{
    struct http_parser_url url;
    struct slice target = buf_slice(&u->target);
    http_parser_url_init(&url);
    if (target.n == 0 || http_parser_parse_url((const char *)target.p, target.n, 0, &url) != 0 ||
        (url.field_set & (1U << UF_PATH)) == 0) {
        return target;
    }
    return slice_make(target.p + url.field_data[UF_PATH].off, url.field_data[UF_PATH].len);
}

static struct refusal check_upgrade(struct ws_upgrade *u)
{
    static const char *const headers = "Upgrade: websocket\r\n";
    if (list_has(value(u, UPGRADE), "websocket") && list_has(value(u, CONNECTION), "upgrade")) {
        return good;
    }
    struct shown path = show(path_of(u));
    if (buf_len(&u->value[UPGRADE]) == 0) {
        return refuse(
            u, 426, headers,
            "this is a WebSocket port for MQTT: expected a WebSocket upgrade of %.60s, got "
            "a plain GET of %.60s without a header Upgrade",
            u->rules->path, path.text);
    }
    return refuse(u, 426, headers,
                  "headers Upgrade and Connection: expected \"websocket\" and \"Upgrade\", got "
                  "\"%.60s\" and \"%.60s\"",
                  show(value(u, UPGRADE)).text, show(value(u, CONNECTION)).text);
}

static struct refusal check_http_version(struct ws_upgrade *u)
{
    if (u->parser.http_major == 1 && u->parser.http_minor == 1) {
        return good;
    }
    return refuse(u, 400, "", "expected HTTP/1.1, got HTTP/%u.%u", u->parser.http_major,
                  u->parser.http_minor);
}

static struct refusal check_path(struct ws_upgrade *u)
{
    if (strcmp(u->rules->path, "*") == 0 || slice_eq(path_of(u), slice_str(u->rules->path))) {
        return good;
    }
    return refuse(u, 404, "", "path: expected %.100s, got %s", u->rules->path,
                  show(path_of(u)).text);
}

static struct refusal check_version(struct ws_upgrade *u)
{
    if (slice_eq(value(u, VERSION), slice_str("13"))) {
        return good;
    }
    return refuse(u, 426, "Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
                  "header Sec-WebSocket-Version: expected 13, got %s",
                  show(value(u, VERSION)).text);
}

static struct refusal check_key(struct ws_upgrade *u)
{
    struct slice key = value(u, KEY);
    size_t plain = 0;
    while (plain < key.n && (isalnum(key.p[plain]) != 0 || strchr("+/", key.p[plain]) != NULL)) {
        plain++;
    }
    if (key.n == KEY_CHARS && plain == KEY_CHARS - 2 && memcmp(key.p + plain, "==", 2) == 0) {
        return good;
    }
    return refuse(u, 400, "",
                  "header Sec-WebSocket-Key: expected 16 bytes in base64 (24 characters), got %zu "
                  "characters",
                  key.n);
}

/* `mqttv3.1` is what older clients offer for MQTT 3.1. [MQTT-6.0.0-3] [MQTT-6.0.0-4] */
static struct refusal check_protocol(struct ws_upgrade *u)
{
    struct slice list = value(u, PROTOCOL), element;
    while (next_element(&list, &element)) {
        if (slice_eq(element, slice_str("mqtt")) || slice_eq(element, slice_str("mqttv3.1"))) {
            u->protocol = element;
            return good;
        }
    }
    return refuse(u, 400, "", "header Sec-WebSocket-Protocol: expected mqtt among them, got %s",
                  show(value(u, PROTOCOL)).text);
}

/* Only browsers say where their page comes from, and cannot lie about it. */
static struct refusal check_origin(struct ws_upgrade *u)
{
    struct slice list = slice_str(u->rules->origins), element, origin = value(u, ORIGIN);
    bool limited = false;
    while (origin.n > 0 && next_element(&list, &element)) {
        limited = true;
        if (origin_same(origin, element)) {
            return good;
        }
    }
    if (!limited) {
        return good;
    }
    return refuse(u, 403, "", "header Origin: %s is not among the origins that are allowed here",
                  show(origin).text);
}

static struct refusal check_body(struct ws_upgrade *u)
{
    bool length = (u->parser.flags & F_CONTENTLENGTH) != 0 && u->parser.content_length != 0;
    if (!length && (u->parser.flags & F_CHUNKED) == 0) {
        return good;
    }
    return refuse(u, 400, "", "expected a request without a body");
}

static struct refusal (*const checks[])(struct ws_upgrade *u) = {
    check_method, check_upgrade, check_http_version, check_path, check_version,
    check_key,    check_origin,  check_protocol,     check_body,
};

static struct refusal check_all(struct ws_upgrade *u)
{
    struct refusal r = good;
    for (size_t i = 0; i < sizeof checks / sizeof *checks && r.status == 0; i++) {
        r = checks[i](u);
    }
    return r;
}

/* Which request it was: for who reads of it later. */
static void say_whose(struct ws_upgrade *u)
{
    size_t n = strlen(u->why);
    bool named = buf_len(&u->value[ORIGIN]) > 0;
    (void)snprintf(u->why + n, sizeof u->why - n, " (path %s%s%s)", show(path_of(u)).text,
                   named ? ", Origin " : "", named ? show(value(u, ORIGIN)).text : "");
}

/* What is no HTTP at all. */
static struct refusal refuse_bytes(struct ws_upgrade *u, struct slice in)
{
    const char *looks = u->bytes > 0 || in.n == 0 ? ""
                        : in.p[0] == 0x10         ? "; it looks like MQTT without WebSocket"
                        : in.p[0] == 0x16         ? "; it looks like TLS"
                                                  : "";
    return refuse(u, 400, "",
                  "expected an HTTP upgrade request of %.80s, got something else (%s%s)",
                  u->rules->path, http_errno_description(HTTP_PARSER_ERRNO(&u->parser)), looks);
}

enum ws_upgrade_state ws_upgrade_feed(struct ws_upgrade *u, struct slice in, size_t *used,
                                      struct buf *answer)
{
    static const http_parser_settings settings = {.on_url = on_url,
                                                  .on_header_field = on_header_field,
                                                  .on_header_value = on_header_value,
                                                  .on_headers_complete = on_headers_complete};
    struct refusal r = good;
    *used = http_parser_execute(&u->parser, &settings, (const char *)in.p, in.n);
    if (!u->complete && HTTP_PARSER_ERRNO(&u->parser) != HPE_OK) {
        r = refuse_bytes(u, in);
    } else if (u->bytes + *used > WS_REQUEST_MAX) {
        r = refuse(u, 431, "", "expected an upgrade request of at most %d bytes", WS_REQUEST_MAX);
    } else if (u->complete) {
        r = check_all(u);
    }
    u->bytes += *used;
    if (r.status != 0) {
        answer_refusal(u, r, answer);
        if (u->complete) {
            say_whose(u);
        }
        return WS_UPGRADE_REFUSED;
    }
    if (!u->complete) {
        return WS_UPGRADE_MORE;
    }
    answer_accept(u, answer);
    return WS_UPGRADE_DONE;
}
