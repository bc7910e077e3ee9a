/* The HTTP request that asks for a WebSocket, and its answer. Pure. */
#ifndef TMQ_NET_WS_UPGRADE_H
#define TMQ_NET_WS_UPGRADE_H

#include "base/buf.h"
#include "net/ws.h"

enum { WS_REQUEST_MAX = 8192, WS_WHY_MAX = 256 };

struct ws_upgrade;

enum ws_upgrade_state {
    WS_UPGRADE_MORE,    /* the request is not complete */
    WS_UPGRADE_DONE,    /* `answer` has the 101 */
    WS_UPGRADE_REFUSED, /* `answer` has the error for the client, ws_upgrade_why() the words */
};

struct ws_upgrade *ws_upgrade_new(const struct ws_rules *rules);
void ws_upgrade_free(struct ws_upgrade *u);
/* Takes bytes of the request; `*used` of them belong to it. Not called again once it is done or refused. */
enum ws_upgrade_state ws_upgrade_feed(struct ws_upgrade *u, struct slice in, size_t *used,
                                      struct buf *answer);
/* What was wrong and what was expected; printable. */
const char *ws_upgrade_why(const struct ws_upgrade *u);

#endif
