/*
 * Shared subscriptions: one member of each group gets a message. Whoever routes it picks one (broker/share.h) and delivers, or
 * mails it to the member's worker. A member that has left meanwhile, or whose queue is full, passes it on.
 *
 * When a member leaves, what it did not acknowledge goes to others: when its client goes and others are here, when it
 * unsubscribes, when its session ends. A QoS 2 message that was sent stays with its session, or goes with it
 * [MQTT-4.8.2-4] [MQTT-4.8.2-5]. QoS 2 from a durable publisher is given once to each group across a crash: the store holds, with
 * the message, that the group has it (persist_in_share()).
 */
#include <assert.h>

#include "base/hash.h"
#include "server/route_priv.h"

enum { TRIES = 8 }; /* members that have no room are passed by so often */

enum { NOBODY = -1, NOT_READABLE = -2 }; /* none of those that are there may read it */

/* Who picks asks about filtered members. */
struct asker {
    struct share_asker base;
    struct route *r;
    bool refused; /* somebody may not read it */
};

static bool may_pick(struct share_asker *base, const struct share_member *m)
{
    struct asker *a = LIST_ENTRY(base, struct asker, base);
    bool may = filtered_may_pick(a->r->w, m, a->r->m->topic);
    a->refused |= !may;
    return may;
}

static bool has_room(const struct route *r, const struct session *s, uint8_t qos)
{
    const struct conn *c = s->conn;
    return qos == 0 && c != NULL ? conn_has_room(c)
                                 : !session_full(s, &r->w->limits, message_bytes_of(r->m));
}

/* To a member of this worker: false when it has left, may not read it, or (`picky`) has no room. */
static bool give(struct route *r, const struct share_member *m, const struct routed *head,
                 bool picky)
{
    struct topic_sub *sub = m->sub;
    if (sub == NULL || !filtered_may_get(r->w, sub, r->m->topic)) {
        return false;
    }
    struct copy copy;
    route_copy_of(&copy, r, sub);
    copy.share = share_mark(m->group->hash);
    if (picky && !has_room(r, sub->session, copy.qos)) {
        return false;
    }
    const bool durable = r->durable, have = r->have;
    r->durable = r->have = false;
    route_deliver(r, sub->session, &copy);
    if (r->durable && head->session_id != 0) {
        persist_in_share(r->w, head->session_id, head->packet_id, m->group->hash);
    }
    r->durable |= durable;
    r->have = have;
    return true;
}

/*
 * To some member of the group but `except`: 1 when one of this worker got it, 0 when it is in the mail to another's, NOBODY,
 * or NOT_READABLE. `away`: also to one whose client is away.
 */
static int give_some(struct route *r, struct share_group *g, const struct share_member *except,
                     bool away, const struct routed *head, unsigned *target)
{
    struct worker *w = r->w;
    bool ask = atomic_load_explicit(&g->filtered, memory_order_relaxed) > 0;
    struct asker asker = {.base = {.fn = may_pick}, .r = r};
    for (int i = 0; i < TRIES; i++) {
        struct share_member *m = share_pick(g, except, away, ask ? &asker.base : NULL);
        if (m == NULL) {
            return asker.refused ? NOT_READABLE : NOBODY;
        }
        if (m->loop == w->index) {
            if (give(r, m, head, i + 1 < TRIES)) {
                return 1;
            }
        } else if (share_hold(m)) {
            struct routed mail = *head;
            mail.shared = true;
            mail.member = m;
            route_fill_head(&mail, r->m);
            *target = m->loop;
            route_send_to(w, m->loop, r->m, &mail);
            return 0;
        }
    }
    return NOBODY;
}

/* Nobody got it. */
static void count_lost(struct worker *w, int given)
{
    count_add(given == NOT_READABLE ? &w->count.filtered : &w->count.dropped[DROP_NO_MEMBER], 1);
}

static void route_group(struct route *r, struct share_group *g, const struct routed *head,
                        struct route_result *out)
{
    unsigned target;
    int given = give_some(r, g, NULL, true, head, &target);
    if (given < 0) {
        count_lost(r->w, given);
    } else if (given == 0) {
        out->loops |= UINT64_C(1) << target;
        route_asked(head, out);
    }
}

void shared_route(struct route *r, const struct topics_match *m, const struct routed *head,
                  struct in_id *in, struct route_result *out)
{
    for (uint32_t i = 0; i < m->share_count; i++) {
        struct share_group *g = m->shares[i];
        if (in != NULL && in_id_has_share(in, g->hash)) {
            continue; /* before a crash */
        }
        if (in != NULL) {
            in_id_add_share(in, g->hash);
        }
        route_group(r, g, head, out);
    }
}

