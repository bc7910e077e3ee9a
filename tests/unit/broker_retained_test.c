/* Retained messages against a plain list. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "broker/retained.h"
#include "mqtt/topic.h"
#include "topic_any.h"

enum { INSTANCES = 2, KEPT_MAX = 2000 };

struct kept {
    uint32_t instance;
    char topic[TOPIC_ANY_MAX];
    size_t topic_len;
    uint32_t value;
    uint8_t qos;
    bool seen;
};

static struct kept kept[KEPT_MAX];
static size_t kept_count;

static struct slice topic_of(const struct kept *k)
{
    return slice_make(k->topic, k->topic_len);
}

static struct kept *kept_find(uint32_t instance, struct slice topic)
{
    for (size_t i = 0; i < kept_count; i++) {
        if (kept[i].instance == instance && slice_eq(topic_of(&kept[i]), topic)) {
            return &kept[i];
        }
    }
    return NULL;
}

struct asked {
    uint32_t instance;
    struct slice filter;
    unsigned wrong, count;
};

static enum retained_result set(struct retained *r, uint32_t instance, struct slice topic,
                                struct slice payload, uint8_t qos, uint64_t max)
{
    const struct message_parts m = {.topic = topic, .payload = payload, .qos = qos};
    return retained_set(r, instance, &m, max);
}

static bool on_message(void *arg, const struct message_parts *m)
{
    struct asked *a = arg;
    struct slice topic = m->topic, payload = m->payload;
    uint8_t qos = m->qos;
    struct kept *k = kept_find(a->instance, topic);
    a->count++;
    a->wrong += k == NULL || k->seen || k->qos != qos || payload.n != sizeof k->value ||
                memcmp(payload.p, &k->value, sizeof k->value) != 0 ||
                !mqtt_topic_matches(a->filter, topic);
    if (k != NULL) {
        k->seen = true;
    }
    return true;
}

/* By pieces of so many steps. */
static void walk_all(struct retained *r, uint32_t instance, struct slice filter, uint32_t piece,
                     retained_fn fn, void *arg)
{
    uint32_t steps = 1;
    struct retained_walk *w = retained_walk_new(r, instance, filter, &steps);
    steps = piece;
    while (w != NULL && !retained_walk_step(w, &steps, fn, arg)) {
        steps = piece;
    }
    retained_walk_free(w);
}

static void check_filter(struct retained *r, uint32_t instance, struct slice filter)
{
    struct asked a = {.instance = instance, .filter = filter};
    unsigned expected = 0;
    for (size_t i = 0; i < kept_count; i++) {
        kept[i].seen = false;
        expected += kept[i].instance == instance && mqtt_topic_matches(filter, topic_of(&kept[i]));
    }
    walk_all(r, instance, filter, 1 + expected % 7, on_message, &a);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.count, expected);
}

static void remove_one(struct retained *r, uint32_t instance, struct slice topic)
{
    struct kept *k = kept_find(instance, topic);
    enum retained_result got = set(r, instance, topic, slice_make(NULL, 0), 0, 0);
    assert_int_equal(got, k != NULL ? RETAINED_REMOVED : RETAINED_NONE);
    if (k != NULL) {
        *k = kept[--kept_count];
    }
}

static void store_one(struct retained *r, uint32_t instance, struct slice topic, uint32_t value,
                      uint64_t max)
{
    struct kept *k = kept_find(instance, topic);
    bool full = k == NULL && max != 0 && kept_count >= max;
    enum retained_result got =
        set(r, instance, topic, slice_make(&value, sizeof value), (uint8_t)(value % 3), max);
    assert_int_equal(got, full ? RETAINED_FULL : RETAINED_STORED);
    if (full) {
        return;
    }
    if (k == NULL) {
        assert_true(kept_count < KEPT_MAX);
        k = &kept[kept_count++];
        k->instance = instance;
        memcpy(k->topic, topic.p, topic.n);
        k->topic_len = topic.n;
    }
    k->value = value;
    k->qos = (uint8_t)(value % 3);
}

