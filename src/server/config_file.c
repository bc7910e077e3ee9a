/*
 * The configuration file: YAML, read by libcyaml with a schema made from the table. Every value is taken as text and
 * then parsed as on the command line.
 *
 * Errors want a line. libcyaml logs its own as one line of what, then a backtrace of where; log_line() collects both.
 * For a value that our parser refuses, the file is loaded again with a schema that refuses just this key, so that
 * libcyaml tells its place. A key that is unknown or given twice is reported at the value before it: find_key()
 * goes on from there.
 */
#include <cyaml/cyaml.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "server/config_priv.h"

enum { FILE_MAX_BYTES = 1024 * 1024, KEY_MAX = 64, BRIDGES_MAX = 64, BRIDGE_TOPICS_MAX = 1000 };
static const char *const group_names[] = {"tls", "websocket", "trace"};
enum { GROUPS = sizeof group_names / sizeof *group_names };

/* What the file says: texts by row; those of groups stand apart because libcyaml reads a nested mapping there. */
struct file_listener {
    char *value[LISTENER_ROWS];
};
struct file_topic {
    char *value[BRIDGE_TOPIC_ROWS];
};
struct file_bridge {
    char *value[BRIDGE_ROWS];
    struct file_topic *topics;
    unsigned topics_count;
};
struct file_values {
    char *plain[CONFIG_ROWS];
    struct {
        char *value[CONFIG_ROWS];
    } group[GROUPS];
    struct file_listener *listeners;
    unsigned listeners_count;
    struct file_bridge *bridges;
    unsigned bridges_count;
};

struct schema {
    cyaml_schema_field_t plain[CONFIG_ROWS + GROUPS + 3], group[GROUPS][CONFIG_ROWS + 1],
        listener[LISTENER_ROWS + 1], bridge[BRIDGE_ROWS + 2], topic[BRIDGE_TOPIC_ROWS + 1];
    cyaml_schema_value_t listener_value, bridge_value, topic_value, top;
};

/* What libcyaml said of an error. */
struct complaint {
    char what[256];
    unsigned line, column;
    unsigned depth; /* fields that the backtrace names, innermost first */
    char field[2][KEY_MAX];
};

struct reading {
    const char *path;
    struct buf text;
    struct config_error *err;
};

/* The row's group and its key there; the group is GROUPS when it stands in none. */
static size_t group_of(const struct option_row *row, const char **key)
{
    const char *dot = strchr(row->key, '.');
    size_t g = dot == NULL ? GROUPS : 0;
    *key = dot == NULL ? row->key : dot + 1;
    while (g < GROUPS && strncmp(group_names[g], row->key, (size_t)(dot - row->key)) != 0) {
        g++;
    }
    return g;
}

static cyaml_schema_field_t text_field(const char *key, size_t offset, bool refused)
{
    uint32_t shortest = refused ? CYAML_UNLIMITED : 0;
    return (cyaml_schema_field_t){
        .key = key,
        .data_offset = (uint32_t)offset,
        .value = {CYAML_VALUE_STRING(CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, char, shortest,
                                     CYAML_UNLIMITED)},
    };
}

static cyaml_schema_field_t group_field(struct schema *s, size_t g)
{
    return (cyaml_schema_field_t){
        .key = group_names[g],
        .data_offset =
            (uint32_t)(offsetof(struct file_values, group) + g * CONFIG_ROWS * sizeof(char *)),
        .value = {.type = CYAML_MAPPING,
                  .flags = CYAML_FLAG_OPTIONAL,
                  .data_size = CONFIG_ROWS * sizeof(char *),
                  .mapping = {.fields = s->group[g]}},
    };
}

static cyaml_schema_field_t listeners_field(struct schema *s)
{
    for (size_t i = 0; i < LISTENER_ROWS; i++) {
        s->listener[i] = text_field(listener_rows[i].key, i * sizeof(char *), false);
    }
    s->listener_value = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_listener, s->listener)};
    return (cyaml_schema_field_t)CYAML_FIELD_SEQUENCE(
        "listeners", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file_values, listeners,
        &s->listener_value, 0, 64);
}

