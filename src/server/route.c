/*
 * From a PUBLISH to its subscribers: those of this worker at once, those of others by mail (route_mail.c). What waits in a
 * session's outbox goes on by pump.c.
 *
 * A QoS 1 or 2 publish may be acknowledged when every worker with subscribers has answered: at once where no durable
 * session took it, behind the commit otherwise. Retained messages are set before the match, so that an old one never
 * follows a newer live one.
 *
 * Shared subscriptions are shared.c's.
 */

#include "server/route_priv.h"

static struct message *route_message(struct route *r)
{
    if (r->msg == NULL) {
        r->msg = message_make(r->m);
    }
    return r->msg;
}

void route_drop(struct worker *w, struct session *s, enum drop_reason why)
{
    s->dropped++;
    count_add(&w->count.dropped[why], 1);
}

static void count_sent(struct conn *c, unsigned qos, size_t payload)
{
    c->packets_out++;
    count_add(&c->w->count.publish_out[qos], 1);
    count_add(&c->w->count.publish_bytes_out, payload);
}

/* ---- one copy into a connection's output ---- */

void copy_publish(struct mqtt_publish *out, const struct worker *w, const struct copy *copy,
                  uint64_t expires_ms)
{
    out->qos = copy->qos;
    out->dup = false;
    out->retain = copy->retain;
    out->packet_id = 0;
    mqtt_props_clear(&out->props);
    if (expires_ms != 0) { /* less the time that it waited here [MQTT-3.3.2-6] */
        uint64_t now_ms = loop_now_ms(w->loop);
        uint64_t left_ms = expires_ms > now_ms ? expires_ms - now_ms : 0;
        out->props.message_expiry = (uint32_t)((left_ms + 999) / 1000);
        out->props.present |= UINT64_C(1) << MQTT_PROP_MESSAGE_EXPIRY;
    }
    if (copy->subid != 0) {
        out->props.subids[0] = copy->subid;
        out->props.subid_count = 1;
        out->props.present |= UINT64_C(1) << MQTT_PROP_SUBID;
    }
}

static void publish_of(struct mqtt_publish *out, const struct route *r, const struct copy *copy)
{
    out->topic = r->m->topic;
    out->payload = r->m->payload;
    out->extra = r->m->extra;
    copy_publish(out, r->w, copy, r->m->expires_ms);
}

bool copy_fits(const struct conn *c, const struct mqtt_publish *p)
{
    return c->v5 == NULL || c->v5->max_packet == UINT32_MAX ||
           mqtt_publish_size(MQTT_V5, p) <= c->v5->max_packet;
}

void copy_put(struct conn *c, struct mqtt_publish *p, struct message *holder)
{
    enum mqtt_version v = (enum mqtt_version)c->version;
    if (c->v5 != NULL && c->v5->alias_max > 0) {
        alias_out(c, p);
    }
    if (holder != NULL) {
        mqtt_encode_publish_head(conn_out(c), v, p);
        conn_put_payload(c, holder);
    } else {
        mqtt_encode_publish(conn_out(c), v, p);
    }
    count_sent(c, p->qos, p->payload.n);
    conn_dirty(c);
}

/* The same bytes for every client of a version: encoded once. */
static void send_shared(struct route *r, struct conn *c)
{
    struct buf *b = c->v5 == NULL ? &r->w->scratch : &r->w->scratch5;
    bool *encoded = c->v5 == NULL ? &r->encoded : &r->encoded5;
    if (!*encoded) {
        struct mqtt_publish out;
        publish_of(&out, r, &(struct copy){0});
        buf_clear(b);
        mqtt_encode_publish(b, c->v5 == NULL ? MQTT_V311 : MQTT_V5, &out);
        *encoded = true;
    }
    if (c->v5 != NULL && buf_len(b) > c->v5->max_packet) {
        route_drop(r->w, c->session, DROP_PACKET_TOO_LARGE);
        return;
    }
    buf_put_slice(conn_out(c), buf_slice(b));
    count_sent(c, 0, r->m->payload.n);
    conn_dirty(c);
}

