/* Delayed messages; see delayed.h. */
#include "broker/delayed.h"

#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "broker/kept.h"

#define PREFIX "$delayed/"
#define NUMBER_MAX UINT64_C(9999999999) /* a Unix time of the year 2286 */

bool delayed_parse(struct slice topic, uint64_t now_ms, uint64_t *delay_ms, struct slice *to)
{
    const size_t from = sizeof PREFIX - 1;
    const uint64_t max_ms = DELAYED_MAX_S * UINT64_C(1000);
    uint64_t number = 0, ms;
    size_t at = from;
    for (; at < topic.n && topic.p[at] >= '0' && topic.p[at] <= '9'; at++) {
        number = number * 10 + (topic.p[at] - '0');
        if (number > NUMBER_MAX) {
            return false;
        }
    }
    if (at == from || at + 1 >= topic.n || topic.p[at] != '/') {
        return false;
    }
    ms = number * 1000;
    if (number > DELAYED_MAX_S) {
        if (ms > now_ms + max_ms || ms + max_ms < now_ms) {
            return false;
        }
        ms = ms > now_ms ? ms - now_ms : 0;
    }
    *delay_ms = ms;
    *to = slice_from(topic, at + 1);
    return !delayed_is(*to);
}

static struct delayed *make(uint32_t instance, struct slice client_id, struct slice packet,
                            uint8_t qos)
{
    struct delayed *d = mem_new(1, sizeof *d + client_id.n + packet.n);
    assert(client_id.n <= UINT16_MAX && client_id.n > 0);
    list_init(&d->going);
    d->instance = instance;
    d->qos = qos;
    d->client_id_len = (uint16_t)client_id.n;
    d->packet_len = (uint32_t)packet.n;
    memcpy(d->bytes, client_id.p, client_id.n);
    memcpy(d->bytes + client_id.n, packet.p, packet.n);
    return d;
}

struct delayed *delayed_new(uint32_t instance, struct slice client_id, const struct mqtt_publish *p)
{
    struct mqtt_publish kept = *p;
    struct buf b = {0};
    kept.dup = false;
    kept.props.present &= ~(UINT64_C(1) << MQTT_PROP_TOPIC_ALIAS);
    kept_put(&b, &kept);
    struct delayed *d = make(instance, client_id, buf_slice(&b), p->qos);
    buf_fini(&b);
    return d;
}

struct delayed *delayed_restore(uint32_t instance, struct slice client_id, struct slice packet)
{
    struct mqtt_publish p;
    bool good = client_id.n > 0 && client_id.n <= UINT16_MAX && kept_get(packet, &p);
    return good ? make(instance, client_id, packet, p.qos) : NULL;
}

void delayed_free(struct delayed *d)
{
    if (d != NULL) {
        free(d->in.shares);
        free(d);
    }
}

bool delayed_publish(const struct delayed *d, uint64_t now_ms, struct mqtt_publish *out)
{
    bool good = kept_get(delayed_packet(d), out);
    assert(good);
    if (message_expired(d->expires_ms, now_ms)) {
        return false;
    }
    if (d->expires_ms != 0) {
        out->props.message_expiry = (uint32_t)((d->expires_ms - now_ms + 999) / 1000);
    }
    return true;
}
