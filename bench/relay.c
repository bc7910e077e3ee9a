/*
 * relay: "the limit" of the benchmark. A bare epoll relay that looks like an MQTT broker to our load
 * generator and does no more than the wire demands, so that every budget can be said as a ratio to
 * what the kernel costs anyway.
 *
 * What it does: CONNECT is answered, a client ID that is there already is taken over; SUBSCRIBE puts
 * the connection into the target list of that very filter ("x/#" into the list "*", which every
 * topic feeds); PUBLISH copies its bytes to the targets, with a packet ID of the target's own for
 * QoS 1 and 2; acknowledgements are answered at once and otherwise forgotten. Nothing is validated
 * beyond lengths, nothing is stored, no timer runs. QoS is not lowered: publisher and subscriber use
 * the same one.
 *
 * How: one thread, level-triggered epoll, one read of 64 KiB per socket and round, output gathered
 * per socket, one write per socket and round, output buffers pooled (an idle connection has none).
 *
 * usage: relay PORT, ends by SIGTERM.
 */
#include "wire.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_BYTES 65536U
#define EVENTS_PER_ROUND 512
#define CONNECTIONS_MAX 32768U
#define NAMES 65536U /* slots of each hash table, a power of two */
#define TOPIC_MAX 64U
#define OUT_MAX (16U << 20)

struct out {
    struct out *next; /* in the pool */
    size_t from, to, room;
    uint8_t *bytes;
};

struct topic {
    char name[TOPIC_MAX];
    size_t name_bytes;
    uint32_t *targets; /* descriptors */
    uint32_t count, room;
};

struct connection {
    struct out *out;    /* NULL: nothing to send */
    struct topic *last; /* the topic published to last */
    uint8_t *rest;      /* a packet that has not fully arrived */
    uint32_t rest_bytes;
    uint32_t id_slot;    /* in owners, by client ID; 0: none */
    uint32_t topic_refs; /* in how many target lists it is */
    uint16_t next_id;
    bool open, dirty, blocked;
};

struct owner {
    uint64_t hash; /* of the client ID; 0: free */
    int fd;        /* -1: offline */
};

static struct connection connections[CONNECTIONS_MAX];
static struct owner owners[NAMES];
static struct topic *topics[NAMES];
static struct topic every; /* targets of wildcard filters */
static struct out *pool;
static int dirty[CONNECTIONS_MAX];
static uint32_t dirty_count;
static int epoll_fd;
static uint8_t input[READ_BYTES * 2];
static volatile sig_atomic_t ended;

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static void *resize(void *p, size_t bytes)
{
    void *q = realloc(p, bytes);
    if (!q) {
        die("memory");
    }
    return q;
}

static uint64_t hash(const uint8_t *p, size_t bytes)
{
    uint64_t h = 0xcbf29ce484222325U;
    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ p[i]) * 0x100000001b3U;
    }
    return h == 0 ? 1 : h ^ h >> 29;
}

/* ---- output ---- */

static uint8_t *put(int fd, size_t bytes)
{
    struct connection *c = &connections[fd];
    struct out *o = c->out;
    if (!o) {
        o = pool;
        if (o) {
            pool = o->next;
        } else {
            o = resize(NULL, sizeof *o);
            memset(o, 0, sizeof *o);
        }
        c->out = o;
    }
    if (o->to + bytes > o->room) {
        if (o->to + bytes > OUT_MAX) {
            errno = ENOBUFS;
            die("a client that does not read");
        }
        o->room = (o->to + bytes) * 2;
        o->bytes = resize(o->bytes, o->room);
    }
    if (!c->dirty) {
        c->dirty = true;
        dirty[dirty_count++] = fd;
    }
    uint8_t *at = o->bytes + o->to;
    o->to += bytes;
    return at;
}

static void give_back(struct connection *c)
{
    if (c->out) {
        c->out->from = 0;
        c->out->to = 0;
        c->out->next = pool;
        pool = c->out;
        c->out = NULL;
    }
}

static void flush_one(int fd)
{
    struct connection *c = &connections[fd];
    struct out *o = c->out;
    if (!o) {
        return;
    }
    ssize_t n = send(fd, o->bytes + o->from, o->to - o->from, MSG_NOSIGNAL);
    if (n < 0 && errno != EAGAIN) {
        give_back(c); /* the read that follows ends the connection */
        return;
    }
    o->from += n > 0 ? (size_t)n : 0;
    bool blocked = o->from < o->to;
    if (blocked != c->blocked) {
        struct epoll_event ev = {.events = blocked ? EPOLLIN | EPOLLOUT : EPOLLIN, .data.fd = fd};
        epoll_ctl(epoll_fd, EPOLL_CTL_MOD, fd, &ev);
        c->blocked = blocked;
    }
    if (!blocked) {
        give_back(c);
    }
}

static void flush_all(void)
{
    for (uint32_t i = 0; i < dirty_count; i++) {
        connections[dirty[i]].dirty = false;
        if (!connections[dirty[i]].blocked) {
            flush_one(dirty[i]);
        }
    }
    dirty_count = 0;
}

