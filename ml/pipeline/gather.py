"""What our own stores know of the pipeline: checks, retrainings, releases, marks, processor time, labels."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import numpy as np

from ml.alerts.scoreboard import score_rules
from ml.pipeline.dag_runs import spread_of
from ml.records.decision import MonitorDecision, RetrainOutcome
from ml.records.measure import Window
from ml.records.pipeline import Deployment, DriftSeen, LabelDelays, Retraining, TaskCost
from ml.records.release import ReleaseOutcome
from ml.store.alerts import AlertStore
from ml.store.control import ControlStore, Stored
from ml.store.lake import Lake
from ml.store.telemetry import Need, Telemetry

#: Gauge of a task's processor time; its source is the DAG's file, its label the task.
TASK_COST = "task_cpu_seconds"

#: Records of a kind and use case that are looked at: years of weekly checks.
_RECORDS = 2_000
_TRANSITIONS = 100_000


def read_checks(control: ControlStore, use_case: str, *, until: datetime) -> tuple[DriftSeen, ...]:
    """Checks that could be decided, whenever they were."""
    found = []
    for stored, decision in _decisions(control, use_case, until):
        if decision.check.verdict != "undecidable":
            drifted = decision.check.verdict == "drift"
            found.append(DriftSeen(use_case=use_case, key=stored.key, time=stored.created_at, drifted=drifted))
    return tuple(found)


def read_retrainings(control: ControlStore, use_case: str, *, until: datetime) -> tuple[Retraining, ...]:
    """Retrainings that ended, each with the moment at which it was decided or asked for."""
    decided = {stored.key: stored.created_at for stored, _ in _decisions(control, use_case, until)}
    claimed = {stored.key: stored.created_at for stored in _stored(control, use_case, "request", until)}
    found = []
    for stored in _stored(control, use_case, "retrain", until):
        outcome = RetrainOutcome.model_validate_json(stored.payload)
        key = outcome.request.key
        asked = decided.get(key, claimed.get(key, stored.created_at))
        found.append(Retraining(use_case=use_case, key=key, asked=asked, version=outcome.challenger_version))
    return tuple(found)


def read_deployments(control: ControlStore, use_case: str, *, until: datetime) -> tuple[Deployment, ...]:
    """Releases that changed what is served, or were rolled back."""
    found = []
    for stored in _stored(control, use_case, "release", until):
        outcome = ReleaseOutcome.model_validate_json(stored.payload)
        if outcome.outcome != "unchanged":
            found.append(
                Deployment(
                    use_case=use_case,
                    time=stored.created_at,
                    version=outcome.wanted_version,
                    rolled_back=outcome.outcome == "rolled_back",
                    seconds=outcome.seconds,
                )
            )
    return tuple(found)


def read_marks(alerts: AlertStore, window: Window) -> tuple[int, int]:
    """Episodes that fired in a window and were marked: useful ones, and noise."""
    steps = alerts.history(since=window.start, limit=_TRANSITIONS)
    scores = score_rules([step for step in steps if step.time < window.end], alerts.marks())
    return sum(score.useful for score in scores), sum(score.noise for score in scores)


def read_costs(telemetry: Telemetry, window: Window) -> tuple[TaskCost, ...] | None:
    """Processor time by DAG; None where none was told."""
    need = Need(window.start, names=frozenset({TASK_COST}))
    found: dict[str, tuple[int, float]] = {}
    for row in telemetry.read_rollups([need], until=window.end):
        dag_id = f"{row.use_case or 'perennial'}.{row.source}"
        tasks, seconds = found.get(dag_id, (0, 0.0))
        found[dag_id] = tasks + row.n, seconds + row.total
    costs = tuple(TaskCost(dag_id=name, tasks=found[name][0], seconds=found[name][1]) for name in sorted(found))
    return costs or None


def read_label_delays(lakes: Iterable[tuple[str, Lake]], window: Window) -> tuple[LabelDelays, ...]:
    """Delays of the labels that came in a window, by use cases that had any."""
    found = []
    for use_case, lake in lakes:
        spread = spread_of([float(delay) for delay in np.sort(lake.label_delays(window))])
        if spread.median is not None and spread.p95 is not None:
            found.append(LabelDelays(use_case=use_case, n=spread.n, median=spread.median, p95=spread.p95))
    return tuple(found)


def _decisions(control: ControlStore, use_case: str, until: datetime) -> Iterator[tuple[Stored, MonitorDecision]]:
    for stored in _stored(control, use_case, "monitor", until):
        yield stored, MonitorDecision.model_validate_json(stored.payload)


def _stored(control: ControlStore, use_case: str, kind: str, until: datetime) -> Iterator[Stored]:
    """Records of a kind that were written before a moment of our own time, whatever virtual time they speak of."""
    found = control.history(use_case, kind, limit=_RECORDS)
    return (stored for stored in found if stored.created_at < until)
