"""Bridges to remotes that are hard to find: each packet of theirs is the test's own."""

import time

import pytest

from harness import raw
from harness.bridges import Collector, ScriptedRemote, bridge, connack, connected, failed, state, suback, with_bridges
from harness.peer import Peer
from harness.wait import wait_until


@pytest.fixture
def remote():
    with ScriptedRemote() as r:
        yield r


@pytest.fixture
def old_remote():
    with ScriptedRemote(level=4) as r:
        yield r


def bridge_to(new_broker, remote, topics, **settings):
    settings = {"notifications": "off", **settings}
    return with_bridges(new_broker(start=False), bridge("b", remote, topics, **settings)).start()


OUT, IN = [("a/#", "out", 2)], [("a/#", "in", 2)]


def test_a_session_that_the_remote_lost(new_broker, remote):
    """A packet identifier that ours has seen and the remote forgot is no repetition, after a restart of ours either."""
    broker = bridge_to(new_broker, remote, IN)
    with Collector(broker, "here", "a/#", level=4, clean=False) as here:
        first, _ = remote.accept()
        remote.welcome(first)
        first.send(raw.publish("a/1", b"first", 2, 7, props={}))
        assert first.receive(raw.PUBREC).packet_id == 7
        here.wait(1)
        first.fin()
        again, _ = remote.accept()
        remote.welcome(again, present=True)
        again.send(raw.publish("a/1", b"first", 2, 7, dup=True, props={}))
        assert again.receive(raw.PUBREC).packet_id == 7
    broker.kill9()
    again.fin()
    broker.start()
    with Collector(broker, "here", "a/#", level=4, clean=False) as here:
        last, _ = remote.accept()
        remote.welcome(last, present=False)
        last.send(raw.publish("a/2", b"second", 2, 7, props={}))
        assert last.receive(raw.PUBREC).packet_id == 7
        assert [p for p in here.payloads() if p == "second"] or here.wait(1)
        assert here.payloads()[-1] == "second" and here.payloads().count("second") == 1
        last.send(raw.ack(raw.PUBREL, 7))
        assert last.receive(raw.PUBCOMP).packet_id == 7


@pytest.mark.parametrize("level", [4, 5])
def test_an_acknowledgement_is_the_remotes(new_broker, level):
    """Nothing counts as delivered before the remote said so: what it did not acknowledge comes again, with its identifier."""
    with ScriptedRemote(level) as remote:
        broker = bridge_to(new_broker, remote, OUT, version="5" if level == 5 else "3.1.1")
        client, connect = remote.accept()
        if level == 4:  # a session of ours that is new: the remote is asked to forget
            assert connect[7] & 2
            client.send(connack(0, level=4))
            assert client.receive().kind == raw.DISCONNECT
            client, connect = remote.accept()
            assert not connect[7] & 2
        client.send(connack(0, level=level))
        with Peer(broker, "p", 5) as p:
            p.publish("a/1", b"one", 1)
            p.publish("a/2", b"two", 2)
        one, two = client.receive(raw.PUBLISH), client.receive(raw.PUBLISH)
        assert (one.qos, two.qos, one.dup, two.dup) == (1, 2, False, False)
        client.send(raw.ack(raw.PUBREC, two.packet_id))
        assert client.receive(raw.PUBREL).packet_id == two.packet_id
        client.fin()
        client, connect = remote.accept()
        assert not connect[7] & 2
        client.send(connack(0, present=True, level=level))
        release, again = client.receive(raw.PUBREL), client.receive(raw.PUBLISH)
        assert release.packet_id == two.packet_id
        assert (again.packet_id, again.dup, again.payload) == (one.packet_id, True, b"one")
        client.send(raw.ack(raw.PUBCOMP, two.packet_id), raw.ack(raw.PUBACK, one.packet_id))
        wait_until(lambda: "tracemq_messages_queued 0\n" in broker.request("GET", "/metrics", 200).text, 15, "all done")


def test_the_remotes_receive_maximum(new_broker, remote):
    broker = bridge_to(new_broker, remote, OUT)
    client, _ = remote.accept()
    client.send(connack(0, props={"receive_maximum": 2}))
    with Peer(broker, "p", 5) as p:
        for n in range(5):
            p.publish("a/x", b"%d" % n, 1)
        got = [client.receive(raw.PUBLISH), client.receive(raw.PUBLISH)]
        wait_until(lambda: "tracemq_messages_inflight 2\n" in broker.request("GET", "/metrics", 200).text, 15, "two in flight")
        for _ in range(3):
            client.send(raw.ack(raw.PUBACK, got[-2].packet_id))
            got.append(client.receive(raw.PUBLISH))
    assert [m.payload for m in got] == [b"%d" % n for n in range(5)]


def test_a_remote_without_retained_messages(new_broker, remote):
    broker = bridge_to(new_broker, remote, OUT, notifications="on", notifications_local_only="on")
    client, _ = remote.accept()
    client.send(connack(0, props={"retain_available": 0, "maximum_qos": 1}))
    with Peer(broker, "p", 5) as p:
        p.publish("a/x", b"1", 2, retain=True)
    got = client.receive(raw.PUBLISH)
    assert (got.retain, got.qos) == (False, 1)


def test_refused_messages_and_subscriptions(new_broker, remote):
    """Counted, logged once in a while, not sent again."""
    broker = bridge_to(new_broker, remote, [("a/#", "both", 2)])
    client, _ = remote.accept()
    client.send(connack(0))
    client.send(suback(client.receive(raw.SUBSCRIBE), code=0x87))
    connected(broker)
    with Peer(broker, "p", 5) as p:
        for qos in (1, 2):
            p.publish("a/x", b"no", qos)
    for kind in (raw.PUBACK, raw.PUBREC):
        client.send(raw.ack(kind, client.receive(raw.PUBLISH).packet_id, 0x97, {"reason_string": "full"}))
    wait_until(lambda: state(broker)["refused"] == 2, 15, "both counted")
    assert 'msg="the remote refused a subscription" bridge=b detail="a/#: not authorized"' in broker.log()
    wait_until(lambda: "tracemq_messages_queued 0\n" in broker.request("GET", "/metrics", 200).text, 15, "not kept")
    assert state(broker)["connected"]


