/*
 * The one place where a channel ends and where records are made.
 *
 * Invariants: conn_end() decides the cause once; a record goes out for every channel that was accepted or that ended; an
 * ending whose record finds no room in the ring waits encoded in its own connection (worker->unrecorded), and while any
 * waits this worker answers no CONNECT. Evidence is collected here, when the channel ends: it costs nothing before.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { FIRST_BYTES = 32, CONNECT_HEAD_MAX = 12, LINGER_MS = 1000 };

/* Who the channel is, as far as it said: from its session, else from the CONNECT that still stands in conn->in. */
struct identity {
    struct slice instance, client_id, user;
    uint8_t version;
    bool clean;
    uint16_t keepalive;
};

/* What stands in the connection itself. */
static struct identity identify_known(const struct conn *c)
{
    struct identity id = {.instance = slice_str(c->w->server->instance), .version = c->version};
    id.clean = (c->flags & CONN_CLEAN) != 0;
    id.keepalive = c->keepalive_asked;
    if (c->identity != NULL) {
        id.user = auth_identity_user(c->identity);
        id.instance = auth_identity_instance(c->identity);
    }
    return id;
}

static struct identity identify(const struct conn *c)
{
    struct identity id = identify_known(c);
    if (c->session != NULL) {
        id.client_id = session_client_id(c->session);
        return id;
    }
    struct mqtt_frame f;
    struct mqtt_connect p = {0};
    struct mqtt_error err;
    uint32_t max = conn_max_packet(c);
    struct slice in = buf_slice(&c->in);
    long n = in.n > 0 ? mqtt_frame(in, max, &f, &err) : 0;
    if (n < 0 && in.p[0] == MQTT_CONNECT << 4) {
        mqtt_peek_connect(in, &p);
        id.client_id = p.client_id;
        id.version = (uint8_t)p.version;
    } else if (n > 0 && f.type == MQTT_CONNECT) {
        bool good = mqtt_decode_connect(&f, &p, &err) == 0;
        id.client_id = p.client_id;
        id.version = (uint8_t)p.version;
        if (good) {
            id.user = p.username;
            id.clean = p.clean_start;
            id.keepalive = p.keepalive;
        }
    }
    if (c->assigned_id != NULL) {
        id.client_id = slice_str(c->assigned_id);
    }
    return id;
}

static void evidence_tcp(struct evidence *e, const struct conn *c)
{
    struct stream_info i;
    stream_info(&c->stream, &i);
    if (!i.valid) {
        return;
    }
    evidence_str(e, EV_TCP_STATE, i.tcp_state);
    evidence_u64(e, EV_TCP_RTT_US, i.rtt_us);
    evidence_u64(e, EV_TCP_RTTVAR_US, i.rttvar_us);
    evidence_u64(e, EV_TCP_TOTAL_RETRANS, i.total_retrans);
    if (i.retransmits > 0) {
        evidence_u64(e, EV_TCP_RETRANSMITS, i.retransmits);
    }
    if (i.lost > 0) {
        evidence_u64(e, EV_TCP_LOST, i.lost);
    }
    if (i.unacked > 0) {
        evidence_u64(e, EV_TCP_UNACKED, i.unacked);
    }
    if (i.unacked_bytes > 0) {
        evidence_u64(e, EV_UNACKED_BYTES, i.unacked_bytes);
    }
}

void evidence_layers(struct evidence *e, const struct conn *c)
{
    struct stream_told t;
    if (c->stream.ops->told == NULL) {
        return;
    }
    stream_told(&c->stream, &t);
    if (t.tls_version != NULL) {
        evidence_str(e, EV_TLS_VERSION, t.tls_version);
        evidence_str(e, EV_TLS_CIPHER, t.tls_cipher);
    }
    if (t.sni[0] != '\0') {
        evidence_str(e, EV_TLS_SERVER_NAME, t.sni);
    }
    if (t.certified) {
        evidence_str(e, EV_CERT_SUBJECT, t.subject);
    }
    if (t.certified && t.not_after != 0) { /* a load balancer knows no more than the name */
        evidence_str(e, EV_CERT_ISSUER, t.issuer);
        evidence_u64(e, EV_CERT_NOT_AFTER, (uint64_t)t.not_after * 1000000);
    }
    if (t.proxy_id != NULL) {
        evidence_str(e, EV_PROXY_ID, t.proxy_id);
    }
    if (t.proxy_link != NULL) {
        evidence_str(e, EV_PROXY_LINK, t.proxy_link);
    }
}

