/* PROXY headers of both versions, whole and cut anywhere, good and bad; the layer over a stream in memory; networks. */
#include <arpa/inet.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "net/proxy.h"
#include "net/proxy_header.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"

static const char *text_of(const union addr_ip *a)
{
    static char text[ADDR_TEXT_MAX];
    addr_text(&a->sa, text);
    return text;
}

/* ---- version 1 ---- */

static void test_v1(void **state)
{
    static const struct {
        const char *line, *client; /* NULL: none is named */
    } good[] = {
        {"PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883\r\n", "198.51.100.7:40000"},
        {"PROXY TCP4 0.0.0.0 255.255.255.255 0 65535\r\n", "0.0.0.0:0"},
        {"PROXY TCP6 2001:db8::7 ::1 1 2\r\n", "[2001:db8::7]:1"},
        {"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
         "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535"},
        {"PROXY UNKNOWN\r\n", NULL},
        {"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        struct proxy_header h;
        size_t n = strlen(good[i].line);
        for (size_t cut = 0; cut < n; cut++) {
            assert_int_equal(proxy_header_parse(slice_make(good[i].line, cut), &h), 0);
            assert_false(h.known);
        }
        assert_int_equal(proxy_header_parse(slice_make(good[i].line, n), &h), n);
        assert_int_equal(h.known, good[i].client != NULL);
        if (good[i].client != NULL) {
            assert_string_equal(text_of(&h.client), good[i].client);
        }
    }
}

static void test_v1_bad(void **state)
{
    static const char *const bad[] = {
        "PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883\n",
        "PROXY TCP4  198.51.100.7 192.0.2.1 40000 1883\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 40000\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883 \r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883 9\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 040 1883\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 65536 1883\r\n",
        "PROXY TCP4 198.51.100.7 192.0.2.1 -1 1883\r\n",
        "PROXY TCP4 198.51.100.007 192.0.2.1 1 1883\r\n",
        "PROXY TCP4 ::1 ::1 1 1883\r\n",
        "PROXY TCP6 1.2.3.4 1.2.3.4 1 1883\r\n",
        "PROXY TCP5 1.2.3.4 1.2.3.4 1 1883\r\n",
        "PROXY TCP4\r\n",
        "PROXY \r\n",
        "PROXY UNKNOWN this line is longer than a line may be, which is all that is looked at behind the first words\r\n",
        "proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n",
        "GET / HTTP/1.1\r\n",
    };
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct proxy_header h;
        assert_int_equal(proxy_header_parse(slice_str(bad[i]), &h), -1);
        assert_true(h.why[0] != '\0');
        assert_false(h.known);
    }
}

/* ---- version 2 ---- */

static void v2_begin(struct buf *b, uint8_t command, uint8_t family)
{
    buf_put(b, SIGNATURE, 12);
    buf_put_u8(b, command);
    buf_put_u8(b, family);
    buf_put(b, "\0\0", 2);
}

static void v2_end(struct buf *b)
{
    put_be16(b->p + 14, (uint16_t)(buf_len(b) - 16));
}

static void v2_entry(struct buf *b, uint8_t type, const void *p, uint16_t n)
{
    uint8_t head[3] = {type};
    put_be16(head + 1, n);
    buf_put(b, head, sizeof head);
    buf_put(b, p, n);
}

static const uint8_t four[12] = {198, 51, 100, 7, 192, 0, 2, 1, 0x9c, 0x40, 0x07, 0x5b};

static long parse(const struct buf *b, struct proxy_header *h)
{
    return proxy_header_parse(buf_slice(b), h);
}

static void expect_bad(struct buf *b, const char *words)
{
    struct proxy_header h;
    assert_int_equal(parse(b, &h), -1);
    if (strstr(h.why, words) == NULL) {
        print_error("\"%s\" is not in: %s\n", words, h.why);
    }
    assert_non_null(strstr(h.why, words));
    assert_false(h.known);
    buf_fini(b);
}

