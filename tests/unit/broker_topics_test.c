/* The topic structure against a list and mqtt_topic_matches(): one thread playing several loops, then two threads. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/hash.h"
#include "base/mem.h"
#include "broker/topics.h"
#include "mqtt/topic.h"
#include "topic_any.h"

enum { LOOPS = 3, INSTANCES = 2, SUBS = 600 };

struct entry {
    struct topic_sub sub;
    bool used;
    unsigned loop;
    uint32_t instance;
    char text[TOPIC_ANY_MAX];
    size_t len;
    unsigned seen; /* matches of the topic being checked */
};

static struct slice filter_of(const struct entry *e)
{
    return slice_make(e->text, e->len);
}

static void add(struct topics *t, struct entry *e, struct random *r)
{
    struct slice f = filter_any(r, e->text);
    assert_true(mqtt_filter_valid(f));
    e->len = f.n;
    e->used = true;
    topics_add(t, e->loop, e->instance, f, &e->sub);
    assert_non_null(e->sub.node);
    assert_true(slice_eq(topic_node_filter(e->sub.node), f));
}

static void take_out(struct topics *t, struct entry *e)
{
    topics_remove(t, e->loop, &e->sub);
    e->used = false;
}

/* What `loop` finds is exactly what the list says; -1: something is missing or too much. */
static int check_topic(struct topics *t, struct entry *all, size_t count, unsigned loop,
                       uint32_t instance, struct slice topic)
{
    struct topics_match m;
    topics_match(t, loop, instance, topic, hash64(topic), &m);
    for (size_t i = 0; i < count; i++) {
        all[i].seen = 0;
    }
    for (uint32_t l = 0; l < m.count; l++) {
        for (uint32_t i = 0; i < m.lists[l].count; i++) {
            ((struct entry *)(void *)m.lists[l].subs[i])->seen++;
        }
    }
    for (size_t i = 0; i < count; i++) {
        const struct entry *e = &all[i];
        bool matches =
            e->used && e->instance == instance && mqtt_topic_matches(filter_of(e), topic);
        if (e->seen != (matches && e->loop == loop ? 1u : 0u) ||
            (matches && (m.loops & (UINT64_C(1) << e->loop)) == 0)) {
            return -1;
        }
    }
    return 0;
}

/* No loop is named that has nobody for the topic. */
static void check_mask(struct topics *t, const struct entry *all, uint32_t instance,
                       struct slice topic)
{
    struct topics_match m;
    uint64_t expected = 0;
    topics_match(t, 0, instance, topic, hash64(topic), &m);
    for (size_t i = 0; i < SUBS; i++) {
        if (all[i].used && all[i].instance == instance &&
            mqtt_topic_matches(filter_of(&all[i]), topic)) {
            expected |= UINT64_C(1) << all[i].loop;
        }
    }
    assert_int_equal(m.loops, expected);
}

static void test_against_a_list(void **state)
{
    (void)state;
    static struct entry all[SUBS];
    struct random r = {2024};
    struct qsbr q;
    uint64_t used = 0;
    char text[TOPIC_ANY_MAX];
    qsbr_init(&q, LOOPS);
    struct topics *t = topics_new(LOOPS, &q);
    for (unsigned l = 0; l < LOOPS; l++) {
        qsbr_online(&q, l);
    }
    for (int step = 0; step < 40000; step++) {
        struct entry *e = &all[random_below(&r, SUBS)];
        /* the population swings between nearly none and nearly all */
        bool grow = random_below(&r, 10) < ((step / 5000) % 2 == 0 ? 8u : 2u);
        if (!e->used && grow) {
            e->loop = random_below(&r, LOOPS);
            e->instance = random_below(&r, INSTANCES);
            add(t, e, &r);
            used++;
        } else if (e->used && !grow) {
            take_out(t, e);
            used--;
        }
        assert_int_equal(topics_count(t), used);
        struct slice topic = topic_any(&r, text);
        unsigned loop = random_below(&r, LOOPS);
        uint32_t instance = random_below(&r, INSTANCES);
        assert_int_equal(check_topic(t, all, SUBS, loop, instance, topic), 0);
        check_mask(t, all, instance, topic);
        qsbr_quiescent(&q, random_below(&r, LOOPS));
    }
    for (size_t i = 0; i < SUBS; i++) {
        if (all[i].used) {
            take_out(t, &all[i]);
        }
    }
    assert_int_equal(topics_count(t), 0);
    topics_free(t);
    qsbr_fini(&q);
}

static void test_many_exact_filters(void **state)
{
    (void)state;
    enum { MANY = 20000 };
    struct qsbr q;
    struct topic_sub *subs = mem_new(MANY, sizeof *subs);
    char text[32];
    qsbr_init(&q, 1);
    struct topics *t = topics_new(1, &q);
    qsbr_online(&q, 0);
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < MANY; i++) {
            int n = snprintf(text, sizeof text, "device/%d/in", i);
            topics_add(t, 0, 1, slice_make(text, (size_t)n), &subs[i]);
        }
        for (int i = 0; i < MANY; i++) {
            struct topics_match m;
            int n = snprintf(text, sizeof text, "device/%d/in", i);
            struct slice topic = slice_make(text, (size_t)n);
            topics_match(t, 0, 1, topic, hash64(topic), &m);
            assert_int_equal(m.count, 1);
            assert_ptr_equal(m.lists[0].subs[0], &subs[i]);
            topics_match(t, 0, 2, topic, hash64(topic), &m);
            assert_int_equal(m.count, 0);
        }
        for (int i = 0; i < MANY; i++) {
            topics_remove(t, 0, &subs[(i * 7919) % MANY]);
            qsbr_quiescent(&q, 0);
        }
    }
    topics_free(t);
    qsbr_fini(&q);
    free(subs);
}

