/* What the files of the configuration share: the table's rows as data, and values as text. */
#ifndef TMQ_SERVER_CONFIG_PRIV_H
#define TMQ_SERVER_CONFIG_PRIV_H

#include <stddef.h>

#include "server/config.h"

enum option_type {
    OPTION_TEXT,            /* char * */
    OPTION_DIRECTORY,       /* char * */
    OPTION_ADDRESS,         /* char *, NULL = off */
    OPTION_LISTEN,          /* char *, NULL = off; a Unix socket, too */
    OPTION_PATH,            /* char *, a path of URLs */
    OPTION_ORIGINS,         /* char *, a list of web origins */
    OPTION_NETWORKS,        /* char *, a list of networks */
    OPTION_NAME,            /* char *, of letters, digits, _ . and - */
    OPTION_REMOTE,          /* char *, host:port, several with commas */
    OPTION_LEVEL,           /* char *, a word of its list */
    OPTION_FLAG,            /* bool; on the command line without a value, too */
    OPTION_SWITCH,          /* bool */
    OPTION_COUNT,           /* uint64_t */
    OPTION_SIZE,            /* uint64_t in bytes */
    OPTION_DURATION,        /* uint64_t in ms; a plain number is milliseconds */
    OPTION_DURABILITY,      /* enum config_durability: this and the following are words of a list */
    OPTION_PROTOCOL,        /* enum config_protocol */
    OPTION_TLS_CLIENT,      /* enum tls_client_certificate */
    OPTION_TLS_USERNAME,    /* enum tls_username */
    OPTION_TLS_VERSION,     /* enum tls_version */
    OPTION_ON_RATE,         /* enum config_on_rate */
    OPTION_BRIDGE_PROTOCOL, /* enum bridge_protocol */
    OPTION_BRIDGE_VERSION,  /* enum bridge_version */
    OPTION_DIRECTION,       /* enum bridge_direction */
};
enum { OPTION_TYPES = OPTION_DIRECTION + 1 };

struct option_row {
    const char *key;  /* in the file; "group.key" */
    const char *flag; /* "--kebab-name" */
    const char *fallback;
    const char *help;
    uint64_t min, max;
    size_t offset; /* in struct config, or config_listener */
    enum option_type type;
    bool live; /* a reload applies it */
};

enum {
#define OPTION(member, ...) CONFIG_ROW_##member,
#include "server/config.def"
#undef OPTION
    CONFIG_ROWS
};
extern const struct option_row config_rows[CONFIG_ROWS];

enum {
#define LISTENER(member, ...) LISTENER_ROW_##member,
#include "server/listener.def"
#undef LISTENER
    LISTENER_ROWS
};
/* Their `fallback` is the key of the broker's option that holds when they are not given; "": none. */
extern const struct option_row listener_rows[LISTENER_ROWS];

enum {
#define BRIDGE(member, ...) BRIDGE_ROW_##member,
#include "server/bridge.def"
#undef BRIDGE
    BRIDGE_ROWS
};
enum {
#define BRIDGE_TOPIC(member, ...) BRIDGE_TOPIC_ROW_##member,
#include "server/bridge.def"
#undef BRIDGE_TOPIC
    BRIDGE_TOPIC_ROWS
};
/* Their `fallback` is the default; NULL: they must be given. */
extern const struct option_row bridge_rows[BRIDGE_ROWS];
extern const struct option_row bridge_topic_rows[BRIDGE_TOPIC_ROWS];

const struct option_row *config_row_by_key(const char *key);

enum { CONFIG_EXPECTED_MAX = 160 };

/* Parses `text` as the row's type, checks the range, stores it in `c`, the struct that the row is of. 0, or -1 when it is
 * not what was expected. */
int config_set(void *c, const struct option_row *row, const char *text)
    __attribute__((warn_unused_result));
/* Frees what the row holds, if it is a text. */
void config_drop(void *c, const struct option_row *row);
/* The value as it could be written, cut to `size`; "off" for a text that is NULL. `c` is the struct that the row is of. */
void config_text(const void *c, const struct option_row *row, char *out, size_t size);
size_t config_value_bytes(const struct option_row *row);
bool config_holds_text(const struct option_row *row);
/* The value at `from` to the one at `to`, both of the row's type; a text is copied, the one that was there freed. */
void config_copy(void *to, const void *from, const struct option_row *row);
bool config_same(const void *a, const void *b, const struct option_row *row);
/* "a size between 64 B and 256 MiB". */
void config_expected(const struct option_row *row, char out[CONFIG_EXPECTED_MAX]);
/* The value's name in usage lines: "SIZE", "on|off". */
const char *config_metavar(const struct option_row *row);

/*
 * Sets what the file says. 0, or -1: the error names file, line, key and what was expected; values that were set
 * before it stay.
 */
int config_file_load(struct config *c, const char *path, struct config_error *err)
    __attribute__((warn_unused_result));

/* Another entry of `listeners`: what it says by row, NULL = nothing. 0, or -1 with the row at fault. */
int config_listener_add(struct config *c, char *const values[LISTENER_ROWS], size_t *bad)
    __attribute__((warn_unused_result));

/*
 * Another entry of `bridges`, and another of the last one's `topics`: what they say by row, NULL = nothing. 0, or -1: *bad is the
 * row at fault, and `why` says what was expected there.
 */
int config_bridge_add(struct config *c, char *const values[BRIDGE_ROWS], size_t *bad,
                      char why[CONFIG_EXPECTED_MAX]) __attribute__((warn_unused_result));
int config_bridge_topic_add(struct config *c, char *const values[BRIDGE_TOPIC_ROWS], size_t *bad,
                            char why[CONFIG_EXPECTED_MAX]) __attribute__((warn_unused_result));
void config_bridges_fini(struct config *c);
/* As the sample file has it. */
void config_bridges_yaml(FILE *out);

void config_fail(struct config_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