static void test_against_a_list(void **state)
{
    (void)state;
    struct retained *r = retained_new();
    struct random rnd = {11};
    char text[TOPIC_ANY_MAX], filter[TOPIC_ANY_MAX];
    kept_count = 0;
    for (uint32_t step = 0; step < 40000; step++) {
        uint32_t instance = random_below(&rnd, INSTANCES);
        struct slice topic = topic_any(&rnd, text);
        bool grow = random_below(&rnd, 10) < ((step / 4000) % 2 == 0 ? 8u : 2u);
        if (grow) {
            store_one(r, instance, topic, step, step % 3 == 0 ? 200 : 0);
        } else {
            remove_one(r, instance, topic);
        }
        assert_int_equal(retained_count(r), kept_count);
        if (step % 4 == 0) {
            check_filter(r, random_below(&rnd, INSTANCES + 1), filter_any(&rnd, filter));
        }
        if (step % 64 == 0) {
            check_filter(r, instance, slice_str("#"));
            check_filter(r, instance, slice_str("$SYS/#"));
            check_filter(r, instance, slice_str("+/#"));
        }
    }
    while (kept_count > 0) {
        struct kept last = kept[kept_count - 1];
        remove_one(r, last.instance, topic_of(&last));
    }
    assert_int_equal(retained_count(r), 0);
    retained_free(r);
    retained_free(NULL);
}

static void test_many(void **state)
{
    (void)state;
    struct retained *r = retained_new();
    char text[TOPIC_ANY_MAX];
    kept_count = 0;
    for (uint32_t i = 0; i < 1500; i++) {
        int n = snprintf(text, sizeof text, "floor/%u/room/%u/temperature", i / 50, i % 50);
        store_one(r, 0, slice_make(text, (size_t)n), i, 0);
    }
    check_filter(r, 0, slice_str("#"));
    check_filter(r, 0, slice_str("floor/3/#"));
    check_filter(r, 0, slice_str("floor/+/room/7/+"));
    check_filter(r, 0, slice_str("floor/29/room/49/temperature"));
    check_filter(r, 0, slice_str("floor/30/room/1/temperature"));
    retained_free(r); /* with all of them in it */
}

static bool count_one(void *arg, const struct message_parts *m)
{
    (void)m;
    ++*(unsigned *)arg;
    return true;
}

/* As deep as 65,535 bytes allow: no stack is used up. */
static void *match_deep(void *arg)
{
    enum { LEVELS = 32768 };
    static char filter[2 * LEVELS], topic[2 * LEVELS];
    struct retained *r = retained_new();
    for (int i = 0; i < LEVELS; i++) {
        filter[2 * i] = '+';
        topic[2 * i] = 'a';
        filter[2 * i + 1] = topic[2 * i + 1] = '/';
    }
    struct slice name = slice_make(topic, 2 * LEVELS - 1);
    (void)set(r, 0, name, slice_str("x"), 0, 0);
    walk_all(r, 0, slice_make(filter, 2 * LEVELS - 1), 10000, count_one, arg);
    walk_all(r, 0, name, 10, count_one, arg);
    walk_all(r, 0, slice_str("#"), 1000, count_one, arg);
    (void)set(r, 0, name, slice_make(NULL, 0), 0, 0);
    retained_free(r);
    return NULL;
}

struct found {
    unsigned count;
    uint64_t expires_ms;
    char extra[8];
};

static bool note(void *arg, const struct message_parts *m)
{
    struct found *f = arg;
    f->count++;
    f->expires_ms = m->expires_ms;
    memcpy(f->extra, m->extra.p, m->extra.n);
    return true;
}

static void test_properties_and_expiry(void **state)
{
    (void)state;
    struct retained *r = retained_new();
    struct found f = {0};
    struct message_parts m = {.topic = slice_str("a/b"),
                              .payload = slice_str("x"),
                              .extra = slice_str("props"),
                              .expires_ms = 1000};
    assert_int_equal(retained_set(r, 0, &m, 0), RETAINED_STORED);
    walk_all(r, 0, slice_str("a/+"), 10, note, &f);
    assert_int_equal(f.count, 1);
    assert_int_equal(f.expires_ms, 1000);
    assert_string_equal(f.extra, "props");
    assert_false(retained_expire(r, 0, m.topic, 999));
    assert_true(retained_expire(r, 0, m.topic, 1000));
    assert_false(retained_expire(r, 0, m.topic, 1000));
    assert_int_equal(retained_count(r), 0);
    m.expires_ms = 0;
    assert_int_equal(retained_set(r, 0, &m, 0), RETAINED_STORED);
    assert_false(retained_expire(r, 0, m.topic, UINT64_MAX));
    retained_free(r);
}

