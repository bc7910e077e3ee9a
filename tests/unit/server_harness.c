/*
 * The harness of src/server's tests; see server_harness.h. Descriptors are numbers from FD_BASE that no process has: they
 * index the clients, and asking the kernel about them fails, as the server tolerates.
 */
#include "server_harness.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/log.h"
#include "base/mem.h"

enum { FD_BASE = 1 << 24, IDLE_ROUNDS_MAX = 1000, STEP_MS = 50, STOP_STEPS = 2000 };

static struct harness *current;

static uint32_t readiness(int fd)
{
    const struct stream_mem *m = &current->clients[fd - FD_BASE]->mem;
    uint32_t events = m->in_at < m->in_len ? EPOLLIN : 0;
    if (m->in_end > 0) {
        events |= EPOLLIN | EPOLLRDHUP;
    } else if (m->in_end < 0) {
        events |= EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP;
    }
    return events | (!m->write_limited || m->write_room > 0 ? (uint32_t)EPOLLOUT : 0);
}

void h_init(struct harness *h)
{
    static char node[] = "node-1";
    *h = (struct harness){0};
    h->config = (struct config){.node = node,
                                .max_connections = 1000,
                                .max_packet_size = 1 << 20,
                                .connect_timeout_ms = 10000,
                                .receive_maximum = 1024,
                                .max_inflight = 1024,
                                .max_queued_messages = 10000,
                                .max_queued_bytes = 16 << 20,
                                .max_output_bytes = 1 << 20,
                                .max_subscriptions = 1000,
                                .max_delayed_messages = 1000,
                                .max_delayed_bytes = 1 << 20,
                                .mailbox_bytes = 4 << 20,
                                .trace = true};
    h->store = fake_store_new();
    fake_time = (struct fake_time){.mono_ms = 1000000, .wall_us = UINT64_C(1700000000000000)};
    fake_loop_readiness = readiness;
    fake_trace_init(h->store);
    fake_auth_init();
    log_set_level(LOG_ERROR);
    current = h;
}

static void forget_clients(struct harness *h)
{
    for (unsigned i = 0; i < h->client_count; i++) {
        free(h->clients[i]->mem.out);
        buf_fini(&h->clients[i]->input);
        free(h->clients[i]);
    }
    h->client_count = 0;
}

void h_start(struct harness *h, unsigned workers)
{
    struct config_error err;
    const struct server_parts parts = {.config = &h->config, .store = h->store, .loops = workers};
    assert(h->server == NULL);
    forget_clients(h);
    fake_trace_clear();
    h->records_told = 0;
    int bad = server_new(&h->server, &parts, &err);
    assert(bad == 0);
    struct auth_pool *pool = &h->server->pool; /* without its threads: h_auth_finish() */
    pool->tail = &pool->head;
    (void)pthread_mutex_init(&pool->lock, NULL);
    (void)pthread_cond_init(&pool->wanted, NULL);
    bad = server_build(h->server);
    assert(bad == 0);
    for (unsigned i = 0; i < workers; i++) {
        qsbr_online(&h->server->qsbr, i);
        worker_begin(h->server->workers[i]);
    }
    h_settle(h);
}

static void post_all(struct harness *h, enum mail_kind kind)
{
    for (unsigned i = 0; i < h->server->worker_count; i++) {
        struct mail *m = mem_new(1, sizeof *m);
        m->kind = kind;
        worker_post(h->server->workers[i], m);
    }
}

static bool all_quiet(const struct harness *h)
{
    bool quiet = true;
    for (unsigned i = 0; i < h->server->worker_count; i++) {
        quiet &= h->server->workers[i]->quiet;
    }
    return quiet;
}

/* What is counted of the queues is what is in them. */
static void check_queues(const struct worker *w)
{
    struct queue_size all = {0};
    for (uint64_t i = 0; i <= w->sessions.mask; i++) {
        const struct session *s = w->sessions.slot[i];
        if (s != NULL && s->hash != 0) { /* no tombstone */
            struct queue_size q = queue_size(s);
            all.messages += q.messages;
            all.inflight += q.inflight;
            all.bytes += q.bytes;
        }
    }
    assert(all.messages == atomic_load(&w->count.queued));
    assert(all.inflight == atomic_load(&w->count.inflight));
    assert(all.bytes == atomic_load(&w->count.queued_bytes));
}

static void stop(struct harness *h)
{
    struct server *s = h->server;
    fake_trace.room = UINT32_MAX;
    fake_trace.hold = false;
    post_all(h, MAIL_SHUTDOWN);
    for (unsigned i = 0; i < STOP_STEPS && !all_quiet(h); i++) {
        while (h_auth_finish(h) || fake_commit(0)) {
        }
        h_pass(h, STEP_MS);
    }
    assert(all_quiet(h));
    post_all(h, MAIL_LEAVE);
    h_settle(h);
    assert(atomic_load(&s->connections) == 0);
    for (unsigned i = 0; i < s->worker_count; i++) {
        assert(fake_loop_stopped(s->workers[i]->loop));
        assert(atomic_load(&s->workers[i]->count.connections) == 0);
        assert(atomic_load(&s->workers[i]->count.clients) == 0);
        check_queues(s->workers[i]);
    }
    (void)pthread_mutex_destroy(&s->pool.lock);
    (void)pthread_cond_destroy(&s->pool.wanted);
    server_free(s);
    h->server = NULL;
    assert(fake_auth.identities == 0);
}

