/*
 * A bridge between two brokers that may say anything. The first byte chooses MQTT's version at the remote and whether the link is
 * led to OPEN first; then pieces: a byte (128: from the remote; the rest: length), and so many bytes of that side.
 * Properties: no access outside the input; each side gets whole packets only, and none larger than it takes; nothing is forwarded
 * behind the end; the end has a reason.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "bridge/link.h"
#include "mqtt/client.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { REMOTE_MAX = 200, TICK_MS = 1000 };

static char empty[] = "", plant[] = "plant", out_topic[] = "o/#", in_topic[] = "i/+",
            there[] = "r/";
static struct bridge_topic topics[] = {
    {.topic = out_topic,
     .local_prefix = empty,
     .remote_prefix = there,
     .direction = BRIDGE_OUT,
     .qos = 2},
    {.topic = in_topic,
     .local_prefix = there,
     .remote_prefix = empty,
     .direction = BRIDGE_BOTH,
     .qos = 2},
};
static struct bridge_settings settings = {.name = plant,
                                          .username = empty,
                                          .password = empty,
                                          .notifications_topic = empty,
                                          .notifications = true,
                                          .keepalive_ms = 10000,
                                          .max_inflight = 10,
                                          .topics = topics,
                                          .topic_count = 2};

static void on_warn(void *arg, const char *what, const char *detail)
{
    (void)arg;
    assert(what[0] != '\0' && detail != NULL);
}

/* Takes what it has for a side. */
static void check_out(struct link *l, enum bridge_side side, uint32_t max)
{
    struct buf *out = link_out(l, side);
    while (buf_len(out) > 0) {
        struct mqtt_frame f;
        struct mqtt_error err;
        long n = mqtt_frame(buf_slice(out), UINT32_MAX, &f, &err);
        assert(n > 0);
        assert(f.type != MQTT_PUBLISH || (size_t)n <= max);
        buf_take(out, (size_t)n);
    }
}

static void run(struct link *l, uint64_t now, uint32_t remote_max)
{
    (void)link_run(l, now);
    if (link_phase(l) == LINK_LOCAL_WANTED) {
        link_local_opened(l, now);
        (void)link_run(l, now);
    }
    check_out(l, BRIDGE_LOCAL, UINT32_MAX);
    check_out(l, BRIDGE_REMOTE, remote_max);
    assert((link_phase(l) == LINK_ENDED) == (link_error(l)[0] != '\0'));
}

/* The answers that lead to OPEN. */
static void lead(struct link *l, enum mqtt_version v, uint64_t now)
{
    static const uint8_t codes[] = {2, 2};
    const struct mqtt_props props = {.present = UINT64_C(1) << MQTT_PROP_MAX_PACKET,
                                     .max_packet = REMOTE_MAX};
    mqtt_encode_connack(link_in(l, BRIDGE_REMOTE), v, true, 0, &props);
    run(l, now, UINT32_MAX);
    mqtt_encode_connack(link_in(l, BRIDGE_LOCAL), MQTT_V5, true, 0, NULL);
    mqtt_encode_suback(link_in(l, BRIDGE_LOCAL), MQTT_V5, 1, codes, 2);
    run(l, now, UINT32_MAX);
    mqtt_encode_suback(link_in(l, BRIDGE_REMOTE), v, 65535, codes, 1);
    run(l, now, UINT32_MAX);
    assert(link_phase(l) == LINK_OPEN);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum mqtt_version versions[] = {MQTT_V31, MQTT_V311, MQTT_V5};
    struct bridge_counters counters = {0};
    struct bridge_mapping mapping;
    uint64_t now = TICK_MS;
    if (size == 0) {
        return 0;
    }
    enum mqtt_version v = versions[data[0] % 3];
    bool led = (data[0] & 0x80) != 0;
    uint32_t remote_max = led && v == MQTT_V5 ? REMOTE_MAX : UINT32_MAX;
    settings.version = (enum bridge_version)(data[0] % 3);
    bridge_mapping_init(&mapping, topics, 2);
    const struct link_options o = {.settings = &settings,
                                   .mapping = &mapping,
                                   .counters = &counters,
                                   .local_client_id = "$bridge/plant",
                                   .remote_client_id = "me",
                                   .id = "own-id",
                                   .private_bit = (data[0] & 0x40) != 0,
                                   .warn = on_warn};
    struct link *l = link_new(&o);
    link_begin(l, now);
    if (led) {
        lead(l, v, now);
    }
    for (size_t at = 1; at < size && link_phase(l) != LINK_ENDED;) {
        enum bridge_side side = (data[at] & 0x80) != 0 ? BRIDGE_REMOTE : BRIDGE_LOCAL;
        size_t n = data[at++] & 0x7f;
        n = n < size - at ? n : size - at;
        buf_put(link_in(l, side), data + at, n);
        at += n;
        now += TICK_MS;
        link_fed(l, side, now);
        link_tick(l, now);
        run(l, now, led ? remote_max : UINT32_MAX);
    }
    link_end(l, "the input is over");
    link_farewell(l);
    check_out(l, BRIDGE_LOCAL, UINT32_MAX);
    check_out(l, BRIDGE_REMOTE, UINT32_MAX);
    link_free(l);
    bridge_mapping_fini(&mapping);
    return 0;
}
