/*
 * What passes through a link: PUBLISH under its name on the other side, acknowledgements as they are. What cannot go on (it had
 * been there, no rule has it, it is too large) is acknowledged here; a QoS 2 message of that kind, and one that the remote takes
 * with QoS 1 only, has its PUBREL answered here, too.
 */
#include <stdio.h>

#include "bridge/link_priv.h"
#include "bridge/mark.h"
#include "bridge/words.h"

static void count(_Atomic uint64_t *c)
{
    atomic_fetch_add_explicit(c, 1, memory_order_relaxed);
}

static void put_ack(struct link *l, enum bridge_side to, enum mqtt_type type, uint16_t id,
                    uint8_t reason)
{
    mqtt_encode_ack(&l->side[to].out, l->side[to].version, type, id, reason);
}

/* It goes no further: the sender is to forget it. */
static void answer(struct link *l, enum bridge_side from, const struct mqtt_publish *p)
{
    if (p->qos > 0) {
        put_ack(l, from, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id, MQTT_RC_SUCCESS);
        id_set(&l->own[from], p->packet_id, p->qos == 2);
    }
}

/* It has been at the broker where it would go. */
static bool looped(const struct link *l, enum bridge_side from, struct slice user)
{
    const char *there = from == BRIDGE_LOCAL ? l->remote_id : l->o.id;
    return user.n > 0 && there[0] != '\0' && bridge_mark_has(user, slice_str(there));
}

/* The properties of the copy, when both sides have some: those that go on, and the mark of where it comes from. */
static void put_props(struct link *l, enum bridge_side from, const struct mqtt_publish *p,
                      struct mqtt_publish *q)
{
    buf_clear(&l->extra);
    if (l->side[from].version == MQTT_V5) {
        buf_put_slice(&l->extra, mqtt_props_forwarded(&p->props, &l->scratch));
        if (props_have(&p->props, MQTT_PROP_MESSAGE_EXPIRY)) {
            q->props.message_expiry = p->props.message_expiry;
            props_add(&q->props, MQTT_PROP_MESSAGE_EXPIRY);
        }
    }
    buf_put_slice(&l->extra, buf_slice(&l->mark[from]));
    q->extra = buf_slice(&l->extra);
}

/* With the QoS and the flags that the other side takes. */
static struct mqtt_publish copy_of(struct link *l, enum bridge_side from,
                                   const struct mqtt_publish *p)
{
    struct mqtt_publish q = {.qos = p->qos,
                             .dup = p->dup,
                             .retain = p->retain,
                             .packet_id = p->packet_id,
                             .topic = buf_slice(&l->topic),
                             .payload = p->payload};
    if (from == BRIDGE_LOCAL) {
        q.retain = q.retain && l->remote_retains;
        q.qos = q.qos < l->remote_max_qos ? q.qos : l->remote_max_qos;
    }
    if (q.qos == 0) {
        q.packet_id = 0;
        q.dup = false;
    }
    if (l->side[other_side(from)].version == MQTT_V5) {
        put_props(l, from, p, &q);
    }
    return q;
}

static void publish(struct link *l, enum bridge_side from, const struct mqtt_publish *p)
{
    enum bridge_side to = other_side(from);
    struct bridge_counters *c = l->o.counters;
    if (looped(l, from, p->props.user)) {
        count(&c->looped);
        answer(l, from, p);
        return;
    }
    if (!bridge_map(l->o.mapping, from, p->topic, &l->topic)) {
        count(&c->unmapped);
        answer(l, from, p);
        return;
    }
    const struct mqtt_publish q = copy_of(l, from, p);
    size_t size = mqtt_publish_size(l->side[to].version, &q);
    if (size > l->side[to].max_packet) {
        char text[256];
        (void)snprintf(text, sizeof text, "%zu bytes, %u are taken, topic %.*s", size,
                       l->side[to].max_packet, (int)(p->topic.n < 128 ? p->topic.n : 128),
                       (const char *)p->topic.p);
        l->o.warn(l->o.arg, "a message is dropped: too large for the other side", text);
        count(&c->too_large);
        answer(l, from, p);
        return;
    }
    mqtt_encode_publish(&l->side[to].out, l->side[to].version, &q);
    count(from == BRIDGE_LOCAL ? &c->out : &c->in);
    if (q.qos == 0) {
        answer(l, from, p);
    } else if (q.qos < p->qos) {
        id_set(&l->lowered, p->packet_id, true);
    }
}

