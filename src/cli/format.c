/*
 * Parsing is strict (what is not understood is refused, never guessed); printing is safe: a client ID may hold any
 * character that MQTT allows, also those that move a terminal's cursor.
 */
#include "cli/format.h"

#include <inttypes.h>
#include <stdlib.h>
#include <time.h>

#include "base/mem.h"

/* ---- durations and times ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Reads digits; the count, 0 for none or a number that is too large. */
static size_t read_number(const char *s, uint64_t *out)
{
    uint64_t v = 0;
    size_t n = 0;
    for (; is_digit(s[n]); n++) {
        if (n >= 18) {
            return 0;
        }
        v = v * 10 + (uint64_t)(s[n] - '0');
    }
    *out = v;
    return n;
}

static size_t read_unit(const char *s, uint64_t *ms)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } units[] = {{"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {"d", 86400000}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        size_t n = strlen(units[i].name);
        if (strncmp(s, units[i].name, n) == 0 && (s[n] == '\0' || is_digit(s[n]))) {
            *ms = units[i].ms;
            return n;
        }
    }
    return 0;
}

int cli_parse_duration(const char *s, uint64_t *ms)
{
    uint64_t sum = 0;
    if (*s == '\0') {
        return -1;
    }
    while (*s != '\0') {
        uint64_t v = 0;
        uint64_t unit = 0;
        size_t n = read_number(s, &v);
        size_t u = n == 0 ? 0 : read_unit(s + n, &unit);
        if (u == 0 || __builtin_mul_overflow(v, unit, &v) || __builtin_add_overflow(sum, v, &sum)) {
            return -1;
        }
        s += n + u;
    }
    *ms = sum;
    return 0;
}

/* Exactly `n` digits. */
static bool take_digits(const char **s, size_t n, int *out)
{
    int v = 0;
    for (size_t i = 0; i < n; i++) {
        if (!is_digit((*s)[i])) {
            return false;
        }
        v = v * 10 + ((*s)[i] - '0');
    }
    *s += n;
    *out = v;
    return true;
}

static bool take_char(const char **s, char c)
{
    if (**s != c) {
        return false;
    }
    (*s)++;
    return true;
}

static bool take_date(const char **s, struct tm *tm)
{
    int year = 0;
    int month = 0;
    int day = 0;
    if (!take_digits(s, 4, &year) || !take_char(s, '-') || !take_digits(s, 2, &month) ||
        !take_char(s, '-') || !take_digits(s, 2, &day)) {
        return false;
    }
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    tm->tm_mday = day;
    return year >= 1970 && month >= 1 && month <= 12 && day >= 1 && day <= 31;
}

/* ".123456": milliseconds of a fraction of any length. */
static bool take_fraction(const char **s, uint64_t *ms)
{
    uint64_t scale = 100;
    if (!take_char(s, '.')) {
        return true;
    }
    if (!is_digit(**s)) {
        return false;
    }
    for (; is_digit(**s); (*s)++) {
        *ms += (uint64_t)(**s - '0') * scale;
        scale /= 10;
    }
    return true;
}

static bool take_clock(const char **s, struct tm *tm, uint64_t *ms)
{
    if (!take_digits(s, 2, &tm->tm_hour) || !take_char(s, ':') || !take_digits(s, 2, &tm->tm_min)) {
        return false;
    }
    if (take_char(s, ':') && (!take_digits(s, 2, &tm->tm_sec) || !take_fraction(s, ms))) {
        return false;
    }
    return tm->tm_hour < 24 && tm->tm_min < 60 && tm->tm_sec <= 60;
}

/* "Z" or "+02:00"; *has_zone stays false when there is none. */
static bool take_zone(const char **s, bool *has_zone, int *offset_min)
{
    int hours = 0;
    int minutes = 0;
    char c = **s;
    if (c == 'Z' || c == 'z') {
        (*s)++;
        *has_zone = true;
        return true;
    }
    if (c != '+' && c != '-') {
        return true;
    }
    (*s)++;
    *has_zone = true;
    if (!take_digits(s, 2, &hours) || !take_char(s, ':') || !take_digits(s, 2, &minutes)) {
        return false;
    }
    *offset_min = (hours * 60 + minutes) * (c == '-' ? -1 : 1);
    return hours < 24 && minutes < 60;
}

