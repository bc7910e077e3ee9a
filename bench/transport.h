/*
 * transport: TLS and WebSocket on the client's side, for the load generator.
 *
 * Plain TCP has none (NULL). Handshakes happen inside read and write: until they are done both give -EAGAIN. It shares
 * nothing with the broker's own layers, as wire.h shares nothing with its codec.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum transport_kind { TRANSPORT_TCP, TRANSPORT_TLS, TRANSPORT_WS, TRANSPORT_WSS };

struct transport;

/* Once per process, before the first TLS connection; `resume`: each takes up the last one's session. */
void transport_setup(bool resume);
void transport_teardown(void);

/* A transport over the socket `fd`, which stays the caller's; NULL for TRANSPORT_TCP. */
struct transport *transport_new(enum transport_kind kind, int fd);
/* Orderly: says goodbye (close_notify, Close frame) as far as the socket takes it. NULL is nothing. */
void transport_free(struct transport *t, bool orderly);

/* Plain bytes read, 0 at the end, -EAGAIN, -EPROTO, or another negative errno. */
ssize_t transport_read(struct transport *t, uint8_t *out, size_t room);
/* Plain bytes taken (all of them or none but for TLS), -EAGAIN, or another negative errno. */
ssize_t transport_write(struct transport *t, const uint8_t *p, size_t bytes);
/* Goes on with a handshake and writes what waits; an error shows at the next read. */
void transport_push(struct transport *t);
/* It has something of its own to write, or a handshake to go on with, when the socket is writable. */
bool transport_wants_write(const struct transport *t);
/* True when the TLS session was resumed. */
bool transport_resumed(const struct transport *t);
