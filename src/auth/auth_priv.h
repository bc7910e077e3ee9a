/*
 * What the files of auth/ share. The settings in RAM are one immutable snapshot:
 *
 *   auth ─► snapshot ─► shelf of instances ─► policy (settings, declared topics, permissions of everyone)
 *                                          ├► shelf of groups
 *                                          └► 256 shelves of users ─► credential, ruleset
 *
 * A change copies the path from the snapshot to what changed and shares the rest; the pointer is swapped under a
 * lock that is held for three instructions. Identities reference a user and a policy: they stay true to what they
 * were made from until they are refreshed.
 */
#ifndef TMQ_AUTH_AUTH_PRIV_H
#define TMQ_AUTH_AUTH_PRIV_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include "auth/auth.h"
#include "auth/password.h"
#include "auth/permission.h"
#include "auth/shelf.h"

enum {
    USER_SHARDS = 256,
    INSTANCE_ID_MAX = 64,
    CLIENT_ID_MAX = 1024,       /* client_id: any */
    CLIENT_ID_GROUPED_MAX = 64, /* client_id: grouped, GROUP@@@DEVICE in all */
    USER_NAME_MAX = 256,
    PARENT_TOPIC_MAX = 255,
    GROUP_MIN = 7,
    GROUP_MAX = 64
};

struct auth_user {
    struct entry e;          /* name */
    struct credential *cred; /* counted; NULL: everyone, anonymous clients */
    struct ruleset *rules;
};

struct auth_policy {
    struct entry e; /* name: the instance's ID */
    struct auth_instance_info info;
    struct shelf *topics;
    struct auth_user *everyone, *anonymous; /* their permissions; no credential */
};

struct auth_instance {
    struct entry e; /* name: the instance's ID */
    struct auth_policy *policy;
    struct shelf *groups;
    struct shelf *users[USER_SHARDS]; /* by the hash of the name */
};

struct auth_snapshot {
    struct entry e;
    uint64_t version;
    struct shelf *instances;
};

struct auth_identity {
    struct entry e;
    _Atomic uint64_t version; /* of the newest snapshot it was compared with */
    bool own;                 /* the broker's: nothing is denied to it */
    bool open_topics;
    bool unrestricted;          /* --allow-anonymous: '$' topics, too */
    bool all[2];                /* publish, subscribe: everything is allowed but '$' topics */
    struct auth_user *user;     /* counted */
    struct auth_policy *policy; /* counted */
    const struct auth_user
        *everyone; /* the policy's, or NULL: --allow-anonymous, nothing restricts it */
};

struct console_account {
    char *name;
    char *hash; /* crypto_pwhash_str */
};

struct auth {
    struct auth_io io;
    bool allow_anonymous;
    pthread_mutex_t writer;       /* one change at a time; held over the fsync */
    pthread_mutex_t current_lock; /* guards `current`; held for a load and an increment */
    struct auth_snapshot *current;
    _Atomic uint64_t version; /* of `current` */
    struct login_cache *logins;
    _Atomic uint64_t cache_hits, cache_misses;
    struct auth_user *anonymous;
    uint8_t password_key[PASSWORD_KEY_BYTES];
    /* Set by auth_open(), then constant. */
    struct auth_bootstrap bootstrap; /* strings are ours */
    struct console_account *accounts;
    size_t account_count;
    pthread_mutex_t argon2; /* one at a time: each takes 64 MiB */
};

/* ---- snapshot.c ---- */

/* These take over the references they are given. */
struct auth_user *user_new(struct slice name, uint64_t created_ms, struct credential *cred,
                           const struct permission *items, size_t count);
struct auth_policy *policy_new(const struct auth_instance_info *info, struct shelf *topics);
/* A copy that shares everything; to be changed before it is published. */
struct auth_policy *policy_copy(const struct auth_policy *p);
/* "*" or "$anonymous" to where the policy has it, NULL for any other name. */
struct auth_user **policy_subject(struct auth_policy *p, struct slice name);
/* Anonymous clients where nothing else was said: they may do everything. */
struct auth_user *user_new_anonymous(void);
/* An instance without users and groups; `users` shelves may be replaced by instance_put(). */
struct auth_instance *instance_new(struct auth_policy *policy);
/* A copy that shares everything; to be changed before it is published. */
struct auth_instance *instance_copy(const struct auth_instance *inst);
struct shelf **instance_user_shard(struct auth_instance *inst, struct slice user);
struct auth_user *instance_user(const struct auth_instance *inst, struct slice name); /* borrowed */
/* Replaces *slot, taking over `next`. */
void shelf_replace(struct shelf **slot, struct shelf *next);
struct auth_snapshot *snapshot_new(struct shelf *instances, uint64_t version);
struct auth_instance *snapshot_instance(const struct auth_snapshot *s, struct slice id);
/* The present snapshot, counted: entry_unref(&s->e). Any thread. */
struct auth_snapshot *snapshot_take(struct auth *a);
/* Makes `next` (taken over) the present one. Holder of a->writer, or before other threads start. */
void snapshot_publish(struct auth *a, struct auth_snapshot *next);

/* ---- permission.c ---- */

/* Fills `all` when the other members are set. */
void identity_compile(struct auth_identity *id);

/* ---- auth.c, user.c ---- */

/*
 * `user` has proved to be one with a credential of that lineage, without showing a password: checks what else a CONNECT
 * has to pass and fills *out.
 */
void auth_accept_proved(struct auth *a, const struct auth_request *rq, struct slice user,
                        uint64_t lineage, struct auth_result *out);
/* True when a client of that instance may have that ID; else *out says why not. */
bool auth_accept_client(struct auth *a, const struct auth_request *rq, struct auth_result *out);
/* `user` has just shown its password: what was kept of it in an old form is replaced. When that fails the next login
 * tries again. */
void user_renew(struct auth *a, struct slice instance, const struct auth_user *user,
                struct slice password);

/* ---- errors and text ---- */

/* snprintf that never ends inside a UTF-8 character. */
void text_format(char *out, size_t cap, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
/* Arguments for "%.*s": at most 100 bytes of a slice. */
int text_width(struct slice s);
const char *text_bytes(struct slice s);
/* Fills *err (may be NULL) and returns `code`. */
int auth_fail(struct auth_error *err, int code, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));

/* ---- exchange.c: methods of enhanced authentication ---- */

/* One method; its state begins with a struct auth_exchange. */
struct auth_method {
    const char *name; /* as it stands in CONNECT */
    /* NULL: *out says why. */
    struct auth_exchange *(*make)(struct auth *a, const struct auth_request *rq,
                                  struct auth_result *out);
    void (*free)(struct auth_exchange *x);
    enum auth_step (*step)(struct auth_exchange *x, struct slice data, struct slice *answer,
                           struct auth_result *out);
};
struct auth_exchange {
    const struct auth_method *method;
    struct slice user; /* borrows from the method's state */
};
extern const struct auth_method auth_scram_sha_256;

/* ---- bootstrap.c ---- */

/* The first start: random credentials, the default instance and its user; saved in one step. */
int bootstrap_create(struct auth *a, struct auth_error *err) __attribute__((warn_unused_result));

/* Whether it is a group's name: GID_ or GID-, 7 to 64 of [A-Za-z0-9_-]. */
bool group_name_valid(struct slice gid);

#endif
