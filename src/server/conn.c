/*
 * The life of a connection on its worker: made by accept.c, read and decoded here, written once per round, ended by
 * ending.c; what time does to it: conn_time.c.
 *
 * Reading: edge-triggered, so CONN_READABLE remembers that the kernel may have more. One round gives each socket 64 KiB
 * at most; who has more goes to worker->ready, and so does who has packets left when the round's work is done (CONN_BEHIND). Before CONNECT is accepted bytes stay in conn->in (they name the client);
 * behind that they are decoded where they were read, and only an incomplete packet is kept.
 *
 * A write error, EPOLLERR or a hang-up never ends a channel by itself: it is read to the end or to an error first, so that
 * a DISCONNECT that raced our write is told as what it was.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/server_priv.h"

enum { IN_CHUNK = 4096, LINGER_READS = 4, EARLY_FLUSH_BYTES = 48 * 1024, MAX_IOV = 32 };

static void on_io(struct loop_io *io, uint32_t events);

struct conn *conn_new(struct worker *w, const struct stream *stream,
                      const struct sockaddr_storage *peer, struct listener *l)
{
    struct conn *c = mem_new(1, sizeof *c);
    c->w = w;
    c->stream = *stream;
    c->io = (struct loop_io){.fd = -1, .on_io = on_io};
    c->listener = l;
    if (peer != NULL) {
        memcpy(&c->peer, peer, sizeof c->peer);
    }
    timer_init(&c->timer, conn_on_timer);
    list_init(&c->all);
    list_init(&c->dirty);
    list_init(&c->queue);
    channel_id_new(c->channel);
    c->accepted_us = loop_wall_us(w->loop);
    c->last_in_ms = c->last_out_ms = loop_now_ms(w->loop);
    count_add(&w->count.connections, 1);
    count_add(&w->count.opened, 1);
    return c;
}

void conn_free(struct conn *c)
{
    assert(c->state == CONN_ENDED && c->holds == 0 && c->ending == NULL);
    struct worker *w = c->w;
    for (unsigned i = 0; i < c->ref_count; i++) {
        message_unref(c->refs[i].msg);
    }
    free(c->refs);
    free(c->assigned_id);
    free(c->proven_user);
    worker_buf_give(w, &c->out);
    buf_fini(&c->in);
    if (c->pub != NULL) {
        free(c->pub->acks);
        free(c->pub);
    }
    if (c->v5 != NULL) {
        exchange_free(c->v5->exchange);
        aliases_free(c->v5->aliases);
        free(c->v5);
    }
    auth_identity_unref(c->identity);
    list_del(&c->all);
    list_del(&c->queue);
    count_sub(&w->count.connections, 1);
    atomic_fetch_sub_explicit(&w->server->connections, 1, memory_order_relaxed);
    if (c->listener != NULL) {
        atomic_fetch_sub_explicit(&c->listener->connections, 1, memory_order_relaxed);
    }
    if ((c->flags & (CONN_COUNTED | CONN_COUNTED_OTHER)) != 0) {
        bool own = (c->flags & CONN_COUNTED) != 0;
        sources_leave(w->server->sources, &c->peer.sa, own ? SOURCE_OWN : SOURCE_OTHER);
    }
    free(c);
}

void conn_hold(struct conn *c)
{
    c->holds++;
}

void conn_unhold(struct conn *c)
{
    assert(c->holds > 0);
    c->holds--;
}

void conn_start(struct conn *c)
{
    struct worker *w = c->w;
    list_push(&w->conns, &c->all);
    uint64_t due = c->last_in_ms + w->server->config->connect_timeout_ms;
    loop_timer_set(w->loop, &c->timer, due);
    if (c->stream.fd >= 0) {
        c->io.fd = c->stream.fd;
        if (loop_add(w->loop, &c->io, false) != 0) {
            c->io.fd = -1;
            conn_end(c, CAUSE_SERVER_INTERNAL, NULL);
        }
    }
}

void conn_turn_away(struct conn *c, enum cause cause, const struct evidence *e)
{
    list_push(&c->w->conns, &c->all); /* a stop waits for its record */
    conn_end(c, cause, e);
}

/* ---- reading ---- */

static enum cause errno_cause(int err)
{
    switch (err) {
    case ECONNRESET:
    case EPIPE:
        return CAUSE_PEER_RESET;
    case ETIMEDOUT:
        return CAUSE_PEER_TIMEOUT;
    case EHOSTUNREACH:
    case ENETUNREACH:
    case ENETDOWN:
    case EHOSTDOWN:
        return CAUSE_PEER_UNREACHABLE;
    default:
        return CAUSE_PEER_IO_ERROR;
    }
}

