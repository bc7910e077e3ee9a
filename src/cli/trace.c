/*
 * `tracemq trace`: a device's history as a table with a sentence below that says what it means.
 *
 * The range: nothing given is the server's default (the last 24 h of its own clock). `--last` below a day leaves the
 * end to the server, so that a client clock a little behind hides nothing.
 */
#include "cli/trace.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/cause.h"
#include "base/clock.h"
#include "base/mem.h"

enum { COLUMNS = 6 };
static const uint64_t day_ms = 86400000;

/* ---- arguments ---- */

static uint64_t now_ms(void)
{
    return clock_wall_us() / 1000;
}

int cli_device_check(const struct cli_args *a, char *problem, size_t size)
{
    bool both = cli_has(a, OPT_GROUP) && cli_has(a, OPT_DEVICE);
    bool any = cli_has(a, OPT_GROUP) || cli_has(a, OPT_DEVICE);
    if (a->count == 1 ? any : !both) {
        (void)snprintf(problem, size,
                       a->count == 1 ? "CLIENT_ID or --group and --device, not both"
                                     : "CLIENT_ID or --group and --device is missing");
        return -1;
    }
    return 0;
}

static int check_time(const struct cli_args *a, enum cli_option o, char *problem, size_t size)
{
    uint64_t ms = 0;
    if (cli_has(a, o) && cli_parse_time(a->value[o], cli_has(a, OPT_LOCAL), 0, &ms) != 0) {
        (void)snprintf(problem, size,
                       "--%s: \"%.100s\" is no time: 2026-01-31T12:00:05Z, "
                       "\"2026-01-31 12:00\", Unix ms or now",
                       cli_option_info(o)->name, a->value[o]);
        return -1;
    }
    return 0;
}

static int check_range(const struct cli_args *a, char *problem, size_t size)
{
    uint64_t ms = 0;
    if (!cli_has(a, OPT_LAST)) {
        return check_time(a, OPT_BEGIN, problem, size) != 0 ||
                       check_time(a, OPT_END, problem, size) != 0
                   ? -1
                   : 0;
    }
    if (cli_has(a, OPT_BEGIN) || cli_has(a, OPT_END)) {
        (void)snprintf(problem, size, "--last or --begin and --end, not both");
        return -1;
    }
    if (cli_parse_duration(a->value[OPT_LAST], &ms) != 0 || ms == 0) {
        (void)snprintf(problem, size, "--last: \"%.100s\" is no duration: 24h, 90m, 1h30m, 30s",
                       a->value[OPT_LAST]);
        return -1;
    }
    return 0;
}

int cli_trace_check(const struct cli_args *a, char *problem, size_t size)
{
    if (cli_device_check(a, problem, size) != 0 || check_range(a, problem, size) != 0) {
        return -1;
    }
    if (cli_has(a, OPT_JSON) && cli_has(a, OPT_CSV)) {
        (void)snprintf(problem, size, "--json or --csv, not both");
        return -1;
    }
    if (cli_has(a, OPT_FOLLOW) && (cli_has(a, OPT_REVERSE) || cli_has(a, OPT_END))) {
        (void)snprintf(problem, size,
                       "--follow goes forward and has no end: not with --reverse or --end");
        return -1;
    }
    if (cli_has(a, OPT_ACTION) && cause_action_parse(slice_str(a->value[OPT_ACTION])) < 0) {
        (void)snprintf(problem, size, "--action: \"%.50s\" must be connect, close or disconnect",
                       a->value[OPT_ACTION]);
        return -1;
    }
    return 0;
}

static void put_time(struct buf *path, const char *key, uint64_t ms)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%" PRIu64, ms);
    cli_path_query(path, key, text);
}

static void put_given_time(struct buf *path, const struct cli_args *a, enum cli_option o)
{
    uint64_t ms = 0;
    if (cli_has(a, o) && cli_parse_time(a->value[o], cli_has(a, OPT_LOCAL), now_ms(), &ms) == 0) {
        put_time(path, cli_option_info(o)->name, ms);
    }
}

