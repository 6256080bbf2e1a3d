"""Evidence: events and rollups of a time, indexed so that a thousand rules read it at any moment of that time.

Rows are sorted into series once, one per distinct combination of what filters and groups tell apart. A series keeps
running sums, so a window costs two binary searches however much it holds.
"""

from __future__ import annotations

import json
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate

from ml.store.telemetry import EventRow, RollupRow

#: Values of the parts that a rule groups by, in their order; ``""`` where a row has none.
Group = tuple[str, ...]

_EVENT_KEY = ("use_case", "source", "code", "name", "severity", "model_version", "key")
_METRIC_KEY = ("name", "use_case", "source", "label")


class Series:
    """Rows of one combination, oldest first, as seen from the evidence's moment."""

    def __init__(self, key: dict[str, str], clock: Clock) -> None:
        self.key, self._clock = key, clock
        self._times: list[float] = []
        self._n: list[int] = []
        self._totals: list[float] = []
        self._highs: list[float] = []
        self._histograms: list[str | None] = []
        self.events: list[EventRow] = []
        self._sums: tuple[list[int], list[float]] | None = None
        self._buckets: dict[float, list[int]] | None = None

    def add_event(self, row: EventRow) -> None:
        """Append an event."""
        self._times.append(row.time)
        self._n.append(row.n)
        self.events.append(row)

    def add_rollup(self, row: RollupRow) -> None:
        """Append a rollup."""
        self._times.append(row.time)
        self._n.append(row.n)
        self._totals.append(row.total)
        self._highs.append(row.total if row.high is None else row.high)
        self._histograms.append(row.histogram)

    def rows(self, begin: float) -> int:
        """Rows of the window."""
        first, last = self._window(begin)
        return last - first

    def count(self, begin: float) -> int:
        """What was counted in the window."""
        first, last = self._window(begin)
        return self._running()[0][last] - self._running()[0][first]

    def total(self, begin: float) -> float:
        """Sum of what was measured in the window."""
        first, last = self._window(begin)
        return self._running()[1][last] - self._running()[1][first]

    def high(self, begin: float) -> float:
        """Largest measurement of a window that has one."""
        first, last = self._window(begin)
        return max(self._highs[first:last])

    def last(self) -> float:
        """Moment of the newest row that is known, minus infinity before the first."""
        place = bisect_right(self._times, self._clock.now)
        return self._times[place - 1] if place else float("-inf")

    def last_value(self) -> float:
        """What the newest known rollup measured, per measurement."""
        place = bisect_right(self._times, self._clock.now) - 1
        return self._totals[place] / max(1, self._n[place])

    def histogram(self, begin: float) -> dict[float, int]:
        """How many fell under each bound in the window, and not under the one before."""
        first, last = self._window(begin)
        return {bound: sums[last] - sums[first] for bound, sums in self._running_buckets().items()}

    def newest(self, begin: float, limit: int) -> list[EventRow]:
        """Newest events of the window, newest last."""
        first, last = self._window(begin)
        return self.events[max(first, last - limit) : last]

    def _window(self, begin: float) -> tuple[int, int]:
        return bisect_right(self._times, begin), bisect_right(self._times, self._clock.now)

    def _running(self) -> tuple[list[int], list[float]]:
        if self._sums is None:
            self._sums = list(accumulate(self._n, initial=0)), list(accumulate(self._totals, initial=0.0))
        return self._sums

    def _running_buckets(self) -> dict[float, list[int]]:
        if self._buckets is None:
            counts: dict[float, list[int]] = {}
            for place, text in enumerate(self._histograms):
                bounds, buckets = json.loads(text) if text else ((), ())
                for bound, n in zip((*bounds, float("inf")), buckets, strict=False):
                    if bound not in counts:
                        counts[bound] = [0] * len(self._histograms)
                    counts[bound][place] += n
            self._buckets = {bound: list(accumulate(found, initial=0)) for bound, found in counts.items()}
        return self._buckets


