/* Addresses as text: "host:port" parsed to bind, peers printed for the trace; networks that they are in. */
#ifndef TMQ_NET_ADDR_H
#define TMQ_NET_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

enum { ADDR_TEXT_MAX = 64 };

/* Where a connection comes from; of a Unix socket the family alone. */
union addr_ip {
    struct sockaddr sa;
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
};

/* "127.0.0.1:1883", "[::1]:1883", ":1883" (all), "localhost:0", "unix:/run/tracemq.sock". 0, or -EINVAL. */
int addr_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
    __attribute__((warn_unused_result));

/* "10.0.0.2:5111" (also as an IPv6 address), "[fe80::1]:80", "unix". */
void addr_text(const struct sockaddr *a, char out[ADDR_TEXT_MAX]);

/* Same family, address and port; all Unix sockets are the same. */
bool addr_same(const union addr_ip *a, const union addr_ip *b);

/* Networks: "10.0.0.0/8, 192.0.2.7, fd00::/8". */
struct addr_nets {
    struct addr_net *net;
    size_t count;
};
/* 0, or -EINVAL. An empty list is one of none. addr_nets_fini() after success only. */
int addr_nets_parse(const char *list, struct addr_nets *out) __attribute__((warn_unused_result));
void addr_nets_fini(struct addr_nets *n);
/* Whether an IP address is in one of them; IPv4 that came over an IPv6 socket is IPv4. */
bool addr_nets_have(const struct addr_nets *n, const struct sockaddr *a);

#endif
