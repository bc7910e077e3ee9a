/* Settings of another broker, given to ours. */
#ifndef TMQ_CLI_IMPORT_H
#define TMQ_CLI_IMPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "cli/http.h"

/*
 * Users, their permissions, those of everyone and of anonymous clients, the instance's settings: as import_settings()
 * describes. Can be repeated: users that exist keep their password, unless `replace`, then they are made anew. An exit
 * status; what was done, and what failed, is printed.
 */
int cli_apply_settings(struct cli_http *h, const json_t *doc, bool replace);

#endif
