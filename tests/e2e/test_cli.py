"""The command line: what a person or a script at the terminal gets, and its exit status."""

import csv
import io
import json
import os
import signal
import subprocess

from harness import raw
from harness.broker import BINARY
from harness.wait import wait_until


def visit(broker, client_id, leave="bye"):
    with raw.Client(broker) as c:
        c.login(client_id)
        getattr(c, leave)()
    return c


def test_trace_table(broker):
    c = visit(broker, "GID_cli@@@pump")
    visit(broker, "GID_cli@@@pump", "fin")
    broker.wait_trace("GID_cli@@@pump", 4)
    out = broker.cli("trace", "GID_cli@@@pump")
    lines = out.splitlines()
    assert lines[0].split() == ["TIME", "(UTC)", "ACTION", "DESCRIPTION", "CAUSE", "PEER", "CHANNEL"]
    assert "connect" in lines[1] and "accepted.new" in lines[1] and c.peer in lines[1]
    assert "disconnected by client" in lines[2] and "closed by client" in lines[4]
    assert "4 rows" in out and "complete" in out
    assert broker.cli("trace", "--group", "GID_cli", "--device", "pump") == out
    reverse = broker.cli("trace", "GID_cli@@@pump", "--reverse").splitlines()
    assert reverse[1:5] == lines[4:0:-1]


def test_trace_json_and_csv(broker, name):
    visit(broker, name)
    records = broker.wait_trace(name, 2)
    document = json.loads(broker.cli("trace", name, "--json"))
    assert document["items"] == records and document["complete"] is True
    rows = list(csv.DictReader(io.StringIO(broker.cli("trace", name, "--csv"))))
    assert [int(r["seq"]) for r in rows] == [r["seq"] for r in records]
    assert [r["cause"] for r in rows] == ["accepted.new", "client.normal"]
    assert json.loads(rows[1]["detail"]) == records[1]["detail"]
    only = json.loads(broker.cli("trace", name, "--json", "--action", "connect"))
    assert [r["cause"] for r in only["items"]] == ["accepted.new"]
    begin = str(records[1]["time"])
    assert [r["seq"] for r in json.loads(broker.cli("trace", name, "--json", "--begin", begin))["items"]][-1:] == [
        records[1]["seq"]
    ]
    assert json.loads(broker.cli("trace", name, "--json", "--last", "1h", "--limit", "1"))["items"] == records[:1]


def test_trace_of_more_than_a_page(broker, name):
    for _ in range(12):
        visit(broker, name)
    broker.wait_trace(name, 24)
    assert len(json.loads(broker.cli("trace", name, "--json", "--limit", "20"))["items"]) == 20


def test_trace_of_nobody(broker):
    out = broker.cli("trace", "never-seen", expect=0)
    assert "never-seen" in out or "No" in out


def test_follow(broker, name):
    visit(broker, name)
    before = broker.wait_trace(name, 2)
    child = subprocess.Popen(
        [BINARY, "trace", name, "--json", "--follow", "--data", str(broker.data)], stdout=subprocess.PIPE, text=True
    )
    try:
        first = [json.loads(child.stdout.readline()) for _ in range(2)]
        assert first == before
        visit(broker, name, "fin")
        more = [json.loads(child.stdout.readline()) for _ in range(2)]
        assert [r["cause"] for r in more] == ["accepted.new", "peer.fin"]
        assert more == broker.trace(name)[2:]
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 0
        child.stdout.close()


def test_follow_goes_on_after_a_restart(new_broker):
    broker = new_broker()
    port = broker.url.rsplit(":", 1)[1]
    child = subprocess.Popen(
        [BINARY, "trace", "d", "--csv", "--follow", "--data", str(broker.data)],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    try:
        assert child.stdout.readline().startswith("seq,")
        visit(broker, "d")
        assert "accepted.new" in child.stdout.readline() and "client.normal" in child.stdout.readline()
        broker.kill9()
        broker.args += ["--http", f"127.0.0.1:{port}"]
        broker.start()
        visit(broker, "d", "fin")
        assert "accepted.new" in child.stdout.readline() and "peer.fin" in child.stdout.readline()
    finally:
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=60) == 0
        child.stdout.close()
    broker.stop()


