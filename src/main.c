/*
 * The program: arguments, wiring, start and stop order. No logic.
 *
 * Everything hangs from struct program, which is built from the bottom up (store, settings, trace, server, HTTP) and
 * taken down in reverse. All threads are made with the signals blocked; the main thread waits for them.
 *
 * Exit status: 0 done; 1 something failed while running; 2 wrong usage or configuration, data directory or address
 * not to be had.
 */
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/api.h"
#include "auth/auth.h"
#include "base/clock.h"
#include "base/failpoint.h"
#include "base/log.h"
#include "base/notify.h"
#include "bridge/bridge.h"
#include "cli/cli.h"
#include "server/bootstrap_file.h"
#include "server/config.h"
#include "server/reload_control.h"
#include "server/server.h"
#include "server/settings_io.h"
#include "store/store.h"
#include "trace/trace.h"

enum { EXIT_OK = 0, EXIT_FAILED = 1, EXIT_USAGE = 2 };
enum {
    RESERVE_BYTES = 64 * 1024 * 1024,
    REFUSED_BYTES = 64 * 1024 * 1024,
    COMMIT_INTERVAL_MS = 20,
    HTTP_CONNECTIONS = 256,
    HTTP_STREAMS = 64,
    STOP_SECONDS = 9 /* SIGTERM ends within 10 s, whatever hangs */
};

struct program {
    struct config config;
    struct store *store;
    struct auth *auth;
    struct trace *trace;
    struct server *server;
    struct reload *reload;
    struct bridges *bridges;
    struct api *api;
    struct notify notify;
    int argc; /* of `serve`: a reload reads them again */
    char **argv;
    struct auth_bootstrap first;
    char url[300], mqtt[300]; /* as a client on this machine reaches them; "" = not served */
};

static int fail(int status, const char *text)
{
    (void)fprintf(stderr, "tracemq: %s\n", text);
    return status;
}

/* ---- the process ---- */

static void raise_descriptor_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void stop_set(sigset_t *set)
{
    (void)sigemptyset(set);
    (void)sigaddset(set, SIGINT);
    (void)sigaddset(set, SIGTERM);
    (void)sigaddset(set, SIGHUP);
}

/* Before any thread is made: they inherit the mask. */
static void block_signals(void)
{
    sigset_t set;
    stop_set(&set);
    (void)sigaddset(&set, SIGPIPE);
    (void)pthread_sigmask(SIG_BLOCK, &set, NULL);
}

static void reload(struct program *p)
{
    struct reload_report report;
    notify_send(&p->notify, "RELOADING=1\nMONOTONIC_USEC=%llu",
                (unsigned long long)clock_mono_us());
    int rc = reload_run(p->reload, &report); /* it was logged */
    notify_send(&p->notify, "READY=1\nSTATUS=%s",
                rc == 0 ? "serving; the configuration was read again"
                        : "serving; the new configuration is not good, see the log");
    reload_report_fini(&report);
}

/* The next signal, or 0 when it is time for a sign of life. */
static int next_signal(const struct program *p, const sigset_t *set)
{
    uint64_t ms = p->notify.watchdog_ms / 2;
    const struct timespec wait = {.tv_sec = (time_t)(ms / 1000),
                                  .tv_nsec = (long)(ms % 1000) * 1000000};
    int signal = ms == 0 ? sigwaitinfo(set, NULL) : sigtimedwait(set, NULL, &wait);
    return signal > 0 ? signal : 0;
}

static void wait_for_stop(struct program *p)
{
    sigset_t set;
    int signal = 0;
    stop_set(&set);
    while (signal != SIGINT && signal != SIGTERM) {
        signal = next_signal(p, &set);
        if (signal == SIGHUP) {
            reload(p);
        } else if (signal == 0 && p->notify.watchdog_ms > 0 && server_pulse(p->server)) {
            notify_send(&p->notify, "WATCHDOG=1");
        }
    }
    notify_send(&p->notify, "STOPPING=1\nSTATUS=ending connections");
    log_info("stopping", "signal=%s", signal == SIGINT ? "INT" : "TERM");
}

static void on_second_signal(int signal)
{
    (void)signal;
    _exit(EXIT_FAILED);
}

/* From now on a signal ends the program at once, and so does a stop that hangs. Nothing that was acknowledged is
 * lost by it. */