static void put_range(struct buf *path, const struct cli_args *a)
{
    uint64_t last = 0;
    put_given_time(path, a, OPT_BEGIN);
    put_given_time(path, a, OPT_END);
    if (!cli_has(a, OPT_LAST) || cli_parse_duration(a->value[OPT_LAST], &last) != 0 ||
        last == day_ms) {
        return;
    }
    uint64_t now = now_ms();
    put_time(path, "begin", last < now ? now - last : 0);
    if (last + 60000 > day_ms) {
        put_time(path, "end", now);
    }
}

static void put_path(struct buf *path, struct cli_http *h, const struct cli_args *a,
                     const char *client_id, const char *order)
{
    cli_path_instance(h, path);
    buf_put_slice(path, slice_str("/devices"));
    cli_path_segment(path, client_id);
    buf_put_slice(path, slice_str("/trace"));
    put_range(path, a);
    cli_path_query(path, "order", order);
    cli_path_query(path, "action", a->value[OPT_ACTION]);
    cli_path_query(path, "cause", a->value[OPT_CAUSE]);
}

/* ---- rows ---- */

void cli_trace_printer_init(struct trace_printer *p, const struct cli_args *a)
{
    *p = (struct trace_printer){.args = a, .local = cli_has(a, OPT_LOCAL)};
    const char *const header[COLUMNS] = {p->local ? "TIME (LOCAL)" : "TIME (UTC)",
                                         "ACTION",
                                         "DESCRIPTION",
                                         "CAUSE",
                                         "PEER",
                                         "CHANNEL"};
    cli_table_init(&p->table, header, COLUMNS);
    p->table.width[0] = 23; /* a table that is followed cannot know what comes */
    p->table.width[1] = 10;
}

void cli_trace_printer_fini(struct trace_printer *p)
{
    cli_table_fini(&p->table);
}

static void table_row(struct trace_printer *p, const json_t *item)
{
    char time[CLI_TIME_SIZE];
    const char *const cells[COLUMNS] = {cli_time(item, "time", p->local, time),
                                        cli_text(item, "action"),
                                        cli_text(item, "description"),
                                        cli_text(item, "cause"),
                                        cli_text(item, "peer"),
                                        cli_text(item, "channelId")};
    cli_table_add(&p->table, cells);
}

static const char *const csv_columns[] = {"seq",       "timeIso", "time",        "clientId",
                                          "channelId", "action",  "description", "cause",
                                          "endedBy",   "peer",    "transport",   "protocol"};
enum { CSV_COLUMNS = sizeof csv_columns / sizeof csv_columns[0] };

static void csv_header(void)
{
    for (size_t i = 0; i < CSV_COLUMNS; i++) {
        (void)printf("%s,", csv_columns[i]);
    }
    (void)printf("detail,verdict\r\n");
}

/* Strings as they are, null empty, anything else as JSON. */
static void put_csv_value(struct buf *b, const json_t *v)
{
    if (json_is_string(v)) {
        cli_put_csv(b, slice_make(json_string_value(v), json_string_length(v)));
    } else if (v != NULL && !json_is_null(v)) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        cli_put_csv(b, slice_str(text));
        free(text);
    }
}

static void csv_row(const json_t *item)
{
    struct buf b = {0};
    for (size_t i = 0; i < CSV_COLUMNS; i++) {
        put_csv_value(&b, json_object_get(item, csv_columns[i]));
        buf_put_u8(&b, ',');
    }
    put_csv_value(&b, json_object_get(item, "detail"));
    buf_put_u8(&b, ',');
    put_csv_value(&b, json_object_get(json_object_get(item, "verdict"), "text"));
    buf_put_slice(&b, slice_str("\r\n"));
    (void)fwrite(buf_slice(&b).p, 1, buf_len(&b), stdout);
    buf_fini(&b);
}

void cli_trace_row(struct trace_printer *p, const json_t *item)
{
    if (cli_has(p->args, OPT_JSON)) {
        (void)json_dumpf(item, stdout, JSON_COMPACT);
        (void)putchar('\n');
    } else if (cli_has(p->args, OPT_CSV)) {
        csv_row(item);
    } else {
        table_row(p, item);
    }
}

void cli_trace_flush(struct trace_printer *p)
{
    if (cli_has(p->args, OPT_CSV)) {
        if (!p->header_done) {
            csv_header();
        }
        p->header_done = true;
    } else if (!cli_has(p->args, OPT_JSON)) {
        cli_table_flush(&p->table, stdout);
    }
}

/* ---- the sentences below ---- */

