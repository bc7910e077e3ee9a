/*
 * WebSocket on arbitrary bytes. The first byte: bit 0 a good upgrade request stands before the stream, bit 1 origins are
 * limited. The second: how many bytes a read gives; the third: how many are taken of what is written, at a time. The rest is the
 * stream.
 *
 * Properties: what is read and how it ends does not depend on how the stream is cut; what is written is an HTTP answer and
 * whole frames, which carry exactly what was to be written (here: what was read), control frames between them; words are
 * printable where they are shown.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "../unit/ws_frames.h"
#include "net/ws.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BINARY = 0x82, CLOSE = 0x88, PONG = 0x8a };

struct run {
    struct stream_mem mem;
    struct stream s;
    struct buf got; /* what was read */
    size_t written; /* of that */
    struct stream_why why;
    ssize_t end;
};

/* What was read goes back, as a connection writes: again and again from where it stands. */
static void echo(struct run *r, size_t room)
{
    r->mem.write_limited = room > 0;
    r->mem.write_room = room;
    while (r->written < buf_len(&r->got)) {
        struct slice left = slice_from(buf_slice(&r->got), r->written);
        size_t half = left.n / 2;
        uint8_t *p = r->got.p + r->got.start + r->written;
        struct iovec iov[2] = {{p, half}, {p + half, left.n - half}};
        ssize_t put = r->s.ops->writev(&r->s, half > 0 ? iov : iov + 1, half > 0 ? 2 : 1);
        assert(put == -EAGAIN || (put > 0 && (size_t)put <= left.n));
        if (put < 0) {
            break;
        }
        r->written += (size_t)put;
    }
    int rc = stream_flush(&r->s);
    assert(rc == 0 || rc == -EAGAIN);
}

static void run(struct run *r, const struct ws_rules *rules, struct slice in, size_t limit,
                size_t room)
{
    uint8_t out[512];
    *r = (struct run){.mem = {.in = in.p, .in_len = in.n, .read_limit = limit, .in_end = 1}};
    stream_mem_init(&r->s, &r->mem);
    stream_ws_wrap(&r->s, rules);
    do {
        r->end = r->s.ops->read(&r->s, out, sizeof out);
        assert(r->end <= (ssize_t)sizeof out);
        if (r->end > 0) {
            buf_put(&r->got, out, (size_t)r->end);
        }
        echo(r, room);
    } while (r->end > 0 || r->end == -EINTR);
    assert(r->end == 0 || r->end == -EPROTO);
    stream_why(&r->s, &r->why);
    echo(r, 0);
    (void)stream_ending(&r->s, r->why.known ? r->why.cause : CAUSE_PEER_FIN);
    r->s.ops->finish(&r->s);
}

static void check_words(const struct run *r)
{
    assert(!r->why.known || r->why.text[0] != '\0');
    for (const char *p = r->why.text; r->why.known && *p != '\0'; p++) {
        assert(r->why.cause == CAUSE_PEER_WS_CLOSED || (*p >= ' ' && *p < 127));
    }
}

static void check_written(const struct run *r)
{
    struct slice out = slice_make(r->mem.out, r->mem.out_len), payload;
    struct buf binary = {0};
    uint8_t first = 0;
    const uint8_t *head = out.n == 0 ? NULL : memmem(out.p, out.n, "\r\n\r\n", 4);
    if (head == NULL) {
        assert(out.n == 0);
        return;
    }
    if (memcmp(out.p, "HTTP/1.1 101 ", 13) != 0) {
        assert(memcmp(out.p, "HTTP/1.1 4", 10) == 0 && r->end == -EPROTO && buf_len(&r->got) == 0);
        return;
    }
    out = slice_from(out, (size_t)(head + 4 - out.p));
    while (out.n > 0) {
        assert(first != CLOSE); /* it is the last */
        size_t used = ws_take_frame(out, &first, &payload);
        assert(used > 0 && (first == BINARY || first == CLOSE || first == PONG));
        if (first == BINARY) {
            assert(payload.n > 0);
            buf_put_slice(&binary, payload);
        } else {
            assert(payload.n <= 125);
        }
        out = slice_from(out, used);
    }
    assert(first == CLOSE && slice_eq(buf_slice(&binary), buf_slice(&r->got)));
    buf_fini(&binary);
}

static void over(struct run *r)
{
    r->s.ops->close(&r->s, false);
    buf_fini(&r->got);
    free(r->mem.out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf in = {0};
    struct run cut, whole;
    if (size < 3) {
        return 0;
    }
    const struct ws_rules rules = {.path = "/mqtt",
                                   .origins = (data[0] & 2) != 0 ? "https://a.example, null" : ""};
    if ((data[0] & 1) != 0) {
        buf_put(&in, WS_REQUEST, strlen(WS_REQUEST));
    }
    buf_put(&in, data + 3, size - 3);
    run(&cut, &rules, buf_slice(&in), data[1], data[2]);
    check_words(&cut);
    check_written(&cut);
    run(&whole, &rules, buf_slice(&in), 0, 0);
    check_words(&whole);
    check_written(&whole);
    assert(cut.end == whole.end && cut.why.known == whole.why.known);
    assert(slice_eq(buf_slice(&cut.got), buf_slice(&whole.got)));
    if (cut.why.known) {
        assert(cut.why.cause == whole.why.cause && cut.why.code == whole.why.code);
    }
    over(&cut);
    over(&whole);
    buf_fini(&in);
    return 0;
}
