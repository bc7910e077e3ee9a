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
 * blank (msg == NULL) until the head reaches them.
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

enum { SESSION_BATCH_RESTORED = 1 }; /* batch of entries that a restart found in the store */

enum out_state {
    OUT_WAITING,  /* not sent on this connection */
    OUT_SENT,     /* PUBLISH sent, PUBACK or PUBREC awaited */
    OUT_RELEASED, /* PUBREC received: PUBREL (to be) sent, PUBCOMP awaited; msg is gone */
    OUT_DONE      /* acknowledged: blank */
};

struct out_entry {
    struct message *msg; /* NULL when released or done */
    uint32_t subid;
    uint8_t qos;
    uint8_t state;            /* enum out_state */
    bool retain, sent_before; /* sent_before: DUP on the next sending [MQTT-3.3.1-1] */
    uint32_t batch;           /* commit batch that took it to the store, 0 = none yet */
};

struct outbox {
    struct out_entry *ring;
    uint32_t cap;              /* power of two */
    uint64_t head, sent, tail; /* order numbers */
    uint32_t inflight;         /* entries SENT or RELEASED */
    uint64_t bytes;            /* of the messages in it */
};

/* An incoming QoS 2 message that awaits PUBREL. */
struct in_id {
    uint64_t loops; /* those whose stores (may) have it: a bit for each */
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
    void *conn;             /* the connection it is on; NULL while offline */
    struct outbox *out;     /* NULL until the first QoS 1 or 2 message */
    struct id_set *in_qos2; /* NULL until the first */
    struct message *will;
    uint64_t store_id;     /* 0: not durable */
    uint64_t persist_from; /* order of the first entry not handed to the store */
    uint64_t hash;         /* of its key */
    uint64_t stamp;        /* of the last message routed to it: overlapping subscriptions */
    uint32_t instance;
    uint32_t sub_count, dropped;
    uint16_t client_id_len;
    uint8_t match_qos; /* highest QoS of the overlapping subscriptions being routed */
    bool clean;        /* ends with the connection */
    char client_id[];
};

struct session_limits {
    uint32_t inflight_max;    /* messages sent and not acknowledged */
    uint32_t queue_max;       /* messages in the outbox */
    uint64_t queue_bytes_max; /* bytes in the outbox */
};

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
/* Links / unlinks (and returns) a subscription. */
void session_sub_link(struct session *s, struct topic_sub *sub);
void session_sub_unlink(struct session *s, struct topic_sub *sub);

/* Queues a QoS 1 or 2 message (takes a reference). False: the queue is full by `l`; counted as dropped. */
bool session_queue(struct session *s, const struct session_limits *l, struct message *m,
                   uint8_t qos, bool retain, uint32_t subid);

/* The next entry that may be sent now, and its packet ID; NULL when none waits or the window is full. The caller sends
 * it and calls session_sent(). */
struct out_entry *session_next(struct session *s, const struct session_limits *l,
                               uint16_t *packet_id);
void session_sent(struct session *s);

/* A new connection: everything in flight is to be sent again. session_next() then gives each of them once more. */
void session_resume(struct session *s);

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
/* Restoring: the store of loop `loop` has it. */
void session_in_restore(struct session *s, uint16_t id, unsigned loop);
/* PUBREL: true when it was there. */
bool session_in_remove(struct session *s, uint16_t id);
uint32_t session_in_count(const struct session *s);

/* Restoring: an entry as stored; orders grow. */
void session_restore(struct session *s, uint64_t order, struct message *m, uint8_t qos, bool retain,
                     uint8_t state, uint32_t subid);

/* Messages in the outbox that are not done. */
uint32_t session_queued(const struct session *s);

#endif
