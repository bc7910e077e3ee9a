/* What a bridge is to do: an entry of `bridges:` in the configuration file. Plain values; strings are owned by the configuration. */
#ifndef TMQ_BRIDGE_SETTINGS_H
#define TMQ_BRIDGE_SETTINGS_H

#include <stdbool.h>
#include <stdint.h>

/* The order of each is that of the words in the file. */
enum bridge_protocol { BRIDGE_MQTT, BRIDGE_MQTTS };
enum bridge_version { BRIDGE_V31, BRIDGE_V311, BRIDGE_V5 };
enum bridge_direction { BRIDGE_OUT, BRIDGE_IN, BRIDGE_BOTH };

/* A rule: the local topics are local_prefix and `topic`, the remote ones remote_prefix and `topic`. */
struct bridge_topic {
    char *topic; /* a filter; "": the prefixes are topics */
    char *local_prefix, *remote_prefix;
    enum bridge_direction direction;
    uint64_t qos;
};

struct bridge_settings {
    char *name;    /* [A-Za-z0-9_.-]+, unique */
    char *address; /* host:port, several with commas */
    char *client_id, *username, *password, *password_file;
    char *ca, *certificate, *key, *server_name;
    char *notifications_topic;
    enum bridge_protocol protocol;
    enum bridge_version version;
    uint64_t keepalive_ms, session_expiry_ms; /* 0: none, no limit */
    uint64_t retry_min_ms, retry_max_ms;
    uint64_t max_inflight;
    bool clean_start, verify;
    bool notifications, notifications_local_only;
    struct bridge_topic *topics;
    unsigned topic_count;
};

static inline bool bridge_topic_goes_out(const struct bridge_topic *t)
{
    return t->direction != BRIDGE_IN;
}
static inline bool bridge_topic_comes_in(const struct bridge_topic *t)
{
    return t->direction != BRIDGE_OUT;
}

#endif
