"""Bridges in both directions and in rings, and Mosquitto's bridge to us: nothing goes round."""

import collections

import pytest

from harness.bridges import Collector, bridge, bridged, connected, fixed_port, login, retained, state, with_bridges
from harness.peer import Peer
from harness.wait import wait_until


# ---- loops ----


def link(broker, remote, topics, **settings):
    return bridge("to-" + str(remote.port), remote, topics, **login(remote), **settings)


def test_two_brokers_both_ways(new_broker):
    """Each message is at each broker once, whichever end it came in at, and both know each other."""
    a = fixed_port(new_broker(start=False)).start()
    b = with_bridges(new_broker(start=False), bridge("a", a, [("#", "both", 1)], **login(a))).start()
    connected(b)
    once_each(a, b)


@pytest.mark.parametrize("version", ["3.1", "3.1.1"])
def test_two_brokers_both_ways_before_mqtt_5(new_broker, version):
    """The bit of bridges in the protocol level gives what "no local" gives in MQTT 5."""
    a = new_broker()
    b = with_bridges(
        new_broker(start=False), bridge("a", a, [("#", "both", 1)], version=version, client_id="b", **login(a))
    ).start()
    connected(b)
    once_each(a, b)


def test_two_brokers_with_a_bridge_each(new_broker):
    """Each sends to the other: what has been there does not go back."""
    a, b = two_fixed(new_broker)
    with_bridges(a, link(a, b, [("#", "out", 1)], username="u", password="p"))
    with_bridges(b, link(b, a, [("#", "out", 1)], username="u", password="p"))
    start_with_user(a, b)
    once_each(a, b)
    assert state(a)["droppedLooped"] + state(b)["droppedLooped"] > 0


def two_fixed(new_broker, count=2):
    brokers = [fixed_port(new_broker(start=False)) for _ in range(count)]
    for b in brokers:
        b.bootstrap = {"mqtt_username": None, "mqtt_password": None}
        b.args.append("--allow-anonymous")
    return brokers


def start_with_user(*brokers):
    for b in brokers:
        b.start()
        b.add_user("u", "p", ["#"])
    for b in brokers:
        connected(b)


def once_each(*brokers):
    collectors = [Collector(b, f"see-{i}", "x/#") for i, b in enumerate(brokers)]
    try:
        for i, b in enumerate(brokers):
            with Peer(b, f"say-{i}", 5) as p:
                for n in range(20):
                    p.publish(f"x/{i}", b"%d %d" % (i, n), n % 3)
        want = sorted(f"{i} {n}" for i in range(len(brokers)) for n in range(20))
        for c in collectors:
            c.wait(len(want))
        for i, b in enumerate(brokers):  # behind these nothing of the above is on its way
            with Peer(b, f"fence-{i}", 5) as p:
                p.publish(f"x/{i}", b"fence", 1)
        for c in collectors:
            c.wait(len(want) + len(brokers))
            assert sorted(p for p in c.payloads() if p != "fence") == want
    finally:
        for c in collectors:
            c.close()


def test_a_ring_of_three(new_broker):
    """Each sends to the next one: once around, and no further."""
    a, b, c = ring = two_fixed(new_broker, 3)
    for here, there in ((a, b), (b, c), (c, a)):
        with_bridges(here, link(here, there, [("#", "out", 1)], username="u", password="p"))
    start_with_user(*ring)
    once_each(*ring)
    assert all(state(x)["droppedLooped"] > 0 for x in ring)


def test_a_ring_of_three_that_fetches(new_broker):
    a, b, c = ring = two_fixed(new_broker, 3)
    for here, there in ((a, b), (b, c), (c, a)):
        with_bridges(here, link(here, there, [("#", "in", 1)], username="u", password="p"))
    start_with_user(*ring)
    once_each(*ring)


def test_a_ring_of_three_both_ways(new_broker):
    """There are two ways from each to each, so a message may come by both; it ends, and nobody misses one."""
    a, b, c = ring = two_fixed(new_broker, 3)
    for here, there in ((a, b), (b, c), (c, a)):
        with_bridges(here, link(here, there, [("#", "both", 1)], username="u", password="p"))
    start_with_user(*ring)
    collectors = [Collector(x, f"see-{i}", "x/#") for i, x in enumerate(ring)]
    for i, x in enumerate(ring):
        with Peer(x, f"say-{i}", 5) as p:
            for n in range(10):
                p.publish(f"x/{i}", b"%d %d" % (i, n), 1)
    want = {f"{i} {n}" for i in range(3) for n in range(10)}
    wait_until(lambda: all(set(x.payloads()) == want for x in collectors), 20, "everyone has everything")
    counts = []

    def is_over():
        counts.append([len(x.got) for x in collectors])
        return len(counts) > 20 and counts[-1] == counts[-20]

    wait_until(is_over, 20, "nothing goes round", 0.02)
    for x in collectors:
        x.close()
        assert max(collections.Counter(x.payloads()).values()) <= 3


# ---- Mosquitto's bridge, to us ----


@pytest.mark.parametrize(
    "version, private", [("mqttv31", True), ("mqttv311", True), ("mqttv311", False), ("mqttv50", True)]
)
def test_mosquittos_bridge_to_us(new_broker, mosquitto, version, private):
    """Its connection section with our address: both directions, its state, and no loop unless it is told to be no bridge."""
    broker = new_broker()
    lines = [
        "connection to-tracemq", f"address 127.0.0.1:{broker.port}", f"remote_username {broker.user}",
        f"remote_password {broker.password}", f"bridge_protocol_version {version}",
        f"try_private {str(private).lower()}", "remote_clientid mosq", 'topic o/# out 1 "" up/',
        'topic i/# in 1 "" down/', "restart_timeout 1", *(["topic x/# both 2"] if private else []),
    ]  # fmt: skip
    remote = mosquitto(*lines)
    with Collector(broker, "here", "x/#", "up/#") as here, Collector(remote, "there", "x/#", "i/#", level=4) as there:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 4) as q:
            wait_until(lambda: p.publish("down/i/1", b"down", 1).reason == 0, 20, "its subscription is here")
            there.wait(1)
            q.publish("o/1", b"up", 1)
            here.wait(1)
            assert here.got[0].topic == "up/o/1" and there.got[0].topic == "i/1"
            wait_until(lambda: retained(broker, "$SYS/broker/connection/mosq/state") == b"1", 15, "its state")
            if not private:
                return
            for n in range(10):
                p.publish("x/p", b"p%d" % n, n % 3)
                q.publish("x/q", b"q%d" % n, n % 3)
            here.wait(21)
            there.wait(21)
            p.publish("x/end", b"end", 1)
            q.publish("x/end", b"end", 1)
            here.wait(23)
            there.wait(23)
    want = sorted([f"p{n}" for n in range(10)] + [f"q{n}" for n in range(10)] + ["end", "end"])
    assert sorted(p for p in here.payloads() if p != "up") == want
    assert sorted(p for p in there.payloads() if p != "down") == want


def test_the_state_of_another_is_not_told(new_broker, mosquitto):
    """A client tells its own state below $SYS, nobody else's, and not that of a bridge of ours."""
    broker = bridged(new_broker, mosquitto(), [("a", "out", 1)])
    broker.settings(on_denied="refuse")
    with Peer(broker, "me", 5) as me, Peer(broker, "plant", 5) as plant:
        topic = "$SYS/broker/connection/%s/state"
        assert me.publish(topic % "me", b"1", 1).reason in (0, 0x10)
        assert me.publish(topic % "you", b"1", 1).reason == 0x87
        assert plant.publish(topic % "plant", b"0", 1).reason == 0x87


