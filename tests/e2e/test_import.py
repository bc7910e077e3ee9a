"""
`tracemq import mosquitto`: a real Mosquitto and its import answer the same questions in the same way. `import emqx`: its users log in.
"""

import contextlib
import hashlib
import json
import os
import shutil
import socket
import stat
import subprocess
from types import SimpleNamespace

import pytest

from harness import raw, ws
from harness.broker import BINARY
from harness.certs import Authority
from harness.mosquitto import free_port
from harness.peer import Peer
from harness.wait import wait_until

MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")


@contextlib.contextmanager
def mosquitto(config):
    if MOSQUITTO is None:
        pytest.fail("mosquitto is missing (Debian package mosquitto)")
    with open(config.with_suffix(".log"), "wb") as log:
        process = subprocess.Popen([MOSQUITTO, "-c", config], stdout=log, stderr=log, cwd=config.parent)
    try:
        yield process
    finally:
        process.terminate()
        process.wait(timeout=60)


def accepts(port, process):
    assert process.poll() is None, "mosquitto has ended"
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=60):
        return True


def run(*args, expect=0):
    done = subprocess.run([BINARY, *map(str, args)], capture_output=True, text=True, timeout=60)
    assert done.returncode == expect, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done


def check(path):
    done = run("serve", "--config", path, "--check")
    assert "configuration is good" in done.stdout + done.stderr


def password_file(path, **users):
    """name=(password, how): plain, sha512 or sha512-pbkdf2."""
    path.touch()
    path.chmod(0o600)
    for name, (password, how) in users.items():
        if how == "plain":
            with path.open("a") as f:
                f.write(f"{name}:{password}\n")
        else:
            subprocess.run(["mosquitto_passwd", "-H", how, "-b", path, name, password], check=True, capture_output=True)


def starts(new_broker, config):
    broker = new_broker(start=False)
    broker.args = ["--config", str(config)]
    return broker.start()


# ---- the same questions ----

ACL = """\
# what anonymous clients may do
topic read news/#
topic read sync/#

user admin
topic readwrite #

user old
topic read news/#
topic read sync/#
topic write reports/old
topic deny reports/secret
topic readwrite reports/+

user new
topic read sync/#
topic readwrite rooms/+/light

pattern readwrite devices/%c/#
pattern read users/%u/inbox
pattern read sync/#
pattern write $SYS/broker/connection/%c/state
"""
LOGINS = [  # user, password
    ("admin", "a dmin"), ("admin", "wrong"), ("old", "old-pw"), ("old", ""), ("new", "new-pw"), ("new", "old-pw"),
    ("nobody", "x"), (None, None),
]  # fmt: skip
WHO = {  # client ID: user, password
    "dev1": ("old", "old-pw"),
    "dev2": ("new", "new-pw"),
    "guest": (None, None),
}
TOPICS = [
    "news/today", "reports/old", "reports/new", "reports/secret", "reports/a/b", "rooms/1/light", "rooms/1/door", "devices/dev1/up",
    "devices/dev2/up", "devices/guest/up", "users/old/inbox", "users/new/inbox", "other",
]  # fmt: skip


def may_login(target, user, password):
    with raw.Client(target) as c:
        c.send(raw.connect("login", user, password))
        return c.receive(raw.CONNACK).body[1] == 0


def may_publish(peer, topic):
    return peer.publish(topic, b"x", qos=1).reason in (0x00, 0x10)


def gets(admin, peer, topic):
    """Whether what is published there reaches a client that asks for it, however the broker answers the SUBSCRIBE."""
    peer.subscribe(topic, options=0)
    admin.publish(topic, b"question", qos=1)
    admin.publish("sync/" + peer.client_id, b"end", qos=1)
    got = []
    while not got or got[-1] != "sync/" + peer.client_id:
        got.append(peer.receive(raw.PUBLISH).topic)
    assert got[:-1] in ([], [topic]), got
    return got[:-1] == [topic]


FILTERS = ["#", "+/+", "reports/#", "+/+/light", "devices/+/up"]


