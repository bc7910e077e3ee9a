/*
 * Console sessions: log in, log out, who am I. Sessions live in RAM only: a restart logs everyone out.
 *
 * Invariants: at most SESSIONS_MAX, the one that ends first makes room; a session lives SESSION_MS. Failed logins
 * are counted per source address, in a table of fixed size: sources that share a slot share its count, which
 * errs on the strict side. argon2id takes about 100 ms and runs on the HTTP thread; the count bounds it.
 */
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/random.h>

#include "api/api_priv.h"
#include "api/handlers.h"
#include "api/json.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/mem.h"

enum {
    SESSIONS_MAX = 256,
    TOKEN_BYTES = 32,
    TOKEN_SIZE = 2 * TOKEN_BYTES + 1,
    SESSION_S = 12 * 3600
};
enum { SLOTS = 1024, LOGINS_PER_MINUTE = 10, MINUTE_MS = 60000 };

const char session_cookie[] = "tracemq_session";

struct session {
    uint64_t ends_ms; /* monotonic; 0 = free */
    char token[TOKEN_SIZE];
    char user[257];
};

struct login_slot {
    uint64_t since_ms;
    unsigned count;
};

struct sessions {
    pthread_mutex_t lock;
    struct session items[SESSIONS_MAX];
    struct login_slot slots[SLOTS];
};

