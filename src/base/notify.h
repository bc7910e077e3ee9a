/*
 * Telling systemd how the service is: datagrams to the socket that NOTIFY_SOCKET names (sd_notify(3)). Main's thread.
 *
 * libsystemd has this as well, and with it come liblzma, libzstd, libgcrypt and libcap into a process that faces the network. The
 * protocol is a line of text in a datagram, documented as stable.
 */
#ifndef TMQ_BASE_NOTIFY_H
#define TMQ_BASE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>

struct notify {
    int fd;               /* -1: nobody wants to know */
    uint64_t watchdog_ms; /* a sign of life is wanted so often at least; 0 = never */
};

/* Takes what the environment says, and takes it out of that: no child is to speak for us. */
void notify_init(struct notify *n);
void notify_fini(struct notify *n);
/* Sends assignments, one a line: "READY=1\nSTATUS=…". Waits for a second at most, for a service manager that does not read. */
void notify_send(const struct notify *n, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

#endif
