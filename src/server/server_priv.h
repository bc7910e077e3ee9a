/*
 * What the files of server/ share: a worker (one loop thread with its connections and sessions), a connection, the
 * mail between workers.
 *
 * A connection belongs to one worker at a time. It is freed at the end of a round once it has ended, its record is in the
 * ring, and nobody holds it (`holds`: mails, batches and authentication jobs that will still name it).
 */
#ifndef TMQ_SERVER_SERVER_PRIV_H
#define TMQ_SERVER_SERVER_PRIV_H

#include <netinet/in.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "auth/auth.h"
#include "base/buf.h"
#include "base/list.h"
#include "base/mailbox.h"
#include "base/qsbr.h"
#include "broker/message.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/topics.h"
#include "mqtt/packet.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/stream.h"
#include "server/config.h"
#include "server/server.h"
#include "trace/record.h"
#include "trace/trace.h"

enum {
    READ_BYTES = 64 * 1024,
    SMALL_PAYLOAD = 1024, /* up to here copying beats a reference and an iovec */
    OUT_REFS_MAX = 32 * 1024,
    SPARE_BYTES_MAX = 8 * 1024 * 1024
};

struct worker;

enum conn_state {
    CONN_HANDSHAKE, /* CONNECT not complete */
    CONN_AUTH,      /* a worker thread checks the password; reading is off */
    CONN_HELD,      /* authenticated; waits for room in the ring before its CONNACK */
    CONN_OPEN,      /* CONNACK 0 was decided: a `connect` record exists */
    CONN_ENDED      /* the cause is decided; nothing is read or written any more */
};

/* A large payload that stands in the output behind `at` bytes, referenced, not copied. */
struct out_ref {
    struct message *msg;
    uint64_t at;   /* position in the output stream, see conn->out_taken */
    uint32_t done; /* bytes of the payload that are written */
};

/* An acknowledgement that waits for its turn or for the store. [MQTT-4.6.0-2] */
struct pending_ack {
    uint16_t packet_id;
    uint8_t type;     /* MQTT_PUBACK or MQTT_PUBREC */
    uint16_t waiting; /* stores that have not answered */
};

/* What only publishers need. */
struct publisher {
    struct pending_ack *acks; /* ring */
    uint32_t cap, head, tail; /* numbers that grow */
    uint64_t topic_hash;
    uint64_t auth_version;
    uint32_t topic_len;
    uint8_t topic[128]; /* the last topic that was allowed under auth_version */
};

enum conn_flag {
    CONN_READABLE = 1,      /* the kernel may have more bytes */
    CONN_WRITE_BLOCKED = 2, /* the kernel's buffer was full */
    CONN_WRITE_DEAD = 4,    /* a write failed: only reading will tell why it ended */
    CONN_PAUSED = 8,        /* reading is off for our own reasons */
    CONN_CLEAN = 16,        /* asked for a clean session */
    CONN_SAW_EOF = 32,
    CONN_OVER_LIMIT = 64,   /* more than max_connections: told so when it has said who it is */
    CONN_HUNG_UP = 128,     /* EPOLLRDHUP or EPOLLHUP was told */
    CONN_PUMP_WAITS = 256,  /* the next QoS 2 message waits for the store */
    CONN_WANTS_WRITE = 512, /* registered for writability */
    CONN_LINGERS = 1024 /* ended by DISCONNECT; the descriptor waits for the client's own close */
};

