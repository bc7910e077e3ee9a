/*
 * One consistent sight of RAM and store: references on the buffers and families first, then the snapshot, then
 * the watermarks as the snapshot has them. A flush in between makes rows appear in both places, never in
 * none, and the watermark tells which of the two to take: nothing hidden, nothing twice.
 */
#include <errno.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trace/trace_priv.h"

static void ref_family(struct store_cf *cf)
{
    if (cf != NULL) {
        store_cf_ref(cf);
    }
}

static void unref_family(struct store_cf *cf)
{
    if (cf != NULL) {
        store_cf_unref(cf);
    }
}

static void take_references(struct trace *t, struct view *v)
{
    struct shared *s = &t->shared;
    (void)pthread_mutex_lock(&s->lock);
    for (unsigned i = 0; i < s->frozen_n; i++) {
        v->buffers[v->buffer_n++].b = buffer_ref(s->frozen[i]);
    }
    if (s->active != NULL) {
        v->buffers[v->buffer_n++].b = buffer_ref(s->active);
    }
    v->segments = mem_new(s->segment_n + 1, sizeof *v->segments);
    for (; v->segment_n < s->segment_n; v->segment_n++) {
        const struct segment *seg = s->segments[v->segment_n];
        v->segments[v->segment_n] = (struct segment_view){.first_seq = seg->first_seq,
                                                          .j = seg->j,
                                                          .d = seg->d,
                                                          .x = seg->x,
                                                          .dm = seg->dm,
                                                          .xm = seg->xm};
        ref_family(seg->j);
        ref_family(seg->d);
        ref_family(seg->x);
    }
    (void)pthread_mutex_unlock(&s->lock);
    for (unsigned i = 0; i < v->buffer_n; i++) {
        v->buffers[i].visible = buffer_visible(v->buffers[i].b);
    }
}

/* The watermark of a family in this view's snapshot; none means that it holds nothing. */
static int read_mark(struct trace *t, const struct view *v, struct store_cf *cf,
                     struct block_mark *m)
{
    struct slice value;
    int rc = cf == NULL ? -ENOENT : store_get(t->store, v->snap, cf, block_mark_key(), &value);
    if (rc == -ENOENT) {
        *m = (struct block_mark){.min_us = UINT64_MAX};
        return 0;
    }
    if (rc == 0) {
        rc = block_mark_decode(value, m) < 0 ? -EIO : 0;
        store_free(&value);
    }
    return rc;
}

/* Only segments that have a buffer can change under us. */
static int read_marks(struct trace *t, struct view *v)
{
    for (unsigned i = 0; i < v->buffer_n; i++) {
        struct buffer_view *bv = &v->buffers[i];
        for (size_t k = 0; k < v->segment_n; k++) {
            struct segment_view *seg = &v->segments[k];
            if (seg->first_seq != buffer_segment(bv->b)) {
                continue;
            }
            int rc = read_mark(t, v, seg->d, &seg->dm);
            rc = rc == 0 ? read_mark(t, v, seg->x, &seg->xm) : rc;
            if (rc < 0) {
                return rc;
            }
            bv->d_seq = seg->dm.seq;
            bv->x_seq = seg->xm.seq;
        }
    }
    return 0;
}

int view_open(struct trace *t, struct view *v)
{
    *v = (struct view){0};
    take_references(t, v);
    v->snap = store_snap_new(t->store);
    int rc = v->snap == NULL ? -EIO : read_marks(t, v);
    if (rc < 0) {
        view_close(t, v);
    }
    return rc;
}

void view_close(struct trace *t, struct view *v)
{
    store_snap_free(t->store, v->snap);
    for (size_t i = 0; i < v->segment_n; i++) {
        unref_family(v->segments[i].j);
        unref_family(v->segments[i].d);
        unref_family(v->segments[i].x);
    }
    free(v->segments);
    for (unsigned i = 0; i < v->buffer_n; i++) {
        buffer_unref(v->buffers[i].b);
    }
    *v = (struct view){0};
}

bool view_wants(const struct buffer_view *bv, const struct record *r)
{
    return r->seq > (record_is_x(r) ? bv->x_seq : bv->d_seq);
}
