/*
 * Decisions on topics and filters.
 *
 *   publish to T:    a deny rule that matches T forbids; else an allow rule that matches T grants
 *   subscribe to F:  a deny rule that overlaps F forbids; else an allow rule that covers F grants
 *
 * A filter without wildcards is a topic: overlap and cover are then both "matches". So only subscriptions with
 * wildcards look at every deny rule, and no exact allow rule can cover them.
 *
 * The rules that decide are the user's own and those of everyone; a deny of either beats an allow of either. Filters with
 * placeholders are filled in when somebody asks: a fleet whose devices share a rule costs no memory for each of them.
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

size_t permission_placeholders(struct slice filter)
{
    size_t n = 0;
    for (size_t i = 0; i + 1 < filter.n; i++) {
        n += filter.p[i] == '%' && (filter.p[i + 1] == 'c' || filter.p[i + 1] == 'u');
    }
    return n;
}

/* One that was stored before there were placeholders may be longer than they may: its text is meant as it stands. */
static bool is_template(struct slice filter)
{
    size_t n = permission_placeholders(filter);
    return n > 0 && n <= PLACEHOLDERS_MAX && filter.n <= TEMPLATE_MAX;
}

static struct rule_group *group_of(struct rule_list *l, const struct permission *p)
{
    if (is_template(p->filter)) {
        return p->deny ? &l->deny_template : &l->allow_template;
    }
    if (mqtt_filter_is_wild(p->filter)) {
        return p->deny ? &l->deny_wild : &l->allow_wild;
    }
    return p->deny ? &l->deny_exact : &l->allow_exact;
}

