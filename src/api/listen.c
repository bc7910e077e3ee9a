/*
 * The listening socket. Bound by us and not by the HTTP library, so that "address in use" has words and
 * port 0 tells which port it became.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api_priv.h"

enum { BACKLOG = 128 };

/* "host:port", "[v6]:port" or ":port" into two strings. */
static int split_address(const char *address, char host[256], char port[8])
{
    const char *colon = strrchr(address, ':');
    size_t host_n = colon == NULL ? 0 : (size_t)(colon - address);
    if (colon == NULL || strlen(colon + 1) == 0 || strlen(colon + 1) > 5 ||
        strspn(colon + 1, "0123456789") != strlen(colon + 1)) {
        return -EINVAL;
    }
    if (host_n >= 2 && address[0] == '[' && address[host_n - 1] == ']') {
        address++;
        host_n -= 2;
    }
    if (host_n >= 256) {
        return -EINVAL;
    }
    memcpy(host, address, host_n);
    host[host_n] = '\0';
    (void)snprintf(port, 8, "%s", colon + 1);
    return 0;
}

static int open_one(const struct addrinfo *ai)
{
    int on = 1;
    int fd = socket(ai->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return -errno;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) != 0 ||
        bind(fd, ai->ai_addr, ai->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int err = -errno;
        (void)close(fd);
        return err;
    }
    return fd;
}

static bool is_loopback(const struct sockaddr_storage *sa)
{
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    if (sa->ss_family == AF_INET) {
        memcpy(&v4, sa, sizeof v4);
        return (ntohl(v4.sin_addr.s_addr) >> 24) == 127;
    }
    memcpy(&v6, sa, sizeof v6);
    return sa->ss_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&v6.sin6_addr);
}

/* What the socket is bound to, as text. */
static void describe(int fd, char bound[API_ADDRESS_SIZE], bool *loopback)
{
    struct sockaddr_storage sa = {0};
    socklen_t n = sizeof sa;
    char host[64] = "?";
    char port[8] = "?";
    (void)getsockname(fd, (struct sockaddr *)(void *)&sa, &n);
    (void)getnameinfo((struct sockaddr *)(void *)&sa, n, host, sizeof host, port, sizeof port,
                      NI_NUMERICHOST | NI_NUMERICSERV);
    (void)snprintf(bound, API_ADDRESS_SIZE, sa.ss_family == AF_INET6 ? "[%s]:%s" : "%s:%s", host,
                   port);
    *loopback = is_loopback(&sa);
}

int listen_open(const char *address, char bound[API_ADDRESS_SIZE], bool *loopback, char *err,
                unsigned err_size)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE};
    struct addrinfo *found = NULL;
    char host[256];
    char port[8];
    if (split_address(address, host, port) != 0) {
        (void)snprintf(err, err_size, "HTTP address %s: expected host:port", address);
        return -EINVAL;
    }
    int failed = getaddrinfo(host[0] == '\0' ? NULL : host, port, &hints, &found);
    if (failed != 0) {
        (void)snprintf(err, err_size, "HTTP address %s: %s", address, gai_strerror(failed));
        return -EINVAL;
    }
    int fd = -EADDRNOTAVAIL;
    for (const struct addrinfo *ai = found; ai != NULL && fd < 0; ai = ai->ai_next) {
        fd = open_one(ai);
    }
    freeaddrinfo(found);
    if (fd < 0) {
        (void)snprintf(err, err_size, "HTTP address %s: %s", address, strerror(-fd));
        return fd;
    }
    describe(fd, bound, loopback);
    return fd;
}
