/* POST /api/v1/config/reload: what SIGHUP does, with an answer that says what it did. */
#include "api/api_priv.h"
#include "api/handlers.h"
#include "server/reload_control.h"

static json_t *change_json(const struct config_change *c)
{
    json_t *o = json_object();
    json_object_set_new(o, "name", json_string(c->name));
    json_object_set_new(o, "from", json_string(c->from));
    json_object_set_new(o, "to", json_string(c->to));
    return o;
}

static json_t *report_json(const struct reload_report *report)
{
    json_t *applied = json_array();
    json_t *restart = json_array();
    for (size_t i = 0; i < report->count; i++) {
        const struct config_change *c = &report->changes[i];
        json_array_append_new(c->live ? applied : restart, change_json(c));
    }
    json_t *o = json_object();
    json_object_set_new(o, "applied", applied);
    json_object_set_new(o, "needsRestart", restart);
    json_object_set_new(o, "certificates", json_integer(report->certificates));
    return o;
}

void handle_reload(struct request *rq)
{
    struct reload_report report;
    if (!request_params_done(rq)) {
        return;
    }
    if (rq->api->o.reload == NULL) {
        reply_error(rq, 404, NULL, "there is no configuration to read again");
        return;
    }
    if (reload_run(rq->api->o.reload, &report) == 0) {
        reply_json(rq, 200, report_json(&report));
    } else {
        reply_error(rq, 422, NULL, "%s", report.error);
    }
    reload_report_fini(&report);
}
