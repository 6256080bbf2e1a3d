"""The exported graph decides as scikit-learn does, with the promised inputs and outputs, the same in any process."""

import json
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ml.errors import DataError
from ml.training.candidates import CLASSIFIERS
from ml.training.convert import convert_pipeline, floor_to_float32
from ml.training.fit import fit_pipeline
from ml.training.graph import load_graph
from ml.training.inputs import feature_table
from ml.training.parity import probe_rows

SHAPES = {
    "numbers and categories": ("wind", "tide", "holiday", "pier", "weather"),
    "numbers only": ("wind", "tide", "holiday"),
    "categories only": ("pier", "weather"),
}


def fitted(make_use_case, rows, features, classes, estimator):
    """Use case, fitted pipeline, ONNX bytes and loaded graph of one candidate."""
    use_case = make_use_case(
        features,
        classes,
        training={
            "history": {"file": "ferry.csv"},
            "candidates": {"one": {"estimator": estimator}},
        },
    )
    pipeline, _ = fit_pipeline(use_case, "one", rows)
    content = convert_pipeline(pipeline, use_case)
    return use_case, pipeline, content, load_graph(content, numbers=use_case.numbers, categories=use_case.categories)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_every_built_in_answers_as_scikit_learn_does(make_use_case, make_rows, estimator, shape, classes):
    """On unseen rows, with single values missing, with an unknown category, and at the splits of its trees."""
    rows = make_rows(500, classes=classes)
    use_case, pipeline, _, graph = fitted(make_use_case, rows, SHAPES[shape], classes, estimator)
    probes = probe_rows(pipeline, make_rows(300, seed=2, classes=classes), use_case)
    table = feature_table(probes, use_case.numbers, use_case.categories)

    labels, probabilities = graph.answer(probes)

    assert np.abs(probabilities - pipeline.predict_proba(table)).max() < 2e-6
    assert labels.tolist() == pipeline.predict(table).tolist()
    assert probabilities.shape == (len(probes), classes)


@pytest.mark.parametrize(
    ("features", "inputs"),
    [
        (SHAPES["numbers and categories"], {"numbers": (1, 3), "categories": (8, 2)}),
        (SHAPES["numbers only"], {"numbers": (1, 3)}),
        (SHAPES["categories only"], {"categories": (8, 2)}),
    ],
)
@pytest.mark.parametrize("estimator", CLASSIFIERS)
def test_inputs_and_outputs_are_as_promised(make_use_case, make_rows, estimator, features, inputs):
    """Element types of ONNX: 1 is float32, 8 is text; any number of rows; no ZipMap, nothing else."""
    *_, content, _ = fitted(make_use_case, make_rows(200), features, 2, estimator)
    graph = onnx.load_from_string(content).graph

    def kinds(values):
        tensors = {value.name: value.type.tensor_type for value in values}
        return {name: (t.elem_type, *(d.dim_value for d in t.shape.dim[1:])) for name, t in tensors.items()}

    assert kinds(graph.input) == inputs
    assert kinds(graph.output) == {"label": (8,), "probabilities": (1, 2)}
    assert all(value.type.tensor_type.shape.dim[0].dim_value == 0 for value in [*graph.input, *graph.output])


SCRIPT = """
import hashlib, json, sys
import pandas as pd
from ml.training.convert import convert_pipeline
from ml.training.fit import fit_pipeline
from ml.use_case import UseCase

rows, digests = pd.read_pickle(sys.argv[1]), {}
use_case = UseCase.model_validate_json(sys.argv[2])
for name in use_case.training.candidates:
    pipeline, _ = fit_pipeline(use_case, name, rows)
    digests[name] = hashlib.sha256(convert_pipeline(pipeline, use_case)).hexdigest()
print(json.dumps(digests))
"""


