/*
 * load: the load generator. One process, one thread, one case, one JSON line of result.
 *
 * It checks what it counts (lost, doubled, reordered, altered messages, CONNACK codes, connections
 * that end unasked) and ends by itself: a stall (--stall, 5 s) or the --limit makes the run fail.
 * Exit status: 0 all was right, 1 something was not, 2 wrong usage.
 */
#include "load.h"

#include <errno.h>
#include <poll.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ERROR_LINES 5

struct load_case {
    const char *name;
    void (*run)(struct load *l);
    struct load_options defaults;
    const char *help;
};

static const struct load_case cases[] = {
    {"pairs", case_messages, {.clients = 50, .window = 40}, "N publishers, one subscriber each"},
    {"fanout", case_messages, {.clients = 500, .window = 30}, "one publisher to N subscribers"},
    {"fanin", case_messages, {.clients = 500, .window = 50}, "N publishers to one subscriber"},
    {"shared",
     case_messages,
     {.clients = 50, .window = 40},
     "N publishers to one shared subscription of N"},
    {"pingpong", case_messages, {.clients = 1, .window = 1}, "one message in flight"},
    {"latency", case_messages, {.clients = 50, .window = 1000}, "N pairs at a fixed --rate"},
    {"connect", case_connect, {.clients = 0}, "connect, CONNACK, end; --count times"},
    {"takeover", case_takeover, {.clients = 50}, "N client IDs taken over again and again"},
    {"idle",
     case_idle,
     {.clients = 19000, .first = 10000},
     "connect --first clients, stop, go on to N, stop"},
    {"sessions", case_sessions, {.clients = 0}, "--count kept sessions with a subscription each"},
    {"retained", case_retained, {.clients = 50, .window = 20}, "--count retained messages"},
    {"wild",
     case_wild,
     {.clients = 100, .window = 4},
     "--count wildcard subscriptions, then messages to them"},
};

void load_fail(struct load *l, uint64_t *counter, const char *format, ...)
{
    (*counter)++;
    if (l->said++ >= ERROR_LINES) {
        return;
    }
    va_list args;
    va_start(args, format);
    (void)fprintf(stderr, "load: %s: ", l->o.case_name);
    (void)vfprintf(stderr, format, args);
    (void)fputc('\n', stderr);
    va_end(args);
}

void load_progress(struct load *l, int64_t now)
{
    l->stall_ns = now + (int64_t)(l->o.stall_s * 1e9);
}

bool load_may_go_on(struct load *l, int64_t now)
{
    if (l->stop) {
        return false;
    }
    if (now >= l->deadline_ns || now >= l->stall_ns) {
        load_fail(l, &l->errors.stalled, "%s",
                  now >= l->deadline_ns ? "the --limit is over"
                                        : "nothing moved for --stall seconds");
        l->stop = true;
        return false;
    }
    return true;
}

void load_phase(struct load *l, const char *phase)
{
    char line[64];
    if (!l->o.sync || l->stop) {
        return;
    }
    printf("{\"phase\":\"%s\"}\n", phase);
    (void)fflush(stdout);
    int64_t left_ms = (l->deadline_ns - clock_ns()) / 1000000;
    struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
    if (left_ms <= 0 || poll(&in, 1, (int)left_ms) <= 0 || read(in.fd, line, sizeof line) <= 0) {
        load_fail(l, &l->errors.stalled, "no answer to phase %s", phase);
        l->stop = true;
    }
    load_progress(l, clock_ns());
}

uint64_t load_error_count(const struct load *l)
{
    const struct load_errors *e = &l->errors;
    return e->connect + e->closed + e->protocol + e->corrupt + e->lost + e->doubled + e->reordered +
           e->stalled;
}

void samples_add(struct samples *s, int64_t ns)
{
    if (s->count == s->room) {
        s->room = s->room * 2 + 65536;
        s->ns = realloc(s->ns, s->room * sizeof(uint32_t));
        if (!s->ns) {
            abort();
        }
    }
    s->ns[s->count++] = ns < 0 ? 0 : ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

static int compare_ns(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;
    return (x > y) - (x < y);
}

void samples_print(struct samples *s)
{
    static const struct {
        const char *name;
        double part;
    } marks[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1.0}};
    if (s->count == 0) {
        return;
    }
    qsort(s->ns, s->count, sizeof s->ns[0], compare_ns);
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        size_t at = (size_t)((double)(s->count - 1) * marks[i].part);
        printf(",\"%s_us\":%.1f", marks[i].name, s->ns[at] / 1000.0);
    }
}

