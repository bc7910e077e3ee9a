/*
 * Messages to $delayed/SECONDS/TOPIC: when they come, what is said of them, what a crash at each moment makes of them. Scenarios of
 * whole connections over the fake store.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "server_scenario.h"

#define PROP(id) (UINT64_C(1) << MQTT_PROP_##id)

static void publish(struct client *c, const char *topic, const char *payload, uint8_t qos,
                    uint16_t id)
{
    h_send_publish(&h, c, topic, payload, qos, id);
    h_settle(&h);
}

static void publish_with(struct client *c, struct mqtt_publish p)
{
    struct buf b = {0};
    mqtt_encode_publish(&b, c->version, &p);
    h_feed(&h, c, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
}

static struct client *connected5(const char *id)
{
    struct mqtt_connect p = h_connect5_of(id, true, 0);
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0x0");
    return c;
}

static void leaves(struct client *c)
{
    h_end(&h, c, 0);
    h_settle(&h);
}

static struct client *back(const char *id)
{
    struct mqtt_connect p = h_connect_of(id, false);
    return h_connecting(&h, &p);
}

static size_t waiting(void)
{
    return fake_store_count(h.store, STORE_SESSIONS, "D");
}

static uint64_t counted(size_t offset)
{
    struct server_stats st;
    uint64_t v;
    server_stats(h.server, &st);
    memcpy(&v, (const uint8_t *)&st.n + offset, sizeof v);
    return v;
}
#define COUNTED(member) counted(offsetof(struct counts, member))

static void commit(int err)
{
    assert_true(fake_commit(err));
    h_settle(&h);
}

/* ---- when ---- */

static void later_to_its_topic(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "x/#", 2);
    struct client *all = h_subscribed(&h, "all", true, "#", 0);
    struct client *pub = h_connected(&h, "pub", true);
    publish(pub, "$delayed/5/x/y", "five", 0, 0);
    publish(pub, "$delayed/3/x", "three", 1, 1);
    publish(pub, "$delayed/4/x", "four", 2, 2);
    publish(pub, "$delayed/0/x", "now", 1, 3);
    SAYS(pub, "PUBACK 1; PUBREC 2; PUBACK 3");
    SAYS(sub, "PUBLISH x=now q1 #1");
    assert_int_equal(COUNTED(delayed), 3);
    assert_int_equal(COUNTED(delayed_total), 3);
    h_pass(&h, 2990);
    SAYS(sub, "");
    h_pass(&h, 30);
    SAYS(sub, "PUBLISH x=three q1 #2");
    h_pass(&h, 980);
    SAYS(sub, "");
    leaves(pub); /* nobody waits for it to be there */
    h_pass(&h, 30);
    SAYS(sub, "PUBLISH x=four q2 #3");
    h_pass(&h, 1000);
    SAYS(sub, "PUBLISH x/y=five");
    SAYS(all, "PUBLISH x=now; PUBLISH x=three; PUBLISH x=four; PUBLISH x/y=five");
    assert_int_equal(COUNTED(delayed), 0);
    assert_int_equal(COUNTED(delayed_bytes), 0);
    assert_int_equal(waiting(), 0);
}

static void at_a_time(void **state)
{
    char topic[48];
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "x", 0);
    struct client *pub = h_connected(&h, "pub", true);
    (void)snprintf(topic, sizeof topic, "$delayed/%llu/x",
                   (unsigned long long)(fake_time.wall_us / 1000000 + 10));
    publish(pub, topic, "then", 0, 0);
    (void)snprintf(topic, sizeof topic, "$delayed/%llu/x",
                   (unsigned long long)(fake_time.wall_us / 1000000 - 10));
    publish(pub, topic, "late", 0, 0);
    SAYS(sub, "PUBLISH x=late");
    h_pass(&h, 8900);
    SAYS(sub, "");
    h_pass(&h, 1200);
    SAYS(sub, "PUBLISH x=then");
}