static void test_deep_topics_on_a_small_stack(void **state)
{
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    unsigned count = 0;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
    assert_int_equal(pthread_create(&thread, &attr, match_deep, &count), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_attr_destroy(&attr);
    assert_int_equal(count, 3);
}

/* ---- a tree that changes between the pieces of a walk ---- */

enum { WALKED = 300 };

struct walked {
    uint32_t value[WALKED]; /* of the topic's message; 0: none */
    bool before[WALKED], changed[WALKED], given[WALKED];
    unsigned wrong;
    struct random *rnd;
};

static struct slice walked_topic(unsigned i, char *text)
{
    static const char *const before[] = {"a/", "a/", "a/", "a/x/", "", "$a/"};
    static const char *const behind[] = {"", "/b", "/b/c", "", "", ""};
    return slice_make(text, (size_t)snprintf(text, 40, "%s%u%s", before[i % 6], i, behind[i % 6]));
}

static void change_one(struct retained *r, struct walked *t, uint32_t value)
{
    char text[40];
    unsigned i = random_below(t->rnd, WALKED);
    struct slice topic = walked_topic(i, text);
    t->value[i] = random_below(t->rnd, 2) == 0 ? 0 : value;
    t->changed[i] = true;
    (void)set(r, 0, topic, slice_make(&value, t->value[i] == 0 ? 0 : sizeof value), 0, 0);
}

static bool on_walked(void *arg, const struct message_parts *m)
{
    struct walked *t = arg;
    char text[40];
    unsigned i = 0;
    if (random_below(t->rnd, 4) == 0) {
        return false; /* asked again */
    }
    while (i < WALKED && !slice_eq(walked_topic(i, text), m->topic)) {
        i++;
    }
    bool right = i < WALKED && t->before[i] && !t->changed[i] && !t->given[i] &&
                 memcmp(m->payload.p, &t->value[i], sizeof t->value[i]) == 0;
    t->wrong += !right;
    if (i < WALKED) {
        t->given[i] = true;
    }
    return true;
}

/* What was there and stays is given once, what changes meanwhile is not. */
static void test_walks_while_it_changes(void **state)
{
    (void)state;
    static const char *const filters[] = {"#", "a/#",   "a/+",  "a/+/b", "+/+/b/#",
                                          "+", "a/x/7", "$a/+", "+/#"};
    struct retained *r = retained_new();
    struct random rnd = {5};
    struct walked t = {.rnd = &rnd};
    for (uint32_t round = 0; round < 600; round++) {
        struct slice filter = slice_str(filters[round % 9]);
        for (unsigned k = 0; k < 100; k++) {
            change_one(r, &t, round * 1000 + k + 1);
        }
        for (unsigned i = 0; i < WALKED; i++) {
            t.before[i] = t.value[i] != 0;
            t.changed[i] = t.given[i] = false;
        }
        uint32_t first = random_below(&rnd, 3);
        struct retained_walk *w = retained_walk_new(r, 0, filter, &first);
        bool over = w == NULL;
        bool left = !over && random_below(&rnd, 8) == 0; /* in its middle */
        for (unsigned k = 0; !over && !(left && k > 2); k++) {
            uint32_t steps = random_below(&rnd, 6);
            change_one(r, &t, round * 1000 + 500 + k);
            over = retained_walk_step(w, &steps, on_walked, &t);
        }
        retained_walk_free(w);
        assert_int_equal(t.wrong, 0);
        for (unsigned i = 0; over && i < WALKED; i++) {
            char text[40];
            bool due =
                t.before[i] && !t.changed[i] && mqtt_topic_matches(filter, walked_topic(i, text));
            assert_true(t.given[i] || !due);
        }
    }
    retained_free(r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_walks_while_it_changes),
        cmocka_unit_test(test_properties_and_expiry),
        cmocka_unit_test(test_deep_topics_on_a_small_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
