/*
 * From a PUBLISH to its subscribers: those of this worker at once, those of others by mail, one piece of mail a round and
 * worker. The target worker matches for itself: subscriber lists are its own.
 *
 * A QoS 1 or 2 publish may be acknowledged when every worker with subscribers has answered: at once where no durable
 * session took it, behind the commit otherwise. Retained messages are set before the match, so that an old one never
 * follows a newer live one.
 *
 * Shared subscriptions are shared.c's. Mail: route_priv.h. Answers: struct answered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/route_priv.h"

enum { MAIL_FLUSH_BYTES = 64 * 1024 };

struct answered {
    struct conn *conn; /* NULL: a delayed message's number */
    uint32_t number;
};

static struct message *route_message(struct route *r)
{
    if (r->msg == NULL) {
        r->msg = message_make(r->m);
    }
    return r->msg;
}

static void drop(struct worker *w, struct session *s, enum drop_reason why)
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

/* All of it but topic, payload and `extra`. */
static void publish_by(struct mqtt_publish *out, const struct worker *w, const struct copy *copy,
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
    publish_by(out, r->w, copy, r->m->expires_ms);
}

/* False: larger than the client takes; it is treated as delivered. [MQTT-3.1.2-24] [MQTT-3.1.2-25] */
static bool fits(const struct conn *c, const struct mqtt_publish *p)
{
    return c->v5 == NULL || c->v5->max_packet == UINT32_MAX ||
           mqtt_publish_size(MQTT_V5, p) <= c->v5->max_packet;
}

/* `holder` keeps a large payload while it is being written. */
static void put_publish(struct conn *c, struct mqtt_publish *p, struct message *holder)
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
        drop(r->w, c->session, DROP_PACKET_TOO_LARGE);
        return;
    }
    buf_put_slice(conn_out(c), buf_slice(b));
    count_sent(c, 0, r->m->payload.n);
    conn_dirty(c);
}

static void send_qos0(struct route *r, struct session *s, struct conn *c, const struct copy *copy)
{
    if (!conn_has_room(c)) {
        drop(r->w, s, DROP_OUTPUT_FULL);
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
    if (fits(c, &out)) {
        put_publish(c, &out, small ? NULL : route_message(r));
    } else {
        drop(r->w, s, DROP_PACKET_TOO_LARGE);
    }
}

/* ---- to the sessions of this worker ---- */

static void forget_entry(struct worker *w, struct session *s, uint64_t order, bool stored,
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
    forget_entry(w, s, order, stored, m);
    drop(w, s, why);
    return true;
}

static uint32_t window(const struct conn *c)
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
    if (!fits(c, &p) || (p.packet_id = session_pass(s, &w->limits, window(c), p.qos)) == 0) {
        return false;
    }
    put_publish(c, &p, NULL);
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
            drop(w, s, why_full(w, s));
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

static void deliver_local(struct route *r, const struct topics_match *m)
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

void route_send_to(struct worker *w, unsigned target, const struct message_parts *p,
                   const struct routed *head)
{
    struct mail_bytes *m = mail_for(w, &w->publishes[target], MAIL_PUBLISHES);
    buf_put(&m->bytes, head, sizeof *head);
    buf_put_slice(&m->bytes, p->topic);
    buf_put_slice(&m->bytes, p->payload);
    buf_put_slice(&m->bytes, p->extra);
    if (buf_len(&m->bytes) > MAIL_FLUSH_BYTES) {
        post_bytes(w->server->workers[target], &w->publishes[target], false);
    }
}

void route_fill_head(struct routed *head, const struct message_parts *p)
{
    head->topic_len = (uint32_t)p->topic.n;
    head->payload_len = (uint32_t)p->payload.n;
    head->extra_len = (uint32_t)p->extra.n;
    head->expires_ms = p->expires_ms;
    head->qos = p->qos;
    head->retain = p->retain;
}

void route_asked(const struct routed *head, struct route_result *out)
{
    if (head->origin != NULL) {
        conn_hold(head->origin);
    }
    out->waits += routed_asks(head);
}

/* `head` says who asks and for what; the rest is filled in here. */
static void send_others(struct worker *w, uint64_t loops, struct routed head,
                        const struct message_parts *p, struct route_result *out)
{
    route_fill_head(&head, p);
    loops &= ~(UINT64_C(1) << w->index);
    out->loops |= loops;
    while (loops != 0) {
        unsigned target = (unsigned)__builtin_ctzll(loops);
        loops &= loops - 1;
        head.have = (out->have >> target & 1) != 0;
        route_send_to(w, target, p, &head);
        route_asked(&head, out);
    }
}

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
    deliver_local(&r, &m);
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
        send_others(w, m.loops, head, &parts, out);
    }
    if (r.durable && origin != NULL && p->qos > 0) { /* QoS 0, too, may be kept: queue_qos0 */
        out->waits += persist_wait(w, WAIT_ACK, origin, NULL, ack_number, NULL);
    }
    route_end(&r);
}

