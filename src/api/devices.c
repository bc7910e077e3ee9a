/* Devices: list, status, kick. */
#include <errno.h>
#include <stdio.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "server/server.h"
#include "trace/trace.h"

enum { CLIENT_ID_MAX_BYTES = 65535 };

static const char *const bool_words[] = {"false", "true", NULL};

static json_t *json_devices(const struct trace_devices *d)
{
    json_t *items = json_array();
    for (size_t i = 0; i < d->count; i++) {
        json_array_append_new(items, json_status(&d->items[i]));
    }
    json_t *o = json_object();
    json_object_set_new(o, "items", items);
    json_object_set_new(o, "total", json_count(d->total));
    if (d->total_at_least) {
        json_object_set_new(o, "totalAtLeast", json_count(d->total));
    }
    bool more = d->more && d->count > 0;
    json_object_set_new(o, "next",
                        more ? json_text(d->items[d->count - 1].last.client_id) : json_null());
    return o;
}

void handle_devices(struct request *rq)
{
    struct params *p = &rq->params;
    struct trace_devices found;
    struct trace_devices_query q = {
        .instance = slice_str(rq->instance.id),
        .prefix = params_text(p, "query", CLIENT_ID_MAX_BYTES),
        .group = params_text(p, "group", 256),
        .online = params_word(p, "online", bool_words, -1),
        .limit = params_limit(p),
        .cursor = params_text(p, "cursor", CLIENT_ID_MAX_BYTES),
    };
    if (!request_params_done(rq)) {
        return;
    }
    int failed = trace_devices(rq->api->o.trace, &q, &found);
    if (failed != 0) {
        reply_error(rq, 500, NULL, "the device list cannot be read: %s", strerror(-failed));
        return;
    }
    reply_json(rq, 200, json_devices(&found));
    trace_devices_fini(&found);
}

static void reply_no_device(struct request *rq, const char *what)
{
    struct slice id = rq->segments[1];
    reply_error(rq, 404, "clientId", "the device %.*s %s", (int)(id.n < 200 ? id.n : 200),
                (const char *)id.p, what);
}

void handle_device(struct request *rq)
{
    struct trace_status status;
    if (!request_params_done(rq)) {
        return;
    }
    int failed =
        trace_status(rq->api->o.trace, slice_str(rq->instance.id), rq->segments[1], &status);
    if (failed == -ENOENT) {
        reply_no_device(rq, "was never connected");
    } else if (failed != 0) {
        reply_error(rq, 500, NULL, "the device cannot be read: %s", strerror(-failed));
    } else {
        reply_json(rq, 200, json_status(&status));
        trace_status_fini(&status);
    }
}

void handle_kick(struct request *rq)
{
    char by[300] = "API token";
    if (!request_params_done(rq)) {
        return;
    }
    if (rq->who == WHO_SESSION) {
        (void)snprintf(by, sizeof by, "console user %s", rq->user);
    }
    int failed = server_kick(rq->api->o.server, slice_str(rq->instance.id), rq->segments[1], by);
    if (failed == 0) {
        reply_empty(rq, 204);
    } else if (failed == -ENOENT) {
        reply_no_device(rq, "is not connected");
    } else {
        reply_error(rq, failed == -ETIMEDOUT ? 504 : 500, NULL, "the broker did not do it: %s",
                    strerror(-failed));
    }
}
