/*
 * client: see client.h.
 *
 * Invariants: a client with fd >= 0 is in the epoll set; EPOLLOUT is armed only while its socket
 * refused output (also before the TCP handshake is over); a closed client may still stand in the
 * dirty list and is skipped there. Level triggered, one read of up to READ_BYTES per socket and
 * round.
 */
#include "client.h"

#include <assert.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define READ_BYTES (256U * 1024U)
#define REST_MAX (256U * 1024U)
#define EVENTS_PER_ROUND 512

static void *resize(void *p, size_t bytes)
{
    void *q = realloc(p, bytes);
    if (!q) {
        abort();
    }
    return q;
}

int64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

int loop_init(struct loop *l, const struct client_events *events, void *ctx, uint16_t port,
              uint32_t sources)
{
    memset(l, 0, sizeof *l);
    l->events = events;
    l->ctx = ctx;
    l->sources = sources;
    l->server.sin_family = AF_INET;
    l->server.sin_port = htons(port);
    l->server.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        return -errno;
    }
    l->in = resize(NULL, READ_BYTES + REST_MAX);
    return 0;
}

void loop_fini(struct loop *l)
{
    if (l->epoll_fd > 0) {
        close(l->epoll_fd);
    }
    free(l->in);
    free(l->dirty);
    memset(l, 0, sizeof *l);
}

void client_init(struct client *c, uint32_t index, uint8_t role)
{
    memset(c, 0, sizeof *c);
    c->fd = -1;
    c->index = index;
    c->role = role;
}

void client_fini(struct client *c)
{
    client_close(c, false);
    free(c->out);
    free(c->rest);
    c->out = NULL;
    c->rest = NULL;
    c->out_room = 0;
    c->rest_room = 0;
}

void client_close(struct client *c, bool reset)
{
    if (c->fd < 0) {
        return;
    }
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    transport_free(c->transport, !reset);
    c->transport = NULL;
    close(c->fd);
    c->fd = -1;
    c->send_error = 0;
    c->blocked = false;
    c->out_from = 0;
    c->out_to = 0;
    c->rest_bytes = 0;
}

/* Takes the source addresses in turn, so that no pair of addresses runs out of ports. */
static int bind_source(struct loop *l, int fd)
{
    if (l->sources <= 1) {
        return 0;
    }
    int on = 1;
    struct sockaddr_in source = {.sin_family = AF_INET};
    source.sin_addr.s_addr = htonl(INADDR_LOOPBACK + l->next_source);
    l->next_source = (l->next_source + 1) % l->sources;
    if (setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof on) < 0) {
        return -errno;
    }
    return bind(fd, (const struct sockaddr *)&source, sizeof source) < 0 ? -errno : 0;
}

/* Returns a socket on its way to the server, or a negative errno. */
static int open_socket(struct loop *l)
{
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    int error = bind_source(l, fd);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (error == 0 && connect(fd, (const struct sockaddr *)&l->server, sizeof l->server) < 0 &&
        errno != EINPROGRESS) {
        error = -errno;
    }
    if (error < 0) {
        close(fd);
        return error;
    }
    return fd;
}

int client_open(struct loop *l, struct client *c, const struct wire_login *login)
{
    assert(c->fd < 0);
    int fd = open_socket(l);
    if (fd < 0) {
        return fd;
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        int error = -errno;
        close(fd);
        return error;
    }
    c->fd = fd;
    c->transport = transport_new(l->transport, fd);
    uint8_t packet[WIRE_SMALL_MAX];
    size_t bytes = wire_put_connect(packet, login);
    memcpy(client_put(l, c, bytes), packet, bytes);
    return 0;
}

static void make_room(struct client *c, size_t bytes)
{
    if (c->out_from > 0) {
        memmove(c->out, c->out + c->out_from, c->out_to - c->out_from);
        c->out_to -= c->out_from;
        c->out_from = 0;
    }
    if (c->out_to + bytes > c->out_room) {
        c->out_room = (c->out_to + bytes) * 2;
        c->out = resize(c->out, c->out_room);
    }
}

uint8_t *client_put(struct loop *l, struct client *c, size_t bytes)
{
    assert(c->fd >= 0);
    if (c->out_to + bytes > c->out_room) {
        make_room(c, bytes);
    }
    if (!c->dirty) {
        if (l->dirty_count == l->dirty_room) {
            l->dirty_room = l->dirty_room * 2 + 64;
            l->dirty = resize(l->dirty, l->dirty_room * sizeof(struct client *));
        }
        c->dirty = true;
        l->dirty[l->dirty_count++] = c;
    }
    uint8_t *at = c->out + c->out_to;
    c->out_to += bytes;
    return at;
}

static void arm(struct loop *l, struct client *c, bool blocked)
{
    if (c->blocked == blocked) {
        return;
    }
    struct epoll_event ev = {.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.ptr = c};
    if (epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, c->fd, &ev) == 0) {
        c->blocked = blocked;
    }
}

