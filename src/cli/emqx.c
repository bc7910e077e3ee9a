/*
 * Users of EMQX; see emqx.h.
 *
 * EMQX stores a hash in hexadecimal, and a salt that it takes as the text that it is. Which algorithm that was, and on which side of the
 * password the salt stood, is a setting of the authenticator, so who imports has to say it. The broker gets the whole in the form that
 * auth/foreign.c reads: $sha256-prefix$SALT$HASH, both in base64.
 *
 * A superuser passes authorization there; here it gets a permission for everything. Others get none: rules are not in these files.
 */
#include "cli/emqx.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/format.h"

enum { COLUMNS = 5, FIELDS_MAX = 32, SALT_MAX = 64, HASH_MAX = 64, ROUNDS_MAX = 1000000 };
enum column { USER_ID, PASSWORD_HASH, SALT, IS_SUPERUSER, PASSWORD };
static const char *const names[COLUMNS] = {"user_id", "password_hash", "salt", "is_superuser",
                                           "password"};

/* One user as it stands in the file; NULL: not there. */
struct row {
    const char *text[COLUMNS];
    bool superuser;
    size_t number; /* line, or place in the array, from 1 */
};

struct taking {
    const struct emqx_hash *hash;
    json_t *users, *permissions;
    struct buf *report;
    size_t left_out;
    const char *unit; /* "line", "user" */
};

bool emqx_hash_parse(const char *text, struct emqx_hash *out)
{
    static const struct {
        const char *name, *form;
        size_t hash_bytes;
        bool rounds, salted;
    } rows[] = {
        {"plain", NULL, 0, false, false},
        {"sha256", "$sha256-prefix$", 32, false, false},
        {"sha256-prefix", "$sha256-prefix$", 32, false, true},
        {"sha256-suffix", "$sha256-suffix$", 32, false, true},
        {"sha512", "$sha512-prefix$", 64, false, false},
        {"sha512-prefix", "$sha512-prefix$", 64, false, true},
        {"sha512-suffix", "$sha512-suffix$", 64, false, true},
        {"pbkdf2-sha256", "$pbkdf2-sha256$", 32, true, true},
        {"pbkdf2-sha512", "$pbkdf2-sha512$", 64, true, true},
    };
    const char *colon = strchr(text, ':');
    size_t n = colon == NULL ? strlen(text) : (size_t)(colon - text);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (strlen(rows[i].name) != n || memcmp(rows[i].name, text, n) != 0) {
            continue;
        }
        char *end = NULL;
        unsigned long rounds = colon == NULL ? 0 : strtoul(colon + 1, &end, 10);
        bool number = colon != NULL && *end == '\0' && colon[1] >= '0' && colon[1] <= '9' &&
                      rounds > 0 && rounds <= ROUNDS_MAX;
        *out = (struct emqx_hash){.form = rows[i].form,
                                  .rounds = (unsigned)rounds,
                                  .hash_bytes = rows[i].hash_bytes,
                                  .salted = rows[i].salted};
        return rows[i].rounds ? number : colon == NULL;
    }
    return false;
}

/* ---- one user ---- */

static void leave_out(struct taking *t, const struct row *r, const char *why)
{
    char head[48];
    (void)snprintf(head, sizeof head, "%s %zu, ", t->unit, r->number);
    buf_put_slice(t->report, slice_str(head));
    cli_put_safe(t->report, slice_str(r->text[USER_ID] == NULL ? "?" : r->text[USER_ID]));
    buf_put_slice(t->report, slice_str(": not taken over: "));
    buf_put_slice(t->report, slice_str(why));
    buf_put_u8(t->report, '\n');
    t->left_out++;
}

static int hex_digit(char c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool read_hex(const char *text, uint8_t *out, size_t n)
{
    if (strlen(text) != 2 * n) {
        return false;
    }
    for (size_t i = 0; i < n; i++) {
        int high = hex_digit(text[2 * i]), low = hex_digit(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            return false;
        }
        out[i] = (uint8_t)(high * 16 + low);
    }
    return true;
}

static void put_base64(struct buf *b, const uint8_t *p, size_t n)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < n; i += 3) {
        uint32_t three = (uint32_t)p[i] << 16;
        three |= i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0;
        three |= i + 2 < n ? p[i + 2] : 0;
        for (unsigned k = 0; k < 4; k++) {
            bool pad = i + k > n;
            buf_put_u8(b, pad ? '=' : (uint8_t)digits[three >> (18 - 6 * k) & 63]);
        }
    }
}

