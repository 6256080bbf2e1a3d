"""The check: it names what drifted, keeps quiet otherwise, and says so when it cannot tell."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.drift.calibrate import DriftRule
from ml.drift.columns import times_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference_builder import ReferenceBuilder
from ml.drift.statistics import find_statistic
from ml.records.decision import DriftCheck
from ml.records.measure import Window
from ml.records.profile import Profile, ReferenceProfile

START = datetime(2024, 1, 1, tzinfo=UTC)
KINDS = {"x": "number", "y": "number", "c": "category"}
RULE = DriftRule(false_alarm_budget=0.05)


def frame(n: int, seed: int = 1) -> pd.DataFrame:
    """Independent rows."""
    rng = np.random.default_rng(seed)
    return pd.DataFrame({"x": rng.normal(size=n), "y": rng.gamma(2, size=n), "c": rng.choice(list("abc"), n)})


def refer(rows: pd.DataFrame, kinds=KINDS, *, timed: bool = False) -> ReferenceProfile:
    """Reference in 200 runs of rows, or in days of hourly rows."""
    builder = ReferenceBuilder(
        kinds,
        build_profile(rows, kinds),
        block=timedelta(days=1) if timed else None,
        run=max(len(rows) // 200, 1),
    )
    builder.add(rows, times_of(pd.date_range(START, periods=len(rows), freq="h")) if timed else None)
    return builder.build()


def profile(rows: pd.DataFrame, reference: ReferenceProfile, window: Window | None = None, kinds=KINDS) -> Profile:
    """Live rows on the reference's bins."""
    return build_profile(rows, kinds, window=window, edges=reference.whole)


@pytest.fixture(scope="module")
def reference() -> ReferenceProfile:
    """Four thousand rows."""
    return refer(frame(4000))


def test_equal_sources_are_no_drift(reference):
    """Score below threshold, no column named."""
    check = check_drift(reference, profile(frame(1000, 2), reference), RULE)

    assert check.verdict == "no_drift"
    assert check.score <= check.threshold
    assert not any(column.drifted for column in check.columns)
    assert "not above the threshold" in check.reasons[0]


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda rows: rows.assign(x=rows["x"] + 0.5), "x"),
        (lambda rows: rows.assign(x=rows["x"] * 2), "x"),
        (lambda rows: rows.assign(y=np.where(rows.index % 5 == 0, np.nan, rows["y"])), "y"),
        (lambda rows: rows.assign(y=np.nan), "y"),
        (lambda rows: rows.assign(y=np.inf), "y"),
        (lambda rows: rows.assign(c=np.where(rows.index % 10 == 0, "new", rows["c"])), "c"),
        (lambda rows: rows.assign(c="a"), "c"),
    ],
)
def test_what_drifted_is_named(reference, change, name):
    """Shift, spread, missing values, infinite ones, new categories, a constant."""
    check = check_drift(reference, profile(change(frame(1000, 3)), reference), RULE)

    assert check.verdict == "drift"
    assert {column.name for column in check.columns if column.drifted} == {name}
    assert check.columns[0].name == name
    assert check.columns[0].value > check.columns[0].threshold
    assert f"Drifted: {name}." in check.reasons


def test_a_constant_reference_sees_any_other_value():
    """And nothing where nothing changed."""
    rows = frame(2000).assign(x=7.0)
    reference = refer(rows)

    assert check_drift(reference, profile(rows[:500], reference), RULE).verdict == "no_drift"
    changed = check_drift(reference, profile(rows[:500].assign(x=7.1), reference), RULE)
    assert {column.name for column in changed.columns if column.drifted} == {"x"}


@pytest.mark.parametrize("rows", [0, 1, 99])
def test_too_few_rows_are_undecidable(reference, rows):
    """Never "no drift"."""
    check = check_drift(reference, profile(frame(1000)[:rows], reference), RULE)

    assert (check.verdict, check.score) == ("undecidable", None)
    assert f"The window holds {rows} rows; 100 are needed." in check.reasons


def test_other_columns_and_types_are_undecidable(reference):
    """Lacking, additional, of another type, on other bins: each is named."""
    live = profile(frame(500), reference)
    lacking = live.model_copy(update={"columns": {n: c for n, c in live.columns.items() if n != "y"}})
    more = live.model_copy(update={"columns": live.columns | {"z": live.columns["x"]}})
    changed = live.model_copy(update={"columns": live.columns | {"x": live.columns["c"]}})
    other = build_profile(frame(500, 9), KINDS)

    told = [check_drift(reference, found, RULE) for found in (lacking, more, changed, other)]

    assert {check.verdict for check in told} == {"undecidable"}
    assert "The live window lacks 1 columns of the other side: y." in told[0].reasons
    assert "The reference lacks 1 columns of the other side: z." in told[1].reasons
    assert "x changed its type (number and category)." in told[2].reasons
    assert "x has other bins." in told[3].reasons


