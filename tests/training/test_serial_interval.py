"""The mean of rows in order of time: its error is right whatever neighbours have in common."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats

from ml.errors import DataError
from ml.training.serial_interval import mean_in_time

WEEK = pd.date_range("2013-03-01", periods=168, freq="h", tz="UTC")


def hours(rng: np.random.Generator, strength: float, n: int) -> np.ndarray:
    """Stationary first-order autoregression around 0."""
    noise = rng.standard_normal(n + 300)
    return signal.lfilter([1.0], [1.0, -strength], noise)[-n:]


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.8, 0.9])
@pytest.mark.parametrize("n", [168, 1000])
def test_a_mean_of_zero_is_taken_for_more_in_one_of_twenty_cases(strength, n):
    """1,000 series each, one-sided level 5 %: at most the 99.9 % binomial quantile of it, and not far below."""
    rng = np.random.default_rng(5)
    times = pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC")

    false = sum(mean_in_time(hours(rng, strength, n), times).p_above(0.0) < 0.05 for _ in range(1000))

    assert stats.binom.ppf(0.0005, 1000, 0.05) <= false <= stats.binom.ppf(0.9995, 1000, 0.05) + 5


@pytest.mark.parametrize("strength", [0.0, 0.5])
def test_what_an_ideal_test_finds_in_85_of_100_cases_is_found_in_80(strength):
    """200 hours; the ideal test knows the variance of the mean, which SciPy's sum of autocovariances gives."""
    rng, n = np.random.default_rng(6), 200
    times = pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC")
    lags = strength ** np.abs(np.subtract.outer(np.arange(n), np.arange(n)))
    error = np.sqrt(lags.sum() / (1 - strength**2)) / n
    gain = (stats.norm.isf(0.05) + stats.norm.isf(0.15)) * error

    found = sum(mean_in_time(hours(rng, strength, n) + gain, times).p_above(0.0) < 0.05 for _ in range(1000))

    assert found >= 800 - 2.6 * np.sqrt(1000 * 0.8 * 0.2)


def by_hand(values: np.ndarray) -> tuple[float, int]:
    """Standard error and degrees of freedom, by the formulas and loops."""
    n, deviations = len(values), values - values.mean()
    strength = sum(deviations[t] * deviations[t + 1] for t in range(n - 1)) / sum(deviations**2)
    strength = min(max(strength + (1 + 4 * max(strength, 0)) / n, 0), 0.98)
    strength = min(strength + np.sqrt((1 - strength**2) / n), 0.98)
    wanted = min(max(int(0.41 * n ** (2 / 3)), 6), n - 1)
    squares, shapes, kept = [], [], 0
    for j in range(1, wanted + 1):
        cosines = [np.sqrt(2 / n) * np.cos(np.pi * j * (t + 0.5) / n) for t in range(n)]
        squares.append(sum(c * d for c, d in zip(cosines, deviations, strict=True)) ** 2)
        w = np.pi * j / n
        shapes.append((1 - strength) ** 2 / (1 - 2 * strength * np.cos(w) + strength**2))
        kept += np.mean(shapes) >= 0.95
    kept = max(kept, min(4, wanted))
    return float(np.sqrt(np.mean(squares[:kept]) / np.mean(shapes[:kept]) / n)), kept


@pytest.mark.parametrize(("n", "strength"), [(2, 0.0), (7, 0.0), (24, 0.3), (168, 0.9), (168, 0.0)])
def test_error_and_freedom_are_those_of_the_formulas(n, strength):
    """Cosine by cosine, with SciPy's interval from them."""
    values = hours(np.random.default_rng(n), strength, n)
    error, freedom = by_hand(values)

    found = mean_in_time(values, pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC"))

    assert (found.error, found.freedom) == (pytest.approx(error), freedom)
    low, high = stats.t.interval(0.8, freedom, loc=values.mean(), scale=error)
    told = found.interval(0.1)
    assert (told.low, told.high, told.confidence) == (pytest.approx(low), pytest.approx(high), pytest.approx(0.8))
    assert found.p_above(0.3) == pytest.approx(stats.t.sf((values.mean() - 0.3) / error, freedom))


def test_the_interval_ends_where_the_p_value_is_the_level():
    """Both say the same."""
    found = mean_in_time(hours(np.random.default_rng(7), 0.6, 168), WEEK)
    told = found.interval(0.05)

    assert found.p_above(told.low) == pytest.approx(0.05)
    assert found.p_above(told.high) == pytest.approx(0.95)


def test_rows_of_one_moment_are_one_draw():
    """Three stations that always say the same are no more evidence than one."""
    one = hours(np.random.default_rng(8), 0.5, 168)

    alone, thrice = mean_in_time(one, WEEK), mean_in_time(np.repeat(one, 3), WEEK.repeat(3))

    assert thrice.error == pytest.approx(alone.error)
    assert (thrice.mean, thrice.freedom) == (pytest.approx(alone.mean), alone.freedom)


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=60), st.randoms(use_true_random=False), st.floats(-3, 3))
def test_order_does_not_matter_and_a_shift_moves_the_mean_alone(values, random, shift):
    """Rows come sorted by time or not; the error knows nothing of the level."""
    given_values = np.array(values)
    times = pd.date_range("2013-03-01", periods=len(values), freq="h", tz="UTC")
    order = list(range(len(values)))
    random.shuffle(order)

    plain, shuffled = mean_in_time(given_values, times), mean_in_time(given_values[order], times[order])
    moved = mean_in_time(given_values + shift, times)

    assert shuffled.mean == pytest.approx(plain.mean, abs=1e-9)
    assert shuffled.error == pytest.approx(plain.error, abs=1e-9)
    assert moved.mean == pytest.approx(plain.mean + shift, abs=1e-9)
    assert moved.error == pytest.approx(plain.error, abs=1e-6)


@pytest.mark.parametrize(("values", "p"), [([0.0, 0.0, 0.0], 1.0), ([1.0, 1.0, 1.0], 0.0)])
def test_what_never_differs_needs_no_error(values, p):
    """A challenger that is the champion wins nothing; one that is always better by the same has won."""
    assert mean_in_time(np.array(values), WEEK[:3]).p_above(0.0) == p


def test_without_rows_or_with_one_moment_nothing_can_be_told():
    """No p-value and no interval, and the interval says why."""
    none, one = mean_in_time(np.array([]), WEEK[:0]), mean_in_time(np.array([1.0, 2.0]), WEEK[[0, 0]])

    assert (none.p_above(0.0), none.interval(0.05).value, none.interval(0.05).detail) == (
        None,
        None,
        "there are no rows",
    )
    assert (one.p_above(0.0), one.interval(0.05).value, one.interval(0.05).low) == (None, 1.5, None)
    assert one.interval(0.05).detail == "a single moment gives no interval"


def test_what_is_no_number_has_no_mean():
    """Nor do values without a time."""
    with pytest.raises(DataError, match="a value is not a number; where: row 1"):
        mean_in_time(np.array([0.0, np.nan]), WEEK[:2])
    with pytest.raises(DataError, match="every value needs its event time"):
        mean_in_time(np.zeros(3), WEEK[:2])
