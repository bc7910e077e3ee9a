/*
 * What must be in the store before it is said to anyone, and what a restart makes of the store: scenarios of whole
 * connections over the fake store, with batches that are held, refused, or lost with the process.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server_scenario.h"

static void publish(struct client *c, const char *topic, const char *payload, uint8_t qos,
                    uint16_t id)
{
    h_send_publish(&h, c, topic, payload, qos, id);
    h_settle(&h);
}

static void answer(struct client *c, enum mqtt_type type, uint16_t id)
{
    h_send_ack(&h, c, type, id);
    h_settle(&h);
}

/* One batch arrives in the store, or is refused. */
static void commit(int err)
{
    assert_true(fake_commit(err));
    h_settle(&h);
}

static size_t rows(enum store_family f)
{
    return fake_store_count(h.store, f, "");
}

static void leaves(struct client *c)
{
    h_end(&h, c, 0);
    h_settle(&h);
}

/* Connects again, to the kept session. */
static struct client *back(const char *id)
{
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(id, false);
    h_send_connect(&h, c, &p);
    h_settle(&h);
    return c;
}

/* ---- before it is said ---- */

static void acknowledgements_in_order_of_arrival(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *near = h_subscribed(&h, h_id_of(&h, 0, "near"), false, "near", 1);
    struct client *far = h_subscribed(&h, h_id_of(&h, 1, "far"), false, "far", 1);
    struct client *pub = h_connected(&h, h_id_of(&h, 0, "pub"), true);
    fake_trace.hold = true;
    publish(pub, "near", "n", 2, 1); /* worker 0's batch */
    publish(pub, "far", "f", 1, 2);  /* worker 1's */
    publish(pub, "nobody", "x", 1, 3);
    SAYS(near, "PUBLISH near=n q1 #1"); /* delivery does not wait */
    SAYS(far, "PUBLISH far=f q1 #1");
    SAYS(pub, "");
    struct commit_job *first = fake_trace.head, *second = first->next;
    assert_non_null(second);
    second->next = first; /* the other worker's completes first */
    first->next = NULL;
    fake_trace.head = second;
    fake_trace.tail = &first->next;
    commit(0);
    SAYS(pub, "");
    commit(0);
    SAYS(pub, "PUBREC 1; PUBACK 2; PUBACK 3");
}

/* MQTT 3.1.1 has no receive maximum: who sends more than that is not read for a while, and loses nothing. */
static void a_flood_waits_in_its_socket(void **state)
{
    (void)state;
    h.config.receive_maximum = 2;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    for (uint16_t i = 1; i <= 5; i++) {
        h_send_publish(&h, pub, "t", "x", 1, i);
    }
    h_settle(&h);
    SAYS(sub, "PUBLISH t=x q1 #1; PUBLISH t=x q1 #2");
    SAYS(pub, "");
    fake_trace.hold = false;
    commit(0);
    for (int i = 0; i < 4; i++) {
        h_pass(&h, 20);
        h_settle(&h);
    }
    SAYS(pub, "PUBACK 1; PUBACK 2; PUBACK 3; PUBACK 4; PUBACK 5");
    SAYS(sub, "PUBLISH t=x q1 #3; PUBLISH t=x q1 #4; PUBLISH t=x q1 #5");
}

/*
 * What no receive maximum limits: PUBRELs and SUBSCRIBEs of a durable session are answered when the store has them. Who sends
 * more than it takes is not read for a while.
 */
static void answers_that_wait_are_so_many(void **state)
{
    enum { MANY = 3000, ANSWER_BYTES = 4 };
    (void)state;
    h_start(&h, 1);
    struct client *c = h_connected(&h, "c", false);
    size_t before = c->mem.out_len;
    struct buf b = {0};
    for (unsigned i = 0; i < MANY; i++) {
        mqtt_encode_ack(&b, MQTT_V311, MQTT_PUBREL, (uint16_t)(i + 1), 0);
    }
    fake_trace.hold = true;
    h_feed(&h, c, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
    assert_int_equal(c->mem.out_len, before);
    for (unsigned told = 0; told < MANY;) {
        commit(0); /* the first of them; those that came behind them */
        if (fake_trace.head != NULL) {
            commit(0);
        }
        unsigned now = (unsigned)((c->mem.out_len - before) / ANSWER_BYTES);
        assert_in_range(now - told, 1, 1024);
        told = now;
        h_pass(&h, 20);
        h_settle(&h);
    }
    fake_trace.hold = false;
    h_send_ack(&h, c, MQTT_PUBREL, 1);
    h_settle(&h);
    assert_int_equal(c->mem.out_len, before + (MANY + 1) * ANSWER_BYTES);
}

static void durability_none_waits_for_nothing(void **state)
{
    (void)state;
    h.config.durability = DURABILITY_NONE;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 2);
    struct client *pub = h_connected(&h, "pub", false);
    fake_trace.hold = true;
    publish(pub, "t", "x", 2, 7);
    SAYS(pub, "PUBREC 7");
    SAYS(sub, "PUBLISH t=x q2 #1");
    answer(sub, MQTT_PUBREC, 1);
    SAYS(sub, "PUBREL 1");
    answer(pub, MQTT_PUBREL, 7);
    SAYS(pub, "PUBCOMP 7");
    fake_trace.hold = false;
    commit(0);
}

