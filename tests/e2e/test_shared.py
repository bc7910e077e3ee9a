"""Shared subscriptions: each message to one member of a group, whichever loop it is on, and to another when that one leaves."""

import collections
import os
import subprocess
import threading

import pytest

from harness import raw
from harness.wait import wait_until

COUNT = 400
FOREVER = {"session_expiry": 0xFFFFFFFF}


@pytest.fixture
def topic():
    return "shared/" + os.urandom(4).hex()


def name_of(topic):
    return topic.replace("/", "-")


def member(broker, name, filters, qos=1, level=5, props=None, **kwargs):
    c = raw.Client(broker)
    c.login(name, level=level, props=props, **kwargs)
    subscribe(c, filters, qos, level)
    return c


def subscribe(c, filters, qos=1, level=5):
    c.send(raw.subscribe(1, *[(f, qos) for f in filters], props={} if level == 5 else None))
    suback = c.receive(raw.SUBACK)
    assert list(suback.codes) == [qos & 3] * len(filters), suback


def publish_all(broker, topic, count, qos=1, level=4):
    """`count` messages of one publisher, all acknowledged."""
    with raw.Client(broker) as p:
        p.login("publisher-" + os.urandom(4).hex(), level=level)
        props = {} if level == 5 else None
        for n in range(count):
            p.send(raw.publish(topic, str(n), qos, n % 60000 + 1 if qos else 0, props=props))
            if qos and n % 20 == 19:
                p.receive_all(20, raw.PUBACK)
        p.receive_all(count % 20 if qos else 0, raw.PUBACK)
        p.send(raw.pingreq())
        p.receive(raw.PINGRESP)
        p.bye()


def drain(c, ack=True, seconds=0.05):
    """What has come, acknowledged."""
    got = []
    while True:
        try:
            p = c.receive(raw.PUBLISH, seconds=seconds)
        except OSError:
            return got
        got.append(p.payload.decode())
        if ack and p.qos == 1:
            c.send(raw.ack(raw.PUBACK, p.packet_id))


def collect(clients, count, ack=True):
    """What comes to each of them: `count` in all and no more."""
    got = [[] for _ in clients]

    def all_there():
        for c, mine in zip(clients, got):
            mine += drain(c, ack, 0.01)
        return sum(map(len, got)) >= count

    wait_until(all_there, what=f"{count} messages")
    for c, mine in zip(clients, got):
        mine += drain(c, ack)
    assert sum(map(len, got)) == count, got
    return got


@pytest.mark.parametrize("qos", (0, 1))
@pytest.mark.parametrize("wild", (False, True))
def test_each_message_to_one_member(broker, topic, qos, wild):
    shared = f"$share/g/{topic}" + ("/#" if wild else "")
    members = [member(broker, f"{name_of(topic)}-m{i}", [shared], qos) for i in range(6)]
    single = member(broker, name_of(topic) + "-all", [topic], qos)
    other = member(broker, name_of(topic) + "-h", [f"$share/h/{topic}"], qos)
    publish_all(broker, topic, COUNT, qos)
    got = collect(members, COUNT)
    everything = [str(n) for n in range(COUNT)]
    assert sorted(sum(got, []), key=int) == everything, "each once in the group"
    assert min(map(len, got)) >= COUNT // 6 - 10, f"not balanced: {[len(g) for g in got]}"
    for g in got:
        assert g == sorted(g, key=int), "in order for each member"
    assert collect([single], COUNT) == [everything]
    assert collect([other], COUNT) == [everything], "another group has its own"
    for c in members + [single, other]:
        c.socket.close()


def test_one_client_in_two_ways(broker, topic):
    """A shared and a plain subscription of one client are two, and each shared one is one more."""
    c = member(broker, name_of(topic), [topic, f"$share/a/{topic}", f"$share/b/{topic}"])
    publish_all(broker, topic, 3)
    assert collections.Counter(*collect([c], 9)) == {"0": 3, "1": 3, "2": 3}
    c.bye()


