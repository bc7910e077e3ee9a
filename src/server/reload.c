/*
 * The configuration, read again: by SIGHUP (main's thread) and by the API (an HTTP thread).
 *
 * A new struct is loaded from the same command line and file. Nothing is touched when that fails. What is LIVE in config.def
 * takes its new value, what is not keeps the old one and is told as needing a restart, again at each reload until then.
 * Certificates are read again from the files that were named at the start. The struct that held before is freed when no loop can read it any more.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "server/config.h"
#include "server/reload_control.h"
#include "server/server.h"
#include "trace/trace.h"

struct reload {
    struct reload_parts parts;
    pthread_mutex_t lock;
    struct config *own; /* what holds now, once there was a reload; else parts.first does */
    atomic_bool last_failed;
    _Atomic uint64_t good_us; /* when the last good one was */
};

struct reload *reload_new(const struct reload_parts *parts)
{
    struct reload *r = mem_new(1, sizeof *r);
    r->parts = *parts;
    atomic_init(&r->good_us, clock_wall_us());
    (void)pthread_mutex_init(&r->lock, NULL);
    return r;
}

static void config_free(struct config *c)
{
    if (c != NULL) {
        config_fini(c);
        free(c);
    }
}

void reload_free(struct reload *r)
{
    if (r == NULL) {
        return;
    }
    config_free(r->own);
    (void)pthread_mutex_destroy(&r->lock);
    free(r);
}

static void apply_to_trace(struct trace *t, const struct config *c)
{
    const struct trace_limits limits = {.fsync_interval_ms = c->trace_fsync_ms,
                                        .retention_ms = c->trace_retention_ms,
                                        .fleet_retention_ms = c->trace_fleet_retention_ms,
                                        .retention_bytes = c->trace_retention_bytes,
                                        .max_range_ms = c->trace_max_range_ms};
    trace_set_limits(t, &limits);
}

/* `next` (taken over) holds from now on. */
static void apply(struct reload *r, struct config *next)
{
    struct config *before = r->own;
    r->own = next;
    log_set_level((enum log_level)config_log_level(next));
    apply_to_trace(r->parts.trace, next);
    if (server_use_config(r->parts.server, next) == 0) {
        config_free(before);
    } else {
        log_error("a loop did not take the new configuration in time", "%s", "");
    }
}

static void log_report(const struct reload_report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        const struct config_change *c = &report->changes[i];
        if (c->live) {
            log_info("configuration changed", "name=%s from=\"%s\" to=\"%s\"", c->name, c->from,
                     c->to);
        } else {
            log_warn("needs a restart", "name=%s from=\"%s\" to=\"%s\"", c->name, c->from, c->to);
        }
    }
    log_info("configuration reloaded", "changes=%zu", report->count);
}

static int run(struct reload *r, struct reload_report *out)
{
    struct config_error err;
    struct config *next = mem_new(1, sizeof *next);
    bool check = false;
    if (config_load(next, r->parts.argc, r->parts.argv, &check, &err) != 0) {
        memcpy(out->error, err.text, sizeof out->error);
        log_error("the configuration stays as it was", "error=\"%s\"", err.text);
        free(next);
        return -1;
    }
    out->certificates = server_reload_tls(r->parts.server, &err);
    if (out->certificates < 0) {
        memcpy(out->error, err.text, sizeof out->error);
        log_error("the configuration stays as it was", "error=\"%s\"", err.text);
        config_free(next);
        return -1;
    }
    out->changes = mem_new(CONFIG_CHANGES_MAX, sizeof *out->changes);
    out->count = config_merge(next, r->own != NULL ? r->own : r->parts.first, out->changes);
    if (!config_same_listeners(next, r->parts.first)) { /* these are opened once */
        out->changes[out->count++] = (struct config_change){
            .name = "listeners", .from = "as at the start", .to = "as the file says now"};
    }
    if (!config_same_bridges(next, r->parts.first)) {
        out->changes[out->count++] = (struct config_change){
            .name = "bridges", .from = "as at the start", .to = "as the file says now"};
    }
    apply(r, next);
    log_report(out);
    return 0;
}

int reload_run(struct reload *r, struct reload_report *out)
{
    *out = (struct reload_report){.count = 0};
    (void)pthread_mutex_lock(&r->lock);
    int rc = run(r, out);
    atomic_store(&r->last_failed, rc != 0);
    if (rc == 0) {
        atomic_store(&r->good_us, clock_wall_us());
    }
    (void)pthread_mutex_unlock(&r->lock);
    return rc;
}

struct reload_last reload_last(const struct reload *r)
{
    return (struct reload_last){.good = !atomic_load(&r->last_failed),
                                .good_us = atomic_load(&r->good_us)};
}

void reload_report_fini(struct reload_report *report)
{
    free(report->changes);
    report->changes = NULL;
    report->count = 0;
}
