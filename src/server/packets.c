/* What each packet of an accepted connection does. Decoding errors and forbidden packets end the channel (ending.c). */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "mqtt/topic.h"
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
    if ((c->kind & CONN_OWN) != 0 ||
        (topic.p[0] == '$' && bridge_state_topic(c, session_client_id(c->session), topic))) {
        return true;
    }
    if (topic.p[0] == '$' && slice_has_prefix(topic, slice_str("$SYS/"))) {
        *d = (struct auth_decision){.rule = "$SYS is the broker's own"};
        return false;
    }
    return auth_allows(c->identity, session_client_id(c->session), AUTH_PUBLISH, topic, d);
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
    evidence_u64(&e, EV_LIMIT, conn_receive_max(c));
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

/*
 * With this one the client has more messages that it may not count as done than it was told it may have: it ends, before
 * anything is done with this one. Before MQTT 5 it can't know the limit: its next messages wait in its own socket.
 * [MQTT-3.3.4-7] [MQTT-3.3.4-8]
 */
static bool over_receive_maximum(struct conn *c, const struct mqtt_publish *p)
{
    const struct session *s = c->session;
    if (c->version != MQTT_V5) {
        return false;
    }
    bool repeated = p->qos == 2 && session_in_find(s, p->packet_id) != NULL;
    uint64_t unfinished = c->pub->pubacks + session_in_count(s) + (repeated ? 0 : 1);
    if (unfinished <= conn_receive_max(c)) {
        return false;
    }
    end_receive_maximum(c, unfinished);
    return true;
}

/* Before MQTT 5 no acknowledgement has a reason code. */
static uint8_t reason_of(const struct mqtt_publish *p, const struct route_result *r)
{
    return r->over_quota && p->qos == 1 ? MQTT_RC_QUOTA
           : r->matched                 ? MQTT_RC_SUCCESS
                                        : MQTT_RC_NO_SUBSCRIBERS;
}

/* QoS 2: false when the client has too many messages unfinished, and has ended. */
static bool publish_received(struct conn *c, const struct mqtt_publish *p, uint32_t number,
                             struct route_result *r, bool *deliver)
{
    struct worker *w = c->w;
    struct session *s = c->session;
    bool fresh = session_in_add(s, p->packet_id);
    r->have = session_in_find(s, p->packet_id)->loops;
    *deliver = *deliver && fresh;
    if (fresh && c->version != MQTT_V5 && session_in_count(s) > conn_receive_max(c)) {
        end_receive_maximum(c, session_in_count(s));
        return false;
    }
    if (session_durable(s)) {
        /* a repetition waits, too: what came on an earlier connection may not be stored yet */
        if (fresh) {
            persist_in_id(w, s->store_id, p->packet_id);
        }
        r->waits += persist_wait(w, WAIT_ACK, c, NULL, number, NULL);
        if (!fresh) {
            route_repetition(w, c, r->have, number, r);
        }
    }
    return true;
}

/* Refused in MQTT 5: that ends the message, whatever its QoS. [MQTT-4.3.3-9] */
static void publish_refused(struct conn *c, const struct mqtt_publish *p, uint8_t reason)
{
    (void)publisher_of(c);
    acks_put(c, p, reason, 0);
}

/* To its subscribers, or when its delay is over. */
static void publish_on(struct conn *c, const struct mqtt_publish *p, uint64_t hash, uint32_t number,
                       uint64_t delay_ms, struct route_result *r)
{
    struct worker *w = c->w;
    struct session *s = c->session;
    if (delay_ms == 0) {
        route_publish(w, c, s->instance, p, hash, number, r);
        return;
    }
    r->matched = true; /* that will be seen */
    if ((r->have >> w->index & 1) == 0) {
        delays_keep(w, s->instance, session_client_id(s), p, delay_ms);
    }
    if (p->qos > 0) {
        r->waits += persist_wait(w, WAIT_ACK, c, NULL, number, NULL);
    }
}

