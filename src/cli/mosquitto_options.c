/* What the options of the whole broker become, and what all kinds of options share; the table is mosquitto.def. */
#include <limits.h>
#include <stdlib.h>

#include "cli/mosquitto_priv.h"

enum { INFLIGHT_MAX = 65535, QUEUED_MAX = 100000000, INFLIGHT_DEFAULT = 20, PACKET_MIN = 64 };
static const long long packet_max = 256LL * 1024 * 1024;
static const long long bytes_max = 1LL << 40;

bool taking_flag(struct taking *t, bool *out)
{
    const char *v = t->n->value;
    bool yes = strcmp(v, "true") == 0 || strcmp(v, "1") == 0;
    bool no = strcmp(v, "false") == 0 || strcmp(v, "0") == 0;
    if (!yes && !no) {
        note_tell(t->n, IMPORT_BAD, "expected true or false");
    }
    *out = yes;
    return yes || no;
}

bool taking_number(struct taking *t, long long least, long long most, long long *out)
{
    bool good = text_number(t->n->value, least, most, out);
    if (!good) {
        note_tell(t->n, IMPORT_BAD, "expected a number between %lld and %lld", least, most);
    }
    return good;
}

/* Puts the row's key, and says so. Takes over `value`. */
static void put(struct taking *t, char *value)
{
    note_tell(t->n, IMPORT_TAKEN, "%s: %s", t->row->key, value);
    yaml_put(&t->s->map, t->row->key, value, t->n);
}

void take_none(struct taking *t)
{
    note_tell(t->n, IMPORT_NONE, "%s", t->row->told);
}

void take_ignored(struct taking *t)
{
    note_tell(t->n, IMPORT_IGNORED, "%s", t->row->told);
}

void take_if_default(struct taking *t)
{
    const char *v = t->n->value;
    const char *same = strcmp(v, "1") == 0 ? "true" : strcmp(v, "0") == 0 ? "false" : v;
    bool holds = strcmp(v, t->row->key) == 0 || strcmp(same, t->row->key) == 0;
    note_tell(t->n, holds ? IMPORT_SAME : IMPORT_NONE, "%s", holds ? "" : t->row->told);
}

void take_flag(struct taking *t)
{
    bool on;
    if (taking_flag(t, &on)) {
        put(t, text_printf("%s", on ? "on" : "off"));
    }
}

/* Seconds. */
void take_duration(struct taking *t)
{
    long long most = 0, n;
    (void)text_number(t->row->told, 0, LLONG_MAX, &most);
    if (taking_number(t, 0, most, &n)) {
        put(t, text_printf("%llds", n));
    }
}

void take_plugin(struct taking *t)
{
    bool dynamic = strstr(t->n->value, "dynamic_security") != NULL;
    t->im->plugins = true;
    note_tell(
        t->n, IMPORT_NONE, "%s",
        dynamic
            ? "the dynamic security plugin's clients, groups and roles are not imported: make its clients with "
              "`tracemq user add`, its roles' ACLs with `tracemq permission add`"
            : "there are no plugins; users and permissions are changed by `tracemq user`, `tracemq permission` or "
              "the HTTP API");
}

/* Begun lines are told where they end: mosquitto.c, listener_finish(), bridge_finish(). */
void take_structure(struct taking *t)
{
    (void)t;
}

/* mosquitto_access.c tells these, all together. */
void take_security(struct taking *t)
{
    (void)t;
}

/* ---- logs ---- */

void take_log_dest(struct taking *t)
{
    bool other = strncmp(t->n->value, "file", 4) == 0 || strcmp(t->n->value, "topic") == 0;
    bool topic = strcmp(t->n->value, "topic") == 0;
    note_tell(
        t->n, topic ? IMPORT_NONE : IMPORT_IGNORED, "%s",
        topic
            ? "the log is not published; the history is told as server-sent events by the HTTP API"
        : other
            ? "the log goes to standard error, which systemd's journal keeps (journalctl -u tracemq)"
            : "the log goes to standard error");
}

void take_log_type(struct taking *t)
{
    static const struct {
        const char *type, *level;
        unsigned rank;
    } types[] = {{"none", "error", 1},       {"error", "error", 1},      {"warning", "warn", 2},
                 {"notice", "info", 3},      {"information", "info", 3}, {"subscribe", "info", 3},
                 {"unsubscribe", "info", 3}, {"websockets", "info", 3},  {"debug", "debug", 4},
                 {"all", "debug", 4}};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        if (strcmp(types[i].type, t->n->value) != 0) {
            continue;
        }
        if (types[i].rank > t->im->log_rank) {
            t->im->log_rank = types[i].rank;
            yaml_put(&t->s->map, "log_level", yaml_quote(types[i].level), t->n);
        }
        note_tell(t->n, IMPORT_TAKEN, "log_level: %s, or what another log_type asks for",
                  types[i].level);
        return;
    }
    note_tell(t->n, IMPORT_BAD, "no type of log that Mosquitto has");
}

