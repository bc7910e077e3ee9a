/*
 * Retained messages as a tree of topic levels: a node's children are a ring of siblings, and every (parent, level) edge
 * stands in one hash table, so that a topic is found level by level and a wildcard walks only its branches.
 * A node lives while it holds a message, has children, or a walk rests at it. One lock; copies under it are short.
 *
 * A walk goes a few steps at a time, and the tree changes between them. It pins the nodes that it goes on from: they keep
 * their places, and what follows them is what follows then. Messages have stamps that grow, and a walk passes over those that
 * are newer than itself: its subscriber gets them live.
 */
#include "broker/retained.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/list.h"
#include "base/mem.h"
#include "mqtt/topic.h"

struct node {
    struct list sibling; /* in parent->children */
    struct list children;
    struct node *parent;
    struct node *next; /* in its bucket */
    uint64_t hash;
    struct message
        *message;   /* NULL = none; its count is one, its flags are those of the node's topic */
    uint64_t stamp; /* of the message: they grow */
    uint32_t pins;  /* walks that rest here */
    uint16_t level_len;
    uint8_t level[];
};

struct retained {
    pthread_mutex_t lock;
    struct node **buckets;
    uint64_t mask, nodes;
    uint64_t stamp; /* of the newest message */
    _Atomic uint64_t count, bytes;
    struct node *root; /* of all instances: its children are the instances' numbers */
};

static uint64_t edge_hash(struct node *parent, struct slice level)
{
    return hash64(level) ^ ((uint64_t)(uintptr_t)parent * UINT64_C(0x9E3779B97F4A7C15));
}

static struct node *edge_find(const struct retained *r, struct node *parent, struct slice level)
{
    uint64_t hash = edge_hash(parent, level);
    struct node *n = r->buckets[hash & r->mask];
    while (n != NULL && (n->hash != hash || n->parent != parent ||
                         !slice_eq(slice_make(n->level, n->level_len), level))) {
        n = n->next;
    }
    return n;
}

static void grow(struct retained *r)
{
    uint64_t slots = (r->mask + 1) * 2;
    struct node **bigger = mem_new(slots, sizeof *bigger);
    for (uint64_t i = 0; i <= r->mask; i++) {
        struct node *n = r->buckets[i];
        while (n != NULL) {
            struct node *next = n->next;
            n->next = bigger[n->hash & (slots - 1)];
            bigger[n->hash & (slots - 1)] = n;
            n = next;
        }
    }
    free(r->buckets);
    r->buckets = bigger;
    r->mask = slots - 1;
}

static struct node *edge_make(struct retained *r, struct node *parent, struct slice level)
{
    if (r->nodes > r->mask) {
        grow(r);
    }
    struct node *n = mem_new(1, sizeof *n + level.n);
    list_init(&n->children);
    list_init(&n->sibling);
    list_push(&parent->children, &n->sibling);
    n->parent = parent;
    n->hash = edge_hash(parent, level);
    n->level_len = (uint16_t)level.n;
    if (level.n > 0) {
        memcpy(n->level, level.p, level.n);
    }
    n->next = r->buckets[n->hash & r->mask];
    r->buckets[n->hash & r->mask] = n;
    r->nodes++;
    return n;
}

static void prune(struct retained *r, struct node *n)
{
    while (n != r->root && n->message == NULL && n->pins == 0 && list_empty(&n->children)) {
        struct node *parent = n->parent;
        struct node **at = &r->buckets[n->hash & r->mask];
        while (*at != n) {
            at = &(*at)->next;
        }
        *at = n->next;
        list_del(&n->sibling);
        free(n);
        r->nodes--;
        n = parent;
    }
}

static struct slice instance_level(const uint32_t *instance)
{
    return slice_make(instance, sizeof *instance);
}

/* The node of a topic, made when `make`; NULL otherwise. */
static struct node *topic_find(struct retained *r, uint32_t instance, struct slice topic, bool make)
{
    struct slice rest = topic, level = instance_level(&instance);
    bool more = true;
    struct node *at = r->root;
    do {
        struct node *n = edge_find(r, at, level);
        if (n == NULL && !make) {
            return NULL;
        }
        at = n != NULL ? n : edge_make(r, at, level);
    } while (mqtt_level_next(&rest, &more, &level));
    return at;
}

static void node_clear(struct node *n)
{
    if (n->message != NULL) {
        message_unref(n->message);
        n->message = NULL;
    }
}

static void remove_message(struct retained *r, struct node *n)
{
    atomic_fetch_sub_explicit(&r->bytes, message_bytes(n->message), memory_order_relaxed);
    node_clear(n);
    prune(r, n);
    atomic_fetch_sub_explicit(&r->count, 1, memory_order_relaxed);
}

static enum retained_result remove_locked(struct retained *r, uint32_t instance, struct slice topic)
{
    struct node *n = topic_find(r, instance, topic, false);
    if (n == NULL || n->message == NULL) {
        return RETAINED_NONE;
    }
    remove_message(r, n);
    return RETAINED_REMOVED;
}

