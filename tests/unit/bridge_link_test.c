/* The state machine between two brokers: what it says to each, packet by packet, with time by command. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>

#include "bridge/link.h"
#include "bridge/mark.h"
#include "mqtt/client.h"

struct fixture {
    struct bridge_settings settings;
    struct bridge_topic topics[2];
    struct bridge_mapping mapping;
    struct bridge_counters counters;
    struct link_options options;
    struct link *link;
    uint64_t now;
    char text[2048], warned[512];
};

static void on_warn(void *arg, const char *what, const char *detail)
{
    struct fixture *f = arg;
    (void)snprintf(f->warned, sizeof f->warned, "%s: %s", what, detail);
}

static void setup(struct fixture *f, enum bridge_version version)
{
    *f = (struct fixture){.now = 1000};
    f->topics[0] = (struct bridge_topic){.topic = (char *)"o/#",
                                         .local_prefix = (char *)"",
                                         .remote_prefix = (char *)"r/",
                                         .direction = BRIDGE_OUT,
                                         .qos = 2};
    f->topics[1] = (struct bridge_topic){.topic = (char *)"i/#",
                                         .local_prefix = (char *)"l/",
                                         .remote_prefix = (char *)"",
                                         .direction = BRIDGE_IN,
                                         .qos = 1};
    f->settings = (struct bridge_settings){.name = (char *)"plant",
                                           .username = (char *)"",
                                           .password = (char *)"",
                                           .notifications_topic = (char *)"",
                                           .version = version,
                                           .keepalive_ms = 10000,
                                           .session_expiry_ms = 60000,
                                           .max_inflight = 10,
                                           .topics = f->topics,
                                           .topic_count = 2};
    bridge_mapping_init(&f->mapping, f->topics, 2);
    f->options = (struct link_options){.settings = &f->settings,
                                       .mapping = &f->mapping,
                                       .counters = &f->counters,
                                       .local_client_id = "$bridge/plant",
                                       .remote_client_id = "node.plant",
                                       .id = "own-id",
                                       .private_bit = true,
                                       .warn = on_warn,
                                       .arg = f};
    f->link = link_new(&f->options);
}

static void teardown(struct fixture *f)
{
    link_free(f->link);
    bridge_mapping_fini(&f->mapping);
}

static enum mqtt_version version_of(const struct fixture *f, enum bridge_side side)
{
    return side == BRIDGE_LOCAL || f->settings.version == BRIDGE_V5 ? MQTT_V5
           : f->settings.version == BRIDGE_V31                      ? MQTT_V31
                                                                    : MQTT_V311;
}

/* ---- what the link says ---- */

