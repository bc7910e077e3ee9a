"""What MQTT 5's two ends tell each other of their limits: messages in flight, topic aliases, packet size."""

import pytest

from harness import raw
from harness.peer import Peer

BROKER_ARGS = ("--receive-maximum", "5", "--topic-alias-maximum", "4", "--max-packet-size", "4KiB")


# ---- receive maximum of the client ----


@pytest.mark.mqtt5("MQTT-3.3.4-9", "MQTT-4.9.0-1", "MQTT-4.9.0-2")
@pytest.mark.parametrize("maximum", [1, 3])
@pytest.mark.parametrize("qos", [1, 2])
def test_no_more_in_flight_than_the_client_takes(broker, name, maximum, qos):
    """The next message comes when one is done: at PUBACK, at PUBCOMP, or at a PUBREC that refuses."""
    with Peer(broker, name, props={"receive_maximum": maximum}) as s, Peer(broker, name + "-p") as p:
        s.subscribe(name)
        for n in range(maximum + 4):
            p.publish(name, b"%d" % n, qos)
        waiting = [s.receive(raw.PUBLISH) for _ in range(maximum)]
        s.nothing(0.1)
        seen = [m.payload for m in waiting]
        while len(seen) < maximum + 4:
            m = waiting.pop(0)
            if qos == 1:
                s.send(raw.ack(raw.PUBACK, m.packet_id))
            elif len(seen) % 2:
                s.send(raw.ack(raw.PUBREC, m.packet_id, 0x80))
            else:
                s.send(raw.ack(raw.PUBREC, m.packet_id))
                assert s.receive(raw.PUBREL).packet_id == m.packet_id
                s.nothing(0)  # not yet
                s.send(raw.ack(raw.PUBCOMP, m.packet_id))
            waiting.append(s.receive(raw.PUBLISH))
            seen.append(waiting[-1].payload)
            s.nothing(0)
        assert seen == [b"%d" % n for n in range(maximum + 4)]


@pytest.mark.mqtt5("MQTT-3.3.4-9", "MQTT-4.9.0-2", "MQTT-4.4.0-1")
def test_the_limit_is_of_each_connection(broker, name):
    """It may be another one when the session is resumed, also for what is repeated."""
    with Peer(broker, name + "-p") as p:
        with Peer(broker, name, durable=True) as s:
            s.subscribe((name, 1))
            for n in range(6):
                p.publish(name, b"%d" % n, 1)
            s.receive_all(6)
            s.drop()
        with Peer(broker, name, durable=True, props={"receive_maximum": 2}) as s:
            payloads = []
            for n in range(3):
                pair = s.receive_all(2)
                s.nothing(0.05)
                payloads += [m.payload for m in pair]
                assert all(m.dup for m in pair)
                s.send(*[raw.ack(raw.PUBACK, m.packet_id) for m in pair])
            assert payloads == [b"%d" % n for n in range(6)]
            s.bye()


@pytest.mark.mqtt5("MQTT-3.3.4-10", "MQTT-4.9.0-3")
def test_other_packets_are_not_held_up(broker, name):
    """With a quota of 0: QoS 0, PING, SUBSCRIBE, UNSUBSCRIBE, and what the client itself publishes."""
    with Peer(broker, name, props={"receive_maximum": 1}) as s, Peer(broker, name + "-p") as p:
        s.subscribe(name)
        p.publish(name, b"in flight", 2)
        s.receive(raw.PUBLISH)
        p.publish(name, b"waits", 1)
        p.publish(name, b"qos 0", 0)
        assert s.receive(raw.PUBLISH).payload == b"qos 0"
        s.nothing(0)
        assert s.subscribe("other/" + name) == [2]
        assert s.unsubscribe("other/" + name) == [0]
        assert s.publish("nobody/" + name, b"x", 1).reason == 0x10
        assert s.publish("nobody/" + name, b"x", 2).reason == 0x10


