/*
 * fill: the cases retained and wild, which fill the broker with many of one thing and then use it.
 *
 * retained: `count` retained messages at QoS 1, each on a topic of its own, over `clients` connections ("ready" to
 *   "filled"); then each connection subscribes to one of each FETCH_PART parts of its topics and checks what comes.
 * wild: `count` filters bench/C/+/N, FILTERS_A_PACKET in a SUBSCRIBE ("ready" to "filled"); then messages to
 *   topics that one of all those filters matches each, which must come to the right connection, once.
 *
 * Topics hold the number of the connection C and of the thing N, so that each answer can be checked.
 */
#include "load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FILTERS_A_PACKET 64U
#define PACKET_ROOM (FILTERS_A_PACKET * 48U)
#define FETCH_PART 1000U

enum state { WAITS_CONNACK, FILLS, USES };

struct filler {
    struct client client;
    uint64_t sent, acked;     /* packets */
    uint64_t things, checked; /* things sent; messages that came back in the second part */
    uint64_t expected;
};

struct fill {
    struct load *l;
    struct loop loop;
    struct filler *fillers;
    uint32_t count, opened, ready;
    uint64_t each;   /* things of one connection */
    uint64_t events; /* anything that moved */
    bool wild;
    int64_t now;
};

static void put_packet(struct fill *f, struct filler *w, uint8_t first, const uint8_t *body,
                       size_t bytes)
{
    uint8_t head[WIRE_HEADER_MAX] = {first};
    size_t n = 1 + wire_put_length(head + 1, bytes);
    uint8_t *at = client_put(&f->loop, &w->client, n + bytes);
    memcpy(at, head, n);
    memcpy(at + n, body, bytes);
}

static void fail(struct fill *f, const struct filler *w, uint64_t *counter, const char *what,
                 unsigned type)
{
    load_fail(f->l, counter, "client %u: %s (type %u)", w->client.index, what, type);
    f->l->stop = true;
}

/* ---- filling ---- */

static void topic_of(const struct fill *f, const struct filler *w, uint64_t n, bool filter,
                     char out[64])
{
    if (f->wild) {
        (void)snprintf(out, 64, "bench/%u/%s/%llu", w->client.index, filter ? "+" : "here",
                       (unsigned long long)n);
    } else {
        (void)snprintf(out, 64, "bench/%u/%llu/%llu", w->client.index,
                       (unsigned long long)(n / FETCH_PART), (unsigned long long)n);
    }
}

static void send_publish(struct fill *f, struct filler *w, uint64_t n, bool retain)
{
    uint8_t body[256];
    char topic[64];
    topic_of(f, w, n, false, topic);
    size_t at = wire_put_string(body, topic);
    if (retain) {
        wire_put_u16(body + at, (uint16_t)(w->sent % 65535 + 1));
        at += 2;
    }
    size_t payload = f->l->o.payload < 128 ? f->l->o.payload : 128;
    memset(body + at, 'r', payload);
    put_packet(f, w, (uint8_t)(WIRE_PUBLISH << 4 | (retain ? 3 : 0)), body, at + payload);
    w->sent++;
}

static void send_filters(struct fill *f, struct filler *w)
{
    uint8_t body[PACKET_ROOM];
    char filter[64];
    wire_put_u16(body, (uint16_t)(w->sent % 65535 + 1));
    size_t at = 2;
    for (uint32_t i = 0; i < FILTERS_A_PACKET && w->things < f->each; i++) {
        topic_of(f, w, w->things++, true, filter);
        at += wire_put_string(body + at, filter);
        body[at++] = 0;
    }
    put_packet(f, w, WIRE_SUBSCRIBE << 4 | 2, body, at);
    w->sent++;
}

static void fill_more(struct fill *f, struct filler *w)
{
    while (w->sent - w->acked < f->l->o.window && w->things < f->each) {
        if (f->wild) {
            send_filters(f, w);
        } else {
            send_publish(f, w, w->things++, true);
        }
    }
}

static bool filled(const struct fill *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->fillers[i].things < f->each || f->fillers[i].acked < f->fillers[i].sent) {
            return false;
        }
    }
    return true;
}

/* ---- using what was filled in ---- */

/* retained: one part of its own topics. wild: each FETCH_PART-th filter of the next connection is published to. */
static void use(struct fill *f, struct filler *w)
{
    w->client.state = USES;
    if (f->wild) {
        struct filler *to = &f->fillers[(w->client.index + 1) % f->count];
        for (uint64_t n = 0; n < f->each; n += FETCH_PART / 10) {
            uint8_t body[256];
            char topic[64];
            topic_of(f, to, n, false, topic);
            size_t at = wire_put_string(body, topic);
            put_packet(f, w, WIRE_PUBLISH << 4, body, at);
            to->expected++;
        }
        return;
    }
    char filter[64];
    uint8_t packet[WIRE_SMALL_MAX];
    (void)snprintf(filter, sizeof filter, "bench/%u/0/#", w->client.index);
    size_t bytes = wire_put_subscribe(packet, 1, filter, 0);
    memcpy(client_put(&f->loop, &w->client, bytes), packet, bytes);
    w->expected = f->each < FETCH_PART ? f->each : FETCH_PART;
}

