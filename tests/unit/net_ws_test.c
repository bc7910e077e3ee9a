/* WebSocket over a stream in memory: the upgrade, frames cut anywhere, control frames, breaches, writes that find no room. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "net/ws.h"
#include "ws_frames.h"

enum {
    BINARY = 0x82,
    TEXT = 0x81,
    CLOSE = 0x88,
    PING = 0x89,
    PONG = 0x8a,
    FIRST = 0x02,
    MORE = 0x00,
    LAST = 0x80
};

struct fixture {
    struct stream_mem mem;
    struct stream s;
    struct buf in, got;
    struct ws_rules rules;
    struct stream_why why;
    ssize_t end; /* what the last read gave */
};

static struct fixture f;

static int teardown(void **state)
{
    (void)state;
    if (f.s.state != NULL) {
        f.s.ops->close(&f.s, false);
    }
    buf_fini(&f.in);
    buf_fini(&f.got);
    free(f.mem.out);
    f = (struct fixture){.end = 0};
    return 0;
}

/* Anew, where a test has several cases. */
static int setup(void **state)
{
    (void)teardown(state);
    f = (struct fixture){.rules = {.path = "/mqtt", .origins = ""}};
    stream_mem_init(&f.s, &f.mem);
    stream_ws_wrap(&f.s, &f.rules);
    return 0;
}

static void feed(const void *p, size_t n)
{
    buf_put(&f.in, p, n);
    f.mem.in = f.in.p;
    f.mem.in_len = f.in.end;
}

static void feed_frame(uint8_t first, const char *payload)
{
    ws_put_frame(&f.in, first, payload, strlen(payload), true);
    f.mem.in = f.in.p;
    f.mem.in_len = f.in.end;
}

/* Writes one piece. */
static ssize_t write_text(const char *text)
{
    const struct iovec iov = {.iov_base = (char *)(uintptr_t)text, .iov_len = strlen(text)};
    return f.s.ops->writev(&f.s, &iov, 1);
}

/* Reads until nothing is left, as a connection does; `room` bytes at a time. */
static void read_all(size_t room)
{
    uint8_t out[4096];
    do {
        f.end = f.s.ops->read(&f.s, out, room < sizeof out ? room : sizeof out);
        (void)stream_flush(&f.s);
        if (f.end > 0) {
            buf_put(&f.got, out, (size_t)f.end);
        }
    } while (f.end > 0 || f.end == -EINTR);
    stream_why(&f.s, &f.why);
}

static void expect_got(const char *text)
{
    assert_int_equal(buf_len(&f.got), strlen(text));
    assert_memory_equal(f.got.p, text, strlen(text));
    buf_clear(&f.got);
}

static void upgraded(void)
{
    feed(WS_REQUEST, strlen(WS_REQUEST));
    read_all(4096);
    assert_int_equal(f.end, -EAGAIN);
    assert_int_equal(f.mem.out_len, strlen(WS_ANSWER));
    assert_memory_equal(f.mem.out, WS_ANSWER, strlen(WS_ANSWER));
    f.mem.out_len = 0;
}

/* The next frame that was written must be this. */
static void expect_frame(uint8_t first, const void *payload, size_t n)
{
    uint8_t got;
    struct slice p;
    size_t used = ws_take_frame(slice_make(f.mem.out, f.mem.out_len), &got, &p);
    assert_true(used > 0);
    assert_int_equal(got, first);
    assert_int_equal(p.n, n);
    assert_memory_equal(p.p, payload, n);
    memmove(f.mem.out, f.mem.out + used, f.mem.out_len - used);
    f.mem.out_len -= used;
}

static void expect_close(unsigned code, const char *words)
{
    uint8_t payload[125];
    put_be16(payload, (uint16_t)code);
    memcpy(payload + 2, words, strlen(words));
    expect_frame(CLOSE, payload, 2 + strlen(words));
    assert_int_equal(f.mem.out_len, 0);
}

