/*
 * The configuration: defaults, then the file, then the command line; see config.h. The table's rows become data
 * here; config_value.c knows the types, config_file.c the YAML file, config_help.c the texts.
 */
#include "server/config.h"

#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/config_priv.h"

const struct option_row config_rows[CONFIG_ROWS] = {
#define OPTION(m, key_, flag_, type_, fallback_, min_, max_, help_)                                \
    [CONFIG_ROW_##m] = {.key = (key_),                                                             \
                        .flag = (flag_),                                                           \
                        .fallback = (fallback_),                                                   \
                        .help = (help_),                                                           \
                        .min = (min_),                                                             \
                        .max = (max_),                                                             \
                        .offset = offsetof(struct config, m),                                      \
                        .type = OPTION_##type_},
#include "server/config.def"
#undef OPTION
};

void config_fail(struct config_error *err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, args);
    va_end(args);
}

void config_fini(struct config *c)
{
    free(c->data);
    free(c->region);
    free(c->node);
    free(c->mqtt);
    free(c->http);
    free(c->log_level);
    free(c->trace_ring_dir);
    *c = (struct config){0};
}

/* A row that is wrong here is our own mistake, not the operator's. */
static void set_defaults(struct config *c)
{
    *c = (struct config){0};
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        if (config_set(c, &config_rows[i], config_rows[i].fallback) != 0) {
            (void)fprintf(stderr, "tracemq: config.def: wrong default of %s\n", config_rows[i].key);
            abort();
        }
    }
}

/* The command line, read but not yet applied; strings of argv. */
struct arguments {
    const char *file;
    bool check;
    const char *value[CONFIG_ROWS];
};

static const struct option_row *row_by_flag(const char *flag, size_t n)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        if (strlen(config_rows[i].flag) == n && memcmp(config_rows[i].flag, flag, n) == 0) {
            return &config_rows[i];
        }
    }
    return NULL;
}

static int fail_missing(struct config_error *err, const char *flag, const struct option_row *row)
{
    char expected[CONFIG_EXPECTED_MAX] = "a file name";
    if (row != NULL) {
        config_expected(row, expected);
    }
    config_fail(err, "%s: expected %s, got nothing", flag, expected);
    return -1;
}

/* Reads argv[*at], and the value behind it; moves *at to the last word that was read. */
static int read_argument(struct arguments *a, int argc, char **argv, int *at,
                         struct config_error *err)
{
    const char *word = argv[*at];
    const char *equals = strchr(word, '=');
    size_t n = equals == NULL ? strlen(word) : (size_t)(equals - word);
    if (strcmp(word, "--check") == 0) {
        a->check = true;
        return 0;
    }
    bool is_file = n == strlen("--config") && memcmp(word, "--config", n) == 0;
    const struct option_row *row = is_file ? NULL : row_by_flag(word, n);
    if (!is_file && row == NULL) {
        config_fail(err, "unknown %s \"%s\"; `tracemq serve --help` lists all options",
                    word[0] == '-' ? "option" : "argument", word);
        return -1;
    }
    const char *value = equals == NULL ? NULL : equals + 1;
    if (value == NULL && row != NULL && row->type == OPTION_FLAG) {
        value = "on";
    } else if (value == NULL) {
        if (*at + 1 >= argc) {
            return fail_missing(err, word, row);
        }
        value = argv[++*at];
    }
    if (is_file) {
        a->file = value;
    } else {
        a->value[row - config_rows] = value;
    }
    return 0;
}

static int apply_arguments(struct config *c, const struct arguments *a, struct config_error *err)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        if (a->value[i] != NULL && config_set(c, &config_rows[i], a->value[i]) != 0) {
            char expected[CONFIG_EXPECTED_MAX];
            config_expected(&config_rows[i], expected);
            config_fail(err, "%s: expected %s, got \"%s\"", config_rows[i].flag, expected,
                        a->value[i]);
            return -1;
        }
    }
    return 0;
}

static void default_node(struct config *c)
{
    char name[HOST_NAME_MAX + 1] = "";
    if (c->node[0] != '\0') {
        return;
    }
    if (gethostname(name, sizeof name) != 0 || name[0] == '\0') {
        (void)snprintf(name, sizeof name, "node");
    }
    name[sizeof name - 1] = '\0';
    free(c->node);
    c->node = mem_strndup(name, strlen(name));
}

int config_load(struct config *c, int argc, char **argv, bool *check, struct config_error *err)
{
    struct arguments a = {0};
    *c = (struct config){0};
    for (int i = 1; i < argc; i++) {
        if (read_argument(&a, argc, argv, &i, err) != 0) {
            return -1;
        }
    }
    set_defaults(c);
    if ((a.file != NULL && config_file_load(c, a.file, err) != 0) ||
        apply_arguments(c, &a, err) != 0) {
        config_fini(c);
        return -1;
    }
    default_node(c);
    *check = a.check;
    return 0;
}
