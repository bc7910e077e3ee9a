/*
 * How work reaches the commit thread, and how it sleeps: a futex word says whether and how deep it does, so
 * that an emit costs a system call only when the thread would otherwise not come.
 *
 * Emit:  write the record; full fence; read `sleeping`.     Sleep:  write `sleeping`; full fence; look for work.
 * Whatever the order, one of the two sees the other.
 */
#include <assert.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "trace/trace_priv.h"

static bool ring_half_full(const struct ring *r)
{
    return ring_head(r) - ring_tail(r) > RING_BYTES / 2;
}

void intake_wake(struct trace *t)
{
    if (atomic_exchange(&t->intake.sleeping, INTAKE_AWAKE) != INTAKE_AWAKE) {
        (void)syscall(SYS_futex, &t->intake.sleeping, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    }
}

bool trace_emit(struct trace *t, unsigned loop, const struct record *r)
{
    if (!t->opt.enabled) {
        return true;
    }
    assert(loop < t->intake.n);
    struct intake_loop *l = &t->intake.loops[loop];
    struct record copy;
    if (r->time_us < l->last_us && l->last_us - r->time_us < 1000000) {
        copy = *r; /* a small step back of the clock */
        copy.time_us = l->last_us;
        r = &copy;
    }
    bool taken = ring_emit(l->ring, r);
    if (taken) {
        l->last_us = r->time_us;
    }
    atomic_thread_fence(memory_order_seq_cst);
    uint32_t s = atomic_load_explicit(&t->intake.sleeping, memory_order_relaxed);
    if (s == INTAKE_IDLE || (s == INTAKE_PACING && (!taken || ring_half_full(l->ring)))) {
        intake_wake(t);
    }
    return taken;
}

void trace_submit(struct trace *t, struct commit_job *job)
{
    bool sync = job->sync; /* the job is gone once it is pushed */
    if (sync) {
        atomic_fetch_add(&t->intake.sync_jobs, 1);
    }
    job->next = atomic_load(&t->intake.jobs);
    while (!atomic_compare_exchange_weak(&t->intake.jobs, &job->next, job)) {
    }
    uint32_t s = atomic_load(&t->intake.sleeping);
    if (s == INTAKE_IDLE || (s == INTAKE_PACING && sync)) {
        intake_wake(t);
    }
}

struct commit_job *intake_take_jobs(struct trace *t)
{
    struct commit_job *j = atomic_exchange(&t->intake.jobs, NULL);
    struct commit_job *oldest = NULL;
    uint32_t sync = 0;
    while (j != NULL) {
        struct commit_job *next = j->next;
        j->next = oldest;
        oldest = j;
        sync += j->sync;
        j = next;
    }
    if (sync > 0) {
        atomic_fetch_sub(&t->intake.sync_jobs, sync);
    }
    return oldest;
}

bool intake_has_records(const struct trace *t)
{
    for (unsigned i = 0; i < t->commit.source_n; i++) {
        const struct source *s = &t->commit.sources[i];
        if (s->has_head || ring_head(s->ring) != s->pos) {
            return true;
        }
    }
    return false;
}

static bool must_wake(struct trace *t, enum intake_sleep kind)
{
    if (atomic_load(&t->commit.stop) || atomic_exchange(&t->intake.poked, false)) {
        return true;
    }
    if (atomic_load(&t->intake.sync_jobs) > 0 && !atomic_load(&t->sync.running)) {
        return true;
    }
    if (kind == INTAKE_IDLE) {
        return atomic_load(&t->intake.jobs) != NULL || intake_has_records(t);
    }
    for (unsigned i = 0; i < t->intake.n; i++) {
        if (ring_half_full(t->intake.loops[i].ring)) {
            return true;
        }
    }
    return false;
}

void intake_sleep(struct trace *t, enum intake_sleep kind, uint64_t timeout_ms)
{
    atomic_store(&t->intake.sleeping, kind);
    atomic_thread_fence(memory_order_seq_cst);
    if (!must_wake(t, kind)) {
        struct timespec ts = {.tv_sec = (time_t)(timeout_ms / 1000),
                              .tv_nsec = (long)(timeout_ms % 1000) * 1000000};
        (void)syscall(SYS_futex, &t->intake.sleeping, FUTEX_WAIT_PRIVATE, kind,
                      timeout_ms == UINT64_MAX ? NULL : &ts, NULL, 0);
    }
    atomic_store(&t->intake.sleeping, INTAKE_AWAKE);
}
