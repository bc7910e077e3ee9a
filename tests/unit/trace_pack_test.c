/* Packed records and device blocks: there and back behind any other record, cut off anywhere, any bytes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "random.h"
#include "trace/blocks.h"
#include "trace/pack.h"
#include "trace/trace_priv.h"

enum { ROOM = RECORD_MAX + RECORD_PACK_MORE };

static const char letters[] = "abcdefghijklmnopqrstuvwxyz";

static void assert_same(const struct record *a, const struct record *b)
{
    assert_true(a->seq == b->seq && a->time_us == b->time_us);
    assert_true(a->connected_at_us == b->connected_at_us && a->cause == b->cause);
    assert_true(a->flags == b->flags && a->transport == b->transport);
    assert_true(a->protocol == b->protocol && a->keepalive == b->keepalive);
    assert_memory_equal(a->channel, b->channel, sizeof a->channel);
    assert_true(slice_eq(a->user, b->user) && slice_eq(a->peer, b->peer));
    assert_true(slice_eq(a->proxy, b->proxy) && slice_eq(a->listener, b->listener));
    assert_true(slice_eq(a->node, b->node) && slice_eq(a->detail, b->detail));
}

/* A quarter of the time what it was. */
static struct slice some(struct random *r, struct slice was)
{
    uint32_t n = random_below(r, 8);
    return n < 2 ? was : slice_make(letters + n, n);
}

static struct record change(struct random *r, const struct record *was)
{
    struct record c = *was;
    c.seq += 1 + random_below(r, 300);
    c.time_us += random_below(r, 2000000) - 1000000; /* also back */
    switch (random_below(r, 4)) {
    case 0:
        c.connected_at_us = 0;
        break;
    case 1:
        c.connected_at_us = c.time_us;
        break;
    case 2:
        c.connected_at_us = was->time_us;
        break;
    default:
        c.connected_at_us = random_next(r);
        break;
    }
    c.cause = (enum cause)random_below(r, CAUSE_COUNT);
    c.flags = random_below(r, 2) == 0 ? was->flags : RECORD_CLEAN_SESSION;
    c.transport = (uint8_t)random_below(r, TRANSPORT_UNIX + 1);
    c.protocol = (uint8_t)(3 + random_below(r, 3));
    c.keepalive = (uint16_t)(random_below(r, 2) == 0 ? was->keepalive : random_next(r));
    c.channel[random_below(r, 16)] = (uint8_t)random_below(r, 2);
    c.node = some(r, was->node);
    c.listener = some(r, was->listener);
    c.peer = some(r, was->peer);
    c.proxy = some(r, was->proxy);
    c.user = some(r, was->user);
    c.detail = some(r, slice_make(NULL, 0));
    return c;
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct random r = {11};
    struct record before = {0};
    for (int i = 0; i < 20000; i++) {
        uint8_t bytes[ROOM];
        struct record now = change(&r, &before);
        size_t n = record_pack(&now, &before, bytes);
        assert_true(n <= record_size(&now) + RECORD_PACK_MORE);
        struct slice in = slice_make(bytes, n);
        struct record back;
        assert_int_equal(record_unpack(&in, &before, &back), 0);
        assert_int_equal(in.n, 0);
        assert_same(&now, &back);
        before = now;
    }
}

static struct record fullest(void)
{
    static char longest[RECORD_STR_MAX];
    static char detail[EVIDENCE_MAX];
    memset(longest, 'x', sizeof longest);
    struct slice s = slice_make(longest, sizeof longest);
    struct record r = {.seq = UINT64_MAX,
                       .time_us = UINT64_C(1) << 63,
                       .connected_at_us = UINT64_C(1) << 62,
                       .cause = (enum cause)(CAUSE_COUNT - 1),
                       .flags = 255,
                       .transport = TRANSPORT_UNIX,
                       .protocol = 5,
                       .keepalive = 65535,
                       .channel = {1},
                       .node = s,
                       .listener = s,
                       .peer = s,
                       .detail = slice_make(detail, sizeof detail - 100)};
    return r;
}

