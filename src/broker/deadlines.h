/*
 * Things by the time at which something is due (a session's end, its will; a delayed message): a heap. What waits for nothing
 * costs nothing, what waits 16 bytes. The unit is the user's. Belongs to one loop.
 *
 * A thing has a number for its place in the heap, 0 at first; by its address the heap knows the thing.
 */
#ifndef TMQ_BROKER_DEADLINES_H
#define TMQ_BROKER_DEADLINES_H

#include <stdint.h>

struct deadline {
    uint64_t due;
    uint32_t *place; /* counted from 1; 0: it waits for nothing */
};

struct deadlines {
    struct deadline *heap;
    uint32_t count, cap;
};

#define DEADLINE_NEVER UINT64_MAX

void deadlines_fini(struct deadlines *d);
/* The thing's only deadline from now on; DEADLINE_NEVER takes it away. */
void deadlines_set(struct deadlines *d, uint32_t *place, uint64_t due);
/* Its deadline, or DEADLINE_NEVER. */
uint64_t deadlines_of(const struct deadlines *d, const uint32_t *place);
/* The earliest; NULL when there is none. Valid until the next change. */
const struct deadline *deadlines_first(const struct deadlines *d);

#endif
