/*
 * Reading the settings at start. They come one by one in the order of their keys (groups before their instance), so
 * they are collected in drafts, one for each instance, and sorted into shelves at the end: a million users cost one
 * sort, not a million copies of shelves.
 */
#include <errno.h>
#include <stdlib.h>

#include "auth/settings.h"
#include "base/hash.h"
#include "base/mem.h"
#include "mqtt/topic.h"

struct vector {
    struct entry **items;
    size_t count, cap;
};

struct draft {
    struct slice id; /* copied */
    bool has_info;
    struct auth_instance_info info;
    struct vector groups, topics, users[USER_SHARDS];
    struct auth_user *everyone, *anonymous; /* NULL: nothing was stored */
};

struct loading {
    struct auth *a;
    struct draft *drafts;
    size_t draft_count, seen;
    bool has_format, has_secret, has_bootstrap;
    int rc;
    struct auth_error *err;
};

static void vector_push(struct vector *v, struct entry *e)
{
    if (v->count == v->cap) {
        v->cap = v->cap == 0 ? 8 : v->cap * 2;
        v->items = mem_realloc(v->items, v->cap * sizeof(struct entry *));
    }
    v->items[v->count++] = e;
}

/* The entries go to the shelf. */
static struct shelf *vector_shelve(struct vector *v)
{
    struct shelf *s = shelf_new(v->items, v->count);
    free(v->items);
    *v = (struct vector){0};
    return s;
}

static void vector_fini(struct vector *v)
{
    for (size_t i = 0; i < v->count; i++) {
        entry_unref(v->items[i]);
    }
    free(v->items);
}

static struct draft *draft_of(struct loading *l, struct slice id)
{
    for (size_t i = 0; i < l->draft_count; i++) {
        if (slice_eq(l->drafts[i].id, id)) {
            return &l->drafts[i];
        }
    }
    l->drafts = mem_realloc(l->drafts, (l->draft_count + 1) * sizeof *l->drafts);
    struct draft *d = &l->drafts[l->draft_count++];
    *d = (struct draft){.id = slice_make(mem_strndup(id.p, id.n), id.n)};
    return d;
}

static void draft_fini(struct draft *d)
{
    free((void *)(uintptr_t)d->id.p); /* our copy */
    vector_fini(&d->groups);
    vector_fini(&d->topics);
    for (size_t i = 0; i < USER_SHARDS; i++) {
        vector_fini(&d->users[i]);
    }
    entry_unref(d->everyone == NULL ? NULL : &d->everyone->e);
    entry_unref(d->anonymous == NULL ? NULL : &d->anonymous->e);
}

/* What was stored takes the place of what holds otherwise. */
static void put_subject(struct auth_user **to, struct auth_user **from)
{
    if (*from != NULL) {
        entry_unref(&(*to)->e);
        *to = *from;
        *from = NULL;
    }
}

static struct auth_instance *draft_build(struct draft *d)
{
    struct auth_policy *policy = policy_new(&d->info, vector_shelve(&d->topics));
    put_subject(&policy->everyone, &d->everyone);
    put_subject(&policy->anonymous, &d->anonymous);
    struct auth_instance *inst = instance_new(policy);
    shelf_replace(&inst->groups, vector_shelve(&d->groups));
    for (size_t i = 0; i < USER_SHARDS; i++) {
        shelf_replace(&inst->users[i], vector_shelve(&d->users[i]));
    }
    return inst;
}

static void copy_text(char *out, size_t cap, struct slice s)
{
    text_format(out, cap, "%.*s", (int)(s.n < cap ? s.n : cap - 1), text_bytes(s));
}

