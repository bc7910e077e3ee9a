/* What persist.c (writing) and restore.c (reading at start) share: the keys and values of session state. */
#ifndef TMQ_SERVER_PERSIST_PRIV_H
#define TMQ_SERVER_PERSIST_PRIV_H

#include "server/server_priv.h"

enum { SESSION_ROW_VERSION = 2, WILL_ROW_VERSION = 3, WILL_ROW_HEAD = 13 };
enum { DELAYED_ROW_VERSION = 1, DELAYED_ROW_HEAD = 23, DELAYED_KEY = 9 };
enum { MESSAGE_ROW_VERSION = 3, MESSAGE_ROW_HEAD = 17, MESSAGE_ROW_HEAD_1 = 4 };
enum { QUEUE_ROW = 16, QUEUE_ROW_SHARED = 20, IN_ID_KEY = 13, IN_SHARE_KEY = 21 };
enum { SUB_ROW = 6, SUB_ROW_USER = 7, SUB_USER_MAX = 1024 };
enum { QUEUE_RETAIN = 1, QUEUE_FILTERED = 2 }; /* flags8 of a queue row; it was retain8 */

/* Wall time of the worker's loop less its monotonic time, ms: what turns the one into the other. */
uint64_t persist_wall_less_mono(const struct worker *w);

/* 'S' and 'W' keys: 5 bytes and the client ID. Returns the length. */
size_t persist_client_key(uint8_t *out, char kind, uint32_t instance, struct slice client_id);

/* A row that says nothing any more. */
void persist_drop(struct worker *w, enum store_family family, struct slice key);

#endif
