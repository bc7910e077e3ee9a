/* What the commands that change and list settings share. */
#ifndef TMQ_CLI_LIST_H
#define TMQ_CLI_LIST_H

#include "cli/commands.h"
#include "cli/format.h"

/* Adds an item's row to the table. */
typedef void (*cli_row_fn)(const json_t *item, bool local, struct cli_table *t);

/* GETs and prints a list as a table, or as JSON with --json; `path` is freed. An exit status. */
int cli_list(struct cli_http *h, const struct cli_args *a, struct buf *path,
             const char *const *header, size_t columns, cli_row_fn row, const char *when_empty);

/* Sends a change; `path` is freed, `body` (may be NULL) is taken over. Silent when done. An exit status. */
int cli_send(struct cli_http *h, const char *method, struct buf *path, json_t *body);

#endif
