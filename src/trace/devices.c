/*
 * The list of devices: the stored statuses (in order of the client ID) merged with the devices that RAM knows
 * newer. The RAM side is collected by one pass over the buffers' devices, filtered first, then sorted.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trace/trace_priv.h"

enum { COUNT_VISITS = 200000 };

struct ram_device {
    struct slice client_id; /* in a buffer */
    struct hash128 hash;
};

struct device_list {
    struct trace *t;
    const struct view *v;
    const struct trace_devices_query *q;
    struct ram_device *ram; /* sorted, each once */
    size_t ram_n, ram_cap;
};

/* Walks both sides in order. */
struct device_iter {
    const struct device_list *l;
    struct store_iter *it;
    struct buf prefix; /* of the keys */
    size_t ram;
    struct slice client_id; /* the device at hand; lives until the next step */
    struct buf name, value; /* of the stored side */
    bool in_ram, in_store;
    struct hash128 hash;
};

static bool match_name(const struct trace_devices_query *q, struct slice client_id)
{
    struct slice group;
    struct slice device;
    return slice_has_prefix(client_id, q->prefix) &&
           (q->group.n == 0 ||
            (client_id_split(client_id, &group, &device) && slice_eq(group, q->group)));
}

/* ---- RAM side ---- */

static int by_name(const void *pa, const void *pb)
{
    const struct ram_device *a = pa;
    const struct ram_device *b = pb;
    return slice_cmp(a->client_id, b->client_id);
}

/* A device whose rows here are all refused has no status from here. */
static bool has_status(const struct buffer_view *bv, uint32_t device)
{
    uint32_t at = buffer_device_newest(bv->b, device, bv->visible);
    for (; at != BUFFER_NONE; at = buffer_before(bv->b, at)) {
        struct record r;
        if (record_decode(buffer_record(bv->b, at), &r) == 0 && record_is_status(&r)) {
            return true;
        }
    }
    return false;
}

static void collect_buffer(struct device_list *l, const struct buffer_view *bv)
{
    uint32_t n = buffer_device_count(bv->b);
    for (uint32_t i = 0; i < n; i++) {
        struct record r;
        uint32_t at = buffer_device_newest(bv->b, i, bv->visible);
        if (at == BUFFER_NONE || record_decode(buffer_record(bv->b, at), &r) < 0 ||
            !slice_eq(r.instance, l->q->instance) || !match_name(l->q, r.client_id) ||
            !has_status(bv, i)) {
            continue;
        }
        if (l->ram_n == l->ram_cap) {
            l->ram_cap = l->ram_cap == 0 ? 256 : l->ram_cap * 2;
            l->ram = mem_realloc(l->ram, l->ram_cap * sizeof *l->ram);
        }
        l->ram[l->ram_n++] =
            (struct ram_device){.client_id = r.client_id, .hash = buffer_device_hash(bv->b, i)};
    }
}

static void collect(struct device_list *l)
{
    for (unsigned i = 0; i < l->v->buffer_n; i++) {
        collect_buffer(l, &l->v->buffers[i]);
    }
    if (l->ram_n == 0) {
        return;
    }
    qsort(l->ram, l->ram_n, sizeof *l->ram, by_name);
    size_t n = 1;
    for (size_t i = 1; i < l->ram_n; i++) {
        if (by_name(&l->ram[n - 1], &l->ram[i]) != 0) {
            l->ram[n++] = l->ram[i];
        }
    }
    l->ram_n = n;
}

