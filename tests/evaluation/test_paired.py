"""Two models on the same rows: the level of the promise is kept when they are equal, and a better one is seen."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

from ml.errors import DataError
from ml.evaluation.paired import compare_paired

DAY = timedelta(days=1)
WEEK = pd.date_range("2013-03-01", periods=168, freq="h", tz="UTC")


def losses(rng: np.random.Generator, *, better_by: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Hourly losses of two models in one week: mostly small, large in spells of bad weather, which both share."""
    spell = signal.lfilter([1.0], [1.0, -0.8], rng.standard_normal(400))[-168:]
    weather = np.exp(spell)
    first, second = (weather * rng.lognormal(-1, 0.5, 168) * 0.2 for _ in range(2))
    return first + better_by, second


def test_equal_models_are_told_apart_in_one_of_twenty_weeks():
    """600 weeks, one-sided level 5 %: within the 99.9 % binomial interval of it."""
    rng = np.random.default_rng(5)

    false = sum(compare_paired(*losses(rng), WEEK, block=DAY, level=0.05).low > 0 for _ in range(600))

    assert stats.binom.ppf(0.0005, 600, 0.05) <= false <= stats.binom.ppf(0.9995, 600, 0.05)


def test_a_clearly_better_model_is_seen():
    """Better by a third of the mean loss, in three weeks of four."""
    rng = np.random.default_rng(6)

    seen = sum(compare_paired(*losses(rng, better_by=0.12), WEEK, block=DAY, level=0.05).low > 0 for _ in range(200))

    assert seen > 150


def test_the_difference_is_first_minus_second_and_its_bound_is_one_sided():
    """SciPy's one-sided paired t-test over the seven daily means has its p-value at the level exactly there."""
    first, second = losses(np.random.default_rng(7), better_by=0.05)
    days = [x.reshape(7, 24).mean(axis=1) for x in (first, second)]

    found = compare_paired(first, second, WEEK, block=DAY, level=0.1)

    assert found.value == pytest.approx((first - second).mean())
    assert stats.ttest_rel(days[0] - found.low, days[1], alternative="greater").pvalue == pytest.approx(0.1)
    assert found.confidence == pytest.approx(0.8)


def test_a_model_beside_itself_differs_by_nothing():
    """The bound is not above zero, so that nothing is won."""
    first, _ = losses(np.random.default_rng(8))

    found = compare_paired(first, first, WEEK, block=DAY, level=0.05)

    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_other_rows_cannot_be_paired():
    """Two models must have been asked the same."""
    with pytest.raises(DataError, match="needs the same rows; got: 3 and 2 rows"):
        compare_paired(np.zeros(3), np.zeros(2), WEEK[:3], block=DAY, level=0.05)
