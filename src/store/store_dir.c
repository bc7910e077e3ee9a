/*
 * The data directory around the engine:
 *
 *   DATA/VERSION    "tracemq-data 1\n": written once, by a temporary file and a rename
 *   DATA/LOCK       flock'ed by the process that uses the directory; its pid in words
 *   DATA/store/     the engine's
 *   DATA/ingest/    sorted files on their way into the engine; emptied at each start
 *   DATA/reserve    preallocated bytes, given back when the disk is full
 *
 * A directory that is not ours, of another version, or in use is left exactly as it was found: the checks
 * that only read come first, then the lock, then they are made again, then something is written.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"
#include "store/store_priv.h"

#define VERSION_PREFIX "tracemq-data "
enum { DATA_VERSION = 1 };

int store_error_set(struct store_error *err, int rc, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    return rc;
}

char *store_path(const char *dir, const char *name)
{
    size_t n = strlen(dir) + strlen(name) + 2;
    char *p = mem_alloc(n);
    (void)snprintf(p, n, "%s/%s", dir, name);
    return p;
}

static int errno_error(struct store_error *err, const char *what, const char *dir)
{
    int e = errno;
    return store_error_set(err, -e, "%s the data directory %s: %s", what, dir, strerror(e));
}

/* The version in words, without the newline; "" when there is no such file. */
static int read_version(int dir_fd, char *out, size_t cap)
{
    int fd = openat(dir_fd, "VERSION", O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        out[0] = '\0';
        return errno == ENOENT ? 0 : -errno;
    }
    ssize_t n = read(fd, out, cap - 1);
    (void)close(fd);
    if (n < 0) {
        return -EIO;
    }
    out[n] = '\0';
    out[strcspn(out, "\n")] = '\0';
    return 0;
}

/* What may be there before VERSION is: a first start that was cut short, or a fresh file system. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {
        ".", "..", "LOCK", "VERSION.tmp", "bootstrap.json", "bootstrap.json.tmp", "lost+found"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strcmp(name, names[i]) == 0) {
            return true;
        }
    }
    return false;
}

static int check_foreign(const char *dir, struct store_error *err)
{
    DIR *d = opendir(dir);
    if (d == NULL) {
        return errno_error(err, "cannot read", dir);
    }
    int rc = 0;
    for (struct dirent *e = readdir(d); e != NULL && rc == 0; e = readdir(d)) {
        if (!is_ours(e->d_name)) {
            rc = store_error_set(err, -ENOTEMPTY,
                                 "%s is no data directory of tracemq: it has no VERSION file but "
                                 "holds other files (%.64s)",
                                 dir, e->d_name);
        }
    }
    (void)closedir(d);
    return rc;
}

/* *fresh tells that the directory holds no version yet. */
static int check_version(int dir_fd, const char *dir, bool *fresh, struct store_error *err)
{
    char text[64];
    int rc = read_version(dir_fd, text, sizeof text);
    if (rc < 0) {
        return store_error_set(err, rc, "cannot read %s/VERSION: %s", dir, strerror(-rc));
    }
    *fresh = text[0] == '\0';
    if (*fresh) {
        return check_foreign(dir, err);
    }
    size_t n = strlen(VERSION_PREFIX);
    if (strncmp(text, VERSION_PREFIX, n) != 0) {
        return store_error_set(err, -EPROTO, "%s/VERSION is none of tracemq's (\"%.40s\")", dir,
                               text);
    }
    char *end;
    unsigned long v = strtoul(text + n, &end, 10);
    if (*end != '\0' || end == text + n || v != DATA_VERSION) {
        return store_error_set(err, -EPROTO, "%s is of data version %.20s, this tracemq reads %d",
                               dir, text + n, DATA_VERSION);
    }
    return 0;
}

