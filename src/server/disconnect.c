/*
 * The client's DISCONNECT. Before MQTT 5 it has one meaning; in MQTT 5 it may keep the will, say why, and change how long the
 * session outlives the connection.
 */
#include <stdio.h>

#include "server/server_priv.h"

/* "name=value; name=value": as many whole pairs as evidence takes. */
static void evidence_user(struct evidence *e, struct slice user)
{
    char text[RECORD_STR_MAX];
    size_t n = 0;
    struct slice name, value;
    while (mqtt_user_next(&user, &name, &value)) {
        size_t need = (n > 0 ? 2 : 0) + name.n + 1 + value.n;
        if (n + need >= sizeof text) {
            break;
        }
        n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s=%.*s", n > 0 ? "; " : "",
                              (int)name.n, (const char *)name.p, (int)value.n,
                              (const char *)value.p);
    }
    if (n > 0) {
        evidence_bytes(e, EV_USER_PROPERTIES, slice_make(text, n));
    }
}

/* A session that was to end with its connection stays so. [MQTT-3.14.2-2] */
static bool may_expire(const struct conn *c, const struct mqtt_disconnect *d)
{
    return c->v5 == NULL || c->v5->session_expiry != 0 ||
           (d->props.present >> MQTT_PROP_SESSION_EXPIRY & 1) == 0 || d->props.session_expiry == 0;
}

static void new_expiry(struct conn *c, const struct mqtt_disconnect *d)
{
    if ((d->props.present >> MQTT_PROP_SESSION_EXPIRY & 1) != 0) {
        uint32_t max = session_expiry_max(c->w->server);
        uint32_t asked = d->props.session_expiry;
        c->session->expiry_s = asked < max ? asked : max;
    }
}

void disconnect_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_disconnect d;
    struct mqtt_error err;
    struct evidence e;
    if (mqtt_decode_disconnect(f, (enum mqtt_version)c->version, &d, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    if (!may_expire(c, &d)) {
        err = (struct mqtt_error){.cause = CAUSE_PROTOCOL_VIOLATION,
                                  .reason = MQTT_RC_PROTOCOL_ERROR,
                                  .clause = "MQTT-3.14.2-2",
                                  .text = "session expiry interval 0, as in CONNECT"};
        conn_end_bad(c, &err, f, whole);
        return;
    }
    evidence_init(&e);
    enum cause cause = CAUSE_CLIENT_NORMAL;
    if (c->v5 != NULL) {
        new_expiry(c, &d);
        evidence_u64(&e, EV_REASON_CODE, d.reason);
        if ((d.props.present >> MQTT_PROP_REASON_STRING & 1) != 0) {
            evidence_bytes(&e, EV_REASON_STRING, d.props.reason_string);
        }
        evidence_user(&e, d.props.user);
        cause = d.reason == MQTT_RC_SUCCESS                ? CAUSE_CLIENT_NORMAL
                : d.reason == MQTT_RC_DISCONNECT_WITH_WILL ? CAUSE_CLIENT_WITH_WILL
                                                           : CAUSE_CLIENT_REASON;
    }
    conn_end(c, cause, &e);
}
