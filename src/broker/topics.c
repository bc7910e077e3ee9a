/*
 * The topic structure: see topics.h for who may do what.
 *
 *   exact:  hash(instance, filter)        ─► node
 *   tree:   hash(parent node, level)      ─► node      '+' is a level like any other; a filter a/#
 *                                                      hangs as edge '#' below a
 *
 * Both stand in open-addressing tables of atomic slots: readers probe without a lock; a writer (under
 * `lock`) fills an empty slot, leaves a tombstone, or builds a larger table and publishes it. Old tables and nodes
 * are freed through qsbr, so a reader that holds one until its next quiescent point is safe.
 *
 *   slot:   16 bits of the node's hash, 48 bits of its address        0: empty, 1: tombstone
 *
 * With many filters each node that is touched is a cache miss, so those in the way are told by their hash bits alone.
 *
 * Match cache: per loop, topic ─► the tree's nodes that match it, valid while `wild_version` stands still. The exact
 * part is looked up each time, so that a storm of exact SUBSCRIBEs leaves the caches alone. A node lives while
 * any filter ends in it or any edge leaves it; making or unmaking a wildcard node raises the version before a
 * cached pointer could dangle (the version is read before the tree, and caches are dropped when it moved).
 *
 * Groups of shared subscriptions hang at the node of their filter; a node with groups only is found, too, but names no
 * loop.
 *
 * Masks: node->loops has bit l when loop l has subscribers. A loop sets its bit after its list is filled and
 * clears it under the lock, where the last one out retires the node.
 */
#include "broker/topics.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "mqtt/topic.h"

enum { CACHE_SLOTS = 4096, CACHE_TOPIC_MAX = 256, CACHE_NODES_MAX = 1024 };

struct sub_list {
    struct topic_sub **subs;
    uint32_t count, cap;
};

struct topic_node {
    struct qsbr_item retired; /* first: qsbr hands it back */
    uint64_t hash;
    struct topic_node *parent; /* tree nodes only; the roots have none */
    _Atomic uint64_t loops;
    _Atomic(struct share_group *) shares; /* NULL: none; changed under the lock */
    uint32_t edges;                       /* children; under the lock */
    uint32_t instance;
    uint32_t key_len;
    bool in_tree;
    uint8_t *filter; /* the whole filter of a tree node, once a filter ended here */
    uint32_t filter_len;
    const uint8_t *key;     /* behind the lists: whole filter, or one level */
    struct sub_list list[]; /* one per loop */
};

enum { ADDRESS_BITS = 48 };
#define SLOT_EMPTY UINT64_C(0)
#define SLOT_TOMBSTONE UINT64_C(1)

struct table {
    struct qsbr_item retired;
    uint64_t mask;
    uint64_t used; /* filled or tombstones; under the lock */
    _Atomic uint64_t slot[];
};

struct cache_entry {
    uint64_t hash, version;
    uint32_t instance, topic_len, count;
    uint64_t loops;
    uint8_t *topic;
    struct topic_node **nodes;
};

/* A place in the tree from which a match goes on. */
struct way {
    const struct topic_node *at;
    struct slice rest;
    bool more;
};

struct loop_part {
    _Alignas(64) struct cache_entry *cache; /* CACHE_SLOTS, made at the first wildcard match */
    struct way *ways;
    uint32_t way_count, way_cap;
    struct topics_list *lists;
    uint32_t list_cap;
    struct topic_node **found;
    uint32_t found_count, found_cap;
    uint32_t steps; /* of the match under way */
    struct share_group **shares;
    uint32_t share_cap;
};

struct topics {
    unsigned loops;
    struct qsbr *qsbr;
    pthread_mutex_t lock;
    _Atomic(struct table *) exact, edges;
    _Atomic uint64_t wild_version;
    _Atomic uint64_t wild_nodes, count, shared;
    struct share_group **groups; /* buckets; under the lock. A node may have any number of groups */
    uint64_t groups_mask, group_count;
    struct loop_part part[];
};

/* ---- tables ---- */

static struct table *table_new(uint64_t slots)
{
    struct table *t = mem_new(1, sizeof *t + slots * sizeof t->slot[0]);
    t->mask = slots - 1;
    return t;
}

