/* The token bucket: what goes at once, the average, debts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/bucket.h"

static void a_seconds_worth_goes_at_once(void **state)
{
    struct bucket b = {0};
    (void)state;
    for (unsigned i = 0; i < 10; i++) {
        assert_false(bucket_empty(&b, 5000, 10));
        bucket_take(&b, 5000, 1, 10);
    }
    assert_true(bucket_empty(&b, 5000, 10));
    assert_int_equal(b.taken, 10);
    assert_int_equal(b.since_ms, 5000);
    assert_int_equal(bucket_ready_ms(&b, 10), 5100);
    assert_true(bucket_empty(&b, 5099, 10));
    assert_false(bucket_empty(&b, 5100, 10));
    bucket_take(&b, 5100, 1, 10);
    assert_true(bucket_empty(&b, 5100, 10));
}

static void the_average_is_the_rate(void **state)
{
    struct bucket b = {0};
    uint64_t taken = 0;
    (void)state;
    for (uint64_t now = 1000; now < 61000; now++) {
        while (!bucket_empty(&b, now, 50)) {
            bucket_take(&b, now, 1, 50);
            taken++;
        }
    }
    assert_in_range(taken, 50 * 61 - 1, 50 * 61 + 1); /* a second's worth was there at the start */
}

static void a_debt_is_paid_off(void **state)
{
    struct bucket b = {0};
    (void)state;
    bucket_take(&b, 1000, 5000, 1000); /* five seconds' worth */
    assert_true(bucket_empty(&b, 5000, 1000));
    assert_false(bucket_empty(&b, 5001, 1000));
    assert_int_equal(bucket_ready_ms(&b, 1000), 5001);
    assert_false(bucket_full(&b, 5999));
    assert_true(bucket_full(&b, 6000));
    bucket_take(&b, 9000, 1, 1000); /* full again: counted from here */
    assert_int_equal(b.taken, 1);
    assert_int_equal(b.since_ms, 9000);
}

static void a_large_packet_at_a_low_rate(void **state)
{
    struct bucket b = {0};
    (void)state;
    bucket_take(&b, 1000, UINT32_MAX, 1);
    assert_int_equal(bucket_ready_ms(&b, 1), UINT64_C(4294967296000));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_seconds_worth_goes_at_once),
        cmocka_unit_test(the_average_is_the_rate),
        cmocka_unit_test(a_debt_is_paid_off),
        cmocka_unit_test(a_large_packet_at_a_low_rate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
