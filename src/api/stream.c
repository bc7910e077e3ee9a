/*
 * Live tails as server-sent events. A stream without news is a suspended connection: it costs a descriptor and
 * wakes for a heartbeat only. What it sends is always read from the trace, from the position it has reached,
 * a page at a time: a slow reader is behind in the store, never in RAM.
 *
 *   commit thread: visible ─► eventfd ─► hub thread: resume who is behind ─► HTTP thread: stream_read, suspend
 *
 * A stream is suspended only under the lock and after it saw that nothing newer is visible; the hub's thread
 * resumes under the same lock: no wake-up is lost. `after` belongs to the HTTP thread while the stream runs and
 * is read by the hub's thread while it is suspended.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "base/clock.h"
#include "base/list.h"
#include "base/mem.h"
#include "trace/trace.h"

enum { HEARTBEAT_MS = 15000, PAGE_ROWS = 32, STOP_WAIT_S = 2, CLIENT_ID_BYTES_MAX = 65535 };

struct stream_hub {
    struct trace *trace;
    unsigned max;
    int wake_fd;
    pthread_t thread;
    _Atomic unsigned count;
    _Atomic bool woken; /* wake_fd was written and not read yet */
    pthread_mutex_t lock;
    pthread_cond_t emptied; /* count became 0 */
    bool closing;           /* under lock */
    struct list streams;    /* under lock */
};

struct stream {
    struct list link;
    struct stream_hub *hub;
    struct MHD_Connection *conn;
    char *instance, *client_id;
    size_t client_id_n;
    uint64_t after; /* seq of the last record that was looked at */
    uint64_t heartbeat_at_ms;
    bool suspended; /* under lock */
    struct buf out; /* at most one page */
};

/* ---- the hub: who is woken when ---- */

/* Commit thread and others; costs a write only when there is a stream and no wake-up under way. */
static void wake(void *arg)
{
    struct stream_hub *h = arg;
    uint64_t one = 1;
    if (atomic_load(&h->count) == 0 || atomic_exchange(&h->woken, true)) {
        return;
    }
    ssize_t n = write(h->wake_fd, &one, sizeof one);
    assert(n == (ssize_t)sizeof one);
}

/* With the lock. */
static void resume(struct stream *s)
{
    s->suspended = false;
    MHD_resume_connection(s->conn);
}

/* With the lock: resumes who is behind or due; ms until the next heartbeat, -1 when there is none. */
static int resume_due(struct stream_hub *h)
{
    uint64_t last = list_empty(&h->streams) ? 0 : trace_last_seq(h->trace);
    uint64_t now = clock_mono_ms();
    uint64_t next = UINT64_MAX;
    for (struct list *l = h->streams.next; l != &h->streams; l = l->next) {
        struct stream *s = LIST_ENTRY(l, struct stream, link);
        if (!s->suspended) {
            continue;
        }
        if (h->closing || s->after < last || now >= s->heartbeat_at_ms) {
            resume(s);
        } else if (s->heartbeat_at_ms < next) {
            next = s->heartbeat_at_ms;
        }
    }
    return next == UINT64_MAX ? -1 : (int)(next - now);
}

static void *hub_main(void *arg)
{
    struct stream_hub *h = arg;
    bool closing = false;
    int timeout = -1;
    while (!closing) {
        struct pollfd p = {.fd = h->wake_fd, .events = POLLIN};
        uint64_t n;
        if (poll(&p, 1, timeout) > 0) {
            ssize_t got = read(h->wake_fd, &n, sizeof n);
            assert(got > 0 || errno == EAGAIN || errno == EINTR);
        }
        atomic_store(&h->woken, false);
        pthread_mutex_lock(&h->lock);
        closing = h->closing;
        timeout = resume_due(h);
        pthread_mutex_unlock(&h->lock);
    }
    return NULL;
}

