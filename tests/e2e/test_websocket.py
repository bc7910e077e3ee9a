"""MQTT over WebSocket: the upgrade and its refusals, frames, each way to end, and real clients, plain and over TLS."""

import socket
import ssl
import subprocess

import pytest

from harness import raw, ws
from harness.certs import Authority
from harness.wait import wait_until

BROKER_ARGS = ("--ws", "127.0.0.1:0", "--connect-timeout", "2s")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def tls(ca):
    """Arguments for a wss listener, and the client's context."""
    cert, key = ca.issue("server", san="DNS:localhost,IP:127.0.0.1")
    args = ["--wss", "127.0.0.1:0", "--tls-certificate", str(cert), "--tls-key", str(key)]
    return args, ssl.create_default_context(cafile=str(ca.cert))


def client(broker, name=None, over=None, **kwargs):
    c = raw.Client(broker, over=over or ws.connect(broker))
    if name is not None:
        c.login(name, **kwargs)
    return c


def refused(broker, cause, words):
    """The evidence of the unidentified connection of that cause with those words, once it is there."""

    def rows():
        found = [r["detail"] for r in broker.api("/unidentified", limit=200)["items"] if r["cause"] == cause]
        return [d for d in found if words in d.get("text", "")]

    return wait_until(rows, 15, f"{cause} {words}")[0]


def plain(broker):
    return socket.create_connection(broker.listener("ws"), timeout=60)


# ---- messages ----


def exchange(broker, c, topic):
    c.send(raw.subscribe(1, (topic, 2)))
    c.receive(raw.SUBACK)
    for size in (0, 1, 100, 125, 126, 1000, 16384, 65536, 300_000, 900_000):
        c.send(raw.publish(topic, b"x" * size, 1, 5))
        got = [c.receive(), c.receive()]
        assert {p.kind for p in got} == {raw.PUBACK, raw.PUBLISH}
        p = next(p for p in got if p.kind == raw.PUBLISH)
        assert p.payload == b"x" * size
        c.send(raw.ack(raw.PUBACK, p.packet_id))


def test_plain(broker, name):
    with client(broker, name) as c:
        exchange(broker, c, name)
        c.bye()
    first, last = broker.wait_causes(name, "accepted.new", "client.normal")
    assert (first["transport"], first["listener"]) == ("ws", "ws")
    assert first["peer"] == last["peer"] == c.peer


def test_over_tls(new_broker, tls):
    args, context = tls
    broker = new_broker(*args)
    with client(broker, "secure", ws.connect(broker, "wss", context=context)) as c:
        exchange(broker, c, "t")
        c.bye()
    first = broker.wait_causes("secure", "accepted.new", "client.normal")[0]
    assert (first["transport"], first["listener"]) == ("wss", "wss")
    assert first["detail"]["tlsVersion"] == "TLSv1.3" and first["detail"]["tlsServerName"] == "localhost"
    for how, cause in (("close", "peer.ws_closed"), ("notify", "peer.tls_closed"), ("fin", "peer.tls_truncated")):
        c = client(broker, how, ws.connect(broker, "wss", context=context))
        if how == "close":
            c.socket.send_frame(ws.close_payload(1001), ws.CLOSE)
            assert c.socket.wait_close() == (1001, "")
        elif how == "notify":
            with pytest.raises(ssl.SSLError):  # our close frame comes before our close_notify
                c.socket.socket.unwrap()
        else:
            c.socket.socket.shutdown(socket.SHUT_WR)
        broker.wait_causes(how, "accepted.new", cause)
        c.socket.close()
    broker.stop()


def test_many_packets_in_a_frame_and_the_reverse(broker, name):
    """What a busy client sends byte by byte arrives as what it sends at once; answers of one round are one frame."""
    packets = raw.subscribe(1, (name, 0)) + b"".join(raw.publish(name, str(i)) for i in range(50)) + raw.pingreq()
    with client(broker, name) as c:
        for byte in packets:
            c.socket.socket.sendall(ws.frame(bytes([byte])))
        c.receive(raw.SUBACK)
        assert [p.payload for p in c.receive_all(50)] == [b"%d" % i for i in range(50)]
        c.receive(raw.PINGRESP)
        before = c.socket.frames
        c.send(packets)
        c.receive(raw.SUBACK)
        assert [p.payload for p in c.receive_all(50)] == [b"%d" % i for i in range(50)]
        c.receive(raw.PINGRESP)
        assert c.socket.frames - before < 20
        c.bye()


