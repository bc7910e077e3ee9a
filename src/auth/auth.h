/*
 * Who may connect, publish and subscribe: instances, groups, declared topics, users, permissions, console
 * accounts and API tokens. Kept in the store (STORE_SETTINGS), read from an immutable snapshot in RAM.
 * Every decision names its rule.
 *
 * Threads: decisions from any thread, without a lock that a loop could wait on; changes from HTTP threads, one
 * at a time, durable (fsync) before they return; every change raises auth_version().
 */
#ifndef TMQ_AUTH_AUTH_H
#define TMQ_AUTH_AUTH_H

#include <stdbool.h>
#include <stdint.h>

#include "base/cause.h"
#include "base/slice.h"

struct auth;

/* How settings are read and written: given by main, implemented over store/ (auth/ is below store/). */
struct auth_io {
    void *arg;
    /* Calls `fn` for each setting; 0 or negative errno. */
    int (*load)(void *arg, void (*fn)(void *ctx, struct slice key, struct slice value), void *ctx);
    /* One change, durable on return: value.p == NULL deletes. 0 or negative errno. */
    int (*save)(void *arg, const struct slice *keys, const struct slice *values, size_t count);
};

struct auth_error {
    int code;       /* 0, or -EINVAL (400), -ENOENT (404), -EEXIST (409), -EIO (500) */
    char field[32]; /* the member of the request at fault, "" if none */
    char text[256]; /* which value, what was expected */
};

struct auth_options {
    struct auth_io io;
    bool allow_anonymous; /* --allow-anonymous: for every instance, whatever its setting */
};

/* Loads the settings; on the first start makes region, default instance and bootstrap credentials. */
int auth_open(struct auth **out, const struct auth_options *o, struct auth_error *err)
    __attribute__((warn_unused_result));
void auth_close(struct auth *a);

/* The values of DATA/bootstrap.json in plain text; they are kept in the settings, so that the file has the
 * same values at every restart. Strings live as long as `a`. */
struct auth_bootstrap {
    const char *region, *instance_id, *console_user, *console_password, *api_token, *access_key_id,
        *access_key_secret, *mqtt_username, *mqtt_password;
};
void auth_bootstrap(struct auth *a, struct auth_bootstrap *out);

/* Logins that the cache of logins decided, and that it had not. Any thread. */
struct auth_stats {
    uint64_t hits, misses;
};
void auth_stats(const struct auth *a, struct auth_stats *out);

/* Grows with every change: a loop compares it with the identity's before it trusts a decision. Relaxed load. */
uint64_t auth_version(const struct auth *a);

/* ---- instances ---- */
enum auth_client_id_mode { CLIENT_ID_ANY, CLIENT_ID_GROUPED };
enum auth_topics_mode { TOPICS_OPEN, TOPICS_DECLARED };
enum auth_on_denied { ON_DENIED_CLOSE, ON_DENIED_REFUSE };
/* What a subscription needs: permissions that cover its filter; or none, each message needs one for its topic. */
enum auth_subscriptions { SUBSCRIPTIONS_COVERED, SUBSCRIPTIONS_FILTERED };
/* A user name that nobody has: refused, or as if there was none (where anonymous clients are let in). */
enum auth_unknown_users { UNKNOWN_USERS_REFUSED, UNKNOWN_USERS_ANONYMOUS };

struct auth_instance_info {
    char id[65], name[65], region[65];
    uint64_t created_ms;
    enum auth_client_id_mode client_id;
    enum auth_topics_mode topics;
    enum auth_on_denied on_denied;
    enum auth_subscriptions subscriptions;
    enum auth_unknown_users unknown_users;
    bool allow_anonymous;
};

/* ---- identities: an immutable, counted snapshot of one user's rights within its instance ---- */
struct auth_identity;
void auth_identity_ref(struct auth_identity *id);
void auth_identity_unref(struct auth_identity *id);
uint64_t auth_identity_version(const struct auth_identity *id);
/* The broker's own, for connections to itself: everything is allowed, and nothing revokes it. Counted. */
struct auth_identity *auth_identity_own(struct auth *a);
/* A user by its name ("": clients without one), who has proved nothing: for what is done while its client is away. Counted;
 * NULL: there is none. */
