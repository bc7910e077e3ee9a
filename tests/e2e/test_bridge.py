"""Bridges to Debian's Mosquitto and between brokers of ours: both directions, prefixes, flags, properties, loops, failures."""

import json

import pytest

from harness import raw
from harness.bridges import Collector, bridge, bridged, connected, failed, fixed_port, login, retained, state, with_bridges
from harness.mosquitto import free_port
from harness.peer import Peer, refused
from harness.wait import wait_until

MARK = "tracemq-bridge"


@pytest.fixture(params=["mosquitto", "tracemq"])
def remote(request, mosquitto, new_broker):
    return mosquitto() if request.param == "mosquitto" else new_broker()


@pytest.mark.parametrize("version", ["3.1", "3.1.1", "5"])
def test_both_ways_at_each_qos(new_broker, remote, version):
    topics = [("sensors/#", "out", 2, "", "plant1/"), ("cmd/+", "in", 2, "from/", "")]
    broker = bridged(new_broker, remote, topics, version=version, client_id="plant", **login(remote))
    with Collector(remote, "there", "#") as there, Collector(broker, "here", "from/#") as here:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
            for qos in (0, 1, 2):
                p.publish("sensors/a/b", b"out %d" % qos, qos)
                q.publish("cmd/x", b"in %d" % qos, qos)
            p.publish("elsewhere", b"not bridged", 1)
            p.publish("sensors/end", b"end", 1)
            there.wait(7)
            here.wait(3)
    # sorted: Mosquitto passes a QoS 2 message on when it is released
    assert sorted((m.topic, m.payload, m.qos) for m in there.got if m.topic.startswith("plant1/")) == [
        ("plant1/sensors/a/b", b"out 0", 0), ("plant1/sensors/a/b", b"out 1", 1),
        ("plant1/sensors/a/b", b"out 2", 2), ("plant1/sensors/end", b"end", 1),
    ]  # fmt: skip
    assert sorted((m.topic, m.payload, m.qos) for m in here.got) == [
        ("from/cmd/x", b"in %d" % qos, qos) for qos in (0, 1, 2)
    ]
    counts = state(broker)
    assert (counts["messagesOut"], counts["messagesIn"], counts["failures"]) == (4, 3, 0)


def test_the_rules_qos_is_the_highest(new_broker, mosquitto):
    remote = mosquitto()
    broker = bridged(new_broker, remote, [("a/#", "out", 1), ("b/#", "in", 0)])
    with Collector(remote, "there", "a/#") as there, Collector(broker, "here", "b/#") as here:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
            p.publish("a/x", b"1", 2)
            q.publish("b/x", b"2", 2)
            assert there.wait(1)[0].qos == 1
            assert here.wait(1)[0].qos == 0


def test_prefixes_empty_topics_and_the_first_rule(new_broker, mosquitto):
    remote = mosquitto()
    topics = [
        ("", "out", 1, "here/one", "there/uno"),
        ("", "in", 1, "here/two", "there/due"),
        ("x/#", "out", 1, "a/", "first/"),
        ("#", "out", 1, "a/", "second/"),
        ("both/#", "both", 1, "l/", "r/"),
    ]
    broker = bridged(new_broker, remote, topics)
    with Collector(remote, "there", "#") as there, Collector(broker, "here", "#") as here:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
            for topic in ("here/one", "here/one/more", "a/x/y", "a/y", "a", "l/both/z"):
                p.publish(topic, topic.encode(), 1)
            for topic in ("there/due", "there/due/more", "r/both/w"):
                q.publish(topic, topic.encode(), 1)
            there.wait(8)
            here.wait(8)
    sent = {m.payload.decode(): m.topic for m in there.got if m.payload.decode() != m.topic}
    assert sent == {"here/one": "there/uno", "a/x/y": "first/x/y", "a/y": "second/y", "a": "second", "l/both/z": "r/both/z"}
    came = {m.payload.decode(): m.topic for m in here.got if m.payload.decode() != m.topic}
    assert came == {"there/due": "here/two", "r/both/w": "l/both/w"}


