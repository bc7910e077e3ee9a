/*
 * Whole connections, fuzzed: the input is a script of what up to three clients send and of what happens around them. The
 * oracle is h_check(): exactly one ending for every channel, exactly one connect before it when it was accepted, and only
 * whole packets of a server are written; h_stop() asserts that nothing is stuck, the sanitizers that nothing leaks.
 *
 * The first byte: bit 0 two workers, bit 1 small limits. Then actions, each a byte `slot << 4 | action` and its arguments:
 *
 *   0 BYTES n bytes…   1 PACKET kind id   2 CHUNK n (bytes a read gives)   3 END   4 ERROR which   5 TIME n (× 250 ms)
 *   6 WRITE_ROOM n (255: no limit)   7 WRITE_ERROR   8 RING_ROOM n (255: no limit)   9 STORE what   10 AUTH what
 *   11 KICK   12 SETTINGS what   13 ROUND (of one worker)   14 SETTLE   15 OTHER what (stall, crash and restart)
 *
 * PACKET's kinds from 24 on are of MQTT 5: four CONNECTs, AUTH, DISCONNECT, PUBLISH and SUBSCRIBE with properties; the
 * others are in the version of the slot's last CONNECT.
 *
 * A slot whose client is gone gets a new one with its next bytes. tests/fuzz/server_conn_corpus.py makes the corpus.
 */
#include <errno.h>
#include <stdlib.h>

#include "server_harness.h"

