/*
 * Failpoints: a small table of names and values behind a mutex, from the environment and from a file.
 *
 * Invariants: the file's values come after the environment's and win; a file that goes away or can't be read
 * leaves the environment's. A name that is not in the table has the value 0. Text that does not parse arms
 * nothing: a test that misspells sees no effect, a server never refuses to start for it.
 */
#include "base/failpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

enum { MAX_POINTS = 32, MAX_NAME = 48, MAX_TEXT = 4096, REREAD_MS = 50 };

struct point {
    char name[MAX_NAME];
    int64_t value;
};

_Atomic bool failpoint_armed;

/* All of it under `lock`: one state, so that it counts as one global. */
static struct {
    pthread_mutex_t lock;
    struct point points[MAX_POINTS];
    size_t count;
    size_t from_env; /* the first so many are the environment's */
    char path[512];  /* "" = no file */
    uint64_t looked_ms;
    struct timespec mtime;
    off_t size;
} st = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void set_point(const char *name, size_t n, int64_t value)
{
    if (n == 0 || n >= MAX_NAME || st.count == MAX_POINTS) {
        return;
    }
    struct point *p = &st.points[st.count++];
    memcpy(p->name, name, n);
    p->name[n] = '\0';
    p->value = value;
}

/* "name=value,name=value"; commas, spaces and newlines separate. */
static void parse(const char *text)
{
    static const char separators[] = ", \t\r\n";
    while (*text != '\0') {
        text += strspn(text, separators);
        size_t n = strcspn(text, separators);
        const char *eq = memchr(text, '=', n);
        if (eq != NULL) {
            char *end;
            errno = 0;
            long long v = strtoll(eq + 1, &end, 10);
            if (errno == 0 && end == text + n && end != eq + 1) {
                set_point(text, (size_t)(eq - text), v);
            }
        }
        text += n;
    }
}

static void read_file(void)
{
    st.count = st.from_env;
    int fd = open(st.path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        return;
    }
    char text[MAX_TEXT];
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n > 0) {
        text[n] = '\0';
        parse(text);
    }
}

static void look_at_file(void)
{
    uint64_t now_ms = clock_mono_ms();
    if (st.path[0] == '\0' || now_ms - st.looked_ms < REREAD_MS) {
        return;
    }
    st.looked_ms = now_ms;
    struct stat f = {0};
    (void)stat(st.path, &f); /* absent: all zero, which differs from what was there */
    if (f.st_size != st.size || f.st_mtim.tv_sec != st.mtime.tv_sec ||
        f.st_mtim.tv_nsec != st.mtime.tv_nsec) {
        st.size = f.st_size;
        st.mtime = f.st_mtim;
        read_file();
    }
}

void failpoint_init(void)
{
    const char *text = getenv("TRACEMQ_FAILPOINTS");
    const char *path = getenv("TRACEMQ_FAILPOINT_FILE");
    (void)pthread_mutex_lock(&st.lock);
    st.count = 0;
    st.looked_ms = 0;
    st.size = 0;
    st.mtime = (struct timespec){0};
    st.path[0] = '\0';
    if (text != NULL) {
        parse(text);
    }
    st.from_env = st.count;
    if (path != NULL && strlen(path) < sizeof st.path) {
        memcpy(st.path, path, strlen(path) + 1);
    }
    failpoint_armed = st.count > 0 || st.path[0] != '\0';
    (void)pthread_mutex_unlock(&st.lock);
}

int64_t failpoint_value_slow(const char *name)
{
    int64_t value = 0;
    (void)pthread_mutex_lock(&st.lock);
    look_at_file();
    for (size_t i = 0; i < st.count; i++) {
        if (strcmp(st.points[i].name, name) == 0) {
            value = st.points[i].value; /* the last one wins */
        }
    }
    (void)pthread_mutex_unlock(&st.lock);
    return value;
}
