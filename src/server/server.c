/* The broker put together: listeners, workers, sessions restored; and what the API may ask of it. */
#include "server/server.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bridge/mark.h"
#include "server/server_priv.h"

enum { RESERVED_DESCRIPTORS = 64, STOP_SECONDS = 8, KICK_SECONDS = 5, CONFIG_SECONDS = 5 };

unsigned server_default_loops(void)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        return 1;
    }
    unsigned n = (unsigned)CPU_COUNT(&set);
    return n < 1 ? 1 : n > QSBR_MAX_READERS ? QSBR_MAX_READERS : n;
}

static uint64_t connection_limit(const struct config *c)
{
    struct rlimit r;
    if (c->max_connections != 0 || getrlimit(RLIMIT_NOFILE, &r) != 0) {
        return c->max_connections;
    }
    /* some more for listeners, loops and those being refused */
    uint64_t reserved = RESERVED_DESCRIPTORS * 2;
    return r.rlim_cur > reserved * 2 ? r.rlim_cur - reserved : r.rlim_cur / 2;
}

int server_new(struct server **out, const struct server_parts *parts, struct config_error *err)
{
    struct server *s = mem_new(1, sizeof *s);
    struct auth_bootstrap boot;
    s->config = parts->config;
    s->auth = parts->auth;
    s->store = parts->store;
    s->trace = parts->trace;
    s->worker_count = parts->loops;
    s->max_connections = connection_limit(s->config);
    s->memory_max = s->config->max_memory;
    auth_bootstrap(s->auth, &boot);
    s->instance = mem_strndup(boot.instance_id, strlen(boot.instance_id));
    if (parts->id != NULL) {
        bridge_mark_put(&s->mark, slice_str(parts->id));
    }
    qsbr_init(&s->qsbr, s->worker_count);
    s->topics = topics_new(s->worker_count, &s->qsbr);
    s->retained = retained_new();
    s->sources = sources_new();
    s->workers = mem_new(s->worker_count, sizeof(struct worker *));
    (void)sem_init(&s->quiet, 0, 0);
    if (listeners_open(s, err) != 0) {
        server_free(s);
        return -1;
    }
    *out = s;
    return 0;
}

int server_build(struct server *s)
{
    int err = 0;
    for (unsigned i = 0; i < s->worker_count && err == 0; i++) {
        err = worker_new(&s->workers[i], s, i);
    }
    if (err == 0) {
        err = persist_load(s);
    }
    if (err == 0) {
        own_prune(s);
    }
    for (unsigned i = 0; i < s->worker_count && err == 0; i++) {
        err = acceptors_start(s->workers[i]);
    }
    /* What another number of loops made copies of is stored before anyone can acknowledge the original. */
    for (unsigned i = 0; i < s->worker_count && err == 0; i++) {
        persist_flush(s->workers[i]);
    }
    return err;
}

int server_start(struct server *s)
{
    int err = server_build(s);
    if (err != 0) {
        return err;
    }
    s->started_ms = clock_mono_ms();
    auth_pool_start(&s->pool, s->auth);
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_start(s->workers[i]);
        s->running = i + 1;
    }
    return 0;
}

void server_set_ready(struct server *s)
{
    atomic_store(&s->ready, true);
}

static void post_all(struct server *s, enum mail_kind kind)
{
    for (unsigned i = 0; i < s->running; i++) {
        struct mail *m = mem_new(1, sizeof *m);
        m->kind = kind;
        worker_post(s->workers[i], m);
    }
}

static bool wait_for(sem_t *sem, unsigned seconds)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += (time_t)seconds;
    int got;
    do {
        got = sem_timedwait(sem, &until);
    } while (got != 0 && errno == EINTR);
    return got == 0;
}

void server_stop(struct server *s)
{
    atomic_store(&s->ready, false);
    post_all(s, MAIL_SHUTDOWN);
    for (unsigned i = 0; i < s->running; i++) {
        if (!wait_for(&s->quiet, STOP_SECONDS)) {
            log_error("a loop did not finish in time", "seconds=%d", STOP_SECONDS);
            break;
        }
    }
    post_all(s, MAIL_LEAVE);
    for (unsigned i = 0; i < s->running; i++) {
        (void)pthread_join(s->workers[i]->thread, NULL);
    }
    s->running = 0;
    auth_pool_stop(&s->pool);
}

void server_free(struct server *s)
{
    if (s == NULL) {
        return;
    }
    assert(s->running == 0);
    for (unsigned i = 0; i < s->worker_count; i++) {
        worker_free(s->workers[i]);
    }
    listeners_close(s);
    topics_free(s->topics);
    retained_free(s->retained);
    sources_free(s->sources);
    qsbr_fini(&s->qsbr);
    (void)sem_destroy(&s->quiet);
    free(s->workers);
    free(s->instance);
    buf_fini(&s->mark);
    free(s);
}

void server_leave(struct server *s)
{
    if (s != NULL) {
        listeners_close(s);
    }
}

