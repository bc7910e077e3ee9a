/*
 * SCRAM-SHA-256: the example of RFC 7677, messages that are not as they must be, and whole exchanges between auth/ and a
 * client that is written here by the RFC.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sodium.h>

#include "auth/auth_priv.h"
#include "auth/kdf.h"
#include "auth_memory.h"

#define S(text) slice_str(text)

static struct memory store;
static struct auth *auth;
static struct auth_bootstrap boot;
static struct slice inst;
static struct auth_error err;

static void open_auth(void)
{
    struct auth_options o = {.io = memory_io(&store)};
    assert_int_equal(auth_open(&auth, &o, &err), 0);
    auth_bootstrap(auth, &boot);
    inst = S(boot.instance_id);
}

static int setup(void **state)
{
    (void)state;
    open_auth();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    auth_close(auth);
    store.fail = 0;
    memory_fini(&store);
    return 0;
}

/* ---- the messages ---- */

static const char rfc_first[] = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
static const char rfc_nonce[] = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
static const char rfc_challenge[] = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                    "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
static const char rfc_final[] = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                                "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";
static const char rfc_signature[] = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";

static struct scram_keys rfc_keys(const char *password)
{
    struct scram_keys k = {.rounds = 4096};
    size_t n = 0;
    assert_int_equal(sodium_base642bin(k.salt, sizeof k.salt, "W22ZaJ0SNY7soEsUEjb6gQ==", 24, NULL,
                                       &n, NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    scram_derive(&k, S(password));
    return k;
}

static void expect_text(struct buf *b, const char *text)
{
    assert_int_equal(buf_len(b), strlen(text));
    assert_memory_equal(buf_slice(b).p, text, strlen(text));
    buf_fini(b);
}

/* The last message to the challenge of the RFC; the answer in `out`. */
static enum scram_verdict rfc_check(const char *message, const char *password, struct buf *out)
{
    const char *why = NULL;
    const struct scram_keys k = rfc_keys(password);
    const struct scram_talk t = {.gs2 = S("n,,"),
                                 .bare = S("n=user,r=rOprNGfwEbeRWgbNEkqO"),
                                 .challenge = S(rfc_challenge),
                                 .nonce = S("rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0")};
    enum scram_verdict v = scram_check_final(&t, &k, S(message), out, &why);
    assert_int_equal(v == SCRAM_MALFORMED, why != NULL);
    assert_true(v == SCRAM_GOOD || buf_len(out) == 0);
    return v;
}

static void the_example_of_the_rfc(void **state)
{
    (void)state;
    struct scram_first first;
    struct buf out = {0};
    assert_null(scram_read_first(S(rfc_first), &first));
    assert_string_equal(first.user, "user");
    assert_true(slice_eq(first.gs2, S("n,,")));
    assert_true(slice_eq(first.bare, S("n=user,r=rOprNGfwEbeRWgbNEkqO")));
    const struct scram_keys k = rfc_keys("pencil");
    scram_put_challenge(&out, first.nonce, S(rfc_nonce), &k);
    expect_text(&out, rfc_challenge);
    assert_int_equal(rfc_check(rfc_final, "pencil", &out), SCRAM_GOOD);
    expect_text(&out, rfc_signature);
    assert_int_equal(rfc_check(rfc_final, "pencils", &out), SCRAM_WRONG_PROOF);
}

static void last_messages_that_are_bad(void **state)
{
    (void)state;
#define NONCE "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
#define PROOF "p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    static const char *const bad[] = {
        "",
        "c=biws",
        "c=biws," NONCE,
        "c=biws," NONCE ",",
        "c=eSws," NONCE "," PROOF, /* y,, was not what it began with */
        "c=!!!!," NONCE "," PROOF,
        "c=," NONCE "," PROOF,
        NONCE ",c=biws," PROOF,
        "c=biws,r=rOprNGfwEbeRWgbNEkqO," PROOF,
        "c=biws," NONCE "x," PROOF,
        "c=biws," NONCE ",p=",
        "c=biws," NONCE ",p=AAAA",
        "c=biws," NONCE "," PROOF ",x=1",
        "c=biws," NONCE ",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ",
    };
    struct buf out = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_int_equal(rfc_check(bad[i], "pencil", &out), SCRAM_MALFORMED);
    }
    /* an extension is signed, too: without that the proof is wrong, not malformed */
    assert_int_equal(rfc_check("c=biws," NONCE ",x=1," PROOF, "pencil", &out), SCRAM_WRONG_PROOF);
    for (size_t n = 0; n < strlen(rfc_final); n++) { /* every prefix */
        char *part = mem_strndup(rfc_final, n);
        assert_int_equal(rfc_check(part, "pencil", &out), SCRAM_MALFORMED);
        free(part);
    }
}

