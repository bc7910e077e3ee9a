/* Log lines: one line each, whatever stands in a value; values that anyone can take apart again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/log.h"

static char text[8192];

/* What the line is behind its time and level; log_line() writes to stderr. */
#define LOGGED(expected, ...)                                                                      \
    do {                                                                                           \
        int pipe_fds[2], saved = dup(STDERR_FILENO);                                               \
        assert_int_equal(pipe(pipe_fds), 0);                                                       \
        assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);                                        \
        log_warn(__VA_ARGS__);                                                                     \
        assert_true(dup2(saved, STDERR_FILENO) >= 0);                                              \
        ssize_t n = read(pipe_fds[0], text, sizeof text - 1);                                      \
        (void)close(pipe_fds[0]);                                                                  \
        (void)close(pipe_fds[1]);                                                                  \
        (void)close(saved);                                                                        \
        assert_true(n > 0 && text[n - 1] == '\n');                                                 \
        text[n - 1] = '\0';                                                                        \
        assert_null(strchr(text, '\n'));                                                           \
        assert_int_equal(strncmp(text, "ts=", 3), 0);                                              \
        const char *at = strstr(text, " level=warn ");                                             \
        assert_non_null(at);                                                                       \
        assert_string_equal(at + strlen(" level=warn "), expected);                                \
    } while (0)

static void plain_values(void **state)
{
    (void)state;
    LOGGED("msg=\"hello\"", "hello", "%s", "");
    LOGGED("msg=\"m\" a=1 b=18446744073709551615 c=word", "m", "a=%d b=%llu c=%s", 1,
           (unsigned long long)UINT64_MAX, "word");
    LOGGED("msg=\"m\" path=\"/a b\"", "m", "path=\"%s\"", "/a b");
    LOGGED("msg=\"m\" user=\"ab\"", "m", "user=\"%.*s\"", 2, "abc");
}

static void values_that_would_forge(void **state)
{
    static const char evil[] = "x\" level=error msg=\"forged\nts=2026 \\ \x1b[31m\x7f\r\t";
    static const char safe[] = "\"x\\\" level=error msg=\\\"forged?ts=2026 \\\\ ?[31m???\"";
    char expected[256];
    (void)state;
    (void)snprintf(expected, sizeof expected, "msg=\"m\" client=%s", safe);
    LOGGED(expected, "m", "client=\"%s\"", evil);
    LOGGED(expected, "m", "client=%s", evil); /* gets its quotes */
}

static void bare_values_get_quotes_when_they_need_them(void **state)
{
    (void)state;
    LOGGED("msg=\"m\" listener=\"my place\" next=1", "m", "listener=%s next=%d", "my place", 1);
    LOGGED("msg=\"m\" a=\"\" b=\"x=y\"", "m", "a=%s b=%s", "", "x=y");
    LOGGED("msg=\"m\" name=Gr\xc3\xbc\xc3\x9f"
           "e",
           "m", "name=%s",
           "Gr\xc3\xbc\xc3\x9f"
           "e");
    LOGGED("msg=\"m\" name=\"a?b\"", "m", "name=%s",
           "a\xc2\x9b"
           "b"); /* C1: CSI */
}

static void a_long_value_is_cut(void **state)
{
    char long_text[5000];
    (void)state;
    memset(long_text, 'a', sizeof long_text - 1);
    long_text[sizeof long_text - 1] = '\0';
    int pipe_fds[2], saved = dup(STDERR_FILENO);
    assert_int_equal(pipe(pipe_fds), 0);
    assert_true(dup2(pipe_fds[1], STDERR_FILENO) >= 0);
    log_warn("m", "text=%s", long_text);
    assert_true(dup2(saved, STDERR_FILENO) >= 0);
    ssize_t n = read(pipe_fds[0], text, sizeof text);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
    (void)close(saved);
    assert_int_equal(n, 2048);
    assert_int_equal(text[n - 1], '\n');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_values),
        cmocka_unit_test(values_that_would_forge),
        cmocka_unit_test(bare_values_get_quotes_when_they_need_them),
        cmocka_unit_test(a_long_value_is_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
