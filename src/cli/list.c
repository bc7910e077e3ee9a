/* Lists and changes of settings; see list.h. */
#include "cli/list.h"

static void print_list(const json_t *doc, bool local, const char *const *header, size_t columns,
                       cli_row_fn row)
{
    const json_t *items = json_object_get(doc, "items");
    struct cli_table t;
    cli_table_init(&t, header, columns);
    for (size_t i = 0; i < json_array_size(items); i++) {
        row(json_array_get(items, i), local, &t);
    }
    cli_table_flush(&t, stdout);
    cli_table_fini(&t);
}

int cli_list(struct cli_http *h, const struct cli_args *a, struct buf *path,
             const char *const *header, size_t columns, cli_row_fn row, const char *when_empty)
{
    json_t *doc = NULL;
    int rc = cli_request(h, "GET", path, NULL, 0, &doc); /* not paged */
    buf_fini(path);
    if (rc != 0) {
        return CLI_FAILED;
    }
    if (cli_has(a, OPT_JSON)) {
        cli_print_json(doc);
    } else if (json_array_size(json_object_get(doc, "items")) == 0) {
        (void)printf("%s\n", when_empty);
    } else {
        print_list(doc, cli_has(a, OPT_LOCAL), header, columns, row);
    }
    json_decref(doc);
    return CLI_DONE;
}

int cli_send(struct cli_http *h, const char *method, struct buf *path, json_t *body)
{
    int rc = cli_request(h, method, path, body, 0, NULL);
    json_decref(body);
    buf_fini(path);
    return rc == 0 ? CLI_DONE : CLI_FAILED;
}
