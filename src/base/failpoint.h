/*
 * Failpoints for tests: TRACEMQ_FAILPOINTS="name=value,…" arms them; a failpoint file
 * (TRACEMQ_FAILPOINT_FILE, same syntax, re-read when it changes at most every 50 ms) changes them while running.
 * Not armed, a check costs one relaxed load. Names in use are listed in docs/testing.md.
 */
#ifndef TMQ_BASE_FAILPOINT_H
#define TMQ_BASE_FAILPOINT_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Reads the environment; main thread, before others start. */
void failpoint_init(void);

extern _Atomic bool failpoint_armed;

int64_t failpoint_value_slow(const char *name);

/* The value of an armed failpoint, 0 otherwise. */
static inline int64_t failpoint_value(const char *name)
{
    return atomic_load_explicit(&failpoint_armed, memory_order_relaxed) ? failpoint_value_slow(name)
                                                                        : 0;
}

#endif
