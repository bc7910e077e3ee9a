"""CONNECT, CONNACK and DISCONNECT of MQTT 5: properties, reason codes, what the client may be told."""

import struct

import pytest

from harness import raw
from harness.peer import Peer, refused

CONNACK_CODES = {
    0x00, 0x80, 0x81, 0x82, 0x83, 0x84, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8C, 0x90, 0x95, 0x97, 0x99, 0x9A, 0x9B, 0x9C,
    0x9D, 0x9F,
}  # fmt: skip
DISCONNECT_CODES = {
    0x00, 0x81, 0x82, 0x83, 0x87, 0x89, 0x8B, 0x8D, 0x8E, 0x8F, 0x90, 0x93, 0x94, 0x95, 0x96, 0x97, 0x98, 0x99, 0x9A, 0x9B,
    0x9C, 0x9D, 0x9E, 0x9F, 0xA0, 0xA1, 0xA2, 0x80,
}  # fmt: skip


def connack(got):
    assert [p.kind for p in got] == [raw.CONNACK], got
    assert got[0].body[0] == 0 and got[0].reason in CONNACK_CODES
    return got[0]


def login(broker, name, **kwargs):
    return raw.connect(name, broker.user, broker.password, level=5, **kwargs)


def bad_props(level_body, client_id="x", flags=2):
    """A CONNECT with this property block."""
    head = raw.text("MQTT") + struct.pack("!BBH", 5, flags, 60)
    return raw.packet(raw.CONNECT, head + raw.length(len(level_body)) + level_body + raw.text(client_id))


# ---- client identifiers ----


@pytest.mark.mqtt5("MQTT-3.1.3-6", "MQTT-3.1.3-7", "MQTT-3.2.2-16")
def test_an_empty_client_identifier_gets_one(broker):
    """Its own, that no other has, told in CONNACK; by it the session can be resumed. Also without a clean start."""
    with Peer(broker, "", props={"session_expiry": 60}) as a, Peer(broker, "", clean=False) as b:
        mine, other = (c.connack.props["assigned_client_id"] for c in (a, b))
        assert mine and other and mine != other
        assert not a.present and not b.present
        a.subscribe("t/" + mine)
        a.bye()
    with Peer(broker, mine, durable=True) as again, Peer(broker, mine + "-p") as p:
        assert again.present
        assert "assigned_client_id" not in again.connack.props
        p.publish("t/" + mine, b"x", 1)
        assert again.get().payload == b"x"


@pytest.mark.mqtt5("MQTT-3.1.3-8", "MQTT-3.2.2-7", "MQTT-3.2.2-8")
def test_a_client_identifier_that_is_not_allowed(new_broker):
    broker = new_broker()
    broker.settings(client_id="grouped")
    got = connack(refused(broker, login(broker, "without a group") + raw.pingreq()))
    assert got.reason == 0x85


# ---- refusals ----


@pytest.mark.parametrize(
    "user,password,reason",
    [(None, None, 0x87), ("nobody", "wrong", 0x86), (True, "wrong", 0x86)],
    ids=["none", "unknown", "wrong"],
)
@pytest.mark.mqtt5("MQTT-3.1.4-2", "MQTT-3.2.2-7", "MQTT-3.2.2-8", "MQTT-3.14.0-1", "MQTT-4.13.2-1")
def test_logins_that_fail(broker, name, user, password, reason):
    """One CONNACK, no DISCONNECT behind it."""
    user = broker.user if user is True else user
    got = connack(refused(broker, raw.connect(name, user, password, level=5) + raw.pingreq()))
    assert got.reason == reason


@pytest.mark.parametrize(
    "block,reason",
    [
        (b"\x21\0\0", 0x82),  # receive maximum 0
        (b"\x27\0\0\0\0", 0x82),  # maximum packet size 0
        (b"\x11\0\0\0\1\x11\0\0\0\1", 0x82),  # session expiry twice
        (b"\x17\2", 0x82),  # request problem information 2
        (b"\x19\2", 0x82),  # request response information 2
        (b"\x16\0\1x", 0x82),  # authentication data without a method
        (b"\x24\1", 0x81),  # maximum QoS is the server's
        (b"\x01\1", 0x81),  # payload format is for messages
        (b"\x7f\1", 0x81),  # no such property
        (b"\x11\0\0", 0x81),  # cut
        (b"\x26\0\1a\0\1\xff", 0x81),  # a user property that is not UTF-8
        (b"\x15\0\1\xff", 0x81),  # an authentication method that is not UTF-8
    ],
)
@pytest.mark.mqtt5("MQTT-3.1.4-1", "MQTT-4.13.1-1", "MQTT-3.2.2-8")
def test_properties_that_are_wrong(broker, block, reason):
    assert connack(refused(broker, bad_props(block) + raw.pingreq())).reason == reason


