"""A number is learnt, exported, proven and judged like a class is."""

from __future__ import annotations

import json

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.metrics import mean_absolute_error, mean_squared_error

from ml.errors import DataError, UseCaseError
from ml.evaluation.baselines import forecast_persistence
from ml.evaluation.predict import predict
from ml.records.measure import Verdict
from ml.registry.golden import check_session, load_session
from ml.registry.manifest import MODEL
from ml.training.base_rates import forecast_base_rates
from ml.training.candidates import REGRESSORS, build_candidate
from ml.training.check import check_data
from ml.training.fit import answer_of, fit_pipeline
from ml.training.influence import measure_influence
from ml.training.loss import LOSSES
from ml.training.package import package
from ml.training.parts import rows_of
from ml.training.rehearse import check_candidates
from ml.training.screen import screen_rows
from ml.training.trial import fit_candidate
from ml.use_case import UseCase


def test_the_losses_agree_with_scikit_learn():
    """On numbers of any sign."""
    truth, told = np.random.default_rng(3).normal(size=(2, 50))

    squared = LOSSES["squared_error"](truth, told[:, None], ("value",))
    absolute = LOSSES["absolute_error"](truth, told[:, None], ("value",))

    assert squared.mean() == pytest.approx(mean_squared_error(truth, told))
    assert absolute.mean() == pytest.approx(mean_absolute_error(truth, told))


@pytest.mark.parametrize(("truth", "told"), [([1.0], [[np.nan]]), ([np.inf], [[1.0]]), ([1.0, 2.0], [[1.0]])])
def test_what_is_no_number_is_refused(truth, told):
    """And so are answers of another length."""
    with pytest.raises(DataError):
        LOSSES["squared_error"](truth, np.array(told), ("value",))


@pytest.mark.parametrize("estimator", REGRESSORS)
def test_every_built_in_regressor_answers_in_onnx_as_in_scikit_learn(estimator, tmp_path, sail, cut, make_content):
    """Missing numbers, unknown piers, rows at the splits of trees; golden rows hold; another graph is refused."""
    use_case = UseCase.model_validate(
        make_content(training=make_content()["training"] | {"candidates": {"it": {"estimator": estimator}}})
    )
    frame, described = cut(sail(40), use_case)

    packaged, parity = package("it", frame, described, use_case, tmp_path)

    assert parity.verdict is Verdict.PASS
    assert parity.flips == 0
    assert parity.n > described.n_holdout
    assert packaged.classes == ("value",)
    assert check_session(load_session(tmp_path / MODEL), packaged, use_case) <= packaged.tolerance < 0.001
    pipeline, _ = fit_pipeline(use_case, "it", rows_of(frame, "fit", "validation"))
    rows = rows_of(frame, "holdout")
    expected = answer_of(pipeline, use_case)(rows)
    assert predict(tmp_path, rows, use_case) == pytest.approx(expected, abs=packaged.tolerance)
    wrong = packaged.golden_rows[0].model_copy(
        update={"probabilities": (packaged.golden_rows[0].probabilities[0] + 1,)}
    )
    lying = packaged.model_copy(update={"golden_rows": (wrong, *packaged.golden_rows[1:])})
    with pytest.raises(DataError, match="golden rows otherwise"):
        check_session(load_session(tmp_path / MODEL), lying, use_case)


def test_the_graph_has_one_output_of_one_column(use_case, tmp_path, sail, cut):
    """What other runtimes see."""
    frame, described = cut(sail(40), use_case)
    package("ridge", frame, described, use_case, tmp_path)

    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")

    assert [(found.name, found.shape[1]) for found in session.get_outputs()] == [("value", 1)]


def test_a_straight_line_is_found(use_case, sail, cut):
    """Ordinary least squares by hand has the same validation loss; the default candidates are fitted, too."""
    frame, described = cut(sail(60), use_case)
    fit, validation = rows_of(frame, "fit"), rows_of(frame, "validation")

    def design(rows: pd.DataFrame) -> np.ndarray:
        return np.column_stack([rows["wind"], rows["before"], rows["pier"] == "B"])

    line = LinearRegression().fit(design(fit), fit["label"])
    by_hand = mean_squared_error(validation["label"], line.predict(design(validation)))

    found = {name: fit_candidate(name, frame, described, use_case) for name in use_case.training.candidates}

    assert list(found) == ["ridge", "random_forest", "gradient_boosting"]
    assert found["ridge"].loss.value == pytest.approx(by_hand, rel=0.01)
    assert found["ridge"].metric == "squared_error"
    assert found["ridge"].loss.value < found["random_forest"].loss.value


