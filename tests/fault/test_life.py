"""MQTT 5's clocks across kill -9: how long sessions outlive their connections, and when delayed wills go out."""

import time

import pytest

from harness import raw

FOREVER = 0xFFFFFFFF


def login5(client, name, expiry, clean=False, **kwargs):
    return client.login(name, level=5, clean=clean, props={"session_expiry": expiry}, **kwargs)


def session_of(broker, name, expiry=0):
    """Whether the broker has one; the question ends it unless it is given an expiry."""
    with raw.Client(broker) as c:
        present = login5(c, name, expiry)
        c.send(raw.disconnect())
        c.wait_closed()
    return present


def subscribed(broker, name, expiry, topic):
    """A connected client whose session is in the store: its SUBACK says so."""
    c = raw.Client(broker)
    login5(c, name, expiry)
    c.send(raw.subscribe(1, (topic, 1), props={}))
    assert c.receive(raw.SUBACK).codes == [1]
    return c


def leave(client):
    client.send(raw.disconnect())
    client.wait_closed()
    client.socket.close()


@pytest.mark.mqtt5("MQTT-4.1.0-2", "MQTT-3.1.2-23")
def test_sessions_that_were_left(new_broker):
    """The clock runs on while the broker is dead."""
    broker = new_broker()
    leave(subscribed(broker, "short", 2, "t"))
    leave(subscribed(broker, "long", 3600, "t"))
    leave(subscribed(broker, "endless", FOREVER, "t"))
    fence = subscribed(broker, "fence", FOREVER, "t")  # answered behind the batch with those ends
    leave(fence)
    leave(subscribed(broker, "fence2", FOREVER, "t"))
    broker.kill9()
    time.sleep(2.5)
    broker.start()
    assert not session_of(broker, "short")
    assert session_of(broker, "long")
    assert session_of(broker, "endless")
    broker.stop()


def test_sessions_that_were_open(new_broker):
    """The clock of a connection that a kill ended begins at the restart, and only there."""
    broker = new_broker()
    open_ones = [subscribed(broker, name, expiry, "t") for name, expiry in (("short", 5), ("long", 3600), ("none", 0))]
    time.sleep(5.5)  # connected for longer than its expiry interval
    broker.kill9()
    for c in open_ones:
        c.socket.close()
    broker.start()
    assert session_of(broker, "short", 1)
    assert session_of(broker, "long", 3600)
    assert not session_of(broker, "none")
    time.sleep(2.5)
    assert not session_of(broker, "short")
    broker.stop()


@pytest.mark.mqtt5("MQTT-3.1.2-8")
def test_delayed_wills(new_broker):
    broker = new_broker()
    watch = subscribed(broker, "watch", FOREVER, "will/#")
    clients = []
    for name, delay in (("now", 0), ("soon", 2), ("later", 3600), ("returns", 3600)):
        c = raw.Client(broker)
        login5(c, name, 7200, will=(f"will/{name}", name, 1, False), will_props={"will_delay": delay})
        c.send(raw.subscribe(1, ("other", 0), props={}))
        c.receive(raw.SUBACK)
        clients.append(c)
    left = raw.Client(broker)
    login5(left, "left", 7200, will=("will/left", "left", 1, False), will_props={"will_delay": 2})
    left.fin()
    broker.wait_causes("left", "accepted.new", "peer.fin")
    leave(subscribed(broker, "fence", 0, "t"))
    leave(subscribed(broker, "fence2", 0, "t"))
    assert broker.trace("left")[-1]["detail"]["willDelay"] == 2
    broker.kill9()
    for c in clients + [watch]:
        c.socket.close()
    begin = time.monotonic()
    broker.start()
    came = {}
    with raw.Client(broker) as back, raw.Client(broker) as watch:
        assert login5(back, "returns", 7200)
        assert login5(watch, "watch", FOREVER)
        while len(came) < 3:
            p = watch.receive(raw.PUBLISH)
            came[p.payload.decode()] = time.monotonic() - begin
            watch.send(raw.ack(raw.PUBACK, p.packet_id))
        assert set(came) == {"now", "soon", "left"}
        assert came["soon"] >= 2, "its delay began at the restart"
        watch.nothing()
    broker.kill9()
    broker.start()
    with raw.Client(broker) as watch:
        assert login5(watch, "watch", FOREVER)
        watch.nothing()  # none of them goes out twice
    broker.stop()
