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
    uint32_t max = (uint32_t)c->w->server->config->max_packet_size;
    if (buf_len(&c->in) > 0 && mqtt_frame(buf_slice(&c->in), max, &f, &err) > 0 &&
        f.type == MQTT_CONNECT) {
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
    if (s != NULL) {
        evidence_u64(e, EV_SESSION_KEPT, !s->clean);
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

static void record_fill(struct record *r, struct conn *c, enum cause cause,
                        const struct identity *id, char peer[ADDR_TEXT_MAX])
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
    addr_text(&c->peer.sa, peer);
    r->peer = slice_str(peer);
    r->listener = slice_str(c->listener == NULL ? "" : c->listener->info.name);
    r->node = slice_str(c->w->server->config->node);
}

bool conn_record_accepted(struct conn *c, enum cause cause, struct slice client_id,
                          const struct evidence *e)
{
    char peer[ADDR_TEXT_MAX];
    struct record r;
    struct identity id = identify_known(c);
    id.client_id = client_id;
    record_fill(&r, c, cause, &id, peer);
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
    c->stream.ops->close(&c->stream, false);
}

/*
 * A client that says DISCONNECT closes the connection itself [MQTT-3.14.4-2]; waiting for it spares us the TIME_WAIT of who
 * closes first. Not for long, and not while the broker stops.
 */
static bool linger(struct conn *c, enum cause cause)
{
    bool waits = cause_info(cause)->action == ACTION_DISCONNECT && c->io.fd >= 0 &&
                 (c->flags & (CONN_SAW_EOF | CONN_HUNG_UP | CONN_WRITE_DEAD)) == 0 &&
                 !c->w->stopping;
    if (waits) {
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

void conn_end(struct conn *c, enum cause cause, const struct evidence *e)
{
    if (c->state == CONN_ENDED) {
        return; /* the first cause wins */
    }
    assert(cause_info(cause)->action != ACTION_CONNECT);
    struct evidence all;
    evidence_init(&all);
    if (e != NULL) {
        all = *e;
    }
    struct worker *w = c->w;
    conn_flush(c); /* a CONNACK that refuses; before what was written is counted */
    struct identity id = identify(c);
    char peer[ADDR_TEXT_MAX];
    struct record r;
    record_fill(&r, c, cause, &id, peer);
    evidence_resume(&all, c, cause);
    bool normal = cause == CAUSE_CLIENT_NORMAL || cause == CAUSE_CLIENT_REASON;
    /* a refused CONNECT may have more behind it; an established connection is read as it comes */
    bool unread = c->connected_us == 0 || (c->flags & CONN_READABLE) != 0;
    c->state = CONN_ENDED;
    list_del(&c->dirty);
    list_del(&c->queue);
    free(c->ending); /* a takeover's evidence, if it was held */
    c->ending = NULL;
    if (c->session != NULL && c->session->will != NULL) {
        c->session->conn = NULL; /* it gets no will any more, its own neither */
        if (!normal) {
            evidence_u64(&all, EV_WILL_SENT, 1);
        }
        session_will_end(w, c->session, !normal);
    }
    r.detail = slice_make(all.bytes, all.n);
    r.flags |= all.truncated ? RECORD_TRUNCATED : 0;
    emit_ending(c, &r);
    if (!linger(c, cause)) {
        close_politely(c, cause, unread);
    }
    if (c->connected_us != 0) {
        count_sub(&w->count.clients, 1);
    } else {
        count_add(&w->count.refused, 1);
    }
    session_detach(w, c);
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
    evidence_u64(&e, EV_OFFSET, err->offset);
    if (err->clause[0] != '\0') {
        evidence_str(&e, EV_CLAUSE, err->clause);
    }
    evidence_str(&e, EV_EXPECTED, err->text);
    if (err->cause == CAUSE_LIMIT_PACKET_SIZE) {
        evidence_u64(&e, EV_LIMIT, c->w->server->config->max_packet_size);
    }
    if (c->connected_us == 0 && err->connack != 0) {
        mqtt_encode_connack(conn_out(c), MQTT_V311, false, err->connack, NULL);
        evidence_u64(&e, EV_REASON_CODE, err->connack);
    }
    conn_end(c, err->cause, &e);
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
