/* The event loop by hand; see fake_loop.h. A round has the same order as the real one's: events, timers, mail, on_round. */
#include "fake_loop.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/mem.h"

enum { MAX_IOS = 256 };

struct fake_io {
    struct loop_io *io;
    bool edge;
    bool writes; /* loop_want_write() was called */
};

struct loop {
    struct loop_hooks hooks;
    struct timer_wheel wheel;
    uint64_t now_ms, stall_end_ms, stall_ms;
    struct fake_io ios[MAX_IOS];
    unsigned io_count;
    bool rung, stopped;
};

struct fake_time fake_time;
uint32_t (*fake_loop_readiness)(int fd);

int loop_new(struct loop **out, const struct loop_hooks *hooks)
{
    struct loop *l = mem_new(1, sizeof *l);
    l->hooks = *hooks;
    l->now_ms = fake_time.mono_ms;
    timer_wheel_init(&l->wheel, l->now_ms);
    *out = l;
    return 0;
}

void loop_free(struct loop *l)
{
    assert(l == NULL || l->io_count == 0);
    free(l);
}

void loop_stop(struct loop *l)
{
    l->stopped = true;
}

void loop_wake(struct loop *l)
{
    l->rung = true;
}

int loop_add(struct loop *l, struct loop_io *io, bool exclusive)
{
    (void)exclusive;
    assert(l->io_count < MAX_IOS);
    l->ios[l->io_count++] = (struct fake_io){.io = io, .edge = true};
    return 0;
}

void loop_del(struct loop *l, struct loop_io *io)
{
    unsigned i = 0;
    while (i < l->io_count && l->ios[i].io != io) {
        i++;
    }
    assert(i < l->io_count);
    l->ios[i] = l->ios[--l->io_count];
}

void loop_want_write(struct loop *l, struct loop_io *io)
{
    for (unsigned i = 0; i < l->io_count; i++) {
        if (l->ios[i].io == io) {
            l->ios[i].writes = l->ios[i].edge = true;
        }
    }
}

void loop_forget(struct loop *l, struct loop_io *io)
{
    loop_del(l, io);
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
    (void)l;
    return fake_time.wall_us;
}

uint64_t loop_stall_end_ms(const struct loop *l)
{
    return l->stall_end_ms;
}

uint64_t loop_stall_ms(const struct loop *l)
{
    return l->stall_ms;
}

void fake_loop_stall(struct loop *l, uint64_t ms)
{
    l->stall_end_ms = fake_time.mono_ms;
    l->stall_ms = ms;
}

bool fake_loop_stopped(const struct loop *l)
{
    return l->stopped;
}

void fake_loop_edge(struct loop *l, int fd)
{
    for (unsigned i = 0; i < l->io_count; i++) {
        l->ios[i].edge |= l->ios[i].io->fd == fd;
    }
}

/* The next descriptor with an edge, or NULL; handlers add and remove descriptors. */
static struct loop_io *next_edge(struct loop *l, uint32_t *events)
{
    for (unsigned i = 0; i < l->io_count; i++) {
        if (l->ios[i].edge) {
            l->ios[i].edge = false;
            *events = fake_loop_readiness(l->ios[i].io->fd);
            *events &= l->ios[i].writes ? UINT32_MAX : ~(uint32_t)EPOLLOUT;
            return l->ios[i].io;
        }
    }
    return NULL;
}

bool fake_loop_round(struct loop *l)
{
    struct loop_io *io;
    l->now_ms = fake_time.mono_ms;
    l->hooks.on_awake(l->hooks.arg);
    uint32_t events;
    while ((io = next_edge(l, &events)) != NULL) {
        if (events != 0) {
            io->on_io(io, events);
        }
    }
    timer_run(&l->wheel, l->now_ms);
    if (l->rung) {
        l->rung = false;
        l->hooks.on_wake(l->hooks.arg);
    }
    bool more = l->hooks.on_round(l->hooks.arg);
    for (unsigned i = 0; i < l->io_count; i++) {
        more |= l->ios[i].edge;
    }
    if (!more && !l->rung) {
        l->hooks.on_sleep(l->hooks.arg);
    }
    return more || l->rung;
}

bool fake_loop_is_rung(const struct loop *l)
{
    return l->rung;
}

void loop_run(struct loop *l)
{
    while (!l->stopped) {
        (void)fake_loop_round(l);
    }
}

void loop_load(const struct loop *l, struct loop_load *out)
{
    (void)l;
    *out = (struct loop_load){0};
}
