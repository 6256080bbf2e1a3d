"""Retraining policies for numbers, on a virtual clock."""

from __future__ import annotations

import joblib
import pandas as pd
import pytest

from ml.simulation.backtest import run_backtest
from ml.use_case import UseCase


def told(rows: pd.DataFrame, content: dict):
    """Loss, and decisions to retrain, of the file's own settings; and the loss of never retraining."""
    use_case = UseCase.model_validate(content)
    with joblib.parallel_config(backend="sequential"):
        found = run_backtest(use_case, rows, start=None, grid=False, show=lambda what, share: None)
    by_name = {policy.name: policy for policy in found.policies}
    return by_name["shipped settings"], by_name["never"]


@pytest.fixture
def settings(make_content) -> dict:
    """Weekly decisions, a line to fit, and costs in squared minutes."""
    training = {
        "history": {"file": "delay.csv"},
        "candidates": {"ridge": {"estimator": "ridge"}},
        "strategy": "sliding_window",
        "sliding_window": "28d",
        "validation": "7d",
        "holdout": "7d",
    }
    retraining = {"minimum_labelled": 100, "cost_of_retraining": 200, "evidence": "14d"}
    return make_content(training=training, retraining=retraining)


def test_a_wind_that_changes_what_it_does_is_learnt_anew(settings, sail):
    """Twenty weeks, after the twelfth the slope has another sign."""
    rows = sail(140)
    after = rows["event_time"] >= rows["event_time"].iloc[0] + pd.Timedelta(days=84)
    rows.loc[after, "label"] -= 6 * rows.loc[after, "wind"]

    ours, never = told(rows, settings)

    asked = [decision.as_of for decision in ours.decisions if decision.retrain]
    assert ours.promoted >= 1
    assert 0 <= (pd.Timestamp(asked[0]) - rows["event_time"].iloc[0]).days - 84 <= 21
    assert ours.loss < 0.6 * never.loss


def test_a_steady_ferry_is_left_alone(settings, sail):
    """No retraining in twenty weeks without any change."""
    ours, never = told(sail(140), settings)

    assert ours.retrainings == 0
    assert ours.loss == never.loss
