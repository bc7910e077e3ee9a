/*
 * A record as it stands behind another one of the same device: what both have alike is left out, times and seqs are
 * differences. Pure. Half the bytes of record_encode(), which is what flush, compaction and reading of device blocks cost.
 */
#ifndef TMQ_TRACE_PACK_H
#define TMQ_TRACE_PACK_H

#include "trace/record.h"

/* More than record_encode() would need, at most. */
enum { RECORD_PACK_MORE = 16 };

/* Writes `r` without instance, client ID; `before` (all zero: none) is what record_unpack() will get. `r` is one that was
 * decoded: within all limits. `out` has room for record_size(r) + RECORD_PACK_MORE. Returns the bytes used. */
size_t record_pack(const struct record *r, const struct record *before, uint8_t *out);
/* Takes one record from the front of `*in`; -1 (nothing taken) when there is none. Slices point into `in`, or are those of
 * `before`; instance and client ID are empty. */
int record_unpack(struct slice *in, const struct record *before, struct record *out)
    __attribute__((warn_unused_result));

#endif
