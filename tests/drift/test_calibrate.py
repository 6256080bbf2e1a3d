"""Calibration: honest about what it cannot tell, repeatable, and one budget for everything."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.drift.calibrate import (
    MINIMUM_BLOCKS,
    MINIMUM_WINDOWS,
    SEED,
    DriftRule,
    calibrate,
    calibrated_limits,
    extrapolate,
    live_blocks,
    rule_of,
)
from ml.drift.columns import times_of
from ml.drift.profile import build_profile
from ml.drift.reference_builder import ReferenceBuilder
from ml.errors import DataError, InputError
from ml.records.profile import ReferenceProfile

RULE = DriftRule()


def series(n: int, correlation: float, rng: np.random.Generator) -> np.ndarray:
    """A stationary AR(1) series."""
    found = np.zeros(n)
    for i, shock in enumerate(rng.normal(size=n) * np.sqrt(1 - correlation**2)):
        found[i] = correlation * found[i - 1] + shock
    return found


def reference(hours: int, correlation: float = 0.0, columns: int = 3, *, timed: bool = True) -> ReferenceProfile:
    """Hourly columns in blocks of a day, or in runs of 24 rows."""
    rng = np.random.default_rng(5)
    frame = pd.DataFrame({f"x{i}": series(hours, correlation, rng) for i in range(columns)})
    kinds = dict.fromkeys(frame.columns, "number")
    builder = ReferenceBuilder(kinds, build_profile(frame, kinds), block=timedelta(days=1) if timed else None, run=24)
    builder.add(frame, times_of(pd.date_range("2024-01-01", periods=hours, freq="h")) if timed else None)
    return builder.build()


def found(of: ReferenceProfile, rule: DriftRule = RULE, *, rows: int = 168, blocks: int = 7):
    """Calibration with the seed that checks use."""
    return calibrate(of, rule, rows=rows, blocks=blocks, rng=np.random.default_rng(SEED))


def test_the_same_reference_gives_the_same_threshold():
    """A rerun of a check gives the same verdict."""
    assert found(reference(2000)) == found(reference(2000))


def test_a_smaller_budget_gives_a_higher_threshold():
    """One rare alarm costs power."""
    thresholds = [
        found(reference(3000), replace(RULE, false_alarm_budget=b)).threshold for b in (0.2, 0.05, 0.01, 0.001)
    ]

    assert thresholds == sorted(set(thresholds))


def test_more_columns_give_a_higher_threshold():
    """The budget is for the whole check, so each column gets less of it."""
    few, many = (found(reference(3000, columns=n)).threshold for n in (1, 20))

    assert many > few + 0.5


def test_asking_for_two_alarms_of_three_gives_a_lower_threshold():
    """Persistence is part of the calibration, so single checks may be more sensitive."""
    once, twice = (found(reference(3000), replace(RULE, alarms=a, of=o)).threshold for a, o in ((1, 1), (2, 3)))

    assert twice < once


def test_fewer_live_rows_widen_what_is_usual():
    """A thin window is noisier: the same distance means less."""
    thin, full = (found(reference(3000), rows=n) for n in (30, 168))
    usual = [u for c in (thin, full) for n, s, u, _ in calibrated_limits(c) if (n, s) == ("x0", "psi")]

    assert usual[0] > 2 * usual[1]


def test_memory_is_found_where_it_is():
    """Independent hours have none; hours at 0.98 remember days, as their sum of correlations says."""
    assert found(reference(6000)).memory == 1.0
    expected = 0.5 * 98 / 24  # the integrated time of AR(1), (1 + r) / (1 - r) hours, in days: 4.1
    assert expected < found(reference(6000, 0.98)).memory < 12


def test_too_few_blocks_are_refused_with_the_number():
    """Nothing can be said of what a source does by itself."""
    answer = found(reference(24 * (MINIMUM_BLOCKS - 1)))

    assert answer.threshold is None
    assert f"{MINIMUM_BLOCKS - 1} blocks; {MINIMUM_BLOCKS} are needed" in answer.refusal


def test_memory_without_enough_windows_is_refused_with_the_reason():
    """Resampling cannot make up for weeks that were never seen."""
    answer = found(reference(24 * 7 * 5 + 24 * 10, 0.95), blocks=14, rows=336)

    assert answer.threshold is None
    assert answer.windows < MINIMUM_WINDOWS
    assert f"{MINIMUM_WINDOWS} windows are needed" in answer.refusal


def test_without_memory_a_short_reference_is_enough():
    """Files whose rows do not hang together may be compared with files of any length."""
    answer = found(reference(24 * 120, timed=False), rows=24 * 240, blocks=240)

    assert answer.refusal == ""
    assert answer.threshold is not None


def test_limits_are_told_in_the_statistics_own_unit():
    """The usual value is below the one that alarms, and both are within the range."""
    for name, statistic, usual, limit in calibrated_limits(found(reference(3000))):
        assert name in {"x0", "x1", "x2"}
        assert 0 <= usual < limit
        assert statistic != "kolmogorov_smirnov" or limit < 1


def test_live_blocks_follow_the_references_own_gaps():
    """A window of a week in a source that sleeps on Sundays has six."""
    whole = reference(24 * 28)
    sundays = tuple(p for p in whole.positions if p % 7 != 6)
    gaps = whole.model_copy(update={"positions": sundays})

    assert live_blocks(whole, timedelta(days=7)) == 7
    assert live_blocks(gaps, timedelta(days=7)) == 6
    with pytest.raises(DataError, match="no event times"):
        live_blocks(reference(500, timed=False), timedelta(days=1))


def test_the_rule_of_a_use_case_is_what_its_file_says(use_case):
    """And an unknown statistic is refused."""
    rule = rule_of(use_case)

    assert rule.false_alarm_budget == use_case.monitoring.false_alarm_budget
    assert rule.minimum_rows == 10
    with pytest.raises(InputError, match="unknown statistic"):
        _ = DriftRule(statistics=("chi2",)).found


def test_a_budget_may_be_for_many_checks(use_case):
    """Any alarm within a year of weekly checks: each has a fifty-second of the budget."""
    weekly = use_case.monitoring.model_copy(update={"false_alarm_budget": 0.05, "false_alarm_checks": 52})

    assert rule_of(use_case.model_copy(update={"monitoring": weekly})).false_alarm_budget == pytest.approx(0.05 / 52)


def test_the_bound_is_students_down_to_one_percent_and_the_tail_of_a_largest_value_below():
    """Textbook prediction interval, by SciPy; below it, Gumbel's tail gives the same excess for each factor."""
    scores, windows = np.array([1.0, 2.0, 3.0, 4.0, 5.0]), 8.0
    spread = scores.std(ddof=1)

    for budget in (0.2, 0.05, 0.01):
        student = stats.t.ppf(1 - budget, df=7)
        assert extrapolate(scores, windows, budget) == pytest.approx(3 + student * spread * np.sqrt(1 + 1 / 8))
    gumbel = stats.gumbel_r(scale=spread * np.sqrt(6) / np.pi)
    assert gumbel.std() == pytest.approx(spread)
    excess = gumbel.isf(1e-7) - gumbel.isf(1e-5)
    assert extrapolate(scores, windows, 1e-7) - extrapolate(scores, windows, 1e-5) == pytest.approx(excess, rel=1e-4)


def test_a_smaller_budget_never_lowers_the_threshold():
    """From every other check to one in a million."""
    found = [extrapolate(np.array([0.5, 1.0, 2.5]), 6.0, budget) for budget in np.logspace(-0.31, -6, 50)]

    assert np.all(np.diff(found) > 0)