/* The session's résumé and the transport's state: on every ending. */
static void evidence_resume(struct evidence *e, struct conn *c, enum cause cause)
{
    uint64_t now_us = loop_wall_us(c->w->loop);
    if (c->connected_us != 0) {
        evidence_u64(e, EV_DURATION_MS,
                     now_us > c->connected_us ? (now_us - c->connected_us) / 1000 : 0);
    }
    evidence_u64(e, EV_PACKETS_IN, c->packets_in);
    evidence_u64(e, EV_PACKETS_OUT, c->packets_out);
    evidence_u64(e, EV_BYTES_IN, c->bytes_in);
    evidence_u64(e, EV_BYTES_OUT, c->bytes_out);
    const struct session *s = c->session;
    if (s != NULL && s->out != NULL) {
        evidence_u64(e, EV_QUEUED, session_queued(s) - s->out->inflight);
        evidence_u64(e, EV_INFLIGHT, s->out->inflight);
    }
    if (s != NULL && s->dropped > 0) {
        evidence_u64(e, EV_DROPPED, s->dropped);
    }
    if (s != NULL && filtered_count(s) > 0) {
        evidence_u64(e, EV_FILTERED, filtered_count(s));
    }
    if (s != NULL) {
        evidence_u64(e, EV_SESSION_KEPT, s->expiry_s != 0);
    }
    enum cause_description d = cause_info(cause)->description;
    bool client_first = (c->flags & CONN_SAW_EOF) != 0 || d == DESC_CLOSED_BY_CLIENT ||
                        d == DESC_DISCONNECTED_BY_CLIENT;
    evidence_str(e, EV_CLOSED_FIRST, client_first ? "client" : "server");
    if (c->write_errno != 0) {
        evidence_str(e, EV_ERRNO, strerrorname_np(c->write_errno));
    }
    evidence_tcp(e, c);
}

/* A record's addresses as text. */
struct addresses {
    char peer[ADDR_TEXT_MAX], proxy[ADDR_TEXT_MAX];
};

static void record_fill(struct record *r, struct conn *c, enum cause cause,
                        const struct identity *id, struct addresses *a)
{
    *r = (struct record){0};
    r->time_us = loop_wall_us(c->w->loop);
    r->connected_at_us = c->connected_us;
    r->cause = cause;
    r->transport = (uint8_t)(c->listener == NULL ? TRANSPORT_TCP : c->listener->transport);
    r->protocol = id->version;
    r->keepalive = id->keepalive;
    r->flags = (uint8_t)(id->clean ? RECORD_CLEAN_SESSION : 0);
    if (c->connected_us == 0) {
        r->flags |= id->client_id.n == 0 ? RECORD_REFUSED | RECORD_UNIDENTIFIED : RECORD_REFUSED;
    }
    memcpy(r->channel, c->channel, sizeof r->channel);
    r->instance = id->instance;
    r->client_id = id->client_id;
    r->user = id->user;
    addr_text(&c->peer.sa, a->peer);
    r->peer = slice_str(a->peer);
    const struct stream_via *via = stream_via(&c->stream);
    if (via != NULL) {
        addr_text(&via->proxy.sa, a->proxy);
        r->proxy = slice_str(a->proxy);
    }
    r->listener = slice_str(c->listener == NULL ? "" : c->listener->info.name);
    r->node = slice_str(c->w->server->config->node);
}

