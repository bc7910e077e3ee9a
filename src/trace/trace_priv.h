/*
 * What the files of the trace share. Who may touch what:
 *
 *   intake    any thread (atomics); a loop's own part: that loop
 *   commit    the commit thread (during trace_open(): the opening thread)
 *   sync      its lock
 *   shared    its lock, held for pointer swaps only; buffers and families are reference counted, so that
 *             queries work outside of it
 *   maintain  the maintenance thread; `busy` is held while it works on the store
 *
 * Locks are taken in this order: maintain.busy, shared.lock. sync.lock is taken alone.
 */
#ifndef TMQ_TRACE_TRACE_PRIV_H
#define TMQ_TRACE_TRACE_PRIV_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "trace/blocks.h"
#include "trace/buffer.h"
#include "trace/collapse.h"
#include "trace/trace.h"

enum {
    MAX_FROZEN = 1,
    MAX_INSTANCES = 64
}; /* fewer, larger buffers: fewer sorted runs to compact */

/* ---- intake.c: rings, jobs, waking ---- */

enum intake_sleep { INTAKE_AWAKE, INTAKE_IDLE, INTAKE_PACING };

struct intake_loop {
    _Alignas(64) struct ring *ring;
    uint64_t last_us; /* loop's own */
};

struct intake {
    struct intake_loop *loops;
    unsigned n;
    _Alignas(64) _Atomic uint32_t sleeping; /* enum intake_sleep; a futex */
    _Atomic(struct commit_job *) jobs;      /* newest first */
    _Atomic uint32_t sync_jobs;             /* submitted and not yet taken */
    _Atomic bool poked;
};

void intake_wake(struct trace *t);
/* Sleeps until woken, at most `timeout_ms` (UINT64_MAX: for ever); IDLE: any work wakes; PACING: only what
 * can't wait for the next commit. */
void intake_sleep(struct trace *t, enum intake_sleep kind, uint64_t timeout_ms);
/* All submitted jobs, oldest first. */
struct commit_job *intake_take_jobs(struct trace *t);
bool intake_has_records(const struct trace *t);

/* ---- segment.c ---- */

/* A partition of the trace by seq: journal j, device blocks d, refused and unidentified x. */
struct segment {
    uint64_t first_seq;
    struct store_cf *j, *d, *x; /* NULL: not made yet or dropped */
    struct block_mark dm, xm;   /* what d and x hold */
};

/* What a reader works on; families are referenced. */
struct segment_view {
    uint64_t first_seq;
    struct store_cf *j, *d, *x;
    struct block_mark dm, xm;
};

int segments_load(struct trace *t) __attribute__((warn_unused_result));
void segments_free(struct trace *t);
/* Appends a segment that begins at `first_seq`, with its journal. */
int segment_create(struct trace *t, uint64_t first_seq) __attribute__((warn_unused_result));
/* Under shared.lock: the segment with that first seq, NULL when it was dropped. */
struct segment *segment_find(struct trace *t, uint64_t first_seq);
/* Makes the family `kind` ('d' or 'x') when there is none yet. Maintenance thread. */
int segment_family(struct trace *t, uint64_t first_seq, char kind, struct store_cf **out)
    __attribute__((warn_unused_result));
/* Removes the oldest segment (never the newest). -ENOENT: there is only one. */
int segment_drop_oldest(struct trace *t) __attribute__((warn_unused_result));
/* Removes the oldest journal of a segment that is not the newest. */
int segment_drop_journal(struct trace *t) __attribute__((warn_unused_result));
uint64_t segments_bytes(struct trace *t);

/* ---- commit.c, outage.c, sync.c ---- */

struct staged_block {
    const uint8_t *p;
    size_t n;
    struct block_head head;
};

/* A ring being drained. */
struct source {
    struct ring *ring;
    uint64_t pos;       /* behind the last record staged */
    struct record head; /* the next record, when has_head */
    struct slice bytes; /* in the ring, what it was decoded from */
    uint64_t head_end;  /* position behind it */
    bool has_head;
};

