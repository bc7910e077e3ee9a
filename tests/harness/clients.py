"""
Independent clients in one shape, for tests that go through all of them: Eclipse Paho in this process, MQTT.js in one of
Node's (e2e/node/clients.mjs). connect(), subscribe() and publish() return when the broker has answered; message() is the next
one that came. Properties have Paho's names here.
"""

import base64
import itertools
import json
import queue
import socket
import ssl
import subprocess
import threading
from dataclasses import dataclass, field
from pathlib import Path

import paho.mqtt.client as paho
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

NODE = Path(__file__).resolve().parents[1] / "e2e" / "node"
SECONDS = 60
KEPT = 3600


@dataclass
class Message:
    topic: str
    payload: bytes
    qos: int
    retain: bool
    props: dict = field(default_factory=dict)


@dataclass
class Will:
    topic: str
    payload: bytes
    qos: int = 1
    retain: bool = False


class Paho:
    def __init__(self, broker, transport, version, client_id, ca=None, clean=True, will=None):
        self.version, self.messages, self.events = version, queue.Queue(), queue.Queue()
        over = "websockets" if transport.startswith("ws") else "tcp"
        fresh = {} if version == 5 else {"clean_session": clean}
        c = self.client = paho.Client(client_id, protocol=version, transport=over, **fresh)
        c.username_pw_set(broker.user, broker.password)
        if over == "websockets":
            c.ws_set_options(path="/mqtt")
        if transport in ("mqtts", "wss"):
            c.tls_set_context(ssl.create_default_context(cafile=str(ca)))
        if will:
            c.will_set(will.topic, will.payload, will.qos, will.retain)
        c.on_connect = lambda _c, _u, flags, code, *_: self.events.put(("connect", int(code.value if version == 5 else code), flags))
        c.on_subscribe = lambda _c, _u, mid, codes, *_: self.events.put(("subscribe", mid, codes))
        c.on_publish = lambda _c, _u, mid: self.events.put(("publish", mid, None))
        c.on_message = lambda _c, _u, m: self.messages.put(self._message(m))
        kwargs = {}
        if version == 5:
            kwargs = {"clean_start": clean, "properties": self._props(PacketTypes.CONNECT, SessionExpiryInterval=0 if clean else KEPT)}
        host, port = broker.listener(transport)
        c.connect("localhost" if ca else host, port, keepalive=60, **kwargs)
        c.loop_start()
        what, code, flags = self.events.get(timeout=SECONDS)
        assert (what, code) == ("connect", 0)
        self.present = bool(flags["session present"])

    @staticmethod
    def _props(kind, **values):
        props = Properties(kind)
        for name, value in values.items():
            setattr(props, name, value)
        return props

    @staticmethod
    def _message(m):
        props = {} if getattr(m, "properties", None) is None else {
            name: value for name, value in vars(m.properties).items() if name not in ("packetType", "types", "names", "properties")
        }
        return Message(m.topic, m.payload, m.qos, m.retain, props)

    def _answer(self, what, mid):
        got = self.events.get(timeout=SECONDS)
        assert got[:2] == (what, mid), got
        return got[2]

    def subscribe(self, topic, qos, **props):
        kwargs = {"properties": self._props(PacketTypes.SUBSCRIBE, **props)} if props else {}
        if self.version == 5:
            kwargs["options"] = paho.SubscribeOptions(qos)
        else:
            kwargs["qos"] = qos
        _, mid = self.client.subscribe(topic, **kwargs)
        return [int(getattr(c, "value", c)) for c in self._answer("subscribe", mid)]

    def publish(self, topic, payload, qos=0, retain=False, **props):
        kwargs = {"properties": self._props(PacketTypes.PUBLISH, **props)} if props else {}
        info = self.client.publish(topic, payload, qos, retain, **kwargs)
        self._answer("publish", info.mid)

    def message(self):
        return self.messages.get(timeout=SECONDS)

    def end(self):
        self.client.disconnect()
        self.client.loop_stop()

    def drop(self):
        """The socket is closed, and nothing said, on any layer."""
        s = self.client._sock
        while hasattr(s, "_socket"):  # Paho's WebSocket says good bye when it is closed
            s = s._socket
        self.client._thread_terminate = True  # it would connect again
        s.shutdown(socket.SHUT_RDWR)
        self.client.loop_stop()


