#!/usr/bin/python3
"""Does the load generator see what it must? It runs against the relay through a proxy that makes one
mistake: loses, doubles, swaps or alters a message, refuses a CONNECT, closes, falls silent.

usage: selftest.py LOAD RELAY
"""

import json
import socket
import subprocess
import sys
import threading
import time

CONNACK, PUBLISH, PUBACK = 2, 3, 4


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def frames(buffer):
    """Splits complete packets off a bytearray."""
    while len(buffer) >= 2:
        length, at = 0, 1
        while at < len(buffer) and buffer[at] & 0x80:
            length |= (buffer[at] & 0x7F) << 7 * (at - 1)
            at += 1
        if at >= len(buffer):
            return
        total = (length | buffer[at] << 7 * (at - 1)) + at + 1
        if len(buffer) < total:
            return
        yield bytes(buffer[:total])
        del buffer[:total]


class Mistake:
    """Changes what the broker sends: the n-th packet of a type, counted over all connections."""

    def __init__(self, what, kind, nth=20):
        self.what, self.kind, self.nth = what, kind, nth
        self.seen, self.held = 0, None
        self.lock = threading.Lock()

    def apply(self, packet):
        """The packets to send in its place; None: close."""
        with self.lock:
            if packet[0] >> 4 != self.kind:
                return [packet]
            if self.held is not None:
                out, self.held = [packet, self.held], None
                return out
            self.seen += 1
            if self.what == "silence" and self.seen >= self.nth:
                return []
            if self.seen != self.nth:
                return [packet]
            if self.what == "swap":
                self.held = packet
                return []
            if self.what == "close":
                return None
            if self.what == "alter":
                return [packet[:-1] + bytes([packet[-1] ^ 1])]
            return {"lose": [], "double": [packet, packet], "none": [packet]}[self.what]


def pump_up(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    close(source, target)


def pump_down(source, target, mistake):
    buffer = bytearray()
    try:
        while data := source.recv(65536):
            buffer += data
            for packet in frames(buffer):
                out = mistake.apply(packet)
                if out is None:
                    raise OSError("closed on purpose")
                target.sendall(b"".join(out))
    except OSError:
        pass
    close(source, target)


def close(*sockets):
    for s in sockets:
        try:
            s.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(listener, relay_port, mistake):
    while True:
        try:
            client = listener.accept()[0]
        except OSError:
            return
        broker = socket.create_connection(("127.0.0.1", relay_port))
        threading.Thread(target=pump_up, args=(client, broker), daemon=True).start()
        threading.Thread(target=pump_down, args=(broker, client, mistake), daemon=True).start()


def run(load, relay_port, words, mistake):
    listener = socket.create_server(("127.0.0.1", 0), backlog=256)
    threading.Thread(target=serve, args=(listener, relay_port, mistake), daemon=True).start()
    done = subprocess.run([load] + words + ["--port", str(listener.getsockname()[1]), "--limit", "20",
                           "--stall", "1"],
                          capture_output=True, text=True, timeout=60, check=False)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    return done.returncode, json.loads(done.stdout.splitlines()[-1])


PAIRS = ["pairs", "--clients", "2", "--count", "400"]
CHURN = ["--count", "100", "--concurrency", "10"]
# words, mistake, the counter that must be above zero (None: no error at all)
CHECKS = [
    (PAIRS, Mistake("none", PUBLISH), None),
    (PAIRS + ["--qos", "1"], Mistake("none", PUBLISH), None),
    (PAIRS + ["--qos", "2"], Mistake("none", PUBLISH), None),
    (["fanout", "--clients", "10", "--count", "100"], Mistake("none", PUBLISH), None),
    (["fanin", "--clients", "10", "--count", "400", "--qos", "1"], Mistake("none", PUBLISH), None),
    (["pingpong", "--count", "100", "--qos", "1"], Mistake("none", PUBLISH), None),
    (["latency", "--clients", "4", "--rate", "1000", "--count", "200"],
     Mistake("none", PUBLISH), None),
    (["connect", "--end", "disconnect"] + CHURN, Mistake("none", CONNACK), None),
    (["connect", "--end", "rst"] + CHURN, Mistake("none", CONNACK), None),
    (["takeover", "--clients", "5"] + CHURN, Mistake("none", CONNACK), None),
    (["idle", "--first", "20", "--clients", "40"], Mistake("none", CONNACK), None),
    (PAIRS, Mistake("lose", PUBLISH), "lost"),
    (PAIRS, Mistake("lose", PUBLISH, 400), "lost"),
    (PAIRS, Mistake("double", PUBLISH), "doubled"),
    (PAIRS, Mistake("double", PUBLISH, 400), "doubled"),
    (["pairs", "--clients", "1", "--count", "400"], Mistake("swap", PUBLISH), "reordered"),
    (PAIRS, Mistake("alter", PUBLISH), "corrupt"),
    (PAIRS, Mistake("close", PUBLISH), "closed"),
    (PAIRS, Mistake("silence", PUBLISH), "stalled"),
    (PAIRS + ["--qos", "1"], Mistake("lose", PUBACK), "protocol_errors"),
    (PAIRS + ["--qos", "1"], Mistake("alter", PUBACK), "protocol_errors"),
    (PAIRS, Mistake("alter", CONNACK, 2), "connect_errors"),
    (["connect"] + CHURN, Mistake("alter", CONNACK), "connect_errors"),
    (["connect"] + CHURN, Mistake("close", CONNACK), "closed"),
    (["idle", "--first", "20", "--clients", "40"], Mistake("close", CONNACK), "closed"),
]


def check(load, relay_port, words, mistake, counter):
    status, result = run(load, relay_port, words, mistake)
    good = (status == 0 and result["errors"] == 0 and result["count"] > 0) if counter is None else (
        status == 1 and result[counter] > 0)
    print(f"{'ok' if good else 'FAILED'}: {' '.join(words)}; {mistake.what} a packet of type "
          f"{mistake.kind}: {counter or 'no error'}" + ("" if good else f": {status} {result}"))
    return good


def main():
    load, relay = sys.argv[1:]
    relay_port = free_port()
    process = subprocess.Popen([relay, str(relay_port)])
    try:
        for _ in range(100):
            with socket.socket() as s:
                if s.connect_ex(("127.0.0.1", relay_port)) == 0:
                    break
            time.sleep(0.05)
        good = [check(load, relay_port, *c) for c in CHECKS]
    finally:
        process.terminate()
        process.wait()
    return 0 if all(good) else 1


if __name__ == "__main__":
    sys.exit(main())