static void add(struct fixture *f, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void add(struct fixture *f, const char *fmt, ...)
{
    size_t n = strlen(f->text);
    va_list args;
    va_start(args, fmt);
    (void)snprintf(f->text + n, sizeof f->text - n, "%s", n > 0 ? "; " : "");
    n = strlen(f->text);
    (void)vsnprintf(f->text + n, sizeof f->text - n, fmt, args);
    va_end(args);
}

static void say_connect(struct fixture *f, const struct mqtt_frame *frame)
{
    struct mqtt_connect c;
    struct mqtt_error err;
    assert_int_equal(mqtt_decode_connect(frame, &c, &err), 0);
    add(f, "CONNECT %.*s%s%s", (int)c.client_id.n, (const char *)c.client_id.p,
        c.clean_start ? " clean" : "", c.bridge ? " bridge" : "");
    if (c.will.present) {
        add(f, "will %.*s", (int)c.will.topic.n, (const char *)c.will.topic.p);
    }
}

static void say_publish(struct fixture *f, const struct mqtt_frame *frame, enum mqtt_version v)
{
    struct mqtt_publish p;
    struct mqtt_error err;
    struct slice mark;
    assert_int_equal(mqtt_decode_publish(frame, v, &p, &err), 0);
    bool marked = bridge_mark_first(p.props.user, &mark);
    add(f, "PUBLISH %.*s=%.*s q%u", (int)p.topic.n, (const char *)p.topic.p, (int)p.payload.n,
        (const char *)p.payload.p, p.qos);
    size_t n = strlen(f->text);
    (void)snprintf(f->text + n, sizeof f->text - n, "%s%s%s%.*s", p.dup ? " dup" : "",
                   p.retain ? " retain" : "", marked ? " by " : "", marked ? (int)mark.n : 0,
                   marked ? (const char *)mark.p : "");
    if (p.qos > 0) {
        n = strlen(f->text);
        (void)snprintf(f->text + n, sizeof f->text - n, " #%u", p.packet_id);
    }
}

static void say_other(struct fixture *f, const struct mqtt_frame *frame, enum mqtt_version v)
{
    struct mqtt_error err;
    if (frame->type == MQTT_SUBSCRIBE) {
        struct mqtt_subscribe s;
        struct mqtt_sub sub;
        assert_int_equal(mqtt_decode_subscribe(frame, v, &s, &err), 0);
        while (mqtt_sub_next(&s.entries, false, &sub)) {
            add(f, "SUBSCRIBE %.*s q%u #%u%s", (int)sub.filter.n, (const char *)sub.filter.p,
                sub.qos, s.packet_id, sub.no_local ? " no-local" : "");
        }
    } else if (frame->type >= MQTT_PUBACK && frame->type <= MQTT_PUBCOMP) {
        struct mqtt_ack a;
        assert_int_equal(mqtt_decode_ack(frame, v, &a, &err), 0);
        add(f, "%s #%u", mqtt_type_text(frame->type), a.packet_id);
        if (a.reason != 0) {
            size_t n = strlen(f->text);
            (void)snprintf(f->text + n, sizeof f->text - n, " 0x%x", a.reason);
        }
    } else {
        add(f, "%s", mqtt_type_text(frame->type));
    }
}

/* All that it has for a side, and takes it away. */
static const char *says(struct fixture *f, enum bridge_side side)
{
    struct buf *out = link_out(f->link, side);
    struct mqtt_frame frame;
    struct mqtt_error err;
    f->text[0] = '\0';
    while (buf_len(out) > 0) {
        long n = mqtt_frame(buf_slice(out), UINT32_MAX, &frame, &err);
        assert_true(n > 0);
        if (frame.type == MQTT_CONNECT) {
            say_connect(f, &frame);
        } else if (frame.type == MQTT_PUBLISH) {
            say_publish(f, &frame, version_of(f, side));
        } else {
            say_other(f, &frame, version_of(f, side));
        }
        buf_take(out, (size_t)n);
    }
    return f->text;
}

#define assert_says(f, side, expected) assert_string_equal(says(f, side), expected)

/* ---- what the brokers say ---- */

static void fed(struct fixture *f, enum bridge_side side)
{
    link_fed(f->link, side, f->now);
    (void)link_run(f->link, f->now);
}

static void connack(struct fixture *f, enum bridge_side side, bool present, uint8_t code,
                    const struct mqtt_props *props)
{
    mqtt_encode_connack(link_in(f->link, side), version_of(f, side), present, code, props);
    fed(f, side);
}

static void suback(struct fixture *f, enum bridge_side side, uint16_t id, uint8_t code)
{
    mqtt_encode_suback(link_in(f->link, side), version_of(f, side), id, &code, 1);
    fed(f, side);
}

static void publish(struct fixture *f, enum bridge_side side, const char *topic, uint8_t qos,
                    uint16_t id, const char *mark)
{
    struct buf user = {0};
    struct mqtt_publish p = {
        .topic = slice_str(topic), .payload = slice_str("x"), .qos = qos, .packet_id = id};
    if (mark != NULL) {
        bridge_mark_put(&user, slice_str(mark));
        p.extra = buf_slice(&user);
    }
    mqtt_encode_publish(link_in(f->link, side), version_of(f, side), &p);
    buf_fini(&user);
    fed(f, side);
}

static void ack(struct fixture *f, enum bridge_side side, enum mqtt_type type, uint16_t id,
                uint8_t reason)
{
    mqtt_encode_ack(link_in(f->link, side), version_of(f, side), type, id, reason);
    fed(f, side);
}

/* To OPEN; what it said on the way is taken. The remote has the properties. */
static void open_link(struct fixture *f, const struct mqtt_props *props)
{
    link_begin(f->link, f->now);
    connack(f, BRIDGE_REMOTE, true, 0, props);
    assert_int_equal(link_phase(f->link), LINK_LOCAL_WANTED);
    link_local_opened(f->link, f->now);
    connack(f, BRIDGE_LOCAL, true, 0, NULL);
    suback(f, BRIDGE_LOCAL, 1, 2);
    suback(f, BRIDGE_REMOTE, 65535, 1);
    assert_int_equal(link_phase(f->link), LINK_OPEN);
    (void)says(f, BRIDGE_LOCAL);
    (void)says(f, BRIDGE_REMOTE);
}

/* ---- tests ---- */

static void test_opening(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    f.settings.notifications = true;
    link_begin(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE,
                "CONNECT node.plant; will $SYS/broker/connection/node.plant/state");
    connack(&f, BRIDGE_REMOTE, false, 0, NULL);
    assert_int_equal(link_phase(f.link), LINK_LOCAL_WANTED);
    assert_true(link_forgets_incoming(f.link));
    link_local_opened(f.link, f.now);
    assert_says(&f, BRIDGE_LOCAL, "CONNECT $bridge/plant; will $SYS/broker/connection/plant/state");
    connack(&f, BRIDGE_LOCAL, true, 0, NULL);
    assert_says(&f, BRIDGE_LOCAL, "SUBSCRIBE o/# q2 #1 no-local");
    assert_says(&f, BRIDGE_REMOTE, "");
    suback(&f, BRIDGE_LOCAL, 1, 2);
    assert_says(&f, BRIDGE_REMOTE, "SUBSCRIBE i/# q1 #65535 no-local");
    suback(&f, BRIDGE_REMOTE, 65535, 1);
    assert_says(&f, BRIDGE_REMOTE, "PUBLISH $SYS/broker/connection/node.plant/state=1 q0 retain");
    assert_says(&f, BRIDGE_LOCAL, "PUBLISH $SYS/broker/connection/plant/state=1 q0 retain");
    teardown(&f);
}

/* What the local session repeats is held until the remote is subscribed, and its SUBSCRIBE takes another identifier. */
static void test_what_is_repeated_is_held(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    link_begin(f.link, f.now);
    connack(&f, BRIDGE_REMOTE, true, 0, NULL);
    assert_false(link_forgets_incoming(f.link));
    publish(&f, BRIDGE_REMOTE, "i/early", 1, 9, NULL); /* the remote repeats, too: later */
    link_local_opened(f.link, f.now);
    connack(&f, BRIDGE_LOCAL, true, 0, NULL);
    ack(&f, BRIDGE_LOCAL, MQTT_PUBREL, 65535, 0);
    publish(&f, BRIDGE_LOCAL, "o/1", 1, 65534, NULL);
    (void)says(&f, BRIDGE_REMOTE);
    (void)says(&f, BRIDGE_LOCAL);
    suback(&f, BRIDGE_LOCAL, 1, 2);
    assert_says(&f, BRIDGE_REMOTE, "SUBSCRIBE i/# q1 #65533 no-local");
    assert_says(&f, BRIDGE_LOCAL, "PUBLISH l/i/early=x q1 #9");
    publish(&f, BRIDGE_LOCAL, "o/2", 1, 1, NULL);
    assert_says(&f, BRIDGE_REMOTE, "");
    suback(&f, BRIDGE_REMOTE, 65533, 1);
    assert_says(
        &f, BRIDGE_REMOTE,
        "PUBREL #65535; PUBLISH r/o/1=x q1 by own-id #65534; PUBLISH r/o/2=x q1 by own-id #1");
    teardown(&f);
}

static void test_acknowledgements_pass(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V311);
    open_link(&f, NULL);
    publish(&f, BRIDGE_LOCAL, "o/a", 1, 7, NULL);
    publish(&f, BRIDGE_LOCAL, "o/b", 2, 8, NULL);
    assert_says(&f, BRIDGE_REMOTE, "PUBLISH r/o/a=x q1 #7; PUBLISH r/o/b=x q2 #8");
    ack(&f, BRIDGE_REMOTE, MQTT_PUBACK, 7, 0);
    ack(&f, BRIDGE_REMOTE, MQTT_PUBREC, 8, 0);
    assert_says(&f, BRIDGE_LOCAL, "PUBACK #7; PUBREC #8");
    ack(&f, BRIDGE_LOCAL, MQTT_PUBREL, 8, 0);
    assert_says(&f, BRIDGE_REMOTE, "PUBREL #8");
    ack(&f, BRIDGE_REMOTE, MQTT_PUBCOMP, 8, 0);
    assert_says(&f, BRIDGE_LOCAL, "PUBCOMP #8");
    publish(&f, BRIDGE_REMOTE, "i/c", 2, 8, NULL);
    assert_says(&f, BRIDGE_LOCAL, "PUBLISH l/i/c=x q2 #8");
    ack(&f, BRIDGE_LOCAL, MQTT_PUBREC, 8, 0x10);
    assert_says(&f, BRIDGE_REMOTE, "PUBREC #8");
    ack(&f, BRIDGE_REMOTE, MQTT_PUBREL, 8, 0);
    ack(&f, BRIDGE_LOCAL, MQTT_PUBCOMP, 8, 0);
    assert_says(&f, BRIDGE_REMOTE, "PUBCOMP #8");
    assert_int_equal(f.counters.out, 2);
    assert_int_equal(f.counters.in, 1);
    teardown(&f);
}

