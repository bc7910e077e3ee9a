/*
 * MQTT control packets as values: what decode.c makes of bytes and encode.c makes bytes of.
 * Pure: no socket, clock, log. Slices in decoded packets borrow from the input bytes.
 * Shaped for 5.0: properties stand in every packet that has them; 3.1 and 3.1.1 leave them empty.
 */
#ifndef TMQ_MQTT_PACKET_H
#define TMQ_MQTT_PACKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/cause.h"
#include "base/slice.h"

enum mqtt_version { MQTT_V31 = 3, MQTT_V311 = 4, MQTT_V5 = 5 };
enum { MQTT_LEVEL_BRIDGE = 0x80 }; /* in the protocol level */

enum mqtt_type {
    MQTT_CONNECT = 1,
    MQTT_CONNACK = 2,
    MQTT_PUBLISH = 3,
    MQTT_PUBACK = 4,
    MQTT_PUBREC = 5,
    MQTT_PUBREL = 6,
    MQTT_PUBCOMP = 7,
    MQTT_SUBSCRIBE = 8,
    MQTT_SUBACK = 9,
    MQTT_UNSUBSCRIBE = 10,
    MQTT_UNSUBACK = 11,
    MQTT_PINGREQ = 12,
    MQTT_PINGRESP = 13,
    MQTT_DISCONNECT = 14,
    MQTT_AUTH = 15
};

/* "PUBLISH" and so on; "reserved" for 0. */
const char *mqtt_type_text(enum mqtt_type t);

/* What was wrong with a packet: the cause for the trace, the codes for the peer, the proof. */
struct mqtt_error {
    enum cause cause;
    uint8_t reason;     /* MQTT 5 reason code */
    uint8_t connack;    /* 3.1.1 CONNACK return code, 0 = close without CONNACK */
    uint32_t offset;    /* of the offending byte, counted from the packet's first byte */
    const char *clause; /* "MQTT-3.1.2-3", static; "" where no numbered statement decides */
    const char *text;   /* what was expected, static */
};

/* A fixed header and where the rest stands. */
struct mqtt_frame {
    enum mqtt_type type;
    uint8_t flags;       /* low four bits of the first byte */
    uint32_t header_len; /* bytes of the fixed header, 2..5 */
    struct slice body;   /* variable header and payload */
};

/*
 * Finds the next whole packet at the start of `in`.
 * Returns its length in bytes, 0 when more bytes are needed, -1 when it is bad (*err says why:
 * reserved type or flags, a length of more than four bytes, more than `max_bytes` in all).
 */
long mqtt_frame(struct slice in, uint32_t max_bytes, struct mqtt_frame *out, struct mqtt_error *err)
    __attribute__((warn_unused_result));

/*
 * MQTT 5 properties. `present` has bit (1 << identifier) for each that occurred (for an encoder: for each
 * to be written). The decoders of PUBLISH, acknowledgements, SUBSCRIBE, UNSUBSCRIBE and DISCONNECT set
 * `present`, `subid_count` and `user` always, any other member only if its bit is in `present`: ask
 * `present` first. Before 5.0 it is 0.
 */
struct mqtt_props {
    uint64_t present;
    uint8_t payload_format;
    uint8_t request_problem_info, request_response_info;
    uint8_t max_qos, retain_available, wildcard_available, subid_available, shared_available;
    uint16_t server_keepalive, receive_max, topic_alias_max, topic_alias;
    uint32_t message_expiry, session_expiry, will_delay, max_packet;
    uint32_t subids[8]; /* subscription identifiers of a PUBLISH, the first eight */
    uint8_t subid_count;
    struct slice content_type, response_topic, correlation, assigned_client_id, auth_method,
        auth_data, response_info, server_reference, reason_string;
    /* The user properties as they stand on the wire, in order, one after another: 0x26, name, value;
     * other properties between them are skipped by mqtt_user_next(). Empty when there are none. */
    struct slice user;
    struct slice
        raw; /* decoded: all properties as they stand on the wire; set by every decoder, like `present` */
};

