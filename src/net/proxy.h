/*
 * The PROXY protocol as a layer over a stream: a load balancer says first where the connection comes from. It lies directly
 * over the socket, below TLS and WebSocket; stream_via() tells what it said.
 */
#ifndef TMQ_NET_PROXY_H
#define TMQ_NET_PROXY_H

#include "net/stream.h"

/* What the certificate that a client has shown to the load balancer is good for. */
struct proxy_rules {
    bool user;     /* its common name is the user name */
    bool required; /* nobody comes in without */
};

/* Puts it over `s`, whose other end, the load balancer, is `from`. Whether that may be believed is the caller's affair. */
void stream_proxy_wrap(struct stream *s, const struct sockaddr *from, struct proxy_rules rules);

#endif
