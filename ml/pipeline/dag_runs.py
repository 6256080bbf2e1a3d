"""What the runs of one DAG come to: success, duration, lateness, retries, since when it is red; pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from datetime import datetime

from ml.pipeline.targets import DagTargets
from ml.records.measure import Window
from ml.records.pipeline import DagHealth, DagRun, Spread


def judge_dag(
    dag_id: str,
    runs: Sequence[DagRun],
    window: Window,
    *,
    lived: Window,
    targets: DagTargets,
    cpu_seconds: float | None,
) -> DagHealth:
    """Health of one DAG over a window.

    Parameters
    ----------
    runs
        Of this DAG, in any order; older ones only say since when it is red.
    lived
        The part of the window in which runs could be late.
    """
    ended = [run for run in runs if run.finished and run.ended and window.start <= run.ended < window.end]
    red = find_red(runs)
    found = DagHealth(
        dag_id=dag_id,
        finished=len(ended),
        succeeded=sum(run.state == "success" for run in ended),
        duration=spread_of(durations(ended)),
        lateness=spread_of(latenesses(runs, lived)),
        retries=sum(run.retries for run in ended),
        cpu_seconds=cpu_seconds,
        red_since=red.ended if red else None,
        red_run=red.run_id if red else "",
    )
    return found.model_copy(update={"missed": tuple(_missed(found, targets))})


def durations(runs: Iterable[DagRun]) -> list[float]:
    """Seconds from begin to end of finished runs."""
    return [(run.ended - run.started).total_seconds() for run in runs if run.finished and run.started and run.ended]


def latenesses(runs: Iterable[DagRun], window: Window) -> list[float]:
    """Seconds that the runs that were due in a window began late; one that has not begun is as late as it is by now."""
    due = [run for run in runs if window.start <= run.due < window.end and (run.started or run.state == "queued")]
    return [max(0.0, ((run.started or window.end) - run.due).total_seconds()) for run in due]


def find_red(runs: Iterable[DagRun]) -> DagRun | None:
    """The failed run since which none has succeeded; None when the newest finished run succeeded, or none has finished.

    Examples
    --------
    >>> def run(hour, state):
    ...     ended = datetime(2026, 1, 5, hour)
    ...     return DagRun(dag_id="a", run_id=str(hour), state=state, due=ended, started=ended, ended=ended)
    >>> find_red([run(1, "success"), run(2, "failed"), run(3, "failed")]).run_id
    '2'
    """
    red: DagRun | None = None
    for run in sorted((run for run in runs if run.finished), key=_ended):
        if run.state == "success":
            red = None
        elif red is None:
            red = run
    return red


def spread_of(values: Sequence[float]) -> Spread:
    """Median and 95th percentile by nearest rank: each is a value that occurred.

    Examples
    --------
    >>> spread_of([30.0, 10.0, 20.0]).median, spread_of([30.0, 10.0, 20.0]).p95
    (20.0, 30.0)
    """
    if not values:
        return Spread(n=0)
    ranked = sorted(values)
    return Spread(n=len(ranked), median=_nearest(ranked, 0.5), p95=_nearest(ranked, 0.95))


def _nearest(ranked: Sequence[float], share: float) -> float:
    return ranked[max(0, math.ceil(share * len(ranked)) - 1)]


def _ended(run: DagRun) -> datetime:
    return run.ended or run.due


def _missed(found: DagHealth, targets: DagTargets) -> Iterable[str]:
    if targets.success_rate is not None and found.finished and found.succeeded / found.finished < targets.success_rate:
        yield f"{found.succeeded} of {found.finished} runs succeeded, {targets.success_rate:g} is the target"
    for name, spread, target in (
        ("duration", found.duration, targets.duration_p95),
        ("lateness", found.lateness, targets.lateness_p95),
    ):
        if target is not None and spread.p95 is not None and spread.p95 > target:
            yield f"95th percentile of {name} {spread.p95:.4g} s, {target:g} s is the target"
