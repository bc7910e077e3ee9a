/*
 * Changes and lists of instances, groups and declared topics. Arguments are checked before the writers are locked.
 */
#include <errno.h>

#include "auth/change.h"
#include "base/clock.h"
#include "mqtt/topic.h"

static uint64_t now_ms(void)
{
    return clock_wall_us() / 1000;
}

/* ---- instances ---- */

size_t auth_instance_count(struct auth *a)
{
    struct auth_snapshot *s = snapshot_take(a);
    size_t n = s->instances->count;
    entry_unref(&s->e);
    return n;
}

int auth_instance_get(struct auth *a, struct slice id, struct auth_instance_info *out)
{
    struct auth_snapshot *s = snapshot_take(a);
    const struct auth_instance *inst = snapshot_instance(s, id);
    if (inst != NULL) {
        *out = inst->policy->info;
    }
    entry_unref(&s->e);
    return inst == NULL ? -ENOENT : 0;
}

void auth_instance_each(struct auth *a, auth_each_fn fn, void *ctx)
{
    struct auth_snapshot *s = snapshot_take(a);
    for (size_t i = 0; i < s->instances->count; i++) {
        const struct auth_instance *inst = (const void *)s->instances->items[i];
        fn(ctx, &inst->policy->info);
    }
    entry_unref(&s->e);
}

/* The settings of an instance that are one of two words: name, word of 0, word of 1. */
static const struct instance_setting {
    const char *name, *word[2];
} instance_settings[] = {
    {"client_id", {"any", "grouped"}},      {"topics", {"open", "declared"}},
    {"on_denied", {"close", "refuse"}},     {"subscriptions", {"covered", "filtered"}},
    {"allow_anonymous", {"false", "true"}}, {"unknown_users", {"refused", "anonymous"}},
};
enum { INSTANCE_SETTINGS = sizeof instance_settings / sizeof instance_settings[0] };

static void apply_setting(struct auth_instance_info *info, size_t setting, bool one)
{
    switch (setting) {
    case 0:
        info->client_id = one ? CLIENT_ID_GROUPED : CLIENT_ID_ANY;
        break;
    case 1:
        info->topics = one ? TOPICS_DECLARED : TOPICS_OPEN;
        break;
    case 2:
        info->on_denied = one ? ON_DENIED_REFUSE : ON_DENIED_CLOSE;
        break;
    case 3:
        info->subscriptions = one ? SUBSCRIPTIONS_FILTERED : SUBSCRIPTIONS_COVERED;
        break;
    case 4:
        info->allow_anonymous = one;
        break;
    default: /* an index, not an enum */
        info->unknown_users = one ? UNKNOWN_USERS_ANONYMOUS : UNKNOWN_USERS_REFUSED;
        break;
    }
}

static int parse_setting(struct slice name, struct slice value, size_t *setting, bool *one,
                         struct auth_error *err)
{
    for (size_t i = 0; i < INSTANCE_SETTINGS; i++) {
        const struct instance_setting *s = &instance_settings[i];
        if (!slice_eq(name, slice_str(s->name))) {
            continue;
        }
        *setting = i;
        *one = slice_eq(value, slice_str(s->word[1]));
        if (*one || slice_eq(value, slice_str(s->word[0]))) {
            return 0;
        }
        return auth_fail(err, -EINVAL, s->name, "%s: \"%.*s\" must be \"%s\" or \"%s\"", s->name,
                         text_width(value), text_bytes(value), s->word[0], s->word[1]);
    }
    char field[32];
    text_format(field, sizeof field, "%.*s", text_width(name), text_bytes(name));
    return auth_fail(err, -EINVAL, field,
                     "\"%.*s\" is no setting: client_id, topics, on_denied, "
                     "subscriptions, allow_anonymous and unknown_users are",
                     text_width(name), text_bytes(name));
}

