/* Matching of paths, and the table of routes against docs/openapi.yaml. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "api/handlers.h"
#include "api/route.h"

/* The table's handlers, so that matching is tested without what they use. */
#define STUB(name)                                                                                 \
    void name(struct request *rq)                                                                  \
    {                                                                                              \
        (void)rq;                                                                                  \
    }
STUB(handle_healthz)
STUB(handle_readyz)
STUB(handle_regions)
STUB(handle_instances)
STUB(handle_instance)
STUB(handle_instance_patch)
STUB(handle_metrics)
STUB(handle_login)
STUB(handle_logout)
STUB(handle_me)
STUB(handle_devices)
STUB(handle_device)
STUB(handle_kick)
STUB(handle_trace)
STUB(handle_events)
STUB(handle_unidentified)
STUB(handle_stream)
STUB(handle_groups)
STUB(handle_group_add)
STUB(handle_group_delete)
STUB(handle_topics)
STUB(handle_topic_add)
STUB(handle_topic_delete)
STUB(handle_users)
STUB(handle_user_add)
STUB(handle_user_password)
STUB(handle_user_delete)
STUB(handle_permissions)
STUB(handle_permission_add)
STUB(handle_permissions_set)
STUB(handle_permission_delete)

static struct route_match find(const char *path, enum api_method method)
{
    struct route_match m;
    route_find(slice_str(path), method, &m);
    return m;
}

static void a_segment_takes_any_text_but_none(void **state)
{
    (void)state;
    struct route_match m =
        find("/api/v1/instances/mqtt-local/devices/GID_a%40%40%40b%2Fc/trace", API_GET);
    assert_non_null(m.route);
    assert_string_equal(m.route->pattern, "/api/v1/instances/{instance}/devices/{clientId}/trace");
    assert_true(slice_eq(m.segments[0], slice_str("mqtt-local")));
    assert_true(slice_eq(m.segments[1], slice_str("GID_a%40%40%40b%2Fc")));
    assert_int_equal(find("/api/v1/instances/i/devices//trace", API_GET).allowed, 0);
    assert_int_equal(find("/api/v1/instances//devices", API_GET).allowed, 0);
}

static void only_whole_paths_match(void **state)
{
    static const char *const none[] = {"",
                                       "/",
                                       "/api",
                                       "/api/v1",
                                       "/api/v1/instances/",
                                       "/api/v1/instances/i/devices/",
                                       "/healthz/",
                                       "/healthzz",
                                       "/api/v1/instances/i/devices/a/b/trace",
                                       "/API/v1/instances",
                                       "//healthz",
                                       "/api/v1/instances/i/nothing"};
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++) {
        if (find(none[i], API_GET).allowed != 0) {
            fail_msg("%s has a route", none[i]);
        }
    }
}

static void methods_are_told_apart(void **state)
{
    (void)state;
    struct route_match m = find("/api/v1/instances/i/groups", API_PUT);
    assert_null(m.route);
    assert_int_equal(m.allowed, 1U << API_GET | 1U << API_POST);
    m = find("/api/v1/instances/i", API_PATCH);
    assert_non_null(m.route);
    assert_int_equal(m.allowed, 1U << API_GET | 1U << API_PATCH);
    m = find("/healthz", API_METHODS);
    assert_null(m.route);
    assert_int_equal(m.allowed, 1U << API_GET);
    assert_int_equal(api_method_parse("HEAD"), API_GET);
    assert_int_equal(api_method_parse("DELETE"), API_DELETE);
    assert_int_equal(api_method_parse("get"), API_METHODS);
    assert_int_equal(api_method_parse("OPTIONS"), API_METHODS);
}

static void each_row_is_whole_and_finds_itself(void **state)
{
    (void)state;
    for (size_t i = 0; i < api_routes_count; i++) {
        const struct api_route *r = &api_routes[i];
        assert_non_null(r->handle);
        assert_true(strlen(r->summary) > 0);
        assert_ptr_equal(find(r->pattern, r->method).route, r);
    }
}

/* ---- the table and the document ---- */

enum { DOC_MAX = 128 };

struct doc_row {
    char path[128], method[16], summary[128];
};

static struct doc_row doc[DOC_MAX];
static size_t doc_count;

static void upper(char *s)
{
    for (; *s != '\0'; s++) {
        *s = (char)(*s >= 'a' && *s <= 'z' ? *s - 'a' + 'A' : *s);
    }
}

/* Knows the document's own layout: paths at two spaces, methods at four, summary at six. */
static void read_doc(void)
{
    FILE *f = fopen(TMQ_SOURCE_ROOT "/docs/openapi.yaml", "r");
    char line[512], path[128] = "", word[64];
    assert_non_null(f);
    doc_count = 0;
    while (fgets(line, sizeof line, f) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (strncmp(line, "components:", 11) == 0) {
            break;
        }
        if (strncmp(line, "  /", 3) == 0) {
            (void)snprintf(path, sizeof path, "%.*s", (int)strcspn(line + 2, ":"), line + 2);
        } else if (path[0] != '\0' && sscanf(line, "    %15[a-z]:", word) == 1 && line[4] != ' ' &&
                   strcmp(word, "parameters") != 0) {
            assert_true(doc_count < DOC_MAX);
            upper(word);
            (void)snprintf(doc[doc_count].path, sizeof doc[0].path, "%s", path);
            (void)snprintf(doc[doc_count++].method, sizeof doc[0].method, "%.15s", word);
        } else if (doc_count > 0 && strncmp(line, "      summary: ", 15) == 0) {
            (void)snprintf(doc[doc_count - 1].summary, sizeof doc[0].summary, "%.120s", line + 15);
        }
    }
    (void)fclose(f);
}

static const struct doc_row *find_doc(const struct api_route *r)
{
    for (size_t i = 0; i < doc_count; i++) {
        if (strcmp(doc[i].path, r->pattern) == 0 &&
            strcmp(doc[i].method, api_method_text(r->method)) == 0) {
            return &doc[i];
        }
    }
    return NULL;
}

static void the_document_describes_the_table(void **state)
{
    (void)state;
    read_doc();
    for (size_t i = 0; i < api_routes_count; i++) {
        const struct doc_row *row = find_doc(&api_routes[i]);
        if (row == NULL) {
            fail_msg("docs/openapi.yaml lacks %s %s", api_method_text(api_routes[i].method),
                     api_routes[i].pattern);
            return;
        }
        assert_string_equal(row->summary, api_routes[i].summary);
    }
    assert_int_equal(doc_count, api_routes_count);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_segment_takes_any_text_but_none),
        cmocka_unit_test(only_whole_paths_match),
        cmocka_unit_test(methods_are_told_apart),
        cmocka_unit_test(each_row_is_whole_and_finds_itself),
        cmocka_unit_test(the_document_describes_the_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
