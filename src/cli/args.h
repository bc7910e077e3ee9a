/*
 * The command line: options from one table, before or behind the positional arguments; --name VALUE or
 * --name=VALUE; `--` ends the options.
 */
#ifndef TMQ_CLI_ARGS_H
#define TMQ_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* OPTION(symbol, "name", "VALUE" or NULL for a switch, "help") */
#define CLI_OPTIONS(OPTION)                                                                        \
    OPTION(URL, "url", "URL", "address of the HTTP API (TRACEMQ_URL)")                             \
    OPTION(TOKEN, "token", "TOKEN", "API token (TRACEMQ_TOKEN)")                                   \
    OPTION(INSTANCE, "instance", "ID", "instance, default mqtt-local")                             \
    OPTION(DATA, "data", "DIR", "data directory whose bootstrap.json has address and token")       \
    OPTION(HELP, "help", NULL, "this help")                                                        \
    OPTION(GROUP, "group", "GID", "group ID: the client ID is GID@@@DEVICE")                       \
    OPTION(DEVICE, "device", "DEVICE", "device ID, with --group")                                  \
    OPTION(LAST, "last", "DURATION", "up to now, as in 24h, 90m, 1h30m (default 24h)")             \
    OPTION(BEGIN, "begin", "TIME", "from this time: RFC 3339, 2026-01-31 12:00, Unix ms")          \
    OPTION(END, "end", "TIME", "before this time; at most one day behind --begin")                 \
    OPTION(REVERSE, "reverse", NULL, "newest first")                                               \
    OPTION(ACTION, "action", "ACTION", "only connect, close or disconnect")                        \
    OPTION(CAUSE, "cause", "CAUSE", "only this cause, as in keepalive.expired")                    \
    OPTION(LIMIT, "limit", "N", "at most N rows (default 1000)")                                   \
    OPTION(JSON, "json", NULL, "one JSON document (one a line with --follow)")                     \
    OPTION(CSV, "csv", NULL, "CSV (RFC 4180)")                                                     \
    OPTION(FOLLOW, "follow", NULL, "go on with what happens from now, until Ctrl-C")               \
    OPTION(LOCAL, "local", NULL, "times in this machine's zone instead of UTC")                    \
    OPTION(PREFIX, "prefix", "TEXT", "only client IDs that begin so")                              \
    OPTION(ONLINE, "online", NULL, "only devices that are connected")                              \
    OPTION(OFFLINE, "offline", NULL, "only devices that are not connected")                        \
    OPTION(PASSWORD_STDIN, "password-stdin", NULL, "read the password from standard input")        \
    OPTION(ALLOW, "allow", "FILTER", "may publish and subscribe here; may be given again")         \
    OPTION(HASH, "hash", "NAME", "what EMQX's password_hash_algorithm is")                         \
    OPTION(OUT, "out", "FILE", "write the configuration here instead of standard output")          \
    OPTION(SETTINGS_OUT, "settings-out", "FILE", "write users and permissions here")               \
    OPTION(APPLY, "apply", NULL, "give users and permissions to a running broker")                 \
    OPTION(FORCE, "force", NULL, "write over files that exist")                                    \
    OPTION(REPLACE, "replace", NULL, "make users that exist anew, with the imported password")

enum cli_option {
#define OPTION(sym, name, value, help) OPT_##sym,
    CLI_OPTIONS(OPTION)
#undef OPTION
        OPT_COUNT
};

#define CLI_BIT(o) (UINT32_C(1) << (o))
enum { CLI_POSITIONAL_MAX = 4, CLI_ALLOW_MAX = 256 };

struct cli_option_info {
    const char *name, *value, *help;
};
const struct cli_option_info *cli_option_info(enum cli_option o);

/* Options that every command takes. */
uint32_t cli_common_options(void);

struct cli_args {
    const char *positional[CLI_POSITIONAL_MAX];
    size_t count;
    const char *value[OPT_COUNT]; /* NULL: not given; "" for a switch that was given */
    const char *allow[CLI_ALLOW_MAX];
    size_t allow_count;
};

static inline bool cli_has(const struct cli_args *a, enum cli_option o)
{
    return a->value[o] != NULL;
}

/*
 * Parses argv[0..argc); `allowed` has the bits of the command's own options. Strings live as long as argv. 0; -1 with
 * a sentence in `problem`.
 */
int cli_args_parse(struct cli_args *a, int argc, char **argv, uint32_t allowed, char *problem,
                   size_t problem_size) __attribute__((warn_unused_result));

#endif