static void load_instance(struct loading *l, struct slice id, uint8_t version,
                          struct settings_reader *r)
{
    struct draft *d = draft_of(l, id);
    d->has_info = true;
    d->info.created_ms = settings_get_u64(r);
    uint8_t client_id = settings_get_u8(r);
    uint8_t topics = settings_get_u8(r);
    uint8_t on_denied = settings_get_u8(r);
    uint8_t anonymous = settings_get_u8(r);
    r->bad = r->bad || client_id > 1 || topics > 1 || on_denied > 1 || anonymous > 1;
    d->info.client_id = client_id == 0 ? CLIENT_ID_ANY : CLIENT_ID_GROUPED;
    d->info.topics = topics == 0 ? TOPICS_OPEN : TOPICS_DECLARED;
    d->info.on_denied = on_denied == 0 ? ON_DENIED_CLOSE : ON_DENIED_REFUSE;
    d->info.allow_anonymous = anonymous == 1;
    copy_text(d->info.id, sizeof d->info.id, id);
    copy_text(d->info.name, sizeof d->info.name, settings_get_str(r));
    copy_text(d->info.region, sizeof d->info.region, settings_get_str(r));
    uint8_t subscriptions = version < 2 ? 0 : settings_get_u8(r);
    uint8_t unknown_users = version < 3 ? 0 : settings_get_u8(r);
    r->bad = r->bad || subscriptions > 1 || unknown_users > 1;
    d->info.subscriptions = subscriptions == 0 ? SUBSCRIPTIONS_COVERED : SUBSCRIPTIONS_FILTERED;
    d->info.unknown_users = unknown_users == 0 ? UNKNOWN_USERS_REFUSED : UNKNOWN_USERS_ANONYMOUS;
}

static bool permission_read(struct settings_reader *r, struct permission *p)
{
    uint8_t deny = settings_get_u8(r);
    uint8_t action = settings_get_u8(r);
    p->filter = settings_get_str(r);
    if (deny > 1 || action < AUTH_PUBLISH || action > AUTH_BOTH || !mqtt_filter_valid(p->filter)) {
        r->bad = true;
        return false;
    }
    p->deny = deny == 1;
    p->action = (enum auth_action)action;
    return true;
}

/* The permissions that end a value; free() the array. */
static struct permission *permissions_read(struct settings_reader *r, size_t *count)
{
    *count = settings_get_u16(r);
    r->bad = r->bad || *count > PERMISSIONS_MAX;
    struct permission *items = mem_new(r->bad ? 0 : *count, sizeof *items);
    for (size_t i = 0; !r->bad && i < *count; i++) {
        (void)permission_read(r, &items[i]);
    }
    return items;
}

static void load_foreign(struct credential *cred, uint8_t kind, struct settings_reader *r)
{
    struct foreign_hash *f = mem_new(1, sizeof *f);
    cred->foreign = f;
    f->kind = kind <= FOREIGN_KINDS ? (enum foreign_kind)kind : FOREIGN_SHA512;
    f->rounds = settings_get_u32(r);
    struct slice salt = settings_get_str(r);
    struct slice hash = settings_get_str(r);
    if (kind > FOREIGN_KINDS || f->rounds == 0 || f->rounds > FOREIGN_ROUNDS_MAX ||
        salt.n > sizeof f->salt || hash.n != foreign_hash_bytes(f->kind)) {
        r->bad = true;
        return;
    }
    f->salt_len = (uint8_t)salt.n;
    if (salt.n > 0) {
        memcpy(f->salt, salt.p, salt.n);
    }
    memcpy(f->hash, hash.p, hash.n);
}

static void load_hash(struct credential *cred, uint8_t version, struct settings_reader *r)
{
    cred->rounds = settings_get_u32(r);
    r->bad = r->bad || cred->rounds == 0 || cred->rounds > PASSWORD_ROUNDS_MAX;
    /* version 1 has no lengths: these are the only ones */
    r->bad = r->bad || (version > 1 && settings_get_u16(r) != sizeof cred->salt);
    settings_get_bytes(r, cred->salt, sizeof cred->salt);
    r->bad = r->bad || (version > 1 && settings_get_u16(r) != sizeof cred->hash);
    settings_get_bytes(r, cred->hash, sizeof cred->hash);
}

