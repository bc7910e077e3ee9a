"""The configuration read again while the broker runs: SIGHUP, the API, the command line."""

import re
import signal
import socket

from harness import raw, ws
from harness.wait import wait_until

LOG_LINE = re.compile(r'[a-z]+=("([^"\\]|\\.)*"|[^" ]*)( [a-z_]+=("([^"\\]|\\.)*"|[^" ]*))*')


def configured(new_broker, text):
    """A broker with a configuration file of the test's own."""
    broker = new_broker(start=False)
    broker.config = broker.directory / "tracemq.yaml"
    broker.args = ["--config", str(broker.config)]
    write(broker, text)
    return broker.start()


def write(broker, text):
    broker.config.write_text(text)


def wait_log(broker, text, count=1):
    wait_until(lambda: broker.log().count(text) >= count, what=f"{count} times {text!r} in the log")


def test_sighup_applies_limits_and_keeps_connections(new_broker):
    broker = configured(new_broker, "max_packet_size: 64KiB\n")
    with raw.Client(broker) as old, raw.Client(broker) as old5:
        old.login("old")
        old5.login("old5", level=5)
        assert old5.connack.props["maximum_packet"] == 65536
        write(broker, "max_packet_size: 1KiB\nloops: 1\nlog_level: debug\n")
        broker.process.send_signal(signal.SIGHUP)
        wait_log(broker, 'msg="configuration reloaded" changes=2')
        assert 'msg="configuration changed" name=max_packet_size from="64 KiB" to="1 KiB"' in broker.log()
        assert 'level=warn msg="needs a restart" name=loops' not in broker.log(), "the command line has precedence"
        # MQTT 5 was told a limit at CONNECT: it holds as long as the connection does.
        old5.send(raw.publish("t", b"x" * 2000, props={}))
        old5.send(raw.pingreq())
        old5.receive(raw.PINGRESP)
        with raw.Client(broker) as fresh:
            fresh.login("fresh", level=5)
            assert fresh.connack.props["maximum_packet"] == 1024
            fresh.send(raw.publish("t", b"x" * 2000, props={}))
            assert fresh.receive(raw.DISCONNECT).reason == 0x95
        old.send(raw.publish("t", b"x" * 2000))
        old.wait_closed()
    broker.wait_causes("old", "accepted.new", "limit.packet_size")
    assert broker.wait_causes("fresh", "accepted.new", "limit.packet_size")[1]["detail"]["limit"] == 1024
    assert [r["cause"] for r in broker.wait_trace("old5", 2)][1] == "peer.fin"
    broker.stop()


def test_what_needs_a_restart_is_told_and_stays(new_broker):
    broker = configured(new_broker, "region: one\nmax_subscriptions: 10\n")
    write(broker, "region: two\nmax_subscriptions: 20\ndurability: none\n")
    answer = broker.request("POST", "/api/v1/config/reload", 200).json()
    assert answer["applied"] == [{"name": "max_subscriptions", "from": "10", "to": "20"}]
    assert answer["needsRestart"] == [
        {"name": "region", "from": "one", "to": "two"},
        {"name": "durability", "from": "fsync", "to": "none"},
    ]
    assert broker.api("/api/v1/regions")["items"][0]["id"] == "one"
    # Told again until it is so; what was applied is not a change any more.
    out = broker.cli("reload")
    assert out == "needs a restart: region one → two\nneeds a restart: durability fsync → none\n"
    assert 'level=warn msg="needs a restart" name=region from="one" to="two"' in broker.log()
    broker.restart()
    assert broker.cli("reload") == "The configuration is as it was.\n"
    assert broker.api("/api/v1/regions")["items"][0]["id"] == "two"
    broker.stop()


def test_a_bad_file_changes_nothing(new_broker):
    broker = configured(new_broker, "max_subscriptions: 1\n")
    write(broker, "max_subscriptions: 5\nmax_inflight: \"la\\\\\\\"rge\"\n")
    where = f'{broker.config}:2: key "max_inflight": expected a number between 1 and 65535, got "la\\"rge"'
    broker.process.send_signal(signal.SIGHUP)
    wait_log(broker, 'msg="the configuration stays as it was"')
    answer = broker.request("POST", "/api/v1/config/reload", 422).json()
    assert answer["detail"] == where
    assert where in broker.cli("reload", expect=1)
    with raw.Client(broker) as c:
        c.login("d")
        c.send(raw.subscribe(1, ("a", 0)))
        c.receive(raw.SUBACK)
        c.send(raw.subscribe(2, ("b", 0)))
        c.wait_closed()
    broker.wait_causes("d", "accepted.new", "limit.subscriptions")
    broker.config.unlink()
    assert "cannot be read" in broker.cli("reload", expect=1)
    for line in broker.log().splitlines():
        assert LOG_LINE.fullmatch(line), line
    broker.stop()


def test_sys_interval_and_range(new_broker):
    broker = configured(new_broker, "sys_interval: 0\n")
    with raw.Client(broker) as c:
        c.login("watch")
        c.send(raw.subscribe(1, ("$SYS/broker/uptime", 0)))
        c.receive(raw.SUBACK)
        c.nothing()
        write(broker, "sys_interval: 200ms\ntrace:\n  max_range: 1h\n")
        broker.cli("reload")
        first = c.receive(raw.PUBLISH)
        assert first.topic == "$SYS/broker/uptime"
        c.receive(raw.PUBLISH)
    end = 1_700_000_000_000
    answer = broker.request("GET", "/events", 400, params={"begin": end - 7_200_000, "end": end})
    assert "3600000 ms" in answer.text
    broker.stop()


def test_times_of_open_connections(new_broker):
    """What a connection's timer was not set for, or for much later, holds at once, too."""
    broker = configured(new_broker, 'ws: "127.0.0.1:0"\nslow_consumer_timeout: 1d\n')
    broker.stop()
    broker.args += ["--ws", "127.0.0.1:0"]
    broker.start()
    stuck = raw.stuck_subscriber(broker, "stuck", "big")
    with raw.Client(broker) as c:
        c.login("publisher")
        for _ in range(60):
            c.send(raw.publish("big", b"x" * 200000))
        c.send(raw.pingreq())
        c.receive(raw.PINGRESP)
        c.bye()
    s = ws.WebSocket(socket.create_connection(broker.listener("ws"), timeout=60))
    with raw.Client(broker, over=s) as c:
        c.login("page", keepalive=0)
        write(broker, "slow_consumer_timeout: 1s\nwebsocket: {ping: 200ms}\n")
        broker.cli("reload")
        assert s.read_frame()[0] == ws.PING
        broker.wait_causes("stuck", "accepted.new", "limit.slow_consumer")
        c.bye()
    stuck.fin()
    broker.stop()


def test_reloads_under_load(new_broker):
    """Publishers go on while the configuration changes again and again."""
    broker = configured(new_broker, "max_inflight: 100\n")
    with raw.Client(broker) as taker, raw.Client(broker) as giver:
        taker.login("taker")
        taker.send(raw.subscribe(1, ("load", 0)))
        taker.receive(raw.SUBACK)
        giver.login("giver")
        for i in range(40):
            write(broker, f"max_inflight: {100 + i % 2}\nmax_output_bytes: {1 + i % 2}MiB\nresponse_information: r{i}\n")
            giver.send(*(raw.publish("load", b"%d" % n) for n in range(i * 10, i * 10 + 10)))
            broker.request("POST", "/api/v1/config/reload", 200)
        got = taker.receive_all(400)
        assert [int(p.payload) for p in got] == list(range(400))
    broker.stop()
