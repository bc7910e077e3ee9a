/*
 * A byte stream to a peer: TCP, or in memory for tests; TLS and WebSocket will stand behind the same calls.
 * Not blocking. Owned by one loop thread; moved to another loop only while registered nowhere.
 */
#ifndef TMQ_NET_STREAM_H
#define TMQ_NET_STREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

struct stream;

struct stream_ops {
    /* Bytes read, 0 at the peer's end of stream, -EAGAIN, or another negative errno. */
    ssize_t (*read)(struct stream *s, void *out, size_t n);
    /* Bytes written, -EAGAIN, or another negative errno. */
    ssize_t (*writev)(struct stream *s, const struct iovec *iov, int count);
    /* What a read would find, taking nothing: positive when there are bytes, else as read. */
    ssize_t (*peek)(struct stream *s);
    /* Closes; `reset` drops what the peer has not received yet. The stream is dead behind it. */
    void (*close)(struct stream *s, bool reset);
};

struct stream {
    const struct stream_ops *ops;
    int fd;      /* -1 in memory */
    void *state; /* of the implementation; NULL for TCP */
};

/* What the kernel knows of a TCP connection; `valid` false when it could not be asked. */
struct stream_info {
    bool valid;
    const char *tcp_state; /* "ESTABLISHED", "CLOSE_WAIT", … */
    uint32_t rtt_us, rttvar_us, retransmits, total_retrans, lost, unacked, unacked_bytes;
};

/* Takes `fd` (not blocking; TCP_NODELAY comes from its listener). */
void stream_tcp_init(struct stream *s, int fd);
void stream_info(const struct stream *s, struct stream_info *out);

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
    bool closed;
};
void stream_mem_init(struct stream *s, struct stream_mem *m);

#endif
