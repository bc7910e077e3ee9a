/*
 * A will: what is published when its client is gone, as the CONNECT said it. One loop.
 *
 * Kept as the PUBLISH that it will be (kept.h).
 */
#ifndef TMQ_BROKER_WILL_H
#define TMQ_BROKER_WILL_H

#include "mqtt/packet.h"

struct will {
    uint32_t delay_s; /* after the end of the connection, unless the client returns */
    uint64_t due_ms;  /* the connection has ended: it goes out then (monotonic); 0 before */
    uint64_t ends_ms; /* ... and the session ends then */
    uint32_t len;
    uint8_t packet[];
};

struct will *will_new(const struct mqtt_will *from);
/* From what will_packet() gave; NULL when the bytes are none. */
struct will *will_restore(struct slice packet, uint32_t delay_s);
void will_free(struct will *will);

static inline struct slice will_packet(const struct will *will)
{
    return slice_make(will->packet, will->len);
}
/* What is to be published; slices point into the will. */
void will_publish(const struct will *will, struct mqtt_publish *out);

#endif
