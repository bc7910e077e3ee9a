/*
 * What of the sessions must survive: written in batches by the commit thread, together with the trace.
 *
 * A worker builds one batch while its last one is under way. What is waiting in an outbox is taken when the batch is
 * handed over, not before: what all subscribers acknowledge until then is never written. Effects that must not run ahead
 * of the store (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, a QoS 2 PUBLISH) are `waits` of the batch. A batch that fails is
 * tried again every second; its waits stay, so nothing is acknowledged that is not safe.
 *
 * Keys (numbers big-endian):
 *   sessions   'S' instance32 clientId        version8=2 storeId64 expiry32 ended64 (wall ms; 0 while connected)
 *                                             version8=1 storeId64: of earlier brokers, without an end
 *              'T' storeId64 filter           qos8 flags8 subid32; of a filtered one: 1 and the user name behind it, if known
 *              'I' storeId64 packetId16 loop8 loops8  (empty)  incoming QoS 2: that loop (of so many) has stored its part
 *              'I' storeId64 packetId16 255 255 group64  (empty)  the same of a shared subscription: a member of that group
 *              'W' instance32 clientId        version8=3 delay32 due64 (wall ms; 0 while connected) PUBLISH of MQTT 5: the will
 *                                             message: of earlier brokers; its first byte, the QoS, is below 3
 *              'D' storeId64                  version8=1 instance32 due64 (wall us) expires64 (wall ms; 0 = never) clientIdLen16
 *                                             clientId PUBLISH of MQTT 5: a delayed message. Where QoS 2 of it went stands in 'I' rows
 *                                             with this number and packet ID 0
 *   queues     storeId64 order64              version8=1 qos8 flags8 state8 subid32 messageId64
 *                                             version8=2 and share32 behind it: of a shared subscription
 *   messages   messageId64                    message
 *   retained   instance32 topic               message
 *   message:   version8=3 qos8 retain8 topicLen16 extraLen32 expires64 (wall ms; 0 = never) topic extra payload
 *              qos8 retain8 topicLen16 topic payload: of earlier brokers; its first byte is below 3
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/persist_priv.h"

enum { RETRY_MS = 1000, OP_HEAD = 10, MARKS_MIN = 64, MARKS_KEPT = 4096 };

/* Operations as the loop wrote them, until the commit thread puts them into its own batch. */
struct persist_batch {
    struct mail mail; /* first: comes back as mail */
    struct commit_job job;
    struct worker *w;
    struct buf ops;
    struct wait *waits;
    uint32_t wait_count, number;
    uint64_t
        wall_less_mono; /* what the loop's clocks were apart when it handed the batch over, ms */
    int error;
};

static void put_op(struct buf *ops, enum store_family family, bool put, struct slice key,
                   struct slice value)
{
    uint8_t *p = buf_reserve(ops, OP_HEAD + key.n + value.n);
    p[0] = (uint8_t)family;
    p[1] = put;
    put_le32(p + 2, (uint32_t)key.n);
    put_le32(p + 6, (uint32_t)value.n);
    memcpy(p + OP_HEAD, key.p, key.n);
    if (value.n > 0) {
        memcpy(p + OP_HEAD + key.n, value.p, value.n);
    }
    buf_commit(ops, OP_HEAD + key.n + value.n);
}

void persist_drop(struct worker *w, enum store_family family, struct slice key)
{
    put_op(&w->persist.ops, family, false, key, slice_make(NULL, 0));
}

uint64_t persist_wall_less_mono(const struct worker *w)
{
    return loop_wall_us(w->loop) / 1000 - loop_now_ms(w->loop);
}

static void put_message(struct buf *out, const struct message_parts *m, uint64_t wall_less_mono)
{
    uint8_t head[MESSAGE_ROW_HEAD] = {MESSAGE_ROW_VERSION, m->qos, m->retain};
    put_be16(head + 3, (uint16_t)m->topic.n);
    put_be32(head + 5, (uint32_t)m->extra.n);
    put_be64(head + 9, m->expires_ms == 0 ? 0 : m->expires_ms + wall_less_mono);
    buf_put(out, head, sizeof head);
    buf_put_slice(out, m->topic);
    buf_put_slice(out, m->extra);
    buf_put_slice(out, m->payload);
}

struct retained_row {
    struct buf value;
    uint64_t wall_less_mono;
};

