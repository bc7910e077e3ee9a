/*
 * Opening, and who may connect.
 *
 * Order of the checks of a CONNECT; the first that fails is the cause (CONNACK of 3.1.1, reason of 5.0):
 *   1. the instance exists                       auth.instance_unknown  5  0x87
 *   2. the client ID has the form it must have   protocol.client_id     2  0x85
 *   3. no user name: anonymous clients may come  auth.anonymous         5  0x87
 *   4. the user exists                           auth.unknown_identity  4  0x86
 *   5. the password fits (a missing one never)   auth.bad_password      4  0x86
 *   6. `grouped`: the group exists               auth.group_unknown     5  0x87
 * The form comes first because it is no secret and costs nothing; the group comes last because only who proved to be
 * a user learns which groups exist. On the wire 4 and 5 look the same and take the same time.
 *
 * With --allow-anonymous a client without a user name skips 2 (but for the 1,024 bytes of `any`), 3 and 6, and
 * its topics need no declared parent and may begin with '$' (but to $SYS nobody publishes). With the instance's own `allow_anonymous` only 3 is skipped: its other
 * settings hold. With its `unknown_users: anonymous` beside it, a user name that nobody has is as good as none.
 *
 * Identities: shared by all connections that logged in with the same credentials, through the cache of logins.
 */
#include "auth/auth.h"

#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "auth/auth_priv.h"
#include "auth/settings.h"
#include "base/hash.h"
#include "base/mem.h"

enum { REASON_CLIENT_ID = 0x85, REASON_BAD_PASSWORD = 0x86, REASON_NOT_AUTHORIZED = 0x87 };

/* ---- open and close ---- */

int auth_open(struct auth **out, const struct auth_options *o, struct auth_error *err)
{
    if (sodium_init() < 0) {
        return auth_fail(err, -EIO, "", "libsodium finds no source of random numbers");
    }
    struct auth *a = mem_new(1, sizeof *a);
    a->io = o->io;
    a->allow_anonymous = o->allow_anonymous;
    (void)pthread_mutex_init(&a->writer, NULL);
    (void)pthread_mutex_init(&a->current_lock, NULL);
    (void)pthread_mutex_init(&a->argon2, NULL);
    a->logins = login_cache_new();
    a->anonymous = user_new_anonymous();
    bool empty = false;
    int rc = settings_load(a, &empty, err);
    if (rc == 0 && empty) {
        rc = bootstrap_create(a, err);
    }
    if (rc != 0) {
        auth_close(a);
        return rc;
    }
    *out = a;
    return 0;
}

static void free_secret(const char *s)
{
    char *own = (char *)(uintptr_t)s; /* made by us, const for the readers */
    if (own != NULL) {
        sodium_memzero(own, strlen(own));
        free(own);
    }
}

static void free_bootstrap(struct auth_bootstrap *b)
{
    free_secret(b->region);
    free_secret(b->instance_id);
    free_secret(b->console_user);
    free_secret(b->console_password);
    free_secret(b->api_token);
    free_secret(b->access_key_id);
    free_secret(b->access_key_secret);
    free_secret(b->mqtt_username);
    free_secret(b->mqtt_password);
}

void auth_close(struct auth *a)
{
    if (a == NULL) {
        return;
    }
    login_cache_free(a->logins);
    entry_unref(a->current == NULL ? NULL : &a->current->e);
    entry_unref(&a->anonymous->e);
    for (size_t i = 0; i < a->account_count; i++) {
        free(a->accounts[i].name);
        free(a->accounts[i].hash);
    }
    free(a->accounts);
    free_bootstrap(&a->bootstrap);
    sodium_memzero(a->password_key, sizeof a->password_key);
    (void)pthread_mutex_destroy(&a->writer);
    (void)pthread_mutex_destroy(&a->current_lock);
    (void)pthread_mutex_destroy(&a->argon2);
    free(a);
}

void auth_bootstrap(struct auth *a, struct auth_bootstrap *out)
{
    *out = a->bootstrap;
}

void auth_stats(const struct auth *a, struct auth_stats *out)
{
    *out =
        (struct auth_stats){.hits = atomic_load_explicit(&a->cache_hits, memory_order_relaxed),
                            .misses = atomic_load_explicit(&a->cache_misses, memory_order_relaxed)};
}

uint64_t auth_version(const struct auth *a)
{
    return atomic_load_explicit(&a->version, memory_order_relaxed);
}

/* ---- identities ---- */