enum mqtt_prop {
    MQTT_PROP_PAYLOAD_FORMAT = 1,
    MQTT_PROP_MESSAGE_EXPIRY = 2,
    MQTT_PROP_CONTENT_TYPE = 3,
    MQTT_PROP_RESPONSE_TOPIC = 8,
    MQTT_PROP_CORRELATION = 9,
    MQTT_PROP_SUBID = 11,
    MQTT_PROP_SESSION_EXPIRY = 17,
    MQTT_PROP_ASSIGNED_CLIENT_ID = 18,
    MQTT_PROP_SERVER_KEEPALIVE = 19,
    MQTT_PROP_AUTH_METHOD = 21,
    MQTT_PROP_AUTH_DATA = 22,
    MQTT_PROP_REQUEST_PROBLEM = 23,
    MQTT_PROP_WILL_DELAY = 24,
    MQTT_PROP_REQUEST_RESPONSE = 25,
    MQTT_PROP_RESPONSE_INFO = 26,
    MQTT_PROP_SERVER_REFERENCE = 28,
    MQTT_PROP_REASON_STRING = 31,
    MQTT_PROP_RECEIVE_MAX = 33,
    MQTT_PROP_TOPIC_ALIAS_MAX = 34,
    MQTT_PROP_TOPIC_ALIAS = 35,
    MQTT_PROP_MAX_QOS = 36,
    MQTT_PROP_RETAIN_AVAILABLE = 37,
    MQTT_PROP_USER = 38,
    MQTT_PROP_MAX_PACKET = 39,
    MQTT_PROP_WILDCARD_AVAILABLE = 40,
    MQTT_PROP_SUBID_AVAILABLE = 41,
    MQTT_PROP_SHARED_AVAILABLE = 42
};

/* Sets what may be looked at without asking `present`: to zero all of it costs as much as to encode a small packet. */
static inline void mqtt_props_clear(struct mqtt_props *p)
{
    p->present = 0;
    p->subid_count = 0;
    p->user = (struct slice){0};
    p->raw = (struct slice){0};
}

/* The next user property of `*rest`, which moves on; false at the end. */
bool mqtt_user_next(struct slice *rest, struct slice *name, struct slice *value);

struct mqtt_will {
    bool present, retain;
    uint8_t qos;
    struct slice topic, payload;
    struct mqtt_props props;
};

struct mqtt_connect {
    enum mqtt_version version;
    bool clean_start;
    bool has_username, has_password;
    bool
        bridge; /* 0x80 in the level, before MQTT 5: not in the standard, bridges of Mosquitto say so */
    uint8_t level;      /* the protocol level as it stands in the packet, also one not served */
    uint16_t keepalive; /* seconds, 0 = off */
    struct slice client_id, username, password;
    struct mqtt_will will;
    struct mqtt_props props;
};

struct mqtt_publish {
    uint8_t qos;
    bool dup, retain;
    uint16_t packet_id; /* 0 for QoS 0 */
    struct slice topic, payload;
    struct slice
        extra; /* an encoder puts these encoded properties behind those of `props`; decoders leave it empty */
    struct mqtt_props props;
};

/*
 * Of a decoded PUBLISH: the properties that go to subscribers unaltered (payload format, content type, response topic,
 * correlation data, user properties in their order [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17]
 * [MQTT-3.3.2-18] [MQTT-3.3.2-20]), encoded. A slice of the packet where it has no others, else of `scratch`, which is
 * overwritten.
 */
struct slice mqtt_props_forwarded(const struct mqtt_props *p, struct buf *scratch);

/* PUBACK, PUBREC, PUBREL, PUBCOMP. */
struct mqtt_ack {
    uint16_t packet_id;
    uint8_t reason;
    struct mqtt_props props;
};

/* SUBSCRIBE and UNSUBSCRIBE: the entries are read one by one with mqtt_sub_next(). */
struct mqtt_subscribe {
    uint16_t packet_id;
    uint32_t count;       /* entries, at least 1 */
    struct slice entries; /* already validated as a whole */
    struct mqtt_props props;
};

