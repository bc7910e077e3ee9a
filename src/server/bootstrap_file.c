/* Writing DATA/bootstrap.json; see bootstrap_file.h. */
#include "server/bootstrap_file.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <limits.h>
#include <sys/stat.h>

#include "auth/auth.h"

static char *to_text(const struct bootstrap_file *f)
{
    const struct auth_bootstrap *v = f->values;
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s, s:s?, s:s?}", /* */
                          "region", v->region, "instance_id", v->instance_id, "console_user",
                          v->console_user, "console_password", v->console_password, "api_token",
                          v->api_token, "access_key_id", v->access_key_id, "access_key_secret",
                          v->access_key_secret, "mqtt_username", v->mqtt_username, "mqtt_password",
                          v->mqtt_password, "url", f->url, "mqtt", f->mqtt);
    char *text = json_dumps(o, JSON_INDENT(2));
    json_decref(o);
    return text;
}

static int write_all(int fd, const char *p, size_t n)
{
    while (n > 0) {
        ssize_t done = write(fd, p, n);
        if (done < 0 && errno != EINTR) {
            return -errno;
        }
        p += done > 0 ? done : 0;
        n -= done > 0 ? (size_t)done : 0;
    }
    return 0;
}

static int write_temporary(int dir, const char *name, const char *text)
{
    (void)unlinkat(dir, name, 0);
    int fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) {
        return -errno;
    }
    int rc = write_all(fd, text, strlen(text));
    rc = rc != 0 ? rc : write_all(fd, "\n", 1);
    if (rc == 0 && fsync(fd) != 0) {
        rc = -errno;
    }
    if (close(fd) != 0 && rc == 0) {
        rc = -errno;
    }
    return rc;
}

int bootstrap_file_write(const char *data_dir, const struct bootstrap_file *f)
{
    static const char name[] = "bootstrap.json", temporary[] = "bootstrap.json.tmp";
    char *text = to_text(f);
    if (text == NULL) {
        return -EINVAL; /* a setting that is no UTF-8 */
    }
    int rc = 0;
    bool first = false;
    int dir = open(data_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0) {
        rc = -errno;
        goto out;
    }
    rc = write_temporary(dir, temporary, text);
    first = faccessat(dir, name, F_OK, 0) != 0;
    if (rc == 0 && (renameat(dir, temporary, dir, name) != 0 || fsync(dir) != 0)) {
        rc = -errno;
    }
    if (rc != 0) {
        (void)unlinkat(dir, temporary, 0);
    }
out:
    if (dir >= 0) {
        (void)close(dir);
    }
    free(text);
    return rc == 0 && first ? 1 : rc;
}
