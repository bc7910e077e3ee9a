"""CONNECT and CONNACK in both versions: what must be there, what is refused and how, and what is never done before."""

import struct

import pytest

from harness import raw
from harness.peer import Peer, refused

m311 = pytest.mark.mqtt311
m5 = pytest.mark.mqtt5


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


def hand_made(level, flags, payload):
    """A CONNECT of these flags and this payload, whether they fit or not."""
    head = raw.text("MQTT") + struct.pack("!BBH", level, flags, 60)
    return raw.packet(raw.CONNECT, head + (b"\0" if level == 5 else b"") + payload)


def closed_without_a_word(got):
    assert got == [], got


def closed_with(got, reason):
    """MQTT 5: a CONNACK that says why, and nothing else."""
    assert [p.kind for p in got] == [raw.CONNACK], got
    assert got[0].reason == reason, f"reason {got[0].reason:#x}, expected {reason:#x}"
    assert got[0].body[0] == 0, "session present in a refusal"


# ---- the first packet ----


@pytest.mark.parametrize(
    "first",
    [raw.pingreq(), raw.publish("a", "x"), raw.subscribe(1, ("a", 0)), raw.disconnect(), raw.packet(raw.CONNACK, b"\0\0")],
    ids=["pingreq", "publish", "subscribe", "disconnect", "connack"],
)
@pytest.mark.mqtt311("MQTT-3.1.0-1")
@pytest.mark.mqtt5("MQTT-3.1.0-1", "MQTT-3.14.0-1", "MQTT-3.2.0-1")
def test_the_first_packet_is_connect(broker, name, first):
    login = raw.connect(name, broker.user, broker.password)
    closed_without_a_word(refused(broker, first + login))


@pytest.mark.parametrize("bad", ["MQTX", "mqtt", "MQTT5", "", "HTTP"])
@pytest.mark.mqtt311("MQTT-3.1.2-1")
@pytest.mark.mqtt5("MQTT-3.1.2-1")
def test_other_protocol_names(broker, name, level, bad):
    """Not processed as this version's CONNECT: no session begins."""
    login = raw.connect(name, broker.user, broker.password, level=level, name=bad)
    got = refused(broker, login + raw.pingreq(), level)
    assert got == [] or got[0].reason == 0x84
    assert broker.status(name) is None


@pytest.mark.parametrize("bad", [0, 1, 2, 3, 6, 127, 255])
@pytest.mark.mqtt311("MQTT-3.1.2-2", "MQTT-3.2.2-5")
@pytest.mark.mqtt5("MQTT-3.1.2-2")
def test_other_protocol_levels(broker, name, bad):
    """Answered as every version reads it: return code 1."""
    body = raw.text("MQTT") + struct.pack("!BBH", bad, 2, 60) + raw.text(name)
    got = refused(broker, raw.packet(raw.CONNECT, body), 4)
    assert [p.body for p in got] == [b"\0\1"]


# ---- flags and payload ----

WILL, USER, PASSWORD = 0x04, 0x80, 0x40


def fields(level, *texts):
    return b"".join(raw.text(t) for t in texts)


def will(level, *texts):
    """Client ID, (will properties,) and the rest."""
    return raw.text(texts[0]) + (b"\0" if level == 5 else b"") + fields(level, *texts[1:])


