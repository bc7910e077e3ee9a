"""The PROXY protocol: whose address a record has, below TCP, TLS and WebSocket, and what becomes of bad headers."""

import socket
import ssl
import struct
import subprocess

import pytest

from harness import raw, ws
from harness.broker import Broker
from harness.certs import Authority
from harness.wait import wait_until

CLIENT = "198.51.100.7"
V1 = f"PROXY TCP4 {CLIENT} 192.0.2.1 40000 1883\r\n".encode()
SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command, family=0, addresses=b"", entries=b""):
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(addresses + entries)) + addresses + entries


def v2_tcp4(address=CLIENT, port=40000, entries=b"\x04\x00\x02ab"):
    return v2(1, 0x11, socket.inet_aton(address) + socket.inet_aton("192.0.2.1") + struct.pack(">HH", port, 1883), entries=entries)


def entry(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def certified(name, client=3, verify=0):
    """A header that tells of a client certificate, as HAProxy's send-proxy-v2-ssl-cn does."""
    inner = entry(0x21, b"TLSv1.3") + entry(0x22, name.encode()) + entry(0x23, b"TLS_AES_256_GCM_SHA384")
    tls = entry(0x20, struct.pack(">BI", client, verify) + inner)
    return v2_tcp4(entries=entry(2, b"mqtt.example") + tls + entry(5, b"req-42") + entry(0xEA, b"\1vpce-08d2"))


V2_TCP6 = v2(1, 0x21, socket.inet_pton(socket.AF_INET6, "2001:db8::7") * 2 + struct.pack(">HH", 5, 1883))
LOCAL = v2(0)

BROKER_ARGS = ("--proxy-protocol", "on", "--proxy-from", "127.0.0.0/8", "--connect-timeout", "2s")


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))


def dial(broker, header, where=None):
    s = socket.create_connection(where or (broker.host, broker.port), timeout=60)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    s.sendall(header)
    return s


def gone(s):
    """The broker closes; a reset when it had not read all."""
    try:
        while s.recv(100):
            pass
    except ConnectionResetError:
        pass


def near(s):
    return "%s:%d" % s.getsockname()[:2]


def session(broker, name, s):
    """Connects and leaves; both records."""
    with raw.Client(broker, over=s) as c:
        c.login(name)
        c.bye()
    return broker.wait_causes(name, "accepted.new", "client.normal")


def rows(broker, cause, peer, words=""):
    """The unidentified connections of that cause from that address, once there are some."""

    def found():
        items = broker.api("/unidentified", limit=200)["items"]
        return [
            r for r in items
            if r["cause"] == cause and r["peer"].startswith(peer) and words in r["detail"].get("text", "")
        ]  # fmt: skip

    return wait_until(found, 15, f"{cause} from {peer} {words}")


@pytest.mark.parametrize(
    "header, peer",
    (
        (V1, f"{CLIENT}:40000"),
        (b"PROXY TCP6 2001:db8::7 ::1 5 1883\r\n", "[2001:db8::7]:5"),
        (v2_tcp4(), f"{CLIENT}:40000"),
        (V2_TCP6, "[2001:db8::7]:5"),
        (v2(1, 0x31, bytes(216)), "unix"),
    ),
)
def test_the_client_is_the_peer(broker, name, header, peer):
    s = dial(broker, header)
    load_balancer = near(s)
    for row in session(broker, name, s):
        assert (row["peer"], row["proxy"]) == (peer, load_balancer)


