/* Scripted trace and auth; see server_fakes.h. */
#include "server_fakes.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

struct fake_trace fake_trace;
struct fake_auth fake_auth;

/* ---- trace ---- */

void fake_trace_init(struct store *store)
{
    fake_trace = (struct fake_trace){.room = UINT32_MAX, .store = store};
    fake_trace.tail = &fake_trace.head;
}

void fake_trace_clear(void)
{
    for (size_t i = 0; i < fake_trace.record_count; i++) {
        free(fake_trace.bytes[i]);
    }
    free(fake_trace.bytes);
    free(fake_trace.records);
    fake_trace.bytes = NULL;
    fake_trace.records = NULL;
    fake_trace.record_count = fake_trace.record_cap = 0;
}

static void keep_record(const struct record *r)
{
    struct fake_trace *t = &fake_trace;
    if (t->record_count == t->record_cap) {
        t->record_cap = t->record_cap == 0 ? 64 : t->record_cap * 2;
        t->records = mem_realloc(t->records, t->record_cap * sizeof *t->records);
        t->bytes = mem_realloc(t->bytes, t->record_cap * sizeof *t->bytes);
    }
    uint8_t *bytes = mem_alloc(record_size(r));
    size_t n = record_encode(r, bytes);
    int bad = record_decode(slice_make(bytes, n), &t->records[t->record_count]);
    assert(bad == 0);
    t->bytes[t->record_count++] = bytes;
}

bool trace_emit(struct trace *t, unsigned loop, const struct record *r)
{
    (void)t;
    (void)loop;
    if (fake_trace.frozen) {
        return true;
    }
    if (fake_trace.misses > 0) {
        fake_trace.misses--;
        return false;
    }
    if (fake_trace.room == 0) {
        return false;
    }
    fake_trace.room -= fake_trace.room != UINT32_MAX;
    keep_record(r);
    return true;
}

bool fake_commit(int err)
{
    struct fake_trace *t = &fake_trace;
    struct commit_job *job = t->head;
    if (job == NULL) {
        return false;
    }
    t->head = job->next;
    if (t->head == NULL) {
        t->tail = &t->head;
    }
    struct store_batch *b = fake_batch_new();
    job->fill(job, b);
    fake_batch_end(t->store, b, err == 0 && !t->frozen);
    job->done(job, err);
    return true;
}

void trace_submit(struct trace *t, struct commit_job *job)
{
    (void)t;
    job->next = NULL;
    *fake_trace.tail = job;
    fake_trace.tail = &job->next;
    while (!fake_trace.hold && fake_commit(0)) {
    }
}

/* ---- auth ---- */

struct auth_identity {
    unsigned refs;
    uint64_t version;
    size_t user_len;
    char user[256];
};

void fake_auth_init(void)
{
    fake_auth = (struct fake_auth){.version = 1};
}

void auth_bootstrap(struct auth *a, struct auth_bootstrap *out)
{
    (void)a;
    *out = (struct auth_bootstrap){.instance_id = "mqtt-local"};
}

uint64_t auth_version(const struct auth *a)
{
    (void)a;
    return fake_auth.version;
}

void auth_identity_ref(struct auth_identity *id)
{
    id->refs++;
}

void auth_identity_unref(struct auth_identity *id)
{
    if (id != NULL && --id->refs == 0) {
        fake_auth.identities--;
        free(id);
    }
}

static struct auth_identity *identity_new(struct slice user);

struct auth_identity *auth_identity_own(struct auth *a)
{
    (void)a;
    return identity_new(slice_str(""));
}

uint64_t auth_identity_version(const struct auth_identity *id)
{
    return id->version;
}

struct slice auth_identity_user(const struct auth_identity *id)
{
    return slice_make(id->user, id->user_len);
}

struct slice auth_identity_instance(const struct auth_identity *id)
{
    (void)id;
    return slice_str("mqtt-local");
}

enum auth_on_denied auth_identity_on_denied(const struct auth_identity *id)
{
    (void)id;
    return fake_auth.on_denied;
}

enum auth_subscriptions auth_identity_subscriptions(const struct auth_identity *id)
{
    (void)id;
    return fake_auth.subscriptions;
}

