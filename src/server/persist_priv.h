/* What persist.c (writing) and restore.c (reading at start) share: the keys and values of session state. */
#ifndef TMQ_SERVER_PERSIST_PRIV_H
#define TMQ_SERVER_PERSIST_PRIV_H

#include "server/server_priv.h"

/* 'S' and 'W' keys: 5 bytes and the client ID. Returns the length. */
size_t persist_client_key(uint8_t *out, char kind, uint32_t instance, struct slice client_id);

/* A row that says nothing any more. */
void persist_drop(struct worker *w, enum store_family family, struct slice key);

#endif
