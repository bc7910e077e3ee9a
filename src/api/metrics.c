/*
 * GET /metrics: counters of broker, store and trace in Prometheus' text format. Plain numbers come from one table: name, type,
 * help, value; what has labels follows in functions.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/process.h"
#include "api/prometheus.h"
#include "auth/auth.h"
#include "base/mem.h"
#include "bridge/bridge.h"
#include "server/reload_control.h"
#include "server/server.h"
#include "trace/trace.h"

enum { LABELS_MAX = 160 };

struct metrics_source {
    struct server_stats server;
    struct trace_stats trace;
    struct auth_stats auth;
    uint64_t degraded, ready, streams, heap;
};

#define SOURCE(member) offsetof(struct metrics_source, member)

static const struct metric {
    const char *name, *type, *help;
    size_t offset; /* of a uint64_t in struct metrics_source */
} metrics[] = {
    {"ready", "gauge", "1 when the broker is ready for clients", SOURCE(ready)},
    {"connections", "gauge", "open network connections, accepted as clients or not",
     SOURCE(server.n.connections)},
    {"connections_opened_total", "counter", "network connections since start",
     SOURCE(server.n.opened)},
    {"connections_refused_total", "counter", "connections that ended before they were accepted",
     SOURCE(server.n.refused)},
    {"sessions_expired_total", "counter", "sessions whose expiry interval was over",
     SOURCE(server.n.expired)},
    {"received_bytes_total", "counter", "bytes received from clients", SOURCE(server.n.bytes_in)},
    {"sent_bytes_total", "counter", "bytes sent to clients", SOURCE(server.n.bytes_out)},
    {"publish_received_payload_bytes_total", "counter", "payload bytes of PUBLISH received",
     SOURCE(server.n.publish_bytes_in)},
    {"publish_sent_payload_bytes_total", "counter", "payload bytes of PUBLISH sent",
     SOURCE(server.n.publish_bytes_out)},
    {"publish_unmatched_total", "counter", "PUBLISH received that nobody was subscribed to",
     SOURCE(server.n.unmatched)},
    {"messages_filtered_total", "counter",
     "messages that came by a filtered subscription to who may not read them",
     SOURCE(server.n.filtered)},
    {"messages_queued", "gauge", "messages in the queues of sessions, in flight or waiting",
     SOURCE(server.n.queued)},
    {"messages_inflight", "gauge", "messages sent to clients and not acknowledged",
     SOURCE(server.n.inflight)},
    {"queued_bytes", "gauge", "bytes of the messages in the queues of sessions",
     SOURCE(server.n.queued_bytes)},
    {"delayed_messages", "gauge", "messages to $delayed/… that wait for their time",
     SOURCE(server.n.delayed)},
    {"delayed_bytes", "gauge", "bytes of the delayed messages", SOURCE(server.n.delayed_bytes)},
    {"delayed_total", "counter", "messages that were delayed", SOURCE(server.n.delayed_total)},
    {"retained_messages", "gauge", "retained messages", SOURCE(server.retained)},
    {"retained_bytes", "gauge", "bytes of retained messages", SOURCE(server.retained_bytes)},
    {"subscriptions", "gauge", "subscriptions", SOURCE(server.subscriptions)},
    {"shared_subscriptions", "gauge", "of them, shared ones", SOURCE(server.shared_subscriptions)},
    {"auth_cache_hits_total", "counter", "logins found in the cache of logins", SOURCE(auth.hits)},
    {"auth_cache_misses_total", "counter", "logins that were not", SOURCE(auth.misses)},
    {"store_write_errors_total", "counter", "writes that the store refused",
     SOURCE(trace.store.write_errors)},
    {"store_sync_errors_total", "counter", "syncs that failed", SOURCE(trace.store.sync_errors)},
    {"trace_records_total", "counter", "trace records written since start",
     SOURCE(trace.committed)},
    {"trace_next_seq", "gauge", "sequence number of the next trace record", SOURCE(trace.next_seq)},
    {"trace_commits_total", "counter", "journal writes", SOURCE(trace.commits)},
    {"trace_syncs_total", "counter", "journal syncs", SOURCE(trace.syncs)},
    {"trace_dropped_total", "counter", "trace records lost; gap records tell when",
     SOURCE(trace.dropped)},
    {"trace_gaps", "gauge", "gaps within the history that is kept", SOURCE(trace.gaps)},
    {"trace_ring_waits_total", "counter", "records that had to wait for room in a loop's ring",
     SOURCE(server.n.ring_waits)},
    {"trace_ring_bytes", "gauge", "bytes of records in the rings, not visible yet",
     SOURCE(trace.ring_bytes)},
    {"trace_buffer_bytes", "gauge", "memory of the trace's buffers", SOURCE(trace.buffer_bytes)},
    {"trace_open_channels", "gauge", "channels without an ending yet", SOURCE(trace.open)},
    {"trace_degraded", "gauge", "1 while the store refuses writes", SOURCE(degraded)},
    {"api_streams", "gauge", "open event streams", SOURCE(streams)},
    {"heap_bytes", "gauge", "bytes that the program has allocated", SOURCE(heap)},
    {"memory_limit_bytes", "gauge", "max_memory, 0 without a limit", SOURCE(server.memory_max)},
    {"memory_full", "gauge", "1 while max_memory is passed", SOURCE(server.memory_full)},
};

