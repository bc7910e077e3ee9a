/* Sessions: order and packet IDs of the outbox, window, acknowledgements in any order, QoS 2, resuming, restoring. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/qsbr.h"
#include "broker/session.h"
#include "mqtt/packet.h"
#include "random.h"

static struct session *s;
static struct session_limits limits;

static int setup(void **state)
{
    (void)state;
    limits =
        (struct session_limits){.inflight_max = 10, .queue_max = 100, .queue_bytes_max = 1 << 20};
    s = session_new(1, slice_str("client"), 42, false);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    session_free(s);
    session_free(NULL);
    return 0;
}

static bool queue(uint32_t number, uint8_t qos)
{
    struct message *m = message_new(slice_str("t"), slice_make(&number, sizeof number), qos, false);
    bool room = !session_full(s, &limits, message_bytes(m));
    if (room) {
        session_queue(s, m, qos, false, 0, 0);
    }
    message_unref(m);
    return room;
}

static bool queue_message(struct message *m)
{
    bool room = !session_full(s, &limits, message_bytes(m));
    if (room) {
        session_queue(s, m, 1, false, 0, 0);
    }
    return room;
}

static uint32_t number_of(const struct out_entry *e)
{
    uint32_t number;
    assert_int_equal(message_payload(e->msg).n, sizeof number);
    memcpy(&number, message_payload(e->msg).p, sizeof number);
    return number;
}

/* Sends the next entry and says what it was; fails when there is none. */
static uint16_t send_next(uint32_t number, bool dup)
{
    uint16_t id = 0;
    struct out_entry *e = session_next(s, limits.inflight_max, &id);
    assert_non_null(e);
    assert_int_equal(number_of(e), number);
    assert_int_equal(e->sent_before, dup);
    assert_true(id != 0);
    session_sent(s);
    return id;
}

static void send_none(void)
{
    uint16_t id = 0;
    assert_null(session_next(s, limits.inflight_max, &id));
}

static enum ack_result ack(unsigned type, uint16_t id)
{
    uint64_t order = 0;
    bool stored = true;
    struct message *m = NULL;
    enum ack_result r = session_ack(s, type, id, &order, &stored, &m);
    if (r != ACK_UNKNOWN) {
        assert_int_equal(session_packet_id(order), id);
        assert_false(stored);
    }
    if (m != NULL) {
        assert_true(r != ACK_UNKNOWN);
        message_unref(m);
    }
    return r;
}

static void test_empty(void **state)
{
    (void)state;
    send_none();
    session_resume(s);
    assert_int_equal(session_queued(s), 0);
    assert_int_equal(ack(MQTT_PUBACK, 1), ACK_UNKNOWN);
    assert_null(session_entry(s, 0));
    assert_false(session_in_remove(s, 1));
    assert_int_equal(session_in_count(s), 0);
    assert_memory_equal(session_client_id(s).p, "client", 6);
}

static void test_order_and_window(void **state)
{
    (void)state;
    uint16_t ids[30];
    for (uint32_t i = 0; i < 30; i++) {
        assert_true(queue(i, 1));
    }
    for (uint32_t i = 0; i < 10; i++) {
        ids[i] = send_next(i, false);
    }
    send_none(); /* the window is full */
    assert_int_equal(ack(MQTT_PUBACK, ids[3]), ACK_DONE);
    ids[10] = send_next(10, false);
    send_none();
    uint32_t next = 11;
    for (uint32_t i = 0; i < 30; i++) {
        if (i == 3) {
            continue;
        }
        assert_int_equal(ack(MQTT_PUBACK, ids[i]), ACK_DONE);
        if (next < 30) {
            ids[next] = send_next(next, false);
            next++;
        }
    }
    assert_int_equal(session_queued(s), 0);
    assert_int_equal(s->out->bytes, 0);
}

static void test_unknown_acks(void **state)
{
    (void)state;
    assert_true(queue(0, 1));
    assert_true(queue(1, 2));
    assert_int_equal(ack(MQTT_PUBACK, 1), ACK_UNKNOWN); /* not sent yet */
    uint16_t a = send_next(0, false), b = send_next(1, false);
    assert_int_equal(ack(MQTT_PUBACK, 0), ACK_UNKNOWN);
    assert_int_equal(ack(MQTT_PUBACK, (uint16_t)(b + 1)), ACK_UNKNOWN);
    assert_int_equal(ack(MQTT_PUBREC, a), ACK_UNKNOWN);
    assert_int_equal(ack(MQTT_PUBCOMP, a), ACK_UNKNOWN);
    assert_int_equal(ack(MQTT_PUBACK, b), ACK_UNKNOWN);
    assert_int_equal(ack(MQTT_PUBCOMP, b), ACK_UNKNOWN); /* no PUBREC before */
    assert_int_equal(ack(MQTT_PUBACK, a), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBACK, a), ACK_UNKNOWN);
    assert_int_equal(session_queued(s), 1);
}