/* Those of one delay in the order in which they came, although they came at once, and more than go out in one round. */
static void in_order(void **state)
{
    enum { COUNT = 300 };
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "x", 1);
    struct client *pub = h_connected(&h, "pub", true);
    char text[32], wanted[COUNT * 24];
    size_t n = 0;
    for (unsigned i = 0; i < COUNT; i++) {
        (void)snprintf(text, sizeof text, "%u", i);
        h_send_publish(&h, pub, i % 3 == 0 ? "$delayed/6/x" : "$delayed/5/x", text, 0, 0);
    }
    h_settle(&h);
    h_crash(&h);
    h_start(&h, 1); /* it keeps the order, too */
    sub = h_subscribed(&h, "sub", true, "x", 0);
    h_pass(&h, 5100);
    for (unsigned i = 0; i < COUNT; i++) {
        n += i % 3 == 0 ? 0
                        : (size_t)snprintf(wanted + n, sizeof wanted - n, "%sPUBLISH x=%u",
                                           n > 0 ? "; " : "", i);
    }
    SAYS(sub, wanted);
    h_pass(&h, 1000);
    n = 0;
    for (unsigned i = 0; i < COUNT; i += 3) {
        n +=
            (size_t)snprintf(wanted + n, sizeof wanted - n, "%sPUBLISH x=%u", n > 0 ? "; " : "", i);
    }
    SAYS(sub, wanted);
}

/* ---- what it is, and is not ---- */

static void retained_when_it_is_due(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *pub = h_connected(&h, "pub", true);
    publish_with(pub, (struct mqtt_publish){.topic = slice_str("$delayed/5/x"),
                                            .payload = slice_str("kept"),
                                            .retain = true});
    SAYS(h_subscribed(&h, "before", true, "x", 0), "");
    h_pass(&h, 5100);
    struct client *sub = h_subscribed(&h, "after", true, "y", 0);
    h_send_subscribe(&h, sub, 2, "x", 0);
    h_settle(&h);
    SAYS(sub, "SUBACK 2:0; PUBLISH x=kept retain");
}

static void it_may_expire_before(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = connected5("sub"), *pub = connected5("pub");
    h_send_subscribe(&h, sub, 1, "x", 0);
    h_settle(&h);
    SAYS(sub, "SUBACK 1:0");
    struct mqtt_publish p = {.topic = slice_str("$delayed/5/x"), .payload = slice_str("short")};
    p.props.present = PROP(MESSAGE_EXPIRY);
    p.props.message_expiry = 4;
    publish_with(pub, p);
    p.payload = slice_str("long");
    p.props.message_expiry = 60;
    p.props.present |= PROP(RESPONSE_TOPIC);
    p.props.response_topic = slice_str("answers");
    publish_with(pub, p);
    h_pass(&h, 5100);
    SAYS(sub, "PUBLISH x=long {expiry=55,response=answers}");
    assert_int_equal(COUNTED(dropped[DROP_EXPIRED]), 1);
    assert_int_equal(waiting(), 0);
}

static void not_to_oneself_by_no_local(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *pub = connected5("pub");
    h_send_subscribe(&h, pub, 1, "x", 4 | 1); /* no local */
    h_settle(&h);
    SAYS(pub, "SUBACK 1:1");
    publish(pub, "$delayed/5/x", "own", 0, 0);
    publish(connected5("other"), "$delayed/5/x", "other's", 0, 0);
    h_pass(&h, 5100);
    SAYS(pub, "PUBLISH x=other's");
}

static void bad_names(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *pub = connected5("pub");
    publish(pub, "$delayed/soon/x", "x", 1, 1);
    publish(pub, "$delayed/5/", "x", 2, 2);
    SAYS(pub, "PUBACK 1 0x90; PUBREC 2 0x90");
    publish(pub, "$delayed/42949670/x", "x", 0, 0);
    SAYS(pub, "DISCONNECT 0x90");
    for (uint8_t qos = 0; qos <= 2; qos++) {
        struct client *old = h_connected(&h, "old", true);
        (void)h_records(&h);
        publish(old, "$delayed/x/5", "x", qos, 1);
        SAYS(old, "");
        RECORDS("close old protocol.violation");
    }
    assert_int_equal(waiting(), 0);
}

static void permission_is_for_where_it_goes(void **state)
{
    (void)state;
    fake_auth.deny = "secret/";
    h_start(&h, 1);
    struct client *pub = h_connected(&h, "pub", true);
    publish(pub, "$delayed/5/open", "x", 1, 1);
    SAYS(pub, "PUBACK 1");
    publish(pub, "$delayed/5/secret/x", "x", 1, 2);
    RECORDS("connect pub accepted.new; close pub topic.publish");
    pub = h_connected(&h, "pub", true);
    publish(pub, "$delayed/0/$SYS/x", "x", 1, 2);
    RECORDS("connect pub accepted.new; close pub topic.publish");
    assert_int_equal(waiting(), 1);
}

