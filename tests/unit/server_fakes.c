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

bool auth_allows(const struct auth_identity *id, enum auth_action action, struct slice topic,
                 struct auth_decision *out)
{
    (void)id;
    (void)action;
    *out = (struct auth_decision){.allowed = true};
    if (fake_auth.deny != NULL && slice_has_prefix(topic, slice_str(fake_auth.deny))) {
        out->allowed = false;
        (void)snprintf(out->rule, sizeof out->rule, "deny %s#", fake_auth.deny);
    }
    return out->allowed;
}
