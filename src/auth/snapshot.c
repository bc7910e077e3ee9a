/*
 * The objects of a snapshot: made, copied, found, freed; and the swap of the present one.
 *
 * Why a mutex and not an atomic pointer: taking a reference is "load, increment", and between the two the last
 * reference could go. The lock is held for exactly these two, never over a change, an fsync or a hash.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "auth/auth_priv.h"
#include "base/hash.h"
#include "base/mem.h"

void text_format(char *out, size_t cap, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(out, cap, fmt, ap);
    va_end(ap);
    if (n < 0 || (size_t)n < cap) {
        return;
    }
    size_t end = cap - 1; /* cut: drop the character that was cut, too */
    while (end > 0 && ((uint8_t)out[end - 1] & 0xC0) == 0x80) {
        end--;
    }
    if (end > 0 && (uint8_t)out[end - 1] >= 0xC0) {
        end--;
    }
    out[end] = '\0';
}

int text_width(struct slice s)
{
    size_t n = s.n < 100 ? s.n : 100;
    while (n > 0 && n < s.n && (s.p[n] & 0xC0) == 0x80) {
        n--;
    }
    return (int)n;
}

const char *text_bytes(struct slice s)
{
    return s.n == 0 ? "" : (const char *)s.p;
}

int auth_fail(struct auth_error *err, int code, const char *field, const char *fmt, ...)
{
    if (err == NULL) {
        return code;
    }
    err->code = code;
    (void)snprintf(err->field, sizeof err->field, "%s", field);
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_format(err->text, sizeof err->text, "%s", text);
    return code;
}

static void free_user(struct entry *e)
{
    struct auth_user *u = (struct auth_user *)(void *)e;
    if (u->cred != NULL) {
        entry_unref(&u->cred->e);
    }
    ruleset_free(u->rules);
    entry_fini(e);
    free(u);
}

struct auth_user *user_new(struct slice name, uint64_t created_ms, struct credential *cred,
                           const struct permission *items, size_t count)
{
    struct auth_user *u = mem_new(1, sizeof *u);
    entry_init(&u->e, free_user, name, created_ms);
    u->cred = cred;
    u->rules = ruleset_new(items, count);
    return u;
}

struct auth_user *user_new_anonymous(void)
{
    const struct permission rights[] = {
        {.action = AUTH_BOTH, .filter = slice_str("#")},
        {.action = AUTH_SUBSCRIBE, .filter = slice_str("$SYS/#")},
    };
    return user_new(slice_str(""), 0, NULL, rights, 2);
}

static void free_policy(struct entry *e)
{
    struct auth_policy *p = (struct auth_policy *)(void *)e;
    entry_unref(&p->topics->e);
    entry_unref(&p->everyone->e);
    entry_unref(&p->anonymous->e);
    entry_fini(e);
    free(p);
}

struct auth_policy *policy_new(const struct auth_instance_info *info, struct shelf *topics)
{
    struct auth_policy *p = mem_new(1, sizeof *p);
    entry_init(&p->e, free_policy, slice_str(info->id), info->created_ms);
    p->info = *info;
    p->topics = topics;
    p->everyone = user_new(slice_str(""), 0, NULL, NULL, 0);
    p->anonymous = user_new_anonymous();
    return p;
}

struct auth_policy *policy_copy(const struct auth_policy *p)
{
    struct auth_policy *copy = mem_new(1, sizeof *copy);
    entry_init(&copy->e, free_policy, p->e.name, p->e.created_ms);
    copy->info = p->info;
    copy->topics = p->topics;
    copy->everyone = p->everyone;
    copy->anonymous = p->anonymous;
    entry_ref(&copy->topics->e);
    entry_ref(&copy->everyone->e);
    entry_ref(&copy->anonymous->e);
    return copy;
}

struct auth_user **policy_subject(struct auth_policy *p, struct slice name)
{
    if (slice_eq(name, slice_str(AUTH_EVERYONE))) {
        return &p->everyone;
    }
    return slice_eq(name, slice_str(AUTH_ANONYMOUS)) ? &p->anonymous : NULL;
}

static void free_instance(struct entry *e)
{
    struct auth_instance *inst = (struct auth_instance *)(void *)e;
    entry_unref(&inst->policy->e);
    entry_unref(&inst->groups->e);
    for (size_t i = 0; i < USER_SHARDS; i++) {
        entry_unref(&inst->users[i]->e);
    }
    entry_fini(e);
    free(inst);
}

struct auth_instance *instance_new(struct auth_policy *policy)
{
    struct auth_instance *inst = mem_new(1, sizeof *inst);
    entry_init(&inst->e, free_instance, policy->e.name, policy->e.created_ms);
    inst->policy = policy;
    inst->groups = shelf_new(NULL, 0);
    for (size_t i = 0; i < USER_SHARDS; i++) {
        inst->users[i] = shelf_new(NULL, 0);
    }
    return inst;
}

struct auth_instance *instance_copy(const struct auth_instance *inst)
{
    struct auth_instance *copy = mem_new(1, sizeof *copy);
    entry_init(&copy->e, free_instance, inst->e.name, inst->e.created_ms);
    copy->policy = inst->policy;
    entry_ref(&copy->policy->e);
    copy->groups = inst->groups;
    entry_ref(&copy->groups->e);
    for (size_t i = 0; i < USER_SHARDS; i++) {
        copy->users[i] = inst->users[i];
        entry_ref(&copy->users[i]->e);
    }
    return copy;
}

struct shelf **instance_user_shard(struct auth_instance *inst, struct slice user)
{
    return &inst->users[hash64(user) % USER_SHARDS];
}

struct auth_user *instance_user(const struct auth_instance *inst, struct slice name)
{
    return (struct auth_user *)(void *)shelf_find(inst->users[hash64(name) % USER_SHARDS], name);
}

void shelf_replace(struct shelf **slot, struct shelf *next)
{
    struct shelf *old = *slot;
    *slot = next;
    entry_unref(&old->e);
}

static void free_snapshot(struct entry *e)
{
    struct auth_snapshot *s = (struct auth_snapshot *)(void *)e;
    entry_unref(&s->instances->e);
    entry_fini(e);
    free(s);
}

struct auth_snapshot *snapshot_new(struct shelf *instances, uint64_t version)
{
    struct auth_snapshot *s = mem_new(1, sizeof *s);
    entry_init(&s->e, free_snapshot, slice_str(""), 0);
    s->version = version;
    s->instances = instances;
    return s;
}

struct auth_instance *snapshot_instance(const struct auth_snapshot *s, struct slice id)
{
    return (struct auth_instance *)(void *)shelf_find(s->instances, id);
}

struct auth_snapshot *snapshot_take(struct auth *a)
{
    (void)pthread_mutex_lock(&a->current_lock);
    struct auth_snapshot *s = a->current;
    entry_ref(&s->e);
    (void)pthread_mutex_unlock(&a->current_lock);
    return s;
}

void snapshot_publish(struct auth *a, struct auth_snapshot *next)
{
    (void)pthread_mutex_lock(&a->current_lock);
    struct auth_snapshot *old = a->current;
    assert(old == NULL || next->version > old->version);
    a->current = next;
    atomic_store_explicit(&a->version, next->version, memory_order_relaxed);
    (void)pthread_mutex_unlock(&a->current_lock);
    if (old != NULL) {
        entry_unref(&old->e);
    }
}
