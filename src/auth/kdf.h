/* PBKDF2 (RFC 8018) with HMAC-SHA-256 and HMAC-SHA-512, one block of output each. Pure. */
#ifndef TMQ_AUTH_KDF_H
#define TMQ_AUTH_KDF_H

#include <stdint.h>

#include "base/slice.h"

enum { KDF_SHA256_BYTES = 32, KDF_SHA512_BYTES = 64 };

void kdf_pbkdf2_sha256(struct slice password, struct slice salt, uint32_t rounds,
                       uint8_t out[KDF_SHA256_BYTES]);
void kdf_pbkdf2_sha512(struct slice password, struct slice salt, uint32_t rounds,
                       uint8_t out[KDF_SHA512_BYTES]);

#endif
