"""Who may connect and what they may do: SCRAM, permissions with placeholders, hashes of Mosquitto. Raw packets and real clients."""

import shutil
import subprocess

import pytest
from harness import raw, scram
from harness.raw import AUTH, CONNACK, DISCONNECT, PUBLISH, SUBACK, Client


# ---- SCRAM-SHA-256 ----


def test_scram_login(broker, name):
    with Client(broker) as client:
        scram.login(client, name, broker.user, broker.password)
        client.send(raw.subscribe(1, ("a/#", 1), props={}))
        assert client.receive(SUBACK).codes == [1]
        client.send(raw.publish("a/b", b"hello", props={}))
        assert client.receive(PUBLISH).payload == b"hello"
        client.send(raw.disconnect())
    records = broker.wait_causes(name, "accepted.new", "client.normal")
    assert records[0]["user"] == broker.user
    assert records[0]["detail"]["authMethod"] == "SCRAM-SHA-256"


def test_scram_with_a_header_of_channel_binding_support_and_with_a_name(broker, name):
    for header in ("y,,", f"n,a={broker.user},"):
        with Client(broker) as client:
            scram.login(client, name, broker.user, broker.password, header=header)


def test_scram_of_a_client_that_waits_to_be_asked(broker, name):
    s = scram.Scram(broker.user, broker.password)
    with Client(broker) as client:
        client.level = 5
        client.send(scram.connect(name, None))
        asked = client.receive(AUTH)
        assert asked.reason == scram.CONTINUE and "auth_data" not in asked.props
        client.send(raw.auth(scram.CONTINUE, scram.props(s.first())))
        final = s.final(client.receive(AUTH).props["auth_data"])
        client.send(raw.auth(scram.CONTINUE, scram.props(final)))
        connack = client.receive(CONNACK)
        assert connack.reason == 0
        s.check(connack.props["auth_data"])


def test_scram_names_with_a_comma_and_an_equals_sign(broker, name):
    user = f"{name},=x"
    broker.add_user(user, "secret", ["#"])
    with Client(broker) as client:
        scram.login(client, name, user, "secret")


def test_scram_refusals_have_one_code_and_their_own_causes(broker, name):
    broker.add_user(name + "-u", "pässword")
    for i, (user, password, cause) in enumerate([
        (broker.user, "guess-1", "auth.bad_password"),
        (name + "-nobody", "guess-2", "auth.unknown_identity"),
        (name + "-u", "pässword", "auth.exchange"),  # not ASCII: SCRAM cannot have it
    ]):  # fmt: skip
        with Client(broker) as client:
            answer = scram.login(client, f"{name}-{i}", user, password, expect=0x87)
            assert "auth_data" not in answer.props and "reason_string" not in answer.props
            client.wait_closed()
        record = broker.wait_causes(f"{name}-{i}", cause)[0]
        assert record["detail"]["user"] == user
        assert record["detail"]["authMethod"] == "SCRAM-SHA-256"
        assert record["detail"]["reasonCode"] == 0x87
        assert record["detail"]["rule"] and password not in record["detail"]["rule"]


def test_scram_messages_that_are_bad(broker, name):
    for i, (data, words) in enumerate([
        (b"p=tls-unique,,n=u,r=x", "channel binding"),
        (b"n,,n=u", "nonce"),
        (b"", "gs2"),
        (b"\x00\xff", "gs2"),
        (b"n,,n=" + b"u" * 3000 + b",r=x", "2048"),
    ]):  # fmt: skip
        with Client(broker) as client:
            client.level = 5
            client.send(scram.connect(f"{name}-{i}", data))
            assert client.receive(CONNACK).reason == 0x87
            client.wait_closed()
        record = broker.wait_causes(f"{name}-{i}", "auth.exchange")[0]
        assert words in record["detail"]["rule"]


def test_methods_that_are_not_served(broker, name):
    with Client(broker) as client:
        client.level = 5
        client.send(scram.connect(name, b"x", method="SCRAM-SHA-1"))
        assert client.receive(CONNACK).reason == 0x8C
        client.wait_closed()
    record = broker.wait_causes(name, "auth.method")[0]
    assert record["detail"]["authMethod"] == "SCRAM-SHA-1"


