/*
 * Building sessions, their queues and the retained messages from the store, before the loops run. Keys and values:
 * persist.c. A row that can't be read is skipped and counted: one bad row must not keep a broker from starting.
 */
#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/mem.h"
#include "mqtt/topic.h"
#include "server/persist_priv.h"

enum { SESSIONS_AHEAD = 8 }; /* fetched into the cache meanwhile */

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
    size_t session_at; /* where the last search among them ended */
    struct numbered *delayed;
    size_t delayed_count, delayed_cap;
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

/* Rows of sessions come in the order of their numbers, one kind after the other: a step or two from the last search. */
static struct session *session_by_id(struct restore *r, uint64_t id)
{
    const struct numbered *all = r->sessions;
    size_t i = r->session_at < r->session_count && all[r->session_at].id <= id ? r->session_at : 0;
    while (i < r->session_count && all[i].id < id) {
        i++;
    }
    r->session_at = i;
    if (i + SESSIONS_AHEAD < r->session_count) {
        __builtin_prefetch(all[i + SESSIONS_AHEAD].p, 1);
    }
    return i < r->session_count && all[i].id == id ? all[i].p : NULL;
}

static void keep(struct numbered **all, size_t *count, size_t *cap, struct numbered n)
{
    if (*count == *cap) {
        *cap = *cap == 0 ? 1024 : *cap * 2;
        *all = mem_realloc(*all, *cap * sizeof **all);
    }
    (*all)[(*count)++] = n;
}

static struct worker *worker_of_session(struct server *s, const struct session *session)
{
    return worker_of(s, session->hash);
}

/* One of an earlier broker. */
static bool read_message_1(struct slice v, struct message_parts *out)
{
    if (v.n < MESSAGE_ROW_HEAD_1 || (size_t)MESSAGE_ROW_HEAD_1 + get_be16(v.p + 2) > v.n) {
        return false;
    }
    *out = (struct message_parts){.qos = v.p[0], .retain = v.p[1] != 0};
    out->topic = slice_make(v.p + MESSAGE_ROW_HEAD_1, get_be16(v.p + 2));
    out->payload = slice_from(v, MESSAGE_ROW_HEAD_1 + out->topic.n);
    return out->topic.n > 0;
}

/* Wall time becomes monotonic; 1 is long over. */
static uint64_t mono_of(const struct server *s, uint64_t wall_ms)
{
    uint64_t apart = persist_wall_less_mono(s->workers[0]);
    return wall_ms == 0 ? 0 : wall_ms <= apart ? 1 : wall_ms - apart;
}

/* A stored message: false when the bytes are none. */
static bool read_message(const struct server *s, struct slice v, struct message_parts *out)
{
    if (v.n > 0 && v.p[0] != MESSAGE_ROW_VERSION) {
        return read_message_1(v, out);
    }
    if (v.n < MESSAGE_ROW_HEAD ||
        (uint64_t)MESSAGE_ROW_HEAD + get_be16(v.p + 3) + get_be32(v.p + 5) > v.n) {
        return false;
    }
    *out = (struct message_parts){.qos = v.p[1], .retain = v.p[2] != 0};
    out->expires_ms = mono_of(s, get_be64(v.p + 9));
    out->topic = slice_make(v.p + MESSAGE_ROW_HEAD, get_be16(v.p + 3));
    out->extra = slice_make(out->topic.p + out->topic.n, get_be32(v.p + 5));
    out->payload = slice_from(v, MESSAGE_ROW_HEAD + out->topic.n + out->extra.n);
    return out->topic.n > 0;
}

struct session_row {
    uint64_t store_id;
    uint32_t expiry_s;
    uint64_t ended_ms; /* wall time; 0: not known */
};

/* Version 1 has neither expiry nor end. */
static bool read_session(struct slice v, struct session_row *out)
{
    *out = (struct session_row){.expiry_s = SESSION_NEVER};
    bool now = v.n == 21 && v.p[0] == SESSION_ROW_VERSION;
    if (!now && (v.n != 9 || v.p[0] != 1)) {
        return false;
    }
    out->store_id = get_be64(v.p + 1);
    if (now) {
        out->expiry_s = get_be32(v.p + 9);
        out->ended_ms = get_be64(v.p + 13);
    }
    return true;
}

