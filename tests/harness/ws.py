"""WebSocket by hand, the client's side: the upgrade as one likes it, and frames good and bad. Over any connected socket."""

import base64
import hashlib
import os
import socket
import struct

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def frame(payload, opcode=BINARY, fin=True, mask=True, rsv=0, length=None):
    """`length`: what the header says, if not the truth."""
    n = len(payload) if length is None else length
    head = bytes([fin << 7 | rsv << 4 | opcode])
    bit = mask << 7
    if n < 126:
        head += bytes([bit | n])
    elif n < 1 << 16:
        head += struct.pack(">BH", bit | 126, n)
    else:
        head += struct.pack(">BQ", bit | 127, n)
    if not mask:
        return head + payload
    key = os.urandom(4)
    repeated = (key * (len(payload) // 4 + 1))[: len(payload)]
    masked = int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")
    return head + key + masked.to_bytes(len(payload), "big")


def close_payload(code, reason=""):
    return struct.pack(">H", code) + reason.encode()


KEY = base64.b64encode(b"sixteen bytes---").decode()


def request(path="/mqtt", method="GET", version="HTTP/1.1", **headers):
    """An upgrade request; a header that is None is left out, `_` in names stands for `-`."""
    fields = {
        "Host": "broker", "Upgrade": "websocket", "Connection": "keep-alive, Upgrade", "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Version": "13", "Sec-WebSocket-Protocol": "mqtt",
    }  # fmt: skip
    fields.update({name.replace("_", "-"): value for name, value in headers.items()})
    lines = [f"{method} {path} {version}"] + [f"{k}: {v}" for k, v in fields.items() if v is not None]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Answer:
    """Status, headers (names in lower case) and what came behind them."""

    def __init__(self, data):
        head, _, self.rest = data.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        self.status = int(lines[0].split()[1])
        self.headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}

    @property
    def text(self):
        return self.rest.decode()


def ask(s, text):
    """Sends a request; its Answer, with the whole body if it was refused. ConnectionError: the end came first."""
    s.sendall(text)
    data = b""

    def more():
        got = s.recv(65536)
        if not got:
            raise ConnectionError(f"the end instead of an answer: {data!r}")
        return got

    while b"\r\n\r\n" not in data:
        data += more()
    answer = Answer(data)
    while answer.status != 101 and len(answer.rest) < int(answer.headers["content-length"]):
        answer.rest += more()
    return answer


class WebSocket:
    """What raw.Client takes as `over`: sendall() sends a binary frame, recv() gives what binary frames hold. Pings are
    answered unless `answers` is false; the broker's close frame is the end, and then in `closed`: (code, reason)."""

    def __init__(self, s, upgrade=None, answers=True):
        self.socket, self.answers = s, answers
        self.answer = ask(s, upgrade or request())
        assert self.answer.status == 101, (self.answer.status, self.answer.text)
        accept = hashlib.sha1((KEY + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        assert self.answer.headers["sec-websocket-accept"] == base64.b64encode(accept).decode()
        self.buffer = bytearray(self.answer.rest)
        self.closed = None
        self.pongs = []
        self.frames = 0  # binary ones that came

    family = property(lambda self: self.socket.family)

    def __getattr__(self, name):
        return getattr(self.socket, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def sendall(self, data):
        self.socket.sendall(frame(data))

    def send_frame(self, payload=b"", opcode=BINARY, **how):
        self.socket.sendall(frame(payload, opcode, **how))

    def _take(self, n):
        """n bytes of what came, or fewer at the end of the stream."""
        while len(self.buffer) < n:
            got = self.socket.recv(65536)
            if not got:
                break
            self.buffer += got
        part = bytes(self.buffer[:n])
        del self.buffer[:n]
        return part

    def read_frame(self):
        """(opcode, payload), or None at the end of the stream. A timeout in its middle loses its place: for tests that
        wait for what comes."""
        head = self._take(2)
        if len(head) < 2:
            return None
        assert head[0] & 0x70 == 0 and head[1] & 0x80 == 0, head
        assert head[0] & 0x80, "the broker does not fragment"
        n = head[1] & 127
        if n > 125:
            width = {126: 2, 127: 8}[n]
            n = int.from_bytes(self._take(width), "big")
        payload = self._take(n)
        assert len(payload) == n
        return head[0] & 15, payload

    def recv(self, _size):
        while True:
            got = self.read_frame()
            if got is None:
                return b""
            opcode, payload = got
            if opcode == BINARY:
                self.frames += 1
                return payload
            if opcode == CLOSE:
                self.closed = (struct.unpack(">H", payload[:2])[0] if payload else None, payload[2:].decode())
                return b""
            if opcode == PONG:
                self.pongs.append(payload)
            elif opcode == PING and self.answers:
                self.send_frame(payload, PONG)

    def wait_close(self):
        """The broker's close frame, after whatever else."""
        while self.recv(1):
            pass
        return self.closed

    def wait_end(self):
        """Nothing but the end of the stream comes any more."""
        assert self.socket.recv(100) == b""


def connect(broker, listener="ws", upgrade=None, context=None, **kwargs):
    """A WebSocket to one of the broker's listeners; `context`: an SSLContext, for TLS."""
    where = broker.listener(listener)
    if isinstance(where, str):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(60)
        s.connect(where)
    else:
        s = socket.create_connection(where, timeout=60)
    if context is not None:
        s = context.wrap_socket(s, server_hostname="localhost")
    return WebSocket(s, upgrade, **kwargs)
