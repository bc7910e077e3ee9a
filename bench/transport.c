/*
 * transport: see transport.h.
 *
 * A stack of at most two layers:  MQTT ─ [WebSocket frames] ─ [TLS] ─ socket
 *
 * WebSocket: what one write gives becomes one masked binary frame, kept in `out` until the socket took all of it; reading
 * decodes frames in place, their payloads moved together. Control frames but Close are not expected from a broker that is
 * measured: a ping is answered, others end the connection.
 */
#include "transport.h"

#include <assert.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define UPGRADE_MAX 2048U
#define FRAME_HEAD_MAX 14U

struct transport {
    SSL *ssl;
    uint8_t *out; /* WebSocket: a frame, or the upgrade, not wholly written */
    size_t out_from, out_to, out_room;
    uint64_t frame_left; /* payload bytes of the present frame still to come */
    size_t head_bytes;   /* of an incomplete frame header, or of the answer to the upgrade */
    uint32_t mask;
    int fd;
    bool ws, upgraded, tls_wants_write, closing;
    uint8_t head[UPGRADE_MAX];
};

static SSL_CTX *tls_context;
static SSL_SESSION *last_session;

static int on_new_session(SSL *ssl, SSL_SESSION *session)
{
    (void)ssl;
    SSL_SESSION_free(last_session);
    last_session = session;
    return 1; /* ours now */
}

void transport_setup(bool resume)
{
    tls_context = SSL_CTX_new(TLS_client_method());
    if (!tls_context) {
        abort();
    }
    SSL_CTX_set_verify(tls_context, SSL_VERIFY_NONE,
                       NULL); /* the broker is measured, not trusted */
    SSL_CTX_set_mode(tls_context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                      SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                      SSL_MODE_RELEASE_BUFFERS);
    if (resume) {
        SSL_CTX_set_session_cache_mode(tls_context,
                                       SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL_STORE);
        SSL_CTX_sess_set_new_cb(tls_context, on_new_session);
    }
}

void transport_teardown(void)
{
    SSL_SESSION_free(last_session);
    SSL_CTX_free(tls_context);
    last_session = NULL;
    tls_context = NULL;
}

/* ---- the layer below WebSocket: TLS or the socket itself ---- */

static ssize_t tls_result(struct transport *t, int n)
{
    int saved = errno;
    int error = SSL_get_error(t->ssl, n);
    t->tls_wants_write = error == SSL_ERROR_WANT_WRITE;
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        return -EAGAIN;
    }
    if (error == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    ERR_clear_error();
    return error == SSL_ERROR_SYSCALL && saved != 0 ? -saved : -EPROTO;
}

static ssize_t lower_read(struct transport *t, uint8_t *out, size_t room)
{
    errno = 0;
    if (t->ssl) {
        int n = SSL_read(t->ssl, out, room > INT32_MAX ? INT32_MAX : (int)room);
        return n > 0 ? n : tls_result(t, n);
    }
    ssize_t n = recv(t->fd, out, room, 0);
    return n >= 0 ? n : -errno;
}

static ssize_t lower_write(struct transport *t, const uint8_t *p, size_t bytes)
{
    errno = 0;
    if (t->ssl) {
        int n = SSL_write(t->ssl, p, bytes > INT32_MAX ? INT32_MAX : (int)bytes);
        t->tls_wants_write = false;
        ssize_t result = n > 0 ? n : tls_result(t, n);
        return result == 0 ? -EPIPE : result;
    }
    ssize_t n = send(t->fd, p, bytes, MSG_NOSIGNAL);
    return n >= 0 ? n : -errno;
}

/* ---- WebSocket ---- */

static uint8_t *out_put(struct transport *t, size_t bytes)
{
    if (t->out_from == t->out_to) {
        t->out_from = t->out_to = 0;
    }
    if (t->out_to + bytes > t->out_room) {
        t->out_room = (t->out_to + bytes) * 2;
        t->out = realloc(t->out, t->out_room);
        if (!t->out) {
            abort();
        }
    }
    uint8_t *at = t->out + t->out_to;
    t->out_to += bytes;
    return at;
}

