/* Records and evidence as bytes: there and back, cut off anywhere, over every limit. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "trace/record.h"

static struct slice sl(const char *s)
{
    return slice_str(s);
}

static struct record typical(struct evidence *e)
{
    evidence_init(e);
    evidence_u64(e, EV_DURATION_MS, 86400000);
    evidence_u64(e, EV_WILL_SENT, 1);
    evidence_str(e, EV_LAST_IN_TYPE, "PINGREQ");
    uint8_t other[RECORD_CHANNEL_BYTES] = {1, 2, 3};
    evidence_bytes(e, EV_OTHER_CHANNEL, slice_make(other, sizeof other));
    evidence_bytes(e, EV_FIRST_BYTES, slice_make("\x10\x00\xff", 3));
    struct record r = {
        .seq = 0x0102030405060708,
        .time_us = 1700000000123456,
        .connected_at_us = 1700000000000000,
        .cause = CAUSE_KEEPALIVE_EXPIRED,
        .flags = RECORD_CLEAN_SESSION,
        .transport = TRANSPORT_WSS,
        .protocol = 4,
        .keepalive = 65535,
        .instance = sl("mqtt-local"),
        .client_id = sl("GID_fleet@@@device-000001"),
        .user = sl("alice"),
        .peer = sl("10.0.0.2:5111"),
        .proxy = slice_make(NULL, 0),
        .listener = sl("mqtt"),
        .node = sl("n1"),
        .detail = slice_make(e->bytes, e->n),
    };
    memset(r.channel, 0xab, sizeof r.channel);
    return r;
}

static void assert_same(const struct record *a, const struct record *b)
{
    assert_true(a->seq == b->seq && a->time_us == b->time_us);
    assert_true(a->connected_at_us == b->connected_at_us && a->cause == b->cause);
    assert_true(a->flags == b->flags && a->transport == b->transport);
    assert_true(a->protocol == b->protocol && a->keepalive == b->keepalive);
    assert_memory_equal(a->channel, b->channel, sizeof a->channel);
    assert_true(slice_eq(a->instance, b->instance) && slice_eq(a->client_id, b->client_id));
    assert_true(slice_eq(a->user, b->user) && slice_eq(a->peer, b->peer));
    assert_true(slice_eq(a->proxy, b->proxy) && slice_eq(a->listener, b->listener));
    assert_true(slice_eq(a->node, b->node) && slice_eq(a->detail, b->detail));
}

static void test_there_and_back(void **state)
{
    (void)state;
    struct evidence e;
    struct record r = typical(&e);
    uint8_t bytes[RECORD_MAX];
    struct record back;
    for (int c = 0; c < CAUSE_COUNT; c++) {
        r.cause = (enum cause)c;
        size_t n = record_encode(&r, bytes);
        assert_true(n <= record_size(&r));
        assert_int_equal(record_peek_size(slice_make(bytes, sizeof bytes)), n);
        assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
        assert_same(&r, &back);
        record_patch_seq(bytes, 77);
        assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
        assert_int_equal(back.seq, 77);
    }
    struct record empty = {0};
    size_t n = record_encode(&empty, bytes);
    assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
    assert_same(&empty, &back);
}

/* Copied with another seq and a node, or encoded anew where the copy would not do: the same bytes. */
static void test_encode_from(void **state)
{
    (void)state;
    char longer[RECORD_STR_MAX];
    memset(longer, 'n', sizeof longer);
    const struct slice nodes[] = {sl(""), sl("n1"), slice_make(longer, 127),
                                  slice_make(longer, 128), slice_make(longer, sizeof longer)};
    const struct slice before[] = {sl(""), sl("own")};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++) {
        for (size_t k = 0; k < 4; k++) {
            struct evidence e;
            struct record r = typical(&e);
            uint8_t ring[RECORD_MAX];
            uint8_t copied[RECORD_MAX];
            uint8_t encoded[RECORD_MAX];
            char filling[RECORD_CLIENT_ID_MAX];
            memset(filling, 'f', sizeof filling);
            r.node = before[k % 2];
            if (k >= 2) { /* so full that the node hardly fits */
                r.client_id = slice_make(filling, sizeof filling);
                r.user = r.proxy = slice_make(filling, RECORD_STR_MAX);
                r.detail = slice_make(NULL, 0);
                r.peer = slice_make(filling, RECORD_STR_MAX - 5);
            }
            struct slice bytes = slice_make(ring, record_encode(&r, ring));
            assert_int_equal(record_decode(bytes, &r), 0);
            r.seq = 4711;
            r.node = r.node.n == 0 ? nodes[i] : r.node;
            size_t n = record_encode_from(&r, bytes, copied);
            assert_int_equal(n, record_encode(&r, encoded));
            assert_memory_equal(copied, encoded, n);
            assert_int_equal(record_encode_from(&r, slice_make(NULL, 0), copied), n);
            assert_memory_equal(copied, encoded, n);
        }
    }
}

