/*
 * Which sessions get a topic: exact filters in a concurrent hash, wildcard filters in a tree whose edges stand in the
 * same kind of hash; per loop a match cache for the tree's part.
 *
 * Threads: one structure for all loops of an instance set. Nodes are made and unmade under a writer lock and read
 * without one (freed by qsbr). Each node has one subscriber list per loop, read and written by that loop only, and an
 * atomic mask of the loops that have any. `session` pointers are followed by their own loop only.
 */
#ifndef TMQ_BROKER_TOPICS_H
#define TMQ_BROKER_TOPICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/qsbr.h"
#include "base/slice.h"
#include "broker/share.h"

struct topics;
struct topic_node;
struct session;

/* One subscription; its session's memory, linked into the session's own list. */
struct topic_sub {
    union { /* set here */
        struct topic_node *node;
        struct share_member *member; /* SUB_SHARED */
    };
    struct session *session;
    struct topic_sub *next, *prev; /* the session's list */
    uint32_t index; /* in the node's list of its loop; kept here; not of shared ones */
    uint32_t hash;  /* of its filter: its session's, to find it by */
    uint32_t subid; /* MQTT 5 subscription identifier, 0 = none */
    uint8_t qos;
    uint8_t flags; /* enum topic_sub_flag */
};
enum topic_sub_flag {
    SUB_NO_LOCAL = 1,
    SUB_RETAIN_AS_PUBLISHED = 2,
    SUB_SHARED = 4,       /* set by topics_add() */
    SUB_FEEDS = 8,        /* retained messages are on their way to it (server/feed.c) */
    SUB_FEEDS_AGAIN = 16, /* and will be once more, from the beginning */
    SUB_FILTERED = 32 /* of its messages only those that its client may read (server/filtered.c) */
};

/* Subscriptions of one loop to one filter. */
struct topics_list {
    struct topic_sub *const *subs;
    uint32_t count;
};

/* `q` outlives it and has `loops` readers (at most 64). */
struct topics *topics_new(unsigned loops, struct qsbr *q);
/* All sessions are unsubscribed, no loop runs. */
void topics_free(struct topics *t);

/*
 * `loop`'s thread. Adds the subscription to `filter` (valid, may be shared; the session is not subscribed to it already)
 * and sets sub->node, or sub->member and SUB_SHARED: its client is away until topics_share_here(). `instance` separates
 * tenants: filters of one never match topics of another. `sub` belongs to the node until topics_remove().
 */
void topics_add(struct topics *t, unsigned loop, uint32_t instance, struct slice filter,
                struct topic_sub *sub);
/* `loop`'s thread. */
void topics_remove(struct topics *t, unsigned loop, struct topic_sub *sub);
/* The filter, as subscribed. Lives as long as the subscription. */
struct slice topic_sub_filter(const struct topic_sub *sub);

/* `loop`'s thread: the client of a shared subscription came or went. */
void topics_share_here(struct topics *t, struct topic_sub *sub, bool here);
/*
 * `loop`'s thread: whether of a shared subscription's messages its client may only have some, and who that is (taken over;
 * NULL: not known), for those who pick.
 */
void topics_share_filter(struct topics *t, struct topic_sub *sub, bool filtered,
                         struct share_reader *reader);
/* Any loop: gives back what share_hold() took. */
void topics_share_release(struct topics *t, struct share_member *m);

/* Who gets one topic: this loop's subscriber lists, and the other loops that have some. */
struct topics_match {
    uint64_t loops; /* mask of all loops with subscribers, this one too */
    uint32_t count; /* lists of this loop that are not empty */
    const struct topics_list *
        lists; /* valid until the next call by this loop that subscribes, unsubscribes or matches */
    uint32_t share_count;
    uint32_t steps;                    /* edges of the tree that were looked at: 0 with the cache */
    struct share_group *const *shares; /* of all loops; as long as `lists` */
};
/* `loop`'s thread, between qsbr_quiescent() calls. `topic` is valid; `hash` = hash64(topic). */
void topics_match(struct topics *t, unsigned loop, uint32_t instance, struct slice topic,
                  uint64_t hash, struct topics_match *out);

/* Subscriptions in all; any thread. */
uint64_t topics_count(const struct topics *t);
/* Shared ones of them. */
uint64_t topics_shared_count(const struct topics *t);

#endif