static void table_free(struct qsbr_item *item)
{
    free(item);
}

static uint64_t exact_hash(uint32_t instance, uint64_t filter_hash)
{
    return filter_hash ^ ((uint64_t)instance * UINT64_C(0x9E3779B97F4A7C15));
}

/* A node's address is a multiple of its size, and a million parents may each have the same level below them: without the
 * mixing the low bits, which choose the slot, would hardly differ. */
static uint64_t edge_hash(uint32_t instance, const struct topic_node *parent, struct slice level)
{
    uint64_t from = parent == NULL ? instance : (uint64_t)(uintptr_t)parent;
    uint64_t h = hash64(level) ^ (from * UINT64_C(0x9E3779B97F4A7C15));
    h = (h ^ h >> 32) * UINT64_C(0xD6E8FEB86659FD93);
    return h ^ h >> 32;
}

static bool node_is(const struct topic_node *n, uint64_t hash, uint32_t instance,
                    const struct topic_node *parent, struct slice key)
{
    return n->hash == hash && n->instance == instance && n->parent == parent &&
           slice_eq(slice_make(n->key, n->key_len), key);
}

/* Chosen by the low bits, told from its neighbours by the high ones. */
static uint64_t slot_tag(uint64_t hash)
{
    return hash >> ADDRESS_BITS << ADDRESS_BITS;
}

static uint64_t slot_of(const struct topic_node *n)
{
    uint64_t address = (uint64_t)(uintptr_t)n;
    assert(address >> ADDRESS_BITS == 0);
    return slot_tag(n->hash) | address;
}

/* NULL: the slot has none. */
static struct topic_node *slot_node(uint64_t slot)
{
    uint64_t address = slot & ((UINT64_C(1) << ADDRESS_BITS) - 1);
    return slot == SLOT_TOMBSTONE ? NULL : (struct topic_node *)(uintptr_t)address;
}

/* Reader or writer. */
static struct topic_node *table_find(struct table *t, uint64_t hash, uint32_t instance,
                                     const struct topic_node *parent, struct slice key)
{
    for (uint64_t i = hash & t->mask;; i = (i + 1) & t->mask) {
        uint64_t slot = atomic_load_explicit(&t->slot[i], memory_order_acquire);
        if (slot == SLOT_EMPTY) {
            return NULL;
        }
        struct topic_node *n = slot_tag(slot) == slot_tag(hash) ? slot_node(slot) : NULL;
        if (n != NULL && node_is(n, hash, instance, parent, key)) {
            return n;
        }
    }
}

static void table_put(struct table *t, uint64_t hash, uint64_t slot)
{
    uint64_t i = hash & t->mask;
    while (atomic_load_explicit(&t->slot[i], memory_order_relaxed) != SLOT_EMPTY) {
        i = (i + 1) & t->mask;
    }
    atomic_store_explicit(&t->slot[i], slot, memory_order_release);
    t->used++;
}

/* Writer: puts the node, into a new table when this one is three quarters full. */
static void table_insert(struct topics *ts, _Atomic(struct table *) *where, struct topic_node *n)
{
    struct table *t = atomic_load_explicit(where, memory_order_relaxed);
    if ((t->used + 1) * 4 > (t->mask + 1) * 3) {
        uint64_t live = 1;
        for (uint64_t i = 0; i <= t->mask; i++) {
            uint64_t old = atomic_load_explicit(&t->slot[i], memory_order_relaxed);
            live += slot_node(old) != NULL;
        }
        uint64_t slots = 64;
        while (slots < live * 2) {
            slots *= 2;
        }
        struct table *bigger = table_new(slots);
        for (uint64_t i = 0; i <= t->mask; i++) {
            uint64_t old = atomic_load_explicit(&t->slot[i], memory_order_relaxed);
            if (slot_node(old) != NULL) {
                table_put(bigger, slot_node(old)->hash, old);
            }
        }
        atomic_store_explicit(where, bigger, memory_order_release);
        qsbr_retire(ts->qsbr, &t->retired, table_free);
        t = bigger;
    }
    table_put(t, n->hash, slot_of(n));
}

