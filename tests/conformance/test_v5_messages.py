"""The properties of PUBLISH in MQTT 5: what is passed on, what expires, what is refused."""

import time

import pytest

from harness import raw
from harness.peer import Peer, refused

EVERYTHING = {
    "payload_format": 1,
    "content_type": "text/plain; charset=utf-8",
    "response_topic": "answers/to/me",
    "correlation": bytes(range(256)),
    "user": [("b", "2"), ("a", "1"), ("b", "2"), ("", ""), ("ü", "\ufeff"), ("a", "0")],
}


# ---- passed on ----


@pytest.mark.mqtt5(
    "MQTT-3.3.2-4", "MQTT-3.3.2-15", "MQTT-3.3.2-16", "MQTT-3.3.2-17", "MQTT-3.3.2-18", "MQTT-3.3.2-20", "MQTT-2.2.2-1"
)
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_properties_are_passed_on_as_they_came(broker, name, qos):
    """Live, retained and from a queue; a message without any has none."""
    with Peer(broker, name + "-p") as p, Peer(broker, name) as live:
        with Peer(broker, name + "-d", durable=True) as away:
            away.subscribe(name)
            away.bye()
        live.subscribe(name)
        p.publish(name, b"with", qos, retain=True, props=EVERYTHING)
        p.publish(name, b"without", qos)
        with Peer(broker, name + "-r") as later, Peer(broker, name + "-d", durable=True) as away:
            later.subscribe(name)
            got = [live.get(), later.get()]
            assert [m.props for m in got] == [EVERYTHING] * 2
            assert live.get().props == {}
            if qos:
                assert [away.get().props, away.get().props] == [EVERYTHING, {}]
            away.bye()


@pytest.mark.mqtt5("MQTT-3.3.2-4")
def test_a_payload_format_of_0_is_passed_on(broker, name):
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        s.subscribe(name)
        p.publish(name, b"\xff", 1, props={"payload_format": 0})
        assert s.get().props in ({"payload_format": 0}, {}), "0 is what holds without it"


@pytest.mark.mqtt5("MQTT-3.1.3-10", "MQTT-3.3.2-18", "MQTT-3.3.2-17", "MQTT-3.1.3-1")
def test_the_properties_of_a_will(broker, name):
    with Peer(broker, name) as s:
        s.subscribe(name)
        with Peer(broker, name + "-w", will=(name, b"gone", 2, False), will_props={**EVERYTHING, "message_expiry": 1000}) as c:
            c.drop()
        props = s.get().props
        assert 990 <= props.pop("message_expiry") <= 1000
        assert props == EVERYTHING


@pytest.mark.mqtt5("MQTT-3.3.2-15", "MQTT-3.3.2-16")
def test_request_and_response(broker, name):
    """What the pattern needs: the answer finds its way by what the request said."""
    with Peer(broker, name + "-asks") as asks, Peer(broker, name + "-answers") as answers:
        asks.subscribe(name + "/answers")
        answers.subscribe(name + "/requests")
        asks.send(asks.packet(name + "/requests", b"2+2", 1, 7, props={"response_topic": name + "/answers", "correlation": b"\0\1"}))
        request = answers.get()
        topic, correlation = request.props["response_topic"], request.props["correlation"]
        answers.publish(topic, b"4", 1, props={"correlation": correlation})
        asks.receive(raw.PUBACK)
        response = asks.get()
        assert (response.payload, response.props) == (b"4", {"correlation": b"\0\1"})


# ---- refused ----


@pytest.mark.parametrize(
    "block,reason",
    [
        pytest.param(b"\x08" + raw.text("a/+"), 0x82, id="response-wildcard", marks=pytest.mark.mqtt5("MQTT-3.3.2-14")),
        pytest.param(b"\x08" + raw.text("#"), 0x82, id="response-hash", marks=pytest.mark.mqtt5("MQTT-3.3.2-14")),
        pytest.param(b"\x08" + raw.text(b"\xff"), 0x81, id="response-utf8", marks=pytest.mark.mqtt5("MQTT-3.3.2-13")),
        pytest.param(b"\x08" + raw.text(b"a\0"), 0x81, id="response-nul", marks=pytest.mark.mqtt5("MQTT-3.3.2-13")),
        pytest.param(b"\x03" + raw.text(b"\xc3\x28"), 0x81, id="content-utf8", marks=pytest.mark.mqtt5("MQTT-3.3.2-19")),
        pytest.param(b"\x26" + raw.text(b"\xff") + raw.text("v"), 0x81, id="user-utf8", marks=pytest.mark.mqtt5("MQTT-1.5.7-1")),
        pytest.param(b"\x0b\x05", 0x82, id="subscription-identifier", marks=pytest.mark.mqtt5("MQTT-3.3.4-6")),
        pytest.param(b"\x23\0\0", 0x94, id="alias-0", marks=pytest.mark.mqtt5("MQTT-3.3.2-8")),
        pytest.param(b"\x01\x02", 0x82, id="payload-format-2"),
        pytest.param(b"\x01\x01\x01\x01", 0x82, id="payload-format-twice"),
        pytest.param(b"\x02\0\0\0\1\x02\0\0\0\1", 0x82, id="expiry-twice"),
        pytest.param(b"\x11\0\0\0\1", 0x81, id="session-expiry"),
        pytest.param(b"\x02\0\0", 0x81, id="cut"),
    ],
)  # fmt: skip
@pytest.mark.mqtt5("MQTT-4.13.1-1")
def test_properties_that_are_wrong(broker, name, block, reason):
    with Peer(broker, name) as c:
        c.send(raw.packet(raw.PUBLISH, raw.text("t") + raw.length(len(block)) + block + b"x"), raw.pingreq())
        c.ended(reason)