/* ---- topics ---- */

static struct topic *topic_of(const uint8_t *name, size_t bytes)
{
    if (bytes >= TOPIC_MAX) {
        return NULL;
    }
    size_t slot = hash(name, bytes) % NAMES;
    while (topics[slot] &&
           (topics[slot]->name_bytes != bytes || memcmp(topics[slot]->name, name, bytes) != 0)) {
        slot = (slot + 1) % NAMES;
    }
    if (!topics[slot]) {
        topics[slot] = resize(NULL, sizeof *topics[slot]);
        memset(topics[slot], 0, sizeof *topics[slot]);
        memcpy(topics[slot]->name, name, bytes);
        topics[slot]->name_bytes = bytes;
    }
    return topics[slot];
}

static void add_target(struct topic *t, int fd)
{
    if (t->count == t->room) {
        t->room = t->room * 2 + 1;
        t->targets = resize(t->targets, t->room * sizeof t->targets[0]);
    }
    t->targets[t->count++] = (uint32_t)fd;
    connections[fd].topic_refs++;
}

static void remove_target(struct topic *t, int fd)
{
    for (uint32_t i = 0; i < t->count; i++) {
        if (t->targets[i] == (uint32_t)fd) {
            t->targets[i--] = t->targets[--t->count];
            connections[fd].topic_refs--;
        }
    }
}

/* Slow, but only for subscribers, and they leave when a run is over. */
static void remove_from_topics(int fd)
{
    remove_target(&every, fd);
    for (size_t i = 0; i < NAMES && connections[fd].topic_refs > 0; i++) {
        if (topics[i]) {
            remove_target(topics[i], fd);
        }
    }
}

/* ---- packets ---- */

static void close_one(int fd)
{
    struct connection *c = &connections[fd];
    if (!c->open) {
        return;
    }
    flush_one(fd);
    give_back(c);
    if (c->topic_refs > 0) {
        remove_from_topics(fd);
    }
    if (c->id_slot > 0 && owners[c->id_slot].fd == fd) {
        owners[c->id_slot].fd = -1;
    }
    free(c->rest);
    bool was_dirty = c->dirty; /* it still stands in the list */
    memset(c, 0, sizeof *c);
    c->dirty = was_dirty;
    close(fd);
}

static void on_connect(int fd, const struct wire_frame *f)
{
    static const uint8_t accepted[] = {WIRE_CONNACK << 4, 2, 0, 0};
    if (f->body_bytes < 12 || f->body_bytes < 12U + wire_get_u16(f->body + 10)) {
        close_one(fd);
        return;
    }
    uint64_t h = hash(f->body + 12, wire_get_u16(f->body + 10));
    size_t slot = h % (NAMES - 1) + 1;
    while (owners[slot].hash != 0 && owners[slot].hash != h) {
        slot = slot % (NAMES - 1) + 1;
    }
    if (owners[slot].hash == h && owners[slot].fd >= 0 && owners[slot].fd != fd) {
        close_one(owners[slot].fd);
    }
    owners[slot].hash = h;
    owners[slot].fd = fd;
    connections[fd].id_slot = (uint32_t)slot;
    memcpy(put(fd, sizeof accepted), accepted, sizeof accepted);
}

static void on_subscribe(int fd, const struct wire_frame *f)
{
    size_t bytes = f->body_bytes >= 5 ? wire_get_u16(f->body + 2) : 0;
    struct topic *t = NULL;
    if (bytes > 0 && f->body_bytes == bytes + 5) {
        t = f->body[4 + bytes - 1] == '#' ? &every : topic_of(f->body + 4, bytes);
    }
    if (!t) {
        close_one(fd);
        return;
    }
    add_target(t, fd);
    uint8_t *ack = put(fd, 5);
    ack[0] = WIRE_SUBACK << 4;
    ack[1] = 3;
    memcpy(ack + 2, f->body, 2);
    ack[4] = f->body[f->body_bytes - 1];
}

static uint16_t next_id(struct connection *c)
{
    c->next_id = (uint16_t)(c->next_id == 65535 ? 1 : c->next_id + 1);
    return c->next_id;
}

/* `id_at` is where the packet ID stands, 0 for QoS 0. */
static void forward(const struct topic *t, const uint8_t *packet, size_t bytes, size_t id_at)
{
    for (uint32_t i = 0; i < t->count; i++) {
        int fd = (int)t->targets[i];
        uint8_t *at = put(fd, bytes);
        memcpy(at, packet, bytes);
        if (id_at > 0) {
            wire_put_u16(at + id_at, next_id(&connections[fd]));
        }
    }
}

