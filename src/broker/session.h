/*
 * A client's session: what is on its way to it, what it is in the middle of sending, its subscriptions. Pure: no
 * socket, clock, store; it says what to do and its owner does it. One loop thread.
 *
 * The outbox is one ring of messages in order:
 *
 *      head          sent                tail
 *       |  in flight  |  waiting to go    |
 *
 * Every message has an order number that only grows; its packet ID follows from it (order mod 65,535 + 1), so that an ID
 * is never given twice within the window and needs no storage of its own. Acknowledged messages in the middle are
 * blank (msg == NULL) until the head reaches them. A session that ends with its connection gives up a message once it was
 * sent: no other connection will send it again. What is left of it is its place, until it is acknowledged.
 *
 * Durable sessions: an entry has the number of the batch that took it to the store; a QoS 2 entry may be sent, and a
 * PUBREC answered, only when that batch is done (server/persist.c).
 */
#ifndef TMQ_BROKER_SESSION_H
#define TMQ_BROKER_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "base/slice.h"
#include "broker/message.h"
#include "broker/topics.h"
#include "broker/will.h"

enum { SESSION_BATCH_RESTORED = 1 }; /* batch of entries that a restart found in the store */
#define SESSION_NEVER UINT32_MAX     /* expiry_s of a session without an end */

enum out_state {
    OUT_WAITING,  /* not sent on this connection */
    OUT_SENT,     /* PUBLISH sent, PUBACK or PUBREC awaited */
    OUT_RELEASED, /* PUBREC received: PUBREL (to be) sent, PUBCOMP awaited; msg is gone */
    OUT_DONE      /* acknowledged: blank */
};

struct out_entry {
    struct message *msg; /* NULL when released or done, or sent for good */
    uint32_t subid;
    uint32_t share; /* of a shared subscription: its group's share_mark(), else 0 */
    uint8_t qos;
    uint8_t state; /* enum out_state */
    bool retain : 1;
    bool sent_before : 1; /* DUP on the next sending [MQTT-3.3.1-1] */
    bool filtered : 1;    /* sent only if the client may read it then */
    uint32_t batch;       /* commit batch that took it to the store, 0 = none yet */
};

struct outbox {
    struct out_entry *ring;
    uint32_t cap;              /* power of two */
    uint32_t live;             /* entries that are not done */
    uint64_t head, sent, tail; /* order numbers */
    uint32_t inflight;         /* entries SENT or RELEASED */
    uint64_t bytes;            /* of the messages in it */
};

/* Groups of shared subscriptions by their hashes. */
struct in_shares {
    uint32_t count;
    uint64_t group[];
};

/* An incoming QoS 2 message that awaits PUBREL. */
struct in_id {
    uint64_t loops;           /* those whose stores (may) have it: a bit for each */
    struct in_shares *shares; /* groups of which a member has it; NULL: none */
    uint16_t id;
    bool live; /* it came in this run of the broker; else only the store knows of it */
};

struct id_set {
    struct in_id *ids;
    uint32_t count, cap;
};

struct session {
    struct list dirty; /* the loop's list of sessions with entries not stored yet */
    struct topic_sub *subs;
    struct sub_index *sub_index; /* of many; else NULL */
    void *conn;                  /* the connection it is on; NULL while offline */
    struct outbox *out;          /* NULL until the first QoS 1 or 2 message */
    struct id_set *in_qos2;      /* NULL until the first */
    struct will *will;           /* of its connection, or on its way since that ended */
    struct reader *reader; /* what it may read (server/filtered.c); NULL: nothing is filtered */
    struct feeds *feeds;   /* retained messages to new subscriptions (server/feed.c); NULL: none */
    uint64_t store_id;     /* 0: not durable */
    uint64_t persist_from; /* order of the first entry not handed to the store */
    uint64_t hash;         /* of its key */
    uint64_t stamp;        /* of the last message routed to it: overlapping subscriptions */
    uint32_t instance;
    uint32_t sub_count, dropped;
    uint32_t expiry_s;    /* how long it outlives its connection; 0: not at all */
    uint32_t deadline;    /* its place in broker/deadlines.h */
    uint32_t match_subid; /* first of their identifiers in the router's list, 0 = none */
    uint16_t client_id_len;
    uint8_t match_qos;       /* highest QoS of the overlapping subscriptions being routed */
    bool match_retain : 1;   /* one of them wants the retain flag as published */
    bool match_filtered : 1; /* all of them are filtered */
    bool shared : 1;         /* it has had shared subscriptions */
    char client_id[];
};

/* What out_entry.share says of a group. */
static inline uint32_t share_mark(uint64_t group_hash)
{
    uint32_t mark = (uint32_t)(group_hash ^ group_hash >> 32);
    return mark == 0 ? 1 : mark;
}

struct session_limits {
    uint32_t inflight_max;    /* messages sent and not acknowledged */
    uint32_t queue_max;       /* messages in the outbox that are not done */
    uint64_t queue_bytes_max; /* bytes in the outbox, with the room of blanks in its middle */
};

