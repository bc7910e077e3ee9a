/*
 * The PROXY layer on arbitrary bytes: the first byte says how many bytes a read gives, the rest is the stream.
 * Properties: what is behind the header arrives whole and unchanged, however the reads cut it; a header that is cut short is
 * never complete; a bad one has words, without a byte that is not printable.
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

static void check_layer(struct slice in, long used, const struct proxy_header *h, size_t limit)
{
    static const struct sockaddr_storage from = {.ss_family = AF_INET};
    struct stream_mem mem = {.in = in.p, .in_len = in.n, .read_limit = limit, .in_end = 1};
    struct stream s;
    struct buf got = {0};
    uint8_t out[ROOM];
    ssize_t n;
    stream_mem_init(&s, &mem);
    stream_proxy_wrap(&s, (const struct sockaddr *)&from);
    while ((n = s.ops->read(&s, out, sizeof out)) > 0) {
        assert((size_t)n <= sizeof out);
        buf_put(&got, out, (size_t)n);
    }
    struct stream_why why;
    stream_why(&s, &why);
    assert(n == (used < 0 ? -EPROTO : 0));
    assert(why.known == (used < 0 || (used == 0 && in.n > 0)));
    if (why.known) {
        check_text(why.text);
    }
    assert((stream_via(&s) != NULL) == h->known);
    assert(buf_len(&got) == (used > 0 ? in.n - (size_t)used : 0));
    assert(used <= 0 || slice_eq(buf_slice(&got), slice_from(in, (size_t)used)));
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
    } else if (used < 0) {
        check_text(h.why);
    }
    if (h.known) {
        addr_text(&h.client.sa, text);
        check_text(text);
    }
    check_layer(in, used, &h, data[0]);
    return 0;
}
