"""
More retained messages than fit anywhere at once, to a new subscription: they come a piece at a time, all of them, each once,
and meanwhile the broker does its other work.
"""

import collections
import socket

import pytest

from harness import raw
from harness.broker import SANITIZED
from harness.peer import Peer

COUNT = 4000 if SANITIZED else 20000
SMALL = ("--max-queued-messages", "1000", "--max-output-bytes", "64KiB", "--max-inflight", "100")


def retain_many(broker, count=COUNT, qos=0, size=100):
    """r/0 … in one go; returns when they are kept."""
    with Peer(broker, "filler") as p:
        for begin in range(0, count, 500):
            numbers = range(begin, min(begin + 500, count))
            p.send(*[p.packet(f"r/{n % 7}/{n}", b"%d" % n + b"." * size, qos, n % 60000 + 1, True) for n in numbers])
            if qos:
                p.receive_all(len(numbers), raw.PUBACK)
        p.publish("end", b"x", 1)
        p.bye()


def number(p):
    assert p.retain and p.topic.startswith("r/"), p
    return int(p.topic.rsplit("/", 1)[1])


def resident(broker):
    with open(f"/proc/{broker.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


@pytest.mark.parametrize("level", [4, 5])
@pytest.mark.parametrize("qos", [0, 1])
def test_all_of_them_come(new_broker, level, qos):
    broker = new_broker(*SMALL)
    retain_many(broker, qos=qos)
    with Peer(broker, "s", level) as s:
        s.subscribe(("r/#", qos))
        assert sorted(number(s.get()) for _ in range(COUNT)) == list(range(COUNT))
        s.nothing()
        s.bye()
    broker.wait_causes("s", "accepted.new", "client.normal")
    assert broker.trace("s")[-1]["detail"].get("dropped", 0) == 0


def test_who_does_not_read_costs_little(new_broker):
    """And who does not acknowledge: what comes next stays where it is kept."""
    broker = new_broker(*SMALL)
    retain_many(broker, qos=1, size=1000)
    before = resident(broker)
    with Peer(broker, "deaf") as deaf, Peer(broker, "silent") as silent, Peer(broker, "w") as w, Peer(broker, "p") as p:
        deaf.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        for _ in range(3):
            deaf.send(raw.subscribe(1, ("r/#", 0), props={}))
            silent.send(raw.subscribe(1, ("r/#", 1), props={}))
        w.subscribe("live")
        for n in range(100):
            p.publish("live", b"%d" % n, 1)
            assert w.get().payload == b"%d" % n
        if not SANITIZED:
            assert resident(broker) - before < 10 << 20
        for c in (w, p):
            c.bye()
        silent.drop()
        deaf.reset()


def test_filters_by_the_thousand(new_broker):
    """One SUBSCRIBE that asks for everything again and again: it gets everything once, as there is only one subscription."""
    broker = new_broker(*SMALL)
    retain_many(broker)
    with Peer(broker, "s") as s, Peer(broker, "p") as p:
        s.send(raw.subscribe(1, *[("r/#", 0)] * 900, props={}))
        p.publish("live", b"x", 1)
        assert s.receive(raw.SUBACK).codes == [0] * 900
        assert sorted(number(s.get()) for _ in range(COUNT)) == list(range(COUNT))
        s.none_but(p)
        assert len(s.subscribe(*[("r/#", 0)] * 100_000)) == 100_000
        assert sorted(number(s.get()) for _ in range(COUNT)) == list(range(COUNT))
        s.none_but(p)
        s.subscribe(*[(f"r/{n}/#", 0) for n in range(7)])
        assert sorted(number(s.get()) for _ in range(COUNT)) == list(range(COUNT))
        s.none_but(p)
        s.bye()
        p.bye()


def test_what_changes_meanwhile(new_broker):
    """The last that a subscriber hears of a topic is what is retained there."""
    broker = new_broker(*SMALL)
    retain_many(broker)
    last = {}
    with Peer(broker, "s") as s, Peer(broker, "p") as p:
        s.subscribe(("r/#", 0))
        for n in range(0, COUNT, 37):
            p.send(p.packet(f"r/{n % 7}/{n}", b"" if n % 2 else b"new", 0, 0, True))
        p.publish("r/end", b"x", 1)
        while "r/end" not in last or len(last) < COUNT + 1:
            got = s.get()
            last[got.topic] = got.payload
            if got.payload == b"":
                assert not got.retain
        s.none_but(p)
        for n in range(0, COUNT, 37):
            assert last[f"r/{n % 7}/{n}"] == (b"" if n % 2 else b"new")
        s.bye()
        p.bye()


@pytest.mark.parametrize("how", ["drop", "kill"])
@pytest.mark.mqtt5("MQTT-4.4.0-1")
def test_a_kept_session_gets_the_rest(new_broker, how):
    """It was away in the middle, by its own doing or by a kill -9 of the broker's."""
    broker = new_broker(*SMALL)
    retain_many(broker, 3000, 1)
    got = collections.Counter()
    s = Peer(broker, "s", durable=True)
    s.subscribe(("r/#", 1))
    for _ in range(500):
        got[number(s.get())] += 1
    if how == "kill":
        broker.kill9()
        broker.start()
    else:
        s.drop()
    with Peer(broker, "s", durable=True) as s:
        assert s.present
        while len(got) < 3000:
            got[number(s.get())] += 1
        assert set(got) == set(range(3000))
        if how == "drop":
            assert sum(n - 1 for n in got.values()) <= 100, "what was in flight, and no more, twice"
        s.bye()
    if how == "kill":  # it is over, and the next start does not begin again
        broker.restart()
        with Peer(broker, "s", durable=True) as s, Peer(broker, "p") as p:
            s.none_but(p)
            s.bye()
            p.bye()


def test_it_ends_with_its_subscription(new_broker):
    broker = new_broker(*SMALL)
    retain_many(broker, qos=1)
    with Peer(broker, "s") as s, Peer(broker, "p") as p:
        s.send(raw.subscribe(1, ("r/#", 1), props={}), raw.unsubscribe(2, "r/#", props={}))
        kinds = collections.Counter()
        while not kinds[raw.UNSUBACK]:
            got = s.receive()
            kinds[got.kind] += 1
            if got.kind == raw.PUBLISH:
                s.acknowledge(got)
        s.send(raw.pingreq())
        more = 0
        while (got := s.receive()).kind != raw.PINGRESP:
            more += 1
            s.acknowledge(got)
        assert kinds[raw.PUBLISH] + more <= 100, "one window"
        s.none_but(p)
        s.bye()
        p.bye()
