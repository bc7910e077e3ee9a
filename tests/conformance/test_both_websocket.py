"""MQTT over WebSocket, chapter 6 of both standards: binary frames, packets across frames, the subprotocol."""

import socket

import pytest

from harness import raw, ws

BROKER_ARGS = ("--ws", "127.0.0.1:0")


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


def connect_packet(broker, name, level):
    return raw.connect(name, broker.user, broker.password, level=level, props={} if level == 5 else None)


@pytest.mark.mqtt311("MQTT-6.0.0-1")
@pytest.mark.mqtt5("MQTT-6.0.0-1")
def test_text_frames_close(broker, name, level):
    with raw.Client(broker, over=ws.connect(broker)) as c:
        c.login(name, level=level, props={} if level == 5 else None)
        c.send(raw.pingreq())
        c.receive(raw.PINGRESP)  # binary frames are fine
        c.socket.send_frame(raw.pingreq(), ws.TEXT)
        last = c.wait_closed()
        assert [p.kind for p in last] == ([raw.DISCONNECT] if level == 5 else [])
        assert c.socket.closed[0] == 1003


@pytest.mark.mqtt311("MQTT-6.0.0-2")
@pytest.mark.mqtt5("MQTT-6.0.0-2")
def test_packets_are_not_aligned_with_frames(broker, name, level):
    """The same packets in frames cut at every place: within a packet, between two, several in one."""
    packets = connect_packet(broker, name, level) + raw.pingreq() + raw.pingreq()
    for cut in range(len(packets) + 1):
        with raw.Client(broker, over=ws.connect(broker)) as c:
            c.level = level
            c.socket.send_frame(packets[:cut])
            c.socket.send_frame(packets[cut:])
            assert c.receive(raw.CONNACK).body[1] == 0
            c.receive_all(2, raw.PINGRESP)
            c.bye()


@pytest.mark.mqtt311("MQTT-6.0.0-3")
@pytest.mark.mqtt5("MQTT-6.0.0-3")
@pytest.mark.parametrize("offered", (None, "chat", "xmpp, mqttv9", "MQTT/"))
def test_a_client_must_offer_mqtt(broker, offered):
    with socket.create_connection(broker.listener("ws"), timeout=60) as s:
        answer = ws.ask(s, ws.request(Sec_WebSocket_Protocol=offered))
        assert answer.status == 400 and "mqtt" in answer.text
        assert s.recv(100) == b""


@pytest.mark.mqtt311("MQTT-6.0.0-4")
@pytest.mark.mqtt5("MQTT-6.0.0-4")
@pytest.mark.parametrize("offered", ("mqtt", "chat, mqtt", "mqtt,chat"))
def test_mqtt_is_selected(broker, offered):
    s = ws.connect(broker, upgrade=ws.request(Sec_WebSocket_Protocol=offered))
    assert s.answer.headers["sec-websocket-protocol"] == "mqtt"
    s.close()
