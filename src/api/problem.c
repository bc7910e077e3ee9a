/* Problem documents; see problem.h. Texts may quote what the client sent, so they are cleaned when shown. */
#include "api/problem.h"

#include <stdarg.h>
#include <stdio.h>

#include "api/json.h"

void problem_set(struct problem *p, unsigned status, const char *field, const char *fmt, ...)
{
    va_list ap;
    if (p->status != 0) {
        return;
    }
    p->status = status;
    (void)snprintf(p->field, sizeof p->field, "%s", field == NULL ? "" : field);
    va_start(ap, fmt);
    (void)vsnprintf(p->detail, sizeof p->detail, fmt, ap);
    va_end(ap);
}

const char *problem_title(unsigned status)
{
    static const struct {
        unsigned status;
        const char *title;
    } titles[] = {
        {400, "Bad Request"},       {401, "Unauthorized"},           {403, "Forbidden"},
        {404, "Not Found"},         {405, "Method Not Allowed"},     {409, "Conflict"},
        {413, "Content Too Large"}, {415, "Unsupported Media Type"}, {422, "Unprocessable Content"},
        {429, "Too Many Requests"}, {500, "Internal Server Error"},  {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
    };
    for (size_t i = 0; i < sizeof titles / sizeof titles[0]; i++) {
        if (titles[i].status == status) {
            return titles[i].title;
        }
    }
    return "Error";
}

json_t *problem_json(const struct problem *p)
{
    json_t *o = json_object();
    json_object_set_new(o, "type", json_string("about:blank"));
    json_object_set_new(o, "title", json_string(problem_title(p->status)));
    json_object_set_new(o, "status", json_integer((json_int_t)p->status));
    json_object_set_new(o, "detail", json_text(slice_str(p->detail)));
    if (p->field[0] != '\0') {
        json_object_set_new(o, "field", json_text(slice_str(p->field)));
    }
    return o;
}
