/*
 * From a PUBLISH to its subscribers: those of this worker at once, those of others by mail, one piece of mail a round and
 * worker. The target worker matches for itself: subscriber lists are its own.
 *
 * A QoS 1 or 2 publish may be acknowledged when every worker with subscribers has answered: at once where no durable
 * session took it, behind the commit otherwise. Retained messages are set before the match, so that an old one never
 * follows a newer live one.
 *
 * Mail, one after another:  struct routed, topic, payload.  Answers:  struct answered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { MAIL_FLUSH_BYTES = 64 * 1024 };

struct routed {
    uint64_t hash;
    struct conn *origin; /* held; NULL: no answer is wanted */
    uint32_t number;
    uint32_t instance;
    uint32_t topic_len, payload_len;
    uint64_t session_id; /* QoS 2 of a durable session: its number; else 0 */
    uint16_t packet_id;
    uint8_t qos, retain;
    bool have;       /* the durable sessions there had it before a crash */
    bool repetition; /* nothing to deliver, but to answer when what waits is stored */
};

struct answered {
    struct conn *conn;
    uint32_t number;
};

/* One message on its way to this worker's sessions. */
struct route {
    struct worker *w;
    const struct mqtt_publish *p;
    struct message *msg; /* made when somebody must keep it */
    bool encoded;        /* w->scratch holds it as QoS 0 */
    bool durable;        /* some durable session took it */
    bool have;           /* durable sessions have it already */
};

static struct message *route_message(struct route *r)
{
    if (r->msg == NULL) {
        r->msg = message_new(r->p->topic, r->p->payload, r->p->qos, r->p->retain);
    }
    return r->msg;
}

static void drop(struct worker *w, struct session *s)
{
    s->dropped++;
    count_add(&w->count.dropped, 1);
}

static void count_sent(struct conn *c)
{
    c->packets_out++;
    count_add(&c->w->count.messages_out, 1);
}

static void send_qos0(struct route *r, struct session *s, struct conn *c)
{
    if (!conn_has_room(c)) {
        drop(r->w, s);
        return;
    }
    const struct mqtt_publish out = {.topic = r->p->topic, .payload = r->p->payload};
    if (r->p->payload.n > SMALL_PAYLOAD) {
        mqtt_encode_publish_head(conn_out(c), (enum mqtt_version)c->version, &out);
        conn_put_payload(c, route_message(r));
    } else {
        if (!r->encoded) {
            buf_clear(&r->w->scratch);
            mqtt_encode_publish(&r->w->scratch, MQTT_V311, &out);
            r->encoded = true;
        }
        buf_put_slice(conn_out(c), buf_slice(&r->w->scratch));
    }
    count_sent(c);
    conn_dirty(c);
}

static void keep(struct route *r, struct session *s, uint8_t qos, bool retain, uint32_t subid)
{
    struct worker *w = r->w;
    if (!session_queue(s, &w->server->limits, route_message(r), qos, retain, subid)) {
        count_add(&w->count.dropped, 1);
        return;
    }
    count_add(&w->count.queued, 1);
    if (session_durable(s)) {
        persist_queue(w, s);
        r->durable = true;
    }
    if (s->conn != NULL) {
        session_pump(s->conn);
    }
}

static void deliver(struct route *r, struct session *s, uint8_t sub_qos, uint32_t subid)
{
    uint8_t qos = r->p->qos < sub_qos ? r->p->qos : sub_qos;
    if (r->have && session_durable(s)) {
        return;
    }
    if (qos > 0) {
        keep(r, s, qos, false, subid); /* [MQTT-3.3.1-9] */
    } else if (s->conn != NULL) {
        send_qos0(r, s, s->conn);
    }
}

/* A session whose filters overlap gets the message once, at the highest of their QoS. [MQTT-3.3.5-1] */
static void deliver_overlapping(struct route *r, const struct topics_match *m)
{
    uint64_t stamp = ++r->w->stamp;
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < m->lists[i].count; k++) {
            const struct topic_sub *sub = m->lists[i].subs[k];
            struct session *s = sub->session;
            s->match_qos = s->stamp != stamp || sub->qos > s->match_qos ? sub->qos : s->match_qos;
            s->stamp = stamp;
        }
    }
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < m->lists[i].count; k++) {
            const struct topic_sub *sub = m->lists[i].subs[k];
            if (sub->session->stamp == stamp) {
                sub->session->stamp = 0;
                deliver(r, sub->session, sub->session->match_qos, sub->subid);
            }
        }
    }
}

static void deliver_local(struct route *r, const struct topics_match *m)
{
    if (m->count > 1) {
        deliver_overlapping(r, m);
    } else if (m->count == 1) {
        for (uint32_t k = 0; k < m->lists[0].count; k++) {
            const struct topic_sub *sub = m->lists[0].subs[k];
            deliver(r, sub->session, sub->qos, sub->subid);
        }
    }
    if (r->msg != NULL) {
        message_unref(r->msg);
    }
}