/* ---- the upgrade ---- */

static void test_upgrade(void **state)
{
    (void)state;
    upgraded();
}

static void test_pipelined(void **state)
{
    (void)state;
    feed(WS_REQUEST, strlen(WS_REQUEST));
    feed_frame(BINARY, "behind");
    read_all(4096);
    expect_got("behind");
    assert_int_equal(f.mem.out_len, strlen(WS_ANSWER));
}

static void test_any_path(void **state)
{
    static const char request[] =
        "GET /a/b?c=d HTTP/1.1\r\n" WS_REQUEST_HEAD "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    (void)state;
    f.rules.path = "*";
    feed(request, strlen(request));
    read_all(4096);
    assert_int_equal(f.mem.out_len, strlen(WS_ANSWER));
    assert_memory_equal(f.mem.out, WS_ANSWER, strlen(WS_ANSWER));
}

static void test_refusals(void **state)
{
    static const struct {
        const char *request, *status, *words;
    } rows[] = {
        {"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "426", "got a plain GET of /"},
        {"GET /else HTTP/1.1\r\n" WS_REQUEST_HEAD "Sec-WebSocket-Protocol: mqtt\r\n\r\n", "404",
         "path: expected /mqtt, got /else"},
        {"POST /mqtt HTTP/1.1\r\n" WS_REQUEST_HEAD "\r\n", "405", "method: expected GET, got POST"},
        {"GET /mqtt HTTP/1.0\r\n" WS_REQUEST_HEAD "\r\n", "400", "expected HTTP/1.1"},
        {"GET /mqtt HTTP/1.1\r\n" WS_REQUEST_HEAD "\r\n", "400",
         "header Sec-WebSocket-Protocol: expected mqtt among them, got nothing"},
        {"GET /mqtt HTTP/1.1\r\n" WS_REQUEST_HEAD "Sec-WebSocket-Protocol: chat, soap\r\n\r\n",
         "400", "got chat, soap"},
        {"GET /mqtt HTTP/1.1\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n", "426",
         "got \"h2c\" and \"Upgrade\""},
        {"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 8\r\n\r\n",
         "426", "Sec-WebSocket-Version: expected 13, got 8"},
        {"GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
         "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short\r\n\r\n",
         "400", "Sec-WebSocket-Key: expected 16 bytes"},
        {"GET /mqtt HTTP/1.1\r\n" WS_REQUEST_HEAD
         "Sec-WebSocket-Protocol: mqtt\r\nContent-Length: 3\r\n\r\n",
         "400", "without a body"},
        {"\x10\x10\x00\x04MQTT", "400", "looks like MQTT without WebSocket"},
        {"\x16\x03\x01\x02", "400", "looks like TLS"},
        {"hello\r\n", "400", "got something else"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char status[32];
        (void)setup(state);
        feed(rows[i].request, strlen(rows[i].request) + (rows[i].request[0] == 0x10));
        read_all(4096);
        assert_int_equal(f.end, -EPROTO);
        assert_true(f.why.known);
        assert_int_equal(f.why.cause, CAUSE_HANDSHAKE_WEBSOCKET);
        assert_non_null(strstr(f.why.text, rows[i].words));
        (void)snprintf(status, sizeof status, "HTTP/1.1 %s ", rows[i].status);
        assert_memory_equal(f.mem.out, status, strlen(status));
        assert_non_null(memmem(f.mem.out, f.mem.out_len, rows[i].words, strlen(rows[i].words)));
        size_t said = f.mem.out_len;
        assert_true(stream_ending(&f.s, f.why.cause));
        f.s.ops->finish(&f.s); /* no close frame: there is no WebSocket */
        assert_int_equal(f.mem.out_len, said);
        assert_true(f.mem.finished);
        (void)teardown(state);
    }
    (void)setup(state);
}

static void test_version_is_told(void **state)
{
    (void)state;
    static const char request[] = "GET /mqtt HTTP/1.1\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 12\r\n\r\n";
    feed(request, strlen(request));
    read_all(4096);
    assert_non_null(memmem(f.mem.out, f.mem.out_len, "Sec-WebSocket-Version: 13\r\n", 27));
}

static void test_request_too_long(void **state)
{
    (void)state;
    feed("GET /mqtt HTTP/1.1\r\nX-Long: ", 28);
    for (int i = 0; i < 9000; i++) {
        feed("y", 1);
    }
    read_all(4096);
    assert_int_equal(f.end, -EPROTO);
    assert_memory_equal(f.mem.out, "HTTP/1.1 431 ", 13);
}

static void test_protocols(void **state)
{
    static const struct {
        const char *offered, *chosen;
    } rows[] = {{"mqtt", "mqtt"},
                {"mqttv3.1", "mqttv3.1"},
                {"chat, mqttv3.1, mqtt", "mqttv3.1"},
                {"mqtt,mqttv3.1", "mqtt"},
                {"chat\r\nSec-WebSocket-Protocol:mqtt", "mqtt"}}; /* a list over two lines */
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        (void)setup(state);
        (void)snprintf(text, sizeof text,
                       "GET http://x/mqtt?a=b HTTP/1.1\r\n%sSec-WebSocket-Protocol: %s\r\n\r\n",
                       WS_REQUEST_HEAD, rows[i].offered);
        feed(text, strlen(text));
        read_all(4096);
        assert_int_equal(f.end, -EAGAIN);
        (void)snprintf(text, sizeof text, "Sec-WebSocket-Protocol: %s\r\n\r\n", rows[i].chosen);
        assert_non_null(memmem(f.mem.out, f.mem.out_len, text, strlen(text)));
        (void)teardown(state);
    }
    (void)setup(state);
}

static void test_origins(void **state)
{
    static const struct {
        const char *allowed, *origin;
        bool good;
    } rows[] = {
        {"", "https://anything.example", true},
        {"https://a.example", "https://a.example", true},
        {"https://a.example", "HTTPS://A.example", true},
        {"https://a.example:443", "https://a.example", true},
        {"https://a.example", "https://a.example:444", false},
        {"https://a.example", "http://a.example", false},
        {"https://a.example", "https://b.a.example", false},
        {"https://a.example", "null", false},
        {"https://a.example, null", "null", true},
        {"http://b.example:8080,https://a.example", "http://b.example:8080", true},
        {"https://a.example", NULL, true}, /* no browser */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[512];
        (void)setup(state);
        f.rules.origins = rows[i].allowed;
        assert_true(ws_origins_valid(rows[i].allowed));
        (void)snprintf(
            text, sizeof text, "GET /mqtt HTTP/1.1\r\n%s%s%s%sSec-WebSocket-Protocol: mqtt\r\n\r\n",
            WS_REQUEST_HEAD,
            rows[i].origin == NULL ? "" : "Origin: ", rows[i].origin == NULL ? "" : rows[i].origin,
            rows[i].origin == NULL ? "" : "\r\n");
        feed(text, strlen(text));
        read_all(4096);
        assert_memory_equal(f.mem.out, rows[i].good ? "HTTP/1.1 101 " : "HTTP/1.1 403 ", 13);
        (void)teardown(state);
    }
    assert_false(ws_origins_valid("a.example"));
    assert_false(ws_origins_valid("https://a.example/path"));
    assert_false(ws_origins_valid("null, *"));
    (void)setup(state);
}

static void test_end_in_the_upgrade(void **state)
{
    (void)state;
    feed("GET /mq", 7);
    f.mem.in_end = 1;
    read_all(4096);
    assert_int_equal(f.end, 0);
    assert_int_equal(f.why.cause, CAUSE_HANDSHAKE_WEBSOCKET);
    (void)teardown(state);
    (void)setup(state);
    f.mem.in_end = 1;
    read_all(4096); /* without a byte: nothing is known */
    assert_int_equal(f.end, 0);
    assert_false(f.why.known);
}

/* ---- reading ---- */

/* Everything that may come, as one stream; what of it is MQTT's. */
static const char *script(struct buf *b)
{
    static char expected[70000 + 400];
    static char large[70000], middle[300];
    memset(large, 'l', sizeof large);
    memset(middle, 'm', sizeof middle);
    buf_put(b, WS_REQUEST, strlen(WS_REQUEST));
    ws_put_frame(b, BINARY, "one", 3, true);
    ws_put_frame(b, BINARY, "", 0, true);
    ws_put_frame(b, FIRST, "two", 3, true);
    ws_put_frame(b, PING, "are you there", 13, true);
    ws_put_frame(b, MORE, "three", 5, true);
    ws_put_frame(b, PONG, "unasked", 7, true);
    ws_put_frame(b, LAST, "four", 4, true);
    ws_put_frame(b, PING, "", 0, true);
    ws_put_frame(b, BINARY, middle, sizeof middle, true);
    ws_put_frame(b, BINARY, large, sizeof large, true);
    ws_put_frame(b, BINARY, "five", 4, true);
    memcpy(expected, "onetwothreefour", 15);
    memcpy(expected + 15, middle, sizeof middle);
    memcpy(expected + 15 + sizeof middle, large, sizeof large);
    memcpy(expected + 15 + sizeof middle + sizeof large, "five", 5);
    return expected;
}

static void test_every_chunk_size(void **state)
{
    static const size_t chunks[] = {1, 2, 3, 5, 7, 13, 14, 15, 100, 4095, 4096, 65536};
    static const size_t rooms[] = {1, 14, 100, 4096};
    for (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++) {
        for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
            (void)setup(state);
            const char *expected = script(&f.in);
            feed("", 0);
            f.mem.read_limit = chunks[i];
            read_all(rooms[k]);
            assert_int_equal(f.end, -EAGAIN);
            expect_got(expected);
            (void)teardown(state);
        }
    }
    (void)setup(state);
}

