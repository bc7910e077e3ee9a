/* Sessions; see session.h for the outbox's invariants: head <= sent <= tail, tail - head <= cap <= 65,535 while in flight. */
#include "broker/session.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "mqtt/packet.h"

enum { PACKET_IDS = 65535 };

struct session *session_new(uint32_t instance, struct slice client_id, uint64_t hash, bool clean)
{
    struct session *s = mem_new(1, sizeof *s + client_id.n + 1);
    list_init(&s->dirty);
    s->instance = instance;
    s->hash = hash;
    s->clean = clean;
    s->client_id_len = (uint16_t)client_id.n;
    memcpy(s->client_id, client_id.p, client_id.n);
    return s;
}

static struct out_entry *entry_at(const struct outbox *o, uint64_t order)
{
    return &o->ring[order & (o->cap - 1)];
}

void session_free(struct session *s)
{
    if (s == NULL) {
        return;
    }
    assert(s->subs == NULL && s->conn == NULL);
    list_del(&s->dirty);
    if (s->out != NULL) {
        for (uint64_t o = s->out->head; o < s->out->tail; o++) {
            struct out_entry *e = entry_at(s->out, o);
            if (e->msg != NULL) {
                message_unref(e->msg);
            }
        }
        free(s->out->ring);
        free(s->out);
    }
    if (s->in_qos2 != NULL) {
        free(s->in_qos2->ids);
        free(s->in_qos2);
    }
    if (s->will != NULL) {
        message_unref(s->will);
    }
    free(s);
}

struct topic_sub *session_sub_find(const struct session *s, struct slice filter)
{
    struct topic_sub *sub = s->subs;
    while (sub != NULL && !slice_eq(topic_node_filter(sub->node), filter)) {
        sub = sub->next;
    }
    return sub;
}

void session_sub_link(struct session *s, struct topic_sub *sub)
{
    sub->session = s;
    sub->next = s->subs;
    s->subs = sub;
    s->sub_count++;
}

void session_sub_unlink(struct session *s, struct topic_sub *sub)
{
    struct topic_sub **at = &s->subs;
    while (*at != sub) {
        at = &(*at)->next;
    }
    *at = sub->next;
    s->sub_count--;
}

static struct outbox *outbox_get(struct session *s)
{
    if (s->out == NULL) {
        s->out = mem_new(1, sizeof *s->out);
    }
    return s->out;
}

static void outbox_grow(struct outbox *o)
{
    uint32_t cap = o->cap == 0 ? 8 : o->cap * 2;
    struct out_entry *ring = mem_new(cap, sizeof *ring);
    for (uint64_t i = o->head; i < o->tail; i++) {
        ring[i & (cap - 1)] = *entry_at(o, i);
    }
    free(o->ring);
    o->ring = ring;
    o->cap = cap;
}

static struct out_entry *outbox_push(struct outbox *o)
{
    if (o->tail - o->head == o->cap) {
        outbox_grow(o);
    }
    struct out_entry *e = entry_at(o, o->tail++);
    *e = (struct out_entry){0};
    return e;
}

bool session_queue(struct session *s, const struct session_limits *l, struct message *m,
                   uint8_t qos, bool retain, uint32_t subid)
{
    struct outbox *o = outbox_get(s);
    if (o->tail - o->head >= l->queue_max ||
        (o->bytes > 0 && o->bytes + message_bytes(m) > l->queue_bytes_max)) {
        s->dropped++;
        return false;
    }
    struct out_entry *e = outbox_push(o);
    e->msg = m;
    e->qos = qos;
    e->retain = retain;
    e->subid = subid;
    message_ref(m);
    o->bytes += message_bytes(m);
    return true;
}

uint16_t session_packet_id(uint64_t order)
{
    return (uint16_t)(order % PACKET_IDS + 1);
}

struct out_entry *session_next(struct session *s, const struct session_limits *l,
                               uint16_t *packet_id)
{
    struct outbox *o = s->out;
    if (o == NULL) {
        return NULL;
    }
    while (o->sent < o->tail && entry_at(o, o->sent)->state == OUT_DONE) {
        o->sent++;
    }
    if (o->sent == o->tail || o->inflight >= l->inflight_max || o->sent - o->head >= PACKET_IDS) {
        return NULL;
    }
    *packet_id = session_packet_id(o->sent);
    return entry_at(o, o->sent);
}

void session_sent(struct session *s)
{
    struct outbox *o = s->out;
    struct out_entry *e = entry_at(o, o->sent);
    if (e->state == OUT_WAITING) {
        e->state = OUT_SENT;
    }
    e->sent_before = true;
    o->inflight++;
    o->sent++;
}

