/*
 * Subscriptions that are filtered at delivery: an instance with `subscriptions: filtered` grants those that permissions do
 * not cover, too, marks them (SUB_FILTERED), and each of their messages is delivered only if its client may read that topic.
 *
 * What counts are the permissions at the time when a message is put into the output: it is looked at when it arrives, so that
 * queues hold what may be read, and once more when it is sent. While its client is away a session keeps the identity it had,
 * and the store the user's name; where there is none (its user is gone, or has another password) its messages wait, and are
 * looked at when a client comes. What was sent once is sent again, or a QoS 2 message would stay half done.
 *
 * Whoever picks a member of a shared subscription asks here, too, about members of other loops: by the identity that the
 * member's loop last told. If settings changed since, that loop decides, and passes on what its member may not have.
 *
 * A session's reader is its loop's. A subscription that was covered is never looked at: that costs nothing.
 */
#include <stdlib.h>

#include "base/mem.h"
#include "server/server_priv.h"

struct reader {
    struct auth_identity
        *identity;         /* counted: of the client that is away; NULL: here, or not known */
    uint64_t auth_version; /* of the last verdict; 0: none */
    uint32_t topic_len;
    uint32_t count; /* messages that were passed over */
    bool allowed;
    uint8_t topic[128];
};

/* What members of shared subscriptions tell other loops. */
struct told_reader {
    struct share_reader base;
    struct auth_identity *identity; /* counted */
    size_t client_id_len;
    uint8_t client_id[];
};

/* Whose session it is, as of now; NULL: not known, or not allowed to be here any more. */
static struct auth_identity *identity_now(struct worker *w, struct session *s)
{
    struct conn *c = s->conn;
    struct reader *r = s->reader;
    if (c != NULL) {
        return conn_still_allowed(c) ? c->identity : NULL;
    }
    if (r->identity != NULL && auth_identity_refresh(w->server->auth, &r->identity) != 0) {
        auth_identity_unref(r->identity);
        r->identity = NULL;
    }
    return r->identity;
}

enum reading filtered_reading(struct worker *w, struct session *s, struct slice topic)
{
    struct reader *r = s->reader;
    uint64_t version = auth_version(w->server->auth);
    if (r->auth_version == version && r->topic_len == topic.n &&
        memcmp(r->topic, topic.p, topic.n) == 0) {
        return r->allowed ? READ_YES : READ_NO;
    }
    const struct auth_identity *id = identity_now(w, s);
    if (id == NULL) {
        return READ_LATER;
    }
    bool allowed = auth_allows(id, session_client_id(s), AUTH_SUBSCRIBE, topic, NULL);
    if (topic.n <= sizeof r->topic) {
        memcpy(r->topic, topic.p, topic.n);
        r->topic_len = (uint32_t)topic.n;
        r->auth_version = version;
        r->allowed = allowed;
    }
    return allowed ? READ_YES : READ_NO;
}

bool filtered_lets(struct worker *w, struct session *s, struct slice topic, uint8_t qos)
{
    switch (filtered_reading(w, s, topic)) {
    case READ_YES:
        return true;
    case READ_NO:
        filtered_passed(w, s);
        return false;
    case READ_LATER:
        break;
    }
    return qos > 0 || s->conn == NULL;
}

void filtered_passed(struct worker *w, struct session *s)
{
    s->reader->count++;
    count_add(&w->count.filtered, 1);
}

uint32_t filtered_count(const struct session *s)
{
    return s->reader == NULL ? 0 : s->reader->count;
}

/* ---- shared subscriptions ---- */

static void told_free(struct qsbr_item *item)
{
    struct told_reader *t = (struct told_reader *)(void *)item;
    auth_identity_unref(t->identity);
    free(t);
}

static const struct told_reader *told_by(const struct share_member *m)
{
    return (const void *)atomic_load_explicit(&m->reader, memory_order_acquire);
}

