/* One logfmt line, one write(2); see log.h. */
#include "base/log.h"

#include <assert.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static _Atomic int threshold = LOG_INFO;

void log_set_level(enum log_level level)
{
    atomic_store(&threshold, (int)level);
}

/* The line being written; what has no room is left out. */
struct line {
    size_t n;
    char p[2048];
};

static void put(struct line *l, const char *s, size_t n)
{
    size_t room = sizeof l->p - 1 - l->n; /* one for the end of line */
    n = n < room ? n : room;
    memcpy(l->p + l->n, s, n);
    l->n += n;
}

/* A control character at `s`: C0 and DEL in one byte, C1 (which terminals obey, too) as UTF-8 has it. Its length, 0 = none. */
static size_t control(const char *s, size_t n)
{
    unsigned char first = (unsigned char)s[0], second = n > 1 ? (unsigned char)s[1] : 0;
    return first < 0x20 || first == 0x7f                      ? 1
           : first == 0xc2 && second >= 0x80 && second < 0xa0 ? 2
                                                              : 0;
}

/* A value from outside must forge neither a second line nor a second key. */
static void put_escaped(struct line *l, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        size_t odd = control(s + i, n - i);
        char safe = odd > 0 ? '?' : s[i];
        i += odd > 1;
        if (safe == '"' || safe == '\\') {
            put(l, "\\", 1);
        }
        put(l, &safe, 1);
    }
}

/* Behind a "key=" without a quote, a text that wants quotes gets them. */
static void put_text(struct line *l, const char *s, size_t n)
{
    bool bare = l->n > 0 && l->p[l->n - 1] == '=';
    bool odd = n == 0;
    for (size_t i = 0; i < n && !odd; i++) {
        odd = strchr(" \"=\\", s[i]) != NULL || control(s + i, n - i) > 0;
    }
    put(l, "\"", bare && odd);
    put_escaped(l, s, n);
    put(l, "\"", bare && odd);
}

static void put_number(struct line *l, char conversion, bool wide, va_list *ap)
{
    char text[32];
    if (conversion == 'd') {
        long long v = wide ? va_arg(*ap, long long) : va_arg(*ap, int);
        (void)snprintf(text, sizeof text, "%lld", v);
    } else {
        unsigned long long v = wide ? va_arg(*ap, unsigned long long) : va_arg(*ap, unsigned);
        (void)snprintf(text, sizeof text, "%llu", v);
    }
    put(l, text, strlen(text));
}

/*
 * One conversion; `at` is behind its '%'. Returns what is behind it. Why not vsnprintf(): in its result the quotes of a value
 * can't be told from those around it.
 */
static const char *put_value(struct line *l, const char *at, va_list *ap)
{
    bool cut = strncmp(at, ".*s", 3) == 0;
    size_t max = cut ? (size_t)va_arg(*ap, int) : SIZE_MAX;
    at += cut ? 2 : 0;
    size_t wide = strspn(at, "lz");
    at += wide;
    if (*at == 's') {
        const char *s = va_arg(*ap, const char *);
        put_text(l, s, strnlen(s, max));
    } else {
        assert(*at == 'd' || *at == 'u'); /* what else a line needs is written by who logs it */
        put_number(l, *at, wide > 0, ap);
    }
    return at + 1;
}

static void put_pairs(struct line *l, const char *fmt, va_list *ap)
{
    while (*fmt != '\0') {
        size_t n = strcspn(fmt, "%");
        put(l, fmt, n);
        fmt += n;
        if (*fmt == '%') {
            fmt = put_value(l, fmt + 1, ap);
        }
    }
}

static void put_time(struct line *l)
{
    char text[64];
    struct timespec ts;
    struct tm tm;
    (void)clock_gettime(CLOCK_REALTIME, &ts);
    (void)gmtime_r(&ts.tv_sec, &tm);
    (void)snprintf(text, sizeof text, "ts=%04d-%02d-%02dT%02d:%02d:%02d.%03ldZ", tm.tm_year + 1900,
                   tm.tm_mon + 1, tm.tm_mday, tm.tm_hour, tm.tm_min, tm.tm_sec,
                   ts.tv_nsec / 1000000);
    put(l, text, strlen(text));
}

void log_line(enum log_level level, const char *msg, const char *fmt, ...)
{
    static const char *const names[] = {" level=debug msg=\"", " level=info msg=\"",
                                        " level=warn msg=\"", " level=error msg=\""};
    if ((int)level < atomic_load_explicit(&threshold, memory_order_relaxed)) {
        return;
    }
    struct line l;
    l.n = 0;
    put_time(&l);
    put(&l, names[level], strlen(names[level]));
    put_escaped(&l, msg, strlen(msg));
    put(&l, "\" ", 2);
    va_list ap;
    va_start(ap, fmt);
    put_pairs(&l, fmt, &ap);
    va_end(ap);
    while (l.p[l.n - 1] == ' ') {
        l.n--; /* there were none */
    }
    l.p[l.n++] = '\n';
    ssize_t ignored = write(STDERR_FILENO, l.p, l.n);
    (void)ignored;
}
