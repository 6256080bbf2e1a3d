"""LightGBM and XGBoost: what differs from scikit-learn's estimators is made alike, and their absence is told."""

import pickle
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from ml.errors import UseCaseError
from ml.training.boosters import lightgbm_regressor, splits_of, xgboost_classifier, xgboost_regressor
from ml.training.candidates import build_candidate
from ml.training.convert import convert_pipeline
from ml.training.graph import load_graph
from ml.training.inputs import feature_table


@pytest.fixture
def candidate(make_use_case):
    """A use case with one candidate over one number, and its unfitted pipeline."""

    def make(estimator, classes=2):
        training = {"history": {"file": "ferry.csv"}, "candidates": {"one": {"estimator": estimator}}}
        use_case = make_use_case(("wind",), classes, training=training)
        return use_case, build_candidate(use_case, "one")

    return make


@pytest.mark.parametrize("classes", [2, 3])
def test_xgboost_answers_with_the_names_of_classes(candidate, classes):
    """The library itself wants 0, 1, 2; a model that comes from another process still knows the names."""
    names = np.array(["west", "east", "calm"][:classes])
    _, pipeline = candidate("xgboost", classes)
    numbers = np.arange(300.0)
    labels = names[(numbers // 100).astype(int) % classes]
    table = feature_table(pd.DataFrame({"wind": numbers}), ("wind",), ())

    pipeline.fit(table, labels)
    read = pickle.loads(pickle.dumps(pipeline))  # noqa: S301 - our own bytes, as a backtest's processes exchange

    assert read.classes_.tolist() == sorted(names)
    assert (read.predict(table) == labels).mean() > 0.95
    assert read.predict(table).tolist() == pipeline.predict(table).tolist()
    assert read.fit(table, labels).classes_.tolist() == sorted(names)  # a second fit forgets the first


def test_a_lightgbm_threshold_between_two_float32_is_not_rounded_up(candidate):
    """Two neighbours in float32: LightGBM splits half way between, which float32 would round to one of them."""
    below = np.float32(1_699_997_760)
    above = np.nextafter(below, np.float32(np.inf))
    numbers = np.repeat([below, above], 100).astype(np.float64)
    labels = np.repeat(["calm", "rough"], 100)
    use_case, pipeline = candidate("lightgbm")
    use_case = use_case.model_copy(
        update={"features": {"wind": use_case.features["wind"].model_copy(update={"range": None})}}
    )
    frame = pd.DataFrame({"wind": numbers})
    pipeline.fit(feature_table(frame, ("wind",), ()), labels)
    graph = load_graph(convert_pipeline(pipeline, use_case), numbers=("wind",), categories=())

    (_, thresholds), *_ = splits_of(pipeline[-1])
    answered, _ = graph.answer(frame)

    assert np.float32(thresholds[0]) != thresholds[0]  # the fault is there to be made
    assert answered.tolist() == labels.tolist()


def test_a_number_that_lightgbm_takes_for_zero_is_zero_in_the_graph(candidate):
    """It reads -1e-35 as 0 and splits there: the graph must not send that number to the negative ones."""
    numbers = np.repeat([-1.0, 0.0], 100)
    labels = np.repeat(["calm", "rough"], 100)
    use_case, pipeline = candidate("lightgbm")
    pipeline.fit(feature_table(pd.DataFrame({"wind": numbers}), ("wind",), ()), labels)
    probe = pd.DataFrame({"wind": np.array([-1.0, -1e-30, np.float64(np.float32(-1e-35)), -1e-36, 0.0, 1e-35])})
    graph = load_graph(convert_pipeline(pipeline, use_case), numbers=("wind",), categories=())

    answered, _ = graph.answer(probe)

    assert answered.tolist() == pipeline.predict(feature_table(probe, ("wind",), ())).tolist()
    assert set(answered) == {"calm", "rough"}


@pytest.mark.parametrize("make", [lightgbm_regressor, xgboost_regressor, xgboost_classifier])
def test_splits_are_where_the_answers_change(make):
    """A brute force over a grid: the answer of a model of one number changes between two neighbours, and only there."""
    grid = np.linspace(0, 10, 4001)
    numbers = np.round(grid[::20], 2)[:, None]
    target = np.sin(numbers[:, 0]) > 0 if make is xgboost_classifier else np.sin(numbers[:, 0])
    model = make(n_estimators=5, random_state=1).fit(numbers, target)

    answers = model.predict_proba(grid[:, None])[:, 1] if make is xgboost_classifier else model.predict(grid[:, None])
    changes = np.flatnonzero(np.diff(answers) != 0)
    columns, thresholds = (np.concatenate(parts) for parts in zip(*splits_of(model), strict=True))

    assert set(columns.tolist()) == {0}
    assert len(changes) > 3
    for left in changes:
        assert ((thresholds >= grid[left] - 1e-5) & (thresholds <= grid[left + 1] + 1e-5)).any()


@pytest.mark.parametrize(("estimator", "library"), [("lightgbm", "lightgbm"), ("xgboost", "xgboost")])
def test_a_library_that_is_not_installed_is_told(candidate, monkeypatch, estimator, library):
    """With the key of the use case file, before anything is trained."""
    from ml.training import boosters

    boosters._named_xgboost.cache_clear()
    monkeypatch.setitem(sys.modules, library, None)

    with pytest.raises(UseCaseError, match=f"one.estimator: {estimator} needs a library that is not installed"):
        candidate(estimator)


def test_nobody_pays_for_what_is_not_used():
    """Neither library is imported with ours."""
    code = (
        "import sys, ml.training.convert, ml.training.candidates;"
        "print(sorted({'lightgbm', 'xgboost', 'onnxmltools'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
