/* Encoders: the exact bytes of each packet, and round trips through the decoders in all versions. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "mqtt_any.h"

static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};

/* The buffer holds exactly these bytes; it is emptied. */
static void expect(struct buf *b, struct bytes want)
{
    struct slice got = buf_slice(b);
    assert_int_equal(got.n, want.n);
    assert_memory_equal(got.p, want.p, want.n);
    buf_clear(b);
}

#define EXPECT(b, literal) expect(b, (struct bytes)B(literal))

static void decode_buf(const struct buf *b, enum mqtt_version v, struct mqtt_any *out)
{
    struct mqtt_error err = {0};
    int rc = decode_bytes(buf_slice(b), v, out, &err);
    if (rc != 0) {
        fail_msg("rc %d at %u: %s", rc, err.offset, rc == -1 ? err.text : "more bytes");
    }
}

static void test_connack(void **state)
{
    (void)state;
    struct buf b = {0};
    struct mqtt_props props = {.present = UINT64_C(1) << MQTT_PROP_RECEIVE_MAX, .receive_max = 10};
    mqtt_encode_connack(&b, MQTT_V311, true, 0, NULL);
    EXPECT(&b, "\x20\x02\x01\x00");
    mqtt_encode_connack(&b, MQTT_V311, true, 5, &props); /* refused: no session */
    EXPECT(&b, "\x20\x02\x00\x05");
    mqtt_encode_connack(&b, MQTT_V31, true, 0, NULL);
    EXPECT(&b, "\x20\x02\x00\x00");
    mqtt_encode_connack(&b, MQTT_V5, false, 0x87, NULL);
    EXPECT(&b, "\x20\x03\x00\x87\x00");
    mqtt_encode_connack(&b, MQTT_V5, true, 0, &props);
    struct mqtt_any any;
    decode_buf(&b, MQTT_V5, &any);
    assert_true(any.connack.session_present);
    assert_int_equal(any.connack.props.receive_max, 10);
    EXPECT(&b, "\x20\x06\x01\x00\x03\x21\x00\x0a");
    buf_fini(&b);
}

static void test_publish_bytes(void **state)
{
    (void)state;
    struct buf b = {0};
    struct mqtt_publish p = {.topic = slice_str("a/b"), .payload = slice_str("hi"), .dup = true};
    mqtt_encode_publish(&b, MQTT_V311, &p); /* no DUP with QoS 0 [MQTT-3.3.1-2] */
    EXPECT(&b, "\x30\x07\x00\x03"
               "a/bhi");
    p.qos = 1;
    p.retain = true;
    p.packet_id = 0x1234;
    mqtt_encode_publish(&b, MQTT_V31, &p);
    EXPECT(&b, "\x3b\x09\x00\x03"
               "a/b\x12\x34hi");
    mqtt_encode_publish(&b, MQTT_V5, &p);
    EXPECT(&b, "\x3b\x0a\x00\x03"
               "a/b\x12\x34\x00hi");
    mqtt_encode_publish_head(&b, MQTT_V5, &p);
    EXPECT(&b, "\x3b\x0a\x00\x03"
               "a/b\x12\x34\x00");
    buf_fini(&b);
}

/* Payloads on both sides of each length of the remaining length. */
static void test_publish_sizes(void **state)
{
    (void)state;
    static const size_t sizes[] = {0,     1,     122,   123,     124,    16370,
                                   16378, 16379, 16380, 2097146, 2097147};
    uint8_t *payload = calloc(1, 2097147);
    assert_non_null(payload);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (size_t k = 0; k < 3; k++) {
            struct buf b = {0}, head = {0};
            struct mqtt_publish p = {.topic = slice_str("abc"),
                                     .qos = (uint8_t)(i % 3),
                                     .packet_id = 9,
                                     .payload = slice_make(payload, sizes[i])};
            mqtt_encode_publish(&b, versions[k], &p);
            assert_int_equal(buf_len(&b), mqtt_publish_size(versions[k], &p));
            mqtt_encode_publish_head(&head, versions[k], &p);
            assert_int_equal(buf_len(&head) + sizes[i], buf_len(&b));
            assert_memory_equal(head.p, b.p, buf_len(&head));
            struct mqtt_frame f;
            struct mqtt_error err;
            struct mqtt_publish back;
            assert_int_equal(mqtt_frame(buf_slice(&b), UINT32_MAX, &f, &err), buf_len(&b));
            assert_int_equal(mqtt_decode_publish(&f, versions[k], &back, &err), 0);
            assert_true(slice_eq(back.payload, p.payload) && slice_eq(back.topic, p.topic));
            assert_int_equal(back.packet_id, p.qos > 0 ? 9 : 0);
            buf_fini(&b);
            buf_fini(&head);
        }
    }
    free(payload);
}

