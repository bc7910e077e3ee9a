/*
 * How fast a client may publish: two token buckets of its connection, of packets and of bytes. Who empties one is either not
 * read until there is something in it again, so that TCP slows it down, or is closed with its next packet.
 */
#include "server/server_priv.h"

uint64_t rate_ready_ms(const struct conn *c)
{
    const struct worker *w = c->w;
    uint64_t ready = 0;
    if (c->pub != NULL && w->publish_rate > 0) {
        ready = bucket_ready_ms(&c->pub->messages, w->publish_rate);
    }
    if (c->pub != NULL && w->publish_bytes_rate > 0) {
        uint64_t bytes = bucket_ready_ms(&c->pub->bytes, w->publish_bytes_rate);
        ready = bytes > ready ? bytes : ready;
    }
    return ready;
}

void rate_throttle(struct conn *c)
{
    c->flags |= CONN_PAUSED | CONN_THROTTLED;
    list_del(&c->queue);
    conn_arm(c);
}

static void end_too_fast(struct conn *c, const struct bucket *b, uint64_t limit, const char *what)
{
    struct evidence e;
    evidence_init(&e);
    evidence_u64(&e, EV_LIMIT, limit);
    evidence_u64(&e, EV_ACTUAL, b->taken);
    evidence_u64(&e, EV_WINDOW_MS, loop_now_ms(c->w->loop) - b->since_ms);
    evidence_str(&e, EV_TEXT, what);
    conn_end(c, CAUSE_LIMIT_PUBLISH_RATE, &e);
}

/* True: it was empty before. */
static bool overdrawn(const struct conn *c, struct bucket *b, uint64_t n, uint64_t rate)
{
    uint64_t now = loop_now_ms(c->w->loop);
    bool empty = rate > 0 && bucket_empty(b, now, rate);
    if (rate > 0) {
        bucket_take(b, now, n, rate);
    }
    return empty;
}

bool rate_publish(struct conn *c, size_t bytes)
{
    struct worker *w = c->w;
    struct publisher *p = c->pub;
    bool messages_over = overdrawn(c, &p->messages, 1, w->publish_rate);
    bool bytes_over = overdrawn(c, &p->bytes, bytes, w->publish_bytes_rate);
    if (w->server->config->on_publish_rate == ON_RATE_WAIT) {
        if (rate_ready_ms(c) > loop_now_ms(w->loop)) {
            rate_throttle(c);
        }
        return true;
    }
    if (messages_over) {
        end_too_fast(c, &p->messages, w->publish_rate, "messages a second");
    } else if (bytes_over) {
        end_too_fast(c, &p->bytes, w->publish_bytes_rate, "bytes of messages a second");
    }
    return c->state == CONN_OPEN;
}
