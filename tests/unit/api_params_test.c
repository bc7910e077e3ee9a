/* Query parameters: splitting before decoding, times, limits, and which field an error names. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "api/params.h"

static const uint64_t now_us = 1700000000123456;
static const uint64_t day_ms = 86400000;

static char query[4096];
static struct params params;

static struct params *parse(const char *text)
{
    assert_true(strlen(text) < sizeof query);
    memcpy(query, text, strlen(text) + 1);
    params_parse(&params, query);
    return &params;
}

static void assert_problem(const char *field, const char *part)
{
    assert_int_equal(params.problem.status, 400);
    assert_string_equal(params.problem.field, field);
    if (strstr(params.problem.detail, part) == NULL) {
        fail_msg("\"%s\" does not say \"%s\"", params.problem.detail, part);
    }
}

static uint64_t time_of(const char *text)
{
    uint64_t us = 0;
    return time_parse(slice_str(text), &us) == 0 ? us : UINT64_MAX;
}

static void times_are_unix_ms_or_rfc3339(void **state)
{
    (void)state;
    assert_int_equal(time_of("0"), 0);
    assert_int_equal(time_of("1700000000123"), 1700000000123000);
    assert_int_equal(time_of("1970-01-01T00:00:00Z"), 0);
    assert_int_equal(time_of("2023-11-14T22:13:20Z"), 1700000000000000);
    assert_int_equal(time_of("2023-11-14t22:13:20z"), 1700000000000000);
    assert_int_equal(time_of("2023-11-14 22:13:20Z"), 1700000000000000);
    assert_int_equal(time_of("2023-11-14T22:13:20.5Z"), 1700000000500000);
    assert_int_equal(time_of("2023-11-14T22:13:20.123456Z"), 1700000000123456);
    assert_int_equal(time_of("2023-11-14T22:13:20.123456789Z"), 1700000000123456);
    assert_int_equal(time_of("2023-11-15T00:13:20+02:00"), 1700000000000000);
    assert_int_equal(time_of("2023-11-15T00:13:20 02:00"), 1700000000000000);
    assert_int_equal(time_of("2023-11-14T16:43:20-05:30"), 1700000000000000);
    assert_int_equal(time_of("2024-02-29T00:00:00Z"), 1709164800000000);
    assert_int_equal(time_of("2000-02-29T00:00:00Z"), 951782400000000);
    assert_int_equal(time_of("2016-12-31T23:59:60Z"), 1483228800000000);
    assert_int_equal(time_of("9999-12-31T23:59:59Z"), 253402300799000000);
}

static void bad_times_are_refused(void **state)
{
    static const char *const bad[] = {"",
                                      "-1",
                                      "1.5",
                                      "1e3",
                                      "0x10",
                                      " 1",
                                      "1 ",
                                      "99999999999999999999",
                                      "253402300800000",
                                      "now",
                                      "2023-11-14",
                                      "2023-11-14T22:13:20",
                                      "2023-11-14T22:13Z",
                                      "2023-11-14T22:13:20.Z",
                                      "2023-13-01T00:00:00Z",
                                      "2023-00-01T00:00:00Z",
                                      "2023-02-29T00:00:00Z",
                                      "2100-02-29T00:00:00Z",
                                      "2023-04-31T00:00:00Z",
                                      "2023-11-14T24:00:00Z",
                                      "2023-11-14T22:60:00Z",
                                      "2023-11-14T22:13:61Z",
                                      "2023-11-14T22:13:20+2:00",
                                      "2023-11-14T22:13:20+02:60",
                                      "2023-11-14T22:13:20Zx",
                                      "1969-12-31T23:59:59Z",
                                      "1970-01-01T00:00:00+01:00",
                                      "23-11-14T22:13:20Z"};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        if (time_of(bad[i]) != UINT64_MAX) {
            fail_msg("\"%s\" was taken as a time", bad[i]);
        }
    }
}

static bool decodes_to(const char *text, bool plus, const char *expected, size_t n)
{
    char copy[64];
    memcpy(copy, text, strlen(text) + 1);
    ptrdiff_t got = percent_decode(copy, strlen(text), plus);
    return got == (ptrdiff_t)n && memcmp(copy, expected, n) == 0;
}

static void percent_encoding_is_decoded_once(void **state)
{
    char bad[] = "a%4";
    (void)state;
    assert_true(decodes_to("GID_a%40%40%40b%2Fc", false, "GID_a@@@b/c", 11));
    assert_true(decodes_to("%2540", false, "%40", 3));
    assert_true(decodes_to("a%00b", false, "a\0b", 3));
    assert_true(decodes_to("a+b", false, "a+b", 3));
    assert_true(decodes_to("a+b%2B%2b", true, "a b++", 5));
    assert_true(decodes_to("", true, "", 0));
    assert_int_equal(percent_decode(bad, 3, false), -1);
    memcpy(bad, "%zz", 4);
    assert_int_equal(percent_decode(bad, 3, false), -1);
    memcpy(bad, "ab%", 4);
    assert_int_equal(percent_decode(bad, 3, false), -1);
}

static void values_are_split_before_they_are_decoded(void **state)
{
    struct slice v;
    (void)state;
    struct params *p = parse("query=a%26b%3Dc&group=&flag&filter=x%2F%2B%2F%23");
    assert_true(params_find(p, "query", &v));
    assert_true(slice_eq(v, slice_str("a&b=c")));
    assert_true(params_find(p, "group", &v));
    assert_int_equal(v.n, 0);
    assert_true(params_find(p, "flag", &v));
    assert_true(params_find(p, "filter", &v));
    assert_true(slice_eq(v, slice_str("x/+/#")));
    assert_false(params_find(p, "absent", &v));
    assert_true(params_done(p));
}

static void no_query_is_fine(void **state)
{
    (void)state;
    params_parse(&params, NULL);
    assert_int_equal(params.count, 0);
    assert_true(params_done(&params));
    assert_true(params_done(parse("")));
    assert_true(params_done(parse("&&")));
}

static void unknown_double_and_undecodable_are_named(void **state)
{
    (void)state;
    assert_false(params_done(parse("fooo=1")));
    assert_problem("fooo", "fooo");
    struct params *p = parse("limit=1&limit=2");
    (void)params_limit(p);
    assert_false(params_done(p));
    assert_problem("limit", "twice");
    assert_false(params_done(parse("query=%zz")));
    assert_problem("", "percent");
}

static void there_are_at_most_params_max(void **state)
{
    char text[PARAMS_MAX * 4 + 8] = "";
    size_t n = 0;
    (void)state;
    for (int i = 0; i <= PARAMS_MAX; i++) {
        text[n++] = (char)('A' + i % 26);
        text[n++] = (char)('a' + i / 26);
        text[n++] = '&';
    }
    text[n] = '\0';
    assert_false(params_done(parse(text)));
    assert_problem("", "more than");
}

static void limit_is_1_to_1000(void **state)
{
    static const char *const bad[] = {"limit=0",
                                      "limit=1001",
                                      "limit=",
                                      "limit=-1",
                                      "limit=ten",
                                      "limit=1.0",
                                      "limit=18446744073709551617"};
    (void)state;
    assert_int_equal(params_limit(parse("")), 100);
    assert_int_equal(params_limit(parse("limit=1")), 1);
    assert_int_equal(params_limit(parse("limit=1000")), 1000);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        (void)params_limit(parse(bad[i]));
        assert_false(params_done(&params));
        assert_problem("limit", "1 to 1000");
    }
}

static void cursor_is_a_position(void **state)
{
    (void)state;
    assert_int_equal(params_cursor(parse("")), 0);
    assert_int_equal(params_cursor(parse("cursor=1234567890123")), 1234567890123);
    assert_true(params_done(&params));
    (void)params_cursor(parse("cursor=0"));
    assert_problem("cursor", "next");
    (void)params_cursor(parse("cursor=abc"));
    assert_problem("cursor", "abc");
}

static void words_are_listed_when_none_fits(void **state)
{
    static const char *const words[] = {"asc", "desc", NULL};
    (void)state;
    assert_int_equal(params_word(parse(""), "order", words, 1), 1);
    assert_int_equal(params_word(parse("order=asc"), "order", words, 1), 0);
    assert_int_equal(params_word(parse("order=up"), "order", words, 1), 1);
    assert_problem("order", "order is up, expected asc or desc");
    assert_int_equal(params_action(parse("action=close")), 1);
    (void)params_action(parse("action=open"));
    assert_problem("action", "connect, close or disconnect");
    assert_true(params_cause(parse("cause=keepalive.expired")) > 0);
    (void)params_cause(parse("cause=nothing"));
    assert_problem("cause", "nothing");
}

static void range(const char *text, uint64_t max_ms, uint64_t *begin, uint64_t *end)
{
    params_range(parse(text), now_us, max_ms, begin, end);
}

static void range_defaults_to_the_last_day(void **state)
{
    uint64_t b = 0, e = 0;
    (void)state;
    range("", day_ms, &b, &e);
    assert_true(params_done(&params));
    assert_int_equal(e, now_us);
    assert_int_equal(b, now_us - day_ms * 1000);
    range("end=1600000000000", day_ms, &b, &e);
    assert_int_equal(b, 1600000000000000 - day_ms * 1000);
    range("begin=1699999999000", day_ms, &b, &e);
    assert_int_equal(b, 1699999999000000);
    assert_int_equal(e, now_us);
    range("", 3600000, &b, &e);
    assert_int_equal(e - b, 3600000000);
    range("begin=1700000000000&end=1700000600000", day_ms, &b, &e); /* the future is allowed */
    assert_true(params_done(&params));
    range("begin=5&end=5", day_ms, &b, &e);
    assert_true(params_done(&params));
    range("end=1000", day_ms, &b, &e);
    assert_int_equal(b, 0);
    assert_true(params_done(&params));
}

