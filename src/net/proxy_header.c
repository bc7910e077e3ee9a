/*
 * PROXY headers; see proxy_header.h and haproxy.org/download/3.0/doc/proxy-protocol.txt.
 *
 *   version 1   "PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883\r\n", at most 107 bytes; TCP6 the same; UNKNOWN and anything
 *   version 2   12 bytes signature, 1 version 2 and command, 1 family and transport, 2 length of the rest (big-endian):
 *               addresses and ports (TCP4 12 bytes, TCP6 36, Unix 216), then type-length-value entries (1, 2, n bytes)
 *   TLS entry   1 byte flags of the client, 4 result of the check (0: good), then entries as above
 *
 * Strict: who may send a header may say who a client is, so what is not exactly a header is refused. Entries that are not
 * known here are skipped; of several of a kind the first holds, but of a certificate's name there is one.
 */
#include "net/proxy_header.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/bytes.h"

enum { V1_MAX = 107, V2_HEAD = 16, CRC_BYTES = 4, TLS_HEAD = 5 };
enum {
    TYPE_AUTHORITY = 0x02,
    TYPE_CRC32C = 0x03,
    TYPE_UNIQUE_ID = 0x05,
    TYPE_TLS = 0x20,
    TYPE_TLS_VERSION = 0x21,
    TYPE_TLS_CN = 0x22,
    TYPE_TLS_CIPHER = 0x23,
    TYPE_GOOGLE = 0xE0,
    TYPE_AWS = 0xEA,
    TYPE_AZURE = 0xEE
};
enum { CLIENT_TLS = 1, CLIENT_CERTIFICATE = 2, CLIENT_CERTIFICATE_RESUMED = 4 };
enum { LOCAL = 0, PROXY = 1 };

static const uint8_t signature[12] = "\r\n\r\n\0\r\nQUIT\n";
static const char v1_start[] = "PROXY ";

static long bad(struct proxy_header *out, const char *why)
{
    (void)snprintf(out->why, sizeof out->why, "%s", why);
    return -1;
}

/* ---- version 1 ---- */

/* Cuts the next word off a line of words with single spaces between them; false: there is none that fits. */
static bool next_word(struct slice *line, char out[INET6_ADDRSTRLEN])
{
    const uint8_t *space = line->n == 0 ? NULL : memchr(line->p, ' ', line->n);
    size_t n = space == NULL ? line->n : (size_t)(space - line->p);
    if (n == 0 || n >= INET6_ADDRSTRLEN || memchr(line->p, '\0', n) != NULL) {
        return false;
    }
    memcpy(out, line->p, n);
    out[n] = '\0';
    *line = slice_from(*line, space == NULL ? n : n + 1);
    return space == NULL || line->n > 0;
}

static bool parse_port(const char *word, uint16_t *out)
{
    size_t n = strlen(word);
    unsigned long port = strtoul(word, NULL, 10);
    *out = htons((uint16_t)port);
    return n <= 5 && strspn(word, "0123456789") == n && port <= UINT16_MAX &&
           (word[0] != '0' || n == 1);
}

static bool parse_ip(int family, const char *word, union addr_ip *out)
{
    memset(out, 0, sizeof *out);
    out->sa.sa_family = (sa_family_t)family;
    void *to = family == AF_INET ? (void *)&out->in4.sin_addr : (void *)&out->in6.sin6_addr;
    return inet_pton(family, word, to) == 1;
}

/* Behind "PROXY TCP4 ": both addresses, both ports, and no more. */
static bool parse_addresses(int family, struct slice line, union addr_ip *client)
{
    char word[INET6_ADDRSTRLEN];
    union addr_ip ours;
    uint16_t port, our_port;
    bool good = next_word(&line, word) && parse_ip(family, word, client) &&
                next_word(&line, word) && parse_ip(family, word, &ours) && next_word(&line, word) &&
                parse_port(word, &port) && next_word(&line, word) && line.n == 0 &&
                parse_port(word, &our_port);
    if (good && family == AF_INET) {
        client->in4.sin_port = port;
    } else if (good) {
        client->in6.sin6_port = port;
    }
    return good;
}

