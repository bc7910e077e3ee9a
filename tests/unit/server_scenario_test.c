/*
 * Scenarios of whole connections: what the clients do, how time passes, and which packets and which records come of it.
 * What must be in the store before it is said: server_durable_test.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server_scenario.h"

static struct client *with_keepalive(const char *id, uint16_t seconds)
{
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(id, true);
    p.keepalive = seconds;
    h_send_connect(&h, c, &p);
    h_settle(&h);
    SAYS(c, "CONNACK 0");
    RECORDS("connect dev accepted.new");
    return c;
}

/* Bytes that have arrived although no event has told so. */
static void arrive_untold(struct client *c, const char *bytes, size_t n)
{
    buf_put(&c->input, bytes, n);
    c->mem.in = c->input.p;
    c->mem.in_len = buf_len(&c->input);
}

/* ---- time ---- */

static void no_heart_after_one_and_a_half_keepalives(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = with_keepalive("dev", 10);
    h_pass(&h, 10000);
    h_send_pingreq(&h, c);
    h_pass(&h, 14900);
    SAYS(c, "PINGRESP");
    RECORDS("");
    h_pass(&h, 200);
    RECORDS("close dev keepalive.expired");
    const struct record *r = h_record(CAUSE_KEEPALIVE_EXPIRED);
    assert_int_equal(h_evidence(r, EV_KEEPALIVE_ASKED), 10);
    assert_int_equal(h_evidence(r, EV_DEADLINE_MS), 15000);
    assert_in_range(h_evidence(r, EV_SILENT_MS), 15000, 15100);
    assert_true(c->mem.closed);
}

static void no_keepalive_no_deadline(void **state)
{
    (void)state;
    h_start(&h, 1);
    (void)with_keepalive("dev", 0);
    h_pass(&h, 600000);
    RECORDS("");
}

static void unread_bytes_are_a_heartbeat(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = with_keepalive("dev", 10);
    h_pass(&h, 14000);
    arrive_untold(c, "\xc0\x00", 2);
    h_pass(&h, 14000);
    SAYS(c, "PINGRESP");
    RECORDS("");
    h_pass(&h, 3000);
    RECORDS("close dev keepalive.expired");
}

static void our_own_stall_extends_the_deadline(void **state)
{
    (void)state;
    h_start(&h, 1);
    (void)with_keepalive("dev", 10);
    h_stall(&h, 20000);
    RECORDS("");
    h_pass(&h, 14900);
    RECORDS("");
    h_pass(&h, 200);
    RECORDS("close dev keepalive.expired");
}

/* A publisher of worker 0 whose mail fills worker 1's inbox, which nobody empties. */
static struct client *paused_publisher(void)
{
    h.config.mailbox_bytes = 100;
    h_start(&h, 2);
    struct client *sub = h_subscribed(&h, h_id_of(&h, 1, "sub"), true, "t", 0);
    (void)sub;
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(h_id_of(&h, 0, "pub"), true);
    p.keepalive = 10;
    h_send_connect(&h, c, &p);
    h_settle(&h);
    SAYS(c, "CONNACK 0");
    (void)h_records(&h);
    h_send_publish(&h, c, "t", "0123456789012345678901234567890123456789", 0, 0);
    h_send_publish(&h, c, "t", "0123456789012345678901234567890123456789", 0, 0);
    h_round(&h, 0);
    return c;
}

static void pass_on_worker_0(uint64_t ms)
{
    for (uint64_t i = 0; i < ms; i += 50) {
        fake_time.mono_ms += 50;
        fake_time.wall_us += 50000;
        h_round(&h, 0);
    }
}

static void a_pause_of_reading_extends_the_deadline(void **state)
{
    (void)state;
    struct client *c = paused_publisher();
    h_send_pingreq(&h, c);
    pass_on_worker_0(60000);
    SAYS(c, ""); /* unread */
    RECORDS("");
    h_pass(&h, 14000);
    SAYS(c, "PINGRESP");
    RECORDS("");
}

