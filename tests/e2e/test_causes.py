"""Each way a connection can begin and end: what the record says, its evidence, and what the client was told."""

import itertools
import json
import subprocess
import time

import pytest

from harness import raw
from harness.broker import check_channels
from harness.wait import wait_until

BROKER_ARGS = (
    "--connect-timeout", "4s", "--max-packet-size", "4KiB", "--max-subscriptions", "3", "--receive-maximum", "4",
)  # fmt: skip

# Never to be found in a record or a log.
SECRETS = ["s3cret-of-alice", "wr0ng-guess-1", "another-s3cret"]


@pytest.fixture(scope="module")
def alice(broker):
    """May use alice/#, but not alice/private."""
    broker.add_user("alice", SECRETS[0], ["alice/#"])
    broker.permit("alice", "deny", "both", "alice/private/#")
    return ("alice", SECRETS[0])


def refused(broker, client_id, code, *, cause, description="not authorized", user=None, password=None, **kwargs):
    with raw.Client(broker) as c:
        c.login(client_id, user, password, expect=code, **kwargs)
        assert c.wait_closed() == []
    record = broker.wait_causes(client_id, cause)[0]
    assert record["description"] == description
    assert record["action"] == "close"
    assert record["peer"] == c.peer
    assert record["detail"]["refused"] is True
    assert broker.status(client_id) is None, "never accepted: no device"
    return record


# ---- accepted ----


def test_accepted_and_disconnected(broker, name):
    with raw.Client(broker) as c:
        assert c.login(name, keepalive=30) is False
        online = wait_until(lambda: broker.status(name))
        c.bye()
    connect, end = broker.wait_causes(name, "accepted.new", "client.normal")
    assert online["online"] is True and online["peer"] == c.peer
    assert online["channelId"] == connect["channelId"]
    assert (online["keepalive"], online["cleanSession"], online["protocol"]) == (30, True, "3.1.1")
    assert connect["description"] == "accepted" and connect["action"] == "connect"
    assert connect["user"] == broker.user and connect["endedBy"] is None
    assert connect["detail"]["keepaliveAsked"] == 30
    assert end["description"] == "disconnected by client" and end["action"] == "disconnect"
    assert end["endedBy"] == "client"
    detail = end["detail"]
    assert detail["packetsIn"] == 2 and detail["packetsOut"] == 1
    assert detail["bytesOut"] == 4 and detail["bytesIn"] > 20
    assert detail["durationMs"] < 20000 and detail["tcpState"] and "tcpRttUs" in detail
    offline = broker.status(name)
    assert offline["online"] is False and offline["lastCause"] == "client.normal"


def test_accepted_resumed(broker, name):
    for expected in (False, True):
        with raw.Client(broker) as c:
            assert c.login(name, clean=False) is expected
            c.bye()
    with raw.Client(broker) as c:
        assert c.login(name, clean=True) is False, "a clean session forgets the old one"
        c.bye()
    broker.wait_causes(
        name, "accepted.new", "client.normal", "accepted.resumed", "client.normal", "accepted.new", "client.normal"
    )


def test_group_and_device(broker):
    with raw.Client(broker) as c:
        c.login("GID_shop@@@till 7")
        c.bye()
    record = broker.wait_causes("GID_shop@@@till 7", "accepted.new", "client.normal")[0]
    assert (record["group"], record["device"]) == ("GID_shop", "till 7")


def test_an_empty_client_id_gets_one(broker):
    with raw.Client(broker) as c:
        c.login("")
        items = wait_until(
            lambda: [d for d in broker.api("/devices", query="auto-", online="true")["items"] if d["peer"] == c.peer]
        )
        c.bye()
    broker.wait_causes(items[0]["clientId"], "accepted.new", "client.normal")


# ---- not authorized ----


def test_auth_anonymous(broker, name):
    refused(broker, name, 5, cause="auth.anonymous")


def test_auth_unknown_identity(broker, name):
    record = refused(broker, name, 4, cause="auth.unknown_identity", user="nobody-here", password=SECRETS[1])
    assert record["detail"]["user"] == "nobody-here"
    assert "nobody-here" in record["verdict"]["text"]


