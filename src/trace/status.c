/*
 * The status of a device, derived from its records: the newest connect of an accepted channel, and whether
 * that channel has ended. An ending of another channel (the loser of a takeover that ends after the winner
 * began) changes nothing. RAM is asked first, newest record first, then the stored status of the last flush.
 *
 * Stored (STORE_DEVICES): key instance | 0 | client ID; value version 1 byte | online 1 | last update 8 | packed record
 * (pack.c, behind none) without evidence. Version 1, which is read, too: a record as record_encode() writes it.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "trace/pack.h"
#include "trace/trace_priv.h"

enum { STATUS_VERSION = 2, STATUS_HEAD = 10 };

bool record_is_x(const struct record *r)
{
    return (r->flags & (RECORD_REFUSED | RECORD_UNIDENTIFIED | RECORD_COLLAPSED)) != 0;
}

bool record_is_status(const struct record *r)
{
    return !record_is_x(r) && (r->flags & RECORD_GAP) == 0 && r->client_id.n > 0;
}

bool record_is_connect(const struct record *r)
{
    return cause_info(r->cause)->action == ACTION_CONNECT;
}

/* A crash was not the moment when the device went: the last time the broker knew it alive was. */
uint64_t status_update_us(const struct record *r)
{
    struct evidence_item it;
    if (r->cause == CAUSE_SERVER_CRASH && evidence_find(r->detail, EV_LAST_ALIVE, &it)) {
        return it.u64;
    }
    return r->time_us;
}

void status_key(struct slice instance, struct slice client_id, struct buf *out)
{
    buf_put_slice(out, instance);
    buf_put_u8(out, 0);
    buf_put_slice(out, client_id);
}

void status_encode(const struct record *r, bool online, struct buf *out)
{
    static const struct record none;
    struct record bare = *r;
    bare.detail = slice_make(NULL, 0);
    uint8_t *p = buf_reserve(out, STATUS_HEAD + record_size(&bare) + RECORD_PACK_MORE);
    p[0] = STATUS_VERSION;
    p[1] = online;
    put_le64(p + 2, status_update_us(r));
    buf_commit(out, STATUS_HEAD + record_pack(&bare, &none, p + STATUS_HEAD));
}

int status_decode(struct slice value, struct slice instance, struct slice client_id,
                  struct record *r, bool *online, uint64_t *update_us)
{
    static const struct record none;
    struct slice rest = slice_from(value, STATUS_HEAD);
    if (value.n < STATUS_HEAD || (value.p[0] == STATUS_VERSION ? record_unpack(&rest, &none, r)
                                  : value.p[0] == 1 ? record_decode(rest, r) /* not packed */
                                                    : -1) < 0) {
        return -EIO;
    }
    *online = value.p[1] != 0;
    *update_us = get_le64(value.p + 2);
    r->instance = instance;
    r->client_id = client_id;
    return 0;
}

/* ---- folding ---- */

void status_fold_init(struct status_fold *f)
{
    *f = (struct status_fold){0};
}

void status_fold_fini(struct status_fold *f)
{
    free(f->endings);
}

static const struct record *find_ending(const struct status_fold *f, const uint8_t *channel)
{
    for (size_t i = 0; i < f->ending_n; i++) {
        if (memcmp(f->endings[i].channel, channel, RECORD_CHANNEL_BYTES) == 0) {
            return &f->endings[i];
        }
    }
    return NULL;
}

static void set_last(struct status_fold *f, const struct record *r, bool online)
{
    f->found = true;
    f->last = *r;
    f->online = online;
}

void status_fold_add(struct status_fold *f, const struct record *r)
{
    if (f->done || !record_is_status(r)) {
        return;
    }
    if (record_is_connect(r)) {
        const struct record *end = find_ending(f, r->channel);
        f->done = true;
        set_last(f, end != NULL ? end : r, end == NULL);
        return;
    }
    if (f->ending_n == f->ending_cap) {
        f->ending_cap = f->ending_cap == 0 ? 4 : f->ending_cap * 2;
        f->endings = mem_realloc(f->endings, f->ending_cap * sizeof *f->endings);
    }
    f->endings[f->ending_n++] = *r;
}

