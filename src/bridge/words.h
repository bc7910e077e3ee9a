/* What the other broker said, in words. */
#ifndef TMQ_BRIDGE_WORDS_H
#define TMQ_BRIDGE_WORDS_H

#include <stdint.h>

#include "mqtt/packet.h"

/* Of a CONNACK's return code before MQTT 5, of any reason code in MQTT 5; never NULL. */
const char *bridge_connack_text(enum mqtt_version v, uint8_t code);
const char *bridge_reason_text(uint8_t reason);

#endif
