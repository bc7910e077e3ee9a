/* What the files of api/ share: the API itself, its sessions and its streams. */
#ifndef TMQ_API_API_PRIV_H
#define TMQ_API_API_PRIV_H

#include <microhttpd.h>
#include <stdbool.h>

#include "api/api.h"
#include "api/request.h"

struct sessions;
struct stream_hub;

enum { API_ADDRESS_SIZE = 128 };

/* Constant after api_start(), but for what sessions and streams lock themselves. */
struct api {
    struct api_options o; /* `address` and `region` are not used: copies below */
    char *region;
    char address[API_ADDRESS_SIZE];
    bool loopback; /* listens on loopback only */
    struct MHD_Daemon *daemon;
    struct sessions *sessions;
    struct stream_hub *streams;
};

/* ---- listen.c ---- */
/* Binds "host:port" and listens. The descriptor (yours), or negative errno with `err` filled. `bound` gets the
 * address in use. */
int listen_open(const char *address, char bound[API_ADDRESS_SIZE], bool *loopback, char *err,
                unsigned err_size) __attribute__((warn_unused_result));

/* ---- dispatch.c ---- */
/* Chooses the route, checks who asks, and has it answered: rq->response is set on return. */
void dispatch(struct request *rq);

/* ---- session.c: console sessions in RAM. Any HTTP thread; locks itself. ---- */
struct sessions *sessions_new(void);
void sessions_free(struct sessions *s);
/* True when `token` (from the cookie) is a session that has not expired; its user in `user`. */
bool sessions_find(struct sessions *s, const char *token, char user[257]);
extern const char session_cookie[];

/* ---- stream.c ---- */
/* Starts the thread that wakes streams. 0 or negative errno. */
int stream_hub_new(struct stream_hub **out, struct trace *t, unsigned max_streams);
/* Ends all streams; waits at most 2 s for them. */
void stream_hub_stop(struct stream_hub *h);
/* After the HTTP daemon has stopped. NULL-safe. */
void stream_hub_free(struct stream_hub *h);
/* For /metrics. */
unsigned stream_hub_count(struct stream_hub *h);

#endif
