/*
 * For the codec's tests: any packet of any version, decoded by its type, so that a table row or a
 * mutated byte string needs no code of its own. Include after cmocka.h.
 */
#ifndef TMQ_TESTS_MQTT_ANY_H
#define TMQ_TESTS_MQTT_ANY_H

#include <stdlib.h>

#include "mqtt/client.h"
#include "mqtt/packet.h"

struct bytes {
    const void *p;
    size_t n;
};

/* The bytes of a string literal, NULs included. */
#define B(s)                                                                                       \
    {                                                                                              \
        s, sizeof(s) - 1                                                                           \
    }

struct mqtt_any {
    struct mqtt_connect connect;
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_subscribe subscribe;
    struct mqtt_suback suback;
    struct mqtt_disconnect disconnect;
    struct mqtt_auth auth;
};

static inline int decode_any(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_any *out,
                             struct mqtt_error *err)
{
    switch (f->type) {
    case MQTT_CONNECT:
        return mqtt_decode_connect(f, &out->connect, err);
    case MQTT_CONNACK:
        return mqtt_decode_connack(f, v, &out->connack, err);
    case MQTT_PUBLISH:
        return mqtt_decode_publish(f, v, &out->publish, err);
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        return mqtt_decode_ack(f, v, &out->ack, err);
    case MQTT_SUBSCRIBE:
        return mqtt_decode_subscribe(f, v, &out->subscribe, err);
    case MQTT_UNSUBSCRIBE:
        return mqtt_decode_unsubscribe(f, v, &out->subscribe, err);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt_decode_suback(f, v, &out->suback, err);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_decode_empty(f, err);
    case MQTT_DISCONNECT:
        return mqtt_decode_disconnect(f, v, &out->disconnect, err);
    case MQTT_AUTH:
        return mqtt_decode_auth(f, &out->auth, err);
    }
    abort();
}

/* Frames and decodes one whole packet: 0, or -1 and *err; -2 when the frame wants more bytes. */
static inline int decode_bytes(struct slice in, enum mqtt_version v, struct mqtt_any *out,
                               struct mqtt_error *err)
{
    struct mqtt_frame f;
    long n = mqtt_frame(in, 1 << 20, &f, err);
    return n > 0 ? decode_any(&f, v, out, err) : n == 0 ? -2 : -1;
}

#endif