static void bad_ranges_say_why(void **state)
{
    uint64_t b = 0, e = 0;
    (void)state;
    range("begin=2000&end=1000", day_ms, &b, &e);
    assert_problem("end", "before begin");
    range("begin=0&end=90000000", day_ms, &b, &e);
    assert_problem("end", "end - begin is 90000000 ms, at most 86400000 ms");
    range("begin=0&end=86400000", day_ms, &b, &e);
    assert_true(params_done(&params));
    range("begin=0", day_ms, &b, &e);
    assert_problem("begin", "at most 86400000 ms");
    range("begin=1800000000000", day_ms, &b, &e);
    assert_problem("begin", "before begin");
    range("begin=yesterday", day_ms, &b, &e);
    assert_problem("begin", "begin is yesterday, expected Unix milliseconds or RFC 3339");
    range("end=2023-11-14", day_ms, &b, &e);
    assert_problem("end", "RFC 3339");
}

static void text_is_bounded_and_may_be_required(void **state)
{
    (void)state;
    assert_int_equal(params_text(parse("peer=10.0."), "peer", 6).n, 5);
    (void)params_text(parse("peer=10.0.0.0"), "peer", 6);
    assert_problem("peer", "at most 6");
    (void)params_required(parse("filter="), "filter", 10);
    assert_problem("filter", "missing");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(times_are_unix_ms_or_rfc3339),
        cmocka_unit_test(bad_times_are_refused),
        cmocka_unit_test(percent_encoding_is_decoded_once),
        cmocka_unit_test(values_are_split_before_they_are_decoded),
        cmocka_unit_test(no_query_is_fine),
        cmocka_unit_test(unknown_double_and_undecodable_are_named),
        cmocka_unit_test(there_are_at_most_params_max),
        cmocka_unit_test(limit_is_1_to_1000),
        cmocka_unit_test(cursor_is_a_position),
        cmocka_unit_test(words_are_listed_when_none_fits),
        cmocka_unit_test(range_defaults_to_the_last_day),
        cmocka_unit_test(bad_ranges_say_why),
        cmocka_unit_test(text_is_bounded_and_may_be_required),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