static size_t first_behind(const struct device_list *l, struct slice cursor)
{
    size_t low = 0;
    size_t high = cursor.n == 0 ? 0 : l->ram_n;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (slice_cmp(l->ram[middle].client_id, cursor) <= 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* ---- merged ---- */

static void iter_init(struct device_iter *d, const struct device_list *l, struct slice cursor)
{
    *d = (struct device_iter){.l = l, .ram = first_behind(l, cursor)};
    d->it = store_iter_new(l->t->store, l->v->snap, store_family(l->t->store, STORE_DEVICES), 0);
    status_key(l->q->instance, slice_make(NULL, 0), &d->prefix);
    struct buf key = {0};
    status_key(l->q->instance, slice_cmp(cursor, l->q->prefix) > 0 ? cursor : l->q->prefix, &key);
    store_iter_seek(d->it, buf_slice(&key));
    if (cursor.n > 0 && store_iter_valid(d->it) && slice_cmp(cursor, l->q->prefix) >= 0 &&
        slice_eq(store_iter_key(d->it), buf_slice(&key))) {
        store_iter_next(d->it);
    }
    buf_fini(&key);
}

static void iter_fini(struct device_iter *d)
{
    store_iter_free(d->it);
    buf_fini(&d->prefix);
    buf_fini(&d->name);
    buf_fini(&d->value);
}

/* The stored device at the iterator; false at the end of the instance or prefix. */
static bool stored_name(struct device_iter *d, struct slice *out)
{
    struct slice key;
    if (!store_iter_valid(d->it)) {
        return false;
    }
    key = store_iter_key(d->it);
    if (!slice_has_prefix(key, buf_slice(&d->prefix))) {
        return false;
    }
    *out = slice_from(key, buf_len(&d->prefix));
    return slice_has_prefix(*out, d->l->q->prefix);
}

static bool iter_next(struct device_iter *d)
{
    const struct device_list *l = d->l;
    struct slice stored;
    bool has_stored = stored_name(d, &stored);
    bool has_ram = d->ram < l->ram_n;
    if (!has_stored && !has_ram) {
        return false;
    }
    int c = !has_stored ? -1 : !has_ram ? 1 : slice_cmp(l->ram[d->ram].client_id, stored);
    d->in_ram = c <= 0;
    d->in_store = c >= 0;
    if (d->in_ram) {
        d->client_id = l->ram[d->ram].client_id;
        d->hash = l->ram[d->ram].hash;
        d->ram++;
    }
    if (d->in_store) {
        buf_clear(&d->name);
        buf_clear(&d->value);
        buf_put_slice(&d->name, stored);
        buf_put_slice(&d->value, store_iter_value(d->it));
        d->client_id = d->in_ram ? d->client_id : buf_slice(&d->name);
        store_iter_next(d->it);
    }
    return true;
}

/* Folds the device's status; false: it has none, or is not wanted. The caller ends `f`. */
static bool iter_status(const struct device_iter *d, struct status_fold *f, uint64_t *update_us)
{
    struct record stored;
    bool online = false;
    bool has = d->in_store && status_decode(buf_slice(&d->value), d->l->q->instance, d->client_id,
                                            &stored, &online, update_us) == 0;
    status_fold_init(f);
    if (d->in_ram) {
        view_fold(d->l->v, d->hash, f);
    }
    status_fold_end(f, has ? &stored : NULL, online);
    if (!f->found) {
        return false;
    }
    if (!has || f->last.seq != stored.seq) {
        *update_us = status_update_us(&f->last);
    }
    return d->l->q->online < 0 || f->online == (d->l->q->online != 0);
}

static int fill_items(const struct device_list *l, struct arena *a, struct trace_devices *out)
{
    struct device_iter d;
    iter_init(&d, l, l->q->cursor);
    while (iter_next(&d)) {
        struct status_fold f;
        uint64_t update;
        if (!match_name(l->q, d.client_id)) {
            continue;
        }
        bool wanted = iter_status(&d, &f, &update);
        if (wanted && out->count == l->q->limit) {
            out->more = true;
        } else if (wanted) {
            out->items = mem_realloc(out->items, (out->count + 1) * sizeof *out->items);
            status_fill(&f, update, a, &out->items[out->count++]);
        }
        status_fold_fini(&f);
        if (out->more) {
            break;
        }
    }
    int rc = store_iter_error(d.it);
    iter_fini(&d);
    return rc;
}

static int count_items(const struct device_list *l, struct trace_devices *out)
{
    struct device_iter d;
    iter_init(&d, l, slice_make(NULL, 0));
    uint64_t visits = 0;
    while (iter_next(&d)) {
        struct status_fold f;
        uint64_t update;
        if (out->total >= TOTAL_EXACT || ++visits > COUNT_VISITS) {
            out->total_at_least = true;
            break;
        }
        if (match_name(l->q, d.client_id)) {
            out->total += iter_status(&d, &f, &update);
            status_fold_fini(&f);
        }
    }
    int rc = store_iter_error(d.it);
    iter_fini(&d);
    return rc;
}

int trace_devices(struct trace *t, const struct trace_devices_query *query,
                  struct trace_devices *out)
{
    struct trace_devices_query q = *query;
    struct view v;
    int rc = view_open(t, &v);
    if (rc < 0) {
        return rc;
    }
    q.limit = q.limit == 0 ? 1 : q.limit;
    struct device_list l = {.t = t, .v = &v, .q = &q};
    struct trace_devices page = {.memory = arena_new()};
    collect(&l);
    rc = fill_items(&l, page.memory, &page);
    if (rc == 0 && (page.more || q.cursor.n > 0)) {
        rc = count_items(&l, &page);
    } else {
        page.total = page.count;
    }
    free(l.ram);
    view_close(t, &v);
    if (rc < 0) {
        trace_devices_fini(&page);
        return rc;
    }
    *out = page;
    return 0;
}

void trace_devices_fini(struct trace_devices *d)
{
    free(d->items);
    arena_free(d->memory);
    *d = (struct trace_devices){0};
}
