/* The timer wheel against the plain truth, in simulated time: never early, at most a tick late, no sleep too long. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "net/timer.h"
#include "random.h"

enum { TIMERS = 400 };

static struct timer_wheel wheel;
static uint64_t now_ms;

struct alarm {
    struct timer timer;
    unsigned fired, early, late;
    uint64_t again_ms; /* re-armed for this much later when it fires; 0 = not */
};

static void on_alarm(struct timer *t)
{
    struct alarm *a = (struct alarm *)(void *)t;
    assert_false(timer_armed(t));
    a->fired++;
    a->early += now_ms < t->due_ms;
    a->late += now_ms > t->due_ms + TIMER_TICK_MS;
    if (a->again_ms != 0) {
        timer_set(&wheel, t, now_ms + a->again_ms);
    }
}

/* One timer from `start`, time passing a millisecond or a tick at a time. */
static void one_timer(uint64_t start, uint64_t delay, uint64_t step)
{
    struct alarm a = {0};
    now_ms = start;
    timer_wheel_init(&wheel, now_ms);
    timer_init(&a.timer, on_alarm);
    timer_set(&wheel, &a.timer, start + delay);
    while (a.fired == 0 && now_ms <= start + delay + 3 * TIMER_TICK_MS) {
        now_ms += step;
        timer_run(&wheel, now_ms);
    }
    if (a.fired != 1 || a.early != 0 || a.late != 0) {
        fail_msg("start %llu delay %llu: fired %u, early %u, late %u", (unsigned long long)start,
                 (unsigned long long)delay, a.fired, a.early, a.late);
    }
}

static void test_every_short_delay(void **state)
{
    (void)state;
    for (uint64_t start = 0; start < 64 * TIMER_TICK_MS; start += 37) {
        for (uint64_t delay = 0; delay < 130 * TIMER_TICK_MS; delay += 11) {
            one_timer(start + 1000000, delay, 1);
        }
    }
}

static void test_every_tick_of_two_levels(void **state)
{
    (void)state;
    for (uint64_t ticks = 1; ticks < 9000; ticks += 1 + ticks / 64) {
        one_timer(12345678, ticks * TIMER_TICK_MS, TIMER_TICK_MS);
        one_timer(0, ticks * TIMER_TICK_MS - 1, TIMER_TICK_MS);
    }
}

/* Jumps to when the wheel wants to be woken, as the loop does: a timer that it would sleep over fires late. */
static void run_by_waiting(uint64_t until)
{
    while (now_ms < until) {
        int wait = timer_wait_ms(&wheel, now_ms);
        uint64_t next = wait < 0 ? until : now_ms + (uint64_t)wait;
        now_ms = next > until ? until : next;
        timer_run(&wheel, now_ms);
    }
}

static uint64_t random_delay(struct random *r, uint32_t kinds)
{
    static const uint32_t spans[] = {20, 600, 40000, 3000000, 200000000};
    return random_below(r, spans[random_below(r, kinds)]);
}

struct known {
    bool armed;
    unsigned fired;
};

/* How many timers did not do what they had to since `before`. */
static unsigned count_wrong(const struct alarm *alarms, const struct known *before)
{
    unsigned wrong = 0;
    for (int k = 0; k < TIMERS; k++) {
        uint64_t due = alarms[k].timer.due_ms;
        bool must = before[k].armed && due + TIMER_TICK_MS <= now_ms;
        bool may = before[k].armed && due <= now_ms;
        bool did = alarms[k].fired != before[k].fired;
        wrong += (must && !did) || (did && !may) || alarms[k].early + alarms[k].late > 0;
    }
    return wrong;
}

