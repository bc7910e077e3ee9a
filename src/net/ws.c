/*
 * WebSocket over a stream; see ws.h. ws_upgrade.c has the HTTP request, wslay takes frames apart.
 *
 * Reading is in place: raw bytes are read into the caller's memory, wslay copies 4 KiB of them at a time into its own and
 * unmasks there, and the payload comes back to the caller's memory, where it is never ahead of what was taken. So a frame is
 * never gathered, however long it says it is, and a connection keeps no buffer: the beginning of a frame's header (`rest`)
 * is read anew when more of it has come, and wslay's memory (4 KiB) stays only in the middle of a payload.
 *
 * Writing: what one writev() brings is one binary frame. Once its header was shown to the stream below, it and `out_left`
 * are what comes next, whatever else is to be said: the stream below may have taken a part of it. A pong waits for the frame's
 * end, and only the newest ping is answered [RFC 6455, 5.5.3], so a flood of them costs no memory.
 *
 * The client's close frame is the end of the stream, a breach of the rules an error; our close frame goes out with finish()
 * or close(), with a code that says why.
 */
#include "net/ws.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <wslay/wslay.h>

#include "base/buf.h"
#include "base/bytes.h"
#include "base/mem.h"
#include "net/ws_upgrade.h"

enum {
    READS_MAX = 8, /* that bring nothing for MQTT, then it is somebody else's turn */
    HEADER_MAX = 14,
    CONTROL_MAX = 125,
    PIECES_MAX = 48,
    CODE_NONE = WSLAY_CODE_NO_STATUS_RCVD
};

enum over { GOES_ON, CLOSED, BROKEN, REFUSED };

/* What a connection needs for moments: while it shakes hands, answers a ping, or ends. */
struct talk {
    struct buf out; /* goes out before the next frame */
    uint8_t control[CONTROL_MAX], pong[CONTROL_MAX];
    uint8_t control_n, pong_n;
    bool pong_waits;
    struct stream_why why;
};

/* wslay at work, and what it is given: the kept beginning of a header, then what was read. */
struct parser {
    wslay_frame_context_ptr frames;
    struct slice part[2];
    size_t given;
};

struct ws {
    struct stream inner;
    struct ws_upgrade *upgrade; /* NULL once it is over */
    struct talk *talk;
    struct parser *parser;
    uint64_t in_left;  /* of the payload that is being read */
    uint64_t out_left; /* of the payload that is being written */
    uint8_t head[10], head_n, head_at;
    uint8_t rest[HEADER_MAX], rest_n;
    uint16_t close_code; /* of our close frame; 0: not decided */
    uint8_t over;        /* enum over */
    bool begun;          /* a byte came */
    bool over_told, close_said, in_message;
};

static struct talk *talk_of(struct ws *w)
{
    if (w->talk == NULL) {
        w->talk = mem_new(1, sizeof *w->talk);
    }
    return w->talk;
}

static void talk_free(struct ws *w)
{
    if (w->talk != NULL) {
        buf_fini(&w->talk->out);
        free(w->talk);
        w->talk = NULL;
    }
}

/* ---- what we say for ourselves ---- */

static bool in_frame(const struct ws *w)
{
    return w->out_left > 0 || w->head_at < w->head_n;
}

static void put_control(struct ws *w, uint8_t opcode, const void *payload, size_t n)
{
    assert(n <= CONTROL_MAX);
    struct buf *out = &talk_of(w)->out;
    buf_put_u8(out, 0x80 | opcode);
    buf_put_u8(out, (uint8_t)n);
    buf_put(out, payload, n);
}

static void settle(struct ws *w)
{
    struct talk *t = w->talk;
    if (t != NULL && w->over == GOES_ON && w->upgrade == NULL && t->control_n == 0 &&
        !t->pong_waits && buf_len(&t->out) == 0) {
        talk_free(w);
    }
}

/* 0, -EAGAIN or another error. */
static int write_out(struct ws *w)
{
    struct buf *out = &w->talk->out;
    while (buf_len(out) > 0) {
        struct slice left = buf_slice(out);
        struct iovec iov = {.iov_base = (void *)(uintptr_t)left.p, .iov_len = left.n};
        ssize_t put = w->inner.ops->writev(&w->inner, &iov, 1);
        if (put < 0) {
            return (int)put;
        }
        buf_take(out, (size_t)put);
    }
    return 0;
}