/* Its clock goes on, or begins where the store does not know of an end; that is written, or each restart would begin it anew. */
static void start_clock(struct worker *w, struct session *s, const struct session_row *row)
{
    uint32_t max = session_expiry_max(w->server);
    s->expiry_s = row->expiry_s < max ? row->expiry_s : max;
    expiry_restore(w, s, row->ended_ms);
    if (s->expiry_s != SESSION_NEVER && row->ended_ms == 0) {
        persist_session(w, s, false);
    }
}

static void load_session(struct restore *r, struct slice key, struct slice value)
{
    struct session_row row;
    if (key.n < 5 || !read_session(value, &row)) {
        r->skipped++;
        return;
    }
    struct slice id = slice_from(key, 5);
    uint32_t instance = get_be32(key.p + 1);
    struct session *s = session_new(instance, id, client_hash(instance, id), false);
    struct worker *w = worker_of_session(r->s, s);
    s->store_id = row.store_id;
    count_add(&w->count.sessions, 1);
    note_id(r->s, s->store_id);
    start_clock(w, s, &row);
    keep(&r->sessions, &r->session_count, &r->session_cap,
         (struct numbered){.id = s->store_id, .p = s});
}

/* In one go: the maps grow once, and their slots are fetched side by side. */
static void index_sessions(struct restore *r)
{
    struct server *s = r->s;
    for (unsigned i = 0; i < s->worker_count; i++) {
        session_map_reserve(&s->workers[i]->sessions, atomic_load(&s->workers[i]->count.sessions));
    }
    for (size_t i = 0; i < r->session_count; i++) {
        struct session *session = r->sessions[i].p;
        session_map_put(&worker_of_session(s, session)->sessions, session);
    }
    if (r->session_count > 0) {
        qsort(r->sessions, r->session_count, sizeof *r->sessions, by_id);
    }
}

static void load_sub(struct restore *r, struct slice key, struct slice value)
{
    struct session *s = key.n > 9 ? session_by_id(r, get_be64(key.p + 1)) : NULL;
    struct slice filter = slice_from(key, key.n > 9 ? 9 : key.n), name, inner;
    bool bad = mqtt_filter_is_shared(filter) && !mqtt_filter_shared(filter, &name, &inner);
    bool user = value.n >= SUB_ROW_USER && (value.p[1] & SUB_FILTERED) != 0;
    if (s == NULL || (value.n != SUB_ROW && !user) || bad) {
        r->skipped++;
        return;
    }
    struct topic_sub *sub = mem_new(1, sizeof *sub);
    sub->qos = value.p[0];
    sub->flags = value.p[1] & (SUB_NO_LOCAL | SUB_RETAIN_AS_PUBLISHED | SUB_FILTERED);
    bool fed = (value.p[1] & SUB_FEEDS) != 0;
    sub->subid = get_be32(value.p + 2);
    session_sub_link(s, sub, filter);
    struct worker *w = worker_of_session(r->s, s);
    topics_add(r->s->topics, w->index, s->instance, filter, sub);
    s->shared |= (sub->flags & SUB_SHARED) != 0;
    if (user) {
        filtered_restore(w, s, slice_from(value, SUB_ROW_USER));
    }
    filtered_set(w, sub);
    if (fed) {
        feed_begin(w, s, sub); /* some of them may come again */
        persist_sub(w, s, sub);
    }
}

