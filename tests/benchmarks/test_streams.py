"""The streams are what they are called: a bench can be no truer than its data."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from benchmarks.streams import (
    CHANGES,
    GAP,
    RAMP,
    STREAMS,
    Stream,
    autoregressive,
    daily_cycle,
    frame,
    resampled_weather,
)
from ml.settings import PROJECT

LONG = 40_000


@pytest.fixture(scope="module")
def long() -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """A reference of independent rows, and one long window of every change."""
    stream = Stream("long", autoregressive(0), reference=1000, live=LONG, changes=CHANGES)
    _, windows = stream.draw(3)
    return windows[0], dict(zip(CHANGES, windows[1:], strict=True))


@pytest.mark.parametrize("stream", STREAMS[:7], ids=lambda stream: stream.name)
def test_the_same_seed_draws_the_same_data_and_another_seed_other_data(stream):
    """Of the shapes that are stated."""
    first, again, other = stream.draw(5), stream.draw(5), stream.draw(6)

    assert first[0].shape == (stream.reference, 7)
    assert first[1].shape == (len(stream.windows), stream.live, 7)
    np.testing.assert_array_equal(first[0], again[0])
    np.testing.assert_array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


@pytest.mark.parametrize("correlation", [0.0, 0.5, 0.9, 0.98])
def test_the_correlation_from_hour_to_hour_is_the_stated_one(correlation):
    """And its square a lag later; columns know nothing of each other."""
    values = autoregressive(correlation)(np.random.default_rng(1), LONG)
    for lag in (1, 2):
        found = [np.corrcoef(column[lag:], column[:-lag])[0, 1] for column in values.T]
        np.testing.assert_allclose(found, correlation**lag, atol=0.025)
    # The standard error of a correlation grows with the memory of both columns (Bartlett 1946).
    error = np.sqrt((1 + correlation**2) / (1 - correlation**2) / LONG)
    assert np.abs(np.corrcoef(values.T) - np.eye(7)).max() < 4 * error


def test_an_autoregressive_stream_is_stationary_from_its_first_hour():
    """Its first and its hundredth hour are standard normal over many seeds."""
    draws = np.array([autoregressive(0.98)(np.random.default_rng(seed), 100)[[0, -1], 0] for seed in range(2000)])

    assert stats.kstest(draws[:, 0], "norm").pvalue > 0.01
    assert stats.kstest(draws[:, 1], "norm").pvalue > 0.01


def test_a_day_of_the_daily_cycle_is_like_the_next():
    """The mean over days is the sine, of two thirds of the variance of one."""
    values = daily_cycle(np.random.default_rng(1), 24 * 2000)[:, 0]
    hours = values.reshape(2000, 24).mean(axis=0)

    np.testing.assert_allclose(hours, 2 / np.sqrt(3) * np.sin(2 * np.pi * np.arange(24) / 24), atol=0.06)
    assert values.var() == pytest.approx(1, abs=0.03)
    assert hours.var() == pytest.approx(2 / 3, abs=0.03)


def test_resampled_weather_is_stretches_of_two_weeks_of_the_year():
    """Rows follow each other as they did in 2013, but for one seam every 336 hours."""
    table = pd.read_csv(PROJECT / "data" / "ny_harbour_weather_2013.csv").query("Station == 'JFK'")
    year = table[["Temperature_C", "Humidity", "Wind_bearing_degrees", "Pressure_millibars"]].ffill().to_numpy()
    known = {(*a, *b) for a, b in pairwise(year)}
    drawn = resampled_weather(np.random.default_rng(2), 6000)[:, [0, 1, 3, 5]]
    seams = [i for i in range(len(drawn) - 1) if (*drawn[i], *drawn[i + 1]) not in known]

    assert 16 <= len(seams) <= 18
    assert {after - before for before, after in pairwise(seams)} == {336}


def test_resampled_weather_is_stationary():
    """Temperatures of the first and of the last hour of many draws are of one distribution."""
    draws = np.array([resampled_weather(np.random.default_rng(seed), 700)[[0, -1], 0] for seed in range(600)])

    assert stats.ks_2samp(draws[:, 0], draws[:, 1]).pvalue > 0.01


@pytest.mark.parametrize("shift", [0.1, 0.25, 0.5])
def test_a_shift_moves_two_numbers_and_nothing_else(long, shift):
    """By exactly so much."""
    unchanged, changed = long

    difference = changed[f"mean of two +{shift:g} sigma"] - unchanged
    np.testing.assert_allclose(difference[:, :2], shift)
    np.testing.assert_array_equal(difference[:, 2:], 0)


def test_the_variance_of_two_numbers_grows_by_half(long):
    """Their mean stays."""
    unchanged, changed = long
    wider = changed["variance of two x1.5"]

    np.testing.assert_allclose(wider[:, :2].var(axis=0) / unchanged[:, :2].var(axis=0), 1.5)
    np.testing.assert_array_equal(wider[:, 2:], unchanged[:, 2:])


def test_the_category_goes_from_thirty_to_forty_per_cent(long):
    """The numbers stay."""
    unchanged, changed = long
    more = changed["category 30 % to 40 %"]

    assert (frame(unchanged)["c"] == "b").mean() == pytest.approx(0.3, abs=0.01)
    assert (frame(more)["c"] == "b").mean() == pytest.approx(0.4, abs=0.01)
    np.testing.assert_array_equal(more[:, :6], unchanged[:, :6])


def test_a_change_of_correlation_leaves_every_column_as_it_was(long):
    """KS sees nothing in any column; the correlation of two is 0.6."""
    unchanged, changed = long
    correlated = changed["correlation 0 to 0.6 only"]

    assert min(stats.kstest(column, "norm").pvalue for column in correlated[:, :6].T) > 0.01
    assert np.corrcoef(unchanged[:, 0], unchanged[:, 1])[0, 1] == pytest.approx(0, abs=0.02)
    assert np.corrcoef(correlated[:, 0], correlated[:, 1])[0, 1] == pytest.approx(0.6, abs=0.02)


def test_a_change_of_correlation_keeps_the_memory():
    """The mixed column of an AR(1) stream is AR(1) as before."""
    values = autoregressive(0.9)(np.random.default_rng(1), LONG)
    mixed = CHANGES["correlation 0 to 0.6 only"](values)[:, 1]

    assert np.corrcoef(mixed[1:], mixed[:-1])[0, 1] == pytest.approx(0.9, abs=0.02)


def test_the_gradual_change_moves_the_mean_from_nothing_to_one_sigma():
    """Window by window, on the hours that follow the reference's gap."""
    plain = autoregressive(0)
    _, windows = Stream("ramp", plain, reference=300, live=100, gradual=True).draw(9)
    values = plain(np.random.default_rng(9), 300 + GAP + 100 * RAMP)[300 + GAP :]
    moved = np.concatenate(windows[-RAMP:])[:, :2] - values[:, :2]

    assert moved[0] == pytest.approx([0, 0])
    assert moved[-1] == pytest.approx([1, 1])
    np.testing.assert_allclose(np.diff(moved, axis=0), 1 / (100 * RAMP - 1))
