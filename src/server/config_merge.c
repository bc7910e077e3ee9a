/*
 * What a reload may change: rows of the table that are LIVE take their new value, the others stay and are told. Pure.
 * Both structs stay whole: each can be freed alone.
 */
#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "server/config_priv.h"

static_assert((int)CONFIG_ROWS < (int)CONFIG_CHANGES_MAX, "room for a change of every option");

/* `next` gets its own copy of the value that `now` has. */
static void take_back(struct config *next, const struct config *now, const struct option_row *row)
{
    char *to = (char *)next + row->offset;
    const char *from = (const char *)now + row->offset;
    if (row->type <= OPTION_LEVEL) {
        const char *text;
        memcpy(&text, from, sizeof text);
        char *copy = text == NULL ? NULL : mem_strndup(text, strlen(text));
        config_drop(next, row);
        memcpy(to, &copy, sizeof copy);
    } else {
        memcpy(to, from, config_value_bytes(row));
    }
}

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
            take_back(next, now, row);
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
