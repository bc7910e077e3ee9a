/*
 * The routes: one table, and the matching of a raw path with it. docs/openapi.yaml describes the same table; a
 * unit test compares them.
 */
#ifndef TMQ_API_ROUTE_H
#define TMQ_API_ROUTE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"

struct request;

enum api_method { API_GET, API_POST, API_PUT, API_PATCH, API_DELETE, API_METHODS };

enum api_guard {
    GUARD_OPEN,     /* anyone */
    GUARD_LOOPBACK, /* anyone while the API listens on loopback, else a token */
    GUARD_LOGIN,    /* anyone, once the server is ready */
    GUARD_TOKEN     /* API token or console session, once the server is ready */
};

struct api_route {
    enum api_method method;
    enum api_guard guard;
    const char
        *pattern; /* "/api/v1/instances/{instance}": a segment in braces takes any text but "" */
    void (*handle)(struct request *rq);
    const char *summary;
};

extern const struct api_route api_routes[];
extern const size_t api_routes_count;

enum { ROUTE_SEGMENTS_MAX = 2 };

struct route_match {
    const struct api_route *route;             /* NULL: no such path, or not with that method */
    unsigned allowed;                          /* bits of the methods that the path has */
    struct slice segments[ROUTE_SEGMENTS_MAX]; /* of the route, raw, borrowed from the path */
};

/* Finds the route of a raw (not decoded) path. `method` may be API_METHODS: none of ours. Pure. */
void route_find(struct slice path, enum api_method method, struct route_match *out);

/* "GET", … ; the method of that name, API_METHODS when it is none of ours. HEAD is GET. */
const char *api_method_text(enum api_method m);
enum api_method api_method_parse(const char *text);

#endif
