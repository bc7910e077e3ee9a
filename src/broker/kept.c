/* A PUBLISH as bytes; see kept.h. */
#include "broker/kept.h"

/* A PUBLISH of QoS 1 or 2 has a packet ID; this one is never sent. */
enum { ANY_PACKET_ID = 1 };

void kept_put(struct buf *out, const struct mqtt_publish *p)
{
    struct mqtt_publish kept = *p;
    kept.packet_id = p->qos > 0 ? ANY_PACKET_ID : 0;
    mqtt_encode_publish(out, MQTT_V5, &kept);
}

bool kept_get(struct slice packet, struct mqtt_publish *out)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    long n = mqtt_frame(packet, UINT32_MAX, &f, &err);
    bool good = n > 0 && (size_t)n == packet.n && f.type == MQTT_PUBLISH &&
                mqtt_decode_publish(&f, MQTT_V5, out, &err) == 0 && out->topic.n > 0;
    if (good) {
        out->packet_id = 0;
    }
    return good;
}
