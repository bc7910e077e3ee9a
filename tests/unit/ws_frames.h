/* A WebSocket client's side for tests: its request, its frames, and what the server wrote taken apart. */
#ifndef TMQ_TESTS_WS_FRAMES_H
#define TMQ_TESTS_WS_FRAMES_H

#include <stdio.h>

#include "base/buf.h"
#include "base/bytes.h"

#define WS_REQUEST_HEAD                                                                            \
    "Host: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"                         \
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
#define WS_REQUEST "GET /mqtt HTTP/1.1\r\n" WS_REQUEST_HEAD "Sec-WebSocket-Protocol: mqtt\r\n\r\n"
#define WS_ANSWER                                                                                  \
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"            \
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n"

/* A frame; `first` is fin, reserved bits and opcode. */
static inline void ws_put_frame(struct buf *b, uint8_t first, const void *payload, size_t n,
                                bool masked)
{
    static const uint8_t key[4] = {0x12, 0xf4, 0x56, 0x9a};
    const uint8_t *p = payload;
    uint8_t mask = masked ? 0x80 : 0;
    buf_put_u8(b, first);
    if (n < 126) {
        buf_put_u8(b, (uint8_t)(mask | n));
    } else if (n <= UINT16_MAX) {
        buf_put_u8(b, mask | 126);
        put_be16(buf_reserve(b, 2), (uint16_t)n);
        buf_commit(b, 2);
    } else {
        buf_put_u8(b, mask | 127);
        put_be64(buf_reserve(b, 8), n);
        buf_commit(b, 8);
    }
    if (masked) {
        buf_put(b, key, sizeof key);
    }
    for (size_t i = 0; i < n; i++) {
        buf_put_u8(b, masked ? p[i] ^ key[i % 4] : p[i]);
    }
}

/* A frame of the server's at the start of `in`: its bytes, 0 if it is not whole. */
static inline size_t ws_take_frame(struct slice in, uint8_t *first, struct slice *payload)
{
    if (in.n < 2) {
        return 0;
    }
    uint64_t n = in.p[1];
    size_t head = n < 126 ? 2 : n == 126 ? 4 : 10;
    if (in.n < head) {
        return 0;
    }
    n = head == 4 ? get_be16(in.p + 2) : head == 10 ? get_be64(in.p + 2) : n;
    if (in.n - head < n) {
        return 0;
    }
    *first = in.p[0];
    *payload = slice_make(in.p + head, (size_t)n);
    return head + (size_t)n;
}

#endif