static enum retained_result store_locked(struct retained *r, uint32_t instance,
                                         const struct message_parts *m, uint64_t max)
{
    struct node *n = topic_find(r, instance, m->topic, false);
    bool fresh = n == NULL || n->message == NULL;
    if (fresh && max != 0 && retained_count(r) >= max) {
        return RETAINED_FULL;
    }
    n = topic_find(r, instance, m->topic, true);
    uint64_t before = n->message == NULL ? 0 : message_bytes(n->message);
    node_clear(n);
    n->message = message_make(m);
    n->stamp = ++r->stamp;
    atomic_fetch_add_explicit(&r->bytes, message_bytes(n->message) - before, memory_order_relaxed);
    atomic_fetch_add_explicit(&r->count, fresh ? 1 : 0, memory_order_relaxed);
    return RETAINED_STORED;
}

enum retained_result retained_set(struct retained *r, uint32_t instance,
                                  const struct message_parts *m, uint64_t max)
{
    (void)pthread_mutex_lock(&r->lock);
    enum retained_result result = m->payload.n == 0 ? remove_locked(r, instance, m->topic)
                                                    : store_locked(r, instance, m, max);
    (void)pthread_mutex_unlock(&r->lock);
    return result;
}

bool retained_expire(struct retained *r, uint32_t instance, struct slice topic, uint64_t now_ms)
{
    (void)pthread_mutex_lock(&r->lock);
    struct node *n = topic_find(r, instance, topic, false);
    bool over = n != NULL && n->message != NULL && message_expired(n->message->expires_ms, now_ms);
    if (over) {
        remove_message(r, n);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return over;
}

/* ---- walks ---- */

/* A '+' of the filter: the child that it stands for now, and the filter behind it. */
struct branch {
    struct node *parent, *child; /* child: NULL before the first */
    struct slice rest;
    bool more, first;
};

struct retained_walk {
    struct retained *r;
    uint64_t until;          /* newer messages came behind its beginning */
    struct branch *branches; /* those that it is in, outermost first */
    struct node **pins;      /* nodes that it will go on from, while it rests */
    size_t count, cap, pin_count;
    struct node *top,
        *at; /* below a '#': its node, and the one visited last; NULL: not there, none yet */
    struct node *found; /* has a message that was not taken yet */
    bool first;         /* of top: names that begin with '$' are not meant */
    bool begun, over;
    uint32_t instance;
    size_t filter_len;
    uint8_t filter[];
};

static bool dollar(const struct node *n)
{
    return n->level_len > 0 && n->level[0] == '$';
}

static struct node *node_of(struct list *l)
{
    return LIST_ENTRY(l, struct node, sibling);
}

/* The next one below a '#', parents first; NULL behind the last. Without recursion: a topic may have thousands of levels. */
static struct node *below_next(struct retained_walk *w)
{
    struct node *n = w->at;
    if (n == NULL) {
        w->at = w->top;
        return w->top;
    }
    struct list *down = n->children.next;
    for (;;) {
        while (down != &n->children && w->first && n == w->top && dollar(node_of(down))) {
            down = down->next; /* [MQTT-4.7.2-1] */
        }
        if (down != &n->children) {
            w->at = node_of(down);
            return w->at;
        }
        if (n == w->top) {
            w->top = w->at = NULL;
            return NULL;
        }
        down = n->sibling.next;
        n = n->parent;
    }
}

static void branch_put(struct retained_walk *w, struct node *parent, struct slice rest, bool more,
                       bool first)
{
    if (w->count == w->cap) {
        w->cap = w->cap == 0 ? 4 : w->cap * 2;
        w->branches = mem_realloc(w->branches, w->cap * sizeof *w->branches);
    }
    w->branches[w->count++] =
        (struct branch){.parent = parent, .rest = rest, .more = more, .first = first};
}

/* Follows the filter from `at` to its end, which is returned, or to its next wildcard: NULL, as where nothing is. */
static struct node *follow(struct retained_walk *w, struct node *at, struct slice rest, bool more,
                           bool first)
{
    struct slice level;
    while (mqtt_level_next(&rest, &more, &level)) {
        if (slice_eq(level, slice_str("#"))) {
            w->top = at;
            w->at = NULL;
            w->first = first;
            return NULL;
        }
        if (slice_eq(level, slice_str("+"))) {
            branch_put(w, at, rest, more, first);
            return NULL;
        }
        at = edge_find(w->r, at, level);
        if (at == NULL) {
            return NULL;
        }
        first = false;
    }
    return at;
}

static struct node *walk_begin(struct retained_walk *w)
{
    struct node *top = edge_find(w->r, w->r->root, instance_level(&w->instance));
    w->begun = true;
    return top == NULL ? NULL : follow(w, top, slice_make(w->filter, w->filter_len), true, true);
}

/* One step of the innermost '+'. */
static struct node *branch_next(struct retained_walk *w)
{
    struct branch *b = &w->branches[w->count - 1];
    struct list *next = b->child == NULL ? b->parent->children.next : b->child->sibling.next;
    if (next == &b->parent->children) {
        w->count--;
        return NULL;
    }
    b->child = node_of(next);
    if (b->first && dollar(b->child)) { /* [MQTT-4.7.2-1] */
        return NULL;
    }
    return follow(w, b->child, b->rest, b->more, false);
}

/* The next node that matches and has a message. NULL: none is left (w->over), or *steps have been made. */
static struct node *walk_next(struct retained_walk *w, uint32_t *steps)
{
    while (*steps > 0 && !w->over) {
        struct node *n = NULL;
        (*steps)--;
        if (!w->begun) {
            n = walk_begin(w);
        } else if (w->top != NULL) {
            n = below_next(w);
            if (n != NULL && n == w->top && w->first) {
                n = NULL; /* '#' alone: no topic is empty */
            }
        } else if (w->count > 0) {
            n = branch_next(w);
        } else {
            w->over = true;
        }
        if (n != NULL && n->message != NULL && n->stamp <= w->until) {
            return n;
        }
    }
    return NULL;
}

static void pin(struct retained_walk *w, struct node *n)
{
    if (n != NULL) {
        n->pins++;
        w->pins[w->pin_count++] = n;
    }
}

static void unpin(struct retained *r, struct node **pins, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        pins[i]->pins--;
        prune(r, pins[i]);
    }
    free(pins);
}

