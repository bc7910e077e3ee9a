"""Sessions, wills, keep alive and PING in both versions."""

import socket
import time

import pytest

from harness import raw
from harness.peer import Peer, refused
from harness.wait import wait_until


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


# ---- sessions ----


@pytest.mark.mqtt311("MQTT-3.1.2-4", "MQTT-3.2.2-2", "MQTT-3.2.2-3", "MQTT-4.1.0-1")
@pytest.mark.mqtt5("MQTT-3.1.2-5", "MQTT-3.1.2-6", "MQTT-3.2.2-3", "MQTT-3.1.2-23", "MQTT-4.1.0-1", "MQTT-3.1.4-4")
def test_a_session_is_made_and_resumed(broker, name, level):
    with Peer(broker, name + "-p", level) as p:
        for leave in ("bye", "drop"):
            me = f"{name}-{leave}"
            with Peer(broker, me, level, durable=True) as c:
                assert not c.present
                c.subscribe(f"{name}/+")
                getattr(c, leave)()
            for _ in range(2):
                with Peer(broker, me, level, durable=True) as c:
                    assert c.present
                    p.publish(f"{name}/x", b"still subscribed", 2)
                    assert c.get().payload == b"still subscribed"
                    getattr(c, leave)()


@pytest.mark.mqtt311("MQTT-3.1.2-5", "MQTT-4.5.0-1")
@pytest.mark.mqtt5("MQTT-4.5.0-1", "MQTT-3.1.2-23")
def test_messages_wait_for_who_is_away(broker, name, level):
    """For every one that has a matching subscription, at its own QoS."""
    for who, qos in (("a", 1), ("b", 2)):
        with Peer(broker, f"{name}-{who}", level, durable=True) as c:
            c.subscribe((name + "/#", qos))
            c.bye()
    with Peer(broker, name + "-p", level) as p:
        for n in range(30):
            p.publish(f"{name}/{n % 3}", b"%d" % n, 1 + n % 2)
        p.publish("elsewhere/" + name, b"not for them", 2)
        for who, qos in (("a", 1), ("b", 2)):
            with Peer(broker, f"{name}-{who}", level, durable=True) as c:
                got = [c.get() for _ in range(30)]
                assert [m.payload for m in got] == [b"%d" % n for n in range(30)]
                assert [m.qos for m in got] == [min(qos, 1 + n % 2) for n in range(30)]
                c.none_but(p)
                c.bye()


@pytest.mark.mqtt311("MQTT-3.1.2-6", "MQTT-3.2.2-1", "MQTT-3.1.4-3")
@pytest.mark.mqtt5("MQTT-3.1.2-4", "MQTT-3.2.2-2", "MQTT-3.1.4-4")
def test_a_clean_start_discards(broker, name, level):
    """Subscriptions, queue, what was in flight either way; also of a client that is connected still."""
    with Peer(broker, name + "-p", level) as p:
        for leave in ("bye", None):
            old = Peer(broker, name, level, durable=True)
            assert not old.present
            old.subscribe(name)
            p.publish(name, b"in flight", 1)
            old.receive(raw.PUBLISH)
            old.send(old.packet("x", b"", 2, 5))
            old.receive(raw.PUBREC)
            if leave:
                old.bye()
                p.publish(name, b"queued", 1)
            with Peer(broker, name, level, clean=True) as c:
                assert not c.present
                p.publish(name, b"nobody's", 1)
                c.none_but(p)
                c.send(raw.ack(raw.PUBREL, 5))
                assert c.receive(raw.PUBCOMP).reason == (0x92 if level == 5 else 0)
                c.bye()
            old.socket.close()
            with Peer(broker, name, level, durable=True) as c:
                assert not c.present, "the session of a clean start is not used again"
                c.bye(*((0, {"session_expiry": 0}) if level == 5 else ()))
            with Peer(broker, name, level, clean=True) as c:
                c.bye()


@pytest.mark.mqtt311("MQTT-3.1.2-6", "MQTT-3.2.2-3")
@pytest.mark.mqtt5("MQTT-4.1.0-2", "MQTT-3.2.2-3")
def test_a_session_that_ends_with_its_connection(broker, name, level):
    """Clean session 1, or an expiry interval of 0."""
    with Peer(broker, name + "-p", level) as p:
        for leave in ("bye", "drop"):
            with Peer(broker, name, level, clean=True) as c:
                c.subscribe(name)
                getattr(c, leave)()
            p.publish(name, b"lost", 1)
            with Peer(broker, name, level, clean=False) as c:
                assert not c.present
                c.none_but(p)
                c.bye()
            with Peer(broker, name, level, clean=True) as c:
                c.bye()


