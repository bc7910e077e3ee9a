/* Counted messages; see message.h. */
#include "broker/message.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

struct message *message_new(struct slice topic, struct slice payload, uint8_t qos, bool retain)
{
    struct message *m = mem_alloc(sizeof *m + topic.n + payload.n);
    m->refs = 1;
    m->topic_len = (uint32_t)topic.n;
    m->payload_len = (uint32_t)payload.n;
    m->store_id = 0;
    m->store_refs = 0;
    m->qos = qos;
    m->retain = retain;
    memcpy(m->bytes, topic.p, topic.n);
    if (payload.n > 0) {
        memcpy(m->bytes + topic.n, payload.p, payload.n);
    }
    return m;
}

void message_unref(struct message *m)
{
    assert(m->refs > 0);
    if (--m->refs == 0) {
        free(m);
    }
}
