/*
 * Reading mosquitto.conf as Mosquitto does: an option at the start of the line, the rest is its value, nothing is quoted; `listener`
 * and `connection` begin what the following lines belong to; a file of include_dir begins with the default listener again, and
 * may not include others.
 */
#include "cli/mosquitto.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/mosquitto_priv.h"

const struct option mosquitto_options[OPTIONS] = {
#define OPTION(name, where, many, secret, take, key, told)                                         \
    {name, where, many, secret, take_##take, key, told},
#include "cli/mosquitto.def"
#undef OPTION
};

/* ---- notes ---- */

struct import_note *note_add(struct import *im, const char *file, unsigned line,
                             struct slice option, struct slice value)
{
    struct import_note *n = mem_new(1, sizeof *n);
    *n = (struct import_note){.file = mem_strndup(file, strlen(file)),
                              .line = line,
                              .option = mem_strndup(option.p, option.n),
                              .value = mem_strndup(value.p, value.n)};
    im->notes = mem_realloc(im->notes, (im->note_count + 1) * sizeof *im->notes);
    im->notes[im->note_count++] = n;
    return n;
}

void note_tell(struct import_note *n, enum import_outcome outcome, const char *fmt, ...)
{
    va_list args;
    char *text = NULL;
    va_start(args, fmt);
    if (vasprintf(&text, fmt, args) < 0) {
        text = NULL;
    }
    va_end(args);
    free(n->told);
    n->told = text;
    n->outcome = outcome;
}

void note_general(struct import *im, const char *what, const char *told)
{
    struct import_note *n = note_add(im, "", 0, slice_str(what), slice_str(""));
    note_tell(n, IMPORT_NONE, "%s", told);
}

const char *import_note_value(const struct import_note *n)
{
    return n->secret ? "***" : n->value;
}

/* ---- scopes ---- */

static struct scope *scope_add(struct import *im, enum option_where kind, struct import_note *note)
{
    struct scope *s = mem_new(1, sizeof *s);
    s->kind = kind;
    s->note = note;
    im->scopes = mem_realloc(im->scopes, (im->scope_count + 1) * sizeof(struct scope *));
    im->scopes[im->scope_count++] = s;
    return s;
}

struct import_note *scope_given(const struct scope *s, const char *option)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strcmp(mosquitto_options[i].name, option) == 0) {
            return s->given[i];
        }
    }
    return NULL;
}

const char *scope_value(const struct scope *s, const char *option)
{
    const struct import_note *n = scope_given(s, option);
    return n == NULL ? NULL : n->value;
}

bool scope_true(const struct scope *s, const char *option)
{
    const char *v = scope_value(s, option);
    return v != NULL && (strcmp(v, "true") == 0 || strcmp(v, "1") == 0);
}

/* ---- lines ---- */

/* Where the lines of one file belong. */
struct position {
    struct scope *listener, *bridge;
    bool included;
};

static const struct option *option_find(const char *name)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const char *known = mosquitto_options[i].name;
        size_t n = strlen(known);
        bool prefix = known[n - 1] == '*';
        if (prefix ? strncmp(known, name, n - 1) == 0 : strcmp(known, name) == 0) {
            return &mosquitto_options[i];
        }
    }
    return NULL;
}

static struct scope *scope_of(const struct import *im, const struct position *at,
                              enum option_where where)
{
    switch (where) {
    case WHERE_LISTENER:
        return at->listener;
    case WHERE_SECURITY:
        return im->per_listener ? at->listener : im->scopes[0];
    case WHERE_BRIDGE:
        return at->bridge;
    case WHERE_BROKER:
    case WHERE_STRUCTURE:
        break;
    }
    return im->scopes[0];
}

/* Of these Mosquitto takes the first word, or the number at its start: what is behind may be a comment. */
static bool is_word(const struct option *row)
{
    static void (*const takes[])(struct taking *) = {
        take_flag,         take_duration,     take_if_default,      take_log_type,
        take_inflight,     take_queued,       take_queued_bytes,    take_packet_size,
        take_message_size, take_expiration,   take_connections,     take_topic_alias,
        take_identity,     take_bridge_clean, take_bridge_insecure, take_bridge_os_certs,
        take_proxy};
    static const char *const names[] = {
        "connection", "per_listener_settings", "allow_anonymous",    "port",
        "protocol",   "socket_domain",         "require_certificate"};
    bool found = false;
    for (size_t i = 0; i < sizeof takes / sizeof *takes; i++) {
        found = found || row->take == takes[i];
    }
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        found = found || strcmp(row->name, names[i]) == 0;
    }
    return found;
}

