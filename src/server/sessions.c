/* A worker's sessions: the map from client to session, and a session's way onto and off a connection. */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

static struct session tombstone;

uint64_t client_hash(uint32_t instance, struct slice client_id)
{
    return hash64(client_id) ^ ((uint64_t)instance * UINT64_C(0x9E3779B97F4A7C15));
}

struct worker *worker_of(struct server *s, uint64_t hash)
{
    /* the high half: the low bits index the worker's own map */
    return s->workers[(hash >> 32) % s->worker_count];
}

void session_map_init(struct session_map *m)
{
    *m = (struct session_map){.slot = mem_new(64, sizeof(struct session *)), .mask = 63};
}

void session_map_fini(struct session_map *m, struct topics *t, unsigned loop)
{
    for (uint64_t i = 0; m->slot != NULL && i <= m->mask; i++) {
        struct session *s = m->slot[i];
        if (s == NULL || s == &tombstone) {
            continue;
        }
        while (s->subs != NULL) {
            struct topic_sub *sub = s->subs;
            feed_end(s, sub);
            topics_remove(t, loop, sub);
            session_sub_unlink(s, sub);
            free(sub);
        }
        s->conn = NULL;
        filtered_end(s);
        session_free(s);
    }
    free(m->slot);
}

struct session *session_map_find(const struct session_map *m, uint64_t hash, uint32_t instance,
                                 struct slice client_id)
{
    for (uint64_t i = hash & m->mask;; i = (i + 1) & m->mask) {
        struct session *s = m->slot[i];
        if (s == NULL) {
            return NULL;
        }
        if (s != &tombstone && s->hash == hash && s->instance == instance &&
            slice_eq(session_client_id(s), client_id)) {
            return s;
        }
    }
}

static void put(struct session_map *m, struct session *s)
{
    uint64_t i = s->hash & m->mask;
    while (m->slot[i] != NULL && m->slot[i] != &tombstone) {
        i = (i + 1) & m->mask;
    }
    m->used += m->slot[i] == NULL;
    m->slot[i] = s;
}

static void resize(struct session_map *m, uint64_t slots)
{
    struct session_map bigger = {
        .slot = mem_new(slots, sizeof(struct session *)), .mask = slots - 1, .count = m->count};
    for (uint64_t i = 0; i <= m->mask; i++) {
        if (m->slot[i] != NULL && m->slot[i] != &tombstone) {
            put(&bigger, m->slot[i]);
        }
    }
    free(m->slot);
    *m = bigger;
}

void session_map_reserve(struct session_map *m, uint64_t count)
{
    uint64_t slots = m->mask + 1;
    while (count * 4 > slots * 3) {
        slots *= 2;
    }
    if (slots > m->mask + 1) {
        resize(m, slots);
    }
}

void session_map_put(struct session_map *m, struct session *s)
{
    if ((m->used + 1) * 4 > (m->mask + 1) * 3) {
        uint64_t slots = 64;
        while (slots < (m->count + 1) * 2) {
            slots *= 2;
        }
        resize(m, slots);
    }
    m->count++;
    put(m, s);
}

void session_map_remove(struct session_map *m, const struct session *s)
{
    uint64_t i = s->hash & m->mask;
    while (m->slot[i] != s) {
        assert(m->slot[i] != NULL);
        i = (i + 1) & m->mask;
    }
    m->slot[i] = &tombstone;
    m->count--;
}

void session_map_each(struct worker *w, void (*fn)(struct worker *w, struct session *s))
{
    const struct session_map *m = &w->sessions;
    for (uint64_t i = 0; i <= m->mask; i++) {
        if (m->slot[i] != NULL && m->slot[i] != &tombstone) {
            fn(w, m->slot[i]);
        }
    }
}

void session_unsubscribe(struct worker *w, struct session *s, struct topic_sub *sub)
{
    if (session_durable(s)) {
        persist_unsub(w, s, topic_sub_filter(sub));
    }
    feed_end(s, sub);
    topics_remove(w->server->topics, w->index, sub);
    session_sub_unlink(s, sub);
    free(sub);
}

void session_discard(struct worker *w, struct session *s)
{
    assert(s->conn == NULL);
    if (s->shared) {
        shared_leave(w, s, NULL, true);
    }
    while (s->subs != NULL) {
        session_unsubscribe(w, s, s->subs);
    }
    session_will_end(w, s, true); /* one that waited for longer than the session lives */
    deadlines_set(&w->deadlines, &s->deadline, DEADLINE_NEVER);
    if (session_durable(s)) {
        persist_session_gone(w, s);
    }
    struct queue_size gone = queue_size(s);
    count_sub(&w->count.queued, gone.messages);
    count_sub(&w->count.inflight, gone.inflight);
    count_sub(&w->count.queued_bytes, gone.bytes);
    count_sub(&w->count.sessions, 1);
    session_map_remove(&w->sessions, s);
    filtered_end(s);
    session_free(s);
}

uint32_t session_expiry_max(const struct server *s)
{
    uint64_t max_ms = s->config->session_expiry_max_ms;
    uint64_t max_s = (max_ms + 999) / 1000;
    return max_ms == 0 || max_s > SESSION_NEVER ? SESSION_NEVER : (uint32_t)max_s;
}

void session_attach(struct session *s, struct conn *c)
{
    assert(s->conn == NULL && c->session == NULL);
    s->conn = c;
    c->session = s;
    filtered_here(c->w, s);
    struct queue_size before = queue_size(s);
    session_resume(s);
    count_queue(&c->w->count, s, before);
    session_repeat_pubrels(c);
    if (s->shared) {
        shared_here(c->w, s, true);
    }
}

void session_detach(struct worker *w, struct conn *c)
{
    struct session *s = c->session;
    if (s == NULL) {
        return;
    }
    c->session = NULL;
    s->conn = NULL;
    filtered_away(s, c);
    if (s->shared) {
        shared_here(w, s, false);
    }
    if (s->expiry_s == 0) {
        session_discard(w, s);
        return;
    }
    if (s->shared) {
        shared_leave(w, s, NULL, false);
    }
    bool changed = c->v5 != NULL && c->v5->session_expiry != s->expiry_s;
    if (s->expiry_s != SESSION_NEVER || changed) {
        persist_session(w, s, false);
    }
    expiry_offline(w, s);
}

/* One to $delayed/… goes there later; of that a Unix time may be too long ago by now. */
static void publish_will(struct worker *w, const struct session *s, struct mqtt_publish *p)
{
    struct route_result r = {0};
    uint64_t delay_ms;
    if (!delays_topic(w, &p->topic, &delay_ms) || (delay_ms > 0 && !delays_takes(w, p))) {
        count_add(&w->count.dropped[DROP_DELAYED], 1);
    } else if (delay_ms > 0) {
        delays_keep(w, s->instance, session_client_id(s), p, delay_ms);
    } else {
        route_publish(w, NULL, s->instance, p, hash64(p->topic), 0, &r);
    }
}

void session_will_end(struct worker *w, struct session *s, bool publish)
{
    struct will *will = s->will;
    if (will == NULL) {
        return;
    }
    s->will = NULL;
    persist_will(w, s);
    if (publish) {
        struct mqtt_publish p;
        will_publish(will, &p);
        publish_will(w, s, &p);
    }
    will_free(will);
}
