/*
 * Changes and lists of users and their permissions. Passwords are hashed before the writers are locked.
 */
#include <errno.h>
#include <stdlib.h>

#include "auth/change.h"
#include "base/clock.h"
#include "base/mem.h"
#include "mqtt/topic.h"

static uint64_t now_ms(void)
{
    return clock_wall_us() / 1000;
}

/* ---- users ---- */

static bool name_has_control(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < 0x20 || s.p[i] == 0x7F) {
            return true;
        }
    }
    return false;
}

static bool name_is_kept(struct slice name)
{
    return slice_eq(name, slice_str(AUTH_EVERYONE)) || slice_eq(name, slice_str(AUTH_ANONYMOUS));
}

/* '|' is kept for the user names of signatures ("Signature|KEY|INSTANCE"). */
static int check_user_name(struct slice name, struct auth_error *err)
{
    if (name_is_kept(name)) {
        return auth_fail(err, -EINVAL, "name",
                         "\"%.*s\" is no user: it stands for %s in permissions", text_width(name),
                         text_bytes(name), name.n == 1 ? "everyone" : "anonymous clients");
    }
    if (name.n >= 1 && name.n <= USER_NAME_MAX && mqtt_utf8_valid(name) &&
        !name_has_control(name) && memchr(name.p, '|', name.n) == NULL) {
        return 0;
    }
    bool printable = mqtt_utf8_valid(name) && !name_has_control(name);
    return auth_fail(err, -EINVAL, "name",
                     "\"%.*s\" must be 1 to 256 bytes of UTF-8 without "
                     "control characters and '|'",
                     printable ? text_width(name) : 0, text_bytes(name));
}

static int check_password(struct slice password, struct auth_error *err)
{
    if (password.n >= 1 && password.n <= PASSWORD_MAX) {
        return 0;
    }
    return auth_fail(err, -EINVAL, "password", "has %zu bytes, must have 1 to %d", password.n,
                     PASSWORD_MAX);
}

static int check_filter(struct slice filter, const char *field, struct auth_error *err)
{
    if (mqtt_filter_valid(filter)) {
        size_t placeholders = permission_placeholders(filter);
        if (placeholders <= PLACEHOLDERS_MAX && (placeholders == 0 || filter.n <= TEMPLATE_MAX)) {
            return 0;
        }
        return auth_fail(err, -EINVAL, field,
                         "a filter with %%c or %%u has %zu of them in %zu bytes, at most %d in %d",
                         placeholders, filter.n, PLACEHOLDERS_MAX, TEMPLATE_MAX);
    }
    return auth_fail(err, -EINVAL, field,
                     "\"%.*s\" is no topic filter: '+' and '#' must be whole "
                     "levels, '#' the last one",
                     mqtt_utf8_valid(filter) ? text_width(filter) : 0, text_bytes(filter));
}

static int change_begin_user(struct change *c, struct auth *a, struct slice instance,
                             struct slice name, struct auth_user **user, struct auth_error *err)
{
    int rc = change_begin(c, a, instance, err);
    if (rc != 0) {
        return rc;
    }
    *user = instance_user(c->inst, name);
    if (*user == NULL) {
        change_end(c);
        return auth_fail(err, -ENOENT, "user", "user \"%.*s\" does not exist", text_width(name),
                         text_bytes(name));
    }
    return 0;
}

/* Saves and publishes the user (taken over), new or in the place of its namesake. */
static int commit_user(struct change *c, struct auth_user *user)
{
    struct buf v = {0};
    settings_put_user(&v, user);
    struct auth_instance *inst = instance_copy(c->inst);
    struct shelf **shard = instance_user_shard(inst, user->e.name);
    shelf_replace(shard, shelf_with(*shard, &user->e));
    int rc = change_commit(c, SETTING_USER, user->e.name, &v, inst);
    entry_unref(&user->e);
    buf_fini(&v);
    return rc;
}

