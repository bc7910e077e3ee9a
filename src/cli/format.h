/*
 * Text that people write and read: durations, times, CSV, percent-encoding, tables. Pure: no clock, no I/O but the
 * table's printing.
 */
#ifndef TMQ_CLI_FORMAT_H
#define TMQ_CLI_FORMAT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/slice.h"

/* "24h", "90m", "1h30m", "500ms", "2d": units d h m s ms, largest first or not. 0, or -1. */
int cli_parse_duration(const char *s, uint64_t *ms) __attribute__((warn_unused_result));

/*
 * Unix milliseconds (12 digits and more) or seconds (9 to 11 digits); "now"; "2026-01-31", "2026-01-31T12:00",
 * "2026-01-31 12:00:05.123", each also with "Z" or "+02:00" behind the time. Without a zone: UTC, or the machine's
 * zone when `local`. 0, or -1.
 */
int cli_parse_time(const char *s, bool local, uint64_t now_ms, uint64_t *ms)
    __attribute__((warn_unused_result));

enum { CLI_TIME_SIZE = 40, CLI_SPAN_SIZE = 40 };

/* "2026-01-31 12:00:05.123", in UTC or in the machine's zone. */
void cli_format_time(uint64_t ms, bool local, char out[CLI_TIME_SIZE]);

/* "3d 4h", "2h 5m", "12.3s", "40ms": the two largest units. */
void cli_format_span(uint64_t ms, char out[CLI_SPAN_SIZE]);

/* One CSV field (RFC 4180): quoted when it holds a quote, a comma, CR or LF. */
void cli_put_csv(struct buf *b, struct slice field);

/* Percent-encodes all but the unreserved characters of RFC 3986: for one path segment or query value. */
void cli_put_percent(struct buf *b, struct slice s);

/* Text for a terminal: control characters (also C1) and broken UTF-8 become \xHH. */
void cli_put_safe(struct buf *b, struct slice s);

/* Columns a string takes on a terminal: its characters, for valid UTF-8 of narrow scripts. */
size_t cli_text_width(const char *s);

/* A table that is collected, then printed with aligned columns. The last column is not padded. */
enum { CLI_COLUMNS_MAX = 8 };
struct cli_table {
    size_t columns, rows, cap;
    char **cells; /* rows × columns */
    size_t width[CLI_COLUMNS_MAX];
};
/* The header's words are the first row. */
void cli_table_init(struct cli_table *t, const char *const *header, size_t columns);
void cli_table_fini(struct cli_table *t);
/* `columns` cells, copied and made safe; NULL is shown as "-". */
void cli_table_add(struct cli_table *t, const char *const *cells);
/* Prints and drops the rows; the widths stay, so that a table can go on. */
void cli_table_flush(struct cli_table *t, FILE *out);

#endif
