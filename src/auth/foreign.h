/* Password hashes of other brokers (Mosquitto's password files, EMQX's users), taken over as they are until their users log in. Pure. */
#ifndef TMQ_AUTH_FOREIGN_H
#define TMQ_AUTH_FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum {
    FOREIGN_SALT_MAX = 64,
    FOREIGN_HASH_MAX = 64, /* SHA-512 */
    FOREIGN_ROUNDS_MAX = 1000000
};

/* The number is what the store has. */
enum foreign_kind {
    FOREIGN_PBKDF2_SHA512 = 1, /* $7$ROUNDS$SALT$HASH */
    FOREIGN_SHA512 = 2, /* $6$SALT$HASH, $sha512-suffix$SALT$HASH: of password and salt, once */
    FOREIGN_SHA512_PREFIX = 3, /* $sha512-prefix$SALT$HASH: of salt and password */
    FOREIGN_SHA256 = 4,        /* $sha256-suffix$SALT$HASH */
    FOREIGN_SHA256_PREFIX = 5, /* $sha256-prefix$SALT$HASH */
    FOREIGN_PBKDF2_SHA256 = 6  /* $pbkdf2-sha256$ROUNDS$SALT$HASH */
};
enum { FOREIGN_KINDS = 6 };

struct foreign_hash {
    enum foreign_kind kind;
    uint32_t rounds; /* of PBKDF2, else 1 */
    uint8_t salt_len;
    uint8_t salt[FOREIGN_SALT_MAX];
    uint8_t hash[FOREIGN_HASH_MAX]; /* foreign_hash_bytes() of them */
};

size_t foreign_hash_bytes(enum foreign_kind kind);

/* Reads one of those forms: the text behind "user:" of a password file of Mosquitto, or what `tracemq import emqx` makes. NULL when it is
 * good, else what is wrong with it. */
const char *foreign_parse(struct slice text, struct foreign_hash *out)
    __attribute__((warn_unused_result));
bool foreign_verify(const struct foreign_hash *h, struct slice password);

#endif
