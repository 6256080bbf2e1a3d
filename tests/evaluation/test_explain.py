"""The explanations are those of the graph that serves."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression

from ml.errors import DataError
from ml.evaluation.explain import choose_background, explain
from ml.evaluation.predict import predict


def test_log_odds_of_a_logistic_regression_move_by_its_weights(use_case, challenger):
    """A model fitted here tells the closed form; a missing wind is the training rows' median."""
    rows, columns = challenger.trained, ["wind", "late_now"]
    mean, spread = rows[columns].mean(), rows[columns].std(ddof=0)
    own = LogisticRegression(max_iter=1000).fit((rows[columns] - mean) / spread, rows["label"] == "late")
    background = choose_background(challenger.frame)
    asked = challenger.holdout.head(5).copy()
    asked.loc[asked.index[0], "wind"] = np.nan

    found = explain(challenger.folder, asked, background, use_case, log_odds=True)

    filled = asked[columns].fillna({"wind": rows["wind"].median()})
    expected = own.coef_[0] * ((filled - background[columns].mean()) / spread).to_numpy()
    late = use_case.answers.index("late")
    assert found.features == ("wind", "late_now")
    assert found.values[:, :, late] == pytest.approx(expected, abs=2e-3)
    assert found.unit == "log_odds"


def test_probabilities_add_up_to_what_the_model_predicts(use_case, challenger):
    """Base and all contributions, for both classes."""
    background = choose_background(challenger.frame)

    found = explain(challenger.folder, challenger.holdout.head(10), background, use_case)

    assert found.base == pytest.approx(predict(challenger.folder, background, use_case).mean(axis=0))
    told = predict(challenger.folder, challenger.holdout.head(10), use_case)
    assert found.base + found.values.sum(axis=1) == pytest.approx(told, abs=1e-6)


@pytest.mark.parametrize("kind", ["classes", "number"])
def test_texts_with_gaps_three_classes_and_numbers_are_explained(use_case, make_rows, make_model, tmp_path, kind):
    """The pier alone matters: it moves the answer, the wind hardly does."""
    rows = make_rows(30)
    rng = np.random.default_rng(2)
    rows["pier"] = rng.choice(np.array(["A", "B", None], dtype=object), len(rows))
    minutes = rows["pier"].map({"A": 0.0, "B": 10.0}).fillna(20.0) + rng.normal(size=len(rows))
    content = use_case.model_dump(mode="json", exclude_unset=True)
    content["features"] = {"wind": {"type": "number", "nullable": True}, "pier": {"type": "category", "nullable": True}}
    content["baselines"] = {}
    if kind == "number":
        content |= {
            "task": "regression",
            "gate": {},
            "target": {"column": "m", "unit": "min", "horizon": "1h", "maturity": "1h"},
        }
        content["training"]["candidates"] = {"line": {"estimator": "ridge"}}
        rows["label"] = minutes
    else:
        content |= {"task": "multiclass_classification"}
        content["target"] |= {"classes": {"0": "on time", "1": "late", "2": "lost"}}
        rows["label"] = np.array(["on time", "late", "lost"], dtype=object)[(minutes > 5).astype(int) + (minutes > 15)]
    case = type(use_case).model_validate(content)
    model = make_model(case, rows, tmp_path)
    asked = pd.DataFrame({"wind": [np.nan, 1.0, -1.0], "pier": [None, "A", None]})

    found = explain(tmp_path, asked, choose_background(model.frame), case)

    assert found.unit == ("value" if kind == "number" else "probability")
    told = predict(tmp_path, asked, case)
    assert found.base + found.values.sum(axis=1) == pytest.approx(told, abs=1e-4)
    moved = np.abs(found.values).max(axis=2)
    assert (moved[:, 1] > 5 * moved[:, 0]).all()
    assert [part.value for part in found.explanation(0, case.answers[0]).contributions] == [None, None]


def test_the_background_is_drawn_from_fitted_rows_in_order_of_time(challenger):
    """The same for the same seed; all rows where there are fewer."""
    chosen = choose_background(challenger.frame, n=50)

    assert set(chosen["id"]) <= set(challenger.trained["id"])
    assert len(set(chosen["id"])) == 50
    assert chosen["event_time"].is_monotonic_increasing
    assert chosen.equals(choose_background(challenger.frame, n=50))
    assert not chosen.equals(choose_background(challenger.frame, n=50, seed=1))
    assert len(choose_background(challenger.frame, n=10**6)) == len(challenger.trained)


def test_a_damaged_graph_is_not_explained(use_case, challenger, tmp_path):
    """It would be another model's explanation."""
    for name in ("model.onnx", "package.json"):
        (tmp_path / name).write_bytes((challenger.folder / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"another")

    with pytest.raises(DataError, match="artifact fails its digest"):
        explain(tmp_path, challenger.holdout, choose_background(challenger.frame), use_case)
