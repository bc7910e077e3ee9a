/*
 * Scenarios of MQTT 5: how connections and sessions begin and end, which packets and which records come of it. What they
 * have in common with 3.1.1 stands in server_scenario_test.c.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server_scenario.h"

#define PROP(id) (UINT64_C(1) << MQTT_PROP_##id)

static struct client *connected5(const char *id, bool clean, uint32_t expiry)
{
    struct mqtt_connect p = h_connect5_of(id, clean, expiry);
    return h_connecting(&h, &p);
}

/* ---- CONNACK ---- */

static void accepted_with_what_is_granted(void **state)
{
    (void)state;
    static char info[] = "responses";
    h.config.max_keepalive_ms = 60000;
    h.config.session_expiry_max_ms = 3600000;
    h.config.response_information = info;
    h_start(&h, 1);
    struct mqtt_connect p = h_connect5_of("dev", true, 7200);
    p.keepalive = 10;
    p.props.present |= PROP(REQUEST_RESPONSE);
    p.props.request_response_info = 1;
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0x0 {session=3600,info=responses}");
    p = h_connect5_of("lazy", true, 10);
    SAYS(h_connecting(&h, &p), "CONNACK 0x0 {keepalive=60}");
    RECORDS("connect dev accepted.new; connect lazy accepted.new");
    const struct record *r = h_record(CAUSE_ACCEPTED_NEW);
    assert_int_equal(h_evidence(r, EV_KEEPALIVE_ASKED), 0);
    assert_int_equal(h_evidence(r, EV_KEEPALIVE_GRANTED), 60);
    assert_int_equal(h_evidence(r, EV_SESSION_EXPIRY), 10);
}

static void an_id_is_assigned_and_told(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = connected5("", false, 0);
    const char *says = h_says(&h, c);
    assert_memory_equal(says, "CONNACK 0x0 {id=auto-", 21);
}

static void refused_in_its_own_version(void **state)
{
    (void)state;
    h_start(&h, 1);
    fake_auth.refuse = CAUSE_AUTH_BAD_PASSWORD;
    SAYS(connected5("dev", true, 0), "CONNACK 0x87");
    fake_auth.refuse = 0;
    fake_auth.deny = "secret/";
    struct mqtt_connect p = h_connect5_of("dev", true, 0);
    p.will = (struct mqtt_will){.present = true, .topic = slice_str("secret/x")};
    SAYS(h_connecting(&h, &p), "CONNACK 0x87");
    RECORDS("close dev auth.bad_password; close dev topic.will");
}

static void a_bad_connect_is_told_why(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *says, *record;
    } rows[] = {
        /* receive maximum 0 */
        {"\x10\x11\0\4MQTT\5\2\0\0\3\x21\0\0\0\1d", 19, "CONNACK 0x82",
         "close d protocol.violation"},
        /* an unknown property */
        {"\x10\x10\0\4MQTT\5\2\0\0\2\x7f\0\0\1d", 18, "CONNACK 0x81", "close d protocol.malformed"},
        /* maximum packet size 0 */
        {"\x10\x13\0\4MQTT\5\2\0\0\5\x27\0\0\0\0\0\1d", 21, "CONNACK 0x82",
         "close d protocol.violation"},
        /* session expiry twice */
        {"\x10\x18\0\4MQTT\5\2\0\0\xa\x11\0\0\0\1\x11\0\0\0\1\0\1d", 26, "CONNACK 0x82",
         "close d protocol.violation"},
        /* the reserved flag */
        {"\x10\x0e\0\4MQTT\5\3\0\0\0\0\1d", 16, "CONNACK 0x81", "close d protocol.malformed"},
        /* larger than is served, though all of it is not here */
        {"\x10\xff\xff\x7f\0\4MQTT\5\2\0\0\0\0\1d", 18, "CONNACK 0x95",
         "close d limit.packet_size"},
        /* a client that takes nothing that we have to say */
        {"\x10\x13\0\4MQTT\5\2\0\0\5\x27\0\0\0\6\0\1d", 21, "CONNACK 0x95",
         "close d limit.packet_size"},
        {"\x10\x13\0\4MQTT\5\2\0\0\5\x27\0\0\0\3\0\1d", 21, "", "close d limit.packet_size"},
        /* authentication data without a method */
        {"\x10\x12\0\4MQTT\5\2\0\0\4\x16\0\1x\0\1d", 20, "CONNACK 0x82",
         "close d protocol.violation"}};
    (void)state;
    h_start(&h, 1);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct client *c = h_open(&h, 0);
        h_feed(&h, c, slice_make(rows[i].bytes, rows[i].n));
        h_settle(&h);
        SAYS(c, rows[i].says);
        RECORDS(rows[i].record);
        assert_true(c->mem.closed);
    }
}