def test_one_that_does_not_know_the_bit_of_bridges(new_broker, old_remote):
    """By its answer, or by its silence: at once again as a plain client, and from then on."""
    broker = bridge_to(new_broker, old_remote, IN, version="3.1.1")
    client, connect = old_remote.accept()
    assert connect[6] == 0x84
    client.fin()
    client, connect = old_remote.accept()
    assert connect[6] == 4
    client.send(connack(0, level=4))
    assert client.receive().kind == raw.DISCONNECT  # only to forget
    client, connect = old_remote.accept()
    assert connect[6] == 4
    old_remote.welcome(client)
    assert state(broker)["failures"] == 0
    connected(broker)
    client.fin()
    _, connect = old_remote.accept()
    assert connect[6] == 4


def test_keepalive(new_broker, remote):
    """PINGREQ when nothing was said; a remote that does not answer is given up after one and a half keepalives."""
    broker = bridge_to(new_broker, remote, OUT, keepalive="1s")
    client, connect = remote.accept()
    assert connect[8:10] == b"\0\1"
    began = time.monotonic()
    client.send(connack(0))
    for _ in range(2):
        client.receive(raw.PINGREQ)
        client.send(raw.packet(raw.PINGRESP))
    assert time.monotonic() - began > 1.5
    client.receive(raw.PINGREQ)
    failed(broker, "the remote was silent for")


def test_over_ipv6(new_broker):
    with ScriptedRemote(host="::1") as remote:
        broker = bridge_to(new_broker, f"[::1]:{remote.port}", OUT)
        client, _ = remote.accept()
        client.send(connack(0))
        assert connected(broker)["remote"] == f"[::1]:{remote.port}"


def test_what_the_remote_says_at_its_end(new_broker, remote):
    broker = bridge_to(new_broker, remote, OUT)
    client, _ = remote.accept()
    client.send(connack(0), raw.disconnect(0x9C, {"reason_string": "over there", "server_reference": "b.example"}))
    failed(broker, "the remote broker disconnected: use another server: over there")
    client, _ = remote.accept()
    client.send(connack(0x8A, props={"reason_string": "go away"}))
    failed(broker, "the remote refused the connection: banned: go away")
    client, _ = remote.accept()
    client.send(connack(0), raw.packet(raw.PUBLISH, b"\0\0", 0))
    failed(broker, "the remote broker sent a bad packet")


def test_what_it_says_of_itself(new_broker, remote):
    """CONNECT: limits, session, will and the mark; a clean start for a session of ours that is new, then not."""
    broker = with_bridges(
        new_broker("--max-packet-size", "64KiB", start=False),
        bridge("b", remote, OUT, client_id="me", session_expiry="1h", max_inflight=7, username="u", password="p"),
    ).start()
    client, body = remote.accept()
    assert body[7] == 0x80 | 0x40 | 0x20 | 0x08 | 0x04 | 0x02
    props, at = raw.read_properties(body, 10)
    mark = props.pop("user")
    assert props == {"session_expiry": 3600, "receive_maximum": 7, "maximum_packet": 65536}
    assert [name for name, _ in mark] == ["tracemq-bridge"]
    assert raw.read_text(body, at)[0] == b"me"
    client.send(connack(0))
    connected(broker)
    client.fin()
    _, body = remote.accept()
    assert not body[7] & 2
    broker.stop()
    broker.start()
    client, body = remote.accept()
    assert not body[7] & 2
    assert raw.read_properties(body, 10)[0]["user"] == mark


def test_the_local_session_ends(new_broker, remote):
    """After session_expiry apart both halves are given up, and what was kept."""
    broker = bridge_to(new_broker, remote, OUT, session_expiry="1s")
    client, _ = remote.accept()
    client.send(connack(0))
    connected(broker)
    with Peer(broker, "p", 5) as p:
        p.publish("a/x", b"never acknowledged", 1)
        client.receive(raw.PUBLISH)
        client.fin()
        late, _ = remote.accept()
        wait_until(lambda: p.publish("a/x", b"gone", 1).reason == 0x10, 15, "nobody is subscribed")
        late.send(connack(0, present=True))
        failed(broker, "the local session had expired")
        fresh, body = remote.accept()
        assert body[7] & 2
        fresh.send(connack(0))
        connected(broker, connects=2)
        p.publish("a/x", b"anew", 1)
        assert fresh.receive(raw.PUBLISH).payload == b"anew"


def test_a_slow_remote(new_broker, remote):
    """It reads nothing for a while: QoS 1 waits in its queue, and nothing of it is lost."""
    broker = bridge_to(new_broker, remote, OUT, max_inflight=1000)
    client, _ = remote.accept()
    client.send(connack(0))
    connected(broker)
    with Peer(broker, "p", 5) as p:
        for n in range(200):
            p.publish("a/x", b"%d " % n + b"x" * 20000, 1)
    got = [client.receive(raw.PUBLISH) for _ in range(200)]
    assert [int(m.payload.split()[0]) for m in got] == list(range(200))
    client.send(*(raw.ack(raw.PUBACK, m.packet_id) for m in got))
    wait_until(lambda: "tracemq_messages_queued 0\n" in broker.request("GET", "/metrics", 200).text, 15, "all done")
