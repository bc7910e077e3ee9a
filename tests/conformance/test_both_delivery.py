"""How messages travel at each QoS in both versions: identifiers, DUP, order, what is repeated and what is not."""

import pytest

from harness import raw
from harness.peer import Peer


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


# ---- the server receives ----


@pytest.mark.mqtt311("MQTT-3.3.4-1", "MQTT-2.3.1-6", "MQTT-4.3.2-2", "MQTT-3.3.2-1")
@pytest.mark.mqtt5("MQTT-3.3.4-1", "MQTT-2.2.1-5", "MQTT-4.3.2-4", "MQTT-4.3.3-8", "MQTT-4.3.3-11", "MQTT-3.3.2-1")
def test_each_qos_is_answered_its_way(broker, name, level):
    with Peer(broker, name, level) as c:
        c.send(c.packet(name, b"0"))
        c.send(raw.pingreq())
        c.receive(raw.PINGRESP)  # and nothing for QoS 0
        for packet_id in (1, 300, 65535):
            c.send(c.packet(name, b"1", 1, packet_id))
            assert c.receive(raw.PUBACK).packet_id == packet_id
            c.send(c.packet(name, b"2", 2, packet_id))
            assert c.receive(raw.PUBREC).packet_id == packet_id
            c.send(raw.ack(raw.PUBREL, packet_id))
            assert c.receive(raw.PUBCOMP).packet_id == packet_id


@pytest.mark.mqtt311("MQTT-4.3.2-2")
@pytest.mark.mqtt5("MQTT-4.3.2-5")
def test_qos_1_after_the_puback_is_a_new_message(broker, name, level):
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        for payload, dup in ((b"first", False), (b"second", False), (b"third", True)):
            p.send(p.packet(name, payload, 1, 7, dup=dup))
            assert p.receive(raw.PUBACK).packet_id == 7
            assert s.get().payload == payload
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-4.3.3-2", "MQTT-2.3.1-6")
@pytest.mark.mqtt5("MQTT-4.3.3-10", "MQTT-4.3.3-11", "MQTT-4.3.3-12")
def test_qos_2_is_delivered_once(broker, name, level):
    """Copies before the PUBREL are answered, not delivered, DUP or not; after the PUBCOMP the identifier is new."""
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        for payload in (b"first", b"second"):
            for dup in (False, True, False):
                p.send(p.packet(name, payload, 2, 7, dup=dup))
                assert p.receive(raw.PUBREC).packet_id == 7
            p.send(raw.ack(raw.PUBREL, 7))
            assert p.receive(raw.PUBCOMP).packet_id == 7
            assert s.get().payload == payload
            s.none_but(p)


@pytest.mark.mqtt311("MQTT-4.3.3-2", "MQTT-4.4.0-1")
@pytest.mark.mqtt5("MQTT-4.3.3-10", "MQTT-4.3.3-12", "MQTT-4.1.0-1")
def test_qos_2_is_delivered_once_over_connections(broker, name, level):
    with Peer(broker, name, level) as s, Peer(broker, name + "-f", level) as f:
        s.subscribe(name)
        with Peer(broker, name + "-p", level, durable=True) as p:
            p.send(p.packet(name, b"once", 2, 9))
            p.receive(raw.PUBREC)
        with Peer(broker, name + "-p", level, durable=True) as p:
            assert p.present
            p.send(p.packet(name, b"once", 2, 9, dup=True))
            assert p.receive(raw.PUBREC).packet_id == 9
            p.send(raw.ack(raw.PUBREL, 9))
            p.receive(raw.PUBCOMP)
            p.send(p.packet(name, b"twice", 2, 9))
            p.receive(raw.PUBREC)
        assert [s.get().payload, s.get().payload] == [b"once", b"twice"]
        s.none_but(f)


# ---- the server sends ----


@pytest.mark.mqtt311("MQTT-3.8.4-6", "MQTT-4.3.1-1", "MQTT-3.3.1-2", "MQTT-3.3.2-3")
@pytest.mark.mqtt5("MQTT-3.8.4-8", "MQTT-4.3.1-1", "MQTT-3.3.1-2", "MQTT-3.3.2-3")
@pytest.mark.parametrize("granted", [0, 1, 2])
def test_the_smaller_qos(broker, name, level, granted):
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        assert s.subscribe((name, granted)) == [granted]
        for qos in (0, 1, 2):
            p.publish(name, b"%d" % qos, qos)
            got = s.get()
            assert (got.qos, got.dup, got.topic, got.payload) == (min(qos, granted), False, name, b"%d" % qos)


