"""What a record survives, and what happens when none can be made, seen from outside a real process.

The disk is broken for real: the kernel refuses the process's system calls (seccomp), its files may grow no further
(RLIMIT_FSIZE), or another process keeps the outbox locked.
"""

import contextlib
import itertools
import re
import resource
import shutil
import signal
import sqlite3
import subprocess
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import pytest

from ml.alerts.look import look
from ml.alerts.rules import load_rules
from ml.store.alerts import AlertStore
from ml.store.telemetry import Telemetry

HOME = Path(__file__).parents[2]
RULES = load_rules(HOME / "alerts.yaml")

#: A replica for which the kernel, from SIGUSR1 on, answers some system calls with an error: `CALLS`, `ERROR`.
BROKEN_DISK = """
import ctypes, errno, platform, signal, struct, sys
NUMBERS = {"x86_64": (0xC000003E, 317, {"fsync": 74, "fdatasync": 75, "pwrite64": 18}),
           "aarch64": (0xC00000B7, 277, {"fsync": 82, "fdatasync": 83, "pwrite64": 68})}
def break_disk(*_):
    machine, seccomp, names = NUMBERS[platform.machine()]
    calls = [names[name] for name in CALLS]
    load, equal, give = (lambda at: (0x20, 0, 0, at)), (lambda k, yes, no: (0x15, yes, no, k)), (lambda k: (6, 0, 0, k))
    code = [load(4), equal(machine, 1, 0), give(0x7FFF0000), load(0)]
    code += [equal(number, len(calls) - i, 0) for i, number in enumerate(calls)]
    code += [give(0x7FFF0000), give(0x00050000 | getattr(errno, ERROR))]
    filters = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in code))
    program = struct.pack("HxxxxxxP", len(code), ctypes.addressof(filters))
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(38, 1, 0, 0, 0)  # no new privileges: what an ordinary user may set a filter with
    done = libc.syscall(seccomp, 1, 1, ctypes.c_char_p(program))  # for every thread
    print("the disk is broken:", done, flush=True)
signal.signal(signal.SIGUSR1, break_disk)
from ml.serving.__main__ import main
sys.exit(main([]))
"""


def broken_disk(calls: tuple[str, ...], error: str) -> str:
    """Program of a replica whose system calls will fail."""
    return f"CALLS, ERROR = {calls!r}, {error!r}\n{BROKEN_DISK}"


@pytest.fixture
def start(installation, service):
    """Start the service with a policy of the quay; returns a client."""
    with contextlib.ExitStack() as stack:

        def call(policy: str, program: str = ""):
            path = installation.settings.use_cases / "quay.yaml"
            path.write_text(f"{path.read_text()}serving: {{{policy}}}\n")
            installation.release("quay", version=1, weight=0.1)
            service.start(program=program)
            return stack.enter_context(service.client())

        yield call


def break_disk(service, client) -> None:
    """Return when system calls fail."""
    service.process.send_signal(signal.SIGUSR1)
    until = time.monotonic() + 10
    while "the disk is broken: 0" not in service.log() and time.monotonic() < until:
        client.get("/health/live")  # Python handles a signal when Python runs
    assert "the disk is broken: 0" in service.log()


def ask(client, quay, row_of):
    """One request."""
    return client.post("/score/quay", json={"rows": [row_of(quay)]})


@pytest.mark.parametrize(("durability", "status"), [("power", 503), ("process", 200)])
def test_with_power_no_reply_leaves_before_the_disk_has_said_yes(start, service, quay, row_of, durability, status):
    """Every flush fails: no answer then, where each waits for one; with ``process`` it is answered, and told."""
    client = start(f"durability: {durability}", broken_disk(("fsync", "fdatasync"), "EIO"))
    assert ask(client, quay, row_of).status_code == 200
    break_disk(service, client)

    reply = ask(client, quay, row_of)

    assert reply.status_code == status
    assert durability == "process" or reply.json()["code"] == 501
    until = time.monotonic() + 10
    while "outbox sync failed" not in service.log() and time.monotonic() < until:
        time.sleep(0.05)
    assert "outbox sync failed" in service.log()


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
@pytest.mark.parametrize("durability", ["power", "process"])
def test_flushes_are_seen_from_outside(start, service, quay, row_of, tmp_path, durability):
    """With ``power`` the log is flushed between two replies; with ``process`` within a second, not for each."""
    client = start(f"durability: {durability}")
    book = tmp_path / "strace.txt"
    watch = [
        "strace",
        "-f",
        "-y",
        "-ttt",
        "-e",
        "trace=fsync,fdatasync,write,sendto,writev",
        "-s",
        "12",
        "-o",
        str(book),
    ]
    with subprocess.Popen([*watch, "-p", str(service.process.pid)], stderr=subprocess.PIPE) as strace:
        assert b"attached" in strace.stderr.readline()
        for _ in range(20):
            assert ask(client, quay, row_of).status_code == 200
        time.sleep(2.5)
        strace.send_signal(signal.SIGINT)
        strace.communicate(timeout=20)

    replies, flushes = [], []
    for line in book.read_text().splitlines():
        moment = float(line.split()[1])
        if "HTTP/1.1 200" in line:
            replies.append(moment)
        elif re.search(r"sync\(\d+<.*replica-0\.sqlite-wal>", line):
            flushes.append(moment)
    assert len(replies) == 20
    between = [any(a < flush < b for flush in flushes) for a, b in itertools.pairwise(replies)]
    assert all(between) is (durability == "power")
    assert any(replies[-1] < flush for flush in flushes) or durability == "power"