def test_retained_messages(new_broker, mosquitto):
    """Kept as such in both directions, those from before the bridge too, and cleared."""
    remote = mosquitto()
    broker = with_bridges(
        new_broker(start=False), bridge("plant", remote, [("o/#", "out", 1), ("i/#", "in", 1), ("z/#", "out", 0)])
    )
    with Peer(remote, "q", 5) as q:
        q.publish("i/old", b"1", 1, retain=True)
    broker.start()
    connected(broker)
    with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
        p.publish("o/new", b"2", 1, retain=True)
        p.publish("z/new", b"3", 1, retain=True)
        wait_until(lambda: retained(remote, "o/new") == b"2" and retained(remote, "z/new") == b"3", 15, "retained there")
        wait_until(lambda: retained(broker, "i/old") == b"1", 15, "retained here")
        q.publish("i/old", b"", 1, retain=True)
        wait_until(lambda: retained(broker, "i/old") is None, 15, "cleared here")


def test_a_move_from_mosquitto(new_broker, mosquitto):
    """As docs/migrating.md has it: what is retained comes as such, what is live comes live, and it stays when the bridge is gone."""
    old = mosquitto()
    topics = [f"site/{i}/state" for i in range(60)]
    with Peer(old, "before") as p:
        for i, topic in enumerate(topics):
            p.publish(topic, topic.encode(), i % 3, retain=True)
    broker = with_bridges(new_broker(start=False), bridge("old", old, [("#", "both", 2)])).start()
    connected(broker)
    wait_until(lambda: retained(broker, topics[-1]) == topics[-1].encode(), 15, "the last one is retained here")
    with Collector(broker, "moved", "#") as here, Collector(old, "stays", "#") as there:
        kept = {m.topic: (m.payload, m.retain) for m in here.wait(60)}
        assert kept == {t: (t.encode(), True) for t in topics}
        before = len(there.wait(60))
        with Peer(old, "device") as p:
            for qos in (0, 1, 2):
                p.publish("live", b"old %d" % qos, qos)
            p.publish(topics[0], b"changed", 1, retain=True)
            p.publish(topics[1], b"", 1, retain=True)
            p.bye()
        here.wait(65)
        with Peer(broker, "device") as p:  # it has moved
            p.publish("live", b"new", 1)
            p.bye()
        here.wait(66)
        there.wait(before + 6)
    came = [(m.topic, m.payload, m.retain) for m in here.got[60:]]
    assert sorted(came) == sorted(
        [("live", b"old %d" % qos, False) for qos in (0, 1, 2)]
        + [(topics[0], b"changed", False), (topics[1], b"", False), ("live", b"new", False)]
    )
    assert [m.payload for m in there.got if m.topic == "live"].count(b"new") == 1, "no loop"
    broker.stop()
    old.stop()
    with_bridges(broker).start()
    with Collector(broker, "later", "#") as later:
        kept = {m.topic: m.payload for m in later.wait(59)}
    assert kept == {topics[0]: b"changed", **{t: t.encode() for t in topics[2:]}}
    assert broker.status("$bridge/old")["online"] is False


def test_properties_between_versions(new_broker, mosquitto):
    """All that is told to subscribers goes on, user properties in their order; a mark is added; older versions get none."""
    remote = mosquitto()
    broker = with_bridges(
        new_broker(start=False),
        bridge("five", remote, [("a/#", "out", 1), ("r/#", "in", 1)], client_id="five"),
        bridge("four", remote, [("a/#", "out", 1, "", "old/")], version="3.1.1", client_id="four"),
    ).start()
    connected(broker, "five")
    connected(broker, "four")
    props = {
        "payload_format": 1, "message_expiry": 1000, "content_type": "text/plain", "response_topic": "answers/1",
        "correlation": b"\0\1", "user": [("k", "1"), ("a", "2"), ("k", "3")],
    }  # fmt: skip
    with Collector(remote, "there", "a/#", "old/#") as there, Collector(broker, "here", "r/#") as here:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
            p.publish("a/x", b"text", 1, props=props)
            q.publish("r/x", b"text", 1, props=props)
            got = {m.topic: m.props for m in there.wait(2)}
            back = here.wait(1)[0].props
    assert got["old/a/x"] == {}
    marks = [v for k, v in got["a/x"].pop("user") if k == MARK]
    assert len(marks) == 1 and len(marks[0]) == 32
    for found in (got["a/x"], back):
        assert 990 <= found.pop("message_expiry") <= 1000
        found.pop("user", None)
        assert found == {k: v for k, v in props.items() if k not in ("user", "message_expiry")}
    assert [u for u in there.got if u.topic == "a/x"]