bool server_ready(const struct server *s)
{
    return atomic_load(&s->ready);
}

const struct server_listener_info *server_listener(const struct server *s, unsigned i)
{
    return i < s->listener_count ? &s->listeners[i].info : NULL;
}

void server_stats(struct server *s, struct server_stats *out)
{
    *out = (struct server_stats){.uptime_ms = clock_mono_ms() - s->started_ms};
    for (unsigned i = 0; i < s->worker_count && s->workers[i] != NULL; i++) {
        counters_add(&out->n, &s->workers[i]->count);
    }
    for (unsigned qos = 0; qos < 3; qos++) {
        out->n.packets_out[MQTT_PUBLISH] += out->n.publish_out[qos];
    }
    out->subscriptions = topics_count(s->topics);
    out->shared_subscriptions = topics_shared_count(s->topics);
    out->retained = retained_count(s->retained);
    out->retained_bytes = retained_bytes(s->retained);
    out->memory_max =
        atomic_load(&s->memory_max); /* not of the configuration: a reload frees that */
    out->memory_full = memory_full(s);
}

bool server_loop(const struct server *s, unsigned i, struct server_loop *out)
{
    if (i >= s->worker_count || s->workers[i] == NULL) {
        return false;
    }
    struct loop_load l;
    loop_load(s->workers[i]->loop, &l);
    *out = (struct server_loop){
        .rounds = l.rounds, .busy_ms = l.busy_ms, .stalls = l.stalls, .longest_ms = l.longest_ms};
    return true;
}

static void pulse_fill(struct commit_job *j, struct store_batch *batch)
{
    (void)j;
    (void)batch; /* nothing is written */
}

static void pulse_done(struct commit_job *j, int err)
{
    (void)err; /* it lives, though the store may not */
    atomic_store(&LIST_ENTRY(j, struct server, pulse)->pulse_asked, false);
}

bool server_pulse(struct server *s)
{
    bool alive = true;
    for (unsigned i = 0; i < s->running; i++) {
        if (atomic_exchange(&s->workers[i]->pulse_asked, true)) {
            alive = false; /* the question is still there */
            continue;
        }
        struct mail *m = mem_new(1, sizeof *m);
        m->kind = MAIL_PULSE;
        worker_post(s->workers[i], m);
    }
    if (atomic_exchange(&s->pulse_asked, true)) {
        return false;
    }
    s->pulse = (struct commit_job){.fill = pulse_fill, .done = pulse_done};
    trace_submit(s->trace, &s->pulse);
    return alive;
}

void mail_kick_unref(struct mail_kick *m)
{
    if (atomic_fetch_sub(&m->refs, 1) == 1) {
        (void)sem_destroy(&m->done);
        free(m);
    }
}

int server_kick(struct server *s, struct slice instance, struct slice client_id, const char *by)
{
    size_t by_len = strlen(by);
    if (!slice_eq(instance, slice_str(s->instance)) || !server_ready(s)) {
        return -ENOENT;
    }
    struct mail_kick *m = mem_new(1, sizeof *m + client_id.n + by_len + 1);
    char *copy = (char *)(m + 1);
    memcpy(copy, by, by_len + 1);
    memcpy(copy + by_len + 1, client_id.p, client_id.n);
    m->mail.kind = MAIL_KICK;
    m->by = copy;
    m->client_id = slice_make(copy + by_len + 1, client_id.n);
    atomic_init(&m->refs, 2);
    (void)sem_init(&m->done, 0, 0);
    worker_post(worker_of(s, client_hash(0, client_id)), &m->mail);
    int result = wait_for(&m->done, KICK_SECONDS) ? atomic_load(&m->result) : -ETIMEDOUT;
    mail_kick_unref(m);
    return result;
}

void config_wait_unref(struct config_wait *m)
{
    if (atomic_fetch_sub(&m->refs, 1) == 1) {
        (void)sem_destroy(&m->taken);
        free(m);
    }
}

int server_use_config(struct server *s, const struct config *c)
{
    struct config_wait *wait = mem_new(1, sizeof *wait);
    unsigned workers = s->running;
    int rc = 0;
    atomic_init(&wait->refs, workers + 1);
    (void)sem_init(&wait->taken, 0, 0);
    atomic_store(&s->config, c);
    atomic_store(&s->max_connections, connection_limit(c));
    atomic_store(&s->memory_max, c->max_memory);
    for (unsigned i = 0; i < workers; i++) {
        struct mail_config *m = mem_new(1, sizeof *m);
        m->mail.kind = MAIL_CONFIG;
        m->wait = wait;
        worker_post(s->workers[i], &m->mail);
    }
    for (unsigned i = 0; i < workers && rc == 0; i++) {
        rc = wait_for(&wait->taken, CONFIG_SECONDS) ? 0 : -ETIMEDOUT;
    }
    config_wait_unref(wait);
    return rc;
}

void server_settings_changed(struct server *s)
{
    if (server_ready(s)) {
        post_all(s, MAIL_SETTINGS);
    }
}
