"""A broker under test: one process with its own data directory, started, asked, killed and started again."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path
from urllib.parse import quote

import requests

from harness.wait import PATIENCE, wait_until

ROOT = Path(__file__).resolve().parents[2]
BINARY = os.environ.get("TRACEMQ_BIN", str(ROOT / "build" / "tracemq"))
SANITIZER = re.compile(
    r"(ERROR: (Address|Leak|Thread|UndefinedBehavior)Sanitizer|WARNING: ThreadSanitizer|runtime error:)"
)
# Sanitizer builds and a machine that does other work as well: deadlines, not durations.
START_SECONDS = 60


def _uses(library):
    with open(BINARY, "rb") as binary:
        return library in binary.read()


# A sanitizer's run time: figures that depend on speed are scaled by the tests that have any.
SANITIZED = os.path.exists(BINARY) and (_uses(b"__asan_init") or _uses(b"__tsan_init"))


def clock_in_minute(second):
    """The environment of a broker whose wall clock is at that second of a minute now: for what is counted by the minute."""
    now_ms = int(time.time() * 1000)
    return {"TRACEMQ_FAILPOINTS": f"clock.shift_ms={second * 1000 - now_ms % 60000}"}


class Broker:
    """start() returns when /readyz says ready. Ports are the broker's choice, at each start anew."""

    def __init__(self, directory, *args, loops=2, env=None, failpoints=False):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.data = self.directory / "data"
        self.log_path = self.directory / "broker.log"
        self.failpoint_file = self.directory / "failpoints"
        self.args = list(args)
        self.loops = loops
        self.env = env or {}
        if failpoints:  # only on request: an armed table puts a lock where there is none otherwise
            self.env = {**self.env, "TRACEMQ_FAILPOINT_FILE": str(self.failpoint_file)}
        self.process = None
        self.bootstrap = {}
        self.http = requests.Session()

    # ---- life ----

    def command(self):
        return [
            BINARY, "serve", "--data", str(self.data), "--mqtt", "127.0.0.1:0",
            "--http", "127.0.0.1:0", "--loops", str(self.loops), *self.args,
        ]  # fmt: skip

    def spawn(self):
        """Starts the process and returns at once."""
        assert self.process is None, "already running"
        env = {**os.environ, **self.env}
        self._written_before = self._bootstrap_id()
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env
            )
        return self.process

    def start(self, seconds=START_SECONDS):
        self.spawn()
        self.wait_ready(seconds)
        return self

    def wait_ready(self, seconds=START_SECONDS):
        wait_until(self._is_ready, seconds, "readyz")

    def _bootstrap_id(self):
        try:
            s = os.stat(self.data / "bootstrap.json")
            return s.st_ino, s.st_mtime_ns
        except FileNotFoundError:
            return None

    def _is_ready(self):
        code = self.process.poll()
        assert code is None, f"the broker ended with {code} while starting:\n{self.log()[-4000:]}"
        if self._bootstrap_id() in (None, self._written_before):
            return False
        self.bootstrap = json.loads((self.data / "bootstrap.json").read_text())
        self.url = self.bootstrap["url"].rstrip("/")
        self.host, port = self.bootstrap["mqtt"].rsplit(":", 1)
        self.port = int(port)
        self.http.headers["Authorization"] = "Bearer " + self.bootstrap["api_token"]
        try:
            return self.http.get(self.url + "/readyz", timeout=PATIENCE).status_code == 200
        except requests.ConnectionError:
            return False

    def stop(self):
        """SIGTERM: the broker must end cleanly (it gives itself 9 s, else it fails), without a sanitizer's complaint."""
        process, self.process = self.process, None
        if process is None:
            return
        code = process.poll()
        assert code is None, f"the broker had ended with {code}:\n{self.log()[-6000:]}"
        process.send_signal(signal.SIGCONT)
        process.terminate()
        try:
            code = process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise AssertionError(f"no end a minute after SIGTERM:\n{self.log()[-4000:]}") from None
        assert code == 0, f"exit status {code} after SIGTERM:\n{self.log()[-6000:]}"
        self.check_log()

    def check_log(self):
        log = self.log()
        report = SANITIZER.search(log)
        assert report is None, f"a sanitizer's report:\n{log[report.start() :][:6000]}"

    def kill9(self):
        process, self.process = self.process, None
        process.kill()
        code = process.wait()
        assert code == -signal.SIGKILL, f"it had ended before, with {code}:\n{self.log()[-6000:]}"
        self.check_log()

    def wait_killed(self, seconds=START_SECONDS):
        """For a failpoint that kills the process."""
        process, self.process = self.process, None
        code = process.wait(timeout=seconds)
        assert code == -signal.SIGKILL, f"ended with {code}:\n{self.log()[-4000:]}"

    def restart(self):
        self.stop()
        return self.start()

    def abandon(self):
        """Whatever state it is in: nothing stays behind."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)

    def resume(self):
        self.process.send_signal(signal.SIGCONT)

    def log(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def failpoints(self, **points):
        """Arms exactly these, names with `__` for a dot; they hold within 50 ms of the next look."""
        assert "TRACEMQ_FAILPOINT_FILE" in self.env, "start it with failpoints=True"
        text = ",".join(f"{name.replace('__', '.')}={value}" for name, value in points.items())
        temporary = self.failpoint_file.with_suffix(".new")
        temporary.write_text(text)
        temporary.rename(self.failpoint_file)

    # ---- who may connect ----

    @property
    def user(self):
        return self.bootstrap["mqtt_username"]

    @property
    def password(self):
        return self.bootstrap["mqtt_password"]

    # ---- REST ----

    def instance_path(self, path=""):
        return f"/api/v1/instances/{self.bootstrap['instance_id']}{path}"

    def request(self, method, path, expect=None, **kwargs):
        """`path` below the instance, or a whole one that begins with /api or the like."""
        whole = path if path.startswith(("/api", "/healthz", "/readyz", "/metrics")) else self.instance_path(path)
        kwargs.setdefault("timeout", PATIENCE)
        answer = self.http.request(method, self.url + whole, **kwargs)
        if expect is not None:
            assert answer.status_code == expect, f"{method} {whole}: {answer.status_code} {answer.text[:500]}"
        return answer

    def api(self, path="", **params):
        return self.request("GET", path, 200, params=params).json()

    def listener(self, name):
        """Where the listener of that name is: (host, port), or the path of a Unix socket."""
        where = next(e["address"] for e in self.api("/api/v1/instances")["items"][0]["endpoints"] if e["name"] == name)
        if where.startswith("unix:"):
            return where.removeprefix("unix:")
        host, port = where.rsplit(":", 1)
        return host.strip("[]"), int(port)

    def device_path(self, client_id):
        return "/devices/" + quote(client_id, safe="")

    def trace_page(self, client_id, **params):
        return self.api(self.device_path(client_id) + "/trace", **params)

    def trace(self, client_id, **params):
        """All records of a device, oldest first."""
        return self.all_items(self.device_path(client_id) + "/trace", **params)

    def all_items(self, path, **params):
        params = {"limit": 1000, **params}
        if path != "/devices":
            params.setdefault("order", "asc")
        items = []
        while True:
            page = self.api(path, **params)
            items += page["items"]
            if page["next"] is None:
                return items
            params["cursor"] = page["next"]

    def events(self, **params):
        return self.all_items("/events", **params)

    def status(self, client_id):
        answer = self.request("GET", self.device_path(client_id))
        assert answer.status_code in (200, 404), answer.text
        return answer.json() if answer.status_code == 200 else None

    def wait_trace(self, client_id, count, seconds=PATIENCE, **params):
        """The device's records once there are at least `count`."""
        return wait_until(
            lambda: (lambda items: items if len(items) >= count else None)(self.trace(client_id, **params)),
            seconds,
            f"{count} records of {client_id}",
            0.05,
        )

    def wait_causes(self, client_id, *causes, seconds=PATIENCE):
        """The device's records, once their causes are exactly these in this order."""
        found = []

        def matches():
            found[:] = self.trace(client_id)
            return [r["cause"] for r in found] == list(causes)

        try:
            wait_until(matches, seconds, step=0.05)
        except AssertionError:
            raise AssertionError(f"{client_id}: {[r['cause'] for r in found]}, expected {list(causes)}") from None
        check_channels(found)
        return found

    def metric(self, name):
        """A sample of /metrics by its name, with its labels if it has some."""
        text = self.request("GET", "/metrics", 200).text
        return float(re.search(rf"^{re.escape(name)} (\S+)$", text, re.M)[1])

    # ---- changes ----

    def add_user(self, name, password, allow=()):
        self.request("POST", "/users", 201, json={"name": name, "password": password, "allow": list(allow)})

    def permit(self, name, effect, action, topic_filter):
        body = {"effect": effect, "action": action, "filter": topic_filter}
        self.request("POST", f"/users/{quote(name, safe='')}/permissions", 201, json=body)

    def settings(self, **values):
        self.request("PATCH", "/api/v1/instances/" + self.bootstrap["instance_id"], 200, json={"settings": values})

    # ---- command line ----

    def cli(self, *args, stdin="", expect=0, timeout=60):
        """Runs `tracemq ARGS`; it finds the broker by the data directory."""
        done = subprocess.run(
            [BINARY, *args, "--data", str(self.data)],
            input=stdin, capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
        assert done.returncode == expect, f"tracemq {args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout if expect == 0 else done.stdout + done.stderr


def check_channels(records):
    """The rule: an accepted channel has one connect and at most one ending; a refused one a close alone."""
    channels = {}
    for record in records:
        channels.setdefault(record["channelId"], []).append(record)
    for channel, rows in channels.items():
        actions = [r["action"] for r in rows]
        assert actions in (["connect"], ["connect", "close"], ["connect", "disconnect"], ["close"]), (
            f"channel {channel}: {[(r['seq'], r['cause']) for r in rows]}"
        )
        if actions == ["close"]:
            assert rows[0]["detail"].get("refused") is True, rows[0]
        for row in rows[1:]:
            assert row["connectedAt"] == rows[0]["time"], rows
    for record in records:
        assert record["verdict"]["text"], record
        assert re.fullmatch("[0-9a-f]{32}", record["channelId"]), record
    return channels


def check_endings(records):
    """The same, and every accepted channel has ended."""
    channels = check_channels(records)
    for channel, rows in channels.items():
        assert rows[-1]["action"] != "connect", f"channel {channel} has no ending"
    return channels
