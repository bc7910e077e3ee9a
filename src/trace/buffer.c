/*
 * The RAM buffer's memory:
 *
 *   chunks   1 MiB each: u16 length | record | u16 length | record …   (what a journal block's payload is)
 *   entries  one per record: where its bytes are, the device's record before it
 *   devices  one per device: its hash, its newest record, the next device of the same bucket
 *   buckets  open hashing by the device's hash
 *
 * All are fixed pieces reached by arrays of pointers that never grow, so that readers need no lock: whatever a
 * reader can reach was written before the release store (bucket head, `newest`, `visible`) that it came by.
 * Why not a table of devices over all buffers: a flush would have to take its part out under the readers.
 */
#include "trace/buffer.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "base/bytes.h"
#include "base/mem.h"

enum {
    CHUNK_SHIFT = 20,
    MAX_CHUNKS = 4096, /* offsets are 32 bits */
    ENTRY_SHIFT = 16,
    ENTRIES = 1 << ENTRY_SHIFT,
    MAX_ENTRY_PIECES = 1024,
    DEVICE_SHIFT = 14,
    DEVICES = 1 << DEVICE_SHIFT,
    MAX_DEVICE_PIECES = 4096,
    BYTES_PER_BUCKET = 256,
    AHEAD = 8 /* records whose bucket is on its way while one is indexed */
};

struct entry {
    uint32_t offset;
    uint32_t before;
};

struct device {
    struct hash128 hash;
    _Atomic uint32_t newest;
    uint32_t next; /* device + 1; 0 = end */
};

struct buffer {
    _Atomic unsigned refs;
    _Atomic uint32_t visible;
    _Atomic uint32_t device_count;
    _Atomic uint64_t bytes;
    uint64_t segment_seq;
    uint64_t first_seq, capacity;
    struct buffer_spare *spare;
    /* writer only */
    uint32_t staged; /* records, visible ones included */
    uint32_t used;   /* offset where the next record goes */
    uint32_t used_published;
    struct hash128 *staged_hash; /* of records visible … staged - 1 */
    bool *staged_indexed;
    uint32_t staged_cap;
    /* shared */
    uint32_t bucket_mask;
    size_t bucket_bytes;
    _Atomic uint32_t *buckets;
    uint8_t *chunks[MAX_CHUNKS];
    struct entry *entries[MAX_ENTRY_PIECES];
    struct device *devices[MAX_DEVICE_PIECES];
};

static uint32_t bucket_count(uint64_t capacity)
{
    uint32_t n = 64;
    while (n < capacity / BYTES_PER_BUCKET && n < 1u << 24) {
        n *= 2;
    }
    return n;
}

/* Zeroed memory that costs nothing until it is touched. */
static void *map_zero(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) {
        abort();
    }
    return p;
}

static struct buffer *buffer_map(uint64_t capacity_bytes)
{
    struct buffer *b = mem_new(1, sizeof *b);
    b->capacity = capacity_bytes;
    uint32_t n = bucket_count(capacity_bytes);
    b->bucket_mask = n - 1;
    b->bucket_bytes = n * sizeof *b->buckets;
    b->buckets = map_zero(b->bucket_bytes);
    return b;
}

/* Its memory stays, what it held is gone. */
static void buffer_clear(struct buffer *b)
{
    atomic_store_explicit(&b->visible, 0, memory_order_relaxed);
    atomic_store_explicit(&b->device_count, 0, memory_order_relaxed);
    atomic_store_explicit(&b->bytes, 0, memory_order_relaxed);
    b->staged = b->used = b->used_published = 0;
    memset(b->buckets, 0, b->bucket_bytes);
}

static void buffer_free(struct buffer *b)
{
    if (b == NULL) {
        return;
    }
    for (size_t i = 0; i < MAX_CHUNKS && b->chunks[i] != NULL; i++) {
        free(b->chunks[i]);
    }
    for (size_t i = 0; i < MAX_ENTRY_PIECES && b->entries[i] != NULL; i++) {
        free(b->entries[i]);
    }
    for (size_t i = 0; i < MAX_DEVICE_PIECES && b->devices[i] != NULL; i++) {
        free(b->devices[i]);
    }
    (void)munmap(b->buckets, b->bucket_bytes);
    free(b->staged_hash);
    free(b->staged_indexed);
    free(b);
}

void buffer_spare_fini(struct buffer_spare *s)
{
    buffer_free(atomic_exchange(&s->b, NULL));
}

