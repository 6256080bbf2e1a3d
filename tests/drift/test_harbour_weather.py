"""The threshold in the shipped use case file, on its real data."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from ml.drift.calibrate import calibrate_threshold, score_blocks
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference import build_reference
from ml.records.measure import Window

#: The file's number is rounded to two digits, and shifting where the weeks begin moves the quantile by about 0.01.
TOLERANCE = 0.02


def reference_before(moment: datetime, weather: pd.DataFrame, harbour):
    """Reference of all rows before a moment."""
    return build_reference(weather[weather["event_time"] < moment], harbour, fingerprint="f")


@pytest.fixture(scope="module")
def history(weather, harbour):
    """Reference of the whole history."""
    return reference_before(harbour.training.history.until, weather, harbour)


@pytest.fixture(scope="module")
def first_champion(weather, harbour):
    """Reference of what the first champion is trained on: the history without its newest week and the gap."""
    end = harbour.training.history.until - harbour.training.holdout - harbour.target.horizon
    return reference_before(end, weather, harbour)


def calibrated(reference, harbour, **changes):
    """Threshold at the file's budget."""
    monitoring = harbour.monitoring
    return calibrate_threshold(
        reference, statistic=monitoring.statistic, false_alarm_budget=monitoring.false_alarm_budget, **changes
    )


def test_the_committed_threshold_is_what_the_history_says(history, harbour):
    """January and February hold eight whole weeks, just enough to calibrate on."""
    assert len(history.blocks) == 8
    assert calibrated(history, harbour) == pytest.approx(harbour.monitoring.threshold, abs=TOLERANCE)


def test_the_first_champions_own_data_is_too_short_to_calibrate_on(first_champion, harbour):
    """Its seven weeks give no threshold; taken all the same they ask for a tenth more than the committed one."""
    assert len(first_champion.blocks) == 7
    assert calibrated(first_champion, harbour) is None
    assert calibrated(first_champion, harbour, minimum_blocks=7) == pytest.approx(1.07, abs=TOLERANCE)


def test_the_usual_threshold_would_have_alarmed_in_every_week_of_the_training_data(history, harbour):
    """PSI above 0.2 holds for all eight weeks against the other seven."""
    assert min(score_blocks(history, statistic="psi")) > 0.2


def test_the_verdicts_of_the_first_weeks_of_traffic(first_champion, weather, harbour):
    """Week by week against the first champion: hot and cold is drift, March as such is not."""
    verdicts = {}
    for week in range(12):
        end = harbour.training.history.until + timedelta(days=7 * (week + 1))
        window = Window(start=end - harbour.monitoring.window, end=end)
        rows = weather[(weather["event_time"] >= window.start) & (weather["event_time"] < window.end)]
        live = build_profile(rows, harbour, window=window, edges=first_champion.whole)
        check = check_drift(first_champion, live, use_case=harbour, window=window, model_version=1)
        verdicts[f"{end:%m-%d}"] = check.verdict

    assert [day for day, verdict in verdicts.items() if verdict == "no_drift"] == [
        *("03-15", "03-22", "03-29", "04-05", "04-12", "04-26")
    ]
    assert "undecidable" not in verdicts.values()


def test_the_summer_has_drifted_from_the_winter(first_champion, weather, harbour):
    """Temperature is among the furthest columns in July."""
    window = Window(start=datetime(2013, 7, 12, tzinfo=UTC), end=datetime(2013, 7, 19, tzinfo=UTC))
    rows = weather[(weather["event_time"] >= window.start) & (weather["event_time"] < window.end)]
    live = build_profile(rows, harbour, window=window, edges=first_champion.whole)
    check = check_drift(first_champion, live, use_case=harbour, window=window, model_version=1)

    assert check.verdict == "drift"
    assert max(check.columns, key=lambda column: column.value).name == "Temperature_C"
