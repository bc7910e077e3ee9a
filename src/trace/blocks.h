/*
 * Blocks: up to 256 records of one commit (journal) or up to 64 of one device, with a header that answers
 * "how many, from when to when" without decoding them. Pure. Byte tables: docs/trace-format.md.
 *
 * Invariant: the payload is a sequence of u16 length and record bytes (journal), or of packed records; in seq order.
 */
#ifndef TMQ_TRACE_BLOCKS_H
#define TMQ_TRACE_BLOCKS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/hash.h"
#include "base/slice.h"
#include "trace/record.h"

enum {
    BLOCK_VERSION = 1,
    BLOCK_DEVICE_VERSION = 2,  /* 1 is read, too */
    BLOCK_RECORDS = 256,       /* of a journal block, at most */
    BLOCK_BYTES = 96 << 10,    /* of its payload, at most */
    BLOCK_DEVICE_RECORDS = 64, /* of a device block, at most */
    BLOCK_DEVICE_BYTES = 32 << 10,
    BLOCK_KEY_BYTES = 24,       /* of a device block: hash128 | last seq */
    BLOCK_JOURNAL_KEY_BYTES = 8 /* first seq */
};

enum block_flag { BLOCK_ZSTD = 1 };

struct block_head {
    uint8_t flags;
    uint16_t count;
    uint64_t first_seq, last_seq; /* last_seq of a device block stands in its key only */
    uint64_t min_us, max_us;
    /* journal */
    uint16_t unidentified;  /* records without a client ID (gaps among them) */
    uint64_t instance_hash; /* of the instance of all its records, 0 = several */
    uint32_t raw_bytes;     /* of the payload, unpacked */
    /* device */
    uint64_t first_us;                /* time of the first record */
    struct slice instance, client_id; /* of all its records */
    bool unpacked;                    /* version 1 */
};

/* Appends a journal block's value to `out`; the payload is packed when that makes it smaller. */
struct block_packer;
struct block_packer *block_packer_new(void);
void block_packer_free(struct block_packer *p);
void block_journal_encode(struct block_packer *p, const struct block_head *h, struct slice payload,
                          struct buf *out);
/* Decodes the header of a journal block; *payload is as stored. -1: not one of this version. */
int block_journal_decode(struct slice value, struct block_head *h, struct slice *payload)
    __attribute__((warn_unused_result));
/* The payload unpacked, in `scratch` or where it stands; -1 when it is damaged. */
int block_journal_unpack(struct block_packer *p, const struct block_head *h, struct slice payload,
                         struct buf *scratch, struct slice *out)
    __attribute__((warn_unused_result));

/* Appends a device block's value to `out`. Its records are packed, each behind the one before, the first behind
 * block_device_start(). */
void block_device_encode(const struct block_head *h, struct slice payload, struct buf *out);
int block_device_decode(struct slice value, struct block_head *h, struct slice *payload)
    __attribute__((warn_unused_result));
struct record block_device_start(const struct block_head *h);
/* The records of a decoded block, with its names; fewer than h->count when it is damaged. Slices point into the block. */
size_t block_device_records(const struct block_head *h, struct slice payload,
                            struct record out[BLOCK_DEVICE_RECORDS]);

/* The next record's bytes of a journal block's payload; false at its end or where it is damaged. */
bool block_next(struct slice *rest, struct slice *record);

void block_device_key(struct hash128 h, uint64_t last_seq, uint8_t out[BLOCK_KEY_BYTES]);

/* The watermark of a segment's family: what it holds. Its key is behind all devices'. */
struct block_mark {
    uint64_t seq;            /* all records up to here are in the family, or passed it */
    uint64_t count;          /* of records in it */
    uint64_t min_us, max_us; /* of them; min > max: none */
};
enum { BLOCK_MARK_BYTES = 33 };
struct slice block_mark_key(void);
void block_mark_encode(const struct block_mark *m, uint8_t out[BLOCK_MARK_BYTES]);
int block_mark_decode(struct slice value, struct block_mark *m) __attribute__((warn_unused_result));

#endif
