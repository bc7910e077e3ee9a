/*
 * The layout of the settings. Integers are little endian; str is a u16 length and bytes. Every value begins with
 * a version, 1 but where the table says more; newer ones are refused when the store is opened.
 *
 *   key                          value behind the version byte
 *   auth/format                  (nothing)           version of this table of keys
 *   auth/secret                  32 bytes            key of the password hashes
 *   auth/bootstrap               str × 9             in the order of struct auth_bootstrap, plain text
 *   auth/console/USER            str                 argon2id string
 *   auth/instance/ID             3: u64 created_ms, u8 client_id, u8 topics, u8 on_denied, u8 allow_anonymous,
 *                                str name, str region, u8 subscriptions, u8 unknown_users
 *                                2: the same without unknown_users; 1: without subscriptions, too
 *   auth/group/INSTANCE/GID      u64 created_ms
 *   auth/topic/INSTANCE/PARENT   u64 created_ms
 *   auth/user/INSTANCE/NAME      2: u64 created_ms, u8 kind of hash (0 ours, else enum foreign_kind), u32 rounds,
 *                                str salt, str hash, u8 enum scram_state, for SCRAM_KEYS: u32 rounds, 16 bytes salt,
 *                                32 bytes StoredKey, 32 bytes ServerKey; then permissions
 *                                1: u64 created_ms, u32 rounds, 16 bytes salt, 32 bytes hash, permissions
 *   auth/rules/INSTANCE/NAME     permissions          NAME: "*" for everyone, "$anonymous"
 *
 * permissions: u16 count, count × (u8 deny, u8 action, str filter).
 * An instance ID has no '/', so the first one behind it begins the name. Keys outside of auth/ are not ours.
 */
#include "auth/settings.h"

#include <assert.h>

#include "base/bytes.h"

enum { SETTINGS_VERSION = 1, USER_VERSION = 2, INSTANCE_VERSION = 3 };

static const char *const prefixes[SETTING_KIND_COUNT] = {
    [SETTING_FORMAT] = "auth/format",       [SETTING_SECRET] = "auth/secret",
    [SETTING_BOOTSTRAP] = "auth/bootstrap", [SETTING_CONSOLE] = "auth/console/",
    [SETTING_INSTANCE] = "auth/instance/",  [SETTING_GROUP] = "auth/group/",
    [SETTING_TOPIC] = "auth/topic/",        [SETTING_USER] = "auth/user/",
    [SETTING_RULES] = "auth/rules/",
};

static bool kind_has_instance(enum setting_kind kind)
{
    return kind == SETTING_GROUP || kind == SETTING_TOPIC || kind == SETTING_USER ||
           kind == SETTING_RULES;
}

void settings_put_key(struct buf *b, enum setting_kind kind, struct slice instance,
                      struct slice name)
{
    buf_put_slice(b, slice_str(prefixes[kind]));
    if (kind_has_instance(kind)) {
        buf_put_slice(b, instance);
        buf_put_u8(b, '/');
    }
    buf_put_slice(b, name);
}

static void put_u64(struct buf *b, uint64_t v)
{
    put_le64(buf_reserve(b, 8), v);
    buf_commit(b, 8);
}

static void put_u32(struct buf *b, uint32_t v)
{
    put_le32(buf_reserve(b, 4), v);
    buf_commit(b, 4);
}

static void put_u16(struct buf *b, size_t v)
{
    assert(v <= UINT16_MAX);
    put_le16(buf_reserve(b, 2), (uint16_t)v);
    buf_commit(b, 2);
}

static void put_str(struct buf *b, struct slice s)
{
    put_u16(b, s.n);
    buf_put_slice(b, s);
}

void settings_put_format(struct buf *b)
{
    buf_put_u8(b, SETTINGS_VERSION);
}

void settings_put_secret(struct buf *b, const uint8_t key[PASSWORD_KEY_BYTES])
{
    buf_put_u8(b, SETTINGS_VERSION);
    buf_put(b, key, PASSWORD_KEY_BYTES);
}

void settings_put_bootstrap(struct buf *b, const struct auth_bootstrap *v)
{
    const char *const all[] = {
        v->region,        v->instance_id,       v->console_user,  v->console_password, v->api_token,
        v->access_key_id, v->access_key_secret, v->mqtt_username, v->mqtt_password};
    buf_put_u8(b, SETTINGS_VERSION);
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        put_str(b, slice_str(all[i]));
    }
}

void settings_put_text(struct buf *b, struct slice text)
{
    buf_put_u8(b, SETTINGS_VERSION);
    put_str(b, text);
}

void settings_put_instance(struct buf *b, const struct auth_instance_info *info)
{
    buf_put_u8(b, INSTANCE_VERSION);
    put_u64(b, info->created_ms);
    buf_put_u8(b, (uint8_t)info->client_id);
    buf_put_u8(b, (uint8_t)info->topics);
    buf_put_u8(b, (uint8_t)info->on_denied);
    buf_put_u8(b, info->allow_anonymous ? 1 : 0);
    put_str(b, slice_str(info->name));
    put_str(b, slice_str(info->region));
    buf_put_u8(b, (uint8_t)info->subscriptions);
    buf_put_u8(b, (uint8_t)info->unknown_users);
}

