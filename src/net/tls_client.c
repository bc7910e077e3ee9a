/*
 * The client's side of TLS; see tls_client.h. OpenSSL reads and writes the socket itself.
 *
 * Invariants: a write that found no room is repeated with the same bytes and perhaps more (SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
 * the first error is kept, why() puts it into words. SIGPIPE is blocked or ignored by the program.
 */
#include "net/tls_client.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"

enum { RECORD_BYTES = 16384 };

struct tls_client_context {
    SSL_CTX *ctx;
    bool verify;
};

struct tls_client {
    SSL *ssl;
    char *name;
    unsigned long error; /* OpenSSL's, of what ended the connection */
    int socket_error;    /* positive errno */
    bool end;            /* the socket ended without a word */
};

static const char *reason(unsigned long error)
{
    const char *text = ERR_reason_error_string(error);
    return text == NULL ? "unknown error" : text;
}

static bool has(const char *text)
{
    return text != NULL && text[0] != '\0';
}

/* OpenSSL's word for a file that is not there is of no help. */
static bool fail_file(char err[TLS_CLIENT_ERROR_MAX], const char *what, const char *file)
{
    unsigned long error = ERR_get_error();
    ERR_clear_error();
    bool unreadable = access(file, R_OK) != 0;
    (void)snprintf(err, TLS_CLIENT_ERROR_MAX, "%s %.256s: %s", what, file,
                   unreadable ? strerror(errno) : reason(error));
    return false;
}

static bool load_authorities(SSL_CTX *ctx, const char *ca, char err[TLS_CLIENT_ERROR_MAX])
{
    if (!has(ca)) {
        return SSL_CTX_set_default_verify_paths(ctx) == 1;
    }
    return SSL_CTX_load_verify_locations(ctx, ca, NULL) == 1 || fail_file(err, "CA", ca);
}

static bool load_own(SSL_CTX *ctx, const struct tls_client_settings *s,
                     char err[TLS_CLIENT_ERROR_MAX])
{
    if (!has(s->certificate)) {
        return true;
    }
    const char *key = has(s->key) ? s->key : s->certificate;
    if (SSL_CTX_use_certificate_chain_file(ctx, s->certificate) != 1) {
        return fail_file(err, "certificate", s->certificate);
    }
    return (SSL_CTX_use_PrivateKey_file(ctx, key, SSL_FILETYPE_PEM) == 1 &&
            SSL_CTX_check_private_key(ctx) == 1) ||
           fail_file(err, "key", key);
}