void status_fold_end(struct status_fold *f, const struct record *stored, bool stored_online)
{
    if (f->done) {
        if (stored != NULL && stored->seq > f->last.seq) {
            set_last(f, stored, stored_online); /* flushed since the references were taken */
        }
        return;
    }
    if (stored == NULL) {
        if (f->ending_n > 0) {
            set_last(f, &f->endings[0], false);
        }
        return;
    }
    set_last(f, stored, stored_online);
    const struct record *end = stored_online     ? find_ending(f, stored->channel)
                               : f->ending_n > 0 ? &f->endings[0]
                                                 : NULL;
    if (end != NULL && end->seq > stored->seq) {
        set_last(f, end, false);
    }
}

void status_fill(const struct status_fold *f, uint64_t update_us, struct arena *a,
                 struct trace_status *out)
{
    struct record bare = f->last;
    bare.detail = slice_make(NULL, 0);
    *out = (struct trace_status){.online = f->online, .last_update_us = update_us};
    record_copy(a, &bare, &out->last);
    memcpy(out->channel, f->last.channel, RECORD_CHANNEL_BYTES);
    out->connected_at_us = record_is_connect(&f->last) ? f->last.time_us : f->last.connected_at_us;
}

void view_fold(const struct view *v, struct hash128 device, struct status_fold *f)
{
    for (unsigned i = v->buffer_n; i > 0 && !f->done; i--) {
        const struct buffer_view *bv = &v->buffers[i - 1];
        uint32_t at = buffer_newest(bv->b, device, bv->visible);
        for (; at != BUFFER_NONE && !f->done; at = buffer_before(bv->b, at)) {
            struct record r;
            if (record_decode(buffer_record(bv->b, at), &r) == 0) {
                status_fold_add(f, &r);
            }
        }
    }
}

/* What an outage keeps back is newer than all of RAM. */
static void fold_outage(struct trace *t, struct hash128 device, struct arena *a,
                        struct status_fold *f)
{
    const struct outage *o = &t->commit.outage;
    (void)pthread_mutex_lock(&t->shared.lock);
    if (o->kept_n > 0) {
        outage_fold(o, device, f);
        for (size_t i = 0; i < f->ending_n; i++) {
            struct record r = f->endings[i];
            record_copy(a, &r, &f->endings[i]);
        }
        struct record r = f->last;
        record_copy(a, &r, &f->last);
        f->last.seq = f->found ? UINT64_MAX : 0;
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
    for (size_t i = 0; i < f->ending_n; i++) {
        f->endings[i].seq = UINT64_MAX; /* newer than what is stored */
    }
}

static int fold_all(struct trace *t, const struct view *v, struct slice instance,
                    struct slice client_id, struct arena *a, struct trace_status *out)
{
    struct status_fold f;
    struct hash128 device = hash_device(instance, client_id);
    struct buf key = {0};
    struct slice value = {0};
    struct record stored;
    bool online = false;
    uint64_t update = 0;
    status_fold_init(&f);
    fold_outage(t, device, a, &f);
    view_fold(v, device, &f);
    status_key(instance, client_id, &key);
    int rc = store_get(t->store, v->snap, store_family(t->store, STORE_DEVICES), buf_slice(&key),
                       &value);
    bool has = rc == 0 && status_decode(value, instance, client_id, &stored, &online, &update) == 0;
    status_fold_end(&f, has ? &stored : NULL, online);
    rc = rc == -ENOENT ? 0 : rc;
    if (rc == 0 && !f.found) {
        rc = -ENOENT;
    }
    if (rc == 0) {
        bool from_store = has && f.last.seq == stored.seq;
        status_fill(&f, from_store ? update : status_update_us(&f.last), a, out);
    }
    buf_fini(&key);
    store_free(&value);
    status_fold_fini(&f);
    return rc;
}

int view_status(struct trace *t, const struct view *v, struct slice instance,
                struct slice client_id, struct trace_status *out)
{
    struct arena *a = arena_new();
    int rc = fold_all(t, v, instance, client_id, a, out);
    if (rc < 0) {
        arena_free(a);
    } else {
        out->memory = a;
    }
    return rc;
}

int trace_status(struct trace *t, struct slice instance, struct slice client_id,
                 struct trace_status *out)
{
    struct view v;
    int rc = view_open(t, &v);
    if (rc == 0) {
        rc = view_status(t, &v, instance, client_id, out);
        view_close(t, &v);
    }
    return rc;
}

void trace_status_fini(struct trace_status *s)
{
    arena_free(s->memory);
    *s = (struct trace_status){0};
}
