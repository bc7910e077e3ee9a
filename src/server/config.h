/*
 * The configuration: one table of options (config.def) from which the struct, the command line, the YAML file's schema,
 * --help, the man page and docs/configuration.md come. Pure but for reading the file.
 */
#ifndef TMQ_SERVER_CONFIG_H
#define TMQ_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "bridge/settings.h"
#include "net/tls.h"
#include "server/reload_control.h"

enum config_protocol { PROTOCOL_MQTT, PROTOCOL_MQTTS, PROTOCOL_WS, PROTOCOL_WSS };
static inline const char *config_protocol_name(enum config_protocol p)
{
    static const char *const names[] = {[PROTOCOL_MQTT] = "mqtt",
                                        [PROTOCOL_MQTTS] = "mqtts",
                                        [PROTOCOL_WS] = "ws",
                                        [PROTOCOL_WSS] = "wss"};
    return names[p];
}

/* An entry of `listeners`; strings are owned, NULL = not given. What is not given was filled in from the broker's options. */
struct config_listener {
    char *name, *address;
    enum config_protocol protocol;
    uint64_t max_connections; /* 0 = no limit of its own */
    char *certificate, *key, *client_ca, *crl;
    enum tls_client_certificate client_certificate;
    enum tls_username username_from;
    enum tls_version min_version;
    char *path, *origins; /* WebSocket */
    bool proxy_protocol;  /* connections begin with a PROXY header … */
    char *proxy_from;     /* … of these networks */
    uint32_t given;       /* which of them the file says, by row of listener.def */
};

enum config_on_rate { ON_RATE_WAIT, ON_RATE_CLOSE };
enum config_durability { DURABILITY_FSYNC, DURABILITY_OS, DURABILITY_NONE };

/* Strings are owned by the struct; NULL or "" = off / default. */
struct config {
    char *data;   /* data directory */
    char *region; /* "local" */
    char *node;   /* name of this node; default the host name */
    char *mqtt;   /* listener addresses, NULL = closed */
    char *mqtts, *ws, *wss;
    char *http;
    bool reuse_port;
    struct config_listener *listeners; /* of the file, then those of mqtt, mqtts, ws, wss */
    unsigned listener_count;
    struct bridge_settings *bridges; /* of the file */
    unsigned bridge_count;
    char *tls_certificate, *tls_key, *tls_client_ca, *tls_crl;
    enum tls_client_certificate tls_client_certificate;
    enum tls_username tls_username_from;
    enum tls_version tls_min;
    char *ws_path, *ws_origins;
    uint64_t ws_ping_ms; /* 0 = none */
    bool proxy_protocol;
    char *proxy_from;
    bool allow_anonymous;
    uint64_t loops;  /* 0 = one per CPU of the affinity mask */
    char *log_level; /* debug, info, warn, error */

    uint64_t max_connections;             /* 0 = what the descriptor limit allows */
    uint64_t max_connections_per_address; /* 0 = no limit, as with the rates */
    uint64_t max_connect_rate;            /* new connections a second of one address */
    uint64_t max_connect_rate_total;      /* … of all */
    uint64_t max_publish_rate;            /* PUBLISH packets a second of one connection */
    uint64_t max_publish_bytes_rate;      /* … and their bytes */
    enum config_on_rate on_publish_rate;
    uint64_t max_packet_size;     /* bytes, 1 MiB */
    uint64_t connect_timeout_ms;  /* 10 s */
    uint64_t receive_maximum;     /* QoS 1 and 2 messages a client may have in flight to us; 1024 */
    uint64_t max_inflight;        /* … and we to it; 1024 */
    uint64_t max_queued_messages; /* per session; 10,000 */
    uint64_t max_queued_bytes;    /* per session; 16 MiB */
    bool drop_oldest;             /* of a full queue: the oldest that waits, else the newest */
    bool queue_qos0;              /* QoS 0 waits for clients that are away */
    bool validate_payload_format;
    uint64_t
        max_output_bytes; /* unsent bytes of one connection beyond which QoS 0 is dropped; 1 MiB */
    uint64_t slow_consumer_timeout_ms; /* 60 s; 0 = never */
    uint64_t max_memory;               /* bytes allocated in all; 0 = no limit */
    uint64_t max_subscriptions;        /* per session; 10,000 */
    uint64_t max_retained;             /* messages in all; 0 = no limit */
    uint64_t max_delayed_messages;     /* in all; 0: none is delayed */
    uint64_t max_delayed_bytes;
    uint64_t topic_alias_maximum;   /* aliases that a client may set; 16 */
    uint64_t max_keepalive_ms;      /* of MQTT 5 clients; 0 = no limit */
    uint64_t session_expiry_max_ms; /* a session outlives its connection; 0 = no limit */
    char *response_information;     /* MQTT 5; "" = none */
    uint64_t mailbox_bytes;         /* between loops; 4 MiB */
    enum config_durability durability;
    uint64_t sys_interval_ms; /* $SYS; 10 s, 0 = off */

    bool trace;                  /* false only for measurements */
    uint64_t trace_memory;       /* bytes; 0 = 5 % of RAM or of the cgroup limit, 16 to 512 MiB */
    uint64_t trace_fsync_ms;     /* 1000 */
    uint64_t trace_retention_ms; /* 7 d */
    uint64_t trace_fleet_retention_ms; /* 1 d */
    uint64_t trace_retention_bytes;    /* 0 = no limit */
    uint64_t trace_max_range_ms;       /* 1 d */
    char *trace_ring_dir;              /* "/dev/shm" */
};

struct config_error {
    char text[512]; /* file, line, key, what was expected */
};

/*
 * Fills *c from defaults, then the file that --config names, then the other arguments (argv[0] is not read). 0, or -1
 * with the error in words (exit status 2). `check` tells that --check was given: validate only.
 */
int config_load(struct config *c, int argc, char **argv, bool *check, struct config_error *err)
    __attribute__((warn_unused_result));
void config_fini(struct config *c);

/* log_level as base/log's enum log_level has it. */
unsigned config_log_level(const struct config *c);

/*
 * For a reload: `next`, just loaded, becomes what holds from now on: what needs a restart is as in `now` again. Returns how
 * many values differed, `out` has them (CONFIG_CHANGES_MAX of room).
 */
enum { CONFIG_CHANGES_MAX = 128 };
size_t config_merge(struct config *next, const struct config *now, struct config_change *out);
bool config_same_listeners(const struct config *a, const struct config *b);
bool config_same_bridges(const struct config *a, const struct config *b);

/* The options, as `tracemq serve --help` shows them. */
void config_help(FILE *out);
/* The same as the table of docs/configuration.md, and as the sample file packaging/tracemq.yaml. */
void config_help_markdown(FILE *out);
void config_help_yaml(FILE *out);

/* Bytes of memory for trace and store together: trace_memory, or the default share when that is 0. */
uint64_t config_trace_memory(const struct config *c);

#endif