static void qos_2_to_a_durable_session(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 2);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    publish(pub, "t", "x", 2, 7);
    SAYS(sub, "");
    SAYS(pub, "");
    commit(0);
    SAYS(sub, "PUBLISH t=x q2 #1");
    SAYS(pub, "PUBREC 7");
    answer(pub, MQTT_PUBREL, 7);
    SAYS(pub, "PUBCOMP 7"); /* a clean session has nothing to store */
    answer(sub, MQTT_PUBREC, 1);
    SAYS(sub, "");
    commit(0);
    SAYS(sub, "PUBREL 1");
    assert_int_equal(rows(STORE_MESSAGES), 0);
    assert_int_equal(rows(STORE_QUEUES), 1);
    answer(sub, MQTT_PUBCOMP, 1);
    commit(0);
    assert_int_equal(rows(STORE_QUEUES), 0);
}

static void qos_2_from_a_durable_session(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *pub = h_connected(&h, "pub", false);
    fake_trace.hold = true;
    publish(pub, "t", "x", 2, 7);
    SAYS(pub, "");
    commit(0);
    SAYS(pub, "PUBREC 7");
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "I"), 1);
    answer(pub, MQTT_PUBREL, 7);
    SAYS(pub, "");
    commit(0);
    SAYS(pub, "PUBCOMP 7");
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "I"), 0);
}

/* What an earlier connection began is not confirmed on the next one before it is stored. */
static void qos_2_repeated_on_a_new_connection(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", true, "t", 0);
    struct client *pub = h_connected(&h, "pub", false);
    fake_trace.hold = true;
    publish(pub, "t", "x", 2, 7);
    leaves(pub);
    pub = back("pub");
    SAYS(pub, "CONNACK 0 present");
    publish(pub, "t", "x", 2, 7);
    SAYS(pub, "");
    commit(-ENOSPC);
    SAYS(pub, "");
    h_pass(&h, 1100);
    commit(0);
    commit(0);
    SAYS(pub, "PUBREC 7");
    SAYS(sub, "PUBLISH t=x"); /* once */
    answer(pub, MQTT_PUBREL, 7);
    leaves(pub);
    pub = back("pub");
    SAYS(pub, "CONNACK 0 present");
    answer(pub, MQTT_PUBREL, 7);
    SAYS(pub, "");
    commit(0);
    commit(0);
    SAYS(pub, "PUBCOMP 7");
}

static void acknowledged_before_the_batch_is_never_written(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    publish(pub, "t", "one", 1, 1); /* its batch is under way */
    publish(pub, "t", "two", 1, 2);
    SAYS(sub, "PUBLISH t=one q1 #1; PUBLISH t=two q1 #2");
    answer(sub, MQTT_PUBACK, 2);
    commit(0);
    SAYS(pub, "PUBACK 1");
    commit(0);
    SAYS(pub, "PUBACK 2");
    assert_int_equal(fake_store_puts(h.store, STORE_MESSAGES), 1);
    assert_int_equal(fake_store_puts(h.store, STORE_QUEUES), 1);
    assert_int_equal(rows(STORE_QUEUES), 1);
    fake_trace.hold = false;
    answer(sub, MQTT_PUBACK, 1);
    assert_int_equal(rows(STORE_QUEUES), 0);
    assert_int_equal(rows(STORE_MESSAGES), 0);
}

