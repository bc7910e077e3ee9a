/* Causes, descriptions, actions and who ended a connection: enums and words, all from cause.def. */
#ifndef TMQ_BASE_CAUSE_H
#define TMQ_BASE_CAUSE_H

#include <stdint.h>

#include "base/slice.h"

enum cause {
#define CAUSE(sym, code, desc, action, by, text, next) CAUSE_##sym,
#include "base/cause.def"
#undef CAUSE
    CAUSE_COUNT
};

/* The words of the reference service, and four of ours for what it does not tell apart. */
enum cause_description {
    DESC_ACCEPTED,
    DESC_NOT_AUTHORIZED,
    DESC_CLIENT_ID_CONFLICT,
    DESC_TOPIC_AUTH_FAILED,
    DESC_NO_HEART,
    DESC_CLOSED_BY_CLIENT,
    DESC_SOCKET_IO_EXCEPTION,
    DESC_DISCONNECTED_BY_CLIENT,
    DESC_SERVER_SHUTDOWN,
    DESC_INVALID_PARAM,
    DESC_CLOSED_BY_SERVER,
    DESC_UNIDENTIFIED
};

enum cause_action { ACTION_CONNECT, ACTION_CLOSE, ACTION_DISCONNECT };

enum cause_ended_by {
    ENDED_BY_NONE,
    ENDED_BY_CLIENT,
    ENDED_BY_SERVER,
    ENDED_BY_NETWORK,
    ENDED_BY_ADMIN,
    ENDED_BY_PEER_OTHER
};

struct cause_info {
    const char *code; /* stable, "keepalive.expired" */
    enum cause_description description;
    enum cause_action action;
    enum cause_ended_by ended_by;
    const char *text; /* one sentence: what it means */
    const char *next; /* what to do next; may be "" */
};

/* The row of a cause; c < CAUSE_COUNT. The pointer lives for ever. */
const struct cause_info *cause_info(enum cause c);

/* "no heart", "clientId conflict", … as the reference's console shows them. */
const char *cause_description_text(enum cause_description d);

/* "connect", "close", "disconnect". */
const char *cause_action_text(enum cause_action a);

/* "client", "server", "network", "admin", "other client", or "" for a connect. */
const char *cause_ended_by_text(enum cause_ended_by e);

/* The cause with that code, or -1. */
int cause_parse(struct slice code);

/* The action with that word, or -1. */
int cause_action_parse(struct slice word);

#endif
