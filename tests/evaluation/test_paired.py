"""Two models on the same rows: the level of the promise is kept when they are equal, and a better one is seen."""

import numpy as np
import pandas as pd
import pytest
from scipy import signal, stats

from ml.errors import DataError
from ml.evaluation.paired import compare_paired
from ml.evaluation.spending import spend_level

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

    false = sum(compare_paired(*losses(rng), WEEK).p_above(0.0) < 0.05 for _ in range(600))

    assert stats.binom.ppf(0.0005, 600, 0.05) <= false <= stats.binom.ppf(0.9995, 600, 0.05)


def test_a_clearly_better_model_is_seen():
    """Better by a third of the mean loss, in three weeks of four."""
    rng = np.random.default_rng(6)

    seen = sum(compare_paired(*losses(rng, better_by=0.12), WEEK).p_above(0.0) < 0.05 for _ in range(200))

    assert seen > 150


def test_the_difference_is_first_minus_second():
    """Positive where the second is better; its error is that of the differences, not of the losses."""
    first, second = losses(np.random.default_rng(7), better_by=0.05)

    found = compare_paired(first, second, WEEK)

    assert found.mean == pytest.approx((first - second).mean())
    assert found.error < compare_paired(first, np.zeros(168), WEEK).error


def test_other_rows_cannot_be_paired():
    """Two models must have been asked the same."""
    with pytest.raises(DataError, match="needs the same rows; got: 3 and 2 rows"):
        compare_paired(np.zeros(3), np.zeros(2), WEEK[:3])


def test_a_champions_life_keeps_its_level():
    """1,000 champions that each meet 20 challengers that are no better: at most the binomial bound of 5 % lose."""
    rng = np.random.default_rng(9)
    lost = 0
    for _ in range(1000):
        met: list[float] = []
        for p in rng.uniform(size=20):
            if p < spend_level(0.05, met):
                lost += 1
                break
            met.append(float(p))

    assert lost <= stats.binom.ppf(0.9995, 1000, 0.05)
    assert lost > 0


def errors(rng: np.random.Generator, gained: float, lost: float, n: int = 500) -> tuple[np.ndarray, np.ndarray]:
    """Errors of two models on rows of their own: the second alone is right with ``gained``, wrong with ``lost``."""
    kind = rng.choice(4, n, p=[gained, lost, 0.1, 0.9 - gained - lost])
    return np.isin(kind, (0, 2)).astype(float), np.isin(kind, (1, 2)).astype(float)


def hours(n: int) -> pd.DatetimeIndex:
    """Moments of so many rows."""
    return pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC")


def test_errors_of_independent_rows_are_compared_by_mcnemars_exact_test():
    """The p-value is SciPy's binomial test of the rows in which the models differ; the mean is the gain in accuracy."""
    first, second = errors(np.random.default_rng(11), 0.1, 0.06)
    gained, lost = int(((first == 1) & (second == 0)).sum()), int(((first == 0) & (second == 1)).sum())

    found = compare_paired(first, second, hours(500), independent=True)

    assert found.p_above(0.0) == pytest.approx(stats.binomtest(gained, gained + lost, alternative="greater").pvalue)
    assert found.mean == pytest.approx((gained - lost) / 500)
    assert found.p_above(0.02) == pytest.approx(stats.ttest_1samp(first - second, 0.02, alternative="greater").pvalue)


def test_losses_of_independent_rows_are_compared_by_students_paired_test():
    """The p-value and the interval are SciPy's."""
    first, second = losses(np.random.default_rng(12), better_by=0.02)

    found = compare_paired(first, second, WEEK, independent=True)

    theirs = stats.ttest_rel(first, second, alternative="greater")
    both_sides = stats.ttest_rel(first, second).confidence_interval(0.9)
    assert found.p_above(0.0) == pytest.approx(theirs.pvalue)
    assert (found.interval(0.05).low, found.interval(0.05).high) == pytest.approx((both_sides.low, both_sides.high))


def test_mcnemar_keeps_its_level_and_sees_a_better_model():
    """1,000 pairs of 200 rows: at most the binomial bound of 5 % of equal ones, most of those 10 points better."""
    rng = np.random.default_rng(13)

    def found(gained: float, lost: float) -> int:
        pairs = (errors(rng, gained, lost, 200) for _ in range(1000))
        return sum(compare_paired(*pair, hours(200), independent=True).p_above(0.0) < 0.05 for pair in pairs)

    assert found(0.1, 0.1) <= stats.binom.ppf(0.9995, 1000, 0.05)
    assert found(0.15, 0.05) > 850


def test_models_that_never_differ_are_not_told_apart():
    """No row says anything: p is 1; one row alone has no interval."""
    same = np.array([0.0, 1.0, 1.0])

    assert compare_paired(same, same, WEEK[:3], independent=True).p_above(0.0) == 1
    assert compare_paired(np.ones(1), np.ones(1) / 2, WEEK[:1], independent=True).p_above(0.0) is None