@pytest.mark.parametrize(
    "make,reason",
    [
        pytest.param(lambda v: hand_made(v, 3, raw.text("x")), 0x81, id="reserved",
                     marks=[m311("MQTT-3.1.2-3"), m5("MQTT-3.1.2-3")]),
        pytest.param(lambda v: hand_made(v, 2 | WILL, raw.text("x")), 0x81, id="will-missing",
                     marks=[m311("MQTT-3.1.2-9"), m5("MQTT-3.1.2-9")]),
        pytest.param(lambda v: hand_made(v, 2 | WILL, will(v, "x", "topic")), 0x81, id="will-payload-missing",
                     marks=[m311("MQTT-3.1.2-9"), m5("MQTT-3.1.2-9")]),
        pytest.param(lambda v: hand_made(v, 2, will(v, "x", "topic", "payload")), 0x81, id="will-unannounced",
                     marks=[m311("MQTT-3.1.2-11"), m5("MQTT-3.1.2-9")]),
        pytest.param(lambda v: hand_made(v, 2 | 1 << 3, raw.text("x")), 0x82, id="will-qos-alone",
                     marks=[m311("MQTT-3.1.2-11", "MQTT-3.1.2-13"), m5("MQTT-3.1.2-11")]),
        pytest.param(lambda v: hand_made(v, 2 | 0x20, raw.text("x")), 0x82, id="will-retain-alone",
                     marks=[m311("MQTT-3.1.2-11", "MQTT-3.1.2-15"), m5("MQTT-3.1.2-13")]),
        pytest.param(lambda v: hand_made(v, 2 | WILL | 3 << 3, will(v, "x", "t", "p")), 0x81, id="will-qos-3",
                     marks=[m311("MQTT-3.1.2-14"), m5("MQTT-3.1.2-12")]),
        pytest.param(lambda v: hand_made(v, 2, fields(v, "x", "user")), 0x81, id="user-unannounced",
                     marks=[m311("MQTT-3.1.2-18"), m5("MQTT-3.1.2-16")]),
        pytest.param(lambda v: hand_made(v, 2 | USER, fields(v, "x")), 0x81, id="user-missing",
                     marks=[m311("MQTT-3.1.2-19"), m5("MQTT-3.1.2-17")]),
        pytest.param(lambda v: hand_made(v, 2 | USER, fields(v, "x", "user", "word")), 0x81, id="password-unannounced",
                     marks=[m311("MQTT-3.1.2-20"), m5("MQTT-3.1.2-18")]),
        pytest.param(lambda v: hand_made(v, 2 | USER | PASSWORD, fields(v, "x", "user")), 0x81, id="password-missing",
                     marks=[m311("MQTT-3.1.2-21"), m5("MQTT-3.1.2-19")]),
        pytest.param(lambda v: hand_made(v, 2, b""), 0x81, id="client-id-missing",
                     marks=[m311("MQTT-3.1.3-3"), m5("MQTT-3.1.3-3")]),
        pytest.param(lambda v: hand_made(v, 2, raw.text(b"x\xff")), 0x81, id="client-id-utf8",
                     marks=[m311("MQTT-3.1.3-4", "MQTT-1.5.3-1"), m5("MQTT-3.1.3-4", "MQTT-1.5.4-1")]),
        pytest.param(lambda v: hand_made(v, 2, raw.text("x\0")), 0x81, id="client-id-nul",
                     marks=[m311("MQTT-1.5.3-2"), m5("MQTT-1.5.4-2")]),
        pytest.param(lambda v: hand_made(v, 2 | WILL, will(v, "x", b"t\xc3", "p")), 0x81, id="will-topic-utf8",
                     marks=[m311("MQTT-3.1.3-10"), m5("MQTT-3.1.3-11")]),
        pytest.param(lambda v: hand_made(v, 2 | USER, fields(v, "x", b"u\xff")), 0x81, id="user-utf8",
                     marks=[m311("MQTT-3.1.3-11"), m5("MQTT-3.1.3-12")]),
        pytest.param(lambda v: hand_made(v, 2 | WILL, will(v, "x", "t/#", "p")), 0x90, id="will-wildcard",
                     marks=[m311("MQTT-4.7.1-1"), m5("MQTT-4.7.0-1")]),
        pytest.param(lambda v: raw.packet(raw.CONNECT, b"\0\4MQTT"), 0x81, id="cut"),
    ],
)  # fmt: skip
@pytest.mark.mqtt311("MQTT-3.1.4-1", "MQTT-3.2.2-6")
@pytest.mark.mqtt5("MQTT-3.1.4-1", "MQTT-4.13.1-1")
def test_connects_that_are_wrong(broker, level, make, reason):
    """3.1.1 says: closed without a CONNACK. MQTT 5 has a CONNACK for it."""
    got = refused(broker, make(level) + raw.pingreq(), level)
    if level == 5 and got:
        closed_with(got, reason)
    else:
        closed_without_a_word(got)


@pytest.mark.mqtt311("MQTT-3.1.2-22", "MQTT-3.1.4-1")
def test_a_password_without_a_user_name(broker, name):
    """An error in 3.1.1; MQTT 5 allows it, and here it is a login that nobody has."""
    closed_without_a_word(refused(broker, hand_made(4, 2 | PASSWORD, fields(4, name, "word")), 4))
    got = refused(broker, hand_made(5, 2 | PASSWORD, fields(5, name, "word")), 5)
    assert got[0].reason in (0x86, 0x87)


@pytest.mark.mqtt311("MQTT-3.1.3-1", "MQTT-3.1.3-3")
@pytest.mark.mqtt5("MQTT-3.1.3-1", "MQTT-3.1.3-3")
def test_the_order_of_the_payload(broker, name, level):
    """Each field is taken for what its place says: the client by its ID, the will to its topic, the login by user and password."""
    with Peer(broker, name + "-w", level) as w:
        w.subscribe(name + "/will")
        with Peer(broker, name, level, will=(name + "/will", b"the payload", 0, False)) as c:
            c.drop()
        got = w.get()
        assert (got.topic, got.payload) == (name + "/will", b"the payload")
    swapped = raw.connect(name, broker.password, broker.user, level=level)
    got = refused(broker, swapped, level)
    assert got[0].kind == raw.CONNACK and got[0].reason in (4, 0x86)


# ---- client identifiers ----