/* QoS 1 and 2: the acknowledgement waits for the stores. `deliver` false: permission denied, before MQTT 5. */
static void publish_acked(struct conn *c, const struct mqtt_publish *p, uint64_t hash, bool deliver,
                          uint64_t delay_ms)
{
    struct session *s = c->session;
    struct route_result r = {0};
    uint8_t reason = MQTT_RC_SUCCESS;
    if (over_receive_maximum(c, p)) {
        return;
    }
    uint32_t number = acks_next(c);
    if (p->qos == 2 && !publish_received(c, p, number, &r, &deliver)) {
        return;
    }
    if (deliver) {
        r.in = p->qos == 2 && session_durable(s) ? session_in_find(s, p->packet_id) : NULL;
        publish_on(c, p, hash, number, delay_ms, &r);
        note_loops(s, p, r.loops);
        reason = c->version == MQTT_V5 ? reason_of(p, &r) : reason;
    }
    if (c->state != CONN_OPEN) {
        return;
    }
    acks_put(c, p, reason, r.waits);
    if (acks_full(c)) {
        conn_pause(c);
    }
}

/* What a PUBLISH of MQTT 5 may not have, and its alias. False: *err. */
static bool publish_resolve(struct conn *c, struct mqtt_publish *p, struct mqtt_error *err)
{
    if ((p->props.present >> MQTT_PROP_SUBID & 1) != 0) {
        *err = (struct mqtt_error){.cause = CAUSE_PROTOCOL_VIOLATION,
                                   .reason = MQTT_RC_PROTOCOL_ERROR,
                                   .clause = "MQTT-3.3.4-6",
                                   .text = "no subscription identifier from a client"};
        return false;
    }
    return (p->props.present >> MQTT_PROP_TOPIC_ALIAS & 1) == 0 || alias_in(c, p, err);
}

/* The payload is what its format indicator says, as far as that is asked for. */
static bool payload_fits(const struct conn *c, const struct mqtt_publish *p)
{
    return !c->w->server->config->validate_payload_format ||
           (p->props.present >> MQTT_PROP_PAYLOAD_FORMAT & 1) == 0 ||
           p->props.payload_format == 0 || mqtt_payload_is_utf8(p->payload);
}

/* MQTT 5: a message that may not go on is answered where there is an answer, else the connection ends. */
static void publish_bad(struct conn *c, const struct mqtt_publish *p, const struct mqtt_error *err,
                        const struct mqtt_frame *f, struct slice whole)
{
    if (p->qos > 0 && c->version == MQTT_V5) {
        publish_refused(c, p, err->reason);
    } else if ((c->kind & CONN_OWN) == 0) { /* a bridge's is another client's fault, somewhere */
        conn_end_bad(c, err, f, whole);
    }
}

static const struct mqtt_error bad_payload = {
    .cause = CAUSE_PROTOCOL_VIOLATION,
    .reason = MQTT_RC_PAYLOAD_FORMAT,
    .clause = "",
    .text = "a payload in UTF-8, as its format indicator says"};
static const struct mqtt_error bad_delay = {
    .cause = CAUSE_PROTOCOL_VIOLATION,
    .reason = MQTT_RC_TOPIC_INVALID,
    .clause = "",
    .text = "$delayed/SECONDS/TOPIC with 42949669 seconds at most, or a Unix time no further away"};

/* There is no room for it: one of QoS 2 that was taken before is not refused any more. False: it goes no further. */
static bool publish_has_room(struct conn *c, const struct mqtt_publish *p, size_t bytes,
                             uint64_t delay_ms)
{
    bool memory = memory_takes(c->w, bytes);
    if ((memory && (delay_ms == 0 || delays_takes(c->w, p))) ||
        (p->qos == 2 && session_in_find(c->session, p->packet_id) != NULL)) {
        return true;
    }
    count_add(&c->w->count.dropped[memory ? DROP_DELAYED : DROP_MEMORY], 1);
    if (p->qos > 0 && c->version == MQTT_V5) {
        publish_refused(c, p, MQTT_RC_QUOTA);
    } else if (p->qos > 0) {
        struct evidence e;
        evidence_init(&e);
        if (memory) {
            delays_evidence(c->w, &e);
        } else {
            memory_evidence(c->w->server, &e);
        }
        conn_end(c, memory ? CAUSE_LIMIT_DELAYED : CAUSE_LIMIT_MEMORY, &e);
    }
    return false;
}