/* ---- DISCONNECT of the server ---- */

/* The code that ended it, our end of stream behind it, and a descriptor that waits for the client's own close. */
static void told_and_left(struct client *c, const char *says)
{
    SAYS(c, says);
    assert_true(c->mem.finished);
    assert_false(c->mem.closed);
    h_end(&h, c, 0);
    h_settle(&h);
    assert_true(c->mem.closed);
}

static struct client *told(const char *id)
{
    struct client *c = connected5(id, true, 0);
    SAYS(c, "CONNACK 0x0");
    (void)h_records(&h);
    return c;
}

static void every_end_of_ours_is_told(void **state)
{
    (void)state;
    h.config.max_packet_size = 200;
    h.config.max_subscriptions = 1;
    fake_auth.deny = "secret/";
    h_start(&h, 1);
    struct client *c = told("dev");
    (void)told("dev");
    told_and_left(c, "DISCONNECT 0x8e");
    c = told("kicked");
    assert_int_equal(h_kick(&h, slice_str("kicked")), 0);
    told_and_left(c, "DISCONNECT 0x98");
    c = told("large");
    h_feed(&h, c, slice_make("\x30\xff\x01\x00", 4));
    h_settle(&h);
    told_and_left(c, "DISCONNECT 0x95");
    c = told("secret");
    h_send_publish(&h, c, "secret/x", "", 0, 0);
    h_settle(&h);
    told_and_left(c, "DISCONNECT 0x87");
    c = told("many");
    h_send_subscribe(&h, c, 1, "a", 0);
    h_send_subscribe(&h, c, 2, "b", 0);
    h_settle(&h);
    told_and_left(c, "SUBACK 1:0; DISCONNECT 0x97");
    c = told("twice");
    struct mqtt_connect p = h_connect5_of("twice", true, 0);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    told_and_left(c, "DISCONNECT 0x82");
    c = told("odd");
    h_feed(&h, c, slice_make("\x30\x03\0\1+", 5));
    h_settle(&h);
    told_and_left(c, "DISCONNECT 0x90");
    c = told("bad");
    h_feed(&h, c, slice_make("\x62\x01\0", 3));
    h_settle(&h);
    told_and_left(c, "DISCONNECT 0x81");
    fake_auth.revoked = true;
    c = told("gone");
    h_settings_changed(&h);
    h_settle(&h);
    told_and_left(c, "DISCONNECT 0x87");
}

static void silence_and_shutdown_are_told(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct mqtt_connect p = h_connect5_of("dev", true, 0);
    p.keepalive = 10;
    struct client *c = h_connecting(&h, &p);
    h_pass(&h, 15100);
    told_and_left(c, "CONNACK 0x0; DISCONNECT 0x8d");
    c = told("last");
    h_stop(&h);
    SAYS(c, "DISCONNECT 0x8b");
}

static void nothing_is_said_to_who_left(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = told("a");
    h_end(&h, c, 0);
    h_settle(&h);
    SAYS(c, "");
    c = told("b");
    h_send_disconnect(&h, c);
    h_settle(&h);
    SAYS(c, "");
    c = told("c");
    c->mem.write_error = -EPIPE;
    h_send_pingreq(&h, c);
    h_settle(&h);
    SAYS(c, "");
    RECORDS("close c peer.reset");
}

static void who_sends_on_is_read_away(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = told("dev");
    assert_int_equal(h_kick(&h, slice_str("dev")), 0);
    h_send_publish(&h, c, "t", "x", 0, 0);
    h_settle(&h);
    SAYS(c, "DISCONNECT 0x98");
    assert_false(c->mem.closed);
    h_pass(&h, 1100);
    assert_true(c->mem.closed);
}

