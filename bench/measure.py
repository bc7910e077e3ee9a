"""One measurement: a fresh broker, the load generator against it, what the broker used meanwhile.

CPU is the broker process's CPU clock (all threads, also those that ended, in ns), read when the
generator says "ready" and again when it said "done" and the broker has come to rest, so that what it
does later for the same work (commit, flush, compaction) is counted.
"""

import json
import os
import re
import select
import subprocess
import time

import peers

REST_STEP_S = 0.1
REST_CPU_S = 0.0005  # used in one step at most, three steps in a row
REST_LIMIT_S = 15


class Failed(Exception):
    """The run says nothing; the text says why."""


def cpu_s(pid):
    """CPU seconds of all threads of a process, from its CPU clock (clock_getcpuclockid(3))."""
    return time.clock_gettime((~pid << 3) | 2)


def threads_s(pid):
    """CPU seconds by thread name, from schedstat; threads of one name are added up."""
    out = {}
    base = f"/proc/{pid}/task"
    for tid in os.listdir(base):
        try:
            with open(f"{base}/{tid}/comm", encoding="utf-8") as f:
                name = f.read().strip()
            with open(f"{base}/{tid}/schedstat", encoding="utf-8") as f:
                out[name] = out.get(name, 0.0) + int(f.read().split()[0]) / 1e9
        except OSError:
            continue  # it ended meanwhile
    return out


def memory_bytes(pid):
    """Resident memory of a process: all, anonymous, shared (the trace's rings)."""
    out = {}
    with open(f"/proc/{pid}/status", encoding="utf-8") as f:
        for line in f:
            m = re.match(r"(VmRSS|RssAnon|RssShmem):\s+(\d+) kB", line)
            if m:
                out[m[1]] = int(m[2]) * 1024
    return out


def trace_buffer_bytes(broker):
    """What TraceMQ says of its trace's buffers, None for who has none or doesn't say."""
    if not broker.token:
        return None
    m = re.search(r"^tracemq_trace_buffer_bytes(?:\{[^}]*\})?\s+(\d+)", broker.get("/metrics") or "",
                  re.M)
    return int(m[1]) if m else None


def rest(pid, at_least_s):
    """Waits until the broker uses no CPU worth counting; True when it came to rest."""
    start = time.monotonic()
    quiet, before = 0, cpu_s(pid)
    while time.monotonic() - start < REST_LIMIT_S:
        time.sleep(REST_STEP_S)
        now = cpu_s(pid)
        quiet = quiet + 1 if now - before < REST_CPU_S else 0
        before = now
        if quiet >= 3 and time.monotonic() - start >= at_least_s:
            return True
    return False


def snapshot(broker, at_least_s, case):
    rested = rest(broker.pid, at_least_s)
    out = {"cpu": cpu_s(broker.pid), "threads": threads_s(broker.pid),
           "memory": memory_bytes(broker.pid), "rested": rested}
    if case.memory:
        out["trace_buffer"] = trace_buffer_bytes(broker)
    return out


class Generator:
    """bench/load, driven phase by phase over its stdin and stdout."""

    def __init__(self, build, arguments, cpus, limit_s):
        self.end = time.monotonic() + limit_s + 10
        self.pending = b""
        self.proc = subprocess.Popen(
            [os.path.join(build, "bench", "load")] + arguments + ["--sync", "--limit", str(limit_s)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            preexec_fn=lambda: os.sched_setaffinity(0, cpus))

    def line(self):
        """The next JSON line; None at the end."""
        while b"\n" not in self.pending:
            left = self.end - time.monotonic()
            if left <= 0 or not select.select([self.proc.stdout], [], [], left)[0]:
                raise Failed("the generator does not end")
            more = os.read(self.proc.stdout.fileno(), 65536)
            if not more:
                return None
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return json.loads(line)

    def go_on(self):
        try:
            self.proc.stdin.write(b"\n")
            self.proc.stdin.flush()
        except BrokenPipeError:
            pass  # its last line says why

    def stop(self):
        if self.proc.poll() is None:
            self.proc.kill()
        return self.proc.communicate()[1].decode(errors="replace").strip()


def drive(generator, broker, case):
    """Follows the phases; returns the result line and the snapshots by phase."""
    seen, result = {}, None
    while (line := generator.line()) is not None:
        if "phase" in line:
            late = case.settle_s if line["phase"] == "done" else 0.3
            seen[line["phase"]] = snapshot(broker, late, case)
            generator.go_on()
        else:
            result = line
    return result, seen


def disk_bytes(broker):
    total = 0
    for folder, _, files in os.walk(broker.dir):
        for name in files:
            try:
                total += os.stat(os.path.join(folder, name)).st_blocks * 512
            except OSError:
                continue
    return total


def restarts(peer, broker, case):
    """Seconds until ready again: after a clean stop, and after a kill."""
    out = {}
    for how, end in (("a clean stop", broker.terminate), ("kill -9", broker.kill)):
        end()
        began = time.monotonic()
        peer.restart(broker, case)
        out[how] = time.monotonic() - began
    return out


def summarize(case, result, seen):
    # What a case does with the things that it filled in is checked, not measured.
    a, b = seen["ready"], seen.get("filled", seen["done"])
    out = {"result": result, "rested": a["rested"] and b["rested"],
           "cpu_s": b["cpu"] - a["cpu"],
           "us": (b["cpu"] - a["cpu"]) * 1e6 / max(result["count"], 1),
           "threads_us": {n: round((s - a["threads"].get(n, 0)) * 1e6 / max(result["count"], 1), 4)
                          for n, s in sorted(b["threads"].items())}}
    if case.memory or case.scale:
        n = result["count"]
        out["memory"] = {k: (v - a["memory"][k]) / n for k, v in b["memory"].items()}
        out["rss"] = [a["memory"]["VmRSS"], b["memory"]["VmRSS"]]
        if case.memory and a["trace_buffer"] is not None and b["trace_buffer"] is not None:
            out["trace_buffer"] = (b["trace_buffer"] - a["trace_buffer"]) / n
    return out


def run(build, peer, case, arguments, port, cores, limit_s):
    """One measurement. Raises peers.Missing or Failed."""
    broker_cpus, load_cpus = (set(cores), set(cores)) if case.both_cores else (
        {cores[0]}, {cores[-1]})
    peers.check_port(port)
    broker = peers.Broker(port, port + 1, broker_cpus)
    generator = None
    try:
        peer.start(broker, case)
        disk = disk_bytes(broker)
        words = [case.load, "--port", str(port), "--transport", case.transport] + arguments
        if case.password:
            words += ["--user", peers.USER, "--password", peers.PASSWORD]
        generator = Generator(build, words, load_cpus, limit_s)
        result, seen = drive(generator, broker, case)
        said = generator.stop()
        if broker.proc.poll() is not None:
            raise Failed(f"{peer.label} died, status {broker.proc.returncode}: {broker.log_tail()}")
        if result is None or result["errors"] > 0 or "done" not in seen:
            raise Failed(said.replace("\n", " / ")[-400:] or "no result")
        out = summarize(case, result, seen)
        if case.scale:
            out["disk"] = (disk_bytes(broker) - disk) / result["count"]
            if hasattr(peer, "restart"):
                out["restart"] = restarts(peer, broker, case)
        return out
    except (FileNotFoundError, ProcessLookupError, OSError) as e:
        raise Failed(f"{e}; {broker.log_tail()}") from e
    finally:
        if generator is not None:
            generator.stop()
        broker.stop()
