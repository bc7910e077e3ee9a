/*
 * Quiescent-state-based reclamation: what one thread unlinks from a structure that others read without locks is freed
 * when every reader has passed a point at which it holds no pointer into it.
 *
 * Readers (the loops, numbered) call qsbr_quiescent() once a round, qsbr_offline() before they sleep and
 * qsbr_online() behind it. Writers serialize qsbr_retire() and qsbr_reclaim() themselves (they hold the structure's
 * writer lock).
 */
#ifndef TMQ_BASE_QSBR_H
#define TMQ_BASE_QSBR_H

#include <stdatomic.h>
#include <stdint.h>

enum { QSBR_MAX_READERS = 64 };

struct qsbr_item {
    struct qsbr_item *next;
    uint64_t epoch;
    void (*free)(struct qsbr_item *item);
};

struct qsbr_reader {
    _Alignas(64) _Atomic uint64_t epoch; /* 0: offline */
};

struct qsbr {
    _Atomic uint64_t epoch;
    unsigned readers;
    struct qsbr_item *head, **tail; /* retired, oldest first */
    struct qsbr_reader reader[QSBR_MAX_READERS];
};

void qsbr_init(struct qsbr *q, unsigned readers);
/* Frees all that is retired, at once: no reader may run any more. */
void qsbr_fini(struct qsbr *q);

static inline void qsbr_quiescent(struct qsbr *q, unsigned reader)
{
    atomic_store_explicit(&q->reader[reader].epoch,
                          atomic_load_explicit(&q->epoch, memory_order_acquire),
                          memory_order_release);
}

static inline void qsbr_offline(struct qsbr *q, unsigned reader)
{
    atomic_store_explicit(&q->reader[reader].epoch, 0, memory_order_release);
}

/* Sequentially consistent: what the reader loads behind it is not older than its epoch. */
static inline void qsbr_online(struct qsbr *q, unsigned reader)
{
    atomic_store(&q->reader[reader].epoch, atomic_load(&q->epoch));
    atomic_thread_fence(memory_order_seq_cst);
}

/* `item` was unlinked: no new reader can find it. */
void qsbr_retire(struct qsbr *q, struct qsbr_item *item, void (*fn)(struct qsbr_item *item));
/* Frees what no reader can hold any more. */
void qsbr_reclaim(struct qsbr *q);

#endif
