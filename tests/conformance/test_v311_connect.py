"""CONNECT and CONNACK where 3.1.1 has words of its own: empty client identifiers, return codes, MQTT 3.1's name."""

import pytest

from harness import raw
from harness.peer import Peer, refused
from harness.wait import wait_until


def connack(got):
    assert [p.kind for p in got] == [raw.CONNACK], got
    return tuple(got[0].body)


@pytest.mark.mqtt311("MQTT-3.1.3-6")
def test_an_empty_client_identifier(broker):
    """Each gets its own, under which it is told everywhere; the session is like any other."""
    with Peer(broker, "", 4) as a, Peer(broker, "", 4) as b:
        a.subscribe("t")
        b.publish("t", b"to another client", 1)
        assert a.get().payload == b"to another client"

        def named():
            found = broker.api("/devices", online="true", limit=1000)["items"]
            return {d["clientId"] for d in found if d["peer"] in (a.peer, b.peer)}

        assert len(wait_until(lambda: len(named()) == 2 and named())) == 2


@pytest.mark.mqtt311("MQTT-3.1.3-7", "MQTT-3.1.3-8", "MQTT-3.2.2-4", "MQTT-3.2.2-5")
def test_an_empty_client_identifier_needs_a_clean_session(broker):
    login = raw.connect("", broker.user, broker.password, clean=False)
    assert connack(refused(broker, login + raw.pingreq(), 4)) == (0, 2)


@pytest.mark.mqtt311("MQTT-3.1.3-9", "MQTT-3.2.2-5")
def test_a_client_identifier_that_is_not_allowed(new_broker):
    broker = new_broker()
    broker.settings(client_id="grouped")
    login = raw.connect("without a group", broker.user, broker.password)
    assert connack(refused(broker, login + raw.pingreq(), 4)) == (0, 2)


@pytest.mark.parametrize(
    "user,password,code", [(None, None, 5), ("nobody", "wrong", 4), (True, "wrong", 4)], ids=["none", "unknown", "wrong"]
)
@pytest.mark.mqtt311("MQTT-3.2.2-4", "MQTT-3.2.2-5", "MQTT-3.1.4-5")
def test_return_codes_of_logins(broker, name, user, password, code):
    user = broker.user if user is True else user
    login = raw.connect(name, user, password)
    assert connack(refused(broker, login + raw.pingreq(), 4)) == (0, code)


@pytest.mark.mqtt311("MQTT-3.2.2-5", "MQTT-3.2.2-4")
def test_the_return_code_of_a_full_broker(new_broker):
    broker = new_broker("--max-connections", "1")
    with Peer(broker, "first", 4) as first:
        login = raw.connect("second", broker.user, broker.password)
        assert connack(refused(broker, login + raw.pingreq(), 4)) == (0, 3)
        first.nothing(0)


def test_mqtt_31_is_served_beside(broker, name):
    """Its own protocol name and level; 3.1.1 says nothing against it."""
    with Peer(broker, name, 3) as old, Peer(broker, name + "-p", 4) as p:
        assert old.subscribe(name) == [2]
        p.publish(name, b"to 3.1", 2)
        assert old.get().payload == b"to 3.1"
