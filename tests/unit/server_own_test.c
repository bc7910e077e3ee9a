/* The broker's own connections, and bridges of other brokers, as scenarios. Bridges as a whole: bridge_link_test.c, tests/e2e. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server_scenario.h"

enum { KEPT_S = 3600 };

/* As server_attach() makes it. */
static struct client *own(unsigned kind)
{
    struct mqtt_connect p = h_connect5_of("$bridge/x", false, KEPT_S);
    struct client *c = h_open(&h, 0);
    c->conn->kind = (uint8_t)(CONN_OWN | kind);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    return c;
}

static void leaves(struct client *c)
{
    h_send_disconnect5(&h, c, 0, NULL);
    h_settle(&h);
    (void)h_says(&h, c);
}

static void its_client_id_is_for_nobody_else(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct mqtt_connect p = h_connect5_of("$bridge/x", true, 0);
    SAYS(h_connecting(&h, &p), "CONNACK 0x85");
    p = h_connect_of("$bridge/x", true);
    SAYS(h_connecting(&h, &p), "CONNACK 2");
    RECORDS("close $bridge/x protocol.client_id; close $bridge/x protocol.client_id");
    p = h_connect_of("$bridg", true);
    SAYS(h_connecting(&h, &p), "CONNACK 0");
}

/* Not even what is denied to everyone else. */
static void it_may_do_everything(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "$SYS/broker/connection/x/state", 0);
    struct client *c = own(0);
    SAYS(c, "CONNACK 0x0");
    h_send_publish(&h, c, "$SYS/broker/connection/x/state", "1", 1, 1);
    h_settle(&h);
    SAYS(c, "PUBACK 1");
    SAYS(sub, "PUBLISH $SYS/broker/connection/x/state=1");
}

/* A client tells its own state below $SYS, but not that of another, nor that of a bridge of ours. */
static void whose_state_may_be_told(void **state)
{
    char name[] = "ours";
    (void)state;
    struct bridge_settings bridge = {.name = name};
    h.config.bridges = &bridge;
    h.config.bridge_count = 1;
    h_start(&h, 1);
    struct client *c = h_connected(&h, "mosq", true);
    struct client *sub = h_subscribed(&h, "sub", true, "$SYS/broker/connection/+/state", 0);
    h_send_publish(&h, c, "$SYS/broker/connection/mosq/state", "1", 0, 0);
    h_settle(&h);
    SAYS(sub, "PUBLISH $SYS/broker/connection/mosq/state=1");
    struct client *ours = h_connected(&h, "ours", true);
    (void)h_records(&h);
    h_send_publish(&h, c, "$SYS/broker/connection/sub/state", "1", 0, 0);
    h_send_publish(&h, ours, "$SYS/broker/connection/ours/state", "1", 0, 0);
    h_settle(&h);
    SAYS(sub, "");
    RECORDS("close mosq topic.publish; close ours topic.publish");
    h_stop(&h);
    h.config.bridge_count = 0;
}

/* What its other end forgot may come again under the same identifier, and is another message. */
static void what_was_forgotten_is_no_repetition(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "a", 0);
    struct client *c = own(0);
    h_send_publish(&h, c, "a", "one", 2, 7);
    h_settle(&h);
    SAYS(sub, "PUBLISH a=one");
    leaves(c);
    c = own(0);
    h_send_publish(&h, c, "a", "one", 2, 7);
    h_settle(&h);
    SAYS(sub, "");
    leaves(c);
    c = own(CONN_FORGETS);
    (void)h_says(&h, c);
    h_send_publish(&h, c, "a", "two", 2, 7);
    h_settle(&h);
    SAYS(sub, "PUBLISH a=two");
    SAYS(c, "PUBREC 7");
}

/* What only subscribes gets nothing; it is there for the next one. */
static void who_prepares_gets_nothing(void **state)
{
    (void)state;
    h.config.queue_qos0 = true;
    h_start(&h, 1);
    struct client *c = own(CONN_PREPARES);
    h_send_subscribe(&h, c, 1, "a", 1);
    h_settle(&h);
    leaves(c);
    struct client *pub = h_connected(&h, "pub", true);
    h_send_publish(&h, pub, "a", "0", 0, 0);
    h_send_publish(&h, pub, "a", "1", 1, 1);
    h_settle(&h);
    c = own(CONN_PREPARES);
    SAYS(c, "CONNACK 0x0 present");
    leaves(c);
    SAYS(own(0), "CONNACK 0x0 present; PUBLISH a=0; PUBLISH a=1 q1 #2");
}

/* Before MQTT 5 a bridge cannot ask for "no local" and "retain as published": it has them. */
static void a_bridge_gets_nothing_of_its_own(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct mqtt_connect p = h_connect_of("mosq", true);
    p.bridge = true;
    struct client *bridge = h_connecting(&h, &p), *plain = h_connected(&h, "plain", true);
    SAYS(bridge, "CONNACK 0");
    h_send_subscribe(&h, bridge, 1, "#", 0);
    h_send_subscribe(&h, plain, 1, "#", 0);
    h_settle(&h);
    (void)h_says(&h, bridge);
    (void)h_says(&h, plain);
    h_send_publish(&h, bridge, "a", "from the bridge", 0, 0);
    h_send_publish(&h, plain, "a", "from here", 0, 0);
    h_settle(&h);
    SAYS(bridge, "PUBLISH a=from here");
    SAYS(plain, "PUBLISH a=from the bridge; PUBLISH a=from here");
    struct buf b = {0};
    const struct mqtt_publish retained = {
        .retain = true, .topic = slice_str("r"), .payload = slice_str("x")};
    mqtt_encode_publish(&b, MQTT_V311, &retained);
    h_feed(&h, plain, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
    SAYS(bridge, "PUBLISH r=x retain");
    SAYS(plain, "PUBLISH r=x");
}

/* A bridge that the configuration has no more: its session is not built again, one that is there loses the rules that are gone. */
static void what_is_not_configured_goes(void **state)
{
    struct bridge_topic topic = {
        .topic = (char *)"b", .local_prefix = (char *)"", .remote_prefix = (char *)""};
    char name[] = "x";
    (void)state;
    struct bridge_settings bridge = {.name = name, .topics = &topic, .topic_count = 1};
    h.config.bridges = &bridge;
    h.config.bridge_count = 1;
    h_start(&h, 1);
    struct client *c = own(0);
    h_send_subscribe(&h, c, 1, "a", 1);
    h_send_subscribe(&h, c, 2, "b", 1);
    h_settle(&h);
    h_stop(&h);
    h_start(&h, 1);
    assert_int_equal(topics_count(h.server->topics), 1);
    struct client *pub = h_connected(&h, "pub", true);
    h_send_publish(&h, pub, "a", "no", 1, 1);
    h_send_publish(&h, pub, "b", "yes", 1, 2);
    h_settle(&h);
    SAYS(own(0), "CONNACK 0x0 present; PUBLISH b=yes q1 #1");
    h_stop(&h);
    h.config.bridge_count = 0;
    h_start(&h, 1);
    assert_int_equal(topics_count(h.server->topics), 0);
    SAYS(own(0), "CONNACK 0x0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(its_client_id_is_for_nobody_else), TEST(it_may_do_everything),
        TEST(whose_state_may_be_told),          TEST(what_was_forgotten_is_no_repetition),
        TEST(who_prepares_gets_nothing),        TEST(a_bridge_gets_nothing_of_its_own),
        TEST(what_is_not_configured_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
