/*
 * The PROXY layer; see proxy.h. The header is read with the first reads, in the caller's memory, and what is behind it
 * there is the caller's. A header that is not whole waits in `head`, which is freed behind it: what stays of a connection
 * are two addresses, and texts where the balancer says more.
 */
#include "net/proxy.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mem.h"
#include "net/proxy_header.h"

/* NULL: nothing was said. */
struct said {
    char *server_name, *unique_id, *link, *tls_version, *tls_cipher, *common_name;
    bool certified;
    bool named; /* the certificate's name is one: short enough, without a zero inside */
};

struct proxy {
    struct stream inner;
    struct stream_via via;
    struct proxy_rules rules;
    struct said *said; /* NULL: nothing but addresses */
    struct buf head;   /* its beginning */
    char *why;         /* it is a bad one, or not enough … */
    enum cause cause;  /* … and what that ends as */
    bool over, told;   /* the header is whole; it named a client */
};

static char *keep(struct slice s)
{
    return s.n == 0 ? NULL : mem_strndup(s.p, s.n);
}

/* What has a byte that is not printable is shown in hex. */
static char *keep_id(struct slice s)
{
    static const char digits[] = "0123456789abcdef";
    size_t printable = 0;
    while (printable < s.n && s.p[printable] > ' ' && s.p[printable] < 127) {
        printable++;
    }
    if (printable == s.n) {
        return keep(s);
    }
    char *hex = mem_alloc(2 * s.n + 1);
    for (size_t i = 0; i < s.n; i++) {
        hex[2 * i] = digits[s.p[i] >> 4];
        hex[2 * i + 1] = digits[s.p[i] & 15];
    }
    hex[2 * s.n] = '\0';
    return hex;
}

static void keep_said(struct proxy *p, const struct proxy_header *h)
{
    struct slice name = h->tls.common_name;
    if (!h->tls.used && h->server_name.n == 0 && h->unique_id.n == 0 && h->link[0] == '\0') {
        return;
    }
    p->said = mem_new(1, sizeof *p->said);
    p->said->server_name = keep(h->server_name);
    p->said->unique_id = keep_id(h->unique_id);
    p->said->link = keep(slice_str(h->link));
    if (h->tls.used) {
        p->said->tls_version =
            h->tls.version.n == 0 ? keep(slice_str("TLS")) : keep(h->tls.version);
        p->said->tls_cipher =
            h->tls.cipher.n == 0 ? keep(slice_str("not told")) : keep(h->tls.cipher);
    }
    if (h->tls.certified) {
        p->said->certified = true;
        p->said->common_name = keep(name);
        p->said->named = name.n > 0 && name.n < sizeof((struct stream_told *)NULL)->user &&
                         memchr(name.p, '\0', name.n) == NULL;
    }
}

static void free_said(struct said *s)
{
    if (s != NULL) {
        free(s->server_name);
        free(s->unique_id);
        free(s->link);
        free(s->tls_version);
        free(s->tls_cipher);
        free(s->common_name);
        free(s);
    }
}

static ssize_t refuse(struct proxy *p, enum cause cause, const char *why)
{
    p->cause = cause;
    p->why = mem_strndup(why, strlen(why));
    return -EPROTO;
}

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
        return refuse(p, CAUSE_HANDSHAKE_PROXY, h.why);
    }
    keep_said(p, &h);
    p->told = h.known;
    p->via.client = h.client;
    if (p->rules.required && !h.tls.certified) {
        return refuse(
            p, CAUSE_AUTH_CERTIFICATE,
            "the load balancer tells of no client certificate that it found good, and one is required");
    }
    size_t behind = got - ((size_t)used - before);
    memmove(out, out + (got - behind), behind);
    buf_fini(&p->head);
    p->over = true;
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
    free_said(p->said);
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
        *out = (struct stream_why){.known = true,
                                   .cause = p->why != NULL ? p->cause : CAUSE_HANDSHAKE_PROXY};
        (void)snprintf(out->text, sizeof out->text, "%s",
                       p->why != NULL ? p->why : "it closed in the middle of the PROXY header");
    }
}

static const struct stream_via *proxy_via(const struct stream *s)
{
    const struct proxy *p = s->state;
    return p->told ? &p->via : NULL;
}

static void proxy_told(const struct stream *s, struct stream_told *out)
{
    const struct proxy *p = s->state;
    const struct said *said = p->said;
    stream_told(&p->inner, out);
    if (said == NULL) {
        return;
    }
    out->tls_version = said->tls_version;
    out->tls_cipher = said->tls_cipher;
    out->proxy_id = said->unique_id;
    out->proxy_link = said->link;
    (void)snprintf(out->sni, sizeof out->sni, "%s",
                   said->server_name == NULL ? "" : said->server_name);
    out->certified = said->certified;
    if (said->common_name != NULL) {
        (void)snprintf(out->subject, sizeof out->subject, "CN=%.*s", (int)sizeof out->subject - 4,
                       said->common_name);
    }
    if (said->named && p->rules.user) {
        (void)snprintf(out->user, sizeof out->user, "%s", said->common_name);
    }
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
    .told = proxy_told,
    .awaits = proxy_awaits,
    .via = proxy_via,
    .holds_back = true,
};

void stream_proxy_wrap(struct stream *s, const struct sockaddr *from, struct proxy_rules rules)
{
    struct proxy *p = mem_new(1, sizeof *p);
    p->inner = *s;
    p->rules = rules;
    memcpy(&p->via.proxy, from, sizeof p->via.proxy);
    *s = (struct stream){.ops = &proxy_ops, .fd = p->inner.fd, .state = p};
}
