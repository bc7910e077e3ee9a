"""Debian's Mosquitto as the other broker: a process with a configuration of the test's own, ended and started again."""

import contextlib
import getpass
import random
import socket
import subprocess
from pathlib import Path

from harness.wait import wait_until


def free_port():
    """For who opens it a little later: below what the kernel gives to others meanwhile."""
    while True:
        port = random.randrange(15000, 30000)
        with contextlib.suppress(OSError), socket.socket() as s:
            s.bind(("127.0.0.1", port))
            return port


class Mosquitto:
    """Looks like a Broker to raw.Client and Peer: host, port, user, password (None: anonymous clients are let in)."""

    def __init__(self, directory, *lines, port=None, user=None, password=None):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.host, self.port = "127.0.0.1", port or free_port()
        self.user, self.password = user, password
        self.log_path = self.directory / "mosquitto.log"
        self.config = self.directory / "mosquitto.conf"
        head = [f"user {getpass.getuser()}", f"listener {self.port} 127.0.0.1"]
        if not any("allow_anonymous" in line or "password_file" in line for line in lines):
            head.append("allow_anonymous true")
        self.config.write_text("\n".join([*head, *lines, ""]))
        self.process = None

    def start(self, seconds=20):
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                ["/usr/sbin/mosquitto", "-v", "-c", str(self.config)], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        wait_until(self._listens, seconds, "mosquitto listens")
        return self

    def _listens(self):
        assert self.process.poll() is None, f"mosquitto ended:\n{self.log()[-3000:]}"
        with socket.socket() as s:
            return s.connect_ex((self.host, self.port)) == 0

    def stop(self):
        process, self.process = self.process, None
        if process is not None:
            process.terminate()
            process.wait(timeout=60)

    def kill9(self):
        process, self.process = self.process, None
        process.kill()
        process.wait()

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""