static void test_fullest_fits_and_prefixes_are_refused(void **state)
{
    (void)state;
    static const struct record none;
    struct record r = fullest();
    uint8_t bytes[ROOM];
    struct record back;
    size_t n = record_pack(&r, &none, bytes);
    assert_true(n <= record_size(&r) + RECORD_PACK_MORE);
    for (size_t cut = 0; cut <= n; cut++) {
        uint8_t *copy = malloc(cut == 0 ? 1 : cut); /* so that a sanitizer sees a read behind it */
        assert_non_null(copy);
        memcpy(copy, bytes, cut);
        struct slice in = slice_make(copy, cut);
        assert_int_equal(record_unpack(&in, &none, &back), cut == n ? 0 : -1);
        assert_int_equal(in.n, cut == n ? 0 : cut);
        free(copy);
    }
    assert_int_equal(record_pack(&r, &r, bytes), 2 + 1 + 1 + 10 + 2 + r.detail.n); /* connected */
}

static void test_flipped_bytes(void **state)
{
    (void)state;
    static const struct record none;
    struct random rnd = {5};
    struct record r = fullest();
    uint8_t good[ROOM];
    size_t n = record_pack(&r, &none, good);
    uint8_t *bad = malloc(n);
    assert_non_null(bad);
    for (int round = 0; round < 20000; round++) {
        memcpy(bad, good, n);
        for (int i = 0; i < 1 + round % 4; i++) {
            bad[random_below(&rnd, round % 2 == 0 ? 64 : (uint32_t)n)] = (uint8_t)random_next(&rnd);
        }
        struct slice in = slice_make(bad, n);
        struct record back;
        if (record_unpack(&in, &none, &back) == 0) {
            assert_true(back.cause < CAUSE_COUNT && back.transport <= TRANSPORT_UNIX);
            assert_true(back.user.n <= RECORD_STR_MAX && back.detail.n <= EVIDENCE_MAX);
        }
    }
    free(bad);
}

/* An ending behind its connect repeats nothing but what is its own. */
static void test_session_is_short(void **state)
{
    (void)state;
    struct record connect = {.seq = 900,
                             .time_us = 1700000000000000,
                             .connected_at_us = 1700000000000000,
                             .cause = CAUSE_ACCEPTED_NEW,
                             .protocol = 4,
                             .keepalive = 60,
                             .channel = {1, 2, 3},
                             .node = slice_str("local"),
                             .listener = slice_str("mqtt"),
                             .peer = slice_str("192.168.100.100:54321"),
                             .user = slice_str("bench")};
    struct record ending = connect;
    ending.seq++;
    ending.time_us += 100;
    ending.cause = CAUSE_KEEPALIVE_EXPIRED;
    uint8_t bytes[ROOM];
    assert_int_equal(record_pack(&ending, &connect, bytes), 2 + 1 + 2 + 1);
}

static void test_device_block(void **state)
{
    (void)state;
    struct random r = {17};
    struct record rows[BLOCK_DEVICE_RECORDS];
    struct block_head h = {.first_seq = 40,
                           .first_us = 1700000000000000,
                           .min_us = 1700000000000000 - 5,
                           .max_us = 1700000000000000 + 9000,
                           .instance = slice_str("mqtt-local"),
                           .client_id = slice_str("GID_a@@@b")};
    struct record before = block_device_start(&h);
    struct buf payload = {0};
    struct buf value = {0};
    for (; h.count < BLOCK_DEVICE_RECORDS; h.count++) {
        rows[h.count] = change(&r, &before);
        uint8_t *p = buf_reserve(&payload, ROOM);
        buf_commit(&payload, record_pack(&rows[h.count], &before, p));
        before = rows[h.count];
    }
    block_device_encode(&h, buf_slice(&payload), &value);
    struct block_head got;
    struct slice stored;
    struct record back[BLOCK_DEVICE_RECORDS];
    assert_int_equal(block_device_decode(buf_slice(&value), &got, &stored), 0);
    assert_true(got.count == h.count && got.first_seq == h.first_seq);
    assert_true(got.min_us == h.min_us && got.max_us == h.max_us);
    assert_int_equal(block_device_records(&got, stored, back), h.count);
    for (size_t i = 0; i < h.count; i++) {
        assert_same(&rows[i], &back[i]);
        assert_true(slice_eq(back[i].instance, h.instance));
        assert_true(slice_eq(back[i].client_id, h.client_id));
    }
    size_t whole = buf_len(&value);
    for (size_t cut = 0; cut < whole; cut++) {
        struct slice part = slice_make(buf_slice(&value).p, cut);
        if (block_device_decode(part, &got, &stored) == 0) {
            assert_true(block_device_records(&got, stored, back) < h.count);
        }
    }
    value.p[value.start] = BLOCK_DEVICE_VERSION + 1;
    assert_int_equal(block_device_decode(buf_slice(&value), &got, &stored), -1);
    buf_fini(&payload);
    buf_fini(&value);
}