static void test_qos2(void **state)
{
    (void)state;
    assert_true(queue(7, 2));
    uint16_t id = send_next(7, false);
    assert_int_equal(ack(MQTT_PUBREC, id), ACK_RELEASE);
    assert_int_equal(ack(MQTT_PUBREC, id), ACK_RELEASE); /* repeated: PUBREL again */
    assert_int_equal(s->out->bytes, 0);
    assert_int_equal(session_queued(s), 1);

    session_resume(s); /* the PUBREL goes out again, not the message [MQTT-4.4.0-1] */
    uint64_t order = 0;
    assert_int_equal(session_released(s, &order), id);
    assert_int_equal(session_released(s, &order), 0);
    send_none();
    assert_int_equal(ack(MQTT_PUBCOMP, id), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBCOMP, id), ACK_UNKNOWN);
    assert_int_equal(session_queued(s), 0);
    send_none();
}

static void test_resume_in_order_with_dup(void **state)
{
    (void)state;
    uint16_t ids[6];
    for (uint32_t i = 0; i < 6; i++) {
        assert_true(queue(i, i % 2 == 0 ? 1 : 2));
    }
    for (uint32_t i = 0; i < 4; i++) {
        ids[i] = send_next(i, false);
    }
    assert_int_equal(ack(MQTT_PUBREC, ids[1]), ACK_RELEASE);
    assert_int_equal(ack(MQTT_PUBACK, ids[2]), ACK_DONE);
    session_resume(s);
    assert_int_equal(ack(MQTT_PUBACK, ids[0]), ACK_UNKNOWN); /* not sent on this connection */
    uint64_t order = 0;
    assert_int_equal(session_released(s, &order), ids[1]);
    assert_int_equal(session_released(s, &order), 0);
    assert_int_equal(send_next(0, true), ids[0]);
    assert_int_equal(send_next(3, true), ids[3]); /* 1 is released, 2 is done: not again */
    ids[4] = send_next(4, false);
    ids[5] = send_next(5, false);
    send_none();
    assert_int_equal(ack(MQTT_PUBCOMP, ids[1]), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBREC, ids[5]), ACK_RELEASE);
    assert_int_equal(ack(MQTT_PUBREC, ids[3]), ACK_RELEASE);
    assert_int_equal(ack(MQTT_PUBCOMP, ids[5]), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBCOMP, ids[3]), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBACK, ids[4]), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBACK, ids[0]), ACK_DONE);
    assert_int_equal(session_queued(s), 0);
}

static void test_queue_limits(void **state)
{
    (void)state;
    for (uint32_t i = 0; i < 100; i++) {
        assert_true(queue(i, 1));
    }
    assert_false(queue(100, 1));
    uint16_t id = send_next(0, false);
    assert_false(queue(100, 1)); /* in flight counts */
    assert_int_equal(ack(MQTT_PUBACK, id), ACK_DONE);
    assert_true(queue(100, 1));
    assert_int_equal(session_queued(s), 100);
}

static void test_byte_limit(void **state)
{
    (void)state;
    static const uint8_t big[10000];
    limits.queue_bytes_max = 30000;
    for (int i = 0; i < 5; i++) {
        struct message *m = message_new(slice_str("t"), slice_make(big, sizeof big), 1, false);
        assert_int_equal(queue_message(m), i < 2);
        message_unref(m);
    }
    session_free(s);
    s = session_new(1, slice_str("client"), 42, false);
    limits.queue_bytes_max = 100; /* one message always fits, however large */
    struct message *m = message_new(slice_str("t"), slice_make(big, sizeof big), 1, false);
    assert_true(queue_message(m));
    assert_false(queue_message(m));
    message_unref(m);
}