/* Its client is here, or nobody's of the group is. */
static bool takes_its_turn(const struct share_member *m)
{
    return m->here || atomic_load_explicit(&m->group->here.count, memory_order_relaxed) == 0;
}

void shared_arrived(struct worker *w, const struct routed *head, const struct message_parts *p)
{
    struct share_member *m = head->member;
    struct route r = {.w = w, .m = p};
    struct routed next = *head;
    unsigned target;
    assert(m->loop == w->index);
    bool last = head->passed >= TRIES; /* it does not go round for ever: it stays, or is dropped */
    int given = (last || takes_its_turn(m)) && give(&r, m, head, !last) ? 1 : NOBODY;
    if (given < 0 && (!last || m->sub == NULL)) {
        next.passed = (uint8_t)(next.passed + (m->sub != NULL));
        given = give_some(&r, m->group, NULL, true, &next, &target);
    }
    if (given < 0) {
        count_lost(w, given);
    }
    topics_share_release(w->server->topics, m);
    route_end(&r);
    if (given != 0) { /* else the next one answers */
        route_answer(w, head, r.durable);
    }
}

/* ---- members that come and go ---- */

void shared_here(struct worker *w, struct session *s, bool here)
{
    for (struct topic_sub *sub = s->subs; sub != NULL; sub = sub->next) {
        if ((sub->flags & SUB_SHARED) != 0) {
            topics_share_here(w->server->topics, sub, here);
        }
    }
}

void shared_load(struct conn *c)
{
    const struct session *s = c->session;
    bool busy = !conn_has_room(c) || (s->out != NULL && s->out->sent < s->out->tail);
    for (const struct topic_sub *sub = s->subs; sub != NULL; sub = sub->next) {
        if ((sub->flags & SUB_SHARED) != 0) {
            atomic_store_explicit(&sub->member->busy, busy, memory_order_relaxed);
        }
    }
}

/* The group that a message came from; NULL: it has no members any more. */
static struct share_group *group_of(struct worker *w, uint32_t instance,
                                    const struct message_parts *p, uint32_t mark)
{
    struct topics_match m;
    topics_match(w->server->topics, w->index, instance, p->topic, hash64(p->topic), &m);
    for (uint32_t i = 0; i < m.share_count; i++) {
        if (share_mark(m.shares[i]->hash) == mark) {
            return m.shares[i];
        }
    }
    return NULL;
}

static const struct share_member *member_of(const struct session *s, const struct share_group *g)
{
    for (const struct topic_sub *sub = s->subs; sub != NULL; sub = sub->next) {
        if ((sub->flags & SUB_SHARED) != 0 && sub->member->group == g) {
            return sub->member;
        }
    }
    return NULL;
}

/* True: somebody else of its group has it. */
static bool give_away(struct worker *w, const struct session *s, const struct message *m,
                      uint32_t mark, const struct share_group *only, bool away)
{
    struct message_parts p;
    unsigned target;
    message_parts(m, &p);
    struct share_group *g = group_of(w, s->instance, &p, mark);
    if (g == NULL || (only != NULL && g != only)) {
        return false;
    }
    struct route r = {.w = w, .m = &p};
    const struct routed head = {.instance = s->instance, .asker = (uint8_t)w->index};
    int given = give_some(&r, g, member_of(s, g), away, &head, &target);
    route_end(&r);
    return given >= 0;
}

bool shared_pass_on(struct worker *w, const struct session *s, const struct message *m,
                    uint32_t mark)
{
    return give_away(w, s, m, mark, NULL, true);
}

/* What of the outbox another member may get. */
static bool may_leave(const struct out_entry *e, bool unsubscribes)
{
    bool sent = e->sent_before || e->state == OUT_SENT;
    bool waits = e->state == OUT_WAITING || e->state == OUT_SENT;
    return e->share != 0 && waits && !(sent && (e->qos == 2 || unsubscribes));
}

void shared_leave(struct worker *w, struct session *s, const struct topic_sub *sub, bool ends)
{
    uint64_t from = s->out == NULL ? 0 : s->out->head;
    uint64_t end = s->out == NULL || (w->stopping && !ends) ? from : s->out->tail;
    for (uint64_t order = from; order < end; order++) {
        const struct out_entry *e = session_entry(s, order);
        if (e == NULL || !may_leave(e, sub != NULL)) {
            continue;
        }
        if (!give_away(w, s, e->msg, e->share, sub == NULL ? NULL : sub->member->group,
                       ends || sub != NULL)) {
            continue;
        }
        bool stored;
        struct message *m;
        struct queue_size before = queue_size(s);
        session_take(s, order, &stored, &m);
        count_queue(&w->count, s, before);
        if (stored) {
            persist_acked(w, s, order, m);
        }
        message_unref(m);
    }
}
