/*
 * HTTP: REST, server-sent events, console files. main starts it after the server, stops it before.
 */
#ifndef TMQ_API_API_H
#define TMQ_API_API_H

#include <stdint.h>

struct api;
struct auth;
struct bridges;
struct reload;
struct server;
struct trace;

struct api_options {
    const char *address;      /* "127.0.0.1:8080"; port 0 is allowed */
    const char *region;       /* this deployment's name */
    unsigned max_connections; /* HTTP, 256 */
    unsigned max_streams;     /* SSE, 64 */
    struct auth *auth;
    struct trace *trace;
    struct server *server;
    struct bridges *bridges; /* NULL: there are none */
    struct reload *reload;   /* NULL: there is no configuration to read again */
};

/* Binds and serves. 0 or negative errno, `err` says which address and why. While server_ready() is false
 * /readyz answers 503 and everything below /api too. */
int api_start(struct api **out, const struct api_options *o, char *err, unsigned err_size)
    __attribute__((warn_unused_result));
/* The address in use, with the chosen port. */
const char *api_address(const struct api *a);
/* Ends streams, waits for requests, stops. NULL-safe. */
void api_stop(struct api *a);

#endif
