/*
 * The permissions of one user, compiled: split by action, effect and kind of filter, exact ones sorted. Immutable.
 *
 * %c and %u in a filter stand for the client ID and the user name of who asks. They can never widen a permission: a name
 * that is empty or has '+', '#' or '/', or that would put a '$' first, fits no allow rule, and makes a deny rule
 * forbid everything from that level on.
 */
#ifndef TMQ_AUTH_PERMISSION_H
#define TMQ_AUTH_PERMISSION_H

#include <stdbool.h>
#include <stddef.h>

#include "auth/auth.h"
#include "base/slice.h"

enum {
    PERMISSIONS_MAX = 1000,      /* of one user */
    PLACEHOLDERS_MAX = 8,        /* in one filter */
    TEMPLATE_MAX = 1024,         /* bytes of a filter with placeholders */
    PLACEHOLDER_VALUE_MAX = 1024 /* a client ID */
};

/* Who asks: what the placeholders stand for. */
struct asker {
    struct slice user, client_id;
};

struct rule_group {
    const struct permission **rules;
    size_t count;
};

/* What holds for one action. */
struct rule_list {
    bool allows_all, denies; /* `#` is allowed; something is denied */
    struct rule_group deny_exact, deny_wild, allow_exact, allow_wild; /* exact: sorted */
    struct rule_group deny_template, allow_template;                  /* with placeholders */
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

/* A topic or filter that is asked for. */
struct question {
    struct slice what;
    bool wild; /* it is a filter with wildcards */
    struct asker who;
};
/* The deny rule that forbids it, or NULL; the allow rule that grants it, or NULL. */
const struct permission *rule_list_denies(const struct rule_list *l, const struct question *q);
const struct permission *rule_list_allows(const struct rule_list *l, const struct question *q);

/* How many placeholders a filter has. */
size_t permission_placeholders(struct slice filter);

/* "publish", "subscribe", "both". */
const char *auth_action_text(enum auth_action action);

#endif