struct tls_client_context *tls_client_context_new(const struct tls_client_settings *s,
                                                  char err[TLS_CLIENT_ERROR_MAX])
{
    struct tls_client_context *c = mem_new(1, sizeof *c);
    err[0] = '\0';
    c->verify = s->verify;
    c->ctx = SSL_CTX_new(TLS_client_method());
    if (c->ctx == NULL || SSL_CTX_set_min_proto_version(c->ctx, TLS1_2_VERSION) != 1) {
        abort(); /* no memory */
    }
    SSL_CTX_set_mode(c->ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                 SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_verify(c->ctx, s->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
    if (!load_authorities(c->ctx, s->ca, err) || !load_own(c->ctx, s, err)) {
        tls_client_context_free(c);
        return NULL;
    }
    return c;
}

void tls_client_context_free(struct tls_client_context *c)
{
    if (c != NULL) {
        SSL_CTX_free(c->ctx);
        free(c);
    }
}

/* ---- the stream ---- */

/* What OpenSSL's answer means for the stream: a negative errno, or 0 at the end. */
static ssize_t outcome(struct tls_client *t, int rc, int saved_errno)
{
    int what = SSL_get_error(t->ssl, rc);
    if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE) {
        return -EAGAIN;
    }
    if (what == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    unsigned long error = ERR_peek_error();
    ERR_clear_error();
    if (what == SSL_ERROR_SYSCALL && error == 0 && saved_errno != 0) {
        t->socket_error = saved_errno;
        return -saved_errno;
    }
    t->end = (what == SSL_ERROR_SYSCALL && error == 0) ||
             ERR_GET_REASON(error) == SSL_R_UNEXPECTED_EOF_WHILE_READING;
    t->error = t->error == 0 ? error : t->error;
    return t->end ? 0 : -EPROTO;
}

static ssize_t client_read(struct stream *s, void *out, size_t n)
{
    struct tls_client *t = s->state;
    ERR_clear_error();
    errno = 0;
    int got = SSL_read(t->ssl, out, n < INT32_MAX ? (int)n : INT32_MAX);
    return got > 0 ? got : outcome(t, got, errno);
}

static ssize_t client_writev(struct stream *s, const struct iovec *iov, int count)
{
    struct tls_client *t = s->state;
    size_t n = count == 0 ? 0 : iov[0].iov_len;
    ERR_clear_error();
    errno = 0;
    int put = SSL_write(t->ssl, iov[0].iov_base, n < RECORD_BYTES ? (int)n : RECORD_BYTES);
    if (put > 0) {
        return put;
    }
    ssize_t what = outcome(t, put, errno);
    return what == 0 ? -EPIPE : what;
}

static ssize_t client_peek(struct stream *s)
{
    struct tls_client *t = s->state;
    char byte;
    ERR_clear_error();
    errno = 0;
    int got = SSL_peek(t->ssl, &byte, 1);
    return got > 0 ? got : outcome(t, got, errno);
}

static void client_close(struct stream *s, bool reset)
{
    struct tls_client *t = s->state;
    if (!reset && SSL_is_init_finished(t->ssl) == 1 && t->error == 0 && t->socket_error == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl);
    }
    ERR_clear_error();
    SSL_free(t->ssl);
    (void)close(s->fd);
    free(t->name);
    free(t);
    s->state = NULL;
    s->fd = -1;
}

/* ---- in words ---- */

static void client_why(const struct stream *s, struct stream_why *out)
{
    const struct tls_client *t = s->state;
    long verify = SSL_get_verify_result(t->ssl);
    unsigned r = (unsigned)ERR_GET_REASON(t->error);
    *out = (struct stream_why){.known = true, .cause = CAUSE_HANDSHAKE_TLS};
    if (t->socket_error != 0) {
        (void)snprintf(out->text, sizeof out->text, "%s", strerror(t->socket_error));
    } else if (r == SSL_R_CERTIFICATE_VERIFY_FAILED && (verify == X509_V_ERR_HOSTNAME_MISMATCH ||
                                                        verify == X509_V_ERR_IP_ADDRESS_MISMATCH)) {
        (void)snprintf(out->text, sizeof out->text, "the certificate is not for %.100s", t->name);
    } else if (r == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        (void)snprintf(out->text, sizeof out->text, "the certificate is not good: %s",
                       X509_verify_cert_error_string(verify));
    } else if (r > SSL_AD_REASON_OFFSET) {
        out->code = r - SSL_AD_REASON_OFFSET;
        (void)snprintf(out->text, sizeof out->text, "TLS alert from the server: %s",
                       reason(t->error)); /* its list of alerts lacks those of TLS 1.3 */
    } else if (t->end) {
        (void)snprintf(out->text, sizeof out->text, "%s",
                       SSL_is_init_finished(t->ssl) == 1
                           ? "the server closed the connection"
                           : "the server closed in the middle of the TLS handshake");
    } else {
        (void)snprintf(out->text, sizeof out->text, "TLS: %s", reason(t->error));
    }
}

void stream_tls_client_told(const struct stream *s, const char **version, const char **cipher)
{
    const struct tls_client *t = s->state;
    *version = SSL_get_version(t->ssl);
    *cipher = SSL_get_cipher_name(t->ssl);
}

static const struct stream_ops client_ops = {
    .read = client_read,
    .writev = client_writev,
    .peek = client_peek,
    .close = client_close,
    .why = client_why,
    .holds_back = true,
};

static bool is_address(const char *name)
{
    struct in6_addr a;
    return inet_pton(AF_INET, name, &a) == 1 || inet_pton(AF_INET6, name, &a) == 1;
}

void stream_tls_client_wrap(struct stream *s, const struct tls_client_context *c, const char *name)
{
    struct tls_client *t = mem_new(1, sizeof *t);
    t->name = mem_strndup(name, strlen(name));
    t->ssl = SSL_new(c->ctx);
    if (t->ssl == NULL || SSL_set_fd(t->ssl, s->fd) != 1) {
        abort(); /* no memory */
    }
    bool set = true;
    if (is_address(name)) {
        set = !c->verify || X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(t->ssl), name) == 1;
    } else {
        set = SSL_set_tlsext_host_name(t->ssl, t->name) == 1 &&
              (!c->verify || SSL_set1_host(t->ssl, name) == 1);
    }
    if (!set) {
        abort(); /* no memory */
    }
    SSL_set_hostflags(t->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    SSL_set_connect_state(t->ssl);
    *s = (struct stream){.ops = &client_ops, .fd = s->fd, .state = t};
}

int stream_tls_client_handshake(struct stream *s, bool *wants_write)
{
    struct tls_client *t = s->state;
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        return 0;
    }
    int saved = errno;
    *wants_write = SSL_want_write(t->ssl);
    ssize_t what = outcome(t, rc, saved);
    return what == 0 ? -EPROTO : (int)what;
}