int auth_identity_refresh(struct auth *a, struct auth_identity **id)
{
    (void)a;
    if (fake_auth.revoked) {
        return -EACCES;
    }
    (*id)->version = fake_auth.version;
    return 0;
}

static struct auth_identity *identity_new(struct slice user)
{
    struct auth_identity *id = mem_new(1, sizeof *id);
    id->refs = 1;
    id->version = fake_auth.version;
    id->user_len = user.n < sizeof id->user ? user.n : sizeof id->user;
    if (id->user_len > 0) {
        memcpy(id->user, user.p, id->user_len);
    }
    fake_auth.identities++;
    return id;
}

struct auth_identity *auth_identity_of(struct auth *a, struct slice instance, struct slice user)
{
    (void)a;
    (void)instance;
    return fake_auth.revoked ? NULL : identity_new(user);
}

void auth_check(struct auth *a, const struct auth_request *rq, struct auth_result *out)
{
    (void)a;
    *out = (struct auth_result){.ok = fake_auth.refuse == 0};
    if (out->ok) {
        out->identity = identity_new(rq->username);
        return;
    }
    out->cause = (enum cause)fake_auth.refuse;
    out->connack = 5;
    out->reason = 0x87;
    (void)snprintf(out->rule, sizeof out->rule, "refused by the script");
}

bool auth_check_fast(struct auth *a, const struct auth_request *rq, struct auth_result *out)
{
    if (fake_auth.slow) {
        return false;
    }
    auth_check(a, rq, out);
    return true;
}

struct auth_exchange {
    struct auth_request rq;
};

struct auth_exchange *auth_exchange_new(struct auth *a, struct slice method,
                                        const struct auth_request *rq, struct auth_result *out)
{
    (void)a;
    (void)rq;
    if (!slice_eq(method, slice_str("TEST"))) {
        *out = (struct auth_result){.cause = CAUSE_AUTH_METHOD, .connack = 5, .reason = 0x8c};
        return NULL;
    }
    fake_auth.exchanges++;
    return mem_new(1, sizeof(struct auth_exchange));
}

struct slice auth_exchange_user(const struct auth_exchange *x)
{
    (void)x;
    return slice_str("exchanged");
}

void auth_exchange_free(struct auth_exchange *x)
{
    fake_auth.exchanges -= x != NULL;
    free(x);
}

enum auth_step auth_exchange_step(struct auth_exchange *x, struct slice data, struct slice *answer,
                                  struct auth_result *out)
{
    (void)x;
    *answer = slice_make(NULL, 0);
    if (slice_eq(data, slice_str("hello"))) {
        *answer = slice_str("who?");
        return AUTH_STEP_CONTINUE;
    }
    if (slice_eq(data, slice_str("me")) || slice_eq(data, slice_str("another"))) {
        *out = (struct auth_result){.ok = true, .identity = identity_new(data)};
        *answer = slice_str("yes");
        return AUTH_STEP_OK;
    }
    *out = (struct auth_result){.cause = CAUSE_AUTH_BAD_PASSWORD, .connack = 5, .reason = 0x87};
    return AUTH_STEP_FAILED;
}

/* "#" would show what is secret, too. */
static bool is_secret(const struct auth_identity *id, enum auth_action action, struct slice topic)
{
    return action == AUTH_SUBSCRIBE && id->user_len > 0 && fake_auth.secret != NULL &&
           (slice_eq(topic, slice_str("#")) ||
            slice_has_prefix(topic, slice_str(fake_auth.secret)));
}

bool auth_allows(const struct auth_identity *id, struct slice client_id, enum auth_action action,
                 struct slice topic, struct auth_decision *out)
{
    (void)client_id;
    bool denied = fake_auth.deny != NULL && slice_has_prefix(topic, slice_str(fake_auth.deny));
    bool allowed = !denied && !is_secret(id, action, topic);
    if (out != NULL) {
        *out = (struct auth_decision){.allowed = allowed};
    }
    if (out != NULL && !allowed) {
        (void)snprintf(out->rule, sizeof out->rule, "deny %s#",
                       denied ? fake_auth.deny : fake_auth.secret);
    }
    return allowed;
}