@pytest.mark.mqtt311("MQTT-4.1.0-2", "MQTT-4.1.0-1")
@pytest.mark.mqtt5("MQTT-4.1.0-1")
def test_a_session_lasts_as_long_as_its_connection(broker, name, level):
    """Of a clean session, too, and in MQTT 5 for longer than an expiry interval of one second."""
    props = {"session_expiry": 1} if level == 5 else None
    with Peer(broker, name, level, clean=True, props=props) as c, Peer(broker, name + "-p", level) as p:
        c.subscribe(name)
        p.publish(name, b"in flight", 2)
        got = c.receive(raw.PUBLISH)
        c.nothing(2.2 if level == 5 else 0)
        c.send(raw.ack(raw.PUBREC, got.packet_id))
        assert c.receive(raw.PUBREL).packet_id == got.packet_id
        c.send(raw.ack(raw.PUBCOMP, got.packet_id))
        p.publish(name, b"still subscribed", 1)
        assert c.get().payload == b"still subscribed"


@pytest.mark.mqtt311("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-4.1.0-1")
@pytest.mark.mqtt5("MQTT-3.1.2-23", "MQTT-3.1.2-5", "MQTT-4.1.0-1")
def test_sessions_survive_a_kill(new_broker, level):
    """A session is kept: also by a broker that was killed."""
    broker = new_broker()
    with Peer(broker, "s", level, durable=True) as s, Peer(broker, "p", level) as p:
        s.subscribe("t")
        p.publish("t", b"in flight", 1)
        in_flight = s.receive(raw.PUBLISH)
        s.drop()
        p.publish("t", b"queued", 2)
        broker.kill9()
    broker.start()
    with Peer(broker, "s", level, durable=True) as s, Peer(broker, "p", level) as p:
        assert s.present
        first = s.get()
        assert (first.payload, first.packet_id) == (b"in flight", in_flight.packet_id)
        assert s.get().payload == b"queued"
        p.publish("t", b"live", 1)
        assert s.get().payload == b"live"
        s.bye()
        p.bye()


# ---- wills ----


def will(level, topic, payload=b"gone", qos=0, retain=False):
    return {"will": (topic, payload, qos, retain)}


@pytest.mark.mqtt311("MQTT-3.1.2-8", "MQTT-3.1.2-16", "MQTT-3.1.2-10")
@pytest.mark.mqtt5("MQTT-3.1.2-7", "MQTT-3.1.2-8", "MQTT-3.1.2-14", "MQTT-3.1.2-10")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_a_will_is_published_once(broker, name, level, qos):
    """By whatever way but DISCONNECT the connection ends: the client's, the network's, the broker's."""
    ways = {
        "fin": lambda c: c.drop(),
        "reset": lambda c: c.reset(),
        "error": lambda c: (c.send(raw.packet(raw.PUBLISH, b"\0\1", 6)), c.wait_closed()),
        "kick": lambda c: broker.request("POST", broker.device_path(c.client_id) + "/kick", 204),
        "takeover": lambda c: Peer(broker, c.client_id, level).socket.close(),
    }
    with Peer(broker, name + "-w", level) as w, Peer(broker, name + "-p", level) as p:
        w.subscribe(name)
        for way, end in ways.items():
            with Peer(broker, f"{name}-{way}", level, will=(name, way, qos, False)) as c:
                w.none_but(p)
                end(c)
                got = w.get()
                assert (got.topic, got.payload, got.qos, got.retain) == (name, way.encode(), qos, False)
            with Peer(broker, f"{name}-{way}", level) as c:
                c.drop()  # a connection without a will: the old one's is gone
            w.none_but(p)
        late = Peer(broker, name + "-late", level)
        late.subscribe(name)
        late.none_but(p)


@pytest.mark.mqtt311("MQTT-3.1.2-17")
@pytest.mark.mqtt5("MQTT-3.1.2-15")
def test_a_retained_will(broker, name, level):
    with Peer(broker, name + "-w", level) as w, Peer(broker, name, level, will=(name, b"kept", 1, True)) as c:
        w.subscribe(name)
        c.drop()
        got = w.get()
        assert (got.payload, got.retain) == (b"kept", False), "a live one, for who was subscribed"
        with Peer(broker, name + "-l", level) as late:
            late.subscribe(name)
            got = late.get()
            assert (got.payload, got.qos, got.retain) == (b"kept", 1, True)


