/* Topics of one side as topics of the other; see mapping.h. */
#include "bridge/mapping.h"

#include <stdlib.h>

#include "base/mem.h"
#include "mqtt/topic.h"

enum { TOPIC_MAX = 65535 };

static struct slice joined(const char *prefix, const char *pattern)
{
    size_t a = strlen(prefix), b = strlen(pattern);
    char *p = mem_alloc(a + b + 1);
    memcpy(p, prefix, a);
    memcpy(p + a, pattern, b + 1);
    return slice_make(p, a + b);
}

static bool filter_good(const char *prefix, const char *pattern)
{
    struct slice filter = joined(prefix, pattern);
    bool good = mqtt_filter_valid(filter) && !mqtt_filter_is_shared(filter);
    free((void *)(uintptr_t)filter.p);
    return good;
}

const char *bridge_topic_fault(const struct bridge_topic *t)
{
    if (strpbrk(t->local_prefix, "+#") != NULL || strpbrk(t->remote_prefix, "+#") != NULL) {
        return "prefixes without + and #";
    }
    if (!filter_good(t->local_prefix, t->topic) || !filter_good(t->remote_prefix, t->topic)) {
        return "a topic filter behind each prefix";
    }
    return NULL;
}

void bridge_mapping_init(struct bridge_mapping *m, const struct bridge_topic *topics,
                         unsigned count)
{
    m->count = count;
    m->rules = mem_new(count, sizeof *m->rules);
    for (unsigned i = 0; i < count; i++) {
        const struct bridge_topic *t = &topics[i];
        struct bridge_rule *r = &m->rules[i];
        r->filter[BRIDGE_LOCAL] = joined(t->local_prefix, t->topic);
        r->filter[BRIDGE_REMOTE] = joined(t->remote_prefix, t->topic);
        r->prefix[BRIDGE_LOCAL] = strlen(t->local_prefix);
        r->prefix[BRIDGE_REMOTE] = strlen(t->remote_prefix);
        r->from[BRIDGE_LOCAL] = bridge_topic_goes_out(t);
        r->from[BRIDGE_REMOTE] = bridge_topic_comes_in(t);
        r->qos = (uint8_t)t->qos;
    }
}

void bridge_mapping_fini(struct bridge_mapping *m)
{
    for (unsigned i = 0; i < m->count; i++) {
        free((void *)(uintptr_t)m->rules[i].filter[BRIDGE_LOCAL].p);
        free((void *)(uintptr_t)m->rules[i].filter[BRIDGE_REMOTE].p);
    }
    free(m->rules);
    *m = (struct bridge_mapping){.count = 0};
}

/* The other side's prefix, and what of the topic stands behind this side's. */
static bool exchange(const struct bridge_rule *r, enum bridge_side from, struct slice topic,
                     struct buf *out)
{
    enum bridge_side to = from == BRIDGE_LOCAL ? BRIDGE_REMOTE : BRIDGE_LOCAL;
    struct slice prefix = slice_make(r->filter[to].p, r->prefix[to]);
    if (topic.n < r->prefix[from]) { /* "a" matches "a/" + "#": its parent, without the slash */
        if (prefix.n < 2 || prefix.p[prefix.n - 1] != '/') {
            return false;
        }
        prefix.n--;
    }
    struct slice rest = slice_from(topic, r->prefix[from]);
    if (prefix.n + rest.n == 0 || prefix.n + rest.n > TOPIC_MAX) {
        return false;
    }
    buf_put_slice(out, prefix);
    buf_put_slice(out, rest);
    return true;
}

bool bridge_map(const struct bridge_mapping *m, enum bridge_side from, struct slice topic,
                struct buf *out)
{
    buf_clear(out);
    for (unsigned i = 0; i < m->count; i++) {
        const struct bridge_rule *r = &m->rules[i];
        if (r->from[from] && mqtt_topic_matches(r->filter[from], topic)) {
            return exchange(r, from, topic, out);
        }
    }
    return false;
}
