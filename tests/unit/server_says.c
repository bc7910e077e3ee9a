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

static void say_text(struct words *w, const char *name, struct slice v)
{
    say(w, "%s=%.*s,", name, (int)v.n, (const char *)v.p);
}

/* What a server can tell by properties, in braces; nothing when there are none. */
static void say_props(struct words *w, const struct mqtt_props *p, uint64_t hidden)
{
    uint64_t left = p->present & ~(hidden | UINT64_C(1) << MQTT_PROP_REASON_STRING);
    if (left == 0) {
        return;
    }
    say(w, " {");
    for (; left != 0; left &= left - 1) {
        struct slice rest = p->user, name, value;
        switch ((enum mqtt_prop)__builtin_ctzll(left)) {
        case MQTT_PROP_PAYLOAD_FORMAT:
            say(w, "format=%u,", p->payload_format);
            break;
        case MQTT_PROP_MESSAGE_EXPIRY:
            say(w, "expiry=%u,", p->message_expiry);
            break;
        case MQTT_PROP_CONTENT_TYPE:
            say_text(w, "type", p->content_type);
            break;
        case MQTT_PROP_RESPONSE_TOPIC:
            say_text(w, "response", p->response_topic);
            break;
        case MQTT_PROP_CORRELATION:
            say_text(w, "correlation", p->correlation);
            break;
        case MQTT_PROP_SUBID:
            for (unsigned i = 0; i < p->subid_count; i++) {
                say(w, "subid=%u,", p->subids[i]);
            }
            break;
        case MQTT_PROP_SESSION_EXPIRY:
            say(w, "session=%u,", p->session_expiry);
            break;
        case MQTT_PROP_ASSIGNED_CLIENT_ID:
            say_text(w, "id", p->assigned_client_id);
            break;
        case MQTT_PROP_SERVER_KEEPALIVE:
            say(w, "keepalive=%u,", p->server_keepalive);
            break;
        case MQTT_PROP_AUTH_METHOD:
            say_text(w, "method", p->auth_method);
            break;
        case MQTT_PROP_AUTH_DATA:
            say_text(w, "data", p->auth_data);
            break;
        case MQTT_PROP_RESPONSE_INFO:
            say_text(w, "info", p->response_info);
            break;
        case MQTT_PROP_TOPIC_ALIAS:
            say(w, "alias=%u,", p->topic_alias);
            break;
        case MQTT_PROP_RECEIVE_MAX:
            say(w, "receive=%u,", p->receive_max);
            break;
        case MQTT_PROP_TOPIC_ALIAS_MAX:
            say(w, "aliases=%u,", p->topic_alias_max);
            break;
        case MQTT_PROP_MAX_PACKET:
            say(w, "packet=%u,", p->max_packet);
            break;
        case MQTT_PROP_USER:
            while (mqtt_user_next(&rest, &name, &value)) {
                say(w, "%.*s:%.*s,", (int)name.n, (const char *)name.p, (int)value.n,
                    (const char *)value.p);
            }
            break;
        case MQTT_PROP_REQUEST_PROBLEM:
        case MQTT_PROP_WILL_DELAY:
        case MQTT_PROP_REQUEST_RESPONSE:
        case MQTT_PROP_SERVER_REFERENCE:
        case MQTT_PROP_REASON_STRING:
        case MQTT_PROP_MAX_QOS:
        case MQTT_PROP_RETAIN_AVAILABLE:
        case MQTT_PROP_WILDCARD_AVAILABLE:
        case MQTT_PROP_SUBID_AVAILABLE:
        case MQTT_PROP_SHARED_AVAILABLE:
            say(w, "property %u,", (unsigned)__builtin_ctzll(left));
            break;
        }
    }
    w->text[w->n - 1] = '}'; /* in place of the last comma */
}

static void say_publish(struct words *w, const struct mqtt_frame *f, enum mqtt_version v)
{
    struct mqtt_publish p;
    struct mqtt_error err;
    int bad = mqtt_decode_publish(f, v, &p, &err);
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
    say_props(w, &p.props, 0);
}

static void say_suback(struct words *w, const struct mqtt_frame *f, enum mqtt_version v)
{
    struct mqtt_suback s;
    struct mqtt_error err;
    int bad = mqtt_decode_suback(f, v, &s, &err);
    assert(bad == 0);
    say(w, "%s %u", mqtt_type_text(f->type), s.packet_id);
    for (size_t i = 0; i < s.codes.n; i++) {
        say(w, ":%u", s.codes.p[i]);
    }
    say_props(w, &s.props, 0);
}

