/* Bridges: an entry of `bridges:` for each `connection`. */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/mosquitto_priv.h"

/* Takes over `value`. */
static void put(struct taking *t, char *value)
{
    note_tell(t->n, IMPORT_TAKEN, "%s: %s", t->row->key, t->n->secret ? "***" : value);
    yaml_put(&t->s->map, t->row->key, value, t->n);
}

/* A bridge's name here has letters, digits, '_', '.' and '-', 64 at most. free() it. */
static char *bridge_name(const char *theirs)
{
    char *name = mem_strndup(theirs, strnlen(theirs, 64));
    for (char *p = name; *p != '\0'; p++) {
        bool good = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                    (*p >= '0' && *p <= '9') || *p == '_' || *p == '.' || *p == '-';
        *p = good ? *p : '_';
    }
    return name;
}

/* What Mosquitto has without a line for it, where it is not what we have; the place of keys that are known late. */
void bridge_begin(struct import *im, struct scope *s)
{
    char *id = text_printf("%s.%s", im->io->hostname, s->note->value);
    char *name = bridge_name(s->note->value);
    yaml_put(&s->map, "name", yaml_quote(name), s->note);
    free(name);
    yaml_put(&s->map, "address", yaml_quote(""), NULL);
    yaml_put(&s->map, "protocol", yaml_quote("mqtt"), NULL);
    yaml_put(&s->map, "version", yaml_quote("3.1.1"), NULL);
    yaml_put(&s->map, "client_id", yaml_quote(id), NULL);
    free(id);
}

void take_bridge_text(struct taking *t)
{
    t->im->yaml_secret = t->im->yaml_secret || t->n->secret;
    put(t, yaml_quote(t->n->value));
}

/* HOST, HOST:PORT, with IPv6 in brackets or not. NULL when the port is none. */
static char *with_port(struct slice word)
{
    char *s = mem_strndup(word.p, word.n);
    char *colon = strrchr(s, ':');
    char *out = NULL;
    long long port;
    if (colon == NULL || (s[0] == '[' && colon[-1] != ']')) {
        out = text_printf("%s:1883", s);
    } else if (text_number(colon + 1, 1, 65535, &port) && colon != s) {
        *colon = '\0';
        bool bare = s[0] != '[' && strchr(s, ':') != NULL;
        out = text_printf(bare ? "[%s]:%lld" : "%s:%lld", s, port);
    }
    free(s);
    return out;
}

void take_bridge_address(struct taking *t)
{
    struct slice rest = slice_str(t->n->value);
    while (rest.n > 0 && rest.p[0] != '#') {
        char *address = with_port(text_word(&rest));
        if (address == NULL) {
            note_tell(t->n, IMPORT_BAD, "expected HOST or HOST:PORT");
            return;
        }
        buf_put_slice(&t->s->address, slice_str(buf_len(&t->s->address) > 0 ? "," : ""));
        buf_put_slice(&t->s->address, slice_str(address));
        free(address);
    }
    struct slice all = buf_slice(&t->s->address);
    char *text = mem_strndup(all.p, all.n);
    yaml_put(&t->s->map, "address", yaml_quote(text), t->n);
    note_tell(t->n, IMPORT_TAKEN, "address: %s", text);
    free(text);
}

void take_bridge_version(struct taking *t)
{
    static const struct {
        const char *theirs, *ours;
    } versions[] = {{"mqttv31", "3.1"}, {"mqttv311", "3.1.1"}, {"mqttv50", "5"}};
    for (size_t i = 0; i < sizeof versions / sizeof versions[0]; i++) {
        if (strcmp(t->n->value, versions[i].theirs) == 0) {
            put(t, yaml_quote(versions[i].ours));
            return;
        }
    }
    note_tell(t->n, IMPORT_BAD, "expected mqttv31, mqttv311 or mqttv50");
}

void take_bridge_clean(struct taking *t)
{
    bool clean;
    if (taking_flag(t, &clean)) {
        put(t, text_printf("%s", clean ? "on" : "off"));
    }
}

/* Mosquitto does not look at the name then; we have all or nothing. */
void take_bridge_insecure(struct taking *t)
{
    bool insecure;
    if (taking_flag(t, &insecure)) {
        put(t, text_printf("%s", insecure ? "off" : "on"));
    }
    if (t->n->outcome == IMPORT_TAKEN && insecure) {
        note_tell(
            t->n, IMPORT_TAKEN,
            "verify: off (the certificate is not checked at all, Mosquitto leaves out its name only; server_name says "
            "which name is good)");
    }
}

/* bridge_finish() makes it TLS. */
void take_bridge_os_certs(struct taking *t)
{
    bool on;
    if (taking_flag(t, &on)) {
        note_tell(t->n, IMPORT_TAKEN,
                  on ? "protocol: mqtts, with the system's authorities" : "no TLS by it");
    }
}

/* One number is a constant, two are the first and the longest delay. */
void take_bridge_restart(struct taking *t)
{
    struct slice rest = slice_str(t->n->value);
    struct slice word = text_word(&rest);
    char *first = mem_strndup(word.p, word.n);
    char *second = rest.n == 0 ? mem_strndup(word.p, word.n) : mem_strndup(rest.p, rest.n);
    long long least = 0, most = 0;
    if (text_number(first, 1, 3600, &least) && text_number(second, least, 86400, &most)) {
        yaml_put(&t->s->map, "retry_min", text_printf("%llds", least), t->n);
        yaml_put(&t->s->map, "retry_max", text_printf("%llds", most), t->n);
        note_tell(t->n, IMPORT_TAKEN, "retry_min: %llds, retry_max: %llds", least, most);
    } else {
        note_tell(
            t->n, IMPORT_BAD,
            "expected one or two numbers of seconds, the smaller one first, at most 3600 and 86400");
    }
    free(first);
    free(second);
}