static void load_delayed(struct restore *r, struct slice key, struct slice value)
{
    const uint8_t *v = value.p;
    bool whole = key.n == DELAYED_KEY && value.n > DELAYED_ROW_HEAD && v[0] == DELAYED_ROW_VERSION;
    struct slice rest = slice_from(value, whole ? DELAYED_ROW_HEAD : value.n);
    size_t id_n = whole ? get_be16(v + 21) : 0;
    struct slice id = slice_make(rest.p, id_n < rest.n ? id_n : 0);
    struct delayed *d =
        id.n == 0 ? NULL : delayed_restore(get_be32(v + 1), id, slice_from(rest, id.n));
    if (d == NULL) {
        r->skipped++;
        return;
    }
    d->due_us = get_be64(v + 5);
    d->expires_ms = mono_of(r->s, get_be64(v + 13));
    d->store_id = get_be64(key.p + 1);
    note_id(r->s, d->store_id);
    delays_restored(worker_of(r->s, client_hash(d->instance, id)), d);
    keep(&r->delayed, &r->delayed_count, &r->delayed_cap,
         (struct numbered){.id = d->store_id, .p = d}); /* keys are numbers: in their order */
}

/* Who has what of a QoS 2 message that was going out. */
static bool load_delayed_in(struct restore *r, struct slice key)
{
    const struct numbered wanted = {.id = get_be64(key.p + 1)};
    const struct numbered *n =
        r->delayed_count == 0
            ? NULL
            : bsearch(&wanted, r->delayed, r->delayed_count, sizeof *r->delayed, by_id);
    if (n == NULL) {
        return false;
    }
    struct delayed *d = n->p;
    if (key.n == IN_SHARE_KEY) {
        in_id_add_share(&d->in, get_be64(key.p + 13));
    } else if (key.p[11] < key.p[12] && key.p[12] == r->s->worker_count) {
        d->in.loops |= UINT64_C(1) << key.p[11];
    } else {
        persist_drop(r->s->workers[0], STORE_SESSIONS, key);
    }
    return true;
}

/*
 * Its session, which is another loop's to store, never was. Whoever got that number would have new messages taken for
 * repetitions: nobody gets it, and the row goes.
 */
static void drop_orphan(struct restore *r, struct slice key)
{
    note_id(r->s, get_be64(key.p + 1));
    persist_drop(r->s->workers[0], STORE_SESSIONS, key);
}

/* Of a run with another number of loops it says nothing about these: the repetition is delivered again, and the row goes, or
 * a later run with the old number would take a new message for that repetition. */
