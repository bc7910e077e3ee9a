"""Shared subscriptions: what may be subscribed to, and what becomes of a message whose member does not take it."""

import pytest

from harness import raw
from harness.peer import Peer


def closed_by(broker, name, topic_filter, options=0, unsubscribe=False):
    with Peer(broker, name) as c:
        if unsubscribe:
            c.send(raw.unsubscribe(1, topic_filter, props={}))
        else:
            c.send(raw.subscribe(1, (topic_filter, options), props={}))
        return c.ended().reason


@pytest.mark.mqtt5("MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize("bad", ["$share//t", "$share/", "$share/g", "$share/g/", "$share/+/t", "$share/#/t", "$share/g+/t",
                                 "$share/g#/t", "$share/#", "$share/g/a#", "$share/g/a/#/b"])  # fmt: skip
def test_shared_filters_that_are_wrong(broker, name, bad):
    assert closed_by(broker, name + "-s", bad) == 0x8F
    assert closed_by(broker, name + "-u", bad, unsubscribe=True) == 0x8F


@pytest.mark.mqtt5("MQTT-4.8.2-1", "MQTT-4.8.2-2")
@pytest.mark.parametrize("shared", ["$share/g/{}", "$share/g//{}", "$share/g//", "$share/$/{}/", "$share/ü b/{}"])
def test_shared_filters_that_are_right(broker, name, shared):
    """A name of one character is enough; the filter behind it may begin with a separator, or be one."""
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        shared = shared.format(name)
        topic = shared.split("/", 2)[2]
        assert s.subscribe((shared, 1)) == [1]
        p.publish(topic, b"x", 1)
        assert s.get().topic == topic
        assert s.unsubscribe(shared, shared) == [0, 0x11]
        p.publish(topic, b"x", 1)
        s.none_but(p)


@pytest.mark.mqtt5("MQTT-3.8.3-4")
def test_no_local_of_a_shared_subscription(broker, name):
    assert closed_by(broker, name, "$share/g/t", 1 | 4) == 0x82


@pytest.mark.mqtt5("MQTT-3.8.4-3", "MQTT-4.8.2-1")
def test_a_prefix_alone_is_an_ordinary_topic(broker, name):
    """$share without anything behind it, and other words with a dollar, are no shared subscriptions."""
    broker.add_user(name, "word-of-" + name, ["$shared/#", "$share"])
    with Peer(broker, name, user=name, password="word-of-" + name) as s:
        assert s.subscribe(("$shared/g/t", 0), ("$share", 0)) == [0, 0]


@pytest.mark.mqtt5("MQTT-4.8.2-3")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_each_member_has_its_own_qos(broker, name, qos):
    members = [Peer(broker, f"{name}-{granted}") for granted in (0, 1, 2)]
    for granted, m in enumerate(members):
        assert m.subscribe((f"$share/g/{name}", granted), (name + "/end", 0)) == [granted, 0]
    got = {}
    with Peer(broker, name + "-p") as p:
        for n in range(12):
            p.publish(name, b"%d" % n, qos)
        p.publish(name + "/end", b"end")
        for granted, m in enumerate(members):
            while (message := m.get()).topic == name:
                assert message.qos == min(qos, granted)
                assert message.payload not in got
                got[message.payload] = granted
            m.socket.close()
    assert len(got) == 12 and set(got.values()) == {0, 1, 2}, "each of them had its turn"


@pytest.mark.mqtt5("MQTT-4.8.2-4")
def test_a_qos_2_delivery_is_completed_with_the_same_client(broker, name):
    """Begun, or released: another member, who is here all the time, gets nothing of it."""
    with Peer(broker, name + "-p") as p, Peer(broker, name + "-other") as other:
        for released in (False, True):
            with Peer(broker, name, durable=True) as m:
                m.subscribe(f"$share/g/{name}")
                p.publish(name, b"x", 2)
                sent = m.receive(raw.PUBLISH)
                if released:
                    m.send(raw.ack(raw.PUBREC, sent.packet_id))
                    m.receive(raw.PUBREL)
                other.subscribe(f"$share/g/{name}")
                m.drop()
            other.none_but(p)
            with Peer(broker, name, durable=True) as m:
                if not released:
                    again = m.receive(raw.PUBLISH)
                    assert (again.payload, again.packet_id, again.dup) == (b"x", sent.packet_id, True)
                    m.send(raw.ack(raw.PUBREC, sent.packet_id))
                assert m.receive(raw.PUBREL).packet_id == sent.packet_id
                m.send(raw.ack(raw.PUBCOMP, sent.packet_id))
                m.unsubscribe(f"$share/g/{name}")
                other.unsubscribe(f"$share/g/{name}")
                m.bye(0, {"session_expiry": 0})
            other.none_but(p)


@pytest.mark.mqtt5("MQTT-4.8.2-5")
@pytest.mark.parametrize("how", ["expires", "clean"])
def test_a_qos_2_delivery_ends_with_its_session(broker, name, how):
    with Peer(broker, name + "-p") as p, Peer(broker, name + "-other") as other:
        with Peer(broker, name, clean=False, props={"session_expiry": 1 if how == "expires" else 3600}) as m:
            m.subscribe(f"$share/g/{name}")
            p.publish(name, b"begun", 2)
            assert m.receive(raw.PUBLISH).payload == b"begun"
            other.subscribe(f"$share/g/{name}")
            m.drop()
        if how == "clean":
            with Peer(broker, name, clean=True) as m:
                assert not m.present
                other.none_but(p)
        else:
            other.nothing(2.5)
            with Peer(broker, name, clean=False) as m:
                assert not m.present
        p.publish(name, b"the next one", 2)
        assert other.get().payload == b"the next one"
        other.none_but(p)


@pytest.mark.mqtt5("MQTT-4.8.2-6")
@pytest.mark.parametrize("qos", [1, 2])
def test_what_a_member_refuses_goes_to_nobody_else(broker, name, qos):
    with Peer(broker, name) as m, Peer(broker, name + "-other") as other, Peer(broker, name + "-p") as p:
        m.subscribe(f"$share/g/{name}")
        p.publish(name, b"refused", qos)
        got = m.receive(raw.PUBLISH)
        other.subscribe(f"$share/g/{name}")
        m.send(raw.ack(raw.PUBACK if qos == 1 else raw.PUBREC, got.packet_id, 0x80))
        m.none_but(p)
        other.none_but(p)
        m.drop()
        other.none_but(p)
