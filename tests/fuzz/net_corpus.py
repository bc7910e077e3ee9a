#!/usr/bin/env python3
"""Makes the seeds of tests/fuzz/corpus/net_ws_fuzz/ and net_proxy_fuzz/, in the formats of those targets.

Run it in tests/fuzz/ after a format changed. Each seed is one case that has a point.
"""
import pathlib
import struct

KEY = b"\x12\xf4\x56\x9a"


def frame(payload=b"", opcode=2, fin=True, mask=True, rsv=0):
    n = len(payload)
    bit = mask << 7
    head = bytes([fin << 7 | rsv << 4 | opcode])
    head += bytes([bit | n]) if n < 126 else struct.pack(">BH", bit | 126, n) if n < 65536 else struct.pack(">BQ", bit | 127, n)
    return head + (KEY + bytes(b ^ KEY[i % 4] for i, b in enumerate(payload)) if mask else payload)


def request(path="/mqtt", *lines, version="13", protocol="mqtt"):
    head = [f"GET {path} HTTP/1.1", "Host: x", "Upgrade: websocket", "Connection: Upgrade",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", f"Sec-WebSocket-Version: {version}",
            f"Sec-WebSocket-Protocol: {protocol}", *lines]  # fmt: skip
    return ("\r\n".join(head) + "\r\n\r\n").encode()


def plain(stream, limit=0, room=0, flags=0):
    return bytes([flags, limit, room]) + stream


def upgraded(*frames, limit=0, room=0):
    return plain(b"".join(frames), limit, room, 1)


WS = {
    "request": plain(request()),
    "request-pipelined": plain(request() + frame(b"hello"), 7),
    "request-query": plain(request("/mqtt?a=b")),
    "request-path": plain(request("/other")),
    "request-version": plain(request(version="8")),
    "request-protocols": plain(request(protocol="chat, mqttv3.1")),
    "request-no-protocol": plain(request(protocol="chat")),
    "request-origin": plain(request("/mqtt", "Origin: https://A.example:443"), 0, 0, 2),
    "request-null-origin": plain(request("/mqtt", "Origin: null"), 0, 0, 2),
    "request-other-origin": plain(request("/mqtt", "Origin: http://a.example"), 0, 0, 2),
    "request-body": plain(request("/mqtt", "Content-Length: 4") + b"body"),
    "request-cut": plain(request()[:60]),
    "request-long": plain(request("/mqtt", "X: " + "y" * 8300)),
    "get": plain(b"GET / HTTP/1.1\r\n\r\n"),
    "mqtt": plain(b"\x10\x10\x00\x04MQTT\x04\x02\x00<\x00\x04lost"),
    "tls": plain(b"\x16\x03\x01\x02\x00\x01\x00"),
    "frames": upgraded(frame(b"one"), frame(), frame(b"two"), limit=1, room=1),
    "fragments": upgraded(frame(b"a", fin=False), frame(b"p", 9), frame(b"b", 0, fin=False), frame(b"c", 0), limit=3, room=4),
    "long": upgraded(frame(b"l" * 300), frame(b"m" * 70000), limit=255, room=200),
    "pings": upgraded(*[frame(b"%d" % i, 9) for i in range(20)], room=3),
    "pong": upgraded(frame(b"unasked", 10), frame(b"x")),
    "close": upgraded(frame(b"x"), frame(b"\x03\xe9bye", 8), frame(b"behind")),
    "close-empty": upgraded(frame(b"", 8)),
    "close-one-byte": upgraded(frame(b"\x03", 8)),
    "close-bad-code": upgraded(frame(b"\x03\xed", 8)),
    "close-bad-text": upgraded(frame(b"\x03\xe8\xff\xfe", 8)),
    "close-text": upgraded(frame("\u03e8 \u20ac \U0001f600".encode("utf-16-be")[:2] + "\u20ac\U0001f600".encode(), 8)),
    "text": upgraded(frame(b"{}", 1)),
    "unmasked": upgraded(frame(b"x", mask=False)),
    "reserved": upgraded(frame(b"x", rsv=4)),
    "opcode": upgraded(frame(b"x", 5)),
    "control-fragment": upgraded(frame(b"x", 9, fin=False)),
    "control-long": upgraded(frame(b"x" * 126, 9)),
    "continuation": upgraded(frame(b"x", 0)),
    "message-in-message": upgraded(frame(b"x", fin=False), frame(b"y")),
    "long-form": upgraded(b"\x82\xfe\x00\x05" + KEY + b"hello"),
    "long-form-8": upgraded(b"\x82\xff" + bytes(7) + b"\x05" + KEY + b"hello"),
    "huge": upgraded(b"\x82\xff\x7f" + b"\xff" * 7 + KEY + b"hello"),
    "cut-header": upgraded(frame(b"x"), b"\x82\xfe\x01"),
}

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(command, family=0, rest=b"", length=None):
    return SIGNATURE + struct.pack(">BBH", 0x20 | command, family, len(rest) if length is None else length) + rest


