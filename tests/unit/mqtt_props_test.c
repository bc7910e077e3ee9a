/*
 * MQTT 5 properties: every one of them in every packet type against the standard's table 2-4, values at
 * their limits, repetition, and round trips.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt/props.h"
#include "mqtt_any.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))
#define WILL 0

/* Table 2-4, as words: where a property may stand, and one valid value of it on the wire. */
struct place_row {
    enum mqtt_prop id;
    struct bytes value;
    const char *packets; /* W will, and the type as a hexadecimal digit */
};

/* clang-format off */
static const struct place_row place_rows[] = {
    {MQTT_PROP_PAYLOAD_FORMAT,     B("\x01"),                 "3W"},
    {MQTT_PROP_MESSAGE_EXPIRY,     B("\x01\x02\x03\x04"),     "3W"},
    {MQTT_PROP_CONTENT_TYPE,       B("\x00\x02" "ct"),        "3W"},
    {MQTT_PROP_RESPONSE_TOPIC,     B("\x00\x03" "r/t"),       "3W"},
    {MQTT_PROP_CORRELATION,        B("\x00\x02\xff\x00"),     "3W"},
    {MQTT_PROP_SUBID,              B("\xff\xff\xff\x7f"),     "38"},
    {MQTT_PROP_SESSION_EXPIRY,     B("\xff\xff\xff\xff"),     "12E"},
    {MQTT_PROP_ASSIGNED_CLIENT_ID, B("\x00\x01x"),            "2"},
    {MQTT_PROP_SERVER_KEEPALIVE,   B("\x00\x3c"),             "2"},
    {MQTT_PROP_AUTH_METHOD,        B("\x00\x01m"),            "12F"},
    {MQTT_PROP_AUTH_DATA,          B("\x00\x01\x00"),         "12F"},
    {MQTT_PROP_REQUEST_PROBLEM,    B("\x00"),                 "1"},
    {MQTT_PROP_WILL_DELAY,         B("\x00\x00\x00\x00"),     "W"},
    {MQTT_PROP_REQUEST_RESPONSE,   B("\x01"),                 "1"},
    {MQTT_PROP_RESPONSE_INFO,      B("\x00\x01i"),            "2"},
    {MQTT_PROP_SERVER_REFERENCE,   B("\x00\x01s"),            "2E"},
    {MQTT_PROP_REASON_STRING,      B("\x00\x01r"),            "245679BEF"},
    {MQTT_PROP_RECEIVE_MAX,        B("\x00\x01"),             "12"},
    {MQTT_PROP_TOPIC_ALIAS_MAX,    B("\x00\x00"),             "12"},
    {MQTT_PROP_TOPIC_ALIAS,        B("\xff\xff"),             "3"},
    {MQTT_PROP_MAX_QOS,            B("\x01"),                 "2"},
    {MQTT_PROP_RETAIN_AVAILABLE,   B("\x00"),                 "2"},
    {MQTT_PROP_USER,               B("\x00\x01k\x00\x01v"),   "123456789ABEFW"},
    {MQTT_PROP_MAX_PACKET,         B("\x00\x00\x00\x01"),     "12"},
    {MQTT_PROP_WILDCARD_AVAILABLE, B("\x01"),                 "2"},
    {MQTT_PROP_SUBID_AVAILABLE,    B("\x01"),                 "2"},
    {MQTT_PROP_SHARED_AVAILABLE,   B("\x01"),                 "2"},
};

struct value_row {
    const char *name;
    unsigned packet;
    struct bytes props; /* without their length */
    enum cause cause;
    uint8_t reason;
    uint32_t offset;    /* in props */
    const char *clause;
};