static void nobody_expires_unread_while_reading_waits(void **state)
{
    (void)state;
    struct client *c = paused_publisher();
    pass_on_worker_0(14000);
    RECORDS("");
    arrive_untold(c, "\xc0\x00", 2);
    pass_on_worker_0(10000);
    RECORDS("");
    h_settle(&h);
    h_pass(&h, 100);
    SAYS(c, "PINGRESP");
}

static void waiting_for_the_rate_extends_the_deadline(void **state)
{
    static const char text[] =
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234";
    (void)state;
    h.config.max_publish_bytes_rate = 10;
    h_start(&h, 1);
    struct client *c = with_keepalive("dev", 2);
    h_send_publish(&h, c, "t", text, 0, 0); /* 90 bytes: nine seconds' worth */
    h_send_publish(&h, c, "t", "x", 1, 7);
    h_settle(&h);
    SAYS(c, "");
    h_pass(&h, 7900);
    SAYS(c, "");
    RECORDS("");
    h_pass(&h, 300);
    SAYS(c, "PUBACK 7");
    h_pass(&h, 2900); /* the second one, too, was a little over it */
    RECORDS("");
    h_pass(&h, 1500);
    RECORDS("close dev keepalive.expired");
}

static void a_slow_consumer(void **state)
{
    (void)state;
    h.config.slow_consumer_timeout_ms = 20000;
    h_start(&h, 1);
    struct client *c = h_subscribed(&h, "dev", true, "t", 0);
    struct client *pub = h_connected(&h, "pub", true);
    (void)h_records(&h);
    h_write_room(&h, c, 3);
    h_send_publish(&h, pub, "t", "x", 0, 0);
    h_pass(&h, 15000);
    h_send_pingreq(&h, c); /* it lives */
    h_write_room(&h, c, 1);
    h_pass(&h, 19000);
    RECORDS("");
    h_pass(&h, 11000);
    RECORDS("close dev limit.slow_consumer");
    const struct record *r = h_record(CAUSE_LIMIT_SLOW_CONSUMER);
    assert_in_range(h_evidence(r, EV_STALLED_MS), 20000, 26000);
    assert_int_equal(h_evidence(r, EV_UNSENT_BYTES), 4); /* of PUBLISH 2, PINGRESP 2 */
    assert_true(c->mem.closed);
}

static void output_that_waits_for_no_time(void **state)
{
    (void)state;
    h_start(&h, 1); /* slow_consumer_timeout: 0 */
    struct client *c = h_subscribed(&h, "dev", true, "t", 0);
    struct client *pub = h_connected(&h, "pub", true);
    (void)h_records(&h);
    h_write_room(&h, c, 0);
    h_send_publish(&h, pub, "t", "x", 0, 0);
    h_pass(&h, 3600000);
    RECORDS("");
    h_write_room(&h, c, SIZE_MAX);
    h_settle(&h);
    SAYS(c, "PUBLISH t=x");
}

static void a_handshake_has_its_time(void **state)
{
    (void)state;
    h_start(&h, 1);
    (void)h_open(&h, 0);
    struct client *c = h_open(&h, 0);
    h_feed(&h, c, slice_make("\x10\x20\x00\x04MQTT", 8));
    h_pass(&h, 9900);
    RECORDS("");
    h_pass(&h, 200);
    RECORDS("close - handshake.timeout; close - handshake.timeout");
}

/* ---- how connections end ---- */

static void disconnect_is_disconnect(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = h_connected(&h, "dev", true);
    h_send_disconnect(&h, c);
    h_settle(&h);
    RECORDS("connect dev accepted.new; disconnect dev client.normal");
    assert_false(c->mem.closed); /* the client closes first */
    h_end(&h, c, 0);
    h_settle(&h);
    assert_true(c->mem.closed);
    struct client *lazy = h_connected(&h, "lazy", true);
    h_send_disconnect(&h, lazy);
    h_pass(&h, 1100);
    assert_true(lazy->mem.closed);
    RECORDS("connect lazy accepted.new; disconnect lazy client.normal");
}

