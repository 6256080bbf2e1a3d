"""Two replicas on one port: one is killed, hangs or is told to stop under load; clients lose what was in flight."""

import json
import os
import signal
import sqlite3
import threading
import time
from collections import Counter
from contextlib import closing, contextmanager
from datetime import UTC, datetime

import psutil
import pytest

from benchmarks.fleet import Caller, Fleet, ferry_row, late_probability
from ml.records.row_record import read_rows
from ml.registry.fleet import SILENT_AFTER, fleet_of, judge_fleet, read_heartbeats
from ml.registry.manifest import read_manifest
from ml.settings import PROJECT

CLIENTS = 8


class Load:
    """Clients that ask on, each over a connection of its own, which is opened again when it breaks."""

    def __init__(self, fleet: Fleet) -> None:
        self.answered: dict[str, float] = {}
        self.broken: list[tuple[int, str]] = []
        self.others: Counter[int] = Counter()
        self._fleet, self._stop = fleet, threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(number,)) for number in range(CLIENTS)]

    def _ask(self, client: int) -> None:
        caller, number = Caller(self._fleet.settings.scoring_port, timeout=10), 0
        while not self._stop.is_set():
            name, load = f"{client}-{number}", float(number % 50)
            found = caller.post("/score/ferry", json.dumps({"rows": [ferry_row(load)], "ids": [name]}).encode())
            number += 1
            if found is None:
                self.broken.append((client, name))
                time.sleep(0.2)  # who comes back while the kernel takes the process apart is reset once more
            elif found[0] == 200:
                told = json.loads(found[1])["predictions"][0]["probabilities"][1]
                assert told == pytest.approx(late_probability(load), abs=1e-6)
                self.answered[name] = told
            else:
                self.others[found[0]] += 1
        caller.close()

    @contextmanager
    def flowing(self):
        """While the clients ask."""
        for thread in self._threads:
            thread.start()
        try:
            self.wait_for_more(100)
            yield self
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join(30)

    def wait_for_more(self, answers: int) -> None:
        """Return after so many more answers."""
        wanted, until = len(self.answered) + answers, time.monotonic() + 30
        while len(self.answered) < wanted and time.monotonic() < until:
            time.sleep(0.005)


def recorded(fleet: Fleet, number: int) -> set[str]:
    """Ids in a replica's outbox."""
    with closing(sqlite3.connect(fleet.settings.outbox / f"replica-{number}.sqlite")) as db:
        records = db.execute("SELECT payload, rows FROM captured").fetchall()
    return {row.id for record in records for row in read_rows(*record)}


@pytest.fixture
def fleet(tmp_path):
    """Two replicas, ready."""
    fleet = Fleet(tmp_path / "fleet")
    with fleet.running((0, 1)):
        yield fleet


def owners(fleet: Fleet) -> dict[int, set[int]]:
    """Replicas that have answered each client so far."""
    found: dict[int, set[int]] = {}
    for number in (0, 1):
        for name in recorded(fleet, number):
            found.setdefault(int(name.partition("-")[0]), set()).add(number)
    return found


def test_kill_9_of_one_costs_the_requests_in_flight_on_it(fleet):
    """One per connection to it at most, none of the other's; all that was answered is on record exactly once."""
    load = Load(fleet)
    with load.flowing():
        before = owners(fleet)
        victim = max((0, 1), key=lambda number: sum(served == {number} for served in before.values()))
        fleet.kill(victim)
        load.wait_for_more(200)

    on_victim = {client for client, served in before.items() if victim in served}
    assert {client for client, _ in load.broken} <= on_victim
    assert 1 <= len(load.broken) <= len(on_victim)
    assert load.others == Counter()
    kept = Counter([*recorded(fleet, 0), *recorded(fleet, 1)])
    assert load.answered.keys() <= kept.keys()
    assert set(kept.values()) == {1}
    assert kept.keys() - load.answered.keys() <= {name for _, name in load.broken}


