/* The files of the web console, embedded into the binary.
 *
 * tools/embed writes the table (console_files.c in the build directory) from console/dist; the bytes are
 * pulled in by the assembler. All of it is constant and lives as long as the program. */
#ifndef TRACEMQ_API_CONSOLE_FILES_H
#define TRACEMQ_API_CONSOLE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct console_file {
    const char *path;         /* "/index.html", "/assets/app-1a2b3c.js" */
    const char *content_type; /* with charset where text */
    const char *etag;         /* quoted, from the content's hash */
    const uint8_t *data;
    size_t size;
    const uint8_t *gzip_data; /* NULL when gzip does not make it smaller */
    size_t gzip_size;
    bool immutable; /* its name carries a hash of its content: may be cached for ever */
};

/* Sorted by path (strcmp). */
extern const struct console_file console_files[];
extern const size_t console_files_count;

#endif