static void a_refused_batch_is_tried_again(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    publish(pub, "t", "x", 1, 1);
    SAYS(sub, "PUBLISH t=x q1 #1"); /* delivery goes on */
    for (int i = 0; i < 3; i++) {
        commit(-ENOSPC);
        h_pass(&h, 900);
        assert_null(fake_trace.head);
        h_pass(&h, 200);
        SAYS(pub, "");
    }
    commit(0);
    SAYS(pub, "PUBACK 1");
    assert_int_equal(rows(STORE_QUEUES), 1);
}

static void suback_of_a_durable_session(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = h_connected(&h, "dev", false);
    fake_trace.hold = true;
    h_send_subscribe(&h, c, 1, "t", 1);
    h_settle(&h);
    SAYS(c, "");
    commit(0);
    SAYS(c, "SUBACK 1:1");
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "T"), 1);
}

/* The connection may be gone when the store answers. */
static void gone_before_the_store_answers(void **state)
{
    (void)state;
    h_start(&h, 2);
    (void)h_subscribed(&h, h_id_of(&h, 1, "far"), false, "#", 2);
    struct client *pub = h_connected(&h, h_id_of(&h, 0, "pub"), false);
    fake_trace.hold = true;
    publish(pub, "t", "x", 1, 1);
    publish(pub, "t", "x", 2, 2);
    h_send_subscribe(&h, pub, 3, "u", 1);
    leaves(pub);
    assert_true(pub->mem.closed);
    fake_trace.hold = false;
    while (fake_commit(0)) {
    }
    h_settle(&h);
    SAYS(pub, "");
}

/* ---- after a restart ---- */

static void restart(unsigned workers)
{
    h_crash(&h);
    h_start(&h, workers);
}

static void a_queue_survives(void **state)
{
    (void)state;
    h_start(&h, 1);
    leaves(h_subscribed(&h, "one", false, "t", 1));
    leaves(h_subscribed(&h, "two", false, "t", 2));
    struct client *pub = h_connected(&h, "pub", true);
    publish(pub, "t", "x", 2, 1);
    assert_int_equal(rows(STORE_MESSAGES), 1); /* one payload for both */
    assert_int_equal(rows(STORE_QUEUES), 2);
    restart(1);
    struct client *one = back("one");
    SAYS(one, "CONNACK 0 present; PUBLISH t=x q1 #1");
    RECORDS("connect one accepted.resumed");
    answer(one, MQTT_PUBACK, 1);
    assert_int_equal(rows(STORE_MESSAGES), 1);
    restart(1);
    struct client *two = back("two");
    SAYS(two, "CONNACK 0 present; PUBLISH t=x q2 #1");
    answer(two, MQTT_PUBREC, 1);
    SAYS(two, "PUBREL 1");
    assert_int_equal(rows(STORE_MESSAGES), 0);
    restart(1);
    two = back("two");
    SAYS(two, "CONNACK 0 present; PUBREL 1");
    answer(two, MQTT_PUBCOMP, 1);
    assert_int_equal(rows(STORE_QUEUES), 0);
}

/* Four members, by turns of the one loop and of the other. */
static void shared_members(char names[4][64])
{
    static const char prefix[4][3] = {"m0", "m1", "m2", "m3"};
    for (unsigned i = 0; i < 4; i++) {
        (void)snprintf(names[i], 64, "%s", h_id_of(&h, i % 2, prefix[i]));
    }
}

/* One of them keeps the message; it does not go from loop to loop in search of a client that is here. */
static void shared_while_all_are_away(void **state)
{
    (void)state;
    char names[4][64];
    h_start(&h, 2);
    shared_members(names);
    for (unsigned i = 0; i < 4; i++) {
        leaves(h_subscribed(&h, names[i], false, "$share/g/t", 2));
    }
    struct client *pub = h_connected(&h, "pub", true);
    for (uint16_t id = 1; id <= 4; id++) {
        publish(pub, "t", "x", 1 + id % 2, id);
    }
    SAYS(pub, "PUBREC 1; PUBACK 2; PUBREC 3; PUBACK 4");
    assert_int_equal(rows(STORE_QUEUES), 4);
    for (unsigned i = 0; i < 4; i++) { /* in turn */
        assert_non_null(strstr(h_says(&h, back(names[i])), "PUBLISH t=x"));
    }
}

