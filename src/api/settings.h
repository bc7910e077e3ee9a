/* The settings of an instance: their names and words in one table, as JSON and back. */
#ifndef TMQ_API_SETTINGS_H
#define TMQ_API_SETTINGS_H

#include <jansson.h>

#include "api/problem.h"
#include "auth/auth.h"

/* {"client_id": "any", …}: a new reference. */
json_t *settings_json(const struct auth_instance_info *i);

/* Fills `p` when `settings` is no object of known settings with known words. NULL is a problem, too. */
void settings_check(json_t *settings, struct problem *p);

/* Sets each member of checked settings. 0, or negative with `e` filled. */
int settings_apply(struct auth *a, struct slice instance, json_t *settings, struct auth_error *e)
    __attribute__((warn_unused_result));

#endif
