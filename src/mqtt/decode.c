/*
 * Frames, and all packets that a client sends but CONNECT (decode_connect.c).
 *
 *   packet = type << 4 | flags (1 byte), remaining length (1 to 4 bytes, 7 bits each, lowest first), body
 *
 * A decoder reads the body once, from left to right, and stops at the first fault. Nothing is copied or
 * allocated: slices borrow from the body. What a packet means at this moment (a second CONNECT, a topic
 * that is not allowed, a property only the other side may send) is not known here.
 */
#include <assert.h>

#include "mqtt/packet.h"
#include "mqtt/props.h"
#include "mqtt/reader.h"
#include "mqtt/topic.h"
#include "mqtt/writer.h"

/* What is wrong with the first byte of a packet, if anything. */
static enum fault first_byte_fault(uint8_t first)
{
    /* [MQTT-2.2.2-1] the flags of each type; PUBLISH has its own. */
    static const uint8_t fixed_flags[16] = {
        [MQTT_PUBREL] = 2, [MQTT_SUBSCRIBE] = 2, [MQTT_UNSUBSCRIBE] = 2};
    unsigned type = first >> 4;
    if (type == MQTT_PUBLISH) {
        return (first & 6) == 6 ? FAULT_QOS3 : FAULT_NONE;
    }
    if (type == 0) {
        return FAULT_TYPE;
    }
    return (first & 15) != fixed_flags[type] ? FAULT_FLAGS : FAULT_NONE;
}

static __attribute__((cold, noinline)) long frame_fail(struct mqtt_error *err, enum fault fault,
                                                       size_t offset)
{
    mqtt_fault_set(err, fault, MQTT_V311, offset);
    return -1;
}

long mqtt_frame(struct slice in, uint32_t max_bytes, struct mqtt_frame *out, struct mqtt_error *err)
{
    if (in.n == 0) {
        return 0;
    }
    enum fault fault = first_byte_fault(in.p[0]);
    if (fault != FAULT_NONE) {
        return frame_fail(err, fault, 0);
    }
    uint32_t remaining = 0;
    uint32_t header_len = 1;
    uint8_t b;
    do {
        if (header_len == 5) {
            return frame_fail(err, FAULT_LENGTH, 4);
        }
        if (in.n == header_len) {
            return 0;
        }
        b = in.p[header_len];
        remaining |= (uint32_t)(b & 127) << (7 * (header_len - 1));
        header_len++;
    } while ((b & 128) != 0);
    uint32_t total = header_len + remaining;
    if (total > max_bytes) {
        return frame_fail(err, FAULT_TOO_LARGE, 1);
    }
    if (in.n < total) {
        return 0;
    }
    out->type = (enum mqtt_type)(in.p[0] >> 4);
    out->flags = in.p[0] & 15;
    out->header_len = header_len;
    out->body = slice_make(in.p + header_len, remaining);
    return (long)total;
}

bool mqtt_reader_varint(struct reader *r, uint32_t *out)
{
    const uint8_t *start = r->p;
    uint32_t v = 0;
    for (unsigned i = 0; i < 4; i++) {
        if (r->p == r->end) {
            return reader_fail(r, FAULT_TRUNCATED, r->end);
        }
        uint8_t b = *r->p++;
        v |= (uint32_t)(b & 127) << (7 * i);
        if ((b & 128) == 0) {
            *out = v;
            return (b != 0 || i == 0) || reader_fail(r, FAULT_VARINT, start);
        }
    }
    return reader_fail(r, FAULT_VARINT, start);
}

bool mqtt_reader_check_length(const struct reader *r, const struct mqtt_frame *f)
{
    if (r->version == MQTT_V5 && f->header_len > 1 + varint_size(f->body.n)) {
        mqtt_fault_set(r->err, FAULT_VARINT, r->version, 1);
        return false;
    }
    return true;
}

static bool begin(struct reader *r, const struct mqtt_frame *f, enum mqtt_version v,
                  struct mqtt_error *err)
{
    *r = reader_make(f, v, err);
    return mqtt_reader_check_length(r, f);
}

static bool read_packet_id(struct reader *r, enum fault if_zero, uint16_t *out)
{
    const uint8_t *at = r->p;
    return reader_u16(r, out) && (*out != 0 || reader_fail(r, if_zero, at));
}

/* The part of a PUBLISH that only MQTT 5 has, and its rule for the topic. */
static bool read_publish_props(struct reader *r, struct mqtt_publish *out)
{
    if (!mqtt_props_read(r, MQTT_PUBLISH, &out->props)) {
        return false;
    }
    return out->topic.n > 0 || props_has(&out->props, MQTT_PROP_TOPIC_ALIAS) ||
           reader_fail(r, FAULT_TOPIC_MISSING, r->body);
}