def test_a_proof_cannot_be_used_twice(broker, name):
    """A captured exchange is worth nothing: the server's nonce is another one."""
    s = scram.Scram(broker.user, broker.password)
    with Client(broker) as client:
        client.level = 5
        client.send(scram.connect(name, s.first()))
        first = client.receive(AUTH).props["auth_data"]
        proof = s.final(first)
    with Client(broker) as client:
        client.level = 5
        client.send(scram.connect(name + "-2", s.header.encode() + s.bare.encode()))
        assert client.receive(AUTH).props["auth_data"] != first
        client.send(raw.auth(scram.CONTINUE, scram.props(proof)))
        assert client.receive(CONNACK).reason == 0x87
    broker.wait_causes(name + "-2", "auth.exchange")


def test_authenticated_again(broker, name):
    with Client(broker) as client:
        scram.login(client, name, broker.user, broker.password)
        for _ in range(3):
            assert scram.again(client, broker.user, broker.password).kind == AUTH
        client.send(raw.subscribe(1, (name, 0), props={}), raw.publish(name, b"x", props={}))
        client.receive(SUBACK)
        assert client.receive(PUBLISH).payload == b"x"
        client.send(raw.disconnect())
    broker.wait_causes(name, "accepted.new", "client.normal")


def test_messages_flow_while_authenticating_again(broker, name):
    s = scram.Scram(broker.user, broker.password)
    with Client(broker) as client:
        scram.login(client, name, broker.user, broker.password)
        client.send(raw.auth(scram.REAUTHENTICATE, scram.props(s.first())))
        challenge = client.receive(AUTH)
        client.nothing(0.1)
        client.send(raw.subscribe(1, (name, 0), props={}), raw.publish(name, b"x", props={}))
        client.receive(SUBACK)
        assert client.receive(PUBLISH).payload == b"x"
        client.send(raw.auth(scram.CONTINUE, scram.props(s.final(challenge.props["auth_data"]))))
        assert client.receive(AUTH).reason == 0


def test_authenticating_again_fails(broker, name):
    other = name + "-other"
    broker.add_user(other, "secret", ["#"])
    for i, (user, password, cause, words) in enumerate([
        (broker.user, "wrong", "auth.bad_password", "proof"),
        (other, "secret", "auth.exchange", "another user"),
        (name + "-nobody", "x", "auth.unknown_identity", "nobody"),
    ]):  # fmt: skip
        client_id = f"{name}-{i}"
        with Client(broker) as client:
            scram.login(client, client_id, broker.user, broker.password)
            end = scram.again(client, user, password)
            assert (end.kind, end.reason) == (DISCONNECT, 0x87)
            client.wait_closed()
        record = broker.wait_causes(client_id, "accepted.new", cause)[-1]
        assert record["detail"]["authMethod"] == "SCRAM-SHA-256"
        assert record["detail"]["user"] == user
        assert words in record["detail"]["rule"]


def test_authenticating_again_by_another_method(broker, name):
    with Client(broker) as client:
        scram.login(client, name, broker.user, broker.password)
        client.send(raw.auth(scram.REAUTHENTICATE, scram.props(b"x", method="PLAIN")))
        end = client.receive()
        assert (end.kind, end.reason) == (DISCONNECT, 0x8C)
        client.wait_closed()
    broker.wait_causes(name, "accepted.new", "auth.method")


def test_a_new_password_ends_connections_of_scram(broker, name):
    broker.add_user(name, "first", ["#"])
    with Client(broker) as client:
        scram.login(client, name, name, "first")
        broker.request("PUT", f"/users/{name}/password", 204, json={"password": "second"})
        end = client.receive()
        assert (end.kind, end.reason) == (DISCONNECT, 0x87)
    broker.wait_causes(name, "accepted.new", "auth.revoked")
    with Client(broker) as client:
        scram.login(client, name, name, "first", expect=0x87)
    with Client(broker) as client:
        scram.login(client, name, name, "second")


def test_scram_survives_a_restart(new_broker, name):
    broker = new_broker()
    broker.add_user(name, "secret", ["#"])
    broker.restart()
    with Client(broker) as client:
        scram.login(client, name, name, "secret")


# ---- permissions ----


