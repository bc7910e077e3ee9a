/*
 * `tracemq import`: files in, files out, and settings over the HTTP API. What the files mean is mosquitto.c's.
 *
 * The report is on stderr, so that the YAML can go to stdout. What is written is written whole or not at all: a temporary file
 * beside it, then rename; owner and mode of a file that was there stay.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "base/mem.h"
#include "cli/commands.h"
#include "cli/emqx.h"
#include "cli/format.h"
#include "cli/import.h"
#include "cli/mosquitto.h"

enum { FILE_MAX_BYTES = 64 * 1024 * 1024, PLACE_WIDTH_MAX = 48 };

/* ---- what the import reads ---- */

static int io_read(void *arg, const char *path, struct buf *out)
{
    (void)arg;
    FILE *f = fopen(path, "re");
    int failed = f == NULL ? -errno : 0;
    size_t n = 1;
    while (failed == 0 && n > 0) {
        errno = 0;
        n = fread(buf_reserve(out, 65536), 1, 65536, f);
        buf_commit(out, n);
        failed = ferror(f) != 0 ? -errno : buf_len(out) > FILE_MAX_BYTES ? -EFBIG : 0;
    }
    if (f != NULL) {
        (void)fclose(f);
    }
    return failed;
}

static int is_conf(const struct dirent *e)
{
    size_t n = strlen(e->d_name);
    return n > 5 && strcmp(e->d_name + n - 5, ".conf") == 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int io_list(void *arg, const char *dir, char ***names, size_t *count)
{
    struct dirent **found = NULL;
    (void)arg;
    int n = scandir(dir, &found, is_conf, by_name);
    if (n < 0) {
        return -errno;
    }
    *names = mem_new((size_t)n + 1, sizeof(char *));
    *count = (size_t)n;
    for (int i = 0; i < n; i++) {
        (*names)[i] = mem_strndup(found[i]->d_name, strlen(found[i]->d_name));
        free(found[i]);
    }
    free(found);
    return 0;
}

static void io_random(void *arg, uint8_t *out, size_t n)
{
    (void)arg;
    if (getrandom(out, n, 0) != (ssize_t)n) { /* never short for so few */
        abort();
    }
}

/* ---- the report ---- */

static const char *const outcome_words[] = {
    [IMPORT_TAKEN] = "→",
    [IMPORT_SAME] = "the same by default",
    [IMPORT_IGNORED] = "not needed",
    [IMPORT_NONE] = "no equivalent",
    [IMPORT_UNKNOWN] = "unknown",
    [IMPORT_BAD] = "wrong",
};
enum { OUTCOMES = sizeof outcome_words / sizeof outcome_words[0] };

static void put_text(struct buf *b, const char *text)
{
    cli_put_safe(b, slice_str(text == NULL ? "" : text));
}

static void put_pad(struct buf *b, size_t from, size_t width)
{
    for (size_t n = buf_len(b) - from; n < width; n++) {
        buf_put_u8(b, ' ');
    }
}

static size_t place_width(const struct import_note *n)
{
    size_t width = strlen(n->file) + 11;
    return width > PLACE_WIDTH_MAX ? PLACE_WIDTH_MAX : width;
}

static void put_note(struct buf *b, const struct import_note *n, size_t width)
{
    char line[16];
    size_t from = buf_len(b);
    if (n->line > 0) {
        (void)snprintf(line, sizeof line, ":%u", n->line);
        put_text(b, n->file);
        put_text(b, line);
        put_pad(b, from, width);
    }
    buf_put_slice(b, slice_str(n->line > 0 ? "  " : "  - "));
    put_text(b, n->option);
    buf_put_slice(b, slice_str(n->value[0] == '\0' ? "" : " "));
    put_text(b, import_note_value(n));
    if (n->line == 0) {
        buf_put_slice(b, slice_str(": "));
    } else {
        buf_put_slice(b, slice_str("   "));
        buf_put_slice(b, slice_str(outcome_words[n->outcome]));
        bool more = n->told != NULL && n->told[0] != '\0';
        buf_put_slice(b, slice_str(!more ? "" : n->outcome == IMPORT_TAKEN ? " " : ": "));
    }
    put_text(b, n->told);
    buf_put_u8(b, '\n');
}

static void print_report(const struct import *im)
{
    struct buf b = {0};
    size_t count, width = 0, of[OUTCOMES] = {0};
    const struct import_note *const *notes = import_notes(im, &count);
    for (size_t i = 0; i < count; i++) {
        width = place_width(notes[i]) > width && notes[i]->line > 0 ? place_width(notes[i]) : width;
        of[notes[i]->outcome] += notes[i]->line > 0;
    }
    for (size_t i = 0; i < count; i++) {
        if (notes[i]->line == 0 && (i == 0 || notes[i - 1]->line > 0)) {
            buf_put_slice(&b, slice_str("What no line says:\n"));
        }
        put_note(&b, notes[i], width);
    }
    struct slice s = buf_slice(&b);
    (void)fwrite(s.p, 1, s.n, stderr);
    (void)fprintf(
        stderr,
        "%zu lines taken over, %zu the same by default, %zu not needed, %zu without equivalent, %zu unknown, %zu "
        "wrong\n",
        of[IMPORT_TAKEN], of[IMPORT_SAME], of[IMPORT_IGNORED], of[IMPORT_NONE], of[IMPORT_UNKNOWN],
        of[IMPORT_BAD]);
    buf_fini(&b);
}

/* ---- what the import writes ---- */

static int write_all(int fd, struct slice s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno != EINTR) {
            return -errno;
        }
        s = slice_from(s, n < 0 ? 0 : (size_t)n);
    }
    return fsync(fd) != 0 ? -errno : 0;
}

