"""What happens now must be learnable: a candidate that is no better than the base rates ends as too little data."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.records.decision import CandidateResult, Choice
from ml.records.measure import Estimate
from ml.training.assemble import InsufficientData
from ml.training.base_rates import forecast_base_rates
from ml.training.learnable import check_learnable, learning_curve, rows_until
from ml.training.loss import log_loss_rows
from ml.use_case import UseCase

USE_CASE = UseCase.model_validate(
    {
        "name": "ferry",
        "task": "binary_classification",
        "time_column": "time",
        "features": {f"x{i}": {"type": "number"} for i in range(12)},
        "target": {"column": "late", "classes": {"0": "on time", "1": "late"}},
        "training": {
            "history": {"file": "ferry.csv"},
            "candidates": {
                "tree": {"estimator": "sklearn.tree.DecisionTreeClassifier"},
                "line": {"estimator": "logistic_regression"},
            },
        },
    }
)


def rows(n: int, *, strength: float, seed: int = 1) -> pd.DataFrame:
    """Twelve numbers, the first of which makes it late, as strongly as asked for."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((n, 12))
    late = strength * values[:, 0] + rng.logistic(size=n) > 0
    frame = pd.DataFrame(values, columns=list(USE_CASE.features))
    times = pd.date_range("2013-01-01", periods=n, freq="h", tz="UTC").astype("datetime64[us, UTC]")
    return frame.assign(id=[str(i) for i in range(n)], event_time=times, label=np.where(late, "late", "on time"))


def chosen(name: str, loss: float) -> Choice:
    """The choice of a candidate with a validation loss."""
    estimate = Estimate(value=loss, n=100)
    return Choice(chosen=name, results=(CandidateResult(name=name, loss=estimate, metric="log_loss", seconds=1),))


def test_better_than_the_base_rates_is_enough():
    """No curve is fitted then, which the unknown candidate would not survive."""
    frame = rows(300, strength=3.0)

    check_learnable(USE_CASE, chosen("nobody", 0.5), frame.head(200), frame.tail(100))


def test_too_few_new_rows_are_told_with_how_many_are_missing():
    """The other way round since 90 rows: a line that learnt 60 rows of before needs some more of now."""
    frame = turned(rows(4000, strength=1.0), after=60)
    fit, validation = frame.head(60), frame.iloc[60:150]
    curve = learning_curve(USE_CASE, chosen("line", 9.0), fit, validation)
    judged = validation.iloc[60:]
    forecast = forecast_base_rates(frame.head(120), judged, USE_CASE)
    base = log_loss_rows(judged["label"].to_numpy(), forecast, USE_CASE.answers).mean()
    assert [count for count, _ in curve] == [15, 30, 45, 60]
    assert curve[0][1] > curve[-1][1] > base

    with pytest.raises(InsufficientData, match=r"cannot be learnt from 60 new rows yet; about \d+ more") as told:
        check_learnable(USE_CASE, chosen("line", 9.0), fit, validation)

    assert "ferry: line on validation" in str(told.value)
    enough = len(validation.head(60)) + rows_until(curve, base)
    later = learning_curve(USE_CASE, chosen("line", 9.0), fit, frame.iloc[60 : 60 + round(1.5 * enough) + 3])
    assert later[-1][1] < base


def turned(frame: pd.DataFrame, *, after: int) -> pd.DataFrame:
    """From so many rows on, everything is the other way round."""
    new = frame.index >= after
    return frame.assign(label=frame["label"].mask(new, frame["label"].map({"late": "on time", "on time": "late"})))


def test_a_change_that_the_validation_rows_teach_is_learnable():
    """The trial, which has not seen them, does badly; the challenger, which learns from them, would not."""
    frame = turned(rows(1000, strength=4.0), after=100)

    check_learnable(USE_CASE, chosen("line", 9.0), frame.head(100), frame.tail(900))


def test_what_no_number_of_rows_can_teach_is_told_as_such():
    """Noise, and a tree that is certain of everything: it gets no better."""
    frame = rows(600, strength=0.0)

    with pytest.raises(InsufficientData, match="no number of rows is foreseen to change that"):
        check_learnable(USE_CASE, chosen("tree", 17.0), frame.head(400), frame.tail(200))


@given(
    limit=st.floats(0.1, 0.6),
    slope=st.floats(1.0, 500.0),
    rows_known=st.integers(20, 500),
    gap=st.floats(0.01, 0.3),
)
def test_a_curve_that_is_followed_exactly_is_foreseen_exactly(limit, slope, rows_known, gap):
    """``limit + slope / rows`` reaches the bound where algebra says."""
    curve = tuple((n, limit + slope / n) for n in (rows_known, 2 * rows_known, 4 * rows_known))
    bound = limit + gap

    missing = rows_until(curve, bound)

    wanted = slope / gap - 4 * rows_known
    assert missing == pytest.approx(max(np.ceil(wanted), 1), abs=1.01, rel=1e-4)


def test_a_curve_that_rises_or_ends_above_never_gets_there():
    """Nor does a single point say anything."""
    assert rows_until(((100, 0.5), (200, 0.6)), 0.4) is None
    assert rows_until(((100, 0.9), (200, 0.8)), 0.65) is None
    assert rows_until(((100, 0.9),), 0.65) is None
