/*
 *   U(1) = HMAC(password, salt | 00000001), U(i) = HMAC(password, U(i-1)), out = U(1) ^ U(2) ^ … ^ U(rounds)
 *
 * The state of HMAC behind the password is made once and copied for each round, which halves the work. Not
 * OpenSSL's: auth/ has libsodium for its secrets, which has HMAC but no PBKDF2.
 */
#include "auth/kdf.h"

#include <assert.h>
#include <sodium.h>

static const uint8_t first_block[4] = {0, 0, 0, 1};

static void xor_into(uint8_t *out, const uint8_t *u, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        out[i] ^= u[i];
    }
}

void kdf_pbkdf2_sha256(struct slice password, struct slice salt, uint32_t rounds,
                       uint8_t out[KDF_SHA256_BYTES])
{
    crypto_auth_hmacsha256_state keyed, st;
    uint8_t u[KDF_SHA256_BYTES];
    assert(rounds > 0);
    (void)crypto_auth_hmacsha256_init(&keyed, password.p, password.n);
    st = keyed;
    (void)crypto_auth_hmacsha256_update(&st, salt.p, salt.n);
    (void)crypto_auth_hmacsha256_update(&st, first_block, sizeof first_block);
    (void)crypto_auth_hmacsha256_final(&st, u);
    memcpy(out, u, sizeof u);
    for (uint32_t i = 1; i < rounds; i++) {
        st = keyed;
        (void)crypto_auth_hmacsha256_update(&st, u, sizeof u);
        (void)crypto_auth_hmacsha256_final(&st, u);
        xor_into(out, u, sizeof u);
    }
    sodium_memzero(&keyed, sizeof keyed);
    sodium_memzero(u, sizeof u);
}

void kdf_pbkdf2_sha512(struct slice password, struct slice salt, uint32_t rounds,
                       uint8_t out[KDF_SHA512_BYTES])
{
    crypto_auth_hmacsha512_state keyed, st;
    uint8_t u[KDF_SHA512_BYTES];
    assert(rounds > 0);
    (void)crypto_auth_hmacsha512_init(&keyed, password.p, password.n);
    st = keyed;
    (void)crypto_auth_hmacsha512_update(&st, salt.p, salt.n);
    (void)crypto_auth_hmacsha512_update(&st, first_block, sizeof first_block);
    (void)crypto_auth_hmacsha512_final(&st, u);
    memcpy(out, u, sizeof u);
    for (uint32_t i = 1; i < rounds; i++) {
        st = keyed;
        (void)crypto_auth_hmacsha512_update(&st, u, sizeof u);
        (void)crypto_auth_hmacsha512_final(&st, u);
        xor_into(out, u, sizeof u);
    }
    sodium_memzero(&keyed, sizeof keyed);
    sodium_memzero(u, sizeof u);
}