/* ---- mail to other workers ---- */

static void post_bytes(struct worker *to, struct mail_bytes **slot, bool control)
{
    struct mail_bytes *m = *slot;
    *slot = NULL;
    m->mail.bytes = (uint32_t)buf_len(&m->bytes);
    if (control) {
        worker_post(to, &m->mail);
    } else {
        mailbox_push(&to->inbox, &m->mail);
        loop_wake(to->loop);
    }
}

static struct mail_bytes *mail_for(struct worker *w, struct mail_bytes **slot, enum mail_kind kind)
{
    if (*slot == NULL) {
        *slot = mem_new(1, sizeof **slot);
        (*slot)->mail.kind = kind;
        (*slot)->from = w;
    }
    return *slot;
}

static void send_to(struct worker *w, unsigned target, const struct mqtt_publish *p,
                    const struct routed *head)
{
    struct mail_bytes *m = mail_for(w, &w->publishes[target], MAIL_PUBLISHES);
    buf_put(&m->bytes, head, sizeof *head);
    buf_put_slice(&m->bytes, p->topic);
    buf_put_slice(&m->bytes, p->payload);
    if (buf_len(&m->bytes) > MAIL_FLUSH_BYTES) {
        post_bytes(w->server->workers[target], &w->publishes[target], false);
    }
}

static void send_others(struct worker *w, uint64_t loops, struct conn *origin, uint32_t instance,
                        const struct mqtt_publish *p, uint64_t hash, uint32_t number,
                        struct route_result *out)
{
    struct routed head = {.hash = hash,
                          .origin = p->qos > 0 ? origin : NULL,
                          .number = number,
                          .instance = instance,
                          .topic_len = (uint32_t)p->topic.n,
                          .payload_len = (uint32_t)p->payload.n,
                          .packet_id = p->packet_id,
                          .qos = p->qos,
                          .retain = p->retain};
    if (p->qos == 2 && origin != NULL) {
        head.session_id = origin->session->store_id;
    }
    loops &= ~(UINT64_C(1) << w->index);
    out->loops = loops;
    while (loops != 0) {
        unsigned target = (unsigned)__builtin_ctzll(loops);
        loops &= loops - 1;
        head.have = (out->have >> target & 1) != 0;
        send_to(w, target, p, &head);
        if (p->qos > 0 && origin != NULL) {
            conn_hold(origin);
            out->waits++;
        }
    }
}

static void retain(struct worker *w, struct conn *origin, uint32_t instance,
                   const struct mqtt_publish *p, uint32_t number, struct route_result *out)
{
    struct server *s = w->server;
    enum retained_result done =
        retained_set(s->retained, instance, p->topic, p->payload, p->qos, s->config->max_retained);
    bool own = slice_has_prefix(p->topic, slice_str("$SYS/"));
    if (own || (done != RETAINED_STORED && done != RETAINED_REMOVED)) {
        return;
    }
    persist_retained(w, instance, p->topic);
    if (p->qos > 0 && origin != NULL) {
        out->waits += persist_wait(w, WAIT_ACK, origin, NULL, number, NULL);
    }
}

void route_publish(struct worker *w, struct conn *origin, uint32_t instance,
                   const struct mqtt_publish *p, uint64_t hash, uint32_t number,
                   struct route_result *out)
{
    struct topics_match m;
    struct route r = {.w = w, .p = p, .have = (out->have >> w->index & 1) != 0};
    if (p->retain) {
        retain(w, origin, instance, p, number, out);
    }
    topics_match(w->server->topics, w->index, instance, p->topic, hash, &m);
    deliver_local(&r, &m);
    if (r.durable && origin != NULL) {
        out->waits += persist_wait(w, WAIT_ACK, origin, NULL, number, NULL);
    }
    if ((m.loops & ~(UINT64_C(1) << w->index)) != 0) {
        send_others(w, m.loops, origin, instance, p, hash, number, out);
    }
}

void route_repetition(struct worker *w, struct conn *origin, uint64_t loops, uint32_t ack_number,
                      struct route_result *out)
{
    const struct mqtt_publish nothing = {.qos = 2};
    const struct routed head = {
        .origin = origin, .number = ack_number, .qos = 2, .repetition = true};
    loops &= ~(UINT64_C(1) << w->index);
    while (loops != 0) {
        send_to(w, (unsigned)__builtin_ctzll(loops), &nothing, &head);
        loops &= loops - 1;
        conn_hold(origin);
        out->waits++;
    }
}

