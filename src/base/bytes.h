/* Fixed-width integers in byte strings: big-endian (wire, sortable keys) and little-endian (records). */
#ifndef TMQ_BASE_BYTES_H
#define TMQ_BASE_BYTES_H

#include <endian.h>
#include <stdint.h>
#include <string.h>

static inline uint16_t get_be16(const uint8_t *p)
{
    return (uint16_t)((uint16_t)(p[0] << 8) | p[1]);
}

static inline void put_be16(uint8_t *p, uint16_t v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

#define TMQ_BYTES_OPS(name, type, to, from)                                                        \
    static inline type get_##name(const void *p)                                                   \
    {                                                                                              \
        type v;                                                                                    \
        memcpy(&v, p, sizeof v);                                                                   \
        return from(v);                                                                            \
    }                                                                                              \
    static inline void put_##name(void *p, type v)                                                 \
    {                                                                                              \
        v = to(v);                                                                                 \
        memcpy(p, &v, sizeof v);                                                                   \
    }
TMQ_BYTES_OPS(be32, uint32_t, htobe32, be32toh)
TMQ_BYTES_OPS(be64, uint64_t, htobe64, be64toh)
TMQ_BYTES_OPS(le16, uint16_t, htole16, le16toh)
TMQ_BYTES_OPS(le32, uint32_t, htole32, le32toh)
TMQ_BYTES_OPS(le64, uint64_t, htole64, le64toh)
#undef TMQ_BYTES_OPS

#endif
