/* `tracemq status`, `devices`, `kick`. */
#include <stdlib.h>

#include "base/clock.h"
#include "cli/commands.h"
#include "cli/format.h"

static void put_device(struct buf *path, const struct cli_http *h, const char *client_id)
{
    cli_path_instance(h, path);
    buf_put_slice(path, slice_str("/devices"));
    cli_path_segment(path, client_id);
}

/* One line "Name          value"; nothing when there is no value. */
static void print_line(const char *name, const char *value)
{
    struct buf b = {0};
    if (value == NULL || *value == '\0') {
        return;
    }
    cli_put_safe(&b, slice_str(value));
    (void)printf("%-14s %.*s\n", name, (int)buf_len(&b), (const char *)buf_slice(&b).p);
    buf_fini(&b);
}

/* "2026-01-31 12:00:05.123 (2h 5m ago)" */
static void print_when(const char *name, const json_t *doc, const char *key, bool local)
{
    char time[CLI_TIME_SIZE];
    char span[CLI_SPAN_SIZE];
    const json_t *v = json_object_get(doc, key);
    if (!json_is_integer(v)) {
        return;
    }
    uint64_t at = (uint64_t)json_integer_value(v);
    uint64_t now = clock_wall_us() / 1000;
    cli_format_span(now > at ? now - at : 0, span);
    (void)printf("%-14s %s%s (%s ago)\n", name, cli_time(doc, key, local, time),
                 local ? "" : " UTC", span);
}

static void print_status(const json_t *doc, bool local)
{
    char number[32];
    const json_t *keepalive = json_object_get(doc, "keepalive");
    const json_t *clean = json_object_get(doc, "cleanSession");
    print_line("Client ID", cli_text(doc, "clientId"));
    print_line("State", json_is_true(json_object_get(doc, "online")) ? "online" : "offline");
    print_when("Connected at", doc, "connectedAt", local);
    print_when("Last change", doc, "lastUpdate", local);
    print_line("Description", cli_text(doc, "lastDescription"));
    print_line("Cause", cli_text(doc, "lastCause"));
    print_line("Peer", cli_text(doc, "peer"));
    print_line("Channel", cli_text(doc, "channelId"));
    print_line("User", cli_text(doc, "user"));
    print_line("Protocol", cli_text(doc, "protocol"));
    print_line("Transport", cli_text(doc, "transport"));
    if (json_is_integer(keepalive)) {
        (void)snprintf(number, sizeof number, "%" JSON_INTEGER_FORMAT " s",
                       json_integer_value(keepalive));
        print_line("Keepalive", number);
    }
    if (json_is_boolean(clean)) {
        print_line("Clean session", json_is_true(clean) ? "yes" : "no");
    }
}

int cli_status(struct cli_http *h, const struct cli_args *a)
{
    char *client_id = cli_client_id(a);
    struct buf path = {0};
    json_t *doc = NULL;
    put_device(&path, h, client_id);
    int rc = cli_request(h, "GET", &path, NULL, 0, &doc);
    if (rc == 0 && cli_has(a, OPT_JSON)) {
        cli_print_json(doc);
    } else if (rc == 0) {
        print_status(doc, cli_has(a, OPT_LOCAL));
    }
    json_decref(doc);
    buf_fini(&path);
    free(client_id);
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}

int cli_kick(struct cli_http *h, const struct cli_args *a)
{
    char *client_id = cli_client_id(a);
    struct buf path = {0};
    put_device(&path, h, client_id);
    buf_put_slice(&path, slice_str("/kick"));
    int rc = cli_request(h, "POST", &path, NULL, 0, NULL);
    buf_fini(&path);
    free(client_id);
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}

/* ---- the list ---- */

int cli_devices_check(const struct cli_args *a, char *problem, size_t size)
{
    if (cli_has(a, OPT_ONLINE) && cli_has(a, OPT_OFFLINE)) {
        (void)snprintf(problem, size, "--online or --offline, not both");
        return -1;
    }
    return 0;
}

static void print_devices(const json_t *doc, bool local)
{
    const char *const header[] = {
        "CLIENT ID",   "STATE", local ? "LAST CHANGE (LOCAL)" : "LAST CHANGE (UTC)",
        "DESCRIPTION", "CAUSE", "USER",
        "PEER"};
    enum { COLUMNS = sizeof header / sizeof header[0] };
    const json_t *items = json_object_get(doc, "items");
    struct cli_table t;
    cli_table_init(&t, header, COLUMNS);
    for (size_t i = 0; i < json_array_size(items); i++) {
        char time[CLI_TIME_SIZE];
        const json_t *d = json_array_get(items, i);
        const char *const cells[COLUMNS] = {cli_text(d, "clientId"),
                                            json_is_true(json_object_get(d, "online")) ? "online"
                                                                                       : "offline",
                                            cli_time(d, "lastUpdate", local, time),
                                            cli_text(d, "lastDescription"),
                                            cli_text(d, "lastCause"),
                                            cli_text(d, "user"),
                                            cli_text(d, "peer")};
        cli_table_add(&t, cells);
    }
    cli_table_flush(&t, stdout);
    cli_table_fini(&t);
    if (cli_text(doc, "next") != NULL) {
        (void)printf("\n%zu of %" JSON_INTEGER_FORMAT " devices; --limit N shows more\n",
                     json_array_size(items), json_integer_value(json_object_get(doc, "total")));
    }
}

int cli_devices(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    json_t *doc = NULL;
    cli_path_instance(h, &path);
    buf_put_slice(&path, slice_str("/devices"));
    cli_path_query(&path, "query", a->value[OPT_PREFIX]);
    cli_path_query(&path, "group", a->value[OPT_GROUP]);
    if (cli_has(a, OPT_ONLINE) || cli_has(a, OPT_OFFLINE)) {
        cli_path_query(&path, "online", cli_has(a, OPT_ONLINE) ? "true" : "false");
    }
    int rc = cli_request_all(h, &path, cli_limit(a), &doc);
    buf_fini(&path);
    if (rc != 0) {
        return CLI_FAILED;
    }
    if (cli_has(a, OPT_JSON)) {
        cli_print_json(doc);
    } else if (json_array_size(json_object_get(doc, "items")) == 0) {
        (void)printf("No device matches; a device is listed once it was accepted.\n");
    } else {
        print_devices(doc, cli_has(a, OPT_LOCAL));
    }
    json_decref(doc);
    return CLI_DONE;
}