class Clock:
    """The moment from which evidence is seen, seconds since the epoch."""

    def __init__(self, now: float) -> None:
        self.now = now


Found = list[tuple[Group, list[Series]]]


class Evidence:
    """Events and rollups, seen from a moment that may be moved.

    Parameters
    ----------
    events, rollups
        Oldest first.
    now, begin
        Seconds since the epoch: the moment, and that of the oldest row that is kept anywhere, None before the first.
    """

    def __init__(
        self, events: Iterable[EventRow], rollups: Iterable[RollupRow], *, now: float, begin: float | None
    ) -> None:
        self.begin, self._clock = begin, Clock(now)
        self._events = self._sort_events(events)
        self._metrics = self._sort_rollups(rollups)
        self._places = {"events": _index(self._events), "metrics": _index(self._metrics)}
        self._found: dict[tuple[str, tuple[str, ...], tuple[str, ...]], Found] = {}

    @property
    def now(self) -> float:
        """Moment that everything is seen from."""
        return self._clock.now

    def at(self, now: float) -> Evidence:
        """The same evidence, seen from another moment from now on."""
        self._clock.now = now
        return self

    def events(self, asks: tuple[str, ...], by: tuple[str, ...]) -> Found:
        """Series of events that fit, by group."""
        return self._find("events", self._events, asks, by)

    def metrics(self, asks: tuple[str, ...], by: tuple[str, ...]) -> Found:
        """Series of rollups that fit, by group."""
        return self._find("metrics", self._metrics, asks, by)

    def _find(self, kind: str, series: Sequence[Series], asks: tuple[str, ...], by: tuple[str, ...]) -> Found:
        place = (kind, asks, by)
        if place not in self._found:
            wanted: dict[str, set[str]] = defaultdict(set)
            for ask in asks:
                part, _, value = ask.partition("\0")
                wanted[part].add(value)
            grouped: dict[Group, list[Series]] = defaultdict(list)
            for one in self._choose(kind, series, wanted):
                if all(one.key[part] in values for part, values in wanted.items()):
                    grouped[tuple(one.key[part] for part in by)].append(one)
            self._found[place] = list(grouped.items())
        return self._found[place]

    def _choose(self, kind: str, series: Sequence[Series], wanted: Mapping[str, set[str]]) -> Sequence[Series]:
        """Series that fit the part which the fewest fit, in their order: most rules speak of few of many."""
        places = self._places[kind]
        found = [[places.get((part, value), ()) for value in values] for part, values in wanted.items()]
        fewest = min(found, key=lambda some: sum(map(len, some)), default=None)
        return series if fewest is None else [series[place] for place in sorted(p for some in fewest for p in some)]

    def _sort_events(self, rows: Iterable[EventRow]) -> list[Series]:
        sorted_rows: dict[tuple[object, ...], Series] = {}
        for row in rows:
            key = (row.use_case, row.source, row.code, row.name, row.severity, row.model_version, row.key)
            series = sorted_rows.get(key)
            if series is None:
                series = sorted_rows[key] = Series(_texts(_EVENT_KEY, key), self._clock)
            series.add_event(row)
        return list(sorted_rows.values())

    def _sort_rollups(self, rows: Iterable[RollupRow]) -> list[Series]:
        sorted_rows: dict[tuple[object, ...], Series] = {}
        for row in rows:
            key = (row.name, row.use_case, row.source, row.label)
            series = sorted_rows.get(key)
            if series is None:
                series = sorted_rows[key] = Series(_texts(_METRIC_KEY, key), self._clock)
            series.add_rollup(row)
        return list(sorted_rows.values())


def _index(series: Sequence[Series]) -> dict[tuple[str, str], list[int]]:
    """Places of the series by each of their parts and its value."""
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for place, one in enumerate(series):
        for part in one.key.items():
            places[part].append(place)
    return places


def _texts(names: tuple[str, ...], values: tuple[object, ...]) -> dict[str, str]:
    return {name: "" if value is None else str(value) for name, value in zip(names, values, strict=True)}