void session_resume(struct session *s)
{
    struct outbox *o = s->out;
    if (o == NULL) {
        return;
    }
    for (uint64_t i = o->head; i < o->sent; i++) {
        struct out_entry *e = entry_at(o, i);
        e->state = e->state == OUT_SENT ? OUT_WAITING : e->state;
    }
    o->sent = o->head;
    o->inflight = 0;
}

static void outbox_trim(struct outbox *o)
{
    while (o->head < o->sent && entry_at(o, o->head)->state == OUT_DONE) {
        o->head++;
    }
}

struct out_entry *session_entry(struct session *s, uint64_t order)
{
    struct outbox *o = s->out;
    return o != NULL && order >= o->head && order < o->tail ? entry_at(o, order) : NULL;
}

enum ack_result session_ack(struct session *s, unsigned type, uint16_t packet_id, uint64_t *order,
                            bool *stored, struct message **m)
{
    struct outbox *o = s->out;
    *m = NULL;
    if (o == NULL || packet_id == 0) {
        return ACK_UNKNOWN;
    }
    uint64_t at = o->head + (packet_id - 1U + PACKET_IDS - o->head % PACKET_IDS) % PACKET_IDS;
    if (at >= o->sent) {
        return ACK_UNKNOWN;
    }
    struct out_entry *e = entry_at(o, at);
    bool fits = type == MQTT_PUBACK ? e->qos == 1 && e->state == OUT_SENT
                : type == MQTT_PUBREC
                    ? e->qos == 2 && (e->state == OUT_SENT || e->state == OUT_RELEASED)
                    : e->qos == 2 && e->state == OUT_RELEASED;
    if (!fits) {
        return ACK_UNKNOWN;
    }
    *order = at;
    *stored = e->batch != 0;
    if (e->msg != NULL) {
        o->bytes -= message_bytes(e->msg);
        *m = e->msg;
        e->msg = NULL;
    }
    if (type == MQTT_PUBREC) {
        e->state = OUT_RELEASED;
        return ACK_RELEASE;
    }
    e->state = OUT_DONE;
    o->inflight--;
    outbox_trim(o);
    return ACK_DONE;
}

struct in_id *session_in_find(const struct session *s, uint16_t id)
{
    const struct id_set *set = s->in_qos2;
    for (uint32_t i = 0; set != NULL && i < set->count; i++) {
        if (set->ids[i].id == id) {
            return &set->ids[i];
        }
    }
    return NULL;
}

static struct in_id *in_get(struct session *s, uint16_t id)
{
    struct in_id *found = session_in_find(s, id);
    if (found != NULL) {
        return found;
    }
    if (s->in_qos2 == NULL) {
        s->in_qos2 = mem_new(1, sizeof *s->in_qos2);
    }
    struct id_set *set = s->in_qos2;
    if (set->count == set->cap) {
        set->cap = set->cap == 0 ? 8 : set->cap * 2;
        set->ids = mem_realloc(set->ids, set->cap * sizeof *set->ids);
    }
    found = &set->ids[set->count++];
    *found = (struct in_id){.id = id};
    return found;
}

bool session_in_add(struct session *s, uint16_t id)
{
    struct in_id *in = in_get(s, id);
    bool fresh = !in->live;
    in->live = true;
    return fresh;
}

void session_in_restore(struct session *s, uint16_t id, unsigned loop)
{
    in_get(s, id)->loops |= UINT64_C(1) << loop;
}

bool session_in_remove(struct session *s, uint16_t id)
{
    struct in_id *in = session_in_find(s, id);
    if (in == NULL) {
        return false;
    }
    *in = s->in_qos2->ids[--s->in_qos2->count];
    return true;
}

uint32_t session_in_count(const struct session *s)
{
    return s->in_qos2 == NULL ? 0 : s->in_qos2->count;
}

void session_restore(struct session *s, uint64_t order, struct message *m, uint8_t qos, bool retain,
                     uint8_t state, uint32_t subid)
{
    struct outbox *o = outbox_get(s);
    if (o->tail == o->head) {
        o->head = o->sent = o->tail = order;
    }
    assert(order >= o->tail);
    while (o->tail < order) {
        outbox_push(o)->state = OUT_DONE; /* acknowledged before the restart */
    }
    struct out_entry *e = outbox_push(o);
    *e = (struct out_entry){.msg = m,
                            .subid = subid,
                            .qos = qos,
                            .state = state,
                            .retain = retain,
                            .batch = SESSION_BATCH_RESTORED,
                            .sent_before = state != OUT_WAITING};
    if (m != NULL) {
        message_ref(m);
        o->bytes += message_bytes(m);
    }
    s->persist_from = o->tail;
}

uint32_t session_queued(const struct session *s)
{
    uint32_t n = 0;
    for (uint64_t i = s->out == NULL ? 0 : s->out->head; s->out != NULL && i < s->out->tail; i++) {
        n += entry_at(s->out, i)->state != OUT_DONE;
    }
    return n;
}