def test_user_properties_keep_their_order(new_broker, mosquitto):
    remote = mosquitto()
    broker = bridged(new_broker, remote, [("a/#", "out", 0), ("r/#", "in", 0)])
    pairs = [("k", "1"), ("a", "2"), ("k", "3")]
    with Collector(remote, "there", "a/#") as there, Collector(broker, "here", "r/#") as here:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
            p.publish("a/x", b"", props={"user": pairs})
            q.publish("r/x", b"", props={"user": pairs})
            assert there.wait(1)[0].props["user"][:3] == pairs
            assert here.wait(1)[0].props["user"] == pairs


# ---- the remote is away ----


@pytest.mark.parametrize("qos", [1, 2])
def test_messages_wait_for_a_remote_that_was_never_there(new_broker, mosquitto, qos):
    remote = mosquitto("persistence false", start=False)
    broker = with_bridges(new_broker(start=False), bridge("plant", remote, [("a/#", "out", 2)])).start()
    failed(broker, "Connection refused")
    with Peer(broker, "p", 5) as p:
        for n in range(100):
            p.publish("a/x", b"%d" % n, qos)
    with_subscriber(remote)
    with Collector(remote, "there", "a/#", clean=False) as there:
        there.wait(100)
    assert there.payloads() == [str(n) for n in range(100)]
    assert state(broker)["failures"] >= 1


def with_subscriber(remote):
    """Starts a Mosquitto that already has the subscription of `there`: it is made before the bridge can come back."""
    remote.config.write_text(remote.config.read_text().replace(f"listener {remote.port} ", f"listener {free_port()} "))
    spare = int(remote.config.read_text().split("listener ")[1].split()[0])
    store = f"persistence true\npersistence_location {remote.directory}/\n"
    remote.config.write_text(remote.config.read_text().replace("persistence false\n", store))
    port, remote.port = remote.port, spare
    remote.start()
    with Peer(remote, "there", 4, clean=False) as c:
        c.subscribe("a/#", options=2)
        c.bye()
    remote.stop()
    remote.config.write_text(remote.config.read_text().replace(f"listener {spare} ", f"listener {port} "))
    remote.port = port
    remote.start()


def test_messages_wait_over_a_remotes_restart(new_broker):
    """A remote of ours goes and comes back on its port: nothing is lost, QoS 2 comes once, the order stays."""
    remote = fixed_port(new_broker(start=False)).start()
    with Peer(remote, "there", 4, clean=False) as c:
        c.subscribe("a/#", options=2)
        c.bye()
    broker = bridged(new_broker, remote, [("a/#", "out", 2)], **login(remote))
    with Peer(broker, "p", 5) as p:
        for n in range(50):
            p.publish("a/x", b"%d" % n, 1 + n % 2)
        remote.stop()
        for n in range(50, 100):
            p.publish("a/x", b"%d" % n, 1 + n % 2)
    remote.start()
    connected(broker, connects=2)
    with Collector(remote, "there", "a/#", level=4, clean=False) as there:
        wait_until(lambda: len(set(there.payloads())) == 100, 20, "all")
    got = [int(p) for p in there.payloads()]
    assert list(dict.fromkeys(got)) == list(range(100))
    assert [n for n in got if n % 2] == list(range(1, 100, 2))
    assert "the remote broker disconnected: server shutting down" in broker.log()