@pytest.mark.parametrize("level", (3, 4, 5))
def test_queue(broker, topic, level):
    """$queue/FILTER is a group without a name: all who say it are in it, nobody else is."""
    queue = [member(broker, f"{name_of(topic)}-q{i}", ["$queue/" + topic], level=level) for i in range(3)]
    named = member(broker, name_of(topic) + "-s", [f"$share/queue/{topic}"], level=level)
    alone = member(broker, name_of(topic) + "-a", [topic], level=level)
    publish_all(broker, topic, 60)
    got = [drain(c) for c in queue]
    everything = list(range(60))
    assert sorted(map(int, sum(got, []))) == everything and min(map(len, got)) == 20
    assert [list(map(int, drain(c))) for c in (named, alone)] == [everything] * 2
    queue[0].send(raw.unsubscribe(2, "$queue/" + topic, props={} if level == 5 else None))
    queue[0].receive(raw.UNSUBACK)
    publish_all(broker, topic, 10)
    got = [drain(c) for c in queue]
    assert got[0] == [] and sorted(map(int, sum(got, []))) == list(range(10))
    for c in queue + [named, alone]:
        c.bye()


def test_queue_needs_permission_for_its_filter(broker, topic):
    user = name_of(topic)
    broker.add_user(user, "word-of-" + user, [topic + "/#"])
    with raw.Client(broker) as c:
        c.login(user, level=5, user=user, password="word-of-" + user)
        subscribe(c, [f"$queue/{topic}/+"], level=5)
        publish_all(broker, topic + "/x", 3)
        assert drain(c) == ["0", "1", "2"]
        c.send(raw.subscribe(2, ("$queue/elsewhere", 1), props={}))
        assert c.wait_closed()[-1].reason == 0x87


@pytest.mark.parametrize("level", (3, 4))
def test_before_mqtt_5(broker, topic, level):
    members = [member(broker, f"{name_of(topic)}-{level}-{i}", [f"$share/g/{topic}"], level=level) for i in range(3)]
    publish_all(broker, topic, 60)
    got = collect(members, 60)
    assert sorted(map(int, sum(got, []))) == list(range(60)) and min(map(len, got)) == 20
    for c in members:
        c.bye()


