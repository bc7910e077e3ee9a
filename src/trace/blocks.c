/*
 * Journal and device blocks as bytes. All integers are little-endian but those in keys.
 *
 * journal value  version 1 | flags 1 | count 2 | unidentified 2 | raw 4 | first seq 8 | min 8 | max 8 |
 *                instance hash 8 | payload (zstd when BLOCK_ZSTD)
 * device value   version 1 | count 1 | varints: first seq, first time, first - min, max - first, instance n, client n |
 *                instance | client ID | records, packed (pack.c); the engine compresses its own blocks: not done twice
 * … version 1    version 1 | flags 1 | count 2 | instance n 2 | client n 2 | first seq 8 | min 8 | max 8 | instance | client ID |
 *                payload as the journal's; only read: a store of that time has them until its retention
 */
#include "trace/blocks.h"

#include <assert.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/mem.h"
#include "trace/pack.h"
#include "trace/varint.h"

enum { JOURNAL_HEAD = 42, DEVICE_HEAD_MAX = 2 + 6 * VARINT_MAX, DEVICE_V1_HEAD = 32 };

struct block_packer {
    ZSTD_CCtx *c;
    ZSTD_DCtx *d;
};

struct block_packer *block_packer_new(void)
{
    struct block_packer *p = mem_new(1, sizeof *p);
    p->c = ZSTD_createCCtx();
    p->d = ZSTD_createDCtx();
    assert(p->c != NULL && p->d != NULL);
    return p;
}

void block_packer_free(struct block_packer *p)
{
    if (p != NULL) {
        (void)ZSTD_freeCCtx(p->c);
        (void)ZSTD_freeDCtx(p->d);
        free(p);
    }
}

static void journal_head(const struct block_head *h, uint8_t flags, size_t raw, uint8_t *at)
{
    at[0] = BLOCK_VERSION;
    at[1] = flags;
    put_le16(at + 2, h->count);
    put_le16(at + 4, h->unidentified);
    put_le32(at + 6, (uint32_t)raw);
    put_le64(at + 10, h->first_seq);
    put_le64(at + 18, h->min_us);
    put_le64(at + 26, h->max_us);
    put_le64(at + 34, h->instance_hash);
}

void block_journal_encode(struct block_packer *p, const struct block_head *h, struct slice payload,
                          struct buf *out)
{
    assert(payload.n > 0 && payload.n <= BLOCK_BYTES && h->count > 0);
    size_t bound = ZSTD_compressBound(payload.n);
    uint8_t *at = buf_reserve(out, JOURNAL_HEAD + bound);
    size_t n = ZSTD_compressCCtx(p->c, at + JOURNAL_HEAD, bound, payload.p, payload.n, -3);
    bool packed = !ZSTD_isError(n) && n < payload.n;
    if (!packed) {
        memcpy(at + JOURNAL_HEAD, payload.p, payload.n);
        n = payload.n;
    }
    journal_head(h, packed ? BLOCK_ZSTD : 0, payload.n, at);
    buf_commit(out, JOURNAL_HEAD + n);
}

int block_journal_decode(struct slice value, struct block_head *h, struct slice *payload)
{
    if (value.n < JOURNAL_HEAD || value.p[0] != BLOCK_VERSION) {
        return -1;
    }
    const uint8_t *at = value.p;
    *h = (struct block_head){.flags = at[1],
                             .count = get_le16(at + 2),
                             .unidentified = get_le16(at + 4),
                             .raw_bytes = get_le32(at + 6),
                             .first_seq = get_le64(at + 10),
                             .min_us = get_le64(at + 18),
                             .max_us = get_le64(at + 26),
                             .instance_hash = get_le64(at + 34)};
    if (h->count == 0 || h->raw_bytes > BLOCK_BYTES) {
        return -1;
    }
    h->last_seq = h->first_seq + h->count - 1;
    *payload = slice_from(value, JOURNAL_HEAD);
    return 0;
}

int block_journal_unpack(struct block_packer *p, const struct block_head *h, struct slice payload,
                         struct buf *scratch, struct slice *out)
{
    if ((h->flags & BLOCK_ZSTD) == 0) {
        *out = payload;
        return payload.n == h->raw_bytes ? 0 : -1;
    }
    buf_clear(scratch);
    uint8_t *at = buf_reserve(scratch, h->raw_bytes);
    size_t n = ZSTD_decompressDCtx(p->d, at, h->raw_bytes, payload.p, payload.n);
    if (ZSTD_isError(n) || n != h->raw_bytes) {
        return -1;
    }
    buf_commit(scratch, n);
    *out = buf_slice(scratch);
    return 0;
}