/* The same stream cut once, at every place, with a pause there. */
static void test_every_cut(void **state)
{
    struct buf whole = {0};
    const char *expected = script(&whole);
    size_t head = buf_len(&whole) - 70000 - 20;
    for (size_t cut = 0; cut<buf_len(&whole); cut += cut> head ? 997 : 1) {
        (void)setup(state);
        feed(whole.p, cut);
        read_all(4096);
        feed(whole.p + cut, buf_len(&whole) - cut);
        read_all(4096);
        expect_got(expected);
        (void)teardown(state);
    }
    buf_fini(&whole);
    (void)setup(state);
}

static void test_drained(void **state)
{
    (void)state;
    uint8_t out[64];
    upgraded();
    feed_frame(BINARY, "some");
    assert_int_equal(f.s.ops->read(&f.s, out, sizeof out), 4);
    assert_true(f.s.drained);
    feed_frame(BINARY, "more than fits into the room that the reader has");
    assert_true(f.s.ops->read(&f.s, out, 20) > 0);
    assert_false(f.s.drained);
}

/* ---- breaches ---- */

static void test_breaches(void **state)
{
    static const struct {
        uint8_t bytes[16];
        size_t n;
        unsigned code;
        const char *words;
    } rows[] = {
        {{0x81, 0x81, 0, 0, 0, 0, 'x'}, 7, 1003, "text frame"},
        {{0x01, 0x80}, 2, 1003, "text frame"}, /* told before it is whole */
        {{0x82, 0x01, 'x'}, 3, 1002, "not masked"},
        {{0x82, 0x7e}, 2, 1002, "not masked"},
        {{0xc2, 0x80}, 2, 1002, "reserved bits"},
        {{0x92, 0x80, 0, 0, 0, 0}, 6, 1002, "reserved bits"},
        {{0x83, 0x80, 0, 0, 0, 0}, 6, 1002, "does not exist"},
        {{0x8b, 0x80, 0, 0, 0, 0}, 6, 1002, "does not exist"},
        {{0x09, 0x80, 0, 0, 0, 0}, 6, 1002, "control frame in fragments"},
        {{0x89, 0xfe, 0, 126}, 4, 1002, "longer than 125 bytes"},
        {{0x80, 0x80, 0, 0, 0, 0}, 6, 1002, "continuation frame of nothing"},
        {{0x02, 0x80, 0, 0, 0, 0, 0x82, 0x80, 0, 0, 0, 0}, 12, 1002, "in the middle of a"},
        {{0x82, 0xfe, 0, 5, 0, 0, 0, 0}, 8, 1002, "shortest form"},
        {{0x82, 0xff, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, 14, 1002, "shortest form"},
        {{0x82, 0xff, 0x80, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}, 14, 1002, "shortest form"},
        {{0x88, 0x81, 0, 0, 0, 0, 1}, 7, 1002, "code that may not be sent"},
        {{0x88, 0x82, 0, 0, 0, 0, 0x03, 0xed}, 8, 1002, "code that may not be sent"}, /* 1005 */
        {{0x88, 0x82, 0, 0, 0, 0, 0x13, 0x88}, 8, 1002, "code that may not be sent"}, /* 5000 */
        {{0x88, 0x83, 0, 0, 0, 0, 0x03, 0xe8, 0xff}, 9, 1007, "not UTF-8"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t limit = 0; limit < 3; limit++) {
            (void)setup(state);
            upgraded();
            feed_frame(BINARY, "before");
            f.mem.read_limit = limit;
            feed(rows[i].bytes, rows[i].n);
            read_all(4096);
            expect_got("before"); /* what came before counts */
            assert_int_equal(f.end, -EPROTO);
            assert_int_equal(f.why.cause, CAUSE_PROTOCOL_WEBSOCKET);
            assert_int_equal(f.why.code, rows[i].code);
            assert_non_null(strstr(f.why.text, rows[i].words));
            assert_true(stream_ending(&f.s, f.why.cause));
            f.s.ops->finish(&f.s);
            expect_close(rows[i].code, f.why.text);
            (void)teardown(state);
        }
    }
    (void)setup(state);
}

/* A frame that says it is huge costs nothing: its payload comes as it comes. */
static void test_huge_frame(void **state)
{
    (void)state;
    static const uint8_t head[] = {0x82, 0xff, 0x00, 0xff, 0xff, 0xff, 0xff,
                                   0xff, 0xff, 0xff, 0,    0,    0,    0};
    upgraded();
    feed(head, sizeof head);
    for (int i = 0; i < 100000; i++) {
        feed("z", 1);
    }
    read_all(4096);
    assert_int_equal(f.end, -EAGAIN);
    assert_int_equal(buf_len(&f.got), 100000);
}

/* ---- control frames ---- */

static void test_ping(void **state)
{
    (void)state;
    upgraded();
    feed_frame(PING, "hello");
    read_all(4096);
    expect_frame(PONG, "hello", 5);
    assert_int_equal(f.mem.out_len, 0);
}

/* While nothing can be written the newest ping is remembered, no more. */
static void test_ping_flood(void **state)
{
    (void)state;
    upgraded();
    f.mem.write_limited = true;
    f.mem.write_room = 3;
    char text[16];
    for (int i = 0; i < 10000; i++) {
        (void)snprintf(text, sizeof text, "%d", i);
        feed_frame(PING, text);
    }
    read_all(4096);
    assert_int_equal(f.end, -EAGAIN);
    f.mem.write_limited = false;
    assert_int_equal(stream_flush(&f.s), 0);
    uint8_t first = 0;
    struct slice p = {0};
    assert_true(ws_take_frame(slice_make(f.mem.out, f.mem.out_len), &first, &p) > 0);
    assert_int_equal(first, PONG); /* the one that was begun */
    expect_frame(first, p.p, p.n);
    expect_frame(PONG, "9999", 4);
    assert_int_equal(f.mem.out_len, 0);
}

static void test_pings_give_way(void **state)
{
    (void)state;
    uint8_t out[4096];
    upgraded();
    for (int i = 0; i < 100000; i++) {
        feed_frame(PING, "");
    }
    assert_int_equal(f.s.ops->read(&f.s, out, sizeof out), -EINTR); /* others first */
    read_all(4096);
    assert_int_equal(f.end, -EAGAIN);
}

static void test_we_ping(void **state)
{
    (void)state;
    f.s.ops->ping(&f.s); /* not yet */
    assert_int_equal(stream_flush(&f.s), 0);
    assert_int_equal(f.mem.out_len, 0);
    upgraded();
    f.s.ops->ping(&f.s);
    f.s.ops->ping(&f.s); /* one is enough */
    assert_int_equal(stream_flush(&f.s), 0);
    expect_frame(PING, "", 0);
    assert_int_equal(f.mem.out_len, 0);
    feed_frame(PONG, "");
    read_all(4096);
    assert_int_equal(f.end, -EAGAIN);
    f.mem.write_limited = true;
    f.mem.write_room = 3;
    assert_int_equal(write_text("frame"), 1);
    f.s.ops->ping(&f.s); /* something goes out anyway */
    f.mem.write_limited = false;
    assert_int_equal(write_text("rame"), 4);
    assert_int_equal(stream_flush(&f.s), 0);
    expect_frame(BINARY, "frame", 5);
    assert_int_equal(f.mem.out_len, 0);
}

static void test_client_closes(void **state)
{
    (void)state;
    static const uint8_t payload[] = {0x03, 0xe9, 'b', 'y', 'e', 0};
    upgraded();
    feed_frame(BINARY, "last words");
    feed_frame(CLOSE, (const char *)payload);
    feed_frame(BINARY, "not heard");
    read_all(4096);
    expect_got("last words");
    assert_int_equal(f.end, 0);
    assert_int_equal(f.why.cause, CAUSE_PEER_WS_CLOSED);
    assert_int_equal(f.why.code, 1001);
    assert_non_null(strstr(f.why.text, "going away; reason \"bye\""));
    assert_int_equal(f.s.ops->peek(&f.s), 0);
    f.s.ops->close(&f.s, false);
    expect_close(1001, "");
    assert_true(f.mem.closed);
}

static void test_client_closes_without_code(void **state)
{
    (void)state;
    upgraded();
    feed_frame(CLOSE, "");
    read_all(4096);
    assert_int_equal(f.end, 0);
    assert_int_equal(f.why.code, 1005);
    f.s.ops->close(&f.s, false);
    expect_frame(CLOSE, "", 0);
}

static void test_we_close(void **state)
{
    static const struct {
        enum cause cause;
        unsigned code;
    } rows[] = {{CAUSE_CLIENT_NORMAL, 1000},      {CAUSE_SERVER_SHUTDOWN, 1001},
                {CAUSE_PROTOCOL_MALFORMED, 1002}, {CAUSE_AUTH_BAD_PASSWORD, 1008},
                {CAUSE_LIMIT_PACKET_SIZE, 1009},  {CAUSE_SERVER_INTERNAL, 1011},
                {CAUSE_LIMIT_CONNECTIONS, 1013},  {CAUSE_TAKEOVER_SAME_NODE, 1008}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        (void)setup(state);
        upgraded();
        assert_true(stream_ending(&f.s, rows[i].cause));
        f.s.ops->finish(&f.s);
        expect_close(rows[i].code, "");
        assert_int_equal(write_text("x"), -EPIPE);
        (void)teardown(state); /* close() says nothing again */
    }
    (void)setup(state);
}

static void test_end_below(void **state)
{
    (void)state;
    upgraded();
    feed("\x82", 1);
    f.mem.in_end = 1;
    read_all(4096);
    assert_int_equal(f.end, 0);
    assert_false(f.why.known);
    (void)teardown(state);
    (void)setup(state);
    upgraded();
    f.mem.in_end = -ECONNRESET;
    read_all(4096);
    assert_int_equal(f.end, -ECONNRESET);
    assert_false(f.why.known);
}

/* ---- writing ---- */

/* Writes `text` in three pieces as a connection does: again and again from where it stands. */
static void write_all(const char *text, size_t n, size_t room)
{
    size_t done = 0;
    while (done < n) {
        size_t left = n - done, a = left / 3, b = left / 2;
        char *p = (char *)(uintptr_t)text + done;
        struct iovec iov[3] = {{p, a}, {p + a, b - a}, {p + b, left - b}};
        f.mem.write_limited = true;
        f.mem.write_room = room;
        ssize_t put = f.s.ops->writev(&f.s, iov, 3);
        assert_true(put == -EAGAIN || put > 0);
        done += put > 0 ? (size_t)put : 0;
    }
    f.mem.write_limited = false;
}

static void test_writes(void **state)
{
    static char text[70000];
    static const size_t sizes[] = {1, 125, 126, 65535, 65536, 70000};
    static const size_t rooms[] = {1, 2, 3, 5, 11, 1000};
    memset(text, 't', sizeof text);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        for (size_t k = 0; k < sizeof rooms / sizeof *rooms; k++) {
            (void)setup(state);
            upgraded();
            write_all(text, sizes[i], sizes[i] > 1000 ? rooms[k] * 1000 : rooms[k]);
            expect_frame(BINARY, text, sizes[i]);
            assert_int_equal(f.mem.out_len, 0);
            (void)teardown(state);
        }
    }
    (void)setup(state);
}