static void no_more_than_may_wait(void **state)
{
    (void)state;
    h.config.max_delayed_messages = 2;
    h.config.max_delayed_bytes = 2000;
    h_start(&h, 2);
    struct client *pub = connected5(h_id_of(&h, 0, "pub"));
    struct client *old = h_connected(&h, h_id_of(&h, 1, "old"), true);
    publish(pub, "$delayed/5/x", "x", 1, 1);
    publish(old, "$delayed/5/x", "x", 1, 2);
    SAYS(old, "PUBACK 2");
    publish(pub, "$delayed/5/x", "x", 1, 3);
    publish(pub, "$delayed/5/x", "x", 2, 4);
    SAYS(pub, "PUBACK 1; PUBACK 3 0x97; PUBREC 4 0x97");
    publish(pub, "$delayed/5/x", "x", 0, 0);
    SAYS(pub, "");
    (void)h_records(&h);
    publish(old, "$delayed/5/x", "x", 1, 5);
    SAYS(old, "");
    assert_non_null(strstr(h_records(&h), "limit.delayed"));
    assert_int_equal(h_evidence(h_record(CAUSE_LIMIT_DELAYED), EV_LIMIT), 2);
    assert_int_equal(COUNTED(dropped[DROP_DELAYED]), 4);
    h_pass(&h, 5100);
    static const char large[2000] = "";
    publish_with(pub, (struct mqtt_publish){.topic = slice_str("$delayed/5/x"),
                                            .payload = slice_make(large, sizeof large),
                                            .qos = 1,
                                            .packet_id = 6});
    publish(pub, "$delayed/5/x", "x", 1, 7);
    SAYS(pub, "PUBACK 6 0x97; PUBACK 7");
}

static void it_may_be_off(void **state)
{
    (void)state;
    h.config.max_delayed_messages = 0;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "$delayed/#", 0);
    struct client *pub = h_connected(&h, "pub", true);
    publish(pub, "$delayed/5/x", "as it is", 0, 0);
    publish(pub, "$delayed/x", "too", 0, 0);
    SAYS(sub, "PUBLISH $delayed/5/x=as it is; PUBLISH $delayed/x=too");
}

static void a_will_may_be_delayed(void **state)
{
    (void)state;
    fake_auth.deny = "secret/";
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "w", 1);
    struct mqtt_connect p = h_connect_of("dev", true);
    p.will = (struct mqtt_will){.present = true,
                                .qos = 1,
                                .topic = slice_str("$delayed/5/w"),
                                .payload = slice_str("gone")};
    struct client *c = h_connecting(&h, &p);
    SAYS(c, "CONNACK 0");
    leaves(c);
    h_pass(&h, 4900);
    SAYS(sub, "");
    h_pass(&h, 200);
    SAYS(sub, "PUBLISH w=gone q1 #1");
    (void)h_connecting(&h, &p);
    h_crash(&h);
    h_start(&h, 1);
    sub = h_subscribed(&h, "sub", true, "w", 1);
    h_pass(&h, 5100);
    SAYS(sub, "PUBLISH w=gone q1 #1");
    p.will.topic = slice_str("$delayed/5/secret/w");
    (void)h_records(&h);
    SAYS(h_connecting(&h, &p), "CONNACK 5");
    RECORDS("close dev topic.will");
    p.will.topic = slice_str("$delayed/w");
    SAYS(h_connecting(&h, &p), "CONNACK 5");
    RECORDS("close dev protocol.violation");
    p = h_connect5_of("dev", true, 0);
    p.will = (struct mqtt_will){.present = true, .topic = slice_str("$delayed/5")};
    SAYS(h_connecting(&h, &p), "CONNACK 0x90");
}

/* ---- what must survive ---- */

