/*
 * kill -9 at random points of emitting, flushing and replaying, and journals cut at every place: what
 * trace_emit() took is there once, seq has no hole, each channel has one ending. The store runs in forked
 * children only: its threads do not survive a fork.
 */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "trace_fixture.h"

enum { DEVICES = 40, MAX_EVENTS = 2000000, ROUNDS = 25 };

/* What the children did, in memory that outlives them. */
struct shared_model {
    _Atomic uint64_t emitted;       /* uids below were offered to trace_emit() … */
    _Atomic bool taken[MAX_EVENTS]; /* … which took these */
    uint64_t channel[DEVICES], connected_us[DEVICES];
    uint64_t next_channel;
    uint64_t seed;
    _Atomic bool started;
    uint64_t kept; /* result of a look at a store */
    uint64_t crash_closes;
};

static struct shared_model *m;
static struct fx fx;

#define CHECK(x)                                                                                   \
    do {                                                                                           \
        if (!(x)) {                                                                                \
            (void)fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #x);                          \
            abort();                                                                               \
        }                                                                                          \
    } while (0)

static uint64_t rnd(uint64_t n)
{
    return fx_random(&m->seed) % n;
}

static void child_open(void)
{
    struct store_options so = {.dir = fx.dir, .memory_bytes = 16 << 20};
    struct store_error err;
    int rc = store_open(&fx.store, &so, &err);
    rc = rc == 0 ? trace_open(&fx.trace, fx.store, &fx.opt, &err) : rc;
    if (rc < 0) {
        (void)fprintf(stderr, "%s\n", err.text);
    }
    CHECK(rc == 0);
}

static void emit(int d, uint64_t channel, uint64_t connected, enum cause cause)
{
    char name[32];
    (void)snprintf(name, sizeof name, "dev%d", d);
    struct ev e = {.client = name,
                   .channel = channel,
                   .uid = atomic_fetch_add(&m->emitted, 1),
                   .connected_us = connected,
                   .cause = cause};
    while (!fx_try_emit(&fx, (unsigned)d % fx.opt.loops, &e)) {
        fx_nap(1);
    }
    atomic_store(&m->taken[e.uid], true);
}

/* A start closes all channels, so each run begins with none open. */
static void run_child(const char *failpoints, uint64_t events)
{
    fx_failpoints(failpoints);
    child_open();
    memset(m->channel, 0, sizeof m->channel);
    atomic_store(&m->started, true);
    for (uint64_t i = 0; i < events; i++) {
        int d = (int)rnd(DEVICES);
        if (m->channel[d] == 0) {
            m->connected_us[d] = clock_wall_us();
            m->channel[d] =
                ++m->next_channel; /* before the emit: a kill in between emits nothing */
            emit(d, m->channel[d], 0, CAUSE_ACCEPTED_NEW);
        } else {
            emit(d, m->channel[d], m->connected_us[d], CAUSE_PEER_FIN);
            m->channel[d] = 0;
        }
        if (rnd(200) == 0) {
            fx_nap(1);
        }
    }
    for (;;) {
        fx_nap(1000);
    }
}

/* Everything is there once, in a sequence without a hole, and every connect has its one ending. */
static void look_child(void)
{
    fx_failpoints("");
    child_open();
    uint64_t emitted = atomic_load(&m->emitted);
    CHECK(emitted < MAX_EVENTS);
    uint8_t *seen = mem_new(emitted + 2, 1);
    int8_t *open = mem_new(m->next_channel + 2, 1);
    uint64_t seq = 0;
    struct trace_query q = fx_query("");
    do {
        struct trace_page p;
        CHECK(trace_query(fx.trace, &q, &p) == 0);
        for (size_t i = 0; i < p.count; i++) {
            const struct record *r = &p.rows[i];
            CHECK(r->seq == ++seq);
            uint64_t channel = get_be64(r->channel);
            CHECK(channel <= m->next_channel);
            if (r->cause == CAUSE_SERVER_CRASH) {
                m->crash_closes++;
                struct evidence_item alive;
                CHECK(evidence_find(r->detail, EV_LAST_ALIVE, &alive));
                CHECK(alive.u64 <= r->time_us && alive.u64 >= r->connected_at_us);
            } else {
                uint64_t uid = fx_uid(r);
                CHECK(uid < emitted);
                CHECK(++seen[uid] == 1);
            }
            open[channel] = (int8_t)(open[channel] + (record_is_connect(r) ? 1 : 16));
        }
        q.cursor = p.next_cursor;
        trace_page_fini(&p);
    } while (q.cursor != 0);
    for (uint64_t i = 0; i < emitted; i++) {
        CHECK(seen[i] == 1 || !atomic_load(&m->taken[i])); /* the kill came in between */
    }
    for (uint64_t i = 1; i <= m->next_channel; i++) {
        CHECK(open[i] == 17 || open[i] == 0); /* 0: killed before its connect was emitted */
    }
    CHECK(seq == trace_last_seq(fx.trace));
    /* The same from the device blocks. */
    uint64_t rows = 0;
    for (int d = 0; d < DEVICES; d++) {
        char name[32];
        (void)snprintf(name, sizeof name, "dev%d", d);
        q = fx_query(name);
        q.limit = 1;
        struct trace_page p;
        CHECK(trace_query(fx.trace, &q, &p) == 0);
        rows += p.total;
        trace_page_fini(&p);
    }
    CHECK(rows == seq);
    free(seen);
    free(open);
    m->kept = seq;
    m->next_channel++; /* a connect that a kill kept back is no connect of the next run */
    fx_close(&fx);
    _exit(0);
}