static bool is_one_of(const char *name, const char *const *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(name, list[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* Whether a line before any `listener` opens the default one, on port 1883: as 2.0.11 does it. */
static bool opens_default(const struct import_note *n, const struct option *row)
{
    static const char *const never[] = {
        "allow_anonymous", "acl_file",     "auto_id_prefix",    "http_dir",
        "max_topic_alias", "tls_version",  "websockets_origin", "plugin",
        "plugin_use",      "plugin_opt_*", "auth_opt_*",        "auth_plugin_deny_special_chars"};
    static const char *const standard[] = {"false", "0", "mqtt", "-1", "2"};
    if (strcmp(row->name, "allow_zero_length_clientid") == 0) {
        return strcmp(n->value, "false") == 0;
    }
    if (is_word(row) && strcmp(row->name, "port") != 0) {
        bool two = strcmp(n->value, "2") == 0 && strcmp(row->name, "max_qos") != 0;
        if (!two && is_one_of(n->value, standard, sizeof standard / sizeof *standard)) {
            return false;
        }
    }
    return !is_one_of(row->name, never, sizeof never / sizeof *never);
}

static void begin(struct import *im, struct position *at, struct import_note *n,
                  const struct option *row)
{
    if (strcmp(row->name, "listener") == 0) {
        at->listener = scope_add(im, WHERE_LISTENER, n);
        at->listener->used = true;
    } else if (strcmp(row->name, "connection") == 0) {
        at->bridge = scope_add(im, WHERE_BRIDGE, n);
        bridge_begin(im, at->bridge);
    } else if (strcmp(row->name, "per_listener_settings") == 0) {
        struct taking t = {.im = im, .n = n, .row = row};
        if (!taking_flag(&t, &im->per_listener)) {
            return;
        }
        note_tell(n, im->per_listener ? IMPORT_NONE : IMPORT_SAME,
                  im->per_listener
                      ? "users and permissions hold on all listeners: what follows is put together"
                      : "users and permissions hold on all listeners");
    }
}

static void hang(struct import *im, const struct position *at, struct import_note *n,
                 const struct option *row)
{
    struct scope *s = scope_of(im, at, row->where);
    size_t i = (size_t)(row - mosquitto_options);
    if (s == NULL) {
        note_tell(n, IMPORT_BAD, "stands before any `connection`");
        return;
    }
    if (s->kind == WHERE_LISTENER) {
        s->used = s->used || opens_default(n, row);
    }
    if (row->many) {
        row->take(&(struct taking){im, s, n, row});
    } else if (s->given[i] != NULL) {
        note_tell(s->given[i], IMPORT_IGNORED, "given again in line %u", n->line);
    }
    s->given[i] = n;
}

static int read_included(struct import *im, struct import_note *n, char *problem, size_t size);

static int read_line(struct import *im, struct position *at, const char *file, unsigned line,
                     struct slice text, char *problem, size_t size)
{
    struct slice rest = text;
    struct slice word = text_word(&rest);
    if (word.n == 0 || word.p[0] == '#') {
        return 0;
    }
    struct import_note *n = note_add(im, file, line, word, rest);
    json_t *utf8 = json_stringn((const char *)text.p, text.n);
    const struct option *row = option_find(n->option);
    if (utf8 == NULL || memchr(text.p, '\0', text.n) != NULL) {
        note_tell(n, IMPORT_BAD, "the line is not UTF-8");
        row = NULL;
    } else if (row == NULL) {
        note_tell(n, IMPORT_UNKNOWN,
                  "no option of Mosquitto that is known here; nothing was made of it");
    } else if (rest.n == 0) {
        note_tell(n, IMPORT_BAD, "has no value");
        row = NULL;
    }
    json_decref(utf8);
    if (row == NULL) {
        return 0;
    }
    n->secret = row->secret;
    if (is_word(row)) {
        n->value[strcspn(n->value, " \t")] = '\0';
    }
    if (strcmp(row->name, "include_dir") == 0) {
        if (!at->included) {
            return read_included(im, n, problem, size);
        }
        note_tell(n, IMPORT_IGNORED, "only the main file may include others");
    } else if (row->where == WHERE_STRUCTURE) {
        begin(im, at, n, row);
    } else {
        hang(im, at, n, row);
    }
    return 0;
}

static int read_file(struct import *im, const char *file, bool included, char *problem, size_t size)
{
    struct buf text = {0};
    struct position at = {.listener = im->scopes[1], .included = included};
    int failed = im->io->read(im->io->arg, file, &text);
    if (failed != 0) {
        (void)snprintf(problem, size, "%s: %s", file, strerror(-failed));
    }
    struct slice rest = buf_slice(&text), line;
    for (unsigned number = 1; failed == 0 && text_next_line(&rest, &line); number++) {
        failed = read_line(im, &at, file, number, line, problem, size);
    }
    buf_fini(&text);
    return failed == 0 ? 0 : -1;
}

static int read_included(struct import *im, struct import_note *n, char *problem, size_t size)
{
    char **names = NULL;
    size_t count = 0;
    int failed = im->io->list(im->io->arg, n->value, &names, &count);
    if (failed != 0) {
        (void)snprintf(problem, size, "%s:%u: include_dir %s: %s", n->file, n->line, n->value,
                       strerror(-failed));
    }
    note_tell(n, IMPORT_TAKEN, "%zu file%s, in this place", count, count == 1 ? "" : "s");
    for (size_t i = 0; i < count; i++) {
        char *path = text_printf("%s/%s", n->value, names[i]);
        if (failed == 0) {
            failed = read_file(im, path, true, problem, size);
        }
        free(path);
        free(names[i]);
    }
    free(names);
    return failed == 0 ? 0 : -1;
}

/* ---- converting ---- */

static void take_scope(struct import *im, struct scope *s)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (s->given[i] != NULL && !mosquitto_options[i].many) {
            mosquitto_options[i].take(&(struct taking){im, s, s->given[i], &mosquitto_options[i]});
        }
    }
}

/* Mosquitto opens the default listener when anything was said of it, and on all addresses then. */
static void take_all(struct import *im)
{
    bool any = false;
    for (size_t i = 0; i < im->scope_count; i++) {
        struct scope *s = im->scopes[i];
        take_scope(im, s);
        if (s->kind == WHERE_LISTENER && !s->used) {
            listener_unused(s);
        } else if (s->kind == WHERE_LISTENER) {
            any = true;
            listener_finish(im, s);
        } else if (s->kind == WHERE_BRIDGE) {
            bridge_finish(im, s);
        }
    }
    struct yaml_map *top = &im->scopes[0]->map;
    if (!any) {
        note_general(
            im, "no listener",
            "Mosquitto listens on 127.0.0.1:1883 and [::1]:1883 then; here on 127.0.0.1:1883 only");
    }
    yaml_put(top, "mqtt", yaml_quote(any ? "off" : "127.0.0.1:1883"), NULL);
    yaml_put(top, "ws", yaml_quote("off"), NULL);
    if (scope_given(im->scopes[0], "max_packet_size") == NULL &&
        scope_given(im->scopes[0], "message_size_limit") == NULL) {
        yaml_put(top, "max_packet_size", yaml_quote("256MiB"), NULL);
        note_general(
            im, "max_packet_size is not given",
            "Mosquitto takes packets of any size then: max_packet_size is 256MiB, the most that there is, so that "
            "none is refused now; our default of 1MiB is better where it is enough");
    }
}

static void write_listeners(const struct import *im, struct buf *out)
{
    bool first = true;
    for (size_t i = 0; i < im->scope_count; i++) {
        const struct scope *s = im->scopes[i];
        if (s->kind != WHERE_LISTENER || !s->used || s->left_out) {
            continue;
        }
        buf_put_slice(out, slice_str(first ? "\nlisteners:\n" : ""));
        yaml_write(out, &s->map, "  - ", "    ");
        first = false;
    }
}

static void write_yaml(struct import *im, const char *path)
{
    char *head = text_printf(
        "# Made by `tracemq import mosquitto` from %s. What has no equivalent is in its report.\n"
        "# Users and permissions are not in here: they live in the store (`tracemq import settings`).\n\n",
        path);
    buf_put_slice(&im->yaml, slice_str(head));
    free(head);
    yaml_write(&im->yaml, &im->scopes[0]->map, "", "");
    write_listeners(im, &im->yaml);
    bridges_write(im, &im->yaml);
}

struct import *import_mosquitto(const char *path, const struct import_io *io, char *problem,
                                size_t size)
{
    struct import *im = mem_new(1, sizeof *im);
    im->io = io;
    (void)scope_add(im, WHERE_BROKER, NULL);
    (void)scope_add(im, WHERE_LISTENER, NULL);
    im->settings = json_pack("{s:s,s:s,s:{s:s,s:s},s:[],s:{}}", "format", "tracemq-settings-1",
                             "source", path, "settings", "on_denied", "refuse", "subscriptions",
                             "filtered", "users", "permissions");
    if (read_file(im, path, false, problem, size) != 0) {
        import_free(im);
        return NULL;
    }
    take_all(im);
    if (access_read(im, problem, size) != 0) {
        import_free(im);
        return NULL;
    }
    write_yaml(im, path);
    return im;
}

void import_free(struct import *im)
{
    if (im == NULL) {
        return;
    }
    for (size_t i = 0; i < im->note_count; i++) {
        explicit_bzero(im->notes[i]->value, strlen(im->notes[i]->value));
        free(im->notes[i]->file);
        free(im->notes[i]->option);
        free(im->notes[i]->value);
        free(im->notes[i]->told);
        free(im->notes[i]);
    }
    for (size_t i = 0; i < im->scope_count; i++) {
        yaml_fini(&im->scopes[i]->map);
        yaml_fini(&im->scopes[i]->topics);
        buf_fini(&im->scopes[i]->address);
        free(im->scopes[i]);
    }
    free(im->notes);
    free(im->scopes);
    json_decref(im->settings);
    buf_fini(&im->yaml);
    free(im);
}

struct slice import_yaml(const struct import *im)
{
    return buf_slice(&im->yaml);
}

json_t *import_settings(const struct import *im)
{
    return im->settings;
}

const struct import_note *const *import_notes(const struct import *im, size_t *count)
{
    *count = im->note_count;
    return (const struct import_note *const *)im->notes;
}

bool import_yaml_secret(const struct import *im)
{
    return im->yaml_secret;
}
