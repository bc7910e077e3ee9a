/* The configuration: units, precedence, and every kind of error with its place and what was expected. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "server/config.h"

static struct config config;
static struct config_error error;
static char file[64];

static int load(int argc, const char *const *words)
{
    char *argv[16] = {(char *)"serve"};
    bool check = false;
    for (int i = 0; i < argc; i++) {
        argv[i + 1] = (char *)words[i];
    }
    error.text[0] = '\0';
    int rc = config_load(&config, argc + 1, argv, &check, &error);
    assert_int_equal(check, argc > 0 && strcmp(words[argc - 1], "--check") == 0 && rc == 0);
    return rc;
}
#define LOAD(...)                                                                                  \
    load((int)(sizeof((const char *[]){__VA_ARGS__}) / sizeof(char *)),                            \
         (const char *[]){__VA_ARGS__})

/* Fails, and says so with the file's name cut off. */
#define BAD(said, ...)                                                                             \
    do {                                                                                           \
        assert_int_equal(LOAD(__VA_ARGS__), -1);                                                   \
        assert_string_equal(error.text, said);                                                     \
    } while (0)

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static void file_good(const char *text)
{
    write_file(text);
    if (LOAD("--config", file) != 0) {
        fail_msg("%s", error.text);
    }
}

static void file_bad(const char *text, const char *expected)
{
    write_file(text);
    assert_int_equal(LOAD("--config", file), -1);
    assert_memory_equal(error.text, file, strlen(file));
    assert_string_equal(error.text + strlen(file), expected);
    assert_null(config.data); /* nothing is left behind */
}

static void test_defaults(void **state)
{
    (void)state;
    char host[300] = "";
    assert_int_equal(load(0, NULL), 0);
    assert_int_equal(gethostname(host, sizeof host - 1), 0);
    assert_string_equal(config.data, "/var/lib/tracemq");
    assert_string_equal(config.region, "local");
    assert_string_equal(config.node, host);
    assert_string_equal(config.mqtt, "127.0.0.1:1883");
    assert_string_equal(config.http, "127.0.0.1:8080");
    assert_false(config.allow_anonymous);
    assert_int_equal(config.loops, 0);
    assert_string_equal(config.log_level, "info");
    assert_int_equal(config.max_packet_size, 1048576);
    assert_int_equal(config.connect_timeout_ms, 10000);
    assert_int_equal(config.receive_maximum, 1024);
    assert_int_equal(config.max_queued_messages, 10000);
    assert_int_equal(config.max_queued_bytes, 16 << 20);
    assert_int_equal(config.durability, DURABILITY_FSYNC);
    assert_true(config.trace);
    assert_int_equal(config.trace_memory, 0);
    assert_int_equal(config.trace_fsync_ms, 1000);
    assert_int_equal(config.trace_retention_ms, 7 * 86400000);
    assert_int_equal(config.trace_fleet_retention_ms, 86400000);
    assert_int_equal(config.trace_max_range_ms, 86400000);
    assert_string_equal(config.trace_ring_dir, "/dev/shm");
    config_fini(&config);
}

static void test_command_line(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--data", "/tmp/x", "--mqtt=0.0.0.0:0", "--allow-anonymous", "--loops=2",
                          "--trace", "off", "--durability=os", "--node", "n1", "--check"),
                     0);
    assert_string_equal(config.data, "/tmp/x");
    assert_string_equal(config.mqtt, "0.0.0.0:0");
    assert_true(config.allow_anonymous);
    assert_int_equal(config.loops, 2);
    assert_false(config.trace);
    assert_int_equal(config.durability, DURABILITY_OS);
    assert_string_equal(config.node, "n1");
    config_fini(&config);

    assert_int_equal(LOAD("--http", "off", "--allow-anonymous=no", "--loops=2", "--loops=3"), 0);
    assert_null(config.http);
    assert_false(config.allow_anonymous);
    assert_int_equal(config.loops, 3); /* the last one holds */
    config_fini(&config);
}