def gets_of(admin, peer, topic_filter):
    """What comes by a subscription that is wider than what may be read: (topic, payload, retained) in order."""
    assert peer.subscribe(topic_filter, options=1)[0] < 0x80
    for topic in TOPICS:
        admin.publish(topic, b"live", qos=1)
    admin.publish("sync/" + peer.client_id, b"end", qos=1)
    got = []
    while not got or got[-1][0] != "sync/" + peer.client_id:  # which comes twice by "#" at Mosquitto
        p = peer.get()
        got.append((p.topic, p.payload, p.retain))
    return got[:-1]


def answers(target):
    found = {("login", *login): may_login(target, *login) for login in LOGINS}
    with Peer(target, "admin1", user="admin", password="a dmin") as admin:
        for client_id, (user, password) in WHO.items():
            with Peer(target, client_id, user=user, password=password) as peer:
                peer.subscribe("sync/" + client_id, options=0)
                for topic in TOPICS:
                    found["read", client_id, topic] = gets(admin, peer, topic)
                    peer.unsubscribe(topic)
                for topic in TOPICS:
                    found["write", client_id, topic] = may_publish(peer, topic)
        for topic in TOPICS:
            admin.publish(topic, b"kept", qos=1, retain=True)
        for client_id, (user, password) in WHO.items():
            for topic_filter in FILTERS:
                with Peer(target, client_id, user=user, password=password) as peer:
                    peer.subscribe("sync/" + client_id, options=1)
                    found["filter", client_id, topic_filter] = sorted(gets_of(admin, peer, topic_filter))
    return found


def test_the_import_answers_as_mosquitto(new_broker, tmp_path):
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    password_file(tmp_path / "passwords", admin=("a dmin", "sha512-pbkdf2"), old=("old-pw", "sha512"), new=("new-pw", "sha512-pbkdf2"))
    (tmp_path / "acl").write_text(ACL)
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "conf.d" / "local.conf").write_text(f"acl_file {tmp_path}/acl\r\nlistener {port} 127.0.0.1 # here\r\n")
    config.write_text(
        f"user root\nallow_anonymous true  # guests\npassword_file {tmp_path}/passwords\ninclude_dir {tmp_path}/conf.d\n"
        "max_inflight_messages 40 # more\n"
    )
    target = SimpleNamespace(host="127.0.0.1", port=port)
    with mosquitto(config) as process:
        wait_until(lambda: accepts(port, process), what="mosquitto accepts")
        expected = answers(target)
    kinds = {(q[0], a) for q, a in expected.items() if q[0] != "filter"}
    assert len(kinds) == 6, f"questions that are always answered alike ask nothing: {kinds}"
    by_all = [topic for topic, _, _ in expected["filter", "dev1", "#"]]
    assert "reports/new" in by_all and "reports/secret" not in by_all and "rooms/1/door" not in by_all

    out, settings = tmp_path / "tracemq.yaml", tmp_path / "settings.json"
    report = run("import", "mosquitto", config, "--out", out, "--settings-out", settings).stderr
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert f"{config}:5" in report and "max_inflight_messages 40   → max_inflight: 40\n" in report
    check(out)
    broker = starts(new_broker, out)
    told = broker.cli("import", "settings", str(settings))
    assert told == ""
    assert answers(target) == expected
    # Mosquitto's own clients, with the old passwords.
    for user, password, good in (("old", "old-pw", True), ("new", "new-pw", True), ("new", "no", False)):
        done = subprocess.run(["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "-u", user, "-P", password, "-i", "dev1",
                               "-t", "devices/dev1/up", "-m", "x", "-q", "1"], capture_output=True)  # fmt: skip
        assert (done.returncode == 0) == good, (user, done.stderr)
    # The connection of a client with a denied publish stays, as Mosquitto does it; the history has no ending for it.
    with Peer(target, "dev9", user="new", password="new-pw") as peer:
        assert peer.publish("other", b"x", qos=1).reason == 0x87
        assert peer.publish("devices/dev9/a", b"x", qos=1).reason in (0, 0x10)
        assert [r["cause"] for r in broker.wait_trace("dev9", 1)] == ["accepted.new"]
    broker.stop()


