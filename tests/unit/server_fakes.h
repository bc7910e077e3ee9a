/*
 * What src/server asks of trace/ and auth/, scripted: link server_fakes.c instead of those layers (only the record codec of
 * trace/ is real). One server at a time, one thread.
 */
#ifndef TMQ_TESTS_SERVER_FAKES_H
#define TMQ_TESTS_SERVER_FAKES_H

#include "auth/auth.h"
#include "fake_store.h"
#include "trace/record.h"
#include "trace/trace.h"

/* ---- the trace: records that were emitted, in order; batches on their way to the store ---- */
struct fake_trace {
    unsigned misses; /* so many records find no room first: larger than what came before */
    uint32_t room;   /* records that still fit; UINT32_MAX: no end of it */
    bool hold;       /* batches wait for fake_commit() */
    bool frozen;     /* the process has died: nothing reaches trace or store any more */
    struct store *store;
    struct record *records; /* decoded; their slices live until fake_trace_clear() */
    uint8_t **bytes;
    size_t record_count, record_cap;
    struct commit_job *head, **tail;
};
extern struct fake_trace fake_trace;

void fake_trace_init(struct store *store);
/* Forgets the records. */
void fake_trace_clear(void);
/* The oldest waiting batch: in the store with `err` 0, refused otherwise. False: none waits. */
bool fake_commit(int err);

/* ---- auth: everybody is let in and may do everything, but as said here ---- */
struct fake_auth {
    bool slow;        /* passwords have to be hashed: auth_check_fast() does not decide */
    int refuse;       /* enum cause, 0: let in */
    const char *deny; /* topics and filters that begin so are denied; NULL: none */
    bool revoked;     /* the user is gone at the next refresh */
    unsigned
        exchanges; /* of the method "TEST", alive: "hello" is answered by "who?", "me" ends it with "yes", else no */
    enum auth_on_denied on_denied;
    enum auth_subscriptions subscriptions;
    const char
        *secret; /* topics that begin so may not be read by those with a user name; NULL: none */
    uint64_t version;
    unsigned identities; /* alive */
};
extern struct fake_auth fake_auth;

void fake_auth_init(void);

#endif
