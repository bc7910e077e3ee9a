/* A link's way to OPEN: CONNECT and SUBSCRIBE to both sides, and what their answers say. See link.h. */
#include <stdio.h>
#include <string.h>

#include "bridge/link_priv.h"
#include "bridge/mark.h"
#include "bridge/words.h"

enum {
    SUBSCRIBE_FILTERS = 64,      /* in one packet */
    SUBSCRIBE_BYTES = 16 * 1024, /* the same, but for one filter that is longer */
    PACKET_MAX = 268435460       /* what MQTT can say */
};

/* ---- what tells whether the bridge is connected ---- */

static struct slice state_topic(const struct link *l, enum bridge_side side, char *out, size_t size)
{
    const struct bridge_settings *s = l->o.settings;
    const char *own = s->notifications_topic;
    if (side == BRIDGE_REMOTE && own != NULL && own[0] != '\0') {
        return slice_str(own);
    }
    int n = snprintf(out, size, "$SYS/broker/connection/%s/state",
                     side == BRIDGE_LOCAL ? s->name : l->o.remote_client_id);
    return slice_make(out, (size_t)n < size ? (size_t)n : size - 1);
}

static bool notifies(const struct link *l, enum bridge_side side)
{
    const struct bridge_settings *s = l->o.settings;
    bool retains = side == BRIDGE_LOCAL || l->remote_retains;
    return s->notifications && (side == BRIDGE_LOCAL || !s->notifications_local_only) && retains;
}

void link_notify(struct link *l, enum bridge_side side, const char *state)
{
    char text[512];
    if (notifies(l, side)) {
        const struct mqtt_publish p = {.retain = true,
                                       .topic = state_topic(l, side, text, sizeof text),
                                       .payload = slice_str(state)};
        mqtt_encode_publish(&l->side[side].out, l->side[side].version, &p);
    }
}

static void put_will(const struct link *l, enum bridge_side side, struct mqtt_will *w, char *text,
                     size_t size)
{
    if (notifies(l, side)) {
        *w = (struct mqtt_will){.present = true,
                                .retain = true,
                                .qos = side == BRIDGE_REMOTE,
                                .topic = state_topic(l, side, text, size),
                                .payload = slice_str("0")};
    }
}

/* ---- CONNECT ---- */

static uint32_t seconds(uint64_t ms)
{
    uint64_t s = (ms + 999) / 1000;
    return s == 0 || s > UINT32_MAX ? UINT32_MAX : (uint32_t)s;
}

void link_connect_remote(struct link *l)
{
    const struct bridge_settings *s = l->o.settings;
    char topic[512];
    enum mqtt_version v = l->side[BRIDGE_REMOTE].version;
    struct mqtt_connect c = {.version = v,
                             .clean_start = s->clean_start || l->o.forget_remote,
                             .bridge = l->o.private_bit && v != MQTT_V5,
                             .keepalive = (uint16_t)(l->keepalive_ms / 1000),
                             .client_id = slice_str(l->o.remote_client_id),
                             .username = slice_str(s->username),
                             .password = slice_str(s->password)};
    c.has_username = c.username.n > 0;
    c.has_password = c.password.n > 0 && (c.has_username || v == MQTT_V5);
    put_will(l, BRIDGE_REMOTE, &c.will, topic, sizeof topic);
    if (v == MQTT_V5) {
        c.props.receive_max = (uint16_t)s->max_inflight;
        props_add(&c.props, MQTT_PROP_RECEIVE_MAX);
        c.props.session_expiry = s->clean_start ? 0 : seconds(s->session_expiry_ms);
        props_add(&c.props, MQTT_PROP_SESSION_EXPIRY);
        if (l->o.local_max_packet > 0) {
            c.props.max_packet = l->o.local_max_packet;
            props_add(&c.props, MQTT_PROP_MAX_PACKET);
        }
        if (buf_len(&l->mark[BRIDGE_LOCAL]) > 0) {
            c.props.user = buf_slice(&l->mark[BRIDGE_LOCAL]);
            props_add(&c.props, MQTT_PROP_USER);
        }
    }
    mqtt_encode_connect(&l->side[BRIDGE_REMOTE].out, &c);
}