@pytest.mark.slow
def test_all_processes_write_the_same_bytes(tmp_path, make_use_case, make_rows):
    """Every built-in, in processes that hash texts differently."""
    use_case = make_use_case(
        training={"history": {"file": "f.csv"}, "candidates": {name: {"estimator": name} for name in CLASSIFIERS}}
    )
    make_rows(300).to_pickle(tmp_path / "rows.pkl")
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "rows.pkl"), use_case.model_dump_json()]

    first, *others = (
        json.loads(subprocess.check_output(command, env=os.environ | {"PYTHONHASHSEED": seed})) for seed in "1234"
    )

    assert others == [first] * 3
    assert len(set(first.values())) == len(CLASSIFIERS)


@given(
    value=st.floats(-(2.0**99), 2.0**99, allow_nan=False, allow_subnormal=False),
    number=st.floats(-(2.0**99), 2.0**99, width=32, allow_nan=False),
)
def test_a_threshold_rounded_down_decides_every_float32_the_same(value, number):
    """Rounded to the nearest, it would move across the numbers just above it."""
    (floor,) = floor_to_float32(np.array([value]))

    assert (number <= value) == (number <= floor)
    for neighbour in (np.float32(value), np.nextafter(np.float32(value), np.float32(np.inf))):
        assert (float(neighbour) <= value) == (float(neighbour) <= floor)


def test_without_rounding_down_histogram_boosting_flips(make_use_case, make_rows):
    """What the rounding is for: the raw thresholds, rounded to the nearest by ONNX, answer otherwise at some split."""
    rows = make_rows(2000)
    use_case, pipeline, content, graph = fitted(
        make_use_case, rows, SHAPES["numbers only"], 2, "hist_gradient_boosting"
    )
    probes = probe_rows(pipeline, rows, use_case)
    expected = pipeline.predict_proba(feature_table(probes, use_case.numbers, use_case.categories))
    model = onnx.load_from_string(content)
    (values,) = [a for node in model.graph.node for a in node.attribute if a.name == "nodes_values"]
    exact = [t for trees in pipeline[-1]._predictors for tree in trees for t in tree.nodes["num_threshold"]]
    leaves = [n for trees in pipeline[-1]._predictors for tree in trees for n in tree.nodes["is_leaf"]]
    values.floats[:] = [0.0 if leaf else t for t, leaf in zip(exact, leaves, strict=True)]
    rounded = load_graph(model.SerializeToString(), numbers=use_case.numbers, categories=use_case.categories)

    assert np.abs(graph.answer(probes)[1] - expected).max() < 2e-6
    assert np.abs(rounded.answer(probes)[1] - expected).max() > 1e-3


def test_what_cannot_be_converted_is_one_error(make_use_case, make_rows):
    """The converter's own errors are of many kinds; ours names the model."""
    use_case, pipeline, *_ = fitted(make_use_case, make_rows(100), ("wind",), 2, "logistic_regression")
    pipeline.steps[-1] = ("model", object())

    with pytest.raises(DataError, match="cannot be converted to ONNX; where: object"):
        convert_pipeline(pipeline, use_case)


@pytest.mark.parametrize("estimator", ["logistic_regression", "hist_gradient_boosting", "lightgbm", "xgboost"])
def test_the_nodes_that_prepare_the_features_are_named_so(make_use_case, make_rows, estimator):
    """A failure in one of them is code 301, and a replay shows what they make of a row."""
    use_case = make_use_case(training={"candidates": {"one": {"estimator": estimator}}})
    pipeline, _ = fit_pipeline(use_case, "one", make_rows(10 * 24))

    nodes = onnx.load_model_from_string(convert_pipeline(pipeline, use_case)).graph.node

    named = [node.op_type for node in nodes if node.name.startswith("prepare/")]
    scaled = ["Sub", "Div"] if estimator == "logistic_regression" else []
    assert sorted(named) == sorted(
        ["Gather"] * 2 + ["OneHotEncoder"] * 2 + ["Imputer", "Reshape", "Concat", "Concat", *scaled]
    )
    assert [node.name.startswith("prepare/") for node in nodes] == sorted(
        (node.name.startswith("prepare/") for node in nodes), reverse=True
    )
