/*
 * The settings as keys and values of STORE_SETTINGS (layout: settings.c).
 */
#ifndef TMQ_AUTH_SETTINGS_H
#define TMQ_AUTH_SETTINGS_H

#include "auth/auth_priv.h"
#include "base/buf.h"

enum setting_kind {
    SETTING_FORMAT,
    SETTING_SECRET,
    SETTING_BOOTSTRAP,
    SETTING_CONSOLE,
    SETTING_INSTANCE,
    SETTING_GROUP,
    SETTING_TOPIC,
    SETTING_USER,
    SETTING_RULES,
    SETTING_KIND_COUNT
};

/* Appends the key. `instance` and `name` are used by the kinds that have them. */
void settings_put_key(struct buf *b, enum setting_kind kind, struct slice instance,
                      struct slice name);

/* Append the values. */
void settings_put_format(struct buf *b);
void settings_put_secret(struct buf *b, const uint8_t key[PASSWORD_KEY_BYTES]);
void settings_put_bootstrap(struct buf *b, const struct auth_bootstrap *v);
void settings_put_text(struct buf *b, struct slice text); /* console account */
void settings_put_instance(struct buf *b, const struct auth_instance_info *info);
void settings_put_named(struct buf *b, uint64_t created_ms); /* group, topic */
void settings_put_user(struct buf *b, const struct auth_user *u);
void settings_put_rules(struct buf *b,
                        const struct auth_user *u); /* of everyone, of anonymous clients */

/* Finds the kind of a key and cuts it into instance and name; false: not ours or not whole. */
bool settings_parse_key(struct slice key, enum setting_kind *kind, struct slice *instance,
                        struct slice *name);
/* The newest version of a kind's values; older ones can be read, too. */
uint8_t settings_version(enum setting_kind kind);

/* A value being read; `bad` latches. */
struct settings_reader {
    struct slice rest;
    bool bad;
};
uint64_t settings_get_u64(struct settings_reader *r);
uint32_t settings_get_u32(struct settings_reader *r);
uint16_t settings_get_u16(struct settings_reader *r);
uint8_t settings_get_u8(struct settings_reader *r);
struct slice settings_get_str(struct settings_reader *r);
void settings_get_bytes(struct settings_reader *r, uint8_t *out, size_t n);

/*
 * Reads all settings into a->current (version 1), keys, accounts and bootstrap values. *empty tells that there were
 * none. 0, or negative with *err filled.
 */
int settings_load(struct auth *a, bool *empty, struct auth_error *err)
    __attribute__((warn_unused_result));

#endif
