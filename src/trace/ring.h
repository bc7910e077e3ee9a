/*
 * The way of a record from a loop to the commit thread: a ring of bytes in shared memory, one per loop,
 * written by that loop only and drained by the commit thread only. It survives kill -9 of the process;
 * the next start drains it. No lock, no allocation.
 *
 * Invariants: positions are u64 that only grow; head (written by the loop) is published after the record's
 * bytes; tail moves only after the drained records are in the store. `epoch` is random per creation, so that
 * a watermark in the store can't be taken for that of another ring.
 */
#ifndef TMQ_TRACE_RING_H
#define TMQ_TRACE_RING_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "trace/record.h"

enum { RING_BYTES = 1 << 20 };

struct ring;

/* Maps `path` (created when absent). 0 or a negative errno; -EPROTO when it is no ring of ours. */
int ring_open(struct ring **out, const char *path, bool create) __attribute__((warn_unused_result));
/* Unmaps; `unlink_file` also removes the file. */
void ring_close(struct ring *r, bool unlink_file);

uint64_t ring_epoch(const struct ring *r);

/* Loop thread: encodes the record into the ring. False when there is no room: nothing was written. */
bool ring_emit(struct ring *r, const struct record *rec);

/* Commit thread: the record at position *pos (begin with ring_tail()); moves *pos behind it; false when
 * there is none yet. Bytes stay valid until ring_release() passes them. */
bool ring_next(const struct ring *r, uint64_t *pos, struct slice *bytes);
uint64_t ring_tail(const struct ring *r);
uint64_t ring_head(const struct ring *r);
void ring_release(struct ring *r, uint64_t pos);

#endif