def test_without_acl_file_everything_is_allowed(new_broker, tmp_path):
    port = free_port()
    config = tmp_path / "mosquitto.conf"
    password_file(tmp_path / "passwords", bob=("pw", "sha512-pbkdf2"))
    config.write_text(f"user root\nlistener {port} 127.0.0.1\npassword_file {tmp_path}/passwords\n")
    target = SimpleNamespace(host="127.0.0.1", port=port)

    def ask():
        found = [may_login(target, "bob", "pw"), may_login(target, None, None)]
        with Peer(target, "b", user="bob", password="pw") as peer:
            found += [may_publish(peer, t) for t in ("a/b", "$SYS/broker/x", "$SYS/broker/connection/b/state")]
            found += [c < 3 for c in peer.subscribe("#", "$SYS/#", options=0)]
        with raw.Client(target) as bridge:  # of another broker: its will tells there that it is gone
            bridge.send(raw.connect("br", "bob", "pw", will=("$SYS/broker/connection/br/state", b"0", 1, True)))
            return [*found, bridge.receive(raw.CONNACK).body[1] == 0]

    with mosquitto(config) as process:
        wait_until(lambda: accepts(port, process), what="mosquitto accepts")
        expected = ask()
    out = tmp_path / "tracemq.yaml"
    run("import", "mosquitto", config, "--out", out)
    broker = starts(new_broker, out)
    # --apply reads it again and gives users and permissions to the broker that runs; nothing on stdout then.
    assert broker.cli("import", "mosquitto", str(config), "--apply") == ""
    assert ask() == expected == [True, False, True, False, True, True, True, True]
    broker.stop()


# ---- the command ----


def test_plain_passwords_and_a_second_time(new_broker, tmp_path):
    broker = new_broker()
    config, settings = tmp_path / "m.conf", tmp_path / "s.json"
    password_file(tmp_path / "pw", plain=("pass word", "plain"), hashed=("one", "sha512-pbkdf2"))
    (tmp_path / "acl").write_text("user plain\ntopic a/#\n")
    config.write_text(f"listener 1883\npassword_file {tmp_path}/pw\nacl_file {tmp_path}/acl\n")
    run("import", "mosquitto", config, "--settings-out", settings)
    broker.cli("import", "settings", str(settings))
    assert may_login(broker, "plain", "pass word") and may_login(broker, "hashed", "one")
    users = {u["name"]: u["permissions"] for u in broker.api("/users")["items"]}
    assert users["plain"] == 1 and users["hashed"] == 0
    # Again, with a user's new password and other permissions: passwords stay unless --replace, permissions are set.
    password_file(tmp_path / "pw", hashed=("two", "sha512"))
    (tmp_path / "acl").write_text("user plain\ntopic a/#\ntopic deny a/b\n")
    run("import", "mosquitto", config, "--settings-out", settings, expect=1)
    run("import", "mosquitto", config, "--settings-out", settings, "--force")
    done = subprocess.run([BINARY, "import", "settings", settings, "--data", broker.data], capture_output=True, text=True)
    assert done.returncode == 0
    assert done.stderr == "0 users added, 0 replaced, 2 existed and keep their password; 2 permissions set\n"
    assert may_login(broker, "hashed", "one") and not may_login(broker, "hashed", "two")
    broker.cli("import", "settings", str(settings), "--replace")
    assert may_login(broker, "hashed", "two") and not may_login(broker, "hashed", "one")
    broker.stop()