/*
 * What a layer says of its end goes into the evidence. True: it also says the cause. A layer that ended in good order
 * before CONNECT was there is told as an empty or incomplete handshake.
 */
static bool layer_cause(const struct conn *c, struct evidence *e, enum cause *cause)
{
    struct stream_why why;
    stream_why(&c->stream, &why);
    if (!why.known) {
        return false;
    }
    if (why.text[0] != '\0') {
        evidence_str(e, EV_TEXT, why.text);
    }
    if (why.code != 0) {
        evidence_u64(e, EV_LAYER_CODE, why.code);
    }
    *cause = why.cause;
    enum cause_description d = cause_info(why.cause)->description;
    return c->state != CONN_HANDSHAKE || d == DESC_UNIDENTIFIED || d == DESC_NOT_AUTHORIZED ||
           d == DESC_INVALID_PARAM;
}

static void end_by_errno(struct conn *c, int err)
{
    struct evidence e;
    enum cause cause;
    evidence_init(&e);
    if (err != EPROTO) { /* a layer's own: it has words */
        evidence_str(&e, EV_ERRNO, strerrorname_np(err));
    }
    if (layer_cause(c, &e, &cause)) {
        conn_end(c, cause, &e);
    } else if (c->state == CONN_HANDSHAKE && buf_len(&c->in) == 0) {
        conn_end(c, CAUSE_HANDSHAKE_EMPTY, &e);
    } else if (c->state == CONN_HANDSHAKE) {
        conn_end(c, CAUSE_HANDSHAKE_INCOMPLETE, &e);
    } else {
        conn_end(c, errno_cause(err), &e);
    }
}

static void end_by_eof(struct conn *c)
{
    struct evidence e;
    enum cause cause;
    evidence_init(&e);
    c->flags |= CONN_SAW_EOF;
    if (!layer_cause(c, &e, &cause)) {
        cause = c->state != CONN_HANDSHAKE ? CAUSE_PEER_FIN
                : buf_len(&c->in) == 0     ? CAUSE_HANDSHAKE_EMPTY
                                           : CAUSE_HANDSHAKE_INCOMPLETE;
    }
    conn_end(c, cause, &e);
}

/* A pause is over when a write failed: then only reading tells why. */
static bool may_decode(const struct conn *c)
{
    bool paused = ((c->flags & CONN_PAUSED) != 0 && (c->flags & CONN_WRITE_DEAD) == 0) ||
                  (c->flags & CONN_BEHIND) != 0;
    bool reads = c->state == CONN_OPEN || c->state == CONN_HANDSHAKE || c->state == CONN_EXCHANGE;
    return reads && !paused;
}

static void take_turn(struct conn *c)
{
    list_del(&c->queue);
    list_push(&c->w->ready, &c->queue);
}

/* The round's work is done: the rest is for its turn in a later one. */
static bool falls_behind(struct conn *c)
{
    if (c->state != CONN_OPEN || c->w->work < ROUND_WORK) {
        return false;
    }
    c->flags |= CONN_BEHIND;
    take_turn(c);
    return true;
}

/* In no queue: conn_flush() puts it into one when they have gone. */
static void pause_for_answers(struct conn *c)
{
    c->flags |= CONN_PAUSED;
    list_del(&c->queue);
}

/* Handles whole packets at the start of `in`; returns the bytes they took. */
static size_t decode(struct conn *c, struct slice in)
{
    size_t used = 0;
    uint32_t max = conn_max_packet(c);
    while (used < in.n && may_decode(c) && !falls_behind(c)) {
        struct slice rest = slice_from(in, used);
        struct mqtt_frame f;
        struct mqtt_error err;
        if (c->state == CONN_HANDSHAKE && !connect_first_byte(c, rest)) {
            break;
        }
        long n = mqtt_frame(rest, max, &f, &err);
        if (n < 0) {
            conn_end_bad(c, &err, NULL, rest);
            break;
        }
        if (n == 0) {
            break;
        }
        c->packets_in++;
        c->last_in_type = (uint8_t)f.type;
        count_add(&c->w->count.packets_in[(unsigned)f.type & 15], 1);
        struct slice whole = slice_make(rest.p, (size_t)n);
        if (c->state == CONN_HANDSHAKE) {
            connect_handle(c, &f, whole);
            break; /* the CONNECT stays in conn->in until it is accepted */
        }
        used += (size_t)n;
        packet_handle(c, &f, whole);
        if (c->state == CONN_OPEN && conn_answers_wait(c)) {
            pause_for_answers(c);
        }
    }
    return used;
}