static void table_remove(struct table *t, const struct topic_node *n)
{
    uint64_t i = n->hash & t->mask;
    while (atomic_load_explicit(&t->slot[i], memory_order_relaxed) != slot_of(n)) {
        i = (i + 1) & t->mask;
    }
    atomic_store_explicit(&t->slot[i], SLOT_TOMBSTONE, memory_order_release);
}

/* ---- nodes ---- */

static struct topic_node *node_new(const struct topics *t, uint64_t hash, uint32_t instance,
                                   struct topic_node *parent, struct slice key, bool in_tree)
{
    size_t lists = t->loops * sizeof(struct sub_list);
    struct topic_node *n = mem_new(1, sizeof *n + lists + key.n);
    n->hash = hash;
    n->instance = instance;
    n->parent = parent;
    n->in_tree = in_tree;
    n->key_len = (uint32_t)key.n;
    uint8_t *bytes = (uint8_t *)(n->list + t->loops);
    if (key.n > 0) {
        memcpy(bytes, key.p, key.n);
    }
    n->key = bytes;
    return n;
}

static void node_free(struct qsbr_item *item)
{
    struct topic_node *n = (struct topic_node *)(void *)item;
    free(n->filter);
    free(n);
}

static bool node_unused(const struct topic_node *n)
{
    return atomic_load_explicit(&n->loops, memory_order_relaxed) == 0 && n->edges == 0 &&
           atomic_load_explicit(&n->shares, memory_order_relaxed) == NULL;
}

/* Under the lock: unmakes the node, and its parents, when nothing holds them. */
static void node_prune(struct topics *t, struct topic_node *n)
{
    while (n != NULL && node_unused(n)) {
        struct topic_node *parent = n->parent;
        table_remove(atomic_load_explicit(n->in_tree ? &t->edges : &t->exact, memory_order_relaxed),
                     n);
        if (n->in_tree) {
            atomic_fetch_add(&t->wild_version, 1);
            atomic_fetch_sub_explicit(&t->wild_nodes, 1, memory_order_relaxed);
        }
        if (parent != NULL) {
            parent->edges--;
        }
        qsbr_retire(t->qsbr, &n->retired, node_free);
        n = parent;
    }
}

/* Under the lock. */
static struct topic_node *exact_get(struct topics *t, uint32_t instance, struct slice filter)
{
    uint64_t hash = exact_hash(instance, hash64(filter));
    struct table *table = atomic_load_explicit(&t->exact, memory_order_relaxed);
    struct topic_node *n = table_find(table, hash, instance, NULL, filter);
    if (n == NULL) {
        n = node_new(t, hash, instance, NULL, filter, false);
        table_insert(t, &t->exact, n);
    }
    return n;
}

static struct topic_node *tree_get(struct topics *t, uint32_t instance, struct slice filter)
{
    struct topic_node *at = NULL;
    struct slice rest = filter, level;
    bool more = true;
    while (mqtt_level_next(&rest, &more, &level)) {
        uint64_t hash = edge_hash(instance, at, level);
        struct table *table = atomic_load_explicit(&t->edges, memory_order_relaxed);
        struct topic_node *n = table_find(table, hash, instance, at, level);
        if (n == NULL) {
            n = node_new(t, hash, instance, at, level, true);
            table_insert(t, &t->edges, n);
            if (at != NULL) {
                at->edges++;
            }
            atomic_fetch_add_explicit(&t->wild_nodes, 1, memory_order_relaxed);
        }
        at = n;
    }
    assert(at != NULL);
    if (at->filter == NULL) {
        at->filter = (uint8_t *)mem_strndup(filter.p, filter.n);
        at->filter_len = (uint32_t)filter.n;
    }
    return at;
}

/* ---- subscriptions ---- */

static void list_put(struct sub_list *l, struct topic_sub *sub)
{
    if (l->count == l->cap) {
        l->cap = l->cap == 0 ? 1 : l->cap * 2;
        l->subs = mem_realloc(l->subs, l->cap * sizeof(struct topic_sub *));
    }
    sub->index = l->count;
    l->subs[l->count++] = sub;
}

static uint64_t loop_bit(unsigned loop)
{
    return UINT64_C(1) << loop;
}

