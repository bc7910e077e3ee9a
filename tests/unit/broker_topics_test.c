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
    assert_true(slice_eq(topic_sub_filter(&e->sub), f));
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

/* ---- shared subscriptions ---- */

static struct share_group *group_for(struct topics *t, unsigned loop, const char *topic)
{
    struct topics_match m;
    struct slice name = slice_str(topic);
    topics_match(t, loop, 0, name, hash64(name), &m);
    return m.share_count == 0 ? NULL : m.shares[0];
}

/* How often each of the subscriptions is picked in `n` picks; -1: somebody else was. */
static int picks(struct share_group *g, struct topic_sub *subs, size_t count, bool away, unsigned n,
                 unsigned *each)
{
    memset(each, 0, count * sizeof *each);
    for (unsigned i = 0; i < n; i++) {
        const struct share_member *m = share_pick(g, NULL, away, NULL);
        if (m == NULL) {
            return 0;
        }
        size_t at = (size_t)(m->sub - subs);
        if (m->sub < subs || at >= count) {
            return -1;
        }
        each[at]++;
    }
    return 1;
}

static void test_shared_picks(void **state)
{
    (void)state;
    enum { MEMBERS = 9 };
    struct topic_sub subs[MEMBERS] = {0};
    unsigned each[MEMBERS];
    struct qsbr q;
    qsbr_init(&q, LOOPS);
    struct topics *t = topics_new(LOOPS, &q);
    struct slice filter = slice_str("$share/name/a/+/c");
    for (unsigned i = 0; i < MEMBERS; i++) {
        topics_add(t, i % LOOPS, 0, filter, &subs[i]);
        assert_int_equal(subs[i].flags, SUB_SHARED);
        assert_true(slice_eq(topic_sub_filter(&subs[i]), filter));
    }
    assert_int_equal(topics_count(t), MEMBERS);
    assert_int_equal(topics_shared_count(t), MEMBERS);
    assert_null(group_for(t, 0, "a/b"));
    struct share_group *g = group_for(t, 0, "a/b/c");
    assert_non_null(g);
    assert_ptr_equal(group_for(t, 1, "a/x/c"), g);
    assert_int_equal(picks(g, subs, MEMBERS, false, 1, each), 0); /* all are away */
    assert_int_equal(picks(g, subs, MEMBERS, true, MEMBERS * 10, each), 1);
    for (unsigned i = 0; i < MEMBERS; i++) {
        assert_int_equal(each[i], 10);
    }
    for (unsigned i = 0; i < 3; i++) {
        topics_share_here(t, &subs[i], true);
    }
    assert_int_equal(picks(g, subs, 3, true, 30, each), 1);
    assert_int_equal(each[0] + each[1] + each[2], 30);
    assert_int_equal(each[1], 10);
    atomic_store(&subs[1].member->busy, true);
    assert_int_equal(picks(g, subs, 3, true, 30, each), 1);
    assert_int_equal(each[1], 0);
    atomic_store(&subs[0].member->busy, true);
    atomic_store(&subs[2].member->busy, true);
    assert_int_equal(picks(g, subs, 3, true, 30, each), 1); /* somebody gets it all the same */
    assert_int_equal(each[0] + each[1] + each[2], 30);
    assert_ptr_not_equal(share_pick(g, subs[0].member, false, NULL), subs[0].member);
    for (unsigned i = 0; i < MEMBERS; i++) {
        topics_remove(t, i % LOOPS, &subs[i]);
    }
    assert_null(group_for(t, 0, "a/b/c"));
    assert_int_equal(topics_count(t), 0);
    assert_int_equal(topics_shared_count(t), 0);
    topics_free(t);
    qsbr_fini(&q);
}

