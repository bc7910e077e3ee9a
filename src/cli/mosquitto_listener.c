/* Listeners: what an entry of `listeners:` needs is known when all of a listener's lines are. */
#include <stdlib.h>

#include "base/mem.h"
#include "cli/mosquitto_priv.h"

static void put(struct taking *t, const char *value, const char *told)
{
    yaml_put(&t->s->map, t->row->key, yaml_quote(value), t->n);
    note_tell(t->n, IMPORT_TAKEN, "%s: %s%s", t->row->key, value, told);
}

static const char *relative_path(const char *path)
{
    return path[0] == '/' ? "" : " (a relative path: write it with its directory)";
}

static bool has_tls(const struct scope *s)
{
    return scope_given(s, "certfile") != NULL && scope_given(s, "keyfile") != NULL;
}

/* listener_finish() says what it became, where the address is one. */
void take_listener_part(struct taking *t)
{
    note_tell(t->n, IMPORT_NONE, "the listener is left out, see its other lines");
}

void take_certificate(struct taking *t)
{
    if (scope_given(t->s, t->row->told) == NULL) {
        t->s->left_out = true;
        note_tell(t->n, IMPORT_BAD, "%s is missing; the listener is left out", t->row->told);
        return;
    }
    put(t, t->n->value, relative_path(t->n->value));
}

/* Without require_certificate Mosquitto does not ask clients for one. */
void take_client_cert(struct taking *t)
{
    bool required = scope_true(t->s, "require_certificate");
    bool flag;
    if (strcmp(t->row->name, "require_certificate") == 0) {
        if (!taking_flag(t, &flag)) {
            t->s->left_out = true;
        } else if (required && !has_tls(t->s)) {
            note_tell(t->n, IMPORT_IGNORED, "the listener has no certfile, so no TLS");
        } else if (required && scope_given(t->s, "cafile") == NULL) {
            t->s->left_out = true;
            note_tell(
                t->n, IMPORT_BAD,
                "the listener is left out: client certificates need a file of authorities (client_ca)");
        } else {
            put(t, required ? "required" : "none", "");
        }
    } else if (!has_tls(t->s)) {
        note_tell(t->n, IMPORT_IGNORED, "the listener has no certfile, so no TLS");
    } else if (!required) {
        note_tell(t->n, IMPORT_IGNORED,
                  "without require_certificate, clients are not asked for one");
    } else {
        put(t, t->n->value, relative_path(t->n->value));
    }
}

void take_identity(struct taking *t)
{
    bool on;
    if (!taking_flag(t, &on)) {
        t->s->left_out = true;
    } else if (!on) {
        note_tell(t->n, IMPORT_SAME, "%s", "");
    } else if (!has_tls(t->s) || !scope_true(t->s, "require_certificate")) {
        note_tell(t->n, IMPORT_IGNORED, "without require_certificate there is no name to take");
    } else {
        put(t, "cn",
            "; each such user must exist: those of the ACL file are made, others want `tracemq user add`");
    }
}

void take_tls_version(struct taking *t)
{
    const char *v = t->n->value;
    if (!has_tls(t->s)) {
        note_tell(t->n, IMPORT_IGNORED, "the listener has no certfile, so no TLS");
    } else if (strcmp(v, "tlsv1.3") == 0) {
        yaml_put(&t->s->map, t->row->key, text_printf("\"1.3\""), t->n);
        note_tell(t->n, IMPORT_TAKEN, "min_version: 1.3");
    } else if (strcmp(v, "tlsv1.2") == 0) {
        yaml_put(&t->s->map, t->row->key, text_printf("\"1.2\""), t->n);
        note_tell(t->n, IMPORT_TAKEN, "min_version: 1.2");
    } else {
        note_tell(t->n, IMPORT_NONE, "TLS 1.2 is the oldest that is spoken");
    }
}

