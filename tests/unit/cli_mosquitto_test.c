/* The import from Mosquitto: files as texts in, YAML, settings and notes out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/mosquitto.h"
#include "cli/mosquitto_priv.h"
#include "random.h"

/* ---- a machine of texts ---- */

struct file {
    const char *path, *text;
};
enum { FILES_MAX = 6 };
struct machine {
    struct file files[FILES_MAX];
    struct import_io io;
    struct import *im;
};

static int fake_read(void *arg, const char *path, struct buf *out)
{
    const struct machine *m = arg;
    for (size_t i = 0; i < FILES_MAX && m->files[i].path != NULL; i++) {
        if (strcmp(m->files[i].path, path) == 0) {
            buf_put_slice(out, slice_str(m->files[i].text));
            return 0;
        }
    }
    return -ENOENT;
}

/* Files below the directory, in the machine's order. */
static int fake_list(void *arg, const char *dir, char ***names, size_t *count)
{
    const struct machine *m = arg;
    size_t n = strlen(dir);
    *names = mem_new(FILES_MAX, sizeof(char *));
    *count = 0;
    for (size_t i = 0; i < FILES_MAX && m->files[i].path != NULL; i++) {
        const char *path = m->files[i].path;
        if (strncmp(path, dir, n) == 0 && path[n] == '/') {
            (*names)[(*count)++] = mem_strndup(path + n + 1, strlen(path + n + 1));
        }
    }
    return 0;
}

static void fake_random(void *arg, uint8_t *out, size_t n)
{
    (void)arg;
    memset(out, 0xAB, n);
}

static void import_files(struct machine *m, const struct file *files, size_t count)
{
    char problem[512] = "";
    *m = (struct machine){.io = {.arg = m,
                                 .hostname = "host",
                                 .read = fake_read,
                                 .list = fake_list,
                                 .random = fake_random}};
    memcpy(m->files, files, count * sizeof *files);
    m->im = import_mosquitto("m.conf", &m->io, problem, sizeof problem);
    if (m->im == NULL) {
        fail_msg("%s", problem);
    }
}

static void import_text(struct machine *m, const char *text)
{
    const struct file one = {"m.conf", text};
    import_files(m, &one, 1);
}

/* ---- what is expected ---- */

static void expect_note(const struct machine *m, const char *file, unsigned line,
                        enum import_outcome outcome, const char *told)
{
    size_t count;
    const struct import_note *const *notes = import_notes(m->im, &count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(notes[i]->file, file) == 0 && notes[i]->line == line) {
            if (notes[i]->outcome != outcome || strstr(notes[i]->told, told) == NULL) {
                fail_msg("%s:%u: outcome %d, \"%s\"; expected %d, \"%s\"", file, line,
                         (int)notes[i]->outcome, notes[i]->told, (int)outcome, told);
            }
            return;
        }
    }
    fail_msg("no note on %s:%u", file, line);
}

/* Every line has its note, and every note says something. */
static void expect_all_told(const struct machine *m)
{
    size_t count;
    const struct import_note *const *notes = import_notes(m->im, &count);
    assert_true(count > 0);
    for (size_t i = 0; i < count; i++) {
        if (notes[i]->told == NULL) {
            fail_msg("%s:%u: %s: nothing is told", notes[i]->file, notes[i]->line,
                     notes[i]->option);
        }
    }
}

static bool yaml_has(const struct machine *m, const char *text)
{
    struct slice s = import_yaml(m->im);
    return memmem(s.p, s.n, text, strlen(text)) != NULL;
}

static void expect_yaml(const struct machine *m, const char *text)
{
    if (!yaml_has(m, text)) {
        struct slice s = import_yaml(m->im);
        fail_msg("no \"%s\" in:\n%.*s", text, (int)s.n, (const char *)s.p);
    }
}

static void expect_json(const json_t *found, const char *expected)
{
    char *text = json_dumps(found, JSON_COMPACT | JSON_ENCODE_ANY);
    assert_string_equal(text == NULL ? "nothing" : text, expected);
    free(text);
}

static void expect_rules(const struct machine *m, const char *name, const char *expected)
{
    expect_json(json_object_get(json_object_get(import_settings(m->im), "permissions"), name),
                expected);
}

static bool anonymous_allowed(const struct machine *m)
{
    const json_t *s = json_object_get(import_settings(m->im), "settings");
    assert_string_equal(json_string_value(json_object_get(s, "on_denied")), "refuse");
    assert_string_equal(json_string_value(json_object_get(s, "subscriptions")), "filtered");
    return json_is_true(json_object_get(s, "allow_anonymous"));
}

