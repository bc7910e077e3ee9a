/*
 * Passwords of devices: salted, keyed, iterated BLAKE2b of about 50 µs; argon2id (106 ms) would let a fleet
 * reconnect at nine devices a second. Beside it the keys of SCRAM; instead of it, until the first login, a hash that
 * another broker made. And the cache of logins that succeeded. Any thread.
 */
#ifndef TMQ_AUTH_PASSWORD_H
#define TMQ_AUTH_PASSWORD_H

#include <stdbool.h>
#include <stdint.h>

#include "auth/foreign.h"
#include "auth/scram.h"
#include "auth/shelf.h"

enum {
    PASSWORD_SALT_BYTES = 16,
    PASSWORD_HASH_BYTES = 32,
    PASSWORD_KEY_BYTES = 32,
    PASSWORD_ROUNDS = 120, /* two BLAKE2b compressions each: about 50 µs */
    PASSWORD_ROUNDS_MAX = 1000000,
    PASSWORD_MAX = 1024
};

/* Whether a user can log in by SCRAM. The number is what the store has. */
enum scram_state {
    SCRAM_LATER = 0,   /* at its next login with a password: only then the password is known */
    SCRAM_KEYS = 1,    /* yes */
    SCRAM_UNUSABLE = 2 /* its password is not printable ASCII */
};

/* What is kept of a password. Counted: a user whose permissions change keeps its credential. */
struct credential {
    struct entry e;
    uint64_t lineage; /* the same in what was made of it without a new password being set */
    uint32_t rounds;
    uint8_t salt[PASSWORD_SALT_BYTES];
    uint8_t hash[PASSWORD_HASH_BYTES];
    struct foreign_hash
        *foreign; /* not NULL: this is the hash, and rounds, salt and hash are not set */
    enum scram_state scram_state;
    struct scram_keys *scram; /* SCRAM_KEYS */
};

/* An empty credential for a loader to fill; then credential_loaded(). Unref by &c->e. */
struct credential *credential_alloc(void);
void credential_loaded(struct credential *c);

/* A credential with a fresh salt, and SCRAM's keys (3 ms). `key` is the store's own secret. */
struct credential *credential_new(const uint8_t key[PASSWORD_KEY_BYTES], struct slice password);
/* A credential of another broker's hash. */
struct credential *credential_import(const struct foreign_hash *h);
/* The same made anew now that its password is known, with our own hash and SCRAM's keys; its lineage stays. */
struct credential *credential_renew(const struct credential *c,
                                    const uint8_t key[PASSWORD_KEY_BYTES], struct slice password);
/* credential_renew() would bring something. */
bool credential_is_old(const struct credential *c);

/* True when the password fits. c == NULL (unknown user): as slow, and false. */
bool credential_verify(const struct credential *c, const uint8_t key[PASSWORD_KEY_BYTES],
                       struct slice password);

/*
 * Logins that succeeded, by a hash keyed with a random of this process: nothing in it can be tried offline.
 * Bounded: 16,384 sets of 4, the oldest of a set gives way. Entries are hints: the caller compares the identity's
 * credential with the user's present one before it believes.
 */
struct auth_identity;
struct login_cache;
struct login_key {
    uint64_t a, b;
};

struct login_cache *login_cache_new(void);
void login_cache_free(struct login_cache *c);
struct login_key login_cache_key(const struct login_cache *c, struct slice instance,
                                 struct slice user, struct slice password);
/* Of logins by SCRAM, which show no password: one that no password has. */
struct login_key login_cache_key_scram(const struct login_cache *c, struct slice instance,
                                       struct slice user, uint64_t lineage);
/* A counted identity, or NULL. */
struct auth_identity *login_cache_get(struct login_cache *c, struct login_key key);
/* Takes its own reference. */
void login_cache_put(struct login_cache *c, struct login_key key, struct auth_identity *id);

#endif