static int check_new_user(struct slice name, const struct slice *allow, size_t allow_count,
                          struct auth_error *err)
{
    int rc = check_user_name(name, err);
    if (rc == 0 && allow_count > PERMISSIONS_MAX) {
        rc = auth_fail(err, -EINVAL, "allow", "%zu filters, at most %d", allow_count,
                       PERMISSIONS_MAX);
    }
    for (size_t i = 0; i < allow_count && rc == 0; i++) {
        rc = check_filter(allow[i], "allow", err);
    }
    return rc;
}

/* Takes over `cred`. */
static int add_user(struct auth *a, struct slice instance, struct slice name,
                    struct credential *cred, const struct slice *allow, size_t allow_count,
                    struct auth_error *err)
{
    struct permission *items = mem_new(allow_count, sizeof *items);
    for (size_t i = 0; i < allow_count; i++) {
        items[i] = (struct permission){.action = AUTH_BOTH, .filter = allow[i]};
    }
    struct auth_user *user = user_new(name, now_ms(), cred, items, allow_count);
    free(items);
    struct change c;
    int rc = change_begin(&c, a, instance, err);
    if (rc != 0) {
        entry_unref(&user->e);
        return rc;
    }
    if (instance_user(c.inst, name) != NULL) {
        entry_unref(&user->e);
        rc = auth_fail(err, -EEXIST, "name", "user \"%.*s\" exists", text_width(name),
                       text_bytes(name));
    } else {
        rc = commit_user(&c, user);
    }
    change_end(&c);
    return rc;
}

int auth_user_add(struct auth *a, struct slice instance, struct slice name, struct slice password,
                  const struct slice *allow, size_t allow_count, struct auth_error *err)
{
    int rc = check_new_user(name, allow, allow_count, err);
    if (rc == 0) {
        rc = check_password(password, err);
    }
    if (rc != 0) {
        return rc;
    }
    return add_user(a, instance, name, credential_new(a->password_key, password), allow,
                    allow_count, err);
}

int auth_user_import(struct auth *a, struct slice instance, struct slice name, struct slice hash,
                     const struct slice *allow, size_t allow_count, struct auth_error *err)
{
    struct foreign_hash h;
    int rc = check_new_user(name, allow, allow_count, err);
    if (rc != 0) {
        return rc;
    }
    const char *bad = foreign_parse(hash, &h);
    if (bad != NULL) {
        return auth_fail(err, -EINVAL, "passwordHash", "is none that is known: %s", bad);
    }
    return add_user(a, instance, name, credential_import(&h), allow, allow_count, err);
}

void user_renew(struct auth *a, struct slice instance, const struct auth_user *user,
                struct slice password)
{
    struct credential *cred = credential_renew(user->cred, a->password_key, password);
    struct auth_user *now = NULL;
    struct change c;
    if (change_begin_user(&c, a, instance, user->e.name, &now, NULL) != 0) {
        entry_unref(&cred->e);
        return;
    }
    if (now->cred == user->cred) {
        /* the next login tries again, and whoever runs the store has heard of it from others */
        (void)commit_user(&c, user_new(now->e.name, now->e.created_ms, cred, now->rules->items,
                                       now->rules->count));
    } else {
        entry_unref(&cred->e);
    }
    change_end(&c);
}

int auth_user_password(struct auth *a, struct slice instance, struct slice name,
                       struct slice password, struct auth_error *err)
{
    int rc = check_password(password, err);
    if (rc != 0) {
        return rc;
    }
    struct credential *cred = credential_new(a->password_key, password);
    struct auth_user *user = NULL;
    struct change c;
    rc = change_begin_user(&c, a, instance, name, &user, err);
    if (rc != 0) {
        entry_unref(&cred->e);
        return rc;
    }
    rc = commit_user(
        &c, user_new(name, user->e.created_ms, cred, user->rules->items, user->rules->count));
    change_end(&c);
    return rc;
}

