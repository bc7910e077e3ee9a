"""TLS with real clients: versions, client certificates, revocation, names, reload, and how such connections end."""

import shutil
import socket
import ssl
import subprocess

import pytest

from harness import raw
from harness.certs import Authority
from harness.wait import wait_until


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))


@pytest.fixture(scope="module")
def server_cert(ca):
    return ca.issue("server", san="DNS:localhost,IP:127.0.0.1,IP:::1")


def tls_args(pair, *more):
    return ["--mqtts", "127.0.0.1:0", "--tls-certificate", str(pair[0]), "--tls-key", str(pair[1]), *map(str, more)]


def context(ca, pair=None, **settings):
    c = ssl.create_default_context(cafile=str(ca.cert))
    if pair:
        c.load_cert_chain(*map(str, pair))
    for name, value in settings.items():
        setattr(c, name, value)
    return c


def connect(broker, ctx, name="localhost", listener="mqtts", session=None):
    plain = socket.create_connection(broker.listener(listener), timeout=60)
    return ctx.wrap_socket(plain, server_hostname=name, session=session)


def client(broker, ctx, **kwargs):
    return raw.Client(broker, over=connect(broker, ctx, **kwargs))


def refused(broker, cause, words=""):
    """The evidence of the unidentified connection of that cause, once there is one with those words."""

    def rows():
        found = [r["detail"] for r in broker.api("/unidentified", limit=100)["items"] if r["cause"] == cause]
        return [d for d in found if words in d.get("text", "")]

    return wait_until(rows, 15, f"{cause} {words}")[0]


@pytest.mark.parametrize("version", (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3))
def test_versions(new_broker, ca, server_cert, version):
    broker = new_broker(*tls_args(server_cert))
    ctx = context(ca, minimum_version=version, maximum_version=version)
    with client(broker, ctx) as c:
        c.login("tls")
        c.send(raw.subscribe(1, ("t", 2)))
        c.receive(raw.SUBACK)
        for size in (1, 1000, 16384, 100_000, 900_000):
            c.send(raw.publish("t", b"x" * size, 1, 5))
            got = [c.receive(), c.receive()]
            assert {p.kind for p in got} == {raw.PUBACK, raw.PUBLISH}
            p = next(p for p in got if p.kind == raw.PUBLISH)
            assert p.payload == b"x" * size
            c.send(raw.ack(raw.PUBACK, p.packet_id))
        c.bye()
    first, last = broker.wait_causes("tls", "accepted.new", "client.normal")
    assert first["transport"] == "tls" and first["listener"] == "mqtts"
    assert first["detail"]["tlsVersion"] == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[version.name]
    assert first["detail"]["tlsServerName"] == "localhost" and first["detail"]["tlsCipher"]
    assert last["peer"] == first["peer"]
    broker.stop()


def test_resumption(new_broker, ca, server_cert):
    broker = new_broker(*tls_args(server_cert))
    ctx = context(ca, maximum_version=ssl.TLSVersion.TLSv1_2)
    with client(broker, ctx) as c:
        c.login("first")
        session = c.socket.session
        c.bye()
    with client(broker, ctx, session=session) as c:
        assert c.socket.session_reused
        c.login("second")
        c.bye()
    broker.stop()


def test_minimum_version(new_broker, ca, server_cert):
    broker = new_broker(*tls_args(server_cert, "--tls-min", "1.3"))
    with pytest.raises(ssl.SSLError):
        connect(broker, context(ca, maximum_version=ssl.TLSVersion.TLSv1_2))
    refused(broker, "handshake.tls", "unsupported protocol")
    broker.stop()


def test_ways_to_end(new_broker, ca, server_cert):
    broker = new_broker(*tls_args(server_cert))
    ctx = context(ca)
    c = client(broker, ctx)
    c.login("notify")
    c.socket.settimeout(5)
    c.socket.unwrap()  # close_notify, and ours
    c.socket.close()
    assert broker.wait_causes("notify", "accepted.new", "peer.tls_closed")[1]["endedBy"] == "client"
    c = client(broker, ctx)
    c.login("truncated")
    c.socket.shutdown(socket.SHUT_WR)  # FIN without an end of TLS
    broker.wait_causes("truncated", "accepted.new", "peer.tls_truncated")
    c.socket.close()
    c = client(broker, ctx)
    c.login("reset")
    c.reset()
    broker.wait_causes("reset", "accepted.new", "peer.reset")
    broker.stop()


