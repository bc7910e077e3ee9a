/* `tracemq reload`. */
#include <stdio.h>

#include "cli/commands.h"

static void print_changes(const json_t *doc, const char *member, const char *lead)
{
    const json_t *items = json_object_get(doc, member);
    for (size_t i = 0; i < json_array_size(items); i++) {
        const json_t *c = json_array_get(items, i);
        const char *name = cli_text(c, "name");
        const char *from = cli_text(c, "from");
        const char *to = cli_text(c, "to");
        (void)printf("%s%s %s → %s\n", lead, name == NULL ? "?" : name, from == NULL ? "?" : from,
                     to == NULL ? "?" : to);
    }
}

static void print_report(const json_t *doc)
{
    size_t n = json_array_size(json_object_get(doc, "applied")) +
               json_array_size(json_object_get(doc, "needsRestart"));
    print_changes(doc, "applied", "");
    print_changes(doc, "needsRestart", "needs a restart: ");
    if (n == 0) {
        (void)puts("The configuration is as it was.");
    }
    json_int_t listeners = json_integer_value(json_object_get(doc, "certificates"));
    if (listeners > 0) {
        (void)printf("Certificates were read again, for %lld listener%s.\n", (long long)listeners,
                     listeners == 1 ? "" : "s");
    }
}

int cli_reload(struct cli_http *h, const struct cli_args *a)
{
    struct buf path = {0};
    json_t *doc = NULL;
    buf_put_slice(&path, slice_str("/api/v1/config/reload"));
    int rc = cli_request(h, "POST", &path, NULL, 0, &doc);
    if (rc == 0 && cli_has(a, OPT_JSON)) {
        cli_print_json(doc);
    } else if (rc == 0) {
        print_report(doc);
    }
    json_decref(doc);
    buf_fini(&path);
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}