/* The broker's form of it, or NULL and why not. */
static json_t *hash_of(const struct emqx_hash *h, const struct row *r, const char **why)
{
    const char *salt = r->text[SALT] == NULL || !h->salted ? "" : r->text[SALT];
    uint8_t hash[HASH_MAX];
    struct buf b = {0};
    char rounds[16];
    if (strlen(salt) > SALT_MAX) {
        *why = "its salt is longer than 64 bytes";
        return NULL;
    }
    if (!read_hex(r->text[PASSWORD_HASH], hash, h->hash_bytes)) {
        *why = "its hash has not the length of --hash, or is not hexadecimal";
        return NULL;
    }
    buf_put_slice(&b, slice_str(h->form));
    if (h->rounds > 0) {
        (void)snprintf(rounds, sizeof rounds, "%u$", h->rounds);
        buf_put_slice(&b, slice_str(rounds));
    }
    put_base64(&b, (const uint8_t *)salt, strlen(salt));
    buf_put_u8(&b, '$');
    put_base64(&b, hash, h->hash_bytes);
    json_t *text = json_stringn((const char *)buf_slice(&b).p, buf_len(&b));
    buf_fini(&b);
    return text;
}

static bool given(const struct row *r, enum column c)
{
    return r->text[c] != NULL && r->text[c][0] != '\0';
}

static const char *problem_of(const struct taking *t, const struct row *r)
{
    const char *name = r->text[USER_ID];
    if (!given(r, USER_ID)) {
        return "it has no user_id";
    }
    if (strcmp(name, "*") == 0 || strcmp(name, "$anonymous") == 0) {
        return "this name stands for everyone, or for anonymous clients";
    }
    if (!given(r, PASSWORD) && !given(r, PASSWORD_HASH)) {
        return "it has no password";
    }
    return !given(r, PASSWORD) && t->hash == NULL ? "--hash has to say what its password_hash is"
                                                  : NULL;
}

static void take(struct taking *t, const struct row *r)
{
    const char *why = problem_of(t, r);
    json_t *user = json_object(), *name = NULL, *secret = NULL;
    bool plain = given(r, PASSWORD) || (t->hash != NULL && t->hash->form == NULL);
    if (why == NULL) {
        why = "its name or password is no UTF-8";
        name = json_string(r->text[USER_ID]);
        secret = !plain ? hash_of(t->hash, r, &why)
                        : json_string(r->text[given(r, PASSWORD) ? PASSWORD : PASSWORD_HASH]);
    }
    if (name == NULL || secret == NULL) {
        leave_out(t, r, why);
        json_decref(name);
        json_decref(secret);
        json_decref(user);
        return;
    }
    (void)json_object_set_new(user, "name", name);
    (void)json_object_set_new(user, plain ? "password" : "passwordHash", secret);
    (void)json_array_append_new(t->users, user);
    if (r->superuser) {
        (void)json_object_set_new(t->permissions, r->text[USER_ID],
                                  json_pack("[{s:s,s:s,s:s},{s:s,s:s,s:s}]", "effect", "allow",
                                            "action", "both", "filter", "#", "effect", "allow",
                                            "action", "subscribe", "filter", "$SYS/#"));
    }
}

/* ---- CSV (RFC 4180) ---- */

struct csv {
    const char *p, *end;
    size_t line;      /* that it is in, from 1 */
    struct buf bytes; /* the fields of one row, each with a NUL behind it */
    size_t at[FIELDS_MAX];
    size_t count;
};

/* One field, without what ends it. */
static void csv_field(struct csv *c)
{
    bool quoted = c->p < c->end && *c->p == '"';
    c->p += quoted;
    while (c->p < c->end) {
        char ch = *c->p;
        if (quoted && ch == '"') {
            c->p++;
            if (c->p == c->end || *c->p != '"') {
                quoted = false;
                continue;
            }
        } else if (!quoted && (ch == ',' || ch == '\n')) {
            break;
        }
        c->line += ch == '\n';
        if (quoted || ch != '\r') {
            buf_put_u8(&c->bytes, (uint8_t)ch);
        }
        c->p++;
    }
    buf_put_u8(&c->bytes, 0);
}