static void arm_exit(void)
{
    sigset_t set;
    const struct sigaction at_once = {.sa_handler = on_second_signal};
    (void)sigaction(SIGINT, &at_once, NULL);
    (void)sigaction(SIGTERM, &at_once, NULL);
    (void)sigaction(SIGALRM, &at_once, NULL);
    (void)alarm(STOP_SECONDS);
    (void)sigemptyset(&set);
    (void)sigaddset(&set, SIGINT);
    (void)sigaddset(&set, SIGTERM);
    (void)pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- start, in this order; each returns an exit status ---- */

static int start_store(struct program *p)
{
    struct store_error err;
    const struct store_options o = {.dir = p->config.data,
                                    .memory_bytes = config_trace_memory(&p->config) / 2,
                                    .reserve_bytes = RESERVE_BYTES};
    return store_open(&p->store, &o, &err) == 0 ? EXIT_OK : fail(EXIT_USAGE, err.text);
}

static int start_auth(struct program *p)
{
    struct auth_error err;
    const struct auth_options o = {.io = settings_io(p->store),
                                   .allow_anonymous = p->config.allow_anonymous};
    if (auth_open(&p->auth, &o, &err) != 0) {
        return fail(EXIT_FAILED, err.text);
    }
    auth_bootstrap(p->auth, &p->first);
    return EXIT_OK;
}

static int start_trace(struct program *p, unsigned loops)
{
    const struct config *c = &p->config;
    struct store_error err;
    const struct trace_options o = {.enabled = c->trace,
                                    .loops = loops,
                                    .node = c->node,
                                    .ring_dir = c->trace_ring_dir,
                                    .memory_bytes = config_trace_memory(c) / 2,
                                    .commit_interval_ms = COMMIT_INTERVAL_MS,
                                    .refused_bytes = REFUSED_BYTES,
                                    .limits = {.fsync_interval_ms = c->trace_fsync_ms,
                                               .retention_ms = c->trace_retention_ms,
                                               .fleet_retention_ms = c->trace_fleet_retention_ms,
                                               .retention_bytes = c->trace_retention_bytes,
                                               .max_range_ms = c->trace_max_range_ms}};
    return trace_open(&p->trace, p->store, &o, &err) == 0 ? EXIT_OK : fail(EXIT_FAILED, err.text);
}

/* Where a client on this machine reaches `address`: a wildcard is the loopback. */
static void local_address(const char *address, const char *scheme, char *out, size_t size)
{
    const char *colon = strrchr(address, ':');
    size_t n = colon == NULL ? 0 : (size_t)(colon - address);
    bool any4 = n == strlen("0.0.0.0") && memcmp(address, "0.0.0.0", n) == 0;
    bool any6 = n == strlen("[::]") && memcmp(address, "[::]", n) == 0;
    (void)snprintf(out, size, "%s%s%s", scheme,
                   any4   ? "127.0.0.1"
                   : any6 ? "[::1]"
                          : "",
                   any4 || any6 ? colon : address);
}

/* The first listener of that protocol that is no Unix socket, or NULL; one that is for load balancers only if there is no
 * other. */
static const struct server_listener_info *listener_of(const struct program *p, const char *protocol)
{
    const struct server_listener_info *l, *best = NULL;
    for (unsigned i = 0; (l = server_listener(p->server, i)) != NULL; i++) {
        bool fits = strcmp(l->protocol, protocol) == 0 &&
                    strncmp(l->address, "unix:", strlen("unix:")) != 0;
        if (fits && (best == NULL || (best->proxied && !l->proxied))) {
            best = l;
        }
    }
    return best;
}

static int start_server(struct program *p, unsigned loops)
{
    struct config_error err;
    const struct server_parts parts = {.config = &p->config,
                                       .auth = p->auth,
                                       .store = p->store,
                                       .trace = p->trace,
                                       .id = store_uuid(p->store),
                                       .loops = loops};
    if (server_new(&p->server, &parts, &err) != 0) {
        return fail(EXIT_USAGE, err.text);
    }
    const struct reload_parts reload = {.argc = p->argc,
                                        .argv = p->argv,
                                        .first = &p->config,
                                        .server = p->server,
                                        .trace = p->trace};
    p->reload = reload_new(&reload);
    const struct server_listener_info *l = listener_of(p, "mqtt");
    if (l != NULL) {
        local_address(l->address, "", p->mqtt, sizeof p->mqtt);
    }
    return EXIT_OK;
}

static void attach(void *arg, const struct bridge_attach *a)
{
    const struct server_own own = {.fd = a->fd,
                                   .forget_incoming = a->forget_incoming,
                                   .prepares = a->prepares,
                                   .client_id = a->client_id,
                                   .peer = a->peer};
    server_attach(arg, &own);
}

static int make_bridges(struct program *p, const char *id)
{
    char err[BRIDGE_ERROR_MAX] = "";
    const struct bridge_parts parts = {.settings = p->config.bridges,
                                       .count = p->config.bridge_count,
                                       .id = id,
                                       .node = p->config.node,
                                       .local_prefix = SERVER_OWN_ID,
                                       .attach = attach,
                                       .arg = p->server};
    return bridges_new(&p->bridges, &parts, err) == 0 ? EXIT_OK : fail(EXIT_USAGE, err);
}

static int start_api(struct program *p)
{
    char err[256] = "";
    const struct api_options o = {.address = p->config.http,
                                  .region = p->config.region,
                                  .max_connections = HTTP_CONNECTIONS,
                                  .max_streams = HTTP_STREAMS,
                                  .auth = p->auth,
                                  .trace = p->trace,
                                  .server = p->server,
                                  .bridges = p->bridges,
                                  .reload = p->reload};
    if (p->config.http == NULL) {
        return EXIT_OK;
    }
    if (api_start(&p->api, &o, err, sizeof err) != 0) {
        return fail(EXIT_USAGE, err);
    }
    local_address(api_address(p->api), "http://", p->url, sizeof p->url);
    return EXIT_OK;
}

static int write_bootstrap(struct program *p)
{
    const struct bootstrap_file f = {.values = &p->first,
                                     .url = p->url[0] == '\0' ? NULL : p->url,
                                     .mqtt = p->mqtt[0] == '\0' ? NULL : p->mqtt};
    int rc = bootstrap_file_write(p->config.data, &f);
    if (rc < 0) {
        log_error("bootstrap.json could not be written", "dir=\"%s\" error=\"%s\"", p->config.data,
                  strerror(-rc));
        return EXIT_FAILED;
    }
    if (rc == 1) {
        log_info("first start: the credentials were written", "file=\"%s/bootstrap.json\"",
                 p->config.data);
    }
    return EXIT_OK;
}

static int start_all(struct program *p)
{
    unsigned loops = p->config.loops == 0 ? server_default_loops() : (unsigned)p->config.loops;
    int status = start_store(p);
    status = status != EXIT_OK ? status : start_auth(p);
    status = status != EXIT_OK ? status : start_trace(p, loops);
    status = status != EXIT_OK ? status : start_server(p, loops);
    status = status != EXIT_OK ? status : make_bridges(p, store_uuid(p->store));
    status = status != EXIT_OK ? status : start_api(p);
    status = status != EXIT_OK ? status : write_bootstrap(p);
    if (status != EXIT_OK) {
        return status;
    }
    int rc = server_start(p->server);
    if (rc != 0) {
        log_error("the broker could not start", "error=\"%s\"", strerror(-rc));
        return EXIT_FAILED;
    }
    bridges_start(p->bridges);
    server_set_ready(p->server);
    const struct server_listener_info *mqtt = listener_of(p, "mqtt");
    const struct server_listener_info *l;
    for (unsigned i = 0; (l = server_listener(p->server, i)) != NULL; i++) {
        log_info("listening", "listener=%s protocol=%s address=%s%s", l->name, l->protocol,
                 l->address, l->path == NULL ? "" : l->path);
    }
    log_info("ready", "version=%s mqtt=%s http=%s data=\"%s\" loops=%u node=\"%s\"",
             TRACEMQ_VERSION, mqtt == NULL ? "off" : mqtt->address,
             p->api == NULL ? "off" : api_address(p->api), p->config.data, loops, p->config.node);
    notify_send(&p->notify, "READY=1\nSTATUS=serving; MQTT on %s, HTTP on %s",
                mqtt == NULL ? "no address" : mqtt->address,
                p->api == NULL ? "no address" : api_address(p->api));
    return EXIT_OK;
}

static void stop_all(struct program *p, bool started)
{
    api_stop(p->api);
    if (started) {
        bridges_stop(p->bridges);
        server_stop(p->server);
    }
    bridges_free(p->bridges);
    trace_close(p->trace); /* before the loops are freed: its threads may be about to wake one */
    server_leave(p->server);
    reload_free(p->reload);
    auth_close(p->auth);
    store_close(p->store);
    config_fini(&p->config);
}

/* ---- what a person at the terminal wants to know ---- */

static void say_clients(const struct program *p, const char *data)
{
    const char *colon = strrchr(p->mqtt, ':');
    bool bracket = p->mqtt[0] == '[';
    int host = (int)(colon - p->mqtt) - (bracket ? 2 : 0);
    (void)printf("  connect a device (in another terminal)\n"
                 "    mosquitto_sub -h %.*s -p %s -i GID_demo@@@device1 -u %s -P %s -t '#' -v\n",
                 host, p->mqtt + (bracket ? 1 : 0), colon + 1, p->first.mqtt_username,
                 p->first.mqtt_password);
    if (p->url[0] != '\0') {
        char self[PATH_MAX] = "tracemq";
        ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
        self[n > 0 ? (size_t)n : strlen("tracemq")] = '\0';
        (void)printf("  ask for its history\n    %s trace GID_demo@@@device1 --data %s\n", self,
                     data);
    }
}

static void say_where(const struct program *p)
{
    char data[PATH_MAX];
    if (isatty(STDOUT_FILENO) == 0) {
        return;
    }
    if (realpath(p->config.data, data) == NULL) {
        (void)snprintf(data, sizeof data, "%s", p->config.data);
    }
    (void)printf("\nTraceMQ %s is running. Ctrl-C stops it.\n\n", TRACEMQ_VERSION);
    if (p->url[0] != '\0') {
        (void)printf("  console      %s\n  user         %s, password %s\n", p->url,
                     p->first.console_user, p->first.console_password);
    }
    (void)printf("  credentials  %s/bootstrap.json\n", data);
    const struct server_listener_info *ws = listener_of(p, "ws");
    if (ws != NULL) {
        char url[sizeof p->mqtt];
        local_address(ws->address, "ws://", url, sizeof url);
        (void)printf("  websocket    %s%s\n", url, ws->path);
    }
    if (p->mqtt[0] != '\0') {
        say_clients(p, data);
    }
    (void)putchar('\n');
    (void)fflush(stdout);
}

/* ---- subcommands ---- */

static bool has_word(int argc, char **argv, const char *word)
{
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], word) == 0) {
            return true;
        }
    }
    return false;
}

