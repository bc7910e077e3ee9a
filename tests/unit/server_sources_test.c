/* Limits by source address: rates, open connections, the bound of the table. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "server/sources.h"

enum { PLACES = SOURCES_WAYS * SOURCES_SETS };

static struct sources *s;
static enum source_place place;
static struct source_refusal why;

static int setup(void **state)
{
    (void)state;
    s = sources_new();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    sources_free(s);
    return 0;
}

/* An address in words, or in `*ss` if that is NULL. */
static const struct sockaddr *address(struct sockaddr_storage *ss, const char *text)
{
    struct sockaddr_in in = {.sin_family = AF_INET};
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memset(ss, 0, sizeof *ss);
    if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
        memcpy(ss, &in, sizeof in);
    } else {
        assert_int_equal(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
        memcpy(ss, &in6, sizeof in6);
    }
    return (const struct sockaddr *)ss;
}

static bool admit(const char *from, const struct source_limits *l, uint64_t now_ms)
{
    struct sockaddr_storage ss;
    return sources_admit(s, address(&ss, from), l, now_ms, &place, &why);
}

static void leave(const char *from)
{
    struct sockaddr_storage ss;
    sources_leave(s, address(&ss, from), place);
}

static void a_rate_for_each_address(void **state)
{
    const struct source_limits l = {.rate = 3};
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        assert_true(admit("10.0.0.1", &l, 1000));
        assert_int_equal(place, SOURCE_UNCOUNTED);
    }
    assert_false(admit("10.0.0.1", &l, 1200));
    assert_int_equal(why.cause, CAUSE_LIMIT_CONNECT_RATE);
    assert_int_equal(why.limit, 3);
    assert_int_equal(why.actual, 4);
    assert_int_equal(why.window_ms, 200);
    assert_true(admit("10.0.0.2", &l, 1200));
    assert_true(admit("10.0.0.1", &l, 1400)); /* refused ones are not counted */
}

static void one_network_is_one_source(void **state)
{
    const struct source_limits l = {.rate = 1};
    (void)state;
    assert_true(admit("2001:db8:1:2::1", &l, 1000));
    assert_false(admit("2001:db8:1:2:ffff::9", &l, 1000));
    assert_true(admit("2001:db8:1:3::1", &l, 1000));
    assert_true(admit("10.0.0.1", &l, 1000));
    assert_false(admit("::ffff:10.0.0.1", &l, 1000));
}

static void a_rate_of_all(void **state)
{
    const struct source_limits l = {.rate = 10, .rate_of_all = 2};
    (void)state;
    assert_true(admit("10.0.0.1", &l, 1000));
    assert_true(admit("10.0.0.2", &l, 1000));
    assert_false(admit("10.0.0.3", &l, 1000));
    assert_non_null(strstr(why.what, "all addresses"));
    assert_int_equal(why.limit, 2);
}

static void open_connections_of_an_address(void **state)
{
    const struct source_limits l = {.connections = 2};
    (void)state;
    assert_true(admit("10.0.0.1", &l, 1000));
    assert_true(admit("10.0.0.1", &l, 1000));
    assert_int_equal(place, SOURCE_OWN);
    assert_false(admit("10.0.0.1", &l, 1000));
    assert_int_equal(why.cause, CAUSE_LIMIT_CONNECTIONS);
    assert_int_equal(why.actual, 3);
    assert_true(admit("10.0.0.2", &l, 1000));
    leave("10.0.0.1");
    assert_true(admit("10.0.0.1", &l, 1000));
    assert_false(admit("10.0.0.1", &l, 1000));
}

/* A peer that has as many networks as it likes. */
static const struct sockaddr *network(struct sockaddr_storage *ss, uint32_t n)
{
    struct sockaddr_in6 in6 = {.sin6_family = AF_INET6};
    memcpy(in6.sin6_addr.s6_addr + 4, &n, sizeof n);
    in6.sin6_addr.s6_addr[0] = 0x20;
    memset(ss, 0, sizeof *ss);
    memcpy(ss, &in6, sizeof in6);
    return (const struct sockaddr *)ss;
}

static void who_finds_no_place_is_other(void **state)
{
    const struct source_limits l = {.connections = 1};
    struct sockaddr_storage ss;
    unsigned own = 0, other = 0, refused = 0;
    (void)state;
    for (uint32_t n = 0; n < 2 * PLACES; n++) {
        if (!sources_admit(s, network(&ss, n), &l, 1000, &place, &why)) {
            refused++;
        } else if (place == SOURCE_OWN) {
            own++;
        } else {
            other++;
        }
    }
    assert_int_equal(other, 1); /* they share the one connection that each might have */
    assert_true(own <= PLACES && own > PLACES / 2);
    assert_int_equal(own + other + refused, 2 * PLACES);
    sources_leave(s, network(&ss, 0), SOURCE_OTHER);
    sources_leave(s, network(&ss, 0),
                  SOURCE_OWN); /* its place is free for another of its set, or for itself */
    assert_true(sources_admit(s, network(&ss, 0), &l, 1000, &place, &why));
    assert_int_equal(place, SOURCE_OWN);
}

static void a_place_is_free_when_the_bucket_is_full_again(void **state)
{
    const struct source_limits l = {.rate = 1};
    struct sockaddr_storage ss;
    (void)state;
    for (uint64_t now_ms = 1000; now_ms < 4000; now_ms += 1000) {
        unsigned in = 0;
        for (uint32_t n = 0; n < PLACES / 4;
             n++) { /* of a quarter nearly every one finds a place */
            in += sources_admit(s, network(&ss, n + (uint32_t)now_ms * PLACES), &l, now_ms, &place,
                                &why);
        }
        assert_true(in > PLACES / 4 - 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_rate_for_each_address, setup, teardown),
        cmocka_unit_test_setup_teardown(one_network_is_one_source, setup, teardown),
        cmocka_unit_test_setup_teardown(a_rate_of_all, setup, teardown),
        cmocka_unit_test_setup_teardown(open_connections_of_an_address, setup, teardown),
        cmocka_unit_test_setup_teardown(who_finds_no_place_is_other, setup, teardown),
        cmocka_unit_test_setup_teardown(a_place_is_free_when_the_bucket_is_full_again, setup,
                                        teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