@pytest.mark.mqtt5("MQTT-3.3.4-10", "MQTT-4.9.0-3", "MQTT-4.4.0-1")
def test_repeated_pubrels_are_not_held_up(broker, name):
    """More of them than the new connection's receive maximum, behind a message that fills it."""
    with Peer(broker, name + "-p") as p:
        with Peer(broker, name, durable=True) as s:
            s.subscribe(name)
            for n in range(4):
                p.publish(name, b"%d" % n, 2)
            first, *others = s.receive_all(4)
            s.send(*[raw.ack(raw.PUBREC, m.packet_id) for m in others])
            s.receive_all(3, raw.PUBREL)
            p.publish(name, b"queued", 1)
            s.drop()
        with Peer(broker, name, durable=True, props={"receive_maximum": 1}) as s:
            assert [s.receive(raw.PUBREL).packet_id for _ in others] == [m.packet_id for m in others]
            s.send(*[raw.ack(raw.PUBCOMP, m.packet_id) for m in others])
            again = s.get()
            assert (again.packet_id, again.dup) == (first.packet_id, True)
            assert s.get().payload == b"queued"
            s.none_but(p)
            s.bye()


# ---- receive maximum of the server ----


@pytest.mark.mqtt5("MQTT-3.3.4-7", "MQTT-4.9.0-2")
@pytest.mark.parametrize("qos", [1, 2])
def test_a_client_that_sends_more_than_the_server_takes(broker, name, qos):
    """
    The fifth is taken; the sixth while none was released ends the connection, whatever its QoS, and goes to nobody. Of
    those that are done there may be any number.
    """
    with Peer(broker, name) as c, Peer(broker, name + "-s") as s:
        s.subscribe(name + "/over")
        assert c.connack.props["receive_maximum"] == 5
        for n in range(20):
            c.publish(name, b"done", 1 + n % 2)
        for n in range(5):
            c.send(c.packet(name, b"unreleased", 2, 100 + n))
            assert c.receive(raw.PUBREC).packet_id == 100 + n
        c.send(c.packet(name, b"a repetition is no new one", 2, 100, dup=True))
        assert c.receive(raw.PUBREC).packet_id == 100
        c.publish("not counted", b"qos 0", 0)
        c.send(c.packet(name + "/over", b"one too many", qos, 106))
        c.ended(0x93)
        with Peer(broker, name + "-p") as p:
            s.none_but(p)


# ---- topic aliases ----


@pytest.mark.mqtt5("MQTT-3.1.2-24")
def test_an_alias_does_not_make_a_message_too_large(broker, name):
    """A topic gets its alias with the first message that has room for both; the shorter ones behind it may be longer."""
    limit = 200
    room = limit - 2 - 1 - 2 - len(name) - 1
    with Peer(broker, name + "-p") as p, Peer(broker, name, props={"maximum_packet": limit, "topic_alias_maximum": 5}) as s:
        s.subscribe(name)
        for size in (room, room - 2, room - 3, room):
            p.publish(name, b"x" * size)
        got = [s.get() for _ in range(4)]
        assert [len(m.payload) for m in got] == [room, room - 2, room - 3, room]
        assert [m.topic for m in got] == [name] * 3 + [""]
        assert ["topic_alias" in m.props for m in got] == [False, False, True, True]


@pytest.mark.mqtt5("MQTT-3.3.2-12", "MQTT-3.3.2-7")
def test_aliases_of_a_client(broker, name):
    """All up to the maximum; they may be given another topic; they end with the connection, not with the session."""
    with Peer(broker, name + "-s") as s:
        s.subscribe(name + "/#")
        with Peer(broker, name, durable=True) as c:
            assert c.connack.props["topic_alias_maximum"] == 4
            for alias in (1, 2, 3, 4):
                c.publish(f"{name}/{alias}", b"named", props={"topic_alias": alias})
                got = s.get()
                assert got.topic == f"{name}/{alias}" and "topic_alias" not in got.props
            for alias in (4, 1, 3, 2):
                for qos in (0, 1, 2):
                    c.publish("", b"by alias", qos, props={"topic_alias": alias})
                    assert s.get().topic == f"{name}/{alias}"
            c.publish(name + "/new", b"", props={"topic_alias": 1})
            c.publish("", b"", props={"topic_alias": 1})
            assert [s.get().topic, s.get().topic] == [name + "/new"] * 2
            c.drop()
        with Peer(broker, name, durable=True) as c:
            assert c.present
            c.send(c.packet("", b"no such alias any more", props={"topic_alias": 1}))
            c.ended(0x82)