/* One read into the connection's own buffer: the handshake, or the rest of a packet. */
static ssize_t read_own(struct conn *c, size_t *asked)
{
    size_t want = buf_len(&c->in) > IN_CHUNK ? READ_BYTES : IN_CHUNK;
    uint8_t *p = buf_reserve(&c->in, want);
    *asked = want;
    ssize_t n = c->stream.ops->read(&c->stream, p, want);
    if (n > 0) {
        buf_commit(&c->in, (size_t)n);
    }
    return n;
}

static void decode_own(struct conn *c)
{
    if (c->state == CONN_EXCHANGE) {
        exchange_decode(c);
        return;
    }
    size_t used = decode(c, buf_slice(&c->in));
    if (used > 0) {
        buf_take(&c->in, used);
    }
    if (buf_len(&c->in) == 0 && c->state == CONN_OPEN) {
        buf_fini(&c->in);
    }
}

void conn_decode_rest(struct conn *c)
{
    if (buf_len(&c->in) > 0 && c->state == CONN_OPEN) {
        decode_own(c);
    }
}

static ssize_t read_shared(struct conn *c, size_t *asked)
{
    struct worker *w = c->w;
    *asked = sizeof w->read_buf;
    ssize_t n = c->stream.ops->read(&c->stream, w->read_buf, sizeof w->read_buf);
    if (n > 0) {
        size_t used = decode(c, slice_make(w->read_buf, (size_t)n));
        if (used < (size_t)n && c->state == CONN_OPEN) {
            buf_put(&c->in, w->read_buf + used, (size_t)n - used);
        }
    }
    return n;
}

static void note_read(struct conn *c, size_t n)
{
    c->last_in_ms = loop_now_ms(c->w->loop);
    c->suppressed_ms = 0;
    c->bytes_in += n;
    count_add(&c->w->count.bytes_in, n);
}

static void write_blocked(struct conn *c);
static void write_failed(struct conn *c, int err);

/* What a layer has to say for itself: a handshake's answer, a pong. */
static void flush_layers(struct conn *c)
{
    if (c->stream.ops->flush == NULL || (c->flags & (CONN_WRITE_BLOCKED | CONN_WRITE_DEAD)) != 0) {
        return;
    }
    int err = stream_flush(&c->stream);
    if (err == -EAGAIN) {
        write_blocked(c);
    } else if (err != 0) {
        write_failed(c, -err);
    }
}

/* False when nothing more is to be read now. */
static bool read_once(struct conn *c, size_t *left)
{
    size_t asked;
    bool shared = c->state == CONN_OPEN && buf_len(&c->in) == 0;
    uint64_t silent_since = c->last_in_ms;
    c->last_in_ms = loop_now_ms(c->w->loop); /* what is decoded now was not silent */
    ssize_t n = shared ? read_shared(c, &asked) : read_own(c, &asked);
    if (n <= 0) {
        c->last_in_ms = silent_since;
    } else {
        note_read(c, (size_t)n);
    }
    if (c->state == CONN_ENDED || (c->state == CONN_HANDSHAKE && !listener_client(c))) {
        return false;
    }
    flush_layers(c);
    if (n == -EAGAIN) {
        c->flags &= (uint16_t)~CONN_READABLE;
        if ((c->flags & CONN_WRITE_DEAD) != 0) {
            end_by_errno(c, c->write_errno);
        }
        return false;
    }
    if (n == -EINTR) {
        *left = 0; /* nothing for us: others first */
        return true;
    }
    if (n == 0) {
        end_by_eof(c);
        return false;
    }
    if (n < 0) {
        end_by_errno(c, (int)-n);
        return false;
    }
    if (!shared) {
        decode_own(c);
    }
    bool drained = c->stream.ops->holds_back ? c->stream.drained : (size_t)n < asked;
    if (drained && (c->flags & (CONN_HUNG_UP | CONN_WRITE_DEAD)) == 0) {
        c->flags &= (uint16_t)~CONN_READABLE; /* drained: the next edge tells */
        return false;
    }
    *left = *left > (size_t)n ? *left - (size_t)n : 0;
    return true;
}

/* What a pause or the end of a round left. That we did not listen is not the client's silence. */
static void catch_up(struct conn *c)
{
    if ((c->flags & CONN_BEHIND) != 0) {
        c->flags &= (uint16_t)~CONN_BEHIND;
        c->last_in_ms = loop_now_ms(c->w->loop);
    }
    conn_decode_rest(c);
}

