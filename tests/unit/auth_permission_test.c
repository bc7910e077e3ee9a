/*
 * Decisions against a naive model: all topics and filters of up to three levels over a small alphabet, random rule
 * lists, and "covers" and "overlaps" worked out by trying every topic.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "auth/auth_priv.h"
#include "auth_memory.h"
#include "base/clock.h"
#include "mqtt/topic.h"

enum { NAMES_MAX = 2000 };

static char topics[NAMES_MAX][16];
static char filters[NAMES_MAX][16];
static size_t topic_count, filter_count;

static void add_names(char (*out)[16], size_t *count, const char *const *levels, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        (void)snprintf(out[(*count)++], 16, "%s", levels[i]);
        for (size_t j = 0; j < n; j++) {
            (void)snprintf(out[(*count)++], 16, "%s/%s", levels[i], levels[j]);
            for (size_t k = 0; k < n; k++) {
                (void)snprintf(out[(*count)++], 16, "%s/%s/%s", levels[i], levels[j], levels[k]);
            }
        }
    }
}

static void keep_valid_filters(void)
{
    size_t n = 0;
    for (size_t i = 0; i < filter_count; i++) {
        if (mqtt_filter_valid(slice_str(filters[i]))) {
            memmove(filters[n++], filters[i], sizeof filters[0]);
        }
    }
    filter_count = n;
}

/* One level more for topics, and a name that no filter has, so that a finite model of covering is exact. */
static int setup(void **state)
{
    (void)state;
    static const char *const topic_levels[] = {"a", "b", "$s", "zz", ""};
    static const char *const filter_levels[] = {"a", "b", "$s", "", "+", "#"};
    add_names(topics, &topic_count, topic_levels, 5);
    size_t three = topic_count;
    for (size_t i = 0; i < three; i++) {
        (void)snprintf(topics[topic_count++], 16, "%.8s/zz/q/q", topics[i]);
    }
    add_names(filters, &filter_count, filter_levels, 6);
    keep_valid_filters();
    assert_true(filter_count > 100 && topic_count < NAMES_MAX);
    return 0;
}

static bool real_topic(size_t i)
{
    return topics[i][0] != '\0';
}

static bool naive_covers(const char *outer, const char *inner)
{
    for (size_t i = 0; i < topic_count; i++) {
        struct slice t = slice_str(topics[i]);
        if (real_topic(i) && mqtt_topic_matches(slice_str(inner), t) &&
            !mqtt_topic_matches(slice_str(outer), t)) {
            return false;
        }
    }
    return true;
}

static bool naive_overlaps(const char *a, const char *b)
{
    for (size_t i = 0; i < topic_count; i++) {
        struct slice t = slice_str(topics[i]);
        if (real_topic(i) && mqtt_topic_matches(slice_str(a), t) &&
            mqtt_topic_matches(slice_str(b), t)) {
            return true;
        }
    }
    return false;
}

struct naive_rule {
    bool deny;
    enum auth_action action;
    const char *filter;
};

static bool naive_publish(const struct naive_rule *r, size_t n, const char *topic)
{
    bool allow = false;
    for (size_t i = 0; i < n; i++) {
        bool hit = (r[i].action & AUTH_PUBLISH) != 0 &&
                   mqtt_topic_matches(slice_str(r[i].filter), slice_str(topic));
        if (hit && r[i].deny) {
            return false;
        }
        allow = allow || hit;
    }
    return allow;
}

static bool naive_subscribe(const struct naive_rule *r, size_t n, const char *filter)
{
    bool allow = false;
    for (size_t i = 0; i < n; i++) {
        if ((r[i].action & AUTH_SUBSCRIBE) == 0) {
            continue;
        }
        if (r[i].deny && naive_overlaps(r[i].filter, filter)) {
            return false;
        }
        allow = allow || (!r[i].deny && naive_covers(r[i].filter, filter));
    }
    return allow;
}

