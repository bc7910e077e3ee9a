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
#include "broker/bucket.h"
#include "broker/deadlines.h"
#include "broker/delayed.h"
#include "broker/message.h"
#include "broker/retained.h"
#include "broker/session.h"
#include "broker/topics.h"
#include "mqtt/packet.h"
#include "net/addr.h"
#include "net/loop.h"
#include "net/stream.h"
#include "net/ws.h"
#include "server/config.h"
#include "server/counters.h"
#include "server/server.h"
#include "server/sources.h"
#include "trace/record.h"
#include "trace/trace.h"

enum {
    READ_BYTES = 64 * 1024,
    SMALL_PAYLOAD = 1024, /* up to here copying beats a reference and an iovec */
    OUT_REFS_MAX = 32 * 1024,
    SPARE_BYTES_MAX = 8 * 1024 * 1024,
    ROUND_WORK = 512 * 1024 /* copies of messages and the like, some 100 ms: see worker.c */
};

struct worker;

enum conn_state {
    CONN_HANDSHAKE, /* CONNECT not complete */
    CONN_AUTH,      /* a worker thread checks the password; reading is off */
    CONN_EXCHANGE,  /* AUTH packets go to and fro; nothing else is allowed yet */
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
    uint8_t reason;   /* MQTT 5 */
    uint16_t waiting; /* stores that have not answered */
};

/* What only publishers need. */
struct publisher {
    struct pending_ack *acks; /* ring */
    uint32_t cap, head, tail; /* numbers that grow */
    uint32_t pubacks;         /* of them, PUBACK */
    uint64_t topic_hash;
    uint64_t auth_version;
    uint32_t topic_len;
    struct bucket messages, bytes; /* that it may publish now */
    uint8_t topic[128];            /* the last topic that was allowed under auth_version */
};

/* Enhanced authentication of a connection. */
struct exchange {
    struct auth_exchange *x;     /* NULL: none is under way */
    struct slice answer, method; /* memory of ours: for the CONNACK; of the CONNECT */
    struct slice user;           /* the same: whom the last one was about, once it is over */
};

/* What only an MQTT 5 connection has. */
struct conn5 {
    uint32_t max_packet; /* bytes of the largest packet that the client takes */
    uint32_t
        granted_packet; /* … that we take; this and the like as the client was told: a reload does not change it */
    uint32_t session_expiry;   /* seconds, as granted */
    uint16_t receive_max;      /* QoS 1 and 2 messages in flight that the client takes */
    uint16_t granted_receive;  /* … that we take */
    uint16_t alias_max;        /* topic aliases that the client takes */
    uint16_t granted_alias;    /* … that we take */
    struct aliases *aliases;   /* NULL until the first */
    struct exchange *exchange; /* NULL: authenticated by user name and password, or not at all */
    bool problem_info;         /* reason strings and user properties may stand in any answer */
};

enum conn_flag {
    CONN_READABLE = 1,      /* the kernel may have more bytes */
    CONN_WRITE_BLOCKED = 2, /* the kernel's buffer was full */
    CONN_WRITE_DEAD = 4,    /* a write failed: only reading will tell why it ended */
    CONN_PAUSED = 8,        /* reading is off for our own reasons */
    CONN_CLEAN = 16,        /* asked for a clean session */
    CONN_SAW_EOF = 32,
    CONN_OVER_LIMIT = 64,  /* came when there were max_connections: judged when it says who it is */
    CONN_HUNG_UP = 128,    /* EPOLLRDHUP or EPOLLHUP was told */
    CONN_PUMP_WAITS = 256, /* the next QoS 2 message waits for the store */
    CONN_WANTS_WRITE = 512, /* registered for writability */
    CONN_LINGERS = 1024, /* ended by DISCONNECT; the descriptor waits for the client's own close */
    CONN_COUNTED = 2048, /* among its address's connections */
    CONN_COUNTED_OTHER = 4096, /* among those of the addresses that found no place */
    CONN_THROTTLED = 8192,     /* publishes too fast: paused, the timer resumes it */
    CONN_WATCHED = 16384,      /* a write blocked: the timer looks whether its TCP takes anything */
    CONN_BEHIND = 32768 /* the round's work was done: it waits for its turn in worker->ready */
};

