/* What each packet of an accepted connection does. Decoding errors and forbidden packets end the channel (ending.c). */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

static struct publisher *publisher_of(struct conn *c)
{
    if (c->pub == NULL) {
        c->pub = mem_new(1, sizeof *c->pub);
    }
    return c->pub;
}

static void end_denied(struct conn *c, enum cause cause, struct slice topic, uint8_t qos,
                       const struct auth_decision *d)
{
    struct evidence e;
    evidence_init(&e);
    evidence_bytes(&e, EV_TOPIC, topic);
    evidence_u64(&e, EV_QOS, qos);
    evidence_str(&e, EV_RULE, d->rule);
    conn_end(c, cause, &e);
}

bool conn_still_allowed(struct conn *c)
{
    struct auth *a = c->w->server->auth;
    return auth_identity_version(c->identity) == auth_version(a) ||
           auth_identity_refresh(a, &c->identity) == 0;
}

/* False: the connection has ended. */
static bool identity_fresh(struct conn *c)
{
    if (conn_still_allowed(c)) {
        return true;
    }
    conn_end(c, CAUSE_AUTH_REVOKED, NULL);
    return false;
}

static bool publish_allowed(struct conn *c, struct slice topic, struct auth_decision *d)
{
    if (topic.p[0] == '$' && slice_has_prefix(topic, slice_str("$SYS/"))) {
        *d = (struct auth_decision){.rule = "$SYS is the broker's own"};
        return false;
    }
    return auth_allows(c->identity, AUTH_PUBLISH, topic, d);
}

enum verdict { MAY, MAY_NOT, ENDED };

/* May it publish there? The last topic that was allowed is remembered, with its hash. */
static enum verdict publish_check(struct conn *c, const struct mqtt_publish *p, uint64_t *hash)
{
    struct publisher *pub = publisher_of(c);
    uint64_t version = auth_version(c->w->server->auth);
    if (p->topic.n == pub->topic_len && pub->auth_version == version &&
        memcmp(p->topic.p, pub->topic, pub->topic_len) == 0) {
        *hash = pub->topic_hash;
        return MAY;
    }
    struct auth_decision d;
    if (!identity_fresh(c)) {
        return ENDED;
    }
    *hash = hash64(p->topic);
    if (publish_allowed(c, p->topic, &d)) {
        if (p->topic.n <= sizeof pub->topic) {
            memcpy(pub->topic, p->topic.p, p->topic.n);
            pub->topic_len = (uint32_t)p->topic.n;
            pub->topic_hash = *hash;
            pub->auth_version = version;
        }
        return MAY;
    }
    if (auth_identity_on_denied(c->identity) == ON_DENIED_REFUSE) {
        return MAY_NOT;
    }
    end_denied(c, CAUSE_TOPIC_PUBLISH, p->topic, p->qos, &d);
    return ENDED;
}

static void end_receive_maximum(struct conn *c, uint64_t actual)
{
    struct evidence e;
    evidence_init(&e);
    evidence_u64(&e, EV_LIMIT, c->w->server->config->receive_maximum);
    evidence_u64(&e, EV_ACTUAL, actual);
    conn_end(c, CAUSE_LIMIT_RECEIVE_MAXIMUM, &e);
}

/* Which loops have something to forget at PUBREL. */
static void note_loops(const struct session *s, const struct mqtt_publish *p, uint64_t loops)
{
    struct in_id *in = p->qos == 2 ? session_in_find(s, p->packet_id) : NULL;
    if (in != NULL) {
        in->loops |= loops;
    }
}

/* QoS 1 and 2: the acknowledgement waits for the stores. `deliver` false: permission denied, or a repetition. */
static void publish_acked(struct conn *c, const struct mqtt_publish *p, uint64_t hash, bool deliver)
{
    struct worker *w = c->w;
    struct session *s = c->session;
    struct route_result r = {0};
    uint32_t number = acks_put(c, p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC, p->packet_id);
    if (p->qos == 2) {
        bool fresh = session_in_add(s, p->packet_id);
        r.have = session_in_find(s, p->packet_id)->loops;
        deliver = deliver && fresh;
        if (fresh && session_in_count(s) > w->server->config->receive_maximum) {
            end_receive_maximum(c, session_in_count(s));
            return;
        }
        if (session_durable(s)) {
            /* a repetition waits, too: what came on an earlier connection may not be stored yet */
            if (fresh) {
                persist_in_id(w, s->store_id, p->packet_id);
            }
            r.waits += persist_wait(w, WAIT_ACK, c, NULL, number, NULL);
            if (!fresh) {
                route_repetition(w, c, r.have, number, &r);
            }
        }
    }
    if (deliver) {
        route_publish(w, c, s->instance, p, hash, number, &r);
        note_loops(s, p, r.loops);
    }
    acks_waiting(c, number, r.waits);
    if (acks_full(c)) {
        /* before MQTT 5 a client can't know the limit: its next messages wait in its own socket */
        conn_pause(c);
    }
}

