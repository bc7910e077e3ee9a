"""
Independent clients over each transport, with each version that they speak: Eclipse Paho, MQTT.js, and Mosquitto's own. What a
fleet does with them, and what the history then tells of each.
"""

import shutil
import subprocess
import threading

import pytest

from harness.broker import Broker
from harness.certs import Authority
from harness.clients import NODE, MqttJs, Node, Paho, Will
from harness.peer import Peer
from harness.wait import wait_until

TRANSPORTS = {"mqtt": "tcp", "mqtts": "tls", "ws": "ws", "wss": "wss"}  # as in the history
VERSIONS = {3: "mqttv31", 4: "mqttv311", 5: "mqttv5"}  # as Mosquitto's clients call them
SIZES = (0, 1, 200_000)
PROPS = {
    "ContentType": "text/plain", "ResponseTopic": "answer/to", "CorrelationData": b"\x00\xff corr", "PayloadFormatIndicator": 1,
    "UserProperty": [("a", "1"), ("a", "2"), ("ü", "")],
}  # fmt: skip


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def broker(ca, tmp_path_factory):
    cert, key = ca.issue("server", san="DNS:localhost,IP:127.0.0.1")
    b = Broker(tmp_path_factory.mktemp("clients"), "--mqtts", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--wss", "127.0.0.1:0",
               "--tls-certificate", str(cert), "--tls-key", str(key))  # fmt: skip
    yield b.start()
    b.stop()


@pytest.fixture(scope="module")
def node():
    if not (NODE / "node_modules").exists():
        pytest.skip("MQTT.js is not installed: ./dev test does it")
    n = Node()
    yield n
    n.end()


@pytest.fixture(params=["paho", "mqtt.js"])
def make(request, broker, ca):
    """make(transport, version, client ID, …): a connected client of the library in question."""
    node = request.getfixturevalue("node") if request.param == "mqtt.js" else None

    def make(transport, *args, **kwargs):
        trust = ca.cert if transport in ("mqtts", "wss") else None
        if node:
            return MqttJs(node, broker, transport, *args, ca=trust, **kwargs)
        return Paho(broker, transport, *args, ca=trust, **kwargs)

    return make


def told(broker, client_id, transport, version, *causes):
    """The device's history: who did what how, over which transport."""
    records = broker.wait_causes(client_id, *causes)
    assert {r["transport"] for r in records} == {TRANSPORTS[transport]}
    assert {r["listener"] for r in records} == {transport}
    assert {r["protocol"] for r in records} == {{3: "3.1", 4: "3.1.1", 5: "5.0"}[version]}
    return records


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_life(broker, make, name, transport, version):
    here, there = f"{name}/here", f"{name}-kept"
    sub = make(transport, version, name + "-s", clean=False)
    assert not sub.present
    assert sub.subscribe(here + "/#", 2) == [2]
    pub = make(transport, version, name + "-p", will=Will(here + "/will", b"gone", 1))

    sent = [(qos, size) for qos in (0, 1, 2) for size in SIZES]
    for qos, size in sent:
        pub.publish(f"{here}/{qos}/{size}", b"x" * size, qos)
    for qos, size in sent:
        got = sub.message()
        assert (got.topic, len(got.payload), got.qos, got.retain) == (f"{here}/{qos}/{size}", size, qos, False)
        assert got.payload == b"x" * size

    pub.publish(there, b"kept", 1, retain=True)
    assert sub.subscribe(there, 1) == [1]
    got = sub.message()
    assert (got.topic, got.payload, got.qos, got.retain) == (there, b"kept", 1, True)

    pub.drop()
    got = sub.message()
    assert (got.topic, got.payload, got.qos, got.retain) == (here + "/will", b"gone", 1, False)

    sub.end()
    broker.wait_causes(name + "-s", "accepted.new", "client.normal")
    with Peer(broker, name + "-x") as x:
        for qos in (1, 2):
            x.publish(f"{here}/away", b"%d" % qos, qos)
        x.bye()
    sub = make(transport, version, name + "-s", clean=False)
    assert sub.present or version == 3  # whose CONNACK does not say it
    assert [(m.payload, m.qos) for m in (sub.message(), sub.message())] == [(b"1", 1), (b"2", 2)]
    sub.end()

    told(broker, name + "-s", transport, version, "accepted.new", "client.normal", "accepted.resumed", "client.normal")
    last = broker.wait_trace(name + "-p", 2)[-1]["cause"]
    assert last in {"peer.fin", "peer.reset", "peer.tls_truncated", "peer.tls_closed"}
    told(broker, name + "-p", transport, version, "accepted.new", last)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_properties(broker, make, name, transport):
    with Peer(broker, name + "-x") as x:
        sub, pub = make(transport, 5, name + "-s"), make(transport, 5, name + "-p")
        assert sub.subscribe(name, 1, SubscriptionIdentifier=77) == [1]
        pub.publish(name, "grüße".encode(), 1, MessageExpiryInterval=100, **PROPS)
        got = sub.message()
        assert got.payload.decode() == "grüße"
        assert got.props.pop("SubscriptionIdentifier") == [77]
        assert 95 <= got.props.pop("MessageExpiryInterval") <= 100
        assert got.props == PROPS
        for c in (sub, pub):
            c.end()
        x.bye()
    for end in "sp":
        told(broker, f"{name}-{end}", transport, 5, "accepted.new", "client.normal")