@pytest.mark.mqtt311("MQTT-3.14.4-3", "MQTT-3.1.2-10", "MQTT-3.1.2-12")
@pytest.mark.mqtt5("MQTT-3.14.4-3", "MQTT-3.1.2-10")
def test_disconnect_discards_the_will(broker, name, level):
    with Peer(broker, name + "-w", level) as w, Peer(broker, name + "-p", level) as p:
        w.subscribe(name)
        with Peer(broker, name, level, durable=True, will=(name, b"never", 1, False)) as c:
            c.bye()
        w.none_but(p)
        with Peer(broker, name, level, durable=True) as c:  # the same session, without a will
            c.drop()
        w.none_but(p)
        with Peer(broker, name + "-f", level) as f:
            broker.wait_trace(name, 4)
            w.none_but(f)


@pytest.mark.mqtt311("MQTT-3.1.2-8", "MQTT-3.1.4-5")
@pytest.mark.mqtt5("MQTT-3.1.2-7", "MQTT-3.1.4-6")
def test_a_refused_connect_has_no_will(broker, name, level):
    with Peer(broker, name + "-w", level) as w, Peer(broker, name + "-p", level) as p:
        w.subscribe(name)
        login = raw.connect(name, broker.user, "wrong", will=(name, b"never", 0, False), level=level)
        assert refused(broker, login, level)[0].kind == raw.CONNACK
        w.none_but(p)


# ---- keep alive, PING, DISCONNECT ----


@pytest.mark.mqtt311("MQTT-3.12.4-1")
@pytest.mark.mqtt5("MQTT-3.12.4-1")
def test_ping(broker, name, level):
    with Peer(broker, name, level) as c:
        for count in (1, 5):
            c.send(raw.pingreq() * count)
            for _ in range(count):
                assert c.receive(raw.PINGRESP).body == b""


@pytest.mark.mqtt311("MQTT-3.1.2-24", "MQTT-3.1.2-8")
@pytest.mark.mqtt5("MQTT-3.1.2-22", "MQTT-3.2.2-22", "MQTT-3.1.2-8")
def test_keep_alive(broker, name, level):
    """After one and a half times the client's keep alive, not before; as if the network had failed, so the will is published."""
    with Peer(broker, name + "-w", level) as w:
        w.subscribe(name)
        with Peer(broker, name, level, keepalive=1, will=(name, b"silent", 1, False)) as c:
            began = time.monotonic()
            c.send(raw.pingreq())
            c.receive(raw.PINGRESP)
            c.ended(0x8D)
            took = time.monotonic() - began
            assert 1.5 <= took + 0.25, f"{took} s"  # its clock is that of the round in which it read the PINGREQ
            assert w.get().payload == b"silent"
    end = broker.wait_causes(name, "accepted.new", "keepalive.expired")[1]
    assert end["detail"]["deadlineMs"] == 1500


@pytest.mark.mqtt311("MQTT-3.1.2-24")
@pytest.mark.mqtt5("MQTT-3.1.2-22")
def test_keep_alive_counts_what_the_client_sends(broker, name, level):
    """Any packet; what it receives does not count; 0 switches it off."""
    with Peer(broker, name + "-talks", level, keepalive=1) as talks, Peer(broker, name + "-0", level, keepalive=0) as off:
        with Peer(broker, name + "-hears", level, keepalive=1) as hears:
            hears.subscribe((name, 0))
            deadline = time.monotonic() + 30

            def gone():
                talks.send(talks.packet(name, b"x"))
                assert time.monotonic() < deadline
                return (broker.status(name + "-hears") or {}).get("online") is False

            wait_until(gone, step=0.2)
        talks.publish(name, b"still here", 1)
        off.nothing(0)


@pytest.mark.mqtt311("MQTT-3.14.4-2")
@pytest.mark.mqtt5("MQTT-3.14.4-1")
def test_nothing_counts_behind_disconnect(broker, name, level):
    """What a client sends after its DISCONNECT is not processed."""
    with Peer(broker, name + "-w", level) as w, Peer(broker, name + "-f", level) as f:
        w.subscribe(name)
        with Peer(broker, name, level) as c:
            c.send(c.packet(name, b"before"), raw.disconnect(), c.packet(name, b"behind"), raw.pingreq())
            c.socket.shutdown(socket.SHUT_WR)
            assert c.wait_closed() == []
        assert w.get().payload == b"before"
        w.none_but(f)


@pytest.mark.mqtt311("MQTT-4.8.0-2")
def test_a_limit_of_the_broker_ends_the_connection(new_broker, level):
    """What a packet asks for can not be had: the connection that asked ends, no other one."""
    broker = new_broker("--max-subscriptions", "2")
    with Peer(broker, "c", level) as c, Peer(broker, "other", level) as other:
        c.subscribe("a", "b")
        other.subscribe("a", "b")
        c.send(raw.subscribe(9, ("c", 0), props={} if level == 5 else None))
        c.ended(0x97)
        other.nothing(0)
        other.bye()