void conn_read(struct conn *c)
{
    size_t left = READ_BYTES;
    if ((c->flags & (CONN_WRITE_DEAD | CONN_BEHIND)) != 0) {
        catch_up(c);
    }
    while (may_decode(c) && (c->flags & CONN_READABLE) != 0 && !falls_behind(c)) {
        if (c->state == CONN_OPEN && route_full(c->w)) {
            conn_pause(c);
            return;
        }
        if (left == 0) {
            take_turn(c);
            return;
        }
        if (!read_once(c, &left)) {
            return;
        }
    }
}

void conn_pause(struct conn *c)
{
    c->flags |= CONN_PAUSED;
    list_del(&c->queue);
    list_push(&c->w->paused, &c->queue);
}

void conn_resume(struct conn *c)
{
    uint64_t now = loop_now_ms(c->w->loop);
    if (acks_full(c)) {
        conn_pause(c); /* still */
        return;
    }
    if (conn_answers_wait(c)) {
        pause_for_answers(c);
        return;
    }
    if (rate_ready_ms(c) > now) {
        rate_throttle(c);
        return;
    }
    c->flags &= (uint16_t)~CONN_PAUSED;
    c->suppressed_ms += (uint32_t)(now - c->last_in_ms);
    c->last_in_ms = now; /* silence that we chose is not the client's */
    list_del(&c->queue);
    catch_up(c);
    conn_read(c);
}

/* While a password is being checked nothing is read; but a client that left without having sent more is gone. */
static void peek_end(struct conn *c)
{
    ssize_t n = c->stream.ops->peek(&c->stream);
    if (n == 0) {
        end_by_eof(c);
    } else if (n < 0 && n != -EAGAIN) {
        end_by_errno(c, (int)-n);
    }
}

/* It said DISCONNECT: its own close ends the connection without a TIME_WAIT of ours. */
static void linger_read(struct conn *c)
{
    ssize_t n = 1;
    for (int i = 0; i < LINGER_READS && n > 0; i++) {
        n = c->stream.ops->read(&c->stream, c->w->discard_buf, sizeof c->w->discard_buf);
    }
    if (n != -EAGAIN) { /* its end, or it goes on sending */
        conn_linger_end(c);
    }
}

