/*
 * The one kind of queue between threads: many senders, one receiver, order kept per sender. Mail is intrusive;
 * whoever takes it owns it. Bounded by what senders ask before they push: mailbox_bytes().
 */
#ifndef TMQ_BASE_MAILBOX_H
#define TMQ_BASE_MAILBOX_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

struct mail {
    struct mail *next;
    uint32_t bytes; /* counted while it waits */
    uint32_t kind;  /* of the receiver's */
};

struct mailbox {
    _Atomic(struct mail *) top; /* newest first */
    _Atomic uint64_t bytes;
};

static inline void mailbox_init(struct mailbox *b)
{
    atomic_init(&b->top, NULL);
    atomic_init(&b->bytes, 0);
}

/* Any thread. The caller then wakes the receiver. */
static inline void mailbox_push(struct mailbox *b, struct mail *m)
{
    atomic_fetch_add_explicit(&b->bytes, m->bytes, memory_order_relaxed);
    struct mail *top = atomic_load_explicit(&b->top, memory_order_relaxed);
    do {
        m->next = top;
    } while (!atomic_compare_exchange_weak_explicit(&b->top, &top, m, memory_order_release,
                                                    memory_order_relaxed));
}

/* Receiver: all that waits, oldest first, linked by next; NULL when nothing does. */
static inline struct mail *mailbox_take(struct mailbox *b)
{
    if (atomic_load_explicit(&b->top, memory_order_relaxed) == NULL) {
        return NULL;
    }
    struct mail *m = atomic_exchange_explicit(&b->top, NULL, memory_order_acquire);
    struct mail *oldest = NULL;
    uint64_t bytes = 0;
    while (m != NULL) {
        struct mail *next = m->next;
        bytes += m->bytes;
        m->next = oldest;
        oldest = m;
        m = next;
    }
    atomic_fetch_sub_explicit(&b->bytes, bytes, memory_order_relaxed);
    return oldest;
}

static inline uint64_t mailbox_bytes(struct mailbox *b)
{
    return atomic_load_explicit(&b->bytes, memory_order_relaxed);
}

#endif