static void test_v2(void **state)
{
    struct buf b = {0};
    struct proxy_header h;
    (void)state;
    v2_begin(&b, 0x21, 0x11);
    buf_put(&b, four, sizeof four);
    v2_entry(&b, 0x04, "padding", 7);
    v2_entry(&b, 0x30, "unread", 6);
    v2_end(&b);
    for (size_t cut = 0; cut < buf_len(&b); cut++) {
        assert_int_equal(proxy_header_parse(slice_make(b.p, cut), &h), 0);
    }
    buf_put(&b, "\x10more", 5);
    assert_int_equal(parse(&b, &h), buf_len(&b) - 5);
    assert_true(h.known);
    assert_string_equal(text_of(&h.client), "198.51.100.7:40000");
    buf_fini(&b);

    uint8_t six[36] = {0x20, 0x01, 0x0d, 0xb8, [15] = 7, [32] = 0, [33] = 80};
    v2_begin(&b, 0x21, 0x21);
    buf_put(&b, six, sizeof six);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), 52);
    assert_string_equal(text_of(&h.client), "[2001:db8::7]:80");
    buf_fini(&b);

    static const uint8_t paths[216] = "/run/lb.sock";
    v2_begin(&b, 0x21, 0x31);
    buf_put(&b, paths, sizeof paths);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), 16 + 216);
    assert_string_equal(text_of(&h.client), "unix");
    buf_fini(&b);
}

static void test_v2_without_a_client(void **state)
{
    struct buf b = {0};
    struct proxy_header h;
    (void)state;
    v2_begin(&b, 0x20, 0x11); /* LOCAL: whatever stands in it */
    buf_put(&b, "anything", 8);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), 24);
    assert_false(h.known);
    buf_fini(&b);
    v2_begin(&b, 0x21, 0x00); /* UNSPEC */
    assert_int_equal(parse(&b, &h), 16);
    assert_false(h.known);
    buf_fini(&b);
}

static void test_v2_checksum(void **state)
{
    /* Computed by another implementation (Python, over the header with zeros for the checksum). */
    static const uint8_t checksum[4] = {0x45, 0x4a, 0x60, 0x4b};
    struct buf b = {0};
    struct proxy_header h;
    (void)state;
    v2_begin(&b, 0x21, 0x11);
    buf_put(&b, four, sizeof four);
    v2_entry(&b, 0x03, checksum, 4);
    v2_entry(&b, 0x02, "behind", 6);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), buf_len(&b));
    for (size_t i = 16; i < buf_len(&b); i++) { /* any bit that is not as it was */
        b.p[i] ^= 4;
        assert_int_equal(parse(&b, &h),
                         i == 28 ? (long)buf_len(&b) : -1); /* no checksum: none to fit */
        b.p[i] ^= 4;
    }
    buf_fini(&b);
    v2_begin(&b, 0x21, 0x11);
    buf_put(&b, four, sizeof four);
    v2_entry(&b, 0x03, checksum, 3);
    v2_end(&b);
    expect_bad(&b, "checksum");
}

/* Client flags, result of the check, and a common name unless NULL. */
static void v2_tls(struct buf *b, uint8_t client, uint8_t verify, const char *name)
{
    struct buf in = {0};
    const uint8_t head[5] = {client, 0, 0, 0, verify};
    buf_put(&in, head, sizeof head);
    v2_entry(&in, 0x21, "TLSv1.3", 7);
    v2_entry(&in, 0x2f, "new", 3);
    if (name != NULL) {
        v2_entry(&in, 0x22, name, (uint16_t)strlen(name));
    }
    v2_entry(&in, 0x23, "AES", 3);
    v2_entry(b, 0x20, in.p, (uint16_t)buf_len(&in));
    buf_fini(&in);
}

