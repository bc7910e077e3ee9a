/*
 * The trace store by itself, through real rings, commits and fsyncs: how many records a second become durable
 * and what each costs, how long one device-day takes to ask for while records come in, how long a restart takes.
 * One JSON object a line on stdout (bench/README.md). Data goes to a directory beside the program, on a disk.
 *
 *   trace_bench [--quick|--full] [--write] [--dir DIR]
 *
 * --write: the write case only, with the CPU of each thread on stderr.
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bytes.h"
#include "base/clock.h"
#include "base/mem.h"
#include "trace/trace.h"

enum { LOOPS = 2, HOT = 1000, INGEST_PER_S = 5000, QUERIES_PER_S = 500, QUERY_SECONDS = 10 };

struct bench {
    char dir[256];
    struct trace_options opt;
    struct store *store;
    struct trace *trace;
    uint64_t records, devices;
    bool write_only;
    _Atomic bool stop;
};

struct emitter {
    struct bench *b;
    unsigned loop;
    uint64_t records, refused;
    double cpu_s; /* of the thread, emit's encoding included */
    uint64_t seed;
};

static uint64_t next_random(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static double cpu_s(int who)
{
    struct rusage u;
    (void)getrusage(who, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static void nap_us(long us)
{
    struct timespec ts = {.tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000};
    (void)nanosleep(&ts, NULL);
}

static void row(const char *name, double value, const char *unit, double budget, bool at_least,
                const char *note)
{
    printf("{\"row\":\"%s\",\"case\":\"%s\",\"value\":%.4g,\"unit\":\"%s\"", name, name, value,
           unit);
    if (budget > 0) {
        printf(",\"budget\":%g,\"at_least\":%s", budget, at_least ? "true" : "false");
    }
    printf(",\"note\":\"%s\"}\n", note);
    (void)fflush(stdout);
}

/* ---- records ---- */

/* A device of this loop: a tenth of the events on HOT devices. */
static uint64_t pick_device(const struct bench *b, uint64_t *seed, unsigned loop)
{
    uint64_t r = next_random(seed);
    uint64_t d = r % 10 == 0 ? (r >> 8) % HOT : (r >> 8) % b->devices;
    return d - d % LOOPS + loop;
}

static struct slice device_name(uint64_t d, char out[40])
{
    int n = snprintf(out, 40, "GID_bench@@@device-%07llu", (unsigned long long)d);
    return slice_make(out, (size_t)n);
}

static bool emit(struct bench *b, unsigned loop, uint64_t d, uint64_t n, bool connect)
{
    char name[40];
    struct evidence ev;
    evidence_init(&ev);
    if (!connect) {
        evidence_u64(&ev, EV_DURATION_MS, n & 0xffff);
        evidence_u64(&ev, EV_PACKETS_IN, 12);
        evidence_u64(&ev, EV_BYTES_IN, 3456);
        evidence_u64(&ev, EV_TCP_RTT_US, 23000);
        evidence_u64(&ev, EV_SILENT_MS, 90000);
        evidence_str(&ev, EV_LAST_IN_TYPE, "PINGREQ");
    }
    uint64_t now = clock_wall_us();
    struct record r = {.time_us = now,
                       .connected_at_us = connect ? 0 : now,
                       .cause = connect ? CAUSE_ACCEPTED_NEW : CAUSE_KEEPALIVE_EXPIRED,
                       .protocol = 4,
                       .keepalive = 60,
                       .instance = slice_str("mqtt-local"),
                       .client_id = device_name(d, name),
                       .user = slice_str("bench"),
                       .peer = slice_str("192.168.100.100:54321"),
                       .listener = slice_str("mqtt"),
                       .detail = slice_make(ev.bytes, ev.n)};
    put_be64(r.channel, n * 0x9e3779b97f4a7c15u);
    put_be64(r.channel + 8, n << 8 | loop);
    return trace_emit(b->trace, loop, &r);
}

/* Sessions that open and end: two records each. */
static void *emit_all(void *arg)
{
    struct emitter *e = arg;
    double begin = cpu_s(RUSAGE_THREAD);
    for (uint64_t i = 0; i < e->records / 2; i++) {
        uint64_t d = pick_device(e->b, &e->seed, e->loop);
        for (int k = 0; k < 2; k++) {
            while (!emit(e->b, e->loop, d, i, k == 0)) {
                e->refused++;
                nap_us(500);
            }
        }
    }
    e->cpu_s = cpu_s(RUSAGE_THREAD) - begin;
    return NULL;
}

static void *emit_slowly(void *arg)
{
    struct emitter *e = arg;
    uint64_t begin = clock_mono_us();
    for (uint64_t i = 0; !atomic_load(&e->b->stop); i++) {
        uint64_t d = pick_device(e->b, &e->seed, e->loop);
        (void)!emit(e->b, e->loop, d, UINT64_C(1) << 40 | i, i % 2 == 0);
        uint64_t due = begin + i * 1000000 / INGEST_PER_S;
        uint64_t now = clock_mono_us();
        if (due > now) {
            nap_us((long)(due - now));
        }
    }
    return NULL;
}

/* ---- open, close ---- */

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)st, (void)type, (void)f;
    return remove(path);
}

static double counted_bytes;

static int count_one(const char *path, const struct stat *st, int type, struct FTW *f)
{
    (void)type, (void)f;
    size_t n = strlen(path);
    counted_bytes += n > 4 && strcmp(path + n - 4, ".sst") == 0 ? (double)st->st_size : 0;
    return 0;
}

static double dir_bytes(const char *path)
{
    counted_bytes = 0;
    (void)nftw(path, count_one, 16, FTW_PHYS);
    return counted_bytes;
}

static void open_all(struct bench *b)
{
    struct store_options so = {.dir = b->dir, .memory_bytes = 256 << 20, .reserve_bytes = 0};
    struct store_error err;
    if (store_open(&b->store, &so, &err) < 0 ||
        trace_open(&b->trace, b->store, &b->opt, &err) < 0) {
        (void)fprintf(stderr, "trace_bench: %s\n", err.text);
        exit(1);
    }
}

static void close_all(struct bench *b)
{
    trace_close(b->trace);
    store_close(b->store);
}

/* ---- cases ---- */

struct waiting {
    struct commit_job job;
    _Atomic bool done;
};

static void fill_none(struct commit_job *j, struct store_batch *batch)
{
    (void)j, (void)batch;
}

static void set_done(struct commit_job *j, int err)
{
    (void)err;
    atomic_store(&((struct waiting *)(void *)j)->done, true);
}

/* Until all `n` records are in the store and synced. */
static void wait_durable(struct bench *b, uint64_t n)
{
    while (trace_last_seq(b->trace) < n) {
        nap_us(1000);
    }
    struct waiting w = {.job = {.sync = true, .fill = fill_none, .done = set_done}};
    trace_submit(b->trace, &w.job);
    while (!atomic_load(&w.done)) {
        nap_us(200);
    }
}

/* A thread as /proc tells it: its state, name and CPU so far. */
struct thread_stat {
    char state;
    char name[24];
    double cpu_s;
};

enum { UTIME = 14 }; /* its field in stat; the kernel's time follows */

static bool thread_stat(const char *id, struct thread_stat *out)
{
    char path[64];
    char line[512];
    (void)snprintf(path, sizeof path, "/proc/self/task/%s/stat", id);
    FILE *f = fopen(path, "r");
    bool read = f != NULL && fgets(line, sizeof line, f) != NULL;
    if (f != NULL) {
        (void)fclose(f);
    }
    const char *open = read ? strchr(line, '(') : NULL;
    const char *close = read ? strrchr(line, ')') : NULL;
    if (open == NULL || close == NULL || strlen(close) < 3) {
        return false;
    }
    out->state = close[2];
    char *at = line + (close + 2 - line);
    for (int field = 3; field < UTIME && at != NULL; field++) {
        at = strchr(at + 1, ' ');
    }
    if (at == NULL) {
        return false;
    }
    unsigned long user = strtoul(at, &at, 10);
    unsigned long kernel = strtoul(at, NULL, 10);
    (void)snprintf(out->name, sizeof out->name, "%.*s", (int)(close - open - 1), open + 1);
    out->cpu_s = (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
    return true;
}

/* How many threads run, want to or wait for the disk; the caller is one. `print`: what each used, on stderr. */
static unsigned threads_busy(bool print)
{
    unsigned n = 0;
    DIR *d = opendir("/proc/self/task");
    for (const struct dirent *e; d != NULL && (e = readdir(d)) != NULL;) {
        struct thread_stat s;
        if (isdigit((unsigned char)e->d_name[0]) && thread_stat(e->d_name, &s)) {
            n += s.state == 'R' || s.state == 'D';
            if (print) {
                (void)fprintf(stderr, "%-20s %.2f\n", s.name, s.cpu_s);
            }
        }
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return n;
}

/* Until flush and compaction rest. On a busy machine compaction, at the lowest priority, hardly gets any CPU: that it
 * used none does not say that it is done. */
static void wait_rest(void)
{
    for (int i = 0, calm = 0; i < 6000 && calm < 10; i++) {
        nap_us(50000);
        calm = threads_busy(false) <= 1 ? calm + 1 : 0;
    }
}

static void bench_write(struct bench *b)
{
    struct emitter e[LOOPS];
    pthread_t thread[LOOPS];
    double cpu = cpu_s(RUSAGE_SELF);
    uint64_t begin = clock_mono_us();
    for (unsigned i = 0; i < LOOPS; i++) {
        e[i] = (struct emitter){.b = b, .loop = i, .records = b->records / LOOPS, .seed = 77 + i};
        if (pthread_create(&thread[i], NULL, emit_all, &e[i]) != 0) {
            exit(1);
        }
    }
    uint64_t refused = 0;
    double emit_cpu = 0;
    for (unsigned i = 0; i < LOOPS; i++) {
        (void)pthread_join(thread[i], NULL);
        refused += e[i].refused;
        emit_cpu += e[i].cpu_s;
    }
    wait_durable(b, b->records);
    double seconds = (double)(clock_mono_us() - begin) / 1e6;
    wait_rest();
    (void)threads_busy(b->write_only);
    cpu = cpu_s(RUSAGE_SELF) - cpu;
    char note[160];
    (void)snprintf(
        note, sizeof note, "%.1f M records of %llu devices, durable; waited for room %llu times",
        (double)b->records / 1e6, (unsigned long long)b->devices, (unsigned long long)refused);
    row("trace write", (double)b->records / seconds, "records/s", 400000, true, note);
    (void)snprintf(note, sizeof note,
                   "generator, emit, commit, flush and compaction; %.2f of it generator and emit",
                   emit_cpu / (double)b->records * 1e6);
    row("trace write CPU", cpu / (double)b->records * 1e6, "us/record", 3, false, note);
}

static int by_value(const void *pa, const void *pb)
{
    const double *a = pa;
    const double *b = pb;
    return (*a > *b) - (*a < *b);
}

static double query_once(struct bench *b, uint64_t *seed, uint64_t *rows)
{
    char name[40];
    uint64_t r = next_random(seed);
    uint64_t d = r % 5 == 0 ? (r >> 8) % HOT : (r >> 8) % b->devices;
    uint64_t now = clock_wall_us();
    struct trace_query q = {.instance = slice_str("mqtt-local"),
                            .client_id = device_name(d, name),
                            .begin_us = now - UINT64_C(86400) * 1000000,
                            .end_us = now,
                            .ascending = r % 2 == 0,
                            .action = -1,
                            .cause = -1,
                            .limit = 100};
    struct trace_page p;
    uint64_t begin = clock_mono_us();
    if (trace_query(b->trace, &q, &p) < 0) {
        (void)fprintf(stderr, "trace_bench: a query failed\n");
        exit(1);
    }
    double us = (double)(clock_mono_us() - begin);
    *rows += p.count;
    trace_page_fini(&p);
    return us;
}

static void bench_query(struct bench *b)
{
    struct emitter e = {.b = b, .loop = 0, .seed = 5};
    pthread_t thread;
    if (pthread_create(&thread, NULL, emit_slowly, &e) != 0) {
        exit(1);
    }
    enum { WARM = 2 * QUERIES_PER_S, N = QUERIES_PER_S * QUERY_SECONDS };
    double *us = mem_new(N, sizeof *us);
    uint64_t seed = 99;
    uint64_t rows = 0;
    for (int i = -WARM; i < N; i++) {
        double t = query_once(b, &seed, &rows);
        if (i >= 0) {
            us[i] = t;
        }
        nap_us(t < 1000000.0 / QUERIES_PER_S ? (long)(1000000.0 / QUERIES_PER_S - t) : 0);
    }
    atomic_store(&b->stop, true);
    (void)pthread_join(thread, NULL);
    qsort(us, N, sizeof *us, by_value);
    char note[160];
    (void)snprintf(
        note, sizeof note,
        "one device, one day, limit 100, during %d records/s over %.0f M; %.1f rows each",
        INGEST_PER_S, (double)b->records / 1e6, (double)rows / (N + WARM));
    row("trace query p50", us[N / 2] / 1000, "ms", 0.3, false, note);
    row("trace query p99", us[N * 99 / 100] / 1000, "ms", 1, false, note);
    free(us);
}

static double peak_mib(void)
{
    char line[128];
    double kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f != NULL && fgets(line, sizeof line, f) != NULL) {
        if (strncmp(line, "VmHWM:", 6) == 0) {
            kib = strtod(line + 6, NULL);
        }
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return kib / 1024;
}

int main(int argc, char **argv)
{
    struct bench b = {.records = 10000000, .devices = 1000000};
    const char *base = ".";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--quick") == 0) {
            b.records = 2000000;
            b.devices = 200000;
        } else if (strcmp(argv[i], "--full") == 0) {
            b.records = 100000000;
        } else if (strcmp(argv[i], "--write") == 0) {
            b.write_only = true;
        } else if (strcmp(argv[i], "--dir") == 0 && i + 1 < argc) {
            base = argv[++i];
        } else {
            (void)fprintf(stderr, "usage: trace_bench [--quick|--full] [--write] [--dir DIR]\n");
            return 2;
        }
    }
    (void)snprintf(b.dir, sizeof b.dir, "%s/trace_bench.XXXXXX", base);
    if (mkdtemp(b.dir) == NULL) {
        (void)fprintf(stderr, "trace_bench: cannot make %s: %s\n", b.dir, strerror(errno));
        return 1;
    }
    b.opt = (struct trace_options){.enabled = true,
                                   .loops = LOOPS,
                                   .node = "bench",
                                   .ring_dir = "/dev/shm",
                                   .memory_bytes = 128 << 20,
                                   .commit_interval_ms = 20,
                                   .limits.fsync_interval_ms = 1000,
                                   .limits.retention_ms = UINT64_C(7) * 86400 * 1000,
                                   .limits.fleet_retention_ms = UINT64_C(86400) * 1000,
                                   .limits.max_range_ms = UINT64_C(2) * 86400 * 1000};
    open_all(&b);
    bench_write(&b);
    row("trace write disk", dir_bytes(b.dir) / (double)b.records, "bytes/record", 0, false,
        "files of journal, device blocks and statuses");
    if (b.write_only) {
        close_all(&b);
        (void)nftw(b.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        return 0;
    }
    bench_query(&b);
    close_all(&b);
    uint64_t begin = clock_mono_us();
    open_all(&b);
    row("trace restart", (double)(clock_mono_us() - begin) / 1e6, "s", 5, false,
        "clean stop, store and trace, with a replay");
    row("trace peak RSS", peak_mib(), "MiB", 0, false,
        "128 MiB of buffers, 256 MiB for the engine");
    close_all(&b);
    (void)nftw(b.dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
    return 0;
}
