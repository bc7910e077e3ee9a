/*
 * Scenarios of whole connections: what the clients do, how time passes, and which packets and which records come of it.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "server_harness.h"

static struct harness h;

#define SAYS(c, text) assert_string_equal(h_says(&h, (c)), (text))
#define RECORDS(text) assert_string_equal(h_records(&h), (text))

static void accepted_and_disconnected(void **state)
{
    (void)state;
    h_init(&h);
    h_start(&h, 1);
    struct client *c = h_connected(&h, "dev", true);
    RECORDS("connect dev accepted.new");
    h_send_disconnect(&h, c);
    h_settle(&h);
    SAYS(c, "");
    RECORDS("disconnect dev client.normal");
    h_fini(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(accepted_and_disconnected),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
