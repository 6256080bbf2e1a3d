"""Goals against what was measured: met, missed, not yet due, or undecidable with the reason."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Literal, NamedTuple

from ml.governance.overrides import OVERRIDES
from ml.governance.reports.sources import Sources
from ml.records.measure import Window
from ml.records.overrides import OverrideReview
from ml.store.pipeline import PipelineHistory
from ml.use_case.goals import Goal

GoalState = Literal["met", "missed", "not yet", "undecidable"]

#: A measurement of the pipeline that is older says nothing of now.
_FRESH = timedelta(days=10)


class _Measured(NamedTuple):
    value: float | None
    n: int
    detail: str = ""


class GoalVerdict(NamedTuple):
    """Whether a goal is met, by which number; without one ``detail`` says why."""

    goal: Goal
    state: GoalState
    value: float | None
    n: int
    detail: str


def judge_goals(sources: Sources) -> tuple[GoalVerdict, ...]:
    """Every goal of the use case file, as of the report's moment."""
    return tuple(_judge(goal, sources) for goal in sources.use_case.goals)


def _judge(goal: Goal, sources: Sources) -> GoalVerdict:
    group, _, name = goal.metric.rpartition(".")
    found = _pipeline(name, sources) if group else _OWN[name](sources, goal.over)
    return GoalVerdict(goal, _state(goal, found, sources), found.value, found.n, found.detail)


def _state(goal: Goal, found: _Measured, sources: Sources) -> GoalState:
    if found.value is None:
        return "undecidable"
    if goal.holds(found.value):
        return "met"
    return "not yet" if goal.by is not None and sources.as_of.date() <= goal.by else "missed"


def _live_loss(sources: Sources, over: timedelta) -> _Measured:
    """Over all answers whose truth is known, by the checks that ended in the time."""
    begin = sources.as_of - over
    known = [one.live_loss for one in sources.decisions if begin < one.as_of]
    pairs = [(loss.value, loss.n) for loss in known if loss.value is not None and loss.n]
    n = sum(rows for _, rows in pairs)
    if not n:
        return _Measured(None, 0, "no check has seen a known truth")
    return _Measured(sum(value * rows for value, rows in pairs) / n, n)


def _answered_share(sources: Sources, over: timedelta) -> _Measured:
    window = Window(start=sources.as_of - over, end=sources.as_of)
    answered, refused = len(sources.lake.answered(window)), sum(sources.lake.refusals(window).values())
    n = answered + refused
    return _Measured(answered / n, n) if n else _Measured(None, 0, "nothing was asked")


def _labelled_share(sources: Sources, over: timedelta) -> _Measured:
    window = Window(start=sources.as_of - over, end=sources.as_of)
    n = len(sources.lake.answered(window))
    if not n:
        return _Measured(None, 0, "nothing was answered")
    return _Measured(len(sources.lake.labelled(window, as_of=sources.as_of)) / n, n)


def _override_rate(sources: Sources, over: timedelta) -> _Measured:
    later = sources.as_of + timedelta(microseconds=1)
    stored = sources.control.history(sources.use_case.name, OVERRIDES, limit=1, before=later)
    if not stored or stored[0].as_of <= sources.as_of - over:
        return _Measured(None, 0, "nobody has decided on an answer")
    found = OverrideReview.model_validate_json(stored[0].payload)
    return _Measured(found.rate.value, found.answered, found.rate.detail)


def _pipeline(name: str, sources: Sources) -> _Measured:
    """The newest measurement of the installation, by our own clock."""
    history = PipelineHistory(sources.settings.control_url)
    measured = history.measured(since=sources.now - _FRESH, until=sources.now)
    if not measured:
        return _Measured(None, 0, "the pipeline was not measured; see the DAG perennial.pipeline_health")
    found = measured[-1].measure(name)
    return _Measured(found.value, found.n, found.detail)


_OWN: dict[str, Callable[[Sources, timedelta], _Measured]] = {
    "live_loss": _live_loss,
    "answered_share": _answered_share,
    "labelled_share": _labelled_share,
    "override_rate": _override_rate,
}