static bool read_publish(struct reader *r, uint8_t flags, struct mqtt_publish *out)
{
    out->qos = flags >> 1 & 3;
    out->dup = (flags & 8) != 0;
    out->retain = (flags & 1) != 0;
    out->packet_id = 0;
    out->extra = (struct slice){0};
    if (!reader_text(r, true, &out->topic)) {
        return false;
    }
    if (out->topic.n == 0 && r->version != MQTT_V5) {
        return reader_fail(r, FAULT_TOPIC_EMPTY, r->body);
    }
    if (out->qos > 0 && !read_packet_id(r, FAULT_PACKET_ID, &out->packet_id)) {
        return false;
    }
    if (r->version != MQTT_V5) {
        mqtt_props_clear(&out->props);
    } else if (!read_publish_props(r, out)) {
        return false;
    }
    out->payload = slice_make(r->p, reader_left(r));
    return true;
}

int mqtt_decode_publish(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *out,
                        struct mqtt_error *err)
{
    struct reader r;
    if (!begin(&r, f, v, err)) {
        return -1;
    }
    if ((f->flags & 6) == 6) {
        return (int)frame_fail(err, FAULT_QOS3, 0);
    }
    /* 3.1 does not say what DUP means for QoS 0, so only later versions refuse it. */
    if ((f->flags & 14) == 8 && v != MQTT_V31) {
        return (int)frame_fail(err, FAULT_DUP_QOS0, 0);
    }
    return read_publish(&r, f->flags, out) ? 0 : -1;
}

/* Whether a packet of MQTT 5 may carry that reason code. */
static bool reason_fits(enum mqtt_type type, uint8_t reason)
{
    static const uint8_t publish_codes[] = {0x00, 0x10, 0x80, 0x83, 0x87, 0x90, 0x91, 0x97, 0x99};
    static const uint8_t disconnect_codes[] = {
        0x00, 0x04, 0x80, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F, 0x90, 0x93,
        0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B, 0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2};
    if (type == MQTT_PUBACK || type == MQTT_PUBREC) {
        return memchr(publish_codes, reason, sizeof publish_codes) != NULL;
    }
    if (type == MQTT_PUBREL || type == MQTT_PUBCOMP) {
        return reason == MQTT_RC_SUCCESS || reason == MQTT_RC_PACKET_ID_NOT_FOUND;
    }
    if (type == MQTT_AUTH) {
        return reason == MQTT_RC_SUCCESS || reason == MQTT_RC_CONTINUE_AUTH ||
               reason == MQTT_RC_REAUTHENTICATE;
    }
    return memchr(disconnect_codes, reason, sizeof disconnect_codes) != NULL;
}

/* The statement that lists the reason codes of a type. */
static const char *reason_clause(enum mqtt_type type)
{
    static const char *const clauses[16] = {
        [MQTT_PUBACK] = "MQTT-3.4.2-1",      [MQTT_PUBREC] = "MQTT-3.5.2-1",
        [MQTT_PUBREL] = "MQTT-3.6.2-1",      [MQTT_PUBCOMP] = "MQTT-3.7.2-1",
        [MQTT_DISCONNECT] = "MQTT-3.14.2-1", [MQTT_AUTH] = "MQTT-3.15.2-1"};
    return clauses[type];
}

/* How acknowledgements, DISCONNECT and AUTH end in MQTT 5: each of the two may be left out. */
static bool read_reason(struct reader *r, enum mqtt_type type, uint8_t *reason,
                        struct mqtt_props *props)
{
    *reason = MQTT_RC_SUCCESS;
    mqtt_props_clear(props);
    if (r->version != MQTT_V5 || r->p == r->end) {
        return reader_end(r);
    }
    const uint8_t *at = r->p;
    if (!reader_u8(r, reason)) {
        return false;
    }
    if (!reason_fits(type, *reason)) {
        (void)reader_fail(r, FAULT_REASON, at);
        r->err->clause = reason_clause(type);
        return false;
    }
    return r->p == r->end || (mqtt_props_read(r, type, props) && reader_end(r));
}

int mqtt_decode_ack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *out,
                    struct mqtt_error *err)
{
    struct reader r;
    bool ok = begin(&r, f, v, err) && read_packet_id(&r, FAULT_ACK_ID, &out->packet_id) &&
              read_reason(&r, f->type, &out->reason, &out->props);
    return ok ? 0 : -1;
}

int mqtt_decode_disconnect(const struct mqtt_frame *f, enum mqtt_version v,
                           struct mqtt_disconnect *out, struct mqtt_error *err)
{
    struct reader r;
    bool ok = begin(&r, f, v, err) && read_reason(&r, MQTT_DISCONNECT, &out->reason, &out->props);
    return ok ? 0 : -1;
}

int mqtt_decode_auth(const struct mqtt_frame *f, struct mqtt_auth *out, struct mqtt_error *err)
{
    struct reader r;
    bool ok = begin(&r, f, MQTT_V5, err) && read_reason(&r, MQTT_AUTH, &out->reason, &out->props) &&
              mqtt_props_check_auth(&r, &out->props);
    return ok ? 0 : -1;
}

