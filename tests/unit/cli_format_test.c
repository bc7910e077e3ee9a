/* The pure parts of the client commands: durations, times, escaping, tables, the command line, event streams. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/args.h"
#include "cli/cli.h"
#include "cli/format.h"
#include "cli/sse.h"

static void durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t ms;
    } good[] = {{"24h", 86400000}, {"1d", 86400000}, {"90m", 5400000},   {"30s", 30000},
                {"500ms", 500},    {"0s", 0},        {"1h30m", 5400000}, {"1d2h3m4s5ms", 93784005},
                {"1m1ms", 60001}};
    static const char *const bad[] = {"",
                                      "h",
                                      "5",
                                      "5x",
                                      "-5m",
                                      "5 m",
                                      "1.5h",
                                      "5m ",
                                      "5mm",
                                      "1h30",
                                      "99999999999999999999d",
                                      "999999999999999999d"};
    uint64_t ms = 0;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_int_equal(cli_parse_duration(good[i].text, &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(cli_parse_duration(bad[i], &ms), -1);
    }
}

static void expect_time(const char *text, bool local, uint64_t expected)
{
    uint64_t ms = 0;
    assert_int_equal(cli_parse_time(text, local, 42, &ms), 0);
    assert_int_equal(ms, expected);
}

static void times(void **state)
{
    (void)state;
    const uint64_t noon = 1769860800000; /* 2026-01-31T12:00:00Z */
    expect_time("now", false, 42);
    expect_time("1769860800000", false, noon);
    expect_time("1769860800", false, noon);
    expect_time("2026-01-31T12:00:00Z", false, noon);
    expect_time("2026-01-31t12:00:00z", false, noon);
    expect_time("2026-01-31 12:00", false, noon);
    expect_time("2026-01-31 12:00:00.5", false, noon + 500);
    expect_time("2026-01-31T12:00:00.123456Z", false, noon + 123);
    expect_time("2026-01-31T14:30:00+02:30", false, noon);
    expect_time("2026-01-31T07:00:00-05:00", false, noon);
    expect_time("2026-01-31", false, noon - 43200000);
    expect_time("2024-02-29", false, 1709164800000);
    assert_int_equal(setenv("TZ", "UTC-3", 1), 0); /* three hours east */
    expect_time("2026-01-31 12:00", true, noon - 3 * 3600000);
    expect_time("2026-01-31T12:00:00Z", true, noon);
    char out[CLI_TIME_SIZE];
    cli_format_time(noon + 7, true, out);
    assert_string_equal(out, "2026-01-31 15:00:00.007");
    assert_int_equal(unsetenv("TZ"), 0);
    cli_format_time(noon + 7, false, out);
    assert_string_equal(out, "2026-01-31 12:00:00.007");
    static const char *const bad[] = {"",
                                      "tomorrow",
                                      "12345",
                                      "2026-01-31T",
                                      "2026-02-30",
                                      "2026-13-01",
                                      "2026-01-31 24:00",
                                      "2026-01-31 12",
                                      "2026-01-31 12:00:00.",
                                      "2025-02-29",
                                      "2026-1-31",
                                      "2026-01-31 12:60",
                                      "2026-01-31T12:00:00+2",
                                      "2026-01-31x",
                                      "1969-12-31",
                                      "-1769860800",
                                      "17698608000001769860800000",
                                      "2026-01-31 12:00:00 Z",
                                      "2026-00-10"};
    uint64_t ms = 0;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(cli_parse_time(bad[i], false, 42, &ms), -1);
    }
}

static void spans(void **state)
{
    (void)state;
    static const struct {
        uint64_t ms;
        const char *text;
    } rows[] = {{0, "0ms"},       {999, "999ms"},     {12345, "12.3s"},
                {61000, "1m 1s"}, {7500000, "2h 5m"}, {273600000, "3d 4h"}};
    char out[CLI_SPAN_SIZE];
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        cli_format_span(rows[i].ms, out);
        assert_string_equal(out, rows[i].text);
    }
}

static void expect_put(void (*put)(struct buf *, struct slice), const char *in,
                       const char *expected)
{
    struct buf b = {0};
    put(&b, slice_str(in));
    assert_true(slice_eq(buf_slice(&b), slice_str(expected)));
    buf_fini(&b);
}

static void escaping(void **state)
{
    (void)state;
    expect_put(cli_put_csv, "", "");
    expect_put(cli_put_csv, "plain text", "plain text");
    expect_put(cli_put_csv, "a,b", "\"a,b\"");
    expect_put(cli_put_csv, "say \"x\"", "\"say \"\"x\"\"\"");
    expect_put(cli_put_csv, "two\r\nlines", "\"two\r\nlines\"");
    expect_put(cli_put_percent, "GID_x@@@a/b", "GID_x%40%40%40a%2Fb");
    expect_put(cli_put_percent, "az-AZ_09.~", "az-AZ_09.~");
    expect_put(cli_put_percent, "a b+c%?&#é", "a%20b%2Bc%25%3F%26%23%C3%A9");
    expect_put(cli_put_safe, "plain é € 😀", "plain é € 😀");
    expect_put(cli_put_safe, "\x1b[31m\n\x7f", "\\x1B[31m\\x0A\\x7F");
    expect_put(cli_put_safe,
               "\xc2\x9b"
               "1m\xff\xc3",
               "\\xC2\\x9B1m\\xFF\\xC3");
}

