/*
 * MQTT 5 properties: one table says for each identifier its type, where it may stand, which values it
 * may have and which member holds it; decoder, encoder and the walk over user properties read the table.
 *
 *   properties = length (variable byte integer), then for each: identifier (one byte), value
 *
 * Each may occur once, except user properties anywhere and subscription identifiers in PUBLISH.
 */
#include "mqtt/props.h"

#include <assert.h>

#include "mqtt/writer.h"

enum prop_type {
    TYPE_NONE,
    TYPE_U8,
    TYPE_U16,
    TYPE_U32,
    TYPE_SUBID,
    TYPE_TEXT,
    TYPE_TOPIC,
    TYPE_BINARY,
    TYPE_PAIR
};

struct prop_row {
    enum prop_type type;
    uint16_t packets; /* bit (1 << packet type) for each that may have it, bit 0 for the will */
    uint8_t member;   /* offset in struct mqtt_props */
    uint8_t min;      /* of a number */
    uint32_t max;
};

enum {
    IN_WILL = 1 << PROPS_OF_WILL,
    IN_CONNECT = 1 << MQTT_CONNECT,
    IN_CONNACK = 1 << MQTT_CONNACK,
    IN_PUBLISH = 1 << MQTT_PUBLISH,
    IN_ACKS = 1 << MQTT_PUBACK | 1 << MQTT_PUBREC | 1 << MQTT_PUBREL | 1 << MQTT_PUBCOMP,
    IN_SUBSCRIBE = 1 << MQTT_SUBSCRIBE,
    IN_SUBACKS = 1 << MQTT_SUBACK | 1 << MQTT_UNSUBACK,
    IN_UNSUBSCRIBE = 1 << MQTT_UNSUBSCRIBE,
    IN_DISCONNECT = 1 << MQTT_DISCONNECT,
    IN_AUTH = 1 << MQTT_AUTH,
    IN_MESSAGE = IN_PUBLISH | IN_WILL,
    IN_OPENING = IN_CONNECT | IN_CONNACK,
    IN_ANSWERS = IN_CONNACK | IN_ACKS | IN_SUBACKS | IN_DISCONNECT | IN_AUTH,
    IN_ALL = IN_ANSWERS | IN_MESSAGE | IN_CONNECT | IN_SUBSCRIBE | IN_UNSUBSCRIBE,
    PROP_COUNT = MQTT_PROP_SHARED_AVAILABLE + 1,
    SUBID_MAX = 268435455
};

