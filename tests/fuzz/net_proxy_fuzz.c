/*
 * The PROXY layer on arbitrary bytes: the first byte says how many bytes a read gives, the rest is the stream.
 * Properties: what is behind the header arrives whole and unchanged, however the reads cut it; a header that is cut short is
 * never complete; a bad one has words, without a byte that is not printable. What it says beside addresses lies within it; a user
 * is named by a good certificate only, and where one is required none comes in without.
 */
#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>

#include "base/buf.h"
#include "net/proxy.h"
#include "net/proxy_header.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ROOM = 64, PREFIXES_MAX = 256 };

static void check_text(const char *text)
{
    assert(text[0] != '\0');
    for (; *text != '\0'; text++) {
        assert(*text >= ' ' && *text < 127);
    }
}

static void check_prefixes(struct slice in, size_t used)
{
    struct proxy_header h;
    for (size_t n = 0; n < used && n < PREFIXES_MAX; n++) {
        assert(proxy_header_parse(slice_make(in.p, n), &h) == 0);
    }
}

static void check_within(struct slice part, struct slice in, long used)
{
    assert(part.n == 0 || (part.p >= in.p && part.p + part.n <= in.p + used));
}

static void check_facts(struct slice in, long used, const struct proxy_header *h)
{
    check_within(h->server_name, in, used);
    check_within(h->unique_id, in, used);
    check_within(h->tls.version, in, used);
    check_within(h->tls.cipher, in, used);
    check_within(h->tls.common_name, in, used);
    assert(!h->tls.certified || h->tls.used);
    if (h->link[0] != '\0') {
        check_text(h->link);
    }
}

static void check_told(const struct stream *s, const struct proxy_header *h, bool user)
{
    struct stream_told t;
    stream_told(s, &t);
    assert(t.certified == h->tls.certified);
    assert((t.tls_version != NULL) == h->tls.used && (t.tls_cipher != NULL) == h->tls.used);
    assert(t.user[0] == '\0' || (user && slice_eq(slice_str(t.user), h->tls.common_name)));
    assert((t.proxy_id != NULL) == (h->unique_id.n > 0));
    if (t.proxy_id != NULL) {
        check_text(t.proxy_id);
    }
}

/* `used` bytes are a header, by its rules a good one; 0: it is not whole, -1: it is none. */
static void check_layer(struct slice in, long used, const struct proxy_header *h, size_t limit,
                        struct proxy_rules rules)
{
    static const struct sockaddr_storage from = {.ss_family = AF_INET};
    struct stream_mem mem = {.in = in.p, .in_len = in.n, .read_limit = limit, .in_end = 1};
    struct stream s;
    struct buf got = {0};
    uint8_t out[ROOM];
    ssize_t n;
    bool refused = used > 0 && rules.required && !h->tls.certified;
    bool good = used > 0 && !refused;
    stream_mem_init(&s, &mem);
    stream_proxy_wrap(&s, (const struct sockaddr *)&from, rules);
    while ((n = s.ops->read(&s, out, sizeof out)) > 0) {
        assert((size_t)n <= sizeof out);
        buf_put(&got, out, (size_t)n);
    }
    struct stream_why why;
    stream_why(&s, &why);
    assert(n == (used < 0 || refused ? -EPROTO : 0));
    assert(why.known == (used < 0 || refused || (used == 0 && in.n > 0)));
    if (why.known) {
        check_text(why.text);
        assert(why.cause == (refused ? CAUSE_AUTH_CERTIFICATE : CAUSE_HANDSHAKE_PROXY));
    }
    assert((stream_via(&s) != NULL) == h->known);
    assert(buf_len(&got) == (good ? in.n - (size_t)used : 0));
    assert(!good || slice_eq(buf_slice(&got), slice_from(in, (size_t)used)));
    if (used > 0) {
        check_told(&s, h, rules.user);
    }
    s.ops->close(&s, false);
    buf_fini(&got);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char text[ADDR_TEXT_MAX];
    struct proxy_header h;
    if (size == 0) {
        return 0;
    }
    struct slice in = slice_make(data + 1, size - 1);
    long used = proxy_header_parse(in, &h);
    assert(used <= (long)in.n && used <= PROXY_HEADER_MAX);
    if (used > 0) {
        check_prefixes(in, (size_t)used);
        check_facts(in, used, &h);
    } else if (used < 0) {
        check_text(h.why);
    }
    if (h.known) {
        addr_text(&h.client.sa, text);
        check_text(text);
    }
    check_layer(in, used, &h, data[0], (struct proxy_rules){.user = true});
    check_layer(in, used, &h, data[0], (struct proxy_rules){.required = true});
    return 0;
}
