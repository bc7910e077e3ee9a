"""
What costs much is done in pieces: a burst of messages that each match thousands of subscriptions holds up nobody else, and
nothing is lost or reordered by being put off.
"""

import itertools

import pytest

from harness import raw
from harness.broker import SANITIZED
from harness.peer import Peer

LEVELS = 13
FILTERS = ["/".join(f) for f in itertools.product("+x", repeat=LEVELS)]  # each matches TOPIC
TOPIC = "/".join("x" * LEVELS)
COUNT = 400 if SANITIZED else 1000  # one read of the broker's takes them all


def burst(p):
    return b"".join(p.packet(TOPIC, b"%d" % n) for n in range(COUNT))


@pytest.mark.parametrize("loops", [1, 2])
def test_others_are_answered_meanwhile(new_broker, loops):
    broker = new_broker(loops=loops)
    witnesses = [Peer(broker, f"w{n}") for n in range(8)]  # on every loop
    with Peer(broker, "s") as s, Peer(broker, "p") as p:
        assert s.subscribe(*FILTERS, options=0) == [0] * len(FILTERS)
        p.send(burst(p), raw.disconnect())
        p.socket.close()
        assert s.receive(raw.PUBLISH).payload == b"0"
        for w in witnesses:
            w.send(raw.pingreq())
        for w in witnesses:
            w.receive(raw.PINGRESP)
        came = 1
        s.socket.setblocking(False)
        try:
            while data := s.socket.recv(1 << 20):
                s.buffer += data
        except BlockingIOError:
            pass
        while (got := s._parse()) is not None:
            assert got.payload == b"%d" % came
            came += 1
        assert came < COUNT, "the witnesses waited for all of it"
        s.socket.setblocking(True)
        assert [s.receive(raw.PUBLISH).payload for _ in range(came, COUNT)] == [b"%d" % n for n in range(came, COUNT)]
        s.bye()
    broker.wait_causes("p", "accepted.new", "client.normal")
    for w in witnesses:
        w.bye()


def test_two_that_send_take_turns(new_broker):
    """Neither waits for the other's end; a DISCONNECT behind a burst is told as one."""
    broker = new_broker(loops=1)
    with Peer(broker, "s") as s, Peer(broker, "p1") as p1, Peer(broker, "p2") as p2:
        s.subscribe(*FILTERS, options=0)
        p1.send(burst(p1), raw.disconnect())
        p2.send(burst(p2), raw.disconnect())
        for p in (p1, p2):
            p.socket.close()
        got = [int(s.receive(raw.PUBLISH).payload) for _ in range(2 * COUNT)]
        assert sorted(got) == sorted(2 * list(range(COUNT)))
        assert got != sorted(got) and got != 2 * list(range(COUNT)), "they take turns"
        s.bye()
    for name in ("p1", "p2"):
        broker.wait_causes(name, "accepted.new", "client.normal")


def test_a_keepalive_that_was_put_off(new_broker):
    """Its client has sent: that the broker has not come to it is not the client's silence."""
    broker = new_broker(loops=1)
    with Peer(broker, "s") as s:
        s.subscribe(*FILTERS, options=0)
        p = Peer(broker, "p", keepalive=1)
        for _ in range(1 if SANITIZED else 3):
            p.send(burst(p))
        p.send(raw.disconnect())
        p.socket.close()
        for _ in range(COUNT * (1 if SANITIZED else 3)):
            s.receive(raw.PUBLISH)
        s.bye()
    broker.wait_causes("p", "accepted.new", "client.normal")
