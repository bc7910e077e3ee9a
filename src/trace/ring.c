/*
 * The ring in its file (numbers in the machine's own order: the file never leaves it):
 *
 *   offset
 *        0   magic u64, version u32, bytes u32, epoch u64
 *       64   head u64    written by the loop
 *      128   tail u64    written by the commit thread
 *     4096   RING_BYTES of entries, each at a multiple of 8:
 *              size u32, record, padding to 8      a record
 *              0xffffffff                          skip to the start: the next record did not fit before the end
 *
 * Invariants: tail <= head <= tail + RING_BYTES, both multiples of 8; a position's place is its remainder by
 * RING_BYTES; an entry never crosses the end. Head moves once per record, after its bytes (and the skip before
 * them) are written: whoever dies in between leaves nothing. What a file holds is checked entry by entry when it
 * is opened, so that the readers may trust it.
 * Pages are allocated when the file is made, so that a full /dev/shm is an error there and no signal later.
 */
#include "trace/ring.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define RING_MAGIC UINT64_C(0x31676e6952514d54) /* "TMQRing1" */
#define SKIP UINT32_MAX
enum {
    RING_VERSION = 1,
    DATA_OFFSET = 4096,
    FILE_BYTES = DATA_OFFSET + RING_BYTES,
    SIZE_BYTES = 4
};

struct ring_file {
    uint64_t magic;
    uint32_t version, bytes;
    uint64_t epoch;
    _Alignas(64) _Atomic uint64_t head;
    _Alignas(64) _Atomic uint64_t tail;
};

static_assert((RING_BYTES & (RING_BYTES - 1)) == 0, "a power of two");
static_assert(sizeof(struct ring_file) <= DATA_OFFSET, "the header fits before the data");
static_assert(ATOMIC_LLONG_LOCK_FREE == 2, "positions are shared between processes");

struct ring {
    struct ring_file *f;
    uint8_t *data;
    char *path;
    uint64_t
        known_tail; /* the loop's: the tail as last read, to leave the other's cache line alone */
};

static uint64_t entry_bytes(size_t record)
{
    return (SIZE_BYTES + (uint64_t)record + 7) & ~UINT64_C(7);
}

static size_t place(uint64_t pos)
{
    return (size_t)(pos & (RING_BYTES - 1));
}

static uint32_t size_at(const struct ring *r, uint64_t pos)
{
    uint32_t n;
    memcpy(&n, r->data + place(pos), sizeof n);
    return n;
}

static void set_size_at(struct ring *r, uint64_t pos, uint32_t n)
{
    memcpy(r->data + place(pos), &n, sizeof n);
}

/* ---- open and close ---- */

/* Every entry from tail to head is one that ring_emit() may have written. */
static bool entries_valid(const struct ring *r)
{
    uint64_t pos = atomic_load(&r->f->tail);
    uint64_t head = atomic_load(&r->f->head);
    if (pos > head || head - pos > RING_BYTES || pos % 8 != 0 || head % 8 != 0) {
        return false;
    }
    while (pos < head) {
        uint32_t n = size_at(r, pos);
        uint64_t room = RING_BYTES - place(pos);
        uint64_t step = n == SKIP ? room : entry_bytes(n);
        if ((n != SKIP && (n == 0 || n > RECORD_MAX)) || step > room || step > head - pos ||
            (n == SKIP && place(pos) == 0)) {
            return false;
        }
        pos += step;
    }
    return true;
}

static bool header_valid(const struct ring_file *f)
{
    return f->magic == RING_MAGIC && f->version == RING_VERSION && f->bytes == RING_BYTES;
}