static void first_messages(void **state)
{
    (void)state;
    static const struct {
        const char *text, *why; /* NULL: good */
    } all[] = {
        {"n,,n=u,r=x", NULL},
        {"y,,n=u,r=x", NULL},
        {"n,a=u,n=u,r=x", NULL},
        {"n,,n=a=2Cb=3Dc,r=x,ext=1", NULL},
        {"n,a=v,n=u,r=x", "authorization name"},
        {"p=tls-unique,,n=u,r=x", "channel binding"},
        {"z,,n=u,r=x", "n, or y,"},
        {"n,b,n=u,r=x", "a=NAME"},
        {"", "gs2"},
        {"n", "gs2"},
        {"n,", "gs2"},
        {"n,,", "user name"},
        {"n,,m=1,n=u,r=x", "m="},
        {"n,,r=x,n=u", "user name"},
        {"n,,n=,r=x", "user name"},
        {"n,,n=a=b,r=x", "user name"},
        {"n,,n=a=2,r=x", "user name"},
        {"n,,n=u", "nonce"},
        {"n,,n=u,r=", "nonce"},
        {"n,,n=u,r=\x01", "nonce"},
    };
    struct scram_first first;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const char *bad = scram_read_first(S(all[i].text), &first);
        assert_true(all[i].why == NULL ? bad == NULL
                                       : bad != NULL && strstr(bad, all[i].why) != NULL);
    }
    assert_null(scram_read_first(S("n,,n=a=2Cb=3Dc,r=x"), &first));
    assert_string_equal(first.user, "a,b=c");
    char text[SCRAM_MESSAGE_MAX + 2];
    memset(text, 'u', sizeof text);
    memcpy(text, "n,,n=", 5);
    assert_non_null(scram_read_first(slice_make(text, sizeof text), &first));
    memcpy(text + 5 + SCRAM_USER_MAX, ",r=x", 4);
    assert_null(scram_read_first(slice_make(text, 9 + SCRAM_USER_MAX), &first));
    memcpy(text + 6 + SCRAM_USER_MAX, ",r=x", 4);
    text[5 + SCRAM_USER_MAX] = 'u';
    assert_non_null(scram_read_first(slice_make(text, 10 + SCRAM_USER_MAX), &first));
}

/* ---- a client ---- */

static void hmac(const uint8_t key[32], const char *text, uint8_t out[32])
{
    crypto_auth_hmacsha256_state st;
    (void)crypto_auth_hmacsha256_init(&st, key, 32);
    (void)crypto_auth_hmacsha256_update(&st, (const uint8_t *)text, strlen(text));
    (void)crypto_auth_hmacsha256_final(&st, out);
}

static void base64(char *out, size_t cap, const uint8_t *p, size_t n)
{
    (void)sodium_bin2base64(out, cap, p, n, sodium_base64_VARIANT_ORIGINAL);
}