class Node:
    """The process with MQTT.js; one serves all clients of a test module."""

    def __init__(self):
        self.process = subprocess.Popen(
            ["node", str(NODE / "clients.mjs")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        self.seq, self.ids, self.lock = itertools.count(), itertools.count(), threading.Lock()
        self.answers, self.clients = {}, {}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.process.stdout:
            got = json.loads(line)
            if "seq" in got:
                self.answers[got["seq"]].put(got)
            elif got["event"] == "message":
                self.clients[got["id"]].put(got)

    def ask(self, what, **request):
        seq = next(self.seq)
        self.answers[seq] = queue.Queue()
        with self.lock:
            self.process.stdin.write(json.dumps({"what": what, "seq": seq, **request}) + "\n")
            self.process.stdin.flush()
        got = self.answers[seq].get(timeout=SECONDS)
        del self.answers[seq]
        assert "ok" in got, got
        return got["ok"]

    def end(self):
        self.process.stdin.close()
        self.process.wait(SECONDS)


def _text(data):
    return base64.b64encode(data if isinstance(data, bytes) else data.encode()).decode()


# MQTT.js's names of properties, from Paho's
JS = {
    "ContentType": "contentType", "ResponseTopic": "responseTopic", "CorrelationData": "correlationData",
    "MessageExpiryInterval": "messageExpiryInterval", "PayloadFormatIndicator": "payloadFormatIndicator",
    "SubscriptionIdentifier": "subscriptionIdentifier", "UserProperty": "userProperties",
}  # fmt: skip


def to_js(props):
    out = {}
    for name, value in props.items():
        if name == "UserProperty":
            value = {k: [v for key, v in value if key == k] for k, _ in value}
        elif name == "CorrelationData":
            value = _text(value)
        elif name == "PayloadFormatIndicator":
            value = bool(value)
        out[JS[name]] = value
    return out


def from_js(props):
    out = {}
    for name, js in JS.items():
        if js not in props:
            continue
        value = props[js]
        if name == "UserProperty":
            value = [(k, v) for k, many in value.items() for v in (many if isinstance(many, list) else [many])]
        elif name == "CorrelationData":
            value = base64.b64decode(value)
        elif name == "PayloadFormatIndicator":
            value = int(value)
        elif name == "SubscriptionIdentifier" and not isinstance(value, list):
            value = [value]
        out[name] = value
    return out


class MqttJs:
    def __init__(self, node, broker, transport, version, client_id, ca=None, clean=True, will=None):
        self.node, self.id, self.messages = node, next(node.ids), queue.Queue()
        node.clients[self.id] = self.messages
        host, port = broker.listener(transport)
        options = {
            "clientId": client_id, "username": broker.user, "password": broker.password, "clean": clean,
            "protocolVersion": version, "protocolId": "MQIsdp" if version == 3 else "MQTT", "keepalive": 60,
        }  # fmt: skip
        if version == 5:
            options["properties"] = {"sessionExpiryInterval": 0 if clean else KEPT}
        if will:
            options["will"] = {"topic": will.topic, "payload": _text(will.payload), "qos": will.qos, "retain": will.retain}
        path = "/mqtt" if transport.startswith("ws") else ""
        url = f"{transport}://{'localhost' if ca else host}:{port}{path}"
        self.present = self._ask("connect", url=url, ca=None if ca is None else str(ca), options=options)["present"]

    def _ask(self, what, **request):
        return self.node.ask(what, id=self.id, **request)

    def subscribe(self, topic, qos, **props):
        options = {"qos": qos, **({"properties": to_js(props)} if props else {})}
        return self._ask("subscribe", filter=topic, options=options)["codes"]

    def publish(self, topic, payload, qos=0, retain=False, **props):
        self._ask("publish", topic=topic, payload=_text(payload),
                  options={"qos": qos, "retain": retain, "properties": to_js(props)})  # fmt: skip

    def message(self):
        got = self.messages.get(timeout=SECONDS)
        payload = base64.b64decode(got["payload"])
        return Message(got["topic"], payload, got["qos"], got["retain"], from_js(got["properties"]))

    def end(self):
        self._ask("end")

    def drop(self):
        self._ask("drop")