static void say_ack(struct words *w, const struct mqtt_frame *f, enum mqtt_version v)
{
    struct mqtt_ack a;
    struct mqtt_error err;
    int bad = mqtt_decode_ack(f, v, &a, &err);
    assert(bad == 0);
    say(w, "%s %u", mqtt_type_text(f->type), a.packet_id);
    if (a.reason != 0) {
        say(w, " 0x%x", a.reason);
    }
    say_props(w, &a.props, 0);
}

static void say_connack(struct words *w, const struct mqtt_frame *f, enum mqtt_version v)
{
    static const uint64_t usual = UINT64_C(1) << MQTT_PROP_RECEIVE_MAX |
                                  UINT64_C(1) << MQTT_PROP_TOPIC_ALIAS_MAX |
                                  UINT64_C(1) << MQTT_PROP_MAX_PACKET;
    struct mqtt_connack p;
    struct mqtt_error err;
    int bad = mqtt_decode_connack(f, v, &p, &err);
    assert(bad == 0);
    say(w, v == MQTT_V5 ? "CONNACK 0x%x%s" : "CONNACK %u%s", p.code,
        p.session_present ? " present" : "");
    say_props(w, &p.props, usual);
}

static void say_reason(struct words *w, const struct mqtt_frame *f)
{
    struct mqtt_disconnect d = {0};
    struct mqtt_auth a = {0};
    struct mqtt_error err;
    bool auth = f->type == MQTT_AUTH;
    int bad = auth ? mqtt_decode_auth(f, &a, &err) : mqtt_decode_disconnect(f, MQTT_V5, &d, &err);
    assert(bad == 0);
    say(w, "%s 0x%x", mqtt_type_text(f->type), auth ? a.reason : d.reason);
    say_props(w, auth ? &a.props : &d.props, 0);
}

/* One packet of the server; asserts that a server of that version may send it. */
static void say_packet(struct words *w, const struct mqtt_frame *f, enum mqtt_version v)
{
    struct mqtt_error err;
    int bad = 0;
    switch (f->type) {
    case MQTT_CONNACK:
        say_connack(w, f, v);
        break;
    case MQTT_PUBLISH:
        say_publish(w, f, v);
        break;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        say_ack(w, f, v);
        break;
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        say_suback(w, f, v);
        break;
    case MQTT_PINGRESP:
        bad = mqtt_decode_empty(f, &err);
        say(w, "PINGRESP");
        break;
    case MQTT_DISCONNECT:
    case MQTT_AUTH:
        bad = v == MQTT_V5 ? 0 : -1;
        say_reason(w, f);
        break;
    case MQTT_CONNECT:
    case MQTT_SUBSCRIBE:
    case MQTT_UNSUBSCRIBE:
    case MQTT_PINGREQ:
        bad = -1;
        break;
    }
    assert(bad == 0);
}

/* The version of what was written: only in MQTT 5 a CONNACK is longer than two bytes, and only there AUTH is before it. */
static enum mqtt_version version_of(const struct client *c)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    long n = mqtt_frame(slice_make(c->mem.out, c->mem.out_len), UINT32_MAX, &f, &err);
    return n > 0 && (f.type == MQTT_AUTH || f.body.n > 2) ? MQTT_V5 : MQTT_V311;
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
        say_packet(&w, &f, version_of(c));
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

/* Whole packets of a server: CONNACK first (behind AUTH only) and only there, nothing behind a refusal or a DISCONNECT. True:
 * it was accepted. */
static bool check_output(const struct client *c)
{
    char text[70000];
    size_t at = 0;
    bool accepted = false, told = false;
    enum mqtt_version v = version_of(c);
    while (at < c->mem.out_len) {
        struct mqtt_frame f;
        struct mqtt_error err;
        struct words w = {.text = text, .size = sizeof text};
        long n = mqtt_frame(slice_make(c->mem.out + at, c->mem.out_len - at), UINT32_MAX, &f, &err);
        assert(n >= 0);
        if (n == 0) {
            break;
        }
        assert(told ? f.type != MQTT_CONNACK : f.type == MQTT_CONNACK || f.type == MQTT_AUTH);
        told |= f.type == MQTT_CONNACK;
        accepted |= f.type == MQTT_CONNACK && f.body.p[1] == 0;
        say_packet(&w, &f, v);
        at += (size_t)n;
        bool last = (told && !accepted) || f.type == MQTT_DISCONNECT;
        assert(!last || at == c->mem.out_len);
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
