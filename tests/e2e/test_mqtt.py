"""What MQTT promises, with real clients: paho (3.1.1 and 3.1), mosquitto_pub and mosquitto_sub, and raw sockets."""

import os
import queue
import socket
import subprocess
import threading

import paho.mqtt.client as paho
import pytest

from harness import raw
from harness.wait import wait_until


class Paho:
    """A paho client with its thread; what it receives is in `messages`."""

    def __init__(self, broker, client_id, clean=True, protocol=paho.MQTTv311, will=None, keepalive=60):
        self.broker, self.messages, self.acks = broker, queue.Queue(), queue.Queue()
        self.client = paho.Client(client_id, clean_session=clean, protocol=protocol)
        self.client.username_pw_set(broker.user, broker.password)
        self.client.max_inflight_messages_set(100)
        self.client.on_message = lambda c, u, m: self.messages.put(m)
        self.client.on_subscribe = lambda c, u, mid, granted: self.acks.put(list(granted))
        self.client.on_unsubscribe = lambda c, u, mid: self.acks.put(mid)
        self.client.on_connect = lambda c, u, flags, code: self.acks.put((code, flags.get("session present")))
        if will:
            self.client.will_set(*will)
        self.client.connect(broker.host, broker.port, keepalive)
        self.client.loop_start()
        code, self.session_present = self.acks.get(timeout=60)
        assert code == 0

    def subscribe(self, topic_filter, qos=0):
        self.client.subscribe(topic_filter, qos)
        return self.acks.get(timeout=60)

    def unsubscribe(self, topic_filter):
        self.client.unsubscribe(topic_filter)
        self.acks.get(timeout=60)

    def publish(self, topic, payload=b"", qos=0, retain=False):
        info = self.client.publish(topic, payload, qos, retain)
        info.wait_for_publish(60)
        assert info.is_published()

    def get(self, seconds=20):
        return self.messages.get(timeout=seconds)

    def payloads(self, count):
        return [self.get().payload for _ in range(count)]

    def nothing(self):
        """A message of our own goes round: what was sent before it would have come."""
        topic = "fence/" + os.urandom(8).hex()
        self.subscribe(topic)
        self.publish(topic, b"fence")
        got = self.get()
        assert got.topic == topic, f"unexpected {got.topic} {got.payload}"

    def close(self):
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def connect(broker):
    made = []

    def make(client_id, **kwargs):
        made.append(Paho(broker, client_id, **kwargs))
        return made[-1]

    yield make
    for client in made:
        client.close()


# ---- delivery ----


@pytest.mark.parametrize("sub_qos", [0, 1, 2])
@pytest.mark.parametrize("pub_qos", [0, 1, 2])
@pytest.mark.mqtt311("MQTT-3.8.4-6")
def test_qos_is_the_smaller(connect, name, pub_qos, sub_qos):
    subscriber, publisher = connect(name + "-s"), connect(name + "-p")
    assert subscriber.subscribe(name, sub_qos) == [sub_qos]
    for i in range(20):
        publisher.publish(name, b"%d" % i, pub_qos)
    got = [subscriber.get() for _ in range(20)]
    assert [m.payload for m in got] == [b"%d" % i for i in range(20)], "in order"
    assert {m.qos for m in got} == {min(pub_qos, sub_qos)}
    assert not any(m.retain for m in got)
    subscriber.nothing()


@pytest.mark.mqtt311("MQTT-4.6.0-5", "MQTT-4.6.0-6")
def test_order_of_each_publisher(connect, name):
    """Four publishers at once, on both loops, QoS 1 in flight: each one's messages arrive in its order."""
    subscriber = connect(name)
    subscriber.subscribe(name + "/#", 1)
    publishers = [connect(f"{name}-{i}") for i in range(4)]

    def run(i):
        infos = [publishers[i].client.publish(f"{name}/{i}", b"%d" % n, 1) for n in range(300)]
        for info in infos:
            info.wait_for_publish(60)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    seen = {}
    for _ in range(1200):
        m = subscriber.get()
        seen.setdefault(m.topic, []).append(int(m.payload))
    for t in threads:
        t.join()
    assert all(values == list(range(300)) for values in seen.values())
    assert len(seen) == 4


