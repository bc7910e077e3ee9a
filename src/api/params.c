/*
 * Query parameters; see params.h. Split at & and = before anything is decoded, so that an encoded & is text.
 * '+' is a space (what browsers and HTTP libraries send); a time's "+02:00" is understood all the same.
 */
#include "api/params.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/cause.h"

enum { QUOTE_MAX = 80 }; /* bytes of a bad value that an error repeats */

static const uint64_t day_ms = 86400000;
static const uint64_t time_max_ms = 253402300799999; /* the last of year 9999 */

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

ptrdiff_t percent_decode(char *s, size_t n, bool plus)
{
    size_t out = 0;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        if (c == '%') {
            int hi = i + 1 < n ? hex_value(s[i + 1]) : -1;
            int lo = i + 2 < n ? hex_value(s[i + 2]) : -1;
            if (hi < 0 || lo < 0) {
                return -1;
            }
            c = (char)(hi * 16 + lo);
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        s[out++] = c;
    }
    return (ptrdiff_t)out;
}

static int quote_len(struct slice s)
{
    return (int)(s.n < QUOTE_MAX ? s.n : QUOTE_MAX);
}

/* A field's name as a string; names that clients made up are cut. */
static void name_text(struct slice name, char out[64])
{
    (void)snprintf(out, 64, "%.*s", (int)(name.n < 63 ? name.n : 63), (const char *)name.p);
}

static bool decode_part(struct params *p, char *s, size_t n, struct slice *out)
{
    ptrdiff_t decoded = percent_decode(s, n, true);
    if (decoded < 0) {
        problem_set(&p->problem, 400, NULL, "the query has a bad percent-encoding: %.*s",
                    (int)(n < QUOTE_MAX ? n : QUOTE_MAX), s);
        return false;
    }
    *out = slice_make(s, (size_t)decoded);
    return true;
}

static void add_param(struct params *p, char *s, size_t n)
{
    char *eq = memchr(s, '=', n);
    size_t name_n = eq == NULL ? n : (size_t)(eq - s);
    struct slice name, value = {0};
    if (n == 0 || !decode_part(p, s, name_n, &name) ||
        (eq != NULL && !decode_part(p, eq + 1, n - name_n - 1, &value))) {
        return;
    }
    for (size_t i = 0; i < p->count; i++) {
        if (slice_eq(p->items[i].name, name)) {
            char text[64];
            name_text(name, text);
            problem_set(&p->problem, 400, text, "%s is given twice", text);
            return;
        }
    }
    if (p->count == PARAMS_MAX) {
        problem_set(&p->problem, 400, NULL, "more than %d query parameters", PARAMS_MAX);
        return;
    }
    p->items[p->count++] = (struct param){.name = name, .value = value};
}

void params_parse(struct params *p, char *raw)
{
    p->count = 0;
    p->problem.status = 0;
    while (raw != NULL) {
        char *amp = strchr(raw, '&');
        add_param(p, raw, amp == NULL ? strlen(raw) : (size_t)(amp - raw));
        raw = amp == NULL ? NULL : amp + 1;
    }
}

bool params_find(struct params *p, const char *name, struct slice *out)
{
    for (size_t i = 0; i < p->count; i++) {
        if (slice_eq(p->items[i].name, slice_str(name))) {
            p->items[i].taken = true;
            *out = p->items[i].value;
            return true;
        }
    }
    return false;
}

struct slice params_text(struct params *p, const char *name, size_t max)
{
    struct slice v = {0};
    if (params_find(p, name, &v) && v.n > max) {
        problem_set(&p->problem, 400, name, "%s has %zu bytes, at most %zu", name, v.n, max);
        v.n = 0;
    }
    return v;
}

struct slice params_required(struct params *p, const char *name, size_t max)
{
    struct slice v = params_text(p, name, max);
    if (v.n == 0) {
        problem_set(&p->problem, 400, name, "%s is missing", name);
    }
    return v;
}

/* All digits, at most 19 of them: fits. */
static bool parse_digits(struct slice s, uint64_t *out)
{
    uint64_t v = 0;
    if (s.n == 0 || s.n > 19) {
        return false;
    }
    for (size_t i = 0; i < s.n; i++) {
        if (s.p[i] < '0' || s.p[i] > '9') {
            return false;
        }
        v = v * 10 + (uint64_t)(s.p[i] - '0');
    }
    *out = v;
    return true;
}