static bool retained_found(void *arg, const struct message_parts *m)
{
    struct retained_row *row = arg;
    put_message(&row->value, m, row->wall_less_mono);
    return true;
}

/*
 * A retained message is written as it is now, not as it was when the loop asked: two loops that set one topic reach the
 * store in any order, and the last write must be what RAM holds.
 */
static void fill_retained(const struct persist_batch *b, struct store_batch *out, struct slice key)
{
    const struct server *s = b->w->server;
    struct retained_row row = {.wall_less_mono = b->wall_less_mono};
    struct store_cf *cf = store_family(s->store, STORE_RETAINED);
    if (retained_get(s->retained, get_be32(key.p), slice_from(key, 4), retained_found, &row)) {
        store_batch_put(out, cf, key, buf_slice(&row.value));
    } else {
        store_batch_delete(out, cf, key);
    }
    buf_fini(&row.value);
}

static void fill(struct commit_job *job, struct store_batch *out)
{
    struct persist_batch *b = LIST_ENTRY(job, struct persist_batch, job);
    struct slice rest = buf_slice(&b->ops);
    while (rest.n > 0) {
        struct store_cf *cf = store_family(b->w->server->store, (enum store_family)rest.p[0]);
        uint32_t key = get_le32(rest.p + 2), value = get_le32(rest.p + 6);
        struct slice k = slice_make(rest.p + OP_HEAD, key);
        if (rest.p[0] == STORE_RETAINED) {
            fill_retained(b, out, k);
        } else if (rest.p[1] != 0) {
            store_batch_put(out, cf, k, slice_make(k.p + key, value));
        } else {
            store_batch_delete(out, cf, k);
        }
        rest = slice_from(rest, OP_HEAD + (size_t)key + value);
    }
}

static void done(struct commit_job *job, int err)
{
    struct persist_batch *b = LIST_ENTRY(job, struct persist_batch, job);
    b->error = err;
    worker_post(b->w, &b->mail);
}

static void submit(struct persist_batch *b)
{
    const struct server *s = b->w->server;
    b->job.sync = s->config->durability == DURABILITY_FSYNC && b->wait_count > 0;
    trace_submit(s->trace, &b->job);
}

static void on_retry(struct timer *t)
{
    struct worker *w = LIST_ENTRY(t, struct worker, persist.retry);
    submit(w->persist.running);
}

void persist_init(struct worker *w)
{
    struct persist *p = &w->persist;
    list_init(&p->dirty);
    timer_init(&p->retry, on_retry);
    p->done = SESSION_BATCH_RESTORED;
    p->building = SESSION_BATCH_RESTORED + 1;
}

void persist_fini(struct worker *w)
{
    struct persist *p = &w->persist;
    timer_cancel(&p->retry);
    for (uint32_t i = 0; i < p->wait_count; i++) {
        free(p->waits[i].bytes);
    }
    free(p->waits);
    free(p->marks.places);
    buf_fini(&p->ops);
}

bool persist_idle(const struct worker *w)
{
    const struct persist *p = &w->persist;
    return p->running == NULL && buf_len(&p->ops) == 0 && p->wait_count == 0 &&
           list_empty(&p->dirty);
}

/* Of those that are no acknowledgement of a PUBLISH: receive_maximum does not limit them. */
static bool is_answer(enum wait_kind kind)
{
    return kind == WAIT_PUBREL || kind == WAIT_PUBCOMP || kind == WAIT_BYTES;
}

static void wait_over(struct worker *w, const struct wait *wt)
{
    struct conn *c = wt->conn;
    if (wt->kind == WAIT_REMOTE_ACK) {
        route_ack_back(w, wt->origin, c, wt->value);
        return;
    }
    c->unstored -= is_answer((enum wait_kind)wt->kind);
    if (c->state == CONN_OPEN) {
        switch ((enum wait_kind)wt->kind) {
        case WAIT_ACK:
            acks_answered(c, wt->value);
            break;
        case WAIT_PUMP:
            c->flags &= (uint16_t)~CONN_PUMP_WAITS;
            session_pump(c);
            break;
        case WAIT_PUBREL:
        case WAIT_PUBCOMP:
            mqtt_encode_ack(conn_out(c), (enum mqtt_version)c->version,
                            wt->kind == WAIT_PUBREL ? MQTT_PUBREL : MQTT_PUBCOMP,
                            (uint16_t)wt->value, (uint8_t)(wt->value >> 16));
            conn_sent(c, wt->kind == WAIT_PUBREL ? MQTT_PUBREL : MQTT_PUBCOMP);
            conn_dirty(c);
            break;
        case WAIT_BYTES:
            buf_put(conn_out(c), wt->bytes, wt->value);
            conn_sent(c, (enum mqtt_type)(wt->bytes[0] >> 4));
            conn_dirty(c);
            c->answers--;
            session_pump(c); /* retained messages follow their SUBACK */
            break;
        case WAIT_REMOTE_ACK:
            break;
        }
    }
    conn_unhold(c);
}

