/* Server-sent events as bytes: a line at a time, an event at an empty line. Pure. */
#ifndef TMQ_CLI_SSE_H
#define TMQ_CLI_SSE_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

enum { SSE_EVENT_MAX = 1 << 20, SSE_ID_MAX = 64 };

struct sse {
    struct buf line, data;
    char id[SSE_ID_MAX]; /* of the last event that was handed out; "" before */
    char next_id[SSE_ID_MAX];
    bool skip_lf;
};

/* Called for each event with its data. */
typedef void (*sse_fn)(void *ctx, struct slice data);

void sse_fini(struct sse *s);
/* Forgets a half event, as after a lost connection; keeps the id. */
void sse_restart(struct sse *s);
/* 0; -1 when an event is larger than SSE_EVENT_MAX. */
int sse_feed(struct sse *s, struct slice bytes, sse_fn fn, void *ctx)
    __attribute__((warn_unused_result));

#endif
