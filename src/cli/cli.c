/* Which command runs, and what help says: both from one table. */
#include "cli/cli.h"

#include <stdlib.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/format.h"

#define DEVICE_OPTIONS (CLI_BIT(OPT_GROUP) | CLI_BIT(OPT_DEVICE))
#define TRACE_OPTIONS                                                                              \
    (DEVICE_OPTIONS | CLI_BIT(OPT_LAST) | CLI_BIT(OPT_BEGIN) | CLI_BIT(OPT_END) |                  \
     CLI_BIT(OPT_REVERSE) | CLI_BIT(OPT_ACTION) | CLI_BIT(OPT_CAUSE) | CLI_BIT(OPT_LIMIT) |        \
     CLI_BIT(OPT_JSON) | CLI_BIT(OPT_CSV) | CLI_BIT(OPT_FOLLOW) | CLI_BIT(OPT_LOCAL))
#define DEVICES_OPTIONS                                                                            \
    (CLI_BIT(OPT_PREFIX) | CLI_BIT(OPT_GROUP) | CLI_BIT(OPT_ONLINE) | CLI_BIT(OPT_OFFLINE) |       \
     CLI_BIT(OPT_LIMIT) | CLI_BIT(OPT_JSON) | CLI_BIT(OPT_LOCAL))
#define IMPORT_OPTIONS                                                                             \
    (CLI_BIT(OPT_OUT) | CLI_BIT(OPT_SETTINGS_OUT) | CLI_BIT(OPT_APPLY) | CLI_BIT(OPT_FORCE) |      \
     CLI_BIT(OPT_REPLACE))
#define EMQX_OPTIONS                                                                               \
    (CLI_BIT(OPT_HASH) | CLI_BIT(OPT_SETTINGS_OUT) | CLI_BIT(OPT_APPLY) | CLI_BIT(OPT_FORCE) |     \
     CLI_BIT(OPT_REPLACE))
#define LIST_OPTIONS (CLI_BIT(OPT_JSON) | CLI_BIT(OPT_LOCAL))

static const struct cli_command commands[] = {
    {"trace", NULL,
     "CLIENT_ID | --group G --device D [--last 24h | --begin T --end T] [--reverse] [--action A] "
     "[--cause C] [--limit N] [--json|--csv] [--follow] [--local]",
     "what happened to a device: when it connected, how each connection ended and why", 0, 1,
     TRACE_OPTIONS, cli_trace, cli_trace_check},
    {"status", NULL, "CLIENT_ID | --group G --device D [--json] [--local]",
     "whether a device is connected, from where, since when", 0, 1,
     DEVICE_OPTIONS | CLI_BIT(OPT_JSON) | CLI_BIT(OPT_LOCAL), cli_status, cli_device_check},
    {"devices", NULL,
     "[--prefix TEXT] [--group G] [--online|--offline] [--limit N] [--json] [--local]",
     "list the devices that are known", 0, 0, DEVICES_OPTIONS, cli_devices, cli_devices_check},
    {"kick", NULL, "CLIENT_ID | --group G --device D", "close a device's connection", 0, 1,
     DEVICE_OPTIONS, cli_kick, cli_device_check},
    {"reload", NULL, "[--json]",
     "read the configuration again: what changed, and what needs a restart", 0, 0,
     CLI_BIT(OPT_JSON), cli_reload, NULL},
    {"import", "mosquitto",
     "MOSQUITTO.CONF [--out FILE] [--settings-out FILE] [--apply] [--force] [--replace]",
     "make a configuration, users and permissions of Mosquitto's files; a report tells what became of every line",
     1, 1, IMPORT_OPTIONS, cli_import_mosquitto, NULL},
    {"import", "emqx",
     "USERS.csv|USERS.json [--hash NAME] [--settings-out FILE] [--apply] [--force] [--replace]",
     "make users of a file that EMQX's built-in database imports; NAME is what its password_hash_algorithm was, as in "
     "sha256-prefix, sha512-suffix, sha256 (no salt), pbkdf2-sha256:ITERATIONS, plain",
     1, 1, EMQX_OPTIONS, cli_import_emqx, cli_import_emqx_check},
    {"import", "settings", "FILE [--replace]",
     "give users and permissions of an import to a running broker", 1, 1, CLI_BIT(OPT_REPLACE),
     cli_import_settings, NULL},
    {"instance", "list", "[--json] [--local]", "list the instances", 0, 0, LIST_OPTIONS,
     cli_instance_list, NULL},
    {"instance", "show", "[NAME] [--json]", "show an instance and its settings", 0, 1,
     CLI_BIT(OPT_JSON) | CLI_BIT(OPT_LOCAL), cli_instance_show, NULL},
    {"instance", "set", "NAME KEY VALUE",
     "change client_id (any, grouped), topics (open, declared), on_denied (close, refuse), "
     "subscriptions (covered, filtered), allow_anonymous (true, false) or unknown_users (refused, "
     "anonymous)",
     3, 3, 0, cli_instance_set, NULL},
    {"bridge", "list", "[--json] [--local]",
     "list the bridges to other brokers: connected or not, since when, and the last error", 0, 0,
     LIST_OPTIONS, cli_bridge_list, NULL},
    {"group", "add", "GID", "create a group: GID_… or GID-…", 1, 1, 0, cli_group_add, NULL},
    {"group", "list", "[--json]", "list the groups", 0, 0, LIST_OPTIONS, cli_group_list, NULL},
    {"group", "delete", "GID", "delete a group", 1, 1, 0, cli_group_delete, NULL},
    {"topic", "add", "NAME", "declare a parent topic", 1, 1, 0, cli_topic_add, NULL},
    {"topic", "list", "[--json]", "list the declared parent topics", 0, 0, LIST_OPTIONS,
     cli_topic_list, NULL},
    {"topic", "delete", "NAME", "take a declaration back", 1, 1, 0, cli_topic_delete, NULL},
    {"user", "add", "NAME --password-stdin [--allow FILTER]…",
     "add a user; each --allow lets it publish and subscribe there", 1, 1,
     CLI_BIT(OPT_PASSWORD_STDIN) | CLI_BIT(OPT_ALLOW), cli_user_add, cli_password_check},
    {"user", "list", "[--json]", "list the users", 0, 0, LIST_OPTIONS, cli_user_list, NULL},
    {"user", "passwd", "NAME --password-stdin",
     "set a new password; connections with the old one end", 1, 1, CLI_BIT(OPT_PASSWORD_STDIN),
     cli_user_passwd, cli_password_check},
    {"user", "delete", "NAME", "delete a user; its connections end", 1, 1, 0, cli_user_delete,
     NULL},
    {"permission", "add", "NAME allow|deny publish|subscribe|both FILTER",
     "give a user (* for everyone, $anonymous for clients without a user name) a permission: deny beats allow, no "
     "match is denied; %c in FILTER is the client ID, %u the user name",
     4, 4, 0, cli_permission_add, cli_permission_check},
    {"permission", "list", "NAME [--json]", "list a user's permissions", 1, 1, LIST_OPTIONS,
     cli_permission_list, NULL},
    {"permission", "delete", "NAME allow|deny publish|subscribe|both FILTER",
     "take a permission back", 4, 4, 0, cli_permission_delete, cli_permission_check},
};
enum { COMMANDS = sizeof commands / sizeof commands[0] };

