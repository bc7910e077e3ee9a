"""What a stop and a crash leave in the history, and what comes back afterwards."""

import resource
import signal

from harness import raw
from harness.broker import SANITIZED
from harness.crowd import Crowd
from harness.peer import Peer
from harness.wait import wait_until


def test_server_shutdown(new_broker):
    broker = new_broker()
    clients = [raw.Client(broker) for _ in range(5)]
    for i, c in enumerate(clients):
        c.login(f"d{i}")
    half = raw.Client(broker)
    half.send(raw.connect("half")[:5])
    broker.restart()
    for c in clients:
        assert c.wait_closed() == []
    for i in range(5):
        end = broker.wait_causes(f"d{i}", "accepted.new", "server.shutdown")[1]
        assert end["description"] == "ServerShutdown" and end["action"] == "close" and end["endedBy"] == "server"
        assert broker.status(f"d{i}")["online"] is False
    broker.stop()


def test_mqtt5_clients_are_told(new_broker):
    broker = new_broker()
    clients = [Peer(broker, f"five{i}") for i in range(4)]
    old = Peer(broker, "four", 4)
    broker.process.send_signal(signal.SIGTERM)
    for c in clients:
        assert c.ended(0x8B).props["reason_string"] == "the broker is being stopped"
    old.ended()
    broker.process.wait(60)
    broker.process = None
    broker.start()
    for name in ("five0", "five1", "five2", "five3", "four"):
        assert broker.wait_causes(name, "accepted.new", "server.shutdown")[1]["detail"]["closedFirst"] == "server"
    broker.stop()


def test_wills_of_a_stop(new_broker):
    """The connections end without DISCONNECT of their clients: wills go out. One that is to wait does, over the stop."""
    broker = new_broker()
    with Peer(broker, "listener", durable=True) as listener:
        listener.subscribe("will/#", options=1)
        listener.bye()
    kinds = {"now": None, "soon": {"will_delay": 1}, "later": {"will_delay": 3000}}
    open_ones = [
        Peer(broker, kind, durable=True, will=(f"will/{kind}", kind, 1, False), will_props=props)
        for kind, props in kinds.items()
    ]
    open_ones.append(Peer(broker, "four", 4, will=("will/four", "four", 0, False)))
    Peer(broker, "polite", will=("will/polite", "never", 1, False)).bye()
    broker.wait_causes("polite", "accepted.new", "client.normal")
    broker.restart()
    for c in open_ones:
        c.socket.close()
    assert broker.wait_causes("now", "accepted.new", "server.shutdown")[1]["detail"]["willSent"] is True
    later = broker.wait_causes("later", "accepted.new", "server.shutdown")[1]
    assert later["detail"]["willDelay"] == 3000 and "willSent" not in later["detail"]
    with Peer(broker, "listener", durable=True) as listener:
        got = {listener.get().topic for _ in range(2)}
        assert got == {"will/now", "will/soon"}, "QoS 0 does not wait for who is away"
        back = Peer(broker, "later", durable=True)  # in time: it is not dead
        back.bye()
        listener.nothing(0)
        listener.bye()
    broker.stop()


def test_a_stop_with_many_and_with_slow_readers(new_broker):
    """Within ten seconds, as stop() checks; every one has its record."""
    count = 10000 if resource.getrlimit(resource.RLIMIT_NOFILE)[1] > 12000 and not SANITIZED else 500
    broker = new_broker("--max-output-bytes", "16MiB")
    crowd = Crowd(broker, count, "127.0.0.1", "many")
    crowd.wait_connected()
    slow = [raw.stuck_subscriber(broker, f"slow{i}", "t") for i in range(50)]
    with Peer(broker, "pub") as pub:
        for _ in range(100):
            pub.send(pub.packet("t", bytes(65536)))
        pub.publish("t", b"", 1)
    broker.restart()
    crowd.vanish()
    for c in slow:
        c.socket.close()
    page = broker.api("/events", cause="server.shutdown", limit=1)
    assert page["total"] == count + 50 or (page.get("totalAtLeast") and page["total"] >= 10000)
    assert broker.api("/events", cause="server.crash", limit=1)["total"] == 0
    assert broker.wait_causes("slow49", "accepted.new", "server.shutdown")[1]["detail"]["closedFirst"] == "server"
    assert broker.wait_causes(f"many-{count - 1}", "accepted.new", "server.shutdown")
    broker.stop()