def test_a_user_that_is_refused_does_not_keep_others_out(new_broker, tmp_path):
    broker = new_broker()
    settings = tmp_path / "s.json"
    users = [{"name": "bad", "passwordHash": "$7$0$x$y"}, {"name": "good", "password": "pw"}]
    settings.write_text(json.dumps({"format": "tracemq-settings-1", "users": users, "permissions": {}}))
    told = broker.cli("import", "settings", str(settings), expect=1)
    assert may_login(broker, "good", "pw")
    settings.write_text(json.dumps({"format": "tracemq-settings-1", "permissions": {"good": {}}}))
    assert 'permissions of "good" were not set' in broker.cli("import", "settings", str(settings), expect=1)
    assert 'user "bad" was not imported' in told and "1 users added" in told and "1 requests failed" in told
    assert may_login(broker, "good", "pw")
    for text, words in (("{}", '"format" must be'), ("{", "s.json:1:"), ("[]", '"format" must be')):
        settings.write_text(text)
        assert words in broker.cli("import", "settings", str(settings), expect=1)
    broker.stop()


def test_more_permissions_than_one_request_carries(new_broker, tmp_path):
    broker = new_broker()
    config = tmp_path / "m.conf"
    password_file(tmp_path / "pw", many=("pw", "plain"))
    rules = [f"topic read a/{i}/{'x' * 100}\n" for i in range(600)]
    (tmp_path / "acl").write_text("user many\n" + "".join(rules) + "topic deny a/599/#\n")
    config.write_text(f"listener 1883\npassword_file {tmp_path}/pw\nacl_file {tmp_path}/acl\n")
    broker.cli("import", "mosquitto", str(config), "--apply")
    items = broker.api("/users/many/permissions")["items"]
    assert len(items) == 601 and items[0] == {"effect": "deny", "action": "both", "filter": "a/599/#"}
    broker.settings(subscriptions="covered")  # so that the SUBACK tells which permissions there are
    with Peer(broker, "m", user="many", password="pw") as peer:
        assert peer.subscribe(*(f"a/{i}/{'x' * 100}" for i in (0, 598, 599)), options=0) == [0, 0, 0x87]
    broker.stop()


def test_files_of_the_import(tmp_path):
    config, out = tmp_path / "m.conf", tmp_path / "t.yaml"
    config.write_text("listener 1883\nfrob 1\nmount_point a/\n")
    done = run("import", "mosquitto", config)
    assert done.stdout.startswith("# Made by ") and "listeners:" in done.stdout
    assert "frob 1   unknown: " in done.stderr and "mount_point a/   no equivalent: " in done.stderr
    assert "2 lines taken over" not in done.stderr and "1 without equivalent, 1 unknown" in done.stderr
    out.write_text("old: 1\n")
    out.chmod(0o640)
    assert "--force" in run("import", "mosquitto", config, "--out", out, expect=1).stderr
    assert out.read_text() == "old: 1\n"
    assert run("import", "mosquitto", config, "--out", out, "--force").stdout == ""
    assert out.read_text() == done.stdout and stat.S_IMODE(out.stat().st_mode) == 0o640
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.conf", "t.yaml"]
    check(out)
    assert f"{tmp_path}/none: No such file" in run("import", "mosquitto", tmp_path / "none", expect=1).stderr
    config.write_text(f"include_dir {tmp_path}/none\n")
    assert "m.conf:1: include_dir" in run("import", "mosquitto", config, expect=1).stderr
    assert "1 argument is missing" in run("import", "mosquitto", expect=2).stderr


def test_passwords_of_bridges_are_not_for_everyone(tmp_path):
    config, out = tmp_path / "m.conf", tmp_path / "t.yaml"
    config.write_text("connection b\naddress h\ntopic #\nremote_password s3cret\n")
    done = run("import", "mosquitto", config, "--out", out)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600 and "password: s3cret" in out.read_text()
    assert "s3cret" not in done.stderr and "chmod" not in done.stderr
    out.chmod(0o644)
    assert f"chmod o= {out}" in run("import", "mosquitto", config, "--out", out, "--force").stderr


