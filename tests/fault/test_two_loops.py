"""Two loops: takeovers that race, and the HTTP side while thousands are connected."""

import random
import subprocess
import threading
import time

import requests

from harness import raw
from harness.broker import SANITIZED, check_endings
from harness.crowd import Crowd
from harness.wait import wait_until

IDS = [f"hammer-{i}" for i in range(6)]


class Hammer(threading.Thread):
    """Connects as one of a few, stays a little, leaves somehow or is thrown out; so many times."""

    def __init__(self, broker, seed, times):
        super().__init__(daemon=True)
        self.broker, self.dice, self.times = broker, random.Random(seed), times
        self.accepted, self.kept, self.failure = 0, [], None

    def run(self):
        try:
            for _ in range(self.times):
                self.once()
        except Exception as e:  # noqa: BLE001
            self.failure = e

    def once(self):
        c = raw.Client(self.broker)
        me = self.dice.choice(IDS)
        try:
            pipelined = [raw.subscribe(1, ("h/#", 1))] if self.dice.random() < 0.5 else []
            login = raw.connect(me, self.broker.user, self.broker.password, clean=self.dice.random() < 0.5)
            c.send(login, *pipelined, raw.publish("h/" + me, "x", self.dice.randrange(3), 2))
            assert c.receive(raw.CONNACK).body[1] == 0
            self.accepted += 1
            how = self.dice.choice(["bye", "fin", "reset", "keep", "keep"])
            if how == "keep":
                self.kept.append(c)
            else:
                getattr(c, how)()
        except (raw.Closed, OSError):
            pass  # thrown out before its CONNACK was read


def test_takeover_hammer(new_broker, figures):
    broker = new_broker()
    hammers = [Hammer(broker, i, 100 if SANITIZED else 200) for i in range(8)]
    for h in hammers:
        h.start()
    for h in hammers:
        h.join(120)
        assert not h.is_alive()
        if h.failure:
            raise h.failure
    for h in hammers:
        for c in h.kept:
            c.socket.close()
    wait_until(lambda: broker.api("/devices", online="true")["total"] == 0, 20)
    records = []
    takeovers = 0
    for client_id in IDS:
        rows = broker.trace(client_id)
        records += rows
        accepted = [r for r in rows if not r["detail"].get("refused")]
        # A client ID has one channel at a time: connect and ending take turns.
        for connect, end in zip(accepted[::2], accepted[1::2]):
            assert connect["action"] == "connect" and end["action"] != "connect"
            assert connect["channelId"] == end["channelId"]
        assert len(accepted) % 2 == 0
        for i, r in enumerate(accepted):
            if r["cause"] == "takeover.same_node":
                takeovers += 1
                winner = accepted[i + 1]
                assert r["detail"]["otherChannelId"] == winner["channelId"]
                assert winner["detail"]["otherChannelId"] == r["channelId"]
                assert (r["detail"]["otherPeer"], winner["detail"]["otherPeer"]) == (winner["peer"], r["peer"])
            elif r["action"] == "connect" and "otherChannelId" in r["detail"]:
                assert accepted[i - 1]["cause"] == "takeover.same_node"
    check_endings(records)
    seen = sum(h.accepted for h in hammers)
    connects = sum(r["action"] == "connect" for r in records)
    assert connects >= seen > 100 and takeovers > 50
    seqs = [r["seq"] for r in broker.events()]
    assert seqs == list(range(1, len(seqs) + 1))
    figures(f"{connects} connections of {len(IDS)} client IDs, {takeovers} takeovers")
    broker.stop()


def test_http_and_streams_with_2000_devices(new_broker, figures):
    """Lists, histories and streams answer soon, and the devices feel nothing of it."""
    count = 500 if SANITIZED else 2000
    broker = new_broker()
    crowd = Crowd(broker, count, "127.0.4.1", "dev", keepalive=60)
    crowd.wait_connected()
    wait_until(lambda: broker.api("/devices", online="true", limit=1)["total"] == count, 30)
    streams, counts = [], [0] * 20

    def follow(i):
        for line in streams[i].iter_lines(chunk_size=1):
            counts[i] += line.startswith(b"data:")
            if counts[i] == 100:
                return

    for _ in counts:
        streams.append(requests.get(broker.url + broker.instance_path("/stream"), stream=True, timeout=60,
                                    headers={"Authorization": broker.http.headers["Authorization"]}))  # fmt: skip
        assert streams[-1].status_code == 200
    followers = [threading.Thread(target=follow, args=(i,), daemon=True) for i in range(len(counts))]
    for f in followers:
        f.start()
    slowest = 0.0
    with raw.Client(broker) as c:
        c.login("listener")
        c.send(raw.subscribe(1, ("tick", 0)))
        c.receive(raw.SUBACK)
        for i in range(50):
            began = time.monotonic()
            assert broker.api("/devices", query=f"dev-{i}", limit=1000)["items"]
            assert [r["cause"] for r in broker.trace(f"dev-{i}")] == ["accepted.new"]
            assert broker.status(f"dev-{i}")["online"] is True
            slowest = max(slowest, time.monotonic() - began)
            with raw.Client(broker) as visitor:
                visitor.login(f"visitor-{i}")
                visitor.send(raw.publish("tick", b"%d" % i))
                visitor.bye()
            assert c.receive(raw.PUBLISH).payload == b"%d" % i
        seen = broker.all_items("/devices", online="true", limit=333)
        assert len({d["clientId"] for d in seen}) == count + 1
        for f in followers:
            f.join(60)
        # 50 visitors, each a connect and an ending; the listener's own connect may have come before the stream began.
        assert all(n >= 100 for n in counts), counts
        c.bye()
    for s in streams:
        s.close()
    wait_until(lambda: broker.api("/devices", online="true", limit=1)["total"] == count)
    crowd.process.stdin.close()
    assert crowd.process.wait(60) == 0
    wait_until(lambda: broker.api("/events", action="disconnect", limit=1)["total"] >= count, 20)
    figures(f"{count} devices, 20 streams: the slowest of 50 rounds of list, history and status {slowest * 1000:.0f} ms")
    broker.stop()


def test_clients_of_both_loops_talk(new_broker):
    """mosquitto's own clients on one topic, many at once, on whichever loop they land: everyone gets everything."""
    broker = new_broker()
    options = ["-h", broker.host, "-p", str(broker.port), "-u", broker.user, "-P", broker.password]
    subs = [
        subprocess.Popen(["mosquitto_sub", *options, "-i", f"s{i}", "-t", "all/#", "-q", "1", "-C", "40", "-W", "60"],
                         stdout=subprocess.PIPE, text=True)
        for i in range(6)
    ]  # fmt: skip
    wait_until(lambda: broker.metric("tracemq_subscriptions") == 6, what="six subscriptions")
    pubs = [
        subprocess.Popen(["mosquitto_pub", *options, "-i", f"p{i}", "-t", f"all/{i}", "-q", "1", "-l"],
                         stdin=subprocess.PIPE, text=True)
        for i in range(4)
    ]  # fmt: skip
    for i, p in enumerate(pubs):
        p.communicate("".join(f"{i}-{n}\n" for n in range(10)), timeout=60)
        assert p.returncode == 0
    wanted = sorted(f"{i}-{n}" for i in range(4) for n in range(10))
    for s in subs:
        assert sorted(s.communicate(timeout=60)[0].split()) == wanted
    broker.stop()
