/*
 * The event loop over epoll. Descriptors are registered once, edge-triggered, for writing only once a write blocked: there
 * is no epoll_ctl on the hot path, and who owns a descriptor remembers whether it may still be read or written.
 *
 * Sleeping and waking: `asleep` is raised before epoll_wait and loop_wake() writes to the eventfd only when it sees
 * it; `rung` tells the loop that someone rang. Raised asleep → checked rung → wait: a ring between the two is seen by
 * one side or the other.
 *
 * Stalls: while we run, nobody's packets are read. A round that took long (our own work, SIGSTOP, a suspended
 * machine) is noted so that a keepalive deadline can be extended by it. A wait that lasts longer than its
 * timeout counts too.
 */
#include "net/loop.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

enum { MAX_EVENTS = 256 };

struct loop {
    int epoll_fd;
    struct loop_io wake_io;
    struct loop_hooks hooks;
    struct timer_wheel wheel;
    uint64_t now_ms, wall_us;
    uint64_t stall_end_ms, stall_ms;
    _Atomic uint64_t rounds, busy_ms, stalls, longest_ms; /* written by its thread */
    int event_count, event_at;                            /* of the round being dispatched */
    struct epoll_event events[MAX_EVENTS];
    _Atomic bool asleep, rung, stopping;
};

static void on_wake_io(struct loop_io *io, uint32_t events)
{
    uint64_t n;
    (void)events;
    ssize_t ignored = read(io->fd, &n, sizeof n);
    (void)ignored;
}

int loop_new(struct loop **out, const struct loop_hooks *hooks)
{
    struct loop *l = mem_new(1, sizeof *l);
    int err = 0;
    l->hooks = *hooks;
    l->wake_io = (struct loop_io){.fd = -1, .on_io = on_wake_io};
    l->now_ms = clock_mono_ms();
    timer_wheel_init(&l->wheel, l->now_ms);
    l->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (l->epoll_fd < 0) {
        err = -errno;
        goto out;
    }
    l->wake_io.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (l->wake_io.fd < 0) {
        err = -errno;
        goto out;
    }
    err = loop_add(l, &l->wake_io, false);
out:
    if (err != 0) {
        loop_free(l);
        return err;
    }
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    if (l == NULL) {
        return;
    }
    if (l->wake_io.fd >= 0) {
        (void)close(l->wake_io.fd);
    }
    if (l->epoll_fd >= 0) {
        (void)close(l->epoll_fd);
    }
    free(l);
}

int loop_add(struct loop *l, struct loop_io *io, bool exclusive)
{
    struct epoll_event ev = {.data.ptr = io};
    ev.events = exclusive ? (uint32_t)(EPOLLIN | EPOLLEXCLUSIVE)
                          : (uint32_t)(EPOLLIN | EPOLLRDHUP) | EPOLLET;
    return epoll_ctl(l->epoll_fd, EPOLL_CTL_ADD, io->fd, &ev) == 0 ? 0 : -errno;
}

void loop_want_write(struct loop *l, struct loop_io *io)
{
    struct epoll_event ev = {.data.ptr = io};
    ev.events = (uint32_t)(EPOLLIN | EPOLLOUT | EPOLLRDHUP) | EPOLLET;
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_MOD, io->fd, &ev);
}

void loop_del(struct loop *l, struct loop_io *io)
{
    (void)epoll_ctl(l->epoll_fd, EPOLL_CTL_DEL, io->fd, NULL);
    loop_forget(l, io);
}

void loop_forget(struct loop *l, struct loop_io *io)
{
    for (int i = l->event_at + 1; i < l->event_count; i++) {
        if (l->events[i].data.ptr == io) {
            l->events[i].data.ptr = NULL; /* told no more: the object may be freed now */
        }
    }
}

void loop_wake(struct loop *l)
{
    atomic_store(&l->rung, true);
    if (atomic_exchange(&l->asleep, false)) {
        uint64_t one = 1;
        ssize_t ignored = write(l->wake_io.fd, &one, sizeof one);
        (void)ignored;
    }
}

