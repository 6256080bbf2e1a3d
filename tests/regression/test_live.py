"""What a regression costs, could save, and is expected to cost without labels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from ml.drift.answers import answer_columns, with_answers
from ml.drift.columns import kinds_of
from ml.drift.profile import build_profile
from ml.evaluation.describe import describe_training
from ml.policy.live import estimated_loss, realised_loss
from ml.policy.reducible import learning_curve, reducible_loss
from ml.records.profile import ErrorModel, ReferenceProfile
from ml.training.error_model import expect_errors, fit_error_model
from ml.training.fit import answer_of, fit_pipeline

SLOPE = 3.0


def truth_of(rows: pd.DataFrame, slope: float = SLOPE) -> np.ndarray:
    """The best answer that there is, of shape (n_rows, 1)."""
    return (10 + slope * rows["wind"] + 5 * (rows["pier"] == "B")).to_numpy()[:, None]


def test_the_realised_loss_is_the_mean_square(use_case, sail):
    """By hand, with its interval around it."""
    rows = sail(30)
    answers = truth_of(rows)

    found = realised_loss(rows.assign(p_0=answers), use_case)

    assert found.value == pytest.approx(np.mean((rows["label"] - answers[:, 0]) ** 2))
    assert found.low < found.value < found.high


def test_nothing_is_avoidable_for_a_model_that_knows_the_truth(use_case, sail):
    """And a learning curve says so."""
    rows = sail(60)

    found = reducible_loss(rows.assign(p_0=truth_of(rows)), use_case)

    assert found.low < 0
    assert found.value == pytest.approx(0, abs=0.05)


def test_what_a_better_slope_would_save_is_found(use_case, sail):
    """The champion thinks that wind does nothing: it could save the variance of what wind does, 9."""
    rows = sail(60)
    blind = rows.assign(p_0=truth_of(rows, slope=0.0))

    found = reducible_loss(blind, use_case)
    curve = learning_curve(blind, use_case)

    assert found.low > 0
    assert found.value == pytest.approx(np.var(SLOPE * rows["wind"]), rel=0.05)
    assert curve[0][1] < curve[-1][1] == pytest.approx(found.value)


def test_the_correction_is_ridge_regression_of_the_errors(use_case, sail):
    """Ordinary least squares with folds by hand gives nearly the same, since the penalty is small."""
    rows = sail(28).assign(pier="A")
    answers = truth_of(rows, slope=0.0)
    day = np.arange(len(rows)) // 24 % 7
    corrected = np.empty(len(rows))
    for fold in range(7):
        inside = day != fold
        features = rows[["wind", "before"]]
        line = LinearRegression().fit(features[inside], (rows["label"] - answers[:, 0])[inside])
        corrected[~inside] = answers[~inside, 0] + line.predict(features[~inside])
    by_hand = np.mean((rows["label"] - answers[:, 0]) ** 2 - (rows["label"] - corrected) ** 2)

    assert reducible_loss(rows.assign(p_0=answers), use_case).value == pytest.approx(by_hand, rel=0.02)


def test_the_error_model_knows_where_errors_are_large(use_case, sail):
    """The true expected square is 1 + wind squared: followed within a tenth where there are rows."""
    rows = sail(400)
    model = fit_error_model(rows, truth_of(rows), use_case)
    later = sail(100, seed=9)

    expected = expect_errors(model, later, truth_of(later), use_case)

    true = 1 + later["wind"].to_numpy() ** 2
    assert expected.mean() == pytest.approx(true.mean(), rel=0.1)
    calm, storm = np.abs(later["wind"]) < 0.5, (np.abs(later["wind"]) > 1.5) & (np.abs(later["wind"]) < 2.2)
    assert expected[calm].mean() == pytest.approx(true[calm].mean(), rel=0.2)
    assert expected[storm].mean() == pytest.approx(true[storm].mean(), rel=0.25)


def test_a_stormy_month_is_expected_to_cost_more_without_any_label(use_case, sail):
    """The estimate sees it coming, and agrees with what labels say later."""
    rows = sail(400)
    model = fit_error_model(rows, truth_of(rows), use_case)
    later = sail(30, seed=5)
    later = later[np.abs(later["wind"]) > 0.8].assign(p_0=lambda r: truth_of(r)[:, 0])
    calm = sail(30, seed=6).assign(p_0=lambda r: truth_of(r)[:, 0])

    stormy = estimated_loss(later.drop(columns="label"), use_case, model)

    assert stormy.low > estimated_loss(calm, use_case, model).high
    realised = realised_loss(later, use_case)
    assert stormy.low < realised.high
    assert realised.low < stormy.high


def test_without_a_model_of_errors_the_loss_is_unknown(use_case, sail):
    """Never zero; a model of another metric counts as none."""
    rows = sail(30).assign(p_0=1.0)
    other = fit_error_model(rows, truth_of(rows), use_case).model_copy(update={"metric": "absolute_error"})

    for errors in (None, other):
        found = estimated_loss(rows, use_case, errors)
        assert found.value is None
        assert found.detail == "there is no model of the errors"
    assert fit_error_model(rows.iloc[:20], truth_of(rows.iloc[:20]), use_case) is None


@pytest.mark.parametrize(
    "odd",
    [
        {"wind": np.nan},
        {"wind": 1e30},
        {"pier": None},
        {"pier": "Z"},
    ],
)
def test_odd_rows_are_expected_to_cost_something_finite(use_case, odd, sail):
    """Missing, unknown and far away; nothing beyond what was ever seen is promised."""
    rows = sail(100)
    model = fit_error_model(rows, truth_of(rows), use_case)

    expected = expect_errors(model, rows.iloc[:5].assign(**odd), np.full((5, 1), 1e9), use_case)

    assert np.all(np.isfinite(expected) & (expected > 0))
    assert np.all(expected <= np.exp(model.highest) * (1 + 1e-9))


def test_a_reference_holds_answers_unseen_and_the_model_of_errors(use_case, sail):
    """The column of answers has the role of a number, and the record survives its file."""
    rows = sail(60)
    pipeline, _ = fit_pipeline(use_case, "ridge", rows)

    reference = describe_training(use_case, "ridge", rows, answer_of(pipeline, use_case), fingerprint="f")

    assert reference.roles == {"answer: value": "value"}
    assert isinstance(reference.errors, ErrorModel)
    assert reference.errors.n == len(rows)
    assert ReferenceProfile.model_validate_json(reference.model_dump_json()) == reference
    profile = reference.whole.columns["answer: value"]
    assert profile.mean == pytest.approx(rows["label"].mean(), abs=0.1)


def test_attribution_is_told_in_the_unit_of_the_target(use_case, sail):
    """A line in wind alone: the distance from the typical wind, times the slope."""
    asked = use_case.model_copy(update={"monitoring": use_case.monitoring.model_copy(update={"attribution": True})})
    rows = sail(10)
    typical = build_profile(rows, kinds_of(asked))

    told = with_answers(rows, lambda r: SLOPE * r[["wind"]].to_numpy(), asked, typical)

    assert answer_columns(asked)["attribution: wind"] == ("number", "attribution")
    middle = rows["wind"].to_numpy() - told["attribution: wind"].to_numpy() / SLOPE * np.sign(rows["wind"])
    assert np.median(np.abs(middle)) < 0.2
    assert (told["attribution: pier"] == 0).all()