static cyaml_schema_field_t bridges_field(struct schema *s)
{
    for (size_t i = 0; i < BRIDGE_TOPIC_ROWS; i++) {
        s->topic[i] = text_field(bridge_topic_rows[i].key, i * sizeof(char *), false);
    }
    for (size_t i = 0; i < BRIDGE_ROWS; i++) {
        s->bridge[i] = text_field(bridge_rows[i].key, i * sizeof(char *), false);
    }
    s->topic_value = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_topic, s->topic)};
    s->bridge[BRIDGE_ROWS] = (cyaml_schema_field_t)CYAML_FIELD_SEQUENCE(
        "topics", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file_bridge, topics,
        &s->topic_value, 0, BRIDGE_TOPICS_MAX);
    s->bridge_value = (cyaml_schema_value_t){
        CYAML_VALUE_MAPPING(CYAML_FLAG_DEFAULT, struct file_bridge, s->bridge)};
    return (cyaml_schema_field_t)CYAML_FIELD_SEQUENCE(
        "bridges", CYAML_FLAG_POINTER | CYAML_FLAG_OPTIONAL, struct file_values, bridges,
        &s->bridge_value, 0, BRIDGES_MAX);
}

/* `refused`: the row whose value is made to fail, or CONFIG_ROWS for none. */
static void schema_init(struct schema *s, size_t refused)
{
    size_t plain = 0, group[GROUPS] = {0};
    *s = (struct schema){0};
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const char *key;
        size_t g = group_of(&config_rows[i], &key);
        bool fails = i == refused;
        if (g < GROUPS) {
            s->group[g][group[g]++] = text_field(key, i * sizeof(char *), fails);
        } else {
            size_t offset = offsetof(struct file_values, plain) + i * sizeof(char *);
            s->plain[plain++] = text_field(key, offset, fails);
        }
    }
    for (size_t g = 0; g < GROUPS; g++) {
        s->plain[plain++] = group_field(s, g);
    }
    s->plain[plain++] = listeners_field(s);
    s->plain[plain] = bridges_field(s);
    s->top = (cyaml_schema_value_t){.type = CYAML_MAPPING,
                                    .flags = CYAML_FLAG_POINTER,
                                    .data_size = sizeof(struct file_values),
                                    .mapping = {.fields = s->plain}};
}

/* "  in mapping field 'memory' (line: 2, column: 11)" */
static void note_place(struct complaint *p, const char *line)
{
    static const char start[] = "in mapping field '";
    const char *place = strstr(line, "(line: ");
    const char *field = strstr(line, start);
    if (place != NULL && p->line == 0) {
        char *end = NULL;
        p->line = (unsigned)strtoul(place + strlen("(line: "), &end, 10);
        const char *column = strstr(end, "column: ");
        p->column = column == NULL ? 1 : (unsigned)strtoul(column + strlen("column: "), NULL, 10);
    }
    if (field != NULL && p->depth < 2) {
        field += strlen(start);
        (void)snprintf(p->field[p->depth++], KEY_MAX, "%.*s", (int)strcspn(field, "'"), field);
    }
}

