"""Faults of the learning loop: a run that does not get on, drift, labels that do not come."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pandas as pd
import psutil

from ml.errors import PerennialError
from ml.pipeline.targets import load_targets
from ml.simulation.checked_traffic import to_json_rows
from ml.stack.drill.fault import Facts, Fault, Steps
from ml.stack.drill.scene import Scene

_BATCH = 200
#: A drill cannot wait for a quarter of an hour: a run that waits for so long is stuck.
WAITING_SECONDS = 10
#: Nor for half an hour: a task that runs for so long hangs; no task of the drill's own monitor runs takes as long.
HUNG_SECONDS = 25
_RUN_SECONDS = 150.0


@contextmanager
def _stuck_run(scene: Scene) -> Steps:
    """The monitor DAG is paused, and a run of it waits."""
    dag = f"{scene.use_case.name}.monitor"
    scene.airflow.pause(dag, paused=True)
    run = scene.airflow.trigger(dag, {"as_of": scene.moment.isoformat()})
    try:
        yield {"dag": dag, "run": run}
    finally:
        scene.airflow.delete_run(dag, run)
        scene.airflow.pause(dag, paused=False)


@contextmanager
def _task_hung(scene: Scene) -> Steps:
    """A run of the monitor DAG whose task is stopped while it works: it never ends, and Airflow sees nothing wrong."""
    dag = f"{scene.use_case.name}.monitor"
    run = scene.airflow.trigger(dag, {"as_of": scene.moment.isoformat()})
    pid = None
    try:
        pid = _stop_a_task(scene, dag, run)
        yield {"at": time.time(), "dag": dag, "run": run, "pid": pid}
    finally:
        with suppress(psutil.Error):
            hung = psutil.Process(pid) if pid is not None else None
            if hung is not None and hung.status() == psutil.STATUS_STOPPED:
                hung.kill()
        scene.airflow.delete_run(dag, run)


def _stop_a_task(scene: Scene, dag: str, run: str) -> int:
    """Stop the process of a task that runs; one that ends meanwhile is followed by the next."""
    until = time.monotonic() + _RUN_SECONDS
    while time.monotonic() < until:
        for task in scene.airflow.task_instances(dag, run):
            if task["state"] == "running" and task["pid"]:
                with suppress(ProcessLookupError):
                    os.kill(task["pid"], signal.SIGSTOP)
                    return int(task["pid"])
        time.sleep(0.05)
    raise PerennialError("no task could be stopped", where=f"{dag} {run}", got=f"none ran within {_RUN_SECONDS:g} s")


def _hung_bounds(scene: Scene) -> dict[str, dict[str, float]]:
    longest = load_targets(scene.settings.pipeline).task_longest_of(f"{scene.use_case.name}.monitor")
    return {"task_hung": {"above": HUNG_SECONDS / longest}}


def _is_unstuck(scene: Scene, facts: Facts) -> bool:
    runs = {run["dag_run_id"]: run["state"] for run in scene.airflow.runs(facts["dag"])}
    return runs.get(facts["run"], "success") in {"success", "failed"}


@contextmanager
def _drift(scene: Scene) -> Steps:
    """A window whose numbers are all near the ends of their ranges; the monitor looks at it."""
    end = scene.moment_of("drift")
    _send(scene, _blur(_shift(scene.rows, scene), scene), end)
    yield {"at": time.time()} | _monitor(scene, end)


@contextmanager
def _label_drought(scene: Scene) -> Steps:
    """Two windows of answers whose truth never comes; the monitor looks at both."""
    end = scene.moment_of("labels")
    _send(scene, _blur(scene.rows, scene), end)
    yield {"at": time.time()} | _monitor(scene, end) | _monitor(scene, end + timedelta(minutes=1))


def _shift(rows: pd.DataFrame, scene: Scene) -> pd.DataFrame:
    changed = rows.copy()
    for name, feature in scene.use_case.features.items():
        if feature.type != "number":
            continue
        lowest, highest = feature.range or (float(rows[name].min()), float(rows[name].max()) * 2 + 1)
        changed[name] = highest - 0.05 * (highest - lowest) * np.linspace(0, 1, len(rows))
    return changed


def _blur(rows: pd.DataFrame, scene: Scene) -> pd.DataFrame:
    """Rows that are copies of no others, those of an earlier drill included: numbers a little off, within ranges."""
    rng, changed = np.random.default_rng(time.time_ns()), rows.copy()
    for name, feature in scene.use_case.features.items():
        if feature.type == "number":
            lowest, highest = feature.range or (float(rows[name].min()), float(rows[name].max()))
            off = 0.002 * (highest - lowest) * rng.uniform(-1, 1, len(rows))
            changed[name] = (rows[name] + off).clip(lowest, highest)
    return changed


def _send(scene: Scene, rows: pd.DataFrame, end: datetime) -> None:
    """Rows as traffic of the window that ends then."""
    window = scene.use_case.monitoring.window
    times = [end - window * (1 - (n + 0.5) / len(rows)) for n in range(len(rows))]
    sent = to_json_rows(rows, scene.use_case)
    for begin in range(0, len(rows), _BATCH):
        part = slice(begin, begin + _BATCH)
        body = {"rows": sent[part], "event_times": [moment.isoformat() for moment in times[part]]}
        scene.http.post(f"/score/{scene.use_case.name}", json=body).raise_for_status()


def _monitor(scene: Scene, end: datetime) -> dict[str, Any]:
    dag = f"{scene.use_case.name}.monitor"
    run = scene.airflow.trigger(dag, {"as_of": end.isoformat()})
    scene.airflow.wait(dag, run, timeout=_RUN_SECONDS)
    return {"run": run}


PIPELINE = (
    Fault(
        "stuck_run",
        0,
        f"the monitor DAG is paused and a run of it waits; {WAITING_SECONDS} s are too long to the drill",
        "the run is deleted, the DAG goes on",
        ("run_waiting",),
        _stuck_run,
        repair="runbook unstick",
        repaired=_is_unstuck,
        bounds=lambda _: {"run_waiting": {"above": WAITING_SECONDS}},
    ),
    Fault(
        "task_hung",
        0,
        f"SIGSTOP of a task of a monitor run; {HUNG_SECONDS} s are too long to the drill",
        "the process is killed, the run deleted",
        ("task_hung",),
        _task_hung,
        repair="runbook unstick",
        repaired=_is_unstuck,
        bounds=_hung_bounds,
    ),
    Fault(
        "drift",
        0,
        "a window of rows whose numbers are all near the upper ends of their ranges",
        "the rows lie long before the history: no window, and no training, ever holds them",
        ("data_drift",),
        _drift,
    ),
    Fault(
        "label_drought",
        0,
        "two windows of answers whose labels never come",
        "as with drift",
        ("label_delay",),
        _label_drought,
    ),
)
