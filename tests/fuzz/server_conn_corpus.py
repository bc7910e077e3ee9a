#!/usr/bin/env python3
"""Makes the seeds of tests/fuzz/corpus/server_conn_fuzz/: scripts in the format of server_conn_fuzz.c.

Run it in tests/fuzz/ after that format changed. Each seed is one scenario that has a point.
"""
import pathlib

TWO, SMALL = 1, 2


def act(action, slot=0, *args):
    return bytes([slot << 4 | action, *args])


def packet(slot, kind, ident=0):
    return act(1, slot, kind, ident)


def connect(slot, ident=None, clean=False, will=False, user=False, keepalive=False, extra=0):
    kind = clean * 1 | will * 2 | user * 4
    return packet(slot, kind, (slot if ident is None else ident) | keepalive * 4 | extra)


def publish(slot, qos, topic=0, size=1, retain=False, ident=0, dup=False):
    return packet(slot, 8 + qos + dup * 3, topic | size << 2 | retain * 16 | ident << 5)


def subscribe(slot, which=1, qos=2):
    return packet(slot, 14, which | qos << 2)


def ack(slot, kind, ident=0):
    return packet(slot, 17 + ("puback", "pubrec", "pubrel", "pubcomp").index(kind), ident)


def connect5(slot, ident=None, clean=False, expiry=0, what=0, extra=0):
    """`expiry` and a will's delay (extra << 5) index 0, 1, 10 s and never; `what`: 1 will, 2 AUTH method, 3 little is taken."""
    return packet(slot, 24 + what, (slot if ident is None else ident) | clean * 4 | expiry << 3 | extra << 5)


def auth(slot, data=1, reason=0):
    return packet(slot, 28, data | reason << 3)


def disconnect5(slot, reason=0, expiry=None):
    return packet(slot, 29, reason | (0 if expiry is None else 4 | expiry << 3))


def publish5(slot, qos=1, topic=0, retain=False, alias=False, more=False, empty=False):
    return packet(slot, 30, topic | qos << 2 | retain * 16 | alias * 32 | more * 64 | empty * 128)


def subscribe5(slot, which=0, options=0):
    return packet(slot, 31, which | options << 2)


def raw(slot, data):
    return act(0, slot, len(data), *data)


PING = lambda slot: packet(slot, 21)
DISCONNECT = lambda slot: packet(slot, 22)
BAD = lambda slot: packet(slot, 23)
CHUNK = lambda slot, n: act(2, slot, n)
END = lambda slot: act(3, slot)
ERROR = lambda slot, n: act(4, slot, n)
TIME = lambda quarters: act(5, 0, quarters)
ROOM = lambda slot, n: act(6, slot, n)
WRITE_ERROR = lambda slot: act(7, slot)
RING = lambda n: act(8, 0, n)
HOLD, FREE, COMMIT, FAIL = (act(9, 0, n) for n in range(4))
SLOW, CHECKED, REFUSE, ON_DENIED = (act(10, 0, n) for n in range(4))
FILTER_ALL, FILTER_SOME, FILTER_MARKS, FILTER_NONE = (act(10, 0, n) for n in range(4, 8))
KICK = lambda slot: act(11, slot)
SETTINGS = lambda revoked: act(12, 0, revoked)
ROUND = lambda worker: act(13, worker)
SETTLE = act(14)
STALL = lambda n: act(15, 0, n | 1)
CRASH = lambda workers: act(15, 0, (workers - 1) << 2)

pair = connect(0) + SETTLE + subscribe(0) + SETTLE + connect(1, clean=True) + SETTLE