static void on_publish(int fd, const struct wire_frame *f, const uint8_t *packet, size_t bytes)
{
    struct connection *c = &connections[fd];
    size_t name_bytes = f->body_bytes >= 4 ? wire_get_u16(f->body) : SIZE_MAX / 2;
    unsigned qos = f->flags >> 1 & 3U;
    if (f->body_bytes < name_bytes + 4) {
        close_one(fd);
        return;
    }
    struct topic *t = c->last;
    if (!t || t->name_bytes != name_bytes || memcmp(t->name, f->body + 2, name_bytes) != 0) {
        t = topic_of(f->body + 2, name_bytes);
        if (!t) {
            close_one(fd);
            return;
        }
        c->last = t;
    }
    size_t id_at = qos > 0 ? (size_t)(f->body - packet) + 2 + name_bytes : 0;
    if (qos > 0) {
        wire_put_ack(put(fd, WIRE_ACK_BYTES), qos == 1 ? WIRE_PUBACK : WIRE_PUBREC,
                     wire_get_u16(packet + id_at));
    }
    forward(t, packet, bytes, id_at);
    forward(&every, packet, bytes, id_at);
}

static void answer(int fd, const struct wire_frame *f, enum wire_type type)
{
    if (f->body_bytes == 2) {
        wire_put_ack(put(fd, WIRE_ACK_BYTES), type, wire_get_u16(f->body));
    }
}

static void on_packet(int fd, const struct wire_frame *f, const uint8_t *packet, size_t bytes)
{
    switch (f->type) {
    case WIRE_CONNECT:
        on_connect(fd, f);
        break;
    case WIRE_PUBLISH:
        on_publish(fd, f, packet, bytes);
        break;
    case WIRE_PUBREC:
        answer(fd, f, WIRE_PUBREL);
        break;
    case WIRE_PUBREL:
        answer(fd, f, WIRE_PUBCOMP);
        break;
    case WIRE_SUBSCRIBE:
        on_subscribe(fd, f);
        break;
    case WIRE_PINGREQ:
        memcpy(put(fd, 2), (const uint8_t[]){WIRE_PINGRESP << 4, 0}, 2);
        break;
    case WIRE_PUBACK:
    case WIRE_PUBCOMP:
        break;
    default:
        close_one(fd);
        break; /* DISCONNECT, and what it does not know */
    }
}

static void keep_rest(struct connection *c, const uint8_t *p, size_t bytes)
{
    if (bytes == 0) {
        free(c->rest);
        c->rest = NULL;
    } else {
        c->rest = resize(c->rest, bytes);
        memcpy(c->rest, p, bytes);
    }
    c->rest_bytes = (uint32_t)bytes;
}

static void decode(int fd, size_t bytes)
{
    struct connection *c = &connections[fd];
    struct wire_frame f;
    size_t at = 0;
    while (c->open) {
        ssize_t n = wire_next(input + at, bytes - at, &f);
        if (n < 0 || (n == 0 && bytes - at > READ_BYTES)) {
            close_one(fd);
            return;
        }
        if (n == 0) {
            if (bytes > at || c->rest) {
                keep_rest(c, input + at, bytes - at);
            }
            return;
        }
        on_packet(fd, &f, input + at, (size_t)n);
        at += (size_t)n;
    }
}

static void read_ready(int fd)
{
    struct connection *c = &connections[fd];
    size_t have = c->rest_bytes;
    if (!c->open) {
        return;
    }
    if (have > 0) {
        memcpy(input, c->rest, have);
    }
    ssize_t n = recv(fd, input + have, READ_BYTES, 0);
    if (n > 0) {
        decode(fd, have + (size_t)n);
    } else if (n == 0 || errno != EAGAIN) {
        close_one(fd);
    }
}

/* ---- start and loop ---- */

static void accept_all(int listener)
{
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
        if ((unsigned)fd >= CONNECTIONS_MAX || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
            close(fd);
            continue;
        }
        connections[fd].open = true;
    }
}

static int open_listener(uint16_t port)
{
    int on = 1;
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) <
            0 || /* accepted ones inherit it */
        bind(fd, (const struct sockaddr *)&at, sizeof at) < 0 ||
        listen(fd, 4096) < 0) {
        die("listen");
    }
    struct epoll_event ev = {.events = EPOLLIN, .data.fd = fd};
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0) {
        die("epoll_ctl");
    }
    return fd;
}

static void on_signal(int signal)
{
    (void)signal;
    ended = 1;
}

static void run(int listener)
{
    struct epoll_event events[EVENTS_PER_ROUND];
    while (!ended) {
        int n = epoll_wait(epoll_fd, events, EVENTS_PER_ROUND, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                accept_all(listener);
                continue;
            }
            if (events[i].events & EPOLLOUT) {
                flush_one(fd);
            }
            if (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP)) {
                read_ready(fd);
            }
        }
        flush_all();
    }
}

int main(int argc, char **argv)
{
    unsigned long port = argc == 2 ? strtoul(argv[1], NULL, 10) : 0;
    struct rlimit r;
    struct sigaction on_end = {.sa_handler = on_signal};
    if (port == 0 || port > 65535) {
        (void)fputs("usage: relay PORT\n", stderr);
        return 2;
    }
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
    sigaction(SIGTERM, &on_end, NULL);
    sigaction(SIGINT, &on_end, NULL);
    memset(owners, 0, sizeof owners); /* touched now, so that it isn't counted as the clients' */
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (epoll_fd < 0) {
        die("epoll_create1");
    }
    run(open_listener((uint16_t)port));
    return 0;
}
