/*
 * What a client is told of the broker's decisions: CONNACK and DISCONNECT in its own version, with the properties that it
 * may get. Which code belongs to which cause stands in told.def.
 *
 * A reason string goes out only to a client that did not say no to it [MQTT-3.1.2-29], and only if the packet then still
 * fits its maximum packet size [MQTT-3.2.2-19] [MQTT-3.14.2-3].
 */
#include "server/server_priv.h"

enum { USUAL_BYTES = 256 }; /* of a CONNACK without response information */

static const struct told rows[CAUSE_COUNT] = {
#define TOLD(cause, connack311, connack, disconnect, text)                                         \
    [CAUSE_##cause] = {connack311, MQTT_RC_##connack, MQTT_RC_##disconnect, text},
#include "server/told.def"
#undef TOLD
};

const struct told *told_of(enum cause cause)
{
    return &rows[cause];
}

static void set(struct mqtt_props *p, enum mqtt_prop id)
{
    p->present |= UINT64_C(1) << id;
}

static void put_text(struct mqtt_props *p, enum mqtt_prop id, struct slice *at, struct slice text)
{
    if (text.n > 0) {
        *at = text;
        set(p, id);
    }
}

bool reply_too_long(const struct conn *c, size_t from)
{
    return c->v5 != NULL && buf_len(&c->out) - from > c->v5->max_packet;
}

void reply_take_back(struct conn *c, size_t from)
{
    c->out.end -= buf_len(&c->out) - from;
}

static void props_of_reason(const struct conn *c, const char *text, struct mqtt_props *p)
{
    bool wanted = c->v5 == NULL || c->v5->problem_info;
    *p = (struct mqtt_props){0};
    if (wanted) {
        put_text(p, MQTT_PROP_REASON_STRING, &p->reason_string, slice_str(text));
    }
}

void reply_refused(struct conn *c, uint8_t connack, uint8_t reason, const char *text)
{
    struct mqtt_props props;
    struct buf *out = conn_out(c);
    size_t from = buf_len(out);
    if (c->version != MQTT_V5) {
        mqtt_encode_connack(out, (enum mqtt_version)c->version, false, connack, NULL);
    } else {
        props_of_reason(c, text, &props);
        mqtt_encode_connack(out, MQTT_V5, false, reason, &props);
        if (reply_too_long(c, from)) {
            reply_take_back(c, from);
            mqtt_encode_connack(out, MQTT_V5, false, reason, NULL);
        }
        if (reply_too_long(c, from)) {
            reply_take_back(c, from); /* it does not even take that */
            return;
        }
    }
    conn_sent(c, MQTT_CONNACK);
}

bool reply_disconnect(struct conn *c, uint8_t reason, const char *text)
{
    struct mqtt_props props;
    struct buf *out = conn_out(c);
    size_t from = buf_len(out);
    props_of_reason(c, text, &props);
    mqtt_encode_disconnect(out, reason, &props);
    if (reply_too_long(c, from)) {
        reply_take_back(c, from);
        mqtt_encode_disconnect(out, reason, NULL);
    }
    if (reply_too_long(c, from)) {
        reply_take_back(c, from); /* it takes packets of two bytes: nothing can be said */
        return false;
    }
    conn_sent(c, MQTT_DISCONNECT);
    return true;
}

/* What the broker grants, where it is not what the client asked for or would assume. */
static void props_of_grant(const struct conn *c, const struct mqtt_connect *p,
                           struct mqtt_props *out)
{
    const struct config *cfg = c->w->server->config;
    uint32_t asked = p->props.session_expiry;
    out->max_packet = c->v5->granted_packet;
    set(out, MQTT_PROP_MAX_PACKET);
    if (c->v5->granted_receive < UINT16_MAX) {
        out->receive_max = c->v5->granted_receive;
        set(out, MQTT_PROP_RECEIVE_MAX);
    }
    if (c->v5->session_expiry != asked) {
        out->session_expiry = c->v5->session_expiry; /* [MQTT-3.2.2-21] says nothing else is */
        set(out, MQTT_PROP_SESSION_EXPIRY);
    }
    if (c->keepalive != p->keepalive) {
        out->server_keepalive = c->keepalive;
        set(out, MQTT_PROP_SERVER_KEEPALIVE);
    }
    if (c->assigned_id != NULL) {
        put_text(out, MQTT_PROP_ASSIGNED_CLIENT_ID, &out->assigned_client_id,
                 slice_str(c->assigned_id));
    }
    struct slice info =
        slice_str(cfg->response_information == NULL ? "" : cfg->response_information);
    if (p->props.request_response_info != 0 && info.n + USUAL_BYTES < c->v5->max_packet) {
        put_text(out, MQTT_PROP_RESPONSE_INFO, &out->response_info, info);
    }
    exchange_props(c, out);
    if (c->v5->granted_alias > 0) {
        out->topic_alias_max = c->v5->granted_alias;
        set(out, MQTT_PROP_TOPIC_ALIAS_MAX);
    }
    if ((c->kind & CONN_BRIDGE) != 0) {
        put_text(out, MQTT_PROP_USER, &out->user, buf_slice(&c->w->server->mark));
    }
}

bool reply_fits(struct conn *c, const struct mqtt_connect *p)
{
    if (c->v5 == NULL || c->v5->max_packet > 4 * USUAL_BYTES) {
        return true; /* the ID that we assign is short, what authentication says mostly is */
    }
    struct mqtt_props props = {0};
    struct buf b = {0};
    props_of_grant(c, p, &props);
    mqtt_encode_connack(&b, p->version, false, 0, &props);
    bool fits = buf_len(&b) <= c->v5->max_packet;
    buf_fini(&b);
    return fits;
}

void reply_accepted(struct conn *c, const struct mqtt_connect *p, bool session_present)
{
    struct mqtt_props props = {0};
    if (c->v5 != NULL) {
        props_of_grant(c, p, &props);
    }
    mqtt_encode_connack(conn_out(c), p->version, session_present, 0, &props);
    conn_sent(c, MQTT_CONNACK);
}
