/*
 * A byte stream to a peer: TCP, TLS, WebSocket over either, or in memory for tests.
 * Not blocking. Owned by one loop thread; moved to another loop only while registered nowhere.
 *
 * A layer (TLS, WebSocket, PROXY header) does its handshake inside read(): until it is done, read() gives -EAGAIN. What
 * it must write for itself (a handshake's flight, a pong) waits in the layer: stream_flush().
 */
#ifndef TMQ_NET_STREAM_H
#define TMQ_NET_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/cause.h"
#include "net/addr.h"

struct stream;

/* What a layer knows of why it ended, beyond an errno. */
struct stream_why {
    bool known; /* false: nothing more is to be said */
    enum cause cause;
    unsigned code;  /* TLS alert or WebSocket close code; 0 = none */
    char text[256]; /* in words: "alert certificate_unknown from the peer"; no secret */
};

/* What the layers know of the peer, once its handshake is over; texts live as long as the stream. */
struct stream_told {
    const char *tls_version, *tls_cipher; /* NULL: no TLS */
    char sni[256];                        /* server name that the client asked for; "": none */
    bool certified;                       /* it has shown a certificate, and that is good */
    char subject[256], issuer[256];       /* of that; "": not known */
    int64_t not_after;                    /* its end, seconds since 1970; 0: not known */
    char user[257];                       /* who it is by its certificate, if that is to tell; "" */
    const char *proxy_id, *proxy_link; /* a load balancer's words for the connection; NULL: none */
};

/* A load balancer between us and the client: both addresses. */
struct stream_via {
    union addr_ip client, proxy;
};

struct stream_ops {
    /* Bytes read, 0 at the peer's end of stream, -EAGAIN, or another negative errno; -EPROTO: a layer's rules were
     * broken, stream_why() tells; -EINTR: what came was all the layer's, there may be more. */
    ssize_t (*read)(struct stream *s, void *out, size_t n);
    /* Bytes written, -EAGAIN, or another negative errno. */
    ssize_t (*writev)(struct stream *s, const struct iovec *iov, int count);
    /* What a read would find, taking nothing: positive when there are bytes, else as read. */
    ssize_t (*peek)(struct stream *s);
    /* Closes; `reset` drops what the peer has not received yet. The stream is dead behind it. */
    void (*close)(struct stream *s, bool reset);
    /* Nothing more will be written, and the peer is told so; reading goes on. NULL: only close() can tell. */
    void (*finish)(struct stream *s);
    /* Why we are about to finish it, or close. True: the layer tells its peer, which may close in answer. */
    bool (*ending)(struct stream *s, enum cause cause);
    /* The rest is for layers, NULL in plain streams; call stream_flush() and stream_why(). */
    int (*flush)(struct stream *s);
    void (*why)(const struct stream *s, struct stream_why *out);
    void (*told)(const struct stream *s, struct stream_told *out);
    const char *(*awaits)(
        const struct stream *s);    /* what its handshake waits for; NULL: it is over */
    void (*ping)(struct stream *s); /* asks the peer for a sign of life; stream_flush() sends it */
    const struct stream_via *(*via)(const struct stream *s);
    /* A read or write that did less than was asked says nothing of what is left, or of room: only -EAGAIN does, and
     * `drained`. */
    bool holds_back;
};

struct stream {
    const struct stream_ops *ops;
    int fd;       /* -1 in memory */
    bool drained; /* of a layer that holds back: its last read took all that was there */
    void *state;  /* of the implementation; NULL for TCP */
};

/* Writes what the stream's layers hold for themselves. 0: nothing is left; -EAGAIN; or another negative errno. */
static inline int stream_flush(struct stream *s)
{
    return s->ops->flush == NULL ? 0 : s->ops->flush(s);
}
static inline bool stream_ending(struct stream *s, enum cause cause)
{
    return s->ops->ending != NULL && s->ops->ending(s, cause);
}
/* After read() gave 0 or an error. */
static inline void stream_why(const struct stream *s, struct stream_why *out)
{
    out->known = false;
    if (s->ops->why != NULL) {
        s->ops->why(s, out);
    }
}

static inline void stream_told(const struct stream *s, struct stream_told *out)
{
    *out = (struct stream_told){.tls_version = NULL};
    if (s->ops->told != NULL) {
        s->ops->told(s, out);
    }
}

/* What the lowest layer whose handshake is not over waits for: "a PROXY header"; NULL: nothing. */
static inline const char *stream_awaits(const struct stream *s)
{
    return s->ops->awaits == NULL ? NULL : s->ops->awaits(s);
}

/* As a load balancer said; NULL: none did, or not yet. Lives as long as the stream. */
static inline const struct stream_via *stream_via(const struct stream *s)
{
    return s->ops->via == NULL ? NULL : s->ops->via(s);
}

/* What the kernel knows of a TCP connection; `valid` false when it could not be asked. */
struct stream_info {
    bool valid;
    const char *tcp_state; /* "ESTABLISHED", "CLOSE_WAIT", … */
    uint32_t rtt_us, rttvar_us, retransmits, total_retrans, lost, unacked, unacked_bytes;
};

/* Takes `fd` (not blocking; TCP_NODELAY comes from its listener). */
void stream_tcp_init(struct stream *s, int fd);
void stream_info(const struct stream *s, struct stream_info *out);
/* Of `written` bytes those that the peer's TCP (or its end of a Unix socket) has taken. With layers in between a number that
 * changes when it takes some. */
uint64_t stream_taken(const struct stream *s, uint64_t written);

/* In memory: what is fed is read, what is written is collected. The test owns `m`. */
struct stream_mem {
    const uint8_t *in;
    size_t in_len, in_at;
    size_t read_limit; /* bytes a read gives at most; 0 = no limit */
    int in_end;        /* behind the bytes: 0 = -EAGAIN, 1 = end of stream, negative = that error */
    int write_error;   /* negative: writes fail so */
    bool write_limited;
    size_t write_room; /* when limited: bytes that are still taken, then -EAGAIN */
    uint8_t *out;      /* malloc'ed, the test frees it */
    size_t out_len;
    bool finished, closed;
};
void stream_mem_init(struct stream *s, struct stream_mem *m);

#endif
