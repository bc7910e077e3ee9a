/*
 * An intrusive doubly linked ring: the link is a member of the object. An empty list and an
 * unlinked object point to themselves. One thread at a time.
 */
#ifndef TMQ_BASE_LIST_H
#define TMQ_BASE_LIST_H

#include <stdbool.h>
#include <stddef.h>

struct list {
    struct list *next, *prev;
};

/* The object that holds link `l` as its member `member`. */
#define LIST_ENTRY(l, type, member) ((type *)(void *)((char *)(l)-offsetof(type, member)))

static inline void list_init(struct list *l)
{
    l->next = l->prev = l;
}

static inline bool list_empty(const struct list *l)
{
    return l->next == l;
}

/* Puts `item` (unlinked) at the end of `head`. */
static inline void list_push(struct list *head, struct list *item)
{
    item->prev = head->prev;
    item->next = head;
    head->prev->next = item;
    head->prev = item;
}

/* Unlinks `item`; harmless when it is not linked. */
static inline void list_del(struct list *item)
{
    item->prev->next = item->next;
    item->next->prev = item->prev;
    list_init(item);
}

/* The first link, unlinked, or NULL. */
static inline struct list *list_shift(struct list *head)
{
    struct list *l = head->next;
    if (l == head) {
        return NULL;
    }
    list_del(l);
    return l;
}

/* Moves all of `from` to `to`, which is empty or not initialized. */
static inline void list_take(struct list *from, struct list *to)
{
    list_init(to);
    if (!list_empty(from)) {
        *to = *from;
        to->next->prev = to->prev->next = to;
        list_init(from);
    }
}

/* Moves all of `first` to the beginning of `head`. */
static inline void list_put_first(struct list *head, struct list *first)
{
    if (!list_empty(first)) {
        first->prev->next = head->next;
        head->next->prev = first->prev;
        first->next->prev = head;
        head->next = first->next;
        list_init(first);
    }
}

#endif
