/*
 * The timer wheel. Level l has slots of 64^l ticks; a timer stands on the lowest level whose span covers its
 * distance and moves down (cascade) when its slot's turn comes. A bit per slot says whether anything may
 * stand there: bits are set on arming and cleared when the slot is emptied, so a cancelled timer leaves a
 * stale bit that costs one early wake-up at most.
 */
#include "net/timer.h"

#include <assert.h>

void timer_init(struct timer *t, void (*fn)(struct timer *t))
{
    list_init(&t->link);
    t->due_ms = 0;
    t->fn = fn;
}

void timer_wheel_init(struct timer_wheel *w, uint64_t now_ms)
{
    w->tick = now_ms / TIMER_TICK_MS;
    for (unsigned l = 0; l < TIMER_LEVELS; l++) {
        w->occupied[l] = 0;
        for (unsigned s = 0; s < TIMER_SLOTS; s++) {
            list_init(&w->slots[l][s]);
        }
    }
}

/* Puts the timer where its due time (rounded up to a tick) finds it, in tick `earliest` if that has passed. */
static void place(struct timer_wheel *w, struct timer *t, uint64_t earliest)
{
    uint64_t due = (t->due_ms + TIMER_TICK_MS - 1) / TIMER_TICK_MS;
    due = due > earliest ? due : earliest;
    unsigned level = 0;
    while (level < TIMER_LEVELS - 1 &&
           (due >> (6 * level)) - (w->tick >> (6 * level)) >= TIMER_SLOTS) {
        level++;
    }
    unsigned slot = (unsigned)(due >> (6 * level)) & (TIMER_SLOTS - 1);
    list_push(&w->slots[level][slot], &t->link);
    w->occupied[level] |= UINT64_C(1) << slot;
}

void timer_set(struct timer_wheel *w, struct timer *t, uint64_t due_ms)
{
    assert(t->fn != NULL);
    list_del(&t->link);
    t->due_ms = due_ms;
    place(w, t, w->tick + 1); /* this tick has been run, or is being run */
}

void timer_cancel(struct timer *t)
{
    list_del(&t->link);
}

/* Unlinks all timers of one slot into `out`. */
static void take_slot(struct timer_wheel *w, unsigned level, uint64_t tick, struct list *out)
{
    unsigned slot = (unsigned)(tick >> (6 * level)) & (TIMER_SLOTS - 1);
    list_init(out);
    if ((w->occupied[level] & (UINT64_C(1) << slot)) == 0) {
        return;
    }
    w->occupied[level] &= ~(UINT64_C(1) << slot);
    struct list *l;
    while ((l = list_shift(&w->slots[level][slot])) != NULL) {
        list_push(out, l);
    }
}

static bool wheel_empty(const struct timer_wheel *w)
{
    uint64_t any = 0;
    for (unsigned l = 0; l < TIMER_LEVELS; l++) {
        any |= w->occupied[l];
    }
    return any == 0;
}

/*
 * w->tick has begun and is yet to be run: what waited on the higher levels for it moves down. Places are reckoned from
 * this tick, not the one before: from there the last of a slot's 64 ticks is 64 away and would go back into the
 * slot that it came from, for another turn.
 */
static void cascade(struct timer_wheel *w)
{
    for (unsigned level = TIMER_LEVELS - 1; level > 0; level--) {
        if ((w->tick & ((UINT64_C(1) << (6 * level)) - 1)) != 0) {
            continue;
        }
        struct list moved, *l;
        take_slot(w, level, w->tick, &moved);
        while ((l = list_shift(&moved)) != NULL) {
            place(w, LIST_ENTRY(l, struct timer, link), w->tick);
        }
    }
}

static void run_tick(struct timer_wheel *w)
{
    struct list due, *l;
    take_slot(w, 0, w->tick, &due);
    while ((l = list_shift(&due)) != NULL) {
        struct timer *t = LIST_ENTRY(l, struct timer, link);
        t->fn(t);
    }
}

void timer_run(struct timer_wheel *w, uint64_t now_ms)
{
    uint64_t target = now_ms / TIMER_TICK_MS;
    while (w->tick < target) {
        if (wheel_empty(w)) {
            w->tick = target;
            return;
        }
        w->tick++;
        cascade(w);
        run_tick(w);
    }
}

int timer_wait_ms(const struct timer_wheel *w, uint64_t now_ms)
{
    uint64_t best = UINT64_MAX;
    for (unsigned level = 0; level < TIMER_LEVELS; level++) {
        if (w->occupied[level] == 0) {
            continue;
        }
        uint64_t base = w->tick >> (6 * level);
        unsigned from = (unsigned)(base + 1) & (TIMER_SLOTS - 1);
        uint64_t turned =
            from == 0 ? w->occupied[level]
                      : (w->occupied[level] >> from) | (w->occupied[level] << (TIMER_SLOTS - from));
        uint64_t tick = (base + 1 + (uint64_t)__builtin_ctzll(turned)) << (6 * level);
        best = tick < best ? tick : best;
    }
    if (best == UINT64_MAX) {
        return -1;
    }
    uint64_t due_ms = best * TIMER_TICK_MS;
    if (due_ms <= now_ms) {
        return 0;
    }
    return due_ms - now_ms > 3600000 ? 3600000 : (int)(due_ms - now_ms);
}