/* Whether the calendar has this day: 31 April comes back as 1 May. */
static bool day_exists(const struct tm *tm)
{
    struct tm noon = {
        .tm_year = tm->tm_year, .tm_mon = tm->tm_mon, .tm_mday = tm->tm_mday, .tm_hour = 12};
    (void)timegm(&noon);
    return noon.tm_mday == tm->tm_mday && noon.tm_mon == tm->tm_mon;
}

static int parse_calendar(const char *s, bool local, uint64_t *ms)
{
    struct tm tm = {.tm_isdst = -1};
    uint64_t fraction = 0;
    bool has_zone = false;
    int offset_min = 0;
    if (!take_date(&s, &tm) || !day_exists(&tm)) {
        return -1;
    }
    if (*s == 'T' || *s == 't' || *s == ' ') {
        s++;
        if (!take_clock(&s, &tm, &fraction) || !take_zone(&s, &has_zone, &offset_min)) {
            return -1;
        }
    }
    if (*s != '\0') {
        return -1;
    }
    time_t t = local && !has_zone ? mktime(&tm) : timegm(&tm);
    t -= (time_t)offset_min * 60;
    if (t < 0) {
        return -1;
    }
    *ms = (uint64_t)t * 1000 + fraction;
    return 0;
}

int cli_parse_time(const char *s, bool local, uint64_t now_ms, uint64_t *ms)
{
    if (strcmp(s, "now") == 0) {
        *ms = now_ms;
        return 0;
    }
    uint64_t v = 0;
    size_t n = read_number(s, &v);
    if (n >= 9 && s[n] == '\0') {
        *ms = n >= 12 ? v : v * 1000;
        return 0;
    }
    return parse_calendar(s, local, ms);
}

void cli_format_time(uint64_t ms, bool local, char out[CLI_TIME_SIZE])
{
    time_t t = (time_t)(ms / 1000);
    struct tm tm;
    if ((local ? localtime_r(&t, &tm) : gmtime_r(&t, &tm)) == NULL) {
        (void)snprintf(out, CLI_TIME_SIZE, "%" PRIu64, ms);
        return;
    }
    size_t n = strftime(out, CLI_TIME_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
    (void)snprintf(out + n, CLI_TIME_SIZE - n, ".%03u", (unsigned)(ms % 1000));
}

void cli_format_span(uint64_t ms, char out[CLI_SPAN_SIZE])
{
    uint64_t s = ms / 1000;
    if (ms < 1000) {
        (void)snprintf(out, CLI_SPAN_SIZE, "%" PRIu64 "ms", ms);
    } else if (s < 60) {
        (void)snprintf(out, CLI_SPAN_SIZE, "%" PRIu64 ".%" PRIu64 "s", s, ms % 1000 / 100);
    } else if (s < 3600) {
        (void)snprintf(out, CLI_SPAN_SIZE, "%" PRIu64 "m %" PRIu64 "s", s / 60, s % 60);
    } else if (s < 86400) {
        (void)snprintf(out, CLI_SPAN_SIZE, "%" PRIu64 "h %" PRIu64 "m", s / 3600, s % 3600 / 60);
    } else {
        (void)snprintf(out, CLI_SPAN_SIZE, "%" PRIu64 "d %" PRIu64 "h", s / 86400,
                       s % 86400 / 3600);
    }
}

/* ---- escaping ---- */

void cli_put_csv(struct buf *b, struct slice f)
{
    bool quote = false;
    for (size_t i = 0; i < f.n; i++) {
        quote = quote || f.p[i] == '"' || f.p[i] == ',' || f.p[i] == '\r' || f.p[i] == '\n';
    }
    if (!quote) {
        buf_put_slice(b, f);
        return;
    }
    buf_put_u8(b, '"');
    for (size_t i = 0; i < f.n; i++) {
        if (f.p[i] == '"') {
            buf_put_u8(b, '"');
        }
        buf_put_u8(b, f.p[i]);
    }
    buf_put_u8(b, '"');
}

void cli_put_percent(struct buf *b, struct slice s)
{
    static const char hex[] = "0123456789ABCDEF";
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                     c == '-' || c == '.' || c == '_' || c == '~';
        if (plain) {
            buf_put_u8(b, c);
        } else {
            buf_put_u8(b, '%');
            buf_put_u8(b, (uint8_t)hex[c >> 4]);
            buf_put_u8(b, (uint8_t)hex[c & 15]);
        }
    }
}

