"""Faults of processes: killed, hung, slowed down, stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psutil

from ml.stack.drill.fault import Facts, Fault, Steps
from ml.stack.drill.scene import Scene, send_signal, wait_until
from ml.stack.readiness import find_unready

#: A replica that is slowed down stands still so long, and then goes on so long, seconds.
_STILL, _GOING = 1.0, 0.05
#: What a service may take to be ready again.
_START_SECONDS = 90.0


@contextmanager
def _killed_replica(scene: Scene) -> Steps:
    """The first replica dies as by the kernel's out-of-memory killer."""
    replica = scene.replicas()[0]
    replica.kill()
    yield {"pid": replica.pid}


@contextmanager
def _hung_replica(scene: Scene) -> Steps:
    """The first replica stands still: it holds its port and answers nobody."""
    replica = scene.replicas()[0]
    send_signal(replica, signal.SIGSTOP)
    try:
        yield {"pid": replica.pid}
    finally:
        send_signal(replica, signal.SIGCONT)


@contextmanager
def _slow_replicas(scene: Scene) -> Steps:
    """The replicas get a twentieth of the time that they need."""
    with _pulsing(scene.replicas()):
        yield {}


@contextmanager
def _pulsing(processes: list[psutil.Process]) -> Iterator[None]:
    stop = threading.Event()

    def pulse() -> None:
        while not stop.is_set():
            for process in processes:
                send_signal(process, signal.SIGSTOP)
            stop.wait(_STILL)
            for process in processes:
                send_signal(process, signal.SIGCONT)
            stop.wait(_GOING)

    thread = threading.Thread(target=pulse, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _stopped(service: str) -> Callable[[Scene], Any]:
    """Injection that stops a service for good: its supervisor does not start it again."""

    @contextmanager
    def inject(scene: Scene) -> Steps:
        scene.supervisor.stop_service(service)
        try:
            yield {}
        finally:
            scene.supervisor.ensure_started(service)
            wait_until(lambda: _is_ready(scene, service), service, seconds=_START_SECONDS)

    return inject


def _is_ready(scene: Scene, service: str) -> bool:
    return service not in find_unready(scene.settings, scene.supervisor.states())


def _runs_again(service: str) -> Callable[[Scene, Facts], bool]:
    return lambda scene, _: _is_ready(scene, service)


def _another_serves(scene: Scene, facts: Facts) -> bool:
    replicas = scene.replicas()
    return bool(replicas) and replicas[0].pid != facts["pid"] and scene.serves()


PROCESSES = (
    Fault(
        "latency",
        0,
        "the replicas stand still for a second after each twentieth of one",
        "the replicas go on",
        ("slow_answers", "slow_probe"),
        _slow_replicas,
    ),
    Fault(
        "replica_killed",
        0,
        "kill -9 of a replica",
        "nothing is left to undo",
        ("replica_died", "availability"),
        _killed_replica,
        repair="supervisor",
        repaired=_another_serves,
        touches=frozenset({"scoring"}),
    ),
    Fault(
        "replica_hung",
        0,
        "SIGSTOP of a replica",
        "SIGCONT",
        ("replica_hung", "availability", "replica_silent"),
        _hung_replica,
        repair="runbook restart_replica",
        repaired=_another_serves,
        touches=frozenset({"scoring"}),
    ),
    Fault(
        "scheduler_dead",
        0,
        "Airflow's scheduler is stopped and not started again",
        "it is started",
        ("alerting_stopped",),
        _stopped("airflow-scheduler"),
        repair="runbook restart_service",
        repaired=_runs_again("airflow-scheduler"),
        touches=frozenset({"airflow-scheduler"}),
    ),
    Fault(
        "mlflow_down",
        0,
        "MLflow is stopped and not started again",
        "it is started",
        ("service_down",),
        _stopped("mlflow"),
        repair="runbook restart_service",
        repaired=_runs_again("mlflow"),
        touches=frozenset({"mlflow"}),
    ),
)
