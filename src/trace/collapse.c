/*
 * The table of refused and unidentified sources of the current minute: open addressing by the hash of
 * (instance, source, cause), emptied as minutes pass. See collapse.h.
 */
#include "trace/collapse.h"

#include <arpa/inet.h>
#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/mem.h"

enum { SLOTS = 4 * COLLAPSE_SOURCES, MINUTE_US = 60 * 1000 * 1000, KEY_BYTES = 9 + 16 };

struct entry {
    uint64_t hash; /* 0 = free slot */
    uint64_t minute;
    uint32_t passed;
    bool mixed; /* several client IDs */
    bool dirty; /* changed since saved */
    uint64_t count, first_us, last_us;
    uint8_t *sample; /* encoded: the first record that was counted */
    size_t sample_n;
    char source[COLLAPSE_SOURCE_MAX];
    size_t source_n;
};

struct collapse {
    struct entry slots[SLOTS];
    uint32_t used;
    uint32_t counting; /* entries with a count */
    uint64_t minute;   /* newest seen */
    uint8_t (*deleted)[KEY_BYTES];
    size_t deleted_n, deleted_cap;
    struct evidence evidence; /* of the row popped last */
    uint8_t *row_bytes;
    char row_source[COLLAPSE_SOURCE_MAX];
};

struct collapse *collapse_new(void)
{
    return mem_new(1, sizeof(struct collapse));
}

void collapse_free(struct collapse *c)
{
    if (c == NULL) {
        return;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        free(c->slots[i].sample);
    }
    free(c->deleted);
    free(c->row_bytes);
    free(c);
}

static size_t source_v6(const char *host, char out[COLLAPSE_SOURCE_MAX])
{
    struct in6_addr a;
    if (inet_pton(AF_INET6, host, &a) != 1) {
        return 0;
    }
    char text[INET6_ADDRSTRLEN];
    int n;
    if (IN6_IS_ADDR_V4MAPPED(&a)) {
        (void)inet_ntop(AF_INET, &a.s6_addr[12], text, sizeof text);
        n = snprintf(out, COLLAPSE_SOURCE_MAX, "%s", text);
    } else {
        memset(&a.s6_addr[8], 0, 8);
        (void)inet_ntop(AF_INET6, &a, text, sizeof text);
        n = snprintf(out, COLLAPSE_SOURCE_MAX, "%s/64", text);
    }
    return (size_t)n;
}

size_t collapse_source(struct slice peer, char out[COLLAPSE_SOURCE_MAX])
{
    char host[COLLAPSE_SOURCE_MAX];
    size_t n = peer.n < sizeof host - 1 ? peer.n : sizeof host - 1;
    memcpy(host, n > 0 ? peer.p : (const uint8_t *)"", n);
    host[n] = '\0';
    char *end = host[0] == '[' ? strchr(host, ']') : strrchr(host, ':');
    char *begin = host[0] == '[' ? host + 1 : host;
    if (end != NULL && (host[0] == '[' || strchr(host, ':') == end)) {
        *end = '\0';
    }
    size_t v6 = source_v6(begin, out);
    if (v6 > 0) {
        return v6;
    }
    return (size_t)snprintf(out, COLLAPSE_SOURCE_MAX, "%s", begin);
}

static uint64_t entry_hash(struct slice instance, const char *source, size_t source_n,
                           enum cause cause)
{
    struct hash128 h = hash_device(instance, slice_make(source, source_n));
    uint64_t v = h.lo ^ ((uint64_t)cause * 0x9e3779b97f4a7c15u);
    return v == 0 ? 1 : v;
}

/* The slot that holds `hash`, or the free one where it would go. */
static struct entry *find_slot(struct collapse *c, uint64_t hash)
{
    size_t i = hash & (SLOTS - 1);
    while (c->slots[i].hash != 0 && c->slots[i].hash != hash) {
        i = (i + 1) & (SLOTS - 1);
    }
    return &c->slots[i];
}