void loop_stop(struct loop *l)
{
    atomic_store(&l->stopping, true);
    loop_wake(l);
}

void loop_timer_set(struct loop *l, struct timer *t, uint64_t due_ms)
{
    timer_set(&l->wheel, t, due_ms);
}

uint64_t loop_now_ms(const struct loop *l)
{
    return l->now_ms;
}

uint64_t loop_wall_us(struct loop *l)
{
    if (l->wall_us == 0) {
        l->wall_us = clock_wall_us();
    }
    return l->wall_us;
}

uint64_t loop_stall_end_ms(const struct loop *l)
{
    return l->stall_end_ms;
}

uint64_t loop_stall_ms(const struct loop *l)
{
    return l->stall_ms;
}

static void add(_Atomic uint64_t *to, uint64_t n)
{
    atomic_store_explicit(to, atomic_load_explicit(to, memory_order_relaxed) + n,
                          memory_order_relaxed);
}

static void note_round(struct loop *l, uint64_t took_ms)
{
    add(&l->rounds, 1);
    add(&l->busy_ms, took_ms);
    if (took_ms > atomic_load_explicit(&l->longest_ms, memory_order_relaxed)) {
        atomic_store_explicit(&l->longest_ms, took_ms, memory_order_relaxed);
    }
}

void loop_load(const struct loop *l, struct loop_load *out)
{
    *out = (struct loop_load){.rounds = atomic_load_explicit(&l->rounds, memory_order_relaxed),
                              .busy_ms = atomic_load_explicit(&l->busy_ms, memory_order_relaxed),
                              .stalls = atomic_load_explicit(&l->stalls, memory_order_relaxed),
                              .longest_ms =
                                  atomic_load_explicit(&l->longest_ms, memory_order_relaxed)};
}

static void note_stall(struct loop *l, uint64_t took_ms, uint64_t end_ms)
{
    if (took_ms > LOOP_STALL_MS) {
        add(&l->stalls, 1);
        l->stall_end_ms = end_ms;
        l->stall_ms = took_ms;
    }
}

/* Waits for events; returns with the round's clock set. */
static void wait_events(struct loop *l, bool more_work)
{
    uint64_t before = clock_mono_ms();
    note_stall(l, before - l->now_ms, before);
    note_round(l, before - l->now_ms);
    int timeout = more_work ? 0 : timer_wait_ms(&l->wheel, before);
    if (timeout != 0) {
        atomic_store(&l->asleep, true);
        if (atomic_load(&l->rung)) {
            timeout = 0;
        } else {
            l->hooks.on_sleep(l->hooks.arg);
        }
    }
    l->event_count = epoll_wait(l->epoll_fd, l->events, MAX_EVENTS, timeout);
    atomic_store_explicit(&l->asleep, false, memory_order_relaxed);
    if (timeout != 0) {
        l->hooks.on_awake(l->hooks.arg);
    }
    assert(l->event_count >= 0 || errno == EINTR);
    l->now_ms = clock_mono_ms();
    l->wall_us = 0;
    if (timeout > 0 && l->now_ms - before > (uint64_t)timeout) {
        note_stall(l, l->now_ms - before - (uint64_t)timeout, l->now_ms);
    }
}

void loop_run(struct loop *l)
{
    bool more_work = false;
    while (!atomic_load_explicit(&l->stopping, memory_order_relaxed)) {
        wait_events(l, more_work);
        for (l->event_at = 0; l->event_at < l->event_count; l->event_at++) {
            struct loop_io *io = l->events[l->event_at].data.ptr;
            if (io != NULL) {
                io->on_io(io, l->events[l->event_at].events);
            }
        }
        l->event_count = 0;
        timer_run(&l->wheel, l->now_ms);
        if (atomic_load_explicit(&l->rung, memory_order_relaxed)) {
            atomic_store(&l->rung, false);
            l->hooks.on_wake(l->hooks.arg);
        }
        more_work = l->hooks.on_round(l->hooks.arg);
    }
}