struct sessions *sessions_new(void)
{
    struct sessions *s = mem_new(1, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    return s;
}

void sessions_free(struct sessions *s)
{
    if (s != NULL) {
        pthread_mutex_destroy(&s->lock);
        free(s);
    }
}

static void make_token(char token[TOKEN_SIZE])
{
    uint8_t bytes[TOKEN_BYTES];
    size_t got = 0;
    while (got < sizeof bytes) {
        ssize_t n = getrandom(bytes + got, sizeof bytes - got, 0);
        assert(n > 0 || errno == EINTR);
        got += n > 0 ? (size_t)n : 0;
    }
    for (size_t i = 0; i < sizeof bytes; i++) {
        (void)snprintf(token + i * 2, 3, "%02x", bytes[i]);
    }
}

/* A new session for `user`; its token in `token`. */
static void sessions_add(struct sessions *s, struct slice user, char token[TOKEN_SIZE])
{
    make_token(token);
    pthread_mutex_lock(&s->lock);
    struct session *at = &s->items[0];
    for (size_t i = 1; i < SESSIONS_MAX; i++) {
        if (s->items[i].ends_ms < at->ends_ms) {
            at = &s->items[i];
        }
    }
    at->ends_ms = clock_mono_ms() + (uint64_t)SESSION_S * 1000;
    memcpy(at->token, token, TOKEN_SIZE);
    (void)snprintf(at->user, sizeof at->user, "%.*s", (int)user.n, (const char *)user.p);
    pthread_mutex_unlock(&s->lock);
}

/* In time that does not depend on where they differ. */
static bool same_token(const char a[TOKEN_SIZE], const char b[TOKEN_SIZE])
{
    unsigned differ = 0;
    for (size_t i = 0; i < TOKEN_SIZE; i++) {
        differ |= (unsigned)(a[i] ^ b[i]);
    }
    return differ == 0;
}

/* Called with the lock. NULL when there is none. */
static struct session *find_locked(struct sessions *s, const char *token)
{
    uint64_t now = clock_mono_ms();
    if (strlen(token) != TOKEN_SIZE - 1) {
        return NULL;
    }
    for (size_t i = 0; i < SESSIONS_MAX; i++) {
        if (s->items[i].ends_ms > now && same_token(s->items[i].token, token)) {
            return &s->items[i];
        }
    }
    return NULL;
}

bool sessions_find(struct sessions *s, const char *token, char user[257])
{
    pthread_mutex_lock(&s->lock);
    const struct session *found = find_locked(s, token);
    if (found != NULL) {
        memcpy(user, found->user, sizeof found->user);
    }
    pthread_mutex_unlock(&s->lock);
    return found != NULL;
}

static void sessions_remove(struct sessions *s, const char *token)
{
    pthread_mutex_lock(&s->lock);
    struct session *found = find_locked(s, token);
    if (found != NULL) {
        *found = (struct session){0};
    }
    pthread_mutex_unlock(&s->lock);
}

/* ---- the count of failed logins ---- */

/* The source's address: IPv4 in whole, IPv6 by its /64. */
static uint64_t source_hash(struct request *rq)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(rq->conn, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
    struct sockaddr_in v4 = {0};
    struct sockaddr_in6 v6 = {0};
    if (info == NULL || info->client_addr == NULL) {
        return 0;
    }
    if (info->client_addr->sa_family == AF_INET) {
        memcpy(&v4, info->client_addr, sizeof v4);
        return hash64(slice_make(&v4.sin_addr, sizeof v4.sin_addr));
    }
    memcpy(&v6, info->client_addr, sizeof v6);
    return hash64(slice_make(&v6.sin6_addr, 8));
}

/* Counts an attempt; false when the source has none left in this minute. */
static bool take_attempt(struct sessions *s, uint64_t source)
{
    uint64_t now = clock_mono_ms();
    struct login_slot *slot = &s->slots[source % SLOTS];
    pthread_mutex_lock(&s->lock);
    if (now - slot->since_ms >= MINUTE_MS) {
        *slot = (struct login_slot){.since_ms = now};
    }
    bool allowed = slot->count < LOGINS_PER_MINUTE;
    slot->count += allowed;
    pthread_mutex_unlock(&s->lock);
    return allowed;
}

/* A login that succeeded does not count. */
static void give_back_attempt(struct sessions *s, uint64_t source)
{
    struct login_slot *slot = &s->slots[source % SLOTS];
    pthread_mutex_lock(&s->lock);
    slot->count -= slot->count > 0;
    pthread_mutex_unlock(&s->lock);
}

/* ---- handlers ---- */

static void reply_user(struct request *rq, struct slice user)
{
    json_t *o = json_object();
    json_object_set_new(o, "user", json_text(user));
    reply_json(rq, 200, o);
}

static void set_cookie(struct request *rq, const char *token, unsigned max_age_s)
{
    char cookie[256];
    (void)snprintf(cookie, sizeof cookie, "%s=%s; HttpOnly; SameSite=Strict; Path=/; Max-Age=%u",
                   session_cookie, token, max_age_s);
    reply_header(rq, MHD_HTTP_HEADER_SET_COOKIE, cookie);
}

static void log_in(struct request *rq, struct slice user, struct slice password)
{
    struct sessions *s = rq->api->sessions;
    uint64_t source = source_hash(rq);
    char token[TOKEN_SIZE];
    if (!take_attempt(s, source)) {
        reply_error(rq, 429, NULL, "too many failed logins from your address: wait a minute");
        reply_header(rq, "Retry-After", "60");
        return;
    }
    if (!auth_console_login(rq->api->o.auth, user, password)) {
        reply_error(rq, 401, NULL, "user or password is wrong");
        reply_header(rq, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
        return;
    }
    give_back_attempt(s, source);
    sessions_add(s, user, token);
    reply_user(rq, user);
    set_cookie(rq, token, SESSION_S);
}

void handle_login(struct request *rq)
{
    struct fields f;
    if (!request_params_done(rq)) {
        return;
    }
    fields_init(&f, rq);
    struct slice user = fields_text(&f, "user", 256);
    struct slice password = fields_text(&f, "password", 1024);
    if (fields_done(&f, rq)) {
        log_in(rq, user, password);
    }
    fields_fini(&f);
}

void handle_logout(struct request *rq)
{
    const char *token = MHD_lookup_connection_value(rq->conn, MHD_COOKIE_KIND, session_cookie);
    if (!request_params_done(rq)) {
        return;
    }
    if (token != NULL) {
        sessions_remove(rq->api->sessions, token);
    }
    reply_empty(rq, 204);
    set_cookie(rq, "", 0);
}

void handle_me(struct request *rq)
{
    if (request_params_done(rq)) {
        reply_user(rq, slice_str(rq->who == WHO_TOKEN ? "api-token" : rq->user));
    }
}
