/*
 * What a reload may change: rows of the table that are LIVE take their new value, the others stay and are told. Pure.
 * Both structs stay whole: each can be freed alone.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "server/config_priv.h"

static_assert((int)CONFIG_ROWS < (int)CONFIG_CHANGES_MAX, "room for a change of every option");

size_t config_merge(struct config *next, const struct config *now, struct config_change *out)
{
    size_t n = 0;
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct option_row *row = &config_rows[i];
        if (config_same(next, now, row)) {
            continue;
        }
        struct config_change *c = &out[n++];
        *c = (struct config_change){.name = row->key, .live = row->live};
        config_text(now, row, c->from, sizeof c->from);
        config_text(next, row, c->to, sizeof c->to);
        if (!row->live) {
            config_copy((char *)next + row->offset, (const char *)now + row->offset, row);
        }
    }
    return n;
}

bool config_same_listeners(const struct config *a, const struct config *b)
{
    bool same = a->listener_count == b->listener_count;
    for (unsigned n = 0; same && n < a->listener_count; n++) {
        for (size_t i = 0; same && i < LISTENER_ROWS; i++) {
            same = config_same(&a->listeners[n], &b->listeners[n], &listener_rows[i]);
        }
    }
    return same;
}