static void acknowledged_when_it_is_stored(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "x", 1);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    publish(pub, "$delayed/5/x", "x", 1, 1);
    publish(pub, "$delayed/5/x", "y", 2, 2);
    SAYS(pub, "");
    assert_int_equal(waiting(), 0);
    commit(0);
    SAYS(pub, "PUBACK 1");
    assert_int_equal(waiting(), 1);
    commit(0);
    SAYS(pub, "PUBREC 2");
    fake_trace.hold = false;
    h_crash(&h);
    fake_time.wall_us += UINT64_C(3000000); /* it was down for a while */
    h_start(&h, 1);
    sub = h_subscribed(&h, "sub", true, "x", 1);
    h_pass(&h, 1900);
    SAYS(sub, "");
    h_pass(&h, 200);
    SAYS(sub, "PUBLISH x=x q1 #1; PUBLISH x=y q1 #2");
    assert_int_equal(waiting(), 0);
    h_crash(&h);
    h_start(&h, 1);
    sub = h_subscribed(&h, "sub", true, "x", 1);
    h_pass(&h, 10000);
    SAYS(sub, ""); /* once */
}

static void due_while_it_was_down(void **state)
{
    (void)state;
    h_start(&h, 2);
    leaves(h_subscribed(&h, h_id_of(&h, 1, "sub"), false, "x", 1));
    struct client *pub = h_connected(&h, h_id_of(&h, 0, "pub"), true);
    publish(pub, "$delayed/9/x", "b", 1, 1);
    publish(pub, "$delayed/5/x", "a", 1, 2);
    h_stop(&h);
    assert_int_equal(waiting(), 2);
    fake_time.mono_ms = 5; /* another machine, perhaps */
    fake_time.wall_us += UINT64_C(3600000000);
    h_start(&h, 1); /* with another number of loops */
    h_pass(&h, 100);
    SAYS(back(h_id_of(&h, 0, "sub")), "CONNACK 0"); /* another's ID: see below */
    assert_int_equal(waiting(), 0);
    h_stop(&h);
    h_start(&h, 2);
    SAYS(back(h_id_of(&h, 1, "sub")), "CONNACK 0 present; PUBLISH x=a q1 #1; PUBLISH x=b q1 #2");
}

/* The publisher repeats what it does not know to be safe. */
static void qos_2_is_kept_once(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *pub = h_connected(&h, "pub", false);
    fake_trace.hold = true;
    publish(pub, "$delayed/5/x", "x", 2, 7);
    SAYS(pub, "");
    fake_trace.hold = false;
    commit(0);
    h_crash(&h);
    h_start(&h, 1);
    pub = back("pub");
    SAYS(pub, "CONNACK 0 present");
    publish(pub, "$delayed/5/x", "x", 2, 7);
    publish(pub, "$delayed/5/x", "x", 2, 7);
    SAYS(pub, "PUBREC 7; PUBREC 7");
    h_send_ack(&h, pub, MQTT_PUBREL, 7);
    h_settle(&h);
    SAYS(pub, "PUBCOMP 7");
    assert_int_equal(waiting(), 1);
    struct client *sub = h_subscribed(&h, "sub", true, "x", 2);
    h_pass(&h, 5100);
    SAYS(sub, "PUBLISH x=x q2 #1");
}

/*
 * It goes out to sessions of both loops, and to a group whose member is on the other one. `commits` of the batches reach the store
 * before the crash.
 */
static void crash_while_it_goes_out(uint8_t qos, unsigned commits, bool reversed)
{
    static const char *const filters[] = {"x/y", "x/#", "$share/g/x/y"};
    static const unsigned at[] = {0, 1, 1};
    char id[3][32];
    h_start(&h, 2);
    for (unsigned i = 0; i < 3; i++) {
        char prefix[8];
        (void)snprintf(prefix, sizeof prefix, "sub%u", i);
        (void)snprintf(id[i], sizeof id[i], "%s", h_id_of(&h, at[i], prefix));
        leaves(h_subscribed(&h, id[i], false, filters[i], 2));
    }
    struct client *pub = h_connected(&h, h_id_of(&h, 0, "pub"), true);
    publish(pub, "$delayed/5/x/y", "x", qos, 1);
    assert_int_equal(waiting(), 1);
    fake_trace.hold = true;
    h_pass(&h, 5100);
    for (unsigned i = 0; i < commits && fake_trace.head != NULL; i++) {
        struct commit_job *first = fake_trace.head, *second = first->next;
        if (reversed && second != NULL && second->next == NULL) {
            second->next = first;
            first->next = NULL;
            fake_trace.head = second;
            fake_trace.tail = &first->next;
        }
        commit(0);
    }
    fake_trace.hold = false;
    h_crash(&h);
    h_start(&h, 2);
    h_pass(&h, 100);
    assert_int_equal(waiting(), 0);
    for (unsigned i = 0; i < 3; i++) {
        const char *once = qos == 2 ? "CONNACK 0 present; PUBLISH x/y=x q2 #1"
                                    : "CONNACK 0 present; PUBLISH x/y=x q1 #1";
        const char *says = h_says(&h, back(id[i]));
        bool twice = qos == 1 && strlen(says) > strlen(once);
        if (twice ? strncmp(says, once, strlen(once)) != 0 : strcmp(says, once) != 0) {
            fail_msg("qos %u, %u commits, %s: %s", qos, commits, id[i], says);
        }
    }
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "I"), 0);
    h_stop(&h);
}

