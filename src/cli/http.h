/*
 * The HTTP API as seen by the commands: where it is, one request after the other, problems told once on stderr.
 * One thread.
 */
#ifndef TMQ_CLI_HTTP_H
#define TMQ_CLI_HTTP_H

#include <jansson.h>

#include "base/buf.h"
#include "cli/args.h"
#include "cli/sse.h"

struct cli_http;

/*
 * Finds address, token and instance: options, then environment, then DATA/bootstrap.json. NULL when there is no token;
 * said on stderr.
 */
struct cli_http *cli_http_new(const struct cli_args *args);
void cli_http_free(struct cli_http *h);

/* Begins a path: "/api/v1/instances/INSTANCE". */
void cli_path_instance(const struct cli_http *h, struct buf *path);
/* Adds "/" and the percent-encoded segment. */
void cli_path_segment(struct buf *path, const char *segment);
/* Adds "?key=value" or "&key=value", percent-encoded; nothing when value is NULL. */
void cli_path_query(struct buf *path, const char *key, const char *value);
/* The default instance. */
const char *cli_http_instance(const struct cli_http *h);

/*
 * One request. body may be NULL (borrowed). *out (may be NULL) gets the answer's document, to be decref'd, NULL when
 * there is none. 0, or the HTTP status 400…599 or -1 (no answer): then the problem was printed, unless `quiet` is
 * that status.
 */
int cli_request(struct cli_http *h, const char *method, struct buf *path, json_t *body, int quiet,
                json_t **out) __attribute__((warn_unused_result));

/*
 * GETs a list page by page into one document: "items" of at most `limit` rows, the rest of the members from the first
 * page, "next" from the last. The path may already have a query.
 */
int cli_request_all(struct cli_http *h, const struct buf *path, uint64_t limit, json_t **out)
    __attribute__((warn_unused_result));

/*
 * GETs a stream of server-sent events until the connection ends or `stop` is set. `last_id` "" for none. As
 * cli_request(); 0 when the connection ended.
 */
int cli_http_stream(struct cli_http *h, struct buf *path, struct sse *sse, sse_fn fn, void *ctx,
                    const volatile int *stop) __attribute__((warn_unused_result));

#endif
