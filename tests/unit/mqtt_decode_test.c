/*
 * Decoders: what is refused and with which words, and that no cut or changed packet does harm. Every
 * input lies in memory of exactly its size, so that a sanitizer sees the first byte read beyond it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/topic.h"
#include "mqtt_any.h"

#define CONNECT_311 "\x00\x04MQTT\x04"
#define CONNECT_5 "\x00\x04MQTT\x05"

struct bad_row {
    const char *name;
    enum mqtt_version version;
    struct bytes in;
    enum cause cause;
    uint8_t reason, connack;
    uint32_t offset;
    const char *clause;
};

/* clang-format off */
static const struct bad_row bad_rows[] = {
    /* frame */
    {"type 0", MQTT_V311, B("\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, ""},
    {"flags of CONNECT", MQTT_V311, B("\x11"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"flags of PUBACK, an HTTP client", MQTT_V311, B("G"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"flags of a TLS hello", MQTT_V311, B("\x16"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"flags of PUBREL", MQTT_V311, B("\x60"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"flags of SUBSCRIBE", MQTT_V311, B("\x80"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"flags of UNSUBSCRIBE", MQTT_V311, B("\xa0"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"flags of DISCONNECT", MQTT_V311, B("\xe2"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-2.2.2-2"},
    {"QoS 3", MQTT_V311, B("\x36"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 0, "MQTT-3.3.1-4"},
    {"length of five bytes", MQTT_V311, B("\x30\x80\x80\x80\x80"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 4, ""},
    {"too large, known with the length", MQTT_V311, B("\x30\xff\xff\xff\x7f"), CAUSE_LIMIT_PACKET_SIZE, 0x95, 0, 1, ""},
    /* CONNECT */
    {"wrong name", MQTT_V311, B("\x10\x0c\x00\x04MQTS\x04\x02\x00\x3c\x00\x00"), CAUSE_HANDSHAKE_NOT_MQTT, 0x84, 0, 2, "MQTT-3.1.2-1"},
    {"wrong name length", MQTT_V311, B("\x10\x0c\x01\x04MQTT\x04\x02\x00\x3c\x00\x00"), CAUSE_HANDSHAKE_NOT_MQTT, 0x84, 0, 2, "MQTT-3.1.2-1"},
    {"name in lower case", MQTT_V311, B("\x10\x0c\x00\x04mqtt\x04\x02\x00\x3c\x00\x00"), CAUSE_HANDSHAKE_NOT_MQTT, 0x84, 0, 2, "MQTT-3.1.2-1"},
    {"empty", MQTT_V311, B("\x10\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 2, ""},
    {"level 6", MQTT_V311, B("\x10\x0c\x00\x04MQTT\x06\x02\x00\x3c\x00\x00"), CAUSE_PROTOCOL_VERSION, 0x84, 1, 8, "MQTT-3.1.2-2"},
    {"level 3 of MQTT", MQTT_V311, B("\x10\x0c\x00\x04MQTT\x03\x02\x00\x3c\x00\x00"), CAUSE_PROTOCOL_VERSION, 0x84, 1, 8, "MQTT-3.1.2-2"},
    {"level 4 of MQIsdp", MQTT_V311, B("\x10\x0e\x00\x06MQIsdp\x04\x02\x00\x3c\x00\x00"), CAUSE_PROTOCOL_VERSION, 0x84, 1, 10, "MQTT-3.1.2-2"},
    {"a bridge's level of 3.1 with the name of 3.1.1", MQTT_V311, B("\x10\x0c\x00\x04MQTT\x83\x02\x00\x3c\x00\x00"), CAUSE_PROTOCOL_VERSION, 0x84, 1, 8, "MQTT-3.1.2-2"},
    {"a bridge's level of 5.0, which there is not", MQTT_V311, B("\x10\x0c\x00\x04MQTT\x85\x02\x00\x3c\x00\x00"), CAUSE_PROTOCOL_VERSION, 0x84, 1, 8, "MQTT-3.1.2-2"},
    {"reserved flag", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x03\x00\x3c\x00\x01x"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 9, "MQTT-3.1.2-3"},
    {"will QoS without will", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x0a\x00\x3c\x00\x01x"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 9, "MQTT-3.1.2-13"},
    {"will QoS without will, 5.0", MQTT_V5, B("\x10\x0e" CONNECT_5 "\x0a\x00\x3c\x00\x00\x01x"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 9, "MQTT-3.1.2-11"},
    {"will retain without will", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x22\x00\x3c\x00\x01x"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 9, "MQTT-3.1.2-15"},
    {"will QoS 3", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x1e\x00\x3c\x00\x01x"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 9, "MQTT-3.1.2-14"},
    {"password alone", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x42\x00\x3c\x00\x01x"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 9, "MQTT-3.1.2-22"},
    {"no client ID, clean session 0", MQTT_V311, B("\x10\x0c" CONNECT_311 "\x00\x00\x3c\x00\x00"), CAUSE_PROTOCOL_CLIENT_ID, 0x85, 2, 12, "MQTT-3.1.3-8"},
    {"no client ID in 3.1", MQTT_V31, B("\x10\x0e\x00\x06MQIsdp\x03\x02\x00\x3c\x00\x00"), CAUSE_PROTOCOL_CLIENT_ID, 0x85, 2, 14, "MQTT-3.1.3-8"},
    {"client ID cut", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x02\x00\x3c\x00\x02x"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 15, ""},
    {"client ID with NUL", MQTT_V311, B("\x10\x0e" CONNECT_311 "\x02\x00\x3c\x00\x02x\0"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 15, "MQTT-1.5.3-2"},
    {"client ID not UTF-8", MQTT_V311, B("\x10\x0e" CONNECT_311 "\x02\x00\x3c\x00\x02x\xff"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 15, "MQTT-1.5.3-1"},
    {"client ID not UTF-8, 5.0", MQTT_V5, B("\x10\x0f" CONNECT_5 "\x02\x00\x3c\x00\x00\x02x\xff"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 16, "MQTT-1.5.4-1"},
    {"bytes behind", MQTT_V311, B("\x10\x0e" CONNECT_311 "\x02\x00\x3c\x00\x01x!"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 15, ""},
    {"will topic with wildcard", MQTT_V311, B("\x10\x13" CONNECT_311 "\x06\x00\x3c\x00\x01x\x00\x02w#\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x90, 0, 18, "MQTT-4.7.1-1"},
    {"will topic empty", MQTT_V311, B("\x10\x11" CONNECT_311 "\x06\x00\x3c\x00\x01x\x00\x00\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x90, 0, 15, "MQTT-4.7.3-1"},
    {"will without payload", MQTT_V311, B("\x10\x10" CONNECT_311 "\x06\x00\x3c\x00\x01x\x00\x01w"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 18, ""},
    {"user name missing", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x82\x00\x3c\x00\x01x"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 15, ""},
    {"user name not UTF-8", MQTT_V311, B("\x10\x10" CONNECT_311 "\x82\x00\x3c\x00\x01x\x00\x01\xc0"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 17, "MQTT-1.5.3-1"},
    {"long form of the length, 5.0", MQTT_V5, B("\x10\x8e\x00" CONNECT_5 "\x02\x00\x3c\x00\x00\x01x"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 1, "MQTT-1.5.5-1"},
    {"authentication data alone", MQTT_V5, B("\x10\x12" CONNECT_5 "\x02\x00\x3c\x04\x16\x00\x01z\x00\x01x"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 13, ""},
    /* PUBLISH */
    {"empty topic", MQTT_V311, B("\x30\x02\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x90, 0, 2, "MQTT-4.7.3-1"},
    {"empty topic without alias", MQTT_V5, B("\x30\x03\x00\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 2, "MQTT-4.7.3-1"},
    {"topic with +", MQTT_V311, B("\x30\x05\x00\x03" "a/+"), CAUSE_PROTOCOL_VIOLATION, 0x90, 0, 6, "MQTT-3.3.2-2"},
    {"topic with # in the first eight", MQTT_V311, B("\x30\x0c\x00\x0a" "a#cdefghij"), CAUSE_PROTOCOL_VIOLATION, 0x90, 0, 5, "MQTT-3.3.2-2"},
    {"topic with NUL at the end", MQTT_V311, B("\x30\x0c\x00\x0a" "abcdefghi\0"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 13, "MQTT-1.5.3-2"},
    {"topic with a surrogate", MQTT_V311, B("\x30\x05\x00\x03\xed\xa0\x80"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 4, "MQTT-1.5.3-1"},
    {"topic cut", MQTT_V311, B("\x30\x03\x00\x02z"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 5, ""},
    {"packet ID 0", MQTT_V311, B("\x32\x05\x00\x01t\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 5, "MQTT-2.3.1-1"},
    {"packet ID 0, 5.0", MQTT_V5, B("\x34\x06\x00\x01t\x00\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 5, "MQTT-2.2.1-3"},
    {"no packet ID", MQTT_V311, B("\x32\x04\x00\x01t\x01"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 6, ""},
    {"DUP with QoS 0", MQTT_V311, B("\x38\x03\x00\x01t"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 0, "MQTT-3.3.1-2"},
    /* acknowledgements */
    {"PUBACK of 0", MQTT_V311, B("\x40\x02\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 2, "MQTT-2.3.1-6"},
    {"PUBACK too short", MQTT_V311, B("\x40\x01\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 3, ""},
    {"PUBREC too long", MQTT_V311, B("\x50\x03\x00\x01\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 4, ""},
    {"PUBREL with a PUBACK's reason", MQTT_V5, B("\x62\x03\x00\x01\x10"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 4, "MQTT-3.6.2-1"},
    {"PUBACK with an unknown reason", MQTT_V5, B("\x40\x03\x00\x01\x01"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 4, "MQTT-3.4.2-1"},
    {"PUBACK with bytes behind", MQTT_V5, B("\x40\x05\x00\x01\x00\x00!"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 6, ""},
    /* SUBSCRIBE, UNSUBSCRIBE */
    {"no filter", MQTT_V311, B("\x82\x02\x00\x01"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 4, "MQTT-3.8.3-3"},
    {"no filter, 5.0", MQTT_V5, B("\x82\x03\x00\x01\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 5, "MQTT-3.8.3-2"},
    {"packet ID 0", MQTT_V311, B("\x82\x06\x00\x00\x00\x01t\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 2, "MQTT-2.3.1-1"},
    {"QoS 3", MQTT_V311, B("\x82\x06\x00\x01\x00\x01t\x03"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 7, "MQTT-3.8.3-4"},
    {"options of 5.0 in 3.1.1", MQTT_V311, B("\x82\x06\x00\x01\x00\x01t\x04"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 7, "MQTT-3.8.3-4"},
    {"reserved options", MQTT_V5, B("\x82\x07\x00\x01\x00\x00\x01t\x40"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 8, "MQTT-3.8.3-5"},
    {"retain handling 3", MQTT_V5, B("\x82\x07\x00\x01\x00\x00\x01t\x30"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 8, ""},
    {"QoS 3 in MQTT 5", MQTT_V5, B("\x82\x07\x00\x01\x00\x00\x01t\x03"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 8, ""},
    {"no QoS byte", MQTT_V311, B("\x82\x05\x00\x01\x00\x01t"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 7, ""},
    {"the second filter is bad", MQTT_V311, B("\x82\x0b\x00\x01\x00\x01t\x00\x00\x02#t\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 10, "MQTT-4.7.1-2"},
    {"# in a level", MQTT_V311, B("\x82\x07\x00\x01\x00\x02t#\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 7, "MQTT-4.7.1-2"},
    {"+ in a level", MQTT_V311, B("\x82\x07\x00\x01\x00\x02t+\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 7, "MQTT-4.7.1-3"},
    {"+ in a level, 5.0", MQTT_V5, B("\x82\x08\x00\x01\x00\x00\x02+t\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 7, "MQTT-4.7.1-2"},
    {"empty filter", MQTT_V311, B("\x82\x05\x00\x01\x00\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 4, "MQTT-4.7.3-1"},
    {"filter with NUL", MQTT_V311, B("\x82\x06\x00\x01\x00\x01\x00\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 6, "MQTT-1.5.3-2"},
    {"share without a name", MQTT_V5, B("\x82\x0f\x00\x01\x00\x00\x09$share//t\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 14, "MQTT-4.8.2-1"},
    {"share without a filter", MQTT_V5, B("\x82\x0f\x00\x01\x00\x00\x09$share/g/\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 14, "MQTT-4.8.2-2"},
    {"share with a wild name", MQTT_V5, B("\x82\x10\x00\x01\x00\x00\x0a$share/+/t\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 14, "MQTT-4.8.2-2"},
    {"queue without a filter", MQTT_V5, B("\x82\x0d\x00\x01\x00\x00\x07$queue/\x00"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 14, ""},
    {"queue without a filter, 3.1.1", MQTT_V311, B("\x82\x0c\x00\x01\x00\x07$queue/\x01"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 13, ""},
    {"queue with no local", MQTT_V5, B("\x82\x0e\x00\x01\x00\x00\x08$queue/t\x04"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 15, "MQTT-3.8.3-4"},
    {"share with no local", MQTT_V5, B("\x82\x10\x00\x01\x00\x00\x0a$share/g/t\x04"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 17, "MQTT-3.8.3-4"},
    {"no filter", MQTT_V311, B("\xa2\x02\x00\x01"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 4, "MQTT-3.10.3-2"},
    {"UNSUBSCRIBE with a bad filter", MQTT_V311, B("\xa2\x08\x00\x01\x00\x04t/#/"), CAUSE_PROTOCOL_VIOLATION, 0x8f, 0, 8, "MQTT-4.7.1-2"},
    /* the rest */
    {"PINGREQ with a body", MQTT_V311, B("\xc0\x01!"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 2, ""},
    {"DISCONNECT with a body", MQTT_V311, B("\xe0\x01\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, 2, ""},
    {"DISCONNECT with an unknown reason", MQTT_V5, B("\xe0\x01\x01"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 2, "MQTT-3.14.2-1"},
    {"AUTH with an unknown reason", MQTT_V5, B("\xf0\x01\x80"), CAUSE_PROTOCOL_VIOLATION, 0x82, 0, 2, "MQTT-3.15.2-1"},
};

/* Valid packets. A body that is cut must not decode, but at lengths of `cuts` (bits) or from `cut_from`
 * on: where the rest of a packet may be left out. */
struct good_row {
    const char *name;
    enum mqtt_version version;
    struct bytes in;
    uint32_t cuts;
    size_t cut_from;
};

#define NEVER 99999
static const struct good_row good_rows[] = {
    {"3.1", MQTT_V31, B("\x10\x13\x00\x06MQIsdp\x03\xc2\x00\x3c\x00\x01x\x00\x00\x00\x00"), 1 << 15 | 1 << 17, NEVER},
    {"3.1, left out, odd bits", MQTT_V31, B("\x10\x0f\x00\x06MQIsdp\x03\xc3\x00\x3c\x00\x01x"), 0, NEVER},
    {"3.1.1", MQTT_V311, B("\x10\x0d" CONNECT_311 "\x02\x00\x3c\x00\x01x"), 0, NEVER},
    {"3.1.1, no client ID", MQTT_V311, B("\x10\x0c" CONNECT_311 "\x02\x00\x00\x00\x00"), 0, NEVER},
    {"3.1.1, all", MQTT_V311, B("\x10\x1a" CONNECT_311 "\xf4\x00\x3c\x00\x02\xc3\xa4\x00\x01w\x00\x01\xff\x00\x01u\x00\x01\xff"), 0, NEVER},
    {"5.0", MQTT_V5, B("\x10\x0d" CONNECT_5 "\x00\x00\x3c\x00\x00\x00"), 0, NEVER},
    {"5.0, all", MQTT_V5, B("\x10\x2d" CONNECT_5 "\xf4\x00\x3c\x05\x11\x00\x00\x00\x0a\x00\x02id\x0c\x18\x00\x00\x00\x05\x26\x00\x01k\x00\x01v\x00\x01w\x00\x01m\x00\x01u\x00\x01p"), 0, NEVER},
    {"5.0, password alone", MQTT_V5, B("\x10\x11" CONNECT_5 "\x42\x00\x3c\x00\x00\x01x\x00\x01p"), 0, NEVER},
    {"CONNACK", MQTT_V311, B("\x20\x02\x01\x00"), 0, NEVER},
    {"CONNACK 5.0", MQTT_V5, B("\x20\x06\x00\x00\x03\x21\x00\x0a"), 0, NEVER},
    {"QoS 0", MQTT_V311, B("\x31\x0a\x00\x03" "a/bhello"), 0, 5},
    {"QoS 0 without payload", MQTT_V31, B("\x30\x05\x00\x03" "a/b"), 0, NEVER},
    {"DUP, QoS 0, 3.1", MQTT_V31, B("\x38\x05\x00\x03" "a/b"), 0, NEVER},
    {"long form of the length", MQTT_V311, B("\x30\x85\x80\x80\x00\x00\x03" "a/b"), 0, NEVER},
    {"QoS 2", MQTT_V311, B("\x3d\x12\x00\x09/\xe2\x82\xac/\xf0\x9f\x98\x80\x12\x34hello"), 0, 13},
    {"QoS 1, 5.0", MQTT_V5, B("\x32\x0f\x00\x03" "a/b\x00\x01\x05\x26\x00\x00\x00\x00hi"), 0, 13},
    {"alias alone", MQTT_V5, B("\x30\x06\x00\x00\x03\x23\x00\x07"), 0, NEVER},
    {"PUBACK", MQTT_V311, B("\x40\x02\x00\x01"), 0, NEVER},
    {"PUBREC 5.0", MQTT_V5, B("\x50\x02\x00\x01"), 0, NEVER},
    {"PUBREL 5.0", MQTT_V5, B("\x62\x03\x00\x01\x92"), 1 << 2, NEVER},
    {"PUBCOMP 5.0", MQTT_V5, B("\x70\x08\x00\x01\x92\x04\x1f\x00\x01r"), 1 << 2 | 1 << 3, NEVER},
    {"SUBSCRIBE", MQTT_V311, B("\x82\x0d\x00\x01\x00\x03" "a/+\x01\x00\x02/#\x02"), 1 << 8, NEVER},
    {"SUBSCRIBE 5.0", MQTT_V5, B("\x82\x12\x00\x01\x02\x0b\x07\x00\x0a$share/g/#\x2a"), 0, NEVER},
    {"SUBSCRIBE to a queue", MQTT_V5, B("\x82\x0e\x00\x01\x00\x00\x08$queue/#\x02"), 0, NEVER},
    {"SUBACK", MQTT_V311, B("\x90\x04\x00\x01\x80\x02"), 1 << 3, NEVER},
    {"UNSUBSCRIBE", MQTT_V311, B("\xa2\x0a\x00\x01\x00\x01#\x00\x03" "a/b"), 1 << 5, NEVER},
    {"UNSUBSCRIBE 5.0", MQTT_V5, B("\xa2\x06\x00\x01\x00\x00\x01#"), 0, NEVER},
    {"UNSUBACK", MQTT_V311, B("\xb0\x02\x00\x01"), 0, NEVER},
    {"UNSUBACK 5.0", MQTT_V5, B("\xb0\x04\x00\x01\x00\x11"), 0, NEVER},
    {"PINGREQ", MQTT_V311, B("\xc0\x00"), 0, NEVER},
    {"PINGRESP", MQTT_V311, B("\xd0\x00"), 0, NEVER},
    {"DISCONNECT", MQTT_V311, B("\xe0\x00"), 0, NEVER},
    {"DISCONNECT 5.0", MQTT_V5, B("\xe0\x07\x04\x05\x11\x00\x00\x00\x00"), 1 | 1 << 1, NEVER},
    {"AUTH", MQTT_V5, B("\xf0\x06\x18\x04\x15\x00\x01m"), 1 | 1 << 1, NEVER},
};
/* clang-format on */

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* A copy in memory of exactly that size; free() it. */
static uint8_t *copy(const void *p, size_t n)
{
    uint8_t *c = malloc(n > 0 ? n : 1);
    assert_non_null(c);
    memcpy(c, p, n);
    return c;
}

/* covers MQTT5 [MQTT-3.4.2-1] [MQTT-3.6.2-1] [MQTT-3.14.2-1] [MQTT-3.15.2-1] */
static void test_bad(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(bad_rows); i++) {
        const struct bad_row *row = &bad_rows[i];
        uint8_t *in = copy(row->in.p, row->in.n);
        struct mqtt_any any;
        struct mqtt_error err = {0};
        int rc = decode_bytes(slice_make(in, row->in.n), row->version, &any, &err);
        if (rc != -1 || err.cause != row->cause || err.reason != row->reason ||
            err.connack != row->connack || err.offset != row->offset ||
            strcmp(err.clause, row->clause) != 0 || err.text[0] == 0) {
            fail_msg("%zu %s: rc %d, cause %s, reason %02x, connack %u, offset %u, clause %s", i,
                     row->name, rc, rc == -1 ? cause_info(err.cause)->code : "", err.reason,
                     err.connack, err.offset, rc == -1 ? err.clause : "");
        }
        free(in);
    }
}

/* The device is named although its CONNECT is refused. */
static void test_bad_connect_names_client(void **state)
{
    (void)state;
    static const struct bytes rows[] = {
        B("\x10\x0e" CONNECT_311 "\x03\x00\x3c\x00\x02id"),
        B("\x10\x0e" CONNECT_311 "\x42\x00\x3c\x00\x02id"),
        B("\x10\x0f" CONNECT_5 "\x0a\x00\x3c\x00\x00\x02id"),
        B("\x10\x0f" CONNECT_311 "\x82\x00\x3c\x00\x02id\x00"),
        B("\x10\x14" CONNECT_311 "\x06\x00\x3c\x00\x02id\x00\x02w#\x00\x00"),
    };
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct mqtt_any any;
        struct mqtt_error err;
        assert_int_equal(decode_bytes(slice_make(rows[i].p, rows[i].n), MQTT_V311, &any, &err), -1);
        assert_true(slice_eq(any.connect.client_id, slice_str("id")));
        assert_int_equal(any.connect.version, any.connect.level);
    }
    struct bytes level = B("\x10\x0c\x00\x04MQTT\x09\x02\x00\x3c\x00\x00");
    struct mqtt_any any;
    struct mqtt_error err;
    assert_int_equal(decode_bytes(slice_make(level.p, level.n), MQTT_V311, &any, &err), -1);
    assert_int_equal(any.connect.version, MQTT_V311);
    assert_int_equal(any.connect.level, 9);
    assert_int_equal(any.connect.client_id.n, 0);
}

static void test_good(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_rows); i++) {
        const struct good_row *row = &good_rows[i];
        struct mqtt_any any;
        struct mqtt_error err = {0};
        int rc = decode_bytes(slice_make(row->in.p, row->in.n), row->version, &any, &err);
        if (rc != 0) {
            fail_msg("%s: rc %d, offset %u: %s", row->name, rc, err.offset,
                     rc == -1 ? err.text : "");
        }
    }
}

static void test_publish_fields(void **state)
{
    (void)state;
    struct bytes in = B("\x3d\x12\x00\x09/\xe2\x82\xac/\xf0\x9f\x98\x80\x12\x34hello");
    struct mqtt_any any;
    struct mqtt_error err;
    assert_int_equal(decode_bytes(slice_make(in.p, in.n), MQTT_V311, &any, &err), 0);
    const struct mqtt_publish *p = &any.publish;
    assert_int_equal(p->qos, 2);
    assert_true(p->dup && p->retain);
    assert_int_equal(p->packet_id, 0x1234);
    assert_true(slice_eq(p->topic, slice_str("/\xe2\x82\xac/\xf0\x9f\x98\x80")));
    assert_true(slice_eq(p->payload, slice_str("hello")));
    assert_int_equal(p->props.present, 0);
    assert_int_equal(p->props.user.n, 0);
}

static void test_subscribe_entries(void **state)
{
    (void)state;
    struct bytes in = B("\x82\x0e\x00\x07\x00\x00\x03"
                        "a/+\x2d\x00\x02/#\x12");
    struct mqtt_any any;
    struct mqtt_error err;
    struct mqtt_sub s;
    assert_int_equal(decode_bytes(slice_make(in.p, in.n), MQTT_V5, &any, &err), 0);
    assert_int_equal(any.subscribe.packet_id, 7);
    assert_int_equal(any.subscribe.count, 2);
    assert_true(mqtt_sub_next(&any.subscribe.entries, false, &s));
    assert_true(slice_eq(s.filter, slice_str("a/+")));
    assert_true(s.qos == 1 && s.no_local && s.retain_as_published && s.retain_handling == 2);
    assert_true(mqtt_sub_next(&any.subscribe.entries, false, &s));
    assert_true(slice_eq(s.filter, slice_str("/#")));
    assert_true(s.qos == 2 && !s.no_local && !s.retain_as_published && s.retain_handling == 1);
    assert_false(mqtt_sub_next(&any.subscribe.entries, false, &s));
}

/* Any prefix of a packet is "need more"; a body that was cut is an error where it may not end. */
static void test_truncated(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(good_rows); i++) {
        const struct good_row *row = &good_rows[i];
        struct mqtt_frame f;
        struct mqtt_error err;
        for (size_t n = 0; n < row->in.n; n++) {
            uint8_t *in = copy(row->in.p, n);
            assert_int_equal(mqtt_frame(slice_make(in, n), 1 << 20, &f, &err), 0);
            free(in);
        }
        assert_int_equal(mqtt_frame(slice_make(row->in.p, row->in.n), 1 << 20, &f, &err),
                         row->in.n);
        struct slice body = f.body;
        for (size_t n = 0; n < body.n; n++) {
            uint8_t *in = copy(body.p, n);
            struct mqtt_any any;
            f.body = slice_make(in, n);
            f.header_len = 2;
            bool may_end = n >= row->cut_from || (n < 32 && (row->cuts >> n & 1) != 0);
            if (decode_any(&f, row->version, &any, &err) != (may_end ? 0 : -1)) {
                fail_msg("%s: cut to a body of %zu", row->name, n);
            }
            if (!may_end) {
                assert_true(err.offset <= f.header_len + n);
            }
            free(in);
        }
    }
}

static void check_mutant(uint8_t *in, size_t n, enum mqtt_version v)
{
    struct mqtt_any any;
    struct mqtt_error err = {0};
    struct mqtt_frame f;
    struct mqtt_sub s;
    long used = mqtt_frame(slice_make(in, n), 1 << 20, &f, &err);
    assert_true(used <= (long)n);
    if (used > 0 && decode_any(&f, v, &any, &err) == 0) {
        bool unsub = f.type == MQTT_UNSUBSCRIBE;
        uint32_t count = 0;
        while ((unsub || f.type == MQTT_SUBSCRIBE) &&
               mqtt_sub_next(&any.subscribe.entries, unsub, &s)) {
            assert_true(mqtt_filter_valid(s.filter));
            count++;
        }
        assert_true(count == 0 || count == any.subscribe.count);
    } else if (used != 0) {
        assert_true(err.reason >= 0x80 && err.text != NULL && err.clause != NULL);
        assert_true(err.offset <= n);
    }
}

/* Every value of every byte, and pairs of bytes at random, in all versions. */
static void test_mutated(void **state)
{
    (void)state;
    static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
    uint64_t random = 1;
    for (size_t i = 0; i < COUNT(good_rows); i++) {
        const struct good_row *row = &good_rows[i];
        uint8_t *in = copy(row->in.p, row->in.n);
        for (size_t k = 0; k < row->in.n * 256 * 3; k++) {
            size_t at = k / 256 % row->in.n;
            random = random * 6364136223846793005U + 1442695040888963407U;
            size_t other = (size_t)(random >> 33) % row->in.n;
            in[at] = (uint8_t)k;
            check_mutant(in, row->in.n, versions[k % 3]);
            in[other] = (uint8_t)(random >> 25);
            check_mutant(in, row->in.n, versions[k % 3]);
            memcpy(in, row->in.p, row->in.n);
        }
        free(in);
    }
}

static void test_frame_limits(void **state)
{
    (void)state;
    struct mqtt_frame f;
    struct mqtt_error err;
    assert_int_equal(mqtt_frame(slice_make(NULL, 0), 100, &f, &err), 0);
    struct slice in = slice_make("\x30\x80\x01", 3); /* 131 bytes in all */
    assert_int_equal(mqtt_frame(in, 131, &f, &err), 0);
    assert_int_equal(mqtt_frame(in, 130, &f, &err), -1);
    assert_int_equal(err.cause, CAUSE_LIMIT_PACKET_SIZE);
    /* The largest packet there is. */
    in = slice_make("\x30\xff\xff\xff\x7f", 5);
    assert_int_equal(mqtt_frame(in, UINT32_MAX, &f, &err), 0);
    /* A packet behind another one is not touched. */
    in = slice_make("\xc0\x00\xff", 3);
    assert_int_equal(mqtt_frame(in, 100, &f, &err), 2);
    assert_int_equal(f.type, MQTT_PINGREQ);
    assert_int_equal(f.body.n, 0);
    assert_string_equal(mqtt_type_text(f.type), "PINGREQ");
    assert_string_equal(mqtt_type_text((enum mqtt_type)0), "reserved");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad),
        cmocka_unit_test(test_bad_connect_names_client),
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_publish_fields),
        cmocka_unit_test(test_subscribe_entries),
        cmocka_unit_test(test_truncated),
        cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_frame_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
