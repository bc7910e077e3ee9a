"""`subscriptions: filtered`: every subscription is granted, and of its messages those arrive that the client may read at that moment."""

import collections
import socket

import pytest

from harness import raw
from harness.peer import Peer
from harness.wait import wait_until

EVERY_QOS = (0, 1, 2)


@pytest.fixture(autouse=True)
def filtered(broker):
    broker.settings(subscriptions="filtered", on_denied="refuse")


@pytest.fixture
def user(broker, name):
    """May read and write open/NAME/…, but not what is denied there."""
    broker.add_user(name, "pw", [f"open/{name}/#"])
    broker.permit(name, "deny", "both", f"open/{name}/secret/#")
    return {"user": name, "password": "pw"}


def metric(broker, name):
    for line in broker.request("GET", "/metrics").text.splitlines():
        if line.startswith(name + " "):
            return float(line.split()[1])
    raise AssertionError(f"no {name} in /metrics")


def clients_of(name, count):
    """So many client IDs that both loops have some (one in 512 chances that they have not)."""
    return [f"{name}-{i}" for i in range(count)]


@pytest.mark.parametrize("level", (4, 5))
@pytest.mark.parametrize("qos", EVERY_QOS)
def test_live(broker, name, user, qos, level):
    peers = [Peer(broker, c, level=level, **user) for c in clients_of(name, 10)]
    for peer in peers:
        assert peer.subscribe("#", options=2) == [2]
    before = metric(broker, "tracemq_messages_filtered_total")
    with Peer(broker, name + "-pub") as publisher:
        for topic in (f"elsewhere/{name}", f"open/{name}/secret/a", f"open/{name}/a"):
            publisher.publish(topic, b"x", qos=qos)
        publisher.publish(f"open/{name}/end", b"end", qos=qos)
    for peer in peers:
        got = [peer.get() for _ in range(2)]
        assert [(p.topic, p.qos) for p in got] == [(f"open/{name}/a", qos), (f"open/{name}/end", qos)]
        peer.bye()
    assert metric(broker, "tracemq_messages_filtered_total") - before == 20
    record = broker.wait_causes(f"{name}-0", "accepted.new", "client.normal")[-1]
    assert record["detail"]["filtered"] == 2 and "dropped" not in record["detail"]


def test_what_is_covered_is_refused_by_default(broker, name, user):
    broker.settings(subscriptions="covered")
    with Peer(broker, name, **user) as peer:
        assert peer.subscribe("#", f"open/{name}/a", f"open/{name}/#", options=1) == [0x87, 1, 0x87]
        broker.settings(subscriptions="filtered")
        assert peer.subscribe("#", f"open/{name}/a", f"open/{name}/#", options=1) == [1, 1, 1]
        assert peer.subscribe("$SYS/#", "$share/g/$SYS/#", options=1) == [0x87, 0x87]
    with Peer(broker, name + "-4", level=4, **user) as peer:
        assert peer.subscribe("#", "$SYS/#", options=1) == [1, 0x80]
    assert [r["cause"] for r in broker.wait_trace(name, 1)][0] == "accepted.new"


def test_retained(broker, name, user):
    with Peer(broker, name + "-pub") as publisher, Peer(broker, name, **user) as peer:
        for topic in (f"a/{name}", f"open/{name}/1", f"open/{name}/secret/1", f"z/{name}"):
            publisher.publish(topic, b"kept", qos=1, retain=True)
        peer.subscribe("+/#", options=1)
        got = peer.get()
        assert (got.topic, got.retain) == (f"open/{name}/1", True)
        publisher.publish(f"open/{name}/end", b"", qos=1)
        assert peer.get().topic == f"open/{name}/end"
        # What it may read now counts.
        broker.permit(name, "allow", "subscribe", f"z/{name}")
        peer.subscribe("+/#", options=1)
        assert {peer.get().topic for _ in range(2)} == {f"open/{name}/1", f"z/{name}"}
        for topic in (f"a/{name}", f"open/{name}/1", f"open/{name}/secret/1", f"z/{name}"):
            publisher.publish(topic, b"", qos=1, retain=True)


