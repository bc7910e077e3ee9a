/*
 * Topics and filters. Matching is held against a matcher written from the standard's words, by levels and
 * recursion, over all short strings of a small alphabet; the relations of filters against brute force.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "mqtt/topic.h"

#define COUNT(rows) (sizeof(rows) / sizeof((rows)[0]))

/* Strings of up to `max` characters of `alphabet`, at most as many as fit. */
struct words {
    size_t n;
    char (*s)[8];
};

static struct words all_words(const char *alphabet, unsigned max, bool (*keep)(struct slice))
{
    size_t base = strlen(alphabet);
    size_t total = 1; /* room for one more than there are */
    for (size_t len = 1, count = base; len <= max; len++, count *= base) {
        total += count;
    }
    struct words w = {0, malloc(total * sizeof *w.s)};
    assert_non_null(w.s);
    for (size_t len = 1, count = base; len <= max; len++, count *= base) {
        for (size_t k = 0; k < count; k++) {
            char *word = w.s[w.n];
            size_t rest = k;
            memset(word, 0, sizeof w.s[0]);
            for (size_t i = 0; i < len; i++, rest /= base) {
                word[i] = alphabet[rest % base];
            }
            w.n += keep(slice_str(word));
        }
    }
    return w;
}

/* 4.7 of the standard, word by word; f and t stand at the start of a level. */
static bool naive_levels(const char *f, const char *t)
{
    if (strcmp(f, "#") == 0) {
        return true;
    }
    size_t fn = strcspn(f, "/");
    size_t tn = strcspn(t, "/");
    bool plus = fn == 1 && f[0] == '+';
    if (!plus && (fn != tn || memcmp(f, t, fn) != 0)) {
        return false;
    }
    if (t[tn] == 0) {
        return f[fn] == 0 || strcmp(f + fn, "/#") == 0;
    }
    return f[fn] == '/' && naive_levels(f + fn + 1, t + tn + 1);
}

static bool naive_matches(const char *f, const char *t)
{
    if (t[0] == '$' && (f[0] == '+' || f[0] == '#')) {
        return false;
    }
    return naive_levels(f, t);
}

static bool naive_filter_valid(struct slice s)
{
    for (size_t i = 0; i < s.n; i++) {
        bool first = i == 0 || s.p[i - 1] == '/';
        bool ends = i + 1 == s.n || s.p[i + 1] == '/';
        if (s.p[i] == '+' && !(first && ends)) {
            return false;
        }
        if (s.p[i] == '#' && !(first && i + 1 == s.n)) {
            return false;
        }
    }
    return s.n > 0;
}

static bool keep_all(struct slice s)
{
    return s.n > 0;
}

static void test_filter_valid(void **state)
{
    (void)state;
    struct words w = all_words("a/+#", 6, keep_all);
    for (size_t i = 0; i < w.n; i++) {
        struct slice s = slice_str(w.s[i]);
        assert_int_equal(mqtt_filter_valid(s), naive_filter_valid(s));
        if (mqtt_filter_valid(s)) {
            assert_int_equal(mqtt_filter_is_wild(s), strpbrk(w.s[i], "+#") != NULL);
        }
        assert_int_equal(mqtt_topic_valid(s), strpbrk(w.s[i], "+#") == NULL);
    }
    free(w.s);
    assert_false(mqtt_filter_valid(slice_str("")));
    assert_false(mqtt_topic_valid(slice_str("")));
}

static void test_matches(void **state)
{
    (void)state;
    struct words topics = all_words("a$/", 6, keep_all);
    struct words filters = all_words("a$/+#", 5, mqtt_filter_valid);
    for (size_t f = 0; f < filters.n; f++) {
        for (size_t t = 0; t < topics.n; t++) {
            bool got = mqtt_topic_matches(slice_str(filters.s[f]), slice_str(topics.s[t]));
            if (got != naive_matches(filters.s[f], topics.s[t])) {
                fail_msg("filter %s topic %s: %d", filters.s[f], topics.s[t], got);
            }
        }
    }
    free(topics.s);
    free(filters.s);
}

