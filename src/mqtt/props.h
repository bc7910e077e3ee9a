/* MQTT 5 properties on the wire. Private to mqtt/. */
#ifndef TMQ_MQTT_PROPS_H
#define TMQ_MQTT_PROPS_H

#include "mqtt/packet.h"
#include "mqtt/reader.h"

/* In place of a packet type: the properties of a will, inside CONNECT. */
enum { PROPS_OF_WILL = 0 };

static inline bool props_has(const struct mqtt_props *p, enum mqtt_prop id)
{
    return (p->present >> id & 1) != 0;
}

/* Reads a property length and the properties of a packet of type `packet` (or PROPS_OF_WILL). */
bool mqtt_props_read(struct reader *r, unsigned packet, struct mqtt_props *out);

/* Authentication data needs an authentication method beside it. */
bool mqtt_props_check_auth(const struct reader *r, const struct mqtt_props *p);

/* Bytes of the properties without their length field; NULL has none. */
size_t mqtt_props_size(const struct mqtt_props *p);

/* Writes length field and properties at `at`, returns the place behind. What is present must be
 * allowed in `packet`. `size` is mqtt_props_size(p). */
uint8_t *mqtt_props_write(uint8_t *at, unsigned packet, const struct mqtt_props *p, size_t size);
/* The same without the length field. */
uint8_t *mqtt_props_write_bare(uint8_t *at, unsigned packet, const struct mqtt_props *p);

#endif
