/* The two clocks; see clock.h. */
#include "base/clock.h"

#include <stdatomic.h>
#include <time.h>

#include "base/failpoint.h"

static _Atomic int64_t wall_shift_us;

static uint64_t read_us(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (uint64_t)ts.tv_sec * 1000000U + (uint64_t)ts.tv_nsec / 1000U;
}

uint64_t clock_mono_ms(void)
{
    return read_us(CLOCK_MONOTONIC) / 1000U;
}

uint64_t clock_mono_us(void)
{
    return read_us(CLOCK_MONOTONIC);
}

uint64_t clock_wall_us(void)
{
    int64_t shift = atomic_load_explicit(&wall_shift_us, memory_order_relaxed);
    shift += failpoint_value("clock.shift_ms") * 1000;
    return read_us(CLOCK_REALTIME) + (uint64_t)shift;
}

void clock_wall_shift(int64_t us)
{
    atomic_fetch_add_explicit(&wall_shift_us, us, memory_order_relaxed);
}
