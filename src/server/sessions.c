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
            topics_remove(t, loop, sub);
            session_sub_unlink(s, sub);
            free(sub);
        }
        s->conn = NULL;
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

void session_discard(struct worker *w, struct session *s)
{
    assert(s->conn == NULL);
    while (s->subs != NULL) {
        struct topic_sub *sub = s->subs;
        if (session_durable(s)) {
            persist_unsub(w, s, topic_node_filter(sub->node));
        }
        topics_remove(w->server->topics, w->index, sub);
        session_sub_unlink(s, sub);
        free(sub);
    }
    if (session_durable(s)) {
        persist_session_gone(w, s);
    }
    count_sub(&w->count.queued, session_queued(s));
    count_sub(&w->count.sessions, 1);
    session_map_remove(&w->sessions, s);
    session_free(s);
}

void session_attach(struct session *s, struct conn *c)
{
    assert(s->conn == NULL && c->session == NULL);
    s->conn = c;
    c->session = s;
    session_resume(s);
}

void session_detach(struct worker *w, struct conn *c)
{
    struct session *s = c->session;
    if (s == NULL) {
        return;
    }
    c->session = NULL;
    s->conn = NULL;
    if (s->clean) {
        session_discard(w, s);
    }
}

void session_will_end(struct worker *w, struct session *s, bool publish)
{
    struct message *m = s->will;
    if (m == NULL) {
        return;
    }
    s->will = NULL;
    persist_will(w, s);
    if (publish) {
        struct route_result r = {0};
        struct mqtt_publish p = {.qos = m->qos,
                                 .retain = m->retain,
                                 .topic = message_topic(m),
                                 .payload = message_payload(m)};
        route_publish(w, NULL, s->instance, &p, hash64(p.topic), 0, &r);
    }
    message_unref(m);
}
