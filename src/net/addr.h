/* Addresses as text: "host:port" parsed to bind, peers printed for the trace. */
#ifndef TMQ_NET_ADDR_H
#define TMQ_NET_ADDR_H

#include <sys/socket.h>

enum { ADDR_TEXT_MAX = 64 };

/* "127.0.0.1:1883", "[::1]:1883", ":1883" (all), "localhost:0". 0, or -EINVAL. */
int addr_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
    __attribute__((warn_unused_result));

/* "10.0.0.2:5111", "[fe80::1]:80", "unix". */
void addr_text(const struct sockaddr *a, char out[ADDR_TEXT_MAX]);

#endif
