/*
 * Retained messages of all instances: one per topic. Any thread; guarded by locks held for short copies only, so that
 * a subscribe that reads and a publish that replaces are serialized per topic. [MQTT-3.3.1-5]
 */
#ifndef TMQ_BROKER_RETAINED_H
#define TMQ_BROKER_RETAINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "broker/message.h"

struct retained;

struct retained *retained_new(void);
void retained_free(struct retained *r);

enum retained_result { RETAINED_STORED, RETAINED_REMOVED, RETAINED_NONE, RETAINED_FULL };

/* Stores, or removes when the payload is empty [MQTT-3.3.1-10]. RETAINED_FULL: `max` messages are kept (0 = no
 * limit) and this topic is not among them. */
enum retained_result retained_set(struct retained *r, uint32_t instance,
                                  const struct message_parts *m, uint64_t max);
/* Forgets the topic's message if its time is over at `now_ms`; true when it did. */
bool retained_expire(struct retained *r, uint32_t instance, struct slice topic, uint64_t now_ms);

/* Called under the lock: it must not call back in here; slices live during the call. False: not taken, and no more now. */
typedef bool (*retained_fn)(void *arg, const struct message_parts *m);
/* The message of one topic; false: it has none. */
bool retained_get(struct retained *r, uint32_t instance, struct slice topic, retained_fn fn,
                  void *arg);

/*
 * A walk over what matches a filter, in no particular order, piece by piece: each message that was there when it began and
 * is still there, unchanged, when the walk comes to it. One thread at a time; freed before the store.
 */
struct retained_walk;
/* `filter` is valid. NULL: nothing matches, and *steps steps were enough to see it; the rest of them is left there. */
struct retained_walk *retained_walk_new(struct retained *r, uint32_t instance, struct slice filter,
                                        uint32_t *steps);
/* Calls `fn` for what comes next until it refuses, which is then asked again, or *steps nodes were looked at; the rest of
 * them is left in *steps. True: the walk is over. */
bool retained_walk_step(struct retained_walk *w, uint32_t *steps, retained_fn fn, void *arg);
void retained_walk_free(struct retained_walk *w);

uint64_t retained_count(const struct retained *r);
/* Memory of the messages. */
uint64_t retained_bytes(const struct retained *r);

#endif
