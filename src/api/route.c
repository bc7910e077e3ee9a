/* The table of routes; see route.h. Rows of one path stand together. */
#include "api/route.h"

#include <string.h>

#include "api/handlers.h"

#define INSTANCE "/api/v1/instances/{instance}"

const struct api_route api_routes[] = {
    {API_GET, GUARD_OPEN, "/healthz", handle_healthz, "Is the process alive?"},
    {API_GET, GUARD_OPEN, "/readyz", handle_readyz, "Is the broker ready for clients?"},
    {API_GET, GUARD_LOOPBACK, "/metrics", handle_metrics, "Counters for Prometheus"},

    {API_POST, GUARD_LOGIN, "/api/v1/login", handle_login, "Log in to the console"},
    {API_POST, GUARD_LOGIN, "/api/v1/logout", handle_logout, "End the console session"},
    {API_GET, GUARD_TOKEN, "/api/v1/me", handle_me, "Who is asking"},

    {API_POST, GUARD_TOKEN, "/api/v1/config/reload", handle_reload, "Read the configuration again"},

    {API_GET, GUARD_TOKEN, "/api/v1/bridges", handle_bridges, "List bridges to other brokers"},

    {API_GET, GUARD_TOKEN, "/api/v1/regions", handle_regions, "List regions"},
    {API_GET, GUARD_TOKEN, "/api/v1/instances", handle_instances, "List instances"},
    {API_GET, GUARD_TOKEN, INSTANCE, handle_instance, "One instance"},
    {API_PATCH, GUARD_TOKEN, INSTANCE, handle_instance_patch, "Change settings of an instance"},

    {API_GET, GUARD_TOKEN, INSTANCE "/devices", handle_devices, "List devices"},
    {API_GET, GUARD_TOKEN, INSTANCE "/devices/{clientId}", handle_device, "Status of a device"},
    {API_GET, GUARD_TOKEN, INSTANCE "/devices/{clientId}/trace", handle_trace,
     "Connection history of a device"},
    {API_POST, GUARD_TOKEN, INSTANCE "/devices/{clientId}/kick", handle_kick,
     "Close a device's connection"},

    {API_GET, GUARD_TOKEN, INSTANCE "/events", handle_events, "Connection events of the fleet"},
    {API_GET, GUARD_TOKEN, INSTANCE "/unidentified", handle_unidentified,
     "Connections that never named a client"},
    {API_GET, GUARD_TOKEN, INSTANCE "/stream", handle_stream, "Live tail as server-sent events"},

    {API_GET, GUARD_TOKEN, INSTANCE "/groups", handle_groups, "List groups"},
    {API_POST, GUARD_TOKEN, INSTANCE "/groups", handle_group_add, "Create a group"},
    {API_DELETE, GUARD_TOKEN, INSTANCE "/groups/{id}", handle_group_delete, "Delete a group"},

    {API_GET, GUARD_TOKEN, INSTANCE "/topics", handle_topics, "List declared parent topics"},
    {API_POST, GUARD_TOKEN, INSTANCE "/topics", handle_topic_add, "Declare a parent topic"},
    {API_DELETE, GUARD_TOKEN, INSTANCE "/topics/{name}", handle_topic_delete,
     "Delete a parent topic"},

    {API_GET, GUARD_TOKEN, INSTANCE "/users", handle_users, "List users"},
    {API_POST, GUARD_TOKEN, INSTANCE "/users", handle_user_add, "Create a user"},
    {API_DELETE, GUARD_TOKEN, INSTANCE "/users/{name}", handle_user_delete, "Delete a user"},
    {API_PUT, GUARD_TOKEN, INSTANCE "/users/{name}/password", handle_user_password,
     "Set a user's password"},

    {API_GET, GUARD_TOKEN, INSTANCE "/users/{name}/permissions", handle_permissions,
     "List a user's permissions"},
    {API_POST, GUARD_TOKEN, INSTANCE "/users/{name}/permissions", handle_permission_add,
     "Add a permission"},
    {API_PUT, GUARD_TOKEN, INSTANCE "/users/{name}/permissions", handle_permissions_set,
     "Set all permissions of a user"},
    {API_DELETE, GUARD_TOKEN, INSTANCE "/users/{name}/permissions", handle_permission_delete,
     "Delete a permission"},
};
const size_t api_routes_count = sizeof api_routes / sizeof api_routes[0];

static const char *const method_texts[API_METHODS] = {"GET", "POST", "PUT", "PATCH", "DELETE"};

const char *api_method_text(enum api_method m)
{
    return method_texts[m];
}

enum api_method api_method_parse(const char *text)
{
    if (strcmp(text, "HEAD") == 0) {
        return API_GET;
    }
    for (unsigned m = 0; m < API_METHODS; m++) {
        if (strcmp(text, method_texts[m]) == 0) {
            return (enum api_method)m;
        }
    }
    return API_METHODS;
}

/* The bytes up to the next '/', which is taken too. */
static struct slice next_segment(struct slice *rest)
{
    const uint8_t *end = rest->n == 0 ? NULL : memchr(rest->p, '/', rest->n);
    struct slice s = *rest;
    if (end != NULL) {
        s.n = (size_t)(end - rest->p);
        *rest = slice_from(*rest, s.n + 1);
    } else {
        rest->n = 0;
    }
    return s;
}

static size_t count_slashes(struct slice s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.n; i++) {
        n += s.p[i] == '/';
    }
    return n;
}

static bool matches(struct slice pattern, struct slice path, struct slice *segments)
{
    size_t captured = 0;
    if (count_slashes(pattern) != count_slashes(path)) {
        return false;
    }
    while (pattern.n > 0) {
        struct slice want = next_segment(&pattern);
        struct slice have = next_segment(&path);
        if (want.n > 0 && want.p[0] == '{') {
            if (have.n == 0) {
                return false;
            }
            segments[captured++] = have;
        } else if (!slice_eq(want, have)) {
            return false;
        }
    }
    return true;
}

void route_find(struct slice path, enum api_method method, struct route_match *out)
{
    *out = (struct route_match){0};
    for (size_t i = 0; i < api_routes_count; i++) {
        struct slice segments[ROUTE_SEGMENTS_MAX] = {{0}};
        if (!matches(slice_str(api_routes[i].pattern), path, segments)) {
            continue;
        }
        out->allowed |= 1U << api_routes[i].method;
        if (api_routes[i].method == method) {
            out->route = &api_routes[i];
            memcpy(out->segments, segments, sizeof segments);
        }
    }
}