static void on_publish(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_publish p;
    struct mqtt_error err;
    uint64_t hash = 0;
    if (mqtt_decode_publish(f, (enum mqtt_version)c->version, &p, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    count_add(&c->w->count.messages_in, 1);
    enum verdict v = publish_check(c, &p, &hash);
    if (v == ENDED) {
        return;
    }
    if (p.qos > 0) {
        publish_acked(c, &p, hash, v == MAY);
    } else if (v == MAY) {
        struct route_result r = {0};
        route_publish(c->w, c, c->session->instance, &p, hash, 0, &r);
    }
}

static void send_ack(struct conn *c, enum mqtt_type type, uint16_t id)
{
    mqtt_encode_ack(conn_out(c), (enum mqtt_version)c->version, type, id, MQTT_RC_SUCCESS);
    c->packets_out++;
    conn_dirty(c);
}

/* PUBACK, PUBREC, PUBCOMP: of a message that we sent. */
static void on_ack(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_ack a;
    struct mqtt_error err;
    uint64_t order;
    bool stored;
    struct message *m;
    struct session *s = c->session;
    if (mqtt_decode_ack(f, (enum mqtt_version)c->version, &a, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    enum ack_result r = session_ack(s, f->type, a.packet_id, &order, &stored, &m);
    if (r == ACK_RELEASE && session_durable(s)) {
        persist_released(c->w, s, order, m, stored);
        (void)persist_wait(c->w, WAIT_PUBREL, c, NULL, a.packet_id, NULL);
    } else if (r == ACK_RELEASE) {
        send_ack(c, MQTT_PUBREL, a.packet_id);
    } else if (r == ACK_DONE && stored) {
        persist_acked(c->w, s, order, m);
    } else if (r == ACK_UNKNOWN && f->type == MQTT_PUBREC) {
        /* a repetition of what is done: let the peer end it */
        send_ack(c, MQTT_PUBREL, a.packet_id);
    }
    if (m != NULL) {
        message_unref(m);
    }
    if (r == ACK_DONE) {
        count_sub(&c->w->count.queued, 1);
        session_pump(c);
    }
}

static void on_pubrel(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_ack a;
    struct mqtt_error err;
    struct session *s = c->session;
    if (mqtt_decode_ack(f, (enum mqtt_version)c->version, &a, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    const struct in_id *found = session_in_find(s, a.packet_id);
    struct in_id in = {0};
    if (found != NULL) {
        in = *found;
    }
    bool known = session_in_remove(s, a.packet_id);
    if (session_durable(s)) {
        /* forgotten for good before the client may use the ID again; by an earlier PUBREL, too */
        if (known) {
            persist_in_gone(c->w, s, &in);
        }
        (void)persist_wait(c->w, WAIT_PUBCOMP, c, NULL, a.packet_id, NULL);
        return;
    }
    send_ack(c, MQTT_PUBCOMP, a.packet_id);
}

/* ---- subscriptions ---- */

struct retained_to {
    struct conn *c;
    const struct topic_sub *sub;
};

static void give_retained(void *arg, struct slice topic, struct slice payload, uint8_t qos)
{
    const struct retained_to *to = arg;
    struct mqtt_publish p = {.topic = topic, .payload = payload, .qos = qos, .retain = true};
    route_retained(to->c, &p, to->sub);
}

static void subscribe_one(struct conn *c, const struct mqtt_sub *in)
{
    struct worker *w = c->w;
    struct session *s = c->session;
    struct topic_sub *sub = session_sub_find(s, in->filter);
    if (sub == NULL) {
        sub = mem_new(1, sizeof *sub);
        sub->qos = in->qos;
        session_sub_link(s, sub);
        topics_add(w->server->topics, w->index, s->instance, in->filter, sub);
    }
    sub->qos = in->qos; /* [MQTT-3.8.4-3] */
    if (session_durable(s)) {
        persist_sub(w, s, sub);
    }
    struct retained_to to = {.c = c, .sub = sub};
    retained_each(w->server->retained, s->instance, in->filter, give_retained, &to);
}

/* Which filters are allowed: codes[] gets the granted QoS or 0x80. False: the connection has ended. */
static bool subscribe_check(struct conn *c, const struct mqtt_subscribe *p, uint8_t *codes)
{
    struct slice rest = p->entries;
    struct mqtt_sub in;
    uint32_t fresh = 0;
    for (uint32_t i = 0; mqtt_sub_next(&rest, false, &in); i++) {
        struct auth_decision d;
        codes[i] = in.qos;
        fresh += session_sub_find(c->session, in.filter) == NULL;
        if (auth_allows(c->identity, AUTH_SUBSCRIBE, in.filter, &d)) {
            continue;
        }
        if (auth_identity_on_denied(c->identity) == ON_DENIED_CLOSE) {
            end_denied(c, CAUSE_TOPIC_SUBSCRIBE, in.filter, in.qos, &d);
            return false;
        }
        codes[i] = 0x80;
    }
    uint64_t max = c->w->server->config->max_subscriptions;
    if (c->session->sub_count + fresh > max) {
        struct evidence e;
        evidence_init(&e);
        evidence_u64(&e, EV_LIMIT, max);
        evidence_u64(&e, EV_ACTUAL, c->session->sub_count + fresh);
        conn_end(c, CAUSE_LIMIT_SUBSCRIPTIONS, &e);
        return false;
    }
    return true;
}

/* SUBACK and UNSUBACK of a durable session say that the store has it. */
static void answer(struct conn *c, struct buf *packet)
{
    if (session_durable(c->session)) {
        size_t n = buf_len(packet);
        uint8_t *bytes = mem_alloc(n);
        memcpy(bytes, packet->p + packet->start, n);
        (void)persist_wait(c->w, WAIT_BYTES, c, NULL, (uint32_t)n, bytes);
    } else {
        buf_put_slice(conn_out(c), buf_slice(packet));
        c->packets_out++;
        conn_dirty(c);
    }
    buf_fini(packet);
}

static void on_subscribe(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_subscribe p;
    struct mqtt_error err;
    if (mqtt_decode_subscribe(f, (enum mqtt_version)c->version, &p, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    if (!identity_fresh(c)) {
        return;
    }
    uint8_t *codes = mem_new(p.count, 1);
    if (subscribe_check(c, &p, codes)) {
        struct buf packet = {0};
        struct slice rest = p.entries;
        struct mqtt_sub in;
        mqtt_encode_suback(&packet, (enum mqtt_version)c->version, p.packet_id, codes, p.count);
        if (!session_durable(c->session)) {
            answer(c, &packet); /* before the retained messages, as most clients like it */
        }
        for (uint32_t i = 0; mqtt_sub_next(&rest, false, &in); i++) {
            if (codes[i] != 0x80) {
                subscribe_one(c, &in);
            }
        }
        sys_wanted(c->w->server);
        if (session_durable(c->session)) {
            answer(c, &packet);
        }
        session_pump(c);
    }
    free(codes);
}

static void on_unsubscribe(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_subscribe p;
    struct mqtt_error err;
    struct mqtt_sub in;
    struct buf packet = {0};
    struct worker *w = c->w;
    if (mqtt_decode_unsubscribe(f, (enum mqtt_version)c->version, &p, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    while (mqtt_sub_next(&p.entries, true, &in)) {
        struct topic_sub *sub = session_sub_find(c->session, in.filter);
        if (sub == NULL) {
            continue;
        }
        if (session_durable(c->session)) {
            persist_unsub(w, c->session, in.filter);
        }
        topics_remove(w->server->topics, w->index, sub);
        session_sub_unlink(c->session, sub);
        free(sub);
    }
    mqtt_encode_unsuback(&packet, (enum mqtt_version)c->version, p.packet_id, NULL, 0);
    answer(c, &packet);
}

static void on_pingreq(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_error err;
    if (mqtt_decode_empty(f, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    mqtt_encode_pingresp(conn_out(c));
    c->packets_out++;
    conn_dirty(c);
}

static void on_disconnect(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_disconnect d;
    struct mqtt_error err;
    if (mqtt_decode_disconnect(f, (enum mqtt_version)c->version, &d, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    conn_end(c, CAUSE_CLIENT_NORMAL, NULL);
}

static void on_connect(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_error err = {.cause = CAUSE_PROTOCOL_SECOND_CONNECT,
                             .clause = "MQTT-3.1.0-2",
                             .text = "one CONNECT on a connection"};
    conn_end_bad(c, &err, f, whole);
}

/* Packets that only a server sends, or that this version does not have. */
static void on_forbidden(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_error err = {
        .cause = CAUSE_PROTOCOL_VIOLATION, .clause = "", .text = "a packet that a client may send"};
    conn_end_bad(c, &err, f, whole);
}

void packet_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    static void (*const handlers[16])(struct conn *, const struct mqtt_frame *, struct slice) = {
        on_forbidden, on_connect,   on_forbidden,  on_publish,   on_ack,         on_ack,
        on_pubrel,    on_ack,       on_subscribe,  on_forbidden, on_unsubscribe, on_forbidden,
        on_pingreq,   on_forbidden, on_disconnect, on_forbidden};
    handlers[(unsigned)f->type & 15](c, f, whole);
}