/* Whoever may read the old file may read the new one. */
static int keep_owner(int fd, const struct stat *old)
{
    return fchown(fd, old->st_uid, old->st_gid) != 0 || fchmod(fd, old->st_mode & 07777) != 0
               ? -errno
               : 0;
}

/* `secret`: a new file is for its owner only. 0, or -1 and a message. */
static int write_file(const char *path, struct slice text, bool secret, bool force)
{
    struct stat old;
    bool exists = stat(path, &old) == 0;
    if (exists && !force) {
        (void)fprintf(stderr, "tracemq: %s exists; --force writes over it\n", path);
        return -1;
    }
    struct buf name = {0};
    buf_put_slice(&name, slice_str(path));
    buf_put(&name, ".new", sizeof ".new");
    const char *temporary = (const char *)buf_slice(&name).p;
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, secret ? 0600 : 0644);
    int failed = fd < 0 ? -errno : write_all(fd, text);
    if (failed == 0 && exists) {
        failed = keep_owner(fd, &old);
    }
    if (failed == 0 && exists && secret && (old.st_mode & 07) != 0) {
        (void)fprintf(stderr,
                      "tracemq: %s has passwords in it and is for everyone to read: chmod o= %s\n",
                      path, path);
    }
    if (fd >= 0) {
        (void)close(fd);
    }
    if (failed == 0 && rename(temporary, path) != 0) {
        failed = -errno;
    }
    if (failed != 0) {
        (void)fprintf(stderr, "tracemq: %s cannot be written: %s\n", path, strerror(-failed));
        (void)unlink(temporary);
    }
    buf_fini(&name);
    return failed == 0 ? 0 : -1;
}

static int write_settings(const char *path, const json_t *settings, bool force)
{
    char *text = json_dumps(settings, JSON_INDENT(1));
    size_t n = strlen(text);
    text[n] = '\n'; /* instead of the NUL */
    int rc = write_file(path, slice_make(text, n + 1), true, force);
    explicit_bzero(text, n);
    free(text);
    return rc;
}

static int write_outputs(const struct cli_args *a, const struct import *im)
{
    const char *out = a->value[OPT_OUT];
    const char *settings = a->value[OPT_SETTINGS_OUT];
    bool force = cli_has(a, OPT_FORCE);
    struct slice yaml = import_yaml(im);
    if (settings != NULL && write_settings(settings, import_settings(im), force) != 0) {
        return -1;
    }
    if (out != NULL) {
        return write_file(out, yaml, import_yaml_secret(im), force);
    }
    return cli_has(a, OPT_APPLY) || fwrite(yaml.p, 1, yaml.n, stdout) == yaml.n ? 0 : -1;
}

/* ---- commands ---- */