/* Answers the challenge; in `signature` what the server will have to say. */
static void answer(const char *bare, const char *challenge, const char *password, char out[512],
                   char signature[64])
{
    char salt_text[64], nonce[256], text[2048];
    unsigned rounds = 0;
    uint8_t salt[64], salted[32], key[32], stored[32], mask[32];
    size_t n = 0;
    assert_int_equal(sscanf(challenge, "r=%255[^,],s=%63[^,],i=%u", nonce, salt_text, &rounds), 3);
    assert_int_equal(sodium_base642bin(salt, sizeof salt, salt_text, strlen(salt_text), NULL, &n,
                                       NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    assert_int_equal(rounds, 4096);
    kdf_pbkdf2_sha256(S(password), slice_make(salt, n), rounds, salted);
    hmac(salted, "Client Key", key);
    (void)crypto_hash_sha256(stored, key, 32);
    (void)snprintf(text, sizeof text, "%s,%s,c=biws,r=%s", bare, challenge, nonce);
    hmac(stored, text, mask);
    for (size_t i = 0; i < 32; i++) {
        key[i] ^= mask[i];
    }
    char proof[64];
    base64(proof, sizeof proof, key, 32);
    (void)snprintf(out, 512, "c=biws,r=%s,p=%s", nonce, proof);
    hmac(salted, "Server Key", key);
    hmac(key, text, mask);
    memcpy(signature, "v=", 2);
    base64(signature + 2, 62, mask, 32);
}

static struct auth_exchange *begin(const char *client_id)
{
    struct auth_result r;
    const struct auth_request rq = {.client_id = S(client_id)};
    struct auth_exchange *x = auth_exchange_new(auth, S("SCRAM-SHA-256"), &rq, &r);
    assert_non_null(x);
    return x;
}

/* The first half; the challenge in `out`. */
static void challenge_of(struct auth_exchange *x, const char *user, char out[1024])
{
    char first[600];
    struct slice got;
    struct auth_result r;
    (void)snprintf(first, sizeof first, "n,,n=%s,r=client", user);
    assert_int_equal(auth_exchange_step(x, S(first), &got, &r), AUTH_STEP_CONTINUE);
    (void)snprintf(out, 1024, "%.*s", (int)got.n, (const char *)got.p);
    assert_true(slice_eq(auth_exchange_user(x), S(user)));
}

static struct auth_result scram_login(const char *client_id, const char *user, const char *password)
{
    char challenge[1024], last[512], signature[64], bare[600];
    struct slice got;
    struct auth_result r;
    struct auth_exchange *x = begin(client_id);
    challenge_of(x, user, challenge);
    (void)snprintf(bare, sizeof bare, "n=%s,r=client", user);
    answer(bare, challenge, password, last, signature);
    enum auth_step s = auth_exchange_step(x, S(last), &got, &r);
    assert_int_equal(s == AUTH_STEP_OK, r.ok);
    assert_true(s != AUTH_STEP_OK || slice_eq(got, S(signature)));
    auth_exchange_free(x);
    return r;
}

static void expect_refused(struct auth_result r, enum cause cause, const char *rule)
{
    assert_false(r.ok);
    assert_null(r.identity);
    assert_string_equal(cause_info(r.cause)->code, cause_info(cause)->code);
    assert_int_equal(r.reason, 0x87);
    assert_non_null(strstr(r.rule, rule));
}

static void logins(void **state)
{
    (void)state;
    struct auth_result r = scram_login("d", boot.mqtt_username, boot.mqtt_password);
    assert_true(r.ok);
    assert_true(slice_eq(auth_identity_user(r.identity), S(boot.mqtt_username)));
    struct auth_decision d;
    assert_true(auth_allows(r.identity, S("d"), AUTH_PUBLISH, S("a"), &d));
    struct auth_result again = scram_login("e", boot.mqtt_username, boot.mqtt_password);
    assert_ptr_equal(again.identity, r.identity); /* shared */
    auth_identity_unref(again.identity);

    expect_refused(scram_login("d", boot.mqtt_username, "wrong"), CAUSE_AUTH_BAD_PASSWORD, "proof");
    expect_refused(scram_login("d", "nobody", "x"), CAUSE_AUTH_UNKNOWN_IDENTITY, "nobody");
    assert_int_equal(auth_user_password(auth, inst, S(boot.mqtt_username), S("new"), &err), 0);
    assert_int_equal(auth_identity_refresh(auth, &r.identity), -EACCES);
    auth_identity_unref(r.identity);
    expect_refused(scram_login("d", boot.mqtt_username, boot.mqtt_password),
                   CAUSE_AUTH_BAD_PASSWORD, "proof");
    r = scram_login("d", boot.mqtt_username, "new");
    assert_true(r.ok);
    auth_identity_unref(r.identity);
}

static void a_restart_keeps_the_keys(void **state)
{
    (void)state;
    char *password = mem_strndup(boot.mqtt_password, strlen(boot.mqtt_password));
    auth_close(auth);
    open_auth();
    struct auth_result r = scram_login("d", boot.mqtt_username, password);
    assert_true(r.ok);
    auth_identity_unref(r.identity);
    free(password);
}

/* Who knows no password can't tell a name that exists from one that does not. */
static void unknown_users_look_like_known_ones(void **state)
{
    (void)state;
    char known[2][1024], unknown[2][1024], other[1024];
    for (size_t i = 0; i < 2; i++) {
        struct auth_exchange *x = begin("d");
        challenge_of(x, boot.mqtt_username, known[i]);
        auth_exchange_free(x);
        x = begin("d");
        challenge_of(x, "nobody", unknown[i]);
        auth_exchange_free(x);
    }
    struct auth_exchange *x = begin("d");
    challenge_of(x, "nemo", other);
    auth_exchange_free(x);
    assert_int_equal(strlen(known[0]), strlen(unknown[0]));
    assert_string_not_equal(known[0], known[1]); /* nonces are fresh, */
    assert_string_not_equal(unknown[0], unknown[1]);
    assert_string_equal(strstr(known[0], ",s="), strstr(known[1], ",s=")); /* salts stay */
    assert_string_equal(strstr(unknown[0], ",s="), strstr(unknown[1], ",s="));
    assert_string_not_equal(strstr(unknown[0], ",s="), strstr(other, ",s="));
}

static void passwords_that_scram_cannot_have(void **state)
{
    (void)state;
    assert_int_equal(auth_user_add(auth, inst, S("bob"), S("p\xC3\xA4ss"), NULL, 0, &err), 0);
    expect_refused(scram_login("d", "bob", "p\xC3\xA4ss"), CAUSE_AUTH_EXCHANGE, "printable ASCII");
    struct auth_exchange *x = begin("d");
    struct slice got;
    struct auth_result r;
    assert_int_equal(auth_exchange_step(x, S("n,,n=\xC3\xB6,r=c"), &got, &r), AUTH_STEP_FAILED);
    expect_refused(r, CAUSE_AUTH_EXCHANGE, "printable ASCII");
    auth_exchange_free(x);
}

static void exchanges_that_go_wrong(void **state)
{
    (void)state;
    struct slice got;
    struct auth_result r;
    char challenge[1024];
    struct auth_exchange *x = begin("d");
    assert_int_equal(auth_exchange_step(x, slice_make(NULL, 0), &got, &r), AUTH_STEP_CONTINUE);
    assert_null(got.p); /* it was asked to begin */
    assert_int_equal(auth_exchange_step(x, slice_make(NULL, 0), &got, &r), AUTH_STEP_FAILED);
    expect_refused(r, CAUSE_AUTH_EXCHANGE, "first message: no gs2 header");
    auth_exchange_free(x);
    x = begin("d");
    challenge_of(x, boot.mqtt_username, challenge);
    assert_int_equal(auth_exchange_step(x, S("hello"), &got, &r), AUTH_STEP_FAILED);
    expect_refused(r, CAUSE_AUTH_EXCHANGE, "final message");
    auth_exchange_free(x);

    const struct auth_request rq = {.client_id = S("d")};
    assert_null(auth_exchange_new(auth, S("SCRAM-SHA-1"), &rq, &r));
    assert_int_equal(r.cause, CAUSE_AUTH_METHOD);
    assert_int_equal(r.reason, 0x8C);
    /* the form of the client ID is as with passwords */
    assert_int_equal(auth_instance_set(auth, inst, S("client_id"), S("grouped"), &err), 0);
    assert_null(auth_exchange_new(auth, S("SCRAM-SHA-256"), &rq, &r));
    assert_int_equal(r.cause, CAUSE_PROTOCOL_CLIENT_ID);
    expect_refused(scram_login("GID_other@@@d", boot.mqtt_username, boot.mqtt_password),
                   CAUSE_AUTH_GROUP_UNKNOWN, "GID_other");
}

static void a_user_that_changes_meanwhile(void **state)
{
    (void)state;
    char challenge[1024], last[512], signature[64], bare[600];
    struct slice got;
    struct auth_result r;
    for (int deleted = 0; deleted < 2; deleted++) {
        assert_int_equal(auth_user_add(auth, inst, S("bob"), S("secret"), NULL, 0, &err), 0);
        struct auth_exchange *x = begin("d");
        challenge_of(x, "bob", challenge);
        (void)snprintf(bare, sizeof bare, "n=bob,r=client");
        answer(bare, challenge, "secret", last, signature);
        assert_int_equal(auth_user_delete(auth, inst, S("bob"), &err), 0);
        if (deleted == 0) { /* a namesake with the same password is another user */
            assert_int_equal(auth_user_add(auth, inst, S("bob"), S("secret"), NULL, 0, &err), 0);
        }
        assert_int_equal(auth_exchange_step(x, S(last), &got, &r), AUTH_STEP_FAILED);
        expect_refused(r, CAUSE_AUTH_REVOKED, "bob");
        auth_exchange_free(x);
        (void)auth_user_delete(auth, inst, S("bob"), &err);
    }
}

/* ---- users of older stores and of other brokers ---- */

static struct auth_result plain_login(const char *user, const char *password)
{
    struct auth_result r;
    const struct auth_request rq = {.client_id = S("d"),
                                    .has_username = true,
                                    .username = S(user),
                                    .has_password = true,
                                    .password = S(password)};
    if (!auth_check_fast(auth, &rq, &r)) {
        auth_check(auth, &rq, &r);
    }
    return r;
}

/* Made by mosquitto_passwd 2.0.11; the others by EMQX's rules, by Python's hashlib. */
static const struct {
    const char *user, *password, *hash;
} imported[] = {
    {"alice", "wonder1",
     "$7$101$rhvYE/5ki5iZRVUc$1nhP88F2NECCXx41RuxH7988h4Vy+3y+/"
     "0iexxbax2aqKYn0I9MpJ4dOk2REc9rwvL9si91X2MUJGZoM/oFsnQ=="},
    {"bob", "builder2",
     "$6$JICuZiuIDRvivK+/$pkPr/7TAZ4xRArrO8dwhaB9uwp5uBVtfsOQNOuTqB/"
     "FGqeS14PL0z6zC7F0BwgmYn+WTweTf5KWDTJCn/GSblg=="},
    {"carl", "p\xC3\xA4 ss",
     "$7$500$zG3SeUDGzh/SPLZs$xQ2ZS0T8NwnGI4bqOygoRai0Za7VlZ3frPSEa/"
     "nnyJwBKz3GnfR54ww6ewTme9TB0r31FK7qJ4gMt1qo/pLiRw=="},
    {"dora", "secret",
     "$sha256-prefix$ZGUxMDI0ZjQ2MmZiODM5MTBmZDEzMTUxYmQ0YmQyMzU=$7woebZO6e9vHx0mmBiN3xNjHqSj+RYozlaZn7Pj5r8w="},
    {"emil", "secret",
     "$sha256-suffix$ZGUxMDI0ZjQ2MmZiODM5MTBmZDEzMTUxYmQ0YmQyMzU=$pcUvyUgNJfawwW6eYRYhQSltlRGI7srAaOn3DNYaPec="},
    {"fred", "no salt", "$sha256-prefix$$TSbz2srTwx6Hrkjo9baNLdrmaIzlsmgyZkktIvDGaSg="},
    {"gina", "secret",
     "$sha512-prefix$ZGUxMDI0ZjQ2MmZiODM5MTBmZDEzMTUxYmQ0YmQyMzU=$gkiISG77u92n+lxF40jGgZdrlIHbcPxNIdkJSlFwUNUcY2ED/UmriwlVKHMhROKJ/GfqU8xAemFLaLx/diWJgg=="},
    {"hugo", "secret",
     "$sha512-suffix$ZGUxMDI0ZjQ2MmZiODM5MTBmZDEzMTUxYmQ0YmQyMzU=$83huSNPKC2Xz96PxGldi9skAP0FJRc4wdTlImdpfZZLxOFSfNarMh3DF0DPKjgdHewYzAh7UwL2UnRhQ4Ycq2Q=="},
    {"ines", "secret",
     "$pbkdf2-sha256$4096$ZGUxMDI0ZjQ2MmZiODM5MTBmZDEzMTUxYmQ0YmQyMzU=$aQ2B4fz6GSXtBnTfa0dHZrgfgxN3QArz2DWcT6Dr8KE="},
    {"jens", "secret",
     "$pbkdf2-sha512$1000$ZGUxMDI0ZjQ2MmZiODM5MTBmZDEzMTUxYmQ0YmQyMzU=$lsNo/wwhazfm2T2/bqOknYS4KFjLYa8r9m1TN1xc+iYUjTYLbeDUVGinkj0AL5cbAnQhtXrDyYVsR21MG+QEDw=="},
};
enum { IMPORTED = sizeof imported / sizeof imported[0] };

static const struct credential *credential_of(const char *user)
{
    const struct auth_instance *i = snapshot_instance(auth->current, inst);
    return instance_user(i, S(user))->cred;
}

static void hashes_of_other_brokers(void **state)
{
    (void)state;
    struct slice own = S("own/#");
    for (size_t i = 0; i < IMPORTED; i++) {
        assert_int_equal(
            auth_user_import(auth, inst, S(imported[i].user), S(imported[i].hash), &own, 1, &err),
            0);
    }
    auth_close(auth);
    open_auth(); /* they are in the store as they came */
    for (size_t i = 0; i < IMPORTED; i++) {
        const char *user = imported[i].user;
        assert_non_null(credential_of(user)->foreign);
        expect_refused(scram_login("d", user, imported[i].password), CAUSE_AUTH_EXCHANGE,
                       "after its next login");
        assert_false(plain_login(user, "wrong").ok);
        assert_non_null(credential_of(user)->foreign);
        struct auth_result r = plain_login(user, imported[i].password);
        assert_true(r.ok);
        assert_null(credential_of(user)->foreign);                     /* ours now, */
        assert_int_equal(auth_identity_refresh(auth, &r.identity), 0); /* and the login goes on */
        struct auth_decision d;
        assert_true(auth_allows(r.identity, S("d"), AUTH_PUBLISH, S("own/x"), &d));
        auth_identity_unref(r.identity);
        bool ascii = i != 2;
        r = scram_login("d", user, imported[i].password);
        assert_int_equal(r.ok, ascii);
        auth_identity_unref(r.identity);
    }
    size_t saves = store.saves;
    auth_close(auth);
    open_auth();
    for (size_t i = 0; i < IMPORTED; i++) {
        struct auth_result r = plain_login(imported[i].user, imported[i].password);
        assert_true(r.ok);
        auth_identity_unref(r.identity);
    }
    assert_int_equal(store.saves, saves); /* nothing is left to be made anew */
}

static void hashes_that_are_bad(void **state)
{
    (void)state;
    static const char *const bad[] = {"",
                                      "secret",
                                      "$7$",
                                      "$7$101$",
                                      "$7$101$AAAA$",
                                      "$7$101$AAAA$AAAA",
                                      "$7$0$AAAA$AAAA",
                                      "$7$1000001$AAAA$AAAA",
                                      "$7$x$AAAA$AAAA",
                                      "$7$99999999999$AAAA$AAAA",
                                      "$6$",
                                      "$6$AAAA",
                                      "$6$$AAAA",
                                      "$6$AA A$AAAA",
                                      "$5$AAAA$AAAA",
                                      "$sha256-prefix$",
                                      "$sha256-prefix$AAAA$",
                                      "$sha256-prefix$AA A$AAAA",
                                      "$sha256-suffix$$AAAA",
                                      "$sha256$AAAA$AAAA",
                                      "$pbkdf2-sha256$0$AAAA$AAAA",
                                      "$pbkdf2-sha256$AAAA$AAAA",
                                      "$argon2id$v=19$m=47104,t=1,p=1$AAAA$AAAA"};
    struct foreign_hash h;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_non_null(foreign_parse(S(bad[i]), &h));
    }
    for (size_t i = 0; i < IMPORTED; i++) {
        assert_null(foreign_parse(S(imported[i].hash), &h));
        assert_true(foreign_verify(&h, S(imported[i].password)));
        assert_false(foreign_verify(&h, S("")));
        for (size_t n = 0; n < strlen(imported[i].hash); n++) { /* every prefix */
            assert_non_null(foreign_parse(slice_make(imported[i].hash, n), &h));
        }
    }
}

/* What a save that fails leaves works, and is made anew later. */
static void renewal_fails(void **state)
{
    (void)state;
    assert_int_equal(auth_user_import(auth, inst, S("alice"), S(imported[0].hash), NULL, 0, &err),
                     0);
    store.fail = -EIO;
    struct auth_result r = plain_login("alice", "wonder1");
    assert_true(r.ok);
    assert_non_null(credential_of("alice")->foreign);
    auth_identity_unref(r.identity);
    store.fail = 0;
    auth_close(auth);
    open_auth();
    r = plain_login("alice", "wonder1");
    assert_true(r.ok);
    assert_null(credential_of("alice")->foreign);
    auth_identity_unref(r.identity);
}

/* A user's value as version 1 wrote it. */
static void users_of_version_1(void **state)
{
    (void)state;
    struct buf v = {0}, key = {0};
    const struct credential *c = credential_of(boot.mqtt_username);
    uint8_t head[13] = {1, [9] = (uint8_t)c->rounds};
    static const uint8_t tail[] = {1, 0, 0, 3, 1, 0, '#'};
    char *password = mem_strndup(boot.mqtt_password, strlen(boot.mqtt_password));
    buf_put(&v, head, sizeof head);
    buf_put(&v, c->salt, sizeof c->salt);
    buf_put(&v, c->hash, sizeof c->hash);
    buf_put(&v, tail, sizeof tail);
    buf_put_slice(&key, S("auth/user/mqtt-local/demo"));
    struct slice k = buf_slice(&key), value = buf_slice(&v);
    auth_close(auth);
    assert_int_equal(memory_save(&store, &k, &value, 1), 0);
    open_auth();
    assert_int_equal(credential_of("demo")->scram_state, SCRAM_LATER);
    expect_refused(scram_login("d", "demo", password), CAUSE_AUTH_EXCHANGE, "next login");
    struct auth_result r = plain_login("demo", password);
    assert_true(r.ok);
    auth_identity_unref(r.identity);
    r = scram_login("d", "demo", password);
    assert_true(r.ok);
    auth_identity_unref(r.identity);
    buf_fini(&v);
    buf_fini(&key);
    free(password);
}

#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_example_of_the_rfc),
        T(last_messages_that_are_bad),
        T(first_messages),
        T(logins),
        T(a_restart_keeps_the_keys),
        T(unknown_users_look_like_known_ones),
        T(passwords_that_scram_cannot_have),
        T(exchanges_that_go_wrong),
        T(a_user_that_changes_meanwhile),
        T(hashes_of_other_brokers),
        T(hashes_that_are_bad),
        T(renewal_fails),
        T(users_of_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
