/*
 * A packed record:
 *
 *   mask        u16, little-endian: which members follow (enum member)
 *   seq         varint, less the seq of the record before
 *   time        varint, zigzag, less the time before
 *   then, when the mask has their bit, in its order: flags 1, cause (varint), transport 1, protocol 1, keepalive
 *   (varint), connected at, channel ID 16, node, listener, peer, proxy, user, evidence (varint length and bytes each)
 *
 * A member without its bit is that of the record before; evidence without its bit is empty. Two bits say what the time of
 * the connect is: none, the record's own, the time before (an ending behind its connect), or a varint, zigzag: own time less
 * that one.
 */
#include "trace/pack.h"

#include <assert.h>
#include <string.h>

#include "base/bytes.h"
#include "trace/varint.h"

enum member {
    FLAGS = 1 << 0,
    MEMBER_CAUSE = 1 << 1,
    TRANSPORT = 1 << 2,
    PROTOCOL = 1 << 3,
    KEEPALIVE = 1 << 4,
    CONNECTED_OWN = 1 << 5,
    CONNECTED_BEFORE = 2 << 5,
    CONNECTED_GIVEN = 3 << 5,
    CHANNEL = 1 << 7,
    NODE = 1 << 8,
    LISTENER = 1 << 9,
    PEER = 1 << 10,
    PROXY = 1 << 11,
    USER = 1 << 12,
    DETAIL = 1 << 13,
    ALL_MEMBERS = (1 << 14) - 1
};

static uint64_t zigzag(uint64_t difference)
{
    return difference << 1 ^ (0 - (difference >> 63));
}

static uint64_t unzigzag(uint64_t v)
{
    return v >> 1 ^ (0 - (v & 1));
}

/* ---- packing ---- */

static uint8_t *put_slice(uint8_t *p, struct slice s)
{
    p += varint_put(p, s.n);
    if (s.n > 0) {
        memcpy(p, s.p, s.n);
    }
    return p + s.n;
}

static unsigned put_if_other(uint8_t **p, struct slice s, struct slice before, enum member bit)
{
    if (slice_eq(s, before)) {
        return 0;
    }
    *p = put_slice(*p, s);
    return bit;
}

static unsigned put_connected(uint8_t **p, const struct record *r, const struct record *before)
{
    if (r->connected_at_us == 0) {
        return 0;
    }
    if (r->connected_at_us == r->time_us) {
        return CONNECTED_OWN;
    }
    if (r->connected_at_us == before->time_us) {
        return CONNECTED_BEFORE;
    }
    *p += varint_put(*p, zigzag(r->time_us - r->connected_at_us));
    return CONNECTED_GIVEN;
}

static unsigned put_numbers(uint8_t **at, const struct record *r, const struct record *before)
{
    uint8_t *p = *at;
    unsigned mask = 0;
    if (r->flags != before->flags) {
        mask |= FLAGS;
        *p++ = r->flags;
    }
    if (r->cause != before->cause) {
        mask |= MEMBER_CAUSE;
        p += varint_put(p, (uint64_t)r->cause);
    }
    if (r->transport != before->transport) {
        mask |= TRANSPORT;
        *p++ = r->transport;
    }
    if (r->protocol != before->protocol) {
        mask |= PROTOCOL;
        *p++ = r->protocol;
    }
    if (r->keepalive != before->keepalive) {
        mask |= KEEPALIVE;
        p += varint_put(p, r->keepalive);
    }
    mask |= put_connected(&p, r, before);
    if (memcmp(r->channel, before->channel, RECORD_CHANNEL_BYTES) != 0) {
        mask |= CHANNEL;
        memcpy(p, r->channel, RECORD_CHANNEL_BYTES);
        p += RECORD_CHANNEL_BYTES;
    }
    *at = p;
    return mask;
}