bool conn_record_accepted(struct conn *c, enum cause cause, struct slice client_id,
                          const struct evidence *e)
{
    struct addresses a;
    struct record r;
    struct identity id = identify_known(c);
    id.client_id = client_id;
    record_fill(&r, c, cause, &id, &a);
    r.connected_at_us = r.time_us;
    r.flags = (uint8_t)(id.clean ? RECORD_CLEAN_SESSION : 0);
    r.detail = slice_make(e->bytes, e->n);
    r.flags |= e->truncated ? RECORD_TRUNCATED : 0;
    /* never before an ending that waits, though this one may be small enough */
    if (!list_empty(&c->w->unrecorded) || !trace_emit(c->w->server->trace, c->w->index, &r)) {
        return false;
    }
    c->connected_us = r.time_us;
    return true;
}

static void emit_ending(struct conn *c, struct record *r)
{
    struct worker *w = c->w;
    if (list_empty(&w->unrecorded) && trace_emit(w->server->trace, w->index, r)) {
        list_push(&w->ended, &c->queue);
        return;
    }
    count_add(&w->count.ring_waits, 1);
    c->ending = mem_alloc(record_size(r));
    c->ending_len = (uint16_t)record_encode(r, c->ending);
    list_push(&w->unrecorded, &c->queue);
    acceptors_hold(w);
}

bool endings_retry(struct worker *w)
{
    while (!list_empty(&w->unrecorded)) {
        struct conn *c = LIST_ENTRY(w->unrecorded.next, struct conn, queue);
        struct record r;
        int bad = record_decode(slice_make(c->ending, c->ending_len), &r);
        assert(bad == 0);
        if (!trace_emit(w->server->trace, w->index, &r)) {
            return false;
        }
        free(c->ending);
        c->ending = NULL;
        list_del(&c->queue);
        list_push(&w->ended, &c->queue);
    }
    return true;
}

static void unregister(struct conn *c)
{
    if (c->io.fd >= 0) {
        loop_forget(c->w->loop, &c->io);
        c->io.fd = -1;
    }
    timer_cancel(&c->timer);
}

/* Closing with unread bytes makes the kernel send a reset, which may overtake the CONNACK that says why. */
static void close_politely(struct conn *c, enum cause cause, bool unread)
{
    if (cause_info(cause)->ended_by != ENDED_BY_CLIENT && unread) {
        ssize_t ignored =
            c->stream.ops->read(&c->stream, c->w->discard_buf, sizeof c->w->discard_buf);
        (void)ignored;
    }
    unregister(c);
    /* what a slow consumer did not take would fill the kernel's memory until its TCP gives up */
    c->stream.ops->close(&c->stream, cause == CAUSE_LIMIT_SLOW_CONSUMER);
}

/*
 * A client that says DISCONNECT closes the connection itself [MQTT-3.14.4-2]; waiting for it spares us the TIME_WAIT of who
 * closes first. One that was told DISCONNECT (or by WebSocket) gets our end of stream at once, and what it still sends is read away, or the
 * kernel's reset could overtake what we said. Not for long, and not while the broker stops.
 */
static bool linger(struct conn *c, enum cause cause, bool said)
{
    bool may = cause_info(cause)->action == ACTION_DISCONNECT ||
               (said && c->stream.ops->finish != NULL && conn_output_bytes(c) == 0);
    bool waits = may && c->io.fd >= 0 &&
                 (c->flags & (CONN_SAW_EOF | CONN_HUNG_UP | CONN_WRITE_DEAD)) == 0 &&
                 !c->w->stopping;
    if (waits) {
        if (said) {
            c->stream.ops->finish(&c->stream);
        }
        c->flags |= CONN_LINGERS;
        conn_hold(c);
        loop_timer_set(c->w->loop, &c->timer, loop_now_ms(c->w->loop) + LINGER_MS);
    }
    return waits;
}

void conn_linger_end(struct conn *c)
{
    assert((c->flags & CONN_LINGERS) != 0);
    c->flags &= (uint16_t)~CONN_LINGERS;
    unregister(c);
    c->stream.ops->close(&c->stream, false);
    conn_unhold(c);
}

