/* Prometheus' text format 0.0.4. A family is its head, then its samples. */
#ifndef TMQ_API_PROMETHEUS_H
#define TMQ_API_PROMETHEUS_H

#include <stdint.h>

#include "base/buf.h"
#include "base/histogram.h"

/* `type`: counter, gauge or histogram. Names are without the prefix "tracemq_", but for those that begin with "process_". */
void prometheus_head(struct buf *b, const char *name, const char *type, const char *help);
/* `labels`: as they stand between the braces, "" = none. */
void prometheus_count(struct buf *b, const char *name, const char *labels, uint64_t value);
void prometheus_seconds(struct buf *b, const char *name, const char *labels, double value);
/* Head and samples. */
void prometheus_histogram(struct buf *b, const char *name, const char *help,
                          const struct histogram_counts *h);
/* A family of one sample. */
void prometheus_one(struct buf *b, const char *name, const char *type, const char *help,
                    uint64_t value);

#endif