/* --help and its kin; true when one was asked for. */
static bool show_help(int argc, char **argv)
{
    static const struct {
        const char *word;
        void (*show)(FILE *out);
    } texts[] = {{"--help", config_help},
                 {"-h", config_help},
                 {"--help-markdown", config_help_markdown},
                 {"--help-yaml", config_help_yaml}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        if (has_word(argc, argv, texts[i].word)) {
            texts[i].show(stdout);
            return true;
        }
    }
    return false;
}

/* What the configuration names, before anything is touched. */
static int check_files(struct program *p)
{
    struct config_error err;
    if (server_check_tls(&p->config, &err) != 0) {
        return fail(EXIT_USAGE, err.text);
    }
    int status = make_bridges(p, "");
    bridges_free(p->bridges);
    p->bridges = NULL;
    return status;
}

/* argv[0] is "serve". */
static int serve(int argc, char **argv)
{
    static struct program p; /* what is left to the kernel can be reached from here: no leak */
    struct config_error err;
    bool check = false;
    p.argc = argc;
    p.argv = argv;
    if (show_help(argc, argv)) {
        return EXIT_OK;
    }
    if (config_load(&p.config, argc, argv, &check, &err) != 0) {
        return fail(EXIT_USAGE, err.text);
    }
    int status = check_files(&p);
    if (check || status != EXIT_OK) {
        (void)(status == EXIT_OK && puts("configuration is good"));
        config_fini(&p.config);
        return status;
    }
    log_set_level((enum log_level)config_log_level(&p.config));
    block_signals();
    raise_descriptor_limit();
    failpoint_init();
    notify_init(&p.notify);
    status = start_all(&p);
    if (status == EXIT_OK) {
        say_where(&p);
        wait_for_stop(&p);
        arm_exit();
    }
    stop_all(&p, status == EXIT_OK);
    notify_fini(&p.notify);
    if (status == EXIT_OK) {
        log_info("stopped", "%s", "");
    }
    return status;
}

int main(int argc, char **argv)
{
    const char *word = argc > 1 ? argv[1] : "";
    if (strcmp(word, "serve") == 0) {
        return serve(argc - 1, argv + 1);
    }
    if (strcmp(word, "--version") == 0) {
        (void)puts("tracemq " TRACEMQ_VERSION);
        return EXIT_OK;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0) {
        cli_help();
        return EXIT_OK;
    }
    if (cli_knows(word)) {
        return cli_main(argc, argv);
    }
    (void)fprintf(stderr, "tracemq: %s%s%s; `tracemq --help` lists the commands\n",
                  argc > 1 ? "unknown command \"" : "no command given", word, argc > 1 ? "\"" : "");
    return EXIT_USAGE;
}
