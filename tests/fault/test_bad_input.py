"""
Bad input from outside: every packet type of each version mutated against the running broker (under ASan in that part of the tests),
bare and in WebSocket frames, which are mutated themselves; peers that
don't read, write one byte at a time, vanish without a word, or come in floods. Through all of it others are served, each
channel has the records that the rule asks for, and the broker stays up.
"""

import contextlib
import random
import socket
import struct
import threading
import time

import pytest

from harness import raw, ws
from harness.broker import SANITIZED, check_channels, clock_in_minute
from harness.wait import wait_until

SEED = 20261123
MUTATIONS = 60 if SANITIZED else 150
# The module's broker takes all the mutations: what one of them spoils, a later one shows.
BROKER_ARGS = ("--allow-anonymous", "--max-packet-size", "65536", "--ws", "127.0.0.1:0")


# ---- well-formed packets of both versions, as the mutations' seeds ----


def properties(*parts):
    body = b"".join(parts)
    return raw.length(len(body)) + body


def number(identifier, form, value):
    return bytes([identifier]) + struct.pack(form, value)


def string(identifier, value):
    return bytes([identifier]) + raw.text(value)


def pair(name, value):
    return b"\x26" + raw.text(name) + raw.text(value)


PUBLISH_PROPERTIES = properties(
    number(1, "!B", 1), number(2, "!I", 60), string(3, "text/plain"), string(8, "answer/to"), string(9, "corr"),
    pair("a", "b"), pair("a", "c"),
)  # fmt: skip
REASON = properties(string(31, "because"), pair("k", "v"))


def connect(client_id, level):
    if level < 5:
        return raw.connect(client_id, "nobody", "secret", will=("will/topic", "gone", 1, True), level=level)
    wanted = properties(
        number(17, "!I", 5), number(33, "!H", 10), number(39, "!I", 4096), number(34, "!H", 4), number(23, "!B", 1),
        number(25, "!B", 0), pair("firmware", "1.2"),
    )  # fmt: skip
    will = properties(number(24, "!I", 1), number(2, "!I", 9), string(3, "text/plain"), pair("w", "x"))
    body = raw.text("MQTT") + struct.pack("!BBH", 5, 0x2E, 30) + wanted + raw.text(client_id) + will
    return raw.packet(raw.CONNECT, body + raw.text("will/topic") + raw.text("gone"))


def acknowledgement(kind, level):
    tail = b"" if level < 5 else b"\0" + REASON
    return raw.packet(kind, struct.pack("!H", 7) + tail, 2 if kind == raw.PUBREL else 0)


def publish(level, qos):
    body = raw.text("bad/input") + (struct.pack("!H", 7) if qos else b"")
    return raw.packet(raw.PUBLISH, body + (PUBLISH_PROPERTIES if level == 5 else b"") + b"payload" * 3, qos << 1)


def subscribe(level):
    head = struct.pack("!H", 9) + (properties(b"\x0b\x05", pair("s", "t")) if level == 5 else b"")
    return raw.packet(raw.SUBSCRIBE, head + raw.text("bad/+") + b"\1" + raw.text("$share/g/bad/#") + b"\2", 2)


def unsubscribe(level):
    head = struct.pack("!H", 10) + (properties(pair("s", "t")) if level == 5 else b"")
    return raw.packet(raw.UNSUBSCRIBE, head + raw.text("bad/+") + raw.text("other"), 2)


def disconnect(level):
    body = b"\4" + properties(number(17, "!I", 0), string(31, "tired"), pair("x", "y"))
    return raw.packet(raw.DISCONNECT, body if level == 5 else b"")


def authenticate(level):
    body = b"\x19" + properties(string(21, "SCRAM-SHA-256"), string(22, "n,,n=me,r=nonce"))
    return raw.packet(15, body if level == 5 else b"")


