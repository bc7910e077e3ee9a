/*
 * TLS over a stream; see tls.h. OpenSSL reads and writes through a BIO over the inner stream, so nothing is buffered twice; its
 * own buffers go while a connection is idle (SSL_MODE_RELEASE_BUFFERS).
 *
 * Invariants: a write that found no room is repeated with the same bytes, and perhaps more, since a connection's output only
 * grows until it is written (SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER); the first error is kept, why() puts it into words.
 */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

enum { RECORD_BYTES = 16384, CHAIN_MAX = 8 };

/* One certificate with its key. */
struct certificate {
    SSL_CTX *ctx;
    X509 *x509; /* the context's */
    char *file;
    int64_t not_after;
};

struct tls_context {
    _Atomic unsigned refs;
    enum tls_username username;
    bool asks; /* clients for a certificate */
    size_t count;
    struct certificate *certs;
};

struct tls {
    struct stream inner;
    SSL *ssl;
    struct tls_context *context;
    unsigned long error; /* OpenSSL's, of what ended the connection */
    int verify_error;    /* X509_V_…: why the client's certificate was refused */
    int inner_error;     /* negative errno of the stream below; 0: none */
    bool begun;          /* a byte came */
    bool inner_end;      /* the stream below ended */
    bool established;
};

/* ---- OpenSSL's way to the inner stream ---- */

static int bio_write(BIO *b, const char *p, int n)
{
    struct tls *t = BIO_get_data(b);
    struct iovec iov = {.iov_base = (void *)(uintptr_t)p, .iov_len = (size_t)n};
    BIO_clear_retry_flags(b);
    ssize_t put = t->inner.ops->writev(&t->inner, &iov, 1);
    if (put == -EAGAIN) {
        BIO_set_retry_write(b);
        return -1;
    }
    if (put < 0) {
        t->inner_error = (int)put;
    }
    return put < 0 ? -1 : (int)put;
}

static int bio_read(BIO *b, char *p, int n)
{
    struct tls *t = BIO_get_data(b);
    BIO_clear_retry_flags(b);
    ssize_t got = t->inner.ops->read(&t->inner, p, (size_t)n);
    if (got == -EAGAIN) {
        BIO_set_retry_read(b);
        return -1;
    }
    t->begun = t->begun || got > 0;
    if (got == 0) {
        t->inner_end = true;
    } else if (got < 0) {
        t->inner_error = (int)got;
    }
    return got < 0 ? -1 : (int)got;
}

static long bio_ctrl(BIO *b, int command, long n, void *p)
{
    (void)n;
    (void)p;
    const struct tls *t = BIO_get_data(b);
    switch (command) {
    case BIO_CTRL_FLUSH:
    case BIO_CTRL_DUP:
        return 1;
    case BIO_CTRL_EOF:
        return t != NULL && t->inner_end;
    default:
        return 0;
    }
}

static BIO_METHOD *method;

static void make_method(void)
{
    method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "stream");
    if (method == NULL || BIO_meth_set_write(method, bio_write) != 1 ||
        BIO_meth_set_read(method, bio_read) != 1 || BIO_meth_set_ctrl(method, bio_ctrl) != 1) {
        abort(); /* no memory */
    }
}

/* ---- contexts ---- */

static const char *reason(unsigned long error)
{
    const char *text = ERR_reason_error_string(error);
    return text == NULL ? "unknown error" : text;
}

/* OpenSSL's newest word about a file. */
static bool fail_file(char err[TLS_ERROR_MAX], const char *what, const char *file)
{
    (void)snprintf(err, TLS_ERROR_MAX, "%s %.256s: %s", what, file, reason(ERR_get_error()));
    ERR_clear_error();
    return false;
}

/* OpenSSL's word for a file that is not there is of no help. */
static bool can_read(const char *what, const char *file, char err[TLS_ERROR_MAX])
{
    FILE *f = fopen(file, "re");
    if (f == NULL) {
        (void)snprintf(err, TLS_ERROR_MAX, "%s %.256s: cannot be read: %s", what, file,
                       strerror(errno));
        return false;
    }
    (void)fclose(f);
    return true;
}

