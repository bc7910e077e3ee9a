/* Values as people write them: 64KiB, 20ms, on, a word of a list; and what was expected instead, in words. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "bridge/dial.h"
#include "net/addr.h"
#include "net/ws.h"
#include "server/config_priv.h"

struct unit {
    const char *name;
    uint64_t factor;
};

static const struct unit size_units[] = {{"TiB", UINT64_C(1) << 40},
                                         {"T", UINT64_C(1) << 40},
                                         {"GiB", UINT64_C(1) << 30},
                                         {"G", UINT64_C(1) << 30},
                                         {"MiB", 1u << 20},
                                         {"M", 1u << 20},
                                         {"KiB", 1u << 10},
                                         {"K", 1u << 10},
                                         {"B", 1},
                                         {"", 1},
                                         {NULL, 0}};
static const struct unit ms_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000},
                                       {"ms", 1},       {"", 1},        {NULL, 0}};
static const struct unit count_units[] = {{"", 1}, {NULL, 0}};

#define LEVELS "debug|info|warn|error"

static int parse_number(const char *text, const struct unit *u, uint64_t *out)
{
    char *end = NULL;
    if (text[0] < '0' || text[0] > '9') {
        return -1;
    }
    errno = 0;
    uint64_t n = strtoull(text, &end, 10);
    if (errno != 0) {
        return -1;
    }
    end += strspn(end, " ");
    while (u->name != NULL && strcmp(u->name, end) != 0) {
        u++;
    }
    if (u->name == NULL || n > UINT64_MAX / u->factor) {
        return -1;
    }
    *out = n * u->factor;
    return 0;
}

static int parse_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"on", "true", "yes"};
    static const char *const no[] = {"off", "false", "no"};
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++) {
        if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
            *out = strcmp(text, yes[i]) == 0;
            return 0;
        }
    }
    return -1;
}

/* The word's index in the list "a|b|c", or -1. */
static int parse_word(const char *text, const char *list)
{
    const char *at = list;
    size_t n = strlen(text);
    for (int i = 0; *at != '\0'; i++) {
        size_t word = strcspn(at, "|");
        if (word == n && memcmp(at, text, n) == 0) {
            return i;
        }
        at += word + (at[word] == '|');
    }
    return -1;
}

/* ---- texts: whether it is one of the kind ---- */

static bool any_text(const char *text)
{
    (void)text;
    return true;
}

static bool is_listen(const char *text)
{
    struct sockaddr_storage addr;
    socklen_t len;
    return strcmp(text, "off") == 0 || addr_parse(text, &addr, &len) == 0;
}

static bool is_address(const char *text)
{
    return strncmp(text, "unix:", strlen("unix:")) != 0 && is_listen(text);
}

/* As it stands in requests: nothing that would have to be encoded, no query. "*" is any. */
static bool is_path(const char *text)
{
    size_t n = strspn(text, "/-._~!$&'()*+,;=:@%0123456789abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return strcmp(text, "*") == 0 || (text[0] == '/' && text[n] == '\0');
}

static bool is_networks(const char *text)
{
    struct addr_nets nets;
    if (addr_nets_parse(text, &nets) != 0) {
        return false;
    }
    addr_nets_fini(&nets);
    return true;
}

static bool is_name(const char *text)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    return text[strspn(text, letters)] == '\0';
}

static bool is_remote(const char *text)
{
    char host[DIAL_HOST_MAX], port[6];
    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (!dial_split(p, n, host, port)) {
            return false;
        }
        p += n;
        p += strspn(p, ", ");
    }
    return true;
}

static bool is_level(const char *text)
{
    return parse_word(text, LEVELS) >= 0;
}

/* ---- the kinds ---- */

enum holds { HOLDS_TEXT, HOLDS_BOOL, HOLDS_NUMBER, HOLDS_WORD };

struct kind {
    const char *metavar; /* NULL: the words */
    const char
        *expected; /* NULL: the words; of a number and a text with a length, what the range is of */
    const char *words;            /* "a|b|c" in the order of the enum */
    bool (*is)(const char *text); /* of a text */
    const struct unit *units;     /* of a number */
    enum holds holds;
    bool sized; /* a text whose range is told */
    bool off;   /* "off" is stored as NULL */
};

