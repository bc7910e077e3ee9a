"""Limits that keep one peer from taking what is there for all: rates, connections of an address, readers that do not read."""

import select
import socket
import threading

import pytest

from harness import raw
from harness.broker import SANITIZED, clock_in_minute
from harness.peer import Peer
from harness.wait import wait_until

FLOOD, OTHER = "127.0.0.2", "127.0.0.1"  # Linux has all of 127.0.0.0/8


def unidentified(broker, address):
    return [r for r in broker.all_items("/unidentified") if r["peer"].startswith(address + ":")]


def open_from(broker, address, count):
    """Sockets that got a connection; whether the broker keeps them is another matter."""
    sockets = []
    for _ in range(count):
        s = socket.socket()
        s.settimeout(60)
        s.bind((address, 0))
        s.connect((broker.host, broker.port))
        sockets.append(s)
    return sockets


def is_closed(s):
    try:
        return s.recv(1) == b""
    except ConnectionError:
        return True


def close_all(sockets):
    for s in sockets:
        s.close()


# ---- connections ----


def test_a_flood_is_refused_and_others_are_served(new_broker):
    broker = new_broker("--max-connect-rate", "5", env=clock_in_minute(5))
    flood = open_from(broker, FLOOD, 40)
    refused = [s for s in flood[30:] if is_closed(s)]
    assert refused, "far more than five a second"
    with raw.Client(broker, OTHER) as c:
        c.login("served")
        c.bye()
    broker.wait_causes("served", "accepted.new", "client.normal")
    rows = wait_until(
        lambda: (lambda r: r if len(r) >= 20 else None)(
            [r for r in unidentified(broker, FLOOD) if r["cause"] == "limit.connect_rate"]
        ),
        what="rows of the flood",
    )
    assert len(rows) == 20, "the rest is counted, not written"
    row = rows[-1]
    detail = row["detail"]
    assert detail["limit"] == 5 and detail["actual"] > 5 and detail["windowMs"] >= 0
    assert "new connections a second from one address" in row["verdict"]["text"]
    close_all(flood)
    broker.stop()


def test_a_rate_of_all_addresses(new_broker):
    broker = new_broker("--max-connect-rate-total", "4")
    sockets = open_from(broker, "127.0.0.3", 10) + open_from(broker, "127.0.0.4", 10)
    assert is_closed(sockets[-1])
    rows = wait_until(lambda: [r for r in unidentified(broker, "127.0.0.4") if r["cause"] == "limit.connect_rate"])
    assert "from all addresses" in rows[0]["verdict"]["text"] and rows[0]["detail"]["limit"] == 4
    close_all(sockets)
    broker.stop()


def test_a_flood_is_refused_before_tls(new_broker, tmp_path):
    from harness.certs import Authority

    cert, key = Authority(tmp_path).issue("server", san="IP:127.0.0.1")
    broker = new_broker(
        "--mqtts", "127.0.0.1:0", "--tls-certificate", str(cert), "--tls-key", str(key), "--max-connect-rate", "2",
    )  # fmt: skip
    broker.host, broker.port = broker.listener("mqtts")
    sockets = open_from(broker, FLOOD, 12)
    assert is_closed(sockets[-1]), "without a byte of a handshake"
    row = wait_until(lambda: [r for r in unidentified(broker, FLOOD) if r["cause"] == "limit.connect_rate"])[0]
    assert "tlsVersion" not in row["detail"]
    close_all(sockets)
    broker.stop()


def test_connections_of_one_address(new_broker):
    broker = new_broker("--max-connections-per-address", "2")
    first, second = raw.Client(broker, FLOOD), raw.Client(broker, FLOOD)
    first.login("first")
    second.login("second")
    third = raw.Client(broker, FLOOD)
    assert third.wait_closed() == []
    with raw.Client(broker, OTHER) as c:
        c.login("elsewhere")
        c.bye()
    row = wait_until(lambda: unidentified(broker, FLOOD))[0]
    assert row["cause"] == "limit.connections"
    assert (row["detail"]["limit"], row["detail"]["actual"]) == (2, 3)
    assert "connections from one address" in row["verdict"]["text"]
    first.bye()

    def let_in():
        with raw.Client(broker, FLOOD) as c:
            c.send(raw.connect("again", broker.user, broker.password))
            try:
                return c.receive(raw.CONNACK).reason == 0
            except raw.Closed:
                return False

    wait_until(let_in, what="room for another one")
    second.bye()
    broker.stop()


def test_unix_sockets_have_no_address(new_broker):
    broker = new_broker(start=False)
    path = broker.directory / "mqtt.sock"
    config = broker.directory / "tracemq.yaml"
    config.write_text(
        f"max_connections_per_address: 1\nmax_connect_rate: 1\nlisteners:\n  - name: local\n    protocol: mqtt\n    address: unix:{path}\n"
    )
    broker.args = ["--config", str(config)]
    broker.start()
    clients = []
    for i in range(5):
        s = socket.socket(socket.AF_UNIX)
        s.connect(str(path))
        clients.append(raw.Client(broker, over=s))
        clients[-1].login(f"u{i}")
    for c in clients:
        c.bye()
    broker.stop()


