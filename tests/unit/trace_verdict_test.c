/* Verdicts: the sentences for typical evidence, and none that the evidence does not show. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "trace/verdict.h"

static struct evidence e;
static struct record rec;
static struct verdict v;

static void begin(enum cause c, const char *peer)
{
    evidence_init(&e);
    rec = (struct record){
        .cause = c, .peer = slice_str(peer), .client_id = slice_str("dev"), .keepalive = 60};
}

static void make(void)
{
    rec.detail = slice_make(e.bytes, e.n);
    memset(&v, 'x', sizeof v);
    verdict_make(&rec, &v);
}

static void assert_text(const char *want)
{
    make();
    assert_string_equal(v.text, want);
}

static void assert_says(const char *part)
{
    make();
    if (strstr(v.text, part) == NULL) {
        fail_msg("\"%s\" lacks \"%s\"", v.text, part);
    }
}

static void assert_silent_of(const char *part)
{
    make();
    if (strstr(v.text, part) != NULL) {
        fail_msg("\"%s\" has \"%s\"", v.text, part);
    }
}

/* Without evidence: the cause's own sentence (or one of ours), never more. */
static void test_every_cause_without_evidence(void **state)
{
    (void)state;
    for (int c = 0; c < CAUSE_COUNT; c++) {
        begin((enum cause)c, "");
        make();
        const struct cause_info *info = cause_info((enum cause)c);
        if (info->description == DESC_CLIENT_ID_CONFLICT) {
            assert_non_null(strstr(v.text, "Replaced by a new connection"));
        } else {
            assert_string_equal(v.text, info->text);
        }
        assert_string_equal(v.next, info->next);
    }
}

static void begin_no_heart(void)
{
    begin(CAUSE_KEEPALIVE_EXPIRED, "10.0.0.1:1");
    evidence_u64(&e, EV_SILENT_MS, 90200);
    evidence_u64(&e, EV_DEADLINE_MS, 90000);
    evidence_u64(&e, EV_KEEPALIVE_GRANTED, 60);
    evidence_str(&e, EV_LAST_IN_TYPE, "PINGREQ");
    evidence_u64(&e, EV_LAST_IN_AGO_MS, 90200);
}

static void test_no_heart(void **state)
{
    (void)state;
    begin_no_heart();
    assert_text("The device was silent for 90.2 s (limit 90 s at keepalive 60 s); its last packet "
                "was PINGREQ 90.2 s before.");
    assert_string_equal(v.next, cause_info(CAUSE_KEEPALIVE_EXPIRED)->next);
    evidence_u64(&e, EV_UNACKED_BYTES, 212);
    assert_text("The device was silent for 90.2 s (limit 90 s at keepalive 60 s); its last packet "
                "was PINGREQ 90.2 s before; 212 bytes of ours were never acknowledged: the path or "
                "the device died, not the application.");
    begin_no_heart();
    evidence_u64(&e, EV_UNACKED_BYTES, 0);
    assert_silent_of("acknowledged"); /* nothing was sent in the silence: shows nothing */
    evidence_u64(&e, EV_LAST_OUT_AGO_MS, 12000);
    assert_says("what we sent 12 s before was acknowledged");
    assert_silent_of("late");
    evidence_u64(&e, EV_LOOP_LAG_MS, 2500);
    assert_says("The broker itself was late by 2.5 s");
}

static void begin_conflict(const char *other, uint64_t silent_ms)
{
    begin(CAUSE_TAKEOVER_SAME_NODE, "10.0.0.2:4000");
    evidence_str(&e, EV_OTHER_PEER, other);
    evidence_u64(&e, EV_OTHER_SILENT_MS, silent_ms);
}

