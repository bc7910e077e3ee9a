/*
 * CONNECT: protocol name and level, flags, keepalive, (properties,) client ID, (will,) (user, password).
 *
 * A broken CONNECT is what its device will be asked about most, so the decoder names the device as often
 * as it can: a fault in the flags or properties is kept while the client ID behind them is still read.
 */
#include "mqtt/packet.h"
#include "mqtt/props.h"
#include "mqtt/reader.h"

enum {
    CONNECT_RESERVED = 1 << 0,
    CONNECT_CLEAN = 1 << 1,
    CONNECT_WILL = 1 << 2,
    CONNECT_WILL_QOS = 3 << 3,
    CONNECT_WILL_RETAIN = 1 << 5,
    CONNECT_PASSWORD = 1 << 6,
    CONNECT_USERNAME = 1 << 7
};

/* The names as they stand at the start of the body, length first. */
static const uint8_t name_mqtt[] = {0, 4, 'M', 'Q', 'T', 'T'};
static const uint8_t name_mqisdp[] = {0, 6, 'M', 'Q', 'I', 's', 'd', 'p'};

/* Whether the body begins with `name`, or with as much of it as there is. */
static bool begins(const struct reader *r, const uint8_t *name, size_t n)
{
    return memcmp(r->p, name, reader_left(r) < n ? reader_left(r) : n) == 0;
}

static bool read_protocol(struct reader *r, struct mqtt_connect *out)
{
    bool now = begins(r, name_mqtt, sizeof name_mqtt);
    bool old = !now && begins(r, name_mqisdp, sizeof name_mqisdp);
    if (!now && !old) {
        return reader_fail(r, FAULT_PROTOCOL_NAME, r->p);
    }
    size_t n = old ? sizeof name_mqisdp : sizeof name_mqtt;
    if (reader_left(r) <= n) {
        return reader_fail(r, FAULT_TRUNCATED, r->end);
    }
    out->level = r->p[n];
    unsigned level = out->level;
    out->bridge =
        level == (MQTT_V31 | MQTT_LEVEL_BRIDGE) || level == (MQTT_V311 | MQTT_LEVEL_BRIDGE);
    level = out->bridge ? level & ~(unsigned)MQTT_LEVEL_BRIDGE : level;
    if (old ? level != MQTT_V31 : level != MQTT_V311 && level != MQTT_V5) {
        return reader_fail(r, FAULT_PROTOCOL_LEVEL, r->p + n);
    }
    r->p += n + 1;
    r->version = out->version = (enum mqtt_version)level;
    return true;
}

static enum fault flags_fault(enum mqtt_version v, uint8_t flags)
{
    /* 3.1 leaves the bit open, and its clients did set it. */
    if ((flags & CONNECT_RESERVED) != 0 && v != MQTT_V31) {
        return FAULT_CONNECT_RESERVED;
    }
    if ((flags & CONNECT_WILL) == 0) {
        if ((flags & CONNECT_WILL_QOS) != 0) {
            return FAULT_WILL_QOS_ALONE;
        }
        if ((flags & CONNECT_WILL_RETAIN) != 0) {
            return FAULT_WILL_RETAIN_ALONE;
        }
    } else if ((flags & CONNECT_WILL_QOS) == CONNECT_WILL_QOS) {
        return FAULT_WILL_QOS3;
    }
    if ((flags & CONNECT_PASSWORD) != 0 && (flags & CONNECT_USERNAME) == 0 && v != MQTT_V5) {
        return FAULT_PASSWORD_ALONE;
    }
    return FAULT_NONE;
}

/* Behind bad properties: the client ID, if their length leads to one. */
static void name_behind(struct reader ahead, struct mqtt_connect *out)
{
    struct mqtt_error ignored;
    uint32_t n;
    struct slice id;
    ahead.err = &ignored;
    if (mqtt_reader_varint(&ahead, &n) && n <= reader_left(&ahead)) {
        ahead.p += n;
        if (reader_string(&ahead, &id)) {
            out->client_id = id;
        }
    }
}

