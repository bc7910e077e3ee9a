"""SUBSCRIBE, UNSUBSCRIBE and what filters match, in both versions."""

import pytest

from harness import raw
from harness.peer import Peer


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


# ---- SUBSCRIBE and SUBACK ----


@pytest.mark.mqtt311(
    "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-4", "MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2", "MQTT-2.3.1-7"
)
@pytest.mark.mqtt5(
    "MQTT-3.8.4-1", "MQTT-3.8.4-2", "MQTT-3.8.4-5", "MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2",
    "MQTT-2.2.1-6",
)  # fmt: skip
def test_suback_answers_each_filter_in_order(broker, name, level):
    props = {} if level == 5 else None
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        for packet_id, granted in ((1, [2, 0, 1]), (65535, [0, 0, 2, 1, 1])):
            entries = [(f"{name}/{packet_id}/{i}", qos) for i, qos in enumerate(granted)]
            s.send(raw.subscribe(packet_id, *entries, props=props))
            answer = s.receive(raw.SUBACK)
            assert (answer.packet_id, answer.codes) == (packet_id, granted)
            for topic, qos in entries:
                p.publish(topic, b"x", 2)
                got = s.get()
                assert (got.topic, got.qos) == (topic, qos)
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-3.8.4-5", "MQTT-3.9.3-1", "MQTT-3.9.3-2", "MQTT-3.8.4-4")
@pytest.mark.mqtt5("MQTT-3.8.4-6", "MQTT-3.8.4-7", "MQTT-3.9.3-1", "MQTT-3.9.3-2", "MQTT-3.8.4-5")
def test_suback_tells_what_failed(new_broker, level):
    """A filter that the client may not have among some that it may: those hold."""
    broker = new_broker()
    broker.settings(on_denied="refuse")
    broker.add_user("alice", "alice's-own-word", ["mine/#"])
    with Peer(broker, "s", level, user="alice", password="alice's-own-word") as s, Peer(broker, "p", level) as p:
        failed = 0x87 if level == 5 else 0x80
        assert s.subscribe(("mine/1", 1), ("others", 2), ("mine/2", 2)) == [1, failed, 2]
        for topic in ("others", "mine/1", "mine/2"):
            p.publish(topic, b"x", 2)
        assert [s.get().topic, s.get().topic] == ["mine/1", "mine/2"]
        s.bye()
        p.bye()


@pytest.mark.mqtt311("MQTT-3.8.4-3")
@pytest.mark.mqtt5("MQTT-3.8.4-3", "MQTT-3.8.4-4")
def test_subscribing_again_replaces(broker, name, level):
    """At the new QoS, each message once, none lost while it happens."""
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe((name, 0))
        p.send(b"".join(p.packet(name, b"%d" % n) for n in range(200)))
        for n in range(20):
            s.send(raw.subscribe(100 + n, (name, n % 3), props={} if level == 5 else None))
        got = []
        while len(got) < 220:
            m = s.receive()
            assert m.kind in (raw.PUBLISH, raw.SUBACK)
            got.append(m)
        assert [m.payload for m in got if m.kind == raw.PUBLISH] == [b"%d" % n for n in range(200)]
        p.publish(name, b"last", 2)
        assert s.get().qos == 19 % 3
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-3.3.5-1")
@pytest.mark.mqtt5("MQTT-3.3.4-2")
def test_overlapping_subscriptions(broker, name, level):
    """One copy at the highest QoS, in whatever order the filters were made."""
    filters = [(name + "/#", 0), (name + "/+", 2), (name + "/a", 1)]
    for i, order in enumerate((filters, filters[::-1], filters[1:] + filters[:1])):
        with Peer(broker, f"{name}-{i}", level) as s, Peer(broker, name + "-p", level) as p:
            s.subscribe(*order)
            p.publish(name + "/a", b"x", 2)
            got = s.get()
            assert (got.payload, got.qos) == (b"x", 2)
            s.none_but(p)
            p.publish(name, b"by one filter only", 2)
            assert s.get().qos == 0


