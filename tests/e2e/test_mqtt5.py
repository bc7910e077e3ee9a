"""MQTT 5 as clients meet it, paho and raw sockets: how connections and sessions begin and end."""

import os
import queue
import time

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

import pytest

from harness import raw


@pytest.fixture
def name():
    return "v5-" + os.urandom(4).hex()


def login5(client, name, **kwargs):
    return client.login(name, level=5, **kwargs)


def ended(broker, name, cause):
    """The close of a client that was let in once."""
    return broker.wait_causes(name, "accepted.new", cause)[1]


def told(client, reason):
    """The DISCONNECT that ends what comes."""
    last = client.wait_closed()[-1]
    assert (last.kind, last.reason) == (raw.DISCONNECT, reason), last
    return last


def test_connack_says_what_holds(broker, name):
    with raw.Client(broker) as c:
        assert login5(c, name) is False
        props = c.connack.props
        assert props["receive_maximum"] == 1024
        assert props["maximum_packet"] == 1 << 20
        assert "session_expiry" not in props and "assigned_client_id" not in props
        c.bye()
    end = ended(broker, name, "client.normal")
    assert end["protocol"] == "5.0"


@pytest.mark.mqtt5("MQTT-3.1.3-7")
def test_assigned_client_id(broker):
    with raw.Client(broker) as c:
        login5(c, "")
        given = c.connack.props["assigned_client_id"]
        c.bye()
    ended(broker, given, "client.normal")


@pytest.mark.mqtt5("MQTT-3.1.4-3")
def test_takeover_is_told(broker, name):
    with raw.Client(broker) as old, raw.Client(broker) as young:
        login5(old, name)
        login5(young, name)
        assert "took over" in told(old, 0x8E).props["reason_string"]
        young.nothing()


def test_no_reason_string_for_who_wants_none(broker, name):
    with raw.Client(broker) as old, raw.Client(broker) as young:
        login5(old, name, props={"request_problem": 0})
        login5(young, name)
        assert told(old, 0x8E).props == {}


@pytest.mark.mqtt5("MQTT-3.14.2-3")
def test_no_reason_string_that_does_not_fit(broker, name):
    with raw.Client(broker) as old, raw.Client(broker) as young:
        login5(old, name, props={"maximum_packet": 40})
        login5(young, name)
        assert told(old, 0x8E).props == {}


@pytest.mark.parametrize(
    "bad,reason,cause",
    [
        (raw.connect("x", level=5), 0x82, "protocol.second_connect"),
        (raw.publish("a/+", props={}), 0x90, "protocol.violation"),
        (raw.packet(raw.PUBLISH, b"\0\2", 0), 0x81, "protocol.malformed"),
        (raw.publish("a", bytes(1 << 20), props={}), 0x95, "limit.packet_size"),
        (raw.packet(raw.PINGRESP), 0x82, "protocol.violation"),
        (raw.disconnect(0, {"session_expiry": 9}), 0x82, "protocol.violation"),
    ],
    ids=["connect", "wildcard", "cut", "large", "pingresp", "expiry"],
)
@pytest.mark.mqtt5("MQTT-3.14.2-1", "MQTT-4.13.1-1")
def test_errors_are_told_though_more_was_sent(broker, name, bad, reason, cause):
    """What the broker does not read any more must not cost the client the reason."""
    with raw.Client(broker) as c:
        login5(c, name)
        c.send(bad, raw.pingreq() * 1000)
        told(c, reason)
    assert ended(broker, name, cause)["detail"]["reasonCode"] == reason


def test_kick_is_told(broker, name):
    with raw.Client(broker) as c:
        login5(c, name)
        broker.request("POST", broker.device_path(name) + "/kick", 204)
        told(c, 0x98)


def test_client_says_why(broker, name):
    with raw.Client(broker) as c:
        login5(c, name)
        c.send(raw.disconnect(0x83, {"reason_string": "battery", "user": [("cell", "3.1"), ("n", "2")]}))
        assert c.wait_closed() == []
    detail = ended(broker, name, "client.reason")["detail"]
    assert (detail["reasonCode"], detail["reasonString"]) == (0x83, "battery")
    assert detail["userProperties"] == "cell=3.1; n=2"