def test_auth_bad_password(broker, alice, name):
    record = refused(broker, name, 4, cause="auth.bad_password", user="alice", password=SECRETS[1])
    assert record["detail"]["user"] == "alice"
    assert record["verdict"]["next"]


def test_auth_group_unknown(broker, name):
    broker.settings(client_id="grouped")
    try:
        refused(broker, "GID_none@@@x", 5, cause="auth.group_unknown", user=broker.user, password=broker.password)
        refused(
            broker, name, 2, cause="protocol.client_id", description="invalid param",
            user=broker.user, password=broker.password,
        )  # fmt: skip
        broker.request("POST", "/groups", 201, json={"id": "GID_mine"})
        with raw.Client(broker) as c:
            c.login("GID_mine@@@x")
            c.bye()
        broker.wait_causes("GID_mine@@@x", "accepted.new", "client.normal")
    finally:
        broker.settings(client_id="any")


@pytest.mark.parametrize("how", ["deleted", "password"])
def test_auth_revoked(broker, name, how):
    broker.add_user(name, SECRETS[2], ["#"])
    with raw.Client(broker) as c:
        c.login(name, name, SECRETS[2])
        if how == "deleted":
            broker.request("DELETE", f"/users/{name}", 204)
        else:
            broker.request("PUT", f"/users/{name}/password", 204, json={"password": SECRETS[2] + "-new"})
        c.wait_closed()
    end = broker.wait_causes(name, "accepted.new", "auth.revoked")[1]
    assert end["description"] == "not authorized" and end["endedBy"] == "server"


# ---- clientId conflict ----


@pytest.mark.mqtt311("MQTT-3.1.4-2")
def test_takeover_from_the_same_address(broker, name):
    with raw.Client(broker) as first, raw.Client(broker) as second:
        first.login(name)
        second.login(name)
        first.wait_closed()
        second.bye()
    records = broker.wait_trace(name, 4)
    check_channels(records)
    # The loser's close is written before the winner's connect.
    assert [r["cause"] for r in records] == ["accepted.new", "takeover.same_node", "accepted.new", "client.normal"]
    old, lost, won, _ = records
    assert lost["channelId"] == old["channelId"] and lost["description"] == "clientId conflict"
    assert lost["detail"]["otherChannelId"] == won["channelId"]
    assert lost["detail"]["otherPeer"] == second.peer
    assert lost["detail"]["otherUser"] == broker.user
    assert won["detail"]["otherChannelId"] == old["channelId"]
    assert won["detail"]["otherPeer"] == first.peer
    assert won["detail"]["otherConnectedAt"] == old["time"]
    assert isinstance(won["detail"]["otherSilentMs"], int) and isinstance(lost["detail"]["otherSilentMs"], int)


def test_takeover_from_another_address(broker, name):
    with raw.Client(broker, source="127.0.0.2") as first, raw.Client(broker, source="127.0.0.3") as second:
        first.login(name)
        second.login(name)
        first.wait_closed()
        wait_until(lambda: (broker.status(name) or {}).get("peer") == second.peer, what="the winner's status")
        second.bye()
    lost = [r for r in broker.wait_trace(name, 4) if r["cause"] == "takeover.same_node"][0]
    assert lost["peer"].startswith("127.0.0.2:")
    assert lost["detail"]["otherPeer"].startswith("127.0.0.3:")
    assert "127.0.0.3" in lost["verdict"]["text"]


def test_no_takeover_without_the_password(broker, name):
    with raw.Client(broker) as first:
        first.login(name)
        with raw.Client(broker) as second:
            second.login(name, broker.user, SECRETS[1], expect=4)
        first.nothing()
        first.bye()
    broker.wait_causes(name, "accepted.new", "auth.bad_password", "client.normal")


# ---- topic auth failed ----


def ended_by(broker, client_id, login, packets, cause, description):
    with raw.Client(broker) as c:
        c.login(client_id, *login)
        c.send(*packets)
        c.wait_closed()
    end = broker.wait_causes(client_id, "accepted.new", cause)[1]
    assert end["description"] == description and end["action"] == "close"
    return end


@pytest.mark.mqtt311("MQTT-3.3.5-2")
def test_topic_publish(broker, alice, name):
    packets = [raw.publish("bob/news", "payload-is-nobodys", 1, 9)]
    end = ended_by(broker, name, alice, packets, "topic.publish", "topic auth failed")
    assert end["detail"]["topic"] == "bob/news" and end["detail"]["qos"] == 1
    assert end["detail"]["rule"]
    assert "bob/news" in end["verdict"]["text"]
    assert "payload-is-nobodys" not in json.dumps(end)