/* What no queue takes is dropped, as by a subscription of its own; it does not go round until there is room. */
static void shared_while_all_are_full(void **state)
{
    (void)state;
    char names[4][64];
    h.config.max_queued_messages = 1;
    h_start(&h, 2);
    shared_members(names);
    for (unsigned i = 0; i < 4; i++) {
        (void)h_subscribed(&h, names[i], true, "$share/g/t", 1);
    }
    struct client *pub = h_connected(&h, "pub", true);
    for (uint16_t id = 1; id <= 8; id++) {
        publish(pub, "t", "x", 1, id);
    }
    SAYS(pub, "PUBACK 1; PUBACK 2; PUBACK 3; PUBACK 4; PUBACK 5; PUBACK 6; PUBACK 7; PUBACK 8");
}

static void what_was_sent_comes_again_as_dup(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 1);
    struct client *pub = h_connected(&h, "pub", true);
    publish(pub, "t", "x", 1, 1);
    SAYS(sub, "PUBLISH t=x q1 #1");
    leaves(sub);
    SAYS(back("sub"), "CONNACK 0 present; PUBLISH t=x q1 #1 dup");
    restart(1);
    sub = back("sub");
    SAYS(sub, "CONNACK 0 present; PUBLISH t=x q1 #1 dup");
}

/*
 * Sessions that shared a payload stand on different loops now. `b` has a message of its own behind the shared one: its copy
 * of that must be stored all the same, or the original's end is its end.
 */
static void another_number_of_loops(void **state)
{
    (void)state;
    char a[64], b[64];
    h_start(&h, 2);
    (void)snprintf(a, sizeof a, "%s", h_id_of(&h, 0, "a"));
    (void)snprintf(b, sizeof b, "%s", h_id_of(&h, 1, "b"));
    h_stop(&h);
    h_start(&h, 1);
    leaves(h_subscribed(&h, a, false, "shared", 1));
    struct client *sub = h_subscribed(&h, b, false, "shared", 1);
    h_send_subscribe(&h, sub, 2, "own", 1);
    h_settle(&h);
    leaves(sub);
    struct client *pub = h_connected(&h, "pub", true);
    publish(pub, "shared", "s", 1, 1);
    publish(pub, "own", "o", 1, 2);
    assert_int_equal(rows(STORE_MESSAGES), 2);
    restart(2);
    struct client *first = back(a);
    SAYS(first, "CONNACK 0 present; PUBLISH shared=s q1 #1");
    answer(first, MQTT_PUBACK, 1);
    restart(2);
    struct client *second = back(b);
    SAYS(second, "CONNACK 0 present; PUBLISH shared=s q1 #1; PUBLISH own=o q1 #2");
    answer(second, MQTT_PUBACK, 1);
    answer(second, MQTT_PUBACK, 2);
    assert_int_equal(rows(STORE_QUEUES), 0);
    assert_int_equal(rows(STORE_MESSAGES), 0);
    restart(1);
    SAYS(back(a), "CONNACK 0 present");
}

/* The copies are stored before anyone can acknowledge the original. */
static void copies_are_stored_first(void **state)
{
    (void)state;
    char a[64], b[64];
    h_start(&h, 2);
    (void)snprintf(a, sizeof a, "%s", h_id_of(&h, 0, "a"));
    (void)snprintf(b, sizeof b, "%s", h_id_of(&h, 1, "b"));
    h_stop(&h);
    h_start(&h, 1);
    leaves(h_subscribed(&h, a, false, "t", 1));
    leaves(h_subscribed(&h, b, false, "t", 1));
    publish(h_connected(&h, "pub", true), "t", "x", 1, 1);
    h_crash(&h);
    fake_trace.hold = true;
    h_start(&h, 2);
    assert_true(fake_commit(0));
    assert_int_equal(rows(STORE_MESSAGES), 2);
}

static void incoming_qos_2_is_remembered(void **state)
{
    (void)state;
    h_start(&h, 1);
    leaves(h_subscribed(&h, "sub", false, "t", 1));
    struct client *pub = h_connected(&h, "pub", false);
    publish(pub, "t", "x", 2, 9);
    SAYS(pub, "PUBREC 9");
    restart(1);
    pub = back("pub");
    publish(pub, "t", "x", 2, 9); /* a repetition */
    answer(pub, MQTT_PUBREL, 9);
    SAYS(pub, "CONNACK 0 present; PUBREC 9; PUBCOMP 9");
    SAYS(back("sub"), "CONNACK 0 present; PUBLISH t=x q1 #1");
}

