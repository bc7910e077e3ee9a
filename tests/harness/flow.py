"""
QoS 1 and 2 flows that outlive the broker: a publisher that repeats what was not acknowledged, a subscriber that
counts. Both keep MQTT's client side state while the broker is killed, as a good client with a file would.

A Way says how they speak: version, transport, and what they grant. In MQTT 5 a publisher sends topic aliases and properties, and a
subscriber checks these.
"""

import socket
import threading

from harness import raw
from harness.wait import PATIENCE

GONE = (raw.Closed, OSError, socket.timeout)


def start_all(parties):
    for party in parties:
        party.start()
    return parties


def end_all(parties):
    for party in parties:
        party.end()


class Way:
    """`connect`: from a broker to a connected socket, where it is not plain TCP."""

    def __init__(self, level=4, connect=None, receive_maximum=None):
        self.level, self.connect = level, connect
        self.login = {"clean": False, "level": level}
        if level == 5:
            self.login["props"] = {"session_expiry": 3600}
            if receive_maximum:
                self.login["props"]["receive_maximum"] = receive_maximum

    def client(self, broker):
        return raw.Client(broker, over=self.connect and self.connect(broker))

    @property
    def props(self):
        """Of packets that have none."""
        return {} if self.level == 5 else None


class Party(threading.Thread):
    """One connection's life in a thread; `failure` is what must not have happened."""

    def __init__(self, broker, client_id, started=None, way=None):
        super().__init__(daemon=True)
        self.broker, self.client_id, self.started, self.way = broker, client_id, started, way or Way()
        self.failure = None
        self.quit = threading.Event()

    def run(self):
        try:
            with self.way.client(self.broker) as client:
                self.session_present = client.login(self.client_id, **self.way.login)
                if self.started is not None:
                    self.started.set()
                self.live(client)
        except GONE:
            pass
        except Exception as e:  # noqa: BLE001  # told by end()
            self.failure = e

    def receive(self, client):
        """The next packet, or None after a moment without one."""
        try:
            return client.receive(seconds=0.05)
        except socket.timeout:
            return None

    def end(self):
        self.quit.set()
        self.join(PATIENCE)
        assert not self.is_alive()
        if self.failure is not None:
            raise self.failure


class PublisherState:
    """What a publisher remembers across connections."""

    def __init__(self, client_id, topic, qos, padding=0, retain_every=0):
        self.padding, self.retain_every = padding, retain_every
        self.client_id, self.topic, self.qos = client_id, topic, qos
        self.next = 0
        self.sent = 0
        self.unacknowledged = {}  # packet ID -> (number, "sent" or "released")
        self.acknowledged = set()  # numbers: the broker has answered PUBACK or PUBREC
        self.repeated = 0

    def payload(self, number):
        return f"{self.client_id} {number} ".ljust(self.padding, ".")


class Publisher(Party):
    """Publishes while `flowing` is set and keeps up to 20 messages in flight; ends when all is acknowledged."""

    def __init__(self, broker, state, flowing, way=None):
        super().__init__(broker, state.client_id, way=way)
        self.state, self.flowing = state, flowing
        self.aliased = False

    def packet(self, number, packet_id, dup=False):
        s, topic, props = self.state, self.state.topic, None
        if self.way.level == 5:
            props = {"topic_alias": 1, "user": [("number", str(number))]}
            topic, self.aliased = "" if self.aliased else topic, True
        retain = s.retain_every and number % s.retain_every == 0
        return raw.publish(topic, s.payload(number), s.qos, packet_id, retain, dup, props)

    def keep_session(self, client):
        """
        Before the first message: a SUBACK says that the session is stored. Without one the client would have to forget what it
        has sent, and could not tell the broker that a QoS 2 message comes again.
        """
        s = self.state
        assert s.next == 0, "the session is gone, and its messages with it"
        client.send(raw.subscribe(1, (f"nothing/{s.client_id}", 0), props=self.way.props))
        assert client.receive(raw.SUBACK).codes == [0]

    def live(self, client):
        s = self.state
        if not self.session_present:
            self.keep_session(client)
        window = client.connack.props.get("receive_maximum", 20)
        for packet_id, (number, stage) in sorted(s.unacknowledged.items(), key=lambda e: e[1][0]):
            s.repeated += 1
            if stage == "sent":
                client.send(self.packet(number, packet_id, dup=True))
            else:
                client.send(raw.ack(raw.PUBREL, packet_id))
        while not self.quit.is_set():
            while self.flowing.is_set() and len(s.unacknowledged) < min(window, 20):
                packet_id = s.next % 65535 + 1
                while packet_id in s.unacknowledged:
                    packet_id = packet_id % 65535 + 1
                s.unacknowledged[packet_id] = (s.next, "sent")
                s.next += 1
                client.send(self.packet(s.next - 1, packet_id))
            if not s.unacknowledged and not self.flowing.is_set():
                client.bye()
                return
            got = self.receive(client)
            if got is not None:
                self.take(client, got)

    def take(self, client, got):
        s = self.state
        number, stage = s.unacknowledged.get(got.packet_id, (None, None))
        if got.kind == raw.PUBACK:
            assert s.qos == 1 and number is not None
            s.acknowledged.add(number)
            del s.unacknowledged[got.packet_id]
        elif got.kind == raw.PUBREC:
            assert s.qos == 2 and number is not None
            s.acknowledged.add(number)
            s.unacknowledged[got.packet_id] = (number, "released")
            client.send(raw.ack(raw.PUBREL, got.packet_id))
        elif got.kind == raw.PUBCOMP:
            assert stage == "released"
            del s.unacknowledged[got.packet_id]
        else:
            raise AssertionError(f"unexpected {got}")


class SubscriberState:
    def __init__(self, client_id):
        self.client_id = client_id
        self.payloads = []
        self.unreleased = set()  # packet IDs of QoS 2 whose PUBREL has not come


class Subscriber(Party):
    """Receives and acknowledges until end()."""

    def __init__(self, broker, state, started=None, way=None):
        super().__init__(broker, state.client_id, started, way)
        self.state = state

    def live(self, client):
        while not self.quit.is_set():
            got = self.receive(client)
            if got is not None:
                self.take(client, got)
        client.bye()

    def take(self, client, got):
        s = self.state
        if got.kind == raw.PUBREL:
            s.unreleased.discard(got.packet_id)
            client.send(raw.ack(raw.PUBCOMP, got.packet_id))
            return
        assert got.kind == raw.PUBLISH, got
        if self.way.level == 5:
            assert got.props["user"] == [("number", got.payload.decode().split(" ")[1])], got.props
        if got.qos < 2 or got.packet_id not in s.unreleased:
            s.payloads.append(tuple(got.payload.decode().split(" ", 2)[:2]))
        if got.qos == 1:
            client.send(raw.ack(raw.PUBACK, got.packet_id))
        elif got.qos == 2:
            s.unreleased.add(got.packet_id)
            client.send(raw.ack(raw.PUBREC, got.packet_id))


def subscribe_durably(broker, client_id, topic, qos, way=None):
    way = way or Way()
    with way.client(broker) as c:
        c.login(client_id, **way.login)
        c.send(raw.subscribe(1, (topic, qos), props=way.props))
        assert c.receive(raw.SUBACK).codes == [qos]
        c.bye()


def numbers(payloads, client_id):
    """What came from one publisher, in order of arrival."""
    return [int(n) for who, n in payloads if who == client_id]