static bool any_name_taken(const struct machine *m)
{
    const json_t *s = json_object_get(import_settings(m->im), "settings");
    return strcmp(json_string_value(json_object_get(s, "unknown_users")), "anonymous") == 0;
}

/* ---- the tests ---- */

static void words(void **state)
{
    (void)state;
    struct slice rest = slice_str("\t one  two three \r\n\nlast");
    struct slice line, word;
    assert_true(text_next_line(&rest, &line));
    word = text_word(&line);
    assert_true(slice_eq(word, slice_str("one")));
    assert_true(slice_eq(line, slice_str("two three")));
    assert_true(text_next_line(&rest, &line));
    assert_int_equal(line.n, 0);
    assert_true(text_next_line(&rest, &line));
    assert_true(slice_eq(line, slice_str("last")));
    assert_false(text_next_line(&rest, &line));

    long long n = 7;
    assert_true(text_number("-1", -1, 5, &n));
    assert_int_equal(n, -1);
    static const char *const bad[] = {"",   " 1", "+1", "1 ",
                                      "1x", "6",  "-2", "99999999999999999999"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(text_number(bad[i], -1, 5, &n));
    }
}

static void filters(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "/", "#", "+", "a/#", "+/+/a", "a//b", "$SYS/#", "a b"};
    static const char *const bad[] = {"", "a#", "#/a", "a/#/b", "a+", "+a", "a/+b/c"};
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        assert_true(text_is_filter(slice_str(good[i])));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(text_is_filter(slice_str(bad[i])));
    }
}

static void expect_quote(const char *text, const char *yaml)
{
    char *q = yaml_quote(text);
    assert_string_equal(q, yaml);
    free(q);
}

static void quoting(void **state)
{
    (void)state;
    expect_quote("/etc/a-b_c.pem", "/etc/a-b_c.pem");
    expect_quote("", "\"\"");
    expect_quote("off", "\"off\"");
    expect_quote("Null", "\"Null\"");
    expect_quote("1883", "\"1883\"");
    expect_quote("-x", "\"-x\"");
    expect_quote("a: b", "\"a: b\"");
    expect_quote("a #b", "\"a #b\"");
    expect_quote("a\"b\\c\td", "\"a\\\"b\\\\c\\x09d\"");
    expect_quote("é", "\"é\"");
}

static void nothing_said(void **state)
{
    struct machine m;
    (void)state;
    import_text(&m, "");
    expect_yaml(&m, "mqtt: \"127.0.0.1:1883\"\n");
    expect_yaml(&m, "max_packet_size: \"256MiB\"\n");
    assert_false(yaml_has(&m, "listeners:"));
    assert_true(anonymous_allowed(&m));
    expect_rules(&m, "$anonymous", "[]");
    expect_rules(&m, "*",
                 "[{\"effect\":\"allow\",\"action\":\"both\",\"filter\":\"#\"},"
                 "{\"effect\":\"allow\",\"action\":\"subscribe\",\"filter\":\"$SYS/#\"}]");
    import_free(m.im);
}

static void odd_lines(void **state)
{
    struct machine m;
    (void)state;
    import_text(&m, "# comment\r\n\r\n   \t\n  # indented\n"
                    "   sys_interval\t  5  \r\n"
                    "max_inflight_messages twenty # is no number\n"
                    "persistence\n"
                    "Sys_interval 5\n"
                    "frobnicate yes\n"
                    "queue_qos0_messages yes\n"
                    "queue_qos0_messages true\n"
                    "topic a/#\n"
                    "log_dest file \xff\xfe\n"
                    "plugin_opt_password secret\n"
                    "retain_available false\n"
                    "retain_available true");
    expect_note(&m, "m.conf", 5, IMPORT_TAKEN, "sys_interval: 5s");
    expect_note(&m, "m.conf", 6, IMPORT_BAD, "a number between 0 and 65535");
    expect_note(&m, "m.conf", 7, IMPORT_BAD, "no value");
    expect_note(&m, "m.conf", 8, IMPORT_UNKNOWN, "nothing was made of it");
    expect_note(&m, "m.conf", 9, IMPORT_UNKNOWN, "");
    expect_note(&m, "m.conf", 10, IMPORT_IGNORED, "given again in line 11");
    expect_note(&m, "m.conf", 11, IMPORT_TAKEN, "queue_qos0: on");
    expect_note(&m, "m.conf", 12, IMPORT_BAD, "before any `connection`");
    expect_note(&m, "m.conf", 13, IMPORT_BAD, "not UTF-8");
    expect_note(&m, "m.conf", 14, IMPORT_NONE, "plugin");
    expect_note(&m, "m.conf", 15, IMPORT_IGNORED, "line 16");
    expect_note(&m, "m.conf", 16, IMPORT_SAME, "");
    expect_all_told(&m);
    expect_yaml(&m, "sys_interval: 5s  # m.conf:5\n");
    expect_yaml(&m, "queue_qos0: on  # m.conf:11\n");
    assert_false(yaml_has(&m, "max_inflight"));
    size_t count;
    const struct import_note *const *notes = import_notes(m.im, &count);
    for (size_t i = 0; i < count; i++) {
        assert_true(strstr(import_note_value(notes[i]), "secret") == NULL);
    }
    import_free(m.im);
}

