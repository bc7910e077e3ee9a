/*
 * The configuration: defaults, then the file, then the command line; see config.h. The table's rows become data
 * here; config_value.c knows the types, config_file.c the YAML file, config_help.c the texts.
 */
#include "server/config.h"

#include <assert.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "server/config_priv.h"

const struct option_row config_rows[CONFIG_ROWS] = {
#define OPTION(...) ROW(false, __VA_ARGS__)
#define LIVE(...) ROW(true, __VA_ARGS__)
#define ROW(live_, m, key_, flag_, type_, fallback_, min_, max_, help_)                            \
    [CONFIG_ROW_##m] = {.key = (key_),                                                             \
                        .live = (live_),                                                           \
                        .flag = (flag_),                                                           \
                        .fallback = (fallback_),                                                   \
                        .help = (help_),                                                           \
                        .min = (min_),                                                             \
                        .max = (max_),                                                             \
                        .offset = offsetof(struct config, m),                                      \
                        .type = OPTION_##type_},
#include "server/config.def"
#undef OPTION
#undef ROW
};

const struct option_row listener_rows[LISTENER_ROWS] = {
#define LISTENER(member_, key_, type_, min_, max_, fallback_, example_, help_)                     \
    [LISTENER_ROW_##member_] = {.key = (key_),                                                     \
                                .fallback = (fallback_),                                           \
                                .help = (help_),                                                   \
                                .min = (min_),                                                     \
                                .max = (max_),                                                     \
                                .offset = offsetof(struct config_listener, member_),               \
                                .type = OPTION_##type_},
#include "server/listener.def"
#undef LISTENER
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
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        config_drop(c, &config_rows[i]);
    }
    for (unsigned n = 0; n < c->listener_count; n++) {
        for (size_t i = 0; i < LISTENER_ROWS; i++) {
            config_drop(&c->listeners[n], &listener_rows[i]);
        }
    }
    free(c->listeners);
    config_bridges_fini(c);
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

/* One of the main listeners is named on the command line: the others are not opened. */
static void close_unnamed(struct config *c, const struct arguments *a)
{
    static const size_t rows[] = {CONFIG_ROW_mqtt, CONFIG_ROW_mqtts, CONFIG_ROW_ws, CONFIG_ROW_wss};
    bool any = false;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        any = any || a->value[rows[i]] != NULL;
    }
    for (size_t i = 0; any && i < sizeof rows / sizeof *rows; i++) {
        if (a->value[rows[i]] == NULL) {
            config_drop(c, &config_rows[rows[i]]);
        }
    }
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

int config_listener_add(struct config *c, char *const values[LISTENER_ROWS], size_t *bad)
{
    c->listeners = mem_realloc(c->listeners, (c->listener_count + 1) * sizeof *c->listeners);
    struct config_listener *l = &c->listeners[c->listener_count++];
    *l = (struct config_listener){.name = NULL};
    for (*bad = 0; *bad < LISTENER_ROWS; (*bad)++) {
        const char *text = values[*bad];
        l->given |= (uint32_t)(text != NULL) << *bad;
        if (text != NULL && config_set(l, &listener_rows[*bad], text) != 0) {
            return -1;
        }
    }
    return 0;
}

const struct option_row *config_row_by_key(const char *key)
{
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        if (strcmp(config_rows[i].key, key) == 0) {
            return &config_rows[i];
        }
    }
    return NULL;
}

/* What a listener does not say, the broker's options do. */
static void inherit(const struct config *c, struct config_listener *l)
{
    for (size_t i = 0; i < LISTENER_ROWS; i++) {
        const struct option_row *row = &listener_rows[i];
        if ((l->given >> i & 1) != 0 || row->fallback[0] == '\0') {
            continue;
        }
        const struct option_row *own = config_row_by_key(row->fallback);
        assert(own != NULL && own->type == row->type);
        config_copy((char *)l + row->offset, (const char *)c + own->offset, row);
    }
}

/* The listeners of the plain options are entries, too. */
static void add_plain_listeners(struct config *c)
{
    const struct {
        const char *protocol;
        char *address;
    } plain[] = {{"mqtt", c->mqtt}, {"mqtts", c->mqtts}, {"ws", c->ws}, {"wss", c->wss}};
    for (size_t i = 0; i < sizeof plain / sizeof *plain; i++) {
        char *values[LISTENER_ROWS] = {NULL};
        size_t bad;
        if (plain[i].address != NULL && plain[i].address[0] != '\0') {
            values[LISTENER_ROW_protocol] = (char *)(uintptr_t)plain[i].protocol;
            values[LISTENER_ROW_address] = plain[i].address;
            int rc = config_listener_add(c, values, &bad);
            assert(rc == 0);
            (void)rc;
        }
    }
}

static void finish_listeners(struct config *c)
{
    add_plain_listeners(c);
    for (unsigned i = 0; i < c->listener_count; i++) {
        struct config_listener *l = &c->listeners[i];
        inherit(c, l);
        if (l->name == NULL) {
            const char *name = config_protocol_name(l->protocol);
            l->name = mem_strndup(name, strlen(name));
        }
    }
}

static bool is_given(const struct config_listener *l, size_t row)
{
    return (l->given >> row & 1) != 0;
}

static bool is_tls(const struct config_listener *l)
{
    return l->protocol == PROTOCOL_MQTTS || l->protocol == PROTOCOL_WSS;
}

/* A certificate may be shown to us, or to the load balancer, which tells its common name. */
static bool may_name_users(const struct config_listener *l)
{
    bool asks = is_tls(l) && l->client_certificate != TLS_CLIENT_NONE;
    return asks || (l->proxy_protocol && l->username_from == TLS_USER_CN);
}

static const char *listener_problem(const struct config_listener *l)
{
    bool path = strncmp(l->address, "unix:", strlen("unix:")) == 0;
    if (l->proxy_protocol && !path && l->proxy_from[strspn(l->proxy_from, ", ")] == '\0') {
        return "proxy_protocol is on: expected the addresses of the load balancers in proxy_from, got none";
    }
    if (is_given(l, LISTENER_ROW_client_certificate) && l->client_certificate != TLS_CLIENT_NONE &&
        !is_tls(l) && !l->proxy_protocol) {
        return "client_certificate: expected a protocol over TLS, or proxy_protocol";
    }
    if (is_given(l, LISTENER_ROW_username_from) && l->username_from != TLS_USER_NONE &&
        !may_name_users(l)) {
        return l->proxy_protocol
                   ? "username_from: a PROXY header tells a certificate's common name only: expected cn"
                   : "username_from: expected client_certificate to be optional or required, or proxy_protocol";
    }
    return NULL;
}

/* What would let in who should not be, or do nothing. */
static int check_listeners(const struct config *c, struct config_error *err)
{
    bool certificates = false, names_users = c->tls_username_from == TLS_USER_NONE;
    for (unsigned i = 0; i < c->listener_count; i++) {
        const struct config_listener *l = &c->listeners[i];
        const char *problem = l->address == NULL ? NULL : listener_problem(l);
        if (problem != NULL) {
            config_fail(err, "listener %s: %s", l->name, problem);
            return -1;
        }
        certificates = certificates || (l->address != NULL && (is_tls(l) || l->proxy_protocol));
        names_users = names_users || may_name_users(l);
    }
    if (certificates && !names_users) {
        config_fail(err, "tls.username_from: no listener asks for client certificates");
        return -1;
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
    close_unnamed(c, &a);
    finish_listeners(c);
    if (check_listeners(c, err) != 0) {
        config_fini(c);
        return -1;
    }
    default_node(c);
    *check = a.check;
    return 0;
}