static long parse_v1(struct slice in, struct proxy_header *out)
{
    size_t most = in.n < V1_MAX ? in.n : V1_MAX;
    const uint8_t *end = memchr(in.p, '\n', most);
    if (end == NULL) {
        return in.n < V1_MAX ? 0 : bad(out, "version 1: no end of line within 107 bytes");
    }
    struct slice line = slice_make(in.p, (size_t)(end - in.p));
    long used = end - in.p + 1;
    if (line.n == 0 || line.p[line.n - 1] != '\r') {
        return bad(out, "version 1: the line does not end with CR LF");
    }
    line = slice_from(slice_make(line.p, line.n - 1), strlen(v1_start));
    if (slice_has_prefix(line, slice_str("UNKNOWN"))) {
        return used;
    }
    bool four = slice_has_prefix(line, slice_str("TCP4 "));
    if (!four && !slice_has_prefix(line, slice_str("TCP6 "))) {
        return bad(out, "version 1: expected TCP4, TCP6 or UNKNOWN");
    }
    out->known = true;
    return parse_addresses(four ? AF_INET : AF_INET6, slice_from(line, strlen("TCP4 ")),
                           &out->client)
               ? used
               : bad(out, "version 1: expected two addresses of its family and two ports");
}

/* ---- version 2 ---- */

/* Castagnoli's, bit by bit: a header is short. */
static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (UINT32_C(0x82f63b78) & (0U - (crc & 1U)));
        }
    }
    return crc;
}

static bool checksum_fits(struct slice header, const uint8_t *checksum)
{
    static const uint8_t zeros[CRC_BYTES];
    size_t at = (size_t)(checksum - header.p);
    uint32_t crc = crc32c(UINT32_MAX, header.p, at);
    crc = crc32c(crc, zeros, sizeof zeros);
    crc = crc32c(crc, checksum + CRC_BYTES, header.n - at - CRC_BYTES);
    return ~crc == get_be32(checksum);
}

/* Cuts the next entry off; false: there is none, or (`*over`) one that is longer than what it stands in. */
static bool next_entry(struct slice *entries, uint8_t *type, struct slice *value, bool *over)
{
    size_t n = entries->n < 3 ? SIZE_MAX : get_be16(entries->p + 1);
    *over = entries->n > 0 && (entries->n < 3 || n > entries->n - 3);
    if (entries->n == 0 || *over) {
        return false;
    }
    *type = entries->p[0];
    *value = slice_make(entries->p + 3, n);
    *entries = slice_from(*entries, 3 + n);
    return true;
}

static void keep_first(struct slice *to, struct slice value)
{
    if (to->n == 0) {
        *to = value;
    }
}

/* 0, or -1 for a bad one. */
static int take_tls(struct slice in, struct proxy_tls *out)
{
    uint8_t type;
    struct slice value;
    bool over;
    if (in.n < TLS_HEAD) {
        return -1;
    }
    unsigned client = in.p[0];
    bool shown = (client & (CLIENT_CERTIFICATE | CLIENT_CERTIFICATE_RESUMED)) != 0;
    out->used = (client & CLIENT_TLS) != 0;
    out->certified = out->used && shown && get_be32(in.p + 1) == 0;
    in = slice_from(in, TLS_HEAD);
    while (next_entry(&in, &type, &value, &over)) {
        if (type == TYPE_TLS_CN && out->common_name.n > 0) {
            return -1;
        }
        switch (type) {
        case TYPE_TLS_VERSION:
            keep_first(&out->version, value);
            break;
        case TYPE_TLS_CN:
            out->common_name = value;
            break;
        case TYPE_TLS_CIPHER:
            keep_first(&out->cipher, value);
            break;
        default:
            break;
        }
    }
    return over ? -1 : 0;
}

/* Printable, as it may stand anywhere. */
static void take_link(uint8_t type, struct slice v, char out[PROXY_LINK_MAX])
{
    size_t text = 0;
    while (text + 1 < v.n && v.p[text + 1] > ' ' && v.p[text + 1] < 127) {
        text++;
    }
    if (out[0] != '\0') {
        return;
    }
    if (type == TYPE_AWS && v.n > 1 && v.p[0] == 1 && text == v.n - 1) {
        (void)snprintf(out, PROXY_LINK_MAX, "aws:%.*s", (int)text, (const char *)v.p + 1);
    } else if (type == TYPE_AZURE && v.n == 5 && v.p[0] == 1) { /* little-endian */
        uint32_t id = (uint32_t)v.p[4] << 24 | (uint32_t)v.p[3] << 16 | (uint32_t)v.p[2] << 8;
        (void)snprintf(out, PROXY_LINK_MAX, "azure:%u", id | v.p[1]);
    } else if (type == TYPE_GOOGLE && v.n == 8) {
        (void)snprintf(out, PROXY_LINK_MAX, "google:%llu",
                       (unsigned long long)get_be32(v.p) << 32 | get_be32(v.p + 4));
    }
}