static struct topic_node *node_get(struct topics *t, uint32_t instance, struct slice filter)
{
    return mqtt_filter_is_wild(filter) ? tree_get(t, instance, filter)
                                       : exact_get(t, instance, filter);
}

/* ---- shared ones, under the lock ---- */

static struct share_group **group_bucket(struct topics *t, uint64_t hash)
{
    return &t->groups[hash & t->groups_mask];
}

static void group_index(struct topics *t, struct share_group *g)
{
    struct share_group **bucket = group_bucket(t, g->hash);
    g->bucket_next = *bucket;
    *bucket = g;
}

static void groups_grow(struct topics *t)
{
    struct share_group **old = t->groups;
    uint64_t slots = t->groups_mask + 1;
    t->groups = mem_new(slots * 2, sizeof(struct share_group *));
    t->groups_mask = slots * 2 - 1;
    for (uint64_t i = 0; i < slots; i++) {
        struct share_group *g = old[i];
        while (g != NULL) {
            struct share_group *next = g->bucket_next;
            group_index(t, g);
            g = next;
        }
    }
    free(old);
}

static void group_link(struct topics *t, struct share_group *g)
{
    struct topic_node *n = g->node;
    struct share_group *first = atomic_load_explicit(&n->shares, memory_order_relaxed);
    atomic_store(&g->next, first);
    if (first != NULL) {
        first->prev = g;
    } else if (n->in_tree) {
        atomic_fetch_add(&t->wild_version, 1); /* caches hold the nodes with subscribers */
    }
    atomic_store_explicit(&n->shares, g, memory_order_release);
    if (t->group_count++ > t->groups_mask) {
        groups_grow(t);
    }
    group_index(t, g);
}

static struct share_group *group_get(struct topics *t, struct topic_node *n, struct slice whole)
{
    uint64_t hash = hash64(whole);
    struct share_group *g = *group_bucket(t, hash);
    while (g != NULL &&
           (g->hash != hash || g->node != n || !slice_eq(share_group_filter(g), whole))) {
        g = g->bucket_next;
    }
    if (g == NULL) {
        g = share_group_new(whole, n);
        group_link(t, g);
    }
    return g;
}

static void group_unlink(struct topics *t, struct share_group *g)
{
    struct topic_node *n = g->node;
    struct share_group **at = group_bucket(t, g->hash);
    while (*at != g) {
        at = &(*at)->bucket_next;
    }
    *at = g->bucket_next;
    t->group_count--;
    struct share_group *next =
        atomic_load(&g->next); /* which stays: somebody may be reading here */
    atomic_store(g->prev == NULL ? &n->shares : &g->prev->next, next);
    if (next != NULL) {
        next->prev = g->prev;
    } else if (g->prev == NULL && n->in_tree) {
        atomic_fetch_add(&t->wild_version, 1);
    }
    node_prune(t, n);
}

static void share_add(struct topics *t, unsigned loop, uint32_t instance, struct slice whole,
                      struct topic_sub *sub)
{
    struct slice name, filter;
    bool valid = mqtt_filter_shared(whole, &name, &filter);
    assert(valid);
    (void)pthread_mutex_lock(&t->lock);
    struct share_group *g = group_get(t, node_get(t, instance, filter), whole);
    sub->member = share_join(t->qsbr, g, loop, sub, false);
    sub->flags |= SUB_SHARED;
    qsbr_reclaim(t->qsbr);
    (void)pthread_mutex_unlock(&t->lock);
    atomic_fetch_add_explicit(&t->shared, 1, memory_order_relaxed);
}

static void share_remove(struct topics *t, struct topic_sub *sub)
{
    struct share_member *m = sub->member;
    sub->member = NULL;
    (void)pthread_mutex_lock(&t->lock);
    share_leave(m);
    if (share_group_empty(m->group)) {
        group_unlink(t, m->group);
    }
    if (share_unhold(m)) {
        share_retire(t->qsbr, m);
    }
    qsbr_reclaim(t->qsbr);
    (void)pthread_mutex_unlock(&t->lock);
    atomic_fetch_sub_explicit(&t->shared, 1, memory_order_relaxed);
}

