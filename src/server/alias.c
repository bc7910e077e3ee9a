/*
 * Topic aliases of an MQTT 5 connection, both ways. They live with the connection and are never taken over. [MQTT-3.3.2-7]
 *
 * Incoming: what the client set, up to topic_alias_maximum. Outgoing: the first topics that the connection sees, as many as
 * the client takes and we care to remember; a topic is replaced by its alias only behind a packet that stands in the output.
 */
#include <stdlib.h>

#include "base/hash.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { OUT_MAX = 64, PROPERTY_BYTES = 3 };

struct alias_in {
    uint8_t *topic; /* NULL: not set */
    size_t n;
};

struct alias_topic {
    uint64_t hash;
    uint8_t *topic;
    size_t n;
};

struct aliases {
    struct alias_in *in; /* alias 1 first; topic_alias_maximum of them */
    struct alias_topic *out;
    uint16_t in_count, out_count, out_max;
};

static struct aliases *aliases_of(struct conn *c)
{
    if (c->v5->aliases == NULL) {
        struct aliases *a = mem_new(1, sizeof *a);
        a->in_count = c->v5->granted_alias;
        a->out_max = c->v5->alias_max < OUT_MAX ? c->v5->alias_max : OUT_MAX;
        c->v5->aliases = a;
    }
    return c->v5->aliases;
}

void aliases_free(struct aliases *a)
{
    if (a == NULL) {
        return;
    }
    for (unsigned i = 0; a->in != NULL && i < a->in_count; i++) {
        free(a->in[i].topic);
    }
    for (unsigned i = 0; i < a->out_count; i++) {
        free(a->out[i].topic);
    }
    free(a->in);
    free(a->out);
    free(a);
}

bool alias_in(struct conn *c, struct mqtt_publish *p, struct mqtt_error *err)
{
    uint16_t alias = p->props.topic_alias;
    struct aliases *a = aliases_of(c);
    if (alias > a->in_count) {
        *err = (struct mqtt_error){.cause = CAUSE_LIMIT_TOPIC_ALIAS,
                                   .reason = MQTT_RC_TOPIC_ALIAS,
                                   .clause = "MQTT-3.3.2-9",
                                   .text = "a topic alias up to the maximum that CONNACK named"};
        return false;
    }
    if (a->in == NULL) {
        a->in = mem_new(a->in_count, sizeof *a->in);
    }
    struct alias_in *known = &a->in[alias - 1];
    if (p->topic.n > 0) {
        free(known->topic);
        known->topic = (uint8_t *)mem_strndup(p->topic.p, p->topic.n);
        known->n = p->topic.n;
    } else if (known->topic == NULL) {
        *err = (struct mqtt_error){.cause = CAUSE_PROTOCOL_VIOLATION,
                                   .reason = MQTT_RC_PROTOCOL_ERROR,
                                   .clause = "MQTT-3.3.2-8",
                                   .text = "a topic with the first use of its alias"};
        return false;
    }
    p->topic = slice_make(known->topic, known->n);
    return true;
}

static void set(struct mqtt_publish *p, unsigned alias)
{
    p->props.topic_alias = (uint16_t)alias;
    p->props.present |= UINT64_C(1) << MQTT_PROP_TOPIC_ALIAS;
}

/* The message, which fits as it is, still does with a new alias beside its topic. */
static bool has_room(const struct conn *c, const struct mqtt_publish *p)
{
    if (c->v5->max_packet == UINT32_MAX) {
        return true;
    }
    struct mqtt_publish with = *p;
    set(&with, 1);
    return mqtt_publish_size(MQTT_V5, &with) <= c->v5->max_packet;
}

void alias_out(struct conn *c, struct mqtt_publish *p)
{
    struct aliases *a = aliases_of(c);
    uint64_t hash = hash64(p->topic);
    if (p->topic.n <= PROPERTY_BYTES) {
        return; /* nothing to save */
    }
    for (unsigned i = 0; i < a->out_count; i++) {
        const struct alias_topic *t = &a->out[i];
        if (t->hash == hash && slice_eq(slice_make(t->topic, t->n), p->topic)) {
            p->topic.n = 0;
            set(p, i + 1);
            return;
        }
    }
    if (a->out_count == a->out_max || !has_room(c, p)) {
        return;
    }
    if (a->out == NULL) {
        a->out = mem_new(a->out_max, sizeof *a->out);
    }
    a->out[a->out_count++] = (struct alias_topic){
        .hash = hash, .topic = (uint8_t *)mem_strndup(p->topic.p, p->topic.n), .n = p->topic.n};
    set(p, a->out_count);
}
