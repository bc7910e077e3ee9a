/*
 * A record as bytes (numbers little-endian):
 *
 *   offset size
 *     0     1   version, 1
 *     1     1   flags (enum record_flag)
 *     2     2   size of the whole record
 *     4     2   cause (position in cause.def)
 *     6     1   transport
 *     7     1   protocol level
 *     8     8   seq
 *    16     8   time, µs since 1970 UTC
 *    24     8   connected at, µs since 1970 UTC; 0 = never accepted
 *    32    16   channel ID
 *    48     2   keepalive, s
 *    50     2   size of the evidence
 *    52         instance, client ID, node, listener, peer, proxy, user: each a varint length and bytes
 *               evidence (see evidence.c), to the end
 *
 * Invariants: seq stands at a fixed place, so that the commit thread can set it in encoded bytes. The size
 * field makes a cut record detectable. Strings are cut at 256 bytes, the client ID (an identity: it must not be
 * cut) at 1,024; when all together pass RECORD_MAX the later ones give way, evidence entry by entry.
 */
#include "trace/record.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/bytes.h"
#include "trace/varint.h"

enum {
    VERSION = 1,
    OFF_FLAGS = 1,
    OFF_SIZE = 2,
    OFF_CAUSE = 4,
    OFF_TRANSPORT = 6,
    OFF_PROTOCOL = 7,
    OFF_SEQ = 8,
    OFF_TIME = 16,
    OFF_CONNECTED = 24,
    OFF_CHANNEL = 32,
    OFF_KEEPALIVE = 48,
    OFF_DETAIL = 50,
    HEADER = 52,
    STRINGS = 7,
    LENGTH_MAX = 2 /* bytes of a string's length */
};

/* Where a record that is being encoded stands: `left` is what may still be written. */
struct writer {
    uint8_t *p;
    size_t left;
    bool cut;
};

const char *record_transport_text(enum record_transport t)
{
    switch (t) {
    case TRANSPORT_TCP:
        return "tcp";
    case TRANSPORT_TLS:
        return "tls";
    case TRANSPORT_WS:
        return "ws";
    case TRANSPORT_WSS:
        return "wss";
    case TRANSPORT_UNIX:
        return "unix";
    }
    return "";
}

