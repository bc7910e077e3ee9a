"""The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677), written from the RFCs with Python's own HMAC and PBKDF2."""

import base64
import hashlib
import hmac
import os

from harness.raw import AUTH, CONNACK, auth

METHOD = "SCRAM-SHA-256"
CONTINUE, REAUTHENTICATE = 0x18, 0x19


def mac(key, text):
    return hmac.new(key, text, hashlib.sha256).digest()


class Scram:
    """first() goes out; final(challenge) answers the server; check(signature) proves the server."""

    def __init__(self, user, password, header="n,,"):
        self.user, self.password, self.header = user, password, header
        self.nonce = base64.b64encode(os.urandom(18)).decode()

    def first(self):
        escaped = self.user.replace("=", "=3D").replace(",", "=2C")
        self.bare = f"n={escaped},r={self.nonce}"
        return (self.header + self.bare).encode()

    def final(self, challenge):
        challenge = challenge.decode()
        parts = dict(part.split("=", 1) for part in challenge.split(","))
        assert parts["r"].startswith(self.nonce) and len(parts["r"]) >= len(self.nonce) + 16
        assert int(parts["i"]) >= 4096
        salt = base64.b64decode(parts["s"])
        assert len(salt) >= 16
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), salt, int(parts["i"]))
        unsigned = f"c={base64.b64encode(self.header.encode()).decode()},r={parts['r']}"
        signed = f"{self.bare},{challenge},{unsigned}".encode()
        key = mac(salted, b"Client Key")
        mask = mac(hashlib.sha256(key).digest(), signed)
        proof = bytes(a ^ b for a, b in zip(key, mask))
        self.signature = b"v=" + base64.b64encode(mac(mac(salted, b"Server Key"), signed))
        return f"{unsigned},p={base64.b64encode(proof).decode()}".encode()

    def check(self, signature):
        assert signature == self.signature


def props(data=None, method=METHOD):
    return {"auth_method": method, **({} if data is None else {"auth_data": data})}


def login(client, client_id, user, password, expect=0, header="n,,", **kwargs):
    """CONNECT by SCRAM up to the CONNACK, whose signature is checked when it is 0."""
    scram = Scram(user, password, header)
    client.level = 5
    client.send(connect(client_id, scram.first(), **kwargs))
    challenge = client.receive(AUTH)
    assert challenge.reason == CONTINUE and challenge.props["auth_method"] == METHOD
    client.send(auth(CONTINUE, props(scram.final(challenge.props["auth_data"]))))
    answer = client.connack = client.receive(CONNACK)
    assert answer.reason == expect, f"CONNACK {answer.reason:#x}, expected {expect:#x}"
    if expect == 0:
        assert answer.props["auth_method"] == METHOD
        scram.check(answer.props["auth_data"])
    return answer


def connect(client_id, data, method=METHOD, **kwargs):
    from harness import raw

    return raw.connect(client_id, level=5, props={**kwargs.pop("props", {}), **props(data, method)}, **kwargs)


def again(client, user, password):
    """Re-authentication up to the server's answer: AUTH 0 or what ends the connection."""
    scram = Scram(user, password)
    client.send(auth(REAUTHENTICATE, props(scram.first())))
    challenge = client.receive(AUTH)
    assert challenge.reason == CONTINUE
    client.send(auth(CONTINUE, props(scram.final(challenge.props["auth_data"]))))
    answer = client.receive()
    if answer.kind == AUTH:
        assert answer.reason == 0
        scram.check(answer.props["auth_data"])
    return answer
