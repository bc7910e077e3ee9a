/*
 * Segments: partitions of the trace by seq, in the store as families j (journal), d (device blocks) and x
 * (refused and unidentified), each named by the segment's first seq in 20 digits.
 *
 * Invariants: the list is sorted; only the newest grows; what d and x hold is told by their watermark, which
 * is ingested with the blocks. Readers reference families, so a drop never pulls one from under them.
 */
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "trace/trace_priv.h"

enum { NAME_BYTES = 24 };

static void make_name(char out[NAME_BYTES], char kind, uint64_t first_seq)
{
    (void)snprintf(out, NAME_BYTES, "%c%020llu", kind, (unsigned long long)first_seq);
}

struct segment *segment_find(struct trace *t, uint64_t first_seq)
{
    struct shared *s = &t->shared;
    for (size_t i = s->segment_n; i > 0; i--) {
        if (s->segments[i - 1]->first_seq == first_seq) {
            return s->segments[i - 1];
        }
    }
    return NULL;
}

static struct segment *segment_add(struct trace *t, uint64_t first_seq)
{
    struct shared *s = &t->shared;
    struct segment *seg = segment_find(t, first_seq);
    if (seg != NULL) {
        return seg;
    }
    seg = mem_new(1, sizeof *seg);
    seg->first_seq = first_seq;
    seg->dm = seg->xm = (struct block_mark){.min_us = UINT64_MAX};
    s->segments = mem_realloc(s->segments, (s->segment_n + 1) * sizeof(struct segment *));
    size_t at = s->segment_n++;
    while (at > 0 && s->segments[at - 1]->first_seq > first_seq) {
        s->segments[at] = s->segments[at - 1];
        at--;
    }
    s->segments[at] = seg;
    return seg;
}

static struct store_cf **family_of(struct segment *seg, char kind)
{
    return kind == 'd' ? &seg->d : kind == 'x' ? &seg->x : &seg->j;
}

static void adopt(void *arg, const char *name, struct store_cf *cf)
{
    struct trace *t = arg;
    char *end;
    if (strchr("jdx", name[0]) == NULL || strlen(name) != 21) {
        return;
    }
    uint64_t first_seq = strtoull(name + 1, &end, 10);
    if (*end == '\0') {
        *family_of(segment_add(t, first_seq), name[0]) = cf;
    }
}

static int load_mark(struct trace *t, struct store_cf *cf, struct block_mark *m)
{
    struct slice v;
    int rc = cf == NULL ? -ENOENT : store_get(t->store, NULL, cf, block_mark_key(), &v);
    if (rc == -ENOENT) {
        return 0; /* made, and nothing ingested yet */
    }
    if (rc == 0) {
        rc = block_mark_decode(v, m) < 0 ? -EIO : 0;
        store_free(&v);
    }
    return rc;
}

int segments_load(struct trace *t)
{
    store_cf_each(t->store, adopt, t);
    for (size_t i = 0; i < t->shared.segment_n; i++) {
        struct segment *seg = t->shared.segments[i];
        int rc = load_mark(t, seg->d, &seg->dm);
        rc = rc == 0 ? load_mark(t, seg->x, &seg->xm) : rc;
        if (rc < 0) {
            return rc;
        }
    }
    return 0;
}

void segments_free(struct trace *t)
{
    for (size_t i = 0; i < t->shared.segment_n; i++) {
        free(t->shared.segments[i]);
    }
    free(t->shared.segments);
}

/* An existing family of that name (a crash left it) is taken. */
static int make_family(struct trace *t, char kind, uint64_t first_seq, struct store_cf **out)
{
    char name[NAME_BYTES];
    make_name(name, kind, first_seq);
    struct store_cf *cf = store_cf_find(t->store, name);
    if (cf != NULL) {
        *out = cf;
        return 0;
    }
    return store_cf_create(t->store, name, out);
}