/* Keepalive, properties, client ID. */
static bool read_to_client_id(struct reader *r, struct mqtt_connect *out)
{
    if (!reader_u16(r, &out->keepalive)) {
        return false;
    }
    const struct reader props = *r;
    if (r->version == MQTT_V5 && !mqtt_props_read(r, MQTT_CONNECT, &out->props)) {
        name_behind(props, out);
        return false;
    }
    struct slice id;
    if (!reader_string(r, &id)) {
        return false;
    }
    out->client_id = id;
    return true;
}

static bool read_flags(struct reader *r, struct mqtt_connect *out, uint8_t *flags)
{
    const uint8_t *at = r->p;
    if (!reader_u8(r, flags)) {
        return false;
    }
    out->clean_start = (*flags & CONNECT_CLEAN) != 0;
    enum fault fault = flags_fault(r->version, *flags);
    if (fault == FAULT_NONE) {
        return true;
    }
    struct mqtt_error ignored;
    struct reader ahead = *r;
    ahead.err = &ignored;
    (void)read_to_client_id(&ahead, out);
    return reader_fail(r, fault, at);
}

static bool check_client_id(struct reader *r, const struct mqtt_connect *out)
{
    bool may_be_empty = out->version == MQTT_V5 || (out->version == MQTT_V311 && out->clean_start);
    return out->client_id.n > 0 || may_be_empty || reader_fail(r, FAULT_CLIENT_ID_EMPTY, r->p - 2);
}

static bool read_will(struct reader *r, uint8_t flags, struct mqtt_will *will)
{
    if ((flags & CONNECT_WILL) == 0) {
        return true;
    }
    will->present = true;
    will->qos = flags >> 3 & 3;
    will->retain = (flags & CONNECT_WILL_RETAIN) != 0;
    if (r->version == MQTT_V5 && !mqtt_props_read(r, PROPS_OF_WILL, &will->props)) {
        return false;
    }
    const uint8_t *start = r->p;
    size_t at;
    if (!reader_string(r, &will->topic)) {
        return false;
    }
    if (will->topic.n == 0) {
        return reader_fail(r, FAULT_TOPIC_EMPTY, start);
    }
    if (mqtt_text_check(will->topic, true, &at) != FAULT_NONE) {
        return reader_fail(r, FAULT_WILL_WILDCARD, will->topic.p + at);
    }
    return reader_binary(r, &will->payload);
}

/* In 3.1 the remaining length is stronger than the flags: what is not there is not meant. */
static bool is_left_out(const struct reader *r)
{
    return r->version == MQTT_V31 && r->p == r->end;
}

static bool read_login(struct reader *r, uint8_t flags, struct mqtt_connect *out)
{
    if ((flags & CONNECT_USERNAME) != 0 && !is_left_out(r)) {
        out->has_username = true;
        if (!reader_string(r, &out->username)) {
            return false;
        }
    }
    if ((flags & CONNECT_PASSWORD) != 0 && !is_left_out(r)) {
        out->has_password = true;
        if (!reader_binary(r, &out->password)) {
            return false;
        }
    }
    return true;
}

int mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *out,
                        struct mqtt_error *err)
{
    *out = (struct mqtt_connect){.version = MQTT_V311};
    struct reader r = reader_make(f, MQTT_V311, err);
    uint8_t flags;
    bool ok = read_protocol(&r, out) && mqtt_reader_check_length(&r, f) &&
              read_flags(&r, out, &flags) && read_to_client_id(&r, out) &&
              check_client_id(&r, out) && mqtt_props_check_auth(&r, &out->props) &&
              read_will(&r, flags, &out->will) && read_login(&r, flags, out) && reader_end(&r);
    return ok ? 0 : -1;
}

void mqtt_peek_connect(struct slice in, struct mqtt_connect *out)
{
    struct mqtt_error ignored;
    struct mqtt_frame f = {.type = MQTT_CONNECT, .header_len = 2};
    size_t at = 1; /* of the remaining length */
    while (at < in.n && at < 4 && (in.p[at] & 0x80) != 0) {
        at++;
    }
    f.body = slice_from(in, at + 1);
    int bad = mqtt_decode_connect(&f, out, &ignored);
    (void)bad; /* it is, mostly */
}
