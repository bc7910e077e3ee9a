/* Counted messages; see message.h. */
#include "broker/message.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

static uint8_t *put(uint8_t *at, struct slice s)
{
    if (s.n > 0) {
        memcpy(at, s.p, s.n);
    }
    return at + s.n;
}

struct message *message_make(const struct message_parts *p)
{
    struct message *m = mem_alloc(sizeof *m + p->topic.n + p->payload.n + p->extra.n);
    *m = (struct message){.refs = 1,
                          .topic_len = (uint32_t)p->topic.n,
                          .payload_len = (uint32_t)p->payload.n,
                          .extra_len = (uint32_t)p->extra.n,
                          .expires_ms = p->expires_ms,
                          .qos = p->qos,
                          .retain = p->retain};
    (void)put(put(put(m->bytes, p->topic), p->payload), p->extra);
    return m;
}

struct message *message_new(struct slice topic, struct slice payload, uint8_t qos, bool retain)
{
    const struct message_parts p = {
        .topic = topic, .payload = payload, .qos = qos, .retain = retain};
    return message_make(&p);
}

void message_parts(const struct message *m, struct message_parts *out)
{
    *out = (struct message_parts){.topic = message_topic(m),
                                  .payload = message_payload(m),
                                  .extra = message_extra(m),
                                  .expires_ms = m->expires_ms,
                                  .qos = m->qos,
                                  .retain = m->retain};
}

void message_unref(struct message *m)
{
    assert(m->refs > 0);
    if (--m->refs == 0) {
        free(m);
    }
}
