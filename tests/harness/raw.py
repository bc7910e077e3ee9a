"""
MQTT by hand-made bytes, for clients that misbehave: packets as functions, a client that is a socket and no more.
It answers nothing by itself.

MQTT 5: connect(level=5), and `props`, a dict by the names of PROPERTIES (lists for what may repeat), for every packet that
has them. Without `props` the other packets are those of 3.1.1; {} is an empty set of properties.
"""

import socket
import struct
import time

from harness.wait import PATIENCE

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14
AUTH = 15

# name: (identifier, type); "many" ones are lists in a dict of properties
PROPERTIES = {
    "payload_format": (1, "B"),
    "message_expiry": (2, "I"),
    "content_type": (3, "text"),
    "response_topic": (8, "text"),
    "correlation": (9, "binary"),
    "subid": (11, "varint"),
    "session_expiry": (17, "I"),
    "assigned_client_id": (18, "text"),
    "server_keepalive": (19, "H"),
    "auth_method": (21, "text"),
    "auth_data": (22, "binary"),
    "request_problem": (23, "B"),
    "will_delay": (24, "I"),
    "request_response": (25, "B"),
    "response_information": (26, "text"),
    "server_reference": (28, "text"),
    "reason_string": (31, "text"),
    "receive_maximum": (33, "H"),
    "topic_alias_maximum": (34, "H"),
    "topic_alias": (35, "H"),
    "maximum_qos": (36, "B"),
    "retain_available": (37, "B"),
    "user": (38, "pair"),
    "maximum_packet": (39, "I"),
    "wildcard_available": (40, "B"),
    "subid_available": (41, "B"),
    "shared_available": (42, "B"),
}
NAMES = {number: (name, kind) for name, (number, kind) in PROPERTIES.items()}
MANY = ("user", "subid")


def length(n):
    out = bytearray()
    while True:
        n, digit = n >> 7, n & 0x7F
        out.append(digit | (0x80 if n else 0))
        if not n:
            return bytes(out)


def text(s):
    raw = s if isinstance(s, bytes) else s.encode()
    return struct.pack("!H", len(raw)) + raw


def one_property(name, value):
    number, kind = PROPERTIES[name]
    if kind in ("text", "binary"):
        raw = text(value)
    elif kind == "pair":
        raw = text(value[0]) + text(value[1])
    elif kind == "varint":
        raw = length(value)
    else:
        raw = struct.pack("!" + kind, value)
    return bytes([number]) + raw


def properties(props):
    """With their length; in the dict's order."""
    body = b""
    for name, value in (props or {}).items():
        for v in value if isinstance(value, list) else [value]:
            body += one_property(name, v)
    return length(len(body)) + body


def read_length(body, at):
    n = shift = 0
    while True:
        n |= (body[at] & 0x7F) << shift
        shift, at = shift + 7, at + 1
        if not body[at - 1] & 0x80:
            return n, at


def read_text(body, at):
    n = struct.unpack_from("!H", body, at)[0]
    return body[at + 2 : at + 2 + n], at + 2 + n


def read_properties(body, at):
    """(dict, place behind them)"""
    n, at = read_length(body, at)
    end, props = at + n, {}
    while at < end:
        name, kind = NAMES[body[at]]
        at += 1
        if kind in ("text", "binary"):
            value, at = read_text(body, at)
            value = value.decode() if kind == "text" else value
        elif kind == "pair":
            key, at = read_text(body, at)
            value, at = read_text(body, at)
            value = (key.decode(), value.decode())
        elif kind == "varint":
            value, at = read_length(body, at)
        else:
            value = struct.unpack_from("!" + kind, body, at)[0]
            at += struct.calcsize(kind)
        if name in MANY:
            props.setdefault(name, []).append(value)
        else:
            assert name not in props, f"property {name} twice"
            props[name] = value
    assert at == end
    return props, at


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + length(len(body)) + body