void route_retained(struct conn *c, const struct mqtt_publish *p, const struct topic_sub *sub)
{
    struct route r = {.w = c->w, .p = p};
    uint8_t qos = p->qos < sub->qos ? p->qos : sub->qos;
    if (qos > 0) {
        keep(&r, c->session, qos, true, sub->subid);
    } else if (conn_has_room(c)) {
        struct mqtt_publish out = *p;
        out.qos = 0;
        mqtt_encode_publish(conn_out(c), (enum mqtt_version)c->version, &out);
        count_sent(c);
        conn_dirty(c);
    } else {
        drop(c->w, c->session);
    }
    if (r.msg != NULL) {
        message_unref(r.msg);
    }
}

void route_flush(struct worker *w)
{
    for (unsigned i = 0; i < w->server->worker_count; i++) {
        if (w->publishes[i] != NULL) {
            post_bytes(w->server->workers[i], &w->publishes[i], false);
        }
        if (w->acks[i] != NULL) {
            post_bytes(w->server->workers[i], &w->acks[i], true);
        }
    }
}

static void route_one(struct worker *w, struct worker *from, const struct routed *head,
                      const struct mqtt_publish *p)
{
    struct topics_match m;
    struct route r = {.w = w, .p = p, .durable = head->repetition, .have = head->have};
    if (!head->repetition) {
        topics_match(w->server->topics, w->index, head->instance, p->topic, head->hash, &m);
        deliver_local(&r, &m);
    }
    if (head->origin == NULL) {
        return;
    }
    if (r.durable && head->session_id != 0) {
        persist_in_id(w, head->session_id, head->packet_id);
    }
    if (r.durable) {
        (void)persist_wait(w, WAIT_REMOTE_ACK, head->origin, from, head->number, NULL);
    } else {
        route_ack_back(w, from, head->origin, head->number);
    }
}

void route_mail(struct worker *w, struct mail_bytes *mail)
{
    struct slice rest = buf_slice(&mail->bytes);
    while (rest.n > 0) {
        struct routed head;
        assert(rest.n >= sizeof head);
        memcpy(&head, rest.p, sizeof head);
        rest = slice_from(rest, sizeof head);
        struct mqtt_publish p = {.qos = head.qos, .retain = head.retain != 0};
        p.topic = slice_make(rest.p, head.topic_len);
        p.payload = slice_make(rest.p + head.topic_len, head.payload_len);
        rest = slice_from(rest, (size_t)head.topic_len + head.payload_len);
        route_one(w, mail->from, &head, &p);
    }
    buf_fini(&mail->bytes);
    free(mail);
}

void route_ack_back(struct worker *w, struct worker *origin, struct conn *conn, uint32_t number)
{
    struct mail_bytes *m = mail_for(w, &w->acks[origin->index], MAIL_ACKS);
    struct answered a = {.conn = conn, .number = number};
    buf_put(&m->bytes, &a, sizeof a);
}

void route_acks(struct mail_bytes *mail)
{
    struct slice rest = buf_slice(&mail->bytes);
    while (rest.n > 0) {
        struct answered a;
        memcpy(&a, rest.p, sizeof a);
        rest = slice_from(rest, sizeof a);
        acks_answered(a.conn, a.number);
        conn_unhold(a.conn);
    }
    buf_fini(&mail->bytes);
    free(mail);
}

bool route_full(const struct worker *w)
{
    const struct server *s = w->server;
    for (unsigned i = 0; i < s->worker_count; i++) {
        if (i != w->index && mailbox_bytes(&s->workers[i]->inbox) > s->config->mailbox_bytes) {
            return true;
        }
    }
    return false;
}

/* ---- a session's outbox to its connection ---- */

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

static void send_entry(struct conn *c, const struct out_entry *e, uint16_t id)
{
    enum mqtt_version v = (enum mqtt_version)c->version;
    if (e->state == OUT_RELEASED) {
        mqtt_encode_ack(conn_out(c), v, MQTT_PUBREL, id, MQTT_RC_SUCCESS);
        c->packets_out++;
        return;
    }
    const struct mqtt_publish p = {.qos = e->qos,
                                   .dup = e->sent_before,
                                   .retain = e->retain,
                                   .packet_id = id,
                                   .topic = message_topic(e->msg),
                                   .payload = message_payload(e->msg)};
    if (p.payload.n > SMALL_PAYLOAD) {
        mqtt_encode_publish_head(conn_out(c), v, &p);
        conn_put_payload(c, e->msg);
    } else {
        mqtt_encode_publish(conn_out(c), v, &p);
    }
    count_sent(c);
}

void session_pump(struct conn *c)
{
    struct session *s = c->session;
    struct out_entry *e;
    uint16_t id;
    if (c->state != CONN_OPEN || s == NULL) {
        return;
    }
    while ((e = session_next(s, &c->w->server->limits, &id)) != NULL && conn_has_room(c) &&
           may_send(c, e)) {
        send_entry(c, e, id);
        session_sent(s);
        conn_dirty(c);
    }
}