static long take_entries(struct slice header, struct slice entries, struct proxy_header *out)
{
    uint8_t type;
    struct slice value;
    bool over, tls = false;
    while (next_entry(&entries, &type, &value, &over)) {
        switch (type) {
        case TYPE_CRC32C:
            if (value.n != CRC_BYTES || !checksum_fits(header, value.p)) {
                return bad(out, "version 2: the checksum is wrong");
            }
            break;
        case TYPE_TLS:
            if (tls || take_tls(value, &out->tls) != 0) {
                return bad(out,
                           "version 2: the entry on TLS is not well formed, or not the only one");
            }
            tls = true;
            break;
        case TYPE_AUTHORITY:
            keep_first(&out->server_name, value);
            break;
        case TYPE_UNIQUE_ID:
            keep_first(&out->unique_id, value);
            break;
        default:
            take_link(type, value, out->link);
            break;
        }
    }
    return over ? bad(out, "version 2: an entry is longer than the header") : (long)header.n;
}

/* Families and transports that are streams; `bytes` of addresses. */
static const struct family {
    uint8_t code;
    uint8_t bytes;
    sa_family_t family;
} families[] = {
    {0x00, 0, AF_UNSPEC}, {0x11, 12, AF_INET}, {0x21, 36, AF_INET6}, {0x31, 216, AF_UNIX}};

static void take_address(const struct family *f, const uint8_t *p, union addr_ip *out)
{
    memset(out, 0, sizeof *out);
    out->sa.sa_family = f->family;
    if (f->family == AF_INET) {
        memcpy(&out->in4.sin_addr, p, 4);
        memcpy(&out->in4.sin_port, p + 8, 2);
    } else if (f->family == AF_INET6) {
        memcpy(&out->in6.sin6_addr, p, 16);
        memcpy(&out->in6.sin6_port, p + 32, 2);
    }
}

static long parse_v2(struct slice in, struct proxy_header *out)
{
    if (in.n < V2_HEAD) {
        return 0;
    }
    unsigned command = in.p[12] & 15U;
    size_t length = get_be16(in.p + 14);
    if (in.p[12] >> 4 != 2 || command > PROXY) {
        return bad(out, "version 2: expected version 2 and a command LOCAL or PROXY");
    }
    if (V2_HEAD + length > PROXY_HEADER_MAX) {
        return bad(out, "version 2: the header is longer than 4096 bytes");
    }
    if (in.n < V2_HEAD + length) {
        return 0;
    }
    struct slice header = slice_make(in.p, V2_HEAD + length);
    if (command == LOCAL) {
        return (long)header.n; /* what stands in it is of no meaning */
    }
    const struct family *f = families, *end = families + sizeof families / sizeof *families;
    while (f < end && f->code != in.p[13]) {
        f++;
    }
    if (f == end) {
        return bad(out, "version 2: expected a family and transport that is TCP or a Unix stream");
    }
    if (length < f->bytes) {
        return bad(out, "version 2: the header is too short for its addresses");
    }
    out->known = f->family != AF_UNSPEC;
    take_address(f, in.p + V2_HEAD, &out->client);
    return take_entries(header, slice_from(header, V2_HEAD + (size_t)f->bytes), out);
}

/* ---- which ---- */

/* `in` may still become what begins so. */
static bool may_begin(struct slice in, const void *start, size_t n)
{
    return in.n == 0 || memcmp(in.p, start, in.n < n ? in.n : n) == 0;
}

static long bad_start(struct slice in, struct proxy_header *out)
{
    const char *looks = in.p[0] == 0x10   ? "; it looks like MQTT"
                        : in.p[0] == 0x16 ? "; it looks like TLS"
                        : in.p[0] == 'G'  ? "; it looks like HTTP"
                                          : "";
    (void)snprintf(out->why, sizeof out->why, "expected a PROXY header first, got something else%s",
                   looks);
    return -1;
}

long proxy_header_parse(struct slice in, struct proxy_header *out)
{
    const size_t v1 = sizeof v1_start - 1;
    memset(out, 0, sizeof *out);
    long used = may_begin(in, signature, sizeof signature) ? parse_v2(in, out)
                : !may_begin(in, v1_start, v1)             ? bad_start(in, out)
                : in.n < v1                                ? 0
                                                           : parse_v1(in, out);
    out->known = out->known && used > 0;
    return used;
}