struct conn {
    struct loop_io io;
    struct stream stream;
    struct timer timer;
    struct list all;   /* worker->conns */
    struct list dirty; /* worker->dirty: has output */
    struct list queue; /* one of the worker's: ready, paused, held, moving, ended, unrecorded */
    struct worker *w;
    struct session *session;
    struct auth_identity *identity;
    const struct listener *listener;
    struct buf in, out;
    struct out_ref *refs;
    struct publisher *pub;
    char *assigned_id; /* to a client that named none; until it has its session */
    uint8_t *ending;   /* an ending's record without room in the ring; a held winner's takeover */
    union {
        struct sockaddr sa;
        struct sockaddr_in in4;
        struct sockaddr_in6 in6;
    } peer;
    uint8_t channel[RECORD_CHANNEL_BYTES];
    uint64_t out_taken; /* bytes of `out` that were ever taken from its start */
    uint64_t ref_bytes; /* unsent bytes of the payloads in `refs` */
    uint64_t accepted_us, connected_us;
    uint64_t last_in_ms, last_out_ms;
    uint64_t bytes_in, bytes_out;
    uint32_t packets_in, packets_out;
    uint32_t suppressed_ms; /* the keepalive's deadline was moved by so much: we did not read */
    uint32_t holds;
    uint16_t flags; /* enum conn_flag */
    uint16_t keepalive, keepalive_asked;
    uint16_t ref_count;
    uint16_t ending_len;
    uint8_t state;   /* enum conn_state */
    uint8_t version; /* enum mqtt_version */
    uint8_t last_in_type;
    int8_t write_errno; /* positive errno of the first failed write */
};

struct listener {
    struct server *server;
    int fd;
    struct server_listener_info info;
    char address[ADDR_TEXT_MAX];
    enum record_transport transport;
};

/* One worker's registration of a listener. */
struct acceptor {
    struct loop_io io;
    struct worker *w;
    const struct listener *listener;
    struct timer retry; /* out of descriptors, or endings wait for room */
    bool off;
};

/* ---- mail between workers: struct mail's kind ---- */
enum mail_kind {
    MAIL_CONN,      /* a connection moves to its owner */
    MAIL_PUBLISHES, /* a round's publishes for this worker's subscribers */
    MAIL_ACKS,      /* answers to those that asked for one */
    MAIL_AUTH,      /* a password was checked */
    MAIL_BATCH,     /* the commit thread is done with a batch */
    MAIL_KICK,
    MAIL_SETTINGS,
    MAIL_SYS,
    MAIL_SHUTDOWN, /* end every connection */
    MAIL_LEAVE     /* stop when nothing is left to do */
};

struct mail_conn {
    struct mail mail;
    struct conn *conn;
};

/* Publishes and answers of one round, one after another in `bytes` (route.c says how). */
struct mail_bytes {
    struct mail mail;
    struct worker *from;
    struct buf bytes;
};

struct mail_auth {
    struct mail mail;
    struct mail_auth *next; /* in the pool's queue */
    struct conn *conn;
    struct auth_request request; /* slices point into conn->in, which stays as it is meanwhile */
    struct auth_result result;
};

/* Counted: by who asks, who may give up waiting, and by the mail. */
struct mail_kick {
    struct mail mail;
    _Atomic unsigned refs;
    _Atomic int result;
    sem_t done;
    struct slice client_id; /* copies, behind the struct */
    const char *by;
};
void mail_kick_unref(struct mail_kick *m);

/* ---- what waits for a batch (persist.c) ---- */
enum wait_kind {
    WAIT_ACK,        /* value: number of the publisher's pending ack */
    WAIT_REMOTE_ACK, /* the same, of a connection of another worker */
    WAIT_PUMP,       /* the session's next message may go */
    WAIT_PUBREL,     /* value: packet ID */
    WAIT_PUBCOMP,
    WAIT_BYTES /* an encoded SUBACK or UNSUBACK */
};
struct wait {
    struct conn *conn; /* held */
    struct worker *origin;
    uint8_t *bytes;
    uint32_t value;
    uint8_t kind;
};

struct persist_batch;

struct persist {
    struct buf ops; /* of the batch being built */
    struct wait *waits;
    uint32_t wait_count, wait_cap;
    struct list dirty; /* sessions with entries that no batch took */
    uint32_t building; /* number of the batch being built */
    uint32_t done;     /* the newest that the store has */
    struct persist_batch *running;
    struct timer retry;
};

/* A will that a crash left: published when the loop runs, then forgotten in the store. */
struct orphan_will {
    struct orphan_will *next;
    struct message *msg;
    uint32_t instance;
    uint16_t client_id_len;
    uint8_t client_id[];
};

struct session_map {
    struct session **slot;
    uint64_t mask, used, count; /* used: filled or tombstones */
};

struct spare_buf {
    uint8_t *p;
    size_t cap;
};

