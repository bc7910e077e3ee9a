/* What trace.c and follow.c share: how rows are shown. */
#ifndef TMQ_CLI_TRACE_H
#define TMQ_CLI_TRACE_H

#include "cli/commands.h"
#include "cli/format.h"

/* Prints rows as they come: a table, CSV or JSON lines. */
struct trace_printer {
    const struct cli_args *args;
    bool local;
    bool header_done;
    struct cli_table table; /* collects the rows of the table until they are printed */
};
void cli_trace_printer_init(struct trace_printer *p, const struct cli_args *a);
void cli_trace_printer_fini(struct trace_printer *p);
/* One row; CSV and JSON lines go out at once, a table's row at cli_trace_flush(). */
void cli_trace_row(struct trace_printer *p, const json_t *item);
void cli_trace_flush(struct trace_printer *p);

/* Goes on with events behind `after` ("" for: from now) until Ctrl-C. An exit status. */
int cli_trace_follow(struct cli_http *h, const struct cli_args *a, const char *client_id,
                     const char *after, struct trace_printer *p);

#endif