/* ---- DISCONNECT of the client ---- */

static void the_client_says_why(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct mqtt_props props = {.present = PROP(REASON_STRING) | PROP(USER),
                               .reason_string = slice_str("battery low"),
                               .user = slice_make("\x26\0\4cell\0\3"
                                                  "3.1\x26\0\1a\0\1b",
                                                  20)};
    h_send_disconnect5(&h, told("dev"), MQTT_RC_IMPLEMENTATION, &props);
    h_settle(&h);
    RECORDS("disconnect dev client.reason");
    const struct record *r = h_record(CAUSE_CLIENT_REASON);
    struct evidence_item item;
    assert_int_equal(h_evidence(r, EV_REASON_CODE), 0x83);
    assert_true(evidence_find(r->detail, EV_REASON_STRING, &item));
    assert_true(slice_eq(item.bytes, slice_str("battery low")));
    assert_true(evidence_find(r->detail, EV_USER_PROPERTIES, &item));
    assert_true(slice_eq(item.bytes, slice_str("cell=3.1; a=b")));
    h_send_disconnect5(&h, told("willing"), MQTT_RC_DISCONNECT_WITH_WILL, NULL);
    h_send_disconnect5(&h, told("plain"), MQTT_RC_SUCCESS, NULL);
    h_settle(&h);
}

static void expiry_can_not_be_raised_from_0(void **state)
{
    (void)state;
    h_start(&h, 1);
    const struct mqtt_props props = {.present = PROP(SESSION_EXPIRY), .session_expiry = 5};
    struct client *c = told("dev");
    h_send_disconnect5(&h, c, 0, &props);
    h_settle(&h);
    SAYS(c, "DISCONNECT 0x82");
    RECORDS("close dev protocol.violation");
}

/* ---- sessions whose clients are away ---- */

static void leave(struct client *c)
{
    h_end(&h, c, 0);
    h_settle(&h);
}

static void subscribed5(const char *id, uint32_t expiry)
{
    struct client *c = connected5(id, true, expiry);
    h_send_subscribe(&h, c, 1, "t", 1);
    h_settle(&h);
    SAYS(c, "CONNACK 0x0; SUBACK 1:1");
    leave(c);
}

static uint64_t sessions(void)
{
    uint64_t n = 0;
    for (unsigned i = 0; i < h.server->worker_count; i++) {
        n += atomic_load(&h.server->workers[i]->count.sessions);
    }
    return n;
}

/* Whether the client finds its session; it stays connected. */
static struct client *back(const char *id, bool present, uint32_t expiry)
{
    struct client *c = connected5(id, false, expiry);
    SAYS(c, present ? "CONNACK 0x0 present" : "CONNACK 0x0");
    return c;
}

static void a_session_has_its_time(void **state)
{
    (void)state;
    h_start(&h, 1);
    subscribed5("dev", 10);
    h_pass(&h, 9800);
    struct client *pub = connected5("pub", true, 0);
    h_send_publish(&h, pub, "t", "kept", 1, 1);
    h_settle(&h);
    struct client *c = connected5("dev", false, 10);
    SAYS(c, "CONNACK 0x0 present; PUBLISH t=kept q1 #1");
    h_pass(&h, 30000); /* connected: no clock runs */
    leave(c);
    h_pass(&h, 10100);
    assert_int_equal(sessions(), 1);
    leave(back("dev", false, 10));
}

static void a_session_ends_with_the_connection(void **state)
{
    (void)state;
    h_start(&h, 1);
    leave(connected5("dev", false, 0));
    assert_int_equal(sessions(), 0);
    subscribed5("dev", 10);
    leave(back("dev", true, 0));
    assert_int_equal(sessions(), 0);
    /* DISCONNECT may shorten it, lengthen it, or end it */
    const struct mqtt_props longer = {.present = PROP(SESSION_EXPIRY), .session_expiry = 100};
    const struct mqtt_props none = {.present = PROP(SESSION_EXPIRY), .session_expiry = 0};
    h_send_disconnect5(&h, back("dev", false, 10), 0, &longer);
    h_pass(&h, 50000);
    h_send_disconnect5(&h, back("dev", true, 10), 0, &none);
    h_settle(&h);
    assert_int_equal(sessions(), 0);
}