static void limits(void **state)
{
    struct machine m;
    (void)state;
    import_text(&m, "max_inflight_messages 0\nmax_queued_messages 100\nmax_queued_bytes 0\n"
                    "max_packet_size 20\nmessage_size_limit 5\npersistent_client_expiration 2m\n"
                    "log_type warning\nlog_type debug\nlog_type error\nmax_keepalive 65535\n");
    expect_yaml(&m, "max_inflight: 65535 ");
    expect_yaml(&m, "max_queued_messages: 65635 ");
    expect_yaml(&m, "max_queued_bytes: 1099511627776 ");
    expect_yaml(&m, "max_packet_size: 64 ");
    expect_yaml(&m, "session_expiry_max: 60d ");
    expect_yaml(&m, "log_level: debug  # m.conf:8\n");
    expect_yaml(&m, "max_keepalive: 65535s ");
    expect_note(&m, "m.conf", 5, IMPORT_NONE, "max_packet_size alone");
    import_free(m.im);
    import_text(
        &m, "message_size_limit 1000\nmax_queued_messages 0\npersistent_client_expiration 11y\n");
    expect_yaml(&m, "max_packet_size: 132072 ");
    expect_yaml(&m, "max_queued_messages: 100000000 ");
    expect_note(&m, "m.conf", 3, IMPORT_BAD, "at most 10 years");
    import_free(m.im);
}

static void listeners(void **state)
{
    struct machine m;
    (void)state;
    import_text(
        &m,
        "listener 1883\nmax_connections -1\n"
        "listener 1883 127.0.0.1\n"
        "listener 1884\nsocket_domain ipv4\n"
        "listener 0 /run/mq.sock\n"
        "listener 9001 ::1\nprotocol websockets\nmax_connections 10\n"
        "websockets_origin https://a.example\nwebsockets_origin http://b:8080\nwebsockets_origin a,b\n"
        "enable_proxy_protocol 2\nlistener 70000\n"
        "listener 1885\nprotocol coap\n");
    expect_yaml(&m, "mqtt: \"off\"\n");
    expect_yaml(
        &m,
        "  - name: mqtt-1883  # m.conf:1\n    protocol: mqtt\n    address: \"[::]:1883\"  # m.conf:1\n  -");
    expect_yaml(
        &m, "name: mqtt-1883-2  # m.conf:3\n    protocol: mqtt\n    address: \"127.0.0.1:1883\"");
    expect_yaml(&m, "address: \"0.0.0.0:1884\"");
    expect_yaml(&m,
                "name: unix  # m.conf:6\n    protocol: mqtt\n    address: \"unix:/run/mq.sock\"");
    expect_yaml(
        &m,
        "name: ws-9001  # m.conf:7\n    protocol: ws  # m.conf:8\n    address: \"[::1]:9001\"  # m.conf:7\n    path: \"*\"\n"
        "    origins: \"https://a.example,http://b:8080\"  # m.conf:11\n    max_connections: 10  # m.conf:9\n"
        "    proxy_protocol: on  # m.conf:13\n    proxy_from: \"0.0.0.0/0, ::/0\"\n");
    expect_note(&m, "m.conf", 12, IMPORT_NONE, "an origin is");
    expect_note(&m, "m.conf", 14, IMPORT_BAD, "left out");
    expect_note(&m, "m.conf", 16, IMPORT_BAD, "expected mqtt or websockets");
    assert_false(yaml_has(&m, "1885"));
    assert_false(anonymous_allowed(&m));
    expect_all_told(&m);
    import_free(m.im);
}

