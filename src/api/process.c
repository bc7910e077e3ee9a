/* process_…: from /proc/self, getrusage() and getrlimit(). */
#include "api/process.h"

#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "api/prometheus.h"

enum { PROC_MAX = 8192, START_FIELD = 22 };

/* The start of a file of /proc; "" if it can't be read. */
static void read_proc(const char *path, char text[PROC_MAX])
{
    FILE *f = fopen(path, "re");
    size_t n = 0;
    if (f != NULL) {
        n = fread(text, 1, PROC_MAX - 1, f);
        (void)fclose(f);
    }
    text[n] = '\0';
}

/* Seconds since 1970 at which the process began, 0: not known. */
static double start_time(void)
{
    char text[PROC_MAX];
    read_proc("/proc/self/stat", text);
    const char *at =
        strrchr(text, ')'); /* the name may have anything in it; behind it stands field 3 */
    for (int field = 2; at != NULL && field < START_FIELD; field++) {
        at = strchr(at + 1, ' ');
    }
    double ticks = at == NULL ? 0 : strtod(at, NULL);
    read_proc("/proc/stat", text);
    const char *boot = strstr(text, "\nbtime ");
    return at == NULL || boot == NULL
               ? 0
               : strtod(boot + strlen("\nbtime "), NULL) + ticks / (double)sysconf(_SC_CLK_TCK);
}

static uint64_t open_files(void)
{
    DIR *d = opendir("/proc/self/fd");
    uint64_t n = 0;
    while (d != NULL && readdir(d) != NULL) {
        n++;
    }
    if (d != NULL) {
        (void)closedir(d);
    }
    return n > 3 ? n - 3 : 0; /* ".", "..", and its own */
}

static double seconds(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

void process_metrics(struct buf *b)
{
    struct rusage used;
    struct rlimit limit;
    char text[PROC_MAX];
    if (getrusage(RUSAGE_SELF, &used) == 0) {
        prometheus_head(b, "process_cpu_seconds_total", "counter", "CPU time, user and system");
        prometheus_seconds(b, "process_cpu_seconds_total", "",
                           seconds(&used.ru_utime) + seconds(&used.ru_stime));
    }
    double start = start_time();
    if (start > 0) {
        prometheus_head(b, "process_start_time_seconds", "gauge", "start, seconds since 1970");
        prometheus_seconds(b, "process_start_time_seconds", "", start);
    }
    read_proc("/proc/self/statm", text);
    char *end = text;
    uint64_t pages = strtoull(text, &end, 10), resident = strtoull(end, NULL, 10);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
    if (pages > 0) {
        prometheus_one(b, "process_resident_memory_bytes", "gauge", "resident memory",
                       resident * page);
        prometheus_one(b, "process_virtual_memory_bytes", "gauge", "address space", pages * page);
    }
    prometheus_one(b, "process_open_fds", "gauge", "open descriptors", open_files());
    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        prometheus_one(b, "process_max_fds", "gauge", "limit of open descriptors", limit.rlim_cur);
    }
}
