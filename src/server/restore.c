/*
 * Building sessions, their queues and the retained messages from the store, before the loops run. Keys and values:
 * persist.c. A row that can't be read is skipped and counted: one bad row must not keep a broker from starting.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/persist_priv.h"

/* Sessions by their number in the store, sorted by it, since keys come in no such order. */
struct numbered {
    uint64_t id;
    void *p;
};

/* Messages read so far by their number, so that sessions share them: open addressing, no deletion. */
struct loaded {
    struct message *msg; /* NULL: free slot */
    unsigned worker;     /* whose sessions may refer to it */
};

struct restore {
    struct server *s;
    struct numbered *sessions;
    size_t session_count, session_cap;
    struct loaded *loaded;
    size_t loaded_count, loaded_mask;
    uint64_t queued, skipped, retained, wills;
};

static void note_id(struct server *s, uint64_t id)
{
    if (id > atomic_load(&s->store_id)) {
        atomic_store(&s->store_id, id);
    }
}

static int by_id(const void *a, const void *b)
{
    const struct numbered *x = a, *y = b;
    return (x->id > y->id) - (x->id < y->id);
}

static struct session *session_by_id(const struct restore *r, uint64_t id)
{
    struct numbered key = {.id = id};
    if (r->session_count == 0) {
        return NULL;
    }
    struct numbered *n = bsearch(&key, r->sessions, r->session_count, sizeof *r->sessions, by_id);
    return n == NULL ? NULL : n->p;
}

static struct worker *worker_of_session(struct server *s, const struct session *session)
{
    return worker_of(s, session->hash);
}

/* A stored message: false when the bytes are none. */
static bool read_message(struct slice v, struct mqtt_publish *out)
{
    if (v.n < 4 || (size_t)4 + get_be16(v.p + 2) > v.n) {
        return false;
    }
    *out = (struct mqtt_publish){.qos = v.p[0], .retain = v.p[1] != 0};
    out->topic = slice_make(v.p + 4, get_be16(v.p + 2));
    out->payload = slice_from(v, 4 + out->topic.n);
    return out->topic.n > 0;
}

static void load_session(struct restore *r, struct slice key, struct slice value)
{
    if (key.n < 5 || value.n != 9 || value.p[0] != 1) {
        r->skipped++;
        return;
    }
    struct slice id = slice_from(key, 5);
    uint32_t instance = get_be32(key.p + 1);
    struct session *s = session_new(instance, id, client_hash(instance, id), false);
    struct worker *w = worker_of_session(r->s, s);
    s->store_id = get_be64(value.p + 1);
    session_map_put(&w->sessions, s);
    count_add(&w->count.sessions, 1);
    note_id(r->s, s->store_id);
    if (r->session_count == r->session_cap) {
        r->session_cap = r->session_cap == 0 ? 1024 : r->session_cap * 2;
        r->sessions = mem_realloc(r->sessions, r->session_cap * sizeof *r->sessions);
    }
    r->sessions[r->session_count++] = (struct numbered){.id = s->store_id, .p = s};
}

static void load_sub(struct restore *r, struct slice key, struct slice value)
{
    struct session *s = key.n > 9 ? session_by_id(r, get_be64(key.p + 1)) : NULL;
    if (s == NULL || value.n != 6) {
        r->skipped++;
        return;
    }
    struct topic_sub *sub = mem_new(1, sizeof *sub);
    sub->qos = value.p[0];
    sub->flags = value.p[1];
    sub->subid = get_be32(value.p + 2);
    session_sub_link(s, sub);
    topics_add(r->s->topics, worker_of_session(r->s, s)->index, s->instance, slice_from(key, 9),
               sub);
}

/* Of a run with another number of loops it says nothing about these: the repetition is delivered again, and the row goes, or
 * a later run with the old number would take a new message for that repetition. */
static void load_in_id(struct restore *r, struct slice key, struct slice value)
{
    struct session *s = key.n == 13 ? session_by_id(r, get_be64(key.p + 1)) : NULL;
    (void)value;
    if (s == NULL || key.p[11] >= key.p[12]) {
        r->skipped++;
        return;
    }
    if (key.p[12] == r->s->worker_count) {
        session_in_restore(s, get_be16(key.p + 9), key.p[11]);
    } else {
        persist_drop(worker_of_session(r->s, s), STORE_SESSIONS, key);
    }
}

/* The will of a client that was connected when the broker ended: it goes out when the loops run. */
static void load_will(struct restore *r, struct slice key, struct slice value)
{
    struct mqtt_publish p;
    if (key.n < 5 || !read_message(value, &p)) {
        r->skipped++;
        return;
    }
    uint32_t instance = get_be32(key.p + 1);
    struct slice id = slice_from(key, 5);
    struct worker *w = worker_of(r->s, client_hash(instance, id));
    struct orphan_will *o = mem_new(1, sizeof *o + id.n);
    o->next = w->orphan_wills;
    o->instance = instance;
    o->msg = message_new(p.topic, p.payload, p.qos, p.retain);
    o->client_id_len = (uint16_t)id.n;
    memcpy(o->client_id, id.p, id.n);
    w->orphan_wills = o;
    r->wills++;
}

typedef void (*load_fn)(struct restore *r, struct slice key, struct slice value);

static void each(struct restore *r, enum store_family family, const char *prefix, load_fn fn)
{
    struct store_iter *it = store_iter_new(r->s->store, NULL, store_family(r->s->store, family), 0);
    struct slice from = slice_str(prefix);
    for (store_iter_seek(it, from); store_iter_valid(it); store_iter_next(it)) {
        if (!slice_has_prefix(store_iter_key(it), from)) {
            break;
        }
        fn(r, store_iter_key(it), store_iter_value(it));
    }
    store_iter_free(it);
}