static void test_v2_says_more(void **state)
{
    static const uint8_t azure[5] = {1, 0x78, 0x56, 0x34, 0x12}, google[8] = {0, 0, 0, 1, [7] = 2};
    struct buf b = {0};
    struct proxy_header h;
    (void)state;
    v2_begin(&b, 0x21, 0x11);
    buf_put(&b, four, sizeof four);
    v2_entry(&b, 0x02, "mqtt.example", 12);
    v2_entry(&b, 0x05, "id-1", 4);
    v2_entry(&b, 0x05, "id-2", 4);
    v2_tls(&b, 1 | 4, 0, "device-7");
    v2_entry(&b, 0xEA, "\x02other", 6);
    v2_entry(&b, 0xEA, "\x01vpce-08d2", 10);
    v2_entry(&b, 0xEE, azure, sizeof azure);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), buf_len(&b));
    assert_true(slice_eq(h.server_name, slice_str("mqtt.example")));
    assert_true(slice_eq(h.unique_id, slice_str("id-1")));
    assert_true(h.tls.used && h.tls.certified);
    assert_true(slice_eq(h.tls.version, slice_str("TLSv1.3")));
    assert_true(slice_eq(h.tls.cipher, slice_str("AES")));
    assert_true(slice_eq(h.tls.common_name, slice_str("device-7")));
    assert_string_equal(h.link, "aws:vpce-08d2");
    buf_fini(&b);
    v2_begin(&b, 0x21, 0x00); /* of no known address; all the same */
    v2_entry(&b, 0xEE, azure, sizeof azure);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), buf_len(&b));
    assert_string_equal(h.link, "azure:305419896");
    buf_fini(&b);
    v2_begin(&b, 0x21, 0x00);
    v2_entry(&b, 0xEA, "\x01not printable ", 15);
    v2_entry(&b, 0xE0, google, sizeof google);
    v2_end(&b);
    assert_int_equal(parse(&b, &h), buf_len(&b));
    assert_string_equal(h.link, "google:4294967298");
    buf_fini(&b);
    v2_begin(&b, 0x20, 0x11); /* LOCAL says nothing of a client */
    buf_put(&b, four, sizeof four);
    v2_tls(&b, 7, 0, "device-7");
    v2_end(&b);
    assert_int_equal(parse(&b, &h), buf_len(&b));
    assert_false(h.tls.used || h.tls.certified);
    buf_fini(&b);
}

static void test_v2_certified(void **state)
{
    static const struct {
        uint8_t client, verify;
        bool certified;
    } rows[] = {
        {1 | 2, 0, true},  {1 | 2 | 4, 0, true}, {1 | 4, 0, true},
        {1, 0, false}, /* a good result of nothing: no certificate was shown */
        {1 | 2, 1, false}, {2, 0, false},        {0, 0, false},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = {0};
        struct proxy_header h;
        v2_begin(&b, 0x21, 0x11);
        buf_put(&b, four, sizeof four);
        v2_tls(&b, rows[i].client, rows[i].verify, "device-7");
        v2_end(&b);
        assert_int_equal(parse(&b, &h), buf_len(&b));
        assert_int_equal(h.tls.certified, rows[i].certified);
        buf_fini(&b);
    }
}

static void test_v2_bad_tls(void **state)
{
    static const uint8_t twice[] = {1, 0, 0, 0, 0, 0x22, 0, 1, 'a', 0x22, 0, 1, 'b'};
    static const uint8_t longer[] = {1, 0, 0, 0, 0, 0x22, 0, 2, 'a'};
    struct buf b = {0};
    (void)state;
    v2_begin(&b, 0x21, 0x00);
    v2_entry(&b, 0x20, twice, 4);
    v2_end(&b);
    expect_bad(&b, "entry on TLS");
    v2_begin(&b, 0x21, 0x00);
    v2_entry(&b, 0x20, twice, sizeof twice);
    v2_end(&b);
    expect_bad(&b, "entry on TLS");
    v2_begin(&b, 0x21, 0x00);
    v2_entry(&b, 0x20, longer, sizeof longer);
    v2_end(&b);
    expect_bad(&b, "entry on TLS");
    v2_begin(&b, 0x21, 0x00);
    v2_tls(&b, 0, 0, NULL);
    v2_tls(&b, 3, 0, "a");
    v2_end(&b);
    expect_bad(&b, "entry on TLS");
}

