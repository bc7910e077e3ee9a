/*
 * Evidence as bytes: entries one behind the other, each a key and a value in the form that the key's type tells:
 *
 *   key     varint                    the row's position in evidence.def
 *   value   U64 BOOL TIME MS          varint
 *           I64                       varint, zigzag
 *           STR HEX                   varint length (at most 256), bytes
 *           CHANNEL                   16 bytes
 *
 * A key that this version does not know ends the list: what stands behind it can't be told apart.
 */
#include <assert.h>
#include <string.h>

#include "trace/record.h"
#include "trace/varint.h"

static const struct evidence_info infos[EV_COUNT_OF_KEYS] = {
#define EVIDENCE(sym, name, type, text) [EV_##sym] = {name, EVT_##type, text},
#include "trace/evidence.def"
#undef EVIDENCE
};

const struct evidence_info *evidence_info(enum evidence_key k)
{
    assert(k < EV_COUNT_OF_KEYS);
    return &infos[k];
}

static void put_number(struct evidence *e, enum evidence_key k, uint64_t v)
{
    if (varint_size(k) + varint_size(v) > sizeof e->bytes - e->n) {
        e->truncated = true;
        return;
    }
    uint8_t *p = e->bytes + e->n;
    size_t n = varint_put(p, k);
    n += varint_put(p + n, v);
    e->n = (uint16_t)(e->n + n);
}

void evidence_u64(struct evidence *e, enum evidence_key k, uint64_t v)
{
    assert(k < EV_COUNT_OF_KEYS);
    enum evidence_type t = infos[k].type;
    assert(t == EVT_U64 || t == EVT_BOOL || t == EVT_TIME || t == EVT_MS);
    put_number(e, k, v);
}

void evidence_i64(struct evidence *e, enum evidence_key k, int64_t v)
{
    assert(k < EV_COUNT_OF_KEYS && infos[k].type == EVT_I64);
    uint64_t sign = v < 0 ? UINT64_MAX : 0;
    put_number(e, k, ((uint64_t)v << 1) ^ sign);
}

/* Cut to the limit, and to the room that is left if a useful part of it fits. */
void evidence_bytes(struct evidence *e, enum evidence_key k, struct slice v)
{
    assert(k < EV_COUNT_OF_KEYS);
    enum evidence_type t = infos[k].type;
    assert(t == EVT_STR || t == EVT_HEX || t == EVT_CHANNEL);
    assert(t != EVT_CHANNEL || v.n == RECORD_CHANNEL_BYTES);
    enum { USEFUL = 16 };
    size_t room = sizeof e->bytes - e->n;
    size_t overhead = varint_size(k) + (t == EVT_CHANNEL ? 0 : 2);
    size_t max = room > overhead ? room - overhead : 0;
    if (v.n > max && (t == EVT_CHANNEL || max < USEFUL)) {
        e->truncated = true;
        return;
    }
    max = max < RECORD_STR_MAX ? max : RECORD_STR_MAX;
    size_t n = v.n <= max ? v.n : t == EVT_STR ? utf8_cut(v, max) : max;
    e->truncated = e->truncated || n < v.n;
    uint8_t *p = e->bytes + e->n;
    p += varint_put(p, k);
    if (t != EVT_CHANNEL) {
        p += varint_put(p, n);
    }
    if (n > 0) {
        memcpy(p, v.p, n);
    }
    e->n = (uint16_t)((size_t)(p - e->bytes) + n);
}

void evidence_str(struct evidence *e, enum evidence_key k, const char *v)
{
    evidence_bytes(e, k, slice_str(v));
}

static bool take_value(struct slice *in, enum evidence_type t, struct evidence_item *it)
{
    uint64_t n = RECORD_CHANNEL_BYTES;
    switch (t) {
    case EVT_U64:
    case EVT_BOOL:
    case EVT_TIME:
    case EVT_MS:
        return varint_take(in, &it->u64);
    case EVT_I64:
        if (!varint_take(in, &it->u64)) {
            return false;
        }
        it->i64 = (int64_t)((it->u64 >> 1) ^ (0 - (it->u64 & 1)));
        return true;
    case EVT_STR:
    case EVT_HEX:
        return varint_take(in, &n) && n <= RECORD_STR_MAX && slice_take(in, n, &it->bytes);
    case EVT_CHANNEL:
        return slice_take(in, n, &it->bytes);
    }
    return false;
}

bool evidence_next(struct slice *rest, struct evidence_item *out)
{
    struct slice in = *rest;
    uint64_t key;
    struct evidence_item it = {0};
    if (!varint_take(&in, &key) || key >= EV_COUNT_OF_KEYS) {
        return false;
    }
    it.key = (enum evidence_key)key;
    if (!take_value(&in, infos[key].type, &it)) {
        return false;
    }
    *rest = in;
    *out = it;
    return true;
}

bool evidence_find(struct slice detail, enum evidence_key k, struct evidence_item *out)
{
    struct evidence_item it;
    while (evidence_next(&detail, &it)) {
        if (it.key == k) {
            *out = it;
            return true;
        }
    }
    return false;
}