def test_fragments_and_control_frames(broker, name):
    with client(broker) as c:
        packet = raw.connect(name, broker.user, broker.password)
        c.socket.send_frame(packet[:5], fin=False)
        c.socket.send_frame(b"hello", ws.PING)
        c.socket.send_frame(packet[5:9], ws.CONTINUATION, fin=False)
        c.socket.send_frame(b"nobody asked", ws.PONG)
        c.socket.send_frame(b"", ws.CONTINUATION, fin=False)
        c.socket.send_frame(packet[9:], ws.CONTINUATION)
        c.receive(raw.CONNACK)
        assert c.socket.pongs == [b"hello"]
        c.bye()


def test_slow_reader(broker, name):
    """More than the kernel takes: frames go on where they stopped, and pongs find their place."""
    with client(broker, name) as reader, client(broker, name + "-w") as writer:
        reader.send(raw.subscribe(1, (name, 1)))
        reader.receive(raw.SUBACK)
        for i in range(40):
            writer.send(raw.publish(name, b"%06d" % i * 30_000, 1, 1 + i))
            writer.receive(raw.PUBACK)
        for i in range(200):
            reader.socket.send_frame(b"%d" % i, ws.PING)
        for i in range(40):
            p = reader.receive(raw.PUBLISH)
            assert p.payload == b"%06d" % i * 30_000
            reader.send(raw.ack(raw.PUBACK, p.packet_id))
        reader.nothing()
        assert reader.socket.pongs[-1] == b"199"
        reader.bye()


def test_pipelined_behind_the_upgrade(broker, name):
    with plain(broker) as s:
        s.sendall(ws.request() + ws.frame(raw.connect(name, broker.user, broker.password) + raw.pingreq()))
        got = b""
        while not got.endswith(b"\xd0\x00"):
            got += s.recv(1000)
        assert got.startswith(b"HTTP/1.1 101 ") and b"\x20\x02\x00\x00" in got
    broker.wait_causes(name, "accepted.new", "peer.fin")


def test_byte_by_byte(broker, name):
    with plain(broker) as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in ws.request("/mqtt?token=1") + ws.frame(raw.connect(name, broker.user, broker.password)):
            s.sendall(bytes([byte]))
        got = b""
        while not got.endswith(b"\x20\x02\x00\x00"):
            got += s.recv(1000)
        s.sendall(ws.frame(raw.disconnect()))
    broker.wait_causes(name, "accepted.new", "client.normal")


# ---- refused upgrades ----


@pytest.mark.parametrize(
    "request_, status, words",
    (
        (ws.request("/", Upgrade=None), 426, "got a plain GET of /"),
        (ws.request("/chat"), 404, "path: expected /mqtt, got /chat"),
        (ws.request(method="PUT"), 405, "expected GET, got PUT"),
        (ws.request(Sec_WebSocket_Version="8"), 426, "header Sec-WebSocket-Version: expected 13, got 8"),
        (ws.request(Sec_WebSocket_Protocol=None), 400, "header Sec-WebSocket-Protocol: expected mqtt among them, got nothing"),
        (ws.request(Sec_WebSocket_Protocol="chat"), 400, "got chat"),
        (ws.request(Sec_WebSocket_Key="x"), 400, "header Sec-WebSocket-Key"),
        (ws.request(X_Long="x" * 9000), 431, "at most 8192 bytes"),
        (raw.connect("lost"), 400, "looks like MQTT without WebSocket"),
    ),
)
def test_refusals(broker, request_, status, words):
    with plain(broker) as s:
        answer = ws.ask(s, request_)
        assert answer.status == status and words in answer.text, answer.text
        assert answer.headers["content-type"] == "text/plain"
        if status == 426:
            assert answer.headers["upgrade"] == "websocket"
        assert s.recv(100) == b""
    assert refused(broker, "handshake.websocket", words)


def test_http_on_the_mqtt_port(broker):
    with socket.create_connection((broker.host, broker.port), timeout=60) as s:
        s.sendall(ws.request())
        assert s.recv(100) == b""
    wait_until(
        lambda: [
            r for r in broker.api("/unidentified", limit=200)["items"]
            if r["cause"] == "handshake.not_mqtt" and r["detail"].get("looksLike") == "HTTP request"
        ],
        15,
    )  # fmt: skip