@pytest.mark.mqtt311("MQTT-3.3.1-3")
@pytest.mark.mqtt5("MQTT-3.3.1-3")
def test_dup_is_not_passed_on(broker, name, level):
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        for qos in (1, 2):
            p.send(p.packet(name, b"repeated to the broker", qos, qos, dup=True))
            assert not s.get().dup


@pytest.mark.mqtt311("MQTT-2.3.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@pytest.mark.mqtt5(
    "MQTT-2.2.1-4", "MQTT-4.3.2-1", "MQTT-4.3.2-2", "MQTT-4.3.2-3", "MQTT-4.3.3-1", "MQTT-4.3.3-2", "MQTT-4.3.3-3"
)
def test_identifiers_in_use_are_not_given_again(broker, name, level):
    """Messages that nobody acknowledges keep theirs, while many others come and go."""
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        p.publish(name, b"never acknowledged", 1)
        p.publish(name, b"nor this one", 2)
        held = [s.receive(raw.PUBLISH) for _ in range(2)]
        assert not any(m.dup for m in held)
        busy = {m.packet_id for m in held}
        assert len(busy) == 2 and 0 not in busy
        for n in range(300):
            p.publish(name, b"%d" % n, 1 + n % 2)
            got = s.get()
            assert got.packet_id not in busy and got.packet_id != 0 and not got.dup


@pytest.mark.mqtt311("MQTT-2.3.1-4")
@pytest.mark.mqtt5("MQTT-2.2.1-4", "MQTT-4.3.2-1")
def test_identifiers_after_the_wrap(broker, name):
    """More messages than there are identifiers, one of them unacknowledged all the time."""
    with Peer(broker, name, 4) as s, Peer(broker, name + "-p", 4) as p:
        s.subscribe((name, 1))
        p.publish(name, b"held", 1)
        held = s.receive(raw.PUBLISH).packet_id
        sent, block, seen = 0, 500, set()
        while sent < 66_000:
            p.send(b"".join(p.packet(name, b"", 1, 1 + n) for n in range(block)))
            for _ in range(block):
                packet_id = s.receive(raw.PUBLISH).packet_id
                assert packet_id not in (0, held)
                seen.add(packet_id)
                s.send(raw.ack(raw.PUBACK, packet_id))
            p.receive_all(block, raw.PUBACK)
            sent += block
            if sent == 65_500 // block * block:
                s.send(raw.ack(raw.PUBACK, held))  # its slot must be free before the numbers come round to it
                held = 0
        assert len(seen) > 65_000


@pytest.mark.mqtt311("MQTT-4.3.3-1", "MQTT-2.3.1-6")
@pytest.mark.mqtt5("MQTT-4.3.3-4", "MQTT-2.2.1-5")
def test_pubrel_follows_pubrec(broker, name, level):
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        p.publish(name, b"x", 2)
        got = s.receive(raw.PUBLISH)
        for _ in range(2):  # a repeated PUBREC gets its PUBREL again
            s.send(raw.ack(raw.PUBREC, got.packet_id))
            assert s.receive(raw.PUBREL).packet_id == got.packet_id
        s.send(raw.ack(raw.PUBCOMP, got.packet_id))
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-2.3.1-4", "MQTT-4.3.2-1", "MQTT-4.3.3-1")
@pytest.mark.mqtt5(
    "MQTT-4.4.0-1", "MQTT-3.3.1-1", "MQTT-4.3.2-3", "MQTT-4.3.3-3", "MQTT-4.3.3-5", "MQTT-4.3.3-6", "MQTT-3.1.2-23"
)
def test_what_is_unacknowledged_comes_again(broker, name, level):
    """QoS 1 without PUBACK and QoS 2 without PUBREC as PUBLISH with DUP, QoS 2 without PUBCOMP as PUBREL: as often as it takes."""
    with Peer(broker, name, level, durable=True) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        for payload, qos in ((b"one", 1), (b"two", 2), (b"released", 2), (b"done", 1), (b"three", 1)):
            p.publish(name, payload, qos)
        first = {m.payload: m for m in s.receive_all(5)}
        assert not any(m.dup for m in first.values())
        s.send(raw.ack(raw.PUBACK, first[b"done"].packet_id), raw.ack(raw.PUBREC, first[b"released"].packet_id))
        s.receive(raw.PUBREL)
        for _ in range(2):
            s.drop()
            s = Peer(broker, name, level, durable=True)
            assert s.present
            again = [s.receive() for _ in range(4)]
            published = [m for m in again if m.kind == raw.PUBLISH]
            assert [(m.payload, m.qos, m.packet_id, m.dup) for m in published] == [
                (payload, first[payload].qos, first[payload].packet_id, True) for payload in (b"one", b"two", b"three")
            ], "in their first order"
            released = [m for m in again if m.kind == raw.PUBREL]
            assert [m.packet_id for m in released] == [first[b"released"].packet_id]
            s.none_but(p)
        s.send(raw.ack(raw.PUBCOMP, released[0].packet_id))
        for m in published:
            s.acknowledge(m)
        s.drop()
        with Peer(broker, name, level, durable=True) as s:
            s.none_but(p)