static void log_line(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
static void log_line(cyaml_log_t level, void *ctx, const char *fmt, va_list args)
{
    static const char head[] = "Load: ";
    struct complaint *p = ctx;
    char line[256];
    (void)level;
    (void)vsnprintf(line, sizeof line, fmt, args);
    line[strcspn(line, "\n")] = '\0';
    const char *text = strncmp(line, head, strlen(head)) == 0 ? line + strlen(head) : line;
    if (p->what[0] == '\0') {
        (void)snprintf(p->what, sizeof p->what, "%s", text);
    } else {
        note_place(p, text);
    }
}

static cyaml_err_t load(const struct reading *r, const struct schema *s, struct complaint *p,
                        struct file_values **out)
{
    *p = (struct complaint){0};
    const cyaml_config_t config = {.log_fn = log_line,
                                   .log_ctx = p,
                                   .log_level = CYAML_LOG_ERROR,
                                   .mem_fn = cyaml_mem,
                                   .flags = CYAML_CFG_NO_ALIAS};
    cyaml_data_t *data = NULL;
    cyaml_err_t rc =
        cyaml_load_data(buf_slice(&r->text).p, buf_len(&r->text), &config, &s->top, &data, NULL);
    *out = data;
    return rc;
}

static void bridge_free(struct file_bridge *b)
{
    for (size_t i = 0; i < BRIDGE_ROWS; i++) {
        free(b->value[i]);
    }
    for (unsigned k = 0; k < b->topics_count; k++) {
        for (size_t i = 0; i < BRIDGE_TOPIC_ROWS; i++) {
            free(b->topics[k].value[i]);
        }
    }
    free(b->topics);
}

static void values_free(struct file_values *v)
{
    for (size_t i = 0; v != NULL && i < CONFIG_ROWS; i++) {
        free(v->plain[i]);
        for (size_t g = 0; g < GROUPS; g++) {
            free(v->group[g].value[i]);
        }
    }
    for (size_t n = 0; v != NULL && n < v->listeners_count; n++) {
        for (size_t i = 0; i < LISTENER_ROWS; i++) {
            free(v->listeners[n].value[i]);
        }
    }
    for (unsigned n = 0; v != NULL && n < v->bridges_count; n++) {
        bridge_free(&v->bridges[n]);
    }
    if (v != NULL) {
        free(v->listeners);
        free(v->bridges);
    }
    free(v);
}

/* Whether a key, quoted or not, stands at `at`: nothing but a delimiter before it, a colon behind. */
static bool is_key(struct slice text, size_t at, const char *key)
{
    size_t n = strlen(key);
    if (at + n > text.n || memcmp(text.p + at, key, n) != 0 ||
        (at > 0 && strchr(" \t\n{,\"'", text.p[at - 1]) == NULL)) {
        return false;
    }
    for (at += n; at < text.n && strchr(" \t\"'", text.p[at]) != NULL; at++) {
    }
    return at < text.n && text.p[at] == ':';
}

/* The line of the first `key` behind a place; that place's line when there is none. */
static unsigned find_key(struct slice text, unsigned line, unsigned column, const char *key)
{
    size_t at = 0;
    for (unsigned l = 1; l < line && at < text.n; at++) {
        l += text.p[at] == '\n';
    }
    unsigned found = line;
    for (at += column > 0 ? column - 1 : 0; at < text.n; at++) {
        if (is_key(text, at, key)) {
            return found;
        }
        found += text.p[at] == '\n';
    }
    return line;
}

/* "Unexpected key: nope" gives "nope". */
static const char *key_of(const struct complaint *p)
{
    const char *colon = strchr(p->what, ':');
    return colon == NULL ? p->what : colon + 1 + strspn(colon + 1, " ");
}

static int fail_key(const struct reading *r, const struct complaint *p, bool twice)
{
    const char *key = key_of(p);
    const char *outer = twice ? (p->depth > 1 ? p->field[1] : "") : p->depth > 0 ? p->field[0] : "";
    unsigned line = p->line == 0 ? 1 : p->line;
    line = find_key(buf_slice(&r->text), line, p->column, key);
    config_fail(r->err,
                twice ? "%s:%u: key \"%s%s%s\" is given twice" : "%s:%u: unknown key \"%s%s%s\"",
                r->path, line, outer, outer[0] == '\0' ? "" : ".", key);
    return -1;
}

/* A list or a mapping where a text was expected, or the reverse. */
static int fail_shape(const struct reading *r, const struct complaint *p)
{
    char path[2 * KEY_MAX + 1], expected[CONFIG_EXPECTED_MAX] = "keys and values";
    const char *got = strstr(p->what, "SEQUENCE") != NULL ? "a list"
                      : strstr(p->what, "SCALAR") != NULL ? "a plain value"
                                                          : "keys and values";
    (void)snprintf(path, sizeof path, "%s%s%s", p->depth > 1 ? p->field[1] : "",
                   p->depth > 1 ? "." : "", p->field[0]);
    const struct option_row *row = config_row_by_key(path);
    if (strcmp(path, "listeners") == 0 || strcmp(path, "bridges") == 0 ||
        strcmp(path, "bridges.topics") == 0) {
        (void)snprintf(expected, sizeof expected, "a list");
        got = strstr(p->what, "SCALAR") != NULL ? "a plain value" : "keys and values";
    } else if (row != NULL) {
        config_expected(row, expected);
    }
    if (p->depth == 0) {
        config_fail(r->err, "%s:1: expected keys and values, got %s", r->path, got);
    } else {
        config_fail(r->err, "%s:%u: key \"%s\": expected %s, got %s", r->path, p->line, path,
                    expected, got);
    }
    return -1;
}

static int fail_load(const struct reading *r, cyaml_err_t rc, const struct complaint *p)
{
    bool twice = strstr(p->what, "already seen") != NULL;
    if (rc == CYAML_ERR_INVALID_KEY || twice) {
        return fail_key(r, p, twice);
    }
    if (rc == CYAML_ERR_INVALID_VALUE) {
        return fail_shape(r, p);
    }
    config_fail(r->err, "%s:%u: not the YAML that was expected: %s", r->path,
                p->line == 0 ? 1 : p->line, p->what[0] == '\0' ? cyaml_strerror(rc) : p->what);
    return -1;
}

static int fail_value(const struct reading *r, size_t row, const char *got)
{
    char expected[CONFIG_EXPECTED_MAX];
    struct complaint place;
    struct schema refusing;
    struct file_values *values = NULL;
    schema_init(&refusing, row);
    (void)load(r, &refusing, &place, &values);
    values_free(values);
    config_expected(&config_rows[row], expected);
    config_fail(r->err, "%s:%u: key \"%s\": expected %s, got \"%s\"", r->path, place.line,
                config_rows[row].key, expected, got);
    return -1;
}

/* The entry's value at fault; the entries before it have the key on lines of their own. */
static int fail_listener(const struct reading *r, const struct file_values *v, unsigned entry,
                         size_t row)
{
    char expected[CONFIG_EXPECTED_MAX];
    struct slice text = buf_slice(&r->text);
    unsigned line = find_key(text, 1, 1, "listeners"), first = line;
    for (unsigned n = 0; n <= entry; n++) {
        if (v->listeners[n].value[row] != NULL) {
            line = find_key(text, line + (line != first), 1, listener_rows[row].key);
        }
    }
    config_expected(&listener_rows[row], expected);
    config_fail(r->err, "%s:%u: key \"listeners.%s\": expected %s, got \"%s\"", r->path, line,
                listener_rows[row].key, expected, v->listeners[entry].value[row]);
    return -1;
}

static int apply_listeners(struct config *c, const struct reading *r, const struct file_values *v)
{
    for (unsigned n = 0; n < v->listeners_count; n++) {
        char *const *value = v->listeners[n].value;
        size_t bad;
        if (value[LISTENER_ROW_protocol] == NULL || value[LISTENER_ROW_address] == NULL) {
            config_fail(r->err, "%s: listeners: entry %u: expected a protocol and an address",
                        r->path, n + 1);
            return -1;
        }
        if (config_listener_add(c, value, &bad) != 0) {
            return fail_listener(r, v, n, bad);
        }
    }
    return 0;
}

/* The line of a list entry's key: the `skip` entries before it have the key on lines of their own. The list's, if there is none. */
static unsigned list_line(const struct reading *r, const char *list, const char *key, unsigned skip)
{
    struct slice text = buf_slice(&r->text);
    unsigned first = find_key(text, 1, 1, list), line = find_key(text, first, 1, key);
    for (; skip > 0; skip--) {
        line = find_key(text, line + 1, 1, key);
    }
    return line;
}

static int fail_bridge(const struct reading *r, const struct file_values *v, unsigned entry,
                       size_t row, const char *why)
{
    const char *key = bridge_rows[row].key, *got = v->bridges[entry].value[row];
    unsigned skip = 0;
    for (unsigned n = 0; n < entry; n++) {
        skip += v->bridges[n].value[row] != NULL;
    }
    if (got == NULL) {
        config_fail(r->err, "%s:%u: bridges: entry %u: key \"%s\": expected %s, got nothing",
                    r->path, list_line(r, "bridges", "bridges", 0), entry + 1, key, why);
    } else {
        bool secret = row == BRIDGE_ROW_password;
        config_fail(r->err, "%s:%u: key \"bridges.%s\": expected %s, got \"%.200s\"", r->path,
                    list_line(r, "bridges", key, skip), key, why, secret ? "…" : got);
    }
    return -1;
}

static int fail_topic(const struct reading *r, const struct file_values *v, unsigned entry,
                      unsigned topic, size_t row, const char *why)
{
    const char *key = bridge_topic_rows[row].key;
    const char *got = v->bridges[entry].topics[topic].value[row];
    unsigned skip = 0;
    for (unsigned n = 0; n <= entry; n++) {
        for (unsigned k = 0; k < (n < entry ? v->bridges[n].topics_count : topic); k++) {
            skip += v->bridges[n].topics[k].value[row] != NULL;
        }
    }
    config_fail(r->err, "%s:%u: key \"bridges.topics.%s\": expected %s, got \"%.200s\"", r->path,
                list_line(r, "bridges", got == NULL ? "topics" : key, got == NULL ? entry : skip),
                key, why, got == NULL ? "" : got);
    return -1;
}

static int apply_bridges(struct config *c, const struct reading *r, const struct file_values *v)
{
    char why[CONFIG_EXPECTED_MAX];
    size_t bad;
    for (unsigned n = 0; n < v->bridges_count; n++) {
        const struct file_bridge *b = &v->bridges[n];
        if (config_bridge_add(c, b->value, &bad, why) != 0) {
            return fail_bridge(r, v, n, bad, why);
        }
        for (unsigned k = 0; k < b->topics_count; k++) {
            if (config_bridge_topic_add(c, b->topics[k].value, &bad, why) != 0) {
                return fail_topic(r, v, n, k, bad, why);
            }
        }
    }
    return 0;
}

static int apply(struct config *c, const struct reading *r, const struct file_values *v)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const char *key;
        size_t g = group_of(&config_rows[i], &key);
        const char *text = g < GROUPS ? v->group[g].value[i] : v->plain[i];
        if (text != NULL && config_set(c, &config_rows[i], text) != 0) {
            return fail_value(r, i, text);
        }
    }
    return apply_listeners(c, r, v) == 0 ? apply_bridges(c, r, v) : -1;
}

