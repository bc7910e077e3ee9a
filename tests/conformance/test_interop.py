"""
What the public suites try of a broker, in our own words: the Eclipse Paho interoperability suite (client_test.py, client_test5.py)
and the broker tests of Eclipse Mosquitto. Here is what the modules beside do not have already, in the way real clients meet it.
"""

import time

import pytest

from harness import raw
from harness.peer import Peer, refused


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


# ---- as Paho's suite does ----


def test_connect_again_and_again(broker, name, level):
    """The same client, in and out."""
    for _ in range(20):
        with Peer(broker, name, level) as c:
            c.publish(name, b"x", 1)
            c.bye()


def test_every_qos_to_itself(broker, name, level):
    """A client that is subscribed to what it publishes: its acknowledgements and its messages mix, none is missing."""
    with Peer(broker, name, level) as c:
        c.subscribe(name)
        c.send(*[c.packet(name, b"%d" % qos, qos, qos) for qos in (0, 1, 2)])
        kinds, payloads = [], []
        while len(kinds) < 7:
            got = c.receive()
            kinds.append(got.kind)
            if got.kind == raw.PUBLISH:
                payloads.append(got.payload)
                if got.qos == 1:
                    c.send(raw.ack(raw.PUBACK, got.packet_id))
                elif got.qos == 2:
                    c.send(raw.ack(raw.PUBREC, got.packet_id))
            elif got.kind == raw.PUBREC:
                c.send(raw.ack(raw.PUBREL, got.packet_id))
        assert sorted(payloads) == [b"0", b"1", b"2"]
        assert sorted(kinds) == sorted([raw.PUBLISH] * 3 + [raw.PUBACK, raw.PUBREC, raw.PUBREL, raw.PUBCOMP])


def test_retained_of_each_qos_and_cleared_again(broker, name, level):
    with Peer(broker, name, level) as c:
        for n, qos in enumerate((0, 1, 2)):
            c.publish(f"{name}/{n}", b"qos %d" % qos, qos, retain=True)
        with Peer(broker, name + "-s", level) as s:
            s.subscribe(name + "/+")
            assert sorted((m.payload, m.qos) for m in (s.get(), s.get(), s.get())) == [
                (b"qos 0", 0), (b"qos 1", 1), (b"qos 2", 2),
            ]  # fmt: skip
        for n, qos in enumerate((0, 1, 2)):
            c.publish(f"{name}/{n}", b"", qos, retain=True)
        with Peer(broker, name + "-s", level) as s:
            s.subscribe(name + "/+")
            s.none_but(c)


@pytest.mark.parametrize("queued", [False, True], ids=["dropped", "queued"])
def test_offline_messages_of_each_qos(new_broker, level, queued):
    """QoS 1 and 2 wait; QoS 0 as it was configured."""
    broker = new_broker("--queue-qos0", "on" if queued else "off")
    with Peer(broker, "away", level, durable=True) as s:
        s.subscribe("+/+")
        s.bye()
    with Peer(broker, "p", level) as p:
        for qos in (0, 1, 2):
            p.publish(f"t/{qos}", b"%d" % qos, qos)
        with Peer(broker, "away", level, durable=True) as s:
            expected = [b"0", b"1", b"2"] if queued else [b"1", b"2"]
            assert [s.get().payload for _ in expected] == expected
            s.none_but(p)
            s.bye()
        p.bye()


def test_zero_length_client_ids(broker, level):
    """With a clean start a client gets one; without, 3.1.1 refuses and MQTT 5 assigns one."""
    with Peer(broker, "", level) as c:
        c.publish("t", b"x", 1)
    if level == 4:
        login = raw.connect("", broker.user, broker.password, clean=False)
        assert [p.body for p in refused(broker, login, 4)] == [b"\0\2"]
    else:
        with Peer(broker, "", 5, clean=False) as c:
            assert c.connack.props["assigned_client_id"]


def test_subscribe_failure(new_broker, level):
    broker = new_broker()
    broker.settings(on_denied="refuse")
    broker.add_user("u", "word-of-user-u", ["allowed"])
    with Peer(broker, "c", level, user="u", password="word-of-user-u") as c:
        assert c.subscribe(("nosubscribe", 2)) == [0x87 if level == 5 else 0x80]
        assert c.subscribe(("allowed", 2)) == [2]
        c.bye()


def test_dollar_topics_between_clients(new_broker, level):
    """A topic with a dollar is an ordinary one for who spells it; no leading wildcard finds it."""
    broker = new_broker()
    broker.add_user("u", "word-of-user-u", ["#", "$t/#"])
    login = {"user": "u", "password": "word-of-user-u"}
    with Peer(broker, "w", level, **login) as w, Peer(broker, "d", level, **login) as d, Peer(broker, "p", level, **login) as p:
        w.subscribe("+/+", "#", "+/a")
        d.subscribe("$t/+")
        p.publish("$t/a", b"x", 1)
        assert d.get().topic == "$t/a"
        w.none_but(p)
        for c in (w, d, p):
            c.bye()


