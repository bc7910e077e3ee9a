"""Bridges in tests: the configuration as YAML, how a bridge is doing, and a store of what arrived."""

import json
import socket
import threading

from harness import raw
from harness.mosquitto import free_port
from harness.peer import Peer
from harness.wait import wait_until


def bridge(name, remote, topics, **settings):
    """An entry of `bridges`; topics are (topic, direction, qos, local_prefix, remote_prefix), cut where defaults hold."""
    keys = ("topic", "direction", "qos", "local_prefix", "remote_prefix")
    address = remote if isinstance(remote, str) else f"127.0.0.1:{remote.port}"
    rules = [dict(zip(keys, t)) for t in topics]
    return {"name": name, "address": address, "retry_min": "20ms", "retry_max": "300ms", **settings, "topics": rules}


def with_bridges(broker, *bridges, port=None):
    """Gives a broker that was not started its configuration file (JSON is YAML) and, if wanted, a port that stays."""
    path = broker.directory / "bridges.yaml"
    path.write_text(json.dumps({"bridges": bridges}))
    broker.args = [a for a in broker.args if a not in ("--config", str(path))] + ["--config", str(path)]
    if port:
        fixed_port(broker, port)
    return broker


def fixed_port(broker, port=None):
    broker.port = port or free_port()
    broker.args += ["--mqtt", f"127.0.0.1:{broker.port}"]
    return broker


def state(broker, name=None):
    items = broker.api("/api/v1/bridges")["items"]
    return next(i for i in items if name is None or i["name"] == name)


def connected(broker, name=None, connects=1, seconds=20):
    """The bridge's state once it is connected, for the `connects`-th time at least."""

    def is_up():
        s = state(broker, name)
        return s if s["connected"] and s["connects"] >= connects else None

    try:
        return wait_until(is_up, seconds, "the bridge is connected")
    except AssertionError:
        raise AssertionError(f"not connected: {state(broker, name)}\n{broker.log()[-3000:]}") from None


def failed(broker, words, name=None, seconds=20):
    """The bridge's state once its last error has these words."""

    def has_error():
        s = state(broker, name)
        return s if words in (s["lastError"] or "") else None

    try:
        return wait_until(has_error, seconds, f"the bridge fails with {words}")
    except AssertionError:
        raise AssertionError(f"expected {words!r}: {state(broker, name)}") from None


class Collector(threading.Thread):
    """A subscriber that acknowledges as it must and keeps (topic, payload, qos, retain, props) in order; QoS 2 once each."""

    def __init__(self, broker, client_id, *filters, level=5, **login):
        super().__init__(daemon=True)
        self.client = raw.Client(broker)
        self.client.login(client_id, level=level, **({"props": {}} if level == 5 else {}), **login)
        self.client.send(raw.subscribe(1, *((f, 2) for f in filters), props={} if level == 5 else None))
        self.got, self.open, self.done = [], set(), False
        while (first := self.client.receive()).kind != raw.SUBACK:
            self.take(first)  # what its session kept
        self.start()

    def run(self):
        try:
            while True:
                self.take(self.client.receive(seconds=120))
        except (OSError, AssertionError):
            if not self.done:
                raise

    def take(self, p):
        if p.kind == raw.PUBREL:
            self.open.discard(p.packet_id)
            self.client.send(raw.ack(raw.PUBCOMP, p.packet_id))
        elif p.kind == raw.PUBLISH:
            if p.qos < 2 or p.packet_id not in self.open:
                self.got.append(p)
            if p.qos == 1:
                self.client.send(raw.ack(raw.PUBACK, p.packet_id))
            elif p.qos == 2:
                self.open.add(p.packet_id)
                self.client.send(raw.ack(raw.PUBREC, p.packet_id))

    def payloads(self):
        return [p.payload.decode() for p in list(self.got)]

    def wait(self, count, seconds=20):
        wait_until(lambda: len(self.got) >= count, seconds, f"{count} messages (have {self.payloads()[-5:]})")
        return list(self.got)

    def close(self):
        self.done = True
        self.client.socket.shutdown(2)
        self.client.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def bridged(new_broker, remote, topics, **settings):
    """A broker of ours with one bridge, connected."""
    broker = with_bridges(new_broker(start=False), bridge("plant", remote, topics, **settings)).start()
    connected(broker)
    return broker


def login(remote):
    """A bridge logs in as the bootstrap user where the remote is ours."""
    return {"username": remote.user, "password": remote.password} if remote.user else {}


def retained(broker, topic):
    """The payload of a retained message, or None."""
    with Peer(broker, "retained-?", 5) as c:
        c.subscribe("fence/x", (topic, 0))
        c.send(c.packet("fence/x", b"fence"))
        payload = None
        while True:  # to the fence: nobody who subscribes later gets it
            got = c.receive(raw.PUBLISH)
            if got.topic == "fence/x":
                return payload
            payload = got.payload if payload is None else payload


class ScriptedRemote:
    """A remote broker that does what the test says: the other end of a bridge's connection, packet by packet."""

    def __init__(self, level=5, host="127.0.0.1"):
        self.level = level
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.server = socket.create_server((host, 0), family=family)
        self.server.settimeout(60)
        self.port = self.server.getsockname()[1]

    def accept(self):
        """The next connection, with its CONNECT taken: (client, CONNECT's body)."""
        peer, _ = self.server.accept()
        client = raw.Client(None, over=peer)
        client.level = self.level
        return client, client.receive(raw.CONNECT).body

    def welcome(self, client, present=False, props=None):
        """CONNACK 0, and SUBACK to what it subscribes."""
        client.send(connack(0, present, self.level, props))
        subscribe = client.receive(raw.SUBSCRIBE)
        client.send(suback(subscribe, self.level))

    def close(self):
        self.server.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def connack(code, present=False, level=5, props=None):
    tail = raw.properties(props) if level == 5 else b""
    return raw.packet(raw.CONNACK, bytes([present, code]) + tail)


def suback(subscribe, level=5, code=2):
    """To a SUBSCRIBE with one filter."""
    return raw.packet(raw.SUBACK, subscribe.body[:2] + (b"\0" if level == 5 else b"") + bytes([code]))
