/*
 * messages: the cases pairs, fanout, fanin, pingpong and latency, from set-up to the last check. How
 * messages travel and are checked: flow.h.
 *
 * Phases: set-up, warm-up and drain, "ready", measured part and drain, "done", 50 ms of listening
 * for messages that should not come, DISCONNECT.
 */
#include "flow.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEAD_ROOM 80U
#define LINGER_NS 50000000LL

enum state { WAITS_CONNACK, WAITS_SUBACK, READY };

static void *zeroed(size_t count, size_t bytes)
{
    void *p = calloc(count, bytes);
    if (!p) {
        abort();
    }
    return p;
}

/* ---- set-up ---- */

static void subscribe(struct run *r, struct subscriber *s)
{
    uint8_t packet[WIRE_SMALL_MAX];
    const char *filter = r->shared      ? "$share/group/bench/#"
                         : s->heard > 1 ? "bench/#"
                                        : r->publishers[s->first].topic;
    size_t bytes = wire_put_subscribe(packet, 1, filter, r->l->o.qos);
    memcpy(client_put(&r->loop, &s->client, bytes), packet, bytes);
    s->client.state = WAITS_SUBACK;
}

static void on_setup(struct run *r, struct client *c, const struct wire_frame *f)
{
    const uint8_t *b = f->body;
    if (c->state == WAITS_CONNACK && f->type == WIRE_CONNACK && f->body_bytes == 2 && b[0] == 0 &&
        b[1] == 0) {
        if (c->role == SUBSCRIBER) {
            subscribe(r, &r->subscribers[c->index]);
            return;
        }
    } else if (c->state != WAITS_SUBACK || f->type != WIRE_SUBACK || f->body_bytes != 3 ||
               wire_get_u16(b) != 1 || b[2] != r->l->o.qos) {
        load_fail(r->l, &r->l->errors.connect, "wrong answer to %s: type %u, code %d",
                  c->state == WAITS_CONNACK ? "CONNECT" : "SUBSCRIBE", f->type,
                  f->body_bytes > 1 ? b[f->body_bytes - 1] : -1);
        r->l->stop = true;
        return;
    }
    c->state = READY;
    r->ready++;
}

static void on_frame(void *ctx, struct client *c, const struct wire_frame *f)
{
    struct run *r = ctx;
    if (c->state == READY) {
        flow_receive(r, c, f);
    } else {
        on_setup(r, c, f);
    }
}

static void on_closed(void *ctx, struct client *c, int error)
{
    struct run *r = ctx;
    load_fail(r->l, &r->l->errors.closed, "the broker closed %s %u (%s)",
              c->role == PUBLISHER ? "publisher" : "subscriber", c->index,
              error == 0 ? "orderly" : strerror(error));
    r->l->stop = true;
}

static const struct client_events message_events = {on_frame, on_closed};

static void make_publisher(struct run *r, uint32_t i)
{
    struct publisher *p = &r->publishers[i];
    uint32_t payload = r->l->o.payload;
    client_init(&p->client, i, PUBLISHER);
    (void)snprintf(p->topic, sizeof p->topic, "bench/%05u", i);
    p->packet = zeroed(1, HEAD_ROOM + payload);
    p->payload_at = wire_put_publish_head(p->packet, p->topic, r->l->o.qos, payload, &p->id_at);
    p->packet_bytes = p->payload_at + payload;
    memcpy(p->packet + p->payload_at, &i, sizeof i);
    memcpy(p->packet + p->payload_at + PAYLOAD_HEAD, r->fill, payload - PAYLOAD_HEAD);
    p->delivered = zeroed(r->l->o.window, sizeof p->delivered[0]);
}

static void make_subscriber(struct run *r, uint32_t i)
{
    struct subscriber *s = &r->subscribers[i];
    client_init(&s->client, i, SUBSCRIBER);
    s->heard = r->shared || r->subscriber_count == 1 ? r->publisher_count : 1;
    s->first = !r->shared && r->publisher_count == r->subscriber_count ? i : 0;
    s->next = zeroed(s->heard, sizeof s->next[0]);
}