def test_tls_with_names_of_certificates(new_broker, tmp_path):
    port = free_port()
    ca = Authority(tmp_path)
    cert, key = ca.issue("server", san="IP:127.0.0.1")
    client, client_key = ca.issue("device7", subject="/CN=device7")
    config, out = tmp_path / "m.conf", tmp_path / "t.yaml"
    (tmp_path / "acl").write_text("user device7\ntopic write up\n")
    config.write_text(
        f"user root\nlistener {port} 127.0.0.1\ncertfile {cert}\nkeyfile {key}\ncafile {ca.cert}\nrequire_certificate true\n"
        f"use_identity_as_username true\ntls_version tlsv1.2\nacl_file {tmp_path}/acl\n"
    )
    publish = ["mosquitto_pub", "-h", "127.0.0.1", "-p", str(port), "--cafile", ca.cert, "-V", "5", "-q", "1", "-m", "x"]
    mine = ["--cert", client, "--key", client_key]

    def ask():
        commands = ([*publish, "-t", "up", *mine], [*publish, "-t", "down", *mine], [*publish, "-t", "up"])
        done = [subprocess.run(c, capture_output=True, text=True, timeout=60) for c in commands]
        return [(d.returncode == 0, "Not authorized" in d.stderr) for d in done]

    with mosquitto(config) as process:
        wait_until(lambda: accepts(port, process), what="mosquitto accepts")
        expected = ask()
    run("import", "mosquitto", config, "--out", out)
    check(out)
    broker = starts(new_broker, out)
    broker.cli("import", "mosquitto", str(config), "--apply")
    assert ask() == expected == [(True, False), (True, True), (False, False)]
    broker.stop()


def test_websockets_and_unix_sockets(new_broker, tmp_path):
    port, path = free_port(), tmp_path / "m.sock"
    config, out = tmp_path / "m.conf", tmp_path / "t.yaml"
    password_file(tmp_path / "pw", bob=("pw", "sha512"))
    config.write_text(
        f"user root\npassword_file {tmp_path}/pw\nlistener {port} 127.0.0.1\nprotocol websockets\nlistener 0 {path}\n"
    )
    target = SimpleNamespace(host="127.0.0.1", port=port)

    def codes():
        found = []
        for where in ("/", "/mqtt", "/any/path"):
            s = socket.create_connection((target.host, target.port), timeout=60)
            with raw.Client(target, over=ws.WebSocket(s, ws.request(where))) as c:
                c.send(raw.connect("w", "bob", "pw" if where != "/mqtt" else "no"))
                found.append(c.receive(raw.CONNACK).body[1] == 0)
        with socket.socket(socket.AF_UNIX) as s:
            s.connect(str(path))
            c = raw.Client(target, over=s)
            c.send(raw.connect("u", "bob", "pw"))
            return [*found, c.receive(raw.CONNACK).body[1] == 0]

    with mosquitto(config) as process:
        wait_until(lambda: accepts(port, process), what="mosquitto accepts")
        expected = codes()
    run("import", "mosquitto", config, "--out", out)
    check(out)
    broker = starts(new_broker, out)
    broker.cli("import", "mosquitto", str(config), "--apply")
    assert codes() == expected == [True, False, True, True]
    assert [r["transport"] for r in broker.wait_trace("u", 1)][0] == "unix"
    broker.stop()


def received(peer, topic):
    """The next message under a topic that is wanted; others are passed over."""
    while True:
        got = peer.get()
        if got.topic == topic:
            return got.payload