/* Who it is, beyond a client like others. */
enum conn_kind {
    CONN_OWN = 1,     /* the broker's own, see own.c */
    CONN_BRIDGE = 2,  /* said that it is a bridge of another broker */
    CONN_FORGETS = 4, /* own: incoming QoS 2 packet IDs of its session are of no use any more */
    CONN_PREPARES = 8 /* own: it only subscribes; messages stay in its session */
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
    struct listener *listener;
    struct buf in, out;
    struct out_ref *refs;
    struct publisher *pub;
    struct conn5 *v5;   /* NULL before MQTT 5, and until its CONNECT is with its owner */
    char *assigned_id;  /* to a client that named none; until it has its session */
    char *proven_user;  /* who it is by its certificate; until it is accepted */
    uint8_t *ending;    /* an ending's record without room in the ring; a held winner's takeover */
    union addr_ip peer; /* of the client, as a load balancer says */
    uint8_t channel[RECORD_CHANNEL_BYTES];
    uint64_t out_taken; /* bytes of `out` that were ever taken from its start */
    uint64_t ref_bytes; /* unsent bytes of the payloads in `refs` */
    uint64_t accepted_us, connected_us;
    uint64_t last_in_ms, last_out_ms;
    uint64_t bytes_in, bytes_out;
    uint64_t taken, taken_ms; /* CONN_WATCHED: stream_taken(), and when it was first seen so */
    uint32_t packets_in, packets_out;
    uint32_t suppressed_ms; /* the keepalive's deadline was moved by so much: we did not read */
    uint32_t holds;
    uint16_t flags; /* enum conn_flag */
    uint16_t keepalive, keepalive_asked;
    uint8_t kind;      /* enum conn_kind */
    uint32_t answers;  /* SUBACKs and UNSUBACKs that wait for the store */
    uint32_t unstored; /* these, PUBRELs and PUBCOMPs */
    uint16_t ref_count;
    uint16_t ending_len;
    uint8_t state;   /* enum conn_state */
    uint8_t version; /* enum mqtt_version */
    uint8_t last_in_type;
    int8_t write_errno; /* positive errno of the first failed write */
};

struct listener {
    struct server *server;
    const struct config_listener *settings;
    int *fds; /* one, or with reuse_port one for each worker */
    unsigned fd_count;
    struct server_listener_info info;
    char address[ADDR_TEXT_MAX + sizeof "unix:" + 108];
    enum record_transport transport;
    struct ws_rules ws;
    struct addr_nets proxy_from; /* whose PROXY headers are believed */
    _Atomic uint64_t connections;
    pthread_mutex_t lock;
    struct tls_context *tls; /* NULL: plain. A reload replaces it, under the lock */
};

/* One worker's registration of a listener. */
struct acceptor {
    struct loop_io io;
    struct worker *w;
    struct listener *listener;
    struct timer retry; /* out of descriptors, or endings wait for room */
    bool off;
};

/* ---- mail between workers: struct mail's kind ---- */
enum mail_kind {
    MAIL_CONN,      /* a connection moves to its owner */
    MAIL_OWN,       /* a connection of the broker's own */
    MAIL_PUBLISHES, /* a round's publishes for this worker's subscribers */
    MAIL_ACKS,      /* answers to those that asked for one */
    MAIL_AUTH,      /* a password was checked */
    MAIL_BATCH,     /* the commit thread is done with a batch */
    MAIL_KICK,
    MAIL_SETTINGS,
    MAIL_CONFIG, /* there is another configuration */
    MAIL_SYS,
    MAIL_PULSE,    /* a sign of life is wanted */
    MAIL_SHUTDOWN, /* end every connection */
    MAIL_LEAVE     /* stop when nothing is left to do */
};

struct mail_conn {
    struct mail mail;
    struct conn *conn;
};

/* Publishes and answers of one round, one after another in `bytes` (route_mail.c says how). */
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

/* Counted: by who waits, who may give up, and by each mail. */
struct config_wait {
    _Atomic unsigned refs;
    sem_t taken; /* posted by each worker that works with the new configuration */
};
struct mail_config {
    struct mail mail;
    struct config_wait *wait;
};
void config_wait_unref(struct config_wait *m);

