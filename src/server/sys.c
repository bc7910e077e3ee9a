/*
 * $SYS/broker/…: the names that Mosquitto has and operators' dashboards know, as retained messages, by worker 0. Only while
 * anyone is subscribed to anything: an idle broker wakes for nothing. What has not changed is not published again; whoever
 * subscribes gets the retained value at once.
 *
 * Load averages are per minute and decay exponentially, by the time that has really passed: after a sleep the interval is long,
 * and its average counts for all of it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { FIRST_MS = 100, TEXT_MAX = 48, TOPIC_MAX = 80, LOADS = 9, SPANS = 3 };

/* What is told, as numbers. */
struct figures {
    uint64_t bytes_in, bytes_out;
    uint64_t clients, clients_away, clients_expired, clients_max, clients_total;
    uint64_t heap, heap_max;
    uint64_t messages_in, messages_out, inflight;
    uint64_t publish_bytes_in, publish_bytes_out;
    uint64_t publish_dropped, publish_in, publish_out;
    uint64_t retained, subscriptions, shared_subscriptions;
    uint64_t stored, stored_bytes;
    uint64_t opened, connects; /* for the loads */
};

#define FIGURE(topic_, member)                                                                     \
    {                                                                                              \
        "$SYS/broker/" topic_, offsetof(struct figures, member)                                    \
    }
static const struct {
    const char *topic;
    size_t at;
} figure_rows[] = {
    FIGURE("bytes/received", bytes_in),
    FIGURE("bytes/sent", bytes_out),
    FIGURE("clients/active", clients),
    FIGURE("clients/connected", clients),
    FIGURE("clients/disconnected", clients_away),
    FIGURE("clients/expired", clients_expired),
    FIGURE("clients/inactive", clients_away),
    FIGURE("clients/maximum", clients_max),
    FIGURE("clients/total", clients_total),
    FIGURE("heap/current", heap), /* Mosquitto's manual has the names with " size", its 2.0 these */
    FIGURE("heap/current size", heap),
    FIGURE("heap/maximum", heap_max),
    FIGURE("heap/maximum size", heap_max),
    FIGURE("messages/inflight", inflight),
    FIGURE("messages/received", messages_in),
    FIGURE("messages/sent", messages_out),
    FIGURE("messages/stored", stored),
    FIGURE("publish/bytes/received", publish_bytes_in),
    FIGURE("publish/bytes/sent", publish_bytes_out),
    FIGURE("publish/messages/dropped", publish_dropped),
    FIGURE("publish/messages/received", publish_in),
    FIGURE("publish/messages/sent", publish_out),
    FIGURE("retained messages/count", retained),
    FIGURE("shared_subscriptions/count", shared_subscriptions),
    FIGURE("store/messages/bytes", stored_bytes),
    FIGURE("store/messages/count", stored),
    FIGURE("subscriptions/count", subscriptions),
};
enum { FIGURES = sizeof figure_rows / sizeof *figure_rows };

static const struct {
    const char *topic;
    size_t at;
} load_rows[LOADS] = {
    FIGURE("load/bytes/received", bytes_in),
    FIGURE("load/bytes/sent", bytes_out),
    FIGURE("load/connections", connects),
    FIGURE("load/messages/received", messages_in),
    FIGURE("load/messages/sent", messages_out),
    FIGURE("load/publish/dropped", publish_dropped),
    FIGURE("load/publish/received", publish_in),
    FIGURE("load/publish/sent", publish_out),
    FIGURE("load/sockets", opened),
};
static const unsigned spans[SPANS] = {1, 5, 15}; /* minutes */

/* Worker 0's. */
struct sys {
    char told[FIGURES][TEXT_MAX], load_told[LOADS][SPANS][TEXT_MAX];
    char uptime_told[TEXT_MAX];
    bool version_told;
    double load[LOADS][SPANS];
    struct figures before; /* at the last look */
    uint64_t before_ms, heap_max;
};

static uint64_t figure(const struct figures *f, size_t at)
{
    uint64_t v;
    memcpy(&v, (const char *)f + at, sizeof v);
    return v;
}

static uint64_t sum(const uint64_t *numbers, size_t n)
{
    uint64_t all = 0;
    for (size_t i = 0; i < n; i++) {
        all += numbers[i];
    }
    return all;
}

static void look(struct worker *w, struct figures *f)
{
    struct server_stats st;
    server_stats(w->server, &st);
    const struct counts *n = &st.n;
    uint64_t heap = mem_heap_bytes();
    w->sys->heap_max = heap > w->sys->heap_max ? heap : w->sys->heap_max;
    *f = (struct figures){
        .bytes_in = n->bytes_in,
        .bytes_out = n->bytes_out,
        .clients = n->clients,
        .clients_away = n->sessions > n->clients ? n->sessions - n->clients : 0,
        .clients_expired = n->expired,
        .clients_max = atomic_load_explicit(&w->server->clients_max, memory_order_relaxed),
        .clients_total = n->sessions,
        .heap = heap,
        .heap_max = w->sys->heap_max,
        .messages_in = sum(n->packets_in, 16),
        .messages_out = sum(n->packets_out, 16),
        .inflight = n->inflight,
        .publish_bytes_in = n->publish_bytes_in,
        .publish_bytes_out = n->publish_bytes_out,
        .publish_dropped = sum(n->dropped, DROP_REASONS),
        .publish_in = n->packets_in[MQTT_PUBLISH],
        .publish_out = n->packets_out[MQTT_PUBLISH],
        .retained = st.retained,
        .subscriptions = st.subscriptions,
        .shared_subscriptions = st.shared_subscriptions,
        .stored = st.retained + n->queued,
        .stored_bytes = st.retained_bytes + n->queued_bytes,
        .opened = n->opened,
        .connects = n->packets_in[MQTT_CONNECT],
    };
}