static int reap(pid_t pid)
{
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void look(void)
{
    m->crash_closes = 0;
    pid_t pid = fork();
    if (pid == 0) {
        look_child();
    }
    assert_int_equal(reap(pid), 0);
}

static int setup(void **state)
{
    (void)state;
    m = mmap(NULL, sizeof *m, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_true(m != MAP_FAILED);
    m->seed = 2463534242u;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return munmap(m, sizeof *m);
}

static void test_kill(void **state)
{
    (void)state;
    fx_init(&fx, 2, 512 << 10);
    uint64_t total_closes = 0;
    for (int round = 0; round < ROUNDS; round++) {
        char failpoints[64] = "";
        if (round % 4 == 1) {
            (void)snprintf(failpoints, sizeof failpoints, "flush.crash_at=%d", (int)(1 + rnd(5)));
        } else if (round % 4 == 2) {
            (void)snprintf(failpoints, sizeof failpoints, "replay.crash_after=%d",
                           (int)(1 + rnd(400)));
        }
        fx.opt.loops = (unsigned)(1 + rnd(3)); /* rings of loops that are no more are drained too */
        unsigned ms = (unsigned)(rnd(60) + 1);
        atomic_store(&m->started, false);
        pid_t pid = fork();
        if (pid == 0) {
            run_child(failpoints, 20000);
        }
        siginfo_t info = {0};
        while (!atomic_load(&m->started) && info.si_pid == 0) {
            fx_nap(1);
            (void)waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT);
        }
        fx_nap(ms);
        (void)kill(pid, SIGKILL);
        int status = reap(pid);
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
        if (round % 5 == 4) {
            look();
            total_closes += m->crash_closes;
            look(); /* a second start finds nothing to do */
        }
    }
    print_message("%llu records, %llu crash closes\n", (unsigned long long)m->kept,
                  (unsigned long long)m->crash_closes);
    assert_true(m->kept > 1000);
    assert_true(total_closes > 0);
    (void)nftw(fx.dir, fx_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- a journal cut at every place ---- */

static void cut_child(void)
{
    fx_failpoints("");
    child_open();
    for (int i = 0; i < 300; i++) {
        emit(i % DEVICES, 1000 + (uint64_t)i, 0, i % 2 == 0 ? CAUSE_ACCEPTED_NEW : CAUSE_PEER_FIN);
        if (i % 10 == 9) {
            fx_settle(&fx);
        }
    }
    fx_settle(&fx);
    (void)kill(getpid(), SIGKILL);
}

static void cut_look_child(void)
{
    child_open();
    uint64_t uid = 0;
    uint64_t seq = 0;
    struct trace_query q = fx_query("");
    struct trace_page p;
    CHECK(trace_query(fx.trace, &q, &p) == 0);
    for (size_t i = 0; i < p.count; i++) {
        CHECK(p.rows[i].seq == ++seq);
        if (p.rows[i].cause != CAUSE_SERVER_CRASH) {
            CHECK(fx_uid(&p.rows[i]) == uid++);
        }
    }
    CHECK(p.next_cursor == 0);
    m->kept = uid;
    trace_page_fini(&p);
    fx_close(&fx);
    _exit(0);
}

static void copy_all(const char *from, const char *to)
{
    char cmd[256];
    (void)snprintf(cmd, sizeof cmd, "cp -r %s %s && rm -f %s/tracemq-*", from, to, to);
    assert_int_equal(system(cmd), 0);
}

/* The newest journal of the engine's own in that directory. */
static void wal_path(const char *dir, char out[160])
{
    char cmd[160];
    (void)snprintf(cmd, sizeof cmd, "ls -S %s/store/*.log | head -1", dir);
    FILE *f = popen(cmd, "r");
    assert_non_null(f);
    assert_non_null(fgets(out, 160, f));
    out[strcspn(out, "\n")] = '\0';
    (void)pclose(f);
}

static void test_truncated(void **state)
{
    (void)state;
    fx_init(&fx, 1, 8 << 20);
    atomic_store(&m->emitted, 0);
    pid_t pid = fork();
    if (pid == 0) {
        cut_child();
    }
    (void)reap(pid);
    char base[64];
    memcpy(base, fx.dir, sizeof base);
    char wal[160];
    wal_path(base, wal);
    struct stat st;
    assert_int_equal(stat(wal, &st), 0);
    uint64_t before = 0;
    for (off_t cut = 0; cut <= st.st_size; cut += cut == 0 || cut + st.st_size / 24 < st.st_size
                                                      ? st.st_size / 24 + 1
                                                      : st.st_size - cut + (cut == st.st_size)) {
        char cutwal[160];
        (void)snprintf(fx.dir, sizeof fx.dir, "%s.cut", base);
        copy_all(base, fx.dir);
        wal_path(fx.dir, cutwal);
        assert_int_equal(truncate(cutwal, cut), 0);
        fx.opt.ring_dir = fx.dir;
        pid = fork();
        if (pid == 0) {
            cut_look_child();
        }
        assert_int_equal(reap(pid), 0);
        assert_true(m->kept >= before);
        before = m->kept;
        (void)nftw(fx.dir, fx_remove_one, 16, FTW_DEPTH | FTW_PHYS);
    }
    assert_int_equal(before, 300);
    (void)nftw(base, fx_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_kill, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