static void tls_listeners(void **state)
{
    struct machine m;
    (void)state;
    import_text(
        &m,
        "listener 8883\ncertfile /a.pem\nkeyfile /a.key\ncafile /ca.pem\n"
        "require_certificate true\nuse_identity_as_username true\ncrlfile /crl.pem\ntls_version tlsv1.3\n"
        "listener 8884\ncertfile b.pem\nkeyfile /b.key\ncafile /ca.pem\nmax_topic_alias 3\n"
        "listener 8885\ncertfile /c.pem\n"
        "listener 8886\npsk_hint h\n"
        "listener 8887\ncertfile /d.pem\nkeyfile /d.key\nrequire_certificate true\ncapath /cas\n"
        "listener 8888\nprotocol websockets\ncertfile /e.pem\nkeyfile /e.key\ntls_version tlsv1.1\nmax_topic_alias 9\n");
    expect_yaml(
        &m,
        "    address: \"[::]:8883\"  # m.conf:1\n    certificate: /a.pem  # m.conf:2\n    key: /a.key  # m.conf:3\n"
        "    client_ca: /ca.pem  # m.conf:4\n    crl: /crl.pem  # m.conf:7\n    client_certificate: required  # m.conf:5\n"
        "    username_from: cn  # m.conf:6\n    min_version: \"1.3\"  # m.conf:8\n");
    expect_note(&m, "m.conf", 10, IMPORT_TAKEN, "a relative path");
    expect_note(&m, "m.conf", 12, IMPORT_IGNORED, "without require_certificate");
    expect_note(&m, "m.conf", 15, IMPORT_BAD, "keyfile is missing");
    expect_note(&m, "m.conf", 16, IMPORT_NONE, "left out");
    expect_note(&m, "m.conf", 17, IMPORT_NONE, "pre-shared keys");
    expect_note(&m, "m.conf", 21, IMPORT_BAD, "file of authorities");
    expect_note(&m, "m.conf", 27, IMPORT_NONE, "TLS 1.2");
    /* what cannot be as safe as it was is not opened at all */
    assert_false(yaml_has(&m, "8885"));
    assert_false(yaml_has(&m, "8886"));
    assert_false(yaml_has(&m, "8887"));
    expect_yaml(&m, "protocol: wss  # m.conf:24\n");
    expect_yaml(&m, "topic_alias_maximum: 9 ");
    expect_all_told(&m);
    import_free(m.im);
}

static void default_listener_and_includes(void **state)
{
    struct machine m;
    (void)state;
    const struct file files[] = {
        {"m.conf", "listener 1884\ninclude_dir d\nmax_connections 7\nsys_interval 1\n"},
        {"d/a.conf", "max_connections 5\nsys_interval 2\ninclude_dir d\n"},
        {"d/b.conf", "listener 1885\n"},
    };
    import_files(&m, files, 3);
    /* an included file begins with the default listener, and the main file goes on where it was */
    expect_yaml(
        &m,
        "  - name: mqtt-1883\n    protocol: mqtt\n    address: \"[::]:1883\"\n    max_connections: 5  # d/a.conf:1\n");
    expect_yaml(&m, "address: \"[::]:1884\"  # m.conf:1\n    max_connections: 7  # m.conf:3\n");
    expect_yaml(&m, "address: \"[::]:1885\"  # d/b.conf:1\n");
    expect_yaml(&m, "sys_interval: 1s  # m.conf:4\n");
    expect_note(&m, "m.conf", 2, IMPORT_TAKEN, "2 files");
    expect_note(&m, "d/a.conf", 3, IMPORT_IGNORED, "only the main file");
    import_free(m.im);

    import_text(&m, "port 1999\nbind_address localhost\n");
    expect_yaml(&m, "address: \"localhost:1999\"  # m.conf:1\n");
    import_free(m.im);
}

