/* Streams over TCP and in memory; see stream.h. */
#include "net/stream.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"

static ssize_t tcp_read(struct stream *s, void *out, size_t n)
{
    ssize_t got;
    do {
        got = recv(s->fd, out, n, 0);
    } while (got < 0 && errno == EINTR);
    return got >= 0 ? got : -errno;
}

static ssize_t tcp_writev(struct stream *s, const struct iovec *iov, int count)
{
    ssize_t put;
    do {
        if (count == 1) {
            put = send(s->fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL);
        } else {
            struct iovec copy[64];
            size_t n = (size_t)(count < 64 ? count : 64);
            memcpy(copy, iov, n * sizeof *iov);
            struct msghdr m = {.msg_iov = copy, .msg_iovlen = n};
            put = sendmsg(s->fd, &m, MSG_NOSIGNAL);
        }
    } while (put < 0 && errno == EINTR);
    return put >= 0 ? put : -errno;
}

static void tcp_close(struct stream *s, bool reset)
{
    if (reset) {
        struct linger now = {.l_onoff = 1, .l_linger = 0};
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    }
    (void)close(s->fd);
    s->fd = -1;
}

static void tcp_finish(struct stream *s)
{
    (void)shutdown(s->fd, SHUT_WR);
}

static ssize_t tcp_peek(struct stream *s)
{
    uint8_t byte;
    ssize_t got;
    do {
        got = recv(s->fd, &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT);
    } while (got < 0 && errno == EINTR);
    return got >= 0 ? got : -errno;
}

static const struct stream_ops tcp_ops = {
    .read = tcp_read,
    .writev = tcp_writev,
    .peek = tcp_peek,
    .close = tcp_close,
    .finish = tcp_finish,
};

void stream_tcp_init(struct stream *s, int fd)
{
    *s = (struct stream){.ops = &tcp_ops, .fd = fd};
}

static const char *tcp_state_text(unsigned state)
{
    static const char *const names[] = {"",           "ESTABLISHED", "SYN_SENT",  "SYN_RECV",
                                        "FIN_WAIT1",  "FIN_WAIT2",   "TIME_WAIT", "CLOSE",
                                        "CLOSE_WAIT", "LAST_ACK",    "LISTEN",    "CLOSING"};
    return state < sizeof names / sizeof *names ? names[state] : "";
}

void stream_info(const struct stream *s, struct stream_info *out)
{
    struct tcp_info ti;
    socklen_t n = sizeof ti;
    *out = (struct stream_info){.tcp_state = ""};
    memset(&ti, 0, sizeof ti);
    if (s->fd < 0 || getsockopt(s->fd, IPPROTO_TCP, TCP_INFO, &ti, &n) != 0) {
        return;
    }
    out->valid = true;
    out->tcp_state = tcp_state_text(ti.tcpi_state);
    out->rtt_us = ti.tcpi_rtt;
    out->rttvar_us = ti.tcpi_rttvar;
    out->retransmits = ti.tcpi_retransmits;
    out->total_retrans = ti.tcpi_total_retrans;
    out->lost = ti.tcpi_lost;
    out->unacked = ti.tcpi_unacked;
    int queued = 0;
    if (ti.tcpi_unacked > 0 && ioctl(s->fd, SIOCOUTQ, &queued) == 0 && queued > 0) {
        out->unacked_bytes = (uint32_t)queued;
    }
}

uint64_t stream_taken(const struct stream *s, uint64_t written)
{
    int queued = 0;
    return s->fd >= 0 && ioctl(s->fd, SIOCOUTQ, &queued) == 0 && queued > 0
               ? written - (uint64_t)queued
               : written;
}

/* Behind the bytes that were fed. */
static ssize_t mem_at_end(const struct stream_mem *m)
{
    return m->in_end == 0 ? -EAGAIN : m->in_end > 0 ? 0 : m->in_end;
}

static ssize_t mem_read(struct stream *s, void *out, size_t n)
{
    struct stream_mem *m = s->state;
    size_t left = m->in_len - m->in_at;
    if (left == 0) {
        return mem_at_end(m);
    }
    n = n < left ? n : left;
    n = m->read_limit != 0 && n > m->read_limit ? m->read_limit : n;
    memcpy(out, m->in + m->in_at, n);
    m->in_at += n;
    return (ssize_t)n;
}

static ssize_t mem_peek(struct stream *s)
{
    const struct stream_mem *m = s->state;
    return m->in_at < m->in_len ? 1 : mem_at_end(m);
}

/* How large `out` is when so much of it is used: a power of two, or each small write would copy all that is there. */
static size_t mem_room(size_t used)
{
    size_t room = 64;
    while (room < used) {
        room *= 2;
    }
    return room;
}

static ssize_t mem_writev(struct stream *s, const struct iovec *iov, int count)
{
    struct stream_mem *m = s->state;
    ssize_t total = 0;
    if (m->write_error != 0) {
        return m->write_error;
    }
    for (int i = 0; i < count; i++) {
        size_t n = iov[i].iov_len;
        n = m->write_limited && n > m->write_room ? m->write_room : n;
        if (m->out == NULL || m->out_len + n + 1 > mem_room(m->out_len + 1)) {
            m->out = mem_realloc(m->out, mem_room(m->out_len + n + 1));
        }
        if (n > 0) {
            memcpy(m->out + m->out_len, iov[i].iov_base, n);
        }
        m->out_len += n;
        m->write_room -= m->write_limited ? n : 0;
        total += (ssize_t)n;
    }
    return total > 0 || !m->write_limited ? total : -EAGAIN;
}

static void mem_close(struct stream *s, bool reset)
{
    struct stream_mem *m = s->state;
    (void)reset;
    m->closed = true;
}

static void mem_finish(struct stream *s)
{
    struct stream_mem *m = s->state;
    m->finished = true;
}

static const struct stream_ops mem_ops = {
    .read = mem_read,
    .writev = mem_writev,
    .peek = mem_peek,
    .close = mem_close,
    .finish = mem_finish,
};

void stream_mem_init(struct stream *s, struct stream_mem *m)
{
    *s = (struct stream){.ops = &mem_ops, .fd = -1, .state = m};
}
