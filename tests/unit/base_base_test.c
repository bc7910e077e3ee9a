/* buf, list, mailbox and qsbr; the last two with threads, for TSan. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/mem.h"
#include "base/qsbr.h"
#include "random.h"

/* ---- buf ---- */

static void test_buf_is_a_queue_of_bytes(void **state)
{
    (void)state;
    struct random r = {7};
    struct buf b = {0};
    uint8_t chunk[300];
    uint8_t put = 0, taken = 0; /* the next byte's value at either end */
    size_t len = 0;
    for (int round = 0; round < 20000; round++) {
        size_t n = random_below(&r, sizeof chunk);
        for (size_t i = 0; i < n; i++) {
            chunk[i] = put++;
        }
        buf_put(&b, chunk, n);
        len += n;
        n = len == 0 ? 0 : random_below(&r, (uint32_t)len + 1);
        struct slice s = buf_slice(&b);
        assert_int_equal(s.n, len);
        for (size_t i = 0; i < n; i++) {
            assert_int_equal(s.p[i], (uint8_t)(taken + i));
        }
        taken = (uint8_t)(taken + n);
        buf_take(&b, n);
        len -= n;
        assert_true(b.start <= b.end && b.end <= b.cap);
    }
    assert_true(b.cap <= 1 << 16); /* it does not grow with what went through */
    buf_fini(&b);
    assert_null(b.p);
    buf_fini(&b);
}

static void test_buf_reserve_and_clear(void **state)
{
    (void)state;
    struct buf b = {0};
    assert_int_equal(buf_len(&b), 0);
    assert_int_equal(buf_slice(&b).n, 0);
    uint8_t *p = buf_reserve(&b, 1000);
    memset(p, 'x', 1000);
    assert_int_equal(buf_len(&b), 0);
    buf_commit(&b, 10);
    buf_put_u8(&b, 'y');
    assert_memory_equal(buf_slice(&b).p, "xxxxxxxxxxy", 11);
    buf_clear(&b);
    assert_int_equal(buf_len(&b), 0);
    assert_true(b.cap >= 1000);
    buf_fini(&b);
}

/* ---- list ---- */

struct item {
    struct list link;
    int value;
};

static void test_list(void **state)
{
    (void)state;
    struct list head;
    struct item items[5];
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_shift(&head));
    for (int i = 0; i < 5; i++) {
        items[i].value = i;
        list_push(&head, &items[i].link);
    }
    list_del(&items[0].link);
    list_del(&items[2].link);
    list_del(&items[2].link); /* again: harmless */
    list_push(&head, &items[0].link);
    static const int expected[] = {1, 3, 4, 0};
    for (size_t i = 0; i < 4; i++) {
        struct list *l = list_shift(&head);
        if (l == NULL) {
            fail_msg("the list ends at %zu", i);
            return;
        }
        assert_int_equal(LIST_ENTRY(l, struct item, link)->value, expected[i]);
        assert_true(list_empty(l));
    }
    assert_true(list_empty(&head));
}

/* ---- mailbox ---- */

enum { SENDERS = 2, MAILS = 50000 };

struct letter {
    struct mail mail;
    uint32_t number;
};

struct sender {
    struct mailbox *box;
    uint32_t kind;
};

static void *send_mails(void *arg)
{
    struct sender *s = arg;
    for (uint32_t i = 0; i < MAILS; i++) {
        struct letter *l = mem_alloc(sizeof *l);
        *l = (struct letter){.mail = {.kind = s->kind, .bytes = i % 100}, .number = i};
        mailbox_push(s->box, &l->mail);
    }
    return NULL;
}

static void test_mailbox_keeps_each_senders_order(void **state)
{
    (void)state;
    struct mailbox box;
    pthread_t threads[SENDERS];
    struct sender senders[SENDERS];
    uint32_t next[SENDERS] = {0}, received = 0;
    mailbox_init(&box);
    assert_null(mailbox_take(&box));
    for (uint32_t i = 0; i < SENDERS; i++) {
        senders[i] = (struct sender){.box = &box, .kind = i};
        assert_int_equal(pthread_create(&threads[i], NULL, send_mails, &senders[i]), 0);
    }
    while (received < SENDERS * MAILS) {
        struct mail *m = mailbox_take(&box);
        while (m != NULL) {
            struct letter *l = (struct letter *)(void *)m;
            m = m->next;
            assert_int_equal(l->number, next[l->mail.kind]++);
            free(l);
            received++;
        }
    }
    for (int i = 0; i < SENDERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    }
    assert_null(mailbox_take(&box));
    assert_int_equal(mailbox_bytes(&box), 0);
}