/* ---- what waits for a batch (persist.c) ---- */
enum wait_kind {
    WAIT_ACK, /* value: number of the publisher's pending ack */
    WAIT_REMOTE_ACK, /* the same, of another worker's connection, or of its delayed message (without one) */
    WAIT_PUMP,   /* the session's next message may go */
    WAIT_PUBREL, /* value: packet ID, and a reason code above it */
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

/* Places in `ops` of retained topics, by their hash: each topic stands there once, however often it changes. */
struct retained_marks {
    uint32_t *places; /* 1 more than the place; 0: free */
    uint32_t count, cap;
};

struct persist {
    struct buf ops; /* of the batch being built */
    struct retained_marks marks;
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
    struct will *will;
    uint32_t instance;
    uint16_t client_id_len;
    uint8_t client_id[];
};

/* Delayed messages. Their clock is monotonic, but begins at wall time. */
struct delays {
    struct deadlines heap; /* those that wait, by due_us */
    struct list going;     /* those that went out, until everybody has them */
    uint32_t going_count;
    uint32_t number;   /* of the last that went out */
    uint64_t last_us;  /* when the last came */
    uint64_t base_us;  /* that clock less monotonic time; 0: not begun */
    uint64_t apart_us; /* wall time less monotonic time */
    struct timer timer;
};

struct session_map {
    struct session **slot;
    uint64_t mask, used, count; /* used: filled or tombstones */
};

struct spare_buf {
    uint8_t *p;
    size_t cap;
};

struct worker {
    struct server *server;
    unsigned index;
    struct loop *loop;
    pthread_t thread;
    struct mailbox inbox;   /* publishes; senders ask mailbox_bytes() first */
    struct mailbox control; /* never full */
    struct list conns, dirty, ready, paused, held, moving, ended, unrecorded;
    struct list feeding; /* feeds that may go on in the next round */
    struct session_limits limits;
    uint64_t publish_rate, publish_bytes_rate; /* 0 = no limit */
    uint64_t ping_ms, slow_consumer_ms;        /* by which timers were set */
    struct session_map sessions;
    struct deadlines deadlines; /* of sessions whose clients are away */
    struct timer session_timer;
    struct delays delays;
    struct persist persist;
    struct acceptor *acceptors;
    struct mail_bytes **publishes, **acks; /* being filled, one per worker */
    struct spare_buf *spare;
    uint32_t spare_count, spare_cap;
    uint64_t spare_bytes;
    uint64_t stamp;               /* of the message being routed */
    uint64_t work;                /* done in this part of the round, see ROUND_WORK */
    struct mail *late;            /* taken from the inbox, and not done with */
    struct buf scratch, scratch5; /* the packet being routed, encoded once: before MQTT 5, MQTT 5 */
    struct buf extra, extra5;     /* its properties, where they are not a slice of it */
    struct buf subids; /* subscription identifiers of sessions that match more than once */
    struct orphan_will *orphan_wills;
    struct sys *sys; /* worker 0's */
    uint64_t memory_step,
        published; /* bytes published before it looks again, 0: no max_memory; since the last look */
    struct timer memory_timer;
    struct timer sys_timer, room_timer, certificate_timer;
    struct counters count;
    _Atomic bool pulse_asked; /* and not answered */
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
    const struct config
        *_Atomic config; /* a reload puts another in its place: don't keep what it points to */
    struct auth *auth;
    struct trace *trace;
    struct store *store;
    struct topics *topics;
    struct retained *retained;
    struct qsbr qsbr;
    struct auth_pool pool;
    struct sources *sources;
    struct listener *listeners;
    unsigned listener_count;
    unsigned worker_count, running;
    struct worker **workers;
    uint64_t started_ms;
    char *instance;  /* the default instance's ID */
    struct buf mark; /* its loop mark as a user property (bridge/mark.h); empty: it has no ID */
    _Atomic uint64_t store_id; /* the newest number given to a session or message */
    _Atomic uint64_t connections;
    _Atomic uint64_t max_connections;
    _Atomic uint64_t memory_max;   /* max_memory, for other threads */
    _Atomic uint64_t memory_bytes; /* at the last look, while there is a max_memory */
    _Atomic bool memory_full;
    _Atomic uint64_t clients_max; /* accepted at a time, so far */
    _Atomic bool ready, sys_awake;
    struct commit_job pulse; /* to the commit thread, which shows by it that it lives */
    _Atomic bool pulse_asked;
    sem_t quiet; /* posted by each worker that has nothing left to do */
};

/* ---- server.c ---- */
/* server_start() up to the threads: the workers, with what the store has. 0 or a negative errno. */
int server_build(struct server *s) __attribute__((warn_unused_result));

/* ---- worker.c ---- */
int worker_new(struct worker **out, struct server *s, unsigned index)
    __attribute__((warn_unused_result));
void worker_free(struct worker *w);
void worker_start(struct worker *w);
/* Takes from the configuration what it keeps. */
void worker_configure(struct worker *w);
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
/* Grows at once to what so many need. */
void session_map_reserve(struct session_map *m, uint64_t count);
void session_map_put(struct session_map *m, struct session *s);
void session_map_remove(struct session_map *m, const struct session *s);
/* Each of the worker's sessions; `fn` may discard it, and makes none. */
void session_map_each(struct worker *w, void (*fn)(struct worker *w, struct session *s));
/* Takes a subscription apart and frees it. A shared one has left its group before: shared_leave(). */
void session_unsubscribe(struct worker *w, struct session *s, struct topic_sub *sub);
/* Takes a session apart: subscriptions, stored state, memory. */
void session_discard(struct worker *w, struct session *s);
/* Seconds that a session may outlive its connection; SESSION_NEVER: no limit. */
uint32_t session_expiry_max(const struct server *s);
/* Makes a connection its session's and starts what waits. */
void session_attach(struct session *s, struct conn *c);
/* The connection ended: a clean session ends with it. */
void session_detach(struct worker *w, struct conn *c);
/* Publishes the will (or not) and forgets it. */
void session_will_end(struct worker *w, struct session *s, bool publish);

/* ---- expiry.c: sessions whose clients are away ---- */
void expiry_init(struct worker *w);
/* Its thread, before the first round. */
void expiry_start(struct worker *w);
/* The will does not go out at once when the connection ends. */
bool expiry_will_waits(const struct session *s);
/* The connection has ended and the session stays: its clock and its will's begin. */
void expiry_offline(struct worker *w, struct session *s);
/* The client is back: the clocks stop, a will that waited is dropped. */
void expiry_online(struct worker *w, struct session *s);
/* At a restart: the connection ended at that wall time (0: the broker was killed). */
void expiry_restore(struct worker *w, struct session *s, uint64_t ended_ms);
/* Behind expiry_restore(); takes over the will, which is due at that wall time (0: killed). */
void expiry_restore_will(struct worker *w, struct session *s, struct will *will, uint64_t due_ms);

/* ---- delays.c: messages to $delayed/SECONDS/TOPIC ---- */
void delays_init(struct worker *w);
/* Its thread, before the first round. */
void delays_start(struct worker *w);
void delays_fini(struct worker *w);
/* A topic that begins with $: one that is delayed becomes the topic that it goes to, and *delay_ms what is not 0 if that is later
 * than now. False: it is none. */
bool delays_topic(struct worker *w, struct slice *topic, uint64_t *delay_ms);
/* No more than max_delayed_messages and max_delayed_bytes with this one. */
bool delays_takes(const struct worker *w, const struct mqtt_publish *p);
void delays_evidence(const struct worker *w, struct evidence *e);
/* It is kept until then; into the batch being built. */
void delays_keep(struct worker *w, uint32_t instance, struct slice client_id,
                 const struct mqtt_publish *p, uint64_t delay_ms);
/* One of those who got it has it in the store, or keeps none. */
void delays_answered(struct worker *w, uint32_t number);
/* At a restart: takes it over. */
void delays_restored(struct worker *w, struct delayed *d);
static inline bool delays_idle(const struct worker *w)
{
    return list_empty(&w->delays.going);
}

/* ---- accept.c ---- */
int listeners_open(struct server *s, struct config_error *err) __attribute__((warn_unused_result));
void listeners_close(struct server *s);
int acceptors_start(struct worker *w) __attribute__((warn_unused_result));
void acceptors_stop(struct worker *w);
/* Worker 0, before the first round: warns of server certificates that are about to end, now and every day. */
void listeners_watch(struct worker *w);
/* For a connection with CONN_OVER_LIMIT: whether there are still too many, and the limit that is passed, the server's or its
 * listener's. It is one of those that are counted. */
bool listener_full(const struct conn *c, uint64_t *limit);
/* After a read on a listener with PROXY headers: the client's address becomes the connection's. False: that address may not
 * have another connection, this one has ended. */
bool listener_client(struct conn *c);
/* No room in the ring: nobody new until there is. */
void acceptors_hold(struct worker *w);

/* ---- conn.c: the life of a connection ---- */
struct conn *conn_new(struct worker *w, const struct stream *stream,
                      const struct sockaddr_storage *peer, struct listener *l);
void conn_free(struct conn *c);
/* Registers with its worker's loop, which tells when there is something to read. */
void conn_start(struct conn *c);
/* It is closed before anything was read: no place for it. */
void conn_turn_away(struct conn *c, enum cause cause, const struct evidence *e);
/* Reads, decodes and handles what the kernel has, within a round's share. */
void conn_read(struct conn *c);
/* What was pipelined behind an accepted CONNECT. */
void conn_decode_rest(struct conn *c);
/* Where output goes, with memory. */
static inline struct buf *conn_out(struct conn *c);
/* Output was added: flush at the round's end. */
void conn_dirty(struct conn *c);
void conn_flush(struct conn *c);
/* A packet was put into the output; for PUBLISH, route.c (pump.c) counts. */
static inline void conn_sent(struct conn *c, enum mqtt_type type)
{
    c->packets_out++;
    count_add(&c->w->count.packets_out[(unsigned)type & 15], 1);
}
/* Bytes unsent, referenced payloads too. */
static inline uint64_t conn_output_bytes(const struct conn *c)
{
    return buf_len(&c->out) + c->ref_bytes;
}
/* What the client may send: as it was told, or as it is now for those that can't be told. */
static inline uint32_t conn_max_packet(const struct conn *c)
{
    return c->v5 != NULL ? c->v5->granted_packet : (uint32_t)c->w->server->config->max_packet_size;
}
static inline uint32_t conn_receive_max(const struct conn *c)
{
    return c->v5 != NULL ? c->v5->granted_receive : (uint32_t)c->w->server->config->receive_maximum;
}
/* Room for another message: less than max_output_bytes unsent, and few enough pieces to count. */
static inline bool conn_has_room(const struct conn *c)
{
    return conn_output_bytes(c) < c->w->server->config->max_output_bytes &&
           c->ref_count < OUT_REFS_MAX;
}
enum { ANSWERS_MAX = 1024 };
/*
 * It asks for more than it reads, or than the store takes: its answers wait, in the output as messages alone never would.
 * Nothing more is read of it until they have gone. (What a bridge has to say waits for another broker, and is not asked
 * for by anyone.)
 */
static inline bool conn_answers_wait(const struct conn *c)
{
    return (c->unstored >= ANSWERS_MAX ||
            buf_len(&c->out) >= 2 * c->w->server->config->max_output_bytes) &&
           (c->flags & CONN_WRITE_DEAD) == 0 && (c->kind & CONN_OWN) == 0;
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

/* ---- conn_time.c: what time does to a connection ---- */
void conn_on_timer(struct timer *t);
/* Open: sets its timer to the next thing that is due. */
void conn_arm(struct conn *c);
/* A write blocked: from now on the timer looks whether the peer takes anything. */
void conn_watch(struct conn *c);

/* ---- rate.c: how fast a client may publish ---- */
/* A PUBLISH of so many bytes. False: the connection has ended. It may be throttled behind it. */
bool rate_publish(struct conn *c, size_t bytes);
/* The monotonic time at which it may publish again; in the past when it may. */
uint64_t rate_ready_ms(const struct conn *c);
void rate_throttle(struct conn *c);

/* ---- own.c: the broker's own connections, and bridges of other brokers ---- */
/* Client IDs that begin so are for its own. */
bool own_client_id(struct slice client_id);
void own_arrived(struct worker *w, struct mail *m);
/* An own connection gets its session: what its other end forgot is forgotten here, too. */
void own_forget(struct session *s, struct conn *c);
/* Before the loops run: subscriptions and sessions of bridges that the configuration has no more. */
void own_prune(struct server *s);
/* A CONNECT that says so, or that has the mark of another TraceMQ. */
bool bridge_said(const struct mqtt_connect *p);
/* Where a bridge of another broker with that client ID tells whether it is connected: any client may, there. */
bool bridge_state_topic(const struct conn *c, struct slice client_id, struct slice topic);

/* ---- packets.c: what each packet does ---- */
/* Settings may have changed since its identity was made: false when it may not be connected any more. */
bool conn_still_allowed(struct conn *c);
/* One decoded frame; the connection may have ended behind it. */
void packet_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole);

/* ---- exchange.c: enhanced authentication, AUTH ---- */
void exchange_free(struct exchange *x);
/* A CONNECT with an authentication method, at its owner. */
void exchange_begin(struct conn *c, const struct mqtt_connect *p);
/* CONN_EXCHANGE: takes the packets behind the CONNECT in conn->in. */
void exchange_decode(struct conn *c);
/* The client did not go on in time. */
void exchange_timeout(struct conn *c);
/* AUTH on an open connection. */
void exchange_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole);
/* The method and whom it is about, as far as there is an exchange and its messages told. */
void exchange_evidence(const struct conn *c, struct evidence *e);
struct slice exchange_user(const struct conn *c);
/* Authentication method and data, for the CONNACK. */
void exchange_props(const struct conn *c, struct mqtt_props *p);

