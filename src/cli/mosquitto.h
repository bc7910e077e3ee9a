/*
 * Mosquitto's configuration made ours: mosquitto.conf(5) with what it includes, password files and ACL files become a YAML file,
 * a document of settings (users, permissions) and a note on every line that was read. Pure: files come in by functions of the
 * caller.
 */
#ifndef TMQ_CLI_MOSQUITTO_H
#define TMQ_CLI_MOSQUITTO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

enum import_outcome {
    IMPORT_TAKEN,   /* became something of ours */
    IMPORT_SAME,    /* holds without being said */
    IMPORT_IGNORED, /* makes no difference here */
    IMPORT_NONE,    /* has no equivalent */
    IMPORT_UNKNOWN, /* no option of Mosquitto that we know */
    IMPORT_BAD      /* Mosquitto would not have taken it, or we cannot */
};

/* A line that was read, and what became of it. The value is in plain text: import_note_value() is for people. */
struct import_note {
    char *file;
    unsigned line; /* 0: about the whole, `option` is what */
    char *option, *value;
    bool secret;
    enum import_outcome outcome;
    char *told;
};
/* The value, or "***" where it is a secret. */
const char *import_note_value(const struct import_note *n);

/* How the import sees the machine. */
struct import_io {
    void *arg;
    const char *hostname;
    /* Adds a whole file to `out`: 0 or a negative errno. */
    int (*read)(void *arg, const char *path, struct buf *out);
    /* The names of a directory that end in ".conf", in byte order; free() each and the array. 0 or a negative errno. */
    int (*list)(void *arg, const char *dir, char ***names, size_t *count);
    void (*random)(void *arg, uint8_t *out, size_t n);
};

struct import;

/* Reads it all. NULL with a sentence in `problem` when a file cannot be read. */
struct import *import_mosquitto(const char *path, const struct import_io *io, char *problem,
                                size_t size);
void import_free(struct import *im);

/* The configuration file; the import owns it. */
struct slice import_yaml(const struct import *im);
/*
 * {"format", "source", "settings": {…}, "users": [{"name", "password"|"passwordHash"}], "permissions": {NAME: [{"effect",
 * "action", "filter"}]}}; the import owns it.
 */
json_t *import_settings(const struct import *im);
/* In the order of reading; notes about the whole are last. */
const struct import_note *const *import_notes(const struct import *im, size_t *count);
/* Whether the YAML has a password in it. */
bool import_yaml_secret(const struct import *im);

#endif
