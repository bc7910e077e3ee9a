/*
 * wire: writes the client's side of MQTT 3.1.1. See wire.h for why it is apart from src/mqtt.
 */
#include "wire.h"

#include <assert.h>
#include <string.h>

size_t wire_put_length(uint8_t *out, size_t length)
{
    size_t n = 0;
    do {
        uint8_t low = (uint8_t)(length & 0x7fU);
        length >>= 7;
        out[n++] = (uint8_t)(length > 0 ? low | 0x80U : low);
    } while (length > 0);
    return n;
}

size_t wire_put_string(uint8_t *out, const char *s)
{
    size_t bytes = strlen(s);
    assert(bytes <= 64);
    wire_put_u16(out, (uint16_t)bytes);
    memcpy(out + 2, s, bytes);
    return bytes + 2;
}

size_t wire_put_connect(uint8_t *out, const struct wire_login *login)
{
    static const uint8_t protocol[] = {0, 4, 'M', 'Q', 'T', 'T', 4};
    uint8_t body[WIRE_SMALL_MAX - WIRE_HEADER_MAX];
    size_t n = sizeof protocol;
    memcpy(body, protocol, n);
    body[n++] = (uint8_t)((login->keep ? 0U : 0x02U) | (login->user ? 0x80U : 0U) |
                          (login->password ? 0x40U : 0U));
    wire_put_u16(body + n, login->keepalive_s);
    n += 2;
    n += wire_put_string(body + n, login->client_id);
    if (login->user) {
        n += wire_put_string(body + n, login->user);
    }
    if (login->password) {
        n += wire_put_string(body + n, login->password);
    }
    out[0] = WIRE_CONNECT << 4;
    size_t head = 1 + wire_put_length(out + 1, n);
    memcpy(out + head, body, n);
    return head + n;
}

size_t wire_put_subscribe(uint8_t *out, uint16_t packet_id, const char *filter, uint8_t qos)
{
    out[0] = WIRE_SUBSCRIBE << 4 | 2;
    out[1] = (uint8_t)(2 + 2 + strlen(filter) + 1);
    wire_put_u16(out + 2, packet_id);
    size_t n = 4 + wire_put_string(out + 4, filter);
    out[n++] = qos;
    return n;
}

size_t wire_put_publish_head(uint8_t *out, const char *topic, uint8_t qos, size_t payload_bytes,
                             size_t *id_at)
{
    size_t id_bytes = qos > 0 ? 2 : 0;
    out[0] = (uint8_t)(WIRE_PUBLISH << 4 | qos << 1);
    size_t n = 1 + wire_put_length(out + 1, 2 + strlen(topic) + id_bytes + payload_bytes);
    n += wire_put_string(out + n, topic);
    *id_at = 0;
    if (qos > 0) {
        wire_put_u16(out + n, 0);
        *id_at = n;
        n += 2;
    }
    return n;
}
