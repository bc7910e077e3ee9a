"""Subscription options and identifiers of MQTT 5, reason codes of what is acknowledged."""

import pytest

from harness import raw
from harness.peer import Peer

NO_LOCAL, AS_PUBLISHED, IF_NEW, NEVER = 0x04, 0x08, 0x10, 0x20


def held(c):
    """What a SUBSCRIBE brought at once: everything before the answer to a PING that follows its SUBACK."""
    c.send(raw.pingreq())
    got = []
    while True:
        p = c.receive()
        if p.kind == raw.PINGRESP:
            return got
        c.acknowledge(p)
        got.append(p.payload)


@pytest.mark.mqtt5("MQTT-3.3.1-9", "MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.8.4-4")
@pytest.mark.parametrize(
    "option,brings", [(0, [1, 1, 1]), (IF_NEW, [1, 0, 0]), (NEVER, [0, 0, 0])], ids=["always", "if-new", "never"]
)
def test_retain_handling(broker, name, option, brings):
    """At a first, a second and a changed subscription; after UNSUBSCRIBE it is new again."""
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        p.publish(name, b"kept", 1, retain=True)
        for _ in range(2):
            for qos, expected in zip((1, 1, 0), brings):
                assert s.subscribe((name, option | qos)) == [qos]
                assert held(s) == [b"kept"] * expected
            s.unsubscribe(name)


@pytest.mark.mqtt5("MQTT-3.3.1-12", "MQTT-3.3.1-13")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_retain_as_published(broker, name, qos):
    with Peer(broker, name + "-0") as plain, Peer(broker, name + "-1") as as_published, Peer(broker, name + "-p") as p:
        plain.subscribe((name, 2))
        as_published.subscribe((name, 2 | AS_PUBLISHED))
        for retain in (False, True, False):
            p.publish(name, b"x", qos, retain=retain)
            assert (plain.get().retain, as_published.get().retain) == (False, retain)


@pytest.mark.mqtt5("MQTT-3.3.1-13", "MQTT-3.8.4-3")
def test_options_are_replaced(broker, name):
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        for options in (2 | AS_PUBLISHED | NEVER, 1 | NEVER, AS_PUBLISHED | NEVER | 1):
            s.subscribe((name, options), props={"subid": options})
            p.publish(name, b"x", 2, retain=True)
            got = s.get()
            assert (got.qos, got.retain, got.props) == (options & 3, bool(options & AS_PUBLISHED), {"subid": [options]})
        s.subscribe((name, NEVER))
        p.publish(name, b"x", 2)
        assert s.get().props == {}, "without an identifier it has none any more"


@pytest.mark.mqtt5("MQTT-3.8.3-3")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_local(broker, name, qos):
    """Nothing of its own, all of others; in overlap with a subscription without the option it comes by that one."""
    with Peer(broker, name) as c, Peer(broker, name + "-other") as other:
        c.subscribe((name + "/a", 2 | NO_LOCAL))
        c.publish(name + "/a", b"own", qos)
        other.publish(name + "/a", b"another's", qos)
        assert c.get().payload == b"another's"
        c.subscribe((name + "/#", 1))
        c.send(c.packet(name + "/a", b"own", 0))
        got = c.get()
        assert (got.payload, got.qos) == (b"own", 0)
        c.none_but(other)


@pytest.mark.mqtt5("MQTT-3.8.3-3")
def test_no_local_is_of_the_client_not_of_the_connection(broker, name):
    """What it published on an earlier connection, while the session lasts."""
    with Peer(broker, name, durable=True) as c:
        c.subscribe((name, 1 | NO_LOCAL))
        c.publish(name, b"own", 1)
        c.drop()
    with Peer(broker, name, durable=True) as c, Peer(broker, name + "-other") as other:
        c.publish(name, b"own", 1)
        c.none_but(other)


@pytest.mark.mqtt5("MQTT-3.3.4-3", "MQTT-3.3.4-4")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_subscription_identifiers(broker, name, qos):
    """One copy with the identifiers of all that match; the largest one, too."""
    largest = 268_435_455
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        s.subscribe(name + "/a", props={"subid": 1})
        s.subscribe(name + "/+", props={"subid": largest})
        s.subscribe(name + "/#")
        s.subscribe(name + "/b", "elsewhere/" + name, props={"subid": 200})
        for topic, subids in (("a", {1, largest}), ("b", {200, largest}), ("c", {largest}), ("d/e", set())):
            p.publish(f"{name}/{topic}", b"x", qos, props={"user": [("k", "v")]})
            props = s.get().props
            assert set(props.pop("subid", [])) == subids
            assert props == {"user": [("k", "v")]}
            s.none_but(p)