static void tables(void **state)
{
    (void)state;
    static const char *const header[] = {"A", "LONG", "C"};
    static const char *const one[] = {"é", "x", "end"};
    static const char *const two[] = {"wide cell", NULL, "\n"};
    char *text = NULL;
    size_t n = 0;
    FILE *out = open_memstream(&text, &n);
    struct cli_table t;
    cli_table_init(&t, header, 3);
    cli_table_add(&t, one);
    cli_table_add(&t, two);
    cli_table_flush(&t, out);
    cli_table_add(&t, one); /* goes on with the same widths */
    cli_table_flush(&t, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text, "A          LONG  C\n"
                              "é          x     end\n"
                              "wide cell  -     \\x0A\n"
                              "é          x     end\n");
    cli_table_fini(&t);
    free(text);
}

static int parse(struct cli_args *a, char *problem, int argc, ...)
{
    static char *argv[16];
    va_list ap;
    va_start(ap, argc);
    for (int i = 0; i < argc; i++) {
        argv[i] = va_arg(ap, char *);
    }
    va_end(ap);
    return cli_args_parse(
        a, argc, argv, CLI_BIT(OPT_LIMIT) | CLI_BIT(OPT_ALLOW) | CLI_BIT(OPT_JSON), problem, 200);
}

static void command_lines(void **state)
{
    (void)state;
    struct cli_args a;
    char problem[200];
    assert_int_equal(parse(&a, problem, 6, "--json", "dev", "--limit", "5", "--url=http://x", "-"),
                     0);
    assert_int_equal(a.count, 2);
    assert_string_equal(a.positional[0], "dev");
    assert_string_equal(a.positional[1], "-");
    assert_string_equal(a.value[OPT_LIMIT], "5");
    assert_string_equal(a.value[OPT_URL], "http://x");
    assert_true(cli_has(&a, OPT_JSON) && !cli_has(&a, OPT_TOKEN));
    assert_int_equal(parse(&a, problem, 5, "--allow", "a", "--allow=b", "--", "--json"), 0);
    assert_int_equal(a.allow_count, 2);
    assert_string_equal(a.allow[1], "b");
    assert_string_equal(a.positional[0], "--json");
    assert_int_equal(parse(&a, problem, 2, "x", "--csv"), -1);
    assert_string_equal(problem, "unknown option --csv");
    assert_int_equal(parse(&a, problem, 1, "-x"), -1);
    assert_int_equal(parse(&a, problem, 1, "--limits"), -1);
    assert_int_equal(parse(&a, problem, 1, "--limit"), -1);
    assert_string_equal(problem, "--limit needs a value: N");
    assert_int_equal(parse(&a, problem, 1, "--json=yes"), -1);
    assert_string_equal(problem, "--json takes no value");
    assert_int_equal(parse(&a, problem, 5, "1", "2", "3", "4", "5"), -1);
    assert_true(cli_knows("trace") && cli_knows("permission"));
    assert_false(cli_knows("serve") || cli_knows("") || cli_knows("trac"));
}

static void on_event(void *ctx, struct slice data)
{
    struct buf *all = ctx;
    buf_put_slice(all, data);
    buf_put_u8(all, '|');
}

static void event_streams(void **state)
{
    (void)state;
    static const char text[] =
        ": hello\n\nid: 7\nevent: trace\ndata: {\"a\":1}\n\n"
        "id:8\r\ndata:one\r\ndata: two\r\n\r\n:beat\n\ndata\n\nid: 9\ndata: half";
    /* Cut anywhere, the result is the same. */
    for (size_t cut = 0; cut < sizeof text - 1; cut++) {
        struct sse s = {0};
        struct buf all = {0};
        assert_int_equal(sse_feed(&s, slice_make(text, cut), on_event, &all), 0);
        assert_int_equal(
            sse_feed(&s, slice_make(text + cut, sizeof text - 1 - cut), on_event, &all), 0);
        assert_true(slice_eq(buf_slice(&all), slice_str("{\"a\":1}|one\ntwo||")));
        assert_string_equal(s.id, "8"); /* a half event is not there yet */
        sse_restart(&s);
        assert_int_equal(sse_feed(&s, slice_str("data: x\n\n"), on_event, &all), 0);
        assert_string_equal(s.id, "8");
        buf_fini(&all);
        sse_fini(&s);
    }
}

static void event_too_large(void **state)
{
    (void)state;
    struct sse s = {0};
    struct buf all = {0};
    char block[4096];
    memset(block, 'x', sizeof block);
    int rc = 0;
    size_t fed = 0;
    while (rc == 0 && fed < 2 * SSE_EVENT_MAX) {
        rc = sse_feed(&s, slice_make(block, sizeof block), on_event, &all);
        fed += sizeof block;
    }
    assert_int_equal(rc, -1);
    sse_fini(&s);
    buf_fini(&all);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(durations),     cmocka_unit_test(times),
        cmocka_unit_test(spans),         cmocka_unit_test(escaping),
        cmocka_unit_test(tables),        cmocka_unit_test(command_lines),
        cmocka_unit_test(event_streams), cmocka_unit_test(event_too_large),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
