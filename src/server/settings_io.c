/* The settings' way to the disk; see settings_io.h. Called by main at start, then by HTTP threads, one at a time. */
#include "server/settings_io.h"

#include "store/store.h"

static int load(void *arg, void (*fn)(void *ctx, struct slice key, struct slice value), void *ctx)
{
    struct store *st = arg;
    struct store_iter *it = store_iter_new(st, NULL, store_family(st, STORE_SETTINGS), 0);
    for (store_iter_first(it); store_iter_valid(it); store_iter_next(it)) {
        fn(ctx, store_iter_key(it), store_iter_value(it));
    }
    int rc = store_iter_error(it);
    store_iter_free(it);
    return rc;
}

static int save(void *arg, const struct slice *keys, const struct slice *values, size_t count)
{
    struct store *st = arg;
    struct store_cf *family = store_family(st, STORE_SETTINGS);
    struct store_batch *b = store_batch_new();
    for (size_t i = 0; i < count; i++) {
        if (values[i].p == NULL) {
            store_batch_delete(b, family, keys[i]);
        } else {
            store_batch_put(b, family, keys[i], values[i]);
        }
    }
    int rc = store_write(st, b, true);
    store_batch_free(b);
    return rc;
}

struct auth_io settings_io(struct store *st)
{
    return (struct auth_io){.arg = st, .load = load, .save = save};
}