/* ---- limits ---- */

static long long inflight_of(const struct scope *s)
{
    const char *v = scope_value(s, "max_inflight_messages");
    long long n = INFLIGHT_DEFAULT;
    if (v != NULL && !text_number(v, 0, INFLIGHT_MAX, &n)) {
        n = INFLIGHT_DEFAULT;
    }
    return n == 0 ? INFLIGHT_MAX : n;
}

void take_inflight(struct taking *t)
{
    long long n;
    if (taking_number(t, 0, INFLIGHT_MAX, &n)) {
        put(t, text_printf("%lld", n == 0 ? INFLIGHT_MAX : n));
    }
}

/* Ours counts those in flight, too. */
void take_queued(struct taking *t)
{
    long long n;
    if (!taking_number(t, 0, QUEUED_MAX, &n)) {
        return;
    }
    long long in_flight = inflight_of(t->s);
    long long all = n == 0 || n + in_flight > QUEUED_MAX ? QUEUED_MAX : n + in_flight;
    put(t, text_printf("%lld", all));
    note_tell(t->n, IMPORT_TAKEN, "max_queued_messages: %lld (ours counts the %lld in flight, too)",
              all, in_flight);
}

void take_queued_bytes(struct taking *t)
{
    long long n;
    if (taking_number(t, 0, bytes_max, &n)) {
        put(t, text_printf("%lld", n == 0 ? bytes_max : n < 1024 ? 1024 : n));
    }
}

void take_packet_size(struct taking *t)
{
    long long n;
    if (taking_number(t, 0, packet_max, &n)) {
        put(t, text_printf("%lld", n == 0 ? packet_max : n < PACKET_MIN ? PACKET_MIN : n));
    }
}

/* A limit of payloads: room for the longest topic and as many properties is added. */
void take_message_size(struct taking *t)
{
    long long n, topic_and_properties = 128LL * 1024;
    if (strcmp(t->n->value, "0") == 0) {
        note_tell(t->n, IMPORT_SAME, "%s", "");
    } else if (scope_given(t->s, "max_packet_size") != NULL) {
        note_tell(t->n, IMPORT_NONE, "max_packet_size alone says how large a packet may be");
    } else if (taking_number(t, 0, packet_max, &n)) {
        long long most =
            n == 0 || n + topic_and_properties > packet_max ? packet_max : n + topic_and_properties;
        put(t, text_printf("%lld", most));
        note_tell(
            t->n, IMPORT_TAKEN,
            "max_packet_size: %lld (the packet with topic and properties; a larger one ends the connection, "
            "Mosquitto only drops it)",
            most);
    }
}

/* 14d, 2m (months), 1y. */
void take_expiration(struct taking *t)
{
    static const struct {
        char unit;
        int days; /* 0: hours */
    } units[] = {{'h', 0}, {'d', 1}, {'w', 7}, {'m', 30}, {'y', 365}};
    char *end = NULL;
    long n = strtol(t->n->value, &end, 10);
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        int days = units[i].days;
        if (end != t->n->value && *end == units[i].unit && end[1] == '\0' && n > 0 &&
            n <= (days == 0 ? 24 * 3650 : 3650 / days)) {
            put(t, days == 0 ? text_printf("%ldh", n) : text_printf("%ldd", n * days));
            return;
        }
    }
    note_tell(t->n, IMPORT_BAD, "expected a number of h, d, w, m or y, at most 10 years");
}

/* -1 is no limit; of listeners and of the broker. */
void take_connections(struct taking *t)
{
    long long n;
    if (!taking_number(t, -1, QUEUED_MAX, &n)) {
        return;
    }
    if (n <= 0) {
        note_tell(t->n, IMPORT_SAME, "%s", "");
    } else {
        put(t, text_printf("%lld", n));
    }
}

/* An option of ours for all listeners: the largest holds. */
void take_topic_alias(struct taking *t)
{
    struct yaml_map *top = &t->im->scopes[0]->map;
    long long n, before = -1;
    if (!taking_number(t, 0, 65535, &n)) {
        return;
    }
    for (size_t i = 0; i < top->count; i++) {
        if (strcmp(top->items[i].key, t->row->key) == 0) {
            (void)text_number(top->items[i].value, 0, 65535, &before);
        }
    }
    if (n > before) {
        yaml_put(top, t->row->key, text_printf("%lld", n), t->n);
    }
    note_tell(t->n, IMPORT_TAKEN, "%s: %lld, for all listeners (the largest holds)", t->row->key,
              n > before ? n : before);
}
