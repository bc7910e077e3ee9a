"""Packets that are not as the standards say, in both versions: the connection ends, and in MQTT 5 the client is told why."""

import struct

import pytest

from harness import raw
from harness.peer import Peer

m311 = pytest.mark.mqtt311
m5 = pytest.mark.mqtt5


@pytest.fixture(params=[4, 5], ids=["v311", "v5"])
def level(request):
    return request.param


def tail(level):
    """No properties, where the version has some."""
    return b"\0" if level == 5 else b""


def publish(level, topic, qos=0, packet_id=1, **kwargs):
    return raw.publish(topic, b"x", qos, packet_id, props={} if level == 5 else None, **kwargs)


def subscribe(level, *entries, packet_id=1):
    return raw.subscribe(packet_id, *entries, props={} if level == 5 else None)


def unsubscribe(level, *filters, packet_id=1):
    return raw.unsubscribe(packet_id, *filters, props={} if level == 5 else None)


def flags(kind, wrong, body=b""):
    return lambda level: raw.packet(kind, body, wrong)


def ends_with(broker, name, level, bad, reason):
    with Peer(broker, name, level) as c:
        c.send(bad, raw.pingreq())
        c.ended(reason)


# ---- strings ----

ILL_FORMED = {
    "bare-ff": b"a\xff",
    "cut": b"a\xe2\x82",
    "overlong": b"a\xc0\xaf",
    "surrogate": b"a\xed\xa0\x80b",
    "above-10ffff": b"\xf4\x90\x80\x80",
}


@pytest.mark.parametrize("bad", ILL_FORMED.values(), ids=ILL_FORMED)
@pytest.mark.mqtt311("MQTT-1.5.3-1", "MQTT-3.3.2-1")
@pytest.mark.mqtt5("MQTT-1.5.4-1", "MQTT-3.3.2-1")
def test_topic_names_are_utf8(broker, name, level, bad):
    ends_with(broker, name, level, publish(level, bad), 0x81)


@pytest.mark.parametrize("bad", ILL_FORMED.values(), ids=ILL_FORMED)
@pytest.mark.mqtt311("MQTT-1.5.3-1", "MQTT-3.8.3-1", "MQTT-3.10.3-1")
@pytest.mark.mqtt5("MQTT-1.5.4-1", "MQTT-3.8.3-1", "MQTT-3.10.3-1")
def test_filters_are_utf8(broker, name, level, bad):
    ends_with(broker, name + "-s", level, subscribe(level, (bad, 0)), 0x81)
    ends_with(broker, name + "-u", level, unsubscribe(level, bad), 0x81)


@pytest.mark.mqtt311("MQTT-1.5.3-2", "MQTT-4.7.3-2")
@pytest.mark.mqtt5("MQTT-1.5.4-2", "MQTT-4.7.3-2")
def test_no_null_character(broker, name, level):
    ends_with(broker, name + "-p", level, publish(level, "a\0b"), 0x81)
    ends_with(broker, name + "-s", level, subscribe(level, ("a\0b", 0)), 0x81)
    ends_with(broker, name + "-u", level, unsubscribe(level, "a\0b"), 0x81)


@pytest.mark.mqtt311("MQTT-1.5.3-3")
@pytest.mark.mqtt5("MQTT-1.5.4-3")
def test_a_byte_order_mark_is_a_character(broker, name, level):
    marked = f"\ufeff{name}/\ufeff/x"
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(f"\ufeff{name}/+/x")
        p.publish(f"{name}/\ufeff/x", b"without the first")
        p.publish(marked, b"with it", 1)
        assert (s.get().topic, s.fenced) == (marked, False)
        s.none_but(p)


@pytest.mark.mqtt311("MQTT-4.7.3-3", "MQTT-4.7.3-4")
@pytest.mark.mqtt5("MQTT-4.7.3-3", "MQTT-4.7.3-4")
def test_the_longest_topic_and_no_normalization(broker, name, level):
    """65,535 bytes is the most that a length can say; a letter with its accent apart is another one."""
    longest = (name + "/").ljust(65535, "l")
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(longest, f"{name}/é", f"{name}/Case", f"{name}/a//b")
        p.publish(longest, b"long", 1)
        assert s.get().topic == longest
        p.publish(f"{name}/e\u0301", b"composed otherwise", 1)
        p.publish(f"{name}/case", b"other case", 1)
        p.publish(f"{name}/a/b", b"an empty level less", 1)
        p.publish(f"{name}/é", b"the same bytes", 1)
        assert s.get().payload == b"the same bytes"
        s.none_but(p)


# ---- fixed headers ----