static void free_identity(struct entry *e)
{
    struct auth_identity *id = (struct auth_identity *)(void *)e;
    entry_unref(&id->user->e);
    entry_unref(&id->policy->e);
    entry_fini(e);
    free(id);
}

/* `unrestricted`: by --allow-anonymous. */
static struct auth_identity *identity_new(struct auth_user *user, struct auth_policy *policy,
                                          bool unrestricted, uint64_t version)
{
    struct auth_identity *id = mem_new(1, sizeof *id);
    entry_init(&id->e, free_identity, slice_str(""), 0);
    atomic_init(&id->version, version);
    id->unrestricted = unrestricted;
    id->open_topics = unrestricted || policy->info.topics == TOPICS_OPEN;
    id->user = user;
    entry_ref(&user->e);
    id->policy = policy;
    entry_ref(&policy->e);
    id->everyone = unrestricted ? NULL : policy->everyone;
    identity_compile(id);
    return id;
}

struct auth_identity *auth_identity_own(struct auth *a)
{
    struct auth_snapshot *s = snapshot_take(a);
    const struct auth_instance *inst = snapshot_instance(s, slice_str(a->bootstrap.instance_id));
    assert(inst != NULL); /* the first one; no request deletes it */
    struct auth_identity *id = identity_new(a->anonymous, inst->policy, true, s->version);
    id->own = true;
    entry_unref(&s->e);
    return id;
}

void auth_identity_ref(struct auth_identity *id)
{
    entry_ref(&id->e);
}

void auth_identity_unref(struct auth_identity *id)
{
    entry_unref(id == NULL ? NULL : &id->e);
}

uint64_t auth_identity_version(const struct auth_identity *id)
{
    return atomic_load_explicit(&id->version, memory_order_relaxed);
}

struct slice auth_identity_user(const struct auth_identity *id)
{
    return id->user->e.name;
}

struct slice auth_identity_instance(const struct auth_identity *id)
{
    return id->policy->e.name;
}

enum auth_on_denied auth_identity_on_denied(const struct auth_identity *id)
{
    return id->policy->info.on_denied;
}

enum auth_subscriptions auth_identity_subscriptions(const struct auth_identity *id)
{
    return id->policy->info.subscriptions;
}

/* Whose permissions clients without a user name have. */
static struct auth_user *anonymous_user(const struct auth *a, const struct auth_instance *inst)
{
    return a->allow_anonymous ? a->anonymous : inst->policy->anonymous;
}

struct auth_identity *auth_identity_of(struct auth *a, struct slice instance, struct slice user)
{
    struct auth_snapshot *s = snapshot_take(a);
    const struct auth_instance *inst = snapshot_instance(s, instance);
    struct auth_user *found = NULL;
    struct auth_identity *id = NULL;
    bool anonymous = user.n == 0;
    if (inst != NULL && !anonymous) {
        found = instance_user(inst, user);
    } else if (inst != NULL && (a->allow_anonymous || inst->policy->info.allow_anonymous)) {
        found = anonymous_user(a, inst);
    }
    if (found != NULL) {
        id = identity_new(found, inst->policy, anonymous && a->allow_anonymous, s->version);
    }
    entry_unref(&s->e);
    return id;
}

/*
 * Makes *id what it would be in snapshot `s`; counted. -EACCES: its login does not hold any more.
 *
 * When nothing of it changed the version alone is raised, for all who share it. Two threads may compare it with
 * different snapshots; the lower version may win, which costs a refresh and is never wrong.
 */
static int identity_update(const struct auth *a, const struct auth_snapshot *s,
                           struct auth_identity **id)
{
    struct auth_identity *old = *id;
    if (old->own) {
        atomic_store_explicit(&old->version, s->version, memory_order_relaxed);
        return 0;
    }
    const struct auth_instance *inst = snapshot_instance(s, old->policy->e.name);
    if (inst == NULL) {
        return -EACCES;
    }
    bool anonymous = old->user->cred == NULL;
    if (anonymous && !a->allow_anonymous && !inst->policy->info.allow_anonymous) {
        return -EACCES;
    }
    struct auth_user *user =
        anonymous ? anonymous_user(a, inst) : instance_user(inst, old->user->e.name);
    if (user == NULL || (!anonymous && user->cred->lineage != old->user->cred->lineage)) {
        return -EACCES;
    }
    if (user == old->user && inst->policy == old->policy) {
        atomic_store_explicit(&old->version, s->version, memory_order_relaxed);
        return 0;
    }
    *id = identity_new(user, inst->policy, anonymous && a->allow_anonymous, s->version);
    auth_identity_unref(old);
    return 0;
}

