/*
 * TLS 1.2 and 1.3, the server's side, as a layer over a stream (OpenSSL).
 *
 * A context is what a listener's certificates and rules come to; it is immutable and counted, so that a reload makes a new
 * one while connections go on with theirs. Any thread.
 */
#ifndef TMQ_NET_TLS_H
#define TMQ_NET_TLS_H

#include <stdint.h>

#include "net/stream.h"

enum { TLS_ERROR_MAX = 384 };

enum tls_client_certificate { TLS_CLIENT_NONE, TLS_CLIENT_OPTIONAL, TLS_CLIENT_REQUIRED };
/* Which name of the client's certificate is its user name. */
enum tls_username { TLS_USER_NONE, TLS_USER_CN, TLS_USER_DNS, TLS_USER_EMAIL, TLS_USER_URI };
enum tls_version { TLS_1_2, TLS_1_3 };

/* File names in PEM; NULL or "": none. Of several certificates (names separated by commas, as many keys) the client's server
 * name chooses one; the first is for those that ask for none, or for another. */
struct tls_settings {
    const char *certificate, *key;
    const char *client_ca, *crl; /* authorities of client certificates; lists of revoked ones */
    enum tls_client_certificate client;
    enum tls_username username;
    enum tls_version min;
};

struct tls_context;

/* Reads the files; NULL: `err` names the file and says what is wrong. */
struct tls_context *tls_context_new(const struct tls_settings *s, char err[TLS_ERROR_MAX]);
void tls_context_ref(struct tls_context *c);
void tls_context_unref(struct tls_context *c);
/* When the first of its certificates ends, seconds since 1970, and that one's file name (lives as long as the context). */
int64_t tls_context_not_after(const struct tls_context *c, const char **file);

/* Puts TLS over `s`; the handshake comes with the first reads. Takes a reference. */
void stream_tls_wrap(struct stream *s, struct tls_context *c);

#endif