def test_baselines_are_the_mean_the_median_and_the_value_of_now(use_case, sail, make_content):
    """By pandas; a missing present value gets the constant."""
    rows = sail(20)
    judged = rows.iloc[:3].assign(before=[1.0, np.nan, 3.0])
    absolute = UseCase.model_validate(make_content(gate={"metric": "absolute_error"}))

    assert forecast_base_rates(rows, judged, use_case)[:, 0] == pytest.approx([rows["label"].mean()] * 3)
    assert forecast_base_rates(rows, judged, absolute)[0, 0] == pytest.approx(rows["label"].median())
    assert forecast_persistence(rows, judged, use_case)[:, 0] == pytest.approx([1.0, rows["label"].mean(), 3.0])


def test_labels_outside_their_range_are_set_aside(sail, make_content):
    """As is what is no number."""
    use_case = UseCase.model_validate(make_content(target=make_content()["target"] | {"range": [0, 100]}))
    rows = sail(1).iloc[:4].assign(label=[5.0, -1.0, np.nan, np.inf])

    reasons = screen_rows(rows, use_case)

    assert reasons[0] == ""
    assert all("minutes: is no finite number within 0 .. 100" in reason for reason in reasons[1:])


def test_labels_that_are_all_the_same_are_refused_before_a_fit(use_case, sail, cut):
    """And the sound set passes every rule."""
    frame, _ = cut(sail(40), use_case)
    assert all(rule.verdict is not Verdict.FAIL for rule in check_data(frame, use_case))

    with pytest.raises(DataError, match="label_varies"):
        check_data(frame.assign(label=1.0), use_case)


def test_influence_is_in_standard_deviations_of_the_answers(use_case, sail):
    """A model of one feature: shuffling a standard normal moves it by 2 / sqrt(pi) deviations; at most 1 is told."""
    rows = sail(100)
    rng = np.random.default_rng(0)

    half = measure_influence(lambda r: (5 * r["wind"] + 20 * r["before"]).to_numpy()[:, None], rows, ("wind",), rng=rng)
    all_of_it = measure_influence(lambda r: r["wind"].to_numpy()[:, None], rows, ("wind", "pier"), rng=rng)

    spread = (5 * rows["wind"] + 20 * rows["before"]).std()
    assert half["wind"] == pytest.approx(5 * 2 / np.sqrt(np.pi) / spread, rel=0.1)
    assert all_of_it == {"wind": 1.0, "pier": 0.0}


def test_a_classifier_is_no_candidate_of_a_regression(use_case, make_content):
    """Nor has it the classifiers' built-in names; every problem names its place in the file."""
    for estimator, said in (
        ("sklearn.naive_bayes.GaussianNB", "gives no numbers"),
        ("logistic_regression", "must be one of ridge, random_forest"),
    ):
        training = make_content()["training"] | {"candidates": {"it": {"estimator": estimator}}}
        with pytest.raises(UseCaseError, match=r"training\.candidates\.it\.estimator") as raised:
            build_candidate(UseCase.model_validate(make_content(training=training)), "it")
        assert said in str(raised.value)
    check_candidates(use_case)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"target": {"column": "minutes", "classes": {"0": "a", "1": "b"}}}, "task regression has no target.classes"),
        ({"gate": {"metric": "log_loss"}}, "squared_error or absolute_error, got log_loss"),
        ({"baselines": {"persistence": "pier"}}, "must be a number, got a category"),
        ({"target": {"column": "minutes", "range": [3, 1]}}, "range must be [lowest, highest]"),
        ({"task": "binary_classification"}, "needs 2 target.classes, got none"),
        ({"task": "multiclass_classification"}, "needs 2 target.classes or more, got none"),
    ],
)
def test_a_file_that_contradicts_its_task_is_refused(changes, said, make_content):
    """With what was found and what is allowed."""
    with pytest.raises(ValueError, match="validation error") as raised:
        UseCase.model_validate(make_content(**changes))
    assert said in str(raised.value)


def test_defaults_of_a_regression_are_its_own(use_case):
    """And a file that states them says the same."""
    assert use_case.gate.metric == "squared_error"
    assert use_case.answers == ("value",)
    assert UseCase.model_validate(json.loads(use_case.model_dump_json())).hash == use_case.hash
