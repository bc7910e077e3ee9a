/*
 * A session's outbox to its connection: what may be sent now is, within the client's window and the room of its output. What
 * has expired by then, or may no longer be read, is passed over.
 */
#include "server/route_priv.h"

/* QoS 2 to a durable session goes out when its packet ID is in the store: a restart must not give it another one. */
static bool may_send(struct conn *c, const struct out_entry *e)
{
    if (e->qos < 2 || !session_durable(c->session) || persist_is_done(c->w, e->batch)) {
        return true;
    }
    if ((c->flags & CONN_PUMP_WAITS) == 0) {
        c->flags |= CONN_PUMP_WAITS;
        (void)persist_wait(c->w, WAIT_PUMP, c, NULL, 0, NULL);
    }
    return false;
}

/* False: larger than the client takes; it counts as sent, and done with. [MQTT-3.1.2-25] */
static bool send_entry(struct conn *c, const struct out_entry *e, uint16_t id)
{
    struct mqtt_publish p;
    const struct copy copy = {.subid = e->subid, .qos = e->qos, .retain = e->retain};
    p.topic = message_topic(e->msg);
    p.payload = message_payload(e->msg);
    p.extra = message_extra(e->msg);
    copy_publish(&p, c->w, &copy, e->msg->expires_ms);
    p.dup = e->sent_before && e->qos > 0;
    p.packet_id = e->qos > 0 ? id : 0;
    if (!copy_fits(c, &p)) {
        return false;
    }
    copy_put(c, &p, p.payload.n > SMALL_PAYLOAD ? e->msg : NULL);
    return true;
}

/* It is over before it was ever sent. */
static bool expired(const struct conn *c, const struct out_entry *e)
{
    return e->msg != NULL && !e->sent_before && e->msg->expires_ms != 0 &&
           message_expired(e->msg->expires_ms, loop_now_ms(c->w->loop));
}

/* The next entry is done with. */
static void skip_entry(struct conn *c)
{
    uint64_t order = c->session->out->sent;
    bool stored;
    struct message *m;
    struct queue_size before = queue_size(c->session);
    session_take(c->session, order, &stored, &m);
    count_queue(&c->w->count, c->session, before);
    outbox_forget(c->w, c->session, order, stored, m);
}

/* A filtered entry that its client may not read, now that it would be sent: the next in its group may. */
static void pass_over(struct conn *c, const struct out_entry *e)
{
    struct session *s = c->session;
    struct message *m = e->msg;
    uint32_t share = e->share;
    message_ref(m);
    skip_entry(c);
    if (share == 0 || !shared_pass_on(c->w, s, m, share)) {
        filtered_passed(c->w, s);
    }
    message_unref(m);
}

static enum reading entry_reading(struct conn *c, const struct out_entry *e)
{
    struct message_parts m;
    message_parts(e->msg, &m);
    return filtered_reading(c->w, c->session, m.topic);
}

static void sent(struct conn *c)
{
    struct message *m = session_sent(c->session);
    count_add(&c->w->count.inflight, 1);
    if (m != NULL) {
        count_sub(&c->w->count.queued_bytes, message_bytes(m));
        message_unref(m);
    }
}

static void pump(struct conn *c)
{
    struct session *s = c->session;
    struct out_entry *e;
    uint16_t id;
    uint32_t max = send_window(c);
    while (session_waits(s) && (e = session_next(s, max, &id)) != NULL && conn_has_room(c)) {
        if (expired(c, e)) {
            route_drop(c->w, s, DROP_EXPIRED);
            skip_entry(c);
            continue;
        }
        enum reading reading = e->filtered && !e->sent_before ? entry_reading(c, e) : READ_YES;
        if (reading == READ_NO) {
            pass_over(c, e);
            continue;
        }
        if (reading == READ_LATER || !may_send(c, e)) {
            break;
        }
        if (!send_entry(c, e, id)) {
            route_drop(c->w, s, DROP_PACKET_TOO_LARGE);
            skip_entry(c);
        } else if (e->qos == 0) {
            skip_entry(c);
        } else {
            sent(c);
        }
    }
}

void session_repeat_pubrels(struct conn *c)
{
    uint64_t order = 0;
    uint16_t id;
    while ((id = session_released(c->session, &order)) != 0) {
        mqtt_encode_ack(conn_out(c), (enum mqtt_version)c->version, MQTT_PUBREL, id,
                        MQTT_RC_SUCCESS);
        conn_sent(c, MQTT_PUBREL);
        conn_dirty(c);
    }
}

void session_pump(struct conn *c)
{
    if (c->state != CONN_OPEN || c->session == NULL || (c->kind & CONN_PREPARES) != 0) {
        return;
    }
    if (session_waits(c->session)) {
        pump(c);
    }
    if (c->session->feeds != NULL) {
        feed_go(c);
    }
    if (c->session != NULL && c->session->shared) {
        shared_load(c);
    }
}
