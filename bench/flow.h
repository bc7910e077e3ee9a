/*
 * flow: messages on their way: publishers with a window, subscribers that check what they get.
 *
 * One engine for the cases pairs, fanout, fanin, pingpong and latency. A message is complete when
 * every subscriber of its publisher has it and (QoS 1, 2) its acknowledgement has arrived; only
 * then it leaves the window, so nothing queues without limit, also at QoS 0. A publisher refills
 * when half its window is free: what it sends is a batch, as from a busy client.
 *
 * Payload: publisher u32 | sequence u64 | time ns u64 | 0 u32 | 'a' … (24 bytes and more).
 */
#pragma once

#include "load.h"

#define PAYLOAD_HEAD 24U
#define TOPIC_ROOM 32U
#define MISSING_MAX 4096U

enum role { PUBLISHER, SUBSCRIBER };

struct publisher {
    struct client client;
    uint8_t *packet;     /* a whole PUBLISH, in which ID, sequence and time are replaced */
    uint16_t *delivered; /* by sequence modulo window: to how many subscribers */
    size_t packet_bytes, payload_at, id_at;
    uint64_t sent, done, received, acked; /* received: PUBRECs; sequence numbers all */
    uint64_t quota;                       /* up to which it may send */
    char topic[TOPIC_ROOM];
};

struct subscriber {
    struct client client;
    uint64_t *next;        /* next sequence by publisher, from `first` on */
    uint32_t first, heard; /* the publishers it hears */
    uint64_t got;          /* messages, in all */
    uint32_t releases;     /* PUBRELs it waits for */
};

/* A number that was skipped: lost, unless it still arrives. */
struct missing {
    uint64_t seq;
    uint32_t publisher, subscriber;
};

struct run {
    struct load *l;
    struct loop loop;
    struct publisher *publishers;
    struct subscriber *subscribers;
    struct missing *missing;
    uint8_t *fill; /* what follows PAYLOAD_HEAD */
    uint32_t publisher_count, subscriber_count, fan, missing_count;
    uint32_t ready, opened;
    uint64_t deliveries; /* all subscribers */
    int64_t now;
    int64_t next_due;    /* case latency: when the next message is due */
    int64_t interval_ns; /* 0: closed loop */
    uint32_t next_publisher;
    bool shared; /* one shared subscription: each message to one member */
    bool timed;  /* take latencies */
    bool spins;  /* never sleep, so that the broker does not pay for waking our core up */
};

/* Sequence number below which all is complete: what stays in the window begins there. */
uint64_t flow_settled(const struct run *r, const struct publisher *p);

/* Closed loop: fills the publisher's window when half of it is free. */
void flow_refill(struct run *r, struct publisher *p);

/* Fixed rate: sends what is due by r->now; each message counts from when it was due. */
void flow_send_due(struct run *r);

/* A packet for a client that is set up. */
void flow_receive(struct run *r, struct client *c, const struct wire_frame *f);

/* The subscriber never got [from, to) of that publisher: counts them as lost. */
void flow_skip(struct run *r, const struct subscriber *s, uint32_t publisher, uint64_t from,
               uint64_t to);
