/*
 * mosquitto_passwd writes (base64 with padding):
 *
 *   $7$101$12 bytes of salt$64 bytes of hash      PBKDF2 with HMAC-SHA-512; since 2.0
 *   $6$12 bytes of salt$64 bytes of hash          SHA-512 of password and salt; before
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

const char *foreign_parse(struct slice text, struct foreign_hash *out)
{
    struct foreign_hash h = {.kind = FOREIGN_SHA512, .rounds = 1};
    struct slice rest = slice_from(text, 3);
    size_t n = 0;
    if (slice_has_prefix(text, slice_str("$7$"))) {
        h.kind = FOREIGN_PBKDF2_SHA512;
        h.rounds = read_rounds(next_field(&rest));
        if (h.rounds == 0) {
            return "its number of rounds must be 1 to 1000000";
        }
    } else if (!slice_has_prefix(text, slice_str("$6$"))) {
        return "it must begin with $7$ (PBKDF2-SHA512) or $6$ (SHA512)";
    }
    if (!read_base64(next_field(&rest), h.salt, sizeof h.salt, &n) || n == 0) {
        return "its salt must be 1 to 64 bytes in base64";
    }
    h.salt_len = (uint8_t)n;
    if (!read_base64(rest, h.hash, sizeof h.hash, &n) || n != sizeof h.hash) {
        return "its hash must be 64 bytes in base64";
    }
    *out = h;
    return NULL;
}

static void sha512(const struct foreign_hash *h, struct slice password,
                   uint8_t out[FOREIGN_HASH_BYTES])
{
    crypto_hash_sha512_state st;
    (void)crypto_hash_sha512_init(&st);
    (void)crypto_hash_sha512_update(&st, password.p, password.n);
    (void)crypto_hash_sha512_update(&st, h->salt, h->salt_len);
    (void)crypto_hash_sha512_final(&st, out);
}

bool foreign_verify(const struct foreign_hash *h, struct slice password)
{
    uint8_t hash[FOREIGN_HASH_BYTES];
    switch (h->kind) {
    case FOREIGN_PBKDF2_SHA512:
        kdf_pbkdf2_sha512(password, slice_make(h->salt, h->salt_len), h->rounds, hash);
        break;
    case FOREIGN_SHA512:
        sha512(h, password, hash);
        break;
    }
    bool same = sodium_memcmp(hash, h->hash, sizeof hash) == 0;
    sodium_memzero(hash, sizeof hash);
    return same;
}