@pytest.mark.mqtt5("MQTT-3.3.4-3", "MQTT-3.3.4-4")
def test_subscription_identifiers_of_queued_and_retained_messages(broker, name):
    with Peer(broker, name + "-p") as p:
        with Peer(broker, name, durable=True) as s:
            s.subscribe(name + "/a", props={"subid": 7})
            s.subscribe(name + "/#", props={"subid": 8})
            s.bye()
        p.publish(name + "/a", b"queued", 1)
        p.publish(name + "/b", b"kept", 1, retain=True)
        with Peer(broker, name, durable=True) as s:
            assert sorted(s.get().props["subid"]) == [7, 8]
            assert s.get().props["subid"] == [8]
            s.send(raw.subscribe(99, (name + "/b", 1), props={"subid": 9}))
            got = [s.receive(), s.receive()]
            kept = [m for m in got if m.kind == raw.PUBLISH]
            assert [m.props["subid"] for m in kept] == [[9]]
            s.bye()


@pytest.mark.parametrize("block", [b"\x0b\0", b"\x0b\1\x0b\2"], ids=["0", "twice"])
@pytest.mark.mqtt5("MQTT-4.13.1-1")
def test_subscription_identifiers_that_are_wrong(broker, name, block):
    with Peer(broker, name) as c:
        body = b"\0\1" + raw.length(len(block)) + block + raw.text("t") + b"\0"
        c.send(raw.packet(raw.SUBSCRIBE, body, 2))
        c.ended(0x82)


@pytest.mark.mqtt5("MQTT-4.13.1-1")
def test_retain_handling_3(broker, name):
    with Peer(broker, name) as c:
        c.send(raw.subscribe(1, ("t", 0x30), props={}))
        c.ended(0x82)


# ---- reason codes ----


@pytest.mark.mqtt5("MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-3.6.2-1", "MQTT-3.7.2-1", "MQTT-2.2.1-5")
@pytest.mark.parametrize("durable", [False, True], ids=["clean", "durable"])
def test_reason_codes_of_the_server(broker, name, durable):
    """Success, nobody subscribed, an identifier that it does not know."""
    with Peer(broker, name, durable=durable) as c, Peer(broker, name + "-s") as s:
        assert [c.publish(name, b"x", qos).reason for qos in (1, 2)] == [0x10, 0x10]
        s.subscribe(name)
        assert [c.publish(name, b"x", qos).reason for qos in (1, 2)] == [0, 0]
        c.send(raw.ack(raw.PUBREL, 4711))
        got = c.receive(raw.PUBCOMP)
        assert (got.packet_id, got.reason) == (4711, 0x92)
        c.send(raw.ack(raw.PUBREC, 4712))
        got = c.receive(raw.PUBREL)
        assert (got.packet_id, got.reason) == (4712, 0x92)
        c.nothing(0)


@pytest.mark.parametrize(
    "kind,good,bad",
    [
        pytest.param(raw.PUBACK, (0x00, 0x10, 0x80, 0x99), (0x01, 0x92, 0xFF), marks=pytest.mark.mqtt5("MQTT-3.4.2-1")),
        pytest.param(raw.PUBREC, (0x00, 0x10, 0x80, 0x99), (0x01, 0x92, 0xFF), marks=pytest.mark.mqtt5("MQTT-3.5.2-1")),
        pytest.param(raw.PUBREL, (0x00, 0x92), (0x10, 0x80), marks=pytest.mark.mqtt5("MQTT-3.6.2-1")),
        pytest.param(raw.PUBCOMP, (0x00, 0x92), (0x10, 0x80), marks=pytest.mark.mqtt5("MQTT-3.7.2-1")),
    ],
    ids=["puback", "pubrec", "pubrel", "pubcomp"],
)
def test_reason_codes_of_clients(broker, name, kind, good, bad):
    """Those of the table are taken, with or without properties; others are a protocol error."""
    with Peer(broker, name) as c:
        for code in good:
            c.send(raw.ack(kind, 999, code), raw.ack(kind, 999, code, {"reason_string": "so", "user": [("a", "b")]}))
        c.send(raw.pingreq())
        while c.receive().kind != raw.PINGRESP:
            pass
    for code in bad:
        with Peer(broker, name) as c:
            c.send(raw.ack(kind, 999, code))
            c.ended(0x82)


@pytest.mark.mqtt5("MQTT-4.4.0-2", "MQTT-4.3.3-4")
def test_a_refused_message_is_acknowledged(broker, name):
    """PUBACK and PUBREC of 0x80 and above: no PUBREL, no repetition, and the next messages come."""
    with Peer(broker, name + "-p") as p:
        with Peer(broker, name, durable=True, props={"receive_maximum": 2}) as s:
            s.subscribe(name)
            for n in range(3):
                p.publish(name, b"%d" % n, 1 + n % 2)
            one, two = s.receive_all(2)
            s.send(raw.ack(raw.PUBACK, one.packet_id, 0x97), raw.ack(raw.PUBREC, two.packet_id, 0x83))
            third = s.receive(raw.PUBLISH)
            assert third.payload == b"2"
            s.none_but(p)
            s.drop()
        with Peer(broker, name, durable=True) as s:
            again = s.get()
            assert (again.packet_id, again.dup, again.payload) == (third.packet_id, True, b"2")
            s.none_but(p)
            s.bye()
