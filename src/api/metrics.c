/* GET /metrics: counters of broker and trace in Prometheus' text format. One table: name, type, help, value. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "server/server.h"
#include "trace/trace.h"

struct metrics_source {
    struct server_stats server;
    struct trace_stats trace;
    uint64_t degraded, ready, streams;
};

#define SOURCE(member) offsetof(struct metrics_source, member)

static const struct metric {
    const char *name, *type, *help;
    size_t offset; /* of a uint64_t in struct metrics_source */
} metrics[] = {
    {"ready", "gauge", "1 when the broker is ready for clients", SOURCE(ready)},
    {"connections", "gauge", "open network connections", SOURCE(server.connections)},
    {"clients_connected", "gauge", "accepted clients", SOURCE(server.clients_connected)},
    {"sessions", "gauge", "sessions, connected or kept", SOURCE(server.clients_total)},
    {"subscriptions", "gauge", "subscriptions", SOURCE(server.subscriptions)},
    {"retained_messages", "gauge", "retained messages", SOURCE(server.retained)},
    {"messages_queued", "gauge", "messages in the queues of sessions",
     SOURCE(server.messages_queued)},
    {"messages_received_total", "counter", "PUBLISH packets received",
     SOURCE(server.messages_received)},
    {"messages_sent_total", "counter", "PUBLISH packets sent", SOURCE(server.messages_sent)},
    {"messages_dropped_total", "counter", "messages dropped", SOURCE(server.messages_dropped)},
    {"received_bytes_total", "counter", "bytes received from clients",
     SOURCE(server.bytes_received)},
    {"sent_bytes_total", "counter", "bytes sent to clients", SOURCE(server.bytes_sent)},
    {"accepted_total", "counter", "connections accepted", SOURCE(server.accepted_total)},
    {"refused_total", "counter", "connections refused", SOURCE(server.refused_total)},
    {"uptime_milliseconds", "gauge", "time since start", SOURCE(server.uptime_ms)},
    {"trace_records_total", "counter", "trace records written since start",
     SOURCE(trace.committed)},
    {"trace_next_seq", "gauge", "sequence number of the next trace record", SOURCE(trace.next_seq)},
    {"trace_commits_total", "counter", "journal writes", SOURCE(trace.commits)},
    {"trace_syncs_total", "counter", "journal syncs", SOURCE(trace.syncs)},
    {"trace_dropped_total", "counter", "trace records lost; gap records tell when",
     SOURCE(trace.dropped)},
    {"trace_buffer_bytes", "gauge", "memory of the trace's buffers", SOURCE(trace.buffer_bytes)},
    {"trace_open_channels", "gauge", "channels without an ending yet", SOURCE(trace.open)},
    {"trace_degraded", "gauge", "1 while the store refuses writes", SOURCE(degraded)},
    {"api_streams", "gauge", "open event streams", SOURCE(streams)},
};

static void put_metric(struct buf *b, const struct metric *m, const struct metrics_source *s)
{
    uint64_t v;
    memcpy(&v, (const uint8_t *)s + m->offset, sizeof v);
    char line[256];
    int n = snprintf(line, sizeof line,
                     "# HELP tracemq_%s %s\n# TYPE tracemq_%s %s\ntracemq_%s %" PRIu64 "\n",
                     m->name, m->help, m->name, m->type, m->name, v);
    buf_put(b, line, (size_t)n);
}

void handle_metrics(struct request *rq)
{
    struct metrics_source s = {0};
    struct buf b = {0};
    server_stats(rq->api->o.server, &s.server);
    trace_stats(rq->api->o.trace, &s.trace);
    s.degraded = s.trace.degraded;
    s.ready = server_ready(rq->api->o.server);
    s.streams = stream_hub_count(rq->api->streams);
    for (size_t i = 0; i < sizeof metrics / sizeof metrics[0]; i++) {
        put_metric(&b, &metrics[i], &s);
    }
    reply_response(rq, 200,
                   MHD_create_response_from_buffer(buf_len(&b), b.p, MHD_RESPMEM_MUST_COPY));
    reply_header(rq, "Content-Type", "text/plain; version=0.0.4; charset=utf-8");
    buf_fini(&b);
}