/* A whole ring appears under its name at once, or not at all. */
static int make_file(const char *path)
{
    char tmp[4096];
    if ((size_t)snprintf(tmp, sizeof tmp, "%s.tmp", path) >= sizeof tmp) {
        return -ENAMETOOLONG;
    }
    struct ring_file f = {.magic = RING_MAGIC, .version = RING_VERSION, .bytes = RING_BYTES};
    if (getrandom(&f.epoch, sizeof f.epoch, 0) != (ssize_t)sizeof f.epoch) {
        return -EIO;
    }
    (void)unlink(tmp);
    int fd = open(tmp, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = -posix_fallocate(fd, 0, FILE_BYTES);
    if (rc == 0 && pwrite(fd, &f, sizeof f, 0) != (ssize_t)sizeof f) {
        rc = -EIO;
    }
    if (rc == 0 && rename(tmp, path) < 0) {
        rc = -errno;
    }
    if (rc < 0) {
        (void)unlink(tmp);
    }
    (void)close(fd);
    return rc;
}

/* A file of ours has our owner and exactly our size; /dev/shm is everybody's. */
static int open_file(const char *path)
{
    int fd = open(path, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) {
        return errno == ELOOP ? -EPROTO : -errno;
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() ||
        st.st_size != FILE_BYTES) {
        (void)close(fd);
        return -EPROTO;
    }
    return fd;
}

int ring_open(struct ring **out, const char *path, bool create)
{
    int fd = open_file(path);
    if (fd == -ENOENT && create) {
        int rc = make_file(path);
        if (rc < 0) {
            return rc;
        }
        fd = open_file(path);
    }
    if (fd < 0) {
        return fd;
    }
    void *p = mmap(NULL, FILE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    int rc = p == MAP_FAILED ? -errno : 0;
    (void)close(fd);
    if (rc < 0) {
        return rc;
    }
    struct ring *r = mem_new(1, sizeof *r);
    r->f = p;
    r->data = (uint8_t *)p + DATA_OFFSET;
    r->path = mem_strndup(path, strlen(path));
    if (!header_valid(r->f) || !entries_valid(r)) {
        ring_close(r, false);
        return -EPROTO;
    }
    r->known_tail = atomic_load(&r->f->tail);
    *out = r;
    return 0;
}

void ring_close(struct ring *r, bool unlink_file)
{
    if (r == NULL) {
        return;
    }
    (void)munmap(r->f, FILE_BYTES);
    if (unlink_file) {
        (void)unlink(r->path);
    }
    free(r->path);
    free(r);
}

uint64_t ring_epoch(const struct ring *r)
{
    return r->f->epoch;
}

/* ---- the loop ---- */

static bool has_room(struct ring *r, uint64_t end)
{
    if (end - r->known_tail <= RING_BYTES) {
        return true;
    }
    r->known_tail = atomic_load_explicit(&r->f->tail, memory_order_acquire);
    return end - r->known_tail <= RING_BYTES;
}

bool ring_emit(struct ring *r, const struct record *rec)
{
    uint64_t head = atomic_load_explicit(&r->f->head, memory_order_relaxed);
    uint64_t need = entry_bytes(record_size(rec));
    uint64_t to_end = RING_BYTES - place(head);
    uint64_t at = need <= to_end ? head : head + to_end;
    if (!has_room(r, at + need)) {
        return false;
    }
    if (at != head) {
        set_size_at(r, head, SKIP);
    }
    size_t n = record_encode(rec, r->data + place(at) + SIZE_BYTES);
    set_size_at(r, at, (uint32_t)n);
    atomic_store_explicit(&r->f->head, at + entry_bytes(n), memory_order_release);
    return true;
}

/* ---- the commit thread ---- */

bool ring_next(const struct ring *r, uint64_t *pos, struct slice *bytes)
{
    uint64_t head = atomic_load_explicit(&r->f->head, memory_order_acquire);
    if (*pos == head) {
        return false;
    }
    uint64_t at = *pos;
    if (size_at(r, at) == SKIP) {
        at += RING_BYTES - place(at);
    }
    uint32_t n = size_at(r, at);
    assert(at < head && n > 0 && n <= RECORD_MAX);
    *bytes = slice_make(r->data + place(at) + SIZE_BYTES, n);
    *pos = at + entry_bytes(n);
    return true;
}

uint64_t ring_tail(const struct ring *r)
{
    return atomic_load_explicit(&r->f->tail, memory_order_acquire);
}

uint64_t ring_head(const struct ring *r)
{
    return atomic_load_explicit(&r->f->head, memory_order_acquire);
}

void ring_release(struct ring *r, uint64_t pos)
{
    assert(pos >= atomic_load_explicit(&r->f->tail, memory_order_relaxed) && pos <= ring_head(r));
    atomic_store_explicit(&r->f->tail, pos, memory_order_release);
}