SEEDS = {
    "CONNECT": lambda level: connect("second", level),
    "CONNACK": lambda level: raw.packet(raw.CONNACK, b"\0\0" if level < 5 else b"\0\0\0"),
    "PUBLISH0": lambda level: publish(level, 0),
    "PUBLISH1": lambda level: publish(level, 1),
    "PUBLISH2": lambda level: publish(level, 2),
    "PUBACK": lambda level: acknowledgement(raw.PUBACK, level),
    "PUBREC": lambda level: acknowledgement(raw.PUBREC, level),
    "PUBREL": lambda level: acknowledgement(raw.PUBREL, level),
    "PUBCOMP": lambda level: acknowledgement(raw.PUBCOMP, level),
    "SUBSCRIBE": subscribe,
    "SUBACK": lambda level: raw.packet(raw.SUBACK, b"\0\1\0"),
    "UNSUBSCRIBE": unsubscribe,
    "UNSUBACK": lambda level: raw.packet(raw.UNSUBACK, b"\0\1"),
    "PINGREQ": lambda level: raw.pingreq(),
    "PINGRESP": lambda level: raw.packet(raw.PINGRESP),
    "DISCONNECT": disconnect,
    "AUTH": authenticate,
}


def flip(r, p):
    at = r.randrange(len(p))
    return p[:at] + bytes([p[at] ^ 1 << r.randrange(8)]) + p[at + 1 :]


def overwrite(r, p):
    at = r.randrange(len(p))
    return p[:at] + bytes([r.choice((0, 1, 0x7F, 0x80, 0xFF, 0xC0, 0xED))]) + p[at + 1 :]


def cut(r, p):
    return p[: r.randrange(1, len(p) + 1)]


def cut_and_mend(r, p):
    """Shorter, with a remaining length that fits: the fields inside run out."""
    body = p[2:] if p[1] < 0x80 else p[3:]
    body = body[: r.randrange(len(body) + 1)]
    return p[:1] + raw.length(len(body)) + body


def double(r, p):
    at = r.randrange(len(p))
    end = r.randrange(at, len(p)) + 1
    return p[:end] + p[at:end] + p[end:]


def grow(r, p):
    """A longer body with a remaining length that fits."""
    body = p[2:] if p[1] < 0x80 else p[3:]
    at = r.randrange(len(body) + 1)
    body = body[:at] + r.randbytes(r.randrange(1, 20)) + body[at:]
    return p[:1] + raw.length(len(body)) + body


def lie(r, p):
    """A remaining length that is not true, or not one at all."""
    tail = p[2:] if p[1] < 0x80 else p[3:]
    claimed = r.choice((b"\xff\xff\xff\x7f", b"\xff\xff\xff\xff\x01", b"\x80\x00", b"\xff\xff\x03", b"\x00", b"\x05"))
    return p[:1] + claimed + tail


MUTATORS = (flip, overwrite, cut, cut_and_mend, double, grow, lie)


def mutate(r, packet):
    for _ in range(r.randrange(1, 4)):
        packet = r.choice(MUTATORS)(r, packet) if len(packet) > 2 else flip(r, packet)
    return packet


class Witness:
    """A well-behaved pair: one message goes round at each look()."""

    def __init__(self, broker):
        self.client = raw.Client(broker, seconds=60)
        self.client.login("witness")
        self.client.send(raw.subscribe(1, ("witness/+", 1)))
        self.client.receive(raw.SUBACK)
        self.count, self.slowest = 0, 0.0

    def look(self):
        self.count += 1
        began = time.monotonic()
        payload = b"%d" % self.count
        self.client.send(raw.publish("witness/1", payload, 1, 1 + self.count % 60000))
        kinds = {}
        while len(kinds) < 2:
            got = self.client.receive()
            kinds[got.kind] = got
        assert kinds[raw.PUBLISH].payload == payload
        self.client.send(raw.ack(raw.PUBACK, kinds[raw.PUBLISH].packet_id))
        self.slowest = max(self.slowest, time.monotonic() - began)


