/*
 * mosquitto_passwd writes (base64 with padding):
 *
 *   $7$101$12 bytes of salt$64 bytes of hash      PBKDF2 with HMAC-SHA-512; since 2.0
 *   $6$12 bytes of salt$64 bytes of hash          SHA-512 of password and salt; before
 *
 * EMQX keeps a hash, and a salt that is text, apart from the algorithm, which is a setting of all its users. `tracemq import emqx` puts
 * the three together in the same way: $sha256-prefix$SALT$HASH and so on. There may be no salt.
 */
#include "auth/foreign.h"

#include <sodium.h>

#include "auth/kdf.h"

/* Cuts what is before the next '$' off `rest`. */
static struct slice next_field(struct slice *rest)
{
    const uint8_t *at = rest->n == 0 ? NULL : memchr(rest->p, '$', rest->n);
    size_t n = at == NULL ? rest->n : (size_t)(at - rest->p);
    struct slice field = slice_make(rest->p, n);
    *rest = slice_from(*rest, at == NULL ? n : n + 1);
    return field;
}

/* 0 when it is no number within the limit. */
static uint32_t read_rounds(struct slice s)
{
    uint32_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9' || n > FOREIGN_ROUNDS_MAX) {
            return 0;
        }
        n = n * 10 + (uint32_t)(s.p[i] - '0');
    }
    return n > FOREIGN_ROUNDS_MAX ? 0 : n;
}

static bool read_base64(struct slice s, uint8_t *out, size_t cap, size_t *n)
{
    return s.n > 0 && sodium_base642bin(out, cap, (const char *)s.p, s.n, NULL, n, NULL,
                                        sodium_base64_VARIANT_ORIGINAL) == 0;
}

static const struct form {
    const char *prefix;
    enum foreign_kind kind;
    bool rounds, needs_salt;
} forms[] = {
    {"$7$", FOREIGN_PBKDF2_SHA512, true, true},
    {"$6$", FOREIGN_SHA512, false, true},
    {"$pbkdf2-sha512$", FOREIGN_PBKDF2_SHA512, true, false},
    {"$pbkdf2-sha256$", FOREIGN_PBKDF2_SHA256, true, false},
    {"$sha512-suffix$", FOREIGN_SHA512, false, false},
    {"$sha512-prefix$", FOREIGN_SHA512_PREFIX, false, false},
    {"$sha256-suffix$", FOREIGN_SHA256, false, false},
    {"$sha256-prefix$", FOREIGN_SHA256_PREFIX, false, false},
};
enum { FORMS = sizeof forms / sizeof forms[0] };

size_t foreign_hash_bytes(enum foreign_kind kind)
{
    switch (kind) {
    case FOREIGN_SHA256:
    case FOREIGN_SHA256_PREFIX:
    case FOREIGN_PBKDF2_SHA256:
        return 32;
    case FOREIGN_SHA512:
    case FOREIGN_SHA512_PREFIX:
    case FOREIGN_PBKDF2_SHA512:
        return 64;
    }
    return 0;
}

static const struct form *form_of(struct slice text)
{
    for (size_t i = 0; i < FORMS; i++) {
        if (slice_has_prefix(text, slice_str(forms[i].prefix))) {
            return &forms[i];
        }
    }
    return NULL;
}

const char *foreign_parse(struct slice text, struct foreign_hash *out)
{
    const struct form *form = form_of(text);
    if (form == NULL) {
        return "it must begin with $7$ (PBKDF2-SHA512), $6$ (SHA512), $sha256-prefix$ or the like";
    }
    struct foreign_hash h = {.kind = form->kind, .rounds = 1};
    struct slice rest = slice_from(text, strlen(form->prefix));
    size_t n = 0;
    if (rest.p == text.p) {
        return "nothing follows its name";
    }
    if (form->rounds) {
        h.rounds = read_rounds(next_field(&rest));
        if (h.rounds == 0) {
            return "its number of rounds must be 1 to 1000000";
        }
    }
    struct slice salt = next_field(&rest);
    bool salted = read_base64(salt, h.salt, sizeof h.salt, &n) && n > 0;
    if (!salted && (form->needs_salt || salt.n > 0)) {
        return "its salt must be 1 to 64 bytes in base64";
    }
    h.salt_len = salted ? (uint8_t)n : 0;
    if (!read_base64(rest, h.hash, sizeof h.hash, &n) || n != foreign_hash_bytes(h.kind)) {
        return "its hash must be 64 bytes in base64 (32 of SHA-256)";
    }
    *out = h;
    return NULL;
}

static void sha512(struct slice first, struct slice second, uint8_t *out)
{
    crypto_hash_sha512_state st;
    (void)crypto_hash_sha512_init(&st);
    (void)crypto_hash_sha512_update(&st, first.p, first.n);
    (void)crypto_hash_sha512_update(&st, second.p, second.n);
    (void)crypto_hash_sha512_final(&st, out);
}

static void sha256(struct slice first, struct slice second, uint8_t *out)
{
    crypto_hash_sha256_state st;
    (void)crypto_hash_sha256_init(&st);
    (void)crypto_hash_sha256_update(&st, first.p, first.n);
    (void)crypto_hash_sha256_update(&st, second.p, second.n);
    (void)crypto_hash_sha256_final(&st, out);
}

bool foreign_verify(const struct foreign_hash *h, struct slice password)
{
    uint8_t hash[FOREIGN_HASH_MAX];
    const struct slice salt = slice_make(h->salt, h->salt_len);
    switch (h->kind) {
    case FOREIGN_PBKDF2_SHA512:
        kdf_pbkdf2_sha512(password, salt, h->rounds, hash);
        break;
    case FOREIGN_PBKDF2_SHA256:
        kdf_pbkdf2_sha256(password, salt, h->rounds, hash);
        break;
    case FOREIGN_SHA512:
        sha512(password, salt, hash);
        break;
    case FOREIGN_SHA512_PREFIX:
        sha512(salt, password, hash);
        break;
    case FOREIGN_SHA256:
        sha256(password, salt, hash);
        break;
    case FOREIGN_SHA256_PREFIX:
        sha256(salt, password, hash);
        break;
    }
    bool same = sodium_memcmp(hash, h->hash, foreign_hash_bytes(h->kind)) == 0;
    sodium_memzero(hash, sizeof hash);
    return same;
}