/* A packet ID is never in use twice, whatever is acknowledged in which order, over several turns of the IDs. */
static void test_ids_across_the_wrap(void **state)
{
    (void)state;
    static uint32_t in_use[65536]; /* number + 1 by packet ID */
    static uint16_t flying[1000];
    struct random r = {3};
    uint32_t queued = 0, sent = 0, count = 0;
    limits = (struct session_limits){
        .inflight_max = 1000, .queue_max = 5000, .queue_bytes_max = 1 << 30};
    while (sent < 200000) {
        while (queued < sent + 2000 && queue(queued, 1)) {
            queued++;
        }
        uint16_t id;
        struct out_entry *e;
        while ((e = session_next(s, limits.inflight_max, &id)) != NULL) {
            assert_int_equal(number_of(e), sent);
            assert_int_equal(in_use[id], 0);
            in_use[id] = ++sent;
            session_sent(s);
            flying[count++] = id;
        }
        assert_true(count > 0);
        for (uint32_t n = random_below(&r, count) + 1; n > 0; n--) {
            /* the oldest is seldom among them, but now and then */
            uint32_t at = random_below(&r, 20) == 0 ? 0 : random_below(&r, count);
            assert_int_equal(ack(MQTT_PUBACK, flying[at]), ACK_DONE);
            in_use[flying[at]] = 0;
            for (uint32_t k = at + 1; k < count; k++) {
                flying[k - 1] = flying[k];
            }
            count--;
        }
    }
}

/* The oldest is never acknowledged: the window of IDs ends before one would be given again. */
static void test_the_oldest_holds_its_id(void **state)
{
    (void)state;
    uint32_t queued = 0;
    uint16_t id, last = 0;
    limits = (struct session_limits){
        .inflight_max = 10, .queue_max = 200000, .queue_bytes_max = 1 << 30};
    for (uint32_t i = 0; i < 70000; i++) {
        assert_true(queue(queued++, 1));
    }
    uint16_t first = send_next(0, false);
    uint32_t sent = 1;
    while (session_next(s, limits.inflight_max, &id) != NULL) {
        assert_int_not_equal(id, first);
        session_sent(s);
        sent++;
        assert_int_equal(ack(MQTT_PUBACK, id), ACK_DONE);
        last = id;
    }
    assert_int_equal(sent, 65535);
    assert_int_equal(ack(MQTT_PUBACK, last), ACK_UNKNOWN);
    assert_int_equal(ack(MQTT_PUBACK, first), ACK_DONE);
    assert_int_equal(send_next(65535, false), first);
}

/* It ends with its connection: what was sent is not kept, only its place until it is acknowledged. */
static void test_nothing_is_kept_that_is_never_sent_again(void **state)
{
    (void)state;
    uint16_t id = 0;
    session_free(s);
    s = session_new(1, slice_str("client"), 42, true);
    assert_int_equal(session_pass(s, &limits, 2, 1), 1);
    assert_true(queue(7, 2));
    assert_int_equal(session_pass(s, &limits, 2, 1), 0); /* that waits before it */
    assert_non_null(session_next(s, 2, &id));
    struct message *m = session_sent(s);
    assert_non_null(m);
    message_unref(m);
    assert_int_equal(s->out->bytes, 0);
    assert_int_equal(session_queued(s), 2);
    assert_int_equal(session_pass(s, &limits, 2, 1), 0); /* the window is full */
    assert_int_equal(ack(MQTT_PUBACK, 1), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBREC, id), ACK_RELEASE);
    assert_int_equal(ack(MQTT_PUBCOMP, id), ACK_DONE);
    assert_int_equal(session_queued(s), 0);
    assert_int_equal(session_pass(s, &limits, 2, 1), 3);
    limits.queue_max = 1;
    assert_int_equal(session_pass(s, &limits, 2, 1), 0);
    s->expiry_s = 60;
    limits.queue_max = 100;
    assert_int_equal(session_pass(s, &limits, 2, 1), 0);
    assert_true(queue(8, 1));
    assert_int_equal(send_next(8, false), 4);
    session_resume(s);
}

/* Of a shared subscription: another member may get it yet. */
static void test_what_others_may_get_is_kept(void **state)
{
    (void)state;
    uint16_t id;
    session_free(s);
    s = session_new(1, slice_str("client"), 42, true);
    struct message *m = message_new(slice_str("t"), slice_str("x"), 1, false);
    session_queue(s, m, 1, false, 0, 5);
    message_unref(m);
    assert_non_null(session_next(s, 2, &id));
    assert_null(session_sent(s));
    assert_ptr_equal(session_entry(s, 0)->msg, m);
}