static void test_every_prefix_is_refused(void **state)
{
    (void)state;
    struct evidence e;
    struct record r = typical(&e);
    uint8_t bytes[RECORD_MAX + 1] = {0};
    struct record back;
    size_t n = record_encode(&r, bytes);
    for (size_t cut = 0; cut < n; cut++) {
        uint8_t *copy = malloc(cut == 0 ? 1 : cut); /* so that a sanitizer sees a read behind it */
        assert_non_null(copy);
        memcpy(copy, bytes, cut);
        assert_int_equal(record_decode(slice_make(copy, cut), &back), -1);
        free(copy);
    }
    assert_int_equal(record_decode(slice_make(bytes, n + 1), &back), -1);
}

/* Any bytes: never a read outside, and what decodes encodes to the same again. */
static void test_flipped_bytes(void **state)
{
    (void)state;
    struct evidence e;
    struct record r = typical(&e);
    uint8_t good[RECORD_MAX];
    size_t n = record_encode(&r, good);
    uint8_t *bad = malloc(n);
    assert_non_null(bad);
    uint32_t seed = 1;
    for (int round = 0; round < 20000; round++) {
        memcpy(bad, good, n);
        for (int i = 0; i < 1 + round % 4; i++) {
            seed = seed * 1664525 + 1013904223;
            bad[(seed >> 8) % n] = (uint8_t)(seed >> 24);
        }
        struct record back;
        if (record_decode(slice_make(bad, n), &back) == 0) {
            uint8_t again[RECORD_MAX];
            assert_true(record_size(&back) <= RECORD_MAX);
            assert_true(record_encode(&back, again) <= n);
            struct slice rest = back.detail;
            struct evidence_item it;
            while (evidence_next(&rest, &it)) {
                assert_true(it.key < EV_COUNT_OF_KEYS);
            }
        }
    }
    free(bad);
}

static void test_limits_cut_and_say_so(void **state)
{
    (void)state;
    char longer[3000];
    memset(longer, 'x', sizeof longer);
    struct evidence e;
    struct record r = typical(&e);
    r.peer = slice_make(longer, RECORD_STR_MAX);
    r.client_id = slice_make(longer, RECORD_CLIENT_ID_MAX);
    uint8_t bytes[RECORD_MAX];
    struct record back;
    size_t n = record_encode(&r, bytes);
    assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
    assert_same(&r, &back); /* at the limit: nothing cut */

    r.peer = slice_make(longer, RECORD_STR_MAX + 1);
    n = record_encode(&r, bytes);
    assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
    assert_int_equal(back.peer.n, RECORD_STR_MAX);
    assert_true((back.flags & RECORD_TRUNCATED) != 0);

    struct slice all = slice_make(longer, sizeof longer);
    r.instance = r.client_id = r.user = r.peer = r.proxy = r.listener = r.node = all;
    assert_int_equal(record_size(&r), RECORD_MAX);
    n = record_encode(&r, bytes);
    assert_true(n <= RECORD_MAX);
    assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
    assert_int_equal(back.client_id.n, RECORD_CLIENT_ID_MAX);
    assert_true((back.flags & RECORD_TRUNCATED) != 0);
}

