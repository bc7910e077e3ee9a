/* Requests' bodies and answers; see request.h. */
#include "api/request.h"

#include <assert.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "api/json.h"

const char *request_header(struct request *rq, const char *name)
{
    return MHD_lookup_connection_value(rq->conn, MHD_HEADER_KIND, name);
}

/* ---- answers ---- */

void reply_response(struct request *rq, unsigned status, struct MHD_Response *response)
{
    assert(rq->response == NULL && response != NULL);
    rq->status = status;
    rq->response = response;
    reply_header(rq, "X-Content-Type-Options", "nosniff");
}

void reply_header(struct request *rq, const char *name, const char *value)
{
    enum MHD_Result added = MHD_add_response_header(rq->response, name, value);
    assert(added == MHD_YES);
}

static void reply_json_as(struct request *rq, unsigned status, json_t *body, const char *type)
{
    char *text = json_dumps(body, JSON_COMPACT | JSON_ENSURE_ASCII);
    assert(text != NULL);
    json_decref(body);
    reply_response(rq, status,
                   MHD_create_response_from_buffer(strlen(text), text, MHD_RESPMEM_MUST_FREE));
    reply_header(rq, "Content-Type", type);
    reply_header(rq, "Cache-Control", "no-store");
}

void reply_json(struct request *rq, unsigned status, json_t *body)
{
    reply_json_as(rq, status, body, "application/json");
}

void reply_empty(struct request *rq, unsigned status)
{
    reply_response(rq, status, MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT));
}

void reply_problem(struct request *rq, const struct problem *p)
{
    reply_json_as(rq, p->status, problem_json(p), "application/problem+json");
}

void reply_error(struct request *rq, unsigned status, const char *field, const char *fmt, ...)
{
    struct problem p = {0};
    char detail[sizeof p.detail];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(detail, sizeof detail, fmt, ap);
    va_end(ap);
    problem_set(&p, status, field, "%s", detail);
    reply_problem(rq, &p);
}

void reply_auth_error(struct request *rq, const struct auth_error *e)
{
    unsigned status = 500;
    if (e->code == -EINVAL) {
        status = 400;
    } else if (e->code == -ENOENT) {
        status = 404;
    } else if (e->code == -EEXIST) {
        status = 409;
    }
    reply_error(rq, status, e->field, "%s", e->text);
}

void reply_list(struct request *rq, json_t *items)
{
    json_t *o = json_object();
    size_t total = json_array_size(items);
    json_object_set_new(o, "items", items);
    json_object_set_new(o, "total", json_count(total));
    json_object_set_new(o, "next", json_null());
    reply_json(rq, 200, o);
}

bool request_params_done(struct request *rq)
{
    bool good = params_done(&rq->params);
    if (!good) {
        reply_problem(rq, &rq->params.problem);
    }
    return good;
}

/* ---- bodies ---- */

const char *json_type_text(const json_t *v)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        return "an object";
    case JSON_ARRAY:
        return "an array";
    case JSON_STRING:
        return "a string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "a number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "a boolean";
    case JSON_NULL:
        return "null";
    }
    return "unknown";
}

void fields_init(struct fields *f, struct request *rq)
{
    json_error_t e;
    struct slice body = buf_slice(&rq->body);
    *f = (struct fields){0};
    if (body.n == 0) {
        problem_set(&f->problem, 400, NULL, "the request has no body, expected a JSON object");
        return;
    }
    f->object =
        json_loadb((const char *)body.p, body.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &e);
    if (f->object == NULL) {
        problem_set(&f->problem, 400, NULL, "the body is no JSON: line %d, column %d: %s", e.line,
                    e.column, e.text);
    } else if (!json_is_object(f->object)) {
        problem_set(&f->problem, 400, NULL, "the body is %s, expected an object",
                    json_type_text(f->object));
    }
}

void fields_fini(struct fields *f)
{
    json_decref(f->object);
    f->object = NULL;
}

json_t *fields_find(struct fields *f, const char *name)
{
    assert(f->known_count < sizeof f->known / sizeof f->known[0]);
    f->known[f->known_count++] = name;
    return json_object_get(f->object, name);
}

/* A member that must be there; NULL with a problem set otherwise. */
static json_t *required(struct fields *f, const char *name)
{
    json_t *v = fields_find(f, name);
    if (v == NULL) {
        problem_set(&f->problem, 400, name, "%s is missing", name);
    }
    return v;
}

struct slice fields_text(struct fields *f, const char *name, size_t max)
{
    json_t *v = required(f, name);
    struct slice none = {0};
    if (v == NULL) {
        return none;
    }
    if (!json_is_string(v)) {
        problem_set(&f->problem, 400, name, "%s is %s, expected a string", name, json_type_text(v));
        return none;
    }
    struct slice s = slice_make(json_string_value(v), json_string_length(v));
    if (s.n == 0 || s.n > max) {
        problem_set(&f->problem, 400, name, "%s has %zu bytes, expected 1 to %zu", name, s.n, max);
        return none;
    }
    return s;
}

int fields_word(struct fields *f, const char *name, const char *const *words)
{
    struct slice s = fields_text(f, name, 64);
    char list[128] = "";
    size_t n = 0;
    for (int i = 0; words[i] != NULL; i++) {
        if (slice_eq(s, slice_str(words[i]))) {
            return i;
        }
        int w = snprintf(list + n, sizeof list - n, "%s%s", i == 0 ? "" : ", ", words[i]);
        n += (size_t)(w < 0 ? 0 : w);
        n = n < sizeof list ? n : sizeof list - 1;
    }
    problem_set(&f->problem, 400, name, "%s is %.*s, expected one of %s", name, (int)s.n,
                (const char *)s.p, list);
    return 0;
}

static bool is_known(const struct fields *f, const char *name)
{
    for (size_t i = 0; i < f->known_count; i++) {
        if (strcmp(f->known[i], name) == 0) {
            return true;
        }
    }
    return false;
}

bool fields_done(struct fields *f, struct request *rq)
{
    const char *name;
    json_t *value;
    json_object_foreach(f->object, name, value)
    {
        if (!is_known(f, name)) {
            char text[64];
            (void)snprintf(text, sizeof text, "%.63s", name);
            problem_set(&f->problem, 400, text, "there is no member %s here", text);
        }
    }
    if (f->problem.status != 0) {
        reply_problem(rq, &f->problem);
    }
    return f->problem.status == 0;
}
