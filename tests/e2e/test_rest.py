"""The REST interface: answers, paging, ranges, refusals with a problem document that names the field, changes at run time."""

import json
import threading
import time
from datetime import datetime, timezone
from urllib.parse import quote

import pytest
import requests

from harness import raw
from harness.wait import wait_until

DAY = 86_400_000


def problem(answer, status, field=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"].split(";")[0] == "application/problem+json"
    body = answer.json()
    assert body["type"] == "about:blank" and body["status"] == status and body["title"] and body["detail"]
    assert body.get("field") == field, body
    return body["detail"]


def visits(broker, client_id, count):
    for _ in range(count):
        with raw.Client(broker) as c:
            c.login(client_id)
            c.bye()
    return broker.wait_trace(client_id, 2 * count)


# ---- health, regions, instances ----


def test_health_needs_no_token(broker):
    assert requests.get(broker.url + "/healthz", timeout=60).json() == {"status": "ok"}
    assert requests.get(broker.url + "/readyz", timeout=60).json() == {"status": "ready"}


@pytest.mark.parametrize("headers", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic eDp5"}])
def test_everything_else_does(broker, headers):
    for path in ("/api/v1/instances", "/api/v1/me", broker.instance_path("/devices")):
        problem(requests.get(broker.url + path, headers=headers, timeout=60), 401)


def test_regions_and_instances(broker):
    regions = broker.api("/api/v1/regions")
    assert regions["total"] == 1 and regions["next"] is None
    assert regions["items"] == [{"id": "local", "name": "local", "endpoint": broker.url}]
    instances = broker.api("/api/v1/instances")
    (one,) = instances["items"]
    assert one == broker.api("/api/v1/instances/" + one["id"])
    assert one["id"] == broker.bootstrap["instance_id"] and one["region"] == "local"
    assert one["status"] == "running" and one["createdAt"] <= time.time() * 1000
    assert one["settings"] == {
        "client_id": "any", "topics": "open", "on_denied": "close", "subscriptions": "covered", "allow_anonymous": False,
        "unknown_users": "refused",
    }  # fmt: skip
    endpoint = {"name": "mqtt", "protocol": "mqtt", "address": f"{broker.host}:{broker.port}"}
    assert one["endpoints"] == [endpoint]
    problem(broker.request("GET", "/api/v1/instances/mqtt-none"), 404, "instance")
    problem(broker.request("GET", "/api/v1/instances/mqtt-none/devices"), 404, "instance")


def test_login_and_cookie(broker):
    login = {"user": broker.bootstrap["console_user"], "password": broker.bootstrap["console_password"]}
    with requests.Session() as s:
        problem(s.post(broker.url + "/api/v1/login", json={**login, "password": "no"}, timeout=60), 401)
        answer = s.post(broker.url + "/api/v1/login", json=login, timeout=60)
        assert answer.json() == {"user": login["user"]}
        cookie = answer.headers["Set-Cookie"]
        assert all(word in cookie for word in ("tracemq_session=", "HttpOnly", "SameSite=Strict", "Path=/"))
        assert s.get(broker.url + "/api/v1/me", timeout=60).json()["user"] == login["user"]
        assert s.get(broker.url + "/api/v1/instances", timeout=60).status_code == 200
        assert s.post(broker.url + "/api/v1/logout", timeout=60).status_code == 204
        problem(s.get(broker.url + "/api/v1/me", timeout=60), 401)


def test_console_files(broker):
    index = requests.get(broker.url + "/", timeout=60)
    assert index.status_code == 200 and "text/html" in index.headers["Content-Type"]
    assert requests.get(broker.url + "/instances/some/page", timeout=60).text == index.text
    problem(broker.request("GET", "/api/v1/nothing-here"), 404)
    problem(broker.request("DELETE", "/api/v1/regions"), 405)


def test_metrics(broker):
    text = broker.request("GET", "/metrics", 200).text
    assert "tracemq_" in text and "# TYPE" in text


# ---- the trace ----


def test_pages_in_both_orders(broker, name):
    whole = visits(broker, name, 13)
    seqs = [r["seq"] for r in whole]
    assert len(seqs) == 26 and seqs == sorted(seqs)
    for order, expected in (("asc", seqs), ("desc", seqs[::-1])):
        for limit in (1, 7, 25, 26, 1000):
            got, cursor, pages = [], None, 0
            while True:
                page = broker.trace_page(name, order=order, limit=limit, **({"cursor": cursor} if cursor else {}))
                assert page["total"] == 26 and page["complete"] is True and page["gaps"] == []
                assert len(page["items"]) <= limit
                got += [r["seq"] for r in page["items"]]
                cursor, pages = page["next"], pages + 1
                if cursor is None:
                    break
            assert got == expected, (order, limit)
            assert pages <= 26 // limit + 1
    assert broker.trace_page(name)["items"][0]["seq"] == seqs[-1], "newest first by default"


def test_paging_is_stable_while_the_device_comes_and_goes(broker, name):
    visits(broker, name, 10)
    first = broker.trace_page(name, order="desc", limit=5)
    visits(broker, name, 15)
    rest = broker.all_items(broker.device_path(name) + "/trace", order="desc", limit=5, cursor=first["next"])
    seqs = [r["seq"] for r in first["items"] + rest]
    assert len(seqs) == 20 and seqs == sorted(seqs, reverse=True) and len(set(seqs)) == 20


def test_filters(broker, name):
    visits(broker, name, 3)
    with raw.Client(broker) as c:
        c.login(name)
        c.fin()
    broker.wait_trace(name, 8)
    page = broker.trace_page(name, action="disconnect", limit=2)
    assert page["total"] == 3 and len(page["items"]) == 2 and page["next"]
    assert [r["cause"] for r in broker.trace(name, cause="peer.fin")] == ["peer.fin"]
    assert broker.trace(name, cause="peer.fin", action="connect") == []
    assert len(broker.trace(name, action="connect")) == 4


def test_range_is_half_open(broker, name):
    records = visits(broker, name, 2)
    times = [r["time"] for r in records]
    assert [r["seq"] for r in broker.trace(name, begin=times[0], end=times[-1] + 1)] == [r["seq"] for r in records]
    assert [r["time"] for r in broker.trace(name, begin=times[0], end=times[-1])] == [t for t in times if t < times[-1]]
    assert broker.trace(name, begin=times[-1] + 1, end=times[-1] + 1000) == []
    iso = datetime.fromtimestamp(times[0] / 1000, timezone.utc).isoformat(timespec="milliseconds")
    assert len(broker.trace(name, begin=iso)) == 4
    assert records[0]["timeIso"].startswith(iso[:23])


def test_the_one_day_rule(broker, name):
    now = int(time.time() * 1000)
    assert broker.trace_page(name, begin=now - DAY, end=now)["items"] == []
    path = broker.device_path(name) + "/trace"
    detail = problem(broker.request("GET", path, params={"begin": now - DAY - 1, "end": now}), 400, "end")
    assert "86400001" in detail and "86400000" in detail
    problem(broker.request("GET", path, params={"begin": now - 2 * DAY}), 400, "begin")
    problem(broker.request("GET", path, params={"begin": now, "end": now - 1}), 400, "end")
    page = broker.trace_page(name, begin=now, end=now + DAY)
    assert page["items"] == [] and page["end"] == now + DAY, "an end in the future is allowed"


@pytest.mark.parametrize(
    "params,field",
    [
        ({"begin": "yesterday"}, "begin"),
        ({"end": "2026-02-30T00:00:00Z"}, "end"),
        ({"limit": "0"}, "limit"),
        ({"limit": "1001"}, "limit"),
        ({"limit": "x"}, "limit"),
        ({"order": "up"}, "order"),
        ({"action": "open"}, "action"),
        ({"cause": "peer.unknown"}, "cause"),
        ({"cursor": "-1"}, "cursor"),
        ({"colour": "red"}, "colour"),
        ({"limit": ["1", "2"]}, "limit"),
    ],
)
def test_bad_questions(broker, name, params, field):
    for path in (broker.device_path(name) + "/trace", "/events"):
        problem(broker.request("GET", path, params=params), 400, field)


def test_unknown_device(broker, name):
    page = broker.trace_page(name)
    assert (page["items"], page["total"], page["next"], page["clientId"]) == ([], 0, None, name)
    problem(broker.request("GET", broker.device_path(name)), 404, "clientId")


def test_open_channel(broker, name):
    with raw.Client(broker) as c:
        c.login(name)
        (connect,) = broker.wait_trace(name, 1)
        page = broker.trace_page(name, begin=connect["time"] + 1, end=connect["time"] + 1000)
        assert page["items"] == []
        assert page["openChannel"] == {"channelId": connect["channelId"], "since": connect["time"]}
        c.bye()
    broker.wait_trace(name, 2)
    assert "openChannel" not in broker.trace_page(name, begin=int(time.time() * 1000))


def test_slashes_in_a_path(broker):
    client_id = "plant/7@@@pump@b"
    visits(broker, client_id, 1)
    assert quote(client_id, safe="") == "plant%2F7%40%40%40pump%40b"
    assert broker.status(client_id)["clientId"] == client_id
    assert broker.request("GET", "/devices/plant/7@@@pump@b").status_code == 404, "a slash is a slash"
    assert broker.request("GET", "/devices/plant%2F7@@@pump@b", 200).json()["group"] == "plant/7"


# ---- fleet ----


def test_events(broker, name):
    with raw.Client(broker, source="127.0.2.9") as c:
        c.login("GID_events@@@" + name)
        c.bye()
    broker.wait_trace("GID_events@@@" + name, 2)
    by_group = broker.events(group="GID_events")
    assert [r["cause"] for r in by_group] == ["accepted.new", "client.normal"]
    assert [r["clientId"] for r in broker.events(peer=c.peer)] == ["GID_events@@@" + name] * 2
    everything = broker.events()
    assert [r["seq"] for r in everything] == sorted(r["seq"] for r in everything)
    assert {r["action"] for r in broker.events(action="close")} <= {"close"}
    down = broker.all_items("/events", order="desc", limit=3)
    assert [r["seq"] for r in down][::-1] == [r["seq"] for r in everything]


def test_device_list(broker, name):
    clients = []
    for i in range(25):
        c = raw.Client(broker)
        c.login(f"{name}@@@{i:02}")
        clients.append(c)
    for c in clients[::5]:
        c.bye()
    wait_until(lambda: broker.api("/devices", query=name, online="false")["total"] == 5)
    wait_until(lambda: broker.api("/devices", query=name, online="true")["total"] == 20)
    assert broker.api("/devices", query=f"{name}@@@1")["total"] == 10
    assert broker.api("/devices", group=name)["total"] == 25
    assert broker.api("/devices", query=name + "-none")["items"] == []
    seen, params = [], {"query": name, "limit": 4}
    while True:
        page = broker.api("/devices", **params)
        assert len(page["items"]) <= 4
        seen += [d["clientId"] for d in page["items"]]
        if page["next"] is None:
            break
        params["cursor"] = page["next"]
    assert sorted(seen) == [f"{name}@@@{i:02}" for i in range(25)]
    one = broker.api("/devices", query=f"{name}@@@07")["items"][0]
    assert one == broker.status(f"{name}@@@07")
    assert one["online"] is True and one["group"] == name and one["device"] == "07"
    problem(broker.request("GET", "/devices", params={"online": "perhaps"}), 400, "online")
    for c in clients:
        c.socket.close()


class Events(threading.Thread):
    """Reads server-sent events until `count` have come."""

    def __init__(self, broker, client_id, count, last_id=None):
        super().__init__(daemon=True)
        headers = {**broker.http.headers, **({"Last-Event-ID": str(last_id)} if last_id else {})}
        self.answer = requests.get(
            broker.url + broker.instance_path("/stream"),
            params={"clientId": client_id}, headers=headers, stream=True, timeout=60,
        )  # fmt: skip
        self.count, self.events = count, []
        assert self.answer.status_code == 200
        assert self.answer.headers["Content-Type"].startswith("text/event-stream")
        self.start()

    def run(self):
        event = {}
        for line in self.answer.iter_lines(chunk_size=1, decode_unicode=True):
            if line and not line.startswith(":"):
                key, _, value = line.partition(": ")
                event[key] = value
            elif not line and "data" in event:
                self.events.append((int(event["id"]), event["event"], json.loads(event["data"])))
                event = {}
                if len(self.events) == self.count:
                    return

    def wait(self):
        self.join(60)
        assert not self.is_alive(), f"{len(self.events)} of {self.count} events"
        self.answer.close()
        return self.events


def test_stream(broker, name):
    live = Events(broker, name, 4)
    records = visits(broker, name, 2)
    visits(broker, name + "-other", 1)
    events = live.wait()
    assert [e[0] for e in events] == [r["seq"] for r in records]
    assert {e[1] for e in events} == {"trace"}
    assert [e[2] for e in events] == records
    resumed = Events(broker, name, 3, last_id=records[0]["seq"]).wait()
    assert [e[2]["seq"] for e in resumed] == [r["seq"] for r in records[1:]]


# ---- changes ----


def test_users_and_permissions(broker, name):
    assert name not in [u["name"] for u in broker.api("/users")["items"]]
    broker.add_user(name, "first-secret", [name + "/#"])
    problem(broker.request("POST", "/users", json={"name": name, "password": "x-x-x-x-x"}), 409, "name")
    assert [u["permissions"] for u in broker.api("/users")["items"] if u["name"] == name] == [1]
    broker.permit(name, "deny", "publish", name + "/no/#")
    path = f"/users/{name}/permissions"
    allow, deny = sorted(broker.api(path)["items"], key=lambda p: p["effect"])
    assert allow == {"effect": "allow", "action": "both", "filter": name + "/#"}
    assert deny == {"effect": "deny", "action": "publish", "filter": name + "/no/#"}
    with raw.Client(broker) as c:
        c.login(name, name, "first-secret")
        c.send(raw.subscribe(1, (name + "/no/x", 0)), raw.publish(name + "/yes", "x", 1, 1))
        c.receive(raw.SUBACK)
        c.receive(raw.PUBACK)
        # Changed while it is connected: what was denied is allowed from now on.
        broker.request("DELETE", path, 204, params=deny)
        c.send(raw.publish(name + "/no/x", "now", 1, 2))
        assert {c.receive().kind, c.receive().kind} == {raw.PUBLISH, raw.PUBACK}
        broker.permit(name, "deny", "both", name + "/yes")
        c.send(raw.publish(name + "/yes", "x", 1, 3))
        c.wait_closed()
    broker.wait_causes(name, "accepted.new", "topic.publish")
    problem(broker.request("DELETE", path, params=deny), 404, "filter")
    broker.request("DELETE", f"/users/{name}", 204)
    problem(broker.request("DELETE", f"/users/{name}"), 404, "name")
    problem(broker.request("GET", path), 404, "name")


@pytest.mark.parametrize(
    "path,body,field",
    [
        ("/users", {"name": "x"}, "password"),
        ("/users", {"password": "x"}, "name"),
        ("/users", {"name": "", "password": "x"}, "name"),
        ("/users", {"name": "x", "password": 7}, "password"),
        ("/users", {"name": "x", "password": "secret-x", "allow": "a"}, "allow"),
        ("/users", {"name": "x", "password": "secret-x", "allow": ["a/#/b"]}, "allow"),
        ("/users", {"name": "x", "password": "secret-x", "color": 1}, "color"),
        ("/groups", {"id": "nogroup"}, "id"),
        ("/groups", {"id": "GID_"}, "id"),
        ("/groups", {}, "id"),
        ("/topics", {"name": "a/b"}, "name"),
    ],
)
def test_bad_bodies(broker, path, body, field):
    problem(broker.request("POST", path, json=body), 400, field)


def test_bad_json(broker):
    answer = broker.request("POST", "/groups", data=b"{not json", headers={"Content-Type": "application/json"})
    problem(answer, 400)
    problem(broker.request("POST", "/users/nobody-here/permissions",
                           json={"effect": "allow", "action": "both", "filter": "a"}), 404, "name")  # fmt: skip


@pytest.mark.parametrize(
    "settings,field",
    [({"client_id": "none"}, "client_id"), ({"colour": "red"}, "colour"), ({"allow_anonymous": "yes"}, "allow_anonymous")],
)
def test_bad_settings(broker, settings, field):
    before = broker.api("/api/v1/instances")["items"][0]["settings"]
    path = "/api/v1/instances/" + broker.bootstrap["instance_id"]
    body = {"settings": {"on_denied": "refuse", **settings}}
    assert field in problem(broker.request("PATCH", path, json=body), 400, "settings." + field)
    assert broker.api("/api/v1/instances")["items"][0]["settings"] == before, "all or nothing"


def test_groups_and_declared_topics(broker, name):
    gid = "GID_" + name
    broker.request("POST", "/groups", 201, json={"id": gid})
    problem(broker.request("POST", "/groups", json={"id": gid}), 409, "id")
    assert gid in [g["id"] for g in broker.api("/groups")["items"]]
    broker.request("DELETE", "/groups/" + gid, 204)
    problem(broker.request("DELETE", "/groups/" + gid), 404, "id")
    broker.request("POST", "/topics", 201, json={"name": name})
    broker.settings(topics="declared")
    try:
        with raw.Client(broker) as c:
            c.login(name)
            c.send(raw.publish(name + "/x", "", 1, 1))
            c.receive(raw.PUBACK)
            c.send(raw.publish("undeclared/x", "", 1, 2))
            c.wait_closed()
        broker.wait_causes(name, "accepted.new", "topic.publish")
    finally:
        broker.settings(topics="open")
    broker.request("DELETE", "/topics/" + name, 204)


def test_anonymous_is_a_setting(broker, name):
    with raw.Client(broker) as c:
        c.login(name, None, expect=5)
    broker.settings(allow_anonymous=True)
    try:
        with raw.Client(broker) as c:
            c.login(name, None)
            c.send(raw.subscribe(1, ("#", 0)), raw.publish(name, "x"))
            c.receive(raw.SUBACK)
            while c.receive(raw.PUBLISH).topic != name:
                pass
            c.bye()
        with raw.Client(broker) as c:
            c.login(name, "presented-but-unknown", "x", expect=4)
        broker.settings(unknown_users="anonymous")
        with raw.Client(broker) as c:
            c.login(name, "presented-but-unknown", "x")
            c.bye()
        with raw.Client(broker) as c:
            c.login(name, broker.user, "wrong", expect=4)
    finally:
        broker.settings(allow_anonymous=False, unknown_users="refused")
    rows = broker.wait_causes(name, "auth.anonymous", "accepted.new", "client.normal", "auth.unknown_identity", "accepted.new",
                              "client.normal", "auth.bad_password")  # fmt: skip
    assert rows[4]["detail"]["user"] == "presented-but-unknown"


def test_allow_anonymous_on_the_command_line(new_broker):
    broker = new_broker("--allow-anonymous")
    with raw.Client(broker) as c:
        c.login("anyone", None)
        c.send(raw.subscribe(1, ("$SYS/#", 0)))
        assert c.receive(raw.SUBACK).body[2:] == b"\0"
        c.bye()
    broker.wait_causes("anyone", "accepted.new", "client.normal")
    broker.stop()