size_t record_pack(const struct record *r, const struct record *before, uint8_t *out)
{
    assert(r->node.n <= RECORD_STR_MAX && r->listener.n <= RECORD_STR_MAX &&
           r->peer.n <= RECORD_STR_MAX && r->proxy.n <= RECORD_STR_MAX &&
           r->user.n <= RECORD_STR_MAX && r->detail.n <= EVIDENCE_MAX);
    uint8_t *p = out + 2;
    p += varint_put(p, r->seq - before->seq);
    p += varint_put(p, zigzag(r->time_us - before->time_us));
    unsigned mask = put_numbers(&p, r, before);
    mask |= put_if_other(&p, r->node, before->node, NODE);
    mask |= put_if_other(&p, r->listener, before->listener, LISTENER);
    mask |= put_if_other(&p, r->peer, before->peer, PEER);
    mask |= put_if_other(&p, r->proxy, before->proxy, PROXY);
    mask |= put_if_other(&p, r->user, before->user, USER);
    mask |= put_if_other(&p, r->detail, slice_make(NULL, 0), DETAIL);
    put_le16(out, (uint16_t)mask);
    return (size_t)(p - out);
}

/* ---- unpacking ---- */

static bool take_u8(struct slice *in, uint8_t *out)
{
    struct slice s;
    if (!slice_take(in, 1, &s)) {
        return false;
    }
    *out = s.p[0];
    return true;
}

static bool take_connected(struct slice *in, unsigned mask, const struct record *before,
                           struct record *r)
{
    uint64_t v;
    r->connected_at_us = 0;
    switch (mask & CONNECTED_GIVEN) {
    case CONNECTED_OWN:
        r->connected_at_us = r->time_us;
        break;
    case CONNECTED_BEFORE:
        r->connected_at_us = before->time_us;
        break;
    case CONNECTED_GIVEN:
        if (!varint_take(in, &v)) {
            return false;
        }
        r->connected_at_us = r->time_us - unzigzag(v);
        break;
    default:
        break;
    }
    return true;
}

static bool take_numbers(struct slice *in, unsigned mask, const struct record *before,
                         struct record *r)
{
    uint64_t v = (uint64_t)r->cause;
    struct slice channel;
    if (((mask & FLAGS) != 0 && !take_u8(in, &r->flags)) ||
        ((mask & MEMBER_CAUSE) != 0 && !varint_take(in, &v)) || v >= CAUSE_COUNT ||
        ((mask & TRANSPORT) != 0 && !take_u8(in, &r->transport)) || r->transport > TRANSPORT_UNIX ||
        ((mask & PROTOCOL) != 0 && !take_u8(in, &r->protocol))) {
        return false;
    }
    r->cause = (enum cause)v;
    v = r->keepalive;
    if (((mask & KEEPALIVE) != 0 && !varint_take(in, &v)) || v > UINT16_MAX ||
        !take_connected(in, mask, before, r)) {
        return false;
    }
    r->keepalive = (uint16_t)v;
    if ((mask & CHANNEL) != 0) {
        if (!slice_take(in, RECORD_CHANNEL_BYTES, &channel)) {
            return false;
        }
        memcpy(r->channel, channel.p, RECORD_CHANNEL_BYTES);
    }
    return true;
}

/* `*out` stays as it is when the member does not follow. */
static bool take_member(struct slice *in, unsigned follows, size_t limit, struct slice *out)
{
    uint64_t n;
    return follows == 0 || (varint_take(in, &n) && n <= limit && slice_take(in, n, out));
}

int record_unpack(struct slice *in, const struct record *before, struct record *out)
{
    struct slice rest = *in;
    struct slice head;
    struct record r = *before;
    uint64_t seq;
    uint64_t time;
    r.instance = r.client_id = r.detail = slice_make(NULL, 0);
    if (!slice_take(&rest, 2, &head) || !varint_take(&rest, &seq) || !varint_take(&rest, &time)) {
        return -1;
    }
    unsigned mask = get_le16(head.p);
    r.seq += seq;
    r.time_us += unzigzag(time);
    if (mask > ALL_MEMBERS || !take_numbers(&rest, mask, before, &r) ||
        !take_member(&rest, mask & NODE, RECORD_STR_MAX, &r.node) ||
        !take_member(&rest, mask & LISTENER, RECORD_STR_MAX, &r.listener) ||
        !take_member(&rest, mask & PEER, RECORD_STR_MAX, &r.peer) ||
        !take_member(&rest, mask & PROXY, RECORD_STR_MAX, &r.proxy) ||
        !take_member(&rest, mask & USER, RECORD_STR_MAX, &r.user) ||
        !take_member(&rest, mask & DETAIL, EVIDENCE_MAX, &r.detail)) {
        return -1;
    }
    *in = rest;
    *out = r;
    return 0;
}
