/*
 * wire: the few MQTT 3.1.1 packets that the load generator and the relay need, made by hand.
 *
 * It shares nothing with the broker's codec on purpose: a bug there must not be able to hide here.
 * Pure: bytes in, bytes out.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum wire_type {
    WIRE_CONNECT = 1,
    WIRE_CONNACK = 2,
    WIRE_PUBLISH = 3,
    WIRE_PUBACK = 4,
    WIRE_PUBREC = 5,
    WIRE_PUBREL = 6,
    WIRE_PUBCOMP = 7,
    WIRE_SUBSCRIBE = 8,
    WIRE_SUBACK = 9,
    WIRE_PINGREQ = 12,
    WIRE_PINGRESP = 13,
    WIRE_DISCONNECT = 14,
};

/* Longest fixed header: one byte of type and four of length. */
#define WIRE_HEADER_MAX 5U
/* Room that wire_put_connect and wire_put_subscribe need at most. */
#define WIRE_SMALL_MAX 512U
#define WIRE_ACK_BYTES 4U

/* One packet inside somebody else's bytes; lives as long as those do. */
struct wire_frame {
    const uint8_t *body; /* what follows the fixed header */
    size_t body_bytes;
    uint8_t type;  /* enum wire_type, or whatever the peer sent */
    uint8_t flags; /* low four bits of the first byte */
};

/* Who logs in. Strings of at most 64 bytes; user and password NULL for an anonymous client. */
struct wire_login {
    const char *client_id;
    const char *user;
    const char *password;
    uint16_t keepalive_s;
    bool keep; /* clean session 0 */
};

static inline uint16_t wire_get_u16(const uint8_t *p)
{
    return (uint16_t)((unsigned)p[0] << 8 | p[1]);
}

static inline void wire_put_u16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)(v & 0xffU);
}

/* Finds the first packet. Returns its bytes, 0: more needed, -1: malformed length. */
static inline ssize_t wire_next(const uint8_t *p, size_t bytes, struct wire_frame *out)
{
    size_t length = 0;
    for (unsigned i = 1; i < WIRE_HEADER_MAX; i++) {
        if (bytes <= i) {
            return 0;
        }
        length |= (size_t)(p[i] & 0x7fU) << (7 * (i - 1));
        if (p[i] < 0x80) {
            if (bytes - i - 1 < length) {
                return 0;
            }
            out->type = (uint8_t)(p[0] >> 4);
            out->flags = p[0] & 0x0fU;
            out->body = p + i + 1;
            out->body_bytes = length;
            return (ssize_t)(length + i + 1);
        }
    }
    return -1;
}

/* PUBACK, PUBREC, PUBREL, PUBCOMP: four bytes. */
static inline void wire_put_ack(uint8_t *out, enum wire_type type, uint16_t packet_id)
{
    out[0] = (uint8_t)((unsigned)type << 4 | (type == WIRE_PUBREL ? 2U : 0U));
    out[1] = 2;
    wire_put_u16(out + 2, packet_id);
}

/* The remaining length, and a string with its length. Return the bytes written. */
size_t wire_put_length(uint8_t *out, size_t length);
size_t wire_put_string(uint8_t *out, const char *s);

/* Writes a CONNECT of at most WIRE_SMALL_MAX bytes; returns its size. */
size_t wire_put_connect(uint8_t *out, const struct wire_login *login);

/* Writes a SUBSCRIBE for one filter of at most 64 bytes; returns its size. */
size_t wire_put_subscribe(uint8_t *out, uint16_t packet_id, const char *filter, uint8_t qos);

/*
 * Writes everything of a PUBLISH before the payload, packet ID 0 where there is one; returns its
 * size. *id_at is where the packet ID stands, 0 for QoS 0. `out` has room for 80 bytes, the topic
 * is at most 64.
 */
size_t wire_put_publish_head(uint8_t *out, const char *topic, uint8_t qos, size_t payload_bytes,
                             size_t *id_at);
