/*
 * h(0) = BLAKE2b(key, salt | password), h(i) = BLAKE2b(key, h(i-1) | salt). The key is random, made once for each
 * store: hashes that leak without it cannot be tried at all.
 *
 * An imported hash takes as long as its own kind does, so until its user's first login here it can be told from an
 * unknown one by a clock; that is as it was on the broker it comes from.
 *
 * Why not crypto_pwhash with small limits: its cheapest setting still needs 8 KiB and a millisecond.
 */
#include "auth/password.h"

#include <pthread.h>
#include <sodium.h>
#include <stdlib.h>

#include "auth/auth.h"
#include "base/bytes.h"
#include "base/mem.h"

enum { CACHE_SETS = 16384, CACHE_WAYS = 4, CACHE_LOCKS = 64 };

static void free_credential(struct entry *e)
{
    struct credential *c = (struct credential *)(void *)e;
    entry_fini(e);
    sodium_memzero(c->hash, sizeof c->hash);
    if (c->scram != NULL) {
        sodium_memzero(c->scram, sizeof *c->scram);
        free(c->scram);
    }
    free(c->foreign);
    free(c);
}

struct credential *credential_alloc(void)
{
    struct credential *c = mem_new(1, sizeof *c);
    entry_init(&c->e, free_credential, slice_str(""), 0);
    return c;
}

static void stretch(const uint8_t salt[PASSWORD_SALT_BYTES], uint32_t rounds,
                    const uint8_t key[PASSWORD_KEY_BYTES], struct slice password,
                    uint8_t out[PASSWORD_HASH_BYTES])
{
    crypto_generichash_state st;
    (void)crypto_generichash_init(&st, key, PASSWORD_KEY_BYTES, PASSWORD_HASH_BYTES);
    (void)crypto_generichash_update(&st, salt, PASSWORD_SALT_BYTES);
    (void)crypto_generichash_update(&st, password.p, password.n);
    (void)crypto_generichash_final(&st, out, PASSWORD_HASH_BYTES);
    uint8_t block[PASSWORD_HASH_BYTES + PASSWORD_SALT_BYTES];
    memcpy(block + PASSWORD_HASH_BYTES, salt, PASSWORD_SALT_BYTES);
    for (uint32_t i = 1; i < rounds; i++) {
        memcpy(block, out, PASSWORD_HASH_BYTES);
        (void)crypto_generichash(out, PASSWORD_HASH_BYTES, block, sizeof block, key,
                                 PASSWORD_KEY_BYTES);
    }
}

/* Salts are random and fresh, so a hash is a name for what was made of it. */
void credential_loaded(struct credential *c)
{
    c->lineage = get_le64(c->foreign != NULL ? c->foreign->hash : c->hash);
}

static void derive_scram(struct credential *c, struct slice password)
{
    if (!scram_text_usable(password)) {
        c->scram_state = SCRAM_UNUSABLE;
        return;
    }
    c->scram = mem_new(1, sizeof *c->scram);
    c->scram->rounds = SCRAM_ROUNDS;
    randombytes_buf(c->scram->salt, sizeof c->scram->salt);
    scram_derive(c->scram, password);
    c->scram_state = SCRAM_KEYS;
}

struct credential *credential_new(const uint8_t key[PASSWORD_KEY_BYTES], struct slice password)
{
    struct credential *c = credential_alloc();
    randombytes_buf(c->salt, sizeof c->salt);
    c->rounds = PASSWORD_ROUNDS;
    stretch(c->salt, c->rounds, key, password, c->hash);
    credential_loaded(c);
    derive_scram(c, password);
    return c;
}

struct credential *credential_import(const struct foreign_hash *h)
{
    struct credential *c = credential_alloc();
    c->foreign = mem_new(1, sizeof *c->foreign);
    *c->foreign = *h;
    credential_loaded(c);
    return c;
}

struct credential *credential_renew(const struct credential *c,
                                    const uint8_t key[PASSWORD_KEY_BYTES], struct slice password)
{
    struct credential *next = credential_new(key, password);
    next->lineage = c->lineage;
    return next;
}

bool credential_is_old(const struct credential *c)
{
    return c->foreign != NULL || c->scram_state == SCRAM_LATER;
}

bool credential_verify(const struct credential *c, const uint8_t key[PASSWORD_KEY_BYTES],
                       struct slice password)
{
    static const struct credential nobody = {.rounds = PASSWORD_ROUNDS};
    const struct credential *with = c == NULL ? &nobody : c;
    uint8_t hash[PASSWORD_HASH_BYTES];
    if (with->foreign != NULL) {
        return foreign_verify(with->foreign, password);
    }
    stretch(with->salt, with->rounds, key, password, hash);
    bool same = sodium_memcmp(hash, with->hash, sizeof hash) == 0;
    sodium_memzero(hash, sizeof hash);
    return same && c != NULL;
}