@pytest.mark.parametrize(
    "bad",
    [
        pytest.param(flags(raw.PINGREQ, 1), id="pingreq"),
        pytest.param(flags(raw.PUBACK, 2, b"\0\1"), id="puback"),
        pytest.param(flags(raw.PUBREC, 2, b"\0\1"), id="pubrec"),
        pytest.param(flags(raw.PUBCOMP, 2, b"\0\1"), id="pubcomp"),
        pytest.param(flags(raw.PUBREL, 0, b"\0\1"), id="pubrel", marks=[m311("MQTT-3.6.1-1"), m5("MQTT-3.6.1-1")]),
        pytest.param(
            lambda level: raw.packet(raw.SUBSCRIBE, b"\0\1" + tail(level) + raw.text("a") + b"\0", 0),
            id="subscribe", marks=[m311("MQTT-3.8.1-1"), m5("MQTT-3.8.1-1")],
        ),
        pytest.param(
            lambda level: raw.packet(raw.UNSUBSCRIBE, b"\0\1" + tail(level) + raw.text("a"), 0),
            id="unsubscribe", marks=[m311("MQTT-3.10.1-1"), m5("MQTT-3.10.1-1")],
        ),
        pytest.param(flags(raw.DISCONNECT, 1), id="disconnect", marks=[m311("MQTT-3.14.1-1"), m5("MQTT-3.14.1-1")]),
        pytest.param(flags(raw.AUTH, 1), id="auth", marks=[m5("MQTT-3.15.1-1")]),
    ],
)  # fmt: skip
@pytest.mark.mqtt311("MQTT-2.2.2-1", "MQTT-2.2.2-2")
@pytest.mark.mqtt5("MQTT-2.1.3-1")
def test_reserved_flags(broker, name, level, bad):
    ends_with(broker, name, level, bad(level), 0x81)


@pytest.mark.mqtt311("MQTT-3.3.1-4")
@pytest.mark.mqtt5("MQTT-3.3.1-4")
def test_both_qos_bits(broker, name, level):
    body = raw.text(name) + b"\0\1" + tail(level) + b"x"
    ends_with(broker, name, level, raw.packet(raw.PUBLISH, body, 6), 0x81)


@pytest.mark.mqtt311("MQTT-3.3.1-2")
@pytest.mark.mqtt5("MQTT-3.3.1-2")
def test_dup_of_qos_0(broker, name, level):
    ends_with(broker, name, level, publish(level, name, dup=True), 0x82)


@pytest.mark.mqtt5("MQTT-1.5.5-1")
def test_a_length_in_more_bytes_than_it_needs(broker, name):
    """The standard's shortest form, in the fixed header and in a property length."""
    body = raw.text("a") + b"\0x"
    ends_with(broker, name + "-1", 5, bytes([raw.PUBLISH << 4, len(body) | 0x80, 0]) + body, 0x81)
    ends_with(broker, name + "-2", 5, raw.packet(raw.PUBLISH, raw.text("a") + b"\x80\0x"), 0x81)


# ---- packet identifiers ----


@pytest.mark.parametrize(
    "bad",
    [
        lambda level: publish(level, "a", 1, 0),
        lambda level: publish(level, "a", 2, 0),
        lambda level: subscribe(level, ("a", 0), packet_id=0),
        lambda level: unsubscribe(level, "a", packet_id=0),
    ],
    ids=["publish-1", "publish-2", "subscribe", "unsubscribe"],
)
@pytest.mark.mqtt311("MQTT-2.3.1-1")
@pytest.mark.mqtt5("MQTT-2.2.1-3")
def test_packet_identifier_0(broker, name, level, bad):
    ends_with(broker, name, level, bad(level), 0x82)


@pytest.mark.mqtt311("MQTT-2.3.1-5")
@pytest.mark.mqtt5("MQTT-2.2.1-2")
def test_qos_0_has_no_packet_identifier(broker, name, level):
    """What stands behind the topic (and the properties) of a QoS 0 message is its payload, both ways."""
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p:
        s.subscribe(name)
        p.send(raw.packet(raw.PUBLISH, raw.text(name) + tail(level) + b"\0\7payload"))
        got = s.receive(raw.PUBLISH)
        assert (got.qos, got.body) == (0, raw.text(name) + tail(level) + b"\0\7payload")


# ---- topics and filters ----


@pytest.mark.parametrize("topic", ["+", "#", "a/+/b", "a/#", "a+", "#a"])
@pytest.mark.mqtt311("MQTT-3.3.2-2", "MQTT-4.7.1-1")
@pytest.mark.mqtt5("MQTT-3.3.2-2", "MQTT-4.7.0-1")
def test_no_wildcards_in_topic_names(broker, name, level, topic):
    ends_with(broker, name, level, publish(level, topic), 0x90)


@pytest.mark.mqtt311("MQTT-4.7.3-1")
@pytest.mark.mqtt5("MQTT-4.7.3-1")
def test_nothing_is_empty(broker, name, level):
    # MQTT 5 knows an empty topic, with an alias; without one it is a protocol error
    ends_with(broker, name + "-p", level, publish(level, ""), 0x82)
    ends_with(broker, name + "-s", level, subscribe(level, ("", 0)), 0x8F)
    ends_with(broker, name + "-u", level, unsubscribe(level, ""), 0x8F)


