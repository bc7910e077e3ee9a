/* Wills; see will.h. */
#include "broker/will.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/kept.h"

static struct will *make(struct slice packet, uint32_t delay_s)
{
    struct will *will = mem_alloc(sizeof *will + packet.n);
    *will = (struct will){.delay_s = delay_s, .len = (uint32_t)packet.n};
    memcpy(will->packet, packet.p, packet.n);
    return will;
}

struct will *will_new(const struct mqtt_will *from)
{
    const uint64_t delay = UINT64_C(1) << MQTT_PROP_WILL_DELAY;
    struct mqtt_publish p = {.qos = from->qos,
                             .retain = from->retain,
                             .topic = from->topic,
                             .payload = from->payload,
                             .props = from->props};
    struct buf b = {0};
    p.props.present &= ~delay;
    kept_put(&b, &p);
    struct will *will =
        make(buf_slice(&b), (from->props.present & delay) != 0 ? from->props.will_delay : 0);
    buf_fini(&b);
    return will;
}

struct will *will_restore(struct slice packet, uint32_t delay_s)
{
    struct mqtt_publish p;
    return kept_get(packet, &p) ? make(packet, delay_s) : NULL;
}

void will_free(struct will *will)
{
    free(will);
}

void will_publish(const struct will *will, struct mqtt_publish *out)
{
    bool good = kept_get(will_packet(will), out);
    assert(good);
}
