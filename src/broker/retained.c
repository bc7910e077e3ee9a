/*
 * Retained messages as a tree of topic levels: a node's children are a ring of siblings, and every (parent, level) edge
 * stands in one hash table, so that a topic is found level by level and a wildcard walks only its branches.
 * A node lives while it holds a message or has children. One lock; copies under it are short.
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
    uint8_t *message; /* topic, payload; NULL = none */
    uint32_t topic_len, payload_len, level_len;
    uint8_t qos;
    uint8_t level[];
};

struct retained {
    pthread_mutex_t lock;
    struct node **buckets;
    uint64_t mask, nodes;
    _Atomic uint64_t count;
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
    n->level_len = (uint32_t)level.n;
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
    while (n != r->root && n->message == NULL && list_empty(&n->children)) {
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

static void node_store(struct node *n, struct slice topic, struct slice payload, uint8_t qos)
{
    free(n->message);
    n->message = mem_alloc(topic.n + payload.n);
    memcpy(n->message, topic.p, topic.n);
    memcpy(n->message + topic.n, payload.p, payload.n);
    n->topic_len = (uint32_t)topic.n;
    n->payload_len = (uint32_t)payload.n;
    n->qos = qos;
}

static enum retained_result remove_locked(struct retained *r, uint32_t instance, struct slice topic)
{
    struct node *n = topic_find(r, instance, topic, false);
    if (n == NULL || n->message == NULL) {
        return RETAINED_NONE;
    }
    free(n->message);
    n->message = NULL;
    prune(r, n);
    atomic_fetch_sub_explicit(&r->count, 1, memory_order_relaxed);
    return RETAINED_REMOVED;
}

static enum retained_result store_locked(struct retained *r, uint32_t instance, struct slice topic,
                                         struct slice payload, uint8_t qos, uint64_t max)
{
    struct node *n = topic_find(r, instance, topic, false);
    bool fresh = n == NULL || n->message == NULL;
    if (fresh && max != 0 && retained_count(r) >= max) {
        return RETAINED_FULL;
    }
    node_store(topic_find(r, instance, topic, true), topic, payload, qos);
    atomic_fetch_add_explicit(&r->count, fresh ? 1 : 0, memory_order_relaxed);
    return RETAINED_STORED;
}

enum retained_result retained_set(struct retained *r, uint32_t instance, struct slice topic,
                                  struct slice payload, uint8_t qos, uint64_t max)
{
    (void)pthread_mutex_lock(&r->lock);
    enum retained_result result = payload.n == 0
                                      ? remove_locked(r, instance, topic)
                                      : store_locked(r, instance, topic, payload, qos, max);
    (void)pthread_mutex_unlock(&r->lock);
    return result;
}

/* A '+' of the filter: the child that it stands for now, and the filter behind it. */
struct branch {
    const struct node *parent;
    struct list *child;
    struct slice rest;
    bool more, first;
};

struct walk {
    const struct retained *r;
    retained_fn fn;
    void *arg;
    struct branch *branches; /* those that the walk is in, outermost first */
    size_t count, cap;
};

static void give(const struct walk *w, struct node *n)
{
    if (n->message != NULL) {
        w->fn(w->arg, slice_make(n->message, n->topic_len),
              slice_make(n->message + n->topic_len, n->payload_len), n->qos);
    }
}

static bool dollar(struct node *n)
{
    return n->level_len > 0 && n->level[0] == '$';
}

/* The node and all below it; iterative, since a topic may have thousands of levels. */
static void give_all(const struct walk *w, struct node *top, bool first)
{
    struct node *n = top;
    if (!first) {
        give(w, n);
    }
    for (;;) {
        struct list *down = n->children.next;
        while (down != &n->children && first && n == top &&
               dollar(LIST_ENTRY(down, struct node, sibling))) {
            down = down->next; /* [MQTT-4.7.2-1] */
        }
        while (down == &n->children) {
            if (n == top) {
                return;
            }
            down = n->sibling.next;
            n = n->parent;
            while (down != &n->children && first && n == top &&
                   dollar(LIST_ENTRY(down, struct node, sibling))) {
                down = down->next;
            }
        }
        n = LIST_ENTRY(down, struct node, sibling);
        give(w, n);
    }
}

static void branch_put(struct walk *w, const struct node *parent, struct slice rest, bool more,
                       bool first)
{
    if (w->count == w->cap) {
        w->cap = w->cap == 0 ? 16 : w->cap * 2;
        w->branches = mem_realloc(w->branches, w->cap * sizeof *w->branches);
    }
    w->branches[w->count++] = (struct branch){.parent = parent,
                                              .child = parent->children.next,
                                              .rest = rest,
                                              .more = more,
                                              .first = first};
}

/* Follows the filter from `at` to its end, or to its next '+'. */
static void follow(struct walk *w, struct node *at, struct slice rest, bool more, bool first)
{
    struct slice level;
    while (mqtt_level_next(&rest, &more, &level)) {
        if (slice_eq(level, slice_str("#"))) {
            give_all(w, at, first);
            return;
        }
        if (slice_eq(level, slice_str("+"))) {
            branch_put(w, at, rest, more, first);
            return;
        }
        at = edge_find(w->r, at, level);
        if (at == NULL) {
            return;
        }
        first = false;
    }
    give(w, at);
}

/* Without recursion: a topic may have 32,768 levels. */
static void match(struct walk *w, struct node *top, struct slice filter)
{
    follow(w, top, filter, true, true);
    while (w->count > 0) {
        struct branch *b = &w->branches[w->count - 1];
        if (b->child == &b->parent->children) {
            w->count--;
            continue;
        }
        struct node *n = LIST_ENTRY(b->child, struct node, sibling);
        b->child = b->child->next;
        if (!b->first || !dollar(n)) { /* [MQTT-4.7.2-1] */
            follow(w, n, b->rest, b->more, false);
        }
    }
}

void retained_each(struct retained *r, uint32_t instance, struct slice filter, retained_fn fn,
                   void *arg)
{
    struct walk w = {.r = r, .fn = fn, .arg = arg};
    (void)pthread_mutex_lock(&r->lock);
    struct node *top = edge_find(r, r->root, instance_level(&instance));
    if (top != NULL) {
        match(&w, top, filter);
    }
    (void)pthread_mutex_unlock(&r->lock);
    free(w.branches);
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
            free(n->message);
            free(n);
            n = next;
        }
    }
    free(r->root);
    free(r->buckets);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}