/* A subscriber whose next write fails, and a message for it. */
static struct client *write_fails(const char *then, size_t n, int end)
{
    struct client *c = h_subscribed(&h, "dev", true, "t", 0);
    struct client *pub = h_connected(&h, "pub", true);
    (void)h_records(&h);
    c->mem.write_error = -EPIPE;
    arrive_untold(c, then, n);
    c->mem.in_end = end;
    h_send_publish(&h, pub, "t", "x", 0, 0);
    h_settle(&h);
    return c;
}

static void a_disconnect_that_raced_our_write(void **state)
{
    (void)state;
    h_start(&h, 1);
    (void)write_fails("\xe0\x00", 2, -ECONNRESET);
    RECORDS("disconnect dev client.normal");
}

static void a_fin_that_raced_our_write(void **state)
{
    (void)state;
    h_start(&h, 1);
    (void)write_fails("", 0, 1);
    RECORDS("close dev peer.fin");
}

static void a_failed_write_and_nothing_to_read(void **state)
{
    (void)state;
    h_start(&h, 1);
    (void)write_fails("", 0, 0);
    RECORDS("close dev peer.reset");
}

static void errors_of_the_network(void **state)
{
    static const struct {
        int err;
        const char *record;
    } rows[] = {{-ECONNRESET, "close dev peer.reset"},
                {-ETIMEDOUT, "close dev peer.timeout"},
                {-EHOSTUNREACH, "close dev peer.unreachable"},
                {-EIO, "close dev peer.io_error"}};
    (void)state;
    h_start(&h, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client *c = h_connected(&h, "dev", true);
        (void)h_records(&h);
        h_end(&h, c, rows[i].err);
        h_settle(&h);
        RECORDS(rows[i].record);
    }
}

static void before_a_connect(void **state)
{
    static const struct {
        struct slice bytes;
        int end;
        const char *record;
    } rows[] = {
        {{NULL, 0}, 1, "close - handshake.empty"},
        {{NULL, 0}, -ECONNRESET, "close - handshake.empty"},
        {{(const uint8_t *)"\x10\x20", 2}, 1, "close - handshake.incomplete"},
        {{(const uint8_t *)"GET / HTTP/1.1\r\n", 16}, 0, "close - handshake.not_mqtt"},
        {{(const uint8_t *)"\x10\x0d\0\4MQTX\4\2\0\0\0\1d", 15}, 0, "close - protocol.malformed"}};
    (void)state;
    h_start(&h, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client *c = h_open(&h, 0);
        h_feed(&h, c, rows[i].bytes);
        if (rows[i].end != 0) {
            c->mem.in_end = rows[i].end;
        }
        h_settle(&h);
        const char *got = h_records(&h);
        /* which fault of the CONNECT is named is the codec's matter */
        assert_memory_equal(got, rows[i].record, i < 4 ? strlen(rows[i].record) + 1 : 5);
        assert_true(c->mem.closed);
    }
}

static void takeover_has_both_ends(void **state)
{
    (void)state;
    h_start(&h, 2);
    const char *id = h_id_of(&h, 1, "dev");
    struct client *old = h_connected(&h, id, false);
    h_pass(&h, 3000);
    struct client *young = h_connected(&h, id, false);
    assert_true(old->mem.closed);
    const struct record *loser = h_record(CAUSE_TAKEOVER_SAME_NODE);
    const struct record *winner = h_record(CAUSE_ACCEPTED_RESUMED);
    struct evidence_item item;
    assert_true(evidence_find(loser->detail, EV_OTHER_CHANNEL, &item));
    assert_memory_equal(item.bytes.p, young->channel, RECORD_CHANNEL_BYTES);
    assert_int_equal(h_evidence(loser, EV_OTHER_SILENT_MS), 3000);
    assert_true(evidence_find(winner->detail, EV_OTHER_CHANNEL, &item));
    assert_memory_equal(item.bytes.p, old->channel, RECORD_CHANNEL_BYTES);
    assert_int_equal(h_evidence(winner, EV_OTHER_CONNECTED_AT), loser->connected_at_us);
    assert_true(loser < winner);
}

