/*
 * CONNECT, from the decoded packet to the CONNACK:
 *
 *   accepting worker ─► owner (hash of instance and client ID) ─► authentication ─► takeover ─► record ─► CONNACK
 *
 * Until it is accepted the CONNECT stays at the start of conn->in: it names the client for the trace, and what was
 * pipelined behind it waits there. Takeover comes only after authentication, so that nobody throws a device out
 * without its credentials. While endings wait for room in the ring no CONNECT is answered (CONN_HELD).
 */
#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

bool connect_first_byte(struct conn *c, struct slice in)
{
    if (in.p[0] == MQTT_CONNECT << 4) {
        return true;
    }
    struct mqtt_error err = {.cause = CAUSE_HANDSHAKE_NOT_MQTT,
                             .clause = "MQTT-3.1.0-1",
                             .text = "a CONNECT packet, first byte 0x10"};
    conn_end_bad(c, &err, NULL, in);
    return false;
}

/* The CONNECT at the start of conn->in; it was decoded before, so it is good. */
static size_t connect_again(const struct conn *c, struct mqtt_connect *p)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    long n = mqtt_frame(buf_slice(&c->in), UINT32_MAX, &f, &err);
    assert(n > 0);
    int bad = mqtt_decode_connect(&f, p, &err);
    assert(bad == 0);
    return (size_t)n;
}

static void refuse_with(struct conn *c, uint8_t connack, uint8_t reason, enum cause cause,
                        struct evidence *e)
{
    evidence_u64(e, EV_REASON_CODE, c->version == MQTT_V5 ? reason : connack);
    reply_refused(c, connack, reason, told_of(cause)->text);
    conn_end(c, cause, e);
}

static void refuse(struct conn *c, enum cause cause, struct evidence *e)
{
    const struct told *t = told_of(cause);
    refuse_with(c, t->connack, t->reason, cause, e);
}

static void connect_at_owner(struct conn *c, const struct mqtt_connect *p);

static void leave_loop(struct conn *c)
{
    if (c->io.fd >= 0) {
        loop_del(c->w->loop, &c->io);
        c->io.fd = -1;
    }
    timer_cancel(&c->timer);
    list_del(&c->queue);
}

void connect_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole)
{
    struct mqtt_connect p;
    struct mqtt_error err;
    int bad = mqtt_decode_connect(f, &p, &err);
    c->version = (uint8_t)p.version; /* as far as it came: the refusal is written in it */
    if (bad != 0) {
        conn_end_bad(c, &err, f, whole);
        return;
    }
    struct worker *owner =
        p.client_id.n == 0 ? c->w : worker_of(c->w->server, client_hash(0, p.client_id));
    if (owner == c->w) {
        connect_at_owner(c, &p);
        return;
    }
    leave_loop(c);
    c->state = CONN_AUTH; /* nothing more is read here */
    list_push(&c->w->moving, &c->queue);
}

void connect_move_all(struct worker *w)
{
    struct list *l;
    while ((l = list_shift(&w->moving)) != NULL) {
        struct conn *c = LIST_ENTRY(l, struct conn, queue);
        struct mqtt_connect p;
        (void)connect_again(c, &p);
        list_del(&c->all);
        count_sub(&w->count.connections, 1);
        struct mail_conn *m = mem_new(1, sizeof *m);
        m->mail.kind = MAIL_CONN;
        m->conn = c;
        worker_post(worker_of(w->server, client_hash(0, p.client_id)), &m->mail);
    }
}

void connect_arrived(struct worker *w, struct conn *c)
{
    c->w = w;
    c->state = CONN_HANDSHAKE;
    count_add(&w->count.connections, 1);
    conn_start(c);
    if (c->state == CONN_HANDSHAKE) {
        struct mqtt_connect p;
        (void)connect_again(c, &p);
        connect_at_owner(c, &p);
    }
    conn_read(c);
}

/* Who it is by its certificate, if its listener takes that for its user name. */
static struct slice proven_user(struct conn *c)
{
    struct stream_told told;
    if (c->proven_user == NULL && c->stream.ops->told != NULL) {
        stream_told(&c->stream, &told);
        c->proven_user = told.user[0] == '\0' ? NULL : mem_strndup(told.user, strlen(told.user));
    }
    return c->proven_user == NULL ? slice_make(NULL, 0) : slice_str(c->proven_user);
}

