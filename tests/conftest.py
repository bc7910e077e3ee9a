"""Fixtures of the end to end tests. The binary under test is named by TRACEMQ_BIN (default build/tracemq)."""

import os
import shutil
import tempfile
import uuid

import pytest

from harness.broker import BINARY, Broker
from harness.mosquitto import Mosquitto


def pytest_collection_modifyitems(items):
    if os.environ.get("TRACEMQ_SLOW"):
        return
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="set TRACEMQ_SLOW=1"))


def pytest_report_header():
    return f"broker: {BINARY}"


def _directory():
    # Short, and not below pytest's own folder: the data of a failed test stays for who looks for the reason.
    return tempfile.mkdtemp(prefix="tracemq-test-")


def _end(made, failed):
    try:
        for broker in made:
            if broker.process is not None and not failed:
                broker.stop()
    finally:
        for broker in made:
            broker.abandon()
            if not failed:
                shutil.rmtree(broker.directory, ignore_errors=True)


@pytest.hookimpl(tryfirst=True, hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    report = outcome.get_result()
    if report.when == "call":
        item.call_failed = report.failed
        for name in ("broker", "new_broker"):
            value = item.funcargs.get(name)
            brokers = value.made if hasattr(value, "made") else [value] if value else []
            for broker in brokers if report.failed else []:
                report.sections.append((f"log of {broker.directory}", broker.log()[-5000:]))


@pytest.fixture
def new_broker(request):
    """new_broker(*args, loops=2, env={}): a broker of the test's own, started; start=False: not yet."""

    def make(*args, start=True, **kwargs):
        broker = Broker(_directory(), *args, **kwargs)
        make.made.append(broker)
        return broker.start() if start else broker

    make.made = []
    yield make
    _end(make.made, getattr(request.node, "call_failed", False))


@pytest.fixture
def mosquitto():
    """mosquitto(*lines, port=, start=True): Debian's Mosquitto, gone behind the test."""
    made = []

    def make(*lines, start=True, **kwargs):
        m = Mosquitto(tempfile.mkdtemp(prefix="tracemq-mosquitto-"), *lines, **kwargs)
        made.append(m)
        return m.start() if start else m

    yield make
    for m in made:
        m.stop()
        shutil.rmtree(m.directory, ignore_errors=True)


@pytest.fixture(scope="module")
def broker(request):
    """One broker for the tests of a module: for what leaves no traces that others would see."""
    arguments = getattr(request.module, "BROKER_ARGS", ())
    shared = Broker(_directory(), *arguments, loops=getattr(request.module, "BROKER_LOOPS", 2))
    shared.start()
    failed_before = request.session.testsfailed
    yield shared
    _end([shared], request.session.testsfailed > failed_before)
    shared.stop()


@pytest.fixture
def figures(request):
    """figures(text): shown at the end of the run, and kept in the report."""
    return lambda text: request.node.user_properties.append(("figures", text))


def pytest_terminal_summary(terminalreporter):
    reports = (r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, []))
    for report in reports:
        for key, text in report.user_properties:
            terminalreporter.write_line(f"{report.nodeid.split('::')[-1]}: {text}")


@pytest.fixture
def name():
    """A client ID or topic of this test's own."""
    return "t-" + uuid.uuid4().hex[:12]
