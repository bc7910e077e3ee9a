/*
 * flow: see flow.h.
 *
 * Invariants: `done`, `received` and `acked` never pass `sent`; done..sent fits the window, so one
 * counter per place in the window is enough; acknowledgements carry the packet IDs in the order in
 * which they were sent.
 */
#include "flow.h"

#include <string.h>

#define PACKET_IDS 65535U

static void put_u64(uint8_t *p, uint64_t v)
{
    memcpy(p, &v, sizeof v);
}

static uint64_t get_u64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static struct publisher *publisher_of(struct run *r, const struct client *c)
{
    return &r->publishers[c->index];
}

static struct subscriber *subscriber_of(struct run *r, const struct client *c)
{
    return &r->subscribers[c->index];
}

/* Sequence number up to which the window is free again. */
uint64_t flow_settled(const struct run *r, const struct publisher *p)
{
    return r->l->o.qos == 0 || p->done < p->acked ? p->done : p->acked;
}

/* ---- sending ---- */

static void send_one(struct run *r, struct publisher *p, int64_t stamp)
{
    uint8_t *at = client_put(&r->loop, &p->client, p->packet_bytes);
    memcpy(at, p->packet, p->packet_bytes);
    if (p->id_at > 0) {
        wire_put_u16(at + p->id_at, (uint16_t)(p->sent % PACKET_IDS + 1));
    }
    put_u64(at + p->payload_at + 4, p->sent);
    put_u64(at + p->payload_at + 12, (uint64_t)stamp);
    p->sent++;
}

void flow_refill(struct run *r, struct publisher *p)
{
    uint64_t window = r->l->o.window;
    uint64_t flying = p->sent - flow_settled(r, p);
    if (p->client.fd < 0 || flying > window / 2) {
        return;
    }
    int64_t stamp = r->timed ? clock_ns() : 0;
    while (flying < window && p->sent < p->quota) {
        send_one(r, p, stamp);
        flying++;
    }
}

/* Case latency: each message counts from when it was due, not from when we got round to it. */
void flow_send_due(struct run *r)
{
    while (r->next_due <= r->now) {
        struct publisher *p = &r->publishers[r->next_publisher];
        if (p->sent >= p->quota || p->sent - flow_settled(r, p) >= r->l->o.window) {
            return;
        }
        send_one(r, p, r->next_due);
        r->next_due += r->interval_ns;
        r->next_publisher = (r->next_publisher + 1) % r->publisher_count;
    }
}

/* ---- receiving ---- */

void flow_skip(struct run *r, const struct subscriber *s, uint32_t publisher, uint64_t from,
               uint64_t to)
{
    for (uint64_t seq = from; seq < to; seq++) {
        load_fail(r->l, &r->l->errors.lost, "subscriber %u misses %u/%llu", s->client.index,
                  publisher, (unsigned long long)seq);
        if (r->missing_count < MISSING_MAX) {
            r->missing[r->missing_count++] =
                (struct missing){.seq = seq, .publisher = publisher, .subscriber = s->client.index};
        }
    }
}

/* Number below the expected one: a late one if it was missed before, else a second one. */
static void below(struct run *r, const struct subscriber *s, uint32_t publisher, uint64_t seq)
{
    for (uint32_t i = 0; i < r->missing_count; i++) {
        struct missing *m = &r->missing[i];
        if (m->seq == seq && m->publisher == publisher && m->subscriber == s->client.index) {
            *m = r->missing[--r->missing_count];
            r->l->errors.lost--;
            load_fail(r->l, &r->l->errors.reordered, "subscriber %u got %u/%llu late",
                      s->client.index, publisher, (unsigned long long)seq);
            return;
        }
    }
    load_fail(r->l, &r->l->errors.doubled, "subscriber %u got %u/%llu twice", s->client.index,
              publisher, (unsigned long long)seq);
}

static void count_delivery(struct run *r, struct publisher *p, uint64_t seq)
{
    uint32_t window = r->l->o.window;
    if (seq < p->done) {
        return;
    }
    r->deliveries++;
    if (p->delivered[seq % window]++ == r->fan) {
        load_fail(r->l, &r->l->errors.doubled, "%u/%llu came once too often", p->client.index,
                  (unsigned long long)seq);
    }
    while (p->done < p->sent && p->delivered[p->done % window] == r->fan) {
        p->delivered[p->done % window] = 0;
        p->done++;
    }
}

