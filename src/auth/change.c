/* The three steps of a change; see change.h. */
#include "auth/change.h"

#include <errno.h>

int change_begin(struct change *c, struct auth *a, struct slice instance, struct auth_error *err)
{
    if (err != NULL) {
        *err = (struct auth_error){0};
    }
    (void)pthread_mutex_lock(&a->writer);
    *c = (struct change){.a = a, .s = snapshot_take(a), .err = err};
    c->inst = snapshot_instance(c->s, instance);
    if (c->inst == NULL) {
        entry_unref(&c->s->e);
        (void)pthread_mutex_unlock(&a->writer);
        return auth_fail(err, -ENOENT, "instance", "instance \"%.*s\" does not exist",
                         text_width(instance), text_bytes(instance));
    }
    return 0;
}

void change_end(struct change *c)
{
    entry_unref(&c->s->e);
    (void)pthread_mutex_unlock(&c->a->writer);
}

/* Saves one key and publishes `next` (taken over). An empty value deletes the key. */
int change_commit(struct change *c, enum setting_kind kind, struct slice name,
                  const struct buf *value, struct auth_instance *next)
{
    struct buf key = {0};
    settings_put_key(&key, kind, next->e.name, name);
    struct slice k = buf_slice(&key);
    struct slice v = value == NULL ? slice_make(NULL, 0) : buf_slice(value);
    int rc = c->a->io.save(c->a->io.arg, &k, &v, 1);
    buf_fini(&key);
    if (rc != 0) {
        entry_unref(&next->e);
        return auth_fail(c->err, -EIO, "", "the change cannot be saved: %s", strerror(-rc));
    }
    struct shelf *instances = shelf_with(c->s->instances, &next->e);
    entry_unref(&next->e);
    snapshot_publish(c->a, snapshot_new(instances, c->s->version + 1));
    return 0;
}

int change_commit_policy(struct change *c, enum setting_kind kind, struct slice name,
                         const struct buf *value, struct auth_policy *next)
{
    struct auth_instance *inst = instance_copy(c->inst);
    entry_unref(&inst->policy->e);
    inst->policy = next;
    return change_commit(c, kind, name, value, inst);
}
