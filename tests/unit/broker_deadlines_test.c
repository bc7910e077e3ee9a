/* The heap of deadlines against a plain table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/deadlines.h"
#include "random.h"

enum { THINGS = 100, STEPS = 20000 };

static uint64_t earliest(const uint64_t *due)
{
    uint64_t min = DEADLINE_NEVER;
    for (unsigned i = 0; i < THINGS; i++) {
        min = due[i] < min ? due[i] : min;
    }
    return min;
}

static void as_a_table(void **state)
{
    struct deadlines d = {0};
    uint32_t place[THINGS] = {0};
    uint64_t due[THINGS];
    struct random seed = {.state = 42};
    (void)state;
    for (unsigned i = 0; i < THINGS; i++) {
        due[i] = DEADLINE_NEVER;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)(random_next(&seed) % THINGS);
        due[i] = random_next(&seed) % 3 == 0 ? DEADLINE_NEVER : random_next(&seed) % 1000;
        deadlines_set(&d, &place[i], due[i]);
        unsigned k = (unsigned)(random_next(&seed) % THINGS);
        assert_int_equal(deadlines_of(&d, &place[k]), due[k]);
        const struct deadline *first = deadlines_first(&d);
        assert_int_equal(first == NULL ? DEADLINE_NEVER : first->due, earliest(due));
    }
    uint64_t last = 0;
    while (deadlines_first(&d) != NULL) {
        const struct deadline *first = deadlines_first(&d);
        assert_true(first->due >= last);
        last = first->due;
        deadlines_set(&d, first->place, DEADLINE_NEVER);
    }
    for (unsigned i = 0; i < THINGS; i++) {
        assert_int_equal(place[i], 0);
    }
    deadlines_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_a_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
