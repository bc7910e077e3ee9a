"""The programs that are measured: how each is found, configured, started, known to be ready, stopped.

A peer that cannot be started raises Missing with the reason; the caller names it in the table.
"""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

USER = "bench"
PASSWORD = "bench-password-7f3a"
START_S = 60
STOP_S = 20

# What TraceMQ gets for the same terms as Mosquitto: no limit of messages in flight or waiting.
# Used when `tracemq serve --help` names the option. TRACEMQ_CHURN is for the connection cases only:
# the smallest trace buffer, so that flush and compaction happen within the run and are counted.
TRACEMQ_TUNING = [("--max-inflight", "65535"), ("--max-queued-messages", "1000000"),
                  ("--max-queued-bytes", "1073741824")]
TRACEMQ_CHURN = [("--trace-memory", "16777216")]


class Missing(Exception):
    """The peer is not there, or does not start; the text says why."""


class Broker:
    """One running broker: its process, port, scratch directory and log."""

    def __init__(self, port, http_port, cpus):
        self.port = port
        self.http_port = http_port
        self.cpus = cpus
        self.dir = tempfile.mkdtemp(prefix="tracemq-bench-")
        os.chmod(self.dir, 0o755)
        self.proc = None
        self.token = None

    @property
    def pid(self):
        return self.proc.pid

    def path(self, name):
        return os.path.join(self.dir, name)

    def spawn(self, command):
        with open(self.path("log"), "wb") as log:
            self.proc = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                preexec_fn=lambda: os.sched_setaffinity(0, self.cpus))

    def log_tail(self):
        try:
            with open(self.path("log"), encoding="utf-8", errors="replace") as log:
                return " / ".join(log.read().strip().splitlines()[-3:])[-300:]
        except OSError:
            return ""

    def wait_until(self, ready):
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            if self.proc.poll() is not None:
                raise Missing(f"ended with status {self.proc.returncode}: {self.log_tail()}")
            if ready():
                return
            time.sleep(0.02)
        raise Missing(f"not ready after {START_S} s: {self.log_tail()}")

    def accepts(self):
        with socket.socket() as s:
            s.settimeout(1)
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def get(self, path):
        """The body of an HTTP answer with status 200, else None."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.http_port}{path}")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:
                return answer.read().decode() if answer.status == 200 else None
        except (urllib.error.URLError, OSError):
            return None

    def kill(self):
        self.proc.kill()
        self.proc.wait()

    def terminate(self):
        self.proc.send_signal(signal.SIGTERM)
        try:
            self.proc.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def certificate(self):
        """A fresh one for localhost: (certificate, key)."""
        pem, key = self.path("cert.pem"), self.path("key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                        "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", key, "-out", pem,
                        "-days", "2", "-subj", "/CN=localhost"], check=True, capture_output=True)
        return pem, key

    def stop(self):
        if self.proc is not None and self.proc.poll() is None:
            self.terminate()
        shutil.rmtree(self.dir, ignore_errors=True)


def check_port(port):
    """A stranger on the port would be measured in the peer's place."""
    with socket.socket() as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            s.bind(("127.0.0.1", port))
        except OSError as e:
            raise Missing(f"port {port}: {e.strerror}; choose another --port") from e


class Relay:
    """The bare relay of bench/relay.c."""

    name, label = "relay", "bare relay"

    def __init__(self, build):
        self.binary = os.path.join(build, "bench", "relay")

    def version(self):
        return "bench/relay.c"

    def start(self, broker, _case):
        if not os.access(self.binary, os.X_OK):
            raise Missing(f"{self.binary} is not built: ./dev build")
        broker.spawn([self.binary, str(broker.port)])
        broker.wait_until(broker.accepts)