static void test_units(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"64", 64},        {"64B", 64},       {"64KiB", 65536},     {"64K", 65536},
                 {"1MiB", 1048576}, {"16M", 16 << 20}, {"16 MiB", 16 << 20}, {"256MiB", 256 << 20}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        assert_int_equal(LOAD("--max-packet-size", sizes[i].text), 0);
        assert_int_equal(config.max_packet_size, sizes[i].bytes);
        config_fini(&config);
    }
    static const struct {
        const char *text;
        uint64_t ms;
    } times[] = {{"250", 250},   {"250ms", 250},    {"10s", 10000},
                 {"5m", 300000}, {"24h", 86400000}, {"0", 0}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        assert_int_equal(LOAD("--sys-interval", times[i].text), 0);
        assert_int_equal(config.sys_interval_ms, times[i].ms);
        config_fini(&config);
    }
    assert_int_equal(LOAD("--trace-retention", "30d"), 0);
    assert_int_equal(config.trace_retention_ms, UINT64_C(30) * 86400000);
    config_fini(&config);
}

static void test_command_line_errors(void **state)
{
    (void)state;
    BAD("unknown option \"--lops\"; `tracemq serve --help` lists all options", "--lops", "2");
    BAD("unknown argument \"x\"; `tracemq serve --help` lists all options", "x");
    BAD("--loops: expected a number between 0 and 64, got nothing", "--loops");
    BAD("--loops: expected a number between 0 and 64, got \"65\"", "--loops", "65");
    BAD("--loops: expected a number between 0 and 64, got \"-1\"", "--loops=-1");
    BAD("--loops: expected a number between 0 and 64, got \"2x\"", "--loops=2x");
    BAD("--loops: expected a number between 0 and 64, got \"\"", "--loops=");
    BAD("--trace: expected on or off, got \"maybe\"", "--trace", "maybe");
    BAD("--mqtt: expected host:port, unix:/path or off, got \"1883\"", "--mqtt", "1883");
    BAD("--mqtt: expected host:port, unix:/path or off, got \"\"", "--mqtt=");
    BAD("--log-level: expected debug, info, warn or error, got \"loud\"", "--log-level", "loud");
    BAD("--durability: expected fsync, os or none, got \"never\"", "--durability=never");
    BAD("--connect-timeout: expected a duration between 100ms and 1h, got \"2d\"",
        "--connect-timeout=2d");
    BAD("--trace-memory: expected a size between 0 B and 1 TiB, got \"99999999999T\"",
        "--trace-memory=99999999999T");
    BAD("--trace-memory: expected a size between 0 B and 1 TiB, got \"99999999999999999999\"",
        "--trace-memory=99999999999999999999");
    BAD("--data: expected a directory of 1 to 4000 characters, got \"\"", "--data=");
    BAD("--config: expected a file name, got nothing", "--config");
    BAD("/nowhere/t.yaml: cannot be read: No such file or directory", "--config",
        "/nowhere/t.yaml");
    BAD("/: cannot be read: Is a directory", "--config=/");
}

static void test_file(void **state)
{
    (void)state;
    file_good("");
    config_fini(&config);
    file_good("# nothing\n");
    config_fini(&config);
    file_good("data: /tmp/d # where\n"
              "allow_anonymous: yes\n"
              "\"max_packet_size\" : 64KiB\n"
              "http: off\n"
              "trace:\n"
              "  enabled: off\n"
              "  memory: 32MiB\n"
              "  retention: 30d\n"
              "durability: none\n");
    assert_string_equal(config.data, "/tmp/d");
    assert_true(config.allow_anonymous);
    assert_int_equal(config.max_packet_size, 65536);
    assert_null(config.http);
    assert_false(config.trace);
    assert_int_equal(config.trace_memory, 32 << 20);
    assert_int_equal(config.trace_retention_ms, UINT64_C(30) * 86400000);
    assert_int_equal(config.durability, DURABILITY_NONE);
    assert_string_equal(config.mqtt, "127.0.0.1:1883");
    config_fini(&config);
    file_good("{loops: 3, trace: {memory: 1GiB}}");
    assert_int_equal(config.loops, 3);
    assert_int_equal(config.trace_memory, 1 << 30);
    config_fini(&config);
}