static void on_publish(struct link *l, enum bridge_side from, const struct mqtt_frame *f)
{
    struct mqtt_publish p;
    struct mqtt_error err;
    if (mqtt_decode_publish(f, l->side[from].version, &p, &err) != 0) {
        link_bad(l, from, &err);
        return;
    }
    if (props_have(&p.props, MQTT_PROP_TOPIC_ALIAS)) { /* we allowed none */
        link_end(l, "the %s broker used a topic alias that it was not allowed",
                 from == BRIDGE_LOCAL ? "local" : "remote");
        return;
    }
    if (p.qos > 0) { /* the identifier begins anew */
        id_set(&l->own[from], p.packet_id, false);
    }
    if (from == BRIDGE_LOCAL && p.qos > 0) {
        id_set(&l->lowered, p.packet_id, false);
    }
    publish(l, from, &p);
}

/* Of a message that came from this side. */
static void on_pubrel(struct link *l, enum bridge_side from, const struct mqtt_ack *a)
{
    bool lowered = from == BRIDGE_LOCAL && l->remote_max_qos < 2;
    if (lowered || id_has(&l->own[from], a->packet_id)) {
        id_set(&l->own[from], a->packet_id, false);
        put_ack(l, from, MQTT_PUBCOMP, a->packet_id, MQTT_RC_SUCCESS);
    } else {
        put_ack(l, other_side(from), MQTT_PUBREL, a->packet_id, a->reason);
    }
}

static void warn_refused(struct link *l, const struct mqtt_ack *a)
{
    char text[256];
    bool more = props_have(&a->props, MQTT_PROP_REASON_STRING);
    (void)snprintf(text, sizeof text, "%s%s%.*s", bridge_reason_text(a->reason), more ? ": " : "",
                   more ? (int)a->props.reason_string.n : 0,
                   more ? (const char *)a->props.reason_string.p : "");
    count(&l->o.counters->refused);
    l->o.warn(l->o.arg, "the remote refused a message", text);
}

/* PUBACK, PUBREC, PUBCOMP: of a message that came from the other side. */
static void on_ack(struct link *l, enum bridge_side from, enum mqtt_type type,
                   const struct mqtt_ack *a)
{
    bool bad = a->reason >= MQTT_RC_UNSPECIFIED;
    if (from == BRIDGE_REMOTE && bad && type != MQTT_PUBCOMP) {
        warn_refused(l, a);
    }
    if (from == BRIDGE_REMOTE && type == MQTT_PUBACK && id_has(&l->lowered, a->packet_id)) {
        id_set(&l->lowered, a->packet_id, false);
        id_set(&l->own[BRIDGE_LOCAL], a->packet_id, !bad);
        put_ack(l, BRIDGE_LOCAL, MQTT_PUBREC, a->packet_id, a->reason);
        return;
    }
    put_ack(l, other_side(from), type, a->packet_id, a->reason);
}

void link_forward(struct link *l, enum bridge_side from, const struct mqtt_frame *f)
{
    struct mqtt_ack a;
    struct mqtt_error err;
    if (f->type == MQTT_PUBLISH) {
        on_publish(l, from, f);
    } else if (mqtt_decode_ack(f, l->side[from].version, &a, &err) != 0) {
        link_bad(l, from, &err);
    } else if (f->type == MQTT_PUBREL) {
        on_pubrel(l, from, &a);
    } else {
        on_ack(l, from, f->type, &a);
    }
}
