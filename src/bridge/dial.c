/* A connection to the other broker; see dial.h. */
#include "bridge/dial.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "net/addr.h"

bool dial_split(const char *text, size_t n, char host[DIAL_HOST_MAX], char port[6])
{
    const char *colon = memrchr(text, ':', n);
    if (colon == NULL) {
        return false;
    }
    size_t host_n = (size_t)(colon - text), port_n = n - host_n - 1;
    bool bracket = host_n >= 2 && text[0] == '[' && colon[-1] == ']';
    const char *from = bracket ? text + 1 : text;
    host_n -= bracket ? 2 : 0;
    if (host_n == 0 || host_n >= DIAL_HOST_MAX || port_n == 0 || port_n > 5 ||
        (!bracket && memchr(from, ':', host_n) != NULL)) {
        return false;
    }
    memcpy(host, from, host_n);
    host[host_n] = '\0';
    memcpy(port, colon + 1, port_n);
    port[port_n] = '\0';
    unsigned number = 0;
    for (size_t i = 0; i < port_n; i++) {
        if (port[i] < '0' || port[i] > '9') {
            return false;
        }
        number = number * 10 + (unsigned)(port[i] - '0');
    }
    return number > 0 && number <= 65535 && strpbrk(host, " \t/") == NULL;
}

/* 1: ready, 0: time is over, -1: stopped. */
static int wait_for(const struct dial *d, int fd, short events, uint64_t deadline_ms)
{
    for (;;) {
        struct pollfd fds[2] = {{.fd = fd, .events = events}, {.fd = d->stop, .events = POLLIN}};
        uint64_t now = clock_mono_ms();
        int n = poll(fds, 2, now < deadline_ms ? (int)(deadline_ms - now) : 0);
        if (n > 0 && fds[1].revents != 0) {
            return -1;
        }
        if (n > 0) {
            return 1;
        }
        if (n == 0 && clock_mono_ms() >= deadline_ms) {
            return 0;
        }
    }
}

static int fail(char err[DIAL_ERROR_MAX], int waited, const char *what, const char *why)
{
    if (waited < 0) {
        err[0] = '\0';
    } else {
        (void)snprintf(err, DIAL_ERROR_MAX, "%.90s: %.160s", what, why);
    }
    return -1;
}

static int connect_one(const struct dial *d, const struct addrinfo *a, int *out,
                       char err[DIAL_ERROR_MAX])
{
    char text[ADDR_TEXT_MAX];
    int one = 1, failed = 0, waited = 1;
    socklen_t len = sizeof failed;
    addr_text(a->ai_addr, text);
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return fail(err, 1, text, strerror(errno));
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    (void)setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, sizeof one);
    if (connect(fd, a->ai_addr, a->ai_addrlen) != 0) {
        failed = errno;
        if (failed == EINPROGRESS) {
            waited = wait_for(d, fd, POLLOUT, clock_mono_ms() + d->timeout_ms);
            (void)getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len);
            failed = waited == 0 ? ETIMEDOUT : failed;
        }
    }
    if (failed != 0 || waited < 0) {
        (void)close(fd);
        return fail(err, waited, text, strerror(failed));
    }
    *out = fd;
    return 0;
}

static int handshake(const struct dial *d, const char *host, struct stream *s,
                     char err[DIAL_ERROR_MAX])
{
    uint64_t deadline = clock_mono_ms() + d->timeout_ms;
    bool wants_write = false;
    int rc, waited = 1;
    stream_tls_client_wrap(s, d->tls, d->server_name[0] == '\0' ? host : d->server_name);
    while ((rc = stream_tls_client_handshake(s, &wants_write)) == -EAGAIN && waited > 0) {
        waited = wait_for(d, s->fd, wants_write ? POLLOUT : POLLIN, deadline);
    }
    if (rc == 0) {
        return 0;
    }
    struct stream_why why;
    stream_why(s, &why);
    s->ops->close(s, true);
    return fail(err, waited, "TLS", waited == 0 ? "no answer in time" : why.text);
}

static int dial_one(const struct dial *d, const char *host, const struct addrinfo *a,
                    struct dialled *out, char err[DIAL_ERROR_MAX])
{
    int fd;
    const char *cipher;
    if (connect_one(d, a, &fd, err) != 0) {
        return -1;
    }
    memset(out, 0, sizeof *out);
    memcpy(&out->peer, a->ai_addr, a->ai_addrlen);
    stream_tcp_init(&out->stream, fd);
    out->tls_version = "";
    if (d->tls == NULL) {
        return 0;
    }
    if (handshake(d, host, &out->stream, err) != 0) {
        return -1;
    }
    stream_tls_client_told(&out->stream, &out->tls_version, &cipher);
    return 0;
}

int dial(const struct dial *d, const char *host, const char *port, struct dialled *out,
         char err[DIAL_ERROR_MAX])
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV}, *list = NULL;
    struct pollfd stop = {.fd = d->stop, .events = POLLIN};
    int rc = getaddrinfo(host, port, &hints, &list);
    if (rc != 0) {
        char what[DIAL_HOST_MAX + 32];
        (void)snprintf(what, sizeof what, "name look-up of %s", host);
        return fail(err, 1, what, rc == EAI_SYSTEM ? strerror(errno) : gai_strerror(rc));
    }
    rc = -1;
    err[0] = '\0';
    for (const struct addrinfo *a = list; a != NULL && rc != 0 && poll(&stop, 1, 0) == 0;
         a = a->ai_next) {
        rc = dial_one(d, host, a, out, err);
    }
    freeaddrinfo(list);
    return rc;
}