static void test_acks(void **state)
{
    (void)state;
    struct buf b = {0};
    for (size_t k = 0; k < 3; k++) {
        for (unsigned type = MQTT_PUBACK; type <= MQTT_PUBCOMP; type++) {
            uint8_t reason = type >= MQTT_PUBREL ? MQTT_RC_PACKET_ID_NOT_FOUND : MQTT_RC_QUOTA;
            for (unsigned with = 0; with < 2; with++) {
                struct mqtt_any any;
                mqtt_encode_ack(&b, versions[k], (enum mqtt_type)type, 0x1234, with ? reason : 0);
                decode_buf(&b, versions[k], &any);
                assert_int_equal(any.ack.packet_id, 0x1234);
                assert_int_equal(any.ack.reason, with && versions[k] == MQTT_V5 ? reason : 0);
                buf_clear(&b);
            }
        }
    }
    mqtt_encode_ack(&b, MQTT_V311, MQTT_PUBREL, 1, 0);
    EXPECT(&b, "\x62\x02\x00\x01");
    mqtt_encode_ack(&b, MQTT_V5, MQTT_PUBACK, 1, 0x87);
    EXPECT(&b, "\x40\x03\x00\x01\x87");
    buf_fini(&b);
}

static void test_subacks(void **state)
{
    (void)state;
    struct buf b = {0};
    static const uint8_t codes[] = {0, 2, 0x80};
    mqtt_encode_suback(&b, MQTT_V311, 7, codes, 3);
    EXPECT(&b, "\x90\x05\x00\x07\x00\x02\x80");
    mqtt_encode_suback(&b, MQTT_V5, 7, codes, 3);
    EXPECT(&b, "\x90\x06\x00\x07\x00\x00\x02\x80");
    mqtt_encode_unsuback(&b, MQTT_V311, 7, codes, 3);
    EXPECT(&b, "\xb0\x02\x00\x07");
    mqtt_encode_unsuback(&b, MQTT_V5, 7, codes, 3);
    struct mqtt_any any;
    decode_buf(&b, MQTT_V5, &any);
    assert_true(slice_eq(any.suback.codes, slice_make(codes, 3)));
    EXPECT(&b, "\xb0\x06\x00\x07\x00\x00\x02\x80");
    buf_fini(&b);
}

static void test_small(void **state)
{
    (void)state;
    struct buf b = {0};
    struct mqtt_props why = {.present = UINT64_C(1) << MQTT_PROP_REASON_STRING,
                             .reason_string = slice_str("r")};
    mqtt_encode_pingreq(&b);
    EXPECT(&b, "\xc0\x00");
    mqtt_encode_pingresp(&b);
    EXPECT(&b, "\xd0\x00");
    mqtt_encode_disconnect(&b, 0, NULL);
    EXPECT(&b, "\xe0\x00");
    mqtt_encode_disconnect(&b, MQTT_RC_TAKEN_OVER, NULL);
    EXPECT(&b, "\xe0\x01\x8e");
    mqtt_encode_disconnect(&b, 0, &why);
    EXPECT(&b, "\xe0\x06\x00\x04\x1f\x00\x01r");
    mqtt_encode_auth(&b, MQTT_RC_CONTINUE_AUTH, &why);
    struct mqtt_any any;
    decode_buf(&b, MQTT_V5, &any);
    assert_int_equal(any.auth.reason, MQTT_RC_CONTINUE_AUTH);
    EXPECT(&b, "\xf0\x06\x18\x04\x1f\x00\x01r");
    buf_fini(&b);
}

