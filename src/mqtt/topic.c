/*
 * Topic names and filters: checks and relations. All functions but the checks expect valid input and
 * read bytes only, so a level is what stands between two '/', also when it is empty.
 *
 * Relations go level by level. Two rules break the symmetry: 'a/#' matches 'a' too [MQTT-4.7.1-2], and a
 * leading wildcard matches no topic that begins with '$' [MQTT-4.7.2-1].
 */
#include "mqtt/topic.h"

#include <assert.h>

#include "mqtt/utf8.h"

enum { TOPIC_MAX = 65535 };

bool mqtt_topic_valid(struct slice topic)
{
    size_t at;
    return topic.n >= 1 && topic.n <= TOPIC_MAX && mqtt_text_check(topic, true, &at) == FAULT_NONE;
}

enum fault mqtt_filter_check(struct slice filter, size_t *at)
{
    *at = 0;
    if (filter.n == 0) {
        return FAULT_FILTER_EMPTY;
    }
    if (text_is_plain(filter.p, filter.n, true)) {
        return FAULT_NONE;
    }
    enum fault fault = mqtt_text_check(filter, false, at);
    for (size_t i = 0; fault == FAULT_NONE && i < filter.n; i++) {
        uint8_t c = filter.p[i];
        if (c != '#' && c != '+') {
            continue;
        }
        bool starts = i == 0 || filter.p[i - 1] == '/';
        bool last = i + 1 == filter.n;
        *at = i;
        if (c == '#' && (!starts || !last)) {
            fault = FAULT_FILTER_HASH;
        } else if (c == '+' && (!starts || (!last && filter.p[i + 1] != '/'))) {
            fault = FAULT_FILTER_PLUS;
        }
    }
    return fault;
}

bool mqtt_filter_valid(struct slice filter)
{
    size_t at;
    return filter.n <= TOPIC_MAX && mqtt_filter_check(filter, &at) == FAULT_NONE;
}

bool mqtt_filter_shared(struct slice whole, struct slice *name, struct slice *filter)
{
    struct slice rest = slice_from(whole, mqtt_filter_is_queue(whole) ? 0 : sizeof "$share/" - 1);
    const uint8_t *end = rest.n == 0 ? NULL : memchr(rest.p, '/', rest.n);
    if (end == NULL || end == rest.p || end + 1 == rest.p + rest.n) {
        return false;
    }
    *name = slice_make(rest.p, (size_t)(end - rest.p));
    *filter = slice_from(rest, name->n + 1);
    return memchr(name->p, '+', name->n) == NULL && memchr(name->p, '#', name->n) == NULL;
}

bool mqtt_filter_is_wild(struct slice filter)
{
    return filter.n > 0 &&
           (memchr(filter.p, '+', filter.n) != NULL || filter.p[filter.n - 1] == '#');
}

static bool wild_first(struct slice filter)
{
    return filter.n > 0 && (filter.p[0] == '+' || filter.p[0] == '#');
}

static bool dollar_first(struct slice s)
{
    return s.n > 0 && s.p[0] == '$';
}

bool mqtt_topic_matches(struct slice filter, struct slice topic)
{
    if (dollar_first(topic) && wild_first(filter)) {
        return false;
    }
    size_t j = 0;
    for (size_t i = 0; i < filter.n; i++) {
        uint8_t c = filter.p[i];
        if (c == '#') {
            return true;
        }
        if (c == '+') {
            while (j < topic.n && topic.p[j] != '/') {
                j++;
            }
        } else if (j == topic.n) {
            return c == '/' && i + 2 == filter.n && filter.p[i + 1] == '#';
        } else if (topic.p[j++] != c) {
            return false;
        }
    }
    return j == topic.n;
}

bool mqtt_level_next(struct slice *rest, bool *more, struct slice *level)
{
    if (!*more) {
        return false;
    }
    const uint8_t *slash = rest->n == 0 ? NULL : memchr(rest->p, '/', rest->n);
    *more = slash != NULL;
    size_t n = slash == NULL ? rest->n : (size_t)(slash - rest->p);
    *level = slice_make(rest->p, n);
    *rest = slice_from(*rest, slash == NULL ? n : n + 1);
    return true;
}

static bool level_is(struct slice level, char c)
{
    return level.n == 1 && level.p[0] == (uint8_t)c;
}

/* '#' at the end matches the level above too, but no topic is empty: so '#' and '/#' have no level above,
 * and match the same topics as '+/#' and '/+/#', which say it in a form that needs no exception. */
static struct slice parentless(struct slice filter)
{
    if (slice_eq(filter, slice_str("#"))) {
        return slice_str("+/#");
    }
    return slice_eq(filter, slice_str("/#")) ? slice_str("/+/#") : filter;
}

/* A walk over two filters, level by level. */
struct pair_walk {
    struct slice a, b, level_a, level_b;
    bool more_a, more_b, has_a, has_b;
};

static void pair_next(struct pair_walk *w)
{
    w->has_a = mqtt_level_next(&w->a, &w->more_a, &w->level_a);
    w->has_b = mqtt_level_next(&w->b, &w->more_b, &w->level_b);
}

bool mqtt_filter_covers(struct slice outer, struct slice inner)
{
    if (dollar_first(inner) && wild_first(outer)) {
        return false;
    }
    struct pair_walk w = {.a = outer, .b = parentless(inner), .more_a = true, .more_b = true};
    for (;;) {
        pair_next(&w);
        if (w.has_a && level_is(w.level_a, '#')) {
            return true;
        }
        if (!w.has_a || !w.has_b) {
            return !w.has_a && !w.has_b;
        }
        if (level_is(w.level_b, '#')) {
            return false;
        }
        if (!level_is(w.level_a, '+') && !slice_eq(w.level_a, w.level_b)) {
            return false;
        }
    }
}

bool mqtt_filter_overlaps(struct slice a, struct slice b)
{
    if ((dollar_first(a) && wild_first(b)) || (dollar_first(b) && wild_first(a))) {
        return false;
    }
    struct pair_walk w = {.a = parentless(a), .b = parentless(b), .more_a = true, .more_b = true};
    for (;;) {
        pair_next(&w);
        if ((w.has_a && level_is(w.level_a, '#')) || (w.has_b && level_is(w.level_b, '#'))) {
            return true;
        }
        if (!w.has_a || !w.has_b) {
            return !w.has_a && !w.has_b;
        }
        if (!level_is(w.level_a, '+') && !level_is(w.level_b, '+') &&
            !slice_eq(w.level_a, w.level_b)) {
            return false;
        }
    }
}
