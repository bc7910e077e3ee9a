/*
 * `tracemq trace --follow`: the event stream, resumed where it was lost, until Ctrl-C. The filters are applied here,
 * because the stream has all rows of the device.
 */
#include <signal.h>
#include <stdlib.h>

#include "cli/trace.h"

enum { RETRY_US = 1000000 };

/* Set by the signal handler; the one mutable global of cli/. */
static volatile int stopped;

static void on_signal(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

static bool wanted(const struct cli_args *a, enum cli_option o, const json_t *item)
{
    const char *value = cli_text(item, cli_option_info(o)->name);
    return !cli_has(a, o) || (value != NULL && strcmp(value, a->value[o]) == 0);
}

static void on_event(void *ctx, struct slice data)
{
    struct trace_printer *p = ctx;
    json_t *item = json_loadb((const char *)data.p, data.n, 0, NULL);
    if (item != NULL && wanted(p->args, OPT_ACTION, item) && wanted(p->args, OPT_CAUSE, item)) {
        cli_trace_row(p, item);
        cli_trace_flush(p);
        if (fflush(stdout) != 0) {
            stopped = 1; /* nobody reads on */
        }
    }
    json_decref(item);
}

static void catch_signals(void)
{
    struct sigaction sa = {.sa_handler = on_signal};
    (void)sigemptyset(&sa.sa_mask);
    (void)sigaction(SIGINT, &sa, NULL);
    (void)sigaction(SIGTERM, &sa, NULL);
    sa.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &sa, NULL); /* fflush() says so */
}

int cli_trace_follow(struct cli_http *h, const struct cli_args *a, const char *client_id,
                     const char *after, struct trace_printer *p)
{
    struct buf path = {0};
    struct sse sse = {0};
    int status = CLI_DONE;
    (void)snprintf(sse.id, sizeof sse.id, "%s", after);
    cli_path_instance(h, &path);
    buf_put_slice(&path, slice_str("/stream"));
    cli_path_query(&path, "clientId", client_id);
    catch_signals();
    if (!cli_has(a, OPT_JSON) && !cli_has(a, OPT_CSV)) {
        (void)fprintf(stderr, "following; Ctrl-C ends\n");
    }
    if (fflush(stdout) != 0) {
        stopped = 1;
    }
    while (!stopped && status == CLI_DONE) {
        int rc = cli_http_stream(h, &path, &sse, on_event, p, &stopped);
        if (rc >= 400 && rc < 500) {
            status = CLI_FAILED; /* the same question gets the same answer */
        } else if (!stopped) {
            (void)fprintf(stderr, "tracemq: the stream ended, trying again\n");
            (void)usleep(RETRY_US);
        }
    }
    sse_fini(&sse);
    buf_fini(&path);
    return status;
}
