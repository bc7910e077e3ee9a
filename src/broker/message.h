/*
 * A published message as sessions hold it: topic, payload and properties once, counted. Belongs to one loop: the count is
 * not atomic; another loop that has subscribers makes its own.
 */
#ifndef TMQ_BROKER_MESSAGE_H
#define TMQ_BROKER_MESSAGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* What a message is, wherever it is kept or on its way. */
struct message_parts {
    struct slice topic, payload;
    struct slice
        extra; /* properties that go to subscribers unaltered, encoded (mqtt_props_forwarded()) */
    uint64_t expires_ms; /* monotonic; 0 = never [MQTT-3.3.2-5] */
    uint8_t qos;         /* as published */
    bool retain;         /* as published */
};

struct message {
    uint32_t refs;
    uint32_t topic_len, payload_len, extra_len;
    uint64_t expires_ms;
    uint64_t store_id;   /* key of its payload in the store, 0 = not stored */
    uint32_t store_refs; /* sessions whose stored queue refers to it */
    uint8_t qos;
    bool retain;
    uint8_t bytes[]; /* topic, payload, extra */
};

/* One reference, the caller's; everything is copied. */
struct message *message_make(const struct message_parts *p);
/* The same of a message without properties. */
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
static inline struct slice message_extra(const struct message *m)
{
    return slice_make(m->bytes + m->topic_len + m->payload_len, m->extra_len);
}
/* Slices into the message. */
void message_parts(const struct message *m, struct message_parts *out);
static inline bool message_expired(uint64_t expires_ms, uint64_t now_ms)
{
    return expires_ms != 0 && expires_ms <= now_ms;
}
/* Bytes of memory that it holds, and that one of these parts will. */
static inline uint32_t message_bytes_of(const struct message_parts *p)
{
    return (uint32_t)(sizeof(struct message) + p->topic.n + p->payload.n + p->extra.n);
}
static inline uint32_t message_bytes(const struct message *m)
{
    return (uint32_t)sizeof *m + m->topic_len + m->payload_len + m->extra_len;
}

#endif
