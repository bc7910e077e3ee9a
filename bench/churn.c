/*
 * churn: the cases connect, takeover and idle, in which connections are the work.
 *
 * connect: `concurrency` slots; each opens a connection, checks CONNACK, ends it (FIN, RST or
 *   DISCONNECT and FIN) and starts over, until `count` are made. Client IDs repeat after `ids`.
 * takeover: `clients` slots, each one client ID and two sockets. The new socket's CONNACK and the
 *   end of the old one, in either order, make one takeover; `count` in all.
 * idle: connect `first`, stop, connect up to `clients`, stop. None may end meanwhile.
 * sessions: `count` client IDs, each with clean session 0: CONNACK, SUBSCRIBE, SUBACK, DISCONNECT.
 *
 * Sockets are opened only between rounds, never inside one: the loop may still hold events of the
 * slot's former socket (see client.h).
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define IDLE_KEEPALIVE_S 600

enum state { EMPTY, CONNECTING, SUBSCRIBING, OPEN };

struct slot {
    struct client sockets[2]; /* the second only for takeover */
    int64_t opened_ns;
    uint64_t number;    /* of its client ID */
    uint32_t current;   /* which socket is, or will be, the client's */
    bool waits_for_end; /* of the former socket */
};

struct churn {
    struct load *l;
    struct loop loop;
    struct slot *slots;
    uint32_t *empty; /* stack of slots to start (again) */
    uint32_t slot_count, empty_count;
    uint64_t started, finished, target;
    int64_t now;
    enum churn_kind { CONNECT, TAKEOVER, IDLE, SESSIONS } kind;
    uint16_t keepalive_s;
};

static struct slot *slot_of(struct churn *c, const struct client *k)
{
    return &c->slots[k->index];
}

static bool is_current(struct churn *c, const struct client *k)
{
    struct slot *s = slot_of(c, k);
    return k == &s->sockets[s->current];
}

/* The slot did its part; a repeating kind puts it back on the stack. */
static void finish(struct churn *c, struct slot *s)
{
    c->finished++;
    if (c->kind != IDLE) {
        c->empty[c->empty_count++] = (uint32_t)(s - c->slots);
    }
}

static void end_connection(struct churn *c, struct client *k)
{
    static const uint8_t disconnect[] = {WIRE_DISCONNECT << 4, 0};
    if (c->l->o.end == LOAD_END_DISCONNECT || c->kind == SESSIONS) {
        memcpy(client_put(&c->loop, k, sizeof disconnect), disconnect, sizeof disconnect);
        client_flush(&c->loop, k);
    }
    client_close(k, c->l->o.end == LOAD_END_RST);
    k->state = EMPTY;
}

static void subscribe(struct churn *c, struct client *k)
{
    char filter[32];
    uint8_t packet[WIRE_SMALL_MAX];
    (void)snprintf(filter, sizeof filter, "bench/%llu/+",
                   (unsigned long long)slot_of(c, k)->number);
    size_t bytes = wire_put_subscribe(packet, 1, filter, 1);
    memcpy(client_put(&c->loop, k, bytes), packet, bytes);
    k->state = SUBSCRIBING;
}

static void on_suback(struct churn *c, struct client *k, const struct wire_frame *f)
{
    if (f->type != WIRE_SUBACK || f->body_bytes != 3 || f->body[2] != 1) {
        load_fail(c->l, &c->l->errors.connect, "wrong answer to SUBSCRIBE: type %u", f->type);
        c->l->stop = true;
        return;
    }
    end_connection(c, k);
    finish(c, slot_of(c, k));
}

static void on_frame(void *ctx, struct client *k, const struct wire_frame *f)
{
    struct churn *c = ctx;
    struct slot *s = slot_of(c, k);
    if (k->state == SUBSCRIBING) {
        on_suback(c, k, f);
        return;
    }
    if (k->state != CONNECTING || f->type != WIRE_CONNACK || f->body_bytes != 2 ||
        f->body[0] != 0 || f->body[1] != 0) {
        load_fail(c->l, &c->l->errors.connect, "wrong answer: type %u, code %d", f->type,
                  f->body_bytes > 1 ? f->body[1] : -1);
        c->l->stop = true;
        return;
    }
    k->state = OPEN;
    c->l->resumed += k->transport && transport_resumed(k->transport);
    samples_add(&c->l->latency, clock_ns() - s->opened_ns);
    if (c->kind == SESSIONS) {
        subscribe(c, k);
        return;
    }
    if (c->kind == CONNECT) {
        end_connection(c, k);
    }
    if (!s->waits_for_end) {
        finish(c, s);
    }
}

static void on_closed(void *ctx, struct client *k, int error)
{
    struct churn *c = ctx;
    struct slot *s = slot_of(c, k);
    k->state = EMPTY;
    if (c->kind != TAKEOVER || is_current(c, k) || !s->waits_for_end) {
        load_fail(c->l, &c->l->errors.closed, "the broker closed client %u (%s)", k->index,
                  error == 0 ? "orderly" : strerror(error));
        c->l->stop = true;
        return;
    }
    s->waits_for_end = false;
    if (s->sockets[s->current].state == OPEN) {
        finish(c, s);
    }
}

static const struct client_events churn_events = {on_frame, on_closed};