/* A pong waits for the frame's end, what comes later for the pong. */
static void test_pong_behind_a_frame(void **state)
{
    (void)state;
    upgraded();
    f.mem.write_limited = true;
    f.mem.write_room = 5; /* header and three bytes */
    assert_int_equal(write_text("0123456789"), 3);
    feed_frame(PING, "p");
    read_all(4096);
    f.mem.write_limited = false;
    assert_int_equal(stream_flush(&f.s), 0);
    assert_int_equal(write_text("3456789and more"), 7);
    assert_int_equal(write_text("and more"), 8);
    expect_frame(BINARY, "0123456789", 10);
    expect_frame(PONG, "p", 1);
    expect_frame(BINARY, "and more", 8);
    assert_int_equal(f.mem.out_len, 0);
}

static void test_answer_without_room(void **state)
{
    (void)state;
    f.mem.write_limited = true;
    feed(WS_REQUEST, strlen(WS_REQUEST));
    feed_frame(BINARY, "x");
    read_all(4096);
    expect_got("x");
    assert_int_equal(write_text("y"), -EAGAIN); /* the 101 goes first */
    while (stream_flush(&f.s) == -EAGAIN) {
        f.mem.write_room = 1;
    }
    assert_int_equal(f.mem.out_len, strlen(WS_ANSWER));
    f.mem.write_limited = false;
    f.mem.out_len = 0;
    assert_int_equal(write_text("y"), 1);
    expect_frame(BINARY, "y", 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_upgrade),
        TEST(test_pipelined),
        TEST(test_any_path),
        TEST(test_refusals),
        TEST(test_version_is_told),
        TEST(test_request_too_long),
        TEST(test_protocols),
        TEST(test_origins),
        TEST(test_end_in_the_upgrade),
        TEST(test_every_chunk_size),
        TEST(test_every_cut),
        TEST(test_drained),
        TEST(test_breaches),
        TEST(test_huge_frame),
        TEST(test_ping),
        TEST(test_ping_flood),
        TEST(test_pings_give_way),
        TEST(test_we_ping),
        TEST(test_client_closes),
        TEST(test_client_closes_without_code),
        TEST(test_we_close),
        TEST(test_end_below),
        TEST(test_writes),
        TEST(test_pong_behind_a_frame),
        TEST(test_answer_without_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
