/*
 * Delayed messages: a PUBLISH, or a will, to $delayed/SECONDS/TOPIC goes to TOPIC that much later.
 *
 *      kept, in the heap ── due ──► routed ── everybody has it ──► gone
 *                                     └── a crash: routed again, but for those that have it (QoS 2)
 *
 * A message stays with the loop of the client that published it, so it comes into the store in one batch with what says so to that
 * client: it is acknowledged when it is safe. It goes out like any message that came at that moment, and its row leaves the store in the
 * batch that has it in the queues of this loop's sessions; where others get it, too, when they have answered. So nothing is lost
 * between; QoS 1 may come twice after a crash just then. Of QoS 2 the store knows who has it, as it does of one that a client repeats
 * (persist_in_id()).
 *
 * Time is in microseconds, of which each message has its own, so that those of one delay go out in the order in which they came. It is
 * monotonic while the broker runs and begins at the wall time of its start; the store has wall time.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "server/server_priv.h"

enum {
    PER_ROUND = 128,
    GOING_MAX = 512, /* that wait for answers */
    FULL_MS = 5      /* another worker's inbox is looked at again */
};
#define LOOK_AGAIN_MS UINT64_C(86400000) /* the timer wheel is for less than 99 days */
#define APART_US UINT64_C(10000)         /* so much the clocks may drift apart unnoticed */

static uint64_t clocks_apart_us(struct worker *w)
{
    return loop_wall_us(w->loop) - loop_now_ms(w->loop) * 1000;
}

static uint64_t base_us(struct worker *w)
{
    struct delays *d = &w->delays;
    if (d->base_us == 0) {
        d->base_us = d->apart_us = clocks_apart_us(w);
    }
    return d->base_us;
}

/* Monotonic. */
static uint64_t first_ms(struct worker *w)
{
    const struct deadline *first = deadlines_first(&w->delays.heap);
    uint64_t base = base_us(w);
    return first == NULL       ? DEADLINE_NEVER
           : first->due < base ? 0
                               : (first->due - base + 999) / 1000;
}

static void arm(struct worker *w, uint64_t earliest)
{
    struct delays *d = &w->delays;
    uint64_t due = first_ms(w), latest = loop_now_ms(w->loop) + LOOK_AGAIN_MS;
    if (due == DEADLINE_NEVER || d->going_count == GOING_MAX || w->stopping) {
        timer_cancel(&d->timer);
        return;
    }
    due = due < earliest ? earliest : due < latest ? due : latest;
    if (!timer_armed(&d->timer) || d->timer.due_ms != due) {
        loop_timer_set(w->loop, &d->timer, due);
    }
}

/* ---- in ---- */

bool delays_topic(struct worker *w, struct slice *topic, uint64_t *delay_ms)
{
    *delay_ms = 0;
    if (!delayed_is(*topic) || w->server->config->max_delayed_messages == 0) {
        return true;
    }
    return delayed_parse(*topic, loop_wall_us(w->loop) / 1000, delay_ms, topic);
}

/* What waits in all. */
static void sum(const struct server *s, uint64_t *messages, uint64_t *bytes)
{
    *messages = *bytes = 0;
    for (unsigned i = 0; i < s->worker_count; i++) {
        const struct counters *c = &s->workers[i]->count;
        *messages += atomic_load_explicit(&c->delayed, memory_order_relaxed);
        *bytes += atomic_load_explicit(&c->delayed_bytes, memory_order_relaxed);
    }
}

bool delays_takes(const struct worker *w, const struct mqtt_publish *p)
{
    const struct config *c = w->server->config;
    uint64_t messages, bytes;
    sum(w->server, &messages, &bytes);
    return messages < c->max_delayed_messages &&
           bytes + sizeof(struct delayed) + p->topic.n + p->payload.n <= c->max_delayed_bytes;
}

void delays_evidence(const struct worker *w, struct evidence *e)
{
    const struct config *c = w->server->config;
    uint64_t messages, bytes;
    sum(w->server, &messages, &bytes);
    bool full = messages >= c->max_delayed_messages;
    evidence_u64(e, EV_LIMIT, full ? c->max_delayed_messages : c->max_delayed_bytes);
    evidence_u64(e, EV_ACTUAL, full ? messages : bytes);
    evidence_str(e, EV_TEXT, full ? "max_delayed_messages" : "max_delayed_bytes");
}

static uint64_t stamp_us(struct worker *w)
{
    struct delays *d = &w->delays;
    uint64_t now = loop_now_ms(w->loop) * 1000 + base_us(w);
    d->last_us = now > d->last_us ? now : d->last_us + 1;
    return d->last_us;
}

/* Wall time of a time of ours. The clocks are looked at in large steps: what is rounded in them would mix up messages that are less
 * apart. */
static uint64_t wall_us(struct worker *w, uint64_t us)
{
    uint64_t *apart = &w->delays.apart_us, now = clocks_apart_us(w);
    if (now > *apart + APART_US || now + APART_US < *apart) {
        *apart = now;
    }
    return us - base_us(w) + *apart;
}