# ---- publishing ----


def test_a_fast_publisher_waits(new_broker):
    """Its socket is not read meanwhile; nothing is lost, and the silence that we made is not held against it."""
    broker = new_broker("--max-publish-rate", "20")
    with Peer(broker, "sub") as sub, Peer(broker, "pub", keepalive=1) as pub:
        sub.subscribe("t", options=0)
        pub.send(*[raw.publish("t", str(i), props={}) for i in range(60)], raw.pingreq())
        got = [int(sub.receive(raw.PUBLISH).payload) for _ in range(60)]
        assert got == list(range(60))
        pub.receive(raw.PINGRESP)
        pub.bye()
        sub.bye()
    connect, end = broker.wait_causes("pub", "accepted.new", "client.normal")
    # 20 at once, then 20 a second: the last of 60 waits for two seconds, which no noise makes shorter
    assert end["detail"]["durationMs"] >= 1900
    broker.stop()


def test_bytes_wait_too(new_broker):
    broker = new_broker("--max-publish-bytes-rate", "64KiB")
    with Peer(broker, "sub") as sub, Peer(broker, "pub") as pub:
        sub.subscribe("t", options=0)
        pub.send(*[raw.publish("t", bytes(32768), props={}) for i in range(5)])
        for _ in range(5):
            assert len(sub.receive(raw.PUBLISH).payload) == 32768
        pub.bye()
        sub.bye()
    end = broker.wait_causes("pub", "accepted.new", "client.normal")[1]
    assert end["detail"]["durationMs"] >= 900, "two at once, a third on credit, then two a second"
    broker.stop()


@pytest.mark.parametrize("level", [4, 5])
def test_a_fast_publisher_is_closed(new_broker, level):
    broker = new_broker("--max-publish-rate", "5", "--on-publish-rate", "close")
    with Peer(broker, "pub", level) as pub:
        pub.send(*[pub.packet("t", str(i)) for i in range(200)])
        pub.ended(0x96)
    end = broker.wait_causes("pub", "accepted.new", "limit.publish_rate")[1]
    assert end["description"] == "closed by server"
    detail = end["detail"]
    assert detail["limit"] == 5 and detail["actual"] > 5
    assert "messages a second" in end["verdict"]["text"]
    broker.stop()


def test_a_reload_changes_the_rate(new_broker):
    broker = new_broker(start=False)
    config = broker.directory / "tracemq.yaml"
    config.write_text("max_publish_rate: 1\non_publish_rate: close\n")
    broker.args = ["--config", str(config)]
    broker.start()
    with Peer(broker, "pub") as pub:
        config.write_text("max_publish_rate: 0\n")
        broker.request("POST", "/api/v1/config/reload", 200)
        pub.send(*[pub.packet("t", str(i)) for i in range(100)])
        assert pub.publish("t", "last", qos=1).reason == 0x10
        pub.bye()
    broker.stop()


# ---- slow consumers ----


def test_a_slow_consumer_is_closed(new_broker):
    """It takes nothing for the time, though it still says PINGREQ; one that reads slowly is let be."""
    broker = new_broker("--slow-consumer-timeout", "2s", "--max-output-bytes", "64KiB")
    stuck, slow = raw.stuck_subscriber(broker, "stuck", "t"), raw.stuck_subscriber(broker, "slow", "t")
    ended = {}
    with Peer(broker, "pub") as pub:

        def more():
            for _ in range(200):  # more than all kernel buffers on the way take, again and again
                pub.send(pub.packet("t", bytes(32768)))
            slow.socket.recv(8192)
            if not ended:
                try:
                    stuck.send(raw.pingreq())
                except OSError:
                    pass
            rows = broker.trace("stuck")
            ended.update({r["cause"]: r for r in rows if r["action"] == "close"})
            return ended

        wait_until(more, 60, "the end of the stuck one", step=0.1)
        pub.bye()
    assert list(ended) == ["limit.slow_consumer"]
    detail = ended["limit.slow_consumer"]["detail"]
    assert detail["limit"] == 2000 and detail["stalledMs"] >= 2000
    assert detail["unsentBytes"] > 0 and detail["kernelBytes"] > 0
    assert detail["dropped"] > 0 and "tcpRttUs" in detail
    assert "took not one byte" in ended["limit.slow_consumer"]["verdict"]["text"]
    assert [r["cause"] for r in broker.trace("slow")] == ["accepted.new"], "it reads, if slowly"
    stuck.socket.close()
    slow.socket.close()
    broker.stop()