static void kicked_and_revoked(void **state)
{
    (void)state;
    h_start(&h, 2);
    (void)h_connected(&h, "dev", true);
    (void)h_connected(&h, "other", true);
    (void)h_records(&h);
    assert_int_equal(h_kick(&h, slice_str("nobody")), -ENOENT);
    assert_int_equal(h_kick(&h, slice_str("dev")), 0);
    RECORDS("close dev admin.kick");
    h_settings_changed(&h);
    h_settle(&h);
    RECORDS("");
    fake_auth.revoked = true;
    h_settings_changed(&h);
    h_settle(&h);
    RECORDS("close other auth.revoked");
}

static void a_stop_ends_everybody(void **state)
{
    (void)state;
    h_start(&h, 2);
    fake_auth.slow = true;
    struct client *waits = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("waits", true);
    h_send_connect(&h, waits, &p);
    h_settle(&h);
    fake_auth.slow = false;
    (void)h_open(&h, 1);
    (void)h_connected(&h, "dev", true);
    (void)h_records(&h);
    h_stop(&h);
    const char *got = h_records(&h);
    assert_non_null(strstr(got, "close dev server.shutdown"));
    assert_non_null(strstr(got, "close waits server.shutdown"));
    assert_non_null(strstr(got, "close - server.shutdown"));
}

/* ---- CONNECT ---- */

static struct client *authenticating(const char *id)
{
    fake_auth.slow = true;
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(id, true);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    SAYS(c, "");
    return c;
}

static void fin_while_authenticating(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *c = authenticating("dev");
    h_end(&h, c, 0);
    h_settle(&h);
    RECORDS("close dev peer.fin");
    assert_true(h_auth_finish(&h));
    h_settle(&h);
    SAYS(c, "");
    RECORDS("");
    struct client *reset = authenticating("dev");
    h_end(&h, reset, -ECONNRESET);
    h_settle(&h);
    RECORDS("close dev peer.reset");
}

static void fin_while_authenticating_behind_pipelined_bytes(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *c = authenticating("dev");
    h_send_subscribe(&h, c, 1, "t", 0);
    h_send_disconnect(&h, c);
    h_end(&h, c, 0);
    h_settle(&h);
    RECORDS("");
    assert_true(h_auth_finish(&h));
    h_settle(&h);
    RECORDS("connect dev accepted.new; disconnect dev client.normal");
}

static void pipelined_across_the_move(void **state)
{
    (void)state;
    h_start(&h, 2);
    const char *id = h_id_of(&h, 1, "dev");
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(id, true);
    h_send_connect(&h, c, &p);
    h_send_subscribe(&h, c, 1, "t", 1);
    h_send_publish(&h, c, "t", "hello", 1, 7);
    h_settle(&h);
    SAYS(c, "CONNACK 0; SUBACK 1:1; PUBLISH t=hello q1 #1; PUBACK 7");
    assert_ptr_equal(c->conn->w, h.server->workers[1]);
}

static void byte_by_byte(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(h_id_of(&h, 1, "dev"), true);
    c->mem.read_limit = 1;
    h_send_connect(&h, c, &p);
    h_send_subscribe(&h, c, 1, "t", 1);
    h_send_publish(&h, c, "t", "hello", 2, 7);
    h_send_ack(&h, c, MQTT_PUBREL, 7);
    h_settle(&h);
    SAYS(c, "CONNACK 0; SUBACK 1:1; PUBLISH t=hello q1 #1; PUBREC 7; PUBCOMP 7");
}