@pytest.mark.mqtt5("MQTT-3.14.4-3", "MQTT-3.1.2-10")
def test_wills_and_reasons(broker, name):
    with raw.Client(broker) as watch:
        watch.login(name + "-watch")
        watch.send(raw.subscribe(1, (f"will/{name}", 0)))
        watch.receive(raw.SUBACK)
        for reason, sent in ((0x00, False), (0x04, True), (0x80, True)):
            with raw.Client(broker) as c:
                login5(c, name, will=(f"will/{name}", "gone", 0, False))
                c.send(raw.disconnect(reason))
                c.wait_closed()
            if sent:
                assert watch.receive(raw.PUBLISH).payload == b"gone"
            else:
                watch.nothing()


@pytest.mark.mqtt5("MQTT-4.1.0-2", "MQTT-3.1.2-23")
def test_session_expiry(broker, name):
    for expiry, wait, present in ((0, 0, False), (1, 2.5, False), (3600, 1.5, True), (0xFFFFFFFF, 0, True)):
        with raw.Client(broker) as c:
            login5(c, name, clean=True, props={"session_expiry": expiry})
            c.send(raw.disconnect())
            c.wait_closed()  # the broker has seen it: from here its clock runs
        time.sleep(wait)
        with raw.Client(broker) as c:
            assert login5(c, name, clean=False) is present
            c.bye()


@pytest.mark.mqtt5("MQTT-3.1.3-9", "MQTT-3.1.2-8")
def test_will_delay(broker, name):
    with raw.Client(broker) as watch:
        watch.login(name + "-watch")
        watch.send(raw.subscribe(1, (f"will/{name}", 0)))
        watch.receive(raw.SUBACK)
        begin = time.monotonic()
        for _ in range(2):
            with raw.Client(broker) as c:  # the second one takes the first one's will back
                login5(c, name, clean=False, props={"session_expiry": 3600}, will=(f"will/{name}", "gone", 1, False),
                       will_props={"will_delay": 2})
        assert watch.receive(raw.PUBLISH).payload == b"gone"
        assert time.monotonic() - begin >= 2
        watch.nothing()


@pytest.mark.mqtt5("MQTT-4.12.0-1")
def test_authentication_methods_are_refused_by_name(broker, name):
    with raw.Client(broker) as c:
        login5(c, name, expect=0x8C, props={"auth_method": "nobody's", "auth_data": b"x"})
    end = broker.wait_causes(name, "auth.method")[0]
    assert "nobody's" in end["detail"]["rule"]


def test_paho(broker, name):
    """A client library that knows nothing of us."""
    events = queue.Queue()
    client = paho.Client(name, protocol=paho.MQTTv5)
    client.username_pw_set(broker.user, broker.password)
    client.on_connect = lambda c, u, flags, reason, props: events.put(("connect", reason.value, props))
    client.on_disconnect = lambda c, u, reason, props=None: events.put(("disconnect", getattr(reason, "value", reason)))
    client.on_message = lambda c, u, m: events.put(("message", m.payload))
    client.on_subscribe = lambda c, u, mid, codes, props: events.put(("subscribe", [code.value for code in codes]))
    client.on_unsubscribe = lambda c, u, mid, props, codes: events.put(("unsubscribe",))
    wanted = Properties(PacketTypes.CONNECT)
    wanted.SessionExpiryInterval = 60
    client.connect(broker.host, broker.port, properties=wanted)
    client.loop_start()
    kind, code, props = events.get(timeout=60)
    assert (kind, code, props.MaximumPacketSize) == ("connect", 0, 1 << 20)
    for qos in (0, 1, 2):
        client.subscribe(f"{name}/{qos}", qos)
        assert events.get(timeout=60) == ("subscribe", [qos])
        client.publish(f"{name}/{qos}", b"%d" % qos, qos)
        assert events.get(timeout=60) == ("message", b"%d" % qos)
    client.unsubscribe(f"{name}/0")
    assert events.get(timeout=60) == ("unsubscribe",)
    broker.request("POST", broker.device_path(name) + "/kick", 204)
    assert events.get(timeout=60) == ("disconnect", 0x98)
    client.disconnect()
    client.loop_stop()
