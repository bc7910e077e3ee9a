/*
 * Retained messages of all instances: one per topic. Any thread; guarded by locks held for short copies only, so that
 * a subscribe that reads and a publish that replaces are serialized per topic. [MQTT-3.3.1-5]
 */
#ifndef TMQ_BROKER_RETAINED_H
#define TMQ_BROKER_RETAINED_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct retained;

struct retained *retained_new(void);
void retained_free(struct retained *r);

enum retained_result { RETAINED_STORED, RETAINED_REMOVED, RETAINED_NONE, RETAINED_FULL };

/* Stores, or removes when the payload is empty [MQTT-3.3.1-10]. RETAINED_FULL: `max` messages are kept (0 = no
 * limit) and this topic is not among them. */
enum retained_result retained_set(struct retained *r, uint32_t instance, struct slice topic,
                                  struct slice payload, uint8_t qos, uint64_t max);

/* Calls `fn` for each retained message that matches `filter` (valid), in no particular order; slices live during the
 * call; `fn` must not call back in here. */
typedef void (*retained_fn)(void *arg, struct slice topic, struct slice payload, uint8_t qos);
void retained_each(struct retained *r, uint32_t instance, struct slice filter, retained_fn fn,
                   void *arg);

uint64_t retained_count(const struct retained *r);

#endif