/* What goes no further is acknowledged here, to the end of its exchange. */
static void test_dropped(void **state)
{
    struct fixture f;
    struct buf user = {0};
    (void)state;
    setup(&f, BRIDGE_V5);
    bridge_mark_put(&user, slice_str("their-id"));
    struct mqtt_props props = {.max_packet = 30, .user = buf_slice(&user)};
    props.present = UINT64_C(1) << MQTT_PROP_MAX_PACKET | UINT64_C(1) << MQTT_PROP_USER;
    open_link(&f, &props);
    publish(&f, BRIDGE_LOCAL, "o/a", 1, 1, "their-id");
    publish(&f, BRIDGE_LOCAL, "o/a", 2, 2, "their-id");
    assert_says(&f, BRIDGE_LOCAL, "PUBACK #1; PUBREC #2");
    ack(&f, BRIDGE_LOCAL, MQTT_PUBREL, 2, 0);
    assert_says(&f, BRIDGE_LOCAL, "PUBCOMP #2");
    assert_int_equal(f.counters.looped, 2);
    publish(&f, BRIDGE_REMOTE, "i/a", 2, 3, "own-id");
    ack(&f, BRIDGE_REMOTE, MQTT_PUBREL, 3, 0);
    assert_says(&f, BRIDGE_REMOTE, "PUBREC #3; PUBCOMP #3");
    assert_int_equal(f.counters.looped, 3);
    publish(&f, BRIDGE_REMOTE, "elsewhere", 1, 4, NULL);
    assert_says(&f, BRIDGE_REMOTE, "PUBACK #4");
    assert_int_equal(f.counters.unmapped, 1);
    publish(&f, BRIDGE_LOCAL, "o/a", 2, 5, NULL);
    assert_says(&f, BRIDGE_LOCAL, "PUBREC #5");
    assert_int_equal(f.counters.too_large, 1);
    assert_non_null(strstr(f.warned, "too large"));
    publish(&f, BRIDGE_REMOTE, "i/b", 0, 0, NULL);
    assert_says(&f, BRIDGE_LOCAL, "PUBLISH l/i/b=x q0 by their-id");
    assert_says(&f, BRIDGE_REMOTE, "");
    buf_fini(&user);
    teardown(&f);
}

