/* Writing fields at a place whose room is known to be there. Private to mqtt/. */
#ifndef TMQ_MQTT_WRITER_H
#define TMQ_MQTT_WRITER_H

#include <assert.h>

#include "base/bytes.h"
#include "base/slice.h"

enum { MQTT_REMAINING_MAX = 268435455 };

static inline size_t varint_size(size_t v)
{
    assert(v <= MQTT_REMAINING_MAX);
    return v < 128 ? 1 : v < 16384 ? 2 : v < 2097152 ? 3 : 4;
}

static inline uint8_t *write_varint(uint8_t *at, uint32_t v)
{
    while (v >= 128) {
        *at++ = (uint8_t)(v | 0x80);
        v >>= 7;
    }
    *at = (uint8_t)v;
    return at + 1;
}

static inline uint8_t *write_u16(uint8_t *at, uint16_t v)
{
    put_be16(at, v);
    return at + 2;
}

static inline uint8_t *write_bytes(uint8_t *at, struct slice s)
{
    if (s.n > 0) {
        memcpy(at, s.p, s.n);
    }
    return at + s.n;
}

/* Two bytes of length and the bytes. */
static inline uint8_t *write_binary(uint8_t *at, struct slice s)
{
    assert(s.n <= UINT16_MAX);
    return write_bytes(write_u16(at, (uint16_t)s.n), s);
}

#endif
