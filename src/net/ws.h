/*
 * WebSocket (RFC 6455), the server's side, as a layer over a stream: TCP, or TLS. What is read and written above it are the
 * bytes of MQTT, wherever frames begin and end [MQTT-6.0.0-2].
 */
#ifndef TMQ_NET_WS_H
#define TMQ_NET_WS_H

#include "net/stream.h"

/* What a listener wants of an upgrade request. The texts live longer than the stream. */
struct ws_rules {
    const char *path; /* "/mqtt"; "*" is any */
    const char *
        origins; /* "https://a.example, null": these only, of clients that name one; "" or NULL: any */
};

/* Whether `list` is one that rules may have; an empty one is. */
bool ws_origins_valid(const char *list);

/* Puts WebSocket over `s`; the upgrade comes with the first reads. */
void stream_ws_wrap(struct stream *s, const struct ws_rules *rules);

#endif
