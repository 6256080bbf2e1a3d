"""The shipped use case on its real data: winter's reference, and the weeks that follow."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ml.drift.calibrate import rule_of
from ml.drift.columns import kinds_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_pieces, merge_all
from ml.drift.reference import build_reference
from ml.records.measure import Window

WEEK = timedelta(days=7)


@pytest.fixture(scope="module")
def winter(weather, harbour):
    """Reference of what the first champion is trained on."""
    end = harbour.training.history.until - harbour.training.holdout
    return build_reference(weather[weather["event_time"] < end], harbour, fingerprint="f")


def check_week(start: datetime, winter, weather, harbour):
    """Check of one week, from profiles of its days."""
    window = Window(start=start, end=start + WEEK)
    pieces = build_pieces(weather, kinds_of(harbour), window=window, block=harbour.monitoring.block, edges=winter.whole)
    return check_drift(winter, merge_all(pieces), rule_of(harbour), window=window)


def test_seven_weeks_of_winter_are_enough_to_tell(winter):
    """More than six windows; its days remember each other."""
    assert winter.calibration.refusal == ""
    assert 7 < winter.calibration.windows < 8
    assert winter.calibration.memory > 1


def test_march_is_like_winter_and_summer_is_not(winter, weather, harbour):
    """At most one of March's weeks is drift; from June to August all are, and temperature is among the reasons."""
    march = [check_week(datetime(2013, 3, 1, tzinfo=UTC) + i * WEEK, winter, weather, harbour) for i in range(4)]
    summer = [check_week(datetime(2013, 6, 7, tzinfo=UTC) + i * WEEK, winter, weather, harbour) for i in range(12)]

    assert sum(check.verdict == "drift" for check in march) <= 1
    assert {check.verdict for check in summer} == {"drift"}
    for check in summer:
        assert "Temperature_C" in {column.name for column in check.columns if column.drifted}