/* As deep as 65,535 bytes allow: no stack is used up. */
static void *match_deep(void *arg)
{
    enum { LEVELS = 32768 };
    static char filter[2 * LEVELS], exact[2 * LEVELS], topic[2 * LEVELS];
    struct topic_sub subs[2] = {0};
    struct topics_match m;
    struct qsbr q;
    for (int i = 0; i < LEVELS; i++) {
        filter[2 * i] = '+';
        exact[2 * i] = i == 0 ? '+' : 'a'; /* in the tree too */
        topic[2 * i] = 'a';
        filter[2 * i + 1] = exact[2 * i + 1] = topic[2 * i + 1] = '/';
    }
    qsbr_init(&q, 1);
    struct topics *t = topics_new(1, &q);
    qsbr_online(&q, 0);
    topics_add(t, 0, 1, slice_make(filter, 2 * LEVELS - 1), &subs[0]);
    topics_add(t, 0, 1, slice_make(exact, 2 * LEVELS - 1), &subs[1]);
    struct slice name = slice_make(topic, 2 * LEVELS - 1);
    topics_match(t, 0, 1, name, hash64(name), &m);
    *(uint32_t *)arg = m.count;
    topics_remove(t, 0, &subs[0]);
    topics_remove(t, 0, &subs[1]);
    topics_free(t);
    qsbr_fini(&q);
    return NULL;
}

static void test_deep_filters_on_a_small_stack(void **state)
{
    (void)state;
    pthread_attr_t attr;
    pthread_t thread;
    uint32_t count = 0;
    assert_int_equal(pthread_attr_init(&attr), 0);
    assert_int_equal(pthread_attr_setstacksize(&attr, 256 * 1024), 0);
    assert_int_equal(pthread_create(&thread, &attr, match_deep, &count), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)pthread_attr_destroy(&attr);
    assert_int_equal(count, 2);
}

/* ---- two loops at once ---- */

enum { THREADS = 2, OWN = 200, STEPS = 30000 };

struct worker {
    struct topics *topics;
    struct qsbr *qsbr;
    unsigned index, wrong;
    struct entry own[OWN];
    const struct entry *steady; /* of another loop; stays */
};

static void *run_worker(void *arg)
{
    struct worker *w = arg;
    struct random r = {w->index + 17};
    char text[TOPIC_ANY_MAX];
    qsbr_online(w->qsbr, w->index);
    for (int step = 0; step < STEPS; step++) {
        struct entry *e = &w->own[random_below(&r, OWN)];
        e->loop = w->index;
        if (e->used && random_below(&r, 100) < 55) {
            take_out(w->topics, e);
        } else if (!e->used) {
            add(w->topics, e, &r);
        }
        struct slice topic = topic_any(&r, text);
        w->wrong += check_topic(w->topics, w->own, OWN, w->index, 0, topic) != 0;
        struct topics_match m;
        topics_match(w->topics, w->index, 0, topic, hash64(topic), &m);
        w->wrong += mqtt_topic_matches(filter_of(w->steady), topic) &&
                    (m.loops & (UINT64_C(1) << w->steady->loop)) == 0;
        if (random_below(&r, 4) == 0) {
            qsbr_quiescent(w->qsbr, w->index);
        } else if (random_below(&r, 64) == 0) {
            qsbr_offline(w->qsbr, w->index);
            qsbr_online(w->qsbr, w->index);
        }
    }
    for (size_t i = 0; i < OWN; i++) {
        if (w->own[i].used) {
            take_out(w->topics, &w->own[i]);
        }
    }
    qsbr_offline(w->qsbr, w->index);
    return NULL;
}

static void test_two_loops_at_once(void **state)
{
    (void)state;
    static struct worker workers[THREADS];
    static struct entry steady = {.used = true, .loop = THREADS, .text = "a/+/b", .len = 5};
    pthread_t threads[THREADS];
    struct qsbr q;
    qsbr_init(&q, THREADS + 1);
    struct topics *t = topics_new(THREADS + 1, &q);
    topics_add(t, THREADS, 0, filter_of(&steady), &steady.sub);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){.topics = t, .qsbr = &q, .index = i, .steady = &steady};
        assert_int_equal(pthread_create(&threads[i], NULL, run_worker, &workers[i]), 0);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(workers[i].wrong, 0);
    }
    assert_int_equal(topics_count(t), 1);
    topics_remove(t, THREADS, &steady.sub);
    topics_free(t);
    qsbr_fini(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_a_list),
        cmocka_unit_test(test_many_exact_filters),
        cmocka_unit_test(test_deep_filters_on_a_small_stack),
        cmocka_unit_test(test_two_loops_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