static void a_crash_while_it_goes_out(void **state)
{
    (void)state;
    for (uint8_t qos = 1; qos <= 2; qos++) {
        for (unsigned commits = 0; commits <= 5; commits++) {
            for (int reversed = 0; reversed <= 1; reversed++) {
                crash_while_it_goes_out(qos, commits, reversed != 0);
                h_fini(&h);
                h_init(&h);
            }
        }
    }
}

/* More than may be on their way to another loop at a time. */
static void a_crowd_to_another_loop(void **state)
{
    enum { COUNT = 700 };
    (void)state;
    h_start(&h, 2);
    leaves(h_subscribed(&h, h_id_of(&h, 1, "sub"), false, "x", 1));
    struct client *pub = h_connected(&h, h_id_of(&h, 0, "pub"), true);
    for (uint16_t i = 1; i <= COUNT; i++) {
        h_send_publish(&h, pub, "$delayed/5/x", "x", 1, i);
    }
    h_settle(&h);
    assert_int_equal(waiting(), COUNT);
    fake_trace.hold = true;
    h_pass(&h, 5200);
    assert_int_equal(h.server->workers[0]->delays.going_count, 512);
    fake_trace.hold = false;
    while (fake_commit(0)) {
    }
    h_pass(&h, 200);
    assert_int_equal(waiting(), 0);
    assert_int_equal(COUNTED(delayed), 0);
    assert_int_equal(fake_store_count(h.store, STORE_QUEUES, ""), COUNT);
}

/* Rows that cannot be read are passed over. */
static void bad_rows(void **state)
{
    static const struct {
        const char *key;
        size_t key_n;
        const char *value;
        size_t value_n;
    } rows[] = {
        {"D\0\0\0\0\0\0\0\7", 9, "\2", 1},
        {"D\0\0\0\0\0\0\0\7", 8, "\1", 1},
        {"D\0\0\0\0\0\0\0\x08", 9, "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3de", 25},
        {"D\0\0\0\0\0\0\0\x09", 9,
         "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3dev\x30\x05\0\1t\0", 32},
        {"D\0\0\0\0\0\0\0\x0a", 9,
         "\1\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\3dev\x30\x05\0\1t\0x", 33},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct store_batch *b = fake_batch_new();
        store_batch_put(b, store_family(h.store, STORE_SESSIONS),
                        slice_make(rows[i].key, rows[i].key_n),
                        slice_make(rows[i].value, rows[i].value_n));
        fake_batch_end(h.store, b, true);
    }
    h_start(&h, 1);
    h_pass(&h, 50);
    assert_int_equal(COUNTED(delayed), 0); /* the last one is good, and went out */
    assert_int_equal(waiting(), 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(later_to_its_topic),
                                       TEST(at_a_time),
                                       TEST(in_order),
                                       TEST(retained_when_it_is_due),
                                       TEST(it_may_expire_before),
                                       TEST(not_to_oneself_by_no_local),
                                       TEST(bad_names),
                                       TEST(permission_is_for_where_it_goes),
                                       TEST(no_more_than_may_wait),
                                       TEST(it_may_be_off),
                                       TEST(a_will_may_be_delayed),
                                       TEST(acknowledged_when_it_is_stored),
                                       TEST(due_while_it_was_down),
                                       TEST(qos_2_is_kept_once),
                                       TEST(a_crash_while_it_goes_out),
                                       TEST(a_crowd_to_another_loop),
                                       TEST(bad_rows)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
