"""Tasks that run longer than a task of their DAG may: each as a share of its bound, 1 and more is overdue."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from ml.pipeline.targets import PipelineTargets

#: Whose task it is that asks; that it stands still is seen by its heartbeat.
ASKING = "perennial.alerting"


def find_overdue(tasks: Iterable[Mapping[str, Any]], targets: PipelineTargets, now: datetime) -> dict[str, float]:
    """Highest share of its bound that a running task has used, by DAG, [0, ∞).

    Parameters
    ----------
    tasks
        Task instances that run, as Airflow's API tells them.

    Examples
    --------
    >>> from datetime import UTC
    >>> task = {"dag_id": "ferry.monitor", "start_date": "2026-01-05T12:00:00Z"}
    >>> find_overdue([task], PipelineTargets(task_longest="30m"), datetime(2026, 1, 5, 12, 45, tzinfo=UTC))
    {'ferry.monitor': 1.5}
    """
    found: dict[str, float] = {}
    for task in tasks:
        dag, began = task["dag_id"], task["start_date"]
        if began is None or dag == ASKING:
            continue
        used = max(0.0, (now - datetime.fromisoformat(began)).total_seconds())
        found[dag] = max(found.get(dag, 0.0), used / targets.task_longest_of(dag))
    return found