static void test_a_lower_qos(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    struct mqtt_props props = {.max_qos = 1, .present = UINT64_C(1) << MQTT_PROP_MAX_QOS};
    open_link(&f, &props);
    publish(&f, BRIDGE_LOCAL, "o/a", 2, 5, NULL);
    assert_says(&f, BRIDGE_REMOTE, "PUBLISH r/o/a=x q1 by own-id #5");
    ack(&f, BRIDGE_REMOTE, MQTT_PUBACK, 5, 0);
    assert_says(&f, BRIDGE_LOCAL, "PUBREC #5");
    ack(&f, BRIDGE_LOCAL, MQTT_PUBREL, 5, 0);
    assert_says(&f, BRIDGE_LOCAL, "PUBCOMP #5");
    assert_says(&f, BRIDGE_REMOTE, "");
    teardown(&f);
    setup(&f, BRIDGE_V5);
    props.max_qos = 0;
    open_link(&f, &props);
    publish(&f, BRIDGE_LOCAL, "o/a", 1, 5, NULL);
    assert_says(&f, BRIDGE_REMOTE, "PUBLISH r/o/a=x q0 by own-id");
    assert_says(&f, BRIDGE_LOCAL, "PUBACK #5");
    teardown(&f);
}

static void test_refused(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    open_link(&f, NULL);
    publish(&f, BRIDGE_LOCAL, "o/a", 2, 5, NULL);
    ack(&f, BRIDGE_REMOTE, MQTT_PUBREC, 5, 0x87);
    assert_says(&f, BRIDGE_LOCAL, "PUBREC #5 0x87");
    assert_int_equal(f.counters.refused, 1);
    assert_string_equal(f.warned, "the remote refused a message: not authorized");
    teardown(&f);
}