def connect(client_id, user=None, password=None, keepalive=60, clean=True, will=None, level=4, name=None, flags=0,
            props=None, will_props=None):
    """`will` is (topic, payload, qos, retain)."""
    name = name if name is not None else ("MQIsdp" if level == 3 else "MQTT")
    flags |= 2 if clean else 0
    tail = properties(props) if level == 5 else b""
    tail += text(client_id)
    if will is not None:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | (0x20 if retain else 0)
        tail += (properties(will_props) if level == 5 else b"") + text(topic) + text(payload)
    if user is not None:
        flags |= 0x80
        tail += text(user)
    if password is not None:
        flags |= 0x40
        tail += text(password)
    return packet(CONNECT, text(name) + struct.pack("!BBH", level, flags, keepalive) + tail)


def publish(topic, payload=b"", qos=0, packet_id=0, retain=False, dup=False, props=None):
    payload = payload if isinstance(payload, bytes) else payload.encode()
    body = text(topic) + (struct.pack("!H", packet_id) if qos else b"")
    body += (b"" if props is None else properties(props)) + payload
    return packet(PUBLISH, body, (8 if dup else 0) | qos << 1 | (1 if retain else 0))


def subscribe(packet_id, *filters, props=None):
    """Filters as (filter, options); the options are the QoS, in MQTT 5 with the other bits."""
    head = struct.pack("!H", packet_id) + (b"" if props is None else properties(props))
    return packet(SUBSCRIBE, head + b"".join(text(f) + bytes([q]) for f, q in filters), 2)


def unsubscribe(packet_id, *filters, props=None):
    head = struct.pack("!H", packet_id) + (b"" if props is None else properties(props))
    return packet(UNSUBSCRIBE, head + b"".join(text(f) for f in filters), 2)


def reason_tail(reason, props):
    tail = b"" if reason is None else bytes([reason])
    return tail if props is None else tail + properties(props)


def ack(kind, packet_id, reason=None, props=None):
    return packet(kind, struct.pack("!H", packet_id) + reason_tail(reason, props), 2 if kind == PUBREL else 0)


def pingreq():
    return packet(PINGREQ)


def disconnect(reason=None, props=None):
    return packet(DISCONNECT, reason_tail(reason, props))


def auth(reason=None, props=None):
    return packet(AUTH, reason_tail(reason, props))


class Packet:
    """One received packet. `props` and `reason` are there in every packet; {} and 0 when nothing was said."""

    def __init__(self, first, body, level=4):
        self.kind, self.flags, self.body = first >> 4, first & 15, body
        self.level, self.props, self.reason = level, {}, 0
        if self.kind == PUBLISH:
            n = struct.unpack_from("!H", body)[0]
            self.topic = body[2 : 2 + n].decode()
            at = 2 + n
            self.qos, self.retain, self.dup = self.flags >> 1 & 3, bool(self.flags & 1), bool(self.flags & 8)
            self.packet_id = 0
            if self.qos:
                self.packet_id = struct.unpack_from("!H", body, at)[0]
                at += 2
            if level == 5:
                self.props, at = read_properties(body, at)
            self.payload = body[at:]
        elif self.kind == CONNACK:
            self.reason = body[1]
            at = self._read_props(2) if level == 5 else 2
            assert at == len(body)
        elif self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP):
            self.packet_id = struct.unpack_from("!H", body)[0]
            self._read_reason(2)
        elif self.kind in (SUBACK, UNSUBACK):
            self.packet_id = struct.unpack_from("!H", body)[0]
            self.codes = list(body[self._read_props(2) if level == 5 else 2 :])
        elif self.kind in (DISCONNECT, AUTH):
            self._read_reason(0)

    def _read_props(self, at):
        self.props, at = read_properties(self.body, at)
        return at

    def _read_reason(self, at):
        if len(self.body) > at:
            self.reason = self.body[at]
            at += 1
        if len(self.body) > at:
            at = self._read_props(at)
        assert at == len(self.body)

    def __repr__(self):
        return f"Packet({self.kind}, {self.flags}, {self.body[:40]!r})"


class Closed(AssertionError):
    """The broker closed the connection (b"" or a reset) when a packet was expected."""