void topics_share_here(struct topics *t, struct topic_sub *sub, bool here)
{
    (void)pthread_mutex_lock(&t->lock);
    share_move(t->qsbr, sub->member, here);
    (void)pthread_mutex_unlock(&t->lock);
}

void topics_share_filter(struct topics *t, struct topic_sub *sub, bool filtered,
                         struct share_reader *reader)
{
    (void)pthread_mutex_lock(&t->lock);
    share_filter(t->qsbr, sub->member, filtered, reader);
    qsbr_reclaim(t->qsbr);
    (void)pthread_mutex_unlock(&t->lock);
}

void topics_share_release(struct topics *t, struct share_member *m)
{
    if (share_unhold(m)) {
        (void)pthread_mutex_lock(&t->lock);
        share_retire(t->qsbr, m);
        (void)pthread_mutex_unlock(&t->lock);
    }
}

/* ---- for one session each ---- */

static void node_add(struct topics *t, unsigned loop, uint32_t instance, struct slice filter,
                     struct topic_sub *sub)
{
    bool wild = mqtt_filter_is_wild(filter);
    (void)pthread_mutex_lock(&t->lock);
    struct topic_node *n = node_get(t, instance, filter);
    sub->node = n;
    list_put(&n->list[loop], sub);
    uint64_t before = atomic_fetch_or_explicit(&n->loops, loop_bit(loop), memory_order_release);
    if (wild && (before & loop_bit(loop)) == 0) {
        atomic_fetch_add(&t->wild_version,
                         1); /* caches hold the nodes with subscribers, and masks */
    }
    qsbr_reclaim(t->qsbr);
    (void)pthread_mutex_unlock(&t->lock);
}

static void node_remove(struct topics *t, unsigned loop, struct topic_sub *sub)
{
    struct topic_node *n = sub->node;
    struct sub_list *l = &n->list[loop];
    assert(sub->index < l->count && l->subs[sub->index] == sub);
    struct topic_sub *last = l->subs[--l->count];
    last->index = sub->index;
    l->subs[sub->index] = last;
    sub->node = NULL;
    if (l->count > 0) {
        return;
    }
    free(l->subs);
    *l = (struct sub_list){0};
    (void)pthread_mutex_lock(&t->lock);
    atomic_fetch_and_explicit(&n->loops, ~loop_bit(loop), memory_order_release);
    if (n->in_tree) {
        atomic_fetch_add(&t->wild_version, 1);
    }
    node_prune(t, n);
    qsbr_reclaim(t->qsbr);
    (void)pthread_mutex_unlock(&t->lock);
}

void topics_add(struct topics *t, unsigned loop, uint32_t instance, struct slice filter,
                struct topic_sub *sub)
{
    if (mqtt_filter_is_shared(filter)) {
        share_add(t, loop, instance, filter, sub);
    } else {
        node_add(t, loop, instance, filter, sub);
    }
    atomic_fetch_add_explicit(&t->count, 1, memory_order_relaxed);
}

void topics_remove(struct topics *t, unsigned loop, struct topic_sub *sub)
{
    if ((sub->flags & SUB_SHARED) != 0) {
        share_remove(t, sub);
    } else {
        node_remove(t, loop, sub);
    }
    atomic_fetch_sub_explicit(&t->count, 1, memory_order_relaxed);
}

struct slice topic_sub_filter(const struct topic_sub *sub)
{
    if ((sub->flags & SUB_SHARED) != 0) {
        return share_group_filter(sub->member->group);
    }
    const struct topic_node *n = sub->node;
    return n->in_tree ? slice_make(n->filter, n->filter_len) : slice_make(n->key, n->key_len);
}

/* ---- matching ---- */

static void found_put(struct loop_part *p, struct topic_node *n)
{
    if (n == NULL || (atomic_load_explicit(&n->loops, memory_order_acquire) == 0 &&
                      atomic_load_explicit(&n->shares, memory_order_acquire) == NULL)) {
        return;
    }
    if (p->found_count == p->found_cap) {
        p->found_cap = p->found_cap == 0 ? 16 : p->found_cap * 2;
        p->found = mem_realloc(p->found, p->found_cap * sizeof *p->found);
    }
    p->found[p->found_count++] = n;
}

