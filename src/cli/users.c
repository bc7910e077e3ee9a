/* `tracemq user`, `permission`. A password comes by standard input only: arguments are seen by every process. */
#include <stdlib.h>

#include "cli/list.h"

enum { PASSWORD_MAX = 4096 };

static void put_users(struct buf *path, const struct cli_http *h)
{
    cli_path_instance(h, path);
    buf_put_slice(path, slice_str("/users"));
}

/* ---- users ---- */

int cli_password_check(const struct cli_args *a, char *problem, size_t size)
{
    if (!cli_has(a, OPT_PASSWORD_STDIN)) {
        (void)snprintf(problem, size,
                       "--password-stdin is missing: the password is read from "
                       "standard input, never from an argument");
        return -1;
    }
    return 0;
}

/* All of standard input without one newline at its end, as a JSON string; NULL and a message otherwise. */
static json_t *read_password(void)
{
    char text[PASSWORD_MAX + 1];
    size_t n = fread(text, 1, sizeof text, stdin);
    if (n > PASSWORD_MAX || ferror(stdin) != 0) {
        (void)fprintf(stderr, "tracemq: password: cannot be read, or has more than %d bytes\n",
                      PASSWORD_MAX);
        return NULL;
    }
    if (n > 0 && text[n - 1] == '\n') {
        n--;
    }
    json_t *password = n == 0 ? NULL : json_stringn(text, n);
    if (password == NULL) {
        (void)fprintf(stderr, "tracemq: password: %s\n",
                      n == 0 ? "standard input is empty" : "is not valid UTF-8");
    }
    explicit_bzero(text, sizeof text);
    return password;
}

int cli_user_add(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    json_t *password = read_password();
    if (password == NULL) {
        return CLI_FAILED;
    }
    json_t *allow = json_array();
    for (size_t i = 0; i < a->allow_count; i++) {
        (void)json_array_append_new(allow, json_string(a->allow[i]));
    }
    put_users(&path, h);
    return cli_send(
        h, "POST", &path,
        json_pack("{s:s,s:o,s:o}", "name", a->positional[0], "password", password, "allow", allow));
}

int cli_user_passwd(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    json_t *password = read_password();
    if (password == NULL) {
        return CLI_FAILED;
    }
    put_users(&path, h);
    cli_path_segment(&path, a->positional[0]);
    buf_put_slice(&path, slice_str("/password"));
    return cli_send(h, "PUT", &path, json_pack("{s:o}", "password", password));
}

int cli_user_delete(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    put_users(&path, h);
    cli_path_segment(&path, a->positional[0]);
    return cli_send(h, "DELETE", &path, NULL);
}

static void user_row(const json_t *item, bool local, struct cli_table *t)
{
    char time[CLI_TIME_SIZE];
    char count[24];
    (void)snprintf(count, sizeof count, "%" JSON_INTEGER_FORMAT,
                   json_integer_value(json_object_get(item, "permissions")));
    const char *const cells[] = {cli_text(item, "name"), count,
                                 cli_time(item, "createdAt", local, time)};
    cli_table_add(t, cells);
}

int cli_user_list(struct cli_http *h, const struct cli_args *a)
{
    static const char *const header[] = {"USER", "PERMISSIONS", "CREATED"};
    struct buf path = {0};
    put_users(&path, h);
    return cli_list(h, a, &path, header, 3, user_row, "No user.");
}

/* ---- permissions ---- */

int cli_permission_check(const struct cli_args *a, char *problem, size_t size)
{
    const char *effect = a->positional[1];
    const char *action = a->positional[2];
    if (strcmp(effect, "allow") != 0 && strcmp(effect, "deny") != 0) {
        (void)snprintf(problem, size, "\"%.50s\" must be allow or deny", effect);
        return -1;
    }
    if (strcmp(action, "publish") != 0 && strcmp(action, "subscribe") != 0 &&
        strcmp(action, "both") != 0) {
        (void)snprintf(problem, size, "\"%.50s\" must be publish, subscribe or both", action);
        return -1;
    }
    return 0;
}

static void put_permissions(struct buf *path, const struct cli_http *h, const struct cli_args *a)
{
    put_users(path, h);
    cli_path_segment(path, a->positional[0]);
    buf_put_slice(path, slice_str("/permissions"));
}

int cli_permission_add(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    put_permissions(&path, h, a);
    json_t *body = json_pack("{s:s,s:s,s:s}", "effect", a->positional[1], "action",
                             a->positional[2], "filter", a->positional[3]);
    return cli_send(h, "POST", &path, body);
}

int cli_permission_delete(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    put_permissions(&path, h, a);
    cli_path_query(&path, "effect", a->positional[1]);
    cli_path_query(&path, "action", a->positional[2]);
    cli_path_query(&path, "filter", a->positional[3]);
    return cli_send(h, "DELETE", &path, NULL);
}

static void permission_row(const json_t *item, bool local, struct cli_table *t)
{
    (void)local;
    const char *const cells[] = {cli_text(item, "effect"), cli_text(item, "action"),
                                 cli_text(item, "filter")};
    cli_table_add(t, cells);
}

int cli_permission_list(struct cli_http *h, const struct cli_args *a)
{
    static const char *const header[] = {"EFFECT", "ACTION", "FILTER"};
    struct buf path = {0};
    put_permissions(&path, h, a);
    return cli_list(h, a, &path, header, 3, permission_row,
                    "No permission: the user may connect, and everything else is denied.");
}
