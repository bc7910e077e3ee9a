/* `tracemq bridge`. */
#include "cli/commands.h"
#include "cli/format.h"
#include "cli/list.h"

static void count_text(const json_t *item, const char *name, char out[24])
{
    (void)snprintf(out, 24, "%" JSON_INTEGER_FORMAT,
                   json_integer_value(json_object_get(item, name)));
}

static void bridge_row(const json_t *item, bool local, struct cli_table *t)
{
    char time[CLI_TIME_SIZE], out[24], in[24];
    bool connected = json_is_true(json_object_get(item, "connected"));
    const char *error = cli_text(item, "lastError");
    count_text(item, "messagesOut", out);
    count_text(item, "messagesIn", in);
    const char *const cells[] = {cli_text(item, "name"),
                                 cli_text(item, "address"),
                                 connected ? "connected" : "not connected",
                                 cli_time(item, "since", local, time),
                                 out,
                                 in,
                                 error};
    cli_table_add(t, cells);
}

int cli_bridge_list(struct cli_http *h, const struct cli_args *a)
{
    static const char *const header[] = {"BRIDGE", "ADDRESS", "STATE",     "SINCE",
                                         "OUT",    "IN",      "LAST ERROR"};
    struct buf path = {0};
    buf_put_slice(&path, slice_str("/api/v1/bridges"));
    return cli_list(h, a, &path, header, sizeof header / sizeof *header, bridge_row,
                    "No bridge; `bridges:` in the configuration file makes one.");
}