class Client:
    """A socket to the broker. All receiving has a deadline."""

    def __init__(self, broker, source=None, seconds=PATIENCE, over=None):
        """`over`: a connected socket, to be used instead of one to the broker's MQTT port."""
        self.broker, self.seconds = broker, seconds
        self.level = 4  # how what comes is read: of the CONNECT that login() sent, or set by the test
        self.buffer = bytearray()
        self.socket = over or self._connect(source)
        self.socket.settimeout(seconds)
        if self.socket.family != socket.AF_UNIX:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.peer = "%s:%d" % self.socket.getsockname()[:2]

    def _connect(self, source):
        s = socket.socket()
        s.settimeout(self.seconds)
        if source:
            s.bind((source, 0))
        s.connect((self.broker.host, self.broker.port))
        return s

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, *packets):
        self.socket.sendall(b"".join(packets))
        return self

    def login(self, client_id, user=True, password=None, expect=0, **kwargs):
        """CONNECT and its CONNACK; user True is the bootstrap user. Returns session present."""
        if user is True:
            user, password = self.broker.user, self.broker.password if password is None else password
        self.level = kwargs.get("level", 4)
        self.send(connect(client_id, user, password, **kwargs))
        answer = self.connack = self.receive(CONNACK)
        assert answer.body[1] == expect, f"CONNACK {answer.body.hex()}, expected code {expect}"
        return bool(answer.body[0])

    def receive(self, kind=None, seconds=None):
        """The next packet, which must be of `kind`."""
        deadline = time.monotonic() + (seconds or self.seconds)
        while True:
            got = self._parse()
            if got is not None:
                assert kind is None or got.kind == kind, f"{got}, expected kind {kind}"
                return got
            self._fill(deadline)

    def receive_all(self, count, kind=PUBLISH):
        return [self.receive(kind) for _ in range(count)]

    def nothing(self, seconds=0.3):
        """Asserts that no packet comes: a PING goes round, and some time passes."""
        self.send(pingreq())
        got = self.receive()
        assert got.kind == PINGRESP, f"unexpected {got}"
        deadline = time.monotonic() + seconds
        try:
            while True:
                self._fill(deadline)
                got = self._parse()
                assert got is None, f"unexpected {got}"
        except socket.timeout:
            pass

    def wait_closed(self, seconds=None):
        """The broker closes; what came before is returned as packets."""
        deadline = time.monotonic() + (seconds or self.seconds)
        packets = []
        try:
            while True:
                got = self._parse()
                if got is None:
                    self._fill(deadline)
                else:
                    packets.append(got)
        except Closed:
            return packets

    def _fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise socket.timeout("no packet in time")
        self.socket.settimeout(left)
        try:
            got = self.socket.recv(65536)
        except ConnectionError as e:
            raise Closed(str(e)) from None
        if not got:
            raise Closed("end of stream")
        self.buffer += got

    def _parse(self):
        n, shift, at = 0, 0, 1
        while True:
            if at >= len(self.buffer):
                return None
            digit = self.buffer[at]
            n |= (digit & 0x7F) << shift
            shift, at = shift + 7, at + 1
            if not digit & 0x80:
                break
        if len(self.buffer) < at + n:
            return None
        got = Packet(self.buffer[0], bytes(self.buffer[at : at + n]), self.level)
        del self.buffer[: at + n]
        return got

    # ---- ways to leave ----

    def fin(self):
        self.socket.close()

    def reset(self):
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def bye(self):
        self.send(disconnect())
        self.socket.close()


def stuck_subscriber(broker, client_id, topic):
    """A client of MQTT 5 that reads nothing behind its SUBACK, and whose kernel takes little."""
    s = socket.socket()
    s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
    s.settimeout(PATIENCE)
    s.connect((broker.host, broker.port))
    c = Client(broker, over=s)
    c.login(client_id, level=5, keepalive=0)
    c.send(subscribe(1, (topic, 0), props={}))
    c.receive(SUBACK)
    return c