void block_device_encode(const struct block_head *h, struct slice payload, struct buf *out)
{
    assert(h->count > 0 && h->count <= BLOCK_DEVICE_RECORDS);
    uint8_t *at = buf_reserve(out, DEVICE_HEAD_MAX + h->instance.n + h->client_id.n + payload.n);
    uint8_t *p = at;
    *p++ = BLOCK_DEVICE_VERSION;
    *p++ = (uint8_t)h->count;
    p += varint_put(p, h->first_seq);
    p += varint_put(p, h->first_us);
    p += varint_put(p, h->first_us - h->min_us);
    p += varint_put(p, h->max_us - h->first_us);
    p += varint_put(p, h->instance.n);
    p += varint_put(p, h->client_id.n);
    buf_commit(out, (size_t)(p - at));
    buf_put_slice(out, h->instance);
    buf_put_slice(out, h->client_id);
    buf_put_slice(out, payload);
}

static int device_v1_decode(struct slice value, struct block_head *h, struct slice *payload)
{
    struct slice rest = slice_from(value, DEVICE_V1_HEAD);
    if (value.n < DEVICE_V1_HEAD) {
        return -1;
    }
    const uint8_t *at = value.p;
    *h = (struct block_head){.count = get_le16(at + 2),
                             .first_seq = get_le64(at + 8),
                             .min_us = get_le64(at + 16),
                             .max_us = get_le64(at + 24),
                             .unpacked = true};
    if (h->count == 0 || h->count > BLOCK_DEVICE_RECORDS ||
        !slice_take(&rest, get_le16(at + 4), &h->instance) ||
        !slice_take(&rest, get_le16(at + 6), &h->client_id)) {
        return -1;
    }
    *payload = rest;
    return 0;
}

int block_device_decode(struct slice value, struct block_head *h, struct slice *payload)
{
    if (value.n > 0 && value.p[0] == 1) {
        return device_v1_decode(value, h, payload);
    }
    uint64_t back;
    uint64_t ahead;
    uint64_t instance_n;
    uint64_t client_n;
    struct slice rest = slice_from(value, 2);
    if (value.n < 2 || value.p[0] != BLOCK_DEVICE_VERSION) {
        return -1;
    }
    *h = (struct block_head){.count = value.p[1]};
    if (h->count == 0 || h->count > BLOCK_DEVICE_RECORDS || !varint_take(&rest, &h->first_seq) ||
        !varint_take(&rest, &h->first_us) || !varint_take(&rest, &back) ||
        !varint_take(&rest, &ahead) || !varint_take(&rest, &instance_n) ||
        !varint_take(&rest, &client_n) || !slice_take(&rest, instance_n, &h->instance) ||
        !slice_take(&rest, client_n, &h->client_id)) {
        return -1;
    }
    h->min_us = h->first_us - back;
    h->max_us = h->first_us + ahead;
    *payload = rest;
    return 0;
}

struct record block_device_start(const struct block_head *h)
{
    return (struct record){.seq = h->first_seq, .time_us = h->first_us};
}

static bool next_record(const struct block_head *h, struct slice *payload,
                        const struct record *before, struct record *out)
{
    struct slice bytes;
    return h->unpacked ? block_next(payload, &bytes) && record_decode(bytes, out) == 0
                       : record_unpack(payload, before, out) == 0;
}

size_t block_device_records(const struct block_head *h, struct slice payload,
                            struct record out[BLOCK_DEVICE_RECORDS])
{
    struct record before = block_device_start(h);
    size_t n = 0;
    while (n < h->count && next_record(h, &payload, &before, &out[n])) {
        before = out[n];
        out[n].instance = h->instance;
        out[n].client_id = h->client_id;
        n++;
    }
    return n;
}

bool block_next(struct slice *rest, struct slice *record)
{
    if (rest->n < 2) {
        return false;
    }
    size_t n = get_le16(rest->p);
    if (n == 0 || n > rest->n - 2) {
        return false;
    }
    *record = slice_make(rest->p + 2, n);
    *rest = slice_from(*rest, 2 + n);
    return true;
}

void block_device_key(struct hash128 h, uint64_t last_seq, uint8_t out[BLOCK_KEY_BYTES])
{
    put_be64(out, h.hi);
    put_be64(out + 8, h.lo);
    put_be64(out + 16, last_seq);
}

struct slice block_mark_key(void)
{
    static const uint8_t key[BLOCK_KEY_BYTES + 1] = {
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
        0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
    };
    return slice_make(key, sizeof key);
}

void block_mark_encode(const struct block_mark *m, uint8_t out[BLOCK_MARK_BYTES])
{
    out[0] = BLOCK_VERSION;
    put_le64(out + 1, m->seq);
    put_le64(out + 9, m->count);
    put_le64(out + 17, m->min_us);
    put_le64(out + 25, m->max_us);
}

int block_mark_decode(struct slice value, struct block_mark *m)
{
    if (value.n != BLOCK_MARK_BYTES || value.p[0] != BLOCK_VERSION) {
        return -1;
    }
    *m = (struct block_mark){.seq = get_le64(value.p + 1),
                             .count = get_le64(value.p + 9),
                             .min_us = get_le64(value.p + 17),
                             .max_us = get_le64(value.p + 25)};
    return 0;
}
