/*
 * One record of the trace: its members, its evidence, its bytes (docs/trace-format.md). Pure.
 *
 * Invariants: a record is at most RECORD_MAX bytes, a string in it at most RECORD_STR_MAX; what was cut
 * says so (RECORD_TRUNCATED). Action, description and who ended it follow from the cause.
 */
#ifndef TMQ_TRACE_RECORD_H
#define TMQ_TRACE_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cause.h"
#include "base/slice.h"

enum { RECORD_MAX = 2048, RECORD_STR_MAX = 256, RECORD_CHANNEL_BYTES = 16, EVIDENCE_MAX = 1024 };
enum { RECORD_CLIENT_ID_MAX = 1024 }; /* the one longer string: an identity must not be cut */

enum evidence_key {
#define EVIDENCE(sym, name, type, text) EV_##sym,
#include "trace/evidence.def"
#undef EVIDENCE
    EV_COUNT_OF_KEYS
};

enum evidence_type { EVT_U64, EVT_I64, EVT_BOOL, EVT_STR, EVT_HEX, EVT_TIME, EVT_CHANNEL, EVT_MS };

struct evidence_info {
    const char *name; /* in JSON */
    enum evidence_type type;
    const char *text;
};

const struct evidence_info *evidence_info(enum evidence_key k);

/* Evidence being collected, on the stack of who ends the channel; at most EVIDENCE_MAX bytes. */
struct evidence {
    uint16_t n;
    bool truncated;
    uint8_t bytes[EVIDENCE_MAX];
};

static inline void evidence_init(struct evidence *e)
{
    e->n = 0;
    e->truncated = false;
}
void evidence_u64(struct evidence *e, enum evidence_key k, uint64_t v); /* U64, MS, TIME, BOOL */
void evidence_i64(struct evidence *e, enum evidence_key k, int64_t v);
void evidence_bytes(struct evidence *e, enum evidence_key k,
                    struct slice v); /* STR, HEX, CHANNEL */
void evidence_str(struct evidence *e, enum evidence_key k, const char *v);

/* One evidence entry read back. */
struct evidence_item {
    enum evidence_key key;
    uint64_t u64;
    int64_t i64;
    struct slice bytes;
};
/* The next entry of `*rest`; false at the end or at unknown bytes. Begin with record->detail. */
bool evidence_next(struct slice *rest, struct evidence_item *out);
/* The entry of that key; false when absent. */
bool evidence_find(struct slice detail, enum evidence_key k, struct evidence_item *out);

enum record_flag {
    RECORD_REFUSED = 1,      /* close of a channel that was never accepted */
    RECORD_UNIDENTIFIED = 2, /* the channel never named a client: filed under its source address */
    RECORD_COLLAPSED = 4,    /* stands for EV_COUNT endings of the same source, cause and minute */
    RECORD_TRUNCATED = 8,
    RECORD_CLEAN_SESSION = 16,
    RECORD_GAP =
        32 /* no event: EV_COUNT records between EV_FIRST_TIME and EV_LAST_TIME were dropped */
};

enum record_transport { TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_WS, TRANSPORT_WSS, TRANSPORT_UNIX };
const char *record_transport_text(enum record_transport t);

/* Slices borrow. Set by who emits, but `seq`, which the commit thread gives. */
struct record {
    uint64_t seq;
    uint64_t time_us;         /* wall clock */
    uint64_t connected_at_us; /* time of the channel's `connect`; 0 when it was never accepted */
    enum cause cause;
    uint8_t flags;     /* enum record_flag */
    uint8_t transport; /* enum record_transport */
    uint8_t protocol;  /* MQTT level 3, 4, 5; 0 unknown */
    uint16_t keepalive;
    uint8_t channel[RECORD_CHANNEL_BYTES];
    struct slice instance, client_id; /* client_id empty: unidentified */
    struct slice user, peer, proxy, listener, node;
    struct slice detail; /* encoded evidence */
};

/* Bytes that record_encode() needs at most for `r`. */
size_t record_size(const struct record *r);
/* Encodes into `out` (at least record_size()), returns the bytes used. Strings over the limit are cut. */
size_t record_encode(const struct record *r, uint8_t *out);
/* The same for a record decoded from `bytes` (empty: none) whose seq was changed, and its node when it had none: mostly copied. */
size_t record_encode_from(const struct record *r, struct slice bytes, uint8_t *out);
/* Decodes one record of `in.n` bytes; -1 when they are no record. Slices point into `in`. */
int record_decode(struct slice in, struct record *out) __attribute__((warn_unused_result));
/* The members of the encoded bytes that the commit thread needs, without decoding all. */
void record_patch_seq(uint8_t *bytes, uint64_t seq);
/* Size of the record that begins at in.p, for records one behind the other; 0 when there is none. The bytes may
 * be cut off: record_decode() of exactly that many says. */
size_t record_peek_size(struct slice in);

/* Group and device of a client ID of the form GROUP@@@DEVICE; false (and both empty) otherwise. */
bool client_id_split(struct slice client_id, struct slice *group, struct slice *device);

/* A new channel ID: unique for ever (random). */
void channel_id_new(uint8_t out[RECORD_CHANNEL_BYTES]);

#endif
