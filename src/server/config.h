/*
 * The configuration: one table of options (config.def) from which the struct, the command line, the YAML file's schema,
 * --help, the man page and docs/configuration.md come. Pure but for reading the file.
 */
#ifndef TMQ_SERVER_CONFIG_H
#define TMQ_SERVER_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

enum config_durability { DURABILITY_FSYNC, DURABILITY_OS, DURABILITY_NONE };

/* Strings are owned by the struct; NULL or "" = off / default. */
struct config {
    char *data;   /* data directory */
    char *region; /* "local" */
    char *node;   /* name of this node; default the host name */
    char *mqtt;   /* listener addresses, NULL = closed */
    char *http;
    bool allow_anonymous;
    uint64_t loops;  /* 0 = one per CPU of the affinity mask */
    char *log_level; /* debug, info, warn, error */

    uint64_t max_connections;     /* 0 = what the descriptor limit allows */
    uint64_t max_packet_size;     /* bytes, 1 MiB */
    uint64_t connect_timeout_ms;  /* 10 s */
    uint64_t receive_maximum;     /* QoS 1 and 2 messages a client may have in flight to us; 1024 */
    uint64_t max_inflight;        /* … and we to it; 1024 */
    uint64_t max_queued_messages; /* per session; 10,000 */
    uint64_t max_queued_bytes;    /* per session; 16 MiB */
    uint64_t
        max_output_bytes; /* unsent bytes of one connection beyond which QoS 0 is dropped; 1 MiB */
    uint64_t max_subscriptions; /* per session; 10,000 */
    uint64_t max_retained;      /* messages in all; 0 = no limit */
    uint64_t mailbox_bytes;     /* between loops; 4 MiB */
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

/* The options, as `tracemq serve --help` shows them. */
void config_help(FILE *out);
/* The same as the table of docs/configuration.md, and as the sample file packaging/tracemq.yaml. */
void config_help_markdown(FILE *out);
void config_help_yaml(FILE *out);

/* Bytes of memory for trace and store together: trace_memory, or the default share when that is 0. */
uint64_t config_trace_memory(const struct config *c);

#endif
