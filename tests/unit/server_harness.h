/*
 * A broker without threads, sockets and disk: the real src/server, broker, mqtt and base over a fake loop, store, trace and
 * auth. Tests open clients, feed them bytes, let time pass, and ask what was written and what was recorded.
 *
 * One harness at a time. Nothing happens but in h_settle() and what calls it.
 */
#ifndef TMQ_TESTS_SERVER_HARNESS_H
#define TMQ_TESTS_SERVER_HARNESS_H

#include "fake_loop.h"
#include "mqtt/client.h"
#include "server/server_priv.h"
#include "server_fakes.h"

enum { CLIENTS_MAX = 256 };

/* A connection as its client sees it. The harness owns it. */
struct client {
    struct stream_mem mem;
    struct buf input;  /* mem reads from it */
    struct conn *conn; /* the broker's side; good until mem.closed */
    uint8_t channel[RECORD_CHANNEL_BYTES];
    size_t shown; /* bytes of the output that h_says() has told */
    size_t read_seen;
    int fd;
    enum mqtt_version version; /* that it speaks: of its last CONNECT */
};

struct harness {
    struct config config; /* set by h_init(), to be changed before h_start() */
    struct store *store;
    struct server *server;
    struct client *clients[CLIENTS_MAX];
    unsigned client_count;
    size_t records_told;
    unsigned idle_rounds; /* since something was read */
    char text[16384];
};

void h_init(struct harness *h);
/* A broker over what the store holds. Channels of an earlier one are forgotten. */
void h_start(struct harness *h, unsigned workers);
/* An orderly stop; then h_check(). */
void h_stop(struct harness *h);
/* kill -9: nothing that happens from now on reaches trace or store. */
void h_crash(struct harness *h);
/* Stops when it runs; frees all. */
void h_fini(struct harness *h);

/* Rounds until every loop would sleep. */
void h_settle(struct harness *h);
/* One round of one worker. */
void h_round(struct harness *h, unsigned worker);
/* Time passes in small steps, with rounds in between. */
void h_pass(struct harness *h, uint64_t ms);
/* Time passes while the loops are not run: then a stall of that length is told. */
void h_stall(struct harness *h, uint64_t ms);

/* ---- clients ---- */
/* Accepted by worker `worker`. */
struct client *h_open(struct harness *h, unsigned worker);
void h_feed(struct harness *h, struct client *c, struct slice bytes);
/* Behind what was fed: the end of the stream (0) or an error (negative errno). */
void h_end(struct harness *h, struct client *c, int err);
/* The kernel takes `bytes` more, then it is full; SIZE_MAX: any number. */
void h_write_room(struct harness *h, struct client *c, size_t bytes);
/* What was written since the last call: "CONNACK 0; PUBLISH a/b=hello q1 #1". Reason codes of MQTT 5 are hexadecimal,
 * properties stand in braces: "CONNACK 0x0 {keepalive=5}; DISCONNECT 0x8e". Reason strings, and what every CONNACK says of
 * the configuration, are left out. */
const char *h_says(struct harness *h, struct client *c);
/* The records since the last call: "connect dev accepted.new; close dev peer.fin". */
const char *h_records(struct harness *h);
/* The last record of a cause, or NULL. */
const struct record *h_record(enum cause cause);
/* The number of a record's evidence; asserts that it is there. */
uint64_t h_evidence(const struct record *r, enum evidence_key k);

/* ---- packets of clients ---- */
struct mqtt_connect h_connect_of(const char *client_id, bool clean);
/* MQTT 5; to be given properties. */
struct mqtt_connect h_connect5_of(const char *client_id, bool clean, uint32_t session_expiry);
void h_send_connect(struct harness *h, struct client *c, const struct mqtt_connect *p);
void h_send_subscribe(struct harness *h, struct client *c, uint16_t id, const char *filter,
                      uint8_t qos);
void h_send_publish(struct harness *h, struct client *c, const char *topic, const char *payload,
                    uint8_t qos, uint16_t id);
void h_send_ack(struct harness *h, struct client *c, enum mqtt_type type, uint16_t id);
void h_send_pingreq(struct harness *h, struct client *c);
void h_send_disconnect(struct harness *h, struct client *c);
/* MQTT 5; props may be NULL. */
void h_send_disconnect5(struct harness *h, struct client *c, uint8_t reason,
                        const struct mqtt_props *props);
void h_send_auth(struct harness *h, struct client *c, uint8_t reason,
                 const struct mqtt_props *props);
/* Opens, sends that CONNECT and settles. */
struct client *h_connecting(struct harness *h, const struct mqtt_connect *p);
/* Opens, connects and settles; the CONNACK is asserted and told. */
struct client *h_connected(struct harness *h, const char *client_id, bool clean);
/* The same, subscribed with one filter. Commits must not be held for a durable session. */
struct client *h_subscribed(struct harness *h, const char *client_id, bool clean,
                            const char *filter, uint8_t qos);

/* ---- from outside ---- */
/* A password was checked. False: none waits. */
bool h_auth_finish(struct harness *h);
int h_kick(struct harness *h, struct slice client_id);
void h_settings_changed(struct harness *h);
/* A client ID, from `prefix`, that worker `worker` owns; static memory. */
const char *h_id_of(struct harness *h, unsigned worker, const char *prefix);

/*
 * The oracle, at any time: every channel has at most one connect and one ending, the connect first, what was answered with
 * CONNACK 0 is recorded, and what was written is whole packets (the last may be cut). `over`: every channel has ended.
 */
void h_check(const struct harness *h, bool over);

#endif
