"""Retained messages in both versions."""

import pytest

from harness.peer import Peer


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


def retained(broker, name, level, topic_filter, options=2):
    """What a new subscriber gets at once: {topic: (payload, qos)}, all marked as retained."""
    with Peer(broker, name + "-new", level) as s, Peer(broker, name + "-f", level) as f:
        s.subscribe((s.fence, 0), (topic_filter, options))
        f.send(f.packet(s.fence, b"fence"))
        found = {}
        while True:
            got = s.get()
            if got.topic == s.fence:
                return found
            assert got.retain and not got.dup
            assert got.topic not in found, "twice"
            found[got.topic] = (got.payload, got.qos)


@pytest.mark.mqtt311("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8")
@pytest.mark.mqtt5("MQTT-3.3.1-5", "MQTT-3.3.1-9")
def test_the_last_one_of_each_topic(broker, name, level):
    with Peer(broker, name, level) as p:
        for topic, payload, qos in (("a", b"1", 0), ("a", b"2", 2), ("b/c", b"3", 1), ("b", b"4", 0), ("a", b"5", 1)):
            p.publish(f"{name}/{topic}", payload, qos, retain=True)
        everything = {name + "/a": (b"5", 1), name + "/b/c": (b"3", 1), name + "/b": (b"4", 0)}
        assert retained(broker, name, level, name + "/#") == everything
        assert retained(broker, name, level, name + "/+") == {t: m for t, m in everything.items() if not t.endswith("c")}
        assert retained(broker, name, level, name + "/b/c", 0) == {name + "/b/c": (b"3", 0)}
        assert retained(broker, name, level, name + "/none") == {}


@pytest.mark.mqtt311("MQTT-3.3.1-7")
@pytest.mark.mqtt5("MQTT-3.3.1-5")
def test_qos_0_replaces_what_was_retained(broker, name, level):
    with Peer(broker, name, level) as p:
        p.publish(name, b"old", 2, retain=True)
        p.publish(name, b"new", 0, retain=True)
        p.nothing(0)  # a PING round: nothing else says that it has come
        assert retained(broker, name, level, name) == {name: (b"new", 0)}


@pytest.mark.mqtt311("MQTT-3.3.1-10", "MQTT-3.3.1-11", "MQTT-3.3.1-9")
@pytest.mark.mqtt5("MQTT-3.3.1-6", "MQTT-3.3.1-7", "MQTT-3.3.1-12")
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_an_empty_one_removes(broker, name, level, qos):
    with Peer(broker, name, level) as p, Peer(broker, name + "-s", level) as s:
        p.publish(name, b"old", 1, retain=True)
        s.subscribe(name)
        assert s.get().retain
        p.publish(name, b"", qos, retain=True)
        got = s.get()
        assert (got.payload, got.qos, got.retain) == (b"", qos, False), "delivered like any message"
        assert retained(broker, name, level, name) == {}
        p.publish(name, b"", qos, retain=True)
        assert s.get().payload == b"", "although nothing was retained any more"
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-3.3.1-12")
@pytest.mark.mqtt5("MQTT-3.3.1-8")
def test_without_retain_nothing_retained_changes(broker, name, level):
    with Peer(broker, name, level) as p:
        p.publish(name + "/new", b"not kept", 1)
        p.publish(name + "/old", b"kept", 1, retain=True)
        p.publish(name + "/old", b"not kept", 1)
        p.publish(name + "/old", b"", 1)
        assert retained(broker, name, level, name + "/#") == {name + "/old": (b"kept", 1)}


@pytest.mark.mqtt311("MQTT-3.3.1-9")
@pytest.mark.mqtt5("MQTT-3.3.1-12")
def test_established_subscriptions_get_no_retain(broker, name, level):
    with Peer(broker, name, level) as p, Peer(broker, name + "-s", level) as s:
        s.subscribe(name)
        for qos in (0, 1, 2):
            p.publish(name, b"live", qos, retain=True)
            assert not s.get().retain


@pytest.mark.mqtt311("MQTT-3.1.2-7")
def test_retained_messages_outlive_their_sessions(broker, name, level):
    with Peer(broker, name, level) as p:
        p.publish(name, b"stays", 1, retain=True)
        p.bye()
    with Peer(broker, name, level) as p:
        p.drop()
    assert retained(broker, name, level, name) == {name: (b"stays", 1)}


@pytest.mark.mqtt311("MQTT-3.8.4-3", "MQTT-3.3.1-6")
@pytest.mark.mqtt5("MQTT-3.8.4-4", "MQTT-3.3.1-9")
def test_retained_messages_come_again_at_each_subscribe(broker, name, level):
    with Peer(broker, name, level) as p, Peer(broker, name + "-s", level) as s:
        p.publish(name, b"kept", 2, retain=True)
        for options in (2, 0, 1):
            assert s.subscribe((name, options)) == [options]
            got = s.get()
            assert (got.payload, got.qos, got.retain) == (b"kept", options, True)
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-3.3.1-6")
@pytest.mark.mqtt5("MQTT-3.3.1-9")
def test_overlapping_filters_each_ask_for_what_is_retained(broker, name, level):
    """A SUBSCRIBE of several filters is as many SUBSCRIBEs: a message that matches two of them may come twice."""
    with Peer(broker, name, level) as p, Peer(broker, name + "-s", level) as s:
        p.publish(name + "/a", b"kept", 1, retain=True)
        s.subscribe(name + "/#", name + "/+")
        got = [s.get(), s.get()]
        assert {(m.payload, m.retain) for m in got} == {(b"kept", True)}
        s.none_but(p)