struct auth_request connect_request(struct conn *c, const struct mqtt_connect *p)
{
    return (struct auth_request){.client_id = p->client_id,
                                 .has_username = p->has_username,
                                 .has_password = p->has_password,
                                 .username = p->username,
                                 .password = p->password,
                                 .proven_username = proven_user(c)};
}

static void connect_decided(struct conn *c, const struct mqtt_connect *p, struct auth_result *r);

static bool has(const struct mqtt_props *p, enum mqtt_prop id)
{
    return (p->present >> id & 1) != 0;
}

/* What the client said of itself, or what holds when it did not. [MQTT-3.1.2-24] [MQTT-3.1.2-29] */
static struct conn5 *conn5_new(const struct mqtt_props *p, const struct config *cfg)
{
    struct conn5 *v5 = mem_new(1, sizeof *v5);
    v5->max_packet = has(p, MQTT_PROP_MAX_PACKET) ? p->max_packet : UINT32_MAX;
    v5->receive_max = has(p, MQTT_PROP_RECEIVE_MAX) ? p->receive_max : UINT16_MAX;
    v5->alias_max = has(p, MQTT_PROP_TOPIC_ALIAS_MAX) ? p->topic_alias_max : 0;
    v5->granted_packet = (uint32_t)cfg->max_packet_size;
    v5->granted_receive = (uint16_t)cfg->receive_maximum;
    v5->granted_alias = (uint16_t)cfg->topic_alias_maximum;
    v5->problem_info = !has(p, MQTT_PROP_REQUEST_PROBLEM) || p->request_problem_info != 0;
    return v5;
}

static void connect_accept(struct conn *c, const struct mqtt_connect *p);

/* A client ID that is for the broker's own connections. */
static void connect_own(struct conn *c, const struct mqtt_connect *p)
{
    struct evidence e;
    if ((c->kind & CONN_OWN) != 0) {
        c->identity = auth_identity_own(c->w->server->auth);
        connect_accept(c, p);
        return;
    }
    evidence_init(&e);
    evidence_str(&e, EV_TEXT, "client IDs that begin with " SERVER_OWN_ID " are the broker's own");
    refuse(c, CAUSE_PROTOCOL_CLIENT_ID, &e);
}

/* The connection is with its owner, its CONNECT at the start of conn->in. */
static void connect_at_owner(struct conn *c, const struct mqtt_connect *p)
{
    struct server *s = c->w->server;
    c->version = (uint8_t)p->version;
    c->keepalive_asked = p->keepalive;
    c->flags = (uint16_t)(p->clean_start ? c->flags | CONN_CLEAN : c->flags & ~CONN_CLEAN);
    if (bridge_said(p)) {
        c->kind |= CONN_BRIDGE;
    }
    if (p->version == MQTT_V5) {
        c->v5 = conn5_new(&p->props, s->config);
        if ((c->kind & CONN_OWN) !=
            0) { /* it passes on what another broker sends, which can't be told a limit before MQTT 5 */
            c->v5->granted_receive = UINT16_MAX;
        }
    }
    timer_cancel(&c->timer);
    uint64_t limit;
    if ((c->flags & CONN_OVER_LIMIT) != 0 && listener_full(c, &limit)) {
        struct evidence e;
        evidence_init(&e);
        evidence_u64(&e, EV_LIMIT, limit);
        refuse(c, CAUSE_LIMIT_CONNECTIONS, &e);
        return;
    }
    if (own_client_id(p->client_id)) {
        connect_own(c, p);
        return;
    }
    if (has(&p->props, MQTT_PROP_AUTH_METHOD)) {
        exchange_begin(c, p);
        return;
    }
    struct auth_request rq = connect_request(c, p);
    struct auth_result result;
    if (auth_check_fast(s->auth, &rq, &result)) {
        connect_decided(c, p, &result);
        return;
    }
    c->state = CONN_AUTH;
    conn_hold(c);
    struct mail_auth *m = mem_new(1, sizeof *m);
    m->mail.kind = MAIL_AUTH;
    m->conn = c;
    m->request = rq;
    auth_pool_submit(&s->pool, m);
}

