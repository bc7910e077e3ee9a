/* What route.c (from a PUBLISH to its subscribers), route_mail.c (to those of other workers), shared.c (to one member of a
 * group) and pump.c (what had to wait) share. */
#ifndef TMQ_SERVER_ROUTE_PRIV_H
#define TMQ_SERVER_ROUTE_PRIV_H

#include "server/server_priv.h"

/* One message on its way to this worker's sessions. */
struct route {
    struct worker *w;
    const struct message_parts *m;
    const struct session *from; /* the publisher's, when it is this worker's: for no local */
    struct message *msg;        /* made when somebody must keep it; a reference */
    bool encoded, encoded5;     /* w->scratch, w->scratch5 hold it as QoS 0 */
    bool durable;               /* some durable session took it */
    bool have;                  /* durable sessions have it already */
};

/* A session's copy of a message: what its subscriptions make of it. */
struct copy {
    uint32_t subid; /* the only one, or 0 */
    uint32_t share; /* of a shared subscription: share_mark() of its group, else 0 */
    uint8_t qos;
    bool retain;
    bool filtered; /* only if its client may read it */
};

/* ---- route.c ---- */
void route_copy_of(struct copy *out, const struct route *r, const struct topic_sub *sub);
/* To a session of this worker; to all that match. */
void route_deliver(struct route *r, struct session *s, const struct copy *copy);
void route_deliver_matched(struct route *r, const struct topics_match *m);
/* The message is with all that take it. */
void route_end(struct route *r);
/* The session does not get a message. */
void route_drop(struct worker *w, struct session *s, enum drop_reason why);

/* A copy's PUBLISH: all of it but topic, payload and `extra`. */
void copy_publish(struct mqtt_publish *out, const struct worker *w, const struct copy *copy,
                  uint64_t expires_ms);
/* False: larger than the client takes; it is treated as delivered. [MQTT-3.1.2-24] [MQTT-3.1.2-25] */
bool copy_fits(const struct conn *c, const struct mqtt_publish *p);
/* Into the connection's output; `holder` keeps a large payload while it is being written. */
void copy_put(struct conn *c, struct mqtt_publish *p, struct message *holder);

/* How many messages may be in flight to the client. */
uint32_t send_window(const struct conn *c);
/* An entry has left the outbox: its row, and our reference. */
void outbox_forget(struct worker *w, struct session *s, uint64_t order, bool stored,
                   struct message *m);

/* ---- route_mail.c ---- */
/* Mail, one after another: struct routed, topic, payload, extra. */
struct routed {
    union {
        uint64_t hash;               /* of the topic */
        struct share_member *member; /* `shared`: who is to get it; held */
    };
    struct conn *origin; /* held; NULL: there is none */
    uint64_t
        session_id; /* QoS 2: number of the durable session, or of the delayed message; else 0 */
    uint64_t expires_ms;
    /* of the origin's ack, or of a delayed message; 0 without an origin: no answer is wanted */
    uint32_t number;
    uint32_t instance;
    uint32_t topic_len, payload_len, extra_len;
    uint16_t packet_id;
    uint8_t qos, retain;
    bool have;       /* the durable sessions there had it before a crash */
    bool repetition; /* nothing to deliver, but to answer when what waits is stored */
    bool shared;
    uint8_t passed; /* `shared`: so many members that are there passed it on */
    uint8_t asker;  /* index of the origin's worker */
};

static inline bool routed_asks(const struct routed *head)
{
    return head->origin != NULL || head->number != 0;
}
/* Mail has gone to one more who answers, if it is asked. */
void route_asked(const struct routed *head, struct route_result *out);
/* What of the message mail tells; lengths, too. */
void route_fill_head(struct routed *head, const struct message_parts *p);
/* Into the round's mail to that worker. */
void route_send_to(struct worker *w, unsigned target, const struct message_parts *p,
                   const struct routed *head);
/* To the workers `loops` but this one. `head` says who asks and for what; the rest is filled in. */
void route_others(struct worker *w, uint64_t loops, struct routed head,
                  const struct message_parts *p, struct route_result *out);
/* An answer to the mail's origin, when what is waiting is in the store (`durable`) or at once. */
void route_answer(struct worker *w, const struct routed *head, bool durable);

/* ---- shared.c ---- */
/* One message to one member of each group. `in`: QoS 2 of a durable session, its incoming packet ID; else NULL. */
void shared_route(struct route *r, const struct topics_match *m, const struct routed *head,
                  struct in_id *in, struct route_result *out);
/* Mail for a member of this worker. */
void shared_arrived(struct worker *w, const struct routed *head, const struct message_parts *p);

#endif