static void print_safe(const char *s)
{
    struct buf b = {0};
    cli_put_safe(&b, slice_str(s));
    (void)printf("%.*s", (int)buf_len(&b), buf_len(&b) == 0 ? "" : (const char *)buf_slice(&b).p);
    buf_fini(&b);
}

/* The newest row that is an ending, or NULL. */
static const json_t *last_ending(const json_t *items, bool newest_first)
{
    size_t n = json_array_size(items);
    for (size_t i = 0; i < n; i++) {
        const json_t *item = json_array_get(items, newest_first ? i : n - 1 - i);
        const char *action = cli_text(item, "action");
        if (action != NULL && strcmp(action, "connect") != 0) {
            return item;
        }
    }
    return NULL;
}

static void print_verdict(const json_t *item, bool local)
{
    char time[CLI_TIME_SIZE];
    const json_t *verdict = json_object_get(item, "verdict");
    const char *text = cli_text(verdict, "text");
    const char *next = cli_text(verdict, "next");
    if (item == NULL || text == NULL) {
        return;
    }
    (void)printf("Last ending, %s: ", cli_time(item, "time", local, time));
    print_safe(text);
    if (next != NULL && *next != '\0') {
        (void)printf(" ");
        print_safe(next);
    }
    (void)putchar('\n');
}

/* When older rows filled the limit, the newest ending has to be asked for. */
static void print_last_verdict(struct cli_http *h, const struct cli_args *a, const char *client_id,
                               const json_t *doc)
{
    bool reverse = cli_has(a, OPT_REVERSE);
    const json_t *items = json_object_get(doc, "items");
    json_t *newest = NULL;
    if (!reverse && cli_text(doc, "next") != NULL) {
        struct buf path = {0};
        put_path(&path, h, a, client_id, "desc");
        if (cli_request_all(h, &path, 50, &newest) == 0) {
            items = json_object_get(newest, "items");
            reverse = true;
        }
        buf_fini(&path);
    }
    print_verdict(last_ending(items, reverse), cli_has(a, OPT_LOCAL));
    json_decref(newest);
}

static void print_open(const json_t *doc, bool local)
{
    char time[CLI_TIME_SIZE];
    const json_t *open = json_object_get(doc, "openChannel");
    const char *channel = cli_text(open, "channelId");
    if (json_is_object(open)) {
        (void)printf("Connected since %s through the whole range, on channel ",
                     cli_time(open, "since", local, time));
        print_safe(channel == NULL ? "-" : channel);
        (void)printf(".\n");
    }
}

static void print_gaps(const json_t *doc, bool local)
{
    char from[CLI_TIME_SIZE];
    char to[CLI_TIME_SIZE];
    const json_t *gaps = json_object_get(doc, "gaps");
    if (json_is_true(json_object_get(doc, "complete"))) {
        (void)printf("complete: nothing of this range was lost.\n");
        return;
    }
    (void)printf("not complete:\n");
    for (size_t i = 0; i < json_array_size(gaps); i++) {
        const json_t *g = json_array_get(gaps, i);
        (void)printf("  %" JSON_INTEGER_FORMAT " records between %s and %s were lost\n",
                     json_integer_value(json_object_get(g, "count")),
                     cli_time(g, "from", local, from), cli_time(g, "to", local, to));
    }
}

/* How many rows are shown, and of how many. */
static void print_count(const json_t *doc, const struct cli_args *a)
{
    size_t shown = json_array_size(json_object_get(doc, "items"));
    json_int_t total = json_integer_value(json_object_get(doc, "total"));
    bool least = json_is_integer(json_object_get(doc, "totalAtLeast"));
    if (least) {
        total = json_integer_value(json_object_get(doc, "totalAtLeast"));
    }
    (void)printf("%zu row%s", shown, shown == 1 ? "" : "s");
    if (cli_text(doc, "next") != NULL) {
        (void)printf(", the %s of %s%" JSON_INTEGER_FORMAT "; --limit N shows more",
                     cli_has(a, OPT_REVERSE) ? "newest" : "oldest", least ? "at least " : "",
                     total);
    }
    (void)printf("; ");
}