@pytest.mark.parametrize("client_id", ["0", "Z", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"])
@pytest.mark.mqtt311("MQTT-3.1.3-5", "MQTT-3.1.4-4", "MQTT-3.2.0-1")
@pytest.mark.mqtt5("MQTT-3.1.3-5", "MQTT-3.1.4-5", "MQTT-3.2.0-1")
def test_plain_client_identifiers(broker, level, client_id):
    """login() wants a CONNACK 0 as the first packet."""
    with Peer(broker, client_id, level) as c:
        c.bye()


@pytest.mark.mqtt311("MQTT-3.1.3-2")
@pytest.mark.mqtt5("MQTT-3.1.3-2")
def test_the_client_identifier_names_the_session(broker, name, level):
    for client_id, topic in ((name + "-a", "a"), (name + "-b", "b")):
        with Peer(broker, client_id, level, durable=True) as c:
            c.subscribe(f"{name}/{topic}")
            c.bye()
    with Peer(broker, name, level) as p:
        p.publish(f"{name}/a", b"for a", 1)
        p.publish(f"{name}/b", b"for b", 1)
        for client_id, payload in ((name + "-b", b"for b"), (name + "-a", b"for a")):
            with Peer(broker, client_id, level, durable=True) as c:
                assert c.present
                assert c.get().payload == payload
                c.none_but(p)
                c.bye()
    with Peer(broker, name + "-A", level, durable=True) as c:
        assert not c.present, "identifiers are compared exactly"


# ---- the answer ----


@pytest.mark.mqtt311("MQTT-3.2.2-4", "MQTT-3.2.2-5", "MQTT-3.1.4-5")
@pytest.mark.mqtt5("MQTT-3.2.2-6", "MQTT-3.2.2-7", "MQTT-3.1.4-2", "MQTT-3.1.4-6", "MQTT-3.2.0-2", "MQTT-4.13.2-1")
def test_a_refusal(broker, name, level):
    """One CONNACK, session present 0 although there is a session, the close, and nothing of what was sent behind it."""
    with Peer(broker, name, level, durable=True) as c:
        c.bye()
    with Peer(broker, name + "-w", level) as w:
        w.subscribe(name + "/#")
        login = raw.connect(name, broker.user, "wrong", clean=False, level=level)
        props = {} if level == 5 else None
        behind = [
            raw.publish(name + "/x", "never", 1, 1, props=props),
            raw.publish(name + "/x", "never", props=props),
            raw.subscribe(2, ("a", 0), props=props),
            raw.pingreq(),
        ]
        got = refused(broker, login + b"".join(behind), level)
        assert [(p.kind, p.body[0], p.reason) for p in got] == [(raw.CONNACK, 0, 0x86 if level == 5 else 4)]
        with Peer(broker, name + "-p", level) as p:
            w.none_but(p)


@pytest.mark.mqtt311("MQTT-3.2.0-1", "MQTT-3.1.4-4")
@pytest.mark.mqtt5("MQTT-3.2.0-1", "MQTT-3.1.4-5", "MQTT-3.2.2-1", "MQTT-3.2.2-8", "MQTT-4.12.0-6", "MQTT-2.2.2-1")
def test_connack_comes_first(broker, name, level):
    """Although a queue waits, what follows the CONNECT is there already, and a retained message is asked for."""
    with Peer(broker, name, level, durable=True) as c:
        c.subscribe(name + "/#")
        c.bye()
    with Peer(broker, name + "-p", level) as p:
        p.publish(name + "/kept", b"kept", 1, retain=True)
        p.publish(name + "/queued", b"queued", 2)
        p.publish(name + "/kept", b"", 1, retain=True)
    for _ in range(3):
        with raw.Client(broker) as c:
            c.level = level
            props = {"session_expiry": 3600}
            login = raw.connect(name, broker.user, broker.password, clean=False, level=level, props=props)
            c.send(login, raw.pingreq(), raw.subscribe(9, (name + "/+", 0), props={} if level == 5 else None))
            got = c.receive()
            assert (got.kind, got.reason, got.body[0]) == (raw.CONNACK, 0, 1)
            if level == 5:
                assert "auth_method" not in got.props and "auth_data" not in got.props
            c.reset()


@pytest.mark.mqtt311("MQTT-3.1.4-2")
@pytest.mark.mqtt5("MQTT-3.1.4-3", "MQTT-3.14.4-2", "MQTT-3.14.4-1")
def test_a_second_client_of_the_same_identifier(broker, name, level):
    with Peer(broker, name, level) as old, Peer(broker, name, level) as young:
        old.ended(0x8E)
        young.subscribe(name)
        young.nothing(0)


@pytest.mark.mqtt311("MQTT-7.0.0-2", "MQTT-7.1.1-1")
@pytest.mark.mqtt5("MQTT-4.2.0-1")
def test_tcp_carries_it_all_in_any_pieces(broker, name, level):
    """The transport is a stream: packets arrive cut anywhere. Nothing but the standard's own is used."""
    props = {} if level == 5 else None
    data = b"".join(
        [
            raw.connect(name, broker.user, broker.password, level=level),
            raw.subscribe(1, (name, 1), props=props),
            raw.publish(name, b"in pieces", 1, 2, props=props),
            raw.pingreq(),
        ]
    )
    for size in (1, 2, 7, len(data)):
        with raw.Client(broker) as c:
            c.level = level
            for at in range(0, len(data), size):
                c.send(data[at : at + size])
            got = [c.receive() for _ in range(5)]
            assert [p.kind for p in got[:2]] == [raw.CONNACK, raw.SUBACK]
            assert {p.kind for p in got[2:]} == {raw.PUBLISH, raw.PUBACK, raw.PINGRESP}