def test_who_reads_again_in_time_stays(new_broker):
    broker = new_broker("--slow-consumer-timeout", "0", "--max-output-bytes", "64KiB")
    stuck = raw.stuck_subscriber(broker, "stuck", "t")
    with Peer(broker, "pub") as pub:
        for _ in range(300):
            pub.send(pub.packet("t", bytes(32768)))
        pub.publish("t", "behind", qos=1)
        stuck.receive(raw.PUBLISH)
        pub.bye()
    stuck.bye()
    broker.wait_causes("stuck", "accepted.new", "client.normal")
    broker.stop()


def send_until_blocked(s, data, most):
    """Bytes sent when for a while the other end takes none, or `most`."""
    sent = 0
    s.setblocking(False)
    while sent < most and select.select([], [s], [], 1)[1]:
        try:
            sent += s.send(data[sent % len(data) :])
        except BlockingIOError:
            pass
    s.setblocking(True)
    return sent


@pytest.mark.parametrize("asks", ["pingreq", "pubrel", "subscribe"])
@pytest.mark.parametrize("level", [4, 5])
def test_who_asks_and_does_not_read_is_not_read(new_broker, asks, level):
    """Its answers would be the broker's memory. When it reads again all of them come, and it is as before."""
    broker = new_broker("--slow-consumer-timeout", "0", "--max-output-bytes", "64KiB")
    v5 = level == 5
    question, answer = {
        "pingreq": (raw.pingreq(), b"\xd0\0"),
        "pubrel": (raw.ack(raw.PUBREL, 1), b"\x70\3\0\1\x92" if v5 else b"\x70\2\0\1"),
        "subscribe": (raw.subscribe(1, ("a", 0), props={} if v5 else None), b"\x90\4\0\1\0\0" if v5 else b"\x90\3\0\1\0"),
    }[asks]
    with Peer(broker, "asks", level, keepalive=0) as c:
        sent = send_until_blocked(c.socket, question * 4096, 128 << 20)
        assert sent < 128 << 20
        rest = question[sent % len(question) :] + question
        sender = threading.Thread(target=c.socket.sendall, args=(rest,), daemon=True)
        sender.start()
        c.socket.settimeout(60)
        expected = answer * ((sent + len(rest)) // len(question))
        with c.socket.makefile("rb") as answers:
            assert answers.read(len(expected)) == expected
        sender.join(20)
        c.publish("a", b"x", 1) if asks != "subscribe" else c.subscribe("a")
        c.bye()
    broker.wait_causes("asks", "accepted.new", "client.normal")
    broker.stop()


# ---- memory ----


@pytest.mark.skipif(SANITIZED, reason="a sanitizer's allocator does not tell")
def test_max_memory(new_broker):
    """A queue fills the memory: messages and new clients are refused, until it is gone."""
    broker = new_broker(start=False)
    config = broker.directory / "tracemq.yaml"
    plain = "max_queued_bytes: 4GiB\nmax_queued_messages: 1000000\n"
    config.write_text(plain)
    broker.args = ["--config", str(config)]
    broker.start()
    lazy = Peer(broker, "lazy", props={"receive_maximum": 1})  # it acknowledges nothing
    lazy.subscribe("t", options=1)
    old, pub = Peer(broker, "old", 4), Peer(broker, "pub")
    with Peer(broker, "kept", durable=True) as kept:
        kept.bye()
    limit = int(broker.metric("tracemq_heap_bytes")) + (48 << 20)
    config.write_text(plain + f"max_memory: {limit}\n")
    broker.request("POST", "/api/v1/config/reload", 200)
    count = next(i for i in range(1000) if pub.publish("t", bytes(1 << 19), 1).reason == 0x97)
    assert 40 < count < 200, "about a hundred of half a MiB, a little more or less"
    assert broker.metric("tracemq_memory_full") == 1
    pub.publish("t", bytes(1000))
    assert pub.publish("t", b"x", 2).reason == 0x97
    assert broker.metric('tracemq_messages_dropped_total{reason="memory"}') == 3
    old.send(raw.publish("t", b"x", 1, 7))
    old.ended()
    end = broker.wait_causes("old", "accepted.new", "limit.memory")[1]
    assert end["detail"]["limit"] == limit and end["detail"]["actual"] > limit * 0.95
    for level, code in ((4, 3), (5, 0x89)):
        with raw.Client(broker) as c:
            c.login(f"new{level}", level=level, expect=code)
            c.wait_closed()
        record = broker.wait_causes(f"new{level}", "limit.memory")[0]
        assert record["detail"]["limit"] == limit and "max_memory" in record["verdict"]["text"]
    with Peer(broker, "kept", durable=True) as kept:
        assert kept.present, "who has a session is let in"
        kept.bye()
    lazy.bye()
    wait_until(lambda: pub.publish("t", b"x", 1).reason != 0x97, what="room again")
    with Peer(broker, "new5") as c:
        c.bye()
    assert 'msg="max_memory is passed' in broker.log() and 'msg="memory is below max_memory again"' in broker.log()
    pub.bye()
    broker.stop()