/* All pairs of filters against all topics of up to seven characters: enough levels, and a letter that no
 * filter has, to tell '+' from every literal and '#' from every depth. */
static void check_relations(struct words filters, struct words topics)
{
    size_t row = (topics.n + 63) / 64;
    uint64_t *hits = calloc(filters.n * row, sizeof *hits);
    assert_non_null(hits);
    for (size_t f = 0; f < filters.n; f++) {
        for (size_t t = 0; t < topics.n; t++) {
            uint64_t hit = naive_matches(filters.s[f], topics.s[t]);
            hits[f * row + t / 64] |= hit << (t % 64);
        }
    }
    for (size_t a = 0; a < filters.n; a++) {
        for (size_t b = 0; b < filters.n; b++) {
            uint64_t outside = 0, both = 0;
            for (size_t k = 0; k < row; k++) {
                outside |= hits[b * row + k] & ~hits[a * row + k];
                both |= hits[b * row + k] & hits[a * row + k];
            }
            struct slice fa = slice_str(filters.s[a]), fb = slice_str(filters.s[b]);
            if (mqtt_filter_covers(fa, fb) != (outside == 0)) {
                fail_msg("%s covers %s", filters.s[a], filters.s[b]);
            }
            if (mqtt_filter_overlaps(fa, fb) != (both != 0)) {
                fail_msg("%s overlaps %s", filters.s[a], filters.s[b]);
            }
        }
    }
    free(hits);
    free(topics.s);
    free(filters.s);
}

static void test_relations(void **state)
{
    (void)state;
    check_relations(all_words("a$/+#", 4, mqtt_filter_valid), all_words("a$b/", 7, keep_all));
    check_relations(all_words("a/+#", 5, mqtt_filter_valid), all_words("ab/", 7, keep_all));
}

static void test_levels(void **state)
{
    (void)state;
    static const struct {
        const char *topic;
        const char *levels[4];
    } rows[] = {{"", {""}},
                {"a", {"a"}},
                {"/", {"", ""}},
                {"a//b", {"a", "", "b"}},
                {"ab/c/", {"ab", "c", ""}}};
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct slice rest = slice_str(rows[i].topic), level;
        bool more = true;
        for (size_t k = 0; rows[i].levels[k] != NULL; k++) {
            assert_true(mqtt_level_next(&rest, &more, &level));
            assert_true(slice_eq(level, slice_str(rows[i].levels[k])));
        }
        assert_false(mqtt_level_next(&rest, &more, &level));
    }
}

/* Every code point in its UTF-8 form, at several places relative to the eight-byte steps. */
static size_t utf8_put(uint32_t c, uint8_t *out)
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    size_t len = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = len - 1; i > 0; i--, c >>= 6) {
        out[i] = (uint8_t)(0x80 | (c & 0x3F));
    }
    out[0] = (uint8_t)(lead[len] | c);
    return len;
}

static void test_utf8_all_code_points(void **state)
{
    (void)state;
    for (uint32_t c = 0; c < 0x120000; c++) {
        uint8_t s[16] = "abcdefghijklmno";
        size_t before = c % 9;
        size_t n = before + utf8_put(c, s + before);
        bool want = c != 0 && c < 0x110000 && !(c >= 0xD800 && c < 0xE000);
        assert_int_equal(mqtt_utf8_valid(slice_make(s, n)), want);
        assert_int_equal(mqtt_topic_valid(slice_make(s, n)), want && c != '+' && c != '#');
    }
}

