/*
 * Listeners and who takes connections from them: one socket a listener, in the epoll of every worker (exclusive, so that
 * one of them wakes), or with reuse_port one for each worker. A worker whose endings wait for room in the ring takes nobody.
 *
 * compose() is the one place that puts a connection's layers together.
 */
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "net/proxy.h"
#include "server/server_priv.h"

enum { BACKLOG = 4096, ACCEPTS_A_ROUND = 64, RETRY_MS = 100, HANDSHAKE_SPARE = 64 };
enum { CERTIFICATE_WARN_DAYS = 30, DAY_S = 86400 };

static const struct {
    enum record_transport transport;
    bool tls, ws;
} protocols[] = {
    [PROTOCOL_MQTT] = {TRANSPORT_TCP, false, false},
    [PROTOCOL_MQTTS] = {TRANSPORT_TLS, true, false},
    [PROTOCOL_WS] = {TRANSPORT_WS, false, true},
    [PROTOCOL_WSS] = {TRANSPORT_WSS, true, true},
};

/* ---- sockets ---- */

static int fail_listen(const struct listener *l, struct config_error *err)
{
    (void)snprintf(err->text, sizeof err->text, "%s: cannot listen on %s: %s", l->info.name,
                   l->settings->address, strerror(errno));
    return -1;
}

/* A socket file that a broker left which was killed stands in the way of its successor; one that somebody serves does not go. */
static void remove_stale(const struct sockaddr_storage *ss, socklen_t len)
{
    struct sockaddr_un un;
    memcpy(&un, ss, sizeof un);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)ss, len) != 0 && errno == ECONNREFUSED) {
        (void)unlink(un.sun_path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
}

/* A listening socket at `ss`, or -1 with errno. */
static int open_socket(const struct sockaddr_storage *ss, socklen_t len, bool reuse_port)
{
    int one = 1, zero = 0;
    int fd = socket(ss->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -1;
    }
    bool tcp = ss->ss_family != AF_UNIX; /* connections have the option from their listener */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        (tcp && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) != 0) ||
        (reuse_port && setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) != 0) ||
        (ss->ss_family == AF_INET6 &&
         setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof zero) != 0) ||
        bind(fd, (const struct sockaddr *)ss, len) != 0 || listen(fd, BACKLOG) != 0) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

static void tell_address(struct listener *l, const struct sockaddr_storage *ss)
{
    if (ss->ss_family == AF_UNIX) {
        (void)snprintf(l->address, sizeof l->address, "%s", l->settings->address);
    } else {
        addr_text((const struct sockaddr *)ss, l->address);
    }
    l->info.address = l->address;
}

static int open_sockets(struct listener *l, struct config_error *err)
{
    struct sockaddr_storage ss;
    socklen_t len = 0;
    int bad = addr_parse(l->settings->address, &ss, &len);
    assert(bad == 0); /* the configuration has checked it */
    if (bad != 0) {
        return -1;
    }
    bool path = ss.ss_family == AF_UNIX;
    bool each = l->server->config->reuse_port && !path;
    if (path) {
        remove_stale(&ss, len);
    }
    unsigned count = each ? l->server->worker_count : 1;
    l->fds = mem_new(count, sizeof *l->fds);
    for (unsigned i = 0; i < count; i++) {
        l->fds[i] = open_socket(&ss, len, each);
        if (l->fds[i] < 0) {
            return fail_listen(l, err);
        }
        l->fd_count++;
        len = path ? len : (socklen_t)sizeof ss;
        if (!path) { /* a port that the kernel chose is the next ones', too */
            (void)getsockname(l->fds[i], (struct sockaddr *)&ss, &len);
        }
    }
    tell_address(l, &ss);
    return 0;
}

/* ---- certificates ---- */