int segment_create(struct trace *t, uint64_t first_seq)
{
    struct store_cf *j;
    int rc = make_family(t, 'j', first_seq, &j);
    if (rc == 0) {
        (void)pthread_mutex_lock(&t->shared.lock);
        segment_add(t, first_seq)->j = j;
        (void)pthread_mutex_unlock(&t->shared.lock);
    }
    return rc;
}

int segment_family(struct trace *t, uint64_t first_seq, char kind, struct store_cf **out)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    struct segment *seg = segment_find(t, first_seq);
    assert(seg != NULL); /* a segment with a buffer is not dropped */
    *out = *family_of(seg, kind);
    (void)pthread_mutex_unlock(&t->shared.lock);
    if (*out != NULL) {
        return 0;
    }
    int rc = make_family(t, kind, first_seq, out);
    if (rc == 0) {
        (void)pthread_mutex_lock(&t->shared.lock);
        *family_of(seg, kind) = *out;
        (void)pthread_mutex_unlock(&t->shared.lock);
    }
    return rc;
}

/* Under shared.lock: a RAM buffer still holds records of the segment. */
static bool has_buffer(const struct trace *t, uint64_t first_seq)
{
    const struct shared *s = &t->shared;
    bool has = s->active != NULL && buffer_segment(s->active) == first_seq;
    for (unsigned i = 0; i < s->frozen_n; i++) {
        has = has || buffer_segment(s->frozen[i]) == first_seq;
    }
    return has;
}

static int drop_family(struct trace *t, struct store_cf *cf)
{
    return cf == NULL ? 0 : store_cf_drop(t->store, cf);
}

int segment_drop_oldest(struct trace *t)
{
    struct shared *s = &t->shared;
    (void)pthread_mutex_lock(&s->lock);
    struct segment *seg = s->segment_n < 2 ? NULL : s->segments[0];
    if (seg == NULL || has_buffer(t, seg->first_seq)) {
        (void)pthread_mutex_unlock(&s->lock);
        return -ENOENT;
    }
    s->segment_n--;
    memmove(s->segments, s->segments + 1, s->segment_n * sizeof(struct segment *));
    (void)pthread_mutex_unlock(&s->lock);
    /* The journal last: were it to go first, a crash here would find blocks whose seqs look unused. */
    int rc = drop_family(t, seg->d);
    rc = drop_family(t, seg->x) < 0 ? -EIO : rc;
    rc = drop_family(t, seg->j) < 0 ? -EIO : rc;
    free(seg);
    return rc;
}

int segment_drop_journal(struct trace *t)
{
    struct shared *s = &t->shared;
    struct store_cf *j = NULL;
    (void)pthread_mutex_lock(&s->lock);
    for (size_t i = 0; j == NULL && i + 1 < s->segment_n; i++) {
        struct segment *seg = s->segments[i];
        if (seg->j != NULL && has_buffer(t, seg->first_seq)) {
            break;
        }
        j = seg->j;
        seg->j = NULL;
    }
    (void)pthread_mutex_unlock(&s->lock);
    return j == NULL ? -ENOENT : store_cf_drop(t->store, j);
}

uint64_t segments_bytes(struct trace *t)
{
    (void)pthread_mutex_lock(&t->shared.lock);
    struct store_cf **list = mem_new(t->shared.segment_n * 3 + 1, sizeof *list);
    struct store_cf **end = list;
    for (size_t i = 0; i < t->shared.segment_n; i++) {
        const struct segment *seg = t->shared.segments[i];
        for (const char *k = "jdx"; *k != '\0'; k++) {
            struct store_cf *cf = *k == 'j' ? seg->j : *k == 'd' ? seg->d : seg->x;
            if (cf != NULL) {
                store_cf_ref(cf);
                *end++ = cf;
            }
        }
    }
    (void)pthread_mutex_unlock(&t->shared.lock);
    uint64_t n = 0;
    for (struct store_cf **at = list; at < end; at++) {
        n += store_cf_bytes(t->store, *at);
        store_cf_unref(*at);
    }
    free(list);
    return n;
}
