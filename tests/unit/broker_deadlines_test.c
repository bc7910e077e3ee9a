/* The heap of deadlines against a plain table. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "broker/deadlines.h"
#include "random.h"

enum { SESSIONS = 100, STEPS = 20000 };

static uint64_t earliest(const uint64_t *due)
{
    uint64_t min = DEADLINE_NEVER;
    for (unsigned i = 0; i < SESSIONS; i++) {
        min = due[i] < min ? due[i] : min;
    }
    return min;
}

static void as_a_table(void **state)
{
    struct deadlines d = {0};
    struct session *s[SESSIONS];
    uint64_t due[SESSIONS];
    struct random seed = {.state = 42};
    (void)state;
    for (unsigned i = 0; i < SESSIONS; i++) {
        s[i] = session_new(0, slice_str("x"), i, false);
        due[i] = DEADLINE_NEVER;
    }
    for (unsigned step = 0; step < STEPS; step++) {
        unsigned i = (unsigned)(random_next(&seed) % SESSIONS);
        due[i] = random_next(&seed) % 3 == 0 ? DEADLINE_NEVER : random_next(&seed) % 1000;
        deadlines_set(&d, s[i], due[i]);
        unsigned k = (unsigned)(random_next(&seed) % SESSIONS);
        assert_int_equal(deadlines_of(&d, s[k]), due[k]);
        const struct deadline *first = deadlines_first(&d);
        assert_int_equal(first == NULL ? DEADLINE_NEVER : first->due_ms, earliest(due));
    }
    uint64_t last = 0;
    while (deadlines_first(&d) != NULL) {
        const struct deadline *first = deadlines_first(&d);
        assert_true(first->due_ms >= last);
        last = first->due_ms;
        deadlines_set(&d, first->s, DEADLINE_NEVER);
    }
    for (unsigned i = 0; i < SESSIONS; i++) {
        assert_int_equal(s[i]->deadline, 0);
        session_free(s[i]);
    }
    deadlines_fini(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(as_a_table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