static const struct kind kinds[OPTION_TYPES] = {
    [OPTION_TEXT] = {.metavar = "TEXT", .expected = "a text", .is = any_text, .sized = true},
    [OPTION_DIRECTORY] = {.metavar = "DIR",
                          .expected = "a directory",
                          .is = any_text,
                          .sized = true},
    [OPTION_ADDRESS] = {.metavar = "ADDR",
                        .expected = "host:port or off",
                        .is = is_address,
                        .off = true},
    [OPTION_LISTEN] = {.metavar = "ADDR",
                       .expected = "host:port, unix:/path or off",
                       .is = is_listen,
                       .off = true},
    [OPTION_PATH] = {.metavar = "PATH",
                     .expected = "a path that begins with a slash, as it stands in URLs, or *",
                     .is = is_path},
    [OPTION_ORIGINS] = {.metavar = "LIST",
                        .expected =
                            "origins as https://host:port, or null, with commas between them",
                        .is = ws_origins_valid},
    [OPTION_NETWORKS] = {.metavar = "LIST",
                         .expected =
                             "networks as 10.0.0.0/8 or fd00::/8, or addresses, with commas "
                             "between them",
                         .is = is_networks},
    [OPTION_NAME] = {.metavar = "NAME",
                     .expected = "a name of letters, digits, _ . and -",
                     .is = is_name},
    [OPTION_REMOTE] = {.metavar = "ADDR",
                       .expected = "host:port, or several with commas",
                       .is = is_remote},
    [OPTION_LEVEL] = {.words = LEVELS, .is = is_level},
    [OPTION_FLAG] = {.metavar = "", .expected = "on or off", .holds = HOLDS_BOOL},
    [OPTION_SWITCH] = {.metavar = "on|off", .expected = "on or off", .holds = HOLDS_BOOL},
    [OPTION_COUNT] = {.metavar = "N",
                      .expected = "a number",
                      .units = count_units,
                      .holds = HOLDS_NUMBER},
    [OPTION_SIZE] = {.metavar = "SIZE",
                     .expected = "a size",
                     .units = size_units,
                     .holds = HOLDS_NUMBER},
    [OPTION_DURATION] = {.metavar = "TIME",
                         .expected = "a duration",
                         .units = ms_units,
                         .holds = HOLDS_NUMBER},
    [OPTION_DURABILITY] = {.words = "fsync|os|none", .holds = HOLDS_WORD},
    [OPTION_PROTOCOL] = {.words = "mqtt|mqtts|ws|wss", .holds = HOLDS_WORD},
    [OPTION_TLS_CLIENT] = {.words = "none|optional|required", .holds = HOLDS_WORD},
    [OPTION_TLS_USERNAME] = {.words = "none|cn|dns|email|uri", .holds = HOLDS_WORD},
    [OPTION_TLS_VERSION] = {.words = "1.2|1.3", .holds = HOLDS_WORD},
    [OPTION_ON_RATE] = {.words = "wait|close", .holds = HOLDS_WORD},
    [OPTION_BRIDGE_PROTOCOL] = {.words = "mqtt|mqtts", .holds = HOLDS_WORD},
    [OPTION_BRIDGE_VERSION] = {.words = "3.1|3.1.1|5", .holds = HOLDS_WORD},
    [OPTION_DIRECTION] = {.words = "out|in|both", .holds = HOLDS_WORD},
};

/* ---- values ---- */

bool config_holds_text(const struct option_row *row)
{
    return kinds[row->type].holds == HOLDS_TEXT;
}

static void put_text(char **at, const char *text)
{
    char *copy = text == NULL ? NULL : mem_strndup(text, strlen(text));
    free(*at);
    *at = copy;
}

void config_drop(void *c, const struct option_row *row)
{
    if (config_holds_text(row)) {
        put_text((char **)(void *)((char *)c + row->offset), NULL);
    }
}

static int set_text(char **at, const struct option_row *row, const char *text)
{
    const struct kind *k = &kinds[row->type];
    size_t n = strlen(text);
    if (n < row->min || n > row->max || !k->is(text)) {
        return -1;
    }
    put_text(at, k->off && strcmp(text, "off") == 0 ? NULL : text);
    return 0;
}

static int set_number(uint64_t *at, const struct option_row *row, const char *text)
{
    uint64_t n = 0;
    if (parse_number(text, kinds[row->type].units, &n) != 0 || n < row->min || n > row->max) {
        return -1;
    }
    *at = n;
    return 0;
}

static int set_word(unsigned *at, const char *list, const char *text)
{
    int word = parse_word(text, list);
    if (word < 0) {
        return -1;
    }
    *at = (unsigned)word; /* the enums' own representation */
    return 0;
}

int config_set(void *c, const struct option_row *row, const char *text)
{
    void *at = (char *)c + row->offset;
    switch (kinds[row->type].holds) {
    case HOLDS_TEXT:
        return set_text(at, row, text);
    case HOLDS_BOOL:
        return parse_bool(text, at);
    case HOLDS_NUMBER:
        return set_number(at, row, text);
    case HOLDS_WORD:
        return set_word(at, kinds[row->type].words, text);
    }
    return -1;
}

