"""AUTH of MQTT 5: who may send it when, what it says, how an exchange ends. The method is SCRAM-SHA-256; what it proves is e2e/test_auth.py's."""

import pytest

from harness import raw, scram
from harness.peer import Peer, refused
from harness.scram import CONTINUE, METHOD, REAUTHENTICATE

SERVER_CODES = {0x00, 0x18}


def begun(broker, name, props=None):
    """A client that was asked for more."""
    c = raw.Client(broker)
    c.level = 5
    c.scram = scram.Scram(broker.user, broker.password)
    c.send(scram.connect(name, c.scram.first(), props=props or {}))
    c.asked = c.receive(raw.AUTH)
    return c


def answer(c):
    return c.scram.final(c.asked.props["auth_data"])


def connack_then_end(c, reasons):
    got = c.wait_closed()
    assert [p.kind for p in got] == [raw.CONNACK], got
    assert got[0].reason in reasons, f"{got[0].reason:#x}"


@pytest.mark.mqtt5("MQTT-4.12.0-2", "MQTT-4.12.0-5", "MQTT-3.15.2-1", "MQTT-3.2.0-1", "MQTT-3.2.0-2")
def test_an_exchange(broker, name):
    """AUTH 0x18 before the CONNACK, the CONNECT's method in each of them; one CONNACK."""
    with begun(broker, name) as c:
        assert (c.asked.reason, c.asked.props["auth_method"]) == (0x18, METHOD)
        c.send(raw.auth(CONTINUE, scram.props(answer(c))))
        connack = c.receive(raw.CONNACK)
        assert (connack.reason, connack.props["auth_method"]) == (0, METHOD)
        c.nothing(0)


@pytest.mark.mqtt5("MQTT-3.15.2-2", "MQTT-3.15.2-3", "MQTT-3.1.2-24")
def test_an_auth_that_fits(broker, name):
    """It says no more than method and data; a client that does not take even that gets no AUTH."""
    with begun(broker, name) as c:
        size = len(c.asked.body) + 2
        assert set(c.asked.props) == {"auth_method", "auth_data"}
    with begun(broker, name, {"maximum_packet": size}) as c:
        assert len(c.asked.body) + 2 <= size
    s = scram.Scram(broker.user, broker.password)
    got = refused(broker, scram.connect(name, s.first(), props={"maximum_packet": size - 1}))
    assert [p.kind for p in got] in ([], [raw.CONNACK])
    assert all(len(p.body) + 2 < size and p.reason >= 0x80 for p in got)


@pytest.mark.mqtt5("MQTT-4.12.0-1")
def test_a_method_that_is_not_served(broker, name):
    got = refused(broker, scram.connect(name, b"x", method="NONE-SUCH"))
    assert [(p.kind, p.reason) for p in got] == [(raw.CONNACK, 0x8C)]


@pytest.mark.mqtt5("MQTT-4.12.0-4", "MQTT-4.13.2-1")
def test_an_exchange_that_fails(broker, name):
    with begun(broker, name) as c:
        c.scram.password = "wrong"
        c.send(raw.auth(CONTINUE, scram.props(answer(c))), raw.pingreq())
        connack_then_end(c, {0x86, 0x87})


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(lambda c: raw.pingreq(), id="pingreq", marks=pytest.mark.mqtt5("MQTT-3.1.2-30")),
        pytest.param(lambda c: raw.publish("t", props={}), id="publish", marks=pytest.mark.mqtt5("MQTT-3.1.2-30")),
        pytest.param(lambda c: raw.subscribe(1, ("t", 0), props={}), id="subscribe", marks=pytest.mark.mqtt5("MQTT-3.1.2-30")),
        pytest.param(lambda c: raw.auth(0, scram.props(answer(c))), id="reason-0", marks=pytest.mark.mqtt5("MQTT-4.12.0-3")),
        pytest.param(lambda c: raw.auth(REAUTHENTICATE, scram.props(answer(c))), id="reason-19",
                     marks=pytest.mark.mqtt5("MQTT-4.12.0-3")),
        pytest.param(lambda c: raw.auth(0x80, scram.props(answer(c))), id="reason-80", marks=pytest.mark.mqtt5("MQTT-3.15.2-1")),
        pytest.param(lambda c: raw.auth(CONTINUE, scram.props(answer(c), "OTHER")), id="method",
                     marks=pytest.mark.mqtt5("MQTT-4.12.0-5")),
        pytest.param(lambda c: raw.auth(CONTINUE, {"auth_data": answer(c)}), id="no-method",
                     marks=pytest.mark.mqtt5("MQTT-4.12.0-5")),
        pytest.param(lambda c: raw.packet(raw.AUTH, b"\x18\0", 2), id="flags", marks=pytest.mark.mqtt5("MQTT-3.15.1-1")),
    ],
)  # fmt: skip
@pytest.mark.mqtt5("MQTT-3.1.4-6", "MQTT-3.14.0-1")
def test_what_may_not_come_in_an_exchange(broker, name, bad):
    """The CONNECT is refused, and what follows is not processed: no DISCONNECT, as there was no CONNACK."""
    with begun(broker, name) as c:
        c.send(bad(c), raw.auth(CONTINUE, scram.props(answer(c))), raw.pingreq())
        connack_then_end(c, {0x81, 0x82, 0x87, 0x8C})


