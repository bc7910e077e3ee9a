/* XXH3, behind two functions so that no other file depends on the library. */
#include "base/hash.h"

#include <string.h>

#define XXH_STATIC_LINKING_ONLY /* the streaming state on the stack */
#include <xxhash.h>

uint64_t hash64(struct slice s)
{
    return XXH3_64bits(s.p, s.n);
}

/* A stream's state is longer than what most devices are named by, and has to be set up: for few bytes most of the work. */
struct hash128 hash_device(struct slice instance, struct slice client_id)
{
    enum { SHORT = 128 };
    uint8_t whole[SHORT];
    XXH128_hash_t h;
    size_t n = instance.n + 1 + client_id.n;
    if (n <= SHORT && instance.n > 0 && client_id.n > 0) {
        memcpy(whole, instance.p, instance.n);
        whole[instance.n] = 0;
        memcpy(whole + instance.n + 1, client_id.p, client_id.n);
        h = XXH3_128bits(whole, n);
    } else {
        XXH3_state_t st;
        XXH3_INITSTATE(&st);
        (void)XXH3_128bits_reset(&st);
        (void)XXH3_128bits_update(&st, instance.p, instance.n);
        (void)XXH3_128bits_update(&st, "", 1);
        (void)XXH3_128bits_update(&st, client_id.p, client_id.n);
        h = XXH3_128bits_digest(&st);
    }
    return (struct hash128){.hi = h.high64, .lo = h.low64};
}