uint32_t params_limit(struct params *p)
{
    struct slice s;
    uint64_t v = 0;
    if (!params_find(p, "limit", &s)) {
        return PARAMS_LIMIT_DEFAULT;
    }
    if (!parse_digits(s, &v) || v < 1 || v > PARAMS_LIMIT_MAX) {
        problem_set(&p->problem, 400, "limit", "limit is %.*s, expected 1 to %d", quote_len(s),
                    (const char *)s.p, PARAMS_LIMIT_MAX);
        return PARAMS_LIMIT_DEFAULT;
    }
    return (uint32_t)v;
}

uint64_t params_cursor(struct params *p)
{
    struct slice s;
    uint64_t v = 0;
    if (!params_find(p, "cursor", &s)) {
        return 0;
    }
    if (!parse_digits(s, &v) || v == 0) {
        problem_set(&p->problem, 400, "cursor",
                    "cursor is %.*s, expected the next of an earlier page", quote_len(s),
                    (const char *)s.p);
    }
    return v;
}

/* "a, b or c" */
static void join_words(const char *const *words, char *out, size_t size)
{
    size_t n = 0;
    out[0] = '\0';
    for (size_t i = 0; words[i] != NULL && n < size; i++) {
        const char *glue = i == 0 ? "" : words[i + 1] == NULL ? " or " : ", ";
        int w = snprintf(out + n, size - n, "%s%s", glue, words[i]);
        n += (size_t)(w < 0 ? 0 : w);
    }
}

int params_word(struct params *p, const char *name, const char *const *words, int fallback)
{
    struct slice s;
    char list[128];
    if (!params_find(p, name, &s)) {
        return fallback;
    }
    for (int i = 0; words[i] != NULL; i++) {
        if (slice_eq(s, slice_str(words[i]))) {
            return i;
        }
    }
    join_words(words, list, sizeof list);
    problem_set(&p->problem, 400, name, "%s is %.*s, expected %s", name, quote_len(s),
                (const char *)s.p, list);
    return fallback;
}

int params_cause(struct params *p)
{
    struct slice s;
    int cause = -1;
    if (params_find(p, "cause", &s)) {
        cause = cause_parse(s);
        if (cause < 0) {
            problem_set(&p->problem, 400, "cause", "there is no cause %.*s", quote_len(s),
                        (const char *)s.p);
        }
    }
    return cause;
}

int params_action(struct params *p)
{
    struct slice s;
    int action = -1;
    if (params_find(p, "action", &s)) {
        action = cause_action_parse(s);
        if (action < 0) {
            problem_set(&p->problem, 400, "action",
                        "action is %.*s, expected connect, close or disconnect", quote_len(s),
                        (const char *)s.p);
        }
    }
    return action;
}

/* ---- times ---- */

/* Reads exactly `n` digits at *at and moves behind them; -1 otherwise. */
static int64_t take_digits(struct slice *rest, size_t n)
{
    uint64_t v = 0;
    if (rest->n < n || !parse_digits(slice_make(rest->p, n), &v)) {
        return -1;
    }
    *rest = slice_from(*rest, n);
    return (int64_t)v;
}

static bool take_char(struct slice *rest, const char *any_of)
{
    if (rest->n == 0 || rest->p[0] == 0 || strchr(any_of, rest->p[0]) == NULL) {
        return false;
    }
    *rest = slice_from(*rest, 1);
    return true;
}