static int64_t seconds_of(const ASN1_TIME *t)
{
    struct tm tm;
    return ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static bool has(const char *text)
{
    return text != NULL && text[0] != '\0';
}

static bool load_client_ca(SSL_CTX *ctx, const struct tls_settings *s, char err[TLS_ERROR_MAX])
{
    if (!can_read("client CA", s->client_ca, err) ||
        (has(s->crl) && !can_read("CRL", s->crl, err))) {
        return false;
    }
    if (SSL_CTX_load_verify_locations(ctx, s->client_ca, NULL) != 1) {
        return fail_file(err, "client CA", s->client_ca);
    }
    STACK_OF(X509_NAME) *names = SSL_load_client_CA_file(s->client_ca);
    if (names == NULL) {
        return fail_file(err, "client CA", s->client_ca);
    }
    SSL_CTX_set_client_CA_list(ctx, names);
    if (has(s->crl)) {
        X509_STORE *store = SSL_CTX_get_cert_store(ctx);
        X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
        if (lookup == NULL || X509_load_crl_file(lookup, s->crl, X509_FILETYPE_PEM) < 1) {
            return fail_file(err, "CRL", s->crl);
        }
        (void)X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK);
    }
    return true;
}

/* Why a certificate was refused is kept: the handshake's own error says only that it was. */
static int on_verify(int ok, X509_STORE_CTX *x)
{
    if (ok == 0) {
        const SSL *ssl = X509_STORE_CTX_get_ex_data(x, SSL_get_ex_data_X509_STORE_CTX_idx());
        struct tls *t = BIO_get_data(SSL_get_rbio(ssl));
        if (t->verify_error == 0) {
            t->verify_error = X509_STORE_CTX_get_error(x);
        }
    }
    return ok;
}

static bool set_client_rules(SSL_CTX *ctx, const struct tls_settings *s, char err[TLS_ERROR_MAX])
{
    static const unsigned char id[] = "tracemq";
    if (s->client == TLS_CLIENT_NONE) {
        return true;
    }
    if (!has(s->client_ca)) {
        (void)snprintf(err, TLS_ERROR_MAX, "client certificates want a client CA file");
        return false;
    }
    int mode = SSL_VERIFY_PEER;
    mode |= s->client == TLS_CLIENT_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0;
    SSL_CTX_set_verify(ctx, mode, on_verify);
    SSL_CTX_set_verify_depth(ctx, CHAIN_MAX);
    (void)SSL_CTX_set_session_id_context(ctx, id, sizeof id - 1);
    return load_client_ca(ctx, s, err);
}

static bool load_pair(struct certificate *c, const char *key, char err[TLS_ERROR_MAX])
{
    ERR_clear_error();
    if (!can_read("certificate", c->file, err) || !can_read("key", key, err)) {
        return false;
    }
    if (SSL_CTX_use_certificate_chain_file(c->ctx, c->file) != 1) {
        return fail_file(err, "certificate", c->file);
    }
    if (SSL_CTX_use_PrivateKey_file(c->ctx, key, SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_check_private_key(c->ctx) != 1) {
        return fail_file(err, "key", key);
    }
    c->x509 = SSL_CTX_get0_certificate(c->ctx);
    c->not_after = seconds_of(X509_get0_notAfter(c->x509));
    return true;
}

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
    const struct tls_context *c = arg;
    const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
    (void)alert;
    for (size_t i = 0; name != NULL && i < c->count; i++) {
        if (X509_check_host(c->certs[i].x509, name, 0, 0, NULL) == 1) {
            (void)SSL_set_SSL_CTX(ssl, c->certs[i].ctx);
            break;
        }
    }
    return SSL_TLSEXT_ERR_OK;
}