int cli_knows(const char *word)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, word) == 0) {
            return 1;
        }
    }
    return 0;
}

/* ---- help ---- */

static void print_usage(const struct cli_command *c, FILE *out)
{
    (void)fprintf(out, "usage: tracemq %s%s%s %s\n", c->name, c->verb == NULL ? "" : " ",
                  c->verb == NULL ? "" : c->verb, c->usage);
}

static void print_options(uint32_t bits)
{
    for (unsigned o = 0; o < OPT_COUNT; o++) {
        const struct cli_option_info *info = cli_option_info((enum cli_option)o);
        if ((bits & CLI_BIT(o)) != 0) {
            char head[64];
            (void)snprintf(head, sizeof head, "--%s%s%s", info->name,
                           info->value == NULL ? "" : " ", info->value == NULL ? "" : info->value);
            (void)printf("  %-20s %s\n", head, info->help);
        }
    }
}

static void print_help(const struct cli_command *c)
{
    print_usage(c, stdout);
    (void)printf("  %s\n\noptions:\n", c->help);
    print_options(c->options | cli_common_options());
}

static void print_verbs(const char *name, FILE *out)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            print_usage(&commands[i], out);
            (void)fprintf(out, "  %s\n", commands[i].help);
        }
    }
}

void cli_help(void)
{
    (void)printf("TraceMQ " TRACEMQ_VERSION
                 ": the MQTT broker that can always tell you why a device "
                 "disconnected.\n\n"
                 "usage: tracemq serve [OPTION]…      run the broker (tracemq serve --help)\n"
                 "       tracemq COMMAND [ARGUMENT]…  ask a running broker\n\n"
                 "commands (tracemq COMMAND --help says more):\n");
    for (size_t i = 0; i < COMMANDS; i++) {
        char head[64];
        (void)snprintf(head, sizeof head, "%s%s%s", commands[i].name,
                       commands[i].verb == NULL ? "" : " ",
                       commands[i].verb == NULL ? "" : commands[i].verb);
        (void)printf("  %-18s %s\n", head, commands[i].help);
    }
    (void)printf("\noptions of all commands:\n");
    print_options(cli_common_options());
    (void)printf("\nexit status: 0 done, 1 the answer is no or an error, 2 wrong usage\n");
}

/* ---- shared by the commands ---- */

uint64_t cli_limit(const struct cli_args *a)
{
    if (!cli_has(a, OPT_LIMIT)) {
        return CLI_ROWS_DEFAULT;
    }
    char *end = NULL;
    const char *s = a->value[OPT_LIMIT];
    unsigned long long v = strtoull(s, &end, 10);
    return *s < '0' || *s > '9' || *end != '\0' ? 0 : v;
}

void cli_print_json(const json_t *doc)
{
    (void)json_dumpf(doc, stdout, JSON_INDENT(2));
    (void)putchar('\n');
}