static void refused(void **state)
{
    (void)state;
    h_start(&h, 2);
    fake_auth.refuse = CAUSE_AUTH_BAD_PASSWORD;
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("dev", true);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    SAYS(c, "CONNACK 5");
    RECORDS("close dev auth.bad_password");
    fake_auth.refuse = 0;
    fake_auth.deny = "secret/";
    struct client *will = h_open(&h, 0);
    p.will = (struct mqtt_will){.present = true, .topic = slice_str("secret/x")};
    h_send_connect(&h, will, &p);
    h_settle(&h);
    SAYS(will, "CONNACK 5");
    RECORDS("close dev topic.will");
}

static void too_many_connections(void **state)
{
    (void)state;
    h.config.max_connections = 1;
    h_start(&h, 1);
    (void)h_connected(&h, "one", true);
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("two", true);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    SAYS(c, "CONNACK 3");
    RECORDS("connect one accepted.new; close two limit.connections");
}

/* It came when all places were taken; one was given back before it said who it is. */
static void a_place_given_back_in_time(void **state)
{
    (void)state;
    h.config.max_connections = 1;
    h_start(&h, 1);
    struct client *one = h_connected(&h, "one", true);
    struct client *c = h_open(&h, 0);
    struct client *late = h_open(&h, 0);
    h_end(&h, one, 0);
    h_end(&h, late, 0);
    h_settle(&h);
    struct mqtt_connect p = h_connect_of("two", true);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    SAYS(c, "CONNACK 0");
    RECORDS("connect one accepted.new; close one peer.fin; close - handshake.empty; "
            "connect two accepted.new");
}

static void revoked_between_the_check_and_the_connack(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *first = h_connected(&h, "first", true);
    fake_trace.room = 0;
    h_end(&h, first, 0);
    h_settle(&h);
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("dev", true);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    fake_auth.revoked = true;
    h_settings_changed(&h);
    h_settle(&h);
    fake_trace.room = UINT32_MAX;
    h_pass(&h, 50);
    RECORDS("connect first accepted.new; close first peer.fin; close dev auth.revoked");
    SAYS(c, "CONNACK 5");
}

/* ---- no room in the ring ---- */

static void a_full_ring_holds_connects_back(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *a = h_connected(&h, "a", true), *b = h_connected(&h, "b", true);
    (void)h_records(&h);
    fake_trace.room = 0;
    h_end(&h, a, 0);
    h_settle(&h);
    h_end(&h, b, -ECONNRESET);
    h_settle(&h);
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("c", true);
    h_send_connect(&h, c, &p);
    h_pass(&h, 1000);
    assert_true(a->mem.closed && b->mem.closed); /* the descriptors do not wait */
    RECORDS("");
    SAYS(c, "");
    fake_trace.room = 1;
    h_pass(&h, 100);
    RECORDS("close a peer.fin");
    SAYS(c, "");
    fake_trace.room = 1;
    h_pass(&h, 100);
    RECORDS("close b peer.reset");
    SAYS(c, "");
    fake_trace.room = UINT32_MAX;
    h_pass(&h, 100);
    RECORDS("connect c accepted.new");
    SAYS(c, "CONNACK 0");
}

static void a_held_client_may_leave(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *a = h_connected(&h, "a", true);
    (void)h_records(&h);
    fake_trace.room = 0;
    h_end(&h, a, 0);
    h_settle(&h);
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("c", true);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    h_end(&h, c, 0);
    h_pass(&h, 100);
    fake_trace.room = UINT32_MAX;
    h_pass(&h, 100);
    RECORDS("close a peer.fin; close c peer.fin");
    SAYS(c, "");
}

