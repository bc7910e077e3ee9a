/*
 * What happens to a session while its client is away: its will goes out when the delay is over, and it ends when its expiry
 * interval is. The earlier of the two stands in the worker's heap of deadlines, and one timer waits for the first of them:
 * sessions that wait for nothing cost no time, and an idle worker sleeps.
 *
 *   connection ends ── will delay ──► will goes out ── … ──► session ends (a will that still waits goes out then)
 *                  └── client returns: both clocks stop, the will is dropped [MQTT-3.1.3-9]
 *
 * While the broker runs the clocks are monotonic; what the store has is wall time, from which a restart goes on. Where the
 * store does not know when a connection ended, because the broker was killed, the clocks begin at the restart.
 */
#include <assert.h>

#include "server/server_priv.h"

enum { ENDS_PER_ROUND = 128 };
#define LOOK_AGAIN_MS UINT64_C(86400000) /* the timer wheel is for less than 99 days */

static void arm(struct worker *w)
{
    const struct deadline *first = deadlines_first(&w->deadlines);
    if (first == NULL) {
        timer_cancel(&w->session_timer);
        return;
    }
    uint64_t latest = loop_now_ms(w->loop) + LOOK_AGAIN_MS;
    uint64_t due = first->due < latest ? first->due : latest;
    if (!timer_armed(&w->session_timer) || w->session_timer.due_ms != due) {
        loop_timer_set(w->loop, &w->session_timer, due);
    }
}

static uint64_t after(uint64_t now_ms, uint32_t seconds)
{
    return seconds == SESSION_NEVER ? DEADLINE_NEVER : now_ms + (uint64_t)seconds * 1000;
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

bool expiry_will_waits(const struct session *s)
{
    return s->will != NULL && s->will->delay_s != 0 && s->expiry_s != 0;
}

void expiry_offline(struct worker *w, struct session *s)
{
    uint64_t now = loop_now_ms(w->loop);
    uint64_t due = after(now, s->expiry_s);
    assert(s->conn == NULL && s->expiry_s != 0);
    if (s->will != NULL) {
        s->will->ends_ms = due;
        s->will->due_ms = now + (uint64_t)s->will->delay_s * 1000;
        persist_will(w, s);
        due = earlier(due, s->will->due_ms);
    }
    if (due != DEADLINE_NEVER) {
        deadlines_set(&w->deadlines, &s->deadline, due);
        arm(w);
    }
}

void expiry_online(struct worker *w, struct session *s)
{
    if (s->deadline != 0) {
        deadlines_set(&w->deadlines, &s->deadline, DEADLINE_NEVER);
        arm(w);
    }
    if (s->will != NULL) {
        session_will_end(w, s, false);
    }
}

/* The first deadline is over. */
static void due(struct worker *w, struct session *s, uint64_t now)
{
    uint64_t ends = now; /* without a will the deadline was the session's */
    if (s->will != NULL) {
        ends = s->will->ends_ms;
        session_will_end(w, s, true);
    }
    if (ends > now) {
        deadlines_set(&w->deadlines, &s->deadline, ends);
    } else {
        count_add(&w->count.expired, 1);
        session_discard(w, s);
    }
}

static void on_timer(struct timer *t)
{
    struct worker *w = LIST_ENTRY(t, struct worker, session_timer);
    uint64_t now = loop_now_ms(w->loop);
    for (unsigned i = 0; i < ENDS_PER_ROUND; i++) {
        const struct deadline *first = deadlines_first(&w->deadlines);
        if (first == NULL || first->due > now) {
            break;
        }
        due(w, LIST_ENTRY(first->place, struct session, deadline), now);
    }
    arm(w); /* who is left of a crowd has its turn in the next round */
}

void expiry_init(struct worker *w)
{
    timer_init(&w->session_timer, on_timer);
}

void expiry_start(struct worker *w)
{
    arm(w);
}

/* ---- restoring: before the loops run ---- */

/* What is left at a restart of `seconds` that began at `since` (wall ms; 0: they begin now). */
static uint64_t left_ms(struct worker *w, uint32_t seconds, uint64_t since)
{
    uint64_t now = loop_wall_us(w->loop) / 1000, all = (uint64_t)seconds * 1000;
    uint64_t gone = since == 0 || since > now ? 0 : now - since;
    return gone < all ? all - gone : 0;
}

void expiry_restore(struct worker *w, struct session *s, uint64_t ended_ms)
{
    if (s->expiry_s != SESSION_NEVER) {
        uint64_t left = left_ms(w, s->expiry_s, ended_ms);
        deadlines_set(&w->deadlines, &s->deadline, loop_now_ms(w->loop) + left);
    }
}

void expiry_restore_will(struct worker *w, struct session *s, struct will *will, uint64_t due_ms)
{
    uint64_t wall = loop_wall_us(w->loop) / 1000;
    uint64_t left = due_ms == 0     ? (uint64_t)will->delay_s * 1000
                    : due_ms > wall ? due_ms - wall
                                    : 0;
    uint64_t most = (uint64_t)will->delay_s * 1000; /* the clock may have been set back */
    will->due_ms = loop_now_ms(w->loop) + earlier(left, most);
    will->ends_ms = deadlines_of(&w->deadlines, &s->deadline);
    s->will = will;
    deadlines_set(&w->deadlines, &s->deadline, earlier(will->due_ms, will->ends_ms));
    if (due_ms == 0) {
        persist_will(w, s); /* or each restart would begin the delay anew */
    }
}
