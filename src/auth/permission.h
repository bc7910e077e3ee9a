/*
 * The permissions of one user, compiled: split by action, effect and kind of filter, exact ones sorted. Immutable.
 */
#ifndef TMQ_AUTH_PERMISSION_H
#define TMQ_AUTH_PERMISSION_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/auth.h"
#include "base/slice.h"

enum { PERMISSIONS_MAX = 1000 }; /* of one user */

struct permission {
    bool deny;
    enum auth_action action;
    struct slice filter;
};

struct rule_group {
    const struct permission **rules;
    size_t count;
};

/* What holds for one action. */
struct rule_list {
    bool all; /* `#` is allowed and nothing is denied: the usual case, decided without a search */
    struct rule_group deny_exact, deny_wild, allow_exact, allow_wild; /* exact: sorted */
};

struct ruleset {
    size_t count;
    struct permission *items; /* in the order they were added; filters belong to the set */
    struct rule_list publish, subscribe;
};

/* Copies the permissions; filters must be valid. */
struct ruleset *ruleset_new(const struct permission *items, size_t count);
void ruleset_free(struct ruleset *rs);

/* The index of exactly that permission, or rs->count. */
size_t ruleset_find(const struct ruleset *rs, const struct permission *p);

/*
 * The deny rule that forbids the topic or filter, or NULL; the allow rule that grants it, or NULL.
 */
const struct permission *rule_list_denies(const struct rule_list *l, struct slice what, bool wild);
const struct permission *rule_list_allows(const struct rule_list *l, struct slice what, bool wild);

/* "publish", "subscribe", "both". */
const char *auth_action_text(enum auth_action action);

#endif
