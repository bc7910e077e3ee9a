/*
 * Enhanced authentication: which methods there are. A method is one file with a struct auth_method, named in the table
 * here; what its packets say is its own matter.
 */
#include "auth/auth_priv.h"

enum { REASON_BAD_METHOD = 0x8C };

static const struct auth_method *const methods[] = {&auth_scram_sha_256, NULL};

static const struct auth_method *method_find(struct slice name)
{
    const struct auth_method *const *m = methods;
    while (*m != NULL && !slice_eq(slice_str((*m)->name), name)) {
        m++;
    }
    return *m;
}

struct auth_exchange *auth_exchange_new(struct auth *a, struct slice method,
                                        const struct auth_request *rq, struct auth_result *out)
{
    const struct auth_method *m = method_find(method);
    if (m == NULL) {
        *out = (struct auth_result){
            .cause = CAUSE_AUTH_METHOD, .connack = 5, .reason = REASON_BAD_METHOD};
        text_format(out->rule, sizeof out->rule, "method \"%.*s\" is not served",
                    text_width(method), text_bytes(method));
        return NULL;
    }
    struct auth_exchange *x = m->make(a, rq, out);
    if (x != NULL) {
        x->method = m;
    }
    return x;
}

struct slice auth_exchange_user(const struct auth_exchange *x)
{
    return x->user;
}

void auth_exchange_free(struct auth_exchange *x)
{
    if (x != NULL) {
        x->method->free(x);
    }
}

enum auth_step auth_exchange_step(struct auth_exchange *x, struct slice data, struct slice *answer,
                                  struct auth_result *out)
{
    *answer = slice_make(NULL, 0);
    *out = (struct auth_result){0};
    return x->method->step(x, data, answer, out);
}
