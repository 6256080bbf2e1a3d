"""Conditions against hand counts and against a loop over all rows."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from ml.alerts.conditions import AnyCondition
from ml.alerts.evidence import Evidence
from ml.store.telemetry import EventRow, RollupRow

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC).timestamp()
CONDITION = TypeAdapter(AnyCondition)


def happened(seconds_ago: float, n: int = 1, **parts: object) -> EventRow:
    """An event."""
    content = {"use_case": "ferry", "source": "r0", "code": 401, "name": "failed", "severity": "error"}
    content |= {"message": "m", "request_id": "", "model_version": None, "key": ""}
    return EventRow(time=NOW - seconds_ago, n=n, **(content | parts))


def measured(seconds_ago: float, name: str, n: int = 1, total: float | None = None, **parts: object) -> RollupRow:
    """A rollup."""
    content = {"source": "r0", "use_case": "ferry", "label": "", "high": None, "histogram": None}
    return RollupRow(time=NOW - seconds_ago, name=name, n=n, total=n if total is None else total, **(content | parts))


def observe(condition: dict, rows: list, *, by: tuple[str, ...] = (), known: tuple = (), begin: float | None = 0.0):
    """Observations of a condition by group; ``begin`` is how long before now the first row was kept."""
    events = sorted((row for row in rows if isinstance(row, EventRow)), key=lambda row: row.time)
    rollups = sorted((row for row in rows if isinstance(row, RollupRow)), key=lambda row: row.time)
    evidence = Evidence(events, rollups, now=NOW, begin=None if begin is None else NOW - begin)
    return CONDITION.validate_python(condition).observe(evidence, by, known)


def answer(condition: dict, rows: list, **how: object) -> bool | None:
    """What it says without groups."""
    return observe(condition, rows, **how)[()].holds


EVENTS = {"where": {"names": ["failed"]}, "within": "5m"}


@pytest.mark.parametrize(
    ("condition", "rows", "holds"),
    [
        ({"kind": "match"} | EVENTS, [happened(299)], True),
        ({"kind": "match"} | EVENTS, [happened(300)], False),  # the window is open at its begin
        ({"kind": "match"} | EVENTS, [happened(0)], True),
        ({"kind": "match"} | EVENTS, [happened(10, name="other")], False),
        ({"kind": "match"} | EVENTS, [], False),
        ({"kind": "count", "above": 3} | EVENTS, [happened(10, n=3)], False),
        ({"kind": "count", "above": 3} | EVENTS, [happened(10, n=3), happened(20)], True),
        ({"kind": "rate", "above": 2} | EVENTS, [happened(10, n=10)], False),  # 2 a minute
        ({"kind": "rate", "above": 2} | EVENTS, [happened(10, n=11)], True),
    ],
)
def test_events_are_counted_in_their_window(condition, rows, holds):
    """An event that stands for many counts as many."""
    assert answer(condition, rows) is holds


def test_a_code_is_a_name_not_a_size():
    """401 is asked for: neither 301 nor 501 is near it, and nothing can be above it."""
    condition = {"kind": "match", "where": {"codes": [401]}}

    assert answer(condition, [happened(1, code=301), happened(1, code=501), happened(1, code=0)]) is False
    assert answer(condition, [happened(1, code=401)]) is True
    with pytest.raises(ValueError, match=r"where\.codes[\s\S]*must be of 100, 101.*got 402"):
        CONDITION.validate_python({"kind": "match", "where": {"codes": [402]}})


RATIO = {"kind": "ratio", "above": 0.1, "at_least": 20, "within": "5m", "to": {"metric": "requests"}}
RATIO |= {"of": {"metric": "requests", "labels": ["500", "503"]}}


@pytest.mark.parametrize(
    ("failed", "fine", "holds"), [(2, 18, False), (3, 17, True), (19, 0, None), (0, 0, None), (20, 0, True)]
)
def test_a_ratio_of_too_few_is_undecided(failed, fine, holds):
    """Two of twenty are not more than a tenth; nineteen are too few to tell."""
    rows = [measured(10, "requests", failed, label="500"), measured(20, "requests", fine, label="200")]

    assert answer(RATIO, rows) is holds


QUANTILE = {"kind": "quantile", "of": {"metric": "reply_seconds"}, "q": 0.9, "above": 0.1, "at_least": 10}


@pytest.mark.parametrize(
    ("buckets", "holds"),
    [
        ((90, 10, 0, 0), False),  # the 0.9 quantile of 100 is the 90th, which lies under 0.05
        ((89, 10, 1, 0), False),  # from 0.05 to 0.1: not above 0.1
        ((80, 9, 11, 0), True),  # from 0.1 to 1
        ((0, 0, 0, 10), True),
        ((5, 4, 0, 0), None),
    ],
)
def test_a_quantile_is_above_when_all_of_its_bucket_is(buckets, holds):
    """Buckets end at 0.05, 0.1, 1 and beyond; hand counts."""
    histogram = json.dumps([[0.05, 0.1, 1.0], list(buckets)])
    rows = [measured(10, "reply_seconds", sum(buckets), histogram=histogram)]

    assert answer(QUANTILE, rows) is holds


@given(st.lists(st.floats(0, 2), min_size=10, max_size=60), st.floats(0.05, 0.95))
def test_a_quantile_is_never_said_to_be_above_what_it_is(values, q):
    """Against the sorted values themselves: what the condition says lies at or below the truth."""
    bounds = (0.1, 0.25, 0.5, 1.0)
    counts = [0] * 5
    for value in values:
        counts[sum(value > bound for bound in bounds)] += 1
    rows = [measured(10, "reply_seconds", len(values), histogram=json.dumps([bounds, counts]))]
    needed = next(k for k in range(1, len(values) + 1) if k >= q * len(values))

    seen = observe(QUANTILE | {"q": q, "above": 0.25}, rows)[()]

    true = sorted(values)[needed - 1]
    assert seen.value <= true
    assert seen.holds is (true > 0.25)


LEVEL = {"kind": "level", "of": {"metric": "backlog"}, "within": "5m"}


@pytest.mark.parametrize(
    ("changes", "holds"),
    [
        ({"take": "last", "above": 6}, True),  # 7
        ({"take": "last", "above": 7}, False),
        ({"take": "max", "above": 8}, True),  # 9
        ({"take": "mean", "above": 5.6}, True),  # (9 + 1 + 7) / 3
        ({"take": "mean", "below": 5.6}, False),
        ({"take": "last", "below": 7.5}, True),
    ],
)
def test_a_level_is_the_last_the_mean_or_the_largest(changes, holds):
    """Of nine, one and seven, the last one newest; an older one is out of the window."""
    rows = [measured(age, "backlog", total=value) for age, value in ((400, 100), (60, 9), (40, 1), (20, 7))]

    assert answer(LEVEL | changes, rows) is holds


def test_a_level_that_was_not_measured_is_undecided():
    """Neither above nor below."""
    assert answer(LEVEL | {"above": 1}, []) is None
    assert answer(LEVEL | {"below": 1}, [measured(301, "backlog", total=0)]) is None


@pytest.mark.parametrize(
    ("rows", "begin", "holds"),
    [
        ([happened(3600)], 9e9, False),
        ([happened(2 * 86400)], 9e9, True),
        ([], 2 * 86400, True),  # never, since the first sign of anything
        ([], 3600, False),
        ([], None, None),  # nothing was ever told
    ],
)
def test_an_event_that_is_expected_is_missed(rows, begin, holds):
    """Within a day."""
    condition = {"kind": "absence", "where": {"names": ["failed"]}, "within": "1d"}

    assert answer(condition, rows, begin=begin) is holds


def test_silence_is_told_of_each_group_and_forgotten_with_its_last_sign():
    """One series is silent, one is not, and of one that is known from before nothing is left to see."""
    condition = {"kind": "no_data", "of": {"metric": "memory_mb"}, "within": "2m"}
    rows = [measured(10, "memory_mb", source="a"), measured(600, "memory_mb", source="b")]

    found = observe(condition, rows, by=("source",), known=(("gone",),))

    assert {group: seen.holds for group, seen in found.items()} == {("a",): False, ("b",): True, ("gone",): None}
    assert answer(condition, [measured(121, "memory_mb")]) is True


def test_groups_are_judged_one_by_one_and_known_ones_when_nothing_is_left():
    """Of a known group without events the count is zero, not unknown."""
    rows = [happened(10, use_case="a", n=5), happened(10, use_case="b"), happened(10, use_case=None)]
    condition = {"kind": "count", "above": 2} | EVENTS

    found = observe(condition, rows, by=("use_case",), known=(("c",),))

    assert {group: seen.holds for group, seen in found.items()} == {
        ("a",): True,
        ("b",): False,
        ("",): False,
        ("c",): False,
    }


def test_what_happened_while_nobody_looked_is_not_overlooked():
    """The last look was an hour ago: an event of half an hour ago matches, although its window is five minutes."""
    evidence = Evidence([happened(1800)], [], now=NOW, begin=None)
    condition = CONDITION.validate_python({"kind": "match"} | EVENTS)

    assert condition.observe(evidence, (), (), NOW - 3600)[()].holds is True
    assert condition.observe(evidence, (), (), NOW - 60)[()].holds is False


rows = st.lists(
    st.builds(
        happened,
        st.integers(-100, 900),
        st.integers(1, 4),
        use_case=st.sampled_from(["a", "b", None]),
        name=st.sampled_from(["failed", "other"]),
        code=st.sampled_from([0, 201, 401]),
        severity=st.sampled_from(["info", "error"]),
    ),
    max_size=40,
)
filters = st.fixed_dictionaries(
    {"names": st.sampled_from([["failed"], ["failed", "other"]])},
    optional={"codes": st.sampled_from([[201], [201, 401]]), "severities": st.just(["error"])},
)


@given(
    rows, filters, st.integers(1, 900), st.integers(0, 8), st.sampled_from([(), ("use_case",), ("use_case", "code")])
)
def test_counts_agree_with_a_loop_over_all_rows(events, where, seconds, above, by):
    """Index and running sums against brute force, whatever is asked; the future does not count."""
    condition = {"kind": "count", "where": where, "within": f"{seconds}s", "above": above}

    found = observe(condition, events, by=by)

    counts: dict[tuple[str, ...], int] = {} if by else {(): 0}
    for event in events:
        fits = all(getattr(event, part) in where.get(f"{part}s", [getattr(event, part)]) for part in ("name", "code"))
        fits = fits and event.severity in where.get("severities", [event.severity])
        if fits and NOW - seconds < event.time <= NOW:
            group = tuple(str(getattr(event, part) if getattr(event, part) is not None else "") for part in by)
            counts[group] = counts.get(group, 0) + event.n
    assert {group: seen.n for group, seen in found.items()} == counts
    assert {group: seen.holds for group, seen in found.items()} == {group: n > above for group, n in counts.items()}


def test_evidence_may_be_seen_from_any_moment():
    """Half a minute before, half of the events had not happened."""
    evidence = Evidence([happened(40), happened(20)], [], now=NOW, begin=None)
    condition = CONDITION.validate_python({"kind": "count", "above": 1} | EVENTS)

    assert condition.observe(evidence, (), ())[()].holds is True
    assert condition.observe(evidence.at(NOW - 30), (), ())[()].n == 1
    assert timedelta(minutes=5) == condition.horizon