static void entry_start(struct entry *e, uint64_t minute)
{
    e->minute = minute;
    e->passed = 0;
    e->count = 0;
    e->mixed = false;
    e->dirty = false;
}

/* Takes entries out that a new minute made useless, so that probing stays short. */
static void purge(struct collapse *c)
{
    struct entry *kept = mem_new(SLOTS, sizeof *kept);
    uint32_t n = 0;
    for (size_t i = 0; i < SLOTS; i++) {
        struct entry *e = &c->slots[i];
        if (e->hash != 0 && (e->count > 0 || e->minute >= c->minute)) {
            kept[n++] = *e;
        } else {
            free(e->sample);
        }
    }
    memset(c->slots, 0, sizeof c->slots);
    for (uint32_t i = 0; i < n; i++) {
        *find_slot(c, kept[i].hash) = kept[i];
    }
    c->used = n;
    free(kept);
}

static struct entry *entry_of(struct collapse *c, const struct record *r)
{
    char source[COLLAPSE_SOURCE_MAX];
    size_t n = collapse_source(r->peer, source);
    uint64_t hash = entry_hash(r->instance, source, n, r->cause);
    struct entry *e = find_slot(c, hash);
    if (e->hash == 0 && c->used >= COLLAPSE_SOURCES) {
        n = (size_t)snprintf(source, sizeof source, "other");
        hash = entry_hash(slice_make(NULL, 0), source, n, r->cause);
        e = find_slot(c, hash);
    }
    if (e->hash == 0) {
        e->hash = hash;
        memcpy(e->source, source, n + 1);
        e->source_n = n;
        entry_start(e, c->minute);
        c->used++;
    }
    return e;
}

static void take_sample(struct entry *e, const struct record *r)
{
    e->sample = mem_realloc(e->sample, record_size(r));
    e->sample_n = record_encode(r, e->sample);
    e->first_us = e->last_us = r->time_us;
}

static void entry_count(struct collapse *c, struct entry *e, const struct record *r)
{
    if (e->count++ == 0) {
        c->counting++;
        take_sample(e, r);
    } else {
        struct record first;
        bool good = record_decode(slice_make(e->sample, e->sample_n), &first) == 0;
        e->mixed = e->mixed || !good || !slice_eq(first.client_id, r->client_id);
    }
    e->first_us = r->time_us < e->first_us ? r->time_us : e->first_us;
    e->last_us = r->time_us > e->last_us ? r->time_us : e->last_us;
    e->dirty = true;
}

bool collapse_take(struct collapse *c, const struct record *r)
{
    uint64_t minute = r->time_us / MINUTE_US;
    if (minute > c->minute) {
        c->minute = minute;
        purge(c);
    }
    struct entry *e = entry_of(c, r);
    if (minute > e->minute && e->count == 0) {
        entry_start(e, minute);
    }
    if (e->passed < COLLAPSE_ROWS && e->count == 0) {
        e->passed++;
        return true;
    }
    entry_count(c, e, r);
    return false;
}

static void entry_key(const struct entry *e, uint8_t key[KEY_BYTES])
{
    memcpy(key, COLLAPSE_PREFIX, 9);
    put_be64(key + 9, e->hash);
    put_be64(key + 17, e->minute);
}