/* DISCONNECT before our close: to MQTT 5 clients that were accepted and still listen. [MQTT-3.14.0-1] */
static bool say_disconnect(struct conn *c, uint8_t reason, const char *text)
{
    return c->v5 != NULL && c->state == CONN_OPEN && (c->flags & CONN_WRITE_DEAD) == 0 &&
           text != NULL && reply_disconnect(c, reason, text);
}

static void will_at_end(struct worker *w, struct session *s, bool normal, struct evidence *e)
{
    s->conn = NULL; /* it gets no will any more, its own neither */
    if (!normal && expiry_will_waits(s)) {
        evidence_u64(e, EV_WILL_DELAY, s->will->delay_s);
        return;
    }
    if (!normal) {
        evidence_u64(e, EV_WILL_SENT, 1);
    }
    session_will_end(w, s, !normal);
}

/* `reason` and `text` are what an accepted MQTT 5 client is told; text NULL: nothing. */
static void end_telling(struct conn *c, enum cause cause, const struct evidence *e, uint8_t reason,
                        const char *text)
{
    if (c->state == CONN_ENDED) {
        return; /* the first cause wins */
    }
    assert(cause_info(cause)->action != ACTION_CONNECT);
    struct evidence all;
    evidence_init(&all);
    if (e != NULL) {
        all.n = e->n; /* what it holds, not all that it might */
        all.truncated = e->truncated;
        memcpy(all.bytes, e->bytes, e->n);
    }
    struct worker *w = c->w;
    bool said = say_disconnect(c, reason, text);
    conn_flush(c); /* that, or a CONNACK that refuses; before what was written is counted */
    struct identity id = identify(c);
    struct addresses a;
    struct record r;
    record_fill(&r, c, cause, &id, &a);
    evidence_resume(&all, c, cause);
    bool normal =
        cause == CAUSE_CLIENT_NORMAL; /* only DISCONNECT 0 takes the will back [MQTT-3.14.4-3] */
    /* a refused CONNECT may have more behind it; an established connection is read as it comes */
    bool unread = c->connected_us == 0 || (c->flags & CONN_READABLE) != 0;
    c->state = CONN_ENDED;
    list_del(&c->dirty);
    list_del(&c->queue);
    free(c->ending); /* a takeover's evidence, if it was held */
    c->ending = NULL;
    if (c->session != NULL && c->session->will != NULL) {
        will_at_end(w, c->session, normal, &all);
    }
    r.detail = slice_make(all.bytes, all.n);
    r.flags |= all.truncated ? RECORD_TRUNCATED : 0;
    emit_ending(c, &r);
    bool told = stream_ending(&c->stream, cause);
    said = said || (told && cause_info(cause)->action != ACTION_DISCONNECT);
    if (!linger(c, cause, said)) {
        close_politely(c, cause, unread);
    }
    count_add(&w->count.ended[cause], 1);
    if (c->connected_us != 0) {
        count_sub(&w->count.clients, 1);
    } else {
        count_add(&w->count.refused, 1);
    }
    session_detach(w, c);
}

void conn_end(struct conn *c, enum cause cause, const struct evidence *e)
{
    const struct told *t = told_of(cause);
    end_telling(c, cause, e, t->disconnect, t->text);
}