/* `clean`: expiry_s is 0, else SESSION_NEVER. */
struct session *session_new(uint32_t instance, struct slice client_id, uint64_t hash, bool clean);
/* Not subscribed to anything any more, on no list. Drops what is queued. */
void session_free(struct session *s);

static inline struct slice session_client_id(const struct session *s)
{
    return slice_make(s->client_id, s->client_id_len);
}

static inline bool session_durable(const struct session *s)
{
    return s->store_id != 0;
}

/* Its subscription to `filter`, or NULL. */
struct topic_sub *session_sub_find(const struct session *s, struct slice filter);
/* Links a subscription to `filter` / unlinks it. Between the two it is in `topics`, too, but for a moment. */
void session_sub_link(struct session *s, struct topic_sub *sub, struct slice filter);
void session_sub_unlink(struct session *s, struct topic_sub *sub);

/* True when the queue has by `l` no room for a message of so many bytes (message_bytes()). */
bool session_full(const struct session *s, const struct session_limits *l, uint32_t bytes);
/* Queues a message (takes a reference). QoS 0 is for clients that are away. The entry is good until the next call. */
struct out_entry *session_queue(struct session *s, struct message *m, uint8_t qos, bool retain,
                                uint32_t subid, uint32_t share);

/* False: session_next() has nothing. */
static inline bool session_waits(const struct session *s)
{
    return s->out != NULL && s->out->sent != s->out->tail;
}
/* The next entry that may be sent now, and its packet ID; NULL when none waits or so many are in flight. The caller sends
 * it and calls session_sent(). */
struct out_entry *session_next(struct session *s, uint32_t inflight_max, uint16_t *packet_id);
/* The entry's message, with its reference, when it is not needed any more; else NULL. */
struct message *session_sent(struct session *s);
/* A message of QoS 1 or 2 that is sent now: its packet ID, and nothing is kept but its place. 0: it must be queued. */
uint16_t session_pass(struct session *s, const struct session_limits *l, uint32_t inflight_max,
                      uint8_t qos);

/* Gives up the next entry if it was never sent: the oldest that waits in a full queue. *order,
 * *stored and *m (never NULL, the caller unrefs it) as session_ack() gives them. False: there is none. */
bool session_skip(struct session *s, uint64_t *order, bool *stored, struct message **m);

/* The same of any entry with a message. */
void session_take(struct session *s, uint64_t order, bool *stored, struct message **m);

/* A new connection: everything in flight is to be sent again. session_next() then gives each PUBLISH once more,
 * session_released() each PUBREL. */
void session_resume(struct session *s);
/* The packet ID of the next PUBREL to be repeated, 0 = no more; *order is 0 for the first. They wait for no window and for no
 * PUBLISH before them. [MQTT-3.3.4-10] */
uint16_t session_released(const struct session *s, uint64_t *order);

/* What an acknowledgement did. */
enum ack_result {
    ACK_UNKNOWN, /* no such packet ID in that state: ignore (or 0x92 in MQTT 5) */
    ACK_DONE,    /* the message is delivered: forget its stored entry `order` */
    ACK_RELEASE  /* PUBREC: send PUBREL, after the state of `order` is stored when durable */
};
/* PUBACK, PUBREC or PUBCOMP. *order tells the entry; *stored whether it was handed to the store; *m is the message with its
 * reference when ACK_DONE or ACK_RELEASE gave it up (NULL otherwise): the caller unrefs it. */
enum ack_result session_ack(struct session *s, unsigned mqtt_type, uint16_t packet_id,
                            uint64_t *order, bool *stored, struct message **m);

/* The entry of an order number in the outbox, or NULL. */
struct out_entry *session_entry(struct session *s, uint64_t order);
uint16_t session_packet_id(uint64_t order);

/* Incoming QoS 2: true when `id` is new in this run (deliver it, but not where the store has it from before:
 * session_in_find()), false when it is a repetition. [MQTT-4.3.3-2] */
bool session_in_add(struct session *s, uint16_t id);
/* NULL when it awaits no PUBREL. Valid until the next session_in_ call that changes something. */
struct in_id *session_in_find(const struct session *s, uint16_t id);
bool in_id_has_share(const struct in_id *in, uint64_t group);
void in_id_add_share(struct in_id *in, uint64_t group);
/* Restoring: a member of that group has it. */
void session_in_restore_share(struct session *s, uint16_t id, uint64_t group);
/* Restoring: the store of loop `loop` has it. */
void session_in_restore(struct session *s, uint16_t id, unsigned loop);
/* PUBREL: true when it was there. */
bool session_in_remove(struct session *s, uint16_t id);
uint32_t session_in_count(const struct session *s);

/* Restoring: an entry as stored; orders grow. */
void session_restore(struct session *s, uint64_t order, struct message *m, uint8_t qos, bool retain,
                     uint8_t state, uint32_t subid, uint32_t share);

/* Messages in the outbox that are not done. */
uint32_t session_queued(const struct session *s);

#endif