static void load_scram(struct credential *cred, struct settings_reader *r)
{
    uint8_t state = settings_get_u8(r);
    r->bad = r->bad || state > SCRAM_UNUSABLE;
    cred->scram_state = state == SCRAM_UNUSABLE ? SCRAM_UNUSABLE : SCRAM_LATER;
    if (r->bad || state != SCRAM_KEYS) {
        return;
    }
    struct scram_keys *k = mem_new(1, sizeof *k);
    cred->scram = k;
    cred->scram_state = SCRAM_KEYS;
    k->rounds = settings_get_u32(r);
    r->bad = r->bad || k->rounds == 0 || k->rounds > SCRAM_ROUNDS_MAX;
    settings_get_bytes(r, k->salt, sizeof k->salt);
    settings_get_bytes(r, k->stored_key, sizeof k->stored_key);
    settings_get_bytes(r, k->server_key, sizeof k->server_key);
}

static struct credential *load_credential(uint8_t version, struct settings_reader *r)
{
    struct credential *cred = credential_alloc();
    uint8_t kind = version == 1 ? 0 : settings_get_u8(r);
    if (kind != 0) {
        load_foreign(cred, kind, r);
    } else {
        load_hash(cred, version, r);
    }
    if (version > 1) {
        load_scram(cred, r);
    }
    credential_loaded(cred);
    return cred;
}

static void load_user(struct loading *l, struct slice instance, struct slice name, uint8_t version,
                      struct settings_reader *r)
{
    size_t count = 0;
    uint64_t created_ms = settings_get_u64(r);
    struct credential *cred = load_credential(version, r);
    struct permission *items = permissions_read(r, &count);
    if (r->bad) {
        entry_unref(&cred->e);
    } else {
        struct draft *d = draft_of(l, instance);
        struct auth_user *u = user_new(name, created_ms, cred, items, count);
        vector_push(&d->users[hash64(name) % USER_SHARDS], &u->e);
    }
    free(items);
}

static void load_rules(struct loading *l, struct slice instance, struct slice name,
                       struct settings_reader *r)
{
    size_t count = 0;
    struct draft *d = draft_of(l, instance);
    struct permission *items = permissions_read(r, &count);
    struct auth_user **to = slice_eq(name, slice_str(AUTH_EVERYONE))    ? &d->everyone
                            : slice_eq(name, slice_str(AUTH_ANONYMOUS)) ? &d->anonymous
                                                                        : NULL;
    r->bad = r->bad || to == NULL;
    if (!r->bad) {
        *to = user_new(slice_str(""), 0, NULL, items, count);
    }
    free(items);
}

static const char *keep_str(struct settings_reader *r)
{
    struct slice s = settings_get_str(r);
    return mem_strndup(s.p, s.n);
}

static void load_bootstrap(struct loading *l, struct settings_reader *r)
{
    struct auth_bootstrap *b = &l->a->bootstrap;
    b->region = keep_str(r);
    b->instance_id = keep_str(r);
    b->console_user = keep_str(r);
    b->console_password = keep_str(r);
    b->api_token = keep_str(r);
    b->access_key_id = keep_str(r);
    b->access_key_secret = keep_str(r);
    b->mqtt_username = keep_str(r);
    b->mqtt_password = keep_str(r);
    l->has_bootstrap = true;
}

static void load_account(struct loading *l, struct slice name, struct settings_reader *r)
{
    struct auth *a = l->a;
    a->accounts = mem_realloc(a->accounts, (a->account_count + 1) * sizeof *a->accounts);
    struct slice hash = settings_get_str(r);
    a->accounts[a->account_count++] = (struct console_account){.name = mem_strndup(name.p, name.n),
                                                               .hash = mem_strndup(hash.p, hash.n)};
}

static void load_named(struct vector *v, struct slice name, struct settings_reader *r)
{
    vector_push(v, entry_new(name, settings_get_u64(r)));
}

