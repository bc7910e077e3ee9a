/*
 * Users first, then permissions, then who is let in without a name: nobody has more rights than meant in between.
 * One user that the broker refuses does not keep the others out.
 */
#include <stdio.h>

#include "cli/commands.h"
#include "cli/import.h"

struct applying {
    struct cli_http *h;
    bool replace;
    size_t added, replaced, kept, permissions, failed;
};

enum { HTTP_CONFLICT = 409, HTTP_NOT_FOUND = 404 };

/* Sends, and counts what failed; the path and the body are taken over. Returns what cli_request() did. */
static int send(struct applying *ap, const char *method, struct buf *path, json_t *body, int quiet)
{
    int rc = cli_request(ap->h, method, path, body, quiet, NULL);
    json_decref(body);
    buf_fini(path);
    return rc;
}

static void put_user(const struct applying *ap, struct buf *path, const char *name)
{
    cli_path_instance(ap->h, path);
    buf_put_slice(path, slice_str("/users"));
    if (name != NULL) {
        cli_path_segment(path, name);
    }
}

static int add(struct applying *ap, json_t *user, int quiet)
{
    struct buf path = {0};
    put_user(ap, &path, NULL);
    return send(ap, "POST", &path, json_incref(user), quiet);
}

static void apply_user(struct applying *ap, json_t *user)
{
    const char *name = cli_text(user, "name");
    struct buf path = {0};
    int rc = add(ap, user, HTTP_CONFLICT);
    if (rc == 0) {
        ap->added++;
    } else if (rc == HTTP_CONFLICT && !ap->replace) {
        ap->kept++;
    } else if (rc == HTTP_CONFLICT) {
        put_user(ap, &path, name);
        rc = send(ap, "DELETE", &path, NULL, HTTP_NOT_FOUND);
        rc = rc == 0 || rc == HTTP_NOT_FOUND ? add(ap, user, 0) : rc;
        ap->replaced += rc == 0;
    }
    if (rc != 0 && rc != HTTP_CONFLICT) {
        (void)fprintf(stderr, "tracemq: user \"%s\" was not imported\n", name == NULL ? "?" : name);
        ap->failed++;
    }
}

/* What one request may carry, of 64 KiB. */
enum { BODY_BYTES = 48 * 1024 };

/* Denials first, as many as fit into one request; the others stay in `rest`. */
static json_t *first_rules(json_t *rules, json_t *rest)
{
    json_t *first = json_array();
    size_t bytes = 0;
    for (int denials = 1; denials >= 0; denials--) {
        for (size_t i = 0; i < json_array_size(rules); i++) {
            json_t *rule = json_array_get(rules, i);
            const char *effect = cli_text(rule, "effect");
            if ((effect != NULL && strcmp(effect, "deny") == 0) == (denials == 1)) {
                bytes += json_dumpb(rule, NULL, 0, 0) + 1;
                (void)json_array_append(bytes <= BODY_BYTES ? first : rest, rule);
            }
        }
    }
    return first;
}

static void put_permissions(const struct applying *ap, struct buf *path, const char *name)
{
    put_user(ap, path, name);
    buf_put_slice(path, slice_str("/permissions"));
}

static void apply_permissions(struct applying *ap, const char *name, json_t *rules)
{
    struct buf path = {0};
    json_t *rest = json_array();
    json_t *first = first_rules(rules, rest);
    put_permissions(ap, &path, name);
    bool done =
        json_is_array(rules) && send(ap, "PUT", &path, json_pack("{s:O}", "items", first), 0) == 0;
    for (size_t i = 0; done && i < json_array_size(rest); i++) {
        put_permissions(ap, &path, name);
        done = send(ap, "POST", &path, json_incref(json_array_get(rest, i)), 0) == 0;
    }
    if (done) {
        ap->permissions += json_array_size(rules);
    } else {
        (void)fprintf(stderr, "tracemq: the permissions of \"%s\" were not set, or not all\n",
                      name);
        ap->failed++;
    }
    buf_fini(&path);
    json_decref(first);
    json_decref(rest);
}

int cli_apply_settings(struct cli_http *h, const json_t *doc, bool replace)
{
    struct applying ap = {.h = h, .replace = replace};
    json_t *users = json_object_get(doc, "users");
    json_t *permissions = json_object_get(doc, "permissions");
    json_t *settings = json_object_get(doc, "settings");
    const char *name;
    json_t *rules;
    for (size_t i = 0; i < json_array_size(users); i++) {
        apply_user(&ap, json_array_get(users, i));
    }
    json_object_foreach(permissions, name, rules)
    {
        apply_permissions(&ap, name, rules);
    }
    if (settings != NULL) {
        struct buf path = {0};
        buf_put_slice(&path, slice_str("/api/v1/instances"));
        cli_path_segment(&path, cli_http_instance(h));
        ap.failed += send(&ap, "PATCH", &path, json_pack("{s:O}", "settings", settings), 0) != 0;
    }
    (void)fprintf(
        stderr,
        "%zu users added, %zu replaced, %zu existed and keep their password; %zu permissions set",
        ap.added, ap.replaced, ap.kept, ap.permissions);
    (void)fprintf(stderr, ap.failed == 0 ? "\n" : "; %zu requests failed\n", ap.failed);
    return ap.failed == 0 ? CLI_DONE : CLI_FAILED;
}
