/* Sessions; see session.h for the outbox's invariants: head <= sent <= tail, tail - head <= cap <= 65,535 while in flight. */
#include "broker/session.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "mqtt/packet.h"

enum { PACKET_IDS = 65535, FEW_SUBS = 8 };

struct session *session_new(uint32_t instance, struct slice client_id, uint64_t hash, bool clean)
{
    struct session *s = mem_new(1, sizeof *s + client_id.n + 1);
    list_init(&s->dirty);
    s->instance = instance;
    s->hash = hash;
    s->expiry_s = clean ? 0 : SESSION_NEVER;
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
    assert(s->subs == NULL && s->conn == NULL && s->feeds == NULL && s->reader == NULL);
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
        for (uint32_t i = 0; i < s->in_qos2->count; i++) {
            free(s->in_qos2->ids[i].shares);
        }
        free(s->in_qos2->ids);
        free(s->in_qos2);
    }
    will_free(s->will);
    free(s);
}

/* ---- subscriptions ----
 *
 * Few stand in a list only; more have a table beside it, by their filters' hashes: linear probing, at most half full.
 */

struct sub_index {
    uint32_t mask;
    struct topic_sub *slot[];
};

static uint32_t filter_hash(struct slice filter)
{
    return (uint32_t)hash64(filter);
}

static void index_put(struct sub_index *x, struct topic_sub *sub)
{
    uint32_t i = sub->hash & x->mask;
    while (x->slot[i] != NULL) {
        i = (i + 1) & x->mask;
    }
    x->slot[i] = sub;
}

/* What stands behind it and would not be found over the gap moves up. */
static void index_remove(struct sub_index *x, const struct topic_sub *sub)
{
    uint32_t gap = sub->hash & x->mask;
    while (x->slot[gap] != sub) {
        gap = (gap + 1) & x->mask;
    }
    for (uint32_t i = (gap + 1) & x->mask; x->slot[i] != NULL; i = (i + 1) & x->mask) {
        uint32_t home = x->slot[i]->hash & x->mask;
        if (((i - home) & x->mask) >= ((i - gap) & x->mask)) {
            x->slot[gap] = x->slot[i];
            gap = i;
        }
    }
    x->slot[gap] = NULL;
}

static void index_make(struct session *s, uint32_t slots)
{
    struct sub_index *x = mem_new(1, sizeof *x + slots * sizeof(struct topic_sub *));
    x->mask = slots - 1;
    for (struct topic_sub *sub = s->subs; sub != NULL; sub = sub->next) {
        index_put(x, sub);
    }
    free(s->sub_index);
    s->sub_index = x;
}

static void index_drop(struct session *s)
{
    free(s->sub_index);
    s->sub_index = NULL;
}

static bool is_for(const struct topic_sub *sub, uint32_t hash, struct slice filter)
{
    return sub->hash == hash && slice_eq(topic_sub_filter(sub), filter);
}

struct topic_sub *session_sub_find(const struct session *s, struct slice filter)
{
    const struct sub_index *x = s->sub_index;
    uint32_t hash = filter_hash(filter);
    struct topic_sub *sub = s->subs;
    if (x == NULL) {
        while (sub != NULL && !is_for(sub, hash, filter)) {
            sub = sub->next;
        }
        return sub;
    }
    uint32_t i = hash & x->mask;
    while (x->slot[i] != NULL && !is_for(x->slot[i], hash, filter)) {
        i = (i + 1) & x->mask;
    }
    return x->slot[i];
}

void session_sub_link(struct session *s, struct topic_sub *sub, struct slice filter)
{
    sub->session = s;
    sub->hash = filter_hash(filter);
    sub->prev = NULL;
    sub->next = s->subs;
    if (s->subs != NULL) {
        s->subs->prev = sub;
    }
    s->subs = sub;
    s->sub_count++;
    if (s->sub_index != NULL && s->sub_count <= s->sub_index->mask / 2) {
        index_put(s->sub_index, sub);
    } else if (s->sub_count > FEW_SUBS) {
        index_make(s, s->sub_index == NULL ? 4 * FEW_SUBS : 2 * (s->sub_index->mask + 1));
    }
}

