"""Shared subscriptions while everything falls over: kill -9 of the broker, members that come and go on two loops."""

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
MEMBERS = 4


@pytest.mark.parametrize("shared, qos, level", [("$queue/flow/#", 1, 4), ("$share/group/flow/#", 2, 5)])
def test_kill(new_broker, figures, shared, qos, level):
    """Acknowledged QoS 1 comes to the group at least once, QoS 2 exactly once: nobody of it misses or repeats one."""
    dice, way = random.Random(qos), Way(level)
    broker = new_broker("--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB", loops=2)
    members = [SubscriberState(f"member{i}") for i in range(MEMBERS)]
    for m in members:
        subscribe_durably(broker, m.client_id, shared, qos, way)
    publishers = [PublisherState(f"pub{i}", f"flow/{i}", qos) for i in range(3)]
    flowing = threading.Event()
    flowing.set()
    for _ in range(ROUNDS):
        parties = [Publisher(broker, p, flowing, way) for p in publishers]
        parties = start_all(parties + [Subscriber(broker, m, way=way) for m in members])
        before = sum(len(p.acknowledged) for p in publishers)
        wait_until(lambda: sum(len(p.acknowledged) for p in publishers) > before, 20, "an acknowledgement")
        time.sleep(dice.random() * 0.4)  # the moment is arbitrary
        broker.kill9()
        end_all(parties)
        broker.start()
    flowing.clear()
    last = start_all([Publisher(broker, p, flowing, way) for p in publishers])
    for party in last:
        party.join(60)
        party.end()
    wanted = {(p.client_id, str(n)) for p in publishers for n in range(p.next)}
    last = start_all([Subscriber(broker, m, way=way) for m in members])
    wait_until(lambda: {got for m in members for got in m.payloads} >= wanted, 30, "every message")
    end_all(last)
    got = collections.Counter(g for m in members for g in m.payloads)
    assert set(got) == wanted
    twice = {g: n for g, n in got.items() if n > 1}
    if qos == 2:
        assert not twice, "exactly once in the group"
    shares = [len(m.payloads) for m in members]
    assert min(shares) > 0
    figures(f"{ROUNDS} kills, {len(wanted)} messages, {len(twice)} delivered twice, 0 lost; members got {shares}")
    broker.stop()


class Member(threading.Thread):
    """Comes, acknowledges what it gets (or not), and leaves in some way, again and again."""

    def __init__(self, broker, number, until):
        super().__init__(daemon=True)
        self.broker, self.number, self.until = broker, number, until
        self.dice, self.acknowledged, self.failure = random.Random(number), [], None

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.once()
        except Exception as e:  # noqa: BLE001
            self.failure = e

    def once(self):
        with raw.Client(self.broker) as c:
            c.login(f"churn{self.number}", level=5, clean=self.dice.random() < 0.5, props={"session_expiry": 3600})
            c.send(raw.subscribe(1, ("$share/g/churn", 1), props={}))
            until = time.monotonic() + self.dice.random() * 0.05
            forgetful = self.dice.random() < 0.3
            while time.monotonic() < until:
                try:
                    p = c.receive(seconds=0.02)
                except OSError:
                    continue
                if p.kind == raw.PUBLISH and not forgetful:
                    c.send(raw.ack(raw.PUBACK, p.packet_id))
                    self.acknowledged.append(p.payload.decode())
            how = self.dice.choice(["bye", "fin", "reset", "unsubscribe"])
            if how == "unsubscribe":
                c.send(raw.unsubscribe(2, "$share/g/churn", props={}))
                how = "bye"
            getattr(c, how)()


def test_members_that_come_and_go(new_broker, figures):
    """Nothing is lost between them while one stays."""
    broker = new_broker("--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB", loops=2)
    until = time.monotonic() + 3
    steady = SubscriberState("steady")
    subscribe_durably(broker, "steady", "$share/g/churn", 1)
    flowing = threading.Event()
    flowing.set()
    publishers = [PublisherState(f"pub{i}", "churn", 1) for i in range(2)]
    stays = start_all([Subscriber(broker, steady)])
    flow = start_all([Publisher(broker, p, flowing) for p in publishers])
    churn = [Member(broker, i, until) for i in range(6)]
    for m in churn:
        m.start()
    for m in churn:
        m.join(60)
        assert not m.is_alive()
        if m.failure:
            raise m.failure
    flowing.clear()
    for party in flow:
        party.join(60)
        party.end()
    for i in range(len(churn)):  # their sessions end, and what these still had goes to the one that stays
        with raw.Client(broker) as c:
            c.login(f"churn{i}", level=5, clean=True)
            c.bye()
    wanted = {(p.client_id, str(n)) for p in publishers for n in range(p.next)}
    elsewhere = {tuple(g.split(" ", 2)[:2]) for m in churn for g in m.acknowledged}
    wait_until(lambda: set(steady.payloads) | elsewhere >= wanted, 30, "every message")
    end_all(stays)
    figures(f"{len(wanted)} messages, {len(elsewhere)} taken by members that came and went, 0 lost")
    broker.stop()
