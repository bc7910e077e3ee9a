/*
 * The table of commands: names, usage, help, what each takes and what runs it. Parser, help and usage lines come
 * from it.
 */
#ifndef TMQ_CLI_COMMANDS_H
#define TMQ_CLI_COMMANDS_H

#include "cli/args.h"
#include "cli/http.h"

enum { CLI_DONE = 0, CLI_FAILED = 1, CLI_USAGE = 2, CLI_ROWS_DEFAULT = 1000 };

struct cli_command {
    const char *name, *verb; /* "user", "add"; verb NULL: none */
    const char *usage;       /* positional arguments and options of its own */
    const char *help;        /* one sentence */
    size_t min, max;         /* positional arguments */
    uint32_t options;
    int (*run)(struct cli_http *h, const struct cli_args *a); /* an exit status */
    /* NULL, or a check of the arguments before a server is looked for: 0, or -1 and what is wrong. */
    int (*check)(const struct cli_args *a, char *problem, size_t size);
};

/* --limit, or the default; 0 when it is no number above 0. */
uint64_t cli_limit(const struct cli_args *a);
/* Prints a document to stdout. */
void cli_print_json(const json_t *doc);
/* A member as text, NULL when it is absent, null or no string. */
const char *cli_text(const json_t *doc, const char *name);
/* A time member (Unix ms) as text; "-" when absent. */
const char *cli_time(const json_t *doc, const char *name, bool local, char *buf);
/* The client ID of CLIENT_ID or --group and --device; free() it. */
char *cli_client_id(const struct cli_args *a);

/* trace.c, follow.c */
int cli_trace_check(const struct cli_args *a, char *problem, size_t size);
int cli_trace(struct cli_http *h, const struct cli_args *a);
/* devices.c */
int cli_device_check(const struct cli_args *a, char *problem, size_t size);
int cli_status(struct cli_http *h, const struct cli_args *a);
int cli_devices_check(const struct cli_args *a, char *problem, size_t size);
int cli_devices(struct cli_http *h, const struct cli_args *a);
int cli_kick(struct cli_http *h, const struct cli_args *a);
/* settings.c */
int cli_instance_list(struct cli_http *h, const struct cli_args *a);
int cli_instance_show(struct cli_http *h, const struct cli_args *a);
int cli_instance_set(struct cli_http *h, const struct cli_args *a);
int cli_bridge_list(struct cli_http *h, const struct cli_args *a);
int cli_group_add(struct cli_http *h, const struct cli_args *a);
int cli_group_list(struct cli_http *h, const struct cli_args *a);
int cli_group_delete(struct cli_http *h, const struct cli_args *a);
int cli_topic_add(struct cli_http *h, const struct cli_args *a);
int cli_topic_list(struct cli_http *h, const struct cli_args *a);
int cli_topic_delete(struct cli_http *h, const struct cli_args *a);
/* import.c; `h` is NULL where no broker is asked */
int cli_import_mosquitto(struct cli_http *h, const struct cli_args *a);
int cli_import_emqx_check(const struct cli_args *a, char *problem, size_t size);
int cli_import_emqx(struct cli_http *h, const struct cli_args *a);
int cli_import_settings(struct cli_http *h, const struct cli_args *a);
/* broker.c */
int cli_reload(struct cli_http *h, const struct cli_args *a);
/* users.c */
int cli_password_check(const struct cli_args *a, char *problem, size_t size);
int cli_user_add(struct cli_http *h, const struct cli_args *a);
int cli_user_list(struct cli_http *h, const struct cli_args *a);
int cli_user_passwd(struct cli_http *h, const struct cli_args *a);
int cli_user_delete(struct cli_http *h, const struct cli_args *a);
int cli_permission_check(const struct cli_args *a, char *problem, size_t size);
int cli_permission_add(struct cli_http *h, const struct cli_args *a);
int cli_permission_list(struct cli_http *h, const struct cli_args *a);
int cli_permission_delete(struct cli_http *h, const struct cli_args *a);

#endif