static void test_random_timers(void **state)
{
    (void)state;
    static struct alarm alarms[TIMERS];
    static struct known before[TIMERS];
    struct random r = {99};
    now_ms = 777777777;
    timer_wheel_init(&wheel, now_ms);
    for (int i = 0; i < TIMERS; i++) {
        alarms[i] = (struct alarm){0};
        timer_init(&alarms[i].timer, on_alarm);
    }
    for (int step = 0; step < 20000; step++) {
        struct timer *t = &alarms[random_below(&r, TIMERS)].timer;
        bool cancel = random_below(&r, 4) == 0;
        if (cancel) {
            timer_cancel(t);
        } else {
            timer_set(&wheel, t, now_ms + random_delay(&r, 5));
        }
        assert_int_equal(timer_armed(t), !cancel);
        for (int k = 0; k < TIMERS; k++) {
            before[k] = (struct known){timer_armed(&alarms[k].timer), alarms[k].fired};
        }
        /* mostly little by little, at times half an hour, seldom more than a day */
        uint64_t past = step % 50 != 0 ? random_below(&r, 100) : random_delay(&r, 4);
        run_by_waiting(now_ms + (step % 5000 == 4999 ? 150000000 : past));
        assert_int_equal(count_wrong(alarms, before), 0);
    }
}

static void test_wait_is_never_too_long(void **state)
{
    (void)state;
    struct random r = {5};
    struct alarm a = {0};
    for (int i = 0; i < 20000; i++) {
        now_ms = 1000000 + random_below(&r, 10000000);
        timer_wheel_init(&wheel, now_ms);
        assert_int_equal(timer_wait_ms(&wheel, now_ms), -1);
        timer_init(&a.timer, on_alarm);
        uint64_t due = now_ms + random_delay(&r, 5);
        timer_set(&wheel, &a.timer, due);
        int wait = timer_wait_ms(&wheel, now_ms);
        assert_true(wait >= 0);
        assert_true(now_ms + (uint64_t)wait <= due + TIMER_TICK_MS);
        timer_cancel(&a.timer);
    }
}

static void test_a_late_loop_runs_all(void **state)
{
    (void)state;
    struct alarm a[3] = {0};
    now_ms = 5000;
    timer_wheel_init(&wheel, now_ms);
    for (int i = 0; i < 3; i++) {
        timer_init(&a[i].timer, on_alarm);
        timer_set(&wheel, &a[i].timer, now_ms + 10 + (uint64_t)i * 5000);
    }
    now_ms += 3600000;
    assert_int_equal(timer_wait_ms(&wheel, now_ms), 0);
    timer_run(&wheel, now_ms);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(a[i].fired, 1);
    }
    assert_int_equal(timer_wait_ms(&wheel, now_ms), -1);
}

static void test_rearming_itself(void **state)
{
    (void)state;
    struct alarm a = {.again_ms = 1000};
    now_ms = 100;
    timer_wheel_init(&wheel, now_ms);
    timer_init(&a.timer, on_alarm);
    timer_set(&wheel, &a.timer, now_ms + 1000);
    run_by_waiting(60100);
    assert_in_range(a.fired, 59, 60);
    assert_int_equal(a.early + a.late, 0);
}

static struct timer victim;
static void cancel_the_other(struct timer *t)
{
    (void)t;
    timer_cancel(&victim);
}
static void must_not_run(struct timer *t)
{
    (void)t;
    fail();
}

static void test_cancelled_by_one_of_the_same_tick(void **state)
{
    (void)state;
    struct timer first;
    timer_wheel_init(&wheel, 0);
    timer_init(&first, cancel_the_other);
    timer_init(&victim, must_not_run);
    timer_set(&wheel, &first, 20);
    timer_set(&wheel, &victim, 20);
    timer_run(&wheel, 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_short_delay),
        cmocka_unit_test(test_every_tick_of_two_levels),
        cmocka_unit_test(test_random_timers),
        cmocka_unit_test(test_wait_is_never_too_long),
        cmocka_unit_test(test_a_late_loop_runs_all),
        cmocka_unit_test(test_rearming_itself),
        cmocka_unit_test(test_cancelled_by_one_of_the_same_tick),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
