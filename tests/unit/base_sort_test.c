/* Items come out by key, and those with one key in the order they went in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/sort.h"
#include "random.h"

static void assert_sorted(size_t n, uint64_t mask, struct random *r)
{
    struct sort_item *items = mem_new(n + 1, sizeof *items);
    uint64_t *keys = mem_new(n + 1, sizeof *keys);
    uint8_t *seen = mem_new(n + 1, 1);
    for (size_t i = 0; i < n; i++) {
        keys[i] = random_next(r) & mask;
        items[i] = (struct sort_item){.key = keys[i], .at = (uint32_t)i};
    }
    sort_items(items, n);
    for (size_t i = 0; i < n; i++) {
        assert_true(items[i].at < n && !seen[items[i].at] && keys[items[i].at] == items[i].key);
        seen[items[i].at] = 1;
        assert_true(i == 0 || items[i - 1].key < items[i].key ||
                    (items[i - 1].key == items[i].key && items[i - 1].at < items[i].at));
    }
    free(seen);
    free(keys);
    free(items);
}

static void test_sort(void **state)
{
    (void)state;
    static const uint64_t masks[] = {
        0, 1, 0xff, 0xff00, UINT64_C(0xff000000000000ff), UINT64_C(7) << 61, UINT64_MAX};
    struct random r = {3};
    for (size_t i = 0; i < sizeof masks / sizeof *masks; i++) {
        for (size_t n = 0; n < 5; n++) {
            assert_sorted(n, masks[i], &r);
        }
        assert_sorted(3000, masks[i], &r);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_sort)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
