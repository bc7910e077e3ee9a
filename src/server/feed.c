/*
 * Retained messages on their way to a new subscription, which may match a million of them: a piece a round, and never more
 * than there is room for. What has no room is not dropped, it waits: for output that was written, for acknowledgements.
 *
 * A session has a feed for each subscription that is behind (SUB_FEEDS), in the order of the SUBSCRIBEs. They go on when its
 * connection is pumped; who used up its turn and still has room stands in worker->feeding. A feed belongs to the session: it
 * waits while the client is away, and with a durable session the store knows of it, so that a restart begins it anew.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/server_priv.h"

enum {
    FIRST_STEPS = 256, /* nodes that are looked at at once: most subscriptions find nothing there */
    TURN_STEPS = 2048
};

struct feed {
    struct list link; /* feeds->all */
    struct topic_sub *sub;
    struct retained_walk *walk;
};

struct feeds {
    struct list all;
    struct list turn; /* worker->feeding */
    struct session *session;
    bool busy; /* in feed_go(), which pumps, which calls it */
};

static struct feeds *feeds_get(struct session *s)
{
    if (s->feeds == NULL) {
        s->feeds = mem_new(1, sizeof *s->feeds);
        list_init(&s->feeds->all);
        list_init(&s->feeds->turn);
        s->feeds->session = s;
    }
    return s->feeds;
}

static void feeds_tidy(struct session *s)
{
    struct feeds *f = s->feeds;
    if (f != NULL && list_empty(&f->all) && !f->busy) {
        list_del(&f->turn);
        free(f);
        s->feeds = NULL;
    }
}

static struct feed *feed_of(struct list *l)
{
    return LIST_ENTRY(l, struct feed, link);
}

static void feed_free(struct feed *f)
{
    f->sub->flags &= (uint8_t) ~(SUB_FEEDS | SUB_FEEDS_AGAIN);
    list_del(&f->link);
    retained_walk_free(f->walk);
    free(f);
}

/* From both ends: who takes its subscriptions back does so in their order or against it. */
static struct feed *feed_find(const struct feeds *all, const struct topic_sub *sub)
{
    struct list *first = all->all.next, *last = all->all.prev;
    while (feed_of(first)->sub != sub && feed_of(last)->sub != sub) {
        first = first->next;
        last = last->prev;
        assert(first != &all->all);
    }
    return feed_of(first)->sub == sub ? feed_of(first) : feed_of(last);
}

void feed_end(struct session *s, struct topic_sub *sub)
{
    if ((sub->flags & SUB_FEEDS) != 0) {
        feed_free(feed_find(s->feeds, sub));
        feeds_tidy(s);
    }
}

void feed_begin(struct worker *w, struct session *s, struct topic_sub *sub)
{
    if ((sub->flags & SUB_FEEDS) != 0) {
        sub->flags |= SUB_FEEDS_AGAIN; /* a client may ask for it a hundred thousand times */
        return;
    }
    uint32_t first = w->work < ROUND_WORK ? FIRST_STEPS : 1, steps = first;
    struct retained_walk *walk =
        retained_walk_new(w->server->retained, s->instance, topic_sub_filter(sub), &steps);
    w->work += first - steps;
    if (walk == NULL) {
        return;
    }
    struct feed *f = mem_new(1, sizeof *f);
    list_init(&f->link);
    f->sub = sub;
    f->walk = walk;
    sub->flags |= SUB_FEEDS;
    list_push(&feeds_get(s)->all, &f->link);
}

/* It was asked for again: what it has given so far comes once more. True: nothing is there any more. */
static bool feed_restart(struct conn *c, struct feed *f, uint32_t *steps)
{
    f->sub->flags &= (uint8_t)~SUB_FEEDS_AGAIN;
    retained_walk_free(f->walk);
    f->walk = retained_walk_new(c->w->server->retained, c->session->instance,
                                topic_sub_filter(f->sub), steps);
    return f->walk == NULL;
}

/* One piece. */
struct piece {
    struct conn *c;
    const struct topic_sub *sub;
    struct buf over; /* topics of messages whose time is over: u32 length, bytes */
};

static bool give(void *arg, const struct message_parts *m)
{
    struct piece *p = arg;
    if (!message_expired(m->expires_ms, loop_now_ms(p->c->w->loop))) {
        return route_retained(p->c, m, p->sub);
    }
    uint32_t n = (uint32_t)m->topic.n;
    buf_put(&p->over, &n, sizeof n);
    buf_put_slice(&p->over, m->topic);
    return true;
}

/* What the walk found to be over is forgotten behind it. */
static void forget_expired(struct worker *w, uint32_t instance, struct buf *over)
{
    for (struct slice rest = buf_slice(over); rest.n > 0;) {
        uint32_t n;
        memcpy(&n, rest.p, sizeof n);
        struct slice topic = slice_make(rest.p + sizeof n, n);
        if (retained_expire(w->server->retained, instance, topic, loop_now_ms(w->loop))) {
            persist_retained(w, instance, topic);
        }
        rest = slice_from(rest, sizeof n + n);
    }
    buf_fini(over);
}

/* True: this feed is over, and gone. */
static bool feed_step(struct conn *c, struct feed *f, uint32_t *steps)
{
    struct session *s = c->session;
    struct topic_sub *sub = f->sub;
    struct piece p = {.c = c, .sub = sub};
    bool again = (sub->flags & SUB_FEEDS_AGAIN) != 0;
    bool over =
        (again && feed_restart(c, f, steps)) || retained_walk_step(f->walk, steps, give, &p);
    forget_expired(c->w, s->instance, &p.over);
    if (over) {
        feed_free(f);
        if (session_durable(s)) {
            persist_sub(c->w, s, sub);
        }
    }
    return over;
}

void feed_go(struct conn *c)
{
    struct feeds *f = c->session->feeds;
    if (f->busy || c->answers > 0) {
        return;
    }
    uint32_t turn = c->w->work < ROUND_WORK ? TURN_STEPS : 0, steps = turn;
    f->busy = true;
    while (steps > 0 && !list_empty(&f->all) && feed_step(c, feed_of(f->all.next), &steps)) {
    }
    f->busy = false;
    c->w->work += turn - steps;
    list_del(&f->turn);
    if (steps == 0) {
        list_push(&c->w->feeding, &f->turn);
    }
    feeds_tidy(c->session);
}

void feed_turns(struct worker *w)
{
    struct list now, *l;
    list_take(&w->feeding, &now);
    w->work = 0;
    while (w->work < ROUND_WORK && (l = list_shift(&now)) != NULL) {
        const struct session *s = LIST_ENTRY(l, struct feeds, turn)->session;
        if (s->conn != NULL) {
            session_pump(s->conn);
        }
    }
    list_put_first(&w->feeding, &now);
}
