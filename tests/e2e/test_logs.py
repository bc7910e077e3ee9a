"""The log is logfmt, one line an event, whatever peers call themselves; the command line's tables are no terminal's toy either."""

import re

from harness import raw

# key=value pairs; a value is bare, or in quotes with \" and \\ in it
LINE = re.compile(r'[a-z_]+=("([^"\\]|\\["\\])*"|[^" =\\]*)( [a-z_]+=("([^"\\]|\\["\\])*"|[^" =\\]+))*')
EVIL = 'a"b\nts=2026-01-01T00:00:00.000Z level=error msg="forged" x="\x1b[2J\x7f\\'


def check_log(broker):
    lines = broker.log_path.read_bytes().decode().split("\n")
    assert lines.pop() == "" and len(lines) > 5
    for line in lines:
        assert LINE.fullmatch(line), line
        assert line.startswith("ts=2") and " level=" in line and " msg=" in line, line
        assert not re.search(r"[\x00-\x1f\x7f\x80-\x9f]", line), repr(line)
    assert not any(line.startswith("ts=2026-01-01T00:00:00.000Z") for line in lines)
    return lines


def test_names_that_would_forge_lines(new_broker):
    broker = new_broker("--log-level", "debug", "--region", 'a region "of" ours')
    broker.settings(on_denied="close")
    with raw.Client(broker) as c:
        c.login(EVIL)
        c.send(raw.publish("$SYS/" + EVIL, "x"))
        c.wait_closed()
    with raw.Client(broker) as c:
        c.login(EVIL, EVIL, EVIL, expect=4)
        c.wait_closed()
    with raw.Client(broker) as c:
        c.login(EVIL, level=5, will=(EVIL, EVIL, 0, False))
        c.send(raw.subscribe(1, (EVIL + "/#", 1), props={}))
        c.receive(raw.SUBACK)
        c.send(raw.disconnect(0x80, props={"reason_string": EVIL, "user": [(EVIL, EVIL)]}))
        c.wait_closed()
    records = broker.wait_causes(
        EVIL, "accepted.new", "topic.publish", "auth.unknown_identity", "accepted.new", "client.reason"
    )
    assert records[0]["clientId"] == EVIL, "the API gives what it was"
    assert all("\n" not in r["verdict"]["text"] for r in records)
    out = broker.cli("trace", EVIL)
    rows = [line for line in out.splitlines() if re.match(r"\d{4}-\d\d-\d\d", line)]
    assert len(rows) == 5
    assert "\x1b" not in out and not re.search(r"^ts=2026-01-01", out, re.M), out
    listed = broker.cli("devices")
    assert "\x1b" not in listed and not re.search(r"^ts=2026-01-01", listed, re.M), listed
    broker.stop()
    check_log(broker)


def test_lines_of_a_start_a_reload_and_a_stop(new_broker):
    broker = new_broker(start=False)
    config = broker.directory / "tracemq.yaml"
    config.write_text("max_inflight: 5\nlisteners:\n  - name: my own place\n    protocol: mqtt\n    address: 127.0.0.1:0\n")
    broker.args = ["--config", str(config), "--node", 'node "one"']
    broker.start()
    config.write_text(config.read_text().replace("5", '"5\\n \\"lots\\""'))
    broker.request("POST", "/api/v1/config/reload", 422)
    config.write_text("max_inflight: 7\nresponse_information: \"a b=c\"\n")
    broker.request("POST", "/api/v1/config/reload", 200)
    broker.stop()
    lines = check_log(broker)
    assert any('listener="my own place"' in line for line in lines)
    assert any('node="node \\"one\\""' in line for line in lines)
