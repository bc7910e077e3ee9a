/*
 * The verdict: the cause's own sentence, made exact by the evidence that is there. One function per description
 * (table `tellers`); each starts from cause_info() and adds only what an entry of the evidence shows: where an
 * entry is absent, the clause that would need it is left out. "Probably" and "seem" mark what follows from
 * evidence but is not proven by it.
 *
 * Texts of a peer (user, topic, reason) are quoted, cut and cleared of control characters.
 */
#include "trace/verdict.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "trace/varint.h"

enum { QUOTE_MAX = 80, ACTIVE_MS = 5000, LAG_MS = 1000, HEX_SHOWN = 12 };

struct line {
    char *p;
    size_t n, cap;
};

struct facts {
    const struct record *r;
    const struct cause_info *info;
    bool has[EV_COUNT_OF_KEYS];
    struct evidence_item item[EV_COUNT_OF_KEYS];
};

typedef void (*teller)(const struct facts *f, struct line *text, struct line *next);

/* ---- words ---- */

__attribute__((format(printf, 2, 3))) static void say(struct line *l, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(l->p + l->n, l->cap - l->n, fmt, ap);
    va_end(ap);
    if (n > 0) {
        size_t room = l->cap - l->n - 1;
        l->n += (size_t)n < room ? (size_t)n : room;
    }
}

/* A text that filled its buffer ends with "…", between two characters. */
static void close_line(struct line *l)
{
    static const char dots[] = "…";
    if (l->n + 1 == l->cap) {
        struct slice all = slice_make(l->p, l->n);
        memcpy(l->p + utf8_cut(all, l->n + 1 - sizeof dots), dots, sizeof dots);
    }
}

static void say_quoted(struct line *l, struct slice s)
{
    size_t n = utf8_cut(s, QUOTE_MAX);
    say(l, "\"");
    for (size_t i = 0; i < n; i++) {
        bool odd = s.p[i] < 0x20 || s.p[i] == 0x7f || s.p[i] == '"';
        say(l, "%c", odd ? '?' : s.p[i]);
    }
    say(l, "%s", n < s.n ? "…\"" : "\"");
}

/* For our own words (packet types, rules, clauses, addresses). */
static void say_plain(struct line *l, struct slice s)
{
    size_t n = utf8_cut(s, RECORD_STR_MAX);
    for (size_t i = 0; i < n; i++) {
        say(l, "%c", s.p[i] < 0x20 || s.p[i] == 0x7f ? '?' : s.p[i]);
    }
}

