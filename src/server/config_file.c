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

enum { FILE_MAX_BYTES = 1024 * 1024, KEY_MAX = 64 };
static const char group_name[] = "trace";

/* What the file says: texts by row; those of the group stand apart because libcyaml reads a nested mapping there. */
struct file_values {
    char *plain[CONFIG_ROWS];
    struct {
        char *value[CONFIG_ROWS];
    } group;
};

struct schema {
    cyaml_schema_field_t plain[CONFIG_ROWS + 2], group[CONFIG_ROWS + 1];
    cyaml_schema_value_t top;
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

/* The row's key within its group, or NULL when it stands in none. */
static const char *group_key(const struct option_row *row)
{
    const char *dot = strchr(row->key, '.');
    return dot == NULL ? NULL : dot + 1;
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

/* `refused`: the row whose value is made to fail, or CONFIG_ROWS for none. */
static void schema_init(struct schema *s, size_t refused)
{
    size_t plain = 0, group = 0;
    *s = (struct schema){0};
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const char *key = group_key(&config_rows[i]);
        if (key != NULL) {
            s->group[group] = text_field(key, i * sizeof(char *), i == refused);
            group++;
        } else {
            size_t offset = offsetof(struct file_values, plain) + i * sizeof(char *);
            s->plain[plain] = text_field(config_rows[i].key, offset, i == refused);
            plain++;
        }
    }
    s->plain[plain] = (cyaml_schema_field_t){
        .key = group_name,
        .data_offset = offsetof(struct file_values, group),
        .value = {.type = CYAML_MAPPING,
                  .flags = CYAML_FLAG_OPTIONAL,
                  .data_size = sizeof(((struct file_values *)NULL)->group),
                  .mapping = {.fields = s->group}},
    };
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

static void values_free(struct file_values *v)
{
    for (size_t i = 0; v != NULL && i < CONFIG_ROWS; i++) {
        free(v->plain[i]);
        free(v->group.value[i]);
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

static const struct option_row *row_by_key(const char *key)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        if (strcmp(config_rows[i].key, key) == 0) {
            return &config_rows[i];
        }
    }
    return NULL;
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
    const struct option_row *row = row_by_key(path);
    if (row != NULL) {
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

static int apply(struct config *c, const struct reading *r, const struct file_values *v)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const char *text = group_key(&config_rows[i]) != NULL ? v->group.value[i] : v->plain[i];
        if (text != NULL && config_set(c, &config_rows[i], text) != 0) {
            return fail_value(r, i, text);
        }
    }
    return 0;
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
