/*
 * Start and stop of the HTTP side, and what libmicrohttpd calls: the life of one request.
 *
 * first line ─► on_uri (request made) ─► headers ─► body, at most BODY_MAX kept ─► dispatch ─► answer sent ─►
 * on_completed (request freed)
 *
 * libmicrohttpd runs in epoll mode (descriptors of 1024 and more) with its own pool of two threads. It gets an
 * identity unescape callback: paths are split before they are decoded, by us.
 */
#include "api/api.h"

#include <assert.h>
#include <errno.h>
#include <jansson.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

#include "api/api_priv.h"
#include "base/log.h"
#include "base/mem.h"

enum {
    HTTP_THREADS = 2,
    IDLE_TIMEOUT_S = 30,
    CONNECTION_MEMORY = 32 * 1024, /* headers and output of one connection */
    BODY_READ_MAX = 16 * BODY_MAX, /* a longer body is not even read to its end */
};

/* ---- one request ---- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *conn)
{
    struct request *rq = mem_new(1, sizeof *rq);
    rq->api = cls;
    rq->conn = conn;
    rq->uri = mem_strndup(uri, strlen(uri));
    return rq;
}

static void on_completed(void *cls, struct MHD_Connection *conn, void **con_cls,
                         enum MHD_RequestTerminationCode code)
{
    struct request *rq = *con_cls;
    (void)cls;
    (void)conn;
    (void)code;
    if (rq == NULL) {
        return;
    }
    if (rq->response != NULL) {
        MHD_destroy_response(rq->response);
    }
    buf_fini(&rq->body);
    free(rq->uri);
    free(rq);
    *con_cls = NULL;
}

/* Identity: the path is decoded after it was split. */
static size_t on_unescape(void *cls, struct MHD_Connection *conn, char *s)
{
    (void)cls;
    (void)conn;
    return strlen(s);
}

/* Cuts the raw URI into path and query. */
static void take_uri(struct request *rq)
{
    char *query = strchr(rq->uri, '?');
    if (query != NULL) {
        *query++ = '\0';
    }
    rq->path = slice_str(rq->uri);
    params_parse(&rq->params, query);
}

static bool announces_too_much(struct request *rq)
{
    const char *length = request_header(rq, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return length != NULL && strtoull(length, NULL, 10) > BODY_READ_MAX;
}

static enum MHD_Result send_answer(struct request *rq)
{
    enum MHD_Result queued = MHD_queue_response(rq->conn, rq->status, rq->response);
    MHD_destroy_response(rq->response);
    rq->response = NULL;
    return queued;
}

static enum MHD_Result take_body(struct request *rq, const char *data, size_t *n)
{
    rq->body_seen += *n;
    if (rq->body_seen <= BODY_MAX) {
        buf_put(&rq->body, data, *n);
    }
    *n = 0;
    return rq->body_seen > BODY_READ_MAX ? MHD_NO : MHD_YES;
}

/* Called with the headers, with each piece of the body, and once more at its end. */
static enum MHD_Result on_request(void *cls, struct MHD_Connection *conn, const char *url,
                                  const char *method, const char *version, const char *data,
                                  size_t *data_n, void **con_cls)
{
    struct request *rq = *con_cls;
    (void)cls;
    (void)conn;
    (void)url;
    (void)version;
    assert(rq != NULL);
    if (!rq->begun) {
        rq->begun = true;
        rq->method = method;
        if (!announces_too_much(rq)) {
            return MHD_YES;
        }
        rq->body_seen = BODY_READ_MAX + 1;
    } else if (*data_n > 0) {
        return take_body(rq, data, data_n);
    } else {
        take_uri(rq);
    }
    if (rq->body_seen > BODY_MAX) {
        reply_error(rq, 413, NULL, "the body is larger than %d bytes", BODY_MAX);
    } else {
        dispatch(rq);
    }
    return send_answer(rq);
}

/* ---- start and stop ---- */

static struct MHD_Daemon *start_daemon(struct api *a, int listen_fd)
{
    /* Threads that are made here leave signals to main's. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    struct MHD_Daemon *d = MHD_start_daemon(
        MHD_USE_EPOLL_INTERNALLY | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL, on_request, a,
        MHD_OPTION_LISTEN_SOCKET, listen_fd, MHD_OPTION_THREAD_POOL_SIZE, (unsigned)HTTP_THREADS,
        MHD_OPTION_CONNECTION_LIMIT, a->o.max_connections, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)CONNECTION_MEMORY, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_TIMEOUT_S,
        MHD_OPTION_UNESCAPE_CALLBACK, on_unescape, NULL, MHD_OPTION_URI_LOG_CALLBACK, on_uri, a,
        MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_END);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d;
}

static void api_free(struct api *a)
{
    stream_hub_free(a->streams);
    sessions_free(a->sessions);
    free(a->region);
    free(a);
}

int api_start(struct api **out, const struct api_options *o, char *err, unsigned err_size)
{
    char bound[API_ADDRESS_SIZE];
    bool loopback = false;
    int fd = listen_open(o->address, bound, &loopback, err, err_size);
    if (fd < 0) {
        return fd;
    }
    json_set_alloc_funcs(mem_alloc, free);
    struct api *a = mem_new(1, sizeof *a);
    a->o = *o;
    a->o.address = a->o.region = NULL;
    a->region = mem_strndup(o->region, strlen(o->region));
    memcpy(a->address, bound, sizeof bound);
    a->loopback = loopback;
    a->sessions = sessions_new();
    int failed = stream_hub_new(&a->streams, o->trace, o->max_streams);
    a->daemon = failed == 0 ? start_daemon(a, fd) : NULL;
    if (a->daemon == NULL) {
        /* `fd` is left open: the library may have closed it or not, and the process is about to end. */
        failed = failed != 0 ? failed : -EIO;
        (void)snprintf(err, err_size, "HTTP address %s: the HTTP server did not start", bound);
        stream_hub_stop(a->streams);
        api_free(a);
        return failed;
    }
    log_info("api started", "address=%s", a->address);
    *out = a;
    return 0;
}

const char *api_address(const struct api *a)
{
    return a->address;
}

void api_stop(struct api *a)
{
    if (a == NULL) {
        return;
    }
    stream_hub_stop(a->streams); /* none may be suspended when the daemon stops */
    MHD_stop_daemon(a->daemon);  /* closes the socket */
    log_info("api stopped", "address=%s", a->address);
    api_free(a);
}
