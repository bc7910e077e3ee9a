/* Names of packet types. */
#include "mqtt/packet.h"

const char *mqtt_type_text(enum mqtt_type t)
{
    static const char *const names[16] = {
        "reserved", "CONNECT",  "CONNACK",    "PUBLISH", "PUBACK",      "PUBREC",
        "PUBREL",   "PUBCOMP",  "SUBSCRIBE",  "SUBACK",  "UNSUBSCRIBE", "UNSUBACK",
        "PINGREQ",  "PINGRESP", "DISCONNECT", "AUTH",
    };
    return (unsigned)t < 16 ? names[t] : names[0];
}