void settings_put_named(struct buf *b, uint64_t created_ms)
{
    buf_put_u8(b, SETTINGS_VERSION);
    put_u64(b, created_ms);
}

static void put_permissions(struct buf *b, const struct ruleset *rs)
{
    put_u16(b, rs->count);
    for (size_t i = 0; i < rs->count; i++) {
        const struct permission *p = &rs->items[i];
        buf_put_u8(b, p->deny ? 1 : 0);
        buf_put_u8(b, (uint8_t)p->action);
        put_str(b, p->filter);
    }
}

static void put_hash(struct buf *b, const struct credential *c)
{
    const struct foreign_hash *f = c->foreign;
    buf_put_u8(b, f == NULL ? 0 : (uint8_t)f->kind);
    put_u32(b, f == NULL ? c->rounds : f->rounds);
    put_str(b, f == NULL ? slice_make(c->salt, sizeof c->salt) : slice_make(f->salt, f->salt_len));
    put_str(b, f == NULL ? slice_make(c->hash, sizeof c->hash)
                         : slice_make(f->hash, foreign_hash_bytes(f->kind)));
}

void settings_put_user(struct buf *b, const struct auth_user *u)
{
    const struct scram_keys *k = u->cred->scram;
    buf_put_u8(b, USER_VERSION);
    put_u64(b, u->e.created_ms);
    put_hash(b, u->cred);
    buf_put_u8(b, (uint8_t)u->cred->scram_state);
    if (k != NULL) {
        put_u32(b, k->rounds);
        buf_put(b, k->salt, sizeof k->salt);
        buf_put(b, k->stored_key, sizeof k->stored_key);
        buf_put(b, k->server_key, sizeof k->server_key);
    }
    put_permissions(b, u->rules);
}

void settings_put_rules(struct buf *b, const struct auth_user *u)
{
    buf_put_u8(b, SETTINGS_VERSION);
    put_permissions(b, u->rules);
}

/* The next `n` bytes, or NULL and `bad`. */
static const uint8_t *get(struct settings_reader *r, size_t n)
{
    if (r->bad || r->rest.n < n) {
        r->bad = true;
        return NULL;
    }
    const uint8_t *p = r->rest.p;
    r->rest = slice_make(p + n, r->rest.n - n);
    return p;
}

uint64_t settings_get_u64(struct settings_reader *r)
{
    const uint8_t *p = get(r, 8);
    return p == NULL ? 0 : get_le64(p);
}

uint32_t settings_get_u32(struct settings_reader *r)
{
    const uint8_t *p = get(r, 4);
    return p == NULL ? 0 : get_le32(p);
}

uint16_t settings_get_u16(struct settings_reader *r)
{
    const uint8_t *p = get(r, 2);
    return p == NULL ? 0 : get_le16(p);
}

uint8_t settings_get_u8(struct settings_reader *r)
{
    const uint8_t *p = get(r, 1);
    return p == NULL ? 0 : p[0];
}

struct slice settings_get_str(struct settings_reader *r)
{
    size_t n = settings_get_u16(r);
    const uint8_t *p = get(r, n);
    return p == NULL ? slice_make(NULL, 0) : slice_make(p, n);
}

void settings_get_bytes(struct settings_reader *r, uint8_t *out, size_t n)
{
    const uint8_t *p = get(r, n);
    if (p != NULL) {
        memcpy(out, p, n);
    }
}

/* Finds the kind of a key and cuts it into instance and name; false: not ours. */
bool settings_parse_key(struct slice key, enum setting_kind *kind, struct slice *instance,
                        struct slice *name)
{
    for (unsigned k = 0; k < SETTING_KIND_COUNT; k++) {
        struct slice prefix = slice_str(prefixes[k]);
        bool whole = k < SETTING_CONSOLE;
        if (!slice_has_prefix(key, prefix) || (whole && key.n != prefix.n)) {
            continue;
        }
        *kind = (enum setting_kind)k;
        *name = slice_from(key, prefix.n);
        *instance = slice_make(NULL, 0);
        if (kind_has_instance(*kind)) {
            const uint8_t *slash = name->n == 0 ? NULL : memchr(name->p, '/', name->n);
            if (slash == NULL) {
                return false;
            }
            *instance = slice_make(name->p, (size_t)(slash - name->p));
            *name = slice_from(*name, instance->n + 1);
        }
        return true;
    }
    return false;
}

uint8_t settings_version(enum setting_kind kind)
{
    return kind == SETTING_USER       ? USER_VERSION
           : kind == SETTING_INSTANCE ? INSTANCE_VERSION
                                      : SETTINGS_VERSION;
}