static void test_v2_bad(void **state)
{
    struct buf b = {0};
    (void)state;
    v2_begin(&b, 0x11, 0x11);
    expect_bad(&b, "expected version 2");
    v2_begin(&b, 0x22, 0x11);
    expect_bad(&b, "expected version 2");
    v2_begin(&b, 0x21, 0x12);
    expect_bad(&b, "family and transport");
    v2_begin(&b, 0x21, 0x41);
    expect_bad(&b, "family and transport");
    v2_begin(&b, 0x21, 0x21);
    buf_put(&b, four, sizeof four);
    v2_end(&b);
    expect_bad(&b, "too short");
    v2_begin(&b, 0x21, 0x11);
    buf_put(&b, four, sizeof four);
    v2_entry(&b, 0x04, "abc", 3);
    b.p[b.end - 4] = 4; /* longer than what is there */
    v2_end(&b);
    expect_bad(&b, "an entry is longer");
    v2_begin(&b, 0x21, 0x11);
    buf_put(&b, four, sizeof four);
    buf_put(&b, "\4", 1);
    v2_end(&b);
    expect_bad(&b, "an entry is longer");
    v2_begin(&b, 0x21, 0x11);
    put_be16(b.p + 14, 4081);
    expect_bad(&b, "longer than 4096");
    static const struct {
        const char *bytes, *looks;
    } others[] = {
        {"\x10\x0c", "looks like MQTT"}, {"\x16\x03", "looks like TLS"}, {"GET /", "HTTP"}};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        buf_put(&b, others[i].bytes, strlen(others[i].bytes));
        expect_bad(&b, others[i].looks);
    }
}

/* ---- the layer ---- */

struct fixture {
    struct stream_mem mem;
    struct stream s;
    struct buf in, got;
    ssize_t end;
};

static void open_stream_by(struct fixture *f, size_t limit, struct proxy_rules rules)
{
    struct sockaddr_in lb = {.sin_family = AF_INET, .sin_port = htons(7)};
    struct sockaddr_storage from = {0};
    *f = (struct fixture){.mem.read_limit = limit};
    assert_int_equal(inet_pton(AF_INET, "192.0.2.200", &lb.sin_addr), 1);
    memcpy(&from, &lb, sizeof lb);
    stream_mem_init(&f->s, &f->mem);
    stream_proxy_wrap(&f->s, (const struct sockaddr *)&from, rules);
}

static void open_stream(struct fixture *f, size_t limit)
{
    open_stream_by(f, limit, (struct proxy_rules){0});
}

static void close_stream(struct fixture *f)
{
    f->s.ops->close(&f->s, false);
    assert_true(f->mem.closed);
    buf_fini(&f->in);
    buf_fini(&f->got);
    free(f->mem.out);
}

static void read_all(struct fixture *f, const void *p, size_t n, size_t room)
{
    uint8_t out[256];
    buf_put(&f->in, p, n);
    f->mem.in = f->in.p;
    f->mem.in_len = f->in.end;
    while ((f->end = f->s.ops->read(&f->s, out, room)) > 0) {
        buf_put(&f->got, out, (size_t)f->end);
    }
}

static void test_layer(void **state)
{
    static const char text[] = "PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883\r\nthe client's";
    (void)state;
    for (size_t limit = 1; limit <= sizeof text; limit++) {
        for (size_t room = 1; room < 70; room += 23) {
            struct fixture f;
            open_stream(&f, limit);
            assert_null(stream_via(&f.s));
            read_all(&f, text, sizeof text - 1, room);
            assert_int_equal(f.end, -EAGAIN);
            assert_int_equal(buf_len(&f.got), 12);
            assert_memory_equal(f.got.p, "the client's", 12);
            const struct stream_via *via = stream_via(&f.s);
            assert_non_null(via);
            assert_string_equal(text_of(&via->client), "198.51.100.7:40000");
            assert_string_equal(text_of(&via->proxy), "192.0.2.200:7");
            close_stream(&f);
        }
    }
}