static void same_connect(const struct mqtt_connect *a, const struct mqtt_connect *b)
{
    assert_int_equal(a->version, b->version);
    assert_int_equal(a->clean_start, b->clean_start);
    assert_int_equal(a->keepalive, b->keepalive);
    assert_int_equal(a->has_username, b->has_username);
    assert_int_equal(a->has_password, b->has_password);
    assert_true(slice_eq(a->client_id, b->client_id));
    assert_true(!a->has_username || slice_eq(a->username, b->username));
    assert_true(!a->has_password || slice_eq(a->password, b->password));
    assert_int_equal(a->will.present, b->will.present);
    if (a->will.present) {
        assert_int_equal(a->will.qos, b->will.qos);
        assert_int_equal(a->will.retain, b->will.retain);
        assert_true(slice_eq(a->will.topic, b->will.topic));
        assert_true(slice_eq(a->will.payload, b->will.payload));
    }
}

/* All combinations of what a CONNECT may have. */
static void test_connect_round_trip(void **state)
{
    (void)state;
    for (unsigned k = 0; k < 3; k++) {
        for (unsigned bits = 0; bits < 64; bits++) {
            struct buf b = {0};
            struct mqtt_any any;
            struct mqtt_connect c = {
                .version = versions[k],
                .clean_start = (bits & 1) != 0,
                .has_username = (bits & 2) != 0,
                .has_password = (bits & 4) != 0 && ((bits & 2) != 0 || versions[k] == MQTT_V5),
                .keepalive = (uint16_t)(bits * 1000),
                .client_id = slice_str("GID_a@@@1"),
                .username = slice_str((bits & 16) != 0 ? "user" : ""),
                .password = slice_make("\xff\x00", 2),
                .will = {.present = (bits & 8) != 0,
                         .qos = (uint8_t)(bits >> 4 & 1),
                         .retain = (bits & 32) != 0,
                         .topic = slice_str("will/topic"),
                         .payload = slice_str("gone")},
            };
            mqtt_encode_connect(&b, &c);
            decode_buf(&b, versions[k], &any);
            same_connect(&c, &any.connect);
            buf_fini(&b);
        }
    }
}

static void test_subscribe_round_trip(void **state)
{
    (void)state;
    struct mqtt_sub subs[] = {
        {.filter = slice_str("a/+/#"), .qos = 2},
        {.filter = slice_str("$SYS/#"), .qos = 1, .no_local = true, .retain_handling = 2},
        {.filter = slice_str("/"), .retain_as_published = true},
    };
    for (unsigned k = 0; k < 3; k++) {
        struct buf b = {0};
        struct mqtt_any any;
        struct mqtt_sub s;
        bool v5 = versions[k] == MQTT_V5;
        mqtt_encode_subscribe(&b, versions[k], 77, subs, 3, NULL);
        decode_buf(&b, versions[k], &any);
        assert_int_equal(any.subscribe.packet_id, 77);
        assert_int_equal(any.subscribe.count, 3);
        for (unsigned i = 0; mqtt_sub_next(&any.subscribe.entries, false, &s); i++) {
            assert_true(slice_eq(s.filter, subs[i].filter));
            assert_int_equal(s.qos, subs[i].qos);
            assert_int_equal(s.no_local, v5 && subs[i].no_local);
            assert_int_equal(s.retain_as_published, v5 && subs[i].retain_as_published);
            assert_int_equal(s.retain_handling, v5 ? subs[i].retain_handling : 0);
        }
        buf_clear(&b);
        struct slice filters[] = {subs[0].filter, subs[2].filter};
        mqtt_encode_unsubscribe(&b, versions[k], 78, filters, 2, NULL);
        decode_buf(&b, versions[k], &any);
        assert_int_equal(any.subscribe.packet_id, 78);
        assert_int_equal(any.subscribe.count, 2);
        for (unsigned i = 0; mqtt_sub_next(&any.subscribe.entries, true, &s); i++) {
            assert_true(slice_eq(s.filter, filters[i]));
        }
        buf_fini(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_connack),
        cmocka_unit_test(test_publish_bytes),
        cmocka_unit_test(test_publish_sizes),
        cmocka_unit_test(test_acks),
        cmocka_unit_test(test_subacks),
        cmocka_unit_test(test_small),
        cmocka_unit_test(test_connect_round_trip),
        cmocka_unit_test(test_subscribe_round_trip),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
