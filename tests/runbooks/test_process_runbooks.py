"""Real processes under a real supervisor: hung, dead, and not to be started again."""

from __future__ import annotations

import os
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from ml.records.release import Heartbeat
from ml.runbooks.run import Order, run_runbook
from ml.runbooks.shelf import find_runbook
from ml.settings import Settings
from ml.stack.processes import end_processes, mark_stack
from ml.stack.repair import LocalRepairs, open_world
from ml.stack.services import services
from ml.stack.supervision import Supervisor
from tests.runbooks.conftest import exhaust, failures
from tests.stack.conftest import free_ports

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


def await_(what, seconds: float = 60.0):
    """What a question answers as soon as the answer is yes."""
    until = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.1)
    return found


@pytest.fixture
def supervised(tmp_path):
    """Start some services of a stack under its own supervisor: call with their names; everything ends with the test."""
    shutil.copytree(ROOT / "use_cases", tmp_path / "use_cases")
    airflow, mlflow, scoring = free_ports(3)
    current = Settings(home=tmp_path, airflow_port=airflow, mlflow_port=mlflow, scoring_port=scoring)
    supervisor = Supervisor(current)

    def start(*names):
        (current.var / "mlflow" / "artifacts").mkdir(parents=True)
        chosen = tuple(service for service in services(current) if service.name in names)
        supervisor.start(chosen, current.child_environment(mark_stack(current.var)))
        return current, supervisor

    yield start
    supervisor.stop()
    end_processes(current.var)


def beat(current) -> Heartbeat | None:
    """Last word of the replica."""
    path = current.outbox / "replica-0.heartbeat.json"
    return Heartbeat.read(path) if path.exists() else None


def run(world, name, target):
    """Run a runbook."""
    return run_runbook(find_runbook(name), Order(target=target, actor="anna", reason="test"), world)


def carried_out(current, *asked) -> str:
    """What an alert is told of its runbook, asked until it has ended."""
    repairs = LocalRepairs(current)

    def ask() -> str | None:
        told = repairs.ask(*asked)
        repairs.attend()
        return told

    return await_(ask)


def test_a_hung_replica_is_killed_and_another_answers(supervised):
    """SIGSTOP: it cannot end in order. One that beats is left alone; one that cannot start is told of."""
    current, _ = supervised("scoring")
    hung = await_(lambda: beat(current)).pid
    world = open_world(current)
    assert run(world, "restart_replica", "replica-0").end == "not_needed"
    assert beat(current).pid == hung

    os.kill(hung, signal.SIGSTOP)
    await_(lambda: time.time() - beat(current).at.timestamp() > 5.5)
    told = carried_out(current, "restart_replica", "replica-0", "replica_silent", "seen", "notice-1")

    assert "repaired" in told
    assert not psutil.pid_exists(hung)
    second = beat(current).pid
    assert psutil.Process(second).status() != psutil.STATUS_STOPPED

    (current.use_cases / "harbour_weather.yaml").write_text("name: [")
    os.kill(second, signal.SIGSTOP)
    await_(lambda: time.time() - beat(current).at.timestamp() > 5.5)
    found = run(replace(world, patience=3.0), "restart_replica", "replica-0")
    assert found.end == "reverted"
    assert "has not been heard since its start" in found.steps[2].detail
    assert len(failures(world)) == 1

    exhaust(world, "restart_replica", 4)
    assert run(world, "restart_replica", "replica-0").end == "limited"


def test_a_replica_that_answers_but_cannot_write_its_heartbeat_is_left_alone(supervised):
    """A quota of nothing, as on a full disk: to kill it would help nobody, and cost requests."""
    current, _ = supervised("scoring")
    pid = await_(lambda: beat(current)).pid
    psutil.Process(pid).rlimit(psutil.RLIMIT_FSIZE, (1, 1))
    await_(lambda: time.time() - beat(current).at.timestamp() > 5.5)

    found = run(open_world(current), "restart_replica", "replica-0")

    assert (found.end, "but answers" in found.steps[0].detail) == ("not_needed", True)
    assert beat(current).pid == pid


def test_a_hung_service_is_killed_and_works_again(supervised):
    """MLflow, stopped; then with a database that is none: it is tried, told of, and limited."""
    current, supervisor = supervised("mlflow")
    world = open_world(current, patience=90.0)
    await_(lambda: "mlflow" not in world.services.unready(), 120)
    assert run(world, "restart_service", "mlflow").end == "not_needed"
    assert run(world, "restart_service", "scoring").end == "not_needed"

    hung = supervisor.states()["mlflow"].pid
    os.kill(hung, signal.SIGSTOP)
    for child in psutil.Process(hung).children(recursive=True):
        child.send_signal(signal.SIGSTOP)
    assert run(world, "restart_service", "mlflow").end == "repaired"
    assert "mlflow" not in world.services.unready()

    (current.var / "mlflow" / "mlflow.db").write_bytes(b"no database" * 1000)
    for child in psutil.Process(supervisor.states()["mlflow"].pid).children(recursive=True):
        child.send_signal(signal.SIGSTOP)
    assert run(replace(world, patience=4.0), "restart_service", "mlflow").end == "reverted"
    assert len(failures(world)) == 1

    exhaust(world, "restart_service", 4)
    assert run(world, "restart_service", "mlflow").end == "limited"
