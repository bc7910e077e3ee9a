"""
MQTT by hand-made bytes, for clients that misbehave: packets as functions, a client that is a socket and no more.
It answers nothing by itself.
"""

import socket
import struct
import time

CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP = 1, 2, 3, 4, 5, 6, 7
SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ, PINGRESP, DISCONNECT = 8, 9, 10, 11, 12, 13, 14


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


def packet(kind, body=b"", flags=0):
    return bytes([kind << 4 | flags]) + length(len(body)) + body


def connect(client_id, user=None, password=None, keepalive=60, clean=True, will=None, level=4, name=None, flags=0):
    """`will` is (topic, payload, qos, retain)."""
    name = name if name is not None else ("MQIsdp" if level == 3 else "MQTT")
    flags |= 2 if clean else 0
    tail = b"\0" if level == 5 else b""
    tail += text(client_id)
    if will is not None:
        topic, payload, qos, retain = will
        flags |= 4 | qos << 3 | (0x20 if retain else 0)
        tail += (b"\0" if level == 5 else b"") + text(topic) + text(payload)
    if user is not None:
        flags |= 0x80
        tail += text(user)
    if password is not None:
        flags |= 0x40
        tail += text(password)
    return packet(CONNECT, text(name) + struct.pack("!BBH", level, flags, keepalive) + tail)


def publish(topic, payload=b"", qos=0, packet_id=0, retain=False, dup=False):
    payload = payload if isinstance(payload, bytes) else payload.encode()
    body = text(topic) + (struct.pack("!H", packet_id) if qos else b"") + payload
    return packet(PUBLISH, body, (8 if dup else 0) | qos << 1 | (1 if retain else 0))


def subscribe(packet_id, *filters):
    """Filters as (filter, qos)."""
    return packet(SUBSCRIBE, struct.pack("!H", packet_id) + b"".join(text(f) + bytes([q]) for f, q in filters), 2)


def unsubscribe(packet_id, *filters):
    return packet(UNSUBSCRIBE, struct.pack("!H", packet_id) + b"".join(text(f) for f in filters), 2)


def ack(kind, packet_id):
    return packet(kind, struct.pack("!H", packet_id), 2 if kind == PUBREL else 0)


def pingreq():
    return packet(PINGREQ)


def disconnect():
    return packet(DISCONNECT)


class Packet:
    """One received packet."""

    def __init__(self, first, body):
        self.kind, self.flags, self.body = first >> 4, first & 15, body
        if self.kind == PUBLISH:
            n = struct.unpack_from("!H", body)[0]
            self.topic = body[2 : 2 + n].decode()
            at = 2 + n
            self.qos, self.retain, self.dup = self.flags >> 1 & 3, bool(self.flags & 1), bool(self.flags & 8)
            self.packet_id = 0
            if self.qos:
                self.packet_id = struct.unpack_from("!H", body, at)[0]
                at += 2
            self.payload = body[at:]
        elif self.kind in (PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK):
            self.packet_id = struct.unpack_from("!H", body)[0]

    def __repr__(self):
        return f"Packet({self.kind}, {self.flags}, {self.body[:40]!r})"


class Closed(AssertionError):
    """The broker closed the connection (b"" or a reset) when a packet was expected."""


class Client:
    """A socket to the broker. All receiving has a deadline."""

    def __init__(self, broker, source=None, seconds=20):
        self.broker, self.seconds = broker, seconds
        self.buffer = bytearray()
        self.socket = socket.socket()
        self.socket.settimeout(seconds)
        if source:
            self.socket.bind((source, 0))
        self.socket.connect((broker.host, broker.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.peer = "%s:%d" % self.socket.getsockname()

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
        self.send(connect(client_id, user, password, **kwargs))
        answer = self.receive(CONNACK)
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
        got = Packet(self.buffer[0], bytes(self.buffer[at : at + n]))
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