def test_status_devices_and_kick(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        wait_until(lambda: broker.status(name))
        out = broker.cli("status", name)
        assert "online" in out and c.peer in out
        document = json.loads(broker.cli("status", name, "--json"))
        assert document == broker.status(name)
        assert name in broker.cli("devices", "--prefix", name, "--online")
        assert name not in broker.cli("devices", "--prefix", name, "--offline")
        broker.cli("kick", name)
        c.wait_closed()
    broker.wait_causes(name, "accepted.new", "admin.kick")
    assert "offline" in broker.cli("status", name)
    broker.cli("kick", name, expect=1)
    broker.cli("status", name + "-none", expect=1)


def test_users_and_permissions(broker, name):
    broker.cli("user", "add", name, "--password-stdin", "--allow", f"{name}/#", "--allow", "b/+", stdin="pass word\n")
    assert name in broker.cli("user", "list")
    out = json.loads(broker.cli("permission", "list", name, "--json"))
    assert {(p["effect"], p["action"], p["filter"]) for p in out["items"]} == {
        ("allow", "both", f"{name}/#"), ("allow", "both", "b/+"),
    }  # fmt: skip
    broker.cli("permission", "add", name, "deny", "subscribe", "b/x")
    table = broker.cli("permission", "list", name).splitlines()
    assert table[0].split()[:2] == ["EFFECT", "ACTION"] and len(table) >= 4
    with raw.Client(broker) as c:
        c.login(name, name, "pass word")
        c.send(raw.subscribe(1, ("b/y", 0)))
        c.receive(raw.SUBACK)
        c.send(raw.subscribe(2, ("b/x", 0)))
        c.wait_closed()
    broker.wait_causes(name, "accepted.new", "topic.subscribe")
    broker.cli("permission", "delete", name, "deny", "subscribe", "b/x")
    broker.cli("permission", "delete", name, "deny", "subscribe", "b/x", expect=1)
    with raw.Client(broker) as c:
        c.login(name, name, "pass word")
        broker.cli("user", "passwd", name, "--password-stdin", stdin="another\n")
        c.wait_closed()
    broker.cli("user", "delete", name)
    assert "does not exist" in broker.cli("user", "delete", name, expect=1)
    assert name not in broker.cli("user", "list")


def test_a_password_without_newline_and_an_empty_one(broker, name):
    broker.cli("user", "add", name, "--password-stdin", stdin="no newline")
    broker.cli("user", "add", name + "2", "--password-stdin", stdin="two\n\n")
    broker.cli("user", "add", name + "3", "--password-stdin", stdin="", expect=1)
    for user, password in ((name, "no newline"), (name + "2", "two\n")):
        with raw.Client(broker) as c:
            c.login(user, user, password)
            c.bye()


def test_groups_topics_and_instance(broker, name):
    gid = "GID_" + name
    broker.cli("group", "add", gid)
    assert gid in broker.cli("group", "list")
    assert gid in [g["id"] for g in json.loads(broker.cli("group", "list", "--json"))["items"]]
    broker.cli("group", "add", gid, expect=1)
    broker.cli("group", "add", "bad", expect=1)
    broker.cli("group", "delete", gid)
    assert gid not in broker.cli("group", "list")
    broker.cli("topic", "add", name)
    assert name in broker.cli("topic", "list")
    broker.cli("topic", "delete", name)
    instance = broker.bootstrap["instance_id"]
    assert instance in broker.cli("instance", "list")
    broker.cli("instance", "set", instance, "on_denied", "refuse")
    assert "refuse" in broker.cli("instance", "show")
    broker.cli("instance", "set", instance, "on_denied", "close")
    assert "on_denied" in broker.cli("instance", "set", instance, "on_denied", "perhaps", expect=1)


def test_wrong_usage(broker):
    for args in (
        ("trace",), ("trace", "a", "--json", "--csv"), ("trace", "a", "--last", "soon"), ("trace", "a", "--nonsense"),
        ("trace", "a", "--group", "b"), ("user", "add", "x"), ("permission", "add", "x", "perhaps", "both", "a"),
        ("user", "fly"), ("status", "a", "b"), ("trace", "a", "--action", "dance"),
    ):  # fmt: skip
        out = broker.cli(*args, expect=2)
        assert "usage" in out, args
    assert "trace.max_range" in broker.cli("trace", "a", "--last", "25h", expect=1), "the one-day rule is the server's answer"


def run(*args, **env):
    clean = {k: v for k, v in os.environ.items() if not k.startswith("TRACEMQ_")}
    return subprocess.run([BINARY, *args], capture_output=True, text=True, timeout=60, env={**clean, **env})


def test_url_and_token(broker, name):
    visit(broker, name)
    broker.wait_trace(name, 2)
    token = broker.bootstrap["api_token"]
    by_option = run("trace", name, "--csv", "--url", broker.url, "--token", token)
    by_environment = run("trace", name, "--csv", TRACEMQ_URL=broker.url, TRACEMQ_TOKEN=token)
    assert by_option.returncode == 0 and by_option.stdout == by_environment.stdout and "accepted" in by_option.stdout
    assert run("trace", name, "--url", broker.url, "--token", "wrong").returncode == 1
    nobody = run("trace", name, "--url", "http://127.0.0.1:1", "--token", token)
    assert nobody.returncode == 1 and "127.0.0.1" in nobody.stderr


def test_help_and_version():
    assert run("--version").stdout.startswith("tracemq 0.")
    for words in (("--help",), ("trace", "--help"), ("user", "--help"), ("serve", "--help")):
        done = run(*words)
        assert done.returncode == 0 and words[0].strip("-") in done.stdout
    assert run().returncode == 2 and run("fly").returncode == 2
