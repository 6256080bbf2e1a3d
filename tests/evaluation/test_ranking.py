"""The area under the ROC curve: its difference is a brute force over pairs, its error DeLong's, its level kept."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import signal, stats
from sklearn.metrics import roc_auc_score

from ml.evaluation.gate import decide_gate
from ml.evaluation.ranking import compare_roc_auc, roc_auc
from ml.records.measure import Verdict


def hours(n: int) -> pd.DatetimeIndex:
    """Moments of so many rows."""
    return pd.date_range("2013-03-01", periods=n, freq="h", tz="UTC")


def by_pairs(scores: np.ndarray, positive: np.ndarray) -> np.ndarray:
    """1, a half or 0 for each positive row (rows) and each negative row (columns)."""
    above = scores[positive][:, None] - scores[~positive][None, :]
    return (above > 0) + 0.5 * (above == 0)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans()), min_size=2, max_size=30).filter(
        lambda rows: len({hit for _, hit in rows}) == 2
    )
)
def test_the_area_is_scikit_learns_also_with_ties(rows):
    """Scores of a few values, so that most are tied."""
    scores, positive = np.array([row[0] for row in rows], dtype=float), np.array([row[1] for row in rows])

    assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))


def test_the_error_is_delongs():
    """Covariances of the structural components over all pairs, as in the paper's equations 4 to 6."""
    rng = np.random.default_rng(1)
    positive = rng.uniform(size=80) < 0.3
    scores = [(rng.normal(size=80) + positive).round(1) for _ in range(2)]
    pairs = [by_pairs(each, positive) for each in scores]
    of_positives = np.cov([each.mean(axis=1) for each in pairs])
    of_negatives = np.cov([each.mean(axis=0) for each in pairs])
    covariance = of_positives / positive.sum() + of_negatives / (~positive).sum()

    found = compare_roc_auc(*scores, positive, hours(80), independent=True)

    assert found.mean == pytest.approx(pairs[0].mean() - pairs[1].mean())
    assert found.error**2 == pytest.approx(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])


def series(rng: np.random.Generator, strength: float, n: int) -> np.ndarray:
    """Of variance 1, with that autocorrelation from hour to hour."""
    noise = rng.standard_normal(n + 100)
    return signal.lfilter([np.sqrt(1 - strength**2)], [1.0, -strength], noise)[-n:]


@pytest.mark.slow
@pytest.mark.parametrize(("strength", "independent", "least"), [(0.0, True, 800), (0.0, False, 800), (0.7, False, 500)])
def test_equal_models_are_told_apart_in_one_of_twenty_cases(strength, independent, least):
    """1,000 pairs of models that order 400 rows equally well: at most the bound of 5 %; a better one is seen."""
    rng = np.random.default_rng(2)

    def found(noise: float) -> int:
        count = 0
        for _ in range(1000):
            truth = series(rng, strength, 400)
            positive = truth + series(rng, strength, 400) > 0.5
            better, worse = (truth + size * series(rng, strength, 400) for size in (1.0, noise))
            p = compare_roc_auc(better, worse, positive, hours(400), independent=independent).p_above(0.0)
            count += p < 0.05
        return count

    assert found(1.0) <= stats.binom.ppf(0.9995, 1000, 0.055)  # 5 % and what the cosines err by, told with them
    assert found(2.0) > least


def test_a_class_with_one_row_says_nothing():
    """No variance, no p-value; a class without a row has no area."""
    scores = np.arange(5.0)
    one, none = np.arange(5) == 4, np.zeros(5, dtype=bool)

    assert compare_roc_auc(scores, -scores, one, hours(5)).p_above(0.0) is None
    assert np.isnan(roc_auc(scores, none))


def test_a_challenger_that_orders_worse_is_rejected(use_case, evidence):
    """Its order is the champion's turned round; without a bound in the file nothing is judged, and equals pass."""
    bounded = use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"roc_auc": 0.0})})
    champion = evidence.champion_answers
    worse = replace(evidence, challenger_answers=champion[:, ::-1])

    def judged(seen, file) -> dict[str, Verdict]:
        return {rule.name: rule.verdict for rule in decide_gate(seen, file).rules}

    assert judged(worse, bounded)["roc_auc"] is Verdict.FAIL
    assert judged(replace(evidence, challenger_answers=champion), bounded)["roc_auc"] is Verdict.PASS
    assert "roc_auc" not in judged(worse, use_case)
