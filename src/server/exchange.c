/*
 * Enhanced authentication (MQTT 5): AUTH packets before the CONNACK, and again on an open connection. What the data mean is
 * the method's (src/auth); here is who may say what and when.
 *
 *   CONNECT method, data ─► step ─► AUTH 0x18 ─► AUTH 0x18 ─► step ─► … ─► CONNACK method, data
 *   open:     AUTH 0x19  ─► step ─► AUTH 0x18 ─► AUTH 0x18 ─► step ─► … ─► AUTH 0x00
 *
 * Until the CONNACK (CONN_EXCHANGE) the CONNECT stays at the start of conn->in, as with passwords, and AUTH packets are taken
 * out from behind it. A connection whose CONNECT named no method has no struct exchange: AUTH is an error there.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/server_priv.h"

static bool has(const struct mqtt_props *p, enum mqtt_prop id)
{
    return (p->present >> id & 1) != 0;
}

static struct slice copy(struct slice s)
{
    if (s.p == NULL) {
        return s;
    }
    uint8_t *p = mem_alloc(s.n + 1);
    memcpy(p, s.p, s.n);
    return slice_make(p, s.n);
}

static void drop(struct slice *s)
{
    free((void *)(uintptr_t)s->p);
    *s = slice_make(NULL, 0);
}

void exchange_free(struct exchange *x)
{
    if (x != NULL) {
        auth_exchange_free(x->x);
        drop(&x->answer);
        drop(&x->method);
        drop(&x->user);
        free(x);
    }
}

static struct slice data_of(const struct mqtt_props *p)
{
    /* data of no bytes are data */
    static const uint8_t empty;
    if (!has(p, MQTT_PROP_AUTH_DATA)) {
        return slice_make(NULL, 0);
    }
    return p->auth_data.n > 0 ? p->auth_data : slice_make(&empty, 0);
}

static void put_props(const struct exchange *x, struct slice data, struct mqtt_props *p)
{
    p->present |= UINT64_C(1) << MQTT_PROP_AUTH_METHOD;
    p->auth_method = x->method; /* [MQTT-4.12.0-5] */
    if (data.p != NULL) {
        p->present |= UINT64_C(1) << MQTT_PROP_AUTH_DATA;
        p->auth_data = data;
    }
}

void exchange_props(const struct conn *c, struct mqtt_props *p)
{
    if (c->v5->exchange != NULL) {
        put_props(c->v5->exchange, c->v5->exchange->answer, p);
    }
}

static struct exchange *exchange_of(const struct conn *c)
{
    return c->v5 == NULL ? NULL : c->v5->exchange;
}

struct slice exchange_user(const struct conn *c)
{
    const struct exchange *x = exchange_of(c);
    if (x == NULL) {
        return slice_make(NULL, 0);
    }
    return x->x != NULL ? auth_exchange_user(x->x) : x->user;
}

void exchange_evidence(const struct conn *c, struct evidence *e)
{
    const struct exchange *x = exchange_of(c);
    if (x != NULL) {
        evidence_bytes(e, EV_AUTH_METHOD, x->method);
    }
}

/* False: the client takes no packet of that length, and the connection has ended. */
static bool send_auth(struct conn *c, uint8_t reason, struct slice data)
{
    struct mqtt_props p = {0};
    size_t from = buf_len(conn_out(c));
    put_props(c->v5->exchange, data, &p);
    mqtt_encode_auth(conn_out(c), reason, &p);
    if (reply_too_long(c, from)) {
        struct evidence e;
        evidence_init(&e);
        evidence_u64(&e, EV_LIMIT, c->v5->max_packet);
        evidence_str(&e, EV_TEXT, "the client takes no packet as large as its AUTH");
        reply_take_back(c, from);
        conn_end(c, CAUSE_LIMIT_PACKET_SIZE, &e);
        return false;
    }
    conn_sent(c, MQTT_AUTH);
    conn_dirty(c);
    return true;
}

static enum auth_step step(struct exchange *x, struct slice data, struct slice *answer,
                           struct auth_result *r)
{
    enum auth_step s = auth_exchange_step(x->x, data, answer, r);
    if (s == AUTH_STEP_OK) {
        drop(&x->answer);
        x->answer = copy(*answer);
        *answer = x->answer;
    }
    if (s != AUTH_STEP_CONTINUE) {
        drop(&x->user);
        x->user = copy(auth_exchange_user(x->x));
        auth_exchange_free(x->x);
        x->x = NULL;
    }
    return s;
}