/* Counters of one worker: written by it only, read by anyone. */
struct counters {
    _Atomic uint64_t connections, clients, sessions, queued;
    _Atomic uint64_t messages_in, messages_out, dropped, bytes_in, bytes_out, accepted, refused;
};

struct worker {
    struct server *server;
    unsigned index;
    struct loop *loop;
    pthread_t thread;
    struct mailbox inbox;   /* publishes; senders ask mailbox_bytes() first */
    struct mailbox control; /* never full */
    struct list conns, dirty, ready, paused, held, moving, ended, unrecorded;
    struct session_map sessions;
    struct persist persist;
    struct acceptor *acceptors;
    struct mail_bytes **publishes, **acks; /* being filled, one per worker */
    struct spare_buf *spare;
    uint32_t spare_count, spare_cap;
    uint64_t spare_bytes;
    uint64_t stamp;     /* of the message being routed */
    struct buf scratch; /* the packet being routed, encoded once */
    struct orphan_will *orphan_wills;
    struct timer sys_timer, room_timer;
    struct counters count;
    bool stopping, quiet, leaving;
    uint8_t read_buf[READ_BYTES], discard_buf[READ_BYTES];
};

struct auth_pool {
    pthread_t threads[2];
    unsigned thread_count;
    pthread_mutex_t lock;
    pthread_cond_t wanted;
    struct mail_auth *head, **tail;
    bool stopping;
    struct auth *auth;
};

struct server {
    const struct config *config;
    struct auth *auth;
    struct trace *trace;
    struct store *store;
    struct topics *topics;
    struct retained *retained;
    struct qsbr qsbr;
    struct session_limits limits;
    struct auth_pool pool;
    struct listener *listeners;
    unsigned listener_count;
    unsigned worker_count, running;
    struct worker **workers;
    uint64_t started_ms;
    char *instance;            /* the default instance's ID */
    _Atomic uint64_t store_id; /* the newest number given to a session or message */
    _Atomic uint64_t connections;
    uint64_t max_connections;
    _Atomic bool ready, sys_awake;
    sem_t quiet; /* posted by each worker that has nothing left to do */
};

static inline void count_add(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) + n,
                          memory_order_relaxed);
}
static inline void count_sub(_Atomic uint64_t *c, uint64_t n)
{
    atomic_store_explicit(c, atomic_load_explicit(c, memory_order_relaxed) - n,
                          memory_order_relaxed);
}

/* ---- server.c ---- */
/* server_start() up to the threads: the workers, with what the store has. 0 or a negative errno. */
int server_build(struct server *s) __attribute__((warn_unused_result));

/* ---- worker.c ---- */
int worker_new(struct worker **out, struct server *s, unsigned index)
    __attribute__((warn_unused_result));
void worker_free(struct worker *w);
void worker_start(struct worker *w);
/* Its thread, before the first round: wills of a crash, $SYS. */
void worker_begin(struct worker *w);
/* Any thread: mail that is always taken. */
void worker_post(struct worker *w, struct mail *m);
/* The worker that owns a client. */
struct worker *worker_of(struct server *s, uint64_t client_hash);
uint64_t client_hash(uint32_t instance, struct slice client_id);
/* Memory for a connection's output, and back. */
void worker_buf_take(struct worker *w, struct buf *b);
void worker_buf_give(struct worker *w, struct buf *b);

/* ---- sessions.c: the worker's sessions by key ---- */
void session_map_init(struct session_map *m);
/* Frees the sessions, too: loop `loop`'s. */
void session_map_fini(struct session_map *m, struct topics *t, unsigned loop);
struct session *session_map_find(const struct session_map *m, uint64_t hash, uint32_t instance,
                                 struct slice client_id);
void session_map_put(struct session_map *m, struct session *s);
void session_map_remove(struct session_map *m, const struct session *s);
/* Takes a session apart: subscriptions, stored state, memory. */
void session_discard(struct worker *w, struct session *s);
/* Makes a connection its session's and starts what waits. */
void session_attach(struct session *s, struct conn *c);
/* The connection ended: a clean session ends with it. */
void session_detach(struct worker *w, struct conn *c);
/* Publishes the will (or not) and forgets it. */
void session_will_end(struct worker *w, struct session *s, bool publish);

