/*
 * Bridges to other brokers: one thread each, which connects, forwards (link.h) and comes back. main makes and ends them; their
 * state may be asked from any thread.
 *
 * The local half is a client of our own broker over a socket pair, which main's `attach` hands in. Its session is the buffer:
 * messages wait there while the remote is away, within the limits of any session, and over a crash.
 */
#ifndef TMQ_BRIDGE_BRIDGE_H
#define TMQ_BRIDGE_BRIDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "bridge/settings.h"

struct bridges;
struct sockaddr;

enum { BRIDGE_ERROR_MAX = 512 };

struct bridge_attach {
    int fd;               /* the broker's end, not blocking; taken over */
    bool forget_incoming; /* what the session received and did not release will not be released */
    bool prepares;        /* nothing is to be sent to it */
    const char *client_id;
    const struct sockaddr *peer; /* the remote; NULL: not connected to it */
};

struct bridge_parts {
    const struct bridge_settings *settings; /* outlive the bridges, as the other texts do */
    unsigned count;
    const char *id;           /* of this broker */
    const char *node;         /* its name */
    const char *local_prefix; /* of client IDs at the local broker */
    void (*attach)(void *arg, const struct bridge_attach *a);
    void *arg;
};

/* Reads certificates. 0; or -1, and `err` says which bridge and what is wrong. */
int bridges_new(struct bridges **out, const struct bridge_parts *parts, char err[BRIDGE_ERROR_MAX])
    __attribute__((warn_unused_result));
/* The local broker runs. Returns when each has its session there, after 5 s at the latest; they go on by themselves. */
void bridges_start(struct bridges *b);
/* Before the local broker stops. */
void bridges_stop(struct bridges *b);
/* NULL-safe. */
void bridges_free(struct bridges *b);

struct bridge_status {
    const char *name, *address; /* live as long as the bridges */
    bool connected;
    uint64_t since_us; /* of that state, wall time */
    char remote[64];   /* the address it is or was connected to; "" = never */
    char error[256];   /* the last that kept it from being connected, or ended that; "" = none */
    uint64_t error_us; /* when */
    uint64_t out, in;  /* messages forwarded */
    uint64_t looped, unmapped, too_large; /* dropped */
    uint64_t refused;                     /* by the remote */
    uint64_t connects, failures;
};
unsigned bridges_count(const struct bridges *b); /* NULL: 0 */
void bridges_status(struct bridges *b, unsigned i, struct bridge_status *out);

#endif
