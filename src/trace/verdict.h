/* One sentence a human reads first, and what to do next: made from a record and its evidence. Pure. */
#ifndef TMQ_TRACE_VERDICT_H
#define TMQ_TRACE_VERDICT_H

#include "trace/record.h"

struct verdict {
    char text[512];
    char next[512];
};

void verdict_make(const struct record *r, struct verdict *out);

#endif