#define U32_ANY UINT32_MAX
#define ROW(id, type, packets, member, min, max)                                                   \
    [MQTT_PROP_##id] = {TYPE_##type, packets, offsetof(struct mqtt_props, member), min, max}
/* clang-format off */
static const struct prop_row rows[PROP_COUNT] = {
    ROW(PAYLOAD_FORMAT,     U8,     IN_MESSAGE,                payload_format,        0, 1),
    ROW(MESSAGE_EXPIRY,     U32,    IN_MESSAGE,                message_expiry,        0, U32_ANY),
    ROW(CONTENT_TYPE,       TEXT,   IN_MESSAGE,                content_type,          0, 0),
    ROW(RESPONSE_TOPIC,     TOPIC,  IN_MESSAGE,                response_topic,        0, 0),
    ROW(CORRELATION,        BINARY, IN_MESSAGE,                correlation,           0, 0),
    ROW(SUBID,              SUBID,  IN_PUBLISH | IN_SUBSCRIBE, subids,                1, SUBID_MAX),
    ROW(SESSION_EXPIRY,     U32,    IN_OPENING | IN_DISCONNECT, session_expiry,       0, U32_ANY),
    ROW(ASSIGNED_CLIENT_ID, TEXT,   IN_CONNACK,                assigned_client_id,    0, 0),
    ROW(SERVER_KEEPALIVE,   U16,    IN_CONNACK,                server_keepalive,      0, UINT16_MAX),
    ROW(AUTH_METHOD,        TEXT,   IN_OPENING | IN_AUTH,      auth_method,           0, 0),
    ROW(AUTH_DATA,          BINARY, IN_OPENING | IN_AUTH,      auth_data,             0, 0),
    ROW(REQUEST_PROBLEM,    U8,     IN_CONNECT,                request_problem_info,  0, 1),
    ROW(WILL_DELAY,         U32,    IN_WILL,                   will_delay,            0, U32_ANY),
    ROW(REQUEST_RESPONSE,   U8,     IN_CONNECT,                request_response_info, 0, 1),
    ROW(RESPONSE_INFO,      TEXT,   IN_CONNACK,                response_info,         0, 0),
    ROW(SERVER_REFERENCE,   TEXT,   IN_CONNACK | IN_DISCONNECT, server_reference,     0, 0),
    ROW(REASON_STRING,      TEXT,   IN_ANSWERS,                reason_string,         0, 0),
    ROW(RECEIVE_MAX,        U16,    IN_OPENING,                receive_max,           1, UINT16_MAX),
    ROW(TOPIC_ALIAS_MAX,    U16,    IN_OPENING,                topic_alias_max,       0, UINT16_MAX),
    ROW(TOPIC_ALIAS,        U16,    IN_PUBLISH,                topic_alias,           1, UINT16_MAX),
    ROW(MAX_QOS,            U8,     IN_CONNACK,                max_qos,               0, 1),
    ROW(RETAIN_AVAILABLE,   U8,     IN_CONNACK,                retain_available,      0, 1),
    ROW(USER,               PAIR,   IN_ALL,                    user,                  0, 0),
    ROW(MAX_PACKET,         U32,    IN_OPENING,                max_packet,            1, U32_ANY),
    ROW(WILDCARD_AVAILABLE, U8,     IN_CONNACK,                wildcard_available,    0, 1),
    ROW(SUBID_AVAILABLE,    U8,     IN_CONNACK,                subid_available,       0, 1),
    ROW(SHARED_AVAILABLE,   U8,     IN_CONNACK,                shared_available,      0, 1),
};
/* clang-format on */
#undef ROW

_Static_assert(sizeof(struct mqtt_props) <= 256, "offsets of members fit a byte");

static bool may_repeat(unsigned id, unsigned packet)
{
    return id == MQTT_PROP_USER || (id == MQTT_PROP_SUBID && packet == MQTT_PUBLISH);
}

static bool read_u8(struct reader *r, uint32_t *out)
{
    uint8_t v = 0;
    bool ok = reader_u8(r, &v);
    *out = v;
    return ok;
}

static bool read_u16(struct reader *r, uint32_t *out)
{
    uint16_t v = 0;
    bool ok = reader_u16(r, &v);
    *out = v;
    return ok;
}

static void number_store(const struct prop_row *row, uint32_t v, struct mqtt_props *out)
{
    uint8_t *member = (uint8_t *)out + row->member;
    if (row->type == TYPE_U8) {
        *member = (uint8_t)v;
    } else if (row->type == TYPE_U16) {
        memcpy(member, &(uint16_t){(uint16_t)v}, sizeof(uint16_t));
    } else if (row->type == TYPE_U32) {
        memcpy(member, &v, sizeof v);
    } else if (out->subid_count < sizeof out->subids / sizeof out->subids[0]) {
        out->subids[out->subid_count++] = v;
    }
}

static uint32_t number_load(const struct prop_row *row, const struct mqtt_props *p)
{
    const uint8_t *member = (const uint8_t *)p + row->member;
    uint16_t v16;
    uint32_t v32;
    if (row->type == TYPE_U8) {
        return *member;
    }
    if (row->type == TYPE_U16) {
        memcpy(&v16, member, sizeof v16);
        return v16;
    }
    memcpy(&v32, member, sizeof v32);
    return v32;
}

static struct slice slice_load(const struct prop_row *row, const struct mqtt_props *p)
{
    struct slice s;
    memcpy(&s, (const uint8_t *)p + row->member, sizeof s);
    return s;
}

static bool read_number(struct reader *r, const struct prop_row *row, struct mqtt_props *out)
{
    const uint8_t *at = r->p;
    uint32_t v = 0;
    bool ok = row->type == TYPE_U8    ? read_u8(r, &v)
              : row->type == TYPE_U16 ? read_u16(r, &v)
              : row->type == TYPE_U32 ? reader_u32(r, &v)
                                      : mqtt_reader_varint(r, &v);
    if (!ok) {
        return false;
    }
    if (v < row->min || v > row->max) {
        bool alias = row == &rows[MQTT_PROP_TOPIC_ALIAS];
        return reader_fail(r, alias ? FAULT_ALIAS_ZERO : FAULT_PROP_VALUE, at);
    }
    number_store(row, v, out);
    return true;
}

static bool read_slice(struct reader *r, const struct prop_row *row, struct mqtt_props *out)
{
    const uint8_t *at = r->p;
    struct slice s;
    size_t bad = 0;
    if (!(row->type == TYPE_BINARY ? reader_binary(r, &s) : reader_string(r, &s))) {
        return false;
    }
    if (row->type == TYPE_TOPIC && s.n == 0) {
        return reader_fail(r, FAULT_TOPIC_EMPTY, at);
    }
    if (row->type == TYPE_TOPIC && mqtt_text_check(s, true, &bad) != FAULT_NONE) {
        return reader_fail(r, FAULT_RESPONSE_TOPIC, s.p + bad);
    }
    memcpy((uint8_t *)out + row->member, &s, sizeof s);
    return true;
}

/* A user property; out->user spans from the first to the last of them. `start` is its identifier. */
static bool read_pair(struct reader *r, const uint8_t *start, struct mqtt_props *out)
{
    struct slice name, value;
    if (!reader_string(r, &name) || !reader_string(r, &value)) {
        return false;
    }
    if (out->user.n == 0) {
        out->user.p = start;
    }
    out->user.n = (size_t)(r->p - out->user.p);
    return true;
}

static bool read_one(struct reader *r, unsigned packet, struct mqtt_props *out)
{
    const uint8_t *start = r->p;
    uint8_t id = *r->p++;
    if (id >= PROP_COUNT || rows[id].type == TYPE_NONE) {
        return reader_fail(r, FAULT_PROP_UNKNOWN, start);
    }
    const struct prop_row *row = &rows[id];
    if ((row->packets >> packet & 1) == 0) {
        return reader_fail(r, FAULT_PROP_PLACE, start);
    }
    if (props_has(out, id) && !may_repeat(id, packet)) {
        return reader_fail(r, FAULT_PROP_TWICE, start);
    }
    out->present |= UINT64_C(1) << id;
    if (row->type == TYPE_PAIR) {
        return read_pair(r, start, out);
    }
    return row->type >= TYPE_TEXT ? read_slice(r, row, out) : read_number(r, row, out);
}

bool mqtt_props_read(struct reader *r, unsigned packet, struct mqtt_props *out)
{
    mqtt_props_clear(out);
    uint32_t n;
    if (!mqtt_reader_varint(r, &n)) {
        return false;
    }
    if (reader_left(r) < n) {
        return reader_fail(r, FAULT_TRUNCATED, r->end);
    }
    const uint8_t *packet_end = r->end;
    out->raw = slice_make(r->p, n);
    r->end = r->p + n;
    while (r->p < r->end) {
        if (!read_one(r, packet, out)) {
            return false;
        }
    }
    r->end = packet_end;
    return true;
}

enum {
    FORWARDED_LOW = 1 << MQTT_PROP_PAYLOAD_FORMAT | 1 << MQTT_PROP_CONTENT_TYPE |
                    1 << MQTT_PROP_RESPONSE_TOPIC | 1 << MQTT_PROP_CORRELATION
};
#define FORWARDED (FORWARDED_LOW | UINT64_C(1) << MQTT_PROP_USER)

struct slice mqtt_props_forwarded(const struct mqtt_props *p, struct buf *scratch)
{
    if ((p->present & ~FORWARDED) == 0) {
        return p->present == 0 ? slice_make(NULL, 0) : p->raw;
    }
    struct mqtt_error err;
    struct mqtt_frame f = {.body = p->raw};
    struct reader r = reader_make(&f, MQTT_V5, &err);
    struct mqtt_props skipped;
    mqtt_props_clear(&skipped);
    buf_clear(scratch);
    while (r.p < r.end) {
        const uint8_t *start = r.p;
        unsigned id = *start;
        skipped.present = 0;
        bool good = read_one(&r, MQTT_PUBLISH, &skipped);
        assert(good); /* it was decoded before */
        if ((FORWARDED >> id & 1) != 0) {
            buf_put(scratch, start, (size_t)(r.p - start));
        }
    }
    return buf_slice(scratch);
}

void mqtt_put_subid(struct buf *out, uint32_t subid)
{
    uint8_t *at = buf_reserve(out, 5);
    *at = MQTT_PROP_SUBID;
    buf_commit(out, (size_t)(write_varint(at + 1, subid) - at));
}

bool mqtt_props_check_auth(const struct reader *r, const struct mqtt_props *p)
{
    /* The identifier stands three bytes before the data. */
    return !props_has(p, MQTT_PROP_AUTH_DATA) || props_has(p, MQTT_PROP_AUTH_METHOD) ||
           reader_fail(r, FAULT_AUTH_DATA_ALONE, p->auth_data.p - 3);
}

bool mqtt_user_next(struct slice *rest, struct slice *name, struct slice *value)
{
    struct mqtt_error err;
    struct mqtt_frame f = {.body = *rest};
    struct reader r = reader_make(&f, MQTT_V5, &err);
    struct mqtt_props skipped;
    mqtt_props_clear(&skipped);
    while (r.p < r.end) {
        uint8_t id = *r.p++;
        if (id >= PROP_COUNT || rows[id].type == TYPE_NONE) {
            break;
        }
        const struct prop_row *row = &rows[id];
        if (row->type == TYPE_PAIR) {
            bool ok = reader_binary(&r, name) && reader_binary(&r, value);
            *rest = slice_make(r.p, ok ? reader_left(&r) : 0);
            return ok;
        }
        if (!(row->type >= TYPE_TEXT ? read_slice(&r, row, &skipped)
                                     : read_number(&r, row, &skipped))) {
            break;
        }
    }
    rest->n = 0;
    return false;
}

static size_t user_size(struct slice rest)
{
    size_t size = 0;
    struct slice name, value;
    while (mqtt_user_next(&rest, &name, &value)) {
        size += 1 + 2 + name.n + 2 + value.n;
    }
    return size;
}

static size_t subids_size(const struct mqtt_props *p)
{
    size_t size = 0;
    for (unsigned i = 0; i < p->subid_count; i++) {
        size += 1 + varint_size(p->subids[i]);
    }
    return size;
}

static size_t one_size(unsigned id, const struct mqtt_props *p)
{
    switch (rows[id].type) {
    case TYPE_U8:
        return 1 + 1;
    case TYPE_U16:
        return 1 + 2;
    case TYPE_U32:
        return 1 + 4;
    case TYPE_SUBID:
        return subids_size(p);
    case TYPE_TEXT:
    case TYPE_TOPIC:
    case TYPE_BINARY:
        return 1 + 2 + slice_load(&rows[id], p).n;
    case TYPE_PAIR:
        return user_size(p->user);
    case TYPE_NONE:
        break;
    }
    assert(rows[id].type != TYPE_NONE);
    return 0;
}

size_t mqtt_props_size(const struct mqtt_props *p)
{
    size_t size = 0;
    for (uint64_t left = p == NULL ? 0 : p->present; left != 0; left &= left - 1) {
        unsigned id = (unsigned)__builtin_ctzll(left);
        assert(id < PROP_COUNT);
        size += one_size(id, p);
    }
    return size;
}

static uint8_t *write_users(uint8_t *at, struct slice rest)
{
    struct slice name, value;
    while (mqtt_user_next(&rest, &name, &value)) {
        *at++ = MQTT_PROP_USER;
        at = write_binary(write_binary(at, name), value);
    }
    return at;
}

static uint8_t *write_subids(uint8_t *at, const struct mqtt_props *p)
{
    assert(p->subid_count <= sizeof p->subids / sizeof p->subids[0]);
    for (unsigned i = 0; i < p->subid_count; i++) {
        *at++ = MQTT_PROP_SUBID;
        at = write_varint(at, p->subids[i]);
    }
    return at;
}

static uint8_t *write_one(uint8_t *at, unsigned id, const struct mqtt_props *p)
{
    const struct prop_row *row = &rows[id];
    if (row->type == TYPE_PAIR) {
        return write_users(at, p->user);
    }
    if (row->type == TYPE_SUBID) {
        return write_subids(at, p);
    }
    *at++ = (uint8_t)id;
    if (row->type >= TYPE_TEXT) {
        return write_binary(at, slice_load(row, p));
    }
    uint32_t v = number_load(row, p);
    assert(v >= row->min && v <= row->max);
    if (row->type == TYPE_U8) {
        *at = (uint8_t)v;
        return at + 1;
    }
    if (row->type == TYPE_U16) {
        return write_u16(at, (uint16_t)v);
    }
    put_be32(at, v);
    return at + 4;
}

uint8_t *mqtt_props_write_bare(uint8_t *at, unsigned packet, const struct mqtt_props *p)
{
    for (uint64_t left = p == NULL ? 0 : p->present; left != 0; left &= left - 1) {
        unsigned id = (unsigned)__builtin_ctzll(left);
        assert(id < PROP_COUNT && (rows[id].packets >> packet & 1) != 0);
        at = write_one(at, id, p);
    }
    return at;
}

uint8_t *mqtt_props_write(uint8_t *at, unsigned packet, const struct mqtt_props *p, size_t size)
{
    uint8_t *start = write_varint(at, (uint32_t)size);
    at = mqtt_props_write_bare(start, packet, p);
    assert((size_t)(at - start) == size);
    return at;
}