/* Its loop: who the member is, if that changed. */
static void tell(struct worker *w, struct topic_sub *sub)
{
    struct session *s = sub->session;
    struct share_member *m = sub->member;
    bool filtered = (sub->flags & SUB_FILTERED) != 0;
    struct auth_identity *id = filtered ? identity_now(w, s) : NULL;
    const struct told_reader *before = told_by(m);
    if (filtered == atomic_load_explicit(&m->filtered, memory_order_relaxed) &&
        id == (before == NULL ? NULL : before->identity)) {
        return;
    }
    struct told_reader *t = NULL;
    if (id != NULL) {
        struct slice client_id = session_client_id(s);
        t = mem_new(1, sizeof *t + client_id.n);
        t->base.free = told_free;
        t->identity = id;
        auth_identity_ref(id);
        t->client_id_len = client_id.n;
        if (client_id.n > 0) {
            memcpy(t->client_id, client_id.p, client_id.n);
        }
    }
    topics_share_filter(w->server->topics, sub, filtered, t == NULL ? NULL : &t->base);
}

bool filtered_may_get(struct worker *w, struct topic_sub *sub, struct slice topic)
{
    if ((sub->flags & SUB_FILTERED) == 0) {
        return true;
    }
    enum reading reading = filtered_reading(w, sub->session, topic);
    tell(w, sub); /* or it would be picked again */
    return reading == READ_YES || (reading == READ_LATER && sub->session->conn == NULL);
}

bool filtered_may_pick(struct worker *w, const struct share_member *m, struct slice topic)
{
    const struct told_reader *t = told_by(m);
    const struct auth *a = w->server->auth;
    if (!atomic_load_explicit(&m->filtered, memory_order_relaxed) || t == NULL ||
        auth_identity_version(t->identity) != auth_version(a)) {
        return true; /* its loop decides */
    }
    w->work++;
    return auth_allows(t->identity, slice_make(t->client_id, t->client_id_len), AUTH_SUBSCRIBE,
                       topic, NULL);
}

/* ---- the session's life ---- */

void filtered_begin(struct session *s)
{
    if (s->reader == NULL) {
        s->reader = mem_new(1, sizeof *s->reader);
    }
}

void filtered_set(struct worker *w, struct topic_sub *sub)
{
    if ((sub->flags & SUB_FILTERED) != 0) {
        filtered_begin(sub->session);
    }
    if ((sub->flags & SUB_SHARED) != 0) {
        tell(w, sub);
    }
}

void filtered_changed(struct worker *w, struct session *s)
{
    if (s->reader == NULL || !s->shared) {
        return;
    }
    for (struct topic_sub *sub = s->subs; sub != NULL; sub = sub->next) {
        if ((sub->flags & SUB_SHARED) != 0) {
            tell(w, sub);
        }
    }
}

static void use_identity(struct reader *r, struct auth_identity *id)
{
    if (id != NULL) {
        auth_identity_ref(id);
    }
    auth_identity_unref(r->identity);
    r->identity = id;
}

bool filtered_user(const struct session *s, struct slice *user)
{
    const struct conn *c = s->conn;
    const struct auth_identity *id = c != NULL ? c->identity : s->reader->identity;
    if (id != NULL) {
        *user = auth_identity_user(id);
    }
    return id != NULL;
}

void filtered_restore(struct worker *w, struct session *s, struct slice user)
{
    const struct server *server = w->server;
    filtered_begin(s);
    if (s->reader->identity == NULL) {
        s->reader->identity = auth_identity_of(server->auth, slice_str(server->instance), user);
    }
}

/* Another user has the session now: the store is to know that. */
static void store_user(struct worker *w, const struct session *s)
{
    for (const struct topic_sub *sub = s->subs; sub != NULL; sub = sub->next) {
        if ((sub->flags & SUB_FILTERED) != 0) {
            persist_sub(w, s, sub);
        }
    }
}

void filtered_here(struct worker *w, struct session *s)
{
    struct reader *r = s->reader;
    struct slice user;
    if (r == NULL) {
        return;
    }
    bool same = r->identity != NULL && filtered_user(s, &user) &&
                slice_eq(user, auth_identity_user(r->identity));
    if (!same && session_durable(s)) {
        store_user(w, s);
    }
    use_identity(r, NULL);
    r->auth_version = 0; /* it may be another user */
    filtered_changed(w, s);
}

void filtered_away(const struct session *s, const struct conn *c)
{
    if (s->reader != NULL) {
        use_identity(s->reader, c->identity);
    }
}

void filtered_end(struct session *s)
{
    if (s->reader != NULL) {
        use_identity(s->reader, NULL);
        free(s->reader);
        s->reader = NULL;
    }
}
