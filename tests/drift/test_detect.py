"""The check: drift is found, and what cannot be judged is said, never taken for "no drift"."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.drift.calibrate import calibrate_threshold
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile
from ml.drift.reference import build_reference
from ml.drift.statistics import find_statistic
from ml.errors import DataError
from ml.records.decision import DriftCheck
from ml.records.measure import Window
from ml.records.profile import Profile, ReferenceProfile
from ml.use_case import UseCase

START = datetime(2013, 1, 1, tzinfo=UTC)
LIVE = Window(start=START + timedelta(days=20), end=START + timedelta(days=21))


def hourly(days: int, *, rng: np.random.Generator, mean: float = 0.0) -> pd.DataFrame:
    """One row an hour from START on."""
    n = days * 24
    return pd.DataFrame(
        {
            "event_time": pd.date_range(START, periods=n, freq="h"),
            "wind": rng.normal(mean, size=n),
            "holiday": rng.integers(0, 2, size=n).astype(float),
            "pier": rng.choice(["A", "B"], size=n).astype(object),
        }
    )


@pytest.fixture
def reference(use_case: UseCase) -> ReferenceProfile:
    """Twenty days."""
    return build_reference(hourly(20, rng=np.random.default_rng(1)), use_case, fingerprint="f")


def check(reference: ReferenceProfile, rows: pd.DataFrame, use_case: UseCase) -> DriftCheck:
    """Check of rows, through the profile."""
    live = build_profile(rows, use_case, window=LIVE, edges=reference.whole)
    return check_profile(reference, live, use_case)


def check_profile(reference: ReferenceProfile, live: Profile, use_case: UseCase) -> DriftCheck:
    """Check of a profile."""
    return check_drift(reference, live, use_case=use_case, window=LIVE, model_version=3)


def test_the_score_is_the_mean_of_the_columns_distances(reference, use_case, rng):
    """And the check says everything that it was made from."""
    rows = hourly(1, rng=rng)
    found = check(reference, rows, use_case)
    live = build_profile(rows, use_case, window=LIVE, edges=reference.whole)
    by_hand = [
        find_statistic("psi").distance(reference.whole.columns[name], live.columns[name])
        for name in ("wind", "holiday", "pier")
    ]

    assert [column.value for column in found.columns] == by_hand
    assert found.score == pytest.approx(np.mean(by_hand), rel=1e-12)
    assert (found.n_reference, found.n_live, found.model_version, found.window) == (480, 24, 3, LIVE)
    assert found.calibrated_threshold == calibrate_threshold(reference, statistic="psi", false_alarm_budget=0.05)
    assert found.threshold == 0.5


def test_the_same_law_is_no_drift_and_another_one_is(reference, use_case, rng):
    """A day like the others, and one three sigma off; the reasons name score, threshold and the furthest column."""
    calm, storm = (check(reference, hourly(1, rng=rng, mean=mean), use_case) for mean in (0.0, 3.0))

    assert (calm.verdict, storm.verdict) == ("no_drift", "drift")
    assert f"over 3 columns is {storm.score:.4g}, above the threshold 0.5." in storm.reasons[0]
    assert f"{calm.score:.4g}, not above the threshold 0.5." in calm.reasons[0]
    assert storm.reasons[1].startswith("Furthest from the reference: wind ")


def test_a_score_at_the_threshold_is_no_drift(reference, use_case, rng):
    """Drift is a score above it."""
    rows = hourly(1, rng=rng)
    score = check(reference, rows, use_case).score
    at = use_case.model_copy(update={"monitoring": use_case.monitoring.model_copy(update={"threshold": score})})

    assert check(reference, rows, at).verdict == "no_drift"


@pytest.mark.parametrize(("rows", "hours"), [(0, 0), (1, 1), (9, 9)])
def test_too_few_rows_are_undecidable(reference, use_case, rng, rows, hours):
    """None, one and nine of the ten that are needed."""
    found = check(reference, hourly(1, rng=rng).iloc[:hours], use_case)

    assert (found.verdict, found.score, found.n_live) == ("undecidable", None, rows)
    assert found.reasons == (f"The window holds {rows} rows; 10 are needed.",)
    assert len(found.columns) == (3 if rows else 0)


def test_a_constant_live_column_is_drift_where_it_was_not_constant(reference, use_case, rng):
    """A sensor that sticks at the mean of all it ever saw."""
    assert check(reference, hourly(1, rng=rng).assign(wind=0.0), use_case).verdict == "drift"


@pytest.mark.parametrize(("value", "verdict"), [(5.0, "no_drift"), (5.1, "drift"), (4.9, "drift")])
def test_a_constant_reference_column_sees_every_change(use_case, rng, value, verdict):
    """Up, down, or not at all."""
    rows = hourly(20, rng=rng).assign(holiday=0.0, pier="A", wind=5.0)
    reference = build_reference(rows, use_case, fingerprint="f")

    assert check(reference, rows.iloc[:24].assign(wind=value), use_case).verdict == verdict


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_column_that_lost_all_its_values_is_drift_not_silence(reference, use_case, rng, value):
    """Missing and infinite values fill the bin for missing; the score is finite."""
    found = check(reference, hourly(1, rng=rng).assign(wind=value), use_case)

    assert found.verdict == "drift"
    assert np.isfinite(found.score)
    assert (found.columns[0].missing_share_reference, found.columns[0].missing_share_live) == (0.0, 1.0)


def test_a_column_that_never_had_a_value_is_no_drift_while_it_has_none(use_case, rng):
    """And is drift as soon as it has."""
    rows = hourly(20, rng=rng).assign(holiday=0.0, pier="A", wind=np.nan)
    reference = build_reference(rows, use_case, fingerprint="f")

    assert check(reference, rows.iloc[:24], use_case).verdict == "no_drift"
    assert check(reference, rows.iloc[:24].assign(wind=1.0), use_case).verdict == "drift"


def test_a_reference_with_other_columns_is_undecidable(reference, use_case, rng):
    """The use case file gained a feature and lost one since the champion was trained."""
    columns = reference.whole.columns
    other = reference.whole.model_copy(
        update={"columns": {"wind": columns["wind"], "pier": columns["pier"], "tide": columns["wind"]}}
    )
    found = check(reference.model_copy(update={"whole": other, "blocks": ()}), hourly(1, rng=rng), use_case)

    assert (found.verdict, found.score) == ("undecidable", None)
    assert found.reasons == (
        "The reference lacks 1 of the use case's features: holiday.",
        "The profiles hold 1 columns that the use case does not know: tide.",
    )
    assert [column.name for column in found.columns] == ["wind", "pier"]


def test_a_live_profile_on_other_bins_is_undecidable(reference, use_case, rng):
    """Counted on the bins of an earlier champion."""
    live = build_profile(hourly(1, rng=rng), use_case, window=LIVE)
    found = check_profile(reference, live, use_case)

    assert (found.verdict, found.score) == ("undecidable", None)
    assert "wind was counted on other bins than the reference." in found.reasons


@pytest.mark.parametrize("n", [0, 480])
def test_a_reference_without_rows_or_columns_is_undecidable(reference, use_case, rng, n):
    """Every reason is given."""
    live = build_profile(hourly(1, rng=rng), use_case, window=LIVE, edges=reference.whole)
    empty = reference.model_copy(update={"whole": Profile(window=None, n=n, columns={}), "blocks": ()})

    found = check_profile(empty, live, use_case)

    assert found.verdict == "undecidable"
    assert f"The reference holds {n} rows and 0 columns." in found.reasons


def test_a_column_without_counts_is_undecidable(reference, use_case, rng):
    """Ten rows and none of them counted in one column: its distance is undefined, so the score is."""
    live = build_profile(hourly(1, rng=rng), use_case, window=LIVE, edges=reference.whole)
    wind = live.columns["wind"].model_copy(update={"counts": (0,) * 10})
    found = check_profile(reference, live.model_copy(update={"columns": {**live.columns, "wind": wind}}), use_case)

    assert (found.verdict, found.score) == ("undecidable", None)
    assert found.reasons == ("The distance of wind is undefined.",)


def test_a_few_blocks_leave_the_calibrated_threshold_open_not_the_verdict(use_case, rng):
    """Three days calibrate nothing; the file's threshold judges all the same."""
    found = check(build_reference(hourly(3, rng=rng), use_case, fingerprint="f"), hourly(1, rng=rng, mean=3), use_case)

    assert found.calibrated_threshold is None
    assert found.verdict == "drift"


def test_rows_without_a_feature_are_an_error(reference, use_case, rng):
    """A frame that lost a column comes from a fault, not from the world."""
    with pytest.raises(DataError, match="feature column is absent; where: wind"):
        check(reference, hourly(1, rng=rng).drop(columns="wind"), use_case)


def test_a_check_is_the_same_every_time_and_survives_json(reference, use_case, rng):
    """A rerun of a window gives the same verdict to the last digit."""
    rows = hourly(1, rng=rng)
    first = check(reference, rows, use_case)

    assert check(reference, rows.sample(frac=1, random_state=3), use_case) == first
    assert DriftCheck.model_validate_json(first.model_dump_json()) == first
