/* What can be wrong with a packet, as an enum, and how it becomes a struct mqtt_error. Private to mqtt/. */
#ifndef TMQ_MQTT_FAULT_H
#define TMQ_MQTT_FAULT_H

#include <stddef.h>

#include "mqtt/packet.h"

enum fault {
    FAULT_NONE,
#define FAULT(sym, cause, reason, connack, clause311, clause5, text) FAULT_##sym,
#include "mqtt/fault.def"
#undef FAULT
    FAULT_COUNT
};

/* Fills *err for a fault (not FAULT_NONE) at byte `offset` of a packet of version `v`. */
void mqtt_fault_set(struct mqtt_error *err, enum fault fault, enum mqtt_version v, size_t offset)
    __attribute__((cold, noinline));

#endif
