"""kill -9, at any moment: nothing that was acknowledged is lost, and the history tells of everything."""

import random
import threading
import time

import pytest

from harness import raw
from harness.broker import SANITIZED, check_endings
from harness.flow import Publisher, PublisherState, Subscriber, SubscriberState, numbers, subscribe_durably
from harness.wait import wait_until

ROUNDS = 3 if SANITIZED else 8


@pytest.mark.parametrize("online", [True, False], ids=["online", "offline"])
@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("loops", [1, 2])
@pytest.mark.mqtt311("MQTT-3.1.2-5", "MQTT-4.3.3-2")
def test_flows(new_broker, figures, loops, qos, online):
    """
    Acknowledged QoS 1 is delivered at least once, QoS 2 exactly once: to a subscriber that is connected through it
    all, and to one that comes back at the end only.
    """
    dice = random.Random(qos * 10 + online)
    broker = new_broker("--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB", loops=loops)
    subscribe_durably(broker, "sub", "flow/#", qos)
    publishers = [PublisherState(f"pub{i}", f"flow/{i}", qos) for i in range(3)]
    subscriber = SubscriberState("sub")
    flowing = threading.Event()
    flowing.set()
    for _ in range(ROUNDS):
        parties = [Publisher(broker, p, flowing) for p in publishers]
        parties += [Subscriber(broker, subscriber)] if online else []
        for party in parties:
            party.start()
        before = sum(len(p.acknowledged) for p in publishers)
        wait_until(lambda: sum(len(p.acknowledged) for p in publishers) > before, 20, "an acknowledgement")
        time.sleep(dice.random() * 0.4)  # the moment is arbitrary
        broker.kill9()
        for party in parties:
            party.end()
        broker.start()
    flowing.clear()
    parties = [Publisher(broker, p, flowing) for p in publishers]
    for party in parties:
        party.start()
    for party in parties:
        party.join(60)
        party.end()
        assert party.session_present, "the publisher's session survived"
    last = Subscriber(broker, subscriber)
    last.start()
    wanted = {(p.client_id, str(n)) for p in publishers for n in range(p.next)}
    wait_until(lambda: set(subscriber.payloads) >= wanted, 30, "every message")
    last.end()
    assert last.session_present
    sent = repeated = duplicates = 0
    for p in publishers:
        assert p.acknowledged == set(range(p.next)), "in the end all is acknowledged"
        got = numbers(subscriber.payloads, p.client_id)
        first = list(dict.fromkeys(got))
        sent, repeated, duplicates = sent + p.next, repeated + p.repeated, duplicates + len(got) - len(first)
        if qos == 2:
            assert len(got) == len(first), "exactly once"
        assert set(got) == set(range(p.next))
        assert first == sorted(first), "and in order"
    figures(f"{ROUNDS} kills, {sent} messages, {repeated} repeated by publishers, {duplicates} delivered twice, 0 lost")
    broker.stop()


class Storm(threading.Thread):
    """Connects again and again, leaves one way or another; notes each CONNACK and when it came."""

    def __init__(self, broker, prefix, seed):
        super().__init__(daemon=True)
        self.broker, self.prefix, self.dice = broker, prefix, random.Random(seed)
        self.seen = []  # (client ID, monotonic time of the CONNACK, how it left)
        self.open = []

    def run(self):
        try:
            n = 0
            while True:
                client_id = f"{self.prefix}-{n}"
                n += 1
                c = raw.Client(self.broker)
                c.login(client_id)
                how = self.dice.choice(["bye", "fin", "reset", "stay"])
                self.seen.append((client_id, time.monotonic(), how))
                if how == "stay":
                    self.open.append(c)
                else:
                    getattr(c, how)()
        except (raw.Closed, OSError):
            pass


def test_storm(new_broker, figures):
    """
    A storm of connections, killed 50 times. Every CONNACK that a client saw has its record, every record that a query
    had shown is there afterwards, every channel has one connect and one ending, seq has no hole.
    """
    rounds = 8 if SANITIZED else 50
    dice = random.Random(7)
    broker = new_broker()
    seen, shown, last_kill = [], 0, []
    for number in range(rounds):
        threads = [Storm(broker, f"r{number}-{i}", number * 10 + i) for i in range(3)]
        for t in threads:
            t.start()
        time.sleep(0.05 + dice.random() * 0.25)  # the moment is arbitrary
        visible = broker.api("/events", limit=1)["total"]
        killed = time.monotonic()
        broker.kill9()
        for t in threads:
            t.join(60)
            assert not t.is_alive()
            seen += [(client_id, how, killed - when) for client_id, when, how in t.seen]
            for c in t.open:
                c.socket.close()
        broker.start()
        after = broker.api("/events", limit=1)["total"]
        assert after >= visible, f"{visible} records were shown before the kill, {after} are there after it"
        shown += visible - (last_kill[-1] if last_kill else 0)
        last_kill.append(after)
    records = broker.events()
    seqs = [r["seq"] for r in records]
    assert seqs == list(range(seqs[0], seqs[0] + len(seqs))), "seq has a hole"
    channels = check_endings(records)
    by_client = {rows[0]["clientId"]: rows for rows in channels.values()}
    missing = [(client_id, how, age) for client_id, how, age in seen if client_id not in by_client]
    assert not missing, f"{len(missing)} of {len(seen)} CONNACKs have no record: {missing[:10]}"
    crashed = sum(rows[-1]["cause"] == "server.crash" for rows in channels.values())
    for client_id, how, age in seen:
        cause = by_client[client_id][-1]["cause"]
        allowed = {"bye": "client.normal", "fin": "peer.fin", "reset": "peer.reset", "stay": "server.crash"}[how]
        assert cause in (allowed, "server.crash"), (client_id, how, cause)
        assert age < 5 or cause == allowed, (client_id, how, age, cause)  # it takes 20 ms, and a machine that is not busy
    figures(
        f"{rounds} kills; CONNACKs seen {len(seen)}, found {len(seen) - len(missing)}; records shown by queries before "
        f"the kills {shown}, missing afterwards 0; {len(records)} records, {crashed} channels closed as server.crash"
    )
    broker.stop()


