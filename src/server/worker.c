/*
 * A worker: one loop thread with its connections and sessions.
 *
 * End of a round, in this order: mail with publishes; connections with more to read; connections that move; retained messages to new
 * subscriptions; mail to others; output; the batch
 * for the store; the dead are freed. Nothing frees a connection at another point, so a pointer to one is good for the round.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/failpoint.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { FIRST_OUT_BYTES = 2048, SPARE_CAP_MAX = 64 * 1024, ROOM_MS = 5 };

static void on_wake(void *arg);
static bool on_round(void *arg);
static void on_sleep(void *arg);
static void on_awake(void *arg);
static void on_room(struct timer *t);

int worker_new(struct worker **out, struct server *s, unsigned index)
{
    struct worker *w = mem_new(1, sizeof *w);
    struct list *lists[] = {&w->conns,  &w->dirty, &w->ready,      &w->paused, &w->held,
                            &w->moving, &w->ended, &w->unrecorded, &w->feeding};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        list_init(lists[i]);
    }
    w->server = s;
    worker_configure(w);
    w->index = index;
    mailbox_init(&w->inbox);
    mailbox_init(&w->control);
    session_map_init(&w->sessions);
    persist_init(w);
    expiry_init(w);
    delays_init(w);
    timer_init(&w->room_timer, on_room);
    w->publishes = mem_new(s->worker_count, sizeof(struct mail_bytes *));
    w->acks = mem_new(s->worker_count, sizeof(struct mail_bytes *));
    struct loop_hooks hooks = {.arg = w,
                               .on_wake = on_wake,
                               .on_round = on_round,
                               .on_sleep = on_sleep,
                               .on_awake = on_awake};
    int err = loop_new(&w->loop, &hooks);
    if (err != 0) {
        worker_free(w);
        return err;
    }
    *out = w;
    return 0;
}

void worker_configure(struct worker *w)
{
    const struct config *c = w->server->config;
    w->limits = (struct session_limits){.inflight_max = (uint32_t)c->max_inflight,
                                        .queue_max = (uint32_t)c->max_queued_messages,
                                        .queue_bytes_max = c->max_queued_bytes};
    w->publish_rate = c->max_publish_rate;
    w->publish_bytes_rate = c->max_publish_bytes_rate;
    w->ping_ms = c->ws_ping_ms;
    w->slow_consumer_ms = c->slow_consumer_timeout_ms;
}

static void drop_mail(struct mail *m)
{
    while (m != NULL) {
        struct mail *next = m->next;
        if (m->kind == MAIL_PUBLISHES || m->kind == MAIL_ACKS) {
            buf_fini(&LIST_ENTRY(m, struct mail_bytes, mail)->bytes);
            free(m);
        }
        m = next;
    }
}

void worker_free(struct worker *w)
{
    if (w == NULL) {
        return;
    }
    drop_mail(w->late);
    drop_mail(mailbox_take(&w->inbox));
    drop_mail(mailbox_take(&w->control));
    session_map_fini(&w->sessions, w->server->topics, w->index);
    deadlines_fini(&w->deadlines);
    delays_fini(w);
    persist_fini(w);
    while (w->orphan_wills != NULL) {
        struct orphan_will *o = w->orphan_wills;
        w->orphan_wills = o->next;
        will_free(o->will);
        free(o);
    }
    for (uint32_t i = 0; i < w->spare_count; i++) {
        free(w->spare[i].p);
    }
    free(w->spare);
    struct buf *bufs[] = {&w->scratch, &w->scratch5, &w->extra, &w->extra5, &w->subids};
    for (size_t i = 0; i < sizeof bufs / sizeof *bufs; i++) {
        buf_fini(bufs[i]);
    }
    sys_free(w->sys);
    free(w->publishes);
    free(w->acks);
    loop_free(w->loop);
    free(w);
}

void worker_begin(struct worker *w)
{
    persist_orphan_wills(w);
    expiry_start(w);
    delays_start(w);
    sys_start(w);
    memory_start(w);
    listeners_watch(w);
    loop_wake(w->loop); /* a round, for the mail and the batch of those wills */
}

static void *run(void *arg)
{
    struct worker *w = arg;
    qsbr_online(&w->server->qsbr, w->index);
    worker_begin(w);
    loop_run(w->loop);
    qsbr_offline(&w->server->qsbr, w->index);
    return NULL;
}

void worker_start(struct worker *w)
{
    char name[16];
    int err = pthread_create(&w->thread, NULL, run, w);
    assert(err == 0);
    (void)snprintf(name, sizeof name, "loop-%u", w->index);
    (void)pthread_setname_np(w->thread, name);
}

void worker_post(struct worker *w, struct mail *m)
{
    mailbox_push(&w->control, m);
    loop_wake(w->loop);
}

/* ---- output memory ---- */

void worker_buf_take(struct worker *w, struct buf *b)
{
    assert(b->p == NULL);
    if (w->spare_count > 0) {
        struct spare_buf s = w->spare[--w->spare_count];
        w->spare_bytes -= s.cap;
        *b = (struct buf){.p = s.p, .cap = s.cap};
    } else {
        *b = (struct buf){.p = mem_alloc(FIRST_OUT_BYTES), .cap = FIRST_OUT_BYTES};
    }
}

