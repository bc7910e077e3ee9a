/*
 * Two clocks, never mixed: monotonic time for timers and ages, wall time for data. On hot paths the
 * loop reads them once a round and hands `now` down.
 */
#ifndef TMQ_BASE_CLOCK_H
#define TMQ_BASE_CLOCK_H

#include <stdint.h>

/* CLOCK_MONOTONIC in ms / µs (stands still while the machine is suspended). Any thread. */
uint64_t clock_mono_ms(void);
uint64_t clock_mono_us(void);

/* CLOCK_REALTIME in µs since 1970 UTC. May step. Any thread. Tests shift it by clock_wall_shift() or by the
 * failpoint clock.shift_ms. */
uint64_t clock_wall_us(void);

/* Adds `us` to what clock_wall_us() returns from now on: fault injection only. */
void clock_wall_shift(int64_t us);

#endif