static void send_qos0(struct route *r, struct session *s, struct conn *c, const struct copy *copy)
{
    if (!conn_has_room(c)) {
        route_drop(r->w, s, DROP_OUTPUT_FULL);
        return;
    }
    bool small = r->m->payload.n <= SMALL_PAYLOAD;
    bool plain = !copy->retain && copy->subid == 0 && (c->v5 == NULL || c->v5->alias_max == 0);
    if (small && plain) {
        send_shared(r, c);
        return;
    }
    struct mqtt_publish out;
    publish_of(&out, r, copy);
    if (copy_fits(c, &out)) {
        copy_put(c, &out, small ? NULL : route_message(r));
    } else {
        route_drop(r->w, s, DROP_PACKET_TOO_LARGE);
    }
}

/* ---- to the sessions of this worker ---- */

void outbox_forget(struct worker *w, struct session *s, uint64_t order, bool stored,
                   struct message *m)
{
    if (stored) {
        persist_acked(w, s, order, m);
    }
    message_unref(m);
}

static enum drop_reason why_full(const struct worker *w, const struct session *s)
{
    return session_queued(s) >= w->limits.queue_max ? DROP_QUEUE_MESSAGES : DROP_QUEUE_BYTES;
}

/* The oldest that waits makes room for the newest. */
static bool drop_oldest(struct worker *w, struct session *s)
{
    uint64_t order;
    bool stored;
    struct message *m;
    enum drop_reason why = why_full(w, s);
    struct queue_size before = queue_size(s);
    if (!w->server->config->drop_oldest || !session_skip(s, &order, &stored, &m)) {
        return false;
    }
    count_queue(&w->count, s, before);
    outbox_forget(w, s, order, stored, m);
    route_drop(w, s, why);
    return true;
}

uint32_t send_window(const struct conn *c)
{
    uint32_t max = c->w->limits.inflight_max;
    return c->v5 != NULL && c->v5->receive_max < max ? c->v5->receive_max
                                                     : max; /* [MQTT-3.3.4-9] */
}

/*
 * The usual case: the client is there, nothing waits for it, and its session ends with the connection. No message is made
 * for that, which would be most of the work. False: it has to be queued.
 */
static bool pass(struct route *r, struct session *s, const struct copy *copy)
{
    struct worker *w = r->w;
    struct conn *c = s->conn;
    struct mqtt_publish p;
    if (c == NULL || c->state != CONN_OPEN || (c->kind & CONN_PREPARES) != 0 || s->shared ||
        s->feeds != NULL || copy->filtered || r->m->payload.n > SMALL_PAYLOAD ||
        !conn_has_room(c) || message_expired(r->m->expires_ms, loop_now_ms(w->loop))) {
        return false;
    }
    publish_of(&p, r, copy);
    if (!copy_fits(c, &p) ||
        (p.packet_id = session_pass(s, &w->limits, send_window(c), p.qos)) == 0) {
        return false;
    }
    copy_put(c, &p, NULL);
    count_add(&w->count.queued, 1);
    count_add(&w->count.inflight, 1);
    return true;
}

static void keep(struct route *r, struct session *s, const struct copy *copy)
{
    if (copy->qos > 0 && pass(r, s, copy)) {
        return;
    }
    struct worker *w = r->w;
    const struct session_limits *l = &w->limits;
    struct message *m = route_message(r);
    uint32_t bytes = message_bytes(m);
    while (session_full(s, l, bytes)) {
        if (!drop_oldest(w, s)) {
            route_drop(w, s, why_full(w, s));
            return;
        }
    }
    session_queue(s, m, copy->qos, copy->retain, copy->subid, copy->share)->filtered =
        copy->filtered;
    count_add(&w->count.queued, 1);
    count_add(&w->count.queued_bytes, bytes);
    if (session_durable(s)) {
        persist_queue(w, s);
        r->durable = true;
    }
    if (s->conn != NULL) {
        session_pump(s->conn);
    }
}

