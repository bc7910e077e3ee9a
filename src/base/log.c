/* One logfmt line, one write(2); see log.h. */
#include "base/log.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

static _Atomic int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

static int put_time(char *out, size_t cap)
{
    struct timespec ts;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    return snprintf(out, cap, "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900,
                    tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                    ts.tv_nsec / 1000000);
}

void log_line(enum log_level level, const char *msg, const char *fmt, ...)
{
    static const char *const names[] = {"debug", "info", "warn", "error"};
    if ((int)level < atomic_load_explicit(&threshold, memory_order_relaxed)) {
        return;
    }
    char line[2048];
    int n = put_time(line, sizeof line);
    n += snprintf(line + n, sizeof line - (size_t)n, " level=%s msg=\"%s\"", names[level], msg);
    size_t used = (size_t)n < sizeof line - 2 ? (size_t)n : sizeof line - 2;
    if (fmt[0] != '\0') {
        line[used++] = ' ';
        va_list ap;
        va_start(ap, fmt);
        int m = vsnprintf(line + used, sizeof line - used - 1, fmt, ap);
        va_end(ap);
        size_t room = sizeof line - used - 2;
        used += m < 0 ? 0 : (size_t)m < room ? (size_t)m : room;
    }
    for (size_t i = 0; i < used; i++) {
        if ((unsigned char)line[i] < 0x20) {
            line[i] = '?'; /* what a peer sent must not forge a second line */
        }
    }
    line[used++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, line, used);
    (void)ignored;
}
