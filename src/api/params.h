/*
 * The query string: split first, decoded then; each reader names the field that is wrong. Pure.
 *
 * Errors are kept in `problem`, the first one wins, so a handler reads all it knows and asks params_done()
 * once. What no reader took is unknown, and that is an error too. One thread at a time.
 */
#ifndef TMQ_API_PARAMS_H
#define TMQ_API_PARAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "api/problem.h"
#include "base/slice.h"

enum { PARAMS_MAX = 32, PARAMS_LIMIT_DEFAULT = 100, PARAMS_LIMIT_MAX = 1000 };

struct param {
    struct slice name, value; /* decoded, borrowed from the raw query */
    bool taken;
};

struct params {
    struct param items[PARAMS_MAX];
    size_t count;
    struct problem problem;
};

/* Takes `raw` (what follows the '?', may be NULL) apart and decodes it in place; it must outlive `p`. */
void params_parse(struct params *p, char *raw);

/* The value of `name`; false when it was not given. */
bool params_find(struct params *p, const char *name, struct slice *out);

/* Text of at most `max` bytes, empty when not given. */
struct slice params_text(struct params *p, const char *name, size_t max);

/* Like params_text(), but it must be given and not be empty. */
struct slice params_required(struct params *p, const char *name, size_t max);

/* 1..1000, 100 when not given. */
uint32_t params_limit(struct params *p);

/* A position that an earlier page gave as `next`; 0 when not given. */
uint64_t params_cursor(struct params *p);

/* The index of the value in `words` (ended by NULL), `fallback` when not given. */
int params_word(struct params *p, const char *name, const char *const *words, int fallback);

/* A cause's code, an action's word: the enum's value, -1 when not given. */
int params_cause(struct params *p);
int params_action(struct params *p);

/*
 * [begin, end) in µs: end defaults to now, begin to a day (at most the longest range) before end.
 * Problem when end < begin or the range is longer than `max_range_ms`.
 */
void params_range(struct params *p, uint64_t now_us, uint64_t max_range_ms, uint64_t *begin_us,
                  uint64_t *end_us);

/* True when all were known and good; else `problem` says what was not. Call it last. */
bool params_done(struct params *p);

/* Decodes %HH in place, and '+' as a space if `plus`; the new length, or -1 at a bad escape. */
ptrdiff_t percent_decode(char *s, size_t n, bool plus);

/* Unix milliseconds or RFC 3339 (fractions, offsets) to µs since 1970; -1 when it is neither. */
int time_parse(struct slice text, uint64_t *us) __attribute__((warn_unused_result));

#endif