def test_dollar_topics_of_anonymous_clients(new_broker, level):
    """--allow-anonymous lets them do everything, as the suites' own brokers do; but $SYS is the broker's."""
    broker = new_broker("--allow-anonymous")
    with Peer(broker, "w", level, user=None) as w, Peer(broker, "p", level, user=None) as p:
        w.subscribe("#", "$t/+")
        p.publish("$t/a", b"x", 1)
        assert w.get().topic == "$t/a"
        w.none_but(p)
        p.send(p.packet("$SYS/broker/version", b"x", 1, 9))
        p.ended(0x87)
        w.bye()


def test_unsubscribe_one_of_three(broker, name, level):
    with Peer(broker, name, level) as c, Peer(broker, name + "-p", level) as p:
        c.subscribe(*[f"{name}/{n}" for n in range(3)])
        c.unsubscribe(f"{name}/0")
        for n in range(3):
            p.publish(f"{name}/{n}", b"%d" % n, 1)
        assert [c.get().payload, c.get().payload] == [b"1", b"2"]
        c.none_but(p)


def test_session_expiry_at_disconnect(broker, name):
    """An interval in DISCONNECT replaces the one of CONNECT, longer or shorter; not from 0 to another."""
    cases = ((1, 3600, True), (3600, 0, False), (3600, 1, False), (3600, None, True), (1, None, False))
    for connect, disconnect, _ in cases:
        with Peer(broker, f"{name}-{connect}-{disconnect}", clean=True, props={"session_expiry": connect}) as c:
            c.bye(0, None if disconnect is None else {"session_expiry": disconnect})
    time.sleep(2.5)  # the clocks began before bye() returned
    for connect, disconnect, present in cases:
        with Peer(broker, f"{name}-{connect}-{disconnect}", clean=False) as c:
            assert c.present is present, (connect, disconnect)
            c.bye()
    with Peer(broker, name) as c:
        c.send(raw.disconnect(0, {"session_expiry": 5}))
        c.ended(0x82)


def test_redelivery_of_what_was_not_read(broker, name, level):
    """A client that stops reading, and comes back."""
    with Peer(broker, name + "-p", level) as p:
        with Peer(broker, name, level, durable=True) as c:
            c.subscribe(name)
            p.publish(name, b"1", 1)
            p.publish(name, b"2", 2)
            c.socket.close()
        with Peer(broker, name, level, durable=True) as c:
            got = [c.get(), c.get()]
            assert [(m.payload, m.qos) for m in got] == [(b"1", 1), (b"2", 2)]
            c.none_but(p)
            c.bye()


def test_flow_control_and_overtaking(broker, name):
    """A client of receive maximum 2, more messages than that of both QoS: each once, in order."""
    with Peer(broker, name, props={"receive_maximum": 2}) as c, Peer(broker, name + "-p") as p:
        c.subscribe(name)
        for n in range(30):
            p.publish(name, b"%d" % n, 1 + n % 2)
        assert [c.get().payload for _ in range(30)] == [b"%d" % n for n in range(30)]
        c.none_but(p)


# ---- as Mosquitto's tests do ----


def test_publish_qos_2_after_the_identifier_was_used_for_qos_1(broker, name, level):
    """One range of identifiers for all that a client sends: each is free again when its exchange is over."""
    with Peer(broker, name, level) as c, Peer(broker, name + "-s", level) as s:
        s.subscribe(name)
        for round_ in range(3):
            c.send(c.packet(name, b"q1 %d" % round_, 1, 5))
            c.receive(raw.PUBACK)
            c.send(raw.subscribe(5, ("other", 0), props={} if level == 5 else None))
            c.receive(raw.SUBACK)
            c.send(c.packet(name, b"q2 %d" % round_, 2, 5))
            c.receive(raw.PUBREC)
            c.send(raw.ack(raw.PUBREL, 5))
            c.receive(raw.PUBCOMP)
        assert [s.get().payload for _ in range(6)] == [b"q%d %d" % (q, r) for r in range(3) for q in (1, 2)]