static void sessions_without_end_and_their_limit(void **state)
{
    (void)state;
    h_start(&h, 1);
    subscribed5("dev", UINT32_MAX);
    leave(h_connected(&h, "old", false));
    h_pass(&h, 1000000);
    assert_int_equal(sessions(), 2);
    assert_null(deadlines_first(&h.server->workers[0]->deadlines)); /* and nothing waits */
    h_stop(&h);
    h.config.session_expiry_max_ms = 5000;
    h_start(&h, 1);
    h_pass(&h, 4900);
    assert_int_equal(sessions(), 2);
    h_pass(&h, 200);
    assert_int_equal(sessions(), 0);
    leave(h_connected(&h, "old", false)); /* MQTT 3.1.1 */
    h_pass(&h, 5100);
    assert_int_equal(sessions(), 0);
}

static void clean_start_ends_the_one_before(void **state)
{
    (void)state;
    h_start(&h, 1);
    subscribed5("dev", 100);
    struct client *c = connected5("dev", true, 100);
    SAYS(c, "CONNACK 0x0");
    assert_int_equal(sessions(), 1);
}

static void expiry_across_a_stop_and_a_kill(void **state)
{
    (void)state;
    h_start(&h, 2);
    const char *left = h_id_of(&h, 0, "left"), *stays = h_id_of(&h, 1, "stays");
    subscribed5(left, 100);
    (void)connected5(stays, true, 100);
    h_pass(&h, 60000);
    h_crash(&h);
    fake_time.wall_us += 30000000; /* it was down for so long */
    h_start(&h, 1);
    h_pass(&h, 9900);
    assert_int_equal(sessions(), 2);
    h_pass(&h, 200);
    assert_int_equal(sessions(), 1); /* the clock of who was connected began at the restart */
    h_crash(&h);
    h_start(&h, 1);
    h_pass(&h, 89000);
    assert_int_equal(sessions(), 1); /* and goes on behind another one */
    h_pass(&h, 1100);
    assert_int_equal(sessions(), 0);
    h_stop(&h);
    h_start(&h, 1);
    assert_int_equal(sessions(), 0);
}

static void a_crowd_that_expired_goes_in_steps(void **state)
{
    (void)state;
    h_start(&h, 1);
    for (unsigned i = 0; i < 200; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "dev%u", i);
        leave(connected5(id, true, 10));
    }
    h_stop(&h);
    fake_time.wall_us += UINT64_C(3600000000);
    h_start(&h, 1);
    h_pass(&h, 100);
    assert_int_equal(sessions(), 0);
}

static void put_row(const char *key, size_t key_len, const char *value, size_t value_len)
{
    struct store_batch *b = fake_batch_new();
    store_batch_put(b, store_family(h.store, STORE_SESSIONS), slice_make(key, key_len),
                    slice_make(value, value_len));
    fake_batch_end(h.store, b, true);
}

/* Sessions without an end, wills without a delay. */
static void rows_of_earlier_brokers(void **state)
{
    (void)state;
    put_row("S\0\0\0\0dev", 8, "\1\0\0\0\0\0\0\0\7", 9);
    put_row("S\0\0\0\0keeper", 11, "\1\0\0\0\0\0\0\0\10", 9);
    put_row("T\0\0\0\0\0\0\0\10will", 13, "\1\0\0\0\0\0", 6);
    put_row("W\0\0\0\0dev", 8, "\1\0\0\4willgone", 12);
    put_row("S\0\0\0\0odd", 8, "\3\0\0\0\0\0\0\0\7", 9);
    h_start(&h, 1);
    assert_int_equal(sessions(), 2);
    struct mqtt_connect p = h_connect_of("keeper", false);
    SAYS(h_connecting(&h, &p), "CONNACK 0 present; PUBLISH will=gone q1 #1");
    h_pass(&h, 1000000);
    leave(back("dev", true, 10));
    h_pass(&h, 10100);
    leave(back("dev", false, 0));
}

/* ---- wills ---- */

static struct client *watcher(void)
{
    struct client *c = h_subscribed(&h, "watch", true, "will", 0);
    return c;
}

