/*
 * The codec on arbitrary bytes: the first byte chooses version and packet limit, the rest is a stream.
 * Properties: no access outside the input, each frame takes at least two bytes and not more than there
 * are, errors are complete, and what is decoded survives encoding: a PUBLISH, an acknowledgement and all
 * entries of a subscription come back the same.
 */
#include <assert.h>
#include <stdint.h>
#include <stdlib.h>

#include "mqtt/client.h"
#include "mqtt/packet.h"
#include "mqtt/topic.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_error(const struct mqtt_error *err, size_t len)
{
    assert(err->reason >= 0x80 && err->text != NULL && err->clause != NULL);
    assert(err->cause < CAUSE_COUNT && err->offset <= len);
}

static struct mqtt_frame frame_again(const struct buf *b)
{
    struct mqtt_frame f;
    struct mqtt_error err;
    long n = mqtt_frame(buf_slice(b), UINT32_MAX, &f, &err);
    assert(n > 0 && (size_t)n == buf_len(b));
    return f;
}

static void check_publish(enum mqtt_version v, const struct mqtt_publish *p)
{
    struct buf first = {0}, second = {0};
    struct mqtt_publish q;
    struct mqtt_error err;
    assert(p->topic.n == 0 ? v == MQTT_V5 : mqtt_topic_valid(p->topic));
    mqtt_encode_publish(&first, v, p);
    assert(buf_len(&first) == mqtt_publish_size(v, p));
    struct mqtt_frame f = frame_again(&first);
    assert(f.type == MQTT_PUBLISH && mqtt_decode_publish(&f, v, &q, &err) == 0);
    assert(p->qos == q.qos && p->retain == q.retain && p->packet_id == q.packet_id);
    assert(p->qos == 0 || p->dup == q.dup);
    assert(slice_eq(p->topic, q.topic) && slice_eq(p->payload, q.payload));
    assert(p->props.present == q.props.present && p->props.subid_count == q.props.subid_count);
    /* Written a second time it is the same to the byte, so all properties are. */
    mqtt_encode_publish(&second, v, &q);
    assert(slice_eq(buf_slice(&first), buf_slice(&second)));
    buf_fini(&first);
    buf_fini(&second);
}

static void check_ack(enum mqtt_version v, enum mqtt_type type, const struct mqtt_ack *a)
{
    struct buf b = {0};
    struct mqtt_ack q;
    struct mqtt_error err;
    mqtt_encode_ack(&b, v, type, a->packet_id, a->reason);
    struct mqtt_frame f = frame_again(&b);
    assert(f.type == type && mqtt_decode_ack(&f, v, &q, &err) == 0);
    assert(a->packet_id == q.packet_id && a->reason == q.reason);
    buf_fini(&b);
}

static void check_entries(const struct mqtt_subscribe *s, bool unsubscribe)
{
    struct slice entries = s->entries;
    struct mqtt_sub sub;
    uint32_t count = 0;
    while (mqtt_sub_next(&entries, unsubscribe, &sub)) {
        assert(mqtt_filter_valid(sub.filter) && sub.qos <= 2 && sub.retain_handling <= 2);
        assert(mqtt_filter_covers(sub.filter, sub.filter));
        assert(mqtt_filter_overlaps(sub.filter, sub.filter));
        count++;
    }
    assert(count > 0 && count == s->count);
}

static void check_connect(const struct mqtt_connect *c)
{
    struct buf first = {0}, second = {0};
    struct mqtt_connect q;
    struct mqtt_error err;
    mqtt_encode_connect(&first, c);
    struct mqtt_frame f = frame_again(&first);
    assert(mqtt_decode_connect(&f, &q, &err) == 0);
    assert(slice_eq(c->client_id, q.client_id) && c->version == q.version);
    mqtt_encode_connect(&second, &q);
    assert(slice_eq(buf_slice(&first), buf_slice(&second)));
    buf_fini(&first);
    buf_fini(&second);
}

static void walk_users(const struct mqtt_props *props)
{
    struct slice rest = props->user, name, value;
    bool any = false;
    while (mqtt_user_next(&rest, &name, &value)) {
        assert(mqtt_utf8_valid(name) && mqtt_utf8_valid(value));
        any = true;
    }
    assert(any == ((props->present >> MQTT_PROP_USER & 1) != 0));
}

/* Decodes one frame and checks what came out; returns the decoder's word. */
static int decode_and_check(const struct mqtt_frame *f, enum mqtt_version v, struct mqtt_error *err)
{
    struct mqtt_connect connect;
    struct mqtt_connack connack;
    struct mqtt_publish publish;
    struct mqtt_ack ack;
    struct mqtt_subscribe subscribe;
    struct mqtt_suback suback;
    struct mqtt_disconnect disconnect;
    struct mqtt_auth auth;
    int rc = -1;
    switch (f->type) {
    case MQTT_CONNECT:
        if ((rc = mqtt_decode_connect(f, &connect, err)) == 0) {
            check_connect(&connect);
            walk_users(&connect.props);
        }
        return rc;
    case MQTT_PUBLISH:
        if ((rc = mqtt_decode_publish(f, v, &publish, err)) == 0) {
            check_publish(v, &publish);
            walk_users(&publish.props);
        }
        return rc;
    case MQTT_PUBACK:
    case MQTT_PUBREC:
    case MQTT_PUBREL:
    case MQTT_PUBCOMP:
        if ((rc = mqtt_decode_ack(f, v, &ack, err)) == 0) {
            check_ack(v, f->type, &ack);
            walk_users(&ack.props);
        }
        return rc;
    case MQTT_SUBSCRIBE:
        if ((rc = mqtt_decode_subscribe(f, v, &subscribe, err)) == 0) {
            check_entries(&subscribe, false);
        }
        return rc;
    case MQTT_UNSUBSCRIBE:
        if ((rc = mqtt_decode_unsubscribe(f, v, &subscribe, err)) == 0) {
            check_entries(&subscribe, true);
        }
        return rc;
    case MQTT_CONNACK:
        return mqtt_decode_connack(f, v, &connack, err);
    case MQTT_SUBACK:
    case MQTT_UNSUBACK:
        return mqtt_decode_suback(f, v, &suback, err);
    case MQTT_PINGREQ:
    case MQTT_PINGRESP:
        return mqtt_decode_empty(f, err);
    case MQTT_DISCONNECT:
        return mqtt_decode_disconnect(f, v, &disconnect, err);
    case MQTT_AUTH:
        return mqtt_decode_auth(f, &auth, err);
    }
    abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    enum mqtt_version v = (enum mqtt_version)(MQTT_V31 + data[0] % 3);
    uint32_t max_bytes = (data[0] & 0x80) != 0 ? 64 : 1 << 20;
    struct slice rest = slice_make(data + 1, size - 1);
    for (;;) {
        struct mqtt_frame f;
        struct mqtt_error err = {0};
        long n = mqtt_frame(rest, max_bytes, &f, &err);
        if (n < 0) {
            check_error(&err, rest.n);
        }
        if (n <= 0) {
            return 0;
        }
        assert(n >= 2 && (size_t)n <= rest.n && (size_t)n <= max_bytes);
        assert((size_t)n == f.header_len + f.body.n);
        err = (struct mqtt_error){0};
        if (decode_and_check(&f, v, &err) != 0) {
            check_error(&err, (size_t)n);
        }
        rest = slice_from(rest, (size_t)n);
    }
}