def test_a_replica_that_hangs_is_noticed_by_its_heartbeat(fleet):
    """SIGSTOP: silent for five seconds it does not count for a release and is named; SIGCONT, and it does."""
    manifest = read_manifest(fleet.settings.releases, "ferry")
    expected = fleet_of(fleet.settings)
    hung = fleet.processes[1]

    def judged() -> tuple[bool | None, str]:
        beats = read_heartbeats(fleet.settings.outbox)
        return judge_fleet(expected, beats, manifest, now=datetime.now(UTC), last=True)

    assert judged()[0] is True
    hung.send_signal(signal.SIGSTOP)
    try:
        time.sleep(SILENT_AFTER.total_seconds() + 1.5)
        decided, says = judged()
    finally:
        hung.send_signal(signal.SIGCONT)
    assert decided is None
    assert "1 of 2 replicas serve" in says
    assert "replica-1 was last heard" in says
    until = time.monotonic() + 20
    while judged()[0] is not True and time.monotonic() < until:
        time.sleep(0.1)
    assert judged()[0] is True


def test_asked_to_stop_under_load_it_loses_no_accepted_request(fleet):
    """SIGTERM of one: whoever it had accepted is answered or hears nothing before a byte; the other takes over."""
    load = Load(fleet)
    with load.flowing():
        leaving = fleet.processes[0]
        leaving.terminate()
        assert leaving.wait(30) == 0
        load.wait_for_more(100)

    kept = recorded(fleet, 0) | recorded(fleet, 1)
    assert load.others == Counter()
    assert load.answered.keys() <= kept
    # A request that broke was never begun: nothing of it is on record, so that asking again doubles nothing.
    assert not kept & {name for _, name in load.broken}
    assert "Traceback" not in fleet.log(0).read_text()


def test_no_value_of_a_feature_is_in_the_log(fleet):
    """Answers, refusals, damaged bodies and failed captures: ids of requests are told, values are not."""
    secret, caller = 4711.0815, Caller(fleet.settings.scoring_port)
    for row in (ferry_row(secret), ferry_row(secret, wind=secret), {"load": secret}):
        assert caller.post("/score/ferry", json.dumps({"rows": [row]}).encode()) is not None
    assert caller.post("/score/ferry", b'{"rows": [{"load": 4711.0815') is not None
    for path in fleet.settings.outbox.glob("*.sqlite*"):
        path.unlink()
    fleet.settings.outbox.joinpath("replica-0.sqlite").mkdir()
    fleet.settings.outbox.joinpath("replica-1.sqlite").mkdir()
    failed = caller.post("/score/ferry", json.dumps({"rows": [ferry_row(secret)]}).encode(), {"X-Request-Id": "call-1"})

    assert failed is not None
    assert failed[0] == 503
    told = fleet.log(0).read_text() + fleet.log(1).read_text()
    assert "request_id=call-1" in told
    assert "4711" not in told
    assert "0815" not in told


@pytest.mark.slow
def test_the_supervisor_brings_a_killed_replica_back(tmp_path):
    """The stack's own supervisord and its generated file: another process under the same name, and it serves."""
    from ml.stack.services import services
    from ml.stack.supervision import Supervisor

    fleet = Fleet(tmp_path / "fleet")
    wanted = tuple(service for service in services(fleet.settings) if service.name.startswith("scoring"))
    environment = fleet.settings.child_environment({"PYTHONPATH": str(PROJECT)})
    supervisor = Supervisor(fleet.settings)
    supervisor.start(wanted, environment)
    try:
        pids = {}
        for name in ("replica-0", "replica-1"):
            pids[name] = await_beat(fleet, name, other_than=0)
        os.kill(pids["replica-1"], signal.SIGKILL)
        back = await_beat(fleet, "replica-1", other_than=pids["replica-1"])
        assert psutil.pid_exists(back)
        assert psutil.pid_exists(pids["replica-0"])
    finally:
        supervisor.stop()


def await_beat(fleet: Fleet, name: str, *, other_than: int) -> int:
    """Process id of a replica's newest heartbeat, once it is another one."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for beat in read_heartbeats(fleet.settings.outbox):
            if beat.replica == name and beat.pid != other_than:
                return beat.pid
        time.sleep(0.05)
    pytest.fail(f"{name} did not beat")