static void test_a_refused_subscription(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    link_begin(f.link, f.now);
    connack(&f, BRIDGE_REMOTE, true, 0, NULL);
    link_local_opened(f.link, f.now);
    connack(&f, BRIDGE_LOCAL, true, 0, NULL);
    suback(&f, BRIDGE_LOCAL, 1, 2);
    suback(&f, BRIDGE_REMOTE, 65535, 0x87);
    assert_int_equal(link_phase(f.link), LINK_OPEN);
    assert_string_equal(f.warned, "the remote refused a subscription: i/#: not authorized");
    teardown(&f);
}

/* One that does not know the bit of bridges is known by its answer, or by having none. */
static void test_the_bit_of_bridges(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V311);
    link_begin(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "CONNECT node.plant bridge");
    connack(&f, BRIDGE_REMOTE, false, 1, NULL);
    assert_true(link_private_refused(f.link));
    teardown(&f);
    setup(&f, BRIDGE_V311);
    link_begin(f.link, f.now);
    link_end(f.link, "closed");
    assert_true(link_private_refused(f.link));
    teardown(&f);
    setup(&f, BRIDGE_V311);
    link_begin(f.link, f.now);
    connack(&f, BRIDGE_REMOTE, false, 5, NULL);
    assert_false(link_private_refused(f.link));
    assert_string_equal(link_error(f.link), "the remote refused the connection: not authorized");
    teardown(&f);
    setup(&f, BRIDGE_V5);
    link_begin(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "CONNECT node.plant");
    link_end(f.link, "closed");
    assert_false(link_private_refused(f.link));
    teardown(&f);
}

/* Ours is gone: the remote's half must go, too. */
static void test_a_local_session_that_is_new(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    link_begin(f.link, f.now);
    connack(&f, BRIDGE_REMOTE, true, 0, NULL);
    link_local_opened(f.link, f.now);
    connack(&f, BRIDGE_LOCAL, false, 0, NULL);
    assert_int_equal(link_phase(f.link), LINK_ENDED);
    assert_true(link_local_answered(f.link) && link_local_is_new(f.link));
    link_free(f.link);
    f.options.forget_remote = true;
    f.link = link_new(&f.options);
    link_begin(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "CONNECT node.plant clean");
    teardown(&f);
}

/* Before MQTT 5 a session that begins clean ends with its connection: that one is to forget, the next is to stay. */
static void test_forgetting_before_mqtt_5(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V311);
    link_free(f.link);
    f.options.forget_remote = true;
    f.link = link_new(&f.options);
    link_begin(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "CONNECT node.plant clean bridge");
    connack(&f, BRIDGE_REMOTE, false, 0, NULL);
    assert_int_equal(link_phase(f.link), LINK_ENDED);
    assert_true(link_forgot(f.link) && !link_private_refused(f.link));
    link_farewell(f.link);
    assert_says(&f, BRIDGE_REMOTE, "DISCONNECT");
    teardown(&f);
}

static void test_preparing(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    f.settings.notifications = true;
    link_prepare(f.link, f.now);
    assert_says(&f, BRIDGE_LOCAL, "CONNECT $bridge/plant");
    struct mqtt_props props = {.max_packet = 5000, .present = UINT64_C(1) << MQTT_PROP_MAX_PACKET};
    connack(&f, BRIDGE_LOCAL, false, 0, &props);
    suback(&f, BRIDGE_LOCAL, 1, 2);
    assert_int_equal(link_phase(f.link), LINK_PREPARED);
    assert_true(link_local_is_new(f.link));
    assert_int_equal(link_local_max_packet(f.link), 5000);
    link_farewell(f.link);
    assert_says(
        &f, BRIDGE_LOCAL,
        "SUBSCRIBE o/# q2 #1 no-local; PUBLISH $SYS/broker/connection/plant/state=0 q0 retain; "
        "DISCONNECT");
    assert_says(&f, BRIDGE_REMOTE, "");
    teardown(&f);
}

