/*
 * UTF-8 by RFC 3629, table 3-7 of Unicode: shortest forms only, no surrogates, nothing above U+10FFFF;
 * MQTT forbids U+0000 too. The usual string is ASCII and never comes here but by utf8.h's eight bytes
 * at a time; this is the exact pass that finds the place of the fault.
 */
#include "mqtt/utf8.h"

#include "mqtt/topic.h"

static bool is_tail(uint8_t b)
{
    return (b & 0xC0) == 0x80;
}

/* Whether the second byte of a sequence is in the range that its first byte leaves. */
static bool second_fits(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xE0: /* no overlong forms */
        return second >= 0xA0 && second <= 0xBF;
    case 0xED: /* no surrogates */
        return second >= 0x80 && second <= 0x9F;
    case 0xF0: /* no overlong forms */
        return second >= 0x90 && second <= 0xBF;
    case 0xF4: /* nothing above U+10FFFF */
        return second >= 0x80 && second <= 0x8F;
    default:
        return is_tail(second);
    }
}

/* Bytes of the well-formed non-ASCII sequence at p, 0 if there is none within n bytes. */
static size_t sequence_len(const uint8_t *p, size_t n)
{
    size_t len = p[0] >= 0xC2 && p[0] <= 0xDF   ? 2
                 : p[0] >= 0xE0 && p[0] <= 0xEF ? 3
                 : p[0] >= 0xF0 && p[0] <= 0xF4 ? 4
                                                : 0;
    if (len == 0 || len > n || !second_fits(p[0], p[1])) {
        return 0;
    }
    for (size_t i = 2; i < len; i++) {
        if (!is_tail(p[i])) {
            return 0;
        }
    }
    return len;
}

enum fault mqtt_text_check_slow(struct slice s, bool name, size_t *at)
{
    size_t i = 0;
    while (i < s.n) {
        uint8_t b = s.p[i];
        *at = i;
        if (b >= 0x80) {
            size_t len = sequence_len(s.p + i, s.n - i);
            if (len == 0) {
                return FAULT_UTF8;
            }
            i += len;
            continue;
        }
        if (b == 0) {
            return FAULT_NUL;
        }
        if (name && (b == '+' || b == '#')) {
            return FAULT_TOPIC_WILDCARD;
        }
        i++;
    }
    return FAULT_NONE;
}

bool mqtt_utf8_valid(struct slice s)
{
    size_t at;
    return mqtt_text_check(s, false, &at) == FAULT_NONE;
}

bool mqtt_payload_is_utf8(struct slice payload)
{
    size_t at = 0;
    enum fault fault = mqtt_text_check(payload, false, &at);
    while (fault == FAULT_NUL) {
        payload = slice_from(payload, at + 1);
        fault = mqtt_text_check(payload, false, &at);
    }
    return fault == FAULT_NONE;
}