/* ---- disconnect.c ---- */
void disconnect_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole);

/* ---- connect.c: CONNECT, up to the CONNACK ---- */
/* False: the first byte can't begin a CONNECT, and the connection has ended. */
bool connect_first_byte(struct conn *c, struct slice in);
void connect_handle(struct conn *c, const struct mqtt_frame *f, struct slice whole);
void connect_authenticated(struct conn *c, struct auth_result *r);
/* Refused by what authentication decided. */
void connect_refused(struct conn *c, const struct auth_result *r);
struct auth_request connect_request(struct conn *c, const struct mqtt_connect *p);
/* There is room in the ring again. */
void connect_held(struct conn *c);
/* End of a round: connections that belong to another worker go there. */
void connect_move_all(struct worker *w);
void connect_arrived(struct worker *w, struct conn *c);
void auth_pool_start(struct auth_pool *p, struct auth *a);
void auth_pool_stop(struct auth_pool *p);
void auth_pool_submit(struct auth_pool *p, struct mail_auth *m);

/* ---- reply.c: CONNACK and DISCONNECT ---- */
struct told {
    uint8_t connack; /* return code before MQTT 5; 0: nothing is said */
    uint8_t reason;  /* of CONNACK in MQTT 5 */
    uint8_t disconnect;
    const char *text; /* reason string; NULL: the cause has no row, nothing is ever said */
};
/* The row of told.def; never NULL. */
const struct told *told_of(enum cause cause);
/* The packet at `from` of the output is longer than the client takes [MQTT-3.1.2-24]; it may be taken back. */
bool reply_too_long(const struct conn *c, size_t from);
void reply_take_back(struct conn *c, size_t from);
/* The client takes a packet as long as its CONNACK 0 will be. */
bool reply_fits(struct conn *c, const struct mqtt_connect *p);
/* A CONNACK that refuses, in the connection's version. */
void reply_refused(struct conn *c, uint8_t connack, uint8_t reason, const char *text);
/* CONNACK 0, with what the connection got. */
void reply_accepted(struct conn *c, const struct mqtt_connect *p, bool session_present);
/* DISCONNECT, to an accepted MQTT 5 client. False: it does not even take that. */
bool reply_disconnect(struct conn *c, uint8_t reason, const char *text);

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
/* What the layers of its stream say of the peer: TLS, its certificate. */
void evidence_layers(struct evidence *e, const struct conn *c);
/* What a connection says of itself on the other side's record. */
void evidence_other(struct evidence *e, const struct conn *other, uint64_t silent_ms);