def test_bridges_carry_as_before(new_broker, tmp_path):
    port, far_port = free_port(), free_port()
    config, far_config, out = tmp_path / "m.conf", tmp_path / "far.conf", tmp_path / "t.yaml"
    password_file(tmp_path / "pw", bridge=("pa ss", "sha512"), eve=("pw", "sha512"))
    far_config.write_text(f"user root\nlistener {far_port} 127.0.0.1\npassword_file {tmp_path}/pw\n")
    config.write_text(
        f"user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nconnection to far\naddress 127.0.0.1:{far_port}\n"
        "remote_username bridge\nremote_password pa ss\nremote_clientid b1\ntopic data/# out 1 here/ there/\n"
        'topic cmd/# in 1 here/ there/\ntopic "" both 1 mine/status yours/status\nrestart_timeout 1\n'
    )
    near, far = (SimpleNamespace(host="127.0.0.1", port=p) for p in (port, far_port))

    def ask():
        with Peer(far, "eve", user="eve", password="pw") as there, Peer(near, "ann", user=None) as here:
            there.subscribe("$SYS/broker/connection/b1/state", "there/data/#", "yours/#", options=1)
            while received(there, "$SYS/broker/connection/b1/state") != b"1":
                pass
            here.subscribe("here/cmd/#", options=1)
            here.publish("here/data/1", b"out", qos=1)
            found = [received(there, "there/data/1")]
            there.publish("there/cmd/1", b"in", qos=1)
            found.append(received(here, "here/cmd/1"))
            here.publish("mine/status", b"ours", qos=1)
            return [*found, received(there, "yours/status")]

    with mosquitto(far_config) as far_process:
        wait_until(lambda: accepts(far_port, far_process), what="the remote accepts")
        with mosquitto(config) as process:
            wait_until(lambda: accepts(port, process), what="mosquitto accepts")
            expected = ask()
        run("import", "mosquitto", config, "--out", out)
        check(out)
        broker = starts(new_broker, out)
        broker.cli("import", "mosquitto", str(config), "--apply")
        assert ask() == expected == [b"out", b"in", b"ours"]
        broker.stop()


# ---- mosquitto.conf(5), all of it ----

GLOBAL = """\
acl_file allow_anonymous=true allow_duplicate_messages=true allow_zero_length_clientid=true auth_opt_x=y auth_plugin=/x.so
auth_plugin_deny_special_chars=true auto_id_prefix=auto- autosave_interval=1800 autosave_on_changes=false check_retain_source=true
clientid_prefixes=a connection_messages=true log_dest=stderr log_facility=5 log_timestamp=true log_timestamp_format=%Y log_type=all
max_inflight_bytes=0 max_inflight_messages=20 max_keepalive=60 max_packet_size=1000 max_queued_bytes=100 max_queued_messages=10
memory_limit=0 message_size_limit=0 password_file per_listener_settings=false persistence=true persistence_file=m.db
persistence_location=/var/lib/mosquitto/ persistent_client_expiration=2m pid_file=/run/m.pid psk_file=/psk queue_qos0_messages=false
retain_available=true set_tcp_nodelay=true sys_interval=10 upgrade_outgoing_qos=false user=mosquitto plugin=/y.so plugin_opt_z=1
websockets_log_level=0 websockets_headers_size=0"""
LISTENER = """\
bind_interface=lo http_dir=/srv listener=21883 max_connections=5 max_qos=1 max_topic_alias=5 mount_point=a/ protocol=mqtt
socket_domain=ipv4 use_username_as_clientid=false cafile=/c capath=/d certfile=/e ciphers=a ciphers_tls1.3=b crlfile=/f
dhparamfile=/g keyfile=/h require_certificate=true tls_engine=i tls_engine_kpass_sha1=j tls_keyform=pem tls_version=tlsv1.2
use_identity_as_username=true use_subject_as_username=false psk_hint=k port=21884 bind_address=127.0.0.1"""
BRIDGE = """\
connection=b address=x:1 addresses=y:2 bridge_attempt_unsubscribe=true bridge_bind_address=10.0.0.1 bridge_max_packet_size=0
bridge_outgoing_retain=true bridge_protocol_version=mqttv311 cleansession=false local_cleansession=false keepalive_interval=60
idle_timeout=60 local_clientid=l local_password=p local_username=u notifications=true notifications_local_only=false
notification_topic=n remote_clientid=r remote_password=secret remote_username=ru restart_timeout=20 round_robin=false
start_type=automatic threshold=10 topic=# try_private=true bridge_alpn=a bridge_cafile=/c bridge_capath=/d bridge_certfile=/e
bridge_insecure=false bridge_keyfile=/k bridge_require_ocsp=false bridge_tls_version=tlsv1.2 clientid=c username=u password=p
bridge_identity=i bridge_psk=00"""


