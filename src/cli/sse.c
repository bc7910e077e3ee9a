/* The event stream format of the HTML standard, without `retry`: lines end with CR, LF or CRLF. */
#include "cli/sse.h"

void sse_fini(struct sse *s)
{
    buf_fini(&s->line);
    buf_fini(&s->data);
}

void sse_restart(struct sse *s)
{
    buf_clear(&s->line);
    buf_clear(&s->data);
    s->skip_lf = false;
    memcpy(s->next_id, s->id, sizeof s->id);
}

static void end_event(struct sse *s, sse_fn fn, void *ctx)
{
    memcpy(s->id, s->next_id, sizeof s->id);
    if (buf_len(&s->data) > 0) {
        struct slice data = buf_slice(&s->data);
        fn(ctx, slice_make(data.p, data.n - 1)); /* without the newline behind the last line */
    }
    buf_clear(&s->data);
}

static void end_line(struct sse *s, sse_fn fn, void *ctx)
{
    struct slice line = buf_slice(&s->line);
    if (line.n == 0) {
        end_event(s, fn, ctx);
        return;
    }
    const uint8_t *colon = memchr(line.p, ':', line.n);
    size_t name_n = colon == NULL ? line.n : (size_t)(colon - line.p);
    struct slice name = slice_make(line.p, name_n);
    struct slice value = slice_from(line, colon == NULL ? name_n : name_n + 1);
    if (value.n > 0 && value.p[0] == ' ') {
        value = slice_from(value, 1);
    }
    if (slice_eq(name, slice_str("data"))) {
        buf_put_slice(&s->data, value);
        buf_put_u8(&s->data, '\n');
    } else if (slice_eq(name, slice_str("id")) && value.n < SSE_ID_MAX) {
        memcpy(s->next_id, value.p, value.n);
        s->next_id[value.n] = '\0';
    }
}

int sse_feed(struct sse *s, struct slice bytes, sse_fn fn, void *ctx)
{
    for (size_t i = 0; i < bytes.n; i++) {
        uint8_t c = bytes.p[i];
        bool lf_of_crlf = s->skip_lf && c == '\n';
        s->skip_lf = c == '\r';
        if (lf_of_crlf) {
            continue;
        }
        if (c == '\r' || c == '\n') {
            end_line(s, fn, ctx);
            buf_clear(&s->line);
        } else if (buf_len(&s->line) + buf_len(&s->data) >= SSE_EVENT_MAX) {
            return -1;
        } else {
            buf_put_u8(&s->line, c);
        }
    }
    return 0;
}
