"""The broker held up: by its own store, by a stopped process, by a full disk, by a clock that jumps."""

import os
import shutil
import subprocess
import threading
import time

import pytest

from harness import raw
from harness.broker import SANITIZED, check_channels, check_endings
from harness.crowd import Crowd
from harness.flow import Publisher, PublisherState, Subscriber, SubscriberState, numbers, subscribe_durably
from harness.wait import stays, wait_until

def test_ten_thousand_gone_at_once_while_the_store_stalls(new_broker, figures):
    """The commit thread sleeps 3 s; the rings (1 MiB each) are too small for 10,000 endings: they wait, none is lost."""
    count = 2000 if SANITIZED else 10000
    broker = new_broker(failpoints=True)
    crowds = [Crowd(broker, count // 2, f"127.0.3.{i + 1}", f"crowd{i}") for i in range(2)]
    for crowd in crowds:
        crowd.wait_connected()
    wait_until(lambda: broker.api("/devices", online="true", limit=1)["total"] == count, 30)
    broker.failpoints(commit__stall_ms=3000)
    time.sleep(0.1)  # it is looked at every 50 ms, before a commit
    with raw.Client(broker) as c:
        c.login("in-between")  # makes the commit thread begin a commit, and stall
        began = time.monotonic()
        for crowd in crowds:
            crowd.vanish()
        time.sleep(1)
        broker.failpoints()
        wait_until(lambda: broker.api("/devices", online="true", limit=1)["total"] <= 1, 60, "all offline")
        took = time.monotonic() - began
        c.nothing()
        c.bye()
    wait_until(lambda: broker.api("/events", limit=1)["total"] == 2 * count + 2, 30)
    records = broker.events()
    assert [r["seq"] for r in records] == list(range(1, len(records) + 1)), "seq has a hole"
    channels = check_endings(records)
    assert len(channels) == count + 1
    causes = [rows[1]["cause"] for rows in channels.values()]
    assert causes.count("peer.fin") + causes.count("peer.reset") == count
    page = broker.api("/events", limit=1)
    assert page["complete"] is True and page["gaps"] == []
    figures(f"{count} connects and {count} endings recorded, none missing, {took:.1f} s from the last goodbye")
    broker.stop()


class Pinger(threading.Thread):
    def __init__(self, client, every):
        super().__init__(daemon=True)
        self.client, self.every, self.quit = client, every, threading.Event()

    def run(self):
        try:
            while not self.quit.wait(self.every):
                self.client.send(raw.pingreq())
        except OSError:
            pass


@pytest.mark.parametrize(
    "keepalive,stop", [(3, 7), pytest.param(5, 12, marks=pytest.mark.slow), pytest.param(5, 60, marks=pytest.mark.slow)]
)
def test_a_stopped_broker_tells_nobody_of_no_heart(new_broker, keepalive, stop):
    """SIGSTOP for longer than 1.5 times the keepalive. Clients pinged all the time, or had pinged just before."""
    broker = new_broker()
    clients = [raw.Client(broker) for _ in range(30)]
    pingers = []
    for i, c in enumerate(clients):
        c.login(f"d{i}", keepalive=keepalive)
        pingers.append(Pinger(c, keepalive * 0.8))
        pingers[-1].start()
    silent = raw.Client(broker)
    silent.login("silent", keepalive=keepalive)
    broker.pause()
    time.sleep(stop)
    broker.resume()
    stays(
        lambda: [r["cause"] for r in broker.events(cause="keepalive.expired") if r["clientId"] != "silent"] == [],
        keepalive * 2.0, "told to have no heart", step=0.3,
    )  # fmt: skip
    end = broker.wait_causes("silent", "accepted.new", "keepalive.expired")[1]
    assert end["detail"]["silentMs"] >= keepalive * 1500
    for p in pingers:
        p.quit.set()
        p.join()
    for i, c in enumerate(clients):
        c.bye()
        broker.wait_causes(f"d{i}", "accepted.new", "client.normal")
    broker.stop()


def test_a_disconnect_that_was_reset_behind(new_broker):
    """
    While the broker stands still a message for the client, its DISCONNECT and its reset arrive. The broker's write
    fails; what it has not read yet says `disconnect`.
    """
    broker = new_broker()
    publisher = raw.Client(broker)
    publisher.login("publisher")
    for i in range(10):
        with raw.Client(broker) as c:
            c.login(f"d{i}")
            c.send(raw.subscribe(1, (f"d{i}", 0)))
            c.receive(raw.SUBACK)
            broker.pause()
            publisher.send(*[raw.publish(f"d{i}", "x" * 100)] * 20)
            c.send(raw.disconnect())
            c.reset() if i % 2 else c.fin()
            broker.resume()
        broker.wait_causes(f"d{i}", "accepted.new", "client.normal")
    publisher.bye()
    broker.stop()


# ---- the clock ----


@pytest.mark.parametrize("hours", [1, -1], ids=["forward", "back"])
def test_the_wall_clock_steps(new_broker, hours):
    """Order is seq, whatever the clock says; nobody loses the heart; a restart under the new clock reads everything."""
    broker = new_broker(failpoints=True)
    now = int(time.time() * 1000)
    whole = {"begin": now - 5 * 3_600_000, "end": now + 5 * 3_600_000}

    def visit(client_id):
        with raw.Client(broker) as c:
            c.login(client_id)
            c.bye()

    with raw.Client(broker) as stays_on:
        stays_on.login("stays", keepalive=1)
        pinger = Pinger(stays_on, 0.4)
        pinger.start()
        visit("a")
        broker.wait_trace("a", 2, **whole)
        broker.failpoints(clock__shift_ms=hours * 3_600_000)
        time.sleep(0.2)
        visit("a")
        broker.wait_trace("a", 4, **whole)
        broker.failpoints()
        time.sleep(0.2)
        visit("a")
        records = broker.wait_trace("a", 6, **whole)
        time.sleep(1.6)  # the keepalive's deadline, once more
        assert [r["cause"] for r in broker.trace("stays", **whole)] == ["accepted.new"]
        pinger.quit.set()
        pinger.join()
        stays_on.bye()
    broker.wait_trace("stays", 2, **whole)
    assert [r["seq"] for r in records] == sorted(r["seq"] for r in records)
    assert [r["cause"] for r in records] == ["accepted.new", "client.normal"] * 3
    jump = records[2]["time"] - records[1]["time"]
    assert abs(jump - hours * 3_600_000) < 30_000
    check_endings(records)
    # Only the hour that the clock claimed.
    shifted = broker.trace("a", begin=now + hours * 3_600_000 - 60_000, end=now + hours * 3_600_000 + 600_000)
    assert [r["seq"] for r in shifted] == [r["seq"] for r in records[2:4]]
    before = broker.events(**whole)
    assert [r["seq"] for r in before] == list(range(1, 9))
    broker.restart()
    assert broker.events(**whole) == before
    broker.kill9()
    broker.start()
    assert broker.events(**whole) == before
    broker.stop()


def test_started_with_a_clock_before_the_newest_record(new_broker):
    """Said in the log; the history stays, seq goes on."""
    broker = new_broker(failpoints=True)
    with raw.Client(broker) as c:
        c.login("a")
        c.bye()
    broker.wait_trace("a", 2)
    broker.stop()
    broker.failpoints(clock__shift_ms=-3_600_000)
    broker.start()
    with raw.Client(broker) as c:
        c.login("a")
        c.bye()
    now = int(time.time() * 1000)
    records = broker.wait_trace("a", 4, begin=now - 7_200_000, end=now + 7_200_000)
    assert [r["seq"] for r in records] == [1, 2, 3, 4]
    assert "clock" in broker.log()
    broker.stop()


# ---- the disk ----


def flows(broker, padding=0):
    subscribe_durably(broker, "sub", "flow", 1)
    publisher, subscriber = PublisherState("pub", "flow", 1, padding), SubscriberState("sub")
    flowing = threading.Event()
    flowing.set()
    parties = [Publisher(broker, publisher, flowing), Subscriber(broker, subscriber)]
    for party in parties:
        party.start()
    return publisher, subscriber, flowing, parties


def drained(publisher, subscriber, flowing, parties):
    flowing.clear()
    wait_until(lambda: not publisher.unacknowledged, 30, "all acknowledged")
    wait_until(lambda: set(numbers(subscriber.payloads, "pub")) == set(range(publisher.next)), 30, "all delivered")
    for party in parties:
        party.end()


def visits(broker, prefix, count):
    for i in range(count):
        with raw.Client(broker) as c:
            c.login(f"{prefix}{i}")
            c.bye()


def check_after_the_outage(broker, served):
    """Every channel's beginning and end are told, or a gap says how many are not."""
    page = broker.api("/events", limit=1)
    records = broker.events()
    check_channels(records)
    told = sum(r["clientId"].startswith("served") for r in records)
    missing = sum(g["count"] for g in page["gaps"])
    assert page["complete"] is (missing == 0)
    assert told + missing >= 2 * served, f"{told} records and {missing} in gaps, of {2 * served}"
    return told, missing


def test_no_space_while_messages_flow(new_broker, figures):
    """
    The store refuses every write for three seconds. The broker serves on: clients come and go, messages are delivered;
    what needs the disk is not acknowledged until it is there. Afterwards all is acknowledged, and a gap is told.
    """
    broker = new_broker(failpoints=True)
    publisher, subscriber, flowing, parties = flows(broker)
    wait_until(lambda: len(publisher.acknowledged) > 100, 20)
    broker.failpoints(store__write__enospc=1)
    time.sleep(0.2)  # it is looked at every 50 ms
    began = time.monotonic()
    served = 0
    while time.monotonic() - began < 3:
        visits(broker, f"served{served}-", 10)
        served += 10
    with raw.Client(broker) as c:
        c.login("alive")
        c.send(raw.subscribe(1, ("free", 1)), raw.publish("free", "x", 1, 1))
        assert {c.receive().kind for _ in range(3)} == {raw.SUBACK, raw.PUBLISH, raw.PUBACK}
        c.bye()
    assert broker.request("GET", "/readyz").status_code in (200, 503)
    broker.failpoints()
    before = len(publisher.acknowledged)
    wait_until(lambda: len(publisher.acknowledged) > before + 50, 30, "acknowledgements again")
    drained(publisher, subscriber, flowing, parties)
    visits(broker, "after", 1)
    broker.wait_causes("after0", "accepted.new", "client.normal")
    told, missing = check_after_the_outage(broker, served)
    assert "ENOSPC" in broker.log() or "space" in broker.log()
    broker.kill9()
    broker.start()
    assert check_after_the_outage(broker, served) == (told, missing)
    figures(f"{served} clients served without a disk: {told} records, {missing} counted in gaps")
    broker.stop()


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 160 MiB (64 of them are the broker's reserve)."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=160m", "tmpfs", str(disk)], capture_output=True
    )
    if not mounted or mounted.returncode != 0:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_disk_that_is_really_full(new_broker, small_disk, figures):
    broker = new_broker("--trace-memory", "16MiB", start=False)
    broker.data = small_disk / "data"
    broker.start()
    publisher, subscriber, flowing, parties = flows(broker, padding=30000)
    wait_until(lambda: len(publisher.acknowledged) > 50, 20)
    hog = small_disk / "hog"

    def fill():
        with open(hog, "ab") as f:
            try:
                while True:
                    os.write(f.fileno(), bytes(1 << 20))
            except OSError:
                pass
        return shutil.disk_usage(small_disk).free < 1 << 20

    began, served = time.monotonic(), 0
    while time.monotonic() - began < 4:
        fill()
        visits(broker, f"served{served}-", 10)
        served += 10
    assert broker.process.poll() is None
    assert "disk" in broker.log(), "it was really full"
    hog.unlink()
    before = len(publisher.acknowledged)
    wait_until(lambda: len(publisher.acknowledged) > before + 20, 30, "acknowledgements again")
    drained(publisher, subscriber, flowing, parties)
    visits(broker, "after", 1)
    broker.wait_causes("after0", "accepted.new", "client.normal")
    told, missing = check_after_the_outage(broker, served)
    broker.restart()
    assert check_after_the_outage(broker, served) == (told, missing)
    figures(f"{served} clients served on a full disk: {told} records, {missing} counted in gaps")
    broker.stop()
