/*
 * SCRAM-SHA-256 as a method of MQTT 5's enhanced authentication: which user, which keys, whose nonces (scram.c has the
 * messages).
 *
 *   NEW ─ no data ─► ASKED (an AUTH without data: "you begin") ─┐
 *    └──────── client-first-message ────────────────────────────┴─► CHALLENGED ─ client-final-message ─► decided
 *
 * Invariant: who has no proof learns nothing. An unknown user, and one that has no keys, gets a salt that is made of its name
 * and of a secret of the store, so it is the same at each try, and is refused at the same step with the same code as for a
 * wrong proof. Only the trace has the difference. Nothing here stretches a password: the keys were made when it was set.
 */
#include <sodium.h>
#include <stdlib.h>

#include "auth/auth_priv.h"
#include "base/mem.h"

enum { REASON_NOT_AUTHORIZED = 0x87, CONNACK_NOT_AUTHORIZED = 5 };
enum scram_at { SCRAM_NEW, SCRAM_ASKED, SCRAM_CHALLENGED };

struct scram_exchange {
    struct auth_exchange x; /* first */
    struct auth *a;
    struct slice instance, client_id; /* copies */
    enum scram_at at;
    size_t user_len;
    char user[SCRAM_USER_MAX + 1];
    bool known;           /* there is such a user */
    enum scram_state can; /* whether the user has keys */
    uint64_t lineage;     /* of its credential */
    struct scram_keys keys;
    struct buf gs2, bare, challenge, nonce; /* what will be signed */
    struct buf answer;
};

static struct scram_exchange *of(struct auth_exchange *x)
{
    return (struct scram_exchange *)(void *)x;
}

static struct slice copy(struct slice s)
{
    return slice_make(mem_strndup(text_bytes(s), s.n), s.n);
}

static struct auth_exchange *make(struct auth *a, const struct auth_request *rq,
                                  struct auth_result *out)
{
    if (!auth_accept_client(a, rq, out)) {
        return NULL;
    }
    struct scram_exchange *s = mem_new(1, sizeof *s);
    s->a = a;
    s->instance = copy(rq->instance.n == 0 ? slice_str(a->bootstrap.instance_id) : rq->instance);
    s->client_id = copy(rq->client_id);
    return &s->x;
}

static void free_exchange(struct auth_exchange *x)
{
    struct scram_exchange *s = of(x);
    free((void *)(uintptr_t)s->instance.p); /* our copies */
    free((void *)(uintptr_t)s->client_id.p);
    buf_fini(&s->gs2);
    buf_fini(&s->bare);
    buf_fini(&s->challenge);
    buf_fini(&s->nonce);
    buf_fini(&s->answer);
    sodium_memzero(&s->keys, sizeof s->keys);
    free(s);
}

static enum auth_step refuse(struct auth_result *out, enum cause cause)
{
    out->ok = false;
    out->cause = cause;
    out->connack = CONNACK_NOT_AUTHORIZED;
    out->reason = REASON_NOT_AUTHORIZED;
    return AUTH_STEP_FAILED;
}

static enum auth_step refuse_message(struct auth_result *out, const char *which, const char *why)
{
    text_format(out->rule, sizeof out->rule, "SCRAM-SHA-256, %s message: %s", which, why);
    return refuse(out, CAUSE_AUTH_EXCHANGE);
}

/* What nobody can have: the keys fit no password. */
static void fake_keys(struct scram_exchange *s)
{
    crypto_generichash_state st;
    uint8_t out[crypto_generichash_BYTES_MAX];
    static const uint8_t what[] = "SCRAM";
    _Static_assert(sizeof out >= SCRAM_SALT_BYTES + SCRAM_KEY_BYTES, "one hash gives both");
    (void)crypto_generichash_init(&st, s->a->password_key, sizeof s->a->password_key, sizeof out);
    (void)crypto_generichash_update(&st, what, sizeof what);
    (void)crypto_generichash_update(&st, s->instance.p, s->instance.n);
    (void)crypto_generichash_update(&st, (const uint8_t *)"/", 1);
    (void)crypto_generichash_update(&st, (const uint8_t *)s->user, s->user_len);
    (void)crypto_generichash_final(&st, out, sizeof out);
    s->keys.rounds = SCRAM_ROUNDS;
    memcpy(s->keys.salt, out, SCRAM_SALT_BYTES);
    memcpy(s->keys.stored_key, out + SCRAM_SALT_BYTES, SCRAM_KEY_BYTES);
    memcpy(s->keys.server_key, out + SCRAM_SALT_BYTES, SCRAM_KEY_BYTES);
}

static void find_keys(struct scram_exchange *s)
{
    struct auth_snapshot *now = snapshot_take(s->a);
    const struct auth_instance *inst = snapshot_instance(now, s->instance);
    const struct auth_user *user =
        inst == NULL ? NULL : instance_user(inst, slice_make(s->user, s->user_len));
    fake_keys(s); /* also when it is not needed: the same steps for all */
    s->known = user != NULL;
    s->can = user == NULL ? SCRAM_LATER : user->cred->scram_state;
    s->lineage = user == NULL ? 0 : user->cred->lineage;
    if (s->can == SCRAM_KEYS) {
        s->keys = *user->cred->scram;
    }
    entry_unref(&now->e);
}