static void test_conflict(void **state)
{
    (void)state;
    begin_conflict("10.0.0.2:5111", 41000);
    assert_text(
        "Replaced by a new connection with the same client ID from 10.0.0.2:5111, after 41 s "
        "of silence: probably the same device reconnecting (same address).");
    begin_conflict("10.0.0.3:5111", 300);
    assert_text(
        "Replaced by a new connection with the same client ID from 10.0.0.3:5111 while this "
        "one was active, 300 ms before: two devices seem to share this client ID.");
    assert_non_null(strstr(v.next, "its own client ID"));
    begin_conflict("10.0.0.3:5111", 60000);
    assert_says("perhaps the same device on a new network");
    begin_conflict("10.0.0.2:5111", 300);
    assert_says("one device that connects twice");
    begin_conflict("[::1]:5111", 300);
    rec.peer = slice_str("[::1]:4000");
    assert_says("the same address");
    rec.user = slice_str("alice");
    evidence_str(&e, EV_OTHER_USER, "bob");
    assert_says("the user names differ: \"alice\", then \"bob\"");
    /* One end unknown: no guess. */
    begin(CAUSE_TAKEOVER_SAME_NODE, "10.0.0.2:4000");
    evidence_str(&e, EV_OTHER_PEER, "10.0.0.3:5111");
    assert_text("Replaced by a new connection with the same client ID from 10.0.0.3:5111.");
}

static void test_accepted_after_conflict(void **state)
{
    (void)state;
    begin(CAUSE_ACCEPTED_NEW, "10.0.0.3:5111");
    evidence_u64(&e, EV_SILENT_MS, 0); /* its own, tells nothing of the old side */
    assert_text("The device connected and began a new session.");
    uint8_t other[RECORD_CHANNEL_BYTES] = {9};
    evidence_bytes(&e, EV_OTHER_CHANNEL, slice_make(other, sizeof other));
    evidence_str(&e, EV_OTHER_PEER, "10.0.0.2:4000");
    assert_text("The device connected and began a new session; it replaced an open connection from "
                "10.0.0.2:4000.");
    evidence_u64(&e, EV_OTHER_SILENT_MS, 200);
    assert_says("silent for 200 ms: two devices seem to share this client ID");
}

static void test_authorization(void **state)
{
    (void)state;
    begin(CAUSE_AUTH_BAD_PASSWORD, "10.0.0.1:1");
    evidence_str(&e, EV_USER, "al\nice\"");
    assert_text("The user exists but the password is wrong (user \"al?ice?\").");
    begin(CAUSE_TOPIC_PUBLISH, "10.0.0.1:1");
    evidence_str(&e, EV_TOPIC, "secret/x");
    evidence_u64(&e, EV_QOS, 1);
    evidence_str(&e, EV_RULE, "no permission matches");
    assert_text("The device may not publish to \"secret/x\" (QoS 1); decided by: no permission "
                "matches.");
    rec.cause = CAUSE_TOPIC_SUBSCRIBE;
    assert_says("may not subscribe to \"secret/x\"");
    rec.cause = CAUSE_TOPIC_WILL;
    assert_says("will may not go to \"secret/x\"");
}

static void test_lost(void **state)
{
    (void)state;
    begin(CAUSE_PEER_FIN, "10.0.0.1:1");
    evidence_u64(&e, EV_DURATION_MS, 11100000);
    evidence_str(&e, EV_LAST_IN_TYPE, "PUBLISH");
    evidence_u64(&e, EV_LAST_IN_AGO_MS, 250);
    evidence_u64(&e, EV_INFLIGHT, 3);
    evidence_u64(&e, EV_WILL_SENT, 1);
    assert_text(
        "The device closed the TCP connection without DISCONNECT after 3 h 5 min; its last "
        "packet was PUBLISH 250 ms before; it had not acknowledged 3 messages. Its will was "
        "published.");
    begin(CAUSE_PEER_TIMEOUT, "10.0.0.1:1");
    evidence_u64(&e, EV_TCP_RETRANSMITS, 15);
    evidence_str(&e, EV_ERRNO, "ETIMEDOUT");
    assert_says("(ETIMEDOUT)");
    assert_says("again 15 times without an answer");
}

static void test_by_intent(void **state)
{
    (void)state;
    begin(CAUSE_CLIENT_NORMAL, "10.0.0.1:1");
    evidence_u64(&e, EV_DURATION_MS, 259200000);
    assert_text("The device said DISCONNECT after 3 d 0 h.");
    begin(CAUSE_SERVER_CRASH, "10.0.0.1:1");
    rec.time_us = 100000000;
    evidence_u64(&e, EV_LAST_ALIVE, 96000000);
    assert_says("last known connected 4 s before");
    begin(CAUSE_ADMIN_KICK, "10.0.0.1:1");
    evidence_str(&e, EV_BY, "admin");
    assert_text("An administrator closed the connection; by admin.");
}