struct buffer *buffer_new(struct buffer_spare *spare, uint64_t segment_seq, uint64_t first_seq,
                          uint64_t capacity_bytes)
{
    struct buffer *b = atomic_exchange(&spare->b, NULL);
    if (b != NULL && b->capacity == capacity_bytes) {
        buffer_clear(b);
    } else {
        buffer_free(b);
        b = buffer_map(capacity_bytes);
    }
    b->spare = spare;
    b->segment_seq = segment_seq;
    b->first_seq = first_seq;
    atomic_init(&b->refs, 1);
    return b;
}

struct buffer *buffer_ref(struct buffer *b)
{
    unsigned before = atomic_fetch_add_explicit(&b->refs, 1, memory_order_relaxed);
    assert(before > 0);
    return b;
}

void buffer_unref(struct buffer *b)
{
    if (b != NULL && atomic_fetch_sub_explicit(&b->refs, 1, memory_order_acq_rel) == 1) {
        buffer_free(atomic_exchange(&b->spare->b, b));
    }
}

uint64_t buffer_segment(const struct buffer *b)
{
    return b->segment_seq;
}

uint64_t buffer_first_seq(const struct buffer *b)
{
    return b->first_seq;
}

uint64_t buffer_bytes(const struct buffer *b)
{
    return atomic_load_explicit(&b->bytes, memory_order_relaxed);
}

bool buffer_full(const struct buffer *b)
{
    return buffer_bytes(b) >= b->capacity || b->staged >= (MAX_ENTRY_PIECES - 2) * ENTRIES ||
           b->used >> CHUNK_SHIFT >= MAX_CHUNKS - 64;
}

/* ---- writer ---- */

uint8_t *buffer_reserve(struct buffer *b, size_t n)
{
    assert(n + 2 <= BUFFER_CHUNK && n <= UINT16_MAX);
    uint32_t at = b->used & (BUFFER_CHUNK - 1);
    if (at + n + 2 > BUFFER_CHUNK) {
        b->used = ((b->used >> CHUNK_SHIFT) + 1) << CHUNK_SHIFT;
        at = 0;
    }
    uint32_t c = b->used >> CHUNK_SHIFT;
    assert(c < MAX_CHUNKS);
    if (b->chunks[c] == NULL) {
        b->chunks[c] = mem_alloc(BUFFER_CHUNK);
    }
    return b->chunks[c] + at + 2;
}

static struct entry *entry_at(const struct buffer *b, uint32_t i)
{
    return &b->entries[i >> ENTRY_SHIFT][i & (ENTRIES - 1)];
}

static struct device *device_at(const struct buffer *b, uint32_t i)
{
    return &b->devices[i >> DEVICE_SHIFT][i & (DEVICES - 1)];
}

static void staged_room(struct buffer *b, uint32_t n)
{
    if (n >= b->staged_cap) {
        b->staged_cap = b->staged_cap == 0 ? 1024 : b->staged_cap * 2;
        b->staged_hash = mem_realloc(b->staged_hash, b->staged_cap * sizeof *b->staged_hash);
        b->staged_indexed =
            mem_realloc(b->staged_indexed, b->staged_cap * sizeof *b->staged_indexed);
    }
}

const uint8_t *buffer_stage(struct buffer *b, size_t n, struct hash128 h, bool indexed, bool *moved)
{
    uint32_t i = b->staged++;
    uint32_t piece = i >> ENTRY_SHIFT;
    assert(piece < MAX_ENTRY_PIECES);
    if (b->entries[piece] == NULL) {
        b->entries[piece] = mem_alloc(ENTRIES * sizeof(struct entry));
    }
    uint32_t visible = atomic_load_explicit(&b->visible, memory_order_relaxed);
    staged_room(b, i - visible);
    b->staged_hash[i - visible] = h;
    b->staged_indexed[i - visible] = indexed;
    *entry_at(b, i) = (struct entry){.offset = b->used, .before = BUFFER_NONE};
    *moved = (b->used & (BUFFER_CHUNK - 1)) == 0;
    uint8_t *at = b->chunks[b->used >> CHUNK_SHIFT] + (b->used & (BUFFER_CHUNK - 1));
    put_le16(at, (uint16_t)n);
    b->used += (uint32_t)n + 2;
    return at;
}

static uint32_t bucket_of(const struct buffer *b, struct hash128 h)
{
    return (uint32_t)h.lo & b->bucket_mask;
}

static uint32_t find_device(const struct buffer *b, struct hash128 h)
{
    uint32_t at = atomic_load_explicit(&b->buckets[bucket_of(b, h)], memory_order_acquire);
    while (at != 0) {
        const struct device *d = device_at(b, at - 1);
        if (d->hash.hi == h.hi && d->hash.lo == h.lo) {
            return at - 1;
        }
        at = d->next;
    }
    return BUFFER_NONE;
}