/* 0 when nothing is left, else a negative errno. */
static int out_flush(struct transport *t)
{
    while (t->out_from < t->out_to) {
        ssize_t n = lower_write(t, t->out + t->out_from, t->out_to - t->out_from);
        if (n < 0) {
            return (int)n;
        }
        t->out_from += (size_t)n;
    }
    return 0;
}

static void put_upgrade(struct transport *t)
{
    static const char request[] = "GET /mqtt HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n"
                                  "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
                                  "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
                                  "Sec-WebSocket-Protocol: mqtt\r\n\r\n";
    memcpy(out_put(t, sizeof request - 1), request, sizeof request - 1);
}

static void put_frame(struct transport *t, uint8_t opcode, const uint8_t *p, size_t bytes)
{
    uint8_t head[FRAME_HEAD_MAX] = {(uint8_t)(0x80U | opcode)};
    size_t n = 2;
    if (bytes < 126) {
        head[1] = (uint8_t)(0x80U | bytes);
    } else if (bytes < 65536) {
        head[1] = 0x80 | 126;
        head[2] = (uint8_t)(bytes >> 8);
        head[3] = (uint8_t)bytes;
        n = 4;
    } else {
        head[1] = 0x80 | 127;
        for (int i = 0; i < 8; i++) {
            head[2 + i] = (uint8_t)((uint64_t)bytes >> (56 - 8 * i));
        }
        n = 10;
    }
    t->mask = t->mask * 1664525U + 1013904223U;
    memcpy(head + n, &t->mask, sizeof t->mask);
    const uint8_t *mask = head + n;
    uint8_t *at = out_put(t, n + 4 + bytes);
    memcpy(at, head, n + 4);
    for (size_t i = 0; i < bytes; i++) {
        at[n + 4 + i] = p[i] ^ mask[i & 3];
    }
}

/* Takes the answer to the upgrade from the start of `in`; bytes used, 0: more needed, -EPROTO. */
static ssize_t take_upgrade(struct transport *t, const uint8_t *in, size_t bytes)
{
    size_t before = t->head_bytes;
    size_t part = bytes < UPGRADE_MAX - 1 - before ? bytes : UPGRADE_MAX - 1 - before;
    memcpy(t->head + before, in, part);
    t->head[before + part] = '\0';
    const char *text = (const char *)t->head;
    const char *end = strstr(text, "\r\n\r\n");
    if (!end) {
        t->head_bytes += part;
        return part < bytes || part == 0 ? -EPROTO : 0;
    }
    if (strncmp(text, "HTTP/1.1 101", 12) != 0) {
        return -EPROTO;
    }
    t->upgraded = true;
    t->head_bytes = 0;
    return (ssize_t)((size_t)(end + 4 - text) - before);
}

/* A whole frame header in t->head? Its size, 0: more needed, -EPROTO; sets frame_left. */
static ssize_t frame_head(struct transport *t)
{
    const uint8_t *h = t->head;
    if (t->head_bytes < 2) {
        return 0;
    }
    size_t need = (h[1] & 0x7fU) == 127 ? 10 : (h[1] & 0x7fU) == 126 ? 4 : 2;
    if (h[1] & 0x80U) {
        return -EPROTO; /* a server does not mask */
    }
    if (t->head_bytes < need) {
        return 0;
    }
    uint64_t length = h[1] & 0x7fU;
    if (need > 2) {
        length = 0;
        for (size_t i = 2; i < need; i++) {
            length = length << 8 | h[i];
        }
    }
    t->frame_left = length;
    return (ssize_t)need;
}

/* What a header says of its frame: 1 payload follows, 0 the connection ends, -EPROTO. A ping without payload is answered. */
static int frame_kind(struct transport *t)
{
    uint8_t opcode = t->head[0] & 0x0fU;
    if (opcode == 8) {
        t->closing = true;
        return 0;
    }
    if (opcode == 9 && t->frame_left == 0) {
        put_frame(t, 10, NULL, 0);
        return 1;
    }
    return opcode <= 2 ? 1 : -EPROTO;
}