@pytest.mark.parametrize("header", (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN some thing\r\n", LOCAL, v2(1)))
def test_no_client_is_named(broker, name, header):
    s = dial(broker, header)
    load_balancer = near(s)
    for row in session(broker, name, s):
        assert (row["peer"], row["proxy"]) == (load_balancer, None)


@pytest.mark.parametrize("header", (V1, v2_tcp4()))
def test_byte_by_byte(broker, name, header):
    s = dial(broker, b"")
    for byte in header + raw.connect(name, broker.user, broker.password):
        s.sendall(bytes([byte]))
    with raw.Client(broker, over=s) as c:
        assert c.receive(raw.CONNACK).body == b"\0\0"
        c.bye()
    assert broker.wait_causes(name, "accepted.new", "client.normal")[0]["peer"] == f"{CLIENT}:40000"


def test_in_one_piece(broker, name):
    s = dial(broker, v2_tcp4() + raw.connect(name, broker.user, broker.password) + raw.pingreq())
    with raw.Client(broker, over=s) as c:
        assert c.receive(raw.CONNACK).body == b"\0\0"
        c.receive(raw.PINGRESP)
        c.bye()
    broker.wait_causes(name, "accepted.new", "client.normal")


def test_ways_to_end(broker, name):
    c = raw.Client(broker, over=dial(broker, V1))
    c.login(name)
    c.fin()
    assert broker.wait_causes(name, "accepted.new", "peer.fin")[1]["peer"] == f"{CLIENT}:40000"
    c = raw.Client(broker, over=dial(broker, V1))
    c.login(name + "r")
    c.reset()
    broker.wait_causes(name + "r", "accepted.new", "peer.reset")
    with raw.Client(broker, over=dial(broker, V1)) as c:
        c.login(name + "p", user=broker.user, password="wrong", expect=4)
    assert broker.wait_causes(name + "p", "auth.bad_password")[0]["proxy"].startswith("127.0.0.1:")


def test_both_ends_of_a_conflict(broker, name):
    first = raw.Client(broker, over=dial(broker, v2_tcp4("203.0.113.1", 1)))
    first.login(name)
    with raw.Client(broker, over=dial(broker, v2_tcp4("203.0.113.2", 2))) as second:
        second.login(name)
        row = next(r for r in broker.wait_trace(name, 3) if r["cause"] == "takeover.same_node")
        assert (row["peer"], row["detail"]["otherPeer"]) == ("203.0.113.1:1", "203.0.113.2:2")
        second.bye()
    first.fin()


@pytest.mark.parametrize(
    "sent, words",
    (
        (raw.connect("lost"), "expected a PROXY header first, got something else; it looks like MQTT"),
        (b"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n", "version 1: expected two addresses"),
        (b"PROXY TCP4 " + b"1" * 100, "version 1: no end of line within 107 bytes"),
        (v2(1, 0x12, bytes(12)), "version 2: expected a family and transport"),
        (v2(1, 0x11, bytes(12), b"\x03\x00\x04\1\2\3\4"), "version 2: the checksum is wrong"),
    ),
)
def test_bad_headers(broker, sent, words):
    with dial(broker, sent) as s:
        peer = near(s)
        gone(s)
    rows(broker, "handshake.proxy", peer, words)


def test_half_a_header(broker):
    with dial(broker, V1[:20]) as s:
        peer = near(s)
    rows(broker, "handshake.proxy", peer, "closed in the middle of the PROXY header")
    with dial(broker, V1[:20]) as s:  # nor does it come in time
        peer = near(s)
        assert s.recv(100) == b""
    assert rows(broker, "handshake.timeout", peer)[0]["detail"]["expected"] == "a PROXY header"


def test_health_checks(broker):
    """LOCAL and the end: nothing but a connection without a byte."""
    for header in (LOCAL, b""):
        with dial(broker, header) as s:
            peer = near(s)
        rows(broker, "handshake.empty", peer)


def test_below_tls_and_websocket(new_broker, ca):
    cert, key = ca.issue("server", san="DNS:localhost")
    context = ssl.create_default_context(cafile=str(ca.cert))
    broker = new_broker(*BROKER_ARGS, "--mqtts", "127.0.0.1:0", "--ws", "127.0.0.1:0", "--wss", "127.0.0.1:0",
                        "--tls-certificate", str(cert), "--tls-key", str(key))  # fmt: skip
    idle = dial(broker, v2_tcp4("203.0.113.8"), broker.listener("mqtts"))
    for listener, tls, web in (("mqtts", True, False), ("ws", False, True), ("wss", True, True)):
        s = dial(broker, V1, broker.listener(listener))
        s = context.wrap_socket(s, server_hostname="localhost") if tls else s
        s = ws.WebSocket(s) if web else s
        row = session(broker, listener, s)[0]
        assert (row["peer"], row["listener"]) == (f"{CLIENT}:40000", listener) and row["proxy"].startswith("127.0.0.1:")
    with dial(broker, V1 + b"GET / HTTP/1.1\r\n\r\n", broker.listener("mqtts")) as s:
        gone(s)
    rows(broker, "handshake.tls", f"{CLIENT}:40000")
    with dial(broker, v2_tcp4("203.0.113.9"), broker.listener("ws")) as s:
        assert ws.ask(s, ws.request("/wrong")).status == 404
    rows(broker, "handshake.websocket", "203.0.113.9:40000")
    gone(idle)
    assert rows(broker, "handshake.timeout", "203.0.113.8:40000")[0]["detail"]["expected"] == "a TLS handshake"
    broker.stop()


def test_who_may_send_one(new_broker, tmp_path):
    path = tmp_path / "lb.sock"
    config = tmp_path / "tracemq.yaml"
    config.write_text(
        f"listeners:\n"
        f"  - {{name: far, protocol: mqtt, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: '10.0.0.0/8, ::1'}}\n"
        f"  - {{name: near, protocol: mqtt, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 127.0.0.1}}\n"
        f"  - {{name: file, protocol: mqtt, address: 'unix:{path}', proxy_protocol: on}}\n"
    )
    broker = new_broker("--config", str(config))
    with dial(broker, V1, broker.listener("far")) as s:
        peer = near(s)
        gone(s)
    rows(broker, "handshake.proxy", peer, "not in proxy_from")
    session(broker, "near", dial(broker, V1, broker.listener("near")))
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(path))
    s.sendall(V1)
    row = session(broker, "file", s)[0]
    assert (row["peer"], row["proxy"]) == (f"{CLIENT}:40000", "unix")
    session(broker, "plain", dial(broker, b"", broker.listener("mqtt")))  # the main listener has none of it
    assert broker.bootstrap["mqtt"] == "%s:%d" % broker.listener("mqtt"), "for clients, which send no header"
    broker.stop()


def test_limits_are_the_clients(new_broker):
    """Connections are counted by where they are from, not by the load balancer that all come through."""
    broker = new_broker(*BROKER_ARGS, "--max-connections-per-address", "1")
    kept = []
    for i in range(3):
        kept.append(raw.Client(broker, over=dial(broker, v2_tcp4(f"203.0.113.{i}"))))
        kept[-1].login(f"c{i}")
    with dial(broker, v2_tcp4("203.0.113.1", 50) + raw.connect("c4", broker.user, broker.password)) as s:
        assert s.recv(100) == b""
    row = broker.wait_causes("c4", "limit.connections")[0]
    assert (row["peer"], row["detail"]["limit"]) == ("203.0.113.1:50", 1) and row["proxy"]
    kept[1].bye()
    broker.wait_causes("c1", "accepted.new", "client.normal")

    def again():
        with raw.Client(broker, over=dial(broker, v2_tcp4("203.0.113.1"))) as c:
            try:
                c.login("c5")
            except (raw.Closed, ConnectionError):
                return False
            c.bye()
            return True

    wait_until(again, 15, "a place for 203.0.113.1")
    for i in (0, 2):
        kept[i].bye()
    broker.stop()


# ---- what the load balancer knows of the client's TLS ----

NAMES = """
listeners:
  - {name: named, protocol: mqtt, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 127.0.0.1, username_from: cn}
  - {name: must, protocol: mqtt, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 127.0.0.1, username_from: cn,
     client_certificate: required}
  - {name: web, protocol: ws, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 127.0.0.1, username_from: cn}
  - {name: again, protocol: mqtts, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 127.0.0.1, username_from: cn,
     certificate: CERT, key: KEY}
  - {name: own, protocol: mqtts, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 127.0.0.1, username_from: cn,
     certificate: CERT, key: KEY, client_ca: CA, client_certificate: optional}
  - {name: strange, protocol: mqtt, address: '127.0.0.1:0', proxy_protocol: on, proxy_from: 10.0.0.1, username_from: cn}
"""


@pytest.fixture(scope="module")
def named(ca, tmp_path_factory):
    cert, key = ca.issue("server", san="DNS:localhost")
    directory = tmp_path_factory.mktemp("named")
    config = directory / "tracemq.yaml"
    config.write_text(NAMES.replace("CERT", str(cert)).replace("KEY", str(key)).replace("CA", str(ca.cert)))
    broker = Broker(directory, "--config", str(config)).start()
    broker.cli("user", "add", "device-7", "--password-stdin", "--allow", "#", stdin="of no use here")
    yield broker
    broker.stop()


def over(ca, s, listener):
    """What lies over the header on that listener."""
    if listener in ("again", "own"):
        s = ssl.create_default_context(cafile=str(ca.cert)).wrap_socket(s, server_hostname="localhost")
    return ws.WebSocket(s) if listener == "web" else s


def answer(broker, ca, header, listener, name, user=None, password=None):
    """The CONNACK's code, None when there is none."""
    with dial(broker, header, broker.listener(listener)) as s, raw.Client(broker, over=over(ca, s, listener)) as c:
        try:
            c.send(raw.connect(name, user, password))
            code = c.receive(raw.CONNACK).body[1]
        except (raw.Closed, ConnectionError):
            return None
        c.bye() if code == 0 else None
        return code


@pytest.mark.parametrize("listener", ("named", "must", "web", "again"))
@pytest.mark.parametrize("flags", (3, 5, 7))
def test_the_certificate_names_the_user(named, ca, name, listener, flags):
    assert answer(named, ca, certified("device-7", flags), listener, name) == 0
    row = named.wait_causes(name, "accepted.new", "client.normal")[0]
    detail = row["detail"]
    assert (row["peer"], row["user"], detail["certSubject"]) == (f"{CLIENT}:40000", "device-7", "CN=device-7")
    assert (detail["proxyId"], detail["proxyLink"]) == ("req-42", "aws:vpce-08d2")
    if listener != "again":  # there the TLS that counts is ours
        assert (detail["tlsVersion"], detail["tlsCipher"]) == ("TLSv1.3", "TLS_AES_256_GCM_SHA384")
        assert detail["tlsServerName"] == "mqtt.example"
    assert "certIssuer" not in detail and "certNotAfter" not in detail


def test_what_it_says_of_itself_counts_for_nothing(named, ca, name):
    assert answer(named, ca, certified("device-7"), "named", name, "admin", "wrong") == 0
    assert named.wait_causes(name, "accepted.new", "client.normal")[0]["user"] == "device-7"


def test_a_name_without_a_user(named, ca, name):
    assert answer(named, ca, certified("nobody"), "named", name, named.user, named.password) == 5
    assert "nobody" in named.wait_causes(name, "auth.certificate")[0]["detail"]["rule"]


@pytest.mark.parametrize(
    "header",
    (
        certified("device-7", 1),  # no certificate was shown
        certified("device-7", 3, 10),  # it has ended, the balancer says
        certified("device-7", 2),  # and no TLS
        certified("dev\0ice"),
        v2_tcp4(),
        V1,
    ),
)
def test_no_good_certificate(named, ca, name, header):
    """It proves nothing: password or nobody."""
    assert answer(named, ca, header, "named", name + "a") == 5
    named.wait_causes(name + "a", "auth.anonymous")
    assert answer(named, ca, header, "named", name, named.user, named.password) == 0
    assert named.wait_causes(name, "accepted.new", "client.normal")[0]["user"] == named.user


@pytest.mark.parametrize("header", (certified("device-7", 1), certified("device-7", 3, 10), v2_tcp4(), V1, v2(1), LOCAL))
def test_a_certificate_is_required(named, ca, name, header):
    where = named.listener("must")
    with dial(named, header + raw.connect(name, named.user, named.password), where) as s:
        peer = near(s)
        gone(s)
    peer = f"{CLIENT}:40000" if CLIENT.encode() in header or header[13:14] == b"\x11" else peer
    rows(named, "auth.certificate", peer, "no client certificate that it found good")
    assert named.trace(name) == []


def test_ours_counts_where_we_ask(named, ca, name):
    """The listener asks for certificates itself: the header's is of no use."""
    assert answer(named, ca, certified("device-7"), "own", name) == 5
    row = named.wait_causes(name, "auth.anonymous")[0]
    assert row["peer"] == f"{CLIENT}:40000"


def test_only_of_the_balancers(named, ca, name):
    assert answer(named, ca, certified("device-7"), "strange", name) is None
    assert named.trace(name) == []


def test_a_header_of_the_client_itself(named, ca, name):
    """Behind the balancer's: MQTT is expected there."""
    with dial(named, V1 + certified("device-7") + raw.connect(name), named.listener("named")) as s:
        gone(s)
    rows(named, "handshake.not_mqtt", f"{CLIENT}:40000")
    assert named.trace(name) == []


def listener(text):
    return f"listeners:\n  - {{protocol: mqtt, address: '127.0.0.1:0', {text}}}\n"


@pytest.mark.parametrize(
    "config, words",
    (
        (listener("username_from: cn"), "listener mqtt: username_from: expected client_certificate"),
        (listener("client_certificate: required"), "listener mqtt: client_certificate: expected a protocol over TLS"),
        (listener("username_from: dns, proxy_protocol: on, proxy_from: '::1'"), "common name only: expected cn"),
        ("mqtts: 127.0.0.1:0\ntls: {username_from: cn}\n", "tls.username_from: no listener asks for client certificates"),
    ),
)
def test_names_that_could_not_come(new_broker, tmp_path, config, words):
    path = tmp_path / "tracemq.yaml"
    path.write_text(config)
    broker = new_broker(start=False)
    done = subprocess.run([*broker.command()[:2], "--check", "--config", str(path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and words in done.stderr, done.stderr


@pytest.mark.parametrize(
    "args, words",
    (
        (["--proxy-protocol", "on"], "listener mqtt: proxy_protocol is on: expected the addresses of the load balancers"),
        (["--proxy-protocol", "on", "--proxy-from", "10.0.0.0/33"], "expected networks as 10.0.0.0/8"),
    ),
)
def test_bad_options(new_broker, args, words):
    broker = new_broker(*args, start=False)
    done = subprocess.run(broker.command(), capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and words in done.stderr, done.stderr