static size_t min_size(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t record_size(const struct record *r)
{
    size_t n = HEADER + STRINGS * LENGTH_MAX + min_size(r->client_id.n, RECORD_CLIENT_ID_MAX) +
               min_size(r->instance.n, RECORD_STR_MAX) + min_size(r->user.n, RECORD_STR_MAX) +
               min_size(r->peer.n, RECORD_STR_MAX) + min_size(r->proxy.n, RECORD_STR_MAX) +
               min_size(r->listener.n, RECORD_STR_MAX) + min_size(r->node.n, RECORD_STR_MAX) +
               min_size(r->detail.n, EVIDENCE_MAX);
    return min_size(n, RECORD_MAX);
}

/* Most strings are short: two overlapping moves beat the call of memcpy. */
static inline void copy_short(uint8_t *to, const uint8_t *from, size_t n)
{
    if (n >= 8 && n <= 16) {
        uint64_t head, tail;
        memcpy(&head, from, 8);
        memcpy(&tail, from + n - 8, 8);
        memcpy(to, &head, 8);
        memcpy(to + n - 8, &tail, 8);
    } else if (n > 0) {
        memcpy(to, from, n);
    }
}

/* `keep` bytes are left for what follows. */
static inline void put_string(struct writer *w, struct slice s, size_t limit, size_t keep)
{
    assert(w->left >= keep + LENGTH_MAX);
    size_t n = s.n;
    limit = min_size(limit, w->left - keep - LENGTH_MAX);
    if (n > limit) {
        n = utf8_cut(s, limit);
        w->cut = true;
    }
    size_t k = varint_put(w->p, n);
    copy_short(w->p + k, s.p, n);
    w->p += k + n;
    w->left -= k + n;
}

/* As many whole entries as fit. */
static size_t put_detail(struct writer *w, struct slice detail)
{
    size_t n = detail.n;
    size_t limit = min_size(w->left, EVIDENCE_MAX);
    if (n > limit) {
        struct slice rest = detail;
        struct evidence_item it;
        n = 0;
        while (evidence_next(&rest, &it) && detail.n - rest.n <= limit) {
            n = detail.n - rest.n;
        }
        w->cut = true;
    }
    if (n > 0) {
        memcpy(w->p, detail.p, n);
    }
    w->p += n;
    return n;
}

size_t record_encode(const struct record *r, uint8_t *out)
{
    struct writer w = {.p = out + HEADER, .left = RECORD_MAX - HEADER};
    put_string(&w, r->instance, RECORD_STR_MAX, 6 * LENGTH_MAX);
    put_string(&w, r->client_id, RECORD_CLIENT_ID_MAX, 5 * LENGTH_MAX);
    put_string(&w, r->node, RECORD_STR_MAX, 4 * LENGTH_MAX);
    put_string(&w, r->listener, RECORD_STR_MAX, 3 * LENGTH_MAX);
    put_string(&w, r->peer, RECORD_STR_MAX, 2 * LENGTH_MAX);
    put_string(&w, r->proxy, RECORD_STR_MAX, 1 * LENGTH_MAX);
    put_string(&w, r->user, RECORD_STR_MAX, 0);
    size_t detail = put_detail(&w, r->detail);
    size_t n = (size_t)(w.p - out);
    out[0] = VERSION;
    out[OFF_FLAGS] = (uint8_t)(r->flags | (w.cut ? RECORD_TRUNCATED : 0));
    put_le16(out + OFF_SIZE, (uint16_t)n);
    put_le16(out + OFF_CAUSE, (uint16_t)r->cause);
    out[OFF_TRANSPORT] = r->transport;
    out[OFF_PROTOCOL] = r->protocol;
    put_le64(out + OFF_SEQ, r->seq);
    put_le64(out + OFF_TIME, r->time_us);
    put_le64(out + OFF_CONNECTED, r->connected_at_us);
    memcpy(out + OFF_CHANNEL, r->channel, RECORD_CHANNEL_BYTES);
    put_le16(out + OFF_KEEPALIVE, r->keepalive);
    put_le16(out + OFF_DETAIL, (uint16_t)detail);
    assert(n <= RECORD_MAX);
    return n;
}

static inline bool take_string(struct slice *in, size_t limit, struct slice *out)
{
    if (in->n > 0 && in->p[0] < 0x80 &&
        in->p[0] < in->n) { /* nearly always; and below every limit */
        *out = slice_make(in->p + 1, in->p[0]);
        *in = slice_make(in->p + 1 + out->n, in->n - 1 - out->n);
        return true;
    }
    uint64_t n;
    return varint_take(in, &n) && n <= limit && slice_take(in, n, out);
}

static bool take_strings(struct slice *in, struct record *r)
{
    return take_string(in, RECORD_STR_MAX, &r->instance) &&
           take_string(in, RECORD_CLIENT_ID_MAX, &r->client_id) &&
           take_string(in, RECORD_STR_MAX, &r->node) &&
           take_string(in, RECORD_STR_MAX, &r->listener) &&
           take_string(in, RECORD_STR_MAX, &r->peer) &&
           take_string(in, RECORD_STR_MAX, &r->proxy) && take_string(in, RECORD_STR_MAX, &r->user);
}

int record_decode(struct slice in, struct record *out)
{
    const uint8_t *p = in.p;
    if (in.n < HEADER || in.n > RECORD_MAX || p[0] != VERSION || get_le16(p + OFF_SIZE) != in.n ||
        get_le16(p + OFF_CAUSE) >= CAUSE_COUNT || p[OFF_TRANSPORT] > TRANSPORT_UNIX) {
        return -1;
    }
    struct record r = {
        .seq = get_le64(p + OFF_SEQ),
        .time_us = get_le64(p + OFF_TIME),
        .connected_at_us = get_le64(p + OFF_CONNECTED),
        .cause = (enum cause)get_le16(p + OFF_CAUSE),
        .flags = p[OFF_FLAGS],
        .transport = p[OFF_TRANSPORT],
        .protocol = p[OFF_PROTOCOL],
        .keepalive = get_le16(p + OFF_KEEPALIVE),
    };
    memcpy(r.channel, p + OFF_CHANNEL, RECORD_CHANNEL_BYTES);
    struct slice rest = slice_make(p + HEADER, in.n - HEADER);
    if (!take_strings(&rest, &r) || rest.n != get_le16(p + OFF_DETAIL) || rest.n > EVIDENCE_MAX) {
        return -1;
    }
    r.detail = rest;
    *out = r;
    return 0;
}

size_t record_encode_from(const struct record *r, struct slice bytes, uint8_t *out)
{
    if (bytes.n == 0 || bytes.n + r->node.n > RECORD_MAX || r->node.n >= 0x80) {
        return record_encode(r, out);
    }
    size_t names = (size_t)(r->client_id.p + r->client_id.n - bytes.p);
    size_t rest = names + 1; /* behind the length of an empty node */
    if (bytes.p[names] != 0) {
        return record_encode(r, out);
    }
    size_t n = bytes.n + r->node.n;
    memcpy(out, bytes.p, names);
    out[names] = (uint8_t)r->node.n;
    if (r->node.n > 0) {
        memcpy(out + names + 1, r->node.p, r->node.n);
    }
    memcpy(out + rest + r->node.n, bytes.p + rest, bytes.n - rest);
    put_le16(out + OFF_SIZE, (uint16_t)n);
    put_le64(out + OFF_SEQ, r->seq);
    return n;
}

size_t record_peek_size(struct slice in)
{
    return in.n < HEADER || in.p[0] != VERSION ? 0 : get_le16(in.p + OFF_SIZE);
}

void record_patch_seq(uint8_t *bytes, uint64_t seq)
{
    put_le64(bytes + OFF_SEQ, seq);
}

bool client_id_split(struct slice client_id, struct slice *group, struct slice *device)
{
    *group = *device = slice_make(NULL, 0);
    const uint8_t *at = client_id.n == 0 ? NULL : memmem(client_id.p, client_id.n, "@@@", 3);
    if (at == NULL || at == client_id.p || at + 3 == client_id.p + client_id.n) {
        return false;
    }
    *group = slice_make(client_id.p, (size_t)(at - client_id.p));
    *device = slice_from(client_id, group->n + 3);
    return true;
}

/* One system call for 256 connections: the kernel's bytes are kept in a pool of each thread's own. A fork
 * would hand the same bytes out twice; the broker never forks. */
void channel_id_new(uint8_t out[RECORD_CHANNEL_BYTES])
{
    static _Thread_local struct {
        uint8_t bytes[4096];
        size_t left;
    } pool;
    if (pool.left == 0) {
        size_t n = 0;
        while (n < sizeof pool.bytes) {
            ssize_t k = getrandom(pool.bytes + n, sizeof pool.bytes - n, 0);
            assert(k > 0 || errno == EINTR);
            n += k > 0 ? (size_t)k : 0;
        }
        pool.left = n;
    }
    pool.left -= RECORD_CHANNEL_BYTES;
    memcpy(out, pool.bytes + pool.left, RECORD_CHANNEL_BYTES);
}