const char *cli_text(const json_t *doc, const char *name)
{
    return json_string_value(json_object_get(doc, name));
}

const char *cli_time(const json_t *doc, const char *name, bool local, char *buf)
{
    const json_t *v = json_object_get(doc, name);
    if (!json_is_integer(v) || json_integer_value(v) < 0) {
        return "-";
    }
    cli_format_time((uint64_t)json_integer_value(v), local, buf);
    return buf;
}

char *cli_client_id(const struct cli_args *a)
{
    if (a->count == 1) {
        return mem_strndup(a->positional[0], strlen(a->positional[0]));
    }
    struct buf b = {0};
    buf_put_slice(&b, slice_str(a->value[OPT_GROUP]));
    buf_put_slice(&b, slice_str("@@@"));
    buf_put_slice(&b, slice_str(a->value[OPT_DEVICE]));
    struct slice s = buf_slice(&b);
    char *id = mem_strndup(s.p, s.n);
    buf_fini(&b);
    return id;
}

/* ---- running ---- */

static int wrong_usage(const struct cli_command *c, const char *problem)
{
    (void)fprintf(stderr, "tracemq: %s\n", problem);
    print_usage(c, stderr);
    return CLI_USAGE;
}

static bool wants_help(int argc, char **argv)
{
    for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            return true;
        }
    }
    return false;
}

/* What becomes part of a path or of JSON. */
static int check_text(const char *s, char *problem, size_t size)
{
    json_t *text = *s == '\0' ? NULL : json_string(s);
    if (text == NULL) {
        (void)snprintf(problem, size, "an argument is %s", *s == '\0' ? "empty" : "not UTF-8");
        return -1;
    }
    json_decref(text);
    return 0;
}

/* Checks what every command has in common, then what is its own. */
static int check(const struct cli_command *c, const struct cli_args *a, char *problem, size_t size)
{
    if (a->count > c->max) {
        (void)snprintf(problem, size, "unexpected argument \"%.100s\"", a->positional[c->max]);
        return -1;
    }
    if (a->count < c->min) {
        (void)snprintf(problem, size, "%zu argument%s missing", c->min - a->count,
                       c->min - a->count == 1 ? " is" : "s are");
        return -1;
    }
    for (size_t i = 0; i < a->count; i++) {
        if (check_text(a->positional[i], problem, size) != 0) {
            return -1;
        }
    }
    for (size_t i = 0; i < a->allow_count; i++) {
        if (check_text(a->allow[i], problem, size) != 0) {
            return -1;
        }
    }
    if (cli_limit(a) == 0) {
        (void)snprintf(problem, size, "--limit: \"%.50s\" is no number above 0",
                       a->value[OPT_LIMIT]);
        return -1;
    }
    return c->check == NULL ? 0 : c->check(a, problem, size);
}

static int run(const struct cli_command *c, int argc, char **argv)
{
    struct cli_args a;
    char problem[512];
    if (wants_help(argc, argv)) {
        print_help(c);
        return CLI_DONE;
    }
    if (cli_args_parse(&a, argc, argv, c->options, problem, sizeof problem) != 0 ||
        check(c, &a, problem, sizeof problem) != 0) {
        return wrong_usage(c, problem);
    }
    bool asks = (c->options & CLI_BIT(OPT_APPLY)) == 0 || cli_has(&a, OPT_APPLY);
    struct cli_http *h = asks ? cli_http_new(&a) : NULL;
    if (asks && h == NULL) {
        return CLI_FAILED;
    }
    int status = c->run(h, &a);
    cli_http_free(h);
    if (fflush(stdout) != 0 && status == CLI_DONE) {
        (void)fprintf(stderr, "tracemq: cannot write the answer\n");
        return CLI_FAILED;
    }
    return status;
}

/* The command with that name; with a verb: the one with that verb too. */
static const struct cli_command *find(const char *name, const char *verb)
{
    for (size_t i = 0; i < COMMANDS; i++) {
        const struct cli_command *c = &commands[i];
        if (strcmp(c->name, name) == 0 &&
            (c->verb == NULL || (verb != NULL && strcmp(c->verb, verb) == 0))) {
            return c;
        }
    }
    return NULL;
}

int cli_main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    const char *verb = argc > 2 ? argv[2] : NULL;
    const struct cli_command *c = find(name, verb);
    if (c != NULL) {
        int skip = c->verb == NULL ? 2 : 3;
        return run(c, argc - skip, argv + skip);
    }
    if (!cli_knows(name)) {
        (void)fprintf(stderr, "tracemq: unknown command \"%s\"; `tracemq --help` lists them\n",
                      name);
        return CLI_USAGE;
    }
    if (wants_help(argc - 2, argv + 2)) {
        print_verbs(name, stdout);
        return CLI_DONE;
    }
    if (verb == NULL) {
        (void)fprintf(stderr, "tracemq: %s needs a verb\n", name);
    } else {
        (void)fprintf(stderr, "tracemq: %s has no verb \"%s\"\n", name, verb);
    }
    print_verbs(name, stderr);
    return CLI_USAGE;
}