def test_what_the_remote_kept_for_us_arrives(new_broker):
    """While our broker is away the remote keeps what is for it."""
    remote = fixed_port(new_broker(start=False)).start()
    broker = bridged(new_broker, remote, [("i/#", "in", 2)], **login(remote))
    with Peer(broker, "here", 4, clean=False) as c:
        c.subscribe("i/#", options=2)
        c.bye()
    broker.stop()
    with Peer(remote, "q", 5) as q:
        for n in range(50):
            q.publish("i/x", b"%d" % n, 1 + n % 2)
    broker.start()
    with Collector(broker, "here", "i/#", level=4, clean=False) as here:
        here.wait(50)
    assert here.payloads() == [str(n) for n in range(50)]


def test_two_addresses(new_broker, mosquitto):
    """The one that does not answer is passed over."""
    remote = mosquitto()
    broker = bridged(new_broker, f"127.0.0.1:{free_port()}, 127.0.0.1:{remote.port}", [("a/#", "out", 1)])
    assert state(broker)["remote"] == f"127.0.0.1:{remote.port}"
    assert "Connection refused" in state(broker)["lastError"]


# ---- what it says of itself ----


def test_state_topics(new_broker, mosquitto):
    """Retained 1 here and there while connected; 0 when stopped in order, and when killed (the will)."""
    remote = mosquitto()
    broker = bridged(new_broker, remote, [("a", "out", 1)], client_id="plant-client")
    here, there = "$SYS/broker/connection/plant/state", "$SYS/broker/connection/plant-client/state"
    wait_until(lambda: retained(broker, here) == b"1", 15, "1 here")
    wait_until(lambda: retained(remote, there) == b"1", 15, "1 there")
    remote.stop()
    wait_until(lambda: retained(broker, here) == b"0", 15, "0 here")
    remote.start()
    connected(broker, connects=2)
    wait_until(lambda: retained(remote, there) == b"1", 15, "1 there")
    broker.stop()
    wait_until(lambda: retained(remote, there) == b"0", 15, "0 there, by ourselves")
    broker.start()
    wait_until(lambda: retained(remote, there) == b"1", 15, "1 there")
    broker.kill9()
    wait_until(lambda: retained(remote, there) == b"0", 15, "0 there, by the will")


def test_notifications_can_be_elsewhere_or_off(new_broker, mosquitto):
    remote = mosquitto()
    broker = with_bridges(
        new_broker(start=False),
        bridge("here", remote, [("a", "out", 1)], client_id="c1", notifications_local_only="on"),
        bridge("there", remote, [("a", "out", 1)], client_id="c2", notifications_topic="who/is/there"),
        bridge("none", remote, [("a", "out", 1)], client_id="c3", notifications="off"),
    ).start()
    for n in ("here", "there", "none"):
        connected(broker, n)
    wait_until(lambda: retained(remote, "who/is/there") == b"1", 15, "its own topic")
    assert retained(remote, "$SYS/broker/connection/c1/state") is None
    assert retained(remote, "$SYS/broker/connection/c3/state") is None
    wait_until(lambda: retained(broker, "$SYS/broker/connection/here/state") == b"1", 15, "1 here")
    assert retained(broker, "$SYS/broker/connection/none/state") is None


def test_the_history_of_a_bridge(new_broker, mosquitto):
    """It is a client like others: when it came and went, from which remote, and why it went."""
    remote = mosquitto()
    broker = bridged(new_broker, remote, [("a", "out", 1)])
    remote.stop()
    rows = broker.wait_causes("$bridge/plant", "accepted.new", "client.normal", "accepted.resumed", "client.with_will")
    assert rows[2]["peer"] == f"127.0.0.1:{remote.port}"
    assert "remote broker" in rows[3]["detail"]["reasonString"]