@contextlib.contextmanager
def full(service, client):
    """The outbox may grow no further, as on a full disk."""
    process = psutil.Process(service.process.pid)
    unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
    process.rlimit(psutil.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
    yield
    process.rlimit(psutil.RLIMIT_FSIZE, unlimited)


@contextlib.contextmanager
def locked(service, client):
    """Another process keeps the outbox to itself for longer than the service waits."""
    path = service.installation.outbox
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
        other.execute("ROLLBACK")


@contextlib.contextmanager
def read_only(service, client):
    """The disk turned read-only, and stays so."""
    break_disk(service, client)
    yield


FAULTS = {"full": full, "locked": locked, "read-only": read_only}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("policy", ["refuse", "answer"])
def test_capture_that_fails_is_refused_or_counted_as_the_policy_says(start, service, quay, row_of, fault, policy):
    """Rows, refused rows and damaged bodies alike; labels are never taken unrecorded; it gets over by itself."""
    client = start(f"when_capture_fails: {policy}", broken_disk(("pwrite64",), "EROFS"))
    label = {"labels": [{"id": "a", "class": "late"}]}
    before = ask(client, quay, row_of)
    with FAULTS[fault](service, client):
        during = ask(client, quay, row_of)
        refused = client.post("/score/quay", json={"rows": [row_of(quay) | {"load": None}]})
        damaged = client.post("/score/quay", content=b"{")
        told = client.post("/labels/quay", json=label)
        metrics = client.get("/metrics").text

    assert (before.status_code, told.status_code, told.json()["code"]) == (200, 503, 501)
    lost = re.findall(r'^perennial_capture_lost_rows_total{use_case="quay"} (\d+)$', metrics, re.MULTILINE)
    if policy == "refuse":
        assert [reply.status_code for reply in (during, refused, damaged)] == [503, 503, 503]
        assert {reply.json()["code"] for reply in (during, refused, damaged)} == {501}
        assert during.headers["retry-after"] == "1"
        assert lost == []
    else:
        assert [reply.status_code for reply in (during, refused, damaged)] == [200, 422, 400]
        assert during.json()["predictions"][0]["class"]
        assert lost == ["3"]
    if fault != "read-only":
        assert ask(client, quay, row_of).status_code == 200
        assert [record["code"] for record in service.installation.captured()] == [0, 0]


@pytest.mark.parametrize("policy", ["refuse", "answer"])
def test_the_shipped_rules_alert_on_it_also_after_a_full_disk(start, service, installation, quay, row_of, policy):
    """Nothing can be told while nothing can be written; the numbers are told as soon as there is room."""
    client = start(f"when_capture_fails: {policy}")
    with full(service, client):
        for _ in range(25):
            ask(client, quay, row_of)
        time.sleep(2.5)  # the looks that could not be kept
    telemetry = Telemetry(installation.settings.control_url)
    alerts = AlertStore(installation.settings.control_url)
    wanted = "answers_not_recorded" if policy == "answer" else "failed_requests"
    fired: set[str] = set()
    until = time.monotonic() + 40
    while wanted not in fired and time.monotonic() < until:
        telemetry.take_spool(installation.settings.telemetry / "replica-0.sqlite")
        now = datetime.now(UTC) + timedelta(seconds=1)
        found = look(RULES, store=alerts, telemetry=telemetry, now=now, everything=True)
        fired |= {transition.rule for transition in found.transitions if transition.step == "fired"}
        time.sleep(0.5)

    assert wanted in fired, service.log()[-2000:]
