/* Topic names and topic filters: validity and matching, on bytes. Pure. */
#ifndef TMQ_MQTT_TOPIC_H
#define TMQ_MQTT_TOPIC_H

#include <stdbool.h>

#include "base/slice.h"

/* UTF-8 as MQTT wants it: well formed, no surrogates, no U+0000. [MQTT-1.5.3-1] [MQTT-1.5.3-2] */
bool mqtt_utf8_valid(struct slice s);

/* 1 to 65,535 bytes, valid UTF-8, no '+' or '#'. [MQTT-3.3.2-2] [MQTT-4.7.3-1] */
bool mqtt_topic_valid(struct slice topic);

/* Wildcards only as whole levels, '#' only last. [MQTT-4.7.1-1] [MQTT-4.7.1-2] [MQTT-4.7.1-3] */
bool mqtt_filter_valid(struct slice filter);

/* Whether a valid filter has '+' or '#'. */
bool mqtt_filter_is_wild(struct slice filter);

/* $queue/{filter}: what other brokers call a shared subscription without a name. */
static inline bool mqtt_filter_is_queue(struct slice filter)
{
    return slice_has_prefix(filter, slice_str("$queue/"));
}
/* A shared subscription: $share/{name}/{filter}, or $queue/{filter}. */
static inline bool mqtt_filter_is_shared(struct slice filter)
{
    return filter.n > 0 && filter.p[0] == '$' &&
           (slice_has_prefix(filter, slice_str("$share/")) || mqtt_filter_is_queue(filter));
}
/* Its name ($queue where it has none) and filter. False: the name is empty or has a wildcard, or no filter follows.
 * [MQTT-4.8.2-1] [MQTT-4.8.2-2] */
bool mqtt_filter_shared(struct slice whole, struct slice *name, struct slice *filter);

/* Whether a valid topic matches a valid filter; '$' topics match no leading wildcard. [MQTT-4.7.2-1] */
bool mqtt_topic_matches(struct slice filter, struct slice topic);

/* Whether every topic that `inner` matches is matched by `outer` too (permissions on filters). */
bool mqtt_filter_covers(struct slice outer, struct slice inner);

/* Whether some topic is matched by both. */
bool mqtt_filter_overlaps(struct slice a, struct slice b);

/* Cuts the next level off `*rest` (without the '/'); false when there was none left.
 * "a//b" has three levels, "" has one. Begin with *rest = topic and *more = true. */
bool mqtt_level_next(struct slice *rest, bool *more, struct slice *level);

#endif