def test_list_and_figures(new_broker, mosquitto):
    remote = mosquitto()
    gone = f"127.0.0.1:{free_port()}"
    broker = with_bridges(
        new_broker(start=False), bridge("plant", remote, [("a", "out", 1)]), bridge("gone", gone, [("a", "out", 1)])
    ).start()
    since = connected(broker, "plant")["since"]
    failed(broker, "Connection refused", "gone")
    with Collector(remote, "there", "a") as there, Peer(broker, "p", 5) as p:
        p.publish("a", b"1", 1)
        there.wait(1)
    rows = [line.split() for line in broker.cli("bridge", "list").splitlines()]
    assert rows[0][:3] == ["BRIDGE", "ADDRESS", "STATE"]
    assert rows[1][:3] == ["plant", f"127.0.0.1:{remote.port}", "connected"] and rows[1][5:7] == ["1", "0"]
    assert rows[2][:4] == ["gone", gone, "not", "connected"] and "refused" in rows[2]
    plant = json.loads(broker.cli("bridge", "list", "--json"))["items"][0]
    assert (plant["since"], plant["messagesOut"], plant["lastError"], plant["lastErrorAt"]) == (since, 1, None, None)
    figures = broker.request("GET", "/metrics", 200).text
    for line in (
        'bridge_connected{name="plant"} 1', 'bridge_connected{name="gone"} 0', 'bridge_messages_out_total{name="plant"} 1',
        'bridge_messages_in_total{name="plant"} 0', 'bridge_connects_total{name="plant"} 1',
    ):  # fmt: skip
        assert f"\ntracemq_{line}\n" in figures


def test_no_bridge(broker):
    assert "No bridge" in broker.cli("bridge", "list")
    assert broker.api("/api/v1/bridges")["items"] == []
    assert "tracemq_bridge" not in broker.request("GET", "/metrics", 200).text


def test_qos_0_waits_when_asked_for(new_broker, mosquitto):
    """queue_qos0 holds for bridges, and a restart without the remote loses nothing of it; all of it comes at once, then."""
    count = 3000
    remote = mosquitto("persistence false", "max_queued_messages 0", start=False)
    broker = new_broker("--queue-qos0", "on", start=False)
    with_bridges(broker, bridge("plant", remote, [("a/#", "out", 0)])).start()
    with Peer(broker, "p", 5) as p:
        for n in range(count):
            p.publish("a/x", b"%d " % n + b"x" * 1000)
        p.publish("elsewhere", b"behind these", 1)
    wait_until(lambda: f"tracemq_messages_queued {count}\n" in broker.request("GET", "/metrics", 200).text, 15, "they wait")
    broker.restart()
    with_subscriber(remote)
    with Collector(remote, "there", "a/#", clean=False) as there:
        there.wait(count)
    assert [int(p.split()[0]) for p in there.payloads()] == list(range(count))


def test_its_client_id_is_its_own(new_broker, mosquitto):
    broker = bridged(new_broker, mosquitto(), [("a", "out", 1)])
    for level, code in ((4, 2), (5, 0x85)):
        answer = refused(broker, raw.connect("$bridge/plant", broker.user, broker.password, level=level), level)
        assert [(p.kind, p.reason) for p in answer] == [(raw.CONNACK, code)]
    rows = wait_until(lambda: [r for r in broker.trace("$bridge/plant") if r["cause"] == "protocol.client_id"], 15, "a row")
    assert "the broker's own" in rows[0]["detail"]["text"]
    assert state(broker)["connected"]


def test_a_kick_brings_it_back(new_broker, mosquitto):
    broker = bridged(new_broker, mosquitto(), [("a", "out", 1)])
    broker.cli("kick", "$bridge/plant")
    connected(broker, connects=2)
    assert "administrative action" in state(broker)["lastError"]


# ---- limits ----


def test_a_message_that_is_too_large_there(new_broker):
    """Dropped, counted and logged; what follows goes on."""
    remote = new_broker("--max-packet-size", "2KiB")
    broker = bridged(new_broker, remote, [("a/#", "out", 2)], **login(remote))
    with Collector(remote, "there", "a/#") as there, Peer(broker, "p", 5) as p:
        for qos in (1, 2):
            p.publish("a/big", b"x" * 4000, qos)
        p.publish("a/end", b"end", 2)
        there.wait(1)
    assert there.payloads() == ["end"]
    assert state(broker)["droppedTooLarge"] == 2
    assert "too large for the other side" in broker.log()