void worker_buf_give(struct worker *w, struct buf *b)
{
    if (b->p == NULL) {
        return;
    }
    if (b->cap > SPARE_CAP_MAX || w->spare_bytes + b->cap > SPARE_BYTES_MAX) {
        buf_fini(b);
        return;
    }
    if (w->spare_count == w->spare_cap) {
        w->spare_cap = w->spare_cap == 0 ? 64 : w->spare_cap * 2;
        w->spare = mem_realloc(w->spare, w->spare_cap * sizeof *w->spare);
    }
    w->spare[w->spare_count++] = (struct spare_buf){.p = b->p, .cap = b->cap};
    w->spare_bytes += b->cap;
    *b = (struct buf){0};
}

/* ---- mail ---- */

static void on_auth(struct mail *mail)
{
    struct mail_auth *m = LIST_ENTRY(mail, struct mail_auth, mail);
    struct conn *c = m->conn;
    conn_unhold(c);
    if (c->state == CONN_AUTH) {
        connect_authenticated(c, &m->result);
        conn_read(c);
    } else if (m->result.ok) {
        auth_identity_unref(m->result.identity); /* it left while we checked */
    }
    free(m);
}

static void on_kick(struct worker *w, struct mail *mail)
{
    struct mail_kick *m = LIST_ENTRY(mail, struct mail_kick, mail);
    struct session *s =
        session_map_find(&w->sessions, client_hash(0, m->client_id), 0, m->client_id);
    m->result = -ENOENT;
    if (s != NULL && s->conn != NULL) {
        struct evidence e;
        evidence_init(&e);
        evidence_str(&e, EV_BY, m->by);
        conn_end(s->conn, CAUSE_ADMIN_KICK, &e);
        m->result = 0;
    }
    (void)sem_post(&m->done);
    mail_kick_unref(m);
}

static void on_settings(struct worker *w, struct mail *mail)
{
    struct list *l, *next;
    free(mail);
    for (l = w->conns.next; l != &w->conns; l = next) {
        struct conn *c = LIST_ENTRY(l, struct conn, all);
        next = l->next;
        if (c->state == CONN_OPEN && auth_identity_refresh(w->server->auth, &c->identity) != 0) {
            conn_end(c, CAUSE_AUTH_REVOKED, NULL);
        } else if (c->state == CONN_OPEN) {
            filtered_changed(w, c->session);
        }
    }
}

/* The timers of open connections were set by these values. */
static void rearm(struct worker *w)
{
    struct list *l;
    for (l = w->conns.next; l != &w->conns; l = l->next) {
        struct conn *conn = LIST_ENTRY(l, struct conn, all);
        if (conn->state == CONN_OPEN) {
            conn_arm(conn);
        }
    }
}

static void on_config(struct worker *w, struct mail *mail)
{
    struct mail_config *m = LIST_ENTRY(mail, struct mail_config, mail);
    const struct config *c = w->server->config;
    bool times = w->ping_ms != c->ws_ping_ms || w->slow_consumer_ms != c->slow_consumer_timeout_ms;
    worker_configure(w);
    if (times) {
        rearm(w);
    }
    sys_configure(w);
    memory_configure(w);
    (void)sem_post(&m->wait->taken);
    config_wait_unref(m->wait);
    free(m);
}

static void on_shutdown(struct worker *w, struct mail *mail)
{
    struct list *l, *next;
    free(mail);
    acceptors_stop(w);
    w->stopping = true;
    for (l = w->conns.next; l != &w->conns; l = next) {
        struct conn *c = LIST_ENTRY(l, struct conn, all);
        next = l->next;
        if ((c->flags & CONN_LINGERS) != 0) {
            conn_linger_end(c);
        } else {
            conn_end(c, CAUSE_SERVER_SHUTDOWN, NULL);
        }
    }
}

static void on_moved(struct worker *w, struct mail *mail)
{
    struct conn *c = LIST_ENTRY(mail, struct mail_conn, mail)->conn;
    free(mail);
    connect_arrived(w, c);
    if (w->stopping) {
        conn_end(c, CAUSE_SERVER_SHUTDOWN, NULL);
    }
}

static void take_mail(struct worker *w, struct mail *m)
{
    switch ((enum mail_kind)m->kind) {
    case MAIL_CONN:
        on_moved(w, m);
        break;
    case MAIL_OWN:
        own_arrived(w, m);
        break;
    case MAIL_PUBLISHES: /* in the other box */
        assert(false);
        break;
    case MAIL_ACKS:
        route_acks(w, LIST_ENTRY(m, struct mail_bytes, mail));
        break;
    case MAIL_AUTH:
        on_auth(m);
        break;
    case MAIL_BATCH:
        persist_done(w, m);
        break;
    case MAIL_KICK:
        on_kick(w, m);
        break;
    case MAIL_SETTINGS:
        on_settings(w, m);
        break;
    case MAIL_CONFIG:
        on_config(w, m);
        break;
    case MAIL_SYS:
        free(m);
        sys_wake(w);
        break;
    case MAIL_PULSE:
        free(m);
        atomic_store(&w->pulse_asked, false);
        break;
    case MAIL_SHUTDOWN:
        on_shutdown(w, m);
        break;
    case MAIL_LEAVE:
        free(m);
        w->leaving = true;
        break;
    }
}