def test_unfinished_upgrades(broker):
    idle, half = plain(broker), plain(broker)
    half.sendall(b"GET /mqtt HTTP/1.1\r\nHo")
    late = ws.connect(broker)  # the upgrade alone is no CONNECT
    for s in (idle, half):
        assert s.recv(100) == b""
        s.close()
    assert late.wait_close() == (1008, "")
    with plain(broker) as s:
        s.sendall(b"GET /mqtt HTTP")
    assert refused(broker, "handshake.websocket", "in the middle of its upgrade request")

    def awaited():
        rows = broker.api("/unidentified", limit=200)["items"]
        return [r["detail"].get("expected") for r in rows if r["cause"] == "handshake.timeout"]

    wait_until(lambda: len(awaited()) == 3, 15)
    assert sorted(map(str, awaited())) == ["None", "a WebSocket upgrade request", "a WebSocket upgrade request"]


# ---- ways to end ----


def test_client_closes(broker, name):
    with client(broker, name) as c:
        c.socket.send_frame(ws.close_payload(1001, "page closed"), ws.CLOSE)
        assert c.socket.wait_close() == (1001, "")
        c.socket.wait_end()
    row = broker.wait_causes(name, "accepted.new", "peer.ws_closed")[1]
    assert row["endedBy"] == "client" and row["detail"]["layerCode"] == 1001
    assert 'going away; reason "page closed"' in row["verdict"]["text"]


def test_client_ends_without_close_frame(broker, name):
    client(broker, name).fin()
    broker.wait_causes(name, "accepted.new", "peer.fin")
    client(broker, name + "r").reset()
    broker.wait_causes(name + "r", "accepted.new", "peer.reset")


def test_disconnect(broker, name):
    """DISCONNECT, then the close handshake, from either side."""
    with client(broker, name) as c:
        c.send(raw.disconnect())
        c.socket.send_frame(ws.close_payload(1000), ws.CLOSE)
        assert c.socket.wait_close() == (1000, "")
    broker.wait_causes(name, "accepted.new", "client.normal")
    with client(broker, name + "w") as c:
        c.send(raw.disconnect())
        assert c.socket.wait_close() == (1000, "")  # it waits for the client, not for ever
    broker.wait_causes(name + "w", "accepted.new", "client.normal")


@pytest.mark.parametrize(
    "bytes_, code, words",
    (
        (ws.frame(b"{}", ws.TEXT), 1003, "text frame"),
        (ws.frame(raw.pingreq(), mask=False), 1002, "not masked"),
        (ws.frame(raw.pingreq(), rsv=4), 1002, "reserved bits"),
        (ws.frame(b"", 3), 1002, "opcode that does not exist"),
        (ws.frame(b"x" * 126, ws.PING), 1002, "longer than 125 bytes"),
        (ws.frame(b"x", ws.PING, fin=False), 1002, "control frame in fragments"),
        (ws.frame(b"x", ws.CONTINUATION), 1002, "continuation frame of nothing"),
    ),
    ids=lambda value: value if isinstance(value, str) else "",  # the masks are random
)
def test_breaches(broker, name, bytes_, code, words):
    with client(broker, name) as c:
        c.socket.socket.sendall(bytes_)
        assert c.socket.wait_close()[0] == code and words in c.socket.closed[1]
        c.socket.wait_end()
    row = broker.wait_causes(name, "accepted.new", "protocol.websocket")[1]
    assert words in row["detail"]["text"] and row["detail"]["layerCode"] == code and row["endedBy"] == "server"


def test_breach_before_connect(broker):
    with ws.connect(broker) as s:
        s.send_frame(b"hello", ws.TEXT)
        assert s.wait_close()[0] == 1003
    assert refused(broker, "protocol.websocket", "text frame")


def test_pings_are_no_keepalive(broker, name):
    with client(broker, name, keepalive=1) as c:
        c.socket.settimeout(0.3)
        c.seconds = 10
        while True:
            try:
                if c.socket.recv(1) == b"":
                    break
            except TimeoutError:
                c.socket.send_frame(b"alive", ws.PING)
        assert c.socket.closed == (1008, "") and c.socket.pongs
    broker.wait_causes(name, "accepted.new", "keepalive.expired")