static struct client *willing(const char *id, bool clean, uint32_t expiry, uint32_t delay)
{
    struct mqtt_connect p = h_connect5_of(id, clean, expiry);
    p.will = (struct mqtt_will){
        .present = true, .topic = slice_str("will"), .payload = slice_str("gone")};
    p.will.props.present = PROP(WILL_DELAY);
    p.will.props.will_delay = delay;
    return h_connecting(&h, &p);
}

static void a_will_waits_for_its_delay(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *w = watcher();
    leave(willing("dev", true, 100, 10));
    assert_int_equal(h_evidence(h_record(CAUSE_PEER_FIN), EV_WILL_DELAY), 10);
    h_pass(&h, 9900);
    SAYS(w, "");
    h_pass(&h, 200);
    SAYS(w, "PUBLISH will=gone");
    assert_int_equal(sessions(), 2); /* the session goes on */
    h_pass(&h, 90000);
    assert_int_equal(sessions(), 1);
    SAYS(w, "");
}

static void a_will_goes_with_the_session(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *w = watcher();
    leave(willing("dev", true, 5, 10));
    h_pass(&h, 5100);
    SAYS(w, "PUBLISH will=gone");
    leave(willing("dev", true, 0, 10)); /* the session ends with the connection */
    SAYS(w, "PUBLISH will=gone");
    leave(willing("dev", true, 100, 10));
    struct client *c = connected5("dev", true, 0); /* and here by clean start */
    SAYS(c, "CONNACK 0x0");
    SAYS(w, "PUBLISH will=gone");
}

static void a_client_that_returns_takes_its_will_back(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *w = watcher();
    leave(willing("dev", true, 100, 10));
    h_pass(&h, 5000);
    struct client *c = back("dev", true, 100);
    h_pass(&h, 20000);
    leave(c);
    h_pass(&h, 20000);
    SAYS(w, "");
}

/* [MQTT-3.1.4-3] and what 3.1.3.2.2 says of it */
static void wills_of_who_is_taken_over(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *w = watcher();
    (void)willing("a", true, 100, 0);
    (void)back("a", true, 100);
    SAYS(w, "PUBLISH will=gone"); /* no delay */
    (void)willing("b", true, 100, 10);
    (void)back("b", true, 100);
    h_pass(&h, 20000);
    SAYS(w, ""); /* it returned in time */
    (void)willing("c", true, 100, 10);
    (void)connected5("c", true, 100);
    SAYS(w, "PUBLISH will=gone"); /* its session ended */
}

static void delayed_wills_across_a_kill(void **state)
{
    (void)state;
    h_start(&h, 1);
    leave(willing("left", true, 100, 30));
    (void)willing("open", true, 100, 30);
    (void)willing("plain", true, 100, 0);
    struct client *keeper = connected5("keeper", true, UINT32_MAX);
    h_send_subscribe(&h, keeper, 1, "will", 1);
    h_settle(&h);
    h_pass(&h, 20000);
    h_crash(&h);
    h_start(&h, 1);
    struct client *w = watcher();
    SAYS(w, ""); /* that without a delay was sent before anybody could connect */
    h_pass(&h, 9900);
    SAYS(w, "");
    h_pass(&h, 200);
    SAYS(w, "PUBLISH will=gone");
    h_crash(&h);
    h_start(&h, 1);
    w = watcher();
    h_pass(&h, 19800);
    SAYS(w, "");
    h_pass(&h, 200);
    SAYS(w, "PUBLISH will=gone");
    h_pass(&h, 200000);
    SAYS(w, "");
}

/* ---- enhanced authentication: the method TEST of server_fakes.h ---- */

static struct mqtt_props auth_props(const char *method, const char *data)
{
    struct mqtt_props p = {.present = PROP(AUTH_METHOD), .auth_method = slice_str(method)};
    if (data != NULL) {
        p.present |= PROP(AUTH_DATA);
        p.auth_data = slice_str(data);
    }
    return p;
}

static void send_auth(struct client *c, uint8_t reason, const char *method, const char *data)
{
    struct mqtt_props p = auth_props(method, data);
    h_send_auth(&h, c, reason, &p);
}

static struct client *exchanging(const char *id, const char *method, const char *data)
{
    struct mqtt_connect p = h_connect5_of(id, true, 0);
    p.props = auth_props(method, data);
    return h_connecting(&h, &p);
}