/* ---- the cache of logins ---- */

struct cache_slot {
    struct login_key key;
    struct auth_identity *id; /* counted; NULL: free */
};

struct login_cache {
    uint8_t secret[PASSWORD_KEY_BYTES];
    pthread_mutex_t
        locks[CACHE_LOCKS]; /* held for a few loads and stores, never over a hash or I/O */
    struct cache_slot (*sets)[CACHE_WAYS];
};

struct login_cache *login_cache_new(void)
{
    struct login_cache *c = mem_new(1, sizeof *c);
    randombytes_buf(c->secret, sizeof c->secret);
    for (size_t i = 0; i < CACHE_LOCKS; i++) {
        (void)pthread_mutex_init(&c->locks[i], NULL);
    }
    c->sets = mem_new(CACHE_SETS, sizeof *c->sets); /* calloc: pages come when touched */
    return c;
}

void login_cache_free(struct login_cache *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < CACHE_SETS; i++) {
        for (size_t w = 0; w < CACHE_WAYS; w++) {
            if (c->sets[i][w].id != NULL) {
                auth_identity_unref(c->sets[i][w].id);
            }
        }
    }
    for (size_t i = 0; i < CACHE_LOCKS; i++) {
        (void)pthread_mutex_destroy(&c->locks[i]);
    }
    free(c->sets);
    sodium_memzero(c->secret, sizeof c->secret);
    free(c);
}

/* Lengths come first, so that no two triples have the same bytes; `kind` keeps the kinds of logins apart. */
static struct login_key cache_key(const struct login_cache *c, uint8_t kind, struct slice instance,
                                  struct slice user, struct slice secret)
{
    uint8_t head[17];
    head[0] = kind;
    put_le64(head + 1, instance.n);
    put_le64(head + 9, user.n);
    uint8_t out[16];
    crypto_generichash_state st;
    (void)crypto_generichash_init(&st, c->secret, sizeof c->secret, sizeof out);
    (void)crypto_generichash_update(&st, head, sizeof head);
    (void)crypto_generichash_update(&st, instance.p, instance.n);
    (void)crypto_generichash_update(&st, user.p, user.n);
    (void)crypto_generichash_update(&st, secret.p, secret.n);
    (void)crypto_generichash_final(&st, out, sizeof out);
    return (struct login_key){.a = get_le64(out), .b = get_le64(out + 8)};
}

struct login_key login_cache_key(const struct login_cache *c, struct slice instance,
                                 struct slice user, struct slice password)
{
    return cache_key(c, 0, instance, user, password);
}

struct login_key login_cache_key_scram(const struct login_cache *c, struct slice instance,
                                       struct slice user, uint64_t lineage)
{
    uint8_t secret[8];
    put_le64(secret, lineage);
    return cache_key(c, 1, instance, user, slice_make(secret, sizeof secret));
}

static bool key_eq(struct login_key x, struct login_key y)
{
    return x.a == y.a && x.b == y.b;
}

struct auth_identity *login_cache_get(struct login_cache *c, struct login_key key)
{
    struct cache_slot *set = c->sets[key.a % CACHE_SETS];
    pthread_mutex_t *lock = &c->locks[key.a % CACHE_LOCKS];
    struct auth_identity *found = NULL;
    (void)pthread_mutex_lock(lock);
    for (size_t w = 0; w < CACHE_WAYS && found == NULL; w++) {
        if (set[w].id != NULL && key_eq(set[w].key, key)) {
            found = set[w].id;
            auth_identity_ref(found);
        }
    }
    (void)pthread_mutex_unlock(lock);
    return found;
}

/* Moves the slots before `at` back by one: slot 0 is free, what was at `at` is gone. */
static void make_room(struct cache_slot *set, size_t at)
{
    for (size_t w = at; w > 0; w--) {
        set[w] = set[w - 1];
    }
}

void login_cache_put(struct login_cache *c, struct login_key key, struct auth_identity *id)
{
    struct cache_slot *set = c->sets[key.a % CACHE_SETS];
    pthread_mutex_t *lock = &c->locks[key.a % CACHE_LOCKS];
    auth_identity_ref(id);
    (void)pthread_mutex_lock(lock);
    size_t at = 0;
    while (at < CACHE_WAYS - 1 && set[at].id != NULL && !key_eq(set[at].key, key)) {
        at++;
    }
    struct auth_identity *old = set[at].id;
    make_room(set, at);
    set[0] = (struct cache_slot){.key = key, .id = id};
    (void)pthread_mutex_unlock(lock);
    if (old != NULL) {
        auth_identity_unref(old);
    }
}