static void test_layer_drained(void **state)
{
    struct fixture f;
    uint8_t out[64];
    (void)state;
    open_stream(&f, 0);
    read_all(&f, "PROXY UNKNOWN\r\n", 15, 64);
    assert_null(stream_via(&f.s));
    buf_put(&f.in, "0123456789", 10);
    f.mem.in = f.in.p;
    f.mem.in_len = f.in.end;
    assert_int_equal(f.s.ops->read(&f.s, out, 10), 10);
    assert_false(f.s.drained); /* there might be more */
    buf_put(&f.in, "0123456789", 10);
    f.mem.in = f.in.p;
    f.mem.in_len = f.in.end;
    assert_int_equal(f.s.ops->read(&f.s, out, 11), 10);
    assert_true(f.s.drained);
    struct iovec iov = {.iov_base = out, .iov_len = 10};
    assert_int_equal(f.s.ops->writev(&f.s, &iov, 1), 10);
    assert_int_equal(f.s.ops->peek(&f.s), -EAGAIN);
    f.s.ops->finish(&f.s);
    assert_true(f.mem.finished);
    close_stream(&f);
}

static void test_layer_ends(void **state)
{
    static const struct {
        const char *text;
        int in_end;
        ssize_t end;
        const char *words; /* NULL: the layer knows nothing */
    } rows[] = {
        {"", 1, 0, NULL},
        {"PROXY TCP4 1.", 1, 0, "in the middle of the PROXY header"},
        {"PROXY TCP4 1.", -ECONNRESET, -ECONNRESET, "in the middle of the PROXY header"},
        {"PROXY TCP9 \r\n", 1, -EPROTO, "expected TCP4"},
        {"PROXY UNKNOWN\r\n", 1, 0, NULL}, /* a health check */
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct fixture f;
        struct stream_why why;
        open_stream(&f, 3);
        f.mem.in_end = rows[i].in_end;
        read_all(&f, rows[i].text, strlen(rows[i].text), 64);
        assert_int_equal(f.end, rows[i].end);
        stream_why(&f.s, &why);
        assert_int_equal(why.known, rows[i].words != NULL);
        if (why.known) {
            assert_int_equal(why.cause, CAUSE_HANDSHAKE_PROXY);
            assert_non_null(strstr(why.text, rows[i].words));
        }
        close_stream(&f);
    }
}

/* Whose name it is to the broker, by what the load balancer says of a certificate. */
static void test_layer_names(void **state)
{
    char long_name[300] = "";
    memset(long_name, 'x', sizeof long_name - 1);
    const struct {
        uint8_t client, verify;
        const char *name;
        struct proxy_rules rules;
        const char *user; /* NULL: refused */
    } rows[] = {
        {3, 0, "device-7", {.user = true}, "device-7"},
        {3, 0, "device-7", {.user = true, .required = true}, "device-7"},
        {3, 0, "device-7", {0}, ""},
        {3, 0, "device-7", {.required = true}, ""},
        {3, 0, NULL, {.user = true, .required = true}, ""},
        {3, 0, long_name, {.user = true}, ""},
        {3, 10, "device-7", {.user = true}, ""},
        {3, 10, "device-7", {.user = true, .required = true}, NULL},
        {1, 0, "device-7", {.user = true}, ""},
        {1, 0, "device-7", {.required = true}, NULL},
    };
    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct buf b = {0};
        struct fixture f;
        struct stream_told told;
        struct stream_why why;
        v2_begin(&b, 0x21, 0x11);
        buf_put(&b, four, sizeof four);
        v2_tls(&b, rows[i].client, rows[i].verify, rows[i].name);
        v2_entry(&b, 0x05, "\0\xff", 2);
        v2_end(&b);
        open_stream_by(&f, 7, rows[i].rules);
        read_all(&f, b.p, buf_len(&b), 64);
        stream_told(&f.s, &told);
        stream_why(&f.s, &why);
        assert_int_equal(f.end, rows[i].user == NULL ? -EPROTO : -EAGAIN);
        assert_int_equal(why.known, rows[i].user == NULL);
        assert_string_equal(told.user, rows[i].user == NULL ? "" : rows[i].user);
        assert_string_equal(told.proxy_id, "00ff");
        assert_string_equal(told.tls_version, "TLSv1.3");
        assert_non_null(stream_via(&f.s));
        if (why.known) {
            assert_int_equal(why.cause, CAUSE_AUTH_CERTIFICATE);
        }
        close_stream(&f);
        buf_fini(&b);
    }
}

