/* `tracemq instance`, `group`, `topic`. */
#include <stdlib.h>

#include "cli/commands.h"
#include "cli/format.h"
#include "cli/list.h"

/* ---- instances ---- */

static const char *const setting_names[] = {"client_id", "topics", "on_denied", "subscriptions",
                                            "allow_anonymous"};
enum { SETTINGS = sizeof setting_names / sizeof setting_names[0] };

static const char *setting_text(const json_t *instance, const char *name)
{
    const json_t *v = json_object_get(json_object_get(instance, "settings"), name);
    if (json_is_boolean(v)) {
        return json_is_true(v) ? "true" : "false";
    }
    return json_string_value(v);
}

static void instance_row(const json_t *item, bool local, struct cli_table *t)
{
    char time[CLI_TIME_SIZE];
    char online[24];
    (void)snprintf(online, sizeof online, "%" JSON_INTEGER_FORMAT,
                   json_integer_value(json_object_get(item, "devicesOnline")));
    const char *const cells[] = {cli_text(item, "id"), cli_text(item, "region"),
                                 cli_text(item, "status"), online,
                                 cli_time(item, "createdAt", local, time)};
    cli_table_add(t, cells);
}

int cli_instance_list(struct cli_http *h, const struct cli_args *a)
{
    static const char *const header[] = {"INSTANCE", "REGION", "STATUS", "DEVICES ONLINE",
                                         "CREATED"};
    struct buf path = {0};
    buf_put_slice(&path, slice_str("/api/v1/instances"));
    return cli_list(h, a, &path, header, 5, instance_row, "No instance.");
}

static void print_instance(const json_t *doc, bool local)
{
    char time[CLI_TIME_SIZE];
    static const char *const names[] = {"id", "name", "region", "status", "version"};
    const json_t *endpoints = json_object_get(doc, "endpoints");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *v = cli_text(doc, names[i]);
        (void)printf("%-16s %s\n", names[i], v == NULL ? "-" : v);
    }
    (void)printf("%-16s %s\n", "created", cli_time(doc, "createdAt", local, time));
    (void)printf("%-16s %" JSON_INTEGER_FORMAT "\n", "devices online",
                 json_integer_value(json_object_get(doc, "devicesOnline")));
    for (size_t i = 0; i < json_array_size(endpoints); i++) {
        const json_t *e = json_array_get(endpoints, i);
        const char *protocol = cli_text(e, "protocol");
        const char *address = cli_text(e, "address");
        (void)printf("%-16s %s %s\n", i == 0 ? "endpoints" : "", protocol == NULL ? "-" : protocol,
                     address == NULL ? "-" : address);
    }
    for (size_t i = 0; i < SETTINGS; i++) {
        const char *v = setting_text(doc, setting_names[i]);
        (void)printf("%-16s %s\n", setting_names[i], v == NULL ? "-" : v);
    }
}

static void put_instance(struct buf *path, const char *name)
{
    buf_put_slice(path, slice_str("/api/v1/instances"));
    cli_path_segment(path, name);
}

int cli_instance_show(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    json_t *doc = NULL;
    put_instance(&path, a->count == 1 ? a->positional[0] : cli_http_instance(h));
    int rc = cli_request(h, "GET", &path, NULL, 0, &doc);
    if (rc == 0 && cli_has(a, OPT_JSON)) {
        cli_print_json(doc);
    } else if (rc == 0) {
        print_instance(doc, cli_has(a, OPT_LOCAL));
    }
    json_decref(doc);
    buf_fini(&path);
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}

/* true and false are JSON's; any other value is a word. The server says what it takes. */
static json_t *setting_value(const char *word)
{
    if (strcmp(word, "true") == 0 || strcmp(word, "false") == 0) {
        return json_boolean(word[0] == 't');
    }
    return json_string(word);
}

int cli_instance_set(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    put_instance(&path, a->positional[0]);
    json_t *body =
        json_pack("{s:{s:o}}", "settings", a->positional[1], setting_value(a->positional[2]));
    return cli_send(h, "PATCH", &path, body);
}

/* ---- groups and topics ---- */

static void put_collection(struct buf *path, const struct cli_http *h, const char *name)
{
    cli_path_instance(h, path);
    cli_path_segment(path, name);
}

static int add_named(struct cli_http *h, const struct cli_args *a, const char *collection,
                     const char *member)
{
    struct buf path = {0};
    put_collection(&path, h, collection);
    return cli_send(h, "POST", &path, json_pack("{s:s}", member, a->positional[0]));
}

static int delete_named(struct cli_http *h, const struct cli_args *a, const char *collection)
{
    struct buf path = {0};
    put_collection(&path, h, collection);
    cli_path_segment(&path, a->positional[0]);
    return cli_send(h, "DELETE", &path, NULL);
}

/* Groups have an "id", topics a "name". */
static void named_row(const json_t *item, bool local, struct cli_table *t)
{
    char time[CLI_TIME_SIZE];
    const char *id = cli_text(item, "id");
    const char *const cells[] = {id != NULL ? id : cli_text(item, "name"),
                                 cli_time(item, "createdAt", local, time)};
    cli_table_add(t, cells);
}

int cli_group_add(struct cli_http *h, const struct cli_args *a)
{
    return add_named(h, a, "groups", "id");
}

int cli_group_delete(struct cli_http *h, const struct cli_args *a)
{
    return delete_named(h, a, "groups");
}

int cli_group_list(struct cli_http *h, const struct cli_args *a)
{
    static const char *const header[] = {"GROUP", "CREATED"};
    struct buf path = {0};
    put_collection(&path, h, "groups");
    return cli_list(h, a, &path, header, 2, named_row,
                    "No group; `tracemq group add GID` creates one.");
}

int cli_topic_add(struct cli_http *h, const struct cli_args *a)
{
    return add_named(h, a, "topics", "name");
}

int cli_topic_delete(struct cli_http *h, const struct cli_args *a)
{
    return delete_named(h, a, "topics");
}

int cli_topic_list(struct cli_http *h, const struct cli_args *a)
{
    static const char *const header[] = {"TOPIC", "CREATED"};
    struct buf path = {0};
    put_collection(&path, h, "topics");
    return cli_list(h, a, &path, header, 2, named_row,
                    "No declared topic; with topics: open none is needed.");
}