/* Moves the payloads of the frames in p[0..bytes) together; their size, 0: Close, -EAGAIN: none yet, -EPROTO. */
static ssize_t unframe(struct transport *t, uint8_t *p, size_t bytes)
{
    size_t at = 0, put = 0;
    while (at < bytes) {
        if (t->frame_left > 0) {
            size_t part = bytes - at < t->frame_left ? bytes - at : (size_t)t->frame_left;
            memmove(p + put, p + at, part);
            put += part;
            at += part;
            t->frame_left -= part;
            continue;
        }
        t->head[t->head_bytes++] = p[at++];
        ssize_t head = frame_head(t);
        if (head < 0) {
            return head;
        }
        if (head > 0) {
            int kind = frame_kind(t);
            t->head_bytes = 0;
            if (kind <= 0) {
                return kind < 0 ? kind : (ssize_t)put;
            }
        }
    }
    return put > 0 ? (ssize_t)put : -EAGAIN;
}

static ssize_t ws_read(struct transport *t, uint8_t *out, size_t room)
{
    int error = out_flush(t);
    if (error < 0 && error != -EAGAIN) {
        return error;
    }
    if (t->closing) {
        return 0;
    }
    ssize_t n = lower_read(t, out, room);
    if (n <= 0) {
        return n;
    }
    size_t skip = 0;
    if (!t->upgraded) {
        ssize_t used = take_upgrade(t, out, (size_t)n);
        if (used < 0 || !t->upgraded) {
            return used < 0 ? used : -EAGAIN;
        }
        skip = (size_t)used;
        memmove(out, out + skip, (size_t)n - skip);
    }
    return (size_t)n == skip ? -EAGAIN : unframe(t, out, (size_t)n - skip);
}

static ssize_t ws_write(struct transport *t, const uint8_t *p, size_t bytes)
{
    int error = out_flush(t);
    if (error < 0 || !t->upgraded) {
        return error < 0 ? error : -EAGAIN;
    }
    put_frame(t, 2, p, bytes);
    error = out_flush(t);
    return error == 0 || error == -EAGAIN ? (ssize_t)bytes : error;
}

/* ---- the stack ---- */

struct transport *transport_new(enum transport_kind kind, int fd)
{
    if (kind == TRANSPORT_TCP) {
        return NULL;
    }
    struct transport *t = calloc(1, sizeof *t);
    if (!t) {
        abort();
    }
    t->fd = fd;
    t->mask = (uint32_t)fd * 2654435761U;
    t->ws = kind == TRANSPORT_WS || kind == TRANSPORT_WSS;
    if (kind == TRANSPORT_TLS || kind == TRANSPORT_WSS) {
        t->ssl = SSL_new(tls_context);
        if (!t->ssl || SSL_set_fd(t->ssl, fd) != 1) {
            abort();
        }
        if (last_session) {
            SSL_set_session(t->ssl, last_session);
        }
        SSL_set_connect_state(t->ssl);
        t->tls_wants_write = true; /* the ClientHello */
    }
    if (t->ws) {
        put_upgrade(t);
    }
    return t;
}

void transport_free(struct transport *t, bool orderly)
{
    if (!t) {
        return;
    }
    if (orderly && t->ws && t->upgraded && !t->closing) {
        static const uint8_t normal[] = {0x03, 0xe8};
        put_frame(t, 8, normal, sizeof normal);
        (void)out_flush(t);
    }
    if (orderly && t->ssl && SSL_is_init_finished(t->ssl)) {
        (void)SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
    SSL_free(t->ssl);
    free(t->out);
    free(t);
}

ssize_t transport_read(struct transport *t, uint8_t *out, size_t room)
{
    return t->ws ? ws_read(t, out, room) : lower_read(t, out, room);
}

ssize_t transport_write(struct transport *t, const uint8_t *p, size_t bytes)
{
    return t->ws ? ws_write(t, p, bytes) : lower_write(t, p, bytes);
}

void transport_push(struct transport *t)
{
    if (t->ssl && !SSL_is_init_finished(t->ssl)) {
        int n = SSL_do_handshake(t->ssl);
        if (n <= 0) {
            (void)tls_result(t, n);
            return;
        }
    }
    (void)out_flush(t);
}

bool transport_wants_write(const struct transport *t)
{
    return t->tls_wants_write || (t->out_from < t->out_to && !t->ssl);
}

bool transport_resumed(const struct transport *t)
{
    return t->ssl && SSL_session_reused(t->ssl);
}
