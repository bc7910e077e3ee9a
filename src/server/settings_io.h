/* How auth/ reads and writes its settings: STORE_SETTINGS of the store, every change durable. */
#ifndef TMQ_SERVER_SETTINGS_IO_H
#define TMQ_SERVER_SETTINGS_IO_H

#include "auth/auth.h"

struct store;

/* `st` must outlive what uses the result. */
struct auth_io settings_io(struct store *st);

#endif
