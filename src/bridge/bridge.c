/*
 * Bridges; see bridge.h. A bridge's thread: prepares the local half, then connects and carries until the connection ends, waits and
 * comes back. Waits grow from retry_min to retry_max, with jitter, and begin anew when a connection has held.
 */
#include "bridge/bridge.h"

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "bridge/bridge_priv.h"
#include "net/addr.h"

enum {
    START_SECONDS = 5,
    STOP_SECONDS = 3,
    DIAL_MS = 10000,
    HELD_MS = 10000, /* a connection that held so long begins the waits anew */
    WARN_MS = 10000  /* between two warnings of one bridge */
};

bool bridge_stopping(const struct bridge *b)
{
    struct pollfd fd = {.fd = b->stop, .events = POLLIN};
    return poll(&fd, 1, 0) > 0;
}

/* ---- what is told of it ---- */

void bridge_opened(struct bridge *b)
{
    (void)pthread_mutex_lock(&b->lock);
    b->status.connected = true;
    b->status.since_us = clock_wall_us();
    b->status.connects++;
    addr_text((const struct sockaddr *)&b->peer, b->status.remote);
    (void)pthread_mutex_unlock(&b->lock);
    b->local_is_new = false; /* both halves are of one session now */
    log_info("bridge connected", "bridge=%s remote=%s tls=%s", b->settings->name, b->status.remote,
             b->tls_version[0] == '\0' ? "off" : b->tls_version);
}

static void note_failure(struct bridge *b, const char *address, size_t n, const char *error)
{
    bool stopping = bridge_stopping(b);
    (void)pthread_mutex_lock(&b->lock);
    bool was = b->status.connected;
    if (was) {
        b->status.connected = false;
        b->status.since_us = clock_wall_us();
    }
    if (!stopping) {
        b->status.failures++;
        b->status.error_us = clock_wall_us();
        (void)snprintf(b->status.error, sizeof b->status.error, "%s", error);
    }
    (void)pthread_mutex_unlock(&b->lock);
    if (!stopping) {
        log_warn(was ? "bridge disconnected" : "bridge not connected",
                 "bridge=%s remote=%.*s error=\"%s\"", b->settings->name, (int)n, address, error);
    }
}

/* A broker that refuses every message must not fill the log. */
static void on_warn(void *arg, const char *what, const char *detail)
{
    struct bridge *b = arg;
    uint64_t now = clock_mono_ms();
    if (b->warned_ms != 0 && now - b->warned_ms < WARN_MS) {
        b->muted++;
        return;
    }
    log_warn(what, "bridge=%s detail=\"%s\" not_logged=%lu", b->settings->name, detail, b->muted);
    b->warned_ms = now;
    b->muted = 0;
}

/* ---- one connection ---- */

static struct link *make_link(struct bridge *b)
{
    const struct link_options o = {.settings = b->settings,
                                   .mapping = &b->mapping,
                                   .counters = &b->counters,
                                   .local_client_id = b->local_id,
                                   .remote_client_id = b->remote_id,
                                   .id = b->all->parts.id,
                                   .private_bit = !b->plain,
                                   .forget_remote = b->local_is_new,
                                   .local_max_packet = b->local_max_packet,
                                   .warn = on_warn,
                                   .arg = b};
    return link_new(&o);
}

static void note_local(struct bridge *b)
{
    if (link_local_answered(b->link)) {
        b->local_is_new = b->local_is_new || link_local_is_new(b->link);
        b->local_max_packet = link_local_max_packet(b->link);
    }
}

/* Session and subscriptions at the local broker, whether or not the remote is there. */
static bool prepare(struct bridge *b)
{
    b->link = make_link(b);
    bool done = carry_attach(b, NULL, false);
    if (done) {
        link_prepare(b->link, clock_mono_ms());
        carry(b);
        note_local(b);
        done = link_phase(b->link) == LINK_PREPARED;
    }
    if (!done && !bridge_stopping(b)) {
        log_error("a bridge has no local half", "bridge=%s error=\"%s\"", b->settings->name,
                  link_error(b->link));
    }
    link_free(b->link);
    b->link = NULL;
    return done;
}

