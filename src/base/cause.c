/* The table of causes as data; see cause.def. */
#include "base/cause.h"

#include <assert.h>

static const struct cause_info table[CAUSE_COUNT] = {
#define CAUSE(sym, c, desc, act, by, t, n)                                                         \
    [CAUSE_##sym] = {.code = c,                                                                    \
                     .description = DESC_##desc,                                                   \
                     .action = ACTION_##act,                                                       \
                     .ended_by = ENDED_BY_##by,                                                    \
                     .text = t,                                                                    \
                     .next = n},
#include "base/cause.def"
#undef CAUSE
};

static const char *const descriptions[] = {
    [DESC_ACCEPTED] = "accepted",
    [DESC_NOT_AUTHORIZED] = "not authorized",
    [DESC_CLIENT_ID_CONFLICT] = "clientId conflict",
    [DESC_TOPIC_AUTH_FAILED] = "topic auth failed",
    [DESC_NO_HEART] = "no heart",
    [DESC_CLOSED_BY_CLIENT] = "closed by client",
    [DESC_SOCKET_IO_EXCEPTION] = "Socket IOException",
    [DESC_DISCONNECTED_BY_CLIENT] = "disconnected by client",
    [DESC_SERVER_SHUTDOWN] = "ServerShutdown",
    [DESC_INVALID_PARAM] = "invalid param",
    [DESC_CLOSED_BY_SERVER] = "closed by server",
    [DESC_UNIDENTIFIED] = "unidentified",
};

static const char *const actions[] = {
    [ACTION_CONNECT] = "connect",
    [ACTION_CLOSE] = "close",
    [ACTION_DISCONNECT] = "disconnect",
};

static const char *const enders[] = {
    [ENDED_BY_NONE] = "",         [ENDED_BY_CLIENT] = "client",
    [ENDED_BY_SERVER] = "server", [ENDED_BY_NETWORK] = "network",
    [ENDED_BY_ADMIN] = "admin",   [ENDED_BY_PEER_OTHER] = "other client",
};

const struct cause_info *cause_info(enum cause c)
{
    assert((unsigned)c < CAUSE_COUNT);
    return &table[c];
}

const char *cause_description_text(enum cause_description d)
{
    assert((unsigned)d <= DESC_UNIDENTIFIED);
    return descriptions[d];
}

const char *cause_action_text(enum cause_action a)
{
    assert((unsigned)a <= ACTION_DISCONNECT);
    return actions[a];
}

const char *cause_ended_by_text(enum cause_ended_by e)
{
    assert((unsigned)e <= ENDED_BY_PEER_OTHER);
    return enders[e];
}

int cause_parse(struct slice code)
{
    for (int i = 0; i < (int)CAUSE_COUNT; i++) {
        if (slice_eq(code, slice_str(table[i].code))) {
            return i;
        }
    }
    return -1;
}

int cause_action_parse(struct slice word)
{
    for (int i = 0; i <= (int)ACTION_DISCONNECT; i++) {
        if (slice_eq(word, slice_str(actions[i]))) {
            return i;
        }
    }
    return -1;
}