/* Mail names a member that leaves before it arrives. */
static void test_shared_hold(void **state)
{
    (void)state;
    struct topic_sub subs[2] = {0};
    struct qsbr q;
    qsbr_init(&q, 1);
    struct topics *t = topics_new(1, &q);
    topics_add(t, 0, 0, slice_str("$share/g/t"), &subs[0]);
    struct share_member *m = share_pick(group_for(t, 0, "t"), NULL, true, NULL);
    assert_true(share_hold(m));
    topics_remove(t, 0, &subs[0]);
    assert_null(m->sub);
    assert_null(share_pick(m->group, NULL, true, NULL));
    topics_add(t, 0, 0, slice_str("$share/g/t"), &subs[1]); /* a group of its own */
    assert_ptr_not_equal(subs[1].member->group, m->group);
    topics_share_release(t, m);
    topics_remove(t, 0, &subs[1]);
    topics_free(t);
    qsbr_fini(&q);
}

/* One loop's members come and go while another picks, holds and lets go. */
struct picker {
    struct topics *topics;
    struct qsbr *qsbr;
    atomic_bool quit;
    atomic_ulong picked;
};

static void *run_picker(void *arg)
{
    struct picker *p = arg;
    qsbr_online(p->qsbr, 1);
    while (!atomic_load(&p->quit)) {
        struct share_group *g = group_for(p->topics, 1, "a/b");
        struct share_member *m = g == NULL ? NULL : share_pick(g, NULL, true, NULL);
        if (m != NULL && share_hold(m)) {
            atomic_fetch_add(&p->picked, m->loop == 0);
            qsbr_quiescent(p->qsbr, 1);
            topics_share_release(p->topics, m);
        }
        qsbr_quiescent(p->qsbr, 1);
    }
    qsbr_offline(p->qsbr, 1);
    return NULL;
}

static void test_shared_two_loops(void **state)
{
    (void)state;
    enum { SUBSCRIPTIONS = 40 };
    static struct topic_sub subs[SUBSCRIPTIONS];
    bool in[SUBSCRIPTIONS] = {false};
    struct random r = {5};
    struct qsbr q;
    pthread_t thread;
    qsbr_init(&q, 2);
    struct picker p = {.topics = topics_new(2, &q), .qsbr = &q};
    assert_int_equal(pthread_create(&thread, NULL, run_picker, &p), 0);
    qsbr_online(&q, 0);
    /* and on, until the other has had its turn on a busy machine */
    for (int step = 0; step < 100000 || atomic_load(&p.picked) == 0; step++) {
        unsigned i = random_below(&r, SUBSCRIPTIONS);
        if (in[i] && random_below(&r, 3) == 0) {
            topics_share_here(p.topics, &subs[i], random_below(&r, 2) == 0);
        } else if (in[i]) {
            topics_remove(p.topics, 0, &subs[i]);
            in[i] = false;
        } else {
            subs[i] = (struct topic_sub){0};
            topics_add(p.topics, 0, 0, slice_str(i % 2 == 0 ? "$share/g/a/b" : "$share/g/a/#"),
                       &subs[i]);
            in[i] = true;
        }
        qsbr_quiescent(&q, 0);
    }
    atomic_store(&p.quit, true);
    assert_int_equal(pthread_join(thread, NULL), 0);
    for (unsigned i = 0; i < SUBSCRIPTIONS; i++) {
        if (in[i]) {
            topics_remove(p.topics, 0, &subs[i]);
        }
    }
    topics_free(p.topics);
    qsbr_fini(&q);
}