@pytest.mark.mqtt311("MQTT-3.3.5-2")
@pytest.mark.mqtt5("MQTT-3.4.2-1", "MQTT-3.5.2-1", "MQTT-4.3.3-9")
def test_a_publish_that_is_not_allowed(new_broker, level):
    """3.1.1 can not say so: it is acknowledged as usual. MQTT 5 says it, and then the identifier is free, for QoS 2, too."""
    broker = new_broker()
    broker.settings(on_denied="refuse")
    broker.add_user("alice", "alice's-own-word", ["mine/#"])
    reason = 0x87 if level == 5 else 0
    with Peer(broker, "c", level, user="alice", password="alice's-own-word") as c, Peer(broker, "w", level) as w:
        w.subscribe("#")
        assert c.publish("others", b"x", 1).reason == reason
        c.send(c.packet("others", b"x", 2, 77))
        got = c.receive(raw.PUBREC)
        assert (got.packet_id, got.reason) == (77, reason)
        if level == 4:
            c.send(raw.ack(raw.PUBREL, 77))
            assert c.receive(raw.PUBCOMP).packet_id == 77
        c.send(c.packet("mine/1", b"allowed", 2, 77))
        assert c.receive(raw.PUBREC).reason == 0
        assert w.get().payload == b"allowed", "a new message, not a repetition"
        c.bye()
        w.bye()


@pytest.mark.mqtt311("MQTT-3.3.5-2", "MQTT-4.8.0-1")
@pytest.mark.mqtt5("MQTT-3.14.2-1")
def test_a_publish_that_ends_the_connection(broker, name, level):
    """The other answer that the standard allows, and the default."""
    broker.add_user(name, "word-of-" + name, ["mine/#"])
    with Peer(broker, name, level, user=name, password="word-of-" + name) as c:
        c.send(c.packet("others", b"x", 1, 1))
        c.ended(0x87)


# ---- UNSUBSCRIBE and UNSUBACK ----


@pytest.mark.mqtt311(
    "MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-3.10.4-6", "MQTT-2.3.1-7"
)
@pytest.mark.mqtt5(
    "MQTT-3.10.4-1", "MQTT-3.10.4-2", "MQTT-3.10.4-4", "MQTT-3.10.4-5", "MQTT-3.10.4-6", "MQTT-3.11.3-1", "MQTT-3.11.3-2",
    "MQTT-2.2.1-6",
)  # fmt: skip
def test_unsubscribe_compares_characters(broker, name, level):
    """A filter is deleted by itself only, not by one that would match it or what it matches."""
    props = {} if level == 5 else None
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name + "/a", name + "/b", name + "/+/x", name + "/c/#")
        for packet_id, filters, codes in (
            (500, (name + "/#", name + "/+", name + "/A"), [0x11, 0x11, 0x11]),
            (501, (name + "/b", "never", name + "/+/x", name + "/c"), [0, 0x11, 0, 0x11]),
            (502, (name + "/b",), [0x11]),
        ):
            s.send(raw.unsubscribe(packet_id, *filters, props=props))
            answer = s.receive(raw.UNSUBACK)
            assert answer.packet_id == packet_id
            assert answer.codes == (codes if level == 5 else []), "3.1.1 has no codes"
        for topic in ("b", "b/x", "a", "c/x"):
            p.publish(f"{name}/{topic}", b"x", 1)
        assert [s.get().topic, s.get().topic] == [name + "/a", name + "/c/x"]
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-3.10.4-3", "MQTT-3.10.4-2")
@pytest.mark.mqtt5("MQTT-3.10.4-3", "MQTT-3.10.4-2")
def test_what_was_begun_is_completed_after_unsubscribe(broker, name, level):
    with Peer(broker, name + "-p", level) as p:
        with Peer(broker, name, level, durable=True) as s:
            s.subscribe(name)
            for qos in (1, 2, 2):
                p.publish(name, b"begun", qos)
            one, two, three = s.receive_all(3)
            s.send(raw.ack(raw.PUBREC, three.packet_id))
            s.receive(raw.PUBREL)
            s.unsubscribe(name)
            p.publish(name, b"too late", 2)
            s.none_but(p)
            s.send(raw.ack(raw.PUBREC, two.packet_id), raw.ack(raw.PUBCOMP, three.packet_id))
            assert s.receive(raw.PUBREL).packet_id == two.packet_id
            s.drop()
        with Peer(broker, name, level, durable=True) as s:
            got = {m.kind: m for m in (s.receive(), s.receive())}
            assert (got[raw.PUBLISH].packet_id, got[raw.PUBLISH].dup) == (one.packet_id, True)
            assert got[raw.PUBREL].packet_id == two.packet_id
            s.none_but(p)
            s.bye()