static void start(struct churn *c, uint32_t index)
{
    char id[32];
    struct slot *s = &c->slots[index];
    s->number = c->kind == CONNECT    ? c->started % c->l->o.ids
                : c->kind == SESSIONS ? c->started
                                      : index;
    (void)snprintf(id, sizeof id, "bench-%07llu", (unsigned long long)s->number);
    struct wire_login login = {.client_id = id,
                               .user = c->l->o.user,
                               .password = c->l->o.password,
                               .keepalive_s = c->keepalive_s,
                               .keep = c->kind == SESSIONS};
    if (c->kind == TAKEOVER && s->sockets[s->current].fd >= 0) {
        s->waits_for_end = true;
        s->current ^= 1U;
    }
    struct client *k = &s->sockets[s->current];
    s->opened_ns = clock_ns();
    k->state = CONNECTING;
    c->started++;
    int error = client_open(&c->loop, k, &login);
    if (error < 0) {
        load_fail(c->l, &c->l->errors.connect, "connect: %s", strerror(-error));
        c->l->stop = true;
        return;
    }
    client_flush(&c->loop, k);
}

/* Starts and finishes connections until `target` are finished in all. */
static void churn_to(struct churn *c, uint64_t target)
{
    uint64_t seen = c->finished;
    c->target = target;
    c->now = clock_ns();
    load_progress(c->l, c->now);
    while (c->finished < target && load_may_go_on(c->l, c->now)) {
        while (c->empty_count > 0 && c->started < target && !c->l->stop &&
               c->started - c->finished < c->l->o.concurrency) {
            start(c, c->empty[--c->empty_count]);
        }
        loop_flush(&c->loop);
        loop_poll(&c->loop, 100000000);
        c->now = clock_ns();
        if (c->finished > seen) {
            seen = c->finished;
            load_progress(c->l, c->now);
        }
    }
}

/* The measured part: what happens between the phases ready and done. */
static void measure(struct churn *c, uint64_t more)
{
    uint64_t before = c->finished;
    samples_fini(&c->l->latency);
    int64_t from = clock_ns();
    churn_to(c, before + more);
    c->l->measured_s = (double)(c->now - from) / 1e9;
    c->l->done = c->finished - before;
}

/* Reads what the broker may have sent unasked meanwhile, as an idle client would. */
static void look_around(struct churn *c)
{
    for (int i = 0; i < 50 && !c->l->stop; i++) {
        loop_poll(&c->loop, 1000000);
    }
}

static int churn_init(struct churn *c, struct load *l, enum churn_kind kind, uint32_t slots)
{
    memset(c, 0, sizeof *c);
    c->l = l;
    c->kind = kind;
    c->slot_count = slots;
    c->slots = calloc(slots, sizeof c->slots[0]);
    c->empty = calloc(slots, sizeof c->empty[0]);
    if (!c->slots || !c->empty) {
        abort();
    }
    for (uint32_t i = slots; i > 0; i--) {
        client_init(&c->slots[i - 1].sockets[0], i - 1, 0);
        client_init(&c->slots[i - 1].sockets[1], i - 1, 0);
        c->empty[c->empty_count++] = i - 1;
    }
    int error = loop_init(&c->loop, &churn_events, c, l->o.port, l->o.sources);
    c->loop.transport = l->o.transport;
    return error;
}

static void churn_fini(struct churn *c)
{
    for (uint32_t i = 0; i < c->slot_count; i++) {
        client_fini(&c->slots[i].sockets[0]);
        client_fini(&c->slots[i].sockets[1]);
    }
    free(c->slots);
    free(c->empty);
    loop_fini(&c->loop);
}

static void run_case(struct load *l, enum churn_kind kind, uint32_t slots,
                     void (*body)(struct churn *c))
{
    struct churn c;
    int error = churn_init(&c, l, kind, slots);
    if (error < 0) {
        load_fail(l, &l->errors.connect, "epoll: %s", strerror(-error));
    } else {
        body(&c);
    }
    churn_fini(&c);
}

static void connect_body(struct churn *c)
{
    churn_to(c, c->l->o.warmup);
    load_phase(c->l, "ready");
    measure(c, c->l->o.count);
    load_phase(c->l, "done");
}

/* The first connection of each slot takes nothing over, so those are part of the warm-up. */
static void takeover_body(struct churn *c)
{
    churn_to(c, c->slot_count + c->l->o.warmup);
    load_phase(c->l, "ready");
    measure(c, c->l->o.count);
    load_phase(c->l, "done");
    look_around(c);
}

static void idle_body(struct churn *c)
{
    c->keepalive_s = IDLE_KEEPALIVE_S;
    churn_to(c, c->l->o.first);
    load_phase(c->l, "ready");
    measure(c, c->slot_count - c->l->o.first);
    load_phase(c->l, "done");
    look_around(c);
}

void case_connect(struct load *l)
{
    run_case(l, CONNECT, l->o.concurrency, connect_body);
}

/* Both sockets of every slot are open at once for a moment. */
void case_takeover(struct load *l)
{
    run_case(l, TAKEOVER, l->o.clients, takeover_body);
}

void case_idle(struct load *l)
{
    run_case(l, IDLE, l->o.clients, idle_body);
}

void case_sessions(struct load *l)
{
    run_case(l, SESSIONS, l->o.concurrency, connect_body);
}