/* ---- before the CONNACK ---- */

static void wait_for_client(struct conn *c)
{
    uint64_t timeout = c->w->server->config->connect_timeout_ms;
    loop_timer_set(c->w->loop, &c->timer, loop_now_ms(c->w->loop) + timeout);
}

/* What a step decided. The CONNECT is at the start of conn->in, and what caused the step is no longer in it. */
static void stepped(struct conn *c, enum auth_step s, struct slice answer, struct auth_result *r)
{
    switch (s) {
    case AUTH_STEP_CONTINUE:
        if (send_auth(c, MQTT_RC_CONTINUE_AUTH, answer)) {
            wait_for_client(c);
        }
        break;
    case AUTH_STEP_OK:
        timer_cancel(&c->timer);
        connect_authenticated(c, r);
        break;
    case AUTH_STEP_FAILED:
        connect_refused(c, r);
        break;
    }
}

void exchange_begin(struct conn *c, const struct mqtt_connect *p)
{
    struct auth_result r;
    struct slice answer;
    struct auth_request rq = connect_request(c, p);
    struct auth_exchange *ax = auth_exchange_new(c->w->server->auth, p->props.auth_method, &rq, &r);
    if (ax == NULL) {
        connect_refused(c, &r);
        return;
    }
    struct exchange *x = mem_new(1, sizeof *x);
    x->x = ax;
    x->method = copy(p->props.auth_method);
    c->v5->exchange = x;
    c->state = CONN_EXCHANGE;
    enum auth_step s = step(x, data_of(&p->props), &answer, &r);
    stepped(c, s, answer, &r);
    exchange_decode(c); /* what came with the CONNECT */
}

/* AUTH as it must be while an exchange is under way. [MQTT-4.12.0-3] [MQTT-4.12.1-1] */
static bool check(const struct exchange *x, const struct mqtt_auth *a, uint8_t reason,
                  struct mqtt_error *err)
{
    *err = (struct mqtt_error){.cause = CAUSE_PROTOCOL_VIOLATION,
                               .reason = MQTT_RC_PROTOCOL_ERROR,
                               .clause = "MQTT-4.12.0-3",
                               .text = "AUTH with reason code 0x18, Continue authentication"};
    if (a->reason != reason) {
        return false;
    }
    err->clause = "MQTT-4.12.0-5";
    err->text = "the authentication method of the CONNECT";
    return has(&a->props, MQTT_PROP_AUTH_METHOD) && slice_eq(a->props.auth_method, x->method);
}

/* The client's next packet of the exchange; the connection may have ended or be open behind it. */
static void take_packet(struct conn *c, const struct mqtt_frame *f, struct slice whole, size_t at)
{
    static const struct mqtt_error other = {
        .cause = CAUSE_PROTOCOL_VIOLATION,
        .reason = MQTT_RC_PROTOCOL_ERROR,
        .clause = "MQTT-3.1.2-30",
        .text = "nothing but AUTH or DISCONNECT before the CONNACK"};
    struct exchange *x = c->v5->exchange;
    struct mqtt_auth a;
    struct mqtt_error err = other;
    struct slice answer;
    struct auth_result r;
    bool bad = f->type != MQTT_AUTH || mqtt_decode_auth(f, &a, &err) != 0 ||
               !check(x, &a, MQTT_RC_CONTINUE_AUTH, &err);
    if (bad) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    enum auth_step s = step(x, data_of(&a.props), &answer, &r);
    uint8_t *from = c->in.p + c->in.start + at;
    memmove(from, from + whole.n, buf_len(&c->in) - at - whole.n);
    c->in.end -= whole.n;
    stepped(c, s, answer, &r);
}

/* It gives up, and may say so. */
static void left(struct conn *c)
{
    struct evidence e;
    evidence_init(&e);
    evidence_str(&e, EV_TEXT, "DISCONNECT before authentication was over");
    conn_end(c, CAUSE_AUTH_METHOD, &e);
}

