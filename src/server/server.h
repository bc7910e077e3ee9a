/*
 * The broker as the API sees it: counts, listeners, and messages to the loop that owns a client.
 * Any thread but a loop's; calls that wait for a loop say so and are bounded in time.
 */
#ifndef TMQ_SERVER_SERVER_H
#define TMQ_SERVER_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct server;
struct auth;
struct config;
struct config_error;
struct store;
struct trace;

struct server_parts {
    const struct config *config; /* outlives the server, as the others do */
    struct auth *auth;
    struct store *store;
    struct trace *trace;
    unsigned loops;
};

/* main: binds the listeners (nobody is accepted yet). -1: err says which address is taken or wrong. */
int server_new(struct server **out, const struct server_parts *parts, struct config_error *err)
    __attribute__((warn_unused_result));
/* main: restores sessions, starts the loops and accepts. 0 or a negative errno. */
int server_start(struct server *s) __attribute__((warn_unused_result));
/* main: ends every connection with server.shutdown, waits for its records and batches, stops the loops. */
void server_stop(struct server *s);
/* NULL-safe. */
void server_free(struct server *s);
/* Loops for `loops` = 0: one per CPU of the affinity mask, at most 64. */
unsigned server_default_loops(void);

struct server_stats {
    uint64_t connections;       /* open network connections, identified or not */
    uint64_t clients_connected; /* accepted */
    uint64_t clients_total;     /* sessions, connected or kept */
    uint64_t subscriptions, retained, messages_queued;
    uint64_t messages_received, messages_sent, messages_dropped; /* PUBLISH */
    uint64_t bytes_received, bytes_sent;
    uint64_t accepted_total, refused_total;
    uint64_t uptime_ms;
};
void server_stats(struct server *s, struct server_stats *out);

struct server_listener_info {
    const char *name;     /* "mqtt" */
    const char *protocol; /* "mqtt", "mqtts", "ws", "wss" */
    const char *address;  /* "127.0.0.1:1883", the chosen port */
};
/* Listener `i`, or NULL behind the last. Lives as long as `s`. */
const struct server_listener_info *server_listener(const struct server *s, unsigned i);

/* True once the store is replayed, crash closes are committed and all listeners accept. */
bool server_ready(const struct server *s);

/* Ends the client's connection with admin.kick; `by` goes into the evidence. Waits for the loop, at most 5 s.
 * 0, -ENOENT: not connected, -ETIMEDOUT. */
int server_kick(struct server *s, struct slice instance, struct slice client_id, const char *by)
    __attribute__((warn_unused_result));

/* Tells all loops that settings changed: connections whose user is gone end with auth.revoked. Does not wait. */
void server_settings_changed(struct server *s);

#endif