static void test_mailbox_counts_bytes(void **state)
{
    (void)state;
    struct mailbox box;
    struct mail a = {.bytes = 10}, b = {.bytes = 5};
    mailbox_init(&box);
    mailbox_push(&box, &a);
    mailbox_push(&box, &b);
    assert_int_equal(mailbox_bytes(&box), 15);
    struct mail *m = mailbox_take(&box);
    assert_ptr_equal(m, &a);
    assert_ptr_equal(a.next, &b);
    assert_null(b.next);
    assert_int_equal(mailbox_bytes(&box), 0);
}

/* ---- qsbr ---- */

struct cell {
    struct qsbr_item retired; /* first */
    uint64_t value, check;    /* check = ~value while it lives */
};

static unsigned freed;

static void cell_free(struct qsbr_item *item)
{
    struct cell *c = (struct cell *)(void *)item;
    c->check = 0;
    freed++;
    free(c);
}

static struct cell *cell_new(uint64_t value)
{
    struct cell *c = mem_new(1, sizeof *c);
    c->value = value;
    c->check = ~value;
    return c;
}

static void test_qsbr_waits_for_every_reader(void **state)
{
    (void)state;
    struct qsbr q;
    qsbr_init(&q, 3);
    freed = 0;
    qsbr_online(&q, 0);
    qsbr_online(&q, 1); /* 2 stays offline */
    qsbr_retire(&q, &cell_new(1)->retired, cell_free);
    qsbr_reclaim(&q);
    assert_int_equal(freed, 0);
    qsbr_quiescent(&q, 0);
    qsbr_reclaim(&q);
    assert_int_equal(freed, 0);
    qsbr_retire(&q, &cell_new(2)->retired, cell_free);
    qsbr_quiescent(&q, 1); /* behind both */
    qsbr_reclaim(&q);
    assert_int_equal(freed, 1); /* 0 may still hold the second */
    qsbr_offline(&q, 0);
    qsbr_reclaim(&q);
    assert_int_equal(freed, 2);
    qsbr_online(&q, 2);
    qsbr_retire(&q, &cell_new(3)->retired, cell_free);
    qsbr_retire(&q, &cell_new(4)->retired, cell_free);
    qsbr_reclaim(&q);
    assert_int_equal(freed, 2);
    qsbr_fini(&q);
    assert_int_equal(freed, 4);
}

enum { READERS = 2, SWAPS = 30000 };
static struct qsbr shared_qsbr;
static _Atomic(struct cell *) shared_cell;
static _Atomic bool swapping;

struct reader {
    unsigned index;
    uint64_t reads, wrong;
};

static void *read_cells(void *arg)
{
    struct reader *r = arg;
    struct random rnd = {r->index + 1};
    qsbr_online(&shared_qsbr, r->index);
    while (atomic_load_explicit(&swapping, memory_order_relaxed)) {
        uint64_t last = 0;
        for (int i = 0; i < 8; i++) {
            struct cell *c = atomic_load_explicit(&shared_cell, memory_order_acquire);
            r->wrong += c->check != ~c->value || c->value < last;
            last = c->value;
            r->reads++;
        }
        if (random_below(&rnd, 16) == 0) {
            qsbr_offline(&shared_qsbr, r->index);
            qsbr_online(&shared_qsbr, r->index);
        } else {
            qsbr_quiescent(&shared_qsbr, r->index);
        }
    }
    qsbr_offline(&shared_qsbr, r->index);
    return NULL;
}

static void test_qsbr_with_threads(void **state)
{
    (void)state;
    pthread_t threads[READERS];
    struct reader readers[READERS] = {{.index = 0}, {.index = 1}};
    freed = 0;
    qsbr_init(&shared_qsbr, READERS);
    atomic_store(&shared_cell, cell_new(0));
    atomic_store(&swapping, true);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, read_cells, &readers[i]), 0);
    }
    for (uint64_t i = 1; i <= SWAPS; i++) {
        struct cell *old = atomic_exchange(&shared_cell, cell_new(i));
        qsbr_retire(&shared_qsbr, &old->retired, cell_free);
        qsbr_reclaim(&shared_qsbr);
    }
    atomic_store(&swapping, false);
    for (int i = 0; i < READERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(readers[i].wrong, 0);
    }
    qsbr_reclaim(&shared_qsbr);
    assert_int_equal(freed, SWAPS); /* nobody is online: all of it */
    qsbr_fini(&shared_qsbr);
    free(atomic_load(&shared_cell));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_buf_is_a_queue_of_bytes),
        cmocka_unit_test(test_buf_reserve_and_clear),
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_mailbox_keeps_each_senders_order),
        cmocka_unit_test(test_mailbox_counts_bytes),
        cmocka_unit_test(test_qsbr_waits_for_every_reader),
        cmocka_unit_test(test_qsbr_with_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
