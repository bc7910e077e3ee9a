/*
 * One connection of a bridge: bytes between two sockets and the link. Nothing here blocks but poll().
 *
 * `readable` remembers that a side may have more, for TLS holds bytes that poll() does not see, and for a side that is not
 * read while the other has enough to write.
 */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "bridge/bridge_priv.h"

enum { READ_BYTES = 64 * 1024, FAREWELL_MS = 200 };

bool carry_attach(struct bridge *b, const struct sockaddr *peer, bool forget)
{
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) {
        return false;
    }
    const struct bridge_attach a = {.fd = fds[1],
                                    .forget_incoming = forget,
                                    .prepares = peer == NULL,
                                    .client_id = b->local_id,
                                    .peer = peer};
    b->all->parts.attach(b->all->parts.arg, &a);
    stream_tcp_init(&b->stream[BRIDGE_LOCAL], fds[0]);
    return true;
}

static const char *side_name(enum bridge_side side)
{
    return side == BRIDGE_LOCAL ? "local" : "remote";
}

static void end_by(struct bridge *b, enum bridge_side side, ssize_t what)
{
    struct stream_why why;
    stream_why(&b->stream[side], &why);
    if (why.known && why.text[0] != '\0') {
        link_end(b->link, "%s: %s", side_name(side), why.text);
    } else if (what == 0) {
        link_end(b->link, "the %s broker closed the connection", side_name(side));
    } else {
        link_end(b->link, "the connection to the %s broker broke: %s", side_name(side),
                 strerror((int)-what));
    }
}

static void flush(struct bridge *b, enum bridge_side side)
{
    struct stream *s = &b->stream[side];
    struct buf *out = link_out(b->link, side);
    while (s->ops != NULL && buf_len(out) > 0) {
        struct iovec iov = {.iov_base = out->p + out->start, .iov_len = buf_len(out)};
        ssize_t n = s->ops->writev(s, &iov, 1);
        if (n <= 0) {
            /* an error is told by reading, which may have a DISCONNECT before it */
            b->readable[side] = b->readable[side] || n != -EAGAIN;
            if (n != -EAGAIN) {
                buf_clear(out);
            }
            return;
        }
        buf_take(out, (size_t)n);
    }
}

/* True when something came. */
static bool read_side(struct bridge *b, enum bridge_side side, uint64_t now_ms)
{
    struct stream *s = &b->stream[side];
    if (s->ops == NULL || !b->readable[side] || !link_reads(b->link, side)) {
        return false;
    }
    struct buf *in = link_in(b->link, side);
    ssize_t n = s->ops->read(s, buf_reserve(in, READ_BYTES), READ_BYTES);
    if (n == -EAGAIN) {
        b->readable[side] = false;
        return false;
    }
    if (n <= 0) {
        end_by(b, side, n);
        return false;
    }
    buf_commit(in, (size_t)n);
    link_fed(b->link, side, now_ms);
    return true;
}

static bool is_over(const struct bridge *b)
{
    enum link_phase p = link_phase(b->link);
    return p == LINK_ENDED || p == LINK_PREPARED;
}

static int timeout_of(const struct bridge *b, uint64_t now_ms)
{
    uint64_t due = link_due_ms(b->link);
    for (int i = 0; i < BRIDGE_SIDES; i++) {
        if (b->readable[i] && b->stream[i].ops != NULL &&
            link_reads(b->link, (enum bridge_side)i)) {
            return 0;
        }
    }
    if (due == UINT64_MAX) {
        return -1;
    }
    return due <= now_ms ? 0 : due - now_ms > 60000 ? 60000 : (int)(due - now_ms);
}

static void wait_for_more(struct bridge *b)
{
    struct pollfd fds[BRIDGE_SIDES + 1] = {
        {.fd = -1}, {.fd = -1}, {.fd = b->stop, .events = POLLIN}};
    for (int i = 0; i < BRIDGE_SIDES; i++) {
        enum bridge_side side = (enum bridge_side)i;
        bool reads = link_reads(b->link, side), writes = buf_len(link_out(b->link, side)) > 0;
        if (b->stream[i].ops != NULL && (reads || writes)) {
            fds[i].fd = b->stream[i].fd;
            fds[i].events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
        }
    }
    if (poll(fds, BRIDGE_SIDES + 1, timeout_of(b, clock_mono_ms())) <= 0) {
        return;
    }
    for (int i = 0; i < BRIDGE_SIDES; i++) {
        b->readable[i] = b->readable[i] || (fds[i].revents & (POLLIN | POLLHUP | POLLERR)) != 0;
    }
}

static void open_local(struct bridge *b, uint64_t now_ms)
{
    if (carry_attach(b, (const struct sockaddr *)&b->peer, link_forgets_incoming(b->link))) {
        link_local_opened(b->link, now_ms);
    } else {
        link_end(b->link, "the local half: %s", strerror(errno));
    }
}

static void step(struct bridge *b)
{
    uint64_t now = clock_mono_ms();
    enum link_phase before = link_phase(b->link);
    link_tick(b->link, now);
    (void)read_side(b, BRIDGE_LOCAL, now);
    (void)read_side(b, BRIDGE_REMOTE, now);
    do { /* what was held back goes on when there is room: nothing else will wake us for it */
        if (link_phase(b->link) == LINK_LOCAL_WANTED) {
            open_local(b, now);
        }
        flush(b, BRIDGE_LOCAL);
        flush(b, BRIDGE_REMOTE);
    } while (link_run(b->link, now) || link_phase(b->link) == LINK_LOCAL_WANTED);
    if (link_phase(b->link) == LINK_OPEN && before != LINK_OPEN) {
        bridge_opened(b);
    }
}

/* What is left to say goes out, as far as there is room soon. */
static void say_goodbye(struct bridge *b)
{
    uint64_t until = clock_mono_ms() + FAREWELL_MS;
    link_farewell(b->link);
    for (int i = 0; i < BRIDGE_SIDES; i++) {
        enum bridge_side side = (enum bridge_side)i;
        flush(b, side);
        while (b->stream[i].ops != NULL && buf_len(link_out(b->link, side)) > 0 &&
               clock_mono_ms() < until) {
            struct pollfd fd = {.fd = b->stream[i].fd, .events = POLLOUT};
            (void)poll(&fd, 1, (int)(until - clock_mono_ms()));
            flush(b, side);
        }
    }
}

static void close_side(struct bridge *b, enum bridge_side side)
{
    struct stream *s = &b->stream[side];
    if (s->ops != NULL) {
        s->ops->close(s, false);
        s->ops = NULL;
    }
}

void carry(struct bridge *b)
{
    while (!is_over(b)) {
        step(b);
        if (is_over(b)) {
            break;
        }
        wait_for_more(b);
        if (bridge_stopping(b)) {
            link_end(b->link, "this broker is being stopped");
        }
    }
    say_goodbye(b);
    close_side(b, BRIDGE_REMOTE);
    close_side(b, BRIDGE_LOCAL);
}