/* ---- accept.c ---- */
int listeners_open(struct server *s, struct config_error *err) __attribute__((warn_unused_result));
void listeners_close(struct server *s);
int acceptors_start(struct worker *w) __attribute__((warn_unused_result));
void acceptors_stop(struct worker *w);
/* No room in the ring: nobody new until there is. */
void acceptors_hold(struct worker *w);

/* ---- conn.c: the life of a connection ---- */
struct conn *conn_new(struct worker *w, const struct stream *stream,
                      const struct sockaddr_storage *peer, const struct listener *l);
void conn_free(struct conn *c);
/* Registers with its worker's loop, which tells when there is something to read. */
void conn_start(struct conn *c);
/* Reads, decodes and handles what the kernel has, within a round's share. */
void conn_read(struct conn *c);
/* What was pipelined behind an accepted CONNECT. */
void conn_decode_rest(struct conn *c);
/* Where output goes, with memory. */
static inline struct buf *conn_out(struct conn *c);
/* Output was added: flush at the round's end. */
void conn_dirty(struct conn *c);
void conn_flush(struct conn *c);
/* Bytes unsent, referenced payloads too. */
static inline uint64_t conn_output_bytes(const struct conn *c)
{
    return buf_len(&c->out) + c->ref_bytes;
}
/* Room for another message: less than max_output_bytes unsent, and few enough pieces to count. */
static inline bool conn_has_room(const struct conn *c)
{
    return conn_output_bytes(c) < c->w->server->config->max_output_bytes &&
           c->ref_count < OUT_REFS_MAX;
}
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);
void conn_put_payload(struct conn *c, struct message *m);
void conn_hold(struct conn *c);
void conn_unhold(struct conn *c);

static inline struct buf *conn_out(struct conn *c)
{
    if (c->out.p == NULL) {
        worker_buf_take(c->w, &c->out);
    }
    return &c->out;
}

/* ---- packets.c: what each packet does ---- */
/* Settings may have changed since its identity was made: false when it may not be connected any more. */
bool conn_still_allowed(struct conn *c);
/* One decoded frame; the connection may have ended behind it. */
void packet_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole);

/* ---- connect.c: CONNECT, up to the CONNACK ---- */
/* False: the first byte can't begin a CONNECT, and the connection has ended. */
bool connect_first_byte(struct conn *c, struct slice in);
void connect_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole);
void connect_authenticated(struct conn *c, struct auth_result *r);
/* There is room in the ring again. */
void connect_held(struct conn *c);
/* End of a round: connections that belong to another worker go there. */
void connect_move_all(struct worker *w);
void connect_arrived(struct worker *w, struct conn *c);
void auth_pool_start(struct auth_pool *p, struct auth *a);
void auth_pool_stop(struct auth_pool *p);
void auth_pool_submit(struct auth_pool *p, struct mail_auth *m);

/* ---- ending.c: the one place where a channel ends and records are made ---- */
/* The first cause wins: later calls do nothing. `e` is what the caller knows (may be NULL). Behind it the connection is
 * CONN_ENDED and is freed at the round's end. */
void conn_end(struct conn *c, enum cause cause, const struct evidence *e);
/* The descriptor of a connection that ended by DISCONNECT is closed. */
void conn_linger_end(struct conn *c);
/* A packet that can't be accepted: cause and evidence from the decoder's error. */
void conn_end_bad(struct conn *c, const struct mqtt_error *err, const struct mqtt_frame *f,
                  struct slice bytes);
/* The `connect` record of an accepted channel. False: no room in the ring. */
bool conn_record_accepted(struct conn *c, enum cause cause, struct slice client_id,
                          const struct evidence *e);
/* Tries the endings that found no room; true when none is left. */
bool endings_retry(struct worker *w);
/* What a connection says of itself on the other side's record. */
void evidence_other(struct evidence *e, const struct conn *other, uint64_t silent_ms);