struct mqtt_sub {
    struct slice filter;
    uint8_t qos;
    bool no_local, retain_as_published; /* MQTT 5 */
    uint8_t retain_handling;            /* MQTT 5: 0, 1, 2 */
};

struct mqtt_disconnect {
    uint8_t reason; /* 0 before MQTT 5 */
    struct mqtt_props props;
};

/* MQTT 5 only. */
struct mqtt_auth {
    uint8_t reason;
    struct mqtt_props props;
};

/*
 * Decoders of a frame's body. 0 and *out filled, or -1 and *err filled (out is then undefined).
 * mqtt_decode_connect fills out->version and out->client_id as far as it came, also when it fails:
 * client_id.n == 0 means that it did not come so far (the trace then files it under the address);
 * version is MQTT_V311 until it is known, which is what a refusal is best written in. For a fault in the
 * connect flags or properties it reads on to the client ID, so that the device is named.
 * A reserved first byte and QoS 3 are found by mqtt_frame already.
 * Every string is checked as UTF-8 without U+0000 and surrogates [MQTT-1.5.3-1] [MQTT-1.5.3-2], topic
 * names without wildcards [MQTT-3.3.2-2] and not empty [MQTT-4.7.3-1], filters well formed [MQTT-4.7.1-1..3].
 */
int mqtt_decode_connect(const struct mqtt_frame *f, struct mqtt_connect *out,
                        struct mqtt_error *err) __attribute__((warn_unused_result));
/* The CONNECT at the start of `in` as far as it is there, though it is no whole packet, or larger than is served: version and client
 * ID as above. Not for anything else. */
void mqtt_peek_connect(struct slice in, struct mqtt_connect *out);
int mqtt_decode_publish(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_publish *out,
                        struct mqtt_error *err) __attribute__((warn_unused_result));
int mqtt_decode_ack(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_ack *out,
                    struct mqtt_error *err) __attribute__((warn_unused_result));
int mqtt_decode_subscribe(const struct mqtt_frame *f, enum mqtt_version v,
                          struct mqtt_subscribe *out, struct mqtt_error *err)
    __attribute__((warn_unused_result));
int mqtt_decode_unsubscribe(const struct mqtt_frame *f, enum mqtt_version v,
                            struct mqtt_subscribe *out, struct mqtt_error *err)
    __attribute__((warn_unused_result));
int mqtt_decode_disconnect(const struct mqtt_frame *f, enum mqtt_version v,
                           struct mqtt_disconnect *out, struct mqtt_error *err)
    __attribute__((warn_unused_result));
int mqtt_decode_auth(const struct mqtt_frame *f, struct mqtt_auth *out, struct mqtt_error *err)
    __attribute__((warn_unused_result));
/* PINGREQ has no body. */
int mqtt_decode_empty(const struct mqtt_frame *f, struct mqtt_error *err)
    __attribute__((warn_unused_result));

/* The next entry of a decoded SUBSCRIBE (or UNSUBSCRIBE: only the filter); false at the end. */
bool mqtt_sub_next(struct slice *entries, bool unsubscribe, struct mqtt_sub *out);

/*
 * Encoders append one whole packet to `out`. Inputs are trusted (decoded or made here); lengths that
 * can't be encoded assert.
 */
void mqtt_encode_connack(struct buf *out, enum mqtt_version v, bool session_present, uint8_t code,
                         const struct mqtt_props *props);
/* The bytes that mqtt_encode_publish() will append. */
size_t mqtt_publish_size(enum mqtt_version v, const struct mqtt_publish *p);
void mqtt_encode_publish(struct buf *out, enum mqtt_version v, const struct mqtt_publish *p);
/* Everything of the packet but the payload: for large payloads that are referenced, not copied. */
void mqtt_encode_publish_head(struct buf *out, enum mqtt_version v, const struct mqtt_publish *p);
/* Well-formed UTF-8; unlike in strings of packets, U+0000 may stand in it. */
bool mqtt_payload_is_utf8(struct slice payload);
/* Appends one subscription identifier as a property. */
void mqtt_put_subid(struct buf *out, uint32_t subid);
/* PUBACK, PUBREC, PUBREL, PUBCOMP (flags right for the type [MQTT-3.6.1-1]). */
void mqtt_encode_ack(struct buf *out, enum mqtt_version v, enum mqtt_type type, uint16_t packet_id,
                     uint8_t reason);