enum { SLOTS = 3, OPENED_MAX = 24, ACTIONS_MAX = 400, FED_MAX = 1 << 20 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct script {
    struct harness h;
    struct slice rest;
    struct client *slot[SLOTS];
    unsigned workers, opened;
    size_t fed;
};

static uint8_t take(struct script *s)
{
    uint8_t b = s->rest.n > 0 ? s->rest.p[0] : 0;
    s->rest = slice_from(s->rest, 1);
    return b;
}

static struct client *client_of(struct script *s, unsigned slot)
{
    struct client *c = s->slot[slot];
    if ((c == NULL || c->mem.closed) && s->opened < OPENED_MAX) {
        c = s->slot[slot] = h_open(&s->h, s->opened % s->workers);
        s->opened++;
    }
    return c;
}

static void feed(struct script *s, unsigned slot, struct slice bytes)
{
    struct client *c = client_of(s, slot);
    if (c != NULL && s->fed + bytes.n <= FED_MAX) {
        s->fed += bytes.n;
        h_feed(&s->h, c, bytes);
    }
}

static void feed_raw(struct script *s, unsigned slot)
{
    size_t n = take(s);
    n = n < s->rest.n ? n : s->rest.n;
    struct slice bytes = slice_make(s->rest.p, n);
    s->rest = slice_from(s->rest, n);
    feed(s, slot, bytes);
}

/* ---- packets that get far ---- */

static void put_connect(struct buf *b, unsigned kind, unsigned id)
{
    static const char *const ids[] = {"a", "b", "c", ""};
    struct mqtt_connect p = h_connect_of(ids[id & 3], (kind & 1) != 0 || (id & 3) == 3);
    p.keepalive = (id & 4) != 0 ? 2 : 0;
    p.version = (id & 8) != 0 ? MQTT_V31 : MQTT_V311;
    p.level = (uint8_t)p.version;
    if (p.version == MQTT_V31 && p.client_id.n == 0) {
        p.client_id = slice_str("d");
    }
    if ((kind & 2) != 0) {
        p.will = (struct mqtt_will){.present = true,
                                    .retain = (id & 16) != 0,
                                    .qos = (uint8_t)((id >> 5) % 3),
                                    .topic = slice_str("t/1"),
                                    .payload = slice_str("will")};
    }
    if ((kind & 4) != 0) {
        p.has_username = p.has_password = true;
        p.username = slice_str("user");
        p.password = slice_str("secret");
    }
    mqtt_encode_connect(b, &p);
}

static const char *topic_of(unsigned n)
{
    static const char *const topics[] = {"t/1", "t/2", "u", "deny/x"};
    static const char *const delayed[] = {"$delayed/1/t/1", "$delayed/0/t/2", "$delayed/1/",
                                          "$delayed/2/deny/x"};
    return (n & 192) == 192 ? delayed[n & 3] : topics[n & 3];
}

#define PROP(id) (UINT64_C(1) << MQTT_PROP_##id)

static struct mqtt_props auth_props(unsigned id)
{
    static const char *const data[] = {"hello", "me", "another", ""};
    return (struct mqtt_props){.present = PROP(AUTH_METHOD) | PROP(AUTH_DATA),
                               .auth_method = slice_str((id & 4) != 0 ? "OTHER" : "TEST"),
                               .auth_data = slice_str(data[id & 3])};
}

/* `what`: plain, with a delayed will, with an authentication method, that takes little. */
static void put_connect5(struct buf *b, unsigned what, unsigned id)
{
    static const char *const ids[] = {"a", "b", "c", ""};
    static const uint32_t seconds[] = {0, 1, 10, UINT32_MAX};
    uint32_t some = seconds[(id >> 3) & 3];
    struct mqtt_connect p = h_connect5_of(ids[id & 3], (id & 4) != 0, some);
    if (what == 1) {
        p.will = (struct mqtt_will){.present = true,
                                    .qos = (uint8_t)(id >> 5) % 3,
                                    .retain = (id & 128) != 0,
                                    .topic = slice_str("t/1"),
                                    .payload = slice_str("will")};
        p.will.props.present = PROP(WILL_DELAY) | PROP(MESSAGE_EXPIRY) | PROP(CONTENT_TYPE);
        p.will.props.will_delay = seconds[(id >> 5) & 3];
        p.will.props.message_expiry = 1;
        p.will.props.content_type = slice_str("x");
    } else if (what == 2) {
        struct mqtt_props auth = auth_props(id >> 5);
        auth.present |= p.props.present;
        auth.session_expiry = p.props.session_expiry;
        p.props = auth;
    } else if (what == 3) {
        p.keepalive = 1;
        p.props.present |= PROP(MAX_PACKET) | PROP(RECEIVE_MAX) | PROP(TOPIC_ALIAS_MAX) |
                           PROP(REQUEST_PROBLEM) | PROP(REQUEST_RESPONSE);
        p.props.max_packet = 1 + (id >> 5) * 8;
        p.props.receive_max = 1;
        p.props.topic_alias_max = (uint16_t)(id >> 6);
        p.props.request_problem_info = (id >> 5) & 1;
        p.props.request_response_info = 1;
    }
    mqtt_encode_connect(b, &p);
}

static void put_disconnect5(struct buf *b, unsigned id)
{
    static const uint8_t reasons[] = {0x00, 0x04, 0x80, 0x82};
    const struct mqtt_props props = {.present = (id & 4) != 0 ? PROP(SESSION_EXPIRY) : 0,
                                     .session_expiry = id >> 3};
    mqtt_encode_disconnect(b, reasons[id & 3], &props);
}

static void put_auth(struct buf *b, unsigned id)
{
    static const uint8_t reasons[] = {0x18, 0x19, 0x00, 0x18};
    const struct mqtt_props props = auth_props(id);
    mqtt_encode_auth(b, reasons[(id >> 3) & 3], &props);
}

static void put_publish5(struct buf *b, unsigned id)
{
    static const uint8_t user[] = {MQTT_PROP_USER, 0, 1, 'k', 0, 1, 'v'};
    struct mqtt_publish p = {.qos = (uint8_t)((id >> 2) % 3),
                             .retain = (id & 16) != 0,
                             .topic = slice_str(topic_of(id)),
                             .payload = slice_str("five"),
                             .packet_id = (id >> 2) % 3 > 0 ? 7 : 0};
    p.props.present = PROP(USER);
    p.props.user = slice_make(user, sizeof user);
    if ((id & 32) != 0) {
        p.props.present |= PROP(TOPIC_ALIAS);
        p.props.topic_alias = 1;
        p.topic.n = (id & 128) != 0 ? 0 : p.topic.n;
    }
    if ((id & 64) != 0) {
        p.props.present |= PROP(MESSAGE_EXPIRY) | PROP(RESPONSE_TOPIC) | PROP(CORRELATION);
        p.props.message_expiry = 1;
        p.props.response_topic = slice_str("u");
        p.props.correlation = slice_str("c");
    }
    mqtt_encode_publish(b, MQTT_V5, &p);
}

static void put_subscribe5(struct buf *b, unsigned id)
{
    static const char *const filters[] = {"t/1", "t/+", "$share/g/t/+", "deny/#"};
    const struct mqtt_sub sub = {.filter = slice_str(filters[id & 3]),
                                 .qos = (uint8_t)((id >> 2) % 3),
                                 .no_local = (id & 16) != 0 && (id & 3) != 2,
                                 .retain_as_published = (id & 32) != 0,
                                 .retain_handling = (uint8_t)((id >> 6) % 3)};
    const struct mqtt_props props = {.present = PROP(SUBID), .subids = {id + 1}, .subid_count = 1};
    mqtt_encode_subscribe(b, MQTT_V5, 11, &sub, 1, (id & 8) != 0 ? &props : NULL);
}

/* False: not one of those. */
static bool put_packet5(struct buf *b, unsigned kind, unsigned id)
{
    if (kind < 24) {
        return false;
    }
    if (kind < 28) {
        put_connect5(b, kind - 24, id);
    } else if (kind == 28) {
        put_auth(b, id);
    } else if (kind == 29) {
        put_disconnect5(b, id);
    } else if (kind == 30) {
        put_publish5(b, id);
    } else {
        put_subscribe5(b, id);
    }
    return true;
}

static void put_publish(struct buf *b, enum mqtt_version v, unsigned kind, unsigned id)
{
    static const uint8_t large[3000] = {'x'};
    static const size_t sizes[] = {0, 4, 1500, 3000};
    struct mqtt_publish p = {.qos = (uint8_t)(kind % 3),
                             .topic = slice_str(topic_of(id)),
                             .payload = slice_make(large, sizes[(id >> 2) & 3]),
                             .retain = (id & 16) != 0,
                             .packet_id = (uint16_t)(1 + (id >> 5))};
    p.dup = p.qos > 0 && kind >= 3;
    p.packet_id = p.qos > 0 ? p.packet_id : 0;
    mqtt_encode_publish(b, v, &p);
}

static void put_subscribe(struct buf *b, enum mqtt_version v, unsigned id)
{
    static const char *const filters[] = {"t/1", "t/+", "#", "deny/#"};
    const struct mqtt_sub subs[2] = {
        {.filter = slice_str(filters[id & 3]), .qos = (uint8_t)((id >> 2) % 3)},
        {.filter = slice_str(filters[(id >> 4) & 3]), .qos = (uint8_t)((id >> 6) % 3)}};
    mqtt_encode_subscribe(b, v, (uint16_t)(id + 1), subs, 1 + ((id >> 5) & 1), NULL);
}

static void feed_packet(struct script *s, unsigned slot)
{
    struct buf b = {0};
    unsigned kind = take(s) % 32, id = take(s);
    const struct slice filter = slice_str(topic_of(id));
    struct client *c = client_of(s, slot);
    enum mqtt_version v = c == NULL ? MQTT_V311 : c->version;
    if (put_packet5(&b, kind, id)) {
        v = kind < 28 ? MQTT_V5 : v;
    } else if (kind < 8) {
        put_connect(&b, kind, id);
        v = MQTT_V311;
    } else if (kind < 14) {
        put_publish(&b, v, kind - 8, id);
    } else if (kind < 16) {
        put_subscribe(&b, v, id);
    } else if (kind == 16) {
        mqtt_encode_unsubscribe(&b, v, 9, &filter, 1, NULL);
    } else if (kind < 21) {
        mqtt_encode_ack(&b, v, (enum mqtt_type)(MQTT_PUBACK + kind - 17), (uint16_t)(1 + id % 8),
                        0);
    } else if (kind == 21) {
        mqtt_encode_pingreq(&b);
    } else {
        buf_put(&b, kind == 22 ? "\xe0\x00" : "\xf0\x01", 2);
    }
    if (c != NULL) {
        c->version = v;
    }
    feed(s, slot, buf_slice(&b));
    buf_fini(&b);
}

/* ---- what happens around them ---- */

static void on_store(uint8_t what)
{
    switch (what % 4) {
    case 0:
        fake_trace.hold = true;
        break;
    case 1:
        fake_trace.hold = false;
        while (fake_commit(0)) {
        }
        break;
    case 2:
        (void)fake_commit(0);
        break;
    default:
        (void)fake_commit(-ENOSPC);
        break;
    }
}

/* Subscriptions are filtered from now on, and some topics, or all, may not be read; or none is any more. */
static void filter_by(unsigned what)
{
    static const char *const secrets[4] = {"t/", "t/2", "#", NULL};
    fake_auth.secret = secrets[what & 3];
    fake_auth.subscriptions =
        fake_auth.secret == NULL ? SUBSCRIPTIONS_COVERED : SUBSCRIPTIONS_FILTERED;
    fake_auth.version++;
}

static void on_auth(struct script *s, uint8_t what)
{
    if (what >= 4 && what < 8) {
        filter_by(what);
        return;
    }
    switch (what % 4) {
    case 0:
        fake_auth.slow = !fake_auth.slow;
        break;
    case 1:
        (void)h_auth_finish(&s->h);
        break;
    case 2:
        fake_auth.refuse = fake_auth.refuse == 0 ? CAUSE_AUTH_BAD_PASSWORD : 0;
        break;
    default:
        fake_auth.on_denied =
            fake_auth.on_denied == ON_DENIED_CLOSE ? ON_DENIED_REFUSE : ON_DENIED_CLOSE;
        break;
    }
}

static void restart(struct script *s, unsigned workers)
{
    h_crash(&s->h);
    for (unsigned i = 0; i < SLOTS; i++) {
        s->slot[i] = NULL;
    }
    s->workers = workers;
    h_start(&s->h, workers);
}

static void on_end(struct script *s, unsigned slot, int err)
{
    if (s->slot[slot] != NULL) {
        h_end(&s->h, s->slot[slot], err);
    }
}

static void write_room(struct script *s, unsigned slot, uint8_t n)
{
    if (s->slot[slot] != NULL) {
        h_write_room(&s->h, s->slot[slot], n == 255 ? SIZE_MAX : n);
    }
}

static void action(struct script *s)
{
    static const int errors[] = {-ECONNRESET, -ETIMEDOUT, -EHOSTUNREACH, -EIO};
    uint8_t op = take(s);
    unsigned slot = (unsigned)(op >> 4) % SLOTS;
    uint8_t n;
    switch (op & 15) {
    case 0:
        feed_raw(s, slot);
        break;
    case 1:
        feed_packet(s, slot);
        break;
    case 2:
        n = take(s);
        if (s->slot[slot] != NULL) {
            s->slot[slot]->mem.read_limit = n;
        }
        break;
    case 3:
        on_end(s, slot, 0);
        break;
    case 4:
        on_end(s, slot, errors[take(s) & 3]);
        break;
    case 5:
        h_pass(&s->h, (uint64_t)take(s) % 64 * 250);
        break;
    case 6:
        write_room(s, slot, take(s));
        break;
    case 7:
        if (s->slot[slot] != NULL) {
            s->slot[slot]->mem.write_error = -EPIPE;
        }
        break;
    case 8:
        n = take(s);
        fake_trace.room = n == 255 ? UINT32_MAX : n;
        break;
    case 9:
        on_store(take(s));
        break;
    case 10:
        on_auth(s, take(s));
        break;
    case 11:
        (void)h_kick(&s->h, slice_str(slot == 0 ? "a" : slot == 1 ? "b" : "c"));
        break;
    case 12:
        fake_auth.revoked = (take(s) & 1) != 0;
        h_settings_changed(&s->h);
        break;
    case 13:
        h_round(&s->h, slot % s->workers);
        break;
    case 14:
        h_settle(&s->h);
        break;
    default:
        n = take(s);
        if ((n & 3) != 0) {
            h_stall(&s->h, (uint64_t)n * 100);
        } else {
            restart(s, 1 + ((n >> 2) & 1));
        }
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct script *s = calloc(1, sizeof *s);
    s->rest = slice_make(data, size);
    uint8_t first = take(s);
    s->workers = 1 + (first & 1U);
    h_init(&s->h);
    if ((first & 2) != 0) {
        s->h.config.max_queued_messages = 4;
        s->h.config.max_inflight = 2;
        s->h.config.receive_maximum = 3;
        s->h.config.max_output_bytes = 4000;
        s->h.config.max_subscriptions = 3;
        s->h.config.mailbox_bytes = 100;
        s->h.config.max_packet_size = 2000;
        s->h.config.max_connections = 3;
        s->h.config.max_keepalive_ms = 2000;
        s->h.config.session_expiry_max_ms = 5000;
    }
    fake_auth.deny = "deny/";
    h_start(&s->h, s->workers);
    for (unsigned i = 0; s->rest.n > 0 && i < ACTIONS_MAX; i++) {
        action(s);
    }
    h_settle(&s->h);
    h_check(&s->h, false);
    h_fini(&s->h);
    free(s);
    return 0;
}