static struct topic_node *edge_find(struct topics *t, uint32_t instance,
                                    const struct topic_node *parent, struct slice level)
{
    struct table *table = atomic_load_explicit(&t->edges, memory_order_acquire);
    return table_find(table, edge_hash(instance, parent, level), instance, parent, level);
}

static const struct slice plus = {.p = (const uint8_t *)"+", .n = 1};
static const struct slice hash_sign = {.p = (const uint8_t *)"#", .n = 1};

static void way_put(struct loop_part *p, const struct topic_node *at, struct slice rest, bool more)
{
    if (p->way_count == p->way_cap) {
        p->way_cap = p->way_cap == 0 ? 16 : p->way_cap * 2;
        p->ways = mem_realloc(p->ways, p->way_cap * sizeof *p->ways);
    }
    p->ways[p->way_count++] = (struct way){.at = at, .rest = rest, .more = more};
}

/* Goes one level down: what ends here, and the edges that the next level may take. */
static void tree_step(struct topics *t, struct loop_part *p, uint32_t instance, struct way w)
{
    struct slice level;
    bool dollar = w.at == NULL && w.rest.n > 0 && w.rest.p[0] == '$'; /* [MQTT-4.7.2-1] */
    if (!dollar) {
        found_put(p, edge_find(t, instance, w.at, hash_sign)); /* also the parent level itself */
    }
    if (!mqtt_level_next(&w.rest, &w.more, &level)) {
        return;
    }
    struct topic_node *next[2] = {edge_find(t, instance, w.at, level),
                                  dollar ? NULL : edge_find(t, instance, w.at, plus)};
    for (unsigned i = 0; i < 2; i++) {
        if (next[i] == NULL) {
            continue;
        }
        if (!w.more) {
            found_put(p, next[i]);
        }
        way_put(p, next[i], w.rest, w.more);
    }
}

/* Without recursion: a topic may have 32,768 levels, and so may the tree. */
static void tree_match(struct topics *t, struct loop_part *p, uint32_t instance, struct slice topic)
{
    way_put(p, NULL, topic, true);
    while (p->way_count > 0) {
        p->steps++;
        tree_step(t, p, instance, p->ways[--p->way_count]);
    }
}

static void cache_fill(const struct loop_part *p, struct cache_entry *e, struct slice topic)
{
    free(e->topic);
    e->topic = (uint8_t *)mem_strndup(topic.p, topic.n);
    e->topic_len = (uint32_t)topic.n;
    e->loops = 0;
    for (uint32_t i = 0; i < p->found_count; i++) {
        e->loops |= atomic_load_explicit(&p->found[i]->loops, memory_order_relaxed);
    }
    e->count = p->found_count;
    free(e->nodes);
    e->nodes = NULL;
    if (e->count > 0) {
        e->nodes = mem_alloc(e->count * sizeof *e->nodes);
        memcpy(e->nodes, p->found, e->count * sizeof *e->nodes);
    }
}

static bool cache_hit(const struct topics *t, const struct cache_entry *e, uint32_t instance,
                      struct slice topic, uint64_t hash)
{
    return e->topic != NULL && e->hash == hash && e->instance == instance &&
           e->version == atomic_load_explicit(&t->wild_version, memory_order_acquire) &&
           slice_eq(slice_make(e->topic, e->topic_len), topic);
}

/* What is too large for it, by its topic or by what matches, has one slot behind the others: publishers choose the topics. */
static struct cache_entry *cache_get(struct topics *t, struct loop_part *p, uint32_t instance,
                                     struct slice topic, uint64_t hash)
{
    if (p->cache == NULL) {
        p->cache = mem_new(CACHE_SLOTS + 1, sizeof *p->cache);
    }
    struct cache_entry *e = &p->cache[(hash ^ instance) & (CACHE_SLOTS - 1)];
    struct cache_entry *large = &p->cache[CACHE_SLOTS];
    if (cache_hit(t, e, instance, topic, hash)) {
        return e;
    }
    if (cache_hit(t, large, instance, topic, hash)) {
        return large;
    }
    uint64_t version = atomic_load(&t->wild_version); /* before the match */
    p->found_count = 0;
    tree_match(t, p, instance, topic);
    e = topic.n > CACHE_TOPIC_MAX || p->found_count > CACHE_NODES_MAX ? large : e;
    e->version = version;
    e->hash = hash;
    e->instance = instance;
    cache_fill(p, e, topic);
    return e;
}

