/* Wills; see will.h. */
#include "broker/will.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"

/* A PUBLISH of QoS 1 or 2 has a packet ID; this one is never sent. */
enum { ANY_PACKET_ID = 1 };

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
                             .packet_id = from->qos > 0 ? ANY_PACKET_ID : 0,
                             .topic = from->topic,
                             .payload = from->payload,
                             .props = from->props};
    struct buf b = {0};
    p.props.present &= ~delay;
    mqtt_encode_publish(&b, MQTT_V5, &p);
    struct will *will =
        make(buf_slice(&b), (from->props.present & delay) != 0 ? from->props.will_delay : 0);
    buf_fini(&b);
    return will;
}

static bool decode(struct slice packet, struct mqtt_publish *out)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    long n = mqtt_frame(packet, UINT32_MAX, &f, &err);
    return n > 0 && (size_t)n == packet.n && f.type == MQTT_PUBLISH &&
           mqtt_decode_publish(&f, MQTT_V5, out, &err) == 0 && out->topic.n > 0;
}

struct will *will_restore(struct slice packet, uint32_t delay_s)
{
    struct mqtt_publish p;
    return decode(packet, &p) ? make(packet, delay_s) : NULL;
}

void will_free(struct will *will)
{
    free(will);
}

void will_publish(const struct will *will, struct mqtt_publish *out)
{
    bool good = decode(will_packet(will), out);
    assert(good);
    out->packet_id = 0;
}
