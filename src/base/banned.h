/* Functions that must not be used in src/: each use is a compile error.
 *
 * The build forces this header in front of every file of src/ (`-include base/banned.h`). The headers
 * that declare the banned names come first, so that only our own uses are hit.
 * Instead: snprintf, memcpy or buf_append for strings, strtok_r or slices for splitting,
 * strtol with its checks for numbers, gmtime_r and friends for dates, libsodium for randomness. */
#ifndef TRACEMQ_BASE_BANNED_H
#define TRACEMQ_BASE_BANNED_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

/* unbounded or badly bounded copies */
#pragma GCC poison strcpy stpcpy strcat strncpy stpncpy strncat
#undef sprintf /* macros in glibc's headers under clang */
#undef vsprintf
#pragma GCC poison sprintf vsprintf gets
/* hidden state */
#pragma GCC poison strtok gmtime localtime ctime asctime ctime_r asctime_r
/* numbers without errors */
#pragma GCC poison atoi atol atoll atof
/* races, weak randomness (rand itself is a parameter's name in OpenSSL's headers) */
#pragma GCC poison mktemp tmpnam tempnam srand

#endif