/* ---- route.c: from a PUBLISH to its subscribers ---- */
struct route_result {
    bool matched;     /* told: somebody is subscribed */
    bool over_quota;  /* told: it could not be retained */
    uint32_t waits;   /* answers that will come before it may be acknowledged */
    uint64_t have;    /* given: loops whose durable sessions had it before a crash (QoS 2) */
    uint64_t loops;   /* told: other loops that it went to */
    struct in_id *in; /* given: QoS 2 of a durable session, its incoming packet ID; else NULL */
    uint64_t in_of;   /* given without an origin: whose `in` is, its number in the store; 0: none */
    const struct session *from; /* given without an origin: whose it is; may be NULL */
};
/*
 * ack_number is the pending ack of `origin` that waits for stores. Without an origin (wills, $SYS, delayed messages) a number that
 * is not 0 is a delayed message's (delays_answered()).
 */
void route_publish(struct worker *w, struct conn *origin, uint32_t instance,
                   const struct mqtt_publish *p, uint64_t topic_hash, uint32_t ack_number,
                   struct route_result *out);
/* A retained message to a new subscription. False: there is no room for it now. */
bool route_retained(struct conn *c, const struct message_parts *m, const struct topic_sub *sub);

/* ---- route_mail.c: messages and answers between workers ---- */
/* A repetition of a QoS 2 message: answered when those loops have what they have of it in the store. */
void route_repetition(struct worker *w, struct conn *origin, uint64_t loops, uint32_t ack_number,
                      struct route_result *out);