@pytest.mark.parametrize("first", [True, False], ids=["name", "value"])
@pytest.mark.mqtt5("MQTT-1.5.7-1")
def test_both_halves_of_a_pair_are_text(broker, name, first):
    for bad in (b"\xff", b"a\0", b"\xed\xbf\xbf"):
        pair = raw.text(bad if first else b"a") + raw.text(b"b" if first else bad)
        assert connack(refused(broker, bad_props(b"\x26" + pair))).reason == 0x81
        with Peer(broker, name) as c:
            block = b"\x26" + pair
            c.send(raw.packet(raw.PUBLISH, raw.text("t") + raw.length(len(block)) + block))
            c.ended(0x81)


@pytest.mark.mqtt5("MQTT-3.1.2-2", "MQTT-3.14.0-1")
def test_no_disconnect_before_a_connack(broker, name):
    """Whatever goes wrong before: the connection closes with a CONNACK or nothing."""
    cases = (
        (raw.pingreq(), 5, []),
        (raw.packet(raw.CONNECT, b"\0\4MQTT\6\2\0\0"), 4, [raw.CONNACK]),  # answered as any version reads it
        (bad_props(b"\x21\0\0"), 5, [raw.CONNACK]),
        (raw.packet(raw.CONNECT, login(broker, name)[2:-3]), 5, [raw.CONNACK]),
        (raw.packet(raw.CONNECT, b"\0\4HTTP\5\2\0\0"), 5, []),
    )
    for bad, level, kinds in cases:
        assert [p.kind for p in refused(broker, bad, level)] == kinds


# ---- what holds ----


@pytest.mark.mqtt5("MQTT-3.2.2-22", "MQTT-3.1.2-28", "MQTT-3.2.2-1", "MQTT-4.12.0-6")
def test_a_connack_says_no_more_than_it_must(broker, name):
    with Peer(broker, name, keepalive=77) as c:
        props = c.connack.props
        assert "server_keepalive" not in props, "the client's own holds"
        assert "response_information" not in props and "auth_method" not in props
        assert props.get("maximum_qos", 2) == 2 and props.get("retain_available", 1) == 1
        assert props.get("wildcard_available", 1) == 1 and props.get("subid_available", 1) == 1
        assert props.get("shared_available", 1) == 1, "they are served: clients would not even try"


@pytest.mark.mqtt5("MQTT-3.1.2-28")
def test_response_information(new_broker):
    """Only for who asks for it."""
    broker = new_broker("--response-information", "answers/here")
    for asked, told in ((None, None), (0, None), (1, "answers/here")):
        props = None if asked is None else {"request_response": asked}
        with Peer(broker, "c", props=props) as c:
            assert c.connack.props.get("response_information") == told
            c.bye()


@pytest.mark.mqtt5("MQTT-3.1.2-22")
def test_the_server_keep_alive_holds(new_broker):
    """It is told, and it is what counts: for a longer one, and for none."""
    broker = new_broker("--max-keepalive", "1s")
    clients = [Peer(broker, f"c{asked}", keepalive=asked) for asked in (0, 60, 1)]
    assert [c.connack.props.get("server_keepalive") for c in clients] == [1, 1, None]
    for c in clients:
        c.ended(0x8D)


@pytest.mark.mqtt5("MQTT-4.1.0-2")
def test_a_session_expiry_that_is_not_granted_is_told(new_broker):
    broker = new_broker("--session-expiry-max", "100s")
    for asked, told in ((5, None), (1000, 100), (0xFFFFFFFF, 100), (0, None)):
        with Peer(broker, f"c{asked}", props={"session_expiry": asked}) as c:
            assert c.connack.props.get("session_expiry") == told
            c.bye()


# ---- what the client takes ----


@pytest.mark.mqtt5("MQTT-3.2.2-19", "MQTT-3.2.2-20", "MQTT-3.1.2-24", "MQTT-3.2.2-7")
def test_a_connack_that_fits(broker, name):
    """A refusal leaves out what does not fit; where not even that fits, the connection closes without a word."""
    whole = refused(broker, raw.connect(name, level=5, props={"auth_method": "none such"}))[0]
    assert whole.props["reason_string"]
    size = len(whole.body) + 2
    for limit in (size - 1, 5, 4, 1):
        got = refused(broker, raw.connect(name, level=5, props={"auth_method": "none such", "maximum_packet": limit}))
        assert all(len(p.body) + 2 <= limit for p in got)
        assert [p.props for p in got] == ([{}] if limit >= 5 else [])
    got = refused(broker, login(broker, name, props={"maximum_packet": 8}))
    assert all(len(p.body) + 2 <= 8 for p in got), "one that accepts has properties that it can not leave out"


