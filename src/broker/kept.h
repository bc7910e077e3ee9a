/*
 * A PUBLISH that waits to go out: a will, a delayed message. Kept as the bytes of MQTT 5 that it would be, in RAM and in the store
 * alike, so that its properties need no form of their own. Pure.
 */
#ifndef TMQ_BROKER_KEPT_H
#define TMQ_BROKER_KEPT_H

#include "base/buf.h"
#include "mqtt/packet.h"

/* Whatever its packet ID is. */
void kept_put(struct buf *out, const struct mqtt_publish *p);
/* What is to be published, without a packet ID; slices point into `packet`. False: these bytes are none. */
bool kept_get(struct slice packet, struct mqtt_publish *out);

#endif