/* Gives the round's mail to the other workers. */
void route_flush(struct worker *w);
/* False: the round's work was done before the end of it. */
bool route_mail(struct worker *w, struct mail_bytes *m);
void route_acks(struct worker *w, struct mail_bytes *m);
/* True when some other worker's inbox is full: sockets that publish are not read. */
bool route_full(const struct worker *w);
/* Answers another worker's connection. */
void route_ack_back(struct worker *w, struct worker *origin, struct conn *conn, uint32_t number);

/* ---- pump.c: from a session's outbox to its connection ---- */
/* Sends what the session has waiting, as far as window and output allow. */
void session_pump(struct conn *c);
/* On a new connection of a session: the PUBRELs whose PUBCOMP never came, behind the CONNACK. */
void session_repeat_pubrels(struct conn *c);

/* ---- feed.c: retained messages to new subscriptions ---- */
/* What is retained is on its way to the subscription, from the beginning if it was before. */
void feed_begin(struct worker *w, struct session *s, struct topic_sub *sub);
/* The subscription ends. */
void feed_end(struct session *s, struct topic_sub *sub);
/* Goes on as far as there is room; of session_pump(). */
void feed_go(struct conn *c);
/* Each round: those that had room, but no more of their turn. */
void feed_turns(struct worker *w);