static int run_init(struct run *r, struct load *l)
{
    const struct load_options *o = &l->o;
    memset(r, 0, sizeof *r);
    r->l = l;
    r->shared = strcmp(o->case_name, "shared") == 0;
    r->publisher_count = strcmp(o->case_name, "fanout") == 0 ? 1 : o->clients;
    r->subscriber_count = strcmp(o->case_name, "fanin") == 0 ? 1 : o->clients;
    r->fan = r->publisher_count < r->subscriber_count ? r->subscriber_count : 1;
    r->publishers = zeroed(r->publisher_count, sizeof r->publishers[0]);
    r->subscribers = zeroed(r->subscriber_count, sizeof r->subscribers[0]);
    r->missing = zeroed(MISSING_MAX, sizeof r->missing[0]);
    r->fill = zeroed(1, o->payload);
    memset(r->fill, 'a', o->payload);
    for (uint32_t i = 0; i < r->publisher_count; i++) {
        make_publisher(r, i);
    }
    for (uint32_t i = 0; i < r->subscriber_count; i++) {
        make_subscriber(r, i);
    }
    int error = loop_init(&r->loop, &message_events, r, o->port, 1);
    r->loop.transport = o->transport;
    return error;
}

static void run_fini(struct run *r)
{
    for (uint32_t i = 0; i < r->publisher_count; i++) {
        client_fini(&r->publishers[i].client);
        free(r->publishers[i].packet);
        free(r->publishers[i].delivered);
    }
    for (uint32_t i = 0; i < r->subscriber_count; i++) {
        client_fini(&r->subscribers[i].client);
        free(r->subscribers[i].next);
    }
    free(r->publishers);
    free(r->subscribers);
    free(r->missing);
    free(r->fill);
    loop_fini(&r->loop);
}

/* ---- phases ---- */

/* Subscribers first, so that no message finds nobody. */
static void open_next(struct run *r)
{
    char id[24];
    uint32_t i = r->opened++;
    bool publishes = i >= r->subscriber_count;
    struct client *c =
        publishes ? &r->publishers[i - r->subscriber_count].client : &r->subscribers[i].client;
    (void)snprintf(id, sizeof id, "%s-%05u", publishes ? "pub" : "sub", c->index);
    struct wire_login login = {.client_id = id, .user = r->l->o.user, .password = r->l->o.password};
    int error = client_open(&r->loop, c, &login);
    if (error < 0) {
        load_fail(r->l, &r->l->errors.connect, "connect: %s", strerror(-error));
        r->l->stop = true;
    }
}

static void connect_all(struct run *r)
{
    uint32_t all = r->subscriber_count + r->publisher_count;
    uint32_t seen = 0;
    while (r->ready < all && load_may_go_on(r->l, r->now)) {
        while (r->opened < all && r->opened - r->ready < r->l->o.concurrency && !r->l->stop) {
            open_next(r);
        }
        loop_flush(&r->loop);
        loop_poll(&r->loop, 100000000);
        r->now = clock_ns();
        if (r->ready > seen) {
            seen = r->ready;
            load_progress(r->l, r->now);
        }
    }
}

static bool drained(const struct run *r)
{
    for (uint32_t i = 0; i < r->publisher_count; i++) {
        const struct publisher *p = &r->publishers[i];
        if (p->sent < p->quota || flow_settled(r, p) < p->sent) {
            return false;
        }
    }
    for (uint32_t i = 0; i < r->subscriber_count; i++) {
        if (r->subscribers[i].releases > 0) {
            return false;
        }
    }
    return true;
}

static void send_more(struct run *r)
{
    if (r->interval_ns > 0) {
        flow_send_due(r);
        return;
    }
    for (uint32_t i = 0; i < r->publisher_count; i++) {
        flow_refill(r, &r->publishers[i]);
    }
}

static void stop_sending(struct run *r)
{
    for (uint32_t i = 0; i < r->publisher_count; i++) {
        r->publishers[i].quota = r->publishers[i].sent;
    }
}