int auth_user_delete(struct auth *a, struct slice instance, struct slice name,
                     struct auth_error *err)
{
    struct auth_user *user = NULL;
    struct change c;
    int rc = change_begin_user(&c, a, instance, name, &user, err);
    if (rc != 0) {
        return rc;
    }
    struct auth_instance *inst = instance_copy(c.inst);
    struct shelf **shard = instance_user_shard(inst, name);
    shelf_replace(shard, shelf_without(*shard, name));
    rc = change_commit(&c, SETTING_USER, name, NULL, inst);
    change_end(&c);
    return rc;
}

static int compare_users(const void *a, const void *b)
{
    const struct auth_user *const *x = a;
    const struct auth_user *const *y = b;
    return slice_cmp((*x)->e.name, (*y)->e.name);
}

/* All users of the instance, sorted, borrowed from it; free() the array. */
static const struct auth_user **sorted_users(const struct auth_instance *inst, size_t *count)
{
    size_t n = 0;
    for (size_t i = 0; i < USER_SHARDS; i++) {
        n += inst->users[i]->count;
    }
    const struct auth_user **all = mem_new(n, sizeof(struct auth_user *));
    size_t at = 0;
    for (size_t i = 0; i < USER_SHARDS; i++) {
        for (size_t k = 0; k < inst->users[i]->count; k++) {
            all[at++] = (const void *)inst->users[i]->items[k];
        }
    }
    if (n > 1) {
        qsort(all, n, sizeof(struct auth_user *), compare_users);
    }
    *count = n;
    return all;
}

int auth_user_each(struct auth *a, struct slice instance, auth_each_fn fn, void *ctx)
{
    struct auth_snapshot *s = snapshot_take(a);
    const struct auth_instance *inst = snapshot_instance(s, instance);
    if (inst != NULL) {
        size_t count = 0;
        const struct auth_user **all = sorted_users(inst, &count);
        for (size_t i = 0; i < count; i++) {
            struct auth_user_info item = {.created_ms = all[i]->e.created_ms,
                                          .permissions = all[i]->rules->count};
            (void)snprintf(item.name, sizeof item.name, "%.*s", (int)all[i]->e.name.n,
                           text_bytes(all[i]->e.name));
            fn(ctx, &item);
        }
        free(all);
    }
    entry_unref(&s->e);
    return inst == NULL ? -ENOENT : 0;
}

/* ---- permissions ---- */

/* Whose permissions change: a user, or what the policy has for everyone and for anonymous clients. */
struct subject {
    struct slice name;
    const struct auth_user *now;
};

static const struct auth_user *subject_find(const struct auth_instance *inst, struct slice name)
{
    struct auth_user **of_policy = policy_subject(inst->policy, name);
    return of_policy != NULL ? *of_policy : instance_user(inst, name);
}

static int change_begin_subject(struct change *c, struct auth *a, struct slice instance,
                                struct subject *s, struct auth_error *err)
{
    struct auth_user *user = NULL;
    if (!name_is_kept(s->name)) {
        int rc = change_begin_user(c, a, instance, s->name, &user, err);
        s->now = user;
        return rc;
    }
    int rc = change_begin(c, a, instance, err);
    s->now = rc == 0 ? subject_find(c->inst, s->name) : NULL;
    return rc;
}

static int commit_subject_of_policy(struct change *c, const struct subject *s,
                                    const struct permission *items, size_t count)
{
    struct buf v = {0};
    struct auth_policy *next = policy_copy(c->inst->policy);
    struct auth_user **at = policy_subject(next, s->name);
    entry_unref(&(*at)->e);
    *at = user_new(slice_str(""), 0, NULL, items, count);
    settings_put_rules(&v, *at);
    int rc = change_commit_policy(c, SETTING_RULES, s->name, &v, next);
    buf_fini(&v);
    return rc;
}

/* A copy of the user with another list of permissions; it shares the credential, so connections live on. */
static int commit_permissions(struct change *c, const struct subject *s,
                              const struct permission *items, size_t count)
{
    const struct auth_user *user = s->now;
    if (user->cred == NULL) {
        return commit_subject_of_policy(c, s, items, count);
    }
    entry_ref(&user->cred->e);
    return commit_user(c, user_new(user->e.name, user->e.created_ms, user->cred, items, count));
}

