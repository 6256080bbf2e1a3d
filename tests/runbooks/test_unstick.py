"""Runbook ``unstick``: what cannot get on is ended, what works or waits for somebody is left alone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from ml.runbooks.run import Order, run_runbook
from ml.runbooks.runbook import World
from ml.runbooks.shelf import find_runbook
from ml.runbooks.unstick import find_stuck
from ml.stack.local_runs import LocalRuns
from ml.stack.processes import SERVICE, mark_stack
from tests.runbooks.conftest import exhaust, failures

DAG = "ferry.monitor"


def ago(minutes: float) -> str:
    """A moment as Airflow writes it."""
    return (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat()


@dataclass
class SeededRuns:
    """Airflow with seeded faults: runs by id, their tasks, the lives of processes; ending one lets the next begin."""

    states: dict[str, str]
    tasks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    lives: dict[int, str] = field(default_factory=dict)
    paused: bool = False
    deaf: bool = False
    blocked: bool = False
    killed: list[int] = field(default_factory=list)
    cleared: list[str] = field(default_factory=list)
    begun: dict[str, float] = field(default_factory=dict)

    def open_runs(self, dag: str) -> list[dict[str, Any]]:
        """Those of one DAG, the queued ones since half an hour unless said otherwise."""
        if dag != DAG:
            return []
        return [
            {
                "dag_run_id": run,
                "state": state,
                "queued_at": ago(self.begun.get(run, 30)),
                "start_date": ago(self.begun.get(run, 30)),
                "run_after": ago(31),
            }
            for run, state in self.states.items()
            if state in {"queued", "running"}
        ]

    def task_instances(self, dag: str, run: str) -> list[dict[str, Any]]:
        """Of a run."""
        return self.tasks.get(run, [])

    def is_paused(self, dag: str) -> bool:
        """As seeded."""
        return self.paused

    def task_life(self, hostname: str, pid: int) -> str:
        """As seeded."""
        return self.lives[pid]

    def fail_run(self, dag: str, run: str) -> None:
        """End it; the next one begins, with a task that works."""
        if self.deaf:
            return
        self.states[run] = "failed"
        waiting = [name for name, state in self.states.items() if state == "queued"]
        if waiting and not self.paused and not self.blocked:
            self.states[waiting[0]] = "running"
            self.tasks[waiting[0]] = [task("running", pid=99)]
            self.lives[99] = "works"

    def clear_run(self, dag: str, run: str) -> None:
        """Queue it again."""
        self.states[run] = "queued"
        self.cleared.append(run)

    def kill_task(self, pid: int) -> None:
        """Note it."""
        self.killed.append(pid)


def task(state: str | None, *, pid: int | None = None, minutes: float = 20, **more: Any) -> dict[str, Any]:
    """A task instance as Airflow's API tells of it."""
    return {"state": state, "pid": pid, "hostname": "here", "start_date": ago(minutes)} | more


def run(world: World, runs: SeededRuns, target: str = DAG):
    """Run it."""
    order = Order(target=target, actor="anna", reason="test")
    return run_runbook(find_runbook("unstick"), order, replace(world, runs=runs))


@pytest.mark.parametrize("life", ["gone", "hangs"])
def test_a_run_whose_task_is_dead_or_hangs_is_ended_and_the_next_begins(world, life):
    """One that hangs is killed as well; the run behind is seen to begin."""
    runs = SeededRuns({"one": "running", "two": "queued"}, {"one": [task("running", pid=7)]}, {7: life})

    done = run(world, runs)

    assert done.end == "repaired"
    assert runs.states == {"one": "failed", "two": "running"}
    assert runs.killed == ([7] if life == "hangs" else [])
    assert "1 runs waited behind, 0 still do" in done.steps[-1].detail
    assert run(world, runs).end == "not_needed"


def test_a_run_that_waits_on_a_paused_dag_is_ended_and_the_pause_stays(world):
    """The pause was somebody's decision."""
    runs = SeededRuns({"one": "queued"}, paused=True)

    assert run(world, runs).end == "repaired"
    assert (runs.states, runs.paused) == ({"one": "failed"}, True)


