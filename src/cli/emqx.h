/*
 * Users of EMQX's built-in database made ours, from the files that it imports itself: CSV with a header, or a JSON array; user_id,
 * password_hash, salt, is_superuser, or password instead of the two. Pure.
 */
#ifndef TMQ_CLI_EMQX_H
#define TMQ_CLI_EMQX_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"

/* What EMQX's `password_hash_algorithm` says of all its users. */
struct emqx_hash {
    const char *form;  /* how such a hash begins here; NULL: passwords are plain */
    unsigned rounds;   /* of PBKDF2; 0: it has none */
    size_t hash_bytes; /* its length */
    bool salted;
};
#define EMQX_HASHES                                                                                \
    "plain, sha256, sha256-prefix, sha256-suffix, sha512, sha512-prefix, sha512-suffix, "          \
    "pbkdf2-sha256:ITERATIONS or pbkdf2-sha512:ITERATIONS"
/* False: it is none of those. */
bool emqx_hash_parse(const char *text, struct emqx_hash *out);

/*
 * A document of settings as import_settings() describes (cli/mosquitto.h), the caller's. Who cannot be taken over is left out and told in
 * `report`, a line each, and counted. `hash` may be NULL where all have plain passwords. NULL with a sentence in `problem`: the file is
 * none of those.
 */
json_t *emqx_users(struct slice text, bool json, const struct emqx_hash *hash, struct buf *report,
                   size_t *left_out, char *problem, size_t size);

#endif