__attribute__((format(printf, 2, 3))) static const char *labels(char out[LABELS_MAX],
                                                                const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(out, LABELS_MAX, fmt, ap);
    va_end(ap);
    return out;
}

static void put_causes(struct buf *b, const struct counts *n)
{
    char l[LABELS_MAX];
    prometheus_head(b, "connects_total", "counter", "clients accepted, by cause");
    for (unsigned c = 0; c < CAUSE_COUNT; c++) {
        const struct cause_info *i = cause_info((enum cause)c);
        if (i->action == ACTION_CONNECT) {
            prometheus_count(b, "connects_total", labels(l, "cause=\"%s\"", i->code), n->begun[c]);
        }
    }
    prometheus_head(b, "connections_closed_total", "counter", "connections ended, by cause");
    for (unsigned c = 0; c < CAUSE_COUNT; c++) {
        const struct cause_info *i = cause_info((enum cause)c);
        if (i->action != ACTION_CONNECT) {
            labels(l, "cause=\"%s\",description=\"%s\"", i->code,
                   cause_description_text(i->description));
            prometheus_count(b, "connections_closed_total", l, n->ended[c]);
        }
    }
}

static void put_packets(struct buf *b, const char *name, const char *help,
                        const uint64_t packets[16])
{
    char l[LABELS_MAX];
    prometheus_head(b, name, "counter", help);
    for (unsigned t = 1; t < 16; t++) {
        prometheus_count(b, name, labels(l, "type=\"%s\"", count_packet_label(t)), packets[t]);
    }
}

static void put_qos(struct buf *b, const char *name, const char *help, const uint64_t messages[3])
{
    char l[LABELS_MAX];
    prometheus_head(b, name, "counter", help);
    for (unsigned qos = 0; qos < 3; qos++) {
        prometheus_count(b, name, labels(l, "qos=\"%u\"", qos), messages[qos]);
    }
}

static void put_messages(struct buf *b, const struct counts *n)
{
    char l[LABELS_MAX];
    put_packets(b, "packets_received_total", "MQTT packets received, by type", n->packets_in);
    put_packets(b, "packets_sent_total", "MQTT packets sent, by type", n->packets_out);
    put_qos(b, "publish_received_total", "PUBLISH received, by QoS", n->publish_in);
    put_qos(b, "publish_sent_total", "PUBLISH sent, by QoS", n->publish_out);
    prometheus_head(b, "messages_dropped_total", "counter",
                    "messages that did not go to somebody who was to get them, by reason");
    for (unsigned i = 0; i < DROP_REASONS; i++) {
        labels(l, "reason=\"%s\"", count_drop_label((enum drop_reason)i));
        prometheus_count(b, "messages_dropped_total", l, n->dropped[i]);
    }
}