/* ---- filtered.c: subscriptions whose messages are looked at one by one ---- */
enum reading {
    READ_YES,
    READ_NO,
    READ_LATER /* it is not known who will read it, or that may not be connected any more */
};
/* Whether the session's client may read that topic now. Of sessions with SUB_FILTERED subscriptions. */
enum reading filtered_reading(struct worker *w, struct session *s, struct slice topic);
/* A message has come by such subscriptions only. False: it is passed over, and counted. */
bool filtered_lets(struct worker *w, struct session *s, struct slice topic, uint8_t qos);
/* Counts one that is passed over. */
void filtered_passed(struct worker *w, struct session *s);
uint32_t filtered_count(const struct session *s);
/* A shared subscription of this worker: its session may be given a message of that topic. */
bool filtered_may_get(struct worker *w, struct topic_sub *sub, struct slice topic);
/* A member of any loop: it is worth trying. */
bool filtered_may_pick(struct worker *w, const struct share_member *m, struct slice topic);
/* It has something that is filtered. */
void filtered_begin(struct session *s);
/* SUB_FILTERED of the subscription was set, or taken away. */
void filtered_set(struct worker *w, struct topic_sub *sub);
/* Whose session it is: false when that is not known. */
bool filtered_user(const struct session *s, struct slice *user);
/* At a restart: whose it was. */
void filtered_restore(struct worker *w, struct session *s, struct slice user);
/* The settings are others. */
void filtered_changed(struct worker *w, struct session *s);
/* The session is on a connection; its connection has ended. */
void filtered_here(struct worker *w, struct session *s);
void filtered_away(const struct session *s, const struct conn *c);
/* Before the session is freed. */
void filtered_end(struct session *s);