static void on_publish(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_publish p;
    struct mqtt_error err;
    uint64_t hash = 0, delay_ms = 0;
    if (mqtt_decode_publish(f, (enum mqtt_version)c->version, &p, &err) != 0 ||
        (p.props.present != 0 && !publish_resolve(c, &p, &err))) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    count_add(&c->w->count.publish_in[p.qos], 1);
    count_add(&c->w->count.publish_bytes_in, p.payload.n);
    if ((c->w->publish_rate | c->w->publish_bytes_rate) != 0 && (c->kind & CONN_OWN) == 0 &&
        (publisher_of(c), !rate_publish(c, whole.n))) {
        return;
    }
    if (p.topic.p[0] == '$' && (c->kind & CONN_OWN) == 0 &&
        !delays_topic(c->w, &p.topic, &delay_ms)) {
        publish_bad(c, &p, &bad_delay, f, whole);
        return;
    }
    enum verdict v = publish_check(c, &p, &hash);
    if (v == ENDED) {
        return;
    }
    if (p.props.present != 0 && v == MAY && !payload_fits(c, &p)) {
        publish_bad(c, &p, &bad_payload, f, whole);
        return;
    }
    if (v == MAY && !publish_has_room(c, &p, whole.n, delay_ms)) {
        return;
    }
    if (p.qos > 0 && v == MAY_NOT && c->version == MQTT_V5) {
        publish_refused(c, &p, MQTT_RC_NOT_AUTHORIZED);
    } else if (p.qos > 0) {
        publish_acked(c, &p, hash, v == MAY, delay_ms);
    } else if (v == MAY) {
        struct route_result r = {0};
        publish_on(c, &p, hash, 0, delay_ms, &r);
    }
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
    if (r == ACK_RELEASE && a.reason >= MQTT_RC_UNSPECIFIED) {
        struct message *none; /* refused: there is no PUBREL [MQTT-4.3.3-4] */
        r = session_ack(s, MQTT_PUBCOMP, a.packet_id, &order, &stored, &none);
    }
    count_acked(&c->w->count, r, m);
    if (r == ACK_RELEASE && session_durable(s)) {
        persist_released(c->w, s, order, m, stored);
        (void)persist_wait(c->w, WAIT_PUBREL, c, NULL, a.packet_id, NULL);
    } else if (r == ACK_RELEASE) {
        acks_send(c, MQTT_PUBREL, a.packet_id, MQTT_RC_SUCCESS);
    } else if (r == ACK_DONE && stored) {
        persist_acked(c->w, s, order, m);
    } else if (r == ACK_UNKNOWN && f->type == MQTT_PUBREC) {
        /* a repetition of what is done: let the peer end it */
        acks_send(c, MQTT_PUBREL, a.packet_id, MQTT_RC_PACKET_ID_NOT_FOUND);
    }
    if (m != NULL) {
        message_unref(m);
    }
    if (r == ACK_DONE) {
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
    const struct in_id *in = session_in_find(s, a.packet_id);
    bool known = in != NULL;
    uint8_t reason = known ? MQTT_RC_SUCCESS : MQTT_RC_PACKET_ID_NOT_FOUND;
    if (known && session_durable(s)) {
        persist_in_gone(c->w, s->store_id, in);
    }
    (void)session_in_remove(s, a.packet_id);
    if (session_durable(s)) {
        /* forgotten for good before the client may use the ID again; by an earlier PUBREL, too */
        uint32_t answer = a.packet_id | (uint32_t)reason << 16;
        (void)persist_wait(c->w, WAIT_PUBCOMP, c, NULL, answer, NULL);
        return;
    }
    acks_send(c, MQTT_PUBCOMP, a.packet_id, reason);
}

/* ---- subscriptions ---- */

enum { RETAIN_ALWAYS, RETAIN_IF_NEW, RETAIN_NEVER }; /* retain handling */

static struct topic_sub *sub_new(struct conn *c, struct slice filter)
{
    struct topics *t = c->w->server->topics;
    struct topic_sub *sub = mem_new(1, sizeof *sub);
    session_sub_link(c->session, sub, filter);
    topics_add(t, c->w->index, c->session->instance, filter, sub);
    if ((sub->flags & SUB_SHARED) != 0) {
        c->session->shared = true;
        topics_share_here(t, sub, true);
    }
    return sub;
}

static void subscribe_one(struct conn *c, const struct mqtt_sub *in, uint32_t subid, bool filtered)
{
    struct worker *w = c->w;
    struct session *s = c->session;
    struct topic_sub *sub = session_sub_find(s, in->filter);
    bool fresh = sub == NULL;
    bool bridge = (c->kind & CONN_BRIDGE) != 0 && c->v5 == NULL; /* it has no way to ask for that */
    if (fresh) {
        sub = sub_new(c, in->filter);
    }
    sub->qos = in->qos; /* [MQTT-3.8.4-3] */
    sub->subid = subid;
    sub->flags = (uint8_t)((sub->flags & (SUB_SHARED | SUB_FEEDS | SUB_FEEDS_AGAIN)) |
                           (in->no_local || bridge ? SUB_NO_LOCAL : 0) |
                           (in->retain_as_published || bridge ? SUB_RETAIN_AS_PUBLISHED : 0) |
                           (filtered ? SUB_FILTERED : 0));
    filtered_set(w, sub);
    bool retained =
        in->retain_handling == RETAIN_ALWAYS || (in->retain_handling == RETAIN_IF_NEW && fresh);
    if (retained && (sub->flags & SUB_SHARED) == 0) {
        feed_begin(w, s, sub);
    }
    if (session_durable(s)) {
        persist_sub(w, s, sub);
    }
}

/*
 * A shared subscription needs the permission for its filter. Where nothing covers it but messages are looked at one by one,
 * *filtered; to the broker's own topics that does not hold.
 */
static bool subscribe_allowed(const struct conn *c, struct slice filter, bool *filtered,
                              struct auth_decision *d)
{
    struct slice name, inner = filter;
    if (mqtt_filter_is_shared(filter)) {
        bool valid = mqtt_filter_shared(filter, &name, &inner);
        assert(valid);
    }
    *filtered = false;
    if (auth_allows(c->identity, session_client_id(c->session), AUTH_SUBSCRIBE, inner, d)) {
        return true;
    }
    *filtered =
        inner.p[0] != '$' && auth_identity_subscriptions(c->identity) == SUBSCRIPTIONS_FILTERED;
    return *filtered;
}

/* Which filters are allowed: codes[] gets the granted QoS or 0x80, filtered[] which are. False: the connection has ended. */
static bool subscribe_check(struct conn *c, const struct mqtt_subscribe *p, uint8_t *codes,
                            bool *filtered)
{
    struct slice rest = p->entries;
    struct mqtt_sub in;
    struct worker *w = c->w;
    uint32_t fresh = 0;
    for (uint32_t i = 0; mqtt_sub_next(&rest, false, &in); i++) {
        struct auth_decision d;
        codes[i] = in.qos;
        fresh += session_sub_find(c->session, in.filter) == NULL;
        if (subscribe_allowed(c, in.filter, &filtered[i], &d)) {
            continue;
        }
        if (auth_identity_on_denied(c->identity) == ON_DENIED_CLOSE) {
            end_denied(c, CAUSE_TOPIC_SUBSCRIBE, in.filter, in.qos, &d);
            return false;
        }
        codes[i] = c->version == MQTT_V5 ? MQTT_RC_NOT_AUTHORIZED : MQTT_RC_UNSPECIFIED;
    }
    uint64_t max = w->server->config->max_subscriptions;
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
        c->answers++;
        (void)persist_wait(c->w, WAIT_BYTES, c, NULL, (uint32_t)n, bytes);
    } else {
        conn_sent(c, (enum mqtt_type)(packet->p[packet->start] >> 4));
        buf_put_slice(conn_out(c), buf_slice(packet));
        conn_dirty(c);
    }
    buf_fini(packet);
}

