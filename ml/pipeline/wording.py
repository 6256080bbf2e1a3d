"""Numbers of the pipeline as people read them; what is undefined is a dash."""

from __future__ import annotations

from ml.records.measure import Verdict
from ml.records.pipeline import DagHealth, PipelineMeasure

UNDEFINED = "-"

_VERDICTS = {Verdict.PASS: "met", Verdict.FAIL: "missed", Verdict.UNDECIDABLE: "cannot be told", None: "no target"}


def say_seconds(seconds: float | None) -> str:
    """A duration with its unit.

    Examples
    --------
    >>> say_seconds(0.25), say_seconds(75), say_seconds(7_200), say_seconds(259_200), say_seconds(None)
    ('0.25 s', '75 s', '2 h', '3 d', '-')
    """
    if seconds is None:
        return UNDEFINED
    for size, unit in ((2 * 86_400, "d"), (2 * 3_600, "h"), (2 * 60, "min")):
        if seconds >= size:
            return f"{seconds / {'d': 86_400, 'h': 3_600, 'min': 60}[unit]:.3g} {unit}"
    return f"{seconds:.3g} s"


def say_value(value: float | None, unit: str) -> str:
    """A measure's value with its unit.

    Examples
    --------
    >>> say_value(0.9874, "share"), say_value(3.0, "per week"), say_value(0.0, ""), say_value(None, "s")
    ('98.7 %', '3 per week', '0', '-')
    """
    if value is None:
        return UNDEFINED
    if unit == "s":
        return say_seconds(value)
    if unit == "share":
        return f"{100 * value:.3g} %"
    return f"{value:.6g} {unit}".strip() if value >= 1_000 else f"{value:.3g} {unit}".strip()


def say_verdict(measure: PipelineMeasure) -> str:
    """Whether a target is met."""
    return _VERDICTS[measure.verdict]


def say_measure(one: PipelineMeasure) -> tuple[str, ...]:
    """Title, value, target, verdict, the value before with its trend, n, detail."""
    before = UNDEFINED if one.before is None else f"{say_value(one.before, one.unit)} ({one.trend})"
    target = UNDEFINED if one.target is None else say_value(one.target, one.unit)
    return one.title, say_value(one.value, one.unit), target, say_verdict(one), before, str(one.n), one.detail


def say_dag(dag: DagHealth) -> tuple[str, ...]:
    """Name, successes, durations, latenesses, retries, processor time, since when it is red."""
    spreads = [say_seconds(value) for s in (dag.duration, dag.lateness) for value in (s.median, s.p95)]
    cost = UNDEFINED if dag.cpu_seconds is None else f"{dag.cpu_seconds:.4g}"
    red = f"{dag.red_since:%Y-%m-%d %H:%M}" if dag.red_since else ""
    return dag.dag_id, f"{dag.succeeded} of {dag.finished}", *spreads, str(dag.retries), cost, red