/* False: the file is over. Fields beyond FIELDS_MAX are passed over. */
static bool csv_row(struct csv *c)
{
    if (c->p == c->end) {
        return false;
    }
    buf_clear(&c->bytes);
    c->count = 0;
    for (;;) {
        size_t at = buf_len(&c->bytes);
        csv_field(c);
        if (c->count < FIELDS_MAX) {
            c->at[c->count++] = at;
        }
        if (c->p == c->end || *c->p++ == '\n') {
            return true;
        }
    }
}

static const char *csv_text(const struct csv *c, size_t field)
{
    return field < c->count ? (const char *)buf_slice(&c->bytes).p + c->at[field] : NULL;
}

/* Where each column stands; FIELDS_MAX: nowhere. */
static void csv_columns(const struct csv *c, size_t where[COLUMNS])
{
    for (size_t k = 0; k < COLUMNS; k++) {
        where[k] = 0;
        while (where[k] < c->count && strcmp(csv_text(c, where[k]), names[k]) != 0) {
            where[k]++;
        }
        where[k] = where[k] < c->count ? where[k] : FIELDS_MAX;
    }
}

static const char *take_csv(struct taking *t, struct slice text)
{
    struct csv c = {.p = (const char *)text.p, .end = (const char *)text.p + text.n, .line = 1};
    size_t where[COLUMNS];
    bool head = csv_row(&c);
    csv_columns(&c, where);
    head = head && where[USER_ID] < FIELDS_MAX &&
           (where[PASSWORD_HASH] < FIELDS_MAX || where[PASSWORD] < FIELDS_MAX);
    for (size_t line = ++c.line; head && csv_row(&c); line = ++c.line) {
        struct row r = {.number = line};
        if (c.count == 1 && csv_text(&c, 0)[0] == '\0') {
            continue;
        }
        for (size_t k = 0; k < COLUMNS; k++) {
            r.text[k] = csv_text(&c, where[k]);
        }
        r.superuser = r.text[IS_SUPERUSER] != NULL && (strcmp(r.text[IS_SUPERUSER], "true") == 0 ||
                                                       strcmp(r.text[IS_SUPERUSER], "1") == 0);
        take(t, &r);
    }
    buf_fini(&c.bytes);
    return head ? NULL
                : "its first line has to name the columns user_id and password_hash, or password";
}

/* ---- JSON ---- */

static const char *take_json(struct taking *t, struct slice text)
{
    json_error_t e;
    json_t *doc = json_loadb((const char *)text.p, text.n, 0, &e), *item;
    bool good = json_is_array(doc);
    size_t i;
    json_array_foreach(doc, i, item)
    {
        struct row r = {.number = i + 1};
        for (size_t k = 0; k < COLUMNS; k++) {
            r.text[k] = json_string_value(json_object_get(item, names[k]));
        }
        const char *super = r.text[IS_SUPERUSER];
        r.superuser = json_is_true(json_object_get(item, names[IS_SUPERUSER])) ||
                      (super != NULL && strcmp(super, "true") == 0);
        take(t, &r);
    }
    json_decref(doc);
    return good ? NULL : "it has to be a JSON array of users";
}

json_t *emqx_users(struct slice text, bool json, const struct emqx_hash *hash, struct buf *report,
                   size_t *left_out, char *problem, size_t size)
{
    struct taking t = {.hash = hash,
                       .users = json_array(),
                       .permissions = json_object(),
                       .report = report,
                       .unit = json ? "user" : "line"};
    const char *bad = json ? take_json(&t, text) : take_csv(&t, text);
    json_t *doc = json_pack("{s:s,s:s,s:o,s:o}", "format", "tracemq-settings-1", "source", "EMQX",
                            "users", t.users, "permissions", t.permissions);
    *left_out = t.left_out;
    if (bad != NULL) {
        (void)snprintf(problem, size, "%s", bad);
        json_decref(doc);
        doc = NULL;
    }
    return doc;
}