/* Evidence that does not fit goes by whole entries. */
static void test_evidence_gives_way(void **state)
{
    (void)state;
    char longer[1024];
    memset(longer, 'y', sizeof longer);
    struct evidence e;
    evidence_init(&e);
    evidence_u64(&e, EV_LIMIT, 1);
    while (!e.truncated) {
        evidence_bytes(&e, EV_TEXT, slice_make(longer, 200));
    }
    assert_true(e.n <= EVIDENCE_MAX);
    struct record r = {
        .client_id = slice_make(longer, 1024),
        .user = slice_make(longer, 200),
        .peer = slice_make(longer, 200),
        .detail = slice_make(e.bytes, e.n),
    };
    uint8_t bytes[RECORD_MAX];
    struct record back;
    size_t n = record_encode(&r, bytes);
    assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
    assert_true((back.flags & RECORD_TRUNCATED) != 0);
    struct slice rest = back.detail;
    struct evidence_item it;
    size_t count = 0;
    while (evidence_next(&rest, &it)) {
        count++;
    }
    assert_int_equal(rest.n, 0);
    assert_true(count >= 2);
}

static void test_strings_cut_between_characters(void **state)
{
    (void)state;
    char text[301];
    for (size_t i = 0; i < 100; i++) {
        memcpy(text + 3 * i, "\xe2\x82\xac", 3); /* three bytes each: 256 is inside one */
    }
    struct record r = {.user = slice_make(text, 300)};
    uint8_t bytes[RECORD_MAX];
    struct record back;
    size_t n = record_encode(&r, bytes);
    assert_int_equal(record_decode(slice_make(bytes, n), &back), 0);
    assert_int_equal(back.user.n, 255);
    struct evidence e;
    evidence_init(&e);
    evidence_bytes(&e, EV_TOPIC, slice_make(text, 300));
    assert_true(e.truncated);
    struct evidence_item it;
    assert_true(evidence_find(slice_make(e.bytes, e.n), EV_TOPIC, &it));
    assert_int_equal(it.bytes.n, 255);
}

/* ---- evidence ---- */

static void test_evidence_of_every_key(void **state)
{
    (void)state;
    struct evidence e;
    uint8_t channel[RECORD_CHANNEL_BYTES];
    memset(channel, 7, sizeof channel);
    for (unsigned k = 0; k < EV_COUNT_OF_KEYS; k++) {
        enum evidence_key key = (enum evidence_key)k;
        const struct evidence_info *info = evidence_info(key);
        assert_true(info->name[0] != '\0' && info->text[0] != '\0');
        evidence_init(&e);
        switch (info->type) {
        case EVT_U64:
        case EVT_BOOL:
        case EVT_TIME:
        case EVT_MS:
            evidence_u64(&e, key, UINT64_MAX - k);
            break;
        case EVT_I64:
            evidence_i64(&e, key, INT64_MIN);
            break;
        case EVT_STR:
        case EVT_HEX:
            evidence_str(&e, key, info->name);
            break;
        case EVT_CHANNEL:
            evidence_bytes(&e, key, slice_make(channel, sizeof channel));
            break;
        }
        struct slice rest = slice_make(e.bytes, e.n);
        struct evidence_item it;
        assert_true(evidence_next(&rest, &it));
        assert_int_equal(it.key, key);
        assert_int_equal(rest.n, 0);
        assert_false(evidence_next(&rest, &it));
        if (info->type == EVT_STR || info->type == EVT_HEX) {
            assert_true(slice_eq(it.bytes, sl(info->name)));
        } else if (info->type == EVT_CHANNEL) {
            assert_memory_equal(it.bytes.p, channel, sizeof channel);
        } else if (info->type == EVT_I64) {
            assert_true(it.i64 == INT64_MIN);
        } else {
            assert_true(it.u64 == UINT64_MAX - k);
        }
        for (size_t cut = 0; cut < e.n; cut++) {
            struct slice part = slice_make(e.bytes, cut);
            assert_false(evidence_next(&part, &it));
            assert_int_equal(part.n, cut);
        }
    }
}

