/*
 * Who may come in and do what: password files, ACL files, anonymous clients.
 *
 *   Mosquitto                                      here
 *   topic lines before any `user`                  permissions of "$anonymous"
 *   topic lines behind `user NAME`                 permissions of that user
 *   pattern lines                                  permissions of "*", %c and %u as they are
 *   no acl_file: everything is allowed             "*" may do everything, and read $SYS
 *   read, write, readwrite, deny                   allow subscribe, allow publish, allow both, deny both
 *
 * What differs: Mosquitto grants every subscription and asks `read` for each message; here a subscription needs permissions
 * that cover its filter, and one that overlaps a denied topic is refused. There a user's topic lines come before
 * patterns, here any deny beats any allow.
 *
 * With per_listener_settings the files of all listeners are put together: users and permissions are not of a listener here.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/mosquitto_priv.h"

enum { NAME_MAX_BYTES = 256, PASSWORD_MAX_BYTES = 1024, RANDOM_BYTES = 24, RULES_MAX = 1000 };
static const char everyone[] = "*";
static const char anonymous[] = "$anonymous";

static json_t *users(const struct import *im)
{
    return json_object_get(im->settings, "users");
}

static json_t *find_user(const struct import *im, const char *name)
{
    for (size_t i = 0; i < json_array_size(users(im)); i++) {
        json_t *user = json_array_get(users(im), i);
        if (strcmp(json_string_value(json_object_get(user, "name")), name) == 0) {
            return user;
        }
    }
    return NULL;
}

/* A whole file, named by the option's line; a relative name is Mosquitto's, from where it was started. */
static int read_named(struct import *im, struct import_note *from, struct buf *text, char *problem,
                      size_t size)
{
    int failed = im->io->read(im->io->arg, from->value, text);
    if (failed != 0) {
        (void)snprintf(problem, size, "%s:%u: %s %s: %s", from->file, from->line, from->option,
                       from->value, strerror(-failed));
    }
    return failed == 0 ? 0 : -1;
}

/* ---- password files ---- */

/* What keeps a name from being a user's here, or NULL. */
static const char *name_problem(const char *name)
{
    size_t n = strlen(name);
    json_t *utf8 = json_string(name);
    bool good = utf8 != NULL;
    json_decref(utf8);
    for (size_t i = 0; i < n; i++) {
        good = good && (unsigned char)name[i] >= 0x20 && name[i] != 0x7F && name[i] != '|';
    }
    if (!good || n == 0 || n > NAME_MAX_BYTES) {
        return "a user name has 1 to 256 bytes of UTF-8, without control characters and '|'";
    }
    return strcmp(name, everyone) == 0 || strcmp(name, anonymous) == 0
               ? "this name stands for everyone, or for anonymous clients"
               : NULL;
}

/* $6$SALT$HASH, $7$ROUNDS$SALT$HASH; the broker looks at the rest. */
static bool is_hash(const char *s)
{
    size_t dollars = 0;
    for (const char *p = s; *p != '\0'; p++) {
        dollars += *p == '$';
    }
    return (strncmp(s, "$6$", 3) == 0 && dollars == 3) ||
           (strncmp(s, "$7$", 3) == 0 && dollars == 4);
}

static void user_put(struct import *im, struct import_note *n, const char *member,
                     const char *secret)
{
    const char *before = "";
    json_t *user = find_user(im, n->value);
    if (user == NULL) {
        user = json_pack("{s:s}", "name", n->value);
        (void)json_array_append_new(users(im), user);
    } else {
        before = "; it stands in the file before, the last one holds";
    }
    (void)json_object_del(user, "password");
    (void)json_object_del(user, "passwordHash");
    (void)json_object_set_new(user, member, json_string(secret));
    note_tell(n, IMPORT_TAKEN, "user, %s%s",
              strcmp(member, "password") == 0
                  ? "its password in plain text: hashed when the settings are applied"
                  : "the hash as it is: the old password holds",
              before);
}

static void take_password(struct import *im, struct import_note *n, const char *secret)
{
    const char *bad = name_problem(n->value);
    json_t *utf8 = json_string(secret);
    if (bad != NULL) {
        note_tell(n, IMPORT_NONE, "%s: not imported", bad);
    } else if (secret[0] == '\0') {
        note_tell(n, IMPORT_NONE, "no password: not imported, such a user cannot log in");
    } else if (is_hash(secret)) {
        user_put(im, n, "passwordHash", secret);
    } else if (secret[0] == '$') {
        note_tell(
            n, IMPORT_NONE,
            "the password's hash is neither $6$ nor $7$: set a new one with `tracemq user add`");
    } else if (utf8 == NULL || strlen(secret) > PASSWORD_MAX_BYTES) {
        note_tell(n, IMPORT_NONE, "the password is not 1 to 1024 bytes of UTF-8");
    } else {
        user_put(im, n, "password", secret);
    }
    json_decref(utf8);
}