static void load_in_id(struct restore *r, struct slice key, struct slice value)
{
    bool whole = key.n == IN_ID_KEY || key.n == IN_SHARE_KEY;
    (void)value;
    if (whole && load_delayed_in(r, key)) {
        return;
    }
    struct session *s = whole ? session_by_id(r, get_be64(key.p + 1)) : NULL;
    if (whole && s == NULL) {
        drop_orphan(r, key);
        return;
    }
    if (s != NULL && key.n == IN_SHARE_KEY) {
        session_in_restore_share(s, get_be16(key.p + 9), get_be64(key.p + 13));
        return;
    }
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

static void orphan_will(struct worker *w, uint32_t instance, struct slice id, struct will *will)
{
    struct orphan_will *o = mem_new(1, sizeof *o + id.n);
    o->next = w->orphan_wills;
    o->instance = instance;
    o->will = will;
    o->client_id_len = (uint16_t)id.n;
    memcpy(o->client_id, id.p, id.n);
    w->orphan_wills = o;
}

/* A stored will, or NULL. */
static struct will *read_will(struct slice v, uint64_t *due_ms)
{
    struct message_parts p;
    if (v.n >= WILL_ROW_HEAD && v.p[0] == WILL_ROW_VERSION) {
        *due_ms = get_be64(v.p + 5);
        return will_restore(slice_from(v, WILL_ROW_HEAD), get_be32(v.p + 1));
    }
    if (!read_message_1(v, &p) || p.qos > 2) {
        return NULL;
    }
    const struct mqtt_will old = {
        .retain = p.retain, .qos = p.qos, .topic = p.topic, .payload = p.payload};
    struct will *raw = will_new(&old), *will = will_restore(will_packet(raw), 0);
    will_free(raw);
    return will; /* NULL if that topic can't be published to */
}

/*
 * The will of a client that was connected when the broker ended, or that had left before: it goes out when the loops run, or,
 * with a delay and a session that is still there, when that is over.
 */
static void load_will(struct restore *r, struct slice key, struct slice value)
{
    uint64_t due = 0;
    struct will *will = key.n < 5 ? NULL : read_will(value, &due);
    if (will == NULL) {
        r->skipped++;
        return;
    }
    uint32_t instance = get_be32(key.p + 1);
    struct slice id = slice_from(key, 5);
    uint64_t hash = client_hash(instance, id);
    struct worker *w = worker_of(r->s, hash);
    struct session *session = session_map_find(&w->sessions, hash, instance, id);
    if (session != NULL && will->delay_s != 0) {
        expiry_restore_will(w, session, will, due);
    } else {
        orphan_will(w, instance, id, will);
    }
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
    struct message_parts p;
    struct slice value;
    struct message *m = NULL;
    uint8_t key[8];
    put_be64(key, id);
    struct slice k = slice_make(key, sizeof key);
    if (store_get(r->s->store, NULL, store_family(r->s->store, STORE_MESSAGES), k, &value) != 0) {
        return NULL;
    }
    if (read_message(r->s, value, &p)) {
        m = message_make(&p);
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
    struct message_parts parts;
    message_parts(from, &parts);
    struct message *copy = message_make(&parts);
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
    bool shared = value.n == QUEUE_ROW_SHARED && value.p[0] == 2;
    if (s == NULL || !(shared || (value.n == QUEUE_ROW && value.p[0] == 1))) {
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
    struct queue_size before = queue_size(s);
    session_restore(s, order, m, value.p[1], (value.p[2] & QUEUE_RETAIN) != 0, state,
                    get_be32(value.p + 4), shared ? get_be32(value.p + QUEUE_ROW) : 0);
    if ((value.p[2] & QUEUE_FILTERED) != 0) {
        session_entry(s, order)->filtered = true;
        filtered_begin(s);
    }
    s->shared |= shared;
    if (copies_wait) {
        s->persist_from = s->out->head;
    }
    if (l != NULL && l->worker != w->index) {
        restore_copy(w, s, order, m);
    } else if (m != NULL) {
        m->store_refs++;
    }
    count_queue(&w->count, s, before);
    r->queued++;
}

static void load_retained(struct restore *r, struct slice key, struct slice value)
{
    struct message_parts p;
    if (key.n < 5 || !read_message(r->s, value, &p)) {
        r->skipped++;
        return;
    }
    if (message_expired(p.expires_ms, loop_now_ms(r->s->workers[0]->loop))) {
        persist_drop(r->s->workers[0], STORE_RETAINED, key);
        return;
    }
    (void)retained_set(r->s->retained, get_be32(key.p), &p, 0);
    r->retained++;
}

int persist_load(struct server *s)
{
    struct restore r = {.s = s};
    each(&r, STORE_RETAINED, "", load_retained);
    each(&r, STORE_SESSIONS, "S", load_session);
    index_sessions(&r);
    each(&r, STORE_SESSIONS, "T", load_sub);
    each(&r, STORE_SESSIONS, "D", load_delayed);
    each(&r, STORE_SESSIONS, "I", load_in_id);
    each(&r, STORE_SESSIONS, "W", load_will);
    each(&r, STORE_QUEUES, "", load_entry);
    for (size_t i = 0; r.loaded != NULL && i <= r.loaded_mask; i++) {
        if (r.loaded[i].msg != NULL) {
            message_unref(r.loaded[i].msg);
        }
    }
    free(r.loaded);
    free(r.sessions);
    free(r.delayed);
    log_info("session state restored",
             "sessions=%zu queued=%llu retained=%llu wills=%llu delayed=%zu skipped=%llu",
             r.session_count, (unsigned long long)r.queued, (unsigned long long)r.retained,
             (unsigned long long)r.wills, r.delayed_count, (unsigned long long)r.skipped);
    return 0;
}
