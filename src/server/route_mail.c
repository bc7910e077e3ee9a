/*
 * Messages for subscribers of other workers, one piece of mail a round and worker, and their answers. The worker that gets it
 * matches for itself: subscriber lists are its own. Mail: struct routed; answers: struct answered.
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/route_priv.h"

enum { MAIL_FLUSH_BYTES = 64 * 1024 };

struct answered {
    struct conn *conn; /* NULL: a delayed message's number */
    uint32_t number;
};

static void post_bytes(struct worker *to, struct mail_bytes **slot, bool control)
{
    struct mail_bytes *m = *slot;
    *slot = NULL;
    m->mail.bytes = (uint32_t)buf_len(&m->bytes);
    if (control) {
        worker_post(to, &m->mail);
    } else {
        mailbox_push(&to->inbox, &m->mail);
        loop_wake(to->loop);
    }
}

static struct mail_bytes *mail_for(struct worker *w, struct mail_bytes **slot, enum mail_kind kind)
{
    if (*slot == NULL) {
        *slot = mem_new(1, sizeof **slot);
        (*slot)->mail.kind = kind;
        (*slot)->from = w;
    }
    return *slot;
}

void route_send_to(struct worker *w, unsigned target, const struct message_parts *p,
                   const struct routed *head)
{
    struct mail_bytes *m = mail_for(w, &w->publishes[target], MAIL_PUBLISHES);
    buf_put(&m->bytes, head, sizeof *head);
    buf_put_slice(&m->bytes, p->topic);
    buf_put_slice(&m->bytes, p->payload);
    buf_put_slice(&m->bytes, p->extra);
    if (buf_len(&m->bytes) > MAIL_FLUSH_BYTES) {
        post_bytes(w->server->workers[target], &w->publishes[target], false);
    }
}

void route_fill_head(struct routed *head, const struct message_parts *p)
{
    head->topic_len = (uint32_t)p->topic.n;
    head->payload_len = (uint32_t)p->payload.n;
    head->extra_len = (uint32_t)p->extra.n;
    head->expires_ms = p->expires_ms;
    head->qos = p->qos;
    head->retain = p->retain;
}

void route_asked(const struct routed *head, struct route_result *out)
{
    if (head->origin != NULL) {
        conn_hold(head->origin);
    }
    out->waits += routed_asks(head);
}

void route_others(struct worker *w, uint64_t loops, struct routed head,
                  const struct message_parts *p, struct route_result *out)
{
    route_fill_head(&head, p);
    loops &= ~(UINT64_C(1) << w->index);
    out->loops |= loops;
    while (loops != 0) {
        unsigned target = (unsigned)__builtin_ctzll(loops);
        loops &= loops - 1;
        head.have = (out->have >> target & 1) != 0;
        route_send_to(w, target, p, &head);
        route_asked(&head, out);
    }
}

void route_repetition(struct worker *w, struct conn *origin, uint64_t loops, uint32_t ack_number,
                      struct route_result *out)
{
    const struct message_parts nothing = {.qos = 2};
    const struct routed head = {.origin = origin,
                                .number = ack_number,
                                .qos = 2,
                                .repetition = true,
                                .asker = (uint8_t)w->index};
    loops &= ~(UINT64_C(1) << w->index);
    while (loops != 0) {
        route_send_to(w, (unsigned)__builtin_ctzll(loops), &nothing, &head);
        loops &= loops - 1;
        conn_hold(origin);
        out->waits++;
    }
}

void route_flush(struct worker *w)
{
    for (unsigned i = 0; i < w->server->worker_count; i++) {
        if (w->publishes[i] != NULL) {
            post_bytes(w->server->workers[i], &w->publishes[i], false);
        }
        if (w->acks[i] != NULL) {
            post_bytes(w->server->workers[i], &w->acks[i], true);
        }
    }
}

void route_answer(struct worker *w, const struct routed *head, bool durable)
{
    struct worker *asker = w->server->workers[head->asker];
    if (!routed_asks(head)) {
        return;
    }
    if (durable) {
        (void)persist_wait(w, WAIT_REMOTE_ACK, head->origin, asker, head->number, NULL);
    } else {
        route_ack_back(w, asker, head->origin, head->number);
    }
}

static void route_one(struct worker *w, const struct routed *head, const struct message_parts *p)
{
    struct topics_match m;
    struct route r = {.w = w, .m = p, .durable = head->repetition, .have = head->have};
    if (!head->repetition) {
        topics_match(w->server->topics, w->index, head->instance, p->topic, head->hash, &m);
        route_deliver_matched(&r, &m);
        route_end(&r);
    }
    if (r.durable && head->session_id != 0) {
        persist_in_id(w, head->session_id, head->packet_id);
    }
    route_answer(w, head, r.durable);
}

bool route_mail(struct worker *w, struct mail_bytes *mail)
{
    struct slice rest = buf_slice(&mail->bytes);
    while (rest.n > 0 && w->work < ROUND_WORK) {
        struct routed head;
        assert(rest.n >= sizeof head);
        memcpy(&head, rest.p, sizeof head);
        rest = slice_from(rest, sizeof head);
        struct message_parts p = {
            .qos = head.qos, .retain = head.retain != 0, .expires_ms = head.expires_ms};
        p.topic = slice_make(rest.p, head.topic_len);
        rest = slice_from(rest, head.topic_len);
        p.payload = slice_make(rest.p, head.payload_len);
        rest = slice_from(rest, head.payload_len);
        p.extra = slice_make(rest.p, head.extra_len);
        rest = slice_from(rest, head.extra_len);
        if (head.shared) {
            shared_arrived(w, &head, &p);
        } else {
            route_one(w, &head, &p);
        }
    }
    buf_take(&mail->bytes, buf_len(&mail->bytes) - rest.n);
    if (rest.n > 0) {
        return false;
    }
    buf_fini(&mail->bytes);
    free(mail);
    return true;
}

void route_ack_back(struct worker *w, struct worker *origin, struct conn *conn, uint32_t number)
{
    struct mail_bytes *m = mail_for(w, &w->acks[origin->index], MAIL_ACKS);
    struct answered a = {.conn = conn, .number = number};
    buf_put(&m->bytes, &a, sizeof a);
}

void route_acks(struct worker *w, struct mail_bytes *mail)
{
    struct slice rest = buf_slice(&mail->bytes);
    while (rest.n > 0) {
        struct answered a;
        memcpy(&a, rest.p, sizeof a);
        rest = slice_from(rest, sizeof a);
        if (a.conn == NULL) {
            delays_answered(w, a.number);
            continue;
        }
        acks_answered(a.conn, a.number);
        conn_unhold(a.conn);
    }
    buf_fini(&mail->bytes);
    free(mail);
}

bool route_full(const struct worker *w)
{
    const struct server *s = w->server;
    for (unsigned i = 0; i < s->worker_count; i++) {
        if (i != w->index && mailbox_bytes(&s->workers[i]->inbox) > s->config->mailbox_bytes) {
            return true;
        }
    }
    return false;
}