/* Returns where the payload starts, 0 when topic, size, flags or padding are not what was sent. */
static size_t check_publish(const struct run *r, const struct subscriber *s,
                            const struct wire_frame *f, const struct publisher **out)
{
    uint32_t payload = r->l->o.payload;
    uint8_t qos = r->l->o.qos;
    const uint8_t *b = f->body;
    if (f->flags != qos << 1 || f->body_bytes < payload + 2U) {
        return 0;
    }
    size_t topic = wire_get_u16(b);
    size_t at = 2 + topic + (qos > 0 ? 2U : 0U);
    if (f->body_bytes != at + payload) {
        return 0;
    }
    uint32_t who;
    memcpy(&who, b + at, sizeof who);
    if (who < s->first || who >= s->first + s->heard) {
        return 0;
    }
    const struct publisher *p = &r->publishers[who];
    if (topic != strlen(p->topic) || memcmp(b + 2, p->topic, topic) != 0 ||
        memcmp(b + at + PAYLOAD_HEAD, r->fill, payload - PAYLOAD_HEAD) != 0 ||
        get_u64(b + at + 4) >= p->sent) {
        return 0;
    }
    *out = p;
    return at;
}

static void acknowledge(struct run *r, struct subscriber *s, const uint8_t *id)
{
    uint8_t qos = r->l->o.qos;
    if (qos > 0) {
        wire_put_ack(client_put(&r->loop, &s->client, WIRE_ACK_BYTES),
                     qos == 1 ? WIRE_PUBACK : WIRE_PUBREC, wire_get_u16(id));
        s->releases += qos == 2;
    }
}

static void on_publish(struct run *r, struct subscriber *s, const struct wire_frame *f)
{
    const struct publisher *from = NULL;
    size_t at = check_publish(r, s, f, &from);
    if (at == 0) {
        load_fail(r->l, &r->l->errors.corrupt, "subscriber %u got a message nobody sent (flags %u)",
                  s->client.index, f->flags);
        return;
    }
    struct publisher *p = &r->publishers[from->client.index];
    uint64_t seq = get_u64(f->body + at + 4);
    uint64_t *next = &s->next[p->client.index - s->first];
    if (r->timed) {
        samples_add(&r->l->latency, clock_ns() - (int64_t)get_u64(f->body + at + 12));
    }
    s->got++;
    if (seq < *next) {
        below(r, s, p->client.index, seq);
    } else if (r->shared) {
        *next = seq + 1; /* others have what is between */
    } else {
        flow_skip(r, s, p->client.index, *next, seq);
        *next = seq + 1;
    }
    count_delivery(r, p, seq);
    acknowledge(r, s, f->body + at - 2);
}

/* Acknowledgements must come in the order of the messages [MQTT-4.6.0-2], [MQTT-4.6.0-3]. */
static void on_publisher_ack(struct run *r, struct publisher *p, const struct wire_frame *f)
{
    bool received = f->type == WIRE_PUBREC;
    uint64_t *count = received ? &p->received : &p->acked;
    uint64_t limit = f->type == WIRE_PUBCOMP ? p->received : p->sent;
    uint8_t expected = r->l->o.qos == 1 ? WIRE_PUBACK : received ? WIRE_PUBREC : WIRE_PUBCOMP;
    if (r->l->o.qos == 0 || f->type != expected || f->body_bytes != 2 || *count >= limit ||
        wire_get_u16(f->body) != (uint16_t)(*count % PACKET_IDS + 1)) {
        load_fail(r->l, &r->l->errors.protocol, "publisher %u: packet %u is out of order",
                  p->client.index, f->type);
        return;
    }
    (*count)++;
    if (received) {
        wire_put_ack(client_put(&r->loop, &p->client, WIRE_ACK_BYTES), WIRE_PUBREL,
                     wire_get_u16(f->body));
    }
}

static void on_release(struct run *r, struct subscriber *s, const struct wire_frame *f)
{
    if (f->body_bytes != 2 || s->releases == 0) {
        load_fail(r->l, &r->l->errors.protocol, "subscriber %u: PUBREL unasked", s->client.index);
        return;
    }
    s->releases--;
    wire_put_ack(client_put(&r->loop, &s->client, WIRE_ACK_BYTES), WIRE_PUBCOMP,
                 wire_get_u16(f->body));
}

void flow_receive(struct run *r, struct client *c, const struct wire_frame *f)
{
    if (c->role == PUBLISHER) {
        on_publisher_ack(r, publisher_of(r, c), f);
    } else if (f->type == WIRE_PUBLISH) {
        on_publish(r, subscriber_of(r, c), f);
    } else if (f->type == WIRE_PUBREL) {
        on_release(r, subscriber_of(r, c), f);
    } else if (f->type != WIRE_PUBCOMP) {
        load_fail(r->l, &r->l->errors.protocol, "subscriber %u: packet type %u", c->index, f->type);
    }
}