static void wait_for_it(struct worker *w, struct delayed *d)
{
    count_add(&w->count.delayed, 1);
    count_add(&w->count.delayed_bytes, delayed_bytes(d));
    deadlines_set(&w->delays.heap, &d->place, d->due_us);
}

void delays_keep(struct worker *w, uint32_t instance, struct slice client_id,
                 const struct mqtt_publish *p, uint64_t delay_ms)
{
    struct delayed *d = delayed_new(instance, client_id, p);
    d->due_us = stamp_us(w) + delay_ms * 1000;
    d->store_id = atomic_fetch_add(&w->server->store_id, 1) + 1;
    if ((p->props.present >> MQTT_PROP_MESSAGE_EXPIRY & 1) != 0) {
        uint64_t ms = (uint64_t)p->props.message_expiry * 1000;
        d->expires_ms = loop_now_ms(w->loop) + (ms > 0 ? ms : 1);
    }
    count_add(&w->count.delayed_total, 1);
    wait_for_it(w, d);
    persist_delayed(w, d, wall_us(w, d->due_us));
    arm(w, 0);
}

void delays_restored(struct worker *w, struct delayed *d)
{
    wait_for_it(w, d);
}

/* ---- out ---- */

static void gone(struct worker *w, struct delayed *d)
{
    persist_delayed_gone(w, d->store_id);
    if (d->qos == 2) {
        persist_in_gone(w, d->store_id, &d->in);
    }
    count_sub(&w->count.delayed, 1);
    count_sub(&w->count.delayed_bytes, delayed_bytes(d));
    delayed_free(d);
}

static void going(struct worker *w, struct delayed *d, uint32_t waits)
{
    d->waits = waits;
    list_push(&w->delays.going, &d->going);
    w->delays.going_count++;
    if (d->qos == 2) { /* with the queues of this loop */
        persist_in_id(w, d->store_id, 0);
    }
}

static uint32_t next_number(struct delays *d)
{
    d->number = d->number == UINT32_MAX ? 1 : d->number + 1;
    return d->number;
}

static void go(struct worker *w, struct delayed *d)
{
    struct mqtt_publish p;
    struct slice id = delayed_client_id(d);
    struct route_result r = {
        .have = d->in.loops,
        .in = d->qos == 2 ? &d->in : NULL,
        .in_of = d->store_id,
        .from = session_map_find(&w->sessions, client_hash(d->instance, id), d->instance, id)};
    deadlines_set(&w->delays.heap, &d->place, DEADLINE_NEVER);
    if (!delayed_publish(d, loop_now_ms(w->loop), &p)) {
        count_add(&w->count.dropped[DROP_EXPIRED], 1);
        gone(w, d);
        return;
    }
    d->number = d->qos > 0 ? next_number(&w->delays) : 0;
    route_publish(w, NULL, d->instance, &p, hash64(p.topic), d->number, &r);
    d->in.loops |= r.loops;
    if (r.waits > 0) {
        going(w, d, r.waits);
    } else {
        gone(w, d);
    }
}

void delays_answered(struct worker *w, uint32_t number)
{
    struct delays *all = &w->delays;
    for (struct list *l = all->going.next; l != &all->going; l = l->next) {
        struct delayed *d = LIST_ENTRY(l, struct delayed, going);
        if (d->number != number) {
            continue; /* answers come almost in order */
        }
        if (--d->waits == 0) {
            list_del(&d->going);
            all->going_count--;
            gone(w, d);
            arm(w, 0);
        }
        return;
    }
    assert(false);
}

static void on_timer(struct timer *t)
{
    struct worker *w = LIST_ENTRY(t, struct worker, delays.timer);
    struct delays *all = &w->delays;
    uint64_t now = loop_now_ms(w->loop);
    for (unsigned i = 0; i < PER_ROUND && w->work < ROUND_WORK; i++) {
        if (first_ms(w) > now || all->going_count == GOING_MAX || w->stopping) {
            break;
        }
        if (route_full(w)) {
            arm(w, now + FULL_MS);
            return;
        }
        go(w, LIST_ENTRY(deadlines_first(&all->heap)->place, struct delayed, place));
    }
    arm(w, 0); /* who is left of a crowd has its turn in the next round */
}

/* ---- with the worker ---- */

void delays_init(struct worker *w)
{
    list_init(&w->delays.going);
    timer_init(&w->delays.timer, on_timer);
}

void delays_start(struct worker *w)
{
    arm(w, 0);
}

void delays_fini(struct worker *w)
{
    struct delays *all = &w->delays;
    struct list *l;
    for (uint32_t i = 0; i < all->heap.count; i++) {
        delayed_free(LIST_ENTRY(all->heap.heap[i].place, struct delayed, place));
    }
    while ((l = list_shift(&all->going)) != NULL) {
        delayed_free(LIST_ENTRY(l, struct delayed, going));
    }
    deadlines_fini(&all->heap);
    timer_cancel(&all->timer);
}
