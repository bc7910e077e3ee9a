/*
 * Sessions by the time at which something is due (their end, their will): a heap. A session that waits for nothing costs
 * nothing, one that waits 16 bytes. Belongs to one loop.
 */
#ifndef TMQ_BROKER_DEADLINES_H
#define TMQ_BROKER_DEADLINES_H

#include "broker/session.h"

struct deadline {
    uint64_t due_ms;
    struct session *s; /* s->deadline is its place, counted from 1 */
};

struct deadlines {
    struct deadline *heap;
    uint32_t count, cap;
};

#define DEADLINE_NEVER UINT64_MAX

void deadlines_fini(struct deadlines *d);
/* The session's only deadline from now on; DEADLINE_NEVER takes it away. */
void deadlines_set(struct deadlines *d, struct session *s, uint64_t due_ms);
/* Its deadline, or DEADLINE_NEVER. */
uint64_t deadlines_of(const struct deadlines *d, const struct session *s);
/* The earliest; NULL when there is none. Valid until the next change. */
const struct deadline *deadlines_first(const struct deadlines *d);

#endif
