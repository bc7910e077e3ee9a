/* Hashes for tables (64 bit) and for identities that must not collide (128 bit): XXH3. */
#ifndef TMQ_BASE_HASH_H
#define TMQ_BASE_HASH_H

#include <stdint.h>

#include "base/slice.h"

struct hash128 {
    uint64_t hi, lo;
};

uint64_t hash64(struct slice s);

/* The 128-bit identity of a device: of the instance, a zero byte, and the client ID. */
struct hash128 hash_device(struct slice instance, struct slice client_id);

#endif
