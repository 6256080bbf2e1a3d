"""False alarms and power, by seeded simulation: on stationary data the check keeps its budget."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.signal import lfilter

from ml.drift.calibrate import DriftRule, calibrate
from ml.drift.columns import times_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference_builder import ReferenceBuilder

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUDGET, COLUMNS, REPETITIONS = 0.05, 7, 200
KINDS = {f"x{i}": "number" for i in range(COLUMNS)}


def series(kind: str, hours: int, rng: np.random.Generator) -> np.ndarray:
    """Stationary hourly columns."""
    noise = rng.normal(size=(hours + 2000, COLUMNS))
    if kind == "daily cycle":
        return (noise + 2 * np.sin(2 * np.pi * np.arange(hours + 2000) / 24)[:, None])[2000:]
    correlation = float(kind)
    return lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], noise, axis=0)[2000:]


def windows(kind: str, reference: int, live: int, seed: int, shift: float = 0.0) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Reference and a later live window of one stationary source; the first two columns may be shifted."""
    values = series(kind, reference + live + 500, np.random.default_rng(seed))
    frame = pd.DataFrame(values, columns=list(KINDS))
    later = frame[reference + 500 :].reset_index(drop=True)
    later[["x0", "x1"]] += shift
    return frame[:reference], later


def alarms(
    kind: str, reference: int, live: int, *, shift: float = 0.0, timed: bool = True, n: int = REPETITIONS
) -> int:
    """Drift verdicts of so many checks."""
    found = 0
    for seed in range(n):
        first, second = windows(kind, reference, live, seed, shift)
        builder = ReferenceBuilder(
            KINDS, build_profile(first, KINDS), block=timedelta(days=1) if timed else None, run=reference // 200
        )
        builder.add(first, times_of(pd.date_range("2024-01-01", periods=reference, freq="h")) if timed else None)
        built = builder.build()
        profile = build_profile(second, KINDS, edges=built.whole)
        rule = DriftRule(false_alarm_budget=BUDGET)
        found += check_drift(built, profile, rule, blocks=live // 24 if timed else None).verdict == "drift"
    return found


def most(n: int) -> int:
    """Alarms that a true rate of the budget would exceed in one of 200 runs of so many checks."""
    return int(stats.binom.ppf(0.995, n, BUDGET))


@pytest.mark.parametrize("kind", ["0", "0.5", "0.9", "0.98", "daily cycle"])
def test_a_week_of_stationary_hours_alarms_within_the_budget(kind):
    """Whatever the correlation from hour to hour."""
    assert alarms(kind, 6000, 168) <= most(REPETITIONS)


@pytest.mark.parametrize(("reference", "live", "n"), [(1000, 1000, 200), (5000, 1000, 200), (50_000, 100_000, 60)])
def test_independent_rows_of_any_number_alarm_within_the_budget(reference, live, n):
    """Also where the live file is longer than the reference."""
    assert alarms("0", reference, live, timed=False, n=n) <= most(n)


def test_the_usual_rules_alarm_most_of_the_time_on_the_same_data():
    """KS at p < 0.05 in any column, beside the check above: it is the rule that fails, not the data."""
    fired = 0
    for seed in range(40):
        first, second = windows("0.9", 6000, 168, seed)
        fired += any(stats.ks_2samp(first[name], second[name]).pvalue < 0.05 for name in KINDS)

    assert fired >= 38


def test_half_a_standard_deviation_in_two_of_seven_columns_is_found():
    """On independent hours nearly always; where a week holds few independent hours a whole one is found mostly."""
    assert alarms("0", 6000, 168, shift=0.5, n=60) >= 57
    assert alarms("0.9", 6000, 168, shift=1.0, n=60) >= 40


@pytest.mark.parametrize("kind", ["0", "0.9"])
def test_a_budget_for_a_year_of_weekly_checks_is_kept(kind):
    """Five percent of years with any alarm, 60 years, each with a reference of its own."""
    rule, years, reference = DriftRule(false_alarm_budget=BUDGET / 52), 60, 6000
    alarmed = 0
    for seed in range(years):
        first, later = windows(kind, reference, 52 * 168, seed)
        builder = ReferenceBuilder(KINDS, build_profile(first, KINDS), block=timedelta(days=1))
        builder.add(first, times_of(pd.date_range("2024-01-01", periods=reference, freq="h")))
        built = builder.build()
        stored = calibrate(built, rule, rows=168, blocks=7, rng=np.random.default_rng(seed))
        built = built.model_copy(update={"calibration": stored})
        weeks = [build_profile(later[i : i + 168], KINDS, edges=built.whole) for i in range(0, len(later), 168)]
        alarmed += any(check_drift(built, week, rule, blocks=7).verdict == "drift" for week in weeks)

    assert alarmed <= most(years)
