"""Reliability curves: scikit-learn's points, with intervals that cover."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from ml.evaluation.reliability import reliability_curve, share_in_time
from ml.governance.overrides import share_of


def hours(n: int) -> pd.DatetimeIndex:
    """From the first of March on."""
    return pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC")


def test_points_are_those_of_scikit_learn():
    """Equal numbers of rows in ten bins: the same means and shares as ``calibration_curve``."""
    rng = np.random.default_rng(1)
    said = rng.random(1000)
    happened = rng.random(1000) < said

    found = reliability_curve(said, happened, hours(1000), bins=10)

    shares, means = calibration_curve(happened, said, n_bins=10, strategy="quantile")
    assert [one.said for one in found] == pytest.approx(means)
    assert [one.happened.value for one in found] == pytest.approx(shares)
    assert [one.happened.n for one in found] == [100] * 10


def test_intervals_hold_the_truth_of_an_honest_forecast_nine_times_in_ten():
    """Of 400 shares of independent rows at 20 %, about nine in ten intervals hold it."""
    rng = np.random.default_rng(2)

    held = 0
    for _ in range(400):
        found = share_in_time(rng.random(200) < 0.2, hours(200))
        held += found.low <= 0.2 <= found.high

    assert 0.85 <= held / 400 <= 0.96


def test_rows_that_resemble_their_neighbours_are_worth_less():
    """The same share of rain in long spells is known less well than scattered; Wilson's is the narrowest."""
    scattered = np.random.default_rng(3).random(600) < 0.5
    spells = np.repeat(np.arange(12) % 2 == 0, 50)
    wide, narrow = share_in_time(spells, hours(600)), share_in_time(scattered, hours(600))

    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


@hypothesis_settings(max_examples=50, deadline=None)
@given(st.lists(st.booleans(), min_size=1, max_size=60))
def test_a_share_lies_in_its_interval_and_never_within_wilsons(happened):
    """Rows in order are worth no more than independent ones."""
    found, plain = share_in_time(np.array(happened), hours(len(happened))), share_of(sum(happened), len(happened), "")

    assert 0 <= found.low <= found.value <= found.high <= 1
    assert found.low <= plain.low + 1e-9
    assert found.high >= plain.high - 1e-9


def test_equal_probabilities_share_a_bin_and_no_rows_have_none():
    """Two values that are said make two points at most; nothing makes nothing."""
    said = np.repeat([0.2, 0.8], 50)

    found = reliability_curve(said, said > 0.5, hours(100), bins=10)

    assert [(one.said, one.happened.value, one.happened.n) for one in found] == [
        (pytest.approx(0.2), 0.0, 50),
        (pytest.approx(0.8), 1.0, 50),
    ]
    assert found[0].happened.high > 0.02  # never rained in 50 rows is not "never"
    assert reliability_curve(np.zeros(0), np.zeros(0, bool), hours(0), bins=10) == ()
    assert share_in_time(np.zeros(0, bool), hours(0)).value is None