/* A PUBREL is repeated although the window is shut, and is part of it; its PUBCOMP may come before what stands before it. */
static void test_pubrels_wait_for_no_window(void **state)
{
    (void)state;
    uint16_t ids[4];
    for (uint32_t i = 0; i < 4; i++) {
        assert_true(queue(i, 2));
        ids[i] = send_next(i, false);
    }
    assert_int_equal(ack(MQTT_PUBREC, ids[1]), ACK_RELEASE);
    assert_int_equal(ack(MQTT_PUBREC, ids[3]), ACK_RELEASE);
    limits.inflight_max = 2;
    session_resume(s);
    uint64_t order = 0;
    assert_int_equal(session_released(s, &order), ids[1]);
    assert_int_equal(session_released(s, &order), ids[3]);
    assert_int_equal(session_released(s, &order), 0);
    send_none();
    assert_int_equal(ack(MQTT_PUBCOMP, ids[3]), ACK_DONE);
    assert_int_equal(send_next(0, true), ids[0]);
    send_none();
    assert_int_equal(ack(MQTT_PUBCOMP, ids[1]), ACK_DONE);
    assert_int_equal(send_next(2, true), ids[2]);
    assert_int_equal(session_queued(s), 2);
}

/* One that is never acknowledged is one in the queue, however many went past it; the room of the blanks is bounded, too. */
static void test_one_unacknowledged_holds_nobody_up(void **state)
{
    (void)state;
    limits = (struct session_limits){
        .inflight_max = 10, .queue_max = 20, .queue_bytes_max = 40 * sizeof(struct out_entry)};
    assert_true(queue(0, 1));
    uint16_t first = send_next(0, false);
    uint32_t n = 1;
    while (n < 1000 && queue(n, 1)) {
        assert_int_equal(ack(MQTT_PUBACK, send_next(n, false)), ACK_DONE);
        assert_int_equal(session_queued(s), 1);
        n++;
    }
    assert_true(n > 25 && n < 41);
    assert_int_equal(ack(MQTT_PUBACK, first), ACK_DONE);
    assert_int_equal(session_queued(s), 0);
    assert_true(queue(n, 1));
}

static void test_incoming_qos2(void **state)
{
    (void)state;
    for (int round = 0; round < 3; round++) {
        for (uint16_t id = 1; id < 300; id++) {
            assert_true(session_in_add(s, id));
            assert_false(session_in_add(s, id)); /* a repetition is not delivered again */
        }
        assert_int_equal(session_in_count(s), 299);
        for (uint16_t id = 299; id > 0; id = (uint16_t)(id - 1)) {
            assert_true(session_in_remove(s, id));
            assert_false(session_in_remove(s, id));
        }
        assert_int_equal(session_in_count(s), 0);
    }
}

static struct message *stored_message(uint32_t number)
{
    return message_new(slice_str("t"), slice_make(&number, sizeof number), 2, false);
}

static void restore(uint64_t order, uint32_t number, uint8_t qos, uint8_t state)
{
    struct message *m = state == OUT_RELEASED ? NULL : stored_message(number);
    session_restore(s, order, m, qos, false, state, 0, 0);
    if (m != NULL) {
        message_unref(m);
    }
}

static enum ack_result ack_stored(unsigned type, uint16_t id, uint64_t expected)
{
    uint64_t order = 0;
    bool stored = false;
    struct message *m = NULL;
    enum ack_result r = session_ack(s, type, id, &order, &stored, &m);
    if (r != ACK_UNKNOWN) {
        assert_int_equal(order, expected);
        assert_true(stored);
    }
    if (m != NULL) {
        message_unref(m);
    }
    return r;
}