/* Of numbers and switches, and wherever Mosquitto takes words, what is behind is a comment or nothing. */
static void comments_behind(void **state)
{
    (void)state;
    struct machine m;
    import_text(&m, "per_listener_settings false # x\n"
                    "listener 1884 127.0.0.1 # here only\n"
                    "listener 1885 # everywhere\n"
                    "listener 0 /run/m.sock # a file\n"
                    "protocol mqtt # x\n"
                    "max_connections 5 # x\n"
                    "allow_anonymous true   # for now\n"
                    "max_queued_messages 2000 # more\n"
                    "queue_qos0_messages true # x\n"
                    "persistent_client_expiration 7d # a week\n"
                    "persistence true #yes\n"
                    "log_type error # x\n"
                    "message_size_limit 0 # x\n"
                    "connection b # to there\n"
                    "address a:1 b:2 # both\n"
                    "topic x out 1 # x y\n"
                    "start_type automatic # x\n"
                    "cleansession true # x\n"
                    "remote_password s # x\n");
    expect_all_told(&m);
    expect_yaml(&m, "address: \"127.0.0.1:1884\"");
    expect_yaml(&m, "address: \"[::]:1885\"");
    expect_yaml(&m, "address: \"unix:/run/m.sock\"");
    expect_yaml(&m, "max_queued_messages: 2020");
    expect_yaml(&m, "queue_qos0: on");
    expect_yaml(&m, "session_expiry_max: 7d");
    expect_yaml(&m, "name: b  #");
    expect_yaml(&m, "address: \"a:1,b:2\"");
    expect_yaml(&m, "{topic: x, direction: out, qos: 1, local_prefix: \"\", remote_prefix: \"\"}");
    expect_yaml(&m, "clean_start: on");
    expect_yaml(&m, "password: \"s # x\"");
    expect_note(&m, "m.conf", 11, IMPORT_SAME, "");
    expect_note(&m, "m.conf", 17, IMPORT_SAME, "");
    assert_true(anonymous_allowed(&m) && any_name_taken(&m));
    import_free(m.im);
    import_text(&m, "listener 1883\nallow_anonymous yes\n");
    expect_note(&m, "m.conf", 2, IMPORT_BAD, "expected true or false");
    assert_false(anonymous_allowed(&m));
    import_free(m.im);
    import_text(&m, "per_listener_settings yes\n");
    expect_note(&m, "m.conf", 1, IMPORT_BAD, "expected true or false");
    import_free(m.im);
}

/* Whether what stands before any `listener` opens port 1883; as tried with Mosquitto 2.0.11. */
static void what_opens_the_default_listener(void **state)
{
    static const char *const opens[] = {"protocol websockets", "max_connections 10",
                                        "max_qos 1",           "socket_domain ipv4",
                                        "port 1883",           "bind_interface lo",
                                        "bind_address ::1",    "use_username_as_clientid true",
                                        "ciphers X",           "use_subject_as_username true"};
    static const char *const not [] = {"protocol mqtt",
                                       "max_connections -1",
                                       "max_qos 2",
                                       "use_username_as_clientid false",
                                       "use_identity_as_username false",
                                       "require_certificate false",
                                       "max_topic_alias 5",
                                       "allow_zero_length_clientid false",
                                       "allow_anonymous true",
                                       "auto_id_prefix x",
                                       "acl_file acl",
                                       "password_file pw",
                                       "http_dir /tmp",
                                       "tls_version tlsv1.2"};
    static const char *const of_listeners[] = {"allow_zero_length_clientid false",
                                               "password_file pw"};
    (void)state;
    for (size_t i = 0; i < sizeof opens / sizeof *opens + 2 * (sizeof not / sizeof *not ); i++) {
        size_t n = sizeof opens / sizeof *opens, k = sizeof not / sizeof *not ;
        const char *line = i < n ? opens[i] : not [(i - n) % k];
        bool each = i >= n + k, opened = i < n;
        for (size_t o = 0; each && o < sizeof of_listeners / sizeof *of_listeners; o++) {
            opened = opened || strcmp(of_listeners[o], line) == 0;
        }
        char *text = text_printf("per_listener_settings %s\n%s\nlistener 9001\n",
                                 each ? "true" : "false", line);
        const struct file files[] = {{"m.conf", text}, {"acl", "topic read secret\n"}, {"pw", ""}};
        struct machine m;
        import_files(&m, files, sizeof files / sizeof *files);
        expect_all_told(&m);
        if (yaml_has(&m, ":1883\"") != opened) {
            fail_msg("\"%s\" (per_listener_settings %d)", line, each);
        }
        if (each && !opened) {
            expect_note(&m, "m.conf", 2, IMPORT_IGNORED, "no listener on port 1883");
            expect_rules(&m, "$anonymous", "[]");
        }
        import_free(m.im);
        free(text);
    }
}

static void missing_files(void **state)
{
    struct machine m = {.files = {{"m.conf", "password_file /nowhere\n"}}};
    char problem[256];
    (void)state;
    m.io = (struct import_io){&m, "host", fake_read, fake_list, fake_random};
    assert_null(import_mosquitto("none.conf", &m.io, problem, sizeof problem));
    assert_string_equal(problem, "none.conf: No such file or directory");
    assert_null(import_mosquitto("m.conf", &m.io, problem, sizeof problem));
    assert_string_equal(problem, "m.conf:1: password_file /nowhere: No such file or directory");
}