void mqtt_encode_suback(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                        const uint8_t *codes, uint32_t count);
void mqtt_encode_unsuback(struct buf *out, enum mqtt_version v, uint16_t packet_id,
                          const uint8_t *codes, uint32_t count);
void mqtt_encode_pingresp(struct buf *out);
/* MQTT 5 only: a server does not send DISCONNECT before that. */
void mqtt_encode_disconnect(struct buf *out, uint8_t reason, const struct mqtt_props *props);
/* MQTT 5 only. */
void mqtt_encode_auth(struct buf *out, uint8_t reason, const struct mqtt_props *props);

/* MQTT 5 reason codes that the broker names. */
enum mqtt_reason {
    MQTT_RC_SUCCESS = 0x00,
    MQTT_RC_GRANTED_QOS1 = 0x01,
    MQTT_RC_GRANTED_QOS2 = 0x02,
    MQTT_RC_DISCONNECT_WITH_WILL = 0x04,
    MQTT_RC_NO_SUBSCRIBERS = 0x10,
    MQTT_RC_NO_SUBSCRIPTION = 0x11,
    MQTT_RC_CONTINUE_AUTH = 0x18,
    MQTT_RC_REAUTHENTICATE = 0x19,
    MQTT_RC_UNSPECIFIED = 0x80,
    MQTT_RC_MALFORMED = 0x81,
    MQTT_RC_PROTOCOL_ERROR = 0x82,
    MQTT_RC_IMPLEMENTATION = 0x83,
    MQTT_RC_VERSION = 0x84,
    MQTT_RC_CLIENT_ID = 0x85,
    MQTT_RC_BAD_CREDENTIALS = 0x86,
    MQTT_RC_NOT_AUTHORIZED = 0x87,
    MQTT_RC_SERVER_UNAVAILABLE = 0x88,
    MQTT_RC_SERVER_BUSY = 0x89,
    MQTT_RC_BANNED = 0x8A,
    MQTT_RC_SHUTTING_DOWN = 0x8B,
    MQTT_RC_BAD_AUTH_METHOD = 0x8C,
    MQTT_RC_KEEPALIVE_TIMEOUT = 0x8D,
    MQTT_RC_TAKEN_OVER = 0x8E,
    MQTT_RC_FILTER_INVALID = 0x8F,
    MQTT_RC_TOPIC_INVALID = 0x90,
    MQTT_RC_PACKET_ID_IN_USE = 0x91,
    MQTT_RC_PACKET_ID_NOT_FOUND = 0x92,
    MQTT_RC_RECEIVE_MAX = 0x93,
    MQTT_RC_TOPIC_ALIAS = 0x94,
    MQTT_RC_PACKET_TOO_LARGE = 0x95,
    MQTT_RC_RATE_TOO_HIGH = 0x96,
    MQTT_RC_QUOTA = 0x97,
    MQTT_RC_ADMIN = 0x98,
    MQTT_RC_PAYLOAD_FORMAT = 0x99,
    MQTT_RC_RETAIN_UNSUPPORTED = 0x9A,
    MQTT_RC_QOS_UNSUPPORTED = 0x9B,
    MQTT_RC_USE_ANOTHER = 0x9C,
    MQTT_RC_MOVED = 0x9D,
    MQTT_RC_SHARED_UNSUPPORTED = 0x9E,
    MQTT_RC_CONNECTION_RATE = 0x9F,
    MQTT_RC_MAX_CONNECT_TIME = 0xA0,
    MQTT_RC_SUBID_UNSUPPORTED = 0xA1,
    MQTT_RC_WILDCARD_UNSUPPORTED = 0xA2
};

#endif