SEEDS = {
    "connect_disconnect": (0, connect(0, clean=True) + SETTLE + DISCONNECT(0) + SETTLE + END(0)),
    "connect_fin": (0, connect(0, clean=True) + SETTLE + END(0)),
    "connect_reset": (0, connect(0, clean=True) + SETTLE + ERROR(0, 0)),
    "byte_by_byte": (0, connect(0, clean=True, will=True) + CHUNK(0, 1) + subscribe(0)
                     + publish(0, 2) + DISCONNECT(0) + SETTLE),
    "empty": (0, raw(0, b"") + SETTLE + END(0)),
    "incomplete": (0, raw(0, b"\x10\x10\x00\x04MQ") + SETTLE + END(0)),
    "handshake_timeout": (0, raw(0, b"\x10\x10") + TIME(50)),
    "http": (0, raw(0, b"GET / HTTP/1.1\r\n\r\n") + SETTLE),
    "version_5": (0, raw(0, b"\x10\x0e\x00\x04MQTT\x05\x02\x00\x00\x00\x00\x01a") + SETTLE),
    "keepalive": (0, connect(0, clean=True, keepalive=True) + SETTLE + PING(0) + TIME(8) + PING(0)
                  + TIME(20)),
    "keepalive_stall": (0, connect(0, clean=True, keepalive=True) + SETTLE + STALL(200) + PING(0)
                        + SETTLE + TIME(20)),
    "takeover": (1, connect(0) + SETTLE + connect(1, ident=0) + SETTLE + connect(2, ident=0)),
    "takeover_will": (1, pair + connect(2, ident=1, will=True, clean=True) + SETTLE
                      + connect(1, ident=1) + SETTLE),
    "pipelined": (1, connect(0) + subscribe(0) + publish(0, 1) + publish(0, 2) + SETTLE
                  + ack(0, "puback") + ack(0, "pubrec", 1) + ack(0, "pubcomp", 1) + SETTLE),
    "pipelined_auth": (1, SLOW + connect(0, user=True) + subscribe(0) + SETTLE + CHECKED + SETTLE),
    "fin_in_auth": (1, SLOW + connect(0, user=True) + SETTLE + END(0) + SETTLE + CHECKED + SETTLE),
    "fin_in_auth_pipelined": (1, SLOW + connect(0, user=True) + SETTLE + subscribe(0)
                              + DISCONNECT(0) + END(0) + SETTLE + CHECKED + SETTLE),
    "refused": (1, REFUSE + connect(0, user=True) + SETTLE),
    "denied_publish": (0, connect(0) + publish(0, 1, topic=3) + SETTLE),
    "denied_subscribe": (0, ON_DENIED + connect(0) + packet(0, 14, 3 | 32) + SETTLE + ON_DENIED
                         + packet(0, 14, 3) + SETTLE),
    "filtered": (1, FILTER_SOME + connect(0, user=True) + SETTLE + packet(0, 14, 2 | 4) + SETTLE
                 + connect(1, clean=True) + SETTLE + publish(1, 1, retain=True) + publish(1, 2, topic=1)
                 + SETTLE + ack(0, "puback") + SETTLE + packet(0, 14, 2 | 4) + SETTLE + FILTER_ALL
                 + publish(1, 0) + SETTLE),
    "filtered_away": (3, FILTER_SOME + connect(0, user=True) + SETTLE + packet(0, 14, 2 | 4) + SETTLE
                      + connect(1, clean=True) + SETTLE + END(0) + SETTLE + publish(1, 1)
                      + publish(1, 1, topic=1) + SETTLE + FILTER_ALL + connect(0, user=True) + SETTLE
                      + END(0) + FILTER_NONE + publish(1, 1, topic=1) + SETTLE + FILTER_ALL + CRASH(2)
                      + connect(0, user=True) + SETTLE),
    "qos1": (1, pair + publish(1, 1) + SETTLE + ack(0, "puback") + SETTLE),
    "qos2": (1, pair + publish(1, 2) + SETTLE + ack(1, "pubrel") + ack(0, "pubrec") + SETTLE
             + ack(0, "pubcomp") + SETTLE),
    "qos2_repeated": (1, pair + publish(1, 2) + publish(1, 2, dup=True) + ack(1, "pubrel")
                      + ack(1, "pubrel") + SETTLE),
    "held_commits": (1, pair + HOLD + publish(1, 1) + publish(1, 2, ident=1) + SETTLE + FAIL
                     + TIME(8) + COMMIT + SETTLE + COMMIT + FREE + SETTLE),
    "offline_queue": (3, pair + END(0) + SETTLE + b"".join(publish(1, 1, ident=i) + SETTLE
                                                          for i in range(6)) + connect(0) + SETTLE),
    "crash_restart": (1, pair + publish(1, 1) + publish(1, 2, ident=1, retain=True) + SETTLE
                      + CRASH(1) + connect(0) + SETTLE + ack(0, "puback") + SETTLE + CRASH(2)
                      + connect(0) + SETTLE),
    "crash_will": (0, connect(0, will=True, extra=16 | 32) + subscribe(0) + SETTLE + CRASH(2)
                   + connect(0) + SETTLE),
    "retained": (0, connect(0, clean=True) + publish(0, 1, retain=True, size=2) + subscribe(0)
                 + publish(0, 0, retain=True, size=0) + SETTLE),
    "overlapping": (1, connect(0) + subscribe(0, 0, 0) + subscribe(0, 1, 1) + subscribe(0, 2, 2)
                    + publish(0, 2) + packet(0, 16, 0) + SETTLE),
    "large_blocked": (1, pair + ROOM(0, 100) + publish(1, 0, size=3) + publish(1, 1, size=3)
                      + SETTLE + ROOM(0, 200) + SETTLE + ROOM(0, 255) + SETTLE),
    "slow_consumer": (2, pair + ROOM(0, 0) + b"".join(publish(1, 0, size=2) for _ in range(9))
                      + SETTLE + ROOM(0, 255) + SETTLE),
    "disconnect_races_write": (0, pair + publish(1, 0) + DISCONNECT(0) + WRITE_ERROR(0) + SETTLE),
    "write_error": (0, pair + WRITE_ERROR(0) + publish(1, 1) + SETTLE),
    "ring_full": (1, pair + RING(0) + END(0) + SETTLE + connect(2) + SETTLE + TIME(1) + RING(255)
                  + TIME(1)),
    "ring_full_takeover": (0, connect(0) + SETTLE + RING(1) + connect(1, ident=0) + TIME(1)
                           + RING(255) + TIME(1)),
    "ring_full_fin_of_held": (0, connect(0) + SETTLE + RING(0) + END(0) + SETTLE + connect(1)
                              + SETTLE + END(1) + TIME(1) + RING(255) + TIME(1)),
    "kick_and_settings": (1, pair + KICK(0) + SETTINGS(0) + SETTLE + SETTINGS(1) + SETTLE),
    "limits": (3, connect(0) + b"".join(publish(0, 2, ident=i) for i in range(6)) + SETTLE
               + connect(1, clean=True) + subscribe(1, 0) + subscribe(1, 1) + subscribe(1, 2)
               + connect(2) + publish(2, 0, size=3) + SETTLE),
    "second_connect": (0, connect(0) + connect(0) + SETTLE),
    "bad_packet": (0, connect(0) + BAD(0) + SETTLE),
    "session_discarded": (1, pair + END(0) + publish(1, 2) + SETTLE + connect(0, clean=True)
                          + SETTLE + DISCONNECT(0) + SETTLE + END(0) + SETTLE),
    "v5_expires": (0, connect5(0, expiry=1) + subscribe5(0, 0, 1) + SETTLE + END(0) + SETTLE + TIME(8) + connect5(0)
                   + SETTLE),
    "v5_expires_restart": (1, connect5(0, expiry=2) + subscribe(0) + SETTLE + CRASH(1) + TIME(60) + connect5(0, expiry=2)
                           + SETTLE + disconnect5(0, 0, 1) + TIME(8) + CRASH(2)),
    "v5_will_delay": (1, connect5(1, expiry=3) + subscribe(1) + connect5(0, expiry=2, what=1, extra=1) + SETTLE + END(0)
                      + TIME(8) + connect5(0, expiry=2, what=1, extra=2) + SETTLE + CRASH(1) + TIME(60)),
    "v5_will_taken_back": (0, connect5(0, expiry=2, what=1, extra=2) + SETTLE + connect5(1, ident=0, expiry=2) + SETTLE
                           + TIME(60)),
    "v5_takeover_clean": (0, connect5(0, expiry=3, what=1, extra=2) + SETTLE + connect5(1, ident=0, clean=True) + SETTLE),
    "v5_auth": (1, connect5(0, what=2) + SETTLE + auth(0) + subscribe(0) + SETTLE + auth(0, 0, 1) + auth(0) + SETTLE
                + auth(0, 2, 1) + SETTLE),
    "v5_auth_pipelined": (0, CHUNK(0, 1) + connect5(0, what=2) + auth(0) + subscribe(0) + SETTLE),
    "v5_auth_left": (0, connect5(0, what=2) + SETTLE + disconnect5(0) + connect5(1, what=2) + SETTLE + TIME(50)
                     + connect5(2, what=2, extra=4) + SETTLE),
    "v5_takes_little": (2, connect5(0, what=3, extra=1) + subscribe(0) + SETTLE + connect5(1) + publish5(1)
                        + publish5(1, 2, more=True) + SETTLE + TIME(16)),
    "v5_publish": (1, connect5(0) + subscribe5(0, 1, 2) + subscribe5(0, 2, 1) + SETTLE + connect(1, clean=True) + subscribe(1)
                   + connect5(2) + publish5(2, 1, retain=True, alias=True) + publish5(2, 1, alias=True, empty=True)
                   + publish5(2, 2, more=True) + SETTLE + ack(0, "puback") + TIME(8) + subscribe5(0, 0, 16 | 1) + SETTLE),
    "v5_reasons": (0, connect5(0, clean=True) + disconnect5(0, 2) + connect5(1) + SETTLE + disconnect5(1, 1, 3) + SETTLE),
    "v5_kick": (0, connect5(0) + SETTLE + KICK(0) + PING(0) + SETTLE + TIME(8)),
    "v5_ring_full": (1, connect5(0) + SETTLE + RING(0) + END(0) + SETTLE + connect5(2, what=2) + auth(2) + SETTLE + TIME(1)
                     + RING(255) + TIME(1)),
    "assigned_id": (1, connect(0, ident=3, clean=True) + SETTLE + DISCONNECT(0)),
}


def main():
    out = pathlib.Path(__file__).parent / "corpus" / "server_conn_fuzz"
    out.mkdir(parents=True, exist_ok=True)
    for name, (first, script) in SEEDS.items():
        (out / name).write_bytes(bytes([first]) + script)


if __name__ == "__main__":
    main()