@pytest.mark.mqtt5("MQTT-3.1.2-30")
def test_a_client_may_give_up_in_an_exchange(broker, name):
    with begun(broker, name) as c:
        c.send(raw.disconnect(0x80))
        assert all(p.kind == raw.CONNACK and p.reason >= 0x80 for p in c.wait_closed())


@pytest.mark.mqtt5("MQTT-4.12.0-6", "MQTT-4.12.0-7")
@pytest.mark.parametrize("auth", [raw.auth(), raw.auth(CONTINUE, scram.props(b"x")), raw.auth(REAUTHENTICATE, scram.props(b"x"))])
def test_no_auth_without_a_method(broker, name, auth):
    """Neither from the server, in CONNACK or as a packet, nor from the client."""
    with Peer(broker, name) as c:
        assert "auth_method" not in c.connack.props and "auth_data" not in c.connack.props
        c.nothing(0)
        c.send(auth)
        c.ended(0x82)


@pytest.mark.mqtt5("MQTT-4.12.1-1", "MQTT-4.12.0-5", "MQTT-3.15.2-1")
def test_authenticated_again(broker, name):
    with raw.Client(broker) as c:
        scram.login(c, name, broker.user, broker.password)
        for _ in range(2):
            s = scram.Scram(broker.user, broker.password)
            c.send(raw.auth(REAUTHENTICATE, scram.props(s.first())))
            asked = c.receive(raw.AUTH)
            assert (asked.reason, asked.props["auth_method"]) == (0x18, METHOD)
            c.send(raw.auth(CONTINUE, scram.props(s.final(asked.props["auth_data"]))))
            done = c.receive(raw.AUTH)
            assert (done.reason, done.props["auth_method"]) == (0, METHOD)
        c.nothing(0)


@pytest.mark.parametrize(
    "packet,reason",
    [
        pytest.param(raw.auth(CONTINUE, scram.props(b"n,,n=u,r=x")), 0x82, id="not-begun"),
        pytest.param(raw.auth(0, scram.props(b"x")), 0x82, id="reason-0"),
        pytest.param(raw.auth(REAUTHENTICATE, scram.props(b"x", "OTHER")), 0x8C, id="method"),
        pytest.param(raw.auth(REAUTHENTICATE, scram.props(b"nonsense")), 0x87, id="nonsense", marks=pytest.mark.mqtt5("MQTT-4.12.1-2")),
        pytest.param(raw.auth(0xFF, scram.props(b"x")), 0x82, id="reason-ff", marks=pytest.mark.mqtt5("MQTT-3.15.2-1")),
    ],
)  # fmt: skip
@pytest.mark.mqtt5("MQTT-4.12.1-1", "MQTT-4.13.1-1")
def test_authenticating_again_wrongly(broker, name, packet, reason):
    with raw.Client(broker) as c:
        scram.login(c, name, broker.user, broker.password)
        c.send(packet, raw.pingreq())
        last = c.wait_closed()
        assert [(p.kind, p.reason) for p in last] == [(raw.DISCONNECT, reason)]


@pytest.mark.mqtt5("MQTT-4.12.1-2")
def test_authenticating_again_fails(broker, name):
    with raw.Client(broker) as c:
        scram.login(c, name, broker.user, broker.password)
        end = scram.again(c, broker.user, "wrong")
        assert (end.kind, end.reason) == (raw.DISCONNECT, 0x87)
        assert c.wait_closed() == []
