/*
 * Sources of connections; see sources.h.
 *
 * The table is set-associative: a source's hash names a set of eight places, and it has one of them while it has open
 * connections or its bucket is not full. Nothing is ever moved or freed, so that a lock for every 128 sets is all that is needed.
 * The hash has a secret: nobody can choose addresses that crowd a set out of which others fall.
 */
#include "server/sources.h"

#include <assert.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "base/hash.h"
#include "base/mem.h"
#include "broker/bucket.h"

enum { LOCKS = 64 };

struct key {
    uint64_t secret, family, address;
};

struct source {
    uint64_t family, address; /* family 0: nobody's */
    struct bucket bucket;
    uint64_t connections;
};

struct sources {
    uint64_t secret;
    struct source *places; /* sets, one after another */
    pthread_mutex_t locks[LOCKS];
    struct source other;
    pthread_mutex_t other_lock;
    struct bucket all;
    pthread_mutex_t all_lock; /* taken behind one of the others */
};

struct sources *sources_new(void)
{
    struct sources *s = mem_new(1, sizeof *s);
    ssize_t got = getrandom(&s->secret, sizeof s->secret, 0);
    assert(got == (ssize_t)sizeof s->secret);
    s->places = mem_new((size_t)SOURCES_SETS * SOURCES_WAYS, sizeof *s->places);
    for (size_t i = 0; i < LOCKS; i++) {
        (void)pthread_mutex_init(&s->locks[i], NULL);
    }
    (void)pthread_mutex_init(&s->other_lock, NULL);
    (void)pthread_mutex_init(&s->all_lock, NULL);
    return s;
}

void sources_free(struct sources *s)
{
    if (s == NULL) {
        return;
    }
    for (size_t i = 0; i < LOCKS; i++) {
        (void)pthread_mutex_destroy(&s->locks[i]);
    }
    (void)pthread_mutex_destroy(&s->other_lock);
    (void)pthread_mutex_destroy(&s->all_lock);
    free(s->places);
    free(s);
}

static struct key key_of(const struct sources *s, const struct sockaddr *peer)
{
    struct key k = {.secret = s->secret, .family = AF_INET};
    if (peer->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, peer, sizeof in);
        k.address = in.sin_addr.s_addr;
    } else {
        struct sockaddr_in6 in6;
        memcpy(&in6, peer, sizeof in6);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) { /* it came over IPv4 */
            uint32_t in4;
            memcpy(&in4, in6.sin6_addr.s6_addr + 12, sizeof in4);
            k.address = in4;
        } else {
            k.family = AF_INET6;
            memcpy(&k.address, in6.sin6_addr.s6_addr, sizeof k.address);
        }
    }
    return k;
}

static uint64_t set_of(const struct key *k)
{
    return hash64(slice_make(k, sizeof *k)) % SOURCES_SETS;
}

/* Its place. NULL: it has none, nor (`make`) is there one for it. */
static struct source *find(struct sources *s, uint64_t set, const struct key *k, bool make,
                           uint64_t now_ms)
{
    struct source *first = &s->places[set * SOURCES_WAYS], *idle = NULL;
    for (struct source *e = first; e < first + SOURCES_WAYS; e++) {
        if (e->family == k->family && e->address == k->address) {
            return e;
        }
        if (e->connections == 0 && bucket_full(&e->bucket, now_ms)) {
            idle = e;
        }
    }
    if (!make || idle == NULL) {
        return NULL;
    }
    *idle = (struct source){.family = k->family, .address = k->address};
    return idle;
}

static bool too_fast(struct bucket *b, uint64_t rate, uint64_t now_ms, const char *what,
                     struct source_refusal *why)
{
    if (rate == 0 || !bucket_empty(b, now_ms, rate)) {
        return false;
    }
    *why = (struct source_refusal){.cause = CAUSE_LIMIT_CONNECT_RATE,
                                   .what = what,
                                   .limit = rate,
                                   .actual = b->taken + 1,
                                   .window_ms = now_ms - b->since_ms};
    return true;
}

static bool admit_of_all(struct sources *s, uint64_t rate, uint64_t now_ms,
                         struct source_refusal *why)
{
    (void)pthread_mutex_lock(&s->all_lock);
    bool in = !too_fast(&s->all, rate, now_ms, "new connections a second from all addresses", why);
    if (in) {
        bucket_take(&s->all, now_ms, 1, rate);
    }
    (void)pthread_mutex_unlock(&s->all_lock);
    return in;
}

/* Under the source's lock. */
static bool admit(struct sources *s, struct source *e, const struct source_limits *l,
                  uint64_t now_ms, struct source_refusal *why)
{
    if (l->connections > 0 && e->connections >= l->connections) {
        *why = (struct source_refusal){.cause = CAUSE_LIMIT_CONNECTIONS,
                                       .what = "connections from one address",
                                       .limit = l->connections,
                                       .actual = e->connections + 1};
        return false;
    }
    if (too_fast(&e->bucket, l->rate, now_ms, "new connections a second from one address", why)) {
        return false;
    }
    if (l->rate_of_all > 0 && !admit_of_all(s, l->rate_of_all, now_ms, why)) {
        return false;
    }
    if (l->rate > 0) {
        bucket_take(&e->bucket, now_ms, 1, l->rate);
    }
    e->connections += l->connections > 0;
    return true;
}

bool sources_admit(struct sources *s, const struct sockaddr *peer, const struct source_limits *l,
                   uint64_t now_ms, enum source_place *place, struct source_refusal *why)
{
    const struct key k = key_of(s, peer);
    uint64_t set = set_of(&k);
    (void)pthread_mutex_lock(&s->locks[set % LOCKS]);
    struct source *e = find(s, set, &k, true, now_ms);
    bool in = e != NULL && admit(s, e, l, now_ms, why);
    (void)pthread_mutex_unlock(&s->locks[set % LOCKS]);
    if (e == NULL) {
        (void)pthread_mutex_lock(&s->other_lock);
        in = admit(s, &s->other, l, now_ms, why);
        (void)pthread_mutex_unlock(&s->other_lock);
    }
    *place = l->connections == 0 ? SOURCE_UNCOUNTED : e == NULL ? SOURCE_OTHER : SOURCE_OWN;
    return in;
}

void sources_leave(struct sources *s, const struct sockaddr *peer, enum source_place place)
{
    const struct key k = key_of(s, peer);
    uint64_t set = set_of(&k);
    if (place == SOURCE_UNCOUNTED) {
        return;
    }
    pthread_mutex_t *lock = place == SOURCE_OTHER ? &s->other_lock : &s->locks[set % LOCKS];
    (void)pthread_mutex_lock(lock);
    struct source *e = place == SOURCE_OTHER ? &s->other : find(s, set, &k, false, 0);
    assert(e != NULL && e->connections > 0);
    e->connections--;
    (void)pthread_mutex_unlock(lock);
}