static struct tls_context *load_tls(const struct config_listener *c, struct config_error *err)
{
    const struct tls_settings settings = {.certificate = c->certificate,
                                          .key = c->key,
                                          .client_ca = c->client_ca,
                                          .crl = c->crl,
                                          .client = c->client_certificate,
                                          .username = c->username_from,
                                          .min = c->min_version};
    char why[TLS_ERROR_MAX];
    struct tls_context *t = tls_context_new(&settings, why);
    if (t == NULL) {
        (void)snprintf(err->text, sizeof err->text, "listener %s: %s", c->name, why);
    }
    return t;
}

int server_check_tls(const struct config *c, struct config_error *err)
{
    for (unsigned i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        if (l->address == NULL || !protocols[l->protocol].tls) {
            continue;
        }
        struct tls_context *t = load_tls(l, err);
        if (t == NULL) {
            return -1;
        }
        tls_context_unref(t);
    }
    return 0;
}

static struct tls_context *take_tls(struct listener *l)
{
    (void)pthread_mutex_lock(&l->lock);
    struct tls_context *t = l->tls;
    tls_context_ref(t);
    (void)pthread_mutex_unlock(&l->lock);
    return t;
}

int server_reload_tls(struct server *s, struct config_error *err)
{
    int fresh_ones = 0;
    bool good = true;
    for (unsigned i = 0; i < s->listener_count; i++) {
        struct listener *l = &s->listeners[i];
        struct config_error why;
        if (!protocols[l->settings->protocol].tls) {
            continue;
        }
        struct tls_context *fresh = load_tls(l->settings, &why), *old = fresh;
        if (fresh != NULL) {
            (void)pthread_mutex_lock(&l->lock);
            old = l->tls;
            l->tls = fresh;
            (void)pthread_mutex_unlock(&l->lock);
            fresh_ones++;
            log_info("certificates read again", "listener=%s", l->info.name);
        } else {
            log_warn("certificates kept: the new ones are not good", "listener=%s error=\"%s\"",
                     l->info.name, why.text);
            *err = good ? why : *err;
            good = false;
        }
        tls_context_unref(old);
    }
    return good ? fresh_ones : -1;
}

int64_t server_certificate_end(struct server *s, unsigned i)
{
    const char *file;
    if (i >= s->listener_count || !protocols[s->listeners[i].settings->protocol].tls) {
        return 0;
    }
    struct tls_context *t = take_tls(&s->listeners[i]);
    int64_t end = tls_context_not_after(t, &file);
    tls_context_unref(t);
    return end;
}

static void warn_of_end(struct listener *l)
{
    const char *file;
    struct tls_context *t = take_tls(l);
    int64_t end = tls_context_not_after(t, &file);
    int64_t now = (int64_t)(clock_wall_us() / 1000000);
    if (end - now < CERTIFICATE_WARN_DAYS * DAY_S) {
        log_warn(end < now ? "a server certificate has ended" : "a server certificate ends soon",
                 "listener=%s file=\"%s\" days=%lld", l->info.name, file,
                 (long long)((end - now) / DAY_S));
    }
    tls_context_unref(t);
}

static void on_certificates(struct timer *timer)
{
    struct worker *w = LIST_ENTRY(timer, struct worker, certificate_timer);
    for (unsigned i = 0; i < w->server->listener_count; i++) {
        struct listener *l = &w->server->listeners[i];
        if (protocols[l->settings->protocol].tls) {
            warn_of_end(l);
            loop_timer_set(w->loop, timer, loop_now_ms(w->loop) + UINT64_C(1000) * DAY_S);
        }
    }
}

void listeners_watch(struct worker *w)
{
    timer_init(&w->certificate_timer, on_certificates);
    if (w->index == 0) {
        on_certificates(&w->certificate_timer);
    }
}

/* ---- listeners ---- */

