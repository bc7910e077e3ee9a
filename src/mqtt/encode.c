/*
 * Packets that a server sends, as bytes. Each encoder computes the exact size first, makes room once and
 * writes without further checks; what cannot be encoded is an assertion, for it is our own doing.
 */
#include <assert.h>

#include "mqtt/packet.h"
#include "mqtt/props.h"
#include "mqtt/writer.h"

/* Makes room for a packet of `remaining` bytes behind its fixed header and writes that header. Returns
 * where the rest goes; it must be counted with finish(). */
static uint8_t *start(struct buf *out, enum mqtt_type type, unsigned flags, size_t remaining)
{
    uint8_t *at = buf_reserve(out, 1 + varint_size(remaining) + remaining);
    *at = (uint8_t)((unsigned)type << 4 | flags);
    return write_varint(at + 1, (uint32_t)remaining);
}

static void finish(struct buf *out, const uint8_t *end)
{
    buf_commit(out, (size_t)(end - (out->p + out->end)));
}

void mqtt_encode_connack(struct buf *out, enum mqtt_version v, bool session_present, uint8_t code,
                         const struct mqtt_props *props)
{
    size_t props_size = v == MQTT_V5 ? mqtt_props_size(props) : 0;
    size_t remaining = 2 + (v == MQTT_V5 ? varint_size(props_size) + props_size : 0);
    uint8_t *at = start(out, MQTT_CONNACK, 0, remaining);
    /* 3.1 has no such flag; a refusal never has it [MQTT-3.2.2-4]. */
    at[0] = session_present && code == 0 && v != MQTT_V31;
    at[1] = code;
    at += 2;
    if (v == MQTT_V5) {
        at = mqtt_props_write(at, MQTT_CONNACK, props, props_size);
    }
    finish(out, at);
}

/* A PUBLISH's sizes: of its properties, and of everything behind the fixed header. */
struct publish_size {
    size_t props, remaining;
};

static inline struct publish_size measure(enum mqtt_version v, const struct mqtt_publish *p)
{
    struct publish_size size = {0, 2 + p->topic.n + (p->qos > 0 ? 2 : 0) + p->payload.n};
    if (v == MQTT_V5) {
        size.props = mqtt_props_size(&p->props) + p->extra.n;
        size.remaining += varint_size(size.props) + size.props;
    }
    return size;
}

size_t mqtt_publish_size(enum mqtt_version v, const struct mqtt_publish *p)
{
    size_t remaining = measure(v, p).remaining;
    return 1 + varint_size(remaining) + remaining;
}

/* Writes all but the payload behind `room` bytes that were made sure of. */
static inline uint8_t *write_publish_head(uint8_t *at, enum mqtt_version v,
                                          const struct mqtt_publish *p, struct publish_size size)
{
    assert(p->qos <= 2 && (p->qos == 0 || p->packet_id != 0));
    assert(p->topic.n > 0 || v == MQTT_V5);
    bool dup = p->dup && p->qos > 0; /* [MQTT-3.3.1-2] */
    *at = (uint8_t)(MQTT_PUBLISH << 4 | dup << 3 | p->qos << 1 | p->retain);
    at = write_varint(at + 1, (uint32_t)size.remaining);
    at = write_binary(at, p->topic);
    if (p->qos > 0) {
        at = write_u16(at, p->packet_id);
    }
    if (v != MQTT_V5) {
        return at;
    }
    at = write_varint(at, (uint32_t)size.props);
    at = mqtt_props_write_bare(at, MQTT_PUBLISH, &p->props);
    return write_bytes(at, p->extra);
}

void mqtt_encode_publish(struct buf *out, enum mqtt_version v, const struct mqtt_publish *p)
{
    struct publish_size size = measure(v, p);
    uint8_t *at = buf_reserve(out, 1 + varint_size(size.remaining) + size.remaining);
    at = write_publish_head(at, v, p, size);
    finish(out, write_bytes(at, p->payload));
}

void mqtt_encode_publish_head(struct buf *out, enum mqtt_version v, const struct mqtt_publish *p)
{
    struct publish_size size = measure(v, p);
    size_t head = 1 + varint_size(size.remaining) + size.remaining - p->payload.n;
    uint8_t *at = buf_reserve(out, head);
    finish(out, write_publish_head(at, v, p, size));
}

void mqtt_encode_ack(struct buf *out, enum mqtt_version v, enum mqtt_type type, uint16_t packet_id,
                     uint8_t reason)
{
    assert(type >= MQTT_PUBACK && type <= MQTT_PUBCOMP && packet_id != 0);
    bool with_reason = v == MQTT_V5 && reason != 0;
    uint8_t *at = buf_reserve(out, 5);
    uint32_t flags = type == MQTT_PUBREL ? 2 : 0;
    uint32_t remaining = with_reason ? 3 : 2;
    put_be32(at, ((uint32_t)type << 4 | flags) << 24 | remaining << 16 | packet_id);
    at[4] = reason;
    buf_commit(out, with_reason ? 5 : 4);
}

static void encode_codes(struct buf *out, enum mqtt_version v, enum mqtt_type type,
                         uint16_t packet_id, struct slice codes)
{
    assert(packet_id != 0);
    size_t props_len = v == MQTT_V5 ? 1 : 0;
    uint8_t *at = start(out, type, 0, 2 + props_len + codes.n);
    at = write_u16(at, packet_id);
    if (props_len > 0) {
        *at++ = 0;
    }
    finish(out, write_bytes(at, codes));
}

void mqtt_encode_suback(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                        const uint8_t *codes, uint32_t count)
{
    encode_codes(out, v, MQTT_SUBACK, packet_id, slice_make(codes, count));
}

void mqtt_encode_unsuback(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                          const uint8_t *codes, uint32_t count)
{
    /* Before 5.0 it has no payload [MQTT-3.10.4-4]. */
    encode_codes(out, v, MQTT_UNSUBACK, packet_id, slice_make(codes, v == MQTT_V5 ? count : 0));
}

void mqtt_encode_pingresp(struct buf *out)
{
    finish(out, start(out, MQTT_PINGRESP, 0, 0));
}

/* DISCONNECT and AUTH of MQTT 5: reason and properties, left out from the end where they are empty. */
static void encode_reason(struct buf *out, enum mqtt_type type, uint8_t reason,
                          const struct mqtt_props *props)
{
    size_t props_size = mqtt_props_size(props);
    size_t remaining = props_size > 0 ? 1 + varint_size(props_size) + props_size : reason != 0;
    uint8_t *at = start(out, type, 0, remaining);
    if (remaining > 0) {
        *at++ = reason;
    }
    if (props_size > 0) {
        at = mqtt_props_write(at, type, props, props_size);
    }
    finish(out, at);
}

void mqtt_encode_disconnect(struct buf *out, uint8_t reason, const struct mqtt_props *props)
{
    encode_reason(out, MQTT_DISCONNECT, reason, props);
}

void mqtt_encode_auth(struct buf *out, uint8_t reason, const struct mqtt_props *props)
{
    encode_reason(out, MQTT_AUTH, reason, props);
}
