/* Retained messages against a plain list. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
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

static void on_message(void *arg, struct slice topic, struct slice payload, uint8_t qos)
{
    struct asked *a = arg;
    struct kept *k = kept_find(a->instance, topic);
    a->count++;
    a->wrong += k == NULL || k->seen || k->qos != qos || payload.n != sizeof k->value ||
                memcmp(payload.p, &k->value, sizeof k->value) != 0 ||
                !mqtt_topic_matches(a->filter, topic);
    if (k != NULL) {
        k->seen = true;
    }
}

static void check_filter(struct retained *r, uint32_t instance, struct slice filter)
{
    struct asked a = {.instance = instance, .filter = filter};
    unsigned expected = 0;
    for (size_t i = 0; i < kept_count; i++) {
        kept[i].seen = false;
        expected += kept[i].instance == instance && mqtt_topic_matches(filter, topic_of(&kept[i]));
    }
    retained_each(r, instance, filter, on_message, &a);
    assert_int_equal(a.wrong, 0);
    assert_int_equal(a.count, expected);
}

static void remove_one(struct retained *r, uint32_t instance, struct slice topic)
{
    struct kept *k = kept_find(instance, topic);
    enum retained_result got = retained_set(r, instance, topic, slice_make(NULL, 0), 0, 0);
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
    enum retained_result got = retained_set(r, instance, topic, slice_make(&value, sizeof value),
                                            (uint8_t)(value % 3), max);
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

static void count_one(void *arg, struct slice topic, struct slice payload, uint8_t qos)
{
    (void)topic, (void)payload, (void)qos;
    ++*(unsigned *)arg;
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
    (void)retained_set(r, 0, name, slice_str("x"), 0, 0);
    retained_each(r, 0, slice_make(filter, 2 * LEVELS - 1), count_one, arg);
    retained_each(r, 0, name, count_one, arg);
    retained_each(r, 0, slice_str("#"), count_one, arg);
    (void)retained_set(r, 0, name, slice_make(NULL, 0), 0, 0);
    retained_free(r);
    return NULL;
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_deep_topics_on_a_small_stack),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
