/* A store in memory; see fake_store.h. Rows are sorted by family and key. */
#include "fake_store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"

struct row {
    unsigned family;
    struct buf key, value;
};

struct store {
    struct row *rows;
    size_t count, cap;
    size_t puts[STORE_FAMILY_COUNT];
};

struct op {
    unsigned family;
    bool put;
    struct buf key, value;
};

struct store_batch {
    struct op *ops;
    size_t count, cap;
};

struct store_iter {
    const struct store *s;
    unsigned family;
    size_t at;
};

struct store *fake_store_new(void)
{
    return mem_new(1, sizeof(struct store));
}

static void row_fini(struct row *r)
{
    buf_fini(&r->key);
    buf_fini(&r->value);
}

void fake_store_free(struct store *s)
{
    for (size_t i = 0; i < s->count; i++) {
        row_fini(&s->rows[i]);
    }
    free(s->rows);
    free(s);
}

/* Their addresses are the handles. */
static char all_families[STORE_FAMILY_COUNT];

struct store_cf *store_family(struct store *s, enum store_family f)
{
    (void)s;
    return (struct store_cf *)(void *)&all_families[f];
}

static unsigned family_of(const struct store_cf *cf)
{
    return (unsigned)((const char *)(const void *)cf - all_families);
}

static int compare(const struct row *r, unsigned family, struct slice key)
{
    if (r->family != family) {
        return r->family < family ? -1 : 1;
    }
    struct slice k = buf_slice(&r->key);
    size_t n = k.n < key.n ? k.n : key.n;
    int d = n == 0 ? 0 : memcmp(k.p, key.p, n);
    return d != 0 ? d : (k.n > key.n) - (k.n < key.n);
}

/* The first row that is not before the key. */
static size_t lower_bound(const struct store *s, unsigned family, struct slice key)
{
    size_t i = 0;
    while (i < s->count && compare(&s->rows[i], family, key) < 0) {
        i++;
    }
    return i;
}

static bool found(const struct store *s, size_t i, unsigned family, struct slice key)
{
    return i < s->count && compare(&s->rows[i], family, key) == 0;
}

static void apply(struct store *s, const struct op *op)
{
    struct slice key = buf_slice(&op->key);
    size_t i = lower_bound(s, op->family, key);
    bool there = found(s, i, op->family, key);
    if (!op->put && there) {
        row_fini(&s->rows[i]);
        memmove(&s->rows[i], &s->rows[i + 1], (--s->count - i) * sizeof *s->rows);
    } else if (op->put && there) {
        buf_clear(&s->rows[i].value);
        buf_put_slice(&s->rows[i].value, buf_slice(&op->value));
    } else if (op->put) {
        if (s->count == s->cap) {
            s->cap = s->cap == 0 ? 64 : s->cap * 2;
            s->rows = mem_realloc(s->rows, s->cap * sizeof *s->rows);
        }
        memmove(&s->rows[i + 1], &s->rows[i], (s->count++ - i) * sizeof *s->rows);
        s->rows[i] = (struct row){.family = op->family};
        buf_put_slice(&s->rows[i].key, key);
        buf_put_slice(&s->rows[i].value, buf_slice(&op->value));
    }
}

struct store_batch *fake_batch_new(void)
{
    return mem_new(1, sizeof(struct store_batch));
}

void fake_batch_end(struct store *s, struct store_batch *b, bool applied)
{
    for (size_t i = 0; i < b->count; i++) {
        struct op *op = &b->ops[i];
        s->puts[op->family] += op->put;
        if (applied) {
            apply(s, op);
        }
        buf_fini(&op->key);
        buf_fini(&op->value);
    }
    free(b->ops);
    free(b);
}

static struct op *add(struct store_batch *b, struct store_cf *cf, struct slice key)
{
    if (b->count == b->cap) {
        b->cap = b->cap == 0 ? 16 : b->cap * 2;
        b->ops = mem_realloc(b->ops, b->cap * sizeof *b->ops);
    }
    struct op *op = &b->ops[b->count++];
    *op = (struct op){.family = family_of(cf)};
    buf_put_slice(&op->key, key);
    return op;
}

void store_batch_put(struct store_batch *b, struct store_cf *cf, struct slice key, struct slice val)
{
    struct op *op = add(b, cf, key);
    op->put = true;
    buf_put_slice(&op->value, val);
}

void store_batch_delete(struct store_batch *b, struct store_cf *cf, struct slice key)
{
    (void)add(b, cf, key);
}

int store_get(struct store *s, const struct store_snap *snap, struct store_cf *cf, struct slice key,
              struct slice *out)
{
    (void)snap;
    size_t i = lower_bound(s, family_of(cf), key);
    if (!found(s, i, family_of(cf), key)) {
        return -ENOENT;
    }
    struct slice v = buf_slice(&s->rows[i].value);
    *out = slice_make(mem_strndup(v.p, v.n), v.n);
    return 0;
}

void store_free(struct slice *v)
{
    free((void *)(uintptr_t)v->p);
}

struct store_iter *store_iter_new(struct store *s, const struct store_snap *snap,
                                  struct store_cf *cf, size_t prefix_len)
{
    struct store_iter *it = mem_new(1, sizeof *it);
    (void)snap;
    (void)prefix_len;
    *it = (struct store_iter){.s = s, .family = family_of(cf), .at = s->count};
    return it;
}

void store_iter_free(struct store_iter *it)
{
    free(it);
}

void store_iter_seek(struct store_iter *it, struct slice key)
{
    it->at = lower_bound(it->s, it->family, key);
}

void store_iter_next(struct store_iter *it)
{
    it->at++;
}

bool store_iter_valid(const struct store_iter *it)
{
    return it->at < it->s->count && it->s->rows[it->at].family == it->family;
}

struct slice store_iter_key(const struct store_iter *it)
{
    return buf_slice(&it->s->rows[it->at].key);
}

struct slice store_iter_value(const struct store_iter *it)
{
    return buf_slice(&it->s->rows[it->at].value);
}

size_t fake_store_count(const struct store *s, enum store_family f, const char *prefix)
{
    size_t n = 0;
    for (size_t i = 0; i < s->count; i++) {
        n += s->rows[i].family == (unsigned)f &&
             slice_has_prefix(buf_slice(&s->rows[i].key), slice_str(prefix));
    }
    return n;
}

size_t fake_store_puts(const struct store *s, enum store_family f)
{
    return s->puts[f];
}
