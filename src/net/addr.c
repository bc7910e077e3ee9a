/* Addresses; see addr.h. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
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

void addr_text(const struct sockaddr_storage *a, char out[ADDR_TEXT_MAX])
{
    char ip[INET6_ADDRSTRLEN] = "";
    if (a->ss_family == AF_INET) {
        struct sockaddr_in in;
        memcpy(&in, a, sizeof in);
        (void)inet_ntop(AF_INET, &in.sin_addr, ip, sizeof ip);
        (void)snprintf(out, ADDR_TEXT_MAX, "%s:%u", ip, ntohs(in.sin_port));
    } else if (a->ss_family == AF_INET6) {
        struct sockaddr_in6 in6;
        memcpy(&in6, a, sizeof in6);
        (void)inet_ntop(AF_INET6, &in6.sin6_addr, ip, sizeof ip);
        (void)snprintf(out, ADDR_TEXT_MAX, "[%s]:%u", ip, ntohs(in6.sin6_port));
    } else {
        (void)snprintf(out, ADDR_TEXT_MAX, "unix");
    }
}