/* ---- shared.c: shared subscriptions ---- */
/* A message of the session's queue, of the group with that mark, that its client may not read: true when another has it. */
bool shared_pass_on(struct worker *w, const struct session *s, const struct message *m,
                    uint32_t mark);
/* The client of a session with shared subscriptions came, or went. */
void shared_here(struct worker *w, struct session *s, bool here);
/* Tells whether it can take more: groups give to others meanwhile. */
void shared_load(struct conn *c);
/*
 * A member leaves: what it did not acknowledge goes to others of its groups. With `sub`: it unsubscribes that one, what is in
 * flight stays; else its client has gone, or the session ends (`ends`).
 */
void shared_leave(struct worker *w, struct session *s, const struct topic_sub *sub, bool ends);

/* ---- alias.c: topic aliases of MQTT 5 connections ---- */
void aliases_free(struct aliases *a);
/* A PUBLISH with an alias: gives it its topic, which lives until the alias is set again. False: *err. */
bool alias_in(struct conn *c, struct mqtt_publish *p, struct mqtt_error *err);
/* A PUBLISH that is put into the output now: its topic may become an alias. */
void alias_out(struct conn *c, struct mqtt_publish *p);

/* ---- acks.c: acknowledgements; those to publishers in order ---- */
/* PUBACK and the like, now. */
void acks_send(struct conn *c, enum mqtt_type type, uint16_t packet_id, uint8_t reason);
/* What acks_answered() will call the next one; of a publisher. */
static inline uint32_t acks_next(const struct conn *c)
{
    return c->pub->tail;
}
/* The next one, once it is known for how many stores it waits. It leaves at once if for none, and none before it waits either. */
void acks_put(struct conn *c, const struct mqtt_publish *p, uint8_t reason, uint32_t waits);
/* As many wait as a client may have in flight. */
static inline bool acks_full(const struct conn *c)
{
    return c->pub != NULL && c->pub->tail - c->pub->head >= conn_receive_max(c);
}
/* One store answered. */
void acks_answered(struct conn *c, uint32_t number);

/* ---- persist.c: durable sessions ---- */
void persist_init(struct worker *w);
void persist_fini(struct worker *w);
/* Before the loops run: builds sessions, queues and retained messages from the store. 0 or a negative errno. */
int persist_load(struct server *s) __attribute__((warn_unused_result));
/* Its number, expiry interval and, without a connection, that it ended now. `connected`: it has one, or is about to. */
void persist_session(struct worker *w, struct session *s, bool connected);
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
void persist_in_gone(struct worker *w, uint64_t session_id, const struct in_id *in);
/* The same of a shared subscription: one of that group, by its hash, has it. */
void persist_in_share(struct worker *w, uint64_t session_id, uint16_t id, uint64_t group);
/* The topic's retained message changed. */
void persist_retained(struct worker *w, uint32_t instance, struct slice topic);
void persist_will(struct worker *w, struct session *s);
/* A delayed message, and that it is with everybody. */
void persist_delayed(struct worker *w, const struct delayed *d, uint64_t due_wall_us);
void persist_delayed_gone(struct worker *w, uint64_t store_id);
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

/* ---- memory.c: max_memory ---- */
void memory_start(struct worker *w);
void memory_configure(struct worker *w);
/* A message of so many bytes has come. False: there is no memory for it. */
bool memory_takes_limited(struct worker *w, size_t bytes);
static inline bool memory_takes(struct worker *w, size_t bytes)
{
    return w->memory_step == 0 || memory_takes_limited(w, bytes);
}
static inline bool memory_full(const struct server *s)
{
    return atomic_load_explicit(&s->memory_full, memory_order_relaxed);
}
void memory_evidence(const struct server *s, struct evidence *e);

/* ---- sys.c ---- */
void sys_start(struct worker *w);
void sys_free(struct sys *sys); /* NULL-safe */
/* A client was accepted: the most that there were at a time. */
void sys_note_clients(struct server *s);
/* Any loop: somebody subscribed, $SYS is to be kept up to date. */
void sys_wanted(struct server *s);
void sys_wake(struct worker *w);
/* Its interval may be another. */
void sys_configure(struct worker *w);

#endif
