/* The table of fault.def, one row for each fault, and its only reader. */
#include "mqtt/fault.h"

#include <assert.h>

struct fault_row {
    enum cause cause;
    uint8_t reason, connack;
    const char *clause311, *clause5, *text;
};

static const struct fault_row rows[FAULT_COUNT] = {
#define FAULT(sym, cause_sym, reason, connack, clause311, clause5, text)                           \
    [FAULT_##sym] = {CAUSE_##cause_sym, reason, connack, clause311, clause5, text},
#include "mqtt/fault.def"
#undef FAULT
};

void mqtt_fault_set(struct mqtt_error *err, enum fault fault, enum mqtt_version v, size_t offset)
{
    assert(fault > FAULT_NONE && fault < FAULT_COUNT);
    const struct fault_row *row = &rows[fault];
    *err = (struct mqtt_error){
        .cause = row->cause,
        .reason = row->reason,
        .connack = row->connack,
        .offset = (uint32_t)offset,
        .clause = v == MQTT_V5 ? row->clause5 : row->clause311,
        .text = row->text,
    };
}