bool persist_wait(struct worker *w, enum wait_kind kind, struct conn *c, struct worker *origin,
                  uint32_t value, uint8_t *bytes)
{
    struct persist *p = &w->persist;
    struct wait wt = {
        .conn = c, .origin = origin, .bytes = bytes, .value = value, .kind = (uint8_t)kind};
    bool now = w->server->config->durability == DURABILITY_NONE;
    if (now && kind == WAIT_ACK) {
        return false;
    }
    if (kind != WAIT_REMOTE_ACK) {
        conn_hold(c); /* a remote one is held by its own worker */
        c->unstored += is_answer(kind);
    }
    if (now) {
        wait_over(w, &wt);
        free(bytes);
        return false;
    }
    if (p->wait_count == p->wait_cap) {
        p->wait_cap = p->wait_cap == 0 ? 64 : p->wait_cap * 2;
        p->waits = mem_realloc(p->waits, p->wait_cap * sizeof *p->waits);
    }
    p->waits[p->wait_count++] = wt;
    return true;
}

/* ---- keys and values ---- */

size_t persist_client_key(uint8_t *out, char kind, uint32_t instance, struct slice client_id)
{
    out[0] = (uint8_t)kind;
    put_be32(out + 1, instance);
    memcpy(out + 5, client_id.p, client_id.n);
    return 5 + client_id.n;
}

static void queue_key(uint8_t out[16], uint64_t store_id, uint64_t order)
{
    put_be64(out, store_id);
    put_be64(out + 8, order);
}

static struct slice message_key(uint8_t out[8], uint64_t id)
{
    put_be64(out, id);
    return slice_make(out, 8);
}

void persist_session(struct worker *w, struct session *s, bool connected)
{
    uint8_t key[8 + 65536], value[21] = {SESSION_ROW_VERSION};
    if (s->store_id == 0) {
        s->store_id = atomic_fetch_add(&w->server->store_id, 1) + 1;
    }
    put_be64(value + 1, s->store_id);
    put_be32(value + 9, s->expiry_s);
    put_be64(value + 13, connected ? 0 : loop_wall_us(w->loop) / 1000);
    size_t n = persist_client_key(key, 'S', s->instance, session_client_id(s));
    put_op(&w->persist.ops, STORE_SESSIONS, true, slice_make(key, n),
           slice_make(value, sizeof value));
}

static void delete_message(struct worker *w, struct message *m)
{
    uint8_t key[8];
    if (m != NULL && m->store_refs > 0 && --m->store_refs == 0) {
        put_op(&w->persist.ops, STORE_MESSAGES, false, message_key(key, m->store_id),
               slice_make(NULL, 0));
        m->store_id = 0;
    }
}

void persist_session_gone(struct worker *w, struct session *s)
{
    uint8_t key[8 + 65536];
    struct slice none = slice_make(NULL, 0);
    for (uint64_t o = s->out == NULL ? 0 : s->out->head; s->out != NULL && o < s->out->tail; o++) {
        struct out_entry *e = session_entry(s, o);
        if (e->batch != 0 && e->state != OUT_DONE) {
            queue_key(key, s->store_id, o);
            put_op(&w->persist.ops, STORE_QUEUES, false, slice_make(key, 16), none);
            delete_message(w, e->msg);
        }
    }
    for (uint32_t i = 0; s->in_qos2 != NULL && i < s->in_qos2->count; i++) {
        persist_in_gone(w, s->store_id, &s->in_qos2->ids[i]);
    }
    size_t n = persist_client_key(key, 'S', s->instance, session_client_id(s));
    put_op(&w->persist.ops, STORE_SESSIONS, false, slice_make(key, n), none);
    list_del(&s->dirty);
    s->store_id = 0;
}