static struct auth_identity *identity_of(const struct naive_rule *r, size_t n)
{
    static struct auth_policy policy;
    struct permission items[8];
    for (size_t i = 0; i < n; i++) {
        items[i] = (struct permission){r[i].deny, r[i].action, slice_str(r[i].filter)};
    }
    struct auth_identity *id = mem_new(1, sizeof *id);
    id->open_topics = true;
    id->policy = &policy;
    id->user = user_new(slice_str("u"), 0, NULL, items, n);
    identity_compile(id);
    return id;
}

static void identity_drop(struct auth_identity *id)
{
    entry_unref(&id->user->e);
    free(id);
}

static uint32_t seed = 7;
static size_t pick(size_t n)
{
    seed = seed * 1664525U + 1013904223U;
    return (seed >> 8) % n;
}

static void decisions_equal_the_model(void **state)
{
    (void)state;
    size_t yes = 0;
    for (int round = 0; round < 300; round++) {
        struct naive_rule r[8];
        size_t n = pick(6) + 1;
        for (size_t i = 0; i < n; i++) {
            r[i] = (struct naive_rule){pick(3) == 0, (enum auth_action)(1 + pick(3)),
                                       filters[pick(filter_count)]};
        }
        struct auth_identity *id = identity_of(r, n);
        struct auth_decision d;
        for (int k = 0; k < 60; k++) {
            const char *t = topics[pick(topic_count)];
            const char *f = filters[pick(filter_count)];
            bool publish = t[0] != '\0' && naive_publish(r, n, t);
            bool subscribe = naive_subscribe(r, n, f);
            if (t[0] != '\0') {
                assert_int_equal(auth_allows(id, slice_str("c1"), AUTH_PUBLISH, slice_str(t), &d),
                                 publish);
            }
            assert_int_equal(auth_allows(id, slice_str("c1"), AUTH_SUBSCRIBE, slice_str(f), &d),
                             subscribe);
            yes += (size_t)publish + (size_t)subscribe;
        }
        identity_drop(id);
    }
    assert_true(yes > 500); /* the model is not only "no" */
}

static void rules_are_named(void **state)
{
    (void)state;
    const struct naive_rule r[] = {
        {false, AUTH_BOTH, "#"}, {true, AUTH_PUBLISH, "secret/#"}, {true, AUTH_BOTH, "one/two"}};
    struct auth_identity *id = identity_of(r, 3);
    struct auth_decision d;
    assert_false(auth_allows(id, slice_str("c1"), AUTH_PUBLISH, slice_str("secret/x"), &d));
    assert_string_equal(d.rule, "deny publish secret/#");
    assert_true(auth_allows(id, slice_str("c1"), AUTH_SUBSCRIBE, slice_str("secret/x"), &d));
    assert_false(auth_allows(id, slice_str("c1"), AUTH_SUBSCRIBE, slice_str("#"), &d));
    assert_string_equal(d.rule, "deny both one/two");
    assert_false(auth_allows(id, slice_str("c1"), AUTH_SUBSCRIBE, slice_str("$SYS/#"), &d));
    assert_string_equal(d.rule, "no permission matches");
    identity_drop(id);
    id = identity_of(r, 0);
    assert_false(auth_allows(id, slice_str("c1"), AUTH_PUBLISH, slice_str("a"), &d));
    assert_string_equal(d.rule, "no permission matches");
    identity_drop(id);
}

/* The figure is printed, not judged: it depends on the machine, its load and the build. */
static void usual_case_often(void **state)
{
    (void)state;
    const struct naive_rule r[] = {{false, AUTH_BOTH, "#"}, {false, AUTH_SUBSCRIBE, "$SYS/#"}};
    struct auth_identity *id = identity_of(r, 2);
    struct auth_decision d;
    struct slice t = slice_str("plant/line/7/temperature");
    size_t yes = 0;
    uint64_t begin = clock_mono_us();
    for (int i = 0; i < 1000000; i++) {
        yes += auth_allows(id, slice_str("c1"), AUTH_PUBLISH, t, &d);
    }
    uint64_t us = clock_mono_us() - begin;
    print_message("auth_allows: %.1f ns\n", (double)us / 1000);
    assert_int_equal(yes, 1000000);
    identity_drop(id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decisions_equal_the_model),
        cmocka_unit_test(rules_are_named),
        cmocka_unit_test(usual_case_often),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