def drain(sock):
    """Reads to the end, whatever it is: with a mutated CONNECT nobody knows the version of what comes."""
    try:
        while sock.recv(65536):
            pass
    except ConnectionError:
        pass


def feed(broker, data, r, over=None):
    """One connection that sends `data` in one or two pieces, closes its side and reads to the end."""
    with raw.Client(broker, over=over) as c:
        try:
            split = r.randrange(len(data)) if r.random() < 0.3 else 0
            c.socket.sendall(data[:split])
            c.socket.sendall(data[split:])
            c.socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was closed on us: fine
        drain(c.socket)


def all_ended(broker, prefix, client_ids):
    wait_until(lambda: broker.api("/devices", online="true", query=prefix, limit=1)["total"] == 0, 20)
    for client_id in client_ids:
        for rows in check_channels(broker.trace(client_id)).values():
            assert rows[-1]["action"] != "connect", f"{client_id}: a channel without an ending"


@pytest.mark.parametrize("level", (3, 4, 5))
@pytest.mark.parametrize("kind", SEEDS)
def test_mutated_packets(broker, kind, level):
    r = random.Random(f"{SEED} {kind} {level}")
    witness = Witness(broker)
    client_ids = []
    for n in range(MUTATIONS):
        client_id = f"mutant-{kind}-{level}-{n}"
        client_ids.append(client_id)
        bad = mutate(r, SEEDS[kind](level))
        if kind == "CONNECT" and n % 2 == 0:
            data = mutate(r, connect(client_id, level))
        else:
            data = connect(client_id, level)[:] if level == 5 else raw.connect(client_id, level=level)
            data += raw.publish("bad/first", b"", 0) if level < 5 and n % 3 == 0 else b""
            data += bad + (SEEDS[kind](level) if n % 4 == 0 else b"")
        feed(broker, data, r)
        if n % 10 == 0:
            witness.look()
    witness.look()
    witness.client.bye()
    assert broker.process.poll() is None, "the broker ended"
    all_ended(broker, f"mutant-{kind}-{level}-", client_ids)


def test_mutated_authentication(broker):
    """AUTH where it belongs, in the middle of an exchange: the CONNECT, the client's messages, or the packets around them."""
    r = random.Random(f"{SEED} auth")
    witness, client_ids = Witness(broker), []
    first = f"n,,n={broker.user},r=fyko+d2lbbFgONRv9qkxdawL"
    for n in range(2 * MUTATIONS):
        client_ids.append(f"mutant-auth-{n}")
        words = {"auth_method": "SCRAM-SHA-256", "auth_data": mutate(r, first.encode()) if n % 3 == 0 else first}
        data = raw.connect(client_ids[-1], level=5, props=words)
        last = raw.auth(0x18, {**words, "auth_data": "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,p=" + "A" * 43 + "="})
        again = raw.auth(0x19, words)
        data += mutate(r, last) if n % 3 == 1 else last
        data += mutate(r, again) if n % 3 == 2 else again
        feed(broker, data, r)
        if n % 10 == 0:
            witness.look()
    witness.look()
    witness.client.bye()
    assert broker.process.poll() is None, "the broker ended"
    all_ended(broker, "mutant-auth-", client_ids)
    causes = {r["cause"] for who in client_ids for r in broker.trace(who)}
    assert "auth.exchange" in causes and "accepted.new" not in causes, causes


def in_frames(r, data):
    """The bytes in frames as they come: whole, in fragments, with pings between them."""
    out = b""
    while data:
        size = r.choice((1, 2, 7, 125, 126, 400, len(data)))
        pieces = [data[at : at + size] for at in range(0, len(data), size)][: r.randrange(1, 5)]
        data = data[sum(map(len, pieces)) :]
        for n, piece in enumerate(pieces):
            out += ws.frame(piece, ws.CONTINUATION if n else ws.BINARY, fin=n + 1 == len(pieces))
            if r.random() < 0.1:
                out += ws.frame(b"ping", ws.PING)
    return out + (ws.frame(ws.close_payload(1000), ws.CLOSE) if r.random() < 0.5 else b"")


