/* The client's half of the codec, see client.h. Not on the broker's path. */
#include "mqtt/client.h"

#include <assert.h>

#include "mqtt/props.h"
#include "mqtt/reader.h"
#include "mqtt/writer.h"

static void put_u16(struct buf *b, uint16_t v)
{
    write_u16(buf_reserve(b, 2), v);
    buf_commit(b, 2);
}

static void put_binary(struct buf *b, struct slice s)
{
    assert(s.n <= UINT16_MAX);
    put_u16(b, (uint16_t)s.n);
    buf_put_slice(b, s);
}

static void put_props(struct buf *b, enum mqtt_version v, unsigned packet,
                      const struct mqtt_props *props)
{
    if (v != MQTT_V5) {
        return;
    }
    size_t size = mqtt_props_size(props);
    uint8_t *at = buf_reserve(b, varint_size(size) + size);
    buf_commit(b, (size_t)(mqtt_props_write(at, packet, props, size) - at));
}

/* Puts the fixed header in front of a body, and frees the body. */
static void put_packet(struct buf *out, uint8_t first, struct buf *body)
{
    size_t n = buf_len(body);
    uint8_t *at = buf_reserve(out, 1 + varint_size(n));
    *at = first;
    buf_commit(out, (size_t)(write_varint(at + 1, (uint32_t)n) - at));
    buf_put_slice(out, buf_slice(body));
    buf_fini(body);
}

static uint8_t connect_flags(const struct mqtt_connect *c)
{
    const struct mqtt_will *w = &c->will;
    unsigned will = w->present ? 1U << 2 | (unsigned)w->qos << 3 | (unsigned)w->retain << 5 : 0;
    return (uint8_t)((unsigned)c->clean_start << 1 | will | (unsigned)c->has_password << 6 |
                     (unsigned)c->has_username << 7);
}

void mqtt_encode_connect(struct buf *out, const struct mqtt_connect *c)
{
    struct buf body = {0};
    put_binary(&body, slice_str(c->version == MQTT_V31 ? "MQIsdp" : "MQTT"));
    buf_put_u8(&body, (uint8_t)((unsigned)c->version | (c->bridge ? MQTT_LEVEL_BRIDGE : 0)));
    buf_put_u8(&body, connect_flags(c));
    put_u16(&body, c->keepalive);
    put_props(&body, c->version, MQTT_CONNECT, &c->props);
    put_binary(&body, c->client_id);
    if (c->will.present) {
        put_props(&body, c->version, PROPS_OF_WILL, &c->will.props);
        put_binary(&body, c->will.topic);
        put_binary(&body, c->will.payload);
    }
    if (c->has_username) {
        put_binary(&body, c->username);
    }
    if (c->has_password) {
        put_binary(&body, c->password);
    }
    put_packet(out, MQTT_CONNECT << 4, &body);
}

void mqtt_encode_subscribe(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                           const struct mqtt_sub *subs, size_t count,
                           const struct mqtt_props *props)
{
    struct buf body = {0};
    put_u16(&body, packet_id);
    put_props(&body, v, MQTT_SUBSCRIBE, props);
    for (size_t i = 0; i < count; i++) {
        const struct mqtt_sub *s = &subs[i];
        unsigned options = (unsigned)s->no_local << 2 | (unsigned)s->retain_as_published << 3 |
                           (unsigned)s->retain_handling << 4;
        put_binary(&body, s->filter);
        buf_put_u8(&body, (uint8_t)(s->qos | (v == MQTT_V5 ? options : 0)));
    }
    put_packet(out, MQTT_SUBSCRIBE << 4 | 2, &body);
}

void mqtt_encode_unsubscribe(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                             const struct slice *filters, size_t count,
                             const struct mqtt_props *props)
{
    struct buf body = {0};
    put_u16(&body, packet_id);
    put_props(&body, v, MQTT_UNSUBSCRIBE, props);
    for (size_t i = 0; i < count; i++) {
        put_binary(&body, filters[i]);
    }
    put_packet(out, MQTT_UNSUBSCRIBE << 4 | 2, &body);
}

void mqtt_encode_pingreq(struct buf *out)
{
    static const uint8_t packet[] = {MQTT_PINGREQ << 4, 0};
    buf_put(out, packet, sizeof packet);
}

int mqtt_decode_connack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_connack *out,
                        struct mqtt_error *err)
{
    struct reader r = reader_make(f, v, err);
    uint8_t flags;
    if (!mqtt_reader_check_length(&r, f) || !reader_u8(&r, &flags)) {
        return -1;
    }
    if ((flags & 0xFE) != 0) {
        (void)reader_fail(&r, FAULT_CONNACK_FLAGS, r.body);
        return -1;
    }
    out->session_present = flags != 0;
    mqtt_props_clear(&out->props);
    bool ok = reader_u8(&r, &out->code) &&
              (v != MQTT_V5 || mqtt_props_read(&r, MQTT_CONNACK, &out->props)) && reader_end(&r);
    return ok ? 0 : -1;
}

int mqtt_decode_suback(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_suback *out,
                       struct mqtt_error *err)
{
    struct reader r = reader_make(f, v, err);
    mqtt_props_clear(&out->props);
    if (!mqtt_reader_check_length(&r, f) || !reader_u16(&r, &out->packet_id)) {
        return -1;
    }
    if (v == MQTT_V5 && !mqtt_props_read(&r, f->type, &out->props)) {
        return -1;
    }
    out->codes = slice_make(r.p, reader_left(&r));
    bool has_codes = f->type == MQTT_SUBACK || v == MQTT_V5;
    if (has_codes && out->codes.n == 0) {
        (void)reader_fail(&r, FAULT_TRUNCATED, r.end);
        return -1;
    }
    return has_codes || reader_end(&r) ? 0 : -1;
}