int auth_identity_refresh(struct auth *a, struct auth_identity **id)
{
    if (auth_identity_version(*id) == auth_version(a)) {
        return 0;
    }
    struct auth_snapshot *s = snapshot_take(a);
    int rc = identity_update(a, s, id);
    entry_unref(&s->e);
    return rc;
}

/* ---- CONNECT ---- */

/* One check of a request against one snapshot. */
struct checking {
    struct auth *a;
    const struct auth_request *rq;
    struct auth_snapshot *s;
    const struct auth_instance *inst;
    struct slice group; /* of the client ID, when the instance is `grouped` */
    struct auth_result *out;
};

#define REFUSE(c, why, code, rc, ...)                                                              \
    do {                                                                                           \
        (c)->out->cause = (why);                                                                   \
        (c)->out->connack = (code);                                                                \
        (c)->out->reason = (rc);                                                                   \
        text_format((c)->out->rule, sizeof(c)->out->rule, __VA_ARGS__);                            \
    } while (0)

static bool check_instance(struct checking *c)
{
    struct slice id =
        c->rq->instance.n == 0 ? slice_str(c->a->bootstrap.instance_id) : c->rq->instance;
    c->inst = snapshot_instance(c->s, id);
    if (c->inst == NULL) {
        REFUSE(c, CAUSE_AUTH_INSTANCE_UNKNOWN, 5, REASON_NOT_AUTHORIZED,
               "instance \"%.*s\" does not exist", text_width(id), text_bytes(id));
        return false;
    }
    return true;
}

static bool anonymous_by_option(const struct checking *c)
{
    return c->a->allow_anonymous && !c->rq->has_username;
}

static bool check_client_id(struct checking *c)
{
    struct slice id = c->rq->client_id;
    if (c->inst->policy->info.client_id == CLIENT_ID_ANY || anonymous_by_option(c)) {
        if (id.n > CLIENT_ID_MAX) {
            REFUSE(c, CAUSE_PROTOCOL_CLIENT_ID, 2, REASON_CLIENT_ID,
                   "client ID has %zu bytes, at most %d", id.n, CLIENT_ID_MAX);
            return false;
        }
        return true;
    }
    const uint8_t *at = id.n == 0 ? NULL : memmem(id.p, id.n, "@@@", 3);
    size_t group = at == NULL ? 0 : (size_t)(at - id.p);
    if (at == NULL || group == 0 || group + 3 == id.n || id.n > CLIENT_ID_GROUPED_MAX) {
        REFUSE(c, CAUSE_PROTOCOL_CLIENT_ID, 2, REASON_CLIENT_ID,
               "client_id: grouped wants GROUP@@@DEVICE of at most %d bytes",
               CLIENT_ID_GROUPED_MAX);
        return false;
    }
    c->group = slice_make(id.p, group);
    return true;
}

static bool check_group(struct checking *c)
{
    if (c->group.n == 0 || shelf_find(c->inst->groups, c->group) != NULL) {
        return true;
    }
    REFUSE(c, CAUSE_AUTH_GROUP_UNKNOWN, 5, REASON_NOT_AUTHORIZED, "group \"%.*s\" does not exist",
           text_width(c->group), text_bytes(c->group));
    return false;
}

/* Takes over `id`. */
static void accept_as(struct checking *c, struct auth_identity *id, const char *rule)
{
    if (!check_group(c)) {
        auth_identity_unref(id);
        return;
    }
    c->out->ok = true;
    c->out->identity = id;
    size_t n = strlen(rule);
    assert(n < sizeof c->out->rule);
    memcpy(c->out->rule, rule, n + 1); /* of every login: no printf() */
}

/* Anonymous clients share an identity, too: kept in the cache under a key that no user's keyed hash has. */
static struct auth_identity *anonymous_identity(struct checking *c)
{
    struct login_key key = {.a = hash64(c->inst->e.name), .b = 0};
    struct auth_identity *id = login_cache_get(c->a->logins, key);
    if (id != NULL && id->policy == c->inst->policy) {
        return id;
    }
    auth_identity_unref(id);
    id = identity_new(anonymous_user(c->a, c->inst), c->inst->policy, c->a->allow_anonymous,
                      c->s->version);
    login_cache_put(c->a->logins, key, id);
    return id;
}