/* Only users and permissions of what was read go where a broker runs; the rest is a file for its next start. */
int cli_import_mosquitto(struct cli_http *h, const struct cli_args *a)
{
    char problem[1024], hostname[256] = "";
    (void)gethostname(hostname, sizeof hostname - 1);
    const struct import_io io = {
        .hostname = hostname, .read = io_read, .list = io_list, .random = io_random};
    struct import *im = import_mosquitto(a->positional[0], &io, problem, sizeof problem);
    if (im == NULL) {
        (void)fprintf(stderr, "tracemq: %s\n", problem);
        return CLI_FAILED;
    }
    print_report(im);
    int status = write_outputs(a, im) == 0 ? CLI_DONE : CLI_FAILED;
    if (status == CLI_DONE && cli_has(a, OPT_APPLY)) {
        status = cli_apply_settings(h, import_settings(im), cli_has(a, OPT_REPLACE));
    } else if (status == CLI_DONE && !cli_has(a, OPT_SETTINGS_OUT)) {
        (void)fprintf(
            stderr,
            "Users and permissions: nothing was done with them; --settings-out FILE writes them for `tracemq "
            "import settings FILE`, --apply gives them to a running broker.\n");
    }
    import_free(im);
    return status;
}

int cli_import_emqx_check(const struct cli_args *a, char *problem, size_t size)
{
    struct emqx_hash hash;
    const char *name = a->value[OPT_HASH];
    if (name != NULL && !emqx_hash_parse(name, &hash)) {
        (void)snprintf(problem, size, "--hash must be %s", EMQX_HASHES);
        return -1;
    }
    if (!cli_has(a, OPT_APPLY) && !cli_has(a, OPT_SETTINGS_OUT)) {
        (void)snprintf(problem, size, "--settings-out FILE or --apply is missing");
        return -1;
    }
    return 0;
}

static json_t *read_emqx(const struct cli_args *a)
{
    const char *path = a->positional[0], *name = a->value[OPT_HASH];
    const char *dot = strrchr(path, '.');
    struct buf text = {0}, report = {0};
    struct emqx_hash hash;
    char problem[256] = "";
    size_t left_out = 0;
    json_t *doc = NULL;
    bool hashed = name != NULL && emqx_hash_parse(name, &hash);
    int failed = io_read(NULL, path, &text);
    if (failed == 0) {
        doc = emqx_users(buf_slice(&text), dot != NULL && strcmp(dot, ".json") == 0,
                         hashed ? &hash : NULL, &report, &left_out, problem, sizeof problem);
    }
    if (doc == NULL) {
        (void)fprintf(stderr, "tracemq: %s: %s\n", path, failed != 0 ? strerror(-failed) : problem);
    } else {
        buf_put_u8(&report, 0);
        (void)fputs((const char *)buf_slice(&report).p, stderr);
        (void)fprintf(stderr, "%zu users, %zu of them superusers, %zu not taken over\n",
                      json_array_size(json_object_get(doc, "users")),
                      json_object_size(json_object_get(doc, "permissions")), left_out);
    }
    buf_fini(&report);
    if (text.p != NULL) {
        explicit_bzero(text.p, text.cap);
    }
    buf_fini(&text);
    return doc;
}

int cli_import_emqx(struct cli_http *h, const struct cli_args *a)
{
    json_t *doc = read_emqx(a);
    int status = doc == NULL ? CLI_FAILED : CLI_DONE;
    if (doc != NULL && cli_has(a, OPT_SETTINGS_OUT) &&
        write_settings(a->value[OPT_SETTINGS_OUT], doc, cli_has(a, OPT_FORCE)) != 0) {
        status = CLI_FAILED;
    }
    if (status == CLI_DONE && cli_has(a, OPT_APPLY)) {
        status = cli_apply_settings(h, doc, cli_has(a, OPT_REPLACE));
    }
    json_decref(doc);
    return status;
}

int cli_import_settings(struct cli_http *h, const struct cli_args *a)
{
    json_error_t e;
    json_t *doc = json_load_file(a->positional[0], JSON_REJECT_DUPLICATES, &e);
    const char *format = json_string_value(json_object_get(doc, "format"));
    if (doc == NULL) {
        (void)fprintf(stderr, "tracemq: %s:%d: %s\n", a->positional[0], e.line, e.text);
    } else if (format == NULL || strcmp(format, "tracemq-settings-1") != 0) {
        (void)fprintf(
            stderr, "tracemq: %s: no file of settings: \"format\" must be \"tracemq-settings-1\"\n",
            a->positional[0]);
        json_decref(doc);
        doc = NULL;
    }
    int status = doc == NULL ? CLI_FAILED : cli_apply_settings(h, doc, cli_has(a, OPT_REPLACE));
    json_decref(doc);
    return status;
}