static struct loaded *loaded_slot(struct loaded *table, size_t mask, uint64_t id)
{
    size_t i = (size_t)(id * UINT64_C(0x9E3779B97F4A7C15) >> 20) & mask;
    while (table[i].msg != NULL && table[i].msg->store_id != id) {
        i = (i + 1) & mask;
    }
    return &table[i];
}

static void loaded_grow(struct restore *r)
{
    size_t slots = r->loaded == NULL ? 1024 : (r->loaded_mask + 1) * 2;
    struct loaded *bigger = mem_new(slots, sizeof *bigger);
    for (size_t i = 0; r->loaded != NULL && i <= r->loaded_mask; i++) {
        if (r->loaded[i].msg != NULL) {
            *loaded_slot(bigger, slots - 1, r->loaded[i].msg->store_id) = r->loaded[i];
        }
    }
    free(r->loaded);
    r->loaded = bigger;
    r->loaded_mask = slots - 1;
}

static struct message *message_read(struct restore *r, uint64_t id)
{
    struct mqtt_publish p;
    struct slice value;
    struct message *m = NULL;
    uint8_t key[8];
    put_be64(key, id);
    struct slice k = slice_make(key, sizeof key);
    if (store_get(r->s->store, NULL, store_family(r->s->store, STORE_MESSAGES), k, &value) != 0) {
        return NULL;
    }
    if (read_message(value, &p)) {
        m = message_new(p.topic, p.payload, p.qos, p.retain);
    }
    store_free(&value);
    return m;
}

/* The stored message with that number, and the worker it belongs to; the table's reference. */
static const struct loaded *message_by_id(struct restore *r, uint64_t id, unsigned worker)
{
    if (r->loaded == NULL || r->loaded_count * 2 > r->loaded_mask) {
        loaded_grow(r);
    }
    struct loaded *l = loaded_slot(r->loaded, r->loaded_mask, id);
    if (l->msg == NULL) {
        l->msg = message_read(r, id);
        if (l->msg == NULL) {
            return NULL;
        }
        l->msg->store_id = id;
        l->worker = worker;
        r->loaded_count++;
        note_id(r->s, id);
    }
    return l;
}

/*
 * An entry whose message belongs to another worker (the number of loops changed): a message of its own, which the next
 * batch stores under a new number.
 */
static void restore_copy(struct worker *w, struct session *s, uint64_t order,
                         const struct message *from)
{
    struct message *copy =
        message_new(message_topic(from), message_payload(from), from->qos, from->retain);
    struct out_entry *e = session_entry(s, order);
    message_unref(e->msg);
    e->msg = copy;
    e->batch = 0;
    s->persist_from = s->out->head;
    persist_queue(w, s);
}

static void load_entry(struct restore *r, struct slice key, struct slice value)
{
    struct session *s = key.n == 16 ? session_by_id(r, get_be64(key.p)) : NULL;
    if (s == NULL || value.n != 16 || value.p[0] != 1) {
        r->skipped++;
        return;
    }
    uint64_t order = get_be64(key.p + 8), id = get_be64(value.p + 8);
    struct worker *w = worker_of_session(r->s, s);
    const struct loaded *l = id == 0 ? NULL : message_by_id(r, id, w->index);
    uint8_t state = value.p[3];
    if (l == NULL && state != OUT_RELEASED) {
        r->skipped++;
        return;
    }
    struct message *m = l == NULL ? NULL : l->msg;
    bool copies_wait = !list_empty(&s->dirty);
    session_restore(s, order, m, value.p[1], value.p[2] != 0, state, get_be32(value.p + 4));
    if (copies_wait) {
        s->persist_from = s->out->head;
    }
    if (l != NULL && l->worker != w->index) {
        restore_copy(w, s, order, m);
    } else if (m != NULL) {
        m->store_refs++;
    }
    count_add(&w->count.queued, 1);
    r->queued++;
}

static void load_retained(struct restore *r, struct slice key, struct slice value)
{
    struct mqtt_publish p;
    if (key.n < 5 || !read_message(value, &p)) {
        r->skipped++;
        return;
    }
    (void)retained_set(r->s->retained, get_be32(key.p), p.topic, p.payload, p.qos, 0);
    r->retained++;
}

int persist_load(struct server *s)
{
    struct restore r = {.s = s};
    each(&r, STORE_SESSIONS, "S", load_session);
    if (r.session_count > 0) {
        qsort(r.sessions, r.session_count, sizeof *r.sessions, by_id);
    }
    each(&r, STORE_SESSIONS, "T", load_sub);
    each(&r, STORE_SESSIONS, "I", load_in_id);
    each(&r, STORE_SESSIONS, "W", load_will);
    each(&r, STORE_QUEUES, "", load_entry);
    each(&r, STORE_RETAINED, "", load_retained);
    for (size_t i = 0; r.loaded != NULL && i <= r.loaded_mask; i++) {
        if (r.loaded[i].msg != NULL) {
            message_unref(r.loaded[i].msg);
        }
    }
    free(r.loaded);
    free(r.sessions);
    log_info("session state restored",
             "sessions=%zu queued=%llu retained=%llu wills=%llu skipped=%llu", r.session_count,
             (unsigned long long)r.queued, (unsigned long long)r.retained,
             (unsigned long long)r.wills, (unsigned long long)r.skipped);
    return 0;
}