/* The user of the request; NULL also for names that no user can have. */
static struct auth_user *requested_user(const struct checking *c)
{
    struct slice name = c->rq->username;
    return name.n == 0 || name.n > USER_NAME_MAX ? NULL : instance_user(c->inst, name);
}

/* It says nothing of who it is, or a user name that counts for nothing. */
static bool is_anonymous(const struct checking *c)
{
    const struct auth_instance_info *info = &c->inst->policy->info;
    return !c->rq->has_username ||
           (info->allow_anonymous && info->unknown_users == UNKNOWN_USERS_ANONYMOUS &&
            requested_user(c) == NULL);
}

static void check_anonymous(struct checking *c)
{
    if (c->a->allow_anonymous) {
        accept_as(c, anonymous_identity(c), "anonymous: --allow-anonymous");
    } else if (c->inst->policy->info.allow_anonymous) {
        accept_as(c, anonymous_identity(c), "anonymous: allow_anonymous of the instance");
    } else {
        REFUSE(c, CAUSE_AUTH_ANONYMOUS, 5, REASON_NOT_AUTHORIZED,
               "anonymous clients are refused: allow_anonymous is false");
    }
}

static void refuse_unknown(struct checking *c)
{
    REFUSE(c, CAUSE_AUTH_UNKNOWN_IDENTITY, 4, REASON_BAD_PASSWORD, "no user \"%.*s\"",
           text_width(c->rq->username), text_bytes(c->rq->username));
}

static void refuse_password(struct checking *c, const char *how)
{
    REFUSE(c, CAUSE_AUTH_BAD_PASSWORD, 4, REASON_BAD_PASSWORD, "%s of user \"%.*s\"", how,
           text_width(c->rq->username), text_bytes(c->rq->username));
}

/* Decides without hashing; false when that is not possible. */
static bool check_user_fast(struct checking *c)
{
    struct auth_user *user = requested_user(c);
    if (!c->rq->has_password) {
        if (user == NULL) {
            refuse_unknown(c);
        } else {
            refuse_password(c, "missing password");
        }
        return true;
    }
    if (user == NULL || c->rq->password.n > PASSWORD_MAX) {
        return false; /* slowly, so that unknown users take as long as known ones */
    }
    struct login_key key =
        login_cache_key(c->a->logins, c->inst->e.name, c->rq->username, c->rq->password);
    struct auth_identity *id = login_cache_get(c->a->logins, key);
    if (id == NULL) {
        return false;
    }
    struct auth_identity *before = id;
    if (identity_update(c->a, c->s, &id) != 0) {
        auth_identity_unref(id);
        return false;
    }
    if (id != before) {
        login_cache_put(c->a->logins, key, id);
    }
    atomic_fetch_add_explicit(&c->a->cache_hits, 1, memory_order_relaxed);
    accept_as(c, id, "password");
    return true;
}

static void check_user_slow(struct checking *c)
{
    struct auth_user *user = requested_user(c);
    struct slice password = c->rq->password;
    atomic_fetch_add_explicit(&c->a->cache_misses, 1, memory_order_relaxed);
    bool fits = credential_verify(user == NULL ? NULL : user->cred, c->a->password_key, password);
    if (user == NULL) {
        refuse_unknown(c);
    } else if (!fits) {
        refuse_password(c, "wrong password");
    } else {
        struct auth_identity *id = identity_new(user, c->inst->policy, false, c->s->version);
        struct login_key key =
            login_cache_key(c->a->logins, c->inst->e.name, c->rq->username, password);
        login_cache_put(c->a->logins, key, id);
        accept_as(c, id, "password");
        if (credential_is_old(user->cred)) {
            user_renew(c->a, c->inst->e.name, user, password);
        }
    }
}

/* Its certificate says who it is; what it says of itself in CONNECT counts for nothing. */
static void check_proven(struct checking *c)
{
    struct slice name = c->rq->proven_username;
    struct auth_user *user = name.n > USER_NAME_MAX ? NULL : instance_user(c->inst, name);
    if (user == NULL) {
        REFUSE(c, CAUSE_AUTH_CERTIFICATE, 5, REASON_NOT_AUTHORIZED,
               "no user \"%.*s\", as the client certificate says", text_width(name),
               text_bytes(name));
        return;
    }
    accept_as(c, identity_new(user, c->inst->policy, false, c->s->version), "client certificate");
}