void samples_fini(struct samples *s)
{
    free(s->ns);
    memset(s, 0, sizeof *s);
}

static void print_result(struct load *l)
{
    const struct load_errors *e = &l->errors;
    printf("{\"case\":\"%s\",\"qos\":%u,\"clients\":%u,\"payload\":%u,\"count\":%llu,"
           "\"seconds\":%.6f,\"per_second\":%.0f",
           l->o.case_name, l->o.qos, l->o.clients, l->o.payload, (unsigned long long)l->done,
           l->measured_s, l->measured_s > 0 ? (double)l->done / l->measured_s : 0.0);
    samples_print(&l->latency);
    if (l->most > 0) {
        printf(",\"least\":%llu,\"most\":%llu", (unsigned long long)l->least,
               (unsigned long long)l->most);
    }
    if (l->used > 0) {
        printf(",\"used\":%llu", (unsigned long long)l->used);
    }
    if (l->resumed > 0) {
        printf(",\"resumed\":%llu", (unsigned long long)l->resumed);
    }
    printf(",\"errors\":%llu,\"connect_errors\":%llu,\"closed\":%llu,\"protocol_errors\":%llu,"
           "\"corrupt\":%llu,\"lost\":%llu,\"doubled\":%llu,\"reordered\":%llu,\"stalled\":%llu}\n",
           (unsigned long long)load_error_count(l), (unsigned long long)e->connect,
           (unsigned long long)e->closed, (unsigned long long)e->protocol,
           (unsigned long long)e->corrupt, (unsigned long long)e->lost,
           (unsigned long long)e->doubled, (unsigned long long)e->reordered,
           (unsigned long long)e->stalled);
}

static int usage(const char *why)
{
    (void)fprintf(stderr, "load: %s\nusage: load CASE --port PORT [options]\n", why);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        (void)fprintf(stderr, "  %-10s %s\n", cases[i].name, cases[i].help);
    }
    (void)fputs(
        "options: --qos 0|1|2 --clients N --window N --payload BYTES --count N --seconds S\n"
        "  --warmup N --rate N --concurrency N --sources N --ids N --first N\n"
        "  --end fin|rst|disconnect --transport tcp|tls|ws|wss --resume --user U --password P\n"
        "  --limit S --stall S --sync\n",
        stderr);
    return 2;
}

enum kind { KIND_U8, KIND_U16, KIND_U32, KIND_U64, KIND_SECONDS, KIND_TEXT, KIND_FLAG, KIND_WORD };

#define OPTION(name, member, kind, max)                                                            \
    {                                                                                              \
        name, offsetof(struct load_options, member), max, kind                                     \
    }
static const struct {
    const char *name;
    size_t at;
    uint64_t max;
    enum kind kind;
} options[] = {
    OPTION("--port", port, KIND_U16, 65535),
    OPTION("--qos", qos, KIND_U8, 2),
    OPTION("--clients", clients, KIND_U32, 19900),
    OPTION("--window", window, KIND_U32, 60000),
    OPTION("--payload", payload, KIND_U32, 65536),
    OPTION("--count", count, KIND_U64, 1000000000),
    OPTION("--seconds", seconds, KIND_SECONDS, 600),
    OPTION("--warmup", warmup, KIND_U64, 100000000),
    OPTION("--rate", rate, KIND_U32, 1000000),
    OPTION("--concurrency", concurrency, KIND_U32, 19900),
    OPTION("--sources", sources, KIND_U32, 200),
    OPTION("--ids", ids, KIND_U32, 10000000),
    OPTION("--first", first, KIND_U32, 19900),
    OPTION("--end", end, KIND_WORD, 0),
    OPTION("--transport", transport, KIND_WORD, 0),
    OPTION("--resume", resume, KIND_FLAG, 0),
    OPTION("--user", user, KIND_TEXT, 64),
    OPTION("--password", password, KIND_TEXT, 64),
    OPTION("--limit", limit_s, KIND_SECONDS, 3600),
    OPTION("--stall", stall_s, KIND_SECONDS, 600),
    OPTION("--sync", sync, KIND_FLAG, 0),
};

/* A whole number from 0 to max, else -1. */
static int64_t number(const char *text, uint64_t max)
{
    char *rest = NULL;
    errno = 0;
    unsigned long long v = strtoull(text, &rest, 10);
    return errno != 0 || rest == text || *rest != '\0' || *text == '-' || v > max ? -1 : (int64_t)v;
}