static void load_value(struct loading *l, enum setting_kind kind, struct slice instance,
                       struct slice name, uint8_t version, struct settings_reader *r)
{
    switch (kind) {
    case SETTING_FORMAT:
        l->has_format = true;
        break;
    case SETTING_SECRET:
        settings_get_bytes(r, l->a->password_key, PASSWORD_KEY_BYTES);
        l->has_secret = true;
        break;
    case SETTING_BOOTSTRAP:
        load_bootstrap(l, r);
        break;
    case SETTING_CONSOLE:
        load_account(l, name, r);
        break;
    case SETTING_INSTANCE:
        load_instance(l, name, version, r);
        break;
    case SETTING_GROUP:
        load_named(&draft_of(l, instance)->groups, name, r);
        break;
    case SETTING_TOPIC:
        load_named(&draft_of(l, instance)->topics, name, r);
        break;
    case SETTING_USER:
        load_user(l, instance, name, version, r);
        break;
    case SETTING_RULES:
        load_rules(l, instance, name, r);
        break;
    case SETTING_KIND_COUNT:
        break;
    }
}

static void load_one(void *ctx, struct slice key, struct slice value)
{
    struct loading *l = ctx;
    struct slice instance;
    struct slice name;
    enum setting_kind kind;
    if (l->rc != 0 || !slice_has_prefix(key, slice_str("auth/"))) {
        return;
    }
    l->seen++;
    if (!settings_parse_key(key, &kind, &instance, &name)) {
        l->rc = auth_fail(l->err, -EIO, "",
                          "the settings hold a key of an unknown kind, \"%.*s\": "
                          "written by a newer version?",
                          text_width(key), text_bytes(key));
        return;
    }
    struct settings_reader r = {.rest = value};
    uint8_t version = settings_get_u8(&r);
    uint8_t newest = settings_version(kind);
    if (!r.bad && (version == 0 || version > newest)) {
        l->rc = auth_fail(l->err, -EIO, "",
                          "setting \"%.*s\" has version %u, this program knows versions up to %u",
                          text_width(key), text_bytes(key), version, newest);
        return;
    }
    load_value(l, kind, instance, name, version, &r);
    if (r.bad || r.rest.n != 0) {
        l->rc = auth_fail(l->err, -EIO, "", "setting \"%.*s\" is damaged (%zu bytes)",
                          text_width(key), text_bytes(key), value.n);
    }
}

static int check_whole(struct loading *l)
{
    if (!l->has_format || !l->has_secret || !l->has_bootstrap) {
        return auth_fail(l->err, -EIO, "", "the settings lack \"auth/%s\"",
                         !l->has_format ? "format" : (!l->has_secret ? "secret" : "bootstrap"));
    }
    bool has_default = false;
    for (size_t i = 0; i < l->draft_count; i++) {
        const struct draft *d = &l->drafts[i];
        if (!d->has_info) {
            return auth_fail(l->err, -EIO, "", "the settings lack \"auth/instance/%.*s\"",
                             text_width(d->id), text_bytes(d->id));
        }
        has_default = has_default || slice_eq(d->id, slice_str(l->a->bootstrap.instance_id));
    }
    if (!has_default) {
        return auth_fail(l->err, -EIO, "", "the settings lack the default instance \"%s\"",
                         l->a->bootstrap.instance_id);
    }
    return 0;
}

static void build_snapshot(struct loading *l)
{
    struct vector instances = {0};
    for (size_t i = 0; i < l->draft_count; i++) {
        vector_push(&instances, &draft_build(&l->drafts[i])->e);
    }
    snapshot_publish(l->a, snapshot_new(vector_shelve(&instances), 1));
}

int settings_load(struct auth *a, bool *empty, struct auth_error *err)
{
    struct loading l = {.a = a, .err = err};
    int rc = a->io.load(a->io.arg, load_one, &l);
    if (rc != 0) {
        rc = auth_fail(err, rc, "", "the settings cannot be read: %s", strerror(-rc));
    } else {
        rc = l.rc;
    }
    *empty = l.seen == 0;
    if (rc == 0 && !*empty) {
        rc = check_whole(&l);
    }
    if (rc == 0 && !*empty) {
        build_snapshot(&l);
    }
    for (size_t i = 0; i < l.draft_count; i++) {
        draft_fini(&l.drafts[i]);
    }
    free(l.drafts);
    return rc;
}