def test_mutated_websocket(broker):
    """The upgrade request, the frames, or what is in them."""
    r = random.Random(f"{SEED} ws")
    witness, client_ids = Witness(broker), []
    for n in range(4 * MUTATIONS):
        level, kind = r.choice((3, 4, 5)), r.choice(list(SEEDS))
        client_ids.append(f"mutant-ws-{n}")
        upgrade, data = ws.request(), raw.connect(client_ids[-1], level=level) + raw.publish("bad/input", b"x" * 300)
        data += SEEDS[kind](level)
        where = r.choice(("request", "frames", "frames", "packets", "nothing"))
        if where == "packets":
            data = mutate(r, data)
        frames = in_frames(r, data)
        for _ in range(r.randrange(1, 4)):
            change = r.choice((flip, overwrite, cut, double))
            upgrade = change(r, upgrade) if where == "request" else upgrade
            frames = change(r, frames) if where == "frames" else frames
        s = socket.create_connection(broker.listener("ws"), timeout=60)
        feed(broker, upgrade + frames, r, over=s)
        if n % 10 == 0:
            witness.look()
    witness.look()
    witness.client.bye()
    assert broker.process.poll() is None, "the broker ended"
    all_ended(broker, "mutant-ws-", client_ids)


def test_random_bytes(broker):
    """What is no MQTT at all is told under its address, and ends at once."""
    r = random.Random(SEED)
    witness = Witness(broker)
    for n in range(MUTATIONS):
        feed(broker, r.randbytes(r.randrange(1, 300)), r)
    witness.look()
    witness.client.bye()
    wait_until(lambda: broker.api("/unidentified", limit=1)["total"] > 0)


# ---- peers that are slow ----


def test_a_subscriber_that_never_reads(new_broker, figures):
    """Its queue and its output are bounded; another subscriber of the same topics gets every message."""
    count = 2000 if SANITIZED else 10000
    broker = new_broker("--allow-anonymous", "--max-queued-messages", "1000", "--max-output-bytes", "65536")
    stuck = raw.Client(broker)
    stuck.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.login("stuck", user=None, keepalive=0)
    stuck.send(raw.subscribe(1, ("flood/#", 1)))
    stuck.receive(raw.SUBACK)
    good = raw.Client(broker, seconds=60)
    good.login("good", user=None)
    good.send(raw.subscribe(1, ("flood/#", 1)))
    good.receive(raw.SUBACK)
    got = []

    def read():
        while len(got) < count:
            packet = good.receive(raw.PUBLISH)
            good.send(raw.ack(raw.PUBACK, packet.packet_id))
            got.append(int(packet.payload[:8]))

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    before = resident(broker)
    with raw.Client(broker, seconds=60) as publisher:
        publisher.login("publisher", user=None)
        for n in range(count):
            publisher.send(raw.publish("flood/x", b"%08d" % n + b"." * 1000, 1, n % 60000 + 1))
            if n % 500 == 499:
                publisher.receive_all(500, raw.PUBACK)
                # a publisher that outruns the good one would fill its queue of 1000 as well
                wait_until(lambda sent=n: len(got) > sent - 500, seconds=60)
        publisher.bye()
    reader.join(60)
    assert got == list(range(count)), "the good subscriber lost or reordered messages"
    grown = resident(broker) - before
    if not SANITIZED:
        assert grown < 40 * 1024 * 1024, f"{grown} bytes more for a client that does not read"
    stuck.reset()
    good.bye()
    ending = broker.wait_trace("stuck", 2)[-1]
    assert ending["detail"]["dropped"] > 0, ending
    figures(f"{count} messages of 1 KiB beside a subscriber that reads nothing: memory grew by {grown >> 20} MiB")


def resident(broker):
    with open(f"/proc/{broker.process.pid}/statm", encoding="ascii") as f:
        return int(f.read().split()[1]) * 4096