static struct slice sub_key(uint8_t *out, const struct session *s, struct slice filter)
{
    out[0] = 'T';
    put_be64(out + 1, s->store_id);
    memcpy(out + 9, filter.p, filter.n);
    return slice_make(out, 9 + filter.n);
}

void persist_sub(struct worker *w, const struct session *s, const struct topic_sub *sub)
{
    uint8_t key[16 + 65536], value[SUB_ROW_USER + SUB_USER_MAX] = {sub->qos, sub->flags};
    size_t n = SUB_ROW;
    struct slice user;
    put_be32(value + 2, sub->subid);
    if ((sub->flags & SUB_FILTERED) != 0 && filtered_user(s, &user) && user.n <= SUB_USER_MAX) {
        value[n] = 1;
        n = SUB_ROW_USER + user.n;
        if (user.n > 0) {
            memcpy(value + SUB_ROW_USER, user.p, user.n);
        }
    }
    put_op(&w->persist.ops, STORE_SESSIONS, true, sub_key(key, s, topic_sub_filter(sub)),
           slice_make(value, n));
}

void persist_unsub(struct worker *w, const struct session *s, struct slice filter)
{
    uint8_t key[16 + 65536];
    put_op(&w->persist.ops, STORE_SESSIONS, false, sub_key(key, s, filter), slice_make(NULL, 0));
}

/*
 * A message and "I have it" stand in one batch for each worker, or a kill between the batches of two of them would
 * make the repetition be delivered twice by one, or by the other never.
 */
static void put_in_id(struct worker *w, uint64_t session_id, uint16_t id, unsigned loop, bool add)
{
    uint8_t key[13] = {'I'};
    put_be64(key + 1, session_id);
    put_be16(key + 9, id);
    key[11] = (uint8_t)loop;
    key[12] = (uint8_t)w->server->worker_count;
    put_op(&w->persist.ops, STORE_SESSIONS, add, slice_make(key, sizeof key), slice_make(NULL, 0));
}

void persist_in_id(struct worker *w, uint64_t session_id, uint16_t id)
{
    put_in_id(w, session_id, id, w->index, true);
}

static void put_in_share(struct worker *w, uint64_t session_id, uint16_t id, uint64_t group,
                         bool add)
{
    uint8_t key[IN_SHARE_KEY] = {'I'};
    put_be64(key + 1, session_id);
    put_be16(key + 9, id);
    key[11] = key[12] = UINT8_MAX; /* whichever loop that was */
    put_be64(key + 13, group);
    put_op(&w->persist.ops, STORE_SESSIONS, add, slice_make(key, sizeof key), slice_make(NULL, 0));
}

void persist_in_share(struct worker *w, uint64_t session_id, uint16_t id, uint64_t group)
{
    put_in_share(w, session_id, id, group, true);
}

void persist_in_gone(struct worker *w, uint64_t session_id, const struct in_id *in)
{
    for (uint32_t i = 0; in->shares != NULL && i < in->shares->count; i++) {
        put_in_share(w, session_id, in->id, in->shares->group[i], false);
    }
    uint64_t loops = in->loops | UINT64_C(1) << w->index;
    while (loops != 0) {
        put_in_id(w, session_id, in->id, (unsigned)__builtin_ctzll(loops), false);
        loops &= loops - 1;
    }
}

static struct slice marked_key(const struct persist *p, uint32_t place)
{
    struct slice op = slice_from(buf_slice(&p->ops), place - 1);
    return slice_make(op.p + OP_HEAD, get_le32(op.p + 2));
}

/* Where the topic's mark is, or is to be. */
static uint32_t *find_mark(const struct persist *p, struct slice key)
{
    const struct retained_marks *m = &p->marks;
    uint32_t i = (uint32_t)hash64(key) & (m->cap - 1);
    while (m->places[i] != 0 && !slice_eq(marked_key(p, m->places[i]), key)) {
        i = (i + 1) & (m->cap - 1);
    }
    return &m->places[i];
}

static void grow_marks(struct persist *p)
{
    struct retained_marks old = p->marks;
    p->marks.cap = old.cap == 0 ? MARKS_MIN : old.cap * 2;
    p->marks.places = mem_new(p->marks.cap, sizeof *p->marks.places);
    for (uint32_t i = 0; i < old.cap; i++) {
        if (old.places[i] != 0) {
            *find_mark(p, marked_key(p, old.places[i])) = old.places[i];
        }
    }
    free(old.places);
}

