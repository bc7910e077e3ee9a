/*
 * One change of the settings: begin locks the writers and shows the present snapshot, commit saves (fsync) and only
 * then publishes, end unlocks. What readers see is always on disk; a save that fails changes nothing.
 */
#ifndef TMQ_AUTH_CHANGE_H
#define TMQ_AUTH_CHANGE_H

#include "auth/settings.h"

struct change {
    struct auth *a;
    struct auth_snapshot *s;
    struct auth_instance *inst; /* borrowed from the snapshot */
    struct auth_error *err;
};

/* 0 and locked; or -ENOENT, *err filled, not locked. Any HTTP thread. */
int change_begin(struct change *c, struct auth *a, struct slice instance, struct auth_error *err)
    __attribute__((warn_unused_result));
void change_end(struct change *c);

/*
 * Saves one key of the instance and publishes `next` (taken over). value == NULL deletes the key. 0, or -EIO with
 * the error filled.
 */
int change_commit(struct change *c, enum setting_kind kind, struct slice name,
                  const struct buf *value, struct auth_instance *next)
    __attribute__((warn_unused_result));
/* The same where the instance's policy changes, to `next` (taken over). */
int change_commit_policy(struct change *c, enum setting_kind kind, struct slice name,
                         const struct buf *value, struct auth_policy *next)
    __attribute__((warn_unused_result));

#endif
