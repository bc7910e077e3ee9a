"""What a start refuses: said in words, exit status 2, nothing touched and nothing started."""

import fcntl
import os
import socket
import subprocess

import pytest

from harness.broker import BINARY


def serve(data, *args, mqtt="127.0.0.1:0", http="127.0.0.1:0"):
    command = [BINARY, "serve", "--data", str(data)]
    for option, address in (("--mqtt", mqtt), ("--http", http)):
        command += [option, address] if address else []
    return subprocess.run([*command, *args], capture_output=True, text=True, timeout=60)


def refused(done, *words):
    assert done.returncode == 2, f"{done.returncode}: {done.stderr}"
    for word in words:
        assert str(word) in done.stderr, f"{word!r} is not in: {done.stderr}"
    assert "msg=" not in done.stderr, "nothing was started"


def tree(directory):
    return sorted((str(p.relative_to(directory)), p.stat().st_size, p.stat().st_mtime_ns) for p in directory.rglob("*"))


def test_data_of_another_version(tmp_path):
    (tmp_path / "VERSION").write_text("tracemq-data 99\n")
    before = tree(tmp_path)
    refused(serve(tmp_path), tmp_path, "99", "version")
    assert tree(tmp_path) == before


@pytest.mark.parametrize("content", ["", "something else\n", "tracemq-data x\n", "tracemq-data 1000000000000000000\n"])
def test_a_strange_version_file(tmp_path, content):
    (tmp_path / "VERSION").write_text(content)
    (tmp_path / "store").mkdir()
    before = tree(tmp_path)
    refused(serve(tmp_path), tmp_path)
    assert tree(tmp_path) == before


def test_a_directory_that_is_somebody_elses(tmp_path):
    (tmp_path / "thesis.txt").write_text("three years of work")
    before = tree(tmp_path)
    refused(serve(tmp_path), tmp_path, "thesis.txt")
    assert tree(tmp_path) == before


def test_data_in_use(new_broker):
    broker = new_broker()
    refused(serve(broker.data), broker.data, "in use", broker.process.pid)
    broker.api("/api/v1/instances")
    broker.restart()
    broker.stop()


def test_a_lock_held_by_anyone(tmp_path):
    with open(tmp_path / "LOCK", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(serve(tmp_path), tmp_path, "in use")


def test_data_is_a_file(tmp_path):
    path = tmp_path / "data"
    path.write_text("")
    refused(serve(path), path)
    refused(serve(path / "below"), path)


def test_data_not_writable(tmp_path):
    """As root permissions say nothing: a directory that nobody can write to is one of /proc."""
    if os.geteuid() != 0:
        tmp_path.chmod(0o500)
        refused(serve(tmp_path), tmp_path)
    refused(serve("/proc/self/tracemq"), "/proc/self")


@pytest.mark.parametrize("which", ["mqtt", "http"])
def test_port_taken(tmp_path, which):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused(serve(tmp_path / "data", **{which: f"127.0.0.1:{port}"}), f"127.0.0.1:{port}", "in use")


CONFIGURATIONS = {
    "unknown key": ("data: x\nmqttt: 127.0.0.1:0\n", ["mqttt"]),
    "wrong value": ("loops: many\n", ["loops"]),
    "out of range": ("loops: 65\n", ["loops", "64"]),
    "bad unit": ("max_packet_size: 3 apples\n", ["max_packet_size"]),
    "bad word": ("durability: maybe\n", ["durability", "fsync"]),
    "nested": ("trace:\n  memory: lots\n", ["memory"]),
    "unknown below": ("trace:\n  colour: red\n", ["colour"]),
    "no yaml": ("a: [1\n", []),
    "bad address": ("mqtt: nowhere\n", ["mqtt"]),
}


@pytest.mark.parametrize("what", CONFIGURATIONS)
def test_broken_configuration(tmp_path, what):
    content, words = CONFIGURATIONS[what]
    path = tmp_path / "tracemq.yaml"
    path.write_text("# a comment\n" + content)
    data = tmp_path / "data"
    for check in ([], ["--check"]):
        refused(serve(data, "--config", str(path), *check), path, *words)
    assert not data.exists()
    if what not in ("no yaml", "bad address"):
        line = 2 + [words[0] in text for text in content.splitlines()].index(True)
        assert str(line) in serve(data, "--config", str(path)).stderr.replace(str(path), "")


@pytest.mark.parametrize(
    "args", [["--nonsense"], ["--loops"], ["--loops", "x"], ["--config", "/nonexistent.yaml"], ["stray"], ["--mqtt", "x"]]
)
def test_broken_arguments(tmp_path, args):
    data = tmp_path / "data"
    refused(serve(data, *args, mqtt=None), args[-1] if args != ["--loops"] else "loops")
    assert not data.exists()


def test_check(tmp_path):
    path = tmp_path / "tracemq.yaml"
    path.write_text("loops: 2\nmax_packet_size: 2MiB\ntrace:\n  fsync: 2s\n")
    done = serve(tmp_path / "data", "--config", str(path), "--check")
    assert done.returncode == 0 and not (tmp_path / "data").exists()


CERTIFICATES = {
    "none": ("mqtts: 127.0.0.1:0\n", ["listener mqtts", "certificate"]),
    "no such file": ("mqtts: 127.0.0.1:0\ntls: {certificate: /none.pem, key: /none.key}\n", ["listener mqtts", "/none.pem"]),
    "no certificate in it": (
        "listeners:\n  - {name: far, protocol: wss, address: '127.0.0.1:0', certificate: FILE, key: FILE}\n",
        ["listener far", "tracemq.yaml"],
    ),
    "of a bridge": (
        "bridges:\n  - {name: b, address: 'a:1', protocol: mqtts, ca: FILE, topics: [{topic: x}]}\n",
        ["bridge b", "tracemq.yaml"],
    ),
}


@pytest.mark.parametrize("what", CERTIFICATES)
def test_broken_certificates(tmp_path, what):
    """What would end the start is said by --check; nothing was made by then."""
    content, words = CERTIFICATES[what]
    path = tmp_path / "tracemq.yaml"
    path.write_text(content.replace("FILE", str(path)))
    for check in ([], ["--check"]):
        refused(serve(tmp_path / "data", "--config", str(path), *check, mqtt=None), *words)
    assert not (tmp_path / "data").exists()


def test_certificates_of_what_is_off(tmp_path):
    path = tmp_path / "tracemq.yaml"
    path.write_text("tls: {certificate: /none.pem, key: /none.key}\nlisteners:\n  - {protocol: mqtts, address: off}\n")
    assert serve(tmp_path / "data", "--config", str(path), "--check").returncode == 0


def test_first_start_tells_the_credentials(new_broker):
    broker = new_broker()
    line = next(text for text in broker.log().splitlines() if "first start" in text)
    assert "level=info" in line and f'file="{broker.data}/bootstrap.json"' in line, line
    broker.stop()
    broker.start()
    assert broker.log().count("first start") == 1
    broker.stop()


def test_configuration_file_and_arguments(new_broker, tmp_path):
    path = tmp_path / "tracemq.yaml"
    path.write_text("region: north\nallow_anonymous: on\nloops: 1\n")
    broker = new_broker("--config", str(path))
    assert broker.api("/api/v1/regions")["items"][0]["id"] == "north"
    assert "loops=2" in broker.log(), "an argument beats the file"
    broker.stop()
