/* Health, regions and instances. */
#include <stdio.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "api/settings.h"
#include "server/server.h"

static void reply_status(struct request *rq, unsigned status, const char *word)
{
    json_t *o = json_object();
    json_object_set_new(o, "status", json_string(word));
    reply_json(rq, status, o);
}

void handle_healthz(struct request *rq)
{
    reply_status(rq, 200, "ok");
}

void handle_readyz(struct request *rq)
{
    bool ready = server_ready(rq->api->o.server);
    reply_status(rq, ready ? 200 : 503, ready ? "ready" : "starting");
}

void handle_regions(struct request *rq)
{
    char endpoint[API_ADDRESS_SIZE + 16];
    if (!request_params_done(rq)) {
        return;
    }
    (void)snprintf(endpoint, sizeof endpoint, "http://%s", rq->api->address);
    json_t *o = json_object();
    json_object_set_new(o, "id", json_string(rq->api->region));
    json_object_set_new(o, "name", json_string(rq->api->region));
    json_object_set_new(o, "endpoint", json_string(endpoint));
    json_t *items = json_array();
    json_array_append_new(items, o);
    reply_list(rq, items);
}

/* ---- instances ---- */

static json_t *json_endpoints(const struct server *s)
{
    json_t *list = json_array();
    const struct server_listener_info *l;
    for (unsigned i = 0; (l = server_listener(s, i)) != NULL; i++) {
        json_t *o = json_object();
        json_object_set_new(o, "name", json_text(slice_str(l->name)));
        json_object_set_new(o, "protocol", json_string(l->protocol));
        json_object_set_new(o, "address", json_string(l->address));
        if (l->path != NULL) {
            json_object_set_new(o, "path", json_string(l->path));
        }
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *json_instance(const struct api *a, const struct auth_instance_info *i)
{
    struct server_stats stats;
    bool ready = server_ready(a->o.server);
    json_t *o = json_object();
    server_stats(a->o.server, &stats);
    json_object_set_new(o, "id", json_string(i->id));
    json_object_set_new(o, "name", json_text(slice_str(i->name)));
    json_object_set_new(o, "region", json_text(slice_str(i->region)));
    json_object_set_new(o, "status", json_string(ready ? "running" : "starting"));
    json_object_set_new(o, "version", json_string(TRACEMQ_VERSION));
    json_object_set_new(o, "createdAt", json_count(i->created_ms));
    json_object_set_new(o, "devicesOnline", json_count(stats.n.clients));
    json_object_set_new(o, "settings", settings_json(i));
    json_object_set_new(o, "endpoints", json_endpoints(a->o.server));
    return o;
}

struct instance_list {
    const struct api *api;
    json_t *items;
};

static void add_instance(void *ctx, const void *item)
{
    struct instance_list *l = ctx;
    json_array_append_new(l->items, json_instance(l->api, item));
}

void handle_instances(struct request *rq)
{
    struct instance_list l = {.api = rq->api};
    if (!request_params_done(rq)) {
        return;
    }
    l.items = json_array();
    auth_instance_each(rq->api->o.auth, add_instance, &l);
    reply_list(rq, l.items);
}

void handle_instance(struct request *rq)
{
    if (request_params_done(rq)) {
        reply_json(rq, 200, json_instance(rq->api, &rq->instance));
    }
}

/* All values are checked before the first is set, so a request changes all or nothing. */
void handle_instance_patch(struct request *rq)
{
    struct fields f;
    struct auth *auth = rq->api->o.auth;
    struct auth_error e = {0};
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    json_t *settings = fields_find(&f, "settings");
    settings_check(settings, &f.problem);
    if (fields_done(&f, rq)) {
        struct slice id = slice_str(rq->instance.id);
        if (settings_apply(auth, id, settings, &e) == 0) {
            server_settings_changed(rq->api->o.server);
            (void)auth_instance_get(auth, id, &rq->instance);
            reply_json(rq, 200, json_instance(rq->api, &rq->instance));
        } else {
            reply_auth_error(rq, &e);
        }
    }
    fields_fini(&f);
}
