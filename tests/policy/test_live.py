"""The realised loss of served answers: right, with an honest interval, and undefined where it is."""

from __future__ import annotations

import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import log_loss

from ml.errors import DataError
from ml.policy.live import realised_loss

START = datetime(2013, 3, 1, tzinfo=UTC)


def served(p_late: list[float], labels: list[str], *, every: str = "h") -> pd.DataFrame:
    """Answers with this probability of being late, and the truth."""
    return pd.DataFrame(
        {
            "id": [f"{i}" for i in range(len(labels))],
            "event_time": pd.date_range(START, periods=len(labels), freq=every).as_unit("us"),
            "p_0": p_late,
            "p_1": [1 - p for p in p_late],
            "label": labels,
        }
    )


def with_metric(use_case, metric: str):
    """The use case with another metric."""
    return use_case.model_copy(update={"gate": use_case.gate.model_copy(update={"metric": metric})})


def test_two_rows_by_hand(use_case):
    """Class names are sorted: p_0 is "late". Log loss (-log 0.8 - log 0.4) / 2, Brier (2 * 0.04 + 2 * 0.36) / 2."""
    rows = served([0.8, 0.6], ["late", "on time"])

    assert realised_loss(rows, use_case).value == pytest.approx((-math.log(0.8) - math.log(0.4)) / 2, rel=1e-12)
    assert realised_loss(rows, with_metric(use_case, "brier")).value == pytest.approx(0.4, rel=1e-12)


@given(st.lists(st.tuples(st.floats(0.001, 0.999), st.sampled_from(["late", "on time"])), min_size=1, max_size=50))
def test_log_loss_agrees_with_scikit_learn(use_case, rows):
    """And carries its number of rows."""
    p, labels = map(list, zip(*rows, strict=True))

    found = realised_loss(served(p, labels), use_case)

    expected = log_loss(labels, [[x, 1 - x] for x in p], labels=["late", "on time"])
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.n == len(rows)


def test_a_certain_and_wrong_answer_is_expensive_not_infinite(use_case):
    """An infinite mean would hide every other row."""
    found = realised_loss(served([0.0], ["late"]), use_case)

    assert found.value == pytest.approx(-math.log(1e-15))


def test_no_rows_are_undefined(use_case):
    """Never 0."""
    found = realised_loss(served([], []), use_case)

    assert (found.value, found.n, found.detail) == (None, 0, "there are no rows")


def test_rows_that_cannot_be_judged_are_left_out_and_counted(use_case):
    """No probabilities since the classes changed; a truth that is no class of today."""
    rows = served([0.8, math.nan, 0.7], ["late", "late", "sunk"])

    found = realised_loss(rows, use_case)

    assert (found.n, found.value) == (1, pytest.approx(-math.log(0.8)))
    assert "2 rows without usable probabilities or class are left out" in found.detail
    assert realised_loss(rows.iloc[1:], use_case).value is None


def test_one_day_has_no_interval(use_case):
    """Its rows are one draw."""
    found = realised_loss(served([0.8] * 5, ["late"] * 5), use_case)

    assert (found.low, found.high) == (None, None)
    assert found.detail == "a single block gives no interval"


def test_with_equal_days_the_interval_is_students_on_the_days_means(use_case):
    """SciPy's interval of the mean of 30 daily means."""
    rng = np.random.default_rng(3)
    p = rng.uniform(0.1, 0.9, size=30 * 24)
    rows = served(list(p), ["late"] * len(p))
    daily = (-np.log(p)).reshape(30, 24).mean(axis=1)

    found = realised_loss(rows, use_case)

    expected = stats.t.interval(0.9, df=29, loc=daily.mean(), scale=stats.sem(daily))
    assert (found.low, found.high) == pytest.approx(expected, rel=1e-9)
    assert found.confidence == 0.9


def test_the_interval_covers_the_truth_when_rows_of_a_day_move_together(use_case):
    """300 times 20 days whose loss has a level of its own per day: about 90 % of the intervals hold the true mean."""
    rng = np.random.default_rng(11)
    true, covered = 0.5, 0
    for _ in range(300):
        level = np.repeat(rng.uniform(0.2, 0.8, size=20), 24)
        losses = level + rng.uniform(-0.1, 0.1, size=480)
        found = realised_loss(served(list(np.exp(-losses)), ["late"] * 480), use_case)
        covered += found.low <= true <= found.high

    interval = stats.binomtest(covered, 300).proportion_ci(0.99)
    assert interval.low <= 0.9 <= interval.high, covered


def test_the_interval_never_reaches_below_zero(use_case):
    """A loss cannot."""
    rows = served([0.999] * 24 + [0.5] * 24, ["late"] * 48)

    assert realised_loss(rows, use_case).low == 0.0


def test_columns_that_are_not_there_are_named(use_case):
    """All of them."""
    with pytest.raises(DataError, match="where: p_1, label"):
        realised_loss(served([0.5], ["late"]).drop(columns=["p_1", "label"]), use_case)