/* The loser's ending finds no room, the smaller record of the winner would: it must not overtake. */
static void a_takeover_without_room_keeps_its_order_and_evidence(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *old = h_connected(&h, "dev", true);
    (void)h_records(&h);
    fake_trace.misses = 1;
    struct client *young = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("dev", true);
    h_send_connect(&h, young, &p);
    h_settle(&h);
    SAYS(young, "");
    RECORDS("");
    h_pass(&h, 100);
    SAYS(young, "CONNACK 0");
    RECORDS("close dev takeover.same_node; connect dev accepted.new");
    struct evidence_item item;
    const struct record *winner = h_record(CAUSE_ACCEPTED_NEW);
    assert_true(evidence_find(winner->detail, EV_OTHER_CHANNEL, &item));
    assert_memory_equal(item.bytes.p, old->channel, RECORD_CHANNEL_BYTES);
}

/* ---- messages ---- */

static void overlapping_subscriptions_give_one_copy(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *c = h_subscribed(&h, "dev", true, "a/b", 0);
    h_send_subscribe(&h, c, 2, "a/+", 2);
    h_send_subscribe(&h, c, 3, "#", 1);
    h_settle(&h);
    SAYS(c, "SUBACK 2:2; SUBACK 3:1");
    struct client *pub = h_connected(&h, "pub", true);
    h_send_publish(&h, pub, "a/b", "x", 2, 1);
    h_settle(&h);
    SAYS(c, "PUBLISH a/b=x q2 #1");
}

