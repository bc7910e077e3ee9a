"""A bridge in both directions while either broker, or both, are killed: nothing acknowledged is lost, QoS 2 comes once."""

import collections
import random
import threading
import time

import pytest

from harness.bridges import bridge, connected, fixed_port, with_bridges
from harness.flow import Publisher, PublisherState, Subscriber, SubscriberState, Way, end_all, start_all, subscribe_durably
from harness.wait import wait_until

ROOM = ["--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB"]
VICTIMS = ["ours", "theirs", "both"]


class Flow:
    """One direction: publishers at its source, a durable subscriber at its sink; both remember what they must."""

    def __init__(self, source, sink, topic, qos):
        self.source, self.sink = source, sink
        self.publishers = [PublisherState(f"{topic}-pub{i}", f"{topic}/{i}", qos) for i in range(2)]
        self.subscriber = SubscriberState(f"{topic}-sub")
        subscribe_durably(sink, self.subscriber.client_id, f"{topic}/#", qos, Way(4))

    def publishing(self, flowing):
        return [Publisher(self.source, p, flowing, Way(4)) for p in self.publishers]

    def subscribing(self):
        return [Subscriber(self.sink, self.subscriber, way=Way(4))]

    def acknowledged(self):
        return sum(len(p.acknowledged) for p in self.publishers)

    def wanted(self):
        return {(p.client_id, str(n)) for p in self.publishers for n in range(p.next)}


@pytest.mark.parametrize("qos, version", [(1, "5"), (2, "5"), (1, "3.1.1"), (2, "3.1.1")])
def test_kill(new_broker, figures, qos, version):
    dice = random.Random(qos)
    theirs = fixed_port(new_broker(*ROOM, start=False)).start()
    topics = [("o/#", "out", 2, "", ""), ("i/#", "in", 2, "", "")]
    settings = {"username": theirs.user, "password": theirs.password, "version": version, "max_inflight": 20}
    ours = with_bridges(new_broker(*ROOM, start=False), bridge("b", theirs, topics, **settings)).start()
    connected(ours)
    flows = [Flow(ours, theirs, "o", qos), Flow(theirs, ours, "i", qos)]
    flowing = threading.Event()
    flowing.set()
    for victim in VICTIMS:
        parties = start_all([p for f in flows for p in [*f.publishing(flowing), *f.subscribing()]])
        before = [len(f.subscriber.payloads) for f in flows]
        wait_until(
            lambda: all(len(f.subscriber.payloads) > n + 20 for f, n in zip(flows, before)), 30, "messages over the bridge"
        )
        time.sleep(dice.random() * 0.3)  # the moment is arbitrary
        victims = {"ours": [ours], "theirs": [theirs], "both": [ours, theirs]}[victim]
        for v in victims:
            v.kill9()
        time.sleep(dice.random() * 0.2)  # the other goes on
        end_all(parties)
        for v in victims:
            v.start()
    flowing.clear()
    last = start_all([p for f in flows for p in f.publishing(flowing)])
    for party in last:
        party.join(60)
        party.end()
    readers = start_all([p for f in flows for p in f.subscribing()])
    for f in flows:
        wait_until(lambda f=f: set(f.subscriber.payloads) >= f.wanted(), 60, f"every message of {f.subscriber.client_id}")
    end_all(readers)
    twice = 0
    for f in flows:
        got = collections.Counter(f.subscriber.payloads)
        assert set(got) == f.wanted()
        twice += sum(n > 1 for n in got.values())
    if qos == 2:
        assert twice == 0, "exactly once from end to end"
    total = sum(len(f.wanted()) for f in flows)
    figures(f"{len(VICTIMS)} kills, {total} messages both ways over MQTT {version}, {twice} delivered twice, 0 lost")


def test_a_remote_that_lost_its_session(new_broker):
    """It begins anew with packet identifiers that ours has seen: they are no repetitions."""
    theirs = fixed_port(new_broker(*ROOM, start=False)).start()
    broker_settings = {"username": theirs.user, "password": theirs.password, "max_inflight": 5}
    ours = with_bridges(new_broker(*ROOM, start=False), bridge("b", theirs, [("i/#", "in", 2)], **broker_settings)).start()
    connected(ours)
    flow = Flow(theirs, ours, "i", 2)
    flowing = threading.Event()
    flowing.set()
    parties = start_all([*flow.publishing(flowing), *flow.subscribing()])
    wait_until(lambda: len(flow.subscriber.payloads) > 50, 30, "messages over the bridge")
    theirs.kill9()
    end_all(parties)
    # what only a new data directory does: the remote knows nothing of us, our session has PUBRELs outstanding
    theirs.data.rename(theirs.directory / "lost")
    theirs.start()
    fresh = bridge("b", theirs, [("i/#", "in", 2)], username=theirs.user, password=theirs.password, max_inflight=5)
    ours.stop()
    with_bridges(ours, fresh).start()
    connected(ours)
    flow.publishers = [PublisherState(f"again-{i}", f"i/{i}", 2) for i in range(2)]
    last = start_all([*flow.publishing(flowing), *flow.subscribing()])
    wait_until(lambda: flow.acknowledged() > 100, 30, "acknowledged by the new one")
    flowing.clear()
    for party in last[:2]:
        party.join(60)
        party.end()
    wait_until(lambda: set(flow.subscriber.payloads) >= flow.wanted(), 30, "every message")
    end_all(last[2:])
    again = collections.Counter(p for p in flow.subscriber.payloads if p[0].startswith("again"))
    assert max(again.values()) == 1