struct gap {
    uint64_t seq;
    struct trace_gap span;
};

struct outage_entry {
    uint8_t channel[RECORD_CHANNEL_BYTES];
    struct hash128 device;
    uint8_t *bytes; /* NULL: taken out */
    uint32_t n;
    bool connect;
};

/* While the store refuses writes: what is kept of the records that could not be written (outage.c). */
struct outage {
    _Atomic bool active; /* the last write failed */
    bool dropping;       /* rings are drained into nothing */
    bool by_flush;       /* it is the RAM buffers that can't be written out */
    int error;
    unsigned tries;
    uint64_t since_ms, next_try_ms; /* monotonic */
    struct trace_gap gap;           /* of what was dropped and not yet told */
    /* endings whose connect is stored, connects whose ending has not come: in order of arrival */
    struct outage_entry *kept;
    size_t kept_n, kept_cap, kept_first;
    uint64_t kept_bytes;
    uint32_t *slots; /* by channel: index + 1 */
    size_t slot_count;
};

struct recovery;
struct status_fold;

struct commit {
    pthread_t thread;
    bool started;
    _Atomic bool stop;
    struct source *sources;
    unsigned source_n;
    uint64_t next_seq;
    uint64_t segment_seq; /* of the newest segment */
    uint64_t newest_us;
    /* staged and not yet written */
    struct staged_block *blocks;
    size_t block_n, block_cap;
    uint64_t staged_n;
    bool blocked; /* the last gather found no room in RAM */
    bool counted; /* what is staged now was counted as open or closed before */
    struct gap *gaps;
    size_t gap_n;
    /* tools */
    struct block_packer *packer;
    struct store_batch *batch;
    struct buf value;
    struct buf hashed_name; /* of the instance of the last record staged, and its hash */
    uint64_t hashed;
    struct collapse *collapse;
    struct recovery *recovery; /* during trace_open() */
    struct outage outage;
    /* time */
    uint64_t last_commit_ms, last_alive_ms, last_check_ms;
    int64_t clock_offset_us; /* wall - monotonic */
    int64_t day;             /* UTC day of the newest segment */
};

/* Stages one record: gives it its seq, encodes it into the active buffer, counts what is open. `bytes`: what it was decoded
 * from, or empty. */
void commit_stage(struct trace *t, const struct record *r, struct slice bytes);
/* Puts a gap where a restart finds it. */
void gap_put(const struct trace *t, struct store_batch *batch, const struct gap *g);
/* Room for records in the active buffer, which is frozen when full; false: none now. */
bool commit_room(struct trace *t);
/* Drains rings (merged by time) and the outage's and collapse's rows into the stage. */
void commit_gather(struct trace *t);
/* One round: gather, write, publish, give jobs back. 0, or the store's error. */
int commit_step(struct trace *t);
/* Retries at what a full disk or a latched engine stopped, as often as is sensible. */
int commit_write(struct trace *t, struct commit_job *jobs) __attribute__((warn_unused_result));
/* Begins a new segment when the day or the clock changed, or there is none. */
void commit_roll(struct trace *t, uint64_t wall_us, uint64_t mono_us);
void commit_start(struct trace *t);
void commit_stop(struct trace *t);
/* After a reopen: what the store holds beyond our own count was written after all. */
void commit_adopt(struct trace *t);

void outage_begin(struct trace *t, int error, uint64_t now_ms);
/* Before another try; true: try now. */
bool outage_try(struct trace *t, uint64_t now_ms);
void outage_end(struct trace *t);
/* Drains rings into nothing but the outage's table. */
void outage_drain(struct trace *t);
/* Stages the gap and what was kept; true: something was staged. */
bool outage_stage(struct trace *t);
bool outage_pending(const struct outage *o);
/* Under shared.lock: adds what is kept of a device to `f`, newest first; its bytes live until the lock is left. */
void outage_fold(const struct outage *o, struct hash128 device, struct status_fold *f);
void outage_fini(struct outage *o);