static int read_passwords(struct import *im, struct import_note *from, char *problem, size_t size)
{
    struct buf text = {0};
    struct slice line;
    size_t before = json_array_size(users(im));
    if (read_named(im, from, &text, problem, size) != 0) {
        buf_fini(&text);
        return -1;
    }
    struct slice rest = buf_slice(&text);
    for (unsigned number = 1; text_next_line(&rest, &line); number++) {
        const uint8_t *colon = line.n == 0 ? NULL : memchr(line.p, ':', line.n);
        if (line.n == 0 || line.p[0] == '#' || text_trim(line).n == 0) {
            continue;
        }
        size_t n = colon == NULL ? line.n : (size_t)(colon - line.p);
        struct slice secret = text_trim(slice_from(line, n + 1));
        struct import_note *note =
            note_add(im, from->value, number, slice_str("user"), text_trim(slice_make(line.p, n)));
        char *copy = mem_strndup(secret.p, secret.n);
        take_password(im, note, copy);
        explicit_bzero(copy, secret.n);
        free(copy);
    }
    buf_fini(&text);
    note_tell(from, IMPORT_TAKEN, "%zu users in the settings", json_array_size(users(im)) - before);
    return 0;
}

/* ---- ACL files ---- */

static const char *has_placeholder(struct slice topic)
{
    for (size_t i = 0; i + 1 < topic.n; i++) {
        if (topic.p[i] == '%' && (topic.p[i + 1] == 'c' || topic.p[i + 1] == 'u')) {
            return topic.p[i + 1] == 'c' ? "%c" : "%u";
        }
    }
    return NULL;
}

struct rule {
    const char *word, *effect, *action;
};

/* "[read|write|readwrite|deny] TOPIC": the access may be left out, a topic may have blanks. */
static const struct rule *split_rule(struct slice value, struct slice *topic)
{
    static const struct rule rules[] = {{"readwrite", "allow", "both"},
                                        {"read", "allow", "subscribe"},
                                        {"write", "allow", "publish"},
                                        {"deny", "deny", "both"}};
    struct slice rest = value;
    struct slice word = text_word(&rest);
    if (rest.n == 0) {
        *topic = word;
        return &rules[0];
    }
    *topic = rest;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        if (slice_eq(word, slice_str(rules[i].word))) {
            return &rules[i];
        }
    }
    return NULL;
}

static json_t *rules_of(const struct import *im, const char *name)
{
    json_t *all = json_object_get(im->settings, "permissions");
    json_t *rules = json_object_get(all, name);
    if (rules == NULL) {
        rules = json_array();
        (void)json_object_set_new(all, name, rules);
    }
    return rules;
}

static void add_rule(const struct import *im, const char *name, const char *effect,
                     const char *action, struct slice filter)
{
    json_t *rule = json_pack("{s:s,s:s,s:s%}", "effect", effect, "action", action, "filter",
                             filter.p, filter.n);
    json_t *rules = rules_of(im, name);
    for (size_t i = 0; i < json_array_size(rules); i++) {
        if (json_equal(json_array_get(rules, i), rule)) {
            json_decref(rule);
            return;
        }
    }
    (void)json_array_append_new(rules, rule);
}

static void take_rule(struct import *im, struct import_note *n, const char *subject, bool pattern)
{
    struct slice topic;
    const struct rule *rule = split_rule(slice_str(n->value), &topic);
    json_t *utf8 = json_stringn((const char *)topic.p, topic.n);
    if (rule == NULL) {
        note_tell(n, IMPORT_BAD, "the access must be read, write, readwrite or deny");
    } else if (utf8 == NULL || !text_is_filter(topic)) {
        note_tell(n, IMPORT_BAD, "\"%.*s\" is no topic filter",
                  (int)(topic.n > 200 ? 200 : topic.n), utf8 == NULL ? "" : (const char *)topic.p);
    } else if (!pattern && has_placeholder(topic) != NULL) {
        note_tell(n, IMPORT_NONE,
                  "%s in a topic line means itself; here it would stand for a name: not imported",
                  has_placeholder(topic));
    } else if (json_array_size(rules_of(im, subject)) == RULES_MAX) {
        note_tell(n, IMPORT_NONE, "\"%s\" has 1000 permissions, and cannot have more", subject);
    } else {
        bool deny = strcmp(rule->effect, "deny") == 0;
        add_rule(im, subject, rule->effect, rule->action, topic);
        im->deny_pattern = im->deny_pattern || (pattern && deny);
        note_tell(n, IMPORT_TAKEN, "%s: %s %s %.*s", subject, rule->effect, rule->action,
                  (int)topic.n, (const char *)topic.p);
    }
    json_decref(utf8);
}