static void refuse_identity(struct conn *c, const struct mqtt_connect *p,
                            const struct auth_result *r)
{
    struct evidence e;
    evidence_init(&e);
    struct slice user = exchange_user(c);
    if (user.n > 0 || p->has_username) {
        evidence_bytes(&e, EV_USER, user.n > 0 ? user : p->username);
    }
    if (has(&p->props, MQTT_PROP_AUTH_METHOD)) {
        evidence_bytes(&e, EV_AUTH_METHOD, p->props.auth_method);
    }
    if (r->rule[0] != '\0') {
        evidence_str(&e, EV_RULE, r->rule);
    }
    refuse_with(c, r->connack, r->reason, r->cause, &e);
}

/* Its own, or the one that it was given. */
static struct slice id_of(const struct conn *c, const struct mqtt_connect *p)
{
    return c->assigned_id != NULL ? slice_str(c->assigned_id) : p->client_id;
}

/* The will goes where its client could publish. False: refused. */
static bool will_allowed(struct conn *c, const struct mqtt_connect *p)
{
    struct auth_decision d;
    struct slice topic = p->will.topic;
    struct evidence e;
    uint64_t delay_ms;
    if (!p->will.present || bridge_state_topic(c, id_of(c, p), topic)) {
        return true;
    }
    evidence_init(&e);
    evidence_bytes(&e, EV_TOPIC, topic);
    if (!delays_topic(c->w, &topic, &delay_ms)) {
        evidence_str(&e, EV_TEXT, "a will to $delayed/SECONDS/TOPIC, or to another topic");
        refuse_with(c, 5, MQTT_RC_TOPIC_INVALID, CAUSE_PROTOCOL_VIOLATION, &e);
        return false;
    }
    if (auth_allows(c->identity, id_of(c, p), AUTH_PUBLISH, topic, &d)) {
        return true;
    }
    evidence_u64(&e, EV_QOS, p->will.qos);
    evidence_str(&e, EV_RULE, d.rule);
    refuse(c, CAUSE_TOPIC_WILL, &e);
    return false;
}

/* An ID for a client that named none; one that this worker owns. [MQTT-3.1.3-6] */
static void assign_id(struct conn *c)
{
    c->assigned_id = mem_alloc(32);
    do {
        uint8_t r[8];
        ssize_t got = getrandom(r, sizeof r, 0);
        assert(got == (ssize_t)sizeof r);
        (void)snprintf(c->assigned_id, 32, "auto-%02x%02x%02x%02x%02x%02x%02x%02x", r[0], r[1],
                       r[2], r[3], r[4], r[5], r[6], r[7]);
    } while (worker_of(c->w->server, client_hash(0, slice_str(c->assigned_id))) != c->w);
}

static void connect_decided(struct conn *c, const struct mqtt_connect *p, struct auth_result *r)
{
    if (!r->ok) {
        refuse_identity(c, p, r);
        return;
    }
    c->identity = r->identity;
    if (p->client_id.n == 0) {
        assign_id(c);
    }
    if (will_allowed(c, p)) {
        connect_accept(c, p);
    }
}

void connect_refused(struct conn *c, const struct auth_result *r)
{
    struct mqtt_connect p;
    (void)connect_again(c, &p);
    refuse_identity(c, &p, r);
}

void connect_authenticated(struct conn *c, struct auth_result *r)
{
    struct mqtt_connect p;
    (void)connect_again(c, &p);
    connect_decided(c, &p, r);
}

static void hold(struct conn *c)
{
    c->state = CONN_HELD;
    count_add(&c->w->count.ring_waits, 1);
    list_del(&c->queue);
    list_push(&c->w->held, &c->queue);
    acceptors_hold(c->w);
}

void connect_held(struct conn *c)
{
    struct mqtt_connect p;
    (void)connect_again(c, &p);
    connect_accept(c, &p);
    conn_read(c);
}

/* The connection that has the client ID now loses it. [MQTT-3.1.4-2] */
static void take_over(struct conn *c, struct conn *old, struct evidence *winner)
{
    struct evidence loser;
    uint64_t silent = loop_now_ms(c->w->loop) - old->last_in_ms;
    evidence_init(&loser);
    evidence_other(&loser, c, silent);
    evidence_other(winner, old, silent);
    conn_end(old, CAUSE_TAKEOVER_SAME_NODE, &loser);
}

