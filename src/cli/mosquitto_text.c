/* Text of the import: lines and words in, YAML out. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/format.h"
#include "cli/mosquitto_priv.h"

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

bool text_next_line(struct slice *rest, struct slice *line)
{
    if (rest->n == 0) {
        return false;
    }
    const uint8_t *end = memchr(rest->p, '\n', rest->n);
    size_t n = end == NULL ? rest->n : (size_t)(end - rest->p);
    *line = slice_make(rest->p, n);
    *rest = slice_from(*rest, n + 1);
    while (line->n > 0 && line->p[line->n - 1] == '\r') {
        line->n--;
    }
    return true;
}

struct slice text_trim(struct slice s)
{
    while (s.n > 0 && is_blank(s.p[0])) {
        s = slice_from(s, 1);
    }
    while (s.n > 0 && is_blank(s.p[s.n - 1])) {
        s.n--;
    }
    return s;
}

struct slice text_word(struct slice *rest)
{
    struct slice s = text_trim(*rest);
    size_t n = 0;
    while (n < s.n && !is_blank(s.p[n])) {
        n++;
    }
    *rest = text_trim(slice_from(s, n));
    return slice_make(s.p, n);
}

bool text_number(const char *s, long long least, long long most, long long *out)
{
    char *end = NULL;
    long long v = strtoll(s, &end, 10);
    bool good = end != s && *end == '\0' && *s != ' ' && *s != '+' && v >= least && v <= most;
    if (good) {
        *out = v;
    }
    return good;
}

bool text_is_filter(struct slice s)
{
    if (s.n == 0 || s.n > 65535) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        bool first = i == 0 || s.p[i - 1] == '/';
        bool last = i + 1 == s.n;
        if (s.p[i] == 0 || (s.p[i] == '#' && !(first && last)) ||
            (s.p[i] == '+' && !(first && (last || s.p[i + 1] == '/')))) {
            return false;
        }
    }
    return true;
}

char *text_printf(const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    int n = vasprintf(&text, fmt, args);
    va_end(args);
    return n < 0 ? mem_strndup("", 0) : text;
}

/* ---- YAML ---- */

/* What every reader takes for a text, and for no more than that. */
static bool is_plain(const char *text)
{
    static const char *const words[] = {"on",    "off",  "yes", "no", "true",
                                        "false", "null", "y",   "n"};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcasecmp(text, words[i]) == 0) {
            return false;
        }
    }
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-";
    return text[0] != '\0' && strchr("-.0123456789", text[0]) == NULL &&
           strspn(text, safe) == strlen(text);
}

char *yaml_quote(const char *text)
{
    if (is_plain(text)) {
        return mem_strndup(text, strlen(text));
    }
    struct buf b = {0};
    buf_put_u8(&b, '"');
    for (const char *p = text; *p != '\0'; p++) {
        char hex[8];
        uint8_t c = (uint8_t)*p;
        if (c == '"' || c == '\\') {
            buf_put_u8(&b, '\\');
            buf_put_u8(&b, c);
        } else if (c < 0x20 || c == 0x7F) {
            (void)snprintf(hex, sizeof hex, "\\x%02X", c);
            buf_put_slice(&b, slice_str(hex));
        } else {
            buf_put_u8(&b, c);
        }
    }
    buf_put_u8(&b, '"');
    struct slice s = buf_slice(&b);
    char *quoted = mem_strndup(s.p, s.n);
    buf_fini(&b);
    return quoted;
}

void yaml_put(struct yaml_map *m, const char *key, char *value, const struct import_note *from)
{
    size_t i = 0;
    while (i < m->count && strcmp(m->items[i].key, key) != 0) {
        i++;
    }
    if (i == m->count) {
        m->items = mem_realloc(m->items, (m->count + 1) * sizeof *m->items);
        m->items[m->count++] = (struct yaml_item){.key = mem_strndup(key, strlen(key))};
    }
    struct yaml_item *item = &m->items[i];
    free(item->value);
    free(item->from);
    item->value = value;
    item->from = from == NULL ? NULL : text_printf("%s:%u", from->file, from->line);
}

void yaml_write(struct buf *out, const struct yaml_map *m, const char *first, const char *indent)
{
    for (size_t i = 0; i < m->count; i++) {
        const struct yaml_item *item = &m->items[i];
        buf_put_slice(out, slice_str(i == 0 ? first : indent));
        buf_put_slice(out, slice_str(item->key));
        buf_put_slice(out, slice_str(": "));
        buf_put_slice(out, slice_str(item->value));
        if (item->from != NULL) {
            buf_put_slice(out, slice_str("  # "));
            cli_put_safe(out, slice_str(item->from));
        }
        buf_put_u8(out, '\n');
    }
}

void yaml_fini(struct yaml_map *m)
{
    for (size_t i = 0; i < m->count; i++) {
        free(m->items[i].key);
        free(m->items[i].value);
        free(m->items[i].from);
    }
    free(m->items);
    *m = (struct yaml_map){0};
}
