/* Datagrams to the service manager; see notify.h. */
#include "base/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/log.h"

enum { TEXT_MAX = 1024 };

/* A connected socket, or -1. "@name" is an abstract one, whose address begins with a zero byte. */
static int open_socket(const char *path)
{
    struct sockaddr_un un = {.sun_family = AF_UNIX};
    size_t n = strlen(path);
    if ((path[0] != '/' && path[0] != '@') || n >= sizeof un.sun_path) {
        errno = EINVAL;
        return -1;
    }
    memcpy(un.sun_path, path, n);
    un.sun_path[0] = path[0] == '@' ? '\0' : '/';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    const struct timeval second = {.tv_sec = 1};
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n);
    if (fd >= 0 && (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &second, sizeof second) != 0 ||
                    connect(fd, (const struct sockaddr *)&un, len) != 0)) {
        int saved = errno;
        (void)close(fd);
        errno = saved;
        return -1;
    }
    return fd;
}

/* Milliseconds, 0 when no sign of life is wanted of this process. */
static uint64_t watchdog(void)
{
    const char *usec = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");
    bool ours = pid == NULL || strtoll(pid, NULL, 10) == (long long)getpid();
    return usec == NULL || !ours ? 0 : strtoull(usec, NULL, 10) / 1000;
}

void notify_init(struct notify *n)
{
    const char *path = getenv("NOTIFY_SOCKET");
    *n = (struct notify){.fd = -1};
    if (path == NULL || path[0] == '\0') {
        return;
    }
    n->fd = open_socket(path);
    if (n->fd < 0) {
        log_warn("the service manager is not told: its socket can't be opened",
                 "path=\"%s\" error=%s", path, strerrorname_np(errno));
    } else {
        n->watchdog_ms = watchdog();
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
}

void notify_fini(struct notify *n)
{
    if (n->fd >= 0) {
        (void)close(n->fd);
        n->fd = -1;
    }
}

void notify_send(const struct notify *n, const char *fmt, ...)
{
    char text[TEXT_MAX];
    va_list ap;
    if (n->fd < 0) {
        return;
    }
    va_start(ap, fmt);
    int len = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t cut = len < 0 ? 0 : (size_t)len < sizeof text ? (size_t)len : sizeof text - 1;
    if (send(n->fd, text, cut, MSG_NOSIGNAL) < 0) {
        log_warn("the service manager could not be told", "error=%s", strerrorname_np(errno));
    }
}