/* Sends until each publisher is at quota or the time is over, then waits for all of it. */
static void pump(struct run *r, int64_t until)
{
    uint64_t seen = r->deliveries;
    load_progress(r->l, r->now);
    while (load_may_go_on(r->l, r->now)) {
        if (until > 0 && r->now >= until) {
            stop_sending(r);
            until = 0;
        }
        send_more(r);
        loop_flush(&r->loop);
        if (drained(r)) {
            return;
        }
        int64_t wait = 100000000;
        if (r->interval_ns > 0) {
            wait = r->next_due - clock_ns();
        } else if (until > 0 && until - r->now < wait) {
            wait = until - r->now;
        }
        loop_poll(&r->loop, r->spins ? 0 : wait);
        r->now = clock_ns();
        if (r->deliveries > seen) {
            seen = r->deliveries;
            load_progress(r->l, r->now);
        }
    }
}

/* Each publisher may send its share of so many more messages. */
static void allow(struct run *r, uint64_t messages)
{
    for (uint32_t i = 0; i < r->publisher_count; i++) {
        r->publishers[i].quota += (messages + r->publisher_count - 1) / r->publisher_count;
    }
}

static void measure(struct run *r)
{
    const struct load_options *o = &r->l->o;
    bool paced = strcmp(o->case_name, "latency") == 0;
    uint64_t before = r->deliveries;
    r->timed = paced || strcmp(o->case_name, "pingpong") == 0;
    r->spins = r->timed;
    int64_t start = clock_ns();
    r->now = start;
    uint64_t count = o->seconds > 0 ? UINT64_MAX / 2 : o->count;
    if (paced) {
        r->interval_ns = 1000000000 / o->rate;
        r->next_due = start;
        count = o->seconds > 0 ? (uint64_t)(o->seconds * o->rate) : o->count;
    }
    allow(r, count);
    pump(r, o->seconds > 0 && !paced ? start + (int64_t)(o->seconds * 1e9) : 0);
    r->now = clock_ns();
    r->l->measured_s = (double)(r->now - start) / 1e9;
    r->l->done = r->deliveries - before;
    r->timed = false;
    r->spins = false;
}

/* Nothing may come after all has come. */
static void listen_on(struct run *r)
{
    int64_t until = clock_ns() + LINGER_NS;
    while (clock_ns() < until && !r->l->stop) {
        loop_flush(&r->loop);
        loop_poll(&r->loop, until - clock_ns());
    }
}

/* Each member's share; what nobody got keeps the window from draining, which is a stall. */
static void count_shares(struct run *r)
{
    r->l->least = UINT64_MAX;
    for (uint32_t i = 0; i < r->subscriber_count; i++) {
        uint64_t got = r->subscribers[i].got;
        r->l->least = got < r->l->least ? got : r->l->least;
        r->l->most = got > r->l->most ? got : r->l->most;
    }
}

/* What was sent and never arrived is lost, also at the end of a sequence. */
static void count_never_came(struct run *r)
{
    if (r->shared) {
        count_shares(r);
        return;
    }
    for (uint32_t i = 0; i < r->subscriber_count; i++) {
        const struct subscriber *s = &r->subscribers[i];
        for (uint32_t k = 0; k < s->heard; k++) {
            flow_skip(r, s, s->first + k, s->next[k], r->publishers[s->first + k].sent);
        }
    }
}

static void say_goodbye(struct run *r, struct client *c)
{
    static const uint8_t disconnect[] = {WIRE_DISCONNECT << 4, 0};
    if (c->fd >= 0) {
        memcpy(client_put(&r->loop, c, sizeof disconnect), disconnect, sizeof disconnect);
        client_flush(&r->loop, c);
        client_close(c, false);
    }
}

void case_messages(struct load *l)
{
    struct run r;
    int error = run_init(&r, l);
    if (error < 0) {
        load_fail(l, &l->errors.connect, "epoll: %s", strerror(-error));
        return;
    }
    r.now = clock_ns();
    connect_all(&r);
    allow(&r, l->o.warmup);
    pump(&r, 0);
    load_phase(l, "ready");
    measure(&r);
    load_phase(l, "done");
    listen_on(&r);
    count_never_came(&r);
    for (uint32_t i = 0; i < r.subscriber_count; i++) {
        say_goodbye(&r, &r.subscribers[i].client);
    }
    for (uint32_t i = 0; i < r.publisher_count; i++) {
        say_goodbye(&r, &r.publishers[i].client);
    }
    run_fini(&r);
}
