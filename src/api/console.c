/*
 * The web console's files, embedded by tools/embed. A path without a file is a place inside the single page
 * app, so it gets index.html; a missing file below /assets/ is a 404 (a page of an older build asked for it).
 */
#include <stdlib.h>
#include <strings.h>

#include "api/api_priv.h"
#include "api/console_files.h"
#include "api/handlers.h"

/* Ant Design writes its styles into the page at run time, hence 'unsafe-inline' for styles (only). */
static const char content_security[] =
    "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; font-src 'self' data:; "
    "object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

static int compare_path(const void *key, const void *file)
{
    return strcmp(key, ((const struct console_file *)file)->path);
}

static const struct console_file *find_file(const char *path)
{
    return bsearch(path, console_files, console_files_count, sizeof console_files[0], compare_path);
}

static bool accepts_gzip(struct request *rq)
{
    const char *accepts = request_header(rq, MHD_HTTP_HEADER_ACCEPT_ENCODING);
    const char *at = accepts == NULL ? NULL : strcasestr(accepts, "gzip");
    return at != NULL && strncasecmp(at, "gzip;q=0", 8) != 0;
}

/* One representation: the bytes as they are, or compressed. */
struct variant {
    const uint8_t *data;
    size_t size;
    bool gzip;
    char etag[80];
};

static void choose_variant(struct request *rq, const struct console_file *f, struct variant *v)
{
    v->gzip = f->gzip_data != NULL && accepts_gzip(rq);
    v->data = v->gzip ? f->gzip_data : f->data;
    v->size = v->gzip ? f->gzip_size : f->size;
    (void)snprintf(v->etag, sizeof v->etag, v->gzip ? "%.*s-gz\"" : "%.*s\"",
                   (int)strlen(f->etag) - 1, f->etag);
}

static bool is_cached(struct request *rq, const struct variant *v)
{
    const char *has = request_header(rq, MHD_HTTP_HEADER_IF_NONE_MATCH);
    return has != NULL && (strcmp(has, "*") == 0 || strstr(has, v->etag) != NULL);
}

static void reply_file(struct request *rq, const struct console_file *f)
{
    struct variant v;
    choose_variant(rq, f, &v);
    bool cached = is_cached(rq, &v);
    /* The library's parameter is not const, but it does not write to persistent memory. */
    void *data = (void *)(uintptr_t)v.data;
    reply_response(
        rq, cached ? 304 : 200,
        MHD_create_response_from_buffer(cached ? 0 : v.size, data, MHD_RESPMEM_PERSISTENT));
    reply_header(rq, MHD_HTTP_HEADER_ETAG, v.etag);
    reply_header(rq, MHD_HTTP_HEADER_VARY, "Accept-Encoding");
    reply_header(rq, MHD_HTTP_HEADER_CACHE_CONTROL,
                 f->immutable ? "public, max-age=31536000, immutable" : "no-cache");
    reply_header(rq, "Content-Security-Policy", content_security);
    reply_header(rq, "X-Frame-Options", "DENY");
    reply_header(rq, "Referrer-Policy", "same-origin");
    if (!cached) {
        reply_header(rq, MHD_HTTP_HEADER_CONTENT_TYPE, f->content_type);
    }
    if (!cached && v.gzip) {
        reply_header(rq, MHD_HTTP_HEADER_CONTENT_ENCODING, "gzip");
    }
}

void handle_console(struct request *rq)
{
    ptrdiff_t n = percent_decode(rq->uri, rq->path.n, false);
    if (n < 0) {
        reply_error(rq, 400, NULL, "the path has a bad percent-encoding");
        return;
    }
    rq->uri[n] = '\0';
    const struct console_file *f = find_file(rq->uri);
    if (f == NULL && strncmp(rq->uri, "/assets/", 8) != 0) {
        f = find_file("/index.html");
    }
    if (f == NULL) {
        reply_error(rq, 404, NULL, "there is no file %.200s", rq->uri);
        return;
    }
    reply_file(rq, f);
}
