/* Addresses; see addr.h. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <string.h>

int addr_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    char host[256];
    const char *colon = strrchr(text, ':');
    if (colon == NULL || (size_t)(colon - text) >= sizeof host || colon[1] == '\0') {
        return -EINVAL;
    }
    size_t n = (size_t)(colon - text);
    const char *from = text;
    if (n >= 2 && text[0] == '[' && text[n - 1] == ']') {
        from++;
        n -= 2;
    } else if (memchr(text, ':', n) != NULL) {
        return -EINVAL; /* an IPv6 address wants brackets */
    }
    memcpy(host, from, n);
    host[n] = '\0';
    if (strspn(colon + 1, "0123456789") != strlen(colon + 1) || strlen(colon + 1) > 5) {
        return -EINVAL;
    }
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *list = NULL;
    if (getaddrinfo(n == 0 ? NULL : host, colon + 1, &hints, &list) != 0 || list == NULL) {
        return -EINVAL;
    }
    memcpy(out, list->ai_addr, list->ai_addrlen);
    *len = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

/* Decimal digits of `v` at `out`; returns behind them. Hot: every record has an address. */
static char *put_decimal(char *out, unsigned v)
{
    char digits[10];
    unsigned n = 0;
    do {
        digits[n++] = (char)('0' + v % 10);
        v /= 10;
    } while (v != 0);
    while (n > 0) {
        *out++ = digits[--n];
    }
    return out;
}

static char *put_ipv4(char *out, const struct in_addr *a)
{
    uint32_t ip = ntohl(a->s_addr);
    for (int shift = 24; shift >= 0; shift -= 8) {
        out = put_decimal(out, (ip >> shift) & 255U);
        *out++ = '.';
    }
    return out - 1;
}

void addr_text(const struct sockaddr *a, char out[ADDR_TEXT_MAX])
{
    char *at = out;
    unsigned port = 0;
    if (a->sa_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        at = put_ipv4(at, &in.sin_addr);
        port = ntohs(in.sin_port);
    } else if (a->sa_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, a, sizeof in6);
        *at++ = '[';
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, at, INET6_ADDRSTRLEN);
        at += strlen(at);
        *at++ = ']';
        port = ntohs(in6.sin6_port);
    } else {
        memcpy(out, "unix", sizeof "unix");
        return;
    }
    *at++ = ':';
    at = put_decimal(at, port);
    *at = '\0';
}
