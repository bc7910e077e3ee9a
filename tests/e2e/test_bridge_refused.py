"""Bridges that cannot be: what is wrong is said in words. TLS, logins, names, and a wrong configuration."""

import socket

import pytest

from harness.bridges import bridge, connected, failed, state, with_bridges
from harness.certs import Authority


# ---- refused, and told in words ----


def test_a_wrong_password(new_broker):
    remote = new_broker()
    settings = {"username": remote.user, "password": "wrong"}
    five = bridge("five", remote, [("a", "out", 1)], client_id="five", **settings)
    four = bridge("four", remote, [("a", "out", 1)], client_id="four", version="3.1.1", **settings)
    broker = with_bridges(new_broker(start=False), five, four).start()
    failed(broker, "refused the connection: bad user name or password", "five")
    failed(broker, "refused the connection: bad user name or password", "four")
    assert "wrong" not in broker.log()


def test_a_password_from_a_file(new_broker):
    remote = new_broker()
    broker = new_broker(start=False)
    (broker.directory / "secret").write_text(remote.password + "\n")
    with_bridges(
        broker,
        bridge("b", remote, [("a", "out", 1)], username=remote.user, password_file=str(broker.directory / "secret")),
    ).start()
    connected(broker)


def test_a_name_that_does_not_exist(new_broker):
    broker = with_bridges(new_broker(start=False), bridge("b", "no-such-host.invalid:1883", [("a", "out", 1)])).start()
    failed(broker, "name look-up of no-such-host.invalid")


def test_a_remote_that_speaks_no_mqtt(new_broker):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"127.0.0.1:{server.getsockname()[1]}"
        broker = with_bridges(new_broker(start=False), bridge("b", address, [("a", "out", 1)])).start()
        peer, _ = server.accept()
        with peer:
            peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
            failed(broker, "the remote broker sent a bad packet")


# ---- TLS ----


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("certs"))


def tls_remote(mosquitto, cert, *lines):
    return mosquitto(f"certfile {cert[0]}", f"keyfile {cert[1]}", *lines)


def test_tls(new_broker, mosquitto, ca):
    """By name and by address; with a certificate of ours, which is our user name there."""
    remote = tls_remote(
        mosquitto, ca.issue("remote", san="DNS:localhost,IP:127.0.0.1"), f"cafile {ca.cert}",
        "require_certificate true", "use_identity_as_username true",
    )  # fmt: skip
    own, key = ca.issue("bridge-client", subject="/CN=plant-broker")
    tls = {"protocol": "mqtts", "ca": str(ca.cert), "certificate": str(own), "key": str(key)}
    topics = [("a/#", "both", 1)]
    broker = with_bridges(
        new_broker(start=False),
        bridge("name", f"localhost:{remote.port}", topics, client_id="n", **tls),
        bridge("address", f"127.0.0.1:{remote.port}", topics, client_id="a", **tls),
    ).start()
    connected(broker, "name")
    connected(broker, "address")
    assert "tls=TLSv1.3" in broker.log()
    assert "plant-broker" in remote.log()


def test_tls_refused(new_broker, mosquitto, ca, tmp_path):
    """Each reason in words; and verify: off, which takes what it gets and says so at the start."""
    other = Authority(tmp_path, "other")
    remote = tls_remote(mosquitto, ca.issue("elsewhere", san="DNS:elsewhere.example"))
    strict = tls_remote(
        mosquitto, ca.issue("strict", san="IP:127.0.0.1"), f"cafile {ca.cert}", "require_certificate true"
    )
    plain = mosquitto()
    rules = [("a/#", "out", 1)]

    def one(name, to, **settings):
        return bridge(name, to, rules, client_id=name, protocol="mqtts", **settings)

    broker = with_bridges(
        new_broker(start=False),
        one("authority", remote, ca=str(other.cert)),
        one("name", remote, ca=str(ca.cert)),
        one("asked", remote, ca=str(ca.cert), server_name="elsewhere.example"),
        one("off", remote, verify="off"),
        one("ours", strict, ca=str(ca.cert)),
        one("plain", plain, ca=str(ca.cert)),
    ).start()
    failed(broker, "the certificate is not good: unable to get local issuer certificate", "authority")
    failed(broker, "the certificate is not for 127.0.0.1", "name")
    failed(broker, "TLS alert from the server: tlsv13 alert certificate required", "ours")
    failed(broker, "TLS", "plain")
    connected(broker, "asked")
    connected(broker, "off")
    assert 'certificate is not checked: anyone can be the remote" bridge=off' in broker.log()
    assert not any(state(broker, n)["connected"] for n in ("authority", "name", "ours", "plain"))


# ---- the configuration ----


@pytest.mark.parametrize(
    "lines, words",
    [
        (["bridges:", " - address: a:1"], 'bridges.yaml:1: bridges: entry 1: key "name": expected a name'),
        (["bridges:", " - name: a b", "   address: a:1"], ':2: key "bridges.name": expected a name of letters'),
        (["bridges:", " - name: a", "   address: a"], ':3: key "bridges.address": expected host:port'),
        (["bridges:", " - name: a", "   address: a:1", " - name: a", "   address: a:1"], ":4: key \"bridges.name\": expected a name that no"),
        (["bridges:", " - name: a", "   address: a:1", "   version: 4"], ':4: key "bridges.version": expected 3.1, 3.1.1 or 5, got "4"'),
        (["bridges:", " - name: a", "   address: a:1", "   ca: /nowhere"], ':4: key "bridges.ca": expected a file that can be read'),
        (["bridges:", " - name: a", "   address: a:1", "   password_file: /nowhere"], ':4: key "bridges.password_file": expected a file'),
        (["bridges:", " - name: a", "   address: a:1", "   nonsense: 1"], ':4: unknown key'),
        (
            ["bridges:", " - name: a", "   address: a:1", "   topics:", "    - topic: x", "    - topic: a#b"],
            ':6: key "bridges.topics.topic": expected a topic filter behind each prefix, got "a#b"',
        ),
        (
            ["bridges:", " - name: a", "   address: a:1", "   topics:", "    - topic: x", "      qos: 3"],
            ':6: key "bridges.topics.qos": expected a number between 0 and 2, got "3"',
        ),
        (["bridges:", " - name: a", "   address: a:1", "   topics:", "    - direction: up"], ':5: key "bridges.topics.direction": expected out, in or both'),
        (["bridges:", " - name: a", "   address: a:1", "   topics:", "    - qos: 1"], 'key "bridges.topics.topic": expected a topic filter'),
        (["bridges: 7"], 'key "bridges": expected a list'),
    ],
)  # fmt: skip
def test_wrong_configuration(new_broker, lines, words):
    broker = new_broker(start=False)
    path = broker.directory / "bridges.yaml"
    path.write_text("\n".join(lines) + "\n")
    said = broker.cli("serve", "--check", "--config", str(path), expect=2)
    assert words in said, said
