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

/* The words of a type that has some, in the order of its enum. */
static const char *word_list(enum option_type type)
{
    static const char *const words[OPTION_TYPES] = {
        [OPTION_LEVEL] = "debug|info|warn|error",
        [OPTION_DURABILITY] = "fsync|os|none",
        [OPTION_PROTOCOL] = "mqtt|mqtts|ws|wss",
        [OPTION_TLS_CLIENT] = "none|optional|required",
        [OPTION_TLS_USERNAME] = "none|cn|dns|email|uri",
        [OPTION_TLS_VERSION] = "1.2|1.3",
        [OPTION_ON_RATE] = "wait|close",
        [OPTION_BRIDGE_PROTOCOL] = "mqtt|mqtts",
        [OPTION_BRIDGE_VERSION] = "3.1|3.1.1|5",
        [OPTION_DIRECTION] = "out|in|both",
    };
    assert(words[type] != NULL);
    return words[type];
}

/* The units of a number's type; NULL for what is no number. */
static const struct unit *units_of(enum option_type type)
{
    return type == OPTION_COUNT      ? count_units
           : type == OPTION_SIZE     ? size_units
           : type == OPTION_DURATION ? ms_units
                                     : NULL;
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

/* The word's index in its type's list, or -1. */
static int parse_word(const char *text, enum option_type type)
{
    const char *at = word_list(type);
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

static int set_text(char **at, const char *text)
{
    free(*at);
    *at = text == NULL ? NULL : mem_strndup(text, strlen(text));
    return 0;
}

static int set_address(char **at, const char *text, bool path)
{
    struct sockaddr_storage addr;
    socklen_t len;
    if (strcmp(text, "off") == 0) {
        return set_text(at, NULL);
    }
    if (!path && strncmp(text, "unix:", strlen("unix:")) == 0) {
        return -1;
    }
    return addr_parse(text, &addr, &len) == 0 ? set_text(at, text) : -1;
}

static int set_networks(char **at, const char *text)
{
    struct addr_nets nets;
    if (addr_nets_parse(text, &nets) != 0) {
        return -1;
    }
    addr_nets_fini(&nets);
    return set_text(at, text);
}

/* As it stands in requests: nothing that would have to be encoded, no query. "*" is any. */
static bool is_path(const char *text)
{
    size_t n = strspn(text, "/-._~!$&'()*+,;=:@%0123456789abcdefghijklmnopqrstuvwxyz"
                            "ABCDEFGHIJKLMNOPQRSTUVWXYZ");
    return strcmp(text, "*") == 0 || (text[0] == '/' && text[n] == '\0');
}

static int set_name(char **at, const char *text)
{
    static const char letters[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
    return text[strspn(text, letters)] == '\0' ? set_text(at, text) : -1;
}

static int set_remote(char **at, const char *text)
{
    char host[DIAL_HOST_MAX], port[6];
    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (!dial_split(p, n, host, port)) {
            return -1;
        }
        p += n;
        p += strspn(p, ", ");
    }
    return set_text(at, text);
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

static int set_word(unsigned *at, enum option_type type, const char *text)
{
    int word = parse_word(text, type);
    if (word < 0) {
        return -1;
    }
    *at = (unsigned)word; /* the enums' own representation */
    return 0;
}

void config_drop(void *c, const struct option_row *row)
{
    if (row->type <= OPTION_LEVEL) {
        (void)set_text((char **)(void *)((char *)c + row->offset), NULL);
    }
}

int config_set(void *c, const struct option_row *row, const char *text)
{
    void *at = (char *)c + row->offset;
    size_t n = strlen(text);
    switch (row->type) {
    case OPTION_TEXT:
    case OPTION_DIRECTORY:
        return n >= row->min && n <= row->max ? set_text(at, text) : -1;
    case OPTION_ADDRESS:
    case OPTION_LISTEN:
        return n <= row->max ? set_address(at, text, row->type == OPTION_LISTEN) : -1;
    case OPTION_PATH:
        return n <= row->max && is_path(text) ? set_text(at, text) : -1;
    case OPTION_ORIGINS:
        return n <= row->max && ws_origins_valid(text) ? set_text(at, text) : -1;
    case OPTION_NETWORKS:
        return n <= row->max ? set_networks(at, text) : -1;
    case OPTION_NAME:
        return n >= row->min && n <= row->max ? set_name(at, text) : -1;
    case OPTION_REMOTE:
        return n >= row->min && n <= row->max ? set_remote(at, text) : -1;
    case OPTION_LEVEL:
        return parse_word(text, OPTION_LEVEL) >= 0 ? set_text(at, text) : -1;
    case OPTION_FLAG:
    case OPTION_SWITCH:
        return parse_bool(text, at);
    case OPTION_COUNT:
    case OPTION_SIZE:
    case OPTION_DURATION:
        return set_number(at, row, text);
    case OPTION_DURABILITY:
    case OPTION_PROTOCOL:
    case OPTION_TLS_CLIENT:
    case OPTION_TLS_USERNAME:
    case OPTION_TLS_VERSION:
    case OPTION_ON_RATE:
    case OPTION_BRIDGE_PROTOCOL:
    case OPTION_BRIDGE_VERSION:
    case OPTION_DIRECTION:
        return set_word(at, row->type, text);
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
    const char *text = "on or off";
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
    case OPTION_LISTEN:
        text = "host:port, unix:/path or off";
        break;
    case OPTION_PATH:
        text = "a path that begins with a slash, as it stands in URLs, or *";
        break;
    case OPTION_ORIGINS:
        text = "origins as https://host:port, or null, with commas between them";
        break;
    case OPTION_NETWORKS:
        text = "networks as 10.0.0.0/8 or fd00::/8, or addresses, with commas between them";
        break;
    case OPTION_NAME:
        text = "a name of letters, digits, _ . and -";
        break;
    case OPTION_REMOTE:
        text = "host:port, or several with commas";
        break;
    case OPTION_FLAG:
    case OPTION_SWITCH:
        break;
    case OPTION_LEVEL:
    case OPTION_DURABILITY:
    case OPTION_PROTOCOL:
    case OPTION_TLS_CLIENT:
    case OPTION_TLS_USERNAME:
    case OPTION_TLS_VERSION:
    case OPTION_ON_RATE:
    case OPTION_BRIDGE_PROTOCOL:
    case OPTION_BRIDGE_VERSION:
    case OPTION_DIRECTION:
        expected_words(word_list(row->type), out);
        return;
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
    case OPTION_PATH:
        return "PATH";
    case OPTION_ORIGINS:
    case OPTION_NETWORKS:
        return "LIST";
    case OPTION_NAME:
        return "NAME";
    case OPTION_ADDRESS:
    case OPTION_LISTEN:
    case OPTION_REMOTE:
        return "ADDR";
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
    case OPTION_LEVEL:
    case OPTION_DURABILITY:
    case OPTION_PROTOCOL:
    case OPTION_TLS_CLIENT:
    case OPTION_TLS_USERNAME:
    case OPTION_TLS_VERSION:
    case OPTION_ON_RATE:
    case OPTION_BRIDGE_PROTOCOL:
    case OPTION_BRIDGE_VERSION:
    case OPTION_DIRECTION:
        break;
    }
    return word_list(row->type);
}

static bool holds_text(const struct option_row *row)
{
    return row->type <= OPTION_LEVEL;
}

/* What is neither a text nor a number is a word of the list that the metavar shows. */
static void word_text(const struct option_row *row, unsigned n, char *out, size_t size)
{
    const char *word = config_metavar(row);
    for (; n > 0; n--) {
        word += strcspn(word, "|") + 1;
    }
    (void)snprintf(out, size, "%.*s", (int)strcspn(word, "|"), word);
}

void config_text(const void *c, const struct option_row *row, char *out, size_t size)
{
    const char *at = (const char *)c + row->offset;
    if (holds_text(row)) {
        const char *text;
        memcpy(&text, at, sizeof text);
        (void)snprintf(out, size, "%s", text == NULL ? "off" : text);
    } else if (row->type == OPTION_FLAG || row->type == OPTION_SWITCH) {
        (void)snprintf(out, size, "%s", *(const bool *)at ? "on" : "off");
    } else if (units_of(row->type) != NULL) {
        uint64_t n;
        memcpy(&n, at, sizeof n);
        print_number(out, size, n, units_of(row->type));
    } else {
        unsigned n;
        memcpy(&n, at, sizeof n);
        word_text(row, n, out, size);
    }
}

size_t config_value_bytes(const struct option_row *row)
{
    if (holds_text(row)) {
        return sizeof(char *);
    }
    if (row->type == OPTION_FLAG || row->type == OPTION_SWITCH) {
        return sizeof(bool);
    }
    return units_of(row->type) != NULL ? sizeof(uint64_t) : sizeof(unsigned);
}

bool config_same(const void *a, const void *b, const struct option_row *row)
{
    const char *x = (const char *)a + row->offset;
    const char *y = (const char *)b + row->offset;
    if (holds_text(row)) {
        const char *s, *t;
        memcpy(&s, x, sizeof s);
        memcpy(&t, y, sizeof t);
        return s == NULL || t == NULL ? s == t : strcmp(s, t) == 0;
    }
    return memcmp(x, y, config_value_bytes(row)) == 0;
}

unsigned config_log_level(const struct config *c)
{
    int word = parse_word(c->log_level, OPTION_LEVEL);
    return word < 0 ? 0 : (unsigned)word;
}