def open_and_gone(broker, count=60):
    """Half of them stay open, half have gone when it returns."""
    clients = []
    for i in range(count):
        c = raw.Client(broker)
        c.login(f"c{i}")
        clients.append(c)
    for c in clients[::2]:
        c.bye()
    wait_until(lambda: broker.api("/events", limit=1)["total"] == count + count // 2)
    return clients


def check_open_and_gone(broker, count=60):
    for i in range(count):
        causes = [r["cause"] for r in broker.trace(f"c{i}")]
        assert causes == ["accepted.new", "server.crash" if i % 2 else "client.normal"], (i, causes)
        assert broker.status(f"c{i}")["online"] is False
    records = broker.events()
    assert [r["seq"] for r in records] == list(range(1, len(records) + 1))
    check_endings(records)


def killed_by(broker, **points):
    """A start that a failpoint kills: True; False when it got through to the end (and is running)."""
    broker.failpoints(**points)
    broker.spawn()

    def outcome():
        if broker.process.poll() is not None:
            return "killed"
        try:
            return "ready" if broker._is_ready() else None
        except AssertionError:
            return None

    return wait_until(outcome, 30) == "killed"


def test_kill_during_the_replay(new_broker, figures):
    """Killed at the first, a middle and the last record of the replay, again and again: as if it had been one start."""
    broker = new_broker(failpoints=True)
    clients = open_and_gone(broker)
    broker.kill9()
    for c in clients:
        c.socket.close()
    kills = 0
    for after in (1, 2, 30, 60, 89, 90, 91, 105, 119, 120, 121, 150):
        if killed_by(broker, replay__crash_after=after):
            broker.wait_killed()
            kills += 1
        else:
            broker.kill9()
    assert kills >= 6
    broker.failpoints()
    broker.start()
    check_open_and_gone(broker)
    figures(f"{kills} kills within the replay of 120 records")
    broker.stop()


def test_kill_during_the_flush(new_broker, figures):
    """Killed at each step of bringing a buffer into device blocks: a step of the clock begins a new segment, and that."""
    broker = new_broker(failpoints=True)
    clients = open_and_gone(broker)
    kills = 0
    for step in range(1, 6):
        shift = 5000 * step
        broker.failpoints(flush__crash_at=step, clock__shift_ms=shift)
        deadline = time.monotonic() + 60
        while broker.process.poll() is None and time.monotonic() < deadline:
            try:
                with raw.Client(broker, seconds=5) as c:
                    c.login("again")
                    c.bye()
            except (raw.Closed, OSError):
                pass
        broker.wait_killed()
        kills += 1
        broker.failpoints(clock__shift_ms=shift)
        broker.start()
    for c in clients:
        c.socket.close()
    check_open_and_gone(broker)
    figures(f"{kills} kills within flushes")
    broker.stop()


def newest_log(broker):
    return max((broker.data / "store").glob("*.log"), key=lambda p: (p.stat().st_size > 0, int(p.stem)))


@pytest.mark.parametrize("how", ["cut-1", "cut-37", "cut-2000", "garbled", "zeros-behind"])
def test_torn_journal_tail(new_broker, tmp_path, how):
    """
    Power loss: the rings in memory are gone, the journal's last bytes are cut or garbled. What is left is a beginning
    of what was: the broker starts, no hole, one ending for each channel, and goes on.
    """
    rings = tmp_path / "rings"
    rings.mkdir()
    broker = new_broker("--trace-ring-dir", str(rings))
    clients = open_and_gone(broker)
    before = [(r["seq"], r["clientId"], r["cause"]) for r in broker.events()]
    broker.kill9()
    for c in clients:
        c.socket.close()
    for ring in rings.iterdir():
        ring.unlink()
    log = newest_log(broker)
    content = bytearray(log.read_bytes())
    assert len(content) > 2500
    if how.startswith("cut"):
        del content[-int(how.split("-")[1]) :]
    elif how == "garbled":
        content[-600:-500] = bytes(b ^ 0x5A for b in content[-600:-500])
    else:
        content += bytes(5000)
    log.write_bytes(content)
    broker.start()
    after = [(r["seq"], r["clientId"], r["cause"]) for r in broker.events()]
    kept = [r for r in after if r[2] != "server.crash"]
    assert kept == before[: len(kept)]
    assert len(kept) == len(before) if how == "zeros-behind" else len(kept) <= len(before)
    check_endings(broker.events())
    assert [s for s, _, _ in after] == list(range(1, len(after) + 1))
    with raw.Client(broker) as c:
        c.login("later")
        c.bye()
    broker.wait_causes("later", "accepted.new", "client.normal")
    broker.restart()
    assert len(broker.events()) == len(after) + 2
    broker.stop()
