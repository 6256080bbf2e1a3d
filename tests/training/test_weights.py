"""Rows weigh less with age and more where their class is rare; the graph is of the weighted model."""

from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ml.training.fit import fit_pipeline
from ml.training.inputs import feature_table
from ml.training.weights import effective_rows, row_weights


def use_case_with(make_use_case, **training):
    """The ferry with a logistic regression and options of training."""
    base = {"history": {"file": "f.csv"}, "candidates": {"line": {"estimator": "logistic_regression"}}}
    return make_use_case(training=base | training)


def test_all_rows_weigh_the_same_by_default(make_use_case, make_rows):
    """No weights at all: estimators that take none are none the wiser."""
    assert row_weights(make_rows(50), use_case_with(make_use_case)) is None


def test_a_row_weighs_half_of_one_a_half_life_younger(make_use_case, make_rows):
    """Hourly rows, a half life of a day: 24 rows apart the ratio is 2, and the mean is 1."""
    use_case = use_case_with(make_use_case, strategy="recency_weighted", half_life="1d")

    weights = row_weights(make_rows(200), use_case)

    assert weights[24:] / weights[:-24] == pytest.approx(2.0)
    assert weights.mean() == pytest.approx(1.0)
    assert effective_rows(weights, 200) == pytest.approx(2 / np.log(2) * 24, rel=0.02)


def test_balanced_classes_weigh_the_same_together(make_use_case, make_rows):
    """Also when recency has its say."""
    use_case = use_case_with(make_use_case, strategy="recency_weighted", half_life="2d", imbalance="balanced")
    rows = make_rows(300)

    sums = pd.Series(row_weights(rows, use_case)).groupby(rows["label"].to_numpy()).sum()

    assert sums["late"] == pytest.approx(sums["on time"])


def test_recency_forgets_an_old_regime(make_use_case, make_rows):
    """For twenty days wind made it late, for five calm does: the weighted model has learnt the new rule."""
    rows = make_rows(25 * 24)
    recent = np.arange(len(rows)) >= 20 * 24
    turned = rows["label"].map({"late": "on time", "on time": "late"})
    rows = rows.assign(label=rows["label"].where(~recent, turned))
    newest = rows.tail(48)
    told = {}
    for name, options in {"all": {}, "recent": {"strategy": "recency_weighted", "half_life": "1d"}}.items():
        use_case = use_case_with(make_use_case, **options)
        pipeline, _ = fit_pipeline(use_case, "line", rows.head(len(rows) - 48))
        answers = pipeline.predict(feature_table(newest, use_case.numbers, use_case.categories))
        told[name] = float((answers == newest["label"].to_numpy()).mean())

    assert told["all"] < 0.4
    assert told["recent"] > 0.7


@pytest.mark.parametrize(
    "training", [{"strategy": "recency_weighted"}, {"half_life": "7d"}, {"strategy": "all_history", "half_life": "7d"}]
)
def test_strategy_and_half_life_go_together(make_use_case, training):
    """One without the other is a mistake in the file."""
    with pytest.raises(ValueError, match="recency_weighted and the key half_life"):
        use_case_with(make_use_case, **training)


def test_time_is_what_counts_not_the_order(make_use_case, make_rows):
    """Shuffled rows keep their weights."""
    use_case = use_case_with(make_use_case, strategy="recency_weighted", half_life="1d")
    rows = make_rows(100)
    order = np.random.default_rng(0).permutation(100)

    assert row_weights(rows.iloc[order], use_case) == pytest.approx(row_weights(rows, use_case)[order])
    assert use_case.training.half_life == timedelta(days=1)