static void test_bad_packets(void **state)
{
    (void)state;
    begin(CAUSE_LIMIT_PACKET_SIZE, "10.0.0.1:1");
    evidence_u64(&e, EV_LIMIT, 1024);
    evidence_u64(&e, EV_ACTUAL, 4096);
    assert_text("The device sent a packet larger than the limit (4096, the limit is 1024).");
    begin(CAUSE_PROTOCOL_MALFORMED, "10.0.0.1:1");
    evidence_str(&e, EV_PACKET_TYPE, "PUBLISH");
    evidence_str(&e, EV_CLAUSE, "MQTT-3.3.1-4");
    evidence_u64(&e, EV_OFFSET, 0);
    evidence_bytes(&e, EV_FIRST_BYTES, slice_make("\x36\x00", 2));
    assert_text("The device sent a packet that cannot be decoded; the packet: PUBLISH; broken: "
                "MQTT-3.3.1-4, at byte 0; first bytes 36 00.");
    begin(CAUSE_HANDSHAKE_NOT_MQTT, "10.0.0.1:1");
    rec.flags = RECORD_UNIDENTIFIED | RECORD_COLLAPSED;
    evidence_bytes(&e, EV_FIRST_BYTES, slice_str("GET / HTTP/1.1\r\n"));
    evidence_str(&e, EV_FIRST_BYTES_LOOK, "HTTP");
    evidence_u64(&e, EV_COUNT, 17);
    evidence_u64(&e, EV_FIRST_TIME, 1000000);
    evidence_u64(&e, EV_LAST_TIME, 31000000);
    assert_says("they look like HTTP. This row stands for 17 of them within 30 s.");
}

static void test_gap(void **state)
{
    (void)state;
    begin(CAUSE_SERVER_INTERNAL, "");
    rec.flags = RECORD_GAP;
    evidence_u64(&e, EV_COUNT, 12);
    evidence_u64(&e, EV_FIRST_TIME, 0);
    evidence_u64(&e, EV_LAST_TIME, 2000000);
    assert_text("12 records within 2 s could not be kept.");
}

/* Everything at its longest, under every cause: cut, terminated, never beyond the buffers. */
static void test_longest(void **state)
{
    (void)state;
    char longer[RECORD_STR_MAX];
    memset(longer, 'w', sizeof longer);
    for (int c = 0; c < CAUSE_COUNT; c++) {
        for (unsigned k = 0; k < EV_COUNT_OF_KEYS; k++) {
            begin((enum cause)c, "10.0.0.1:1");
            rec.user = slice_make(longer, sizeof longer);
            static const enum evidence_key strings[] = {EV_RULE, EV_TEXT, EV_CLAUSE};
            for (size_t i = 0; i < 3; i++) {
                evidence_bytes(&e, strings[i], slice_make(longer, sizeof longer));
            }
            enum evidence_key key = (enum evidence_key)k;
            enum evidence_type t = evidence_info(key)->type;
            if (t == EVT_STR || t == EVT_HEX) {
                evidence_bytes(&e, key, slice_make(longer, sizeof longer));
            } else if (t != EVT_CHANNEL && t != EVT_I64) {
                evidence_u64(&e, key, UINT64_MAX);
            }
            make();
            assert_true(strnlen(v.text, sizeof v.text) < sizeof v.text);
            assert_true(strnlen(v.next, sizeof v.next) < sizeof v.next);
            assert_true(v.text[0] != '\0');
            size_t n = strlen(v.text);
            assert_true(n + 8 < sizeof v.text || strcmp(v.text + n - 3, "…") == 0);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_cause_without_evidence),
        cmocka_unit_test(test_no_heart),
        cmocka_unit_test(test_conflict),
        cmocka_unit_test(test_accepted_after_conflict),
        cmocka_unit_test(test_authorization),
        cmocka_unit_test(test_lost),
        cmocka_unit_test(test_by_intent),
        cmocka_unit_test(test_bad_packets),
        cmocka_unit_test(test_gap),
        cmocka_unit_test(test_longest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
