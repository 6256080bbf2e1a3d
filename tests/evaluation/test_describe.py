"""The reference of a model: its rows, and what models like it answer to rows that they have not seen."""

from __future__ import annotations

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from ml.drift.answers import with_answers
from ml.drift.calibrate import rule_of
from ml.drift.detect import check_drift
from ml.drift.profile import build_profile, kinds_in
from ml.evaluation.describe import describe_training
from ml.training.fit import answer_of, fit_pipeline
from ml.use_case import UseCase


@pytest.fixture(scope="module")
def use_case() -> UseCase:
    """A forest with leaves of one row: very sure of what it knows."""
    forest = {"estimator": "random_forest", "parameters": {"n_estimators": 20, "min_samples_leaf": 1}}
    return UseCase.model_validate(
        {
            "name": "ferry",
            "task": "binary_classification",
            "time_column": "time",
            "features": {"wind": {"type": "number"}, "tide": {"type": "number"}},
            "target": {"column": "late", "classes": {"0": "on time", "1": "late"}, "positive": "late"},
            "training": {"history": {"file": "ferry.csv"}, "candidates": {"forest": forest}},
            "monitoring": {"window": "7d", "minimum_rows": 50},
        }
    )


def hours(n: int, seed: int) -> pd.DataFrame:
    """Independent hours; wind decides, with noise."""
    rng = np.random.default_rng(seed)
    wind = rng.normal(30, 10, n)
    return pd.DataFrame(
        {
            "event_time": pd.date_range("2024-01-01", periods=n, freq="h", tz="UTC"),
            "wind": wind,
            "tide": rng.normal(size=n),
            "label": np.where(wind + rng.normal(0, 10, n) > 35, "late", "on time").astype(object),
        }
    )


def test_the_reference_holds_what_is_answered_to_unseen_rows(use_case):
    """A forest is nearly certain of the rows that it was fitted on, which no live answer is."""
    rows = hours(24 * 60, 1)
    pipeline, _ = fit_pipeline(use_case, "forest", rows)
    answer = answer_of(pipeline, use_case)

    reference = describe_training(use_case, "forest", rows, answer, fingerprint="f")

    assert reference.roles == {"answer: late": "answer", "answer: most probable": "answer"}
    assert reference.influence["wind"] > 1.5 * reference.influence["tide"]
    told = reference.whole.columns["answer: late"]
    spread, live = np.sqrt(told.m2 / sum(told.counts)), answer(hours(24 * 60, 2))[:, 0].std()
    assert spread == pytest.approx(live, rel=0.05)
    assert answer(rows)[:, 0].std() > 1.15 * live


def test_a_class_that_a_part_lacks_leaves_the_answers_out(use_case):
    """Drift of the features is still judged."""
    rows = hours(24 * 30, 1)
    rows["label"] = np.where(np.arange(len(rows)) < 240, "late", "on time").astype(object)
    pipeline, _ = fit_pipeline(use_case, "forest", rows)

    reference = describe_training(use_case, "forest", rows, answer_of(pipeline, use_case), fingerprint="f")

    assert reference.roles == {}
    assert list(reference.whole.columns) == ["wind", "tide"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_answers_to_a_stationary_source_alarm_within_the_budget(use_case):
    """Sixty trainings, a later week each: features and answers together keep the budget of 5 %."""
    alarms = 0
    for seed in range(60):
        rows = hours(24 * 97, seed)
        known, live = rows[: 24 * 90], rows[24 * 90 :]
        pipeline, _ = fit_pipeline(use_case, "forest", known)
        answer = answer_of(pipeline, use_case)
        reference = describe_training(use_case, "forest", known, answer, fingerprint="f")
        told = with_answers(live, answer, use_case, reference.whole)
        profile = build_profile(told, kinds_in(reference.whole), edges=reference.whole)
        check = check_drift(reference, profile, rule_of(use_case), blocks=timedelta(days=7) // timedelta(days=1))
        alarms += check.verdict == "drift"

    assert alarms <= stats.binom.ppf(0.995, 60, 0.05)
