"""/metrics as Prometheus reads it, what its numbers say, and $SYS beside Mosquitto's."""

import contextlib
import re
import socket
import subprocess
import threading
import time

from harness import raw
from harness.broker import ROOT, SANITIZED
from harness.certs import Authority
from harness.peer import Peer
from harness.wait import PATIENCE, TooLate, wait_until

NAME = re.compile(r"[a-z_:][a-z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"')
SAMPLE = re.compile(r'([a-z_:][a-z0-9_:]*)(?:\{(.*)\})? (\S+)')
SUFFIXES = ("_bucket", "_sum", "_count")


def labels_of(text):
    """The labels between the braces, as a tuple of pairs in their order."""
    pairs, at = [], 0
    while text and at < len(text):
        found = LABEL.match(text, at)
        assert found, f"labels {text!r}"
        pairs.append(found.groups())
        at = found.end()
        assert at == len(text) or text[at] == ",", text
        at += 1
    assert len({n for n, _ in pairs}) == len(pairs), f"a label twice: {text}"
    return tuple(pairs)


def parse(text):
    """{family: (type, {(name, labels): value})}; every rule of the format that can be broken is checked."""
    families, family, seen = {}, None, set()
    assert text.endswith("\n")
    for line in text.splitlines():
        if line.startswith("# HELP "):
            family, help_text = line[7:].split(" ", 1)
            assert NAME.fullmatch(family) and help_text.strip() == help_text != "", line
            assert family not in families, f"{family} begins twice"
            families[family] = [None, {}]
            continue
        if line.startswith("# TYPE "):
            name, kind = line[7:].split(" ")
            assert name == family and families[name] == [None, {}], line
            assert kind in ("counter", "gauge", "histogram"), line
            families[name][0] = kind
            continue
        found = SAMPLE.fullmatch(line)
        assert found, f"no sample: {line!r}"
        name, labels, value = found[1], labels_of(found[2] or ""), float(found[3])
        base = next((name[: -len(s)] for s in SUFFIXES if name.endswith(s) and families[family][0] == "histogram"), name)
        assert base == family, f"{line}: in the family {family}"
        assert (name, labels) not in seen, f"{line}: twice"
        seen.add((name, labels))
        families[family][1][name, labels] = value
    return families


def lint(families):
    """What promtool check metrics complains of."""
    for name, (kind, samples) in families.items():
        assert kind is not None and samples, name
        assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"
        assert not re.search(r"(milli|micro|_ms|_us|kilo|mega|_kb|_mb|minutes|hours)", name), f"{name}: base units"
        assert not name.endswith(SUFFIXES), name
        assert all(v >= 0 for v in samples.values()), name
        if kind == "histogram":
            check_histogram(name, samples)


def check_histogram(name, samples):
    buckets = [(dict(k[1])["le"], v) for k, v in samples.items() if k[0] == name + "_bucket"]
    bounds = [float(le) for le, _ in buckets]
    counts = [v for _, v in buckets]
    assert bounds == sorted(bounds) and bounds[-1] == float("inf") and counts == sorted(counts), name
    assert counts[-1] == samples[name + "_count", ()] and samples[name + "_sum", ()] >= 0


def metrics(broker):
    families = parse(broker.request("GET", "/metrics", 200).text)
    lint(families)
    return families


def value(broker, name, **labels):
    """One sample; a label that is not named may be anything, so long as one sample is left."""
    samples = metrics(broker)[name][1]
    found = [v for (_, have), v in samples.items() if labels.items() <= dict(have).items()]
    assert len(found) == 1, f"{name} {labels}: {samples}"
    return found[0]


def causes():
    out = subprocess.run(["grep", "-oE", '^CAUSE\\([A-Z_0-9]+, "[^"]+", [A-Z_0-9]+, [A-Z]+', "src/base/cause.def"],
                         capture_output=True, text=True, check=True, cwd=ROOT).stdout  # fmt: skip
    return [tuple(re.search(r'"(.*)", \w+, (\w+)$', line).groups()) for line in out.splitlines()]


def test_every_family_is_what_prometheus_expects(broker):
    families = metrics(broker)
    assert len(families) > 50
    assert families["tracemq_ready"][1] == {("tracemq_ready", ()): 1}
    build = families["tracemq_build_info"][1]
    assert list(build.values()) == [1] and re.fullmatch(r"\d+\.\d+\.\d+", dict(next(iter(build))[1])["version"])
    closed = {dict(labels)["cause"] for _, labels in families["tracemq_connections_closed_total"][1]}
    begun = {dict(labels)["cause"] for _, labels in families["tracemq_connects_total"][1]}
    table = causes()
    assert closed == {c for c, action in table if action != "CONNECT"}
    assert begun == {c for c, action in table if action == "CONNECT"}
    assert {dict(labels)["loop"] for _, labels in families["tracemq_loop_rounds_total"][1]} == {"0", "1"}
    for name in ("cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"):
        assert next(iter(families["process_" + name][1].values())) > 0, name
    assert families["tracemq_store_sync_seconds"][0] == "histogram"


def test_certificates_and_reloads(new_broker, tmp_path):
    ca = Authority(tmp_path)
    soon, key = ca.issue("server", days=20)
    late, late_key = ca.issue("late", days=90)
    config = tmp_path / "tracemq.yaml"
    text = (
        f"listeners:\n"
        f"  - {{protocol: mqtts, address: '127.0.0.1:0', certificate: {late}, key: {late_key}}}\n"
        f"  - {{protocol: mqtts, address: '127.0.0.1:0', certificate: {soon}, key: {key}}}\n"
        f"  - {{name: 'a \"name\"\\', protocol: wss, address: '127.0.0.1:0', certificate: {late}, key: {late_key}}}\n"
    )
    config.write_text(text)
    broker = new_broker("--config", str(config))
    families = parse(broker.request("GET", "/metrics").text)
    lint(families)
    ends = {dict(k[1])["listener"]: v for k, v in families["tracemq_certificate_not_after_timestamp_seconds"][1].items()}
    assert set(ends) == {"mqtts", 'a \\"name\\"\\\\'}, ends
    assert 19 * 86400 < ends["mqtts"] - time.time() < 21 * 86400, "of the two of that name, the one that ends first"
    good, when = "tracemq_config_last_reload_successful", "tracemq_config_last_reload_success_timestamp_seconds"

    def reloaded():
        found = parse(broker.request("GET", "/metrics").text)
        return [found[name][1][name, ()] for name in (good, when)]

    assert reloaded()[0] == 1
    began = reloaded()[1]
    config.write_text("max_inflight: lots\n")
    broker.cli("reload", expect=1)
    assert reloaded() == [0, began]
    config.write_text(text)
    broker.cli("reload")
    assert reloaded()[0] == 1 and reloaded()[1] > began
    broker.stop()


def test_endings_by_cause(broker, name):
    before = metrics(broker)["tracemq_connections_closed_total"][1]
    with raw.Client(broker) as c:
        c.login(name)
        c.bye()
    with raw.Client(broker) as c:
        c.login(name, "nobody-of-that-name", "x", expect=4)
        c.wait_closed()
    broker.wait_causes(name, "accepted.new", "client.normal", "auth.unknown_identity")
    after = metrics(broker)["tracemq_connections_closed_total"][1]
    more = {dict(k[1])["cause"]: (dict(k[1])["description"], v - before[k]) for k, v in after.items() if v != before[k]}
    assert more == {
        "client.normal": ("disconnected by client", 1),
        "auth.unknown_identity": ("not authorized", 1),
    }


def test_packets_and_messages(new_broker):
    broker = new_broker("--sys-interval", "0")
    with Peer(broker, "s", durable=True) as s, Peer(broker, "p") as p:
        s.subscribe("t")
        for qos in (0, 1, 2):
            p.publish("t", b"12345", qos)
            s.get()
        p.publish("nobody/there", b"x", 1)
        p.publish("t/kept", b"x", 1, retain=True)
        assert value(broker, "tracemq_publish_received_total", qos="0") == 1
        assert value(broker, "tracemq_publish_received_total", qos="1") == 3
        assert value(broker, "tracemq_publish_sent_total", qos="2") == 1
        assert value(broker, "tracemq_publish_unmatched_total") == 2
        assert value(broker, "tracemq_packets_received_total", type="CONNECT") == 2
        assert value(broker, "tracemq_packets_received_total", type="PUBLISH") == 5
        assert value(broker, "tracemq_packets_sent_total", type="PUBLISH") == 3
        assert value(broker, "tracemq_packets_sent_total", type="PUBACK") == 3
        assert value(broker, "tracemq_packets_sent_total", type="SUBACK") == 1
        assert value(broker, "tracemq_publish_sent_payload_bytes_total") == 15
        assert value(broker, "tracemq_retained_messages") == 1
        assert value(broker, "tracemq_retained_bytes") > 6
        assert value(broker, "tracemq_sessions", state="online") == 2
        assert value(broker, "tracemq_connects_total", cause="accepted.new") == 2
        s.bye()
        p.publish("t", b"waits", 1)
        assert value(broker, "tracemq_messages_queued") == 1 and value(broker, "tracemq_queued_bytes") > 6
        wait_until(lambda: value(broker, "tracemq_sessions", state="offline") == 1)
        p.bye()
    assert value(broker, "tracemq_messages_inflight") == 0
    assert value(broker, "tracemq_auth_cache_misses_total") >= 1
    assert value(broker, "tracemq_auth_cache_hits_total") >= 1
    wait_until(lambda: value(broker, "tracemq_trace_records_total") >= 4)
    broker.stop()


def dropped(broker):
    samples = metrics(broker)["tracemq_messages_dropped_total"][1]
    return {dict(labels)["reason"]: n for (_, labels), n in samples.items() if n}


def test_drops_by_reason(new_broker):
    broker = new_broker("--max-queued-messages", "3", "--max-output-bytes", "4096", "--max-queued-bytes", "100KiB")
    with Peer(broker, "p") as p:
        with Peer(broker, "away", durable=True) as s:
            s.subscribe("away")
            s.bye()
        for i in range(5):
            p.publish("away", str(i), 1)
        assert dropped(broker) == {"queue_messages": 2}
        with Peer(broker, "big", durable=True) as s:
            s.subscribe("big")
            s.bye()
        for _ in range(2):
            p.publish("big", bytes(80000), 1)
        assert dropped(broker) == {"queue_messages": 2, "queue_bytes": 1}
        with Peer(broker, "late", durable=True) as s:
            s.subscribe("late")
            s.bye()
        p.publish("late", b"x", 1, props={"message_expiry": 1})
        over = time.monotonic() + 1.1
        with Peer(broker, "small", props={"maximum_packet": 100}) as small:
            small.subscribe("small")
            p.publish("small", bytes(200), 1)
            wait_until(lambda: dropped(broker).get("packet_too_large") == 1, what="too large for the small one")
            small.bye()
        end = broker.wait_causes("small", "accepted.new", "client.normal")[1]
        assert end["detail"]["dropped"] == 1, "the session's record says how many"

        wait_until(lambda: time.monotonic() > over)
        with Peer(broker, "late", durable=True) as late:
            late.bye()
        wait_until(lambda: dropped(broker).get("expired") == 1, what="the late one's message expired")
        stuck = socket.socket()
        stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        stuck.connect((broker.host, broker.port))
        with raw.Client(broker, over=stuck) as c:
            c.login("stuck", level=5)
            c.send(raw.subscribe(1, ("out", 0), props={}))
            c.receive(raw.SUBACK)
            for _ in range(300):
                p.send(p.packet("out", bytes(65536)))
            p.publish("out", b"", 1)
            wait_until(lambda: dropped(broker).get("output_full"), what="a full output")
            c.reset()
        p.bye()
    broker.stop()


# ---- $SYS ----

# Names that Mosquitto publishes and we do not: none. Those of ours beside them:
# Mosquitto's manual has these, its 2.0 publishes them under other names, or not any more.
OURS = {"$SYS/broker/messages/inflight", "$SYS/broker/heap/current size", "$SYS/broker/heap/maximum size"}


def sys_topics(broker):
    """A set that grows: each topic of $SYS/# that the broker publishes."""
    topics = set()

    def read():
        with contextlib.suppress(OSError, raw.Closed), Peer(broker, "watch", 4, keepalive=0) as c:
            c.subscribe(("$SYS/#", 0))
            while True:
                topics.add(c.receive(raw.PUBLISH).topic)

    threading.Thread(target=read, daemon=True).start()
    return topics


def test_sys_has_what_mosquitto_has(new_broker, mosquitto):
    theirs = sys_topics(mosquitto("sys_interval 1"))
    broker = new_broker("--sys-interval", "1s")
    ours = sys_topics(broker)

    def alike():
        return len(theirs) > 40 and len(ours) > 40 and ours - theirs == OURS and theirs <= ours

    with contextlib.suppress(TooLate):
        wait_until(alike, what="the same topics")
    assert len(theirs) > 40 and "$SYS/broker/load/bytes/received/15min" in theirs
    assert theirs <= ours, f"missing: {sorted(theirs - ours)}"
    assert ours - theirs == OURS
    broker.stop()


def test_sys_values(new_broker):
    broker = new_broker("--sys-interval", "200ms")
    with Peer(broker, "p", durable=True) as p:
        p.publish("nobody/there", b"12345", 1)
        with Peer(broker, "gone", durable=True) as gone:
            gone.subscribe("t")
            gone.bye()
        p.publish("t", b"x", 1)
        with Peer(broker, "watch") as w:
            w.subscribe(("$SYS/#", 0))
            got = {}
            wanted = {
                "publish/messages/received": "2", "publish/bytes/received": "6", "clients/disconnected": "1",
                "clients/inactive": "1", "clients/connected": "2", "clients/active": "2", "clients/total": "3",
            }  # fmt: skip

            def stored():
                """Retained ones, these topics among them, and a queued one."""
                same = got["store/messages/count"] == got["messages/stored"]
                return int(got["messages/stored"]) if same else 0

            def rises():
                """What came in the first moments is still most of what the average over the last minute knows."""
                loads = [float(got[f"load/messages/received/{n}min"]) for n in (1, 15)]
                return loads[0] > loads[1] > 0

            def look():
                deadline = time.monotonic() + PATIENCE
                while True:  # topic by topic: what belongs together comes with the next ones
                    assert time.monotonic() < deadline, got
                    m = w.receive(raw.PUBLISH)
                    got[m.topic.removeprefix("$SYS/broker/")] = m.payload.decode()
                    if wanted.items() <= got.items() and len(got) == 56 and stored() > 56 and rises():
                        return

            look()
            assert int(got["clients/maximum"]) >= 2 and got["clients/expired"] == "0"
            assert int(got["messages/received"]) > 2, "every packet counts"
            assert SANITIZED or 10000 < int(got["heap/current size"]) <= int(got["heap/maximum size"])
            assert got["version"].startswith("TraceMQ ") and got["uptime"].endswith(" seconds")
            assert re.fullmatch(r"\d+\.\d\d", got["load/messages/received/1min"])
            w.bye()
        p.bye()
    broker.stop()