static void test_evidence_find(void **state)
{
    (void)state;
    struct evidence e;
    struct record r = typical(&e);
    struct evidence_item it;
    assert_true(evidence_find(r.detail, EV_LAST_IN_TYPE, &it));
    assert_true(slice_eq(it.bytes, sl("PINGREQ")));
    assert_true(evidence_find(r.detail, EV_WILL_SENT, &it));
    assert_int_equal(it.u64, 1);
    assert_false(evidence_find(r.detail, EV_RULE, &it));
    assert_false(evidence_find(slice_make("\xff\xff\xff", 3), EV_RULE, &it));
    assert_false(evidence_find(slice_make(NULL, 0), EV_RULE, &it));
}

static void test_evidence_full(void **state)
{
    (void)state;
    struct evidence e;
    evidence_init(&e);
    unsigned n = 0;
    while (!e.truncated) {
        evidence_u64(&e, EV_LIMIT, UINT64_MAX);
        n++;
    }
    assert_int_equal(n - 1, EVIDENCE_MAX / 11);
    uint16_t before = e.n;
    uint8_t channel[RECORD_CHANNEL_BYTES] = {0};
    evidence_bytes(&e, EV_OTHER_CHANNEL, slice_make(channel, sizeof channel));
    evidence_str(&e, EV_TEXT, "some words that do not fit in there any more");
    assert_int_equal(e.n, before);
    evidence_u64(&e, EV_QOS, 1); /* two bytes do */
    struct evidence_item it;
    assert_int_equal(evidence_find(slice_make(e.bytes, e.n), EV_QOS, &it), e.n > before);
}

/* ---- small ones ---- */

static void test_client_id_split(void **state)
{
    (void)state;
    struct slice g;
    struct slice d;
    assert_true(client_id_split(sl("GID_a@@@dev"), &g, &d));
    assert_true(slice_eq(g, sl("GID_a")) && slice_eq(d, sl("dev")));
    assert_true(client_id_split(sl("GID_a@@@d@@@e"), &g, &d));
    assert_true(slice_eq(d, sl("d@@@e")));
    static const char *const none[] = {"", "plain", "@@@d", "GID_a@@@", "a@@b"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        assert_false(client_id_split(sl(none[i]), &g, &d));
        assert_true(g.n == 0 && d.n == 0);
    }
}

static int compare_ids(const void *a, const void *b)
{
    return memcmp(a, b, RECORD_CHANNEL_BYTES);
}

static void test_channel_ids_differ(void **state)
{
    (void)state;
    enum { N = 10000 };
    static uint8_t ids[N][RECORD_CHANNEL_BYTES];
    for (int i = 0; i < N; i++) {
        channel_id_new(ids[i]);
    }
    qsort(ids, N, sizeof ids[0], compare_ids);
    for (int i = 1; i < N; i++) {
        assert_memory_not_equal(ids[i - 1], ids[i], RECORD_CHANNEL_BYTES);
    }
}

static void test_transport_texts(void **state)
{
    (void)state;
    assert_string_equal(record_transport_text(TRANSPORT_TCP), "tcp");
    assert_string_equal(record_transport_text(TRANSPORT_WSS), "wss");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_there_and_back),
        cmocka_unit_test(test_encode_from),
        cmocka_unit_test(test_every_prefix_is_refused),
        cmocka_unit_test(test_flipped_bytes),
        cmocka_unit_test(test_limits_cut_and_say_so),
        cmocka_unit_test(test_evidence_gives_way),
        cmocka_unit_test(test_strings_cut_between_characters),
        cmocka_unit_test(test_evidence_of_every_key),
        cmocka_unit_test(test_evidence_find),
        cmocka_unit_test(test_evidence_full),
        cmocka_unit_test(test_client_id_split),
        cmocka_unit_test(test_channel_ids_differ),
        cmocka_unit_test(test_transport_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