/* False: the client takes no packet of that length, there is no other answer, and the connection has ended. [MQTT-3.1.2-24] */
static bool answer_fits(struct conn *c, const struct buf *packet)
{
    if (c->v5 == NULL || buf_len(packet) <= c->v5->max_packet) {
        return true;
    }
    struct evidence e;
    evidence_init(&e);
    evidence_u64(&e, EV_LIMIT, c->v5->max_packet);
    evidence_u64(&e, EV_ACTUAL, buf_len(packet));
    evidence_str(&e, EV_TEXT, "the client takes no packet as large as the answer to its own");
    conn_end(c, CAUSE_LIMIT_PACKET_SIZE, &e);
    return false;
}

/* What is allowed of a SUBSCRIBE, and its SUBACK, which fits. */
static void subscribe_all(struct conn *c, const struct mqtt_subscribe *p, const uint8_t *codes,
                          const bool *filtered, struct buf *suback)
{
    struct slice rest = p->entries;
    struct mqtt_sub in;
    uint32_t subid = (p->props.present >> MQTT_PROP_SUBID & 1) != 0 ? p->props.subids[0] : 0;
    for (uint32_t i = 0; mqtt_sub_next(&rest, false, &in); i++) {
        if (codes[i] < MQTT_RC_UNSPECIFIED) {
            subscribe_one(c, &in, subid, filtered[i]);
        }
    }
    sys_wanted(c->w->server);
    answer(c, suback);
    session_pump(c); /* the retained messages, behind the SUBACK as most clients like it */
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
    c->w->work += 3 * f->body.n; /* a level of two bytes costs as much as some copies */
    uint8_t *codes = mem_new(p.count, 1);
    bool *filtered = mem_new(p.count, sizeof *filtered);
    if (subscribe_check(c, &p, codes, filtered)) {
        struct buf packet = {0};
        mqtt_encode_suback(&packet, (enum mqtt_version)c->version, p.packet_id, codes, p.count);
        if (answer_fits(c, &packet)) {
            subscribe_all(c, &p, codes, filtered, &packet);
        }
        buf_fini(&packet);
    }
    free(filtered);
    free(codes);
}

