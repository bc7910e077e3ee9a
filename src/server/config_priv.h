/* What the files of the configuration share: the table's rows as data, and values as text. */
#ifndef TMQ_SERVER_CONFIG_PRIV_H
#define TMQ_SERVER_CONFIG_PRIV_H

#include <stddef.h>

#include "server/config.h"

enum option_type {
    OPTION_TEXT,       /* char * */
    OPTION_DIRECTORY,  /* char * */
    OPTION_ADDRESS,    /* char *, NULL = off */
    OPTION_LEVEL,      /* char *, a word of its list */
    OPTION_FLAG,       /* bool; on the command line without a value, too */
    OPTION_SWITCH,     /* bool */
    OPTION_COUNT,      /* uint64_t */
    OPTION_SIZE,       /* uint64_t in bytes */
    OPTION_DURATION,   /* uint64_t in ms; a plain number is milliseconds */
    OPTION_DURABILITY, /* enum config_durability */
};

struct option_row {
    const char *key;  /* in the file; "group.key" */
    const char *flag; /* "--kebab-name" */
    const char *fallback;
    const char *help;
    uint64_t min, max;
    size_t offset; /* in struct config */
    enum option_type type;
};

enum {
#define OPTION(member, ...) CONFIG_ROW_##member,
#include "server/config.def"
#undef OPTION
    CONFIG_ROWS
};
extern const struct option_row config_rows[CONFIG_ROWS];

enum { CONFIG_EXPECTED_MAX = 160 };

/* Parses `text` as the row's type, checks the range, stores it. 0, or -1 when it is not what was expected. */
int config_set(struct config *c, const struct option_row *row, const char *text)
    __attribute__((warn_unused_result));
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

void config_fail(struct config_error *err, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
