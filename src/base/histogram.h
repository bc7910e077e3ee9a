/*
 * A histogram of durations with fixed bounds, as Prometheus takes it. Any thread adds and reads; a reader may see one that is
 * being added in part.
 */
#ifndef TMQ_BASE_HISTOGRAM_H
#define TMQ_BASE_HISTOGRAM_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

enum { HISTOGRAM_BOUNDS = 15 };

/* Upper bounds, µs. */
static const uint32_t histogram_bounds_us[HISTOGRAM_BOUNDS] = {
    50,    100,   250,    500,    1000,   2500,    5000,   10000,
    25000, 50000, 100000, 250000, 500000, 1000000, 5000000};

struct histogram {
    _Atomic uint64_t bucket[HISTOGRAM_BOUNDS + 1]; /* the last: longer than all bounds */
    _Atomic uint64_t sum_us;
};

/* What was added until now. */
struct histogram_counts {
    uint64_t bucket[HISTOGRAM_BOUNDS + 1], sum_us;
};

static inline void histogram_add(struct histogram *h, uint64_t us)
{
    size_t i = 0;
    while (i < HISTOGRAM_BOUNDS && us > histogram_bounds_us[i]) {
        i++;
    }
    atomic_fetch_add_explicit(&h->bucket[i], 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&h->sum_us, us, memory_order_relaxed);
}

static inline void histogram_read(const struct histogram *h, struct histogram_counts *out)
{
    for (size_t i = 0; i <= HISTOGRAM_BOUNDS; i++) {
        out->bucket[i] = atomic_load_explicit(&h->bucket[i], memory_order_relaxed);
    }
    out->sum_us = atomic_load_explicit(&h->sum_us, memory_order_relaxed);
}

#endif