/* Connects and carries. True: at once again, in another way: as a plain client; without a clean start, which has done its work. */
static bool connect_once(struct bridge *b, const char *address, size_t n)
{
    char host[DIAL_HOST_MAX], port[6], err[DIAL_ERROR_MAX];
    struct dialled to;
    const struct dial d = {.tls = b->tls,
                           .server_name = b->settings->server_name,
                           .stop = b->stop,
                           .timeout_ms = DIAL_MS};
    bool good = dial_split(address, n, host, port);
    assert(good); /* the configuration has checked it */
    if (!good || dial(&d, host, port, &to, err) != 0) {
        note_failure(b, address, n, err);
        return false;
    }
    b->stream[BRIDGE_REMOTE] = to.stream;
    b->peer = to.peer;
    b->tls_version = to.tls_version;
    b->link = make_link(b);
    link_begin(b->link, clock_mono_ms());
    carry(b);
    if (link_phase(b->link) == LINK_ENDED && !b->status.connected) {
        note_local(b);
    }
    bool again = false;
    if (link_forgot(b->link)) {
        b->local_is_new = false;
        again = true;
    } else if (link_private_refused(b->link) && !bridge_stopping(b)) {
        log_info("the remote does not know bridges: connecting as a plain client", "bridge=%s",
                 b->settings->name);
        b->plain = again = true;
    } else {
        note_failure(b, address, n, link_error(b->link));
    }
    link_free(b->link);
    b->link = NULL;
    return again;
}

/* Each address in turn, until one was open. */
static void connect_round(struct bridge *b, bool *held)
{
    const char *at = b->settings->address;
    *held = false;
    while (*at != '\0' && !*held && !bridge_stopping(b)) {
        size_t n = strcspn(at, ",");
        uint64_t connects = b->status.connects, began = clock_mono_ms();
        while (connect_once(b, at, n) && !bridge_stopping(b)) {
        }
        *held = b->status.connects != connects && clock_mono_ms() - began >= HELD_MS;
        if (b->status.connects != connects) {
            return; /* it was open: the first one is tried first again */
        }
        at += n;
        at += strspn(at, ", ");
    }
}

/* ---- the thread ---- */

static unsigned random_below(unsigned n)
{
    uint32_t r = 0;
    ssize_t got = getrandom(&r, sizeof r, 0);
    return got == (ssize_t)sizeof r && n > 0 ? r % n : 0;
}

/* The wait, less up to a half of it: bridges of many brokers do not come at once. */
static void pause_for(struct bridge *b, uint64_t ms)
{
    struct pollfd fd = {.fd = b->stop, .events = POLLIN};
    unsigned half = (unsigned)(ms / 2);
    (void)poll(&fd, 1, (int)(ms - random_below(half + 1)));
}

static void *run(void *arg)
{
    struct bridge *b = arg;
    const struct bridge_settings *s = b->settings;
    uint64_t wait = s->retry_min_ms;
    bool held, prepared = prepare(b);
    (void)sem_post(&b->all->prepared);
    while (!bridge_stopping(b)) {
        prepared = prepared || prepare(b);
        held = false;
        if (prepared) {
            connect_round(b, &held);
        }
        wait = held ? s->retry_min_ms : wait;
        if (!bridge_stopping(b)) {
            pause_for(b, wait);
        }
        wait = wait * 2 < s->retry_max_ms ? wait * 2 : s->retry_max_ms;
    }
    return NULL;
}

/* ---- all of them ---- */

static char *text_of(const char *a, const char *between, const char *b)
{
    size_t n = strlen(a) + strlen(between) + strlen(b) + 1;
    char *out = mem_alloc(n);
    (void)snprintf(out, n, "%s%s%s", a, between, b);
    return out;
}

static int init(struct bridges *all, struct bridge *b, const struct bridge_settings *s,
                char err[BRIDGE_ERROR_MAX])
{
    const struct tls_client_settings tls = {
        .ca = s->ca, .certificate = s->certificate, .key = s->key, .verify = s->verify};
    char why[TLS_CLIENT_ERROR_MAX];
    b->all = all;
    b->settings = s;
    (void)pthread_mutex_init(&b->lock, NULL);
    bridge_mapping_init(&b->mapping, s->topics, s->topic_count);
    b->local_id = text_of(all->parts.local_prefix, "", s->name);
    b->remote_id = s->client_id[0] != '\0' ? text_of(s->client_id, "", "")
                                           : text_of(all->parts.node, ".", s->name);
    b->tls_version = "";
    b->status.name = s->name;
    b->status.address = s->address;
    b->status.since_us = clock_wall_us();
    b->stop = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (b->stop < 0) {
        (void)snprintf(err, BRIDGE_ERROR_MAX, "bridge %s: %s", s->name, strerror(errno));
        return -1;
    }
    if (s->protocol != BRIDGE_MQTTS) {
        return 0;
    }
    b->tls = tls_client_context_new(&tls, why);
    if (b->tls == NULL) {
        (void)snprintf(err, BRIDGE_ERROR_MAX, "bridge %s: %s", s->name, why);
        return -1;
    }
    return 0;
}

