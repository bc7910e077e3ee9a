/* GET /api/v1/bridges: bridges to other brokers, as they are now. */
#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "bridge/bridge.h"

static json_t *text_or_null(const char *text)
{
    return text[0] == '\0' ? json_null() : json_text(slice_str(text));
}

static json_t *bridge_json(const struct bridge_status *s)
{
    const struct {
        const char *name;
        uint64_t value;
    } counts[] = {
        {"messagesOut", s->out},           {"messagesIn", s->in},
        {"droppedLooped", s->looped},      {"droppedUnmapped", s->unmapped},
        {"droppedTooLarge", s->too_large}, {"refused", s->refused},
        {"connects", s->connects},         {"failures", s->failures},
    };
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(s->name));
    json_object_set_new(o, "address", json_text(slice_str(s->address)));
    json_object_set_new(o, "remote", text_or_null(s->remote));
    json_object_set_new(o, "connected", json_boolean(s->connected));
    json_object_set_new(o, "since", json_count(s->since_us / 1000));
    json_object_set_new(o, "lastError", text_or_null(s->error));
    json_object_set_new(o, "lastErrorAt",
                        s->error_us == 0 ? json_null() : json_count(s->error_us / 1000));
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++) {
        json_object_set_new(o, counts[i].name, json_count(counts[i].value));
    }
    return o;
}

void handle_bridges(struct request *rq)
{
    struct bridges *all = rq->api->o.bridges;
    struct bridge_status s;
    if (!request_params_done(rq)) {
        return;
    }
    json_t *items = json_array();
    for (unsigned i = 0; i < bridges_count(all); i++) {
        bridges_status(all, i, &s);
        json_array_append_new(items, bridge_json(&s));
    }
    reply_list(rq, items);
}
