/* The table of options as --help, as docs/configuration.md's table and as the sample file. */
#include <string.h>

#include "server/config_priv.h"

enum { HELP_COLUMN = 34, HELP_WIDTH = 100 };

/* Words of `text` from column `at` on; new lines begin with `lead` and fill to `indent`. */
static void print_wrapped(FILE *out, const char *text, const char *lead, int indent, int at)
{
    bool first = true;
    while (*text != '\0') {
        int n = (int)strcspn(text, " ");
        if (!first && at + 1 + n > HELP_WIDTH) {
            (void)fprintf(out, "\n%-*s", indent, lead);
            at = indent;
            first = true;
        }
        at += fprintf(out, "%s%.*s", first ? "" : " ", n, text);
        first = false;
        text += n;
        text += strspn(text, " ");
    }
}

static void print_option(FILE *out, const char *flag, const char *metavar, const char *help,
                         const char *fallback)
{
    char text[512];
    bool shown = fallback != NULL && fallback[0] != '\0';
    (void)snprintf(text, sizeof text, "%s%s%s%s", help, shown ? " Default: " : "",
                   shown ? fallback : "", shown ? "." : "");
    int at = fprintf(out, "  %s%s%s", flag, metavar[0] == '\0' ? "" : " ", metavar);
    if (at + 2 > HELP_COLUMN) {
        at = fprintf(out, "\n") - 1;
    }
    (void)fprintf(out, "%*s", HELP_COLUMN - at, "");
    print_wrapped(out, text, "", HELP_COLUMN, HELP_COLUMN);
    (void)fputc('\n', out);
}

void config_help(FILE *out)
{
    (void)fputs("usage: tracemq serve [options]\n\n"
                "Sizes are written 64KiB, 16M or in bytes; times 20ms, 10s, 5m, 24h, 7d or in "
                "milliseconds.\nThe command line has precedence over the file.\n\n",
                out);
    print_option(out, "--config", "FILE", "Read a configuration file (YAML) first.", NULL);
    print_option(out, "--check", "", "Check the configuration, start nothing.", NULL);
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct option_row *row = &config_rows[i];
        print_option(out, row->flag, config_metavar(row), row->help, row->fallback);
    }
}

void config_help_markdown(FILE *out)
{
    (void)fputs("| key in the file | option | expected | default | reload | what it does |\n"
                "|---|---|---|---|---|---|\n",
                out);
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct option_row *row = &config_rows[i];
        char expected[CONFIG_EXPECTED_MAX];
        config_expected(row, expected);
        const char *tick = row->fallback[0] == '\0' ? "" : "`";
        (void)fprintf(out, "| `%s` | `%s` | %s | %s%s%s | %s | %s |\n", row->key, row->flag,
                      expected, tick, row->fallback, tick, row->live ? "yes" : "restart",
                      row->help);
    }
}

void config_help_yaml(FILE *out)
{
    (void)fputs(
        "# TraceMQ configuration: /etc/tracemq/tracemq.yaml. Every key may be left out; the "
        "values here are the\n# defaults. `tracemq serve --config FILE --check` reads it, "
        "says what is wrong (file, line, key) and ends.\n# Sizes: 64KiB, 16M, bytes. Times: "
        "20ms, 10s, 5m, 24h, 7d, milliseconds.\n",
        out);
    const char *group = "";
    for (size_t i = 0; i < CONFIG_ROWS; i++) {
        const struct option_row *row = &config_rows[i];
        const char *dot = strchr(row->key, '.');
        (void)fputc('\n', out);
        if (dot != NULL && strncmp(group, row->key, (size_t)(dot + 1 - row->key)) != 0) {
            (void)fprintf(out, "#%.*s:\n", (int)(dot - row->key), row->key);
            group = row->key;
        }
        const char *lead = dot == NULL ? "# " : "  # ";
        int n = fprintf(out, "%s", lead);
        print_wrapped(out, row->help, lead, n, n);
        (void)fprintf(out, "\n#%s%s: %s\n", dot == NULL ? "" : "  ",
                      dot == NULL ? row->key : dot + 1,
                      row->fallback[0] == '\0' ? "\"\"" : row->fallback);
    }
    (void)fputs("\n# Listeners beside those above, as many as you like, each with own settings:\n"
                "#listeners:\n",
                out);
    static const char *const examples[LISTENER_ROWS] = {
#define LISTENER(member_, key_, type_, min_, max_, fallback_, example_, help_)                     \
    [LISTENER_ROW_##member_] = (example_),
#include "server/listener.def"
#undef LISTENER
    };
    for (size_t i = 0; i < LISTENER_ROWS; i++) {
        const struct option_row *row = &listener_rows[i], *own = config_row_by_key(row->fallback);
        const char *example = own == NULL ? examples[i] : own->fallback;
        int n = fprintf(out, "  # ");
        print_wrapped(out, row->help, "  # ", n, n);
        (void)fprintf(out, "%s%s%s\n#  %s %s: %s\n", own == NULL ? "" : " As ",
                      own == NULL ? "" : own->key, own == NULL ? "" : " if left out.",
                      i == 0 ? "-" : " ", row->key, example[0] == '\0' ? "\"\"" : example);
    }
    config_bridges_yaml(out);
}