/* How long the session outlives the connection: what was asked for, within session_expiry_max. */
static uint32_t expiry_granted(const struct conn *c, const struct mqtt_connect *p)
{
    uint32_t max = session_expiry_max(c->w->server);
    uint32_t asked = p->clean_start ? 0 : SESSION_NEVER;
    if (p->version == MQTT_V5) {
        asked = p->props.session_expiry; /* 0 when it is not there */
    }
    return asked < max ? asked : max;
}

/* Before MQTT 5 a client can't be told another keepalive than its own. [MQTT-3.1.2-21] */
static uint16_t keepalive_granted(const struct conn *c, const struct mqtt_connect *p)
{
    uint64_t max_ms = c->w->server->config->max_keepalive_ms;
    uint64_t max = (max_ms + 999) / 1000;
    bool capped = p->version == MQTT_V5 && max_ms != 0 && (p->keepalive == 0 || p->keepalive > max);
    return capped ? (uint16_t)max : p->keepalive;
}

/* `s` is what the client has so far, or NULL. */
static void accept_session(struct conn *c, const struct mqtt_connect *p, struct session *s,
                           struct slice id, uint64_t hash)
{
    struct worker *w = c->w;
    if (s != NULL && p->clean_start) {
        session_discard(w, s); /* [MQTT-3.1.2-6] */
        s = NULL;
    }
    bool present = s != NULL;
    uint32_t expiry = expiry_granted(c, p);
    if (s == NULL) {
        s = session_new(0, id, hash, p->clean_start);
        session_map_put(&w->sessions, s);
        count_add(&w->count.sessions, 1);
    } else {
        expiry_online(w, s);
    }
    /* an endless one that goes on says nothing new; of others the store must know that no clock runs */
    bool tell = present ? expiry != s->expiry_s || expiry != SESSION_NEVER : expiry != 0;
    s->expiry_s = expiry;
    if (tell) {
        persist_session(w, s, true);
    }
    if (p->will.present) {
        s->will = will_new(&p->will);
        persist_will(w, s);
    }
    reply_accepted(c, p, present);
    if ((c->kind & CONN_FORGETS) != 0) {
        own_forget(s, c);
    }
    session_attach(s, c);
}

/* What a takeover said of the loser stays with the winner while that waits for room. */
static void evidence_keep(struct conn *c, const struct evidence *e, uint16_t n)
{
    if (n > 0) {
        c->ending = mem_alloc(n);
        c->ending_len = n;
        memcpy(c->ending, e->bytes, n);
    }
}

static void evidence_kept(struct conn *c, struct evidence *e)
{
    evidence_init(e);
    if (c->ending != NULL) {
        memcpy(e->bytes, c->ending, c->ending_len);
        e->n = c->ending_len;
        free(c->ending);
        c->ending = NULL;
    }
}

/* The CONNECT has done its work: what was pipelined behind it comes to the front. */
static void connect_taken(struct conn *c)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    long n = mqtt_frame(buf_slice(&c->in), UINT32_MAX, &f, &err);
    assert(n > 0);
    buf_take(&c->in, (size_t)n);
    if (buf_len(&c->in) == 0) {
        buf_fini(&c->in);
    }
}

/* Its maximum packet size is below what a CONNACK has to say. */
static void refuse_small(struct conn *c)
{
    struct evidence e;
    evidence_init(&e);
    evidence_u64(&e, EV_LIMIT, c->v5->max_packet);
    evidence_str(&e, EV_TEXT, "the client takes no packet as large as its CONNACK");
    refuse(c, CAUSE_LIMIT_PACKET_SIZE, &e);
}