def entry(kind, value):
    return struct.pack(">BH", kind, len(value)) + value


def tls(client, verify, *entries):
    return entry(0x20, struct.pack(">BI", client, verify) + b"".join(entries))


NAME = entry(0x22, b"device-7")
FOUR = bytes([198, 51, 100, 7, 192, 0, 2, 1, 0x9C, 0x40, 0x07, 0x5B])
PROXY = {
    "v1": b"PROXY TCP4 198.51.100.7 192.0.2.1 40000 1883\r\n\x10more",
    "v1-six": b"PROXY TCP6 2001:db8::7 ::1 1 2\r\nmore",
    "v1-unknown": b"PROXY UNKNOWN whatever\r\nmore",
    "v1-cut": b"PROXY TCP4 198.51",
    "v1-long": b"PROXY UNKNOWN " + b"x" * 120 + b"\r\n",
    "v1-bad-port": b"PROXY TCP4 198.51.100.7 192.0.2.1 99999 1883\r\n",
    "v1-no-cr": b"PROXY TCP4 198.51.100.7 192.0.2.1 1 1883\n",
    "v2": v2(1, 0x11, FOUR) + b"more",
    "v2-six": v2(1, 0x21, bytes(36)) + b"more",
    "v2-unix": v2(1, 0x31, b"/run/x" + bytes(210)) + b"more",
    "v2-entries": v2(1, 0x11, FOUR + b"\x04\x00\x03abc\x20\x00\x00") + b"more",
    "v2-tls": v2(1, 0x11, FOUR + tls(3, 0, entry(0x21, b"TLSv1.3"), NAME, entry(0x23, b"AES"))) + b"more",
    "v2-tls-resumed": v2(1, 0x11, FOUR + tls(5, 0, NAME)) + b"more",
    "v2-tls-not-good": v2(1, 0x11, FOUR + tls(3, 10, NAME)) + b"more",
    "v2-tls-none-shown": v2(1, 0x11, FOUR + tls(1, 0)) + b"more",
    "v2-tls-zero-in-name": v2(1, 0x11, FOUR + tls(3, 0, entry(0x22, b"dev\0ice"))) + b"more",
    "v2-tls-long-name": v2(1, 0x11, FOUR + tls(3, 0, entry(0x22, b"x" * 300))) + b"more",
    "v2-tls-two-names": v2(1, 0x11, FOUR + tls(3, 0, NAME, NAME)) + b"more",
    "v2-tls-twice": v2(1, 0x11, FOUR + tls(1, 0) + tls(3, 0, NAME)) + b"more",
    "v2-tls-short": v2(1, 0x11, FOUR + entry(0x20, b"\x03\0\0")) + b"more",
    "v2-tls-entry-too-long": v2(1, 0x11, FOUR + tls(3, 0, b"\x22\x00\x09abc")) + b"more",
    "v2-names": v2(1, 0x11, FOUR + entry(2, b"mqtt.example") + entry(5, b"id-1")) + b"more",
    "v2-binary-id": v2(1, 0x11, FOUR + entry(5, bytes(range(120, 150)))) + b"more",
    "v2-links": v2(1, 0x11, FOUR + entry(0xEE, b"\1\2\3\4\5") + entry(0xEA, b"\1vpce-08d2")) + b"more",
    "v2-link-google": v2(1, 0x11, FOUR + entry(0xE0, bytes(range(8)))) + b"more",
    # as computed by another implementation, over "\x02\x00\x06behind" behind it
    "v2-checksum": v2(1, 0x11, FOUR + b"\x03\x00\x04\x45\x4a\x60\x4b\x02\x00\x06behind") + b"more",
    "v2-bad-checksum": v2(1, 0x11, FOUR + b"\x03\x00\x04\x45\x4a\x60\x4c\x02\x00\x06behind") + b"more",
    "v2-local": v2(0, 0, b"skipped") + b"more",
    "v2-unspec": v2(1) + b"more",
    "v2-datagram": v2(1, 0x12, FOUR),
    "v2-short": v2(1, 0x21, FOUR),
    "v2-huge": v2(1, 0x11, FOUR, 65535),
    "v2-entry-too-long": v2(1, 0x11, FOUR + b"\x04\x00\x09abc"),
    "v2-command": v2(7),
    "v2-cut": SIGNATURE + b"\x21",
    "mqtt": b"\x10\x0c\x00\x04MQTT",
    "tls": b"\x16\x03\x01",
    "http": b"GET / HTTP/1.1\r\n",
    "nothing": b"",
}

SEEDS = {
    "net_ws_fuzz": WS,
    "net_proxy_fuzz": {f"{name}{suffix}": bytes([limit]) + text for name, text in PROXY.items()
                       for suffix, limit in (("", 0), ("-by-bytes", 1))},
}  # fmt: skip


def main():
    for target, seeds in SEEDS.items():
        folder = pathlib.Path("corpus", target)
        folder.mkdir(parents=True, exist_ok=True)
        for name, seed in seeds.items():
            (folder / name).write_bytes(seed)


if __name__ == "__main__":
    main()
