/*
 * The RAM buffer: the newest committed records with an index by device.
 *
 * Threads: one writer (the commit thread), any number of readers without a lock. The writer stages records
 * (not visible), writes them to the store, then publishes them; or drops what it staged. Readers take a
 * reference and a view: the count of records published at that moment.
 *
 * Invariants: record i has seq first_seq + i; memory never moves while a reference is held; a buffer is
 * within one segment; its bytes stay near the capacity it was made with.
 */
#ifndef TMQ_TRACE_BUFFER_H
#define TMQ_TRACE_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/slice.h"
#include "trace/record.h"

struct buffer;

#define BUFFER_NONE UINT32_MAX /* no enumerator: it has to be an int */
enum { BUFFER_CHUNK = 1 << 20 };

/* Where the memory of a buffer without references waits for the next one, so that its pages are not faulted in
 * again. Any thread; it outlives the buffers made with it. Zeroed: empty. */
struct buffer_spare {
    _Atomic(struct buffer *) b;
};
void buffer_spare_fini(struct buffer_spare *s);

/* `segment_seq` names the segment its records belong to. */
struct buffer *buffer_new(struct buffer_spare *spare, uint64_t segment_seq, uint64_t first_seq,
                          uint64_t capacity_bytes);
struct buffer *buffer_ref(struct buffer *b);
void buffer_unref(struct buffer *b); /* NULL-safe */

uint64_t buffer_segment(const struct buffer *b);
uint64_t buffer_first_seq(const struct buffer *b);
uint64_t buffer_bytes(const struct buffer *b);
bool buffer_full(const struct buffer *b);

/* Writer: room for one record of at most `n` bytes (n <= RECORD_MAX + names) and its length prefix. */
uint8_t *buffer_reserve(struct buffer *b, size_t n);
/* Writer: the reserved place now holds `n` bytes of the record with the next seq of device `h`
 * (indexed: false for records that no device has). The bytes with their length prefix are contiguous with
 * the record staged before unless *moved. Returns where the prefix stands. */
const uint8_t *buffer_stage(struct buffer *b, size_t n, struct hash128 h, bool indexed,
                            bool *moved);
/* Writer: all staged records become visible / are forgotten. */
void buffer_publish(struct buffer *b);
void buffer_unstage(struct buffer *b);

/* Readers: how many records are visible now. */
uint32_t buffer_visible(const struct buffer *b);
/* Bytes of a visible (or, for the writer, staged) record. */
struct slice buffer_record(const struct buffer *b, uint32_t i);
/* The newest record of a device below `visible`, BUFFER_NONE when there is none. */
uint32_t buffer_newest(const struct buffer *b, struct hash128 h, uint32_t visible);
/* The device's record before `i`, or BUFFER_NONE. */
uint32_t buffer_before(const struct buffer *b, uint32_t i);

/* Brings up to BUFFER_NEAR records near whose places are all over the buffer: their misses overlap. A prefetch alone would
 * not do, it is dropped where the page is not known to the processor either. */
enum { BUFFER_NEAR = 16 };
void buffer_bring_near(const struct buffer *b, const uint32_t rows[BUFFER_NEAR], uint32_t n);

/* Devices in the order of their first record: 0 … buffer_device_count() - 1. */
uint32_t buffer_device_count(const struct buffer *b);
struct hash128 buffer_device_hash(const struct buffer *b, uint32_t device);
/* Newest record of device number `device` below `visible`. */
uint32_t buffer_device_newest(const struct buffer *b, uint32_t device, uint32_t visible);

#endif