static void test_precedence(void **state)
{
    (void)state;
    write_file("loops: 3\nregion: cellar\nallow_anonymous: on\ntrace: {memory: 20M}\n");
    assert_int_equal(LOAD("--loops", "5", "--config", file, "--allow-anonymous=off"), 0);
    assert_int_equal(config.loops, 5);
    assert_string_equal(config.region, "cellar");
    assert_false(config.allow_anonymous);
    assert_int_equal(config.trace_memory, 20 << 20);
    config_fini(&config);
}

static void test_file_errors(void **state)
{
    (void)state;
    file_bad("loops: 2\n\n# here\nmax_packet_size: lots\n",
             ":4: key \"max_packet_size\": expected a size between 64 B and 256 MiB, got \"lots\"");
    file_bad("loops: 2\ntrace:\n  fsync: 1s\n  memory: much\n",
             ":4: key \"trace.memory\": expected a size between 0 B and 1 TiB, got \"much\"");
    file_bad("trace: {fsync: 1s, memory: much}\n",
             ":1: key \"trace.memory\": expected a size between 0 B and 1 TiB, got \"much\"");
    file_bad("loops:\n", ":1: key \"loops\": expected a number between 0 and 64, got \"\"");
    file_bad("data: x\nloops: 2\nnope: 3\n", ":3: unknown key \"nope\"");
    file_bad("nope: 3\n", ":1: unknown key \"nope\"");
    file_bad("trace_memory: 16M\n", ":1: unknown key \"trace_memory\"");
    file_bad("loops: 2\ntrace:\n  memory: 16M\n\n  nope: 3\n", ":5: unknown key \"trace.nope\"");
    file_bad("loops: 2\ndata: x\nloops: 2\n", ":3: key \"loops\" is given twice");
    file_bad("trace:\n  memory: 16M\n  fsync: 1s\n  memory: 16M\n",
             ":4: key \"trace.memory\" is given twice");
    file_bad("data: x\nloops: [1, 2]\n",
             ":2: key \"loops\": expected a number between 0 and 64, got a list");
    file_bad("data: x\nloops: {a: 2}\n",
             ":2: key \"loops\": expected a number between 0 and 64, got keys and values");
    file_bad("data: x\ntrace: off\n",
             ":2: key \"trace\": expected keys and values, got a plain value");
    file_bad("- loops\n- 3\n", ":1: expected keys and values, got a list");
    file_bad("hello\n", ":1: expected keys and values, got a plain value");
}

static void test_broken_yaml(void **state)
{
    (void)state;
    static const char *const texts[] = {"data: \"a\n",
                                        "a: b: c\n",
                                        "data: x\n\tloops: 2\n",
                                        "{data: x",
                                        "data: &a x\nregion: *a\n",
                                        "data: x\n%\n",
                                        "\x01\x02"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        write_file(texts[i]);
        assert_int_equal(LOAD("--config", file), -1);
        assert_memory_equal(error.text, file, strlen(file));
        assert_int_equal(error.text[strlen(file)], ':');
    }
}

static void test_memory(void **state)
{
    (void)state;
    assert_int_equal(LOAD("--trace-memory", "20M"), 0);
    assert_int_equal(config_trace_memory(&config), 20 << 20);
    config.trace_memory = 0;
    assert_in_range(config_trace_memory(&config), 16 << 20, 512 << 20);
    config_fini(&config);
}