/* What follows `user NAME` is that user's; the name is kept in the note. */
static struct import_note *acl_line(struct import *im, struct import_note *n,
                                    struct import_note *user)
{
    bool pattern = strcmp(n->option, "pattern") == 0;
    if (strcmp(n->option, "user") == 0 && n->value[0] != '\0') {
        const char *bad = name_problem(n->value);
        note_tell(n, bad == NULL ? IMPORT_TAKEN : IMPORT_NONE, "%s",
                  bad == NULL ? "its permissions follow" : bad);
        return n;
    }
    if ((!pattern && strcmp(n->option, "topic") != 0) || n->value[0] == '\0') {
        note_tell(n, IMPORT_BAD, "expected topic, user or pattern, and what it is for");
    } else if (pattern) {
        take_rule(im, n, everyone, true);
    } else if (user == NULL) {
        take_rule(im, n, anonymous, false);
    } else if (user->outcome == IMPORT_NONE) {
        note_tell(n, IMPORT_NONE, "its user is not imported");
    } else {
        take_rule(im, n, user->value, false);
    }
    return user;
}

static int read_acl(struct import *im, struct import_note *from, char *problem, size_t size)
{
    struct buf text = {0};
    struct slice line;
    struct import_note *user = NULL;
    if (read_named(im, from, &text, problem, size) != 0) {
        buf_fini(&text);
        return -1;
    }
    struct slice rest = buf_slice(&text);
    for (unsigned number = 1; text_next_line(&rest, &line); number++) {
        struct slice value = line;
        struct slice word = text_word(&value);
        if (word.n > 0 && word.p[0] != '#') {
            user = acl_line(im, note_add(im, from->value, number, word, value), user);
        }
    }
    buf_fini(&text);
    note_tell(from, IMPORT_TAKEN, "permissions in the settings");
    return 0;
}

/* ---- the whole ---- */

static bool names_by_certificate(const struct import *im)
{
    for (size_t i = 0; i < im->scope_count; i++) {
        if (!im->scopes[i]->left_out && scope_true(im->scopes[i], "use_identity_as_username")) {
            return true;
        }
    }
    return false;
}

/*
 * Users of the ACL file that have no password: with certificates they need none, but must exist here, so they get one
 * that nobody knows. Others cannot log in, there as here.
 */
static void users_without_password(struct import *im)
{
    json_t *all = json_object_get(im->settings, "permissions");
    bool by_certificate = names_by_certificate(im);
    const char *name;
    json_t *rules;
    void *next;
    json_object_foreach_safe(all, next, name, rules)
    {
        uint8_t bytes[RANDOM_BYTES];
        char hex[2 * RANDOM_BYTES + 1];
        if (strcmp(name, everyone) == 0 || strcmp(name, anonymous) == 0 ||
            find_user(im, name) != NULL) {
            continue;
        }
        char *what = text_printf("user %s", name);
        if (by_certificate) {
            im->io->random(im->io->arg, bytes, sizeof bytes);
            for (size_t i = 0; i < sizeof bytes; i++) {
                (void)snprintf(hex + 2 * i, 3, "%02x", bytes[i]);
            }
            (void)json_array_append_new(users(im),
                                        json_pack("{s:s,s:s}", "name", name, "password", hex));
            note_general(
                im, what,
                "has permissions but no password: made with one that nobody knows, for its certificate");
        } else {
            (void)json_object_del(all, name);
            note_general(im, what,
                         "has permissions but no password: not imported, it cannot log in");
        }
        free(what);
    }
}

/* The listeners' scopes, or with per_listener_settings off the broker's: those that can have security options. */
static bool is_security_scope(const struct import *im, const struct scope *s)
{
    return s->kind == WHERE_BROKER || (im->per_listener && s->kind == WHERE_LISTENER && s->used);
}

/* Whether all let anonymous clients in; `some`: one of them does. */
static bool anonymous_everywhere(const struct import *im, bool *some)
{
    bool listeners = false, all = true;
    *some = false;
    for (size_t i = 0; i < im->scope_count; i++) {
        const struct scope *s = im->scopes[i];
        listeners = listeners || (s->kind == WHERE_LISTENER && s->used);
        if (s->kind == WHERE_LISTENER && s->used && im->per_listener) {
            all = all && scope_true(s, "allow_anonymous");
            *some = *some || scope_true(s, "allow_anonymous");
        }
    }
    if (listeners && im->per_listener) {
        return all;
    }
    /* without a listener it is for this machine only, and allowed until something else is said */
    bool said = scope_given(im->scopes[0], "allow_anonymous") != NULL;
    *some = said ? scope_true(im->scopes[0], "allow_anonymous") : !listeners;
    return *some;
}

