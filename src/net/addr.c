/* Addresses; see addr.h. */
#include "net/addr.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "base/mem.h"

static int parse_unix(const char *path, struct sockaddr_storage *out, socklen_t *len)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if (path[0] != '/' || n >= sizeof un.sun_path) {
        return -EINVAL;
    }
    memcpy(un.sun_path, path, n + 1);
    memset(out, 0, sizeof *out);
    memcpy(out, &un, sizeof un);
    *len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n + 1);
    return 0;
}

int addr_parse(const char *text, struct sockaddr_storage *out, socklen_t *len)
{
    char host[256];
    if (strncmp(text, "unix:", strlen("unix:")) == 0) {
        return parse_unix(text + strlen("unix:"), out, len);
    }
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

static char *put_octet(char *out, unsigned v)
{
    if (v >= 100) {
        *out++ = (char)('0' + v / 100);
    }
    if (v >= 10) {
        *out++ = (char)('0' + v / 10 % 10);
    }
    *out++ = (char)('0' + v % 10);
    return out;
}

static char *put_ipv4(char *out, const struct in_addr *a)
{
    uint32_t ip = ntohl(a->s_addr);
    for (int shift = 24; shift >= 0; shift -= 8) {
        out = put_octet(out, (ip >> shift) & 255U);
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
        port = ntohs(in6.sin6_port);
        if (IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr)) { /* it came over IPv4 */
            struct in_addr in4;
            memcpy(&in4, in6.sin6_addr.s6_addr + 12, sizeof in4);
            at = put_ipv4(at, &in4);
        } else {
            *at++ = '[';
            (void)inet_ntop(AF_INET6, &in6.sin6_addr, at, INET6_ADDRSTRLEN);
            at += strlen(at);
            *at++ = ']';
        }
    } else {
        memcpy(out, "unix", sizeof "unix");
        return;
    }
    *at++ = ':';
    at = put_decimal(at, port);
    *at = '\0';
}

bool addr_same(const union addr_ip *a, const union addr_ip *b)
{
    if (a->sa.sa_family != b->sa.sa_family) {
        return false;
    }
    if (a->sa.sa_family == AF_INET) {
        return a->in4.sin_port == b->in4.sin_port &&
               a->in4.sin_addr.s_addr == b->in4.sin_addr.s_addr;
    }
    return a->sa.sa_family != AF_INET6 ||
           (a->in6.sin6_port == b->in6.sin6_port &&
            memcmp(&a->in6.sin6_addr, &b->in6.sin6_addr, sizeof a->in6.sin6_addr) == 0);
}

/* ---- networks ---- */

/* IPv4 as IPv6 has it (::ffff:a.b.c.d), so that there is one kind. */
struct addr_net {
    uint8_t ip[16];
    unsigned bits;
};
static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};

static int parse_net(const char *text, size_t n, struct addr_net *out)
{
    char word[INET6_ADDRSTRLEN + 4];
    if (n >= sizeof word) {
        return -EINVAL;
    }
    memcpy(word, text, n);
    word[n] = '\0';
    char *slash = strchr(word, '/');
    const char *bits = slash == NULL ? NULL : slash + 1;
    if (slash != NULL) {
        *slash = '\0';
    }
    memcpy(out->ip, mapped, sizeof mapped);
    unsigned less = inet_pton(AF_INET, word, out->ip + sizeof mapped) == 1 ? 96 : 0;
    if (less == 0 && inet_pton(AF_INET6, word, out->ip) != 1) {
        return -EINVAL;
    }
    out->bits = 128;
    if (bits != NULL) {
        size_t digits = strspn(bits, "0123456789");
        out->bits = less + (unsigned)strtoul(bits, NULL, 10);
        if (digits == 0 || digits > 3 || bits[digits] != '\0' || out->bits > 128) {
            return -EINVAL;
        }
    }
    return 0;
}

int addr_nets_parse(const char *list, struct addr_nets *out)
{
    struct addr_nets nets = {0};
    for (const char *at = list + strspn(list, ", "); *at != '\0'; at += strspn(at, ", ")) {
        size_t n = strcspn(at, ", ");
        nets.net = mem_realloc(nets.net, (nets.count + 1) * sizeof *nets.net);
        if (parse_net(at, n, &nets.net[nets.count++]) != 0) {
            addr_nets_fini(&nets);
            return -EINVAL;
        }
        at += n;
    }
    *out = nets;
    return 0;
}

void addr_nets_fini(struct addr_nets *n)
{
    free(n->net);
    *n = (struct addr_nets){0};
}

static bool net_has(const struct addr_net *net, const uint8_t ip[16])
{
    size_t whole = net->bits / 8;
    unsigned rest = net->bits % 8;
    return memcmp(net->ip, ip, whole) == 0 &&
           (rest == 0 || ((net->ip[whole] ^ ip[whole]) >> (8 - rest)) == 0);
}

bool addr_nets_have(const struct addr_nets *n, const struct sockaddr *a)
{
    uint8_t ip[16];
    union addr_ip u;
    memcpy(&u, a, a->sa_family == AF_INET6 ? sizeof u.in6 : sizeof u.sa);
    if (u.sa.sa_family == AF_INET6) {
        memcpy(ip, &u.in6.sin6_addr, sizeof ip);
    } else if (u.sa.sa_family == AF_INET) {
        memcpy(ip, mapped, sizeof mapped);
        memcpy(ip + sizeof mapped, &u.in4.sin_addr, 4);
    } else {
        return false;
    }
    bool found = false;
    for (size_t i = 0; i < n->count && !found; i++) {
        found = net_has(&n->net[i], ip);
    }
    return found;
}