@pytest.mark.mqtt311("MQTT-4.6.0-2", "MQTT-4.6.0-3")
def test_acknowledgements_in_order(broker, name):
    """PUBACK and PUBREC leave in the order in which the messages came. [MQTT-4.6.0-2]"""
    with raw.Client(broker) as c, raw.Client(broker) as durable:
        durable.login(name + "-d", clean=False)
        durable.send(raw.subscribe(1, (name + "/kept", 1)))
        durable.receive(raw.SUBACK)
        durable.bye()
        c.login(name)
        sent = []
        for i in range(1, 201):
            topic = name + ("/kept" if i % 3 == 0 else "/free")
            sent.append(raw.publish(topic, "x", 1 + (i % 5 == 0), i))
        c.send(*sent)
        answers = [c.receive() for _ in range(200)]
        assert [a.packet_id for a in answers] == list(range(1, 201))
        assert [a.kind for a in answers] == [raw.PUBREC if i % 5 == 0 else raw.PUBACK for i in range(1, 201)]
        c.bye()


def test_overlapping_subscriptions(connect, name):
    """One message for each matching subscription or one in all: never none, at the highest QoS granted."""
    subscriber, publisher = connect(name + "-s"), connect(name + "-p")
    subscriber.subscribe(name + "/+", 0)
    subscriber.subscribe(name + "/#", 2)
    subscriber.subscribe(name + "/a", 1)
    publisher.publish(name + "/a", b"x", 2)
    got = [subscriber.get()]
    try:
        while True:
            got.append(subscriber.get(0.4))
    except queue.Empty:
        pass
    assert 1 <= len(got) <= 3
    assert max(m.qos for m in got) == 2


@pytest.mark.mqtt311("MQTT-3.10.4-1", "MQTT-3.10.4-2")
def test_unsubscribe(connect, name):
    c = connect(name)
    c.subscribe(name + "/#", 1)
    c.subscribe(name + "/b", 1)
    c.unsubscribe(name + "/#")
    c.unsubscribe(name + "/never-subscribed")
    c.publish(name + "/a", b"no", 1)
    c.publish(name + "/b", b"yes", 1)
    assert c.get().payload == b"yes"
    c.nothing()


def test_subscribing_again_replaces(connect, name):
    c = connect(name)
    assert c.subscribe(name, 2) == [2]
    assert c.subscribe(name, 0) == [0]
    c.publish(name, b"x", 2)
    assert c.get().qos == 0
    c.nothing()


def test_wildcards_and_dollar(connect, broker, name):
    c = connect(name)
    c.subscribe("+/" + name, 0)
    c.subscribe(name + "/+/c", 0)
    for topic in (f"a/{name}", f"/{name}", f"a/b/{name}", f"{name}/b/c", f"{name}//c", f"{name}/b/b/c"):
        c.publish(topic, b"x", 1)
    got = {c.get().topic for _ in range(4)}
    assert got == {f"a/{name}", f"/{name}", f"{name}/b/c", f"{name}//c"}
    c.nothing()


@pytest.mark.mqtt311("MQTT-4.7.2-1")
def test_sys_topics(broker, connect, name):
    c = connect(name)
    c.subscribe("$SYS/broker/#", 0)
    got = {}
    while "$SYS/broker/uptime" not in got or "$SYS/broker/clients/connected" not in got:
        m = c.get()
        got[m.topic] = m.payload
    assert got["$SYS/broker/version"].startswith(b"TraceMQ ")
    assert int(got["$SYS/broker/clients/connected"]) >= 1
    other = connect(name + "-all")
    other.subscribe("#", 0)
    other.publish(name, b"mine", 1)
    while True:
        m = other.get()
        assert not m.topic.startswith("$"), "# does not match topics that begin with $"
        if m.topic == name:
            break