void session_sub_unlink(struct session *s, struct topic_sub *sub)
{
    if (s->sub_index != NULL) {
        index_remove(s->sub_index, sub);
    }
    if (sub->prev != NULL) {
        sub->prev->next = sub->next;
    } else {
        assert(s->subs == sub);
        s->subs = sub->next;
    }
    if (sub->next != NULL) {
        sub->next->prev = sub->prev;
    }
    s->sub_count--;
    if (s->sub_count == 0) {
        index_drop(s);
    }
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
    o->live++;
    return e;
}

bool session_full(const struct session *s, const struct session_limits *l, uint32_t bytes)
{
    const struct outbox *o = s->out;
    if (o == NULL) {
        return false;
    }
    /* behind one that is never acknowledged the blanks add up: no messages, but memory */
    uint64_t blanks = (o->tail - o->head - o->live) * sizeof *o->ring;
    return o->live >= l->queue_max ||
           (o->bytes > 0 && o->bytes + blanks + bytes > l->queue_bytes_max);
}

struct out_entry *session_queue(struct session *s, struct message *m, uint8_t qos, bool retain,
                                uint32_t subid, uint32_t share)
{
    struct outbox *o = outbox_get(s);
    struct out_entry *e = outbox_push(o);
    e->msg = m;
    e->qos = qos;
    e->retain = retain;
    e->subid = subid;
    e->share = share;
    message_ref(m);
    o->bytes += message_bytes(m);
    return e;
}

static void outbox_trim(struct outbox *o)
{
    while (o->head < o->sent && entry_at(o, o->head)->state == OUT_DONE) {
        o->head++;
    }
}

/* Past what has no PUBLISH to be sent: blanks, and what is released. */
static void pass_done(struct outbox *o)
{
    while (o->sent < o->tail && entry_at(o, o->sent)->state >= OUT_RELEASED) {
        o->sent++;
    }
}

uint16_t session_packet_id(uint64_t order)
{
    return (uint16_t)(order % PACKET_IDS + 1);
}

/* Whether the client's window, and the packet IDs, have room for one more. */
static bool may_send(const struct outbox *o, uint32_t inflight_max)
{
    return o->inflight < inflight_max && o->sent - o->head < PACKET_IDS;
}

/* The next entry is in flight. */
static void mark_sent(struct outbox *o, struct out_entry *e)
{
    if (e->state == OUT_WAITING) {
        e->state = OUT_SENT;
    }
    e->sent_before = true;
    o->inflight++;
    o->sent++;
}

struct out_entry *session_next(struct session *s, uint32_t inflight_max, uint16_t *packet_id)
{
    struct outbox *o = s->out;
    if (o == NULL) {
        return NULL;
    }
    pass_done(o);
    if (o->sent == o->tail || !may_send(o, inflight_max)) {
        return NULL;
    }
    *packet_id = session_packet_id(o->sent);
    return entry_at(o, o->sent);
}

/* The entry's message is given up to the caller. */
static struct message *take_message(struct outbox *o, struct out_entry *e)
{
    struct message *m = e->msg;
    if (m != NULL) {
        o->bytes -= message_bytes(m);
        e->msg = NULL;
    }
    return m;
}

/* It is sent on another connection, too, when it is not acknowledged on this one. */
static bool outlives_connection(const struct session *s)
{
    return s->expiry_s != 0 || session_durable(s);
}

struct message *session_sent(struct session *s)
{
    struct outbox *o = s->out;
    struct out_entry *e = entry_at(o, o->sent);
    mark_sent(o, e);
    /* of a shared subscription: another member of its group may get it yet */
    return outlives_connection(s) || e->share != 0 ? NULL : take_message(o, e);
}

uint16_t session_pass(struct session *s, const struct session_limits *l, uint32_t inflight_max,
                      uint8_t qos)
{
    struct outbox *o = outbox_get(s);
    if (outlives_connection(s) || o->sent != o->tail || o->live >= l->queue_max ||
        !may_send(o, inflight_max)) {
        return 0;
    }
    uint16_t id = session_packet_id(o->sent);
    struct out_entry *e = outbox_push(o);
    e->qos = qos;
    mark_sent(o, e);
    return id;
}

struct out_entry *session_entry(struct session *s, uint64_t order)
{
    struct outbox *o = s->out;
    return o != NULL && order >= o->head && order < o->tail ? entry_at(o, order) : NULL;
}

