"""
kill -9 in the middle of MQTT 5's flows, over each transport: small windows, topic aliases, properties, retained messages, sessions
that expire one day. Nothing that was acknowledged is lost, QoS 2 comes once, in order, and what a window allows is never exceeded.
"""

import random
import socket
import ssl
import threading
import time

import pytest

from harness import raw, ws
from harness.broker import SANITIZED
from harness.certs import Authority
from harness.flow import Publisher, PublisherState, Subscriber, SubscriberState, Way, numbers, subscribe_durably
from harness.peer import Peer
from harness.wait import wait_until

ROUNDS = 3 if SANITIZED else 5
WINDOW = 3


@pytest.fixture(scope="module")
def certs(tmp_path_factory):
    ca = Authority(tmp_path_factory.mktemp("certs"))
    cert, key = ca.issue("server", san="DNS:localhost,IP:127.0.0.1")
    return ssl.create_default_context(cafile=str(ca.cert)), ["--tls-certificate", str(cert), "--tls-key", str(key)]


def way_over(transport, context):
    if transport == "mqtt":
        return None
    if transport == "mqtts":
        return lambda broker: context.wrap_socket(
            socket.create_connection(broker.listener("mqtts"), timeout=60), server_hostname="localhost"
        )
    return lambda broker: ws.connect(broker, transport, context=context if transport == "wss" else None)


class Watched(Subscriber):
    """Counts what is in flight to it: never more than it granted. It acknowledges late, so that the window fills."""

    def live(self, client):
        held = []
        while not self.quit.is_set() or held:
            got = self.receive(client)
            if got is None or len(held) == WINDOW:
                for packet in held:
                    self.take(client, packet)
                held = []
            if got is not None and got.kind == raw.PUBREL:
                self.take(client, got)
            elif got is not None:
                held.append(got)
            in_flight = {packet.packet_id for packet in held} | self.state.unreleased
            assert len(in_flight) <= WINDOW, "the receive maximum"
        client.bye()


@pytest.mark.parametrize("qos", [1, 2])
@pytest.mark.parametrize("transport", ["mqtt", "mqtts", "ws", "wss"])
@pytest.mark.mqtt5("MQTT-4.1.0-1", "MQTT-4.3.3-10", "MQTT-3.3.4-9")
def test_flows(new_broker, certs, figures, transport, qos):
    context, tls = certs
    dice = random.Random(f"{transport} {qos}")
    listen = [] if transport == "mqtt" else [f"--{transport}", "127.0.0.1:0"]
    broker = new_broker("--max-queued-messages", "1000000", "--max-queued-bytes", "1GiB", "--receive-maximum", "7", *listen,
                        *(tls if transport in ("mqtts", "wss") else []))  # fmt: skip
    connect = way_over(transport, context)
    theirs, mine = Way(5, connect), Way(5, connect, WINDOW)
    subscribe_durably(broker, "sub", "flow/#", qos, mine)
    publishers = [PublisherState(f"pub{i}", f"flow/{i}", qos, retain_every=10) for i in range(3)]
    subscriber, flowing = SubscriberState("sub"), threading.Event()
    flowing.set()
    for _ in range(ROUNDS):
        parties = [Publisher(broker, p, flowing, theirs) for p in publishers] + [Watched(broker, subscriber, way=mine)]
        for party in parties:
            party.start()
        before = sum(len(p.acknowledged) for p in publishers)
        wait_until(lambda: sum(len(p.acknowledged) for p in publishers) > before, 20, "an acknowledgement")
        time.sleep(dice.random() * 0.3)  # the moment is arbitrary
        broker.kill9()
        for party in parties:
            party.end()
        broker.start()
    flowing.clear()
    for party in [Publisher(broker, p, flowing, theirs) for p in publishers]:
        party.start()
        party.join(60)
        party.end()
        assert party.session_present
    wanted = {(p.client_id, str(n)) for p in publishers for n in range(p.next)}
    last = Subscriber(broker, subscriber, way=theirs)
    last.start()
    wait_until(lambda: set(subscriber.payloads) >= wanted, 60, "every message")
    last.end()
    assert last.session_present
    repeated = 0
    for p in publishers:
        got = numbers(subscriber.payloads, p.client_id)
        first = list(dict.fromkeys(got))
        repeated += len(got) - len(first)
        assert first == list(range(p.next)), "all, and in order"
        assert qos == 1 or len(got) == len(first), "exactly once"
    with Peer(broker, "late") as late, Peer(broker, "fence") as fence:
        late.subscribe("flow/+")
        kept = {m.topic: int(m.payload.decode().split()[1]) for m in (late.get() for _ in publishers)}
        assert kept == {p.topic: (p.next - 1) // 10 * 10 for p in publishers}, "what is retained is the newest"
        late.none_but(fence)
        late.bye()
        fence.bye()
    figures(f"{ROUNDS} kills, {len(wanted)} messages, {repeated} delivered twice, 0 lost")
    broker.stop()