def test_nobody_publishes_to_sys(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        c.send(raw.publish("$SYS/broker/version", "mine", retain=True))
        c.wait_closed()
    broker.wait_causes(name, "accepted.new", "topic.publish")


@pytest.mark.mqtt311("MQTT-7.1.1-1")
def test_largest_payload(connect, broker, name):
    """The largest packet is 1 MiB by default, one byte more ends the connection."""
    subscriber, publisher = connect(name + "-s"), connect(name + "-p")
    subscriber.subscribe(name, 2)
    room = 1024 * 1024 - 4 - 2 - len(name)
    payload = os.urandom(room - 2)
    for qos in (0, 1, 2):
        body = payload if qos else payload + b"!!"
        publisher.publish(name, body, qos)
        assert subscriber.get().payload == body
    with raw.Client(broker) as c:
        c.login(name)
        c.send(raw.publish(name, b"x" * (room + 1))[:1000])  # its head tells
        c.wait_closed()
    broker.wait_causes(name, "accepted.new", "limit.packet_size")
    subscriber.nothing()


def test_payloads_around_the_copy_limit(connect, name):
    """Small payloads are copied, large ones referenced: the edges, the empty one, and many mixed."""
    subscribers = [connect(f"{name}-{i}") for i in range(3)]
    for s in subscribers:
        s.subscribe(name, 1)
    sizes = [0, 1, 127, 128, 1023, 1024, 1025, 2048, 16383, 16384, 70000, 5, 300000, 1] * 2
    payloads = [os.urandom(n) for n in sizes]
    publisher = connect(name + "-p")
    for p in payloads:
        publisher.publish(name, p, 1)
    for s in subscribers:
        assert s.payloads(len(payloads)) == payloads


def test_unicode_topics(connect, broker, name):
    c = connect(name)
    topic = f"{name}/Gerät/温度/🌡 raum"
    c.subscribe(f"{name}/+/温度/#", 1)
    c.publish(topic, "21 °C".encode(), 1, retain=True)
    got = c.get()
    assert got.topic == topic and got.payload.decode() == "21 °C"


def test_client_ids_with_all_kinds_of_characters(broker, name):
    for client_id in (f"{name}/a/b", f"{name}@@@x@y", f"{name} ü %2F?#&=+", f"{name}\\\"'<b>", f"{name}.."):
        with raw.Client(broker) as c:
            c.login(client_id)
            assert wait_until(lambda: broker.status(client_id))["clientId"] == client_id
            broker.request("POST", broker.device_path(client_id) + "/kick", 204)
            c.wait_closed()
        broker.wait_causes(client_id, "accepted.new", "admin.kick")
        assert [d["clientId"] for d in broker.api("/devices", query=client_id)["items"]] == [client_id]


def test_many_subscribers(broker, name):
    clients = [raw.Client(broker) for _ in range(300)]
    for i, c in enumerate(clients):
        c.send(raw.connect(f"{name}-{i}", broker.user, broker.password), raw.subscribe(1, (name, i % 3)))
    for c in clients:
        c.receive(raw.CONNACK), c.receive(raw.SUBACK)
    with raw.Client(broker) as publisher:
        publisher.login(name)
        publisher.send(*[raw.publish(name, b"%d" % i, 1, i + 1) for i in range(20)])
        publisher.receive_all(20, raw.PUBACK)
        publisher.bye()
    for i, c in enumerate(clients):
        got = c.receive_all(20)
        assert [m.payload for m in got] == [b"%d" % n for n in range(20)]
        assert {m.qos for m in got} == {min(1, i % 3)}
        c.bye()


def test_a_client_subscribed_to_itself_on_one_loop(new_broker, name):
    """One loop: publisher and subscribers meet on it."""
    broker = new_broker(loops=1)
    clients = [raw.Client(broker) for _ in range(4)]
    for i, c in enumerate(clients):
        c.login(f"{name}-{i}", clean=i % 2 == 0)
        c.send(raw.subscribe(1, ("all/#", 2)))
        c.receive(raw.SUBACK)
    for i, c in enumerate(clients):
        c.send(raw.publish("all/x", b"%d" % i, 1, 1))
    for c in clients:
        got = [c.receive() for _ in range(5)]
        assert sorted(m.payload for m in got if m.kind == raw.PUBLISH) == [b"0", b"1", b"2", b"3"]
        assert [m.kind for m in got].count(raw.PUBACK) == 1
        c.bye()
    for i in range(4):
        broker.wait_causes(f"{name}-{i}", "accepted.new", "client.normal")
    broker.stop()


# ---- retained ----


@pytest.mark.mqtt311("MQTT-3.3.1-5", "MQTT-3.3.1-6", "MQTT-3.3.1-8", "MQTT-3.3.1-9", "MQTT-3.3.1-10")
def test_retained(connect, name):
    publisher = connect(name + "-p")
    for topic, value in (("a", b"1"), ("b", b"2"), ("a", b"3"), ("c/d", b"4")):
        publisher.publish(f"{name}/{topic}", value, 1, retain=True)
    first = connect(name + "-1")
    first.subscribe(name + "/#", 1)
    got = {(m.topic, m.payload, m.retain) for m in (first.get(), first.get(), first.get())}
    assert got == {(f"{name}/a", b"3", True), (f"{name}/b", b"2", True), (f"{name}/c/d", b"4", True)}
    publisher.publish(name + "/a", b"5", 0, retain=True)
    live = first.get()
    assert (live.payload, live.retain) == (b"5", False), "live messages to old subscribers are not marked"
    publisher.publish(name + "/b", b"", 1, retain=True)
    assert first.get().payload == b"", "the empty message that clears is delivered too"
    second = connect(name + "-2")
    second.subscribe(name + "/+", 0)
    assert second.get().payload == b"5"
    second.nothing()


def test_retained_again_for_each_subscribe(connect, name):
    c = connect(name)
    c.publish(name, b"kept", 1, retain=True)
    for _ in range(2):
        c.subscribe(name, 0)
        assert c.get().payload == b"kept"


@pytest.mark.mqtt311("MQTT-3.3.1-5")
def test_retained_survives_a_restart(new_broker, name):
    broker = new_broker()
    with raw.Client(broker) as c:
        c.login(name)
        for i in range(1, 51):
            c.send(raw.publish(f"kept/{i}", b"v%d" % i, 1, i, retain=True))
            c.receive(raw.PUBACK)
        c.send(raw.publish("kept/7", b"", 1, 60, retain=True))
        c.receive(raw.PUBACK)
        c.send(raw.publish("kept/8", b"new", 1, 61, retain=True))
        c.receive(raw.PUBACK)
        broker.kill9()
    broker.start()
    with raw.Client(broker) as c:
        c.login(name)
        c.send(raw.subscribe(1, ("kept/#", 1)))
        c.receive(raw.SUBACK)
        got = {m.topic: m.payload for m in c.receive_all(49)}
        c.bye()
    assert got.pop("kept/8") == b"new"
    assert got == {f"kept/{i}": b"v%d" % i for i in range(1, 51) if i not in (7, 8)}
    broker.stop()


# ---- wills ----


@pytest.mark.mqtt311("MQTT-3.1.2-8", "MQTT-3.14.4-3", "MQTT-3.1.2-16")
def test_will(broker, connect, name):
    listener = connect(name)
    listener.subscribe(name + "/will", 2)
    for how, told in (("fin", True), ("reset", True), ("bye", False)):
        with raw.Client(broker) as c:
            c.login(f"{name}-{how}", will=(name + "/will", how, 1, False))
            getattr(c, how)()
        if told:
            m = listener.get()
            assert (m.payload, m.qos, m.retain) == (how.encode(), 1, False)
    listener.nothing()
    end = broker.wait_causes(name + "-fin", "accepted.new", "peer.fin")[1]
    assert end["detail"]["willSent"] is True


@pytest.mark.mqtt311("MQTT-3.1.2-8", "MQTT-3.1.2-17", "MQTT-3.1.2-24")
def test_will_of_a_silent_client_of_a_kicked_and_of_a_replaced_one(broker, connect, name):
    listener = connect(name)
    listener.subscribe(name + "/will", 0)
    with raw.Client(broker) as c:
        c.login(name + "-silent", keepalive=1, will=(name + "/will", "silent", 0, False))
        assert listener.get().payload == b"silent"
    with raw.Client(broker) as c:
        c.login(name + "-kick", will=(name + "/will", "kicked", 2, True))
        broker.request("POST", broker.device_path(name + "-kick") + "/kick", 204)
        assert listener.get().payload == b"kicked"
    with raw.Client(broker) as c, raw.Client(broker) as winner:
        c.login(name + "-both", will=(name + "/will", "replaced", 0, False))
        winner.login(name + "-both")
        assert listener.get().payload == b"replaced"
        winner.bye()
    late = connect(name + "-late")
    late.subscribe(name + "/will", 0)
    assert late.get().payload == b"kicked", "a retained will stays"


# ---- sessions ----


@pytest.mark.mqtt311("MQTT-3.1.2-4", "MQTT-3.1.2-5", "MQTT-3.2.2-2")
def test_offline_queue(connect, name):
    away = connect(name + "-away", clean=False)
    assert away.session_present in (0, False)
    away.subscribe(name + "/1", 1)
    away.subscribe(name + "/2", 2)
    away.close()
    publisher = connect(name + "-p")
    for i in range(100):
        publisher.publish(f"{name}/{1 + i % 2}", b"%d" % i, 1 + i % 2)
    publisher.publish(f"{name}/1", b"0", 0)  # may be dropped or kept, or come after the client
    back = connect(name + "-away", clean=False)
    assert back.session_present in (1, True)
    kept = (m for m in iter(back.get, None) if m.qos > 0)
    got = [next(kept) for _ in range(100)]
    for part in (1, 2):  # paho hands over QoS 2 at its PUBREL, so behind QoS 1
        mine = [int(m.payload) for m in got if m.topic == f"{name}/{part}"]
        assert mine == list(range(part - 1, 100, 2))
        assert {m.qos for m in got if m.topic == f"{name}/{part}"} == {part}
    back.close()
    clean = connect(name + "-away", clean=True)
    assert clean.session_present in (0, False)
    clean.nothing()


@pytest.mark.mqtt311("MQTT-4.4.0-1", "MQTT-3.3.1-1")
def test_messages_in_flight_come_again(broker, name):
    with raw.Client(broker) as c, raw.Client(broker) as publisher:
        c.login(name, clean=False)
        c.send(raw.subscribe(1, (name, 2)))
        c.receive(raw.SUBACK)
        publisher.login(name + "-p")
        publisher.send(raw.publish(name, "one", 1, 1), raw.publish(name, "two", 2, 2))
        one, two = c.receive(raw.PUBLISH), c.receive(raw.PUBLISH)
        assert not one.dup and not two.dup
        c.send(raw.ack(raw.PUBREC, two.packet_id))
        assert c.receive(raw.PUBREL).packet_id == two.packet_id
        c.fin()
        publisher.bye()
    with raw.Client(broker) as c:
        assert c.login(name, clean=False) is True
        again = [c.receive(), c.receive()]
        kinds = {p.kind: p for p in again}
        assert set(kinds) == {raw.PUBLISH, raw.PUBREL}
        assert kinds[raw.PUBLISH].dup and kinds[raw.PUBLISH].packet_id == one.packet_id
        assert kinds[raw.PUBREL].packet_id == two.packet_id
        c.send(raw.ack(raw.PUBACK, one.packet_id), raw.ack(raw.PUBCOMP, two.packet_id))
        c.nothing()
        c.fin()
    with raw.Client(broker) as c:
        assert c.login(name, clean=False) is True
        c.nothing()
        c.bye()


@pytest.mark.mqtt311("MQTT-4.3.3-2")
def test_qos_2_is_once_though_the_publisher_repeats(broker, connect, name):
    subscriber = connect(name + "-s")
    subscriber.subscribe(name, 2)
    with raw.Client(broker) as c:
        c.login(name, clean=False)
        c.send(raw.publish(name, "once", 2, 77))
        c.receive(raw.PUBREC)
        c.send(raw.publish(name, "once", 2, 77, dup=True))
        assert c.receive(raw.PUBREC).packet_id == 77
        c.fin()
    with raw.Client(broker) as c:
        assert c.login(name, clean=False) is True
        c.send(raw.publish(name, "once", 2, 77, dup=True))
        c.receive(raw.PUBREC)
        c.send(raw.ack(raw.PUBREL, 77))
        assert c.receive(raw.PUBCOMP).packet_id == 77
        c.send(raw.ack(raw.PUBREL, 77))
        assert c.receive(raw.PUBCOMP).packet_id == 77
        c.send(raw.publish(name, "twice", 2, 77))
        c.receive(raw.PUBREC)
        c.send(raw.ack(raw.PUBREL, 77))
        c.receive(raw.PUBCOMP)
        c.bye()
    assert subscriber.payloads(2) == [b"once", b"twice"]
    subscriber.nothing()


@pytest.mark.mqtt311("MQTT-3.1.2-6")
def test_subscriptions_end_with_a_clean_session(broker, connect, name):
    c = connect(name)
    c.subscribe(name, 1)
    c.close()
    publisher = connect(name + "-p")
    publisher.publish(name, b"x", 1)
    again = connect(name, clean=False)
    assert again.session_present in (0, False)
    again.nothing()


def test_in_flight_limit(new_broker):
    """A client that acknowledges nothing gets max_inflight messages, then the rest as it does."""
    broker = new_broker("--max-inflight", "5")
    with raw.Client(broker) as c, raw.Client(broker) as publisher:
        c.login("slow")
        c.send(raw.subscribe(1, ("q", 1)))
        c.receive(raw.SUBACK)
        publisher.login("fast")
        for i in range(1, 21):
            publisher.send(raw.publish("q", b"%d" % i, 1, i))
        publisher.receive_all(20, raw.PUBACK)
        first = c.receive_all(5)
        c.nothing()
        c.send(raw.ack(raw.PUBACK, first[0].packet_id), raw.ack(raw.PUBACK, first[1].packet_id))
        first += c.receive_all(2)
        c.nothing()
        for m in first[2:]:
            c.send(raw.ack(raw.PUBACK, m.packet_id))
        payloads = [m.payload for m in first]
        while len(payloads) < 20:
            m = c.receive(raw.PUBLISH)
            payloads.append(m.payload)
            c.send(raw.ack(raw.PUBACK, m.packet_id))
        assert payloads == [b"%d" % i for i in range(1, 21)]
        c.bye()
        publisher.bye()
    broker.stop()


def test_queue_limit(new_broker):
    """Beyond max_queued_messages the newer ones are dropped; that is counted."""
    broker = new_broker("--max-queued-messages", "10")
    with raw.Client(broker) as c:
        c.login("away", clean=False)
        c.send(raw.subscribe(1, ("q", 1)))
        c.receive(raw.SUBACK)
        c.bye()
    with raw.Client(broker) as publisher:
        publisher.login("fast")
        publisher.send(*[raw.publish("q", b"%d" % i, 1, i + 1) for i in range(30)])
        publisher.receive_all(30, raw.PUBACK)
        publisher.bye()
    with raw.Client(broker) as c:
        c.login("away", clean=False)
        got = c.receive_all(10)
        assert [m.payload for m in got] == [b"%d" % i for i in range(10)]
        c.nothing()
        c.bye()
    assert broker.wait_trace("away", 4)[-1]["detail"]["dropped"] == 20
    broker.stop()


@pytest.mark.parametrize("size", [900, 50000])
def test_a_slow_reader_loses_qos_0_only(new_broker, size):
    """QoS 0 beyond max_output_bytes is dropped for it; others get all; the broker stays small and answers."""
    broker = new_broker("--max-output-bytes", "64KiB")
    with raw.Client(broker) as slow, raw.Client(broker) as good, raw.Client(broker) as publisher:
        slow.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        for c, me in ((slow, "slow"), (good, "good")):
            c.login(me)
            c.send(raw.subscribe(1, ("q", 1)))
            c.receive(raw.SUBACK)
        publisher.login("fast")
        count = 12_000_000 // size
        for i in range(count):
            publisher.send(raw.publish("q", b"%5d" % i + b"x" * size))
            assert good.receive(raw.PUBLISH).payload.startswith(b"%5d" % i)
        publisher.send(raw.publish("q", "last", 1, 1))
        publisher.receive(raw.PUBACK)
        seen = []
        while not seen or seen[-1] != b"last":
            seen.append(slow.receive(raw.PUBLISH).payload)
        assert 1 < len(seen) < count
        numbers = [int(p[:5]) for p in seen[:-1]]
        assert numbers == sorted(numbers)
        for c in (slow, good, publisher):
            c.bye()
    broker.stop()


# ---- other clients ----


def test_mqtt_31(broker, connect, name):
    c = connect(name, protocol=paho.MQTTv31)
    c.subscribe(name, 2)
    c.publish(name, b"old but alive", 2)
    assert c.get().payload == b"old but alive"
    assert wait_until(lambda: broker.status(name))["protocol"] == "3.1"
    c.close()
    broker.wait_causes(name, "accepted.new", "client.normal")


def test_mosquitto_clients(broker, name):
    options = ["-h", broker.host, "-p", str(broker.port), "-u", broker.user, "-P", broker.password]
    sub = subprocess.Popen(
        ["mosquitto_sub", *options, "-i", name, "-t", name + "/#", "-q", "2", "-C", "3", "-v", "-W", "60"],
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_until(lambda: (broker.status(name) or {}).get("online"))
    lines = []
    while len(lines) < 3:
        lines.append(len(lines))
        # Retained, so that it does not matter whether the SUBSCRIBE has come through.
        subprocess.run(
            ["mosquitto_pub", *options, "-t", f"{name}/{lines[-1]}", "-m", f"n{lines[-1]}", "-q", "2", "-r"], check=True
        )
    assert sorted(sub.communicate(timeout=60)[0].split("\n")[:3]) == [f"{name}/{i} n{i}" for i in range(3)]
    broker.wait_causes(name, "accepted.new", "client.normal")
    # Its own exit status tells a refused password: 5 is "not authorised" in mosquitto's words.
    bad = subprocess.run(["mosquitto_pub", *options[:4], "-i", name + "-x", "-t", "a", "-m", "b"], capture_output=True)
    assert bad.returncode == 5
    broker.wait_causes(name + "-x", "auth.anonymous")


@pytest.mark.mqtt311("MQTT-3.2.0-1")
def test_connect_with_everything_in_one_segment(broker, name):
    """CONNECT, SUBSCRIBE and PUBLISH in one segment, on either loop, passwords fresh and known; also byte by byte."""
    for i in range(40):
        me = f"{name}-{i}"
        packets = raw.connect(me, broker.user, broker.password) + raw.subscribe(1, (me, 1))
        packets += raw.publish(me, "hello", 1, 2) + raw.pingreq()
        with raw.Client(broker) as c:
            if i < 36:
                c.send(packets)
            else:
                for at in range(len(packets)):
                    c.send(packets[at : at + 1])
            got = [c.receive() for _ in range(5)]
            assert got[0].kind == raw.CONNACK and got[1].kind == raw.SUBACK
            assert {p.kind for p in got[2:]} == {raw.PUBLISH, raw.PUBACK, raw.PINGRESP}
            c.bye()
        broker.wait_causes(me, "accepted.new", "client.normal")


def test_everything_and_goodbye_in_one_segment(broker, name):
    """CONNECT … DISCONNECT and FIN at once: nothing of it is lost, whichever loop the client belongs to."""
    with raw.Client(broker) as listener:
        listener.login(name)
        listener.send(raw.subscribe(1, (name + "/#", 0)))
        listener.receive(raw.SUBACK)
        for i in range(30):
            me = f"{name}-{i}"
            with raw.Client(broker) as c:
                login = raw.connect(me, broker.user, broker.password)
                c.send(login, raw.publish(f"{name}/{i}", "bye"), raw.disconnect())
                c.socket.close()
            assert listener.receive(raw.PUBLISH).topic == f"{name}/{i}"
            broker.wait_causes(me, "accepted.new", "client.normal")
        listener.bye()


def test_leaving_while_the_password_is_checked(broker, name):
    """CONNECT and FIN at once: accepted and gone, or gone before; never nothing, never two endings."""
    for i in range(30):
        me = f"{name}-{i}"
        with raw.Client(broker) as c:
            c.send(raw.connect(me, broker.user, broker.password if i % 2 else "wrong"))
            c.fin()
        allowed = (["peer.fin"], ["peer.reset"], ["auth.bad_password"], ["accepted.new", "peer.fin"],
                   ["accepted.new", "peer.reset"])  # fmt: skip
        found = []

        def settled(me=me, found=found):
            found[:] = [r["cause"] for r in broker.trace(me)]
            return found in allowed

        try:
            wait_until(settled)
        except AssertionError:
            raise AssertionError(f"{me}: {found}") from None


def test_thousands_of_messages(broker, name):
    """20,000 through one connection each way, and all of them."""
    with raw.Client(broker) as s, raw.Client(broker) as p:
        s.login(name + "-s")
        s.send(raw.subscribe(1, (name, 0)))
        s.receive(raw.SUBACK)
        p.login(name + "-p")
        block = raw.publish(name, b"x" * 64) * 1000
        for _ in range(20):
            p.send(block)
            for _ in range(1000):
                s.receive(raw.PUBLISH)
        s.bye()
        p.bye()