int stream_hub_new(struct stream_hub **out, struct trace *t, unsigned max_streams)
{
    struct stream_hub *h = mem_new(1, sizeof *h);
    sigset_t all, before;
    h->trace = t;
    h->max = max_streams;
    h->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->wake_fd < 0) {
        int err = -errno;
        free(h);
        return err;
    }
    pthread_mutex_init(&h->lock, NULL);
    pthread_cond_init(&h->emptied, NULL);
    list_init(&h->streams);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int failed = pthread_create(&h->thread, NULL, hub_main, h);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (failed != 0) {
        h->closing = true;
        stream_hub_free(h);
        return -failed;
    }
    trace_on_commit(t, wake, h);
    *out = h;
    return 0;
}

static void wait_emptied(struct stream_hub *h)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_WAIT_S;
    while (atomic_load(&h->count) > 0 &&
           pthread_cond_timedwait(&h->emptied, &h->lock, &until) == 0) {
    }
}

void stream_hub_stop(struct stream_hub *h)
{
    uint64_t one = 1;
    if (h == NULL || h->closing) {
        return;
    }
    trace_on_commit(h->trace, NULL, NULL);
    pthread_mutex_lock(&h->lock);
    h->closing = true;
    pthread_mutex_unlock(&h->lock);
    ssize_t n = write(h->wake_fd, &one, sizeof one);
    assert(n == (ssize_t)sizeof one);
    pthread_join(h->thread, NULL); /* its last round has resumed all */
    pthread_mutex_lock(&h->lock);
    wait_emptied(h);
    pthread_mutex_unlock(&h->lock);
}

void stream_hub_free(struct stream_hub *h)
{
    if (h == NULL) {
        return;
    }
    assert(h->closing && list_empty(&h->streams));
    (void)close(h->wake_fd);
    pthread_cond_destroy(&h->emptied);
    pthread_mutex_destroy(&h->lock);
    free(h);
}

unsigned stream_hub_count(struct stream_hub *h)
{
    return atomic_load(&h->count);
}

/* ---- one stream: HTTP thread ---- */

static void put_text(struct stream *s, const char *text)
{
    buf_put(&s->out, text, strlen(text));
}

static void put_event(struct stream *s, const struct record *r)
{
    char head[64];
    bool gap = (r->flags & RECORD_GAP) != 0;
    json_t *item = gap ? json_gap_record(r) : json_record(r);
    char *data = json_dumps(item, JSON_COMPACT | JSON_ENSURE_ASCII);
    assert(data != NULL);
    (void)snprintf(head, sizeof head, "id: %" PRIu64 "\nevent: %s\ndata: ", r->seq,
                   gap ? "gap" : "trace");
    put_text(s, head);
    put_text(s, data);
    put_text(s, "\n\n");
    free(data);
    json_decref(item);
}

/* Puts the next page of news into `out`. */
static int stream_fill(struct stream *s)
{
    struct trace_page page;
    /* Asked before the query, so that what it does not find up to here does not exist. */
    uint64_t last = trace_last_seq(s->hub->trace);
    int failed = trace_follow(s->hub->trace, slice_str(s->instance),
                              slice_make(s->client_id, s->client_id_n), s->after, PAGE_ROWS, &page);
    if (failed != 0) {
        return failed;
    }
    for (size_t i = 0; i < page.count; i++) {
        put_event(s, &page.rows[i]);
        s->after = page.rows[i].seq;
    }
    if (page.count < PAGE_ROWS && s->after < last) {
        s->after = last;
    }
    trace_page_fini(&page);
    return 0;
}