def test_connections_that_never_finish_their_connect(new_broker):
    """One byte at a time, and silence: each ends by the time limit; others connect meanwhile."""
    broker = new_broker("--allow-anonymous", "--connect-timeout", "3s", env=clock_in_minute(5))
    sources = [f"127.0.8.{n + 1}" for n in range(20)]  # few from each, so that none is collapsed
    slow = [raw.Client(broker, source=sources[n % 20]) for n in range(100)]
    silent = [raw.Client(broker, source=sources[n % 20]) for n in range(100)]
    data = raw.connect("never-done")
    for at in range(6):
        for c in slow:
            with contextlib.suppress(OSError):  # its time may be over
                c.socket.sendall(data[at : at + 1])
        with raw.Client(broker) as c:
            c.login(f"quick-{at}", user=None)
            c.bye()
    for c in slow + silent:
        assert c.wait_closed(30) == []
        c.socket.close()
    wait_until(lambda: len(broker.all_items("/unidentified", cause="handshake.timeout")) == 200, 15)


# ---- peers that vanish ----

TCP_REPAIR = 19


def vanish(client):
    """The socket is gone without FIN or reset, as when a device loses power; needs CAP_NET_ADMIN."""
    try:
        client.socket.setsockopt(socket.IPPROTO_TCP, TCP_REPAIR, 1)
    except OSError as e:
        pytest.skip(f"TCP_REPAIR: {e}")
    client.socket.close()


def test_a_peer_that_vanished_is_silent(new_broker):
    broker = new_broker("--allow-anonymous")
    gone = raw.Client(broker)
    gone.login("vanished", user=None, keepalive=1)
    vanish(gone)
    records = broker.wait_causes("vanished", "accepted.new", "keepalive.expired", seconds=20)
    assert records[-1]["description"] == "no heart"
    assert records[-1]["detail"]["silentMs"] >= 1500


def test_a_peer_that_vanished_and_is_written_to(new_broker):
    """The device came back from a power loss: its kernel answers our data with a reset, and that is what is told."""
    broker = new_broker("--allow-anonymous")
    gone = raw.Client(broker)
    gone.login("vanished", user=None, keepalive=0)
    gone.send(raw.subscribe(1, ("to/it", 0)))
    gone.receive(raw.SUBACK)
    vanish(gone)
    with raw.Client(broker) as c:
        c.login("writer", user=None)
        c.send(raw.publish("to/it", b"are you there?"))
        c.nothing()
        c.bye()
    broker.wait_causes("vanished", "accepted.new", "peer.reset")


# ---- floods ----


def test_a_flood_from_one_address_leaves_others_served(new_broker, figures):
    """Half of the flood says CONNECT and leaves, half says nonsense; the witness is answered through all of it."""
    each = 200 if SANITIZED else 1000
    broker = new_broker("--allow-anonymous")
    witness = Witness(broker)
    failed = []

    def flood(who):
        r = random.Random(f"{SEED} {who}")
        try:
            for n in range(each):
                c = raw.Client(broker, source="127.0.9.9")
                c.socket.sendall(raw.connect(f"flood-{who}-{n}") if n % 2 else r.randbytes(40))
                c.reset() if n % 3 else c.fin()
        except OSError as e:
            failed.append(e)

    threads = [threading.Thread(target=flood, args=(who,), daemon=True) for who in range(4)]
    for t in threads:
        t.start()
    while any(t.is_alive() for t in threads):
        witness.look()
    for t in threads:
        t.join()
    assert not failed, failed[0]
    witness.look()
    figures(f"{4 * each} connections in a flood; {witness.count} messages of the witness, the slowest "
            f"{witness.slowest * 1000:.0f} ms")
    witness.client.bye()
    wait_until(lambda: broker.api("/devices", online="true", limit=1)["total"] == 0, 30)
    for rows in check_channels([r for r in broker.events() if r["clientId"].startswith("flood-")]).values():
        assert rows[-1]["action"] != "connect"