/* True when decided without a password hash. */
static bool check_until_hash(struct checking *c)
{
    if (!check_instance(c) || !check_client_id(c)) {
        return true;
    }
    if (c->rq->proven_username.n > 0) {
        check_proven(c);
        return true;
    }
    if (is_anonymous(c)) {
        check_anonymous(c);
        return true;
    }
    return check_user_fast(c);
}

static bool check(struct auth *a, const struct auth_request *rq, struct auth_result *out, bool slow)
{
    *out = (struct auth_result){0};
    struct auth_snapshot *s = snapshot_take(a);
    struct checking c = {.a = a, .rq = rq, .s = s, .out = out};
    bool decided = check_until_hash(&c);
    if (!decided && slow) {
        check_user_slow(&c);
        decided = true;
    }
    entry_unref(&s->e);
    return decided;
}

bool auth_check_fast(struct auth *a, const struct auth_request *rq, struct auth_result *out)
{
    return check(a, rq, out, false);
}

void auth_check(struct auth *a, const struct auth_request *rq, struct auth_result *out)
{
    bool decided = check(a, rq, out, true);
    assert(decided);
    (void)decided;
}

/* ---- logins by other proofs than a password ---- */

/* True when instance and client ID are as they must be; the snapshot is the caller's to give back. */
static bool checking_begin(struct checking *c, struct auth *a, const struct auth_request *rq,
                           struct auth_result *out)
{
    *out = (struct auth_result){0};
    *c = (struct checking){.a = a, .rq = rq, .s = snapshot_take(a), .out = out};
    return check_instance(c) && check_client_id(c);
}

bool auth_accept_client(struct auth *a, const struct auth_request *rq, struct auth_result *out)
{
    struct checking c;
    bool good = checking_begin(&c, a, rq, out);
    entry_unref(&c.s->e);
    return good;
}

/* The identity that other connections of this login share. */
static struct auth_identity *proved_identity(struct checking *c, struct auth_user *user)
{
    struct login_key key =
        login_cache_key_scram(c->a->logins, c->inst->e.name, user->e.name, user->cred->lineage);
    struct auth_identity *id = login_cache_get(c->a->logins, key);
    if (id != NULL && identity_update(c->a, c->s, &id) == 0) {
        return id;
    }
    auth_identity_unref(id);
    id = identity_new(user, c->inst->policy, false, c->s->version);
    login_cache_put(c->a->logins, key, id);
    return id;
}

void auth_accept_proved(struct auth *a, const struct auth_request *rq, struct slice name,
                        uint64_t lineage, struct auth_result *out)
{
    struct checking c;
    if (checking_begin(&c, a, rq, out)) {
        struct auth_user *user = instance_user(c.inst, name);
        if (user == NULL || user->cred->lineage != lineage) {
            REFUSE(&c, CAUSE_AUTH_REVOKED, 5, REASON_NOT_AUTHORIZED,
                   "user \"%.*s\" was changed meanwhile", text_width(name), text_bytes(name));
        } else {
            accept_as(&c, proved_identity(&c, user), "SCRAM-SHA-256");
        }
    }
    entry_unref(&c.s->e);
}

/* ---- console and tokens ---- */

bool auth_console_login(struct auth *a, struct slice user, struct slice password)
{
    /* The same work for an unknown name: a hash of nothing that anybody knows. */
    static const char nobody[] = "$argon2id$v=19$m=65536,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$"
                                 "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
    const char *hash = NULL;
    if (password.n > PASSWORD_MAX) {
        return false;
    }
    for (size_t i = 0; i < a->account_count; i++) {
        if (slice_eq(slice_str(a->accounts[i].name), user)) {
            hash = a->accounts[i].hash;
        }
    }
    (void)pthread_mutex_lock(&a->argon2);
    int rc =
        crypto_pwhash_str_verify(hash == NULL ? nobody : hash, text_bytes(password), password.n);
    (void)pthread_mutex_unlock(&a->argon2);
    return rc == 0 && hash != NULL;
}

bool auth_token_valid(struct auth *a, struct slice token)
{
    uint8_t given[32];
    uint8_t right[32];
    struct slice t = slice_str(a->bootstrap.api_token);
    if (token.n > PASSWORD_MAX) {
        return false;
    }
    /* Compared as hashes: the length tells nothing either. */
    (void)crypto_generichash(given, sizeof given, token.p, token.n, a->password_key,
                             sizeof a->password_key);
    (void)crypto_generichash(right, sizeof right, t.p, t.n, a->password_key,
                             sizeof a->password_key);
    return sodium_memcmp(given, right, sizeof given) == 0;
}
