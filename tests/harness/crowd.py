"""
Thousands of MQTT connections, held by a helper process. As a program: crowd.py HOST PORT COUNT SOURCE PREFIX KEEPALIVE says
"connected" when each has its CONNACK, then waits to be killed, or for the end of its input, upon which each says DISCONNECT.
"""

import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from harness import raw  # noqa: E402


class Crowd:
    """A helper process with many connections."""

    def __init__(self, broker, count, source, prefix, keepalive=0):
        self.process = subprocess.Popen(
            [sys.executable, __file__, broker.host, str(broker.port), str(count), source, prefix, str(keepalive)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "CROWD_USER": broker.user, "CROWD_PASSWORD": broker.password},
        )  # fmt: skip

    def wait_connected(self):
        line = self.process.stdout.readline()
        assert line == "connected\n", line

    def vanish(self):
        """All its connections close at once, as the kernel cleans up behind it."""
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


def main():
    host, port, count, source, prefix, keepalive = sys.argv[1:]
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    user, password = os.environ["CROWD_USER"], os.environ["CROWD_PASSWORD"]
    sockets = []
    waiting = []

    def finish():
        for s in waiting:
            answer = s.recv(4)
            assert answer == b"\x20\x02\x00\x00", answer
        waiting.clear()

    for i in range(int(count)):
        s = socket.socket()
        s.bind((source, 0))
        s.settimeout(60)
        s.connect((host, int(port)))
        s.sendall(raw.connect(f"{prefix}-{i}", user, password, keepalive=int(keepalive)))
        sockets.append(s)
        waiting.append(s)
        if len(waiting) == 200:
            finish()
    finish()
    print("connected", flush=True)
    sys.stdin.read()
    for s in sockets:
        s.sendall(raw.disconnect())


if __name__ == "__main__":
    main()