static ssize_t put(struct client *c, const uint8_t *p, size_t bytes)
{
    if (c->transport) {
        return transport_write(c->transport, p, bytes);
    }
    ssize_t n = send(c->fd, p, bytes, MSG_NOSIGNAL);
    return n >= 0 ? n : -errno;
}

/* The socket refused output, or a handshake waits for it. Output that waits for the peer's handshake does not count. */
static bool wants_write(const struct client *c)
{
    return c->transport ? transport_wants_write(c->transport) : c->out_from < c->out_to;
}

/* A send error says nothing by itself: the read that follows tells how the connection ended. */
void client_flush(struct loop *l, struct client *c)
{
    if (c->fd < 0) {
        return;
    }
    if (c->out_from == c->out_to) {
        if (c->transport) {
            transport_push(c->transport);
            arm(l, c, wants_write(c));
        }
        return;
    }
    ssize_t n = put(c, c->out + c->out_from, c->out_to - c->out_from);
    if (n < 0 && n != -EAGAIN && n != -EINTR) {
        c->send_error = (int)-n;
        c->out_from = c->out_to;
        return;
    }
    c->out_from += n > 0 ? (size_t)n : 0;
    arm(l, c, wants_write(c));
    if (c->out_from == c->out_to) {
        c->out_from = 0;
        c->out_to = 0;
    }
}

void loop_flush(struct loop *l)
{
    for (size_t i = 0; i < l->dirty_count; i++) {
        struct client *c = l->dirty[i];
        c->dirty = false;
        if (!c->blocked) {
            client_flush(l, c);
        }
    }
    l->dirty_count = 0;
}

static void keep_rest(struct client *c, const uint8_t *p, size_t bytes)
{
    if (bytes > c->rest_room) {
        c->rest_room = bytes * 2;
        c->rest = resize(c->rest, c->rest_room);
    }
    if (bytes > 0) {
        memcpy(c->rest, p, bytes);
    }
    c->rest_bytes = bytes;
}

static void end(struct loop *l, struct client *c, int error)
{
    client_close(c, false);
    l->events->on_closed(l->ctx, c, error);
}

static void decode(struct loop *l, struct client *c, size_t bytes)
{
    struct wire_frame f;
    size_t at = 0;
    int fd = c->fd;
    while (c->fd == fd) {
        ssize_t n = wire_next(l->in + at, bytes - at, &f);
        if (n < 0 || (n == 0 && bytes - at >= REST_MAX)) {
            end(l, c, EPROTO);
            return;
        }
        if (n == 0) {
            keep_rest(c, l->in + at, bytes - at);
            return;
        }
        at += (size_t)n;
        l->events->on_frame(l->ctx, c, &f);
    }
}

static ssize_t get(struct client *c, uint8_t *out)
{
    if (c->transport) {
        return transport_read(c->transport, out, READ_BYTES);
    }
    ssize_t n = recv(c->fd, out, READ_BYTES, 0);
    return n >= 0 ? n : -errno;
}

/* One read; false when there is nothing more, or the client is closed. */
static bool read_once(struct loop *l, struct client *c)
{
    size_t have = c->rest_bytes;
    int fd = c->fd;
    if (have > 0) {
        memcpy(l->in, c->rest, have);
    }
    ssize_t n = get(c, l->in + have);
    if (n > 0) {
        decode(l, c, have + (size_t)n);
    } else if (n == 0) {
        end(l, c, c->send_error);
    } else if (n != -EAGAIN && n != -EINTR) {
        end(l, c, (int)-n);
    }
    return n > 0 && c->fd == fd;
}

/* A transport may hold bytes that the socket does not show any more: it is read until it has none. */
static void read_ready(struct loop *l, struct client *c)
{
    bool more = read_once(l, c);
    while (more && c->transport) {
        more = read_once(l, c);
    }
    if (c->fd >= 0 && c->transport) {
        client_flush(l, c); /* what waited for the handshake */
        if (c->fd >= 0) {
            arm(l, c, wants_write(c));
        }
    }
}

void loop_poll(struct loop *l, int64_t timeout_ns)
{
    struct epoll_event events[EVENTS_PER_ROUND];
    if (timeout_ns < 0) {
        timeout_ns = 0;
    }
    struct timespec wait = {.tv_sec = timeout_ns / 1000000000, .tv_nsec = timeout_ns % 1000000000};
    int n = epoll_pwait2(l->epoll_fd, events, EVENTS_PER_ROUND, &wait, NULL);
    for (int i = 0; i < n; i++) {
        struct client *c = events[i].data.ptr;
        if (c->fd >= 0 && (events[i].events & EPOLLOUT)) {
            client_flush(l, c);
        }
        if (c->fd >= 0 && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))) {
            read_ready(l, c);
        }
    }
}