static void make_nonce(
    char out[sodium_base64_ENCODED_LEN(SCRAM_NONCE_BYTES, sodium_base64_VARIANT_ORIGINAL)])
{
    uint8_t raw[SCRAM_NONCE_BYTES];
    randombytes_buf(raw, sizeof raw);
    (void)sodium_bin2base64(
        out, sodium_base64_ENCODED_LEN(SCRAM_NONCE_BYTES, sodium_base64_VARIANT_ORIGINAL), raw,
        sizeof raw, sodium_base64_VARIANT_ORIGINAL);
}

static enum auth_step take_first(struct scram_exchange *s, struct slice data,
                                 struct auth_result *out)
{
    struct scram_first first;
    char nonce[sodium_base64_ENCODED_LEN(SCRAM_NONCE_BYTES, sodium_base64_VARIANT_ORIGINAL)];
    const char *bad = scram_read_first(data, &first);
    if (bad != NULL) {
        return refuse_message(out, "first", bad);
    }
    memcpy(s->user, first.user, sizeof s->user);
    s->user_len = first.user_len;
    s->x.user = slice_make(s->user, s->user_len);
    if (!scram_text_usable(s->x.user)) {
        return refuse_message(out, "first", "a user name must be printable ASCII");
    }
    find_keys(s);
    make_nonce(nonce);
    buf_put_slice(&s->gs2, first.gs2);
    buf_put_slice(&s->bare, first.bare);
    buf_put_slice(&s->nonce, first.nonce);
    buf_put_slice(&s->nonce, slice_str(nonce));
    scram_put_challenge(&s->challenge, first.nonce, slice_str(nonce), &s->keys);
    s->at = SCRAM_CHALLENGED;
    return AUTH_STEP_CONTINUE;
}

static enum auth_step refuse_proof(const struct scram_exchange *s, struct auth_result *out)
{
    if (!s->known) {
        text_format(out->rule, sizeof out->rule, "no user \"%s\"", s->user);
        return refuse(out, CAUSE_AUTH_UNKNOWN_IDENTITY);
    }
    switch (s->can) {
    case SCRAM_KEYS:
        break;
    case SCRAM_LATER:
        text_format(out->rule, sizeof out->rule,
                    "user \"%.40s\" can use SCRAM after its next login with its password", s->user);
        return refuse(out, CAUSE_AUTH_EXCHANGE);
    case SCRAM_UNUSABLE:
        text_format(out->rule, sizeof out->rule,
                    "the password of user \"%.40s\" is not printable ASCII, as SCRAM wants it here",
                    s->user);
        return refuse(out, CAUSE_AUTH_EXCHANGE);
    }
    text_format(out->rule, sizeof out->rule, "wrong proof (password) of user \"%s\"", s->user);
    return refuse(out, CAUSE_AUTH_BAD_PASSWORD);
}

static enum auth_step take_final(struct scram_exchange *s, struct slice data,
                                 struct auth_result *out)
{
    const char *why = NULL;
    const struct scram_talk talk = {.gs2 = buf_slice(&s->gs2),
                                    .bare = buf_slice(&s->bare),
                                    .challenge = buf_slice(&s->challenge),
                                    .nonce = buf_slice(&s->nonce)};
    const struct auth_request rq = {.instance = s->instance, .client_id = s->client_id};
    switch (scram_check_final(&talk, &s->keys, data, &s->answer, &why)) {
    case SCRAM_MALFORMED:
        return refuse_message(out, "final", why);
    case SCRAM_WRONG_PROOF:
        return refuse_proof(s, out);
    case SCRAM_GOOD:
        break;
    }
    if (s->can != SCRAM_KEYS) {
        return refuse_proof(s, out); /* a proof for keys that nobody has: out of reach */
    }
    auth_accept_proved(s->a, &rq, s->x.user, s->lineage, out);
    return out->ok ? AUTH_STEP_OK : AUTH_STEP_FAILED;
}

static enum auth_step step(struct auth_exchange *x, struct slice data, struct slice *answer,
                           struct auth_result *out)
{
    struct scram_exchange *s = of(x);
    if (s->at == SCRAM_CHALLENGED) {
        enum auth_step decided = take_final(s, data, out);
        *answer = buf_slice(&s->answer);
        return decided;
    }
    if (s->at == SCRAM_NEW && data.p == NULL) {
        s->at = SCRAM_ASKED;
        return AUTH_STEP_CONTINUE;
    }
    enum auth_step next = take_first(s, data, out);
    *answer = buf_slice(&s->challenge);
    return next;
}

const struct auth_method auth_scram_sha_256 = {
    .name = "SCRAM-SHA-256", .make = make, .free = free_exchange, .step = step};
