"""What the broker tells a service manager: sd_notify's datagrams, by a socket of our own in systemd's place."""

import os
import re
import signal
import socket
import time

import pytest

from harness import raw
from harness.wait import wait_until


class Manager:
    """The socket that systemd would have; `abstract`: one without a file."""

    def __init__(self, tmp_path, abstract=False):
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        name = f"tracemq-test-{os.getpid()}-{time.monotonic_ns()}"
        path = "\0" + name if abstract else str(tmp_path / "notify")
        self.socket.bind(path)
        self.socket.setblocking(False)
        self.env = {"NOTIFY_SOCKET": "@" + name if abstract else path}
        self.told = []  # (time, {key: value})

    def look(self):
        """What has come since; a part of `told`."""
        before = len(self.told)
        while True:
            try:
                text = self.socket.recv(4096).decode()
            except BlockingIOError:
                return [m for _, m in self.told[before:]]
            pairs = [line.split("=", 1) for line in text.split("\n")]
            assert all(len(p) == 2 for p in pairs), text
            self.told.append((time.monotonic(), dict(pairs)))

    def wait(self, **wanted):
        """The next message that says this."""

        def came():
            return next((m for m in self.look() if wanted.items() <= m.items()), None)

        return wait_until(came, 20, f"{wanted} from the broker")

    def pings(self):
        return sum("WATCHDOG" in m for m in self.look())

    def silent(self, seconds):
        """True once no sign of life has come for so long."""
        self.look()
        last = max((t for t, m in self.told if "WATCHDOG" in m), default=0)
        return time.monotonic() - last > seconds

    def close(self):
        self.socket.close()


@pytest.fixture(params=["file", "abstract"])
def manager(request, tmp_path):
    m = Manager(tmp_path, abstract=request.param == "abstract")
    yield m
    m.close()


def test_ready_reload_stop(new_broker, manager):
    broker = new_broker(start=False, env=manager.env)
    config = broker.directory / "tracemq.yaml"
    config.write_text("max_inflight: 100\n")
    broker.args = ["--config", str(config)]
    broker.spawn()
    ready = manager.wait(READY="1")
    broker.wait_ready()
    assert broker.request("GET", "/readyz").status_code == 200
    assert f"{broker.host}:{broker.port}" in ready["STATUS"]
    with raw.Client(broker) as c:
        c.login("x")
        began = time.monotonic_ns() // 1000
        config.write_text("max_inflight: 200\n")
        broker.process.send_signal(signal.SIGHUP)
        manager.wait(RELOADING="1")
        at = next(int(m["MONOTONIC_USEC"]) for _, m in manager.told if "RELOADING" in m)
        assert began <= at <= time.monotonic_ns() // 1000
        wait_until(lambda: (manager.look(), "READY" in manager.told[-1][1])[1])
        assert "read again" in manager.told[-1][1]["STATUS"]
        config.write_text("max_inflight: lots\n")
        broker.process.send_signal(signal.SIGHUP)
        wait_until(lambda: (manager.look(), "not good" in manager.told[-1][1].get("STATUS", ""))[1])
        assert manager.told[-1][1]["READY"] == "1", "it serves on"
        c.send(raw.pingreq())
        c.receive(raw.PINGRESP)
        c.bye()
    broker.stop()
    manager.look()
    assert [next(iter(m)) for _, m in manager.told] == [
        "READY", "RELOADING", "READY", "RELOADING", "READY", "STOPPING",
    ]  # fmt: skip


@pytest.mark.parametrize("point", ["loop__stall_ms", "commit__stall_ms"])
def test_signs_of_life_end_when_a_thread_hangs(new_broker, tmp_path, point):
    manager = Manager(tmp_path)
    env = {**manager.env, "WATCHDOG_USEC": "400000"}
    broker = new_broker(failpoints=True, env=env)
    wait_until(lambda: manager.pings() and sum("WATCHDOG" in m for _, m in manager.told) >= 3, what="signs of life")
    broker.failpoints(**{point: 3000})
    wait_until(lambda: manager.silent(1.2), 20, "silence")
    broker.failpoints()
    wait_until(manager.pings, 20, "signs of life again")
    broker.stop()
    manager.close()


def test_no_sign_of_life_from_a_stopped_process(new_broker, tmp_path):
    manager = Manager(tmp_path)
    broker = new_broker(env={**manager.env, "WATCHDOG_USEC": "400000"})
    wait_until(manager.pings)
    broker.pause()
    wait_until(lambda: manager.silent(1), 20, "silence")
    broker.resume()
    wait_until(manager.pings)
    broker.stop()
    manager.close()


def test_a_watchdog_of_another_process(new_broker, tmp_path):
    manager = Manager(tmp_path)
    broker = new_broker(env={**manager.env, "WATCHDOG_USEC": "20000", "WATCHDOG_PID": "1"})
    manager.wait(READY="1")
    for _ in range(20):  # far more time than between two signs
        broker.request("GET", "/readyz", 200)
        time.sleep(0.01)
    assert manager.pings() == 0
    broker.stop()
    manager.close()


def test_a_socket_that_is_not_there(new_broker, tmp_path):
    broker = new_broker(env={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert re.search('level=warn msg="the service manager is not told', broker.log())
    broker.stop()