@pytest.mark.parametrize("bad", ["#/a", "a/#/b", "a#", "a/b#", "##"])
@pytest.mark.mqtt311("MQTT-4.7.1-2")
@pytest.mark.mqtt5("MQTT-4.7.1-1")
def test_where_the_multi_level_wildcard_stands(broker, name, level, bad):
    ends_with(broker, name, level, subscribe(level, ("fine/#", 0), (bad, 0)), 0x8F)


@pytest.mark.parametrize("bad", ["a+", "+a", "a/b+/c", "++", "+#"])
@pytest.mark.mqtt311("MQTT-4.7.1-3")
@pytest.mark.mqtt5("MQTT-4.7.1-2")
def test_where_the_single_level_wildcard_stands(broker, name, level, bad):
    ends_with(broker, name, level, subscribe(level, ("fine/+/+", 0), (bad, 0)), 0x8F)


@pytest.mark.mqtt311("MQTT-3.8.3-3", "MQTT-3.10.3-2")
@pytest.mark.mqtt5("MQTT-3.8.3-2", "MQTT-3.10.3-2")
def test_at_least_one_filter(broker, name, level):
    ends_with(broker, name + "-s", level, subscribe(level), 0x82)
    ends_with(broker, name + "-u", level, unsubscribe(level), 0x82)


@pytest.mark.mqtt311("MQTT-3.8.3-4")
@pytest.mark.mqtt5("MQTT-3.8.3-5")
def test_reserved_bits_of_subscription_options(broker, name, level):
    for bit in (0x40, 0x80) if level == 5 else (0x04, 0x08, 0x10, 0x20, 0x40, 0x80):
        ends_with(broker, f"{name}-{bit}", level, subscribe(level, ("a", bit)), 0x81)


@pytest.mark.mqtt311("MQTT-3.8.3-4")
def test_a_subscription_of_qos_3(broker, name, level):
    ends_with(broker, name, level, subscribe(level, ("a", 3)), 0x82)


# ---- what may not come at all, or not so ----


@pytest.mark.parametrize(
    "kind,body",
    [
        (raw.CONNACK, b"\0\0"),
        (raw.SUBACK, b"\0\1\0"),
        (raw.UNSUBACK, b"\0\1"),
        (raw.PINGRESP, b""),
    ],
    ids=["connack", "suback", "unsuback", "pingresp"],
)
@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.mqtt5("MQTT-4.13.1-1", "MQTT-4.13.2-1")
def test_packets_of_servers(broker, name, level, kind, body):
    ends_with(broker, name, level, raw.packet(kind, body), 0x82)


@pytest.mark.parametrize(
    "bad",
    [
        lambda level: b"\0\0",
        lambda level: b"\x30\xff\xff\xff\xff\1",
        lambda level: raw.packet(raw.PUBLISH, b"\0\x09abc"),
        lambda level: raw.packet(raw.PUBLISH, raw.text("abc") + b"\0", 2),
        lambda level: raw.packet(raw.PUBACK, b"\0"),
        lambda level: raw.packet(raw.PUBREL, b"", 2),
        lambda level: raw.packet(raw.SUBSCRIBE, b"\0\1" + tail(level) + b"\0\5a/b", 2),
        lambda level: raw.packet(raw.SUBSCRIBE, b"\0\1" + tail(level) + raw.text("a"), 2),
        lambda level: raw.packet(raw.UNSUBSCRIBE, b"\0\1" + tail(level) + b"\0\5a/b", 2),
        lambda level: raw.packet(raw.PINGREQ, b"x"),
        lambda level: raw.packet(raw.PUBACK, struct.pack("!HB", 1, 0) + tail(level) + b"xx"),
    ],
    ids=["type-0", "length", "topic", "identifier", "puback", "pubrel", "filter", "options", "unfilter", "pingreq", "more"],
)
@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.mqtt5("MQTT-4.13.1-1", "MQTT-4.13.2-1")
def test_malformed_packets(broker, name, level, bad):
    ends_with(broker, name, level, bad(level), 0x81)


@pytest.mark.mqtt311("MQTT-3.1.0-2", "MQTT-4.8.0-1")
@pytest.mark.mqtt5("MQTT-3.1.0-2", "MQTT-3.2.0-2", "MQTT-4.13.1-1")
def test_a_second_connect(broker, name, level):
    """It is no CONNECT any more, whatever it says: no second CONNACK."""
    for second in (name, name + "-other"):
        login = raw.connect(second, broker.user, broker.password, level=level)
        ends_with(broker, name, level, login, 0x82)


@pytest.mark.mqtt311("MQTT-4.8.0-1")
@pytest.mark.mqtt5("MQTT-4.13.1-1")
def test_what_follows_a_bad_packet_is_not_processed(broker, name, level):
    with Peer(broker, name, level) as s, Peer(broker, name + "-p", level) as p, Peer(broker, name + "-f", level) as f:
        s.subscribe(name)
        p.send(publish(level, name, 1, 1), publish(level, "a/#"), publish(level, name, 1, 2))
        assert s.get().payload == b"x"
        answers = p.wait_closed()
        assert {a.packet_id for a in answers if a.kind == raw.PUBACK} <= {1}
        s.none_but(f)
