/* Prometheus' text format; see prometheus.h. */
#include "api/prometheus.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_MAX_BYTES = 512 };

__attribute__((format(printf, 2, 3))) static void put(struct buf *b, const char *fmt, ...)
{
    char line[LINE_MAX_BYTES];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(line, sizeof line, fmt, ap);
    va_end(ap);
    if (n > 0) {
        buf_put(b, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1);
    }
}

static const char *prefix(const char *name)
{
    return strncmp(name, "process_", strlen("process_")) == 0 ? "" : "tracemq_";
}

void prometheus_head(struct buf *b, const char *name, const char *type, const char *help)
{
    put(b, "# HELP %s%s %s\n", prefix(name), name, help);
    put(b, "# TYPE %s%s %s\n", prefix(name), name, type);
}

static void put_name(struct buf *b, const char *name, const char *labels)
{
    bool any = labels[0] != '\0';
    put(b, "%s%s%s%s%s ", prefix(name), name, any ? "{" : "", labels, any ? "}" : "");
}

void prometheus_count(struct buf *b, const char *name, const char *labels, uint64_t value)
{
    put_name(b, name, labels);
    put(b, "%" PRIu64 "\n", value);
}

void prometheus_seconds(struct buf *b, const char *name, const char *labels, double value)
{
    put_name(b, name, labels);
    put(b, "%.6f\n", value);
}

void prometheus_one(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t value)
{
    prometheus_head(b, name, type, help);
    prometheus_count(b, name, "", value);
}

void prometheus_histogram(struct buf *b, const char *name, const char *help,
                          const struct histogram_counts *h)
{
    uint64_t count = 0;
    prometheus_head(b, name, "histogram", help);
    for (size_t i = 0; i < HISTOGRAM_BOUNDS; i++) {
        count += h->bucket[i];
        put(b, "%s%s_bucket{le=\"%g\"} %" PRIu64 "\n", prefix(name), name,
            (double)histogram_bounds_us[i] / 1e6, count);
    }
    count += h->bucket[HISTOGRAM_BOUNDS];
    put(b, "%s%s_bucket{le=\"+Inf\"} %" PRIu64 "\n", prefix(name), name, count);
    put(b, "%s%s_sum %.6f\n", prefix(name), name, (double)h->sum_us / 1e6);
    put(b, "%s%s_count %" PRIu64 "\n", prefix(name), name, count);
}
