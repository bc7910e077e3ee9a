/* Records as JSON: every cause, every type of evidence, bytes that are no text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "api/json.h"
#include "base/cause.h"

static struct record make_record(enum cause c)
{
    struct record r = {.seq = 42, .time_us = 1700000000123456, .connected_at_us = 1699999990000000};
    r.cause = c;
    r.transport = TRANSPORT_TCP;
    r.protocol = 4;
    r.keepalive = 60;
    r.instance = slice_str("mqtt-local");
    r.client_id = slice_str("GID_demo@@@sensor-1");
    r.user = slice_str("alice");
    r.peer = slice_str("10.0.0.7:51234");
    r.listener = slice_str("mqtt");
    r.node = slice_str("node-1");
    for (uint8_t i = 0; i < RECORD_CHANNEL_BYTES; i++) {
        r.channel[i] = (uint8_t)(i * 16 + 1);
    }
    return r;
}

static const char *text_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_string(v)) {
        fail_msg("%s is no string", name);
    }
    return json_string_value(v);
}

static json_int_t int_of(const json_t *o, const char *name)
{
    const json_t *v = json_object_get(o, name);
    if (!json_is_integer(v)) {
        fail_msg("%s is no integer", name);
    }
    return json_integer_value(v);
}

static bool is_null(const json_t *o, const char *name)
{
    return json_is_null(json_object_get(o, name));
}

static void item_has_all_members(void **state)
{
    (void)state;
    struct record r = make_record(CAUSE_KEEPALIVE_EXPIRED);
    json_t *o = json_record(&r);
    assert_int_equal(int_of(o, "seq"), 42);
    assert_int_equal(int_of(o, "time"), 1700000000123);
    assert_string_equal(text_of(o, "timeIso"), "2023-11-14T22:13:20.123456Z");
    assert_string_equal(text_of(o, "channelId"), "0111213141516171"
                                                 "8191a1b1c1d1e1f1");
    assert_string_equal(text_of(o, "action"), "close");
    assert_string_equal(text_of(o, "description"), "no heart");
    assert_string_equal(text_of(o, "cause"), "keepalive.expired");
    assert_string_equal(text_of(o, "clientId"), "GID_demo@@@sensor-1");
    assert_string_equal(text_of(o, "group"), "GID_demo");
    assert_string_equal(text_of(o, "device"), "sensor-1");
    assert_string_equal(text_of(o, "peer"), "10.0.0.7:51234");
    assert_true(is_null(o, "proxy"));
    assert_string_equal(text_of(o, "node"), "node-1");
    assert_string_equal(text_of(o, "listener"), "mqtt");
    assert_string_equal(text_of(o, "transport"), "tcp");
    assert_string_equal(text_of(o, "protocol"), "3.1.1");
    assert_string_equal(text_of(o, "user"), "alice");
    assert_int_equal(int_of(o, "connectedAt"), 1699999990000);
    assert_true(json_is_object(json_object_get(o, "detail")));
    assert_int_equal(json_object_size(o), 21);
    json_decref(o);
}

static void each_cause_has_an_item(void **state)
{
    (void)state;
    for (int c = 0; c < CAUSE_COUNT; c++) {
        struct record r = make_record((enum cause)c);
        const struct cause_info *info = cause_info((enum cause)c);
        json_t *o = json_record(&r);
        assert_string_equal(text_of(o, "cause"), info->code);
        assert_string_equal(text_of(o, "description"), cause_description_text(info->description));
        assert_string_equal(text_of(o, "action"), cause_action_text(info->action));
        assert_int_equal(is_null(o, "endedBy"), info->action == ACTION_CONNECT);
        const json_t *verdict = json_object_get(o, "verdict");
        assert_true(strlen(text_of(verdict, "text")) > 0);
        assert_true(is_null(verdict, "next") || strlen(text_of(verdict, "next")) > 0);
        char *dumped = json_dumps(o, JSON_COMPACT);
        assert_non_null(dumped);
        free(dumped);
        json_decref(o);
    }
}

static void put_one_of_each(struct evidence *e)
{
    static const uint8_t bytes[RECORD_CHANNEL_BYTES] = {0xde, 0xad, 0xbe, 0xef};
    evidence_init(e);
    evidence_u64(e, EV_PACKETS_IN, 7);
    evidence_u64(e, EV_SILENT_MS, 90500);
    evidence_u64(e, EV_WILL_SENT, 1);
    evidence_str(e, EV_TOPIC, "a/b");
    evidence_bytes(e, EV_FIRST_BYTES, slice_make(bytes, 4));
    evidence_u64(e, EV_LAST_ALIVE, 1700000000123456);
    evidence_bytes(e, EV_OTHER_CHANNEL, slice_make(bytes, sizeof bytes));
    evidence_u64(e, EV_UNACKED_BYTES, UINT64_MAX);
}

static void evidence_is_typed(void **state)
{
    struct evidence e;
    (void)state;
    struct record r = make_record(CAUSE_PROTOCOL_MALFORMED);
    put_one_of_each(&e);
    r.detail = slice_make(e.bytes, e.n);
    r.flags = RECORD_TRUNCATED | RECORD_REFUSED;
    json_t *o = json_record(&r);
    const json_t *d = json_object_get(o, "detail");
    assert_int_equal(int_of(d, "packetsIn"), 7);
    assert_int_equal(int_of(d, "silentMs"), 90500);
    assert_true(json_is_true(json_object_get(d, "willSent")));
    assert_string_equal(text_of(d, "topic"), "a/b");
    assert_string_equal(text_of(d, "firstBytes"), "deadbeef");
    assert_int_equal(int_of(d, "lastAlive"), 1700000000123);
    assert_string_equal(text_of(d, "otherChannelId"), "deadbeef000000000000000000000000");
    assert_int_equal(int_of(d, "unackedBytes"), INT64_MAX);
    assert_true(json_is_true(json_object_get(d, "truncated")));
    assert_true(json_is_true(json_object_get(d, "refused")));
    json_decref(o);
}

static void each_evidence_key_has_a_value(void **state)
{
    static const uint8_t bytes[RECORD_CHANNEL_BYTES] = {1};
    (void)state;
    for (int k = 0; k < EV_COUNT_OF_KEYS; k++) {
        struct evidence e;
        const struct evidence_info *info = evidence_info((enum evidence_key)k);
        struct record r = make_record(CAUSE_PEER_FIN);
        evidence_init(&e);
        if (info->type == EVT_STR || info->type == EVT_HEX || info->type == EVT_CHANNEL) {
            evidence_bytes(&e, (enum evidence_key)k, slice_make(bytes, sizeof bytes));
        } else if (info->type == EVT_I64) {
            evidence_i64(&e, (enum evidence_key)k, -1);
        } else {
            evidence_u64(&e, (enum evidence_key)k, 1);
        }
        r.detail = slice_make(e.bytes, e.n);
        json_t *o = json_record(&r);
        const json_t *v = json_object_get(json_object_get(o, "detail"), info->name);
        assert_non_null(v);
        assert_false(json_is_null(v));
        json_decref(o);
    }
}

static bool becomes(const char *bytes, size_t n, const char *expected)
{
    json_t *v = json_text(slice_make(bytes, n));
    bool same = v != NULL && strcmp(json_string_value(v), expected) == 0;
    json_decref(v);
    return same;
}

static void bytes_that_are_no_text_become_text(void **state)
{
    (void)state;
    assert_true(becomes("", 0, ""));
    assert_true(becomes("abc", 3, "abc"));
    assert_true(
        becomes("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9, "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80"));
    assert_true(becomes("a\xFFz", 3, "a\xEF\xBF\xBDz"));
    assert_true(becomes("a\xE2\x82", 3, "a\xEF\xBF\xBD\xEF\xBF\xBD")); /* cut in the middle */
    assert_true(becomes("\xED\xA0\x80", 3, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD")); /* surrogate */
    assert_true(becomes("\xC0\xAF", 2, "\xEF\xBF\xBD\xEF\xBF\xBD"));                 /* overlong */
    assert_true(becomes("\xF4\x90\x80\x80", 4, "\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD\xEF\xBF\xBD"));
    json_t *nul = json_text(slice_make("a\0b", 3));
    assert_int_equal(json_string_length(nul), 3);
    json_decref(nul);
}

static void a_client_without_group_has_null(void **state)
{
    (void)state;
    struct record r = make_record(CAUSE_ACCEPTED_NEW);
    r.client_id = slice_str("sensor");
    r.protocol = 0;
    r.connected_at_us = 0;
    json_t *o = json_record(&r);
    assert_true(is_null(o, "group"));
    assert_true(is_null(o, "device"));
    assert_true(is_null(o, "protocol"));
    assert_true(is_null(o, "connectedAt"));
    json_decref(o);
}

static void status_tells_the_last_channel(void **state)
{
    (void)state;
    struct trace_status s = {.last = make_record(CAUSE_ACCEPTED_RESUMED), .online = true};
    s.last.flags = RECORD_CLEAN_SESSION;
    s.connected_at_us = 1699999990000000;
    s.last_update_us = 1700000000123456;
    json_t *o = json_status(&s);
    assert_true(json_is_true(json_object_get(o, "online")));
    assert_true(json_is_true(json_object_get(o, "cleanSession")));
    assert_int_equal(int_of(o, "keepalive"), 60);
    assert_int_equal(int_of(o, "connectedAt"), 1699999990000);
    assert_int_equal(int_of(o, "lastUpdate"), 1700000000123);
    assert_string_equal(text_of(o, "lastDescription"), "accepted");
    assert_string_equal(text_of(o, "lastCause"), "accepted.resumed");
    assert_string_equal(text_of(o, "user"), "alice");
    assert_int_equal(json_object_size(o), 15);
    json_decref(o);
}

static void unidentified_counts(void **state)
{
    struct evidence e;
    (void)state;
    struct record r = make_record(CAUSE_HANDSHAKE_EMPTY);
    r.client_id = slice_str("");
    json_t *o = json_unidentified(&r);
    assert_int_equal(int_of(o, "count"), 1);
    assert_int_equal(int_of(o, "firstTime"), 1700000000123);
    json_decref(o);
    evidence_init(&e);
    evidence_u64(&e, EV_COUNT, 17);
    evidence_u64(&e, EV_FIRST_TIME, 1700000000000000);
    evidence_u64(&e, EV_LAST_TIME, 1700000050000000);
    r.detail = slice_make(e.bytes, e.n);
    o = json_unidentified(&r);
    assert_int_equal(int_of(o, "count"), 17);
    assert_int_equal(int_of(o, "firstTime"), 1700000000000);
    assert_int_equal(int_of(o, "lastTime"), 1700000050000);
    assert_string_equal(text_of(o, "cause"), "handshake.empty");
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(item_has_all_members),
        cmocka_unit_test(each_cause_has_an_item),
        cmocka_unit_test(evidence_is_typed),
        cmocka_unit_test(each_evidence_key_has_a_value),
        cmocka_unit_test(bytes_that_are_no_text_become_text),
        cmocka_unit_test(a_client_without_group_has_null),
        cmocka_unit_test(status_tells_the_last_channel),
        cmocka_unit_test(unidentified_counts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