void take_psk(struct taking *t)
{
    if (!has_tls(t->s)) {
        t->s->left_out = true;
    }
    note_tell(
        t->n, IMPORT_NONE,
        "there is no TLS with pre-shared keys%s; give these devices certificates, or user names and passwords over TLS",
        t->s->left_out ? ": the listener is left out" : "");
}

/* "https://a.example:8443": what a browser says of a page. */
static bool is_origin(const char *s)
{
    long long port;
    size_t skip = strncmp(s, "http://", 7) == 0 ? 7 : strncmp(s, "https://", 8) == 0 ? 8 : 0;
    if (skip == 0) {
        return false;
    }
    const char *host = s + skip;
    size_t n = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-");
    return n > 0 &&
           (host[n] == '\0' || (host[n] == ':' && text_number(host + n + 1, 1, 65535, &port)));
}

void take_origin(struct taking *t)
{
    const char *v = t->n->value;
    if (!is_origin(v)) {
        note_tell(t->n, IMPORT_NONE,
                  "an origin is http://HOST or https://HOST, with a port or without");
        return;
    }
    const char *before = NULL;
    for (size_t i = 0; i < t->s->map.count; i++) {
        const struct yaml_item *item = &t->s->map.items[i];
        before = strcmp(item->key, t->row->key) == 0 ? item->value : before;
    }
    char *all = before == NULL ? text_printf("\"%s\"", v)
                               : text_printf("%.*s,%s\"", (int)strlen(before) - 1, before, v);
    note_tell(t->n, IMPORT_TAKEN, "%s: %s", t->row->key, all);
    yaml_put(&t->s->map, t->row->key, all, t->n);
}

/* Mosquitto believes whoever connects. */
void take_proxy(struct taking *t)
{
    long long version;
    if (!taking_number(t, 0, 2, &version)) {
        t->s->left_out = true;
    } else if (version == 0) {
        note_tell(t->n, IMPORT_SAME, "%s", "");
    } else {
        yaml_put(&t->s->map, "proxy_protocol", text_printf("on"), t->n);
        yaml_put(&t->s->map, "proxy_from", yaml_quote("0.0.0.0/0, ::/0"), NULL);
        note_tell(
            t->n, IMPORT_TAKEN,
            "proxy_protocol: on, proxy_from: everyone, as with Mosquitto; write the balancers' networks there");
    }
}

/* ---- the whole ---- */

static const char *protocol_of(const struct scope *s)
{
    const char *v = scope_value(s, "protocol");
    bool ws = v != NULL && strcmp(v, "websockets") == 0;
    return has_tls(s) ? (ws ? "wss" : "mqtts") : ws ? "ws" : "mqtt";
}

static char *address_text(const struct scope *s, long long port, const char *host)
{
    const char *domain = scope_value(s, "socket_domain");
    if (host == NULL || *host == '\0') {
        bool four = domain != NULL && strcmp(domain, "ipv4") == 0;
        return text_printf(four ? "0.0.0.0:%lld" : "[::]:%lld", port);
    }
    return text_printf(strchr(host, ':') != NULL ? "[%s]:%lld" : "%s:%lld", host, port);
}

/* "PORT", "PORT HOST", "0 /path" of `listener`; port and bind_address of the default one. NULL when it is no address. */
static char *listener_address(const struct scope *s, long long *port)
{
    char *address = NULL;
    *port = 1883;
    if (s->note == NULL) {
        const char *v = scope_value(s, "port");
        return v == NULL || text_number(v, 1, 65535, port)
                   ? address_text(s, *port, scope_value(s, "bind_address"))
                   : NULL;
    }
    struct slice rest = slice_str(s->note->value);
    struct slice word = text_word(&rest);
    char *number = mem_strndup(word.p, word.n);
    word = text_word(&rest);
    bool comment = word.n > 0 && word.p[0] == '#';
    char *host = mem_strndup(word.p, comment ? 0 : word.n);
    if (text_number(number, 0, 65535, port) && (*port != 0 || host[0] == '/')) {
        address = *port == 0 ? text_printf("unix:%s", host) : address_text(s, *port, host);
    }
    free(number);
    free(host);
    return address;
}