/* Hundreds of groups at the same filters: each is there while it has members, and once. */
static void test_many_groups(void **state)
{
    enum { GROUPS = 300, MEMBERS = 3, FILTERS = 2 };
    (void)state;
    static struct topic_sub subs[FILTERS][GROUPS][MEMBERS];
    static bool in[FILTERS][GROUPS][MEMBERS];
    struct random r = {31};
    struct qsbr q;
    char text[40];
    qsbr_init(&q, 1);
    qsbr_online(&q, 0);
    struct topics *t = topics_new(1, &q);
    for (unsigned step = 0; step < 20000; step++) {
        unsigned f = random_below(&r, FILTERS), g = random_below(&r, GROUPS);
        unsigned m = random_below(&r, MEMBERS);
        bool grow = random_below(&r, 10) < ((step / 4000) % 2 == 0 ? 8u : 2u);
        if (grow && !in[f][g][m]) {
            (void)snprintf(text, sizeof text, "$share/g%u/%s", g, f == 0 ? "a/b" : "a/+");
            topics_add(t, 0, 0, slice_str(text), &subs[f][g][m]);
            in[f][g][m] = true;
        } else if (!grow && in[f][g][m]) {
            topics_remove(t, 0, &subs[f][g][m]);
            in[f][g][m] = false;
        }
        unsigned expected = 0;
        for (unsigned k = 0; step % 16 == 0 && k < FILTERS * GROUPS; k++) {
            const bool *members = in[k / GROUPS][k % GROUPS];
            expected += members[0] || members[1] || members[2];
        }
        struct topics_match found;
        topics_match(t, 0, 0, slice_str("a/b"), hash64(slice_str("a/b")), &found);
        if (step % 16 == 0) {
            assert_int_equal(found.share_count, expected);
        }
        qsbr_quiescent(&q, 0);
    }
    for (unsigned k = 0; k < FILTERS * GROUPS * MEMBERS; k++) {
        if ((&in[0][0][0])[k]) {
            topics_remove(t, 0, &(&subs[0][0][0])[k]);
        }
    }
    assert_int_equal(topics_shared_count(t), 0);
    topics_free(t);
    qsbr_fini(&q);
}

/* Topics that are too long for the cache, and too many filters: what it says of them follows the changes all the same. */
static void test_what_the_cache_does_not_keep(void **state)
{
    enum { LEVELS = 11, FILTERS = 1 << LEVELS, LONG = 3000 };
    (void)state;
    static struct topic_sub subs[FILTERS];
    struct qsbr q;
    char filter[2 * LEVELS], topic[2 * LEVELS], name[2][LONG];
    qsbr_init(&q, 1);
    qsbr_online(&q, 0);
    struct topics *t = topics_new(1, &q);
    for (uint32_t i = 0; i < FILTERS; i++) {
        for (unsigned l = 0; l < LEVELS; l++) {
            filter[2 * l] = (i >> l & 1) != 0 ? '+' : 'x';
            topic[2 * l] = 'x';
            filter[2 * l + 1] = topic[2 * l + 1] = '/';
        }
        topics_add(t, 0, 0, slice_make(filter, 2 * LEVELS - 1), &subs[i]);
    }
    memset(name, 'n', sizeof name);
    name[1][LONG - 1] = 'm';
    const struct slice many = slice_make(topic, 2 * LEVELS - 1);
    const struct slice two[] = {slice_make(name[0], LONG), slice_make(name[1], LONG)};
    struct topic_sub one = {0};
    struct topics_match m;
    for (unsigned round = 0; round < 4; round++) {
        bool more = round % 2 == 1;
        if (more) {
            topics_add(t, 0, 0, slice_str("+/#"), &one);
        }
        for (unsigned again = 0; again < 2; again++) {
            topics_match(t, 0, 0, many, hash64(many), &m);
            assert_int_equal(m.count, FILTERS + more);
            assert_int_equal(m.steps == 0, again == 1);
        }
        for (unsigned k = 0; k < 4; k++) {
            topics_match(t, 0, 0, two[k % 2], hash64(two[k % 2]), &m);
            assert_int_equal(m.count, more);
        }
        if (more) {
            topics_remove(t, 0, &one);
        }
        qsbr_quiescent(&q, 0);
    }
    for (uint32_t i = 0; i < FILTERS; i++) {
        topics_remove(t, 0, &subs[i]);
    }
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
        cmocka_unit_test(test_what_the_cache_does_not_keep),
        cmocka_unit_test(test_many_groups),
        cmocka_unit_test(test_shared_picks),
        cmocka_unit_test(test_shared_hold),
        cmocka_unit_test(test_shared_two_loops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