static bool load_certificate(struct tls_context *t, const struct tls_settings *s, const char *file,
                             const char *key, char err[TLS_ERROR_MAX])
{
    struct certificate *c = &t->certs[t->count++];
    c->file = mem_strndup(file, strlen(file));
    c->ctx = SSL_CTX_new(TLS_server_method());
    if (c->ctx == NULL) {
        abort(); /* no memory */
    }
    (void)SSL_CTX_set_min_proto_version(c->ctx,
                                        s->min == TLS_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
    (void)SSL_CTX_set_options(c->ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_CIPHER_SERVER_PREFERENCE |
                                          SSL_OP_NO_COMPRESSION | SSL_OP_PRIORITIZE_CHACHA);
    (void)SSL_CTX_set_mode(c->ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
                                       SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    (void)SSL_CTX_set_session_cache_mode(c->ctx, SSL_SESS_CACHE_OFF); /* tickets resume */
    (void)SSL_CTX_set_num_tickets(c->ctx, 1);
    (void)SSL_CTX_set_tlsext_servername_callback(c->ctx, on_server_name);
    (void)SSL_CTX_set_tlsext_servername_arg(c->ctx, t);
    return load_pair(c, key, err) && set_client_rules(c->ctx, s, err);
}

/* Cuts the next name off a list. */
static bool next_name(const char **list, char out[4096])
{
    const char *at = *list == NULL ? "" : *list;
    at += strspn(at, ", ");
    size_t n = strcspn(at, ",");
    *list = at + n;
    while (n > 0 && at[n - 1] == ' ') {
        n--;
    }
    (void)snprintf(out, 4096, "%.*s", (int)(n < 4095 ? n : 4095), at);
    return n > 0;
}

static size_t count_names(const char *list)
{
    char name[4096];
    size_t n = 0;
    while (next_name(&list, name)) {
        n++;
    }
    return n;
}

static bool load_all(struct tls_context *t, const struct tls_settings *s, char err[TLS_ERROR_MAX])
{
    const char *certificates = s->certificate, *keys = s->key;
    char certificate[4096], key[4096];
    size_t n = count_names(s->certificate);
    if (n == 0 || count_names(s->key) != n) {
        (void)snprintf(
            err, TLS_ERROR_MAX,
            "%zu certificate files and %zu key files: expected one key for each certificate", n,
            count_names(s->key));
        return false;
    }
    t->certs = mem_new(n, sizeof *t->certs);
    while (next_name(&certificates, certificate) && next_name(&keys, key)) {
        if (!load_certificate(t, s, certificate, key, err)) {
            return false;
        }
    }
    return true;
}

struct tls_context *tls_context_new(const struct tls_settings *s, char err[TLS_ERROR_MAX])
{
    struct tls_context *t = mem_new(1, sizeof *t);
    atomic_init(&t->refs, 1);
    t->username = s->username;
    t->asks = s->client != TLS_CLIENT_NONE;
    if (!load_all(t, s, err)) {
        tls_context_unref(t);
        return NULL;
    }
    return t;
}

void tls_context_ref(struct tls_context *c)
{
    atomic_fetch_add_explicit(&c->refs, 1, memory_order_relaxed);
}

void tls_context_unref(struct tls_context *c)
{
    if (c == NULL || atomic_fetch_sub(&c->refs, 1) != 1) {
        return;
    }
    for (size_t i = 0; i < c->count; i++) {
        SSL_CTX_free(c->certs[i].ctx);
        free(c->certs[i].file);
    }
    free(c->certs);
    free(c);
}

int64_t tls_context_not_after(const struct tls_context *c, const char **file)
{
    size_t first = 0;
    for (size_t i = 1; i < c->count; i++) {
        first = c->certs[i].not_after < c->certs[first].not_after ? i : first;
    }
    *file = c->certs[first].file;
    return c->certs[first].not_after;
}

/* ---- the stream ---- */

/* What OpenSSL's answer means for the stream: a negative errno, or 0 at the end. */
static ssize_t outcome(struct tls *t, int rc)
{
    int what = SSL_get_error(t->ssl, rc);
    if (what == SSL_ERROR_WANT_READ || what == SSL_ERROR_WANT_WRITE) {
        return -EAGAIN;
    }
    if (what == SSL_ERROR_ZERO_RETURN) {
        return 0;
    }
    if (t->error == 0) {
        t->error = ERR_peek_error();
    }
    ERR_clear_error();
    if (t->inner_error != 0) {
        return t->inner_error;
    }
    return t->inner_end ? 0 : -EPROTO;
}

/* OpenSSL keeps a key until the connection ends; giving it a type anew empties it. */
static void empty_key(EVP_PKEY *key)
{
    (void)EVP_PKEY_set_type(key, EVP_PKEY_get_id(key));
    EVP_PKEY_free(key);
}

/* The two keys of the key exchange are of no more use: 384 bytes, one of them a secret. */
static void on_established(struct tls *t)
{
    EVP_PKEY *key = NULL;
    t->established = true;
    (void)ERR_set_mark();
    if (SSL_get_tmp_key(t->ssl, &key) == 1) {
        empty_key(key);
    }
    if (SSL_get_peer_tmp_key(t->ssl, &key) == 1) {
        empty_key(key);
    }
    (void)ERR_pop_to_mark(); /* what the read found stays */
}

static ssize_t tls_read(struct stream *s, void *out, size_t n)
{
    struct tls *t = s->state;
    ERR_clear_error();
    int got = SSL_read(t->ssl, out, n < INT32_MAX ? (int)n : INT32_MAX);
    if (!t->established && SSL_is_init_finished(t->ssl) == 1) {
        on_established(t);
    }
    return got > 0 ? got : outcome(t, got);
}

static ssize_t tls_peek(struct stream *s)
{
    struct tls *t = s->state;
    char byte;
    ERR_clear_error();
    int got = SSL_peek(t->ssl, &byte, 1);
    return got > 0 ? got : outcome(t, got);
}

/* The pieces' first bytes as one: a record each time, not one for each piece. */
static size_t coalesce(uint8_t out[RECORD_BYTES], const struct iovec *iov, int count)
{
    size_t n = 0;
    for (int i = 0; i < count && n < RECORD_BYTES; i++) {
        size_t part = iov[i].iov_len < RECORD_BYTES - n ? iov[i].iov_len : RECORD_BYTES - n;
        memcpy(out + n, iov[i].iov_base, part);
        n += part;
    }
    return n;
}

static ssize_t write_record(struct tls *t, const void *p, size_t n)
{
    ERR_clear_error();
    int put = SSL_write(t->ssl, p, (int)n);
    if (put > 0) {
        return put;
    }
    ssize_t what = outcome(t, put);
    return what == 0 ? -EPIPE : what;
}

static ssize_t tls_writev(struct stream *s, const struct iovec *iov, int count)
{
    struct tls *t = s->state;
    if (count == 1 || iov[0].iov_len >= RECORD_BYTES) {
        size_t n = iov[0].iov_len < RECORD_BYTES ? iov[0].iov_len : RECORD_BYTES;
        return write_record(t, iov[0].iov_base, n);
    }
    uint8_t record[RECORD_BYTES];
    return write_record(t, record, coalesce(record, iov, count));
}

static int tls_flush(struct stream *s)
{
    struct tls *t = s->state;
    if (!SSL_is_init_finished(t->ssl)) {
        ERR_clear_error();
        int rc = SSL_do_handshake(t->ssl);
        if (rc != 1 && SSL_get_error(t->ssl, rc) == SSL_ERROR_WANT_WRITE) {
            return -EAGAIN;
        }
        if (rc != 1) {
            ssize_t what = outcome(t, rc); /* reading tells what is wrong */
            (void)what;
        }
        if (!t->established && rc == 1) {
            on_established(t);
        }
    }
    return stream_flush(&t->inner);
}

static void say_goodbye(struct tls *t)
{
    if (t->established && t->error == 0 && t->inner_error == 0) {
        ERR_clear_error();
        (void)SSL_shutdown(t->ssl);
        ERR_clear_error();
    }
}

static void tls_finish(struct stream *s)
{
    struct tls *t = s->state;
    say_goodbye(t);
    if (t->inner.ops->finish != NULL) {
        t->inner.ops->finish(&t->inner);
    }
}

static void tls_close(struct stream *s, bool reset)
{
    struct tls *t = s->state;
    if (!reset) {
        say_goodbye(t);
    }
    t->inner.ops->close(&t->inner, reset);
    SSL_free(t->ssl);
    tls_context_unref(t->context);
    free(t);
    s->state = NULL;
    s->fd = -1;
}

/* ---- in words ---- */

static void say_alert(const struct tls *t, struct stream_why *out)
{
    out->code = (unsigned)ERR_GET_REASON(t->error) - SSL_AD_REASON_OFFSET;
    (void)snprintf(out->text, sizeof out->text, "alert \"%s\" from the client",
                   SSL_alert_desc_string_long((int)out->code));
}

static void why_handshake(const struct tls *t, struct stream_why *out)
{
    unsigned r = (unsigned)ERR_GET_REASON(t->error);
    out->cause = CAUSE_HANDSHAKE_TLS;
    if (t->verify_error != 0) {
        out->cause = CAUSE_AUTH_CERTIFICATE;
        (void)snprintf(out->text, sizeof out->text, "%s",
                       X509_verify_cert_error_string(t->verify_error));
    } else if (r == SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE) {
        out->cause = CAUSE_AUTH_CERTIFICATE;
        (void)snprintf(out->text, sizeof out->text, "no client certificate, and one is required");
    } else if (r > SSL_AD_REASON_OFFSET) {
        say_alert(t, out);
    } else if (t->inner_end) {
        (void)snprintf(out->text, sizeof out->text,
                       "the client closed in the middle of the TLS handshake");
    } else {
        (void)snprintf(out->text, sizeof out->text, "%s", reason(t->error));
    }
}

static void tls_why(const struct stream *s, struct stream_why *out)
{
    const struct tls *t = s->state;
    bool closed = (SSL_get_shutdown(t->ssl) & SSL_RECEIVED_SHUTDOWN) != 0;
    stream_why(&t->inner, out);
    bool broken = t->established && t->inner_error != 0 && !closed;
    if (out->known || broken || !t->begun) {
        return; /* what is below says it */
    }
    *out = (struct stream_why){.known = true};
    if (!t->established) {
        why_handshake(t, out);
    } else if (ERR_GET_REASON(t->error) > SSL_AD_REASON_OFFSET) {
        out->cause = CAUSE_PEER_TLS_CLOSED;
        say_alert(t, out);
    } else if (closed) {
        out->cause = CAUSE_PEER_TLS_CLOSED;
    } else if (t->inner_end) {
        out->cause = CAUSE_PEER_TLS_TRUNCATED;
    } else {
        out->cause = CAUSE_PEER_IO_ERROR;
        (void)snprintf(out->text, sizeof out->text, "TLS: %s", reason(t->error));
    }
}

static void name_text(const X509_NAME *name, char *out, size_t size)
{
    BIO *b = BIO_new(BIO_s_mem());
    char *p = NULL;
    out[0] = '\0';
    if (b == NULL) {
        return;
    }
    if (X509_NAME_print_ex(b, name, 0, XN_FLAG_RFC2253 & ~(unsigned long)ASN1_STRFLGS_ESC_MSB) >=
        0) {
        long n = BIO_get_mem_data(b, &p);
        (void)snprintf(out, size, "%.*s", (int)n, p);
    }
    BIO_free(b);
}

/* A text with a zero inside is no name: somebody plays tricks. */
static bool take_text(const ASN1_STRING *text, char *out, size_t size)
{
    unsigned char *utf8 = NULL;
    int n = text == NULL ? -1 : ASN1_STRING_to_UTF8(&utf8, text);
    bool good = n > 0 && (size_t)n < size && memchr(utf8, 0, (size_t)n) == NULL;
    if (good) {
        memcpy(out, utf8, (size_t)n);
        out[n] = '\0';
    }
    OPENSSL_free(utf8);
    return good;
}

static void common_name(const X509 *x, char *out, size_t size)
{
    const X509_NAME *name = X509_get_subject_name(x);
    int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
    if (at >= 0) {
        (void)take_text(X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)), out, size);
    }
}

