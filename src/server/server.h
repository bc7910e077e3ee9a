/*
 * The broker as the API sees it: counts, listeners, and messages to the loop that owns a client.
 * Any thread but a loop's; calls that wait for a loop say so and are bounded in time.
 */
#ifndef TMQ_SERVER_SERVER_H
#define TMQ_SERVER_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "server/server_counts.h"

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
    const char *
        id; /* of this broker, unique in the world; NULL: it has none, bridges then tell no loops */
    unsigned loops;
};

/* main: binds the listeners (nobody is accepted yet). -1: err says which address is taken or wrong. */
int server_new(struct server **out, const struct server_parts *parts, struct config_error *err)
    __attribute__((warn_unused_result));
/* main: restores sessions, starts the loops and accepts. 0 or a negative errno. */
int server_start(struct server *s) __attribute__((warn_unused_result));
/* main: behind server_start(), when all that clients are to find is there. */
void server_set_ready(struct server *s);
/* main: ends every connection with server.shutdown, waits for its records and batches, stops the loops. */
void server_stop(struct server *s);
/* NULL-safe. */
void server_free(struct server *s);
/* For a program that ends: closes the listeners and leaves the memory to the kernel, which takes a million sessions back at
 * once; freeing each takes seconds. NULL-safe. */
void server_leave(struct server *s);
/* Loops for `loops` = 0: one per CPU of the affinity mask, at most 64. */
unsigned server_default_loops(void);

struct server_stats {
    struct counts n; /* of all workers together */
    uint64_t subscriptions, shared_subscriptions;
    uint64_t retained, retained_bytes;
    uint64_t memory_max, memory_full; /* bytes, 0 = no limit; 1 while it is passed */
    uint64_t uptime_ms;
};
void server_stats(struct server *s, struct server_stats *out);

/* One loop's work since start. */
struct server_loop {
    uint64_t rounds, busy_ms, stalls, longest_ms;
};
/* Loop `i`; false behind the last. */
bool server_loop(const struct server *s, unsigned i, struct server_loop *out);

struct server_listener_info {
    const char *name;     /* "mqtt" */
    const char *protocol; /* "mqtt", "mqtts", "ws", "wss" */
    const char *address;  /* "127.0.0.1:1883", the chosen port */
    const char *path;     /* of WebSocket: "/mqtt"; else NULL */
    bool proxied;         /* for load balancers only: connections begin with a PROXY header */
};
/* Listener `i`, or NULL behind the last. Lives as long as `s`. */
const struct server_listener_info *server_listener(const struct server *s, unsigned i);

/* When the first certificate of listener `i` ends, seconds since 1970; 0: it has no TLS. Any thread. */
int64_t server_certificate_end(struct server *s, unsigned i);
/* Whether the certificate files of all listeners are good. 0; or -1, and `err` says what is wrong with the first. */
int server_check_tls(const struct config *c, struct config_error *err)
    __attribute__((warn_unused_result));
/*
 * Reads the certificate files of all listeners again; connections go on with what they have. A listener whose files are bad
 * keeps its old ones, and `err` says what is wrong with the first such. How many have new ones, or -1. Any thread.
 */
int server_reload_tls(struct server *s, struct config_error *err)
    __attribute__((warn_unused_result));

/* True once the store is replayed, crash closes are committed and all listeners accept. */
bool server_ready(const struct server *s);

/*
 * Asks every loop and the commit thread for a sign of life, without waiting. True: all have given the one that was asked for by
 * the last call. Main's thread, between start and stop.
 */
bool server_pulse(struct server *s);

/* Ends the client's connection with admin.kick; `by` goes into the evidence. Waits for the loop, at most 5 s.
 * 0, -ENOENT: not connected, -ETIMEDOUT. */
int server_kick(struct server *s, struct slice instance, struct slice client_id, const char *by)
    __attribute__((warn_unused_result));

/*
 * A connection of the broker to itself, the other end of `fd` (not blocking; taken over): a client with all rights. The client
 * ID that its CONNECT will name begins with SERVER_OWN_ID, which no other client's may.
 */
#define SERVER_OWN_ID "$bridge/"
struct sockaddr;
struct server_own {
    int fd;
    bool forget_incoming; /* QoS 2 messages that its session has received and not released */
    bool prepares;        /* it only subscribes: messages stay in its session */
    const char *client_id;
    const struct sockaddr *peer; /* what the history shows as its address; NULL: none */
};
void server_attach(struct server *s, const struct server_own *own);

/*
 * From now on `c` holds (its LIVE rows; what others say must be as before). Behind it no loop reads the configuration that
 * was there: 0; or -ETIMEDOUT: one may, it must stay. One thread at a time, between start and stop.
 */
int server_use_config(struct server *s, const struct config *c) __attribute__((warn_unused_result));

/* Tells all loops that settings changed: connections whose user is gone end with auth.revoked. Does not wait. */
void server_settings_changed(struct server *s);

#endif