static void connect_accept(struct conn *c, const struct mqtt_connect *p)
{
    struct worker *w = c->w;
    struct evidence e;
    struct slice id = id_of(c, p);
    uint64_t hash = client_hash(0, id);
    if (!list_empty(&w->unrecorded)) {
        hold(c);
        return;
    }
    evidence_kept(c, &e);
    if (!conn_still_allowed(c)) {
        refuse(c, CAUSE_AUTH_REVOKED, &e);
        return;
    }
    c->keepalive = keepalive_granted(c, p);
    if (c->v5 != NULL) {
        c->v5->session_expiry = expiry_granted(c, p);
    }
    if (!reply_fits(c, p)) {
        refuse_small(c);
        return;
    }
    struct session *s = session_map_find(&w->sessions, hash, 0, id);
    if (s == NULL && memory_full(w->server)) {
        memory_evidence(w->server, &e);
        refuse(c, CAUSE_LIMIT_MEMORY, &e);
        return;
    }
    if (s != NULL && s->conn != NULL) {
        evidence_init(&e);
        take_over(c, s->conn, &e);
        s = session_map_find(&w->sessions, hash, 0, id);
    }
    uint16_t of_takeover = e.n;
    evidence_u64(&e, EV_KEEPALIVE_ASKED, p->keepalive);
    evidence_u64(&e, EV_KEEPALIVE_GRANTED, c->keepalive);
    evidence_u64(&e, EV_CLEAN_SESSION, p->clean_start);
    if (p->username.n > 0 && auth_identity_user(c->identity).n == 0) {
        evidence_bytes(&e, EV_USER, p->username); /* a name that counts for nothing */
    }
    if (p->version == MQTT_V5) {
        evidence_u64(&e, EV_SESSION_EXPIRY, c->v5->session_expiry);
    }
    exchange_evidence(c, &e);
    uint64_t now_us = loop_wall_us(w->loop);
    evidence_u64(&e, EV_HANDSHAKE_MS,
                 now_us > c->accepted_us ? (now_us - c->accepted_us) / 1000 : 0);
    evidence_layers(&e, c);
    bool resumed = s != NULL && !p->clean_start;
    enum cause cause = resumed ? CAUSE_ACCEPTED_RESUMED : CAUSE_ACCEPTED_NEW;
    if (!conn_record_accepted(c, cause, id, &e)) {
        evidence_keep(c, &e, of_takeover);
        hold(c);
        return;
    }
    list_del(&c->queue);
    c->state = CONN_OPEN;
    count_add(&w->count.clients, 1);
    count_add(&w->count.accepted, 1);
    count_add(&w->count.begun[cause], 1);
    sys_note_clients(w->server);
    accept_session(c, p, s, id, hash);
    free(c->assigned_id);
    free(c->proven_user);
    c->assigned_id = c->proven_user = NULL;
    connect_taken(c); /* what *p and id point to is gone now */
    c->last_in_ms = loop_now_ms(w->loop);
    conn_arm(c);
    conn_dirty(c);
    session_pump(c);
    conn_decode_rest(c);
}

/* ---- the pool that checks passwords ---- */

static void *pool_run(void *arg)
{
    struct auth_pool *p = arg;
    (void)pthread_mutex_lock(&p->lock);
    while (!p->stopping || p->head != NULL) {
        struct mail_auth *m = p->head;
        if (m == NULL) {
            (void)pthread_cond_wait(&p->wanted, &p->lock);
            continue;
        }
        p->head = m->next;
        if (p->head == NULL) {
            p->tail = &p->head;
        }
        (void)pthread_mutex_unlock(&p->lock);
        auth_check(p->auth, &m->request, &m->result);
        worker_post(m->conn->w, &m->mail);
        (void)pthread_mutex_lock(&p->lock);
    }
    (void)pthread_mutex_unlock(&p->lock);
    return NULL;
}

void auth_pool_start(struct auth_pool *p, struct auth *a)
{
    p->auth = a;
    p->tail = &p->head;
    (void)pthread_mutex_init(&p->lock, NULL);
    (void)pthread_cond_init(&p->wanted, NULL);
    while (p->thread_count < sizeof p->threads / sizeof *p->threads) {
        int err = pthread_create(&p->threads[p->thread_count], NULL, pool_run, p);
        assert(err == 0);
        p->thread_count++;
    }
}

void auth_pool_stop(struct auth_pool *p)
{
    if (p->thread_count == 0) {
        return;
    }
    (void)pthread_mutex_lock(&p->lock);
    p->stopping = true;
    (void)pthread_cond_broadcast(&p->wanted);
    (void)pthread_mutex_unlock(&p->lock);
    while (p->thread_count > 0) {
        (void)pthread_join(p->threads[--p->thread_count], NULL);
    }
    (void)pthread_cond_destroy(&p->wanted);
    (void)pthread_mutex_destroy(&p->lock);
}

void auth_pool_submit(struct auth_pool *p, struct mail_auth *m)
{
    (void)pthread_mutex_lock(&p->lock);
    *p->tail = m;
    p->tail = &m->next;
    (void)pthread_cond_signal(&p->wanted);
    (void)pthread_mutex_unlock(&p->lock);
}
