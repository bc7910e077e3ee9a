/*
 * A connection to the other broker: name, TCP, TLS. The calls wait, for `stop` or a deadline at most (a name look-up for as long as
 * the resolver does). The bridge's own thread.
 */
#ifndef TMQ_BRIDGE_DIAL_H
#define TMQ_BRIDGE_DIAL_H

#include <netinet/in.h>
#include <stdbool.h>

#include "net/stream.h"
#include "net/tls_client.h"

enum { DIAL_ERROR_MAX = 256, DIAL_HOST_MAX = 256 };

struct dial {
    const struct tls_client_context *tls; /* NULL: plain */
    const char *server_name;              /* "": the host */
    int stop;                             /* readable: give up */
    unsigned timeout_ms;                  /* for TCP, for TLS */
};

struct dialled {
    struct stream stream;
    struct sockaddr_storage peer;
    const char *tls_version; /* "" = none */
};

/* "host:port" or "[v6]:port", cut in two. False: it is not of that form. */
bool dial_split(const char *text, size_t n, char host[DIAL_HOST_MAX], char port[6]);

/* 0 and *out, to be closed by its stream; or -1 and `err` in words ("" when stopped). All addresses of a name are tried. */
int dial(const struct dial *d, const char *host, const char *port, struct dialled *out,
         char err[DIAL_ERROR_MAX]) __attribute__((warn_unused_result));

#endif
