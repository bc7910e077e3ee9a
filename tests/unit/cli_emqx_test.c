/* The import of EMQX's users: CSV and JSON in, settings out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cli/emqx.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

static char problem[256];
static struct buf report;
static size_t left_out;

static json_t *users_of(const char *text, bool json, const char *hash)
{
    struct emqx_hash h;
    buf_fini(&report);
    problem[0] = '\0';
    assert_true(hash == NULL || emqx_hash_parse(hash, &h));
    return emqx_users(slice_str(text), json, hash == NULL ? NULL : &h, &report, &left_out, problem,
                      sizeof problem);
}

/* The users, and permissions, as one text. */
static void expect(const char *text, bool json, const char *hash, const char *users,
                   const char *permissions)
{
    json_t *doc = users_of(text, json, hash);
    assert_non_null(doc);
    assert_string_equal(json_string_value(json_object_get(doc, "format")), "tracemq-settings-1");
    char *got = json_dumps(json_object_get(doc, "users"), JSON_COMPACT);
    assert_string_equal(got, users);
    free(got);
    got = json_dumps(json_object_get(doc, "permissions"), JSON_COMPACT);
    assert_string_equal(got, permissions);
    free(got);
    json_decref(doc);
}

static void expect_report(const char *text)
{
    buf_put_u8(&report, 0);
    assert_string_equal((const char *)buf_slice(&report).p, text);
    buf_fini(&report);
}

#define ZEROS_32 "0000000000000000000000000000000000000000000000000000000000000000"
#define HASH_32 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="

static void names_of_hashes(void **state)
{
    static const char *const good[] = {"plain",         "sha256",          "sha256-prefix",
                                       "sha256-suffix", "sha512",          "sha512-prefix",
                                       "sha512-suffix", "pbkdf2-sha256:1", "pbkdf2-sha512:1000000"};
    static const char *const bad[] = {"",
                                      "md5",
                                      "sha",
                                      "bcrypt",
                                      "sha25",
                                      "sha256:",
                                      "sha256-prefix:5",
                                      "pbkdf2-sha256",
                                      "pbkdf2-sha256:",
                                      "pbkdf2-sha256:0",
                                      "pbkdf2-sha256:-1",
                                      "pbkdf2-sha256: 1",
                                      "pbkdf2-sha256:1x",
                                      "pbkdf2-sha256:1000001",
                                      "pbkdf2-sha256:99999999999999999999"};
    struct emqx_hash h;
    (void)state;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(emqx_hash_parse(good[i], &h));
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_false(emqx_hash_parse(bad[i], &h));
    }
}

static void csv(void **state)
{
    (void)state;
    expect("user_id,password_hash,salt,is_superuser\r\n"
           "a," ZEROS_32 ",salt,true\r\n"
           "b," ZEROS_32 ",,false\r\n",
           false, "sha256-prefix",
           "[{\"name\":\"a\",\"passwordHash\":\"$sha256-prefix$c2FsdA==$" HASH_32 "\"},"
           "{\"name\":\"b\",\"passwordHash\":\"$sha256-prefix$$" HASH_32 "\"}]",
           "{\"a\":[{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"#\"},"
           "{\"effect\":\"allow\",\"action\":\"subscribe\",\"filter\":\"$SYS/#\"}]}");
    assert_int_equal(left_out, 0);
    /* columns in any order, others between them, quotes, no newline at the end */
    expect("is_superuser,x,password_hash,user_id\n0,\"1,\n2\"," ZEROS_32 ",\"a \"\"b\"\", c\"",
           false, "pbkdf2-sha256:5000",
           "[{\"name\":\"a \\\"b\\\", c\",\"passwordHash\":\"$pbkdf2-sha256$5000$$" HASH_32 "\"}]",
           "{}");
    /* a salt that the algorithm does not use */
    expect("user_id,password_hash,salt\na," ZEROS_32 ",salt\n", false, "sha256",
           "[{\"name\":\"a\",\"passwordHash\":\"$sha256-prefix$$" HASH_32 "\"}]", "{}");
    expect("user_id,password,is_superuser\na,secret,1\n", false, NULL,
           "[{\"name\":\"a\",\"password\":\"secret\"}]",
           "{\"a\":[{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"#\"},"
           "{\"effect\":\"allow\",\"action\":\"subscribe\",\"filter\":\"$SYS/#\"}]}");
    expect("user_id,password_hash\na,secret\n", false, "plain",
           "[{\"name\":\"a\",\"password\":\"secret\"}]", "{}");
}

