/*
 * The event loop: epoll (edge-triggered, registered once per descriptor), timers, one wake-up descriptor.
 *
 * A round: wait → on_io of what is ready → due timers → on_wake if another thread rang → on_round. The round's clock
 * is read once after waiting. One thread owns a loop; only loop_wake() and loop_stop() are for others.
 */
#ifndef TMQ_NET_LOOP_H
#define TMQ_NET_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "net/timer.h"

struct loop;

/* A descriptor and who cares for it; a member of the caring object. */
struct loop_io {
    int fd; /* -1: not registered */
    void (*on_io)(struct loop_io *io, uint32_t epoll_events);
};

struct loop_hooks {
    void *arg;
    void (*on_wake)(void *arg);  /* loop_wake() was called since the last round */
    bool (*on_round)(void *arg); /* end of each round; true: there is more work, do not sleep */
    void (*on_sleep)(void *arg); /* before waiting for more than 0 ms */
    void (*on_awake)(void *arg); /* behind it */
};

/* 0 or a negative errno. */
int loop_new(struct loop **out, const struct loop_hooks *hooks) __attribute__((warn_unused_result));
void loop_free(struct loop *l);

/* Runs until loop_stop(). */
void loop_run(struct loop *l);
/* Any thread. */
void loop_stop(struct loop *l);
/* Any thread: makes the loop call on_wake soon. One write(2), only when the loop sleeps. */
void loop_wake(struct loop *l);

/* Registers io->fd edge-triggered for reading and hang-up; `exclusive` for listeners shared by loops
 * (level-triggered, reading only). 0 or a negative errno. */
int loop_add(struct loop *l, struct loop_io *io, bool exclusive)
    __attribute__((warn_unused_result));
/* From now on writability is told too: called when a write blocked for the first time. If it is writable already, that
 * is told in the next round. */
void loop_want_write(struct loop *l, struct loop_io *io);
/* Takes it out; events of this round that were still to be told are dropped. Does not close. */
void loop_del(struct loop *l, struct loop_io *io);
/* The same when the descriptor is closed next and nobody else has it open: the kernel takes it out by itself. */
void loop_forget(struct loop *l, struct loop_io *io);

void loop_timer_set(struct loop *l, struct timer *t, uint64_t due_ms);

/* The round's monotonic time, and wall time, read at most once a round. */
uint64_t loop_now_ms(const struct loop *l);
uint64_t loop_wall_us(struct loop *l);
/* Monotonic time at which the last stall ended: a round, or the time between two, that took over
 * LOOP_STALL_MS although nothing was waited for; and how long the last one was. */
enum { LOOP_STALL_MS = 200 };
uint64_t loop_stall_end_ms(const struct loop *l);
uint64_t loop_stall_ms(const struct loop *l);

/* Its work so far; any thread. Times are sums of whole milliseconds, each off by less than one, right on the average. */
struct loop_load {
    uint64_t rounds, busy_ms, stalls, longest_ms;
};
void loop_load(const struct loop *l, struct loop_load *out);

#endif
