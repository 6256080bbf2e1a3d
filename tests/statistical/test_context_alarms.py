"""False alarms and power in context, by seeded simulation: what comes with the season or the hour is no drift."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from scipy.signal import lfilter

from ml.drift.calibrate import DriftRule
from ml.drift.columns import times_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference_builder import ReferenceBuilder
from ml.records.measure import Window

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BUDGET, COLUMNS, REPETITIONS = 0.05, 4, 100
KINDS = {f"x{i}": "number" for i in range(COLUMNS)}
DAY = timedelta(days=1)
#: Alarms that a true rate of the budget would exceed in one of 200 runs.
MOST = int(stats.binom.ppf(0.995, REPETITIONS, BUDGET))


def hourly(days: int, seed: int, cycle: str, correlation: float) -> pd.DataFrame:
    """Hourly columns whose mean follows the month or the hour with two standard deviations, AR(1) around it."""
    noise = np.random.default_rng(seed).normal(size=(24 * days + 500, COLUMNS))
    noise = lfilter([np.sqrt(1 - correlation**2)], [1, -correlation], noise, axis=0)[500:]
    times = pd.date_range("2020-01-01", periods=24 * days, freq="h", tz="UTC")
    turn = times.month.to_numpy() / 12 if cycle == "month" else times.hour.to_numpy() / 24
    frame = pd.DataFrame(noise + 2 * np.sin(2 * np.pi * turn)[:, None], columns=list(KINDS))
    return frame.assign(event_time=times)


def verdict(frame: pd.DataFrame, first: pd.Timestamp, live: pd.DataFrame, *context: str) -> str:
    """Of a week of live rows against everything before ``first``."""
    before = frame[frame["event_time"] < first]
    builder = ReferenceBuilder(KINDS, build_profile(before, KINDS), block=DAY, context=context)
    builder.add(before, times_of(before["event_time"]))
    reference = builder.build(window=7 * DAY)
    start = live["event_time"].iloc[0].floor("D").to_pydatetime()
    window = Window(start=start, end=start + 7 * DAY)
    profile = build_profile(live, KINDS, window=window, edges=reference.whole, context=context)
    rule = DriftRule(false_alarm_budget=BUDGET, minimum_rows=40, context=context)
    return check_drift(reference, profile, rule, window=window).verdict


def weeks_of_any_month(*context: str, shift: float = 0.0, n: int = REPETITIONS) -> Counter[str]:
    """Three years of reference, then a week in a month drawn by lot."""
    found: Counter[str] = Counter()
    for seed in range(n):
        frame = hourly(1096 + 365, seed, "month", 0.9)
        start = pd.Timestamp("2023-01-01", tz="UTC") + pd.Timedelta(days=int(np.random.default_rng(seed).integers(358)))
        live = frame[(frame["event_time"] >= start) & (frame["event_time"] < start + 7 * DAY)].copy()
        live["x0"] += shift
        found[verdict(frame, pd.Timestamp("2023-01-01", tz="UTC"), live, *context)] += 1
    return found


def mornings(*context: str, shift: float = 0.0, n: int = REPETITIONS) -> Counter[str]:
    """Two hundred and fifty days of reference, then a week of which only the mornings came."""
    found: Counter[str] = Counter()
    for seed in range(n):
        frame = hourly(270, seed, "hour", 0.5)
        first = frame["event_time"].iloc[24 * 250]
        live = frame[(frame["event_time"] >= first + 3 * DAY) & (frame["event_time"] < first + 10 * DAY)]
        live = live[live["event_time"].dt.hour.between(5, 10)].copy()
        live["x0"] += shift
        found[verdict(frame, first, live, *context)] += 1
    return found


def test_a_season_of_three_years_alarms_within_the_budget():
    """In any month, weeks that straddle two of them included; and it is never undecidable."""
    found = weeks_of_any_month("month")

    assert found["drift"] <= MOST
    assert found["undecidable"] == 0


def test_mornings_alarm_within_the_budget_in_context_and_always_without():
    """The hours that did not come are no drift of those that did."""
    found = mornings("hour_of_day")

    assert found["drift"] <= MOST
    assert found["undecidable"] == 0
    assert mornings(n=20)["drift"] == 20


def test_a_true_shift_is_found_in_its_context():
    """One and a half standard deviations in one column of four; against all months together it drowns in the season."""
    assert weeks_of_any_month("month", shift=1.5, n=40)["drift"] >= 25
    assert weeks_of_any_month(shift=1.5, n=20)["drift"] <= 10
    assert mornings("hour_of_day", shift=1.5, n=20)["drift"] >= 18