static void test_listeners(void **state)
{
    (void)state;
    file_good(
        "mqtts: \"[::1]:8883\"\n"
        "tls:\n  certificate: a.pem\n  key: a.key\n  client_certificate: optional\n"
        "listeners:\n"
        "  - name: factory\n    protocol: mqtts\n    address: 127.0.0.1:8884\n    key: b.key\n"
        "    client_certificate: required\n    username_from: cn\n    max_connections: 7\n"
        "  - protocol: mqtt\n    address: unix:/run/tracemq.sock\n");
    assert_int_equal(config.listener_count, 5);
    const struct config_listener *l = config.listeners;
    assert_string_equal(l[0].name, "factory");
    assert_int_equal(l[0].protocol, PROTOCOL_MQTTS);
    assert_string_equal(l[0].certificate, "a.pem");
    assert_string_equal(l[0].key, "b.key");
    assert_int_equal(l[0].client_certificate, TLS_CLIENT_REQUIRED);
    assert_int_equal(l[0].username_from, TLS_USER_CN);
    assert_int_equal(l[0].max_connections, 7);
    assert_string_equal(l[1].name, "mqtt");
    assert_string_equal(l[1].address, "unix:/run/tracemq.sock");
    assert_string_equal(l[2].address, "127.0.0.1:1883"); /* the plain options' */
    assert_string_equal(l[3].name, "mqtts");
    assert_string_equal(l[3].address, "[::1]:8883");
    assert_string_equal(l[3].key, "a.key");
    assert_int_equal(l[3].client_certificate, TLS_CLIENT_OPTIONAL);
    assert_string_equal(l[4].name, "ws");
    assert_string_equal(l[4].address, "127.0.0.1:8083");
    assert_string_equal(l[4].path, "/mqtt");
    config_fini(&config);
    file_good(
        "websocket: {path: /a, origins: 'https://a.example, null'}\n"
        "listeners:\n  - {protocol: ws, address: ':1', origins: ''}\n"
        "  - {protocol: wss, address: ':2', path: /b}\n  - {protocol: ws, address: ':3', path: '*'}\n");
    l = config.listeners;
    assert_string_equal(l[0].path, "/a");
    assert_string_equal(l[0].origins, "");
    assert_string_equal(l[1].path, "/b");
    assert_string_equal(l[2].path, "*");
    assert_string_equal(l[1].origins, "https://a.example, null");
    config_fini(&config);
    file_bad("websocket: {path: a}\n",
             ":1: key \"websocket.path\": expected a path that begins with "
             "a slash, as it stands in URLs, or *, got \"a\"");
    file_bad("listeners:\n  - {protocol: ws, address: ':1', origins: x}\n",
             ":2: key \"listeners.origins\": expected origins as https://host:port, or null, with "
             "commas between them, got \"x\"");

    file_bad("listeners:\n  - protocol: mqtt\n",
             ": listeners: entry 1: expected a protocol and an address");
    file_bad(
        "listeners:\n  - protocol: mqtt\n    address: 1.2.3.4:1\n  - protocol: http\n    address: 1.2.3.4:1\n",
        ":4: key \"listeners.protocol\": expected mqtt, mqtts, ws or wss, got \"http\"");
    file_bad("listeners:\n  - protocol: mqtt\n    adress: 1.2.3.4:1\n",
             ":3: unknown key \"listeners.adress\"");
    file_bad("listeners: 1\n", ":1: key \"listeners\": expected a list, got a plain value");
    BAD("--http: expected host:port or off, got \"unix:/x\"", "--http", "unix:/x");
}