int bridges_new(struct bridges **out, const struct bridge_parts *parts, char err[BRIDGE_ERROR_MAX])
{
    struct bridges *all = mem_new(1, sizeof *all);
    all->parts = *parts;
    all->items = mem_new(parts->count, sizeof *all->items);
    (void)sem_init(&all->prepared, 0, 0);
    for (unsigned i = 0; i < parts->count; i++) {
        all->items[i].stop = -1;
    }
    for (unsigned i = 0; i < parts->count; i++) {
        if (init(all, &all->items[i], &parts->settings[i], err) != 0) {
            bridges_free(all);
            return -1;
        }
    }
    *out = all;
    return 0;
}

static struct timespec in_seconds(int seconds)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    t.tv_sec += seconds;
    return t;
}

void bridges_start(struct bridges *all)
{
    const struct timespec until = in_seconds(START_SECONDS);
    for (unsigned i = 0; i < all->parts.count; i++) {
        struct bridge *b = &all->items[i];
        if (b->tls != NULL && !b->settings->verify) {
            log_warn("the remote's certificate is not checked: anyone can be the remote",
                     "bridge=%s", b->settings->name);
        }
        char name[24];
        int err = pthread_create(&b->thread, NULL, run, b);
        assert(err == 0);
        b->running = err == 0;
        (void)snprintf(name, sizeof name, "bridge-%u", i);
        (void)pthread_setname_np(b->thread, name);
    }
    for (unsigned i = 0; i < all->parts.count; i++) {
        while (sem_timedwait(&all->prepared, &until) != 0 && errno == EINTR) {
        }
    }
}

void bridges_stop(struct bridges *all)
{
    const struct timespec until = in_seconds(STOP_SECONDS);
    for (unsigned i = 0; i < bridges_count(all); i++) {
        ssize_t put = write(all->items[i].stop, &(uint64_t){1}, sizeof(uint64_t));
        (void)put;
    }
    for (unsigned i = 0; i < bridges_count(all); i++) {
        struct bridge *b = &all->items[i];
        if (b->running && pthread_timedjoin_np(b->thread, NULL, &until) == 0) {
            b->running = false;
        } else if (
            b->running) { /* in a name look-up: it touches nothing of the broker behind that */
            log_warn("a bridge did not stop in time", "bridge=%s", b->settings->name);
        }
    }
}

static void fini(struct bridge *b)
{
    bridge_mapping_fini(&b->mapping);
    tls_client_context_free(b->tls);
    free(b->local_id);
    free(b->remote_id);
    if (b->stop >= 0) {
        (void)close(b->stop);
    }
    if (b->settings != NULL) {
        (void)pthread_mutex_destroy(&b->lock);
    }
}

void bridges_free(struct bridges *all)
{
    if (all == NULL) {
        return;
    }
    for (unsigned i = 0; i < all->parts.count; i++) {
        if (all->items[i].running) {
            return; /* it still reads this; the process is about to end */
        }
    }
    for (unsigned i = 0; i < all->parts.count; i++) {
        fini(&all->items[i]);
    }
    (void)sem_destroy(&all->prepared);
    free(all->items);
    free(all);
}

unsigned bridges_count(const struct bridges *b)
{
    return b == NULL ? 0 : b->parts.count;
}

void bridges_status(struct bridges *all, unsigned i, struct bridge_status *out)
{
    struct bridge *b = &all->items[i];
    struct bridge_counters *c = &b->counters;
    (void)pthread_mutex_lock(&b->lock);
    *out = b->status;
    (void)pthread_mutex_unlock(&b->lock);
    out->out = atomic_load_explicit(&c->out, memory_order_relaxed);
    out->in = atomic_load_explicit(&c->in, memory_order_relaxed);
    out->looped = atomic_load_explicit(&c->looped, memory_order_relaxed);
    out->unmapped = atomic_load_explicit(&c->unmapped, memory_order_relaxed);
    out->too_large = atomic_load_explicit(&c->too_large, memory_order_relaxed);
    out->refused = atomic_load_explicit(&c->refused, memory_order_relaxed);
}
