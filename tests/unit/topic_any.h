/* Random topics and filters over few levels, so that they often match: '$' topics, empty levels, wildcards. */
#ifndef TMQ_TESTS_TOPIC_ANY_H
#define TMQ_TESTS_TOPIC_ANY_H

#include <stdio.h>

#include "base/slice.h"
#include "random.h"

enum { TOPIC_ANY_MAX = 64 };

static inline struct slice topic_any(struct random *r, char out[TOPIC_ANY_MAX])
{
    static const char *const first[] = {"a", "b", "$SYS", "", "c"};
    static const char *const more[] = {"a", "b", "", "d", "$x"};
    uint32_t levels = 1 + random_below(r, 4);
    int n = snprintf(out, TOPIC_ANY_MAX, "%s", first[random_below(r, levels > 1 ? 5 : 3)]);
    for (uint32_t i = 1; i < levels; i++) {
        n += snprintf(out + n, (size_t)(TOPIC_ANY_MAX - n), "/%s", more[random_below(r, 5)]);
    }
    return slice_make(out, (size_t)n);
}

static inline struct slice filter_any(struct random *r, char out[TOPIC_ANY_MAX])
{
    static const char *const words[] = {"a", "b", "", "d", "$x", "+", "+", "$SYS"};
    uint32_t levels = 1 + random_below(r, 4);
    int n = 0;
    for (uint32_t i = 0; i < levels; i++) {
        bool last = i + 1 == levels;
        const char *word = last && random_below(r, 4) == 0 ? "#" : words[random_below(r, 8)];
        word = levels == 1 && word[0] == '\0' ? "a" : word;
        n += snprintf(out + n, (size_t)(TOPIC_ANY_MAX - n), "%s%s", i == 0 ? "" : "/", word);
    }
    return slice_make(out, (size_t)n);
}

#endif