static void full_queues_drop_and_count(void **state)
{
    (void)state;
    h.config.max_queued_messages = 3;
    h.config.max_inflight = 1;
    h_start(&h, 2);
    struct client *c = h_subscribed(&h, "dev", true, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    (void)h_records(&h);
    for (uint16_t i = 1; i <= 5; i++) {
        h_send_publish(&h, pub, "t", "x", 1, i);
    }
    h_settle(&h);
    SAYS(pub, "PUBACK 1; PUBACK 2; PUBACK 3; PUBACK 4; PUBACK 5");
    SAYS(c, "PUBLISH t=x q1 #1");
    h_send_ack(&h, c, MQTT_PUBACK, 1);
    h_settle(&h);
    SAYS(c, "PUBLISH t=x q1 #2");
    h_end(&h, c, 0);
    h_settle(&h);
    const struct record *r = h_record(CAUSE_PEER_FIN);
    assert_int_equal(h_evidence(r, EV_DROPPED), 2);
    assert_int_equal(h_evidence(r, EV_INFLIGHT), 1);
    assert_int_equal(h_evidence(r, EV_QUEUED), 1);
}

static uint64_t queued_bytes(void)
{
    return atomic_load(&h.server->workers[0]->count.queued_bytes);
}

/* Its session ends with it: what it did not acknowledge is kept for nobody, and held nowhere meanwhile. */
static void what_is_sent_to_a_session_of_one_connection_is_gone(void **state)
{
    (void)state;
    h.config.max_inflight = 2;
    h_start(&h, 1);
    struct client *c = h_subscribed(&h, "dev", true, "t", 2);
    struct client *pub = h_connected(&h, "pub", true);
    h_send_publish(&h, pub, "t", "a", 1, 1);
    h_send_publish(&h, pub, "t", "b", 2, 2);
    h_settle(&h);
    SAYS(c, "PUBLISH t=a q1 #1; PUBLISH t=b q2 #2");
    assert_int_equal(queued_bytes(), 0);
    h_send_publish(&h, pub, "t", "c", 1, 3); /* behind the window it waits */
    h_settle(&h);
    SAYS(c, "");
    assert_int_not_equal(queued_bytes(), 0);
    h_send_ack(&h, c, MQTT_PUBREC, 2);
    h_send_ack(&h, c, MQTT_PUBACK, 1);
    h_settle(&h);
    SAYS(c, "PUBREL 2; PUBLISH t=c q1 #3");
    assert_int_equal(queued_bytes(), 0);
    SAYS(h_connected(&h, "dev", false), ""); /* not present, and nothing comes again */
    (void)h_says(&h, pub);
}

/* The same client with a session that outlives the connection. */
static void what_is_sent_to_a_kept_session_comes_again(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct mqtt_connect p = h_connect5_of("dev", true, 60);
    struct client *c = h_connecting(&h, &p);
    h_send_subscribe(&h, c, 1, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    h_send_publish(&h, pub, "t", "a", 1, 1);
    h_settle(&h);
    assert_int_not_equal(queued_bytes(), 0);
    p.clean_start = false;
    p.props.session_expiry = 0; /* the last connection of that session */
    c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0x0 present; PUBLISH t=a q1 #1 dup");
    h_end(&h, c, 0);
    h_settle(&h);
    assert_int_equal(queued_bytes(), 0);
}

static void a_blocked_client_loses_qos_0_only(void **state)
{
    static char large[3001];
    (void)state;
    memset(large, 'x', 3000);
    h.config.max_output_bytes = 8000;
    h_start(&h, 1);
    struct client *c = h_subscribed(&h, "dev", true, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    h_write_room(&h, c, 0);
    for (uint16_t i = 1; i <= 9; i++) {
        h_send_publish(&h, pub, "t", large, 0, 0);
        h_settle(&h);
    }
    h_send_publish(&h, pub, "t", "kept", 1, 1);
    h_settle(&h);
    h_write_room(&h, c, SIZE_MAX);
    h_settle(&h);
    SAYS(c, "PUBLISH t 3000 bytes; PUBLISH t 3000 bytes; PUBLISH t 3000 bytes; "
            "PUBLISH t=kept q1 #1");
    h_end(&h, c, 0);
    h_settle(&h);
    assert_int_equal(h_evidence(h_record(CAUSE_PEER_FIN), EV_DROPPED), 6);
}

/* Whatever part of it the kernel takes, the bytes are the same. */
static void large_payloads_in_any_pieces(void **state)
{
    static char large[1101];
    (void)state;
    memset(large, 'x', 1100);
    h_start(&h, 1);
    struct client *c = h_subscribed(&h, "dev", true, "t", 0);
    struct client *pub = h_connected(&h, "pub", true);
    static uint8_t first[4096];
    size_t at = c->mem.out_len, whole = 0;
    for (size_t room = 0; room <= whole; room++) {
        h_write_room(&h, c, room == 0 ? SIZE_MAX : room);
        h_send_publish(&h, pub, "t", large, 0, 0);
        h_send_publish(&h, pub, "t", "small", 0, 0);
        h_send_publish(&h, pub, "t", large, 0, 0);
        h_settle(&h);
        h_write_room(&h, c, SIZE_MAX);
        h_settle(&h);
        if (room == 0) {
            whole = c->mem.out_len - at;
            assert_in_range(whole, 2200, sizeof first);
            memcpy(first, c->mem.out + at, whole);
        }
        assert_int_equal(c->mem.out_len - at, whole);
        assert_memory_equal(c->mem.out + at, first, whole);
        c->mem.out_len = at;
        buf_clear(&pub->input); /* it has been read: keeps both small */
        pub->mem.in_at = pub->mem.in_len = 0;
    }
}

static void wills(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *sub = h_subscribed(&h, "sub", true, "w/#", 1);
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of("dev", true);
    p.will = (struct mqtt_will){
        .present = true, .qos = 1, .topic = slice_str("w/dev"), .payload = slice_str("gone")};
    h_send_connect(&h, c, &p);
    h_send_subscribe(&h, c, 1, "w/dev", 0);
    h_settle(&h);
    h_end(&h, c, 0);
    h_settle(&h);
    SAYS(sub, "PUBLISH w/dev=gone q1 #1");
    assert_int_equal(h_evidence(h_record(CAUSE_PEER_FIN), EV_WILL_SENT), 1);
    struct server_stats st;
    server_stats(h.server, &st);
    assert_int_equal(st.n.packets_out[MQTT_PUBLISH], 1); /* not to the client that is gone */
    struct client *polite = h_open(&h, 0);
    h_send_connect(&h, polite, &p);
    h_send_disconnect(&h, polite);
    h_settle(&h);
    SAYS(sub, "");
}

static void denied_topics(void **state)
{
    (void)state;
    h_start(&h, 1);
    fake_auth.deny = "secret/";
    fake_auth.on_denied = ON_DENIED_REFUSE;
    struct client *c = h_connected(&h, "dev", true);
    h_send_publish(&h, c, "secret/x", "x", 1, 5);
    h_send_subscribe(&h, c, 6, "secret/#", 1);
    h_settle(&h);
    SAYS(c, "PUBACK 5; SUBACK 6:128");
    fake_auth.on_denied = ON_DENIED_CLOSE;
    h_send_publish(&h, c, "secret/x", "x", 1, 7);
    h_settle(&h);
    SAYS(c, "");
    struct client *sub = h_connected(&h, "sub", true);
    h_send_subscribe(&h, sub, 6, "secret/#", 1);
    h_settle(&h);
    RECORDS("connect dev accepted.new; close dev topic.publish; connect sub accepted.new; "
            "close sub topic.subscribe");
}

static void limits_of_a_client(void **state)
{
    (void)state;
    h.config.receive_maximum = 2;
    h.config.max_subscriptions = 1;
    h.config.max_packet_size = 200;
    h_start(&h, 1);
    struct client *c = h_connected(&h, "a", true);
    for (uint16_t i = 1; i <= 3; i++) {
        h_send_publish(&h, c, "t", "x", 2, i);
    }
    struct client *b = h_subscribed(&h, "b", true, "t", 0);
    h_send_subscribe(&h, b, 2, "u", 0);
    h_settle(&h);
    struct client *d = h_connected(&h, "d", true);
    h_feed(&h, d, slice_make("\x30\xff\x01\x00", 4));
    h_settle(&h);
    RECORDS("connect a accepted.new; close a limit.receive_maximum; connect b accepted.new; "
            "close b limit.subscriptions; connect d accepted.new; close d limit.packet_size");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(no_heart_after_one_and_a_half_keepalives),
        TEST(no_keepalive_no_deadline),
        TEST(unread_bytes_are_a_heartbeat),
        TEST(our_own_stall_extends_the_deadline),
        TEST(a_pause_of_reading_extends_the_deadline),
        TEST(nobody_expires_unread_while_reading_waits),
        TEST(waiting_for_the_rate_extends_the_deadline),
        TEST(a_slow_consumer),
        TEST(output_that_waits_for_no_time),
        TEST(a_handshake_has_its_time),
        TEST(disconnect_is_disconnect),
        TEST(a_disconnect_that_raced_our_write),
        TEST(a_fin_that_raced_our_write),
        TEST(a_failed_write_and_nothing_to_read),
        TEST(errors_of_the_network),
        TEST(before_a_connect),
        TEST(takeover_has_both_ends),
        TEST(kicked_and_revoked),
        TEST(a_stop_ends_everybody),
        TEST(fin_while_authenticating),
        TEST(fin_while_authenticating_behind_pipelined_bytes),
        TEST(pipelined_across_the_move),
        TEST(byte_by_byte),
        TEST(refused),
        TEST(too_many_connections),
        TEST(a_place_given_back_in_time),
        TEST(revoked_between_the_check_and_the_connack),
        TEST(a_full_ring_holds_connects_back),
        TEST(a_held_client_may_leave),
        TEST(a_takeover_without_room_keeps_its_order_and_evidence),
        TEST(overlapping_subscriptions_give_one_copy),
        TEST(full_queues_drop_and_count),
        TEST(what_is_sent_to_a_session_of_one_connection_is_gone),
        TEST(what_is_sent_to_a_kept_session_comes_again),
        TEST(a_blocked_client_loses_qos_0_only),
        TEST(large_payloads_in_any_pieces),
        TEST(wills),
        TEST(denied_topics),
        TEST(limits_of_a_client),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
