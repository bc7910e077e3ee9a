/*
 * A hierarchical timer wheel: five levels of 64 slots, a tick of 8 ms. Arming and disarming are O(1); a timer never
 * fires early, and at most a tick late when the loop is on time. Owned by one loop thread.
 */
#ifndef TMQ_NET_TIMER_H
#define TMQ_NET_TIMER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

enum { TIMER_TICK_MS = 8, TIMER_LEVELS = 5, TIMER_SLOTS = 64 };

/* A member of whatever waits; zeroed or timer_init()ed before use. */
struct timer {
    struct list link;
    uint64_t due_ms; /* monotonic */
    void (*fn)(struct timer *t);
};

struct timer_wheel {
    uint64_t tick; /* ticks that have been run */
    uint64_t occupied[TIMER_LEVELS];
    struct list slots[TIMER_LEVELS][TIMER_SLOTS];
};

void timer_init(struct timer *t, void (*fn)(struct timer *t));
static inline bool timer_armed(const struct timer *t)
{
    return !list_empty(&t->link);
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms);
/* Arms or re-arms `t` for `due_ms`. */
void timer_set(struct timer_wheel *w, struct timer *t, uint64_t due_ms);
void timer_cancel(struct timer *t);
/* Calls fn of every timer that is due (already disarmed, so that it may re-arm itself). */
void timer_run(struct timer_wheel *w, uint64_t now_ms);
/* Milliseconds until something may be due: 0 = now, -1 = never. May be early by a cascade, never late. */
int timer_wait_ms(const struct timer_wheel *w, uint64_t now_ms);

#endif