static void passwords(void **state)
{
    struct machine m;
    (void)state;
    const struct file files[] = {
        {"m.conf", "listener 1883\npassword_file pw\n"},
        {"pw",
         "# c\n\nnew:$7$101$c2FsdA==$aGFzaA==\r\nold:$6$c2FsdA==$aGFzaA==\nplain: with blanks \r\n"
         "nocolon\nempty:\n:x\nb|r:x\n*:x\nodd:$5$x$y\nnew:again:colon\nbad\xff:x"},
    };
    import_files(&m, files, 2);
    expect_json(json_object_get(import_settings(m.im), "users"),
                "[{\"name\":\"new\",\"password\":\"again:colon\"},"
                "{\"name\":\"old\",\"passwordHash\":\"$6$c2FsdA==$aGFzaA==\"},"
                "{\"name\":\"plain\",\"password\":\"with blanks\"}]");
    expect_note(&m, "pw", 3, IMPORT_TAKEN, "the old password holds");
    expect_note(&m, "pw", 5, IMPORT_TAKEN, "plain text");
    expect_note(&m, "pw", 6, IMPORT_NONE, "no password");
    expect_note(&m, "pw", 7, IMPORT_NONE, "no password");
    expect_note(&m, "pw", 8, IMPORT_NONE, "1 to 256 bytes");
    expect_note(&m, "pw", 9, IMPORT_NONE, "'|'");
    expect_note(&m, "pw", 10, IMPORT_NONE, "everyone");
    expect_note(&m, "pw", 11, IMPORT_NONE, "neither");
    expect_note(&m, "pw", 12, IMPORT_TAKEN, "the last one holds");
    expect_note(&m, "pw", 13, IMPORT_NONE, "UTF-8");
    expect_note(&m, "m.conf", 2, IMPORT_TAKEN, "3 users");
    assert_false(anonymous_allowed(&m));
    import_free(m.im);
}

#define ALLOW(action, filter)                                                                      \
    "{\"effect\":\"allow\",\"action\":\"" action "\",\"filter\":\"" filter "\"}"
#define DENY(filter) "{\"effect\":\"deny\",\"action\":\"both\",\"filter\":\"" filter "\"}"

static void acls(void **state)
{
    struct machine m;
    (void)state;
    const struct file files[] = {
        {"m.conf", "listener 1883\npassword_file pw\nacl_file acl\nallow_anonymous true\n"},
        {"pw", "bob:x\nann b:x\n"},
        {"acl", "topic read pub/#\r\n"
                "  topic   readwrite   with blank  \n"
                "user   bob\n"
                "topic bob/#\n"
                "topic deny bob/secret\n"
                "topic write w/%c\n"
                "pattern write dev/%c/#\n"
                "pattern deny dev/%u/x\n"
                "user ann b\n"
                "topic read bob/#\n"
                "user bob\n"
                "topic read more\n"
                "topic read more\n"
                "topic wirte x y\n"
                "topic a/#/b\n"
                "user\n"
                "frob x\n"
                "user ghost\n"
                "topic #\n"
                "user a|b\n"
                "topic #\n"},
    };
    import_files(&m, files, 3);
    expect_rules(&m, "$anonymous",
                 "[" ALLOW("subscribe", "pub/#") "," ALLOW("both", "with blank") "]");
    expect_rules(
        &m, "bob",
        "[" ALLOW("both", "bob/#") "," DENY("bob/secret") "," ALLOW("subscribe", "more") "]");
    expect_rules(&m, "ann b", "[" ALLOW("subscribe", "bob/#") "]");
    expect_rules(&m, "*", "[" ALLOW("publish", "dev/%c/#") "," DENY("dev/%u/x") "]");
    expect_rules(&m, "ghost", "nothing");
    expect_note(&m, "acl", 6, IMPORT_NONE, "%c in a topic line");
    expect_note(&m, "acl", 14, IMPORT_BAD, "read, write, readwrite or deny");
    expect_note(&m, "acl", 15, IMPORT_BAD, "no topic filter");
    expect_note(&m, "acl", 16, IMPORT_BAD, "expected topic");
    expect_note(&m, "acl", 17, IMPORT_BAD, "expected topic");
    expect_note(&m, "acl", 21, IMPORT_NONE, "not imported");
    assert_true(anonymous_allowed(&m) && !any_name_taken(&m));
    expect_all_told(&m);
    import_free(m.im);
}

static void certificate_users(void **state)
{
    struct machine m;
    (void)state;
    const struct file files[] = {
        {"m.conf", "listener 8883\ncertfile /a\nkeyfile /b\ncafile /c\nrequire_certificate true\n"
                   "use_identity_as_username true\nacl_file acl\n"},
        {"acl", "user ghost\ntopic #\n"},
    };
    import_files(&m, files, 2);
    expect_json(
        json_object_get(import_settings(m.im), "users"),
        "[{\"name\":\"ghost\",\"password\":\"abababababababababababababababababababababababab\"}]");
    expect_rules(&m, "ghost", "[" ALLOW("both", "#") "]");
    import_free(m.im);
}