struct sync {
    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct commit_job *first, *last; /* waiting for an fsync */
    bool dirty, stop;
    uint64_t dirty_since_ms;
    _Atomic bool running;
    _Atomic int error; /* of the last fsync, taken by the commit thread */
    _Atomic uint64_t syncs;
};
void sync_start(struct trace *t);
/* Syncs what is dirty, then ends the thread. */
void sync_stop(struct trace *t);
/* What was just written needs an fsync within the interval; at once when `jobs` wait for it. */
void sync_add(struct trace *t, struct commit_job *jobs, bool dirty);

/* ---- shared ---- */

struct instance_count {
    struct slice name;
    uint64_t hash;
    _Atomic int64_t open;
};

struct shared {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* a buffer was frozen or flushed, stop, check */
    struct buffer *active;
    struct buffer *frozen[MAX_FROZEN]; /* oldest first */
    unsigned frozen_n;
    struct segment **segments; /* oldest first */
    size_t segment_n;
    struct gap *gaps;
    size_t gap_n;
    struct instance_count instances[MAX_INSTANCES];
    _Atomic unsigned instance_n;
    struct instance_count *last_instance; /* commit thread: counted last */
    void (*hook)(void *arg);
    void *hook_arg;
};

struct counters {
    _Atomic uint64_t visible_seq, committed, commits, dropped;
    _Atomic int64_t open;
};

/* ---- maintain.c, flush.c ---- */

struct retention {
    uint64_t last_drop_ms, last_journal_ms; /* monotonic + RETENTION_EPOCH_MS */
    uint64_t hold_until_ms;                 /* no drop before: the clock was stepped */
};
enum { RETENTION_PAUSE_MS = 3600 * 1000 };

struct maintain {
    pthread_t thread;
    bool started;
    pthread_mutex_t busy;
    bool stop, check, emergency; /* shared.lock */
    _Atomic int flush_error;
    _Atomic bool clock_stepped, want_roll;
    struct retention retention;
    uint64_t last_emergency_ms;
    bool quota_told;
};

void maintain_start(struct trace *t);
void maintain_stop(struct trace *t);
void maintain_poke(struct trace *t, bool emergency);
/* Drops what the options allow at that time: at most one segment and one journal. busy is held. */
void retention_step(struct trace *t, uint64_t wall_us, uint64_t mono_ms);
/* Writes a frozen buffer's blocks, statuses and open channels; idempotent. */
int flush_buffer(struct trace *t, const struct buffer *b) __attribute__((warn_unused_result));

/* Monotonic ms from a base that leaves room for "an hour before the machine started". */
uint64_t trace_mono_ms(void);

/* ---- status.c ---- */

struct arena;

/* A device's status as stored: online 1 | last update 8 | the record without its evidence. */
void status_encode(const struct record *r, bool online, struct buf *out);
int status_decode(struct slice value, struct slice instance, struct slice client_id,
                  struct record *r, bool *online, uint64_t *update_us)
    __attribute__((warn_unused_result));
uint64_t status_update_us(const struct record *r);
/* The key of a device's status. */
void status_key(struct slice instance, struct slice client_id, struct buf *out);

/* Folds a device's records, newest first, into its status. Slices of the records are borrowed. */
struct status_fold {
    bool done;  /* a connect was found: older records don't matter */
    bool found; /* `last` is set */
    bool online;
    struct record last;
    struct record *endings; /* newer than the connect, newest first */
    size_t ending_n, ending_cap;
};
void status_fold_init(struct status_fold *f);
void status_fold_add(struct status_fold *f, const struct record *r);
/* No more records in RAM; `stored` is the stored status, NULL: none. */
void status_fold_end(struct status_fold *f, const struct record *stored, bool stored_online);
void status_fold_fini(struct status_fold *f);
bool record_is_status(const struct record *r); /* of an accepted channel */
bool record_is_x(const struct record *r);      /* refused, unidentified, collapsed */
bool record_is_connect(const struct record *r);