int auth_instance_set(struct auth *a, struct slice id, struct slice name, struct slice value,
                      struct auth_error *err)
{
    size_t setting = 0;
    bool one = false;
    int rc = parse_setting(name, value, &setting, &one, err);
    struct change c;
    if (rc == 0) {
        rc = change_begin(&c, a, id, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct auth_policy *next = policy_copy(c.inst->policy);
    apply_setting(&next->info, setting, one);
    struct buf v = {0};
    settings_put_instance(&v, &next->info);
    rc = change_commit_policy(&c, SETTING_INSTANCE, id, &v, next);
    buf_fini(&v);
    change_end(&c);
    return rc;
}

/* ---- groups and declared topics ---- */

bool group_name_valid(struct slice gid)
{
    if (gid.n < GROUP_MIN || gid.n > GROUP_MAX ||
        (!slice_has_prefix(gid, slice_str("GID_")) && !slice_has_prefix(gid, slice_str("GID-")))) {
        return false;
    }
    for (size_t i = 0; i < gid.n; i++) {
        uint8_t ch = gid.p[i];
        bool letter = (ch >= 'a' && ch <= 'z') || (ch >= 'A' && ch <= 'Z');
        if (!letter && !(ch >= '0' && ch <= '9') && ch != '_' && ch != '-') {
            return false;
        }
    }
    return true;
}

static int check_group_name(struct slice gid, struct auth_error *err)
{
    if (group_name_valid(gid)) {
        return 0;
    }
    return auth_fail(err, -EINVAL, "group",
                     "\"%.*s\" must begin with GID_ or GID- and have 7 to 64 "
                     "characters of A-Z a-z 0-9 _ -",
                     text_width(gid), text_bytes(gid));
}

static int check_parent(struct slice parent, struct auth_error *err)
{
    bool valid = parent.n <= PARENT_TOPIC_MAX && mqtt_topic_valid(parent) && parent.p[0] != '$' &&
                 memchr(parent.p, '/', parent.n) == NULL;
    if (valid) {
        return 0;
    }
    return auth_fail(err, -EINVAL, "topic",
                     "\"%.*s\" must be one topic level of 1 to 255 bytes: no "
                     "'/', '+', '#', and no '$' first",
                     text_width(parent), text_bytes(parent));
}

/* Groups are the first, topics the second. */
struct named_kind {
    enum setting_kind kind;
    const char *field;
    int (*check)(struct slice name, struct auth_error *err);
};
static const struct named_kind groups = {SETTING_GROUP, "group", check_group_name};
static const struct named_kind topics = {SETTING_TOPIC, "topic", check_parent};

static struct shelf *named_shelf(const struct auth_instance *inst, const struct named_kind *k)
{
    return k->kind == SETTING_GROUP ? inst->groups : inst->policy->topics;
}

/* Publishes `next` (taken over) in the place of the groups or the topics. */
static int commit_named(struct change *c, const struct named_kind *k, struct slice name,
                        const struct buf *value, struct shelf *next)
{
    if (k->kind == SETTING_TOPIC) {
        struct auth_policy *policy = policy_copy(c->inst->policy);
        shelf_replace(&policy->topics, next);
        return change_commit_policy(c, k->kind, name, value, policy);
    }
    struct auth_instance *inst = instance_copy(c->inst);
    shelf_replace(&inst->groups, next);
    return change_commit(c, k->kind, name, value, inst);
}

static int named_add(struct auth *a, const struct named_kind *k, struct slice instance,
                     struct slice name, struct auth_error *err)
{
    struct change c;
    int rc = k->check(name, err);
    if (rc == 0) {
        rc = change_begin(&c, a, instance, err);
    }
    if (rc != 0) {
        return rc;
    }
    struct shelf *present = named_shelf(c.inst, k);
    if (shelf_find(present, name) != NULL) {
        rc = auth_fail(err, -EEXIST, k->field, "%s \"%.*s\" exists", k->field, text_width(name),
                       text_bytes(name));
    } else {
        struct entry *e = entry_new(name, now_ms());
        struct buf v = {0};
        settings_put_named(&v, e->created_ms);
        rc = commit_named(&c, k, name, &v, shelf_with(present, e));
        entry_unref(e);
        buf_fini(&v);
    }
    change_end(&c);
    return rc;
}

static int named_delete(struct auth *a, const struct named_kind *k, struct slice instance,
                        struct slice name, struct auth_error *err)
{
    struct change c;
    int rc = change_begin(&c, a, instance, err);
    if (rc != 0) {
        return rc;
    }
    struct shelf *present = named_shelf(c.inst, k);
    if (shelf_find(present, name) == NULL) {
        rc = auth_fail(err, -ENOENT, k->field, "%s \"%.*s\" does not exist", k->field,
                       text_width(name), text_bytes(name));
    } else {
        rc = commit_named(&c, k, name, NULL, shelf_without(present, name));
    }
    change_end(&c);
    return rc;
}

static int named_each(struct auth *a, const struct named_kind *k, struct slice instance,
                      auth_each_fn fn, void *ctx)
{
    struct auth_snapshot *s = snapshot_take(a);
    const struct auth_instance *inst = snapshot_instance(s, instance);
    if (inst != NULL) {
        const struct shelf *all = named_shelf(inst, k);
        for (size_t i = 0; i < all->count; i++) {
            struct auth_named item = {.created_ms = all->items[i]->created_ms};
            (void)snprintf(item.name, sizeof item.name, "%.*s", (int)all->items[i]->name.n,
                           text_bytes(all->items[i]->name));
            fn(ctx, &item);
        }
    }
    entry_unref(&s->e);
    return inst == NULL ? -ENOENT : 0;
}

int auth_group_add(struct auth *a, struct slice instance, struct slice gid, struct auth_error *err)
{
    return named_add(a, &groups, instance, gid, err);
}

int auth_group_delete(struct auth *a, struct slice instance, struct slice gid,
                      struct auth_error *err)
{
    return named_delete(a, &groups, instance, gid, err);
}

int auth_group_each(struct auth *a, struct slice instance, auth_each_fn fn, void *ctx)
{
    return named_each(a, &groups, instance, fn, ctx);
}

int auth_topic_add(struct auth *a, struct slice instance, struct slice parent,
                   struct auth_error *err)
{
    return named_add(a, &topics, instance, parent, err);
}

int auth_topic_delete(struct auth *a, struct slice instance, struct slice parent,
                      struct auth_error *err)
{
    return named_delete(a, &topics, instance, parent, err);
}

int auth_topic_each(struct auth *a, struct slice instance, auth_each_fn fn, void *ctx)
{
    return named_each(a, &topics, instance, fn, ctx);
}