/* As stores of the version before have them: whole records without names. */
static void test_device_block_of_version_1(void **state)
{
    (void)state;
    enum { COUNT = 3 };
    static const char instance[] = "mqtt-local", client[] = "GID_a@@@b";
    struct random r = {19};
    struct record rows[COUNT], before = {.seq = 40, .time_us = 1700000000000000};
    struct buf value = {0};
    uint8_t head[32] = {1, 0};
    put_le16(head + 2, COUNT);
    put_le16(head + 4, sizeof instance - 1);
    put_le16(head + 6, sizeof client - 1);
    put_le64(head + 8, 40);
    put_le64(head + 16, 7);
    put_le64(head + 24, 9);
    buf_put(&value, head, sizeof head);
    buf_put_slice(&value, slice_str(instance));
    buf_put_slice(&value, slice_str(client));
    for (size_t i = 0; i < COUNT; i++) {
        before = rows[i] = change(&r, &before);
        uint8_t *p = buf_reserve(&value, 2 + RECORD_MAX);
        size_t n = record_encode(&rows[i], p + 2);
        put_le16(p, (uint16_t)n);
        buf_commit(&value, 2 + n);
    }
    struct block_head got;
    struct slice stored;
    struct record back[BLOCK_DEVICE_RECORDS];
    size_t whole = buf_len(&value);
    for (size_t cut = 0; cut <= whole; cut++) {
        size_t n = 0;
        if (block_device_decode(slice_make(buf_slice(&value).p, cut), &got, &stored) == 0) {
            n = block_device_records(&got, stored, back);
        }
        assert_true((n == COUNT) == (cut == whole));
    }
    assert_true(got.count == COUNT && got.first_seq == 40 && got.min_us == 7 && got.max_us == 9);
    for (size_t i = 0; i < COUNT; i++) {
        assert_same(&rows[i], &back[i]);
        assert_true(slice_eq(back[i].instance, slice_str(instance)));
        assert_true(slice_eq(back[i].client_id, slice_str(client)));
    }
    buf_fini(&value);
}

static void test_status_of_version_1(void **state)
{
    (void)state;
    struct record none = {.seq = 1, .time_us = 1700000000000000};
    struct random r = {23};
    struct record now = change(&r, &none), got;
    uint8_t value[10 + RECORD_MAX] = {1, 1};
    bool online;
    uint64_t update_us;
    put_le64(value + 2, 77);
    size_t n = 10 + record_encode(&now, value + 10);
    assert_int_equal(status_decode(slice_make(value, n), slice_str("i"), slice_str("c"), &got,
                                   &online, &update_us),
                     0);
    assert_same(&now, &got);
    assert_true(online && update_us == 77 && slice_eq(got.client_id, slice_str("c")));
    value[0] = 3;
    assert_int_not_equal(status_decode(slice_make(value, n), slice_str("i"), slice_str("c"), &got,
                                       &online, &update_us),
                         0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_fullest_fits_and_prefixes_are_refused),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_session_is_short),
        cmocka_unit_test(test_device_block),
        cmocka_unit_test(test_device_block_of_version_1),
        cmocka_unit_test(test_status_of_version_1),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