static inline void deliver_unseen(struct route *r, struct session *s, const struct copy *copy)
{
    if (copy->qos > 0) {
        if (!r->have || !session_durable(s)) {
            keep(r, s, copy);
        }
    } else if (s->conn != NULL) {
        send_qos0(r, s, s->conn, copy);
    } else if (r->w->server->config->queue_qos0 && !r->have) {
        keep(r, s, copy);
    }
}

static void deliver(struct route *r, struct session *s, const struct copy *copy)
{
    if (!copy->filtered || filtered_lets(r->w, s, r->m->topic, copy->qos)) {
        deliver_unseen(r, s, copy);
    }
}

void route_deliver(struct route *r, struct session *s, const struct copy *copy)
{
    deliver(r, s, copy);
}

/* Filled in place: returned by value it is stored in pieces and loaded whole, which costs more than all that is done here. */
static inline void copy_of(struct copy *out, const struct route *r, uint8_t sub_qos,
                           bool as_published, bool filtered, uint32_t subid)
{
    out->subid = subid;
    out->share = 0;
    out->qos = r->m->qos < sub_qos ? r->m->qos : sub_qos;
    /* [MQTT-3.3.1-9] [MQTT-3.3.1-12] [MQTT-3.3.1-13] */
    out->retain = as_published && r->m->retain;
    out->filtered = filtered;
}

static inline void copy_by(struct copy *out, const struct route *r, const struct topic_sub *sub)
{
    copy_of(out, r, sub->qos, (sub->flags & SUB_RETAIN_AS_PUBLISHED) != 0,
            (sub->flags & SUB_FILTERED) != 0, sub->subid);
}

void route_copy_of(struct copy *out, const struct route *r, const struct topic_sub *sub)
{
    copy_by(out, r, sub);
}

/* [MQTT-3.8.3-3] */
static inline bool is_own(const struct route *r, const struct topic_sub *sub)
{
    return (sub->flags & SUB_NO_LOCAL) != 0 && sub->session == r->from;
}

/* A subscription identifier in the router's list: w->subids holds these, numbered from 1. */
struct listed_subid {
    uint32_t subid, next;
};

static const struct listed_subid *listed(const struct worker *w, uint32_t number)
{
    const struct listed_subid *all = (const void *)(w->subids.p + w->subids.start);
    return &all[number - 1];
}

static void list_subid(struct worker *w, struct session *s, uint32_t subid)
{
    const struct listed_subid l = {.subid = subid, .next = s->match_subid};
    buf_put(&w->subids, &l, sizeof l);
    s->match_subid = (uint32_t)(buf_len(&w->subids) / sizeof l);
}

/* What a session's overlapping subscriptions make of the message together. */
static void note_match(struct route *r, const struct topic_sub *sub, uint64_t stamp)
{
    struct session *s = sub->session;
    bool as_published = (sub->flags & SUB_RETAIN_AS_PUBLISHED) != 0;
    bool filtered = (sub->flags & SUB_FILTERED) != 0;
    if (s->stamp != stamp) {
        s->stamp = stamp;
        s->match_qos = sub->qos;
        s->match_retain = as_published;
        s->match_filtered = filtered;
        s->match_subid = 0;
    } else {
        s->match_qos = sub->qos > s->match_qos ? sub->qos : s->match_qos;
        s->match_retain |= as_published;
        s->match_filtered &= filtered; /* by one that is covered it may be read */
    }
    if (sub->subid != 0) {
        list_subid(r->w, s, sub->subid);
    }
}