static void test_restore_with_gaps(void **state)
{
    (void)state;
    const uint64_t base = UINT64_C(65535) * 5 + 65530; /* the IDs wrap within */
    restore(base, 0, 1, OUT_SENT);
    restore(base + 3, 3, 2, OUT_RELEASED); /* 1 and 2 were acknowledged */
    restore(base + 4, 4, 2, OUT_SENT);
    restore(base + 9, 9, 1, OUT_WAITING);
    assert_int_equal(session_queued(s), 4);
    assert_int_equal(s->persist_from, base + 10);
    assert_non_null(session_entry(s, base + 9));
    assert_null(session_entry(s, base + 10));
    assert_true(queue(10, 1)); /* behind them */
    session_resume(s);

    uint64_t order = 0;
    assert_int_equal(session_released(s, &order), session_packet_id(base + 3));
    assert_int_equal(session_released(s, &order), 0);
    assert_int_equal(send_next(0, true), session_packet_id(base));
    assert_int_equal(send_next(4, true), session_packet_id(base + 4));
    assert_int_equal(send_next(9, false), session_packet_id(base + 9));
    uint16_t fresh = send_next(10, false);
    assert_int_equal(fresh, session_packet_id(base + 10));
    send_none();

    assert_int_equal(ack_stored(MQTT_PUBACK, session_packet_id(base + 1), 0), ACK_UNKNOWN);
    assert_int_equal(ack_stored(MQTT_PUBACK, session_packet_id(base + 9), base + 9), ACK_DONE);
    assert_int_equal(ack_stored(MQTT_PUBREC, session_packet_id(base + 4), base + 4), ACK_RELEASE);
    assert_int_equal(ack_stored(MQTT_PUBCOMP, session_packet_id(base + 4), base + 4), ACK_DONE);
    assert_int_equal(ack_stored(MQTT_PUBCOMP, session_packet_id(base + 3), base + 3), ACK_DONE);
    assert_int_equal(ack_stored(MQTT_PUBACK, session_packet_id(base), base), ACK_DONE);
    assert_int_equal(ack(MQTT_PUBACK, fresh), ACK_DONE);
    assert_int_equal(session_queued(s), 0);
    assert_int_equal(s->out->head, s->out->tail);
}

/* A few stand in a list, many have a table: both are met here, and the way between them. */
static void test_finds_its_own_subscriptions(void **state)
{
    enum { SESSIONS = 3, FILTERS = 60 };
    static const char *const heads[] = {"a/", "a/+/", "", "$share/g/a/"};
    static const char *const tails[] = {"", "", "/#", "/+"};
    struct qsbr q;
    struct session *all[SESSIONS];
    struct topic_sub *subs[SESSIONS][FILTERS] = {{NULL}};
    struct random r = {.state = 7};
    char text[32];
    (void)state;
    qsbr_init(&q, 1);
    qsbr_online(&q, 0);
    struct topics *t = topics_new(1, &q);
    for (size_t i = 0; i < SESSIONS; i++) {
        all[i] = session_new(0, slice_str("many"), i, false);
    }
    for (uint32_t step = 0; step < 5000; step++) {
        uint32_t who = random_below(&r, SESSIONS);
        uint32_t n = random_below(&r, who == 0 ? 4 : FILTERS); /* one has few */
        (void)snprintf(text, sizeof text, "%s%u%s", heads[n % 4], n, tails[n % 4]);
        struct topic_sub *found = session_sub_find(all[who], slice_str(text));
        assert_ptr_equal(found, subs[who][n]);
        if (found == NULL) {
            subs[who][n] = mem_new(1, sizeof(struct topic_sub));
            session_sub_link(all[who], subs[who][n], slice_str(text));
            topics_add(t, 0, 0, slice_str(text), subs[who][n]);
        } else {
            topics_remove(t, 0, found);
            session_sub_unlink(all[who], found);
            free(found);
            subs[who][n] = NULL;
        }
        qsbr_quiescent(&q, 0);
    }
    for (size_t i = 0; i < SESSIONS; i++) {
        while (all[i]->subs != NULL) {
            struct topic_sub *sub = all[i]->subs;
            topics_remove(t, 0, sub);
            session_sub_unlink(all[i], sub);
            free(sub);
        }
        assert_int_equal(all[i]->sub_count, 0);
        session_free(all[i]);
    }
    topics_free(t);
    qsbr_offline(&q, 0);
    qsbr_fini(&q);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_empty),
        TEST(test_order_and_window),
        TEST(test_unknown_acks),
        TEST(test_qos2),
        TEST(test_resume_in_order_with_dup),
        TEST(test_queue_limits),
        TEST(test_byte_limit),
        TEST(test_ids_across_the_wrap),
        TEST(test_the_oldest_holds_its_id),
        TEST(test_nothing_is_kept_that_is_never_sent_again),
        TEST(test_what_others_may_get_is_kept),
        TEST(test_pubrels_wait_for_no_window),
        TEST(test_one_unacknowledged_holds_nobody_up),
        TEST(test_incoming_qos2),
        TEST(test_restore_with_gaps),
        TEST(test_finds_its_own_subscriptions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
