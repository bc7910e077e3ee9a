/*
 * Reclamation by quiescent states; see qsbr.h. An item retired at epoch e (the epoch is then e + 1) may be freed
 * when every reader is offline or has shown an epoch above e: it passed a quiescent point after the unlinking.
 */
#include "base/qsbr.h"

#include <assert.h>
#include <stddef.h>

void qsbr_init(struct qsbr *q, unsigned readers)
{
    assert(readers <= QSBR_MAX_READERS);
    atomic_init(&q->epoch, 1);
    q->readers = readers;
    q->head = NULL;
    q->tail = &q->head;
    for (unsigned i = 0; i < QSBR_MAX_READERS; i++) {
        atomic_init(&q->reader[i].epoch, 0);
    }
}

static void free_first(struct qsbr *q)
{
    struct qsbr_item *item = q->head;
    q->head = item->next;
    if (q->head == NULL) {
        q->tail = &q->head;
    }
    item->free(item);
}

void qsbr_fini(struct qsbr *q)
{
    while (q->head != NULL) {
        free_first(q);
    }
}

void qsbr_retire(struct qsbr *q, struct qsbr_item *item, void (*fn)(struct qsbr_item *item))
{
    item->next = NULL;
    item->free = fn;
    item->epoch = atomic_fetch_add(&q->epoch, 1);
    *q->tail = item;
    q->tail = &item->next;
}

void qsbr_reclaim(struct qsbr *q)
{
    if (q->head == NULL) {
        return;
    }
    atomic_thread_fence(memory_order_seq_cst);
    uint64_t oldest = UINT64_MAX;
    for (unsigned i = 0; i < q->readers; i++) {
        uint64_t e = atomic_load(&q->reader[i].epoch);
        if (e != 0 && e < oldest) {
            oldest = e;
        }
    }
    while (q->head != NULL && q->head->epoch < oldest) {
        free_first(q);
    }
}
