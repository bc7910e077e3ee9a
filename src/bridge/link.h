/*
 * A bridge between two MQTT connections, as a state machine: bytes from either side in, bytes for either side out. Pure: no
 * socket, clock, log; time is an argument. One thread.
 *
 * To both brokers it is a client. What one publishes to it is published to the other with the same packet identifier, and
 * every acknowledgement is passed on, none is made up: at least once and exactly once hold from end to end, and what was in
 * flight when anything died is sent again by the session that has it.
 *
 *            local broker  ──PUBLISH 7──►  link  ──PUBLISH 7──►  remote broker
 *                          ◄──PUBACK 7───        ◄──PUBACK 7───
 *
 * Phases, each after the answer to the one before:
 *
 *   REMOTE_CONNACK  CONNECT is on its way to the remote
 *   LOCAL_WANTED    accepted; the owner opens the local connection: link_local_opened()
 *   LOCAL_CONNACK   CONNECT to the local broker, with what the remote can take
 *   LOCAL_SUBACK    the rules that go out; what the local session repeats meanwhile is held
 *   REMOTE_SUBACK   the rules that come in, by an identifier that nothing held has; what comes in passes already
 *   OPEN            everything passes
 *   ENDED           link_error() says why
 *
 * A link that is only to prepare (link_prepare()) has the local half: session and subscriptions exist, so that messages wait
 * in the session's queue although the remote was never reached. It ends in PREPARED.
 */
#ifndef TMQ_BRIDGE_LINK_H
#define TMQ_BRIDGE_LINK_H

#include <stdatomic.h>

#include "base/buf.h"
#include "bridge/mapping.h"
#include "bridge/settings.h"

struct link;

enum link_phase {
    LINK_NEW,
    LINK_REMOTE_CONNACK,
    LINK_LOCAL_WANTED,
    LINK_LOCAL_CONNACK,
    LINK_LOCAL_SUBACK,
    LINK_REMOTE_SUBACK,
    LINK_OPEN,
    LINK_PREPARED,
    LINK_ENDED
};

/* Written by the link's thread, read by anyone. */
struct bridge_counters {
    _Atomic uint64_t out, in;   /* messages forwarded */
    _Atomic uint64_t looped;    /* dropped: they had been there */
    _Atomic uint64_t unmapped;  /* dropped: no rule (any more) */
    _Atomic uint64_t too_large; /* dropped: larger than the other side takes */
    _Atomic uint64_t refused;   /* acknowledged with an error by the remote */
};

struct link_options {
    const struct bridge_settings *settings; /* these outlive the link */
    const struct bridge_mapping *mapping;
    struct bridge_counters *counters;
    const char *local_client_id, *remote_client_id;
    const char *id;     /* of this broker, for the loop mark; "" = none */
    bool private_bit;   /* before MQTT 5: tell the remote that this is a bridge */
    bool forget_remote; /* the local session was lost: the remote's half of it is of no use */
    uint32_t local_max_packet; /* as the local broker said last; 0: not known */
    /* Something that does not end the link, in words. */
    void (*warn)(void *arg, const char *what, const char *detail);
    void *arg;
};

struct link *link_new(const struct link_options *o);
void link_free(struct link *l);

/* The remote can be written to: begins with its CONNECT. */
void link_begin(struct link *l, uint64_t now_ms);
/* The local half alone. */
void link_prepare(struct link *l, uint64_t now_ms);
/* LOCAL_WANTED: the local broker can be written to. */
void link_local_opened(struct link *l, uint64_t now_ms);

enum link_phase link_phase(const struct link *l);
/* The remote has no session of ours, so what came in before and was not released will not be released. From LOCAL_WANTED. */
bool link_forgets_incoming(const struct link *l);
/* The local broker accepted: what follows is known. */
bool link_local_answered(const struct link *l);
/* The local session had to be made anew. */
bool link_local_is_new(const struct link *l);
/* What the local broker takes. */
uint32_t link_local_max_packet(const struct link *l);
/* ENDED before the remote said anything that it would say to a client without `private_bit`. */
bool link_private_refused(const struct link *l);

/* ENDED after a clean start that was only to make the remote forget: connect again without `forget_remote`. */
bool link_forgot(const struct link *l);

/* Bytes from and for a side: the owner puts into the one, takes from the other. */
struct buf *link_in(struct link *l, enum bridge_side side);
struct buf *link_out(struct link *l, enum bridge_side side);
/* False: not now, the other side has enough to write. */
bool link_reads(const struct link *l, enum bridge_side side);

/* Bytes came from a side: behind link_in(), before link_run(). */
void link_fed(struct link *l, enum bridge_side side, uint64_t now_ms);
/* Bytes were added to link_in(), or taken from link_out(). True: some packets were taken; there may be more when there is room for
 * what they became. */
bool link_run(struct link *l, uint64_t now_ms);
/* When link_tick() is due; UINT64_MAX: never. */
uint64_t link_due_ms(const struct link *l);
void link_tick(struct link *l, uint64_t now_ms);

/* The owner ends it: one side's stream ended, or the bridge is stopped. The first reason stays. */
void link_end(struct link *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Why it ended; "" before. */
const char *link_error(const struct link *l);
/* ENDED: a DISCONNECT for each side that can still take one; the local one has the reason. */
void link_farewell(struct link *l);

#endif