/* The first alternative name of a kind. */
static void alternative_name(const X509 *x, int kind, char *out, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(x, NID_subject_alt_name, NULL, NULL);
    for (int i = 0; names != NULL && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *n = sk_GENERAL_NAME_value(names, i);
        if (n->type == kind && take_text(n->d.ia5, out, size)) {
            break;
        }
    }
    GENERAL_NAMES_free(names);
}

static void told_certificate(const struct tls *t, const X509 *x, struct stream_told *out)
{
    static const int kinds[] = {
        [TLS_USER_DNS] = GEN_DNS, [TLS_USER_EMAIL] = GEN_EMAIL, [TLS_USER_URI] = GEN_URI};
    out->certified = true;
    name_text(X509_get_subject_name(x), out->subject, sizeof out->subject);
    name_text(X509_get_issuer_name(x), out->issuer, sizeof out->issuer);
    out->not_after = seconds_of(X509_get0_notAfter(x));
    if (t->context->username == TLS_USER_CN) {
        common_name(x, out->user, sizeof out->user);
    } else if (t->context->username != TLS_USER_NONE) {
        alternative_name(x, kinds[t->context->username], out->user, sizeof out->user);
    }
}

static void tls_told(const struct stream *s, struct stream_told *out)
{
    const struct tls *t = s->state;
    stream_told(&t->inner, out);
    out->tls_version = SSL_get_version(t->ssl);
    out->tls_cipher = SSL_get_cipher_name(t->ssl);
    const char *name = SSL_get_servername(t->ssl, TLSEXT_NAMETYPE_host_name);
    (void)snprintf(out->sni, sizeof out->sni, "%s", name == NULL ? "" : name);
    const X509 *x = SSL_get0_peer_certificate(t->ssl);
    if (t->context->asks) { /* then what a load balancer says of one counts for nothing */
        out->certified = false;
        out->subject[0] = out->user[0] = '\0';
    }
    if (x != NULL) {
        told_certificate(t, x, out);
    }
}