static void list_compile(struct rule_list *l, const struct ruleset *rs, enum auth_action action)
{
    for (size_t i = 0; i < rs->count; i++) {
        const struct permission *p = &rs->items[i];
        if (((unsigned)p->action & (unsigned)action) == 0) {
            continue;
        }
        group_add(group_of(l, p), p);
        l->denies = l->denies || p->deny;
        l->allows_all = l->allows_all || (!p->deny && slice_eq(p->filter, slice_str("#")));
    }
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
    free(l->deny_template.rules);
    free(l->allow_template.rules);
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

/* ---- placeholders ---- */

enum { FILLED_MAX = TEMPLATE_MAX + PLACEHOLDERS_MAX * PLACEHOLDER_VALUE_MAX };

/* The value may stand at byte `at` of a filter without making it mean more than one level's text. */
static bool value_safe(struct slice value, size_t at)
{
    return value.n > 0 && value.n <= PLACEHOLDER_VALUE_MAX && !(at == 0 && value.p[0] == '$') &&
           memchr(value.p, '+', value.n) == NULL && memchr(value.p, '#', value.n) == NULL &&
           memchr(value.p, '/', value.n) == NULL;
}

/* The length of `out` up to the level that its end is in. */
static size_t level_start(const uint8_t *out, size_t n)
{
    while (n > 0 && out[n - 1] != '/') {
        n--;
    }
    return n;
}

/*
 * The rule's filter, filled in. A value that is not safe: of an allow rule nothing is left (p == NULL), of a deny rule
 * the levels before it and '#'.
 */
static struct slice fill(const struct permission *p, const struct asker *who,
                         uint8_t out[FILLED_MAX])
{
    struct slice f = p->filter;
    size_t n = 0;
    for (size_t i = 0; i < f.n; i++) {
        uint8_t kind = f.p[i] == '%' && i + 1 < f.n ? f.p[i + 1] : 0;
        if (kind != 'c' && kind != 'u') {
            out[n++] = f.p[i];
            continue;
        }
        struct slice value = kind == 'c' ? who->client_id : who->user;
        if (!value_safe(value, n)) {
            n = level_start(out, n);
            out[n] = '#';
            return p->deny ? slice_make(out, n + 1) : slice_make(NULL, 0);
        }
        memcpy(out + n, value.p, value.n);
        n += value.n;
        i++;
    }
    assert(n <= FILLED_MAX);
    return slice_make(out, n);
}

static const struct permission *find_template(const struct rule_group *g, const struct question *q,
                                              bool (*test)(struct slice, struct slice))
{
    uint8_t text[FILLED_MAX];
    for (size_t i = 0; i < g->count; i++) {
        struct slice filter = fill(g->rules[i], &q->who, text);
        if (filter.p != NULL && test(filter, q->what)) {
            return g->rules[i];
        }
    }
    return NULL;
}

/* ---- decisions ---- */

const struct permission *rule_list_denies(const struct rule_list *l, const struct question *q)
{
    bool (*test)(struct slice, struct slice) = q->wild ? mqtt_filter_overlaps : mqtt_topic_matches;
    const struct permission *p =
        q->wild ? find_first(&l->deny_exact, q->what, test) : find_exact(&l->deny_exact, q->what);
    if (p == NULL) {
        p = find_first(&l->deny_wild, q->what, test);
    }
    if (p == NULL && l->deny_template.count > 0) {
        p = find_template(&l->deny_template, q, test);
    }
    return p;
}

const struct permission *rule_list_allows(const struct rule_list *l, const struct question *q)
{
    bool (*test)(struct slice, struct slice) = q->wild ? mqtt_filter_covers : mqtt_topic_matches;
    const struct permission *p = q->wild ? NULL : find_exact(&l->allow_exact, q->what);
    if (p == NULL) {
        p = find_first(&l->allow_wild, q->what, test);
    }
    if (p == NULL && l->allow_template.count > 0) {
        p = find_template(&l->allow_template, q, test);
    }
    return p;
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
    if (out != NULL) {
        text_format(out->rule, sizeof out->rule, "parent topic \"%.*s\" is not declared",
                    text_width(parent), text_bytes(parent));
    }
    return false;
}

static const struct rule_list *list_of(const struct auth_user *u, enum auth_action action)
{
    return action == AUTH_PUBLISH ? &u->rules->publish : &u->rules->subscribe;
}

static bool granted(const struct auth_identity *id, enum auth_action action,
                    const struct question *q, struct auth_decision *out)
{
    const struct rule_list *own = list_of(id->user, action);
    const struct rule_list *all = id->everyone == NULL ? NULL : list_of(id->everyone, action);
    const struct permission *deny = rule_list_denies(own, q);
    bool by_all = deny == NULL && all != NULL;
    if (by_all) {
        deny = rule_list_denies(all, q);
    }
    if (deny == NULL &&
        (rule_list_allows(own, q) != NULL || (all != NULL && rule_list_allows(all, q) != NULL))) {
        return true;
    }
    if (out == NULL) {
        return false;
    }
    if (deny == NULL) {
        text_format(out->rule, sizeof out->rule, "no permission matches");
        return false;
    }
    text_format(out->rule, sizeof out->rule, "deny %s %.*s%s", auth_action_text(deny->action),
                text_width(deny->filter), text_bytes(deny->filter), by_all ? " (everyone)" : "");
    return false;
}

void identity_compile(struct auth_identity *id)
{
    static const enum auth_action actions[2] = {AUTH_PUBLISH, AUTH_SUBSCRIBE};
    for (size_t i = 0; i < 2; i++) {
        const struct rule_list *own = list_of(id->user, actions[i]);
        const struct rule_list *all =
            id->everyone == NULL ? own : list_of(id->everyone, actions[i]);
        id->all[i] =
            id->open_topics && (own->allows_all || all->allows_all) && !own->denies && !all->denies;
    }
}

static bool allows(const struct auth_identity *id, struct slice client_id, enum auth_action action,
                   struct slice what, struct auth_decision *out)
{
    bool dollar = what.n > 0 && what.p[0] == '$';
    if (what.n > 0 && (dollar ? id->unrestricted : id->all[action - 1])) {
        return true;
    }
    if (id->own) {
        return true;
    }
    const struct question q = {.what = what,
                               .wild = action == AUTH_SUBSCRIBE && mqtt_filter_is_wild(what),
                               .who = {.user = id->user->e.name, .client_id = client_id}};
    return parent_declared(id, what, out) && granted(id, action, &q, out);
}

bool auth_allows(const struct auth_identity *id, struct slice client_id, enum auth_action action,
                 struct slice what, struct auth_decision *out)
{
    assert(action == AUTH_PUBLISH || action == AUTH_SUBSCRIBE);
    bool allowed = allows(id, client_id, action, what, out);
    if (out != NULL) {
        out->allowed = allowed;
    }
    return allowed;
}
