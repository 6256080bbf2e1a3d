"""Losses per row: lower is better, and a certain mistake costs much but not infinity."""

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from sklearn.metrics import brier_score_loss, log_loss

from ml.errors import DataError
from ml.training.loss import brier_rows, error_rate_rows, log_loss_rows

CLASSES = ("No Rain", "Rain")
THREE = ("a", "b", "c")


def forecasts(n: int, classes: int, seed: int) -> np.ndarray:
    """Random probabilities."""
    return np.random.default_rng(seed).dirichlet(np.ones(classes), n)


@pytest.mark.parametrize("classes", [CLASSES, THREE])
def test_the_mean_of_log_loss_is_scikit_learns(classes):
    """scikit-learn computes the same mean by another route."""
    p = forecasts(500, len(classes), 1)
    labels = np.random.default_rng(2).choice(classes, 500)

    assert log_loss_rows(labels, p, classes).mean() == pytest.approx(log_loss(labels, p, labels=list(classes)))


@pytest.mark.parametrize("classes", [CLASSES, THREE])
def test_the_mean_of_the_brier_score_is_scikit_learns(classes):
    """scikit-learn's unscaled score sums over classes, too."""
    p = forecasts(500, len(classes), 3)
    labels = np.random.default_rng(4).choice(classes, 500)
    expected = brier_score_loss(labels, p, labels=list(classes), scale_by_half=False)

    assert brier_rows(labels, p, classes).mean() == pytest.approx(expected)


def test_a_certain_mistake_costs_34_and_a_certain_hit_nothing():
    """The logarithm is cut at 1e-15: -log(1e-15) is 34.54."""
    p = np.array([[1.0, 0.0], [0.0, 1.0]])

    assert log_loss_rows(["Rain", "Rain"], p, CLASSES) == pytest.approx([34.5388, 0.0], abs=1e-4)
    assert brier_rows(["Rain", "Rain"], p, CLASSES).tolist() == [2.0, 0.0]


def test_an_error_is_a_decision_for_another_class():
    """By hand: right, wrong, and a tie, which goes to the first class as it does where rows are answered."""
    p = np.array([[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]])

    assert error_rate_rows(["Rain", "Rain", "Rain"], p, CLASSES).tolist() == [0.0, 1.0, 1.0]


@given(st.floats(0.01, 0.99), st.floats(0.01, 0.99))
@example(0.01, 0.010000000000000002)
def test_more_probability_on_what_happened_never_costs_more(first, second):
    """Both losses fall as the probability of what happened rises, as far as floats can tell."""
    more, less = max(first, second), min(first, second)
    p = np.array([[1 - more, more], [1 - less, less]])
    for loss in (log_loss_rows, brier_rows):
        losses = loss(["Rain", "Rain"], p, CLASSES)
        assert losses[0] <= losses[1]
        assert losses[0] < losses[1] or more - less < 1e-9


@pytest.mark.parametrize(
    ("labels", "p", "message"),
    [
        (["Snow"], [[0.5, 0.5]], "label is no class; got: 'Snow'; allowed: No Rain, Rain"),
        (["Rain"], [[np.nan, 0.5]], "a probability is not a number; where: row 0"),
        (["Rain"], [[1.0]], r"another shape; got: \(1, 1\); allowed: \(1, 2\)"),
    ],
)
def test_what_is_no_forecast_is_refused(labels, p, message):
    """Unknown classes, NaN and wrong shapes do not become numbers."""
    for loss in (log_loss_rows, brier_rows, error_rate_rows):
        with pytest.raises(DataError, match=message):
            loss(labels, np.array(p), CLASSES)
