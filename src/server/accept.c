/*
 * Listeners and who takes connections from them: one socket a listener, in the epoll of every worker (exclusive, so that
 * one of them wakes). A worker whose endings wait for room in the ring takes nobody.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { BACKLOG = 4096, ACCEPTS_A_ROUND = 64, RETRY_MS = 100, HANDSHAKE_SPARE = 64 };

static int open_one(struct listener *l, const char *address, struct config_error *err)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int one = 1;
    if (addr_parse(address, &ss, &len) != 0) {
        (void)snprintf(err->text, sizeof err->text,
                       "%s: \"%s\": expected host:port, as 127.0.0.1:1883", l->info.name, address);
        return -1;
    }
    l->fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (l->fd < 0 || setsockopt(l->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(l->fd, (struct sockaddr *)&ss, len) != 0 || listen(l->fd, BACKLOG) != 0) {
        (void)snprintf(err->text, sizeof err->text, "%s: cannot listen on %s: %s", l->info.name,
                       address, strerror(errno));
        return -1;
    }
    len = sizeof ss;
    (void)getsockname(l->fd, (struct sockaddr *)&ss, &len);
    addr_text((const struct sockaddr *)&ss, l->address);
    l->info.address = l->address;
    return 0;
}

int listeners_open(struct server *s, struct config_error *err)
{
    s->listeners = mem_new(1, sizeof *s->listeners);
    if (s->config->mqtt == NULL || s->config->mqtt[0] == '\0') {
        return 0;
    }
    struct listener *l = &s->listeners[0];
    *l = (struct listener){.server = s,
                           .fd = -1,
                           .info = {.name = "mqtt", .protocol = "mqtt"},
                           .transport = TRANSPORT_TCP};
    s->listener_count = 1;
    return open_one(l, s->config->mqtt, err);
}

void listeners_close(struct server *s)
{
    for (unsigned i = 0; i < s->listener_count; i++) {
        if (s->listeners[i].fd >= 0) {
            (void)close(s->listeners[i].fd);
        }
    }
    free(s->listeners);
}

static void take(struct acceptor *a, int fd, const struct sockaddr_storage *peer)
{
    struct server *s = a->w->server;
    struct stream stream;
    uint64_t n = atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) + 1;
    stream_tcp_init(&stream, fd);
    struct conn *c = conn_new(a->w, &stream, peer, a->listener);
    if (n > s->max_connections) {
        c->flags |= CONN_OVER_LIMIT; /* told so when it has said who it is */
    }
    conn_start(c);
    if (n > s->max_connections + HANDSHAKE_SPARE) {
        struct evidence e;
        evidence_init(&e);
        evidence_u64(&e, EV_LIMIT, s->max_connections);
        conn_end(c, CAUSE_LIMIT_CONNECTIONS, &e);
    }
}

static void turn_off(struct acceptor *a)
{
    if (!a->off) {
        a->off = true;
        loop_del(a->w->loop, &a->io);
    }
    loop_timer_set(a->w->loop, &a->retry, loop_now_ms(a->w->loop) + RETRY_MS);
}

static void on_retry(struct timer *t)
{
    struct acceptor *a = LIST_ENTRY(t, struct acceptor, retry);
    if (!list_empty(&a->w->unrecorded) || loop_add(a->w->loop, &a->io, true) != 0) {
        loop_timer_set(a->w->loop, &a->retry, loop_now_ms(a->w->loop) + RETRY_MS);
        return;
    }
    a->off = false;
}

static void on_accept(struct loop_io *io, uint32_t events)
{
    struct acceptor *a = LIST_ENTRY(io, struct acceptor, io);
    (void)events;
    for (int i = 0; i < ACCEPTS_A_ROUND; i++) {
        struct sockaddr_storage peer = {0};
        socklen_t len = sizeof peer;
        int fd = accept4(io->fd, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            take(a, fd, &peer);
            continue;
        }
        if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            log_warn("cannot accept connections for a moment", "error=%s", strerrorname_np(errno));
            turn_off(a);
        }
        return;
    }
}

int acceptors_start(struct worker *w)
{
    const struct server *s = w->server;
    w->acceptors = mem_new(s->listener_count, sizeof *w->acceptors);
    for (unsigned i = 0; i < s->listener_count; i++) {
        struct acceptor *a = &w->acceptors[i];
        *a = (struct acceptor){.io = {.fd = s->listeners[i].fd, .on_io = on_accept},
                               .w = w,
                               .listener = &s->listeners[i]};
        timer_init(&a->retry, on_retry);
        int err = loop_add(w->loop, &a->io, true);
        if (err != 0) {
            return err;
        }
    }
    return 0;
}

void acceptors_hold(struct worker *w)
{
    for (unsigned i = 0; w->acceptors != NULL && i < w->server->listener_count; i++) {
        turn_off(&w->acceptors[i]);
    }
}

void acceptors_stop(struct worker *w)
{
    for (unsigned i = 0; w->acceptors != NULL && i < w->server->listener_count; i++) {
        struct acceptor *a = &w->acceptors[i];
        if (!a->off) {
            loop_del(w->loop, &a->io);
        }
        timer_cancel(&a->retry);
    }
    free(w->acceptors);
    w->acceptors = NULL;
}