@pytest.mark.parametrize("alias", [0, 5, 65535])
@pytest.mark.mqtt5("MQTT-3.3.2-8", "MQTT-3.3.2-9", "MQTT-3.2.2-17")
def test_aliases_that_are_not_allowed(broker, name, alias):
    with Peer(broker, name) as c:
        c.send(c.packet(name, b"x", props={"topic_alias": alias}))
        c.ended(0x94)
    end = broker.wait_causes(name, "accepted.new", "limit.topic_alias")[1]
    assert end["description"] == "invalid param" and end["detail"]["clause"] == ("MQTT-3.3.2-9" if alias else "MQTT-3.3.2-8")


@pytest.mark.mqtt5("MQTT-3.2.2-18", "MQTT-3.3.2-9")
def test_aliases_where_there_are_none(new_broker):
    broker = new_broker("--topic-alias-maximum", "0")
    with Peer(broker, "c") as c:
        assert c.connack.props.get("topic_alias_maximum", 0) == 0
        c.send(c.packet("t", b"x", props={"topic_alias": 1}))
        c.ended(0x94)


def aliased(s, count):
    """(topic, by alias) of so many messages, resolved as a client must."""
    known, out = {}, []
    for _ in range(count):
        m = s.get()
        alias = m.props.get("topic_alias")
        assert m.topic or alias in known, "an alias that was never said"
        if alias is not None and m.topic:
            known[alias] = m.topic
        out.append((m.topic or known[alias], alias))
    return out


@pytest.mark.mqtt5("MQTT-3.1.2-26", "MQTT-3.3.2-11", "MQTT-3.3.2-8", "MQTT-3.3.2-7")
@pytest.mark.parametrize("maximum", [1, 3])
def test_aliases_of_the_server(broker, name, maximum):
    """Never 0, never above the client's maximum, never one of an earlier connection; every topic is understood."""
    topics = [f"{name}/a-rather-long-topic-name/{n % 5}" for n in range(30)]
    with Peer(broker, name + "-p") as p:
        for _ in range(2):
            with Peer(broker, name, durable=True, props={"topic_alias_maximum": maximum}) as s:
                if not s.present:
                    s.subscribe(name + "/#")
                for n, topic in enumerate(topics):
                    p.publish(topic, b"x", n % 3)
                got = aliased(s, len(topics))
                assert sorted(t for t, _ in got) == sorted(topics)
                aliases = {a for _, a in got if a is not None}
                assert aliases and min(aliases) > 0 and max(aliases) <= maximum
                s.drop()


@pytest.mark.mqtt5("MQTT-3.1.2-27")
@pytest.mark.parametrize("props", [None, {"topic_alias_maximum": 0}], ids=["absent", "0"])
def test_no_aliases_for_who_takes_none(broker, name, props):
    with Peer(broker, name, props=props) as s, Peer(broker, name + "-p") as p:
        s.subscribe(name)
        for n in range(9):
            p.publish(name, b"x", n % 3)
            assert s.get().props == {}


# ---- packet size ----