/* What is named on the command line is all that is opened of the four, whatever the file says of the others. */
static void test_bridges(void **state)
{
    (void)state;
    file_good(
        "bridges:\n"
        "  - name: plant\n"
        "    address: a.example:8883, [::1]:1883\n"
        "    protocol: mqtts\n"
        "    version: 3.1.1\n"
        "    keepalive: 5s\n"
        "    topics:\n"
        "      - {topic: a/#, direction: both, qos: 2, local_prefix: l/, remote_prefix: 'r/'}\n"
        "      - topic: '#'\n"
        "  - {name: b, address: '1.2.3.4:1'}\n");
    const struct bridge_settings *b = config.bridges;
    assert_int_equal(config.bridge_count, 2);
    assert_string_equal(b->address, "a.example:8883, [::1]:1883");
    assert_int_equal(b->protocol, BRIDGE_MQTTS);
    assert_int_equal(b->version, BRIDGE_V311);
    assert_int_equal(b->keepalive_ms, 5000);
    assert_int_equal(b->topic_count, 2);
    assert_string_equal(b->topics[0].topic, "a/#");
    assert_int_equal(b->topics[0].direction, BRIDGE_BOTH);
    assert_int_equal(b->topics[0].qos, 2);
    assert_string_equal(b->topics[0].local_prefix, "l/");
    assert_string_equal(b->topics[1].topic, "#");
    assert_string_equal(b->topics[1].remote_prefix, "");
    b++;
    assert_int_equal(b->version, BRIDGE_V5);
    assert_int_equal(b->session_expiry_ms, 86400000);
    assert_int_equal(b->retry_min_ms, 1000);
    assert_int_equal(b->retry_max_ms, 60000);
    assert_int_equal(b->max_inflight, 100);
    assert_true(b->verify && b->notifications && !b->notifications_local_only && !b->clean_start);
    assert_string_equal(b->client_id, "");
    assert_int_equal(b->topic_count, 0);
    assert_true(config_same_bridges(&config, &config));
    config_fini(&config);
    file_bad("bridges:\n  - {name: a, address: '1.2.3.4:1', retry_min: 2s, retry_max: 1s}\n",
             ":2: key \"bridges.retry_max\": expected not less than retry_min, got \"1s\"");
    file_bad("bridges:\n  - {name: a, address: '1.2.3.4:1'}\n  - name: b\n    address: x\n",
             ":4: key \"bridges.address\": expected host:port, or several with commas, got \"x\"");
    file_bad(
        "bridges:\n  - name: a\n    address: h:1\n    topics:\n      - topic: a\n"
        "  - name: b\n    address: h:1\n    topics:\n      - topic: a\n      - topic: b+\n",
        ":10: key \"bridges.topics.topic\": expected a topic filter behind each prefix, got \"b+\"");
    file_bad("bridges:\n  - name: a\n    topics: x\n",
             ":3: key \"bridges.topics\": expected a list, got a plain value");
}

static void test_named_listeners(void **state)
{
    (void)state;
    write_file("mqtts: ':8883'\ntls: {certificate: a, key: b}\n"
               "listeners:\n  - {protocol: mqtt, address: ':1'}\n");
    assert_int_equal(LOAD("--config", file, "--ws", ":2"), 0);
    assert_int_equal(config.listener_count, 2); /* entries are not named there */
    assert_int_equal(config.listeners[1].protocol, PROTOCOL_WS);
    assert_null(config.mqtt);
    assert_null(config.mqtts);
    config_fini(&config);
    assert_int_equal(LOAD("--mqtt", "off"), 0);
    assert_int_equal(config.listener_count, 0);
    config_fini(&config);
}