/* covers MQTT5 [MQTT-4.12.0-2] [MQTT-4.12.0-3] [MQTT-4.12.0-5] */
static void an_exchange_of_auth(void **state)
{
    (void)state;
    h_start(&h, 2);
    const char *id = h_id_of(&h, 1, "dev");
    struct client *c = exchanging(id, "TEST", "hello");
    SAYS(c, "AUTH 0x18 {method=TEST,data=who?}");
    RECORDS("");
    c->mem.read_limit = 3;
    send_auth(c, MQTT_RC_CONTINUE_AUTH, "TEST", "me");
    h_send_subscribe(&h, c, 1, "t", 0); /* pipelined */
    h_settle(&h);
    SAYS(c, "CONNACK 0x0 {method=TEST,data=yes}; SUBACK 1:0");
    assert_string_equal(h_records(&h) + strlen("connect ") + strlen(id), " accepted.new");
    assert_true(slice_eq(h_record(CAUSE_ACCEPTED_NEW)->user, slice_str("me")));
}

static void an_exchange_in_one_packet(void **state)
{
    (void)state;
    h_start(&h, 1);
    SAYS(exchanging("dev", "TEST", "me"), "CONNACK 0x0 {method=TEST,data=yes}");
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect5_of("both", true, 0);
    p.props = auth_props("TEST", "hello");
    h_send_connect(&h, c, &p);
    send_auth(c, MQTT_RC_CONTINUE_AUTH, "TEST", "me"); /* without having waited */
    h_settle(&h);
    SAYS(c, "AUTH 0x18 {method=TEST,data=who?}; CONNACK 0x0 {method=TEST,data=yes}");
}

/* covers MQTT5 [MQTT-3.1.2-30] [MQTT-4.12.0-1] [MQTT-4.12.0-3] [MQTT-4.12.0-4] [MQTT-4.12.0-5] */
static void exchanges_that_fail(void **state)
{
    (void)state;
    h_start(&h, 1);
    SAYS(exchanging("a", "OTHER", "hello"), "CONNACK 0x8c");
    SAYS(exchanging("b", "TEST", NULL), "CONNACK 0x87");
    struct client *c = exchanging("c", "TEST", "hello");
    send_auth(c, MQTT_RC_CONTINUE_AUTH, "OTHER", "me");
    h_settle(&h);
    SAYS(c, "AUTH 0x18 {method=TEST,data=who?}; CONNACK 0x82");
    c = exchanging("d", "TEST", "hello");
    h_send_pingreq(&h, c);
    h_settle(&h);
    SAYS(c, "AUTH 0x18 {method=TEST,data=who?}; CONNACK 0x82");
    c = exchanging("e", "TEST", "hello");
    h_pass(&h, 10100);
    SAYS(c, "AUTH 0x18 {method=TEST,data=who?}; CONNACK 0x87");
    c = exchanging("f", "TEST", "hello");
    h_end(&h, c, 0);
    h_settle(&h);
    c = exchanging("g", "TEST", "hello");
    h_send_disconnect5(&h, c, MQTT_RC_UNSPECIFIED, NULL);
    h_settle(&h);
    c = exchanging("h", "TEST", "hello");
    send_auth(c, MQTT_RC_REAUTHENTICATE, "TEST", "me");
    h_settle(&h);
    RECORDS(
        "close a auth.method; close b auth.bad_password; close c protocol.violation; "
        "close d protocol.violation; close e auth.method; close f peer.fin; close g auth.method; "
        "close h protocol.violation");
    h_stop(&h);
    assert_int_equal(fake_auth.exchanges, 0);
}