/* The same, of all that waits, unless a frame is to be finished first. */
static int speak(struct ws *w)
{
    struct talk *t = w->talk;
    if (t == NULL || in_frame(w)) {
        return 0;
    }
    int rc = write_out(w);
    if (rc == 0 && t->pong_waits && !w->close_said) {
        t->pong_waits = false;
        put_control(w, WSLAY_PONG, t->pong, t->pong_n);
        rc = write_out(w);
    }
    if (rc == 0) {
        settle(w);
    }
    return rc;
}

static int ws_flush(struct stream *s)
{
    struct ws *w = s->state;
    int rc = stream_flush(&w->inner);
    return rc != 0 ? rc : speak(w);
}

/* The reason is in words for a breach of the rules only: who refuses a login says no more than that. */
static void say_close(struct ws *w)
{
    if (w->upgrade != NULL || w->over == REFUSED || w->close_said || in_frame(w)) {
        return;
    }
    uint8_t payload[CONTROL_MAX];
    size_t n = 0;
    unsigned code = w->close_code == 0 ? WSLAY_CODE_NORMAL_CLOSURE : w->close_code;
    if (code != CODE_NONE) {
        put_be16(payload, (uint16_t)code);
        n = 2;
    }
    if (w->over == BROKEN) {
        size_t words = strlen(w->talk->why.text);
        words = words < CONTROL_MAX - n ? words : CONTROL_MAX - n;
        memcpy(payload + n, w->talk->why.text, words);
        n += words;
    }
    put_control(w, WSLAY_CONNECTION_CLOSE, payload, n);
    w->close_said = true;
}

static void say_goodbye(struct ws *w)
{
    say_close(w);
    int ignored = speak(w);
    (void)ignored;
}

/* ---- how it ends ---- */

static void note_end(struct ws *w, enum over how, enum cause cause, unsigned code)
{
    struct talk *t = talk_of(w);
    w->over = (uint8_t)how;
    t->why.known = true;
    t->why.cause = cause;
    t->why.code = code;
}

static void broken(struct ws *w, unsigned code, const char *why)
{
    note_end(w, BROKEN, CAUSE_PROTOCOL_WEBSOCKET, code);
    w->close_code = (uint16_t)code;
    (void)snprintf(w->talk->why.text, sizeof w->talk->why.text, "%s", why);
}

static const char *code_text(unsigned code)
{
    static const struct {
        unsigned code;
        const char *text;
    } known[] = {{1000, "normal"},           {1001, "going away"},
                 {1002, "protocol error"},   {1003, "data that cannot be accepted"},
                 {1005, "no code"},          {1007, "data that is not consistent"},
                 {1008, "against a policy"}, {1009, "message too big"},
                 {1010, "no extension"},     {1011, "internal error"},
                 {1012, "restart"},          {1013, "try again later"},
                 {1014, "bad gateway"}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (known[i].code == code) {
            return known[i].text;
        }
    }
    return code >= 3000 && code < 5000 ? "the application's own" : NULL;
}