struct auth_identity *auth_identity_of(struct auth *a, struct slice instance, struct slice user);
struct slice auth_identity_user(const struct auth_identity *id);     /* "" for anonymous */
struct slice auth_identity_instance(const struct auth_identity *id); /* instance ID */
enum auth_on_denied auth_identity_on_denied(const struct auth_identity *id);
enum auth_subscriptions auth_identity_subscriptions(const struct auth_identity *id);
/*
 * The same user as of now: replaces *id (unref and ref) when settings changed. 0, or -EACCES when the user is
 * gone, its password changed, or anonymous is no longer allowed: the connection ends with auth.revoked.
 */
int auth_identity_refresh(struct auth *a, struct auth_identity **id)
    __attribute__((warn_unused_result));

struct auth_request {
    struct slice instance; /* of the listener: the default instance's ID; "" = the default */
    struct slice client_id;
    bool has_username, has_password;
    struct slice username, password;
    struct slice proven_username; /* by its certificate: it needs no password; .n == 0: none */
};
struct auth_result {
    bool ok;
    struct auth_identity *identity; /* counted, when ok */
    enum cause cause;               /* when not ok: CAUSE_AUTH_* or CAUSE_PROTOCOL_CLIENT_ID */
    uint8_t connack; /* 3.1.1 return code: 2 identifier, 4 bad user/password, 5 not authorized */
    uint8_t reason;  /* MQTT 5 reason code */
    char rule[128];  /* what decided, for the evidence; no secret */
};
/*
 * Decides at once when no password has to be hashed (anonymous, form of the client ID, group, cached success):
 * true and *out filled. False: call auth_check() on a worker. Never blocks; loops call it.
 */
bool auth_check_fast(struct auth *a, const struct auth_request *rq, struct auth_result *out);
/* Decides; hashes a password (about 50 µs, the same for unknown users). Worker threads. */
void auth_check(struct auth *a, const struct auth_request *rq, struct auth_result *out);

/*
 * Enhanced authentication of MQTT 5: the exchange of one method, step by step. Nothing here blocks; loops call it. An
 * exchange belongs to one thread and copies what it keeps of its arguments.
 */
struct auth_exchange;
enum auth_step {
    AUTH_STEP_CONTINUE, /* *answer goes out, the client's next words come with the next step */
    AUTH_STEP_OK,       /* *answer goes out, *out has the identity (ok, counted) */
    AUTH_STEP_FAILED    /* *out has cause, reason code and rule */
};
/* NULL: the method is not served, *out says so (auth.method, 0x8C). `rq` has the CONNECT's client ID and, if it had them, user
 * name and password. */
/* The user that it is about, as far as its messages told; "" before. Lives as long as `x`. */
struct slice auth_exchange_user(const struct auth_exchange *x);
struct auth_exchange *auth_exchange_new(struct auth *a, struct slice method,
                                        const struct auth_request *rq, struct auth_result *out);
void auth_exchange_free(struct auth_exchange *x);
/* `data` is the Authentication Data of the client's packet; data.p == NULL: it had none. *answer lives until the next call;
 * answer->p == NULL: a packet without data. No step is made behind one that did not say CONTINUE. */
enum auth_step auth_exchange_step(struct auth_exchange *x, struct slice data, struct slice *answer,
                                  struct auth_result *out);

enum auth_action { AUTH_PUBLISH = 1, AUTH_SUBSCRIBE = 2, AUTH_BOTH = 3 };
struct auth_decision {
    bool allowed;
    char rule[160]; /* "deny publish secret/#" or "no permission matches", for evidence */
};
/*
 * The rules of the user and those of everyone decide together. Deny beats allow; no match is denied. A topic filter is allowed when one allow rule covers it and no deny rule
 * overlaps it (a subscription never shows what a deny rule hides). In `topics: declared` the first level must be
 * a declared parent. `client_id` is what %c stands for in a rule, the user's name %u (permission.h). Any thread. The yes path formats nothing: `out->rule` is set when denied only;
 * `out` may be NULL.
 */
