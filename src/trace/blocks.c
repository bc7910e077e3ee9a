/*
 * Journal and device blocks as bytes. All integers are little-endian but those in keys.
 *
 * journal value  version 1 | flags 1 | count 2 | unidentified 2 | raw 4 | first seq 8 | min 8 | max 8 |
 *                instance hash 8 | payload (zstd when BLOCK_ZSTD)
 * device value   version 1 | flags 1 | count 2 | instance n 2 | client n 2 | first seq 8 | min 8 | max 8 |
 *                instance | client ID | payload (the engine packs its own blocks: not packed twice)
 */
#include "trace/blocks.h"

#include <assert.h>
#include <stdlib.h>
#include <zstd.h>

#include "base/bytes.h"
#include "base/mem.h"

enum { JOURNAL_HEAD = 42, DEVICE_HEAD = 32 };

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
    assert(h->instance.n <= UINT16_MAX && h->client_id.n <= UINT16_MAX);
    uint8_t *at = buf_reserve(out, DEVICE_HEAD);
    at[0] = BLOCK_VERSION;
    at[1] = 0;
    put_le16(at + 2, h->count);
    put_le16(at + 4, (uint16_t)h->instance.n);
    put_le16(at + 6, (uint16_t)h->client_id.n);
    put_le64(at + 8, h->first_seq);
    put_le64(at + 16, h->min_us);
    put_le64(at + 24, h->max_us);
    buf_commit(out, DEVICE_HEAD);
    buf_put_slice(out, h->instance);
    buf_put_slice(out, h->client_id);
    buf_put_slice(out, payload);
}

int block_device_decode(struct slice value, struct block_head *h, struct slice *payload)
{
    if (value.n < DEVICE_HEAD || value.p[0] != BLOCK_VERSION) {
        return -1;
    }
    const uint8_t *at = value.p;
    size_t instance_n = get_le16(at + 4);
    size_t client_n = get_le16(at + 6);
    if (value.n < DEVICE_HEAD + instance_n + client_n) {
        return -1;
    }
    *h = (struct block_head){.count = get_le16(at + 2),
                             .first_seq = get_le64(at + 8),
                             .min_us = get_le64(at + 16),
                             .max_us = get_le64(at + 24),
                             .instance = slice_make(at + DEVICE_HEAD, instance_n),
                             .client_id = slice_make(at + DEVICE_HEAD + instance_n, client_n)};
    *payload = slice_from(value, DEVICE_HEAD + instance_n + client_n);
    return 0;
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