static bool peer_is_gone(const struct stream *s)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(s->conn, MHD_CONNECTION_INFO_CONNECTION_FD);
    char byte;
    return recv(info->connect_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

/* Nothing to send: sleeps until there is. False when there is now, after all, or the hub closes. */
static bool stream_suspend(struct stream *s)
{
    struct stream_hub *h = s->hub;
    pthread_mutex_lock(&h->lock);
    bool sleep = !h->closing && trace_last_seq(h->trace) <= s->after;
    if (sleep) {
        s->suspended = true;
        MHD_suspend_connection(s->conn);
    }
    pthread_mutex_unlock(&h->lock);
    return sleep;
}

static bool hub_closes(struct stream_hub *h)
{
    pthread_mutex_lock(&h->lock);
    bool closing = h->closing;
    pthread_mutex_unlock(&h->lock);
    return closing;
}

static ssize_t stream_read(void *cls, uint64_t pos, char *out, size_t max)
{
    struct stream *s = cls;
    (void)pos;
    while (buf_len(&s->out) == 0) {
        uint64_t now = clock_mono_ms();
        if (hub_closes(s->hub) || stream_fill(s) != 0) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (buf_len(&s->out) == 0 && peer_is_gone(s)) {
            return MHD_CONTENT_READER_END_OF_STREAM;
        }
        if (buf_len(&s->out) == 0 && now >= s->heartbeat_at_ms) {
            put_text(s, ":\n\n");
        }
        if (buf_len(&s->out) > 0) {
            s->heartbeat_at_ms = now + HEARTBEAT_MS;
        } else if (stream_suspend(s)) {
            wake(s->hub); /* it has a heartbeat to wait for */
            return 0;
        }
    }
    size_t n = buf_len(&s->out) < max ? buf_len(&s->out) : max;
    memcpy(out, s->out.p + s->out.start, n);
    buf_take(&s->out, n);
    return (ssize_t)n;
}

/* The connection is over. */
static void stream_free(void *cls)
{
    struct stream *s = cls;
    struct stream_hub *h = s->hub;
    pthread_mutex_lock(&h->lock);
    list_del(&s->link);
    if (atomic_fetch_sub(&h->count, 1) == 1) {
        pthread_cond_signal(&h->emptied);
    }
    pthread_mutex_unlock(&h->lock);
    buf_fini(&s->out);
    free(s->client_id);
    free(s->instance);
    free(s);
}

/* NULL when there are as many as there may be. */
static struct stream *stream_new(struct request *rq, struct slice client_id, uint64_t after)
{
    struct stream_hub *h = rq->api->streams;
    struct stream *s = mem_new(1, sizeof *s);
    s->hub = h;
    s->conn = rq->conn;
    s->after = after;
    s->heartbeat_at_ms = clock_mono_ms() + HEARTBEAT_MS;
    pthread_mutex_lock(&h->lock);
    bool full = h->closing || atomic_load(&h->count) >= h->max;
    if (!full) {
        atomic_fetch_add(&h->count, 1);
        list_push(&h->streams, &s->link);
    }
    pthread_mutex_unlock(&h->lock);
    if (full) {
        free(s);
        return NULL;
    }
    s->instance = mem_strndup(rq->instance.id, strlen(rq->instance.id));
    s->client_id = mem_strndup(client_id.p, client_id.n);
    s->client_id_n = client_id.n;
    put_text(s, ": open\nretry: 3000\n\n"); /* at once, so that the reader knows */
    return s;
}

/* Where to begin: behind Last-Event-ID, else behind what is visible now. */
static uint64_t read_position(struct request *rq)
{
    const char *id = request_header(rq, "Last-Event-ID");
    uint64_t last = trace_last_seq(rq->api->o.trace);
    if (id == NULL || id[0] == '\0') {
        return last;
    }
    char *end;
    errno = 0;
    unsigned long long v = strtoull(id, &end, 10);
    if (id[0] < '0' || id[0] > '9' || *end != '\0' || errno != 0) {
        problem_set(&rq->params.problem, 400, "Last-Event-ID",
                    "Last-Event-ID is %.40s, expected the id of an event", id);
    }
    return v < last ? v : last;
}

void handle_stream(struct request *rq)
{
    struct slice client_id = params_text(&rq->params, "clientId", CLIENT_ID_BYTES_MAX);
    uint64_t after = read_position(rq);
    if (!request_params_done(rq)) {
        return;
    }
    struct stream *s = stream_new(rq, client_id, after);
    if (s == NULL) {
        reply_error(rq, 503, NULL, "there are %u event streams already", rq->api->o.max_streams);
        reply_header(rq, "Retry-After", "5");
        return;
    }
    reply_response(rq, 200,
                   MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16 * 1024, stream_read, s,
                                                     stream_free));
    reply_header(rq, MHD_HTTP_HEADER_CONTENT_TYPE, "text/event-stream; charset=utf-8");
    reply_header(rq, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    reply_header(rq, "X-Accel-Buffering", "no");
}
