/*
 * Topics of one side as topics of the other: the rules of a bridge, in their order; the first that matches decides. Pure;
 * immutable once made.
 *
 *   local filter  = local_prefix  + topic        a/ + b/#      a/b/c
 *   remote filter = remote_prefix + topic        x/ + b/#      x/b/c
 */
#ifndef TMQ_BRIDGE_MAPPING_H
#define TMQ_BRIDGE_MAPPING_H

#include "base/buf.h"
#include "base/slice.h"
#include "bridge/settings.h"

enum bridge_side { BRIDGE_LOCAL, BRIDGE_REMOTE };
enum { BRIDGE_SIDES = 2 };

struct bridge_rule {
    struct slice filter[BRIDGE_SIDES]; /* owned */
    size_t prefix[BRIDGE_SIDES];       /* bytes of the filter that are exchanged */
    uint8_t qos;
    bool from[BRIDGE_SIDES]; /* messages of that side go to the other */
};

struct bridge_mapping {
    struct bridge_rule *rules;
    unsigned count;
};

/* NULL: the rule is good. Else what is wrong with it, in words. */
const char *bridge_topic_fault(const struct bridge_topic *t);

/* Rules that are good. */
void bridge_mapping_init(struct bridge_mapping *m, const struct bridge_topic *topics,
                         unsigned count);
void bridge_mapping_fini(struct bridge_mapping *m);

/*
 * What a topic of side `from` is called on the other side, in `out` (cleared first). False: no rule that goes that way
 * matches, or it would have no name there.
 */
bool bridge_map(const struct bridge_mapping *m, enum bridge_side from, struct slice topic,
                struct buf *out);

#endif