static void test_layer_without_certificate(void **state)
{
    static const char *const texts[] = {"PROXY UNKNOWN\r\n", "PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n"};
    (void)state;
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        struct fixture f;
        open_stream_by(&f, 0, (struct proxy_rules){.required = true});
        read_all(&f, texts[i], strlen(texts[i]), 64);
        assert_int_equal(f.end, -EPROTO);
        close_stream(&f);
    }
}

/* ---- networks ---- */

static bool has(const char *list, const char *address)
{
    struct addr_nets nets;
    struct sockaddr_storage a;
    socklen_t len;
    assert_int_equal(addr_nets_parse(list, &nets), 0);
    assert_int_equal(addr_parse(address, &a, &len), 0);
    bool found = addr_nets_have(&nets, (const struct sockaddr *)&a);
    addr_nets_fini(&nets);
    return found;
}

static void test_networks(void **state)
{
    (void)state;
    assert_true(has("10.0.0.0/8", "10.255.0.1:1"));
    assert_false(has("10.0.0.0/8", "11.0.0.1:1"));
    assert_true(has("10.128.0.0/9", "10.200.0.1:1"));
    assert_false(has("10.128.0.0/9", "10.100.0.1:1"));
    assert_true(has("192.0.2.7", "192.0.2.7:1"));
    assert_false(has("192.0.2.7", "192.0.2.6:1"));
    assert_true(has("0.0.0.0/0", "192.0.2.6:1"));
    assert_false(has("0.0.0.0/0", "[2001:db8::1]:1"));
    assert_true(has("::/0", "192.0.2.6:1")); /* as it comes over an IPv6 socket */
    assert_true(has("10.0.0.0/8", "[::ffff:10.1.1.1]:1"));
    assert_true(has("fd00::/8, 192.0.2.7", "[fd12::1]:1"));
    assert_true(has("fd00::/8,192.0.2.7", "192.0.2.7:9"));
    assert_true(has("2001:db8::1", "[2001:db8::1]:1"));
    assert_false(has("2001:db8::/33", "[2001:db8:8000::1]:1"));
    assert_false(has("", "127.0.0.1:1"));
    assert_false(has("0.0.0.0/0", "unix:/x"));
    union addr_ip a = {.in4 = {.sin_family = AF_INET}}, b = {.in6 = {.sin6_family = AF_INET6}};
    union addr_ip c = b;
    assert_false(addr_same(&a, &b));
    assert_true(addr_same(&b, &c));
    c.in6.sin6_addr.s6_addr[15] = 1;
    assert_false(addr_same(&b, &c));
    c = a;
    assert_true(addr_same(&a, &c));
    c.in4.sin_port = 1;
    assert_false(addr_same(&a, &c));
    static const char *const bad[] = {"10.0.0.0/33", "10.0.0.0/", "10.0.0/8",    "::1/129", "host",
                                      "10.0.0.0/-1", "1.2.3.4x",  "1.2.3.4/8 5", "/8"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct addr_nets nets;
        assert_int_equal(addr_nets_parse(bad[i], &nets), -EINVAL);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v1_bad),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_v2_without_a_client),
        cmocka_unit_test(test_v2_checksum),
        cmocka_unit_test(test_v2_bad),
        cmocka_unit_test(test_layer),
        cmocka_unit_test(test_layer_drained),
        cmocka_unit_test(test_layer_ends),
        cmocka_unit_test(test_networks),
        cmocka_unit_test(test_v2_says_more),
        cmocka_unit_test(test_v2_certified),
        cmocka_unit_test(test_v2_bad_tls),
        cmocka_unit_test(test_layer_names),
        cmocka_unit_test(test_layer_without_certificate),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
