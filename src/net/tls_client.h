/*
 * TLS 1.2 and 1.3, the client's side, as a layer over a connected socket (OpenSSL). One thread; the context may be shared.
 */
#ifndef TMQ_NET_TLS_CLIENT_H
#define TMQ_NET_TLS_CLIENT_H

#include <stdbool.h>

#include "net/stream.h"

enum { TLS_CLIENT_ERROR_MAX = 384 };

/* File names in PEM; NULL or "": none. */
struct tls_client_settings {
    const char *ca;                /* authorities; none: the system's */
    const char *certificate, *key; /* what is shown to a server that asks */
    bool verify;                   /* the server's certificate and name */
};

struct tls_client_context;

/* Reads the files; NULL: `err` names the file and says what is wrong. */
struct tls_client_context *tls_client_context_new(const struct tls_client_settings *s,
                                                  char err[TLS_CLIENT_ERROR_MAX]);
void tls_client_context_free(struct tls_client_context *c);

/*
 * Puts TLS over the plain stream `s` (its descriptor is not blocking). `name` is the host name or IP address that the server's
 * certificate must have; a name is sent as server name (SNI), too.
 */
void stream_tls_client_wrap(struct stream *s, const struct tls_client_context *c, const char *name);
/* One more step: 0 when it is done; -EAGAIN: *wants_write says what to wait for; or another negative errno, why() tells. */
int stream_tls_client_handshake(struct stream *s, bool *wants_write)
    __attribute__((warn_unused_result));
/* "TLSv1.3 TLS_AES_256_GCM_SHA384" */
void stream_tls_client_told(const struct stream *s, const char **version, const char **cipher);

#endif