class Mosquitto:
    """Debian's Mosquitto, tuned fairly: no Nagle, no limits, nothing stored, nothing logged."""

    name, label = "mosquitto", "Mosquitto"

    def __init__(self):
        path = os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin"
        self.binary = shutil.which("mosquitto", path=path)
        self.passwd = shutil.which("mosquitto_passwd", path=path)

    def version(self):
        if not self.binary:
            return "not installed"
        out = subprocess.run([self.binary, "-h"], capture_output=True, text=True, check=False)
        return (out.stdout.splitlines() or ["?"])[0].strip()

    def start(self, broker, case):
        if not self.binary:
            raise Missing("mosquitto is not installed")
        lines = [f"listener {broker.port} 127.0.0.1", "set_tcp_nodelay true",
                 "max_queued_messages 0", "max_queued_bytes 0", "max_inflight_messages 0",
                 "max_inflight_bytes 0", "persistence false", "log_dest none",
                 "connection_messages false", "sys_interval 0"]
        if case.transport in ("ws", "wss"):
            lines.insert(1, "protocol websockets")
        if case.transport in ("tls", "wss"):
            pem, key = broker.certificate()
            lines[1:1] = [f"certfile {pem}", f"keyfile {key}"]
        if case.transport in ("ws", "wss"):  # 2.0 does not start without a plain listener
            lines.insert(0, f"listener {broker.http_port} 127.0.0.1")
        if os.geteuid() == 0:
            lines.append("user root")
        if case.password:
            if not self.passwd:
                raise Missing("mosquitto_passwd is not installed")
            subprocess.run([self.passwd, "-b", "-c", broker.path("users"), USER, PASSWORD],
                           check=True, capture_output=True)
            lines += ["allow_anonymous false", f"password_file {broker.path('users')}"]
        else:
            lines.append("allow_anonymous true")
        with open(broker.path("mosquitto.conf"), "w", encoding="utf-8") as conf:
            conf.write("\n".join(lines) + "\n")
        broker.spawn([self.binary, "-c", broker.path("mosquitto.conf")])
        broker.wait_until(broker.accepts)


class TraceMQ:
    """TraceMQ as users start it; the trace on or off, one loop or two."""

    def __init__(self, build, name, label, trace=True, loops=1, extra=()):
        self.binary = os.path.join(build, "tracemq")
        self.name, self.label, self.trace, self.loops = name, label, trace, loops
        self.extra = list(extra)
        self.help = None

    def version(self):
        if not os.access(self.binary, os.X_OK):
            return "not built"
        out = subprocess.run([self.binary, "--version"], capture_output=True, text=True,
                             check=False)
        return (out.stdout.splitlines() or ["?"])[0].strip()

    def tuning(self, options):
        if self.help is None:
            out = subprocess.run([self.binary, "serve", "--help"], capture_output=True, text=True,
                                 check=False)
            self.help = out.stdout + out.stderr
        return [word for name, value in options
                if re.search(re.escape(name) + r"(?![\w-])", self.help) for word in (name, value)]

    def command(self, broker, case):
        listener = {"tcp": "--mqtt", "tls": "--mqtts", "ws": "--ws", "wss": "--wss"}[case.transport]
        command = [self.binary, "serve", "--data", broker.path("data"),
                   listener, f"127.0.0.1:{broker.port}", "--http", f"127.0.0.1:{broker.http_port}",
                   "--loops", str(self.loops)]
        if case.transport in ("tls", "wss"):
            pem, key = broker.certificate()
            command += ["--tls-certificate", pem, "--tls-key", key]
        if case.scale:
            command += ["--max-subscriptions", "1000000"]
        command += self.tuning(TRACEMQ_TUNING)
        if case.churn:
            command += self.tuning(TRACEMQ_CHURN)
        if not case.password:
            command.append("--allow-anonymous")
        if not self.trace:
            command += ["--trace", "off"]
        return command + self.extra

    def start(self, broker, case):
        if not os.access(self.binary, os.X_OK):
            raise Missing(f"{self.binary} is not built: ./dev build")
        check_port(broker.http_port)
        self.restart(broker, case)
        with open(broker.path("data/bootstrap.json"), encoding="utf-8") as f:
            broker.token = json.load(f)["api_token"]
        if case.password:
            self.add_user(broker)

    def restart(self, broker, case):
        """Starts it in the broker's directory as it is, until it is ready."""
        broker.spawn(self.command(broker, case))
        broker.wait_until(lambda: broker.get("/readyz") is not None)

    def add_user(self, broker):
        done = subprocess.run(
            [self.binary, "user", "add", USER, "--password-stdin", "--allow", "#",
             "--url", f"http://127.0.0.1:{broker.http_port}", "--token", broker.token],
            input=PASSWORD + "\n", capture_output=True, text=True, timeout=30, check=False)
        if done.returncode != 0:
            raise Missing(f"tracemq user add: {done.stderr.strip()[-200:]}")


def all_peers(build, extra):
    return [
        Relay(build),
        TraceMQ(build, "tracemq", "TraceMQ", extra=extra),
        TraceMQ(build, "tracemq-off", "TraceMQ, trace off", trace=False, extra=extra),
        TraceMQ(build, "tracemq-2", "TraceMQ, 2 loops", loops=2, extra=extra),
        Mosquitto(),
    ]
