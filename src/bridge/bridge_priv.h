/* A bridge: what its thread (bridge.c) and one connection of it (carry.c) share. */
#ifndef TMQ_BRIDGE_BRIDGE_PRIV_H
#define TMQ_BRIDGE_BRIDGE_PRIV_H

#include <pthread.h>
#include <semaphore.h>

#include "bridge/bridge.h"
#include "bridge/dial.h"
#include "bridge/link.h"

struct bridges;

struct bridge {
    /* ---- constant once it runs ---- */
    struct bridges *all;
    const struct bridge_settings *settings;
    struct bridge_mapping mapping;
    struct tls_client_context *tls; /* NULL: plain */
    char *local_id, *remote_id;     /* client IDs */
    int stop;                       /* eventfd, readable: give up */
    pthread_t thread;
    bool running;

    /* ---- its thread's own ---- */
    bool plain;        /* the remote does not know the bit of bridges */
    bool local_is_new; /* the local session was made anew: the remote's half is of no use */
    uint32_t local_max_packet;
    uint64_t warned_ms;
    unsigned long muted; /* warnings since then */
    struct link *link;
    struct stream stream[BRIDGE_SIDES]; /* ops NULL: not there */
    bool readable[BRIDGE_SIDES];
    struct sockaddr_storage peer;
    const char *tls_version;

    /* ---- shared ---- */
    struct bridge_counters counters;
    pthread_mutex_t lock;
    struct bridge_status status; /* under the lock, but for what `counters` has */
};

struct bridges {
    struct bridge_parts parts;
    struct bridge *items;
    sem_t prepared; /* posted by each, once */
};

/* ---- carry.c: one connection, from the remote's CONNECT to the end ---- */
/* The link over the streams that are there, until it ends or has prepared; stopped, too. The streams are closed behind it. */
void carry(struct bridge *b);
/* Opens the local half. False: no descriptor is left. */
bool carry_attach(struct bridge *b, const struct sockaddr *peer, bool forget);
/* The link is open (bridge.c). */
void bridge_opened(struct bridge *b);
bool bridge_stopping(const struct bridge *b);

#endif