static void json(void **state)
{
    (void)state;
    expect("[{\"user_id\":\"a\",\"password_hash\":\"" ZEROS_32 "\",\"salt\":\"s\"},"
           "{\"user_id\":\"b\",\"password\":\"pw\",\"is_superuser\":true}]",
           true, "sha256-suffix",
           "[{\"name\":\"a\",\"passwordHash\":\"$sha256-suffix$cw==$" HASH_32 "\"},"
           "{\"name\":\"b\",\"password\":\"pw\"}]",
           "{\"b\":[{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"#\"},"
           "{\"effect\":\"allow\",\"action\":\"subscribe\",\"filter\":\"$SYS/#\"}]}");
    expect("[]", true, NULL, "[]", "{}");
}

static void who_is_left_out(void **state)
{
    static const char salt65[] =
        "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx";
    char text[2048];
    (void)state;
    (void)snprintf(text, sizeof text,
                   "user_id,password_hash,salt,is_superuser\n"
                   "short,00,,\n"
                   "odd,%.63sg,,\n"
                   ",%s,,true\n"
                   "*,%s,,true\n"
                   "$anonymous,%s,,true\n"
                   "none\n"
                   "\n"
                   "long,%s,%s,\n"
                   "\x01\xff,%s,,true\n",
                   ZEROS_32, ZEROS_32, ZEROS_32, ZEROS_32, ZEROS_32, salt65, ZEROS_32);
    expect(text, false, "sha256-prefix", "[]", "{}");
    assert_int_equal(left_out, 8);
    expect_report(
        "line 2, short: not taken over: its hash has not the length of --hash, or is not hexadecimal\n"
        "line 3, odd: not taken over: its hash has not the length of --hash, or is not hexadecimal\n"
        "line 4, : not taken over: it has no user_id\n"
        "line 5, *: not taken over: this name stands for everyone, or for anonymous clients\n"
        "line 6, $anonymous: not taken over: this name stands for everyone, or for anonymous clients\n"
        "line 7, none: not taken over: it has no password\n"
        "line 9, long: not taken over: its salt is longer than 64 bytes\n"
        "line 10, \\x01\\xFF: not taken over: its name or password is no UTF-8\n");
    expect("[{\"user_id\":\"a\",\"password_hash\":\"" ZEROS_32 "\"},{},5,{\"user_id\":7}]", true,
           NULL, "[]", "{}");
    expect_report("user 1, a: not taken over: --hash has to say what its password_hash is\n"
                  "user 2, ?: not taken over: it has no user_id\n"
                  "user 3, ?: not taken over: it has no user_id\n"
                  "user 4, ?: not taken over: it has no user_id\n");
}

static void files_that_are_none(void **state)
{
    static const char *const bad[] = {"", "\n", "a,b\n", "user_id\n", "password_hash,salt\n", "[]"};
    (void)state;
    for (size_t i = 0; i < COUNT(bad); i++) {
        assert_null(users_of(bad[i], false, "sha256"));
        assert_non_null(strstr(problem, "first line"));
    }
    static const char *const no_array[] = {"", "{}", "[", "user_id,password\n", "5"};
    for (size_t i = 0; i < COUNT(no_array); i++) {
        assert_null(users_of(no_array[i], true, "sha256"));
        assert_non_null(strstr(problem, "JSON array"));
    }
}

/* Every beginning of a file is read to its end, and nothing behind it. */
static void cut_anywhere(void **state)
{
    static const char text[] = "user_id,\"password\"\r\n\"a\"\"b\",\"x,\ny\"\r\nb,c\n";
    struct buf lines = {0};
    (void)state;
    for (size_t n = 0; n < sizeof text; n++) {
        char *copy = malloc(n + 1);
        assert_non_null(copy);
        memcpy(copy, text, n);
        json_t *doc = emqx_users(slice_make(copy, n), false, NULL, &lines, &left_out, problem,
                                 sizeof problem);
        json_decref(doc);
        buf_clear(&lines);
        free(copy);
    }
    buf_fini(&lines);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_hashes),
        cmocka_unit_test(csv),
        cmocka_unit_test(json),
        cmocka_unit_test(who_is_left_out),
        cmocka_unit_test(files_that_are_none),
        cmocka_unit_test(cut_anywhere),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
