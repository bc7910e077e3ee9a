/*
 * One HTTP request while it is answered, and the ways to answer it. Belongs to the HTTP thread of its
 * connection, from its first line until the answer was sent.
 */
#ifndef TMQ_API_REQUEST_H
#define TMQ_API_REQUEST_H

#include <jansson.h>
#include <microhttpd.h>
#include <stdbool.h>

#include "api/params.h"
#include "api/problem.h"
#include "api/route.h"
#include "auth/auth.h"
#include "base/buf.h"

struct api;

enum { BODY_MAX = 64 * 1024 };

enum request_who { WHO_NOBODY, WHO_TOKEN, WHO_SESSION };

struct request {
    struct api *api;
    struct MHD_Connection *conn;
    char *uri;         /* the raw path, owned; cut at the '?' */
    struct slice path; /* in `uri` */
    struct params params;
    struct buf body;
    size_t body_seen;   /* bytes that came, kept or not */
    bool begun;         /* headers were seen */
    const char *method; /* as sent; lives as long as the request */
    enum request_who who;
    char user[257]; /* of the console session */
    const struct api_route *route;
    struct slice segments[ROUTE_SEGMENTS_MAX]; /* decoded */
    struct auth_instance_info instance;        /* of routes with {instance} */
    unsigned status;                           /* the answer, 0 until there is one */
    struct MHD_Response *response;
};

/* The value of a request header, or NULL. */
const char *request_header(struct request *rq, const char *name);

/* Exactly one of these for each request. */
void reply_json(struct request *rq, unsigned status, json_t *body); /* takes the reference */
void reply_empty(struct request *rq, unsigned status);
void reply_problem(struct request *rq, const struct problem *p);
void reply_error(struct request *rq, unsigned status, const char *field, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* `response` is taken; it gets the headers that every answer has. */
void reply_response(struct request *rq, unsigned status, struct MHD_Response *response);
/* {"items": …, "total": …, "next": null}; takes the reference. */
void reply_list(struct request *rq, json_t *items);
/* What auth said: 400, 404, 409 or 500, with its field and text. */
void reply_auth_error(struct request *rq, const struct auth_error *e);
/* After reply_*: one more header. */
void reply_header(struct request *rq, const char *name, const char *value);

/* True when all query parameters were known and good; else the problem is the reply. */
bool request_params_done(struct request *rq);

/*
 * The body, a JSON object: read its members, ask fields_done(). As with params, the first error is kept, and
 * members that nobody read are errors.
 */
struct fields {
    json_t *object;
    struct problem problem;
    const char *known[8];
    size_t known_count;
};
/* An empty body is a problem. fields_fini() frees, strings borrow until then. */
void fields_init(struct fields *f, struct request *rq);
void fields_fini(struct fields *f);
/* A string of 1..max bytes. */
struct slice fields_text(struct fields *f, const char *name, size_t max);
/* The index in `words`, ended by NULL; 0 with a problem set otherwise. */
int fields_word(struct fields *f, const char *name, const char *const *words);
/* Borrowed, NULL when it is absent. */
json_t *fields_find(struct fields *f, const char *name);
/* "a string", "an object", … for error texts. */
const char *json_type_text(const json_t *v);
/* False: the problem is the reply. */
bool fields_done(struct fields *f, struct request *rq);

#endif
