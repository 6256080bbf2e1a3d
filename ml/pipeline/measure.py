"""Pipeline health: facts and targets in, numbers against targets with their trend out; pure."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import NamedTuple

from ml.pipeline.dag_runs import judge_dag, latenesses, spread_of
from ml.pipeline.deliveries import deployed, failures, lead_times, recoveries
from ml.pipeline.targets import PipelineTargets
from ml.records.measure import Verdict, Window
from ml.records.pipeline import DagHealth, Direction, PipelineFacts, PipelineHealth, PipelineMeasure

_DAY = 86_400.0


class _Found(NamedTuple):
    """A number before it meets its target; without a value ``detail`` says why."""

    value: float | None
    n: int
    detail: str = ""


class _Meaning(NamedTuple):
    title: str
    unit: str
    better: Direction
    compute: Callable[[PipelineFacts, tuple[DagHealth, ...]], _Found]


def measure_pipeline(
    facts: PipelineFacts, targets: PipelineTargets, *, now: datetime, before: PipelineHealth | None = None
) -> PipelineHealth:
    """Every measure over the window of the facts.

    Parameters
    ----------
    before
        What was measured a week earlier; None where nothing was.

    Returns
    -------
    PipelineHealth
        A measure that nothing can be said of has no value, and its verdict is undecidable.
    """
    dags = judge_dags(facts, targets)
    earlier = {one.name: one.value for one in before.measures} if before else {}
    measures = []
    for name, meaning in MEASURES.items():
        found, target = meaning.compute(facts, dags), getattr(targets.targets, name)
        measures.append(
            PipelineMeasure(
                name=name,
                title=meaning.title,
                unit=meaning.unit,
                better=meaning.better,
                value=found.value,
                n=found.n,
                target=target,
                verdict=_judge(found.value, target, meaning.better),
                before=earlier.get(name),
                detail=found.detail,
            )
        )
    new = sorted(facts.signatures or (), key=lambda one: (-one.count, one.template))
    return PipelineHealth(time=now, window=facts.window, measures=tuple(measures), dags=dags, signatures=tuple(new))


def judge_dags(facts: PipelineFacts, targets: PipelineTargets) -> tuple[DagHealth, ...]:
    """Health of every DAG that has runs."""
    costs = {cost.dag_id: cost.seconds for cost in facts.costs or ()}
    return tuple(
        judge_dag(
            dag_id,
            [run for run in facts.runs if run.dag_id == dag_id],
            facts.window,
            lived=facts.lived,
            targets=targets.of_dag(dag_id),
            cpu_seconds=costs.get(dag_id),
        )
        for dag_id in sorted({run.dag_id for run in facts.runs})
    )


def _judge(value: float | None, target: float | None, better: Direction) -> Verdict | None:
    if target is None:
        return None
    if value is None:
        return Verdict.UNDECIDABLE
    return Verdict.PASS if (value >= target if better == "higher" else value <= target) else Verdict.FAIL


def _success_rate(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    n = sum(dag.finished for dag in dags)
    return _Found(sum(dag.succeeded for dag in dags) / n, n) if n else _Found(None, 0, "no run has finished")


def _lateness(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    spread = spread_of(latenesses(facts.runs, facts.lived))
    return _Found(spread.p95, spread.n, "" if spread.n else "no run was due")


def _retries(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    n = sum(dag.finished for dag in dags)
    return _Found(sum(dag.retries for dag in dags) / n, n) if n else _Found(None, 0, "no run has finished")


def _broken(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    known = [dag for dag in dags if dag.finished or dag.red_since]
    if not known:
        return _Found(None, 0, "no run has finished")
    red = {dag.dag_id: (facts.window.end - dag.red_since).total_seconds() for dag in known if dag.red_since}
    longest = max(red, key=lambda name: red[name], default="")
    return _Found(red[longest], len(known), f"{longest} is red") if longest else _Found(0.0, len(known))


def _recovery(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    ended, still = recoveries(facts)
    waits = "; ".join(f"{one.use_case} drifts since {one.time:%Y-%m-%d %H:%M}" for one in still)
    spread = spread_of(ended)
    return _Found(spread.median, spread.n, waits or ("" if ended else "no drift has ended"))


def _lead_time(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    spread = spread_of(lead_times(facts))
    return _Found(spread.median, spread.n, "" if spread.n else "no retraining was released")


def _deployments(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    n = sum(not one.rolled_back for one in deployed(facts))
    return _Found(n / (_seconds(facts.window) / (7 * _DAY)), n)


def _change_fail_rate(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    n = len(deployed(facts))
    return _Found(len(failures(facts)) / n, n) if n else _Found(None, 0, "nothing was released")


def _restore(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    spread = spread_of([one.seconds for one in failures(facts)])
    return _Found(spread.median, spread.n, "" if spread.n else "no release has failed")


def _precision(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    n = facts.useful + facts.noise
    return _Found(facts.useful / n, n) if n else _Found(None, 0, "nobody has marked an alert")


def _label_delay(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    slowest = max(facts.label_delays, key=lambda one: one.median, default=None)
    if slowest is None:
        return _Found(None, 0, "no label has come")
    return _Found(slowest.median, slowest.n, slowest.use_case)


def _cost(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    if facts.costs is None:
        return _Found(None, 0, "no task has told its processor time")
    days = _seconds(facts.lived) / _DAY
    return _Found(sum(cost.seconds for cost in facts.costs) / days, sum(cost.tasks for cost in facts.costs))


def _new_errors(facts: PipelineFacts, dags: tuple[DagHealth, ...]) -> _Found:
    if facts.signatures is None:
        return _Found(None, 0, "the logs were not looked at")
    return _Found(float(len(facts.signatures)), sum(one.count for one in facts.signatures))


def _seconds(window: Window) -> float:
    return (window.end - window.start).total_seconds()


#: In the order in which people read them; the names are keys of the file of targets.
MEASURES: dict[str, _Meaning] = {
    "success_rate": _Meaning("runs that succeeded", "share", "higher", _success_rate),
    "lateness_p95": _Meaning("runs began late, 95th percentile", "s", "lower", _lateness),
    "retries_per_run": _Meaning("second tries of tasks per run", "", "lower", _retries),
    "broken_longest": _Meaning("longest that a DAG is red by now", "s", "lower", _broken),
    "recovery_median": _Meaning("from drift to recovery, median", "s", "lower", _recovery),
    "lead_time_median": _Meaning("from decision to served, median", "s", "lower", _lead_time),
    "deployments_per_week": _Meaning("models deployed", "per week", "", _deployments),
    "change_fail_rate": _Meaning("deployments taken back", "share", "lower", _change_fail_rate),
    "restore_median": _Meaning("until a good model served again, median", "s", "lower", _restore),
    "alert_precision": _Meaning("alerts that were useful, of the marked", "share", "higher", _precision),
    "label_delay_median": _Meaning("labels known after their event, median of the slowest", "s", "lower", _label_delay),
    "cpu_seconds_per_day": _Meaning("processor time of all tasks", "CPU-s per day", "lower", _cost),
    "new_errors": _Meaning("error signatures never seen before", "", "lower", _new_errors),
}