void h_stop(struct harness *h)
{
    stop(h);
    h_check(h, true);
}

void h_crash(struct harness *h)
{
    h_check(h, false);
    fake_trace.frozen = true;
    stop(h);
    fake_trace.frozen = false;
}

void h_fini(struct harness *h)
{
    if (h->server != NULL) {
        h_stop(h);
    }
    forget_clients(h);
    fake_trace_clear();
    fake_store_free(h->store);
}

/* ---- rounds and time ---- */

static void edge(struct harness *h, const struct client *c)
{
    for (unsigned i = 0; i < h->server->worker_count; i++) {
        fake_loop_edge(h->server->workers[i]->loop, c->fd);
    }
}

/* What a read left behind is as what arrives behind it. */
static bool edges_of_reads(struct harness *h)
{
    bool any = false;
    for (unsigned i = 0; i < h->client_count; i++) {
        struct client *c = h->clients[i];
        if (c->read_seen != c->mem.in_at) {
            c->read_seen = c->mem.in_at;
            edge(h, c);
            any = true;
        }
    }
    h->idle_rounds = any ? 0 : h->idle_rounds + 1;
    return any;
}

static bool round_of(struct harness *h, unsigned worker)
{
    bool more = fake_loop_round(h->server->workers[worker]->loop);
    return edges_of_reads(h) || more;
}

void h_round(struct harness *h, unsigned worker)
{
    (void)round_of(h, worker);
}

void h_settle(struct harness *h)
{
    bool more = true;
    h->idle_rounds = 0;
    while (more) {
        more = false;
        for (unsigned i = 0; i < h->server->worker_count; i++) {
            more |= round_of(h, i);
        }
        for (unsigned i = 0; i < h->server->worker_count; i++) {
            more |= fake_loop_is_rung(h->server->workers[i]->loop); /* by one behind it */
        }
        assert(h->idle_rounds < IDLE_ROUNDS_MAX); /* a loop that never sleeps */
    }
}

void h_pass(struct harness *h, uint64_t ms)
{
    while (ms > 0) {
        uint64_t step = ms < STEP_MS ? ms : STEP_MS;
        fake_time.mono_ms += step;
        fake_time.wall_us += step * 1000;
        ms -= step;
        h_settle(h);
    }
}

void h_stall(struct harness *h, uint64_t ms)
{
    fake_time.mono_ms += ms;
    fake_time.wall_us += ms * 1000;
    for (unsigned i = 0; i < h->server->worker_count; i++) {
        fake_loop_stall(h->server->workers[i]->loop, ms);
    }
    h_settle(h);
}

/* ---- clients ---- */

struct client *h_open(struct harness *h, unsigned worker)
{
    struct client *c = mem_new(1, sizeof *c);
    struct worker *w = h->server->workers[worker];
    struct sockaddr_storage peer = {0};
    struct sockaddr_in *in = (void *)&peer;
    struct stream stream;
    assert(h->client_count < CLIENTS_MAX);
    c->fd = FD_BASE + (int)h->client_count;
    c->version = MQTT_V311;
    in->sin_family = AF_INET;
    in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    in->sin_port = htons((uint16_t)(40000 + h->client_count));
    h->clients[h->client_count++] = c;
    stream_mem_init(&stream, &c->mem);
    stream.fd = c->fd; /* so that the loop is asked to watch it */
    atomic_fetch_add(&h->server->connections, 1);
    c->conn = conn_new(w, &stream, &peer, NULL);
    memcpy(c->channel, c->conn->channel, sizeof c->channel);
    if (atomic_load(&h->server->connections) > h->server->max_connections) {
        c->conn->flags |= CONN_OVER_LIMIT;
    }
    conn_start(c->conn);
    return c;
}

void h_feed(struct harness *h, struct client *c, struct slice bytes)
{
    buf_put_slice(&c->input, bytes);
    c->mem.in = c->input.p;
    c->mem.in_len = buf_len(&c->input);
    edge(h, c);
}

void h_end(struct harness *h, struct client *c, int err)
{
    c->mem.in_end = err == 0 ? 1 : err;
    edge(h, c);
}

void h_write_room(struct harness *h, struct client *c, size_t bytes)
{
    c->mem.write_limited = bytes != SIZE_MAX;
    c->mem.write_room = bytes;
    edge(h, c);
}

bool h_auth_finish(struct harness *h)
{
    struct auth_pool *p = &h->server->pool;
    struct mail_auth *m = p->head;
    if (m == NULL) {
        return false;
    }
    p->head = m->next;
    if (p->head == NULL) {
        p->tail = &p->head;
    }
    auth_check(NULL, &m->request, &m->result);
    worker_post(m->conn->w, &m->mail);
    return true;
}