/* Bytes of the printable UTF-8 character at the start, 0 when there is none. */
static size_t printable_length(struct slice s)
{
    uint8_t c = s.p[0];
    size_t n = c < 0x80 ? 1 : (c < 0xC2 ? 0 : (c < 0xE0 ? 2 : (c < 0xF0 ? 3 : (c < 0xF5 ? 4 : 0))));
    if (n == 0 || n > s.n || c < 0x20 || c == 0x7F || (c == 0xC2 && s.p[1] < 0xA0)) {
        return 0;
    }
    for (size_t i = 1; i < n; i++) {
        if ((s.p[i] & 0xC0) != 0x80) {
            return 0;
        }
    }
    return n;
}

void cli_put_safe(struct buf *b, struct slice s)
{
    while (s.n > 0) {
        size_t n = printable_length(s);
        if (n > 0) {
            buf_put(b, s.p, n);
        } else {
            char hex[8];
            int len = snprintf(hex, sizeof hex, "\\x%02X", s.p[0]);
            buf_put(b, hex, (size_t)len);
            n = 1;
        }
        s = slice_make(s.p + n, s.n - n);
    }
}

size_t cli_text_width(const char *s)
{
    size_t n = 0;
    for (; *s != '\0'; s++) {
        n += ((uint8_t)*s & 0xC0) != 0x80;
    }
    return n;
}

/* ---- tables ---- */

void cli_table_init(struct cli_table *t, const char *const *header, size_t columns)
{
    assert(columns >= 1 && columns <= CLI_COLUMNS_MAX);
    *t = (struct cli_table){.columns = columns};
    cli_table_add(t, header);
}

void cli_table_fini(struct cli_table *t)
{
    for (size_t i = 0; i < t->rows * t->columns; i++) {
        free(t->cells[i]);
    }
    free(t->cells);
    *t = (struct cli_table){0};
}

static char *safe_copy(const char *s)
{
    struct buf b = {0};
    cli_put_safe(&b, slice_str(s == NULL || *s == '\0' ? "-" : s));
    struct slice text = buf_slice(&b);
    char *copy = mem_strndup(text.p, text.n);
    buf_fini(&b);
    return copy;
}

void cli_table_add(struct cli_table *t, const char *const *cells)
{
    if (t->rows == t->cap) {
        t->cap = t->cap == 0 ? 32 : t->cap * 2;
        t->cells = mem_realloc(t->cells, t->cap * t->columns * sizeof(char *));
    }
    for (size_t i = 0; i < t->columns; i++) {
        char *cell = safe_copy(cells[i]);
        size_t width = cli_text_width(cell);
        t->width[i] = width > t->width[i] ? width : t->width[i];
        t->cells[t->rows * t->columns + i] = cell;
    }
    t->rows++;
}

void cli_table_flush(struct cli_table *t, FILE *out)
{
    for (size_t row = 0; row < t->rows; row++) {
        for (size_t i = 0; i < t->columns; i++) {
            char *cell = t->cells[row * t->columns + i];
            bool last = i + 1 == t->columns;
            int pad = last ? 0 : (int)(t->width[i] - cli_text_width(cell) + 2);
            (void)fprintf(out, "%s%*s", cell, pad, "");
            free(cell);
        }
        (void)fputc('\n', out);
    }
    t->rows = 0;
}