static int open_one(struct server *s, struct listener *l, const struct config_listener *settings,
                    struct config_error *err)
{
    l->server = s;
    l->settings = settings;
    l->transport = protocols[settings->protocol].transport;
    l->info =
        (struct server_listener_info){.name = settings->name,
                                      .protocol = config_protocol_name(settings->protocol),
                                      .proxied = settings->proxy_protocol,
                                      .path = !protocols[settings->protocol].ws  ? NULL
                                              : strcmp(settings->path, "*") == 0 ? "/"
                                                                                 : settings->path};
    int bad = addr_nets_parse(settings->proxy_from, &l->proxy_from);
    assert(bad == 0); /* the configuration has checked it */
    (void)bad;
    l->ws = (struct ws_rules){.path = settings->path, .origins = settings->origins};
    (void)pthread_mutex_init(&l->lock, NULL);
    if (strncmp(settings->address, "unix:", strlen("unix:")) == 0 &&
        l->transport == TRANSPORT_TCP) {
        l->transport = TRANSPORT_UNIX;
    }
    if (protocols[settings->protocol].tls && (l->tls = load_tls(settings, err)) == NULL) {
        return -1;
    }
    return open_sockets(l, err);
}

int listeners_open(struct server *s, struct config_error *err)
{
    const struct config *c = s->config;
    s->listeners = mem_new(c->listener_count + 1, sizeof *s->listeners);
    for (unsigned i = 0; i < c->listener_count; i++) {
        if (c->listeners[i].address == NULL) {
            continue; /* off */
        }
        if (open_one(s, &s->listeners[s->listener_count++], &c->listeners[i], err) != 0) {
            return -1;
        }
    }
    return 0;
}

void listeners_close(struct server *s)
{
    for (unsigned i = 0; i < s->listener_count; i++) {
        struct listener *l = &s->listeners[i];
        for (unsigned k = 0; k < l->fd_count; k++) {
            (void)close(l->fds[k]);
        }
        if (l->fd_count > 0 && strncmp(l->address, "unix:", strlen("unix:")) == 0) {
            (void)unlink(l->address + strlen("unix:"));
        }
        tls_context_unref(l->tls);
        addr_nets_fini(&l->proxy_from);
        (void)pthread_mutex_destroy(&l->lock);
        free(l->fds);
    }
    free(s->listeners);
}

/* ---- new connections ---- */

/* A certificate that was shown to the load balancer counts where we ask for none ourselves. */
static struct proxy_rules proxy_rules(const struct config_listener *l)
{
    bool tls = protocols[l->protocol].tls;
    bool asks = tls && l->client_certificate != TLS_CLIENT_NONE;
    return (struct proxy_rules){.user = !asks && l->username_from == TLS_USER_CN,
                                .required = !tls && l->client_certificate == TLS_CLIENT_REQUIRED};
}

/* The layers between the socket and MQTT. */
static void compose(struct stream *s, struct listener *l, int fd,
                    const struct sockaddr_storage *peer)
{
    stream_tcp_init(s, fd);
    if (l->settings->proxy_protocol) {
        stream_proxy_wrap(s, (const struct sockaddr *)peer, proxy_rules(l->settings));
    }
    if (protocols[l->settings->protocol].tls) {
        struct tls_context *t = take_tls(l);
        stream_tls_wrap(s, t);
        tls_context_unref(t);
    }
    if (protocols[l->settings->protocol].ws) {
        stream_ws_wrap(s, &l->ws);
    }
}

bool listener_full(const struct conn *c, uint64_t *limit)
{
    const struct server *s = c->w->server;
    const struct listener *l = c->listener;
    uint64_t of_all = atomic_load_explicit(&s->max_connections, memory_order_relaxed);
    uint64_t own = l == NULL ? 0 : l->settings->max_connections;
    bool full = atomic_load_explicit(&s->connections, memory_order_relaxed) > of_all;
    *limit = full ? of_all : own;
    return full || (own > 0 && atomic_load_explicit(&l->connections, memory_order_relaxed) > own);
}

static void refusal_evidence(const struct source_refusal *why, struct evidence *e)
{
    evidence_init(e);
    if (why->limit > 0) {
        evidence_u64(e, EV_LIMIT, why->limit);
        evidence_u64(e, EV_ACTUAL, why->actual);
    }
    if (why->cause == CAUSE_LIMIT_CONNECT_RATE) {
        evidence_u64(e, EV_WINDOW_MS, why->window_ms);
    }
    evidence_str(e, EV_TEXT, why->what);
}

