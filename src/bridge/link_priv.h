/* What the files of the link share. */
#ifndef TMQ_BRIDGE_LINK_PRIV_H
#define TMQ_BRIDGE_LINK_PRIV_H

#include "bridge/link.h"
#include "mqtt/client.h"

enum { LINK_ERROR_MAX = 256, LINK_ID_MAX = 64, LINK_ID_WORDS = 65536 / 64 };

/* Packet identifiers. */
struct id_bits {
    uint64_t word[LINK_ID_WORDS];
};

struct link_side {
    struct buf in, out;
    uint64_t last_in_ms, last_out_ms;
    uint32_t max_packet;
    enum mqtt_version version;
    bool opened; /* accepted its CONNECT */
};

struct link {
    struct link_options o;
    enum link_phase phase;
    bool preparing;
    bool remote_present, local_present;
    bool remote_spoke; /* it sent something */
    bool forgot;       /* link_forgot() */
    uint8_t remote_max_qos;
    bool remote_retains;
    uint8_t connack; /* refused: by that code */
    uint16_t sub_id;
    unsigned sub_first,
        sub_next;          /* rules of the SUBSCRIBE that is not answered; the next one begins at */
    uint32_t receive_max;  /* what the remote takes in flight */
    uint32_t keepalive_ms; /* towards the remote; 0: off */
    uint64_t ping_ms;      /* the last PINGREQ, 0: none */
    uint64_t begun_ms;
    struct link_side side[BRIDGE_SIDES];
    struct buf held;  /* from the local side, behind its SUBACK in order */
    struct buf topic; /* of the message being forwarded */
    struct buf extra, scratch;
    struct buf mark[BRIDGE_SIDES]; /* of the broker on that side, as a property */
    char remote_id[LINK_ID_MAX + 1];
    /* By direction of the message: identifiers that this link answers for itself, as QoS 2 messages that it dropped. */
    struct id_bits own[BRIDGE_SIDES];
    struct id_bits lowered; /* QoS 2 here, QoS 1 at the remote */
    char error[LINK_ERROR_MAX];
};

static inline bool id_has(const struct id_bits *b, uint16_t id)
{
    return (b->word[id >> 6] >> (id & 63) & 1) != 0;
}
static inline void id_set(struct id_bits *b, uint16_t id, bool on)
{
    uint64_t bit = UINT64_C(1) << (id & 63);
    b->word[id >> 6] = on ? b->word[id >> 6] | bit : b->word[id >> 6] & ~bit;
}

static inline enum bridge_side other_side(enum bridge_side s)
{
    return s == BRIDGE_LOCAL ? BRIDGE_REMOTE : BRIDGE_LOCAL;
}

static inline bool props_have(const struct mqtt_props *p, enum mqtt_prop id)
{
    return (p->present >> (unsigned)id & 1) != 0;
}
static inline void props_add(struct mqtt_props *p, enum mqtt_prop id)
{
    p->present |= UINT64_C(1) << (unsigned)id;
}

/* ---- forward.c ---- */
/* PUBLISH and its acknowledgements, from side `from`. */
void link_forward(struct link *l, enum bridge_side from, const struct mqtt_frame *f);

/* ---- opening.c ---- */
/* The CONNECTs. */
void link_connect_remote(struct link *l);
void link_connect_local(struct link *l);
/* Their answers. */
void link_remote_connack(struct link *l, const struct mqtt_frame *f);
void link_local_connack(struct link *l, const struct mqtt_frame *f);
/* The next SUBSCRIBE to a side; false: there is none left. */
bool link_subscribe(struct link *l, enum bridge_side side);
/* SUBACK: false: it is not the one that was awaited. */
bool link_suback(struct link *l, enum bridge_side side, const struct mqtt_frame *f);
/* Retained message that tells whether the bridge is connected, as far as settings want it. */
void link_notify(struct link *l, enum bridge_side side, const char *state);

/* ---- link.c ---- */
void link_bad(struct link *l, enum bridge_side side, const struct mqtt_error *err);

#endif
