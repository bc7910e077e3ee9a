/*
 * The configuration, read again while the broker runs: by main for SIGHUP, by the API. main makes and frees it.
 */
#ifndef TMQ_SERVER_RELOAD_CONTROL_H
#define TMQ_SERVER_RELOAD_CONTROL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct config;
struct server;
struct trace;

/* A value that a reload found changed. */
struct config_change {
    const char *name;      /* key in the file; lives for ever */
    bool live;             /* applied; else it needs a restart */
    char from[96], to[96]; /* as one would write them, cut */
};

struct reload;
struct reload_parts {
    int argc; /* as config_load() took them */
    char **argv;
    const struct config *first; /* what holds now; it outlives the reload */
    struct server *server;
    struct trace *trace;
};
struct reload_report {
    char error[512]; /* file, line, key: nothing was changed. "" = done */
    struct config_change *changes;
    size_t count;
    int certificates; /* of so many listeners they were read again */
};
struct reload *reload_new(const struct reload_parts *parts);
/* Behind server_free(). NULL-safe. */
void reload_free(struct reload *r);
/*
 * Reads files and command line again, applies what may change while the broker runs, logs each change. Any thread but a
 * loop; one at a time, others wait. 0, or -1: report->error. Free the report either way.
 */
int reload_run(struct reload *r, struct reload_report *out) __attribute__((warn_unused_result));
void reload_report_fini(struct reload_report *report);

/* How the last one went, the start counts as a good one: when the last good one was, wall time. Any thread. */
struct reload_last {
    bool good;
    uint64_t good_us;
};
struct reload_last reload_last(const struct reload *r);

#endif