/* Nothing in the range: what is known of the device, or how to find the right name. */
static void print_nothing(struct cli_http *h, const struct cli_args *a, const char *client_id,
                          const json_t *doc)
{
    char begin[CLI_TIME_SIZE];
    char end[CLI_TIME_SIZE];
    char seen[CLI_TIME_SIZE];
    bool local = cli_has(a, OPT_LOCAL);
    const char *matching = cli_has(a, OPT_ACTION) || cli_has(a, OPT_CAUSE)
                               ? "No matching record of \""
                               : "No record of \"";
    (void)printf("%s", matching);
    print_safe(client_id);
    (void)printf("\" between %s and %s%s.\n", cli_time(doc, "begin", local, begin),
                 cli_time(doc, "end", local, end), local ? "" : " UTC");
    if (json_is_object(json_object_get(doc, "openChannel"))) {
        print_open(doc, local);
        return;
    }
    struct buf path = {0};
    json_t *status = NULL;
    cli_path_instance(h, &path);
    buf_put_slice(&path, slice_str("/devices"));
    cli_path_segment(&path, client_id);
    int rc = cli_request(h, "GET", &path, NULL, 404, &status);
    if (rc == 404) {
        (void)printf(
            "No device with this client ID was ever connected: `tracemq devices --prefix TEXT` "
            "lists those that are known.\n");
    } else if (rc == 0) {
        (void)printf("The device is %s, last change %s: give --begin and --end (at most one day "
                     "apart) around the time you look for.\n",
                     json_is_true(json_object_get(status, "online")) ? "online" : "offline",
                     cli_time(status, "lastUpdate", local, seen));
    }
    json_decref(status);
    buf_fini(&path);
}

static void print_rows(struct trace_printer *p, const json_t *doc)
{
    const json_t *items = json_object_get(doc, "items");
    if (cli_has(p->args, OPT_CSV)) {
        cli_trace_flush(p); /* the header */
    }
    for (size_t i = 0; i < json_array_size(items); i++) {
        cli_trace_row(p, json_array_get(items, i));
    }
    if (!cli_has(p->args, OPT_CSV)) {
        cli_trace_flush(p);
    }
}

static void print_document(struct cli_http *h, const struct cli_args *a, const char *client_id,
                           const json_t *doc, struct trace_printer *p)
{
    bool table = !cli_has(a, OPT_JSON) && !cli_has(a, OPT_CSV);
    if (cli_has(a, OPT_JSON)) {
        cli_print_json(doc);
    } else if (table && json_array_size(json_object_get(doc, "items")) == 0) {
        print_nothing(h, a, client_id, doc);
        print_gaps(doc, cli_has(a, OPT_LOCAL));
    } else {
        print_rows(p, doc);
        if (table) {
            (void)putchar('\n');
            print_last_verdict(h, a, client_id, doc);
            print_open(doc, cli_has(a, OPT_LOCAL));
            print_count(doc, a);
            print_gaps(doc, cli_has(a, OPT_LOCAL));
        }
    }
}

/* The position behind the newest row, for --follow. */
static void newest_seq(const json_t *doc, char *out, size_t size)
{
    const json_t *items = json_object_get(doc, "items");
    size_t n = json_array_size(items);
    out[0] = '\0';
    if (n > 0) {
        (void)snprintf(out, size, "%" JSON_INTEGER_FORMAT,
                       json_integer_value(json_object_get(json_array_get(items, n - 1), "seq")));
    }
}

int cli_trace(struct cli_http *h, const struct cli_args *a)
{
    char *client_id = cli_client_id(a);
    struct buf path = {0};
    struct trace_printer printer;
    json_t *doc = NULL;
    cli_trace_printer_init(&printer, a);
    put_path(&path, h, a, client_id, cli_has(a, OPT_REVERSE) ? "desc" : "asc");
    int status = cli_request_all(h, &path, cli_limit(a), &doc) == 0 ? CLI_DONE : CLI_FAILED;
    if (status == CLI_DONE && cli_has(a, OPT_FOLLOW)) {
        char after[24];
        newest_seq(doc, after, sizeof after);
        print_rows(&printer, doc);
        status = cli_trace_follow(h, a, client_id, after, &printer);
    } else if (status == CLI_DONE) {
        print_document(h, a, client_id, doc, &printer);
    }
    json_decref(doc);
    cli_trace_printer_fini(&printer);
    buf_fini(&path);
    free(client_id);
    return status;
}
