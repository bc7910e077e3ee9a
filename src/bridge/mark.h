/*
 * The loop mark: a user property that says through which brokers a message has come, one for each bridge that forwarded it.
 * A bridge drops what has already been where it would go. Only MQTT 5 can carry it. Pure.
 */
#ifndef TMQ_BRIDGE_MARK_H
#define TMQ_BRIDGE_MARK_H

#include <stdbool.h>

#include "base/buf.h"
#include "base/slice.h"

#define BRIDGE_MARK "tracemq-bridge"

/* Appends the property with a broker's ID, as it stands on the wire. */
void bridge_mark_put(struct buf *out, struct slice id);
/* Whether user properties (struct mqtt_props' `user`) have that broker's mark. */
bool bridge_mark_has(struct slice user, struct slice id);
/* The first mark's ID; false: there is none. */
bool bridge_mark_first(struct slice user, struct slice *id);

#endif
