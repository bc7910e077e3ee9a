/*
 * Members of shared subscriptions; see share.h. A list is an array that is appended to in place and moved when it is full; a
 * member that goes leaves its place to the last. So a reader may see a member twice, or miss one, while a list changes: it
 * picks somebody all the same.
 */
#include "broker/share.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/mem.h"

enum { PROBES = 16 }; /* past so many busy members */

struct share_slots {
    struct qsbr_item retired;
    uint32_t cap;
    _Atomic(struct share_member *) member[];
};

static void item_free(struct qsbr_item *item)
{
    free(item);
}

static void group_free(struct qsbr_item *item)
{
    struct share_group *g = (struct share_group *)(void *)item;
    free(atomic_load(&g->here.slots));
    free(atomic_load(&g->away.slots));
    free(g);
}

struct share_group *share_group_new(struct slice filter, struct topic_node *node)
{
    struct share_group *g = mem_new(1, sizeof *g + filter.n);
    g->node = node;
    g->hash = hash64(filter);
    g->filter_len = (uint32_t)filter.n;
    memcpy(g->filter, filter.p, filter.n);
    return g;
}

bool share_group_empty(const struct share_group *g)
{
    return atomic_load(&g->here.count) == 0 && atomic_load(&g->away.count) == 0;
}

/* ---- lists, under the lock ---- */

static struct share_slots *list_grow(struct qsbr *q, struct share_list *l)
{
    struct share_slots *old = atomic_load_explicit(&l->slots, memory_order_relaxed);
    uint32_t cap = old == NULL ? 2 : old->cap * 2;
    struct share_slots *s = mem_new(1, sizeof *s + cap * sizeof s->member[0]);
    s->cap = cap;
    for (uint32_t i = 0; old != NULL && i < old->cap; i++) {
        atomic_init(&s->member[i], atomic_load(&old->member[i]));
    }
    atomic_store_explicit(&l->slots, s, memory_order_release);
    if (old != NULL) {
        qsbr_retire(q, &old->retired, item_free);
    }
    return s;
}

static void list_put(struct qsbr *q, struct share_list *l, struct share_member *m)
{
    struct share_slots *s = atomic_load_explicit(&l->slots, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&l->count, memory_order_relaxed);
    if (s == NULL || n == s->cap) {
        s = list_grow(q, l);
    }
    m->index = n;
    atomic_store_explicit(&s->member[n], m, memory_order_release);
    atomic_store_explicit(&l->count, n + 1, memory_order_release);
}

static void list_take(struct share_list *l, const struct share_member *m)
{
    struct share_slots *s = atomic_load_explicit(&l->slots, memory_order_relaxed);
    uint32_t n = atomic_load_explicit(&l->count, memory_order_relaxed) - 1;
    struct share_member *last = atomic_load_explicit(&s->member[n], memory_order_relaxed);
    assert(atomic_load(&s->member[m->index]) == m);
    last->index = m->index;
    atomic_store_explicit(&s->member[m->index], last, memory_order_release);
    atomic_store_explicit(&l->count, n, memory_order_release);
    atomic_store_explicit(&s->member[n], NULL, memory_order_release);
}

static struct share_list *list_of(struct share_group *g, bool here)
{
    return here ? &g->here : &g->away;
}

struct share_member *share_join(struct qsbr *q, struct share_group *g, unsigned loop,
                                struct topic_sub *sub, bool here)
{
    struct share_member *m = mem_new(1, sizeof *m);
    m->group = g;
    m->sub = sub;
    m->loop = loop;
    m->here = here;
    atomic_init(&m->refs, 1);
    g->members++;
    list_put(q, list_of(g, here), m);
    return m;
}

void share_move(struct qsbr *q, struct share_member *m, bool here)
{
    if (m->here != here) {
        list_take(list_of(m->group, m->here), m);
        m->here = here;
        list_put(q, list_of(m->group, here), m);
    }
}

void share_filter(struct qsbr *q, struct share_member *m, bool filtered,
                  struct share_reader *reader)
{
    bool before = atomic_load_explicit(&m->filtered, memory_order_relaxed);
    struct share_reader *old = atomic_load_explicit(&m->reader, memory_order_relaxed);
    if (filtered && !before) {
        atomic_fetch_add_explicit(&m->group->filtered, 1, memory_order_relaxed);
    } else if (before && !filtered) {
        atomic_fetch_sub_explicit(&m->group->filtered, 1, memory_order_relaxed);
    }
    atomic_store_explicit(&m->reader, reader, memory_order_release);
    atomic_store_explicit(&m->filtered, filtered, memory_order_release);
    if (old != NULL) {
        qsbr_retire(q, &old->retired, old->free);
    }
}

void share_leave(struct share_member *m)
{
    if (atomic_load_explicit(&m->filtered, memory_order_relaxed)) {
        atomic_fetch_sub_explicit(&m->group->filtered, 1, memory_order_relaxed);
    }
    list_take(list_of(m->group, m->here), m);
    m->sub = NULL;
}

void share_retire(struct qsbr *q, struct share_member *m)
{
    struct share_group *g = m->group;
    struct share_reader *r = atomic_load_explicit(&m->reader, memory_order_relaxed);
    qsbr_retire(q, &m->retired, item_free);
    if (r != NULL) {
        qsbr_retire(q, &r->retired, r->free);
    }
    if (--g->members == 0 && share_group_empty(g)) {
        qsbr_retire(q, &g->retired, group_free);
    }
}

/* ---- readers ---- */

/* The next in turn that is not busy, or else the first busy one. */
static struct share_member *pick_from(struct share_group *g, const struct share_list *l,
                                      const struct share_member *except, struct share_asker *may)
{
    struct share_member *second = NULL;
    uint32_t n = atomic_load_explicit(&l->count, memory_order_acquire);
    const struct share_slots *s = atomic_load_explicit(&l->slots, memory_order_acquire);
    uint32_t turn = n == 0 ? 0 : atomic_fetch_add_explicit(&g->turn, 1, memory_order_relaxed);
    for (uint32_t i = 0; i < n && (i < PROBES || may != NULL); i++) {
        uint32_t at = (turn + i) % n;
        struct share_member *m =
            at < s->cap ? atomic_load_explicit(&s->member[at], memory_order_acquire) : NULL;
        if (m == NULL || m == except || (may != NULL && !may->fn(may, m))) {
            continue;
        }
        if (!atomic_load_explicit(&m->busy, memory_order_relaxed)) {
            return m;
        }
        second = second == NULL ? m : second;
    }
    return second;
}

struct share_member *share_pick(struct share_group *g, const struct share_member *except, bool away,
                                struct share_asker *may)
{
    struct share_member *m = pick_from(g, &g->here, except, may);
    return m != NULL || !away ? m : pick_from(g, &g->away, except, may);
}

bool share_hold(struct share_member *m)
{
    uint32_t n = atomic_load_explicit(&m->refs, memory_order_relaxed);
    while (n != 0 && !atomic_compare_exchange_weak(&m->refs, &n, n + 1)) {
    }
    return n != 0;
}

bool share_unhold(struct share_member *m)
{
    return atomic_fetch_sub(&m->refs, 1) == 1;
}
