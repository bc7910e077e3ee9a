/*
 * $SYS/broker/…: the counters that operators' dashboards know, as retained messages, by worker 0. Only while anyone is
 * subscribed to anything: an idle broker wakes for nothing.
 */
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { FIRST_MS = 100 };

static void publish_text(struct worker *w, const char *topic, const char *value)
{
    struct route_result r = {0};
    struct mqtt_publish p = {
        .topic = slice_str(topic), .payload = slice_str(value), .retain = true};
    route_publish(w, NULL, 0, &p, hash64(p.topic), 0, &r);
}

static void publish_number(struct worker *w, const char *topic, uint64_t value)
{
    char text[32];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    publish_text(w, topic, text);
}

static void publish_all(struct worker *w)
{
    struct server_stats st;
    char uptime[48];
    server_stats(w->server, &st);
    const struct {
        const char *topic;
        uint64_t value;
    } rows[] = {
        {"$SYS/broker/clients/connected", st.clients_connected},
        {"$SYS/broker/clients/total", st.clients_total},
        {"$SYS/broker/clients/disconnected",
         st.clients_total > st.clients_connected ? st.clients_total - st.clients_connected : 0},
        {"$SYS/broker/messages/received", st.messages_received},
        {"$SYS/broker/messages/sent", st.messages_sent},
        {"$SYS/broker/publish/messages/received", st.messages_received},
        {"$SYS/broker/publish/messages/sent", st.messages_sent},
        {"$SYS/broker/publish/messages/dropped", st.messages_dropped},
        {"$SYS/broker/messages/stored", st.messages_queued},
        {"$SYS/broker/bytes/received", st.bytes_received},
        {"$SYS/broker/bytes/sent", st.bytes_sent},
        {"$SYS/broker/subscriptions/count", st.subscriptions},
        {"$SYS/broker/retained messages/count", st.retained},
    };
    publish_text(w, "$SYS/broker/version", "TraceMQ " TRACEMQ_VERSION);
    (void)snprintf(uptime, sizeof uptime, "%llu seconds",
                   (unsigned long long)(st.uptime_ms / 1000));
    publish_text(w, "$SYS/broker/uptime", uptime);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        publish_number(w, rows[i].topic, rows[i].value);
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
    if (topics_count(s->topics) > 0 && !atomic_exchange(&s->sys_awake, true)) {
        arm(w, s->config->sys_interval_ms);
    }
}

void sys_start(struct worker *w)
{
    timer_init(&w->sys_timer, on_timer);
    if (w->index == 0 && w->server->config->sys_interval_ms > 0) {
        atomic_store(&w->server->sys_awake, true);
        arm(w, FIRST_MS);
    }
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