static void per_listener(void **state)
{
    struct machine m;
    (void)state;
    const struct file files[] = {
        {"m.conf", "per_listener_settings true\nlistener 1883 127.0.0.1\nallow_anonymous true\n"
                   "listener 1884\npassword_file pw\nacl_file acl\n"},
        {"pw", "bob:x\n"},
        {"acl", "user bob\ntopic a\n"},
    };
    import_files(&m, files, 3);
    assert_false(anonymous_allowed(&m));
    expect_note(&m, "m.conf", 1, IMPORT_NONE, "put together");
    expect_note(&m, "m.conf", 3, IMPORT_NONE, "not of one listener alone");
    expect_rules(&m, "*", "[]");
    expect_rules(&m, "bob", "[" ALLOW("both", "a") "]");
    import_free(m.im);
}

/* What a plugin decided is not known: nothing is opened for everyone. */
static void plugins(void **state)
{
    struct machine m;
    (void)state;
    import_text(&m, "listener 1883\nplugin /usr/lib/mosquitto_dynamic_security.so\n"
                    "plugin_opt_config_file /etc/d.json\nauth_plugin /x.so\n");
    expect_note(&m, "m.conf", 2, IMPORT_NONE, "dynamic security");
    expect_note(&m, "m.conf", 4, IMPORT_NONE, "no plugins");
    expect_rules(&m, "*", "[]");
    import_free(m.im);
}

static void bridges(void **state)
{
    struct machine m;
    (void)state;
    import_text(
        &m,
        "connection plant\naddress b.example 10.0.0.1:1884 ::1:1885 [fe80::1]\n"
        "addresses c.example:1\ntopic sensors/# out 1 l/ r/\ntopic # in\n topic cmd \n"
        "topic \"\" both 2 l/x r/y\ntopic a up\ntopic a in 3\ntopic a in 0 l r x\ntopic \"\" in 0 l\n"
        "remote_username me\nremote_password s3\"cret\nbridge_cafile /ca.pem\nbridge_insecure true\n"
        "cleansession true\nkeepalive_interval 20\nnotifications false\nnotification_topic n/t\n"
        "restart_timeout 5 30\nbridge_protocol_version mqttv50\nstart_type lazy\nremote_clientid id1\n");
    expect_yaml(
        &m,
        "bridges:\n  - name: plant  # m.conf:1\n"
        "    address: \"b.example:1883,10.0.0.1:1884,[::1]:1885,[fe80::1]:1883,c.example:1\"  # m.conf:3\n"
        "    protocol: mqtts\n    version: \"5\"  # m.conf:21\n    client_id: id1  # m.conf:23\n"
        "    username: me  # m.conf:12\n    password: \"s3\\\"cret\"  # m.conf:13\n"
        "    keepalive: 20s  # m.conf:17\n    clean_start: on  # m.conf:16\n    ca: /ca.pem  # m.conf:14\n"
        "    verify: off  # m.conf:15\n    notifications: off  # m.conf:18\n"
        "    notifications_topic: n/t  # m.conf:19\n    retry_min: 5s  # m.conf:20\n    retry_max: 30s  # m.conf:20\n"
        "    topics:\n"
        "      - {topic: \"sensors/#\", direction: out, qos: 1, local_prefix: l/, remote_prefix: r/}  # m.conf:4\n"
        "      - {topic: \"#\", direction: in, qos: 0, local_prefix: \"\", remote_prefix: \"\"}  # m.conf:5\n"
        "      - {topic: cmd, direction: out, qos: 0, local_prefix: \"\", remote_prefix: \"\"}  # m.conf:6\n"
        "      - {topic: \"\", direction: both, qos: 2, local_prefix: l/x, remote_prefix: r/y}  # m.conf:7\n");
    for (unsigned line = 8; line <= 11; line++) {
        expect_note(&m, "m.conf", line, IMPORT_BAD, "");
    }
    expect_note(&m, "m.conf", 13, IMPORT_TAKEN, "***");
    expect_note(&m, "m.conf", 22, IMPORT_NONE, "always on");
    assert_true(import_yaml_secret(m.im));
    expect_all_told(&m);
    import_free(m.im);
}

