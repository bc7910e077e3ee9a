"""
A well-behaved client over raw sockets, for the conformance tests: it speaks 3.1.1 or 5.0 by its `level`, numbers its packets and
acknowledges what it gets. What is not said here it does as raw.Client, so that a test may still send anything.
"""

import itertools
import os
import socket

from harness import raw

KEPT = 3600  # the session expiry interval of a durable session in MQTT 5


class Peer(raw.Client):
    def __init__(self, broker, client_id, level=5, durable=False, props=None, **kwargs):
        super().__init__(broker)
        self.client_id, self.ids = client_id, itertools.count(1)
        self.fence = f"fence/{os.urandom(6).hex()}"
        self.fenced = False
        if durable:
            kwargs.setdefault("clean", False)
            props = {"session_expiry": KEPT, **(props or {})}
        self.present = self.login(client_id, level=level, props=props, **kwargs)

    def _props(self, props):
        """Every packet of MQTT 5 has some, if only none."""
        return (props or {}) if self.level == 5 else None

    def subscribe(self, *entries, options=2, props=None):
        """Filters, or (filter, options); returns the codes of the SUBACK."""
        packet_id = next(self.ids)
        entries = [e if isinstance(e, tuple) else (e, options) for e in entries]
        self.send(raw.subscribe(packet_id, *entries, props=self._props(props)))
        answer = self.receive(raw.SUBACK)
        assert answer.packet_id == packet_id
        return answer.codes

    def unsubscribe(self, *filters):
        packet_id = next(self.ids)
        self.send(raw.unsubscribe(packet_id, *filters, props=self._props(None)))
        answer = self.receive(raw.UNSUBACK)
        assert answer.packet_id == packet_id
        return answer.codes

    def packet(self, topic, payload=b"", qos=0, packet_id=0, retain=False, dup=False, props=None):
        """A PUBLISH, not sent."""
        return raw.publish(topic, payload, qos, packet_id, retain, dup, self._props(props))

    def publish(self, topic, payload=b"", qos=0, retain=False, props=None):
        """The whole exchange of its QoS; returns the PUBACK or PUBREC. Not for who has messages on the way to it."""
        packet_id = next(self.ids) if qos else 0
        self.send(self.packet(topic, payload, qos, packet_id, retain, props=props))
        if qos == 0:
            return None
        answer = self.receive(raw.PUBACK if qos == 1 else raw.PUBREC)
        assert answer.packet_id == packet_id
        if qos == 2 and answer.reason < 0x80:
            self.send(raw.ack(raw.PUBREL, packet_id))
            assert self.receive(raw.PUBCOMP).packet_id == packet_id
        return answer

    def get(self):
        """The next PUBLISH, acknowledged; a QoS 2 exchange is completed before."""
        got = self.receive(raw.PUBLISH)
        self.acknowledge(got)
        return got

    def acknowledge(self, got):
        if got.qos == 1:
            self.send(raw.ack(raw.PUBACK, got.packet_id))
        elif got.qos == 2:
            self.send(raw.ack(raw.PUBREC, got.packet_id))
            self.released(got.packet_id)

    def released(self, packet_id):
        """PUBREL comes, perhaps behind other messages; these are kept for later."""
        later = []
        while True:
            got = self.receive()
            if got.kind == raw.PUBREL:
                assert got.packet_id == packet_id
                break
            assert got.kind == raw.PUBLISH, got
            later.append(got)
        self.send(raw.ack(raw.PUBCOMP, packet_id))
        self.again = later + self.again

    again = []

    def receive(self, kind=None, seconds=None):
        if self.again:
            got, self.again = self.again[0], self.again[1:]
            assert kind is None or got.kind == kind, f"{got}, expected kind {kind}"
            return got
        return super().receive(kind, seconds)

    def none_but(self, publisher):
        """
        Nothing more came to this client of what `publisher` has sent: its next message is the next that comes. Messages of
        one publisher arrive in order, so no time needs to pass.
        """
        if not self.fenced:
            self.subscribe(self.fence, options=0)
            self.fenced = True
        publisher.send(publisher.packet(self.fence, b"fence"))
        got = self.receive()
        assert got.kind == raw.PUBLISH and got.topic == self.fence, f"unexpected {got}"

    def ended(self, reason=None):
        """The broker closes; in MQTT 5 after a DISCONNECT, which says why, before without a word."""
        last = self.wait_closed()
        if self.level < 5:
            assert last == [], last
            return None
        assert [p.kind for p in last] == [raw.DISCONNECT], last
        assert reason is None or last[0].reason == reason, f"reason {last[0].reason:#x}, expected {reason:#x}"
        return last[0]

    def bye(self, reason=None, props=None):
        """DISCONNECT and the end of what we send; the broker has seen it, as it closes."""
        self.send(raw.disconnect(reason, props))
        self.socket.shutdown(socket.SHUT_WR)
        assert [p for p in self.wait_closed() if p.kind != raw.PUBLISH] == []
        self.socket.close()

    def drop(self):
        """The end of the connection without DISCONNECT; the broker has seen it, as it closes."""
        self.socket.shutdown(socket.SHUT_WR)
        self.wait_closed()
        self.socket.close()


def refused(broker, data, level=5):
    """Sends a CONNECT, perhaps with more behind it, on a new connection; what came until the broker closed."""
    with raw.Client(broker) as c:
        c.level = level
        c.send(data)
        return c.wait_closed()