def test_every_option_of_the_manual_is_known(tmp_path):
    config = tmp_path / "m.conf"
    words = [w for w in f"{GLOBAL} {LISTENER} {BRIDGE}".split() if w not in ("acl_file", "password_file")]
    # listener and connection begin what follows them
    words.sort(key=lambda w: (0 if w in GLOBAL.split() else 1 if w in LISTENER.split() else 2,
                              not w.startswith(("listener=", "connection="))))  # fmt: skip
    config.write_text("".join(w.replace("=", " ", 1) + "\n" for w in words))
    report = run("import", "mosquitto", config).stderr
    lines = [line for line in report.splitlines() if line.startswith(str(config))]
    assert len(lines) == len(words)
    assert " 0 unknown, 0 wrong" in report, [line for line in lines if " unknown: " in line or " wrong: " in line]
    assert "secret" not in report


# ---- EMQX ----

SALT = "de1024f462fb83910fd13151bd4bd235"


@pytest.mark.parametrize("name, made", [
    ("sha256-prefix", lambda p: hashlib.sha256((SALT + p).encode()).hexdigest()),
    ("sha512-suffix", lambda p: hashlib.sha512((p + SALT).encode()).hexdigest()),
    ("sha256", lambda p: hashlib.sha256(p.encode()).hexdigest()),
    ("pbkdf2-sha256:4096", lambda p: hashlib.pbkdf2_hmac("sha256", p.encode(), SALT.encode(), 4096).hex()),
])  # fmt: skip
def test_users_of_emqx(broker, tmp_path, name, made):
    mine = name.split(":")[0]
    rows = [(f"{mine}-{who}", made(password), SALT, who == "root") for who, password in (("root", "secret"), ("sensor", "pä ss"))]
    users, settings = tmp_path / "users.csv", tmp_path / "s.json"
    text = "".join(f"{user},{hashed},{salt},{str(root).lower()}\n" for user, hashed, salt, root in rows)
    users.write_text("user_id,password_hash,salt,is_superuser\n" + text)
    told = run("import", "emqx", users, "--hash", name, "--settings-out", settings).stderr
    assert told == "2 users, 1 of them superusers, 0 not taken over\n"
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    broker.cli("import", "settings", str(settings))
    for _ in range(2):  # by the old hash, then by ours
        assert may_login(broker, f"{mine}-root", "secret") and may_login(broker, f"{mine}-sensor", "pä ss")
        assert not may_login(broker, f"{mine}-root", "Secret") and not may_login(broker, f"{mine}-sensor", "")
    with Peer(broker, "root", user=f"{mine}-root", password="secret") as peer:
        assert may_publish(peer, "any/where") and peer.subscribe("#", "$SYS/#", options=0) == [0, 0]
    items = broker.api(f"/users/{mine}-sensor/permissions")["items"]
    assert items == []


def test_users_of_emqx_in_json(broker, tmp_path):
    users = tmp_path / "users.json"
    hashed = hashlib.sha256(("pw" + SALT).encode()).hexdigest()
    users.write_text(json.dumps([{"user_id": "json-a", "password_hash": hashed, "salt": SALT}, {"user_id": "json-b", "password": "plain"}]))
    broker.cli("import", "emqx", str(users), "--hash", "sha256-suffix", "--apply")
    assert may_login(broker, "json-a", "pw") and may_login(broker, "json-b", "plain")
    assert "--hash must be plain" in run("import", "emqx", users, "--hash", "bcrypt", "--apply", expect=2).stderr
    assert "--apply is missing" in run("import", "emqx", users, expect=2).stderr
    assert "No such file" in run("import", "emqx", tmp_path / "none.csv", "--settings-out", tmp_path / "s", expect=1).stderr
    users.write_text("{}")
    assert "a JSON array" in run("import", "emqx", users, "--settings-out", tmp_path / "s", expect=1).stderr
