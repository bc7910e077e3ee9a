/*
 * What time does to a connection: its CONNECT is late, its client is silent, it may publish again, its peer takes nothing of
 * what waits for it, a WebSocket ping is due. One timer, which is not moved by what is read or written: when it fires it looks, and is set to what is
 * due next.
 *
 * A slow consumer is one whose TCP takes not one byte of waiting output. That the kernel would take no more (a write blocked)
 * only begins the watch: a peer that reads slowly is let be, and one that sends PINGREQ but reads nothing is not.
 */
#include "server/server_priv.h"

enum {
    WATCHES = 4,
    WATCH_ANYWAY_MS = 15000
}; /* looks within slow_consumer_timeout, or how often without one */

/* ---- silence ---- */

static void end_no_heart(struct conn *c, uint64_t limit_ms, uint64_t now)
{
    struct evidence e;
    struct stream_info i;
    evidence_init(&e);
    evidence_u64(&e, EV_KEEPALIVE_ASKED, c->keepalive_asked);
    evidence_u64(&e, EV_KEEPALIVE_GRANTED, c->keepalive);
    evidence_u64(&e, EV_DEADLINE_MS, limit_ms);
    evidence_u64(&e, EV_SILENT_MS, now - c->last_in_ms);
    evidence_str(&e, EV_LAST_IN_TYPE, mqtt_type_text((enum mqtt_type)c->last_in_type));
    evidence_u64(&e, EV_LAST_IN_AGO_MS, now - c->last_in_ms);
    evidence_u64(&e, EV_LAST_OUT_AGO_MS, now - c->last_out_ms);
    stream_info(&c->stream, &i);
    evidence_u64(&e, EV_UNACKED_BYTES, i.unacked_bytes);
    uint64_t lag = now > c->timer.due_ms ? now - c->timer.due_ms : 0;
    evidence_u64(&e, EV_LOOP_LAG_MS, lag);
    if (c->suppressed_ms > 0) {
        evidence_u64(&e, EV_SUPPRESSED, c->suppressed_ms);
    }
    conn_end(c, CAUSE_KEEPALIVE_EXPIRED, &e);
}

/* The silence that is allowed, lengthened by what we did not listen. [MQTT-3.1.2-24] */
static uint64_t keepalive_deadline(const struct conn *c, uint64_t *limit_ms)
{
    *limit_ms = (uint64_t)c->keepalive * 1500;
    uint64_t stall_end = loop_stall_end_ms(c->w->loop);
    uint64_t extra = 0;
    if (stall_end > c->last_in_ms) {
        /* a stall that ended t ms after the last byte hid at most t ms of it */
        uint64_t after = stall_end - c->last_in_ms;
        uint64_t stall = loop_stall_ms(c->w->loop);
        extra = stall < after ? stall : after;
    }
    return c->last_in_ms + *limit_ms + extra;
}

static bool is_silent(const struct conn *c, uint64_t *limit_ms, uint64_t now)
{
    return c->keepalive != 0 && (c->flags & (CONN_PAUSED | CONN_BEHIND)) == 0 &&
           now >= keepalive_deadline(c, limit_ms);
}

static void keepalive_check(struct conn *c, uint64_t now)
{
    uint64_t limit_ms;
    if (!is_silent(c, &limit_ms, now)) {
        return;
    }
    c->flags |= CONN_READABLE;
    conn_read(c); /* before it is said of anyone: is there really nothing? */
    if (c->state == CONN_OPEN && is_silent(c, &limit_ms, now)) {
        end_no_heart(c, limit_ms, now);
    }
}

/* ---- slow consumers ---- */

static uint64_t watch_step_ms(const struct conn *c)
{
    uint64_t timeout = c->w->server->config->slow_consumer_timeout_ms;
    return timeout == 0 ? WATCH_ANYWAY_MS : timeout / WATCHES + 1;
}

static void note_taken(struct conn *c, uint64_t taken)
{
    c->taken = taken;
    c->taken_ms = loop_now_ms(c->w->loop);
}

void conn_watch(struct conn *c)
{
    if ((c->kind & CONN_OWN) != 0) {
        return; /* it is as slow as another broker, whom it watches itself */
    }
    c->flags |= CONN_WATCHED;
    note_taken(c, stream_taken(&c->stream, c->bytes_out));
    conn_arm(c);
}