/* A session with several identifiers gets a message of its own, in which they stand before the other properties. */
static void deliver_subids(struct route *r, struct session *s, struct copy copy)
{
    struct buf *b = &r->w->extra5;
    struct message_parts own = *r->m;
    struct route alone = {.w = r->w, .m = &own, .have = r->have};
    buf_clear(b);
    for (uint32_t n = s->match_subid; n != 0; n = listed(r->w, n)->next) {
        mqtt_put_subid(b, listed(r->w, n)->subid);
    }
    buf_put_slice(b, r->m->extra);
    own.extra = buf_slice(b);
    copy.subid = 0;
    if (copy.qos == 0 && s->conn != NULL) {
        copy.retain = copy.retain && r->m->retain;
    }
    deliver(&alone, s, &copy);
    r->durable |= alone.durable;
    route_end(&alone);
}

static void deliver_matched(struct route *r, struct session *s)
{
    uint32_t first = s->match_subid;
    struct copy copy;
    copy_of(&copy, r, s->match_qos, s->match_retain, s->match_filtered, 0);
    if (first != 0 && listed(r->w, first)->next != 0) {
        deliver_subids(r, s, copy);
        return;
    }
    copy.subid = first == 0 ? 0 : listed(r->w, first)->subid;
    deliver(r, s, &copy);
}

/*
 * A session whose filters overlap gets the message once, at the highest of their QoS [MQTT-3.3.4-2], with the identifiers of
 * all of them [MQTT-3.3.4-3] [MQTT-3.3.4-4].
 */
static void deliver_overlapping(struct route *r, const struct topics_match *m)
{
    uint64_t stamp = ++r->w->stamp;
    buf_clear(&r->w->subids);
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < m->lists[i].count; k++) {
            const struct topic_sub *sub = m->lists[i].subs[k];
            if (!is_own(r, sub)) {
                note_match(r, sub, stamp);
            }
        }
    }
    for (uint32_t i = 0; i < m->count; i++) {
        for (uint32_t k = 0; k < m->lists[i].count; k++) {
            struct session *s = m->lists[i].subs[k]->session;
            if (s->stamp == stamp) {
                s->stamp = 0;
                deliver_matched(r, s);
            }
        }
    }
}

/* By a subscription that does not get everything. */
static void deliver_choosy(struct route *r, const struct topic_sub *sub)
{
    struct copy copy;
    copy_by(&copy, r, sub);
    if (!is_own(r, sub)) {
        deliver(r, sub->session, &copy);
    }
}

static void deliver_list(struct route *r, const struct topics_list *list)
{
    for (uint32_t k = 0; k < list->count; k++) {
        const struct topic_sub *sub = list->subs[k];
        if ((sub->flags & (SUB_NO_LOCAL | SUB_FILTERED)) != 0) {
            deliver_choosy(r, sub);
            continue;
        }
        struct copy copy;
        copy_by(&copy, r, sub);
        deliver_unseen(r, sub->session, &copy);
    }
}

static void count_work(struct worker *w, const struct topics_match *m)
{
    w->work += 1 + m->steps + m->share_count;
    for (uint32_t i = 0; i < m->count; i++) {
        w->work += m->lists[i].count;
    }
}

void route_deliver_matched(struct route *r, const struct topics_match *m)
{
    count_work(r->w, m);
    if (m->count > 1) {
        deliver_overlapping(r, m);
    } else if (m->count == 1) {
        deliver_list(r, &m->lists[0]);
    }
}

void route_end(struct route *r)
{
    if (r->msg != NULL) {
        message_unref(r->msg);
    }
}

/* ---- a PUBLISH ---- */

static void retain(struct worker *w, struct conn *origin, uint32_t instance,
                   const struct message_parts *p, uint32_t number, struct route_result *out)
{
    struct server *s = w->server;
    bool own = slice_has_prefix(p->topic, slice_str("$SYS/"));
    uint64_t max = own ? 0 : s->config->max_retained;
    enum retained_result done = retained_set(s->retained, instance, p, max);
    out->over_quota = done == RETAINED_FULL;
    if (own || (done != RETAINED_STORED && done != RETAINED_REMOVED)) {
        return;
    }
    persist_retained(w, instance, p->topic);
    if (p->qos > 0 && origin != NULL) {
        out->waits += persist_wait(w, WAIT_ACK, origin, NULL, number, NULL);
    }
}