/* What it goes on from stays, though it may become empty, until the next time. */
static void walk_rest(struct retained_walk *w)
{
    struct node **before = w->pins;
    size_t count = w->pin_count;
    w->pins = NULL;
    w->pin_count = 0;
    if (!w->over) {
        w->pins = mem_alloc((w->count + 2) * sizeof(struct node *));
        pin(w, w->found);
        pin(w, w->at != NULL ? w->at : w->top);
        for (size_t i = 0; i < w->count; i++) {
            pin(w, w->branches[i].child != NULL ? w->branches[i].child : w->branches[i].parent);
        }
    }
    unpin(w->r, before, count);
}

static void give(struct retained_walk *w, uint32_t *steps, retained_fn fn, void *arg)
{
    for (;;) {
        if (w->found == NULL) {
            w->found = walk_next(w, steps);
        }
        if (w->found == NULL) {
            break;
        }
        const struct node *n = w->found;
        struct message_parts m;
        if (n->message != NULL && n->stamp <= w->until) { /* still */
            message_parts(n->message, &m);
            if (!fn(arg, &m)) {
                break;
            }
        }
        w->found = NULL;
    }
}

struct retained_walk *retained_walk_new(struct retained *r, uint32_t instance, struct slice filter,
                                        uint32_t *steps)
{
    struct retained_walk *w = mem_new(1, sizeof *w + filter.n);
    w->r = r;
    w->instance = instance;
    w->filter_len = filter.n;
    memcpy(w->filter, filter.p, filter.n);
    (void)pthread_mutex_lock(&r->lock);
    w->until = r->stamp;
    w->found = walk_next(w, steps);
    walk_rest(w);
    (void)pthread_mutex_unlock(&r->lock);
    if (w->over) {
        retained_walk_free(w);
        w = NULL;
    }
    return w;
}

bool retained_walk_step(struct retained_walk *w, uint32_t *steps, retained_fn fn, void *arg)
{
    (void)pthread_mutex_lock(&w->r->lock);
    give(w, steps, fn, arg);
    walk_rest(w);
    (void)pthread_mutex_unlock(&w->r->lock);
    return w->over;
}

void retained_walk_free(struct retained_walk *w)
{
    if (w == NULL) {
        return;
    }
    (void)pthread_mutex_lock(&w->r->lock);
    unpin(w->r, w->pins, w->pin_count);
    (void)pthread_mutex_unlock(&w->r->lock);
    free(w->branches);
    free(w);
}

bool retained_get(struct retained *r, uint32_t instance, struct slice topic, retained_fn fn,
                  void *arg)
{
    struct message_parts m;
    (void)pthread_mutex_lock(&r->lock);
    const struct node *n = topic_find(r, instance, topic, false);
    bool found = n != NULL && n->message != NULL;
    if (found) {
        message_parts(n->message, &m);
        (void)fn(arg, &m);
    }
    (void)pthread_mutex_unlock(&r->lock);
    return found;
}

uint64_t retained_bytes(const struct retained *r)
{
    return atomic_load_explicit(&r->bytes, memory_order_relaxed);
}

uint64_t retained_count(const struct retained *r)
{
    return atomic_load_explicit(&r->count, memory_order_relaxed);
}

struct retained *retained_new(void)
{
    struct retained *r = mem_new(1, sizeof *r);
    (void)pthread_mutex_init(&r->lock, NULL);
    r->mask = 63;
    r->buckets = mem_new(64, sizeof *r->buckets);
    r->root = mem_new(1, sizeof *r->root);
    list_init(&r->root->children);
    return r;
}

void retained_free(struct retained *r)
{
    if (r == NULL) {
        return;
    }
    for (uint64_t i = 0; i <= r->mask; i++) {
        struct node *n = r->buckets[i];
        while (n != NULL) {
            struct node *next = n->next;
            node_clear(n);
            free(n);
            n = next;
        }
    }
    free(r->root);
    free(r->buckets);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}
