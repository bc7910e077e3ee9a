/* Checks of strings as they stand in packets, with the place of the fault. Private to mqtt/. */
#ifndef TMQ_MQTT_UTF8_H
#define TMQ_MQTT_UTF8_H

#include "base/bytes.h"
#include "base/slice.h"
#include "mqtt/fault.h"

/* The first fault (UTF8, NUL; TOPIC_WILDCARD for '+' and '#' if `name`) and in *at its index. */
enum fault mqtt_text_check_slow(struct slice s, bool name, size_t *at);

/* Eight bytes at once: non-zero when one of them is NUL, not ASCII, or (name) '+' or '#'. Once no
 * byte has its high bit set, subtracting 1 from each sets one exactly where some byte was 0. */
static inline uint64_t text_suspects(uint64_t w, bool name)
{
    const uint64_t ones = 0x0101010101010101U;
    uint64_t bad = w | (w - ones);
    if (name) {
        bad |= ((w ^ (ones * '+')) - ones) | ((w ^ (ones * '#')) - ones);
    }
    return bad & (ones * 0x80);
}

/* 1 to 7 bytes as a word: overlapping loads, the rest filled with bytes that occur anyway. */
static inline uint64_t text_short_word(const uint8_t *p, size_t n)
{
    if (n >= 4) {
        return (uint64_t)get_le32(p) << 32 | get_le32(p + n - 4);
    }
    uint64_t w = (uint64_t)p[0] << 16 | (uint64_t)p[n / 2] << 8 | p[n - 1];
    return w | (uint64_t)p[0] * 0x0101010101000000U;
}

/* Whether a string is printable as it is: ASCII without NUL (and without wildcards, if `name`). */
static inline bool text_is_plain(const uint8_t *p, size_t n, bool name)
{
    if (n < 8) {
        return n == 0 || text_suspects(text_short_word(p, n), name) == 0;
    }
    uint64_t bad = text_suspects(get_le64(p + n - 8), name);
    for (size_t i = 0; i + 8 < n; i += 8) {
        bad |= text_suspects(get_le64(p + i), name);
    }
    return bad == 0;
}

static inline enum fault mqtt_text_check(struct slice s, bool name, size_t *at)
{
    return text_is_plain(s.p, s.n, name) ? FAULT_NONE : mqtt_text_check_slow(s, name, at);
}

/* As above for a whole topic filter: also FILTER_EMPTY, FILTER_HASH, FILTER_PLUS. */
enum fault mqtt_filter_check(struct slice filter, size_t *at);

#endif
