/*
 * Decisions on topics and filters.
 *
 *   publish to T:    a deny rule that matches T forbids; else an allow rule that matches T grants
 *   subscribe to F:  a deny rule that overlaps F forbids; else an allow rule that covers F grants
 *
 * A filter without wildcards is a topic: overlap and cover are then both "matches". So only subscriptions with
 * wildcards look at every deny rule, and no exact allow rule can cover them.
 */
#include "auth/permission.h"

#include <assert.h>
#include <stdlib.h>

#include "auth/auth_priv.h"
#include "base/mem.h"
#include "mqtt/topic.h"

const char *auth_action_text(enum auth_action action)
{
    switch (action) {
    case AUTH_PUBLISH:
        return "publish";
    case AUTH_SUBSCRIBE:
        return "subscribe";
    case AUTH_BOTH:
        return "both";
    }
    return "?";
}

static int compare_rules(const void *a, const void *b)
{
    const struct permission *const *x = a;
    const struct permission *const *y = b;
    return slice_cmp((*x)->filter, (*y)->filter);
}

static void group_add(struct rule_group *g, const struct permission *p)
{
    g->rules = mem_realloc(g->rules, (g->count + 1) * sizeof g->rules[0]);
    g->rules[g->count++] = p;
}

static void group_sort(struct rule_group *g)
{
    if (g->count > 1) {
        qsort(g->rules, g->count, sizeof g->rules[0], compare_rules);
    }
}

static void list_compile(struct rule_list *l, const struct ruleset *rs, enum auth_action action)
{
    bool all = false;
    for (size_t i = 0; i < rs->count; i++) {
        const struct permission *p = &rs->items[i];
        if (((unsigned)p->action & (unsigned)action) == 0) {
            continue;
        }
        bool wild = mqtt_filter_is_wild(p->filter);
        if (p->deny) {
            group_add(wild ? &l->deny_wild : &l->deny_exact, p);
        } else {
            group_add(wild ? &l->allow_wild : &l->allow_exact, p);
            all = all || slice_eq(p->filter, slice_str("#"));
        }
    }
    l->all = all && l->deny_exact.count == 0 && l->deny_wild.count == 0;
    group_sort(&l->deny_exact);
    group_sort(&l->allow_exact);
}

struct ruleset *ruleset_new(const struct permission *items, size_t count)
{
    struct ruleset *rs = mem_new(1, sizeof *rs);
    rs->items = mem_new(count, sizeof *rs->items);
    rs->count = count;
    for (size_t i = 0; i < count; i++) {
        rs->items[i] = items[i];
        rs->items[i].filter =
            slice_make(mem_strndup(items[i].filter.p, items[i].filter.n), items[i].filter.n);
    }
    list_compile(&rs->publish, rs, AUTH_PUBLISH);
    list_compile(&rs->subscribe, rs, AUTH_SUBSCRIBE);
    return rs;
}

static void list_fini(struct rule_list *l)
{
    free(l->deny_exact.rules);
    free(l->deny_wild.rules);
    free(l->allow_exact.rules);
    free(l->allow_wild.rules);
}

void ruleset_free(struct ruleset *rs)
{
    if (rs == NULL) {
        return;
    }
    for (size_t i = 0; i < rs->count; i++) {
        free((void *)(uintptr_t)rs->items[i].filter.p); /* our copy */
    }
    list_fini(&rs->publish);
    list_fini(&rs->subscribe);
    free(rs->items);
    free(rs);
}

size_t ruleset_find(const struct ruleset *rs, const struct permission *p)
{
    size_t i = 0;
    while (i < rs->count && !(rs->items[i].deny == p->deny && rs->items[i].action == p->action &&
                              slice_eq(rs->items[i].filter, p->filter))) {
        i++;
    }
    return i;
}

static const struct permission *find_exact(const struct rule_group *g, struct slice what)
{
    size_t lo = 0;
    size_t hi = g->count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        int c = slice_cmp(g->rules[mid]->filter, what);
        if (c == 0) {
            return g->rules[mid];
        }
        if (c < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return NULL;
}

/* The first rule of the group for which `test(rule's filter, what)` holds. */
static const struct permission *find_first(const struct rule_group *g, struct slice what,
                                           bool (*test)(struct slice, struct slice))
{
    for (size_t i = 0; i < g->count; i++) {
        if (test(g->rules[i]->filter, what)) {
            return g->rules[i];
        }
    }
    return NULL;
}

const struct permission *rule_list_denies(const struct rule_list *l, struct slice what, bool wild)
{
    const struct permission *p = wild ? find_first(&l->deny_exact, what, mqtt_filter_overlaps)
                                      : find_exact(&l->deny_exact, what);
    if (p != NULL) {
        return p;
    }
    return find_first(&l->deny_wild, what, wild ? mqtt_filter_overlaps : mqtt_topic_matches);
}

const struct permission *rule_list_allows(const struct rule_list *l, struct slice what, bool wild)
{
    const struct permission *p = wild ? NULL : find_exact(&l->allow_exact, what);
    if (p != NULL) {
        return p;
    }
    return find_first(&l->allow_wild, what, wild ? mqtt_filter_covers : mqtt_topic_matches);
}

/* `topics: declared`: the first level has to be a declared parent; the server's own `$` topics are none. */
static bool parent_declared(const struct auth_identity *id, struct slice what,
                            struct auth_decision *out)
{
    if (id->open_topics || (what.n > 0 && what.p[0] == '$')) {
        return true;
    }
    const uint8_t *slash = what.n == 0 ? NULL : memchr(what.p, '/', what.n);
    struct slice parent = slash == NULL ? what : slice_make(what.p, (size_t)(slash - what.p));
    if (shelf_find(id->policy->topics, parent) != NULL) {
        return true;
    }
    out->allowed = false;
    text_format(out->rule, sizeof out->rule, "parent topic \"%.*s\" is not declared",
                text_width(parent), text_bytes(parent));
    return false;
}

static bool decide(const struct auth_identity *id, const struct rule_list *l, bool wild,
                   struct slice what, struct auth_decision *out)
{
    if (!parent_declared(id, what, out)) {
        return false;
    }
    const struct permission *deny = rule_list_denies(l, what, wild);
    if (deny == NULL && rule_list_allows(l, what, wild) != NULL) {
        out->allowed = true;
        return true;
    }
    out->allowed = false;
    if (deny != NULL) {
        text_format(out->rule, sizeof out->rule, "deny %s %.*s", auth_action_text(deny->action),
                    text_width(deny->filter), text_bytes(deny->filter));
    } else {
        text_format(out->rule, sizeof out->rule, "no permission matches");
    }
    return false;
}

bool auth_allows(const struct auth_identity *id, enum auth_action action, struct slice what,
                 struct auth_decision *out)
{
    assert(action == AUTH_PUBLISH || action == AUTH_SUBSCRIBE);
    const struct ruleset *rs = id->user->rules;
    const struct rule_list *l = action == AUTH_PUBLISH ? &rs->publish : &rs->subscribe;
    if (l->all && id->open_topics && what.n > 0 && what.p[0] != '$') {
        out->allowed = true;
        return true;
    }
    bool wild = action == AUTH_SUBSCRIBE && mqtt_filter_is_wild(what);
    return decide(id, l, wild, what, out);
}
