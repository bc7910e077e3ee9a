/*
 * Shared subscriptions ($share/{name}/{filter}): the members of a group over all loops, of which each message goes to one.
 * [MQTT-4.8.2-1] to [MQTT-4.8.2-6]
 *
 * A group hangs at the node of its filter (topics.h). Its members stand in two lists: those whose clients are here, and
 * those that are away; picking goes round the first, past members that have more than they can take, and to the second only
 * when nobody is here. Whoever publishes picks, without a lock; the member's loop delivers.
 *
 * Threads: lists are changed under the lock of `topics` and read by any loop between its qsbr_quiescent() calls. A
 * member's `sub` is its own loop's. Mail to that loop holds the member (share_hold()): when it arrives, the member may
 * have left (`sub` is NULL) and the message is given to another one.
 */
#ifndef TMQ_BROKER_SHARE_H
#define TMQ_BROKER_SHARE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/qsbr.h"
#include "base/slice.h"

struct topic_node;
struct topic_sub;
struct share_slots;

struct share_list {
    _Atomic(struct share_slots *) slots; /* NULL: never had any */
    _Atomic uint32_t count;
};

struct share_group {
    struct qsbr_item retired;           /* first: qsbr hands it back */
    _Atomic(struct share_group *) next; /* of its node */
    struct share_group *prev;           /* of its node; under the lock, like what follows */
    struct share_group *bucket_next;    /* where topics.c finds it by its filter */
    struct topic_node *node;
    uint64_t hash;    /* of the whole filter */
    uint32_t members; /* that are not freed yet; under the lock */
    _Atomic uint32_t turn;
    struct share_list here, away;
    _Atomic uint32_t filtered; /* members that are */
    uint32_t filter_len;
    uint8_t filter[]; /* whole: $share/{name}/{filter} */
};

/* Who a member is, begins what its owner knows of that: to decide in any loop what it may read. Immutable. */
struct share_reader {
    struct qsbr_item retired; /* first */
    void (*free)(struct qsbr_item *item);
};

struct share_member {
    struct qsbr_item retired; /* first */
    struct share_group *group;
    struct topic_sub *sub; /* its loop's; NULL when it has left */
    unsigned loop;
    uint32_t index;                        /* in its list; under the lock */
    bool here;                             /* which list; changed by its loop under the lock */
    _Atomic bool busy;                     /* more waits than it can take: a hint of its loop */
    _Atomic bool filtered;                 /* it gets only what its client may read */
    _Atomic(struct share_reader *) reader; /* filtered: its client; NULL: not known */
    _Atomic uint32_t refs;                 /* it is in the group, and mail that names it */
};

/* Whole filter; under the lock. */
struct share_group *share_group_new(struct slice filter, struct topic_node *node);
static inline struct slice share_group_filter(const struct share_group *g)
{
    return slice_make(g->filter, g->filter_len);
}
/* Nobody is in it: it may be unlinked from its node. */
bool share_group_empty(const struct share_group *g);

/* Under the lock. The group is freed behind the last member that was ever in it. */
struct share_member *share_join(struct qsbr *q, struct share_group *g, unsigned loop,
                                struct topic_sub *sub, bool here);
/* Takes it out of its group, which is unlinked from its node when that left it empty; then the caller share_unhold()s. */
void share_leave(struct share_member *m);
void share_move(struct qsbr *q, struct share_member *m, bool here);
/* Takes over `reader`, which may be NULL. */
void share_filter(struct qsbr *q, struct share_member *m, bool filtered,
                  struct share_reader *reader);
/* Under the lock: the last reference is gone. */
void share_retire(struct qsbr *q, struct share_member *m);

/* Whom not to pick: `fn` says no. NULL for groups of which nobody is filtered. */
struct share_asker {
    bool (*fn)(struct share_asker *a, const struct share_member *m);
};
/* A reader. Who gets the next message, or NULL: not `except`; with `away`, one that is away if nobody else is there. The
 * member may leave at any time. */
struct share_member *share_pick(struct share_group *g, const struct share_member *except, bool away,
                                struct share_asker *may);
/* A reader, of a member that it picked: false when it is gone for good. */
bool share_hold(struct share_member *m);
/* True: that was the last reference; the caller share_retire()s it. */
bool share_unhold(struct share_member *m);

#endif
