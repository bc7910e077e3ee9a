/* Failpoints: from the environment, from a file that changes, and text that means nothing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/failpoint.h"

static void arm(const char *text, const char *file)
{
    (void)(text == NULL ? unsetenv("TRACEMQ_FAILPOINTS") : setenv("TRACEMQ_FAILPOINTS", text, 1));
    (void)(file == NULL ? unsetenv("TRACEMQ_FAILPOINT_FILE")
                        : setenv("TRACEMQ_FAILPOINT_FILE", file, 1));
    failpoint_init();
}

static void test_environment(void **state)
{
    (void)state;
    arm(NULL, NULL);
    assert_false(failpoint_armed);
    assert_int_equal(failpoint_value("a"), 0);
    arm("a=1,b.c=-20, d=3,a=4", NULL);
    assert_true(failpoint_armed);
    assert_int_equal(failpoint_value("a"), 4);
    assert_int_equal(failpoint_value("b.c"), -20);
    assert_int_equal(failpoint_value("d"), 3);
    assert_int_equal(failpoint_value("e"), 0);
}

static void test_nonsense_arms_nothing(void **state)
{
    (void)state;
    arm("a,=3,b=,c=x,d=1x,e=99999999999999999999,,,", NULL);
    assert_false(failpoint_armed);
    static const char *const names[] = {"a", "", "b", "c", "d", "e"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        assert_int_equal(failpoint_value_slow(names[i]), 0);
    }
}

static void write_file(const char *path, const char *text)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    assert_int_equal(fclose(f), 0);
    (void)usleep(70000);
}

static void test_file_changes(void **state)
{
    (void)state;
    char path[64];
    (void)snprintf(path, sizeof path, "failpoints.%ld", (long)getpid());
    (void)unlink(path);
    arm("a=1", path);
    assert_int_equal(failpoint_value("a"), 1);
    write_file(path, "a=2\nb=3\n");
    assert_int_equal(failpoint_value("a"), 2);
    assert_int_equal(failpoint_value("b"), 3);
    write_file(path, "b=4");
    assert_int_equal(failpoint_value("a"), 1);
    assert_int_equal(failpoint_value("b"), 4);
    assert_int_equal(unlink(path), 0);
    (void)usleep(70000);
    assert_int_equal(failpoint_value("a"), 1);
    assert_int_equal(failpoint_value("b"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_environment),
        cmocka_unit_test(test_nonsense_arms_nothing),
        cmocka_unit_test(test_file_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