int h_kick(struct harness *h, struct slice client_id)
{
    static const char by[] = "test";
    struct mail_kick *m = mem_new(1, sizeof *m);
    m->mail.kind = MAIL_KICK;
    m->by = by;
    m->client_id = client_id;
    atomic_init(&m->refs, 2);
    (void)sem_init(&m->done, 0, 0);
    worker_post(worker_of(h->server, client_hash(0, client_id)), &m->mail);
    h_settle(h);
    int result = atomic_load(&m->result);
    mail_kick_unref(m);
    return result;
}

void h_settings_changed(struct harness *h)
{
    fake_auth.version++;
    post_all(h, MAIL_SETTINGS);
}

const char *h_id_of(struct harness *h, unsigned worker, const char *prefix)
{
    static char id[4][64];
    static unsigned turn;
    char *out = id[turn++ % 4];
    for (unsigned i = 0;; i++) {
        (void)snprintf(out, 64, "%s%u", prefix, i);
        if (worker_of(h->server, client_hash(0, slice_str(out)))->index == worker) {
            return out;
        }
    }
}

/* ---- packets of clients ---- */

static void feed_buf(struct harness *h, struct client *c, struct buf *b)
{
    h_feed(h, c, buf_slice(b));
    buf_fini(b);
}

struct mqtt_connect h_connect_of(const char *client_id, bool clean)
{
    return (struct mqtt_connect){
        .version = MQTT_V311, .level = 4, .clean_start = clean, .client_id = slice_str(client_id)};
}

struct mqtt_connect h_connect5_of(const char *client_id, bool clean, uint32_t session_expiry)
{
    struct mqtt_connect p = h_connect_of(client_id, clean);
    p.version = MQTT_V5;
    p.level = 5;
    if (session_expiry != 0) {
        p.props.present = UINT64_C(1) << MQTT_PROP_SESSION_EXPIRY;
        p.props.session_expiry = session_expiry;
    }
    return p;
}

struct client *h_connecting(struct harness *h, const struct mqtt_connect *p)
{
    struct client *c = h_open(h, 0);
    h_send_connect(h, c, p);
    h_settle(h);
    return c;
}

void h_send_connect(struct harness *h, struct client *c, const struct mqtt_connect *p)
{
    struct buf b = {0};
    c->version = p->version;
    mqtt_encode_connect(&b, p);
    feed_buf(h, c, &b);
}

void h_send_subscribe(struct harness *h, struct client *c, uint16_t id, const char *filter,
                      uint8_t qos)
{
    struct buf b = {0};
    const struct mqtt_sub sub = {.filter = slice_str(filter), .qos = qos};
    mqtt_encode_subscribe(&b, c->version, id, &sub, 1, NULL);
    feed_buf(h, c, &b);
}

void h_send_publish(struct harness *h, struct client *c, const char *topic, const char *payload,
                    uint8_t qos, uint16_t id)
{
    struct buf b = {0};
    const struct mqtt_publish p = {
        .topic = slice_str(topic), .payload = slice_str(payload), .qos = qos, .packet_id = id};
    mqtt_encode_publish(&b, c->version, &p);
    feed_buf(h, c, &b);
}

void h_send_ack(struct harness *h, struct client *c, enum mqtt_type type, uint16_t id)
{
    struct buf b = {0};
    mqtt_encode_ack(&b, c->version, type, id, 0);
    feed_buf(h, c, &b);
}

void h_send_disconnect5(struct harness *h, struct client *c, uint8_t reason,
                        const struct mqtt_props *props)
{
    struct buf b = {0};
    mqtt_encode_disconnect(&b, reason, props);
    feed_buf(h, c, &b);
}

void h_send_auth(struct harness *h, struct client *c, uint8_t reason,
                 const struct mqtt_props *props)
{
    struct buf b = {0};
    mqtt_encode_auth(&b, reason, props);
    feed_buf(h, c, &b);
}

void h_send_pingreq(struct harness *h, struct client *c)
{
    struct buf b = {0};
    mqtt_encode_pingreq(&b);
    feed_buf(h, c, &b);
}

void h_send_disconnect(struct harness *h, struct client *c)
{
    h_feed(h, c, slice_make("\xe0\x00", 2));
}

struct client *h_connected(struct harness *h, const char *client_id, bool clean)
{
    struct client *c = h_open(h, 0);
    struct mqtt_connect p = h_connect_of(client_id, clean);
    h_send_connect(h, c, &p);
    h_settle(h);
    const char *says = h_says(h, c);
    assert(strncmp(says, "CONNACK 0", 9) == 0);
    return c;
}

struct client *h_subscribed(struct harness *h, const char *client_id, bool clean,
                            const char *filter, uint8_t qos)
{
    struct client *c = h_connected(h, client_id, clean);
    h_send_subscribe(h, c, 1, filter, qos);
    h_settle(h);
    const char *says = h_says(h, c);
    assert(strncmp(says, "SUBACK 1", 8) == 0);
    return c;
}
