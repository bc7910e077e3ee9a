/*
 * The device trace: emit on the loops, commit and maintain on two threads of its own, query from any thread.
 *
 * loop: trace_emit ─► ring ─► commit thread: journal block + jobs in one write ─► RAM buffer (visible)
 *                                                   └► sync (fsync) ─► jobs' done
 * maintenance thread: full buffer ─► sorted by device ─► device blocks (ingest); drop of old segments
 *
 * Invariants: a record is visible after its journal block is in the WAL, and from then on for ever until
 * retention; `seq` has no holes; an ending is never lost for want of room: trace_emit() says "no room" and the
 * caller keeps the record's facts until there is.
 */
#ifndef TMQ_TRACE_TRACE_H
#define TMQ_TRACE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"
#include "trace/record.h"
#include "trace/ring.h"

struct trace;

/* What may change while it runs. */
struct trace_limits {
    uint64_t fsync_interval_ms;  /* 1000: the most that power loss can take */
    uint64_t retention_ms;       /* device blocks */
    uint64_t fleet_retention_ms; /* journal */
    uint64_t retention_bytes;    /* 0 = no limit by size */
    uint64_t max_range_ms;       /* of one query */
};

struct trace_options {
    bool enabled;                /* false: trace_emit() takes and forgets everything (benchmarks) */
    unsigned loops;              /* rings */
    const char *node;            /* name of this node */
    const char *ring_dir;        /* "/dev/shm" */
    uint64_t memory_bytes;       /* of the RAM buffers */
    uint64_t commit_interval_ms; /* 20 */
    uint64_t refused_bytes;      /* quota of the refused and unidentified, per segment */
    struct trace_limits limits;
};

/*
 * Replays the journal behind the last flush, drains rings that a crash left, writes the closes
 * (server.crash) of channels left open, then starts the two threads. `st` must outlive the trace.
 */
int trace_open(struct trace **out, struct store *st, const struct trace_options *o,
               struct store_error *err) __attribute__((warn_unused_result));
/* Drains, commits, syncs, stops the threads. Loops must have stopped. NULL-safe. */
void trace_close(struct trace *t);
/* Any thread. They hold from the next look at them on; shorter retention takes effect as segments are looked through. */
void trace_set_limits(struct trace *t, const struct trace_limits *limits);
uint64_t trace_max_range_ms(const struct trace *t);

/* Loop `loop`'s thread only. `r->time_us` is clamped by the ring's loop to never step back by less than a
 * second. False: no room now; nothing was taken. Never blocks. The commit thread is woken. */
bool trace_emit(struct trace *t, unsigned loop, const struct record *r)
    __attribute__((warn_unused_result));

/*
 * State to be made durable together with the trace: sessions, queues, retained messages.
 * After trace_submit() the job belongs to the commit thread until `done` (called there) gives it back.
 */
struct commit_job {
    struct commit_job *next;
    bool sync;                                                     /* done only after an fsync */
    void (*fill)(struct commit_job *j, struct store_batch *batch); /* on the commit thread */
    void (*done)(struct commit_job *j, int err); /* on a trace thread; must not block */
};
void trace_submit(struct trace *t, struct commit_job *job);

struct trace_stats {
    uint64_t next_seq;
    uint64_t committed; /* records written since start */
    uint64_t commits, syncs;
    uint64_t dropped;      /* records lost to a full disk or a latched engine (gap records tell) */
    uint64_t oldest_us;    /* time of the oldest record kept, 0 = none */
    uint64_t buffer_bytes; /* RAM buffers */
    uint64_t open;         /* channels open */
    uint64_t gaps;         /* within what is kept */
    uint64_t ring_bytes;   /* of records that are not visible yet */
    bool degraded;         /* the store refuses writes now */
    struct store_stats store;
};
void trace_stats(struct trace *t, struct trace_stats *out);
/* Channels open now in an instance (its devices online); one load. Any thread. */
uint64_t trace_online(struct trace *t, struct slice instance);

/* Calls `fn(arg)` on the commit thread after each commit that made records visible; must neither block nor call back in
 * here. NULL takes it back: behind that no call is under way. */
void trace_on_commit(struct trace *t, void (*fn)(void *arg), void *arg);

/* ---- queries: any thread but a loop ---- */

struct trace_query {
    struct slice instance;
    struct slice client_id; /* empty: the fleet (journal, fleet_retention) */
    bool unidentified;      /* with empty client_id: only the unidentified, else only identified */
    uint64_t begin_us, end_us; /* [begin, end) */
    bool ascending;
    int action, cause;        /* -1 = any */
    struct slice peer, group; /* fleet only; prefix of the address, exact group; empty = any */
    uint32_t limit;           /* 1..1000 */
    uint64_t cursor;          /* seq to go on behind, 0 = from the start */
};

struct trace_gap {
    uint64_t from_us, to_us, count;
};

struct trace_page {
    struct record *rows; /* point into memory owned by the page */
    size_t count;
    uint64_t total;
    bool total_at_least; /* `total` is a lower bound */
    bool complete;       /* no gap within the range */
    struct trace_gap *gaps;
    size_t gap_count;
    uint64_t next_cursor; /* 0 on the last page */
    bool has_open;        /* no row, but a channel is open through the range */
    uint8_t open_channel[RECORD_CHANNEL_BYTES];
    uint64_t open_since_us;
    void *memory; /* private */
};

/* -EINVAL: range over max_range_ms or begin > end (the API says which). 0 and *out filled otherwise. */
int trace_query(struct trace *t, const struct trace_query *q, struct trace_page *out)
    __attribute__((warn_unused_result));
void trace_page_fini(struct trace_page *p);

/* Rows with seq > `after`, oldest first, at most `limit`, of one client or (empty) the whole instance: live tail. */
int trace_follow(struct trace *t, struct slice instance, struct slice client_id, uint64_t after,
                 uint32_t limit, struct trace_page *out) __attribute__((warn_unused_result));
/* seq of the newest visible record. */
uint64_t trace_last_seq(struct trace *t);

struct trace_status {
    struct record last; /* newest accepted-channel record of the device: its connect while online */
    bool online;
    uint8_t channel[RECORD_CHANNEL_BYTES];
    uint64_t connected_at_us;
    uint64_t last_update_us;
    void *memory; /* private */
};
/* -ENOENT: never accepted. */
int trace_status(struct trace *t, struct slice instance, struct slice client_id,
                 struct trace_status *out) __attribute__((warn_unused_result));
void trace_status_fini(struct trace_status *s);

struct trace_devices_query {
    struct slice instance, prefix, group;
    int online; /* -1 any, 0, 1 */
    uint32_t limit;
    struct slice cursor; /* client ID to go on behind; empty = from the start */
};
struct trace_devices {
    struct trace_status *items; /* in byte order of the client ID */
    size_t count;
    uint64_t total; /* matches in all */
    bool total_at_least;
    bool more; /* the cursor is the last item's client ID */
    void *memory;
};
int trace_devices(struct trace *t, const struct trace_devices_query *q, struct trace_devices *out)
    __attribute__((warn_unused_result));
void trace_devices_fini(struct trace_devices *d);

#endif
