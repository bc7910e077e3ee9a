/*
 * The sync thread: one fsync at a time, beside the commits. At once when a job waits, else at the end of the
 * interval while something unsynced was written, never when clean.
 */
#include <assert.h>
#include <errno.h>

#include "trace/trace_priv.h"

static void add_ms(struct timespec *ts, uint64_t ms)
{
    ts->tv_sec += (time_t)(ms / 1000);
    ts->tv_nsec += (long)(ms % 1000) * 1000000;
    if (ts->tv_nsec >= 1000000000) {
        ts->tv_sec++;
        ts->tv_nsec -= 1000000000;
    }
}

/* Lock held. True: an fsync is due; false: ended, and nothing is dirty. */
static bool wait_until_due(struct trace *t)
{
    struct sync *s = &t->sync;
    for (;;) {
        if (s->first != NULL || (s->stop && s->dirty)) {
            return true;
        }
        if (s->stop) {
            return false;
        }
        if (!s->dirty) {
            (void)pthread_cond_wait(&s->changed, &s->lock);
            continue;
        }
        uint64_t age = trace_mono_ms() - s->dirty_since_ms;
        if (age >= atomic_load(&t->limits.fsync_interval_ms)) {
            return true;
        }
        struct timespec ts;
        (void)clock_gettime(CLOCK_MONOTONIC, &ts);
        add_ms(&ts, atomic_load(&t->limits.fsync_interval_ms) - age);
        (void)pthread_cond_timedwait(&s->changed, &s->lock, &ts);
    }
}

static void give_back(struct commit_job *jobs, int rc)
{
    while (jobs != NULL) {
        struct commit_job *next = jobs->next;
        jobs->done(jobs, rc);
        jobs = next;
    }
}

static void *run(void *arg)
{
    struct trace *t = arg;
    struct sync *s = &t->sync;
    (void)pthread_mutex_lock(&s->lock);
    while (wait_until_due(t)) {
        struct commit_job *jobs = s->first;
        s->first = s->last = NULL;
        s->dirty = false;
        atomic_store(&s->running, true);
        (void)pthread_mutex_unlock(&s->lock);
        int rc = store_sync(t->store);
        atomic_fetch_add(&s->syncs, 1);
        if (rc < 0) {
            atomic_store(&s->error, rc); /* the commit thread mends the store */
        }
        give_back(jobs, rc);
        (void)pthread_mutex_lock(&s->lock);
        atomic_store(&s->running, false);
        if (atomic_load(&t->intake.sync_jobs) > 0 || rc < 0) {
            atomic_store(&t->intake.poked, true);
            intake_wake(t);
        }
    }
    (void)pthread_mutex_unlock(&s->lock);
    return NULL;
}

void sync_add(struct trace *t, struct commit_job *jobs, bool dirty)
{
    struct sync *s = &t->sync;
    if (jobs == NULL && !dirty) {
        return;
    }
    (void)pthread_mutex_lock(&s->lock);
    if (dirty && !s->dirty) {
        s->dirty = true;
        s->dirty_since_ms = trace_mono_ms();
        (void)pthread_cond_signal(&s->changed);
    }
    if (jobs != NULL) {
        if (s->last != NULL) {
            s->last->next = jobs;
        } else {
            s->first = jobs;
        }
        while (jobs->next != NULL) {
            jobs = jobs->next;
        }
        s->last = jobs;
        (void)pthread_cond_signal(&s->changed);
    }
    (void)pthread_mutex_unlock(&s->lock);
}

void sync_start(struct trace *t)
{
    int rc = pthread_create(&t->sync.thread, NULL, run, t);
    assert(rc == 0);
    (void)pthread_setname_np(t->sync.thread, "trace-sync");
    t->sync.started = true;
}

void sync_stop(struct trace *t)
{
    if (!t->sync.started) {
        return;
    }
    (void)pthread_mutex_lock(&t->sync.lock);
    t->sync.stop = true;
    (void)pthread_cond_signal(&t->sync.changed);
    (void)pthread_mutex_unlock(&t->sync.lock);
    (void)pthread_join(t->sync.thread, NULL);
    t->sync.started = false;
}