@pytest.mark.parametrize("qos", (1, 2))
def test_queued_while_away(broker, name, user, qos):
    ids = clients_of(name, 4)
    for client_id in ids:
        peer = Peer(broker, client_id, durable=True, **user)
        peer.subscribe("#", options=qos)
        peer.bye()
        broker.wait_causes(client_id, "accepted.new", "client.normal")
    with Peer(broker, name + "-pub") as publisher:
        for topic in (f"open/{name}/secret/a", f"open/{name}/a", f"other/{name}", f"open/{name}/b"):
            publisher.publish(topic, b"x", qos=qos)
        # Between the message and the client's return: one is taken away. What was passed over stays so.
        broker.permit(name, "deny", "subscribe", f"open/{name}/a")
        broker.permit(name, "allow", "subscribe", f"other/{name}")
        for topic in (f"open/{name}/a", f"other/{name}", f"open/{name}/end"):
            publisher.publish(topic, b"y", qos=qos)
    for client_id in ids:
        peer = Peer(broker, client_id, durable=True, **user)
        assert peer.present
        got = [peer.get() for _ in range(3)]
        assert [(p.topic, p.payload) for p in got] == [
            (f"open/{name}/b", b"x"), (f"other/{name}", b"y"), (f"open/{name}/end", b"y"),
        ]  # fmt: skip
        forget(peer)


def forget(peer):
    """Its session ends, or it would count what is filtered in the tests behind this one."""
    peer.bye(0, {"session_expiry": 0})


def test_across_a_restart(new_broker, name):
    broker = new_broker()
    broker.settings(subscriptions="filtered")
    broker.add_user(name, "pw", ["open/#"])
    who = {"user": name, "password": "pw", "durable": True}
    with Peer(broker, name, **who) as peer:
        peer.subscribe("#", options=1)
        peer.bye()
    broker.wait_causes(name, "accepted.new", "client.normal")
    with Peer(broker, "pub") as publisher:
        publisher.publish("open/1", b"", qos=1)
        publisher.publish("other/1", b"", qos=1)
    broker.kill9()
    broker.restart()
    with Peer(broker, "pub") as publisher:
        publisher.publish("other/2", b"", qos=1)
        publisher.publish("open/2", b"", qos=1)
        assert metric(broker, "tracemq_messages_filtered_total") == 1, "the store knows whose session it is"
        with Peer(broker, name, **who) as peer:
            assert peer.present and [peer.get().topic for _ in range(2)] == ["open/1", "open/2"]
            publisher.publish("other/3", b"", qos=1)
            publisher.publish("open/3", b"", qos=1)
            assert peer.get().topic == "open/3"
    broker.stop()


def test_permissions_changed_in_between(broker, name, user):
    with Peer(broker, name + "-pub") as publisher:
        peers = [Peer(broker, c, **user) for c in clients_of(name, 6)]
        for peer in peers:
            peer.subscribe("#", options=1)
        publisher.publish(f"new/{name}", b"1", qos=1)
        broker.permit(name, "allow", "subscribe", f"new/{name}")
        publisher.publish(f"new/{name}", b"2", qos=1)
        broker.permit(name, "deny", "subscribe", f"new/{name}")
        publisher.publish(f"new/{name}", b"3", qos=1)
        publisher.publish(f"open/{name}/end", b"end", qos=1)
        for peer in peers:
            assert [peer.get().payload for _ in range(2)] == [b"2", b"end"]
            peer.bye()


def test_overlapping_subscriptions(broker, name, user):
    """With a covered filter that matches, too, each message comes once, with the identifiers of both."""
    with Peer(broker, name + "-pub") as publisher, Peer(broker, name, **user) as peer:
        peer.subscribe("#", options=1, props={"subid": 7})
        peer.subscribe(f"open/{name}/a", options=2, props={"subid": 8})
        for topic in (f"open/{name}/secret/a", f"open/{name}/a", f"open/{name}/b"):
            publisher.publish(topic, b"x", qos=2)
        first, second = peer.get(), peer.get()
        assert (first.topic, first.qos, sorted(ids(first))) == (f"open/{name}/a", 2, [7, 8])
        assert (second.topic, second.qos, ids(second)) == (f"open/{name}/b", 1, [7])
        # No Local holds before permissions are asked.
        peer.subscribe(("#", 1 | 4))
        peer.publish(f"open/{name}/b", b"mine")
        publisher.publish(f"open/{name}/b", b"other")
        assert peer.get().payload == b"other"


