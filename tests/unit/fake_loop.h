/*
 * net/loop.h without a kernel: link fake_loop.c instead of net/loop.c. Time is what the test says; a descriptor is a
 * number whose readiness the test tells. One thread.
 */
#ifndef TMQ_TESTS_FAKE_LOOP_H
#define TMQ_TESTS_FAKE_LOOP_H

#include "net/loop.h"

struct fake_time {
    uint64_t mono_ms; /* what loop_now_ms() gives from the next round on */
    uint64_t wall_us;
};
extern struct fake_time fake_time;

/* What the kernel would report of a descriptor now (EPOLLIN, EPOLLOUT, EPOLLRDHUP, …); set by the harness. */
extern uint32_t (*fake_loop_readiness)(int fd);

/* An edge: the descriptor's readiness is told in the next round, if it is registered with `l`. */
void fake_loop_edge(struct loop *l, int fd);
/* One round without waiting. True when the loop would not sleep behind it. */
bool fake_loop_round(struct loop *l);
/* Somebody woke it since. */
bool fake_loop_is_rung(const struct loop *l);
/* A stall of `ms` has just ended: loop_stall_end_ms() and loop_stall_ms() tell of it. */
void fake_loop_stall(struct loop *l, uint64_t ms);
bool fake_loop_stopped(const struct loop *l);

#endif