static void bridges_left_out(void **state)
{
    struct machine m;
    (void)state;
    import_text(
        &m,
        "connection a\naddress x\ntopic #\nbridge_identity i\nbridge_psk 00ff\n"
        "connection b\ntopic #\naddress h:http\nconnection c\naddress x\ntopic a in 0 l+/\nconnection d\xc3\xa9|d\naddress x\ntopic t\nbridge_tls_use_os_certs true\n");
    expect_note(&m, "m.conf", 1, IMPORT_NONE, "left out");
    expect_note(&m, "m.conf", 6, IMPORT_BAD, "address is missing");
    expect_note(&m, "m.conf", 8, IMPORT_BAD, "expected HOST or HOST:PORT");
    expect_note(&m, "m.conf", 9, IMPORT_BAD, "topic is missing");
    expect_note(&m, "m.conf", 11, IMPORT_BAD, "no wildcards");
    expect_yaml(
        &m,
        "bridges:\n  - name: d___d  # m.conf:12\n    address: \"x:1883\"  # m.conf:13\n    protocol: mqtts\n"
        "    version: \"3.1.1\"\n    client_id: \"host.d\xc3\xa9|d\"\n    session_expiry: \"0\"\n    topics:\n");
    assert_false(yaml_has(&m, "name: a"));
    assert_false(import_yaml_secret(m.im));
    expect_all_told(&m);
    import_free(m.im);
}

/* Words of all three kinds of files in any order, with noise: every line is told of, and what comes out is whole. */
static void noise(void **state)
{
    static const char *const bits[] = {" ",
                                       "\n",
                                       "\r\n",
                                       "\t",
                                       ":",
                                       "$7$",
                                       "$6$a$b",
                                       "user",
                                       "topic",
                                       "pattern",
                                       "deny ",
                                       "read ",
                                       "a/#",
                                       "+",
                                       "%c",
                                       "\xff",
                                       "\"\"",
                                       "listener ",
                                       "1883",
                                       "-1",
                                       "true",
                                       "\nconnection ",
                                       "\naddress ",
                                       "[::1",
                                       "both 2 ",
                                       "\ncertfile x\nkeyfile y\n",
                                       "::",
                                       "\nprotocol ",
                                       "\nmax_qos ",
                                       "\nper_listener_settings true\n",
                                       "\nrestart_timeout ",
                                       "9m",
                                       "#"};
    struct random r = {.state = 11};
    struct machine m;
    (void)state;
    for (int round = 0; round < 400; round++) {
        struct buf text[3] = {{0}, {0}, {0}};
        buf_put_slice(&text[0], slice_str("password_file pw\nacl_file acl\n"));
        for (int i = 0; i < 90; i++) {
            struct buf *t = &text[random_below(&r, 3)];
            buf_put_slice(
                t, slice_str(bits[random_below(&r, (uint32_t)(sizeof bits / sizeof bits[0]))]));
        }
        for (size_t i = 0; i < 3; i++) {
            buf_put_u8(&text[i], 0);
        }
        const struct file files[] = {{"m.conf", (const char *)buf_slice(&text[0]).p},
                                     {"pw", (const char *)buf_slice(&text[1]).p},
                                     {"acl", (const char *)buf_slice(&text[2]).p}};
        import_files(&m, files, 3);
        expect_all_told(&m);
        char *whole = json_dumps(import_settings(m.im), 0);
        assert_non_null(whole);
        free(whole);
        import_free(m.im);
        for (size_t i = 0; i < 3; i++) {
            buf_fini(&text[i]);
        }
    }
}

/* No two rows have one name, and every row that only tells has a sentence. */
static void table(void **state)
{
    (void)state;
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &mosquitto_options[i];
        for (size_t k = i + 1; k < OPTIONS; k++) {
            assert_string_not_equal(o->name, mosquitto_options[k].name);
        }
        if (o->take == take_none || o->take == take_ignored || o->take == take_if_default) {
            assert_true(strlen(o->told) > 10);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words),
        cmocka_unit_test(filters),
        cmocka_unit_test(quoting),
        cmocka_unit_test(nothing_said),
        cmocka_unit_test(odd_lines),
        cmocka_unit_test(limits),
        cmocka_unit_test(listeners),
        cmocka_unit_test(tls_listeners),
        cmocka_unit_test(passwords),
        cmocka_unit_test(default_listener_and_includes),
        cmocka_unit_test(comments_behind),
        cmocka_unit_test(what_opens_the_default_listener),
        cmocka_unit_test(missing_files),
        cmocka_unit_test(acls),
        cmocka_unit_test(per_listener),
        cmocka_unit_test(certificate_users),
        cmocka_unit_test(plugins),
        cmocka_unit_test(bridges),
        cmocka_unit_test(noise),
        cmocka_unit_test(table),
        cmocka_unit_test(bridges_left_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
