/*
 * Where connections come from: how many are open and how fast new ones come, by source (an IPv4 address, or the /64 of an
 * IPv6 address: a host can choose among the addresses of its network) and from all together.
 *
 * Shared by all workers: any thread, short locks. The memory is bounded: who finds no place in the table shares the
 * source "other".
 */
#ifndef TMQ_SERVER_SOURCES_H
#define TMQ_SERVER_SOURCES_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>

#include "base/cause.h"

enum { SOURCES_WAYS = 8, SOURCES_SETS = 8192 }; /* places: their product */

struct sources;

struct sources *sources_new(void) __attribute__((returns_nonnull));
/* NULL-safe. */
void sources_free(struct sources *s);

/* 0 = no limit. */
struct source_limits {
    uint64_t rate, rate_of_all; /* new connections a second */
    uint64_t connections;       /* open ones of a source */
};

/* Why a connection is refused. */
struct source_refusal {
    enum cause cause;
    const char *what; /* the limit in words */
    uint64_t limit, actual;
    uint64_t window_ms; /* a rate: the time in which `actual` came */
};

enum source_place {
    SOURCE_UNCOUNTED, /* no limit on open connections */
    SOURCE_OWN,       /* counted: sources_leave() when it ends */
    SOURCE_OTHER      /* the same, among the others */
};

/* A new connection of an IP address. False: refused, *why says by what. */
bool sources_admit(struct sources *s, const struct sockaddr *peer, const struct source_limits *l,
                   uint64_t now_ms, enum source_place *place, struct source_refusal *why)
    __attribute__((warn_unused_result));
/* A connection that was counted ended. */
void sources_leave(struct sources *s, const struct sockaddr *peer, enum source_place place);

#endif
