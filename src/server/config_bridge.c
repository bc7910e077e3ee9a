/* Entries of `bridges:` in the configuration: values, defaults, and what must hold between them. The YAML is config_file.c's. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "bridge/mapping.h"
#include "server/config_priv.h"

#define ROW(struct_, member_, key_, type_, min_, max_, fallback_, help_)                           \
    {                                                                                              \
        .key = (key_), .fallback = (fallback_), .help = (help_), .min = (min_), .max = (max_),     \
        .offset = offsetof(struct struct_, member_), .type = OPTION_##type_                        \
    }

const struct option_row bridge_rows[BRIDGE_ROWS] = {
#define BRIDGE(m, key, type, min, max, fallback, example, help)                                    \
    [BRIDGE_ROW_##m] = ROW(bridge_settings, m, key, type, min, max, fallback, help),
#include "server/bridge.def"
#undef BRIDGE
};

const struct option_row bridge_topic_rows[BRIDGE_TOPIC_ROWS] = {
#define BRIDGE_TOPIC(m, key, type, min, max, fallback, example, help)                              \
    [BRIDGE_TOPIC_ROW_##m] = ROW(bridge_topic, m, key, type, min, max, fallback, help),
#include "server/bridge.def"
#undef BRIDGE_TOPIC
};

/* Sets each row's value or default. */
static int set_rows(void *to, const struct option_row *rows, size_t count, char *const *values,
                    size_t *bad, char why[CONFIG_EXPECTED_MAX])
{
    for (size_t i = 0; i < count; i++) {
        const char *text = values[i] != NULL ? values[i] : rows[i].fallback;
        if (text == NULL || config_set(to, &rows[i], text) != 0) {
            *bad = i;
            config_expected(&rows[i], why);
            return -1;
        }
    }
    return 0;
}

static int fail(size_t row, const char *expected, size_t *bad, char why[CONFIG_EXPECTED_MAX])
{
    *bad = row;
    (void)snprintf(why, CONFIG_EXPECTED_MAX, "%s", expected);
    return -1;
}

static int read_password(struct bridge_settings *b)
{
    char line[4096] = "";
    FILE *f = fopen(b->password_file, "re");
    if (f == NULL) {
        return -1;
    }
    bool got = fgets(line, sizeof line, f) != NULL;
    (void)fclose(f);
    line[strcspn(line, "\r\n")] = '\0';
    if (got) {
        free(b->password);
        b->password = mem_strndup(line, strlen(line));
    }
    explicit_bzero(line, sizeof line);
    return got ? 0 : -1;
}

static int check_files(struct bridge_settings *b, size_t *bad, char why[CONFIG_EXPECTED_MAX])
{
    const struct {
        const char *path;
        size_t row;
    } files[] = {
        {b->ca, BRIDGE_ROW_ca}, {b->certificate, BRIDGE_ROW_certificate}, {b->key, BRIDGE_ROW_key}};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        if (files[i].path[0] != '\0' && access(files[i].path, R_OK) != 0) {
            return fail(files[i].row, "a file that can be read", bad, why);
        }
    }
    if (b->password_file[0] != '\0' && read_password(b) != 0) {
        return fail(BRIDGE_ROW_password_file, "a file with a line that can be read", bad, why);
    }
    return 0;
}

int config_bridge_add(struct config *c, char *const values[BRIDGE_ROWS], size_t *bad,
                      char why[CONFIG_EXPECTED_MAX])
{
    c->bridges = mem_realloc(c->bridges, (c->bridge_count + 1) * sizeof *c->bridges);
    struct bridge_settings *b = &c->bridges[c->bridge_count++];
    *b = (struct bridge_settings){.name = NULL};
    if (set_rows(b, bridge_rows, BRIDGE_ROWS, values, bad, why) != 0) {
        return -1;
    }
    for (unsigned i = 0; i + 1 < c->bridge_count; i++) {
        if (strcmp(c->bridges[i].name, b->name) == 0) {
            return fail(BRIDGE_ROW_name, "a name that no other bridge has", bad, why);
        }
    }
    if (b->retry_max_ms < b->retry_min_ms) {
        return fail(BRIDGE_ROW_retry_max_ms, "not less than retry_min", bad, why);
    }
    return check_files(b, bad, why);
}

int config_bridge_topic_add(struct config *c, char *const values[BRIDGE_TOPIC_ROWS], size_t *bad,
                            char why[CONFIG_EXPECTED_MAX])
{
    struct bridge_settings *b = &c->bridges[c->bridge_count - 1];
    b->topics = mem_realloc(b->topics, (b->topic_count + 1) * sizeof *b->topics);
    struct bridge_topic *t = &b->topics[b->topic_count++];
    *t = (struct bridge_topic){.topic = NULL};
    if (set_rows(t, bridge_topic_rows, BRIDGE_TOPIC_ROWS, values, bad, why) != 0) {
        return -1;
    }
    const char *fault = bridge_topic_fault(t);
    return fault == NULL ? 0 : fail(BRIDGE_TOPIC_ROW_topic, fault, bad, why);
}

void config_bridges_fini(struct config *c)
{
    for (unsigned n = 0; n < c->bridge_count; n++) {
        struct bridge_settings *b = &c->bridges[n];
        for (unsigned k = 0; k < b->topic_count; k++) {
            for (size_t i = 0; i < BRIDGE_TOPIC_ROWS; i++) {
                config_drop(&b->topics[k], &bridge_topic_rows[i]);
            }
        }
        for (size_t i = 0; i < BRIDGE_ROWS; i++) {
            config_drop(b, &bridge_rows[i]);
        }
        free(b->topics);
    }
    free(c->bridges);
}

static bool same_rows(const void *a, const void *b, const struct option_row *rows, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (!config_same(a, b, &rows[i])) {
            return false;
        }
    }
    return true;
}

bool config_same_bridges(const struct config *a, const struct config *b)
{
    bool same = a->bridge_count == b->bridge_count;
    for (unsigned n = 0; same && n < a->bridge_count; n++) {
        const struct bridge_settings *x = &a->bridges[n], *y = &b->bridges[n];
        same = x->topic_count == y->topic_count && same_rows(x, y, bridge_rows, BRIDGE_ROWS);
        for (unsigned k = 0; same && k < x->topic_count; k++) {
            same = same_rows(&x->topics[k], &y->topics[k], bridge_topic_rows, BRIDGE_TOPIC_ROWS);
        }
    }
    return same;
}

/* ---- the sample ---- */

static void sample_row(FILE *out, const char *lead, bool first, const char *key,
                       const char *example, const char *help)
{
    (void)fprintf(out, "#%s  # %s\n#%s%s %s: %s\n", lead, help, lead, first ? "-" : " ", key,
                  example[0] == '\0' ? "\"\"" : example);
}

void config_bridges_yaml(FILE *out)
{
    (void)fputs("\n# Bridges to other brokers; docs/bridges.md explains them:\n#bridges:\n", out);
#define BRIDGE(m, key, type, min, max, fallback, example, help)                                    \
    sample_row(out, "  ", BRIDGE_ROW_##m == 0, key, example, help);
#include "server/bridge.def"
#undef BRIDGE
    (void)fputs("#    topics:\n", out);
#define BRIDGE_TOPIC(m, key, type, min, max, fallback, example, help)                              \
    sample_row(out, "      ", BRIDGE_TOPIC_ROW_##m == 0, key, example, help);
#include "server/bridge.def"
#undef BRIDGE_TOPIC
}