@pytest.mark.mqtt5("MQTT-3.14.2-3", "MQTT-3.14.2-4", "MQTT-3.1.2-24")
def test_a_disconnect_that_fits(broker, name):
    for limit, said in ((1000, True), (40, False)):
        with Peer(broker, name, props={"maximum_packet": limit}) as old, Peer(broker, name):
            last = old.ended(0x8E)
            assert ("reason_string" in last.props) is said
            assert len(last.body) + 2 <= limit


@pytest.mark.mqtt5("MQTT-3.1.2-29")
def test_no_reasons_for_who_wants_none(broker, name):
    """Not a single one in any answer; DISCONNECT may have one, and here has none."""
    with Peer(broker, name, props={"request_problem": 0}) as c:
        answers = [c.publish("nobody/" + name, b"x", qos) for qos in (1, 2)]
        c.subscribe(name)
        c.send(raw.unsubscribe(9, "never", props={}))
        answers.append(c.receive(raw.UNSUBACK))
        c.send(raw.ack(raw.PUBREL, 99))
        answers.append(c.receive(raw.PUBCOMP))
        assert [a.props for a in answers] == [{}] * 4
        c.send(c.packet("a/#"))
        assert c.ended(0x90).props == {}


# ---- DISCONNECT ----


@pytest.mark.parametrize(
    "bad,reason",
    [
        (raw.connect("x", level=5), 0x82),
        (raw.publish("a", bytes(1 << 20), props={}), 0x95),
        (raw.packet(raw.PUBLISH, b"\0\2"), 0x81),
        (raw.publish("a/+", props={}), 0x90),
        (raw.subscribe(1, ("a#", 0), props={}), 0x8F),
        (raw.publish("a", props={"topic_alias": 60000}), 0x94),
        (raw.packet(raw.AUTH), 0x82),
    ],
    ids=["connect", "large", "cut", "topic", "filter", "alias", "auth"],
)
@pytest.mark.mqtt5(
    "MQTT-3.14.2-1", "MQTT-3.14.2-2", "MQTT-3.14.4-1", "MQTT-3.14.4-2", "MQTT-4.13.1-1", "MQTT-4.13.2-1", "MQTT-3.2.2-15"
)
def test_the_servers_disconnect(broker, name, bad, reason):
    """A code of the table, never a session expiry interval, nothing behind it but the close."""
    with Peer(broker, name, durable=True) as c:
        c.send(bad, raw.pingreq() * 100)
        last = c.ended(reason)
        assert last.reason in DISCONNECT_CODES and "session_expiry" not in last.props


@pytest.mark.mqtt5("MQTT-3.14.2-1")
def test_the_servers_disconnect_by_hand_and_at_a_stop(new_broker):
    broker = new_broker()
    with Peer(broker, "kicked") as kicked, Peer(broker, "stays") as stays:
        broker.request("POST", broker.device_path("kicked") + "/kick", 204)
        kicked.ended(0x98)
        broker.stop()
        stays.ended(0x8B)


@pytest.mark.parametrize("code", [0x01, 0x02, 0x8A, 0xA3, 0xFF])
@pytest.mark.mqtt5("MQTT-3.14.2-1")
def test_a_clients_disconnect_of_an_unknown_reason(broker, name, code):
    with Peer(broker, name) as c:
        c.send(raw.disconnect(code))
        c.ended(0x82)


@pytest.mark.mqtt5("MQTT-3.1.2-10", "MQTT-3.1.2-8", "MQTT-3.14.4-3")
@pytest.mark.parametrize("reason,sent", [(None, False), (0x00, False), (0x04, True), (0x80, True), (0x99, True)])
def test_only_reason_0_discards_the_will(broker, name, reason, sent):
    with Peer(broker, name + "-w") as w, Peer(broker, name + "-f") as f:
        w.subscribe(name)
        with Peer(broker, name, will=(name, b"gone", 0, False)) as c:
            c.bye(reason)
        if sent:
            assert w.get().payload == b"gone"
        w.none_but(f)


# ---- who takes over ----


@pytest.mark.mqtt5("MQTT-3.1.4-3")
def test_over_versions(broker, name):
    """A 3.1.1 client may take over from one of MQTT 5, and the other way round; the session goes on."""
    with Peer(broker, name, 5, durable=True) as old, Peer(broker, name + "-p") as p:
        old.subscribe(name)
        with Peer(broker, name, 4, durable=True) as young:
            old.ended(0x8E)
            assert young.present
            p.publish(name, b"to 3.1.1", 1, props={"content_type": "text", "user": [("a", "b")]})
            assert young.get().payload == b"to 3.1.1"
            with Peer(broker, name, 5, durable=True) as third:
                young.ended()
                assert third.present
                p.publish(name, b"to 5", 1, props={"content_type": "text"})
                assert third.get().props == {"content_type": "text"}