static void put_sessions(struct buf *b, const struct counts *n)
{
    uint64_t offline = n->sessions > n->clients ? n->sessions - n->clients : 0;
    prometheus_head(b, "sessions", "gauge", "sessions with a connection, and without");
    prometheus_count(b, "sessions", "state=\"online\"", n->clients);
    prometheus_count(b, "sessions", "state=\"offline\"", offline);
}

/* One family after another, as the format wants it. */
static void put_loops(struct buf *b, struct server *s)
{
    static const struct {
        const char *name, *type, *help;
        size_t at;
        bool time;
    } rows[] = {
        {"loop_rounds_total", "counter", "rounds of the loop", offsetof(struct server_loop, rounds),
         false},
        {"loop_busy_seconds_total", "counter", "time in rounds, the rest it slept",
         offsetof(struct server_loop, busy_ms), true},
        {"loop_stalls_total", "counter", "rounds, or wake-ups late, by more than 200 ms",
         offsetof(struct server_loop, stalls), false},
        {"loop_longest_round_seconds", "gauge", "the longest round since start",
         offsetof(struct server_loop, longest_ms), true},
    };
    char l[LABELS_MAX];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct server_loop loop;
        prometheus_head(b, rows[i].name, rows[i].type, rows[i].help);
        for (unsigned k = 0; server_loop(s, k, &loop); k++) {
            uint64_t v;
            memcpy(&v, (const uint8_t *)&loop + rows[i].at, sizeof v);
            labels(l, "loop=\"%u\"", k);
            if (rows[i].time) {
                prometheus_seconds(b, rows[i].name, l, (double)v / 1000);
            } else {
                prometheus_count(b, rows[i].name, l, v);
            }
        }
    }
}

static void put_all(struct buf *b, struct request *rq, const struct metrics_source *s)
{
    char l[LABELS_MAX];
    prometheus_head(b, "build_info", "gauge", "1; the labels say what runs");
    prometheus_count(b, "build_info", labels(l, "version=\"%s\"", TRACEMQ_VERSION), 1);
    prometheus_head(b, "uptime_seconds", "gauge", "time since start");
    prometheus_seconds(b, "uptime_seconds", "", (double)s->server.uptime_ms / 1000);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        const struct metric *m = &metrics[i];
        uint64_t v;
        memcpy(&v, (const uint8_t *)s + m->offset, sizeof v);
        prometheus_one(b, m->name, m->type, m->help, v);
    }
    put_sessions(b, &s->server.n);
    put_causes(b, &s->server.n);
    put_messages(b, &s->server.n);
    put_loops(b, rq->api->o.server);
    prometheus_histogram(b, "store_write_seconds", "writes of a batch to the store",
                         &s->trace.store.writes);
    prometheus_histogram(b, "store_sync_seconds", "syncs of the store to the disk",
                         &s->trace.store.syncs);
    process_metrics(b);
}

/* One row for each bridge, told apart by its name. */
static const struct bridge_metric {
    const char *name, *type, *help;
    size_t offset; /* of a uint64_t in struct bridge_status */
} bridge_metrics[] = {
    {"bridge_messages_out_total", "counter", "messages forwarded to the remote",
     offsetof(struct bridge_status, out)},
    {"bridge_messages_in_total", "counter", "messages forwarded from the remote",
     offsetof(struct bridge_status, in)},
    {"bridge_looped_total", "counter", "messages dropped that had been where they would go",
     offsetof(struct bridge_status, looped)},
    {"bridge_unmapped_total", "counter", "messages dropped that no rule has",
     offsetof(struct bridge_status, unmapped)},
    {"bridge_too_large_total", "counter", "messages dropped that the other side does not take",
     offsetof(struct bridge_status, too_large)},
    {"bridge_refused_total", "counter", "messages that the remote acknowledged with an error",
     offsetof(struct bridge_status, refused)},
    {"bridge_connects_total", "counter", "connections to the remote that came about",
     offsetof(struct bridge_status, connects)},
    {"bridge_failures_total", "counter", "connections that did not, or that ended",
     offsetof(struct bridge_status, failures)},
};

