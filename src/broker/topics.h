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

struct topics;
struct topic_node;
struct session;

/* One subscription; its session's memory, linked into the session's own list. */
struct topic_sub {
    struct topic_node *node; /* set here */
    struct session *session;
    struct topic_sub *next; /* the session's list */
    uint32_t index;         /* in the node's list of its loop; kept here */
    uint32_t subid;         /* MQTT 5 subscription identifier, 0 = none */
    uint8_t qos;
    uint8_t flags; /* enum topic_sub_flag */
};
enum topic_sub_flag { SUB_NO_LOCAL = 1, SUB_RETAIN_AS_PUBLISHED = 2 };

/* `q` outlives it and has `loops` readers (at most 64). */
struct topics *topics_new(unsigned loops, struct qsbr *q);
/* All sessions are unsubscribed, no loop runs. */
void topics_free(struct topics *t);

/*
 * `loop`'s thread. Adds the subscription to `filter` (valid; the session is not subscribed to it already) and sets
 * sub->node. `instance` separates tenants: filters of one never match topics of another. `sub` belongs to the node
 * until topics_remove().
 */
void topics_add(struct topics *t, unsigned loop, uint32_t instance, struct slice filter,
                struct topic_sub *sub);
/* `loop`'s thread. */
void topics_remove(struct topics *t, unsigned loop, struct topic_sub *sub);
/* The filter of a node, as subscribed. Lives as long as the node. */
struct slice topic_node_filter(const struct topic_node *node);

/* Who gets one topic: this loop's subscriber lists, and the other loops that have some. */
struct topics_match {
    uint64_t loops; /* mask of all loops with subscribers, this one too */
    uint32_t count; /* lists of this loop that are not empty */
    struct topics_list {
        struct topic_sub *const *subs;
        uint32_t count;
    } const *
        lists; /* valid until the next call by this loop that subscribes, unsubscribes or matches */
};
/* `loop`'s thread, between qsbr_quiescent() calls. `topic` is valid; `hash` = hash64(topic). */
void topics_match(struct topics *t, unsigned loop, uint32_t instance, struct slice topic,
                  uint64_t hash, struct topics_match *out);

/* Subscriptions in all; any thread. */
uint64_t topics_count(const struct topics *t);

#endif