bool auth_allows(const struct auth_identity *id, struct slice client_id, enum auth_action action,
                 struct slice topic_or_filter, struct auth_decision *out);

/* ---- administration: HTTP threads ---- */
typedef void (*auth_each_fn)(void *ctx, const void *item);

size_t auth_instance_count(struct auth *a);
int auth_instance_get(struct auth *a, struct slice id,
                      struct auth_instance_info *out);               /* 0, -ENOENT */
void auth_instance_each(struct auth *a, auth_each_fn fn, void *ctx); /* struct auth_instance_info */
/* Changes one setting by its name ("client_id", "topics", "on_denied", "subscriptions", "allow_anonymous",
 * "unknown_users") and word. */
int auth_instance_set(struct auth *a, struct slice id, struct slice name, struct slice value,
                      struct auth_error *err);

/* Groups (GID_… or GID-…, 7-64 chars [A-Za-z0-9_-]) and declared parent topics: names with a creation time. */
struct auth_named {
    char name[256];
    uint64_t created_ms;
};
int auth_group_add(struct auth *a, struct slice instance, struct slice gid, struct auth_error *err);
int auth_group_delete(struct auth *a, struct slice instance, struct slice gid,
                      struct auth_error *err);
int auth_group_each(struct auth *a, struct slice instance, auth_each_fn fn, void *ctx);
int auth_topic_add(struct auth *a, struct slice instance, struct slice parent,
                   struct auth_error *err);
int auth_topic_delete(struct auth *a, struct slice instance, struct slice parent,
                      struct auth_error *err);
int auth_topic_each(struct auth *a, struct slice instance, auth_each_fn fn, void *ctx);

struct auth_user_info {
    char name[257];
    uint64_t created_ms;
    size_t permissions;
};
struct auth_permission {
    bool deny;
    enum auth_action action;
    const char *filter; /* lives during the call */
};
/* One to be made: a filter may have %c and %u. */
struct permission {
    bool deny;
    enum auth_action action;
    struct slice filter;
};
/* Whose permissions hold for every client, and for those without a user name. No user can have these names. */
#define AUTH_EVERYONE "*"
#define AUTH_ANONYMOUS "$anonymous"
/* allow: `allow_count` filters, each publish and subscribe. */
int auth_user_add(struct auth *a, struct slice instance, struct slice name, struct slice password,
                  const struct slice *allow, size_t allow_count, struct auth_error *err);
/* The same with a password's hash as Mosquitto's password files have it: "$7$…" or "$6$…". It is replaced by one of ours at the
 * user's first login. */
int auth_user_import(struct auth *a, struct slice instance, struct slice name, struct slice hash,
                     const struct slice *allow, size_t allow_count, struct auth_error *err);
int auth_user_password(struct auth *a, struct slice instance, struct slice name,
                       struct slice password, struct auth_error *err);
int auth_user_delete(struct auth *a, struct slice instance, struct slice name,
                     struct auth_error *err);
int auth_user_each(struct auth *a, struct slice instance, auth_each_fn fn, void *ctx);
/* `user` may be AUTH_EVERYONE or AUTH_ANONYMOUS. */
int auth_permission_add(struct auth *a, struct slice instance, struct slice user, bool deny,
                        enum auth_action action, struct slice filter, struct auth_error *err);
int auth_permission_delete(struct auth *a, struct slice instance, struct slice user, bool deny,
                           enum auth_action action, struct slice filter, struct auth_error *err);
/* All of them anew, in this order. */
int auth_permission_set(struct auth *a, struct slice instance, struct slice user,
                        const struct permission *items, size_t count, struct auth_error *err);
int auth_permission_each(struct auth *a, struct slice instance, struct slice user, auth_each_fn fn,
                         void *ctx); /* struct auth_permission; -ENOENT: no such user */

/* Console accounts (argon2id) and API tokens: blocking, HTTP threads only. */
bool auth_console_login(struct auth *a, struct slice user, struct slice password);
bool auth_token_valid(struct auth *a, struct slice token); /* constant time */

#endif
