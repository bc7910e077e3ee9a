/* Why not getopt_long: its table of options cannot say which command takes which, and its messages are its own. */
#include "cli/args.h"

#include <stdio.h>
#include <string.h>

static const struct cli_option_info options[OPT_COUNT] = {
#define OPTION(sym, name, value, help) {name, value, help},
    CLI_OPTIONS(OPTION)
#undef OPTION
};

const struct cli_option_info *cli_option_info(enum cli_option o)
{
    return &options[o];
}

uint32_t cli_common_options(void)
{
    return CLI_BIT(OPT_URL) | CLI_BIT(OPT_TOKEN) | CLI_BIT(OPT_INSTANCE) | CLI_BIT(OPT_DATA) |
           CLI_BIT(OPT_HELP);
}

/* The option named by `word` (behind the dashes, up to '='), or OPT_COUNT. */
static unsigned find_option(const char *word, size_t n)
{
    unsigned o = 0;
    while (o < OPT_COUNT &&
           !(strlen(options[o].name) == n && memcmp(options[o].name, word, n) == 0)) {
        o++;
    }
    return o;
}

/* Parses the option at argv[i]; how many arguments it took, or -1. */
static int parse_option(struct cli_args *a, int argc, char **argv, uint32_t allowed, char *problem,
                        size_t size)
{
    const char *word = argv[0] + 2;
    const char *equals = strchr(word, '=');
    size_t n = equals == NULL ? strlen(word) : (size_t)(equals - word);
    unsigned o = argv[0][1] == '-' ? find_option(word, n) : OPT_COUNT;
    if (strcmp(argv[0], "-h") == 0) {
        o = OPT_HELP;
    }
    if (o == OPT_COUNT || (CLI_BIT(o) & allowed) == 0) {
        (void)snprintf(problem, size, "unknown option %.100s", argv[0]);
        return -1;
    }
    if (options[o].value == NULL) {
        if (equals != NULL) {
            (void)snprintf(problem, size, "--%s takes no value", options[o].name);
            return -1;
        }
        a->value[o] = "";
        return 1;
    }
    if (equals == NULL && argc < 2) {
        (void)snprintf(problem, size, "--%s needs a value: %s", options[o].name, options[o].value);
        return -1;
    }
    a->value[o] = equals != NULL ? equals + 1 : argv[1];
    if (o == OPT_ALLOW) {
        if (a->allow_count == CLI_ALLOW_MAX) {
            (void)snprintf(problem, size, "--allow: at most %d", CLI_ALLOW_MAX);
            return -1;
        }
        a->allow[a->allow_count++] = a->value[o];
    }
    return equals != NULL ? 1 : 2;
}

int cli_args_parse(struct cli_args *a, int argc, char **argv, uint32_t allowed, char *problem,
                   size_t problem_size)
{
    bool ended = false;
    *a = (struct cli_args){0};
    for (int i = 0; i < argc;) {
        const char *word = argv[i];
        if (!ended && strcmp(word, "--") == 0) {
            ended = true;
            i++;
        } else if (!ended && word[0] == '-' && word[1] != '\0') {
            int took = parse_option(a, argc - i, argv + i, allowed | cli_common_options(), problem,
                                    problem_size);
            if (took < 0) {
                return -1;
            }
            i += took;
        } else if (a->count == CLI_POSITIONAL_MAX) {
            (void)snprintf(problem, problem_size, "unexpected argument \"%.100s\"", word);
            return -1;
        } else {
            a->positional[a->count++] = word;
            i++;
        }
    }
    return 0;
}