@pytest.mark.mqtt5("MQTT-2.2.2-1")
def test_a_property_length_is_always_there(broker, name):
    """No properties is a length of 0; nothing at all is a packet that ends too soon."""
    with Peer(broker, name) as c:
        c.send(raw.packet(raw.PUBLISH, raw.text("t")))
        c.ended(0x81)


# ---- expiry ----


@pytest.mark.mqtt5("MQTT-3.3.2-5", "MQTT-3.3.2-6", "MQTT-4.3.3-7")
def test_messages_expire_before_they_are_sent_only(broker, name):
    """In a queue, as a retained one, and in flight: the last is sent again although its time is over."""
    with Peer(broker, name + "-p") as p, Peer(broker, name + "-f", durable=True) as flight:
        with Peer(broker, name, durable=True) as s:
            s.subscribe(name)
            s.bye()
        flight.subscribe(name + "/flight")
        p.publish(name, b"short", 1, retain=True, props={"message_expiry": 1})
        p.publish(name, b"short", 2, props={"message_expiry": 1})
        p.publish(name, b"long", 2, props={"message_expiry": 100})
        p.publish(name, b"endless", 1)
        began = time.monotonic()
        for qos in (1, 2):
            p.publish(name + "/flight", b"in flight", qos, props={"message_expiry": 1})
        sent = flight.receive_all(2)
        assert [m.props for m in sent] == [{"message_expiry": 1}] * 2
        flight.drop()
        while time.monotonic() - began < 2.1:
            time.sleep(0.05)
        with Peer(broker, name, durable=True) as s, Peer(broker, name + "-r") as r:
            got = [s.get(), s.get()]
            assert [m.payload for m in got] == [b"long", b"endless"]
            waited = 100 - got[0].props["message_expiry"]
            assert 1 <= waited <= time.monotonic() - began + 1, f"{waited} s"
            assert got[1].props == {}
            s.none_but(p)
            r.subscribe(name)
            r.none_but(p)
            s.bye()
        with Peer(broker, name + "-f", durable=True) as flight:
            again = [flight.get(), flight.get()]
            assert [(m.packet_id, m.dup) for m in again] == [(m.packet_id, True) for m in sent]
            assert all(m.props.get("message_expiry", 0) <= 1 for m in again)
            flight.none_but(p)
            flight.bye()


@pytest.mark.mqtt5("MQTT-4.3.3-13")
def test_an_exchange_goes_on_although_the_message_expired(broker, name):
    """The broker, as receiver of a message whose time is over before it is released, and which nobody got."""
    with Peer(broker, name) as p, Peer(broker, name + "-away", durable=True) as away:
        away.subscribe(name)
        away.bye()
        p.send(p.packet(name, b"short", 2, 11, props={"message_expiry": 1}))
        assert p.receive(raw.PUBREC).packet_id == 11
        time.sleep(1.5)
        p.send(p.packet(name, b"short", 2, 11, dup=True, props={"message_expiry": 1}))
        assert p.receive(raw.PUBREC).packet_id == 11
        p.send(raw.ack(raw.PUBREL, 11))
        got = p.receive(raw.PUBCOMP)
        assert (got.packet_id, got.reason) == (11, 0)
        with Peer(broker, name + "-away", durable=True) as away:
            away.none_but(p)


# ---- wills in time ----


@pytest.mark.mqtt5("MQTT-3.1.3-9", "MQTT-3.1.2-8")
def test_a_will_delay(broker, name):
    """Published when it has passed, taken back by who returns before, and published with the session's end at the latest."""
    with Peer(broker, name + "-w") as w, Peer(broker, name + "-f") as f:
        w.subscribe(name + "/#")

        def client(who, delay, expiry, **kwargs):
            return Peer(broker, f"{name}-{who}", clean=kwargs.pop("clean", False), props={"session_expiry": expiry},
                        will=(f"{name}/{who}", b"gone", 1, False), will_props={"will_delay": delay}, **kwargs)  # fmt: skip

        began = time.monotonic()
        for who, delay, expiry in (("later", 3, 100), ("session", 100, 3), ("returns", 5, 100), ("no-delay", 0, 100)):
            client(who, delay, expiry).drop()
        assert w.get().topic == name + "/no-delay"
        with Peer(broker, name + "-returns", durable=True) as back:
            assert back.present
            w.none_but(f)
            topics = {w.get().topic, w.get().topic}
            assert time.monotonic() - began >= 3
            assert topics == {name + "/later", name + "/session"}
            w.nothing(2.5)
            back.bye()
        client("ends", 100, 100).drop()
        with Peer(broker, name + "-ends", clean=True):
            assert w.get().topic == name + "/ends", "a clean start ends the session, so the will goes out at once"
        w.none_but(f)


# ---- not text at all ----


@pytest.mark.mqtt5("MQTT-3.1.3-11", "MQTT-3.1.2-9")
def test_wills_that_are_wrong(broker):
    for will_props, reason in (({"response_topic": "a/#"}, 0x82), ({"content_type": b"\xff"}, 0x81)):
        login = raw.connect("x", will=("t", b"x", 0, False), level=5, will_props=will_props)
        assert [p.reason for p in refused(broker, login)] == [reason]