def test_server_crash(new_broker):
    broker = new_broker()
    clients = [raw.Client(broker) for _ in range(5)]
    for i, c in enumerate(clients):
        c.login(f"d{i}")
    with raw.Client(broker) as gone:
        gone.login("gone")
        gone.bye()
    broker.wait_causes("gone", "accepted.new", "client.normal")
    for i in range(5):
        broker.wait_causes(f"d{i}", "accepted.new")
    broker.kill9()
    broker.start()
    for i in range(5):
        connect, end = broker.wait_causes(f"d{i}", "accepted.new", "server.crash")
        assert end["description"] == "ServerShutdown" and end["action"] == "close"
        assert connect["time"] <= end["detail"]["lastAlive"] <= end["time"]
        assert end["connectedAt"] == connect["time"]
        status = broker.status(f"d{i}")
        assert status["online"] is False and status["lastCause"] == "server.crash"
    broker.wait_causes("gone", "accepted.new", "client.normal")
    seqs = [r["seq"] for r in broker.events()]
    assert seqs == list(range(1, len(seqs) + 1)), "no hole, nothing twice"
    # Once told, never again.
    broker.kill9()
    broker.start()
    broker.wait_causes("d0", "accepted.new", "server.crash")
    broker.stop()


def test_wills_after_a_crash(new_broker):
    """The wills of channels that a crash ended go out after the restart."""
    broker = new_broker()
    with raw.Client(broker) as c:
        c.login("listener", clean=False)
        c.send(raw.subscribe(1, ("will/#", 1)))
        c.receive(raw.SUBACK)
        c.bye()
    owner = raw.Client(broker)
    owner.login("owner", will=("will/owner", "gone", 1, True), clean=False)
    broker.wait_causes("owner", "accepted.new")
    broker.kill9()
    broker.start()
    with raw.Client(broker) as c:
        assert c.login("listener", clean=False) is True
        got = c.receive(raw.PUBLISH)
        assert (got.topic, got.payload, got.qos) == ("will/owner", b"gone", 1)
        c.send(raw.ack(raw.PUBACK, got.packet_id))
        c.nothing()
        c.bye()
    broker.restart()
    with raw.Client(broker) as c:
        c.login("late")
        c.send(raw.subscribe(1, ("will/#", 0)))
        c.receive(raw.SUBACK)
        assert c.receive(raw.PUBLISH).retain is True
        c.nothing()
        c.bye()
    broker.stop()


def test_bootstrap_stays_the_same(new_broker):
    broker = new_broker()
    first = dict(broker.bootstrap)
    mode = (broker.data / "bootstrap.json").stat().st_mode & 0o777
    assert mode == 0o600
    broker.restart()
    for key in ("url", "mqtt"):
        first.pop(key), broker.bootstrap.pop(key)
    assert broker.bootstrap == first
    assert set(first) == {
        "region", "instance_id", "console_user", "console_password", "api_token",
        "access_key_id", "access_key_secret", "mqtt_username", "mqtt_password",
    }  # fmt: skip
    broker.stop()


def test_settings_and_users_survive_kill_9(new_broker):
    broker = new_broker()
    broker.add_user("eve", "eves-secret", ["eve/#"])
    broker.settings(on_denied="refuse")
    broker.request("POST", "/groups", 201, json={"id": "GID_kept"})
    broker.kill9()
    broker.start()
    with raw.Client(broker) as c:
        c.login("eve-1", "eve", "eves-secret")
        c.send(raw.subscribe(1, ("other", 0)))
        assert c.receive(raw.SUBACK).body[2:] == b"\x80"
        c.bye()
    assert [g["id"] for g in broker.api("/groups")["items"]] == ["GID_kept"]
    wait_until(lambda: len(broker.trace("eve-1")) == 2)
    broker.stop()