static int set_number(void *at, enum kind kind, int64_t v)
{
    uint8_t u8 = (uint8_t)v;
    uint16_t u16 = (uint16_t)v;
    uint32_t u32 = (uint32_t)v;
    uint64_t u64 = (uint64_t)v;
    double seconds = (double)v;
    const void *from[] = {&u8, &u16, &u32, &u64, &seconds};
    const size_t bytes[] = {sizeof u8, sizeof u16, sizeof u32, sizeof u64, sizeof seconds};
    if (v < 0) {
        return -1;
    }
    memcpy(at, from[kind], bytes[kind]);
    return 0;
}

/* The words of --end and --transport, in the order of their enums. */
static int set_word(void *at, const char *option, const char *text)
{
    static const char *const ends[] = {"fin", "rst", "disconnect", NULL};
    static const char *const transports[] = {"tcp", "tls", "ws", "wss", NULL};
    const char *const *names = strcmp(option, "--end") == 0 ? ends : transports;
    for (unsigned i = 0; names[i]; i++) {
        if (strcmp(text, names[i]) == 0) {
            memcpy(at, &i, sizeof i);
            return 0;
        }
    }
    return -1;
}

/* Takes one option; `value` NULL when nothing follows. Returns the words used, -1: wrong. */
static int take_option(struct load_options *o, const char *name, const char *value)
{
    size_t i = 0;
    while (i < sizeof options / sizeof options[0] && strcmp(options[i].name, name) != 0) {
        i++;
    }
    if (i == sizeof options / sizeof options[0]) {
        return -1;
    }
    char *at = (char *)o + options[i].at;
    if (options[i].kind == KIND_FLAG) {
        const bool on = true;
        memcpy(at, &on, sizeof on);
        return 1;
    }
    if (!value) {
        return -1;
    }
    if (options[i].kind == KIND_WORD) {
        return set_word(at, name, value) < 0 ? -1 : 2;
    }
    if (options[i].kind == KIND_TEXT) {
        memcpy(at, &value, sizeof value);
        return strlen(value) > options[i].max ? -1 : 2;
    }
    return set_number(at, options[i].kind, number(value, options[i].max)) < 0 ? -1 : 2;
}

static int parse(int argc, char **argv, struct load_options *o)
{
    for (int i = 2; i < argc;) {
        int used = take_option(o, argv[i], i + 1 < argc ? argv[i + 1] : NULL);
        if (used < 0) {
            return usage(argv[i]);
        }
        i += used;
    }
    if (o->port == 0 || o->payload < 24 || o->window == 0 || o->clients == 0 || o->rate == 0 ||
        o->concurrency == 0 || o->sources == 0 || o->ids < 2 * o->concurrency ||
        o->first > o->clients || o->limit_s <= 0 || o->stall_s <= 0) {
        return usage("--port is needed; --payload 24 or more; no zeros; --ids twice --concurrency");
    }
    return 0;
}

/* The case's defaults over the common ones. */
static struct load_options defaults(const struct load_case *c)
{
    struct load_options o = {
        .payload = 64,
        .concurrency = 100,
        .sources = 32,
        .ids = 10000,
        .count = 10000,
        .rate = 10000,
        .limit_s = 60,
        .stall_s = 5,
        .clients = 1,
        .window = 1,
    };
    o.case_name = c->name;
    o.clients = c->defaults.clients > 0 ? c->defaults.clients : o.clients;
    o.first = c->defaults.first;
    o.window = c->defaults.window > 0 ? c->defaults.window : o.window;
    return o;
}

static void raise_descriptor_limit(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) == 0) {
        r.rlim_cur = r.rlim_max;
        setrlimit(RLIMIT_NOFILE, &r);
    }
}

int main(int argc, char **argv)
{
    const struct load_case *c = NULL;
    for (size_t i = 0; argc > 1 && i < sizeof cases / sizeof cases[0]; i++) {
        if (strcmp(argv[1], cases[i].name) == 0) {
            c = &cases[i];
        }
    }
    if (!c) {
        return usage("which case?");
    }
    struct load l = {.o = defaults(c)};
    int status = parse(argc, argv, &l.o);
    if (status != 0) {
        return status;
    }
    raise_descriptor_limit();
    transport_setup(l.o.resume);
    int64_t now = clock_ns();
    l.deadline_ns = now + (int64_t)(l.o.limit_s * 1e9);
    load_progress(&l, now);
    c->run(&l);
    print_result(&l);
    transport_teardown();
    samples_fini(&l.latency);
    return load_error_count(&l) > 0 ? 1 : 0;
}
