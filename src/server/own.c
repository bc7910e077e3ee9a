/*
 * The broker's own connections, and bridges of other brokers.
 *
 * An own connection is an ordinary client on one end of a socket pair: session, queue, trace and limits are those of any
 * client. What is special: its client ID begins with SERVER_OWN_ID, which no other client may have; it may do
 * everything; it comes by server_attach() and not through a listener.
 *
 * A bridge of another broker is a client like any other, too. One before MQTT 5 cannot ask for "no local" and "retain as
 * published", which it needs: its subscriptions have both. It tells its state below $SYS. Mosquitto's MQTT 5 bridges look like any
 * client, so every client may do that, at the topic of its own client ID.
 */
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "bridge/mapping.h"
#include "bridge/mark.h"
#include "server/server_priv.h"

struct mail_own {
    struct mail mail;
    int fd;
    bool forget_incoming, prepares;
    struct sockaddr_storage peer;
};

bool own_client_id(struct slice client_id)
{
    return slice_has_prefix(client_id, slice_str(SERVER_OWN_ID));
}

void server_attach(struct server *s, const struct server_own *own)
{
    struct mail_own *m = mem_new(1, sizeof *m);
    m->mail.kind = MAIL_OWN;
    m->fd = own->fd;
    m->forget_incoming = own->forget_incoming;
    m->prepares = own->prepares;
    if (own->peer == NULL) {
        m->peer.ss_family = AF_UNIX;
    } else {
        memcpy(&m->peer, own->peer,
               own->peer->sa_family == AF_INET6 ? sizeof(struct sockaddr_in6)
                                                : sizeof(struct sockaddr_in));
    }
    worker_post(worker_of(s, client_hash(0, slice_str(own->client_id))), &m->mail);
}

void own_arrived(struct worker *w, struct mail *mail)
{
    struct mail_own *m = LIST_ENTRY(mail, struct mail_own, mail);
    struct stream stream;
    if (w->stopping) {
        (void)close(m->fd);
        free(m);
        return;
    }
    atomic_fetch_add_explicit(&w->server->connections, 1, memory_order_relaxed);
    stream_tcp_init(&stream, m->fd);
    struct conn *c = conn_new(w, &stream, &m->peer, NULL);
    c->kind = (uint8_t)(CONN_OWN | (m->forget_incoming ? CONN_FORGETS : 0) |
                        (m->prepares ? CONN_PREPARES : 0));
    free(m);
    conn_start(c);
    conn_read(c);
}

void own_forget(struct session *s, struct conn *c)
{
    while (session_in_count(s) > 0) {
        const struct in_id *in = &s->in_qos2->ids[0];
        uint16_t id = in->id;
        if (session_durable(s)) {
            persist_in_gone(c->w, s->store_id, in);
        }
        (void)session_in_remove(s, id);
    }
}

/* ---- what the configuration has no more ---- */

static const struct bridge_settings *bridge_of(const struct config *c, const struct session *s)
{
    struct slice name = slice_from(session_client_id(s), strlen(SERVER_OWN_ID));
    for (unsigned i = 0; i < c->bridge_count; i++) {
        if (slice_eq(slice_str(c->bridges[i].name), name)) {
            return &c->bridges[i];
        }
    }
    return NULL;
}

static bool filter_wanted(const struct bridge_mapping *m, struct slice filter)
{
    for (unsigned i = 0; i < m->count; i++) {
        if (m->rules[i].from[BRIDGE_LOCAL] && slice_eq(m->rules[i].filter[BRIDGE_LOCAL], filter)) {
            return true;
        }
    }
    return false;
}

static void prune_filters(struct worker *w, struct session *s, const struct bridge_settings *b)
{
    struct bridge_mapping m;
    bridge_mapping_init(&m, b->topics, b->topic_count);
    for (struct topic_sub *sub = s->subs, *next; sub != NULL; sub = next) {
        next = sub->next;
        if (!filter_wanted(&m, topic_sub_filter(sub))) {
            session_unsubscribe(w, s, sub);
        }
    }
    bridge_mapping_fini(&m);
}

static void prune(struct worker *w, struct session *s)
{
    if (!own_client_id(session_client_id(s))) {
        return;
    }
    const struct bridge_settings *b = bridge_of(w->server->config, s);
    if (b != NULL) {
        prune_filters(w, s, b);
    } else {
        session_will_end(w, s, false);
        session_discard(w, s);
    }
}

void own_prune(struct server *s)
{
    for (unsigned i = 0; i < s->worker_count; i++) {
        session_map_each(s->workers[i], prune);
    }
}

/* ---- bridges of other brokers ---- */

bool bridge_said(const struct mqtt_connect *p)
{
    struct slice id;
    return p->bridge || bridge_mark_first(p->props.user, &id);
}

bool bridge_state_topic(const struct conn *c, struct slice client_id, struct slice topic)
{
    static const char head[] = "$SYS/broker/connection/", tail[] = "/state";
    const struct config *cfg = c->w->server->config;
    size_t head_n = strlen(head), tail_n = strlen(tail);
    if (topic.n != head_n + client_id.n + tail_n || memcmp(topic.p, head, head_n) != 0 ||
        memcmp(topic.p + head_n, client_id.p, client_id.n) != 0 ||
        memcmp(topic.p + head_n + client_id.n, tail, tail_n) != 0) {
        return false;
    }
    for (unsigned i = 0; i < cfg->bridge_count; i++) {
        if (slice_eq(slice_str(cfg->bridges[i].name), client_id)) {
            return false; /* that is where our own tells */
        }
    }
    return true;
}