/* With another number of loops a repetition is delivered again; but what comes later is never taken for one. */
static void incoming_qos_2_of_another_number_of_loops(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *sub = h_subscribed(&h, "sub", false, "t", 1);
    struct client *pub = h_connected(&h, "pub", false);
    publish(pub, "t", "x", 2, 9);
    SAYS(sub, "PUBLISH t=x q1 #1");
    restart(1);
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "I"), 0);
    pub = back("pub");
    answer(pub, MQTT_PUBREL, 9);
    SAYS(pub, "CONNACK 0 present; PUBCOMP 9");
    restart(2);
    pub = back("pub");
    sub = back("sub");
    SAYS(sub, "CONNACK 0 present; PUBLISH t=x q1 #1 dup");
    publish(pub, "t", "new", 2, 9);
    SAYS(sub, "PUBLISH t=new q1 #2");
}

/* As if the batch with its session had been lost. */
static void lose_session(const char *id)
{
    struct buf key = {0};
    struct store_batch *b = fake_batch_new();
    size_t before = fake_store_count(h.store, STORE_SESSIONS, "S");
    buf_put(&key, "S\0\0\0\0", 5); /* instance 0 */
    buf_put_slice(&key, slice_str(id));
    store_batch_delete(b, store_family(h.store, STORE_SESSIONS), buf_slice(&key));
    fake_batch_end(h.store, b, true);
    buf_fini(&key);
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "S"), before - 1);
}

/*
 * The subscriber's loop has stored that it has the message, the publisher's was not to store its session any more. The row goes,
 * and no other session gets that number: its message would be taken for a repetition.
 */
static void incoming_qos_2_of_a_session_that_was_never_stored(void **state)
{
    (void)state;
    enum { OTHERS = 4 }; /* one of them would have had its number */
    char a[64], b[64], others[OTHERS][64];
    h_start(&h, 2);
    (void)snprintf(a, sizeof a, "%s", h_id_of(&h, 0, "a"));
    (void)snprintf(b, sizeof b, "%s", h_id_of(&h, 1, "b"));
    struct client *sub = h_subscribed(&h, b, false, "t", 1);
    publish(h_connected(&h, a, false), "t", "x", 2, 9);
    answer(sub, MQTT_PUBACK, 1); /* and nothing of later numbers is left */
    assert_true(fake_store_count(h.store, STORE_SESSIONS, "I") > 0);
    h_crash(&h);
    lose_session(a);
    h_start(&h, 2);
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "I"), 0);
    for (int i = 0; i < OTHERS; i++) {
        (void)snprintf(others[i], sizeof others[i], "%s", h_id_of(&h, 0, "other" + i));
        leaves(h_connected(&h, others[i], false));
    }
    restart(2);
    for (int i = 0; i < OTHERS; i++) {
        struct client *pub = back(others[i]);
        publish(pub, "t", "new", 2, 9);
        SAYS(pub, "CONNACK 0 present; PUBREC 9");
    }
    SAYS(back(b),
         "CONNACK 0 present; PUBLISH t=new q1 #1; PUBLISH t=new q1 #2; PUBLISH t=new q1 #3; "
         "PUBLISH t=new q1 #4");
}

