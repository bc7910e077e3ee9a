/* Readers log in, refresh and decide while settings change under them: for TSan, and no reader sees half a change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "auth_memory.h"

enum { READERS = 3, CHANGES = 150 };

static struct memory store;
static struct auth *auth;
static _Atomic bool stop;
static _Atomic uint64_t reads, logins;

static struct auth_identity *login(void)
{
    struct auth_request rq = {.client_id = slice_str("d"),
                              .has_username = true,
                              .has_password = true,
                              .username = slice_str("bob"),
                              .password = slice_str("pw")};
    struct auth_result r;
    if (!auth_check_fast(auth, &rq, &r)) {
        auth_check(auth, &rq, &r);
    }
    atomic_fetch_add(&logins, r.ok ? 1 : 0);
    return r.ok ? r.identity : NULL;
}

static void check_whole(const struct auth_identity *id)
{
    struct auth_decision d;
    bool odd = auth_allows(id, slice_str("c1"), AUTH_PUBLISH, slice_str("odd"), &d);
    bool even = auth_allows(id, slice_str("c1"), AUTH_PUBLISH, slice_str("even"), &d);
    if (!odd && !even) {
        abort(); /* "odd" or "even" or both are allowed at every moment */
    }
}

static void *reader(void *arg)
{
    (void)arg;
    struct auth_identity *id = NULL;
    while (!stop) {
        if (id == NULL) {
            id = login();
        } else if (auth_identity_version(id) != auth_version(auth) &&
                   auth_identity_refresh(auth, &id) != 0) {
            auth_identity_unref(id);
            id = NULL;
        }
        if (id != NULL) {
            check_whole(id);
            atomic_fetch_add(&reads, 1);
        }
        if (reads % 64 == 0) {
            auth_identity_unref(id);
            id = NULL;
        }
    }
    auth_identity_unref(id);
    return NULL;
}

static void change(int i, struct slice inst)
{
    struct auth_error err;
    struct slice bob = slice_str("bob");
    const char *next = i % 2 == 0 ? "odd" : "even";
    const char *last = i % 2 == 0 ? "even" : "odd";
    assert_int_equal(
        auth_permission_add(auth, inst, bob, false, AUTH_PUBLISH, slice_str(next), &err), 0);
    assert_int_equal(
        auth_permission_delete(auth, inst, bob, false, AUTH_PUBLISH, slice_str(last), &err), 0);
    char group[32];
    (void)snprintf(group, sizeof group, "GID_g%d_", i);
    assert_int_equal(auth_group_add(auth, inst, slice_str(group), &err), 0);
    if (i % 10 == 0) {
        assert_int_equal(
            auth_user_password(auth, inst, bob, slice_str(i % 20 == 0 ? "no" : "pw"), &err), 0);
    }
}

static void readers_never_see_half_a_change(void **state)
{
    (void)state;
    struct auth_options o = {.io = memory_io(&store)};
    struct auth_error err;
    struct auth_bootstrap boot;
    assert_int_equal(auth_open(&auth, &o, &err), 0);
    auth_bootstrap(auth, &boot);
    struct slice inst = slice_str(boot.instance_id);
    assert_int_equal(auth_user_add(auth, inst, slice_str("bob"), slice_str("pw"), NULL, 0, &err),
                     0);
    assert_int_equal(auth_permission_add(auth, inst, slice_str("bob"), false, AUTH_PUBLISH,
                                         slice_str("even"), &err),
                     0);
    pthread_t threads[READERS];
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, reader, NULL), 0);
    }
    for (int i = 0; i < CHANGES || logins == 0; i++) {
        change(i, inst);
    }
    stop = true;
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_true(logins > 0);
    auth_close(auth);
    memory_fini(&store);
}

/* A save that takes long (a slow disk) does not hold up who asks: it ends only when somebody was served meanwhile. */
static _Atomic bool in_save, served;

static int slow_save(void *arg, const struct slice *keys, const struct slice *values, size_t count)
{
    if (stop) {
        in_save = true;
        while (!served) {
            (void)sched_yield();
        }
    }
    return memory_save(arg, keys, values, count);
}

static void *slow_writer(void *arg)
{
    struct slice *inst = arg;
    struct auth_error err;
    int rc = auth_group_add(auth, *inst, slice_str("GID_slow"), &err);
    return rc == 0 ? NULL : arg;
}

static void readers_do_not_wait_for_the_disk(void **state)
{
    (void)state;
    struct auth_io io = memory_io(&store);
    io.save = slow_save;
    struct auth_options o = {.io = io};
    struct auth_error err;
    struct auth_bootstrap boot;
    stop = false;
    assert_int_equal(auth_open(&auth, &o, &err), 0);
    auth_bootstrap(auth, &boot);
    struct slice inst = slice_str(boot.instance_id);
    assert_int_equal(auth_user_add(auth, inst, slice_str("bob"), slice_str("pw"), NULL, 0, &err),
                     0);
    auth_identity_unref(login());
    stop = true;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, slow_writer, &inst), 0);
    while (!in_save) {
        (void)sched_yield();
    }
    for (int i = 0; i < 100; i++) {
        struct auth_identity *id = login();
        assert_non_null(id);
        auth_identity_unref(id);
    }
    served = true;
    void *failed = NULL;
    assert_int_equal(pthread_join(thread, &failed), 0);
    assert_null(failed);
    auth_close(auth);
    memory_fini(&store);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(readers_never_see_half_a_change),
        cmocka_unit_test(readers_do_not_wait_for_the_disk),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
