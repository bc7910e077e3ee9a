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

uint32_t acks_put(struct conn *c, uint8_t type, uint16_t packet_id)
{
    struct publisher *p = c->pub;
    if (p->tail - p->head == p->cap) {
        grow(p);
    }
    p->pubacks += type == MQTT_PUBACK;
    *ack_at(p, p->tail) = (struct pending_ack){.packet_id = packet_id, .type = type};
    return p->tail++;
}

void acks_reason(struct conn *c, uint32_t number, uint8_t reason)
{
    ack_at(c->pub, number)->reason = reason;
}

static void send_ready(struct conn *c)
{
    struct publisher *p = c->pub;
    bool any = false;
    while (p->head != p->tail && ack_at(p, p->head)->waiting == 0) {
        const struct pending_ack *a = ack_at(p, p->head++);
        p->pubacks -= a->type == MQTT_PUBACK;
        mqtt_encode_ack(conn_out(c), (enum mqtt_version)c->version, (enum mqtt_type)a->type,
                        a->packet_id, a->reason);
        conn_sent(c, (enum mqtt_type)a->type);
        any = true;
    }
    if (any) {
        conn_dirty(c);
    }
}

bool acks_full(const struct conn *c)
{
    return c->pub != NULL && c->pub->tail - c->pub->head >= conn_receive_max(c);
}

void acks_waiting(struct conn *c, uint32_t number, uint32_t waits)
{
    struct pending_ack *a = ack_at(c->pub, number);
    a->waiting = (uint16_t)waits;
    if (waits == 0 && number == c->pub->head) {
        send_ready(c);
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