static void publish_text(struct worker *w, const char *topic, const char *value)
{
    struct route_result r = {0};
    struct mqtt_publish p = {
        .topic = slice_str(topic), .payload = slice_str(value), .retain = true};
    route_publish(w, NULL, 0, &p, hash64(p.topic), 0, &r);
}

/* As far as it is news; `told` is what was said last. */
static void tell(struct worker *w, const char *topic, const char *value, char told[TEXT_MAX])
{
    if (strcmp(value, told) != 0) {
        (void)snprintf(told, TEXT_MAX, "%s", value);
        publish_text(w, topic, value);
    }
}

static void tell_figures(struct worker *w, const struct figures *now)
{
    char text[TEXT_MAX];
    for (size_t i = 0; i < FIGURES; i++) {
        (void)snprintf(text, sizeof text, "%llu",
                       (unsigned long long)figure(now, figure_rows[i].at));
        tell(w, figure_rows[i].topic, text, w->sys->told[i]);
    }
}

static void tell_loads(struct worker *w, const struct figures *now, double minutes)
{
    struct sys *sys = w->sys;
    char text[TEXT_MAX], topic[TOPIC_MAX];
    for (size_t i = 0; i < LOADS; i++) {
        uint64_t more = figure(now, load_rows[i].at) - figure(&sys->before, load_rows[i].at);
        double rate = (double)more / minutes;
        for (size_t k = 0; k < SPANS; k++) {
            double decay = exp(-minutes / spans[k]);
            sys->load[i][k] = rate + decay * (sys->load[i][k] - rate);
            (void)snprintf(text, sizeof text, "%.2f", sys->load[i][k]);
            (void)snprintf(topic, sizeof topic, "%s/%umin", load_rows[i].topic, spans[k]);
            tell(w, topic, text, sys->load_told[i][k]);
        }
    }
}

static void publish_all(struct worker *w)
{
    struct sys *sys = w->sys;
    struct figures now;
    char uptime[TEXT_MAX];
    uint64_t now_ms = loop_now_ms(w->loop);
    look(w, &now);
    if (!sys->version_told) {
        sys->version_told = true;
        publish_text(w, "$SYS/broker/version", "TraceMQ " TRACEMQ_VERSION);
    }
    (void)snprintf(uptime, sizeof uptime, "%llu seconds",
                   (unsigned long long)((now_ms - w->server->started_ms) / 1000));
    tell(w, "$SYS/broker/uptime", uptime, sys->uptime_told);
    tell_figures(w, &now);
    if (now_ms > sys->before_ms) {
        tell_loads(w, &now, (double)(now_ms - sys->before_ms) / 60000);
        sys->before = now;
        sys->before_ms = now_ms;
    }
}

static void arm(struct worker *w, uint64_t delay_ms)
{
    loop_timer_set(w->loop, &w->sys_timer, loop_now_ms(w->loop) + delay_ms);
}

static void on_timer(struct timer *t)
{
    struct worker *w = LIST_ENTRY(t, struct worker, sys_timer);
    struct server *s = w->server;
    publish_all(w);
    /* lowered before the count is read: a subscriber that comes in between raises it again */
    atomic_store(&s->sys_awake, false);
    uint64_t interval_ms = s->config->sys_interval_ms;
    if (interval_ms > 0 && topics_count(s->topics) > 0 && !atomic_exchange(&s->sys_awake, true)) {
        arm(w, interval_ms);
    }
}

void sys_configure(struct worker *w)
{
    if (w->index == 0 && w->server->config->sys_interval_ms > 0) {
        atomic_store(&w->server->sys_awake, true);
        arm(w, FIRST_MS);
    }
}

void sys_start(struct worker *w)
{
    timer_init(&w->sys_timer, on_timer);
    if (w->index == 0) {
        w->sys = mem_new(1, sizeof *w->sys);
        w->sys->before_ms = loop_now_ms(w->loop);
    }
    sys_configure(w);
}

void sys_free(struct sys *sys)
{
    free(sys);
}

void sys_wanted(struct server *s)
{
    if (s->config->sys_interval_ms == 0 ||
        atomic_load_explicit(&s->sys_awake, memory_order_relaxed) ||
        atomic_exchange(&s->sys_awake, true)) {
        return;
    }
    struct mail *m = mem_new(1, sizeof *m);
    m->kind = MAIL_SYS;
    worker_post(s->workers[0], m);
}

void sys_wake(struct worker *w)
{
    arm(w, FIRST_MS);
}

void sys_note_clients(struct server *s)
{
    uint64_t now = 0;
    for (unsigned i = 0; i < s->worker_count; i++) {
        now += atomic_load_explicit(&s->workers[i]->count.clients, memory_order_relaxed);
    }
    uint64_t max = atomic_load_explicit(&s->clients_max, memory_order_relaxed);
    while (now > max &&
           !atomic_compare_exchange_weak_explicit(&s->clients_max, &max, now, memory_order_relaxed,
                                                  memory_order_relaxed)) {
    }
}