# ---- Mosquitto's, which speak no WebSocket ----


def mosquitto(broker, ca, program, transport, version, client_id, *words):
    host, port = broker.listener(transport)
    trust = ["--cafile", str(ca.cert)] if transport == "mqtts" else []
    return [f"mosquitto_{program}", "-h", "localhost" if trust else host, "-p", str(port), "-u", broker.user,
            "-P", broker.password, "-V", VERSIONS[version], "-i", client_id, *trust, *words]  # fmt: skip


def pub(broker, ca, *args, data=b""):
    command = mosquitto(broker, ca, "pub", *args, "-s" if data else "-n")
    subprocess.run(command, input=data, check=True, timeout=60, capture_output=True)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("transport", ["mqtt", "mqtts"])
@pytest.mark.skipif(shutil.which("mosquitto_sub") is None, reason="mosquitto_sub is not installed")
def test_mosquitto(broker, ca, name, transport, version):
    kept = ["-x", "3600"] if version == 5 else []
    words = ["-c", "-q", "2", "-t", name + "/#", "-F", "%t %q %r %l", "-W", "60", *kept]
    command = mosquitto(broker, ca, "sub", transport, version, name + "-s", *words, "-C", "10")
    pub(broker, ca, transport, version, name + "-r", "-q", "1", "-r", "-t", name + "/kept", data=b"kept")
    sub, lines = subprocess.Popen(command, stdout=subprocess.PIPE, text=True), []
    reader = threading.Thread(target=lambda: lines.extend(sub.stdout), daemon=True)
    reader.start()
    wait_until(lambda: lines, 20, "the retained message")
    sent = [(qos, size) for qos in (0, 1, 2) for size in SIZES]
    for qos, size in sent:
        pub(broker, ca, transport, version, name + "-p", "-q", str(qos), "-t", f"{name}/{qos}/{size}", data=b"x" * size)
    assert sub.wait(60) == 0
    reader.join(60)
    assert sorted(lines) == sorted([f"{name}/kept 1 1 4\n"] + [f"{name}/{q}/{n} {q} 0 {n}\n" for q, n in sent])

    broker.wait_causes(name + "-s", "accepted.new", "client.normal")
    for qos in (1, 2):  # while it is away
        pub(broker, ca, transport, version, name + "-p", "-q", str(qos), "-t", f"{name}/away", data=b"x" * qos)
    command = mosquitto(broker, ca, "sub", transport, version, name + "-s", *words, "-R", "-C", "2")
    out = subprocess.run(command, check=True, timeout=60, capture_output=True, text=True).stdout
    assert out == f"{name}/away 1 0 1\n{name}/away 2 0 2\n"
    told(broker, name + "-s", transport, version, "accepted.new", "client.normal", "accepted.resumed", "client.normal")