void route_repetition(struct worker *w, struct conn *origin, uint64_t loops, uint32_t ack_number,
                      struct route_result *out)
{
    const struct message_parts nothing = {.qos = 2};
    const struct routed head = {.origin = origin,
                                .number = ack_number,
                                .qos = 2,
                                .repetition = true,
                                .asker = (uint8_t)w->index};
    loops &= ~(UINT64_C(1) << w->index);
    while (loops != 0) {
        route_send_to(w, (unsigned)__builtin_ctzll(loops), &nothing, &head);
        loops &= loops - 1;
        conn_hold(origin);
        out->waits++;
    }
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

void route_answer(struct worker *w, const struct routed *head, bool durable)
{
    struct worker *asker = w->server->workers[head->asker];
    if (!routed_asks(head)) {
        return;
    }
    if (durable) {
        (void)persist_wait(w, WAIT_REMOTE_ACK, head->origin, asker, head->number, NULL);
    } else {
        route_ack_back(w, asker, head->origin, head->number);
    }
}

static void route_one(struct worker *w, const struct routed *head, const struct message_parts *p)
{
    struct topics_match m;
    struct route r = {.w = w, .m = p, .durable = head->repetition, .have = head->have};
    if (!head->repetition) {
        topics_match(w->server->topics, w->index, head->instance, p->topic, head->hash, &m);
        deliver_local(&r, &m);
        route_end(&r);
    }
    if (r.durable && head->session_id != 0) {
        persist_in_id(w, head->session_id, head->packet_id);
    }
    route_answer(w, head, r.durable);
}

bool route_mail(struct worker *w, struct mail_bytes *mail)
{
    struct slice rest = buf_slice(&mail->bytes);
    while (rest.n > 0 && w->work < ROUND_WORK) {
        struct routed head;
        assert(rest.n >= sizeof head);
        memcpy(&head, rest.p, sizeof head);
        rest = slice_from(rest, sizeof head);
        struct message_parts p = {
            .qos = head.qos, .retain = head.retain != 0, .expires_ms = head.expires_ms};
        p.topic = slice_make(rest.p, head.topic_len);
        rest = slice_from(rest, head.topic_len);
        p.payload = slice_make(rest.p, head.payload_len);
        rest = slice_from(rest, head.payload_len);
        p.extra = slice_make(rest.p, head.extra_len);
        rest = slice_from(rest, head.extra_len);
        if (head.shared) {
            shared_arrived(w, &head, &p);
        } else {
            route_one(w, &head, &p);
        }
    }
    buf_take(&mail->bytes, buf_len(&mail->bytes) - rest.n);
    if (rest.n > 0) {
        return false;
    }
    buf_fini(&mail->bytes);
    free(mail);
    return true;
}

void route_ack_back(struct worker *w, struct worker *origin, struct conn *conn, uint32_t number)
{
    struct mail_bytes *m = mail_for(w, &w->acks[origin->index], MAIL_ACKS);
    struct answered a = {.conn = conn, .number = number};
    buf_put(&m->bytes, &a, sizeof a);
}

void route_acks(struct worker *w, struct mail_bytes *mail)
{
    struct slice rest = buf_slice(&mail->bytes);
    while (rest.n > 0) {
        struct answered a;
        memcpy(&a, rest.p, sizeof a);
        rest = slice_from(rest, sizeof a);
        if (a.conn == NULL) {
            delays_answered(w, a.number);
            continue;
        }
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

/* False: larger than the client takes; it counts as sent, and done with. [MQTT-3.1.2-25] */
static bool send_entry(struct conn *c, const struct out_entry *e, uint16_t id)
{
    struct mqtt_publish p;
    const struct copy copy = {.subid = e->subid, .qos = e->qos, .retain = e->retain};
    p.topic = message_topic(e->msg);
    p.payload = message_payload(e->msg);
    p.extra = message_extra(e->msg);
    publish_by(&p, c->w, &copy, e->msg->expires_ms);
    p.dup = e->sent_before && e->qos > 0;
    p.packet_id = e->qos > 0 ? id : 0;
    if (!fits(c, &p)) {
        return false;
    }
    put_publish(c, &p, p.payload.n > SMALL_PAYLOAD ? e->msg : NULL);
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
    forget_entry(c->w, c->session, order, stored, m);
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
    uint32_t max = window(c);
    while (session_waits(s) && (e = session_next(s, max, &id)) != NULL && conn_has_room(c)) {
        if (expired(c, e)) {
            drop(c->w, s, DROP_EXPIRED);
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
            drop(c->w, s, DROP_PACKET_TOO_LARGE);
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