static void watch_check(struct conn *c, uint64_t now)
{
    uint64_t timeout = c->w->server->config->slow_consumer_timeout_ms;
    if ((c->flags & CONN_WRITE_BLOCKED) == 0 || conn_output_bytes(c) == 0) {
        c->flags &= (uint16_t)~CONN_WATCHED; /* the next write that blocks begins anew */
        return;
    }
    uint64_t taken = stream_taken(&c->stream, c->bytes_out);
    if (taken != c->taken) {
        note_taken(c, taken);
    } else if (timeout > 0 && now - c->taken_ms >= timeout) {
        struct evidence e;
        evidence_init(&e);
        evidence_u64(&e, EV_LIMIT, timeout);
        evidence_u64(&e, EV_STALLED_MS, now - c->taken_ms);
        evidence_u64(&e, EV_UNSENT_BYTES, conn_output_bytes(c));
        evidence_u64(&e, EV_KERNEL_BYTES, c->bytes_out - taken);
        evidence_u64(&e, EV_LAST_IN_AGO_MS, now - c->last_in_ms);
        evidence_u64(&e, EV_LAST_OUT_AGO_MS, now - c->last_out_ms);
        conn_end(c, CAUSE_LIMIT_SLOW_CONSUMER, &e);
    }
}

/* ---- WebSocket pings ---- */

static uint64_t quiet_since_ms(const struct conn *c)
{
    return c->last_in_ms > c->last_out_ms ? c->last_in_ms : c->last_out_ms;
}

static uint64_t ping_interval_ms(const struct conn *c)
{
    return c->stream.ops->ping == NULL ? 0 : c->w->server->config->ws_ping_ms;
}

/* Whole intervals after something of MQTT went to or fro. */
static uint64_t ping_due_ms(const struct conn *c, uint64_t now)
{
    uint64_t interval = ping_interval_ms(c), since = quiet_since_ms(c);
    return interval == 0 ? UINT64_MAX : since + ((now - since) / interval + 1) * interval;
}

static void ping_check(struct conn *c, uint64_t now)
{
    uint64_t interval = ping_interval_ms(c);
    if (interval > 0 && now - quiet_since_ms(c) >= interval) {
        c->stream.ops->ping(&c->stream);
        conn_flush(c);
    }
}

/* ---- the timer ---- */

static uint64_t watch_due_ms(const struct conn *c)
{
    uint64_t now = loop_now_ms(c->w->loop), step = watch_step_ms(c);
    uint64_t steps = (now - c->taken_ms) / step + 1;
    return c->taken_ms + steps * step;
}

void conn_arm(struct conn *c)
{
    uint64_t due = UINT64_MAX, now = loop_now_ms(c->w->loop), limit_ms, at;
    if (c->keepalive != 0) {
        due = keepalive_deadline(c, &limit_ms);
        due = due > now ? due : now + limit_ms / 4 + 1; /* reading is off */
    }
    if ((c->flags & CONN_THROTTLED) != 0 && (at = rate_ready_ms(c)) < due) {
        due = at;
    }
    if ((c->flags & CONN_WATCHED) != 0 && (at = watch_due_ms(c)) < due) {
        due = at;
    }
    if ((at = ping_due_ms(c, now)) < due) {
        due = at;
    }
    if (due != UINT64_MAX) {
        loop_timer_set(c->w->loop, &c->timer, due);
    } else {
        timer_cancel(&c->timer);
    }
}

static void open_timer(struct conn *c)
{
    uint64_t now = loop_now_ms(c->w->loop);
    if ((c->flags & CONN_THROTTLED) != 0 && now >= rate_ready_ms(c)) {
        c->flags &= (uint16_t)~CONN_THROTTLED;
        conn_resume(c);
    }
    if (c->state == CONN_OPEN && (c->flags & CONN_WATCHED) != 0) {
        watch_check(c, now);
    }
    if (c->state == CONN_OPEN) {
        keepalive_check(c, now);
    }
    if (c->state == CONN_OPEN) {
        ping_check(c, now);
    }
    if (c->state == CONN_OPEN) {
        conn_arm(c);
    }
}

static void handshake_timer(struct conn *c)
{
    conn_read(c);
    if (c->state == CONN_HANDSHAKE) {
        struct evidence e;
        evidence_init(&e);
        evidence_u64(&e, EV_LIMIT, c->w->server->config->connect_timeout_ms);
        evidence_u64(&e, EV_BYTES_IN, c->bytes_in);
        const char *awaited = stream_awaits(&c->stream);
        if (awaited != NULL) {
            evidence_str(&e, EV_EXPECTED, awaited);
        }
        conn_end(c, CAUSE_HANDSHAKE_TIMEOUT, &e);
    }
}

void conn_on_timer(struct timer *t)
{
    struct conn *c = LIST_ENTRY(t, struct conn, timer);
    if (c->state == CONN_ENDED) {
        conn_linger_end(c);
    } else if (c->state == CONN_OPEN) {
        open_timer(c);
    } else if (c->state == CONN_EXCHANGE) {
        conn_read(c);
        if (c->state == CONN_EXCHANGE && !timer_armed(&c->timer)) {
            exchange_timeout(c);
        }
    } else if (c->state == CONN_HANDSHAKE) {
        handshake_timer(c);
    }
}