static void test_utf8_malformed(void **state)
{
    (void)state;
    static const char *const rows[] = {"\x80",
                                       "\xbf",
                                       "\xc0\x80",
                                       "\xc1\xbf",
                                       "\xc3",
                                       "\xc3(",
                                       "\xe0\x80\x80",
                                       "\xe0\x9f\xbf",
                                       "\xe2\x82",
                                       "\xe2(\xa1",
                                       "\xed\xa0\x80",
                                       "\xed\xbf\xbf",
                                       "\xf0\x8f\xbf\xbf",
                                       "\xf0\x9f\x98",
                                       "\xf0\x9f(\x80",
                                       "\xf4\x90\x80\x80",
                                       "\xf5\x80\x80\x80",
                                       "\xff",
                                       "\xfe",
                                       "\xf8\x88\x80\x80\x80"};
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (size_t before = 0; before < 10; before++) {
            for (size_t after = 0; after < 10; after++) {
                char s[40];
                int n = snprintf(s, sizeof s, "%.*s%s%.*s", (int)before, "0123456789", rows[i],
                                 (int)after, "0123456789");
                assert_false(mqtt_utf8_valid(slice_make(s, (size_t)n)));
            }
        }
    }
    assert_true(mqtt_utf8_valid(slice_make(NULL, 0)));
}

/* One bad character anywhere in an ASCII string of any length around the steps. */
static void test_ascii_places(void **state)
{
    (void)state;
    for (size_t n = 1; n < 40; n++) {
        uint8_t *s = malloc(n);
        assert_non_null(s);
        memset(s, 'x', n);
        assert_true(mqtt_topic_valid(slice_make(s, n)));
        for (size_t at = 0; at < n; at++) {
            static const uint8_t bad[] = {0, '+', '#', 0x80, 0xff};
            for (size_t k = 0; k < sizeof bad; k++) {
                s[at] = bad[k];
                assert_false(mqtt_topic_valid(slice_make(s, n)));
                bool text = bad[k] == '+' || bad[k] == '#';
                assert_int_equal(mqtt_utf8_valid(slice_make(s, n)), text);
            }
            s[at] = at % 2 == 0 ? '"' : '\x7f';
            assert_true(mqtt_topic_valid(slice_make(s, n)));
        }
        free(s);
    }
}

static void test_lengths(void **state)
{
    (void)state;
    char *s = malloc(65536);
    assert_non_null(s);
    memset(s, 'x', 65536);
    assert_true(mqtt_topic_valid(slice_make(s, 65535)));
    assert_true(mqtt_filter_valid(slice_make(s, 65535)));
    assert_false(mqtt_topic_valid(slice_make(s, 65536)));
    assert_false(mqtt_filter_valid(slice_make(s, 65536)));
    free(s);
}

static void test_shared(void **state)
{
    static const struct {
        const char *whole, *name, *filter; /* name NULL: wrong; filter NULL: not a shared one */
    } rows[] = {
        {"$share/g/a/+", "g", "a/+"},
        {"$share/g//", "g", "/"},
        {"$share/$queue/a", "$queue", "a"},
        {"$share//a", NULL, ""},
        {"$share/", NULL, ""},
        {"$share/g/", NULL, ""},
        {"$share/g", NULL, ""},
        {"$share/+/a", NULL, ""},
        {"$share/#", NULL, ""},
        {"$queue/a", "$queue", "a"},
        {"$queue/#", "$queue", "#"},
        {"$queue//a/b", "$queue", "/a/b"},
        {"$queue/", NULL, ""},
        {"$queue", NULL, NULL},
        {"$queues/a", NULL, NULL},
        {"$shar", NULL, NULL},
        {"$", NULL, NULL},
        {"queue/a", NULL, NULL},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(rows); i++) {
        struct slice whole = slice_str(rows[i].whole), name, filter;
        assert_int_equal(mqtt_filter_is_shared(whole), rows[i].filter != NULL);
        if (rows[i].filter == NULL) {
            continue;
        }
        assert_int_equal(mqtt_filter_shared(whole, &name, &filter), rows[i].name != NULL);
        if (rows[i].name != NULL) {
            assert_true(slice_eq(name, slice_str(rows[i].name)));
            assert_true(slice_eq(filter, slice_str(rows[i].filter)));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_filter_valid),
        cmocka_unit_test(test_matches),
        cmocka_unit_test(test_relations),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_utf8_all_code_points),
        cmocka_unit_test(test_utf8_malformed),
        cmocka_unit_test(test_ascii_places),
        cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_shared),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