def test_a_column_that_nobody_ever_filled_is_undecidable():
    """No statistic of it is defined, which is not the same as no drift."""
    rows = frame(2000).assign(x=np.nan)
    kinds = {"x": "number", "y": "number"}
    reference = refer(rows, kinds)
    only = replace(RULE, statistics=("kolmogorov_smirnov",))

    check = check_drift(reference, profile(rows[:500], reference, kinds=kinds), only)

    assert check.verdict == "undecidable"
    assert "No statistic of x is defined." in check.reasons


def test_a_short_reference_is_undecidable_with_the_reason():
    """Ten blocks show nothing."""
    reference = refer(frame(240), timed=True)
    live = profile(frame(200, 2), reference, Window(start=START + timedelta(days=20), end=START + timedelta(days=27)))

    check = check_drift(reference, live, RULE)

    assert check.verdict == "undecidable"
    assert "10 blocks; 20 are needed" in check.reasons[0]


def test_a_window_that_overlaps_the_training_data_is_undecidable():
    """Its rows would be compared with themselves."""
    reference = refer(frame(24 * 60), timed=True)
    ends = START + timedelta(days=60)
    for start, verdict in ((ends - timedelta(days=1), "undecidable"), (ends, "no_drift")):
        live = profile(frame(168, 4), reference, Window(start=start, end=start + timedelta(days=7)))
        assert check_drift(reference, live, RULE).verdict == verdict


def test_effect_is_what_moved_times_the_columns_influence(reference):
    """A drift in a column that the model ignores has none."""
    weighed = reference.model_copy(update={"influence": {"x": 0.2, "y": 0.0, "c": 0.1}})
    live = profile(frame(1000, 3).assign(x=lambda r: r["x"] + 1, y=lambda r: r["y"] + 1), weighed)

    check = check_drift(weighed, live, RULE)

    moved = find_statistic("total_variation").between(weighed.whole.columns["x"], live.columns["x"])
    effects = {column.name: column.effect for column in check.columns}
    assert effects["x"] == pytest.approx(0.2 * moved)
    assert effects["y"] == 0.0
    assert check.effect == pytest.approx(0.2 * moved)


def test_two_of_three_alarms_make_a_drift_where_the_rule_says_so(reference):
    """A single one is told and waits; those against another model do not count."""
    rule = replace(RULE, alarms=2, of=3)
    shifted = profile(frame(1000, 3).assign(x=lambda r: r["x"] + 1), reference)

    once = check_drift(reference, shifted, rule, model_version=1)
    twice = check_drift(reference, shifted, rule, model_version=1, earlier=[once])
    other = check_drift(reference, shifted, rule, model_version=2, earlier=[once])

    assert (once.verdict, once.alarmed) == ("no_drift", 1)
    assert (twice.verdict, twice.alarmed) == ("drift", 2)
    assert (other.verdict, other.alarmed) == ("no_drift", 1)


def test_a_stored_calibration_is_used_where_it_fits(reference):
    """Made for other numbers of rows, it is not."""
    live = profile(frame(1000, 2), reference)
    made = check_drift(reference, live, RULE)
    from ml.drift.calibrate import SEED, calibrate

    stored = calibrate(reference, RULE, rows=1000, blocks=50, rng=np.random.default_rng(SEED))
    marked = reference.model_copy(update={"calibration": stored.model_copy(update={"threshold": 77.0})})

    assert check_drift(marked, live, RULE).threshold == 77.0
    assert check_drift(marked, profile(frame(700, 2), reference), RULE).threshold != 77.0
    assert check_drift(marked, live, replace(RULE, false_alarm_budget=0.01)).threshold != 77.0
    assert made.threshold == stored.threshold


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.one_of(st.floats(-100, 100), st.sampled_from([np.nan, np.inf, 0.0])), min_size=1, max_size=60),
    st.lists(st.one_of(st.floats(-100, 100), st.sampled_from([np.nan, np.inf, 0.0])), max_size=60),
)
def test_whatever_comes_the_check_is_one_of_three_words_and_loads_back(first, second):
    """No NaN is ever a number in it."""
    kinds = {"x": "number"}
    reference = refer(pd.DataFrame({"x": first}, dtype=float), kinds)
    live = profile(pd.DataFrame({"x": second}, dtype=float), reference, kinds=kinds)

    check = check_drift(reference, live, replace(RULE, minimum_rows=1))

    assert check.verdict in {"drift", "no_drift", "undecidable"}
    assert check.reasons
    assert (check.verdict == "undecidable") == (check.score is None or check.threshold is None)
    assert DriftCheck.model_validate_json(check.model_dump_json()) == check
