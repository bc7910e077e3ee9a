/* Values as people write them: 64KiB, 20ms, on, a word of a list; and what was expected instead, in words. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "net/addr.h"
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

static const char *const levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const durabilities[] = {
    [DURABILITY_FSYNC] = "fsync", [DURABILITY_OS] = "os", [DURABILITY_NONE] = "none", NULL};

/* The units of a number's type; NULL for what is no number. */
static const struct unit *units_of(enum option_type type)
{
    switch (type) {
    case OPTION_COUNT:
        return count_units;
    case OPTION_SIZE:
        return size_units;
    case OPTION_DURATION:
        return ms_units;
    case OPTION_TEXT:
    case OPTION_DIRECTORY:
    case OPTION_ADDRESS:
    case OPTION_LEVEL:
    case OPTION_FLAG:
    case OPTION_SWITCH:
    case OPTION_DURABILITY:
        break;
    }
    return NULL;
}

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

/* The word's index in its list, or -1. */
static int parse_word(const char *text, const char *const *words)
{
    for (int i = 0; words[i] != NULL; i++) {
        if (strcmp(text, words[i]) == 0) {
            return i;
        }
    }
    return -1;
}

static int set_text(char **at, const char *text)
{
    free(*at);
    *at = text == NULL ? NULL : mem_strndup(text, strlen(text));
    return 0;
}

static int set_address(char **at, const char *text)
{
    struct sockaddr_storage addr;
    socklen_t len;
    if (strcmp(text, "off") == 0) {
        return set_text(at, NULL);
    }
    return addr_parse(text, &addr, &len) == 0 ? set_text(at, text) : -1;
}

static int set_number(uint64_t *at, const struct option_row *row, const char *text)
{
    uint64_t n = 0;
    if (parse_number(text, units_of(row->type), &n) != 0 || n < row->min || n > row->max) {
        return -1;
    }
    *at = n;
    return 0;
}

static int set_durability(enum config_durability *at, const char *text)
{
    int word = parse_word(text, durabilities);
    if (word < 0) {
        return -1;
    }
    *at = (enum config_durability)word;
    return 0;
}

int config_set(struct config *c, const struct option_row *row, const char *text)
{
    void *at = (char *)c + row->offset;
    size_t n = strlen(text);
    switch (row->type) {
    case OPTION_TEXT:
    case OPTION_DIRECTORY:
        return n >= row->min && n <= row->max ? set_text(at, text) : -1;
    case OPTION_ADDRESS:
        return n <= row->max ? set_address(at, text) : -1;
    case OPTION_LEVEL:
        return parse_word(text, levels) >= 0 ? set_text(at, text) : -1;
    case OPTION_FLAG:
    case OPTION_SWITCH:
        return parse_bool(text, at);
    case OPTION_COUNT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        return set_number(at, row, text);
    case OPTION_DURABILITY:
        return set_durability(at, text);
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

static void expected_number(const struct option_row *row, const char *what, char *out)
{
    char min[40], max[40];
    print_number(min, sizeof min, row->min, units_of(row->type));
    print_number(max, sizeof max, row->max, units_of(row->type));
    (void)snprintf(out, CONFIG_EXPECTED_MAX, "%s between %s and %s", what, min, max);
}

void config_expected(const struct option_row *row, char out[CONFIG_EXPECTED_MAX])
{
    const char *text = "";
    switch (row->type) {
    case OPTION_TEXT:
    case OPTION_DIRECTORY:
        (void)snprintf(out, CONFIG_EXPECTED_MAX, "%s of %llu to %llu characters",
                       row->type == OPTION_TEXT ? "a text" : "a directory",
                       (unsigned long long)row->min, (unsigned long long)row->max);
        return;
    case OPTION_COUNT:
        expected_number(row, "a number", out);
        return;
    case OPTION_SIZE:
        expected_number(row, "a size", out);
        return;
    case OPTION_DURATION:
        expected_number(row, "a duration", out);
        return;
    case OPTION_ADDRESS:
        text = "host:port or off";
        break;
    case OPTION_LEVEL:
        text = "debug, info, warn or error";
        break;
    case OPTION_FLAG:
    case OPTION_SWITCH:
        text = "on or off";
        break;
    case OPTION_DURABILITY:
        text = "fsync, os or none";
        break;
    }
    (void)snprintf(out, CONFIG_EXPECTED_MAX, "%s", text);
}

const char *config_metavar(const struct option_row *row)
{
    switch (row->type) {
    case OPTION_TEXT:
        return "TEXT";
    case OPTION_DIRECTORY:
        return "DIR";
    case OPTION_ADDRESS:
        return "ADDR";
    case OPTION_LEVEL:
        return "debug|info|warn|error";
    case OPTION_FLAG:
        return "";
    case OPTION_SWITCH:
        return "on|off";
    case OPTION_COUNT:
        return "N";
    case OPTION_SIZE:
        return "SIZE";
    case OPTION_DURATION:
        return "TIME";
    case OPTION_DURABILITY:
        return "fsync|os|none";
    }
    return "";
}