/* What the history calls it: "mqtts-8883", with a number behind when that is taken. */
static char *listener_name(const struct import *im, const struct scope *s, long long port)
{
    char *base = port == 0 ? text_printf("unix") : text_printf("%s-%lld", protocol_of(s), port);
    unsigned same = 1;
    for (size_t i = 0; im->scopes[i] != s; i++) {
        const struct scope *o = im->scopes[i];
        if (o->kind == WHERE_LISTENER && o->map.count > 0 &&
            strcmp(o->map.items[0].key, "name") == 0 &&
            strncmp(o->map.items[0].value, base, strlen(base)) == 0) {
            same++;
        }
    }
    char *name = same == 1 ? text_printf("%s", base) : text_printf("%s-%u", base, same);
    free(base);
    return name;
}

static void tell_part(struct scope *s, const char *option, const char *told)
{
    struct import_note *n = scope_given(s, option);
    if (n != NULL) {
        note_tell(n, IMPORT_TAKEN, "%s", told);
    }
}

static void tell_parts(struct scope *s, const char *address)
{
    struct import_note *domain = scope_given(s, "socket_domain");
    struct import_note *protocol = scope_given(s, "protocol");
    char *told = text_printf("address: %s", address);
    tell_part(s, "port", told);
    tell_part(s, "bind_address", told);
    tell_part(s, "socket_domain", told);
    if (domain != NULL && strcmp(domain->value, "ipv6") == 0) {
        note_tell(domain, IMPORT_NONE, "an IPv6 address takes IPv4 connections, too");
    }
    free(told);
    told = text_printf("protocol: %s", protocol_of(s));
    tell_part(s, "protocol", told);
    if (protocol != NULL && strcmp(protocol->value, "mqtt") != 0 &&
        strcmp(protocol->value, "websockets") != 0) {
        s->left_out = true;
        note_tell(protocol, IMPORT_BAD, "expected mqtt or websockets; the listener is left out");
    }
    free(told);
}

void listener_unused(struct scope *s)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (s->given[i] != NULL) {
            note_tell(s->given[i], IMPORT_IGNORED,
                      "it is of no listener: no listener on port 1883 is opened by it");
        }
        s->given[i] = NULL;
    }
}

/* Name, protocol and address first. */
void listener_finish(struct import *im, struct scope *s)
{
    long long port;
    char *address = listener_address(s, &port);
    struct import_note *n = s->note != NULL ? s->note : scope_given(s, "port");
    if (address == NULL) {
        s->left_out = true;
    } else {
        tell_parts(s, address);
    }
    if (n != NULL && address == NULL) {
        note_tell(n, IMPORT_BAD, "no port, or `0 /path`; the listener is left out");
    } else if (n != NULL && s->left_out) {
        note_tell(n, IMPORT_NONE, "the listener is left out, see its other lines");
    } else if (n != NULL) {
        note_tell(n, IMPORT_TAKEN, "listeners: %s at %s", protocol_of(s), address);
    }
    if (!s->left_out) {
        struct yaml_map rest = s->map;
        s->map = (struct yaml_map){0};
        char *name = listener_name(im, s, port);
        yaml_put(&s->map, "name", yaml_quote(name), n);
        yaml_put(&s->map, "protocol", yaml_quote(protocol_of(s)), scope_given(s, "protocol"));
        yaml_put(&s->map, "address", yaml_quote(address), n);
        if (protocol_of(s)[0] == 'w') { /* Mosquitto does not look at the path */
            yaml_put(&s->map, "path", yaml_quote("*"), NULL);
        }
        for (size_t i = 0; i < rest.count; i++) {
            yaml_put(&s->map, rest.items[i].key, rest.items[i].value, NULL);
            s->map.items[s->map.count - 1].from = rest.items[i].from;
            free(rest.items[i].key);
        }
        free(rest.items);
        free(name);
    }
    free(address);
}