def test_we_ping(new_broker):
    """Silent connections get pings; they are answered and do not count as MQTT's sign of life."""
    broker = new_broker("--ws", "127.0.0.1:0", "--ws-ping", "200ms")
    with client(broker, "quiet", keepalive=1) as c:
        pings = 0
        while (got := c.socket.read_frame()) is not None and got[0] != ws.CLOSE:
            assert got == (ws.PING, b"")
            c.socket.send_frame(b"", ws.PONG)
            pings += 1
        assert pings >= 3 and got[1][:2] == b"\x03\xf0"
    broker.wait_causes("quiet", "accepted.new", "keepalive.expired")
    with client(broker, "forever", keepalive=0) as c:
        for _ in range(3):
            assert c.socket.read_frame() == (ws.PING, b"")
        c.bye()
    broker.stop()


def test_we_end(broker, name):
    """The MQTT words first, where there are some, then a close code that fits."""
    with client(broker, name, level=5) as c:
        broker.request("POST", broker.device_path(name) + "/kick", 204)
        assert c.receive(raw.DISCONNECT).reason == 0x98
        assert c.socket.wait_close() == (1008, "")
    with client(broker, name) as c:
        c.send(raw.publish("t", b"x" * 1_100_000, 1, 1))
        assert c.socket.wait_close() == (1009, "")
    with client(broker, name) as c:
        c.send(b"\x31\x03\x00\x05x")
        assert c.socket.wait_close() == (1002, "")
    with client(broker) as c:
        c.send(raw.connect(name, broker.user, "wrong"))
        assert c.receive(raw.CONNACK).body == b"\x00\x04"
        assert c.socket.wait_close() == (1008, "")
    causes = [r["cause"] for r in broker.wait_trace(name, 7)]
    assert causes[1::2][:2] == ["admin.kick", "limit.packet_size"] and causes[-1] == "auth.bad_password"


def test_shutdown(new_broker):
    broker = new_broker("--ws", "127.0.0.1:0")
    c, five = client(broker, "three"), client(broker, "five", level=5)
    broker.stop()
    assert c.socket.wait_close() == (1001, "")
    assert five.receive(raw.DISCONNECT).reason == 0x8B
    assert five.socket.wait_close() == (1001, "")
    broker.start()
    for who in ("three", "five"):
        broker.wait_causes(who, "accepted.new", "server.shutdown")
    broker.stop()


# ---- listeners ----


def test_listeners_of_a_file(new_broker, tmp_path):
    path = tmp_path / "ws.sock"
    config = tmp_path / "tracemq.yaml"
    config.write_text(
        f"websocket: {{path: /default, origins: 'https://a.example'}}\n"
        f"listeners:\n"
        f"  - {{name: own, protocol: ws, address: '127.0.0.1:0', path: /other, origins: ''}}\n"
        f"  - {{name: file, protocol: ws, address: 'unix:{path}'}}\n"
    )
    broker = new_broker("--config", str(config))
    with client(broker, "own", ws.connect(broker, "own", ws.request("/other", Origin="https://b.example"))) as c:
        c.bye()
    with client(broker, "file", ws.connect(broker, "file", ws.request("/default", Origin="https://a.example"))) as c:
        c.bye()
    row = broker.wait_causes("file", "accepted.new", "client.normal")[0]
    assert (row["transport"], row["listener"], row["peer"]) == ("ws", "file", "unix")
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(path))
    answer = ws.ask(s, ws.request("/default", Origin="https://b.example"))
    assert answer.status == 403 and "https://b.example" in answer.text
    s.close()
    assert refused(broker, "handshake.websocket", "header Origin: https://b.example")["text"].endswith(
        "(path /default, Origin https://b.example)"
    )
    broker.stop()


def endpoints(broker):
    return {e["protocol"] for e in broker.api("/api/v1/instances")["items"][0]["endpoints"]} & {"mqtt", "mqtts", "ws", "wss"}


def test_only_what_is_named_is_opened(new_broker):
    broker = new_broker()
    assert endpoints(broker) == {"mqtt"}
    broker.stop()
    broker.args = ["--ws", "127.0.0.1:0"]
    broker.start()
    assert endpoints(broker) == {"mqtt", "ws"}
    broker.stop()


@pytest.mark.parametrize(
    "option, value, words",
    (
        ("--ws-path", "mqtt", "a path that begins with a slash"),
        ("--ws-path", "/a?b", "a path that begins with a slash"),
        ("--ws-origins", "a.example", "origins as https://host:port"),
        ("--wss", "127.0.0.1:0", "0 certificate files"),
    ),
)
def test_bad_options(new_broker, option, value, words):
    broker = new_broker(option, value, start=False)
    done = subprocess.run(broker.command(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and words in done.stderr, done.stderr