@pytest.mark.mqtt5("MQTT-3.1.2-24", "MQTT-3.1.2-25")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_no_message_larger_than_the_client_takes(broker, name, qos):
    """One of exactly that size comes; one byte more is dropped, and counts as done: what is behind it comes, also later."""
    limit = 200
    room = limit - 2 - 1 - 2 - len(name) - (2 if qos else 0) - 1  # two bytes of remaining length, one of properties
    with Peer(broker, name + "-p") as p:
        with Peer(broker, name, durable=True, props={"maximum_packet": limit, "receive_maximum": 1}) as s:
            s.subscribe(name)
            for size in (room, 3000, room + 1, room - 1):
                p.publish(name, b"x" * size, qos)
            assert [len(s.get().payload), len(s.get().payload)] == [room, room - 1]
            s.none_but(p)
            s.bye()
        if qos:
            for size in (1000, 10):
                p.publish(name, b"x" * size, qos)
            with Peer(broker, name, durable=True, props={"maximum_packet": limit}) as s:
                assert len(s.get().payload) == 10
                s.none_but(p)
                s.bye()
            with Peer(broker, name, durable=True) as s:
                s.none_but(p)


@pytest.mark.mqtt5(
    "MQTT-3.4.2-2", "MQTT-3.4.2-3", "MQTT-3.5.2-2", "MQTT-3.5.2-3", "MQTT-3.6.2-2", "MQTT-3.6.2-3", "MQTT-3.7.2-2",
    "MQTT-3.7.2-3", "MQTT-3.9.2-1", "MQTT-3.9.2-2", "MQTT-3.11.2-1", "MQTT-3.11.2-2", "MQTT-3.1.2-24",
)  # fmt: skip
def test_answers_have_no_properties_that_do_not_fit(broker, name):
    """The smallest packet that an accepted client can have set; every kind of answer, those with an error, too."""
    broker.settings(on_denied="refuse")
    try:
        broker.add_user(name, "word-of-" + name, ["mine/#"])
        for limit in (100, 32):
            with Peer(broker, name, user=name, password="word-of-" + name, props={"maximum_packet": limit}) as c:
                c.publish("not/mine", b"x", 1)
                c.publish("not/mine", b"x", 2)
                c.subscribe("not/mine", "mine/a")
                c.unsubscribe("never", "mine/a")
                c.send(raw.ack(raw.PUBREL, 99), raw.ack(raw.PUBREC, 98))
                answers = [c.receive(raw.PUBCOMP), c.receive(raw.PUBREL)]
                assert all(len(a.body) + 2 <= limit for a in answers)
                # SUBACK and UNSUBACK were parsed whole: what came is what fits
                c.send(raw.subscribe(50, ("not/mine", 0), props={}), raw.unsubscribe(51, "never", props={}))
                assert all(len(c.receive().body) + 2 <= limit for _ in range(2))
    finally:
        broker.settings(on_denied="close")


@pytest.mark.mqtt5("MQTT-3.1.2-24")
@pytest.mark.parametrize("unsubscribe", [False, True], ids=["suback", "unsuback"])
def test_an_answer_that_can_not_fit(broker, name, unsubscribe):
    """More codes than the client takes in a packet: there is no other answer, so the connection ends."""
    with Peer(broker, name, props={"maximum_packet": 40}) as c:
        filters = [f"{name}/{n}" for n in range(60)]
        if unsubscribe:
            c.send(raw.unsubscribe(1, *filters, props={}), raw.pingreq())
        else:
            c.send(raw.subscribe(1, *[(f, 0) for f in filters], props={}), raw.pingreq())
        c.ended(0x95)
    end = broker.wait_causes(name, "accepted.new", "limit.packet_size")[1]
    assert end["detail"]["limit"] == 40


@pytest.mark.mqtt5("MQTT-3.2.2-15")
def test_a_packet_larger_than_the_server_takes(broker, name):
    with Peer(broker, name) as c:
        assert c.connack.props["maximum_packet"] == 4096
        room = 4096 - 3 - 2 - len(name) - 1
        c.publish(name, b"x" * (room - 2), 1)
        c.send(c.packet(name, b"x" * (room + 1))[:500])  # its head tells
        c.ended(0x95)