def may(broker, client_id, user, password, topic, action="publish"):
    """Whether a client may do it, by the broker's reason code (on_denied: refuse)."""
    with Client(broker) as client:
        client.login(client_id, user, password, level=5)
        if action == "publish":
            client.send(raw.publish(topic, b"x", qos=1, packet_id=1, props={}))
            return client.receive(raw.PUBACK).reason in (0, 0x10)
        client.send(raw.subscribe(1, (topic, 0), props={}))
        return client.receive(SUBACK).codes[0] < 0x80


def test_placeholders(new_broker):
    broker = new_broker()
    broker.settings(on_denied="refuse")
    broker.add_user("bob", "secret")
    broker.permit("*", "allow", "both", "device/%c/#")
    broker.permit("*", "allow", "subscribe", "news/%u/+")
    broker.permit("*", "deny", "publish", "device/%c/sealed")
    assert may(broker, "d7", "bob", "secret", "device/d7/x")
    assert may(broker, "d7", "bob", "secret", "device/d7/#", "subscribe")
    assert not may(broker, "d7", "bob", "secret", "device/d8/x")
    assert not may(broker, "d7", "bob", "secret", "device/d7/sealed")
    assert may(broker, "d7", "bob", "secret", "news/bob/x", "subscribe")
    assert not may(broker, "d7", "bob", "secret", "news/eve/x", "subscribe")
    for client_id in ("#", "+", "a/b", "d7/#"):
        for topic in ("device/d7/x", "device/a/b/x", "device/a/x"):
            assert not may(broker, client_id, "bob", "secret", topic)
            assert not may(broker, client_id, "bob", "secret", topic, "subscribe")
        assert not may(broker, client_id, "bob", "secret", "device/#", "subscribe")


def test_a_will_of_a_client_without_an_id(new_broker):
    """%c is the ID that it is given."""
    broker = new_broker()
    broker.add_user("bob", "secret")
    broker.permit("bob", "allow", "publish", "will/%c")
    with Client(broker) as client:
        client.login("d1", "bob", "secret", will=("will/d1", "x", 0, False))
    with Client(broker) as client:
        client.login("", "bob", "secret", will=("will/", "x", 0, False), expect=5)


def test_rules_for_anonymous_clients(new_broker, name):
    broker = new_broker()
    broker.settings(on_denied="refuse", allow_anonymous=True)
    assert may(broker, name, None, None, "a/b")
    broker.cli("permission", "delete", "$anonymous", "allow", "both", "#")
    assert not may(broker, name, None, None, "a/b")
    broker.cli("permission", "add", "$anonymous", "allow", "publish", "a/+")
    broker.cli("permission", "add", "*", "deny", "both", "a/c")
    assert may(broker, name, None, None, "a/b")
    assert not may(broker, name, None, None, "a/c")
    assert not may(broker, name, broker.user, broker.password, "a/c")
    broker.restart()
    assert may(broker, name, None, None, "a/b")
    assert not may(broker, name, None, None, "b")
    assert "a/c" in broker.cli("permission", "list", "*")


# ---- hashes of Mosquitto ----


@pytest.mark.parametrize("kind", ["sha512-pbkdf2", "sha512"])
def test_hashes_of_mosquitto(new_broker, name, tmp_path, kind):
    if shutil.which("mosquitto_passwd") is None:
        pytest.fail("mosquitto_passwd is missing (Debian package mosquitto)")
    path = tmp_path / "passwd"
    path.touch()
    subprocess.run(["mosquitto_passwd", "-H", kind, "-b", str(path), "bob", "s3cret"], check=True)
    hashed = path.read_text().strip().split(":", 1)[1]
    broker = new_broker()
    broker.request("POST", "/users", 201, json={"name": "bob", "passwordHash": hashed, "allow": ["#"]})
    with Client(broker) as client:
        scram.login(client, name + "-early", "bob", "s3cret", expect=0x87)
    broker.wait_causes(name + "-early", "auth.exchange")
    with Client(broker) as client:
        client.login(name, "bob", "wrong", level=5, expect=0x86)
    with Client(broker) as first:
        first.login(name, "bob", "s3cret")
        with Client(broker) as second:  # its hash is ours now, and has keys
            scram.login(second, name + "-scram", "bob", "s3cret")
        first.send(raw.pingreq())
        assert first.receive().kind == raw.PINGRESP  # what renewed it goes on
    broker.restart()
    with Client(broker) as client:
        client.login(name, "bob", "s3cret")
    assert [r["cause"] for r in broker.trace(name)][:2] == ["auth.bad_password", "accepted.new"]