def test_mosquitto_clients(new_broker, topic):
    broker = new_broker()
    tool = ["-h", broker.host, "-p", str(broker.port), "-u", broker.user, "-P", broker.password, "-V", "5"]
    subs = [
        subprocess.Popen(["mosquitto_sub", *tool, "-t", f"$share/work/{topic}", "-q", "1"], stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    lines = [[], []]
    readers = [threading.Thread(target=lambda s=s, mine=mine: mine.extend(s.stdout)) for s, mine in zip(subs, lines)]
    for r in readers:
        r.start()
    try:
        wait_until(lambda: broker.metric("tracemq_shared_subscriptions") == 2, what="two subscriptions")
        publish = ["mosquitto_pub", *tool, "-t", topic, "-q", "1", "-l"]
        subprocess.run(publish, input=b"".join(b"%d\n" % n for n in range(50)), check=True)
        wait_until(lambda: sum(map(len, lines)) >= 50, what="50 lines")
    finally:
        for s in subs:
            s.terminate()
        for s, r in zip(subs, readers):
            s.wait()
            r.join()
    assert sorted(map(int, lines[0] + lines[1])) == list(range(50))
    assert min(map(len, lines)) >= 10
    broker.stop()


@pytest.mark.mqtt5("MQTT-4.8.2-1", "MQTT-4.8.2-2", "MQTT-3.8.3-4")
def test_what_is_not_allowed(broker, topic):
    for filters, options, reason in (
        (f"$share/g/{topic}", 1 | 4, 0x82),  # no local
        ("$share//t", 1, 0x8F),
        ("$share/g", 1, 0x8F),
        ("$share/g/", 1, 0x8F),
        ("$queue/", 1, 0x8F),
        (f"$queue/{topic}", 1 | 4, 0x82),
    ):
        with raw.Client(broker) as c:
            c.login(name_of(topic), level=5)
            c.send(raw.subscribe(1, (filters, options), props={}))
            last = c.wait_closed()[-1]
            assert (last.kind, last.reason) == (raw.DISCONNECT, reason), (filters, last)


def test_no_retained_message(broker, topic):
    with raw.Client(broker) as p:
        p.login(name_of(topic) + "-p")
        p.send(raw.publish(topic, "kept", 1, 1, retain=True))
        p.receive(raw.PUBACK)
        p.bye()
    c = member(broker, name_of(topic), [f"$share/g/{topic}"])
    c.nothing()
    c.bye()


def test_the_present_before_the_absent(broker, topic):
    """Members that are away get nothing while one is here; when nobody is, they keep it."""
    away = member(broker, name_of(topic) + "-a", [f"$share/g/{topic}"], props=FOREVER)
    here = member(broker, name_of(topic) + "-h", [f"$share/g/{topic}"])
    away.bye()
    broker.wait_causes(name_of(topic) + "-a", "accepted.new", "client.normal")
    publish_all(broker, topic, 50)
    collect([here], 50)
    here.bye()
    broker.wait_causes(name_of(topic) + "-h", "accepted.new", "client.normal")
    publish_all(broker, topic, 30)
    back = raw.Client(broker)
    assert back.login(name_of(topic) + "-a", level=5, clean=False, props=FOREVER)
    assert collect([back], 30) == [[str(n) for n in range(30)]]
    back.bye()


@pytest.mark.parametrize("how", ("fin", "bye", "unsubscribe"))
def test_what_a_member_leaves(broker, topic, how):
    """Messages that it did not acknowledge go to the others."""
    shared = f"$share/g/{topic}"
    leaver = member(broker, name_of(topic) + "-l", [shared], props={"receive_maximum": 10})
    publish_all(broker, topic, 40)
    collect([leaver], 10, ack=False)
    others = [member(broker, f"{name_of(topic)}-o{i}", [shared]) for i in range(3)]
    if how == "unsubscribe":
        leaver.send(raw.unsubscribe(2, shared, props={}))
        leaver.receive(raw.UNSUBACK)
    else:
        getattr(leaver, how)()
    wanted = list(range(10 if how == "unsubscribe" else 0, 40))
    got = sorted(int(n) for mine in collect(others, len(wanted)) for n in mine)
    assert got == wanted, "what is in flight stays with a client that is here"
    for c in others + [leaver]:
        c.socket.close()


def test_a_durable_member_goes_while_others_are_here(broker, topic):
    shared = f"$share/g/{topic}"
    name = name_of(topic)
    leaver = member(broker, name + "-l", [shared], props=FOREVER)
    other = member(broker, name + "-o", [shared], props=FOREVER)
    publish_all(broker, topic, 40)
    collect([leaver], 20, ack=False)
    leaver.fin()
    assert sorted(map(int, *collect([other], 40))) == list(range(40))
    with raw.Client(broker) as back:
        assert back.login(name + "-l", level=5, clean=False, props=FOREVER)
        back.nothing()
        back.send(raw.disconnect(0, {"session_expiry": 0}))
    other.bye()


@pytest.mark.mqtt5("MQTT-4.8.2-4")
def test_qos_2_stays_with_its_session(broker, topic):
    """[MQTT-4.8.2-4] [MQTT-4.8.2-5]"""
    shared = f"$share/g/{topic}"
    name = name_of(topic)
    first = member(broker, name + "-f", [shared], 2, props=FOREVER)
    with raw.Client(broker) as p:
        p.login(name + "-p", level=5)
        p.send(raw.publish(topic, "once", 2, 1, props={}))
        p.receive(raw.PUBREC)
        p.send(raw.ack(raw.PUBREL, 1))
        p.receive(raw.PUBCOMP)
        p.bye()
    sent = first.receive(raw.PUBLISH)
    second = member(broker, name + "-s", [shared], 2)
    first.fin()
    second.nothing()
    with raw.Client(broker) as back:
        assert back.login(name + "-f", level=5, clean=False, props=FOREVER)
        again = back.receive(raw.PUBLISH)
        assert (again.payload, again.packet_id, again.dup) == (b"once", sent.packet_id, True)
        back.send(raw.ack(raw.PUBREC, again.packet_id))
        back.receive(raw.PUBREL)
        back.send(raw.ack(raw.PUBCOMP, again.packet_id))
        back.send(raw.disconnect(0, {"session_expiry": 0}))
    second.nothing()
    second.bye()


def test_a_slow_member_is_passed_by(broker, topic):
    """One that acknowledges nothing gets what its window takes, or little more; the others the rest."""
    shared = f"$share/g/{topic}"
    slow = member(broker, name_of(topic) + "-s", [shared], props={"receive_maximum": 5})
    quick = member(broker, name_of(topic) + "-q", [shared])
    done = []
    for n in range(10):
        publish_all(broker, topic, 20)

        def most_of_it(wanted=20 * n + 10):
            done.extend(drain(quick))
            return len(done) >= wanted

        wait_until(most_of_it, what="most of it at the quick one")
    assert len(drain(slow, ack=False)) <= 5
    slow.socket.close()
    done += sum(collect([quick], 200 - len(done)), [])
    assert sorted(map(int, done)) == sorted(10 * list(range(20)))
    quick.bye()
