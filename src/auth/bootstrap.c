/*
 * The first start: random credentials, the default instance and its first user, all saved in one step, so that a
 * crash leaves either nothing or everything.
 */
#include <errno.h>
#include <sodium.h>
#include <stdlib.h>

#include "auth/settings.h"
#include "base/clock.h"
#include "base/mem.h"

enum { BOOT_KEYS = 6 };

/* `n` random characters that can be read aloud and typed: no 0, O, 1, l, I. 5.8 bits each. */
static char *random_text(const char *prefix, size_t n)
{
    static const char alphabet[] = "abcdefghijkmnopqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789";
    size_t head = strlen(prefix);
    char *s = mem_alloc(head + n + 1);
    memcpy(s, prefix, head);
    for (size_t i = 0; i < n; i++) {
        s[head + i] = alphabet[randombytes_uniform((uint32_t)(sizeof alphabet - 1))];
    }
    s[head + n] = '\0';
    return s;
}

static char *keep(const char *s)
{
    return mem_strndup(s, strlen(s));
}

static void make_values(struct auth_bootstrap *b)
{
    *b = (struct auth_bootstrap){.region = keep("local"),
                                 .instance_id = keep("mqtt-local"),
                                 .console_user = keep("admin"),
                                 .console_password = random_text("", 20),
                                 .api_token = random_text("tmq_", 40),
                                 .access_key_id = random_text("AK", 22),
                                 .access_key_secret = random_text("", 36),
                                 .mqtt_username = keep("demo"),
                                 .mqtt_password = random_text("", 20)};
}

static struct auth_user *make_user(const struct auth *a, uint64_t now_ms)
{
    const struct permission rights[] = {
        {.action = AUTH_BOTH, .filter = slice_str("#")},
        {.action = AUTH_SUBSCRIBE, .filter = slice_str("$SYS/#")},
    };
    struct credential *cred =
        credential_new(a->password_key, slice_str(a->bootstrap.mqtt_password));
    return user_new(slice_str(a->bootstrap.mqtt_username), now_ms, cred, rights, 2);
}

static struct auth_instance *make_instance(const struct auth *a, uint64_t now_ms)
{
    struct auth_instance_info info = {.created_ms = now_ms};
    text_format(info.id, sizeof info.id, "%s", a->bootstrap.instance_id);
    text_format(info.name, sizeof info.name, "%s", a->bootstrap.instance_id);
    text_format(info.region, sizeof info.region, "%s", a->bootstrap.region);
    struct auth_instance *inst = instance_new(policy_new(&info, shelf_new(NULL, 0)));
    struct auth_user *u = make_user(a, now_ms);
    struct shelf **shard = instance_user_shard(inst, u->e.name);
    shelf_replace(shard, shelf_with(*shard, &u->e));
    entry_unref(&u->e);
    return inst;
}

static int save_all(struct auth *a, struct auth_instance *inst)
{
    struct buf keys[BOOT_KEYS] = {0};
    struct buf values[BOOT_KEYS] = {0};
    struct slice none = slice_str("");
    struct slice user = slice_str(a->bootstrap.mqtt_username);
    settings_put_key(&keys[0], SETTING_FORMAT, none, none);
    settings_put_format(&values[0]);
    settings_put_key(&keys[1], SETTING_SECRET, none, none);
    settings_put_secret(&values[1], a->password_key);
    settings_put_key(&keys[2], SETTING_BOOTSTRAP, none, none);
    settings_put_bootstrap(&values[2], &a->bootstrap);
    settings_put_key(&keys[3], SETTING_CONSOLE, none, slice_str(a->accounts[0].name));
    settings_put_text(&values[3], slice_str(a->accounts[0].hash));
    settings_put_key(&keys[4], SETTING_INSTANCE, none, inst->e.name);
    settings_put_instance(&values[4], &inst->policy->info);
    settings_put_key(&keys[5], SETTING_USER, inst->e.name, user);
    settings_put_user(&values[5], instance_user(inst, user));

    struct slice k[BOOT_KEYS];
    struct slice v[BOOT_KEYS];
    for (size_t i = 0; i < BOOT_KEYS; i++) {
        k[i] = buf_slice(&keys[i]);
        v[i] = buf_slice(&values[i]);
    }
    int rc = a->io.save(a->io.arg, k, v, BOOT_KEYS);
    for (size_t i = 0; i < BOOT_KEYS; i++) {
        buf_fini(&keys[i]);
        buf_fini(&values[i]);
    }
    return rc;
}

static int make_account(struct auth *a)
{
    char hash[crypto_pwhash_STRBYTES];
    const char *password = a->bootstrap.console_password;
    if (crypto_pwhash_str(hash, password, strlen(password), crypto_pwhash_OPSLIMIT_INTERACTIVE,
                          crypto_pwhash_MEMLIMIT_INTERACTIVE) != 0) {
        return -ENOMEM;
    }
    a->accounts = mem_new(1, sizeof *a->accounts);
    a->accounts[0] =
        (struct console_account){.name = keep(a->bootstrap.console_user), .hash = keep(hash)};
    a->account_count = 1;
    return 0;
}

int bootstrap_create(struct auth *a, struct auth_error *err)
{
    uint64_t now_ms = clock_wall_us() / 1000;
    make_values(&a->bootstrap);
    randombytes_buf(a->password_key, sizeof a->password_key);
    if (make_account(a) != 0) {
        return auth_fail(err, -ENOMEM, "", "argon2id needs 64 MiB of memory to hash a password");
    }
    struct auth_instance *inst = make_instance(a, now_ms);
    int rc = save_all(a, inst);
    if (rc != 0) {
        entry_unref(&inst->e);
        return auth_fail(err, rc, "", "the first settings cannot be saved: %s", strerror(-rc));
    }
    struct entry *one = &inst->e;
    snapshot_publish(a, snapshot_new(shelf_new(&one, 1), 1));
    return 0;
}