static int check_permission(const struct permission *p, struct auth_error *err)
{
    if (p->action != AUTH_PUBLISH && p->action != AUTH_SUBSCRIBE && p->action != AUTH_BOTH) {
        return auth_fail(err, -EINVAL, "action", "must be \"publish\", \"subscribe\" or \"both\"");
    }
    return check_filter(p->filter, "filter", err);
}

int auth_permission_add(struct auth *a, struct slice instance, struct slice name, bool deny,
                        enum auth_action action, struct slice filter, struct auth_error *err)
{
    struct change c;
    struct subject s = {.name = name};
    const struct permission p = {.deny = deny, .action = action, .filter = filter};
    int rc = check_permission(&p, err);
    if (rc == 0) {
        rc = change_begin_subject(&c, a, instance, &s, err);
    }
    if (rc != 0) {
        return rc;
    }
    const struct ruleset *rs = s.now->rules;
    if (ruleset_find(rs, &p) < rs->count) {
        rc = auth_fail(err, -EEXIST, "filter", "the user has this permission");
    } else if (rs->count >= PERMISSIONS_MAX) {
        rc = auth_fail(err, -EINVAL, "filter", "the user has %zu permissions, at most %d",
                       rs->count, PERMISSIONS_MAX);
    } else {
        struct permission *items = mem_new(rs->count + 1, sizeof *items);
        if (rs->count > 0) {
            memcpy(items, rs->items, rs->count * sizeof *items);
        }
        items[rs->count] = p;
        rc = commit_permissions(&c, &s, items, rs->count + 1);
        free(items);
    }
    change_end(&c);
    return rc;
}

int auth_permission_delete(struct auth *a, struct slice instance, struct slice name, bool deny,
                           enum auth_action action, struct slice filter, struct auth_error *err)
{
    struct change c;
    struct subject s = {.name = name};
    int rc = change_begin_subject(&c, a, instance, &s, err);
    if (rc != 0) {
        return rc;
    }
    const struct ruleset *rs = s.now->rules;
    struct permission p = {.deny = deny, .action = action, .filter = filter};
    size_t at = ruleset_find(rs, &p);
    if (at == rs->count) {
        rc = auth_fail(err, -ENOENT, "filter", "the user has no such permission");
    } else {
        struct permission *items = mem_new(rs->count, sizeof *items);
        memcpy(items, rs->items, at * sizeof *items);
        memcpy(items + at, rs->items + at + 1, (rs->count - at - 1) * sizeof *items);
        rc = commit_permissions(&c, &s, items, rs->count - 1);
        free(items);
    }
    change_end(&c);
    return rc;
}

int auth_permission_set(struct auth *a, struct slice instance, struct slice name,
                        const struct permission *items, size_t count, struct auth_error *err)
{
    struct change c;
    struct subject s = {.name = name};
    int rc = 0;
    if (count > PERMISSIONS_MAX) {
        return auth_fail(err, -EINVAL, "items", "%zu permissions, at most %d", count,
                         PERMISSIONS_MAX);
    }
    for (size_t i = 0; i < count && rc == 0; i++) {
        rc = check_permission(&items[i], err);
    }
    if (rc == 0) {
        rc = change_begin_subject(&c, a, instance, &s, err);
    }
    if (rc == 0) {
        rc = commit_permissions(&c, &s, items, count);
        change_end(&c);
    }
    return rc;
}

int auth_permission_each(struct auth *a, struct slice instance, struct slice name, auth_each_fn fn,
                         void *ctx)
{
    struct auth_snapshot *s = snapshot_take(a);
    const struct auth_instance *inst = snapshot_instance(s, instance);
    const struct auth_user *user = inst == NULL ? NULL : subject_find(inst, name);
    for (size_t i = 0; user != NULL && i < user->rules->count; i++) {
        const struct permission *p = &user->rules->items[i];
        struct auth_permission item = {
            .deny = p->deny, .action = p->action, .filter = (const char *)p->filter.p};
        fn(ctx, &item);
    }
    entry_unref(&s->e);
    return user == NULL ? -ENOENT : 0;
}
