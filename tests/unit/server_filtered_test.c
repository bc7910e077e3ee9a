/*
 * Subscriptions that are filtered at delivery: what a client may read now decides over each message, live or retained, queued
 * or shared. Nobody with a user name may read what begins with "secret/", so nothing covers "#".
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/hash.h"
#include "server_scenario.h"

static struct client *pub;
static uint16_t last_id; /* of its packets */

static void start(unsigned workers)
{
    h_start(&h, workers);
    fake_auth.subscriptions = SUBSCRIPTIONS_FILTERED;
    fake_auth.secret = "secret/";
    pub = h_connected(&h, h_id_of(&h, 0, "pub"), true);
    last_id = 0;
}

/* Permissions change: what begins so is secret now. */
static void keep_secret(const char *what)
{
    fake_auth.secret = what;
    fake_auth.version++;
    h_settings_changed(&h);
    h_settle(&h);
}

static void publish(const char *topic, uint8_t qos)
{
    h_send_publish(&h, pub, topic, "x", qos, qos == 0 ? 0 : ++last_id);
    h_settle(&h);
    if (qos == 2) {
        h_send_ack(&h, pub, MQTT_PUBREL, last_id);
        h_settle(&h);
    }
}

/* As the broker itself does it, with wills. */
static void broker_publishes(const char *topic, uint8_t qos)
{
    struct route_result r = {0};
    const struct mqtt_publish p = {
        .qos = qos, .topic = slice_str(topic), .payload = slice_str("x")};
    route_publish(h.server->workers[0], NULL, 0, &p, hash64(p.topic), 0, &r);
}

