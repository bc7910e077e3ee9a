"""Messages to $delayed/SECONDS/TOPIC, from clients as they are, and what an operator sees and sets of them."""

import os
import subprocess
import time

import pytest

from harness import raw
from harness.peer import Peer
from harness.wait import wait_until


@pytest.fixture
def topic():
    return "delayed/" + os.urandom(4).hex()


@pytest.mark.parametrize("level", ["mqttv311", "mqttv5"])
def test_mosquitto_clients(broker, topic, level):
    tool = ["-h", broker.host, "-p", str(broker.port), "-u", broker.user, "-P", broker.password, "-V", level]
    with Peer(broker, "watch-" + topic.replace("/", "-")) as watch:
        watch.subscribe(topic)
        for qos in (0, 1, 2):
            begun = time.monotonic()
            publish = ["mosquitto_pub", *tool, "-t", f"$delayed/1/{topic}", "-q", str(qos), "-m", f"later {qos}"]
            subprocess.run(publish, check=True, timeout=60)
            got = watch.get()
            assert (got.topic, got.payload.decode(), got.qos) == (topic, f"later {qos}", qos)
            assert time.monotonic() - begun >= 1


def test_properties_and_alias(broker, topic):
    """Everything that a publisher of MQTT 5 says goes along, but for the alias, which is for the whole name."""
    name = topic.replace("/", "-")
    said = {"content_type": "text", "response_topic": "answers", "correlation": b"id", "user": [("b", "1"), ("a", "2")], "payload_format": 1}
    with Peer(broker, name) as s, Peer(broker, name + "-p") as p:
        s.subscribe(topic)
        assert p.publish(f"$delayed/1/{topic}", b"x", 1, props=said | {"message_expiry": 100, "topic_alias": 1}).reason == 0
        assert p.publish("", b"y", 1, props={"topic_alias": 1}).reason == 0
        got = s.get()
        assert got.props == said | {"message_expiry": got.props["message_expiry"]}
        assert 40 < got.props["message_expiry"] <= 99
        assert (s.get().payload, got.topic) == (b"y", topic)


def test_permissions(broker, topic):
    """The permission is the one for where it goes, and no other is needed."""
    user = topic.replace("/", "-")
    broker.add_user(user, "word-of-" + user, [topic + "/#"])
    login = {"user": user, "password": "word-of-" + user}
    with Peer(broker, user, **login) as p:
        p.subscribe(topic + "/x")
        p.publish(f"$delayed/0/{topic}/x", b"x")
        assert p.get().payload == b"x"
        p.send(raw.publish("$delayed/1/elsewhere", b"x", 1, 9, props={}))
        assert p.ended().reason == 0x87
    record = broker.wait_causes(user, "accepted.new", "topic.publish")[1]
    assert record["detail"]["topic"] == "elsewhere"


@pytest.mark.parametrize("bad", ["$delayed/1", "$delayed/x/y", "$delayed/42949670/t"])
def test_bad_names(broker, topic, bad):
    name = topic.replace("/", "-")
    with Peer(broker, name + "-5") as p:
        assert [p.publish(bad, b"x", qos).reason for qos in (1, 2)] == [0x90, 0x90]
        p.send(raw.publish(bad, b"x", props={}))
        assert p.ended().reason == 0x90
    with Peer(broker, name, level=4) as p:
        p.send(raw.publish(bad, b"x", 1, 1))
        p.ended()
    record = broker.wait_causes(name, "accepted.new", "protocol.violation")[1]
    assert "$delayed/SECONDS/TOPIC" in record["verdict"]["text"], record["verdict"]


def test_limits(new_broker):
    broker = new_broker("--max-delayed-messages", "2")
    with Peer(broker, "pub") as p, Peer(broker, "old", level=4) as old:
        assert [p.publish("$delayed/600/t", b"x", 1).reason for _ in range(3)] == [0, 0, 0x97]
        p.publish("$delayed/600/t", b"x")
        old.send(raw.publish("$delayed/600/t", b"x", 1, 1))
        old.ended()
        assert broker.metric("tracemq_delayed_messages") == 2 and broker.metric("tracemq_delayed_bytes") > 20
        # QoS 0 is not answered, and the other client may be on another loop
        wait_until(lambda: broker.metric('tracemq_messages_dropped_total{reason="delayed"}') == 3, what="three dropped")
    record = broker.wait_causes("old", "accepted.new", "limit.delayed")[1]
    assert (record["detail"]["limit"], record["detail"]["actual"]) == (2, 2)
    broker.stop()


def test_a_restart_and_a_switch(new_broker):
    """What waits outlives a stop, and goes out although no more are taken; where they are not, the name is one like others."""
    broker = new_broker(start=False)
    config = broker.directory / "tracemq.yaml"
    config.write_text("")
    broker.args = ["--config", str(config)]
    broker.start()
    with Peer(broker, "sub", durable=True) as s, Peer(broker, "pub") as p:
        s.subscribe("t")
        p.publish("$delayed/2/t", b"kept", 1)
    broker.stop()
    broker.start()
    config.write_text("max_delayed_messages: 0\n")
    broker.request("POST", "/api/v1/config/reload", 200)
    with Peer(broker, "sub", durable=True) as s:
        assert s.present and s.get().payload == b"kept"
        assert broker.metric("tracemq_delayed_messages") == 0
        broker.permit(broker.user, "allow", "both", "$delayed/#")
        with Peer(broker, "other") as o:
            o.subscribe("$delayed/#")
            o.publish("$delayed/2/t", b"as it is")
            assert o.get().topic == "$delayed/2/t"
    broker.stop()
