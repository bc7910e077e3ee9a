/*
 * client: many MQTT client connections on one epoll, for one thread.
 *
 * A client belongs to the case that embeds it; the loop only borrows it while its socket is open.
 * Output is gathered and leaves at the end of a round, one send per socket.
 */
#pragma once

#include "transport.h"
#include "wire.h"

#include <netinet/in.h>

struct client {
    struct transport *transport; /* NULL: plain TCP */
    uint8_t *out;                /* gathered output, sent from out_from to out_to */
    uint8_t *rest;               /* bytes of a packet that has not fully arrived */
    size_t out_from, out_to, out_room;
    size_t rest_bytes, rest_room;
    int fd;         /* -1 when closed */
    int send_error; /* errno of a send that failed; the read that follows tells the end */
    uint32_t index; /* the case's own number for it */
    uint8_t role;   /* the case's own kind for it */
    uint8_t state;  /* the case's own state for it */
    bool dirty;     /* is in the loop's list of sockets to send to */
    bool blocked;   /* EPOLLOUT is armed */
};

/* What the loop tells a case. Neither may call loop_round; both may open and close clients. */
struct client_events {
    void (*on_frame)(void *ctx, struct client *c, const struct wire_frame *f);
    /* The peer ended it (error 0: orderly, else an errno); the client is closed already. */
    void (*on_closed)(void *ctx, struct client *c, int error);
};

struct loop {
    const struct client_events *events;
    void *ctx;
    struct sockaddr_in server;
    uint32_t sources; /* how many source addresses from 127.0.0.1 on are used in turn */
    uint32_t next_source;
    enum transport_kind transport; /* of connections to come */
    uint64_t resumed;              /* TLS connections that took up a session */
    int epoll_fd;
    uint8_t *in; /* shared read buffer */
    struct client **dirty;
    size_t dirty_count, dirty_room;
};

/* CLOCK_MONOTONIC in ns. */
int64_t clock_ns(void);

/* 0 or a negative errno. `events` and `ctx` must outlive the loop. */
int loop_init(struct loop *l, const struct client_events *events, void *ctx, uint16_t port,
              uint32_t sources) __attribute__((warn_unused_result));
void loop_fini(struct loop *l);

/* Waits at most timeout_ns, reads what is ready, tells the case. Sends nothing. */
void loop_poll(struct loop *l, int64_t timeout_ns);

/* Sends what the clients gathered. */
void loop_flush(struct loop *l);

/* A closed client in caller's memory. */
void client_init(struct client *c, uint32_t index, uint8_t role);
/* Closes it and frees its buffers. */
void client_fini(struct client *c);

/*
 * Starts a TCP connection and queues the CONNECT. 0 or a negative errno.
 * Don't call it from on_frame or on_closed for a client of which this round may still hold events.
 */
int client_open(struct loop *l, struct client *c, const struct wire_login *login)
    __attribute__((warn_unused_result));

/* Closes the socket; `reset` sends RST instead of FIN. on_closed is not called. */
void client_close(struct client *c, bool reset);

/* Sends what is queued for it now, without waiting for the end of the round. */
void client_flush(struct loop *l, struct client *c);

/* Room for `bytes` of output, to be filled at once; valid until the next call on this client. */
uint8_t *client_put(struct loop *l, struct client *c, size_t bytes);