/* ---- view.c: one consistent sight of RAM and store ---- */

struct buffer_view {
    struct buffer *b;
    uint32_t visible;
    uint64_t d_seq, x_seq; /* records up to here are in the store */
};

struct view {
    struct buffer_view buffers[MAX_FROZEN + 1]; /* oldest first */
    unsigned buffer_n;
    struct segment_view *segments;
    size_t segment_n;
    struct store_snap *snap;
};

/* References on buffers and families, then the snapshot, then the watermarks within it. */
int view_open(struct trace *t, struct view *v) __attribute__((warn_unused_result));
void view_close(struct trace *t, struct view *v);
/* The record of RAM is not in the store as this view sees it. */
bool view_wants(const struct buffer_view *bv, const struct record *r);
/* Folds what RAM knows of a device. */
void view_fold(const struct view *v, struct hash128 device, struct status_fold *f);
int view_status(struct trace *t, const struct view *v, struct slice instance,
                struct slice client_id, struct trace_status *out)
    __attribute__((warn_unused_result));
/* The folded status, with its slices copied into `a`; out->memory is not set. */
void status_fill(const struct status_fold *f, uint64_t update_us, struct arena *a,
                 struct trace_status *out);

/* ---- page.c: rows and the memory they live in ---- */

struct arena;
struct arena *arena_new(void);
void arena_free(struct arena *a);
void *arena_take(struct arena *a, size_t n);
struct slice arena_copy(struct arena *a, struct slice s);

struct page_build {
    struct arena *arena;
    struct record *rows;
    size_t n, cap;
};
/* Rows of a page; page_add() copies the record. */
/* A record whose slices are all copied into the arena. */
void record_copy(struct arena *a, const struct record *r, struct record *out);
void page_add(struct page_build *p, const struct record *r);
void page_finish(struct page_build *p, struct trace_page *out);
/* Does the record pass the query's filters (names, action, cause, peer, group, time)? */
bool page_match(const struct trace_query *q, const struct record *r);
bool page_unfiltered(const struct trace_query *q);
enum { TOTAL_EXACT = 10000 };

int query_device(struct trace *t, const struct trace_query *q, bool count, struct trace_page *out)
    __attribute__((warn_unused_result));
int query_fleet(struct trace *t, const struct trace_query *q, bool count, struct trace_page *out)
    __attribute__((warn_unused_result));

/* ---- recover.c ---- */

int recover(struct trace *t, struct store_error *err) __attribute__((warn_unused_result));
/* A record seen while recovering: it opens or ends a channel. */
void recovery_note(struct recovery *r, const struct record *rec, struct slice bytes);
/* Loads journal blocks from seq `from` into RAM. */
int recovery_replay(struct trace *t, uint64_t from) __attribute__((warn_unused_result));

/* What trace_set_limits() changes; read by any thread. */
struct live_limits {
    _Atomic uint64_t fsync_interval_ms, retention_ms, fleet_retention_ms, retention_bytes;
    _Atomic uint64_t max_range_ms;
};

struct trace {
    struct store *store;
    struct store_cf *meta;
    struct trace_options opt; /* but its limits */
    struct live_limits limits;
    char *node, *ring_dir;
    struct intake intake;
    struct commit commit;
    struct sync sync;
    struct shared shared;
    struct buffer_spare spare;
    struct counters counters;
    struct maintain maintain;
};

/* trace.c */
void trace_count_open(struct trace *t, const struct record *r);
/* Puts the active buffer (not empty) to the frozen ones; shared.lock is not held. */
bool trace_freeze(struct trace *t);

/* Meta keys (docs/trace-format.md). */
#define META_COMMIT "trace/commit"
#define META_ALIVE "trace/alive"
#define META_DROP "trace/drop"
#define META_GAP "trace/gap/"

#endif