def test_topic_publish_denied_by_a_rule(broker, alice, name):
    end = ended_by(broker, name, alice, [raw.publish("alice/private/x")], "topic.publish", "topic auth failed")
    assert "alice/private/#" in end["detail"]["rule"] and "deny" in end["detail"]["rule"]


def test_topic_subscribe(broker, alice, name):
    packets = [raw.subscribe(3, ("alice/ok", 0), ("#", 1))]
    end = ended_by(broker, name, alice, packets, "topic.subscribe", "topic auth failed")
    assert end["detail"]["topic"] == "#"


def test_topic_will(broker, alice, name):
    record = refused(
        broker, name, 5, cause="topic.will", description="topic auth failed",
        user=alice[0], password=alice[1], will=("bob/gone", "x", 0, False),
    )  # fmt: skip
    assert record["detail"]["topic"] == "bob/gone"


@pytest.mark.mqtt311("MQTT-3.3.5-2", "MQTT-3.8.4-5")
def test_on_denied_refuse(broker, alice, name):
    broker.settings(on_denied="refuse")
    try:
        with raw.Client(broker) as c, raw.Client(broker) as other:
            other.login(name + "-other")
            other.send(raw.subscribe(1, ("bob/#", 0)))
            other.receive(raw.SUBACK)
            c.login(name, *alice)
            c.send(raw.subscribe(4, ("alice/ok", 1), ("bob/#", 1)), raw.publish("bob/news", "x", 1, 5))
            assert c.receive(raw.SUBACK).body[2:] == b"\x01\x80"
            assert c.receive(raw.PUBACK).packet_id == 5
            c.send(raw.publish("bob/news", "x"))
            c.nothing()
            other.nothing()
            c.bye()
            other.bye()
    finally:
        broker.settings(on_denied="close")
    broker.wait_causes(name, "accepted.new", "client.normal")


# ---- no heart ----


@pytest.mark.mqtt311("MQTT-3.1.2-24")
def test_keepalive_expired(broker, name):
    with raw.Client(broker) as c:
        c.login(name, keepalive=1)
        c.send(raw.pingreq())
        c.receive(raw.PINGRESP)
        c.wait_closed()
    end = broker.wait_causes(name, "accepted.new", "keepalive.expired")[1]
    detail = end["detail"]
    assert end["description"] == "no heart" and end["endedBy"] == "server"
    assert detail["keepaliveAsked"] == 1 and detail["deadlineMs"] == 1500
    assert detail["silentMs"] >= 1500
    assert detail["lastPacketIn"] == "PINGREQ"
    assert "loopLagMs" in detail and "unackedBytes" in detail


def beats(c, packet, every=0.4, seconds=3.2):
    """Sends the packet again and again: twice the deadline and more. False: this machine let us be late for one of them."""
    began = last = time.monotonic()
    late = False
    try:
        while last < began + seconds:
            time.sleep(every)
            now = time.monotonic()
            late = late or now - last > 1.2
            last = now
            c.send(packet)
        c.send(raw.pingreq())
        c.receive(raw.PINGRESP)
    except (OSError, raw.Closed):
        assert late, "a client that sends was told to have no heart"
    return not late


@pytest.mark.parametrize("packet", [raw.pingreq(), raw.publish("x", "y")], ids=["pings", "publishes"])
def test_any_packet_is_a_heart_and_keepalive_0_needs_none(broker, name, packet):
    with raw.Client(broker) as silent:
        silent.login(name + "-silent", keepalive=0)
        for i in itertools.count():
            with raw.Client(broker) as sends:
                sends.login(f"{name}-{i}", keepalive=1)
                if beats(sends, packet):
                    sends.bye()
                    break
        silent.nothing(0)
        silent.bye()
    broker.wait_causes(f"{name}-{i}", "accepted.new", "client.normal")
    broker.wait_causes(name + "-silent", "accepted.new", "client.normal")


# ---- closed by client ----


