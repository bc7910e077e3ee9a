/*
 * Delayed messages: what is published to $delayed/SECONDS/TOPIC goes to TOPIC that much later. The rules of the name, and one
 * message that waits. Pure; a message belongs to one loop.
 */
#ifndef TMQ_BROKER_DELAYED_H
#define TMQ_BROKER_DELAYED_H

#include "base/list.h"
#include "broker/session.h"
#include "mqtt/packet.h"

enum { DELAYED_MAX_S = 42949669 }; /* 497 days; a larger number is a Unix time, no further away */

struct delayed {
    struct list going;   /* it went out, and not everybody has it */
    uint64_t due_us;     /* it goes out then: no two of a loop have the same */
    uint64_t expires_ms; /* monotonic; 0 = never */
    uint64_t store_id;
    struct in_id in;        /* QoS 2: who has it */
    uint32_t place;         /* in the loop's heap (broker/deadlines.h) */
    uint32_t number, waits; /* going: what its answers say, and how many are to come */
    uint32_t instance;
    uint32_t packet_len;
    uint16_t client_id_len;
    uint8_t qos;
    uint8_t bytes[]; /* the client ID of who published it, then what (kept.h) */
};

static inline bool delayed_is(struct slice topic)
{
    return slice_has_prefix(topic, slice_str("$delayed/"));
}
/* Takes such a topic apart: the delay, 0 for a Unix time that is over, and where it goes. `now_ms` is wall time. False: the number is
 * none or too far away, or no topic follows, or one that is delayed again. */
bool delayed_parse(struct slice topic, uint64_t now_ms, uint64_t *delay_ms, struct slice *to);

/* `p` has the topic that it goes to. Its times, its number in the store are the caller's. */
struct delayed *delayed_new(uint32_t instance, struct slice client_id,
                            const struct mqtt_publish *p);
/* The same of stored bytes (delayed_packet()); NULL when they are none. */
struct delayed *delayed_restore(uint32_t instance, struct slice client_id, struct slice packet);
void delayed_free(struct delayed *d);

static inline struct slice delayed_client_id(const struct delayed *d)
{
    return slice_make(d->bytes, d->client_id_len);
}
static inline struct slice delayed_packet(const struct delayed *d)
{
    return slice_make(d->bytes + d->client_id_len, d->packet_len);
}
/* What is to be published at that time, its expiry interval less the time that it waited; slices point into it. False: it has
 * expired. */
bool delayed_publish(const struct delayed *d, uint64_t now_ms, struct mqtt_publish *out);
/* Memory that it holds. */
static inline uint64_t delayed_bytes(const struct delayed *d)
{
    return sizeof *d + d->client_id_len + d->packet_len;
}

#endif
