"""Conditions of alert rules: what is asked of events and rollups, and the answer, as pure functions of a moment.

Each condition answers per group ``True``, ``False`` or ``None``; ``None`` is undecided, such as a ratio of too few
requests, and is neither. A moment's window is ``(now - within, now]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, field_validator, model_validator
from typing_extensions import override

from ml.alerts.evidence import Evidence, Found, Group, Series
from ml.alerts.filters import EventFilter, MetricFilter, Strict
from ml.use_case.duration import Duration, format_duration

#: Names by which events and metrics may be told apart.
EVENT_PARTS = ("use_case", "source", "code", "name", "severity", "key", "model_version")
METRIC_PARTS = ("use_case", "source", "label")

#: How long an expected event of a group, and a group's metric, are remembered after their last sign.
MEMORY = timedelta(days=30)
_SILENCE = timedelta(days=1)


@dataclass(frozen=True)
class Observation:
    """What a condition says about one group at one moment.

    Attributes
    ----------
    holds
        None is undecided.
    value, bound
        What was measured and what it was held against; None where it is undefined.
    n
        Events, requests or measurements that it rests on.
    detail
        The same in words.
    """

    holds: bool | None
    value: float | None
    bound: float | None
    n: int
    detail: str


Observations = Mapping[Group, Observation]


class Condition(Strict):
    """What a rule asks of a window of time."""

    parts: ClassVar[tuple[str, ...]] = EVENT_PARTS
    within: Duration = timedelta(minutes=5)

    @field_validator("within")
    @classmethod
    def _within_is_positive(cls, within: timedelta) -> timedelta:
        if within <= timedelta(0):
            raise ValueError("must be longer than nothing")
        return within

    @property
    def horizon(self) -> timedelta:
        """How far back it looks."""
        return self.within

    def events(self) -> tuple[EventFilter, ...]:
        """Events that it reads."""
        return ()

    def metrics(self) -> tuple[str, ...]:
        """Metrics that it reads."""
        return ()

    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        """What it says of each group that there is, and of those that are known from before.

        Parameters
        ----------
        looked
            Moment of the look before, seconds since the epoch: what happened since then is not overlooked.
        """
        raise NotImplementedError


class _OfEvents(Condition):
    where: EventFilter

    @override
    def events(self) -> tuple[EventFilter, ...]:
        return (self.where,)

    def _counts(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> dict[Group, int]:
        begin, found = evidence.now - self.within.total_seconds(), dict.fromkeys(_groups(by, known), 0)
        if looked is not None:
            begin = min(begin, looked)
        for group, series in evidence.events(self.where.asks(), by):
            n = sum(one.count(begin) for one in series)
            if n or group in found:
                found[group] = n
        return found


class Match(_OfEvents):
    """Holds when any such event happened, also while nobody looked."""

    kind: Literal["match"]

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        return {
            group: Observation(n > 0, n, 1, n, f"{n} such events within {format_duration(self.within)}")
            for group, n in self._counts(evidence, by, known, looked).items()
        }


class Count(_OfEvents):
    """Holds when more than ``above`` such events happened."""

    kind: Literal["count"]
    above: int = Field(ge=0)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        return {
            group: Observation(
                n > self.above, n, self.above, n, f"{n} such events within {format_duration(self.within)}"
            )
            for group, n in self._counts(evidence, by, known).items()
        }


class Rate(_OfEvents):
    """Holds when more than ``above`` such events happened per minute."""

    kind: Literal["rate"]
    above: float = Field(ge=0)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        minutes = self.within.total_seconds() / 60
        return {
            group: Observation(
                n / minutes > self.above,
                n / minutes,
                self.above,
                n,
                f"{n / minutes:.3g} such events a minute within {format_duration(self.within)}",
            )
            for group, n in self._counts(evidence, by, known).items()
        }


class Absence(_OfEvents):
    """Holds when such an event was expected and did not happen.

    Without groups it is expected from the first sign of anything on; of a group since its last one, for ``MEMORY``.
    """

    kind: Literal["absence"]

    @property
    @override
    def horizon(self) -> timedelta:
        return max(self.within, MEMORY)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        last = _last_signs(evidence.events(self.where.asks(), by), by, known)
        return {group: _judge_silence(evidence, moment, by, self.within) for group, moment in last.items()}


class Ratio(Condition):
    """Holds when the share of one metric in another is above a bound; undecided with fewer than ``at_least``."""

    parts: ClassVar[tuple[str, ...]] = METRIC_PARTS
    kind: Literal["ratio"]
    of: MetricFilter
    to: MetricFilter
    above: float = Field(ge=0)
    at_least: int = Field(default=20, ge=1)

    @override
    def metrics(self) -> tuple[str, ...]:
        return (self.of.metric, self.to.metric)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        begin = evidence.now - self.within.total_seconds()
        parts = {g: sum(s.count(begin) for s in found) for g, found in evidence.metrics(self.of.asks(), by)}
        wholes = dict.fromkeys(_groups(by, known), 0)
        wholes |= {g: sum(s.count(begin) for s in found) for g, found in evidence.metrics(self.to.asks(), by)}
        return {group: self._judge(parts.get(group, 0), whole) for group, whole in wholes.items()}

    def _judge(self, part: int, whole: int) -> Observation:
        told = f"{part} of {whole} within {format_duration(self.within)}"
        if whole < self.at_least:
            return Observation(None, None, self.above, whole, f"{told}, {self.at_least} are needed to tell")
        return Observation(part / whole > self.above, part / whole, self.above, whole, f"{part / whole:.2%}: {told}")


class Quantile(Condition):
    """Holds when a quantile of a histogram is above a bound, with certainty: all of its bucket is.

    Undecided with fewer than ``at_least``. The bound should be a bound of the histogram: within a bucket the truth
    is not known, and such a quantile is not above.
    """

    parts: ClassVar[tuple[str, ...]] = METRIC_PARTS
    kind: Literal["quantile"]
    of: MetricFilter
    q: float = Field(gt=0, lt=1)
    above: float = Field(ge=0)
    at_least: int = Field(default=20, ge=1)

    @override
    def metrics(self) -> tuple[str, ...]:
        return (self.of.metric,)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        begin = evidence.now - self.within.total_seconds()
        nothing: dict[Group, list[Series]] = {group: [] for group in _groups(by, known)}
        found = nothing | dict(evidence.metrics(self.of.asks(), by))
        return {group: self._judge(_add(series, begin)) for group, series in found.items()}

    def _judge(self, buckets: Mapping[float, int]) -> Observation:
        n, reached, low = sum(buckets.values()), 0, 0.0
        if n < self.at_least:
            told = f"{n} within {format_duration(self.within)}, {self.at_least} are needed to tell"
            return Observation(None, None, self.above, n, told)
        for bound, count in sorted(buckets.items()):
            reached += count
            if reached >= self.q * n:
                high = f"{bound:g}" if bound != float("inf") else "more"
                told = f"the {self.q:g} quantile of {n} lies from {low:g} to {high}"
                return Observation(low >= self.above, low, self.above, n, told)
            low = bound
        raise AssertionError("the buckets hold all of n")


class Level(Condition):
    """Holds when a gauge is above or below a bound; undecided when it was not measured."""

    parts: ClassVar[tuple[str, ...]] = METRIC_PARTS
    kind: Literal["level"]
    of: MetricFilter
    take: Literal["last", "mean", "max"] = "last"
    above: float | None = None
    below: float | None = None

    @model_validator(mode="after")
    def _has_one_bound(self) -> Self:
        if (self.above is None) == (self.below is None):
            raise ValueError("needs above or below, one of them")
        return self

    @override
    def metrics(self) -> tuple[str, ...]:
        return (self.of.metric,)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        begin = evidence.now - self.within.total_seconds()
        nothing: dict[Group, list[Series]] = {group: [] for group in _groups(by, known)}
        found = nothing | dict(evidence.metrics(self.of.asks(), by))
        return {group: self._judge(series, begin) for group, series in found.items()}

    def _judge(self, series: list[Series], begin: float) -> Observation:
        n = sum(one.rows(begin) for one in series)
        bound = self.above if self.above is not None else self.below
        if n == 0 or bound is None:
            return Observation(None, None, bound, 0, f"not measured within {format_duration(self.within)}")
        value = self._value(series, begin)
        holds = value > bound if self.above is not None else value < bound
        return Observation(holds, value, bound, n, f"{self.take} of {n} measurements: {value:.6g}")

    def _value(self, series: list[Series], begin: float) -> float:
        if self.take == "max":
            return max(one.high(begin) for one in series if one.rows(begin))
        if self.take == "mean":
            return sum(one.total(begin) for one in series) / sum(one.count(begin) for one in series)
        return max(series, key=lambda one: one.last()).last_value()


class NoData(Condition):
    """Holds when a metric has been silent: without groups from the first sign of anything on, of a group for a day."""

    parts: ClassVar[tuple[str, ...]] = METRIC_PARTS
    kind: Literal["no_data"]
    of: MetricFilter

    @property
    @override
    def horizon(self) -> timedelta:
        return max(self.within, _SILENCE)

    @override
    def metrics(self) -> tuple[str, ...]:
        return (self.of.metric,)

    @override
    def observe(
        self, evidence: Evidence, by: tuple[str, ...], known: Iterable[Group], looked: float | None = None
    ) -> Observations:
        last = _last_signs(evidence.metrics(self.of.asks(), by), by, known)
        return {group: _judge_silence(evidence, moment, by, self.within) for group, moment in last.items()}


AnyCondition = Annotated[
    Match | Count | Rate | Absence | Ratio | Quantile | Level | NoData, Field(discriminator="kind")
]


def _groups(by: tuple[str, ...], known: Iterable[Group]) -> list[Group]:
    """Groups that must be judged although there may be nothing of them: the known ones; of no grouping the one."""
    return list(known) if by else [()]


def _last_signs(found: Found, by: tuple[str, ...], known: Iterable[Group]) -> dict[Group, float | None]:
    last: dict[Group, float | None] = dict.fromkeys(_groups(by, known))
    for group, series in found:
        newest = max(one.last() for one in series)
        if newest != float("-inf"):
            last[group] = newest
    return last


def _judge_silence(evidence: Evidence, last: float | None, by: tuple[str, ...], within: timedelta) -> Observation:
    """How long it is since the last sign; a group of which nothing is left to see is forgotten."""
    since, bound = last if last is not None or by else evidence.begin, within.total_seconds()
    if since is None:
        return Observation(None, None, bound, 0, "nothing was ever told" if not by else "forgotten")
    age = evidence.now - since
    told = f"the last sign was {_long(age)} ago" if last is not None else f"no sign in {_long(age)}"
    return Observation(age > bound, age, bound, int(last is not None), told)


def _add(series: Iterable[Series], begin: float) -> dict[float, int]:
    added: dict[float, int] = {}
    for one in series:
        for bound, n in one.histogram(begin).items():
            added[bound] = added.get(bound, 0) + n
    return added


def _long(seconds: float) -> str:
    return format_duration(timedelta(seconds=round(max(0.0, seconds))))