def test_what_is_no_tls(new_broker, ca, server_cert):
    broker = new_broker(*tls_args(server_cert))
    where = broker.listener("mqtts")
    for first, words in ((raw.connect("plain"), "wrong version number"), (b"GET / HTTP/1.1\r\n\r\n", "http request")):
        with socket.create_connection(where, timeout=60) as s:
            s.sendall(first)
            try:
                while s.recv(100):
                    pass
            except ConnectionError:
                pass
        refused(broker, "handshake.tls", words)
    with pytest.raises(ssl.SSLError):  # a client that does not know our authority
        connect(broker, ssl.create_default_context())
    assert refused(broker, "handshake.tls", "unknown CA")["layerCode"] == 48
    with socket.create_connection(where, timeout=60):
        pass
    refused(broker, "handshake.empty")
    broker.stop()


def test_client_certificates(new_broker, ca, server_cert):
    """The common name is the user, with that user's permissions; without a certificate of ours nobody comes in."""
    alice, mallory = ca.issue("alice", subject="/O=Fleet/CN=alice"), ca.issue("mallory")
    stranger = Authority(ca.directory, "other").issue("stranger")
    broker = new_broker(*tls_args(server_cert, "--tls-client-ca", ca.cert, "--tls-client-certificate", "required",
                                  "--tls-username-from", "cn"))  # fmt: skip
    broker.request("POST", "/users", 201, json={"name": "alice", "password": "unused-by-certificates", "allow": ["own/#"]})
    with client(broker, context(ca, alice)) as c:
        c.login("by-certificate", user=None)
        c.send(raw.publish("own/t", "x", 1, 1))
        c.receive(raw.PUBACK)
        c.bye()
    first = broker.wait_causes("by-certificate", "accepted.new", "client.normal")[0]
    assert first["user"] == "alice"
    assert first["detail"]["certSubject"] == "CN=alice,O=Fleet" and "CN=ca" in first["detail"]["certIssuer"]
    assert first["detail"]["certNotAfter"]
    with client(broker, context(ca, mallory)) as c:  # a good certificate, and no such user
        c.login("mallory", user=None, expect=5)
    assert "mallory" in broker.wait_causes("mallory", "auth.certificate")[0]["detail"]["rule"]
    for pair, words in ((stranger, "unable to get local issuer"), (None, "no client certificate")):
        with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
            with client(broker, context(ca, pair)) as c:
                c.login("x", user=None)
        refused(broker, "auth.certificate", words)
    broker.stop()


def test_revoked(new_broker, ca, server_cert):
    good, bad = ca.issue("good"), ca.issue("bad")
    crl = ca.revoke(bad[0])
    broker = new_broker(*tls_args(server_cert, "--tls-client-ca", ca.cert, "--tls-crl", crl,
                                  "--tls-client-certificate", "optional"))  # fmt: skip
    for pair in (good, None):
        with client(broker, context(ca, pair)) as c:
            c.login("good")
            c.bye()
    with pytest.raises((ssl.SSLError, ConnectionError, raw.Closed)):
        with client(broker, context(ca, bad)) as c:
            c.login("bad")
    refused(broker, "auth.certificate", "revoked")
    broker.stop()


def test_server_names(new_broker, ca, server_cert):
    """Of several certificates the name that is asked for chooses."""
    a, b = ca.issue("a", san="DNS:a.example"), ca.issue("b", san="DNS:*.b.example")
    certs, keys = (",".join(str(p[i]) for p in (server_cert, a, b)) for i in (0, 1))
    broker = new_broker("--mqtts", "127.0.0.1:0", "--tls-certificate", certs, "--tls-key", keys)
    for name in ("localhost", "a.example", "x.b.example"):
        connect(broker, context(ca), name=name).close()  # the client checks the name
    with pytest.raises(ssl.SSLCertVerificationError):
        connect(broker, context(ca), name="y.c.example")
    broker.stop()


def test_bad_files(new_broker, ca, server_cert, tmp_path):
    broker = new_broker(start=False)
    junk = tmp_path / "junk.pem"
    junk.write_text("no PEM\n")
    other = ca.issue("another")
    for args, words in (
        (["--mqtts", "127.0.0.1:0"], "0 certificate files"),
        (tls_args((tmp_path / "none.pem", server_cert[1])), "none.pem: cannot be read: No such file"),
        (tls_args((junk, server_cert[1])), "certificate"),
        (tls_args((server_cert[0], other[1])), "key values mismatch"),
        (tls_args(server_cert, "--tls-client-certificate", "required"), "client CA"),
    ):
        broker.args = args
        done = subprocess.run(broker.command(), capture_output=True, text=True, timeout=60)
        assert done.returncode == 2 and "mqtts" in done.stderr and words in done.stderr, done.stderr