/* PINGREQ after the keepalive without anything out or in; the end after one and a half of it. */
static void test_keepalive(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    open_link(&f, NULL);
    assert_int_equal(link_due_ms(f.link), f.now + 10000);
    f.now += 9999;
    link_tick(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "");
    f.now += 1;
    link_tick(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "PINGREQ");
    link_tick(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "");
    buf_put(link_in(f.link, BRIDGE_REMOTE), "\xd0\x00", 2);
    fed(&f, BRIDGE_REMOTE);
    f.now += 10000;
    link_tick(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "PINGREQ");
    f.now += 4999;
    link_tick(f.link, f.now);
    assert_int_equal(link_phase(f.link), LINK_OPEN);
    f.now += 1;
    link_tick(f.link, f.now);
    assert_string_equal(link_error(f.link), "the remote was silent for 15000 ms");
    teardown(&f);
}

static void test_no_answer(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    link_begin(f.link, f.now);
    assert_int_equal(link_due_ms(f.link), f.now + 30000);
    link_tick(f.link, f.now + 30000);
    assert_string_equal(link_error(f.link), "no answer within 30 s: CONNECT to the remote");
    teardown(&f);
}

/* A side is not read while the other has enough to write, and its packets wait. */
static void test_back_pressure(void **state)
{
    struct fixture f;
    unsigned n = 0;
    (void)state;
    setup(&f, BRIDGE_V5);
    open_link(&f, NULL);
    while (link_reads(f.link, BRIDGE_LOCAL) && n < 100000) {
        publish(&f, BRIDGE_LOCAL, "o/a", 0, 0, NULL);
        n++;
    }
    assert_in_range(n, 100, 99999);
    assert_true(link_reads(f.link, BRIDGE_REMOTE));
    publish(&f, BRIDGE_LOCAL, "o/last", 0, 0, NULL);
    assert_int_equal(f.counters.out, n);
    buf_clear(link_out(f.link, BRIDGE_REMOTE));
    (void)link_run(f.link, f.now);
    assert_says(&f, BRIDGE_REMOTE, "PUBLISH r/o/last=x q0 by own-id");
    teardown(&f);
}

static void test_endings(void **state)
{
    struct fixture f;
    (void)state;
    setup(&f, BRIDGE_V5);
    open_link(&f, NULL);
    mqtt_encode_disconnect(link_in(f.link, BRIDGE_REMOTE), 0x8b, NULL);
    fed(&f, BRIDGE_REMOTE);
    assert_string_equal(link_error(f.link), "the remote broker disconnected: server shutting down");
    link_farewell(f.link);
    assert_says(&f, BRIDGE_LOCAL, "DISCONNECT");
    teardown(&f);
    static const char bad[] = "\xf9\x00";
    setup(&f, BRIDGE_V311);
    open_link(&f, NULL);
    buf_put(link_in(f.link, BRIDGE_REMOTE), bad, 2);
    fed(&f, BRIDGE_REMOTE);
    assert_non_null(strstr(link_error(f.link), "the remote broker sent a bad packet"));
    link_end(f.link, "later");
    assert_null(strstr(link_error(f.link), "later"));
    teardown(&f);
    setup(&f, BRIDGE_V5);
    open_link(&f, NULL);
    mqtt_encode_subscribe(link_in(f.link, BRIDGE_REMOTE), MQTT_V5, 1,
                          &(struct mqtt_sub){.filter = slice_str("a")}, 1, NULL);
    fed(&f, BRIDGE_REMOTE);
    assert_string_equal(link_error(f.link), "the remote broker sent SUBSCRIBE, which it may not");
    teardown(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_opening),
        cmocka_unit_test(test_what_is_repeated_is_held),
        cmocka_unit_test(test_acknowledgements_pass),
        cmocka_unit_test(test_dropped),
        cmocka_unit_test(test_a_lower_qos),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_a_refused_subscription),
        cmocka_unit_test(test_the_bit_of_bridges),
        cmocka_unit_test(test_a_local_session_that_is_new),
        cmocka_unit_test(test_forgetting_before_mqtt_5),
        cmocka_unit_test(test_preparing),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_no_answer),
        cmocka_unit_test(test_back_pressure),
        cmocka_unit_test(test_endings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
