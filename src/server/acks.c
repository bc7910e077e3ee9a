/*
 * Acknowledgements to a publisher leave in the order in which its messages came, although the stores that they wait for
 * answer in any order. [MQTT-4.6.0-2] [MQTT-4.6.0-3]
 */
#include <assert.h>
#include <stdlib.h>

#include "base/mem.h"
#include "server/server_priv.h"

static struct pending_ack *ack_at(const struct publisher *p, uint32_t number)
{
    return &p->acks[number & (p->cap - 1)];
}

static void grow(struct publisher *p)
{
    uint32_t cap = p->cap == 0 ? 16 : p->cap * 2;
    struct pending_ack *acks = mem_new(cap, sizeof *acks);
    for (uint32_t n = p->head; n != p->tail; n++) {
        acks[n & (cap - 1)] = *ack_at(p, n);
    }
    free(p->acks);
    p->acks = acks;
    p->cap = cap;
}

void acks_send(struct conn *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason)
{
    mqtt_encode_ack(conn_out(c), (enum mqtt_version)c->version, type, packet_id, reason);
    conn_sent(c, type);
    conn_dirty(c);
}

void acks_put(struct conn *c, const struct mqtt_publish *p, uint8_t reason, uint32_t waits)
{
    struct publisher *pub = c->pub;
    enum mqtt_type type = p->qos == 1 ? MQTT_PUBACK : MQTT_PUBREC;
    if (waits == 0 && pub->head == pub->tail) {
        acks_send(c, type, p->packet_id, reason);
        return;
    }
    if (pub->tail - pub->head == pub->cap) {
        grow(pub);
    }
    pub->pubacks += type == MQTT_PUBACK;
    *ack_at(pub, pub->tail++) = (struct pending_ack){.packet_id = p->packet_id,
                                                     .type = (uint8_t)type,
                                                     .reason = reason,
                                                     .waiting = (uint16_t)waits};
}

static void send_ready(struct conn *c)
{
    struct publisher *p = c->pub;
    while (p->head != p->tail && ack_at(p, p->head)->waiting == 0) {
        const struct pending_ack *a = ack_at(p, p->head++);
        p->pubacks -= a->type == MQTT_PUBACK;
        acks_send(c, (enum mqtt_type)a->type, a->packet_id, a->reason);
    }
}

void acks_answered(struct conn *c, uint32_t number)
{
    if (c->state != CONN_OPEN) {
        return;
    }
    struct pending_ack *a = ack_at(c->pub, number);
    assert(a->waiting > 0);
    if (--a->waiting == 0 && number == c->pub->head) {
        send_ready(c);
    }
}