static void say_ms(struct line *l, uint64_t ms)
{
    uint64_t s = ms / 1000;
    if (ms < 1000) {
        say(l, "%" PRIu64 " ms", ms);
    } else if (s < 600) {
        say(l, "%" PRIu64, s);
        if (ms % 1000 != 0) {
            say(l, ".%" PRIu64, ms % 1000 / 100);
        }
        say(l, " s");
    } else if (s < 2 * 3600) {
        say(l, "%" PRIu64 " min", s / 60);
    } else if (s < 2 * 86400) {
        say(l, "%" PRIu64 " h %" PRIu64 " min", s / 3600, s / 60 % 60);
    } else {
        say(l, "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    }
}

/* A sentence without its full stop, so that a clause can follow. */
static void say_open(struct line *l, const char *sentence)
{
    size_t n = strlen(sentence);
    say(l, "%.*s", (int)(n > 0 && sentence[n - 1] == '.' ? n - 1 : n), sentence);
}

static uint64_t number(const struct facts *f, enum evidence_key k)
{
    return f->has[k] ? f->item[k].u64 : 0;
}

static struct slice string(const struct facts *f, enum evidence_key k)
{
    return f->has[k] ? f->item[k].bytes : slice_make(NULL, 0);
}

/* ---- clauses that several descriptions share ---- */

static void say_duration(const struct facts *f, struct line *l)
{
    if (f->has[EV_DURATION_MS]) {
        say(l, " after ");
        say_ms(l, number(f, EV_DURATION_MS));
    }
}

static void say_last_packet(const struct facts *f, struct line *l)
{
    if (f->has[EV_LAST_IN_TYPE]) {
        say(l, "; its last packet was ");
        say_plain(l, string(f, EV_LAST_IN_TYPE));
        if (f->has[EV_LAST_IN_AGO_MS]) {
            say(l, " ");
            say_ms(l, number(f, EV_LAST_IN_AGO_MS));
            say(l, " before");
        }
    }
}

static void say_user(const struct facts *f, struct line *l)
{
    struct slice user = f->has[EV_USER] ? string(f, EV_USER) : f->r->user;
    if (user.n > 0) {
        say(l, " (user ");
        say_quoted(l, user);
        say(l, ")");
    }
}

static void say_rule(const struct facts *f, struct line *l)
{
    if (f->has[EV_RULE]) {
        say(l, "; decided by: ");
        say_plain(l, string(f, EV_RULE));
    }
}

static void say_limit(const struct facts *f, struct line *l)
{
    if (f->has[EV_LIMIT] && f->has[EV_ACTUAL]) {
        say(l, " (%" PRIu64 ", the limit is %" PRIu64 ")", number(f, EV_ACTUAL),
            number(f, EV_LIMIT));
    } else if (f->has[EV_LIMIT]) {
        say(l, " (the limit is %" PRIu64 ")", number(f, EV_LIMIT));
    }
}

static void say_words(const struct facts *f, struct line *l)
{
    if (f->has[EV_TEXT]) {
        say(l, ": ");
        say_plain(l, string(f, EV_TEXT));
    }
}

static void say_first_bytes(const struct facts *f, struct line *l)
{
    struct slice b = string(f, EV_FIRST_BYTES);
    if (b.n > 0) {
        say(l, "; first bytes");
        for (size_t i = 0; i < b.n && i < HEX_SHOWN; i++) {
            say(l, " %02x", b.p[i]);
        }
        say(l, "%s", b.n > HEX_SHOWN ? " …" : "");
    }
    if (f->has[EV_FIRST_BYTES_LOOK]) {
        say(l, "; they look like ");
        say_plain(l, string(f, EV_FIRST_BYTES_LOOK));
    }
}

static void say_will(const struct facts *f, struct line *l)
{
    if (number(f, EV_WILL_SENT) != 0) {
        say(l, " Its will was published.");
    }
    if (number(f, EV_WILL_DELAY) != 0) {
        say(l, " Its will goes out after %llu s, or when its session ends, unless it returns.",
            (unsigned long long)number(f, EV_WILL_DELAY));
    }
}

/* ---- both ends of a conflict ---- */

/* The address without its port. */
static struct slice host_of(struct slice peer)
{
    for (size_t i = peer.n; i > 0; i--) {
        if (peer.p[i - 1] == ':') {
            return slice_make(peer.p, i - 1);
        }
    }
    return peer;
}

/* How long the replaced side had been silent; false when nothing tells. */
static bool old_side_silence(const struct facts *f, uint64_t *ms)
{
    static const enum evidence_key keys[] = {EV_OTHER_SILENT_MS, EV_SILENT_MS, EV_LAST_IN_AGO_MS};
    /* A `connect` record's own silence is the new side's. */
    size_t n = f->info->action == ACTION_CONNECT ? 1 : sizeof keys / sizeof *keys;
    for (size_t i = 0; i < n; i++) {
        if (f->has[keys[i]]) {
            *ms = number(f, keys[i]);
            return true;
        }
    }
    return false;
}

enum guess { GUESS_NONE, GUESS_RECONNECT, GUESS_MOVED, GUESS_DOUBLE, GUESS_SHARED };

static enum guess guess_conflict(const struct facts *f, bool has_silence, uint64_t silent_ms)
{
    struct slice other = string(f, EV_OTHER_PEER);
    if (!has_silence || other.n == 0 || f->r->peer.n == 0) {
        return GUESS_NONE;
    }
    bool same = slice_eq(host_of(other), host_of(f->r->peer));
    if (silent_ms >= ACTIVE_MS) {
        return same ? GUESS_RECONNECT : GUESS_MOVED;
    }
    return same ? GUESS_DOUBLE : GUESS_SHARED;
}

static const char *guess_text(enum guess g)
{
    switch (g) {
    case GUESS_NONE:
        return "";
    case GUESS_RECONNECT:
        return ": probably the same device reconnecting (same address)";
    case GUESS_MOVED:
        return ": another address; perhaps the same device on a new network, perhaps a second device";
    case GUESS_DOUBLE:
        return ": the same address; probably one device that connects twice, or two behind one "
               "address";
    case GUESS_SHARED:
        return ": two devices seem to share this client ID";
    }
    return "";
}

static const char *guess_next(enum guess g)
{
    switch (g) {
    case GUESS_NONE:
        return NULL;
    case GUESS_RECONNECT:
        return "Usually harmless: the device lost its old connection without telling. Look at the "
               "network if it happens often.";
    case GUESS_MOVED:
        return "See whether the addresses alternate: if they do, two devices use this client ID.";
    case GUESS_DOUBLE:
        return "Let the device close its old connection before it opens a new one; look for a "
               "second process with the same client ID.";
    case GUESS_SHARED:
        return "Find the device at each address and give each its own client ID.";
    }
    return NULL;
}

static void tell_conflict(const struct facts *f, struct line *text, struct line *next)
{
    uint64_t silent_ms = 0;
    bool has_silence = old_side_silence(f, &silent_ms);
    enum guess g = guess_conflict(f, has_silence, silent_ms);
    say(text, "Replaced by a new connection with the same client ID");
    if (f->has[EV_OTHER_PEER]) {
        say(text, " from ");
        say_plain(text, string(f, EV_OTHER_PEER));
    }
    if (f->r->cause == CAUSE_TAKEOVER_OTHER_NODE) {
        say(text, " on another node");
    }
    if (has_silence) {
        bool active = silent_ms < ACTIVE_MS;
        say(text, "%s", active ? " while this one was active, " : ", after ");
        say_ms(text, silent_ms);
        say(text, "%s", active ? " before" : " of silence");
    }
    say(text, "%s", guess_text(g));
    struct slice user = string(f, EV_OTHER_USER);
    if (user.n > 0 && f->r->user.n > 0 && !slice_eq(user, f->r->user)) {
        say(text, "; the user names differ: ");
        say_quoted(text, f->r->user);
        say(text, ", then ");
        say_quoted(text, user);
    }
    say(text, ".");
    say_will(f, text);
    const char *advice = guess_next(g);
    say(next, "%s", advice != NULL ? advice : f->info->next);
}

static void tell_accepted(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    enum guess g = GUESS_NONE;
    if (f->has[EV_OTHER_CHANNEL]) {
        uint64_t silent_ms = 0;
        bool has_silence = old_side_silence(f, &silent_ms);
        g = guess_conflict(f, has_silence, silent_ms);
        say(text, "; it replaced an open connection");
        if (f->has[EV_OTHER_PEER]) {
            say(text, " from ");
            say_plain(text, string(f, EV_OTHER_PEER));
        }
        if (has_silence) {
            say(text, ", silent for ");
            say_ms(text, silent_ms);
        }
        say(text, "%s", guess_text(g));
    }
    say(text, ".");
    const char *advice = guess_next(g);
    say(next, "%s", advice != NULL ? advice : f->info->next);
}

/* ---- refused ---- */

static void tell_not_authorized(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    say_user(f, text);
    say_rule(f, text);
    say_words(f, text);
    say(text, ".");
    say(next, "%s", f->info->next);
}

static void tell_topic(const struct facts *f, struct line *text, struct line *next)
{
    if (f->has[EV_TOPIC]) {
        const char *act = f->r->cause == CAUSE_TOPIC_PUBLISH ? "The device may not publish to "
                          : f->r->cause == CAUSE_TOPIC_SUBSCRIBE
                              ? "The device may not subscribe to "
                              : "The device's will may not go to ";
        say(text, "%s", act);
        say_quoted(text, string(f, EV_TOPIC));
        if (f->has[EV_QOS]) {
            say(text, " (QoS %" PRIu64 ")", number(f, EV_QOS));
        }
    } else {
        say_open(text, f->info->text);
    }
    say_user(f, text);
    say_rule(f, text);
    say(text, ".");
    say(next, "%s", f->info->next);
}

static void tell_invalid(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    say_limit(f, text);
    if (f->has[EV_PACKET_TYPE]) {
        say(text, "; the packet: ");
        say_plain(text, string(f, EV_PACKET_TYPE));
    }
    if (f->has[EV_CLAUSE]) {
        say(text, "; broken: ");
        say_plain(text, string(f, EV_CLAUSE));
    }
    if (f->has[EV_OFFSET]) {
        say(text, ", at byte %" PRIu64, number(f, EV_OFFSET));
    }
    if (f->has[EV_EXPECTED]) {
        say(text, "; expected: ");
        say_plain(text, string(f, EV_EXPECTED));
    }
    say_first_bytes(f, text);
    say_words(f, text);
    say(text, ".");
    say(next, "%s", f->info->next);
}

static void tell_unidentified(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    if (f->has[EV_HANDSHAKE_MS]) {
        say(text, " (");
        say_ms(text, number(f, EV_HANDSHAKE_MS));
        say(text, " after it was opened)");
    }
    if (f->has[EV_EXPECTED]) {
        say(text, "; expected: ");
        say_plain(text, string(f, EV_EXPECTED));
    }
    say_first_bytes(f, text);
    say_words(f, text);
    say(text, ".");
    say(next, "%s", f->info->next);
}

/* ---- lost ---- */

/* What TCP knows: bytes that were never acknowledged point at path or device; bytes sent during the silence
 * and acknowledged show that the other end's TCP lived. */
static void say_tcp_of_silence(const struct facts *f, struct line *text, struct line *next)
{
    bool sent_since = f->has[EV_LAST_OUT_AGO_MS] && f->has[EV_LAST_IN_AGO_MS] &&
                      number(f, EV_LAST_OUT_AGO_MS) < number(f, EV_LAST_IN_AGO_MS);
    if (number(f, EV_UNACKED_BYTES) > 0) {
        say(text,
            "; %" PRIu64 " bytes of ours were never acknowledged: the path or the device died, not "
            "the application",
            number(f, EV_UNACKED_BYTES));
        say(next, "Look at the device's power and network at that time.");
    } else if (f->has[EV_UNACKED_BYTES] && sent_since) {
        say(text, "; what we sent ");
        say_ms(text, number(f, EV_LAST_OUT_AGO_MS));
        say(text, " before was acknowledged: the other end's TCP lived then, the application said "
                  "nothing");
        say(next, "Look at what blocked the device's application from sending PINGREQ.");
    } else {
        say(next, "%s", f->info->next);
    }
}

static void tell_no_heart(const struct facts *f, struct line *text, struct line *next)
{
    if (!f->has[EV_SILENT_MS]) {
        say_open(text, f->info->text);
    } else {
        say(text, "The device was silent for ");
        say_ms(text, number(f, EV_SILENT_MS));
        uint64_t keepalive =
            f->has[EV_KEEPALIVE_GRANTED] ? number(f, EV_KEEPALIVE_GRANTED) : f->r->keepalive;
        if (f->has[EV_DEADLINE_MS]) {
            say(text, " (limit ");
            say_ms(text, number(f, EV_DEADLINE_MS));
            say(text, " at keepalive %" PRIu64 " s)", keepalive);
        }
    }
    say_last_packet(f, text);
    say_tcp_of_silence(f, text, next);
    say(text, ".");
    if (number(f, EV_LOOP_LAG_MS) >= LAG_MS) {
        say(text, " The broker itself was late by ");
        say_ms(text, number(f, EV_LOOP_LAG_MS));
        say(text, " in that round.");
    }
    say_will(f, text);
}

static void say_retransmits(const struct facts *f, struct line *l)
{
    if (number(f, EV_TCP_RETRANSMITS) > 0) {
        say(l, "; we had sent the last segment again %" PRIu64 " times without an answer",
            number(f, EV_TCP_RETRANSMITS));
    } else if (number(f, EV_UNACKED_BYTES) > 0) {
        say(l, "; %" PRIu64 " bytes of ours were not acknowledged", number(f, EV_UNACKED_BYTES));
    }
}

/* Also for Socket IOException: the cause's sentence tells which. */
static void tell_lost(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    say_duration(f, text);
    if (f->has[EV_ERRNO]) {
        say(text, " (");
        say_plain(text, string(f, EV_ERRNO));
        say(text, ")");
    }
    say_words(f, text);
    say_last_packet(f, text);
    say_retransmits(f, text);
    if (number(f, EV_INFLIGHT) > 0) {
        say(text, "; it had not acknowledged %" PRIu64 " messages", number(f, EV_INFLIGHT));
    }
    say(text, ".");
    say_will(f, text);
    say(next, "%s", f->info->next);
}

/* ---- by intent ---- */

static void tell_disconnected(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    say_duration(f, text);
    if (f->has[EV_REASON_CODE]) {
        say(text, ", reason code 0x%02" PRIx64, number(f, EV_REASON_CODE));
    }
    if (f->has[EV_REASON_STRING]) {
        say(text, ", in its own words ");
        say_quoted(text, string(f, EV_REASON_STRING));
    }
    say(text, ".");
    if (number(f, EV_QUEUED) > 0) {
        say(text, " %" PRIu64 " messages wait for it in its session.", number(f, EV_QUEUED));
    }
    say(next, "%s", f->info->next);
}

static void tell_shutdown(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    uint64_t alive_us = number(f, EV_LAST_ALIVE);
    if (alive_us > 0 && alive_us <= f->r->time_us) {
        say(text, "; it was last known connected ");
        say_ms(text, (f->r->time_us - alive_us) / 1000);
        say(text, " before this record was written, at the broker's next start");
    }
    say_words(f, text);
    say(text, ".");
    say(next, "%s", f->info->next);
}

/* The limit of a slow consumer is a time. */
static void say_stalled(const struct facts *f, struct line *l)
{
    say(l, ": its TCP took not one byte for ");
    say_ms(l, number(f, EV_STALLED_MS));
    say(l, " (the limit is ");
    say_ms(l, number(f, EV_LIMIT));
    say(l, "), %" PRIu64 " bytes wait in the broker", number(f, EV_UNSENT_BYTES));
    if (number(f, EV_KERNEL_BYTES) > 0) {
        say(l, " and %" PRIu64 " in its kernel", number(f, EV_KERNEL_BYTES));
    }
    if (f->has[EV_LAST_IN_AGO_MS] && number(f, EV_LAST_IN_AGO_MS) < number(f, EV_STALLED_MS)) {
        say(l, "; it did send something ");
        say_ms(l, number(f, EV_LAST_IN_AGO_MS));
        say(l, " before: it lives, and does not read");
    }
    if (number(f, EV_DROPPED) > 0) {
        say(l, "; %" PRIu64 " messages were dropped for it", number(f, EV_DROPPED));
    }
}

static void tell_closed_by_server(const struct facts *f, struct line *text, struct line *next)
{
    say_open(text, f->info->text);
    if (f->has[EV_STALLED_MS]) {
        say_stalled(f, text);
    } else {
        say_limit(f, text);
    }
    if (f->has[EV_WINDOW_MS]) {
        say(text, " within ");
        say_ms(text, number(f, EV_WINDOW_MS));
    }
    if (f->has[EV_BY]) {
        say(text, "; by ");
        say_plain(text, string(f, EV_BY));
    }
    if (number(f, EV_QUEUED) > 0) {
        say(text, "; %" PRIu64 " messages were queued for it", number(f, EV_QUEUED));
    }
    say_rule(f, text);
    say_words(f, text);
    say(text, ".");
    say(next, "%s", f->info->next);
}

/* ---- which ---- */

static const teller tellers[] = {
    [DESC_ACCEPTED] = tell_accepted,
    [DESC_NOT_AUTHORIZED] = tell_not_authorized,
    [DESC_CLIENT_ID_CONFLICT] = tell_conflict,
    [DESC_TOPIC_AUTH_FAILED] = tell_topic,
    [DESC_NO_HEART] = tell_no_heart,
    [DESC_CLOSED_BY_CLIENT] = tell_lost,
    [DESC_SOCKET_IO_EXCEPTION] = tell_lost,
    [DESC_DISCONNECTED_BY_CLIENT] = tell_disconnected,
    [DESC_SERVER_SHUTDOWN] = tell_shutdown,
    [DESC_INVALID_PARAM] = tell_invalid,
    [DESC_CLOSED_BY_SERVER] = tell_closed_by_server,
    [DESC_UNIDENTIFIED] = tell_unidentified,
};

static void say_span(const struct facts *f, struct line *l)
{
    uint64_t from = number(f, EV_FIRST_TIME);
    uint64_t to = number(f, EV_LAST_TIME);
    if (f->has[EV_FIRST_TIME] && f->has[EV_LAST_TIME] && to >= from) {
        say(l, " within ");
        say_ms(l, (to - from) / 1000);
    }
}

static void tell_gap(const struct facts *f, struct line *text, struct line *next)
{
    say(text, "%" PRIu64 " records", number(f, EV_COUNT));
    say_span(f, text);
    say(text, " could not be kept");
    say_words(f, text);
    say(text, ".");
    say(next, "Look at the disk: its room, and the broker's log at that time.");
}

void verdict_make(const struct record *r, struct verdict *out)
{
    struct facts f = {.r = r, .info = cause_info(r->cause)};
    struct line text = {.p = out->text, .cap = sizeof out->text};
    struct line next = {.p = out->next, .cap = sizeof out->next};
    out->text[0] = out->next[0] = '\0';
    struct slice rest = r->detail;
    struct evidence_item it;
    while (evidence_next(&rest, &it)) {
        f.has[it.key] = true;
        f.item[it.key] = it;
    }
    if ((r->flags & RECORD_GAP) != 0) {
        tell_gap(&f, &text, &next);
        return;
    }
    tellers[f.info->description](&f, &text, &next);
    if ((r->flags & RECORD_COLLAPSED) != 0 && f.has[EV_COUNT]) {
        say(&text, " This row stands for %" PRIu64 " of them", number(&f, EV_COUNT));
        say_span(&f, &text);
        say(&text, ".");
    }
    close_line(&text);
    close_line(&next);
}
