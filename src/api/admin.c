/*
 * Groups, topics, users and permissions. What may stand in them is auth's decision; here is only the shape
 * of requests and answers. After each change the loops are told.
 */
#include <assert.h>
#include <errno.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "base/mem.h"
#include "server/server.h"

enum { NAME_MAX_BYTES = 1024, FILTER_MAX_BYTES = 65535 };

static const char *const effect_words[] = {"allow", "deny", NULL};
/* In the order of enum auth_action, less one. */
static const char *const action_words[] = {"publish", "subscribe", "both", NULL};

static struct slice instance_of(struct request *rq)
{
    return slice_str(rq->instance.id);
}

/* Auth names things as the command line does; a request has them under these names. */
static void rename_field(struct auth_error *e)
{
    static const char *const names[][2] = {{"group", "id"}, {"topic", "name"}, {"user", "name"}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(e->field, names[i][0]) == 0) {
            (void)snprintf(e->field, sizeof e->field, "%s", names[i][1]);
            return;
        }
    }
}

/* 0 or negative errno of auth's functions to the answer; true when it was a success, still to be answered. */
static bool changed(struct request *rq, int failed, struct auth_error *e)
{
    if (failed == 0) {
        server_settings_changed(rq->api->o.server);
        return true;
    }
    e->code = e->code == 0 ? failed : e->code;
    rename_field(e);
    reply_auth_error(rq, e);
    return false;
}

static void answer_deleted(struct request *rq, int failed, struct auth_error *e)
{
    if (changed(rq, failed, e)) {
        reply_empty(rq, 204);
    }
}

static void answer_created(struct request *rq, int failed, struct auth_error *e, json_t *made)
{
    if (changed(rq, failed, e)) {
        reply_json(rq, 201, made);
    } else {
        json_decref(made);
    }
}

static json_t *json_member(const char *name, struct slice value)
{
    json_t *o = json_object();
    json_object_set_new(o, name, json_text(value));
    return o;
}

static void answer_list(struct request *rq, json_t *items, int failed)
{
    if (failed == 0) {
        reply_list(rq, items);
        return;
    }
    json_decref(items);
    struct slice name = rq->segments[1];
    reply_error(rq, failed == -ENOENT ? 404 : 500, failed == -ENOENT ? "name" : NULL,
                failed == -ENOENT ? "there is no user %.*s" : "%.*s cannot be read",
                (int)(name.n < 200 ? name.n : 200), (const char *)name.p);
}

/* ---- groups and topics: names ---- */

struct named_list {
    json_t *items;
    const char *member;
};

static void add_named(void *ctx, const void *item)
{
    struct named_list *l = ctx;
    const struct auth_named *n = item;
    json_t *o = json_member(l->member, slice_str(n->name));
    json_object_set_new(o, "createdAt", json_count(n->created_ms));
    json_array_append_new(l->items, o);
}

void handle_groups(struct request *rq)
{
    struct named_list l = {.member = "id"};
    if (request_params_done(rq)) {
        l.items = json_array();
        answer_list(rq, l.items, auth_group_each(rq->api->o.auth, instance_of(rq), add_named, &l));
    }
}

void handle_topics(struct request *rq)
{
    struct named_list l = {.member = "name"};
    if (request_params_done(rq)) {
        l.items = json_array();
        answer_list(rq, l.items, auth_topic_each(rq->api->o.auth, instance_of(rq), add_named, &l));
    }
}

typedef int (*named_change_fn)(struct auth *a, struct slice instance, struct slice name,
                               struct auth_error *err);

static void add_name(struct request *rq, const char *member, named_change_fn add)
{
    struct fields f;
    struct auth_error e = {0};
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    struct slice name = fields_text(&f, member, NAME_MAX_BYTES);
    if (fields_done(&f, rq)) {
        int failed = add(rq->api->o.auth, instance_of(rq), name, &e);
        answer_created(rq, failed, &e, json_member(member, name));
    }
    fields_fini(&f);
}

static void delete_name(struct request *rq, named_change_fn del)
{
    struct auth_error e = {0};
    if (request_params_done(rq)) {
        int failed = del(rq->api->o.auth, instance_of(rq), rq->segments[1], &e);
        answer_deleted(rq, failed, &e);
    }
}

void handle_group_add(struct request *rq)
{
    add_name(rq, "id", auth_group_add);
}

void handle_group_delete(struct request *rq)
{
    delete_name(rq, auth_group_delete);
}

void handle_topic_add(struct request *rq)
{
    add_name(rq, "name", auth_topic_add);
}

void handle_topic_delete(struct request *rq)
{
    delete_name(rq, auth_topic_delete);
}

/* ---- users ---- */

static void add_user_item(void *ctx, const void *item)
{
    const struct auth_user_info *u = item;
    json_t *o = json_member("name", slice_str(u->name));
    json_object_set_new(o, "permissions", json_count(u->permissions));
    json_object_set_new(o, "createdAt", json_count(u->created_ms));
    json_array_append_new(ctx, o);
}

void handle_users(struct request *rq)
{
    if (request_params_done(rq)) {
        json_t *items = json_array();
        answer_list(rq, items,
                    auth_user_each(rq->api->o.auth, instance_of(rq), add_user_item, items));
    }
}

/* The filters of "allow", an array that may be absent: memory is the caller's. */
static struct slice *read_allow(struct fields *f, size_t *count)
{
    json_t *list = fields_find(f, "allow");
    size_t n = json_array_size(list);
    *count = n;
    if (list != NULL && !json_is_array(list)) {
        problem_set(&f->problem, 400, "allow", "allow is %s, expected an array of topic filters",
                    json_type_text(list));
    }
    struct slice *filters = mem_new(n + 1, sizeof *filters);
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (!json_is_string(v)) {
            problem_set(&f->problem, 400, "allow", "allow[%zu] is %s, expected a string", i,
                        json_type_text(v));
        } else {
            filters[i] = slice_make(json_string_value(v), json_string_length(v));
        }
    }
    return filters;
}

