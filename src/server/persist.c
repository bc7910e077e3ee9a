/*
 * What of the sessions must survive: written in batches by the commit thread, together with the trace.
 *
 * A worker builds one batch while its last one is under way. What is waiting in an outbox is taken when the batch is
 * handed over, not before: what all subscribers acknowledge until then is never written. Effects that must not run ahead
 * of the store (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, a QoS 2 PUBLISH) are `waits` of the batch. A batch that fails is
 * tried again every second; its waits stay, so nothing is acknowledged that is not safe.
 *
 * Keys (numbers big-endian):
 *   sessions   'S' instance32 clientId        version8 storeId64
 *              'T' storeId64 filter           qos8 flags8 subid32
 *              'I' storeId64 packetId16 loop8 loops8  (empty)  incoming QoS 2: that loop (of so many) has stored its part
 *              'W' instance32 clientId        message          the will of a connected client
 *   queues     storeId64 order64              version8 qos8 retain8 state8 subid32 messageId64
 *   messages   messageId64                    message
 *   retained   instance32 topic               message
 *   message:   qos8 retain8 topicLen16 topic payload
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/persist_priv.h"

enum { RETRY_MS = 1000, OP_HEAD = 10 };

/* Operations as the loop wrote them, until the commit thread puts them into its own batch. */
struct persist_batch {
    struct mail mail; /* first: comes back as mail */
    struct commit_job job;
    struct worker *w;
    struct buf ops;
    struct wait *waits;
    uint32_t wait_count, number;
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

static void put_message(struct buf *out, struct slice topic, struct slice payload, uint8_t qos,
                        bool retain)
{
    uint8_t head[4] = {qos, retain};
    put_be16(head + 2, (uint16_t)topic.n);
    buf_put(out, head, sizeof head);
    buf_put_slice(out, topic);
    buf_put_slice(out, payload);
}

struct retained_row {
    struct buf value;
    bool found;
};

static void retained_found(void *arg, struct slice topic, struct slice payload, uint8_t qos)
{
    struct retained_row *row = arg;
    put_message(&row->value, topic, payload, qos, true);
    row->found = true;
}

/*
 * A retained message is written as it is now, not as it was when the loop asked: two loops that set one topic reach the
 * store in any order, and the last write must be what RAM holds.
 */
static void fill_retained(struct server *s, struct store_batch *out, struct slice key)
{
    struct retained_row row = {0};
    struct store_cf *cf = store_family(s->store, STORE_RETAINED);
    retained_each(s->retained, get_be32(key.p), slice_from(key, 4), retained_found, &row);
    if (row.found) {
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
            fill_retained(b->w->server, out, k);
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
    buf_fini(&p->ops);
}

bool persist_idle(const struct worker *w)
{
    const struct persist *p = &w->persist;
    return p->running == NULL && buf_len(&p->ops) == 0 && p->wait_count == 0 &&
           list_empty(&p->dirty);
}

static void wait_over(struct worker *w, const struct wait *wt)
{
    struct conn *c = wt->conn;
    if (wt->kind == WAIT_REMOTE_ACK) {
        route_ack_back(w, wt->origin, c, wt->value);
        return;
    }
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
                            (uint16_t)wt->value, MQTT_RC_SUCCESS);
            c->packets_out++;
            conn_dirty(c);
            break;
        case WAIT_BYTES:
            buf_put(conn_out(c), wt->bytes, wt->value);
            c->packets_out++;
            conn_dirty(c);
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

void persist_session(struct worker *w, struct session *s)
{
    uint8_t key[8 + 65536], value[9] = {1};
    if (s->store_id == 0) {
        s->store_id = atomic_fetch_add(&w->server->store_id, 1) + 1;
    }
    put_be64(value + 1, s->store_id);
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
        persist_in_gone(w, s, &s->in_qos2->ids[i]);
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
    uint8_t key[16 + 65536], value[6] = {sub->qos, sub->flags};
    put_be32(value + 2, sub->subid);
    put_op(&w->persist.ops, STORE_SESSIONS, true, sub_key(key, s, topic_node_filter(sub->node)),
           slice_make(value, sizeof value));
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

void persist_in_gone(struct worker *w, const struct session *s, const struct in_id *in)
{
    uint64_t loops = in->loops | UINT64_C(1) << w->index;
    while (loops != 0) {
        put_in_id(w, s->store_id, in->id, (unsigned)__builtin_ctzll(loops), false);
        loops &= loops - 1;
    }
}

void persist_retained(struct worker *w, uint32_t instance, struct slice topic)
{
    uint8_t key[4 + 65536];
    put_be32(key, instance);
    memcpy(key + 4, topic.p, topic.n);
    put_op(&w->persist.ops, STORE_RETAINED, true, slice_make(key, 4 + topic.n),
           slice_make(NULL, 0));
}

void persist_will(struct worker *w, struct session *s)
{
    uint8_t key[8 + 65536];
    struct buf value = {0};
    size_t n = persist_client_key(key, 'W', s->instance, session_client_id(s));
    if (s->will != NULL) {
        put_message(&value, message_topic(s->will), message_payload(s->will), s->will->qos,
                    s->will->retain);
    }
    put_op(&w->persist.ops, STORE_SESSIONS, s->will != NULL, slice_make(key, n), buf_slice(&value));
    buf_fini(&value);
}

void persist_orphan_wills(struct worker *w)
{
    while (w->orphan_wills != NULL) {
        struct orphan_will *o = w->orphan_wills;
        w->orphan_wills = o->next;
        struct session *s =
            session_new(o->instance, slice_make(o->client_id, o->client_id_len), 0, true);
        s->will = o->msg;
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
    uint8_t key[16], value[16] = {1, e->qos, e->retain, e->state};
    queue_key(key, s->store_id, order);
    put_be32(value + 4, e->subid);
    put_be64(value + 8, message_id);
    put_op(&w->persist.ops, STORE_QUEUES, true, slice_make(key, sizeof key),
           slice_make(value, sizeof value));
}

static void store_message(struct worker *w, struct message *m)
{
    uint8_t key[8];
    if (m->store_refs++ > 0) {
        return;
    }
    struct buf value = {0};
    m->store_id = atomic_fetch_add(&w->server->store_id, 1) + 1;
    put_message(&value, message_topic(m), message_payload(m), m->qos, m->retain);
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
                                .number = p->building++};
    p->ops = (struct buf){0};
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
