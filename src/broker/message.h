/*
 * A published message as sessions hold it: topic and payload once, counted. Belongs to one loop: the count is
 * not atomic; another loop that has subscribers makes its own.
 */
#ifndef TMQ_BROKER_MESSAGE_H
#define TMQ_BROKER_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

struct message {
    uint32_t refs;
    uint32_t topic_len, payload_len;
    uint64_t store_id;   /* key of its payload in the store, 0 = not stored */
    uint32_t store_refs; /* sessions whose stored queue refers to it */
    uint8_t qos;         /* as published */
    bool retain;         /* as published */
    uint8_t bytes[];     /* topic, payload */
};

/* One reference, the caller's. */
struct message *message_new(struct slice topic, struct slice payload, uint8_t qos, bool retain);
static inline void message_ref(struct message *m)
{
    m->refs++;
}
void message_unref(struct message *m);

static inline struct slice message_topic(const struct message *m)
{
    return slice_make(m->bytes, m->topic_len);
}
static inline struct slice message_payload(const struct message *m)
{
    return slice_make(m->bytes + m->topic_len, m->payload_len);
}
/* Bytes of memory that it holds. */
static inline uint32_t message_bytes(const struct message *m)
{
    return (uint32_t)sizeof *m + m->topic_len + m->payload_len;
}

#endif