/* Length of the UTF-8 sequence at `p`, 0 if it is none. */
static size_t utf8_sequence(const uint8_t *p, size_t n)
{
    size_t want = p[0] < 0x80   ? 1
                  : p[0] < 0xc2 ? 0
                  : p[0] < 0xe0 ? 2
                  : p[0] < 0xf0 ? 3
                  : p[0] < 0xf5 ? 4
                                : 0;
    if (want == 0 || want > n) {
        return 0;
    }
    for (size_t i = 1; i < want; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    bool bad = (p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
               (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f);
    return bad ? 0 : want;
}

static bool is_text(const uint8_t *p, size_t n)
{
    while (n > 0) {
        size_t step = utf8_sequence(p, n);
        if (step == 0) {
            return false;
        }
        p += step;
        n -= step;
    }
    return true;
}

/* The client's close frame: its code comes back to it. */
static void closed(struct ws *w)
{
    struct talk *t = talk_of(w);
    size_t n = t->control_n;
    unsigned code = n == 0 ? CODE_NONE : n == 1 ? 0 : get_be16(t->control);
    const char *text = code == CODE_NONE && n > 0 ? NULL : code_text(code);
    if (text == NULL) {
        broken(w, WSLAY_CODE_PROTOCOL_ERROR, "a close frame with a code that may not be sent");
        return;
    }
    size_t words = n > 2 ? n - 2 : 0;
    if (!is_text(t->control + 2, words)) {
        broken(w, WSLAY_CODE_INVALID_FRAME_PAYLOAD_DATA,
               "a close frame with a reason that is not UTF-8");
        return;
    }
    note_end(w, CLOSED, CAUSE_PEER_WS_CLOSED, code);
    w->close_code = (uint16_t)code;
    (void)snprintf(t->why.text, sizeof t->why.text, "close code %u, %s%s%.*s%s", code, text,
                   words > 0 ? "; reason \"" : "", (int)words, t->control + 2,
                   words > 0 ? "\"" : "");
}

/* What the broker's reason is as a close code [RFC 6455, 7.4.1]. */
static unsigned close_code_of(enum cause cause)
{
    const struct cause_info *info = cause_info(cause);
    if (cause == CAUSE_LIMIT_PACKET_SIZE) {
        return WSLAY_CODE_MESSAGE_TOO_BIG;
    }
    if (cause == CAUSE_SERVER_INTERNAL || cause == CAUSE_AUTH_BACKEND) {
        return WSLAY_CODE_INTERNAL_SERVER_ERROR;
    }
    if (cause == CAUSE_LIMIT_CONNECTIONS || cause == CAUSE_LIMIT_CONNECT_RATE ||
        cause == CAUSE_LIMIT_MEMORY) {
        return 1013; /* try again later */
    }
    if (info->description == DESC_SERVER_SHUTDOWN) {
        return WSLAY_CODE_GOING_AWAY;
    }
    if (info->description == DESC_INVALID_PARAM) {
        return WSLAY_CODE_PROTOCOL_ERROR;
    }
    return info->ended_by == ENDED_BY_CLIENT ? WSLAY_CODE_NORMAL_CLOSURE
                                             : WSLAY_CODE_POLICY_VIOLATION;
}

static bool ws_ending(struct stream *s, enum cause cause)
{
    struct ws *w = s->state;
    if (w->close_code == 0) {
        w->close_code = (uint16_t)close_code_of(cause);
    }
    return w->upgrade == NULL;
}

/* ---- frames ---- */

/* What is wrong with a frame that begins so, or NULL. `*code`: to close with. */
static const char *check_frame(const struct ws *w, const struct wslay_frame_iocb *f, unsigned *code)
{
    bool control = wslay_is_ctrl_frame(f->opcode);
    *code = WSLAY_CODE_PROTOCOL_ERROR;
    if (f->rsv != 0) {
        return "a frame with reserved bits, and no extension was agreed on";
    }
    if (f->opcode == WSLAY_TEXT_FRAME) { /* [MQTT-6.0.0-1] */
        *code = WSLAY_CODE_UNSUPPORTED_DATA;
        return "a text frame: MQTT travels in binary frames";
    }
    if (f->opcode > WSLAY_PONG || (f->opcode > WSLAY_BINARY_FRAME && !control)) {
        return "a frame with an opcode that does not exist";
    }
    if (control && f->fin == 0) {
        return "a control frame in fragments";
    }
    if (control && f->payload_length > CONTROL_MAX) {
        return "a control frame longer than 125 bytes";
    }
    if (f->mask == 0) {
        return "a frame that is not masked";
    }
    if (f->opcode == WSLAY_CONTINUATION_FRAME && !w->in_message) {
        return "a continuation frame of nothing";
    }
    if (f->opcode == WSLAY_BINARY_FRAME && w->in_message) {
        return "a new message in the middle of a fragmented one";
    }
    return NULL;
}

static void begin_frame(struct ws *w, const struct wslay_frame_iocb *f)
{
    unsigned code;
    const char *wrong = check_frame(w, f, &code);
    if (wrong != NULL) {
        broken(w, code, wrong);
    }
}

/* The first two bytes of a header say all that check_frame() wants; the length that they say is 126 or 127 for more. */
static void check_two(struct ws *w, const uint8_t b[2])
{
    const struct wslay_frame_iocb f = {.fin = b[0] >> 7,
                                       .rsv = b[0] >> 4 & 7,
                                       .opcode = b[0] & 15,
                                       .mask = b[1] >> 7,
                                       .payload_length = b[1] & 127U};
    begin_frame(w, &f);
}

static void end_frame(struct ws *w, const struct wslay_frame_iocb *f)
{
    struct talk *t = w->talk;
    if (!wslay_is_ctrl_frame(f->opcode)) {
        w->in_message = f->fin == 0;
        return;
    }
    if (f->opcode == WSLAY_CONNECTION_CLOSE) {
        closed(w);
    } else if (f->opcode == WSLAY_PING) {
        t = talk_of(w);
        memcpy(t->pong, t->control, t->control_n);
        t->pong_n = t->control_n;
        t->pong_waits = true;
    }
    if (t != NULL) {
        t->control_n = 0;
    }
    settle(w);
}

/* A piece of a frame's payload; returns the bytes of it that are MQTT's. */
static size_t take_piece(struct ws *w, const struct wslay_frame_iocb *f, uint8_t *out)
{
    if (f->data_length == 0) {
        return 0;
    }
    if (!wslay_is_ctrl_frame(f->opcode)) {
        memcpy(out, f->data, f->data_length);
        return f->data_length;
    }
    if (f->opcode != WSLAY_PONG) {
        struct talk *t = talk_of(w);
        assert(t->control_n + f->data_length <= CONTROL_MAX);
        memcpy(t->control + t->control_n, f->data, f->data_length);
        t->control_n = (uint8_t)(t->control_n + f->data_length);
    }
    return 0;
}

static size_t header_bytes(const struct wslay_frame_iocb *f)
{
    size_t length = f->payload_length > UINT16_MAX ? 8 : f->payload_length > CONTROL_MAX ? 2 : 0;
    return 2 + length + (f->mask != 0 ? 4 : 0);
}

/* wslay asks for bytes; 0 makes it say that it wants more. */
static ssize_t give(uint8_t *out, size_t n, int flags, void *arg)
{
    struct parser *p = arg;
    size_t total = 0;
    (void)flags;
    for (unsigned i = 0; i < 2; i++) {
        size_t part = p->part[i].n < n - total ? p->part[i].n : n - total;
        if (part > 0) {
            memcpy(out + total, p->part[i].p, part);
        }
        p->part[i] = slice_from(p->part[i], part);
        total += part;
    }
    p->given += total;
    return (ssize_t)total;
}

static struct parser *parser_new(void)
{
    const struct wslay_frame_callbacks callbacks = {.recv_callback = give};
    struct parser *p = mem_new(1, sizeof *p);
    if (wslay_frame_context_init(&p->frames, &callbacks, p) != 0) {
        abort(); /* no memory */
    }
    return p;
}

static void parser_free(struct parser *p)
{
    if (p != NULL) {
        wslay_frame_context_free(p->frames);
        free(p);
    }
}

/*
 * wslay cannot go on. `used` bytes of rest and raw belong to whole frames, or to payload; what is left begins a header.
 */
static void stop_reading(struct ws *w, ssize_t why, size_t used, struct slice raw)
{
    uint8_t begin[HEADER_MAX];
    if (w->in_left > 0) {
        w->rest_n = 0;
        return; /* in the middle of a payload: the parser stays */
    }
    size_t left = w->parser->given - used, kept = used < w->rest_n ? w->rest_n - used : 0;
    left = left < HEADER_MAX ? left : HEADER_MAX; /* more only if it is not a good one */
    kept = kept < left ? kept : left;
    if (kept > 0) {
        memcpy(begin, w->rest + used, kept);
    }
    memcpy(begin + kept, raw.p + (used + kept - w->rest_n), left - kept);
    parser_free(w->parser);
    w->parser = NULL;
    w->rest_n = 0;
    if (left >= 2) {
        check_two(w, begin);
    }
    if (w->over == GOES_ON && why != WSLAY_ERR_WANT_READ) {
        broken(w, WSLAY_CODE_PROTOCOL_ERROR, "a frame whose length is not in its shortest form");
    }
    if (w->over == GOES_ON) {
        memcpy(w->rest, begin, left);
        w->rest_n = (uint8_t)left;
    }
}

/* Takes frames apart; their payload goes to `out`, which may be where `raw` begins or before. Returns its bytes. */
static size_t take_frames(struct ws *w, uint8_t *out, struct slice raw)
{
    struct parser *p = w->parser == NULL ? parser_new() : w->parser;
    size_t used = 0, put = 0;
    w->parser = p;
    p->part[0] = slice_make(w->rest, w->rest_n);
    p->part[1] = raw;
    p->given = 0;
    while (w->over == GOES_ON) {
        struct wslay_frame_iocb f;
        ssize_t n = wslay_frame_recv(p->frames, &f);
        if (n < 0) {
            stop_reading(w, n, used, raw);
            break;
        }
        if (w->in_left == 0) {
            begin_frame(w, &f);
            w->in_left = f.payload_length;
            used += header_bytes(&f);
        }
        if (w->over == GOES_ON) {
            put += take_piece(w, &f, out + put);
            used += (size_t)n;
            w->in_left -= (size_t)n;
        }
        if (w->over == GOES_ON && w->in_left == 0) {
            end_frame(w, &f);
        }
    }
    return put;
}

/* ---- the stream ---- */

/* Takes the request's bytes; returns the bytes behind it. */
static struct slice take_upgrade(struct ws *w, struct slice raw)
{
    size_t used;
    struct talk *t = talk_of(w);
    switch (ws_upgrade_feed(w->upgrade, raw, &used, &t->out)) {
    case WS_UPGRADE_MORE:
        return slice_from(raw, raw.n);
    case WS_UPGRADE_REFUSED:
        note_end(w, REFUSED, CAUSE_HANDSHAKE_WEBSOCKET, 0);
        (void)snprintf(t->why.text, sizeof t->why.text, "%s", ws_upgrade_why(w->upgrade));
        break;
    case WS_UPGRADE_DONE:
        break;
    }
    ws_upgrade_free(w->upgrade);
    w->upgrade = NULL;
    return slice_from(raw, used);
}

static ssize_t end_of(const struct ws *w)
{
    return w->over == CLOSED ? 0 : -EPROTO;
}

static ssize_t ws_read(struct stream *s, void *out, size_t n)
{
    struct ws *w = s->state;
    s->drained = false;
    if (w->over != GOES_ON && !w->over_told) {
        w->over_told = true;
        return end_of(w);
    }
    for (int i = 0; i < READS_MAX; i++) {
        ssize_t got = w->inner.ops->read(&w->inner, out, n);
        if (got <= 0 || w->over != GOES_ON) {
            return got; /* behind its end a client's bytes are read away */
        }
        struct slice raw = slice_make(out, (size_t)got);
        w->begun = true;
        if (w->upgrade != NULL) {
            raw = take_upgrade(w, raw);
        }
        size_t put = w->over == GOES_ON && raw.n > 0 ? take_frames(w, out, raw) : 0;
        if (put > 0) {
            s->drained = w->over == GOES_ON &&
                         (w->inner.ops->holds_back ? w->inner.drained : (size_t)got < n);
            return (ssize_t)put;
        }
        if (w->over != GOES_ON) {
            w->over_told = true;
            return end_of(w);
        }
    }
    return -EINTR;
}

static ssize_t ws_peek(struct stream *s)
{
    struct ws *w = s->state;
    return w->over != GOES_ON ? end_of(w) : w->inner.ops->peek(&w->inner);
}

static void begin_out(struct ws *w, uint64_t n)
{
    w->head[0] = 0x80 | WSLAY_BINARY_FRAME;
    w->head_at = 0;
    w->out_left = n;
    if (n <= CONTROL_MAX) {
        w->head[1] = (uint8_t)n;
        w->head_n = 2;
    } else if (n <= UINT16_MAX) {
        w->head[1] = 126;
        put_be16(w->head + 2, (uint16_t)n);
        w->head_n = 4;
    } else {
        w->head[1] = 127;
        put_be64(w->head + 2, n);
        w->head_n = 10;
    }
}

/* What is left of our frame, from the pieces that begin where it goes on. */
static int frame_pieces(struct ws *w, const struct iovec *iov, int count,
                        struct iovec out[PIECES_MAX + 1])
{
    int n = 0;
    uint64_t left = w->out_left;
    if (w->head_at < w->head_n) {
        out[n++] = (struct iovec){.iov_base = w->head + w->head_at,
                                  .iov_len = (size_t)(w->head_n - w->head_at)};
    }
    for (int i = 0; i < count && left > 0; i++) {
        size_t part = iov[i].iov_len < left ? iov[i].iov_len : (size_t)left;
        out[n++] = (struct iovec){.iov_base = iov[i].iov_base, .iov_len = part};
        left -= part;
    }
    return n;
}

static ssize_t ws_writev(struct stream *s, const struct iovec *iov, int count)
{
    struct ws *w = s->state;
    assert(w->upgrade == NULL); /* nothing is said before a client spoke */
    count = count < PIECES_MAX ? count : PIECES_MAX;
    if (!in_frame(w)) {
        int rc = w->close_said ? -EPIPE : speak(w);
        if (rc != 0) {
            return rc;
        }
        uint64_t total = 0;
        for (int i = 0; i < count; i++) {
            total += iov[i].iov_len;
        }
        begin_out(w, total);
    }
    for (;;) {
        struct iovec piece[PIECES_MAX + 1];
        ssize_t put = w->inner.ops->writev(&w->inner, piece, frame_pieces(w, iov, count, piece));
        if (put < 0) {
            return put;
        }
        size_t head = (size_t)(w->head_n - w->head_at);
        head = (size_t)put < head ? (size_t)put : head;
        w->head_at = (uint8_t)(w->head_at + head);
        w->out_left -= (size_t)put - head;
        if ((size_t)put > head) {
            return (ssize_t)((size_t)put - head);
        }
    }
}

static void ws_finish(struct stream *s)
{
    struct ws *w = s->state;
    say_goodbye(w);
    if (w->inner.ops->finish != NULL) {
        w->inner.ops->finish(&w->inner);
    }
}

static void ws_close(struct stream *s, bool reset)
{
    struct ws *w = s->state;
    if (!reset) {
        say_goodbye(w);
    }
    w->inner.ops->close(&w->inner, reset);
    ws_upgrade_free(w->upgrade);
    parser_free(w->parser);
    talk_free(w);
    free(w);
    s->state = NULL;
    s->fd = -1;
}

static void ws_why(const struct stream *s, struct stream_why *out)
{
    const struct ws *w = s->state;
    if (w->over != GOES_ON) {
        *out = w->talk->why;
        return;
    }
    stream_why(&w->inner, out);
    if (w->upgrade != NULL && w->begun) {
        *out = (struct stream_why){.known = true, .cause = CAUSE_HANDSHAKE_WEBSOCKET};
        (void)snprintf(out->text, sizeof out->text,
                       "the client closed in the middle of its upgrade request");
    }
}

/* Not when something else is about to go out anyway. */
static void ws_ping(struct stream *s)
{
    struct ws *w = s->state;
    bool busy = in_frame(w) || (w->talk != NULL && buf_len(&w->talk->out) > 0);
    if (w->upgrade == NULL && w->over == GOES_ON && !w->close_said && !busy) {
        put_control(w, WSLAY_PING, NULL, 0);
    }
}

static void ws_told(const struct stream *s, struct stream_told *out)
{
    const struct ws *w = s->state;
    stream_told(&w->inner, out);
}

static const struct stream_via *ws_via(const struct stream *s)
{
    const struct ws *w = s->state;
    return stream_via(&w->inner);
}

static const char *ws_awaits(const struct stream *s)
{
    const struct ws *w = s->state;
    const char *below = stream_awaits(&w->inner);
    return below != NULL ? below : w->upgrade == NULL ? NULL : "a WebSocket upgrade request";
}

static const struct stream_ops ws_ops = {
    .read = ws_read,
    .writev = ws_writev,
    .peek = ws_peek,
    .close = ws_close,
    .finish = ws_finish,
    .ending = ws_ending,
    .flush = ws_flush,
    .why = ws_why,
    .told = ws_told,
    .ping = ws_ping,
    .awaits = ws_awaits,
    .via = ws_via,
    .holds_back = true,
};

void stream_ws_wrap(struct stream *s, const struct ws_rules *rules)
{
    struct ws *w = mem_new(1, sizeof *w);
    w->inner = *s;
    w->upgrade = ws_upgrade_new(rules);
    *s = (struct stream){.ops = &ws_ops, .fd = w->inner.fd, .state = w};
}
