/* Topics of one side as topics of the other, what is no good rule, and the loop mark. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "bridge/mapping.h"
#include "bridge/mark.h"

static struct bridge_topic rule(const char *topic, enum bridge_direction d, const char *local,
                                const char *remote)
{
    return (struct bridge_topic){.topic = (char *)topic,
                                 .direction = d,
                                 .local_prefix = (char *)local,
                                 .remote_prefix = (char *)remote};
}

/* The topic's name on the other side; "-": none. */
static void check(const struct bridge_mapping *m, enum bridge_side from, const char *topic,
                  const char *expected)
{
    struct buf out = {0};
    bool mapped = bridge_map(m, from, slice_str(topic), &out);
    char text[64] = "-";
    if (mapped) {
        assert_true(buf_len(&out) < sizeof text);
        memcpy(text, buf_slice(&out).p, buf_len(&out));
        text[buf_len(&out)] = '\0';
    }
    assert_string_equal(text, expected);
    buf_fini(&out);
}

static void test_map(void **state)
{
    (void)state;
    const struct bridge_topic topics[] = {
        rule("", BRIDGE_OUT, "here/one", "there/one"),
        rule("a/+/c", BRIDGE_OUT, "", "r/"),
        rule("both/#", BRIDGE_BOTH, "l/", "r/"),
        rule("x", BRIDGE_IN, "in/", ""),
        rule("#", BRIDGE_OUT, "p/", ""),
        rule("#", BRIDGE_OUT, "q/", "s/"),
        rule("/#", BRIDGE_OUT, "t", "u"),
    };
    struct bridge_mapping m;
    bridge_mapping_init(&m, topics, sizeof topics / sizeof *topics);
    check(&m, BRIDGE_LOCAL, "here/one", "there/one");
    check(&m, BRIDGE_LOCAL, "here/one/two", "-");
    check(&m, BRIDGE_REMOTE, "there/one", "-");
    check(&m, BRIDGE_LOCAL, "a/b/c", "r/a/b/c");
    check(&m, BRIDGE_LOCAL, "a/b/d", "-");
    check(&m, BRIDGE_LOCAL, "l/both", "r/both");
    check(&m, BRIDGE_LOCAL, "l/both/x", "r/both/x");
    check(&m, BRIDGE_REMOTE, "r/both/x", "l/both/x");
    check(&m, BRIDGE_REMOTE, "x", "in/x");
    check(&m, BRIDGE_LOCAL, "x", "-");
    check(&m, BRIDGE_LOCAL, "p/y/z", "y/z");
    check(&m, BRIDGE_LOCAL, "p/", "-"); /* it would have no name there */
    check(&m, BRIDGE_LOCAL, "p", "-");
    check(&m, BRIDGE_LOCAL, "q", "s"); /* the parent, which q/# matches, too */
    check(&m, BRIDGE_LOCAL, "q/", "s/");
    check(&m, BRIDGE_LOCAL, "t", "u");
    check(&m, BRIDGE_LOCAL, "t/v", "u/v");
    check(&m, BRIDGE_LOCAL, "$SYS/broker", "-");
    bridge_mapping_fini(&m);
}

/* The first that matches and goes that way decides. */
static void test_order(void **state)
{
    (void)state;
    const struct bridge_topic topics[] = {
        rule("a/#", BRIDGE_IN, "", "no/"),
        rule("a/b", BRIDGE_OUT, "", "one/"),
        rule("#", BRIDGE_OUT, "", "two/"),
    };
    struct bridge_mapping m;
    bridge_mapping_init(&m, topics, 3);
    check(&m, BRIDGE_LOCAL, "a/b", "one/a/b");
    check(&m, BRIDGE_LOCAL, "a/c", "two/a/c");
    bridge_mapping_fini(&m);
}

static void test_names_that_are_too_long(void **state)
{
    (void)state;
    char *prefix = malloc(60001);
    memset(prefix, 'x', 60000);
    prefix[59999] = '/';
    prefix[60000] = '\0';
    const struct bridge_topic t = rule("#", BRIDGE_OUT, "", prefix);
    assert_null(bridge_topic_fault(&t));
    struct bridge_mapping m;
    bridge_mapping_init(&m, &t, 1);
    struct buf out = {0};
    char *topic = malloc(6000);
    memset(topic, 'y', 6000);
    assert_true(bridge_map(&m, BRIDGE_LOCAL, slice_make(topic, 5535), &out));
    assert_int_equal(buf_len(&out), 65535);
    assert_false(bridge_map(&m, BRIDGE_LOCAL, slice_make(topic, 5536), &out));
    buf_fini(&out);
    bridge_mapping_fini(&m);
    free(topic);
    free(prefix);
}

static void test_faults(void **state)
{
    (void)state;
    const struct bridge_topic good[] = {
        rule("#", BRIDGE_OUT, "", ""),
        rule("+/a", BRIDGE_OUT, "x/", ""),
        rule("", BRIDGE_OUT, "x", "y"),
    };
    const struct bridge_topic bad[] = {
        rule("", BRIDGE_OUT, "", "y"),         rule("a#", BRIDGE_OUT, "", ""),
        rule("#/a", BRIDGE_OUT, "", ""),       rule("a", BRIDGE_OUT, "+/", ""),
        rule("a", BRIDGE_OUT, "", "#"),        rule("#", BRIDGE_OUT, "x", ""),
        rule("\xff", BRIDGE_OUT, "", ""),      rule("$share/g/a", BRIDGE_IN, "", ""),
        rule("g/a", BRIDGE_IN, "", "$share/"), rule("$queue/a", BRIDGE_OUT, "", ""),
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_null(bridge_topic_fault(&good[i]));
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_non_null(bridge_topic_fault(&bad[i]));
    }
}

static void test_mark(void **state)
{
    (void)state;
    struct buf b = {0};
    struct slice id;
    assert_false(bridge_mark_first(buf_slice(&b), &id));
    buf_put(&b, "\x26\x00\x01k\x00\x01v", 7);
    assert_false(bridge_mark_first(buf_slice(&b), &id));
    bridge_mark_put(&b, slice_str("one"));
    bridge_mark_put(&b, slice_str("two"));
    assert_true(bridge_mark_first(buf_slice(&b), &id));
    assert_true(slice_eq(id, slice_str("one")));
    assert_true(bridge_mark_has(buf_slice(&b), slice_str("two")));
    assert_false(bridge_mark_has(buf_slice(&b), slice_str("tw")));
    assert_false(bridge_mark_has(buf_slice(&b), slice_str("v")));
    buf_fini(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_map),    cmocka_unit_test(test_order),
        cmocka_unit_test(test_faults), cmocka_unit_test(test_names_that_are_too_long),
        cmocka_unit_test(test_mark),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
