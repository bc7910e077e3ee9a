/* XXH3, behind two functions so that no other file depends on the library. */
#include "base/hash.h"

#define XXH_STATIC_LINKING_ONLY /* the streaming state on the stack */
#include <xxhash.h>

uint64_t hash64(struct slice s)
{
    return XXH3_64bits(s.p, s.n);
}

struct hash128 hash_device(struct slice instance, struct slice client_id)
{
    XXH3_state_t st;
    XXH3_INITSTATE(&st);
    (void)XXH3_128bits_reset(&st);
    (void)XXH3_128bits_update(&st, instance.p, instance.n);
    (void)XXH3_128bits_update(&st, "", 1);
    (void)XXH3_128bits_update(&st, client_id.p, client_id.n);
    XXH128_hash_t h = XXH3_128bits_digest(&st);
    return (struct hash128){.hi = h.high64, .lo = h.low64};
}