/* With the largest unit that divides it. */
static void print_number(char *out, size_t size, uint64_t n, const struct unit *u)
{
    while (u->factor > 1 && (n == 0 || n % u->factor != 0)) {
        u++;
    }
    bool bytes = u->name[0] != '\0' && strchr("TGMKB", u->name[0]) != NULL;
    (void)snprintf(out, size, "%llu%s%s", (unsigned long long)(n / u->factor), bytes ? " " : "",
                   u->name);
}

/* "a|b|c" as "a, b or c". */
static void expected_words(const char *list, char out[CONFIG_EXPECTED_MAX])
{
    size_t n = 0;
    while (*list != '\0' && n < CONFIG_EXPECTED_MAX - 1) {
        size_t word = strcspn(list, "|");
        const char *behind = list[word] == '\0'                     ? ""
                             : strchr(list + word + 1, '|') == NULL ? " or "
                                                                    : ", ";
        n += (size_t)snprintf(out + n, CONFIG_EXPECTED_MAX - n, "%.*s%s", (int)word, list, behind);
        list += word + (list[word] == '|');
    }
}

void config_expected(const struct option_row *row, char out[CONFIG_EXPECTED_MAX])
{
    const struct kind *k = &kinds[row->type];
    if (k->expected == NULL) {
        expected_words(k->words, out);
    } else if (k->sized) {
        (void)snprintf(out, CONFIG_EXPECTED_MAX, "%s of %llu to %llu characters", k->expected,
                       (unsigned long long)row->min, (unsigned long long)row->max);
    } else if (k->units != NULL) {
        char min[40], max[40];
        print_number(min, sizeof min, row->min, k->units);
        print_number(max, sizeof max, row->max, k->units);
        (void)snprintf(out, CONFIG_EXPECTED_MAX, "%s between %s and %s", k->expected, min, max);
    } else {
        (void)snprintf(out, CONFIG_EXPECTED_MAX, "%s", k->expected);
    }
}

const char *config_metavar(const struct option_row *row)
{
    const struct kind *k = &kinds[row->type];
    return k->metavar != NULL ? k->metavar : k->words;
}

static void word_text(const char *list, unsigned n, char *out, size_t size)
{
    for (; n > 0; n--) {
        list += strcspn(list, "|") + 1;
    }
    (void)snprintf(out, size, "%.*s", (int)strcspn(list, "|"), list);
}

void config_text(const void *c, const struct option_row *row, char *out, size_t size)
{
    const char *at = (const char *)c + row->offset;
    const struct kind *k = &kinds[row->type];
    union {
        const char *text;
        bool on;
        uint64_t number;
        unsigned word;
    } value;
    memcpy(&value, at, config_value_bytes(row));
    switch (k->holds) {
    case HOLDS_TEXT:
        (void)snprintf(out, size, "%s", value.text == NULL ? "off" : value.text);
        break;
    case HOLDS_BOOL:
        (void)snprintf(out, size, "%s", value.on ? "on" : "off");
        break;
    case HOLDS_NUMBER:
        print_number(out, size, value.number, k->units);
        break;
    case HOLDS_WORD:
        word_text(k->words, value.word, out, size);
        break;
    }
}

size_t config_value_bytes(const struct option_row *row)
{
    static const size_t bytes[] = {[HOLDS_TEXT] = sizeof(char *),
                                   [HOLDS_BOOL] = sizeof(bool),
                                   [HOLDS_NUMBER] = sizeof(uint64_t),
                                   [HOLDS_WORD] = sizeof(unsigned)};
    return bytes[kinds[row->type].holds];
}

void config_copy(void *to, const void *from, const struct option_row *row)
{
    if (config_holds_text(row)) {
        put_text(to, *(char *const *)from);
    } else {
        memcpy(to, from, config_value_bytes(row));
    }
}

bool config_same(const void *a, const void *b, const struct option_row *row)
{
    const char *x = (const char *)a + row->offset;
    const char *y = (const char *)b + row->offset;
    if (config_holds_text(row)) {
        const char *s, *t;
        memcpy(&s, x, sizeof s);
        memcpy(&t, y, sizeof t);
        return s == NULL || t == NULL ? s == t : strcmp(s, t) == 0;
    }
    return memcmp(x, y, config_value_bytes(row)) == 0;
}

unsigned config_log_level(const struct config *c)
{
    int word = parse_word(c->log_level, LEVELS);
    return word < 0 ? 0 : (unsigned)word;
}