static int busy_error(int fd, const char *dir, struct store_error *err)
{
    char pid[32];
    ssize_t n = pread(fd, pid, sizeof pid - 1, 0);
    pid[n > 0 ? n : 0] = '\0';
    pid[strcspn(pid, "\n")] = '\0';
    return store_error_set(err, -EBUSY, "the data directory %s is in use by process %s", dir,
                           pid[0] != '\0' ? pid : "unknown");
}

static int take_lock(int dir_fd, const char *dir, int *lock_fd, struct store_error *err)
{
    int fd = openat(dir_fd, "LOCK", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) {
        return errno_error(err, "cannot write to", dir);
    }
    if (flock(fd, LOCK_EX | LOCK_NB) < 0) {
        int rc =
            errno == EWOULDBLOCK ? busy_error(fd, dir, err) : errno_error(err, "cannot lock", dir);
        (void)close(fd);
        return rc;
    }
    *lock_fd = fd;
    return 0;
}

static int write_pid(int fd)
{
    char text[32];
    int n = snprintf(text, sizeof text, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, text, (size_t)n, 0) != n) {
        return errno == 0 ? -EIO : -errno;
    }
    return 0;
}

static int write_version(int dir_fd)
{
    char text[64];
    int n = snprintf(text, sizeof text, VERSION_PREFIX "%d\n", DATA_VERSION);
    int fd = openat(dir_fd, "VERSION.tmp", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = 0;
    errno = 0;
    if (write(fd, text, (size_t)n) != n || fsync(fd) < 0) {
        rc = errno == 0 ? -EIO : -errno;
    }
    (void)close(fd);
    if (rc == 0 && (renameat(dir_fd, "VERSION.tmp", dir_fd, "VERSION") < 0 || fsync(dir_fd) < 0)) {
        rc = -errno;
    }
    return rc;
}

static int open_dir(const char *dir, struct store_error *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        return errno_error(err, "cannot make", dir);
    }
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) {
        return errno_error(err, "cannot open", dir);
    }
    if (faccessat(fd, ".", W_OK | X_OK, AT_EACCESS) < 0) {
        int rc = errno_error(err, "cannot write to", dir);
        (void)close(fd);
        return rc;
    }
    return fd;
}

int store_dir_open(const char *dir, int *lock_fd, struct store_error *err)
{
    int dir_fd = open_dir(dir, err);
    if (dir_fd < 0) {
        return dir_fd;
    }
    bool fresh = false;
    int fd = -1;
    int rc = check_version(dir_fd, dir, &fresh, err);
    if (rc < 0) {
        goto out;
    }
    rc = take_lock(dir_fd, dir, &fd, err);
    if (rc < 0) {
        goto out;
    }
    rc = check_version(dir_fd, dir, &fresh, err);
    if (rc < 0) {
        goto out;
    }
    rc = write_pid(fd);
    if (rc == 0 && fresh) {
        rc = write_version(dir_fd);
    }
    if (rc < 0) {
        (void)store_error_set(err, rc, "cannot write to the data directory %s: %s", dir,
                              strerror(-rc));
        goto out;
    }
    *lock_fd = fd;
    fd = -1;
out:
    if (fd >= 0) {
        (void)close(fd);
    }
    (void)close(dir_fd);
    return rc;
}

void store_dir_close(int lock_fd)
{
    if (lock_fd >= 0) {
        (void)!ftruncate(lock_fd, 0); /* no stale pid; the lock is what counts */
        (void)close(lock_fd);
    }
}

int store_dir_empty(const char *dir)
{
    if (mkdir(dir, 0700) == 0) {
        return 0;
    }
    DIR *d = errno == EEXIST ? opendir(dir) : NULL;
    if (d == NULL) {
        return -errno;
    }
    for (struct dirent *e = readdir(d); e != NULL; e = readdir(d)) {
        if (e->d_name[0] != '.') {
            (void)unlinkat(dirfd(d), e->d_name, 0);
        }
    }
    (void)closedir(d);
    return 0;
}