/* Without TLS by certificates, the bridge would speak in the clear. */
void take_bridge_psk(struct taking *t)
{
    t->s->left_out = true;
    note_tell(
        t->n, IMPORT_NONE,
        "there is no TLS with pre-shared keys: the bridge is left out; the remote broker must have a certificate");
}

/* ---- topics ---- */

static char *word_text(struct slice *rest)
{
    struct slice w = text_word(rest);
    return slice_eq(w, slice_str("\"\"")) ? mem_strndup("", 0) : mem_strndup(w.p, w.n);
}

/* The words of "pattern [[[out|in|both] qos] local-prefix remote-prefix]". */
enum { WORD_PATTERN, WORD_DIRECTION, WORD_QOS, WORD_LOCAL, WORD_REMOTE, WORDS };

static const char *topic_problem(char *const *w, struct slice rest)
{
    static const char *const directions[] = {"", "out", "in", "both"};
    bool known = false;
    long long qos = 0;
    for (size_t i = 0; i < sizeof directions / sizeof directions[0]; i++) {
        known = known || strcmp(w[WORD_DIRECTION], directions[i]) == 0;
    }
    if (!known) {
        return "the direction must be out, in or both";
    }
    if (w[WORD_QOS][0] != '\0' && !text_number(w[WORD_QOS], 0, 2, &qos)) {
        return "the QoS must be 0, 1 or 2";
    }
    if (rest.n > 0) {
        return "too many words";
    }
    if (strpbrk(w[WORD_LOCAL], "+#") != NULL || strpbrk(w[WORD_REMOTE], "+#") != NULL) {
        return "prefixes have no wildcards";
    }
    if (w[WORD_PATTERN][0] == '\0' && (w[WORD_LOCAL][0] == '\0' || w[WORD_REMOTE][0] == '\0')) {
        return "an empty pattern wants a local and a remote topic";
    }
    return w[WORD_PATTERN][0] == '\0' || text_is_filter(slice_str(w[WORD_PATTERN]))
               ? NULL
               : "the pattern is no topic filter";
}

void take_bridge_topic(struct taking *t)
{
    struct slice rest = slice_str(t->n->value);
    char *w[WORDS], *quoted[WORDS];
    for (size_t i = 0; i < WORDS; i++) {
        if (i == WORD_LOCAL && rest.n > 0 && rest.p[0] == '#') {
            rest.n = 0; /* a comment */
        }
        w[i] = word_text(&rest);
        quoted[i] = yaml_quote(w[i]);
    }
    const char *problem = topic_problem(w, rest);
    if (problem != NULL) {
        note_tell(t->n, IMPORT_BAD, "%s", problem);
    } else {
        const char *direction = w[WORD_DIRECTION][0] == '\0' ? "out" : w[WORD_DIRECTION];
        const char *qos = w[WORD_QOS][0] == '\0' ? "0" : w[WORD_QOS];
        char *key = text_printf("%zu", t->s->topics.count);
        char *flow = text_printf(
            "{topic: %s, direction: %s, qos: %s, local_prefix: %s, remote_prefix: %s}",
            quoted[WORD_PATTERN], direction, qos, quoted[WORD_LOCAL], quoted[WORD_REMOTE]);
        note_tell(t->n, IMPORT_TAKEN, "topics: %s", flow);
        yaml_put(&t->s->topics, key, flow, t->n);
        free(key);
    }
    for (size_t i = 0; i < WORDS; i++) {
        free(w[i]);
        free(quoted[i]);
    }
}

/* ---- the whole ---- */

void bridge_finish(struct import *im, struct scope *s)
{
    (void)im;
    bool tls = scope_given(s, "bridge_cafile") != NULL || scope_given(s, "bridge_capath") != NULL ||
               scope_true(s, "bridge_tls_use_os_certs");
    if (tls) {
        yaml_put(&s->map, "protocol", yaml_quote("mqtts"), NULL);
    }
    if (!scope_true(s, "cleansession") &&
        scope_given(s, "bridge_session_expiry_interval") == NULL) {
        yaml_put(&s->map, "session_expiry", yaml_quote("0"),
                 NULL); /* what waits has no end there */
    }
    if (s->left_out) {
        note_tell(s->note, IMPORT_NONE, "the bridge is left out, see its other lines");
    } else if (buf_len(&s->address) == 0 || s->topics.count == 0) {
        s->left_out = true;
        note_tell(s->note, IMPORT_BAD, "%s is missing; the bridge is left out",
                  buf_len(&s->address) == 0 ? "address" : "topic");
    } else {
        note_tell(s->note, IMPORT_TAKEN, "bridges: %s over %s", s->map.items[0].value,
                  tls ? "mqtts" : "mqtt");
    }
}

void bridges_write(const struct import *im, struct buf *out)
{
    bool first = true;
    for (size_t i = 0; i < im->scope_count; i++) {
        const struct scope *s = im->scopes[i];
        if (s->kind != WHERE_BRIDGE || s->left_out) {
            continue;
        }
        buf_put_slice(out, slice_str(first ? "\nbridges:\n" : ""));
        yaml_write(out, &s->map, "  - ", "    ");
        buf_put_slice(out, slice_str("    topics:\n"));
        for (size_t k = 0; k < s->topics.count; k++) {
            const struct yaml_item *item = &s->topics.items[k];
            char *line = text_printf("      - %s  # %s\n", item->value, item->from);
            buf_put_slice(out, slice_str(line));
            free(line);
        }
        first = false;
    }
}
