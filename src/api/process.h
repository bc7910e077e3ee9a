/* What the system says of this process, under the names that Prometheus' own libraries use. */
#ifndef TMQ_API_PROCESS_H
#define TMQ_API_PROCESS_H

#include "base/buf.h"

/* process_cpu_seconds_total and its kin; what can't be read is left out. */
void process_metrics(struct buf *b);

#endif