@pytest.mark.mqtt311("MQTT-3.10.4-2")
@pytest.mark.mqtt5("MQTT-3.10.4-2")
def test_one_of_overlapping_subscriptions_goes(broker, name, level):
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe((name + "/#", 2), (name + "/+", 1), (name + "/a", 0))
        for gone, qos in ((name + "/#", 1), (name + "/+", 0)):
            s.unsubscribe(gone)
            p.publish(name + "/a", b"x", 2)
            assert s.get().qos == qos
        s.unsubscribe(name + "/a")
        p.publish(name + "/a", b"x", 2)
        s.none_but(p)


# ---- filters ----

MATCHES = {
    "#": {"a", "/a", "a/", "a//b", "a/b/c", "/"},
    "+": {"a"},
    "/+": {"/a", "/"},
    "+/+": {"/a", "a/", "/"},
    "a/#": {"a", "a/", "a//b", "a/b/c"},
    "+/#": {"a", "/a", "a/", "a//b", "a/b/c", "/"},
    "/#": {"/a", "/"},
    "a/+/c": {"a/b/c"},
    "a/+": {"a/"},
    "a/+/+": {"a//b", "a/b/c"},
    "+/b/#": {"a/b/c"},
    "a/b/c/#": {"a/b/c"},
    "a": {"a"},
    "a/": {"a/"},
    "A/#": set(),
}


@pytest.mark.mqtt311("MQTT-4.7.1-2", "MQTT-4.7.1-3", "MQTT-3.3.2-3", "MQTT-4.7.3-4")
@pytest.mark.mqtt5("MQTT-4.7.1-1", "MQTT-4.7.1-2", "MQTT-3.3.2-3", "MQTT-4.7.3-4")
def test_what_filters_match(new_broker, level):
    """Each filter is a client of its own; each gets those and no others, until the end of them."""
    broker = new_broker()
    end = "$the/end"
    broker.add_user("end", "the-end's-own-word", ["#", "$the/#"])
    login = {"user": "end", "password": "the-end's-own-word"}
    peers = {f: Peer(broker, f"c{i}", level, **login) for i, f in enumerate(MATCHES)}
    for topic_filter, s in peers.items():
        s.subscribe((topic_filter, 0), (end, 0))
    with Peer(broker, "p", level, **login) as p:
        for topic in sorted(set().union(*MATCHES.values())):
            p.publish(topic, b"x")
        p.publish(end, b"")
        for topic_filter, s in peers.items():
            got = []
            while not got or got[-1] != end:
                got.append(s.get().topic)
            assert sorted(got[:-1]) == sorted(MATCHES[topic_filter]), topic_filter
            s.bye()
        p.bye()


@pytest.mark.mqtt311("MQTT-4.7.2-1")
@pytest.mark.mqtt5("MQTT-4.7.2-1")
def test_leading_wildcards_and_dollar(new_broker, level):
    """Neither live nor retained; a filter that spells the first level out matches."""
    broker = new_broker("--sys-interval", "1s")
    broker.add_user("all", "word-for-it-all", ["#", "$own/#", "$SYS/#"])
    login = {"user": "all", "password": "word-for-it-all"}
    with Peer(broker, "s", level, **login) as s, Peer(broker, "p", level, **login) as p, Peer(broker, "d", level, **login) as d:
        p.publish("$own/kept", b"kept", 1, retain=True)
        p.publish("plain/kept", b"kept", 1, retain=True)
        s.subscribe("#", "+/kept", "+/+", "+/#")
        assert {s.get().topic for _ in range(4)} == {"plain/kept"}, "as often as its filters match"
        d.subscribe("$own/#", "$own/+")
        assert [d.get().topic, d.get().topic] == ["$own/kept"] * 2
        p.publish("$own/live", b"x", 1)
        p.publish("plain/live", b"x", 1)
        assert s.get().topic == "plain/live"
        assert d.get().topic == "$own/live"
        with Peer(broker, "sys", level, **login) as sys:
            sys.subscribe(("$SYS/broker/uptime", 0))
            sys.get()  # such topics are published while all of this goes on
        p.publish("plain/end", b"x", 1)
        assert s.get().topic == "plain/end"
        for c in (s, p, d):
            c.bye()