static void on_unsubscribe(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_subscribe p;
    struct mqtt_error err;
    struct mqtt_sub in;
    struct buf packet = {0};
    if (mqtt_decode_unsubscribe(f, (enum mqtt_version)c->version, &p, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    uint8_t *codes = mem_new(p.count, 1);
    for (uint32_t i = 0; mqtt_sub_next(&p.entries, true, &in); i++) {
        struct topic_sub *sub = session_sub_find(c->session, in.filter);
        if (sub == NULL) {
            codes[i] = MQTT_RC_NO_SUBSCRIPTION;
            continue;
        }
        if ((sub->flags & SUB_SHARED) != 0) {
            shared_leave(c->w, c->session, sub, false);
        }
        session_unsubscribe(c->w, c->session, sub);
    }
    mqtt_encode_unsuback(&packet, (enum mqtt_version)c->version, p.packet_id, codes, p.count);
    free(codes);
    if (answer_fits(c, &packet)) {
        answer(c, &packet);
    }
    buf_fini(&packet);
}

static void on_pingreq(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_error err;
    if (mqtt_decode_empty(f, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    mqtt_encode_pingresp(conn_out(c));
    conn_sent(c, MQTT_PINGRESP);
    conn_dirty(c);
}

static void on_connect(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_error err = {.cause = CAUSE_PROTOCOL_SECOND_CONNECT,
                             .reason = MQTT_RC_PROTOCOL_ERROR,
                             .clause = "MQTT-3.1.0-2",
                             .text = "one CONNECT on a connection"};
    conn_end_bad(c, &err, f, whole);
}

/* Packets that only a server sends, or that this version does not have. */
static void on_forbidden(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_error err = {.cause = CAUSE_PROTOCOL_VIOLATION,
                             .reason = MQTT_RC_PROTOCOL_ERROR,
                             .clause = "",
                             .text = "a packet that a client may send"};
    conn_end_bad(c, &err, f, whole);
}

void packet_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    static void (*const handlers[16])(struct conn *, const struct mqtt_frame *, struct slice) = {
        on_forbidden, on_connect,   on_forbidden,      on_publish,     on_ack,         on_ack,
        on_pubrel,    on_ack,       on_subscribe,      on_forbidden,   on_unsubscribe, on_forbidden,
        on_pingreq,   on_forbidden, disconnect_handle, exchange_handle};
    handlers[(unsigned)f->type & 15](c, f, whole);
}