void link_connect_local(struct link *l)
{
    const struct bridge_settings *s = l->o.settings;
    char topic[512];
    struct mqtt_connect c = {.version = MQTT_V5, .client_id = slice_str(l->o.local_client_id)};
    if (!l->preparing) {
        put_will(l, BRIDGE_LOCAL, &c.will, topic, sizeof topic);
    }
    c.props.session_expiry = seconds(s->session_expiry_ms);
    props_add(&c.props, MQTT_PROP_SESSION_EXPIRY);
    c.props.receive_max =
        (uint16_t)(l->receive_max < s->max_inflight ? l->receive_max : s->max_inflight);
    props_add(&c.props, MQTT_PROP_RECEIVE_MAX);
    mqtt_encode_connect(&l->side[BRIDGE_LOCAL].out, &c);
}

/* ---- CONNACK ---- */

/* What an MQTT 5 remote can't do, and who it is. */
static void remote_can(struct link *l, const struct mqtt_props *p)
{
    struct slice id;
    if (props_have(p, MQTT_PROP_MAX_QOS)) {
        l->remote_max_qos = p->max_qos;
    }
    if (props_have(p, MQTT_PROP_RETAIN_AVAILABLE)) {
        l->remote_retains = p->retain_available != 0;
    }
    if (props_have(p, MQTT_PROP_RECEIVE_MAX)) {
        l->receive_max = p->receive_max;
    }
    if (props_have(p, MQTT_PROP_MAX_PACKET)) {
        l->side[BRIDGE_REMOTE].max_packet = p->max_packet;
    }
    if (props_have(p, MQTT_PROP_SERVER_KEEPALIVE)) {
        l->keepalive_ms = (uint32_t)p->server_keepalive * 1000;
    }
    if (bridge_mark_first(p->user, &id) && id.n <= LINK_ID_MAX) {
        memcpy(l->remote_id, id.p, id.n);
        l->remote_id[id.n] = '\0';
        buf_clear(&l->mark[BRIDGE_REMOTE]);
        bridge_mark_put(&l->mark[BRIDGE_REMOTE], id);
    }
}

/* ": " and the peer's own reason string, or nothing. */
static const char *said(const struct mqtt_props *p, char *out, size_t size)
{
    out[0] = '\0';
    if (props_have(p, MQTT_PROP_REASON_STRING)) {
        (void)snprintf(out, size, ": %.*s", (int)p->reason_string.n,
                       (const char *)p->reason_string.p);
    }
    return out;
}

void link_remote_connack(struct link *l, const struct mqtt_frame *f)
{
    struct mqtt_connack c;
    struct mqtt_error err;
    char text[128];
    enum mqtt_version v = l->side[BRIDGE_REMOTE].version;
    if (f->type != MQTT_CONNACK) {
        link_end(l, "the remote answered CONNECT with %s", mqtt_type_text(f->type));
        return;
    }
    if (mqtt_decode_connack(f, v, &c, &err) != 0) {
        link_bad(l, BRIDGE_REMOTE, &err);
        return;
    }
    if (c.code != 0) {
        l->connack = c.code;
        link_end(l, "the remote refused the connection: %s%s", bridge_connack_text(v, c.code),
                 said(&c.props, text, sizeof text));
        return;
    }
    l->side[BRIDGE_REMOTE].opened = true;
    l->remote_present = c.session_present;
    remote_can(l, &c.props);
    if (l->o.forget_remote && v != MQTT_V5 && !l->o.settings->clean_start) {
        l->forgot = true; /* before MQTT 5 such a session would end with the connection */
        link_end(l, "the remote's half of the session is forgotten");
    } else {
        l->phase = LINK_LOCAL_WANTED;
    }
}

void link_local_connack(struct link *l, const struct mqtt_frame *f)
{
    struct mqtt_connack c;
    struct mqtt_error err;
    if (f->type != MQTT_CONNACK || mqtt_decode_connack(f, MQTT_V5, &c, &err) != 0) {
        link_end(l, "the local broker gave no CONNACK");
    } else if (c.code != 0) {
        link_end(l, "the local broker refused the connection: %s", bridge_reason_text(c.code));
    } else {
        l->side[BRIDGE_LOCAL].opened = true;
        l->local_present = c.session_present;
        if (!c.session_present && l->remote_present && !l->preparing) {
            link_end(l, "the local session had expired: the remote's half of it is given up, too");
        }
        l->side[BRIDGE_LOCAL].max_packet =
            props_have(&c.props, MQTT_PROP_MAX_PACKET) ? c.props.max_packet : PACKET_MAX;
    }
}

