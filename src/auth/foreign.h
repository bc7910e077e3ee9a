/* Password hashes of Mosquitto's password files, taken over as they are until their users log in. Pure. */
#ifndef TMQ_AUTH_FOREIGN_H
#define TMQ_AUTH_FOREIGN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum {
    FOREIGN_SALT_MAX = 64,
    FOREIGN_HASH_BYTES = 64, /* SHA-512 */
    FOREIGN_ROUNDS_MAX = 1000000
};

/* The number is what the store has. */
enum foreign_kind {
    FOREIGN_PBKDF2_SHA512 = 1, /* $7$ROUNDS$SALT$HASH */
    FOREIGN_SHA512 = 2         /* $6$SALT$HASH: of password and salt, once */
};

struct foreign_hash {
    enum foreign_kind kind;
    uint32_t rounds; /* 1 for FOREIGN_SHA512 */
    uint8_t salt_len;
    uint8_t salt[FOREIGN_SALT_MAX];
    uint8_t hash[FOREIGN_HASH_BYTES];
};

/* Reads the text behind "user:" of a password file. NULL when it is good, else what is wrong with it. */
const char *foreign_parse(struct slice text, struct foreign_hash *out)
    __attribute__((warn_unused_result));
bool foreign_verify(const struct foreign_hash *h, struct slice password);

#endif