static void retained_messages_survive(void **state)
{
    (void)state;
    h_start(&h, 2);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    struct buf b = {0};
    const struct mqtt_publish p = {.topic = slice_str("r"),
                                   .payload = slice_str("kept"),
                                   .qos = 1,
                                   .packet_id = 1,
                                   .retain = true};
    mqtt_encode_publish(&b, MQTT_V311, &p);
    h_feed(&h, pub, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
    SAYS(pub, "");
    commit(0);
    SAYS(pub, "PUBACK 1");
    fake_trace.hold = false;
    restart(1);
    struct client *sub = h_connected(&h, "sub", true);
    h_send_subscribe(&h, sub, 1, "#", 0);
    h_settle(&h);
    SAYS(sub, "SUBACK 1:0; PUBLISH r=kept retain");
}

static void set_retained(struct client *pub, unsigned topic, unsigned value)
{
    char name[16], payload[16];
    struct buf b = {0};
    (void)snprintf(name, sizeof name, "t/%u", topic);
    (void)snprintf(payload, sizeof payload, "%u", value);
    const struct mqtt_publish p = {
        .topic = slice_str(name), .payload = slice_str(payload), .retain = true};
    mqtt_encode_publish(&b, MQTT_V311, &p);
    h_feed(&h, pub, buf_slice(&b));
    buf_fini(&b);
    h_settle(&h);
}

/* However often it changes meanwhile: who sets one topic again and again does not fill the batch. */
static void a_batch_has_each_retained_topic_once(void **state)
{
    enum { TOPICS = 300, TIMES = 4 };
    (void)state;
    h_start(&h, 1);
    struct client *pub = h_connected(&h, "pub", true);
    fake_trace.hold = true;
    for (unsigned i = 0; i < TIMES * TOPICS; i++) {
        set_retained(pub, i % TOPICS, i);
    }
    commit(0); /* with the first of them only */
    assert_int_equal(rows(STORE_RETAINED), 1);
    commit(0);
    assert_int_equal(rows(STORE_RETAINED), TOPICS);
    assert_int_equal(fake_store_puts(h.store, STORE_RETAINED), 1 + TOPICS);
    set_retained(pub, 7, 7777);
    commit(0);
    assert_int_equal(fake_store_puts(h.store, STORE_RETAINED), 2 + TOPICS);
    fake_trace.hold = false;
    restart(1);
    struct client *sub = h_connected(&h, "sub", true);
    h_send_subscribe(&h, sub, 1, "t/7", 0);
    h_send_subscribe(&h, sub, 2, "t/299", 0);
    h_settle(&h);
    SAYS(sub, "SUBACK 1:0; PUBLISH t/7=7777 retain; SUBACK 2:0; PUBLISH t/299=1199 retain");
}

static void a_crash_sends_wills(void **state)
{
    (void)state;
    h_start(&h, 2);
    leaves(h_subscribed(&h, h_id_of(&h, 1, "sub"), false, "w/+", 1));
    struct client *c = h_open(&h, 0);
    struct mqtt_connect p = h_connect_of(h_id_of(&h, 0, "dev"), true);
    p.will = (struct mqtt_will){.present = true,
                                .retain = true,
                                .qos = 1,
                                .topic = slice_str("w/dev"),
                                .payload = slice_str("gone")};
    h_send_connect(&h, c, &p);
    h_settle(&h);
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "W"), 1);
    restart(2);
    assert_int_equal(fake_store_count(h.store, STORE_SESSIONS, "W"), 0);
    assert_int_equal(rows(STORE_RETAINED), 1);
    SAYS(back(h_id_of(&h, 1, "sub")), "CONNACK 0 present; PUBLISH w/dev=gone q1 #1");
    restart(1); /* once only */
    assert_int_equal(rows(STORE_QUEUES), 1);
    struct client *late = h_connected(&h, "late", true);
    h_send_subscribe(&h, late, 1, "w/dev", 1);
    h_settle(&h);
    SAYS(late, "SUBACK 1:1; PUBLISH w/dev=gone q1 #1 retain");
}

static void a_clean_start_forgets(void **state)
{
    (void)state;
    h_start(&h, 1);
    struct client *c = h_subscribed(&h, "dev", false, "t", 2);
    publish(c, "t", "x", 2, 1);
    SAYS(c, "PUBLISH t=x q2 #1; PUBREC 1");
    leaves(c);
    c = h_connected(&h, "dev", true);
    leaves(c);
    for (int f = STORE_SESSIONS; f <= STORE_RETAINED; f++) {
        assert_int_equal(rows((enum store_family)f), 0);
    }
    restart(1);
    SAYS(back("dev"), "CONNACK 0");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(acknowledgements_in_order_of_arrival),
        TEST(a_flood_waits_in_its_socket),
        TEST(answers_that_wait_are_so_many),
        TEST(durability_none_waits_for_nothing),
        TEST(qos_2_to_a_durable_session),
        TEST(qos_2_from_a_durable_session),
        TEST(qos_2_repeated_on_a_new_connection),
        TEST(acknowledged_before_the_batch_is_never_written),
        TEST(a_refused_batch_is_tried_again),
        TEST(suback_of_a_durable_session),
        TEST(gone_before_the_store_answers),
        TEST(a_queue_survives),
        TEST(shared_while_all_are_away),
        TEST(shared_while_all_are_full),
        TEST(what_was_sent_comes_again_as_dup),
        TEST(another_number_of_loops),
        TEST(copies_are_stored_first),
        TEST(incoming_qos_2_is_remembered),
        TEST(incoming_qos_2_of_another_number_of_loops),
        TEST(incoming_qos_2_of_a_session_that_was_never_stored),
        TEST(retained_messages_survive),
        TEST(a_batch_has_each_retained_topic_once),
        TEST(a_crash_sends_wills),
        TEST(a_clean_start_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