/* ---- subscriptions ---- */

/* One that nothing held has: what the remote may still know as in flight. */
static uint16_t free_id(const struct link *l)
{
    struct id_bits used = {{0}};
    struct slice rest = buf_slice(&l->held);
    struct mqtt_frame f;
    struct mqtt_error err;
    long n;
    while ((n = mqtt_frame(rest, PACKET_MAX, &f, &err)) > 0) {
        struct mqtt_publish p;
        struct mqtt_ack a;
        if (f.type == MQTT_PUBLISH && mqtt_decode_publish(&f, MQTT_V5, &p, &err) == 0) {
            id_set(&used, p.packet_id, true);
        } else if (f.type == MQTT_PUBREL && mqtt_decode_ack(&f, MQTT_V5, &a, &err) == 0) {
            id_set(&used, a.packet_id, true);
        }
        rest = slice_from(rest, (size_t)n);
    }
    uint16_t id = UINT16_MAX;
    while (id > 1 && id_has(&used, id)) {
        id--;
    }
    return id;
}

/*
 * What is retained comes once, when the subscription is new and its messages are kept while the link is down; with QoS 0 it
 * comes each time, for what changed meanwhile was lost.
 */
static struct mqtt_sub sub_of(const struct bridge_rule *r, enum bridge_side side)
{
    return (struct mqtt_sub){.filter = r->filter[side],
                             .qos = r->qos,
                             .no_local = true,
                             .retain_as_published = true,
                             .retain_handling = r->qos == 0 ? 0 : 1};
}

bool link_subscribe(struct link *l, enum bridge_side side)
{
    const struct bridge_mapping *m = l->o.mapping;
    struct mqtt_sub subs[SUBSCRIBE_FILTERS];
    size_t count = 0, bytes = 0;
    unsigned i = l->sub_next;
    l->sub_first = i;
    for (; i < m->count && count < SUBSCRIBE_FILTERS; i++) {
        const struct bridge_rule *r = &m->rules[i];
        if (!r->from[side]) {
            continue;
        }
        bytes += r->filter[side].n;
        if (count > 0 && bytes > SUBSCRIBE_BYTES) {
            break;
        }
        subs[count++] = sub_of(r, side);
    }
    l->sub_next = i;
    if (count == 0) {
        return false;
    }
    l->sub_id = side == BRIDGE_LOCAL ? 1 : free_id(l);
    mqtt_encode_subscribe(&l->side[side].out, l->side[side].version, l->sub_id, subs, count, NULL);
    return true;
}

/* The local broker is our own: it refuses nothing but by its limits, and then nothing would wait for the remote. */
static void refused(struct link *l, enum bridge_side side, struct slice filter, uint8_t code)
{
    char text[256];
    (void)snprintf(text, sizeof text, "%.*s: %s", (int)filter.n, (const char *)filter.p,
                   bridge_reason_text(code));
    if (side == BRIDGE_REMOTE) {
        l->o.warn(l->o.arg, "the remote refused a subscription", text);
    } else {
        link_end(l, "the local broker refused the subscription to %s", text);
    }
}

bool link_suback(struct link *l, enum bridge_side side, const struct mqtt_frame *f)
{
    struct mqtt_suback a;
    struct mqtt_error err;
    size_t at = 0;
    if (mqtt_decode_suback(f, l->side[side].version, &a, &err) != 0) {
        link_bad(l, side, &err);
        return false;
    }
    for (unsigned i = l->sub_first; i < l->sub_next && at < a.codes.n; i++) {
        const struct bridge_rule *r = &l->o.mapping->rules[i];
        if (r->from[side] && a.codes.p[at++] >= MQTT_RC_UNSPECIFIED) {
            refused(l, side, r->filter[side], a.codes.p[at - 1]);
        }
    }
    return a.packet_id == l->sub_id && l->phase != LINK_ENDED;
}