/* The row that stands for what was counted; slices point into `e`, `ev` and `text`. */
static bool entry_row(const struct entry *e, struct evidence *ev, char source[COLLAPSE_SOURCE_MAX],
                      struct record *out)
{
    if (record_decode(slice_make(e->sample, e->sample_n), out) < 0) {
        return false;
    }
    evidence_init(ev);
    evidence_u64(ev, EV_COUNT, e->count);
    evidence_u64(ev, EV_FIRST_TIME, e->first_us);
    evidence_u64(ev, EV_LAST_TIME, e->last_us);
    out->flags |= RECORD_COLLAPSED;
    if (e->mixed) {
        char text[160];
        int n = out->client_id.n > 96 ? 96 : (int)out->client_id.n;
        (void)snprintf(text, sizeof text, "of several client IDs, the first was %.*s", n,
                       (const char *)out->client_id.p);
        evidence_str(ev, EV_TEXT, text);
        out->client_id = slice_make(NULL, 0);
        out->flags |= RECORD_UNIDENTIFIED;
    }
    if (ev->n + out->detail.n <= EVIDENCE_MAX) {
        memcpy(ev->bytes + ev->n, out->detail.n > 0 ? out->detail.p : ev->bytes, out->detail.n);
        ev->n = (uint16_t)(ev->n + out->detail.n);
    }
    out->detail = slice_make(ev->bytes, ev->n);
    out->time_us = e->last_us;
    memset(out->channel, 0, sizeof out->channel);
    memcpy(source, e->source, e->source_n + 1);
    out->peer = slice_make(source, e->source_n);
    return true;
}

static uint8_t *deleted_room(struct collapse *c)
{
    if (c->deleted_n == c->deleted_cap) {
        c->deleted_cap = c->deleted_cap == 0 ? 16 : c->deleted_cap * 2;
        c->deleted = mem_realloc(c->deleted, c->deleted_cap * sizeof *c->deleted);
    }
    return c->deleted[c->deleted_n++];
}

void collapse_delete(struct collapse *c, struct slice key)
{
    if (key.n == KEY_BYTES) {
        memcpy(deleted_room(c), key.p, KEY_BYTES);
    }
}

bool collapse_pop(struct collapse *c, uint64_t now_us, struct record *out)
{
    uint64_t minute = now_us == UINT64_MAX ? UINT64_MAX : now_us / MINUTE_US;
    for (size_t i = 0; c->counting > 0 && i < SLOTS; i++) {
        struct entry *e = &c->slots[i];
        if (e->hash == 0 || e->count == 0 || e->minute >= minute) {
            continue;
        }
        bool good = entry_row(e, &c->evidence, c->row_source, out);
        entry_key(e, deleted_room(c));
        free(c->row_bytes);
        c->row_bytes = e->sample; /* the row's slices point into it */
        e->sample = NULL;
        entry_start(e, c->minute);
        c->counting--;
        if (good) {
            return true;
        }
    }
    return false;
}

uint64_t collapse_due_us(const struct collapse *c)
{
    uint64_t due = 0;
    for (size_t i = 0; c->counting > 0 && i < SLOTS; i++) {
        const struct entry *e = &c->slots[i];
        if (e->count > 0 && (due == 0 || (e->minute + 1) * MINUTE_US < due)) {
            due = (e->minute + 1) * MINUTE_US;
        }
    }
    return due;
}

static void save_entry(const struct entry *e, struct store_batch *b, struct store_cf *meta)
{
    struct evidence ev;
    struct record r;
    char source[COLLAPSE_SOURCE_MAX];
    if (!entry_row(e, &ev, source, &r)) {
        return;
    }
    uint8_t *value = mem_alloc(record_size(&r));
    uint8_t key[KEY_BYTES];
    entry_key(e, key);
    store_batch_put(b, meta, slice_make(key, sizeof key),
                    slice_make(value, record_encode(&r, value)));
    free(value);
}

void collapse_save(const struct collapse *c, struct store_batch *b, struct store_cf *meta)
{
    for (size_t i = 0; i < c->deleted_n; i++) {
        store_batch_delete(b, meta, slice_make(c->deleted[i], KEY_BYTES));
    }
    for (size_t i = 0; c->counting > 0 && i < SLOTS; i++) {
        if (c->slots[i].count > 0 && c->slots[i].dirty) {
            save_entry(&c->slots[i], b, meta);
        }
    }
}

void collapse_saved(struct collapse *c)
{
    c->deleted_n = 0;
    for (size_t i = 0; c->counting > 0 && i < SLOTS; i++) {
        c->slots[i].dirty = false;
    }
}