static void on_wake(void *arg)
{
    struct worker *w = arg;
    struct mail *m = mailbox_take(&w->control);
    while (m != NULL) {
        struct mail *next = m->next;
        take_mail(w, m);
        m = next;
    }
}

/*
 * ---- rounds ----
 *
 * A message may have a hundred thousand subscribers. So that a few of them do not hold up everything else, each part of a round
 * that brings messages counts what it does (w->work) and leaves the rest to the next round when it has done ROUND_WORK; who
 * did not have its turn is first there.
 */

static void publishes(struct worker *w)
{
    w->work = 0;
    if (w->late == NULL) {
        w->late = mailbox_take(&w->inbox);
    }
    while (w->late != NULL) {
        struct mail *next = w->late->next;
        assert(w->late->kind == MAIL_PUBLISHES);
        if (!route_mail(w, LIST_ENTRY(w->late, struct mail_bytes, mail))) {
            break;
        }
        w->late = next;
    }
}

static void turns(struct worker *w)
{
    struct list now, *l;
    list_take(&w->ready, &now);
    w->work = 0;
    while (w->work < ROUND_WORK && (l = list_shift(&now)) != NULL) {
        conn_read(LIST_ENTRY(l, struct conn, queue));
    }
    list_put_first(&w->ready, &now);
}

/* One pass over what is on the list now; what is added meanwhile waits for the next round. */
static void each_queued(struct list *from, void (*fn)(struct conn *c))
{
    struct list now, *l;
    list_take(from, &now);
    while ((l = list_shift(&now)) != NULL) {
        fn(LIST_ENTRY(l, struct conn, queue));
    }
}

static void flush_dirty(struct worker *w)
{
    struct list now, *l;
    list_take(&w->dirty, &now);
    while ((l = list_shift(&now)) != NULL) {
        struct conn *c = LIST_ENTRY(l, struct conn, dirty);
        conn_flush(c);
        const struct session *s = c->session;
        if (c->out.p == NULL && s != NULL && (s->out != NULL || s->shared || s->feeds != NULL)) {
            session_pump(c); /* what had no room before */
        }
    }
}

static void free_ended(struct worker *w)
{
    struct list *l, *next;
    for (l = w->ended.next; l != &w->ended; l = next) {
        struct conn *c = LIST_ENTRY(l, struct conn, queue);
        next = l->next;
        if (c->holds == 0) {
            conn_free(c);
        }
    }
}

/* Waiting for room, in the ring or in another worker's inbox, is looked at again soon. */
static void on_room(struct timer *t)
{
    struct worker *w = LIST_ENTRY(t, struct worker, room_timer);
    if (!route_full(w)) {
        each_queued(&w->paused, conn_resume);
    }
    if (endings_retry(w)) {
        each_queued(&w->held, connect_held);
    }
}

static void room_wanted(struct worker *w)
{
    bool waits = !list_empty(&w->paused) || !list_empty(&w->unrecorded) || !list_empty(&w->held);
    if (waits && !timer_armed(&w->room_timer)) {
        loop_timer_set(w->loop, &w->room_timer, loop_now_ms(w->loop) + ROOM_MS);
    }
}

/* Stopping takes two steps: everyone is done with its own, then everyone has what the others sent meanwhile. */
static void worker_idle(struct worker *w)
{
    if (!w->quiet) {
        w->quiet = true;
        (void)sem_post(&w->server->quiet);
    }
    if (w->leaving) {
        loop_stop(w->loop);
    }
}

static void stall_failpoint(void)
{
    int64_t ms = failpoint_value("loop.stall_ms");
    if (ms > 0) {
        const struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
        (void)nanosleep(&ts, NULL);
    }
}

static bool on_round(void *arg)
{
    struct worker *w = arg;
    stall_failpoint();
    publishes(w);
    turns(w);
    connect_move_all(w);
    feed_turns(w);
    route_flush(w);
    flush_dirty(w);
    persist_flush(w);
    route_flush(w);
    free_ended(w);
    room_wanted(w);
    if (w->stopping && list_empty(&w->conns) && w->late == NULL && delays_idle(w) &&
        persist_idle(w)) {
        worker_idle(w);
    }
    qsbr_quiescent(&w->server->qsbr, w->index);
    w->work = 0;
    return w->late != NULL || !list_empty(&w->ready) || !list_empty(&w->dirty) ||
           !list_empty(&w->moving) || !list_empty(&w->feeding);
}

static void on_sleep(void *arg)
{
    struct worker *w = arg;
    qsbr_offline(&w->server->qsbr, w->index);
}

static void on_awake(void *arg)
{
    struct worker *w = arg;
    qsbr_online(&w->server->qsbr, w->index);
}