void exchange_decode(struct conn *c)
{
    uint32_t max = conn_max_packet(c);
    while (c->state == CONN_EXCHANGE) {
        struct mqtt_frame f;
        struct mqtt_error err;
        long connect = mqtt_frame(buf_slice(&c->in), UINT32_MAX, &f, &err);
        assert(connect > 0);
        struct slice rest = slice_from(buf_slice(&c->in), (size_t)connect);
        long n = mqtt_frame(rest, max, &f, &err);
        if (n < 0) {
            conn_end_bad(c, &err, NULL, rest);
        }
        if (n <= 0) {
            break;
        }
        c->packets_in++;
        c->last_in_type = (uint8_t)f.type;
        if (f.type == MQTT_DISCONNECT) {
            left(c);
        } else {
            take_packet(c, &f, slice_make(rest.p, (size_t)n), (size_t)connect);
        }
    }
}

void exchange_timeout(struct conn *c)
{
    struct auth_result r = {
        .cause = CAUSE_AUTH_METHOD, .connack = 5, .reason = MQTT_RC_NOT_AUTHORIZED};
    (void)snprintf(r.rule, sizeof r.rule, "the client did not go on within connect_timeout");
    connect_refused(c, &r);
}

/* ---- on an open connection ---- */

static void end_refused(struct conn *c, const struct auth_result *r)
{
    struct evidence e;
    evidence_init(&e);
    exchange_evidence(c, &e);
    if (exchange_user(c).n > 0) {
        evidence_bytes(&e, EV_USER, exchange_user(c));
    }
    evidence_str(&e, EV_RULE, r->rule);
    evidence_str(&e, EV_PACKET_TYPE, mqtt_type_text(MQTT_AUTH));
    conn_end(c, r->cause, &e);
}

/* Authenticated again: as the user that it was, or rights and session would be of two. */
static void again(struct conn *c, struct slice answer, struct auth_result *r)
{
    if (!slice_eq(auth_identity_user(r->identity), auth_identity_user(c->identity))) {
        auth_identity_unref(r->identity);
        *r = (struct auth_result){.cause = CAUSE_AUTH_EXCHANGE};
        (void)snprintf(r->rule, sizeof r->rule, "authenticated again as another user");
        end_refused(c, r);
        return;
    }
    auth_identity_unref(c->identity);
    c->identity = r->identity;
    (void)send_auth(c, MQTT_RC_SUCCESS, answer);
}

/* It wants to be authenticated again, but otherwise. */
static bool other_method(const struct exchange *x, const struct mqtt_auth *a)
{
    return x->x == NULL && a->reason == MQTT_RC_REAUTHENTICATE &&
           has(&a->props, MQTT_PROP_AUTH_METHOD) && !slice_eq(a->props.auth_method, x->method);
}

void exchange_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_auth a;
    struct mqtt_error err = {.cause = CAUSE_PROTOCOL_VIOLATION,
                             .reason = MQTT_RC_PROTOCOL_ERROR,
                             .clause = "MQTT-4.12.0-7",
                             .text = "no AUTH, as the CONNECT had no authentication method"};
    struct exchange *x = exchange_of(c);
    struct auth_result r;
    struct slice answer;
    if (x == NULL || mqtt_decode_auth(f, &a, &err) != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    if (other_method(x, &a)) {
        r = (struct auth_result){.cause = CAUSE_AUTH_METHOD};
        (void)snprintf(r.rule, sizeof r.rule,
                       "authenticates again by another method than that of its CONNECT");
        end_refused(c, &r);
        return;
    }
    if (!check(x, &a, x->x == NULL ? MQTT_RC_REAUTHENTICATE : MQTT_RC_CONTINUE_AUTH, &err)) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    if (x->x == NULL) {
        const struct auth_request rq = {.client_id = session_client_id(c->session)};
        x->x = auth_exchange_new(c->w->server->auth, x->method, &rq, &r);
        if (x->x == NULL) {
            end_refused(c, &r);
            return;
        }
    }
    switch (step(x, data_of(&a.props), &answer, &r)) {
    case AUTH_STEP_CONTINUE:
        (void)send_auth(c, MQTT_RC_CONTINUE_AUTH, answer);
        break;
    case AUTH_STEP_OK:
        again(c, answer, &r);
        break;
    case AUTH_STEP_FAILED:
        end_refused(c, &r);
        break;
    }
}