void session_take(struct session *s, uint64_t order, bool *stored, struct message **m)
{
    struct outbox *o = s->out;
    struct out_entry *e = session_entry(s, order);
    assert(e != NULL && e->msg != NULL);
    *stored = e->batch != 0;
    *m = take_message(o, e);
    o->inflight -= order < o->sent && e->state == OUT_SENT;
    e->state = OUT_DONE;
    o->live--;
    pass_done(o);
    outbox_trim(o);
}

bool session_skip(struct session *s, uint64_t *order, bool *stored, struct message **m)
{
    struct outbox *o = s->out;
    if (o == NULL) {
        return false;
    }
    pass_done(o);
    const struct out_entry *e = o->sent < o->tail ? entry_at(o, o->sent) : NULL;
    if (e == NULL || e->state != OUT_WAITING || e->sent_before) {
        return false;
    }
    *order = o->sent;
    session_take(s, *order, stored, m);
    return true;
}

void session_resume(struct session *s)
{
    struct outbox *o = s->out;
    if (o == NULL) {
        return;
    }
    o->inflight = 0;
    for (uint64_t i = o->head; i < o->tail; i++) {
        struct out_entry *e = entry_at(o, i);
        e->state = e->state == OUT_SENT ? OUT_WAITING : e->state;
        o->inflight += e->state == OUT_RELEASED;
    }
    o->sent = o->head;
}

uint16_t session_released(const struct session *s, uint64_t *order)
{
    const struct outbox *o = s->out;
    uint64_t i = o == NULL || *order > o->head ? *order : o->head;
    for (; o != NULL && i < o->tail; i++) {
        if (entry_at(o, i)->state == OUT_RELEASED) {
            *order = i + 1;
            return session_packet_id(i);
        }
    }
    return 0;
}

enum ack_result session_ack(struct session *s, unsigned type, uint16_t packet_id, uint64_t *order,
                            bool *stored, struct message **m)
{
    struct outbox *o = s->out;
    *m = NULL;
    if (o == NULL || packet_id == 0) {
        return ACK_UNKNOWN;
    }
    uint32_t first = (uint32_t)(o->head % PACKET_IDS), wanted = packet_id - 1U;
    uint64_t at = o->head + wanted - first + (wanted < first ? PACKET_IDS : 0);
    if (at >= o->tail) {
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
    *m = take_message(o, e);
    if (type == MQTT_PUBREC) {
        e->state = OUT_RELEASED;
        return ACK_RELEASE;
    }
    e->state = OUT_DONE;
    o->live--;
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

bool in_id_has_share(const struct in_id *in, uint64_t group)
{
    for (uint32_t i = 0; in->shares != NULL && i < in->shares->count; i++) {
        if (in->shares->group[i] == group) {
            return true;
        }
    }
    return false;
}

void in_id_add_share(struct in_id *in, uint64_t group)
{
    uint32_t n = in->shares == NULL ? 0 : in->shares->count;
    in->shares = mem_realloc(in->shares, sizeof *in->shares + (n + 1) * sizeof(uint64_t));
    in->shares->count = n + 1;
    in->shares->group[n] = group;
}

void session_in_restore_share(struct session *s, uint16_t id, uint64_t group)
{
    in_id_add_share(in_get(s, id), group);
}

bool session_in_remove(struct session *s, uint16_t id)
{
    struct in_id *in = session_in_find(s, id);
    if (in == NULL) {
        return false;
    }
    free(in->shares);
    *in = s->in_qos2->ids[--s->in_qos2->count];
    return true;
}

uint32_t session_in_count(const struct session *s)
{
    return s->in_qos2 == NULL ? 0 : s->in_qos2->count;
}

void session_restore(struct session *s, uint64_t order, struct message *m, uint8_t qos, bool retain,
                     uint8_t state, uint32_t subid, uint32_t share)
{
    struct outbox *o = outbox_get(s);
    if (o->tail == o->head) {
        o->head = o->sent = o->tail = order;
    }
    assert(order >= o->tail);
    while (o->tail < order) {
        outbox_push(o)->state = OUT_DONE; /* acknowledged before the restart */
        o->live--;
    }
    struct out_entry *e = outbox_push(o);
    *e = (struct out_entry){.msg = m,
                            .subid = subid,
                            .share = share,
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
    return s->out == NULL ? 0 : s->out->live;
}