static void on_io(struct loop_io *io, uint32_t events)
{
    struct conn *c = LIST_ENTRY(io, struct conn, io);
    if (c->state == CONN_ENDED) {
        linger_read(c);
        return;
    }
    if ((events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        c->flags |= CONN_HUNG_UP | CONN_READABLE;
        if (c->state == CONN_AUTH || c->state == CONN_HELD) {
            peek_end(c);
            return;
        }
    }
    if ((events & EPOLLOUT) != 0 && (c->flags & CONN_WRITE_BLOCKED) != 0) {
        c->flags &= (uint16_t)~CONN_WRITE_BLOCKED;
        if (c->stream.ops->flush != NULL) {
            c->flags |= CONN_READABLE; /* its handshake may go on */
            flush_layers(c);
        }
        conn_flush(c);
        if (c->state == CONN_OPEN) {
            session_pump(c);
        }
    }
    if ((events & EPOLLIN) != 0) {
        c->flags |= CONN_READABLE;
    }
    if ((c->flags & CONN_BEHIND) == 0) { /* else it has its turn */
        conn_read(c);
    }
}

/* ---- writing ---- */

void conn_dirty(struct conn *c)
{
    if (list_empty(&c->dirty)) {
        list_push(&c->w->dirty, &c->dirty);
    }
    if (buf_len(&c->out) > EARLY_FLUSH_BYTES) {
        conn_flush(c);
    }
}

void conn_put_payload(struct conn *c, struct message *m)
{
    if ((c->ref_count & (c->ref_count - 1)) == 0) {
        size_t cap = c->ref_count == 0 ? 1 : (size_t)c->ref_count * 2;
        c->refs = mem_realloc(c->refs, cap * sizeof *c->refs);
    }
    message_ref(m);
    c->refs[c->ref_count++] =
        (struct out_ref){.msg = m, .at = c->out_taken + buf_len(&c->out), .done = 0};
    c->ref_bytes += m->payload_len;
}

/* The next pieces of the output in order: bytes of `out`, payloads between them. */
static int gather(const struct conn *c, struct iovec *iov)
{
    int n = 0;
    uint64_t at = 0, len = buf_len(&c->out);
    uint8_t *p = c->out.p + c->out.start;
    unsigned i = 0;
    for (; i < c->ref_count && n < MAX_IOV - 2; i++) {
        const struct out_ref *r = &c->refs[i];
        uint64_t until = r->at - c->out_taken;
        if (until > at) {
            iov[n++] = (struct iovec){.iov_base = p + at, .iov_len = until - at};
            at = until;
        }
        struct slice payload = slice_from(message_payload(r->msg), r->done);
        iov[n++] = (struct iovec){.iov_base = r->msg->bytes + r->msg->topic_len + r->done,
                                  .iov_len = payload.n};
    }
    if (at < len && i == c->ref_count) {
        iov[n++] = (struct iovec){.iov_base = p + at, .iov_len = len - at};
    }
    return n;
}

/* The first of the references are written: the others move up, once for each write and not for each of them. */
static void drop_refs(struct conn *c, unsigned count)
{
    for (unsigned i = 0; i < count; i++) {
        message_unref(c->refs[i].msg);
    }
    if (count == c->ref_count) {
        free(c->refs);
        c->refs = NULL;
    } else if (count > 0) {
        memmove(c->refs, c->refs + count, (c->ref_count - count) * sizeof *c->refs);
    }
    c->ref_count = (uint16_t)(c->ref_count - count);
}

/* Counts `n` written bytes against the output. */
static void written(struct conn *c, size_t n)
{
    unsigned whole = 0;
    while (n > 0) {
        struct out_ref *r = whole < c->ref_count ? &c->refs[whole] : NULL;
        uint64_t until = r != NULL ? r->at - c->out_taken : buf_len(&c->out);
        size_t step = n < until ? n : (size_t)until;
        buf_take(&c->out, step);
        c->out_taken += step;
        n -= step;
        if (n == 0 || r == NULL) {
            break;
        }
        uint32_t left = r->msg->payload_len - r->done;
        uint32_t part = n < left ? (uint32_t)n : left;
        r->done += part;
        c->ref_bytes -= part;
        n -= part;
        if (r->done < r->msg->payload_len) {
            break;
        }
        whole++;
    }
    drop_refs(c, whole);
}

static void write_failed(struct conn *c, int err)
{
    c->flags |= CONN_WRITE_DEAD | CONN_READABLE;
    c->write_errno = (int8_t)(err < 127 ? err : EIO);
    take_turn(c); /* reading tells why it ended */
}

/* The edge will tell when there is room; from the first time on. */
static void write_blocked(struct conn *c)
{
    c->flags |= CONN_WRITE_BLOCKED;
    if ((c->flags & CONN_WATCHED) == 0 && c->state == CONN_OPEN) {
        conn_watch(c);
    }
    if ((c->flags & CONN_WANTS_WRITE) == 0 && c->io.fd >= 0) {
        c->flags |= CONN_WANTS_WRITE;
        loop_want_write(c->w->loop, &c->io);
    }
}

void conn_flush(struct conn *c)
{
    struct worker *w = c->w;
    while ((buf_len(&c->out) > 0 || c->ref_count > 0) &&
           (c->flags & (CONN_WRITE_BLOCKED | CONN_WRITE_DEAD)) == 0 && c->state != CONN_ENDED) {
        struct iovec iov[MAX_IOV];
        int count = gather(c, iov);
        size_t asked = 0;
        for (int i = 0; i < count; i++) {
            asked += iov[i].iov_len;
        }
        ssize_t n = c->stream.ops->writev(&c->stream, iov, count);
        if (n == -EAGAIN) {
            write_blocked(c);
            break;
        }
        if (n < 0) {
            write_failed(c, (int)-n);
            break;
        }
        c->bytes_out += (size_t)n;
        c->last_out_ms = loop_now_ms(w->loop);
        count_add(&w->count.bytes_out, (size_t)n);
        written(c, (size_t)n);
        if ((size_t)n < asked && !c->stream.ops->holds_back) {
            write_blocked(c); /* a layer takes a piece at a time, and says -EAGAIN */
        }
    }
    if (buf_len(&c->out) == 0 && c->ref_count == 0) {
        worker_buf_give(w, &c->out);
        list_del(&c->dirty);
        if (c->state != CONN_ENDED) {
            flush_layers(c); /* what waited for a frame's end */
        }
    } else if ((c->flags & CONN_WRITE_DEAD) != 0) {
        buf_clear(&c->out);
    }
    bool waited =
        (c->flags & (CONN_PAUSED | CONN_THROTTLED)) == CONN_PAUSED && list_empty(&c->queue);
    if (waited && c->state == CONN_OPEN && !conn_answers_wait(c)) {
        conn_pause(c); /* until it is its turn */
    }
}