static void retain(const char *topic)
{
    struct buf b = {0};
    const struct mqtt_publish p = {
        .retain = true, .topic = slice_str(topic), .payload = slice_str("kept")};
    mqtt_encode_publish(&b, MQTT_V311, &p);
    h_feed(&h, pub, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
}

static struct client *connects(const char *id, const char *user, bool clean)
{
    struct mqtt_connect p = h_connect_of(id, clean);
    p.has_username = user != NULL;
    p.username = slice_str(user == NULL ? "" : user);
    struct client *c = h_connecting(&h, &p);
    (void)h_says(&h, c);
    return c;
}

static struct client *subscribed(const char *id, const char *user, bool clean, const char *filter,
                                 uint8_t qos)
{
    char expected[32];
    struct client *c = connects(id, user, clean);
    h_send_subscribe(&h, c, 1, filter, qos);
    h_settle(&h);
    (void)snprintf(expected, sizeof expected, "SUBACK 1:%u", qos);
    SAYS(c, expected);
    return c;
}

static void leaves(struct client *c)
{
    h_end(&h, c, 0);
    h_settle(&h);
}

static void expect_counts(uint64_t filtered, uint64_t dropped)
{
    struct server_stats st;
    uint64_t all = 0;
    server_stats(h.server, &st);
    for (int i = 0; i < DROP_REASONS; i++) {
        all += st.n.dropped[i];
    }
    assert_int_equal(st.n.filtered, filtered);
    assert_int_equal(all, dropped);
}

static void only_what_may_be_read(void **state)
{
    (void)state;
    start(2);
    struct client *here = subscribed(h_id_of(&h, 0, "here"), "u", true, "#", 2);
    struct client *there = subscribed(h_id_of(&h, 1, "there"), "u", true, "#", 2);
    (void)h_records(&h);
    for (uint8_t qos = 0; qos <= 2; qos++) {
        publish("secret/a", qos);
    }
    SAYS(here, "");
    SAYS(there, "");
    SAYS(pub, "PUBACK 1; PUBREC 2; PUBCOMP 2");
    publish("open/a", 0);
    publish("open/a", 1);
    SAYS(here, "PUBLISH open/a=x; PUBLISH open/a=x q1 #1");
    SAYS(there, "PUBLISH open/a=x; PUBLISH open/a=x q1 #1");
    expect_counts(6, 0);
    leaves(here);
    assert_int_equal(h_evidence(h_record(CAUSE_PEER_FIN), EV_FILTERED), 3);
    leaves(there);
}

/* By default nothing is granted that is not covered, and nothing is looked at. */
static void covered_is_as_before(void **state)
{
    (void)state;
    start(1);
    fake_auth.subscriptions = SUBSCRIPTIONS_COVERED;
    fake_auth.on_denied = ON_DENIED_REFUSE;
    struct client *c = connects("dev", "u", true);
    h_send_subscribe(&h, c, 1, "#", 0);
    h_send_subscribe(&h, c, 2, "open/#", 0);
    h_settle(&h);
    SAYS(c, "SUBACK 1:128; SUBACK 2:0");
    publish("open/a", 0);
    SAYS(c, "PUBLISH open/a=x");
    expect_counts(0, 0);
}

static void the_brokers_own_topics_stay_refused(void **state)
{
    (void)state;
    start(1);
    fake_auth.secret = "$SYS/";
    fake_auth.on_denied = ON_DENIED_REFUSE;
    struct client *c = connects("dev", "u", true);
    h_send_subscribe(&h, c, 1, "$SYS/#", 0);
    h_send_subscribe(&h, c, 2, "$share/g/$SYS/#", 0);
    h_settle(&h);
    SAYS(c, "SUBACK 1:128; SUBACK 2:128");
}

static void permissions_change(void **state)
{
    (void)state;
    start(2);
    struct client *c = subscribed(h_id_of(&h, 1, "dev"), "u", true, "#", 1);
    publish("a/1", 1);
    keep_secret("a/");
    publish("a/1", 1);
    publish("secret/1", 1);
    keep_secret("b/");
    publish("a/1", 1);
    SAYS(c, "PUBLISH a/1=x q1 #1; PUBLISH secret/1=x q1 #2; PUBLISH a/1=x q1 #3");
    expect_counts(1, 0);
}

/* A change that its loop was not told of yet holds, too. */
static void permissions_changed_a_moment_ago(void **state)
{
    (void)state;
    start(1);
    struct client *c = subscribed("dev", "u", true, "#", 0);
    publish("a/1", 0);
    fake_auth.secret = "a/";
    fake_auth.version++;
    publish("a/1", 0);
    SAYS(c, "PUBLISH a/1=x");
}

static void what_waits_is_looked_at_when_it_goes(void **state)
{
    (void)state;
    h.config.max_inflight = 1;
    start(1);
    struct client *c = subscribed("dev", "u", true, "#", 2);
    publish("a/1", 2);
    publish("a/2", 1);
    publish("b/3", 1);
    SAYS(c, "PUBLISH a/1=x q2 #1");
    keep_secret("a/");
    h_send_ack(&h, c, MQTT_PUBREC, 1);
    h_settle(&h);
    SAYS(c, "PUBREL 1"); /* what began goes to its end */
    h_send_ack(&h, c, MQTT_PUBCOMP, 1);
    h_settle(&h);
    SAYS(c, "PUBLISH b/3=x q1 #3");
    h_send_ack(&h, c, MQTT_PUBACK, 3);
    h_settle(&h);
    assert_int_equal(session_queued(c->conn->session), 0);
    assert_int_equal(c->conn->session->out->inflight, 0);
    expect_counts(1, 0);
}

/* Its queue has what it may read: what it may not takes no place there. */
static void while_it_is_away(void **state)
{
    (void)state;
    h.config.max_queued_messages = 2;
    start(1);
    leaves(subscribed("dev", "u", false, "#", 1));
    for (int i = 0; i < 5; i++) {
        publish("secret/1", 1);
    }
    publish("a/1", 1);
    publish("b/2", 1);
    expect_counts(5, 0);
    keep_secret("a/");
    struct client *c = connects("dev", "u", false);
    h_settle(&h);
    assert_int_equal(session_queued(c->conn->session), 1);
    expect_counts(6, 0);
    h_send_ack(&h, c, MQTT_PUBACK, 2);
    h_settle(&h);
    assert_int_equal(session_queued(c->conn->session), 0);
}

/* The store knows whose it is: what it may not read takes no place in the queue of a client that has not come yet. */
static void across_a_restart(void **state)
{
    (void)state;
    h.config.max_queued_messages = 3;
    start(1);
    leaves(subscribed("dev", "u", false, "#", 1));
    publish("a/1", 1);
    h_stop(&h);
    h_start(&h, 2);
    pub = h_connected(&h, h_id_of(&h, 0, "pub"), true);
    for (int i = 0; i < 5; i++) {
        publish("secret/1", 1);
    }
    expect_counts(5, 0);
    publish("a/2", 1);
    struct mqtt_connect p = h_connect_of("dev", false);
    p.has_username = true;
    p.username = slice_str("u");
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0 present; PUBLISH a/1=x q1 #1; PUBLISH a/2=x q1 #2");
    publish("secret/1", 0);
    SAYS(c, "");
    expect_counts(6, 0);
}

/* A user that is gone when the broker starts: messages wait, and are looked at when one comes. */
static void across_a_restart_without_its_user(void **state)
{
    (void)state;
    start(1);
    leaves(subscribed("dev", "u", false, "#", 1));
    h_stop(&h);
    fake_auth.revoked = true;
    h_start(&h, 1);
    broker_publishes("secret/1", 1);
    broker_publishes("a/1", 1);
    h_settle(&h);
    expect_counts(0, 0);
    fake_auth.revoked = false;
    struct mqtt_connect p = h_connect_of("dev", false);
    p.has_username = true;
    p.username = slice_str("u");
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0 present; PUBLISH a/1=x q1 #2");
    expect_counts(1, 0);
}

/* The session is another user's from when that has come. */
static void across_a_restart_with_another_user(void **state)
{
    (void)state;
    start(1);
    leaves(subscribed("dev", "u", false, "#", 1));
    leaves(connects("dev", NULL, false));
    h_stop(&h);
    h_start(&h, 1);
    pub = h_connected(&h, "pub", true);
    publish("secret/1", 1);
    expect_counts(0, 0);
    struct mqtt_connect p = h_connect_of("dev", false);
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0 present; PUBLISH secret/1=x q1 #1");
}

/* The rows say that it is filtered, even when no subscription is any more. */
static void queued_across_a_restart_without_the_subscription(void **state)
{
    struct buf b = {0};
    (void)state;
    h.config.max_inflight = 1;
    start(1);
    struct client *c = subscribed("dev", "u", false, "#", 1);
    publish("a/1", 1);
    publish("a/2", 1);
    SAYS(c, "PUBLISH a/1=x q1 #1");
    const struct slice filter = slice_str("#");
    mqtt_encode_unsubscribe(&b, MQTT_V311, 9, &filter, 1, NULL);
    h_feed(&h, c, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
    SAYS(c, "UNSUBACK 9");
    leaves(c);
    h_stop(&h);
    h_start(&h, 1);
    fake_auth.secret = "a/";
    struct mqtt_connect p = h_connect_of("dev", false);
    p.has_username = true;
    p.username = slice_str("u");
    c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0 present; PUBLISH a/1=x q1 #1 dup");
    h_send_ack(&h, c, MQTT_PUBACK, 1);
    h_settle(&h);
    SAYS(c, "");
    expect_counts(1, 0);
}

/* Whoever comes with that client ID reads with its own permissions. */
static void another_user_returns(void **state)
{
    (void)state;
    start(1);
    fake_auth.secret = "a/";
    leaves(subscribed("dev", "u", false, "#", 1));
    fake_auth.revoked = true; /* its user is gone: what comes waits */
    fake_auth.version++;
    broker_publishes("a/1", 1);
    fake_auth.revoked = false;
    expect_counts(0, 0);
    struct mqtt_connect p = h_connect_of("dev", false);
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0 present; PUBLISH a/1=x q1 #1");
    publish("a/1", 0);
    SAYS(c, "PUBLISH a/1=x");
}

/* Who may not be connected any more is sent nothing between the change and its end. */
static void nothing_for_a_user_that_is_gone(void **state)
{
    (void)state;
    start(1);
    struct client *c = subscribed("dev", "u", false, "#", 1);
    fake_auth.version++;
    fake_auth.revoked = true;
    broker_publishes("a/1", 0);
    broker_publishes("a/1", 1);
    SAYS(c, "");
    assert_int_equal(session_queued(c->conn->session), 1);
    h_settings_changed(&h);
    h_settle(&h);
    assert_true(c->mem.closed);
}

static void retained_messages(void **state)
{
    (void)state;
    start(2);
    retain("open/1");
    retain("secret/1");
    retain("secret/2");
    struct client *c = connects(h_id_of(&h, 1, "dev"), "u", true);
    h_send_subscribe(&h, c, 1, "#", 1);
    h_settle(&h);
    SAYS(c, "SUBACK 1:1; PUBLISH open/1=kept retain");
    expect_counts(2, 0);
    keep_secret("open/");
    h_send_subscribe(&h, c, 2, "secret/+", 1);
    h_settle(&h);
    assert_true(strstr(h_says(&h, c), "secret/2=kept retain") != NULL);
}

/* A message that matches a covered filter, too, is the client's; the QoS is the highest of both. */
static void overlapping(void **state)
{
    (void)state;
    start(1);
    struct client *c = subscribed("dev", "u", true, "#", 1);
    h_send_subscribe(&h, c, 2, "open/+", 0);
    h_settle(&h);
    (void)h_says(&h, c);
    publish("open/1", 1);
    publish("secret/1", 1);
    SAYS(c, "PUBLISH open/1=x q1 #1");
    h_send_subscribe(&h, c, 3, "+/1", 0); /* the fake covers that */
    h_settle(&h);
    (void)h_says(&h, c);
    publish("secret/1", 1);
    SAYS(c, "PUBLISH secret/1=x q1 #2");
}

static void a_subscription_made_anew(void **state)
{
    (void)state;
    start(1);
    struct client *c = subscribed("dev", "u", true, "#", 0);
    keep_secret(NULL);
    publish("secret/1", 0); /* flagged still, and allowed */
    SAYS(c, "PUBLISH secret/1=x");
    h_send_subscribe(&h, c, 2, "#", 0);
    h_settle(&h);
    (void)h_says(&h, c);
    assert_int_equal(c->conn->session->subs->flags & SUB_FILTERED, 0);
}

/* ---- shared subscriptions ---- */

/* `where`: the loops of the member that may read, and of the one that may not. */
static void one_member_may_not(unsigned may_at, unsigned not_at, uint8_t qos)
{
    start(2);
    struct client *may = subscribed(h_id_of(&h, may_at, "may"), NULL, true, "$share/g/#", qos);
    struct client *not = subscribed(h_id_of(&h, not_at, "not"), "u", true, "$share/g/#", qos);
    for (int i = 0; i < 6; i++) {
        publish("secret/1", qos);
    }
    SAYS(not, "");
    const char *got = h_says(&h, may);
    unsigned n = 0;
    for (const char *at = got; (at = strstr(at, "PUBLISH secret/1=x")) != NULL; at++) {
        n++;
    }
    assert_int_equal(n, 6);
    publish("open/1", 0);
    publish("open/1", 0);
    SAYS(not, "PUBLISH open/1=x");
    SAYS(may, "PUBLISH open/1=x");
    expect_counts(0, 0);
    leaves(may);
    publish("secret/1", qos);
    SAYS(not, "");
    expect_counts(1, 0); /* nobody may read it */
    h_stop(&h);
}

static void shared_with_one_that_may_not(void **state)
{
    (void)state;
    for (unsigned at = 0; at < 4; at++) {
        one_member_may_not(at & 1, at >> 1, (uint8_t)(at % 3));
        h_fini(&h);
        h_init(&h);
    }
}

/* The publisher's loop picks by what it was told; settings that changed since are the member's loop's to see. */
static void shared_and_changed_a_moment_ago(void **state)
{
    (void)state;
    start(2);
    struct client *may = subscribed(h_id_of(&h, 1, "may"), NULL, true, "$share/g/#", 1);
    struct client *not = subscribed(h_id_of(&h, 1, "not"), "u", true, "$share/g/#", 1);
    fake_auth.secret = "new/";
    fake_auth.version++;
    for (int i = 0; i < 4; i++) {
        publish("new/1", 1);
    }
    SAYS(not, "");
    SAYS(may, "PUBLISH new/1=x q1 #1; PUBLISH new/1=x q1 #2; PUBLISH new/1=x q1 #3; "
              "PUBLISH new/1=x q1 #4");
    expect_counts(0, 0);
}

/* All of them only may not: it is passed over, whatever loops they are on. */
static void shared_and_nobody_may(void **state)
{
    (void)state;
    start(2);
    struct client *c[20];
    char id[20][64];
    for (unsigned i = 0; i < 20; i++) {
        char prefix[16];
        (void)snprintf(prefix, sizeof prefix, "m%u-", i);
        (void)snprintf(id[i], sizeof id[i], "%s", h_id_of(&h, i & 1, prefix));
        c[i] = subscribed(id[i], "u", true, "$share/g/#", 1);
    }
    publish("secret/1", 1);
    SAYS(pub, "PUBACK 1");
    fake_auth.secret = "new/";
    fake_auth.version++; /* what the loops know of each other is old */
    publish("new/1", 1);
    for (unsigned i = 0; i < 20; i++) {
        SAYS(c[i], "");
    }
    SAYS(pub, "PUBACK 2");
}

/* What waits for a member that may not read it any more goes to one that may. */
static void shared_and_waiting(void **state)
{
    (void)state;
    h.config.max_inflight = 1;
    start(1);
    struct client *not = subscribed("not", "u", true, "$share/g/#", 1);
    publish("a/1", 1);
    publish("a/2", 1);
    publish("a/3", 1);
    SAYS(not, "PUBLISH a/1=x q1 #1");
    struct client *may = subscribed("may", NULL, true, "$share/g/#", 1);
    keep_secret("a/");
    h_send_ack(&h, not, MQTT_PUBACK, 1);
    h_settle(&h);
    SAYS(not, "");
    SAYS(may, "PUBLISH a/2=x q1 #1");
    h_send_ack(&h, may, MQTT_PUBACK, 1);
    h_settle(&h);
    SAYS(may, "PUBLISH a/3=x q1 #2");
    expect_counts(0, 0);
}

static void shared_and_away(void **state)
{
    (void)state;
    start(2);
    const char *id = h_id_of(&h, 1, "dev");
    char name[64];
    (void)snprintf(name, sizeof name, "%s", id);
    leaves(subscribed(name, "u", false, "$share/g/#", 1));
    publish("secret/1", 1);
    publish("a/1", 1);
    expect_counts(1, 0);
    keep_secret("a/");
    publish("secret/1", 1);
    publish("a/1", 1);
    expect_counts(2, 0);
    struct mqtt_connect p = h_connect_of(name, false);
    p.has_username = true;
    p.username = slice_str("u");
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0 present; PUBLISH secret/1=x q1 #2");
    expect_counts(3, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(only_what_may_be_read),
        TEST(covered_is_as_before),
        TEST(the_brokers_own_topics_stay_refused),
        TEST(permissions_change),
        TEST(permissions_changed_a_moment_ago),
        TEST(what_waits_is_looked_at_when_it_goes),
        TEST(while_it_is_away),
        TEST(across_a_restart),
        TEST(across_a_restart_without_its_user),
        TEST(across_a_restart_with_another_user),
        TEST(queued_across_a_restart_without_the_subscription),
        TEST(another_user_returns),
        TEST(nothing_for_a_user_that_is_gone),
        TEST(retained_messages),
        TEST(overlapping),
        TEST(a_subscription_made_anew),
        TEST(shared_with_one_that_may_not),
        TEST(shared_and_changed_a_moment_ago),
        TEST(shared_and_nobody_may),
        TEST(shared_and_waiting),
        TEST(shared_and_away),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