/* ---- route.c: from a PUBLISH to its subscribers ---- */
struct route_result {
    uint32_t waits; /* answers that will come before it may be acknowledged */
    uint64_t have;  /* given: loops whose durable sessions had it before a crash (QoS 2) */
    uint64_t loops; /* told: other loops that it went to */
};
/* `origin` may be NULL (wills, $SYS); ack_number is the pending ack that waits for stores. */
void route_publish(struct worker *w, struct conn *origin, uint32_t instance,
                   const struct mqtt_publish *p, uint64_t topic_hash, uint32_t ack_number,
                   struct route_result *out);
/* A repetition of a QoS 2 message: answered when those loops have what they have of it in the store. */
void route_repetition(struct worker *w, struct conn *origin, uint64_t loops, uint32_t ack_number,
                      struct route_result *out);
/* A retained message to a new subscription. */
void route_retained(struct conn *c, const struct mqtt_publish *p, const struct topic_sub *sub);
/* Gives the round's mail to the other workers. */
void route_flush(struct worker *w);
void route_mail(struct worker *w, struct mail_bytes *m);
void route_acks(struct mail_bytes *m);
/* True when some other worker's inbox is full: sockets that publish are not read. */
bool route_full(const struct worker *w);
/* Answers another worker's connection. */
void route_ack_back(struct worker *w, struct worker *origin, struct conn *conn, uint32_t number);
/* Sends what the session has waiting, as far as window and output allow. */
void session_pump(struct conn *c);

/* ---- acks.c: acknowledgements to publishers, in order ---- */
uint32_t acks_put(struct conn *c, uint8_t type, uint16_t packet_id);
/* As many wait as a client may have in flight. */
bool acks_full(const struct conn *c);
void acks_waiting(struct conn *c, uint32_t number, uint32_t waits);
/* One store answered. */
void acks_answered(struct conn *c, uint32_t number);

/* ---- persist.c: durable sessions ---- */
void persist_init(struct worker *w);
void persist_fini(struct worker *w);
/* Before the loops run: builds sessions, queues and retained messages from the store. 0 or a negative errno. */
int persist_load(struct server *s) __attribute__((warn_unused_result));
void persist_session(struct worker *w, struct session *s);
void persist_session_gone(struct worker *w, struct session *s);
void persist_sub(struct worker *w, const struct session *s, const struct topic_sub *sub);
void persist_unsub(struct worker *w, const struct session *s, struct slice filter);
/* New entries in the outbox: taken by the next batch. */
void persist_queue(struct worker *w, struct session *s);
void persist_acked(struct worker *w, struct session *s, uint64_t order, struct message *m);
void persist_released(struct worker *w, struct session *s, uint64_t order, struct message *m,
                      bool stored);
/* Incoming QoS 2: this worker's part of a message is stored, and with it that it was; forgotten by all workers. */
void persist_in_id(struct worker *w, uint64_t session_id, uint16_t id);
void persist_in_gone(struct worker *w, const struct session *s, const struct in_id *in);
/* The topic's retained message changed. */
void persist_retained(struct worker *w, uint32_t instance, struct slice topic);
void persist_will(struct worker *w, struct session *s);
/* Publishes the wills that a crash left. */
void persist_orphan_wills(struct worker *w);
/* Something is to happen when the batch being built is in the store: true. With `durability: none` it happens at once
 * (WAIT_ACK: the caller does it): false. */
bool persist_wait(struct worker *w, enum wait_kind kind, struct conn *c, struct worker *origin,
                  uint32_t value, uint8_t *bytes);
static inline bool persist_is_done(const struct worker *w, uint32_t batch)
{
    return w->server->config->durability == DURABILITY_NONE ||
           (batch != 0 && (int32_t)(w->persist.done - batch) >= 0);
}
/* End of a round: hands the batch to the commit thread when that has none of ours. */
void persist_flush(struct worker *w);
void persist_done(struct worker *w, struct mail *m);
bool persist_idle(const struct worker *w);

/* ---- sys.c ---- */
void sys_start(struct worker *w);
/* Any loop: somebody subscribed, $SYS is to be kept up to date. */
void sys_wanted(struct server *s);
void sys_wake(struct worker *w);

#endif