typedef int (*user_add_fn)(struct auth *a, struct slice instance, struct slice name,
                           struct slice secret, const struct slice *allow, size_t allow_count,
                           struct auth_error *err);

void handle_user_add(struct request *rq)
{
    struct fields f;
    struct auth_error e = {0};
    size_t count = 0;
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    struct slice name = fields_text(&f, "name", NAME_MAX_BYTES);
    bool hashed = fields_find(&f, "passwordHash") != NULL;
    struct slice secret = fields_text(&f, hashed ? "passwordHash" : "password", NAME_MAX_BYTES);
    struct slice *allow = read_allow(&f, &count);
    if (fields_done(&f, rq)) {
        user_add_fn add = hashed ? auth_user_import : auth_user_add;
        int failed = add(rq->api->o.auth, instance_of(rq), name, secret, allow, count, &e);
        json_t *made = json_member("name", name);
        json_object_set_new(made, "permissions", json_count(count));
        answer_created(rq, failed, &e, made);
    }
    free(allow);
    fields_fini(&f);
}

void handle_user_password(struct request *rq)
{
    struct fields f;
    struct auth_error e = {0};
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    struct slice password = fields_text(&f, "password", NAME_MAX_BYTES);
    if (fields_done(&f, rq)) {
        int failed =
            auth_user_password(rq->api->o.auth, instance_of(rq), rq->segments[1], password, &e);
        answer_deleted(rq, failed, &e);
    }
    fields_fini(&f);
}

void handle_user_delete(struct request *rq)
{
    delete_name(rq, auth_user_delete);
}

/* ---- permissions ---- */

static json_t *json_permission(bool deny, enum auth_action action, struct slice filter)
{
    json_t *o = json_object();
    json_object_set_new(o, "effect", json_string(effect_words[deny]));
    json_object_set_new(o, "action", json_string(action_words[action - 1]));
    json_object_set_new(o, "filter", json_text(filter));
    return o;
}

static void add_permission_item(void *ctx, const void *item)
{
    const struct auth_permission *p = item;
    json_array_append_new(ctx, json_permission(p->deny, p->action, slice_str(p->filter)));
}

void handle_permissions(struct request *rq)
{
    if (request_params_done(rq)) {
        json_t *items = json_array();
        answer_list(rq, items,
                    auth_permission_each(rq->api->o.auth, instance_of(rq), rq->segments[1],
                                         add_permission_item, items));
    }
}

static struct permission read_permission(struct fields *f)
{
    struct permission p = {.deny = fields_word(f, "effect", effect_words) == 1};
    p.action = (enum auth_action)(fields_word(f, "action", action_words) + 1);
    p.filter = fields_text(f, "filter", FILTER_MAX_BYTES);
    return p;
}

void handle_permission_add(struct request *rq)
{
    struct fields f;
    struct auth_error e = {0};
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    const struct permission p = read_permission(&f);
    if (fields_done(&f, rq)) {
        int failed = auth_permission_add(rq->api->o.auth, instance_of(rq), rq->segments[1], p.deny,
                                         p.action, p.filter, &e);
        answer_created(rq, failed, &e, json_permission(p.deny, p.action, p.filter));
    }
    fields_fini(&f);
}

/* The permissions of "items": memory is the caller's. */
static struct permission *read_permissions(struct fields *f, size_t *count)
{
    json_t *list = fields_find(f, "items");
    *count = json_array_size(list);
    struct permission *items = mem_new(*count + 1, sizeof *items);
    if (!json_is_array(list)) {
        problem_set(&f->problem, 400, "items", "items is %s, expected an array of permissions",
                    list == NULL ? "missing" : json_type_text(list));
    }
    for (size_t i = 0; i < *count; i++) {
        struct fields one = {.object = json_array_get(list, i)};
        items[i] = read_permission(&one);
        if (!json_is_object(one.object) || json_object_size(one.object) != 3) {
            problem_set(&one.problem, 400, "items", "expected effect, action and filter");
        }
        if (one.problem.status != 0) {
            problem_set(&f->problem, one.problem.status, "items", "items[%zu]: %s", i,
                        one.problem.detail);
        }
    }
    return items;
}

void handle_permissions_set(struct request *rq)
{
    struct fields f;
    struct auth_error e = {0};
    size_t count = 0;
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    struct permission *items = read_permissions(&f, &count);
    if (fields_done(&f, rq)) {
        int failed = auth_permission_set(rq->api->o.auth, instance_of(rq), rq->segments[1], items,
                                         count, &e);
        answer_deleted(rq, failed, &e);
    }
    free(items);
    fields_fini(&f);
}

/* The index of a parameter that must be given. */
static int required_word(struct params *p, const char *name, const char *const *words)
{
    int word = params_word(p, name, words, -1);
    if (word < 0) {
        problem_set(&p->problem, 400, name, "%s is missing", name);
    }
    return word < 0 ? 0 : word;
}

void handle_permission_delete(struct request *rq)
{
    struct params *p = &rq->params;
    struct auth_error e = {0};
    bool deny = required_word(p, "effect", effect_words) == 1;
    enum auth_action action = (enum auth_action)(required_word(p, "action", action_words) + 1);
    struct slice filter = params_required(p, "filter", FILTER_MAX_BYTES);
    if (request_params_done(rq)) {
        int failed = auth_permission_delete(rq->api->o.auth, instance_of(rq), rq->segments[1], deny,
                                            action, filter, &e);
        answer_deleted(rq, failed, &e);
    }
}