static void add_device(struct buffer *b, struct hash128 h, uint32_t newest)
{
    uint32_t i = atomic_load_explicit(&b->device_count, memory_order_relaxed);
    uint32_t piece = i >> DEVICE_SHIFT;
    assert(piece < MAX_DEVICE_PIECES);
    if (b->devices[piece] == NULL) {
        b->devices[piece] = mem_alloc(DEVICES * sizeof(struct device));
    }
    struct device *d = device_at(b, i);
    _Atomic uint32_t *head = &b->buckets[bucket_of(b, h)];
    d->hash = h;
    d->next = atomic_load_explicit(head, memory_order_relaxed);
    atomic_init(&d->newest, newest);
    atomic_store_explicit(head, i + 1, memory_order_release);
    atomic_store_explicit(&b->device_count, i + 1, memory_order_release);
}

static void index_record(struct buffer *b, uint32_t i, struct hash128 h)
{
    uint32_t at = find_device(b, h);
    if (at == BUFFER_NONE) {
        add_device(b, h, i);
        return;
    }
    struct device *d = device_at(b, at);
    entry_at(b, i)->before = atomic_load_explicit(&d->newest, memory_order_relaxed);
    atomic_store_explicit(&d->newest, i, memory_order_release);
}

static uint64_t count_bytes(const struct buffer *b)
{
    return (uint64_t)b->used + (uint64_t)b->staged * sizeof(struct entry) +
           atomic_load_explicit(&b->device_count, memory_order_relaxed) *
               (sizeof(struct device) + sizeof *b->buckets);
}

void buffer_publish(struct buffer *b)
{
    uint32_t visible = atomic_load_explicit(&b->visible, memory_order_relaxed);
    for (uint32_t i = visible; i < b->staged; i++) {
        if (i + AHEAD < b->staged) {
            __builtin_prefetch(&b->buckets[bucket_of(b, b->staged_hash[i + AHEAD - visible])]);
        }
        if (b->staged_indexed[i - visible]) {
            index_record(b, i, b->staged_hash[i - visible]);
        }
    }
    b->used_published = b->used;
    atomic_store_explicit(&b->bytes, count_bytes(b), memory_order_relaxed);
    atomic_store_explicit(&b->visible, b->staged, memory_order_release);
}

void buffer_unstage(struct buffer *b)
{
    b->staged = atomic_load_explicit(&b->visible, memory_order_relaxed);
    b->used = b->used_published;
}

/* ---- readers ---- */

uint32_t buffer_visible(const struct buffer *b)
{
    return atomic_load_explicit(&b->visible, memory_order_acquire);
}

struct slice buffer_record(const struct buffer *b, uint32_t i)
{
    uint32_t off = entry_at(b, i)->offset;
    const uint8_t *at = b->chunks[off >> CHUNK_SHIFT] + (off & (BUFFER_CHUNK - 1));
    return slice_make(at + 2, get_le16(at));
}

void buffer_bring_near(const struct buffer *b, const uint32_t rows[BUFFER_NEAR], uint32_t n)
{
    const uint8_t *at[BUFFER_NEAR];
    for (uint32_t i = 0; i < n; i++) {
        uint32_t off = entry_at(b, rows[i])->offset;
        at[i] = b->chunks[off >> CHUNK_SHIFT] + (off & (BUFFER_CHUNK - 1));
    }
    for (uint32_t i = 0; i < n; i++) {
        (void)*(const volatile uint8_t *)at[i];
    }
    for (uint32_t i = 0; i < n; i++) {
        __builtin_prefetch(at[i] + 64);
        __builtin_prefetch(at[i] + 128);
    }
}

uint32_t buffer_before(const struct buffer *b, uint32_t i)
{
    return entry_at(b, i)->before;
}

uint32_t buffer_device_newest(const struct buffer *b, uint32_t device, uint32_t visible)
{
    uint32_t i = atomic_load_explicit(&device_at(b, device)->newest, memory_order_acquire);
    while (i != BUFFER_NONE && i >= visible) {
        i = buffer_before(b, i);
    }
    return i;
}

uint32_t buffer_newest(const struct buffer *b, struct hash128 h, uint32_t visible)
{
    uint32_t at = find_device(b, h);
    return at == BUFFER_NONE ? BUFFER_NONE : buffer_device_newest(b, at, visible);
}

uint32_t buffer_device_count(const struct buffer *b)
{
    return atomic_load_explicit(&b->device_count, memory_order_acquire);
}

struct hash128 buffer_device_hash(const struct buffer *b, uint32_t device)
{
    return device_at(b, device)->hash;
}