static const struct stream_via *tls_via(const struct stream *s)
{
    const struct tls *t = s->state;
    return stream_via(&t->inner);
}

static const char *tls_awaits(const struct stream *s)
{
    const struct tls *t = s->state;
    const char *below = stream_awaits(&t->inner);
    return below != NULL ? below : t->established ? NULL : "a TLS handshake";
}

static const struct stream_ops tls_ops = {
    .read = tls_read,
    .writev = tls_writev,
    .peek = tls_peek,
    .close = tls_close,
    .finish = tls_finish,
    .flush = tls_flush,
    .why = tls_why,
    .told = tls_told,
    .awaits = tls_awaits,
    .via = tls_via,
    .holds_back = true,
};

void stream_tls_wrap(struct stream *s, struct tls_context *c)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    (void)pthread_once(&once, make_method);
    struct tls *t = mem_new(1, sizeof *t);
    BIO *b = BIO_new(method);
    t->inner = *s;
    t->ssl = SSL_new(c->certs[0].ctx);
    if (b == NULL || t->ssl == NULL) {
        abort(); /* no memory */
    }
    BIO_set_data(b, t);
    BIO_set_init(b, 1);
    SSL_set_bio(t->ssl, b, b);
    SSL_set_accept_state(t->ssl);
    tls_context_ref(c);
    t->context = c;
    *s = (struct stream){.ops = &tls_ops, .fd = t->inner.fd, .state = t};
}