static int read_file(struct reading *r)
{
    FILE *f = fopen(r->path, "re");
    size_t n = 0;
    int failed = f == NULL ? errno : 0;
    while (failed == 0 && buf_len(&r->text) <= FILE_MAX_BYTES) {
        errno = 0;
        n = fread(buf_reserve(&r->text, 4096), 1, 4096, f);
        buf_commit(&r->text, n);
        if (n < 4096) {
            failed = ferror(f) != 0 ? errno : 0;
            break;
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    if (failed != 0) {
        config_fail(r->err, "%s: cannot be read: %s", r->path, strerror(failed));
    } else if (buf_len(&r->text) > FILE_MAX_BYTES) {
        config_fail(r->err, "%s: larger than 1 MiB: not a configuration file", r->path);
        failed = EFBIG;
    }
    return failed == 0 ? 0 : -1;
}

static int load_and_apply(struct config *c, const struct reading *r)
{
    struct file_values *values = NULL;
    struct complaint said;
    struct schema schema;
    int rc = 0;
    schema_init(&schema, CONFIG_ROWS);
    cyaml_err_t loaded = load(r, &schema, &said, &values);
    if (loaded != CYAML_OK) {
        rc = fail_load(r, loaded, &said);
    } else if (values != NULL) { /* NULL: an empty file */
        rc = apply(c, r, values);
    }
    values_free(values);
    return rc;
}

int config_file_load(struct config *c, const char *path, struct config_error *err)
{
    struct reading r = {.path = path, .err = err};
    int rc = read_file(&r);
    if (rc == 0) {
        rc = load_and_apply(c, &r);
    }
    buf_fini(&r.text);
    return rc;
}