def test_peer_fin(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        c.fin()
    end = broker.wait_causes(name, "accepted.new", "peer.fin")[1]
    assert end["description"] == "closed by client" and end["endedBy"] == "client"
    assert end["detail"]["closedFirst"] == "client"


def test_peer_reset(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        c.reset()
    end = broker.wait_causes(name, "accepted.new", "peer.reset")[1]
    assert end["description"] == "closed by client" and end["detail"]["errno"] == "ECONNRESET"


def test_half_a_packet_and_gone(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        c.send(raw.publish("a/b", "x" * 100)[:30])
        c.fin()
    broker.wait_causes(name, "accepted.new", "peer.fin")


def test_a_real_client_that_is_killed(broker, name):
    command = ["stdbuf", "-oL", "mosquitto_sub", "-d", "-h", broker.host, "-p", str(broker.port), "-i", name, "-t", "x"]
    child = subprocess.Popen([*command, "-u", broker.user, "-P", broker.password], stdout=subprocess.PIPE, text=True)
    try:
        # bytes that it has not read would make its end a reset
        assert any("Subscribed" in line for line in child.stdout)
    finally:
        child.kill()
        child.wait()
    broker.wait_causes(name, "accepted.new", "peer.fin")


def test_a_disconnect_that_races_our_write(broker, name):
    """The broker writes into a connection whose DISCONNECT and reset are on their way: still `disconnect`."""
    for i in range(20):
        me = f"{name}-{i}"
        with raw.Client(broker) as c, raw.Client(broker) as other:
            c.login(me)
            other.login(me + "-other")
            c.send(raw.subscribe(1, (me, 0)))
            c.receive(raw.SUBACK)
            # What arrives behind the close makes the peer's kernel answer with a reset.
            other.send(*[raw.publish(me, "x" * 2000)] * 50)
            c.send(raw.disconnect())
            c.socket.close()
            other.bye()
        broker.wait_causes(me, "accepted.new", "client.normal")


# ---- invalid param ----


MALFORMED = {
    "type-0": (b"\x00\x00", "protocol.malformed"),
    "type-15": (b"\xf0\x00", "protocol.violation"),
    "flags": (b"\xc1\x00", "protocol.malformed"),
    "length": (b"\x30\xff\xff\xff\xff\x01", "protocol.malformed"),
    "qos-3": (raw.packet(raw.PUBLISH, raw.text("a") + b"\0\1x", 6), "protocol.malformed"),
    "truncated": (raw.packet(raw.PUBLISH, b"\0\x09abc"), "protocol.malformed"),
    "utf-8": (raw.publish(b"a\xff"), "protocol.malformed"),
    "nul": (raw.publish("a\0b"), "protocol.malformed"),
    "wildcard": (raw.publish("a/#"), "protocol.violation"),
    "empty-topic": (raw.publish(""), "protocol.violation"),
    "packet-id-0": (raw.publish("a", "x", 1, 0), "protocol.violation"),
    "no-filter": (raw.packet(raw.SUBSCRIBE, b"\0\1", 2), "protocol.violation"),
    "bad-filter": (raw.subscribe(1, ("a/#/b", 0)), "protocol.violation"),
    "sub-qos-3": (raw.subscribe(1, ("a", 3)), "protocol.malformed"),
    "subscribe-flags": (raw.packet(raw.SUBSCRIBE, b"\0\1" + raw.text("a") + b"\0", 0), "protocol.malformed"),
    "connack": (raw.packet(raw.CONNACK, b"\0\0"), "protocol.violation"),
    "pingresp": (raw.packet(raw.PINGRESP), "protocol.violation"),
    "auth": (raw.packet(15), "protocol.violation"),
}


@pytest.mark.parametrize("what", MALFORMED)
@pytest.mark.mqtt311("MQTT-4.8.0-1")
def test_bad_packets(broker, name, what):
    bad, cause = MALFORMED[what]
    login = (broker.user, broker.password)
    end = ended_by(broker, name, login, [raw.pingreq(), bad], cause, "invalid param")
    first = end["detail"]["firstBytes"]
    assert bad.hex().startswith(first) and first, "the first bytes are evidence"
    assert end["detail"]["expected"]


@pytest.mark.mqtt311("MQTT-3.1.0-2")
def test_second_connect(broker, name):
    login = (broker.user, broker.password)
    packets = [raw.connect(name, "alice", SECRETS[2])]
    end = ended_by(broker, name, login, packets, "protocol.second_connect", "invalid param")
    assert end["detail"]["clause"] == "MQTT-3.1.0-2"


@pytest.mark.parametrize("level,code", [(6, 1), (99, 1)])
@pytest.mark.mqtt311("MQTT-3.1.2-2")
def test_protocol_version(broker, name, level, code):
    with raw.Client(broker) as c:
        c.send(raw.connect(name, broker.user, broker.password, level=level))
        assert c.receive(raw.CONNACK).body[1] == code
        c.wait_closed()
    # what an unknown version calls a client ID is not known
    end = wait_until(lambda: [r for r in unidentified(broker) if r["peer"] == c.peer] or broker.trace(name), step=0.05)[0]
    assert end["cause"] == "protocol.version"


@pytest.mark.mqtt311("MQTT-3.1.3-8")
def test_protocol_client_id(broker):
    with raw.Client(broker) as c:
        c.login("", clean=False, expect=2)
        c.wait_closed()
    row = wait_unidentified(broker, c.peer)
    assert row["cause"] == "protocol.client_id"


def test_packet_size(broker, name):
    login = (broker.user, broker.password)
    fits = raw.publish("a", "x" * (4096 - 6))
    assert len(fits) == 4096
    packets = [fits, raw.publish("a", "x" * 5000)]
    end = ended_by(broker, name, login, packets, "limit.packet_size", "invalid param")
    assert end["detail"]["limit"] == 4096
    assert end["detail"]["packetsIn"] == 2, "CONNECT and the packet that fitted"


def test_packet_size_of_a_connect(broker, name):
    with raw.Client(broker) as c:
        c.send(raw.connect(name, broker.user, "x" * 5000))
        c.wait_closed()
    wait_until(lambda: [r for r in unidentified(broker) if r["peer"] == c.peer] or broker.trace(name))


def test_receive_maximum(broker, name):
    """Five unfinished QoS 2 messages where four are allowed."""
    login = (broker.user, broker.password)
    packets = [raw.publish("a", "x", 2, i) for i in range(1, 6)]
    end = ended_by(broker, name, login, packets, "limit.receive_maximum", "invalid param")
    assert (end["detail"]["limit"], end["detail"]["actual"]) == (4, 5)


# ---- closed by server ----


def test_subscriptions(broker, name):
    login = (broker.user, broker.password)
    packets = [raw.subscribe(1, ("a", 0), ("b", 0), ("a", 1)), raw.subscribe(2, ("c", 0), ("d", 0))]
    end = ended_by(broker, name, login, packets, "limit.subscriptions", "closed by server")
    assert end["detail"]["limit"] == 3


def test_connections(new_broker):
    broker = new_broker("--max-connections", "3")
    clients = []
    for i in range(4):  # one after the other: of those that come together any may be the one too many
        clients.append(raw.Client(broker))
        clients[i].login(f"c{i}", expect=0 if i < 3 else 3)
    end = broker.wait_causes("c3", "limit.connections")[0]
    assert end["description"] == "closed by server" and end["detail"]["limit"] == 3
    clients[0].bye()
    broker.wait_causes("c0", "accepted.new", "client.normal")

    def there_is_room():  # the record is there before the descriptor is closed
        with raw.Client(broker) as again:
            again.send(raw.connect("c4", broker.user, broker.password))
            if again.receive(raw.CONNACK).reason != 0:
                return False
            again.bye()
            return True

    wait_until(there_is_room)
    for c in clients:
        c.socket.close()
    broker.stop()


def test_kick(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        broker.request("POST", broker.device_path(name) + "/kick", 204)
        c.wait_closed()
    end = broker.wait_causes(name, "accepted.new", "admin.kick")[1]
    assert end["description"] == "closed by server" and end["endedBy"] == "admin"
    assert end["detail"]["by"]
    broker.request("POST", broker.device_path(name) + "/kick", 404)


# ---- the unidentified ----


def unidentified(broker):
    return broker.all_items("/unidentified")


def wait_unidentified(broker, peer):
    rows = wait_until(lambda: [r for r in unidentified(broker) if r["peer"] == peer], what=f"a row of {peer}")
    assert len(rows) == 1 and rows[0]["verdict"]["text"]
    return rows[0]


def test_handshake_empty(broker):
    with raw.Client(broker, source="127.0.1.1") as c:
        c.fin()
    assert wait_unidentified(broker, c.peer)["cause"] == "handshake.empty"
    with raw.Client(broker, source="127.0.1.1") as c:
        c.reset()
    assert wait_unidentified(broker, c.peer)["cause"] == "handshake.empty"


def test_handshake_timeout(broker):
    with raw.Client(broker, source="127.0.1.2") as silent, raw.Client(broker, source="127.0.1.2") as slow:
        slow.send(raw.connect("slow", "alice", SECRETS[2])[:20])
        silent.wait_closed()
        slow.wait_closed()
    assert wait_unidentified(broker, silent.peer)["cause"] == "handshake.timeout"
    row = wait_unidentified(broker, slow.peer)
    assert row["cause"] == "handshake.timeout" and row["detail"]["bytesIn"] == 20


def test_handshake_incomplete(broker):
    with raw.Client(broker, source="127.0.1.3") as c:
        c.send(raw.connect("incomplete", "alice", SECRETS[2])[:20])
        c.fin()
    assert wait_unidentified(broker, c.peer)["cause"] == "handshake.incomplete"


@pytest.mark.parametrize(
    "first,looks",
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
        (b"SSH-2.0-x\r\n", "SSH"),
        (raw.publish("a", "b"), "PUBLISH of MQTT"),
        (raw.subscribe(1, ("a", 0)) + raw.pingreq(), "SUBSCRIBE of MQTT"),
        (raw.pingreq() + b"nothing whole", None),
        (raw.connect("x", name="NOPE"), None),
    ],
)
def test_handshake_not_mqtt(broker, first, looks):
    with raw.Client(broker, source="127.0.1.4") as c:
        c.send(first)
        c.wait_closed()
    row = wait_unidentified(broker, c.peer)
    assert row["cause"] == "handshake.not_mqtt"
    assert first.hex().startswith(row["detail"]["firstBytes"])
    assert (looks is None) == ("looksLike" not in row["detail"])
    if looks:
        assert looks in row["detail"]["looksLike"] and looks in row["verdict"]["text"]


def test_many_of_one_source_are_collapsed(new_broker):
    """20 rows, the rest one row with a count; told at the end of the minute, or at the start after a stop."""
    broker = new_broker()
    for _ in range(50):
        raw.Client(broker, source="127.0.1.5").fin()
    for i in range(30):
        with raw.Client(broker, source="127.0.1.6") as c:
            c.login(f"guess-{i}", "mallory", SECRETS[1], expect=4)
    wait_until(lambda: len(unidentified(broker)) >= 20)
    broker.restart()

    def counts():
        rows = [r for r in unidentified(broker) if r["cause"] == "handshake.empty"]
        return rows if sum(r["count"] for r in rows) == 50 else None

    rows = wait_until(counts, 75, "50 counted connections")
    assert 21 <= len(rows) <= 42, "20 rows and a sum, in one minute or two"
    guesses = [r for i in range(30) for r in broker.trace(f"guess-{i}")]
    sums = [r["count"] for r in unidentified(broker) if r["cause"] == "auth.unknown_identity"]
    assert len(guesses) + sum(sums) == 30
    broker.stop()


# ---- all of them ----


def test_no_secret_anywhere(broker):
    """Runs behind the others: all records and the log of this module's broker."""
    secrets = [*SECRETS, broker.password, broker.bootstrap["api_token"], broker.bootstrap["console_password"]]
    everything = json.dumps(broker.events()) + json.dumps(unidentified(broker)) + broker.log()
    assert len(everything) > 50000
    for secret in secrets:
        assert secret not in everything
        assert secret.encode().hex() not in everything, "nor as evidence bytes"


def test_every_channel_has_one_connect_and_one_ending(broker):
    def all_ended():
        channels = check_channels(broker.events())
        return all(rows[-1]["action"] != "connect" for rows in channels.values())

    wait_until(all_ended, what="every channel has an ending")
    assert broker.api("/devices", online="true")["total"] == 0


def test_the_store_keeps_no_password(broker):
    for path in (broker.data / "store").rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        for secret in SECRETS:
            assert secret.encode() not in content, path