/* The sample, with every key commented in, is what the defaults are. */
static void test_sample(void **state)
{
    (void)state;
    char *text = NULL, sample[20000] = "", *at = sample;
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    config_help_yaml(f);
    assert_int_equal(fclose(f), 0);
    assert_true(size < sizeof sample);
    for (char *save = NULL, *line = strtok_r(text, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        bool key = line[0] == '#' && (line[1] != ' ' || (line[2] == ' ' && line[3] != '#'));
        at += key ? sprintf(at, "%s\n", line + 1) : 0;
    }
    free(text);
    file_good(sample);
    assert_int_equal(config.max_queued_messages, 10000);
    assert_int_equal(config.trace_fsync_ms, 1000);
    config_fini(&config);
}

static void test_packaged_sample(void **state)
{
    (void)state;
    char *text = NULL, packaged[20000] = "";
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    config_help_yaml(f);
    assert_int_equal(fclose(f), 0);
    f = fopen(TMQ_SOURCE_ROOT "/packaging/tracemq.yaml", "r");
    assert_non_null(f);
    assert_true(fread(packaged, 1, sizeof packaged - 1, f) > 0);
    assert_int_equal(fclose(f), 0);
    assert_string_equal(packaged,
                        text); /* else: tracemq serve --help-yaml > packaging/tracemq.yaml */
    free(text);
}

static void test_documented(void **state)
{
    (void)state;
    char *text = NULL, *doc = calloc(1, 100000);
    size_t size = 0;
    FILE *f = open_memstream(&text, &size);
    assert_non_null(f);
    config_help_markdown(f);
    assert_int_equal(fclose(f), 0);
    f = fopen(TMQ_SOURCE_ROOT "/docs/configuration.md", "r");
    assert_non_null(f);
    assert_true(fread(doc, 1, 99999, f) > 0);
    assert_int_equal(fclose(f), 0);
    assert_non_null(strstr(doc, text)); /* else: the table of tracemq serve --help-markdown */
    free(doc);
    free(text);
}

/* The row of that name in what a merge said. */
static const struct config_change *change(const struct config_change *all, size_t n,
                                          const char *name)
{
    size_t i = 0;
    while (i < n && strcmp(all[i].name, name) != 0) {
        i++;
    }
    assert_true(i < n);
    return &all[i];
}

static void test_merge(void **state)
{
    (void)state;
    struct config now, next;
    static struct config_change all[CONFIG_CHANGES_MAX];
    file_good("log_level: info\nmqtt: off\nmax_packet_size: 2MiB\ndurability: fsync\n"
              "response_information: a\nloops: 1\n");
    now = config;
    file_good("log_level: debug\nmqtt: 127.0.0.1:9\nmax_packet_size: 3000\ndurability: none\n"
              "response_information: b\nloops: 1\ntrace:\n  enabled: off\n  retention: 8d\n");
    next = config;
    size_t n = config_merge(&next, &now, all);
    assert_int_equal(n, 7);
    assert_string_equal(change(all, n, "log_level")->to, "debug");
    assert_true(change(all, n, "log_level")->live);
    assert_string_equal(next.log_level, "debug");
    assert_string_equal(change(all, n, "max_packet_size")->from, "2 MiB");
    assert_string_equal(change(all, n, "max_packet_size")->to, "3000 B");
    assert_int_equal(next.max_packet_size, 3000);
    assert_string_equal(next.response_information, "b");
    assert_string_equal(change(all, n, "trace.retention")->to, "8d");
    assert_int_equal(next.trace_retention_ms, UINT64_C(8) * 86400000);
    /* what needs a restart is told, and stays */
    assert_false(change(all, n, "mqtt")->live);
    assert_string_equal(change(all, n, "mqtt")->from, "off");
    assert_string_equal(change(all, n, "mqtt")->to, "127.0.0.1:9");
    assert_null(next.mqtt);
    assert_string_equal(change(all, n, "durability")->from, "fsync");
    assert_string_equal(change(all, n, "durability")->to, "none");
    assert_int_equal(next.durability, DURABILITY_FSYNC);
    assert_string_equal(change(all, n, "trace.enabled")->to, "off");
    assert_true(next.trace);
    config_fini(&now); /* shares nothing with the other */
    assert_string_equal(next.log_level, "debug");
    config_fini(&next);
}

static void test_merge_takes_texts_back(void **state)
{
    (void)state;
    struct config now, next;
    static struct config_change all[CONFIG_CHANGES_MAX];
    file_good("region: one\n");
    now = config;
    file_good("region: two\n");
    next = config;
    assert_int_equal(config_merge(&next, &now, all), 1);
    config_fini(&now);
    assert_string_equal(next.region, "one");
    file_good("region: one\n");
    assert_int_equal(config_merge(&config, &next, all), 0);
    config_fini(&next);
    config_fini(&config);
}

static int setup(void **state)
{
    (void)state;
    (void)snprintf(file, sizeof file, "/tmp/tracemq-config-%d.yaml", (int)getpid());
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    (void)unlink(file);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_command_line),
        cmocka_unit_test(test_units),
        cmocka_unit_test(test_command_line_errors),
        cmocka_unit_test(test_file),
        cmocka_unit_test(test_precedence),
        cmocka_unit_test(test_file_errors),
        cmocka_unit_test(test_broken_yaml),
        cmocka_unit_test(test_memory),
        cmocka_unit_test(test_listeners),
        cmocka_unit_test(test_bridges),
        cmocka_unit_test(test_named_listeners),
        cmocka_unit_test(test_sample),
        cmocka_unit_test(test_packaged_sample),
        cmocka_unit_test(test_documented),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_merge_takes_texts_back),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
