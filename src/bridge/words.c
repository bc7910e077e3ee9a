/* What the other broker said, in words; see words.h. */
#include "bridge/words.h"

#include <stddef.h>

static const struct {
    uint8_t code;
    const char *text;
} reasons[] = {
    {MQTT_RC_SUCCESS, "success"},
    {MQTT_RC_DISCONNECT_WITH_WILL, "disconnected, with the will"},
    {MQTT_RC_NO_SUBSCRIBERS, "no subscriber"},
    {MQTT_RC_UNSPECIFIED, "unspecified error"},
    {MQTT_RC_MALFORMED, "malformed packet"},
    {MQTT_RC_PROTOCOL_ERROR, "protocol error"},
    {MQTT_RC_IMPLEMENTATION, "implementation specific error"},
    {MQTT_RC_VERSION, "unsupported protocol version"},
    {MQTT_RC_CLIENT_ID, "client identifier not valid"},
    {MQTT_RC_BAD_CREDENTIALS, "bad user name or password"},
    {MQTT_RC_NOT_AUTHORIZED, "not authorized"},
    {MQTT_RC_SERVER_UNAVAILABLE, "server unavailable"},
    {MQTT_RC_SERVER_BUSY, "server busy"},
    {MQTT_RC_BANNED, "banned"},
    {MQTT_RC_SHUTTING_DOWN, "server shutting down"},
    {MQTT_RC_BAD_AUTH_METHOD, "bad authentication method"},
    {MQTT_RC_KEEPALIVE_TIMEOUT, "keepalive timeout"},
    {MQTT_RC_TAKEN_OVER, "session taken over by another connection with this client ID"},
    {MQTT_RC_FILTER_INVALID, "topic filter invalid"},
    {MQTT_RC_TOPIC_INVALID, "topic name invalid"},
    {MQTT_RC_PACKET_ID_IN_USE, "packet identifier in use"},
    {MQTT_RC_PACKET_ID_NOT_FOUND, "packet identifier not found"},
    {MQTT_RC_RECEIVE_MAX, "receive maximum exceeded"},
    {MQTT_RC_TOPIC_ALIAS, "topic alias invalid"},
    {MQTT_RC_PACKET_TOO_LARGE, "packet too large"},
    {MQTT_RC_RATE_TOO_HIGH, "message rate too high"},
    {MQTT_RC_QUOTA, "quota exceeded"},
    {MQTT_RC_ADMIN, "administrative action"},
    {MQTT_RC_PAYLOAD_FORMAT, "payload format invalid"},
    {MQTT_RC_RETAIN_UNSUPPORTED, "retain not supported"},
    {MQTT_RC_QOS_UNSUPPORTED, "QoS not supported"},
    {MQTT_RC_USE_ANOTHER, "use another server"},
    {MQTT_RC_MOVED, "server moved"},
    {MQTT_RC_SHARED_UNSUPPORTED, "shared subscriptions not supported"},
    {MQTT_RC_CONNECTION_RATE, "connection rate exceeded"},
    {MQTT_RC_MAX_CONNECT_TIME, "maximum connect time"},
    {MQTT_RC_SUBID_UNSUPPORTED, "subscription identifiers not supported"},
    {MQTT_RC_WILDCARD_UNSUPPORTED, "wildcard subscriptions not supported"},
};

const char *bridge_reason_text(uint8_t reason)
{
    for (size_t i = 0; i < sizeof reasons / sizeof *reasons; i++) {
        if (reasons[i].code == reason) {
            return reasons[i].text;
        }
    }
    return "unknown reason code";
}

const char *bridge_connack_text(enum mqtt_version v, uint8_t code)
{
    static const char *const codes[] = {
        "accepted",           "unacceptable protocol version", "client identifier rejected",
        "server unavailable", "bad user name or password",     "not authorized"};
    if (v == MQTT_V5) {
        return bridge_reason_text(code);
    }
    return code < sizeof codes / sizeof *codes ? codes[code] : "unknown return code";
}
