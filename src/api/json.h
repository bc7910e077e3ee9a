/* Records, statuses and gaps as JSON (docs/openapi.yaml), and text of any bytes as valid JSON strings. Pure. */
#ifndef TMQ_API_JSON_H
#define TMQ_API_JSON_H

#include <jansson.h>
#include <stdint.h>

#include "base/slice.h"
#include "trace/record.h"
#include "trace/trace.h"

enum { TIME_ISO_SIZE = 32 };

/* All functions return a new reference. Out of memory aborts (api_start() sees to that). */

/* A string; bytes that are no UTF-8 become U+FFFD. */
json_t *json_text(struct slice s);
/* The same, null when it is empty. */
json_t *json_text_or_null(struct slice s);
/* Integer Unix ms of µs. */
json_t *json_time_ms(uint64_t us);
/* A counter; values over 2^63 - 1 stay there. */
json_t *json_count(uint64_t v);
/* 32 lowercase hex characters. */
json_t *json_channel(const uint8_t channel[RECORD_CHANNEL_BYTES]);

/* One row of a trace. */
json_t *json_record(const struct record *r);
/* One row of the unidentified. */
json_t *json_unidentified(const struct record *r);
/* A device's status. */
json_t *json_status(const struct trace_status *s);
/* {from, to, count} of each. */
json_t *json_gaps(const struct trace_gap *gaps, size_t count);
/* A gap that stands in the live tail as a record (RECORD_GAP). */
json_t *json_gap_record(const struct record *r);

/* "2026-01-31T12:00:00.123456Z" */
void time_iso(uint64_t us, char out[TIME_ISO_SIZE]);

#endif