/* The next batch knows of no topic. */
static void clear_marks(struct retained_marks *m)
{
    if (m->cap > MARKS_KEPT) {
        free(m->places);
        *m = (struct retained_marks){0};
    } else if (m->count > 0) {
        memset(m->places, 0, m->cap * sizeof *m->places);
        m->count = 0;
    }
}

void persist_retained(struct worker *w, uint32_t instance, struct slice topic)
{
    struct persist *p = &w->persist;
    uint8_t bytes[4 + 65536];
    put_be32(bytes, instance);
    memcpy(bytes + 4, topic.p, topic.n);
    struct slice key = slice_make(bytes, 4 + topic.n);
    if (p->marks.count * 2 >= p->marks.cap) {
        grow_marks(p);
    }
    uint32_t *mark = find_mark(p, key);
    if (*mark != 0) {
        return;
    }
    size_t place = buf_len(&p->ops);
    if (place < UINT32_MAX) { /* beyond it a topic may stand twice */
        *mark = (uint32_t)place + 1;
        p->marks.count++;
    }
    put_op(&p->ops, STORE_RETAINED, true, key, slice_make(NULL, 0));
}

/* When the will of a session without connection is due; 0 while it has one. */
static uint64_t will_due_wall(struct worker *w, const struct session *s)
{
    uint64_t now = loop_now_ms(w->loop), due = s->will->due_ms;
    if (due == 0) {
        return 0;
    }
    return loop_wall_us(w->loop) / 1000 + (due > now ? due - now : 0);
}

void persist_will(struct worker *w, struct session *s)
{
    uint8_t key[8 + 65536];
    struct buf value = {0};
    size_t n = persist_client_key(key, 'W', s->instance, session_client_id(s));
    if (s->will != NULL) {
        uint8_t head[WILL_ROW_HEAD] = {WILL_ROW_VERSION};
        put_be32(head + 1, s->will->delay_s);
        put_be64(head + 5, will_due_wall(w, s));
        buf_put(&value, head, sizeof head);
        buf_put_slice(&value, will_packet(s->will));
    }
    put_op(&w->persist.ops, STORE_SESSIONS, s->will != NULL, slice_make(key, n), buf_slice(&value));
    buf_fini(&value);
}

static struct slice delayed_key(uint8_t out[DELAYED_KEY], uint64_t store_id)
{
    out[0] = 'D';
    put_be64(out + 1, store_id);
    return slice_make(out, DELAYED_KEY);
}

void persist_delayed(struct worker *w, const struct delayed *d, uint64_t due_wall_us)
{
    uint8_t key[DELAYED_KEY], head[DELAYED_ROW_HEAD] = {DELAYED_ROW_VERSION};
    struct buf value = {0};
    put_be32(head + 1, d->instance);
    put_be64(head + 5, due_wall_us);
    put_be64(head + 13, d->expires_ms == 0 ? 0 : d->expires_ms + persist_wall_less_mono(w));
    put_be16(head + 21, d->client_id_len);
    buf_put(&value, head, sizeof head);
    buf_put_slice(&value, delayed_client_id(d));
    buf_put_slice(&value, delayed_packet(d));
    put_op(&w->persist.ops, STORE_SESSIONS, true, delayed_key(key, d->store_id), buf_slice(&value));
    buf_fini(&value);
}

void persist_delayed_gone(struct worker *w, uint64_t store_id)
{
    uint8_t key[DELAYED_KEY];
    persist_drop(w, STORE_SESSIONS, delayed_key(key, store_id));
}

void persist_orphan_wills(struct worker *w)
{
    while (w->orphan_wills != NULL) {
        struct orphan_will *o = w->orphan_wills;
        w->orphan_wills = o->next;
        struct session *s =
            session_new(o->instance, slice_make(o->client_id, o->client_id_len), 0, true);
        s->will = o->will;
        session_will_end(w, s, true);
        session_free(s);
        free(o);
    }
}

/* ---- queues ---- */

void persist_queue(struct worker *w, struct session *s)
{
    if (list_empty(&s->dirty)) {
        list_push(&w->persist.dirty, &s->dirty);
    }
}