static int month_days(int64_t year, int64_t month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days from 1970-01-01, proleptic Gregorian calendar. */
static int64_t civil_days(int64_t year, int64_t month, int64_t day)
{
    year -= month <= 2;
    int64_t era = year / 400;
    int64_t yoe = year - era * 400;
    int64_t doy = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719468;
}

/* YYYY-MM-DD to days since 1970. */
static bool take_date(struct slice *rest, int64_t *days)
{
    int64_t year = take_digits(rest, 4);
    int64_t month = take_char(rest, "-") ? take_digits(rest, 2) : -1;
    int64_t day = take_char(rest, "-") ? take_digits(rest, 2) : -1;
    if (year < 1970 || month < 1 || month > 12 || day < 1 || day > month_days(year, month)) {
        return false;
    }
    *days = civil_days(year, month, day);
    return true;
}

/* HH:MM:SS and a fraction, to µs of the day. A leap second is the second after. */
static bool take_clock(struct slice *rest, int64_t *us)
{
    int64_t hour = take_digits(rest, 2);
    int64_t minute = take_char(rest, ":") ? take_digits(rest, 2) : -1;
    int64_t second = take_char(rest, ":") ? take_digits(rest, 2) : -1;
    int64_t fraction = 0;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 60) {
        return false;
    }
    if (take_char(rest, ".,")) {
        int64_t digit = take_digits(rest, 1);
        if (digit < 0) {
            return false;
        }
        for (int64_t scale = 100000; digit >= 0; scale /= 10) {
            fraction += digit * scale;
            digit = take_digits(rest, 1);
        }
    }
    *us = ((hour * 60 + minute) * 60 + second) * 1000000 + fraction;
    return true;
}

/* Z or +HH:MM or -HH:MM, to µs; a space stands for the '+' that the query's decoding took. */
static bool take_offset(struct slice *rest, int64_t *us)
{
    *us = 0;
    if (take_char(rest, "Zz")) {
        return true;
    }
    int64_t sign = take_char(rest, "+ ") ? 1 : -1;
    if (sign < 0 && !take_char(rest, "-")) {
        return false;
    }
    int64_t hour = take_digits(rest, 2);
    int64_t minute = take_char(rest, ":") ? take_digits(rest, 2) : -1;
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59) {
        return false;
    }
    *us = sign * (hour * 60 + minute) * 60 * 1000000;
    return true;
}

int time_parse(struct slice text, uint64_t *us)
{
    uint64_t ms = 0;
    int64_t days = 0, clock = 0, offset = 0;
    if (parse_digits(text, &ms)) {
        if (ms > time_max_ms) {
            return -1;
        }
        *us = ms * 1000;
        return 0;
    }
    if (!take_date(&text, &days) || !take_char(&text, "Tt ") || !take_clock(&text, &clock) ||
        !take_offset(&text, &offset) || text.n != 0) {
        return -1;
    }
    int64_t v = days * (int64_t)day_ms * 1000 + clock - offset;
    if (v < 0) {
        return -1;
    }
    *us = (uint64_t)v;
    return 0;
}

/* False when it was not given (or is bad, which is a problem). */
static bool read_time(struct params *p, const char *name, uint64_t *us)
{
    struct slice s;
    if (!params_find(p, name, &s)) {
        return false;
    }
    if (time_parse(s, us) != 0) {
        problem_set(&p->problem, 400, name,
                    "%s is %.*s, expected Unix milliseconds or RFC 3339 (2026-01-31T12:00:00Z)",
                    name, quote_len(s), (const char *)s.p);
        return false;
    }
    return true;
}

void params_range(struct params *p, uint64_t now_us, uint64_t max_range_ms, uint64_t *begin_us,
                  uint64_t *end_us)
{
    uint64_t default_us = (max_range_ms < day_ms ? max_range_ms : day_ms) * 1000;
    bool has_end = read_time(p, "end", end_us);
    if (!has_end) {
        *end_us = now_us;
    }
    if (!read_time(p, "begin", begin_us)) {
        *begin_us = *end_us > default_us ? *end_us - default_us : 0;
    }
    const char *field = has_end ? "end" : "begin";
    if (*end_us < *begin_us) {
        problem_set(&p->problem, 400, field, "end (%" PRIu64 ") is before begin (%" PRIu64 ")",
                    *end_us / 1000, *begin_us / 1000);
    } else if (*end_us - *begin_us > max_range_ms * 1000) {
        problem_set(&p->problem, 400, field,
                    "end - begin is %" PRIu64 " ms, at most %" PRIu64 " ms (trace.max_range)",
                    (*end_us - *begin_us + 999) / 1000, max_range_ms);
    }
}

bool params_done(struct params *p)
{
    for (size_t i = 0; i < p->count; i++) {
        if (!p->items[i].taken) {
            char text[64];
            name_text(p->items[i].name, text);
            problem_set(&p->problem, 400, text, "there is no query parameter %s here", text);
        }
    }
    return p->problem.status == 0;
}