#: Made when they are looked at: a task that has just ended has not when the whole suite has run meanwhile.
ALIVE = {
    "a task works": lambda: ([task("running", pid=7)], {7: "works"}, 30.0),
    "one of two works": lambda: ([task("running", pid=7), task("running", pid=8)], {7: "gone", 8: "works"}, 30.0),
    "a task is elsewhere": lambda: ([task("running", pid=7)], {7: "unknown"}, 30.0),
    "a task has no process yet": lambda: ([task("running")], {}, 30.0),
    "it waits for a person": lambda: ([task("success"), task("deferred")], {}, 600.0),
    "it waits to be tried again": lambda: ([task("up_for_retry")], {}, 600.0),
    "it has only begun": lambda: ([task(None, minutes=1)], {}, 1.0),
    "its last task has just ended": lambda: ([task("success", end_date=ago(1)), task("scheduled")], {}, 600.0),
}


@pytest.mark.parametrize("case", ALIVE)
def test_what_works_or_waits_for_somebody_is_left_alone(world, case):
    """No wrong repair, whatever waits behind it."""
    tasks, lives, minutes = ALIVE[case]()
    runs = SeededRuns({"one": "running", "two": "queued"}, {"one": tasks}, lives, begun={"one": minutes})

    assert run(world, runs).end == "not_needed"
    assert runs.states == {"one": "running", "two": "queued"}


def test_a_run_that_stands_still_without_a_cause_is_stuck_after_a_quarter_of_an_hour(world):
    """Sixteen minutes are, fourteen are not; of a queued one behind nobody likewise."""
    for minutes, stuck in ((14.0, False), (16.0, True)):
        tasks = {"one": [task("scheduled", minutes=minutes)]}
        running = SeededRuns({"one": "running"}, tasks, begun={"one": minutes})
        queued = SeededRuns({"one": "queued"}, begun={"one": minutes})
        assert bool(find_stuck(DAG, running, datetime.now(UTC))) is stuck
        assert bool(find_stuck(DAG, queued, datetime.now(UTC))) is stuck


@pytest.mark.parametrize("fault", ["deaf", "blocked"])
def test_what_has_not_helped_is_taken_back(world, fault):
    """Airflow forgets the order; or the run ends and the one behind does not begin all the same."""
    tasks, lives = {"one": [task("running", pid=7)]}, {7: "gone"}
    runs = SeededRuns({"one": "running", "two": "queued"}, tasks, lives, **{fault: True})

    done = run(world, runs)

    assert done.end == "reverted"
    assert runs.cleared == ([] if fault == "deaf" else ["one"])
    assert len(failures(world)) == 1


def test_it_is_limited(world):
    """The seventh of an hour is left to a person."""
    exhaust(world, "unstick", 6)
    runs = SeededRuns({"one": "queued"}, paused=True)

    assert run(world, runs).end == "limited"
    assert runs.states == {"one": "queued"}


@pytest.fixture
def sleeper(world):
    """A process that is marked as one of the scheduler's."""
    marks = os.environ | mark_stack(world.settings.var) | {SERVICE: "airflow-scheduler"}
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env=marks)
    yield process
    process.kill()
    process.wait()


def test_the_life_of_a_task_is_read_from_the_process_table(world, sleeper):
    """Works, hangs while it is stopped, gone once it is killed; on another machine nobody knows."""
    runs, here = LocalRuns(world.settings, lambda: pytest.fail("Airflow is not asked")), socket.gethostname()

    assert runs.task_life(here, sleeper.pid) == "works"
    os.kill(sleeper.pid, signal.SIGSTOP)
    _wait_for(lambda: runs.task_life(here, sleeper.pid) == "hangs")
    assert runs.task_life("elsewhere", sleeper.pid) == "unknown"
    runs.kill_task(sleeper.pid)
    _wait_for(lambda: runs.task_life(here, sleeper.pid) == "gone")


def test_a_process_that_is_not_the_schedulers_is_not_killed(world, sleeper, tmp_path):
    """A pid that was given to somebody else."""
    other = world.settings.model_copy(update={"var": tmp_path / "other"})
    LocalRuns(other, lambda: pytest.fail("Airflow is not asked")).kill_task(sleeper.pid)

    time.sleep(0.2)
    assert sleeper.poll() is None


def _wait_for(condition) -> None:
    until = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)