static void put_entry(struct worker *w, const struct session *s, uint64_t order,
                      const struct out_entry *e, uint64_t message_id)
{
    bool shared = e->share != 0;
    uint8_t flags = (uint8_t)((e->retain ? QUEUE_RETAIN : 0) | (e->filtered ? QUEUE_FILTERED : 0));
    uint8_t key[16], value[QUEUE_ROW_SHARED] = {shared ? 2 : 1, e->qos, flags, e->state};
    queue_key(key, s->store_id, order);
    put_be32(value + 4, e->subid);
    put_be64(value + 8, message_id);
    put_be32(value + 16, e->share);
    put_op(&w->persist.ops, STORE_QUEUES, true, slice_make(key, sizeof key),
           slice_make(value, shared ? QUEUE_ROW_SHARED : QUEUE_ROW));
}

static void store_message(struct worker *w, struct message *m)
{
    uint8_t key[8];
    if (m->store_refs++ > 0) {
        return;
    }
    struct buf value = {0};
    m->store_id = atomic_fetch_add(&w->server->store_id, 1) + 1;
    struct message_parts parts;
    message_parts(m, &parts);
    put_message(&value, &parts, persist_wall_less_mono(w));
    put_op(&w->persist.ops, STORE_MESSAGES, true, message_key(key, m->store_id), buf_slice(&value));
    buf_fini(&value);
}

/* Takes what the outbox holds that no batch took. */
static void take_queue(struct worker *w, struct session *s)
{
    struct outbox *o = s->out;
    uint64_t from = s->persist_from > o->head ? s->persist_from : o->head;
    for (uint64_t order = from; order < o->tail; order++) {
        struct out_entry *e = session_entry(s, order);
        if (e->msg != NULL && e->batch == 0) {
            store_message(w, e->msg);
            e->batch = w->persist.building;
            put_entry(w, s, order, e, e->msg->store_id);
        }
    }
    s->persist_from = o->tail;
}

void persist_acked(struct worker *w, struct session *s, uint64_t order, struct message *m)
{
    uint8_t key[16];
    queue_key(key, s->store_id, order);
    put_op(&w->persist.ops, STORE_QUEUES, false, slice_make(key, sizeof key), slice_make(NULL, 0));
    delete_message(w, m);
}

void persist_released(struct worker *w, struct session *s, uint64_t order, struct message *m,
                      bool stored)
{
    struct out_entry *e = session_entry(s, order);
    put_entry(w, s, order, e, 0);
    e->batch = w->persist.building;
    if (stored) {
        delete_message(w, m);
    }
}

/* ---- batches ---- */

void persist_flush(struct worker *w)
{
    struct persist *p = &w->persist;
    struct list *l;
    if (p->running != NULL) {
        return;
    }
    while ((l = list_shift(&p->dirty)) != NULL) {
        take_queue(w, LIST_ENTRY(l, struct session, dirty));
    }
    if (buf_len(&p->ops) == 0 && p->wait_count == 0) {
        return;
    }
    struct persist_batch *b = mem_new(1, sizeof *b);
    *b = (struct persist_batch){.mail = {.kind = MAIL_BATCH},
                                .job = {.fill = fill, .done = done},
                                .w = w,
                                .ops = p->ops,
                                .waits = p->waits,
                                .wait_count = p->wait_count,
                                .number = p->building++,
                                .wall_less_mono = persist_wall_less_mono(w)};
    p->ops = (struct buf){0};
    clear_marks(&p->marks);
    p->waits = NULL;
    p->wait_count = p->wait_cap = 0;
    p->running = b;
    submit(b);
}

void persist_done(struct worker *w, struct mail *m)
{
    struct persist_batch *b = LIST_ENTRY(m, struct persist_batch, mail);
    struct persist *p = &w->persist;
    assert(b == p->running);
    if (b->error != 0 && !w->stopping) {
        log_warn("the store refused a batch of session state; trying again", "error=%s waits=%u",
                 strerrorname_np(-b->error), b->wait_count);
        loop_timer_set(w->loop, &p->retry, loop_now_ms(w->loop) + RETRY_MS);
        return;
    }
    p->done = b->number;
    p->running = NULL;
    for (uint32_t i = 0; i < b->wait_count; i++) {
        wait_over(w, &b->waits[i]);
        free(b->waits[i].bytes);
    }
    free(b->waits);
    buf_fini(&b->ops);
    free(b);
}