@pytest.mark.mqtt5("MQTT-4.4.0-1")
def test_nothing_is_repeated_while_the_connection_lasts(broker, name):
    """Not in time, and not because other messages come: MQTT 5 forbids it."""
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        s.subscribe(name)
        p.publish(name, b"waits", 1)
        p.publish(name, b"waits", 2)
        s.receive_all(2)
        s.nothing(2.5)
        p.publish(name, b"another", 1)
        assert s.get().payload == b"another"
        s.none_but(p)


# ---- order ----


@pytest.mark.mqtt311("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.5.0-1")
@pytest.mark.mqtt5("MQTT-4.6.0-5", "MQTT-4.6.0-6", "MQTT-4.5.0-1")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_messages_arrive_in_order(broker, name, level, qos):
    """From one client to several subscribers, on one topic and over several, while another one publishes as well."""
    subscribers = [Peer(broker, f"{name}-{i}", level) for i in range(3)]
    for s in subscribers:
        s.subscribe(name + "/#")
    with Peer(broker, name + "-p", level) as p, Peer(broker, name + "-q", level) as q:
        for n in range(60):
            p.publish(f"{name}/{n % 2}", b"p%d" % n, qos)
            q.publish(f"{name}/0", b"q%d" % n, qos)
    for s in subscribers:
        got = [s.get().payload for _ in range(120)]
        for who in (b"p", b"q"):
            assert [m for m in got if m[:1] == who] == [who + b"%d" % n for n in range(60)]
        s.socket.close()


@pytest.mark.mqtt311("MQTT-4.6.0-1", "MQTT-4.6.0-6")
@pytest.mark.mqtt5("MQTT-4.6.0-1", "MQTT-4.6.0-5")
def test_repetitions_and_queues_keep_the_order(broker, name, level):
    """What was sent comes again in its order, and what was queued meanwhile behind it; some acknowledged between."""
    with Peer(broker, name + "-p", level) as p:
        with Peer(broker, name, level, durable=True) as s:
            s.subscribe((name, 1))
            for n in range(10):
                p.publish(name, b"%d" % n, 1)
            got = s.receive_all(10)
            for m in got[1::2]:
                s.send(raw.ack(raw.PUBACK, m.packet_id))
            s.send(raw.pingreq())
            s.receive(raw.PINGRESP)
            s.drop()
        for n in range(10, 20):
            p.publish(name, b"%d" % n, 1)
        with Peer(broker, name, level, durable=True) as s:
            again = s.receive_all(15)
            assert [m.payload for m in again] == [b"%d" % n for n in [0, 2, 4, 6, 8, *range(10, 20)]]
            assert [m.dup for m in again] == [True] * 5 + [False] * 10
            s.bye()


@pytest.mark.mqtt311("MQTT-4.6.0-2", "MQTT-4.6.0-3")
@pytest.mark.mqtt5("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_acknowledgements_keep_the_order(broker, name, level):
    """Though some messages wait for the store and others do not: the broker does what clients must."""
    with Peer(broker, name + "-d", level, durable=True) as d:
        d.subscribe((name + "/kept", 1))
        d.bye()
    with Peer(broker, name, level) as c:
        ids = range(1, 151)
        c.send(b"".join(c.packet(name + ("/kept" if i % 3 else "/free"), b"x", 2 if i % 5 == 0 else 1, i) for i in ids))
        answers = [c.receive() for _ in ids]
        assert [a.packet_id for a in answers] == list(ids)
        assert [a.kind for a in answers] == [raw.PUBREC if i % 5 == 0 else raw.PUBACK for i in ids]


@pytest.mark.mqtt311("MQTT-4.6.0-4")
@pytest.mark.mqtt5("MQTT-4.6.0-4")
@pytest.mark.parametrize("durable", [False, True], ids=["clean", "durable"])
def test_pubrels_keep_the_order_of_the_pubrecs(broker, name, level, durable):
    with Peer(broker, name, level, durable=durable) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        for n in range(12):
            p.publish(name, b"%d" % n, 2)
        ids = [m.packet_id for m in s.receive_all(12)]
        order = ids[1::2] + ids[::2]
        s.send(*[raw.ack(raw.PUBREC, i) for i in order])
        assert [m.packet_id for m in s.receive_all(12, raw.PUBREL)] == order
        s.send(*[raw.ack(raw.PUBCOMP, i) for i in order])
        s.none_but(p)
