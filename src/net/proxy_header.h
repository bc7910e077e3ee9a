/* The header of the PROXY protocol, versions 1 (text) and 2 (binary): where a connection really comes from. Pure. */
#ifndef TMQ_NET_PROXY_HEADER_H
#define TMQ_NET_PROXY_HEADER_H

#include "base/slice.h"
#include "net/addr.h"

enum { PROXY_HEADER_MAX = 4096, PROXY_WHY_MAX = 160, PROXY_LINK_MAX = 80 };

/* What version 2 says of the client's TLS, which ended at the load balancer. */
struct proxy_tls {
    bool used;
    bool certified; /* it has shown a certificate, and the balancer found it good */
    struct slice version, cipher, common_name;
};

/* Slices are parts of what was parsed; empty: nothing was said. */
struct proxy_header {
    bool known; /* it names a client; false: LOCAL (a health check), UNKNOWN */
    union addr_ip client;
    struct proxy_tls tls;
    struct slice server_name; /* that the client asked for (SNI) */
    struct slice unique_id;   /* the balancer's name for the connection; any bytes */
    char link
        [PROXY_LINK_MAX]; /* the private link it came by, "aws:vpce-…", "azure:NUMBER", "google:NUMBER" */
    char why[PROXY_WHY_MAX]; /* of a bad one: what was expected; printable */
};

/* The header at the start of `in`: its bytes, 0 when more are needed, -1 when it is none or a bad one. */
long proxy_header_parse(struct slice in, struct proxy_header *out);

#endif