/* Too fast, too many of one address, a stranger: closed before TLS, which would cost us more than its sender. */
static void turn_away(struct acceptor *a, int fd, const struct sockaddr_storage *peer,
                      const struct source_refusal *why)
{
    struct stream stream;
    struct evidence e;
    stream_tcp_init(&stream, fd);
    refusal_evidence(why, &e);
    conn_turn_away(conn_new(a->w, &stream, peer, a->listener), why->cause, &e);
}

/* False: that address may not have another connection now. */
static bool admit(struct worker *w, const struct sockaddr *peer, uint16_t *flags,
                  struct source_refusal *why)
{
    static const uint16_t flag_of[] = {
        [SOURCE_UNCOUNTED] = 0, [SOURCE_OWN] = CONN_COUNTED, [SOURCE_OTHER] = CONN_COUNTED_OTHER};
    const struct config *c = w->server->config;
    const struct source_limits limits = {.rate = c->max_connect_rate,
                                         .rate_of_all = c->max_connect_rate_total,
                                         .connections = c->max_connections_per_address};
    enum source_place place = SOURCE_UNCOUNTED;
    bool ip = peer->sa_family == AF_INET || peer->sa_family == AF_INET6;
    bool in = (limits.rate | limits.rate_of_all | limits.connections) == 0 || !ip ||
              sources_admit(w->server->sources, peer, &limits, loop_now_ms(w->loop), &place, why);
    *flags = flag_of[place];
    return in;
}

/* False: it may not say where its connections are from. A Unix socket's file has an owner who decides. */
static bool trusts(const struct listener *l, const struct sockaddr *peer,
                   struct source_refusal *why)
{
    if (peer->sa_family == AF_UNIX || addr_nets_have(&l->proxy_from, peer)) {
        return true;
    }
    *why = (struct source_refusal){.cause = CAUSE_HANDSHAKE_PROXY,
                                   .what = "it comes from an address that is not in proxy_from"};
    return false;
}

bool listener_client(struct conn *c)
{
    const struct stream_via *via = stream_via(&c->stream);
    struct source_refusal why;
    struct evidence e;
    uint16_t flags;
    if (via == NULL || addr_same(&via->client, &c->peer)) {
        return true;
    }
    c->peer = via->client;
    if (!admit(c->w, &c->peer.sa, &flags, &why)) {
        refusal_evidence(&why, &e);
        conn_end(c, why.cause, &e);
        return false;
    }
    c->flags |= flags;
    return true;
}

static void take(struct acceptor *a, int fd, const struct sockaddr_storage *peer)
{
    struct server *s = a->w->server;
    struct stream stream;
    struct source_refusal why;
    uint16_t flags = 0;
    const struct sockaddr *from = (const struct sockaddr *)peer;
    uint64_t n = atomic_fetch_add_explicit(&s->connections, 1, memory_order_relaxed) + 1;
    uint64_t own =
        atomic_fetch_add_explicit(&a->listener->connections, 1, memory_order_relaxed) + 1;
    uint64_t own_max = a->listener->settings->max_connections;
    bool in = a->listener->settings->proxy_protocol ? trusts(a->listener, from, &why)
                                                    : admit(a->w, from, &flags, &why);
    if (!in) {
        turn_away(a, fd, peer, &why);
        return;
    }
    compose(&stream, a->listener, fd, peer);
    struct conn *c = conn_new(a->w, &stream, peer, a->listener);
    c->flags |= flags;
    if (n > s->max_connections || (own_max > 0 && own > own_max)) {
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
        const struct listener *l = &s->listeners[i];
        int fd = l->fds[w->index % l->fd_count];
        *a = (struct acceptor){
            .io = {.fd = fd, .on_io = on_accept}, .w = w, .listener = &s->listeners[i]};
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
