/*
 * The PROXY layer; see proxy.h. The header is read with the first reads, in the caller's memory, and what is behind it
 * there is the caller's. A header that is not whole waits in `head`, which is freed behind it: what stays of a connection
 * are two addresses.
 */
#include "net/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/proxy_header.h"

struct proxy {
    struct stream inner;
    struct stream_via via;
    struct buf head; /* its beginning */
    char *why;       /* of a bad one */
    bool over, told; /* the header is whole; it named a client */
};

/*
 * Takes `got` new bytes at `out` to the header. Returns how many behind it are at `out` then; -EAGAIN: it is not whole;
 * -EPROTO.
 */
static ssize_t take_header(struct proxy *p, uint8_t *out, size_t got)
{
    struct proxy_header h;
    size_t before = buf_len(&p->head);
    size_t part = got < PROXY_HEADER_MAX - before ? got : PROXY_HEADER_MAX - before;
    buf_put(&p->head, out, part);
    long used = proxy_header_parse(buf_slice(&p->head), &h);
    if (used == 0) {
        return -EAGAIN; /* the parser sees to it that less than PROXY_HEADER_MAX are in it */
    }
    if (used < 0) {
        p->why = mem_strndup(h.why, strlen(h.why));
        return -EPROTO;
    }
    size_t behind = got - ((size_t)used - before);
    memmove(out, out + (got - behind), behind);
    buf_fini(&p->head);
    p->over = true;
    p->told = h.known;
    p->via.client = h.client;
    return (ssize_t)behind;
}

static ssize_t proxy_read(struct stream *s, void *out, size_t n)
{
    struct proxy *p = s->state;
    for (;;) {
        ssize_t got = p->inner.ops->read(&p->inner, out, n);
        s->drained = got > 0 && (size_t)got < n;
        if (got <= 0 || p->over || p->why != NULL) {
            return got;
        }
        got = take_header(p, out, (size_t)got);
        if (got > 0 || got == -EPROTO) {
            return got;
        }
    }
}

static ssize_t proxy_writev(struct stream *s, const struct iovec *iov, int count)
{
    struct proxy *p = s->state;
    return p->inner.ops->writev(&p->inner, iov, count);
}

static ssize_t proxy_peek(struct stream *s)
{
    struct proxy *p = s->state;
    return p->inner.ops->peek(&p->inner);
}

static void proxy_close(struct stream *s, bool reset)
{
    struct proxy *p = s->state;
    p->inner.ops->close(&p->inner, reset);
    buf_fini(&p->head);
    free(p->why);
    free(p);
    s->state = NULL;
    s->fd = -1;
}

static void proxy_finish(struct stream *s)
{
    struct proxy *p = s->state;
    if (p->inner.ops->finish != NULL) {
        p->inner.ops->finish(&p->inner);
    }
}

static void proxy_why(const struct stream *s, struct stream_why *out)
{
    const struct proxy *p = s->state;
    stream_why(&p->inner, out);
    if (p->why != NULL || buf_len(&p->head) > 0) {
        *out = (struct stream_why){.known = true, .cause = CAUSE_HANDSHAKE_PROXY};
        (void)snprintf(out->text, sizeof out->text, "%s",
                       p->why != NULL ? p->why : "it closed in the middle of the PROXY header");
    }
}

static const struct stream_via *proxy_via(const struct stream *s)
{
    const struct proxy *p = s->state;
    return p->told ? &p->via : NULL;
}

static const char *proxy_awaits(const struct stream *s)
{
    const struct proxy *p = s->state;
    return p->over ? NULL : "a PROXY header";
}

static const struct stream_ops proxy_ops = {
    .read = proxy_read,
    .writev = proxy_writev,
    .peek = proxy_peek,
    .close = proxy_close,
    .finish = proxy_finish,
    .why = proxy_why,
    .awaits = proxy_awaits,
    .via = proxy_via,
    .holds_back = true,
};

void stream_proxy_wrap(struct stream *s, const struct sockaddr *from)
{
    struct proxy *p = mem_new(1, sizeof *p);
    p->inner = *s;
    memcpy(&p->via.proxy, from, sizeof p->via.proxy);
    *s = (struct stream){.ops = &proxy_ops, .fd = p->inner.fd, .state = p};
}
