/* What the workers count, summed up: plain numbers, from counters.def. */
#ifndef TMQ_SERVER_SERVER_COUNTS_H
#define TMQ_SERVER_SERVER_COUNTS_H

#include <stdint.h>

#include "base/cause.h"
#include "mqtt/packet.h"

enum drop_reason {
#define DROP(symbol, ...) DROP_##symbol,
#include "server/drop.def"
#undef DROP
    DROP_REASONS
};

struct counts {
#define COUNT(member) uint64_t member;
#define COUNTS(member, n) uint64_t member[n];
#include "server/counters.def"
#undef COUNT
#undef COUNTS
};

/* As /metrics calls it. */
const char *count_drop_label(enum drop_reason r);
/* "PUBLISH"; for those of api/, who do not know mqtt/. */
const char *count_packet_label(unsigned type);

#endif