int mqtt_decode_empty(const struct mqtt_frame *f, struct mqtt_error *err)
{
    struct reader r = reader_make(f, MQTT_V311, err);
    return reader_end(&r) ? 0 : -1;
}

/* A shared subscription: the form, of a filter that is valid as such. `options` is 0 in UNSUBSCRIBE. */
static bool check_shared(struct reader *r, struct slice filter, const uint8_t *options)
{
    struct slice name, inner;
    if (!mqtt_filter_is_shared(filter)) {
        return true;
    }
    if (!mqtt_filter_shared(filter, &name, &inner)) {
        size_t at = sizeof "$share/" - 1; /* $queue/ is as long */
        bool nameless = filter.n == at || filter.p[at] == '/';
        enum fault fault = mqtt_filter_is_queue(filter) ? FAULT_QUEUE_FORM
                           : nameless                   ? FAULT_SHARE_NAME
                                                        : FAULT_SHARE_FORM;
        return reader_fail(r, fault, filter.p + at);
    }
    bool no_local = options != NULL && (*options & 4) != 0;
    return !no_local || reader_fail(r, FAULT_NO_LOCAL_SHARED, options);
}

static bool read_filter(struct reader *r, struct slice *filter)
{
    const uint8_t *start = r->p;
    size_t at;
    if (!reader_binary(r, filter)) {
        return false;
    }
    enum fault fault = mqtt_filter_check(*filter, &at);
    return fault == FAULT_NONE || reader_fail(r, fault, filter->n == 0 ? start : filter->p + at);
}

static bool read_subscribe_entry(struct reader *r)
{
    struct slice filter;
    uint8_t options;
    const uint8_t *at;
    if (!read_filter(r, &filter)) {
        return false;
    }
    at = r->p;
    if (!reader_u8(r, &options)) {
        return false;
    }
    unsigned reserved = r->version == MQTT_V5 ? 0xC0 : 0xFC;
    if ((options & reserved) != 0) {
        return reader_fail(r, FAULT_SUB_OPTIONS, at);
    }
    if ((options & 3) == 3) {
        return reader_fail(r, r->version == MQTT_V5 ? FAULT_SUB_QOS3 : FAULT_SUB_OPTIONS, at);
    }
    if ((options & 0x30) == 0x30) {
        return reader_fail(r, FAULT_RETAIN_HANDLING, at);
    }
    return check_shared(r, filter, at);
}

static bool read_unsubscribe_entry(struct reader *r)
{
    struct slice filter;
    return read_filter(r, &filter) && check_shared(r, filter, NULL);
}

static bool read_entries(struct reader *r, bool unsubscribe, struct mqtt_subscribe *out)
{
    if (r->p == r->end) {
        return reader_fail(r, unsubscribe ? FAULT_UNSUBSCRIBE_EMPTY : FAULT_SUBSCRIBE_EMPTY, r->p);
    }
    out->entries = slice_make(r->p, reader_left(r));
    out->count = 0;
    while (r->p < r->end) {
        if (!(unsubscribe ? read_unsubscribe_entry(r) : read_subscribe_entry(r))) {
            return false;
        }
        out->count++;
    }
    return true;
}

static int decode_entries(const struct mqtt_frame *f, enum mqtt_version v, bool unsubscribe,
                          struct mqtt_subscribe *out, struct mqtt_error *err)
{
    struct reader r;
    if (!begin(&r, f, v, err) || !read_packet_id(&r, FAULT_PACKET_ID, &out->packet_id)) {
        return -1;
    }
    mqtt_props_clear(&out->props);
    unsigned type = unsubscribe ? MQTT_UNSUBSCRIBE : MQTT_SUBSCRIBE;
    if (v == MQTT_V5 && !mqtt_props_read(&r, type, &out->props)) {
        return -1;
    }
    return read_entries(&r, unsubscribe, out) ? 0 : -1;
}

int mqtt_decode_subscribe(const struct mqtt_frame *f, enum mqtt_version v,
                          struct mqtt_subscribe *out, struct mqtt_error *err)
{
    return decode_entries(f, v, false, out, err);
}

int mqtt_decode_unsubscribe(const struct mqtt_frame *f, enum mqtt_version v,
                            struct mqtt_subscribe *out, struct mqtt_error *err)
{
    return decode_entries(f, v, true, out, err);
}

bool mqtt_sub_next(struct slice *entries, bool unsubscribe, struct mqtt_sub *out)
{
    if (entries->n == 0) {
        return false;
    }
    assert(entries->n >= 2);
    size_t n = get_be16(entries->p);
    size_t used = 2 + n + (unsubscribe ? 0 : 1);
    assert(entries->n >= used);
    uint8_t options = unsubscribe ? 0 : entries->p[used - 1];
    *out = (struct mqtt_sub){
        .filter = slice_make(entries->p + 2, n),
        .qos = options & 3,
        .no_local = (options & 4) != 0,
        .retain_as_published = (options & 8) != 0,
        .retain_handling = options >> 4 & 3,
    };
    *entries = slice_make(entries->p + used, entries->n - used);
    return true;
}
