/* Wills keep what the CONNECT said, but for the delay, which is theirs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/will.h"

#define PROP(id) (UINT64_C(1) << MQTT_PROP_##id)

static const uint8_t user[] = "\x26\0\1b\0\1"
                              "1\x26\0\1a\0\1"
                              "2";

static void a_will_is_what_was_said(void **state)
{
    (void)state;
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct mqtt_will said = {.present = true,
                                 .retain = qos == 1,
                                 .qos = qos,
                                 .topic = slice_str("t"),
                                 .payload = slice_str("gone")};
        said.props.present = PROP(WILL_DELAY) | PROP(MESSAGE_EXPIRY) | PROP(CONTENT_TYPE) |
                             PROP(CORRELATION) | PROP(RESPONSE_TOPIC) | PROP(PAYLOAD_FORMAT) |
                             PROP(USER);
        said.props.will_delay = 7;
        said.props.message_expiry = 60;
        said.props.payload_format = 1;
        said.props.content_type = slice_str("text");
        said.props.response_topic = slice_str("answers");
        said.props.correlation = slice_str("id");
        said.props.user = slice_make(user, sizeof user - 1);
        struct will *first = will_new(&said);
        struct will *w = will_restore(will_packet(first), first->delay_s);
        will_free(first);
        assert_int_equal(w->delay_s, 7);
        struct mqtt_publish p;
        will_publish(w, &p);
        assert_int_equal(p.qos, qos);
        assert_int_equal(p.retain, qos == 1);
        assert_int_equal(p.packet_id, 0);
        assert_true(slice_eq(p.topic, said.topic) && slice_eq(p.payload, said.payload));
        assert_int_equal(p.props.present, said.props.present & ~PROP(WILL_DELAY));
        assert_int_equal(p.props.message_expiry, 60);
        assert_int_equal(p.props.payload_format, 1);
        assert_true(slice_eq(p.props.content_type, said.props.content_type));
        assert_true(slice_eq(p.props.response_topic, said.props.response_topic));
        assert_true(slice_eq(p.props.correlation, said.props.correlation));
        assert_true(slice_eq(p.props.user, said.props.user)); /* in order */
        will_free(w);
    }
}

static void bad_bytes_are_no_will(void **state)
{
    (void)state;
    static const char good[] = "\x30\x05\0\1t\0x";
    for (size_t n = 0; n < sizeof good - 1; n++) {
        assert_null(will_restore(slice_make(good, n), 0));
    }
    struct will *w = will_restore(slice_make(good, sizeof good - 1), 0);
    assert_non_null(w);
    will_free(w);
    assert_null(will_restore(slice_make("\x30\x05\0\1+\0x", 7), 0));
    assert_null(will_restore(slice_make("\xc0\0", 2), 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_will_is_what_was_said),
                                       cmocka_unit_test(bad_bytes_are_no_will)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
