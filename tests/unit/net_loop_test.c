/* The event loop: waking from another thread, timers, descriptors, stalls noted. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "net/loop.h"

struct fixture {
    struct loop *loop;
    struct timer timer;
    struct loop_io a, b;
    unsigned wakes, rounds, sleeps, awakes, timers, io_a, io_b;
    unsigned busy_rounds; /* on_round says "more work" so many times */
    bool stop_when_idle;  /* … and sets the timer that stops it after the last of them */
    unsigned stall_ms;    /* on_round takes this long, once; the next one stops the loop */
    bool stalled;
    unsigned stop_at_wakes; /* 0 = never */
    _Atomic unsigned rung;
    uint64_t fired_at_ms;
};

static void on_wake(void *arg)
{
    struct fixture *f = arg;
    f->wakes++;
    if (f->stop_at_wakes != 0 && atomic_load(&f->rung) >= f->stop_at_wakes) {
        loop_stop(f->loop);
    }
}

static bool on_round(void *arg)
{
    struct fixture *f = arg;
    f->rounds++;
    if (f->stall_ms != 0) {
        (void)usleep(f->stall_ms * 1000);
        f->stall_ms = 0;
        f->stalled = true;
        return true;
    }
    if (f->stalled) {
        loop_stop(f->loop);
    }
    if (f->busy_rounds > 0) {
        if (--f->busy_rounds == 0 && f->stop_when_idle) {
            loop_timer_set(f->loop, &f->timer, clock_mono_ms() + 10);
        }
        return true;
    }
    return false;
}

static void on_sleep(void *arg)
{
    ((struct fixture *)arg)->sleeps++;
}

static void on_awake(void *arg)
{
    ((struct fixture *)arg)->awakes++;
}

static struct fixture fx;

static void on_timer(struct timer *t)
{
    (void)t;
    fx.timers++;
    fx.fired_at_ms = loop_now_ms(fx.loop);
    loop_stop(fx.loop);
}

static int setup(void **state)
{
    (void)state;
    memset(&fx, 0, sizeof fx);
    const struct loop_hooks hooks = {.arg = &fx,
                                     .on_wake = on_wake,
                                     .on_round = on_round,
                                     .on_sleep = on_sleep,
                                     .on_awake = on_awake};
    timer_init(&fx.timer, on_timer);
    return loop_new(&fx.loop, &hooks);
}

static int teardown(void **state)
{
    (void)state;
    loop_free(fx.loop);
    loop_free(NULL);
    return 0;
}

static void test_timer(void **state)
{
    (void)state;
    uint64_t start = clock_mono_ms();
    loop_timer_set(fx.loop, &fx.timer, start + 50);
    loop_run(fx.loop);
    assert_int_equal(fx.timers, 1);
    assert_true(fx.fired_at_ms >= start + 50);
    assert_true(fx.sleeps > 0);
    assert_int_equal(fx.sleeps, fx.awakes);
    assert_true(loop_wall_us(fx.loop) > UINT64_C(1500000000000000));
}

enum { RINGS = 20000 };

static void *ring(void *arg)
{
    struct fixture *f = arg;
    for (unsigned i = 1; i <= RINGS; i++) {
        atomic_store(&f->rung, i);
        loop_wake(f->loop);
        if (i % 1000 == 0) {
            (void)usleep(1000); /* let it fall asleep now and then */
        }
    }
    return NULL;
}

/* The last ring is never lost, or this does not end. */
static void test_wake_from_another_thread(void **state)
{
    (void)state;
    pthread_t thread;
    fx.stop_at_wakes = RINGS;
    assert_int_equal(pthread_create(&thread, NULL, ring, &fx), 0);
    loop_run(fx.loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_in_range(fx.wakes, 1, RINGS);
}

static void *stop_later(void *arg)
{
    (void)usleep(30000);
    loop_stop(((struct fixture *)arg)->loop);
    return NULL;
}

static void test_an_idle_loop_sleeps(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, stop_later, &fx), 0);
    loop_run(fx.loop);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_in_range(fx.rounds, 1, 3);
}

static void test_more_work_does_not_sleep(void **state)
{
    (void)state;
    fx.busy_rounds = 500;
    fx.stop_when_idle = true;
    loop_wake(fx.loop); /* the first round is at once */
    loop_run(fx.loop);
    assert_int_equal(fx.busy_rounds, 0);
    assert_true(fx.rounds >= 500);
    assert_true(fx.sleeps < 100);
}

/* A loop that nothing holds up notes nothing; on a loaded machine something may, so one such run of many is enough. */
static void test_no_stall_is_noted(void **state)
{
    bool noted = true;
    for (int i = 0; noted && i < 100; i++) {
        (void)teardown(state);
        assert_int_equal(setup(state), 0);
        loop_timer_set(fx.loop, &fx.timer, clock_mono_ms() + 20);
        loop_run(fx.loop);
        noted = loop_stall_end_ms(fx.loop) != 0;
    }
    assert_false(noted);
}

static void test_stall_is_noted(void **state)
{
    (void)state;
    fx.stall_ms = LOOP_STALL_MS + 60;
    uint64_t start = clock_mono_ms();
    loop_wake(fx.loop);
    loop_run(fx.loop);
    assert_true(loop_stall_ms(fx.loop) >= LOOP_STALL_MS + 60);
    assert_true(loop_stall_end_ms(fx.loop) >= start + LOOP_STALL_MS + 60);
    assert_true(loop_stall_end_ms(fx.loop) <= clock_mono_ms());
}

static void on_io_a(struct loop_io *io, uint32_t events)
{
    fx.io_a++;
    if ((events & EPOLLIN) != 0) {
        loop_del(fx.loop, &fx.b); /* told in the same round: must not be called any more */
        loop_stop(fx.loop);
    }
    (void)io;
}

static void on_io_b(struct loop_io *io, uint32_t events)
{
    fx.io_b++;
    if ((events & EPOLLIN) != 0) {
        loop_del(fx.loop, &fx.a);
        loop_stop(fx.loop);
    }
    (void)io;
}

static void test_taken_out_within_the_round(void **state)
{
    (void)state;
    int pair_a[2], pair_b[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair_a), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair_b), 0);
    assert_int_equal(write(pair_a[1], "x", 1), 1);
    assert_int_equal(write(pair_b[1], "x", 1), 1);
    fx.a = (struct loop_io){.fd = pair_a[0], .on_io = on_io_a};
    fx.b = (struct loop_io){.fd = pair_b[0], .on_io = on_io_b};
    assert_int_equal(loop_add(fx.loop, &fx.a, false), 0);
    assert_int_equal(loop_add(fx.loop, &fx.b, false), 0);
    loop_run(fx.loop);
    assert_int_equal(fx.io_a + fx.io_b, 1);
    for (int i = 0; i < 2; i++) {
        (void)close(pair_a[i]);
        (void)close(pair_b[i]);
    }
}

static void test_bad_descriptor(void **state)
{
    (void)state;
    struct loop_io io = {.fd = 1 << 20, .on_io = on_io_a};
    assert_true(loop_add(fx.loop, &io, false) < 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_timer),
        TEST(test_wake_from_another_thread),
        TEST(test_an_idle_loop_sleeps),
        TEST(test_more_work_does_not_sleep),
        TEST(test_no_stall_is_noted),
        TEST(test_stall_is_noted),
        TEST(test_taken_out_within_the_round),
        TEST(test_bad_descriptor),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