static bool used(const struct fill *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        if (f->fillers[i].checked < f->fillers[i].expected) {
            return false;
        }
    }
    return true;
}

static void on_message(struct fill *f, struct filler *w, const struct wire_frame *m)
{
    char mine[64];
    size_t bytes = (size_t)snprintf(mine, sizeof mine, "bench/%u/", w->client.index);
    if (m->body_bytes < 2 + bytes || memcmp(m->body + 2, mine, bytes) != 0) {
        fail(f, w, &f->l->errors.corrupt, "a message that is not its own", m->type);
        return;
    }
    if (++w->checked > w->expected) {
        fail(f, w, &f->l->errors.doubled, "more messages than there are", m->type);
    }
}

/* ---- events ---- */

static void on_frame(void *ctx, struct client *c, const struct wire_frame *m)
{
    struct fill *f = ctx;
    struct filler *w = &f->fillers[c->index];
    f->events++;
    if (c->state == WAITS_CONNACK) {
        if (m->type != WIRE_CONNACK || m->body_bytes != 2 || m->body[1] != 0) {
            fail(f, w, &f->l->errors.connect, "no CONNACK", m->type);
        }
        c->state = FILLS;
        f->ready++;
    } else if (m->type == WIRE_PUBLISH && c->state == USES) {
        on_message(f, w, m);
    } else if (m->type == (f->wild ? WIRE_SUBACK : WIRE_PUBACK) && c->state == FILLS) {
        w->acked++;
    } else if (m->type != WIRE_SUBACK || c->state != USES) {
        fail(f, w, &f->l->errors.protocol, "a packet that has no business here", m->type);
    }
}

static void on_closed(void *ctx, struct client *c, int error)
{
    struct fill *f = ctx;
    fail(f, &f->fillers[c->index], &f->l->errors.closed,
         error == 0 ? "the broker closed it" : strerror(error), 0);
}

static const struct client_events fill_events = {on_frame, on_closed};

/* ---- phases ---- */

static void round_of(struct fill *f)
{
    uint64_t before = f->events;
    loop_flush(&f->loop);
    loop_poll(&f->loop, 100000000);
    f->now = clock_ns();
    if (f->events > before) {
        load_progress(f->l, f->now);
    }
}

static void connect_all(struct fill *f)
{
    while (f->ready < f->count && load_may_go_on(f->l, f->now)) {
        while (f->opened < f->count && f->opened - f->ready < f->l->o.concurrency) {
            char id[24];
            struct client *c = &f->fillers[f->opened].client;
            (void)snprintf(id, sizeof id, "fill-%05u", f->opened++);
            struct wire_login login = {.client_id = id};
            int error = client_open(&f->loop, c, &login);
            if (error < 0) {
                load_fail(f->l, &f->l->errors.connect, "connect: %s", strerror(-error));
                f->l->stop = true;
                return;
            }
        }
        round_of(f);
    }
}

static void fill_all(struct fill *f)
{
    int64_t from = clock_ns();
    while (!filled(f) && load_may_go_on(f->l, f->now)) {
        for (uint32_t i = 0; i < f->count; i++) {
            fill_more(f, &f->fillers[i]);
        }
        round_of(f);
    }
    f->l->measured_s = (double)(f->now - from) / 1e9;
    f->l->done = f->each * f->count;
}

static void use_all(struct fill *f)
{
    for (uint32_t i = 0; i < f->count; i++) {
        use(f, &f->fillers[i]);
    }
    while (!used(f) && load_may_go_on(f->l, f->now)) {
        round_of(f);
    }
    for (int i = 0; i < 5 && !f->l->stop; i++) {
        loop_flush(&f->loop);
        loop_poll(&f->loop, 10000000); /* nothing may come after all has come */
    }
    f->l->used = 0;
    for (uint32_t i = 0; i < f->count; i++) {
        f->l->used += f->fillers[i].checked;
    }
}

static void run_case(struct load *l, bool wild)
{
    struct fill f = {.l = l, .count = l->o.clients, .wild = wild};
    f.each = (l->o.count + f.count - 1) / f.count;
    f.fillers = calloc(f.count, sizeof f.fillers[0]);
    if (!f.fillers) {
        abort();
    }
    int error = loop_init(&f.loop, &fill_events, &f, l->o.port, 1);
    f.loop.transport = l->o.transport;
    for (uint32_t i = 0; i < f.count; i++) {
        client_init(&f.fillers[i].client, i, 0);
    }
    f.now = clock_ns();
    if (error < 0) {
        load_fail(l, &l->errors.connect, "epoll: %s", strerror(-error));
    } else {
        connect_all(&f);
        load_phase(l, "ready");
        fill_all(&f);
        load_phase(l, "filled");
        use_all(&f);
        load_phase(l, "done");
    }
    for (uint32_t i = 0; i < f.count; i++) {
        client_fini(&f.fillers[i].client);
    }
    free(f.fillers);
    loop_fini(&f.loop);
}

void case_retained(struct load *l)
{
    run_case(l, false);
}

void case_wild(struct load *l)
{
    run_case(l, true);
}