def test_a_message_that_is_too_large_here(new_broker, mosquitto):
    """A remote before MQTT 5 can't be told: the message is dropped here, and does not come again and again."""
    remote = mosquitto()
    broker = with_bridges(
        new_broker("--max-packet-size", "2KiB", start=False), bridge("b", remote, [("a/#", "in", 2)], version="3.1.1")
    ).start()
    connected(broker)
    with Collector(broker, "here", "a/#") as here, Peer(remote, "q", 5) as q:
        for qos in (1, 2):
            q.publish("a/big", b"x" * 4000, qos)
        q.publish("a/end", b"end", 2)
        here.wait(1)
    assert here.payloads() == ["end"]
    assert state(broker)["droppedTooLarge"] == 2 and state(broker)["connects"] == 1


def test_many_messages_in_a_small_window(new_broker, mosquitto):
    """More than either side takes in flight, both ways at once."""
    remote = mosquitto("max_inflight_messages 5", "max_queued_messages 0")
    broker = bridged(new_broker, remote, [("o/#", "out", 2), ("i/#", "in", 2)], max_inflight=3)
    count = 300
    with Collector(remote, "there", "o/#") as there, Collector(broker, "here", "i/#") as here:
        with Peer(broker, "p", 5) as p, Peer(remote, "q", 5) as q:
            for n in range(count):
                p.publish("o/x", b"%d" % n, 1 + n % 2)
                q.publish("i/x", b"%d" % n, 1 + n % 2)
            there.wait(count)
            here.wait(count)
    assert sorted(there.payloads(), key=int) == sorted(here.payloads(), key=int) == [str(n) for n in range(count)]


def test_a_remote_without_qos_2(new_broker, mosquitto):
    """What it does not take is lowered, and completed here."""
    remote = mosquitto("max_qos 1")
    broker = bridged(new_broker, remote, [("a/#", "out", 2)])
    with Collector(remote, "there", "a/#") as there, Peer(broker, "p", 5) as p:
        for n in range(20):
            p.publish("a/x", b"%d" % n, 2)
        assert {m.qos for m in there.wait(20)} == {1}
    assert there.payloads() == [str(n) for n in range(20)]
    wait_until(lambda: "messages_queued 0\n" in broker.request("GET", "/metrics", 200).text, 15, "the queue is empty")


# ---- changes between starts ----


def test_rules_and_bridges_that_are_gone(new_broker, mosquitto):
    """What is no longer in the file does not gather messages."""
    remote = mosquitto("persistence false")
    gone = bridge("gone", f"127.0.0.1:{free_port()}", [("a/#", "out", 1)])
    broker = new_broker(start=False)
    with_bridges(broker, bridge("plant", remote, [("a/#", "out", 1), ("b/#", "out", 1)]), gone).start()
    connected(broker, "plant")
    broker.stop()
    with_bridges(broker, bridge("plant", remote, [("b/#", "out", 1)])).start()
    connected(broker, "plant")
    with Collector(remote, "there", "a/#", "b/#") as there, Peer(broker, "p", 5) as p:
        assert p.publish("a/x", b"no", 1).reason == 0x10  # nobody is subscribed
        p.publish("b/x", b"yes", 1)
        there.wait(1)
        assert there.payloads() == ["yes"]


def test_a_reload_says_that_bridges_need_a_restart(new_broker, mosquitto):
    remote = mosquitto()
    broker = bridged(new_broker, remote, [("a/#", "out", 1)])
    assert "bridges" not in broker.cli("reload")
    with_bridges(broker, bridge("plant", remote, [("b/#", "out", 1)]))
    assert "bridges" in broker.cli("reload")
    assert 'msg="needs a restart" name=bridges' in broker.log()