static void put_bridges(struct buf *b, struct bridges *all)
{
    char l[LABELS_MAX];
    struct bridge_status s;
    unsigned count = bridges_count(all);
    if (count == 0) {
        return;
    }
    prometheus_head(b, "bridge_connected", "gauge",
                    "1 while the bridge is connected to its remote");
    for (unsigned i = 0; i < count; i++) {
        bridges_status(all, i, &s);
        prometheus_count(b, "bridge_connected", labels(l, "name=\"%s\"", s.name), s.connected);
    }
    for (size_t m = 0; m < sizeof bridge_metrics / sizeof *bridge_metrics; m++) {
        const struct bridge_metric *row = &bridge_metrics[m];
        prometheus_head(b, row->name, row->type, row->help);
        for (unsigned i = 0; i < count; i++) {
            uint64_t v;
            bridges_status(all, i, &s);
            memcpy(&v, (const uint8_t *)&s + row->offset, sizeof v);
            prometheus_count(b, row->name, labels(l, "name=\"%s\"", s.name), v);
        }
    }
}

static void put_reload(struct buf *b, const struct reload *r)
{
    if (r == NULL) {
        return;
    }
    struct reload_last last = reload_last(r);
    prometheus_one(b, "config_last_reload_successful", "gauge",
                   "1 when the last reload of the configuration went well", last.good);
    prometheus_head(b, "config_last_reload_success_timestamp_seconds", "gauge",
                    "when the last one went well, or the start, seconds since 1970");
    prometheus_seconds(b, "config_last_reload_success_timestamp_seconds", "",
                       (double)last.good_us / 1000000);
}

/* A text as it stands between a label's quotes. */
static void escape(char out[LABELS_MAX], const char *text)
{
    size_t n = 0;
    for (; *text != '\0' && n < LABELS_MAX - 3; text++) {
        if (*text == '"' || *text == '\\' || *text == '\n') {
            out[n++] = '\\';
        }
        out[n++] = (char)(*text == '\n' ? 'n' : *text);
    }
    out[n] = '\0';
}

/* Of listeners with one name the certificate that ends first; 0: an earlier one has that name, or there is no TLS. */
static int64_t certificate_end(struct server *s, unsigned i)
{
    const struct server_listener_info *l, *own = server_listener(s, i);
    int64_t first = server_certificate_end(s, i);
    for (unsigned k = 0; first != 0 && (l = server_listener(s, k)) != NULL; k++) {
        int64_t end = server_certificate_end(s, k);
        if (k == i || end == 0 || strcmp(l->name, own->name) != 0) {
            continue;
        }
        first = k < i ? 0 : end < first ? end : first;
    }
    return first;
}

static void put_certificates(struct buf *b, struct server *s)
{
    static const char name[] = "certificate_not_after_timestamp_seconds";
    char l[LABELS_MAX], text[LABELS_MAX];
    const struct server_listener_info *info;
    bool any = false;
    for (unsigned i = 0; (info = server_listener(s, i)) != NULL; i++) {
        int64_t end = certificate_end(s, i);
        if (end == 0) {
            continue;
        }
        if (!any) {
            prometheus_head(b, name, "gauge",
                            "when the listener's certificate ends, seconds since 1970");
        }
        any = true;
        escape(text, info->name);
        prometheus_count(b, name, labels(l, "listener=\"%s\"", text), (uint64_t)end);
    }
}

void handle_metrics(struct request *rq)
{
    struct metrics_source s = {0};
    struct buf b = {0};
    server_stats(rq->api->o.server, &s.server);
    trace_stats(rq->api->o.trace, &s.trace);
    auth_stats(rq->api->o.auth, &s.auth);
    s.degraded = s.trace.degraded;
    s.ready = server_ready(rq->api->o.server);
    s.streams = stream_hub_count(rq->api->streams);
    s.heap = mem_heap_bytes();
    put_all(&b, rq, &s);
    put_bridges(&b, rq->api->o.bridges);
    put_reload(&b, rq->api->o.reload);
    put_certificates(&b, rq->api->o.server);
    reply_response(rq, 200,
                   MHD_create_response_from_buffer(buf_len(&b), b.p, MHD_RESPMEM_MUST_COPY));
    reply_header(rq, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    buf_fini(&b);
}
