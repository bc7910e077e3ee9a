/*
 * SCRAM-SHA-256 (RFC 5802, RFC 7677) as the server speaks it: messages and keys, without channel binding. Pure:
 * nonces and salts are arguments.
 */
#ifndef TMQ_AUTH_SCRAM_H
#define TMQ_AUTH_SCRAM_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum {
    SCRAM_SALT_BYTES = 16,
    SCRAM_KEY_BYTES = 32,
    SCRAM_ROUNDS = 4096, /* RFC 7677's least: the client pays, devices are slow */
    SCRAM_ROUNDS_MAX = 1000000,
    SCRAM_USER_MAX = 256,
    SCRAM_NONCE_BYTES = 18, /* of the server, before base64 */
    SCRAM_MESSAGE_MAX = 2048
};

/* What is kept of a password: enough to check a proof and to give one, not enough to log in. */
struct scram_keys {
    uint32_t rounds;
    uint8_t salt[SCRAM_SALT_BYTES];
    uint8_t stored_key[SCRAM_KEY_BYTES];
    uint8_t server_key[SCRAM_KEY_BYTES];
};

/* Printable ASCII, which SASLprep leaves as it is; other text would need its tables of Unicode. */
bool scram_text_usable(struct slice text);

/* Fills the two keys; rounds and salt are set. About 3 ms for SCRAM_ROUNDS. */
void scram_derive(struct scram_keys *k, struct slice password);

/* What the client-first-message says: slices of it, and the user name without its escapes. */
struct scram_first {
    struct slice gs2;  /* "n,,": part of what the client signs */
    struct slice bare; /* the rest */
    struct slice nonce;
    char user[SCRAM_USER_MAX + 1];
    size_t user_len;
};
/* NULL when it is good, else what is wrong with it. */
const char *scram_read_first(struct slice message, struct scram_first *out)
    __attribute__((warn_unused_result));

/* The server-first-message: both nonces, salt and rounds. `nonce` is of printable ASCII without ','. */
void scram_put_challenge(struct buf *out, struct slice client_nonce, struct slice nonce,
                         const struct scram_keys *k);

/* What the client signs, and the parts of the exchange that are known before its last message. */
struct scram_talk {
    struct slice gs2, bare, challenge;
    struct slice nonce; /* both parts */
};
enum scram_verdict { SCRAM_GOOD, SCRAM_WRONG_PROOF, SCRAM_MALFORMED };
/* Checks the client-final-message. GOOD: the server-final-message is put into `out`. MALFORMED: *why. */
enum scram_verdict scram_check_final(const struct scram_talk *t, const struct scram_keys *k,
                                     struct slice message, struct buf *out, const char **why);

#endif