static void lists_put(struct loop_part *p, uint32_t *count, const struct sub_list *l)
{
    if (l->count == 0) {
        return;
    }
    if (*count == p->list_cap) {
        p->list_cap = p->list_cap == 0 ? 16 : p->list_cap * 2;
        p->lists = mem_realloc(p->lists, p->list_cap * sizeof *p->lists);
    }
    p->lists[(*count)++] = (struct topics_list){.subs = l->subs, .count = l->count};
}

static void shares_put(struct loop_part *p, uint32_t *count, const struct topic_node *n)
{
    struct share_group *g = atomic_load_explicit(&n->shares, memory_order_acquire);
    for (; g != NULL; g = atomic_load_explicit(&g->next, memory_order_acquire)) {
        if (*count == p->share_cap) {
            p->share_cap = p->share_cap == 0 ? 8 : p->share_cap * 2;
            p->shares = mem_realloc(p->shares, p->share_cap * sizeof(struct share_group *));
        }
        p->shares[(*count)++] = g;
    }
}

void topics_match(struct topics *t, unsigned loop, uint32_t instance, struct slice topic,
                  uint64_t hash, struct topics_match *out)
{
    struct loop_part *p = &t->part[loop];
    struct table *table = atomic_load_explicit(&t->exact, memory_order_acquire);
    struct topic_node *n = table_find(table, exact_hash(instance, hash), instance, NULL, topic);
    *out = (struct topics_match){0};
    p->steps = 0;
    if (n != NULL) {
        out->loops = atomic_load_explicit(&n->loops, memory_order_acquire);
        lists_put(p, &out->count, &n->list[loop]);
        shares_put(p, &out->share_count, n);
    }
    if (atomic_load_explicit(&t->wild_nodes, memory_order_acquire) > 0) {
        struct cache_entry *e = cache_get(t, p, instance, topic, hash);
        out->loops |= e->loops;
        for (uint32_t i = 0; i < e->count; i++) {
            lists_put(p, &out->count, &e->nodes[i]->list[loop]);
            shares_put(p, &out->share_count, e->nodes[i]);
        }
    }
    out->steps = p->steps;
    out->lists = p->lists;
    out->shares = p->shares;
}

uint64_t topics_count(const struct topics *t)
{
    return atomic_load_explicit(&t->count, memory_order_relaxed);
}

uint64_t topics_shared_count(const struct topics *t)
{
    return atomic_load_explicit(&t->shared, memory_order_relaxed);
}

/* ---- life ---- */

struct topics *topics_new(unsigned loops, struct qsbr *q)
{
    assert(loops >= 1 && loops <= QSBR_MAX_READERS);
    struct topics *t = NULL;
    size_t size = sizeof *t + loops * sizeof t->part[0];
    t = aligned_alloc(64, (size + 63) & ~(size_t)63);
    assert(t != NULL);
    memset(t, 0, size);
    t->loops = loops;
    t->qsbr = q;
    (void)pthread_mutex_init(&t->lock, NULL);
    atomic_init(&t->exact, table_new(64));
    atomic_init(&t->edges, table_new(64));
    t->groups = mem_new(64, sizeof(struct share_group *));
    t->groups_mask = 63;
    return t;
}

static void cache_free(struct cache_entry *cache)
{
    for (size_t i = 0; cache != NULL && i <= CACHE_SLOTS; i++) {
        free(cache[i].topic);
        free(cache[i].nodes);
    }
    free(cache);
}

void topics_free(struct topics *t)
{
    if (t == NULL) {
        return;
    }
    for (unsigned l = 0; l < t->loops; l++) {
        cache_free(t->part[l].cache);
        free(t->part[l].lists);
        free(t->part[l].found);
        free(t->part[l].ways);
        free(t->part[l].shares);
    }
    free(atomic_load(&t->exact));
    free(atomic_load(&t->edges));
    free(t->groups);
    (void)pthread_mutex_destroy(&t->lock);
    free(t);
}