def test_listeners_of_a_file(new_broker, ca, server_cert, tmp_path):
    """Several, each with its own rules: IPv6, a Unix socket, a limit of connections."""
    path = tmp_path / "mqtt.sock"
    config = tmp_path / "tracemq.yaml"
    config.write_text(
        f"reuse_port: on\n"
        f"tls: {{certificate: {server_cert[0]}, key: {server_cert[1]}}}\n"
        f"listeners:\n"
        f"  - {{name: six, protocol: mqtts, address: '[::]:0'}}\n"
        f"  - {{name: file, protocol: mqtt, address: 'unix:{path}'}}\n"
        f"  - {{name: small, protocol: mqtt, address: '127.0.0.1:0', max_connections: 2}}\n"
    )
    broker = new_broker("--config", str(config))
    port = broker.listener("six")[1]
    for host in ("::1", "127.0.0.1"):
        plain = socket.create_connection((host, port), timeout=60)
        with raw.Client(broker, over=context(ca).wrap_socket(plain, server_hostname=host)) as c:
            c.login("on-" + host.replace(":", "_"))
            c.bye()
    assert broker.wait_causes("on-__1", "accepted.new", "client.normal")[0]["peer"].startswith("[::1]:")
    assert broker.wait_causes("on-127.0.0.1", "accepted.new", "client.normal")[0]["peer"].startswith("127.0.0.1:")
    s = socket.socket(socket.AF_UNIX)
    s.connect(str(path))
    with raw.Client(broker, over=s) as c:
        c.login("on-file")
        c.bye()
    row = broker.wait_causes("on-file", "accepted.new", "client.normal")[0]
    assert (row["transport"], row["listener"], row["peer"]) == ("unix", "file", "unix")
    where = broker.listener("small")
    kept = [raw.Client(broker, over=socket.create_connection(where)) for _ in range(3)]
    codes = []
    for i, c in enumerate(kept):  # which one came third is for the loops to say: each has its own socket
        c.send(raw.connect(f"small{i}", broker.user, broker.password))
        codes.append(c.receive(raw.CONNACK).body[1])
    assert sorted(codes) == [0, 0, 3]
    refused = f"small{codes.index(3)}"
    assert broker.wait_causes(refused, "limit.connections")[0]["detail"]["limit"] == 2
    for c in kept:
        c.socket.close()
    broker.kill9()  # leaves the socket's file behind
    assert path.exists()
    broker.start()
    broker.stop()
    assert not path.exists()


def test_mosquitto_clients(new_broker, ca, server_cert):
    alice = ca.issue("alice")
    broker = new_broker(*tls_args(server_cert, "--tls-client-ca", ca.cert, "--tls-client-certificate", "optional"))
    port = str(broker.listener("mqtts")[1])
    tool = ["-h", "localhost", "-p", port, "--cafile", str(ca.cert), "-u", broker.user, "-P", broker.password, "-t", "m/t"]
    pair = ["--cert", str(alice[0]), "--key", str(alice[1])]
    for version in ("31", "311", "5"):
        sub = subprocess.Popen(["mosquitto_sub", *tool, *pair, "-V", version, "-C", "1", "-W", "60", "-i", "s" + version, "-q", "1"],
                               stdout=subprocess.PIPE)  # fmt: skip
        broker.wait_trace("s" + version, 1)
        publish = ["mosquitto_pub", *tool, "-V", version, "-m", "over tls", "-q", "1", "--repeat", "600", "--repeat-delay", "0.1"]
        with subprocess.Popen(publish) as pub:
            assert sub.communicate()[0] == b"over tls\n"
            pub.terminate()
    broker.stop()


def test_expiry_is_told(new_broker, ca, tmp_path):
    soon = ca.issue("soon", san="DNS:localhost", days=5)
    broker = new_broker(*tls_args(soon))
    assert "a server certificate ends soon" in broker.log() and "days=4" in broker.log() or "days=5" in broker.log()
    broker.stop()
    assert shutil.which("openssl")


def test_certificates_read_again(new_broker, ca, tmp_path):
    """A new certificate serves new connections; what is connected stays; a bad file changes nothing."""
    one, two = ca.issue("one", subject="/CN=one", san="DNS:localhost"), ca.issue("two", subject="/CN=two", san="DNS:localhost")
    pair = tmp_path / "cert.pem", tmp_path / "key.pem"

    def install(which):
        for source, target in zip(which, pair):
            shutil.copy(source, target)

    def shown():
        with connect(broker, context(ca)) as s:
            return dict(field[0] for field in s.getpeercert()["subject"])["commonName"]

    install(one)
    broker = new_broker(*tls_args(pair))
    kept = client(broker, context(ca))
    kept.login("kept")
    assert shown() == "one"
    install(two)
    assert broker.cli("reload") == "The configuration is as it was.\nCertificates were read again, for 1 listener.\n"
    assert shown() == "two"
    pair[0].write_text("broken\n")
    answer = broker.request("POST", "/api/v1/config/reload")
    assert answer.status_code == 422 and "cert.pem" in answer.text, answer.text
    assert shown() == "two"
    kept.nothing()
    kept.bye()
    broker.stop()