static const struct value_row value_rows[] = {
    {"unknown", MQTT_PUBLISH, B("\x04\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, ""},
    {"unknown, two bytes", MQTT_PUBLISH, B("\x81\x01\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, ""},
    {"identifier 0", MQTT_PUBLISH, B("\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, ""},
    {"identifier 43", MQTT_PUBLISH, B("\x2b\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 0, ""},
    {"not here", MQTT_PUBLISH, B("\x01\x01\x11\x00\x00\x00\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 2, ""},
    {"twice", MQTT_PUBLISH, B("\x01\x00\x01\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 2, ""},
    {"format 2", MQTT_PUBLISH, B("\x01\x02"), CAUSE_PROTOCOL_VIOLATION, 0x82, 1, ""},
    {"receive maximum 0", MQTT_CONNECT, B("\x21\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 1, ""},
    {"packet maximum 0", MQTT_CONNECT, B("\x27\x00\x00\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 1, ""},
    {"alias 0", MQTT_PUBLISH, B("\x23\x00\x00"), CAUSE_LIMIT_TOPIC_ALIAS, 0x94, 1, "MQTT-3.3.2-8"},
    {"subscription ID 0", MQTT_SUBSCRIBE, B("\x0b\x00"), CAUSE_PROTOCOL_VIOLATION, 0x82, 1, ""},
    {"subscription ID twice", MQTT_SUBSCRIBE, B("\x0b\x01\x0b\x02"), CAUSE_PROTOCOL_VIOLATION, 0x82, 2, ""},
    {"subscription ID in long form", MQTT_SUBSCRIBE, B("\x0b\x81\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 1, "MQTT-1.5.5-1"},
    {"subscription ID of five bytes", MQTT_SUBSCRIBE, B("\x0b\xff\xff\xff\xff\x01"), CAUSE_PROTOCOL_MALFORMED, 0x81, 1, "MQTT-1.5.5-1"},
    {"response topic with wildcard", MQTT_PUBLISH, B("\x08\x00\x02" "a#"), CAUSE_PROTOCOL_VIOLATION, 0x82, 4, "MQTT-3.3.2-14"},
    {"response topic empty", MQTT_PUBLISH, B("\x08\x00\x00"), CAUSE_PROTOCOL_VIOLATION, 0x90, 1, "MQTT-4.7.3-1"},
    {"text not UTF-8", MQTT_PUBLISH, B("\x03\x00\x01\xff"), CAUSE_PROTOCOL_MALFORMED, 0x81, 3, "MQTT-1.5.4-1"},
    {"user value with NUL", MQTT_PUBLISH, B("\x26\x00\x00\x00\x01\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 5, "MQTT-1.5.4-2"},
    {"number cut", MQTT_PUBLISH, B("\x02\x00\x00\x00"), CAUSE_PROTOCOL_MALFORMED, 0x81, 4, ""},
    {"text cut", MQTT_PUBLISH, B("\x03\x00\x02x"), CAUSE_PROTOCOL_MALFORMED, 0x81, 4, ""},
    {"user name alone", MQTT_PUBLISH, B("\x26\x00\x01k"), CAUSE_PROTOCOL_MALFORMED, 0x81, 4, ""},
    {"value missing", MQTT_PUBLISH, B("\x01"), CAUSE_PROTOCOL_MALFORMED, 0x81, 1, ""},
};
/* clang-format on */

/* Reads a property block that is a length byte and `in`; the body ends with it. */
static bool read_props(const void *in, size_t n, unsigned packet, struct mqtt_props *out,
                       struct mqtt_error *err)
{
    static uint8_t body[128]; /* slices in *out borrow from it */
    assert_true(n < 127);
    body[0] = (uint8_t)n;
    memcpy(body + 1, in, n);
    struct mqtt_frame f = {.body = slice_make(body, n + 1)};
    struct reader r = reader_make(&f, MQTT_V5, err);
    return mqtt_props_read(&r, packet, out) && reader_end(&r);
}

static bool may_stand(const struct place_row *row, unsigned packet)
{
    char digit = packet == WILL ? 'W' : "0123456789ABCDEF"[packet];
    return strchr(row->packets, digit) != NULL;
}

static void test_places(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(place_rows); i++) {
        for (unsigned packet = 0; packet < 16; packet++) {
            const struct place_row *row = &place_rows[i];
            uint8_t in[16] = {(uint8_t)row->id};
            memcpy(in + 1, row->value.p, row->value.n);
            struct mqtt_props props, again;
            struct mqtt_error err = {0};
            bool ok = read_props(in, row->value.n + 1, packet, &props, &err);
            if (ok != may_stand(row, packet)) {
                fail_msg("property %d in packet %u: %d", row->id, packet, ok);
            }
            if (!ok) {
                assert_int_equal(err.reason, MQTT_RC_MALFORMED);
                continue;
            }
            assert_int_equal(props.present, UINT64_C(1) << row->id);
            uint8_t out[16];
            size_t size = mqtt_props_size(&props);
            assert_int_equal(size, row->value.n + 1);
            assert_ptr_equal(mqtt_props_write(out, packet, &props, size), out + size + 1);
            assert_memory_equal(out + 1, in, size);
            /* A second one is only allowed where the standard says so. */
            uint8_t two[32];
            memcpy(two, in, size);
            memcpy(two + size, in, size);
            bool repeats =
                row->id == MQTT_PROP_USER || (row->id == MQTT_PROP_SUBID && packet == MQTT_PUBLISH);
            assert_int_equal(read_props(two, 2 * size, packet, &again, &err), repeats);
        }
    }
}

static void test_values(void **state)
{
    (void)state;
    for (size_t i = 0; i < COUNT(value_rows); i++) {
        const struct value_row *row = &value_rows[i];
        struct mqtt_props props;
        struct mqtt_error err = {0};
        bool ok = read_props(row->props.p, row->props.n, row->packet, &props, &err);
        if (ok || err.cause != row->cause || err.reason != row->reason ||
            err.offset != row->offset + 1 || strcmp(err.clause, row->clause) != 0) {
            fail_msg("%s: %s, reason %02x, offset %u, clause %s", row->name, ok ? "ok" : "refused",
                     err.reason, err.offset, ok ? "" : err.clause);
        }
    }
}

static void test_block_length(void **state)
{
    (void)state;
    static const struct bytes bad[] = {B(""),
                                       B("\x01"),
                                       B("\x80"),
                                       B("\x80\x00"),
                                       B("\x80\x80\x80\x80\x01"),
                                       B("\x02\x01\x00\x00")};
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct mqtt_error err = {0};
        struct mqtt_frame f = {.body = slice_make(bad[i].p, bad[i].n)};
        struct reader r = reader_make(&f, MQTT_V5, &err);
        struct mqtt_props props;
        assert_false(mqtt_props_read(&r, MQTT_PUBLISH, &props) && reader_end(&r));
        assert_int_equal(err.reason, MQTT_RC_MALFORMED);
    }
    assert_int_equal(mqtt_props_size(NULL), 0);
}

/* Nothing but what is asked for without `present` is touched. */
static void test_sparse(void **state)
{
    (void)state;
    struct mqtt_props props;
    memset(&props, 0xAA, sizeof props);
    struct mqtt_error err;
    assert_true(read_props("\x23\x00\x07", 3, MQTT_PUBLISH, &props, &err));
    assert_int_equal(props.present, UINT64_C(1) << MQTT_PROP_TOPIC_ALIAS);
    assert_int_equal(props.topic_alias, 7);
    assert_int_equal(props.subid_count, 0);
    assert_int_equal(props.user.n, 0);
    assert_int_equal(props.message_expiry, 0xAAAAAAAA);
}

static void test_user(void **state)
{
    (void)state;
    /* Two user properties with another property of each kind between them, one before, one behind. */
    struct bytes in = B("\x01\x01\x26\x00\x01"
                        "a\x00\x01"
                        "1\x02\x00\x00\x00\x05\x03\x00\x01t"
                        "\x0b\x80\x01\x09\x00\x01\xff\x26\x00\x00\x00\x02"
                        "22\x23\x00\x01");
    struct mqtt_props props;
    struct mqtt_error err;
    struct slice name, value;
    assert_true(read_props(in.p, in.n, MQTT_PUBLISH, &props, &err));
    struct slice rest = props.user;
    assert_true(mqtt_user_next(&rest, &name, &value));
    assert_true(slice_eq(name, slice_str("a")) && slice_eq(value, slice_str("1")));
    assert_true(mqtt_user_next(&rest, &name, &value));
    assert_true(slice_eq(name, slice_str("")) && slice_eq(value, slice_str("22")));
    assert_false(mqtt_user_next(&rest, &name, &value));
    assert_false(mqtt_user_next(&rest, &name, &value));
    /* Written out again they stand together, and everything else is there. */
    uint8_t out[64];
    size_t size = mqtt_props_size(&props);
    assert_int_equal(size, in.n);
    mqtt_props_write(out, MQTT_PUBLISH, &props, size);
    struct mqtt_props again;
    assert_true(read_props(out + 1, size, MQTT_PUBLISH, &again, &err));
    assert_int_equal(again.present, props.present);
    assert_int_equal(again.subids[0], 128);
    assert_int_equal(again.user.n, 7 + 7);
}

static void test_subids(void **state)
{
    (void)state;
    uint8_t in[24];
    for (uint8_t i = 0; i < 10; i++) {
        in[2 * i] = MQTT_PROP_SUBID;
        in[2 * i + 1] = (uint8_t)(i + 1);
    }
    struct mqtt_props props;
    struct mqtt_error err;
    assert_true(read_props(in, 20, MQTT_PUBLISH, &props, &err));
    assert_int_equal(props.subid_count, 8);
    assert_int_equal(props.subids[7], 8);
    assert_int_equal(mqtt_props_size(&props), 16);
}

/* A CONNECT with properties of its own and of its will, through encoder and decoder. */
static void test_connect_props(void **state)
{
    (void)state;
    struct mqtt_connect c = {.version = MQTT_V5, .client_id = slice_str("x")};
    c.props.present = UINT64_C(1) << MQTT_PROP_SESSION_EXPIRY |
                      UINT64_C(1) << MQTT_PROP_MAX_PACKET | UINT64_C(1) << MQTT_PROP_AUTH_METHOD;
    c.props.session_expiry = 3600;
    c.props.max_packet = 1 << 20;
    c.props.auth_method = slice_str("SCRAM");
    c.will =
        (struct mqtt_will){.present = true, .topic = slice_str("w"), .payload = slice_str("p")};
    c.will.props.present = UINT64_C(1) << MQTT_PROP_WILL_DELAY | UINT64_C(1)
                                                                     << MQTT_PROP_CONTENT_TYPE;
    c.will.props.will_delay = 5;
    c.will.props.content_type = slice_str("text/plain");
    struct buf b = {0};
    struct mqtt_any any;
    struct mqtt_error err;
    mqtt_encode_connect(&b, &c);
    assert_int_equal(decode_bytes(buf_slice(&b), MQTT_V5, &any, &err), 0);
    assert_int_equal(any.connect.props.present, c.props.present);
    assert_int_equal(any.connect.props.session_expiry, 3600);
    assert_int_equal(any.connect.props.max_packet, 1 << 20);
    assert_true(slice_eq(any.connect.props.auth_method, c.props.auth_method));
    assert_int_equal(any.connect.will.props.present, c.will.props.present);
    assert_int_equal(any.connect.will.props.will_delay, 5);
    assert_true(slice_eq(any.connect.will.props.content_type, c.will.props.content_type));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_places),        cmocka_unit_test(test_values),
        cmocka_unit_test(test_block_length),  cmocka_unit_test(test_sparse),
        cmocka_unit_test(test_user),          cmocka_unit_test(test_subids),
        cmocka_unit_test(test_connect_props),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
