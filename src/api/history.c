/* The trace: one device's history, the fleet's events, the unidentified. One query, three shapes. */
#include <errno.h>
#include <stdio.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "base/clock.h"
#include "trace/trace.h"

static const char *const order_words[] = {"asc", "desc", NULL};

/* What all three take. */
static void read_common(struct request *rq, struct trace_query *q)
{
    struct params *p = &rq->params;
    *q = (struct trace_query){.instance = slice_str(rq->instance.id), .action = -1, .cause = -1};
    params_range(p, clock_wall_us(), trace_max_range_ms(rq->api->o.trace), &q->begin_us,
                 &q->end_us);
    q->ascending = params_word(p, "order", order_words, 1) == 0;
    q->cause = params_cause(p);
    q->limit = params_limit(p);
    q->cursor = params_cursor(p);
}

static json_t *json_rows(const struct trace_page *page, json_t *(*row)(const struct record *r))
{
    json_t *items = json_array();
    for (size_t i = 0; i < page->count; i++) {
        json_array_append_new(items, row(&page->rows[i]));
    }
    return items;
}

static json_t *json_next(uint64_t cursor)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)cursor);
    return cursor == 0 ? json_null() : json_string(text);
}

static json_t *json_open_channel(const struct trace_page *page)
{
    json_t *o = json_object();
    json_object_set_new(o, "channelId", json_channel(page->open_channel));
    json_object_set_new(o, "since", json_time_ms(page->open_since_us));
    return o;
}

static json_t *json_page(const struct trace_query *q, const struct trace_page *page,
                         json_t *(*row)(const struct record *r))
{
    json_t *o = json_object();
    if (q->client_id.n > 0) {
        json_object_set_new(o, "clientId", json_text(q->client_id));
    }
    json_object_set_new(o, "begin", json_time_ms(q->begin_us));
    json_object_set_new(o, "end", json_time_ms(q->end_us));
    json_object_set_new(o, "total", json_count(page->total));
    if (page->total_at_least) {
        json_object_set_new(o, "totalAtLeast", json_count(page->total));
    }
    json_object_set_new(o, "complete", json_boolean(page->complete));
    json_object_set_new(o, "gaps", json_gaps(page->gaps, page->gap_count));
    json_object_set_new(o, "items", json_rows(page, row));
    json_object_set_new(o, "next", json_next(page->next_cursor));
    if (page->has_open) {
        json_object_set_new(o, "openChannel", json_open_channel(page));
    }
    return o;
}

static void answer(struct request *rq, const struct trace_query *q,
                   json_t *(*row)(const struct record *r))
{
    struct trace_page page;
    if (!request_params_done(rq)) {
        return;
    }
    int failed = trace_query(rq->api->o.trace, q, &page);
    if (failed == -EINVAL) {
        reply_error(rq, 400, "end", "the range from begin to end is too long");
    } else if (failed != 0) {
        reply_error(rq, 500, NULL, "the trace cannot be read: %s", strerror(-failed));
    } else {
        reply_json(rq, 200, json_page(q, &page, row));
        trace_page_fini(&page);
    }
}

void handle_trace(struct request *rq)
{
    struct trace_query q;
    read_common(rq, &q);
    q.client_id = rq->segments[1];
    q.action = params_action(&rq->params);
    answer(rq, &q, json_record);
}

void handle_events(struct request *rq)
{
    struct trace_query q;
    read_common(rq, &q);
    q.action = params_action(&rq->params);
    q.peer = params_text(&rq->params, "peer", 256);
    q.group = params_text(&rq->params, "group", 256);
    answer(rq, &q, json_record);
}

void handle_unidentified(struct request *rq)
{
    struct trace_query q;
    read_common(rq, &q);
    q.unidentified = true;
    q.peer = params_text(&rq->params, "peer", 256);
    answer(rq, &q, json_unidentified);
}
