/*
 * The client's half of the codec: encoders of what only clients send, decoders of what only servers send.
 * For tests, the load generator and scenario scripts; the broker itself needs none of it. Same rules as
 * in packet.h. A client's DISCONNECT before MQTT 5 is mqtt_encode_disconnect() with reason 0 and NULL.
 */
#ifndef TMQ_MQTT_CLIENT_H
#define TMQ_MQTT_CLIENT_H

#include "mqtt/packet.h"

void mqtt_encode_connect(struct buf *out, const struct mqtt_connect *c);
/* `props` only for MQTT 5, may be NULL. */
void mqtt_encode_subscribe(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                           const struct mqtt_sub *subs, size_t count,
                           const struct mqtt_props *props);
void mqtt_encode_unsubscribe(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                             const struct slice *filters, size_t count,
                             const struct mqtt_props *props);
void mqtt_encode_pingreq(struct buf *out);

struct mqtt_connack {
    bool session_present;
    uint8_t code; /* return code, or reason code in MQTT 5 */
    struct mqtt_props props;
};

/* SUBACK and UNSUBACK; before MQTT 5 an UNSUBACK has no codes. */
struct mqtt_suback {
    uint16_t packet_id;
    struct slice codes;
    struct mqtt_props props;
};

int mqtt_decode_connack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_connack *out,
                        struct mqtt_error *err) __attribute__((warn_unused_result));
int mqtt_decode_suback(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_suback *out,
                       struct mqtt_error *err) __attribute__((warn_unused_result));

#endif
