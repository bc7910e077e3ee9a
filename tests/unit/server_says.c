/* The harness's words: packets and records as text, and the oracle over both. */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include "server_harness.h"

struct words {
    char *text;
    size_t size, n;
};

__attribute__((format(printf, 2, 3))) static void say(struct words *w, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(w->text + w->n, w->size - w->n, fmt, ap);
    va_end(ap);
    assert(n >= 0 && (size_t)n < w->size - w->n);
    w->n += (size_t)n;
}

static void say_publish(struct words *w, const struct mqtt_frame *f)
{
    struct mqtt_publish p;
    struct mqtt_error err;
    int bad = mqtt_decode_publish(f, MQTT_V311, &p, &err);
    assert(bad == 0);
    say(w, "PUBLISH %.*s", (int)p.topic.n, (const char *)p.topic.p);
    if (p.payload.n <= 32) {
        say(w, "=%.*s", (int)p.payload.n, (const char *)p.payload.p);
    } else {
        say(w, " %zu bytes", p.payload.n);
    }
    if (p.qos > 0) {
        say(w, " q%u #%u", p.qos, p.packet_id);
    }
    say(w, "%s%s", p.dup ? " dup" : "", p.retain ? " retain" : "");
}

static void say_suback(struct words *w, const struct mqtt_frame *f)
{
    struct mqtt_suback s;
    struct mqtt_error err;
    int bad = mqtt_decode_suback(f, MQTT_V311, &s, &err);
    assert(bad == 0);
    say(w, "%s %u", mqtt_type_text(f->type), s.packet_id);
    for (size_t i = 0; i < s.codes.n; i++) {
        say(w, ":%u", s.codes.p[i]);
    }
}

static void say_ack(struct words *w, const struct mqtt_frame *f)
{
    struct mqtt_ack a;
    struct mqtt_error err;
    int bad = mqtt_decode_ack(f, MQTT_V311, &a, &err);
    assert(bad == 0);
    say(w, "%s %u", mqtt_type_text(f->type), a.packet_id);
}

/* One packet of the server; asserts that a server may send it. */
static void say_packet(struct words *w, const struct mqtt_frame *f)
{
    struct mqtt_connack connack;
    struct mqtt_error err;
    int bad = 0;
    switch (f->type) {
    case MQTT_CONNACK:
        bad = f->body.n > 2 ? 0 : mqtt_decode_connack(f, MQTT_V311, &connack, &err);
        say(w, "CONNACK %u%s", f->body.p[1], (f->body.p[0] & 1) != 0 ? " present" : "");
        break;
    case MQTT_PUBLISH:
        say_publish(w, f);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        say_ack(w, f);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        say_suback(w, f);
        break;
    case MQTT_PINGRESP:
        bad = mqtt_decode_empty(f, &err);
        say(w, "PINGRESP");
        break;
    case MQTT_CONNECT:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_PINGREQ:
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        bad = -1;
        break;
    }
    assert(bad == 0);
}

const char *h_says(struct harness *h, struct client *c)
{
    struct words w = {.text = h->text, .size = sizeof h->text};
    h->text[0] = '\0';
    while (c->shown < c->mem.out_len) {
        struct mqtt_frame f;
        struct mqtt_error err;
        struct slice rest = slice_make(c->mem.out + c->shown, c->mem.out_len - c->shown);
        long n = mqtt_frame(rest, UINT32_MAX, &f, &err);
        assert(n >= 0);
        if (n == 0) {
            break;
        }
        if (w.n > 0) {
            say(&w, "; ");
        }
        say_packet(&w, &f);
        c->shown += (size_t)n;
    }
    return h->text;
}

static void say_record(struct words *w, const struct record *r)
{
    const struct cause_info *i = cause_info(r->cause);
    bool named = r->client_id.n > 0;
    say(w, "%s %.*s %s", cause_action_text(i->action), named ? (int)r->client_id.n : 1,
        named ? (const char *)r->client_id.p : "-", i->code);
}

const char *h_records(struct harness *h)
{
    struct words w = {.text = h->text, .size = sizeof h->text};
    h->text[0] = '\0';
    while (h->records_told < fake_trace.record_count) {
        if (w.n > 0) {
            say(&w, "; ");
        }
        say_record(&w, &fake_trace.records[h->records_told++]);
    }
    return h->text;
}

const struct record *h_record(enum cause cause)
{
    for (size_t i = fake_trace.record_count; i > 0; i--) {
        if (fake_trace.records[i - 1].cause == cause) {
            return &fake_trace.records[i - 1];
        }
    }
    return NULL;
}

uint64_t h_evidence(const struct record *r, enum evidence_key k)
{
    struct evidence_item item;
    bool there = evidence_find(r->detail, k, &item);
    assert(there);
    return item.u64;
}

/* ---- the oracle ---- */

struct seen {
    unsigned connects, endings;
    uint64_t connected_us;
};

static struct seen records_of(const struct client *c)
{
    struct seen seen = {0};
    for (size_t i = 0; i < fake_trace.record_count; i++) {
        const struct record *r = &fake_trace.records[i];
        if (memcmp(r->channel, c->channel, sizeof c->channel) != 0) {
            continue;
        }
        if (cause_info(r->cause)->action == ACTION_CONNECT) {
            assert(seen.endings == 0);
            seen.connects++;
            seen.connected_us = r->time_us;
            assert((r->flags & RECORD_REFUSED) == 0 && r->client_id.n > 0);
            continue;
        }
        seen.endings++;
        bool refused = (r->flags & RECORD_REFUSED) != 0;
        assert(refused == (seen.connects == 0));
        assert(r->connected_at_us == seen.connected_us);
        assert((r->client_id.n == 0) == ((r->flags & RECORD_UNIDENTIFIED) != 0));
    }
    return seen;
}

/* Whole packets of a server, CONNACK first and only there. True: it was accepted. */
static bool check_output(const struct client *c)
{
    char text[70000];
    size_t at = 0;
    bool accepted = false;
    while (at < c->mem.out_len) {
        struct mqtt_frame f;
        struct mqtt_error err;
        struct words w = {.text = text, .size = sizeof text};
        long n = mqtt_frame(slice_make(c->mem.out + at, c->mem.out_len - at), UINT32_MAX, &f, &err);
        assert(n >= 0);
        if (n == 0) {
            break;
        }
        assert((at == 0) == (f.type == MQTT_CONNACK));
        accepted |= f.type == MQTT_CONNACK && f.body.p[1] == 0;
        say_packet(&w, &f);
        at += (size_t)n;
        assert(accepted || at == c->mem.out_len);
    }
    return accepted;
}

void h_check(const struct harness *h, bool over)
{
    size_t told = 0;
    for (unsigned i = 0; i < h->client_count; i++) {
        const struct client *c = h->clients[i];
        struct seen seen = records_of(c);
        bool accepted = check_output(c);
        assert(seen.connects <= 1 && seen.endings <= 1);
        assert(!accepted || seen.connects == 1);
        assert(!over || (seen.endings == 1 && c->mem.closed));
        assert(seen.endings == 0 || c->mem.closed || (c->conn->flags & CONN_LINGERS) != 0);
        told += seen.connects + seen.endings;
    }
    assert(told == fake_trace.record_count);
}
