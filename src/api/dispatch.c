/*
 * From a request to its handler: route, readiness, who asks, same-origin, instance, in this order.
 *
 * A request with a bearer token cannot be forged by a page in the user's browser; one that is carried by a
 * cookie can, so what it changes must come from our own origin and be JSON, which a foreign form cannot send.
 */
#include <assert.h>
#include <stdio.h>
#include <strings.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "server/server.h"

static void reply_not_found(struct request *rq)
{
    reply_error(rq, 404, NULL, "there is no %.*s here", (int)(rq->path.n < 200 ? rq->path.n : 200),
                (const char *)rq->path.p);
}

static void reply_not_allowed(struct request *rq, unsigned allowed)
{
    char list[64] = "";
    size_t n = 0;
    for (unsigned m = 0; m < API_METHODS; m++) {
        if ((allowed & (1U << m)) != 0) {
            int w = snprintf(list + n, sizeof list - n, "%s%s%s", n == 0 ? "" : ", ",
                             api_method_text((enum api_method)m), m == API_GET ? ", HEAD" : "");
            n += (size_t)(w < 0 ? 0 : w);
        }
    }
    reply_error(rq, 405, NULL, "%.20s is not possible here, only %s", rq->method, list);
    reply_header(rq, MHD_HTTP_HEADER_ALLOW, list);
}

static void reply_unauthorized(struct request *rq, const char *why)
{
    reply_error(rq, 401, NULL, "%s", why);
    reply_header(rq, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
}

/* ---- who asks ---- */

static const char *bearer_token(const char *header)
{
    if (strncasecmp(header, "Bearer ", 7) != 0) {
        return NULL;
    }
    header += 7;
    return header + strspn(header, " ");
}

/* Sets rq->who. */
static void identify(struct request *rq)
{
    const char *header = request_header(rq, MHD_HTTP_HEADER_AUTHORIZATION);
    if (header != NULL) {
        const char *token = bearer_token(header);
        if (token != NULL && auth_token_valid(rq->api->o.auth, slice_str(token))) {
            rq->who = WHO_TOKEN;
        }
        return;
    }
    const char *cookie = MHD_lookup_connection_value(rq->conn, MHD_COOKIE_KIND, session_cookie);
    if (cookie != NULL && sessions_find(rq->api->sessions, cookie, rq->user)) {
        rq->who = WHO_SESSION;
    }
}

/* "https://host:port" names the host that the request was sent to. */
static bool origin_is_host(const char *origin, const char *host)
{
    const char *p = strstr(origin, "://");
    return p != NULL && host != NULL && strcasecmp(p + 3, host) == 0;
}

static bool is_same_origin(struct request *rq)
{
    const char *site = request_header(rq, "Sec-Fetch-Site");
    const char *origin = request_header(rq, MHD_HTTP_HEADER_ORIGIN);
    if (site != NULL && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0) {
        return false;
    }
    return origin == NULL || origin_is_host(origin, request_header(rq, MHD_HTTP_HEADER_HOST));
}

static bool is_json_or_empty(struct request *rq)
{
    static const char json[] = "application/json";
    const char *type = request_header(rq, MHD_HTTP_HEADER_CONTENT_TYPE);
    if (rq->body_seen == 0) {
        return true;
    }
    return type != NULL && strncasecmp(type, json, sizeof json - 1) == 0 &&
           strchr("; \t", type[sizeof json - 1]) != NULL;
}

/* False: answered. */
static bool check_forgery(struct request *rq)
{
    if (rq->route->method == API_GET || rq->who == WHO_TOKEN) {
        return true;
    }
    if (!is_same_origin(rq)) {
        reply_error(rq, 403, NULL, "the request comes from a page of another origin");
        return false;
    }
    if (!is_json_or_empty(rq)) {
        reply_error(rq, 415, NULL, "the body's Content-Type must be application/json");
        return false;
    }
    return true;
}

/* False: answered. */
static bool check_guard(struct request *rq)
{
    enum api_guard guard = rq->route->guard;
    bool open = guard == GUARD_OPEN || (guard == GUARD_LOOPBACK && rq->api->loopback);
    if (!open && !server_ready(rq->api->o.server)) {
        reply_error(rq, 503, NULL, "the broker is starting");
        reply_header(rq, "Retry-After", "1");
        return false;
    }
    if (!open) {
        identify(rq);
    }
    if (!open && guard != GUARD_LOGIN && rq->who == WHO_NOBODY) {
        reply_unauthorized(rq, "a valid API token or console session is needed");
        return false;
    }
    return check_forgery(rq);
}

/* ---- path ---- */

/* Decodes the path's segments where they stand. False: answered. */
static bool decode_segments(struct request *rq, const struct route_match *m)
{
    for (size_t i = 0; i < ROUTE_SEGMENTS_MAX; i++) {
        if (m->segments[i].n == 0) {
            continue;
        }
        char *s = rq->uri + (m->segments[i].p - (const uint8_t *)rq->uri);
        ptrdiff_t n = percent_decode(s, m->segments[i].n, false);
        if (n < 0) {
            reply_error(rq, 400, NULL, "the path has a bad percent-encoding");
            return false;
        }
        rq->segments[i] = slice_make(s, (size_t)n);
    }
    return true;
}

/* False: answered. */
static bool find_instance(struct request *rq)
{
    if (strstr(rq->route->pattern, "{instance}") == NULL) {
        return true;
    }
    struct slice id = rq->segments[0];
    if (auth_instance_get(rq->api->o.auth, id, &rq->instance) != 0) {
        reply_error(rq, 404, "instance", "there is no instance %.*s", (int)(id.n < 64 ? id.n : 64),
                    (const char *)id.p);
        return false;
    }
    return true;
}

/* Paths of the API: never a console file, also when there is no such route. */
static bool is_reserved(struct slice path)
{
    return slice_has_prefix(path, slice_str("/api/")) || slice_eq(path, slice_str("/api")) ||
           slice_has_prefix(path, slice_str("/metrics")) ||
           slice_has_prefix(path, slice_str("/healthz")) ||
           slice_has_prefix(path, slice_str("/readyz"));
}

static void dispatch_console(struct request *rq)
{
    if (api_method_parse(rq->method) != API_GET) {
        reply_not_allowed(rq, 1U << API_GET);
    } else {
        handle_console(rq);
    }
}

void dispatch(struct request *rq)
{
    struct route_match m;
    route_find(rq->path, api_method_parse(rq->method), &m);
    rq->route = m.route;
    if (m.allowed == 0 && !is_reserved(rq->path)) {
        dispatch_console(rq);
    } else if (m.allowed == 0) {
        reply_not_found(rq);
    } else if (m.route == NULL) {
        reply_not_allowed(rq, m.allowed);
    } else if (check_guard(rq) && decode_segments(rq, &m) && find_instance(rq)) {
        m.route->handle(rq);
    }
    assert(rq->response != NULL);
}