def test_acknowledgements_of_nothing(broker, name, level):
    """Of identifiers that are not in use, or in another state: answered or ignored, and the connection goes on."""
    with Peer(broker, name, level) as c, Peer(broker, name + "-p", level) as p:
        for kind in (raw.PUBACK, raw.PUBREC, raw.PUBREL, raw.PUBCOMP):
            c.send(raw.ack(kind, 1234))
        answers = [c.receive() for _ in range(2)]
        assert {(a.kind, a.packet_id) for a in answers} == {(raw.PUBREL, 1234), (raw.PUBCOMP, 1234)}
        c.subscribe(name)
        p.publish(name, b"x", 2)
        got = c.receive(raw.PUBLISH)
        c.send(raw.ack(raw.PUBACK, got.packet_id), raw.ack(raw.PUBCOMP, got.packet_id))  # neither fits
        c.acknowledge(got)
        p.publish(name, b"y", 1)
        assert c.get().payload == b"y"


def test_the_will_of_a_client_that_is_replaced_in_its_session(broker, name):
    """MQTT 5: with a delay it is taken back by the one who takes over; without one it goes out."""
    with Peer(broker, name + "-w") as w, Peer(broker, name + "-f") as f:
        w.subscribe(name)
        for delay, sent in ((0, True), (10, False)):
            first = Peer(broker, name, durable=True, will=(name, b"%d" % delay, 0, False), will_props={"will_delay": delay})
            with Peer(broker, name, durable=True) as second:
                first.ended(0x8E)
                second.bye()
            if sent:
                assert w.get().payload == b"0"
            w.none_but(f)


def test_a_will_with_an_empty_payload(broker, name, level):
    """Published as it is; retained it removes what was retained."""
    with Peer(broker, name + "-w", level) as w, Peer(broker, name + "-p", level) as p:
        p.publish(name, b"kept", 1, retain=True)
        w.subscribe(name)
        assert w.get().payload == b"kept"
        with Peer(broker, name, level, will=(name, b"", 1, True)) as c:
            c.drop()
        assert w.get().payload == b""
        with Peer(broker, name + "-l", level) as late:
            late.subscribe(name)
            late.none_but(p)


def test_a_message_that_expires_as_a_will(broker, name):
    with Peer(broker, name + "-away", durable=True) as s:
        s.subscribe(name)
        s.bye()
    with Peer(broker, name, will=(name, b"short", 1, False), will_props={"message_expiry": 1}) as c:
        c.drop()
    time.sleep(1.5)
    with Peer(broker, name + "-away", durable=True) as s, Peer(broker, name + "-p") as p:
        s.none_but(p)
        s.bye()


def test_subscriptions_flip_between_clean_and_kept(broker, name, level):
    """A kept session's subscription dies with a clean start, and does not come back in the next kept one."""
    with Peer(broker, name + "-p", level) as p:
        for _ in range(2):
            with Peer(broker, name, level, durable=True) as c:
                c.subscribe(name)
                c.bye()
            with Peer(broker, name, level, clean=True) as c:
                p.publish(name, b"nobody's", 1)
                c.none_but(p)
                c.bye()
            with Peer(broker, name, level, durable=True) as c:
                assert not c.present
                p.publish(name, b"nobody's", 1)
                c.none_but(p)
                c.bye()
            with Peer(broker, name, level, clean=True) as c:
                c.bye()


@pytest.mark.parametrize("levels", [200, 4000])
def test_topics_of_many_levels(broker, name, level, levels):
    topic = name + "/" + "/".join("x" * (n % 3) for n in range(levels))
    with Peer(broker, name, level) as c, Peer(broker, name + "-p", level) as p:
        c.subscribe(name + "/#", topic, "/".join([name] + ["+"] * levels))
        p.publish(topic, b"deep", 1, retain=True)
        assert c.get().topic == topic
        c.none_but(p)
        assert c.unsubscribe(topic) in ([], [0])
        p.publish(topic, b"", 1, retain=True)


def test_publishers_without_subscribers_are_told(broker, name):
    """Reason 0x10, not for who has a subscriber; QoS 0 has no answer."""
    with Peer(broker, name) as c:
        assert c.publish(name, b"x", 1).reason == 0x10
        assert c.publish(name, b"x", 2).reason == 0x10
        with Peer(broker, name + "-s") as s:
            s.subscribe(name + "/#")
            assert c.publish(name, b"x", 1).reason == 0


def test_properties_and_payloads_of_the_largest_size(new_broker):
    """Many user properties and a payload up to the broker's packet size; one byte more ends the connection."""
    broker = new_broker("--max-packet-size", "64KiB")
    pairs = [(f"key{n}", "v" * 100) for n in range(300)]
    with Peer(broker, "s") as s, Peer(broker, "p") as p:
        s.subscribe("t")
        used = len(p.packet("t", b"", 1, 1, props={"user": pairs}))
        payload = b"x" * (65536 - used)
        p.publish("t", payload, 1, props={"user": pairs})
        got = s.get()
        assert got.payload == payload and got.props == {"user": pairs}
        p.send(p.packet("t", payload + b"!", 1, 9, props={"user": pairs}))
        p.ended(0x95)
        s.bye()