/* covers MQTT5 [MQTT-4.12.0-5] [MQTT-4.12.0-6] [MQTT-4.12.0-7] [MQTT-4.12.1-1] [MQTT-4.12.1-2] */
static void authenticated_again(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = exchanging("dev", "TEST", "me");
    (void)h_says(&h, c);
    send_auth(c, MQTT_RC_REAUTHENTICATE, "TEST", "hello");
    h_send_pingreq(&h, c);
    h_settle(&h);
    SAYS(c, "AUTH 0x18 {method=TEST,data=who?}; PINGRESP");
    send_auth(c, MQTT_RC_CONTINUE_AUTH, "TEST", "me");
    h_settle(&h);
    SAYS(c, "AUTH 0x0 {method=TEST,data=yes}");
    send_auth(c, MQTT_RC_REAUTHENTICATE, "TEST", "another");
    h_settle(&h);
    SAYS(c, "DISCONNECT 0x87");
    c = exchanging("method", "TEST", "me");
    send_auth(c, MQTT_RC_REAUTHENTICATE, "OTHER", "me");
    h_settle(&h);
    SAYS(c, "CONNACK 0x0 {method=TEST,data=yes}; DISCONNECT 0x8c");
    c = exchanging("bad", "TEST", "me");
    send_auth(c, MQTT_RC_REAUTHENTICATE, "TEST", "nonsense");
    h_settle(&h);
    SAYS(c, "CONNACK 0x0 {method=TEST,data=yes}; DISCONNECT 0x87");
    c = exchanging("early", "TEST", "me");
    send_auth(c, MQTT_RC_CONTINUE_AUTH, "TEST", "me");
    h_settle(&h);
    SAYS(c, "CONNACK 0x0 {method=TEST,data=yes}; DISCONNECT 0x82");
    c = connected5("none", true, 0);
    send_auth(c, MQTT_RC_REAUTHENTICATE, "TEST", "me");
    h_settle(&h);
    SAYS(c, "CONNACK 0x0; DISCONNECT 0x82");
    RECORDS(
        "connect dev accepted.new; close dev auth.exchange; connect method accepted.new; "
        "close method auth.method; connect bad accepted.new; close bad auth.bad_password; connect early accepted.new; close early protocol.violation; "
        "connect none accepted.new; close none protocol.violation");
}

/* ---- the tables ---- */

/* A cause that is ours to decide has words for the client, and only such a cause. */
static void each_cause_of_ours_is_told(void **state)
{
    (void)state;
    for (unsigned i = 0; i < CAUSE_COUNT; i++) {
        const struct cause_info *info = cause_info((enum cause)i);
        bool ours = info->action == ACTION_CLOSE && info->description != DESC_UNIDENTIFIED &&
                    info->ended_by != ENDED_BY_CLIENT && info->ended_by != ENDED_BY_NETWORK &&
                    i != CAUSE_SERVER_CRASH;
        const struct told *t = told_of((enum cause)i);
        if ((t->text != NULL) != ours) {
            fail_msg("src/server/told.def and the cause %s", info->code);
        }
        assert_true(!ours || (t->reason >= 0x80 && t->disconnect >= 0x80));
        struct mqtt_frame f = {.type = MQTT_DISCONNECT, .body = slice_make(&t->disconnect, 1)};
        struct mqtt_disconnect d;
        struct mqtt_error err;
        assert_int_equal(mqtt_decode_disconnect(&f, MQTT_V5, &d, &err), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(accepted_with_what_is_granted),
        TEST(an_id_is_assigned_and_told),
        TEST(refused_in_its_own_version),
        TEST(a_bad_connect_is_told_why),
        TEST(every_end_of_ours_is_told),
        TEST(silence_and_shutdown_are_told),
        TEST(nothing_is_said_to_who_left),
        TEST(who_sends_on_is_read_away),
        TEST(the_client_says_why),
        TEST(expiry_can_not_be_raised_from_0),
        TEST(a_session_has_its_time),
        TEST(a_session_ends_with_the_connection),
        TEST(sessions_without_end_and_their_limit),
        TEST(clean_start_ends_the_one_before),
        TEST(expiry_across_a_stop_and_a_kill),
        TEST(a_crowd_that_expired_goes_in_steps),
        TEST(rows_of_earlier_brokers),
        TEST(a_will_waits_for_its_delay),
        TEST(a_will_goes_with_the_session),
        TEST(a_client_that_returns_takes_its_will_back),
        TEST(wills_of_who_is_taken_over),
        TEST(delayed_wills_across_a_kill),
        TEST(an_exchange_of_auth),
        TEST(an_exchange_in_one_packet),
        TEST(exchanges_that_fail),
        TEST(authenticated_again),
        cmocka_unit_test(each_cause_of_ours_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
