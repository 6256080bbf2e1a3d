"""The interval of a mean over serially correlated rows holds what it promises, where one over rows does not."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal, stats

from ml.errors import DataError
from ml.training.block_interval import count_blocks, mean_over_blocks

DAY = timedelta(days=1)


def hours(n: int, per_hour: int = 1) -> pd.DatetimeIndex:
    """So many hours from March on, several rows each."""
    return pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC").repeat(per_hour)


def correlated(rng: np.random.Generator, n_hours: int, autocorrelation: float, per_hour: int) -> np.ndarray:
    """Zero-mean hourly AR(1) shared by the stations of an hour, with noise of their own."""
    shocks = rng.standard_normal(n_hours + 200) * np.sqrt(1 - autocorrelation**2)
    common = signal.lfilter([1.0], [1.0, -autocorrelation], shocks)[200:]
    return common.repeat(per_hour) + rng.standard_normal(n_hours * per_hour) / 2


def test_with_equal_blocks_it_is_the_t_interval_over_block_means():
    """SciPy's t-interval of the seven daily means."""
    values = np.random.default_rng(1).normal(size=7 * 24)
    means = values.reshape(7, 24).mean(axis=1)
    low, high = stats.ttest_1samp(means, 0).confidence_interval(0.9)

    found = mean_over_blocks(values, hours(168), block=DAY, confidence=0.9)

    assert (found.value, found.low, found.high) == pytest.approx((means.mean(), low, high))
    assert found.n == 168


def test_unequal_blocks_are_clusters_of_a_ratio():
    """Counted by hand: blocks {1, 3} and {8}, mean 4, deviations -4 and 4, se = sqrt(2 * 32) / 3 = 8 / 3."""
    times = pd.to_datetime(["2013-03-01 00:00", "2013-03-01 12:00", "2013-03-02 00:00"], utc=True)
    reach = stats.t.ppf(0.95, 1) * 8 / 3

    found = mean_over_blocks(np.array([1.0, 3.0, 8.0]), times, block=DAY, confidence=0.9)

    assert (found.value, found.low, found.high) == pytest.approx((4, 4 - reach, 4 + reach))


def test_blocks_begin_with_the_oldest_row():
    """24 hours from five in the afternoon are one day, not two."""
    times = pd.date_range("2013-03-01 17:00", periods=24, freq="h", tz="UTC")

    assert count_blocks(times, DAY) == 1
    assert count_blocks(times[:0], DAY) == 0


@settings(max_examples=50)
@given(st.integers(0, 2**32), st.floats(-100, 100), st.floats(0.1, 10))
def test_it_moves_with_the_values_and_not_with_the_order_of_rows(seed, shift, factor):
    """Adding a constant shifts, a factor stretches, shuffling rows changes nothing."""
    rng = np.random.default_rng(seed)
    values, times, order = rng.normal(size=72), hours(72), rng.permutation(72)
    plain = mean_over_blocks(values, times, block=DAY)

    found = mean_over_blocks((values * factor + shift)[order], times[order], block=DAY)

    expected = [x * factor + shift for x in (plain.value, plain.low, plain.high)]
    assert [found.value, found.low, found.high] == pytest.approx(expected, abs=1e-9)


def test_no_rows_are_no_mean_and_one_block_is_no_interval():
    """Undefined is a state that says why."""
    nothing = mean_over_blocks(np.empty(0), hours(0), block=DAY)
    one = mean_over_blocks(np.arange(3.0), hours(3), block=DAY)

    assert (nothing.value, nothing.n, nothing.detail) == (None, 0, "there are no rows")
    assert (one.value, one.low, one.detail) == (1.0, None, "a single block gives no interval")


@pytest.mark.parametrize(
    ("values", "message"), [([1.0, np.nan], "not a number; where: row 1"), ([1.0], "1 values, 2 event times")]
)
def test_what_is_no_number_per_row_is_refused(values, message):
    """NaN and a wrong length do not become an interval."""
    with pytest.raises(DataError, match=message):
        mean_over_blocks(np.array(values), hours(2), block=DAY)


def test_a_week_of_correlated_hours_keeps_the_level_where_a_test_over_rows_does_not():
    """600 weeks of equal models, hours correlated by 0.5 as the harbour's are at most about 0.6.

    One-sided 5 %: the share of false alarms lies in the 99.9 % binomial interval of 5 to 6 %; that of the t-test over
    rows is several times as much, that of a percentile bootstrap over days nearly twice.
    """
    rng, times, false = np.random.default_rng(11), hours(168, per_hour=3), np.zeros(3)
    for _ in range(600):
        week = correlated(rng, 168, 0.5, per_hour=3)
        days = week.reshape(7, 72).mean(axis=1)
        resampled = days[rng.integers(0, 7, (1000, 7))].mean(axis=1)
        false += [
            mean_over_blocks(week, times, block=DAY, confidence=0.9).low > 0,
            stats.ttest_1samp(week, 0, alternative="greater").pvalue < 0.05,
            np.quantile(resampled, 0.05) > 0,
        ]
    ours, over_rows, bootstrap = false.astype(int)

    assert stats.binom.ppf(0.0005, 600, 0.05) <= ours <= stats.binom.ppf(0.9995, 600, 0.06)
    assert over_rows > 3 * ours
    assert bootstrap > stats.binom.ppf(0.9995, 600, 0.05)


def test_missing_hours_do_not_break_the_level():
    """The same with two thirds of the rows gone, which leaves days of very different size."""
    rng, times, false = np.random.default_rng(12), hours(168), 0
    for _ in range(600):
        week = correlated(rng, 168, 0.5, per_hour=1)
        kept = rng.random(168) < np.repeat(rng.uniform(0.05, 0.6, 7), 24)
        false += mean_over_blocks(week[kept], times[kept], block=DAY, confidence=0.9).low > 0

    assert stats.binom.ppf(0.0005, 600, 0.05) <= false <= stats.binom.ppf(0.9995, 600, 0.07)


def test_longer_blocks_help_where_correlation_lasts_longer():
    """Hours correlated by 0.95: day-blocks promise too much, two-day blocks much less too much."""
    rng, times, false = np.random.default_rng(13), hours(168), np.zeros(2, dtype=int)
    for _ in range(600):
        week = correlated(rng, 168, 0.95, per_hour=1)
        false += [mean_over_blocks(week, times, block=DAY * days, confidence=0.9).low > 0 for days in (1, 2)]

    assert false[0] > stats.binom.ppf(0.9995, 600, 0.05)
    assert false[1] < false[0]