static const char *looks_like(struct slice b)
{
    static const struct {
        const char *start, *is;
    } known[] = {{"GET ", "HTTP request"},
                 {"POST", "HTTP request"},
                 {"HEAD", "HTTP request"},
                 {"PUT ", "HTTP request"},
                 {"OPTI", "HTTP request"},
                 {"PRI ", "HTTP/2"},
                 {"SSH-", "SSH"},
                 {"PROXY", "PROXY header"},
                 {"\r\n\r\n\0", "PROXY header"},
                 {"\x16\x03", "TLS ClientHello"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (slice_has_prefix(b, slice_str(known[i].start))) {
            return known[i].is;
        }
    }
    return NULL;
}

/* A client that says something else before CONNECT: whole packets of MQTT, and nothing but these. */
static void evidence_of_mqtt(struct evidence *e, struct slice bytes)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    struct slice rest = bytes;
    long n;
    while ((n = mqtt_frame(rest, UINT32_MAX, &f, &err)) > 0) {
        rest = slice_from(rest, (size_t)n);
    }
    if (rest.n == 0 && bytes.n > 0 && bytes.p[0] >> 4 != MQTT_CONNECT) {
        char text[64];
        (void)snprintf(text, sizeof text, "%s of MQTT",
                       mqtt_type_text((enum mqtt_type)(bytes.p[0] >> 4)));
        evidence_str(e, EV_FIRST_BYTES_LOOK, text);
    }
}

/* Bytes that carry no secret: of a CONNECT only what stands before the client ID. */
static void evidence_first_bytes(struct evidence *e, struct slice bytes)
{
    size_t max = bytes.n > 0 && (bytes.p[0] >> 4) == MQTT_CONNECT ? CONNECT_HEAD_MAX : FIRST_BYTES;
    if (bytes.n > 0 && (bytes.p[0] >> 4) == MQTT_PUBLISH) {
        max = 8; /* the payload is nobody's business */
    }
    evidence_bytes(e, EV_FIRST_BYTES, slice_make(bytes.p, bytes.n < max ? bytes.n : max));
    const char *is = looks_like(bytes);
    if (is != NULL) {
        evidence_str(e, EV_FIRST_BYTES_LOOK, is);
    }
}

void conn_end_bad(struct conn *c, const struct mqtt_error *err, const struct mqtt_frame *f,
                  struct slice bytes)
{
    struct evidence e;
    evidence_init(&e);
    if (f != NULL) {
        evidence_str(&e, EV_PACKET_TYPE, mqtt_type_text(f->type));
    }
    evidence_first_bytes(&e, bytes);
    if (err->cause == CAUSE_HANDSHAKE_NOT_MQTT) {
        evidence_of_mqtt(&e, bytes);
    }
    evidence_u64(&e, EV_OFFSET, err->offset);
    if (err->clause[0] != '\0') {
        evidence_str(&e, EV_CLAUSE, err->clause);
    }
    evidence_str(&e, EV_EXPECTED, err->text);
    if (err->cause == CAUSE_LIMIT_PACKET_SIZE) {
        evidence_u64(&e, EV_LIMIT, conn_max_packet(c));
    }
    if (c->state == CONN_HANDSHAKE && f == NULL && bytes.n > 0 && bytes.p[0] == MQTT_CONNECT << 4) {
        struct mqtt_connect
            p; /* a CONNECT that is too large: not decoded, but told in its version */
        mqtt_peek_connect(bytes, &p);
        c->version = (uint8_t)p.version;
    }
    bool v5 = c->version == MQTT_V5;
    bool refused = c->connected_us == 0 && (v5 || err->connack != 0);
    if (refused) {
        reply_refused(c, err->connack, err->reason, err->text);
    }
    if (refused || v5) {
        evidence_u64(&e, EV_REASON_CODE, v5 ? err->reason : err->connack);
    }
    end_telling(c, err->cause, &e, err->reason, err->text);
}

void evidence_other(struct evidence *e, const struct conn *other, uint64_t silent_ms)
{
    char peer[ADDR_TEXT_MAX];
    addr_text(&other->peer.sa, peer);
    evidence_bytes(e, EV_OTHER_CHANNEL, slice_make(other->channel, sizeof other->channel));
    evidence_str(e, EV_OTHER_PEER, peer);
    if (other->identity != NULL) {
        evidence_bytes(e, EV_OTHER_USER, auth_identity_user(other->identity));
    }
    evidence_u64(e, EV_OTHER_SILENT_MS, silent_ms);
    if (other->connected_us != 0) {
        evidence_u64(e, EV_OTHER_CONNECTED_AT, other->connected_us);
    }
}
