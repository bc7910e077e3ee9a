"""Delayed messages and kill -9: what was acknowledged comes at its time, QoS 2 once, whenever the broker is killed."""

import collections
import random
import threading
import time

import pytest

from harness import raw
from harness.broker import SANITIZED
from harness.flow import Publisher, PublisherState, Subscriber, SubscriberState, Way, end_all, start_all, subscribe_durably
from harness.wait import wait_until

ROUNDS = 3 if SANITIZED else 5
SUBSCRIBERS = {f"plain{i}": "flow/#" for i in range(3)} | {f"member{i}": "$share/group/flow/#" for i in range(3)}


def metric(broker, name):
    lines = broker.request("GET", "/metrics", 200).text.splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith(name + " ")))


@pytest.mark.parametrize("qos, level", [(1, 4), (2, 5)])
def test_kill(new_broker, figures, qos, level):
    """Subscribers on two loops, in a group and not; messages are kept, go out, and are acknowledged while the broker is killed."""
    dice, way = random.Random(qos), Way(level)
    broker = new_broker("--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB", loops=2)
    states = {name: SubscriberState(name) for name in SUBSCRIBERS}
    for name, topic in SUBSCRIBERS.items():
        subscribe_durably(broker, name, topic, qos, way)
    publishers = [PublisherState(f"pub{i}", f"$delayed/1/flow/{i}", qos) for i in range(3)]
    flowing = threading.Event()
    flowing.set()
    for _ in range(ROUNDS):
        parties = start_all([Publisher(broker, p, flowing, way) for p in publishers]
                            + [Subscriber(broker, s, way=way) for s in states.values()])  # fmt: skip
        before = sum(len(s.payloads) for s in states.values())
        wait_until(lambda: sum(len(s.payloads) for s in states.values()) > before + 100, 20, "messages that were delayed")
        time.sleep(dice.random() * 0.4)  # the moment is arbitrary
        broker.kill9()
        end_all(parties)
        broker.start()
    flowing.clear()
    for party in start_all([Publisher(broker, p, flowing, way) for p in publishers]):
        party.join(60)
        party.end()
    wanted = [(p.client_id, str(n)) for p in publishers for n in range(p.next)]
    last = start_all([Subscriber(broker, s, way=way) for s in states.values()])
    plain = [states[name] for name in SUBSCRIBERS if name.startswith("plain")]
    group = [states[name] for name in SUBSCRIBERS if name.startswith("member")]
    wait_until(lambda: all(set(s.payloads) >= set(wanted) for s in plain), 40, "every message")
    wait_until(lambda: {got for s in group for got in s.payloads} >= set(wanted), 40, "every message to the group")
    wait_until(lambda: metric(broker, "tracemq_delayed_messages") == 0, 20, "none is left")
    end_all(last)
    everybody = {s.client_id: s.payloads for s in plain} | {"group": [got for s in group for got in s.payloads]}
    twice = 0
    for who, payloads in everybody.items():
        assert set(payloads) == set(wanted), who
        twice += len(payloads) - len(wanted)
    for s in plain if qos == 2 else []:
        for p in publishers:
            got = [int(n) for who, n in s.payloads if who == p.client_id]
            assert got == list(range(p.next)), f"{s.client_id}: exactly once, in order"
    if qos == 2:
        once = collections.Counter(everybody["group"])
        assert max(once.values()) == 1, "exactly once in the group"
    assert min(len(s.payloads) for s in group) > 0
    figures(f"{ROUNDS} kills, {len(wanted)} messages to {len(everybody)}, {twice} delivered twice, 0 lost")
    broker.stop()


def test_due_while_it_was_down(new_broker):
    broker = new_broker(loops=2)
    subscribe_durably(broker, "sub", "later/#", 1)
    with raw.Client(broker) as p:
        p.login("pub")
        for n in range(50):
            p.send(raw.publish(f"$delayed/{1 if n % 2 else 3600}/later/{n}", str(n), 1, n + 1))
        p.receive_all(50, raw.PUBACK)
        broker.kill9()
    time.sleep(1.1)  # they become due
    broker.start()
    with raw.Client(broker) as c:
        assert c.login("sub", clean=False)
        assert [int(m.payload) for m in c.receive_all(25)] == list(range(1, 50, 2))
        assert metric(broker, "tracemq_delayed_messages") == 25
    broker.stop()