def ids(p):
    found = p.props.get("subid", [])
    return found if isinstance(found, list) else [found]


def test_the_window_stays_right(broker, name, user):
    """Messages that are passed over take no place in flight: a client with room for two goes on and on."""
    with Peer(broker, name + "-pub") as publisher, Peer(broker, name, props={"receive_maximum": 2}, **user) as peer:
        peer.subscribe("#", options=2)
        for i in range(30):
            publisher.publish(f"open/{name}/secret/{i}" if i % 3 else f"open/{name}/{i}", b"x", qos=2)
        assert [peer.get().topic for _ in range(10)] == [f"open/{name}/{i}" for i in range(0, 30, 3)]


def test_wills(broker, name, user):
    with Peer(broker, name, **user) as peer:
        peer.subscribe("#", options=1)
        for topic in (f"will/{name}", f"open/{name}/will"):
            gone = raw.Client(broker)
            gone.login(f"{name}-{topic[:4]}", will=(topic, b"gone", 1, False))
            gone.reset()
            broker.wait_causes(f"{name}-{topic[:4]}", "accepted.new", "peer.reset")
        assert peer.get().topic == f"open/{name}/will"


@pytest.mark.parametrize("qos", EVERY_QOS)
def test_shared_with_members_that_may_not_read(broker, name, user, qos):
    """Each message to one member of those that may read it, on whatever loop they are."""
    broker.add_user(name + "-all", "pw", ["open/#", "only/#"])
    narrow = [Peer(broker, f"{name}-n{i}", **user) for i in range(6)]
    wide = [Peer(broker, f"{name}-w{i}", user=name + "-all", password="pw") for i in range(2)]
    for peer in narrow + wide:
        assert peer.subscribe(f"$share/{name}/#", options=2) == [2]
        peer.subscribe(f"open/{name}/end", options=0)
    with Peer(broker, name + "-pub") as publisher:
        for i in range(24):
            publisher.publish(f"only/{name}", str(i).encode(), qos=qos)
            publisher.publish(f"open/{name}/a", str(i).encode(), qos=qos)
        got = {peer: [] for peer in narrow + wide}
        wait_until(lambda: sum(len(arrived(peer, got[peer])) for peer in got) == 48, what="48 messages")
        # Nobody may read it any more.
        broker.permit(name + "-all", "deny", "both", f"only/{name}")
        publisher.publish(f"only/{name}", b"nobody", qos=qos)
        publisher.publish(f"open/{name}/end", b"end")
        for peer in got:
            got[peer] += until_end(peer, f"open/{name}/end")
    count = collections.Counter(m for messages in got.values() for m in messages)
    assert set(count.values()) == {1} and len(count) == 48, count
    theirs = [topic for peer in narrow for topic, _ in got[peer]]
    assert set(theirs) == {f"open/{name}/a"} and all(got[peer] for peer in wide)
    for peer in narrow + wide:
        peer.bye()


def arrived(peer, got):
    """`got` with what has come until now."""
    try:
        while True:
            p = peer.receive(raw.PUBLISH, 0.01)
            peer.acknowledge(p)
            got.append((p.topic, p.payload))
    except socket.timeout:
        return got


def until_end(peer, end):
    got = []
    while True:
        p = peer.get()
        if p.topic == end:  # its own, or the group's: the last in any case
            return got
        got.append((p.topic, p.payload))


def test_shared_and_everyone_away(broker, name, user):
    """What nobody may read waits for nobody; the rest waits for the member."""
    peer = Peer(broker, name, durable=True, **user)
    peer.subscribe(f"$share/{name}/#", options=1)
    peer.bye()
    broker.wait_causes(name, "accepted.new", "client.normal")
    before = metric(broker, "tracemq_messages_filtered_total")
    with Peer(broker, name + "-pub") as publisher:
        publisher.publish(f"only/{name}", b"1", qos=1)
        publisher.publish(f"open/{name}/a", b"2", qos=1)
        publisher.publish(f"open/{name}/b", b"3", qos=1)
    assert metric(broker, "tracemq_messages_filtered_total") == before + 1
    with Peer(broker, name, durable=True, **user) as peer:
        assert peer.present and [peer.get().payload for _ in range(2)] == [b"2", b"3"]
        forget(peer)
