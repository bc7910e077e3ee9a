/* The names of delayed messages, and what a message keeps while it waits. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/delayed.h"

#define PROP(id) (UINT64_C(1) << MQTT_PROP_##id)
#define NOW_MS UINT64_C(1700000000500)

static void names(void **state)
{
    static const struct {
        const char *topic, *to; /* NULL: it is bad */
        uint64_t delay_ms;
    } rows[] = {
        {"$delayed/15/x/y", "x/y", 15000},
        {"$delayed/0/x", "x", 0},
        {"$delayed/0007/x", "x", 7000},
        {"$delayed/5//x", "/x", 5000},
        {"$delayed/5//", "/", 5000},
        {"$delayed/60/$SYS/topic", "$SYS/topic", 60000},
        {"$delayed/42949669/x", "x", UINT64_C(42949669000)},
        {"$delayed/1700000060/x", "x", 59500},
        {"$delayed/1700000000/x", "x", 0},
        {"$delayed/1660000000/x", "x", 0},
        {"$delayed/1742949669/x", "x", UINT64_C(42949668500)},
        {"$delayed/1742949670/x", NULL, 0},
        {"$delayed/1657050330/x", NULL, 0},
        {"$delayed/42949670/x", NULL, 0},
        {"$delayed/9999999999/x", NULL, 0},
        {"$delayed/99999999999999999999999999/x", NULL, 0},
        {"$delayed/5/", NULL, 0},
        {"$delayed/5", NULL, 0},
        {"$delayed/", NULL, 0},
        {"$delayed//x", NULL, 0},
        {"$delayed/x/5", NULL, 0},
        {"$delayed/-5/x", NULL, 0},
        {"$delayed/+5/x", NULL, 0},
        {"$delayed/ 5/x", NULL, 0},
        {"$delayed/1.5/x", NULL, 0},
        {"$delayed/5s/x", NULL, 0},
        {"$delayed/5/$delayed/5/x", NULL, 0},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        uint64_t delay = 1;
        struct slice to, topic = slice_str(rows[i].topic);
        assert_true(delayed_is(topic));
        bool good = delayed_parse(topic, NOW_MS, &delay, &to);
        if (good != (rows[i].to != NULL)) {
            fail_msg("%s", rows[i].topic);
        }
        if (good) {
            assert_true(slice_eq(to, slice_str(rows[i].to)));
            assert_int_equal(delay, rows[i].delay_ms);
        }
    }
    assert_false(delayed_is(slice_str("$delayed")));
    assert_false(delayed_is(slice_str("$delayedx/5/x")));
    assert_false(delayed_is(slice_str("delayed/5/x")));
}

static void what_was_said(void **state)
{
    static const uint8_t user[] = "\x26\0\1b\0\1"
                                  "1\x26\0\1a\0\1"
                                  "2";
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct mqtt_publish said = {.qos = qos,
                                    .dup = qos > 0,
                                    .retain = qos == 1,
                                    .packet_id = qos > 0 ? 77 : 0,
                                    .topic = slice_str("x/y"),
                                    .payload = slice_str("later")};
        said.props.present = PROP(MESSAGE_EXPIRY) | PROP(CONTENT_TYPE) | PROP(CORRELATION) |
                             PROP(RESPONSE_TOPIC) | PROP(PAYLOAD_FORMAT) | PROP(USER) |
                             PROP(TOPIC_ALIAS);
        said.props.message_expiry = 60;
        said.props.topic_alias = 3;
        said.props.payload_format = 1;
        said.props.content_type = slice_str("text");
        said.props.response_topic = slice_str("answers");
        said.props.correlation = slice_str("id");
        said.props.user = slice_make(user, sizeof user - 1);
        struct delayed *first = delayed_new(4, slice_str("dev"), &said);
        struct delayed *d = delayed_restore(4, delayed_client_id(first), delayed_packet(first));
        delayed_free(first);
        assert_non_null(d);
        assert_int_equal(d->instance, 4);
        assert_int_equal(d->qos, qos);
        assert_true(slice_eq(delayed_client_id(d), slice_str("dev")));
        struct mqtt_publish p;
        d->expires_ms = 61000;
        assert_true(delayed_publish(d, 10500, &p));
        assert_int_equal(p.props.message_expiry, 51); /* less the time that it waited */
        assert_int_equal(p.qos, qos);
        assert_int_equal(p.retain, qos == 1);
        assert_false(p.dup);
        assert_int_equal(p.packet_id, 0);
        assert_true(slice_eq(p.topic, said.topic) && slice_eq(p.payload, said.payload));
        assert_int_equal(p.props.present, said.props.present & ~PROP(TOPIC_ALIAS));
        assert_true(slice_eq(p.props.content_type, said.props.content_type));
        assert_true(slice_eq(p.props.response_topic, said.props.response_topic));
        assert_true(slice_eq(p.props.correlation, said.props.correlation));
        assert_true(slice_eq(p.props.user, said.props.user)); /* in order */
        assert_true(delayed_publish(d, 60999, &p));
        assert_int_equal(p.props.message_expiry, 1);
        assert_false(delayed_publish(d, 61000, &p));
        delayed_free(d);
    }
}

static void bad_bytes_are_no_message(void **state)
{
    static const char good[] = "\x30\x05\0\1t\0x";
    (void)state;
    for (size_t n = 0; n < sizeof good - 1; n++) {
        assert_null(delayed_restore(0, slice_str("dev"), slice_make(good, n)));
    }
    struct delayed *d = delayed_restore(0, slice_str("dev"), slice_make(good, sizeof good - 1));
    assert_non_null(d);
    delayed_free(d);
    assert_null(delayed_restore(0, slice_str(""), slice_make(good, sizeof good - 1)));
    delayed_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(names), cmocka_unit_test(what_was_said),
                                       cmocka_unit_test(bad_bytes_are_no_message)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
