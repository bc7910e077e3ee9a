/*
 * Inside the import from Mosquitto. Reading gives notes (one a line) and hangs them into scopes: the whole broker, one listener,
 * one bridge. Then each scope's options are converted in the order of the table, so that one option may look at another of its
 * scope, and the YAML has a stable order.
 */
#ifndef TMQ_CLI_MOSQUITTO_PRIV_H
#define TMQ_CLI_MOSQUITTO_PRIV_H

#include "cli/mosquitto.h"

enum option_where {
    WHERE_BROKER,
    WHERE_LISTENER,
    WHERE_SECURITY, /* the broker, or with per_listener_settings the listener */
    WHERE_BRIDGE,
    WHERE_STRUCTURE /* says where the following lines belong */
};

struct taking;
struct option {
    const char *name; /* "auth_opt_*": anything that begins so */
    enum option_where where;
    bool many;   /* each line counts; else the last one */
    bool secret; /* the value is not shown */
    void (*take)(struct taking *t);
    const char *key;  /* of ours, or what `take` wants to know */
    const char *told; /* what is said of it */
};
enum {
#define OPTION(name, where, many, secret, take, key, told) +1
    OPTIONS =
#include "cli/mosquitto.def"
#undef OPTION
};
extern const struct option mosquitto_options[OPTIONS];

/* Keys and values that stand in the YAML one below the other. */
struct yaml_item {
    char *key, *value; /* the value as it is written */
    char *from;        /* the comment behind it, or NULL */
};
struct yaml_map {
    struct yaml_item *items;
    size_t count;
};

struct scope {
    enum option_where kind;   /* WHERE_BROKER, WHERE_LISTENER, WHERE_BRIDGE */
    struct import_note *note; /* the line that began it; NULL: the broker, the default listener */
    struct import_note *given[OPTIONS]; /* the last line of each */
    bool used;                          /* the default listener: something was said of it */
    bool left_out;
    struct yaml_map map;
    struct yaml_map topics; /* of a bridge: "topic" for each, written flow by flow */
    struct buf address;     /* of a bridge: HOST:PORT with commas between */
};

struct import {
    const struct import_io *io;
    struct import_note **notes;
    size_t note_count;
    struct scope **scopes; /* 0 is the broker, 1 the default listener */
    size_t scope_count;
    bool per_listener; /* per_listener_settings, from that line on */
    unsigned log_rank; /* log_type: the most that was asked for; 0 nothing yet */
    bool yaml_secret, deny_pattern, plugins;
    json_t *settings;
    struct buf yaml;
};

/* One option of one scope. */
struct taking {
    struct import *im;
    struct scope *s;
    struct import_note *n;
    const struct option *row;
};

/* mosquitto.c */
struct import_note *note_add(struct import *im, const char *file, unsigned line,
                             struct slice option, struct slice value);
void note_tell(struct import_note *n, enum import_outcome outcome, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* A note about the whole. */
void note_general(struct import *im, const char *what, const char *told);
/* The line that gave an option in the scope, or NULL; its value, or NULL. */
struct import_note *scope_given(const struct scope *s, const char *option);
const char *scope_value(const struct scope *s, const char *option);
bool scope_true(const struct scope *s, const char *option);

/* mosquitto_text.c: lines, words, YAML */
/* Cuts the next line, without its end, off `rest`; false at the end. */
bool text_next_line(struct slice *rest, struct slice *line);
/* Without blanks at both ends. */
struct slice text_trim(struct slice s);
/* Cuts the first word off: `rest` begins with what is behind the blanks. */
struct slice text_word(struct slice *rest);
/* A decimal number within the limits; `fallback` else. */
bool text_number(const char *s, long long least, long long most, long long *out);
/* A topic filter in its right form. */
bool text_is_filter(struct slice s);
char *text_printf(const char *fmt, ...) __attribute__((format(printf, 1, 2), malloc));
/* A text as YAML writes it, quoted where it must be. free() it. */
char *yaml_quote(const char *text);
/* Takes over `value`; what was there under that key goes. */
void yaml_put(struct yaml_map *m, const char *key, char *value, const struct import_note *from);
void yaml_write(struct buf *out, const struct yaml_map *m, const char *first, const char *indent);
void yaml_fini(struct yaml_map *m);

/* mosquitto_options.c, mosquitto_listener.c, mosquitto_bridge.c: what the table's rows call */
#define TAKES(TAKE)                                                                                \
    TAKE(none)                                                                                     \
    TAKE(ignored)                                                                                  \
    TAKE(if_default)                                                                               \
    TAKE(flag)                                                                                     \
    TAKE(duration)                                                                                 \
    TAKE(log_dest)                                                                                 \
    TAKE(log_type)                                                                                 \
    TAKE(inflight)                                                                                 \
    TAKE(queued)                                                                                   \
    TAKE(queued_bytes)                                                                             \
    TAKE(packet_size)                                                                              \
    TAKE(message_size)                                                                             \
    TAKE(expiration)                                                                               \
    TAKE(plugin)                                                                                   \
    TAKE(structure)                                                                                \
    TAKE(security)                                                                                 \
    TAKE(listener_part)                                                                            \
    TAKE(connections)                                                                              \
    TAKE(certificate)                                                                              \
    TAKE(topic_alias)                                                                              \
    TAKE(client_cert)                                                                              \
    TAKE(identity)                                                                                 \
    TAKE(tls_version)                                                                              \
    TAKE(psk)                                                                                      \
    TAKE(proxy)                                                                                    \
    TAKE(origin)                                                                                   \
    TAKE(bridge_text)                                                                              \
    TAKE(bridge_address)                                                                           \
    TAKE(bridge_version)                                                                           \
    TAKE(bridge_clean)                                                                             \
    TAKE(bridge_insecure)                                                                          \
    TAKE(bridge_os_certs)                                                                          \
    TAKE(bridge_restart)                                                                           \
    TAKE(bridge_topic)                                                                             \
    TAKE(bridge_psk)
#define TAKE(name) void take_##name(struct taking *t);
TAKES(TAKE)
#undef TAKE
/* The value as true or false; tells the note what is wrong otherwise. */
bool taking_flag(struct taking *t, bool *out);
bool taking_number(struct taking *t, long long least, long long most, long long *out);

/* Completes a listener, a bridge, once its options are taken. */
void listener_finish(struct import *im, struct scope *s);
/* The default one, when nothing opened it: tells its lines. */
void listener_unused(struct scope *s);
void bridge_begin(struct import *im, struct scope *s);
void bridge_finish(struct import *im, struct scope *s);
void bridges_write(const struct import *im, struct buf *out);

/* mosquitto_access.c: password files, ACL files and who may come in at all. 0, or -1 with a sentence in `problem`. */
int access_read(struct import *im, char *problem, size_t size) __attribute__((warn_unused_result));

#endif
