/*
 * What the scenario tests share: one harness, made afresh for each test, and the two words that they are written in. Included
 * behind <cmocka.h> by a test program only.
 */
#ifndef TMQ_TESTS_SERVER_SCENARIO_H
#define TMQ_TESTS_SERVER_SCENARIO_H

#include "server_harness.h"

static struct harness h;

/* What a client was sent, and which records were made, since the last time one asked. */
#define SAYS(c, text) assert_string_equal(h_says(&h, (c)), (text))
#define RECORDS(text) assert_string_equal(h_records(&h), (text))
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

static int setup(void **state)
{
    (void)state;
    h_init(&h);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    h_fini(&h);
    return 0;
}

#endif