/* `any_name`: names count for nothing, as nobody checks them. */
static void tell_anonymous(struct import *im, bool allowed, bool some, bool passwords,
                           bool any_name)
{
    for (size_t i = 0; i < im->scope_count; i++) {
        struct import_note *n = scope_given(im->scopes[i], "allow_anonymous");
        struct taking t = {.im = im, .s = im->scopes[i], .n = n};
        bool on;
        if (n != NULL && !taking_flag(&t, &on)) {
            continue;
        }
        if (n != NULL && scope_true(im->scopes[i], "allow_anonymous") != allowed) {
            note_tell(
                n, IMPORT_NONE,
                "not of one listener alone: refused on all; `tracemq instance set mqtt-local allow_anonymous true` lets "
                "them in on all");
        } else if (n != NULL) {
            note_tell(n, IMPORT_TAKEN, "setting allow_anonymous: %s", allowed ? "true" : "false");
        }
    }
    if (any_name) {
        note_general(
            im, "no password_file",
            "unknown_users set to anonymous: any user name and password are taken, as Mosquitto takes them then; our own "
            "default is to refuse a name that is no user's");
    } else if (some && !passwords) {
        note_general(
            im, "no password_file",
            "here a user name that is given must be a user's: devices that send one are refused (auth.unknown_identity) "
            "until it is added, or they send none");
    }
}

/* Nothing said who may do what: everything is allowed. */
static void allow_all(const struct import *im)
{
    add_rule(im, everyone, "allow", "both", slice_str("#"));
    add_rule(im, everyone, "allow", "subscribe", slice_str("$SYS/#"));
}

static void tell_differences(struct import *im, bool acl, bool open_listener)
{
    note_general(
        im, "on_denied",
        "set to refuse: a denied publish is answered and the connection stays, as with Mosquitto; our own default is to "
        "close it");
    note_general(
        im, "subscriptions",
        "set to filtered: every subscription is granted and what may be read is delivered, as with Mosquitto; our own "
        "default is to grant what permissions cover");
    if (im->deny_pattern) {
        note_general(
            im, "pattern deny",
            "a deny beats every allow here; in Mosquitto a user's own topic lines come before patterns");
    }
    if (im->plugins) {
        note_general(
            im, "plugins",
            "what they decided is not known: without acl_file nobody may publish or subscribe until permissions are "
            "added (`tracemq permission add '*' allow both '#'` is everything for everyone)");
    }
    if (acl && open_listener) {
        note_general(
            im, "a listener without acl_file",
            "there everything was allowed; here the permissions of the other listeners hold on it, too");
    }
    note_general(
        im, "sessions",
        "mosquitto.db is not imported: subscriptions and queues of persistent sessions begin anew. Retained messages come "
        "by a bridge from the old broker while both run (docs/migrating.md)");
}

int access_read(struct import *im, char *problem, size_t size)
{
    bool passwords = false, acl = false, open_listener = false, some;
    for (size_t i = 0; i < im->scope_count; i++) {
        struct scope *s = im->scopes[i];
        struct import_note *file = scope_given(s, "password_file");
        if (file != NULL && read_passwords(im, file, problem, size) != 0) {
            return -1;
        }
        passwords = passwords || file != NULL;
        file = scope_given(s, "acl_file");
        if (file != NULL && read_acl(im, file, problem, size) != 0) {
            return -1;
        }
        acl = acl || file != NULL;
        open_listener = open_listener ||
                        (file == NULL && s->kind == WHERE_LISTENER && is_security_scope(im, s));
    }
    (void)rules_of(im, anonymous);
    if (acl || im->plugins) {
        (void)rules_of(im, everyone);
    } else {
        allow_all(im);
    }
    users_without_password(im);
    bool allowed = anonymous_everywhere(im, &some);
    bool any_name = allowed && !passwords && !im->plugins;
    json_t *settings = json_object_get(im->settings, "settings");
    (void)json_object_set_new(settings, "allow_anonymous", json_boolean(allowed));
    (void)json_object_set_new(settings, "unknown_users",
                              json_string(any_name ? "anonymous" : "refused"));
    tell_anonymous(im, allowed, some, passwords, any_name);
    tell_differences(im, acl, open_listener);
    return 0;
}