/* What of a PUBLISH goes on; slices live until the worker routes the next one. */
static void parts_of(struct worker *w, const struct mqtt_publish *p, struct message_parts *out)
{
    *out = (struct message_parts){.topic = p->topic,
                                  .payload = p->payload,
                                  .extra = mqtt_props_forwarded(&p->props, &w->extra),
                                  .qos = p->qos,
                                  .retain = p->retain};
    if ((p->props.present >> MQTT_PROP_MESSAGE_EXPIRY & 1) != 0) {
        uint64_t ms = (uint64_t)p->props.message_expiry * 1000;
        out->expires_ms = loop_now_ms(w->loop) + (ms > 0 ? ms : 1);
    }
}

void route_publish(struct worker *w, struct conn *origin, uint32_t instance,
                   const struct mqtt_publish *p, uint64_t topic_hash, uint32_t ack_number,
                   struct route_result *out)
{
    struct topics_match m;
    struct message_parts parts;
    parts_of(w, p, &parts);
    struct route r = {.w = w,
                      .m = &parts,
                      .from = origin == NULL ? out->from : origin->session,
                      .have = (out->have >> w->index & 1) != 0};
    if (p->retain) {
        retain(w, origin, instance, &parts, ack_number, out);
    }
    topics_match(w->server->topics, w->index, instance, p->topic, topic_hash, &m);
    out->matched = m.loops != 0 || m.share_count > 0;
    count_add(&w->count.unmatched, !out->matched && origin != NULL);
    route_deliver_matched(&r, &m);
    if (m.share_count > 0 || (m.loops & ~(UINT64_C(1) << w->index)) != 0) {
        const struct routed head = {.hash = topic_hash,
                                    .origin = p->qos > 0 ? origin : NULL,
                                    .session_id = p->qos != 2      ? 0
                                                  : origin != NULL ? origin->session->store_id
                                                                   : out->in_of,
                                    .number = ack_number,
                                    .instance = instance,
                                    .packet_id = p->packet_id,
                                    .asker = (uint8_t)w->index};
        shared_route(&r, &m, &head, out->in, out);
        route_others(w, m.loops, head, &parts, out);
    }
    if (r.durable && origin != NULL && p->qos > 0) { /* QoS 0, too, may be kept: queue_qos0 */
        out->waits += persist_wait(w, WAIT_ACK, origin, NULL, ack_number, NULL);
    }
    route_end(&r);
}

/*
 * A retained message takes no place that live ones may need: half of the output, and of the queue no more than may be in
 * flight.
 */
static bool has_place(const struct conn *c, const struct message_parts *m, uint8_t qos)
{
    const struct session_limits *l = &c->w->limits;
    if (qos == 0) {
        return conn_output_bytes(c) < c->w->server->config->max_output_bytes / 2 &&
               c->ref_count < OUT_REFS_MAX / 2;
    }
    return session_queued(c->session) < l->inflight_max &&
           !session_full(c->session, l, message_bytes_of(m));
}

bool route_retained(struct conn *c, const struct message_parts *m, const struct topic_sub *sub)
{
    struct route r = {.w = c->w, .m = m};
    const struct copy copy = {.subid = sub->subid,
                              .qos = m->qos < sub->qos ? m->qos : sub->qos,
                              .retain = true, /* [MQTT-3.3.1-8] */
                              .filtered = (sub->flags & SUB_FILTERED) != 0};
    enum reading reading = copy.filtered ? filtered_reading(c->w, c->session, m->topic) : READ_YES;
    if (reading == READ_NO) {
        filtered_passed(c->w, c->session);
        return true;
    }
    if (reading == READ_LATER || !has_place(c, m, copy.qos)) {
        return false;
    }
    if (copy.qos > 0) {
        keep(&r, c->session, &copy);
    } else {
        send_qos0(&r, c->session, c, &copy);
    }
    route_end(&r);
    return true;
}
